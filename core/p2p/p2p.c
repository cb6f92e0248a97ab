/* The table of peers, the nodes to stay connected to, and time. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

#define BACKOFF_FIRST_US (US_PER_S / 5)
#define BACKOFF_MAX_US   (10 * US_PER_S)
#define SAY_WAITING_US   (10 * US_PER_S)
#define HANDSHAKE_US     (20 * US_PER_S)
#define PING_EVERY_US    (30 * US_PER_S)
#define PING_TIMEOUT_US  (60 * US_PER_S)
#define DRAIN_TIMEOUT_US (60 * US_PER_S)
#define TICK_US          (US_PER_S / 2)
#define KNOWN_MAX        20000u
#define NODES_MAX        128u
#define SILENT_US        (2 * US_PER_S) /* after which a peer without a handshake gives way to another */
#define LEAVING_MAX      8u             /* that may be on their way out while others are let in */

struct p2p *p2p_new(const struct p2p_config *config, struct chain *chain, struct mempool *pool,
                    const struct p2p_events *events)
{
    struct p2p *p2p = mem_alloc(sizeof *p2p);
    p2p->config = *config;
    p2p->chain = chain;
    p2p->pool = pool;
    p2p->events = *events;
    p2p->next_outbound = P2P_OUTBOUND;
    p2p->nonce = rng_next(config->rng);
    list_init(&p2p->peers);
    list_init(&p2p->nodes);
    map_init(&p2p->by_id, sizeof(peer_id), sizeof(struct peer *), config->rng);
    map_init(&p2p->block_requests, 32, sizeof(struct block_request), config->rng);
    map_init(&p2p->tx_requests, 32, sizeof(struct tx_request), config->rng);
    map_init(&p2p->rejected, 32, 0, config->rng);
    map_init(&p2p->compacted, 32, 0, config->rng);
    map_init(&p2p->orphans, 32, sizeof(struct orphan), config->rng);
    return p2p;
}

static void peer_free(struct p2p *p2p, struct peer *peer)
{
    p2p->send_total -= peer->queued_bytes;
    p2p->receive_total -= peer->in.capacity + peer->wanted.capacity;
    p2p->inbound_count -= peer->inbound;
    compact_forget_peer(p2p, peer);
    presync_forget(peer);
    list_remove(&peer->link);
    map_remove(&p2p->by_id, &peer->id);
    map_free(&peer->known);
    buf_free(&peer->in);
    buf_free(&peer->wanted);
    mem_free(peer);
}

void p2p_free(struct p2p *p2p)
{
    if (!p2p) {
        return;
    }
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        peer_free(p2p, CONTAINER_OF(at, struct peer, link));
    }
    LIST_EACH_SAFE(at, following, &p2p->nodes)
    {
        mem_free(CONTAINER_OF(at, struct node_slot, link));
    }
    map_free(&p2p->by_id);
    map_free(&p2p->block_requests);
    map_free(&p2p->tx_requests);
    map_free(&p2p->rejected);
    compact_free(p2p);
    orphans_free(p2p);
    mem_free(p2p);
}

struct peer *peer_find(const struct p2p *p2p, peer_id id)
{
    struct peer **found = map_get(&p2p->by_id, &id);
    return found ? *found : NULL;
}

static struct peer *peer_new(struct p2p *p2p, peer_id id, bool inbound, const char *address)
{
    struct peer *peer = mem_alloc(sizeof *peer);
    peer->id = id;
    peer->inbound = inbound;
    peer->opened_us = p2p->now.mono_us;
    peer->ping_sent_us = peer->ping_us = peer->min_ping_us = -1;
    snprintf(peer->address, sizeof peer->address, "%s", address);
    map_init(&peer->known, 32, 0, p2p->config.rng);
    list_append(&p2p->peers, &peer->link);
    *(struct peer **)map_put(&p2p->by_id, &id, NULL) = peer;
    p2p->inbound_count += inbound;
    return peer;
}

void peer_close(struct p2p *p2p, struct peer *peer, enum log_level level, const char *format, ...)
{
    if (peer->closing) {
        return;
    }
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    log_write(level, LOG_NET, "disconnecting %s: %s", peer->address, why);
    peer->closing = true;
    sync_forget_peer(p2p, peer);
    p2p->events.close(p2p->events.context, peer->id);
}

