/*
 * core/consensus: Bitcoin's data and rules as pure functions.
 *
 * Transactions, blocks and headers with their serialisation; chain parameters as data; proof of work and the
 * retarget rules; the checks of a transaction and of a block; scripts and signature hashes. What is NOT here:
 * which block follows which, where coins are stored, what peers say (core/chain and above).
 *
 * Parsed objects borrow their scripts and witnesses from one owned copy of the raw bytes; transactions and
 * blocks are immutable once parsed and counted by reference. Everything here may be called from any thread;
 * the counts of references themselves belong to the loop thread.
 */
#ifndef QUARRY_CORE_CONSENSUS_H
#define QUARRY_CORE_CONSENSUS_H

#include "core/base/base.h"

/* ---- Amounts: satoshis, always within [0, MAX_MONEY] once checked ------------------------------------ */

struct amount {
    int64_t sat;
};
#define COIN_SAT  INT64_C(100000000)
#define MAX_MONEY (INT64_C(21000000) * COIN_SAT)
static inline bool amount_in_range(struct amount a)
{
    return a.sat >= 0 && a.sat <= MAX_MONEY;
}
/* True when both inputs and the sum are in range; *out is written only then. */
bool amount_add(struct amount *out, struct amount a, struct amount b) MUST_USE;
/* True when both inputs are in range and b <= a; *out is written only then. */
bool amount_sub(struct amount *out, struct amount a, struct amount b) MUST_USE;

/* ---- Limits (consensus unless said) ------------------------------------------------------------------ */

#define BLOCK_WEIGHT_MAX       4000000u
#define BLOCK_SERIALIZED_MAX   4000000u /* bytes, witness included: also the bound for parsing */
#define BLOCK_SIGOPS_COST_MAX  80000u
#define WITNESS_SCALE          4u
#define SCRIPT_BYTES_MAX       10000u
#define SCRIPT_PUSH_BYTES_MAX  520u
#define HEADER_BYTES           80u
#define SEQUENCE_FINAL         0xffffffffu
#define SEQUENCE_LOCK_DISABLED 0x80000000u /* BIP68, BIP112: of an input's sequence */
#define SEQUENCE_LOCK_TIME     0x00400000u
#define SEQUENCE_LOCK_MASK     0x0000ffffu
#define LOCKTIME_THRESHOLD     500000000u /* below: a height; from here: seconds */
#define MEDIAN_TIME_SPAN       11u

/* ---- Transactions (BIP144 serialisation) ------------------------------------------------------------- */

struct outpoint {
    struct hash256 txid;
    uint32_t index;
};
_Static_assert(sizeof(struct outpoint) == 36, "used as a 36-byte map key");

struct tx_input {
    struct outpoint prevout;
    struct span script;
    uint32_t sequence;
    uint32_t witness_count;
    const struct span *witness;
};

struct tx_output {
    struct amount value; /* as read: range is checked by tx_check */
    struct span script;
};

struct tx {
    int32_t version;
    uint32_t locktime;
    uint32_t input_count, output_count;
    struct tx_input *inputs;
    struct tx_output *outputs;
    struct hash256 txid, wtxid;
    struct span raw;         /* with witness where it has one */
    uint32_t stripped_bytes; /* serialised size without witness */
    bool has_witness;
    uint32_t references; /* 0 inside a block: the block owns it */
    struct arena arena;  /* used by stand-alone transactions only */
};

/* A stand-alone transaction with one reference, from exactly these bytes (copied); NULL and *error otherwise.
 * Trailing bytes, superfluous witness flags and non-canonical sizes are ERROR_PARSE. */
struct tx *tx_parse(struct span raw, struct error *error) MUST_USE;
/* Reads one transaction at the cursor into *tx, allocating from arena and borrowing from the cursor's bytes.
 * Its two ids are left to txs_hash. */
