/* What a block should hold: packages of a transaction with its unconfirmed ancestors, best fee rate first. A
 * heap of packages whose sums shrink as ancestors are taken; parents come out before children. */
#include "core/mempool/mempool_private.h"

#include <stdlib.h>

struct package {
    struct mempool_entry *entry;
    uint64_t vsize; /* of what is not taken yet */
    int64_t fee_sat;
    size_t heap_at; /* SIZE_MAX: out of the heap */
    bool taken;
};

struct selection {
    struct mempool *pool;
    struct package *items; /* of each entry, where that stands in pool->cheapest, which rests meanwhile */
    struct package **heap;
    size_t count;
};

static bool better(const struct package *a, const struct package *b)
{
    double x = (double)a->fee_sat * (double)b->vsize, y = (double)b->fee_sat * (double)a->vsize;
    return x != y ? x > y : memcmp(a->entry->tx->txid.b, b->entry->tx->txid.b, 32) < 0;
}

static void heap_set(struct selection *s, size_t at, struct package *p)
{
    s->heap[at] = p;
    p->heap_at = at;
}

static void heap_down(struct selection *s, size_t at)
{
    struct package *p = s->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < s->count && better(s->heap[child + 1], s->heap[child])) {
            child++;
        }
        if (child >= s->count || !better(s->heap[child], p)) {
            break;
        }
        heap_set(s, at, s->heap[child]);
        at = child;
    }
    heap_set(s, at, p);
}

static void heap_fix(struct selection *s, size_t at)
{
    struct package *p = s->heap[at];
    while (at > 0 && better(p, s->heap[(at - 1) / 2])) {
        heap_set(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    s->heap[at] = p;
    heap_down(s, at);
}

static void heap_remove(struct selection *s, struct package *p)
{
    size_t at = p->heap_at;
    p->heap_at = SIZE_MAX;
    s->count--;
    if (at < s->count) {
        heap_set(s, at, s->heap[s->count]);
        heap_fix(s, at);
    }
}

static struct package *package_of(struct selection *s, const struct mempool_entry *entry)
{
    return &s->items[entry->cheapest_at];
}

static int by_ancestors(const void *a, const void *b)
{
    const struct mempool_entry *x = *(struct mempool_entry *const *)a, *y = *(struct mempool_entry *const *)b;
    if (x->ancestor_count != y->ancestor_count) {
        return x->ancestor_count < y->ancestor_count ? -1 : 1;
    }
    return memcmp(x->tx->txid.b, y->tx->txid.b, 32);
}

/* The package's entries that are not taken yet, parents first; the caller frees. */
static struct mempool_entry **members(struct selection *s, struct package *p, size_t *count)
{
    size_t ancestors, kept = 0;
    struct mempool_entry **all = pool_walk(s->pool, p->entry, true, &ancestors);
    for (size_t i = 0; i < ancestors; i++) {
        if (!package_of(s, all[i])->taken) {
            all[kept++] = all[i];
        }
    }
    all = mem_realloc(all, (kept + 1) * sizeof(struct mempool_entry *));
    all[kept++] = p->entry;
    qsort(all, kept, sizeof(struct mempool_entry *), by_ancestors);
    *count = kept;
    return all;
}

static void take(struct selection *s, struct mempool_entry *entry)
{
    struct package *p = package_of(s, entry);
    size_t count;
    p->taken = true;
    if (p->heap_at != SIZE_MAX) {
        heap_remove(s, p);
    }
    struct mempool_entry **descendants = pool_walk(s->pool, entry, false, &count);
    for (size_t i = 0; i < count; i++) {
        struct package *d = package_of(s, descendants[i]);
        d->vsize -= entry->vsize;
        d->fee_sat -= entry->modified_fee_sat;
        if (d->heap_at != SIZE_MAX) {
            heap_fix(s, d->heap_at);
        }
    }
    mem_free(descendants);
}

static void selection_init(struct selection *s, struct mempool *pool)
{
    size_t count = pool->cheapest_count;
    *s = (struct selection){.pool = pool, .count = count};
    s->items = mem_alloc(count * sizeof *s->items);
    s->heap = mem_alloc(count * sizeof(struct package *));
    for (size_t i = 0; i < count; i++) {
        struct mempool_entry *entry = pool->cheapest[i];
        s->items[i] = (struct package){
            .entry = entry, .vsize = entry->ancestor_vsize, .fee_sat = entry->ancestor_fee_sat, .heap_at = i};
        s->heap[i] = &s->items[i];
    }
    for (size_t i = count / 2; i-- > 0;) {
        heap_down(s, i);
    }
}

size_t mempool_select(const struct mempool *const_pool, const struct mempool_entry **out, size_t max,
                      uint32_t weight_max, uint32_t sigop_cost_max, uint32_t height, int64_t median_time)
{
    struct mempool *pool = (struct mempool *)(uintptr_t)const_pool; /* walks leave marks */
    struct selection s;
    size_t chosen = 0, misses = 0;
    uint32_t weight = 0, sigops = 0;
    selection_init(&s, pool);
    while (s.count && chosen < max && misses < 1000) {
        struct package *best = s.heap[0];
        size_t count;
        heap_remove(&s, best);
        struct mempool_entry **entries = members(&s, best, &count);
        uint64_t more_weight = 0, more_sigops = 0;
        bool final = true;
        for (size_t i = 0; i < count; i++) {
            more_weight += entries[i]->weight;
            more_sigops += entries[i]->sigop_cost;
            final &= tx_is_final(entries[i]->tx, height, median_time);
        }
        if (final && weight + more_weight <= weight_max && sigops + more_sigops <= sigop_cost_max &&
            chosen + count <= max) {
            for (size_t i = 0; i < count; i++) {
                out[chosen++] = entries[i];
                take(&s, entries[i]);
            }
            weight += (uint32_t)more_weight;
            sigops += (uint32_t)more_sigops;
        } else {
            misses++;
        }
        mem_free(entries);
    }
    mem_free(s.items);
    mem_free(s.heap);
    return chosen;
}
