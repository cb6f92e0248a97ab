/*
 * The nonce scan on SHA-NI, with every shortcut that an 80-byte header allows. Two shapes share the rounds:
 * plain (neighbouring nonces under one midstate) and rolling (one nonce under several midstates, whose
 * message schedule of the first hash is then done once for all: BIP320). One to four streams: a kernel each.
 *
 * What is never computed: rounds 0..3 of the first hash (done once with nonce 0, the nonce is then added to A
 * and E), the schedule where it is constant, the last three rounds of the second hash. The last word of a
 * hash is IV7 + E after round 60; who passes a mask test on it is checked whole by the generic code.
 *
 * Slots per hash (Zen 3; SHA unit 1 sha256rnds2 per cycle, four vector slots): 61 rnds2, 23 msg2 (about two
 * cycles of dispatch each), 19 msg1, about 114 simple ones; rolling with four midstates: 11/4 + 12 msg2,
 * 8/4 + 11 msg1. Latency of rnds2 is four cycles, so three or four streams run side by side.
 */
#include "hashing/kernels/scan.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SHANI  __attribute__((target("sha,sse4.1")))
#define INLINE SHANI __attribute__((always_inline)) static inline

struct lane {
    __m128i abef, cdgh;
};

struct midstate {      /* of one version */
    struct lane start; /* after the first 64 bytes */
    struct lane after; /* and after rounds 0..3 with nonce 0 */
};

struct tail {       /* what the last 16 bytes of the header make constant */
    __m128i q4;     /* W16, W17, and W18, W19 without the nonce */
    __m128i q5, q7; /* addends of W20..23 and W28..31 */
    __m128i kw[3];  /* K + W of rounds 4..15 */
};

static inline uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}
static inline uint32_t s0(uint32_t x)
{
    return rotr(x, 7) ^ rotr(x, 18) ^ x >> 3;
}

INLINE __m128i words(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
    return _mm_set_epi32((int)w3, (int)w2, (int)w1, (int)w0);
}

INLINE __m128i load(const uint32_t *p)
{
    return _mm_load_si128((const __m128i *)(const void *)p);
}

/* Four rounds of each of n streams. */
INLINE void quad(struct lane *s, const __m128i *kw, const int n)
{
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, kw[l]);
    }
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(kw[l], 0x0e));
    }
}

INLINE void quad_same(struct lane *s, __m128i kw, const int n)
{
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

INLINE __m128i next4(__m128i a, __m128i b, __m128i c, __m128i d)
{
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d);
}

/* Words 16..31 of the first hash, from the nonce word n. */
INLINE void first_words(__m128i q[4], const struct tail *tail, uint32_t n)
{
    q[0] = _mm_add_epi32(tail->q4, words(0, 0, s0(n), n));
    q[1] = _mm_sha256msg2_epu32(tail->q5, q[0]);
    q[2] = _mm_sha256msg2_epu32(_mm_alignr_epi8(q[1], q[0], 4), q[1]);
    q[3] = _mm_sha256msg2_epu32(_mm_add_epi32(tail->q7, _mm_alignr_epi8(q[2], q[1], 4)), q[2]);
}

INLINE struct lane with_nonce(const struct midstate *mid, uint32_t n)
{
    return (struct lane){_mm_add_epi32(mid->after.abef, words(0, n, 0, n)), mid->after.cdgh};
}