bool tx_read(struct tx *tx, struct cursor *c, struct arena *arena) MUST_USE;
/* txid and wtxid of transactions that have been read, side by side. */
void txs_hash(struct tx *txs, size_t count);
struct tx *tx_ref(struct tx *tx);
void tx_unref(struct tx *tx); /* NULL is fine */
/* Appends the serialisation of the fields (raw need not be set); with_witness is ignored where there is none.
 */
void tx_write(struct buf *out, const struct tx *tx, bool with_witness);
static inline uint32_t tx_weight(const struct tx *tx)
{
    return tx->stripped_bytes * (WITNESS_SCALE - 1) + (uint32_t)tx->raw.len;
}
static inline uint32_t tx_vsize(const struct tx *tx) /* policy: weight / 4 rounded up */
{
    return (tx_weight(tx) + WITNESS_SCALE - 1) / WITNESS_SCALE;
}
bool tx_is_coinbase(const struct tx *tx);

/* ---- Blocks ------------------------------------------------------------------------------------------ */

struct block_header {
    int32_t version;
    struct hash256 prev_hash, merkle_root;
    uint32_t time, bits, nonce;
};
void header_read(struct block_header *header, struct cursor *c);
void header_encode(uint8_t out[HEADER_BYTES], const struct block_header *header);
void header_hash(struct hash256 *out, const struct block_header *header);

struct block {
    struct block_header header;
    struct hash256 hash;
    uint32_t tx_count;
    struct tx *txs;
    struct span raw; /* owned by the block */
    uint32_t stripped_bytes;
    uint32_t weight;
    uint32_t references;
    bool committed; /* block_commits has said yes */
    struct arena arena;
};
/* From exactly these bytes; takes ownership of raw (a mem_alloc pointer, freed also on failure). */
struct block *block_parse(uint8_t *raw, size_t len, struct error *error) MUST_USE;
/* Made of whole transactions (with raw and ids set), whose bytes and inputs it borrows: raw has a length and
 * no data. Enough for block_commits and for announcing it; block_own_txs makes it a block like any other. */
struct block *block_of_txs(const struct block_header *header, struct tx *const *txs, size_t count) MUST_USE;
/* Copies what block_of_txs has borrowed; nothing is hashed again. False: larger than any block. */
bool block_own_txs(struct block *block) MUST_USE;
struct block *block_ref(struct block *block);
void block_unref(struct block *block);

/* ---- Coins: unspent transaction outputs -------------------------------------------------------------- */

struct coin {
    struct amount value;
    struct span script; /* borrowed from whoever handed the coin out */
    uint32_t height;
    bool coinbase;
};

/* ---- Chain parameters: data, not code ---------------------------------------------------------------- */

enum chain_kind { CHAIN_CLUSTER, CHAIN_REGTEST, CHAIN_SIGNET, CHAIN_TESTNET4, CHAIN_MAIN };
enum retarget_rule {
    RETARGET_NONE,     /* regtest: always the parent's bits */
    RETARGET_2016,     /* main */
    RETARGET_TESTNET4, /* 2016 with BIP94 and the 20-minute rule */
    RETARGET_CLUSTER,  /* every block, relative to the parent: see pow_retarget_cluster */
};

/* What a person may choose about a cluster network; its canonical bytes decide genesis and magic. */
struct network_spec {
    char name[33];           /* 1..32 of [a-z0-9-] */
    uint32_t spacing_s;      /* T, 1..3600 */
    uint32_t window;         /* N, 2..2016 */
    uint32_t first_bits;     /* first and easiest target, as nBits; target in 2^200 .. 2^255 */
    uint32_t maturity;       /* coinbase maturity in blocks, 1..10000 */
    uint32_t halving_blocks; /* 1.. */
    uint32_t future_limit_s; /* 1..7200 */
};
void network_spec_default(struct network_spec *out,
                          const char *name); /* name "quarry" is the default network */
/* Lines `key = value` (name, spacing, window, first-target-bits (log2 of the target) or first-nbits (hex),
 * maturity, halving, future-limit), '#' comments; missing keys keep the default; ERROR_USAGE names the line.
 */
