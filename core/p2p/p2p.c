/* The table of peers: who comes, who goes, and time. */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#define HANDSHAKE_US     (20 * US_PER_S)
#define PING_EVERY_US    (30 * US_PER_S)
#define PING_TIMEOUT_US  (180 * US_PER_S) /* of silence: an honest node may be busy for a minute or two */
#define DRAIN_TIMEOUT_US (60 * US_PER_S)
#define TICK_US          (US_PER_S / 2)
#define PING_LIMIT_US    (20 * 60 * US_PER_S) /* also while it keeps sending */
#define FEE_FILTER_US    (30 * US_PER_S)
#define KNOWN_MAX        20000u /* hashes for a peer: fewer where there are many places */
#define KNOWN_LEAST      500u
#define KNOWN_TOTAL      2500000u
#define LEAVING_MAX      8u /* that may be on their way out while others are let in */
#define CLOSINGS_TOLD    50 /* in the log, at once; after that one a second */

struct p2p *p2p_new(const struct p2p_config *config, struct chain *chain, struct mempool *pool,
                    const struct p2p_events *events)
{
    struct p2p *p2p = mem_alloc(sizeof *p2p);
    p2p->config = *config;
    p2p->chain = chain;
    p2p->pool = pool;
    p2p->events = *events;
    p2p->next_outbound = P2P_OUTBOUND;
    p2p->next_tell_us = INT64_MAX;
    p2p->group_key[0] = rng_next(config->rng);
    p2p->group_key[1] = rng_next(config->rng);
    p2p->active = true;
    p2p->closings_to_tell = CLOSINGS_TOLD;
    size_t places = config->inbound_max + LEAVING_MAX + NODES_MAX;
    p2p->known_max = MIN(MAX(KNOWN_TOTAL / places, (size_t)KNOWN_LEAST), (size_t)KNOWN_MAX);
    book_init(&p2p->book, config->rng);
    list_init(&p2p->peers);
    list_init(&p2p->nodes);
    list_init(&p2p->served_lru);
    map_init(&p2p->served, 32, sizeof(struct served *), config->rng);
    map_init(&p2p->by_id, sizeof(peer_id), sizeof(struct peer *), config->rng);
    map_init(&p2p->dialled, sizeof(uint64_t), sizeof(peer_id), config->rng);
    map_init(&p2p->block_requests, 32, sizeof(struct block_request), config->rng);
    map_init(&p2p->tx_requests, 32, sizeof(struct tx_request), config->rng);
    map_init(&p2p->rejected, 32, sizeof(enum refusal), config->rng);
    map_init(&p2p->confirmed, KNOWN_BYTES, 0, config->rng);
    map_init(&p2p->confirmed_before, KNOWN_BYTES, 0, config->rng);
    map_init(&p2p->compacted, 32, 0, config->rng);
    map_init(&p2p->orphans, 32, sizeof(struct orphan), config->rng);
    return p2p;
}

static void peer_free(struct p2p *p2p, struct peer *peer)
{
    p2p->send_total -= peer->queued_bytes;
    p2p->receive_total -= peer->in.capacity + peer->wanted.capacity + peer->untold.capacity;
    p2p->inbound_count -= peer->inbound;
    compact_forget_peer(p2p, peer);
    presync_forget(peer);
    flood_close_account(p2p, peer);
    handshake_forget(p2p, peer);
    list_remove(&peer->link);
    map_remove(&p2p->by_id, &peer->id);
    map_free(&peer->known);
    buf_free(&peer->in);
    buf_free(&peer->wanted);
    buf_free(&peer->untold);
    buf_free(&peer->addrs_to_tell);
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
    nodes_free(p2p);
    map_free(&p2p->by_id);
    map_free(&p2p->dialled);
    map_free(&p2p->block_requests);
    txrequest_free(p2p);
    map_free(&p2p->rejected);
    map_free(&p2p->confirmed);
    map_free(&p2p->confirmed_before);
    compact_free(p2p);
    served_free(p2p);
    orphans_free(p2p);
    mem_free(p2p);
}

struct peer *peer_find(const struct p2p *p2p, peer_id id)
{
    struct peer **found = map_get(&p2p->by_id, &id);
    return found ? *found : NULL;
}

