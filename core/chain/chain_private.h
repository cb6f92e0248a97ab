/* Private to core/chain: the whole state of a chain, and the seams between its files. */
#ifndef QUARRY_CORE_CHAIN_PRIVATE_H
#define QUARRY_CORE_CHAIN_PRIVATE_H

#include <stdatomic.h>

#include "core/chain/chain.h"

/* A block_entry with what only the chain needs. The public part stands first, so that pointers convert. */
struct entry {
    struct block_entry e;
    struct entry *first_child, *next_sibling;
};
static inline struct entry *entry_of(const struct block_entry *e)
{
    return (struct entry *)(uintptr_t)e;
}

/* ---- Coins cache (coins.c) --------------------------------------------------------------------------- */

enum coin_flags {
    COIN_UNSPENT = 1,
    COIN_DIRTY = 2,
    COIN_FRESH = 4,
    COIN_IN_FLIGHT = 8,
    COIN_TAKEN = 16,
    COIN_COINBASE = 32,
};
struct cached_coin { /* 88 bytes; pointers to it are good until it is spent or forgotten */
    struct outpoint outpoint;
    uint32_t height;
    struct amount value;
    uint16_t script_len;
    uint8_t flags;      /* without COIN_UNSPENT: a tombstone, known to be spent */
    uint8_t script[37]; /* the bytes, or, where they are more, the address of their copy */
};
struct coins_chunk;
struct coins_cache {
    uint64_t *places; /* tag and number plus one; 0: empty */
    size_t place_count, count;
    struct coins_chunk **chunks;
    size_t chunk_count;
    uint32_t made;          /* coins that were taken from the chunks */
    uint32_t *free_numbers; /* and of them, those that are nobody's now */
    uint32_t free_count, hand;
    uint64_t sip_key[2];
    struct buf dirty;     /* struct cached_coin * that became dirty since the last batch */
    struct buf in_flight; /* of the batch under way */
    size_t script_bytes, bytes_max, dirty_bytes;
    uint64_t epoch; /* counts forgettings: a read from before one may be stale */
    uint64_t read_count, hit_count;
};
void coins_init(struct coins_cache *cache, size_t bytes_max, struct rng *rng);
void coins_free(struct coins_cache *cache);
size_t coins_bytes(const struct coins_cache *cache);
/* NULL: not known here; a tombstone is returned as such. */
struct cached_coin *coins_find(const struct coins_cache *cache, const struct outpoint *outpoint);
/* The same for many, whose memory is fetched meanwhile. */
void coins_find_all(const struct coins_cache *cache, struct cached_coin **out,
                    const struct outpoint *outpoints, size_t count);
void coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
               bool fresh);
void coins_spend(struct coins_cache *cache, const struct outpoint *outpoint);
void coins_spend_found(struct coins_cache *cache, struct cached_coin *cached);
/* What the store answered; nothing when something is known meanwhile. False: the bytes are no coin. */
bool coins_learn(struct coins_cache *cache, const struct outpoint *outpoint, struct span stored);
struct coin coin_view(const struct cached_coin *cached);
/* Appends every dirty coin to the batch; they stay known as in flight until coins_committed. */
void coins_flush(struct coins_cache *cache, struct kv_batch *batch);
void coins_committed(struct coins_cache *cache); /* and forgets clean coins above the bound */

/* ---- Records (record.c) ------------------------------------------------------------------------------ */

void coin_encode(struct buf *out, const struct coin *coin);
bool coin_decode(struct coin *out, struct span bytes); /* borrows */
struct named_block {                                   /* a block of the main chain that a rule names */
    uint32_t height;
    const char *hash;
};
bool block_is_one_of(const struct block_entry *e, const struct named_block *blocks, size_t count);
/* How many coins a block spends: all inputs but the coinbase's. */
size_t block_spent_count(const struct block *block);
/* Undo of one block: the spent coins in order of inputs, behind their number, before a checksum bound to the
 * block. */
void undo_encode(struct buf *out, const struct coin *spent, size_t count, const struct hash256 *block_hash);
bool undo_decode(struct coin *out, size_t count, struct span bytes, const struct hash256 *block_hash);
void entry_encode(struct buf *out, const struct block_entry *e);
bool entry_decode(struct block_entry *out, struct hash256 *prev_hash, struct span value);

/* ---- Script cache (script_cache.c) ------------------------------------------------------------------- */

struct script_cache {
    uint64_t salt[4], spread;
    unsigned shift;       /* 64 minus the logarithm of the number of sets */
    struct hash256 *keys; /* zero: an empty place */
};
void script_cache_init(struct script_cache *cache, size_t bytes, struct rng *rng);
void script_cache_free(struct script_cache *cache);
bool script_cache_has(const struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags);
/* It will be asked for soon: its set comes into the processor's cache. */
void script_cache_expect(const struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags);
void script_cache_add(struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags);

/* ---- MuHash3072 (muhash.c): little-endian limbs, any representative below 2^3072; any thread --------- */