void peer_knows(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    (void)p2p;
    if (peer->known.count >= KNOWN_MAX) {
        map_clear(&peer->known); /* forgetting costs an announcement too many, nothing else */
    }
    map_put(&peer->known, hash, NULL);
}

bool peer_is_known(const struct peer *peer, const struct hash256 *hash)
{
    return map_get(&peer->known, hash) != NULL;
}

/* ---- Nodes to stay connected to ---------------------------------------------------------------------------
 */

static bool slot_parse(struct node_slot *slot, const char *text, uint16_t default_port, struct error *error)
{
    size_t len = strlen(text);
    const char *colon = strrchr(text, ':'), *bracket = strchr(text, ']');
    bool ipv6 = text[0] == '[';
    if (len == 0 || len >= sizeof slot->host || (ipv6 && !bracket) ||
        (!ipv6 && colon && strchr(text, ':') != colon)) {
        return error_set(error, ERROR_USAGE, NULL,
                         "'%s' is not HOST:PORT (an IPv6 address stands in brackets)", text);
    }
    const char *port = ipv6 ? (bracket[1] == ':' ? bracket + 1 : NULL) : colon;
    size_t host_len = port ? (size_t)(port - text) : len;
    char *end = NULL;
    unsigned long number = port ? strtoul(port + 1, &end, 10) : default_port;
    if (host_len == 0 ||
        (port && (*end || number == 0 || number > 65535 || port[1] < '0' || port[1] > '9')) ||
        (ipv6 && host_len < 3)) {
        return error_set(error, ERROR_USAGE, NULL, "'%s' is not HOST:PORT with a port from 1 to 65535", text);
    }
    memcpy(slot->host, ipv6 ? text + 1 : text, ipv6 ? host_len - 2 : host_len);
    slot->port = (uint16_t)number;
    snprintf(slot->text, sizeof slot->text, port ? "%s" : "%s:%u", text, slot->port);
    return true;
}

static struct node_slot *slot_find(const struct p2p *p2p, const char *text)
{
    LIST_EACH(at, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        if (!slot->once && strcmp(slot->text, text) == 0) {
            return slot;
        }
    }
    return NULL;
}

static void say_waiting(struct p2p *p2p, struct node_slot *slot, const char *why)
{
    char line[320];
    if (slot->attempts > 3 && p2p->now.mono_us - slot->last_said_us < SAY_WAITING_US) {
        return;
    }
    slot->last_said_us = p2p->now.mono_us;
    snprintf(line, sizeof line, "waiting for %s (attempt %u%s%.160s)", slot->text, slot->attempts,
             *why ? ": " : "", why);
    p2p->events.print(p2p->events.context, line);
    log_info(LOG_NET, "%s", line);
}

static void slot_dial(struct p2p *p2p, struct node_slot *slot)
{
    slot->peer = p2p->next_outbound++;
    slot->attempts++;
    if (slot->attempts == 1) {
        say_waiting(p2p, slot, "");
    }
    struct peer *peer = peer_new(p2p, slot->peer, false, slot->text);
    peer->node = slot;
    p2p->events.dial(p2p->events.context, peer->id, slot->host, slot->port);
}

/* The connection of a slot is gone or never came: try again later, each time a little later. */
static void slot_retry(struct p2p *p2p, struct node_slot *slot, const char *why)
{
    if (slot->backoff_us == 0) { /* it was connected, or this was the first attempt */
        slot->down_since_us = p2p->now.mono_us;
    }
    slot->peer = 0;
    if (slot->once) {
        list_remove(&slot->link);
        mem_free(slot);
        return;
    }
    slot->backoff_us = slot->backoff_us ? MIN(slot->backoff_us * 3 / 2, BACKOFF_MAX_US) : BACKOFF_FIRST_US;
    slot->next_try_us = p2p->now.mono_us + slot->backoff_us +
                        (int64_t)rng_below(p2p->config.rng, (uint64_t)slot->backoff_us / 4 + 1);
    say_waiting(p2p, slot, why);
}

