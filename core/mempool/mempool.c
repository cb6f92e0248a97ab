/* The pool's outside: opening, what blocks do to it, what it tells. */
#include "core/mempool/mempool_private.h"

#include <stdlib.h>

#define EXPIRE_EVERY_S 60

struct returned_tx { /* out of a block that is no longer on the best chain */
    struct list link;
    struct tx *tx;
};

struct mempool *mempool_new(const struct mempool_config *config, struct chain *chain,
                            void (*submit)(void *context, struct job *job), void *submit_context,
                            const struct mempool_events *events)
{
    struct mempool *pool = mem_alloc(sizeof *pool);
    pool->config = *config;
    pool->chain = chain;
    pool->submit = submit;
    pool->submit_context = submit_context;
    pool->events = *events;
    map_init(&pool->by_txid, sizeof(struct hash256), sizeof(struct mempool_entry *), config->rng);
    map_init(&pool->by_wtxid, sizeof(struct hash256), sizeof(struct mempool_entry *), config->rng);
    map_init(&pool->spenders, sizeof(struct outpoint), sizeof(struct mempool_entry *), config->rng);
    map_init(&pool->priorities, sizeof(struct hash256), sizeof(int64_t), config->rng);
    list_init(&pool->again);
    list_init(&pool->queue);
    list_init(&pool->returned);
    return pool;
}

void mempool_free(struct mempool *pool)
{
    if (!pool) {
        return;
    }
    admit_free_all(pool);
    LIST_EACH_SAFE(at, following, &pool->returned)
    {
        struct returned_tx *returned = CONTAINER_OF(at, struct returned_tx, link);
        tx_unref(returned->tx);
        mem_free(returned);
    }
    void *value;
    for (size_t at = 0; map_next(&pool->by_txid, &at, NULL, &value);) {
        struct mempool_entry *entry = *(struct mempool_entry **)value;
        tx_unref(entry->tx);
        mem_free(entry);
    }
    mem_free(pool->cheapest);
    map_free(&pool->by_txid);
    map_free(&pool->by_wtxid);
    map_free(&pool->spenders);
    map_free(&pool->priorities);
    mem_free(pool);
}

bool mempool_idle(const struct mempool *pool)
{
    return !pool->queued;
}

void mempool_submit(struct mempool *pool, struct tx *tx, uint64_t source, struct moment now)
{
    pool->now = now;
    admit_queue(pool, tx, source, ADMIT);
}

void mempool_restore(struct mempool *pool, struct tx *tx, int64_t added_unix_s, uint64_t source,
                     struct moment now)
{
    pool->now = now;
    admit_restore(pool, tx, MIN(added_unix_s, moment_unix_s(now)), source);
}

void mempool_test(struct mempool *pool, struct tx *tx, uint64_t source, struct moment now)
{
    pool->now = now;
    admit_queue(pool, tx, source, ADMIT_TEST);
}

void mempool_submit_package(struct mempool *pool, struct tx *const *txs, size_t count, enum package_how how,
                            int64_t max_fee_per_kvb_sat, uint64_t source, struct moment now)
{
    pool->now = now;
    admit_package(pool, package_new(txs, count, how, max_fee_per_kvb_sat), source);
}

void mempool_block_connected(struct mempool *pool, const struct block_entry *entry, const struct block *block)
{
    (void)entry;
    for (uint32_t t = 1; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        struct mempool_entry *included = pool_find(pool, &tx->txid);
        if (included) {
            pool_remove(pool, included, "block");
        }
        map_remove(&pool->priorities, &tx->txid);
        for (uint32_t i = 0; i < tx->input_count; i++) {
            const struct mempool_entry *conflict = mempool_spender(pool, &tx->inputs[i].prevout);
            if (conflict) {
                pool_remove_with_descendants(pool, pool_find(pool, &conflict->tx->txid), "conflict");
            }
        }
    }
}

