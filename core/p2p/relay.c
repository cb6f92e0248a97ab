/* Transactions from peer to peer, and the announcement of new tips. Transactions are announced at once where
 * there is nobody to hide from; with a trickle they wait for a random moment, other for each peer, so that
 * nobody sees who was first. */
#include "core/p2p/p2p_private.h"

#define REJECTED_MAX          50000u
#define CONFIRMED_MAX         24000u /* ids in each of two tables; the older one is forgotten at once */
#define CONFIRMED_BLOCKS      8u
#define HEADERS_ANNOUNCED_MAX 8u
#define UNTOLD_MAX            5000u /* for one peer; then it is told at once */

/* ---- What was mined lately: late announcements of it lead nowhere, and its copies are no orphans ----- */

static void note_confirmed(struct p2p *p2p, const struct hash256 *id)
{
    if (p2p->confirmed.count >= CONFIRMED_MAX) {
        struct map older = p2p->confirmed_before;
        p2p->confirmed_before = p2p->confirmed;
        p2p->confirmed = older;
        map_clear(&p2p->confirmed);
    }
    map_put(&p2p->confirmed, id->b, NULL);
}

static bool is_confirmed(const struct p2p *p2p, const struct hash256 *id)
{
    return map_get(&p2p->confirmed, id->b) || map_get(&p2p->confirmed_before, id->b);
}

static void note_confirmed_blocks(struct p2p *p2p, const struct block_entry *tip)
{
    const struct block_entry *before = p2p->confirmed_up_to ? p2p->confirmed_up_to : tip->prev;
    const struct block_entry *fork = before ? block_fork(before, tip) : tip;
    if (fork != before) { /* what the other branch had may come back */
        map_clear(&p2p->confirmed);
        map_clear(&p2p->confirmed_before);
    }
    p2p->confirmed_up_to = tip;
    uint32_t left = CONFIRMED_BLOCKS;
    for (const struct block_entry *entry = tip; entry != fork && left; entry = entry->prev, left--) {
        const struct block *block = chain_recent_block(p2p->chain, &entry->hash);
        for (uint32_t i = 1; block && i < block->tx_count; i++) {
            note_confirmed(p2p, &block->txs[i].wtxid);
            if (block->txs[i].has_witness) {
                note_confirmed(p2p, &block->txs[i].txid);
            }
        }
    }
}

/* ---- Announced and sent ------------------------------------------------------------------------------ */

bool relay_refuses_txs(const struct p2p *p2p, const struct peer *peer)
{
    return peer_is(peer, SLOT_BLOCKS_ONLY) || peer_is(peer, SLOT_FEELER) ||
           (p2p->config.blocks_only && !(peer->permissions & P2P_PERMIT_RELAY));
}

static void end_for_txs(struct p2p *p2p, struct peer *peer)
{
    peer_close(p2p, peer, LOG_INFO, "it was told that we want no transactions, and has one");
}

enum refusal relay_refusal(const struct p2p *p2p, const struct hash256 *wtxid)
{
    const enum refusal *refusal = map_get(&p2p->rejected, wtxid);
    return refusal ? *refusal : REFUSED_NOT;
}

/* What is still to be asked for goes into items. */
static void want_tx(struct p2p *p2p, struct peer *peer, const struct hash256 *hash, bool by_wtxid,
                    enum refusal most, struct buf *items)
{
    const struct mempool_entry *entry =
        by_wtxid ? mempool_find_wtxid(p2p->pool, hash) : mempool_find(p2p->pool, hash);
    if (!entry && relay_refusal(p2p, hash) <= most && !orphan_find(p2p, hash) && !is_confirmed(p2p, hash) &&
        p2p_near_tip(p2p)) {
        txrequest_announced(p2p, peer, hash, by_wtxid, items);
    }
}

void relay_want(struct p2p *p2p, struct peer *peer, const struct hash256 *txid, struct buf *items)
{
    want_tx(p2p, peer, txid, false, REFUSED_FOR_FEE, items);
}