bool network_spec_parse(struct network_spec *out, struct span text, struct error *error) MUST_USE;
bool network_spec_check(const struct network_spec *spec, struct error *error) MUST_USE;
bool network_name_valid(const char *name);

struct chain_params {
    enum chain_kind kind;
    char name[16];               /* folder and --chain value: "cluster", "regtest", "signet", ... */
    char rpc_name[16];           /* getblockchaininfo.chain */
    struct network_spec network; /* cluster only */
    uint8_t magic[4];
    uint16_t p2p_port, rpc_port;
    enum retarget_rule retarget;
    struct u256 pow_limit;
    uint32_t pow_limit_bits;
    uint32_t spacing_s, timespan_s;
    bool min_difficulty_blocks; /* testnet4's 20-minute rule */
    uint32_t maturity, halving_blocks;
    struct amount first_subsidy;
    uint32_t future_limit_s;
    bool time_not_before_parent; /* cluster: nTime >= parent's, besides > median time past */
    /* First height at which each rule holds; UINT32_MAX: never. */
    uint32_t bip34_height, bip65_height, bip66_height, csv_height, segwit_height;
    struct hash256 bip34_hash; /* of the block at bip34_height, where that is above 1: it ends BIP30 */
    struct block_header genesis;
    struct hash256 genesis_hash;
    const char *bech32_hrp;
    uint8_t p2pkh_prefix, p2sh_prefix, wif_prefix;
    uint8_t *genesis_raw; /* the whole block, owned by the params */
    size_t genesis_raw_len;
    struct buf signet_challenge; /* BIP325: the script that every block must satisfy; empty elsewhere */
};
/* Fills *out; spec is read for CHAIN_CLUSTER only (NULL: the default network). Genesis hashes of Bitcoin's
 * own chains are checked here, always. Release with chain_params_free. */
bool chain_params_init(struct chain_params *out, enum chain_kind kind, const struct network_spec *spec,
                       struct error *error) MUST_USE;
/* Signet only: another challenge than the public one's (copied); the magic follows from it (BIP325). */
void chain_params_set_challenge(struct chain_params *params, struct span challenge);
void chain_params_free(struct chain_params *params);
bool chain_kind_parse(enum chain_kind *out, const char *text) MUST_USE;

/* ---- Proof of work ----------------------------------------------------------------------------------- */

/* nBits to a target; false for zero, negative or overflowing encodings. */
bool pow_target(struct u256 *out, uint32_t bits) MUST_USE;
uint32_t pow_bits(struct u256 target); /* largest encodable value not above target */
struct u256 pow_work(uint32_t bits);   /* expected hashes: 2^256 / (target + 1); 0 for bad bits */
double pow_difficulty(uint32_t bits);  /* Core's GetDifficulty */
/* hash <= target and target <= pow_limit; "high-hash". */
bool pow_check(const struct hash256 *hash, uint32_t bits, const struct chain_params *params) MUST_USE;
/* The 2016-block rule: first/last are the ends of the period; base_bits is the last block's, on testnet4 the
 * first block's (BIP94). */
uint32_t pow_retarget_2016(const struct chain_params *params, uint32_t base_bits, int64_t first_time,
                           int64_t last_time);
/*
 * The cluster rule, every block: next = parent target * (N*T + d - T) / (N*T), where d = nTime of the block
 * that gets the target's PARENT minus nTime of ITS parent (the last known spacing, never negative), the
 * factor is at most 2, the product is exact (320 bits), the result is at most pow_limit and then rounded by
 * nBits.
 */
uint32_t pow_retarget_cluster(const struct chain_params *params, uint32_t parent_bits, int64_t spacing_s);

/* ---- Script ------------------------------------------------------------------------------------------ */

