/*
 * What the cluster goes through. What must hold afterwards is in check.c, what was paid in money.c.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "tests/sim/sim.h"

/* ---- Promises ---------------------------------------------------------------------------------------- */

static void generate_answered(struct world *world, struct sim_call *call, const char *reply)
{
    (void)world;
    json_t *root = reply ? json_loads(reply, 0, NULL) : NULL, *hash;
    size_t i;
    json_array_foreach(json_object_get(root, "result"), i, hash)
    {
        struct hash256 parsed;
        CHECK(hash256_parse(&parsed, json_string_value(hash)));
        buf_bytes(&call->node->promised, parsed.b, 32);
    }
    json_decref(root);
}

/* generatetoaddress: its answer promises that the blocks are on disk. */
static void generate(struct sim_node *n)
{
    struct buf params = {0};
    buf_printf(&params, "[1,\"%s\"]%c", n->payout_address, 0);
    node_call(n, "generatetoaddress", (const char *)params.data, generate_answered, NULL, 0);
    buf_free(&params);
}

/* ---- Scenarios --------------------------------------------------------------------------------------- */

/* A ring, and some lines across it. */
static void build(struct world *world, uint32_t count, uint32_t miners)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t connects[2] = {(i + 1) % count, (uint32_t)pick(world, count)};
        bool across = connects[1] != i && connects[1] != connects[0] && chance(world, 50);
        struct sim_node *n = world_add_node(world, i < miners, connects, across ? 2 : 1);
        n->hash_rate = i < miners ? (double)pick_between(world, 1, 6) : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        node_up(&world->nodes[i]);
    }
}

bool sim_until_height(struct sim_node *n, uint32_t height)
{
    struct world *world = n->world;
    for (unsigned i = 0; i < 20000 && sim_tip(n)->height < height && !*world->failure; i++) {
        world_run(world, US / 4);
    }
    return *world->failure ? false
           : sim_tip(n)->height >= height
               ? true
               : world_fail(world, "node %u never reached height %u", n->index, height);
}

static void pay_now_and_then(struct world *world, unsigned percent)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].node && chance(world, percent)) {
            money_pay(&world->nodes[i]);
        }
    }
}

static void cut_halves(struct world *world, uint32_t first_of_second)
{
    for (uint32_t a = 0; a < first_of_second; a++) {
        for (uint32_t b = first_of_second; b < world->node_count; b++) {
            network_cut(world, a, b, true);
        }
    }
}

static void run_partition(struct world *world)
{
    uint32_t count = 4 + (uint32_t)pick(world, 2), half = count / 2;
    build(world, count, count);
    if (!sim_until_height(&world->nodes[0], 8)) {
        return;
    }
    for (unsigned i = 0; i < 10 && !*world->failure; i++) {
        pay_now_and_then(world, 30);
        world_run(world, US);
    }
    cut_halves(world, half);
    uint32_t fork = 0; /* at most: one half may know more than its first node */
    for (uint32_t i = 0; i < count; i++) {
        fork = MAX(fork, sim_tip(&world->nodes[i])->height);
    }
    struct sim_node *a = &world->nodes[0], *b = &world->nodes[half];
    while (!*world->failure && MIN(sim_tip(a)->height, sim_tip(b)->height) < fork + 30) {
        pay_now_and_then(world, 10);
        world_run(world, 2 * US);
    }
    if (*world->failure) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        node_set_rate(&world->nodes[i], 0);
    }
    world_run(world, 30 * US); /* each half comes to rest */
    struct hash256 old_a = sim_tip(a)->hash, old_b = sim_tip(b)->hash;
    if (!check_agree(world)) {
        return;
    }
    const struct block_entry *end_a = chain_find(node_chain(a->node), &old_a);
    const struct block_entry *end_b = chain_find(node_chain(b->node), &old_b);
    int order = u256_compare(end_a->work, end_b->work);
    const struct chain *loser = node_chain(order > 0 ? b->node : a->node);
    if (order && chain_contains(loser, order > 0 ? end_b : end_a)) {
        world_fail(world, "the heavier side did not win");
    }
    check_end(world);
}

static void all_lights_out(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_crash(&world->nodes[i], true);
    }
    world_run(world, pick_between(world, 1000, 5 * US));
    for (uint32_t i = 0; i < world->node_count && !*world->failure; i++) {
        node_up(&world->nodes[i]);
    }
}

static void run_power(struct world *world)
{
    unsigned losses = 3 + (unsigned)pick(world, 3);
    build(world, 4, 3);
    for (unsigned loss = 0; loss < losses && !*world->failure; loss++) {
        int64_t until = world->now_us + pick_between(world, 1, 60 * US);
        while (world->now_us < until && !*world->failure) {
            pay_now_and_then(world, 20);
            if (chance(world, 20)) {
                generate(&world->nodes[pick(world, 3)]);
            }
            int64_t step = pick_between(world, 1, 2 * US);
            world_run(world, MIN(step, until - world->now_us));
        }
        all_lights_out(world);
    }
    world_run(world, 5 * US);
    check_end(world);
}

static void stop_or_crash(struct world *world, struct sim_node *n)
{
    switch (pick(world, 3)) {
    case 0: node_crash(n, true); break;
    case 1: node_crash(n, false); break;
    default:
        node_ask_stop(n);
        node_await_stop(n);
        break;
    }
}

