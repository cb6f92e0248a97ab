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

#define ADDR_MAX           1000u
#define TOLD_ALWAYS        64u /* getaddr: of more than that, at most 23 of 100 are told, as Bitcoin Core does */
#define TOLD_FOR_US        (24 * 60 * 60 * US_PER_S)
#define RELAY_TO_MAX       8u /* who hears of somebody who has just come; chosen at random when there are more */
#define RELAY_MAX          10u /* a message with more addresses is an answer to getaddr, not news */
#define FORWARD_TO         2u
#define FORWARD_OVERLAY_TO 1u
#define FRESH_S            600
#define TOKENS_FIRST       1.0
#define TOKENS_MAX         1000.0
#define TOKENS_PER_S       0.1
#define ADDRV2_BYTES_MAX   512u
#define ANCHORS_MAX        2u /* peers that were found and are dialled first after a restart */

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

/* Nobody out there is told of machines of a network of one's own, nor believed about ours. */
static bool concerns(const struct place *place, const struct peer *peer)
{
    const uint8_t *ip = place->at.ip, *there = peer->endpoint.ip;
    if (place->overlay) {
        return true;
    }
    return ip_is_loopback(ip) ? ip_is_loopback(there) : !ip_is_local(ip) || ip_is_local(there);
}

/* True when that was news. */
static bool learn(struct p2p *p2p, const struct peer *from, struct place found)
{
    if (!place_can_be(&found) || !concerns(&found, from)) {
        return false;
    }
    memcpy(found.source, from->endpoint.ip, 16);
    return book_learn(&p2p->book, &found, moment_unix_s(p2p->now));
}

/* ---- Telling ------------------------------------------------------------------------------------------- */

static void put_place(struct peer *peer, const struct place *place)
{
    struct buf *out = &peer->addrs_to_tell;
    uint8_t network = place_network(place);
    size_t len = network_bytes(network);
    if (!concerns(place, peer) || (place->overlay && !peer->wants_addrv2)) {
        return;
    }
    buf_u32(out, (uint32_t)place->seen_unix_s);
    if (peer->wants_addrv2) {
        buf_compact_size(out, place->services);
        buf_u8(out, network);
        buf_compact_size(out, len);
        buf_bytes(out, place->at.ip + (network == NETWORK_IPV4 ? 12 : 0), MIN(len, (size_t)16));
        buf_bytes(out, place->more, len > 16 ? len - 16 : 0);
    } else {
        buf_u64(out, place->services);
        buf_bytes(out, place->at.ip, 16);
    }
    buf_u16_be(out, place->at.port);
    peer->addrs_to_tell_count++;
}

/* All that a message has brought goes on in one. */
static void tell_peer(struct p2p *p2p, struct peer *peer)
{
    struct buf b = {0};
    if (peer->addrs_to_tell_count) {
        buf_compact_size(&b, peer->addrs_to_tell_count);
        buf_bytes(&b, peer->addrs_to_tell.data, peer->addrs_to_tell.len);
        message_send(p2p, peer, peer->wants_addrv2 ? "addrv2" : "addr", &b);
    }
    buf_free(&peer->addrs_to_tell);
    peer->addrs_to_tell_count = 0;
}

static void tell_everybody(struct p2p *p2p)
{
    LIST_EACH(at, &p2p->peers)
    {
        tell_peer(p2p, CONTAINER_OF(at, struct peer, link));
    }
}

/* Who has dialled us and never spoke of addresses (a wallet, a crawler) is not told of any. */
static bool is_for(const struct peer *peer, const struct peer *from, const struct place *news)
{
    return peer != from && peer_ready(peer) && peer->relays_addrs && (!news->overlay || peer->wants_addrv2);
}

/* To so many peers, chosen at random, but not to who told us. They are told by tell_everybody. */
static void spread(struct p2p *p2p, const struct peer *from, const struct place *news, size_t to_max)
{
    size_t others = 0;
    LIST_EACH(at, &p2p->peers)
    {
        others += is_for(CONTAINER_OF(at, struct peer, link), from, news);
    }
    if (!others) {
        return;
    }
    size_t turn = others > to_max ? (size_t)rng_below(p2p->config.rng, others) : 0;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (is_for(peer, from, news) && turn++ % others < to_max) {
            put_place(peer, news);
        }
    }
}

/* Where we listen, as far as this peer can know: at the address that it sees, if that is one for everybody.
 */
