/*
 * ARMv8 with the SHA2 extension: one stream, compressions one at a time. The scan starts from the midstate
 * and skips nothing else. Run under an emulator only (tools/test-armv8); it was not timed on a real CPU, so
 * no slot budget is claimed: per compression 16 sha256h and 16 sha256h2 in one chain.
 */
#include "hashing/kernels/scan.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#if defined(__clang__)
#define SHA2 __attribute__((target("sha2")))
#else
#define SHA2 __attribute__((target("+crypto")))
#endif

struct lane {
    uint32x4_t abcd, efgh;
};

/* One compression; w is used up. */
SHA2 static struct lane compress_words(struct lane start, uint32x4_t w[4])
{
    struct lane s = start;
    for (int i = 0; i < 16; i++) {
        uint32x4_t kw = vaddq_u32(w[i & 3], vld1q_u32(sha256_k + 4 * i)), abcd = s.abcd;
        if (i < 12) {
            w[i & 3] =
                vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
        }
        s.abcd = vsha256hq_u32(s.abcd, s.efgh, kw);
        s.efgh = vsha256h2q_u32(s.efgh, abcd, kw);
    }
    return (struct lane){vaddq_u32(s.abcd, start.abcd), vaddq_u32(s.efgh, start.efgh)};
}

SHA2 static struct lane iv(void)
{
    return (struct lane){vld1q_u32(sha256_iv), vld1q_u32(sha256_iv + 4)};
}

/* The hash of a 32-byte hash. */
SHA2 static struct lane second_hash(struct lane first)
{
    static const uint32_t padding[8] = {0x80000000u, 0, 0, 0, 0, 0, 0, 256};
    uint32x4_t w[4] = {first.abcd, first.efgh, vld1q_u32(padding), vld1q_u32(padding + 4)};
    return compress_words(iv(), w);
}

SHA2 static void load_block(uint32x4_t w[4], const uint8_t *p)
{
    for (int i = 0; i < 4; i++) {
        w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
    }
}

SHA2 static void compress(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    struct lane s = {vld1q_u32(state), vld1q_u32(state + 4)};
    for (; count; count--, blocks += 64) {
        uint32x4_t w[4];
        load_block(w, blocks);
        s = compress_words(s, w);
    }
    vst1q_u32(state, s.abcd);
    vst1q_u32(state + 4, s.efgh);
}

SHA2 static void double_64(uint8_t *out, const uint8_t *in, size_t count)
{
    static const uint32_t padding[16] = {[0] = 0x80000000u, [15] = 512};
    for (; count; count--, in += 64, out += 32) {
        uint32x4_t w[4];
        load_block(w, in);
        struct lane s = compress_words(iv(), w);
        for (int i = 0; i < 4; i++) {
            w[i] = vld1q_u32(padding + 4 * i);
        }
        s = second_hash(compress_words(s, w));
        vst1q_u8(out, vrev32q_u8(vreinterpretq_u8_u32(s.abcd)));
        vst1q_u8(out + 16, vrev32q_u8(vreinterpretq_u8_u32(s.efgh)));
    }
}

SHA2 static uint32_t last_word(const struct scan_job *job, uint32_t version, uint32_t nonce)
{
    const uint32_t rest[16] = {job->tail[0], job->tail[1], job->tail[2], __builtin_bswap32(nonce),
                               0x80000000u,  [15] = 640};
    const uint32_t *mid = job->midstate[version];
    uint32x4_t w[4] = {vld1q_u32(rest), vld1q_u32(rest + 4), vld1q_u32(rest + 8), vld1q_u32(rest + 12)};
    struct lane first = compress_words((struct lane){vld1q_u32(mid), vld1q_u32(mid + 4)}, w);
    return vgetq_lane_u32(second_hash(first).efgh, 3);
}

static void some(const struct scan_prepared *p, uint32_t first, uint32_t count, struct scan_list *list)
{
    for (uint32_t done = 0; done < count; done++) {
        for (uint32_t v = 0; v < p->job->version_count; v++) {
            if ((last_word(p->job, v, first + done) & p->mask) == 0) {
                scan_candidate(list, p->job, v, first + done);
            }
        }
    }
}

static uint64_t scan(const struct scan_job *job, uint32_t first, uint64_t count, struct scan_hit *hits,
                     size_t hits_max, size_t *found)
{
    return scan_run(some, job, first, count, hits, hits_max, found);
}

static void last_words(const struct scan_job *job, uint32_t first, uint32_t *out)
{
    for (uint32_t v = 0; v < job->version_count; v++) {
        out[v] = last_word(job, v, first);
    }
}

const struct sha256_kernel sha256_armv8 = {.name = "armv8",
                                           .usable = cpu_has_armv8,
                                           .compress = compress,
                                           .double_64 = double_64,
                                           .scan = scan,
                                           .batch_nonces = 1,
                                           .last_words = last_words};

#endif
