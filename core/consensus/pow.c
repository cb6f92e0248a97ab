/* Proof of work: targets, work, and the retarget rules as pure functions. Which blocks they are applied to is
 * core/chain's business. */
#include "core/consensus/consensus.h"

bool pow_target(struct u256 *out, uint32_t bits)
{
    uint32_t size = bits >> 24, word = bits & 0x007fffff;
    if (bits & 0x00800000 || word == 0) {
        return false;
    }
    if (size <= 3) {
        word >>= 8 * (3 - size);
        *out = u256_of(word);
        return word != 0;
    }
    if (size > 34 || (word > 0xff && size > 33) || (word > 0xffff && size > 32)) {
        return false;
    }
    *out = u256_shl(u256_of(word), 8 * (size - 3));
    return true;
}

uint32_t pow_bits(struct u256 target)
{
    uint32_t size = (u256_bits(target) + 7) / 8;
    uint32_t word = size <= 3 ? (uint32_t)target.limb[0] << (8 * (3 - size))
                              : (uint32_t)u256_shr(target, 8 * (size - 3)).limb[0];
    if (word & 0x00800000) { /* the mantissa is signed: make room for its sign */
        word >>= 8;
        size++;
    }
    return word | size << 24;
}

struct u256 pow_work(uint32_t bits)
{
    struct u256 target;
    if (!pow_target(&target, bits)) {
        return u256_of(0);
    }
    /* 2^256 / (t + 1) = (2^256 - t - 1) / (t + 1) + 1, which fits in 256 bits. */
    return u256_add(u256_div(u256_not(target), u256_add(target, u256_of(1))), u256_of(1));
}

double pow_difficulty(uint32_t bits)
{
    struct u256 target;
    if (!pow_target(&target, bits)) {
        return 0;
    }
    return u256_double(u256_shl(u256_of(0xffff), 208)) / u256_double(target);
}

bool pow_check(const struct hash256 *hash, uint32_t bits, const struct chain_params *params)
{
    struct u256 target;
    return pow_target(&target, bits) && u256_compare(target, params->pow_limit) <= 0 &&
           u256_compare(u256_from_le(hash->b), target) <= 0;
}

uint32_t pow_retarget_2016(const struct chain_params *params, uint32_t base_bits, int64_t first_time,
                           int64_t last_time)
{
    int64_t timespan = params->timespan_s, actual = last_time - first_time;
    actual = MAX(actual, timespan / 4);
    actual = MIN(actual, timespan * 4);
    struct u256 target;
    if (!pow_target(&target, base_bits)) {
        return params->pow_limit_bits;
    }
    /* Bitcoin multiplies modulo 2^256; no target at or below the limit of these chains gets there. */
    target = u256_mul_div(target, (uint64_t)actual, (uint64_t)timespan);
    return u256_compare(target, params->pow_limit) > 0 ? params->pow_limit_bits : pow_bits(target);
}

uint32_t pow_retarget_cluster(const struct chain_params *params, uint32_t parent_bits, int64_t spacing_s)
{
    struct u256 target;
    if (!pow_target(&target, parent_bits)) {
        return params->pow_limit_bits;
    }
    uint64_t t = params->network.spacing_s, whole = params->network.window * t; /* N*T */
    uint64_t spacing = spacing_s < 0 ? 0 : (uint64_t)spacing_s;
    uint64_t scaled =
        MIN(whole - t + MIN(spacing, 2 * whole), 2 * whole); /* N*T + d - T, at most twice N*T */
    target = u256_mul_div(target, scaled, whole);
    if (u256_is_zero(target)) {
        target = u256_of(1);
    }
    return u256_compare(target, params->pow_limit) > 0 ? params->pow_limit_bits : pow_bits(target);
}
