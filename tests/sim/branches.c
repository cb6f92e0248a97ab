/*
 * Scenarios of two long branches: a reorganisation that goes both ways, and a node that loads both from files
 * and goes back and forth between them while its power fails again and again. Every state must be that of a
 * node that came to it undisturbed.
 */
#include <stdio.h>

#include "tests/sim/sim.h"

/* ---- Making them ------------------------------------------------------------------------------------- */

/* Two miners that do not hear of each other, until each has so many blocks on the common trunk, one of them
 * more work than the other; then nobody mines any more. The heavier one; NULL: the world has failed. */
static struct sim_node *grow(struct sim_node *a, struct sim_node *b, uint32_t depth)
{
    struct world *world = a->world;
    uint32_t height = MAX(sim_tip(a)->height, sim_tip(b)->height) + depth;
    int64_t patience_us = world->now_us + (depth + 60) * 60 * US;
    int order = 0;
    while (!*world->failure && (MIN(sim_tip(a)->height, sim_tip(b)->height) < height || !order)) {
        money_pay(a);
        money_pay(b);
        world_run(world, 4 * US);
        order = u256_compare(sim_tip(a)->work, sim_tip(b)->work);
        if (world->now_us > patience_us) {
            world_fail(world, "two miners do not come to %u blocks each", depth);
        }
    }
    node_set_rate(a, 0);
    node_set_rate(b, 0);
    world_run(world, 30 * US); /* what was found last is connected and on disk */
    order = u256_compare(sim_tip(a)->work, sim_tip(b)->work);
    if (!order) {
        world_fail(world, "two branches have come to equal work at the last moment");
    }
    return *world->failure ? NULL : order > 0 ? a : b;
}

/* The first two nodes, with a trunk and a branch each; the lines between them are cut. Returns as above. */
static struct sim_node *make_branches(struct world *world, uint32_t trunk, uint32_t depth)
{
    struct sim_node *a = world_add_node(world, true, (const uint32_t[]){1}, 1);
    struct sim_node *b = world_add_node(world, true, (const uint32_t[]){0}, 1);
    a->hash_rate = b->hash_rate = 4;
    if (!node_up(a) || !node_up(b) || !sim_until_height(a, trunk)) {
        return NULL;
    }
    network_cut(world, a->index, b->index, true);
    return grow(a, b, depth);
}

static const struct block_entry *fork_of(struct sim_node *a, struct sim_node *b)
{
    struct chain *other = node_chain(b->node);
    const struct block_entry *e = sim_tip(a);
    while (!chain_at(other, e->height) || !hash256_equal(&chain_at(other, e->height)->hash, &e->hash)) {
        e = e->prev;
    }
    return e;
}

/* The first block of a node's branch. */
static struct hash256 root_of(struct sim_node *n, const struct block_entry *fork)
{
    return chain_at(node_chain(n->node), fork->height + 1)->hash;
}

/* ---- Ordering ---------------------------------------------------------------------------------------- */

static bool order_block(struct sim_node *n, const char *method, const struct hash256 *hash)
{
    char text[HASH256_TEXT], params[HASH256_TEXT + 8];
    snprintf(params, sizeof params, "[\"%s\"]", hash256_text(text, hash));
    char *reply = node_ask(n, method, params);
    bool ok = reply && strstr(reply, "\"error\":null");
    if (!ok) {
        world_fail(n->world, "%s answers %s", method, reply ? reply : "nothing");
    }
    mem_free(reply);
    return ok;
}

static bool is_at_rest(struct sim_node *n)
{
    const struct chain *chain = node_chain(n->node);
    return node_synced(n->node) && !chain_busy(chain) && disk_idle(&n->disk);
}

/* Until nothing is under way, or the power has failed. */
static void run_to_rest(struct sim_node *n)
{
    struct world *world = n->world;
    int64_t patience_us = world->now_us + 3600 * US;
    do {
        world_run(world, US / 100);
        if (world->now_us > patience_us) {
            world_fail(world, "node %u does not come to rest", n->index);
        }
    } while (n->node && !is_at_rest(n) && !*world->failure);
}

