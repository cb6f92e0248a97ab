/* Kernels built again around a table of round constants that a test may spoil. */
#ifndef QUARRY_TESTS_KERNELS_PLANTED_H
#define QUARRY_TESTS_KERNELS_PLANTED_H

#include "hashing/kernels/scan.h"

extern uint32_t planted_k[64];
extern const struct sha256_kernel planted_avx2, planted_avx512, planted_shani_1, planted_shani_2,
    planted_shani_3, planted_shani_4;

#endif
