/*
 * Whom we dial beyond the peers that were drawn: with --discover=fallback somebody only while a drawn peer
 * has been down for some seconds; when it is back, the substitutes are let go, so that a drawn topology stays
 * as drawn. With --discover=yes eight peers are kept, each in another netgroup; one more is tried while no
 * block comes.
 */
#include "core/p2p/p2p_private.h"

#define DOWN_US         (4 * US_PER_S)
#define TRY_AGAIN_US    (20 * US_PER_S)
#define TURN_US         (60 * US_PER_S)
#define SUBSTITUTES_MAX 2u
#define DISCOVERED_MAX  8u /* outbound peers that --discover=yes wants in all */
#define OUTBOUND_LEAST  2u /* with fewer, also whoever is connected to us is dialled */
#define STALE_US        (30 * 60 * US_PER_S)
#define EXTRA_CHANCE_US (60 * US_PER_S)

struct choice {
    const struct p2p *p2p;
    bool anchors; /* only those */
    bool
        also_inbound; /* also those that are connected to us: whom we have chosen ourselves counts for more */
};

static bool fits(void *context, const struct place *place)
{
    const struct choice *choice = context;
    const struct p2p *p2p = choice->p2p;
    if (place->next_try_us > p2p->now.mono_us || ban_covers(p2p, place->at.ip) ||
        (choice->anchors && !place->anchor)) {
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
        if (!peer->inbound && peer->has_endpoint && !ip_is_local(place->at.ip) && peer->netgroup == group) {
            return false; /* one hand shall not hold all of our connections */
        }
    }
    return true;
}

static void dial_one(struct p2p *p2p, bool also_inbound)
{
    struct choice choice = {.p2p = p2p, .anchors = true};
    struct place *place = book_pick(&p2p->book, p2p->config.rng, fits, &choice);
    choice.anchors = false;
    for (int turn = 0; !place && turn <= also_inbound; turn++) {
        choice.also_inbound = turn;
        place = book_pick(&p2p->book, p2p->config.rng, fits, &choice);
    }
    struct error error = {0};
    char text[ENDPOINT_TEXT];
    if (place) {
        place->next_try_us = p2p->now.mono_us + TRY_AGAIN_US;
        place->anchor = false;
        endpoint_text(text, &place->at);
        if (node_substitute(p2p, text, &error)) {
            log_info(LOG_NET, "trying %s, an address that was learned", text);
        }
    }
}

void outbound_failed(struct p2p *p2p, const char *text)
{
    struct endpoint at;
    struct place *place = endpoint_parse(&at, text) ? book_find(&p2p->book, &at) : NULL;
    if (place && place->failures < UINT16_MAX) {
        place->failures++;
    }
}

void outbound_ourselves(struct p2p *p2p, const struct peer *peer)
{
    struct endpoint there;
    struct place *place = peer_listens_at(peer, &there) ? book_find(&p2p->book, &there) : NULL;
    if (place) {
        place->next_try_us = INT64_MAX;
    }
}

/* More peers were found than are wanted: the one that gave us a block longest ago goes, if it had its chance.
 */
static void drop_worst(struct p2p *p2p)
{
    struct peer *worst = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->node && peer->node->substitute && peer_ready(peer) && !peer->in_flight &&
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

struct outbound { /* what is connected to, or being dialled */
    size_t drawn, down, substitutes, ready;
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
        count.substitutes += slot->substitute;
        count.ready += slot->substitute && up;
        count.drawn += !slot->substitute;
    }
    return count;
}

static void keep_found_peers(struct p2p *p2p, const struct outbound *count)
{
    bool stale = p2p->now.mono_us - p2p->tip_since_us > STALE_US;
    size_t wanted = DISCOVERED_MAX - MIN(count->drawn, (size_t)DISCOVERED_MAX);
    if (count->substitutes < wanted + (stale ? 1 : 0)) {
        dial_one(p2p, count->ready + count->drawn < OUTBOUND_LEAST);
    } else if (wanted && count->ready > wanted) {
        drop_worst(p2p);
    }
}

/* Of the substitutes that are connected; NULL: none is. */
static struct peer *substitute_since(const struct p2p *p2p, bool longest)
{
    struct peer *found = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->node && peer->node->substitute && peer_ready(peer) && !peer->closing &&
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
    if (count->substitutes < wanted + turn) {
        dial_one(p2p, false);
    } else if (wanted && count->ready > wanted && oldest && !oldest->in_flight) {
        peer_close(p2p, oldest, LOG_INFO, "another one stands in now");
    }
    LIST_EACH_SAFE(at, following, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        struct peer *peer = peer_find(p2p, slot->peer);
        if (slot->substitute && !count->down && peer && peer->open) {
            peer_close(p2p, peer, LOG_INFO, "the peers that were drawn are back");
        }
    }
}

void outbound_tick(struct p2p *p2p)
{
    if (!p2p->active) {
        return;
    }
    struct outbound count = count_outbound(p2p);
    switch (p2p->config.discover) {
    case P2P_DISCOVER_NO: break;
    case P2P_DISCOVER_FALLBACK: stand_in(p2p, &count); break;
    case P2P_DISCOVER_YES: keep_found_peers(p2p, &count); break;
    }
}
