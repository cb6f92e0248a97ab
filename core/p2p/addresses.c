/*
 * Addresses of others, learned from them (addr, and addrv2 of BIP155), and the use made of them: with
 * --discover=fallback only while a peer that was drawn has been down for some seconds; when it is back, the
 * substitutes are let go, so that a drawn topology stays as drawn. IPv4 only; kept in memory only.
 *
 * Where a node listens is known to whom it dials from the port in its version message, with the address that
 * the connection shows.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#define ADDR_MAX         1000u
#define DOWN_US          (4 * US_PER_S)
#define TRY_AGAIN_US     (20 * US_PER_S)
#define SUBSTITUTES_MAX  2u
#define DISCOVERED_MAX   8u /* outbound peers that --discover=yes wants in all */
#define NETWORK_IPV4     1u
#define ADDRV2_BYTES_MAX 512u

static bool parse_ipv4(uint8_t out[4], uint16_t *port, const char *text)
{
    unsigned a, b, c, d, p;
    char rest;
    if (sscanf(text, "%3u.%3u.%3u.%3u:%5u%c", &a, &b, &c, &d, &p, &rest) != 5 ||
        MAX(MAX(a, b), MAX(c, d)) > 255 || p > UINT16_MAX) {
        return false;
    }
    out[0] = (uint8_t)a;
    out[1] = (uint8_t)b;
    out[2] = (uint8_t)c;
    out[3] = (uint8_t)d;
    *port = (uint16_t)p;
    return true;
}

/* Where this peer listens; false when it is not known. */
static bool listens_at(const struct peer *peer, struct learned *out)
{
    *out = (struct learned){0};
    if (!parse_ipv4(out->ip, &out->port, peer->address)) {
        return false;
    }
    if (peer->inbound) {
        out->port = peer->listen_port;
    }
    return out->port != 0;
}

static bool same_place(const struct learned *a, const struct learned *b)
{
    return memcmp(a->ip, b->ip, 4) == 0 && a->port == b->port;
}

static void learn(struct p2p *p2p, const struct peer *from, struct learned found)
{
    bool loopback_allowed = strncmp(from->address, "127.", 4) == 0;
    if (!found.port || found.ip[0] == 0 || found.ip[0] >= 224 || (found.ip[0] == 127 && !loopback_allowed)) {
        return;
    }
    for (size_t i = 0; i < p2p->learned_count; i++) {
        if (same_place(&p2p->learned[i], &found)) {
            return;
        }
    }
    size_t at = p2p->learned_count < LEARNED_MAX ? p2p->learned_count++
                                                 : (size_t)rng_below(p2p->config.rng, LEARNED_MAX);
    p2p->learned[at] = found;
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

static void put_one(struct p2p *p2p, struct buf *out, const struct learned *place, bool v2)
{
    buf_u32(out, (uint32_t)moment_unix_s(p2p->now));
    if (v2) {
        buf_compact_size(out, P2P_SERVICES);
        buf_u8(out, NETWORK_IPV4);
        buf_compact_size(out, 4);
    } else {
        buf_u64(out, P2P_SERVICES);
        buf_extend(out, 10);
        buf_u16(out, 0xffff);
    }
    buf_bytes(out, place->ip, 4);
    buf_u16_be(out, place->port);
}

static void send_places(struct p2p *p2p, struct peer *peer, const struct learned *places, size_t count)
{
    struct buf b = {0};
    if (count && p2p->config.discover != P2P_DISCOVER_NO) {
        buf_compact_size(&b, count);
        for (size_t i = 0; i < count; i++) {
            put_one(p2p, &b, &places[i], peer->wants_addrv2);
        }
        message_send(p2p, peer, peer->wants_addrv2 ? "addrv2" : "addr", &b);
    }
}

void addresses_greet(struct p2p *p2p, struct peer *peer)
{
    struct learned place;
    if (p2p->config.discover == P2P_DISCOVER_NO) {
        return;
    }
    if (!peer->inbound) {
        message_send(p2p, peer, "getaddr", NULL);
    }
    if (!listens_at(peer, &place)) {
        return;
    }
    learn(p2p, peer, place);
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *other = CONTAINER_OF(at, struct peer, link);
        if (other != peer && peer_ready(other)) {
            send_places(p2p, other, &place, 1);
        }
    }
}

void handle_getaddr(struct p2p *p2p, struct peer *peer)
{
    if (peer->inbound && !peer->asked_addresses) { /* once, and only who dialled us: as Bitcoin Core does */
        peer->asked_addresses = true;
        send_places(p2p, peer, p2p->learned, p2p->learned_count);
    }
}

