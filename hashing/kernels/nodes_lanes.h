/*
 * 64-byte nodes on vector units: one node per 32-bit lane. Like scan_lanes.h the text of a kernel file, which
 * LOAD_COLUMNS(w, in) turns LANES messages of 64 bytes at in into sixteen
 * vectors of big-endian words, STORE_COLUMNS(out, s) eight vectors back into LANES hashes of 32 bytes.
 *
 * Three compressions per node; the second one's schedule is constant (sha256_padding_64). One stream: a
 * node's schedule and rounds together fill the slots better than the rounds of a scan do.
 */

#include "hashing/kernels/rounds_lanes.h"

INLINE void nodes_iv(struct registers *x)
{
    UNROLLED for (int i = 0; i < 8; i++)
    {
        x->r[i] = SET1(sha256_iv[i]);
    }
}

/* 64 rounds over sixteen words in w, which has room for 64. */
INLINE void nodes_rounds(struct registers *x, VEC (*w)[1])
{
    UNROLLED for (int t = 0; t < 16; t++)
    {
        round_kw(x, t, ADD(w[t][0], K(t)));
    }
    for (int from = 16; from < 64; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            const VEC(*p)[1] = (const VEC(*)[1]) & w[from + t];
            VEC word = ADD(ADD(p[-16][0], vec_small0(p[-15][0])), ADD(p[-7][0], vec_small1(p[-2][0])));
            w[from + t][0] = word;
            round_kw(x, t, ADD(word, K(from + t)));
        }
    }
}

KERNEL __attribute__((noinline)) static void nodes_batch(uint8_t *out, const uint8_t *in)
{
    VEC w[64][1], first[8];
    struct registers x;
    LOAD_COLUMNS(w, in);
    nodes_iv(&x);
    nodes_rounds(&x, w);
    UNROLLED for (int i = 0; i < 8; i++)
    {
        x.r[i] = first[i] = ADD(x.r[i], SET1(sha256_iv[i]));
    }
    for (int from = 0; from < 64; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            round_kw(&x, t, SET1(sha256_padding_64[from + t]));
        }
    }
    UNROLLED for (int i = 0; i < 8; i++)
    {
        w[i][0] = ADD(x.r[i], first[i]);
        w[i + 8][0] = SET1(0);
    }
    w[8][0] = SET1(0x80000000u);
    w[15][0] = SET1(256);
    nodes_iv(&x);
    nodes_rounds(&x, w);
    UNROLLED for (int i = 0; i < 8; i++)
    {
        x.r[i] = ADD(x.r[i], SET1(sha256_iv[i]));
    }
    STORE_COLUMNS(out, x.r);
}
