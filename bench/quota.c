/* quarry-bench quota: what hashing makes of a CPU quota. A control group of our own is made under
 * /sys/fs/cgroup (v1 or v2, whichever may be written), a child measures in it, the group is removed. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "hashing/pool/pool.h"

#define ROLLING UINT32_C(0x1fffe000)
#define WARM_NS INT64_C(500000000)
#define TICK_NS INT64_C(2000000)

static int64_t seconds = 10, rounds = 3;
static const char *only = "";
static const struct bench_option options[] = {
    BENCH_NUMBER("seconds", "N", "per measurement", seconds, 1, 600),
    BENCH_NUMBER("rounds", "N", "of all quotas in turn", rounds, 1, 100),
    BENCH_TEXT("quota", "CPUS", "only this one, beside none", only),
    {0},
};

static const double quotas[] = {0, 0.25, 0.5, 1, 1.5, 2}; /* 0: none, the ideal line */

struct outcome { /* a child's, through a pipe */
    double hashes_per_s, periods, throttled, late_p50_us, late_p99_us;
    unsigned workers;
};

static bool write_text(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r+e"); /* never made: that it is there tells what the folder is */
    bool ok = f && fputs(text, f) >= 0;
    return f ? fclose(f) == 0 && ok : false;
}

/* nr_periods and nr_throttled of the group. */
static void read_stat(const char *folder, double *periods, double *throttled)
{
    char path[PATH_MAX], line[128];
    snprintf(path, sizeof path, "%s/cpu.stat", folder);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "nr_periods ", 11) == 0) {
            *periods = strtod(line + 11, NULL);
        } else if (strncmp(line, "nr_throttled ", 13) == 0) {
            *throttled = strtod(line + 13, NULL);
        }
    }
    if (f) {
        fclose(f);
    }
}

/* Sleeps to fixed moments, as the loop's timers do, and notes how late it is woken. */
static void wake_until(int64_t until, struct samples *late_us)
{
    for (int64_t at = wall_ns() + TICK_NS; at < until; at = MAX(at + TICK_NS, wall_ns())) {
        struct timespec t = {at / 1000000000, at % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
        }
        samples_add(late_us, (double)(wall_ns() - at) / 1000);
    }
}

static bool measure_here(const char *folder, struct outcome *out)
{
    struct pool_config config = {.hash_threads = -1, .check_threads = 1, .hash_share = 100};
    struct pool_work work = {.id = 1, .version_mask = ROLLING}; /* a target that nothing reaches */
    struct samples late = {0}, ignored = {0};
    struct error error;
    double periods = 0, throttled = 0;
    cpu_limits_read(&config.limits, NULL, NULL);
    struct pool *pool = pool_start(&config, &error);
    if (!pool) {
        return false;
    }
    while (!pool_ready(pool)) { /* they measure their kernels first, with all that the quota gives */
        poll(NULL, 0, 10);
    }
    pool_work(pool, &work);
    wake_until(wall_ns() + WARM_NS, &ignored);
    read_stat(folder, &periods, &throttled);
    uint64_t hashes = pool_hash_count(pool);
    int64_t before = wall_ns();
    wake_until(before + seconds * 1000000000, &late);
    int64_t took = wall_ns() - before;
    *out = (struct outcome){.hashes_per_s = (double)(pool_hash_count(pool) - hashes) * 1e9 / (double)took,
                            .late_p50_us = samples_quantile(&late, 0.5),
                            .late_p99_us = samples_quantile(&late, 0.99),
                            .workers = pool_hash_threads(pool)};
    read_stat(folder, &out->periods, &out->throttled);
    out->periods -= periods;
    out->throttled -= throttled;
    pool_stop(pool);
    samples_free(&late);
    samples_free(&ignored);
    return true;
}

