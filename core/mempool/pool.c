/* The pool as a graph: entries, who spends whom, and the sums over ancestors and descendants. */
#include "core/mempool/mempool_private.h"

#include <math.h>

#define ROLLING_HALF_LIFE_S 43200.0
#define PRIORITIES_MAX      100000u

struct mempool_entry *pool_find(const struct mempool *pool, const struct hash256 *txid)
{
    struct mempool_entry **found = map_get(&pool->by_txid, txid);
    return found ? *found : NULL;
}

const struct mempool_entry *mempool_find(const struct mempool *pool, const struct hash256 *txid)
{
    return pool_find(pool, txid);
}

const struct mempool_entry *mempool_find_wtxid(const struct mempool *pool, const struct hash256 *wtxid)
{
    struct mempool_entry **found = map_get(&pool->by_wtxid, wtxid);
    return found ? *found : NULL;
}

static struct mempool_entry *spender(const struct mempool *pool, const struct outpoint *outpoint)
{
    struct mempool_entry **found = map_get(&pool->spenders, outpoint);
    return found ? *found : NULL;
}

const struct mempool_entry *mempool_spender(const struct mempool *pool, const struct outpoint *outpoint)
{
    return spender(pool, outpoint);
}

static size_t entry_memory(const struct mempool_entry *entry)
{
    return sizeof *entry + sizeof *entry->tx + entry->tx->arena.used_bytes + entry->tx->input_count * 80u +
           160u;
}

/* A growing set of entries, each once: `visited` carries the number of the walk. */
struct entry_set {
    struct mempool_entry **items;
    size_t count, capacity;
};

static void visit(struct mempool *pool, struct entry_set *set, struct mempool_entry *entry)
{
    if (!entry || entry->visited == pool->walk) {
        return;
    }
    entry->visited = pool->walk;
    if (set->count == set->capacity) {
        set->capacity = MAX(set->capacity * 2, 8u);
        set->items = mem_realloc(set->items, set->capacity * sizeof(struct mempool_entry *));
    }
    set->items[set->count++] = entry;
}

static void visit_parents(struct mempool *pool, struct entry_set *set, const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        visit(pool, set, pool_find(pool, &tx->inputs[i].prevout.txid));
    }
}

static void visit_children(struct mempool *pool, struct entry_set *set, const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->output_count; i++) {
        visit(pool, set, spender(pool, &(struct outpoint){tx->txid, i}));
    }
}

struct mempool_entry **pool_conflicts_of(struct mempool *pool, const struct tx *tx, size_t *count)
{
    struct entry_set set = {0};
    pool->walk++;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        visit(pool, &set, spender(pool, &tx->inputs[i].prevout));
    }
    *count = set.count;
    return set.items;
}

static struct mempool_entry **visit_upwards(struct mempool *pool, struct entry_set *set, size_t *count)
{
    for (size_t i = 0; i < set->count; i++) {
        visit_parents(pool, set, set->items[i]->tx);
    }
    *count = set->count;
    return set->items;
}

struct mempool_entry **pool_ancestors_of(struct mempool *pool, const struct tx *tx, size_t *count)
{
    struct entry_set set = {0};
    pool->walk++;
    visit_parents(pool, &set, tx);
    return visit_upwards(pool, &set, count);
}

struct mempool_entry **pool_ancestors_of_package(struct mempool *pool, const struct tx_package *package,
                                                 size_t *count)
{
    struct entry_set set = {0};
    pool->walk++;
    for (size_t i = 0; i < package->count; i++) {
        visit_parents(pool, &set, package->members[i].tx);
    }
    return visit_upwards(pool, &set, count);
}

struct mempool_entry **pool_walk(struct mempool *pool, struct mempool_entry *entry, bool up, size_t *count)
{
    CHECK(entry);
    if (up) {
        return pool_ancestors_of(pool, entry->tx, count);
    }
    struct entry_set set = {0};
    pool->walk++;
    visit_children(pool, &set, entry->tx);
    for (size_t i = 0; i < set.count; i++) {
        visit_children(pool, &set, set.items[i]->tx);
    }
    *count = set.count;
    return set.items;
}

