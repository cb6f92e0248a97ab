/* A chain on a real store in a scratch folder, every job done at once; and trees of regtest blocks whose
 * outputs anybody may spend, where coins mature after two blocks. */
#ifndef QUARRY_TESTS_UNIT_CHAIN_RIG_H
#define QUARRY_TESTS_UNIT_CHAIN_RIG_H

#include "core/chain/chain.h"
#include "io/io.h"

#define MATURITY 2u

extern struct chain_params rig_params;

struct rig {
    char folder[64];
    struct store *store;
    struct chain *chain;
    struct list jobs;
    struct rng rng;
    uint32_t durable;      /* height that was told last */
    bool scripts_all_pass; /* without being run */
    bool may_fail;         /* the store: what the chain says then is kept */
    char fatal[256];
};

void rig_begin(void); /* before every test */
void rig_end(void);
void rig_open(struct rig *rig, uint64_t seed, size_t cache_bytes);
void rig_reopen(struct rig *rig, size_t cache_bytes); /* the same folder */
/* The same, after --reindex-chainstate or --reindex. */
void rig_reset(struct rig *rig, bool index_too, size_t cache_bytes);
void rig_pump(struct rig *rig); /* until no job is left */
void rig_close(struct rig *rig);
struct utxo_stats rig_stats(struct rig *rig);

struct free_coin {
    struct outpoint outpoint;
    int64_t sat;
    uint32_t spendable; /* from this height on */
};

struct node { /* a block with the coins that exist behind it */
    struct node *parent;
    struct block *block; /* NULL: genesis */
    uint32_t height;
    struct free_coin *coins;
    size_t coin_count;
    bool fed;
};

/* A block on a parent with up to three random spends. */
struct node *node_grow(struct node *parent, struct rng *rng);
/* A block with one spend, which brings this script. */
struct node *node_spend(struct node *parent, struct rng *rng, struct span script_sig);
void nodes_free(struct node **nodes, size_t count);
void rig_feed(struct rig *rig, struct node *node);

/* Turns over one bit of a file in the folder of blocks. */
void rig_flip(const struct rig *rig, const char *name, uint64_t offset);

#endif
