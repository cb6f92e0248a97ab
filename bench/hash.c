/* quarry-bench hash: every scan kernel, plain and rolling, on 1..N threads, beside the bounds and a
 * reference; or one kernel steadily on one CPU, for a profiler. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/hash.h"

#define CONTENDERS_MAX 40
#define THREADS_MAX    256
#define NONCES         64 /* of one operation */
#define WINDOW_NS      1500000

static int64_t cpu = -1, seconds = 20;
static const char *kernel_name = "";
static const struct bench_option options[] = {
    BENCH_TEXT("kernel", "NAME", "only this one, all the time", kernel_name),
    BENCH_NUMBER("cpu", "N", "one thread, on this CPU (-1: all)", cpu, -1, 1023),
    BENCH_NUMBER("seconds", "N", "in all; at most twice as long", seconds, 1, 3600),
    {0},
};

struct subject {
    const struct sha256_kernel *kernel;
    const char *mode;
    struct scan_job job;
    uint32_t nonce;
};

struct bench_thread {
    pthread_t thread;
    pthread_barrier_t *start;
    int cpu;
    unsigned windows;
    int64_t until_ns;
    size_t count;
    struct subject subjects[CONTENDERS_MAX];
    struct contender contenders[CONTENDERS_MAX];
};

static void scan_some(void *context, uint64_t times)
{
    struct subject *s = context;
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    uint64_t nonces = times * NONCES;
    if (s->nonce + nonces > UINT32_MAX) {
        s->nonce = 0;
    }
    scan_nonces_with(s->kernel, &s->job, s->nonce, nonces, hits, SCAN_HITS_MIN, &found);
    s->nonce += (uint32_t)nonces;
}

static void add_subject(struct bench_thread *t, const struct sha256_kernel *kernel, bool rolling,
                        struct rng *rng)
{
    uint8_t header[80], target[32] = {0};
    uint32_t versions[SCAN_VERSIONS_MAX];
    struct subject *s = &t->subjects[t->count];
    for (size_t i = 0; i < sizeof header; i++) {
        header[i] = (uint8_t)rng_next(rng);
    }
    for (uint32_t v = 0; v < SCAN_VERSIONS_MAX; v++) {
        versions[v] = version_with(0x20000000, 0x1fffe000, v);
    }
    scan_prepare(&s->job, header, versions, rolling ? SCAN_VERSIONS_MAX : 1, target);
    s->kernel = kernel;
    s->mode = rolling ? "rolling" : "plain";
    t->contenders[t->count] = (struct contender){.name = kernel->name, .run = scan_some, .context = s};
    t->count++;
}

static void add_subjects(struct bench_thread *t, uint64_t seed)
{
    struct rng rng;
    rng_seed_u64(&rng, seed);
    for (size_t i = 0; sha256_kernels[i] && t->count + 3 <= CONTENDERS_MAX; i++) {
        const struct sha256_kernel *kernel = sha256_kernels[i];
        if (kernel->scan && sha256_kernel_ready(kernel) &&
            (!*kernel_name || strcmp(kernel->name, kernel_name) == 0)) {
            add_subject(t, kernel, false, &rng);
            add_subject(t, kernel, true, &rng);
        }
    }
    if (hash_reference() && (!*kernel_name || strcmp(hash_reference()->name, kernel_name) == 0)) {
        add_subject(t, hash_reference(), false, &rng);
    }
}

static void *thread_main(void *context)
{
    struct bench_thread *t = context;
    if (t->cpu >= 0) {
        pin_to_cpu(t->cpu);
    }
    pthread_barrier_wait(t->start);
    measure_until(t->contenders, t->count, WINDOW_NS, t->windows, t->until_ns);
    return NULL;
}

/* The n-th CPU of the mask. */
static int nth_cpu(const cpu_set_t *mask, unsigned n)
{
    for (int c = 0; c < CPU_SETSIZE; c++) {
        if (CPU_ISSET((size_t)c, mask) && n-- == 0) {
            return c;
        }
    }
    return -1;
}

/* Rows of one number of threads: rates are sums over the threads, cycles the least of them all: the least
 * time at the median clock, since one mismeasured clock would make a minimum of its own. */
