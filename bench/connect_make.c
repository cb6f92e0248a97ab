/*
 * The chain of `quarry-bench connect --make`: valid for every node of regtest, with proof of work, subsidies,
 * maturity, heights in coinbases and witness commitments as they must be.
 *
 * Coinbases are spread over many coins of three kinds; two rounds of transactions with two inputs and two
 * outputs spend them, the second what the first has made; then come empty blocks. All keys are fixed. Stale
 * branches, where they are asked for, spend the same coins otherwise, and give way to the blocks that follow.
 */
#include "bench/connect.h"

#include <secp256k1.h>
#include <secp256k1_extrakeys.h>
#include <secp256k1_schnorrsig.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/chain/chain.h"
#include "hashing/kernels/kernels.h"
#include "io/io.h"

#define SPREAD        1000u /* outputs of one transaction that spreads a coinbase */
#define SPREADS_BLOCK 10u
#define BRANCH_DEPTH  6u /* blocks of the longest stale branch */
#define FEE_SAT       1000
#define SPACING_S     600u
#define COMMITMENT    36u /* bytes behind OP_RETURN's push: aa21a9ed and the hash */
#define SIGHASH_ALL   1u

enum kind { KIND_P2WPKH, KIND_P2TR, KIND_P2WSH, KIND_COUNT };

struct owned { /* a coin that can be spent */
    struct outpoint outpoint;
    int64_t sat;
    enum kind kind;
};

struct maker {
    const struct chain_params *params;
    const struct connect_shape *shape;
    secp256k1_context *context;
    uint8_t secrets[3][32], keys[3][33];
    secp256k1_keypair tweaked;      /* P2TR's */
    struct buf scripts[KIND_COUNT]; /* output scripts */
    struct buf multisig;            /* P2WSH's witness script */
    struct hash256 tip;
    uint32_t height, time;
    struct tx *txs; /* of the block that is being made: ids only, the coinbase first */
    size_t tx_count, tx_capacity;
    struct buf body; /* their bytes, without the coinbase */
    struct outpoint *coinbases;
    FILE *file;
    struct error *error;
};

/* ---- Keys and scripts -------------------------------------------------------------------------------- */

static void witness_script(struct buf *out, uint8_t version_op, const void *program, size_t len)
{
    buf_u8(out, version_op);
    script_push(out, program, len);
}

static void make_keys(struct maker *m)
{
    for (size_t i = 0; i < 3; i++) {
        secp256k1_pubkey key;
        size_t len = 33;
        char text[32];
        int text_len = snprintf(text, sizeof text, "quarry-bench connect %zu", i);
        sha256(m->secrets[i], text, (size_t)text_len);
        CHECK(secp256k1_ec_pubkey_create(m->context, &key, m->secrets[i]) &&
              secp256k1_ec_pubkey_serialize(m->context, m->keys[i], &len, &key, SECP256K1_EC_COMPRESSED));
    }
    uint8_t hash[32], output_key[32];
    hash160(hash, m->keys[0], 33);
    witness_script(&m->scripts[KIND_P2WPKH], 0x00, hash, 20);

    secp256k1_xonly_pubkey internal;
    struct hash256 tweak;
    CHECK(secp256k1_keypair_create(m->context, &m->tweaked, m->secrets[1]) &&
          secp256k1_keypair_xonly_pub(m->context, &internal, NULL, &m->tweaked) &&
          secp256k1_xonly_pubkey_serialize(m->context, output_key, &internal));
    taproot_tweak_hash(&tweak, output_key, NULL);
    CHECK(secp256k1_keypair_xonly_tweak_add(m->context, &m->tweaked, tweak.b) &&
          secp256k1_keypair_xonly_pub(m->context, &internal, NULL, &m->tweaked) &&
          secp256k1_xonly_pubkey_serialize(m->context, output_key, &internal));
    witness_script(&m->scripts[KIND_P2TR], 0x51, output_key, 32);

    buf_u8(&m->multisig, 0x52);
    for (size_t i = 0; i < 3; i++) {
        script_push(&m->multisig, m->keys[i], 33);
    }
    buf_u8(&m->multisig, 0x53);
    buf_u8(&m->multisig, 0xae);
    sha256(hash, m->multisig.data, m->multisig.len);
    witness_script(&m->scripts[KIND_P2WSH], 0x00, hash, 32);
}

