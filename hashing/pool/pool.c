/*
 * The workers.
 *
 * Publishing: the owner writes the words of the work between two increments of `sequence` (odd: being
 * written). A worker copies the words and takes the copy only when the sequence was even and the same before
 * and after; every word is atomic, so that the copy is a defined race at worst.
 *
 * Pacing: under a CPU quota Q with n hash workers, each may use (Q - reserve) / n of a CPU, where the reserve
 * is what the process's other threads used lately plus 2 %: the process then never spends its quota, and is
 * never frozen.
 */
#include "hashing/pool/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"

#define WORK_WORDS       16u /* 128 bytes: struct pool_work */
#define RESULTS_MAX      4096u
#define SLICE_NS         INT64_C(500000)
#define PACE_WINDOW_NS   INT64_C(100000000)
#define PACE_MARGIN      0.02
#define VERSIONS_AT_ONCE 4u

_Static_assert(sizeof(struct pool_work) <= WORK_WORDS * 8, "the published words hold the work");

struct worker {
    struct pool *pool;
    pthread_t thread;
    unsigned number;
    bool hashes;
    _Alignas(64) atomic_uint_fast64_t hash_count; /* a line of its own: written all the time */
    atomic_int_fast64_t cpu_ns;
};

struct batch {
    struct list link;
    bool (*check)(void *batch, size_t index);
    void *context, *cookie;
    size_t count;
    atomic_size_t next, failed_index;
    unsigned users; /* workers inside; under the pool's lock */
};