/* Bitcoin Core's verification flags, separately switchable. */
enum script_flags {
    SCRIPT_P2SH = 1u << 0,
    SCRIPT_STRICTENC = 1u << 1,
    SCRIPT_DERSIG = 1u << 2,
    SCRIPT_LOW_S = 1u << 3,
    SCRIPT_NULLDUMMY = 1u << 4,
    SCRIPT_SIGPUSHONLY = 1u << 5,
    SCRIPT_MINIMALDATA = 1u << 6,
    SCRIPT_DISCOURAGE_UPGRADABLE_NOPS = 1u << 7,
    SCRIPT_CLEANSTACK = 1u << 8,
    SCRIPT_CLTV = 1u << 9,
    SCRIPT_CSV = 1u << 10,
    SCRIPT_WITNESS = 1u << 11,
    SCRIPT_DISCOURAGE_UPGRADABLE_WITNESS = 1u << 12,
    SCRIPT_MINIMALIF = 1u << 13,
    SCRIPT_NULLFAIL = 1u << 14,
    SCRIPT_WITNESS_PUBKEYTYPE = 1u << 15,
    SCRIPT_CONST_SCRIPTCODE = 1u << 16,
    SCRIPT_TAPROOT = 1u << 17,
    SCRIPT_DISCOURAGE_UPGRADABLE_TAPROOT = 1u << 18,
    SCRIPT_DISCOURAGE_OP_SUCCESS = 1u << 19,
    SCRIPT_DISCOURAGE_UPGRADABLE_PUBKEY = 1u << 20,
};
#define SCRIPT_MANDATORY_FLAGS                                                                               \
    (SCRIPT_P2SH | SCRIPT_DERSIG | SCRIPT_NULLDUMMY | SCRIPT_CLTV | SCRIPT_CSV | SCRIPT_WITNESS |            \
     SCRIPT_TAPROOT)
#define SCRIPT_STANDARD_FLAGS                                                                                \
    (SCRIPT_MANDATORY_FLAGS | SCRIPT_STRICTENC | SCRIPT_LOW_S | SCRIPT_MINIMALDATA |                         \
     SCRIPT_DISCOURAGE_UPGRADABLE_NOPS | SCRIPT_CLEANSTACK | SCRIPT_DISCOURAGE_UPGRADABLE_WITNESS |          \
     SCRIPT_MINIMALIF | SCRIPT_NULLFAIL | SCRIPT_WITNESS_PUBKEYTYPE | SCRIPT_CONST_SCRIPTCODE |              \
     SCRIPT_DISCOURAGE_UPGRADABLE_TAPROOT | SCRIPT_DISCOURAGE_OP_SUCCESS |                                   \
     SCRIPT_DISCOURAGE_UPGRADABLE_PUBKEY)

/* Signatures that are known to verify (signature_cache.c): salted, of fixed size, shared by all threads.
 * digest is what signature_digest makes of a signature; kind keeps ECDSA ('E') and Schnorr ('S') apart. */
struct signature_cache;
struct signature_cache *signature_cache_new(size_t bytes, struct rng *rng); /* any size will do */
void signature_cache_free(struct signature_cache *cache);                   /* NULL is fine */
void signature_digest(struct hash256 *out, const struct signature_cache *cache, uint8_t kind,
                      const struct hash256 *message, struct span key, struct span signature);
bool signature_cache_has(const struct signature_cache *cache, const struct hash256 *digest);
void signature_cache_add(struct signature_cache *cache, const struct hash256 *digest);

/* The parts of signature hashes that the inputs of one transaction share: single SHA-256 as BIP341 wants
 * them, and double as BIP143 does. Read-only after sighash_prepare, so that check workers may share it. */
struct sighash_cache {
    bool ready, taproot; /* taproot: amounts and scripts are there too */
    struct hash256 prevouts, sequences, outputs, amounts, scripts;
    struct hash256 prevouts_double, sequences_double, outputs_double;
    struct signature_cache
        *signatures; /* asked before a signature is verified; NULL: none. Set by the caller */
    bool remember;   /* what verifies is added to it */
};
/* spent: one coin per input, read only here. NULL, or no taproot output among them: BIP341's parts stay out.
 */
void sighash_prepare(struct sighash_cache *cache, const struct tx *tx, const struct coin *spent);

