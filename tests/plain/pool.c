/* The pool under the thread sanitizer: work that changes while workers hash, batches beside it, stopping at
 * any moment. A hit is proof that a worker took exactly the work it names: no copy may ever be a mixture.
 *
 *   plain-pool [--switches=N] [--seed=N]      N: how often the work changes (default 2000; tools/soak: 10^7)
 */
#include "hashing/kernels/kernels.h"
#include "tests/plain/plain.h"

#define THREADS   2
#define ROLLING   UINT32_C(0x1fffe000)
#define BATCH_MAX 64
#define BATCHES   500
#define STOPS     100
#define EVERY_BIT 0xff

static uint64_t switches = 2000;

static struct pool *start(int hash_threads, int check_threads)
{
    return start_pool((struct pool_config){
        .hash_threads = hash_threads, .check_threads = check_threads, .kernel = sha256_kernel_in_use()});
}

static struct pool_work random_work(struct rng *rng, uint64_t id)
{
    struct pool_work work = {.id = id, .version_mask = rng_below(rng, 4) ? ROLLING : 0};
    for (size_t i = 0; i < sizeof work.header; i += 8) {
        store_le64(work.header + i, rng_next(rng));
    }
    memset(work.target, EVERY_BIT, sizeof work.target);
    return work;
}

/* Does the hit solve the work it names? */
static bool solves(const struct pool_work *work, const struct pool_result *hit)
{
    uint8_t header[80], hash[32];
    uint32_t mask = work->version_mask;
    memcpy(header, work->header, sizeof header);
    if ((load_le32(header) & ~mask) != (hit->version & ~mask)) {
        return false;
    }
    store_le32(header, hit->version);
    store_le32(header + 76, hit->nonce);
    sha256d(hash, header, sizeof header);
    return u256_compare(u256_from_le(hash), u256_from_le(work->target)) <= 0;
}

/* Waits until so many workers have each found a hit on the work, and it is right. What was found on older
 * work just before the switch is passed over. */
static bool answered(struct pool *pool, const struct pool_work *work, unsigned workers)
{
    bool heard[THREADS] = {false};
    while (workers > 0) {
        struct pool_result hit;
        if (!pool_wait_result(pool, &hit, WAIT_MS) || hit.kind != POOL_HIT || hit.work_id > work->id) {
            return false;
        }
        if (hit.work_id == work->id && !heard[hit.worker]) {
            if (!solves(work, &hit)) {
                return false;
            }
            heard[hit.worker] = true;
            workers--;
        }
    }
    return true;
}

/* Every switch must be answered, mostly by every worker; else the next one follows while some still hash on
 * it. Targets differ so that a torn copy would be wrong. */
static void test_switches(void)
{
    struct rng rng;
    struct pool *pool = start(THREADS, 1);
    bool ok = true;
    rng_seed_u64(&rng, seed);
    for (uint64_t id = 1; id <= switches && ok; id++) {
        struct pool_work work = random_work(&rng, id);
        work.target[31] = (uint8_t)(1 + rng_below(&rng, 8)); /* one hash in 28 to 128 */
        if (rng_below(&rng, 8) == 0) {
            pool_work(pool, NULL);
        }
        pool_work(pool, &work);
        int64_t begun_ns;
        ok = !rng_below(&rng, 2) ||
             (pool_await(pool, WAIT_MS * INT64_C(1000000)) && pool_begun(pool, id, &begun_ns));
        ok = ok && answered(pool, &work, rng_below(&rng, 4) ? THREADS : 1);
        if (!ok) {
            printf("switch %" PRIu64 " of seed %" PRIu64 " was not answered\n", id, seed);
        }
        if (id % 1000000 == 0) {
            printf("  %" PRIu64 " switches\n", id);
            fflush(stdout);
        }
    }
    pool_stop(pool);
    result(ok, "every change of work is answered by every worker's hit on it");
}

struct batch {
    size_t fails_from; /* the lowest index that fails */
    unsigned seen[BATCH_MAX];
};

static bool check_one(void *context, size_t index)
{
    struct batch *batch = context;
    batch->seen[index]++; /* each index is one thread's: the sanitizer would see if not */
    return index < batch->fails_from;
}

static void test_batches(void)
{
    struct rng rng;
    struct pool *pool = start(THREADS, THREADS);
    struct pool_work work = {.id = 1, .version_mask = ROLLING}; /* a target that nothing reaches */
    static struct batch batches[2];
    bool ok = true;
    rng_seed_u64(&rng, seed);
    pool_work(pool, &work);
    for (unsigned i = 0; i < BATCHES && ok; i++) {
        size_t counts[2];
        for (size_t b = 0; b < 2; b++) { /* two at a time */
            counts[b] = (size_t)rng_below(&rng, BATCH_MAX + 1);
            batches[b] = (struct batch){
                .fails_from = rng_below(&rng, 2) ? SIZE_MAX : (size_t)rng_below(&rng, BATCH_MAX)};
            pool_check(pool, check_one, &batches[b], counts[b], &batches[b]);
        }
        for (size_t b = 0; b < 2 && ok; b++) {
            struct pool_result done;
            ok = pool_wait_result(pool, &done, WAIT_MS) && done.kind == POOL_CHECKED;
            if (!ok) {
                break;
            }
            struct batch *batch = done.cookie;
            size_t count = counts[batch - batches];
            bool fails = batch->fails_from < count;
            ok = fails ? done.failed_index == batch->fails_from : done.failed_index == SIZE_MAX;
            for (size_t k = 0; k < count && ok && !fails; k++) {
                ok = batch->seen[k] == 1;
            }
        }
    }
    pool_stop(pool);
    result(ok, "batches beside hashing: every index once, the lowest failure reported");
}

/* Stopping while everybody is busy, just beginning, or asleep. */
static void test_stops(void)
{
    struct rng rng;
    static struct batch batch;
    rng_seed_u64(&rng, seed);
    for (unsigned i = 0; i < STOPS; i++) {
        struct pool *pool = start(THREADS, THREADS);
        struct pool_work work = random_work(&rng, i);
        work.target[31] = 0; /* one in 256 */
        batch = (struct batch){.fails_from = SIZE_MAX};
        if (i % 4) {
            pool_work(pool, &work);
        }
        if (i % 3) {
            pool_check(pool, check_one, &batch, BATCH_MAX, &batch);
        }
        if (i % 2) {
            struct pool_result any;
            if (i % 4 || i % 3) {
                pool_wait_result(pool, &any, WAIT_MS);
            }
        }
        pool_stop(pool);
    }
    result(true, "stopping at any moment");
}

int main(int argc, char **argv)
{
    read_options(argc, argv, "switches", &switches);
    test_switches();
    test_batches();
    test_stops();
    return end_results();
}
