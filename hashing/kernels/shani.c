/*
 * SHA-NI (x86-64). One compression at a time for messages; two streams side by side for 64-byte nodes and for
 * the nonce scan, since one stream leaves the SHA unit idle while it waits for its own last round.
 *
 * The scan starts from the midstate and looks at the last word of the second hash only; what passes is
 * checked whole by the generic code. Its shortcuts so far: midstate, no byte swaps, no store of the final
 * state.
 */
#include "hashing/kernels/private.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define SHANI  __attribute__((target("sha,sse4.1")))
#define INLINE SHANI __attribute__((always_inline)) static inline
#define LANES  2

static bool usable(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) {
        return false;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

struct lane { /* the state in the order that the instructions want */
    __m128i abef, cdgh;
};

INLINE struct lane state_load(const uint32_t state[8])
{
    __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b);
    return (struct lane){_mm_alignr_epi8(dcba, hgfe, 8), _mm_blend_epi16(hgfe, dcba, 0xf0)};
}

/* Words 0..3 and 4..7 of the state, lowest word in the lowest lane. */
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

/* 64 rounds on n streams; w[stream][4] holds the message and is used up. The feed-forward is the caller's. */
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

INLINE __m128i byte_swapped(const uint8_t *p)
{
    const __m128i order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), order);
}

SHANI static void compress(uint32_t state[8], const uint8_t *blocks, size_t count)
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
        w[l][0] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
        w[l][1] = w[l][2] = _mm_setzero_si128();
        w[l][3] = _mm_set_epi32(512, 0, 0, 0);
    }
    rounds(s, w, n);
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

SHANI static void double_64(uint8_t *out, const uint8_t *in, size_t count)
{
    for (; count >= LANES; count -= LANES, in += 64 * LANES, out += 32 * LANES) {
        double_64_lanes(out, in, LANES);
    }
    if (count) {
        double_64_lanes(out, in, 1);
    }
}

/* The last word of the hashes of two neighbouring nonces under one midstate. */
INLINE void last_words(uint32_t out[LANES], struct lane mid, __m128i tail, uint32_t nonce)
{
    __m128i w[LANES][4];
    struct lane s[LANES];
#pragma GCC unroll 4
    for (int l = 0; l < LANES; l++) {
        w[l][0] = _mm_insert_epi32(tail, (int)__builtin_bswap32(nonce + (uint32_t)l), 3);
        w[l][1] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
        w[l][2] = _mm_setzero_si128();
        w[l][3] = _mm_set_epi32(640, 0, 0, 0);
        s[l] = mid;
    }
    rounds(s, w, LANES);
#pragma GCC unroll 4
    for (int l = 0; l < LANES; l++) {
        s[l] = lane_add(s[l], mid);
    }
    second_hash(s, LANES);
#pragma GCC unroll 4
    for (int l = 0; l < LANES; l++) {
        out[l] = (uint32_t)_mm_cvtsi128_si32(s[l].cdgh) + sha256_iv[7];
    }
}

SHANI static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                           size_t hits_max, size_t *found)
{
    *found = 0;
    const uint32_t threshold = scan_threshold(job);
    const __m128i tail = _mm_set_epi32(0, (int)job->tail[2], (int)job->tail[1], (int)job->tail[0]);
    struct lane mid[SCAN_VERSIONS_MAX];
    for (uint32_t v = 0; v < job->version_count; v++) {
        mid[v] = state_load(job->midstate[v]);
    }
    uint64_t done = 0;
    while (done < count && *found + SCAN_VERSIONS_MAX * LANES <= hits_max) {
        uint32_t nonce = first + (uint32_t)done,
                 lanes = count - done < LANES ? (uint32_t)(count - done) : LANES;
        for (uint32_t v = 0; v < job->version_count; v++) {
            uint32_t last[LANES];
            last_words(last, mid[v], tail, nonce);
            for (uint32_t l = 0; l < lanes; l++) {
                if (__builtin_expect(__builtin_bswap32(last[l]) <= threshold, 0) &&
                    scan_verify(job, v, nonce + l)) {
                    hits[(*found)++] = (struct scan_hit){job->version[v], nonce + l};
                }
            }
        }
        done += lanes;
    }
    return done;
}

const struct sha256_kernel sha256_shani = {"sha-ni", usable, compress, double_64, scan};

#else

static bool usable(void)
{
    return false;
}
const struct sha256_kernel sha256_shani = {"sha-ni", usable, 0, 0, 0};

#endif
