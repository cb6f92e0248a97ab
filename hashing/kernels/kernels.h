/*
 * hashing/kernels: SHA-256 and everything made of it, as pure functions.
 *
 * Messages, double SHA-256, 64-byte nodes in bulk, merkle roots, and the nonce scan that mining is. Several
 * kernels (generic C, SHA-NI) stand behind one interface; at program start each one that the CPU can run is
 * tested against fixed vectors and the best one that passes is used. No state, no threads, no allocation; any
 * thread may call anything. Not here: who hashes what on which CPU (hashing/pool).
 */
#ifndef QUARRY_HASHING_KERNELS_H
#define QUARRY_HASHING_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* FIPS 180-4. */
void sha256(uint8_t out[32], const void *data, size_t len);
void sha256d(uint8_t out[32], const void *data, size_t len); /* SHA-256 of SHA-256 */

struct sha256_ctx {
    uint32_t state[8];
    uint64_t len;
    uint8_t block[64];
};
void sha256_init(struct sha256_ctx *ctx);
void sha256_update(struct sha256_ctx *ctx, const void *data, size_t len);
void sha256_final(struct sha256_ctx *ctx, uint8_t out[32]);

/* count independent 64-byte messages to 32-byte double hashes. out may be in: item i is written after it was
 * read. */
void sha256d_64(uint8_t *out, const uint8_t *in, size_t count);
/* Double hashes of many messages of any lengths, side by side: next fills *out, which lasts until its hash is
 * written, and is asked until it returns false. The bytes of a message are its parts in order. Hashes are
 * written in any order. */
#define SHA256_PARTS 3
struct sha256_message {
    struct {
        const uint8_t *data;
        size_t len;
    } parts[SHA256_PARTS];
    uint8_t *hash; /* 32 bytes */
};
void sha256d_many(bool (*next)(void *context, struct sha256_message *out), void *context);
/* Root over count >= 1 leaves of 32 bytes, which are destroyed. *mutated (may be NULL) tells whether two
 * equal neighbours were hashed together at some level, so that another list has this root too
 * (CVE-2012-2459). */
void merkle_root(uint8_t out[32], uint8_t *leaves, size_t count, bool *mutated);

/* ---- The nonce scan ---------------------------------------------------------------------------------- */

#define SCAN_VERSIONS_MAX 8
#define SCAN_BATCH_MAX    32
#define SHA256_LANES_MAX  32

/* An 80-byte header for some versions (BIP320 rolling): one midstate per version, the same last 16 bytes. */
struct scan_job {
    uint32_t version_count;
    uint32_t version[SCAN_VERSIONS_MAX];
    uint32_t midstate[SCAN_VERSIONS_MAX][8];
    uint32_t tail[3];   /* words 16..18 of the header, big-endian as SHA-256 reads them */
    uint8_t target[32]; /* little-endian number: a hash at or below it is a hit */
};
struct scan_hit {
    uint32_t version, nonce;
};
/* version_count versions for the job, given in versions; the header's own version field is not looked at. */
void scan_prepare(struct scan_job *job, const uint8_t header[80], const uint32_t *versions,
                  uint32_t version_count, const uint8_t target[32]);
/* Tries nonces first, first + 1, … (count of them, not past 2^32) under every version. Returns how many
 * nonces were tried under all versions: fewer than count only when the next ones might overflow hits, of
 * which there must be room for at least SCAN_HITS_MIN. Every hit among the tried nonces is in hits[0 ..
 * *found). */
#define SCAN_HITS_MIN 64
uint64_t scan_nonces(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found);
/* The spreading of a counter over the bits of a mask: the i-th version that a rolling mask allows. */
uint32_t version_with(uint32_t version, uint32_t mask, uint32_t counter);

/* ---- Selection --------------------------------------------------------------------------------------- */

/* What a kernel does not do itself is NULL, and another one does it. */
struct sha256_kernel {
    const char *name;
    bool (*usable)(void); /* does this CPU have it? */
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
    void (*double_64)(uint8_t *out, const uint8_t *in, size_t count);
    /* One block of each of `lanes` messages: state[word * lanes + lane], blocks[lane]. */
    uint32_t lanes; /* at most SHA256_LANES_MAX */
    void (*compress_lanes)(uint32_t *state, const uint8_t *const *blocks);
    uint64_t (*scan)(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found);
    /* For tests: the last word (H7) of the hashes of the batch_nonces nonces from first on, out[version_index
     * * batch_nonces + i]. Goes through the same code as scan. */
    uint32_t batch_nonces; /* at most SCAN_BATCH_MAX */
    void (*last_words)(const struct scan_job *job, uint32_t first, uint32_t *out);
};
/* All kernels of this build, most promising first; NULL-terminated. */
extern const struct sha256_kernel *const sha256_kernels[];
/* Runs the fixed vectors through whatever the kernel does; false when any answer is wrong. */
bool sha256_self_test(const struct sha256_kernel *kernel);
/* True when the CPU has it and it passed its self-test when the program was loaded. */
bool sha256_kernel_ready(const struct sha256_kernel *kernel);
/* The one that scan_nonces uses: the first ready one, until sha256_kernel_measure or _force says otherwise.
 */
const struct sha256_kernel *sha256_kernel_in_use(void);
/* Names of those that this CPU has but that failed the self-test, separated by blanks; "" normally. */
const char *sha256_kernels_failed(void);
/* A kernel of this build by name, ready or not; NULL: none. */
const struct sha256_kernel *sha256_kernel_find(const char *name);
/* Forces a kernel by name for all that it does; false when there is none, or it is not usable or fails.
 * Before threads start only. */
bool sha256_kernel_force(const char *name);

/* The fastest ready kernel for one midstate or for `versions` of them on the calling thread's CPU: windows of
 * about 1.5 ms of each candidate in turn, rounds times; the least time per hash counts. thread_time_ns is the
 * caller's clock (this room has none): the CPU time of the calling thread. Changes nothing: the caller
 * passes the kernel to scan_nonces_with. Pure but for the clock; any thread. */
struct sha256_measured {
    const struct sha256_kernel *kernel;
    double ns_per_hash; /* least */
};
const struct sha256_kernel *sha256_kernel_measure(uint32_t versions, unsigned rounds,
                                                  int64_t (*thread_time_ns)(void),
                                                  struct sha256_measured *results, size_t results_max,
                                                  size_t *result_count);
/* sha256d_many by a kernel of the caller's choice (ready; NULL, or without lanes: one message after another).
 */
void sha256d_many_with(const struct sha256_kernel *kernel,
                       bool (*next)(void *context, struct sha256_message *out), void *context);
/* scan_nonces by a kernel of the caller's choice (ready, with a scan). */
uint64_t scan_nonces_with(const struct sha256_kernel *kernel, const struct scan_job *job, uint32_t first,
                          uint64_t count, struct scan_hit *hits, size_t hits_max, size_t *found);

#endif
