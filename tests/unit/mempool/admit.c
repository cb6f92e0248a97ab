/* Ways into the pool and out of it: fees, maturity, time, families, the bound of memory, age, blocks. */
#include <criterion/criterion.h>

#include "tests/unit/mempool/rig.h"

TestSuite(admit, .init = rig_begin, .fini = rig_end);

static void admits(struct tx *tx)
{
    cr_assert_str_eq(submit(tx), "", "%s", rig.result.text);
    cr_assert(in_pool(tx));
}

static void refuses(struct tx *tx, const char *word)
{
    cr_expect_str_eq(submit(tx), word, "%s", rig.result.text);
    cr_expect_not(in_pool(tx) && rig.result.kind != ERROR_DUPLICATE);
}

Test(admit, the_fee_floor_is_rounded_up)
{
    rig.config.min_fee_per_kvb_sat = 1001;
    rig_open();
    struct tx *probe = spend_block(1, 1);
    int64_t floor = (1001 * (int64_t)tx_vsize(probe) + 999) / 1000;
    struct tx *less = spend_block(1, floor - 1), *enough = spend_block(1, floor);
    cr_assert_eq(tx_vsize(enough), tx_vsize(probe));
    cr_assert_neq(1001 * (int64_t)tx_vsize(probe) % 1000, 0);
    refuses(less, "min relay fee not met");
    admits(enough);
    refuses(enough, "txn-already-in-mempool");
    tx_unref(probe);
    tx_unref(less);
    tx_unref(enough);
}

Test(admit, coinbases_mature)
{
    rig_open();
    uint32_t next = chain_tip(rig.chain)->height + 1;
    struct tx *young = spend_block(next - MATURITY + 1, 1000), *ripe = spend_block(next - MATURITY, 1000);
    refuses(young, "bad-txns-premature-spend-of-coinbase");
    admits(ripe);
    tx_unref(young);
    tx_unref(ripe);
}

Test(admit, unknown_inputs_and_bad_scripts)
{
    rig_open();
    struct recipe recipe = recipe_of(1000);
    recipe_spend_block(&recipe, 1);
    recipe.in[0].index = 7;
    struct tx *lost = make_tx(&recipe);
    refuses(lost, "missing-inputs");
    cr_expect_eq(rig.result.kind, ERROR_MISSING);
    tx_unref(lost);
    recipe = recipe_of(-1000);
    recipe_spend_block(&recipe, 1);
    struct tx *greedy = make_tx(&recipe);
    refuses(greedy, "bad-txns-in-belowout");
    tx_unref(greedy);
}

/* Does the first job that waits, a check of scripts. */
static void check_scripts(void)
{
    cr_assert_not(list_empty(&rig.jobs));
    struct job *job = CONTAINER_OF(rig.jobs.next, struct job, link);
    cr_assert_eq(job->kind, JOB_CHECK_SCRIPTS);
    list_remove(&job->link);
    if (!job->check.check(job->check.batch, 0)) {
        job->check.failed_index = 0;
    }
    job_finish(job);
}

/* A script may take a second: whatever is asked of it again, the caller's thread does not run it. */
Test(admit, scripts_run_in_jobs_alone)
{
    rig_open();
    struct tx *tx = spend_block(1, 10000);
    struct buf raw = {0};
    tx_write(&raw, tx, true);
    raw.data[4 + 1 + 36 + 1 + 1] = 0x52; /* in the push of the redeem script: another one */
    struct tx *broken = tx_parse(buf_span(&raw), NULL);
    mempool_submit(rig.pool, broken, 1, rig.now);
    check_scripts();
    cr_assert_eq(rig.result.kind, ERROR_NONE);
    check_scripts();
    cr_assert_eq(rig.result.kind, ERROR_INVALID, "%s", rig.result.word);
    cr_assert(list_empty(&rig.jobs));
    tx_unref(broken);
    tx_unref(tx);
    buf_free(&raw);
}

/* While the scripts of one are looked at, others wait: as bytes too they are bounded, who sends many large
 * ones is refused first, and all is free again when they have been judged. */
