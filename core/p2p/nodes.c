/* The nodes to stay connected to (--connect, addnode), those to try once, and the learned ones that stand in
 * for them: names, back-off, what is said about waiting. */
#include <stdio.h>
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

#define BACKOFF_FIRST_US (US_PER_S / 5)
#define BACKOFF_MAX_US   (10 * US_PER_S)
#define SAY_WAITING_US   (10 * US_PER_S)

static bool slot_parse(struct node_slot *slot, const char *text, uint16_t default_port, struct error *error)
{
    size_t len = strlen(text);
    uint8_t ip[16];
    if (strchr(text, ':') && ip_parse(ip, text)) { /* IPv6 as it is, without a port */
        snprintf(slot->host, sizeof slot->host, "%s", text);
        slot->port = default_port;
        snprintf(slot->text, sizeof slot->text, "[%s]:%u", slot->host, slot->port);
        return true;
    }
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
    if (slot->attempts == 1 && slot->kind != SLOT_FEELER) {
        say_waiting(p2p, slot, "");
    }
    struct peer *peer = peer_new(p2p, slot->peer, false, slot->text);
    peer->node = slot;
    p2p->events.dial(p2p->events.context, peer->id, slot->host, slot->port);
}

void node_lost(struct p2p *p2p, struct node_slot *slot, const char *why)
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

bool node_found(struct p2p *p2p, const char *host_port, enum slot_kind kind, struct error *error)
{
    if (!add_slot(p2p, host_port, true, p2p->now, error)) {
        return false;
    }
    CONTAINER_OF(p2p->nodes.prev, struct node_slot, link)->kind = kind;
    return true;
}

bool p2p_try_as(struct p2p *p2p, const char *host_port, const char *connection_type, struct moment now,
                struct error *error)
{
    static const struct {
        const char *name;
        enum slot_kind kind;
    } types[] = {
        {"outbound-full-relay", SLOT_FOUND}, {"block-relay-only", SLOT_BLOCKS_ONLY}, {"feeler", SLOT_FEELER}};
    p2p->now = now;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (strcmp(types[i].name, connection_type) == 0) {
            return node_found(p2p, host_port, types[i].kind, error);
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "%.64s is no type of connection that can be made",
                     connection_type);
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

int64_t nodes_tick(struct p2p *p2p, int64_t next_us)
{
    LIST_EACH(at, &p2p->nodes)
    {
        struct node_slot *slot = CONTAINER_OF(at, struct node_slot, link);
        if (!slot->peer && p2p->active && slot->next_try_us <= p2p->now.mono_us) {
            slot_dial(p2p, slot);
        } else if (!slot->peer && p2p->active) {
            next_us = MIN(next_us, slot->next_try_us);
        }
    }
    return next_us;
}

void nodes_free(struct p2p *p2p)
{
    LIST_EACH_SAFE(at, following, &p2p->nodes)
    {
        mem_free(CONTAINER_OF(at, struct node_slot, link));
    }
}
