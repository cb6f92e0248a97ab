/*
 * Transactions that are judged together: each may spend those before it, none is in the pool until all have
 * passed, and where that was asked for their fees count as one. How each is judged is admit.c's.
 */
#include "core/mempool/mempool_private.h"

struct tx_package *package_new(struct tx *const *txs, size_t count, enum package_how how,
                               int64_t max_fee_per_kvb_sat)
{
    struct tx_package *package = mem_alloc(sizeof *package);
    package->how = how;
    package->max_fee_per_kvb_sat = max_fee_per_kvb_sat;
    package->count = count;
    package->members = mem_alloc(count * sizeof *package->members);
    for (size_t i = 0; i < count; i++) {
        package->members[i].tx = tx_ref(txs[i]);
    }
    return package;
}

void package_free(struct tx_package *package)
{
    for (size_t i = 0; package && i < package->count; i++) {
        tx_unref(package->members[i].tx);
    }
    if (package) {
        mem_free(package->members);
    }
    mem_free(package);
}

void package_restart(struct tx_package *package)
{
    for (size_t i = 0; i < package->count; i++) {
        package->members[i].judged = false;
    }
    package->at = 0;
    package->fee_sat = 0;
    package->vsize = 0;
}

const struct tx *package_find(const struct tx_package *package, const struct hash256 *txid)
{
    for (size_t i = 0; i < package->at; i++) {
        if (hash256_equal(&package->members[i].tx->txid, txid)) {
            return package->members[i].tx;
        }
    }
    return NULL;
}

bool package_spends(const struct tx_package *package, size_t before, const struct outpoint *output)
{
    for (size_t i = 0; i < before; i++) {
        const struct tx *tx = package->members[i].tx;
        for (uint32_t k = 0; k < tx->input_count; k++) {
            if (tx->inputs[k].prevout.index == output->index &&
                hash256_equal(&tx->inputs[k].prevout.txid, &output->txid)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- What can be said without coins -------------------------------------------------------------------- */

static bool spends_later(struct tx *const *txs, size_t count, size_t index)
{
    for (uint32_t k = 0; k < txs[index]->input_count; k++) {
        for (size_t later = index; later < count; later++) {
            if (hash256_equal(&txs[index]->inputs[k].prevout.txid, &txs[later]->txid)) {
                return true;
            }
        }
    }
    return false;
}

static bool have_conflict(struct tx *const *txs, size_t count)
{
    struct tx_package whole = {.count = count, .members = mem_alloc(count * sizeof *whole.members)};
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        whole.members[i].tx = txs[i];
        for (uint32_t k = 0; k < txs[i]->input_count; k++) {
            found |= package_spends(&whole, i, &txs[i]->inputs[k].prevout);
        }
    }
    mem_free(whole.members);
    return found;
}

bool package_check(struct tx *const *txs, size_t count, struct error *error)
{
    uint64_t weight = 0;
    if (count > PACKAGE_MAX) {
        return error_set(error, ERROR_POLICY, "package-too-many-transactions", "more than %u", PACKAGE_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        weight += tx_weight(txs[i]);
        for (size_t k = 0; k < i; k++) {
            if (hash256_equal(&txs[k]->txid, &txs[i]->txid)) {
                return error_set(error, ERROR_POLICY, "package-contains-duplicates", "the same twice");
            }
        }
    }
    if (count > 1 && weight > PACKAGE_WEIGHT_MAX) {
        return error_set(error, ERROR_POLICY, "package-too-large", "%llu weight units",
                         (unsigned long long)weight);
    }
    for (size_t i = 0; i < count; i++) {
        if (spends_later(txs, count, i)) {
            return error_set(error, ERROR_POLICY, "package-not-sorted", "a child before its parent");
        }
    }
    return !have_conflict(txs, count) ||
           error_set(error, ERROR_POLICY, "conflict-in-package", "an output is spent twice");
}

bool package_is_family(struct tx *const *txs, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        bool spent = false;
        for (uint32_t k = 0; k < txs[count - 1]->input_count; k++) {
            spent |= hash256_equal(&txs[count - 1]->inputs[k].prevout.txid, &txs[i]->txid);
        }
        if (!spent) {
            return false;
        }
        for (size_t other = 0; other < i; other++) {
            for (uint32_t k = 0; k < txs[i]->input_count; k++) {
                if (hash256_equal(&txs[i]->inputs[k].prevout.txid, &txs[other]->txid)) {
                    return false;
                }
            }
        }
    }
    return true;
}
