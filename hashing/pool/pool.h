/*
 * hashing/pool: the threads. Hash workers (SCHED_IDLE: every other thread of the process pre-empts them at
 * once) scan nonces for the work that is published; check workers (ordinary threads) run batches of a pure
 * function, asleep until there is one. What to hash and what to check is the owner's business.
 *
 * Work is published through a sequence lock that workers read between slices of about 0.1 ms: no lock on the
 * hash path. Hits come back through a ring per worker, checked batches through a queue, both announced by one
 * eventfd. The owner waits for a hash worker, which may have lost its CPU to another process for long, only
 * in pool_await, and for no longer than it says. All functions are called by the owner's thread, except where
 * said; pool_stop ends everything.
 */
#ifndef QUARRY_HASHING_POOL_H
#define QUARRY_HASHING_POOL_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/base.h"

/* What this process may use of the machine. */
struct cpu_limits {
    unsigned affinity_cpus; /* in the scheduling mask, cut by the cpuset where a tree names one */
    double quota_cpus;      /* cgroup v1 or v2; 0: none */
    unsigned workers;       /* min(affinity, ceil(quota)), at least 1 */
    unsigned machine_cpus;  /* online in the machine */
    uint64_t memory_bytes;  /* cgroup limit; 0: none */
    cpu_set_t cpus;         /* which they are that affinity_cpus counts */
};
/* cgroup_root is /sys/fs/cgroup and self_cgroup /proc/self/cgroup, or fake ones (tests). NULL: the real ones.
 * Reads v2 (cpu.max, cpuset.cpus.effective, memory.max) and v1 (cpu.cfs_quota_us, cpuset.cpus,
 * memory.limit_in_bytes), at the process's own path and above it: the tightest limit counts. Never fails:
 * what cannot be read is no limit. */
void cpu_limits_read(struct cpu_limits *out, const char *cgroup_root, const char *self_cgroup);

/* Gives a thread (by the kernel's number; 0: the caller) a policy, a nice value and a slice in ns
 * (Linux 6.12; 0: the usual). Where only the old call is allowed, SCHED_IDLE is all that comes of it. False:
 * refused (errno). Any thread. */
bool thread_schedule(pid_t thread, int policy, int nice, uint64_t slice_ns);

struct sha256_kernel;
struct pool_config {
    int hash_threads;    /* -1: as many as the limits allow, also when they change; 0: none */
    int check_threads;   /* -1: as many as hash workers would be, at least 1 */
    unsigned hash_share; /* percent of each hash worker's time, 1..100 */
    bool pin;            /* also where there are fewer workers than CPUs */
    const char *cpus;    /* "0,2-3": only these, NULL: the mask; borrowed for the life of the pool */
    const struct sha256_kernel *kernel; /* for all workers; NULL: each measures which is fastest on its CPU */
    struct cpu_limits limits;
};

struct pool_work {
    uint64_t id;
    uint8_t header[80];
    uint32_t version_mask; /* bits that may be rolled (BIP320); 0: none */
    uint8_t target[32];    /* little-endian */
    bool go_on;            /* shares: a worker that has found one looks for more */
};

enum pool_result_kind { POOL_HIT, POOL_USED_UP, POOL_CHECKED };
struct pool_result {
    enum pool_result_kind kind;
    uint64_t work_id; /* HIT, USED_UP: a worker has tried all its part of the work: time for another header */
    unsigned worker;  /* HIT, USED_UP */
    int64_t mono_ns;  /* HIT, USED_UP: when */
    uint32_t version, nonce; /* HIT */
    void *cookie;            /* CHECKED */
    size_t failed_index;     /* CHECKED: the lowest that fails; SIZE_MAX: all passed */
};

struct pool;
/* False (NULL) and ERROR_USAGE when config->cpus is no list or leaves no CPU. */
struct pool *pool_start(const struct pool_config *config, struct error *error) MUST_USE;
/* Batches that are not done are dropped without a result. A hash worker that gets no CPU for 0.3 s is left
 * behind, with the pool's memory, to end when it does or with the process. */
void pool_stop(struct pool *pool);
int pool_event_fd(const struct pool *pool); /* readable when there may be results; the owner reads it empty */
bool pool_next_result(struct pool *pool, struct pool_result *out);
/* The same for an owner with nothing else to do: sleeps until there is one. False: none has come for so long.
 */
bool pool_wait_result(struct pool *pool, struct pool_result *out, int patience_ms);
/* New work for all hash workers (copied), or NULL: pause. A worker that has reported a hit waits for new
 * work, unless the work says go_on. No header is tried twice under one work (hits that find no room are lost
 * and counted: an owner that reads its results never sees it). */
void pool_work(struct pool *pool, const struct pool_work *work);
/* The limits have been read again: where they changed, the number of hash workers, their pacing and their
 * CPUs follow at once. True when something changed. */
bool pool_limits(struct pool *pool, const struct cpu_limits *limits);
/* Runs check(batch, 0 .. count - 1) on the check workers until all have passed or one has failed. */
void pool_check(struct pool *pool, bool (*check)(void *batch, size_t index), void *batch, size_t count,
                void *cookie);
/* Whether every worker that hashes now has begun with the work of this id or a later one (ids that grow), and
 * when the last of them did. */
bool pool_begun(const struct pool *pool, uint64_t work_id, int64_t *mono_ns);
/* Lets go of this CPU until every worker that hashes has begun with the work that is out, for so long at
 * most: a worker of idle priority that shares the owner's CPU would otherwise wait for the end of what the
 * owner is about. After a quarter of the time those that have not are made ordinary threads until they have,
 * where that is allowed. False: not all of them have (another process has their CPU, or none hashes). */
bool pool_await(struct pool *pool, int64_t most_ns);
unsigned pool_hash_threads(const struct pool *pool); /* that hash now */
unsigned pool_check_threads(const struct pool *pool);
bool pool_ready(const struct pool *pool);          /* have all that hash chosen their kernels? */
uint64_t pool_hash_count(const struct pool *pool); /* since the start, all workers; any thread */

struct pool_worker_stats {           /* of one hash worker, since the start */
    uint64_t hashes, hashes_rolling; /* all that were computed; of these, several versions at once */
    uint64_t hits, hits_lost, switches;
    int64_t cpu_ns;
    const char *plain, *rolling; /* its kernels; NULL: still measuring */
};
/* False when there is no such worker. */
bool pool_worker_stats(const struct pool *pool, unsigned number, struct pool_worker_stats *out);

#endif