static void peer_is_at(struct p2p *p2p, struct peer *peer, const char *address)
{
    snprintf(peer->address, sizeof peer->address, "%s", address);
    peer->has_endpoint = endpoint_parse(&peer->endpoint, address);
    peer->netgroup = netgroup_of(p2p, peer->endpoint.ip);
    permissions_give(p2p, peer);
}

struct peer *peer_new(struct p2p *p2p, peer_id id, bool inbound, const char *address)
{
    struct peer *peer = mem_alloc(sizeof *peer);
    peer->id = id;
    peer->inbound = inbound;
    peer->opened_us = p2p->now.mono_us;
    peer->ping_sent_us = peer->ping_us = peer->min_ping_us = -1;
    peer->start_height = -1;
    peer_is_at(p2p, peer, address);
    addresses_meet(p2p, peer);
    flood_open_account(p2p, peer);
    map_init(&peer->known, KNOWN_BYTES, 0, p2p->config.rng);
    list_append(&p2p->peers, &peer->link);
    *(struct peer **)map_put(&p2p->by_id, &id, NULL) = peer;
    p2p->inbound_count += inbound;
    return peer;
}

/* Whoever comes again and again must not fill the disk with what is said about it. */
static bool may_tell(struct p2p *p2p, enum log_level level)
{
    if (level > LOG_INFO) {
        return log_enabled(level, LOG_NET);
    }
    bool may = p2p->closings_to_tell > 0;
    p2p->closings_to_tell -= may;
    p2p->closings_untold += !may;
    return may;
}

static void tell_again(struct p2p *p2p)
{
    if (p2p->now.mono_us - p2p->told_us < US_PER_S) {
        return;
    }
    p2p->told_us = p2p->now.mono_us;
    p2p->closings_to_tell = MIN(p2p->closings_to_tell + 1, CLOSINGS_TOLD);
    if (p2p->closings_untold) {
        log_info(LOG_NET, "disconnecting %u more, which are not shown one by one", p2p->closings_untold);
        p2p->closings_untold = 0;
    }
}

static void close_with(struct p2p *p2p, struct peer *peer, enum log_level level, const char *why)
{
    if (may_tell(p2p, level)) {
        log_write(level, LOG_NET, "disconnecting %s: %s", peer->address, why);
    }
    peer->closing = true;
    sync_forget_peer(p2p, peer);
    p2p->events.close(p2p->events.context, peer->id);
}

void peer_close(struct p2p *p2p, struct peer *peer, enum log_level level, const char *format, ...)
{
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    if (!peer->closing) {
        close_with(p2p, peer, level, why);
    }
}

void peer_misbehaves(struct p2p *p2p, struct peer *peer, const char *format, ...)
{
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    if (peer_was_found(peer)) {
        outbound_shun(p2p, peer);
    }
    if (!(peer->permissions & P2P_PERMIT_NOBAN)) {
        if (!peer->closing) {
            close_with(p2p, peer, LOG_WARN, why);
        }
    } else if (may_tell(p2p, LOG_WARN)) {
        log_warn(LOG_NET, "%s misbehaves and is permitted to: %s", peer->address, why);
    }
}

void peer_remark(struct p2p *p2p, const struct peer *peer, const char *format, ...)
{
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (may_tell(p2p, LOG_WARN)) {
        log_warn(LOG_NET, "passed over, of %s: %s", peer->address, what);
    }
}

/* Eight bytes of a hash tell it from the others. Who makes two that share them keeps one from itself. */
void peer_knows(struct p2p *p2p, struct peer *peer, const struct hash256 *hash)
{
    if (peer->known.count >= p2p->known_max) {
        map_clear(&peer->known); /* forgetting costs an announcement too many, nothing else */
    }
    map_put(&peer->known, hash->b, NULL);
}

bool peer_is_known(const struct peer *peer, const struct hash256 *hash)
{
    return map_get(&peer->known, hash->b) != NULL;
}

