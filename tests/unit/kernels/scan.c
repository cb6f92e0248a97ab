/* The nonce scan: every lane of every kernel, real blocks, ranges, many hits, and a self-test that is worth
 * its name. */
#include <criterion/criterion.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "hashing/kernels/scan.h"

#if defined(__SANITIZE_ADDRESS__)
#define LANES_TOTAL 100000u
#else
#define LANES_TOTAL 1000000u
#endif
#define SEED UINT64_C(0x5eed2009)

static uint64_t state = SEED;

static uint64_t next_random(void) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void random_bytes(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)next_random();
    }
}

static void random_job(struct scan_job *job, uint8_t header[80], uint32_t versions)
{
    uint32_t version[SCAN_VERSIONS_MAX];
    uint8_t target[32] = {0};
    random_bytes(header, 80);
    random_bytes((uint8_t *)version, sizeof version);
    scan_prepare(job, header, version, versions, target);
}

static size_t ready_kernels(const struct sha256_kernel **out)
{
    size_t count = 0;
    for (size_t i = 0; sha256_kernels[i]; i++) {
        if (sha256_kernels[i]->scan && sha256_kernel_ready(sha256_kernels[i])) {
            out[count++] = sha256_kernels[i];
        }
    }
    return count;
}

Test(scan, reference_is_openssl)
{
    for (int i = 0; i < 1000; i++) {
        struct scan_job job;
        uint8_t header[80], once[32], twice[32], ours[32];
        uint32_t hash[8], nonce = (uint32_t)next_random();
        random_job(&job, header, 1);
        memcpy(header, job.version, 4);
        memcpy(header + 76, &nonce, 4);
        SHA256(header, 80, once);
        SHA256(once, 32, twice);
        scan_hash(hash, &job, 0, nonce);
        for (int w = 0; w < 8; w++) {
            store_be32(ours + 4 * w, hash[w]);
        }
        cr_assert_arr_eq(ours, twice, 32);
    }
}

Test(scan, every_lane_of_every_kernel)
{
    const struct sha256_kernel *kernels[16];
    size_t count = ready_kernels(kernels);
    printf("seed %#llx, %zu kernels\n", (unsigned long long)SEED, count);
    for (size_t k = 0; k < count; k++) {
        uint32_t words[SCAN_VERSIONS_MAX * SCAN_BATCH_MAX], hash[8], versions = 0;
        cr_assert_leq(kernels[k]->batch_nonces, SCAN_BATCH_MAX);
        for (size_t lanes = 0; lanes < LANES_TOTAL / count;) {
            struct scan_job job;
            uint8_t header[80];
            uint32_t first = (uint32_t)next_random();
            versions = versions % SCAN_VERSIONS_MAX + 1;
            random_job(&job, header, versions);
            kernels[k]->last_words(&job, first, words);
            for (uint32_t i = 0; i < versions * kernels[k]->batch_nonces; i++, lanes++) {
                uint32_t nonce = first + i % kernels[k]->batch_nonces;
                scan_hash(hash, &job, i / kernels[k]->batch_nonces, nonce);
                cr_assert_eq(words[i], hash[7], "%s: lane %u of nonce %u", kernels[k]->name, i, first);
            }
        }
    }
}

/* Mainnet's first blocks: each one's nonce is the only hit around. */
Test(scan, real_blocks)
{
    const char *folder = getenv("QUARRY_VECTORS") ? getenv("QUARRY_VECTORS") : QUARRY_VECTORS_DEFAULT;
    char path[512];
    snprintf(path, sizeof path, "%s/mainnet_blocks_1_255.dat", folder);
    FILE *file = fopen(path, "rb");
    if (!file) {
        cr_skip_test("no %s", path);
    }
    const struct sha256_kernel *kernels[16];
    size_t count = ready_kernels(kernels), blocks = 0;
    uint8_t head[88];
    while (fread(head, sizeof head, 1, file) == 1) {
        uint32_t len, nonce, versions[5] = {0};
        const uint8_t *header = head + 8;
        const uint8_t target[32] = {[26] = 0xff, [27] = 0xff};
        memcpy(&len, head + 4, 4);
        memcpy(&nonce, header + 76, 4);
        for (uint32_t i = 0; i < 5; i++) {
            versions[i] = 1 + (i + 3) % 5; /* the true one is third */
        }
        for (size_t k = 0; k < count; k++) {
            for (uint32_t n = 1; n <= 5; n += 4) {
                struct scan_job job;
                struct scan_hit hits[SCAN_HITS_MIN];
                size_t found;
                scan_prepare(&job, header, n == 1 ? &versions[2] : versions, n, target);
                uint64_t done =
                    scan_nonces_with(kernels[k], &job, nonce - 40, 80, hits, SCAN_HITS_MIN, &found);
                cr_assert_eq(done, 80);
                cr_assert_eq(found, 1, "%s: block %zu", kernels[k]->name, blocks + 1);
                cr_assert_eq(hits[0].nonce, nonce);
                cr_assert_eq(hits[0].version, 1);
            }
        }
        blocks++;
        cr_assert_eq(fseek(file, (long)len - 80, SEEK_CUR), 0);
    }
    fclose(file);
    cr_assert_eq(blocks, 255);
}