static void adjust_descendant_sums(struct mempool *pool, struct mempool_entry *ancestor,
                                   const struct mempool_entry *entry, int sign)
{
    ancestor->descendant_count += (uint32_t)sign;
    ancestor->descendant_vsize += (uint64_t)(sign * (int64_t)entry->vsize);
    ancestor->descendant_fee_sat += sign * entry->modified_fee_sat;
    evict_update(pool, ancestor);
}

static void adjust_ancestor_sums(struct mempool_entry *descendant, const struct mempool_entry *entry,
                                 int sign)
{
    descendant->ancestor_count += (uint32_t)sign;
    descendant->ancestor_vsize += (uint64_t)(sign * (int64_t)entry->vsize);
    descendant->ancestor_fee_sat += sign * entry->modified_fee_sat;
}

void pool_add(const struct admission *a, struct tx *tx, struct amount fee, uint32_t sigop_cost)
{
    struct mempool *pool = a->pool;
    struct mempool_entry *entry = mem_alloc(sizeof *entry);
    entry->tx = tx_ref(tx);
    entry->fee = fee;
    entry->modified_fee_sat = fee.sat + pool_priority(pool, &tx->txid);
    entry->weight = tx_weight(tx);
    entry->vsize = policy_vsize(tx, sigop_cost);
    entry->sigop_cost = sigop_cost;
    entry->added_unix_s = a->added_unix_s ? a->added_unix_s : moment_unix_s(pool->now);
    entry->restored = a->restored;
    entry->unbroadcast = a->unbroadcast;
    entry->added_height = chain_tip(pool->chain)->height;
    size_t count;
    struct mempool_entry **ancestors = pool_ancestors_of(pool, tx, &count);
    adjust_ancestor_sums(entry, entry, 1);
    entry->descendant_count = 1;
    entry->descendant_vsize = entry->vsize;
    entry->descendant_fee_sat = entry->modified_fee_sat;
    evict_add(pool, entry);
    for (size_t i = 0; i < count; i++) {
        adjust_ancestor_sums(entry, ancestors[i], 1);
        adjust_descendant_sums(pool, ancestors[i], entry, 1);
    }
    mem_free(ancestors);
    *(struct mempool_entry **)map_put(&pool->by_txid, &tx->txid, NULL) = entry;
    *(struct mempool_entry **)map_put(&pool->by_wtxid, &tx->wtxid, NULL) = entry;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        *(struct mempool_entry **)map_put(&pool->spenders, &tx->inputs[i].prevout, NULL) = entry;
    }
    pool->bytes_used += entry_memory(entry);
    pool->vsize_total += entry->vsize;
    pool->fee_total_sat += fee.sat;
    pool->unbroadcast += entry->unbroadcast;
    pool->sequence++;
    pool->events.added(pool->events.context, entry);
}

void pool_remove(struct mempool *pool, struct mempool_entry *entry, const char *reason)
{
    size_t count;
    struct mempool_entry **others = pool_walk(pool, entry, true, &count);
    for (size_t i = 0; i < count; i++) {
        adjust_descendant_sums(pool, others[i], entry, -1);
    }
    mem_free(others);
    others = pool_walk(pool, entry, false, &count);
    for (size_t i = 0; i < count; i++) {
        adjust_ancestor_sums(others[i], entry, -1);
    }
    mem_free(others);
    evict_remove(pool, entry);
    struct tx *tx = entry->tx;
    map_remove(&pool->by_txid, &tx->txid);
    map_remove(&pool->by_wtxid, &tx->wtxid);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        map_remove(&pool->spenders, &tx->inputs[i].prevout);
    }
    pool->bytes_used -= entry_memory(entry);
    pool->vsize_total -= entry->vsize;
    pool->fee_total_sat -= entry->fee.sat;
    pool->unbroadcast -= entry->unbroadcast;
    pool->sequence++;
    mem_free(entry);
    pool->events.removed(pool->events.context, tx, reason);
    tx_unref(tx);
}

