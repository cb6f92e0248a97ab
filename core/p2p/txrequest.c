/*
 * Transactions that were announced to us: whom to ask for each, one peer at a time.
 *
 * The first who announces is asked at once: on a network of one's own every millisecond counts. Everybody
 * else who announces it is remembered, and asked when the one before does not answer: after 2 s when that was
 * inbound (who dials us may be anybody), 5 s when it was outbound, at once when it says notfound or leaves;
 * outbound and permitted peers come first. Only when nobody else has announced it is 60 s waited for.
 *
 * Bounded in all and per peer: a peer may hold as many places as are still free, so however many are greedy,
 * one more finds room.
 */
#include "core/p2p/p2p_private.h"

#define ASKED_AT_ONCE_MAX 1000u /* items in one getdata */
#define PATIENCE_IN_US    (2 * US_PER_S)
#define PATIENCE_OUT_US   (5 * US_PER_S)
#define PATIENCE_LAST_US  (60 * US_PER_S)
#define OF_PEER_MAX       5000u

static bool is_preferred(const struct peer *peer)
{
    return !peer->inbound || peer->permissions & P2P_PERMIT_RELAY;
}

/* Of who has no witnesses (BIP144) a transaction is asked for without. */
static void put_item(struct buf *items, const struct peer *peer, const struct hash256 *hash, bool by_wtxid)
{
    uint32_t flag = peer->services & SERVICE_WITNESS ? INV_WITNESS_FLAG : 0;
    buf_u32(items, by_wtxid ? INV_WTX : INV_TX | flag);
    buf_bytes(items, hash->b, 32);
}

void txrequest_send(struct p2p *p2p, struct peer *peer, struct buf *items)
{
    for (size_t at = 0; at < items->len;) {
        struct buf b = {0};
        size_t count = MIN((items->len - at) / 36, (size_t)ASKED_AT_ONCE_MAX);
        buf_compact_size(&b, count);
        buf_bytes(&b, items->data + at, count * 36);
        message_send(p2p, peer, "getdata", &b);
        at += count * 36;
    }
    buf_free(items);
}

/* ---- The table --------------------------------------------------------------------------------------- */

static void release(struct p2p *p2p, peer_id id)
{
    struct peer *peer = peer_find(p2p, id);
    p2p->tx_announcements--;
    if (peer) {
        peer->tx_announcements--;
    }
}

bool txrequest_end(struct p2p *p2p, const struct hash256 *hash, peer_id peer)
{
    struct tx_request *request = map_get(&p2p->tx_requests, hash);
    bool asked = request && request->asked == peer;
    if (request) {
        release(p2p, request->asked);
        for (uint32_t i = 0; i < request->count; i++) {
            release(p2p, request->others[i]);
        }
        p2p->tx_request_bytes -= request->capacity * sizeof *request->others;
        mem_free(request->others);
        map_remove(&p2p->tx_requests, hash);
    }
    return asked;
}

static bool has_announced(const struct tx_request *request, peer_id peer)
{
    bool found = request->asked == peer;
    for (uint32_t i = 0; i < request->count; i++) {
        found |= request->others[i] == peer;
    }
    return found;
}

static void remember(struct p2p *p2p, struct tx_request *request, peer_id peer)
{
    if (request->count == request->capacity) {
        uint32_t capacity = MAX(request->capacity * 2, 4u);
        request->others = mem_realloc(request->others, capacity * sizeof *request->others);
        p2p->tx_request_bytes += (capacity - request->capacity) * sizeof *request->others;
        request->capacity = capacity;
    }
    request->others[request->count++] = peer;
}

void txrequest_announced(struct p2p *p2p, struct peer *peer, const struct hash256 *hash, bool by_wtxid,
                         struct buf *items)
{
    struct tx_request *request = map_get(&p2p->tx_requests, hash);
    size_t most = TX_ANNOUNCEMENTS_MAX - p2p->tx_announcements;
    if (!(peer->permissions & P2P_PERMIT_RELAY)) {
        most = MIN(most, (size_t)OF_PEER_MAX);
    }
    if (peer->tx_announcements >= most || (request && has_announced(request, peer->id))) {
        return;
    }
    peer->tx_announcements++;
    p2p->tx_announcements++;
    if (request) {
        remember(p2p, request, peer->id);
        return;
    }
    request = map_put(&p2p->tx_requests, hash, NULL);
    *request = (struct tx_request){.asked = peer->id, .asked_us = p2p->now.mono_us, .by_wtxid = by_wtxid};
    put_item(items, peer, hash, by_wtxid);
}

/* ---- Whom to ask next -------------------------------------------------------------------------------- */

/* Takes the best of those that are left off the list; NULL: nobody is. */
static struct peer *next_announcer(struct p2p *p2p, struct tx_request *request)
{
    struct peer *best = NULL;
    uint32_t kept = 0, best_at = 0;
    for (uint32_t i = 0; i < request->count; i++) {
        struct peer *peer = peer_find(p2p, request->others[i]);
        if (!peer || !peer_ready(peer)) {
            release(p2p, request->others[i]);
            continue;
        }
        if (!best || (is_preferred(peer) && !is_preferred(best))) {
            best = peer;
            best_at = kept;
        }
        request->others[kept++] = peer->id;
    }
    request->count = kept;
    if (best) {
        memmove(request->others + best_at, request->others + best_at + 1,
                (--request->count - best_at) * sizeof *request->others);
    }
    return best;
}

static void ask_another(struct p2p *p2p, const struct hash256 *hash)
{
    struct tx_request *request = map_get(&p2p->tx_requests, hash);
    struct peer *peer = request ? next_announcer(p2p, request) : NULL;
    struct buf item = {0};
    if (!peer) {
        txrequest_end(p2p, hash, 0);
        return;
    }
    release(p2p, request->asked);
    request->asked = peer->id;
    request->asked_us = p2p->now.mono_us;
    put_item(&item, peer, hash, request->by_wtxid);
    txrequest_send(p2p, peer, &item);
}

void txrequest_not_found(struct p2p *p2p, const struct peer *peer, const struct hash256 *hash)
{
    const struct tx_request *request = map_get(&p2p->tx_requests, hash);
    if (request && request->asked == peer->id) {
        ask_another(p2p, hash);
    }
}

static bool is_overdue(const struct p2p *p2p, const struct tx_request *request)
{
    const struct peer *peer = peer_find(p2p, request->asked);
    int64_t waited = p2p->now.mono_us - request->asked_us;
    if (!peer || peer->closing) {
        return true;
    }
    return waited > (!request->count      ? PATIENCE_LAST_US
                     : is_preferred(peer) ? PATIENCE_OUT_US
                                          : PATIENCE_IN_US);
}

void txrequest_tick(struct p2p *p2p)
{
    struct buf late = {0};
    const void *key;
    void *value;
    for (size_t at = 0; map_next(&p2p->tx_requests, &at, &key, &value);) {
        if (is_overdue(p2p, value)) {
            buf_bytes(&late, key, 32);
        }
    }
    for (size_t at = 0; at < late.len; at += 32) {
        struct hash256 hash;
        memcpy(hash.b, late.data + at, 32);
        ask_another(p2p, &hash);
    }
    buf_free(&late);
}

void txrequest_free(struct p2p *p2p)
{
    void *value;
    for (size_t at = 0; map_next(&p2p->tx_requests, &at, NULL, &value);) {
        mem_free(((struct tx_request *)value)->others);
    }
    map_free(&p2p->tx_requests);
}