static bool settles_at(struct sim_node *n, const struct hash256 *tip)
{
    struct world *world = n->world;
    int64_t patience_us = world->now_us + 600 * US;
    while (!hash256_equal(&sim_tip(n)->hash, tip) || !is_at_rest(n)) {
        if (*world->failure || world->now_us > patience_us) {
            return world_fail(world, "node %u does not settle at the tip that it should have", n->index);
        }
        world_run(world, US / 10);
    }
    return true;
}

/* ---- Both ways --------------------------------------------------------------------------------------- */

/* Nobody hears of these two any more, nor they of anybody. */
static void leave_alone(struct world *world, const struct sim_node *a, const struct sim_node *b)
{
    for (uint32_t i = 0; i < SIM_PLACES_MAX; i++) {
        if (i != a->index && i != b->index) {
            network_cut(world, i, a->index, true);
            network_cut(world, i, b->index, true);
        }
    }
}

/* The branch that lost has its day again at its miner, and a newcomer that has it from there computes the
 * same coins; then the other one comes back. */
static bool goes_back_and_forth(struct sim_node *loser, const struct hash256 *own, const char *own_set,
                                const struct hash256 *won, const char *won_set)
{
    struct world *world = loser->world;
    const struct block_entry *fork = block_fork(chain_find(node_chain(loser->node), own), sim_tip(loser));
    struct hash256 root = root_of(loser, fork);
    struct sim_node *fresh = world_add_node(world, false, &loser->index, 1);
    leave_alone(world, loser, fresh);
    return order_block(loser, "invalidateblock", &root) && settles_at(loser, own) &&
           check_utxo_set_is(loser, own_set, "the same branch before it lost") && node_up(fresh) &&
           settles_at(fresh, own) && check_utxo_set_is(fresh, own_set, "who has mined that branch") &&
           order_block(loser, "reconsiderblock", &root) && settles_at(loser, won) &&
           check_utxo_set_is(loser, won_set, "who has mined that branch") && settles_at(fresh, won) &&
           check_utxo_set_is(fresh, won_set, "who has mined that branch");
}

void run_reorganise(struct world *world)
{
    uint32_t depth = chance(world, 4) ? 500 : 10 + (uint32_t)pick(world, 40);
    world->depth_max = 20;
    struct sim_node *winner = make_branches(world, 5 + (uint32_t)pick(world, 10), depth);
    if (!winner) {
        return;
    }
    struct sim_node *loser = &world->nodes[!winner->index];
    struct hash256 own = sim_tip(loser)->hash, won = sim_tip(winner)->hash;
    char *own_set = check_utxo_set(loser), *won_set = check_utxo_set(winner);
    if (check_agree(world) && settles_at(loser, &won) &&
        check_utxo_set_is(loser, won_set, "who has mined the heavier branch") &&
        goes_back_and_forth(loser, &own, own_set, &won, won_set)) {
        check_end(world);
    }
    mem_free(own_set);
    mem_free(won_set);
}

/* ---- Loading while the power fails ------------------------------------------------------------------- */

static void append_records(struct sim_node *n, struct buf *out, uint32_t first, uint32_t last)
{
    for (uint32_t height = first; height <= MIN(last, sim_tip(n)->height); height++) {
        struct block *block = sim_read_block(n, chain_at(node_chain(n->node), height));
        CHECK(block);
        buf_bytes(out, n->world->params.magic, 4);
        buf_u32(out, (uint32_t)block->raw.len);
        buf_bytes(out, block->raw.data, block->raw.len);
        block_unref(block);
    }
}

/* Files as --loadblock takes them: the whole of one chain and the other branch, in pieces, here and there. */
static void write_loads(struct sim_node *a, struct sim_node *b, const struct block_entry *fork)
{
    struct world *world = a->world;
    uint32_t at_a = 1, at_b = fork->height + 1;
    while (at_a <= sim_tip(a)->height || at_b <= sim_tip(b)->height) {
        struct buf *file = &world->loads[pick(world, SIM_LOADS_MAX)];
        uint32_t piece = 1 + (uint32_t)pick(world, 20);
        bool of_a = chance(world, 50);
        append_records(of_a ? a : b, file, of_a ? at_a : at_b, (of_a ? at_a : at_b) + piece - 1);
        *(of_a ? &at_a : &at_b) += piece;
    }
}

