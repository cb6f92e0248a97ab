/*
 * The owner's side: starting and stopping the threads, publishing work, collecting results, following the
 * limits.
 *
 * Publishing is a sequence lock with one writer: the sequence is odd while the words are written. Every word
 * is atomic, so that a reader who comes at the wrong moment copies a mixture, sees it by the sequence, and
 * has raced by no rule of C. The sequence is the futex of whoever sleeps, too: see hash.c.
 */
#include "hashing/pool/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool_private.h"

#define HASH_THREADS_MAX 1024u
#define PATIENCE_NS      INT64_C(300000000)

int64_t pool_clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t pool_thread_cpu_ns(void)
{
    return pool_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void pool_signal(struct pool *pool)
{
    uint64_t one = 1;
    while (write(pool->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* ---- Publishing -------------------------------------------------------------------------------------- */

static void publish(struct pool *pool)
{
    uint64_t words[WORK_WORDS];
    unsigned sequence = atomic_load_explicit(&pool->sequence, memory_order_relaxed);
    memcpy(words, &pool->current, sizeof words);
    atomic_store_explicit(&pool->sequence, sequence + 1, memory_order_relaxed); /* odd: readers turn away */
    for (size_t i = 0; i < WORK_WORDS; i++) {
        /* Release, so that whoever sees a new word also sees the odd sequence. */
        atomic_store_explicit(&pool->words[i], words[i], memory_order_release);
    }
    atomic_store_explicit(&pool->sequence, sequence + 2, memory_order_release);
    syscall(SYS_futex, &pool->sequence, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void pool_work(struct pool *pool, const struct pool_work *work)
{
    pool->current.number = ++pool->publications;
    pool->current.idle = !work;
    if (work) {
        memcpy(&pool->current.work, work, sizeof *work);
    }
    publish(pool);
}

bool pool_next_result(struct pool *pool, struct pool_result *out)
{
    for (unsigned i = 0; i < pool->hash_started; i++) { /* in turns, so that none is forgotten */
        struct hit_ring *ring = &pool->hash[pool->next_ring].ring;
        pool->next_ring = (pool->next_ring + 1) % pool->hash_started;
        unsigned taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
        if (taken != atomic_load_explicit(&ring->put, memory_order_acquire)) {
            *out = ring->hits[taken % RING_HITS];
            atomic_store_explicit(&ring->taken, taken + 1, memory_order_release);
            return true;
        }
    }
    return check_next_result(pool, out);
}

bool pool_wait_result(struct pool *pool, struct pool_result *out, int patience_ms)
{
    while (!pool_next_result(pool, out)) {
        struct pollfd wait = {.fd = pool->event_fd, .events = POLLIN};
        uint64_t count;
        int ready = poll(&wait, 1, patience_ms);
        if (ready == 0 || (ready < 0 && errno != EINTR)) {
            return false;
        }
        if (ready > 0 && read(wait.fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* ---- What is known about the pool -------------------------------------------------------------------- */

int pool_event_fd(const struct pool *pool)
{
    return pool->event_fd;
}

unsigned pool_hash_threads(const struct pool *pool)
{
    return atomic_load_explicit(&pool->active, memory_order_relaxed);
}

unsigned pool_check_threads(const struct pool *pool)
{
    return pool->check_count;
}

bool pool_ready(const struct pool *pool)
{
    for (unsigned i = 0; i < pool_hash_threads(pool); i++) {
        if (!atomic_load(&pool->hash[i].rolling)) { /* chosen last */
            return false;
        }
    }
    return true;
}

uint64_t pool_hash_count(const struct pool *pool)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < pool->hash_capacity; i++) {
        total += atomic_load_explicit(&pool->hash[i].hashes, memory_order_relaxed);
    }
    return total;
}

bool pool_worker_stats(const struct pool *pool, unsigned number, struct pool_worker_stats *out)
{
    if (number >= pool->hash_started) {
        return false;
    }
    const struct hash_worker *worker = &pool->hash[number];
    const struct sha256_kernel *plain = atomic_load(&worker->plain), *rolling = atomic_load(&worker->rolling);
    clockid_t clock;
    *out = (struct pool_worker_stats){
        .hashes = atomic_load_explicit(&worker->hashes, memory_order_relaxed),
        .hashes_rolling = atomic_load_explicit(&worker->hashes_rolling, memory_order_relaxed),
        .hits = atomic_load_explicit(&worker->hits, memory_order_relaxed),
        .hits_lost = atomic_load_explicit(&worker->hits_lost, memory_order_relaxed),
        .switches = atomic_load_explicit(&worker->switches, memory_order_relaxed),
        .cpu_ns = pthread_getcpuclockid(worker->thread, &clock) == 0 ? pool_clock_ns(clock) : 0,
        .plain = plain ? plain->name : NULL,
        .rolling = rolling ? rolling->name : NULL,
    };
    return true;
}

bool pool_begun(const struct pool *pool, uint64_t work_id, int64_t *mono_ns)
{
    unsigned workers = pool_hash_threads(pool);
    *mono_ns = 0;
    for (unsigned i = 0; i < workers; i++) {
        if (atomic_load_explicit(&pool->hash[i].begun_id, memory_order_acquire) < work_id) {
            return false;
        }
        int64_t at = atomic_load_explicit(&pool->hash[i].begun_ns, memory_order_relaxed);
        *mono_ns = MAX(*mono_ns, at);
    }
    return workers > 0;
}

/* False: the time is up before. */
static bool await_until(struct pool *pool, int64_t until_ns)
{
    const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    int64_t mono_ns;
    for (;;) {
        unsigned seen = atomic_load(&pool->begun);
        if (pool_begun(pool, pool->current.work.id, &mono_ns)) {
            return true;
        }
        if (syscall(SYS_futex, &pool->begun, FUTEX_WAIT_BITSET_PRIVATE, seen, &until, NULL,
                    FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno == ETIMEDOUT) {
            return false;
        }
    }
}

/* Those that have not begun have lost their CPU to another idle thread, or to an ordinary one. Told only when
 * it is so: who is told makes itself idle again. False: none could be hurried, and waiting on helps nobody.
 */
static bool hurry_late(struct pool *pool)
{
    bool any = false;
    for (unsigned i = 0; i < pool_hash_threads(pool); i++) {
        struct hash_worker *worker = &pool->hash[i];
        pid_t tid = atomic_load(&worker->tid);
        if (tid && atomic_load_explicit(&worker->begun_id, memory_order_acquire) < pool->current.work.id &&
            hash_priority(tid, false)) {
            atomic_store(&worker->hurried, true);
            any = true;
        }
    }
    return any;
}

bool pool_await(struct pool *pool, int64_t most_ns)
{
    if (pool->current.idle || !pool_hash_threads(pool)) {
        return false;
    }
    int64_t now = pool_clock_ns(CLOCK_MONOTONIC);
    atomic_store(&pool->awaited, true);
    bool all = await_until(pool, now + most_ns / 4);
    if (!all && hurry_late(pool)) {
        all = await_until(pool, now + most_ns);
    }
    atomic_store(&pool->awaited, false);
    return all;
}

/* ---- Limits ------------------------------------------------------------------------------------------ */

/* The CPUs that hash workers may use: the process's mask, cut by --cpus. */
static int usable_cpus(const struct pool_config *config, cpu_set_t *out)
{
    cpu_set_t chosen;
    if (sched_getaffinity(0, sizeof *out, out) != 0) {
        CPU_ZERO(out);
    }
    if (config->cpus && cpu_list_parse(&chosen, config->cpus)) {
        CPU_AND(out, out, &chosen);
    }
    return CPU_COUNT(out);
}

static unsigned workers_wanted(const struct pool *pool)
{
    const struct pool_config *config = &pool->config;
    cpu_set_t cpus;
    unsigned count = config->limits.workers;
    if (config->hash_threads >= 0) {
        return (unsigned)config->hash_threads;
    }
    if (config->cpus) {
        count = MIN(count, (unsigned)MAX(usable_cpus(config, &cpus), 1));
    }
    return MIN(count, pool->hash_capacity);
}

/* Each worker to a CPU of its own where there is one for every CPU (the kernel puts two on one while another
 * thread has the other, and may leave them there for milliseconds), where the mask is narrower than the
 * machine, or where it is asked for. Fewer workers, and those under a quota, are not: every process would
 * choose the same CPUs. */
static void pin(const struct pool *pool, struct hash_worker *worker, unsigned workers)
{
    const struct pool_config *config = &pool->config;
    cpu_set_t usable, own;
    bool narrowed = config->limits.affinity_cpus < config->limits.machine_cpus;
    int count = usable_cpus(config, &usable), seen = 0;
    bool fill = (int)workers >= count && !atomic_load(&pool->pace_permille);
    if (count == 0) {
        return;
    }
    if (!fill && !config->pin && !narrowed && !config->cpus) {
        pthread_setaffinity_np(worker->thread, sizeof usable, &usable);
        return;
    }
    CPU_ZERO(&own);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &usable) && seen++ == (int)worker->number % count) {
            CPU_SET(cpu, &own);
        }
    }
    pthread_setaffinity_np(worker->thread, sizeof own, &own);
}

static bool start_hash_worker(struct pool *pool, unsigned number)
{
    struct hash_worker *worker = &pool->hash[number];
    char name[24];
    worker->pool = pool;
    worker->number = number;
    if (pthread_create(&worker->thread, NULL, hash_main, worker) != 0) {
        return false;
    }
    snprintf(name, sizeof name, "q-hash/%u", number);
    pthread_setname_np(worker->thread, name);
    return true;
}

/* Brings workers, pacing and CPUs to what the configuration says now. */
static bool follow_limits(struct pool *pool)
{
    const struct cpu_limits *limits = &pool->config.limits;
    unsigned wanted = workers_wanted(pool);
    /* A quota above what the CPUs can spend binds nobody. */
    double quota = limits->quota_cpus > limits->affinity_cpus ? 0 : limits->quota_cpus;
    atomic_store(&pool->pace_permille, (unsigned)lround(quota * 1000));
    while (pool->hash_started < wanted && start_hash_worker(pool, pool->hash_started)) {
        pool->hash_started++;
    }
    for (unsigned i = 0; i < pool->hash_started; i++) {
        pin(pool, &pool->hash[i], wanted);
    }
    atomic_store(&pool->active, MIN(wanted, pool->hash_started));
    publish(pool); /* the same work: those who hash go on, those who slept look again */
    return pool->hash_started >= wanted;
}

bool pool_limits(struct pool *pool, const struct cpu_limits *limits)
{
    const struct cpu_limits *known = &pool->config.limits;
    if (known->affinity_cpus == limits->affinity_cpus && known->quota_cpus == limits->quota_cpus &&
        known->workers == limits->workers && CPU_EQUAL(&known->cpus, &limits->cpus)) {
        return false;
    }
    pool->config.limits = *limits;
    follow_limits(pool);
    return true;
}

/* ---- Life -------------------------------------------------------------------------------------------- */

static void *aligned_zeroed(size_t count, size_t size)
{
    size_t bytes = (MAX(count * size, (size_t)1) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *memory = aligned_alloc(CACHE_LINE, bytes);
    CHECK(memory);
    return memset(memory, 0, bytes);
}

static bool start_check_workers(struct pool *pool, unsigned count)
{
    char name[24];
    pool->check = mem_alloc(count * sizeof *pool->check);
    while (pool->check_count < count) {
        pthread_t *thread = &pool->check[pool->check_count];
        if (pthread_create(thread, NULL, check_main, pool) != 0) {
            return false;
        }
        snprintf(name, sizeof name, "q-check/%u", pool->check_count++);
        pthread_setname_np(*thread, name);
    }
    return true;
}

struct pool *pool_start(const struct pool_config *config, struct error *error)
{
    cpu_set_t cpus;
    if (config->cpus && (!cpu_list_parse(&cpus, config->cpus) || usable_cpus(config, &cpus) == 0)) {
        error_set(error, ERROR_USAGE, NULL, "cpus is '%.60s': a list such as 0,2-3 of CPUs that may be used",
                  config->cpus);
        return NULL;
    }
    struct pool *pool = aligned_zeroed(1, sizeof *pool);
    pool->config = *config;
    pool->config.hash_share = MIN(MAX(config->hash_share, 1u), 100u);
    pool->hash_capacity =
        config->hash_threads >= 0
            ? MIN((unsigned)config->hash_threads, HASH_THREADS_MAX)
            : MIN(MAX(config->limits.machine_cpus, config->limits.workers), HASH_THREADS_MAX);
    pool->hash = aligned_zeroed(pool->hash_capacity, sizeof *pool->hash);
    pool->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->batch_cond, NULL);
    list_init(&pool->batches);
    list_init(&pool->done);
    pool_work(pool, NULL);
    unsigned check_count =
        config->check_threads > 0 ? (unsigned)config->check_threads : MAX(config->limits.workers, 1u);
    if (pool->event_fd < 0 || !start_check_workers(pool, check_count) || !follow_limits(pool)) {
        error_set(error, ERROR_IO, NULL, "cannot start %u check workers and %u hash workers: %s", check_count,
                  workers_wanted(pool), strerror(errno));
        pool_stop(pool);
        return NULL;
    }
    return pool;
}

/* Pools with a worker that still runs: nobody's any more, and no leak, as long as they can be found. */
static struct pool *left_behind;

/*
 * On a busy machine a thread of idle priority may get no CPU for seconds, not even to end. It may be raised
 * where we have the right to; otherwise nobody waits for it longer than PATIENCE_NS. False: some worker still
 * runs, and its memory stays.
 */
static bool hash_workers_end(struct pool *pool)
{
    const struct sched_param param = {0};
    int64_t until_ns = pool_clock_ns(CLOCK_REALTIME) + PATIENCE_NS;
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    bool all = true;
    for (unsigned i = 0; i < pool->hash_started; i++) {
        pthread_setschedparam(pool->hash[i].thread, SCHED_OTHER, &param);
    }
    for (unsigned i = 0; i < pool->hash_started; i++) {
        /* Of the joins that end, the one that the thread sanitizer (GCC 12) knows. */
        if (pthread_timedjoin_np(pool->hash[i].thread, NULL, &until) != 0) {
            pthread_detach(pool->hash[i].thread);
            all = false;
        }
    }
    return all;
}

void pool_stop(struct pool *pool)
{
    if (!pool) {
        return;
    }
    atomic_store(&pool->stopping, true);
    pool_work(pool, NULL); /* whoever hashes or sleeps looks up */
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->batch_cond);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->check_count; i++) {
        pthread_join(pool->check[i], NULL);
    }
    if (!hash_workers_end(pool)) {
        pool->left_before = left_behind;
        left_behind = pool;
        return;
    }
    check_free(pool);
    if (pool->event_fd >= 0) {
        close(pool->event_fd);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->batch_cond);
    mem_free(pool->check);
    free(pool->hash);
    free(pool);
}
