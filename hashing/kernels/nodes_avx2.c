/*
 * 64-byte nodes and blocks of many messages on AVX2, eight at a time: for CPUs without SHA-NI.
 *
 * Slot budget: as nodes_avx512.c, with rotations of three operations, CHOOSE and MAJORITY of three and four:
 * some 9700 operations per eight nodes, 405 cycles per node on the three vector ports of such CPUs. Sixteen
 * registers do not hold a second stream.
 */
#include "hashing/kernels/scan.h"

#if defined(__x86_64__)

#include "hashing/kernels/vector_avx2.h"

#define STREAMS 1

KERNEL __attribute__((always_inline)) static inline VEC byte_swapped(VEC x)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(swap));
}

/* An 8x8 transposition. */
KERNEL __attribute__((always_inline)) static inline void transpose(VEC r[8])
{
    VEC t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* r[i + c]: column c of both halves, rows i .. i + 3 */
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        VEC low = _mm256_permute2x128_si256(r[c], r[c + 4], 0x20);
        r[c + 4] = _mm256_permute2x128_si256(r[c], r[c + 4], 0x31);
        r[c] = low;
    }
}

KERNEL __attribute__((always_inline)) static inline void load_columns(VEC (*w)[STREAMS], int s,
                                                                      const uint8_t *const *blocks)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        VEC rows[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            rows[i] = byte_swapped(LOAD(blocks[i] + 32 * half));
        }
        transpose(rows);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            w[8 * half + i][s] = rows[i];
        }
    }
}

KERNEL __attribute__((always_inline)) static inline void store_columns(uint8_t *out, const VEC s[8])
{
    VEC rows[8];
    memcpy(rows, s, sizeof rows);
    transpose(rows);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        STORE(out + 32 * i, byte_swapped(rows[i]));
    }
}

#include "hashing/kernels/nodes_lanes.h"

KERNEL void sha256_avx2_compress_lanes(uint32_t *state, const uint8_t *const *blocks)
{
    blocks_batch(state, blocks);
}

KERNEL void sha256_avx2_double_64(uint8_t *out, const uint8_t *in, size_t count)
{
    size_t left = nodes_all(out, in, count, 2), done = count - left;
    if (left) {
        sha256_generic_double_64(out + 32 * done, in + 64 * done, left);
    }
}

#endif
