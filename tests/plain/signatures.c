/*
 * The signature cache under the thread sanitizer, as the node uses it: check workers of the pool share it
 * while they verify. First the table alone, so small that everybody writes where everybody reads; then real
 * scripts with real signatures, some of them damaged.
 *
 *   plain-signatures [--rounds=N] [--seed=N]      N: batches of each kind (default 200)
 */
#include <stdatomic.h>

#include "core/wallet/wallet.h"
#include "tests/plain/plain.h"

#define WORKERS 4
#define NUMBERS 4096u /* of one batch */
#define INPUTS  24u

static uint64_t rounds = 200;

/* Runs a batch to its end: the lowest index that fails, or SIZE_MAX. */
static size_t run(struct pool *pool, bool (*check)(void *batch, size_t index), void *batch, size_t count)
{
    struct pool_result done;
    pool_check(pool, check, batch, count, NULL);
    if (!pool_wait_result(pool, &done, WAIT_MS)) {
        fprintf(stderr, "a batch has not ended\n");
        exit(1);
    }
    return done.failed_index;
}

/* ---- The table alone --------------------------------------------------------------------------------- */

struct crowd {
    struct signature_cache *cache;
    uint64_t round;
    atomic_uint_fast64_t hits;
};

static struct hash256 digest(const struct signature_cache *cache, uint64_t round, uint64_t number, bool real)
{
    struct hash256 out, message = {{real}};
    store_le64(message.b + 8, round);
    store_le64(message.b + 16, number);
    signature_digest(&out, cache, 'S', &message, span_of(message.b, 32), span_of(message.b, 32));
    return out;
}

/* Adds its own, looks for it and for its neighbours'; nobody has ever added the other one. */
static bool mingle(void *context, size_t index)
{
    struct crowd *crowd = context;
    struct hash256 own = digest(crowd->cache, crowd->round, index, true);
    struct hash256 neighbour = digest(crowd->cache, crowd->round, index ^ 1, true);
    struct hash256 nobody = digest(crowd->cache, crowd->round, index, false);
    signature_cache_add(crowd->cache, &own);
    unsigned hits = signature_cache_has(crowd->cache, &own) + signature_cache_has(crowd->cache, &neighbour);
    atomic_fetch_add_explicit(&crowd->hits, hits, memory_order_relaxed);
    return !signature_cache_has(crowd->cache, &nobody);
}

/* Of a size that is never filled, nothing that all have added may be missing afterwards. */
static bool add_only(void *context, size_t index)
{
    struct crowd *crowd = context;
    struct hash256 own = digest(crowd->cache, crowd->round, index, true);
    signature_cache_add(crowd->cache, &own);
    return true;
}

static void test_table(struct pool *pool, struct rng *rng)
{
    struct crowd small = {.cache = signature_cache_new(0, rng)};
    bool invented = false;
    for (small.round = 0; small.round < rounds; small.round++) {
        invented |= run(pool, mingle, &small, NUMBERS) != SIZE_MAX;
    }
    printf("  %" PRIuFAST64 " of %" PRIu64 " questions were answered yes\n", atomic_load(&small.hits),
           2 * rounds * NUMBERS);
    result(!invented, "nothing is known that nobody has added");
    result(atomic_load(&small.hits) > 0, "and some of what was added is");
    signature_cache_free(small.cache);

    struct crowd large = {.cache = signature_cache_new(16u << 20, rng)};
    size_t missing = 0;
    run(pool, add_only, &large, NUMBERS);
    for (size_t i = 0; i < NUMBERS; i++) {
        struct hash256 d = digest(large.cache, 0, i, true);
        missing += !signature_cache_has(large.cache, &d);
    }
    printf("  %zu of %u are missing\n", missing, NUMBERS);
    result(missing <= WORKERS, "what workers added together is there (two may have met in one place)");
    signature_cache_free(large.cache);
}

/* ---- Scripts ----------------------------------------------------------------------------------------- */

struct spending {
    const struct tx *tx;
    struct coin spent[INPUTS];
    struct sighash_cache cache;
    bool damaged[INPUTS]; /* whose coin is worth something else than what was signed */
    atomic_uint wrong;    /* inputs that were judged wrongly */
};

static bool verify(void *context, size_t index)
{
    struct spending *s = context;
    struct error error = {0};
    struct coin coins[INPUTS];
    uint32_t input = (uint32_t)(index % INPUTS);
    memcpy(coins, s->spent, sizeof coins);
    coins[input].value.sat += s->damaged[input];
    bool ok = script_verify_input(s->tx, input, coins, &s->cache, SCRIPT_STANDARD_FLAGS, &error);
    if (ok == s->damaged[input]) {
        atomic_fetch_add(&s->wrong, 1);
    }
    return true;
}

static void test_scripts(struct pool *pool, struct rng *rng)
{
    static const uint8_t secret[32] = {7};
    struct error error = {0};
    struct buf script = {0};
    struct key key;
    struct outpoint from[INPUTS];
    struct spending s = {.cache.remember = true};
    wallet_init(secret);
    CHECK(key_from_secret(&key, secret));
    key_script(&script, &key);
    for (uint32_t i = 0; i < INPUTS; i++) {
        from[i] = (struct outpoint){{{1}}, i};
        s.spent[i] = (struct coin){.value = {1000 + i}, .script = buf_span(&script)};
    }
    const struct tx_output to = {{1000}, buf_span(&script)};
    struct tx *tx = wallet_sign(&key, from, s.spent, INPUTS, &to, 1, 0, &error);
    CHECK(tx);
    s.tx = tx;
    sighash_prepare(&s.cache, tx, s.spent);
    for (uint64_t i = 0; i < rounds / 10 + 1; i++) {
        s.cache.signatures = signature_cache_new(rng_below(rng, 2) ? 0 : 1u << 16, rng);
        for (uint32_t k = 0; k < INPUTS; k++) {
            s.damaged[k] = rng_below(rng, 4) == 0;
        }
        run(pool, verify, &s, 4 * INPUTS); /* each four times, by whom it may be */
        signature_cache_free(s.cache.signatures);
    }
    result(atomic_load(&s.wrong) == 0, "signatures that verify pass, others do not, known or not");
    tx_unref(tx);
    key_wipe(&key);
    buf_free(&script);
}

int main(int argc, char **argv)
{
    struct rng rng;
    read_options(argc, argv, "rounds", &rounds);
    rng_seed_u64(&rng, seed);
    struct pool *pool = start_pool((struct pool_config){.check_threads = WORKERS});
    test_table(pool, &rng);
    test_scripts(pool, &rng);
    pool_stop(pool);
    return end_results();
}
