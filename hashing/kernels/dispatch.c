/* Which kernel is used: each one that the CPU has is tested against fixed vectors when the program is loaded;
 * for messages and nodes the first that passes is taken, for the nonce scan as well until somebody with a
 * clock has measured. */
#include "hashing/kernels/private.h"

#include <stdio.h>

const struct sha256_kernel *const sha256_kernels[] = {
#if defined(__x86_64__)
    &sha256_avx512,  &sha256_shani_4,
    &sha256_shani_3, &sha256_shani_2,
    &sha256_shani_1, &sha256_avx2,
#elif defined(__aarch64__)
    &sha256_armv8,
#endif
    &sha256_generic, NULL};

#define KERNELS_MAX 16
static const struct sha256_kernel *in_use = &sha256_generic; /* for the scan */
static bool ready[KERNELS_MAX];
static char failed[128];
void (*sha256_compress)(uint32_t state[8], const uint8_t *blocks, size_t count) = sha256_generic_compress;
void (*sha256_double_64)(uint8_t *out, const uint8_t *in, size_t count) = sha256_generic_double_64;
const struct sha256_kernel *sha256_many;

const struct sha256_kernel *sha256_kernel_in_use(void)
{
    return in_use;
}

const char *sha256_kernels_failed(void)
{
    return failed;
}

const struct sha256_kernel *sha256_kernel_find(const char *name)
{
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (strcmp(sha256_kernels[i]->name, name) == 0) {
            return sha256_kernels[i];
        }
    }
    return NULL;
}

bool sha256_kernel_ready(const struct sha256_kernel *kernel)
{
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (sha256_kernels[i] == kernel) {
            return ready[i];
        }
    }
    return false;
}

/* FIPS 180-4's two-block message. */
static bool compress_passes(const struct sha256_kernel *kernel)
{
    static const uint8_t message[128] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq\x80";
    static const uint32_t expected[8] = {0x248d6a61, 0xd20638b8, 0xe5c02693, 0x0c3e6039,
                                         0xa33ce459, 0x64ff2167, 0xf6ecedd4, 0x19db06c1};
    uint8_t padded[128];
    uint32_t state[8];
    memcpy(padded, message, sizeof padded);
    padded[126] = 0x01; /* 448 bits */
    padded[127] = 0xc0;
    memcpy(state, sha256_iv, 32);
    kernel->compress(state, padded, 2);
    return memcmp(state, expected, 32) == 0;
}

/* Another state and another block in every lane. */
static bool lanes_pass(const struct sha256_kernel *kernel)
{
    uint8_t bytes[SHA256_LANES_MAX * 64];
    const uint8_t *blocks[SHA256_LANES_MAX] = {0};
    uint32_t state[8 * SHA256_LANES_MAX], reference[SHA256_LANES_MAX][8], lanes = kernel->lanes;
    bool same = true;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 11 + i / 64 + 5);
    }
    for (uint32_t l = 0; l < lanes; l++) {
        blocks[l] = bytes + 64 * l;
        for (uint32_t i = 0; i < 8; i++) {
            reference[l][i] = state[i * lanes + l] = sha256_iv[i] + l;
        }
        sha256_generic_compress(reference[l], blocks[l], 1);
    }
    kernel->compress_lanes(state, blocks);
    for (uint32_t l = 0; l < lanes; l++) {
        for (uint32_t i = 0; i < 8; i++) {
            same &= state[i * lanes + l] == reference[l][i];
        }
    }
    return same;
}

/* As many nodes as fill every lane and leave some over. */
static bool nodes_pass(const struct sha256_kernel *kernel)
{
    enum { NODES = 37 };
    uint8_t nodes[NODES * 64], ours[NODES * 32], reference[NODES * 32];
    for (size_t i = 0; i < sizeof nodes; i++) {
        nodes[i] = (uint8_t)(i * 7 + i / 64 + 3);
    }
    kernel->double_64(ours, nodes, NODES);
    sha256_generic.double_64(reference, nodes, NODES);
    return memcmp(ours, reference, sizeof ours) == 0;
}

