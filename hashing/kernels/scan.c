/* The frame of every nonce scan: a job's constants, chunks, and the hits; the hashing itself is a kernel's.
 */
#include "hashing/kernels/scan.h"

#define CHUNK 1024u /* nonces between two looks at the room for hits */

const uint32_t scan_second_kw[8] __attribute__((aligned(32))) = {
    0xd807aa98 + 0x80000000u, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7,
    0xc19bf174 + 256u};

static inline uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}
static inline uint32_t small0(uint32_t x)
{
    return rotr(x, 7) ^ rotr(x, 18) ^ x >> 3;
}
static inline uint32_t small1(uint32_t x)
{
    return rotr(x, 17) ^ rotr(x, 19) ^ x >> 10;
}

static void prepare_midstate(struct scan_midstate *out, const struct scan_job *job, uint32_t version,
                             const struct scan_tail *tail)
{
    uint32_t s[8];
    memcpy(s, job->midstate[version], sizeof s);
    memcpy(out->start, s, sizeof s);
    for (int t = 0; t < 4; t++) {
        uint32_t w = t < 3 ? job->tail[t] : 0;
        uint32_t t1 = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) +
                      (s[6] ^ (s[4] & (s[5] ^ s[6]))) + sha256_k[t] + w;
        uint32_t t2 =
            (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) | (s[2] & (s[0] | s[1])));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    memcpy(out->after, s, sizeof s);
    for (int t = 0; t < 3; t++) {
        out->h_kw[t] = s[7 - t] + tail->kw[4 + t];
    }
}

void scan_make_ready(struct scan_prepared *out, const struct scan_job *job)
{
    struct scan_tail *tail = &out->tail;
    const uint32_t *w = job->tail;
    out->job = job;
    tail->w16 = w[0] + small0(w[1]);
    tail->w17 = w[1] + small0(w[2]) + small1(640);
    tail->w18 = w[2] + small1(tail->w16);
    tail->w19 = small0(0x80000000u) + small1(tail->w17);
    tail->w30 = small0(640);
    tail->w31 = 640 + small0(tail->w16);
    tail->w32 = tail->w16 + small0(tail->w17);
    memcpy(tail->kw, sha256_k, sizeof tail->kw);
    tail->kw[4] += 0x80000000u;
    tail->kw[15] += 640;
    tail->kw[16] += tail->w16;
    tail->kw[17] += tail->w17;
    for (uint32_t v = 0; v < job->version_count; v++) {
        prepare_midstate(&out->mid[v], job, v, tail);
    }
    uint32_t threshold; /* the target's most significant word: its leading zeros must be the hash's */
    memcpy(&threshold, job->target + 28, 4);
    uint32_t zero_bits = threshold ? (uint32_t)__builtin_clz(threshold) : 32;
    out->mask = __builtin_bswap32(zero_bits ? ~UINT32_C(0) << (32 - zero_bits) : 0);
}

void scan_candidate(struct scan_list *list, const struct scan_job *job, uint32_t version_index,
                    uint32_t nonce)
{
    if (scan_verify(job, version_index, nonce)) {
        if (list->count == list->max) {
            list->overflow = true;
        } else {
            list->items[list->count++] = (struct scan_hit){job->version[version_index], nonce};
        }
    }
}

uint64_t scan_run(scan_some *some, const struct scan_job *job, uint32_t first, uint64_t count,
                  struct scan_hit *hits, size_t hits_max, size_t *found)
{
    struct scan_prepared p;
    struct scan_list list = {hits, 0, hits_max, false};
    scan_make_ready(&p, job);
    uint64_t done = 0;
    uint32_t chunk = CHUNK;
    while (done < count && chunk) {
        size_t before = list.count;
        uint32_t part = count - done < chunk ? (uint32_t)(count - done) : chunk;
        some(&p, first + (uint32_t)done, part, &list);
        if (list.overflow) { /* the same nonces again, no more than there is room for */
            list.overflow = false;
            list.count = before;
            chunk = (uint32_t)((hits_max - before) / job->version_count);
        } else {
            done += part;
        }
    }
    *found = list.count;
    return done;
}
