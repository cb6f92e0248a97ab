/* bench connect: the chain that is made (connect_make.c) for what is measured (connect.c). */
#ifndef QUARRY_BENCH_CONNECT_H
#define QUARRY_BENCH_CONNECT_H

#include "core/consensus/consensus.h"

#define CONNECT_EMPTY_BLOCKS 2200u /* on top, so that assumevalid applies to all that is signed */

struct connect_shape {
    uint64_t inputs;     /* signed, at least */
    uint32_t block_txs;  /* transactions of a block in the signed part */
    uint32_t fork_every; /* a stale branch before every so many of its blocks; 0: none */
};

/* Writes a regtest chain as one blk file: signed inputs (60 % P2WPKH, 30 % P2TR key path, 10 % P2WSH 2-of-3),
 * half of them spending outputs of earlier spends, then the empty blocks. The same bytes for the same shape
 * and version. */
bool connect_make(const char *path, const struct chain_params *params, const struct connect_shape *shape,
                  struct error *error) MUST_USE;

#endif
