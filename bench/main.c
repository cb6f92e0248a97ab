/* quarry-bench: finds the sub-command, reads its options, runs it. What is measured is in the other files. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/report.h"
#include "io/io.h"

/* A sub-command is a file of this folder that defines bench_NAME, and a line here. */
#define COMMANDS(X) X(hash) X(merkle) X(connect) X(wakeup) X(quota) X(switch) X(http) X(net)

#define DECLARE(name) extern const struct bench_command bench_##name;
#define ADDRESS(name) &bench_##name,
COMMANDS(DECLARE)
static const struct bench_command *const commands[] = {COMMANDS(ADDRESS)};

static const struct bench_command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static void print_help(void)
{
    puts("quarry-bench: measures Quarry on this machine.\n\n"
         "  quarry-bench COMMAND [--json] [--seed=N] [OPTIONS]\n"
         "  quarry-bench COMMAND --help\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    puts("\nFigures are for ratios within one run. Exit status: 0 measured, 1 failed, 2 wrong usage.");
}

static void print_command_help(const struct bench_command *command)
{
    printf("quarry-bench %s: %s\n\n%s\n\n", command->name, command->summary, command->about);
    puts("  --json              one JSON object instead of text\n"
         "  --seed=N            of everything random (default 1)");
    for (const struct bench_option *o = command->options; o && o->name; o++) {
        char flag[64];
        snprintf(flag, sizeof flag, "--%s=%s", o->name, o->value);
        printf("  %-19s %s", flag, o->help);
        if (o->number) {
            printf(" (default %" PRId64 ")\n", *o->number);
        } else {
            printf(**o->text ? " (default %s)\n" : "%s\n", *o->text);
        }
    }
}

static bool read_number(int64_t *out, const char *name, const char *text, int64_t least, int64_t most,
                        struct error *error)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most) {
        return error_set(error, ERROR_USAGE, NULL, "--%s is '%.60s': a number from %" PRId64 " to %" PRId64,
                         name, text, least, most);
    }
    *out = value;
    return true;
}

/* One --name=value of the command; the report keeps what was given. */
static bool read_option(const struct bench_command *command, struct report *report, const char *flag,
                        struct error *error)
{
    const char *equals = strchr(flag, '=');
    size_t len = equals ? (size_t)(equals - flag) : strlen(flag);
    for (const struct bench_option *o = command->options; equals && o && o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, flag, len) == 0) {
            report_argument(report, o->name, equals + 1);
            if (o->number) {
                return read_number(o->number, o->name, equals + 1, o->least, o->most, error);
            }
            *o->text = equals + 1;
            return true;
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "'--%.60s' is no option of %s", flag, command->name);
}

static bool run(const struct bench_command *command, int argc, char **argv, int *status)
{
    struct error error = {0};
    bool json = false, ok = true;
    int64_t seed = 1;
    struct report *report = report_new(command->name);
    for (int i = 2; i < argc && ok; i++) {
        const char *flag = argv[i];
        if (strcmp(flag, "--json") == 0) {
            json = true;
        } else if (strncmp(flag, "--seed=", 7) == 0) {
            ok = read_number(&seed, "seed", flag + 7, 0, INT64_MAX, &error);
        } else if (strncmp(flag, "--", 2) == 0) {
            ok = read_option(command, report, flag + 2, &error);
        } else {
            ok = error_set(&error, ERROR_USAGE, NULL, "'%.60s' is no option", flag);
        }
    }
    if (ok) {
        report_begin(report, json, (uint64_t)seed);
        ok = command->run(report, &error);
    }
    if (ok) {
        report_end(report);
    } else {
        fprintf(stderr, "quarry-bench %s: %s\n", command->name, error.text);
        *status = error.kind == ERROR_USAGE ? STATUS_USAGE : STATUS_RUNTIME;
    }
    report_free(report);
    return ok;
}

int main(int argc, char **argv)
{
    int status = STATUS_OK;
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return argc > 1 ? STATUS_OK : STATUS_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        version_print(stdout, "quarry-bench");
        return STATUS_OK;
    }
    const struct bench_command *command = find_command(name);
    if (!command) {
        fprintf(stderr, "quarry-bench: no command '%s'; see quarry-bench --help\n", name);
        return STATUS_USAGE;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_command_help(command);
            return STATUS_OK;
        }
    }
    run(command, argc, argv, &status);
    return status;
}
