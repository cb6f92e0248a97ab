/*
 * 64-byte nodes, and single blocks of many messages, on vector units: one per 32-bit lane, STREAMS vectors
 * side by side. Like scan_lanes.h the text of a kernel file, which defines the vector, STREAMS and two turns
 * of the data before it includes this: load_columns(w, s, rows) makes LANES blocks of 64 bytes sixteen
 * vectors of big-endian words w[0..15][s], store_columns(out, s) makes eight vectors LANES hashes of 32
 * bytes.
 *
 * Three compressions per node; the second one's schedule is constant (sha256_padding_64).
 */
#include "hashing/kernels/rounds_lanes.h"

#define EACH_STREAM _Pragma("GCC unroll 4") for (int s = 0; s < STREAMS; s++)
#define BATCH_NODES (STREAMS * LANES)

INLINE void nodes_iv(struct registers *x)
{
    EACH_STREAM UNROLLED for (int i = 0; i < 8; i++)
    {
        x[s].r[i] = SET1(sha256_iv[i]);
    }
}

/* 64 rounds over sixteen words in w, which has room for 64. */
KERNEL __attribute__((noinline)) static void nodes_rounds(struct registers *state, VEC (*w)[STREAMS])
{
    struct registers x[STREAMS];
    memcpy(x, state, sizeof x);
    for (int from = 0; from < 16; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            EACH_STREAM round_kw(&x[s], t, ADD(w[from + t][s], K(from + t)));
        }
    }
    for (int from = 16; from < 64; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            EACH_STREAM
            {
                const VEC(*p)[STREAMS] = (const VEC(*)[STREAMS]) & w[from + t];
                VEC word = ADD(ADD(p[-16][s], vec_small0(p[-15][s])), ADD(p[-7][s], vec_small1(p[-2][s])));
                w[from + t][s] = word;
                round_kw(&x[s], t, ADD(word, K(from + t)));
            }
        }
    }
    memcpy(state, x, sizeof x);
}

KERNEL __attribute__((noinline)) static void padding_rounds(struct registers *state)
{
    struct registers x[STREAMS];
    memcpy(x, state, sizeof x);
    for (int from = 0; from < 64; from += 8) {
        UNROLLED for (int t = 0; t < 8; t++)
        {
            EACH_STREAM round_kw(&x[s], t, SET1(sha256_padding_64[from + t]));
        }
    }
    memcpy(state, x, sizeof x);
}

KERNEL __attribute__((noinline)) static void nodes_batch(uint8_t *out, const uint8_t *in)
{
    VEC w[64][STREAMS], first[8][STREAMS];
    struct registers x[STREAMS];
    for (int s = 0; s < STREAMS; s++) {
        const uint8_t *rows[LANES];
        for (int i = 0; i < LANES; i++) {
            rows[i] = in + 64 * (LANES * s + i);
        }
        load_columns(w, s, rows);
    }
    nodes_iv(x);
    nodes_rounds(x, w);
    for (int i = 0; i < 8; i++) {
        EACH_STREAM x[s].r[i] = first[i][s] = ADD(x[s].r[i], SET1(sha256_iv[i]));
    }
    padding_rounds(x);
    for (int i = 0; i < 8; i++) {
        EACH_STREAM
        {
            w[i][s] = ADD(x[s].r[i], first[i][s]);
            w[i + 8][s] = SET1(i == 0 ? 0x80000000u : i == 7 ? 256 : 0);
        }
    }
    nodes_iv(x);
    nodes_rounds(x, w);
    for (int s = 0; s < STREAMS; s++) {
        UNROLLED for (int i = 0; i < 8; i++)
        {
            x[s].r[i] = ADD(x[s].r[i], SET1(sha256_iv[i]));
        }
        store_columns(out + 32 * LANES * s, x[s].r);
    }
}

/* All full batches, and what is left over while it is `least` nodes or more: a batch that is not full still
 * beats them one by one. Returns how many nodes at the end are left. */
KERNEL static size_t nodes_all(uint8_t *out, const uint8_t *in, size_t count, size_t least)
{
    for (; count >= BATCH_NODES; count -= BATCH_NODES, in += 64 * BATCH_NODES, out += 32 * BATCH_NODES) {
        nodes_batch(out, in);
    }
    if (count < least) {
        return count;
    }
    uint8_t rest[64 * BATCH_NODES] = {0}, hashes[32 * BATCH_NODES];
    memcpy(rest, in, 64 * count);
    nodes_batch(hashes, rest);
    memcpy(out, hashes, 32 * count);
    return 0;
}

/* One block of BATCH_NODES messages each: compress_lanes of struct sha256_kernel. */
KERNEL static void blocks_batch(uint32_t *state, const uint8_t *const *blocks)
{
    VEC w[64][STREAMS];
    struct registers x[STREAMS];
    for (int s = 0; s < STREAMS; s++) {
        load_columns(w, s, blocks + LANES * s);
    }
    for (int i = 0; i < 8; i++) {
        EACH_STREAM x[s].r[i] = LOAD(state + BATCH_NODES * i + LANES * s);
    }
    nodes_rounds(x, w);
    for (int i = 0; i < 8; i++) {
        EACH_STREAM
        {
            uint32_t *words = state + BATCH_NODES * i + LANES * s;
            STORE(words, ADD(LOAD(words), x[s].r[i]));
        }
    }
}
