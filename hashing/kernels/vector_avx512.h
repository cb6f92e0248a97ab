/* The vector of the AVX-512 kernels, in the terms of rounds_lanes.h. */
#ifndef QUARRY_HASHING_VECTOR_AVX512_H
#define QUARRY_HASHING_VECTOR_AVX512_H

#include <stdint.h>

#include <immintrin.h>

#define KERNEL                 __attribute__((target("avx512f,avx512bw")))
#define VEC                    __m512i
#define LANES                  16
#define ADD(a, b)              _mm512_add_epi32(a, b)
#define AND(a, b)              _mm512_and_si512(a, b)
#define ROTR(x, n)             _mm512_ror_epi32(x, n)
#define SHR(x, n)              _mm512_srli_epi32(x, n)
#define XOR3(a, b, c)          _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define CHOOSE(e, f, g)        _mm512_ternarylogic_epi32(e, f, g, 0xca)
#define MAJORITY(a, b, c)      _mm512_ternarylogic_epi32(a, b, c, 0xe8)
#define LOAD(p)                _mm512_loadu_si512(p)
#define STORE(p, x)            _mm512_storeu_si512(p, x)
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

#endif
