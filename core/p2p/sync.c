/*
 * Synchronisation: headers first, from one peer and then from everybody; then blocks, from several at once.
 *
 * While the best header is old, the whole chain of headers may be missing, and it is the same from everybody:
 * one peer is asked alone, and the others when it has told what it has. Every few seconds that this takes as
 * many again are asked, so that who is slow, or leads nowhere, holds up nobody for long.
 *
 * A peer's best_known is the header with most work that it has shown. Between our tip and the best_known of
 * each peer, blocks are asked for in a window ahead of what is here, a few at a time per peer; a request that
 * is not answered in time goes to somebody else, and the peer rests for a while. A peer that does not have a
 * block (it may have forwarded it compact, and found it bad since: BIP152) has nothing on top of it either;
 * it is asked a little later what it does have.
 */
#include "core/p2p/p2p_private.h"

#define WINDOW_BLOCKS        2048u
#define IN_FLIGHT_LEAST      16u /* blocks */
#define IN_FLIGHT_MOST       512u
#define IN_FLIGHT_BYTES      (4u << 20)
#define BLOCK_TIMEOUT_US     (5 * US_PER_S)
#define BLOCK_TIMEOUT_MAX_US (60 * US_PER_S)
#define REST_US              (10 * US_PER_S) /* doubled each time, until it delivers */
#define REST_DOUBLED_MAX     6u
#define SLOW_BYTES_PER_S     32768       /* with less a block is not on its way */
#define YOUNG_S              (24 * 3600) /* a best header younger than that: little is missing */
#define HEADERS_TIMEOUT_US   (30 * US_PER_S)
#define HEADERS_PATIENCE_US  (5 * US_PER_S) /* an answer may be long, and the line slow */
#define NOT_FOUND_US         US_PER_S
#define WITHHELD_US          (10 * US_PER_S)
#define ANNOUNCED_ASKS_MAX   5u

void sync_ask_headers_after(struct p2p *p2p, struct peer *peer, const struct hash256 *unkept,
                            const struct block_entry *from)
{
    struct buf b = {0}, hashes = {0};
    size_t count;
    chain_locator(p2p->chain, from, &hashes, &count);
    buf_u32(&b, P2P_VERSION);
    buf_compact_size(&b, count + (unkept ? 1 : 0));
    if (unkept) {
        buf_bytes(&b, unkept->b, 32);
    }
    buf_bytes(&b, hashes.data, hashes.len);
    buf_extend(&b, 32);
    buf_free(&hashes);
    peer->headers_asked_us = p2p->now.mono_us;
    peer->led_to = NULL;
    message_send(p2p, peer, "getheaders", &b);
}

void sync_ask_headers(struct p2p *p2p, struct peer *peer, const struct block_entry *from)
{
    if (!from) {
        /* One before our best: so that the answer is never empty, and says that the peer has it too. */
        from = chain_best_header(p2p->chain);
        from = from->prev ? from->prev : from;
    }
    sync_ask_headers_after(p2p, peer, NULL, from);
}

/* ---- Whom to ask first ------------------------------------------------------------------------------- */

static void ask_first(struct p2p *p2p, struct peer *peer)
{
    peer->headers_due = false;
    sync_ask_headers(p2p, peer, NULL);
}

static void ask_all_due(struct p2p *p2p)
{
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->headers_due && !peer->closing) {
            ask_first(p2p, peer);
        }
    }
}

static bool headers_are_young(const struct p2p *p2p)
{
    return moment_unix_s(p2p->now) - chain_best_header(p2p->chain)->header.time < YOUNG_S;
}

/* Of those that are to be asked one that has blocks and that we have dialled, if there is one. */
static struct peer *next_to_lead(const struct p2p *p2p)
{
    struct peer *best = NULL;
    int best_value = -1;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        int value = 2 * peer_has_blocks(peer) + !peer->inbound;
        if (peer->headers_due && !peer->closing && value > best_value) {
            best = peer;
            best_value = value;
        }
    }
    return best;
}

