/* Topologically restricted transactions (BIP431): version 3 promises that a transaction has at most one
 * unconfirmed parent or one unconfirmed child, and that the child is small, so that nobody can make it dear
 * to replace. */
#include "core/mempool/mempool_private.h"

#define TRUC_VSIZE_MAX       10000u
#define TRUC_CHILD_VSIZE_MAX 1000u

/* "version=3 tx" TXID, and what it does to another, or to nobody (NULL). */
static bool refuse(struct error *error, const char *who, const struct tx *tx, const char *what,
                   const struct tx *other)
{
    char first[HASH256_TEXT], second[HASH256_TEXT] = "";
    hash256_text(first, &tx->txid);
    if (other) {
        hash256_text(second, &other->txid);
    }
    return error_set(error, ERROR_POLICY, "TRUC-violation", "%s %s %s%s", who, first, what, second);
}

/* Version 3 spends unconfirmed outputs of version 3 only, and nobody else does. */
static bool parents_fit(const struct admission *a, struct error *error)
{
    const struct tx *tx = a->tx;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct tx *parent = admission_parent(a, &tx->inputs[i].prevout.txid);
        if (parent && tx->version == TRUC_VERSION && parent->version != TRUC_VERSION) {
            return refuse(error, "version=3 tx", tx, "cannot spend from non-version=3 tx ", parent);
        }
        if (parent && tx->version != TRUC_VERSION && parent->version == TRUC_VERSION) {
            return refuse(error, "non-version=3 tx", tx, "cannot spend from version=3 tx ", parent);
        }
    }
    return true;
}

/* All unconfirmed parents are one, which has none itself. *parent: that one, or NULL. */
static bool has_short_line(const struct admission *a, const struct tx **parent, struct error *error)
{
    static const char too_many[] = "would have too many ancestors";
    const struct tx *tx = a->tx;
    *parent = NULL;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct tx *one = admission_parent(a, &tx->inputs[i].prevout.txid);
        if (one && *parent && one != *parent) {
            return refuse(error, "tx", tx, too_many, NULL);
        }
        *parent = one ? one : *parent;
    }
    for (uint32_t i = 0; *parent && i < (*parent)->input_count; i++) {
        if (admission_parent(a, &(*parent)->inputs[i].prevout.txid)) {
            return refuse(error, "tx", tx, too_many, NULL);
        }
    }
    return true;
}

/* Nobody else spends the parent, but what this transaction replaces; or one other, which then has to go for
 * it where it pays for that (sibling eviction), so that nobody can keep the only place with a cheap child. */
static bool is_only_child(struct admission *a, const struct tx *parent, struct error *error)
{
    for (uint32_t i = 0; i < parent->output_count; i++) {
        const struct outpoint output = {parent->txid, i};
        const struct mempool_entry *sibling = mempool_spender(a->pool, &output);
        bool in_package = a->package && package_spends(a->package, a->package->at, &output);
        bool other = sibling && sibling != replace_only(a->pool, a->tx);
        bool same = other && a->has_sibling && hash256_equal(&a->sibling, &sibling->tx->txid);
        if (in_package ||
            (other && !same && (a->package || a->has_sibling || sibling->descendant_count > 1))) {
            return refuse(error, "tx", parent, "would exceed descendant count limit", NULL);
        }
        if (other) {
            a->has_sibling = true;
            a->sibling = sibling->tx->txid;
        }
    }
    return true;
}

bool truc_check(struct admission *a, struct error *error)
{
    const struct tx *parent;
    a->has_sibling = false;
    if (!parents_fit(a, error)) {
        return false;
    }
    if (a->tx->version != TRUC_VERSION) {
        return true;
    }
    if (a->vsize > TRUC_VSIZE_MAX) {
        return error_set(error, ERROR_POLICY, "TRUC-violation",
                         "version=3 tx is too big: %u > %u virtual bytes", a->vsize, TRUC_VSIZE_MAX);
    }
    if (!has_short_line(a, &parent, error)) {
        return false;
    }
    if (parent && a->vsize > TRUC_CHILD_VSIZE_MAX) {
        return error_set(error, ERROR_POLICY, "TRUC-violation",
                         "version=3 child tx is too big: %u > %u virtual bytes", a->vsize,
                         TRUC_CHILD_VSIZE_MAX);
    }
    return !parent || is_only_child(a, parent, error);
}
