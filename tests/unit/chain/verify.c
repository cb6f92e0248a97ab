/* verifychain: every level finds its own kind of damage, and those below it do not. */
#include <criterion/criterion.h>

#include "tests/unit/chain/rig.h"

enum { BLOCKS = 24, DAMAGED = 15, CACHE = 1 << 20 };

static struct rng rng;
static struct rig rig;
static struct node root, *nodes[BLOCKS + 1];
static size_t grown;
static int answers;
static bool answer;

static void add(struct node *node)
{
    nodes[grown++] = node;
    rig_feed(&rig, node);
}

static void begin(void)
{
    rig_begin();
    rng_seed_u64(&rng, 12);
    root = (struct node){.fed = true};
    grown = 0;
    rig_open(&rig, 11, CACHE);
    while (grown < BLOCKS) {
        add(node_grow(grown ? nodes[grown - 1] : &root, &rng));
    }
    rig_reopen(&rig, CACHE);
}

static void end(void)
{
    rig_close(&rig);
    nodes_free(nodes, grown);
    rig_end();
}

TestSuite(verify, .init = begin, .fini = end);

static void on_answer(void *context, bool holds)
{
    (void)context;
    answers++;
    answer = holds;
}

static bool holds(unsigned level, uint32_t blocks)
{
    answers = 0;
    cr_assert(chain_verify(rig.chain, level, blocks, on_answer, NULL));
    rig_pump(&rig);
    cr_assert_eq(answers, 1);
    return answer;
}

/* From this level on it is found, over all blocks; not among those above it. */
static void found_from(unsigned level)
{
    for (unsigned i = 0; i <= 4; i++) {
        cr_expect_eq(holds(i, 0), i < level, "level %u", i);
        cr_expect(holds(i, BLOCKS - DAMAGED), "level %u above the damage", i);
        cr_expect_eq(holds(i, BLOCKS - DAMAGED + 1), i < level, "level %u down to it", i);
    }
}

static const struct block_entry *damaged(void)
{
    return chain_at(rig.chain, DAMAGED);
}

Test(verify, an_undamaged_chain_holds)
{
    for (unsigned level = 0; level <= 4; level++) {
        cr_expect(holds(level, 0));
        cr_expect(holds(level, 6));
        cr_expect(holds(level, 1000));
    }
    cr_expect_eq(chain_tip(rig.chain)->height, BLOCKS);
}

Test(verify, level_0_reads)
{
    rig_flip(&rig, "blk00000.dat", damaged()->data_offset + 4);
    found_from(0);
}

Test(verify, level_1_checks)
{
    rig_flip(&rig, "blk00000.dat", damaged()->data_offset + damaged()->data_len - 1);
    found_from(1);
}

Test(verify, level_2_reads_undo_records)
{
    rig_flip(&rig, "rev00000.dat", damaged()->undo_offset + damaged()->undo_len - 1);
    found_from(2);
}

/* A coin of the damaged block that is still there, with another amount. */
Test(verify, level_3_compares_coins)
{
    const struct node *node = nodes[DAMAGED - 1], *tip = nodes[BLOCKS - 1];
    const struct free_coin *coin = NULL;
    for (size_t i = 0; i < tip->coin_count; i++) {
        if (hash256_equal(&tip->coins[i].outpoint.txid, &node->block->txs[0].txid)) {
            coin = &tip->coins[i];
        }
    }
    cr_assert(coin, "the seed has left no coin of this block");
    uint8_t key[COIN_KEY_BYTES], value[] = {DAMAGED << 1 | 1, 1, 0x51};
    struct job *job = job_new(JOB_COMMIT, NULL, NULL);
    coin_key(key, &coin->outpoint);
    kv_put(&job->commit.batch, CF_COINS, span_of(key, sizeof key), span_of(value, sizeof value));
    store_run(rig.store, job, NULL);
    cr_assert_not(job->failed);
    job_free(job);
    found_from(3);
}

/* A block whose script fails, taken while scripts were not run. */
Test(verify, level_4_runs_scripts)
{
    static const uint8_t fails = 0x6a; /* OP_RETURN */
    rig.scripts_all_pass = true;
    add(node_spend(nodes[BLOCKS - 1], &rng, span_of(&fails, 1)));
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS + 1);
    cr_expect(holds(4, 1), "nobody ran them");
    rig.scripts_all_pass = false;
    for (unsigned level = 0; level <= 4; level++) {
        cr_expect_eq(holds(level, 1), level < 4, "level %u", level);
    }
}

Test(verify, one_at_a_time_and_blocks_wait_for_its_end)
{
    answers = 0;
    cr_assert(chain_verify(rig.chain, 3, 0, on_answer, NULL));
    cr_assert_not(chain_verify(rig.chain, 3, 0, on_answer, NULL));
    cr_assert_eq(answers, 0);
    struct node *next = node_grow(nodes[grown - 1], &rng);
    struct error error = {0};
    cr_assert(chain_accept_block(rig.chain, next->block,
                                 (struct moment){.unix_us = INT64_C(4000000000000000)}, true, 0, &error));
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS);
    rig_pump(&rig);
    cr_assert_eq(answers, 1);
    cr_assert(answer);
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS + 1);
    nodes[grown++] = next;
}

Test(verify, it_ends_when_the_chain_stops)
{
    answers = 0;
    cr_assert(chain_verify(rig.chain, 3, 0, on_answer, NULL));
    chain_stop(rig.chain);
    rig_pump(&rig);
    cr_assert_eq(answers, 1);
    cr_assert_not(answer);
    cr_assert(chain_idle(rig.chain));
}