/* Verifies input `index` of tx; spent holds one coin for every input (BIP341 signs them all). False with
 * ERROR_INVALID (word: "mandatory-script-verify-flag-failed (...)" as Core gives it). cache may be NULL or
 * not ready: then the parts are made here. Thread-safe; allocates nothing for common scripts. */
bool script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                         const struct sighash_cache *cache, uint32_t flags, struct error *error) MUST_USE;
/* Whether an output can never be spent: OP_RETURN first, or longer than SCRIPT_BYTES_MAX. Such outputs never
 * enter the UTXO set. */
bool script_unspendable(struct span script);
/* Signature operations: legacy count of one script (BIP16's accurate count for P2SH redeem scripts). */
uint32_t script_sigops(struct span script, bool accurate);
/* BIP16: what a scriptSig that only pushes pushed last (empty: nothing). False when it does more than push.
 */
bool script_redeem(struct span *out, struct span script_sig);
/* Bytes of the operation at an offset, data included; what a truncated push reaches is the rest of the
 * script. */
size_t script_op_len(struct span script, size_t at);

enum output_kind {
    OUTPUT_OTHER,
    OUTPUT_P2PK,
    OUTPUT_P2PKH,
    OUTPUT_P2SH,
    OUTPUT_P2WPKH,
    OUTPUT_P2WSH,
    OUTPUT_P2TR,
    OUTPUT_MULTISIG,
    OUTPUT_NULL_DATA,
    OUTPUT_WITNESS_UNKNOWN,
    OUTPUT_ANCHOR /* pay to anchor: version 1, two bytes, spendable by anyone without a witness */
};
/* The standard form of an output script; *payload (may be NULL) borrows its key, hash or program. */
enum output_kind script_classify(struct span script, struct span *payload);
const char *output_kind_name(
    enum output_kind kind); /* Core's words: "pubkeyhash", "witness_v0_keyhash", ... */
#define MULTISIG_KEYS_MAX 20u
/* The parts of a bare m-of-n: m, and the keys, which borrow from the script. */
bool script_multisig(struct span script, unsigned *needed, struct span keys[MULTISIG_KEYS_MAX],
                     unsigned *count) MUST_USE;
/* Whether all its operations are known to scripts of every kind and none ends it at once: what decodescript
 * wants of a script before it shows addresses by hash. */
bool script_may_run(struct span script);
/* Core's assembly text of a script, appended. */
void script_asm(struct buf *out, struct span script, bool sighash_names);

/* Signature hashes, for signing (core/wallet) and for tests. hash_type is the byte appended to the signature.
 */
void sighash_legacy(struct hash256 *out, const struct tx *tx, uint32_t index, struct span script_code,
                    uint32_t hash_type);
void sighash_v0(struct hash256 *out, const struct tx *tx, uint32_t index, struct span script_code,
                struct amount value, uint32_t hash_type, const struct sighash_cache *cache);

/* What a taproot signature signs beyond the transaction (BIP341's annex, BIP342's extension). */
struct tapscript_context {
    bool has_annex;
    struct hash256 annex; /* SHA-256 of its serialisation */
    struct hash256 leaf;  /* script path only */
    uint32_t separator;   /* position of the last executed OP_CODESEPARATOR, UINT32_MAX: none */
    int64_t weight_left;  /* signature-operation budget */
};
/* BIP341: false for a hash type that it does not know, and for SINGLE without such an output. */
bool sighash_taproot(struct hash256 *out, const struct tx *tx, uint32_t index, const struct coin *spent,
                     uint8_t hash_type, const struct tapscript_context *tap, bool script_path,
                     const struct sighash_cache *cache) MUST_USE;
/* BIP341's leaf and branch (children are sorted here). */
void taproot_leaf_hash(struct hash256 *out, uint8_t leaf_version, struct span script);
void taproot_branch_hash(struct hash256 *out, const struct hash256 *a, const struct hash256 *b);
/* The tweak of an internal key: merkle_root NULL for an output without scripts. */
void taproot_tweak_hash(struct hash256 *out, const uint8_t internal_key[32],
                        const struct hash256 *merkle_root);

