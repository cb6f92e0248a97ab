/*
 * core/mempool: valid transactions that no block has yet.
 *
 * Admission (asynchronous: coins are fetched and scripts checked through the chain's jobs), policy, order by
 * fee, limits and eviction, and taking back what a reorganisation returned. Not here: relay (core/p2p) and
 * block building (core/mining). Thread: the loop thread.
 */
#ifndef QUARRY_CORE_MEMPOOL_H
#define QUARRY_CORE_MEMPOOL_H

#include "core/chain/chain.h"

struct mempool_entry { /* read-only outside */
    struct tx *tx;     /* the pool's reference */
    struct amount fee;
    int64_t modified_fee_sat; /* with what mempool_prioritise added: what choices go by */
    uint32_t vsize;           /* policy's: 20 bytes for each signature operation where that is more */
    uint32_t weight, sigop_cost;
    int64_t added_unix_s;
    uint32_t added_height;
    bool restored;    /* came by mempool_restore: others were told of it before */
    bool unbroadcast; /* came from a person, and no peer has asked for it yet */
    /* Packages, kept up to date: this entry with all its unconfirmed ancestors / descendants in the pool;
     * fees are modified ones. */
    uint32_t ancestor_count, descendant_count;
    uint64_t ancestor_vsize, descendant_vsize;
    int64_t ancestor_fee_sat, descendant_fee_sat;
    uint64_t visited; /* private: marks walks; place in a heap */
    size_t cheapest_at;
};

#define TRUC_VERSION 3 /* BIP431 */

#define PACKAGE_MAX        25u
#define PACKAGE_WEIGHT_MAX 404000u
struct package_member { /* of transactions that are judged together */
    struct tx *tx;
    struct error error; /* why it was refused; ERROR_NONE: it was not */
    bool judged;        /* passed; its fee and size are known */
    struct amount fee;
    uint32_t vsize, sigop_cost;
};
enum package_how {
    PACKAGE_TEST, /* each pays for itself, and the pool stays as it is */
    /* All are taken when their fees together suffice for all. Below the relay floor only TRUC_VERSION is paid
     * for: of others the child could be replaced alone. */
    PACKAGE_SUBMIT,
};

struct mempool_events {
    void *context;
    /* The answer to mempool_submit, exactly once each: error NULL = admitted (or was already in:
     * ERROR_DUPLICATE). ERROR_MISSING "bad-txns-inputs-missingorspent"/"missing-inputs": an input is unknown.
     */
    void (*result)(void *context, struct tx *tx, uint64_t source, const struct error *error);
    /* The answer to mempool_test, exactly once each; the fee means something only where error is NULL. */
    void (*tested)(void *context, struct tx *tx, uint64_t source, struct amount fee,
                   const struct error *error);
    /* The answer to mempool_submit_package, exactly once each: what became of each, borrowed. Members behind
     * the first that was refused have not been looked at. NULL: nobody asks. */
    void (*package)(void *context, uint64_t source, const struct package_member *members, size_t count);
    void (*added)(void *context, const struct mempool_entry *entry);
    void (*removed)(void *context, const struct tx *tx,
                    const char *reason); /* "block", "conflict", "expiry", "sizelimit", "reorg", "replaced" */
};

/* Transactions that wait to be judged, in memory. From half of it on, only those of sources that have few are
 * taken: where scripts are slow, who sends many large ones waits for himself. */
#define MEMPOOL_PENDING_BYTES_MAX (64u << 20)

struct mempool_config {
    size_t bytes_max;                        /* memory bound, default 300 MB less under a small cgroup */
    int64_t min_fee_per_kvb_sat;             /* relay floor, default 1000 */
    int64_t expiry_s;                        /* default 14 days */
    uint32_t ancestors_max, descendants_max; /* 25 */
    uint32_t pending_max;                    /* admissions under way at once */
    bool require_standard;                   /* false on regtest and cluster: only consensus and size rules */
    struct rng *rng;
};

struct mempool;
/* submit: where JOB_CHECK_SCRIPTS goes (the same function as the chain's). */
struct mempool *mempool_new(const struct mempool_config *config, struct chain *chain,
                            void (*submit)(void *context, struct job *job), void *submit_context,
                            const struct mempool_events *events);
