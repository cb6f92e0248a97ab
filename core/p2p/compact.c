/*
 * Compact blocks that come to us, version 2 (BIP152): a header and six bytes per transaction instead of what
 * we have already. Low bandwidth: asked for by getdata; high bandwidth: sent unasked by the three peers that
 * were first with a good block lately. What is missing is asked for once; a collision or a copy that does not
 * fit its merkle root falls back to the whole block and is nobody's fault. Those that we send are
 * compact_out.c's.
 */
#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

#define COMPACT_VERSION 2u
#define SHORT_MASK      ((UINT64_C(1) << 48) - 1)
#define TXS_MAX         (BLOCK_WEIGHT_MAX / 240u) /* 60 bytes are the least that a transaction takes */
#define TX_BYTES_LEAST  10u                       /* that any could be read from */
#define FETCH_AHEAD     8u
#define FAST_PEERS      3u
#define COMPACTED_MAX   1000u
#define UNITS_PER_LOOK  8.0 /* at one transaction of the mempool (flood.c) */

struct partial {
    struct hash256 hash;
    struct block_header header;
    uint32_t count, missing;
    size_t bytes;    /* while a peer has it: what is counted in partial_bytes */
    struct tx **txs; /* references; NULL: missing */
};

/* A block that is put together and announced. It goes on when that has left: before anything else happens. */
struct announced {
    struct block *block;     /* borrows from partial */
    struct partial *partial; /* owned */
    peer_id peer;
    bool asked;
};

static void txs_free(struct tx **txs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tx_unref(txs[i]);
    }
    mem_free(txs);
}

static void partial_free(struct partial *partial)
{
    if (partial) {
        txs_free(partial->txs, partial->count);
        mem_free(partial);
    }
}

static size_t partial_memory(const struct partial *partial)
{
    size_t bytes = sizeof *partial + partial->count * sizeof(struct tx *);
    for (uint32_t i = 0; i < partial->count; i++) {
        bytes += partial->txs[i] ? tx_memory(partial->txs[i]) : 0;
    }
    return bytes;
}

/* The caller has it now; NULL when there is none. */
static struct partial *partial_take(struct p2p *p2p, struct peer *peer)
{
    struct partial *partial = peer->partial;
    peer->partial = NULL;
    p2p->partial_bytes -= partial ? partial->bytes : 0;
    return partial;
}

/* The peer has none. False, and it stays the caller's: all together would hold too much. */
static bool partial_keep(struct p2p *p2p, struct peer *peer, struct partial *partial)
{
    partial->bytes = partial_memory(partial);
    if (partial->bytes > PARTIAL_TOTAL_MAX - p2p->partial_bytes) {
        return false;
    }
    p2p->partial_bytes += partial->bytes;
    peer->partial = partial;
    return true;
}

void compact_forget_peer(struct p2p *p2p, struct peer *peer)
{
    partial_free(partial_take(p2p, peer));
}

void compact_remember(struct p2p *p2p, struct tx *tx, bool low_fee)
{
    if (tx_memory(tx) > EXTRA_TX_BYTES_MAX) {
        return;
    }
    size_t at = p2p->extra_next++ % EXTRA_TXS;
    struct tx **slot = &p2p->extra[at];
    p2p->extra_low_fee[at] = low_fee;
    p2p->extra_bytes += tx_memory(tx) - (*slot ? tx_memory(*slot) : 0);
    tx_unref(*slot);
    *slot = tx_ref(tx);
}

void compact_free(struct p2p *p2p)
{
    for (size_t i = 0; i < EXTRA_TXS; i++) {
        tx_unref(p2p->extra[i]);
    }
    map_free(&p2p->compacted);
    shared_unref(p2p->compact_message);
    if (p2p->announced) {
        block_unref(p2p->announced->block);
        partial_free(p2p->announced->partial);
        mem_free(p2p->announced);
    }
}

void p2p_compact_stats(const struct p2p *p2p, struct p2p_compact_stats *out)
{
    *out = p2p->compact;
}

/* ---- Who sends them unasked ---------------------------------------------------------------------------- */