void hash160(uint8_t out[20], const void *data, size_t len); /* RIPEMD-160 of SHA-256 */

/* ---- Checks of transactions and blocks --------------------------------------------------------------- */
/* Words are Bitcoin Core's reject reasons throughout. */

bool tx_check(const struct tx *tx, struct error *error) MUST_USE; /* needs nothing but the transaction */
/* Whether its lock time has passed for a block at this height. time_s: the median time past of the block
 * before (BIP113), or, before that rule, the block's own time. */
bool tx_is_final(const struct tx *tx, uint32_t height, int64_t time_s);
/* Values and maturity against the coins it spends (one per input); *fee on success.
 * "bad-txns-premature-spend-of-coinbase", "bad-txns-in-belowout", "bad-txns-inputvalues-outofrange", ... */
bool tx_check_inputs(const struct tx *tx, const struct coin *spent, uint32_t spend_height,
                     const struct chain_params *params, struct amount *fee, struct error *error) MUST_USE;
/* BIP68: median time past of the block BEFORE the one at a height, along the branch that is being extended.
 */
typedef int64_t median_time_at(void *context, uint32_t height);
bool tx_sequence_locks(const struct tx *tx, const struct coin *spent, uint32_t height,
                       int64_t prev_median_time, median_time_at *median, void *context);
/* BIP141 cost: legacy x4, P2SH x4, witness x1. spent may be NULL for a coinbase. */
uint32_t tx_sigop_cost(const struct tx *tx, const struct coin *spent, uint32_t flags);

/* Header on its own: proof of work. ("high-hash") */
bool header_check(const struct block_header *header, const struct hash256 *hash,
                  const struct chain_params *params, struct error *error) MUST_USE;
/* Context-free: proof of work, signet's solution, merkle root and its mutation, sizes, coinbase first and
 * only first, tx_check of each, legacy sigops. ERROR_MUTATED for what may be a spoiled copy
 * ("bad-txnmrklroot", "bad-txns-duplicate"). */
bool block_check(const struct block *block, const struct chain_params *params, struct error *error) MUST_USE;
/* The same without work and solution, which a proposal lacks. */
bool block_check_contents(const struct block *block, struct error *error) MUST_USE;
/* Whether header and coinbase commit to exactly these transactions: merkle root without a repetition, witness
 * commitment (BIP141). What this has answered with yes, the two other checks do not compute again. */
bool block_commits(struct block *block, uint32_t height, const struct chain_params *params) MUST_USE;
/* With its height and the parent's median time past: finality, BIP34 height in the coinbase, witness
 * commitment (BIP141), weight. */
bool block_check_context(const struct block *block, uint32_t height, int64_t prev_median_time,
                         const struct chain_params *params, struct error *error) MUST_USE;
struct amount block_subsidy(uint32_t height, const struct chain_params *params);
/* The rules of scripts that hold for a block at this height; its hash, for the two blocks of main that are
 * older than a rule. */
uint32_t block_script_flags(uint32_t height, const struct hash256 *hash, const struct chain_params *params);
/* Of the txids, or (BIP141) of the wtxids, where the coinbase counts as zero. True: mutated, that is, two
 * nodes side by side are equal, so that other transactions have the same root (CVE-2012-2459). */
bool merkle_root_of_txids(struct hash256 *out, const struct tx *txs, size_t count, bool witness);
/* Finds the witness commitment in the coinbase; NULL when there is none. Borrows 32 bytes. */
const uint8_t *witness_commitment(const struct block *block);
/* The index of the coinbase output that holds it; false when there is none. */
bool witness_commitment_output(const struct block *block, uint32_t *index) MUST_USE;
/* BIP325: whether the block, which has a transaction, solves the challenge. */
bool signet_check(const struct block *block, struct span challenge) MUST_USE;
/* BIP34: appends the script number push of a height, as the coinbase must begin with it. */
void script_push_height(struct buf *out, uint32_t height);
void script_push(struct buf *out, const void *data, size_t len); /* minimal push */

#endif