/* In a child that has joined the group. */
static bool measure_in(const char *folder, bool v2, double quota, struct outcome *out)
{
    char text[64];
    int ends[2];
    bool ok = false;
    snprintf(text, sizeof text, quota > 0 ? "%.0f" : v2 ? "max" : "-1", quota * 100000);
    if (v2) {
        snprintf(text + strlen(text), sizeof text - strlen(text), " 100000");
    }
    if (!write_text(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", text) || pipe(ends) != 0) {
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        snprintf(text, sizeof text, "%d", (int)getpid());
        ok = write_text(folder, "cgroup.procs", text) && measure_here(folder, out) &&
             write(ends[1], out, sizeof *out) == (ssize_t)sizeof *out;
        _exit(ok ? 0 : 1);
    }
    close(ends[1]);
    if (child > 0) {
        ok = read(ends[0], out, sizeof *out) == (ssize_t)sizeof *out;
        waitpid(child, NULL, 0);
    }
    close(ends[0]);
    return ok;
}

static bool make_group(char folder[PATH_MAX], bool *v2, struct error *error)
{
    static const char *const parents[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu",
                                          "/sys/fs/cgroup/cpu,cpuacct"};
    for (size_t i = 0; i < ARRAY_COUNT(parents); i++) {
        snprintf(folder, PATH_MAX, "%s/quarry-bench-%d", parents[i], (int)getpid());
        *v2 = i == 0;
        if (mkdir(folder, 0755) == 0) {
            if (write_text(folder, *v2 ? "cpu.max" : "cpu.cfs_quota_us", *v2 ? "max 100000" : "-1")) {
                return true;
            }
            rmdir(folder);
        }
    }
    return error_set(error, ERROR_IO, NULL, "no control group with a CPU quota may be made here");
}

static void report_quota(struct report *report, double quota, double ideal, const struct samples *rates,
                         const struct outcome *sum, double worst_late_us)
{
    char name[32], throttled[32];
    snprintf(name, sizeof name, quota > 0 ? "%g" : "none", quota);
    snprintf(throttled, sizeof throttled, "%.0f of %.0f", sum->throttled, sum->periods);
    double best = samples_quantile(rates, 1), median = samples_quantile(rates, 0.5);
    double line = quota > 0 ? ideal * quota : ideal * sum->workers;
    report_row(report, "quotas",
               (struct report_cell[]){{.name = "quota", .text = name},
                                      {.name = "workers", .number = sum->workers},
                                      {.name = "mhs_best", .number = best / 1e6, .decimals = 2},
                                      {.name = "mhs_median", .number = median / 1e6, .decimals = 2},
                                      {.name = "of_ideal", .number = median / line, .decimals = 3},
                                      {.name = "throttled", .text = throttled},
                                      {.name = "late_p99_us", .number = worst_late_us, .decimals = 1}},
               7);
}

static bool run(struct report *report, struct error *error)
{
    char folder[PATH_MAX];
    bool v2 = false, ok = make_group(folder, &v2, error);
    struct samples rates[ARRAY_COUNT(quotas)] = {{0}};
    struct outcome sums[ARRAY_COUNT(quotas)] = {{0}};
    double late[ARRAY_COUNT(quotas)] = {0};
    struct cpu_limits limits;
    if (!ok) {
        return false;
    }
    cpu_limits_read(&limits, NULL, NULL);
    report_note(report, "in %s (v%d); the ideal is the quota times the rate per CPU without one", folder,
                v2 ? 2 : 1);
    for (int64_t round = 0; round < rounds && ok; round++) {
        for (size_t q = 0; q < ARRAY_COUNT(quotas) && ok; q++) {
            struct outcome outcome = {0};
            if (quotas[q] > limits.affinity_cpus ||
                (*only && quotas[q] > 0 && quotas[q] != strtod(only, NULL))) {
                continue;
            }
            ok = measure_in(folder, v2, quotas[q], &outcome) ||
                 error_set(error, ERROR_IO, NULL, "the measurement at quota %g failed", quotas[q]);
            if (ok) {
                samples_add(&rates[q], outcome.hashes_per_s);
                sums[q].workers = outcome.workers;
                sums[q].periods += outcome.periods;
                sums[q].throttled += outcome.throttled;
                late[q] = MAX(late[q], outcome.late_p99_us);
            }
        }
    }
    rmdir(folder);
    double ideal = ok ? samples_quantile(&rates[0], 0.5) / sums[0].workers : 0;
    for (size_t q = 0; q < ARRAY_COUNT(quotas); q++) {
        if (ok && rates[q].count) {
            report_quota(report, quotas[q], ideal, &rates[q], &sums[q], late[q]);
        }
        samples_free(&rates[q]);
    }
    return ok;
}

const struct bench_command bench_quota = {
    .name = "quota",
    .summary = "hashing under CPU quotas: rate, throttled periods, wake-ups",
    .about =
        "For each quota a child hashes with all workers in a control group of its own (needs the right to\n"
        "make one) while another thread sleeps in steps of 2 ms: hash rate against the ideal line, periods\n"
        "in which the group was throttled, and the 99th percentile of how late the sleeper was woken.",
    .options = options,
    .run = run,
};