struct pool {
    struct pool_config config;
    struct worker *workers; /* hash workers first */
    unsigned hash_count, check_count;
    int event_fd;
    atomic_uint sequence;
    atomic_uint_fast64_t words[WORK_WORDS];
    atomic_bool stopping, idle;
    atomic_int reserve_permille; /* of one CPU: what the other threads use */
    pthread_mutex_t lock;        /* idle hash workers, batches, results: nothing of the hash path */
    pthread_cond_t work_cond, batch_cond;
    struct list batches;
    struct pool_result results[RESULTS_MAX];
    size_t result_first, result_count;
};

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void add_result(struct pool *pool, const struct pool_result *result)
{
    pthread_mutex_lock(&pool->lock);
    if (pool->result_count < RESULTS_MAX || result->kind == POOL_CHECKED) {
        CHECK(pool->result_count < RESULTS_MAX); /* hits leave room for every batch that can be under way */
        pool->results[(pool->result_first + pool->result_count++) % RESULTS_MAX] = *result;
    }
    pthread_mutex_unlock(&pool->lock);
    uint64_t one = 1;
    while (write(pool->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* ---- Hashing
 * ------------------------------------------------------------------------------------------------ */

/* The current work and its sequence; false while it is being written or paused. */
static bool take_work(struct pool *pool, struct pool_work *work, unsigned *sequence)
{
    uint64_t copy[WORK_WORDS];
    unsigned before = atomic_load_explicit(&pool->sequence, memory_order_acquire);
    for (size_t i = 0; i < WORK_WORDS; i++) {
        /* Acquire, so that the second look at the sequence cannot move up before it. */
        copy[i] = atomic_load_explicit(&pool->words[i], memory_order_acquire);
    }
    unsigned after = atomic_load_explicit(&pool->sequence, memory_order_relaxed);
    if (before != after || before & 1 || atomic_load(&pool->idle)) {
        return false;
    }
    memcpy(work, copy, sizeof *work);
    *sequence = before;
    return true;
}

static void wait_for_work(struct pool *pool, unsigned known)
{
    pthread_mutex_lock(&pool->lock);
    while (!atomic_load(&pool->stopping) &&
           (atomic_load(&pool->idle) || atomic_load(&pool->sequence) == known)) {
        pthread_cond_wait(&pool->work_cond, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

struct pace {
    int64_t wall_ns, cpu_ns; /* when this window began */
};

static double share_of(const struct pool *pool)
{
    double share = pool->config.hash_share / 100.0, quota = pool->config.limits.quota_cpus;
    if (quota > 0) {
        double reserve = atomic_load_explicit(&pool->reserve_permille, memory_order_relaxed) / 1000.0 +
                         quota * PACE_MARGIN;
        double left = MAX(quota - reserve, quota * 0.1) / pool->hash_count;
        share = MIN(share, left);
    }
    return share;
}

/* Sleeps when this thread has used more than its share since the window began. */
static void keep_pace(struct worker *worker, struct pace *pace)
{
    double share = share_of(worker->pool);
    int64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    atomic_store_explicit(&worker->cpu_ns, cpu, memory_order_relaxed);
    if (share < 1.0) {
        int64_t due = pace->wall_ns + (int64_t)((double)(cpu - pace->cpu_ns) / share);
        if (due > wall) {
            struct timespec until = {due / 1000000000, due % 1000000000};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
    }
    if (wall - pace->wall_ns > PACE_WINDOW_NS) {
        *pace = (struct pace){clock_ns(CLOCK_MONOTONIC), cpu};
    }
}

/* What the threads that do not hash used lately; the first hash worker looks now and then. */
static void measure_reserve(struct pool *pool, int64_t *last_wall, int64_t *last_other)
{
    int64_t wall = clock_ns(CLOCK_MONOTONIC);
    if (wall - *last_wall < PACE_WINDOW_NS) {
        return;
    }
    int64_t other = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < pool->hash_count; i++) {
        other -= atomic_load_explicit(&pool->workers[i].cpu_ns, memory_order_relaxed);
    }
    if (*last_wall) {
        int64_t permille = (other - *last_other) * 1000 / (wall - *last_wall);
        atomic_store_explicit(&pool->reserve_permille, (int)MAX(MIN(permille, INT64_C(100000)), INT64_C(0)),
                              memory_order_relaxed);
    }
    *last_wall = wall;
    *last_other = other;
}

/* The part of the version space that is this worker's: every hash_count-th group of versions. */
static uint32_t next_versions(const struct pool_work *work, uint32_t versions[VERSIONS_AT_ONCE],
                              uint32_t group)
{
    uint32_t version = load_le32(work->header);
    if (!work->version_mask) {
        versions[0] = version;
        return 1;
    }
    for (uint32_t i = 0; i < VERSIONS_AT_ONCE; i++) {
        versions[i] = version_with(version, work->version_mask, group * VERSIONS_AT_ONCE + i);
    }
    return VERSIONS_AT_ONCE;
}

/* Hashes until the work changes or is found. */
static void hash_work(struct worker *worker, const struct pool_work *work, unsigned sequence, uint64_t *slice,
                      int64_t reserve[2])
{
    struct pool *pool = worker->pool;
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    uint32_t versions[VERSIONS_AT_ONCE], group = worker->number;
    /* Without versions to roll, the nonces are divided. */
    uint64_t part = work->version_mask ? UINT64_C(1) << 32 : (UINT64_C(1) << 32) / pool->hash_count;
    uint64_t first = work->version_mask ? 0 : part * worker->number, end = first + part;
    uint32_t count = next_versions(work, versions, group);
    scan_prepare(&job, work->header, versions, count, work->target);
    struct pace pace = {clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_THREAD_CPUTIME_ID)};
    while (!atomic_load_explicit(&pool->stopping, memory_order_relaxed) &&
           atomic_load_explicit(&pool->sequence, memory_order_acquire) == sequence) {
        size_t found;
        int64_t before = clock_ns(CLOCK_MONOTONIC);
        uint64_t done =
            scan_nonces(&job, (uint32_t)first, MIN(*slice, end - first), hits, SCAN_HITS_MIN, &found);
        int64_t took = clock_ns(CLOCK_MONOTONIC) - before;
        atomic_store_explicit(&worker->hash_count,
                              atomic_load_explicit(&worker->hash_count, memory_order_relaxed) + done * count,
                              memory_order_relaxed);
        if (took > SLICE_NS) {
            *slice = MAX(*slice / 2, UINT64_C(64));
        } else if (took < SLICE_NS / 2) {
            *slice = MIN(*slice * 5 / 4 + 1, UINT64_C(1) << 20);
        }
        if (found) {
            add_result(pool, &(struct pool_result){.kind = POOL_HIT,
                                                   .work_id = work->id,
                                                   .version = hits[0].version,
                                                   .nonce = hits[0].nonce});
            wait_for_work(pool, sequence);
            return;
        }
        first += done;
        if (first >= end) {
            if (!work->version_mask) {
                wait_for_work(pool, sequence); /* the owner's next refresh brings another header */
                return;
            }
            group += pool->hash_count;
            first = 0;
            count = next_versions(work, versions, group);
            scan_prepare(&job, work->header, versions, count, work->target);
        }
        if (worker->number == 0 && pool->config.limits.quota_cpus > 0) {
            measure_reserve(pool, &reserve[0], &reserve[1]);
        }
        keep_pace(worker, &pace);
    }
}

static void *hash_main(void *context)
{
    struct worker *worker = context;
    struct pool *pool = worker->pool;
    struct sched_param param = {0};
    uint64_t slice = 512;
    int64_t reserve[2] = {0, 0};
    sched_setscheduler(0, SCHED_IDLE, &param); /* may be refused: then the kernel's fairness must do */
    while (!atomic_load(&pool->stopping)) {
        struct pool_work work;
        unsigned sequence;
        if (take_work(pool, &work, &sequence)) {
            hash_work(worker, &work, sequence, &slice, reserve);
        } else if (atomic_load(&pool->idle)) {
            wait_for_work(pool, UINT32_MAX);
        }
    }
    return NULL;
}

/* ---- Checking
 * ------------------------------------------------------------------------------------------------------ */

static void run_batch(struct batch *batch)
{
    for (;;) {
        size_t index = atomic_fetch_add(&batch->next, 1);
        if (index >= batch->count || atomic_load(&batch->failed_index) != SIZE_MAX) {
            return;
        }
        if (!batch->check(batch->context, index)) {
            size_t lowest = atomic_load(&batch->failed_index);
            while (index < lowest && !atomic_compare_exchange_weak(&batch->failed_index, &lowest, index)) {
            }
            return;
        }
    }
}

static void *check_main(void *context)
{
    struct worker *worker = context;
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    while (!atomic_load(&pool->stopping)) {
        if (list_empty(&pool->batches)) {
            pthread_cond_wait(&pool->batch_cond, &pool->lock);
            continue;
        }
        struct batch *batch = CONTAINER_OF(pool->batches.next, struct batch, link);
        batch->users++;
        pthread_mutex_unlock(&pool->lock);
        run_batch(batch);
        pthread_mutex_lock(&pool->lock);
        list_remove(&batch->link); /* nothing is left to hand out; the last one in ends it */
        if (--batch->users == 0) {
            struct pool_result result = {.kind = POOL_CHECKED,
                                         .cookie = batch->cookie,
                                         .failed_index = atomic_load(&batch->failed_index)};
            pthread_mutex_unlock(&pool->lock);
            mem_free(batch);
            add_result(pool, &result);
            pthread_mutex_lock(&pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void pool_check(struct pool *pool, bool (*check)(void *batch, size_t index), void *context, size_t count,
                void *cookie)
{
    struct batch *batch = mem_alloc(sizeof *batch);
    batch->check = check;
    batch->context = context;
    batch->cookie = cookie;
    batch->count = count;
    atomic_init(&batch->next, 0);
    atomic_init(&batch->failed_index, SIZE_MAX);
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->batches, &batch->link);
    pthread_cond_broadcast(&pool->batch_cond);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- The owner's side
 * ------------------------------------------------------------------------------------------------ */

void pool_work(struct pool *pool, const struct pool_work *work)
{
    uint64_t words[WORK_WORDS] = {0};
    if (work) {
        memcpy(words, work, sizeof *work);
    }
    atomic_store(&pool->idle, !work);
    atomic_fetch_add_explicit(&pool->sequence, 1, memory_order_acq_rel); /* odd: readers turn away */
    for (size_t i = 0; i < WORK_WORDS; i++) {
        /* Release, so that whoever sees a new word also sees the odd sequence. */
        atomic_store_explicit(&pool->words[i], words[i], memory_order_release);
    }
    atomic_fetch_add_explicit(&pool->sequence, 1, memory_order_release);
    pthread_mutex_lock(
        &pool->lock); /* a worker between its look and its wait holds it: no wake-up is missed */
    pthread_cond_broadcast(&pool->work_cond);
    pthread_mutex_unlock(&pool->lock);
}

bool pool_next_result(struct pool *pool, struct pool_result *out)
{
    pthread_mutex_lock(&pool->lock);
    bool any = pool->result_count > 0;
    if (any) {
        *out = pool->results[pool->result_first];
        pool->result_first = (pool->result_first + 1) % RESULTS_MAX;
        pool->result_count--;
    }
    pthread_mutex_unlock(&pool->lock);
    return any;
}

int pool_event_fd(const struct pool *pool)
{
    return pool->event_fd;
}

unsigned pool_hash_threads(const struct pool *pool)
{
    return pool->hash_count;
}

unsigned pool_check_threads(const struct pool *pool)
{
    return pool->check_count;
}

uint64_t pool_hash_count(const struct pool *pool)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < pool->hash_count; i++) {
        total += atomic_load_explicit(&pool->workers[i].hash_count, memory_order_relaxed);
    }
    return total;
}

/* The n-th CPU that this process may use; -1: do not pin. */
static int cpu_for(const struct pool_config *config, unsigned n)
{
    cpu_set_t mask;
    int seen = 0, wanted;
    bool narrowed = config->limits.affinity_cpus < config->limits.machine_cpus;
    if (!(config->pin || narrowed || config->cpus) || sched_getaffinity(0, sizeof mask, &mask) != 0 ||
        CPU_COUNT(&mask) == 0) {
        return -1;
    }
    if (config->cpus) {
        const char *at = config->cpus;
        cpu_set_t chosen;
        CPU_ZERO(&chosen);
        while (*at) {
            char *end;
            unsigned long first = strtoul(at, &end, 10),
                          last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
            for (; end != at && first <= last && first < CPU_SETSIZE; first++) {
                CPU_SET(first, &chosen);
            }
            at = *end == ',' ? end + 1 : end;
            if (end == at && *end && *end != ',') {
                break;
            }
        }
        CPU_AND(&mask, &mask, &chosen);
        if (CPU_COUNT(&mask) == 0) {
            return -1;
        }
    }
    wanted = (int)n % CPU_COUNT(&mask);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &mask) && seen++ == wanted) {
            return cpu;
        }
    }
    return -1;
}

static bool start_worker(struct pool *pool, struct worker *worker)
{
    char name[16];
    if (pthread_create(&worker->thread, NULL, worker->hashes ? hash_main : check_main, worker) != 0) {
        return false;
    }
    snprintf(name, sizeof name, worker->hashes ? "q-hash/%u" : "q-check/%u", worker->number);
    pthread_setname_np(worker->thread, name);
    int cpu = worker->hashes ? cpu_for(&pool->config, worker->number) : -1;
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        pthread_setaffinity_np(worker->thread, sizeof set, &set);
    }
    return true;
}

struct pool *pool_start(const struct pool_config *config, struct error *error)
{
    struct pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    CHECK(pool);
    memset(pool, 0, sizeof *pool);
    pool->config = *config;
    pool->config.hash_share = MIN(MAX(config->hash_share, 1u), 100u);
    pool->hash_count = config->hash_threads >= 0 ? (unsigned)config->hash_threads : config->limits.workers;
    pool->check_count =
        config->check_threads > 0 ? (unsigned)config->check_threads : MAX(config->limits.workers, 1u);
    unsigned total = pool->hash_count + pool->check_count, started = 0;
    pool->workers = aligned_alloc(64, total * sizeof *pool->workers);
    CHECK(pool->workers);
    memset(pool->workers, 0, total * sizeof *pool->workers);
    pool->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_cond, NULL);
    pthread_cond_init(&pool->batch_cond, NULL);
    list_init(&pool->batches);
    atomic_store(&pool->idle, true);
    for (; started < total; started++) {
        struct worker *worker = &pool->workers[started];
        worker->pool = pool;
        worker->hashes = started < pool->hash_count;
        worker->number = worker->hashes ? started : started - pool->hash_count;
        if (pool->event_fd < 0 || !start_worker(pool, worker)) {
            break;
        }
    }
    if (started < total) {
        pool->hash_count = MIN(pool->hash_count, started);
        pool->check_count = started - pool->hash_count;
        pool_stop(pool);
        error_set(error, ERROR_IO, NULL, "cannot start %u threads: %s", total, strerror(errno));
        return NULL;
    }
    return pool;
}

void pool_stop(struct pool *pool)
{
    if (!pool) {
        return;
    }
    atomic_store(&pool->stopping, true);
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->work_cond);
    pthread_cond_broadcast(&pool->batch_cond);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->hash_count + pool->check_count; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    LIST_EACH_SAFE(at, following, &pool->batches)
    {
        mem_free(CONTAINER_OF(at, struct batch, link));
    }
    if (pool->event_fd >= 0) {
        close(pool->event_fd);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work_cond);
    pthread_cond_destroy(&pool->batch_cond);
    free(pool->workers);
    free(pool);
}
