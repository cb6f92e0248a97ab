/* Messages, double hashes, nodes and merkle roots of every kernel against OpenSSL. */
#include <criterion/criterion.h>
#include <openssl/sha.h>

#include "hashing/kernels/private.h"

static void fill(uint8_t *out, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (uint8_t)(seed >> 24);
    }
}

static void for_each_kernel(void (*check)(void))
{
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (sha256_kernel_ready(sha256_kernels[i]) && sha256_kernel_force(sha256_kernels[i]->name)) {
            check();
        }
    }
}

static void check_lengths(void)
{
    static uint8_t data[1200];
    fill(data, sizeof data, 7);
    for (size_t len = 0; len <= sizeof data; len++) {
        uint8_t ours[32], twice[32], reference[32], reference_twice[32];
        SHA256(data, len, reference);
        SHA256(reference, 32, reference_twice);
        sha256(ours, data, len);
        sha256d(twice, data, len);
        cr_assert_arr_eq(ours, reference, 32, "%zu bytes", len);
        cr_assert_arr_eq(twice, reference_twice, 32, "%zu bytes, twice", len);
        struct sha256_ctx ctx; /* the same in pieces */
        sha256_init(&ctx);
        for (size_t at = 0, piece = len % 67 + 1; at < len; at += piece) {
            sha256_update(&ctx, data + at, piece < len - at ? piece : len - at);
        }
        sha256_final(&ctx, ours);
        cr_assert_arr_eq(ours, reference, 32, "%zu bytes in pieces", len);
    }
}
Test(messages, lengths)
{
    for_each_kernel(check_lengths);
}

static void check_nodes(void)
{
    enum { MAX = 100 };
    static uint8_t in[MAX * 64], out[MAX * 32], reference[MAX * 32];
    fill(in, sizeof in, 3);
    for (size_t i = 0; i < MAX; i++) {
        uint8_t once[32];
        SHA256(in + 64 * i, 64, once);
        SHA256(once, 32, reference + 32 * i);
    }
    for (size_t count = 0; count <= MAX; count++) {
        memset(out, 0xee, sizeof out);
        sha256d_64(out, in, count);
        cr_assert_arr_eq(out, reference, 32 * count, "%zu nodes", count);
        cr_assert(count == MAX || out[32 * count] == 0xee);
    }
    sha256d_64(in, in, MAX); /* in place */
    cr_assert_arr_eq(in, reference, sizeof reference);
}
Test(messages, nodes)
{
    for_each_kernel(check_nodes);
}

static void check_roots(void)
{
    for (size_t count = 1; count <= 70; count++) {
        static uint8_t leaves[70 * 32], list[70 * 32 + 32];
        uint8_t root[32];
        bool mutated;
        fill(leaves, sizeof leaves, (uint32_t)count);
        memcpy(list, leaves, 32 * count);
        size_t n = count;
        for (; n > 1; n = (n + 1) / 2) { /* the definition */
            if (n % 2) {
                memcpy(list + 32 * n, list + 32 * (n - 1), 32);
            }
            for (size_t i = 0; i < (n + 1) / 2; i++) {
                uint8_t once[32];
                SHA256(list + 64 * i, 64, once);
                SHA256(once, 32, list + 32 * i);
            }
        }
        merkle_root(root, leaves, count, &mutated);
        cr_assert_arr_eq(root, list, 32, "%zu leaves", count);
        cr_assert_not(mutated);
    }
    uint8_t twins[3 * 32] = {1}, root[32];
    bool mutated;
    memcpy(twins + 64, twins + 32, 32); /* a b b: odd, so b is paired with itself, which is no mutation */
    merkle_root(root, twins, 3, &mutated);
    cr_assert_not(mutated);
    uint8_t four[4 * 32] = {1};
    merkle_root(root, four, 4, &mutated);
    cr_assert(mutated);
}
Test(messages, merkle_roots)
{
    for_each_kernel(check_roots);
}