static size_t count_leaders(const struct p2p *p2p, bool dialled_only)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        count += peer->leads && !peer->closing && !(dialled_only && peer->inbound);
    }
    return count;
}

static void choose_leaders(struct p2p *p2p)
{
    if (headers_are_young(p2p)) {
        ask_all_due(p2p);
        return;
    }
    size_t leaders = count_leaders(p2p, false);
    size_t more = !leaders ? 1 : p2p->now.mono_us >= p2p->more_leaders_us ? leaders : 0;
    struct peer *peer;
    for (; more && (peer = next_to_lead(p2p)); more--, leaders++) {
        peer->leads = true;
        ask_first(p2p, peer);
        p2p->more_leaders_us = p2p->now.mono_us + HEADERS_PATIENCE_US;
    }
    p2p->led = leaders > 0;
}

void sync_greet(struct p2p *p2p, struct peer *peer)
{
    peer->headers_due = true;
    if (headers_are_young(p2p)) {
        ask_first(p2p, peer);
    } else if (!p2p->led) {
        choose_leaders(p2p);
    } else if (!peer->inbound && !count_leaders(p2p, true)) { /* who dialled us may mean harm */
        peer->leads = true;
        ask_first(p2p, peer);
    }
}

/* A headers message has been dealt with, and nothing more was asked: the peer has told what it has. */
static void end_lead(struct p2p *p2p, struct peer *peer)
{
    peer->leads = false;
    if (peer->closing) {
        choose_leaders(p2p);
    } else {
        ask_all_due(p2p);
        p2p->led = count_leaders(p2p, false) > 0;
    }
}

/* ---- Headers ----------------------------------------------------------------------------------------- */

/* Of headers with equal work the later one counts: the peer may have found the other one bad. */
void sync_learn(struct peer *peer, const struct block_entry *entry)
{
    if (!peer->best_known || peer->best_known->status & BLOCK_BAD ||
        u256_compare(entry->work, peer->best_known->work) >= 0) {
        peer->best_known = entry;
    }
}

/* A block that does not connect is no crime: a peer announces what it thinks we can place, and what we asked
 * before may not be answered yet. One question at a time, repeated for a while. */
static void ask_what_leads_to(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    peer->announced = *hash;
    peer->announced_asks = 1;
    if (peer->presync) {
        return; /* a question is open already, and the answer to another would begin all anew */
    }
    if (!peer->headers_asked_us || p2p->now.mono_us - peer->headers_asked_us > HEADERS_PATIENCE_US) {
        sync_ask_headers(p2p, peer, chain_best_header(p2p->chain));
    }
}

/* Whether what it has announced is still unknown. */
static bool is_led_on(struct p2p *p2p, struct peer *peer)
{
    if (peer->announced_asks && chain_find(p2p->chain, &peer->announced)) {
        peer->announced_asks = 0;
    }
    return peer->announced_asks > 0;
}

static void ask_again(struct p2p *p2p, struct peer *peer)
{
    if (!is_led_on(p2p, peer)) {
        return;
    }
    if (++peer->announced_asks > ANNOUNCED_ASKS_MAX) {
        peer->announced_asks = 0;
    } else {
        sync_ask_headers(p2p, peer, chain_best_header(p2p->chain));
    }
}

/* Who answers again and again with what does not connect has nothing that leads to it. */
static void take_unconnected(struct p2p *p2p, struct peer *peer, const struct block_header *header,
                             bool answer)
{
    struct hash256 hash;
    uint32_t asks = answer ? peer->announced_asks : 0;
    if (asks >= ANNOUNCED_ASKS_MAX) {
        peer->announced_asks = 0;
        return;
    }
    header_hash(&hash, header);
    ask_what_leads_to(p2p, peer, &hash);
    peer->announced_asks = asks + 1;
}

