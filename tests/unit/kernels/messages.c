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

#define MANY      150
#define MANY_MAX  700
#define MANY_LONG 20000

struct many { /* messages on their way into sha256d_many */
    const uint8_t *bytes;
    size_t count, given, lens[MANY], cuts[MANY][2];
    uint8_t hashes[MANY][32];
};

static bool next_message(void *context, struct sha256_message *out)
{
    struct many *m = context;
    if (m->given == m->count) {
        return false;
    }
    size_t i = m->given++, *cut = m->cuts[i];
    const uint8_t *at = m->bytes + i;
    *out = (struct sha256_message){
        {{at, cut[0]}, {at + cut[0], cut[1] - cut[0]}, {at + cut[1], m->lens[i] - cut[1]}}, m->hashes[i]};
    return true;
}

/* Every length up to some blocks, cut anywhere into three parts, a long one among them; as many as fill no
 * lane, some, all, and all several times. */
static void check_many(void)
{
    static uint8_t bytes[MANY + MANY_LONG];
    static struct many m;
    uint32_t random = 1;
    fill(bytes, sizeof bytes, 5);
    for (size_t count = 0; count <= MANY; count += count < 40 ? 1 : 55) {
        m.bytes = bytes;
        m.count = count;
        m.given = 0;
        memset(m.hashes, 0xee, sizeof m.hashes);
        for (size_t i = 0; i < count; i++) {
            random = random * 1664525 + 1013904223;
            m.lens[i] = i == 7 ? MANY_LONG : (random >> 8) % MANY_MAX;
            m.cuts[i][1] = m.lens[i] ? (random >> 5) % (m.lens[i] + 1) : 0;
            m.cuts[i][0] = m.cuts[i][1] ? (random >> 11) % (m.cuts[i][1] + 1) : 0;
        }
        sha256d_many(next_message, &m);
        for (size_t i = 0; i < count; i++) {
            uint8_t once[32], reference[32];
            SHA256(bytes + i, m.lens[i], once);
            SHA256(once, 32, reference);
            cr_assert_arr_eq(m.hashes[i], reference, 32, "message %zu of %zu, %zu bytes", i, count,
                             m.lens[i]);
        }
    }
    for (size_t len = 0; len < MANY_MAX; len++) { /* each length once, in company */
        m.given = 0;
        m.count = 33;
        for (size_t i = 0; i < m.count; i++) {
            m.lens[i] = (len + 17 * i) % MANY_MAX;
            m.cuts[i][0] = m.lens[i] < 4 ? m.lens[i] : 4;
            m.cuts[i][1] = m.lens[i];
        }
        sha256d_many(next_message, &m);
        uint8_t once[32], reference[32];
        SHA256(bytes, len, once);
        SHA256(once, 32, reference);
        cr_assert_arr_eq(m.hashes[0], reference, 32, "%zu bytes", len);
    }
}
Test(messages, many_at_once)
{
    for_each_kernel(check_many);
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
