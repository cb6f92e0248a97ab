/* quarry-bench wakeup: how late the loop's timers fire while all hash workers are busy, and while none is. */
#include <stdio.h>

#include "bench/bench.h"
#include "io/io.h"

#define PHASES 6 /* quiet and hashing in turn */

static int64_t seconds = 6;
static const char *loop_kind = "auto";
static const struct bench_option options[] = {
    BENCH_NUMBER("seconds", "N", "in all", seconds, 1, 3600),
    BENCH_TEXT("loop", "KIND", "auto, io_uring or epoll", loop_kind),
    {0},
};

struct wakeup {
    struct loop *loop;
    struct loop_timer timer;
    struct rng rng;
    int64_t until_us;
    struct samples *late_us;
};

static void set_timer(struct wakeup *w)
{
    int64_t now = loop_now().mono_us;
    loop_timer_set(w->loop, &w->timer, now + 500 + (int64_t)rng_below(&w->rng, 2000));
}

static void timer_fired(void *context)
{
    struct wakeup *w = context;
    int64_t now = loop_now().mono_us;
    samples_add(w->late_us, (double)(now - w->timer.at_us));
    if (now >= w->until_us) {
        loop_stop(w->loop);
    } else {
        set_timer(w);
    }
}

/* A target that no hash reaches: the workers hash for ever. */
static void hash_for_ever(struct pool *pool)
{
    struct pool_work work = {.id = 1, .version_mask = UINT32_C(0x1fffe000)};
    pool_work(pool, &work);
}

static bool run(struct report *report, struct error *error)
{
    struct wakeup w = {0};
    struct samples late[2] = {{0}, {0}};
    struct pool_config config = {.hash_threads = -1, .check_threads = 1, .hash_share = 100};
    cpu_limits_read(&config.limits, NULL, NULL);
    rng_seed_u64(&w.rng, report_seed(report));
    struct pool *pool = pool_start(&config, error);
    bool ok = pool != NULL;
    for (int phase = 0; phase < PHASES && ok; phase++) {
        w.loop = loop_new(loop_kind, error); /* stopped for good by loop_stop */
        if (!w.loop) {
            ok = false;
            break;
        }
        if (phase == 0) {
            report_note(report, "%u hash workers; the loop runs on %s", pool_hash_threads(pool),
                        loop_name(w.loop));
        }
        w.timer = (struct loop_timer){.fire = timer_fired, .context = &w};
        w.late_us = &late[phase % 2];
        w.until_us = loop_now().mono_us + seconds * 1000000 / PHASES;
        if (phase % 2) {
            hash_for_ever(pool);
        } else {
            pool_work(pool, NULL);
        }
        set_timer(&w);
        loop_run(w.loop);
        loop_free(w.loop);
    }
    if (ok) {
        report_histogram(report, "timer late, quiet", "us", &late[0]);
        report_histogram(report, "timer late, all workers hashing", "us", &late[1]);
    }
    samples_free(&late[0]);
    samples_free(&late[1]);
    pool_stop(pool);
    return ok;
}

const struct bench_command bench_wakeup = {
    .name = "wakeup",
    .summary = "the loop's wake-ups beside full hashing",
    .about = "The loop sets timers 0.5 to 2.5 ms ahead and notes how late each fires, in turns without and\n"
             "with every hash worker busy. Under a control group with a quota it shows the pacing as well.",
    .options = options,
    .run = run,
};
