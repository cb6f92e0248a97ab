/*
 * hashing/pool: the threads. Hash workers (SCHED_IDLE: every other thread of the process pre-empts them at
 * once) scan nonces for the work that is published; check workers (ordinary threads) run batches of a pure
 * function, asleep until there is one. What to hash and what to check is the owner's business.
 *
 * Work is published through a sequence lock that workers read between slices of at most a millisecond: no
 * lock on the hash path. Results come through one queue and one eventfd. All functions are called by the
 * owner's thread, except where said; pool_stop joins everything.
 */
#ifndef QUARRY_HASHING_POOL_H
#define QUARRY_HASHING_POOL_H

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
};
/* cgroup_root is /sys/fs/cgroup and self_cgroup /proc/self/cgroup, or fake ones (tests). NULL: the real ones.
 * Reads v2 (cpu.max, cpuset.cpus.effective, memory.max) and v1 (cpu.cfs_quota_us, cpuset.cpus,
 * memory.limit_in_bytes), at the process's own path and above it: the tightest limit counts. Never fails:
 * what cannot be read is no limit. */
void cpu_limits_read(struct cpu_limits *out, const char *cgroup_root, const char *self_cgroup);

struct pool_config {
    int hash_threads;    /* -1: as many as the limits allow; 0: none */
    int check_threads;   /* -1: as many as hash workers would be, at least 1 */
    unsigned hash_share; /* percent of each hash worker's time, 1..100 */
    bool pin;            /* also where the mask is the whole machine */
    const char *cpus;    /* "0,2-3": only these, NULL: the mask */
    struct cpu_limits limits;
};

struct pool_work {
    uint64_t id;
    uint8_t header[80];
    uint32_t version_mask; /* bits that may be rolled (BIP320); 0: none */
    uint8_t target[32];    /* little-endian */
};

enum pool_result_kind { POOL_HIT, POOL_CHECKED };
struct pool_result {
    enum pool_result_kind kind;
    uint64_t work_id; /* HIT */
    uint32_t version, nonce;
    void *cookie;        /* CHECKED */
    size_t failed_index; /* lowest that is known to fail; SIZE_MAX: all passed */
};

struct pool;
struct pool *pool_start(const struct pool_config *config, struct error *error) MUST_USE;
void pool_stop(struct pool *pool);          /* batches that are not done are dropped without a result */
int pool_event_fd(const struct pool *pool); /* readable when there may be results; the owner reads it empty */
bool pool_next_result(struct pool *pool, struct pool_result *out);
/* New work for all hash workers (copied), or NULL: pause. After a worker has reported a hit it waits for new
 * work. */
void pool_work(struct pool *pool, const struct pool_work *work);
/* Runs check(batch, 0 .. count - 1) on the check workers until all have passed or one has failed. */
void pool_check(struct pool *pool, bool (*check)(void *batch, size_t index), void *batch, size_t count,
                void *cookie);
unsigned pool_hash_threads(const struct pool *pool);
unsigned pool_check_threads(const struct pool *pool);
uint64_t pool_hash_count(const struct pool *pool); /* since the start, all workers; any thread */

#endif