static struct sim_node *add_loader(struct world *world)
{
    static const char *const loads[SIM_LOADS_MAX] = {"load0", "load1"};
    struct sim_node *n = world_add_node(world, false, (const uint32_t[]){0}, 1);
    n->config.load_blocks = loads;
    n->config.load_block_count = SIM_LOADS_MAX;
    for (uint32_t i = 0; i < SIM_PLACES_MAX; i++) {
        network_cut(world, i, n->index, true); /* it has nothing from anybody */
    }
    return n;
}

static void nobody_cares(struct world *world, struct sim_call *call, const char *reply)
{
    (void)world;
    (void)call;
    (void)reply;
}

/* Lets it do something, and takes its power in the middle of that, if the middle comes. */
static void lose_power_once(struct sim_node *n, const struct hash256 roots[2])
{
    struct world *world = n->world;
    n->doom = (enum doom)pick(world, DOOM_COUNT);
    n->doom_after = (unsigned)pick_exponential(world, n->doom == DOOM_FLUSH ? 1 : 10);
    if (!n->node && !node_up(n)) {
        return;
    }
    if (chance(world, 20)) { /* or the disk is full before that */
        n->disk.full_from_us = world->now_us + (int64_t)pick_exponential(world, 50 * n->disk.mean_us);
    }
    if (!n->config.load_block_count) { /* all is there: back and forth between the branches */
        char text[HASH256_TEXT], params[HASH256_TEXT + 8];
        snprintf(params, sizeof params, "[\"%s\"]", hash256_text(text, &roots[pick(world, 2)]));
        node_call(n, chance(world, 60) ? "invalidateblock" : "reconsiderblock", params, nobody_cares, NULL,
                  0);
    }
    if (n->doom == DOOM_NONE) {
        world_run(world, (int64_t)pick_exponential(world, 50 * n->disk.mean_us));
        node_crash(n, true);
    } else {
        run_to_rest(n);
    }
    if (n->node && chance(world, 50)) {
        node_crash(n, true);
    }
}

/* Both branches are good again; it stops, and begins once more with the files. */
static bool comes_to_its_end(struct sim_node *n, const struct hash256 roots[2])
{
    struct world *world = n->world;
    n->doom = DOOM_NONE;
    n->config.load_block_count = 0;
    node_make_room(n);
    world_run(world, US); /* a doom that it has met already comes */
    if (!n->node && !node_up(n)) {
        return false;
    }
    run_to_rest(n); /* nothing is reconsidered while it loads */
    for (unsigned i = 0; i < 2; i++) {
        if (chain_find(node_chain(n->node), &roots[i]) && !order_block(n, "reconsiderblock", &roots[i])) {
            return false;
        }
    }
    run_to_rest(n);
    node_ask_stop(n);
    n->config.load_block_count = SIM_LOADS_MAX;
    if (!node_await_stop(n) || !node_up(n)) {
        return false;
    }
    run_to_rest(n);
    return !*world->failure;
}

void run_load(struct world *world)
{
    struct sim_node *winner = make_branches(world, 5, 10 + (uint32_t)pick(world, 30));
    if (!winner) {
        return;
    }
    struct sim_node *a = &world->nodes[0], *b = &world->nodes[1];
    const struct block_entry *fork = fork_of(a, b);
    const struct hash256 roots[2] = {root_of(a, fork), root_of(b, fork)};
    write_loads(a, b, fork);
    struct sim_node *undisturbed = add_loader(world), *n = add_loader(world);
    if (!node_up(undisturbed) || !settles_at(undisturbed, &sim_tip(winner)->hash)) {
        return;
    }
    for (uint64_t left = 2 + pick(world, 6); left && !*world->failure; left--) {
        lose_power_once(n, roots);
    }
    n->config.load_block_count = 0;
    for (uint64_t left = 2 + pick(world, 6); left && !*world->failure; left--) {
        lose_power_once(n, roots);
    }
    char *wanted = check_utxo_set(undisturbed);
    if (!*world->failure && comes_to_its_end(n, roots) &&
        check_utxo_set_is(n, wanted, "a node whose power has never failed")) {
        check_end(world);
    }
    mem_free(wanted);
}
