/* What a peer may ask of us: headers, block lists, blocks and transactions. Blocks are read one at a time per
 * peer, and only while the peer keeps reading what it was sent. */
#include "core/p2p/p2p_private.h"

#define GETBLOCKS_MAX 500u
#define COMPACT_DEPTH 5u
#define STALE_S       (30 * 86400)
/* Everybody may have our headers twice for nothing (flood.c): whoever guards against chains with little work,
 * as Bitcoin Core and we do, asks for all of them once to count it, and once to keep them. */
#define HEADERS_FREE_TIMES 2u

/* Of blocks beside the chain only young ones that were valid: who has an old one is known by it. */
static bool may_be_shown(const struct p2p *p2p, const struct block_entry *entry)
{
    const struct block_entry *best = chain_best_header(p2p->chain);
    if (chain_contains(p2p->chain, entry)) {
        return true;
    }
    if (!(entry->status & BLOCK_VALID) || (int64_t)best->header.time - entry->header.time >= STALE_S) {
        return false;
    }
    uint64_t blocks = STALE_S / chain_parameters(p2p->chain)->spacing_s, overflow;
    struct u256 most = u256_mul_u64(pow_work(best->header.bits), blocks, &overflow);
    return overflow || u256_compare(best->work, u256_add(entry->work, most)) < 0;
}

/* The block after which the asker wants to go on; NULL: nothing is to be answered. */
static const struct block_entry *read_locator(struct p2p *p2p, struct peer *peer, struct cursor *c,
                                              struct hash256 *stop, size_t *count)
{
    cursor_u32(c);
    *count = cursor_count(c, 32);
    struct span hashes = cursor_span(c, *count * 32);
    cursor_bytes(c, stop->b, 32);
    if (c->failed) {
        return NULL;
    }
    if (*count > LOCATOR_MAX) {
        peer_close(p2p, peer, LOG_INFO, "a locator with %zu hashes", *count);
        return NULL;
    }
    return chain_find_fork(p2p->chain, hashes.data, *count);
}

/* The height at which an answer that begins behind `from` ends: the tip's, so many blocks on, or that of the
 * hash to stop at. */
static uint32_t answer_end(struct p2p *p2p, const struct block_entry *from, size_t most,
                           const struct hash256 *stop)
{
    const struct block_entry *last = chain_find(p2p->chain, stop);
    uint32_t end = (uint32_t)MIN((size_t)chain_tip(p2p->chain)->height, from->height + most);
    bool ends_there =
        last && last->height > from->height && last->height < end && chain_contains(p2p->chain, last);
    return ends_there ? last->height : end;
}

void handle_getheaders(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct hash256 stop;
    struct buf b = {0};
    size_t locator_count;
    const struct block_entry *from = read_locator(p2p, peer, c, &stop, &locator_count),
                             *tip = chain_tip(p2p->chain), *last = NULL;
    if (!from) {
        return;
    }
    uint32_t count = 0;
    if (u256_compare(tip->work, chain_minimum_work(p2p->chain)) < 0 &&
        !(peer->permissions & P2P_PERMIT_DOWNLOAD)) { /* it may be a chain that leads nowhere */
        buf_compact_size(&b, 0);
        message_send(p2p, peer, "headers", &b);
        return;
    }
    if (locator_count == 0) { /* one header by its hash */
        last = chain_find(p2p->chain, &stop);
        if (!last || !may_be_shown(p2p, last)) {
            return;
        }
        count = 1;
    } else {
        uint32_t end = answer_end(p2p, from, HEADERS_MAX, &stop);
        count = end > from->height ? end - from->height : 0;
        last = count ? chain_at(p2p->chain, end) : NULL;
    }
    if (last || from == tip) {
        peer->best_sent = last ? last : tip;
    }
    peer->headers_given += count;
    peer->solicited = last && peer->headers_given <= HEADERS_FREE_TIMES * ((uint64_t)tip->height + 1);
    buf_compact_size(&b, count);
    uint8_t *headers = buf_extend(&b, (size_t)count * (HEADER_BYTES + 1)); /* a zero behind each */
    for (const struct block_entry *entry = last; entry && count; entry = entry->prev) {
        block_entry_encode(headers + (size_t)--count * (HEADER_BYTES + 1), entry);
    }
    message_send(p2p, peer, "headers", &b);
}

