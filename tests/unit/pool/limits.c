/* What a process may use of the machine: fake trees of both versions always, real control groups where we may
 * make them; and a pool that follows while they change. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool.h"
#include "io/io.h"

/* ---- Fake trees -------------------------------------------------------------------------------------- */

static char root[64];

static void put(const char *path, const char *text)
{
    struct buf folder = {0};
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/%s", root, path);
    buf_printf(&folder, "%s", file);
    *strrchr(file, '/') = 0;
    cr_assert(folder_make(file, NULL));
    buf_u8(&folder, 0);
    FILE *f = fopen((char *)folder.data, "w");
    cr_assert(f, "%s: %s", (char *)folder.data, strerror(errno));
    fputs(text, f);
    fclose(f);
    buf_free(&folder);
}

static void begin(void)
{
    snprintf(root, sizeof root, "/tmp/quarry-cgroup.XXXXXX");
    cr_assert(mkdtemp(root));
}

static void end(void)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", root, (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

static struct cpu_limits read_fake(void)
{
    struct cpu_limits limits;
    char self[PATH_MAX];
    snprintf(self, sizeof self, "%s/self", root);
    cpu_limits_read(&limits, root, self);
    return limits;
}

static unsigned own_cpus(void)
{
    cpu_set_t mask;
    cr_assert_eq(sched_getaffinity(0, sizeof mask, &mask), 0);
    return (unsigned)CPU_COUNT(&mask);
}

/* A list with only the first CPU that this process may use. */
static const char *one_cpu(void)
{
    static char text[16];
    cpu_set_t mask;
    size_t cpu = 0;
    sched_getaffinity(0, sizeof mask, &mask);
    while (!CPU_ISSET(cpu, &mask)) {
        cpu++;
    }
    snprintf(text, sizeof text, "%zu\n", cpu);
    return text;
}

TestSuite(limits, .init = begin, .fini = end);

/* quota in percent of a CPU -> workers where enough CPUs are there */
static const struct {
    unsigned percent, workers;
} quotas[] = {{25, 1}, {50, 1}, {99, 1}, {100, 1}, {101, 2}, {150, 2}, {200, 2}};

