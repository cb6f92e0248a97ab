/* Private to the pool: pool.c is the owner's side (start, stop, publish, collect), hash.c the hash workers,
 * check.c the check workers, limits.c what the machine allows, space.h how the headers are shared out. */
#ifndef QUARRY_HASHING_POOL_PRIVATE_H
#define QUARRY_HASHING_POOL_PRIVATE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "hashing/pool/pool.h"

#define CACHE_LINE 64
#define WORK_WORDS 18u
#define RING_HITS  256u /* a power of two */

struct published {   /* what the sequence lock guards */
    uint64_t number; /* of the publication: a worker that sees it again goes on where it was */
    bool idle;
    struct pool_work work;
};
_Static_assert(sizeof(struct published) == WORK_WORDS * 8, "the published words are the work");

/* Hits on their way to the owner: one writer, one reader, no lock, so that a hash worker that has lost its
 * CPU never holds up the owner. */
struct hit_ring {
    _Alignas(CACHE_LINE) atomic_uint taken; /* the owner's line */
    _Alignas(CACHE_LINE) atomic_uint put;   /* the worker's */
    struct pool_result hits[RING_HITS];
};

struct hash_worker {
    struct pool *pool;
    pthread_t thread;
    unsigned number;
    _Atomic(pid_t) tid;  /* 0: not running yet */
    atomic_bool hurried; /* by the owner: an ordinary thread, until it has looked at the work */
    _Alignas(CACHE_LINE) atomic_uint_fast64_t hashes; /* lines of its own: written all the time */
    atomic_uint_fast64_t hashes_rolling, hits, hits_lost, switches;
    atomic_uint_fast64_t begun_id; /* written after begun_ns, read before it */
    atomic_int_fast64_t begun_ns, cpu_ns;
    _Atomic(const struct sha256_kernel *) plain, rolling; /* NULL: not measured yet */
    struct hit_ring ring;
};

struct batch;

struct pool {
    struct pool *left_before; /* of pools that were left behind with a worker */
    struct pool_config config;
    int event_fd;
    atomic_bool stopping;

    /* Read by hash workers between slices, written by the owner only. */
    _Alignas(CACHE_LINE) atomic_uint sequence; /* odd: being written; also the futex that sleepers wait on */
    atomic_uint_fast64_t words[WORK_WORDS];
    atomic_uint active;        /* workers numbered below it hash */
    atomic_uint pace_permille; /* of one CPU for all workers together; 0: no quota */
    /* Written by a worker that begins with new work; a futex that the owner waits on. */
    _Alignas(CACHE_LINE) atomic_uint begun;
    atomic_bool awaited;
    /* Written by hash worker 0, ten times a second. */
    _Alignas(CACHE_LINE) atomic_uint reserve_permille; /* of one CPU: what the other threads use */

    /* The owner's. */
    _Alignas(CACHE_LINE) uint64_t publications;
    struct published current;
    struct hash_worker *hash; /* hash_capacity of them, of which hash_started run */
    unsigned hash_capacity, hash_started, next_ring;

    /* Between the owner and the check workers: ordinary threads on both sides. */
    pthread_mutex_t lock;
    pthread_cond_t batch_cond;
    struct list batches, done;
    pthread_t *check;
    unsigned check_count;
};

void pool_signal(struct pool *pool); /* the event descriptor */
int64_t pool_clock_ns(clockid_t id);
int64_t pool_thread_cpu_ns(void);
/* A thread of idle priority, or an ordinary one with the shortest slice. False: refused. */
bool hash_priority(pid_t tid, bool idle);
void *hash_main(void *worker);
void *check_main(void *pool);
bool check_next_result(struct pool *pool, struct pool_result *out);
void check_free(struct pool *pool); /* batches that are left */

/* CPUs in a list like "0-3,7". False when it is not one. */
bool cpu_list_parse(cpu_set_t *out, const char *text) MUST_USE;

#endif