void handle_inv(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    size_t count = cursor_count(c, 36);
    struct buf items = {0};
    bool blocks = false;
    if (c->failed) {
        return;
    }
    if (count > INV_MAX) {
        peer_misbehaves(p2p, peer, "it announces %zu things in one message", count);
        return;
    }
    for (size_t i = 0; i < count && !peer->closing; i++) {
        uint32_t type = cursor_u32(c);
        bool is_tx = type == INV_TX || type == INV_WTX || type == (INV_TX | INV_WITNESS_FLAG);
        struct hash256 hash;
        cursor_bytes(c, hash.b, 32);
        if (type == (peer->wants_wtxid ? INV_TX : INV_WTX)) {
            continue; /* BIP339: something else was agreed upon */
        }
        if (type == INV_BLOCK) {
            handle_block_inv(p2p, peer, &hash);
            blocks = true;
        } else if (is_tx && relay_refuses_txs(p2p, peer)) {
            end_for_txs(p2p, peer);
        } else if (is_tx) {
            peer_knows(p2p, peer, &hash);
            want_tx(p2p, peer, &hash, type == INV_WTX, REFUSED_NOT, &items);
        }
    }
    txrequest_send(p2p, peer, &items);
    if (blocks) { /* once for all of them */
        sync_request_blocks(p2p);
    }
}

void handle_notfound(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    size_t count = cursor_count(c, 36);
    for (size_t i = 0; i < count; i++) {
        uint32_t type = cursor_u32(c) & ~(uint32_t)INV_WITNESS_FLAG;
        struct hash256 hash;
        cursor_bytes(c, hash.b, 32);
        if (type == INV_BLOCK || type == INV_COMPACT) {
            sync_not_found(p2p, peer, &hash);
        } else {
            txrequest_not_found(p2p, peer, &hash);
        }
    }
}

/* The message that announces one thing. */
static struct shared *inv_of(const struct p2p *p2p, uint32_t type, const struct hash256 *hash)
{
    struct buf b = {0};
    buf_compact_size(&b, 1);
    buf_u32(&b, type);
    buf_bytes(&b, hash->b, 32);
    struct shared *message = message_frame(p2p, "inv", buf_span(&b));
    buf_free(&b);
    return message;
}

/* invs: by txid and by wtxid, each made for the first who needs it; the caller lets go of them. */
static void announce_tx(struct p2p *p2p, struct peer *peer, const struct mempool_entry *entry, bool again,
                        struct shared *invs[2])
{
    const struct hash256 *hash = peer->wants_wtxid ? &entry->tx->wtxid : &entry->tx->txid;
    struct shared **inv = &invs[peer->wants_wtxid];
    if (entry->fee.sat * 1000 < peer->fee_filter_sat * (int64_t)entry->vsize ||
        (!again && peer_is_known(peer, hash))) {
        return;
    }
    if (!*inv) {
        *inv = inv_of(p2p, peer->wants_wtxid ? INV_WTX : INV_TX, hash);
    }
    peer_knows(p2p, peer, hash);
    message_put(p2p, peer, "inv", shared_ref(*inv));
}

/* Everything that has waited for this moment and is still in the mempool, in one message. */
static void tell(struct p2p *p2p, struct peer *peer)
{
    struct buf b = {0}, items = {0};
    for (size_t at = 0; at < peer->untold.len; at += 32) {
        struct hash256 wtxid;
        memcpy(wtxid.b, peer->untold.data + at, 32);
        const struct mempool_entry *entry = mempool_find_wtxid(p2p->pool, &wtxid);
        const struct hash256 *hash = entry && !peer->wants_wtxid ? &entry->tx->txid : &wtxid;
        if (entry && entry->fee.sat * 1000 >= peer->fee_filter_sat * (int64_t)entry->vsize &&
            !peer_is_known(peer, hash)) {
            peer_knows(p2p, peer, hash);
            buf_u32(&items, peer->wants_wtxid ? INV_WTX : INV_TX);
            buf_bytes(&items, hash->b, 32);
        }
    }
    p2p->receive_total -= peer->untold.capacity;
    buf_free(&peer->untold);
    if (items.len) {
        buf_compact_size(&b, items.len / 36);
        buf_bytes(&b, items.data, items.len);
        message_send(p2p, peer, "inv", &b);
    }
    buf_free(&items);
}

static void tell_later(struct p2p *p2p, struct peer *peer, const struct hash256 *wtxid)
{
    if (!peer->untold.len) { /* evenly from none to twice the average */
        peer->tell_at_us =
            p2p->now.mono_us + (int64_t)rng_below(p2p->config.rng, 2 * (uint64_t)p2p->config.trickle_us + 1);
        p2p->next_tell_us = MIN(p2p->next_tell_us, peer->tell_at_us);
    }
    p2p->receive_total -= peer->untold.capacity;
    buf_bytes(&peer->untold, wtxid->b, 32);
    p2p->receive_total += peer->untold.capacity;
    if (peer->untold.len >= UNTOLD_MAX * 32) {
        tell(p2p, peer);
    }
}

