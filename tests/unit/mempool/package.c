/* Transactions that are judged together, and those of version 3 (BIP431). */
#include <criterion/criterion.h>

#include "tests/unit/mempool/rig.h"

TestSuite(package, .init = rig_begin, .fini = rig_end);

static const char *submit_together(struct tx *const *txs, size_t count, enum package_how how)
{
    rig.result = (struct error){.kind = ERROR_INTERNAL, .word = "no answer"};
    mempool_submit_package(rig.pool, txs, count, how, 0, 0, rig.now);
    rig_pump();
    return rig.result.kind ? rig.result.word : "";
}

static struct tx *of_version(int32_t version, const struct tx *parent, uint32_t height, int64_t fee_sat)
{
    struct recipe recipe = recipe_of(fee_sat);
    recipe.version = version;
    recipe.out_count = 2;
    if (parent) {
        recipe_spend(&recipe, parent, 0);
    } else {
        recipe_spend_block(&recipe, height);
    }
    return make_tx(&recipe);
}

static void drop(struct tx **txs, size_t count)
{
    while (count) {
        tx_unref(txs[--count]);
    }
}

Test(package, a_child_pays_for_its_parent)
{
    rig_open();
    struct tx *txs[3] = {of_version(3, NULL, 1, 0)};
    txs[1] = of_version(3, txs[0], 0, 1000);
    txs[2] = of_version(3, txs[0], 0, 100); /* enough for itself only */
    cr_assert_str_eq(submit(txs[0]), "min relay fee not met");
    struct tx *poor[] = {txs[0], txs[2]};
    cr_assert_str_eq(submit_together(poor, 2, PACKAGE_SUBMIT), "min relay fee not met");
    cr_assert_eq(rig.refused_at, 1);
    cr_assert_eq(mempool_count(rig.pool), 0);
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_TEST), "min relay fee not met");
    cr_assert(rig.refused_at == 0 && rig.judged == 0, "in a test each pays for itself");
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_SUBMIT), "", "%s", rig.result.text);
    cr_assert(in_pool(txs[0]) && in_pool(txs[1]));
    cr_assert_eq(mempool_find(rig.pool, &txs[1]->txid)->ancestor_count, 2);
    block_unref(rig_mine(true));
    cr_assert_eq(mempool_count(rig.pool), 0, "a block takes both");
    drop(txs, 3);
}

/* Only a child that nobody can replace without its parent pays for what is below the relay floor. */
Test(package, the_relay_floor_holds_for_each)
{
    rig_open();
    struct tx *txs[2] = {spend_block(1, 10)};
    txs[1] = spend_tx(txs[0], 0, 10000);
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_SUBMIT), "min relay fee not met");
    cr_assert(rig.refused_at == 0 && rig.judged == 0);
    drop(txs, 2);
}

Test(package, all_or_none)
{
    rig_open();
    struct tx *txs[2] = {spend_block(1, 1000)};
    struct recipe recipe = recipe_of(-1000);
    recipe_spend(&recipe, txs[0], 0);
    txs[1] = make_tx(&recipe);
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_SUBMIT), "bad-txns-in-belowout");
    cr_assert(rig.refused_at == 1 && rig.judged == 1);
    cr_assert_eq(mempool_count(rig.pool), 0);
    tx_unref(txs[1]);
    txs[1] = spend_tx(txs[0], 0, 1000);
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_TEST), "");
    cr_assert(rig.judged == 2 && mempool_count(rig.pool) == 0, "a test leaves the pool as it is");
    struct tx *other = spend_block(1, 500);
    cr_assert_str_eq(submit(other), "");
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_TEST), "bip125-replacement-disallowed");
    tx_unref(other);
    drop(txs, 2);
}

/* Replacement by a package: submits a parent of this fee, which spends the coinbase of block 1, with its
 * child. */
static const char *replace_with(int64_t parent_fee_sat, int64_t child_fee_sat)
{
    struct tx *txs[2] = {spend_block(1, parent_fee_sat)};
    txs[1] = spend_tx(txs[0], 0, child_fee_sat);
    const char *word = submit_together(txs, 2, PACKAGE_SUBMIT);
    cr_assert(in_pool(txs[0]) == !*word && in_pool(txs[1]) == !*word);
    drop(txs, 2);
    return *word ? rig.result.text : "";
}