static bool add_slot(struct p2p *p2p, const char *text, bool once, struct moment now, struct error *error)
{
    size_t count = 0;
    p2p->now = now;
    LIST_EACH(at, &p2p->nodes)
    {
        count++;
    }
    struct node_slot *slot = mem_alloc(sizeof *slot);
    list_init(&slot->link);
    slot->down_since_us = now.mono_us;
    slot->once = once;
    if (count >= NODES_MAX || !slot_parse(slot, text, chain_parameters(p2p->chain)->p2p_port, error)) {
        mem_free(slot);
        return count < NODES_MAX ? false
                                 : error_set(error, ERROR_LIMIT, NULL,
                                             "more than %u nodes to stay connected to", NODES_MAX);
    }
    if (!once && slot_find(p2p, slot->text)) {
        mem_free(slot);
        return error_set(error, ERROR_DUPLICATE, NULL, "%s was added before", text);
    }
    slot->next_try_us = now.mono_us;
    list_append(&p2p->nodes, &slot->link);
    return true;
}

bool p2p_add_node(struct p2p *p2p, const char *host_port, struct moment now, struct error *error)
{
    return add_slot(p2p, host_port, false, now, error);
}

bool p2p_try_once(struct p2p *p2p, const char *host_port, struct moment now, struct error *error)
{
    return add_slot(p2p, host_port, true, now, error);
}

bool p2p_substitute(struct p2p *p2p, const char *host_port, struct error *error)
{
    if (!add_slot(p2p, host_port, true, p2p->now, error)) {
        return false;
    }
    CONTAINER_OF(p2p->nodes.prev, struct node_slot, link)->substitute = true;
    return true;
}

void p2p_listening(struct p2p *p2p, uint16_t port)
{
    p2p->listen_port = p2p->listen_port ? p2p->listen_port : port;
}

bool p2p_remove_node(struct p2p *p2p, const char *host_port)
{
    struct node_slot *slot = slot_find(p2p, host_port), parsed = {0};
    if (!slot && slot_parse(&parsed, host_port, chain_parameters(p2p->chain)->p2p_port, NULL)) {
        slot = slot_find(p2p, parsed.text);
    }
    if (!slot) {
        return false;
    }
    struct peer *peer = peer_find(p2p, slot->peer);
    if (peer) {
        peer->node = NULL; /* the connection stays, as in Bitcoin Core */
    }
    list_remove(&slot->link);
    mem_free(slot);
    return true;
}

size_t p2p_nodes(const struct p2p *p2p, struct p2p_node_info *out, size_t max)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->nodes)
    {
        const struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        const struct peer *peer = peer_find(p2p, slot->peer);
        if (!slot->once && count < max) {
            snprintf(out[count].node, sizeof out->node, "%s", slot->text);
            snprintf(out[count].address, sizeof out->address, "%s", peer && peer->open ? peer->address : "");
            count++;
        }
    }
    return count;
}

void p2p_ping_all(struct p2p *p2p, struct moment now)
{
    p2p->now = now;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer_ready(peer) && peer->ping_sent_us < 0) { /* one at a time */
            ping_send(p2p, peer);
        }
    }
}

/* ---- From the host
 * ------------------------------------------------------------------------------------------- */

/* All places are taken: the oldest that has still not shaken hands leaves. Peers that have are never put out
 * for a newcomer, of whom nothing is known; who comes in great numbers gains nothing by it. */
static bool make_room(struct p2p *p2p)
{
    if (p2p->inbound_count > p2p->config.inbound_max + LEAVING_MAX) {
        return false;
    }
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->inbound && !peer->closing && !peer_ready(peer) &&
            p2p->now.mono_us - peer->opened_us > SILENT_US) {
            peer_close(p2p, peer, LOG_INFO, "no handshake yet, and its place is wanted");
            return true;
        }
    }
    return false;
}

void p2p_accepted(struct p2p *p2p, peer_id id, const char *address, struct moment now)
{
    p2p->now = now;
    struct peer *peer = peer_new(p2p, id, true, address);
    peer->open = true;
    peer->connected_unix_s = moment_unix_s(now);
    if (ban_covers(p2p, address)) {
        peer_close(p2p, peer, LOG_DEBUG, "it is banned");
    } else if (p2p->inbound_count > p2p->config.inbound_max && !make_room(p2p)) {
        peer_close(p2p, peer, LOG_INFO, "all %u places for inbound peers are taken", p2p->config.inbound_max);
    }
}

void p2p_opened(struct p2p *p2p, peer_id id, const char *address, struct moment now)
{
    struct peer *peer = peer_find(p2p, id);
    p2p->now = now;
    if (peer && !peer->open) {
        peer->open = true;
        peer->opened_us = now.mono_us;
        peer->connected_unix_s = moment_unix_s(now);
        snprintf(peer->address, sizeof peer->address, "%s", address);
        handshake_begin(p2p, peer);
    }
}