Test(admit, what_waits_is_bounded_in_bytes)
{
    rig_open();
    struct recipe recipe = recipe_of(200000);
    recipe_spend_block(&recipe, 1);
    recipe.pad_bytes = 90000;
    struct tx *large = make_tx(&recipe), *small = spend_block(2, 10000);
    const char *const busy = "busy";
    uint32_t taken = 0;
    while (strcmp(rig.result.word, busy) != 0) {
        mempool_submit(rig.pool, large, 1, rig.now);
        taken++;
        cr_assert_leq(taken * 90000ul, MEMPOOL_PENDING_BYTES_MAX);
    }
    rig.result = (struct error){0};
    mempool_submit(rig.pool, small, 2, rig.now);
    cr_assert_str_empty(rig.result.word, "somebody else is not refused");
    for (uint64_t source = 3; strcmp(rig.result.word, busy) != 0; source++) {
        mempool_submit(rig.pool, large, source, rig.now);
        taken++;
        cr_assert_leq(taken * 90000ul, MEMPOOL_PENDING_BYTES_MAX);
    }
    cr_assert_gt(rig.pool->queued_bytes, MEMPOOL_PENDING_BYTES_MAX / 2);
    rig_pump();
    cr_assert_eq(rig.pool->queued_bytes, 0);
    cr_assert(in_pool(large) && in_pool(small));
    tx_unref(large);
    tx_unref(small);
}

