/*
 * Reorganisations: whatever the order in which the blocks of a tree come, the UTXO set at the tip is that of
 * a fresh chain that saw only the best branch.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/chain/rig.h"

/* The set of rig against that of a chain that sees only what leads to its tip. */
static void same_as_fresh(struct rig *rig, struct node **nodes, size_t count, uint64_t seed)
{
    struct rig fresh;
    struct node **path = mem_alloc((count + 1) * sizeof(struct node *));
    size_t length = 0;
    struct utxo_stats here = rig_stats(rig);
    for (size_t i = 0; i < count; i++) {
        for (struct node *at = nodes[i]; hash256_equal(&nodes[i]->block->hash, &here.tip->hash) && at->block;
             at = at->parent) {
            path[length++] = at;
        }
    }
    cr_assert_eq(length, here.tip->height);
    rig_open(&fresh, seed + 1, 1u << 20);
    size_t coins = length ? path[0]->coin_count : 0;
    while (length) {
        rig_feed(&fresh, path[--length]);
    }
    struct utxo_stats there = rig_stats(&fresh);
    cr_assert(hash256_equal(&here.tip->hash, &there.tip->hash));
    cr_assert(hash256_equal(&here.hash, &there.hash), "seed %" PRIu64 ": another UTXO set", seed);
    cr_assert_eq(here.txouts, coins, "seed %" PRIu64 ": %" PRIu64 " coins, not %zu", seed, here.txouts,
                 coins);
    rig_close(&fresh);
    mem_free(path);
}

/* ---- The tests --------------------------------------------------------------------------------------- */

TestSuite(reorganise, .init = rig_begin, .fini = rig_end);

static void random_tree(uint64_t seed)
{
    enum { BLOCKS = 80 };
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[BLOCKS];
    rng_seed_u64(&rng, seed);
    rig_open(&rig, seed, seed % 2 ? 1u << 20 : 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t back = rng_below(&rng, 3) ? 1 : 1 + (size_t)rng_below(&rng, 12);
        nodes[i] = node_grow(i < back ? &root : nodes[i - back], &rng);
    }
    for (size_t left = BLOCKS; left;) {
        struct node *node = nodes[rng_below(&rng, BLOCKS)];
        if (!node->fed && node->parent->fed) {
            rig_feed(&rig, node);
            left--;
        }
    }
    same_as_fresh(&rig, nodes, BLOCKS, seed);
    rig_close(&rig);
    nodes_free(nodes, BLOCKS);
}

Test(reorganise, random_trees_equal_a_fresh_chain)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
        random_tree(seed);
    }
}

/* Two branches from the tenth block, each spending its own coins and the common ones: over to the second when
 * it is longer, and back when the first is. */
Test(reorganise, five_hundred_blocks_there_and_back)
{
    enum { COMMON = 10, DEPTH = 500, ALL = COMMON + 2 * DEPTH + 3 };
    const uint64_t seed = 42;
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[ALL];
    rng_seed_u64(&rng, seed);
    rig_open(&rig, seed, 64u << 10);
    size_t n = 0;
    for (struct node *at = &root; n < COMMON + DEPTH; at = nodes[n++]) {
        nodes[n] = node_grow(at, &rng);
    }
    for (struct node *at = nodes[COMMON - 1]; n < COMMON + 2 * DEPTH + 1; at = nodes[n++]) {
        nodes[n] = node_grow(at, &rng);
    }
    nodes[n] = node_grow(nodes[COMMON + DEPTH - 1], &rng);
    nodes[n + 1] = node_grow(nodes[n], &rng);
    n += 2;
    for (size_t i = 0; i < ALL; i++) {
        rig_feed(&rig, nodes[i]);
        uint32_t height = chain_tip(rig.chain)->height;
        if (i == COMMON + DEPTH - 1 || i == COMMON + 2 * DEPTH || i == ALL - 1) {
            cr_assert_eq(height, nodes[i]->height);
            same_as_fresh(&rig, nodes, i + 1, seed);
        }
    }
    struct chain_metrics metrics;
    chain_metrics(rig.chain, &metrics);
    cr_assert_eq(metrics.blocks_disconnected, 2 * DEPTH + 1);
    rig_close(&rig);
    nodes_free(nodes, ALL);
}

/* While more is expected, catching up makes no batch; whoever waits for one gets it, and the end makes one.
 */