void compact_offer(struct p2p *p2p, struct peer *peer, bool unasked)
{
    struct buf b = {0};
    buf_u8(&b, unasked);
    buf_u64(&b, COMPACT_VERSION);
    message_send(p2p, peer, "sendcmpct", &b);
}

void handle_sendcmpct(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    bool unasked = cursor_u8(c) != 0;
    uint64_t version = cursor_u64(c);
    if (!c->failed && version == COMPACT_VERSION) {
        peer->speaks_compact = true;
        peer->wants_compact = unasked;
    }
}

/* Who gives way to this peer. Not the only one that we have dialled ourselves to one that has dialled us: who
 * comes in great numbers shall not be all that brings us blocks. */
static struct peer *oldest_fast(const struct p2p *p2p, const struct peer *for_peer, size_t outbound)
{
    struct peer *oldest = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        bool stays = for_peer->inbound && !peer->inbound && outbound == 1;
        if (peer->fast && !peer->closing && !stays &&
            (!oldest || peer->fast_since_us < oldest->fast_since_us)) {
            oldest = peer;
        }
    }
    return oldest;
}

void compact_prefer(struct p2p *p2p, struct peer *peer)
{
    size_t count = 0, outbound = 0;
    if (!peer->speaks_compact || !peer_ready(peer) || !p2p_near_tip(p2p) || p2p->config.blocks_only) {
        return;
    }
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *other = CONTAINER_OF(at, struct peer, link);
        count += other->fast && !other->closing;
        outbound += other->fast && !other->closing && !other->inbound;
    }
    if (!peer->fast && count >= FAST_PEERS) {
        struct peer *oldest = oldest_fast(p2p, peer, outbound);
        oldest->fast = false;
        compact_offer(p2p, oldest, false);
    }
    if (!peer->fast) {
        peer->fast = true;
        compact_offer(p2p, peer, true);
    }
    peer->fast_since_us = p2p->now.mono_us;
}

/* ---- Putting together ---------------------------------------------------------------------------------- */

/* What a compact block says, borrowed from the message. */
struct compact {
    uint64_t key[2];
    struct block_header header;
    struct hash256 hash;
    size_t short_count, prefilled_count;
    const uint8_t *shorts;
};

struct tx *tx_from(struct cursor *c)
{
    struct arena scratch = {0};
    struct tx probe, *tx = NULL;
    const uint8_t *begin = c->at;
    if (tx_read(&probe, c, &scratch)) {
        tx = tx_parse(span_of(begin, (size_t)(c->at - begin)), NULL);
    }
    arena_free(&scratch);
    c->failed |= !tx;
    return tx;
}

/* False: an index lies outside of the block. */
static bool read_prefilled(struct partial *partial, struct cursor *c, size_t count)
{
    uint64_t index = 0;
    bool inside = true;
    for (size_t i = 0; i < count && !c->failed; i++) {
        index += cursor_compact_size(c, UINT16_MAX) + (i ? 1 : 0);
        struct tx *tx = tx_from(c);
        if (tx && index < partial->count) {
            partial->txs[index] = tx;
        } else {
            tx_unref(tx);
            inside = false;
        }
    }
    return inside;
}

/* NULL: the message cannot be read (c has failed), or what it says makes no sense. */
static struct partial *read_compact(struct compact *compact, struct cursor *c)
{
    struct span head = cursor_span(c, HEADER_BYTES + 8);
    if (c->failed) {
        return NULL;
    }
    struct cursor h = cursor_of(head.data, head.len);
    header_read(&compact->header, &h);
    header_hash(&compact->hash, &compact->header);
    compact_key(compact->key, head.data);
    compact->short_count = cursor_count(c, SHORT_BYTES);
    compact->shorts = cursor_span(c, compact->short_count * SHORT_BYTES).data;
    compact->prefilled_count = cursor_count(c, 1 + TX_BYTES_LEAST);
    size_t count = compact->short_count + compact->prefilled_count;
    c->failed |= count > UINT16_MAX;
    if (c->failed || count == 0 || count > TXS_MAX) {
        return NULL;
    }
    struct partial *partial = mem_alloc(sizeof *partial);
    partial->hash = compact->hash;
    partial->header = compact->header;
    partial->count = (uint32_t)count;
    partial->txs = mem_alloc(count * sizeof *partial->txs);
    if (!read_prefilled(partial, c, compact->prefilled_count)) {
        partial_free(partial);
        return NULL;
    }
    return partial;
}

