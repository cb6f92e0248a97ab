/* quarry-bench switch: how fast the pool turns to something new while all its workers are busy. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <time.h>

#include "bench/bench.h"
#include "hashing/pool/pool.h"

#define ROLLING UINT32_C(0x1fffe000)
#define CHECKS  64
#define WAIT_MS 10000

static int64_t switches = 10000, threads = -1;
static const struct bench_option options[] = {
    BENCH_NUMBER("switches", "N", "of work, and batches", switches, 1, 100000000),
    BENCH_NUMBER("threads", "N", "hash workers; -1: all", threads, -1, 1024),
    {0},
};

static struct pool *pool;
static struct rng rng;

static void publish(uint64_t id, bool easy)
{
    struct pool_work work = {.id = id, .version_mask = ROLLING};
    work.target[31] = easy ? 1 : 0;              /* one hash in 128: a few microseconds after the start */
    store_le64(work.header + 4, rng_next(&rng)); /* the previous block */
    pool_work(pool, &work);
}

/* Workers in full swing for a random moment, as a block finds them. */
static void hash_a_while(uint64_t id)
{
    publish(id, false);
    int64_t until = wall_ns() + 500000 + (int64_t)rng_below(&rng, 1000000);
    struct timespec at = {until / 1000000000, until % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
    }
}

/* Hits on the new work are so frequent that each worker's first says when it had begun. */
static bool measure_switches(struct samples *first, struct samples *every)
{
    unsigned workers = pool_hash_threads(pool);
    for (int64_t i = 0; i < switches; i++) {
        uint64_t hard = (uint64_t)i * 2 + 1, easy = hard + 1, heard = 0;
        hash_a_while(hard);
        int64_t published = wall_ns(), earliest = INT64_MAX;
        publish(easy, true);
        bool *seen = mem_alloc(workers * sizeof *seen);
        while (heard < workers) {
            struct pool_result hit;
            if (!pool_wait_result(pool, &hit, WAIT_MS)) {
                mem_free(seen);
                return false;
            }
            if (hit.kind == POOL_HIT && hit.work_id == easy && !seen[hit.worker]) {
                seen[hit.worker] = true;
                heard++;
                samples_add(every, (double)(hit.mono_ns - published) / 1000);
                earliest = MIN(earliest, hit.mono_ns);
            }
        }
        mem_free(seen);
        samples_add(first, (double)(earliest - published) / 1000);
    }
    return true;
}

static atomic_int_fast64_t first_check_ns;

static bool note_time(void *batch, size_t index)
{
    int_fast64_t none = 0;
    (void)batch;
    (void)index;
    atomic_compare_exchange_strong(&first_check_ns, &none, wall_ns());
    return true;
}

/* The batch comes while all workers hash; hashing goes on by itself, which the next count shows. */
static bool measure_batches(struct samples *start, struct samples *whole, bool *resumed)
{
    *resumed = true;
    for (int64_t i = 0; i < switches; i++) {
        struct pool_result done;
        hash_a_while((uint64_t)i + 1);
        atomic_store(&first_check_ns, 0);
        int64_t given = wall_ns();
        pool_check(pool, note_time, NULL, CHECKS, NULL);
        do {
            if (!pool_wait_result(pool, &done, WAIT_MS)) {
                return false;
            }
        } while (done.kind != POOL_CHECKED);
        samples_add(whole, (double)(wall_ns() - given) / 1000);
        samples_add(start, (double)(atomic_load(&first_check_ns) - given) / 1000);
        uint64_t before = pool_hash_count(pool);
        int64_t patience = wall_ns() + INT64_C(1000000000);
        while (pool_hash_count(pool) == before && wall_ns() < patience) {
            poll(NULL, 0, 1);
        }
        *resumed = *resumed && pool_hash_count(pool) != before;
    }
    return true;
}

static bool run(struct report *report, struct error *error)
{
    struct samples first = {0}, every = {0}, start = {0}, whole = {0};
    struct pool_config config = {.hash_threads = (int)threads, .check_threads = -1, .hash_share = 100};
    bool resumed = false;
    cpu_limits_read(&config.limits, NULL, NULL);
    rng_seed_u64(&rng, report_seed(report));
    pool = pool_start(&config, error);
    if (!pool) {
        return false;
    }
    while (!pool_ready(pool)) { /* they measure their kernels first */
        poll(NULL, 0, 10);
    }
    report_note(report, "%u hash workers, %u check workers", pool_hash_threads(pool),
                pool_check_threads(pool));
    bool ok =
        (measure_switches(&first, &every) && measure_batches(&start, &whole, &resumed)) ||
        error_set(error, ERROR_INTERNAL, NULL, "no answer within %d s: a wake-up was missed", WAIT_MS / 1000);
    if (ok) {
        report_histogram(report, "new work to the first hash on it", "us", &first);
        report_histogram(report, "new work to each worker's first", "us", &every);
        report_histogram(report, "check batch to its first check", "us", &start);
        report_histogram(report, "check batch of 64, whole", "us", &whole);
        report_note(report, "hashing %s after every batch", resumed ? "resumed" : "did NOT resume");
    }
    pool_stop(pool);
    samples_free(&first);
    samples_free(&every);
    samples_free(&start);
    samples_free(&whole);
    return ok;
}

const struct bench_command bench_switch = {
    .name = "switch",
    .summary = "new work to first hash on it, check batch to first check",
    .about =
        "All workers hash for a random moment of 0.5 to 1.5 ms; then new work is published, or a batch of\n"
        "64 checks is given. One hash of the new work in 128 is a hit, which tells when a worker began it.",
    .options = options,
    .run = run,
};
