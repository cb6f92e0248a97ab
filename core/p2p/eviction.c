/*
 * Who leaves when all inbound places are taken and somebody new comes.
 *
 * Nothing is known of the newcomer, so nobody useful may leave for it, and nobody may gain by coming in great
 * numbers. First those go that have not shaken hands for a while. Then those that have not done so yet, of
 * the most populous netgroup among them and never for one more of the same: however fast a crowd comes, a
 * newcomer from elsewhere gets a place. Then, as in Bitcoin Core: protected are
 * some peers that an attacker cannot easily be, each by another measure (an unusual netgroup, a short way to
 * us, transactions and blocks that it was first with), then the older half of the rest; of those that are
 * left, the youngest of the most populous netgroup leaves. Peers with the permission noban are never asked.
 */
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

#define SILENT_US (2 * US_PER_S) /* after which a peer without a handshake gives way */

struct candidate {
    struct peer *peer;
    uint64_t group_order; /* random per netgroup, and secret: nobody can aim at the protected ones */
    size_t group_size;
};

typedef int compare(const void *, const void *);

static int by(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static const struct candidate *candidate(const void *p)
{
    return p;
}

/* Each puts those that deserve protection last. */
static int by_group(const void *a, const void *b)
{
    return (candidate(a)->group_order > candidate(b)->group_order) -
           (candidate(a)->group_order < candidate(b)->group_order);
}

static int64_t ping_or_never(const struct peer *peer)
{
    return peer->min_ping_us < 0 ? INT64_MAX : peer->min_ping_us;
}

static int by_ping(const void *a, const void *b)
{
    return by(ping_or_never(candidate(b)->peer), ping_or_never(candidate(a)->peer));
}

static int by_tx(const void *a, const void *b)
{
    return by(candidate(a)->peer->good_tx_us, candidate(b)->peer->good_tx_us);
}

static int by_block(const void *a, const void *b)
{
    return by(candidate(a)->peer->good_block_us, candidate(b)->peer->good_block_us);
}

static int by_age(const void *a, const void *b)
{
    return by(candidate(b)->peer->opened_us, candidate(a)->peer->opened_us);
}

/* Takes the best of them, by this measure, off the list. */
static size_t protect(struct candidate *all, size_t count, size_t best, compare *measure)
{
    qsort(all, count, sizeof *all, measure);
    return count - MIN(best, count);
}

enum acquaintance { SILENT, STRANGER, READY }; /* no handshake for a while; not yet; done */

static bool fits(const struct p2p *p2p, const struct peer *peer, enum acquaintance kind)
{
    switch (kind) {
    case SILENT: return !peer_ready(peer) && p2p->now.mono_us - peer->opened_us > SILENT_US;
    case STRANGER: return !peer_ready(peer);
    case READY: return peer_ready(peer);
    }
    return false;
}

static size_t gather(struct p2p *p2p, struct candidate *out, enum acquaintance kind)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->inbound && !peer->closing && fits(p2p, peer, kind) &&
            !(peer->permissions & P2P_PERMIT_NOBAN)) {
            out[count++] = (struct candidate){.peer = peer, .group_order = peer->netgroup};
        }
    }
    return count;
}

/* Of the most populous netgroup: its youngest, or its oldest. Among groups of one size, that whose member is
 * the youngest (the oldest). */
static struct peer *of_largest_group(struct candidate *all, size_t count, bool youngest)
{
    struct candidate *worst = NULL;
    qsort(all, count, sizeof *all, by_group);
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first; next < count && all[next].group_order == all[first].group_order;) {
            next++;
        }
        for (size_t i = first; i < next; i++) {
            all[i].group_size = next - first;
            int64_t age = worst ? by(worst->peer->opened_us, all[i].peer->opened_us) : 0;
            bool worse_age = youngest ? age < 0 : age > 0;
            if (!worst || all[i].group_size > worst->group_size ||
                (all[i].group_size == worst->group_size && worse_age)) {
                worst = &all[i];
            }
        }
    }
    return worst ? worst->peer : NULL;
}

/* A crowd that keeps coming replaces nobody of its own: that would cost much and change nothing. */
static bool is_of_the_crowd(const struct p2p *p2p, const struct peer *newcomer)
{
    return p2p->now.mono_us < p2p->crowd_until_us && newcomer->netgroup == p2p->crowd_group;
}

static size_t members(const struct candidate *all, size_t count, uint64_t netgroup)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += all[i].group_order == netgroup;
    }
    return found;
}

/* The oldest stranger of the most populous netgroup among them, unless the newcomer's has as many. */
static struct peer *choose_stranger(struct p2p *p2p, struct candidate *all, const struct peer *newcomer)
{
    size_t count = gather(p2p, all, STRANGER); /* the newcomer is one of them */
    struct peer *chosen = of_largest_group(all, count, false);
    return chosen && members(all, count, chosen->netgroup) > members(all, count, newcomer->netgroup) ? chosen
                                                                                                     : NULL;
}

static struct peer *choose_known(struct p2p *p2p, struct candidate *all, const struct peer *newcomer)
{
    size_t few = MIN(p2p->config.inbound_max / 16, 4u), more = 2 * few;
    size_t count = gather(p2p, all, READY);
    count = protect(all, count, few, by_group);
    count = protect(all, count, more, by_ping);
    count = protect(all, count, few, by_tx);
    count = protect(all, count, few, by_block);
    count = protect(all, count, count / 2, by_age);
    struct peer *chosen = of_largest_group(all, count, true);
    if (chosen && chosen->netgroup == newcomer->netgroup) {
        p2p->crowd_group = newcomer->netgroup;
        p2p->crowd_until_us = p2p->now.mono_us + US_PER_S;
        chosen = NULL;
    }
    return chosen;
}

struct peer *eviction_choose(struct p2p *p2p, const struct peer *newcomer)
{
    struct candidate *all = mem_alloc((p2p->inbound_count + 1) * sizeof *all);
    struct peer *chosen = of_largest_group(all, gather(p2p, all, SILENT), false);
    if (!chosen && !is_of_the_crowd(p2p, newcomer)) {
        chosen = choose_stranger(p2p, all, newcomer);
        chosen = chosen ? chosen : choose_known(p2p, all, newcomer);
    }
    mem_free(all);
    return chosen;
}
