/* What hash.c measures beside the kernels of hashing/kernels: a reference of the usual public shape, and the
 * throughput of the instructions that bound the real ones. */
#ifndef QUARRY_BENCH_HASH_H
#define QUARRY_BENCH_HASH_H

#include "bench/bench.h"
#include "hashing/kernels/kernels.h"

/* hash_reference.c: NULL where the CPU has no SHA-NI. */
const struct sha256_kernel *hash_reference(void);

/* hash_bounds.c: reports cycles per instruction here and what they make the least cycles per hash. */
void hash_bounds(struct report *report);

#endif
