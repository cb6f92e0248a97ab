/* The bounds: how often this CPU starts a sha256rnds2, and how many 512-bit operations it does per cycle;
 * from these the least cycles per hash of a SHA-NI and of an AVX-512 kernel. */
#include <stdio.h>

#include "bench/hash.h"

#if defined(__x86_64__)

#define SHA_NI_ROUNDS 61 /* sha256rnds2 per hash */
#define LANE_PLAIN    2853.0
#define LANE_ROLLING  (2393.0 + 460.0 / SCAN_VERSIONS_MAX)
#define LANES         16
#define OPERATIONS    24

static void rounds_run(void *context, uint64_t times)
{
    (void)context;
    for (; times; times--) { /* six independent chains */
        __asm__ volatile(".rept 4\n sha256rnds2 %%xmm0, %%xmm7, %%xmm1\n sha256rnds2 %%xmm0, %%xmm7, %%xmm2\n"
                         "sha256rnds2 %%xmm0, %%xmm7, %%xmm3\n sha256rnds2 %%xmm0, %%xmm7, %%xmm4\n"
                         "sha256rnds2 %%xmm0, %%xmm7, %%xmm5\n sha256rnds2 %%xmm0, %%xmm7, %%xmm6\n.endr" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    }
}

static void vector_run(void *context, uint64_t times)
{
    (void)context;
    for (; times; times--) { /* the scan's mix: of eight, three rotations, two logic, three additions */
        __asm__ volatile(".rept 3\n vprord $7, %%zmm31, %%zmm16\n vpaddd %%zmm31, %%zmm30, %%zmm17\n"
                         "vprord $9, %%zmm31, %%zmm18\n vpternlogd $0x96, %%zmm30, %%zmm31, %%zmm19\n"
                         "vprord $5, %%zmm31, %%zmm20\n vpaddd %%zmm31, %%zmm30, %%zmm21\n"
                         "vpaddd %%zmm31, %%zmm30, %%zmm22\n vpternlogd $0xca, %%zmm30, %%zmm31, %%zmm23\n"
                         ".endr" ::
                             : "memory");
    }
}

static bool ready(const char *name)
{
    const struct sha256_kernel *kernel = sha256_kernel_find(name);
    return kernel && sha256_kernel_ready(kernel);
}

static double per_operation(void (*run)(void *context, uint64_t times))
{
    struct contender c = {.run = run};
    measure(&c, 1, 200000, 20);
    double cycles = samples_quantile(&c.cycles, 0) / OPERATIONS;
    samples_free(&c.ns);
    samples_free(&c.cycles);
    return cycles;
}

void hash_bounds(struct report *report)
{
    if (ready("sha-ni-1")) {
        double cycles = per_operation(rounds_run);
        report_value(report, "sha256rnds2", "cycles", cycles);
        report_value(report, "bound of SHA-NI", "cycles per hash", SHA_NI_ROUNDS * cycles);
    }
    if (ready("avx512")) {
        double cycles = per_operation(vector_run);
        report_value(report, "512-bit operation", "cycles", cycles);
        report_value(report, "bound of AVX-512 plain", "cycles per hash", LANE_PLAIN / LANES * cycles);
        report_value(report, "bound of AVX-512 rolling", "cycles per hash", LANE_ROLLING / LANES * cycles);
    }
}

#else
void hash_bounds(struct report *report)
{
    report_note(report, "bounds are known for x86-64 only");
}
#endif