void p2p_listening(struct p2p *p2p, uint16_t port)
{
    p2p->listen_port = p2p->listen_port ? p2p->listen_port : port;
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

/* ---- From the host ----------------------------------------------------------------------------------- */

static bool make_room(struct p2p *p2p, const struct peer *newcomer)
{
    if (p2p->inbound_count > p2p->config.inbound_max + LEAVING_MAX) {
        return false;
    }
    struct peer *leaving = eviction_choose(p2p, newcomer);
    if (leaving) {
        peer_close(p2p, leaving, LOG_DEBUG, "its place is wanted for another");
    }
    return leaving != NULL;
}

void p2p_accepted(struct p2p *p2p, peer_id id, const char *address, struct moment now)
{
    p2p->now = now;
    struct peer *peer = peer_new(p2p, id, true, address);
    peer->open = true;
    peer->connected_unix_s = moment_unix_s(now);
    bool banned = ban_covers(p2p, peer->endpoint.ip) && !(peer->permissions & P2P_PERMIT_NOBAN);
    if (banned || !p2p->active) {
        peer_close(p2p, peer, LOG_DEBUG, banned ? "it is banned" : "the network is switched off");
    } else if (!permissions_allow(p2p, peer)) {
        peer_close(p2p, peer, LOG_INFO, "p2p-allow does not name its network");
    } else if (p2p->inbound_count > p2p->config.inbound_max && !make_room(p2p, peer)) {
        peer_close(p2p, peer, LOG_DEBUG, "all %u places for inbound peers are taken",
                   p2p->config.inbound_max);
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
        peer_is_at(p2p, peer, address);
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
        log_write(peer->inbound ? LOG_DEBUG : LOG_INFO, LOG_NET, "%s has closed the connection: %s",
                  peer->address, why);
    }
    if (peer_was_found(peer) && !(peer->have_verack || (peer_is(peer, SLOT_FEELER) && peer->have_version))) {
        outbound_failed(p2p, slot->text);
    }
    bool was_asked = peer->in_flight > 0;
    peer->closing = true;
    sync_forget_peer(p2p, peer);
    orphans_forget_peer(p2p, id);
    peer_free(p2p, peer);
    if (slot) {
        node_lost(p2p, slot, why);
    }
    if (was_asked) {
        sync_request_blocks(p2p);
    }
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
    if (!peer->in.len) {
        peer->message_us = now.mono_us;
    }
    peer->bytes_received += len;
    peer->last_receive_us = now.mono_us;
    peer->last_receive_unix_s = moment_unix_s(now);
    flood_charge(p2p, peer, (double)len);
    message_receive(p2p, peer, span_of(data, len));
    flood_settle(p2p, peer);
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
    int64_t waiting = peer->ping_sent_us >= 0 ? now - peer->ping_sent_us : 0;
    if (waiting > PING_LIMIT_US ||
        (waiting > PING_TIMEOUT_US && now - peer->last_receive_us > PING_TIMEOUT_US)) {
        peer_close(p2p, peer, LOG_WARN, "no answer to a ping for %d s", (int)(waiting / US_PER_S));
    } else if (peer->queued_bytes > P2P_SEND_QUEUE_SOFT && now - peer->last_drain_us > DRAIN_TIMEOUT_US) {
        peer_close(p2p, peer, LOG_WARN, "it has read nothing for %d s, %zu bytes wait for it",
                   (int)(DRAIN_TIMEOUT_US / US_PER_S), peer->queued_bytes);
    } else {
        if (peer->ping_sent_us < 0 && now - peer->pinged_us > PING_EVERY_US) {
            ping_send(p2p, peer);
        }
        if (now - peer->fee_told_us > FEE_FILTER_US || fee_filter_is_over(p2p, peer)) {
            fee_filter_send(p2p, peer);
        }
    }
}

int64_t p2p_tick(struct p2p *p2p, struct moment now)
{
    p2p->now = now;
    if (now.mono_us - p2p->ticked_us >= TICK_US) { /* asked more often while many come and go */
        p2p->ticked_us = now.mono_us;
        p2p->tip_since_us = p2p->tip_since_us ? p2p->tip_since_us : now.mono_us;
        LIST_EACH_SAFE(at, following, &p2p->peers)
        {
            tick_peer(p2p, CONTAINER_OF(at, struct peer, link));
        }
        sync_tick(p2p);
        txrequest_tick(p2p);
        orphans_tick(p2p);
        outbound_tick(p2p);
        tell_again(p2p);
    }
    return MIN(nodes_tick(p2p, p2p->ticked_us + TICK_US), relay_tick(p2p));
}

void p2p_set_active(struct p2p *p2p, bool active, struct moment now)
{
    p2p->now = now;
    p2p->active = active;
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (!active && !peer->closing) {
            peer_close(p2p, peer, LOG_INFO, "the network is switched off");
        }
    }
}

