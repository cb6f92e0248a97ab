/* Transactions whose inputs are not all known: kept for a while, their parents asked for from who sent them.
 * Bounded in number, bytes, size and time, each peer to its share; what is over a bound goes at random. */
#include "core/p2p/p2p_private.h"

#define ORPHANS_MAX       100u
#define ORPHANS_OF_PEER   50u
#define ORPHAN_WEIGHT_MAX 400000u
#define CHILDREN_TRIED    4u
#define ORPHAN_US         (20 * 60 * US_PER_S)

static void drop(struct p2p *p2p, const struct hash256 *wtxid)
{
    struct orphan *orphan = map_get(&p2p->orphans, wtxid);
    if (orphan) {
        struct tx *tx = orphan->tx;
        p2p->orphan_bytes -= tx_memory(tx);
        map_remove(&p2p->orphans, wtxid); /* wtxid may be the transaction's own */
        tx_unref(tx);
    }
}

bool orphan_find(const struct p2p *p2p, const struct hash256 *wtxid)
{
    return map_get(&p2p->orphans, wtxid) != NULL;
}

static void drop_random(struct p2p *p2p)
{
    uint64_t victim = rng_below(p2p->config.rng, p2p->orphans.count);
    const void *key;
    void *value;
    for (size_t at = 0; map_next(&p2p->orphans, &at, &key, &value);) {
        if (victim-- == 0) {
            struct hash256 wtxid;
            memcpy(wtxid.b, key, 32);
            drop(p2p, &wtxid);
            return;
        }
    }
}

static size_t count_of(const struct p2p *p2p, peer_id peer)
{
    size_t count = 0;
    void *value;
    for (size_t at = 0; map_next(&p2p->orphans, &at, NULL, &value);) {
        count += ((struct orphan *)value)->peer == peer;
    }
    return count;
}

/* One of its inputs is an output of the parent, or of one of several. */
static bool spends_of(const struct tx *tx, const struct hash256 *parent, const struct map *parents)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct hash256 *txid = &tx->inputs[i].prevout.txid;
        if (parent ? hash256_equal(txid, parent) : map_get(parents, txid) != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- One parent, one child: a fee that is too low alone may do for both ------------------------------ */

static struct tx *low_fee_find(const struct p2p *p2p, const struct hash256 *txid)
{
    for (size_t i = 0; i < EXTRA_TXS; i++) {
        if (p2p->extra[i] && p2p->extra_low_fee[i] && hash256_equal(&p2p->extra[i]->txid, txid)) {
            return p2p->extra[i];
        }
    }
    return NULL;
}

void orphans_pay_for(struct p2p *p2p, struct tx *parent, peer_id source)
{
    struct tx *children[CHILDREN_TRIED];
    size_t count = 0;
    void *value;
    for (size_t at = 0; p2p->orphans.count && map_next(&p2p->orphans, &at, NULL, &value);) {
        struct orphan *orphan = value;
        if (count < CHILDREN_TRIED && orphan->peer == source && spends_of(orphan->tx, &parent->txid, NULL) &&
            !hash256_equal(&orphan->tried_with, &parent->wtxid)) {
            orphan->tried_with = parent->wtxid;
            children[count++] = tx_ref(orphan->tx);
        }
    }
    tx_ref(parent); /* whoever remembers it may forget it meanwhile */
    for (size_t i = 0; i < count; i++) {
        struct tx *family[] = {parent, children[i]};
        struct error error = {0};
        if (package_check(family, ARRAY_COUNT(family), &error)) {
            mempool_submit_package(p2p->pool, family, ARRAY_COUNT(family), PACKAGE_SUBMIT, 0, source,
                                   p2p->now);
        }
        tx_unref(children[i]);
    }
    tx_unref(parent);
}

/* A parent was refused, or two were for their fee: then so would it be. */
static bool is_hopeless(const struct p2p *p2p, const struct tx *tx)
{
    const struct hash256 *poor = NULL;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct hash256 *parent = &tx->inputs[i].prevout.txid;
        enum refusal refusal = low_fee_find(p2p, parent) ? REFUSED_FOR_FEE : relay_refusal(p2p, parent);
        if (refusal == REFUSED || (refusal == REFUSED_FOR_FEE && poor && !hash256_equal(poor, parent))) {
            return true;
        }
        poor = refusal == REFUSED_FOR_FEE ? parent : poor;
    }
    return false;
}