static void disturb(struct world *world)
{
    struct sim_node *n = &world->nodes[pick(world, world->node_count)];
    uint32_t other = (uint32_t)pick(world, world->node_count);
    switch (pick(world, 12)) {
    case 0: network_drop_one(world); break;
    case 1: network_cut(world, n->index, other, n->index != other); break;
    case 6: network_cut_one_way(world, n->index, other); break;
    case 7: network_silence_one(world); break;
    case 8: n->skew_us = pick_between(world, -15 * US, 15 * US); break; /* somebody has set its clock */
    case 2: network_heal(world); break;
    case 3:
        if (n->node) {
            stop_or_crash(world, n);
        }
        break;
    case 4:
        if (n->node && n->config.mine) {
            generate(n);
        }
        break;
    case 5:
        if (n->node && n->config.mine) {
            node_set_rate(n, (double)pick_between(world, 1, 12));
        }
        break;
    case 9: n->disk.full_from_us = world->now_us; break;
    default:
        if (!n->node) {
            node_up(n);
        }
        break;
    }
}

static void run_chaos(struct world *world)
{
    build(world, 5, 3);
    for (unsigned i = 0; i < 60 && !*world->failure; i++) {
        pay_now_and_then(world, 15);
        disturb(world);
        world_run(world, (int64_t)pick_exponential(world, 2e6));
    }
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_make_room(&world->nodes[i]);
    }
    check_end(world);
}

/* Two liars among five nodes, of which some dial them; the clocks of the honest ones differ too. */
static void run_liars(struct world *world)
{
    uint32_t count = 3 + (uint32_t)pick(world, 3);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t connects[3] = {(i + 1) % count, SIM_NODES_MAX, SIM_NODES_MAX + 1};
        struct sim_node *n = world_add_node(world, i < 3, connects, 1 + (size_t)pick(world, 3));
        n->hash_rate = i < 3 ? (double)pick_between(world, 2, 6) : 0;
        n->skew_us = pick_between(world, -20 * US, 20 * US);
    }
    for (uint32_t i = 0; i < count; i++) {
        node_up(&world->nodes[i]);
    }
    world_add_liar(world);
    world_add_liar(world);
    uint32_t height = sim_tip(&world->nodes[0])->height;
    for (unsigned i = 0; i < 60 && !*world->failure; i++) {
        pay_now_and_then(world, 15);
        if (chance(world, 5)) {
            network_drop_one(world);
        }
        world_run(world, US);
    }
    if (!*world->failure && sim_tip(&world->nodes[0])->height < height + 3) {
        world_fail(world, "liars have stopped the chain at height %u", sim_tip(&world->nodes[0])->height);
    }
    check_end(world);
}

/* Whether everybody but the first has peers enough; and, to have no more than was drawn, one outbound. */
static bool are_connected(struct world *world, size_t peers, bool as_drawn)
{
    for (uint32_t i = 1; i < world->node_count; i++) {
        size_t outbound = 0;
        size_t count = p2p_peer_count(node_p2p(world->nodes[i].node), &outbound);
        if (count < peers || (as_drawn && outbound != 1)) {
            return false;
        }
    }
    return true;
}

static bool become_connected(struct world *world, size_t peers, bool as_drawn, const char *when)
{
    for (unsigned i = 0; i < 240 && !are_connected(world, peers, as_drawn) && !*world->failure; i++) {
        world_run(world, US);
    }
    return !*world->failure &&
           (are_connected(world, peers, as_drawn) ||
            world_fail(world, "%s not everybody has the peers that it should have", when));
}

/* Everybody knows the first node only and learns of the others from it; then it is gone for a while, and
 * those who are left must find each other, also when liars have given them thousands of addresses of nobody.
 */
static void run_strangers(struct world *world)
{
    uint32_t count = 4 + (uint32_t)pick(world, 4);
    enum p2p_discover discover = chance(world, 50) ? P2P_DISCOVER_YES : P2P_DISCOVER_FALLBACK;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_node *n = world_add_node(world, i > 0 && i < 4, (const uint32_t[]){0}, i ? 1 : 0);
        n->config.discover = discover;
        n->hash_rate = n->config.mine ? (double)pick_between(world, 1, 4) : 0;
        node_up(n);
    }
    for (uint64_t left = pick(world, SIM_LIARS_MAX + 1); left; left--) {
        world_add_liar(world);
    }
    for (unsigned i = 0; i < 30 && !*world->failure; i++) {
        pay_now_and_then(world, 10);
        world_run(world, US);
    }
    world_truce(world);
    if (!sim_until_height(&world->nodes[1], 5) ||
        (discover == P2P_DISCOVER_YES && !become_connected(world, 3, false, "with the first node there"))) {
        return;
    }
    node_crash(&world->nodes[0], true);
    world_run(world, 30 * US);
    if (!check_living_agree(world)) {
        return;
    }
    if (check_agree(world) &&
        (discover == P2P_DISCOVER_YES || become_connected(world, 1, true, "with the first node back"))) {
        check_end(world);
    }
}

const struct scenario scenarios[] = {
    {"partition", run_partition}, {"power", run_power},           {"chaos", run_chaos}, {"liars", run_liars},
    {"strangers", run_strangers}, {"reorganise", run_reorganise}, {"load", run_load},   {NULL, NULL},
};
