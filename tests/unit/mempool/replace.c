/* Replacement by fee: each rule with its word. */
#include <criterion/criterion.h>

#include "tests/unit/mempool/rig.h"

static void begin(void)
{
    rig_begin();
    rig_open();
}

TestSuite(replace, .init = begin, .fini = rig_end);

static void expect(struct tx *tx, const char *word)
{
    cr_expect_str_eq(submit(tx), word, "%s", rig.result.text);
    cr_expect_eq(in_pool(tx), !*word);
    tx_unref(tx);
}

static struct tx *pooled(struct tx *tx)
{
    cr_assert_str_eq(submit(tx), "", "%s", rig.result.text);
    return tx;
}

Test(replace, by_more_fee_and_enough_for_relay)
{
    struct tx *old = pooled(spend_block(1, 1000));
    int64_t vsize = tx_vsize(old);
    expect(spend_block(1, 1000 - 1), "insufficient fee");
    expect(spend_block(1, 1000 + vsize - 1), "insufficient fee");
    expect(spend_block(1, 1000 + vsize), "");
    cr_expect_not(in_pool(old));
    cr_expect_str_eq(rig.reason, "replaced");
    tx_unref(old);
}

/* More fee, but a lower rate. */
Test(replace, by_a_better_rate)
{
    struct tx *old = pooled(spend_block(1, 2000));
    struct recipe recipe = recipe_of(10000);
    recipe_spend_block(&recipe, 1);
    recipe.pad_bytes = 2000;
    expect(make_tx(&recipe), "insufficient fee");
    cr_expect(in_pool(old));
    tx_unref(old);
}

Test(replace, pays_for_the_descendants)
{
    struct tx *old = pooled(spend_block(1, 1000)), *child = pooled(spend_tx(old, 0, 50000));
    expect(spend_block(1, 20000), "insufficient fee");
    cr_expect(in_pool(child));
    expect(spend_block(1, 60000), "");
    cr_expect_not(in_pool(old));
    cr_expect_not(in_pool(child));
    tx_unref(old);
    tx_unref(child);
}

Test(replace, adds_no_unconfirmed_parent)
{
    struct tx *old = pooled(spend_block(1, 1000)), *other = pooled(spend_block(2, 1000));
    struct recipe recipe = recipe_of(90000);
    recipe_spend_block(&recipe, 1);
    recipe_spend(&recipe, other, 0);
    expect(make_tx(&recipe), "replacement-adds-unconfirmed");
    recipe = recipe_of(90000);
    recipe_spend_block(&recipe, 1);
    recipe_spend_block(&recipe, 3);
    expect(make_tx(&recipe), "");
    tx_unref(old);
    tx_unref(other);
}

Test(replace, spends_nothing_that_it_replaces)
{
    struct tx *old = pooled(spend_block(1, 1000)), *child = pooled(spend_tx(old, 0, 1000));
    struct recipe recipe = recipe_of(90000);
    recipe_spend_block(&recipe, 1);
    recipe_spend(&recipe, child, 0);
    expect(make_tx(&recipe), "bad-txns-spends-conflicting-tx");
    tx_unref(old);
    tx_unref(child);
}

/* Five parents with 24 children each: 125 with themselves. */
Test(replace, a_hundred_at_most)
{
    struct recipe all = recipe_of(3000000);
    for (uint32_t k = 0; k < 5; k++) {
        struct recipe recipe = recipe_of(5000);
        recipe_spend_block(&recipe, 1 + k);
        recipe.out_count = 24;
        struct tx *parent = pooled(make_tx(&recipe));
        for (uint32_t i = 0; i < 24; i++) {
            tx_unref(pooled(spend_tx(parent, i, 1000)));
        }
        tx_unref(parent);
        recipe_spend_block(&all, 1 + k);
    }
    expect(make_tx(&all), "too many potential replacements");
    all.in_count = 4; /* exactly 100 */
    expect(make_tx(&all), "");
    cr_expect_eq(mempool_count(rig.pool), 26);
}

/* It takes the place of the one that it replaces below a parent whose family is full. */
Test(replace, in_a_full_family)
{
    struct recipe recipe = recipe_of(10000);
    recipe_spend_block(&recipe, 1);
    recipe.out_count = 24;
    struct tx *parent = pooled(make_tx(&recipe)), *last = NULL;
    for (uint32_t i = 0; i < 24; i++) {
        tx_unref(last);
        last = pooled(spend_tx(parent, i, 1000));
    }
    expect(spend_tx(parent, 23, 5000), "");
    cr_expect_not(in_pool(last));
    cr_expect_eq(mempool_find(rig.pool, &parent->txid)->descendant_count, 25);
    tx_unref(parent);
    tx_unref(last);
}
