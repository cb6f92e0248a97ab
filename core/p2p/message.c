/* Framing: [magic][command 12][length][checksum][payload]. A buffer grows with what has arrived, never with
 * what a header claims. A wrong magic and an impossible length end the connection, as nobody knows where the
 * next message begins; a payload that cannot be read is passed over, and nothing follows from it. */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

#define STRANGER_BYTES_MAX 4096u /* of a message before the first version */

static size_t kind_of(const char *command);

void message_send(struct p2p *p2p, struct peer *peer, const char *command, struct buf *payload)
{
    struct buf none = {0};
    struct buf *body = payload ? payload : &none;
    if (peer->open && !peer->closing) {
        message_put(p2p, peer, command, message_frame(p2p, command, buf_span(body)));
    }
    buf_free(body);
}

struct shared *message_frame(const struct p2p *p2p, const char *command, struct span payload)
{
    struct buf b = {0};
    uint8_t sum[32];
    CHECK(strlen(command) <= 12);
    buf_reserve(&b, MESSAGE_HEADER_BYTES + payload.len);
    buf_bytes(&b, chain_parameters(p2p->chain)->magic, 4);
    memcpy(buf_extend(&b, 12), command, strlen(command));
    buf_u32(&b, (uint32_t)payload.len);
    sha256d(sum, payload.data, payload.len);
    buf_bytes(&b, sum, 4);
    buf_bytes(&b, payload.data, payload.len);
    return shared_of(&b);
}

void message_put(struct p2p *p2p, struct peer *peer, const char *command, struct shared *message)
{
    if (!peer->open || peer->closing) {
        shared_unref(message);
        return;
    }
    size_t len = message->bytes.len; /* counted for each peer that it waits for */
    peer->bytes_sent += len;
    peer->sent_by_type[kind_of(command)] += len;
    peer->last_send_unix_s = moment_unix_s(p2p->now);
    if (!peer->queued_bytes) {
        peer->last_drain_us = p2p->now.mono_us;
    }
    peer->queued_bytes += len;
    p2p->send_total += len;
    p2p->events.send(p2p->events.context, peer->id, message);
    if (peer->queued_bytes > P2P_SEND_QUEUE_HARD) {
        peer_close(p2p, peer, LOG_WARN, "it does not read: %zu bytes wait for it", peer->queued_bytes);
    }
}

/* True while things are still agreed upon; who comes later breaks BIP339 or BIP155, and goes. */
static bool is_in_time(struct p2p *p2p, struct peer *peer, const char *command)
{
    if (peer->have_verack) {
        peer_close(p2p, peer, LOG_INFO, "%s after verack", command);
    }
    return !peer->have_verack;
}

static void handle_wtxidrelay(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    peer->wants_wtxid |= is_in_time(p2p, peer, "wtxidrelay") && peer->version >= VERSION_WTXID;
}

static void handle_sendaddrv2(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    peer->wants_addrv2 |= is_in_time(p2p, peer, "sendaddrv2");
}

static void handle_sendheaders(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    (void)c;
    peer->wants_headers = true;
}

/* BIP111, BIP157: our services say that there are none, and who asks all the same would wait for ever. */
static void handle_filters(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    peer_close(p2p, peer, LOG_INFO, "it asks for filters, which are not offered");
}

static void handle_getcfilters(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    cursor_span(c, 1 + 4 + 32); /* kind, first height, last block */
    if (!c->failed) {
        handle_filters(p2p, peer, c);
    }
}

static void handle_getcfcheckpt(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    cursor_span(c, 1 + 32);
    if (!c->failed) {
        handle_filters(p2p, peer, c);
    }
}

enum stage { AT_ONCE, AFTER_VERSION, AFTER_VERACK };

/* Every command that is understood, and from when on it counts. Before its time it is ignored, as is whatever
 * a newer node says. */