int64_t relay_tick(struct p2p *p2p)
{
    if (p2p->next_tell_us > p2p->now.mono_us) {
        return p2p->next_tell_us;
    }
    p2p->next_tell_us = INT64_MAX;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer) && peer->untold.len) {
            if (peer->tell_at_us <= p2p->now.mono_us) {
                tell(p2p, peer);
            } else {
                p2p->next_tell_us = MIN(p2p->next_tell_us, peer->tell_at_us);
            }
        }
    }
    return p2p->next_tell_us;
}

/* again: also to those that have it or have been told of it. */
static void announce_to_all(struct p2p *p2p, const struct mempool_entry *entry, bool again)
{
    struct shared *invs[2] = {0};
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer) && peer->wants_txs) {
            if (p2p->config.trickle_us && !again) {
                tell_later(p2p, peer, &entry->tx->wtxid);
            } else {
                announce_tx(p2p, peer, entry, again, invs);
            }
        }
    }
    shared_unref(invs[0]);
    shared_unref(invs[1]);
}

void p2p_tx_announce(struct p2p *p2p, const struct mempool_entry *entry)
{
    announce_to_all(p2p, entry, false);
}

void p2p_tx_added(struct p2p *p2p, const struct mempool_entry *entry, bool announce)
{
    if (announce) {
        announce_to_all(p2p, entry, false);
    }
    orphans_of(p2p, entry->tx);
}

void handle_tx(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    if (relay_refuses_txs(p2p, peer)) {
        end_for_txs(p2p, peer);
        return;
    }
    struct tx *tx = tx_from(c);
    if (!tx) {
        return;
    }
    peer->solicited |= txrequest_end(p2p, &tx->wtxid, peer->id);
    peer->solicited |= txrequest_end(p2p, &tx->txid, peer->id);
    peer_knows(p2p, peer, &tx->wtxid);
    peer_knows(p2p, peer, &tx->txid);
    const struct mempool_entry *known = mempool_find(p2p->pool, &tx->txid);
    if (known && peer->permissions & P2P_PERMIT_FORCERELAY) {
        announce_to_all(p2p, known, true);
    } else if (relay_refusal(p2p, &tx->wtxid) == REFUSED_FOR_FEE) {
        orphans_pay_for(p2p, tx, peer->id); /* alone it would be refused again */
    } else if (!relay_refusal(p2p, &tx->wtxid) && !is_confirmed(p2p, &tx->txid)) {
        mempool_submit(p2p->pool, tx, peer->id, p2p->now);
    }
    tx_unref(tx);
}

static void note_refused(struct p2p *p2p, struct tx *tx, peer_id source, const struct error *error)
{
    static const char *const for_fee[] = {"min relay fee not met", "mempool min fee not met", "mempool full",
                                          "insufficient fee" /* to replace others */};
    bool low_fee = false;
    for (size_t i = 0; i < ARRAY_COUNT(for_fee); i++) {
        low_fee |= strcmp(error->word, for_fee[i]) == 0;
    }
    if (p2p->rejected.count >= REJECTED_MAX) {
        map_clear(&p2p->rejected);
    }
    *(enum refusal *)map_put(&p2p->rejected, &tx->wtxid, NULL) = low_fee ? REFUSED_FOR_FEE : REFUSED;
    compact_remember(p2p, tx, low_fee); /* others may want it, and mine it */
    if (low_fee) {
        orphans_pay_for(p2p, tx, source);
    }
}

void p2p_tx_result(struct p2p *p2p, struct tx *tx, peer_id source, const struct error *error,
                   struct moment now)
{
    p2p->now = now;
    struct peer *peer = peer_find(p2p, source);
    if (!error && peer) {
        peer->good_tx_us = now.mono_us;
    }
    /* A transaction that we do not want, or not yet, is nobody's crime. */
    if (error && error->kind == ERROR_MISSING && peer) {
        orphan_add(p2p, peer, tx);
    }
    /* Of a copy whose witness somebody has taken off nothing follows for the transaction, which has its id.
     */
    bool stripped = error && !tx->has_witness && strstr(error->word, "(Witness program");
    bool early = error && strcmp(error->word, "bad-txns-premature-spend-of-coinbase") == 0;
    if (error && error->kind == ERROR_INVALID && !stripped && !early && peer) {
        peer_misbehaves(p2p, peer, "a transaction that no block may hold: %s (%s)", error->word, error->text);
    }
    if (error && !stripped && (error->kind == ERROR_INVALID || error->kind == ERROR_POLICY)) {
        note_refused(p2p, tx, source, error);
    }
}