#define MUHASH_LIMBS 48
struct muhash {
    uint64_t limb[MUHASH_LIMBS];
};
void muhash_init(struct muhash *m);
void muhash_insert(struct muhash *m, struct span element);
void muhash_final(struct hash256 *out, const struct muhash *m);

/* ---- The chain --------------------------------------------------------------------------------------- */

#define BLOCK_FILE_BYTES_MAX (128u << 20)
#define CHAIN_SMALL_LAG      2u /* blocks missing below the best header that are no download */

struct recent { /* a block in memory, and its undo once it is connected */
    struct block *block;
    struct buf undo;
    struct list lru;
    uint32_t pins; /* writes under way: not to be forgotten */
};

struct pending_write { /* a JOB_WRITE that is out, in order of issue */
    struct list link;
    struct chain *chain;
    struct hash256 hash;
    uint64_t number;
};

struct scan_wait { /* somebody who wants to scan the store as it is after the next commit */
    struct list link;
    struct chain *chain;
    void (*start)(struct scan_wait *wait);
    void (*drop)(struct scan_wait *wait); /* the chain is closed */
};

struct fetch; /* query.c: somebody waiting for coins */

enum step { STEP_IDLE, STEP_READ_BLOCK, STEP_READ_COINS, STEP_CHECK, STEP_READ_UNDO, STEP_VERIFY };

struct connecting { /* the one block in flight (connect.c) */
    struct entry *entry;
    struct block *block;
    struct outpoint *wanted;         /* of every input of every transaction but the coinbase, in order */
    struct cached_coin **coins;      /* theirs; NULL where the block itself makes it */
    size_t input_count, taken_count; /* of coins: how many are TAKEN, from the first on */
    bool fetched;                    /* the store was asked for coins */
    struct map own, own_spent; /* txid -> place in the block; outpoints of it that the block itself spends */
    struct coin *spent;        /* the coins as values; their scripts lie in the cache or in the block */
    size_t spent_count;
    int64_t median_time;          /* of the parent */
    struct sighash_cache *caches; /* per transaction */
    struct check_item {
        uint32_t tx, input;
        const struct coin *coins;
    } * items;
    size_t item_count, failed_item;
    struct error why; /* the script of failed_item does not pass */
    uint32_t flags;
    bool assumed;              /* scripts are taken as valid: assumevalid */
    struct proposal *proposal; /* only to be judged; NULL: to be connected */
    bool again; /* looked at again (verify.c): `spent` is given, and what the caches know does not count */
    struct amount fees;
    struct arena arena;
};

struct chain {
    struct chain_config config;
    const struct chain_params *params;
    struct chain_events events;
    struct entry **places; /* the block index, by hash: open addressing, NULL is an empty place */
    size_t place_count, entry_count;
    uint64_t index_key[2];
    struct arena entries;
    struct entry *genesis, *best_header;
    struct entry *applied; /* the coins stand after this block */
    struct entry *tip;     /* settled: what everybody is told */
    struct entry *durable; /* on disk */
    bool moved;            /* connected or disconnected since the last tip event */
    uint32_t next_sequence;
    struct entry **candidates; /* heap: linked, not bad, at least the work of `applied` when they came */
    size_t candidate_count, candidate_capacity;
    struct coins_cache coins;
    struct script_cache scripts;
    struct signature_cache *signatures;
    struct map recent;      /* hash -> struct recent * */
    struct list recent_lru; /* least recently used first */
    size_t recent_bytes;

    uint32_t block_file;
    uint64_t block_file_end;
    uint64_t *undo_file_end; /* per file number */
    uint32_t undo_files;
    struct list writes; /* struct pending_write, oldest first */
    size_t write_count, write_bytes;
    uint64_t next_write;

    enum step step;
    struct connecting now;
    struct kv_batch tx_rows; /* changes of the tx and address indexes since the last batch */
    bool addr_complete;      /* the address index covers the whole chain */
    struct job *commit;      /* built, waiting for writes, or out */
    bool commit_out;
    uint64_t commit_needs_write; /* writes below this number must be done */
    struct entry *commit_tip;
    size_t flush_bytes;       /* changes that make a batch while many blocks come */
    struct buf dirty_entries; /* struct entry * */
    struct list results;      /* struct result (store.c) */
    struct list scans;        /* struct scan_wait (query.c) */
    struct list proposals;    /* struct proposal (connect.c) */
    struct verify *verify;    /* asked for or under way (verify.c) */
    size_t jobs_out;
    bool started, dead, loading;
    atomic_bool stopping; /* check workers look at it too */
    bool expects_more;    /* an import is under way: batches gather */
    bool flush_wanted;    /* somebody waits for a batch: they do not */
    bool loose;           /* the last batch was not synced */
    int64_t now_us;       /* monotonic, of the last call that told it */
    int64_t batch_us;     /* when the last batch was built */
    bool activating, activate_again;
    bool held_back; /* activation waits for chain_go_on: events.checked said so */
    struct chain_metrics metrics;
};