Test(reorganise, batches_gather_while_more_is_expected)
{
    enum { BLOCKS = 12 };
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[BLOCKS];
    rng_seed_u64(&rng, 7);
    rig_open(&rig, 7, 1u << 20);
    chain_expect_more(rig.chain, true);
    for (size_t i = 0; i < BLOCKS; i++) {
        nodes[i] = node_grow(i ? nodes[i - 1] : &root, &rng);
        rig_feed(&rig, nodes[i]);
        cr_assert_eq(chain_tip(rig.chain)->height, i + 1);
        cr_assert_eq(rig.durable, i < 6 ? 0 : 6);
        if (i == 5) {
            chain_flush(rig.chain);
            rig_pump(&rig);
            cr_assert_eq(rig.durable, 6);
        }
    }
    chain_expect_more(rig.chain, false);
    rig_pump(&rig);
    cr_assert_eq(rig.durable, BLOCKS);
    rig.durable = 0;
    chain_flush(rig.chain); /* nothing is left to write: told at once */
    cr_assert_eq(rig.durable, BLOCKS);
    rig_close(&rig);
    nodes_free(nodes, BLOCKS);
}

/* The scripts of a legal block may take minutes; who stops the node does not wait for them, and nothing is
 * held against the block. */
Test(reorganise, scripts_are_given_up_when_the_chain_stops)
{
    enum { BLOCKS = 4 };
    struct rng rng;
    struct rig rig;
    struct error error = {0};
    struct node root = {.fed = true}, *nodes[BLOCKS];
    rng_seed_u64(&rng, 8);
    rig_open(&rig, 8, 1u << 20);
    for (size_t i = 0; i < BLOCKS - 1; i++) {
        nodes[i] = node_grow(i ? nodes[i - 1] : &root, &rng);
        rig_feed(&rig, nodes[i]);
    }
    nodes[BLOCKS - 1] = node_spend(nodes[BLOCKS - 2], &rng, span_of(NULL, 0));
    const struct block *block = nodes[BLOCKS - 1]->block;
    cr_assert(chain_accept_block(rig.chain, nodes[BLOCKS - 1]->block,
                                 (struct moment){.unix_us = INT64_C(4000000000000000)}, true, 0, &error));
    chain_stop(rig.chain);
    rig_pump(&rig);
    cr_assert(chain_idle(rig.chain));
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS - 1);
    cr_assert_not(chain_find(rig.chain, &block->hash)->status & BLOCK_BAD);
    rig_reopen(&rig, 1u << 20);
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS);
    rig_close(&rig);
    nodes_free(nodes, BLOCKS);
}

/* A script may take seconds: also for the reason why it does not pass, the caller's thread does not run it.
 */
Test(reorganise, scripts_run_in_jobs_alone)
{
    enum { BLOCKS = 4 };
    static const uint8_t fails = 0x6a;
    struct rng rng;
    struct rig rig;
    struct error error = {0};
    struct node root = {.fed = true}, *nodes[BLOCKS];
    unsigned checks = 0;
    rng_seed_u64(&rng, 9);
    rig_open(&rig, 9, 1u << 20);
    for (size_t i = 0; i < BLOCKS - 1; i++) {
        nodes[i] = node_grow(i ? nodes[i - 1] : &root, &rng);
        rig_feed(&rig, nodes[i]);
    }
    nodes[BLOCKS - 1] = node_spend(nodes[BLOCKS - 2], &rng, span_of(&fails, 1));
    cr_assert(chain_accept_block(rig.chain, nodes[BLOCKS - 1]->block,
                                 (struct moment){.unix_us = INT64_C(4000000000000000)}, true, 0, &error));
    while (checks < 2) {
        cr_assert_not(list_empty(&rig.jobs));
        struct job *job = CONTAINER_OF(rig.jobs.next, struct job, link);
        list_remove(&job->link);
        if (job->kind != JOB_CHECK_SCRIPTS) {
            store_run(rig.store, job, NULL);
        } else if (++checks == 1) {
            cr_assert_not(job->check.check(job->check.batch, 0));
            job->check.failed_index = 0;
        } else { /* the reason is asked for */
            cr_assert_eq(job->check.count, 1);
            cr_assert_not(job->check.check(job->check.batch, 0));
            rig.may_fail = job->failed = true; /* no block is refused in this rig */
        }
        job_finish(job);
    }
    rig_close(&rig);
    nodes_free(nodes, BLOCKS);
}
