/* The measurement that picks a scan kernel. The clock is the caller's. */
#include "hashing/kernels/private.h"

#define WINDOW_NS 1500000

/* Nanoseconds per hash over about one window; *nonces is the window's size and adapts. */
static double window(const struct sha256_kernel *kernel, const struct scan_job *job, uint64_t *nonces,
                     int64_t (*thread_time_ns)(void))
{
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    int64_t took = -thread_time_ns();
    uint64_t done = scan_nonces_with(kernel, job, 0, *nonces, hits, SCAN_HITS_MIN, &found);
    took += thread_time_ns();
    if (took <= 0 || done == 0) {
        return 1e9;
    }
    double ns = (double)took / (double)(done * job->version_count);
    double next = WINDOW_NS / (ns * job->version_count);
    *nonces = next < 64 ? 64 : next > 1e7 ? 10000000 : (uint64_t)next;
    return ns;
}

const struct sha256_kernel *sha256_kernel_measure(uint32_t versions, unsigned rounds,
                                                  int64_t (*thread_time_ns)(void),
                                                  struct sha256_measured *results, size_t results_max,
                                                  size_t *result_count)
{
    static const uint8_t header[80] = {2}, impossible[32] = {0};
    uint32_t version[SCAN_VERSIONS_MAX];
    struct sha256_measured candidates[16];
    uint64_t nonces[16];
    size_t count = 0;
    struct scan_job job;
    for (uint32_t v = 0; v < SCAN_VERSIONS_MAX; v++) {
        version[v] = v;
    }
    scan_prepare(&job, header, version, versions, impossible);
    for (size_t i = 0; sha256_kernels[i] && count < 16; i++) {
        if (sha256_kernels[i]->scan && sha256_kernel_ready(sha256_kernels[i])) {
            nonces[count] = 512 / versions + 1;
            candidates[count++] = (struct sha256_measured){sha256_kernels[i], 1e9};
        }
    }
    for (unsigned r = 0; r < rounds; r++) {
        for (size_t i = 0; i < count; i++) {
            double ns = window(candidates[i].kernel, &job, &nonces[i], thread_time_ns);
            candidates[i].ns_per_hash = ns < candidates[i].ns_per_hash ? ns : candidates[i].ns_per_hash;
        }
    }
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        best = candidates[i].ns_per_hash < candidates[best].ns_per_hash ? i : best;
        if (i < results_max) {
            results[i] = candidates[i];
        }
    }
    if (result_count) {
        *result_count = count < results_max ? count : results_max;
    }
    return candidates[best].kernel;
}