/* The short identifiers that are wanted, by open addressing: every transaction that we have is looked up
 * here. Who makes the block chooses them, so their places come from a secret of ours. */
struct wanted {
    struct wanted_short {
        uint64_t id_plus_one; /* 0: an empty place */
        uint32_t index;
        bool twice; /* two different transactions of ours fit: ask rather than guess */
    } * places;
    uint64_t secret;
    unsigned shift; /* 64 minus the logarithm of the number of places */
    size_t mask;
};

static void wanted_init(struct wanted *wanted, size_t count, struct rng *rng)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) < count * 2) {
        bits++;
    }
    *wanted =
        (struct wanted){.secret = rng_next(rng) | 1, .shift = 64 - bits, .mask = ((size_t)1 << bits) - 1};
    wanted->places = mem_alloc((wanted->mask + 1) * sizeof *wanted->places);
}

/* The place of the identifier, or the empty one where it would go. */
static struct wanted_short *wanted_find(const struct wanted *wanted, uint64_t id)
{
    size_t at = (size_t)(id * wanted->secret >> wanted->shift);
    while (wanted->places[at].id_plus_one && wanted->places[at].id_plus_one != id + 1) {
        at = (at + 1) & wanted->mask;
    }
    return &wanted->places[at];
}

/* False: two transactions of the block have one short identifier. */
static bool wanted_fill(struct wanted *wanted, struct partial *partial, const struct compact *compact)
{
    const uint8_t *at = compact->shorts;
    for (uint32_t i = 0; i < partial->count; i++) {
        if (!partial->txs[i]) {
            uint8_t bytes[8] = {0};
            memcpy(bytes, at, SHORT_BYTES);
            uint64_t id = load_le64(bytes);
            struct wanted_short *want = wanted_find(wanted, id);
            if (want->id_plus_one) {
                return false;
            }
            *want = (struct wanted_short){.id_plus_one = id + 1, .index = i};
            at += SHORT_BYTES;
            partial->missing++;
        }
    }
    return true;
}

/* NULL: nobody wants it. */
static struct wanted_short *wanted_by(const struct wanted *wanted, const uint64_t key[2],
                                      const struct hash256 *wtxid)
{
    struct wanted_short *want = wanted_find(wanted, siphash_2_4(key, wtxid->b, 32) & SHORT_MASK);
    return want->id_plus_one ? want : NULL;
}

static void try_tx(struct partial *partial, struct wanted_short *want, struct tx *tx)
{
    if (!want || want->twice) {
        return;
    }
    struct tx **slot = &partial->txs[want->index];
    if (!*slot) {
        *slot = tx_ref(tx);
        partial->missing--;
    } else if (!hash256_equal(&(*slot)->wtxid, &tx->wtxid)) {
        tx_unref(*slot);
        *slot = NULL;
        want->twice = true;
        partial->missing++;
    }
}

struct match { /* a transaction of the mempool that is wanted */
    struct wanted_short *want;
    const struct mempool_entry *entry;
};

/* Entries and transactions lie anywhere in memory: what comes a little later is fetched while one is taken.
 */
static void take_matches(struct partial *partial, const struct match *matches, size_t count)
{
    for (size_t i = 0; i < count + FETCH_AHEAD * 2; i++) {
        if (i < count) {
            __builtin_prefetch(matches[i].entry);
        }
        if (i >= FETCH_AHEAD && i - FETCH_AHEAD < count) {
            const char *tx = (const char *)matches[i - FETCH_AHEAD].entry->tx;
            for (size_t at = 0; at < sizeof(struct tx); at += 64) {
                __builtin_prefetch(tx + at, 1);
            }
        }
        if (i >= FETCH_AHEAD * 2) {
            const struct match *match = &matches[i - FETCH_AHEAD * 2];
            try_tx(partial, match->want, match->entry->tx);
        }
    }
}

