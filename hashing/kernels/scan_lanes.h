/*
 * The nonce scan for vector units without SHA instructions: one nonce per 32-bit lane, STREAMS vectors side
 * by side so that the rounds of one fill the latency of the other. Not a header in the usual sense: the text
 * of scan_avx2.c and scan_avx512.c, which define the vector and STREAMS before they include it.
 *
 * A call takes STREAMS * LANES nonces under any number of midstates. The first hash's schedule depends on the
 * nonce and on the tail alone: it is made once, with the round constants added, and read by the rounds of
 * every midstate. Without version rolling there is one midstate, and nothing is lost.
 *
 * Operations per vector where logic and rotations are one each: first schedule with its constants 460, first
 * rounds 966, second hash 1427 (its schedule 436; A is not computed after round 56). In all 2393 + 460 /
 * versions.
 */
#include "hashing/kernels/rounds_lanes.h"

#define EACH_STREAM  _Pragma("GCC unroll 4") for (int s = 0; s < STREAMS; s++)
#define BATCH_NONCES (STREAMS * LANES)

/* The schedule of the first hash: word 3 is the nonce; words 18..63 with their constants. */
struct first_schedule {
    VEC nonce[STREAMS];
    VEC kw[64][STREAMS];
};

/* W[t] where nothing in it is constant. */
INLINE VEC next_word(const VEC (*w)[STREAMS], int s)
{
    return ADD(ADD(w[-16][s], vec_small0(w[-15][s])), ADD(w[-7][s], vec_small1(w[-2][s])));
}

/* The same where a is not needed any more. */
INLINE void round_e(struct registers *x, int t, VEC base)
{
    VEC e = REG(x, 4, t), f = REG(x, 5, t), g = REG(x, 6, t);
    VEC t1 = ADD(ADD(base, CHOOSE(e, f, g)), vec_big1(e));
    REG(x, 3, t) = ADD(REG(x, 3, t), t1);
}

KERNEL __attribute__((noinline)) static void make_first_schedule(struct first_schedule *out,
                                                                 const struct scan_tail *tail, uint32_t first)
{
    VEC w[64][STREAMS];
    EACH_STREAM
    {
        VEC n = WORDS_OF_NONCES(first + (uint32_t)s * LANES);
        out->nonce[s] = n;
        w[16][s] = SET1(tail->w16);
        w[17][s] = SET1(tail->w17);
        w[18][s] = ADD(SET1(tail->w18), vec_small0(n));
        w[19][s] = ADD(SET1(tail->w19), n);
        w[20][s] = ADD(vec_small1(w[18][s]), SET1(0x80000000u));
        w[21][s] = vec_small1(w[19][s]);
        w[22][s] = ADD(vec_small1(w[20][s]), SET1(640));
        w[23][s] = ADD(vec_small1(w[21][s]), w[16][s]);
        w[24][s] = ADD(vec_small1(w[22][s]), w[17][s]);
    }
    UNROLLED for (int t = 25; t < 30; t++)
    {
        EACH_STREAM w[t][s] = ADD(vec_small1(w[t - 2][s]), w[t - 7][s]);
    }
    EACH_STREAM
    {
        w[30][s] = ADD(ADD(vec_small1(w[28][s]), w[23][s]), SET1(tail->w30));
        w[31][s] = ADD(ADD(vec_small1(w[29][s]), w[24][s]), SET1(tail->w31));
        w[32][s] = ADD(ADD(vec_small1(w[30][s]), w[25][s]), SET1(tail->w32));
        w[33][s] = ADD(ADD(vec_small1(w[31][s]), w[26][s]), ADD(vec_small0(w[18][s]), w[17][s]));
    }
    UNROLLED for (int t = 18; t < 34; t++)
    {
        EACH_STREAM out->kw[t][s] = ADD(w[t][s], K(t));
    }
    for (int t = 34; t < 64; t += 2) {
        EACH_STREAM
        {
            w[t][s] = next_word((const VEC(*)[STREAMS]) & w[t], s);
            out->kw[t][s] = ADD(w[t][s], K(t));
        }
        EACH_STREAM
        {
            w[t + 1][s] = next_word((const VEC(*)[STREAMS]) & w[t + 1], s);
            out->kw[t + 1][s] = ADD(w[t + 1][s], K(t + 1));
        }
    }
}

/* Rounds 4..63 of the first hash; w[0..7] become the words of the second. */
KERNEL __attribute__((noinline)) static void first_rounds(VEC (*w)[STREAMS], const struct first_schedule *in,
                                                          const struct scan_midstate *mid,
                                                          const struct scan_tail *tail)
{
    struct registers x[STREAMS];
    EACH_STREAM
    {
        UNROLLED for (int i = 0; i < 8; i++)
        {
            x[s].r[(i + 4) & 7] = SET1(mid->after[i]);
        }
        x[s].r[4] = ADD(x[s].r[4], in->nonce[s]);
        x[s].r[0] = ADD(x[s].r[0], in->nonce[s]);
    }
    UNROLLED for (int t = 4; t < 7; t++)
    {
        EACH_STREAM round_with(&x[s], t, SET1(mid->h_kw[t - 4]));
    }
    UNROLLED for (int t = 7; t < 18; t++)
    {
        EACH_STREAM round_kw(&x[s], t, SET1(tail->kw[t]));
    }
    UNROLLED for (int t = 18; t < 24; t++)
    {
        EACH_STREAM round_kw(&x[s], t, in->kw[t][s]);
    }
    for (int from = 24; from < 64; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            EACH_STREAM round_kw(&x[s], t, in->kw[from + t][s]);
        }
    }
    EACH_STREAM
    {
        UNROLLED for (int i = 0; i < 8; i++)
        {
            w[i][s] = ADD(x[s].r[i], SET1(mid->start[i]));
        }
    }
}

