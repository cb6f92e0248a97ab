/*
 * core/mining: what to hash. Block templates from chain and mempool, the work unit the pool gets, and a
 * solved unit back to a whole block. Not here: hashing itself (hashing/), when to refresh (core/node). Loop
 * thread.
 */
#ifndef QUARRY_CORE_MINING_H
#define QUARRY_CORE_MINING_H

#include "core/mempool/mempool.h"

#define VERSION_ROLLING_MASK 0x1fffe000u /* BIP320 */

struct template_cost { /* of one transaction */
    int64_t fee_sat;
    uint32_t sigop_cost;
};

struct block_template { /* one candidate block; owns references to its transactions */
    const struct block_entry *parent;
    uint32_t height;
    struct amount subsidy, fees;
    struct block_header header; /* merkle root set for extranonce 0 */
    int64_t min_time;
    struct u256 target;
    struct tx **txs;             /* without the coinbase */
    struct template_cost *costs; /* one for each of them */
    uint32_t tx_count;
    uint32_t weight, sigop_cost;
    struct span payout_script; /* owned */
    uint64_t extranonce;
    struct hash256 commitment;     /* BIP141, in the coinbase's second output */
    struct hash256 *merkle_branch; /* of the coinbase */
    size_t merkle_branch_count;
};

/* A template on the settled tip paying script. with_transactions = false: an empty block (first thing on a
 * new tip). nTime = max(now, min_time) bounded by the rules. The coinbase holds the BIP34 height, the
 * extranonce and
 * "/Quarry/". */
struct block_template *template_new(struct chain *chain, const struct mempool *pool,
                                    struct span payout_script, bool with_transactions, struct moment now);
/* An empty block on a parent that is not the settled tip yet. */
struct block_template *template_ahead(struct chain *chain, const struct block_entry *parent,
                                      struct span payout_script, struct moment now);
/* As template_new, with exactly these transactions (referenced), in this order. Whether they are valid there
 * is for the block's checks to say; their fees are not claimed. */
struct block_template *template_of(struct chain *chain, struct span payout_script, struct tx *const *txs,
                                   size_t tx_count, struct moment now);
void template_free(struct block_template *t);
/* Another coinbase: new extranonce, merkle root in t->header. */
void template_set_extranonce(struct block_template *t, uint64_t extranonce);
/* Moves header.time to max(now, min_time) and bits with it where the rule makes bits depend on time. */
void template_set_time(struct block_template *t, const struct chain *chain, struct moment now);
/* The whole block with this header version, time and nonce, serialised (caller frees the buf). */
void template_block(const struct block_template *t, int32_t version, uint32_t time, uint32_t nonce,
                    struct buf *out);

/* Expected hashes per second of the network over the last `blocks` blocks up to entry (Core's
 * GetNetworkHashPS). */
double network_hashes_per_s(const struct block_entry *entry, uint32_t blocks);

#endif