static void fill_from_mempool(struct p2p *p2p, struct partial *partial, const struct wanted *wanted,
                              const struct compact *compact)
{
    struct buf matches = {0};
    const struct mempool_entry *entry;
    const struct hash256 *wtxid;
    buf_reserve(&matches, (compact->short_count + 1) * sizeof(struct match));
    for (size_t at = 0; compact->short_count && mempool_next_wtxid(p2p->pool, &at, &wtxid, &entry);) {
        struct match match = {wanted_by(wanted, compact->key, wtxid), entry};
        if (match.want) {
            buf_bytes(&matches, &match, sizeof match);
        }
    }
    take_matches(partial, (const struct match *)(const void *)matches.data,
                 matches.len / sizeof(struct match));
    buf_free(&matches);
}

/* False: two transactions of the block have one short identifier. */
static bool fill(struct p2p *p2p, struct partial *partial, const struct compact *compact)
{
    struct wanted wanted;
    const void *key;
    void *value;
    wanted_init(&wanted, compact->short_count, p2p->config.rng);
    bool ok = wanted_fill(&wanted, partial, compact);
    if (ok) {
        fill_from_mempool(p2p, partial, &wanted, compact);
    }
    for (size_t i = 0; ok && i < EXTRA_TXS; i++) {
        if (p2p->extra[i]) {
            try_tx(partial, wanted_by(&wanted, compact->key, &p2p->extra[i]->wtxid), p2p->extra[i]);
        }
    }
    for (size_t at = 0; ok && map_next(&p2p->orphans, &at, &key, &value);) {
        struct tx *tx = ((struct orphan *)value)->tx;
        try_tx(partial, wanted_by(&wanted, compact->key, &tx->wtxid), tx);
    }
    mem_free(wanted.places);
    return ok;
}

/* The block goes the way of every block. Takes over block and partial. */
static void take_block(struct p2p *p2p, struct announced *it)
{
    struct peer *peer = peer_find(p2p, it->peer);
    bool whole = block_own_txs(it->block), asked = it->asked;
    if (peer) {
        asked |= end_request(p2p, peer, &it->partial->hash);
    }
    if (!whole || !sync_take_block(p2p, it->peer, it->block, asked, true)) {
        p2p->compact.fell_back++;
        peer = peer_find(p2p, it->peer);
        if (peer && !peer->closing) {
            ask_whole_block(p2p, peer, &it->partial->hash);
        }
    }
    block_unref(it->block);
    partial_free(it->partial);
    sync_request_blocks(p2p);
}

/* BIP152 lets a block be announced when its header is right. We look at one thing more: it must commit to
 * what we have put together, else it would be our word that is wrong. */
static bool announced_early(struct p2p *p2p, const struct block_entry *entry, struct block *block)
{
    bool next = entry && !(entry->status & (BLOCK_HAVE_DATA | BLOCK_BAD)) &&
                block->raw.len <= BLOCK_SERIALIZED_MAX && entry->prev == chain_tip(p2p->chain) &&
                p2p_near_tip(p2p);
    return next && block_commits(block, entry->height, chain_parameters(p2p->chain)) &&
           compact_announce(p2p, entry, block);
}

/* All transactions are here. Takes over the partial. */
static void complete(struct p2p *p2p, struct peer *peer, struct partial *partial, bool asked)
{
    struct announced it = {block_of_txs(&partial->header, partial->txs, partial->count), partial, peer->id,
                           asked};
    if (p2p->compacted.count >= COMPACTED_MAX) {
        map_clear(&p2p->compacted);
    }
    latency_received(p2p, peer, it.block, true);
    if (asked) {
        sync_delivers(p2p, peer);
    }
    peer->last_block_us = p2p->now.mono_us;
    if (announced_early(p2p, chain_find(p2p->chain, &partial->hash), it.block)) {
        p2p->announced = mem_dup(&it, sizeof it);
    } else {
        take_block(p2p, &it);
    }
}

