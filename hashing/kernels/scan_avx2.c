/*
 * The nonce scan on AVX2: eight nonces per vector, for CPUs that have neither SHA-NI nor AVX-512.
 *
 * Slot budget (four 256-bit slots per cycle at best, two of which shift): no rotation and no three-way logic,
 * so a rotation is three operations (two shifts, an or folded into the xor: 2 + xor), Ch and Maj three each.
 * About 5700 operations per eight hashes: 178 cycles per hash on four slots, 139 by the shifts alone. One
 * vector at a time: sixteen registers do not hold two states.
 */
#include "hashing/kernels/scan.h"

#if defined(__x86_64__)

#include "hashing/kernels/vector_avx2.h"

#define STREAMS 1

#include "hashing/kernels/scan_lanes.h"

static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_run(lanes_some, job, first, count, hits, hits_max, found);
}

const struct sha256_kernel sha256_avx2 = {.name = "avx2",
                                          .usable = cpu_has_avx2,
                                          .double_64 = sha256_avx2_double_64,
                                          .lanes = 8,
                                          .compress_lanes = sha256_avx2_compress_lanes,
                                          .scan = scan,
                                          .batch_nonces = BATCH_NONCES,
                                          .last_words = lanes_last_words};
#endif
