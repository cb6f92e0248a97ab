/* The life of a report, for main.c alone; what sub-commands put into it is in bench.h. */
#ifndef QUARRY_BENCH_REPORT_H
#define QUARRY_BENCH_REPORT_H

#include "bench/bench.h"

struct report *report_new(const char *benchmark);
void report_argument(struct report *report, const char *name, const char *value); /* as given */
void report_begin(struct report *report, bool json, uint64_t seed); /* text: prints what is measured where */
void report_end(struct report *report);                             /* JSON: prints the object */
void report_free(struct report *report);

#endif
