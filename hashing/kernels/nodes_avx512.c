/*
 * 64-byte nodes and blocks of many messages on AVX-512, twice sixteen at a time; a few nodes left over go to
 * SHA-NI or to the generic code.
 *
 * Slot budget: three compressions of 64 rounds of 16 or 17 operations and two schedules of 48 words of 11,
 * some 4300 operations per sixteen nodes: 67 cycles per node on four slots. The turning of sixteen messages
 * into columns costs 64 shuffles, and as many back.
 */
#include "hashing/kernels/scan.h"

#if defined(__x86_64__)

#include "hashing/kernels/vector_avx512.h"

#define STREAMS 2

KERNEL __attribute__((always_inline)) static inline VEC byte_swapped(VEC x)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(swap));
}

/* The 4x4 blocks of a 16x16 transposition: 128-bit pieces of rows i, i + 4, i + 8, i + 12. */
KERNEL __attribute__((always_inline)) static inline void transpose(VEC r[16])
{
    VEC t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + c]: column c of every 4-word group, rows i .. i + 3 */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) { /* now 4x4 of 128-bit pieces */
        VEC low = _mm512_shuffle_i32x4(r[c], r[c + 4], 0x88),
            high = _mm512_shuffle_i32x4(r[c], r[c + 4], 0xdd);
        VEC low2 = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0x88);
        VEC high2 = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0xdd);
        r[c] = _mm512_shuffle_i32x4(low, low2, 0x88);
        r[c + 8] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        r[c + 4] = _mm512_shuffle_i32x4(high, high2, 0x88);
        r[c + 12] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

KERNEL __attribute__((always_inline)) static inline void load_columns(VEC (*w)[STREAMS], int s,
                                                                      const uint8_t *const *blocks)
{
    VEC rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        rows[i] = byte_swapped(_mm512_loadu_si512(blocks[i]));
    }
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        w[i][s] = rows[i];
    }
}

KERNEL __attribute__((always_inline)) static inline void store_columns(uint8_t *out, const VEC s[8])
{
    VEC rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        rows[i] = i < 8 ? s[i] : SET1(0);
    }
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        _mm256_storeu_si256((__m256i *)(void *)(out + 32 * i), _mm512_castsi512_si256(byte_swapped(rows[i])));
    }
}

#include "hashing/kernels/nodes_lanes.h"

KERNEL void sha256_avx512_compress_lanes(uint32_t *state, const uint8_t *const *blocks)
{
    blocks_batch(state, blocks);
}

KERNEL void sha256_avx512_double_64(uint8_t *out, const uint8_t *in, size_t count)
{
    size_t left = nodes_all(out, in, count, BATCH_NODES / 4), done = count - left;
    if (left) {
        (cpu_has_shani() ? sha256_shani_double_64 : sha256_generic_double_64)(out + 32 * done, in + 64 * done,
                                                                              left);
    }
}

#endif