Test(package, replaces_what_pays_less)
{
    rig_open();
    struct tx *old = spend_block(1, 1000), *child = spend_tx(old, 0, 3000);
    cr_assert_str_eq(submit(old), "");
    cr_assert_str_eq(submit(child), "");
    cr_assert(strstr(replace_with(200, 3700), "less fees than conflicting txs; 3900 sat < 4000 sat"));
    cr_assert(strstr(replace_with(200, 3801), "not enough additional fees to relay; 1 sat < "));
    cr_assert(strstr(replace_with(4000, 4000), "package feerate is less than or equal to parent feerate"));
    cr_assert_str_eq(replace_with(200, 4400), "");
    cr_assert(!in_pool(old) && !in_pool(child));
    cr_assert_eq(mempool_count(rig.pool), 2);
    drop((struct tx *[]){old, child}, 2);
}

/* More fee in all, but the first of what goes pays a better rate than both together. */
Test(package, improves_the_feerate_diagram)
{
    rig_open();
    struct tx *old = spend_block(1, 1000);
    cr_assert_str_eq(submit(old), "");
    struct recipe recipe = recipe_of(6000);
    struct tx *txs[2] = {spend_block(1, 150)};
    recipe_spend(&recipe, txs[0], 0);
    recipe.pad_bytes = 2000;
    txs[1] = make_tx(&recipe);
    cr_assert_str_eq(submit_together(txs, 2, PACKAGE_SUBMIT), "package RBF failed");
    cr_assert_str_eq(rig.result.text, "insufficient feerate: does not improve feerate diagram");
    cr_assert(in_pool(old));
    tx_unref(old);
    drop(txs, 2);
}

Test(package, replaces_small_families_only)
{
    rig_open();
    struct tx *txs[4] = {of_version(2, NULL, 1, 1000)}, *family[3];
    txs[1] = spend_tx(txs[0], 0, 1000);
    txs[2] = spend_tx(txs[1], 0, 1000);
    for (int i = 0; i < 3; i++) {
        cr_assert_str_eq(submit(txs[i]), "");
    }
    cr_assert(strstr(replace_with(200, 50000), "has 2 descendants, max 1 allowed"), "%s", rig.result.text);
    txs[3] = spend_block(2, 1000); /* a package that spends what is unconfirmed already */
    cr_assert_str_eq(submit(txs[3]), "");
    struct recipe recipe = recipe_of(200);
    recipe_spend_block(&recipe, 1);
    recipe_spend(&recipe, txs[3], 0);
    family[0] = make_tx(&recipe);
    family[1] = spend_tx(family[0], 0, 50000);
    cr_assert_str_eq(submit_together(family, 2, PACKAGE_SUBMIT), "package RBF failed");
    cr_assert_str_eq(rig.result.text, "new transaction cannot have mempool ancestors");
    drop(family, 2);
    family[0] = of_version(2, NULL, 1, 200); /* three of a kind */
    family[1] = spend_tx(family[0], 0, 50000);
    family[2] = spend_tx(family[0], 1, 50000);
    cr_assert_str_eq(submit_together(family, 3, PACKAGE_SUBMIT), "package RBF failed");
    cr_assert_str_eq(rig.result.text, "package must be 1-parent-1-child");
    drop(family, 3);
    drop(txs, 4);
}

/* The child of the package conflicts too, with one whose parent stays. */
Test(package, leaves_a_parent_alone)
{
    rig_open();
    struct tx *parent = spend_block(2, 500), *old;
    struct recipe recipe = recipe_of(1000);
    recipe_spend(&recipe, parent, 0);
    recipe_spend_block(&recipe, 1);
    old = make_tx(&recipe);
    cr_assert_str_eq(submit(parent), "");
    cr_assert_str_eq(submit(old), "");
    cr_assert_str_eq(replace_with(200, 3000), "");
    cr_assert(in_pool(parent) && !in_pool(old));
    drop((struct tx *[]){parent, old}, 2);
}

