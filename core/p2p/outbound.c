/*
 * Whom we dial beyond the peers that were drawn. With --discover=fallback somebody only while a drawn peer
 * has been down for some seconds; when it is back, the substitutes are let go, so that a drawn topology stays
 * as drawn. With --discover=yes as Bitcoin Core does: eight peers are kept, each in another netgroup, one
 * more while no block comes; then two that only blocks pass through, so that who watches transactions does
 * not see them; and every two minutes, on average, an address that nobody has answered at is called, to know
 * which ones are good when they are needed. Who lags behind our chain for long is let go for another.
 */
#include "core/p2p/p2p_private.h"

#define DOWN_US         (4 * US_PER_S)
#define TRY_AGAIN_US    (20 * US_PER_S)
#define SHUN_US         (24 * 60 * 60 * US_PER_S)
#define TURN_US         (60 * US_PER_S)
#define SUBSTITUTES_MAX 2u
#define FOUND_MAX       8u /* outbound peers that --discover=yes wants in all */
#define BLOCKS_ONLY_MAX 2u /* beside them */
#define OUTBOUND_LEAST  2u /* with fewer, also whoever is connected to us is dialled */
#define STALE_US        (30 * 60 * US_PER_S)
#define EXTRA_CHANCE_US (60 * US_PER_S)
#define FEELER_EVERY_US (120 * US_PER_S)
#define LAG_US          (20 * 60 * US_PER_S) /* with less work than we have had for so long, */
#define LAG_ANSWER_US   (2 * 60 * US_PER_S)  /* and asked, and so long without an answer */
#define FAITHFUL_MAX    4u /* of those that had as much work as we, so many stay whatever comes */

struct choice {
    const struct p2p *p2p;
    enum slot_kind kind;
    bool anchors;      /* only those */
    bool also_inbound; /* also those that are connected to us: whom we have chosen counts for more */
};

static bool fits(void *context, const struct place *place)
{
    const struct choice *choice = context;
    const struct p2p *p2p = choice->p2p;
    bool feeler = choice->kind == SLOT_FEELER;
    if (place->overlay || (choice->anchors && !place->anchor) || place->next_try_us > p2p->now.mono_us ||
        (feeler && place->answered_unix_s)) {
        return false;
    }
    uint64_t group = netgroup_of(p2p, place->at.ip);
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        struct endpoint there;
        bool same = peer_listens_at(peer, &there) && endpoint_equal(&there, &place->at);
        if (peer->inbound ? same && !choice->also_inbound : same) {
            return false;
        }
        if (!feeler && !peer->inbound && peer->has_endpoint && !ip_is_local(place->at.ip) &&
            peer->netgroup == group) {
            return false; /* one hand shall not hold all of our connections */
        }
    }
    return !ban_covers(p2p, place->at.ip);
}

/* False: there is nobody to dial. */
static bool dial_one(struct p2p *p2p, enum slot_kind kind, bool also_inbound)
{
    struct choice choice = {.p2p = p2p, .kind = kind, .anchors = true};
    struct place *place = book_pick(&p2p->book, p2p->config.rng, fits, &choice);
    choice.anchors = false;
    for (int turn = 0; !place && turn <= also_inbound; turn++) {
        choice.also_inbound = turn;
        place = book_pick(&p2p->book, p2p->config.rng, fits, &choice);
    }
    struct error error = {0};
    char text[ENDPOINT_TEXT];
    if (!place) {
        return false;
    }
    place->next_try_us = p2p->now.mono_us + TRY_AGAIN_US;
    place->anchor = false;
    endpoint_text(text, &place->at);
    if (node_found(p2p, text, kind, &error)) {
        log_write(kind == SLOT_FEELER ? LOG_DEBUG : LOG_INFO, LOG_NET,
                  "trying %s, an address that was learned", text);
    }
    return true;
}

/* ---- What becomes of an address ---------------------------------------------------------------------- */

void outbound_failed(struct p2p *p2p, const char *text)
{
    struct endpoint at;
    struct place *place = endpoint_parse(&at, text) ? book_find(&p2p->book, &at) : NULL;
    if (place && place->failures < UINT16_MAX) {
        place->failures++;
    }
}

static void not_again_before(struct p2p *p2p, const struct peer *peer, int64_t mono_us)
{
    struct endpoint there;
    struct place *place = peer_listens_at(peer, &there) ? book_find(&p2p->book, &there) : NULL;
    if (place) {
        place->next_try_us = mono_us;
    }
}

void outbound_ourselves(struct p2p *p2p, const struct peer *peer)
{
    not_again_before(p2p, peer, INT64_MAX);
}

void outbound_shun(struct p2p *p2p, const struct peer *peer)
{
    not_again_before(p2p, peer, p2p->now.mono_us + SHUN_US);
}

/* ---- Who stays --------------------------------------------------------------------------------------- */

/* More peers were found than are wanted: the one that gave us a block longest ago goes, if it had its chance.
 */
static void drop_worst(struct p2p *p2p)
{
    struct peer *worst = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_is(peer, SLOT_FOUND) && peer_ready(peer) && !peer->in_flight &&
            p2p->now.mono_us - peer->opened_us > EXTRA_CHANCE_US &&
            (!worst || peer->good_block_us <= worst->good_block_us)) { /* of equals the youngest */
            worst = peer;
        }
    }
    if (worst) {
        peer_close(p2p, worst, LOG_INFO,
                   "one outbound peer more than wanted, and it gave a block longest ago");
    }
}