void handle_mempool(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    if (!(peer->permissions & P2P_PERMIT_MEMPOOL)) {
        /* BIP35: it costs much and tells what we have; only for those we know. Who waits for it goes. */
        if (!(peer->permissions & P2P_PERMIT_NOBAN)) {
            peer_close(p2p, peer, LOG_INFO, "it asks for the mempool, which is not permitted to it");
        }
        return;
    }
    struct buf b = {0}, items = {0};
    const struct mempool_entry *entry;
    size_t count = 0;
    for (size_t at = 0; count < INV_MAX && mempool_next(p2p->pool, &at, &entry);) {
        if (entry->fee.sat * 1000 >= peer->fee_filter_sat * (int64_t)entry->vsize) {
            const struct hash256 *hash = peer->wants_wtxid ? &entry->tx->wtxid : &entry->tx->txid;
            buf_u32(&items, peer->wants_wtxid ? INV_WTX : INV_TX);
            buf_bytes(&items, hash->b, 32);
            count++;
        }
    }
    if (count) {
        buf_compact_size(&b, count);
        buf_bytes(&b, items.data, items.len);
        message_send(p2p, peer, "inv", &b);
    }
    buf_free(&items);
}

/* ---- New tips ---------------------------------------------------------------------------------------- */

bool peer_has_block(const struct peer *peer, const struct block_entry *entry)
{
    return (peer->best_known && block_ancestor(peer->best_known, entry->height) == entry) ||
           (peer->best_sent && block_ancestor(peer->best_sent, entry->height) == entry);
}

/* A new tip as peers are told of it, each message made for the first who needs it. */
struct tip_news {
    const struct block_entry *tip, *first; /* headers: from first on */
    struct shared *headers, *inv;
};

static struct shared *headers_up_to(const struct p2p *p2p, const struct block_entry *first,
                                    const struct block_entry *tip)
{
    struct buf b = {0};
    buf_compact_size(&b, tip->height - first->height + 1);
    for (uint32_t height = first->height; height <= tip->height; height++) {
        block_entry_encode(buf_extend(&b, HEADER_BYTES), block_ancestor(tip, height));
        buf_u8(&b, 0);
    }
    struct shared *message = message_frame(p2p, "headers", buf_span(&b));
    buf_free(&b);
    return message;
}

static void announce_tip(struct p2p *p2p, struct peer *peer, struct tip_news *news)
{
    const struct block_entry *tip = news->tip, *first = tip;
    uint32_t count = 1;
    if (peer_has_block(peer, tip)) {
        return;
    }
    while (count < HEADERS_ANNOUNCED_MAX && first->prev && !peer_has_block(peer, first->prev)) {
        first = first->prev;
        count++;
    }
    if (peer->wants_headers && first->prev && peer_has_block(peer, first->prev)) {
        if (news->first != first) {
            shared_unref(news->headers);
            news->headers = headers_up_to(p2p, first, tip);
            news->first = first;
        }
        message_put(p2p, peer, "headers", shared_ref(news->headers));
        peer->best_sent = tip;
    } else {
        news->inv = news->inv ? news->inv : inv_of(p2p, INV_BLOCK, &tip->hash);
        message_put(p2p, peer, "inv", shared_ref(news->inv));
    }
    latency_passed(p2p, &tip->hash, HOP_ANNOUNCED);
}

void relay_announce_tip(struct p2p *p2p)
{
    const struct block_entry *tip = chain_tip(p2p->chain);
    const struct block *block = chain_recent_block(p2p->chain, &tip->hash);
    struct tip_news news = {.tip = tip};
    p2p->announcement_due = false;
    if (block) {
        compact_announce(p2p, tip, block);
    }
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer)) {
            announce_tip(p2p, peer, &news);
        }
    }
    shared_unref(news.headers);
    shared_unref(news.inv);
}

void p2p_tip_changed(struct p2p *p2p, const struct block_entry *old_tip, const struct block_entry *tip,
                     struct moment now)
{
    p2p->now = now;
    if (old_tip != tip) {
        p2p->tip_since_us = now.mono_us;
        map_clear(&p2p->rejected);
    }
    p2p->announcement_due = true;
    serve_waiting(p2p);
    if (p2p_near_tip(p2p)) { /* nobody wants to hear of each block while we catch up */
        relay_announce_tip(p2p);
    }
    const struct block *block = chain_recent_block(p2p->chain, &tip->hash);
    if (block) {
        orphans_of_block(p2p, block);
    }
    if (p2p_near_tip(p2p)) {
        note_confirmed_blocks(p2p, tip);
    }
    sync_request_blocks(p2p);
}
