/* Framing: [magic][command 12][length][checksum][payload]. A buffer grows with what has arrived, never with
 * what a header claims; whatever does not keep to the form ends the connection, and the log says why. */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

void message_send(struct p2p *p2p, struct peer *peer, const char *command, struct buf *payload)
{
    struct buf none = {0}, out = {0};
    struct buf *body = payload ? payload : &none;
    uint8_t sum[32];
    if (!peer->open || peer->closing) {
        buf_free(body);
        return;
    }
    CHECK(strlen(command) <= 12);
    buf_reserve(&out, MESSAGE_HEADER_BYTES + body->len);
    buf_bytes(&out, chain_parameters(p2p->chain)->magic, 4);
    memcpy(buf_extend(&out, 12), command, strlen(command));
    buf_u32(&out, (uint32_t)body->len);
    sha256d(sum, body->data, body->len);
    buf_bytes(&out, sum, 4);
    buf_bytes(&out, body->data, body->len);
    buf_free(body);
    peer->bytes_sent += out.len;
    peer->last_send_unix_s = moment_unix_s(p2p->now);
    if (!peer->queued_bytes) {
        peer->last_drain_us = p2p->now.mono_us;
    }
    peer->queued_bytes += out.len;
    p2p->send_total += out.len;
    p2p->events.send(p2p->events.context, peer->id, &out);
    if (peer->queued_bytes > P2P_SEND_QUEUE_HARD) {
        peer_close(p2p, peer, LOG_WARN, "it does not read: %zu bytes wait for it", peer->queued_bytes);
    }
}