/* The second hash of n streams up to round 60; the low word of out[l] is E after it. */
INLINE void second(__m128i *out, struct lane *s, const __m128i *start_abef, const __m128i *start_cdgh,
                   const int n)
{
    __m128i w[4][4], kw[4];
    const __m128i iv_abef = words(0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667);
    const __m128i iv_cdgh = words(SCAN_IV7, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372);
    const __m128i q2 = words(0x80000000u, 0, 0, 0), q3 = words(0, 0, 0, 256);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        __m128i abef = _mm_shuffle_epi32(_mm_add_epi32(s[l].abef, start_abef[l]), 0x1b);
        __m128i cdgh = _mm_shuffle_epi32(_mm_add_epi32(s[l].cdgh, start_cdgh[l]), 0x1b);
        w[l][0] = _mm_unpacklo_epi64(abef, cdgh);
        w[l][1] = _mm_unpackhi_epi64(abef, cdgh);
        s[l] = (struct lane){iv_abef, iv_cdgh};
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            kw[l] = _mm_add_epi32(w[l][i], load(sha256_k + 4 * i));
        }
        quad(s, kw, n);
    }
    quad_same(s, load(scan_second_kw), n);
    quad_same(s, load(scan_second_kw + 4), n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) { /* words 16..31 */
        __m128i q4 = _mm_sha256msg2_epu32(_mm_sha256msg1_epu32(w[l][0], w[l][1]), q3);
        __m128i q5 = _mm_sha256msg2_epu32(
            _mm_add_epi32(_mm_sha256msg1_epu32(w[l][1], q2), _mm_alignr_epi8(q4, q3, 4)), q4);
        w[l][0] = q4;
        w[l][1] = q5;
    }
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        kw[l] = _mm_add_epi32(w[l][0], load(sha256_k + 16));
    }
    quad(s, kw, n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        kw[l] = _mm_add_epi32(w[l][1], load(sha256_k + 20));
        w[l][2] = _mm_sha256msg2_epu32(_mm_add_epi32(q2, _mm_alignr_epi8(w[l][1], w[l][0], 4)), w[l][1]);
    }
    quad(s, kw, n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        kw[l] = _mm_add_epi32(w[l][2], load(sha256_k + 24));
        w[l][3] = next4(q3, w[l][0], w[l][1], w[l][2]);
    }
    quad(s, kw, n);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        kw[l] = _mm_add_epi32(w[l][3], load(sha256_k + 28));
    }
    quad(s, kw, n);
#pragma GCC unroll 7
    for (int i = 8; i < 15; i++) {
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            __m128i *q = w[l];
            q[i & 3] = next4(q[i & 3], q[(i + 1) & 3], q[(i + 2) & 3], q[(i + 3) & 3]);
            kw[l] = _mm_add_epi32(q[i & 3], load(sha256_k + 4 * i));
        }
        quad(s, kw, n);
    }
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) { /* round 60 and a 61 that nobody looks at */
        __m128i *q = w[l];
        q[3] = next4(q[3], q[0], q[1], q[2]);
        out[l] = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, _mm_add_epi32(q[3], load(sha256_k + 60)));
    }
}

/* ---- One nonce under n midstates */

INLINE void rolling(__m128i *out, const struct midstate *mid, const struct tail *tail, uint32_t nonce,
                    const int n)
{
    struct lane s[4];
    __m128i q[4], start_abef[4], start_cdgh[4];
    uint32_t word = __builtin_bswap32(nonce);
    __m128i add = words(0, word, 0, word);
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        s[l] = (struct lane){_mm_add_epi32(mid[l].after.abef, add), mid[l].after.cdgh};
    }
    first_words(q, tail, word);
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        quad_same(s, tail->kw[i], n);
    }
#pragma GCC unroll 4
    for (int i = 4; i < 8; i++) {
        quad_same(s, _mm_add_epi32(q[i & 3], load(sha256_k + 4 * i)), n);
    }
#pragma GCC unroll 8
    for (int i = 8; i < 16; i++) {
        q[i & 3] = next4(q[i & 3], q[(i + 1) & 3], q[(i + 2) & 3], q[(i + 3) & 3]);
        quad_same(s, _mm_add_epi32(q[i & 3], load(sha256_k + 4 * i)), n);
    }
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        start_abef[l] = mid[l].start.abef;
        start_cdgh[l] = mid[l].start.cdgh;
    }
    second(out, s, start_abef, start_cdgh, n);
}

