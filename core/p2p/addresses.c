/*
 * Addresses of others, learned from them (addr, and addrv2 of BIP155) and told to them. The book itself is
 * book.c's, the use made of it outbound.c's.
 *
 * Where a node listens is known to whom it dials from the port in its version message, with the address that
 * the connection shows.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#define ADDR_MAX         1000u
#define TOLD_ALWAYS      64u /* getaddr: of more than that, at most 23 of 100 are told, as Bitcoin Core does */
#define RELAY_TO_MAX     8u /* who hears of somebody who has just come; chosen at random when there are more */
#define RELAY_MAX        10u /* a message with more addresses is an answer to getaddr, not news */
#define FORWARD_TO       2u
#define FRESH_S          600
#define TOKENS_FIRST     1.0
#define TOKENS_MAX       1000.0
#define TOKENS_PER_S     0.1
#define NETWORK_IPV4     1u
#define NETWORK_IPV6     2u
#define ADDRV2_BYTES_MAX 512u
#define ANCHORS_MAX      2u /* peers that were found and are dialled first after a restart */

void addresses_meet(struct p2p *p2p, struct peer *peer)
{
    peer->addr_tokens = TOKENS_FIRST;
    peer->addr_tokens_us = p2p->now.mono_us;
}

/* Where this peer listens; false when it is not known. */
bool peer_listens_at(const struct peer *peer, struct endpoint *out)
{
    *out = peer->endpoint;
    if (peer->inbound) {
        out->port = peer->listen_port;
    }
    return peer->has_endpoint && out->port != 0;
}

/* True when that was news. */
static bool learn(struct p2p *p2p, const struct peer *from, struct place found)
{
    int64_t now_s = moment_unix_s(p2p->now);
    if (!found.at.port || !ip_is_host(found.at.ip) ||
        (ip_is_loopback(found.at.ip) && !ip_is_loopback(from->endpoint.ip))) {
        return false;
    }
    memcpy(found.source, from->endpoint.ip, 16);
    return book_learn(&p2p->book, &found, now_s);
}

/* ---- Telling ------------------------------------------------------------------------------------------- */

static void put_one(struct buf *out, const struct place *place, bool v2)
{
    bool v4 = ip_is_v4(place->at.ip);
    buf_u32(out, (uint32_t)place->seen_unix_s);
    if (v2) {
        buf_compact_size(out, place->services);
        buf_u8(out, v4 ? NETWORK_IPV4 : NETWORK_IPV6);
        buf_var_span(out, span_of(place->at.ip + (v4 ? 12 : 0), v4 ? 4 : 16));
    } else {
        buf_u64(out, place->services);
        buf_bytes(out, place->at.ip, 16);
    }
    buf_u16_be(out, place->at.port);
}

static void send_places(struct p2p *p2p, struct peer *peer, const struct place *const *places, size_t count)
{
    struct buf b = {0};
    if (count && p2p->config.discover != P2P_DISCOVER_NO) {
        buf_compact_size(&b, count);
        for (size_t i = 0; i < count; i++) {
            put_one(&b, places[i], peer->wants_addrv2);
        }
        message_send(p2p, peer, peer->wants_addrv2 ? "addrv2" : "addr", &b);
    }
}

/* To so many peers, chosen at random, but not to who told us. */
static void tell(struct p2p *p2p, const struct peer *from, const struct place *place, size_t to_max)
{
    size_t others = 0;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        others += peer != from && peer_ready(peer) && !peer_is(peer, SLOT_BLOCKS_ONLY);
    }
    if (!others) {
        return;
    }
    size_t turn = others > to_max ? (size_t)rng_below(p2p->config.rng, others) : 0;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer != from && peer_ready(peer) && !peer_is(peer, SLOT_BLOCKS_ONLY) &&
            turn++ % others < to_max) {
            send_places(p2p, peer, &place, 1);
        }
    }
}