void mempool_free(struct mempool *pool);
bool mempool_idle(const struct mempool *pool);

/* Takes its own reference to tx. The result event follows, possibly from inside this call. One is judged
 * after the other: those of a source in their order, sources in turns by bytes. source is handed back; all
 * from 2^32 on that are alike in their upper half are one source in this. */
void mempool_submit(struct mempool *pool, struct tx *tx, uint64_t source, struct moment now);
/* The same for one that was in a pool before (mempool.dat): it counts as admitted then, not later than now.
 */
void mempool_restore(struct mempool *pool, struct tx *tx, int64_t added_unix_s, uint64_t source,
                     struct moment now);
/* Whether a transaction that was admitted then has waited for too long. */
bool mempool_is_expired(const struct mempool *pool, int64_t added_unix_s, struct moment now);
/* Judges tx as mempool_submit would at this moment, scripts and all, and leaves the pool as it is. The tested
 * event follows, possibly from inside this call. */
void mempool_test(struct mempool *pool, struct tx *tx, uint64_t source, struct moment now);
/* Judges transactions that may spend those before them, none of them in the pool; the package event follows.
 * A parent and its child may replace others (package_rbf.c); none may pay more than so much per kvB (0: no
 * limit). Takes its own references. */
void mempool_submit_package(struct mempool *pool, struct tx *const *txs, size_t count, enum package_how how,
                            int64_t max_fee_per_kvb_sat, uint64_t source, struct moment now);
/* Whether a fee is above so much per kvB; never where that is 0. */
bool mempool_fee_too_high(struct amount fee, uint32_t vsize, int64_t max_fee_per_kvb_sat);
/* Whether they are few, small, different, in order, and without conflict among themselves. Words are Core's.
 */
bool package_check(struct tx *const *txs, size_t count, struct error *error) MUST_USE;
/* Whether the last spends each of the others, which do not spend each other. */
bool package_is_family(struct tx *const *txs, size_t count);
/* From now on a transaction, in the pool or yet to come, counts as if it paid so much more (or less): for
 * admission, replacement, eviction and blocks. Adds up; ends when a block holds it. False: too many are
 * remembered. */
bool mempool_prioritise(struct mempool *pool, const struct hash256 *txid, int64_t delta_sat) MUST_USE;
/* What is remembered; start with *position = 0; false at the end. */
bool mempool_next_priority(const struct mempool *pool, size_t *position, const struct hash256 **txid,
                           int64_t *delta_sat);
/* Whether others still have to be told of it: set for what a person has sent, taken back when a peer has
 * fetched it. Nothing happens for a transaction that is not in the pool. */
void mempool_set_unbroadcast(struct mempool *pool, const struct hash256 *txid, bool unbroadcast);
/* To be called from the chain's events, in order. Disconnected transactions come back after mempool_settled.
 */
void mempool_block_connected(struct mempool *pool, const struct block_entry *entry,
                             const struct block *block);
void mempool_block_disconnected(struct mempool *pool, const struct block_entry *entry,
                                const struct block *block);
/* The chain has settled on a new tip: re-admit what reorganised blocks returned, drop what is no longer final
 * or spends lost coins. */
void mempool_settled(struct mempool *pool, struct moment now);
void mempool_expire(struct mempool *pool, struct moment now);

const struct mempool_entry *mempool_find(const struct mempool *pool, const struct hash256 *txid);
const struct mempool_entry *mempool_find_wtxid(const struct mempool *pool, const struct hash256 *wtxid);
/* The pool transaction that spends an outpoint, or NULL. */
const struct mempool_entry *mempool_spender(const struct mempool *pool, const struct outpoint *outpoint);
size_t mempool_count(const struct mempool *pool);
/* All unconfirmed ancestors (up) or descendants of an entry, itself excluded, each once, in no particular
 * order. The caller frees the list with mem_free; the entries are borrowed. */
const struct mempool_entry **mempool_relatives(const struct mempool *pool, const struct mempool_entry *entry,
                                               bool up, size_t *count);