/* Bounds per command, where a smaller one than the general bound is known. */
static uint32_t length_max(const char *command)
{
    static const struct {
        const char *command;
        uint32_t max;
    } bounds[] = {
        {"version", 512},
        {"verack", 0},
        {"ping", 8},
        {"pong", 8},
        {"inv", 9 + 36 * INV_MAX},
        {"getdata", 9 + 36 * INV_MAX},
        {"notfound", 9 + 36 * INV_MAX},
        {"headers", 9 + 81 * HEADERS_MAX},
        {"getheaders", 4 + 9 + 32 * (LOCATOR_MAX + 1)},
        {"getblocks", 4 + 9 + 32 * (LOCATOR_MAX + 1)},
        {"sendheaders", 0},
        {"sendcmpct", 9},
        {"sendaddrv2", 0},
        {"getaddr", 0},
        {"addr", 9 + 30 * 1000},
        {"getblocktxn", 32 + 3 + 3 * 100000},
        {"feefilter", 8},
        {"mempool", 0},
        {"wtxidrelay", 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        if (strcmp(command, bounds[i].command) == 0) {
            return bounds[i].max;
        }
    }
    return P2P_MESSAGE_BYTES_MAX;
}

static void handle_feefilter(struct peer *peer, struct cursor *c)
{
    int64_t fee = cursor_i64(c);
    if (!c->failed && fee >= 0 && fee <= MAX_MONEY) {
        peer->fee_filter_sat = fee;
    }
}

static void dispatch(struct p2p *p2p, struct peer *peer, const char *command, struct span payload)
{
    struct cursor c = cursor_of(payload.data, payload.len);
    if (strcmp(command, "version") == 0) {
        handle_version(p2p, peer, &c);
    } else if (!peer->have_version) {
        peer_close(p2p, peer, LOG_INFO, "'%s' before 'version'", command);
    } else if (strcmp(command, "verack") == 0) {
        handle_verack(p2p, peer);
    } else if (strcmp(command, "wtxidrelay") == 0) {
        peer->wants_wtxid = !peer->have_verack;
    } else if (strcmp(command, "sendaddrv2") == 0) {
        peer->wants_addrv2 = !peer->have_verack;
    } else if (strcmp(command, "sendcmpct") == 0) {
        handle_sendcmpct(peer, &c);
    } else if (strcmp(command, "sendheaders") == 0) {
        peer->wants_headers = true;
    } else if (strcmp(command, "ping") == 0) {
        handle_ping(p2p, peer, &c);
    } else if (!peer->have_verack) {
        return; /* nothing else counts before the handshake is over */
    } else if (strcmp(command, "pong") == 0) {
        handle_pong(p2p, peer, &c);
    } else if (strcmp(command, "feefilter") == 0) {
        handle_feefilter(peer, &c);
    } else if (strcmp(command, "headers") == 0) {
        handle_headers(p2p, peer, &c);
    } else if (strcmp(command, "block") == 0) {
        handle_block(p2p, peer, payload);
    } else if (strcmp(command, "getaddr") == 0) {
        handle_getaddr(p2p, peer);
    } else if (strcmp(command, "addr") == 0 || strcmp(command, "addrv2") == 0) {
        handle_addr(p2p, peer, &c, strcmp(command, "addrv2") == 0);
    } else if (strcmp(command, "cmpctblock") == 0) {
        handle_cmpctblock(p2p, peer, payload);
    } else if (strcmp(command, "getblocktxn") == 0) {
        handle_getblocktxn(p2p, peer, &c);
    } else if (strcmp(command, "blocktxn") == 0) {
        handle_blocktxn(p2p, peer, &c);
    } else if (strcmp(command, "tx") == 0) {
        handle_tx(p2p, peer, payload);
    } else if (strcmp(command, "inv") == 0) {
        handle_inv(p2p, peer, &c);
    } else if (strcmp(command, "getdata") == 0) {
        handle_getdata(p2p, peer, &c);
    } else if (strcmp(command, "notfound") == 0) {
        handle_notfound(p2p, peer, &c);
    } else if (strcmp(command, "getheaders") == 0) {
        handle_getheaders(p2p, peer, &c);
    } else if (strcmp(command, "getblocks") == 0) {
        handle_getblocks(p2p, peer, &c);
    } else if (strcmp(command, "mempool") == 0) {
        handle_mempool(p2p, peer);
    } /* anything else: a newer node's, ignored */
}

/* The first bytes tell who dials: Bitcoin version 1, a browser, or something else (BIP324, a scanner), which
 * is let go quietly so that a newer node can come back with version 1. */
static bool recognise(struct p2p *p2p, struct peer *peer)
{
    if (peer->recognised) {
        return true;
    }
    if (peer->in.len < 4) {
        return false;
    }
    if (memcmp(peer->in.data, chain_parameters(p2p->chain)->magic, 4) == 0) {
        peer->recognised = true;
        return true;
    }
    if (!peer->inbound || !http_answer(p2p, peer)) {
        peer_close(p2p, peer, LOG_DEBUG, "its first bytes are not this network's");
    }
    return false;
}

/* One whole message from the front; false when it must wait or the peer is done for. */
static bool take_message(struct p2p *p2p, struct peer *peer, size_t *at)
{
    const uint8_t *head = peer->in.data + *at;
    size_t have = peer->in.len - *at;
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
    uint32_t len = load_le32(head + 16), max = peer->have_version ? length_max(command) : 4096;
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
    dispatch(p2p, peer, command, payload);
    peer->message_us = p2p->now.mono_us; /* of what stands behind it, which came with its last byte */
    return !peer->closing;
}

void message_receive(struct p2p *p2p, struct peer *peer)
{
    size_t at = 0;
    if (!recognise(p2p, peer)) {
        return;
    }
    while (take_message(p2p, peer, &at)) {
    }
    if (at) {
        memmove(peer->in.data, peer->in.data + at, peer->in.len - at);
        peer->in.len -= at;
    }
    if (!peer->in.len && peer->in.capacity > 65536) {
        size_t capacity = peer->in.capacity;
        buf_free(&peer->in); /* a large message has passed: give its memory back */
        p2p->receive_total -= capacity;
    }
}
