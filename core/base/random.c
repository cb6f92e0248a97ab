/* SipHash-2-4 (Aumasson and Bernstein): under a table's key, and as a generator that counts under its seed.
 */
#include "core/base/base.h"

static inline uint64_t rotl(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

void rng_seed(struct rng *r, const uint8_t seed[32])
{
    memcpy(r->key, seed, sizeof r->key);
    memcpy(r->counter, seed + sizeof r->key, sizeof r->counter);
}

void rng_seed_u64(struct rng *r, uint64_t seed)
{
    uint64_t words[4];
    for (int i = 0; i < 4; i++) { /* splitmix64 */
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        words[i] = z ^ z >> 31;
    }
    rng_seed(r, (const uint8_t *)words);
}

uint64_t rng_next(struct rng *r)
{
    r->counter[0]++;
    return siphash_2_4(r->key, r->counter, sizeof r->counter);
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    CHECK(bound > 0);
    uint64_t reject =
        (UINT64_MAX - bound + 1) % bound; /* 2^64 mod bound: values below it would be too likely */
    uint64_t v;
    do {
        v = rng_next(r);
    } while (v < reject);
    return v % bound;
}

double rng_double(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t siphash_2_4(const uint64_t key[2], const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t m = load_le64(p);
        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    for (size_t i = 0; i < len; i++) {
        last |= (uint64_t)p[i] << (8 * i);
    }
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
