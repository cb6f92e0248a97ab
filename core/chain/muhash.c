/*
 * MuHash3072, the rolling hash of a set: the product, modulo p = 2^3072 - 1103717, of one number per element.
 * An element becomes its number by ChaCha20's keystream under the element's SHA-256. Order does not matter,
 * and an element is taken out again by division, which nobody here needs. As `gettxoutsetinfo muhash` prints
 * it.
 */
#include "core/chain/chain_private.h"

#include <openssl/evp.h>

#include "hashing/kernels/kernels.h"

#define PRIME_GAP UINT64_C(1103717)

void muhash_init(struct muhash *m)
{
    *m = (struct muhash){.limb = {1}};
}

static bool overflows(const uint64_t a[MUHASH_LIMBS])
{
    if (a[0] < UINT64_MAX - PRIME_GAP + 1) {
        return false;
    }
    for (size_t i = 1; i < MUHASH_LIMBS; i++) {
        if (a[i] != UINT64_MAX) {
            return false;
        }
    }
    return true;
}

/* Adds a small number; what leaves at the top comes back as PRIME_GAP, since 2^3072 = PRIME_GAP modulo p. */
static void add_small(uint64_t a[MUHASH_LIMBS], unsigned __int128 small)
{
    while (small) {
        unsigned __int128 carry = small;
        for (size_t i = 0; carry && i < MUHASH_LIMBS; i++) {
            carry += a[i];
            a[i] = (uint64_t)carry;
            carry >>= 64;
        }
        small = carry * PRIME_GAP;
    }
}

static void multiply(struct muhash *m, const uint64_t b[MUHASH_LIMBS])
{
    uint64_t product[2 * MUHASH_LIMBS] = {0};
    for (size_t i = 0; i < MUHASH_LIMBS; i++) {
        uint64_t carry = 0;
        for (size_t k = 0; k < MUHASH_LIMBS; k++) {
            unsigned __int128 sum = (unsigned __int128)m->limb[i] * b[k] + product[i + k] + carry;
            product[i + k] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        product[i + MUHASH_LIMBS] = carry;
    }
    unsigned __int128 sum = 0;
    for (size_t i = 0; i < MUHASH_LIMBS; i++) { /* low half + high half * PRIME_GAP */
        sum += (unsigned __int128)product[i + MUHASH_LIMBS] * PRIME_GAP + product[i];
        m->limb[i] = (uint64_t)sum;
        sum >>= 64;
    }
    add_small(m->limb, sum * PRIME_GAP);
}

void muhash_insert(struct muhash *m, struct span element)
{
    static const uint8_t zeros[MUHASH_LIMBS * 8], start[16];
    uint8_t key[32], stream[MUHASH_LIMBS * 8];
    uint64_t number[MUHASH_LIMBS];
    int len;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    sha256(key, element.data, element.len);
    CHECK(context && EVP_EncryptInit_ex(context, EVP_chacha20(), NULL, key, start) == 1 &&
          EVP_EncryptUpdate(context, stream, &len, zeros, sizeof zeros) == 1);
    EVP_CIPHER_CTX_free(context);
    memcpy(number, stream, sizeof number);
    multiply(m, number);
}

void muhash_final(struct hash256 *out, const struct muhash *m)
{
    struct muhash reduced = *m;
    if (overflows(reduced.limb)) { /* minus p: all limbs but the lowest were ones */
        reduced = (struct muhash){.limb = {m->limb[0] + PRIME_GAP}};
    }
    sha256(out->b, reduced.limb, sizeof reduced.limb);
}
