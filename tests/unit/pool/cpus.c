/* Which CPUs the hash workers may run on. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool.h"

struct spread {
    unsigned workers, pinned; /* threads of the pool; of them, with one CPU */
    cpu_set_t all;            /* of the pinned ones together */
};

static bool is_hash_worker(const char *thread)
{
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", thread);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(name, sizeof name, file);
    if (file) {
        fclose(file);
    }
    return read && strncmp(name, "q-hash/", 7) == 0;
}

static struct spread spread_of(int hash_threads, double quota)
{
    struct pool_config config = {.hash_threads = hash_threads,
                                 .check_threads = 1,
                                 .hash_share = 100,
                                 .kernel = sha256_kernel_in_use()};
    struct spread spread = {0};
    struct error error;
    cpu_limits_read(&config.limits, NULL, NULL);
    config.limits.machine_cpus = config.limits.affinity_cpus; /* a narrower mask pins in any case */
    config.limits.quota_cpus = quota;
    struct pool *pool = pool_start(&config, &error);
    DIR *threads = opendir("/proc/self/task");
    cr_assert(pool && threads);
    for (const struct dirent *entry; (entry = readdir(threads));) {
        cpu_set_t own;
        if (is_hash_worker(entry->d_name)) {
            cr_assert_eq(sched_getaffinity((pid_t)strtol(entry->d_name, NULL, 10), sizeof own, &own), 0);
            spread.workers++;
            spread.pinned += CPU_COUNT(&own) == 1;
            CPU_OR(&spread.all, &spread.all, &own);
        }
    }
    closedir(threads);
    pool_stop(pool);
    return spread;
}

Test(cpus, each_worker_has_its_own_where_there_is_one_for_every_cpu)
{
    cpu_set_t mask;
    cr_assert_eq(sched_getaffinity(0, sizeof mask, &mask), 0);
    unsigned cpus = (unsigned)CPU_COUNT(&mask);
    struct spread full = spread_of((int)cpus, 0);
    cr_assert_eq(full.workers, cpus);
    cr_assert_eq(full.pinned, cpus);
    cr_assert(CPU_EQUAL(&full.all, &mask), "none twice");
}

Test(cpus, a_quota_leaves_them_free)
{
    struct cpu_limits limits;
    cpu_limits_read(&limits, NULL, NULL);
    struct spread spread = spread_of((int)limits.affinity_cpus, limits.affinity_cpus - 0.5);
    cr_assert_eq(spread.workers, limits.affinity_cpus);
    cr_assert_eq(spread.pinned, limits.affinity_cpus == 1 ? 1u : 0u);
}
