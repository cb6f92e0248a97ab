/* The pool under the thread sanitizer: work that changes while workers hash, batches beside it, stopping at
 * any moment. A hit is proof that a worker took exactly the work it names: no copy may ever be a mixture.
 *
 *   plain-pool [--switches=N] [--seed=N]      N: how often the work changes (default 2000; tools/soak: 10^7)
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool.h"

#define THREADS   2
#define WAIT_MS   20000 /* a wake-up that has not come by then is missed */
#define ROLLING   UINT32_C(0x1fffe000)
#define BATCH_MAX 64
#define BATCHES   500
#define STOPS     100
#define EVERY_BIT 0xff

static unsigned passed, failed;
static uint64_t seed = 1, switches = 2000;

static void result(bool ok, const char *name)
{
    printf("%s  %s\n", ok ? "ok" : "FAIL", name);
    fflush(stdout);
    passed += ok;
    failed += !ok;
}

static struct pool *start(int hash_threads, int check_threads)
{
    struct error error = {0};
    struct pool_config config = {.hash_threads = hash_threads,
                                 .check_threads = check_threads,
                                 .hash_share = 100,
                                 .kernel = sha256_kernel_in_use()};
    cpu_limits_read(&config.limits, NULL, NULL);
    config.limits.quota_cpus = 0;
    struct pool *pool = pool_start(&config, &error);
    if (!pool) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return pool;
}

/* The next result; false when none comes. */
static bool next_result(struct pool *pool, struct pool_result *out)
{
    while (!pool_next_result(pool, out)) {
        struct pollfd wait = {.fd = pool_event_fd(pool), .events = POLLIN};
        uint64_t count;
        int n = poll(&wait, 1, WAIT_MS);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        if (n > 0 && read(wait.fd, &count, sizeof count) < 0 && errno != EAGAIN) {
            return false;
        }
    }
    return true;
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
        if (!next_result(pool, &hit) || hit.kind != POOL_HIT || hit.work_id > work->id) {
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
            ok = next_result(pool, &done) && done.kind == POOL_CHECKED;
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
                next_result(pool, &any);
            }
        }
        pool_stop(pool);
    }
    result(true, "stopping at any moment");
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--switches=", 11) == 0) {
            switches = strtoull(argv[i] + 11, NULL, 10);
        } else if (strncmp(argv[i], "--seed=", 7) == 0) {
            seed = strtoull(argv[i] + 7, NULL, 10);
        } else {
            fprintf(stderr, "plain-pool [--switches=N] [--seed=N]\n");
            return 2;
        }
    }
    printf("seed %" PRIu64 ", %" PRIu64 " switches\n", seed, switches);
    test_switches();
    test_batches();
    test_stops();
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
