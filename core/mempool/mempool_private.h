/* Private to core/mempool: the pool's state. */
#ifndef QUARRY_CORE_MEMPOOL_PRIVATE_H
#define QUARRY_CORE_MEMPOOL_PRIVATE_H

#include "core/mempool/mempool.h"

#define REPLACED_MAX 100u /* by one replacement */

struct tx_package { /* transactions that are judged together (package.c) */
    enum package_how how;
    int64_t max_fee_per_kvb_sat; /* of each; 0: no limit */
    struct package_member *members;
    size_t count, at;
    int64_t fee_sat; /* of those judged, modified */
    uint64_t vsize;
};

struct admission { /* one transaction on its way in; or several, one after the other */
    struct list link;
    struct mempool *pool;
    struct tx *tx;
    uint64_t source;
    bool quiet;           /* comes back after a reorganisation: nobody waits for the answer */
    bool test;            /* only to be judged */
    bool restored;        /* mempool.dat had it */
    bool unbroadcast;     /* its entry was, before the reorganisation */
    int64_t added_unix_s; /* 0: now */
    bool has_sibling;     /* one that goes for it, as if both spent the same (truc.c) */
    struct hash256 sibling;
    struct tx_package *package; /* whose member tx is; NULL: alone */
    size_t bytes;               /* that are counted while it waits */
    uint64_t place;             /* in the order of the queue (take_place) */
    struct coins_view *view;
    struct coin *spent;
    const struct block_entry *tip; /* that it was judged on */
    uint32_t sigop_cost, vsize, script_flags, block_flags;
    uint32_t failed_input;
    struct error why; /* its script does not pass */
    struct amount fee;
    struct sighash_cache cache;
    struct arena arena;
};

struct mempool {
    struct mempool_config config;
    struct chain *chain;
    void (*submit)(void *context, struct job *job);
    void *submit_context;
    struct mempool_events events;
    struct map by_txid, by_wtxid; /* -> struct mempool_entry * */
    struct map spenders;          /* outpoint -> struct mempool_entry * */
    struct map priorities;        /* txid -> int64_t, satoshis that its fee counts for more */
    size_t bytes_used, unbroadcast;
    uint64_t vsize_total, sequence, walk;
    int64_t fee_total_sat;
    struct mempool_entry **cheapest; /* all entries, a heap (evict.c) */
    size_t cheapest_count, cheapest_capacity;
    double rolling_min_fee; /* sat per 1000 vbytes; rises when full, halves with time */
    int64_t rolling_since_s;
    struct list again;  /* struct admission: what a reorganisation returned, before all others */
    struct list queue;  /* struct admission, by place */
    uint64_t place_now; /* of the last that was begun with */
    size_t queued, again_count, queued_bytes; /* admissions in both; of them in again */
    struct admission *current;                /* of the queue: under way; NULL: none */
    bool working;
    struct list returned;   /* struct returned_tx, oldest block first */
    int64_t expired_unix_s; /* when what is too old was last looked for */
    bool reorganised;       /* blocks were taken off; until the chain settles, its coins belong to no tip */
    struct moment now;
};

/* pool.c */
struct mempool_entry *pool_find(const struct mempool *pool, const struct hash256 *txid);
int64_t pool_priority(const struct mempool *pool, const struct hash256 *txid); /* 0: none */
/* Of an admission: one of its transactions, which has passed. */
void pool_add(const struct admission *a, struct tx *tx, struct amount fee, uint32_t sigop_cost);
void pool_remove(struct mempool *pool, struct mempool_entry *entry,
                 const char *reason); /* alone: descendants stay */
void pool_remove_with_descendants(struct mempool *pool, struct mempool_entry *entry, const char *reason);
/* Entries reachable downwards or upwards, itself excluded; the caller frees with mem_free. */
struct mempool_entry **pool_walk(struct mempool *pool, struct mempool_entry *entry, bool up, size_t *count);
/* The distinct unconfirmed ancestors that a transaction, or several, not in the pool would have there. */
struct mempool_entry **pool_ancestors_of(struct mempool *pool, const struct tx *tx, size_t *count);
struct mempool_entry **pool_ancestors_of_package(struct mempool *pool, const struct tx_package *package,
                                                 size_t *count);
/* The entries that spend what a transaction spends. */
struct mempool_entry **pool_conflicts_of(struct mempool *pool, const struct tx *tx, size_t *count);
int64_t pool_min_fee(const struct mempool *pool);

/* evict.c: an entry has come; its rates have changed; it goes. Then: until the pool is within its bound. */
void evict_add(struct mempool *pool, struct mempool_entry *entry);
void evict_update(struct mempool *pool, struct mempool_entry *entry);
void evict_remove(struct mempool *pool, struct mempool_entry *entry);
void pool_trim(struct mempool *pool);

/* admit.c */
void admit_package(struct mempool *pool, struct tx_package *package, uint64_t source); /* takes it over */
/* The unconfirmed transaction of this id, of the pool or before it in its package; NULL: none. */
const struct tx *admission_parent(const struct admission *a, const struct hash256 *txid);
enum admit_how { ADMIT, ADMIT_QUIET, ADMIT_TEST };
void admit_queue(struct mempool *pool, struct tx *tx, uint64_t source, enum admit_how how);
/* Of an entry that a reorganisation takes out for a while. */
void admit_again(struct mempool *pool, const struct mempool_entry *entry);
void admit_restore(struct mempool *pool, struct tx *tx, int64_t added_unix_s, uint64_t source);
/* The first `waiting` of those that an earlier reorganisation returned go behind what this one did: they may
 * spend it. */
void admit_after_reorganisation(struct mempool *pool, size_t waiting);
void admit_free_all(struct mempool *pool);

/* package.c */
struct tx_package *package_new(struct tx *const *txs, size_t count, enum package_how how,
                               int64_t max_fee_per_kvb_sat);
void package_free(struct tx_package *package); /* NULL is fine */
void package_restart(struct tx_package *package);
const struct tx *package_find(const struct tx_package *package,
                              const struct hash256 *txid); /* before the current */
/* Whether one of the first `before` spends an output. */
bool package_spends(const struct tx_package *package, size_t before, const struct outpoint *output);

/* truc.c: BIP431, once the size is known. */
bool truc_check(struct admission *a, struct error *error);

/* replace.c: how many transactions of the pool spend what tx spends; whether it may replace them; and that.
 */
size_t replace_count(struct mempool *pool, const struct tx *tx);
/* The one transaction that tx would replace; NULL: none, or several. */
const struct mempool_entry *replace_only(struct mempool *pool, const struct tx *tx);
/* also: one more transaction to be replaced, or NULL. */
bool replace_check(struct mempool *pool, const struct tx *tx, struct mempool_entry *also,
                   int64_t modified_fee_sat, uint32_t vsize, struct error *error);
/* package_rbf.c: whether a package whose members have all been judged may replace what any of them conflicts
 * with; true where there is nothing. */
bool package_may_replace(struct mempool *pool, const struct tx_package *package, struct error *error);
void replace_conflicts(struct mempool *pool, const struct tx *tx);

/* policy.c. Virtual size: 20 bytes for each signature operation where that is more (always). */
uint32_t policy_vsize(const struct tx *tx, uint32_t sigop_cost);
/* What Core calls standard; only where config.require_standard: the transaction, what it spends, its witness.
 */
bool policy_standard(const struct tx *tx, struct error *error);
bool policy_standard_inputs(const struct tx *tx, const struct coin *spent, struct error *error);
bool policy_standard_witness(const struct tx *tx, const struct coin *spent, struct error *error);

#endif
