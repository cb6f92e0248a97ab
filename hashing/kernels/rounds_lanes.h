/*
 * SHA-256's rounds on vectors, a message per 32-bit lane: the text that the lane kernels share. The file that
 * includes it has defined the vector (vector_avx2.h, vector_avx512.h):
 *
 *   VEC, LANES, KERNEL (the function attribute), ADD, AND, ROTR, SHR, XOR3, CHOOSE, MAJORITY, SET1 (a word in
 *   every lane), LOAD and STORE (LANES words), EQUAL_BITS(a, b) (a bit per lane), WORDS_OF_NONCES(first)
 * (byte-swapped first, first + 1, …).
 */
#define INLINE   KERNEL __attribute__((always_inline)) static inline
#define UNROLLED _Pragma("GCC unroll 16")
#define K(t)     SET1(sha256_k[t])

INLINE VEC vec_small0(VEC x)
{
    return XOR3(ROTR(x, 7), ROTR(x, 18), SHR(x, 3));
}
INLINE VEC vec_small1(VEC x)
{
    return XOR3(ROTR(x, 17), ROTR(x, 19), SHR(x, 10));
}
INLINE VEC vec_big0(VEC x)
{
    return XOR3(ROTR(x, 2), ROTR(x, 13), ROTR(x, 22));
}
INLINE VEC vec_big1(VEC x)
{
    return XOR3(ROTR(x, 6), ROTR(x, 11), ROTR(x, 25));
}

/* Registers a..h of one stream. Round t calls h what round t - 1 called g: the index turns, nothing moves. */
struct registers {
    VEC r[8];
};
#define REG(x, letter, t) ((x)->r[((letter) - (t)) & 7])

/* Round t; base is h + K[t] + W[t]. */
INLINE void round_with(struct registers *x, int t, VEC base)
{
    VEC a = REG(x, 0, t), b = REG(x, 1, t), c = REG(x, 2, t);
    VEC e = REG(x, 4, t), f = REG(x, 5, t), g = REG(x, 6, t);
    VEC t1 = ADD(ADD(base, CHOOSE(e, f, g)), vec_big1(e));
    REG(x, 3, t) = ADD(REG(x, 3, t), t1);
    REG(x, 7, t) = ADD(t1, ADD(vec_big0(a), MAJORITY(a, b, c)));
}
INLINE void round_kw(struct registers *x, int t, VEC kw)
{
    round_with(x, t, ADD(REG(x, 7, t), kw));
}