/* ---- n neighbouring nonces under one midstate */

INLINE void plain(__m128i *out, const struct midstate *mid, const struct tail *tail, uint32_t nonce,
                  const int n)
{
    struct lane s[4];
    __m128i q[4][4], kw[4], start_abef[4], start_cdgh[4];
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        uint32_t word = __builtin_bswap32(nonce + (uint32_t)l);
        s[l] = with_nonce(mid, word);
        first_words(q[l], tail, word);
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        quad_same(s, tail->kw[i], n);
    }
#pragma GCC unroll 4
    for (int i = 4; i < 8; i++) {
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            kw[l] = _mm_add_epi32(q[l][i & 3], load(sha256_k + 4 * i));
        }
        quad(s, kw, n);
    }
#pragma GCC unroll 8
    for (int i = 8; i < 16; i++) {
#pragma GCC unroll 4
        for (int l = 0; l < n; l++) {
            __m128i *w = q[l];
            w[i & 3] = next4(w[i & 3], w[(i + 1) & 3], w[(i + 2) & 3], w[(i + 3) & 3]);
            kw[l] = _mm_add_epi32(w[i & 3], load(sha256_k + 4 * i));
        }
        quad(s, kw, n);
    }
#pragma GCC unroll 4
    for (int l = 0; l < n; l++) {
        start_abef[l] = mid->start.abef;
        start_cdgh[l] = mid->start.cdgh;
    }
    second(out, s, start_abef, start_cdgh, n);
}

/* ---- The scan */

INLINE struct lane lane_of(const uint32_t state[8])
{
    return (struct lane){words(state[5], state[4], state[1], state[0]),
                         words(state[7], state[6], state[3], state[2])};
}

struct ready { /* struct scan_prepared in the instructions' order */
    struct midstate mid[SCAN_VERSIONS_MAX];
    struct tail tail;
};

SHANI static void make_ready(struct ready *out, const struct scan_prepared *p)
{
    const struct scan_tail *tail = &p->tail;
    for (uint32_t v = 0; v < p->job->version_count; v++) {
        out->mid[v] = (struct midstate){lane_of(p->mid[v].start), lane_of(p->mid[v].after)};
    }
    out->tail.q4 = words(tail->w16, tail->w17, tail->w18, tail->w19);
    out->tail.q5 = words(0x80000000u, 0, 640, tail->w16);
    out->tail.q7 = words(0, 0, tail->w30, tail->w31);
    for (int i = 0; i < 3; i++) {
        out->tail.kw[i] =
            words(tail->kw[4 + 4 * i], tail->kw[5 + 4 * i], tail->kw[6 + 4 * i], tail->kw[7 + 4 * i]);
    }
}

/* One bit per stream whose last word passes the mask. */
INLINE unsigned passing(const __m128i *e, __m128i mask, const int n)
{
    __m128i low = n > 1 ? _mm_unpacklo_epi32(e[0], e[1]) : e[0];
    __m128i high = n > 3 ? _mm_unpacklo_epi32(e[2], e[3]) : n > 2 ? e[2] : low;
    __m128i all = _mm_add_epi32(_mm_unpacklo_epi64(low, high), _mm_set1_epi32((int)SCAN_IV7));
    __m128i zero = _mm_cmpeq_epi32(_mm_and_si128(all, mask), _mm_setzero_si128());
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(zero)) & ((1u << n) - 1);
}

INLINE void scan_plain(const struct scan_prepared *p, const struct ready *r, uint32_t version, uint32_t first,
                       uint32_t count, struct scan_list *list, const int n)
{
    __m128i e[4], mask = _mm_set1_epi32((int)p->mask);
    for (uint32_t done = 0; done < count; done += (uint32_t)n) {
        plain(e, &r->mid[version], &r->tail, first + done, n);
        unsigned bits = passing(e, mask, n);
        for (; __builtin_expect(bits != 0, 0); bits &= bits - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(bits);
            if (done + l < count) {
                scan_candidate(list, p->job, version, first + done + l);
            }
        }
    }
}