/* Iterates in no particular order; start with *position = 0; false at the end. */
bool mempool_next(const struct mempool *pool, size_t *position, const struct mempool_entry **entry);
/* The same by wtxid, which is at hand without a look at the entry: for those who pass most of them by. */
bool mempool_next_wtxid(const struct mempool *pool, size_t *position, const struct hash256 **wtxid,
                        const struct mempool_entry **entry);
/* Best ancestor fee rate first, parents before children, within weight and sigop room: what a block should
 * hold. Returns the number written to out (borrowed entries). Entries not final at height/time are left out.
 */
size_t mempool_select(const struct mempool *pool, const struct mempool_entry **out, size_t max,
                      uint32_t weight_max, uint32_t sigop_cost_max, uint32_t height, int64_t median_time);

struct mempool_info {
    size_t count, bytes_used, bytes_max, pending, unbroadcast;
    uint64_t vsize_total;
    int64_t fee_total_sat, min_fee_per_kvb_sat;
    uint64_t sequence; /* counts additions and removals */
};
void mempool_info(const struct mempool *pool, struct mempool_info *out);

/* ---- mempool.dat: Bitcoin Core's form, versions 1 and 2 (dump.c) --------------------------------------- */

#define DUMP_KEY_BYTES 8

/* What stood in a mempool.dat and never came into the pool, since the node was stopped meanwhile. */
struct mempool_unread { /* zero-initialise */
    struct unread_tx {
        struct tx *tx;
        int64_t added_unix_s, delta_sat;
    } * txs;
    size_t count, capacity, bytes;
    struct buf unbroadcast; /* txids */
};
/* Takes its own reference to tx. */
void mempool_unread_add(struct mempool_unread *unread, struct tx *tx, int64_t added_unix_s,
                        int64_t delta_sat);
void mempool_unread_free(struct mempool_unread *unread);

/* A pool as it was at one moment, to be written piece by piece. */
struct mempool_dump;
/* key masks what is written: whatever a transaction holds, no scanner of files takes it for its own. What is
 * unread is written behind what is in the pool. */
struct mempool_dump *mempool_dump_new(const struct mempool *pool, const struct mempool_unread *unread,
                                      const uint8_t key[DUMP_KEY_BYTES]);
void mempool_dump_free(struct mempool_dump *dump);          /* NULL is fine */
size_t mempool_dump_count(const struct mempool_dump *dump); /* transactions */
/* Appends what comes next, some more than so many bytes; false: with that it is whole. */
bool mempool_dump_next(struct mempool_dump *dump, size_t bytes, struct buf *out);

enum dump_kind {
    DUMP_TX,          /* tx, added_unix_s, delta_sat */
    DUMP_PRIORITY,    /* txid, delta_sat: of one that the pool did not have */
    DUMP_UNBROADCAST, /* txid */
    DUMP_END,
    DUMP_MORE,    /* more of the file is wanted */
    DUMP_DAMAGED, /* and *error says where */
};
struct dump_item {
    struct tx *tx; /* one reference, the caller's */
    int64_t added_unix_s, delta_sat;
    struct hash256 txid;
};
struct dump_reader {  /* zero-initialise; private but for dump_reader_behind_txs */
    struct buf bytes; /* unmasked; what has been read is cut off when more comes */
    size_t at;
    uint64_t offset; /* in the file, of the end of bytes */
    bool last;       /* nothing follows */
    enum dump_stage {
        DUMP_IN_HEADER,
        DUMP_IN_TXS,
        DUMP_IN_PRIORITIES,
        DUMP_IN_UNBROADCAST,
        DUMP_AT_END
    } stage;
    bool counted; /* the count of this stage has been read */
    uint64_t count, left;
    uint8_t key[DUMP_KEY_BYTES]; /* zeros: not masked */
};
void dump_reader_free(struct dump_reader *reader);
/* The next bytes of the file; last: its end. */
void dump_feed(struct dump_reader *reader, struct span bytes, bool last);
enum dump_kind dump_next(struct dump_reader *reader, struct dump_item *item, struct error *error);
/* All transactions have been given out: what follows speaks of them. */
bool dump_reader_behind_txs(const struct dump_reader *reader);

#endif
