/* The self-test catches one wrong round constant, whichever it is. */
#include <criterion/criterion.h>

#include "tests/unit/kernels/planted.h"

uint32_t planted_k[64] __attribute__((aligned(64)));

static void expect_all_caught(const struct sha256_kernel *kernel)
{
    if (!kernel->usable()) {
        cr_skip_test("this CPU has no %s", kernel->name);
    }
    memcpy(planted_k, sha256_k, sizeof planted_k);
    cr_assert(sha256_self_test(kernel), "%s without a fault", kernel->name);
    for (int t = 4; t < 64; t++) {
        if (t >= 8 && t < 16) {
            continue; /* these rounds have constant words: K is in scan.c's tables */
        }
        for (int bit = 0; bit < 32; bit += 31) {
            planted_k[t] ^= UINT32_C(1) << bit;
            cr_expect_not(sha256_self_test(kernel), "%s: constant %d, bit %d", kernel->name, t, bit);
            planted_k[t] ^= UINT32_C(1) << bit;
        }
    }
}

#if defined(__x86_64__)
Test(self_test, avx2)
{
    expect_all_caught(&planted_avx2);
}
Test(self_test, avx512)
{
    expect_all_caught(&planted_avx512);
}
Test(self_test, shani)
{
    expect_all_caught(&planted_shani_1);
    expect_all_caught(&planted_shani_2);
    expect_all_caught(&planted_shani_3);
    expect_all_caught(&planted_shani_4);
}
#endif

static void wrong_compress(uint32_t out[8], const uint8_t *blocks, size_t count)
{
    sha256_generic.compress(out, blocks, count);
    out[3] ^= 0x10;
}
static void wrong_node(uint8_t *out, const uint8_t *in, size_t count)
{
    sha256_generic.double_64(out, in, count);
    out[32 * count - 1] ^= 1; /* only the last of a batch */
}

static void wrong_lane(uint32_t *state, const uint8_t *const *blocks)
{
    (void)blocks;
    state[7] ^= 4; /* one lane of one word */
}

Test(self_test, messages_and_nodes)
{
    struct sha256_kernel kernel = sha256_generic;
    cr_assert(sha256_self_test(&kernel));
    kernel.compress = wrong_compress;
    cr_assert_not(sha256_self_test(&kernel));
    kernel = sha256_generic;
    kernel.double_64 = wrong_node;
    cr_assert_not(sha256_self_test(&kernel));
    kernel = sha256_generic;
    kernel.lanes = 4;
    kernel.compress_lanes = wrong_lane;
    cr_assert_not(sha256_self_test(&kernel));
}

Test(self_test, forcing)
{
    cr_assert_str_eq(sha256_kernels_failed(), "");
    cr_assert(sha256_kernel_force("generic"));
    cr_assert_eq(sha256_kernel_in_use(), &sha256_generic);
    cr_assert_not(sha256_kernel_force("no-such-kernel"));
    cr_assert_null(sha256_kernel_find("no-such-kernel"));
}