/* An easy target, every range length up to a few batches, against the generic kernel: first nonce, last
 * nonce, several in one batch, nothing outside. */
Test(scan, ranges_and_many_hits)
{
    const struct sha256_kernel *kernels[16];
    size_t count = ready_kernels(kernels);
    uint8_t target[32];
    memset(target, 0xff, sizeof target);
    target[31] = 0x3f; /* every fourth */
    for (uint32_t round = 0; round < 140; round++) {
        uint8_t header[80];
        uint32_t versions[SCAN_VERSIONS_MAX], n = 1 + round % SCAN_VERSIONS_MAX,
                                              first = (uint32_t)next_random();
        uint32_t length = round % 70 + 1;
        struct scan_job job;
        static struct scan_hit expected[4096], hits[4096];
        size_t expected_count, found;
        random_bytes(header, sizeof header);
        random_bytes((uint8_t *)versions, sizeof versions);
        first = round % 7 == 0 ? 0u - length : first; /* the end of the nonces */
        scan_prepare(&job, header, versions, n, target);
        uint64_t done =
            scan_nonces_with(&sha256_generic, &job, first, length, expected, 4096, &expected_count);
        cr_assert_eq(done, length < UINT64_C(0x100000000) - first ? length : UINT64_C(0x100000000) - first);
        for (size_t k = 0; k < count; k++) {
            cr_assert_eq(scan_nonces_with(kernels[k], &job, first, length, hits, 4096, &found), done);
            cr_assert_eq(found, expected_count, "%s: %zu hits, %zu expected", kernels[k]->name, found,
                         expected_count);
            for (size_t i = 0; i < found; i++) { /* the order is the kernel's */
                bool known = false;
                for (size_t j = 0; j < expected_count; j++) {
                    known |= memcmp(&hits[i], &expected[j], sizeof *hits) == 0;
                }
                cr_assert(known);
            }
        }
    }
}

/* When the hits have no room the scan stops before the nonce that does not fit, and goes on from there. */
Test(scan, little_room_for_hits)
{
    const struct sha256_kernel *kernels[16];
    size_t count = ready_kernels(kernels);
    uint8_t target[32];
    memset(target, 0xff, sizeof target); /* all are hits */
    for (size_t k = 0; k < count; k++) {
        for (uint32_t n = 1; n <= SCAN_VERSIONS_MAX; n++) {
            uint8_t header[80] = {0};
            uint32_t versions[SCAN_VERSIONS_MAX] = {0, 1, 2, 3, 4, 5, 6, 7};
            struct scan_job job;
            struct scan_hit hits[SCAN_HITS_MIN];
            scan_prepare(&job, header, versions, n, target);
            uint64_t total = 0;
            while (total < 500) {
                size_t found;
                uint64_t done = scan_nonces_with(kernels[k], &job, (uint32_t)total, 500 - total, hits,
                                                 SCAN_HITS_MIN, &found);
                cr_assert_gt(done, 0);
                cr_assert_eq(found, done * n, "%s: %u versions", kernels[k]->name, n);
                total += done;
            }
        }
    }
}

Test(scan, ends_at_two_to_the_32)
{
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    uint8_t header[80];
    size_t found;
    random_job(&job, header, 2);
    const struct sha256_kernel *kernels[16];
    size_t count = ready_kernels(kernels);
    for (size_t k = 0; k < count; k++) {
        cr_assert_eq(scan_nonces_with(kernels[k], &job, 0xffffff00u, 100000, hits, SCAN_HITS_MIN, &found),
                     256);
        cr_assert_eq(found, 0);
    }
}

static int64_t ticking_ns(void)
{
    static int64_t now;
    return now += 1000000;
}

Test(scan, measurement_names_a_ready_kernel)
{
    struct sha256_measured results[16];
    size_t count;
    const struct sha256_kernel *best = sha256_kernel_measure(4, 2, ticking_ns, results, 16, &count);
    cr_assert(sha256_kernel_ready(best));
    cr_assert_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        cr_assert_gt(results[i].ns_per_hash, 0);
    }
}
