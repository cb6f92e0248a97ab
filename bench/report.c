/* The report: what was measured, where, with what; as lines of text or as one JSON object. */
#include "bench/report.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "hashing/kernels/kernels.h"
#include "hashing/pool/pool.h"
#include "quarry_version.h"

#define BAR_WIDTH 50

struct report {
    const char *benchmark;
    bool json;
    uint64_t seed;
    json_t *root, *arguments;
    const char *table; /* whose heading was printed last */
};

static void cpu_model(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) {
            colon[strcspn(colon, "\n")] = 0;
            snprintf(out, size, "%s", colon + 1 + (colon[1] == ' '));
            break;
        }
    }
    if (f) {
        fclose(f);
    }
}

struct report *report_new(const char *benchmark)
{
    struct report *report = mem_alloc(sizeof *report);
    report->benchmark = benchmark;
    report->root = json_object();
    report->arguments = json_object();
    return report;
}

void report_free(struct report *report)
{
    json_decref(report->root);
    json_decref(report->arguments);
    mem_free(report);
}

void report_argument(struct report *report, const char *name, const char *value)
{
    json_object_set_new(report->arguments, name, json_string(value));
}

uint64_t report_seed(const struct report *report)
{
    return report->seed;
}

void report_begin(struct report *report, bool json, uint64_t seed)
{
    char model[128], now[32];
    struct cpu_limits limits;
    struct tm utc;
    time_t seconds = time(NULL);
    double ghz = clock_ghz();
    const char *kernel = sha256_kernel_in_use()->name;
    report->json = json;
    report->seed = seed;
    cpu_model(model, sizeof model);
    cpu_limits_read(&limits, NULL, NULL);
    gmtime_r(&seconds, &utc);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *head = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:i, s:i, s:f}, s:{s:f, s:I}, s:I, s:O, s:[], s:[], s:[]}",
        "benchmark", report->benchmark, "version", QUARRY_VERSION, "commit", QUARRY_COMMIT, "time", now,
        "kernel", kernel, "cpu", "model", model, "machine", (int)limits.machine_cpus, "usable",
        (int)limits.affinity_cpus, "ghz", ghz, "cgroup", "quota_cpus", limits.quota_cpus, "memory_bytes",
        (json_int_t)limits.memory_bytes, "seed", (json_int_t)seed, "arguments", report->arguments, "samples",
        "values", "notes");
    json_object_update(report->root, head);
    json_decref(head);
    if (!json) {
        printf("%s, version %s, commit %s, seed %llu\n", report->benchmark, QUARRY_VERSION, QUARRY_COMMIT,
               (unsigned long long)seed);
        printf("%s at %.2f GHz, %u of %u CPUs, quota %.3g (0: none), kernel %s\n", model, ghz,
               limits.affinity_cpus, limits.machine_cpus, limits.quota_cpus, kernel);
    }
}

void report_end(struct report *report)
{
    if (report->json) {
        json_dumpf(report->root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
}

void report_samples(struct report *report, const char *name, const char *unit, const struct samples *samples)
{
    double least = samples_quantile(samples, 0), median = samples_quantile(samples, 0.5),
           p99 = samples_quantile(samples, 0.99), most = samples_quantile(samples, 1);
    if (!report->json) {
        printf("%-40s min %.4g  median %.4g  p99 %.4g  max %.4g %s (%zu)\n", name, least, median, p99, most,
               unit, samples->count);
        fflush(stdout);
        return;
    }
    json_t *values = json_array();
    for (size_t i = 0; i < samples->count; i++) {
        json_array_append_new(values, json_real(samples->values[i]));
    }
    json_array_append_new(json_object_get(report->root, "samples"),
                          json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:o}", "name", name, "unit", unit,
                                    "count", (json_int_t)samples->count, "min", least, "median", median,
                                    "p99", p99, "max", most, "values", values));
}

void report_histogram(struct report *report, const char *name, const char *unit,
                      const struct samples *samples)
{
    enum { LOWEST = -10, ROWS = 64 };
    size_t counts[ROWS] = {0}, most = 1;
    report_samples(report, name, unit, samples);
    for (size_t i = 0; i < samples->count; i++) {
        int row = samples->values[i] > 0 ? (int)floor(log2(samples->values[i])) - LOWEST : 0;
        size_t at = (size_t)MIN(MAX(row, 0), ROWS - 1);
        counts[at]++;
        most = MAX(most, counts[at]);
    }
    for (int row = 0; row < ROWS && !report->json; row++) {
        if (counts[row]) {
            int bar = (int)((counts[row] * BAR_WIDTH + most - 1) / most);
            printf("    %10.4g .. %-10.4g %8zu  %.*s\n", ldexp(1, row + LOWEST), ldexp(1, row + LOWEST + 1),
                   counts[row], bar, "##################################################");
        }
    }
}

void report_value(struct report *report, const char *name, const char *unit, double value)
{
    if (!report->json) {
        printf("%-40s %.5g %s\n", name, value, unit);
        fflush(stdout);
        return;
    }
    json_array_append_new(json_object_get(report->root, "values"),
                          json_pack("{s:s, s:s, s:f}", "name", name, "unit", unit, "value", value));
}

void report_note(struct report *report, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (report->json) {
        json_array_append_new(json_object_get(report->root, "notes"), json_string(text));
    } else {
        puts(text);
    }
}

static void print_row(struct report *report, const char *table, const struct report_cell *cells, size_t count)
{
    bool heading = report->table != table;
    if (heading) {
        printf("\n%s\n", table);
    }
    for (int line = heading ? 0 : 1; line < 2; line++) {
        for (size_t i = 0; i < count; i++) {
            int width = (int)MAX(strlen(cells[i].name), (size_t)12);
            if (line == 0) {
                printf(cells[i].text ? "  %-*s" : "  %*s", width, cells[i].name);
            } else if (cells[i].text) {
                printf("  %-*s", width, cells[i].text);
            } else {
                printf("  %*.*f", width, cells[i].decimals, cells[i].number);
            }
        }
        putchar('\n');
    }
    fflush(stdout);
    report->table = table;
}

void report_row(struct report *report, const char *table, const struct report_cell *cells, size_t count)
{
    json_t *rows = json_object_get(report->root, table), *row = json_object();
    if (!rows) {
        rows = json_array();
        json_object_set_new(report->root, table, rows);
    }
    for (size_t i = 0; i < count; i++) {
        json_object_set_new(row, cells[i].name,
                            cells[i].text            ? json_string(cells[i].text)
                            : cells[i].decimals == 0 ? json_integer((json_int_t)llround(cells[i].number))
                                                     : json_real(cells[i].number));
    }
    json_array_append_new(rows, row);
    if (!report->json) {
        print_row(report, table, cells, count);
    }
}