bool p2p_waits(const struct p2p *p2p)
{
    return p2p->announced;
}

void p2p_go_on(struct p2p *p2p, struct moment now)
{
    struct announced *it = p2p->announced;
    if (it) {
        p2p->now = now;
        p2p->announced = NULL;
        take_block(p2p, it);
        mem_free(it);
    }
}

/* Whether this peer, too, is asked for what is missing in a block that somebody else owes us: who announces a
 * block first and never sends the rest shall not hold it up. Only those that we want compact blocks of, three
 * in all, the last of them only when one of the three is a peer that we have dialled. */
static bool may_ask_beside(const struct p2p *p2p, const struct peer *peer, const struct hash256 *hash)
{
    const struct block_request *request = map_get(&p2p->block_requests, hash);
    size_t asked = 0;
    bool outbound = !peer->inbound;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *other = CONTAINER_OF(at, struct peer, link);
        if (request->peer == other->id || (other->partial && hash256_equal(&other->partial->hash, hash))) {
            asked++;
            outbound |= !other->inbound;
        }
    }
    return peer->fast && asked + (outbound ? 0 : 1) < FAST_PEERS;
}

/* The block is requested of this peer, unless it is of another one. */
static void ask_missing(struct p2p *p2p, struct peer *peer, const struct partial *partial)
{
    struct buf b = {0};
    bool inserted;
    struct block_request *request = map_put(&p2p->block_requests, &partial->hash, &inserted);
    if (inserted || request->peer == peer->id) {
        *request = (struct block_request){peer->id, p2p->now.mono_us};
        peer->in_flight += inserted;
        peer->last_block_us = p2p->now.mono_us;
    }
    buf_bytes(&b, partial->hash.b, 32);
    buf_compact_size(&b, partial->missing);
    for (uint32_t i = 0, next = 0; i < partial->count; i++) {
        if (!partial->txs[i]) {
            buf_compact_size(&b, i - next);
            next = i + 1;
        }
    }
    p2p->compact.asked += partial->missing;
    message_send(p2p, peer, "getblocktxn", &b);
}

/* Another block of this peer's is to be put together: of the one before, whose answer may still come, the
 * whole is asked for. It may be the parent. */
static void make_way(struct p2p *p2p, struct peer *peer, const struct hash256 *next)
{
    struct hash256 hash = peer->partial ? peer->partial->hash : *next;
    const struct block_entry *entry = chain_find(p2p->chain, &hash);
    compact_forget_peer(p2p, peer);
    if (!hash256_equal(&hash, next) && entry && !(entry->status & (BLOCK_HAVE_DATA | BLOCK_BAD))) {
        ask_whole_block(p2p, peer, &hash);
    }
}

/* The header of a compact block, with what it means for what we know of the peer; NULL: nothing to do. */
static const struct block_entry *take_header(struct p2p *p2p, struct peer *peer,
                                             const struct block_header *header, const struct hash256 *hash)
{
    const struct block_entry *entry = NULL;
    struct error error = {0};
    if (!presync_admits(p2p, header, hash)) {
        return NULL;
    }
    if (chain_accept_header(p2p->chain, header, p2p->now, &entry, NULL, &error)) {
        sync_learn(peer, entry);
        return entry;
    }
    if (error.kind == ERROR_MISSING) {
        handle_block_inv(p2p, peer, hash);
    } else if (error.kind == ERROR_INVALID && strcmp(error.word, "duplicate-invalid") != 0 &&
               strcmp(error.word, "bad-prevblk") != 0) {
        char text[HASH256_TEXT];
        peer_misbehaves(p2p, peer, "compact block %s: an invalid header: %s (%s)", hash256_text(text, hash),
                        error.word, error.text);
    }
    return NULL;
}

