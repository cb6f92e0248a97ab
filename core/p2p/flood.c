/*
 * What a peer may ask of us without being asked: as much as it likes, but not all of our time.
 *
 * Every byte that comes is charged, and more where looking at it costs more; what we have asked for (blocks,
 * headers, transactions, the answer to a ping) is paid back. All peers together have one account. While it is
 * overdrawn, those that have overdrawn their own, which fills at an equal share among such peers, are not
 * read from for a while, and TCP tells them to wait. So others are served at nearly their usual pace, however
 * many shout. Nobody is disconnected for it: an honest peer may have much to say. Peers that were drawn
 * (--connect, addnode) and permitted ones have no account.
 */
#include "core/p2p/p2p_private.h"

#define UNITS_PER_S                                                                                          \
    100e6 /* one is what a byte costs that is only read and hashed: about a seventh of a core */
#define SHARERS_LEAST 8u
#define UNITS_FIRST   250e3 /* of a newcomer: coming anew is no way to more */
#define UNITS_MAX     6e6   /* that a peer may save up: one message of the largest kind */
#define PAUSE_MAX_US  (5 * US_PER_S)

static bool has_account(const struct peer *peer)
{
    bool drawn = peer_is(peer, SLOT_DRAWN);
    return !drawn && !(peer->permissions & (P2P_PERMIT_NOBAN | P2P_PERMIT_RELAY));
}

static double refilled(double units, double most, double per_s, int64_t since_us, int64_t now_us)
{
    return MIN(units + (double)(now_us - since_us) / 1e6 * per_s, most);
}

void flood_open_account(struct p2p *p2p, struct peer *peer)
{
    peer->units = UNITS_FIRST;
    peer->units_us = p2p->now.mono_us;
}

void flood_close_account(struct p2p *p2p, struct peer *peer)
{
    p2p->overdrawn -= peer->overdrawn;
    peer->overdrawn = false;
}

void flood_charge(struct p2p *p2p, struct peer *peer, double units)
{
    if (has_account(peer)) {
        peer->units -= units;
        p2p->units -= units;
    }
}

void flood_settle(struct p2p *p2p, struct peer *peer)
{
    int64_t now = p2p->now.mono_us;
    double per_s = UNITS_PER_S / (double)MAX(p2p->overdrawn, (size_t)SHARERS_LEAST);
    peer->units = refilled(peer->units, UNITS_MAX, per_s, peer->units_us, now);
    p2p->units = refilled(p2p->units, UNITS_PER_S / 2, UNITS_PER_S, p2p->units_us, now);
    peer->units_us = p2p->units_us = now;
    flood_close_account(p2p, peer);
    if (peer->units < 0) {
        peer->overdrawn = true;
        p2p->overdrawn++;
    }
    if (peer->overdrawn && p2p->units < 0 && !peer->closing) {
        int64_t pause_us = (int64_t)MIN(-peer->units / per_s * 1e6 + 1000, (double)PAUSE_MAX_US);
        p2p->events.pause(p2p->events.context, peer->id, now + pause_us);
    }
}
