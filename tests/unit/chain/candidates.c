/*
 * Which block is the tip: a random tree whose headers are known first, whose blocks come in any order,
 * parents behind their children too, while blocks are invalidated and reconsidered and the node starts anew.
 * After every step the tip must be what a plain look at the whole tree says.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/chain/rig.h"

enum { BLOCKS = 50, STEPS = 160 };

static struct rng rng;
static struct rig rig;
static struct node root, *nodes[BLOCKS];
static bool bad[BLOCKS]; /* it, or one below it, was invalidated and not reconsidered since */
static size_t came[BLOCKS], arrivals;
static const struct moment now = {.unix_us = INT64_C(4000000000) * 1000000};

static size_t index_of(const struct node *node)
{
    size_t i = 0;
    while (nodes[i] != node) {
        i++;
    }
    return i;
}

static bool descends(const struct node *node, const struct node *from)
{
    while (node != &root && node != from) {
        node = node->parent;
    }
    return node == from;
}

/* All of it is here, and nothing is held against it. */
static bool is_eligible(const struct node *node)
{
    while (node != &root && node->fed && !bad[index_of(node)]) {
        node = node->parent;
    }
    return node == &root;
}

static const struct node *node_of(const struct block_entry *entry)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        if (hash256_equal(&nodes[i]->block->hash, &entry->hash)) {
            return nodes[i];
        }
    }
    return &root;
}

/* Of two with equal work the one that came first, as Core has it. */
static const struct node *best_node(void)
{
    const struct node *best = &root;
    for (size_t i = 0; i < BLOCKS; i++) {
        bool more = nodes[i]->height > best->height;
        bool before = nodes[i]->height == best->height && best != &root && came[i] < came[index_of(best)];
        best = is_eligible(nodes[i]) && (more || before) ? nodes[i] : best;
    }
    return best;
}

static const struct node *look_at_tip(uint64_t seed, unsigned step)
{
    const struct node *tip = node_of(chain_tip(rig.chain)), *best = best_node();
    cr_assert_eq(tip, best, "seed %" PRIu64 ", step %u: the tip is at %u, not at %u, or another one", seed,
                 step, tip->height, best->height);
    return tip;
}

static bool is_known(const struct node *node)
{
    return chain_find(rig.chain, &node->block->hash) != NULL;
}

/* Those that are not known, and may be: a header alone need not survive a new start. */
static void tell_headers(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        struct error error = {0};
        if (!is_known(nodes[i]) &&
            !chain_accept_header(rig.chain, &nodes[i]->block->header, now, NULL, NULL, &error)) {
            cr_assert(strcmp(error.word, "bad-prevblk") == 0 || error.kind == ERROR_MISSING, "%s %s",
                      error.word, error.text);
        }
    }
    rig_pump(&rig);
}

static void start_anew(void)
{
    rig_reopen(&rig, 1u << 16);
    for (size_t i = 0; i < BLOCKS; i++) {
        bad[i] &= is_known(nodes[i]);
    }
}

static void invalidate(const struct node *node)
{
    struct error error = {0};
    cr_assert(chain_invalidate(rig.chain, &node->block->hash, &error), "%s", error.text);
    rig_pump(&rig);
    for (size_t i = 0; i < BLOCKS; i++) {
        bad[i] |= is_known(nodes[i]) && descends(nodes[i], node);
    }
}

/* Of the blocks below it too: as Core does. */
static void reconsider(const struct node *node)
{
    struct error error = {0};
    cr_assert(chain_reconsider(rig.chain, &node->block->hash, &error), "%s", error.text);
    rig_pump(&rig);
    for (size_t i = 0; i < BLOCKS; i++) {
        bad[i] &= !descends(nodes[i], node) && !descends(node, nodes[i]);
    }
}

static void feed(struct node *node)
{
    if (!node->fed && is_known(node) && !bad[index_of(node)]) {
        came[index_of(node)] = ++arrivals;
        rig_feed(&rig, node);
    }
}

static void one_step(void)
{
    struct node *node = nodes[rng_below(&rng, BLOCKS)];
    uint64_t what = rng_below(&rng, 40);
    tell_headers();
    if (what == 0) {
        start_anew();
    } else if (what < 5 && is_known(node)) {
        invalidate(node);
    } else if (what < 13 && is_known(node)) {
        reconsider(node);
    } else {
        feed(node);
    }
}

static void one_tree(uint64_t seed)
{
    const struct node *tip;
    rng_seed_u64(&rng, seed);
    root = (struct node){.fed = true};
    memset(bad, 0, sizeof bad);
    rig_open(&rig, seed, 1u << 16);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t back = rng_below(&rng, 3) ? 1 : 1 + (size_t)rng_below(&rng, 15);
        nodes[i] = node_grow(i < back ? &root : nodes[i - back], &rng);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        one_step();
        look_at_tip(seed, step);
    }
    for (size_t i = 0; i < BLOCKS; i++) { /* all is well, and all is here */
        tell_headers();
        reconsider(nodes[i]);
        feed(nodes[i]);
    }
    tip = look_at_tip(seed, STEPS);
    struct utxo_stats here = rig_stats(&rig), there;
    struct rig fresh;
    struct node *path[BLOCKS];
    size_t length = 0;
    for (const struct node *at = tip; at != &root; at = at->parent) {
        path[length++] = nodes[index_of(at)];
    }
    rig_open(&fresh, seed + 1, 1u << 20);
    while (length) {
        rig_feed(&fresh, path[--length]);
    }
    there = rig_stats(&fresh);
    cr_assert(hash256_equal(&here.hash, &there.hash), "seed %" PRIu64 ": another UTXO set", seed);
    rig_close(&fresh);
    rig_close(&rig);
    nodes_free(nodes, BLOCKS);
}

Test(candidates, whatever_comes_the_tip_is_the_best_there_is, .init = rig_begin, .fini = rig_end)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
        one_tree(seed);
    }
}