void p2p_closed(struct p2p *p2p, peer_id id, const char *why, struct moment now)
{
    struct peer *peer = peer_find(p2p, id);
    p2p->now = now;
    if (!peer) {
        return;
    }
    struct node_slot *slot = peer->node;
    if (peer_ready(peer)) {
        log_info(LOG_NET, "%s has closed the connection: %s", peer->address, why);
    }
    peer->closing = true;
    sync_forget_peer(p2p, peer);
    relay_forget_peer(p2p, peer);
    orphans_forget_peer(p2p, id);
    peer_free(p2p, peer);
    if (slot) {
        slot_retry(p2p, slot, why);
    }
    sync_request_blocks(p2p);
}

void p2p_dial_failed(struct p2p *p2p, peer_id id, const char *why, struct moment now)
{
    p2p_closed(p2p, id, why, now);
}

static size_t held(const struct peer *peer)
{
    return peer->queued_bytes + peer->in.capacity + peer->wanted.capacity;
}

/* Somebody has to give when all together hold too much: who holds most. */
static void relieve(struct p2p *p2p)
{
    if (p2p->send_total <= P2P_SEND_TOTAL_MAX && p2p->receive_total <= P2P_RECEIVE_TOTAL_MAX) {
        return;
    }
    struct peer *worst = NULL;
    LIST_EACH(at, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (!peer->closing && (!worst || held(peer) > held(worst))) {
            worst = peer;
        }
    }
    if (worst) {
        peer_close(p2p, worst, LOG_WARN,
                   "all peers together hold too much memory, and it holds most (%zu bytes)", held(worst));
    }
}

void p2p_bytes(struct p2p *p2p, peer_id id, const uint8_t *data, size_t len, struct moment now)
{
    struct peer *peer = peer_find(p2p, id);
    p2p->now = now;
    if (!peer || peer->closing) {
        return;
    }
    size_t before = peer->in.capacity;
    if (!peer->in.len) {
        peer->message_us = now.mono_us;
    }
    buf_bytes(&peer->in, data, len);
    p2p->receive_total += peer->in.capacity - before;
    peer->bytes_received += len;
    peer->last_receive_unix_s = moment_unix_s(now);
    message_receive(p2p, peer);
    relieve(p2p);
}

void p2p_drained(struct p2p *p2p, peer_id id, size_t queued_bytes, struct moment now)
{
    struct peer *peer = peer_find(p2p, id);
    p2p->now = now;
    if (!peer) {
        return;
    }
    p2p->send_total = p2p->send_total - peer->queued_bytes + queued_bytes;
    peer->queued_bytes = queued_bytes;
    peer->last_drain_us = now.mono_us;
    if (peer_ready(peer)) {
        serve_wanted(p2p, peer);
    }
}

static void tick_peer(struct p2p *p2p, struct peer *peer)
{
    int64_t now = p2p->now.mono_us;
    if (peer->closing || !peer->open) {
        return;
    }
    if (!peer_ready(peer)) {
        if (now - peer->opened_us > HANDSHAKE_US) {
            peer_close(p2p, peer, peer->recognised || !peer->inbound ? LOG_INFO : LOG_DEBUG,
                       "no handshake in %d s", (int)(HANDSHAKE_US / US_PER_S));
        }
        return;
    }
    if (peer->ping_sent_us >= 0 && now - peer->ping_sent_us > PING_TIMEOUT_US) {
        peer_close(p2p, peer, LOG_WARN, "no answer to a ping for %d s", (int)(PING_TIMEOUT_US / US_PER_S));
    } else if (peer->queued_bytes > P2P_SEND_QUEUE_SOFT && now - peer->last_drain_us > DRAIN_TIMEOUT_US) {
        peer_close(p2p, peer, LOG_WARN, "it has read nothing for %d s, %zu bytes wait for it",
                   (int)(DRAIN_TIMEOUT_US / US_PER_S), peer->queued_bytes);
    } else if (peer->ping_sent_us < 0 && now - peer->opened_us > PING_EVERY_US &&
               moment_unix_s(p2p->now) - peer->last_send_unix_s >= PING_EVERY_US / US_PER_S) {
        ping_send(p2p, peer);
    }
}