static const struct message_kind {
    const char *command;
    enum stage stage;
    void (*handle)(struct p2p *p2p, struct peer *peer, struct cursor *c);
    uint32_t units_per_byte, units; /* what looking at it costs when nobody has asked for it (flood.c) */
} kinds[] = {
    {"addr", AFTER_VERACK, handle_addr, 2, 0},
    {"addrv2", AFTER_VERACK, handle_addrv2, 2, 0},
    {"block", AFTER_VERACK, handle_block, 2, 0},
    {"blocktxn", AFTER_VERACK, handle_blocktxn, 4, 0},
    {"cmpctblock", AFTER_VERACK, handle_cmpctblock, 12, 0},
    {"feefilter", AFTER_VERACK, handle_feefilter, 1, 0},
    {"filteradd", AFTER_VERACK, handle_filters, 1, 0},
    {"filterclear", AFTER_VERACK, handle_filters, 1, 0},
    {"filterload", AFTER_VERACK, handle_filters, 1, 0},
    {"getaddr", AFTER_VERACK, handle_getaddr, 1, 100000},
    {"getblocks", AFTER_VERACK, handle_getblocks, 1, 100000},
    {"getblocktxn", AFTER_VERACK, handle_getblocktxn, 1, 200000},
    {"getcfcheckpt", AFTER_VERACK, handle_getcfcheckpt, 1, 0},
    {"getcfheaders", AFTER_VERACK, handle_getcfilters, 1, 0},
    {"getcfilters", AFTER_VERACK, handle_getcfilters, 1, 0},
    {"getdata", AFTER_VERACK, handle_getdata, 1, 0},
    {"getheaders", AFTER_VERACK, handle_getheaders, 1, 100000},
    {"headers", AFTER_VERACK, handle_headers, 8, 0},
    {"inv", AFTER_VERACK, handle_inv, 4, 0},
    {"mempool", AFTER_VERACK, handle_mempool, 1, 1000000},
    {"notfound", AFTER_VERACK, handle_notfound, 2, 0},
    {"ping", AFTER_VERACK, handle_ping, 1, 1000},
    {"pong", AFTER_VERACK, handle_pong, 1, 0},
    {"sendaddrv2", AFTER_VERSION, handle_sendaddrv2, 1, 0},
    {"sendcmpct", AFTER_VERSION, handle_sendcmpct, 1, 0},
    {"sendheaders", AFTER_VERSION, handle_sendheaders, 1, 0},
    {"tx", AFTER_VERACK, handle_tx, 8, 0},
    {"verack", AFTER_VERSION, handle_verack, 1, 0},
    {"version", AT_ONCE, handle_version, 1, 0},
    {"wtxidrelay", AFTER_VERSION, handle_wtxidrelay, 1, 0},
};
static_assert(ARRAY_COUNT(kinds) + 1 == P2P_MESSAGE_TYPES, "one more for all others");

static size_t kind_of(const char *command)
{
    size_t i = 0;
    while (i < ARRAY_COUNT(kinds) && strcmp(command, kinds[i].command) != 0) {
        i++;
    }
    return i;
}

const char *p2p_message_name(size_t type)
{
    return type < ARRAY_COUNT(kinds) ? kinds[type].command : "*other*";
}

static void dispatch(struct p2p *p2p, struct peer *peer, size_t type, struct span payload)
{
    struct cursor c = cursor_of(payload.data, payload.len);
    enum stage stage = peer->have_verack ? AFTER_VERACK : peer->have_version ? AFTER_VERSION : AT_ONCE;
    peer->received_by_type[type] += MESSAGE_HEADER_BYTES + payload.len;
    if (type < ARRAY_COUNT(kinds) && stage >= kinds[type].stage) {
        const struct message_kind *kind = &kinds[type];
        peer->solicited = false;
        kind->handle(p2p, peer, &c);
        if (c.failed && !peer->closing) { /* nothing follows: a newer or a broken node, not a malicious one */
            peer_remark(p2p, peer, "a message '%s' that cannot be read", kind->command);
        }
        double bytes = (double)(MESSAGE_HEADER_BYTES + payload.len); /* charged when they came */
        flood_charge(p2p, peer, peer->solicited ? -bytes : bytes * (kind->units_per_byte - 1) + kind->units);
    }
}

/* The first bytes tell who dials: Bitcoin version 1, a browser, or something else (BIP324, a scanner), which
 * is let go quietly so that a newer node can come back with version 1. */
