/*
 * bench: the program quarry-bench, one sub-command per file. Here is what they share: options, one way to
 * measure, and one report as text or JSON.
 *
 * Measuring: contenders take turns (A B A B …) in short windows of thread CPU time, so that what the machine
 * does meanwhile hits all of them alike; minimum and median of the windows count. Beside every window a chain
 * of dependent adds, one per cycle, tells the clock that the core really ran at: cycles are ns times that.
 * Figures are for ratios within one run; nothing here passes or fails.
 */
#ifndef QUARRY_BENCH_BENCH_H
#define QUARRY_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/base.h"

/* ---- Sub-commands (main.c) --------------------------------------------------------------------------- */

struct report;

struct bench_option {
    const char *name;  /* without dashes; given as --name=value */
    const char *value; /* how --help shows it */
    const char *help;
    const char **text;            /* one of these two is filled; it holds the default */
    int64_t *number, least, most; /* bounds of a number */
};
/* Rows of a table of options; the variable is the row's own. */
#define BENCH_TEXT(name, value, help, variable)                                                              \
    {                                                                                                        \
        name, value, help, &(variable), NULL, 0, 0                                                           \
    }
#define BENCH_NUMBER(name, value, help, variable, least, most)                                               \
    {                                                                                                        \
        name, value, help, NULL, &(variable), least, most                                                    \
    }

struct bench_command {
    const char *name, *summary;
    const char *about; /* for --help: what is measured and how; several lines */
    const struct bench_option
        *options; /* ended by a NULL name; NULL: none. --json and --seed are everybody's */
    bool (*run)(struct report *report, struct error *error);
};

/* ---- Samples (measure.c) ----------------------------------------------------------------------------- */

struct samples { /* zero-initialise; samples_free */
    double *values;
    size_t count, capacity;
};
void samples_add(struct samples *s, double value);
void samples_free(struct samples *s);
double samples_quantile(const struct samples *s, double q); /* 0 minimum, 0.5 median, 1 maximum; 0 of none */

/* ---- Measuring (measure.c) --------------------------------------------------------------------------- */

int64_t wall_ns(void);       /* CLOCK_MONOTONIC */
int64_t thread_cpu_ns(void); /* CPU time of the calling thread */
double clock_ghz(void);      /* of this core now, by dependent adds; takes some 50 us */
bool pin_to_cpu(int cpu);    /* the calling thread; false when refused */

struct contender {
    const char *name;
    void (*run)(void *context, uint64_t times); /* does the operation so many times */
    void *context;
    struct samples ns, cycles; /* per operation, one value per window: filled by measure */
};
/* Lets each contender find how many operations fill a window, then takes turns until all have had `windows`
 * of them. Free both samples of each. */
void measure(struct contender *contenders, size_t count, int64_t window_ns, unsigned windows);
/* The same, but ends after the round in which wall_ns() has passed until_ns: windows are CPU time, of which a
 * busy machine gives little. */
void measure_until(struct contender *contenders, size_t count, int64_t window_ns, unsigned windows,
                   int64_t until_ns);

/* ---- The report (report.c) --------------------------------------------------------------------------- */

/* As text everything is printed as it comes; as JSON one object is printed at the end:
 *   {"benchmark", "version", "commit", "time", "kernel", "cpu": {"model", "machine", "usable", "ghz"},
 *    "cgroup": {"quota_cpus", "memory_bytes"}, "seed", "arguments": {…},
 *    "samples": [{"name", "unit", "count", "min", "median", "p99", "max", "values": […]}],
 *    "values": [{"name", "unit", "value"}], "notes": ["…"], and the tables by their names: [{…}, …]} */
uint64_t report_seed(const struct report *report); /* for every random choice of a sub-command */

/* One line with minimum, median, p99 and maximum. */
void report_samples(struct report *report, const char *name, const char *unit, const struct samples *samples);
/* The same with a histogram: one row per power of two between the smallest and the largest. */
void report_histogram(struct report *report, const char *name, const char *unit,
                      const struct samples *samples);
void report_value(struct report *report, const char *name, const char *unit, double value);
void report_note(struct report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct report_cell { /* text, or a number when text is NULL */
    const char *name, *text;
    double number;
    int decimals;
};
/* One row of a table: a line of text under a heading, an object in the array of that name. A row has the
 * cells of the rows before it, in their order. */
void report_row(struct report *report, const char *table, const struct report_cell *cells, size_t count);

#endif