bool p2p_is_active(const struct p2p *p2p)
{
    return p2p->active;
}

/* ---- What RPC asks ----------------------------------------------------------------------------------- */

static int64_t unix_of(const struct p2p *p2p, int64_t mono_us)
{
    return mono_us ? moment_unix_s(p2p->now) - (p2p->now.mono_us - mono_us) / US_PER_S : 0;
}

static void list_in_flight(const struct p2p *p2p, const struct peer *peer, struct p2p_peer_info *info)
{
    const void *key;
    void *value;
    info->blocks_in_flight = 0;
    for (size_t at = 0; peer->in_flight && map_next(&p2p->block_requests, &at, &key, &value);) {
        const struct block_entry *entry = chain_find(p2p->chain, key);
        if (((struct block_request *)value)->peer == peer->id && entry &&
            info->blocks_in_flight < P2P_IN_FLIGHT_MAX) {
            info->in_flight[info->blocks_in_flight++] = entry->height;
        }
    }
}

static const char *connection_type(const struct peer *peer)
{
    static const char *const names[] = {[SLOT_DRAWN] = "manual",
                                        [SLOT_FOUND] = "outbound-full-relay",
                                        [SLOT_BLOCKS_ONLY] = "block-relay-only",
                                        [SLOT_FEELER] = "feeler"};
    return peer->inbound ? "inbound" : names[peer->node ? peer->node->kind : SLOT_DRAWN];
}

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
            .network = !peer->has_endpoint || ip_is_local(peer->endpoint.ip) ? "not_publicly_routable"
                       : ip_is_v4(peer->endpoint.ip)                         ? "ipv4"
                                                                             : "ipv6",
            .connection_type = connection_type(peer),
            .permissions = peer->permissions,
            .wants_addrs = peer->relays_addrs,
            .last_tx_unix_s = unix_of(p2p, peer->good_tx_us),
            .last_block_unix_s = unix_of(p2p, peer->good_block_us),
            .ping_wait_us = peer->ping_sent_us < 0 ? -1 : p2p->now.mono_us - peer->ping_sent_us,
            .time_offset_s = peer->time_offset_s,
            .addrs_processed = peer->addrs_processed,
            .addrs_limited = peer->addrs_limited,
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
            .fee_filter_sat = peer->fee_filter_sat,
            .latency = peer->latency,
        };
        memcpy(info->address, peer->address, sizeof info->address);
        memcpy(info->user_agent, peer->user_agent, sizeof info->user_agent);
        memcpy(info->sent_by_type, peer->sent_by_type, sizeof info->sent_by_type);
        memcpy(info->received_by_type, peer->received_by_type, sizeof info->received_by_type);
        list_in_flight(p2p, peer, info);
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
                   p2p->partial_bytes + p2p->served_bytes +
                   (p2p->compact_message ? p2p->compact_message->bytes.len : 0) + map_bytes(&p2p->served) +
                   map_bytes(&p2p->by_id) + map_bytes(&p2p->block_requests) + map_bytes(&p2p->tx_requests) +
                   p2p->tx_request_bytes + map_bytes(&p2p->rejected) + map_bytes(&p2p->confirmed) +
                   map_bytes(&p2p->confirmed_before) + map_bytes(&p2p->compacted) + map_bytes(&p2p->orphans);
    LIST_EACH(at, &p2p->peers)
    {
        const struct peer *peer = CONTAINER_OF(at, struct peer, link);
        bytes += sizeof *peer + map_bytes(&peer->known) + presync_bytes(peer);
    }
    return bytes;
}

size_t p2p_memory_bytes_max(const struct p2p *p2p)
{
    size_t per_peer = sizeof(struct peer) + p2p->known_max * 3 * (KNOWN_BYTES + 8) +
                      presync_bytes_max(); /* tables grow by two */
    size_t transactions = ORPHANS_BYTES_MAX + EXTRA_TXS * EXTRA_TX_BYTES_MAX + PARTIAL_TOTAL_MAX +
                          SERVED_BYTES_MAX + 2 * BLOCK_SERIALIZED_MAX; /* a large one; a compact one */
    return P2P_RECEIVE_TOTAL_MAX + P2P_SEND_TOTAL_MAX +
           (p2p->config.inbound_max + LEAVING_MAX + NODES_MAX) * per_peer + transactions + sizeof *p2p +
           (32u << 20); /* the last: the tables of requests */
}
