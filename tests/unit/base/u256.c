/* 256-bit numbers against a slow reference that works bit by bit. */
#include <criterion/criterion.h>

#include "core/base/base.h"

static struct u256 random_u256(struct rng *rng)
{
    struct u256 a = {{rng_next(rng), rng_next(rng), rng_next(rng), rng_next(rng)}};
    return u256_shr(a, (unsigned)rng_below(rng, 256));
}

static bool bit(struct u256 a, unsigned i)
{
    return a.limb[i / 64] >> (i % 64) & 1;
}

static struct u256 slow_add(struct u256 a, struct u256 b)
{
    struct u256 out = {0};
    unsigned carry = 0;
    for (unsigned i = 0; i < 256; i++) {
        unsigned sum = bit(a, i) + bit(b, i) + carry;
        out.limb[i / 64] |= (uint64_t)(sum & 1) << (i % 64);
        carry = sum >> 1;
    }
    return out;
}

static struct u256 slow_div(struct u256 a, struct u256 b)
{
    struct u256 quotient = {0}, rest = {0};
    for (unsigned i = 256; i-- > 0;) {
        bool high = bit(rest, 255);
        rest = slow_add(rest, rest);
        rest.limb[0] |= bit(a, i);
        if (high || u256_compare(rest, b) >= 0) {
            rest = u256_sub(rest, b);
            quotient.limb[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
    return quotient;
}

#define SAME(a, b) cr_assert(u256_compare(a, b) == 0)

Test(u256, against_bits)
{
    struct rng rng;
    rng_seed_u64(&rng, 256);
    for (int i = 0; i < 3000; i++) {
        struct u256 a = random_u256(&rng), b = random_u256(&rng);
        uint64_t small = rng_next(&rng) >> rng_below(&rng, 63), overflow;
        unsigned shift = (unsigned)rng_below(&rng, 256);
        SAME(u256_add(a, b), slow_add(a, b));
        SAME(u256_sub(slow_add(a, b), b), a);
        SAME(u256_add(u256_not(a), slow_add(a, u256_of(1))), u256_of(0));
        if (!u256_is_zero(b)) {
            SAME(u256_div(a, b), slow_div(a, b));
        }
        SAME(u256_div_u64(a, MAX(small, 1u)), slow_div(a, u256_of(MAX(small, 1u))));
        struct u256 product = u256_mul_u64(a, small, &overflow);
        if (!overflow && small) {
            SAME(slow_div(product, u256_of(small)), a);
            SAME(u256_mul_div(a, small, small), a);
        }
        struct u256 shifted = a;
        for (unsigned k = 0; k < shift; k++) {
            shifted = slow_add(shifted, shifted);
        }
        SAME(u256_shl(a, shift), shifted);
        struct u256 back = u256_shr(shifted, shift);
        for (unsigned k = 0; k < 256; k++) {
            cr_assert_eq(bit(back, k), k + shift < 256 && bit(a, k));
        }
        unsigned bits = u256_bits(a);
        cr_assert(bits == 0 ? u256_is_zero(a)
                            : bit(a, bits - 1) && u256_is_zero(u256_shr(u256_shr(a, bits - 1), 1)));
        uint8_t bytes[32];
        u256_to_le(bytes, a);
        SAME(u256_from_le(bytes), a);
    }
}

Test(u256, products_of_320_bits)
{
    struct u256 most = u256_not(u256_of(0));
    SAME(u256_mul_div(most, UINT64_MAX, UINT64_MAX), most);
    SAME(u256_mul_div(most, 3, 2), most); /* saturates */
    SAME(u256_mul_div(most, 1, 2), u256_shr(most, 1));
    SAME(u256_mul_div(u256_shl(u256_of(1), 255), 300, 600), u256_shl(u256_of(1), 254));
    SAME(u256_mul_div(u256_of(7), 10, 3), u256_of(23));
}