void handle_getblocks(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct hash256 stop;
    struct buf b = {0};
    size_t locator_count;
    const struct block_entry *from = read_locator(p2p, peer, c, &stop, &locator_count);
    if (!from) {
        return;
    }
    uint32_t end = answer_end(p2p, from, GETBLOCKS_MAX, &stop);
    if (end > from->height) {
        const struct block_entry *entry = chain_at(p2p->chain, end);
        uint32_t count = end - from->height - hash256_equal(&entry->hash, &stop); /* that one is known */
        entry = hash256_equal(&entry->hash, &stop) ? entry->prev : entry;
        if (!count) {
            return;
        }
        peer->asks_on_after = count == GETBLOCKS_MAX ? entry : NULL;
        buf_compact_size(&b, count);
        uint8_t *items = buf_extend(&b, (size_t)count * 36);
        for (; count--; entry = entry->prev) {
            store_le32(items + (size_t)count * 36, INV_BLOCK);
            memcpy(items + (size_t)count * 36 + 4, entry->hash.b, 32);
        }
        message_send(p2p, peer, "inv", &b);
    }
}

/* Who got the last block of a full answer to getblocks is told of the tip, and asks for what lies between. */
static void lead_on(struct p2p *p2p, struct peer *peer, const struct hash256 *served)
{
    struct buf b = {0};
    if (peer->asks_on_after && hash256_equal(&peer->asks_on_after->hash, served)) {
        peer->asks_on_after = NULL;
        buf_compact_size(&b, 1);
        buf_u32(&b, INV_BLOCK);
        buf_bytes(&b, chain_tip(p2p->chain)->hash.b, 32);
        message_send(p2p, peer, "inv", &b);
    }
}

void handle_getdata(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    size_t count = cursor_count(c, 36), waiting = (peer->wanted.len - peer->wanted_at) / 36;
    struct span items = cursor_span(c, count * 36);
    if (c->failed) {
        return;
    }
    if (count > INV_MAX) {
        peer_misbehaves(p2p, peer, "it asks for %zu things in one message", count);
        return;
    }
    if (waiting + count > INV_MAX) {
        peer_misbehaves(p2p, peer, "it asks for more (%zu items) than it takes", waiting + count);
        return;
    }
    if (peer->wanted_at > peer->wanted.len / 2) { /* who downloads never waits for the last of them */
        peer->wanted.len -= peer->wanted_at;
        memmove(peer->wanted.data, peer->wanted.data + peer->wanted_at, peer->wanted.len);
        peer->wanted_at = 0;
    }
    p2p->receive_total -= peer->wanted.capacity;
    buf_bytes(&peer->wanted, items.data, items.len);
    p2p->receive_total += peer->wanted.capacity;
    serve_wanted(p2p, peer);
}

struct block_reply {
    struct p2p *p2p;
    peer_id peer;
    uint32_t type;
    struct hash256 hash;
};

static void note_missing(struct buf *items, uint32_t type, const struct hash256 *hash)
{
    buf_u32(items, type);
    buf_bytes(items, hash->b, 32);
}

/* Frees items. */
static void tell_missing(struct p2p *p2p, struct peer *peer, struct buf *items)
{
    struct buf b = {0};
    if (items->len) {
        buf_compact_size(&b, items->len / 36);
        buf_bytes(&b, items->data, items->len);
        message_send(p2p, peer, "notfound", &b);
    }
    buf_free(items);
}

static void block_is_read(void *context, struct block *block)
{
    struct block_reply *reply = context;
    struct p2p *p2p = reply->p2p;
    struct peer *peer = peer_find(p2p, reply->peer);
    if (peer && peer->open && !peer->closing) {
        struct buf b = {0}, missing = {0};
        peer->reading = false;
        if (!block) {
            note_missing(&missing, reply->type, &reply->hash);
            tell_missing(p2p, peer, &missing);
        } else if (reply->type == INV_COMPACT) {
            compact_send(p2p, peer, block);
        } else { /* BIP144: an old peer gets it without witnesses; genesis has none */
            header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
            buf_compact_size(&b, block->tx_count);
            for (uint32_t t = 0; t < block->tx_count; t++) {
                tx_write(&b, &block->txs[t], false);
            }
            message_send(p2p, peer, "block", &b);
            lead_on(p2p, peer, &reply->hash);
        }
        if (!peer->serving) {
            serve_wanted(p2p, peer);
        }
    }
    block_unref(block);
    mem_free(reply);
}

/* Who asks for a transaction that has just been mined is most likely putting that block together. NULL: the
 * tip does not have it, or is not in memory. Looking through a block costs the asker. */
static const struct tx *tx_of_tip(struct p2p *p2p, struct peer *peer, bool by_wtxid,
                                  const struct hash256 *hash)
{
    const struct block *block = chain_recent_block(p2p->chain, &chain_tip(p2p->chain)->hash);
    flood_charge(p2p, peer, block ? block->tx_count : 0);
    for (uint32_t i = 1; block && i < block->tx_count; i++) {
        const struct tx *tx = &block->txs[i];
        if (hash256_equal(by_wtxid ? &tx->wtxid : &tx->txid, hash)) {
            return tx;
        }
    }
    return NULL;
}

/* What has been asked for costs its asker something (flood.c), but each block is free once: whoever
 * synchronises asks for all of them. */