Test(package, nobody_pays_too_much)
{
    rig_open();
    struct tx *txs[2] = {of_version(3, NULL, 1, 0)};
    txs[1] = of_version(3, txs[0], 0, 100000);
    mempool_submit_package(rig.pool, txs, 2, PACKAGE_SUBMIT, 10000, 0, rig.now);
    rig_pump();
    cr_assert_str_eq(rig.result.word, "max feerate exceeded");
    cr_assert_eq(mempool_count(rig.pool), 0);
    drop(txs, 2);
}

/* The tip moves while the scripts of the first member are being checked. */
Test(package, a_new_tip_starts_it_over)
{
    rig_open();
    struct tx *txs[2] = {of_version(3, NULL, 1, 0)};
    txs[1] = of_version(3, txs[0], 0, 1000);
    rig.result = (struct error){.kind = ERROR_INTERNAL};
    mempool_submit_package(rig.pool, txs, 2, PACKAGE_SUBMIT, 0, 0, rig.now);
    struct list *job = rig.jobs.next;
    cr_assert(job != &rig.jobs);
    list_remove(job);
    block_unref(rig_mine(false));
    list_append(&rig.jobs, job);
    rig_pump();
    cr_assert_eq(rig.result.kind, ERROR_NONE, "%s", rig.result.word);
    cr_assert(in_pool(txs[0]) && in_pool(txs[1]));
    drop(txs, 2);
}

Test(package, limits_count_all_of_it)
{
    rig_open();
    struct tx *chain[26] = {spend_block(1, 1000)};
    for (int i = 1; i < 26; i++) {
        chain[i] = spend_tx(chain[i - 1], 0, 1000);
    }
    for (int i = 0; i < 23; i++) {
        cr_assert_str_eq(submit(chain[i]), "");
    }
    cr_assert_str_eq(submit_together(chain + 23, 3, PACKAGE_SUBMIT), "package-mempool-limits");
    cr_assert_eq(mempool_count(rig.pool), 23);
    cr_assert_str_eq(submit_together(chain + 23, 2, PACKAGE_SUBMIT), "", "%s", rig.result.text);
    drop(chain, 26);
}

static const char *form(struct tx *const *txs, size_t count)
{
    static struct error error;
    error = (struct error){0};
    return package_check(txs, count, &error) ? "" : error.word;
}

Test(package, its_form)
{
    rig_open();
    struct tx *parent = spend_block(1, 1000), *child = spend_tx(parent, 0, 1000),
              *rival = spend_tx(parent, 0, 2000), *stranger = spend_block(2, 1000);
    struct tx *many[PACKAGE_MAX + 1] = {0};
    cr_assert_str_eq(form((struct tx *[]){parent, child}, 2), "");
    cr_assert_str_eq(form((struct tx *[]){child, parent}, 2), "package-not-sorted");
    cr_assert_str_eq(form((struct tx *[]){parent, parent}, 2), "package-contains-duplicates");
    cr_assert_str_eq(form((struct tx *[]){parent, child, rival}, 3), "conflict-in-package");
    cr_assert_str_eq(form(many, ARRAY_COUNT(many)), "package-too-many-transactions");
    cr_assert(package_is_family((struct tx *[]){parent, child}, 2));
    cr_assert(package_is_family((struct tx *[]){parent}, 1));
    cr_assert_not(package_is_family((struct tx *[]){stranger, parent, child}, 3));
    drop((struct tx *[]){parent, child, rival, stranger}, 4);
}

/* ---- BIP431 ------------------------------------------------------------------------------------------ */

Test(package, version_3_keeps_to_its_own)
{
    rig_open();
    struct tx *three = of_version(3, NULL, 1, 1000), *two = of_version(2, NULL, 2, 1000);
    struct tx *txs[] = {of_version(2, three, 0, 1000), of_version(3, two, 0, 1000)};
    cr_assert_str_eq(submit(three), "");
    cr_assert_str_eq(submit(two), "");
    cr_assert_str_eq(submit(txs[0]), "TRUC-violation");
    cr_assert_str_eq(submit(txs[1]), "TRUC-violation");
    block_unref(rig_mine(true));
    cr_assert_str_eq(submit(txs[0]), "", "what is confirmed binds nobody");
    cr_assert_str_eq(submit(txs[1]), "");
    drop((struct tx *[]){three, two, txs[0], txs[1]}, 4);
}

