/* Block templates: which transactions, in which order, within which limits; what the coinbase claims. */
#include <criterion/criterion.h>

#include "hashing/kernels/kernels.h"
#include "tests/unit/mempool/rig.h"

TestSuite(templates, .init = rig_begin, .fini = rig_end);

static struct tx *pooled(struct tx *tx)
{
    cr_assert_str_eq(submit(tx), "", "%s", rig.result.text);
    return tx;
}

static struct block_template *offered(void)
{
    return template_new(rig.chain, rig.pool, buf_span(&rig.payout), true, rig.now);
}

static uint32_t place_of(const struct block_template *t, const struct tx *tx)
{
    for (uint32_t i = 0; i < t->tx_count; i++) {
        if (hash256_equal(&t->txs[i]->txid, &tx->txid)) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* A cheap parent comes first when its child pays for both, and after what pays more than the two together. */
Test(templates, are_ordered_by_the_rate_of_packages)
{
    rig_open();
    struct tx *middle = pooled(spend_block(1, 5000)), *parent = pooled(spend_block(2, 200)),
              *child = pooled(spend_tx(parent, 0, 20000)), *best = pooled(spend_block(3, 50000)),
              *cheap = pooled(spend_block(4, 300));
    struct block_template *t = offered();
    cr_assert_eq(t->tx_count, 5);
    cr_expect_eq(place_of(t, best), 0);
    cr_expect_eq(place_of(t, parent), 1);
    cr_expect_eq(place_of(t, child), 2);
    cr_expect_eq(place_of(t, middle), 3);
    cr_expect_eq(place_of(t, cheap), 4);
    cr_expect_eq(t->fees.sat, 5000 + 200 + 20000 + 50000 + 300);
    template_free(t);
    struct block *block = rig_mine(true);
    cr_expect_eq(block->txs[0].outputs[0].value.sat, 50 * COIN_SAT + 75500);
    cr_expect_eq(mempool_count(rig.pool), 0);
    block_unref(block);
    tx_unref(middle);
    tx_unref(parent);
    tx_unref(child);
    tx_unref(best);
    tx_unref(cheap);
}

Test(templates, keep_within_the_weight)
{
    enum { COUNT = 14, PAD = 80000 };
    rig_open();
    uint64_t offered_weight = 0;
    struct tx *small = pooled(spend_block(40, 200));
    for (uint32_t i = 0; i < COUNT; i++) {
        struct recipe recipe = recipe_of(200000 + 1000 * (int64_t)i);
        recipe_spend_block(&recipe, 1 + i);
        recipe.pad_bytes = PAD;
        struct tx *tx = pooled(make_tx(&recipe));
        offered_weight += tx_weight(tx);
        tx_unref(tx);
    }
    cr_assert_gt(offered_weight, BLOCK_WEIGHT_MAX);
    struct block_template *t = offered();
    cr_expect_eq(t->tx_count, (BLOCK_WEIGHT_MAX - 4000) / (4 * (PAD + 130)) + 1, "%u", t->tx_count);
    cr_expect_neq(place_of(t, small), UINT32_MAX, "the gap that large ones leave is filled");
    cr_expect_leq(t->weight, BLOCK_WEIGHT_MAX);
    template_free(t);
    struct block *block = rig_mine(true);
    cr_expect_leq(block->weight, BLOCK_WEIGHT_MAX);
    cr_expect_gt(mempool_count(rig.pool), 0);
    block_unref(block);
    tx_unref(small);
}

/* The coinbase pays to any script: what it weighs and counts is not for others. */
Test(templates, leave_room_for_a_large_payout)
{
    enum { COUNT = 13, PAD = 74000, PAYOUT = 9000 };
    struct buf payout = {0}, raw = {0};
    rig_open();
    memset(buf_extend(&payout, PAYOUT), 0xac, PAYOUT); /* OP_CHECKSIG */
    for (uint32_t i = 0; i < COUNT; i++) {
        struct recipe recipe = recipe_of(200000);
        recipe_spend_block(&recipe, 1 + i);
        recipe.pad_bytes = PAD;
        tx_unref(pooled(make_tx(&recipe)));
    }
    for (uint32_t i = 0; i < 40; i++) {
        struct recipe recipe = recipe_of(100000);
        recipe_spend_block(&recipe, 1 + COUNT + i);
        recipe.pad_bytes = 1000;
        tx_unref(pooled(make_tx(&recipe)));
    }
    struct block_template *t = template_new(rig.chain, rig.pool, buf_span(&payout), true, rig.now);
    template_block(t, t->header.version, t->header.time, 0, &raw);
    struct block *block = block_parse(raw.data, raw.len, NULL);
    cr_assert(block);
    cr_expect_gt(mempool_count(rig.pool), t->tx_count, "not all fit");
    cr_expect_leq(block->weight, BLOCK_WEIGHT_MAX);
    cr_expect_leq(block->weight, t->weight);
    block_unref(block);
    template_free(t);
    buf_free(&payout);
}

/* Outputs with many signature operations, and nobody to spend them. */
static struct tx *with_sigops(uint32_t height, uint32_t count, int64_t fee_sat)
{
    static const uint8_t solution[2] = {1, 0x51};
    const struct block *block = chain_recent_block(rig.chain, &chain_at(rig.chain, height)->hash);
    struct buf script = {0}, raw = {0};
    memset(buf_extend(&script, count), 0xac, count); /* OP_CHECKSIG */
    struct tx_input in = {
        .prevout = {block->txs[0].txid, 0}, .script = span_of(solution, 2), .sequence = SEQUENCE_FINAL};
    struct tx_output out = {{block->txs[0].outputs[0].value.sat - fee_sat}, buf_span(&script)};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    tx_write(&raw, &tx, false);
    struct tx *parsed = tx_parse(buf_span(&raw), NULL);
    buf_free(&script);
    buf_free(&raw);
    return parsed;
}

Test(templates, keep_within_the_signature_operations)
{
    rig_open();
    for (uint32_t i = 0; i < 6; i++) {
        tx_unref(pooled(with_sigops(1 + i, 3990, 100000)));
    }
    struct tx *plain = pooled(spend_block(20, 300)), *too_many = with_sigops(21, 4001, 100000);
    cr_expect_str_eq(submit(too_many), "bad-txns-too-many-sigops");
    const struct mempool_entry *entry = mempool_find(rig.pool, &plain->txid);
    cr_expect_eq(entry->sigop_cost, 0);
    struct block_template *t = offered();
    cr_expect_eq(t->tx_count, 4 + 1, "four of 15,960 and the plain one within 80,000");
    cr_expect_leq(t->sigop_cost, BLOCK_SIGOPS_COST_MAX);
    template_free(t);
    block_unref(rig_mine(true));
    cr_expect_eq(mempool_count(rig.pool), 2);
    tx_unref(plain);
    tx_unref(too_many);
}

Test(templates, leave_out_what_is_not_final_yet)
{
    rig_open();
    struct recipe recipe = recipe_of(1000);
    recipe_spend_block(&recipe, 1);
    recipe.locktime = chain_tip(rig.chain)->height;
    struct tx *tx = pooled(make_tx(&recipe));
    struct block_template *t = offered();
    cr_expect_eq(t->tx_count, 1);
    template_free(t);
    const struct mempool_entry *chosen[1];
    cr_expect_eq(mempool_select(rig.pool, chosen, 1, 400000, 1000, recipe.locktime, 0), 0);
    cr_expect_eq(mempool_select(rig.pool, chosen, 1, 400000, 1000, recipe.locktime + 1, 0), 1);
    tx_unref(tx);
}

Test(templates, commit_to_the_witnesses)
{
    rig_open();
    tx_unref(pooled(spend_block(1, 1000)));
    struct block *block = rig_mine(true);
    const uint8_t *commitment = witness_commitment(block);
    cr_assert(commitment);
    const struct tx_input *in = &block->txs[0].inputs[0];
    cr_expect_eq(in->witness_count, 1);
    cr_expect_eq(in->witness[0].len, 32);
    struct hash256 root;
    uint8_t pair[64] = {0}, expected[32];
    merkle_root_of_txids(&root, block->txs, block->tx_count, true);
    memcpy(pair, root.b, 32);
    sha256d(expected, pair, 64);
    cr_expect_arr_eq(commitment, expected, 32);
    struct buf push = {0};
    script_push_height(&push, BLOCKS + 1);
    cr_expect_arr_eq(in->script.data, push.data, push.len);
    buf_free(&push);
    block_unref(block);
}

Test(templates, another_extranonce_is_another_coinbase)
{
    rig_open();
    tx_unref(pooled(spend_block(1, 1000)));
    struct block_template *t = offered();
    struct hash256 first = t->header.merkle_root;
    for (uint64_t n = 1; n < 300; n += 97) {
        struct buf raw = {0};
        struct hash256 root;
        template_set_extranonce(t, n);
        cr_expect_not(hash256_equal(&first, &t->header.merkle_root));
        template_block(t, t->header.version, t->header.time, 0, &raw);
        struct block *block = block_parse(raw.data, raw.len, NULL);
        cr_assert(block);
        merkle_root_of_txids(&root, block->txs, block->tx_count, false);
        cr_expect(hash256_equal(&root, &block->header.merkle_root), "the branch leads to the root");
        block_unref(block);
    }
    template_free(t);
}