static void report_threads(struct report *report, const struct bench_thread *threads, unsigned count)
{
    for (size_t i = 0; i < threads[0].count; i++) {
        const struct subject *s = &threads[0].subjects[i];
        double best = 0, median = 0, cycles = 0, median_cycles = 0, hashes = NONCES * s->job.version_count;
        for (unsigned t = 0; t < count; t++) {
            const struct contender *c = &threads[t].contenders[i];
            double ns = samples_quantile(&c->ns, 0.5), ghz = samples_quantile(&c->cycles, 0.5) / ns;
            double least = samples_quantile(&c->ns, 0) * ghz / hashes;
            best += hashes * 1e3 / samples_quantile(&c->ns, 0);
            median += hashes * 1e3 / ns;
            cycles = t == 0 || least < cycles ? least : cycles;
            median_cycles += samples_quantile(&c->cycles, 0.5) / hashes / count;
        }
        const struct report_cell cells[] = {{"name", s->kernel->name, 0, 0},
                                            {"mode", s->mode, 0, 0},
                                            {"threads", NULL, count, 0},
                                            {"mhs_best", NULL, best, 2},
                                            {"mhs_median", NULL, median, 2},
                                            {"cycles_per_hash", NULL, cycles, 1},
                                            {"cycles_median", NULL, median_cycles, 1}};
        report_row(report, "kernels", cells, ARRAY_COUNT(cells));
    }
}

static bool run_threads(struct report *report, unsigned count, unsigned windows, int64_t until_ns,
                        const cpu_set_t *mask, struct error *error)
{
    struct bench_thread *threads = mem_alloc(count * sizeof *threads);
    pthread_barrier_t start;
    unsigned running = 0;
    pthread_barrier_init(&start, NULL, count);
    for (unsigned t = 0; t < count; t++) {
        threads[t].start = &start;
        threads[t].cpu = cpu >= 0 ? (int)cpu : nth_cpu(mask, t);
        threads[t].windows = windows;
        threads[t].until_ns = until_ns;
        add_subjects(&threads[t], report_seed(report) + t);
    }
    bool ok = threads[0].count > 0 ||
              error_set(error, ERROR_USAGE, NULL, "no kernel '%.40s' that this CPU can run", kernel_name);
    for (; ok && running + 1 < count; running++) {
        CHECK(pthread_create(&threads[running + 1].thread, NULL, thread_main, &threads[running + 1]) == 0);
    }
    if (ok) {
        thread_main(&threads[0]);
        for (unsigned t = 1; t < count; t++) {
            pthread_join(threads[t].thread, NULL);
        }
        report_threads(report, threads, count);
    }
    for (unsigned t = 0; t < count; t++) {
        for (size_t i = 0; i < threads[t].count; i++) {
            samples_free(&threads[t].contenders[i].ns);
            samples_free(&threads[t].contenders[i].cycles);
        }
    }
    pthread_barrier_destroy(&start);
    mem_free(threads);
    return ok;
}

static bool run(struct report *report, struct error *error)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    sched_getaffinity(0, sizeof mask, &mask);
    unsigned most = cpu >= 0 ? 1 : MIN((unsigned)CPU_COUNT(&mask), (unsigned)THREADS_MAX);
    if (cpu >= 0 && !CPU_ISSET((size_t)cpu, &mask)) {
        return error_set(error, ERROR_USAGE, NULL, "CPU %d is not this process's", (int)cpu);
    }
    size_t contenders = 1;
    for (size_t i = 0; sha256_kernels[i]; i++) {
        contenders += *kernel_name ? 0 : 2;
    }
    contenders += *kernel_name ? 1 : 0;
    /* 1, 2, 4 … and all: a machine of a hundred CPUs has the same seconds. */
    unsigned steps = 1;
    for (unsigned n = 1; n < most; n *= 2) {
        steps++;
    }
    double window = 1.15e-9 * WINDOW_NS * (double)contenders * steps; /* with the clock's calibration */
    unsigned windows = (unsigned)MAX((double)seconds / window, 1.0);
    int64_t until_ns = wall_ns(),
            step_ns = 2 * seconds * 1000000000 / steps; /* on a busy machine twice as long */
    pin_to_cpu(cpu >= 0 ? (int)cpu : nth_cpu(&mask, 0));
    hash_bounds(report);
    for (unsigned n = 1;; n = MIN(n * 2, most)) {
        until_ns += step_ns;
        if (!run_threads(report, n, windows, until_ns, &mask, error)) {
            return false;
        }
        if (n == most) {
            break;
        }
    }
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (!sha256_kernel_ready(sha256_kernels[i])) {
            const struct report_cell cells[] = {
                {"name", sha256_kernels[i]->name, 0, 0},
                {"reason", sha256_kernels[i]->usable() ? "failed its self-test" : "this CPU has it not", 0,
                 0}};
            report_row(report, "not_timed", cells, ARRAY_COUNT(cells));
        }
    }
    return true;
}

const struct bench_command bench_hash = {
    .name = "hash",
    .summary = "the nonce scan: every kernel, plain and rolling, on 1 to N threads",
    .about =
        "Every kernel that this CPU runs, plain (one version) and rolling (eight versions share the\n"
        "schedule of the first hash), and a reference of the usual public shape, in turns of 1.5 ms of\n"
        "thread CPU time. Cycles by a chain of dependent adds beside each window; bounds by the measured\n"
        "throughput of the instructions. With --kernel, --cpu and --seconds: one kernel, steadily.",
    .options = options,
    .run = run,
};
