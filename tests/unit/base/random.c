/* SipHash against its authors' example, and the generator that is made of it. */
#include <criterion/criterion.h>

#include "core/base/base.h"

Test(siphash, as_its_paper_has_it)
{
    uint8_t bytes[16];
    uint64_t key[2];
    for (uint8_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = i;
    }
    memcpy(key, bytes, sizeof key);
    cr_assert_eq(siphash_2_4(key, bytes, 15), UINT64_C(0xa129ca6149be45e5));
    cr_assert_eq(siphash_2_4(key, bytes, 0), UINT64_C(0x726fdb47dd0e0e31));
}

Test(rng, a_seed_gives_its_own_numbers)
{
    uint8_t seed[32] = {0};
    struct rng a, b;
    for (size_t byte = 0; byte <= sizeof seed; byte++) {
        bool same = true;
        rng_seed(&a, seed);
        if (byte < sizeof seed) { /* each byte of it counts */
            seed[byte] = 1;
        }
        rng_seed(&b, seed);
        for (int i = 0; i < 3; i++) {
            same &= rng_next(&a) == rng_next(&b);
        }
        cr_assert_eq(same, byte == sizeof seed, "byte %zu", byte);
    }
}

Test(rng, stays_below_its_bound)
{
    struct rng rng;
    unsigned seen[10] = {0};
    rng_seed_u64(&rng, 6);
    for (int i = 0; i < 10000; i++) {
        uint64_t v = rng_below(&rng, 10);
        double d = rng_double(&rng);
        cr_assert_lt(v, 10);
        cr_assert(d >= 0 && d < 1);
        seen[v]++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(seen); i++) {
        cr_assert(seen[i] > 850 && seen[i] < 1150, "%zu: %u", i, seen[i]);
    }
}
