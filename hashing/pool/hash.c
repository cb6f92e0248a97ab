/*
 * The hash workers. Nothing they do takes a lock, and between two changes of work nothing writes to a line
 * that another thread writes: work comes through the sequence lock, hits leave through a ring of their own,
 * statistics are lines of their own.
 *
 * Sleeping: on the sequence itself (a futex). The owner changes it first and wakes then, the kernel compares
 * it with what the sleeper has seen, under its own lock: no wake-up is missed.
 *
 * Pacing: under a quota Q with n workers each may use (Q - reserve) / n of a CPU, where the reserve is what
 * the process's other threads used lately plus a margin. A worker that is more than PACE_AHEAD_NS ahead of
 * its share sleeps until it is not (new work wakes it); time that it could not use is kept for PACE_CREDIT_NS
 * only, so that a late start does not become a burst that the quota punishes. In a period of 100 ms n workers
 * may so be n * 4 ms from the line, and the kernel leaves some of the quota stranded on each CPU: the margin
 * covers what of that usually comes together (measured: 3.5 % is never throttled, and costs more than it
 * saves; 1.5 and 2 % are throttled in one period of a hundred).
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool_private.h"
#include "hashing/pool/space.h"

#define SLICE_NS          INT64_C(100000) /* between two looks at the sequence */
#define SLICE_NONCES_MIN  UINT64_C(64)
#define PACE_AHEAD_NS     INT64_C(1000000)
#define PACE_CREDIT_NS    INT64_C(3000000)
#define PACE_MARGIN       0.025
#define PACE_LEAST        0.1 /* of the quota, however busy the others are */
#define RESERVE_WINDOW_NS INT64_C(100000000)
#define MEASURE_ROUNDS    8
#define NICE_LEAST        19
#define SHORT_SLICE_NS    UINT64_C(100000) /* the least that the kernel takes (Linux 6.12) */

/* A worker's place in a publication. */
struct place {
    struct published published;
    struct space space;
    struct scan_job job;
    uint32_t group_of_job;
    uint64_t chunk, first, end; /* nonces first .. end - 1 of the chunk are left */
    bool fresh, done;           /* fresh: not a hash tried yet; done: found, or nothing left */
};
struct pace {
    int64_t due_ns, cpu_ns; /* when the CPU time used so far would be this worker's share; that time */
};
struct reserve {
    int64_t wall_ns, other_ns;
};
struct hashing { /* a worker's own */
    struct hash_worker *worker;
    struct place place;
    struct pace pace;
    struct reserve reserve;
    uint64_t slice_nonces;
};

/* ---- Taking work ------------------------------------------------------------------------------------- */

/* A copy of what is published; returns its sequence, which is even. */
static unsigned take_published(struct pool *pool, struct published *out)
{
    uint64_t copy[WORK_WORDS];
    for (;;) {
        unsigned before = atomic_load_explicit(&pool->sequence, memory_order_acquire);
        for (size_t i = 0; i < WORK_WORDS; i++) {
            /* Acquire: whoever sees a new word sees the odd sequence before it, and the second look at the
             * sequence cannot move up. */
            copy[i] = atomic_load_explicit(&pool->words[i], memory_order_acquire);
        }
        if (!(before & 1) && before == atomic_load_explicit(&pool->sequence, memory_order_relaxed)) {
            memcpy(out, copy, sizeof *out);
            return before;
        }
        sched_yield(); /* the writer may wait for this CPU */
    }
}

