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

#include <immintrin.h>

#define KERNEL                 __attribute__((target("avx512f,avx512bw")))
#define VEC                    __m512i
#define LANES                  16
#define STREAMS                2
#define ADD(a, b)              _mm512_add_epi32(a, b)
#define AND(a, b)              _mm512_and_si512(a, b)
#define ROTR(x, n)             _mm512_ror_epi32(x, n)
#define SHR(x, n)              _mm512_srli_epi32(x, n)
#define XOR3(a, b, c)          _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define CHOOSE(e, f, g)        _mm512_ternarylogic_epi32(e, f, g, 0xca)
#define MAJORITY(a, b, c)      _mm512_ternarylogic_epi32(a, b, c, 0xe8)
#define SET1(x)                _mm512_set1_epi32((int)(x))
#define EQUAL_BITS(a, b)       ((uint32_t)_mm512_cmpeq_epi32_mask(a, b))
#define WORDS_OF_NONCES(first) words_of_nonces(first)

KERNEL __attribute__((always_inline)) static inline VEC words_of_nonces(uint32_t first)
{
    VEC n = _mm512_add_epi32(SET1(first),
                             _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm512_shuffle_epi8(n, _mm512_broadcast_i32x4(swap));
}

#include "hashing/kernels/scan_lanes.h"

static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_run(lanes_some, job, first, count, hits, hits_max, found);
}

const struct sha256_kernel sha256_avx512 = {.name = "avx512",
                                            .usable = cpu_has_avx512,
                                            .scan = scan,
                                            .batch_nonces = BATCH_NONCES,
                                            .last_words = lanes_last_words};
#endif
