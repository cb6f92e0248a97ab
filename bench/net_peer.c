/* The other end of a connection to a node under test: a blocking peer that does as it is told. See net.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "bench/net.h"
#include "core/p2p/p2p.h"
#include "hashing/kernels/kernels.h"

#define FRAME_BYTES 24u
#define CHUNK       (256u << 10)
#define WAIT_MS     20000

void net_peer_frame(const struct net_peer *peer, const char *command, struct span payload, struct buf *out)
{
    uint8_t sum[32];
    buf_bytes(out, peer->params->magic, 4);
    memcpy(buf_extend(out, 12), command, strlen(command));
    buf_u32(out, (uint32_t)payload.len);
    sha256d(sum, payload.data, payload.len);
    buf_bytes(out, sum, 4);
    buf_bytes(out, payload.data, payload.len);
}

/* Reads what comes meanwhile, so that two full pipes do not wait for each other. */
bool net_peer_write(struct net_peer *peer, struct span bytes)
{
    while (bytes.len) {
        ssize_t put = send(peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put > 0) {
            bytes.data += put;
            bytes.len -= (size_t)put;
            continue;
        }
        struct pollfd both = {.fd = peer->fd, .events = POLLIN | POLLOUT};
        if ((put < 0 && errno != EAGAIN && errno != EINTR) || poll(&both, 1, WAIT_MS) <= 0) {
            return false;
        }
        if (both.revents & POLLIN) {
            net_peer_drain(peer);
        }
    }
    return true;
}

bool net_peer_send(struct net_peer *peer, const char *command, struct span payload)
{
    struct buf frame = {0};
    net_peer_frame(peer, command, payload, &frame);
    bool ok = net_peer_write(peer, buf_span(&frame));
    buf_free(&frame);
    return ok;
}

/* A whole message from the front of what has come. */
static bool take(struct net_peer *peer, struct net_message *out)
{
    size_t have = peer->in.len - peer->taken;
    const uint8_t *head = peer->in.data + peer->taken;
    if (have < FRAME_BYTES || have - FRAME_BYTES < load_le32(head + 16)) {
        return false;
    }
    memset(out->command, 0, sizeof out->command);
    memcpy(out->command, head + 4, 12);
    out->payload = span_of(head + FRAME_BYTES, load_le32(head + 16));
    peer->taken += FRAME_BYTES + out->payload.len;
    return true;
}

static bool receive(struct net_peer *peer, int wait_ms)
{
    struct pollfd in = {.fd = peer->fd, .events = POLLIN};
    if (poll(&in, 1, wait_ms) <= 0) {
        return false;
    }
    if (peer->taken) {
        memmove(peer->in.data, peer->in.data + peer->taken, peer->in.len - peer->taken);
        peer->in.len -= peer->taken;
        peer->taken = 0;
    }
    buf_reserve(&peer->in, CHUNK);
    ssize_t got = recv(peer->fd, peer->in.data + peer->in.len, CHUNK, MSG_DONTWAIT);
    peer->chunk_ns = wall_ns();
    if (got <= 0) {
        return false;
    }
    if (!peer->in.len) {
        peer->first_ns = peer->chunk_ns;
    }
    peer->in.len += (size_t)got;
    return true;
}

bool net_peer_next(struct net_peer *peer, struct net_message *out, int wait_ms)
{
    for (;;) {
        while (take(peer, out)) {
            if (strcmp(out->command, "ping") != 0) {
                return true;
            }
            net_peer_send(peer, "pong", out->payload);
        }
        if (!receive(peer, wait_ms)) {
            return false;
        }
    }
}

void net_peer_drain(struct net_peer *peer)
{
    struct net_message ignored;
    while (net_peer_next(peer, &ignored, 0)) {
    }
}

static void write_version(struct buf *out, int64_t now_s)
{
    buf_i32(out, 70015);
    buf_u64(out, P2P_SERVICES);
    buf_i64(out, now_s);
    buf_extend(out, 26 + 26);
    buf_u64(out, 1 + (uint64_t)wall_ns());
    buf_var_span(out, span_of("/quarry-bench/", 14));
    buf_i32(out, 0);
    buf_u8(out, 1);
}

static bool shake_hands(struct net_peer *peer, int64_t now_s)
{
    struct buf version = {0}, compact = {0}, headers = {0};
    struct net_message message;
    bool verack = false, ok;
    write_version(&version, now_s);
    ok = net_peer_send(peer, "version", buf_span(&version));
    while (ok && !verack) {
        ok = net_peer_next(peer, &message, WAIT_MS);
        verack = ok && strcmp(message.command, "verack") == 0;
    }
    buf_u8(&compact, 1);
    buf_u64(&compact, 2);
    buf_u32(&headers, 70015); /* its answer tells the node that we have its chain */
    buf_compact_size(&headers, 1);
    buf_bytes(&headers, peer->params->genesis_hash.b, 32);
    buf_extend(&headers, 32);
    ok = ok && net_peer_send(peer, "verack", span_of(NULL, 0)) &&
         net_peer_send(peer, "sendcmpct", buf_span(&compact)) &&
         net_peer_send(peer, "getheaders", buf_span(&headers));
    while (ok && strcmp(message.command, "headers") != 0) {
        ok = net_peer_next(peer, &message, WAIT_MS);
    }
    buf_free(&version);
    buf_free(&compact);
    buf_free(&headers);
    return ok;
}

bool net_peer_open(struct net_peer *peer, const struct net_node *node, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(node->port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *peer = (struct net_peer){.params = node->params};
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = peer->fd >= 0 && connect(peer->fd, (struct sockaddr *)&address, sizeof address) == 0 &&
              setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
              shake_hands(peer, (int64_t)time(NULL));
    return ok || error_set(error, ERROR_IO, NULL, "no handshake with the node at port %u", node->port);
}

void net_peer_close(struct net_peer *peer)
{
    if (peer->fd > 0) {
        close(peer->fd);
    }
    buf_free(&peer->in);
    *peer = (struct net_peer){0};
}

bool net_peer_give_txs(struct net_peer *peer, struct net_node *node, const struct net_chain *chain)
{
    struct buf frames = {0};
    for (uint32_t i = 0; i < chain->tx_count; i++) {
        size_t begin = i ? chain->ends[i - 1] : 0;
        net_peer_frame(peer, "tx", span_of(chain->txs.data + begin, chain->ends[i] - begin), &frames);
    }
    bool ok = net_peer_write(peer, buf_span(&frames));
    int64_t until = wall_ns() + INT64_C(20000000000);
    json_int_t have = 0;
    while (ok && have < (json_int_t)chain->tx_count && wall_ns() < until) {
        net_peer_drain(peer);
        json_t *info = net_node_ask(node, "getmempoolinfo", NULL);
        have = json_integer_value(json_object_get(info, "size"));
        json_decref(info);
        if (have < (json_int_t)chain->tx_count) {
            net_pause(1);
        }
    }
    buf_free(&frames);
    return ok && have == (json_int_t)chain->tx_count;
}