/* Whoever sends one block again and again has the mempool looked through each time. */
static void charge_search(struct p2p *p2p, struct peer *peer)
{
    struct mempool_info info;
    mempool_info(p2p->pool, &info);
    flood_charge(p2p, peer, UNITS_PER_LOOK * (double)info.count);
}

static void keep_or_fall_back(struct p2p *p2p, struct peer *peer, struct partial *partial)
{
    make_way(p2p, peer, &partial->hash);
    if (partial_keep(p2p, peer, partial)) {
        ask_missing(p2p, peer, partial);
    } else {
        p2p->compact.fell_back++;
        ask_whole_block(p2p, peer, &partial->hash);
        partial_free(partial);
    }
}

void handle_cmpctblock(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct compact compact;
    struct partial *partial = read_compact(&compact, c);
    if (c->failed) {
        return;
    }
    const struct block_entry *entry = take_header(p2p, peer, &compact.header, &compact.hash);
    const struct block_entry *tip = chain_tip(p2p->chain);
    if (!entry || entry->status & (BLOCK_HAVE_DATA | BLOCK_BAD)) {
        if (entry) {
            end_request(p2p, peer, &compact.hash);
        }
        partial_free(partial);
        sync_request_blocks(p2p);
        return;
    }
    peer_knows(p2p, peer, &compact.hash);
    const struct block_request *request = map_get(&p2p->block_requests, &compact.hash);
    bool asked = request && request->peer == peer->id, elsewhere = request && !asked;
    bool near = p2p_near_tip(p2p) && u256_compare(entry->work, tip->work) > 0;
    if (!asked && !near) {
        partial_free(partial);
        sync_request_blocks(p2p); /* its header is known now: the usual way, if we want it at all */
        return;
    }
    if (!partial) {
        end_request(p2p, peer, &compact.hash);
        peer_misbehaves(p2p, peer, "a compact block that makes no sense");
        return;
    }
    p2p->compact.received++;
    latency_first_byte(p2p, peer, &compact.hash);
    charge_search(p2p, peer);
    if (!fill(p2p, partial, &compact)) {
        p2p->compact.fell_back++;
        ask_whole_block(p2p, peer, &compact.hash);
        partial_free(partial);
    } else if (!partial->missing) {
        p2p->compact.at_once++;
        complete(p2p, peer, partial, asked);
    } else if (elsewhere && !may_ask_beside(p2p, peer, &compact.hash)) {
        partial_free(partial); /* the block is on its way from somebody else */
    } else {
        keep_or_fall_back(p2p, peer, partial);
    }
}

/* NULL: they cannot be read. */
static struct tx **read_txs(struct cursor *c, size_t count)
{
    struct tx **txs = mem_alloc((count + 1) * sizeof(struct tx *));
    for (size_t i = 0; i < count && !c->failed; i++) {
        txs[i] = tx_from(c);
    }
    if (c->failed) {
        txs_free(txs, count);
        txs = NULL;
    }
    return txs;
}

void handle_blocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct hash256 hash;
    cursor_bytes(c, hash.b, 32);
    size_t count = cursor_count(c, TX_BYTES_LEAST);
    struct partial *partial = peer->partial;
    if (c->failed || !partial || !hash256_equal(&partial->hash, &hash)) {
        return; /* it comes too late, or was never asked for */
    }
    struct tx **txs = read_txs(c, count);
    if (!txs) {
        return;
    }
    partial_take(p2p, peer);
    const struct block_entry *entry = chain_find(p2p->chain, &hash);
    if (!entry || entry->status & (BLOCK_HAVE_DATA | BLOCK_BAD)) { /* somebody else was faster */
        end_request(p2p, peer, &hash);
        partial_free(partial);
    } else if (count != partial->missing) {
        peer_misbehaves(p2p, peer, "blocktxn with %zu transactions, %u were asked for", count,
                        partial->missing);
        partial_free(partial);
    } else {
        for (size_t i = 0, next = 0; i < partial->count; i++) {
            if (!partial->txs[i]) {
                partial->txs[i] = tx_ref(txs[next++]);
            }
        }
        complete(p2p, peer, partial, true);
    }
    txs_free(txs, count);
}
