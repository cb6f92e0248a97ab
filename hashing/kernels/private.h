/* What the kernels share: the constants of SHA-256, big-endian loads, and the exact check of a candidate. */
#ifndef QUARRY_HASHING_KERNELS_PRIVATE_H
#define QUARRY_HASHING_KERNELS_PRIVATE_H

#include <string.h>

#include "hashing/kernels/kernels.h"

extern const uint32_t sha256_k[64];
extern const uint32_t sha256_iv[8];
extern const struct sha256_kernel sha256_generic, sha256_shani;

static inline uint32_t load_be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

/* The most significant 32 bits of the target: a hash whose own are larger cannot be a hit. */
static inline uint32_t scan_threshold(const struct scan_job *job)
{
    uint32_t v;
    memcpy(&v, job->target + 28, 4);
    return v;
}

/* shani_scan.c; only on x86-64. */
uint64_t sha256_shani_scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                           size_t hits_max, size_t *found);

/* The whole truth about one nonce, by the generic code. */
bool scan_verify(const struct scan_job *job, uint32_t version_index, uint32_t nonce);

#endif