/* Whether so many headers follow, each with a number of transactions behind it, which nobody looks at. */
static bool headers_can_be_read(struct cursor c, uint64_t count)
{
    for (uint64_t i = 0; i < count && !c.failed; i++) {
        cursor_span(&c, HEADER_BYTES);
        cursor_compact_size(&c, COUNT_MAX);
    }
    return !c.failed;
}

/* All of a message was taken, up to `last`. Nothing more is asked: the peer has told what it has. */
static void ask_on(struct p2p *p2p, struct peer *peer, size_t count, const struct block_entry *last,
                   bool news)
{
    /* Who gives the same ones again and again has no more. */
    if (count == HEADERS_MAX && (news || !peer->led_to || last->height > peer->led_to->height)) {
        sync_ask_headers(p2p, peer, last);
        peer->led_to = last;
    } else if (!count && !peer->asked_from_tip && chain_best_header(p2p->chain) != chain_tip(p2p->chain)) {
        /* Nothing on top of headers that perhaps nobody has blocks for. What has it on top of our blocks? */
        peer->asked_from_tip = true;
        sync_ask_headers(p2p, peer, chain_tip(p2p->chain));
    } else {
        peer->asked_from_tip = false;
        peer->headers_answered = true;
        peer->led_to = NULL;
        ask_again(p2p, peer);
    }
}

