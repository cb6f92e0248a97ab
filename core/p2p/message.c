/* Framing: [magic][command 12][length][checksum][payload]. A buffer grows with what has arrived, never with
 * what a header claims; whatever does not keep to the form ends the connection, and the log says why. */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

#define STRANGER_BYTES_MAX 4096u /* of a message before the first version */

static size_t kind_of(const char *command);

void message_send(struct p2p *p2p, struct peer *peer, const char *command, struct buf *payload)
{
    struct buf none = {0}, out = {0};
    struct buf *body = payload ? payload : &none;
    if (peer->open && !peer->closing) {
        message_frame(p2p, command, buf_span(body), &out);
        message_put(p2p, peer, command, &out);
    }
    buf_free(body);
}

void message_frame(const struct p2p *p2p, const char *command, struct span payload, struct buf *out)
{
    uint8_t sum[32];
    CHECK(strlen(command) <= 12);
    buf_reserve(out, MESSAGE_HEADER_BYTES + payload.len);
    buf_bytes(out, chain_parameters(p2p->chain)->magic, 4);
    memcpy(buf_extend(out, 12), command, strlen(command));
    buf_u32(out, (uint32_t)payload.len);
    sha256d(sum, payload.data, payload.len);
    buf_bytes(out, sum, 4);
    buf_bytes(out, payload.data, payload.len);
}

void message_put(struct p2p *p2p, struct peer *peer, const char *command, struct buf *message)
{
    if (!peer->open || peer->closing) {
        buf_free(message);
        return;
    }
    size_t len = message->len;
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

static void handle_wtxidrelay(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    (void)c;
    peer->wants_wtxid |= !peer->have_verack; /* BIP339: later it means nothing */
}

static void handle_sendaddrv2(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    (void)c;
    peer->wants_addrv2 |= !peer->have_verack; /* BIP155 */
}

static void handle_sendheaders(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    (void)c;
    peer->wants_headers = true;
}

enum stage { AT_ONCE, AFTER_VERSION, AFTER_VERACK };

/* Every command that is understood: what its payload may take at most, from when on it counts. Before its
 * time it is ignored, as is whatever a newer node says. */
static const struct message_kind {
    const char *command;
    uint32_t length_max;
    enum stage stage;
    void (*handle)(struct p2p *p2p, struct peer *peer, struct cursor *c);
    uint32_t units_per_byte, units; /* what looking at it costs when nobody has asked for it (flood.c) */
} kinds[] = {
    {"addr", 9 + 30 * 1000, AFTER_VERACK, handle_addr, 2, 0},
    {"addrv2", P2P_MESSAGE_BYTES_MAX, AFTER_VERACK, handle_addrv2, 2, 0},
    {"block", P2P_MESSAGE_BYTES_MAX, AFTER_VERACK, handle_block, 2, 0},
    {"blocktxn", P2P_MESSAGE_BYTES_MAX, AFTER_VERACK, handle_blocktxn, 4, 0},
    {"cmpctblock", P2P_MESSAGE_BYTES_MAX, AFTER_VERACK, handle_cmpctblock, 12, 0},
    {"feefilter", 8, AFTER_VERACK, handle_feefilter, 1, 0},
    {"getaddr", 0, AFTER_VERACK, handle_getaddr, 1, 100000},
    {"getblocks", 4 + 9 + 32 * (LOCATOR_MAX + 1), AFTER_VERACK, handle_getblocks, 1, 100000},
    {"getblocktxn", 32 + 3 + 3 * 100000, AFTER_VERACK, handle_getblocktxn, 1, 200000},
    {"getdata", 9 + 36 * INV_MAX, AFTER_VERACK, handle_getdata, 4, 0},
    {"getheaders", 4 + 9 + 32 * (LOCATOR_MAX + 1), AFTER_VERACK, handle_getheaders, 1, 200000},
    {"headers", 9 + 81 * HEADERS_MAX, AFTER_VERACK, handle_headers, 8, 0},
    {"inv", 9 + 36 * INV_MAX, AFTER_VERACK, handle_inv, 4, 0},
    {"mempool", 0, AFTER_VERACK, handle_mempool, 1, 1000000},
    {"notfound", 9 + 36 * INV_MAX, AFTER_VERACK, handle_notfound, 2, 0},
    {"ping", 8, AFTER_VERSION, handle_ping, 1, 1000},
    {"pong", 8, AFTER_VERACK, handle_pong, 1, 0},
    {"sendaddrv2", 0, AFTER_VERSION, handle_sendaddrv2, 1, 0},
    {"sendcmpct", 9, AFTER_VERSION, handle_sendcmpct, 1, 0},
    {"sendheaders", 0, AFTER_VERSION, handle_sendheaders, 1, 0},
    {"tx", P2P_MESSAGE_BYTES_MAX, AFTER_VERACK, handle_tx, 8, 0},
    {"verack", 0, AFTER_VERSION, handle_verack, 1, 0},
    {"version", 512, AT_ONCE, handle_version, 1, 0},
    {"wtxidrelay", 0, AFTER_VERSION, handle_wtxidrelay, 1, 0},
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

/* One whole message from the front; false when it must wait or the peer is done for. */
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
    for (const char *p = command; *p; p++) {
        if (*p < ' ' || *p > '~') {
            peer_close(p2p, peer, LOG_WARN, "a command that is not text");
            return false;
        }
    }
    size_t type = kind_of(command);
    uint32_t len = load_le32(head + 16), max = P2P_MESSAGE_BYTES_MAX;
    if (!peer->have_version) {
        max = STRANGER_BYTES_MAX;
    } else if (type < ARRAY_COUNT(kinds)) {
        max = kinds[type].length_max;
    }
    if (len > max) {
        peer_close(p2p, peer, LOG_WARN, "oversized '%s': length %u, allowed %u", command, len, max);
        return false;
    }
    if (have - MESSAGE_HEADER_BYTES < len) {
        return false;
    }
    uint8_t sum[32];
    struct span payload = span_of(head + MESSAGE_HEADER_BYTES, len);
    sha256d(sum, payload.data, payload.len);
    if (memcmp(sum, head + 20, 4) != 0) {
        peer_close(p2p, peer, LOG_WARN, "wrong checksum of '%s' (%u bytes)", command, len);
        return false;
    }
    *at += MESSAGE_HEADER_BYTES + len;
    p2p_go_on(p2p, p2p->now); /* with a block that an earlier message of these bytes has completed */
    if (peer->closing) {
        return false;
    }
    dispatch(p2p, peer, type, payload);
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