/* Of the n-th coin: 60, 30 and 10 of a hundred. */
static enum kind kind_of(size_t n)
{
    return n % 10 < 6 ? KIND_P2WPKH : n % 10 < 9 ? KIND_P2TR : KIND_P2WSH;
}

static struct span sign_ecdsa(struct maker *m, size_t key, const struct hash256 *hash, struct arena *arena)
{
    secp256k1_ecdsa_signature signature;
    size_t len = 72;
    uint8_t *der = arena_alloc(arena, len + 1);
    CHECK(secp256k1_ecdsa_sign(m->context, &signature, hash->b, m->secrets[key], NULL, NULL) &&
          secp256k1_ecdsa_signature_serialize_der(m->context, der, &len, &signature));
    der[len] = SIGHASH_ALL;
    return span_of(der, len + 1);
}

static void sign_input(struct maker *m, struct tx *tx, uint32_t i, const struct coin *spent, enum kind kind,
                       const struct sighash_cache *cache, struct arena *arena)
{
    struct span *witness = arena_alloc(arena, 4 * sizeof *witness);
    struct hash256 hash;
    if (kind == KIND_P2TR) {
        const struct tapscript_context tap = {0};
        uint8_t *signature = arena_alloc(arena, 64);
        CHECK(sighash_taproot(&hash, tx, i, spent, 0, &tap, false, cache) &&
              secp256k1_schnorrsig_sign32(m->context, signature, hash.b, &m->tweaked, NULL));
        witness[0] = span_of(signature, 64);
        tx->inputs[i].witness_count = 1;
    } else if (kind == KIND_P2WPKH) {
        struct buf code = {0}; /* BIP143: the script code of a key hash is P2PKH */
        buf_bytes(&code, "\x76\xa9\x14", 3);
        buf_bytes(&code, spent[i].script.data + 2, 20);
        buf_bytes(&code, "\x88\xac", 2);
        sighash_v0(&hash, tx, i, buf_span(&code), spent[i].value, SIGHASH_ALL, cache);
        buf_free(&code);
        witness[0] = sign_ecdsa(m, 0, &hash, arena);
        witness[1] = span_of(m->keys[0], 33);
        tx->inputs[i].witness_count = 2;
    } else {
        sighash_v0(&hash, tx, i, buf_span(&m->multisig), spent[i].value, SIGHASH_ALL, cache);
        witness[0] = span_of(NULL, 0);
        witness[1] = sign_ecdsa(m, 0, &hash, arena);
        witness[2] = sign_ecdsa(m, 1, &hash, arena);
        witness[3] = buf_span(&m->multisig);
        tx->inputs[i].witness_count = 4;
    }
    tx->inputs[i].witness = witness;
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

static struct tx *next_ids(struct maker *m)
{
    if (m->tx_count == m->tx_capacity) {
        m->tx_capacity = MAX(m->tx_capacity * 2, 64u);
        m->txs = mem_realloc(m->txs, m->tx_capacity * sizeof *m->txs);
    }
    return memset(&m->txs[m->tx_count++], 0, sizeof *m->txs);
}

static void set_ids(struct tx *ids, const struct tx *tx, struct buf *with_witness)
{
    struct buf stripped = {0};
    tx_write(&stripped, tx, false);
    sha256d(ids->txid.b, stripped.data, stripped.len);
    sha256d(ids->wtxid.b, with_witness->data, with_witness->len);
    buf_free(&stripped);
}

static void coinbase_write(struct maker *m, struct buf *out)
{
    static const uint8_t reserved[32];
    const struct span witness = span_of(reserved, sizeof reserved);
    struct buf script = {0}, commitment = {0};
    uint8_t pair[64] = {0}, hash[32];
    struct hash256 root;
    script_push_height(&script, m->height);
    buf_u8(&script, 0x00); /* two bytes at least */
    m->txs[0].wtxid = (struct hash256){{0}};
    CHECK(!merkle_root_of_txids(&root, m->txs, m->tx_count, true));
    memcpy(pair, root.b, 32);
    sha256d(hash, pair, sizeof pair);
    buf_u8(&commitment, 0x6a);
    buf_u8(&commitment, COMMITMENT);
    buf_bytes(&commitment, "\xaa\x21\xa9\xed", 4);
    buf_bytes(&commitment, hash, 32);
    struct tx_input in = {.prevout.index = UINT32_MAX,
                          .script = buf_span(&script),
                          .sequence = SEQUENCE_FINAL,
                          .witness_count = 1,
                          .witness = &witness};
    struct tx_output outputs[2] = {
        {block_subsidy(m->height, m->params), buf_span(&m->scripts[KIND_P2WPKH])},
        {{0}, buf_span(&commitment)},
    };
    struct tx tx = {.version = 2,
                    .input_count = 1,
                    .output_count = 2,
                    .inputs = &in,
                    .outputs = outputs,
                    .has_witness = true};
    tx_write(out, &tx, true);
    set_ids(&m->txs[0], &tx, out);
    m->coinbases = mem_realloc(m->coinbases, (m->height + 1) * sizeof *m->coinbases);
    m->coinbases[m->height] = (struct outpoint){m->txs[0].txid, 0};
    buf_free(&script);
    buf_free(&commitment);
}

/* Ends the block with what was put into it, and begins the next one. */
static bool end_block(struct maker *m)
{
    struct buf block = {0}, coinbase = {0}, record = {0};
    m->height++;
    m->time += SPACING_S;
    coinbase_write(m, &coinbase);
    struct block_header header = {
        .version = 0x20000000, .prev_hash = m->tip, .time = m->time, .bits = m->params->genesis.bits};
    CHECK(!merkle_root_of_txids(&header.merkle_root, m->txs, m->tx_count, false));
    for (;; header.nonce++) {
        header_hash(&m->tip, &header);
        if (pow_check(&m->tip, header.bits, m->params)) {
            break;
        }
    }
    header_encode(buf_extend(&block, HEADER_BYTES), &header);
    buf_compact_size(&block, m->tx_count);
    buf_bytes(&block, coinbase.data, coinbase.len);
    buf_bytes(&block, m->body.data, m->body.len);
    blockfile_record(&record, m->params->magic, buf_span(&block));
    bool ok = fwrite(record.data, 1, record.len, m->file) == record.len;
    buf_free(&block);
    buf_free(&coinbase);
    buf_free(&record);
    buf_clear(&m->body);
    m->tx_count = 0;
    next_ids(m); /* the coinbase's place */
    return ok || error_set(m->error, ERROR_IO, NULL, "the file cannot be written");
}

/* Spends coins into `count` outputs of equal value whose kinds go on from `first`; the new coins into made.
 */
static void spend(struct maker *m, const struct owned *coins, uint32_t coin_count, struct owned *made,
                  uint32_t count, size_t first)
{
    struct arena arena = {0};
    struct buf raw = {0};
    struct sighash_cache cache = {0};
    int64_t total = -FEE_SAT;
    struct tx tx = {.version = 2, .input_count = coin_count, .output_count = count, .has_witness = true};
    tx.inputs = arena_alloc(&arena, coin_count * sizeof *tx.inputs);
    tx.outputs = arena_alloc(&arena, count * sizeof *tx.outputs);
    struct coin *spent = arena_alloc(&arena, coin_count * sizeof *spent);
    for (uint32_t i = 0; i < coin_count; i++) {
        tx.inputs[i] = (struct tx_input){.prevout = coins[i].outpoint, .sequence = SEQUENCE_FINAL};
        spent[i].value.sat = coins[i].sat;
        spent[i].script = buf_span(&m->scripts[coins[i].kind]);
        total += coins[i].sat;
    }
    for (uint32_t i = 0; i < count; i++) {
        made[i] = (struct owned){.sat = total / count, .kind = kind_of(first + i)};
        tx.outputs[i] = (struct tx_output){{made[i].sat}, buf_span(&m->scripts[made[i].kind])};
    }
    sighash_prepare(&cache, &tx, spent);
    for (uint32_t i = 0; i < coin_count; i++) {
        sign_input(m, &tx, i, spent, coins[i].kind, &cache, &arena);
    }
    tx_write(&raw, &tx, true);
    struct tx *ids = next_ids(m);
    set_ids(ids, &tx, &raw);
    for (uint32_t i = 0; i < count; i++) {
        made[i].outpoint = (struct outpoint){ids->txid, i};
    }
    buf_bytes(&m->body, raw.data, raw.len);
    buf_free(&raw);
    arena_free(&arena);
}

/* ---- The chain --------------------------------------------------------------------------------------- */

/* Blocks on the tip that the chain then goes on without: they spend these coins, and what that makes, into
 * other outputs than the chain will. Whoever takes the file in its order reorganises twice. */
static bool stale_branch(struct maker *m, const struct owned *owned, size_t count, uint32_t depth)
{
    const struct hash256 tip = m->tip;
    const uint32_t height = m->height, time = m->time;
    struct owned *coins = mem_dup(owned, count * sizeof *owned);
    bool ok = true;
    for (uint32_t block = 0; ok && block < depth; block++) {
        for (size_t i = 0; i + 2 <= count; i += 2) {
            const struct owned pair[2] = {coins[i], coins[i + 1]};
            spend(m, pair, 2, coins + i, 2, i + 1);
        }
        ok = end_block(m);
    }
    mem_free(coins);
    m->tip = tip;
    m->height = height;
    m->time = time;
    return ok;
}

/* Every coin is spent, in pairs, into one that takes its place. */
static bool spend_all(struct maker *m, struct owned *owned, size_t coins, uint32_t *blocks)
{
    const uint32_t txs = m->shape->block_txs, every = m->shape->fork_every;
    bool ok = true;
    for (size_t i = 0; ok && i < coins; i += 2) {
        if (every && i / 2 % txs == 0 && ++*blocks % every == 0) {
            ok = stale_branch(m, owned + i, MIN((size_t)txs * 2, coins - i),
                              1 + *blocks / every % BRANCH_DEPTH);
        }
        const struct owned pair[2] = {owned[i], owned[i + 1]};
        spend(m, pair, 2, owned + i, 2, i);
        ok = ok && ((i / 2 + 1) % txs || end_block(m));
    }
    return ok && end_block(m);
}

static bool make_chain(struct maker *m)
{
    size_t coins = (size_t)(m->shape->inputs / 2 + SPREAD - 1) / SPREAD * SPREAD, spreads = coins / SPREAD;
    struct owned *owned = mem_alloc(coins * sizeof *owned);
    uint32_t blocks = 0;
    bool ok = true;
    while (ok && m->height < m->params->maturity + spreads) {
        ok = end_block(m);
    }
    for (size_t i = 0; ok && i < spreads; i++) {
        uint32_t height = (uint32_t)i + 1;
        const struct owned coinbase = {m->coinbases[height], block_subsidy(height, m->params).sat,
                                       KIND_P2WPKH};
        spend(m, &coinbase, 1, owned + i * SPREAD, SPREAD, i * SPREAD);
        ok = (i + 1) % SPREADS_BLOCK || end_block(m);
    }
    ok = ok && end_block(m) && spend_all(m, owned, coins, &blocks) && spend_all(m, owned, coins, &blocks);
    for (unsigned i = 0; i < CONNECT_EMPTY_BLOCKS && ok; i++) {
        ok = end_block(m);
    }
    mem_free(owned);
    return ok;
}

bool connect_make(const char *path, const struct chain_params *params, const struct connect_shape *shape,
                  struct error *error)
{
    struct maker m = {.params = params,
                      .shape = shape,
                      .tip = params->genesis_hash,
                      .time = params->genesis.time,
                      .error = error};
    m.file = fopen(path, "wb");
    if (!m.file) {
        return error_set(error, ERROR_IO, NULL, "cannot write %.200s", path);
    }
    m.context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
    CHECK(m.context);
    make_keys(&m);
    next_ids(&m);
    bool ok = make_chain(&m);
    if (fclose(m.file) != 0 && ok) {
        ok = error_set(error, ERROR_IO, NULL, "cannot write %.200s", path);
    }
    for (size_t i = 0; i < KIND_COUNT; i++) {
        buf_free(&m.scripts[i]);
    }
    buf_free(&m.multisig);
    buf_free(&m.body);
    mem_free(m.txs);
    mem_free(m.coinbases);
    secp256k1_context_destroy(m.context);
    return ok;
}
