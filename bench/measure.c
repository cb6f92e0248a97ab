/* Measuring: clocks, windows that take turns, samples. */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "bench/bench.h"

#define CHAIN_ADDS     UINT64_C(100000) /* some 25 us */
#define CHAIN_ATTEMPTS 2

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t wall_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* One add that waits for the one before it: a cycle on every core of the last thirty years. The empty asm
 * keeps the compiler from folding the chain. */
#define ADD                                                                                                  \
    sum += i;                                                                                                \
    __asm__ volatile("" : "+r"(sum));

double clock_ghz(void)
{
    double best = 0;
    for (int attempt = 0; attempt < CHAIN_ATTEMPTS; attempt++) {
        uint64_t sum = 0;
        int64_t before = thread_cpu_ns();
        for (uint64_t i = 0; i < CHAIN_ADDS / 10; i++) { /* the loop's own work runs beside the chain */
            ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
        }
        int64_t took = thread_cpu_ns() - before;
        best = MAX(best, took > 0 ? (double)CHAIN_ADDS / (double)took : 0);
    }
    return best;
}

bool pin_to_cpu(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

/* ---- Samples ----------------------------------------------------------------------------------------- */

void samples_add(struct samples *s, double value)
{
    if (s->count == s->capacity) {
        s->capacity = MAX(s->capacity * 2, (size_t)64);
        s->values = mem_realloc(s->values, s->capacity * sizeof *s->values);
    }
    s->values[s->count++] = value;
}

void samples_free(struct samples *s)
{
    mem_free(s->values);
    *s = (struct samples){0};
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_quantile(const struct samples *s, double q)
{
    if (s->count == 0) {
        return 0;
    }
    double *sorted = mem_dup(s->values, s->count * sizeof *sorted);
    qsort(sorted, s->count, sizeof *sorted, compare_doubles);
    double value = sorted[(size_t)(q * (double)(s->count - 1) + 0.5)];
    mem_free(sorted);
    return value;
}

/* ---- Windows ----------------------------------------------------------------------------------------- */

static int64_t timed(const struct contender *c, uint64_t times)
{
    int64_t before = thread_cpu_ns();
    c->run(c->context, times);
    return thread_cpu_ns() - before;
}

/* How many operations fill a window; this warms caches and the clock up, too. */
static uint64_t times_for(const struct contender *c, int64_t window_ns)
{
    uint64_t times = 1;
    int64_t took;
    while ((took = timed(c, times)) < window_ns / 4) {
        times *= 2;
    }
    return MAX((uint64_t)((double)times * (double)window_ns / (double)took), UINT64_C(1));
}

void measure_until(struct contender *contenders, size_t count, int64_t window_ns, unsigned windows,
                   int64_t until_ns)
{
    uint64_t *times = mem_alloc(count * sizeof *times);
    for (size_t i = 0; i < count; i++) {
        times[i] = times_for(&contenders[i], window_ns);
    }
    for (unsigned w = 0; w < windows && (w == 0 || wall_ns() < until_ns); w++) {
        for (size_t i = 0; i < count; i++) {
            struct contender *c = &contenders[i];
            double before = clock_ghz();
            double ns = (double)timed(c, times[i]) / (double)times[i];
            samples_add(&c->ns, ns);
            samples_add(&c->cycles, ns * (before + clock_ghz()) / 2);
        }
    }
    mem_free(times);
}

void measure(struct contender *contenders, size_t count, int64_t window_ns, unsigned windows)
{
    measure_until(contenders, count, window_ns, windows, INT64_MAX);
}