/* index.c */
void index_init(struct chain *chain);
void index_free(struct chain *chain);
size_t index_bytes(const struct chain *chain);
struct entry *index_find(const struct chain *chain, const struct hash256 *hash);
/* Every entry, in no order: start with *at = 0; NULL at the end. */
struct entry *index_next(const struct chain *chain, size_t *at);
/* A header's entry in two steps, for those that are read back: it is found by its hash from the first on, and
 * takes its place behind prev (NULL: genesis) by the second. */
struct entry *index_new(struct chain *chain, const struct hash256 *hash);
void entry_set_header(struct block_entry *e, const struct block_header *header);
void index_attach(struct chain *chain, struct entry *entry, struct entry *prev);
struct entry *index_add(struct chain *chain, const struct block_header *header, const struct hash256 *hash,
                        struct entry *prev);
bool index_check_header(const struct chain *chain, const struct block_header *header,
                        const struct hash256 *hash, const struct entry *prev,
                        int64_t now_s /* INT64_MAX: no future limit */, struct error *error);
/* The same without the proof of work: what only the place in the chain decides. */
bool index_check_place(const struct chain *chain, const struct block_header *header, const struct entry *prev,
                       int64_t now_s, struct error *error) MUST_USE;
void index_link(struct chain *chain,
                struct entry *entry); /* its block is here: it and its descendants may become candidates */
void index_mark_bad(struct chain *chain, struct entry *entry, uint32_t status); /* with its descendants */
void index_forget_bad(struct chain *chain, struct entry *entry, uint32_t bits); /* reconsider */
void index_dirty(struct chain *chain, struct entry *entry);
struct entry *index_best_candidate(const struct chain *chain);
void index_prune_candidates(struct chain *chain);
/* It comes before all of the same work, whose order stays. */
void index_prefer(struct chain *chain, struct entry *entry);
void index_add_candidate(struct chain *chain, struct entry *entry);

/* connect.c */
/* BIP30 has to be looked at where BIP34 does not rule out that a coinbase comes twice: before it, on a branch
 * that did not take it up at the known block, and where early coinbases have named heights of the future. Not
 * for the two blocks that repeated one. Where BIP34 holds from the first block on, none ever comes twice. */
bool bip30_applies(const struct chain_params *params, const struct block_entry *e);
void proposals_free(struct chain *chain);     /* nobody is told */
void connecting_free(struct connecting *now); /* gives back what it took */
void chain_activate(struct chain *chain);
/* All rules but the scripts, of the block in chain->now, whose coins are in the cache; then its scripts
 * (false: there are none to run). */
bool connect_rules(struct chain *chain, struct error *error);
bool connect_scripts(struct chain *chain, void (*done)(void *context, struct job *job), void *context);

/* commit.c */
size_t chain_changes(const struct chain *chain); /* bytes of what the next batch will hold */
bool chain_dirty(const struct chain *chain);
void chain_commit_when_ready(struct chain *chain);

/* store.c: jobs out, writes, the recent blocks, results */
void chain_submit(struct chain *chain, struct job *job);
bool chain_finished(struct chain *chain,
                    struct job *job); /* bookkeeping of an answer; false: it failed and the chain is dead */
void chain_die(struct chain *chain, const struct error *error);
void chain_read(struct chain *chain, enum file_kind file, uint32_t number, uint64_t offset, uint32_t len,
                void (*done)(void *context, struct job *job), void *context);
void chain_write(struct chain *chain, enum file_kind file, uint32_t number, uint64_t offset,
                 struct buf *bytes, const struct hash256 *hash);
uint64_t *undo_end(struct chain *chain, uint32_t file); /* where the next undo record goes */
void recent_put(struct chain *chain, struct block *block);
struct recent *recent_find(struct chain *chain, const struct hash256 *hash);
void recent_free_all(struct chain *chain);
void result_expect(struct chain *chain, struct entry *entry, uint64_t source);
void result_tell(struct chain *chain, struct entry *entry, bool connected, const struct error *error);
void results_settle(struct chain *chain); /* at rest: whoever still waits is told */
void results_free(struct chain *chain);

/* addr_index.c: spent holds the coins of every input but the coinbase's, in order */
void addr_index_block(struct chain *chain, const struct block_entry *e, const struct block *block,
                      const struct coin *spent, bool add);

/* verify.c: when nothing else is under way; when the chain stops before; when it is freed */
void verify_begin(struct chain *chain);
void verify_drop(struct chain *chain);
void verify_free(struct chain *chain);

/* query.c: coins that are not cached, then a call; also used by connect.c */
void fetch_coins(struct chain *chain, const struct outpoint *outpoints, size_t count,
                 void (*done)(void *context, bool ok), void *context);
void query_after_commit(struct chain *chain);
void scan_when_committed(struct scan_wait *wait);
void query_free_all(struct chain *chain);

#endif