/* Some that have shown a chain like ours stay for good: if all others believe in another one, it is they who
 * tell us which of the two is ours. */
static void keep_if_faithful(const struct p2p *p2p, struct peer *peer)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->peers)
    {
        count += CONTAINER_OF(at, struct peer, link)->faithful;
    }
    peer->faithful |= peer_is(peer, SLOT_FOUND) && count < FAITHFUL_MAX;
}

/* Our tip is measured against once per round: a peer that goes on a little behind us does not lag. */
static void drop_when_lagging(struct p2p *p2p, struct peer *peer)
{
    const struct block_entry *tip = chain_tip(p2p->chain), *best = peer->best_known;
    int64_t now = p2p->now.mono_us;
    if (!tip->height) {
        return; /* nobody has less */
    }
    if (best && u256_compare(best->work, tip->work) >= 0) {
        peer->lag_until_us = 0;
        keep_if_faithful(p2p, peer);
    } else if (!peer->lag_until_us || (best && u256_compare(best->work, peer->lag_tip->work) >= 0)) {
        peer->lag_until_us = now + LAG_US;
        peer->lag_tip = tip;
        peer->lag_asked = false;
    } else if (now > peer->lag_until_us && !peer->faithful) {
        if (peer->lag_asked) {
            peer_close(p2p, peer, LOG_INFO, "its chain has had less work than ours for long");
            return;
        }
        peer->lag_asked = true;
        peer->lag_until_us = now + LAG_ANSWER_US;
        sync_ask_headers(p2p, peer, peer->lag_tip->prev);
    }
}

struct outbound { /* what is connected to, or being dialled */
    size_t drawn, down, found, ready, blocks_only;
};

static struct outbound count_outbound(const struct p2p *p2p)
{
    struct outbound count = {0};
    LIST_EACH(at, &p2p->nodes)
    {
        const struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        const struct peer *peer = peer_find(p2p, slot->peer);
        bool up = peer && peer_ready(peer);
        count.down += !slot->once && !up && p2p->now.mono_us - slot->down_since_us > DOWN_US;
        count.drawn += slot->kind == SLOT_DRAWN;
        count.found += slot->kind == SLOT_FOUND;
        count.ready += slot->kind == SLOT_FOUND && up;
        count.blocks_only += slot->kind == SLOT_BLOCKS_ONLY;
    }
    return count;
}

static void keep_found_peers(struct p2p *p2p, const struct outbound *count)
{
    bool stale = p2p->now.mono_us - p2p->tip_since_us > STALE_US;
    size_t wanted = FOUND_MAX - MIN(count->drawn, (size_t)FOUND_MAX);
    bool dialled = false;
    if (count->found < wanted + (stale ? 1 : 0)) {
        dialled = dial_one(p2p, SLOT_FOUND, count->ready + count->drawn < OUTBOUND_LEAST);
    } else if (wanted && count->ready > wanted) {
        drop_worst(p2p);
    } else if (wanted && count->blocks_only < BLOCKS_ONLY_MAX) {
        dialled = dial_one(p2p, SLOT_BLOCKS_ONLY, false);
    }
    if (!dialled && count->ready >= wanted && p2p->now.mono_us >= p2p->feel_at_us) {
        p2p->feel_at_us =
            p2p->now.mono_us + 1 + (int64_t)rng_below(p2p->config.rng, 2 * (uint64_t)FEELER_EVERY_US);
        dial_one(p2p, SLOT_FEELER, false);
    }
}

/* Of the substitutes that are connected; NULL: none is. */
static struct peer *substitute_since(const struct p2p *p2p, bool longest)
{
    struct peer *found = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_is(peer, SLOT_FOUND) && peer_ready(peer) &&
            (!found || (peer->opened_us < found->opened_us) == longest)) {
            found = peer;
        }
    }
    return found;
}

/* Nodes that stood in for nobody but each other would be an island: every minute another one has a turn. */
static void stand_in(struct p2p *p2p, const struct outbound *count)
{
    size_t wanted = MIN(count->down, (size_t)SUBSTITUTES_MAX);
    struct peer *youngest = substitute_since(p2p, false), *oldest = substitute_since(p2p, true);
    bool turn = wanted && youngest && p2p->now.mono_us - youngest->opened_us > TURN_US;
    if (count->found < wanted + turn) {
        dial_one(p2p, SLOT_FOUND, false);
    } else if (wanted && count->ready > wanted && oldest && !oldest->in_flight) {
        peer_close(p2p, oldest, LOG_INFO, "another one stands in now");
    }
    LIST_EACH_SAFE(at, following, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        struct peer *peer = peer_find(p2p, slot->peer);
        if (slot->kind == SLOT_FOUND && !count->down && peer && peer->open) {
            peer_close(p2p, peer, LOG_INFO, "the peers that were drawn are back");
        }
    }
}

void outbound_tick(struct p2p *p2p)
{
    if (!p2p->active) {
        return;
    }
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if ((peer_is(peer, SLOT_FOUND) || peer_is(peer, SLOT_BLOCKS_ONLY)) && peer_ready(peer)) {
            drop_when_lagging(p2p, peer);
        }
    }
    struct outbound count = count_outbound(p2p);
    switch (p2p->config.discover) {
    case P2P_DISCOVER_NO: break;
    case P2P_DISCOVER_FALLBACK: stand_in(p2p, &count); break;
    case P2P_DISCOVER_YES: keep_found_peers(p2p, &count); break;
    }
}