static bool recognise(struct p2p *p2p, struct peer *peer, struct span in)
{
    if (peer->recognised) {
        return true;
    }
    if (in.len < 4) {
        return false;
    }
    if (memcmp(in.data, chain_parameters(p2p->chain)->magic, 4) == 0) {
        peer->recognised = true;
        return true;
    }
    if (!peer->inbound || !http_answer(p2p, peer, in)) {
        peer_close(p2p, peer, LOG_DEBUG, "its first bytes are not this network's");
    }
    return false;
}

/* Printable characters, then zeros only. */
static bool is_command(const uint8_t field[12])
{
    size_t len = strnlen((const char *)field, 12);
    for (size_t i = 0; i < 12; i++) {
        if (i < len ? field[i] < ' ' || field[i] > '~' : field[i]) {
            return false;
        }
    }
    return true;
}

/* One whole message from the front; false when it must wait or the peer is done for. One that is spoiled is
 * passed over, as Bitcoin Core does: where the next begins is known all the same. */
static bool take_message(struct p2p *p2p, struct peer *peer, struct span in, size_t *at)
{
    const uint8_t *head = in.data + *at;
    size_t have = in.len - *at;
    if (have < MESSAGE_HEADER_BYTES) {
        return false;
    }
    if (memcmp(head, chain_parameters(p2p->chain)->magic, 4) != 0) {
        peer_close(p2p, peer, LOG_WARN, "wrong magic %02x%02x%02x%02x where a message should begin", head[0],
                   head[1], head[2], head[3]);
        return false;
    }
    char command[13] = {0};
    memcpy(command, head + 4, 12);
    size_t type = kind_of(command);
    uint32_t len = load_le32(head + 16),
             max = peer->have_version ? P2P_MESSAGE_BYTES_MAX : STRANGER_BYTES_MAX;
    if (len > max) {
        peer_close(p2p, peer, LOG_WARN, "oversized '%s': length %u, allowed %u",
                   is_command(head + 4) ? command : "?", len, max);
        return false;
    }
    if (have - MESSAGE_HEADER_BYTES < len) {
        return false;
    }
    uint8_t sum[32];
    struct span payload = span_of(head + MESSAGE_HEADER_BYTES, len);
    sha256d(sum, payload.data, payload.len);
    *at += MESSAGE_HEADER_BYTES + len;
    p2p_go_on(p2p, p2p->now); /* with a block that an earlier message of these bytes has completed */
    if (peer->closing) {
        return false;
    }
    if (!is_command(head + 4)) {
        peer_remark(p2p, peer, "a command that is not text");
    } else if (memcmp(sum, head + 20, 4) != 0) {
        peer_remark(p2p, peer, "wrong checksum of '%s' (%u bytes)", command, len);
    } else {
        dispatch(p2p, peer, type, payload);
    }
    peer->message_us = p2p->now.mono_us; /* of what stands behind it, which came with its last byte */
    return !peer->closing;
}

/* What was not whole yet, and what has come now. */
static void keep_rest(struct p2p *p2p, struct peer *peer, struct span in, size_t at, bool kept_before)
{
    size_t before = peer->in.capacity;
    if (!kept_before) {
        buf_bytes(&peer->in, in.data + at, in.len - at);
    } else if (at) {
        memmove(peer->in.data, peer->in.data + at, peer->in.len - at);
        peer->in.len -= at;
    }
    if (!peer->in.len) {
        buf_free(&peer->in); /* nothing is held for who is silent */
    }
    p2p->receive_total = p2p->receive_total + peer->in.capacity - before;
}

/* Whole messages are read where they lie. */
void message_receive(struct p2p *p2p, struct peer *peer, struct span bytes)
{
    bool kept_before = peer->in.len > 0;
    size_t at = 0;
    if (kept_before) {
        p2p->receive_total -= peer->in.capacity;
        buf_bytes(&peer->in, bytes.data, bytes.len);
        p2p->receive_total += peer->in.capacity;
        bytes = buf_span(&peer->in);
    }
    if (recognise(p2p, peer, bytes)) {
        while (take_message(p2p, peer, bytes, &at)) {
        }
    }
    keep_rest(p2p, peer, bytes, peer->closing ? bytes.len : at, kept_before);
}