/* Bitcoin's genesis header: found at its nonce, under each version that is it, and nowhere near; and the last
 * word of every lane, which shows what a scan without a hit cannot. */
static bool scan_passes(const struct sha256_kernel *kernel)
{
    static const uint8_t genesis[80] = {0x01, 0x00, 0x00, 0x00, [36] = 0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b,
                                        0x12, 0xb2, 0x7a, 0xc7, 0x2c,        0x3e, 0x67, 0x76, 0x8f, 0x61,
                                        0x7f, 0xc8, 0x1b, 0xc3, 0x88,        0x8a, 0x51, 0x32, 0x3a, 0x9f,
                                        0xb8, 0xaa, 0x4b, 0x1e, 0x5e,        0x4a, 0x29, 0xab, 0x5f, 0x49,
                                        0xff, 0xff, 0x00, 0x1d, 0x1d,        0xac, 0x2b, 0x7c};
    static const uint32_t versions[5] = {1, 2, 3, 4, 5}; /* a group of four and one by itself */
    enum { GENESIS_NONCE = 2083236893 };
    const uint8_t target[32] = {[26] = 0xff, [27] = 0xff};
    uint32_t words[5 * SCAN_BATCH_MAX], reference[8];
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    for (uint32_t count = 1; count <= 5; count += 4) {
        scan_prepare(&job, genesis, versions, count, target);
        if (kernel->scan(&job, GENESIS_NONCE - 50, 100, hits, SCAN_HITS_MIN, &found) != 100 || found != 1 ||
            hits[0].nonce != GENESIS_NONCE || hits[0].version != 1) {
            return false;
        }
        kernel->last_words(&job, GENESIS_NONCE, words);
        for (uint32_t v = 0; v < count; v++) {
            for (uint32_t i = 0; i < kernel->batch_nonces; i++) {
                scan_hash(reference, &job, v, GENESIS_NONCE + i);
                if (words[v * kernel->batch_nonces + i] != reference[7]) {
                    return false;
                }
            }
        }
    }
    return true;
}

bool sha256_self_test(const struct sha256_kernel *kernel)
{
    return (!kernel->compress || compress_passes(kernel)) && (!kernel->double_64 || nodes_pass(kernel)) &&
           (!kernel->compress_lanes || lanes_pass(kernel)) && (!kernel->scan || scan_passes(kernel));
}

bool sha256_kernel_force(const char *name)
{
    const struct sha256_kernel *kernel = sha256_kernel_find(name);
    if (!kernel || !sha256_kernel_ready(kernel)) {
        return false;
    }
    in_use = kernel->scan ? kernel : in_use;
    sha256_compress = kernel->compress ? kernel->compress : sha256_compress;
    sha256_double_64 = kernel->double_64 ? kernel->double_64 : sha256_double_64;
    sha256_many = kernel->compress_lanes ? kernel : sha256_many;
    return true;
}

__attribute__((constructor)) static void choose(void)
{
    const struct sha256_kernel *scan = NULL, *compress = NULL, *nodes = NULL;
    for (size_t i = 0; sha256_kernels[i]; i++) {
        const struct sha256_kernel *kernel = sha256_kernels[i];
        if (!kernel->usable()) {
            continue;
        }
        ready[i] = sha256_self_test(kernel);
        if (!ready[i]) {
            size_t used = strlen(failed);
            snprintf(failed + used, sizeof failed - used, "%s%s", used ? " " : "", kernel->name);
            continue;
        }
        scan = scan || !kernel->scan ? scan : kernel;
        compress = compress || !kernel->compress ? compress : kernel;
        nodes = nodes || !kernel->double_64 ? nodes : kernel;
        sha256_many = sha256_many || !kernel->compress_lanes ? sha256_many : kernel;
    }
    /* Should even the generic one fail (a miscompiled build), it stays: the log names it. */
    in_use = scan ? scan : in_use;
    sha256_compress = compress ? compress->compress : sha256_compress;
    sha256_double_64 = nodes ? nodes->double_64 : sha256_double_64;
}
