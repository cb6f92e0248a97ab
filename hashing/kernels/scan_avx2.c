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

#include <immintrin.h>

#define KERNEL                 __attribute__((target("avx2")))
#define VEC                    __m256i
#define LANES                  8
#define STREAMS                1
#define ADD(a, b)              _mm256_add_epi32(a, b)
#define AND(a, b)              _mm256_and_si256(a, b)
#define ROTR(x, n)             _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define SHR(x, n)              _mm256_srli_epi32(x, n)
#define XOR3(a, b, c)          _mm256_xor_si256(a, _mm256_xor_si256(b, c))
#define CHOOSE(e, f, g)        _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
#define MAJORITY(a, b, c)      _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
#define SET1(x)                _mm256_set1_epi32((int)(x))
#define EQUAL_BITS(a, b)       ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))))
#define WORDS_OF_NONCES(first) words_of_nonces(first)

KERNEL __attribute__((always_inline)) static inline VEC words_of_nonces(uint32_t first)
{
    VEC n = _mm256_add_epi32(SET1(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm256_shuffle_epi8(n, _mm256_broadcastsi128_si256(swap));
}

#include "hashing/kernels/scan_lanes.h"

static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_run(lanes_some, job, first, count, hits, hits_max, found);
}

const struct sha256_kernel sha256_avx2 = {.name = "avx2",
                                          .usable = cpu_has_avx2,
                                          .scan = scan,
                                          .batch_nonces = BATCH_NONCES,
                                          .last_words = lanes_last_words};
#endif
