/*
 * Connections between the nodes: dials that may fail, bytes that arrive later and in other pieces than they
 * were sent, pieces that are lost or overtaken on the way, limited bandwidth and windows, places that are far
 * apart, links that are cut, both ways or one (nothing arrives until they heal), ends that are not read from
 * for a while, connections that break, and such that fall silent without anybody being told. Order is kept
 * within a connection, as TCP does at the price of waiting for what is lost or late, and nowhere else. Not
 * here: what the bytes mean.
 */
#include <stdio.h>

#include "tests/sim/sim.h"

struct chunk {
    struct list link;
    struct buf bytes;
};

struct end {
    struct sim_node *node;
    uint32_t life;
    peer_id peer;
    struct buf queue; /* sent by the core, not yet on the way */
    bool open, closing, closed;
    struct list flight; /* on the way to this end */
    size_t flight_bytes;
    int64_t last_arrival_us;
    int64_t paused_until_us; /* what has come by then is not read: the window fills, and the sender waits */
};

struct connection {
    struct list link;
    uint64_t id;
    bool broken;        /* nothing arrives any more; both ends will hear of it */
    bool silent;        /* nothing arrives any more, and nobody hears of anything */
    struct end ends[2]; /* who dialled, who was dialled */
};

static int64_t latency(struct world *world, uint32_t a, uint32_t b)
{
    return pick_between(world, world->latency_least_us, world->latency_most_us) +
           world->distance_us[MIN(a, b)][MAX(a, b)];
}

static int64_t latency_of(const struct connection *c)
{
    return latency(c->ends[0].node->world, c->ends[0].node->index, c->ends[1].node->index);
}

/* Nothing comes to this side just now. */
static bool is_cut(const struct connection *c, int side)
{
    const struct world *world = c->ends[0].node->world;
    return world->cut[c->ends[!side].node->index][c->ends[side].node->index];
}

/* Its node does not read from this end just now. */
static bool is_paused(const struct end *end)
{
    return end->paused_until_us > end->node->world->now_us;
}

static bool alive(const struct end *end)
{
    return !end->closed && sim_alive(end->node) && end->node->life == end->life;
}

static struct connection *connection_by_id(struct world *world, uint64_t id)
{
    LIST_EACH(at, &world->connections)
    {
        struct connection *c = CONTAINER_OF(at, struct connection, link);
        if (c->id == id) {
            return c;
        }
    }
    return NULL;
}

static struct connection *connection_of(struct sim_node *n, peer_id peer, int *side)
{
    LIST_EACH(at, &n->world->connections)
    {
        struct connection *c = CONTAINER_OF(at, struct connection, link);
        for (*side = 0; *side < 2; ++*side) {
            const struct end *end = &c->ends[*side];
            if (end->node == n && end->life == n->life && end->peer == peer && !end->closed) {
                return c;
            }
        }
    }
    return NULL;
}

static void lose_flight(struct end *end)
{
    LIST_EACH_SAFE(at, following, &end->flight)
    {
        struct chunk *chunk = CONTAINER_OF(at, struct chunk, link);
        list_remove(at);
        buf_free(&chunk->bytes);
        mem_free(chunk);
    }
    end->flight_bytes = 0;
}

static void connection_free(struct connection *c)
{
    list_remove(&c->link);
    for (int i = 0; i < 2; i++) {
        lose_flight(&c->ends[i]);
        buf_free(&c->ends[i].queue);
    }
    mem_free(c);
}

static void later(struct connection *c, int side, int64_t in_us,
                  void (*run)(struct world *world, struct task *task))
{
    struct task *task = world_later(c->ends[0].node->world, in_us, NULL, run);
    task->number = c->id;
    task->side = side;
}

/* ---- Ends -------------------------------------------------------------------------------------------- */

static void other_end_hears(struct world *world, struct task *task);

/* This end is over; its node is told when it still lives. */
static void end_close(struct connection *c, int side, const char *why)
{
    struct end *end = &c->ends[side];
    struct world *world = end->node->world;
    if (end->closed) {
        return;
    }
    bool tell = alive(end);
    end->closed = true;
    buf_free(&end->queue);
    lose_flight(end);
    int64_t last = c->ends[!side].last_arrival_us;
    later(c, !side, MAX(last - world->now_us, 0) + latency_of(c), other_end_hears);
    if (tell) {
        node_event(end->node, &(struct event){.kind = EVENT_CLOSED, .peer = end->peer, .text = why});
    }
}

static void other_end_hears(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    if (!c) {
        return;
    }
    const struct end *end = &c->ends[task->side];
    if ((c->silent || is_cut(c, task->side) || is_paused(end)) && alive(end)) {
        later(c, task->side, c->silent ? 5 * US : US / 4, other_end_hears);
        return;
    }
    end_close(c, task->side, "the other side has closed it");
    if (c->ends[0].closed && c->ends[1].closed) {
        connection_free(c);
    }
}

