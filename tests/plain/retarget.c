/*
 * The cluster's retarget rule as a table: block times drawn from the exponential distribution, targets from
 * pow_retarget_cluster, over a hundred seeds. The bounds are those that docs/architecture.md promises.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/consensus/consensus.h"

#define SEEDS        100u
#define START_S      1767230000.0
#define RATE         1e9 /* hashes per second: well above what the easiest target needs */
#define STEADY       5000u
#define RISE_AFTER_S 600.0
#define FALL_AFTER_S 1500.0
#define SLEEP_S      (12 * 3600.0)

struct miner {
    struct rng rng;
    const struct chain_params *params;
    double now_s;
    int64_t times[MEDIAN_TIME_SPAN]; /* nTime of the last blocks, a ring */
    uint32_t height, bits;           /* bits: of the next block */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t count)
{
    double sorted[SEEDS];
    CHECK(count <= SEEDS);
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static double hashes_per_block(uint32_t bits)
{
    return u256_double(pow_work(bits));
}

static int64_t time_of(const struct miner *m, uint32_t back)
{
    return m->times[(m->height + MEDIAN_TIME_SPAN - back) % MEDIAN_TIME_SPAN];
}

static int64_t median_time(const struct miner *m)
{
    double last[MEDIAN_TIME_SPAN];
    for (uint32_t i = 0; i < MEDIAN_TIME_SPAN; i++) {
        last[i] = (double)time_of(m, i);
    }
    return (int64_t)median(last, MEDIAN_TIME_SPAN);
}

static void begin(struct miner *m, const struct chain_params *params, uint64_t seed)
{
    *m = (struct miner){.params = params, .now_s = START_S, .bits = params->genesis.bits};
    rng_seed_u64(&m->rng, seed);
    for (uint32_t i = 0; i < MEDIAN_TIME_SPAN; i++) {
        m->times[i] = (int64_t)START_S - MEDIAN_TIME_SPAN + i + 1;
    }
    m->height = MEDIAN_TIME_SPAN - 1;
}

/* When the next block comes at this rate. */
static double next_s(struct miner *m, double rate)
{
    return m->now_s - log1p(-rng_double(&m->rng)) * hashes_per_block(m->bits) / rate;
}

static void add_block(struct miner *m, double at_s)
{
    int64_t least = MAX(time_of(m, 0), median_time(m) + 1);
    m->now_s = at_s;
    m->height++;
    m->times[m->height % MEDIAN_TIME_SPAN] = MAX((int64_t)at_s, least);
    m->bits = pow_retarget_cluster(m->params, m->bits, time_of(m, 0) - time_of(m, 1));
}

static void mine_blocks(struct miner *m, double rate, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        add_block(m, next_s(m, rate));
    }
}

/* Returns the number of blocks. What was under way at the end is drawn again later: exponential times have no
 * memory. */
static uint32_t mine_seconds(struct miner *m, double rate, double seconds)
{
    double until = m->now_s + seconds;
    for (uint32_t count = 0;; count++) {
        double at = next_s(m, rate);
        if (at > until) {
            m->now_s = until;
            return count;
        }
        add_block(m, at);
    }
}

static double implied_s(const struct miner *m, double rate)
{
    return hashes_per_block(m->bits) / rate;
}

static unsigned passed, failed;
static void expect(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void expect(bool ok, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%s  ", ok ? "ok" : "FAIL");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    *(ok ? &passed : &failed) += 1;
}

int main(void)
{
    static double steady[SEEDS], rise[SEEDS], fall[SEEDS], woken[SEEDS];
    struct chain_params params;
    struct error error = {0};
    double sum = 0, most = 0;
    CHECK(chain_params_init(&params, CHAIN_CLUSTER, NULL, &error));
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        struct miner m, other;
        begin(&m, &params, seed);
        mine_blocks(&m, RATE, 1000); /* from the easiest target to this rate */
        double since = m.now_s;
        mine_blocks(&m, RATE, STEADY);
        steady[seed - 1] = (m.now_s - since) / STEADY;
        sum += steady[seed - 1];
        other = m;
        mine_seconds(&other, 10 * RATE, RISE_AFTER_S);
        rise[seed - 1] = implied_s(&other, 10 * RATE);
        other = m;
        mine_seconds(&other, RATE / 10, FALL_AFTER_S);
        fall[seed - 1] = implied_s(&other, RATE / 10);
        other = m;
        other.now_s += SLEEP_S;
        woken[seed - 1] = mine_seconds(&other, RATE, 100);
        most = MAX(most, woken[seed - 1]);
    }
    printf("seeds 1..%u of %s, T = %u s, N = %u\n", SEEDS, params.network.name, params.network.spacing_s,
           params.network.window);
    double mean = sum / SEEDS;
    expect(fabs(mean - 10.2) <= 10.2 * 0.03, "steady spacing %.3f s (10.2 s +- 3 %%), seeds' median %.3f s",
           mean, median(steady, SEEDS));
    double after_rise = median(rise, SEEDS), after_fall = median(fall, SEEDS);
    expect(fabs(after_rise - 10) <= 2,
           "10 min after a tenfold rise the target implies %.2f s (10 s +- 20 %%)", after_rise);
    expect(fabs(after_fall - 10) <= 2,
           "25 min after a tenfold fall the target implies %.2f s (10 s +- 20 %%)", after_fall);
    expect(median(woken, SEEDS) <= 25,
           "first 100 s after 12 h without hash power: %.1f blocks at the median (25)", median(woken, SEEDS));
    expect(most <= 40, "first 100 s after 12 h without hash power: %.0f blocks at most (40)", most);
    chain_params_free(&params);
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
