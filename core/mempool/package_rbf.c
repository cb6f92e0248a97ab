/*
 * Replacement by a package, as Bitcoin Core 28: a parent and its child, who have nobody else unconfirmed,
 * push out what either conflicts with, when the two together pay for it and what they leave behind is worth
 * more to a miner at every size. What goes stands in families of two at most, so that this can be told
 * exactly.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mempool/mempool_private.h"

static bool refuse(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(struct error *error, const char *format, ...)
{
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(error, ERROR_POLICY, "package RBF failed", "%s", text);
}

/* ---- What goes ----------------------------------------------------------------------------------------- */

struct entries {
    struct mempool_entry **items;
    size_t count;
};

static bool holds(const struct entries *set, const struct mempool_entry *entry)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] == entry) {
            return true;
        }
    }
    return false;
}

static void add(struct entries *set, struct mempool_entry *const *items, size_t count)
{
    set->items = mem_realloc(set->items, (set->count + count + 1) * sizeof(struct mempool_entry *));
    for (size_t i = 0; i < count; i++) {
        if (!holds(set, items[i])) {
            set->items[set->count++] = items[i];
        }
    }
}

/* direct: what spends the same; all: with everything that builds on that. False: too many would go. */
static bool find_conflicts(struct mempool *pool, const struct tx_package *package, struct entries *direct,
                           struct entries *all)
{
    for (size_t i = 0; i < package->count; i++) {
        size_t count;
        struct mempool_entry **conflicts = pool_conflicts_of(pool, package->members[i].tx, &count);
        add(direct, conflicts, count);
        mem_free(conflicts);
    }
    for (size_t i = 0; i < direct->count && all->count <= REPLACED_MAX; i++) {
        size_t count;
        struct mempool_entry **descendants = pool_walk(pool, direct->items[i], false, &count);
        add(all, &direct->items[i], 1);
        add(all, descendants, count);
        mem_free(descendants);
    }
    return all->count <= REPLACED_MAX;
}

/* The one unconfirmed parent, or child, of an entry that has just one. */
static struct mempool_entry *only_relative(struct mempool *pool, struct mempool_entry *entry, bool up)
{
    size_t count;
    struct mempool_entry **relatives = pool_walk(pool, entry, up, &count);
    CHECK(count == 1);
    struct mempool_entry *only = relatives[0];
    mem_free(relatives);
    return only;
}

/* Alone, or one of two who have nobody else. */
static bool is_small_family(struct mempool *pool, struct mempool_entry *entry, struct error *error)
{
    char own[HASH256_TEXT], other[HASH256_TEXT];
    uint32_t ancestors = entry->ancestor_count - 1, descendants = entry->descendant_count - 1;
    hash256_text(own, &entry->tx->txid);
    if (ancestors > 1) {
        return refuse(error, "%s has %u ancestors, max 1 allowed", own, ancestors);
    }
    if (descendants > 1) {
        return refuse(error, "%s has %u descendants, max 1 allowed", own, descendants);
    }
    if (ancestors && descendants) {
        return refuse(error, "%s has both ancestor and descendant, exceeding cluster limit of 2", own);
    }
    if (descendants) {
        const struct mempool_entry *child = only_relative(pool, entry, false);
        return child->ancestor_count == 2 || refuse(error, "%s is not the only parent of child %s", own,
                                                    hash256_text(other, &child->tx->txid));
    }
    if (ancestors) {
        const struct mempool_entry *parent = only_relative(pool, entry, true);
        return parent->descendant_count == 2 || refuse(error, "%s is not the only child of parent %s", own,
                                                       hash256_text(other, &parent->tx->txid));
    }
    return true;
}

/* ---- Feerate diagrams ---------------------------------------------------------------------------------- */

struct chunk { /* mined together */
    int64_t fee_sat, vsize;
};

struct diagram {
    struct chunk *chunks; /* the best rate first */
    size_t count;
};

static int compare_rates(struct chunk a, struct chunk b)
{
    __int128 left = (__int128)a.fee_sat * b.vsize, right = (__int128)b.fee_sat * a.vsize;
    return left < right ? -1 : left > right;
}

static int by_rate(const void *a, const void *b)
{
    return -compare_rates(*(const struct chunk *)a, *(const struct chunk *)b);
}

static void put_chunk(struct diagram *d, int64_t fee_sat, int64_t vsize)
{
    d->chunks = mem_realloc(d->chunks, (d->count + 1) * sizeof *d->chunks);
    d->chunks[d->count++] = (struct chunk){fee_sat, vsize};
}

static void put_own(struct diagram *d, const struct mempool_entry *entry)
{
    put_chunk(d, entry->modified_fee_sat, entry->vsize);
}

/* The fee at a size, as a fraction: above / below. */
static void value_at(const struct diagram *d, int64_t vsize, __int128 *above, int64_t *below)
{
    struct chunk sum = {0};
    *below = 1;
    for (size_t i = 0; i < d->count; i++) {
        const struct chunk *chunk = &d->chunks[i];
        if (sum.vsize + chunk->vsize > vsize) {
            *below = chunk->vsize;
            *above = (__int128)sum.fee_sat * chunk->vsize + (__int128)chunk->fee_sat * (vsize - sum.vsize);
            return;
        }
        sum.fee_sat += chunk->fee_sat;
        sum.vsize += chunk->vsize;
    }
    *above = sum.fee_sat; /* and no more beyond its end */
}

