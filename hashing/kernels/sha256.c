/* What callers see: messages of any length, bulk nodes, merkle roots, the preparation of a scan. */
#include "hashing/kernels/private.h"

void sha256_init(struct sha256_ctx *ctx)
{
    memcpy(ctx->state, sha256_iv, 32);
    ctx->len = 0;
}

void sha256_update(struct sha256_ctx *ctx, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t used = ctx->len % 64;
    ctx->len += len;
    if (used) {
        size_t room = 64 - used;
        if (len < room) {
            memcpy(ctx->block + used, p, len);
            return;
        }
        memcpy(ctx->block + used, p, room);
        sha256_compress(ctx->state, ctx->block, 1);
        p += room;
        len -= room;
    }
    if (len >= 64) {
        sha256_compress(ctx->state, p, len / 64);
        p += len / 64 * 64;
        len %= 64;
    }
    if (len) {
        memcpy(ctx->block, p, len);
    }
}

/* The blocks that end a message of len bytes, of which the last len % 64 are at rest; then the hash. */
static void finish(uint8_t out[32], uint32_t state[8], const uint8_t *rest, uint64_t len)
{
    uint8_t last[128];
    size_t used = len % 64, total = used < 56 ? 64 : 128;
    uint64_t bits = __builtin_bswap64(len * 8);
    if (used) {
        memcpy(last, rest, used);
    }
    last[used] = 0x80;
    memset(last + used + 1, 0, total - used - 1);
    memcpy(last + total - 8, &bits, 8);
    sha256_compress(state, last, total / 64);
    for (int i = 0; i < 8; i++) {
        store_be32(out + 4 * i, state[i]);
    }
}

void sha256_final(struct sha256_ctx *ctx, uint8_t out[32])
{
    finish(out, ctx->state, ctx->block, ctx->len);
}

void sha256(uint8_t out[32], const void *data, size_t len)
{
    uint32_t state[8];
    const uint8_t *p = data;
    memcpy(state, sha256_iv, 32);
    if (len >= 64) {
        sha256_compress(state, p, len / 64);
        p += len / 64 * 64;
    }
    finish(out, state, p, len);
}

void sha256d(uint8_t out[32], const void *data, size_t len)
{
    uint8_t first[32];
    sha256(first, data, len);
    sha256(out, first, 32);
}

void sha256d_64(uint8_t *out, const uint8_t *in, size_t count)
{
    sha256_double_64(out, in, count);
}

/* memcmp without a call and without a branch: this runs once per node. */
static inline bool same_node(const uint8_t *a, const uint8_t *b)
{
    uint64_t x[4], y[4];
    memcpy(x, a, 32);
    memcpy(y, b, 32);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3])) == 0;
}

void merkle_root(uint8_t out[32], uint8_t *leaves, size_t count, bool *mutated)
{
    bool twins = false;
    while (count > 1) {
        for (size_t i = 0; i + 1 < count; i += 2) {
            twins |= same_node(leaves + 32 * i, leaves + 32 * (i + 1));
        }
        size_t pairs = count / 2;
        uint8_t odd[64];
        if (count % 2) { /* the last node is paired with itself */
            memcpy(odd, leaves + 32 * (count - 1), 32);
            memcpy(odd + 32, odd, 32);
        }
        sha256d_64(leaves, leaves, pairs);
        if (count % 2) {
            sha256d_64(leaves + 32 * pairs, odd, 1);
        }
        count = pairs + count % 2;
    }
    memcpy(out, leaves, 32);
    if (mutated) {
        *mutated = twins;
    }
}

void scan_prepare(struct scan_job *job, const uint8_t header[80], const uint32_t *versions,
                  uint32_t version_count, const uint8_t target[32])
{
    uint8_t first[64];
    memcpy(first, header, 64);
    job->version_count = version_count < SCAN_VERSIONS_MAX ? version_count : SCAN_VERSIONS_MAX;
    for (uint32_t v = 0; v < job->version_count; v++) {
        job->version[v] = versions[v];
        memcpy(first, &versions[v], 4);
        memcpy(job->midstate[v], sha256_iv, 32);
        sha256_compress(job->midstate[v], first, 1);
    }
    for (int i = 0; i < 3; i++) {
        job->tail[i] = load_be32(header + 64 + 4 * i);
    }
    memcpy(job->target, target, 32);
}

uint64_t scan_nonces_with(const struct sha256_kernel *kernel, const struct scan_job *job, uint32_t first,
                          uint64_t count, struct scan_hit *hits, size_t hits_max, size_t *found)
{
    uint64_t left = (UINT64_C(1) << 32) - first;
    return kernel->scan(job, first, count < left ? count : left, hits, hits_max, found);
}

uint64_t scan_nonces(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_nonces_with(sha256_kernel_in_use(), job, first, count, hits, hits_max, found);
}

uint32_t version_with(uint32_t version, uint32_t mask, uint32_t counter)
{
    version &= ~mask;
    for (uint32_t bit = 1; bit && counter; bit <<= 1) {
        if (mask & bit) {
            version |= counter & 1 ? bit : 0;
            counter >>= 1;
        }
    }
    return version;
}
