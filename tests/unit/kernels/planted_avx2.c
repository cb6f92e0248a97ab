/* The nonce scan of scan_avx2.c with the table of round constants in which a test plants a wrong one. */
#include "tests/unit/kernels/planted.h"

#if defined(__x86_64__)
#define sha256_k    planted_k
#define sha256_avx2 planted_avx2
#include "hashing/kernels/scan_avx2.c"
#endif
