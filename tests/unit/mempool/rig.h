/* A regtest chain and its mempool without a store: the cache holds every coin, every job is done at once.
 * Outputs pay to P2SH of OP_1: anyone's, and standard. */
#ifndef QUARRY_TESTS_UNIT_MEMPOOL_RIG_H
#define QUARRY_TESTS_UNIT_MEMPOOL_RIG_H

#include "core/mempool/mempool_private.h"
#include "core/mining/mining.h"

#define MATURITY 3u
#define BLOCKS   60u /* there are from the start */

struct rig {
    struct chain_params params;
    struct chain *chain;
    struct mempool_config config; /* set before rig_open where a test wants another */
    struct mempool *pool;
    struct list jobs;
    struct rng rng;
    struct moment now;
    struct buf payout;
    struct error result;       /* of the last transaction or package */
    size_t judged, refused_at; /* of the last package: how many passed; who did not */
    struct error refused;      /* of the last block */
    char reason[16];           /* of the last removal */
    unsigned removed;
};
extern struct rig rig;

void rig_begin(void); /* suite fixtures */
void rig_end(void);
void rig_open(void);
void rig_pump(void);

/* A block of what the mempool offers, or of nothing; taken in. One reference. */
struct block *rig_mine(bool with_transactions);
/* A block on any parent, with these transactions after its coinbase. */
struct block *rig_block_on(const struct block_entry *parent, struct tx *const *txs, uint32_t count);
bool rig_take_block(struct block *block); /* and gives the reference back */

struct recipe {
    struct outpoint in[120];
    int64_t in_sat[120];
    uint32_t sequence[120];
    uint32_t in_count, out_count; /* outputs share what is left of the fee */
    int64_t fee_sat;
    size_t pad_bytes; /* an OP_RETURN output with so many bytes */
    int32_t version;
    uint32_t locktime;
};
struct recipe recipe_of(int64_t fee_sat);                        /* one output, no input yet */
void recipe_spend_block(struct recipe *recipe, uint32_t height); /* the coinbase of a block */
void recipe_spend(struct recipe *recipe, const struct tx *tx, uint32_t output);
struct tx *make_tx(const struct recipe *recipe); /* one reference */

struct tx *spend_block(uint32_t height, int64_t fee_sat); /* the whole coinbase, one output */
struct tx *spend_tx(const struct tx *parent, uint32_t output, int64_t fee_sat);

const char *submit(struct tx *tx); /* "": admitted; else the word */
bool in_pool(const struct tx *tx);

#endif