/* Until the sequence is no longer `seen`, or until the time; INT64_MAX: for ever. */
static void sleep_while(struct pool *pool, unsigned seen, int64_t until_ns)
{
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    while (atomic_load_explicit(&pool->sequence, memory_order_acquire) == seen) {
        long answer = syscall(SYS_futex, &pool->sequence, FUTEX_WAIT_BITSET_PRIVATE, seen,
                              until_ns == INT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
        if (answer != 0 && errno == ETIMEDOUT) {
            return;
        }
    }
}

static void enter_chunk(struct place *place, const struct pool_work *work)
{
    uint32_t versions[SPACE_VERSIONS_MAX];
    uint32_t group = (uint32_t)(place->chunk / SPACE_NONCE_PARTS);
    place->first = space_first_nonce(place->chunk);
    place->end = place->first + SPACE_NONCES;
    if (group != place->group_of_job) {
        space_versions(&place->space, place->chunk, versions);
        scan_prepare(&place->job, work->header, versions, place->space.group_versions, work->target);
        place->group_of_job = group;
    }
}

static void enter_work(struct place *place, const struct published *published, unsigned number)
{
    const struct pool_work *work = &published->work;
    place->published = *published;
    place->space = space_of(load_le32(work->header), work->version_mask);
    place->group_of_job = UINT32_MAX;
    place->chunk = number;
    place->fresh = true;
    place->done = place->chunk >= place->space.chunks;
    if (!place->done) {
        enter_chunk(place, work);
    }
}

/* ---- Results ----------------------------------------------------------------------------------------- */

static void add(atomic_uint_fast64_t *counter, uint64_t by) /* one writer: no locked instruction */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static void put_result(struct hash_worker *worker, const struct pool_result *result)
{
    struct hit_ring *ring = &worker->ring;
    unsigned put = atomic_load_explicit(&ring->put, memory_order_relaxed);
    if (put - atomic_load_explicit(&ring->taken, memory_order_acquire) == RING_HITS) {
        add(&worker->hits_lost, 1);
        return;
    }
    ring->hits[put % RING_HITS] = *result;
    atomic_store_explicit(&ring->put, put + 1, memory_order_release);
}

static void report(struct hash_worker *worker, const struct pool_work *work, const struct scan_hit *hits,
                   size_t count)
{
    struct pool_result result = {.kind = count ? POOL_HIT : POOL_USED_UP,
                                 .work_id = work->id,
                                 .worker = worker->number,
                                 .mono_ns = pool_clock_ns(CLOCK_MONOTONIC)};
    if (!count) {
        put_result(worker, &result);
    }
    for (size_t i = 0; i < count; i++) {
        result.version = hits[i].version;
        result.nonce = hits[i].nonce;
        put_result(worker, &result);
    }
    add(&worker->hits, count);
    pool_signal(worker->pool);
}

/* ---- Pacing ------------------------------------------------------------------------------------------ */

static double share_of(const struct pool *pool)
{
    double share = pool->config.hash_share / 100.0;
    double quota = atomic_load_explicit(&pool->pace_permille, memory_order_relaxed) / 1000.0;
    if (quota > 0) {
        double reserve = atomic_load_explicit(&pool->reserve_permille, memory_order_relaxed) / 1000.0;
        double left = MAX(quota * (1 - PACE_MARGIN) - reserve, quota * PACE_LEAST);
        share = MIN(share, left / MAX(atomic_load_explicit(&pool->active, memory_order_relaxed), 1u));
    }
    return share;
}

/* What the threads that do not hash used lately. */
static void measure_reserve(struct pool *pool, struct reserve *last, int64_t now)
{
    if (now - last->wall_ns < RESERVE_WINDOW_NS) {
        return;
    }
    int64_t other = pool_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < pool->hash_capacity; i++) {
        other -= atomic_load_explicit(&pool->hash[i].cpu_ns, memory_order_relaxed);
    }
    if (last->wall_ns) {
        int64_t permille = (other - last->other_ns) * 1000 / (now - last->wall_ns);
        atomic_store_explicit(&pool->reserve_permille,
                              (unsigned)MAX(MIN(permille, INT64_C(1000000)), INT64_C(0)),
                              memory_order_relaxed);
    }
    *last = (struct reserve){now, other};
}

/* Sleeps when this thread is ahead of its share. */
static void keep_pace(struct hashing *h, unsigned seen)
{
    struct pool *pool = h->worker->pool;
    double share = share_of(pool);
    if (share >= 1) {
        h->pace.due_ns = 0;
        return;
    }
    int64_t now = pool_clock_ns(CLOCK_MONOTONIC), cpu = pool_thread_cpu_ns();
    int64_t due = h->pace.due_ns ? h->pace.due_ns + (int64_t)((double)(cpu - h->pace.cpu_ns) / share) : now;
    h->pace = (struct pace){MAX(due, now - PACE_CREDIT_NS), cpu};
    atomic_store_explicit(&h->worker->cpu_ns, cpu, memory_order_relaxed);
    if (h->worker->number == 0) {
        measure_reserve(pool, &h->reserve, now);
    }
    if (h->pace.due_ns - now > PACE_AHEAD_NS) {
        sleep_while(pool, seen, h->pace.due_ns);
    }
}

/* ---- Hashing ----------------------------------------------------------------------------------------- */

static void adapt_slice(struct hashing *h, int64_t took_ns)
{
    if (took_ns > SLICE_NS) {
        h->slice_nonces = MAX(h->slice_nonces * 3 / 4, SLICE_NONCES_MIN);
    } else if (took_ns < SLICE_NS * 3 / 4) {
        h->slice_nonces = MIN(h->slice_nonces * 9 / 8 + 1, SPACE_NONCES);
    }
}