static void close_now(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    if (c) {
        end_close(c, task->side, "closed here");
    }
}

void network_close(struct sim_node *n, peer_id peer)
{
    int side;
    struct connection *c = connection_of(n, peer, &side);
    if (c && !c->ends[side].closing) {
        c->ends[side].closing = true;
        later(c, side, c->ends[side].queue.len ? US : 1, close_now);
    }
}

/* ---- Bytes ------------------------------------------------------------------------------------------- */

static void pump(struct connection *c, int from);

static void tell_drained(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    struct end *end = c ? &c->ends[task->side] : NULL;
    if (end && alive(end)) {
        node_event(end->node,
                   &(struct event){.kind = EVENT_DRAINED, .peer = end->peer, .queued_bytes = end->queue.len});
    }
}

static void arrive(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    struct end *end = c ? &c->ends[task->side] : NULL;
    if (!end || list_empty(&end->flight)) {
        return;
    }
    if (is_cut(c, task->side)) { /* sent again until it gets through */
        later(c, task->side, US + latency_of(c), arrive);
        return;
    }
    if (is_paused(end) && alive(end)) {
        later(c, task->side, end->paused_until_us - world->now_us, arrive);
        return;
    }
    struct chunk *chunk = CONTAINER_OF(end->flight.next, struct chunk, link);
    list_remove(&chunk->link);
    end->flight_bytes -= chunk->bytes.len;
    uint64_t id = c->id;
    if (alive(end) && !end->closing) {
        node_event(end->node, &(struct event){.kind = EVENT_BYTES,
                                              .peer = end->peer,
                                              .data = chunk->bytes.data,
                                              .len = chunk->bytes.len});
    }
    buf_free(&chunk->bytes);
    mem_free(chunk);
    if ((c = connection_by_id(world, id))) {
        pump(c, !task->side);
    }
}

static void pump(struct connection *c, int from)
{
    struct end *sender = &c->ends[from], *receiver = &c->ends[!from];
    struct world *world = sender->node->world;
    size_t taken = 0;
    while (taken < sender->queue.len && receiver->flight_bytes < world->window && !sender->closed &&
           !c->broken && !c->silent) {
        size_t most = 1 + (size_t)pick(world, world->chunk_max), len = MIN(most, sender->queue.len - taken);
        struct chunk *chunk = mem_alloc(sizeof *chunk);
        buf_bytes(&chunk->bytes, sender->queue.data + taken, len);
        list_append(&receiver->flight, &chunk->link);
        receiver->flight_bytes += len;
        taken += len;
        receiver->last_arrival_us = MAX(receiver->last_arrival_us, world->now_us + latency_of(c));
        if (chance(world, world->loss_percent)) {
            receiver->last_arrival_us += pick_between(world, US / 5, US);
        }
        if (chance(world, world->overtaken_percent)) { /* by those behind, which wait for it */
            receiver->last_arrival_us += pick_between(world, 0, 2 * world->latency_most_us);
        }
        if (world->bytes_per_second) {
            receiver->last_arrival_us += (int64_t)(len * (uint64_t)US / world->bytes_per_second);
        }
        later(c, !from, receiver->last_arrival_us - world->now_us, arrive);
    }
    if (taken) {
        memmove(sender->queue.data, sender->queue.data + taken, sender->queue.len - taken);
        sender->queue.len -= taken;
        later(c, from, 1 + pick_between(world, 0, 200), tell_drained);
        if (sender->closing && !sender->queue.len) {
            later(c, from, 1, close_now);
        }
    }
}

void network_send(struct sim_node *n, peer_id peer, struct span bytes)
{
    int side;
    struct connection *c = connection_of(n, peer, &side);
    if (c) {
        if (bytes.len >= 24 && load_le32(bytes.data) == load_le32(n->world->params.magic)) {
            world_say(n->world, "n%u to n%u: %.12s, %zu bytes", n->index, c->ends[!side].node->index,
                      (const char *)bytes.data + 4, bytes.len - 24);
        }
        buf_bytes(&c->ends[side].queue, bytes.data, bytes.len);
        pump(c, side);
    }
}

void network_pause(struct sim_node *n, peer_id peer, int64_t until_us)
{
    int side;
    struct connection *c = connection_of(n, peer, &side);
    if (c) {
        world_say(n->world, "n%u does not read from n%u for %.3f s", n->index, c->ends[!side].node->index,
                  (double)(until_us - n->world->now_us) / US);
        c->ends[side].paused_until_us = until_us;
    }
}

/* ---- Dials ------------------------------------------------------------------------------------------- */

static void dial_failed(struct world *world, struct task *task)
{
    (void)world;
    node_event(task->node, &(struct event){.kind = EVENT_DIAL_FAILED,
                                           .peer = (peer_id)task->number,
                                           .text = task->side ? "connection timed out" : "refused"});
}

