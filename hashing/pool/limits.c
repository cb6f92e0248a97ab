/* What the machine and the control groups allow: affinity, cpuset, CPU quota, memory; v1 and v2, real or fake
 * trees. */

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hashing/pool/pool_private.h"

#define NO_MEMORY_LIMIT (UINT64_C(1) << 60)

static bool read_text(char *out, size_t size, const char *root, const char *controller, const char *path,
                      const char *name)
{
    char file[PATH_MAX];
    int len = snprintf(file, sizeof file, "%s%s%s/%s", root, controller, path, name);
    FILE *f = len > 0 && (size_t)len < sizeof file ? fopen(file, "re") : NULL;
    if (!f) {
        return false;
    }
    size_t got = fread(out, 1, size - 1, f);
    fclose(f);
    out[got] = 0;
    return got > 0;
}

bool cpu_list_parse(cpu_set_t *out, const char *text)
{
    CPU_ZERO(out);
    for (bool more = true; more; text += more) {
        char *end = NULL;
        if (!isdigit((unsigned char)*text)) {
            return false;
        }
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-' && isdigit((unsigned char)end[1])) {
            last = strtol(end + 1, &end, 10);
        }
        if (last < first || last >= CPU_SETSIZE) {
            return false;
        }
        for (long i = first; i <= last; i++) {
            CPU_SET((size_t)i, out);
        }
        text = end;
        more = *text == ',';
    }
    return *text == 0 || *text == '\n';
}

struct sources {
    const char *root;
    double quota;
    uint64_t memory;
    cpu_set_t cpus;
};

static void tighten_quota(struct sources *s, double quota)
{
    if (quota > 0 && (s->quota == 0 || quota < s->quota)) {
        s->quota = quota;
    }
}

static void tighten_cpus(struct sources *s, const char *text)
{
    cpu_set_t set;
    if (cpu_list_parse(&set, text)) {
        CPU_AND(&s->cpus, &s->cpus, &set);
    }
}

static void tighten_memory(struct sources *s, const char *text)
{
    uint64_t limit = strtoull(text, NULL, 10);
    if (isdigit((unsigned char)*text) && limit > 0 && limit < NO_MEMORY_LIMIT &&
        (s->memory == 0 || limit < s->memory)) {
        s->memory = limit;
    }
}

static void read_v2(struct sources *s, const char *path)
{
    char text[4096];
    long long quota, period;
    if (read_text(text, sizeof text, s->root, "", path, "cpu.max") &&
        sscanf(text, "%lld %lld", &quota, &period) == 2 && period > 0) {
        tighten_quota(s, (double)quota / (double)period);
    }
    if (read_text(text, sizeof text, s->root, "", path, "cpuset.cpus.effective")) {
        tighten_cpus(s, text);
    }
    if (read_text(text, sizeof text, s->root, "", path, "memory.max")) {
        tighten_memory(s, text);
    }
}

static void read_v1(struct sources *s, const char *controllers, const char *path)
{
    static const char *const cpu_folders[] = {"/cpu", "/cpu,cpuacct"};
    char quota[64], period[64], text[4096];
    for (size_t i = 0; strstr(controllers, "cpu") && i < ARRAY_COUNT(cpu_folders); i++) {
        if (read_text(quota, sizeof quota, s->root, cpu_folders[i], path, "cpu.cfs_quota_us") &&
            read_text(period, sizeof period, s->root, cpu_folders[i], path, "cpu.cfs_period_us") &&
            strtod(period, NULL) > 0) {
            tighten_quota(s, strtod(quota, NULL) / strtod(period, NULL)); /* -1: none */
        }
    }
    if (strstr(controllers, "cpuset") &&
        (read_text(text, sizeof text, s->root, "/cpuset", path, "cpuset.effective_cpus") ||
         read_text(text, sizeof text, s->root, "/cpuset", path, "cpuset.cpus"))) {
        tighten_cpus(s, text);
    }
    if (strstr(controllers, "memory") &&
        read_text(text, sizeof text, s->root, "/memory", path, "memory.limit_in_bytes")) {
        tighten_memory(s, text);
    }
}

/* The group itself and every one above it, up to the root of the tree. In a container the path of the host
 * leads nowhere, and the root is the container's own group. */
static void read_upwards(struct sources *s, const char *controllers, const char *path)
{
    char at[PATH_MAX];
    snprintf(at, sizeof at, "%s", strcmp(path, "/") == 0 ? "" : path);
    for (;;) {
        if (*controllers) {
            read_v1(s, controllers, at);
        } else {
            read_v2(s, at);
        }
        char *slash = strrchr(at, '/');
        if (!slash) {
            return;
        }
        *slash = 0;
    }
}

void cpu_limits_read(struct cpu_limits *out, const char *cgroup_root, const char *self_cgroup)
{
    struct sources s = {.root = cgroup_root ? cgroup_root : "/sys/fs/cgroup"};
    char line[PATH_MAX + 256];
    if (sched_getaffinity(0, sizeof s.cpus, &s.cpus) != 0) {
        CPU_ZERO(&s.cpus);
        CPU_SET(0, &s.cpus);
    }
    FILE *f = fopen(self_cgroup ? self_cgroup : "/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f)) { /* ID:controllers:path; v2 has no controllers */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (path) {
            *path++ = 0;
            read_upwards(&s, controllers + 1, path);
        }
    }
    if (f) {
        fclose(f);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    *out = (struct cpu_limits){
        .affinity_cpus = (unsigned)MAX(CPU_COUNT(&s.cpus), 1),
        .quota_cpus = s.quota,
        .machine_cpus = (unsigned)MAX(online, 1),
        .memory_bytes = s.memory,
        .cpus = s.cpus,
    };
    out->workers = out->affinity_cpus;
    if (s.quota > 0) {
        out->workers = MIN(out->workers, (unsigned)ceil(s.quota));
    }
    out->workers = MAX(out->workers, 1u);
}