static void hash_slice(struct hashing *h)
{
    struct place *place = &h->place;
    struct hash_worker *worker = h->worker;
    const struct pool_work *work = &place->published.work;
    bool rolling = place->space.group_versions > 1;
    const struct sha256_kernel *kernel =
        atomic_load_explicit(rolling ? &worker->rolling : &worker->plain, memory_order_relaxed);
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    bool fresh = place->fresh; /* a small slice first: a hit, or newer work, may be near */
    uint64_t nonces = fresh ? SLICE_NONCES_MIN : h->slice_nonces;
    int64_t before = pool_clock_ns(CLOCK_MONOTONIC);
    uint64_t tried = scan_nonces_with(kernel, &place->job, (uint32_t)place->first,
                                      MIN(nonces, place->end - place->first), hits, SCAN_HITS_MIN, &found);
    if (!fresh) {
        adapt_slice(h, pool_clock_ns(CLOCK_MONOTONIC) - before);
    }
    place->fresh = false;
    add(&worker->hashes, tried * place->space.group_versions);
    if (rolling) {
        add(&worker->hashes_rolling, tried * place->space.group_versions);
    }
    place->first += tried;
    if (found) {
        report(worker, work, hits, found);
        place->done = !work->go_on;
    }
    if (place->first == place->end && !place->done) {
        place->chunk += worker->pool->hash_capacity;
        place->done = place->chunk >= place->space.chunks;
        if (place->done) {
            report(worker, work, NULL, 0);
        } else {
            enter_chunk(place, work);
        }
    }
}

/* The fastest kernels on this worker's CPU, unless one is forced. */
static void choose_kernels(struct hash_worker *worker)
{
    const struct sha256_kernel *plain = worker->pool->config.kernel, *rolling = plain;
    if (!plain) {
        struct sha256_measured results[16];
        size_t count;
        int64_t (*clock)(void) = pool_thread_cpu_ns;
        plain = sha256_kernel_measure(1, MEASURE_ROUNDS, clock, results, ARRAY_COUNT(results), &count);
        rolling = sha256_kernel_measure(SPACE_VERSIONS_MAX, MEASURE_ROUNDS, clock, results,
                                        ARRAY_COUNT(results), &count);
        for (size_t i = 0; i < count; i++) {
            log_debug(LOG_POOL, "q-hash/%u: %s takes %.2f ns per hash, rolling", worker->number,
                      results[i].kernel->name, results[i].ns_per_hash);
        }
    }
    atomic_store(&worker->plain, plain);
    atomic_store(&worker->rolling, rolling);
    log_info(LOG_POOL, "q-hash/%u hashes with %s where versions roll, else %s (%s)", worker->number,
             rolling->name, plain->name, worker->pool->config.kernel ? "forced" : "measured on its CPU");
}

bool thread_schedule(pid_t thread, int policy, int nice, uint64_t slice_ns)
{
    const struct { /* sched_attr, whose header does not go together with libc's */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = sizeof attr, .policy = (uint32_t)policy, .nice = nice, .runtime = slice_ns};
    const struct sched_param param = {0};
    return syscall(SYS_sched_setattr, thread, &attr, 0) == 0 ||
           (policy == SCHED_IDLE && sched_setscheduler(thread, policy, &param) == 0);
}

bool hash_priority(pid_t tid, bool idle)
{
    /* The nice value means nothing to an idle thread. But only where it changes, too, does the kernel look at
     * once whether a thread that has become an ordinary one goes before the one that has the CPU. */
    return idle ? thread_schedule(tid, SCHED_IDLE, NICE_LEAST, 0)
                : thread_schedule(tid, SCHED_OTHER, 0, SHORT_SLICE_NS);
}

/* Whoever awaits it has set `awaited` before its last look at the number, so one of the two sees the other.
 */
static void tell_begun(struct hash_worker *worker, uint64_t work_id)
{
    struct pool *pool = worker->pool;
    add(&worker->switches, 1);
    atomic_store_explicit(&worker->begun_ns, pool_clock_ns(CLOCK_MONOTONIC), memory_order_relaxed);
    atomic_store_explicit(&worker->begun_id, work_id, memory_order_release);
    atomic_fetch_add(&pool->begun, 1);
    if (atomic_load(&pool->awaited)) {
        syscall(SYS_futex, &pool->begun, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void *hash_main(void *context)
{
    struct hash_worker *worker = context;
    struct pool *pool = worker->pool;
    struct hashing h = {.worker = worker, .slice_nonces = 512};
    bool idle_priority = false;
    atomic_store(&worker->tid, gettid());
    /* At normal priority: on a busy machine an idle thread would measure for minutes. */
    choose_kernels(worker);
    while (!atomic_load(&pool->stopping)) {
        struct published published;
        unsigned seen = take_published(pool, &published);
        if (published.number != h.place.published.number) {
            enter_work(&h.place, &published, worker->number);
            tell_begun(worker, published.work.id);
        }
        bool rests = published.idle || worker->number >= atomic_load(&pool->active);
        if (!rests && (!idle_priority || atomic_exchange(&worker->hurried, false))) {
            /* Only now: on a busy machine it takes long to come back from it. It may be refused: then the
             * kernel's fairness must do. */
            idle_priority = true;
            hash_priority(0, true);
        }
        while (!rests && !h.place.done &&
               atomic_load_explicit(&pool->sequence, memory_order_acquire) == seen &&
               !atomic_load_explicit(&worker->hurried, memory_order_relaxed)) {
            hash_slice(&h);
            keep_pace(&h, seen);
        }
        if ((rests || h.place.done) && !atomic_load(&pool->stopping)) {
            sleep_while(pool, seen, INT64_MAX);
        }
    }
    return NULL;
}
