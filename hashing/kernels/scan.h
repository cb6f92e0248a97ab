/* What the nonce scans share: a job made ready (everything that is constant, computed once), the constants of
 * the second hash, and the list of hits. */
#ifndef QUARRY_HASHING_SCAN_H
#define QUARRY_HASHING_SCAN_H

#include "hashing/kernels/private.h"

struct scan_midstate { /* of one version */
    uint32_t start[8]; /* after the first 64 bytes */
    uint32_t after[8]; /* and after rounds 0..3 with nonce 0: the nonce is then added to a and e */
    uint32_t h_kw[3];  /* h + K + W of rounds 4..6, where h does not depend on the nonce either */
};
struct scan_tail {          /* what the last 16 bytes make constant in the first hash */
    uint32_t w16, w17;      /* whole words */
    uint32_t w18, w19;      /* without the nonce's part */
    uint32_t w30, w31, w32; /* the constant part */
    uint32_t kw[18];        /* K + W of rounds 4..17 (0..3 unused) */
};
struct scan_prepared {
    const struct scan_job *job;
    struct scan_midstate mid[SCAN_VERSIONS_MAX];
    struct scan_tail tail;
    uint32_t mask; /* bits of the last word that must be zero in a hit */
};

/* The second hash, FIPS 180-4's names: E and A after round 0 without W0; small sigma of constant words; K + W
 * of rounds 8..15. */
#define SCAN_IV7        0x5be0cd19u
#define SCAN_ROUND0_E   0x98c7e2a2u
#define SCAN_ROUND0_A   0xfc08884du
#define SCAN_SMALL1_256 0x00a00000u
#define SCAN_SMALL0_256 0x00400022u
#define SCAN_SMALL0_TOP 0x11002000u
extern const uint32_t scan_second_kw[8];

struct scan_list {
    struct scan_hit *items;
    size_t count, max;
    bool overflow;
};
/* Looks at one candidate exactly and keeps it if it is a hit. */
void scan_candidate(struct scan_list *list, const struct scan_job *job, uint32_t version_index,
                    uint32_t nonce);

/* One kernel's work: exactly count nonces from first under every version. */
typedef void scan_some(const struct scan_prepared *p, uint32_t first, uint32_t count, struct scan_list *list);
/* The contract of scan_nonces, made of it. */
uint64_t scan_run(scan_some *some, const struct scan_job *job, uint32_t first, uint64_t count,
                  struct scan_hit *hits, size_t hits_max, size_t *found);
void scan_make_ready(struct scan_prepared *out, const struct scan_job *job);

#endif
