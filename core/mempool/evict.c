/* Who goes when the pool is full: a heap of all entries, the cheapest first. What counts is the better of two
 * fee rates, an entry's own and that of it with its descendants, which would have to go with it. */
#include "core/mempool/mempool_private.h"

static double rate_of(const struct mempool_entry *entry)
{
    return MAX((double)entry->descendant_fee_sat / (double)entry->descendant_vsize,
               (double)entry->modified_fee_sat / entry->vsize);
}

static void place(struct mempool *pool, struct mempool_entry *entry, size_t at)
{
    pool->cheapest[at] = entry;
    entry->cheapest_at = at;
}

void evict_update(struct mempool *pool, struct mempool_entry *entry)
{
    struct mempool_entry **heap = pool->cheapest;
    size_t at = entry->cheapest_at;
    double rate = rate_of(entry);
    for (; at && rate < rate_of(heap[(at - 1) / 2]); at = (at - 1) / 2) {
        place(pool, heap[(at - 1) / 2], at);
    }
    for (size_t child; (child = 2 * at + 1) < pool->cheapest_count; at = child) {
        child += child + 1 < pool->cheapest_count && rate_of(heap[child + 1]) < rate_of(heap[child]);
        if (rate_of(heap[child]) >= rate) {
            break;
        }
        place(pool, heap[child], at);
    }
    place(pool, entry, at);
}

void evict_add(struct mempool *pool, struct mempool_entry *entry)
{
    if (pool->cheapest_count == pool->cheapest_capacity) {
        pool->cheapest_capacity = MAX(pool->cheapest_capacity * 2, 64u);
        pool->cheapest =
            mem_realloc(pool->cheapest, pool->cheapest_capacity * sizeof(struct mempool_entry *));
    }
    place(pool, entry, pool->cheapest_count++);
    evict_update(pool, entry);
}

void evict_remove(struct mempool *pool, struct mempool_entry *entry)
{
    struct mempool_entry *last = pool->cheapest[--pool->cheapest_count];
    if (last != entry) {
        place(pool, last, entry->cheapest_at);
        evict_update(pool, last);
    }
}

/* The price of entry rises above what went. */
void pool_trim(struct mempool *pool)
{
    while (pool->bytes_used > pool->config.bytes_max && pool->cheapest_count) {
        struct mempool_entry *worst = pool->cheapest[0];
        pool->rolling_min_fee =
            MAX((double)pool_min_fee(pool), rate_of(worst) * 1000 + (double)pool->config.min_fee_per_kvb_sat);
        pool->rolling_since_s = moment_unix_s(pool->now);
        pool_remove_with_descendants(pool, worst, "sizelimit");
    }
}
