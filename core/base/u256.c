/* hash256 as text, and u256: the few 256-bit operations that targets and chain work need. */
#include "core/base/base.h"

bool hash256_is_zero(const struct hash256 *h)
{
    static const struct hash256 zero;
    return hash256_equal(h, &zero);
}

static void reverse32(uint8_t out[32], const uint8_t in[32])
{
    for (size_t i = 0; i < 32; i++) {
        out[i] = in[31 - i];
    }
}

const char *hash256_text(char out[HASH256_TEXT], const struct hash256 *h)
{
    uint8_t reversed[32];
    reverse32(reversed, h->b);
    hex_encode(out, reversed, 32);
    return out;
}

bool hash256_parse(struct hash256 *out, const char *reversed_hex)
{
    uint8_t reversed[32];
    if (strlen(reversed_hex) != 64 || !hex_decode(reversed, 32, reversed_hex)) {
        return false;
    }
    reverse32(out->b, reversed);
    return true;
}

struct u256 u256_of(uint64_t v)
{
    return (struct u256){{v, 0, 0, 0}};
}

struct u256 u256_from_le(const uint8_t bytes[32])
{
    struct u256 a;
    memcpy(a.limb, bytes, 32);
    return a;
}

void u256_to_le(uint8_t out[32], struct u256 a)
{
    memcpy(out, a.limb, 32);
}

int u256_compare(struct u256 a, struct u256 b)
{
    for (int i = 3; i >= 0; i--) {
        if (a.limb[i] != b.limb[i]) {
            return a.limb[i] < b.limb[i] ? -1 : 1;
        }
    }
    return 0;
}

bool u256_is_zero(struct u256 a)
{
    return !(a.limb[0] | a.limb[1] | a.limb[2] | a.limb[3]);
}

unsigned u256_bits(struct u256 a)
{
    for (int i = 3; i >= 0; i--) {
        if (a.limb[i]) {
            return (unsigned)(i * 64 + 64 - __builtin_clzll(a.limb[i]));
        }
    }
    return 0;
}

struct u256 u256_add(struct u256 a, struct u256 b)
{
    unsigned __int128 sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += (unsigned __int128)a.limb[i] + b.limb[i];
        a.limb[i] = (uint64_t)sum;
        sum >>= 64;
    }
    return a;
}

struct u256 u256_not(struct u256 a)
{
    for (int i = 0; i < 4; i++) {
        a.limb[i] = ~a.limb[i];
    }
    return a;
}

struct u256 u256_sub(struct u256 a, struct u256 b)
{
    return u256_add(u256_add(a, u256_not(b)), u256_of(1));
}

struct u256 u256_shl(struct u256 a, unsigned bits)
{
    struct u256 r = {{0}};
    unsigned limbs = bits / 64, rest = bits % 64;
    for (unsigned i = limbs; i < 4; i++) {
        r.limb[i] = a.limb[i - limbs] << rest;
        if (rest && i > limbs) {
            r.limb[i] |= a.limb[i - limbs - 1] >> (64 - rest);
        }
    }
    return r;
}

struct u256 u256_shr(struct u256 a, unsigned bits)
{
    struct u256 r = {{0}};
    unsigned limbs = bits / 64, rest = bits % 64;
    for (unsigned i = 0; i + limbs < 4; i++) {
        r.limb[i] = a.limb[i + limbs] >> rest;
        if (rest && i + limbs + 1 < 4) {
            r.limb[i] |= a.limb[i + limbs + 1] << (64 - rest);
        }
    }
    return r;
}

struct u256 u256_mul_u64(struct u256 a, uint64_t b, uint64_t *overflow)
{
    unsigned __int128 carry = 0;
    for (int i = 0; i < 4; i++) {
        carry += (unsigned __int128)a.limb[i] * b;
        a.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (overflow) {
        *overflow = (uint64_t)carry;
    }
    return a;
}

/* (high * 2^256 + a) / b for a quotient that fits, i.e. high < b. */
static struct u256 divide(uint64_t high, struct u256 a, uint64_t b)
{
    CHECK(b != 0 && high < b);
    unsigned __int128 rest = high;
    for (int i = 3; i >= 0; i--) {
        rest = rest << 64 | a.limb[i];
        a.limb[i] = (uint64_t)(rest / b);
        rest %= b;
    }
    return a;
}

struct u256 u256_div_u64(struct u256 a, uint64_t b)
{
    return divide(0, a, b);
}

struct u256 u256_div(struct u256 a, struct u256 b)
{
    CHECK(!u256_is_zero(b));
    struct u256 quotient = {{0}};
    if (u256_compare(a, b) < 0) {
        return quotient;
    }
    unsigned shift = u256_bits(a) - u256_bits(b);
    struct u256 divisor = u256_shl(b, shift);
    for (unsigned i = shift + 1; i-- > 0;) {
        if (u256_compare(a, divisor) >= 0) {
            a = u256_sub(a, divisor);
            quotient.limb[i / 64] |= UINT64_C(1) << (i % 64);
        }
        divisor = u256_shr(divisor, 1);
    }
    return quotient;
}

struct u256 u256_mul_div(struct u256 a, uint64_t b, uint64_t c)
{
    uint64_t high;
    struct u256 low = u256_mul_u64(a, b, &high);
    if (high >= c) {
        return u256_not((struct u256){{0}});
    }
    return divide(high, low, c);
}

double u256_double(struct u256 a)
{
    double r = 0;
    for (int i = 3; i >= 0; i--) {
        r = r * 18446744073709551616.0 + (double)a.limb[i];
    }
    return r;
}