/* Also a parent that was refused for its fee is asked for, as Bitcoin Core does: what we keep of such ones is
 * little, and what comes may be another copy. */
static void ask_for_parents(struct p2p *p2p, struct peer *peer, const struct tx *tx)
{
    struct buf items = {0};
    for (uint32_t i = 0; i < tx->input_count && peer_ready(peer); i++) {
        const struct hash256 *parent = &tx->inputs[i].prevout.txid;
        if (!mempool_find(p2p->pool, parent)) {
            relay_want(p2p, peer, parent, &items);
        }
    }
    txrequest_send(p2p, peer, &items);
}

void orphan_add(struct p2p *p2p, struct peer *peer, struct tx *tx)
{
    bool inserted;
    if (tx_weight(tx) > ORPHAN_WEIGHT_MAX || count_of(p2p, peer->id) >= ORPHANS_OF_PEER ||
        is_hopeless(p2p, tx)) {
        return;
    }
    struct orphan *orphan = map_put(&p2p->orphans, &tx->wtxid, &inserted);
    if (!inserted) {
        return;
    }
    *orphan = (struct orphan){.tx = tx_ref(tx), .peer = peer->id, .since_us = p2p->now.mono_us};
    p2p->orphan_bytes += tx_memory(tx);
    while (p2p->orphans.count > ORPHANS_MAX || p2p->orphan_bytes > ORPHANS_BYTES_MAX) {
        drop_random(p2p);
    }
    ask_for_parents(p2p, peer, tx);
    struct tx *poor = NULL;
    for (uint32_t i = 0; i < tx->input_count && !poor; i++) {
        poor = low_fee_find(p2p, &tx->inputs[i].prevout.txid);
    }
    if (poor) {
        orphans_pay_for(p2p, poor, peer->id);
    }
}

static void try_again(struct p2p *p2p, const struct hash256 *parent, const struct map *parents)
{
    struct tx *ready[ORPHANS_MAX + 1];
    peer_id from[ORPHANS_MAX + 1];
    size_t count = 0;
    void *value;
    for (size_t at = 0; p2p->orphans.count && map_next(&p2p->orphans, &at, NULL, &value);) {
        const struct orphan *orphan = value;
        if (spends_of(orphan->tx, parent, parents)) {
            from[count] = orphan->peer;
            ready[count++] = tx_ref(orphan->tx);
        }
    }
    for (size_t i = 0; i < count; i++) {
        drop(p2p, &ready[i]->wtxid);
        mempool_submit(p2p->pool, ready[i], from[i], p2p->now);
        tx_unref(ready[i]);
    }
}

void orphans_of(struct p2p *p2p, const struct tx *parent)
{
    try_again(p2p, &parent->txid, NULL);
}

void orphans_of_block(struct p2p *p2p, const struct block *block)
{
    struct map txids;
    if (!p2p->orphans.count) {
        return;
    }
    map_init(&txids, sizeof(struct hash256), 0, p2p->config.rng);
    for (uint32_t i = 0; i < block->tx_count; i++) {
        drop(p2p, &block->txs[i].wtxid);
        map_put(&txids, &block->txs[i].txid, NULL);
    }
    try_again(p2p, NULL, &txids);
    map_free(&txids);
}

static void drop_where(struct p2p *p2p, peer_id peer, int64_t before_us)
{
    struct buf keys = {0};
    const void *key;
    void *value;
    for (size_t at = 0; p2p->orphans.count && map_next(&p2p->orphans, &at, &key, &value);) {
        const struct orphan *orphan = value;
        if (orphan->peer == peer || orphan->since_us < before_us) {
            buf_bytes(&keys, key, 32);
        }
    }
    for (size_t at = 0; at < keys.len; at += 32) {
        struct hash256 wtxid;
        memcpy(wtxid.b, keys.data + at, 32);
        drop(p2p, &wtxid);
    }
    buf_free(&keys);
}

void orphans_forget_peer(struct p2p *p2p, peer_id peer)
{
    drop_where(p2p, peer, INT64_MIN);
}

void orphans_tick(struct p2p *p2p)
{
    drop_where(p2p, 0, p2p->now.mono_us - ORPHAN_US);
}

void orphans_free(struct p2p *p2p)
{
    void *value;
    for (size_t at = 0; map_next(&p2p->orphans, &at, NULL, &value);) {
        tx_unref(((struct orphan *)value)->tx);
    }
    map_free(&p2p->orphans);
}