Test(limits, quotas_of_both_versions)
{
    char text[64];
    for (size_t i = 0; i < ARRAY_COUNT(quotas); i++) {
        put("self", "0::/a/b\n");
        snprintf(text, sizeof text, "%u 100000\n", quotas[i].percent * 1000);
        put("a/b/cpu.max", text);
        struct cpu_limits v2 = read_fake();
        cr_expect_float_eq(v2.quota_cpus, quotas[i].percent / 100.0, 1e-9);
        cr_expect_eq(v2.workers, MIN(quotas[i].workers, own_cpus()), "v2, %u %%", quotas[i].percent);
        put("self", "4:cpu,cpuacct:/a\n3:cpuset:/a\n");
        snprintf(text, sizeof text, "%u\n", quotas[i].percent * 500);
        put("cpu,cpuacct/a/cpu.cfs_quota_us", text);
        put("cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
        struct cpu_limits v1 = read_fake();
        cr_expect_float_eq(v1.quota_cpus, quotas[i].percent / 100.0, 1e-9);
        cr_expect_eq(v1.workers, MIN(quotas[i].workers, own_cpus()), "v1, %u %%", quotas[i].percent);
    }
}

Test(limits, cpuset_of_one)
{
    put("self", "0::/a\n");
    put("a/cpuset.cpus.effective", one_cpu());
    struct cpu_limits v2 = read_fake();
    cr_expect_eq(v2.affinity_cpus, 1);
    cr_expect_eq(v2.workers, 1);
    put("self", "2:cpuset:/a\n");
    put("cpuset/a/cpuset.cpus", one_cpu());
    struct cpu_limits v1 = read_fake();
    cr_expect_eq(v1.affinity_cpus, 1);
    cr_expect_eq(v1.quota_cpus, 0);
    cr_expect_eq(v1.workers, 1);
}

Test(limits, cpuset_and_quota_together)
{
    put("self", "0::/a\n");
    put("a/cpuset.cpus.effective", one_cpu());
    put("a/cpu.max", "150000 100000\n");
    struct cpu_limits limits = read_fake();
    cr_expect_float_eq(limits.quota_cpus, 1.5, 1e-9);
    cr_expect_eq(limits.workers, 1);
    put("a/cpu.max", "50000 100000\n");
    cr_expect_float_eq(read_fake().quota_cpus, 0.5, 1e-9);
}

Test(limits, the_tightest_above_counts)
{
    put("self", "0::/outer/middle/inner\n");
    put("outer/cpu.max", "50000 100000\n");
    put("outer/middle/cpu.max", "max 100000\n");
    put("outer/middle/inner/cpu.max", "400000 100000\n");
    put("outer/memory.max", "1073741824\n");
    put("outer/middle/inner/memory.max", "max\n");
    struct cpu_limits limits = read_fake();
    cr_expect_float_eq(limits.quota_cpus, 0.5, 1e-9);
    cr_expect_eq(limits.memory_bytes, UINT64_C(1) << 30);
}

/* In a container /proc/self/cgroup may name a path of the host: then the tree's root is ours. */
Test(limits, a_path_that_is_not_there)
{
    put("self", "0::/docker/0123456789abcdef\n");
    put("cpu.max", "50000 100000\n");
    cr_expect_float_eq(read_fake().quota_cpus, 0.5, 1e-9);
    put("self", "3:cpu,cpuacct:/docker/0123456789abcdef\n");
    put("cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
    put("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    cr_expect_float_eq(read_fake().quota_cpus, 1.5, 1e-9);
}

Test(limits, what_cannot_be_read_is_no_limit)
{
    static const char *const nonsense[] = {"",          "max 100000\n", "-1\n",       "50000\n",
                                           "50000 0\n", "x y\n",        "-5 100000\n"};
    put("self", "0::/a\n7:cpu:/a\nrubbish\n::\n");
    for (size_t i = 0; i < ARRAY_COUNT(nonsense); i++) {
        put("a/cpu.max", nonsense[i]);
        put("cpu/a/cpu.cfs_quota_us", "-1\n");
        put("cpu/a/cpu.cfs_period_us", "100000\n");
        put("a/cpuset.cpus.effective", i % 2 ? "7-3\n" : "0-,\n");
        put("a/memory.max", "max\n");
        struct cpu_limits limits = read_fake();
        cr_expect_eq(limits.quota_cpus, 0, "'%s'", nonsense[i]);
        cr_expect_eq(limits.affinity_cpus, own_cpus());
        cr_expect_eq(limits.memory_bytes, 0);
    }
}

/* ---- A pool that follows ----------------------------------------------------------------------------- */

Test(limits, the_pool_follows_while_it_hashes)
{
    static const struct {
        const char *cpu_max;
        bool one;
        unsigned workers; /* where the machine has two CPUs or more */
    } changes[] = {{"max 100000\n", false, UINT_MAX}, {"50000 100000\n", false, 1},
                   {"150000 100000\n", false, 2},     {"150000 100000\n", true, 1},
                   {"25000 100000\n", true, 1},       {"200000 100000\n", false, 2},
                   {"max 100000\n", true, 1},         {"max 100000\n", false, UINT_MAX}};
    struct error error;
    char all[32];
    snprintf(all, sizeof all, "0-%d\n", CPU_SETSIZE - 1);
    put("self", "0::/a\n");
    put("a/cpu.max", "50000 100000\n");
    struct pool_config config = {.hash_threads = -1,
                                 .check_threads = 1,
                                 .hash_share = 100,
                                 .kernel = sha256_kernel_in_use(),
                                 .limits = read_fake()};
    struct pool *pool = pool_start(&config, &error);
    struct pool_work work = {.id = 1, .version_mask = UINT32_C(0x1fffe000)};
    cr_assert(pool);
    cr_expect_eq(pool_hash_threads(pool), 1);
    pool_work(pool, &work);
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        put("a/cpu.max", changes[i].cpu_max);
        put("a/cpuset.cpus.effective", changes[i].one ? one_cpu() : all);
        struct cpu_limits limits = read_fake();
        cr_expect(pool_limits(pool, &limits), "change %zu was not seen", i);
        cr_expect_not(pool_limits(pool, &limits), "no change was seen as one");
        cr_expect_eq(pool_hash_threads(pool), MIN(changes[i].workers, own_cpus()), "change %zu", i);
        for (unsigned w = 0; w < pool_hash_threads(pool); w++) { /* and every one of them hashes */
            struct pool_worker_stats before, now;
            cr_assert(pool_worker_stats(pool, w, &before));
            do {
                sched_yield();
                cr_assert(pool_worker_stats(pool, w, &now));
            } while (now.hashes == before.hashes);
        }
    }
    pool_stop(pool);
}

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* However busy or idle the machine is: a worker never gets more than its share, but for the little that it
 * may be ahead. */
Test(limits, a_share_is_not_exceeded)
{
    enum { PERCENT = 20, WINDOW_NS = 400000000, AHEAD_NS = 10000000 };
    struct pool_config config = {
        .hash_threads = 1, .check_threads = 1, .hash_share = PERCENT, .kernel = sha256_kernel_in_use()};
    struct pool_work work = {.id = 1, .version_mask = UINT32_C(0x1fffe000)};
    struct pool_worker_stats before, after;
    struct error error;
    cpu_limits_read(&config.limits, NULL, NULL);
    struct pool *pool = pool_start(&config, &error);
    cr_assert(pool);
    pool_work(pool, &work);
    do {
        sched_yield();
    } while (pool_hash_count(pool) == 0);
    int64_t begun = clock_ns(), took;
    cr_assert(pool_worker_stats(pool, 0, &before));
    do {
        poll(NULL, 0, 10);
        took = clock_ns() - begun;
    } while (took < WINDOW_NS);
    cr_assert(pool_worker_stats(pool, 0, &after));
    took = clock_ns() - begun;
    cr_expect_leq(after.cpu_ns - before.cpu_ns, took * PERCENT / 100 + AHEAD_NS);
    cr_expect_gt(after.hashes, 0);
    pool_stop(pool);
}

Test(limits, a_list_of_cpus_is_believed_only_when_it_is_one)
{
    static const char *const wrong[] = {"", "x", "0-", "0,,1", "3-1", "0 1", "99999"};
    struct pool_config config = {
        .hash_threads = -1, .check_threads = 1, .hash_share = 100, .kernel = sha256_kernel_in_use()};
    struct error error;
    cpu_limits_read(&config.limits, NULL, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        config.cpus = wrong[i];
        cr_expect_null(pool_start(&config, &error), "'%s'", wrong[i]);
        cr_expect_eq(error.kind, ERROR_USAGE);
    }
    char one[16];
    snprintf(one, sizeof one, "%.*s", (int)strcspn(one_cpu(), "\n"), one_cpu());
    config.cpus = one;
    struct pool *pool = pool_start(&config, &error);
    cr_assert(pool);
    cr_expect_eq(pool_hash_threads(pool), 1);
    pool_stop(pool);
}

/* ---- Real control groups ----------------------------------------------------------------------------- */

static bool write_text(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    bool ok = f && fputs(text, f) >= 0;
    return f ? fclose(f) == 0 && ok : false;
}

static bool join(const char *folder)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    return write_text(folder, "cgroup.procs", pid);
}

/* In a child that is in the group: 0 when the limits are seen. */
static int in_group(const char *folder, bool set(const char *folder, void *context), bool seen(void *context),
                    void *context)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        _exit(!set(folder, context) || !join(folder) ? 2 : seen(context) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct real {
    bool v2;
    double quota;
};

static bool set_quota(const char *folder, void *context)
{
    struct real *real = context;
    char text[64];
    snprintf(text, sizeof text, real->v2 ? "%d 100000\n" : "%d\n", (int)(real->quota * 100000));
    return write_text(folder, real->v2 ? "cpu.max" : "cpu.cfs_quota_us", text);
}

static bool sees_quota(void *context)
{
    struct real *real = context;
    struct cpu_limits limits;
    cpu_limits_read(&limits, NULL, NULL);
    return limits.quota_cpus == real->quota &&
           limits.workers == MIN(real->quota > 1 ? 2u : 1u, limits.affinity_cpus);
}

static bool set_one_cpu(const char *folder, void *context)
{
    struct real *real = context;
    return (real->v2 || write_text(folder, "cpuset.mems", "0\n")) &&
           write_text(folder, "cpuset.cpus", one_cpu());
}

static bool sees_one_cpu(void *context)
{
    struct cpu_limits limits;
    (void)context;
    cpu_limits_read(&limits, NULL, NULL);
    return limits.affinity_cpus == 1 && limits.workers == 1;
}

Test(limits, real_groups)
{
    static const struct {
        const char *parent, *file;
        bool v2, cpuset;
    } kinds[] = {{"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", false, false},
                 {"/sys/fs/cgroup/cpuset", "cpuset.cpus", false, true},
                 {"/sys/fs/cgroup", "cpu.max", true, false},
                 {"/sys/fs/cgroup", "cpuset.cpus", true, true}};
    static const double real_quotas[] = {0.25, 0.5, 1, 1.5, 2};
    unsigned tried = 0;
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        char folder[PATH_MAX], file[PATH_MAX + 32];
        struct real real = {.v2 = kinds[i].v2};
        snprintf(folder, sizeof folder, "%s/quarry-test-%d", kinds[i].parent, (int)getpid());
        if (mkdir(folder, 0755) != 0) {
            continue;
        }
        snprintf(file, sizeof file, "%s/%s", folder, kinds[i].file);
        bool there = access(file, W_OK) == 0;
        tried += there;
        if (there && kinds[i].cpuset) {
            cr_expect_eq(in_group(folder, set_one_cpu, sees_one_cpu, &real), 0, "cpuset of one in %s",
                         folder);
        }
        for (size_t q = 0; q < ARRAY_COUNT(real_quotas) && there && !kinds[i].cpuset; q++) {
            real.quota = real_quotas[q];
            cr_expect_eq(in_group(folder, set_quota, sees_quota, &real), 0, "quota %g in %s", real.quota,
                         folder);
        }
        cr_expect_eq(rmdir(folder), 0, "%s: %s", folder, strerror(errno));
    }
    if (!tried) {
        cr_skip_test("no control group may be made here");
    }
}