void pool_remove_with_descendants(struct mempool *pool, struct mempool_entry *entry, const char *reason)
{
    size_t count;
    struct mempool_entry **others = pool_walk(pool, entry, false, &count);
    while (
        count) { /* what was reached last spends what was reached before: any order is right for the sums */
        pool_remove(pool, others[--count], reason);
    }
    mem_free(others);
    pool_remove(pool, entry, reason);
}

void mempool_set_unbroadcast(struct mempool *pool, const struct hash256 *txid, bool unbroadcast)
{
    struct mempool_entry *entry = pool_find(pool, txid);
    if (entry && entry->unbroadcast != unbroadcast) {
        entry->unbroadcast = unbroadcast;
        pool->unbroadcast += unbroadcast ? 1 : (size_t)-1;
    }
}

int64_t pool_priority(const struct mempool *pool, const struct hash256 *txid)
{
    const int64_t *delta = map_get(&pool->priorities, txid);
    return delta ? *delta : 0;
}

bool mempool_prioritise(struct mempool *pool, const struct hash256 *txid, int64_t delta_sat)
{
    int64_t sum;
    if (__builtin_add_overflow(pool_priority(pool, txid), delta_sat, &sum) || sum > MAX_MONEY ||
        sum < -MAX_MONEY) {
        return false;
    }
    if (!map_get(&pool->priorities, txid) && pool->priorities.count >= PRIORITIES_MAX) {
        return false;
    }
    if (sum) {
        *(int64_t *)map_put(&pool->priorities, txid, NULL) = sum;
    } else {
        map_remove(&pool->priorities, txid);
    }
    struct mempool_entry *entry = pool_find(pool, txid);
    for (int up = 0; entry && up < 2; up++) {
        size_t count;
        struct mempool_entry **others = pool_walk(pool, entry, up, &count);
        for (size_t i = 0; i < count; i++) {
            *(up ? &others[i]->descendant_fee_sat : &others[i]->ancestor_fee_sat) += delta_sat;
            evict_update(pool, others[i]);
        }
        mem_free(others);
    }
    if (entry) {
        entry->modified_fee_sat += delta_sat;
        entry->ancestor_fee_sat += delta_sat;
        entry->descendant_fee_sat += delta_sat;
        evict_update(pool, entry);
        pool->sequence++;
    }
    return true;
}

bool mempool_next_priority(const struct mempool *pool, size_t *position, const struct hash256 **txid,
                           int64_t *delta_sat)
{
    const void *key;
    void *value;
    if (!map_next(&pool->priorities, position, &key, &value)) {
        return false;
    }
    *txid = key;
    *delta_sat = *(int64_t *)value;
    return true;
}

int64_t pool_min_fee(const struct mempool *pool)
{
    double elapsed = (double)(moment_unix_s(pool->now) - pool->rolling_since_s);
    double rolling = pool->rolling_min_fee * pow(0.5, MAX(elapsed, 0.0) / ROLLING_HALF_LIFE_S);
    return MAX((int64_t)rolling, pool->config.min_fee_per_kvb_sat);
}

const struct mempool_entry **mempool_relatives(const struct mempool *const_pool,
                                               const struct mempool_entry *entry, bool up, size_t *count)
{
    struct mempool *pool = (struct mempool *)(uintptr_t)const_pool; /* walks leave marks */
    return (const struct mempool_entry **)pool_walk(pool, pool_find(pool, &entry->tx->txid), up, count);
}

bool mempool_next(const struct mempool *pool, size_t *position, const struct mempool_entry **entry)
{
    void *value;
    if (!map_next(&pool->by_txid, position, NULL, &value)) {
        return false;
    }
    *entry = *(struct mempool_entry **)value;
    return true;
}

bool mempool_next_wtxid(const struct mempool *pool, size_t *position, const struct hash256 **wtxid,
                        const struct mempool_entry **entry)
{
    const void *key;
    void *value;
    if (!map_next(&pool->by_wtxid, position, &key, &value)) {
        return false;
    }
    *wtxid = key; /* bytes: no alignment is asked for */
    *entry = *(struct mempool_entry **)value;
    return true;
}