/* The peer that sends much keeps itself waiting, and what one source sends stays in order. */
Test(admit, sources_take_turns)
{
    rig_open();
    struct tx *many[4], *later[2], *calls[2];
    for (uint32_t i = 0; i < ARRAY_COUNT(many); i++) {
        struct recipe recipe = recipe_of(200000);
        recipe_spend_block(&recipe, 1 + i);
        recipe.pad_bytes = 90000;
        many[i] = make_tx(&recipe);
        mempool_submit(rig.pool, many[i], 1, rig.now);
    }
    later[0] = spend_block(5, 10000);
    later[1] = spend_tx(later[0], 0, 10000);
    calls[0] = spend_block(6, 10000);
    calls[1] = spend_tx(calls[0], 0, 10000);
    for (uint32_t i = 0; i < 2; i++) {
        mempool_submit(rig.pool, later[i], 2, rig.now);
        mempool_submit(rig.pool, calls[i], (UINT64_C(4) << 32) + i, rig.now);
    }
    check_scripts();
    cr_assert(in_pool(many[0]), "it was under way");
    while (!in_pool(later[1]) || !in_pool(calls[1])) {
        struct job *job = CONTAINER_OF(rig.jobs.next, struct job, link);
        cr_assert_eq(rig.result.kind, ERROR_NONE, "%s", rig.result.word);
        if (job->kind == JOB_CHECK_SCRIPTS) {
            check_scripts();
        } else { /* whether the store has what it spends */
            list_remove(&job->link);
            job_finish(job);
        }
    }
    cr_assert_not(in_pool(many[1]));
    rig_pump();
    cr_assert(in_pool(many[3]));
    for (uint32_t i = 0; i < ARRAY_COUNT(many); i++) {
        tx_unref(many[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        tx_unref(later[i]);
        tx_unref(calls[i]);
    }
}

Test(admit, time_locks)
{
    rig_open();
    uint32_t height = chain_tip(rig.chain)->height;
    struct recipe recipe = recipe_of(1000);
    recipe_spend_block(&recipe, 1);
    recipe.locktime = height + 1;
    struct tx *later = make_tx(&recipe);
    refuses(later, "non-final");
    recipe.locktime = height;
    struct tx *now = make_tx(&recipe);
    admits(now);
    tx_unref(later);
    tx_unref(now);

    recipe = recipe_of(1000); /* BIP68: a number of blocks since the coin's */
    recipe_spend_block(&recipe, height - 9);
    recipe.sequence[0] = 11;
    later = make_tx(&recipe);
    refuses(later, "non-BIP68-final");
    recipe.sequence[0] = 10;
    now = make_tx(&recipe);
    admits(now);
    tx_unref(later);
    tx_unref(now);
}

Test(admit, a_chain_of_twenty_five)
{
    rig_open();
    struct tx *chain[26];
    chain[0] = spend_block(1, 1000);
    admits(chain[0]);
    for (int i = 1; i < 25; i++) {
        chain[i] = spend_tx(chain[i - 1], 0, 1000);
        admits(chain[i]);
    }
    chain[25] = spend_tx(chain[24], 0, 1000);
    refuses(chain[25], "too-long-mempool-chain");
    const struct mempool_entry *first = mempool_find(rig.pool, &chain[0]->txid),
                               *last = mempool_find(rig.pool, &chain[24]->txid);
    cr_expect_eq(first->descendant_count, 25);
    cr_expect_eq(last->ancestor_count, 25);
    cr_expect_eq(first->descendant_fee_sat, 25000);
    cr_expect_eq(last->ancestor_fee_sat, 25000);
    block_unref(rig_mine(true)); /* the whole chain is one package */
    cr_expect_eq(mempool_count(rig.pool), 0);
    cr_expect_str_eq(rig.reason, "block");
    admits(chain[25]);
    for (int i = 0; i < 26; i++) {
        tx_unref(chain[i]);
    }
}

/* 25 with the parent; one more only as the small and single child of a parent with no other ancestor. */
Test(admit, twenty_four_children_and_the_carve_out)
{
    rig_open();
    struct recipe recipe = recipe_of(10000);
    recipe_spend_block(&recipe, 1);
    recipe.out_count = 27;
    struct tx *parent = make_tx(&recipe);
    admits(parent);
    for (uint32_t i = 0; i < 24; i++) {
        struct tx *child = spend_tx(parent, i, 1000);
        admits(child);
        tx_unref(child);
    }
    recipe = recipe_of(20000);
    recipe_spend(&recipe, parent, 24);
    recipe.pad_bytes = 10001;
    struct tx *large = make_tx(&recipe), *small = spend_tx(parent, 25, 1000),
              *more = spend_tx(parent, 26, 1000);
    refuses(large, "too-long-mempool-chain");
    admits(small);
    refuses(more, "too-long-mempool-chain");
    tx_unref(parent);
    tx_unref(large);
    tx_unref(small);
    tx_unref(more);
}

Test(admit, a_family_of_101_kilobytes)
{
    rig_open();
    struct recipe recipe = recipe_of(200000);
    recipe_spend_block(&recipe, 1);
    recipe.pad_bytes = 60000;
    struct tx *parent = make_tx(&recipe);
    admits(parent);
    recipe = recipe_of(200000);
    recipe_spend(&recipe, parent, 0);
    recipe.pad_bytes = 41000;
    struct tx *large = make_tx(&recipe);
    refuses(large, "too-long-mempool-chain");
    recipe.pad_bytes = 40000;
    struct tx *fits = make_tx(&recipe);
    admits(fits);
    tx_unref(parent);
    tx_unref(large);
    tx_unref(fits);
}

static int64_t mixed_fee(uint32_t i)
{
    return 21000 + 100000 * (int64_t)(i * 5 % 12); /* every twelfth part once, in a mixed order */
}

/* The packages that pay least go, and the price of entry rises above theirs; with time it falls again. */
Test(admit, when_it_is_full_the_cheapest_go)
{
    enum { COUNT = 12, ROOM = 8 };
    rig_open();
    struct tx *txs[COUNT];
    struct mempool_info info;
    for (uint32_t i = 0; i < COUNT; i++) {
        struct recipe recipe = recipe_of(mixed_fee(i));
        recipe_spend_block(&recipe, 1 + i);
        recipe.pad_bytes = 20000;
        txs[i] = make_tx(&recipe);
        submit(txs[i]);
        mempool_info(rig.pool, &info);
        rig.pool->config.bytes_max = i ? rig.pool->config.bytes_max : info.bytes_used * ROOM;
    }
    cr_expect_eq(mempool_count(rig.pool), ROOM);
    cr_expect_leq(info.bytes_used, rig.pool->config.bytes_max);
    cr_expect_gt(info.min_fee_per_kvb_sat, 1000);
    for (uint32_t i = 0; i < COUNT; i++) {
        cr_expect_eq(in_pool(txs[i]), mixed_fee(i) >= mixed_fee(0) + 100000 * (COUNT - ROOM), "%u", i);
        tx_unref(txs[i]);
    }
    struct tx *cheap = spend_block(20, 200);
    refuses(cheap, "mempool min fee not met");
    tx_unref(cheap);
    rig.now.unix_us += INT64_C(30) * 43200 * 1000000; /* half-lives */
    mempool_expire(rig.pool, rig.now);
    mempool_info(rig.pool, &info);
    cr_expect_eq(info.min_fee_per_kvb_sat, 1000);
}

static double eviction_rate(const struct mempool_entry *entry)
{
    return MAX((double)entry->descendant_fee_sat / (double)entry->descendant_vsize,
               (double)entry->modified_fee_sat / entry->vsize);
}

/* Families come, change what they are worth, and go: at the front there is never one that is worth more than
 * another. */
Test(admit, the_cheapest_is_always_known)
{
    enum { FAMILIES = 20, STEPS = 400 };
    struct tx *txs[FAMILIES][4];
    rig_open();
    for (uint32_t f = 0; f < FAMILIES; f++) {
        txs[f][0] = spend_block(1 + f, 1000 + (int64_t)rng_below(&rig.rng, 100000));
        for (uint32_t i = 1; i < ARRAY_COUNT(txs[f]); i++) {
            txs[f][i] = spend_tx(txs[f][i - 1], 0, 1000 + (int64_t)rng_below(&rig.rng, 100000));
        }
    }
    for (unsigned step = 0; step < STEPS; step++) {
        struct tx *tx = txs[rng_below(&rig.rng, FAMILIES)][rng_below(&rig.rng, 4)];
        const struct mempool_entry *entry;
        struct mempool_entry *known = pool_find(rig.pool, &tx->txid);
        if (!known) {
            submit(tx);
        } else if (rng_below(&rig.rng, 2)) {
            pool_remove_with_descendants(rig.pool, known, "expiry");
        } else {
            cr_assert(mempool_prioritise(rig.pool, &tx->txid, (int64_t)rng_below(&rig.rng, 200000) - 100000));
        }
        cr_assert_eq(rig.pool->cheapest_count, mempool_count(rig.pool));
        for (size_t at = 0; mempool_next(rig.pool, &at, &entry);) {
            cr_assert_geq(eviction_rate(entry), eviction_rate(rig.pool->cheapest[0]), "step %u", step);
            cr_assert_eq(rig.pool->cheapest[entry->cheapest_at], entry);
        }
    }
    for (uint32_t f = 0; f < FAMILIES; f++) {
        for (uint32_t i = 0; i < ARRAY_COUNT(txs[f]); i++) {
            tx_unref(txs[f][i]);
        }
    }
}

/* A parent that pays nothing much stays as long as its child pays for both. */
Test(admit, a_child_keeps_its_parent)
{
    enum { PAD = 20000 };
    rig.config.bytes_max = 5 * (PAD + 2000);
    rig_open();
    struct recipe recipe = recipe_of(20500);
    recipe_spend_block(&recipe, 1);
    recipe.pad_bytes = PAD;
    struct tx *parent = make_tx(&recipe), *child = spend_tx(parent, 0, 1000000);
    admits(parent);
    admits(child);
    for (uint32_t i = 2; i < 10; i++) {
        recipe = recipe_of(30000);
        recipe_spend_block(&recipe, i);
        recipe.pad_bytes = PAD;
        struct tx *other = make_tx(&recipe);
        submit(other);
        tx_unref(other);
    }
    cr_expect(in_pool(parent));
    cr_expect(in_pool(child));
    cr_expect_gt(rig.removed, 0);
    cr_expect_str_eq(rig.reason, "sizelimit");
    tx_unref(parent);
    tx_unref(child);
}

Test(admit, age_takes_a_family)
{
    rig_open();
    struct tx *parent = spend_block(1, 1000), *child = spend_tx(parent, 0, 1000);
    admits(parent);
    rig.now.unix_us += INT64_C(1000) * 1000000;
    admits(child);
    rig.now.unix_us += (rig.config.expiry_s - 500) * 1000000; /* the child alone is young enough */
    mempool_expire(rig.pool, rig.now);
    cr_expect_eq(mempool_count(rig.pool), 0);
    cr_expect_str_eq(rig.reason, "expiry");
    tx_unref(parent);
    tx_unref(child);
}

Test(admit, a_block_takes_what_it_holds_and_what_it_contradicts)
{
    rig_open();
    struct tx *pooled = spend_block(1, 1000), *child = spend_tx(pooled, 0, 1000),
              *rival = spend_block(1, 2000);
    admits(pooled);
    admits(child);
    cr_assert(rig_take_block(rig_block_on(chain_tip(rig.chain), &rival, 1)));
    cr_expect_eq(mempool_count(rig.pool), 0);
    cr_expect_str_eq(rig.reason, "conflict");
    refuses(pooled, "missing-inputs");
    tx_unref(pooled);
    tx_unref(child);
    tx_unref(rival);
}

/* What a reorganisation returns comes back, parents first, except what the new branch makes impossible. */
Test(admit, reorganisations_give_back)
{
    rig_open();
    const struct block_entry *fork = chain_tip(rig.chain);
    uint32_t ripe = fork->height + 1 - MATURITY;
    struct tx *parent = spend_block(1, 1000), *child = spend_tx(parent, 0, 1000),
              *young = spend_block(ripe + 1, 1000), *pooled = spend_block(2, 1000);
    admits(pooled);
    cr_assert(rig_take_block(rig_block_on(fork, &parent, 1)));
    struct tx *const both[2] = {child, young};
    cr_assert(rig_take_block(rig_block_on(chain_tip(rig.chain), both, 2)));
    struct block *first = rig_block_on(fork, NULL, 0), *second, *third;
    struct block_entry at = *fork;
    at.hash = first->hash;
    at.height++;
    at.header.time = first->header.time;
    second = rig_block_on(&at, NULL, 0);
    at.hash = second->hash;
    at.height++;
    at.header.time = second->header.time;
    third = rig_block_on(&at, NULL, 0);
    rig_take_block(first);
    rig_take_block(second);
    cr_assert_eq(mempool_count(rig.pool), 1);
    cr_assert(rig_take_block(third));
    cr_assert_eq(chain_tip(rig.chain)->height, fork->height + 3);
    cr_expect(in_pool(parent));
    cr_expect(in_pool(child));
    cr_expect(in_pool(pooled));
    cr_expect(in_pool(young), "its coinbase is older than the fork, and the branch is longer");
    cr_expect_eq(mempool_find(rig.pool, &child->txid)->ancestor_count, 2);
    tx_unref(parent);
    tx_unref(child);
    tx_unref(young);
    tx_unref(pooled);
}

/* What the first returned may spend what the second does. */
Test(admit, a_reorganisation_while_another_is_digested)
{
    rig_open();
    const struct block_entry *tip = chain_tip(rig.chain);
    struct tx *parent = spend_block(1, 1000), *child = spend_tx(parent, 0, 1000),
              *other = spend_block(2, 1000);
    struct block *older = rig_block_on(tip, &parent, 1), *newer = rig_block_on(tip, &child, 1);
    mempool_submit(rig.pool, other, 1, rig.now); /* is under way all the time */
    mempool_block_disconnected(rig.pool, tip, newer);
    mempool_settled(rig.pool, rig.now);
    mempool_block_disconnected(rig.pool, tip, older);
    mempool_settled(rig.pool, rig.now);
    rig_pump();
    cr_expect(in_pool(parent));
    cr_expect(in_pool(child));
    cr_expect(in_pool(other));
    block_unref(older);
    block_unref(newer);
    tx_unref(parent);
    tx_unref(child);
    tx_unref(other);
}

/* A spend of a coinbase that the new branch does not have is gone, with what builds on it. */
Test(admit, reorganisations_take_coins)
{
    rig_open();
    const struct block_entry *fork = chain_at(rig.chain, BLOCKS - 5);
    struct tx *orphaned = spend_block(fork->height + 1, 1000), *child = spend_tx(orphaned, 0, 1000),
              *kept = spend_block(1, 1000);
    admits(orphaned);
    admits(child);
    admits(kept);
    struct block_entry at = *fork;
    for (uint32_t i = 0; i < 6; i++) {
        struct block *block = rig_block_on(&at, NULL, 0);
        at.hash = block->hash;
        at.header.time = block->header.time;
        at.height++;
        rig_take_block(block);
    }
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS + 1);
    cr_expect_not(in_pool(orphaned));
    cr_expect_not(in_pool(child));
    cr_expect(in_pool(kept));
    tx_unref(orphaned);
    tx_unref(child);
    tx_unref(kept);
}

/* Where standard is required, it is asked for at the door. */
Test(admit, standard_only_where_it_is_required)
{
    rig.config.require_standard = true;
    rig_open();
    struct recipe recipe = recipe_of(2000);
    recipe_spend_block(&recipe, 1);
    recipe.pad_bytes = 200; /* an OP_RETURN that is too long */
    struct tx *note = make_tx(&recipe), *plain = spend_block(1, 1000);
    refuses(note, "scriptpubkey");
    admits(plain);
    tx_unref(note);
    tx_unref(plain);
}