static void charge(struct p2p *p2p, struct peer *peer, const struct block_entry *block)
{
    if (block && block->height > peer->blocks_shown) {
        peer->blocks_shown = block->height;
        flood_charge(p2p, peer, -36);
    } else {
        flood_charge(p2p, peer, 100 + (block ? block->data_len / 4 : 0));
    }
}

static void serve_tx(struct p2p *p2p, struct peer *peer, uint32_t type, const struct hash256 *hash,
                     struct buf *missing)
{
    bool by_wtxid = (type & ~(uint32_t)INV_WITNESS_FLAG) == INV_WTX;
    const struct mempool_entry *entry =
        by_wtxid ? mempool_find_wtxid(p2p->pool, hash) : mempool_find(p2p->pool, hash);
    const struct tx *tx = entry ? entry->tx : tx_of_tip(p2p, peer, by_wtxid, hash);
    struct buf b = {0};
    if (!tx) {
        note_missing(missing, type, hash);
        return;
    }
    tx_write(&b, tx, type != INV_TX);
    message_send(p2p, peer, "tx", &b);
    mempool_set_unbroadcast(p2p->pool, &tx->txid, false);
    peer_knows(p2p, peer, peer->wants_wtxid ? &tx->wtxid : &tx->txid);
}

/* False: nothing more now. It is being read, or judged (serve_waiting), and then serving goes on. */
static bool serve_block(struct p2p *p2p, struct peer *peer, uint32_t type, const struct hash256 *hash,
                        struct buf *missing)
{
    const struct block_entry *entry = chain_find(p2p->chain, hash);
    bool here = entry && entry->status & BLOCK_HAVE_DATA,
         judged = entry && entry->status & (BLOCK_VALID | BLOCK_BAD);
    if (here && !judged && chain_busy(p2p->chain)) {
        peer->wanted_at -= 36; /* only what is valid is handed on */
        return false;
    }
    if (!here || !judged || entry->status & (BLOCK_FAILED | BLOCK_FAILED_PARENT) ||
        !may_be_shown(p2p, entry)) {
        charge(p2p, peer, NULL);
        note_missing(missing, type, hash);
        return true;
    }
    if (type == INV_COMPACT && entry->height + COMPACT_DEPTH < chain_tip(p2p->chain)->height) {
        type = INV_BLOCK | INV_WITNESS_FLAG; /* BIP152: of older blocks nobody has the transactions */
    }
    if (type == (INV_BLOCK | INV_WITNESS_FLAG) && entry->height > 0) {
        enum served_answer answer = served_send(p2p, peer, entry);
        if (answer == SERVED_LATER) {
            peer->wanted_at -= 36;
            peer->reading = true;
            return false;
        }
        charge(p2p, peer, entry);
        if (answer == SERVED_NOT) {
            note_missing(missing, type, hash);
        } else {
            lead_on(p2p, peer, hash);
        }
        return true;
    }
    charge(p2p, peer, entry);
    struct block_reply *reply = mem_alloc(sizeof *reply);
    *reply = (struct block_reply){p2p, peer->id, type, *hash};
    peer->reading = peer->serving = true;
    chain_read_block(p2p->chain, entry, block_is_read, reply); /* may answer at once */
    peer->serving = false;
    return true;
}

/* Goes on until the peer has enough to read, or has to wait for a block. */
static void serve_on(struct p2p *p2p, struct peer *peer, struct buf *missing)
{
    while (!peer->closing && !peer->reading && peer->wanted_at < peer->wanted.len &&
           peer->queued_bytes < P2P_SEND_QUEUE_SOFT) {
        const uint8_t *item = peer->wanted.data + peer->wanted_at;
        uint32_t type = load_le32(item), plain = type & ~(uint32_t)INV_WITNESS_FLAG;
        struct hash256 hash;
        memcpy(hash.b, item + 4, 32);
        peer->wanted_at += 36;
        if (plain == INV_TX || plain == INV_WTX) {
            charge(p2p, peer, NULL);
            if (peer->wants_txs) { /* else it has said that it is not interested */
                serve_tx(p2p, peer, type, &hash, missing);
            }
        } else if ((plain == INV_BLOCK || type == INV_COMPACT) &&
                   !serve_block(p2p, peer, type, &hash, missing)) {
            return;
        }
    }
    if (peer->wanted_at == peer->wanted.len) {
        p2p->receive_total -= peer->wanted.capacity;
        buf_free(&peer->wanted);
        peer->wanted_at = 0;
    }
}

void serve_wanted(struct p2p *p2p, struct peer *peer)
{
    struct buf missing = {0};
    serve_on(p2p, peer, &missing);
    tell_missing(p2p, peer, &missing);
}

void serve_waiting(struct p2p *p2p)
{
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer) && peer->wanted.len) {
            serve_wanted(p2p, peer);
        }
    }
}