/* The second hash up to E after round 60. */
KERNEL __attribute__((noinline)) static void second_rounds(VEC out[STREAMS], VEC (*w)[STREAMS])
{
    struct registers x[STREAMS];
    EACH_STREAM
    {
        UNROLLED for (int i = 0; i < 8; i++)
        {
            x[s].r[i] = SET1(sha256_iv[i]);
        }
        REG(&x[s], 3, 0) = ADD(w[0][s], SET1(SCAN_ROUND0_E)); /* round 0 starts from the IV */
        REG(&x[s], 7, 0) = ADD(w[0][s], SET1(SCAN_ROUND0_A));
    }
    EACH_STREAM round_with(&x[s], 1, ADD(w[1][s], SET1(0x71374491u + 0x1f83d9abu)));
    EACH_STREAM round_with(&x[s], 2, ADD(w[2][s], SET1(0xb5c0fbcfu + 0x9b05688cu)));
    EACH_STREAM round_with(&x[s], 3, ADD(w[3][s], SET1(0xe9b5dba5u + 0x510e527fu)));
    UNROLLED for (int t = 4; t < 8; t++)
    {
        EACH_STREAM round_kw(&x[s], t, ADD(w[t][s], K(t)));
    }
    UNROLLED for (int t = 8; t < 16; t++)
    {
        EACH_STREAM round_kw(&x[s], t, SET1(scan_second_kw[t - 8]));
    }
#define NEXT(t, value)                                                                                       \
    do {                                                                                                     \
        EACH_STREAM                                                                                          \
        {                                                                                                    \
            w[t][s] = (value);                                                                               \
            round_kw(&x[s], t, ADD(w[t][s], K(t)));                                                          \
        }                                                                                                    \
    } while (0)
    NEXT(16, ADD(w[0][s], vec_small0(w[1][s])));
    NEXT(17, ADD(ADD(w[1][s], SET1(SCAN_SMALL1_256)), vec_small0(w[2][s])));
    UNROLLED for (int t = 18; t < 22; t++)
    {
        NEXT(t, ADD(ADD(w[t - 16][s], vec_small0(w[t - 15][s])), vec_small1(w[t - 2][s])));
    }
    NEXT(22, ADD(ADD(ADD(w[6][s], SET1(256)), vec_small0(w[7][s])), vec_small1(w[20][s])));
    NEXT(23, ADD(ADD(ADD(w[7][s], SET1(SCAN_SMALL0_TOP)), w[16][s]), vec_small1(w[21][s])));
    NEXT(24, ADD(ADD(w[17][s], SET1(0x80000000u)), vec_small1(w[22][s])));
    UNROLLED for (int t = 25; t < 30; t++)
    {
        NEXT(t, ADD(w[t - 7][s], vec_small1(w[t - 2][s])));
    }
    NEXT(30, ADD(ADD(w[23][s], SET1(SCAN_SMALL0_256)), vec_small1(w[28][s])));
    NEXT(31, ADD(ADD(ADD(w[24][s], SET1(256)), vec_small0(w[16][s])), vec_small1(w[29][s])));
#undef NEXT
    for (int from = 32; from < 56; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            EACH_STREAM
            {
                VEC word = next_word((const VEC(*)[STREAMS]) & w[from + t], s);
                w[from + t][s] = word;
                round_kw(&x[s], t, ADD(word, K(from + t)));
            }
        }
    }
    UNROLLED for (int t = 56; t < 61; t++)
    {
        EACH_STREAM
        {
            VEC word = next_word((const VEC(*)[STREAMS]) & w[t], s), base;
            w[t][s] = word;
            base = ADD(REG(&x[s], 7, t), ADD(word, K(t)));
            if (t == 56) {
                round_with(&x[s], t, base);
            } else {
                round_e(&x[s], t, base);
            }
        }
    }
    EACH_STREAM out[s] = REG(&x[s], 3, 60);
}

/* ---- The kernel's two faces */

KERNEL static void lanes_some(const struct scan_prepared *p, uint32_t first, uint32_t count,
                              struct scan_list *list)
{
    struct first_schedule schedule;
    VEC w[64][STREAMS], last[STREAMS];
    const VEC mask = SET1(p->mask), iv7 = SET1(SCAN_IV7), zero = SET1(0);
    for (uint32_t done = 0; done < count; done += BATCH_NONCES) {
        make_first_schedule(&schedule, &p->tail, first + done);
        for (uint32_t v = 0; v < p->job->version_count; v++) {
            first_rounds(w, &schedule, &p->mid[v], &p->tail);
            second_rounds(last, w);
            EACH_STREAM
            {
                uint32_t bits = EQUAL_BITS(AND(ADD(last[s], iv7), mask), zero);
                for (; __builtin_expect(bits != 0, 0); bits &= bits - 1) {
                    uint32_t n = done + (uint32_t)s * LANES + (uint32_t)__builtin_ctz(bits);
                    if (n < count) {
                        scan_candidate(list, p->job, v, first + n);
                    }
                }
            }
        }
    }
}

KERNEL static void lanes_last_words(const struct scan_job *job, uint32_t first, uint32_t *out)
{
    struct scan_prepared p;
    struct first_schedule schedule;
    VEC w[64][STREAMS], last[STREAMS];
    scan_make_ready(&p, job);
    make_first_schedule(&schedule, &p.tail, first);
    for (uint32_t v = 0; v < job->version_count; v++, out += BATCH_NONCES) {
        first_rounds(w, &schedule, &p.mid[v], &p.tail);
        second_rounds(last, w);
        EACH_STREAM last[s] = ADD(last[s], SET1(SCAN_IV7));
        memcpy(out, last, sizeof last);
    }
}
