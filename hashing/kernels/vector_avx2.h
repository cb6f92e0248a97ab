/* The vector of the AVX2 kernels, in the terms of rounds_lanes.h. */
#ifndef QUARRY_HASHING_VECTOR_AVX2_H
#define QUARRY_HASHING_VECTOR_AVX2_H

#include <stdint.h>

#include <immintrin.h>

#define KERNEL                 __attribute__((target("avx2")))
#define VEC                    __m256i
#define LANES                  8
#define ADD(a, b)              _mm256_add_epi32(a, b)
#define AND(a, b)              _mm256_and_si256(a, b)
#define ROTR(x, n)             _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define SHR(x, n)              _mm256_srli_epi32(x, n)
#define XOR3(a, b, c)          _mm256_xor_si256(a, _mm256_xor_si256(b, c))
#define CHOOSE(e, f, g)        _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
#define MAJORITY(a, b, c)      _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
#define LOAD(p)                _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE(p, x)            _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define SET1(x)                _mm256_set1_epi32((int)(x))
#define EQUAL_BITS(a, b)       ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))))
#define WORDS_OF_NONCES(first) words_of_nonces(first)

KERNEL __attribute__((always_inline)) static inline VEC words_of_nonces(uint32_t first)
{
    VEC n = _mm256_add_epi32(SET1(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm256_shuffle_epi8(n, _mm256_broadcastsi128_si256(swap));
}

#endif
