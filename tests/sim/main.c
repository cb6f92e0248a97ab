/*
 * quarry-sim: runs the scenarios over a range of seeds and says which seeds failed and how to replay them.
 *   quarry-sim [--seeds A..B] [--scenario NAME] [--plant BUG] [--verbose]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

struct result {
    uint64_t digest, events, blocks;
    bool ok;
};

static uint64_t running_seed;
static const char *running_scenario;

/* Called by the sanitizers before they end the program, and by abort: a crash must name its seed too. */
static void say_running(void)
{
    if (running_scenario) {
        fprintf(stderr, "in: quarry-sim --scenario %s --seeds %" PRIu64 "..%" PRIu64 " --verbose\n",
                running_scenario, running_seed, running_seed);
    }
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static struct result run(const struct scenario *scenario, uint64_t seed, bool verbose)
{
    running_seed = seed;
    running_scenario = scenario->name;
    struct world *world = world_new(seed, scenario->name, verbose);
    scenario->run(world);
    struct result result = {world->digest, world->events, world->blocks_found, !*world->failure};
    if (verbose) {
        printf("%s seed %" PRIu64 ": %.0f virtual seconds, %" PRIu64 " events, %" PRIu64
               " blocks found, digest %016" PRIx64 "\n",
               scenario->name, seed, (double)world->now_us / 1e6, result.events, result.blocks,
               result.digest);
    }
    if (!result.ok) {
        printf("FAILED: %s seed %" PRIu64 ": %s\n  replay: quarry-sim --scenario %s --seeds %" PRIu64
               "..%" PRIu64 " --verbose\n",
               scenario->name, seed, world->failure, scenario->name, seed, seed);
        fflush(stdout);
    }
    world_free(world);
    running_scenario = NULL;
    return result;
}

/* The same seed twice is the same run, to the byte. */
static bool is_deterministic(const struct scenario *scenario, uint64_t seed)
{
    struct result a = run(scenario, seed, false), b = run(scenario, seed, false);
    bool same = a.digest == b.digest && a.events == b.events && a.blocks == b.blocks;
    if (!same) {
        printf("FAILED: %s seed %" PRIu64 " gives another run the second time\n", scenario->name, seed);
    }
    return same;
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
    bool verbose = false, known = false;
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
            if (!plant_choose(argv[++i])) {
                return usage("no planted bug has this name");
            }
        } else if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else {
            return usage("unknown argument");
        }
    }
    const uint8_t entropy[32] = {7};
    wallet_init(entropy);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_running);
    }
    unsigned passed = 0, failed = 0;
    for (const struct scenario *s = scenarios; s->name; s++) {
        if (only && strcmp(only, s->name) != 0) {
            continue;
        }
        known = true;
        for (uint64_t seed = first; seed <= last; seed++) {
            *(run(s, seed, verbose).ok ? &passed : &failed) += 1;
        }
        *(verbose || is_deterministic(s, first) ? &passed : &failed) += 1;
    }
    if (!known) {
        return usage("no scenario has this name");
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