void mempool_block_disconnected(struct mempool *pool, const struct block_entry *entry,
                                const struct block *block)
{
    (void)entry;
    pool->reorganised = true;
    for (uint32_t t = block->tx_count;
         t-- > 1;) { /* to the front, last first: older blocks end up before newer ones */
        struct tx *tx = tx_parse(block->txs[t].raw, NULL);
        CHECK(tx);
        struct returned_tx *returned = mem_alloc(sizeof *returned);
        returned->tx = tx;
        list_append(pool->returned.next, &returned->link);
    }
}

static int by_ancestors(const void *a, const void *b)
{
    const struct mempool_entry *x = *(struct mempool_entry *const *)a, *y = *(struct mempool_entry *const *)b;
    return x->ancestor_count < y->ancestor_count ? -1 : x->ancestor_count > y->ancestor_count;
}

void mempool_settled(struct mempool *pool, struct moment now)
{
    pool->now = now;
    if (!pool->reorganised) {
        return;
    }
    size_t count = 0, waiting = pool->again_count;
    struct mempool_entry **entries = mem_alloc(pool->by_txid.count * sizeof(struct mempool_entry *));
    void *value;
    for (size_t at = 0; map_next(&pool->by_txid, &at, NULL, &value);) {
        entries[count++] = *(struct mempool_entry **)value;
    }
    qsort(entries, count, sizeof(struct mempool_entry *), by_ancestors);
    LIST_EACH_SAFE(at, following, &pool->returned)
    {
        struct returned_tx *returned = CONTAINER_OF(at, struct returned_tx, link);
        list_remove(at);
        admit_queue(pool, returned->tx, 0, ADMIT_QUIET);
        tx_unref(returned->tx);
        mem_free(returned);
    }
    for (size_t i = 0; i < count; i++) {
        admit_again(pool, entries[i]);
    }
    while (count) {
        pool_remove(pool, entries[--count], "reorg");
    }
    mem_free(entries);
    pool->reorganised = false;
    admit_after_reorganisation(pool, waiting);
}

bool mempool_is_expired(const struct mempool *pool, int64_t added_unix_s, struct moment now)
{
    return added_unix_s < moment_unix_s(now) - pool->config.expiry_s;
}

void mempool_expire(struct mempool *pool, struct moment now)
{
    struct buf old = {0}; /* their txids: one may go with another */
    void *value;
    int64_t since_s = moment_unix_s(now) - pool->expired_unix_s;
    pool->now = now;
    if (since_s >= 0 && since_s < EXPIRE_EVERY_S) {
        return; /* it takes a look at every entry */
    }
    pool->expired_unix_s = moment_unix_s(now);
    for (size_t at = 0; map_next(&pool->by_txid, &at, NULL, &value);) {
        const struct mempool_entry *entry = *(struct mempool_entry **)value;
        if (mempool_is_expired(pool, entry->added_unix_s, now)) {
            buf_bytes(&old, entry->tx->txid.b, sizeof entry->tx->txid);
        }
    }
    for (size_t at = 0; at < old.len; at += sizeof(struct hash256)) {
        struct hash256 txid;
        memcpy(txid.b, old.data + at, sizeof txid);
        struct mempool_entry *entry = pool_find(pool, &txid);
        if (entry) {
            pool_remove_with_descendants(pool, entry, "expiry");
        }
    }
    buf_free(&old);
}

size_t mempool_count(const struct mempool *pool)
{
    return pool->by_txid.count;
}

void mempool_info(const struct mempool *pool, struct mempool_info *out)
{
    *out = (struct mempool_info){
        .count = pool->by_txid.count,
        .bytes_used = pool->bytes_used,
        .bytes_max = pool->config.bytes_max,
        .pending = pool->queued,
        .unbroadcast = pool->unbroadcast,
        .vsize_total = pool->vsize_total,
        .fee_total_sat = pool->fee_total_sat,
        .min_fee_per_kvb_sat = pool_min_fee(pool),
        .sequence = pool->sequence,
    };
}
