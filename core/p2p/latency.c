/*
 * How long blocks take on their way through this node. Each block that comes while we are near the tip has a
 * record of when it passed each hop, and its times go into histograms: those of the peer that brought it, and
 * those of all. Moments are read from the host's clock where there is one, since several hops lie in one
 * event; they decide nothing.
 */
#include "core/p2p/p2p_private.h"

const int64_t p2p_latency_bounds_us[P2P_LATENCY_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000};

const char *const p2p_hop_names[P2P_HOPS] = {"received", "checked",  "announced",
                                             "verified", "switched", "connected"};

static int64_t clock_us(const struct p2p *p2p)
{
    return p2p->config.clock_us ? p2p->config.clock_us() : p2p->now.mono_us;
}

static struct p2p_block_times *find(struct p2p *p2p, const struct hash256 *hash)
{
    size_t count = MIN(p2p->times_count, (size_t)P2P_BLOCK_TIMES);
    for (size_t back = 1; back <= count; back++) {
        struct p2p_block_times *times = &p2p->times[(p2p->times_count - back) % P2P_BLOCK_TIMES];
        if (hash256_equal(&times->hash, hash)) {
            return times;
        }
    }
    return NULL;
}

static void add(struct p2p_latency *latency, enum p2p_hop hop, int64_t took_us)
{
    struct p2p_histogram *h = &latency->hops[hop];
    size_t bucket = 0;
    while (bucket < P2P_LATENCY_BUCKETS - 1 && took_us > p2p_latency_bounds_us[bucket]) {
        bucket++;
    }
    h->buckets[bucket]++;
    h->count++;
    h->sum_us += took_us;
    h->max_us = MAX(h->max_us, took_us);
}

static void passed(struct p2p *p2p, struct p2p_block_times *times, enum p2p_hop hop, int64_t at_us)
{
    if (times->at_us[hop]) {
        return;
    }
    int64_t from = hop == HOP_RECEIVED ? times->first_us : times->at_us[HOP_RECEIVED];
    int64_t took = MAX(at_us - from, INT64_C(0));
    struct peer *peer = peer_find(p2p, times->peer);
    times->at_us[hop] = at_us;
    add(&p2p->latency, hop, took);
    if (peer) {
        add(&peer->latency, hop, took);
    }
}

static struct p2p_block_times *begin(struct p2p *p2p, const struct hash256 *hash, int64_t first_us)
{
    struct p2p_block_times *times = &p2p->times[p2p->times_count++ % P2P_BLOCK_TIMES];
    *times = (struct p2p_block_times){.hash = *hash, .first_us = first_us};
    return times;
}

void latency_first_byte(struct p2p *p2p, const struct peer *peer, const struct hash256 *hash)
{
    if (p2p_near_tip(p2p) && !find(p2p, hash)) {
        begin(p2p, hash, peer->message_us);
    }
}

void latency_received(struct p2p *p2p, const struct peer *peer, const struct block *block, bool compact)
{
    struct p2p_block_times *times = find(p2p, &block->hash);
    if (times && !times->at_us[HOP_RECEIVED]) {
        times->peer = peer->id;
        memcpy(times->address, peer->address, sizeof times->address);
        times->compact = compact;
        times->tx_count = block->tx_count;
        times->bytes = (uint32_t)block->raw.len;
        passed(p2p, times, HOP_RECEIVED, clock_us(p2p));
    }
}

void latency_checked(struct p2p *p2p, const struct block_entry *entry, const struct block *block)
{
    struct p2p_block_times *times = find(p2p, &entry->hash);
    if (!times && p2p_near_tip(p2p)) {
        times = begin(p2p, &entry->hash, p2p->now.mono_us);
    }
    if (times && !times->at_us[HOP_RECEIVED]) { /* ours: mined here, or brought by RPC */
        times->first_us = p2p->now.mono_us;
        times->tx_count = block->tx_count;
        times->bytes = (uint32_t)block->raw.len;
        passed(p2p, times, HOP_RECEIVED, p2p->now.mono_us);
    }
    if (times) {
        times->height = entry->height;
        passed(p2p, times, HOP_CHECKED, clock_us(p2p));
    }
}

void latency_passed(struct p2p *p2p, const struct hash256 *hash, enum p2p_hop hop)
{
    struct p2p_block_times *times = find(p2p, hash);
    if (times) {
        passed(p2p, times, hop, clock_us(p2p));
    }
}

void p2p_block_verified(struct p2p *p2p, const struct block_entry *entry)
{
    latency_passed(p2p, &entry->hash, HOP_VERIFIED);
}

void p2p_block_connected(struct p2p *p2p, const struct block_entry *entry)
{
    latency_passed(p2p, &entry->hash, HOP_CONNECTED);
}

void p2p_workers_switched(struct p2p *p2p, const struct hash256 *tip, int64_t mono_us)
{
    struct p2p_block_times *times = find(p2p, tip);
    if (times) {
        passed(p2p, times, HOP_SWITCHED, mono_us);
    }
}

void p2p_latency(const struct p2p *p2p, struct p2p_latency *out)
{
    *out = p2p->latency;
}

size_t p2p_block_times(const struct p2p *p2p, struct p2p_block_times *out, size_t max)
{
    size_t count = MIN(MIN(p2p->times_count, (size_t)P2P_BLOCK_TIMES), max);
    for (size_t i = 0; i < count; i++) {
        out[i] = p2p->times[(p2p->times_count - count + i) % P2P_BLOCK_TIMES];
    }
    return count;
}

int64_t p2p_latency_quantile(const struct p2p_histogram *h, double q)
{
    uint64_t wanted = (uint64_t)(q * (double)h->count + 0.999999), seen = 0;
    for (size_t bucket = 0; bucket < P2P_LATENCY_BUCKETS - 1; bucket++) {
        seen += h->buckets[bucket];
        if (seen >= wanted) {
            return MIN(p2p_latency_bounds_us[bucket], h->max_us);
        }
    }
    return h->max_us;
}
