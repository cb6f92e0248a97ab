/* The ARMv8 kernel under an emulator: built by tools/test-armv8 for another CPU, hence without Criterion. The
 * self-test first, then random headers lane by lane against the generic code. */
#include <stdio.h>

#include "hashing/kernels/scan.h"

#define HEADERS 20000

int main(void)
{
    const struct sha256_kernel *kernel = sha256_kernel_find("armv8");
    uint64_t seed = 2009;
    unsigned failed = 0;
    printf("seed %llu\n", (unsigned long long)seed);
    if (!kernel || !sha256_kernel_ready(kernel)) {
        puts("0 passed, 1 failed: no armv8 kernel, or it failed its self-test");
        return 1;
    }
    for (unsigned i = 0; i < HEADERS; i++) {
        uint8_t header[80], target[32] = {0};
        uint32_t version = i, words[1], hash[8];
        struct scan_job job;
        for (size_t b = 0; b < sizeof header; b++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            header[b] = (uint8_t)(seed >> 56);
        }
        scan_prepare(&job, header, &version, 1, target);
        kernel->last_words(&job, (uint32_t)seed, words);
        scan_hash(hash, &job, 0, (uint32_t)seed);
        failed += words[0] != hash[7];
    }
    printf("%u passed, %u failed\n", HEADERS - failed, failed);
    return failed != 0;
}