void addresses_greet(struct p2p *p2p, struct peer *peer)
{
    struct place place = {.services = peer->services, .seen_unix_s = moment_unix_s(p2p->now)};
    if (p2p->config.discover == P2P_DISCOVER_NO) {
        return;
    }
    bool quiet = peer_is(peer, SLOT_BLOCKS_ONLY); /* nobody shall know of it */
    if (!peer->inbound && !quiet) {
        message_send(p2p, peer, "getaddr", NULL);
        peer->addr_tokens += TOKENS_MAX; /* for the answer */
    }
    if (!peer_listens_at(peer, &place.at)) {
        return;
    }
    learn(p2p, peer, place);
    if (!peer->inbound) {
        book_answered(&p2p->book, &place.at, place.seen_unix_s);
    }
    if (!quiet) {
        tell(p2p, peer, &place, RELAY_TO_MAX);
    }
}

size_t addresses_sample(struct p2p *p2p, const struct place **out, size_t max)
{
    struct book *book = &p2p->book;
    size_t count = 0;
    for (size_t i = 0; i < BOOK_PLACES; i++) {
        const struct place *place = &book->all[i];
        if (!place->at.port || place->next_try_us == INT64_MAX) {
            continue;
        }
        size_t at = count++; /* reservoir: each is as likely as any other */
        if (at >= max) {
            at = (size_t)rng_below(p2p->config.rng, count);
        }
        if (at < max) {
            out[at] = place;
        }
    }
    return MIN(count, max);
}

void handle_getaddr(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    const struct place *places[ADDR_MAX];
    if (!peer->inbound || peer->asked_addresses) { /* once, and only who dialled us: as Bitcoin Core does */
        return;
    }
    peer->asked_addresses = true;
    size_t share = MAX(p2p->book.count * 23 / 100, (size_t)TOLD_ALWAYS);
    size_t max = MIN(peer->permissions & P2P_PERMIT_ADDR ? ADDR_MAX : share, (size_t)ADDR_MAX);
    send_places(p2p, peer, places, addresses_sample(p2p, places, max));
}

/* ---- Hearing ------------------------------------------------------------------------------------------- */

static bool read_v1(struct cursor *c, struct place *out)
{
    out->seen_unix_s = cursor_u32(c);
    out->services = cursor_u64(c);
    cursor_bytes(c, out->at.ip, 16);
    out->at.port = cursor_u16_be(c);
    return !c->failed;
}

static bool read_v2(struct cursor *c, struct place *out)
{
    out->seen_unix_s = cursor_u32(c);
    out->services = cursor_compact_size(c, UINT64_MAX);
    uint8_t network = cursor_u8(c);
    struct span ip = cursor_var_span(c);
    out->at.port = cursor_u16_be(c);
    if (ip.len > ADDRV2_BYTES_MAX || (network == NETWORK_IPV4 && ip.len != 4) ||
        (network == NETWORK_IPV6 && ip.len != 16)) {
        c->failed = true; /* BIP155 */
    }
    if (c->failed || (network != NETWORK_IPV4 && network != NETWORK_IPV6)) {
        return false;
    }
    if (network == NETWORK_IPV4) {
        ip_from_v4(out->at.ip, ip.data);
    } else {
        memcpy(out->at.ip, ip.data, 16);
    }
    return network == NETWORK_IPV4 || !ip_is_v4(out->at.ip); /* BIP155: no mapped ones */
}

/* A peer may tell us one address in ten seconds unasked: whoever floods is read and not listened to. */
static bool take_token(struct p2p *p2p, struct peer *peer)
{
    int64_t passed_us = p2p->now.mono_us - peer->addr_tokens_us;
    if (peer->addr_tokens < TOKENS_MAX) {
        peer->addr_tokens = MIN(peer->addr_tokens + (double)passed_us / 1e6 * TOKENS_PER_S, TOKENS_MAX);
    }
    peer->addr_tokens_us = p2p->now.mono_us;
    if (peer->permissions & P2P_PERMIT_ADDR) {
        return true;
    }
    if (peer->addr_tokens < 1.0) {
        peer->addrs_limited++;
        return false;
    }
    peer->addr_tokens -= 1.0;
    return true;
}

