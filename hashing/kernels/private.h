/* What the kernels share: the constants of SHA-256, big-endian loads, and the exact check of a candidate. */
#ifndef QUARRY_HASHING_KERNELS_PRIVATE_H
#define QUARRY_HASHING_KERNELS_PRIVATE_H

#include <string.h>

#include "hashing/kernels/kernels.h"

extern const uint32_t sha256_k[64];
extern const uint32_t sha256_iv[8];
extern const uint32_t sha256_padding_64[64]; /* K + W of the padding that follows 64 bytes: all constant */
extern const struct sha256_kernel sha256_generic;
void sha256_generic_compress(uint32_t state[8], const uint8_t *blocks, size_t count);
void sha256_generic_double_64(uint8_t *out, const uint8_t *in, size_t count);
#if defined(__x86_64__)
extern const struct sha256_kernel sha256_shani_1, sha256_shani_2, sha256_shani_3, sha256_shani_4;
extern const struct sha256_kernel sha256_avx2, sha256_avx512;
void sha256_shani_compress(uint32_t state[8], const uint8_t *blocks, size_t count);
void sha256_shani_double_64(uint8_t *out, const uint8_t *in, size_t count);
void sha256_shani_compress_lanes(uint32_t *state, const uint8_t *const *blocks);
void sha256_avx2_double_64(uint8_t *out, const uint8_t *in, size_t count);
void sha256_avx2_compress_lanes(uint32_t *state, const uint8_t *const *blocks);
void sha256_avx512_double_64(uint8_t *out, const uint8_t *in, size_t count);
void sha256_avx512_compress_lanes(uint32_t *state, const uint8_t *const *blocks);
#elif defined(__aarch64__)
extern const struct sha256_kernel sha256_armv8;
#endif

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

/* cpu.c: does this CPU have it, and does the operating system keep its registers? */
bool cpu_has_shani(void);
bool cpu_has_avx2(void);
bool cpu_has_avx512(void); /* foundation and byte/word */
bool cpu_has_armv8(void);  /* the SHA2 extension */

/* Chosen when the program is loaded. */
extern void (*sha256_compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
extern void (*sha256_double_64)(uint8_t *out, const uint8_t *in, size_t count);
extern const struct sha256_kernel *sha256_many; /* has compress_lanes; NULL: none is ready */

/* The whole truth about one nonce, by the generic code: the hash's words, and whether it is a hit. */
void scan_hash(uint32_t out[8], const struct scan_job *job, uint32_t version_index, uint32_t nonce);
bool scan_verify(const struct scan_job *job, uint32_t version_index, uint32_t nonce);

#endif