static void take_headers(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    size_t count = (size_t)cursor_compact_size(c, COUNT_MAX);
    const struct block_entry *last = NULL;
    if (count > HEADERS_MAX) {
        peer_misbehaves(p2p, peer, "%zu headers in one message", count);
        return;
    }
    if (c->failed || !headers_can_be_read(*c, count)) {
        c->failed = true;
        return;
    }
    bool asked = peer->headers_asked_us != 0, news = false;
    const struct block_entry *shown_before = peer->best_known;
    peer->headers_asked_us = 0;
    if (chain_near_tip(p2p->chain)) {
        p2p->progress_us = p2p->now.mono_us;
    }
    if (presync_takes(p2p, peer, *c, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct block_header header;
        struct error error = {0};
        bool is_new;
        header_read(&header, c);
        cursor_compact_size(c, COUNT_MAX);
        if (!chain_accept_header(p2p->chain, &header, p2p->now, &last, &is_new, &error)) {
            if (error.kind == ERROR_MISSING) {
                take_unconnected(p2p, peer, &header, asked);
            } else if (error.kind == ERROR_INVALID && strcmp(error.word, "duplicate-invalid") != 0) {
                peer_misbehaves(p2p, peer, "an invalid header: %s (%s)", error.word, error.text);
            } /* else time-too-new and the like: nobody's fault */
            return;
        }
        sync_learn(peer, last);
        news |= is_new;
    }
    peer->solicited = asked && peer->best_known != shown_before;
    ask_on(p2p, peer, count, last, news);
    sync_request_blocks(p2p);
}

void handle_headers(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    int64_t asked_us = peer->headers_asked_us;
    take_headers(p2p, peer, c);
    if (peer->presync && !peer->headers_asked_us) {
        peer->headers_asked_us = asked_us; /* this was not the answer that is waited for */
    }
    if (!peer->headers_asked_us) {
        peer->headers_answered = true;
        if (peer->leads) {
            end_lead(p2p, peer);
        }
    }
}

void handle_block_inv(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    const struct block_entry *entry = chain_find(p2p->chain, hash);
    if (entry) {
        sync_learn(peer, entry);
    } else {
        ask_what_leads_to(p2p, peer, hash);
    }
}

/* ---- Asking for blocks ------------------------------------------------------------------------------- */

static void ask_block(struct p2p *p2p, struct peer *peer, const struct block_entry *entry, struct buf *items)
{
    struct block_request *request = map_put(&p2p->block_requests, &entry->hash, NULL);
    *request = (struct block_request){peer->id, p2p->now.mono_us};
    if (!peer->in_flight) {
        peer->last_block_us = p2p->now.mono_us;
    }
    peer->in_flight++;
    /* The next block on top of ours is mostly made of what we have. */
    bool compact = peer->speaks_compact && !p2p->config.blocks_only && entry->prev == chain_tip(p2p->chain) &&
                   p2p_near_tip(p2p);
    buf_u32(items, compact ? INV_COMPACT : INV_BLOCK | INV_WITNESS_FLAG);
    buf_bytes(items, entry->hash.b, 32);
}

/* Blocks that one peer may owe us: enough to hide the way there and back, and no more than some megabytes. */
static uint32_t in_flight_max(const struct p2p *p2p)
{
    uint64_t fit = IN_FLIGHT_BYTES / (p2p->block_bytes + 1);
    return (uint32_t)MIN(MAX(fit, (uint64_t)IN_FLIGHT_LEAST), (uint64_t)IN_FLIGHT_MOST);
}

/* From here on something may have to be asked for on the way to best. Everything up to the asked pointers has
 * been: whatever is let go of again clears them all (sync_ask_anew). */
static const struct block_entry *asked_up_to(struct p2p *p2p, struct peer *peer,
                                             const struct block_entry *best)
{
    const struct block_entry *from = block_fork(chain_tip(p2p->chain), best);
    if (peer->asked_epoch != p2p->asked_epoch) {
        peer->asked_epoch = p2p->asked_epoch;
        peer->asked_up_to = NULL;
    }
    const struct block_entry *const pointers[] = {p2p->asked_up_to, peer->asked_up_to};
    for (size_t i = 0; i < ARRAY_COUNT(pointers); i++) {
        const struct block_entry *at = pointers[i];
        if (at && at->height > from->height && at->height <= best->height &&
            block_ancestor(best, at->height) == at) {
            from = at;
        }
    }
    return from;
}

void sync_ask_anew(struct p2p *p2p)
{
    p2p->asked_epoch++;
    p2p->asked_up_to = NULL;
}

static void request_from(struct p2p *p2p, struct peer *peer)
{
    const struct block_entry *best = peer->best_known, *tip = chain_tip(p2p->chain);
    const struct block_entry *best_header = chain_best_header(p2p->chain);
    struct buf items = {0}, b = {0};
    size_t count = 0;
    uint32_t most = in_flight_max(p2p);
    /* Also what has as much work as we: the next block may be on top of it. */
    if (!best || best == tip || best->status & BLOCK_BAD || u256_compare(best->work, tip->work) < 0 ||
        u256_compare(best->work, chain_minimum_work(p2p->chain)) < 0) {
        return;
    }
    const struct block_entry *asked = asked_up_to(p2p, peer, best);
    if ((peer->services & (SERVICE_NETWORK | SERVICE_NETWORK_LIMITED)) == SERVICE_NETWORK_LIMITED &&
        best->height >= asked->height + LIMITED_BLOCKS - 2) {
        return; /* it may have deleted the next one */
    }
    uint32_t limit = MIN(tip->height + WINDOW_BLOCKS, best->height);
    if (!(peer->services & SERVICE_WITNESS)) { /* what it has of later blocks is not whole */
        uint32_t segwit = chain_parameters(p2p->chain)->segwit_height;
        limit = MIN(limit, segwit - (segwit > 0));
    }
    for (uint32_t height = asked->height + 1; height <= limit && peer->in_flight < most; height++) {
        const struct block_entry *entry = block_ancestor(best, height);
        if (entry->status & BLOCK_BAD) {
            break;
        }
        if (!(entry->status & BLOCK_HAVE_DATA) && !map_get(&p2p->block_requests, &entry->hash)) {
            ask_block(p2p, peer, entry, &items);
            count++;
        }
        asked = entry;
    }
    peer->asked_up_to = asked;
    if (asked->height <= best_header->height && block_ancestor(best_header, asked->height) == asked) {
        p2p->asked_up_to = asked;
    }
    if (count) {
        buf_compact_size(&b, count);
        buf_bytes(&b, items.data, items.len);
        message_send(p2p, peer, "getdata", &b);
    }
    buf_free(&items);
}

void sync_request_blocks(struct p2p *p2p)
{
    bool anybody = false;
    uint32_t few =
        in_flight_max(p2p) / 2; /* many at a time: one question for each block costs more than it */
    if (chain_loading(p2p->chain) || chain_disk_lags(p2p->chain)) {
        return;
    }
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->in_flight <= few && peer_ready(peer) && peer->resting_until_us <= p2p->now.mono_us) {
            request_from(p2p, peer);
        }
        anybody |= peer->in_flight > 0;
    }
    if (!anybody &&
        !p2p->block_requests.count) { /* only resting peers are left: better a slow one than none */
        LIST_EACH(at, &p2p->peers)
        {
            struct peer *peer = CONTAINER_OF(at, struct peer, link);
            if (peer_ready(peer)) {
                request_from(p2p, peer);
                if (peer->in_flight) { /* it has all the time that there is */
                    peer->resting_until_us = p2p->now.mono_us + BLOCK_TIMEOUT_MAX_US;
                }
            }
        }
    }
}

