/* Which kernel is used: tested against fixed vectors when the program is loaded, the first that passes wins.
 */
#include "hashing/kernels/private.h"

#include <stdio.h>

const struct sha256_kernel *const sha256_kernels[] = {&sha256_shani, &sha256_generic, NULL};
static const struct sha256_kernel *in_use = &sha256_generic;
static char failed[128];

const struct sha256_kernel *sha256_kernel_in_use(void)
{
    return in_use;
}

const char *sha256_kernels_failed(void)
{
    return failed;
}

/* FIPS 180-4's two-block message; a 64-byte node; and Bitcoin's genesis header, found at its nonce and
 * nowhere near. */
bool sha256_self_test(const struct sha256_kernel *kernel)
{
    static const uint8_t message[128] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq\x80";
    static const uint32_t expected[8] = {0x248d6a61, 0xd20638b8, 0xe5c02693, 0x0c3e6039,
                                         0xa33ce459, 0x64ff2167, 0xf6ecedd4, 0x19db06c1};
    uint8_t padded[128];
    memcpy(padded, message, sizeof padded);
    padded[126] = 0x01; /* 448 bits */
    padded[127] = 0xc0;
    uint32_t state[8];
    memcpy(state, sha256_iv, 32);
    kernel->compress(state, padded, 2);
    if (memcmp(state, expected, 32) != 0) {
        return false;
    }
    uint8_t nodes[3 * 64], ours[3 * 32], reference[3 * 32];
    for (size_t i = 0; i < sizeof nodes; i++) {
        nodes[i] = (uint8_t)(i * 7 + 3);
    }
    kernel->double_64(ours, nodes, 3);
    sha256_generic.double_64(reference, nodes, 3);
    if (memcmp(ours, reference, sizeof ours) != 0) {
        return false;
    }
    static const uint8_t genesis[80] = {0x01, 0x00, 0x00, 0x00, [36] = 0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b,
                                        0x12, 0xb2, 0x7a, 0xc7, 0x2c,        0x3e, 0x67, 0x76, 0x8f, 0x61,
                                        0x7f, 0xc8, 0x1b, 0xc3, 0x88,        0x8a, 0x51, 0x32, 0x3a, 0x9f,
                                        0xb8, 0xaa, 0x4b, 0x1e, 0x5e,        0x4a, 0x29, 0xab, 0x5f, 0x49,
                                        0xff, 0xff, 0x00, 0x1d, 0x1d,        0xac, 0x2b, 0x7c};
    uint8_t target[32] = {[26] = 0xff, [27] = 0xff};
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    size_t found;
    const uint32_t version = 1;
    scan_prepare(&job, genesis, &version, 1, target);
    if (kernel->scan(&job, 2083236893u - 5, 11, hits, SCAN_HITS_MIN, &found) != 11) {
        return false;
    }
    return found == 1 && hits[0].nonce == 2083236893u && hits[0].version == 1;
}

bool sha256_kernel_force(const char *name)
{
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (strcmp(sha256_kernels[i]->name, name) == 0 && sha256_kernels[i]->usable() &&
            sha256_self_test(sha256_kernels[i])) {
            in_use = sha256_kernels[i];
            return true;
        }
    }
    return false;
}

__attribute__((constructor)) static void choose(void)
{
    for (size_t i = 0; sha256_kernels[i]; i++) {
        const struct sha256_kernel *kernel = sha256_kernels[i];
        if (!kernel->usable()) {
            continue;
        }
        if (sha256_self_test(kernel)) {
            in_use = kernel;
            return;
        }
        size_t used = strlen(failed);
        snprintf(failed + used, sizeof failed - used, "%s%s", used ? " " : "", kernel->name);
    }
}
