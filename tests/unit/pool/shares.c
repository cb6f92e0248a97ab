/* Shares: a pool that goes on after a hit finds every header once, and each worker only in its own part. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool.h"
#include "hashing/pool/space.h"

#define WORKERS 3
#define SHARES  20000
#define MASK    UINT32_C(0x1fffe000)
#define VERSION UINT32_C(0x20000000)

/* The number of the chunk that a header belongs to. */
static uint64_t chunk_of(const struct pool_result *hit)
{
    uint64_t counter = (hit->version & MASK) >> 13;
    return counter / SPACE_VERSIONS_MAX * SPACE_NONCE_PARTS + hit->nonce / SPACE_NONCES;
}

Test(shares, no_header_twice_and_each_worker_in_its_part)
{
    struct pool_config config = {
        .hash_threads = WORKERS, .check_threads = 1, .hash_share = 100, .kernel = sha256_kernel_in_use()};
    struct pool_work work = {.id = 1, .version_mask = MASK, .go_on = true};
    struct error error;
    struct rng rng;
    struct map seen;
    uint64_t of_worker[WORKERS] = {0};
    rng_seed_u64(&rng, 1);
    map_init(&seen, 8, 0, &rng);
    cpu_limits_read(&config.limits, NULL, NULL);
    store_le32(work.header, VERSION);
    store_le64(work.header + 36, rng_next(&rng));
    memset(work.target, 0xff, sizeof work.target);
    work.target[31] = 0;
    work.target[30] = 0x1f; /* one hash in 2^11 */
    struct pool *pool = pool_start(&config, &error);
    cr_assert(pool);
    pool_work(pool, &work);
    for (unsigned i = 0; i < SHARES; i++) {
        struct pool_result hit;
        uint8_t header[80], hash[32];
        bool is_new;
        do {
            cr_assert(pool_wait_result(pool, &hit, -1));
        } while (hit.kind != POOL_HIT);
        cr_assert_eq(hit.version & ~MASK, VERSION);
        memcpy(header, work.header, sizeof header);
        store_le32(header, hit.version);
        store_le32(header + 76, hit.nonce);
        sha256d(hash, header, sizeof header);
        cr_assert(u256_compare(u256_from_le(hash), u256_from_le(work.target)) <= 0);
        map_put(&seen, &(uint64_t){(uint64_t)hit.version << 32 | hit.nonce}, &is_new);
        cr_assert(is_new, "version %08x, nonce %08x twice", hit.version, hit.nonce);
        cr_assert_eq(chunk_of(&hit) % WORKERS, hit.worker);
        of_worker[hit.worker]++;
    }
    for (unsigned w = 0; w < WORKERS; w++) {
        struct pool_worker_stats stats;
        cr_assert(pool_worker_stats(pool, w, &stats));
        cr_expect_geq(stats.hits, of_worker[w]);
        cr_expect_eq(stats.hashes, stats.hashes_rolling);
    }
    pool_stop(pool);
    map_free(&seen);
}