/* True when this peer had been asked for it. */
bool end_request(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    const struct block_request *request = map_get(&p2p->block_requests, hash);
    if (!request || request->peer != peer->id) {
        return false;
    }
    map_remove(&p2p->block_requests, hash);
    peer->in_flight--;
    return true;
}

void sync_not_found(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    const struct block_entry *entry = chain_find(p2p->chain, hash), *best = peer->best_known;
    if (end_request(p2p, peer, hash)) {
        if (entry && best && block_ancestor(best, entry->height) == entry) {
            peer->best_known = entry->prev;
        }
        peer->ask_headers_us = p2p->now.mono_us + NOT_FOUND_US;
        sync_ask_anew(p2p);
        sync_request_blocks(p2p);
    }
}

void sync_forget_peer(struct p2p *p2p, struct peer *peer)
{
    struct buf mine = {0};
    const void *key;
    void *value;
    for (size_t at = 0; map_next(&p2p->block_requests, &at, &key, &value);) {
        if (((struct block_request *)value)->peer == peer->id) {
            buf_bytes(&mine, key, 32);
        }
    }
    for (size_t at = 0; at < mine.len; at += 32) {
        map_remove(&p2p->block_requests, mine.data + at);
    }
    if (mine.len) {
        sync_ask_anew(p2p);
    }
    buf_free(&mine);
    peer->in_flight = 0;
}

void sync_delivers(struct p2p *p2p, struct peer *peer)
{
    int64_t now = p2p->now.mono_us;
    bool quick = now - peer->last_block_us < BLOCK_TIMEOUT_US;
    peer->rests = 0;
    if (peer->resting_until_us > now) {
        peer->resting_until_us = quick ? 0 : now + BLOCK_TIMEOUT_MAX_US;
    }
}

void ask_whole_block(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    struct buf b = {0};
    bool inserted;
    struct block_request *request = map_put(&p2p->block_requests, hash, &inserted);
    if (!inserted && request->peer != peer->id) {
        return; /* somebody else has been asked */
    }
    *request = (struct block_request){peer->id, p2p->now.mono_us};
    peer->in_flight += inserted;
    peer->last_block_us = p2p->now.mono_us;
    buf_compact_size(&b, 1);
    buf_u32(&b, INV_BLOCK | INV_WITNESS_FLAG);
    buf_bytes(&b, hash->b, 32);
    message_send(p2p, peer, "getdata", &b);
}