/* At every corner of `corners`: never below, and *above_once set where it is above. */
static bool is_never_below(const struct diagram *d, const struct diagram *other,
                           const struct diagram *corners, bool *above_once)
{
    int64_t vsize = 0;
    for (size_t i = 0; i < corners->count; i++) {
        __int128 own, theirs;
        int64_t own_below, their_below;
        vsize += corners->chunks[i].vsize;
        value_at(d, vsize, &own, &own_below);
        value_at(other, vsize, &theirs, &their_below);
        if (own * their_below < theirs * own_below) {
            return false;
        }
        *above_once |= own * their_below > theirs * own_below;
    }
    return true;
}

static bool improves(struct diagram *after, struct diagram *before)
{
    bool above = false;
    CHECK(after->count && before->count); /* the package, and what goes for it */
    qsort(after->chunks, after->count, sizeof *after->chunks, by_rate);
    qsort(before->chunks, before->count, sizeof *before->chunks, by_rate);
    return is_never_below(after, before, before, &above) && is_never_below(after, before, after, &above) &&
           above;
}

/* A family of two is one chunk when the child pays the better rate, else two. */
static void put_before(struct mempool *pool, struct diagram *before, struct mempool_entry *entry)
{
    struct chunk own = {entry->modified_fee_sat, entry->vsize},
                 both = {entry->ancestor_fee_sat, (int64_t)entry->ancestor_vsize};
    if (entry->ancestor_count > 1 && compare_rates(own, both) > 0) {
        put_chunk(before, both.fee_sat, both.vsize);
    } else if (entry->ancestor_count > 1) {
        put_own(before, entry);
        put_own(before, only_relative(pool, entry, true));
    } else if (entry->descendant_count == 1) {
        put_own(before, entry);
    } /* else its child goes too, and has put both */
}

static bool improves_the_diagram(struct mempool *pool, const struct tx_package *package,
                                 const struct entries *direct, const struct entries *all, struct error *error)
{
    struct diagram before = {0}, after = {0};
    for (size_t i = 0; i < direct->count; i++) {
        if (!is_small_family(pool, direct->items[i], error)) {
            return false;
        }
    }
    for (size_t i = 0; i < all->count; i++) {
        put_before(pool, &before, all->items[i]);
    }
    for (size_t i = 0; i < direct->count; i++) {
        const struct mempool_entry *parent =
            direct->items[i]->ancestor_count > 1 ? only_relative(pool, direct->items[i], true) : NULL;
        if (parent && !holds(all, parent)) {
            put_own(&after, parent); /* it is left alone */
        }
    }
    put_chunk(&after, package->fee_sat, (int64_t)package->vsize);
    bool ok = improves(&after, &before);
    mem_free(before.chunks);
    mem_free(after.chunks);
    return ok || refuse(error, "insufficient feerate: does not improve feerate diagram");
}

/* ---- The rules ----------------------------------------------------------------------------------------- */

static bool pays(const struct mempool *pool, const struct tx_package *package, const struct entries *all,
                 struct error *error)
{
    char child[HASH256_TEXT];
    int64_t replaced_sat = 0;
    hash256_text(child, &package->members[1].tx->txid);
    for (size_t i = 0; i < all->count; i++) {
        replaced_sat += all->items[i]->modified_fee_sat;
    }
    if (package->fee_sat < replaced_sat) {
        return refuse(error,
                      "insufficient anti-DoS fees, rejecting replacement %s, less fees than conflicting txs; "
                      "%" PRId64 " sat < %" PRId64 " sat",
                      child, package->fee_sat, replaced_sat);
    }
    int64_t more = package->fee_sat - replaced_sat,
            wanted = (pool->config.min_fee_per_kvb_sat * (int64_t)package->vsize + 999) / 1000;
    return more >= wanted ||
           refuse(
               error,
               "insufficient anti-DoS fees, rejecting replacement %s, not enough additional fees to relay; "
               "%" PRId64 " sat < %" PRId64 " sat",
               child, more, wanted);
}

/* Else the parent should have come alone. */
static bool child_raises_the_rate(const struct mempool *pool, const struct tx_package *package,
                                  struct error *error)
{
    const struct package_member *parent = &package->members[0];
    const struct chunk both = {package->fee_sat, (int64_t)package->vsize},
                       own = {parent->fee.sat + pool_priority(pool, &parent->tx->txid), parent->vsize};
    if (compare_rates(both, own) > 0) {
        return true;
    }
    return refuse(error,
                  "package feerate is less than or equal to parent feerate, package feerate %" PRId64
                  " sat/kvB <= parent feerate is %" PRId64 " sat/kvB",
                  both.fee_sat * 1000 / both.vsize, own.fee_sat * 1000 / own.vsize);
}

static bool check(struct mempool *pool, const struct tx_package *package, struct entries *direct,
                  struct entries *all, struct error *error)
{
    char child[HASH256_TEXT];
    size_t ancestors;
    bool few = find_conflicts(pool, package, direct, all);
    if (!direct->count) {
        return true;
    }
    if (package->count != 2) {
        return refuse(error, "package must be 1-parent-1-child");
    }
    mem_free(pool_ancestors_of_package(pool, package, &ancestors));
    if (ancestors) {
        return refuse(error, "new transaction cannot have mempool ancestors");
    }
    if (!few) {
        return refuse(error, "too many potential replacements, rejecting replacement %s; more than %u",
                      hash256_text(child, &package->members[1].tx->txid), REPLACED_MAX);
    }
    return pays(pool, package, all, error) && child_raises_the_rate(pool, package, error) &&
           improves_the_diagram(pool, package, direct, all, error);
}

bool package_may_replace(struct mempool *pool, const struct tx_package *package, struct error *error)
{
    struct entries direct = {0}, all = {0};
    bool ok = check(pool, package, &direct, &all, error);
    mem_free(direct.items);
    mem_free(all.items);
    return ok;
}
