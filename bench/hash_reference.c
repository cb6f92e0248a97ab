/*
 * The reference: a nonce scan of the shape that public CPU miners have on SHA-NI. Two nonces side by side,
 * the midstate and the first four rounds once per job; but the second hash is a whole SHA-256 of 32 bytes,
 * all 64 rounds and the schedule with its zeros, and the 32-byte result is stored before its last word is
 * looked at. Here to be compared with, never to mine.
 */
#include "bench/hash.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SHANI  __attribute__((target("sha,sse4.1")))
#define INLINE SHANI __attribute__((always_inline)) static inline
#define WAYS   2
#define EACH   for (int l = 0; l < WAYS; l++)

static const uint32_t k[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

struct state {
    __m128i abef, cdgh;
};

INLINE __m128i words(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
    return _mm_set_epi32((int)w3, (int)w2, (int)w1, (int)w0);
}

INLINE struct state state_of(const uint32_t s[8])
{
    return (struct state){words(s[5], s[4], s[1], s[0]), words(s[7], s[6], s[3], s[2])};
}

/* Rounds from..63 on both streams; the schedule is the general one. */
INLINE void rounds(struct state *s, __m128i w[WAYS][4], const int from)
{
#pragma GCC unroll 16
    for (int i = from / 4; i < 16; i++) {
        __m128i constants = _mm_load_si128((const __m128i *)(const void *)(k + 4 * i));
#pragma GCC unroll 2
        EACH
        {
            __m128i *q = w[l];
            if (i >= 4) {
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(q[i & 3], q[(i + 1) & 3]),
                                            _mm_alignr_epi8(q[(i + 3) & 3], q[(i + 2) & 3], 4));
                q[i & 3] = _mm_sha256msg2_epu32(sum, q[(i + 3) & 3]);
            }
            __m128i kw = _mm_add_epi32(q[i & 3], constants);
            s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, kw);
            s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(kw, 0x0e));
        }
    }
}

SHANI static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                           size_t hits_max, size_t *found)
{
    struct state start = state_of(job->midstate[0]), after = start, fresh = state_of(iv);
    __m128i kw = words(job->tail[0] + k[0], job->tail[1] + k[1], job->tail[2] + k[2], k[3]);
    after.cdgh = _mm_sha256rnds2_epu32(after.cdgh, after.abef, kw);
    after.abef = _mm_sha256rnds2_epu32(after.abef, after.cdgh, _mm_shuffle_epi32(kw, 0x0e));
    *found = 0;
    for (uint64_t done = 0; done < count; done += WAYS) {
        struct state s[WAYS];
        __m128i w[WAYS][4];
        uint32_t hash[WAYS][8] __attribute__((aligned(16)));
#pragma GCC unroll 2
        EACH
        {
            uint32_t n = __builtin_bswap32(first + (uint32_t)done + (uint32_t)l);
            s[l] = (struct state){_mm_add_epi32(after.abef, words(0, n, 0, n)), after.cdgh};
            w[l][0] = words(job->tail[0], job->tail[1], job->tail[2], n);
            w[l][1] = words(0x80000000u, 0, 0, 0);
            w[l][2] = _mm_setzero_si128();
            w[l][3] = words(0, 0, 0, 640);
        }
        rounds(s, w, 4);
#pragma GCC unroll 2
        EACH
        {
            __m128i abef = _mm_shuffle_epi32(_mm_add_epi32(s[l].abef, start.abef), 0x1b);
            __m128i cdgh = _mm_shuffle_epi32(_mm_add_epi32(s[l].cdgh, start.cdgh), 0x1b);
            w[l][0] = _mm_unpacklo_epi64(abef, cdgh);
            w[l][1] = _mm_unpackhi_epi64(abef, cdgh);
            w[l][2] = words(0x80000000u, 0, 0, 0);
            w[l][3] = words(0, 0, 0, 256);
            s[l] = fresh;
        }
        rounds(s, w, 0);
#pragma GCC unroll 2
        EACH
        {
            __m128i abef = _mm_shuffle_epi32(_mm_add_epi32(s[l].abef, fresh.abef), 0x1b);
            __m128i cdgh = _mm_shuffle_epi32(_mm_add_epi32(s[l].cdgh, fresh.cdgh), 0x1b);
            _mm_store_si128((__m128i *)(void *)hash[l], _mm_unpacklo_epi64(abef, cdgh));
            _mm_store_si128((__m128i *)(void *)(hash[l] + 4), _mm_unpackhi_epi64(abef, cdgh));
        }
        EACH
        {
            __asm__ volatile("" ::"m"(hash[l])); /* all of it is stored, as the public ones do */
            if (hash[l][7] == 0 && done + (uint64_t)l < count && *found < hits_max) {
                hits[(*found)++] = (struct scan_hit){job->version[0], first + (uint32_t)done + (uint32_t)l};
            }
        }
    }
    return count;
}

static const struct sha256_kernel reference = {.name = "reference-2-way", .scan = scan};

/* Is it a miner at all? It must find the nonce of Bitcoin's genesis block. */
static bool finds_genesis(void)
{
    static const uint8_t header[80] = {0x01, 0x00, 0x00, 0x00, [36] = 0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b,
                                       0x12, 0xb2, 0x7a, 0xc7, 0x2c,        0x3e, 0x67, 0x76, 0x8f, 0x61,
                                       0x7f, 0xc8, 0x1b, 0xc3, 0x88,        0x8a, 0x51, 0x32, 0x3a, 0x9f,
                                       0xb8, 0xaa, 0x4b, 0x1e, 0x5e,        0x4a, 0x29, 0xab, 0x5f, 0x49,
                                       0xff, 0xff, 0x00, 0x1d, 0x1d,        0xac, 0x2b, 0x7c};
    const uint8_t target[32] = {[26] = 0xff, [27] = 0xff};
    const uint32_t version = 1;
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    scan_prepare(&job, header, &version, 1, target);
    scan(&job, 2083236893u - 5, 11, hits, SCAN_HITS_MIN, &found);
    return found == 1 && hits[0].nonce == 2083236893u;
}

const struct sha256_kernel *hash_reference(void)
{
    const struct sha256_kernel *shani = sha256_kernel_find("sha-ni-1");
    return shani && shani->usable() && finds_genesis() ? &reference : NULL;
}

#else
const struct sha256_kernel *hash_reference(void)
{
    return NULL;
}
#endif
