/* The script cache: what it says has passed has passed. By its functions, then by a chain that asks it. */
#include <criterion/criterion.h>

#include "core/chain/chain_private.h"
#include "tests/unit/chain/rig.h"

#define SMALLEST 0u
#define LARGE    (64u << 10)
#define FLAGS    SCRIPT_MANDATORY_FLAGS

static struct script_cache cache_of(size_t bytes, uint64_t seed)
{
    struct script_cache cache = {0};
    struct rng rng;
    rng_seed_u64(&rng, seed);
    script_cache_init(&cache, bytes, &rng);
    return cache;
}

static struct hash256 wtxid(uint64_t number)
{
    struct hash256 hash = {{0}};
    store_le64(hash.b, number * UINT64_C(0x9e3779b97f4a7c15)); /* as a hash would be: spread */
    return hash;
}

static void add(struct script_cache *cache, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        struct hash256 hash = wtxid(i);
        script_cache_add(cache, &hash, FLAGS);
        cr_assert(script_cache_has(cache, &hash, FLAGS), "what was added last is there, however full");
    }
}

static size_t known(const struct script_cache *cache, uint64_t from, uint64_t to)
{
    size_t count = 0;
    for (uint64_t i = from; i < to; i++) {
        struct hash256 hash = wtxid(i);
        count += script_cache_has(cache, &hash, FLAGS);
    }
    return count;
}

/* How many the smallest cache holds. */
static size_t places(void)
{
    struct script_cache cache = cache_of(SMALLEST, 1);
    size_t count = 0;
    while (known(&cache, 0, count) == count) {
        add(&cache, count, count + 1);
        count++;
        cr_assert_lt(count, 1000);
    }
    script_cache_free(&cache);
    return count - 1;
}

Test(script_cache, knows_nothing_at_first)
{
    struct script_cache cache = cache_of(LARGE, 1);
    struct hash256 zero = {{0}};
    cr_assert_not(script_cache_has(&cache, &zero, 0));
    cr_assert_not(script_cache_has(&cache, &zero, FLAGS));
    cr_assert_eq(known(&cache, 0, 10000), 0);
    script_cache_free(&cache);
}

Test(script_cache, knows_this_transaction_under_these_flags)
{
    struct script_cache cache = cache_of(LARGE, 1);
    struct hash256 hash = wtxid(7);
    script_cache_add(&cache, &hash, FLAGS);
    cr_assert(script_cache_has(&cache, &hash, FLAGS));
    for (unsigned bit = 0; bit < 32; bit++) {
        cr_assert_not(script_cache_has(&cache, &hash, FLAGS ^ UINT32_C(1) << bit), "flag %u", bit);
    }
    for (unsigned bit = 0; bit < 256; bit++) {
        struct hash256 other = hash;
        other.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_not(script_cache_has(&cache, &other, FLAGS), "bit %u", bit);
    }
    script_cache_add(&cache, &hash, 0); /* both at once */
    cr_assert(script_cache_has(&cache, &hash, 0));
    cr_assert(script_cache_has(&cache, &hash, FLAGS));
    script_cache_free(&cache);
}

Test(script_cache, adding_again_takes_no_place)
{
    size_t count = places();
    cr_assert_geq(count, 1);
    struct script_cache cache = cache_of(SMALLEST, 1);
    add(&cache, 0, count);
    for (int i = 0; i < 100; i++) {
        add(&cache, 0, count);
        cr_assert_eq(known(&cache, 0, count), count);
    }
    script_cache_free(&cache);
}

Test(script_cache, a_full_one_forgets_and_never_invents)
{
    enum { MANY = 40000 };
    struct script_cache cache = cache_of(LARGE, 1);
    add(&cache, 0, MANY);
    size_t kept = known(&cache, 0, MANY);
    cr_assert_geq(kept, LARGE / 64, "places of 32 bytes at the most, and half of the room at least");
    cr_assert_leq(kept, LARGE / 4);
    cr_assert_eq(known(&cache, MANY, 3 * MANY), 0);
    script_cache_free(&cache);
}

/* What pushes out what is the salt's to say: nobody outside can choose. */
Test(script_cache, the_salt_decides_what_is_forgotten)
{
    enum { MANY = 40000 };
    struct script_cache a = cache_of(LARGE, 1), b = cache_of(LARGE, 2), same = cache_of(LARGE, 1);
    size_t differ = 0;
    add(&a, 0, MANY);
    add(&b, 0, MANY);
    add(&same, 0, MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        struct hash256 hash = wtxid(i);
        bool in_a = script_cache_has(&a, &hash, FLAGS);
        differ += in_a != script_cache_has(&b, &hash, FLAGS);
        cr_assert_eq(in_a, script_cache_has(&same, &hash, FLAGS));
    }
    cr_assert_gt(differ, known(&a, 0, MANY) / 2);
    script_cache_free(&a);
    script_cache_free(&b);
    script_cache_free(&same);
}

/* ---- Asked by a chain -------------------------------------------------------------------------------- */

enum { BLOCKS = 10 };
static struct rng rng;
static struct rig rig;
static struct node root, *nodes[BLOCKS + 1];

static void begin(void)
{
    rig_begin();
    rng_seed_u64(&rng, 5);
    root = (struct node){.fed = true};
    rig_open(&rig, 5, 1u << 20);
    for (size_t i = 0; i < BLOCKS; i++) {
        nodes[i] = node_grow(i ? nodes[i - 1] : &root, &rng);
        rig_feed(&rig, nodes[i]);
    }
}

static void end(void)
{
    rig_close(&rig);
    nodes_free(nodes, BLOCKS + 1);
    rig_end();
}

/* A block with one spend of this script, whose transaction is said to have passed under these flags. Returns
 * how many of its inputs were run. */
static uint64_t run_of_said(struct span script_sig, uint32_t flags)
{
    struct chain_metrics before, after;
    nodes[BLOCKS] = node_spend(nodes[BLOCKS - 1], &rng, script_sig);
    chain_scripts_passed(rig.chain, &nodes[BLOCKS]->block->txs[1], flags);
    chain_metrics(rig.chain, &before);
    rig_feed(&rig, nodes[BLOCKS]);
    chain_metrics(rig.chain, &after);
    cr_assert_eq(chain_tip(rig.chain)->height, BLOCKS + 1);
    uint64_t run = after.scripts_run - before.scripts_run;
    cr_assert_eq(run + after.scripts_known - before.scripts_known, 1);
    return run;
}

Test(script_cache, what_passed_under_more_flags_is_not_run_again, .init = begin, .fini = end)
{
    cr_assert_eq(run_of_said(span_of(NULL, 0), SCRIPT_STANDARD_FLAGS), 0);
}

Test(script_cache, what_passed_under_fewer_flags_is_run, .init = begin, .fini = end)
{
    cr_assert_eq(run_of_said(span_of(NULL, 0), SCRIPT_STANDARD_FLAGS & ~SCRIPT_WITNESS), 1);
}

static void on_answer(void *context, bool holds)
{
    *(bool *)context = holds;
}

/* A lie that the cache was told is found by verifychain, which does not ask it. */
Test(script_cache, verifychain_does_not_believe_it, .init = begin, .fini = end)
{
    static const uint8_t fails = 0x6a; /* OP_RETURN */
    bool holds = true;
    cr_assert_eq(run_of_said(span_of(&fails, 1), SCRIPT_STANDARD_FLAGS), 0);
    cr_assert(chain_verify(rig.chain, 4, 1, on_answer, &holds));
    rig_pump(&rig);
    cr_assert_not(holds);
}
