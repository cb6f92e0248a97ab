/*
 * SHA-NI (x86-64): messages one compression at a time; 64-byte nodes, and the blocks of many messages, four
 * side by side, since one stream leaves the SHA unit idle while it waits for its own last round. The padding
 * that follows 64 bytes has a constant schedule, so the second of a node's three compressions is rounds only.
 * The nonce scan is in scan_shani.c.
 */
#include "hashing/kernels/private.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SHANI  __attribute__((target("sha,sse4.1")))
#define INLINE SHANI __attribute__((always_inline)) static inline
#define LANES  4

struct lane { /* the state in the order that the instructions want */
    __m128i abef, cdgh;
};

/* Of words 0..3 and 4..7 of the state, lowest word in the lowest lane. */
INLINE struct lane state_of(__m128i low, __m128i high)
{
    __m128i dcba = _mm_shuffle_epi32(low, 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(high, 0x1b);
    return (struct lane){_mm_alignr_epi8(dcba, hgfe, 8), _mm_blend_epi16(hgfe, dcba, 0xf0)};
}

INLINE struct lane state_load(const uint32_t state[8])
{
    return state_of(_mm_loadu_si128((const __m128i *)(const void *)state),
                    _mm_loadu_si128((const __m128i *)(const void *)(state + 4)));
}

/* The other way. */
INLINE void state_words(__m128i *low, __m128i *high, struct lane s)
{
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    *low = _mm_blend_epi16(feba, dchg, 0xf0);
    *high = _mm_alignr_epi8(dchg, feba, 8);
}

INLINE struct lane lane_add(struct lane a, struct lane b)
{
    return (struct lane){_mm_add_epi32(a.abef, b.abef), _mm_add_epi32(a.cdgh, b.cdgh)};
}

/* 64 rounds on n streams, side by side; w[stream][4] holds the message and is used up. The feed-forward is
 * the caller's. */
INLINE void rounds(struct lane *s, __m128i w[][4], const int n)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m128i k = _mm_load_si128((const __m128i *)(const void *)(sha256_k + 4 * i));
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            __m128i *q = w[l];
            __m128i m = _mm_add_epi32(q[i & 3], k);
            s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, m);
            s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(m, 0x0e));
            if (i < 12) {
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(q[i & 3], q[(i + 1) & 3]),
                                            _mm_alignr_epi8(q[(i + 3) & 3], q[(i + 2) & 3], 4));
                q[i & 3] = _mm_sha256msg2_epu32(sum, q[(i + 3) & 3]);
            }
        }
    }
}

/* The rounds of that padding on n streams. */
INLINE void padding_rounds(struct lane *s, const int n)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m128i kw = _mm_load_si128((const __m128i *)(const void *)(sha256_padding_64 + 4 * i));
        __m128i high = _mm_shuffle_epi32(kw, 0x0e);
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, kw);
        }
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, high);
        }
    }
}

INLINE __m128i byte_swapped(const uint8_t *p)
{
    const __m128i order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), order);
}

SHANI void sha256_shani_compress(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    struct lane s = state_load(state);
    for (; count; count--, blocks += 64) {
        struct lane before = s;
        __m128i w[1][4] = {{byte_swapped(blocks), byte_swapped(blocks + 16), byte_swapped(blocks + 32),
                            byte_swapped(blocks + 48)}};
        rounds(&s, w, 1);
        s = lane_add(s, before);
    }
    __m128i low, high;
    state_words(&low, &high, s);
    _mm_storeu_si128((__m128i *)(void *)state, low);
    _mm_storeu_si128((__m128i *)(void *)(state + 4), high);
}

/* Four rows of four words to columns. */
INLINE void transpose(__m128i r[4])
{
    __m128i a = _mm_unpacklo_epi32(r[0], r[1]), b = _mm_unpackhi_epi32(r[0], r[1]);
    __m128i c = _mm_unpacklo_epi32(r[2], r[3]), d = _mm_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm_unpacklo_epi64(a, c);
    r[1] = _mm_unpackhi_epi64(a, c);
    r[2] = _mm_unpacklo_epi64(b, d);
    r[3] = _mm_unpackhi_epi64(b, d);
}

SHANI void sha256_shani_compress_lanes(uint32_t *state, const uint8_t *const *blocks)
{
    __m128i w[LANES][4], low[LANES], high[LANES];
    __m128i *words = (__m128i *)(void *)state; /* words[i]: word i of all lanes */
    struct lane s[LANES], before[LANES];
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i++) {
        low[i] = _mm_loadu_si128(words + i);
        high[i] = _mm_loadu_si128(words + i + 4);
    }
    transpose(low);
    transpose(high);
#pragma GCC unroll 4
    for (int l = 0; l < LANES; l++) {
        for (int i = 0; i < 4; i++) {
            w[l][i] = byte_swapped(blocks[l] + 16 * i);
        }
        before[l] = s[l] = state_of(low[l], high[l]);
    }
    rounds(s, w, LANES);
#pragma GCC unroll 4
    for (int l = 0; l < LANES; l++) {
        state_words(&low[l], &high[l], lane_add(s[l], before[l]));
    }
    transpose(low);
    transpose(high);
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i++) {
        _mm_storeu_si128(words + i, low[i]);
        _mm_storeu_si128(words + i + 4, high[i]);
    }
}

/* The second hash of n streams: s is the first hash, and becomes the state after 64 rounds, IV not added yet.
 */
INLINE void second_hash(struct lane *s, const int n)
{
    __m128i w[LANES][4];
    struct lane iv = state_load(sha256_iv);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        state_words(&w[l][0], &w[l][1], s[l]);
        w[l][2] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
        w[l][3] = _mm_set_epi32(256, 0, 0, 0);
        s[l] = iv;
    }
    rounds(s, w, n);
}

INLINE void double_64_lanes(uint8_t *out, const uint8_t *in, const int n)
{
    __m128i w[LANES][4];
    struct lane s[LANES], before[LANES], iv = state_load(sha256_iv);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        for (int i = 0; i < 4; i++) {
            w[l][i] = byte_swapped(in + 64 * l + 16 * i);
        }
        s[l] = iv;
    }
    rounds(s, w, n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        before[l] = s[l] = lane_add(s[l], iv);
    }
    padding_rounds(s, n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        s[l] = lane_add(s[l], before[l]);
    }
    second_hash(s, n);
    const __m128i order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        __m128i low, high;
        state_words(&low, &high, lane_add(s[l], iv));
        _mm_storeu_si128((__m128i *)(void *)(out + 32 * l), _mm_shuffle_epi8(low, order));
        _mm_storeu_si128((__m128i *)(void *)(out + 32 * l + 16), _mm_shuffle_epi8(high, order));
    }
}

SHANI void sha256_shani_double_64(uint8_t *out, const uint8_t *in, size_t count)
{
    for (; count >= LANES; count -= LANES, in += 64 * LANES, out += 32 * LANES) {
        double_64_lanes(out, in, LANES);
    }
    for (; count; count--, in += 64, out += 32) {
        double_64_lanes(out, in, 1);
    }
}

#endif
