/* The nonce scan of scan_shani.c with the table of round constants in which a test plants a wrong one. */
#include "tests/unit/kernels/planted.h"

#if defined(__x86_64__)
#define sha256_k       planted_k
#define sha256_shani_1 planted_shani_1
#define sha256_shani_2 planted_shani_2
#define sha256_shani_3 planted_shani_3
#define sha256_shani_4 planted_shani_4
#include "hashing/kernels/scan_shani.c"
#endif