static void tell_ours(struct p2p *p2p, struct peer *peer)
{
    struct place ours = {.services = P2P_SERVICES, .seen_unix_s = moment_unix_s(p2p->now)};
    memcpy(ours.at.ip, peer->sees_us_at, 16);
    ours.at.port = p2p->listen_port;
    if (ours.at.port && ip_is_host(ours.at.ip) && !ip_is_local(ours.at.ip)) {
        put_place(peer, &ours);
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
        peer->relays_addrs = true;
        message_send(p2p, peer, "getaddr", NULL);
        peer->addr_tokens += TOKENS_MAX; /* for the answer */
        tell_ours(p2p, peer);
    }
    if (peer_listens_at(peer, &place.at)) {
        bool is_news = learn(p2p, peer, place);
        if (!peer->inbound) {
            book_answered(&p2p->book, &place.at, place.seen_unix_s);
        }
        if (!quiet && is_news) { /* of whoever keeps coming others have heard */
            spread(p2p, peer, &place, RELAY_TO_MAX);
        }
    }
    tell_everybody(p2p);
}

size_t addresses_sample(struct p2p *p2p, const struct place **out, size_t max)
{
    struct book *book = &p2p->book;
    size_t count = 0;
    BOOK_EACH(i, book)
    {
        const struct place *place = &book->all[i];
        if (place->next_try_us == INT64_MAX) {
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

/* Of a large book everybody is told the same for a day: who asks again and again, or comes as many, learns no
 * more. */
static void tell_sample(struct p2p *p2p, struct peer *peer)
{
    const struct place *places[TOLD_MAX];
    if (p2p->now.mono_us >= p2p->told_until_us) {
        size_t count = addresses_sample(p2p, places, MIN(p2p->book.count * 23 / 100, (size_t)TOLD_MAX));
        for (p2p->told_count = 0; p2p->told_count < count; p2p->told_count++) {
            p2p->told[p2p->told_count] = *places[p2p->told_count];
        }
        p2p->told_until_us =
            p2p->now.mono_us + TOLD_FOR_US + (int64_t)rng_below(p2p->config.rng, (uint64_t)TOLD_FOR_US / 4);
    }
    for (size_t i = 0; i < p2p->told_count; i++) {
        put_place(peer, &p2p->told[i]);
    }
}

void handle_getaddr(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    const struct place *places[ADDR_MAX];
    if (p2p->config.discover == P2P_DISCOVER_NO || !peer->inbound || peer->asked_addresses) {
        return; /* once, and only who dialled us: as Bitcoin Core does */
    }
    peer->asked_addresses = peer->relays_addrs = true;
    bool all = peer->permissions & P2P_PERMIT_ADDR;
    if (!all && p2p->book.count * 23 / 100 > TOLD_ALWAYS) {
        tell_sample(p2p, peer);
    } else {
        size_t count = addresses_sample(p2p, places, all ? ADDR_MAX : TOLD_ALWAYS);
        for (size_t i = 0; i < count; i++) {
            put_place(peer, places[i]);
        }
    }
    tell_peer(p2p, peer);
}

/* ---- Hearing ------------------------------------------------------------------------------------------- */

static void read_v1(struct cursor *c, struct place *out)
{
    out->seen_unix_s = cursor_u32(c);
    out->services = cursor_u64(c);
    cursor_bytes(c, out->at.ip, 16);
    out->at.port = cursor_u16_be(c);
}

/* BIP155. An address of a network that nobody knows yet, or no more, stays nowhere. */
static void read_v2(struct cursor *c, struct place *out)
{
    out->seen_unix_s = cursor_u32(c);
    out->services = cursor_compact_size(c, UINT64_MAX);
    uint8_t network = cursor_u8(c);
    struct span address = cursor_var_span(c);
    out->at.port = cursor_u16_be(c);
    size_t len = network_bytes(network);
    if (address.len > ADDRV2_BYTES_MAX || (len && address.len != len)) {
        c->failed = true;
    }
    if (c->failed || !len) {
        return;
    }
    if (network == NETWORK_IPV4) {
        ip_from_v4(out->at.ip, address.data);
    } else if (network != NETWORK_IPV6 || !ip_is_v4(address.data)) { /* no mapped ones */
        memcpy(out->at.ip, address.data, 16);
        memcpy(out->more, address.data + 16, len - 16);
        out->overlay = network == NETWORK_IPV6 ? 0 : network;
    }
}

static struct place read_one(struct cursor *c, bool v2)
{
    struct place heard = {0};
    (v2 ? read_v2 : read_v1)(c, &heard);
    return heard;
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

static void hear(struct p2p *p2p, struct peer *peer, struct place *place, bool may_spread)
{
    int64_t now_s = moment_unix_s(p2p->now);
    if (place->seen_unix_s <= 100000000 || place->seen_unix_s > now_s + FRESH_S) {
        place->seen_unix_s = now_s - 5 * 86400; /* its clock is wrong, or it does not know */
    }
    may_spread &= now_s - place->seen_unix_s < FRESH_S;
    if (!(place->services & (SERVICE_NETWORK | SERVICE_NETWORK_LIMITED))) {
        return; /* nobody has anything to ask of it */
    }
    peer->addrs_processed++;
    if (learn(p2p, peer, *place) && may_spread) {
        spread(p2p, peer, place, place->overlay ? FORWARD_OVERLAY_TO : FORWARD_TO);
    }
}

static void hear_all(struct p2p *p2p, struct peer *peer, struct cursor *c, bool v2)
{
    size_t count = cursor_count(c, v2 ? 9 : 30);
    struct cursor ahead = *c;
    for (size_t i = 0; i < count && !ahead.failed; i++) {
        read_one(&ahead, v2);
    }
    c->failed |= ahead.failed;
    if (c->failed) {
        return; /* nothing of it is believed */
    }
    if (p2p->config.discover == P2P_DISCOVER_NO || peer_is(peer, SLOT_BLOCKS_ONLY)) {
        return;
    }
    if (count > ADDR_MAX) {
        peer_misbehaves(p2p, peer, "%zu addresses in one message", count);
        return;
    }
    peer->relays_addrs = true;
    for (size_t i = 0; i < count; i++) {
        struct place heard = read_one(c, v2);
        if (take_token(p2p, peer)) {
            hear(p2p, peer, &heard, count <= RELAY_MAX);
        }
    }
    tell_everybody(p2p);
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

static enum p2p_network network_index(const struct place *place)
{
    switch (place_network(place)) {
    case NETWORK_IPV4: return P2P_IPV4;
    case NETWORK_IPV6: return P2P_IPV6;
    case NETWORK_TOR: return P2P_TOR;
    case NETWORK_I2P: return P2P_I2P;
    default: return P2P_CJDNS;
    }
}

static void show_place(struct p2p_address_info *out, const struct place *place)
{
    place_text(out->address, place);
    out->port = place->at.port;
    out->network = network_index(place);
    out->services = place->services;
    out->seen_unix_s = place->seen_unix_s;
}

bool p2p_next_place(const struct p2p *p2p, size_t *position, struct p2p_place_info *out)
{
    const struct book *book = &p2p->book;
    size_t at = book_next(book, *position, BOOK_PLACES), fresh = ARRAY_COUNT(book->fresh);
    *position = at + 1;
    if (at >= BOOK_PLACES) {
        return false;
    }
    const struct place *place = &book->all[at];
    show_place(&out->address, place);
    ip_text(out->source, place->source);
    out->source_ipv6 = !ip_is_v4(place->source);
    out->tried = at >= fresh;
    at -= out->tried ? fresh : 0;
    out->bucket = (uint32_t)(at / BOOK_SLOTS);
    out->slot = (uint32_t)(at % BOOK_SLOTS);
    return true;
}

size_t p2p_addresses(struct p2p *p2p, struct p2p_address_info *out, size_t max)
{
    const struct place **places = mem_alloc((max + 1) * sizeof(struct place *));
    size_t count = addresses_sample(p2p, places, max);
    for (size_t i = 0; i < count; i++) {
        show_place(&out[i], places[i]);
    }
    mem_free(places);
    return count;
}

void p2p_count_addresses(const struct p2p *p2p, struct p2p_address_count out[P2P_NETWORKS])
{
    const struct book *book = &p2p->book;
    memset(out, 0, P2P_NETWORKS * sizeof *out);
    BOOK_EACH(i, book)
    {
        struct p2p_address_count *of_network = &out[network_index(&book->all[i])];
        *(i < ARRAY_COUNT(book->fresh) ? &of_network->fresh : &of_network->tried) += 1;
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