static bool read_v1(struct cursor *c, struct learned *out)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    cursor_u32(c);
    cursor_u64(c);
    struct span ip = cursor_span(c, 16);
    out->port = cursor_u16_be(c);
    if (c->failed || memcmp(ip.data, mapped, sizeof mapped) != 0) {
        return false;
    }
    memcpy(out->ip, ip.data + 12, 4);
    return true;
}

static bool read_v2(struct cursor *c, struct learned *out)
{
    cursor_u32(c);
    cursor_compact_size(c, UINT64_MAX);
    uint8_t network = cursor_u8(c);
    struct span ip = cursor_var_span(c);
    out->port = cursor_u16_be(c);
    if (ip.len > ADDRV2_BYTES_MAX || (network == NETWORK_IPV4 && ip.len != 4)) {
        c->failed = true; /* BIP155 */
    }
    if (c->failed || network != NETWORK_IPV4) {
        return false;
    }
    memcpy(out->ip, ip.data, 4);
    return true;
}

void handle_addr(struct p2p *p2p, struct peer *peer, struct cursor *c, bool v2)
{
    size_t count = cursor_count(c, v2 ? 9 : 30);
    if (c->failed || count > ADDR_MAX) {
        peer_close(p2p, peer, LOG_WARN, "an address message that cannot be read or holds too many");
        return;
    }
    for (size_t i = 0; i < count && !c->failed; i++) {
        struct learned found = {0};
        if ((v2 ? read_v2(c, &found) : read_v1(c, &found)) && p2p->config.discover != P2P_DISCOVER_NO) {
            learn(p2p, peer, found);
        }
    }
    if (c->failed) {
        peer_close(p2p, peer, LOG_WARN, "an address message that cannot be read");
    }
}

/* ---- Substitutes --------------------------------------------------------------------------------------- */

static bool is_connected(const struct p2p *p2p, const struct learned *place)
{
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        struct learned there;
        if (listens_at(peer, &there) && same_place(&there, place)) {
            return true;
        }
    }
    return false;
}

static void dial_one(struct p2p *p2p)
{
    size_t first = p2p->learned_count ? (size_t)rng_below(p2p->config.rng, p2p->learned_count) : 0;
    for (size_t i = 0; i < p2p->learned_count; i++) {
        struct learned *place = &p2p->learned[(first + i) % p2p->learned_count];
        if (place->next_try_us > p2p->now.mono_us || is_connected(p2p, place)) {
            continue;
        }
        char text[32];
        struct error error = {0};
        place->next_try_us = p2p->now.mono_us + TRY_AGAIN_US;
        snprintf(text, sizeof text, "%u.%u.%u.%u:%u", place->ip[0], place->ip[1], place->ip[2], place->ip[3],
                 place->port);
        if (!ban_covers(p2p, text) && p2p_substitute(p2p, text, &error)) {
            log_info(LOG_NET, "trying %s, an address that was learned", text);
        }
        return;
    }
}

void addresses_ourselves(struct p2p *p2p, const struct peer *peer)
{
    struct learned place;
    for (size_t i = 0; listens_at(peer, &place) && i < p2p->learned_count; i++) {
        if (same_place(&p2p->learned[i], &place)) {
            p2p->learned[i].next_try_us = INT64_MAX;
        }
    }
}

void addresses_tick(struct p2p *p2p)
{
    size_t down = 0, substitutes = 0, outbound = 0;
    if (p2p->config.discover == P2P_DISCOVER_NO) {
        return;
    }
    LIST_EACH(at, &p2p->nodes)
    {
        const struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        const struct peer *peer = peer_find(p2p, slot->peer);
        bool up = peer && peer_ready(peer);
        down += !slot->once && !up && p2p->now.mono_us - slot->down_since_us > DOWN_US;
        substitutes += slot->substitute;
        outbound++;
    }
    bool all = p2p->config.discover == P2P_DISCOVER_YES;
    size_t wanted =
        all ? DISCOVERED_MAX - MIN(outbound - substitutes, DISCOVERED_MAX) : MIN(down, SUBSTITUTES_MAX);
    if (substitutes < wanted) {
        dial_one(p2p);
    }
    LIST_EACH_SAFE(at, following, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        struct peer *peer = peer_find(p2p, slot->peer);
        if (slot->substitute && !all && !down && peer && peer->open) {
            peer_close(p2p, peer, LOG_INFO, "the peers that were drawn are back");
        }
    }
}
