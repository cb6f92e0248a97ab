/*
 * quarry-sim: runs the scenarios over a range of seeds and says which seeds failed and how to replay them.
 *   quarry-sim [--seeds A..B] [--scenario NAME] [--plant BUG] [--verbose]
 * One seed is one history: --verbose shows it whole and ends with its hash, and the first seed of every range
 * is run twice more to see that its hash does not change.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

struct result {
    uint64_t digest, history, events, blocks;
    bool ok;
};

static struct { /* what is asked for, and what runs: a crash must name its seed too */
    const char *program, *plant, *scenario;
    uint64_t seed;
} running;

static void say_how_to_replay(FILE *out)
{
    fprintf(out, "  replay: %s --scenario %s --seeds %" PRIu64 "..%" PRIu64 "%s%s --verbose\n",
            running.program, running.scenario, running.seed, running.seed, running.plant ? " --plant " : "",
            running.plant ? running.plant : "");
    fflush(out);
}

/* Called by the sanitizers before they end the program. */
static void say_running(void)
{
    if (running.scenario) {
        say_how_to_replay(stderr);
    }
}

/* A failed CHECK, or a fault without sanitizers. */
static void on_crash(int number)
{
    say_running(); /* NOLINT(bugprone-signal-handler,cert-sig30-c): all is lost anyway */
    signal(number, SIG_DFL);
    raise(number);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static struct result run(const struct scenario *scenario, uint64_t seed, enum tells tells)
{
    running.seed = seed;
    running.scenario = scenario->name;
    struct world *world = world_new(seed, scenario->name, tells);
    scenario->run(world);
    struct result result = {world->digest, world->history, world->events, world->blocks_found,
                            !*world->failure};
    if (tells == TELLS_ALL) {
        printf("%s seed %" PRIu64 ": %.0f virtual seconds, %" PRIu64 " events, %" PRIu64
               " blocks found, history %016" PRIx64 "\n",
               scenario->name, seed, (double)world->now_us / 1e6, result.events, result.blocks,
               result.history);
    }
    if (!result.ok) {
        printf("FAILED: %s seed %" PRIu64 ": %s\n", scenario->name, seed, world->failure);
        say_how_to_replay(stdout);
    }
    world_free(world);
    running.scenario = NULL;
    return result;
}

/* The same seed twice is the same history to the byte; and writing it down changes nothing. */
static bool is_deterministic(const struct scenario *scenario, uint64_t seed, const struct result *first)
{
    struct result a = run(scenario, seed, TELLS_HASH), b = run(scenario, seed, TELLS_HASH);
    bool same = a.history == b.history && a.digest == b.digest && a.digest == first->digest &&
                a.events == first->events && a.blocks == first->blocks;
    if (!same) {
        running.scenario = scenario->name;
        printf("FAILED: %s seed %" PRIu64 " gives another history the second time\n", scenario->name, seed);
        say_how_to_replay(stdout);
    }
    return same;
}

static void run_range(const struct scenario *scenario, uint64_t first, uint64_t last, enum tells tells,
                      unsigned *passed, unsigned *failed)
{
    for (uint64_t seed = first; seed <= last; seed++) {
        struct result result = run(scenario, seed, tells);
        *(result.ok ? passed : failed) += 1;
        if (seed == first && tells == TELLS_NOTHING && result.ok) {
            *(is_deterministic(scenario, seed, &result) ? passed : failed) += 1;
        }
    }
}

static int usage(const char *why)
{
    fprintf(stderr,
            "quarry-sim: %s\nusage: quarry-sim [--seeds A..B] [--scenario NAME] [--plant BUG] [--verbose]\n",
            why);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = 20;
    const char *only = NULL;
    enum tells tells = TELLS_NOTHING;
    bool known = false;
    running.program = argv[0];
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            first = last = strtoull(argv[++i], &end, 10);
            if (strncmp(end, "..", 2) == 0) {
                last = strtoull(end + 2, &end, 10);
            }
            if (*end || last < first) {
                return usage("--seeds wants A..B");
            }
        } else if (strcmp(argv[i], "--scenario") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--plant") == 0 && i + 1 < argc) {
            running.plant = argv[++i];
            if (!plant_choose(running.plant)) {
                return usage("no planted bug has this name");
            }
        } else if (strcmp(argv[i], "--verbose") == 0) {
            tells = TELLS_ALL;
        } else {
            return usage("unknown argument");
        }
    }
    const uint8_t entropy[32] = {7};
    wallet_init(entropy);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_running);
    }
    signal(SIGABRT, on_crash);
    if (!__sanitizer_set_death_callback) {
        signal(SIGSEGV, on_crash);
    }
    unsigned passed = 0, failed = 0;
    for (const struct scenario *s = scenarios; s->name; s++) {
        if (!only || strcmp(only, s->name) == 0) {
            known = true;
            run_range(s, first, last, tells, &passed, &failed);
        }
    }
    if (!known) {
        return usage("no scenario has this name");
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
