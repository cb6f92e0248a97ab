/*
 * What the harnesses for the thread sanitizer share: options that are numbers, results that are counted, and
 * the start of a pool. Included by one program at a time.
 */
#ifndef QUARRY_TESTS_PLAIN_PLAIN_H
#define QUARRY_TESTS_PLAIN_PLAIN_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hashing/pool/pool.h"

#define WAIT_MS 20000 /* a wake-up that has not come by then is missed */

static unsigned passed, failed;
static uint64_t seed = 1;

static void result(bool ok, const char *name)
{
    printf("%s  %s\n", ok ? "ok" : "FAIL", name);
    fflush(stdout);
    passed += ok;
    failed += !ok;
}

/* Reads --seed=N and one more number, --NAME=N, and says what holds; ends the program if anything else is
 * given. */
static void read_options(int argc, char **argv, const char *name, uint64_t *number)
{
    size_t len = strlen(name);
    for (int i = 1; i < argc; i++) {
        const char *option = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "";
        if (strncmp(option, name, len) == 0 && option[len] == '=') {
            *number = strtoull(option + len + 1, NULL, 10);
        } else if (strncmp(option, "seed=", 5) == 0) {
            seed = strtoull(option + 5, NULL, 10);
        } else {
            fprintf(stderr, "%s [--%s=N] [--seed=N]\n", argv[0], name);
            exit(2);
        }
    }
    printf("seed %" PRIu64 ", %" PRIu64 " %s\n", seed, *number, name);
}

/* The exit status of main. */
static int end_results(void)
{
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}

static struct pool *start_pool(struct pool_config config)
{
    struct error error = {0};
    config.hash_share = 100;
    cpu_limits_read(&config.limits, NULL, NULL);
    config.limits.quota_cpus = 0;
    struct pool *pool = pool_start(&config, &error);
    if (!pool) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return pool;
}

#endif
