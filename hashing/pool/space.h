/*
 * How the headers of one work are shared out. All that may be rolled is cut into chunks: some versions at
 * once (a group) times SPACE_NONCES nonces. Worker w of at most n takes the chunks w, w + n, w + 2n, …: no
 * two ever try the same header, whoever sleeps or joins meanwhile, and nobody asks anybody.
 */
#ifndef QUARRY_HASHING_POOL_SPACE_H
#define QUARRY_HASHING_POOL_SPACE_H

#include "hashing/kernels/kernels.h"

#define SPACE_NONCES       (UINT64_C(1) << 20)
#define SPACE_NONCE_PARTS  (UINT64_C(1) << 12)
#define SPACE_VERSIONS_MAX 8u

struct space {
    uint32_t version, mask, group_versions; /* a group: versions that one scan tries at once */
    uint64_t chunks;
};

static inline struct space space_of(uint32_t version, uint32_t mask)
{
    uint64_t versions = UINT64_C(1) << __builtin_popcount(mask);
    uint32_t at_once = versions < SPACE_VERSIONS_MAX ? (uint32_t)versions : SPACE_VERSIONS_MAX;
    return (struct space){.version = version,
                          .mask = mask,
                          .group_versions = at_once,
                          .chunks = versions / at_once * SPACE_NONCE_PARTS};
}

/* The versions of a chunk's group, group_versions of them. */
static inline void space_versions(const struct space *space, uint64_t chunk, uint32_t *versions)
{
    uint32_t group = (uint32_t)(chunk / SPACE_NONCE_PARTS);
    for (uint32_t i = 0; i < space->group_versions; i++) {
        versions[i] = space->mask
                          ? version_with(space->version, space->mask, group * space->group_versions + i)
                          : space->version;
    }
}

static inline uint64_t space_first_nonce(uint64_t chunk)
{
    return chunk % SPACE_NONCE_PARTS * SPACE_NONCES;
}

#endif