Test(package, version_3_has_one_child)
{
    rig_open();
    struct tx *parent = of_version(3, NULL, 1, 1000), *child = of_version(3, parent, 0, 1000),
              *grandchild = of_version(3, child, 0, 1000), *dearer = of_version(3, parent, 0, 5000);
    struct recipe recipe = recipe_of(5000);
    recipe.version = 3;
    recipe_spend(&recipe, parent, 1);
    struct tx *cheap = make_tx(&recipe);
    recipe.fee_sat = 9000;
    struct tx *second = make_tx(&recipe);
    cr_assert_str_eq(submit(parent), "");
    cr_assert_str_eq(submit(child), "");
    cr_assert_str_eq(submit(grandchild), "TRUC-violation");
    cr_assert_str_eq(submit(dearer), "", "one child may replace the other: %s", rig.result.text);
    cr_assert(!in_pool(child) && in_pool(dearer));
    cr_assert_str_eq(submit(cheap), "insufficient fee", "its sibling pays as much");
    cr_assert_str_eq(submit(second), "", "a sibling goes where it is paid for: %s", rig.result.text);
    cr_assert(!in_pool(dearer) && in_pool(second) && in_pool(parent));
    cr_assert_eq(mempool_find(rig.pool, &parent->txid)->descendant_count, 2);
    drop((struct tx *[]){parent, child, grandchild, dearer, cheap, second}, 6);
}

Test(package, version_3_has_one_parent_and_is_small)
{
    rig_open();
    struct tx *parents[] = {of_version(3, NULL, 1, 1000), of_version(3, NULL, 2, 1000)};
    struct recipe recipe = recipe_of(2000);
    recipe.version = 3;
    recipe_spend(&recipe, parents[0], 0);
    recipe_spend(&recipe, parents[1], 0);
    struct tx *both = make_tx(&recipe);
    recipe = recipe_of(20000);
    recipe.version = 3;
    recipe.pad_bytes = 1000;
    recipe_spend(&recipe, parents[0], 0);
    struct tx *fat_child = make_tx(&recipe);
    recipe.in_count = 0;
    recipe_spend_block(&recipe, 3);
    struct tx *fat_parent = make_tx(&recipe);
    recipe.pad_bytes = 10000;
    recipe.in_count = 0;
    recipe_spend_block(&recipe, 4);
    struct tx *too_fat = make_tx(&recipe);
    cr_assert_str_eq(submit(parents[0]), "");
    cr_assert_str_eq(submit(parents[1]), "");
    cr_assert_str_eq(submit(both), "TRUC-violation");
    cr_assert_str_eq(submit(fat_child), "TRUC-violation");
    cr_assert_str_eq(submit(fat_parent), "");
    cr_assert_str_eq(submit(too_fat), "TRUC-violation");
    drop((struct tx *[]){parents[0], parents[1], both, fat_child, fat_parent, too_fat}, 6);
}

Test(package, version_3_in_a_package)
{
    rig_open();
    struct tx *parent = of_version(3, NULL, 1, 0), *child = of_version(3, parent, 0, 1000),
              *ordinary = of_version(2, parent, 0, 1000);
    cr_assert_str_eq(submit_together((struct tx *[]){parent, ordinary}, 2, PACKAGE_SUBMIT), "TRUC-violation");
    cr_assert_str_eq(submit_together((struct tx *[]){parent, child}, 2, PACKAGE_SUBMIT), "");
    struct tx *first = of_version(3, NULL, 2, 1000);
    struct recipe recipe = recipe_of(1000);
    recipe.version = 3;
    recipe_spend(&recipe, first, 1);
    struct tx *twins[] = {first, of_version(3, first, 0, 1000), make_tx(&recipe)};
    cr_assert_str_eq(submit_together(twins, 3, PACKAGE_TEST), "TRUC-violation");
    drop((struct tx *[]){parent, child, ordinary, twins[0], twins[1], twins[2]}, 6);
}