static void hear(struct p2p *p2p, struct peer *peer, struct place found, bool news)
{
    int64_t now_s = moment_unix_s(p2p->now);
    if (found.seen_unix_s <= 100000000 || found.seen_unix_s > now_s + FRESH_S) {
        found.seen_unix_s = now_s - 5 * 86400; /* its clock is wrong, or it does not know */
    }
    peer->addrs_processed++;
    if (p2p->config.discover != P2P_DISCOVER_NO && learn(p2p, peer, found) && news &&
        now_s - found.seen_unix_s < FRESH_S) {
        tell(p2p, peer, &found, FORWARD_TO);
    }
}

static void hear_all(struct p2p *p2p, struct peer *peer, struct cursor *c, bool v2)
{
    size_t count = cursor_count(c, v2 ? 9 : 30);
    if (c->failed || count > ADDR_MAX) {
        peer_misbehaves(p2p, peer, "an address message that cannot be read or holds too many");
        return;
    }
    for (size_t i = 0; i < count && !c->failed; i++) {
        struct place found = {0};
        if ((v2 ? read_v2(c, &found) : read_v1(c, &found)) && take_token(p2p, peer)) {
            hear(p2p, peer, found, count <= RELAY_MAX);
        }
    }
    if (c->failed) {
        peer_misbehaves(p2p, peer, "an address message that cannot be read");
    }
}

void handle_addr(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    hear_all(p2p, peer, c, false);
}

void handle_addrv2(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    hear_all(p2p, peer, c, true);
}

/* ---- Across a restart ---------------------------------------------------------------------------------- */

bool p2p_load_addresses(struct p2p *p2p, struct span file, struct moment now)
{
    return book_read(&p2p->book, chain_parameters(p2p->chain)->magic, file, moment_unix_s(now));
}

static size_t mark_anchors(struct p2p *p2p, enum slot_kind kind, size_t most)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        bool found = peer_ready(peer) && peer_is(peer, kind);
        struct place *place = found ? book_find(&p2p->book, &peer->endpoint) : NULL;
        if (place) {
            place->anchor = count++ < most;
        }
    }
    return MIN(count, most);
}

void p2p_save_addresses(struct p2p *p2p, bool at_the_end, struct buf *out)
{
    size_t most = at_the_end ? ANCHORS_MAX : 0;
    most -= mark_anchors(p2p, SLOT_BLOCKS_ONLY, most); /* these nobody else knows of */
    mark_anchors(p2p, SLOT_FOUND, most);
    book_write(&p2p->book, chain_parameters(p2p->chain)->magic, out);
}

size_t p2p_addresses(struct p2p *p2p, struct p2p_address_info *out, size_t max)
{
    const struct place **places = mem_alloc((max + 1) * sizeof(struct place *));
    size_t count = addresses_sample(p2p, places, max);
    for (size_t i = 0; i < count; i++) {
        ip_text(out[i].ip, places[i]->at.ip);
        out[i].port = places[i]->at.port;
        out[i].ipv6 = !ip_is_v4(places[i]->at.ip);
        out[i].services = places[i]->services;
        out[i].seen_unix_s = places[i]->seen_unix_s;
    }
    mem_free(places);
    return count;
}

void p2p_count_addresses(const struct p2p *p2p, struct p2p_address_count out[2])
{
    const struct book *book = &p2p->book;
    memset(out, 0, 2 * sizeof *out);
    for (size_t i = 0; i < BOOK_PLACES; i++) {
        const struct place *place = &book->all[i];
        if (place->at.port) {
            struct p2p_address_count *of_network = &out[!ip_is_v4(place->at.ip)];
            *(i < ARRAY_COUNT(book->fresh) ? &of_network->fresh : &of_network->tried) += 1;
        }
    }
}

bool p2p_add_address(struct p2p *p2p, const char *ip, uint16_t port, bool tried, struct moment now)
{
    struct place place = {.at.port = port, .services = P2P_SERVICES, .seen_unix_s = moment_unix_s(now)};
    if (!ip_parse(place.at.ip, ip) || !port || !ip_is_host(place.at.ip)) {
        return false;
    }
    memcpy(place.source, place.at.ip, 16);
    bool added = book_learn(&p2p->book, &place, place.seen_unix_s);
    if (added && tried) {
        book_answered(&p2p->book, &place.at, place.seen_unix_s);
    }
    return added;
}
