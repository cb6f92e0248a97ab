/*
 * Replacement by fee (BIP125's rules 2 to 5, and Core's about fee rates): a transaction may push out those
 * that spend the same coins, whether or not they signalled, when everybody on the way is paid for it.
 */
#include <inttypes.h>

#include "core/mempool/mempool_private.h"

size_t replace_count(struct mempool *pool, const struct tx *tx)
{
    size_t count;
    mem_free(pool_conflicts_of(pool, tx, &count));
    return count;
}

const struct mempool_entry *replace_only(struct mempool *pool, const struct tx *tx)
{
    size_t count;
    struct mempool_entry **conflicts = pool_conflicts_of(pool, tx, &count);
    const struct mempool_entry *only = count == 1 ? conflicts[0] : NULL;
    mem_free(conflicts);
    return only;
}

struct replacement {
    const struct tx *tx;
    int64_t fee_sat;
    uint32_t vsize;
    char txid[HASH256_TEXT];
    size_t replaced;
    int64_t replaced_fee_sat;
    struct map replaced_ids; /* txids of what goes */
    struct map spent;        /* txids that direct conflicts spend */
};

/* The fee rate must rise above that of every direct conflict. */
static bool pays_more_than(const struct replacement *r, const struct mempool_entry *conflict,
                           struct error *error)
{
    if ((__int128)r->fee_sat * conflict->vsize > (__int128)conflict->modified_fee_sat * r->vsize) {
        return true;
    }
    return error_set(
        error, ERROR_POLICY, "insufficient fee",
        "rejecting replacement %s; new feerate %" PRId64 " sat/kvB <= old feerate %" PRId64 " sat/kvB",
        r->txid, r->fee_sat * 1000 / r->vsize, conflict->modified_fee_sat * 1000 / conflict->vsize);
}

static void add_replaced(struct replacement *r, const struct mempool_entry *entry)
{
    bool is_new;
    map_put(&r->replaced_ids, &entry->tx->txid, &is_new);
    if (is_new) {
        r->replaced++;
        r->replaced_fee_sat += entry->modified_fee_sat;
    }
}

static void add_conflict(struct mempool *pool, struct replacement *r, struct mempool_entry *conflict)
{
    size_t count;
    struct mempool_entry **descendants = pool_walk(pool, conflict, false, &count);
    add_replaced(r, conflict);
    for (size_t i = 0; i < count; i++) {
        add_replaced(r, descendants[i]);
    }
    mem_free(descendants);
    for (uint32_t i = 0; i < conflict->tx->input_count; i++) {
        map_put(&r->spent, &conflict->tx->inputs[i].prevout.txid, NULL);
    }
}

static bool spends_nothing_replaced(const struct replacement *r, struct error *error)
{
    for (uint32_t i = 0; i < r->tx->input_count; i++) {
        if (map_get(&r->replaced_ids, &r->tx->inputs[i].prevout.txid)) {
            return error_set(error, ERROR_POLICY, "bad-txns-spends-conflicting-tx",
                             "%s spends a transaction that it conflicts with", r->txid);
        }
    }
    return true;
}

static bool replaces_few(const struct replacement *r, struct error *error)
{
    return r->replaced <= REPLACED_MAX ||
           error_set(error, ERROR_POLICY, "too many potential replacements",
                     "rejecting replacement %s; too many potential replacements (%zu > %u)", r->txid,
                     r->replaced, REPLACED_MAX);
}

static bool adds_no_parent(const struct mempool *pool, const struct replacement *r, struct error *error)
{
    for (uint32_t i = 0; i < r->tx->input_count; i++) {
        const struct hash256 *parent = &r->tx->inputs[i].prevout.txid;
        if (pool_find(pool, parent) && !map_get(&r->spent, parent)) {
            return error_set(error, ERROR_POLICY, "replacement-adds-unconfirmed",
                             "replacement %s adds unconfirmed input, idx %u", r->txid, i);
        }
    }
    return true;
}

static bool pays_for_relay(const struct mempool *pool, const struct replacement *r, struct error *error)
{
    if (r->fee_sat < r->replaced_fee_sat) {
        return error_set(error, ERROR_POLICY, "insufficient fee",
                         "rejecting replacement %s, less fees than conflicting txs; %" PRId64
                         " sat < %" PRId64 " sat",
                         r->txid, r->fee_sat, r->replaced_fee_sat);
    }
    int64_t more = r->fee_sat - r->replaced_fee_sat,
            wanted = (pool->config.min_fee_per_kvb_sat * (int64_t)r->vsize + 999) / 1000;
    return more >= wanted ||
           error_set(error, ERROR_POLICY, "insufficient fee",
                     "rejecting replacement %s, not enough additional fees to relay; %" PRId64
                     " sat < %" PRId64 " sat",
                     r->txid, more, wanted);
}

bool replace_check(struct mempool *pool, const struct tx *tx, struct mempool_entry *also,
                   int64_t modified_fee_sat, uint32_t vsize, struct error *error)
{
    size_t count;
    struct mempool_entry **conflicts = pool_conflicts_of(pool, tx, &count);
    struct replacement r = {.tx = tx, .fee_sat = modified_fee_sat, .vsize = vsize};
    bool ok = true;
    if (also) {
        conflicts = mem_realloc(conflicts, (count + 1) * sizeof(struct mempool_entry *));
        conflicts[count++] = also;
    }
    if (count) {
        hash256_text(r.txid, &tx->txid);
        map_init(&r.replaced_ids, sizeof(struct hash256), 0, pool->config.rng);
        map_init(&r.spent, sizeof(struct hash256), 0, pool->config.rng);
        for (size_t i = 0; i < count; i++) {
            add_conflict(pool, &r, conflicts[i]);
        }
        ok = spends_nothing_replaced(&r, error);
        for (size_t i = 0; i < count && ok; i++) {
            ok = pays_more_than(&r, conflicts[i], error);
        }
        ok = ok && replaces_few(&r, error) && adds_no_parent(pool, &r, error) &&
             pays_for_relay(pool, &r, error);
        map_free(&r.replaced_ids);
        map_free(&r.spent);
    }
    mem_free(conflicts);
    return ok;
}

void replace_conflicts(struct mempool *pool, const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct mempool_entry *conflict = mempool_spender(pool, &tx->inputs[i].prevout);
        if (conflict) {
            pool_remove_with_descendants(pool, pool_find(pool, &conflict->tx->txid), "replaced");
        }
    }
}