bool sync_take_block(struct p2p *p2p, peer_id id, struct block *block, bool asked, bool compact)
{
    struct error error = {0};
    struct peer *peer;
    const struct block_entry *entry;
    if (compact) {
        map_put(&p2p->compacted, &block->hash, NULL); /* first: the result may come from inside */
    }
    if (!chain_accept_block(p2p->chain, block, p2p->now, asked, id, &error)) {
        if (compact && error.kind == ERROR_MUTATED) {
            map_remove(&p2p->compacted, &block->hash);
            sync_ask_anew(p2p);
            return false;
        }
        p2p_block_result(p2p, &block->hash, id, &error, p2p->now);
        sync_ask_anew(p2p); /* it may have to be asked for again */
    } else if ((peer = peer_find(p2p, id)) && (entry = chain_find(p2p->chain, &block->hash))) {
        sync_learn(peer, entry);
    }
    return true;
}

bool p2p_block_checked(struct p2p *p2p, const struct block_entry *entry, const struct block *block)
{
    latency_checked(p2p, entry, block);
    return entry->prev == chain_tip(p2p->chain) && p2p_near_tip(p2p) && compact_announce(p2p, entry, block);
}

void handle_block(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct span payload = cursor_span(c, cursor_left(c));
    struct error error = {0};
    if (chain_loading(p2p->chain)) {
        return; /* what it stands on may come from our files yet */
    }
    struct block *block = block_parse(mem_dup(payload.data, payload.len), payload.len, &error);
    if (!block) {
        c->failed = true;
        return;
    }
    latency_first_byte(p2p, peer, &block->hash);
    latency_received(p2p, peer, block, false);
    bool asked = peer->solicited = end_request(p2p, peer, &block->hash);
    if (asked) {
        sync_delivers(p2p, peer);
    }
    p2p->block_bytes = (p2p->block_bytes * 7 + payload.len) / 8;
    peer->last_block_us = p2p->now.mono_us;
    peer_knows(p2p, peer, &block->hash);
    const struct block_entry *entry = chain_find(p2p->chain, &block->hash);
    if (entry) {
        sync_learn(peer, entry);
    } else if (!chain_find(p2p->chain, &block->header.prev_hash)) {
        char text[HASH256_TEXT];
        peer_misbehaves(p2p, peer, "block %s, which nobody asked for and whose parent is not known",
                        hash256_text(text, &block->hash));
        block_unref(block);
        return;
    } else if (!presync_admits(p2p, &block->header, &block->hash)) {
        block_unref(block);
        return;
    }
    if (asked && entry && block_ancestor(chain_best_header(p2p->chain), entry->height) == entry) {
        p2p->progress_us = p2p->now.mono_us;
    }
    if (!entry || !(entry->status & BLOCK_HAVE_DATA)) {
        map_remove(&p2p->compacted, &block->hash); /* else whose it is has been noted */
    }
    sync_take_block(p2p, peer->id, block, asked, false);
    block_unref(block);
    sync_request_blocks(p2p);
}

void p2p_block_result(struct p2p *p2p, const struct hash256 *hash, peer_id source, const struct error *error,
                      struct moment now)
{
    struct peer *peer = peer_find(p2p, source);
    char text[HASH256_TEXT];
    p2p->now = now;
    const struct block_entry *entry = chain_find(p2p->chain, hash);
    bool connected = !error && entry && entry->status & BLOCK_VALID;
    /* BIP152: who forwards a compact block need not have validated it. */
    bool blameless = map_get(&p2p->compacted, hash);
    if (connected || (error && (error->kind == ERROR_INVALID || error->kind == ERROR_MUTATED))) {
        map_remove(&p2p->compacted, hash); /* else it is stored only, or comes again */
    }
    if (!peer || peer->closing) {
        return;
    }
    if (!error) {
        peer->good_block_us = now.mono_us;
        if (connected) {
            compact_prefer(p2p, peer);
        }
        return;
    }
    switch (error->kind) {
    case ERROR_INVALID:
    case ERROR_MUTATED:
        if (!blameless && strcmp(error->word, "duplicate-invalid") != 0) {
            peer_misbehaves(p2p, peer, "block %s: %s (%s)", hash256_text(text, hash), error->word,
                            error->text);
        }
        break;
    default: break; /* duplicates, too early, not to be judged, busy: nobody is to blame */
    }
}