static void dial_answered(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    struct end *end = c ? &c->ends[0] : NULL;
    if (end && alive(end) && !end->closing) {
        char text[32];
        snprintf(text, sizeof text, "10.%u.0.1:%u", c->ends[1].node->index + 1, SIM_PORT);
        end->open = true;
        node_event(end->node, &(struct event){.kind = EVENT_OPENED, .peer = end->peer, .text = text});
    }
}

static void dial_arrives(struct world *world, struct task *task)
{
    struct sim_node *from = task->node, *to = task->side >= 0 ? &world->nodes[task->side] : NULL;
    bool cut = !to || world->cut[from->index][to->index] || world->cut[to->index][from->index];
    if (cut || !sim_alive(to)) {
        int64_t in_us = cut ? 2 * US : latency(world, from->index, to->index);
        struct task *failed = world_later(world, in_us, from, dial_failed);
        failed->number = task->number;
        failed->side = cut;
        return;
    }
    struct connection *c = mem_alloc(sizeof *c);
    char text[32];
    c->id = world->next_sequence++;
    c->ends[0] = (struct end){.node = from, .life = from->life, .peer = (peer_id)task->number};
    c->ends[1] = (struct end){.node = to, .life = to->life, .peer = ++to->next_inbound, .open = true};
    list_init(&c->ends[0].flight);
    list_init(&c->ends[1].flight);
    list_append(&world->connections, &c->link);
    later(c, 0, latency_of(c), dial_answered);
    snprintf(text, sizeof text, "10.%u.0.1:%u", from->index + 1, 40000 + c->ends[1].peer % 20000);
    node_event(to, &(struct event){.kind = EVENT_ACCEPTED, .peer = c->ends[1].peer, .text = text});
}

/* The index of who is there; -1: nobody. By name, n3, or by address, 10.4.0.1. */
static int place_of(const char *host)
{
    unsigned index = 0;
    char rest;
    if (sscanf(host, "n%2u%c", &index, &rest) == 1) {
        CHECK(index < SIM_PLACES_MAX);
        return (int)index;
    }
    bool is_one = sscanf(host, "10.%2u.0.1%c", &index, &rest) == 1 && index && index <= SIM_PLACES_MAX;
    return is_one ? (int)index - 1 : -1;
}

void network_dial(struct sim_node *n, peer_id peer, const char *host)
{
    int place = place_of(host);
    struct task *task = world_later(
        n->world, latency(n->world, n->index, place < 0 ? n->index : (uint32_t)place), n, dial_arrives);
    task->number = peer;
    task->side = place;
}

/* ---- Weather ----------------------------------------------------------------------------------------- */

void network_node_down(struct sim_node *n)
{
    struct world *world = n->world;
    LIST_EACH(at, &world->connections)
    {
        struct connection *c = CONTAINER_OF(at, struct connection, link);
        for (int side = 0; side < 2; side++) {
            struct end *end = &c->ends[side];
            if (end->node == n && !end->closed) {
                end->closed = true;
                buf_free(&end->queue);
                lose_flight(end);
                later(c, !side, pick_between(world, 1000, 3 * US), other_end_hears);
            }
        }
    }
}

static void breaks(struct world *world, struct task *task)
{
    struct connection *c = connection_by_id(world, task->number);
    if (c) {
        end_close(c, task->side, "connection reset by peer");
    }
}

/* NULL: there is none. */
static struct connection *some_connection(struct world *world)
{
    uint64_t count = 0;
    LIST_EACH(at, &world->connections)
    {
        count++;
    }
    uint64_t chosen = count ? pick(world, count) : 0;
    LIST_EACH(at, &world->connections)
    {
        if (chosen-- == 0) {
            return CONTAINER_OF(at, struct connection, link);
        }
    }
    return NULL;
}

void network_drop_one(struct world *world)
{
    struct connection *c = some_connection(world);
    if (c) {
        c->broken = true;
        lose_flight(&c->ends[0]);
        lose_flight(&c->ends[1]);
        later(c, 0, pick_between(world, 1, US / 2), breaks);
        later(c, 1, pick_between(world, 1, US / 2), breaks);
    }
}

void network_silence_one(struct world *world)
{
    struct connection *c = some_connection(world);
    if (c) {
        c->silent = true;
        lose_flight(&c->ends[0]);
        lose_flight(&c->ends[1]);
    }
}

void network_cut(struct world *world, uint32_t a, uint32_t b, bool cut)
{
    world->cut[a][b] = world->cut[b][a] = cut;
}

void network_cut_one_way(struct world *world, uint32_t from, uint32_t to)
{
    world->cut[from][to] = from != to;
}

void network_heal(struct world *world)
{
    memset(world->cut, 0, sizeof world->cut);
}

void network_free(struct world *world)
{
    LIST_EACH_SAFE(at, following, &world->connections)
    {
        connection_free(CONTAINER_OF(at, struct connection, link));
    }
}