int64_t p2p_tick(struct p2p *p2p, struct moment now)
{
    p2p->now = now;
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        tick_peer(p2p, CONTAINER_OF(at, struct peer, link));
    }
    sync_tick(p2p);
    relay_tick(p2p);
    orphans_tick(p2p);
    addresses_tick(p2p);
    int64_t next = now.mono_us + TICK_US;
    LIST_EACH(at, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        if (!slot->peer && slot->next_try_us <= now.mono_us) {
            slot_dial(p2p, slot);
        } else if (!slot->peer) {
            next = MIN(next, slot->next_try_us);
        }
    }
    return next;
}

/* ---- What RPC asks
 * ---------------------------------------------------------------------------------------------- */

size_t p2p_peers(const struct p2p *p2p, struct p2p_peer_info *out, size_t max)
{
    size_t count = 0;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (!peer->open || peer->closing || count == max) {
            continue;
        }
        struct p2p_peer_info *info = &out[count++];
        *info = (struct p2p_peer_info){
            .id = peer->id,
            .inbound = peer->inbound,
            .handshake_done = peer_ready(peer),
            .wants_headers = peer->wants_headers,
            .wants_wtxid = peer->wants_wtxid,
            .wants_txs = peer->wants_txs,
            .compact_to = peer->fast,
            .compact_from = peer->wants_compact,
            .services = peer->services,
            .version = peer->version,
            .start_height = peer->start_height,
            .synced_headers = peer->best_known ? (int32_t)peer->best_known->height : -1,
            .synced_blocks =
                peer->best_known ? (int32_t)block_fork(peer->best_known, chain_tip(p2p->chain))->height : -1,
            .connected_unix_s = peer->connected_unix_s,
            .last_send_unix_s = peer->last_send_unix_s,
            .last_receive_unix_s = peer->last_receive_unix_s,
            .ping_us = peer->ping_us,
            .min_ping_us = peer->min_ping_us,
            .bytes_sent = peer->bytes_sent,
            .bytes_received = peer->bytes_received,
            .blocks_in_flight = peer->in_flight,
            .fee_filter_sat = peer->fee_filter_sat,
            .latency = peer->latency,
        };
        memcpy(info->address, peer->address, sizeof info->address);
        memcpy(info->user_agent, peer->user_agent, sizeof info->user_agent);
        if (peer->node) {
            snprintf(info->node, sizeof info->node, "%.79s", peer->node->text);
        }
    }
    return count;
}

bool p2p_disconnect(struct p2p *p2p, const char *address_or_empty, peer_id id)
{
    bool any = false;
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        bool match = *address_or_empty ? strcmp(peer->address, address_or_empty) == 0 ||
                                             (peer->node && strcmp(peer->node->text, address_or_empty) == 0)
                                       : peer->id == id;
        if (match && peer->open && !peer->closing) {
            peer_close(p2p, peer, LOG_INFO, "asked to by disconnectnode");
            any = true;
        }
    }
    return any;
}

size_t p2p_peer_count(const struct p2p *p2p, size_t *outbound)
{
    size_t count = 0, out = 0;
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        count += peer_ready(peer);
        out += peer_ready(peer) && !peer->inbound;
    }
    if (outbound) {
        *outbound = out;
    }
    return count;
}

size_t p2p_memory_bytes(const struct p2p *p2p)
{
    size_t bytes = sizeof *p2p + p2p->receive_total + p2p->send_total + p2p->orphan_bytes + p2p->extra_bytes +
                   p2p->partial_bytes + map_bytes(&p2p->by_id) + map_bytes(&p2p->block_requests) +
                   map_bytes(&p2p->tx_requests) + map_bytes(&p2p->rejected) + map_bytes(&p2p->compacted) +
                   map_bytes(&p2p->orphans);
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        bytes += sizeof *peer + map_bytes(&peer->known) + presync_bytes(peer);
    }
    return bytes;
}

size_t p2p_memory_bytes_max(const struct p2p *p2p)
{
    size_t per_peer = sizeof(struct peer) + KNOWN_MAX * 3 * 48 + presync_bytes_max(); /* tables grow by two */
    size_t transactions = ORPHANS_BYTES_MAX + EXTRA_TXS * EXTRA_TX_BYTES_MAX + PARTIAL_TOTAL_MAX;
    return P2P_RECEIVE_TOTAL_MAX + P2P_SEND_TOTAL_MAX +
           (p2p->config.inbound_max + LEAVING_MAX + NODES_MAX) * per_peer + transactions + sizeof *p2p +
           (16u << 20); /* the last: the tables of requests */
}
