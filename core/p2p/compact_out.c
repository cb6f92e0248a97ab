/*
 * Compact blocks that we send (BIP152, version 2): made once for all who get them, and the transactions of a
 * block that somebody could not put together. Those that come to us are compact.c's.
 */
#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

#define ANSWER_DEPTH_MAX 10u /* getblocktxn: of older blocks the whole is sent */

void compact_key(uint64_t key[2], const uint8_t header_and_nonce[HEADER_BYTES + 8])
{
    uint8_t digest[32];
    sha256(digest, header_and_nonce, HEADER_BYTES + 8);
    key[0] = load_le64(digest);
    key[1] = load_le64(digest + 8);
}

void compact_short_id(uint8_t out[8], const uint64_t key[2], const struct hash256 *wtxid)
{
    store_le64(out, siphash_2_4(key, wtxid->b, 32));
}

/* The message; one nonce for all who get it. */
static void write_compact(struct buf *b, const struct block *block, struct rng *rng)
{
    uint64_t key[2];
    uint8_t id[8];
    buf_reserve(b, HEADER_BYTES + 8 + (size_t)block->tx_count * SHORT_BYTES + block->txs[0].raw.len + 16);
    header_encode(buf_extend(b, HEADER_BYTES), &block->header);
    buf_u64(b, rng_next(rng));
    compact_key(key, b->data);
    buf_compact_size(b, block->tx_count - 1);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        compact_short_id(id, key, &block->txs[i].wtxid);
        buf_bytes(b, id, SHORT_BYTES);
    }
    buf_compact_size(b, 1);
    buf_compact_size(b, 0);
    tx_write(b, &block->txs[0], true);
}

/* The whole message, made once: the latest is kept for those who ask for it a moment later. Borrowed. */
static struct shared *compact_message(struct p2p *p2p, const struct block *block)
{
    if (!p2p->compact_message || !hash256_equal(&p2p->compact_message_of, &block->hash)) {
        struct buf b = {0};
        write_compact(&b, block, p2p->config.rng);
        shared_unref(p2p->compact_message);
        p2p->compact_message = message_frame(p2p, "cmpctblock", buf_span(&b));
        p2p->compact_message_of = block->hash;
        buf_free(&b);
    }
    return p2p->compact_message;
}

void compact_send(struct p2p *p2p, struct peer *peer, const struct block *block)
{
    message_put(p2p, peer, "cmpctblock", shared_ref(compact_message(p2p, block)));
    peer_knows(p2p, peer, &block->hash);
    p2p->compact.sent++;
}

bool compact_announce(struct p2p *p2p, const struct block_entry *entry, const struct block *block)
{
    bool any = false;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer) && peer->wants_compact && entry->prev && peer_has_block(peer, entry->prev) &&
            !peer_has_block(peer, entry) && !peer_is_known(peer, &entry->hash)) {
            compact_send(p2p, peer, block);
            peer->best_sent = entry;
            any = true;
        }
    }
    if (any) {
        latency_passed(p2p, &entry->hash, HOP_ANNOUNCED);
    }
    return any;
}

struct txs_reply {
    struct p2p *p2p;
    peer_id peer;
    struct hash256 hash;
    size_t count;
    uint32_t *indices;
};

static void txs_are_read(void *context, struct block *block)
{
    struct txs_reply *reply = context;
    struct p2p *p2p = reply->p2p;
    struct peer *peer = peer_find(p2p, reply->peer);
    if (peer) {
        peer->reading_txs = false;
    }
    if (peer && peer->open && !peer->closing && block) {
        struct buf b = {0};
        bool ok = true;
        buf_bytes(&b, reply->hash.b, 32);
        buf_compact_size(&b, reply->count);
        for (size_t i = 0; ok && i < reply->count; i++) {
            ok = reply->indices[i] < block->tx_count;
            if (ok) {
                tx_write(&b, &block->txs[reply->indices[i]], true);
            }
        }
        if (ok) {
            message_send(p2p, peer, "blocktxn", &b);
        } else {
            buf_free(&b);
            peer_misbehaves(p2p, peer, "getblocktxn for transactions that the block does not have");
        }
    }
    block_unref(block);
    mem_free(reply->indices);
    mem_free(reply);
}

/* NULL: they cannot be read. */
static uint32_t *read_indices(struct cursor *c, size_t *count)
{
    uint64_t index = 0;
    *count = cursor_count(c, 1);
    c->failed |= *count > UINT16_MAX + 1u;
    if (c->failed) {
        return NULL;
    }
    uint32_t *indices = mem_alloc((*count + 1) * sizeof *indices);
    for (size_t i = 0; i < *count && !c->failed; i++) {
        index += cursor_compact_size(c, UINT16_MAX) + (i ? 1 : 0);
        indices[i] = (uint32_t)index;
        c->failed |= index > UINT16_MAX;
    }
    if (c->failed) {
        mem_free(indices);
        indices = NULL;
    }
    return indices;
}

void handle_getblocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct hash256 hash;
    size_t count;
    cursor_bytes(c, hash.b, 32);
    uint32_t *indices = read_indices(c, &count);
    const struct block_entry *entry = chain_find(p2p->chain, &hash);
    if (!indices || !entry || !(entry->status & BLOCK_HAVE_DATA) || peer->reading_txs) {
        mem_free(indices);
        return;
    }
    if (entry->height + ANSWER_DEPTH_MAX < chain_tip(p2p->chain)->height) {
        struct buf item = {0};
        buf_compact_size(&item, 1);
        buf_u32(&item, INV_BLOCK | INV_WITNESS_FLAG);
        buf_bytes(&item, hash.b, 32);
        struct cursor all = cursor_of(item.data, item.len);
        handle_getdata(p2p, peer, &all);
        buf_free(&item);
        mem_free(indices);
        return;
    }
    struct txs_reply *reply = mem_alloc(sizeof *reply);
    *reply =
        (struct txs_reply){.p2p = p2p, .peer = peer->id, .hash = hash, .count = count, .indices = indices};
    peer->reading_txs = true; /* one at a time: a peer waits for its answer */
    chain_read_block(p2p->chain, entry, txs_are_read, reply);
}
