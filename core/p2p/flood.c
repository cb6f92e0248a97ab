/*
 * What a peer may ask of us without being asked: as much as it likes, but not all of our time.
 *
 * Every byte that comes is charged, and more where looking at it costs more; what we have asked for (blocks,
 * headers, transactions, the answer to a ping) is paid back. Each peer's account fills at an equal share of
 * what may be spent on all of them; who has overdrawn it is not read from for a while, and TCP tells it to
 * wait. So others are served at nearly their usual pace, however many shout. Nobody is disconnected for it:
 * an honest peer may have much to say. Peers that were drawn (--connect, addnode) and permitted ones have no
 * account.
 */
#include "core/p2p/p2p_private.h"

#define UNITS_PER_S                                                                                          \
    100e6 /* one is what a byte costs that is only read and hashed: about a seventh of a core */
#define SHARERS_LEAST 8u
#define UNITS_MAX     6e6 /* that a peer may save up: one message of the largest kind */
#define PAUSE_MAX_US  (5 * US_PER_S)

static double units_per_s(const struct p2p *p2p)
{
    return UNITS_PER_S / (double)MAX(p2p->inbound_count, (size_t)SHARERS_LEAST);
}

static bool has_account(const struct peer *peer)
{
    bool drawn = !peer->inbound && peer->node && !peer->node->substitute;
    return !drawn && !(peer->permissions & (P2P_PERMIT_NOBAN | P2P_PERMIT_RELAY));
}

void flood_open_account(struct p2p *p2p, struct peer *peer)
{
    peer->units = units_per_s(p2p); /* coming anew is no way to more */
    peer->units_us = p2p->now.mono_us;
}

void flood_charge(struct peer *peer, double units)
{
    peer->units -= units;
}

void flood_settle(struct p2p *p2p, struct peer *peer)
{
    double passed_s = (double)(p2p->now.mono_us - peer->units_us) / 1e6, per_s = units_per_s(p2p);
    peer->units = MIN(peer->units + passed_s * per_s, UNITS_MAX);
    peer->units_us = p2p->now.mono_us;
    if (peer->units < 0 && !peer->closing && has_account(peer)) {
        int64_t pause_us = (int64_t)MIN(-peer->units / per_s * 1e6 + 1000, (double)PAUSE_MAX_US);
        p2p->events.pause(p2p->events.context, peer->id, p2p->now.mono_us + pause_us);
    }
}