INLINE void scan_rolling(const struct scan_prepared *p, const struct ready *r, uint32_t version,
                         uint32_t first, uint32_t count, struct scan_list *list, const int n)
{
    __m128i e[4], mask = _mm_set1_epi32((int)p->mask);
    for (uint32_t done = 0; done < count; done++) {
        rolling(e, &r->mid[version], &r->tail, first + done, n);
        unsigned bits = passing(e, mask, n);
        for (; __builtin_expect(bits != 0, 0); bits &= bits - 1) {
            scan_candidate(list, p->job, version + (uint32_t)__builtin_ctz(bits), first + done);
        }
    }
}

/* Versions in groups of n; what is left over, and a job without rolling, plain. */
INLINE void some(const struct scan_prepared *p, uint32_t first, uint32_t count, struct scan_list *list,
                 const int n)
{
    struct ready r;
    uint32_t v = 0, group = (uint32_t)n;
    make_ready(&r, p);
    for (; n > 1 && v + group <= p->job->version_count; v += group) {
        scan_rolling(p, &r, v, first, count, list, n);
    }
    for (; v < p->job->version_count; v++) {
        scan_plain(p, &r, v, first, count, list, n);
    }
}

/* The last words of n nonces under every version, by the same two shapes. */
INLINE void words_of_batch(const struct scan_job *job, uint32_t first, uint32_t *out, const int n)
{
    struct scan_prepared p;
    struct ready r;
    __m128i e[4];
    uint32_t v = 0, group = (uint32_t)n;
    scan_make_ready(&p, job);
    make_ready(&r, &p);
    for (; n > 1 && v + group <= job->version_count; v += group) {
        for (uint32_t i = 0; i < group; i++) {
            rolling(e, &r.mid[v], &r.tail, first + i, n);
            for (uint32_t l = 0; l < group; l++) {
                out[(v + l) * group + i] = (uint32_t)_mm_cvtsi128_si32(e[l]) + SCAN_IV7;
            }
        }
    }
    for (; v < job->version_count; v++) {
        plain(e, &r.mid[v], &r.tail, first, n);
        for (uint32_t l = 0; l < group; l++) {
            out[v * group + l] = (uint32_t)_mm_cvtsi128_si32(e[l]) + SCAN_IV7;
        }
    }
}

/* The kernel of each width. */
#define WIDTH(n)                                                                                             \
    SHANI static void some_##n(const struct scan_prepared *p, uint32_t first, uint32_t count,                \
                               struct scan_list *list)                                                       \
    {                                                                                                        \
        some(p, first, count, list, n);                                                                      \
    }                                                                                                        \
    static uint64_t scan_##n(const struct scan_job *job, uint32_t first, uint64_t count,                     \
                             struct scan_hit *hits, size_t hits_max, size_t *found)                          \
    {                                                                                                        \
        return scan_run(some_##n, job, first, count, hits, hits_max, found);                                 \
    }                                                                                                        \
    SHANI static void last_words_##n(const struct scan_job *job, uint32_t first, uint32_t *out)              \
    {                                                                                                        \
        words_of_batch(job, first, out, n);                                                                  \
    }                                                                                                        \
    const struct sha256_kernel sha256_shani_##n = {.name = "sha-ni-" #n,                                     \
                                                   .usable = cpu_has_shani,                                  \
                                                   .compress = sha256_shani_compress,                        \
                                                   .double_64 = sha256_shani_double_64,                      \
                                                   .lanes = 4,                                               \
                                                   .compress_lanes = sha256_shani_compress_lanes,            \
                                                   .scan = scan_##n,                                         \
                                                   .batch_nonces = n,                                        \
                                                   .last_words = last_words_##n};
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)

#endif
