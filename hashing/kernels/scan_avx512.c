/*
 * The nonce scan on AVX-512: 16 nonces per vector, two vectors side by side.
 *
 * Slot budget (Zen 5, four 512-bit slots per cycle, of which two shift): 2393 + 460 / versions operations per
 * vector of 16, that is 44.6 cycles per hash plain and 38.3 with eight versions; the shifts alone would take
 * 36.8 and 30.3. vprord and vpternlogd are what makes it: a rotation is one operation, and so are the
 * three-way xor, Ch and Maj. A round is 16 operations and its longest path 8 cycles: two streams fill the
 * slots.
 */
#include "hashing/kernels/scan.h"

#if defined(__x86_64__)

#include "hashing/kernels/vector_avx512.h"

#define STREAMS 2

#include "hashing/kernels/scan_lanes.h"

static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_run(lanes_some, job, first, count, hits, hits_max, found);
}

const struct sha256_kernel sha256_avx512 = {.name = "avx512",
                                            .usable = cpu_has_avx512,
                                            .double_64 = sha256_avx512_double_64,
                                            .lanes = 32,
                                            .compress_lanes = sha256_avx512_compress_lanes,
                                            .scan = scan,
                                            .batch_nonces = BATCH_NONCES,
                                            .last_words = lanes_last_words};
#endif