/* ---- Time -------------------------------------------------------------------------------------------- */

/* A large block on a slow line: some of it is here. */
static bool is_delivering(const struct peer *peer, int64_t now_us)
{
    return peer->in.len > MESSAGE_HEADER_BYTES && memcmp(peer->in.data + 4, "block", 6) == 0 &&
           (int64_t)peer->in.len * US_PER_S >= (now_us - peer->message_us) * SLOW_BYTES_PER_S;
}

/* Whether somebody else could be asked. If not, to ask the same peer again would have it send all twice. */
static bool has_rival(const struct p2p *p2p, const struct peer *peer)
{
    const struct block_entry *tip = chain_tip(p2p->chain);
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *other = CONTAINER_OF(at, struct peer, link);
        if (other != peer && peer_ready(other) && other->best_known &&
            !(other->best_known->status & BLOCK_BAD) &&
            u256_compare(other->best_known->work, tip->work) > 0) {
            return true;
        }
    }
    return false;
}

void sync_tick(struct p2p *p2p)
{
    int64_t now = p2p->now.mono_us;
    bool freed = false;
    sync_ask_anew(p2p); /* now and then all is looked over, whatever was missed */
    serve_waiting(p2p);
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->headers_asked_us && now - peer->headers_asked_us > HEADERS_TIMEOUT_US) {
            peer->headers_asked_us = 0;
            peer->headers_answered = true; /* it has nothing for us, or nothing to say */
            peer->leads = false;
            presync_forget(peer);
        }
        if (peer->ask_headers_us && now >= peer->ask_headers_us) {
            peer->ask_headers_us = 0;
            sync_ask_headers(p2p, peer, NULL);
        }
        if (peer_ready(peer) && !peer->presync && peer->announced_asks &&
            now - peer->headers_asked_us > HEADERS_PATIENCE_US) {
            ask_again(p2p, peer);
        }
        int64_t waited = peer->in_flight ? now - peer->last_block_us : 0;
        /* Who has no rival is not dropped for being slow, nor who was asked while all were resting. */
        if (waited > BLOCK_TIMEOUT_MAX_US || (waited > BLOCK_TIMEOUT_US && peer->resting_until_us <= now &&
                                              !is_delivering(peer, now) && has_rival(p2p, peer))) {
            log_info(LOG_NET, "%s does not answer %u block requests: asking others", peer->address,
                     peer->in_flight);
            sync_forget_peer(p2p, peer);
            peer->resting_until_us = now + (REST_US << peer->rests);
            peer->rests = MIN(peer->rests + 1, REST_DOUBLED_MAX);
            freed = true;
        }
    }
    choose_leaders(p2p);
    if (freed || !p2p->block_requests.count) {
        sync_request_blocks(p2p);
    }
    if (p2p->announcement_due && p2p_near_tip(p2p)) {
        relay_announce_tip(p2p);
    }
}

bool p2p_near_tip(const struct p2p *p2p)
{
    return chain_near_tip(p2p->chain) ||
           (!chain_loading(p2p->chain) && p2p->now.mono_us - p2p->progress_us > WITHHELD_US);
}

bool p2p_synced(const struct p2p *p2p)
{
    const struct block_entry *tip = chain_tip(p2p->chain);
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (!peer_ready(peer)) {
            continue;
        }
        const struct block_entry *best = peer->best_known;
        if ((!peer->headers_answered && peer_has_blocks(peer)) ||
            (best && !(best->status & BLOCK_BAD) && u256_compare(best->work, tip->work) > 0)) {
            return false;
        }
    }
    return !chain_loading(p2p->chain);
}
