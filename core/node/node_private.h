/* Private to core/node: the node's state, and the seams between composition, miner, import and RPC. */
#ifndef QUARRY_CORE_NODE_PRIVATE_H
#define QUARRY_CORE_NODE_PRIVATE_H

#include "core/node/node.h"

/* Who a block or transaction came from, above the peers (which are below 2^32). */
#define SOURCE_MINER    (UINT64_C(1) << 32)
#define SOURCE_GENERATE (UINT64_C(2) << 32)
#define SOURCE_IMPORT   (UINT64_C(3) << 32)
#define SOURCE_RPC      (UINT64_C(4) << 32) /* plus a counter */

struct rpc_call;
struct rpc_state;
struct import;

struct generate { /* generatetoaddress under way; one at a time */
    bool active;
    uint32_t remaining;
    uint64_t tries_left;
    int64_t deadline_us;
    struct buf script;
    struct buf hashes; /* of what was found, 32 bytes each */
    bool waiting;      /* a found block is being connected */
    bool chosen;       /* generateblock: these transactions, owned, and no others */
    struct tx **txs;
    size_t tx_count;
    void *call; /* who gets the answer (rpc) */
};

struct mining {
    struct block_template *template;
    uint64_t order_id; /* of the work order that is out; 0: none */
    struct ordered {   /* the last two parents that work was ordered on, the newer first */
        const struct block_entry *on;
        uint64_t first; /* order on it */
    } ordered[2];
    bool idle_told;       /* the host was told to pause */
    bool full_due;        /* the template out is the quick, empty one */
    uint64_t quick_event; /* the event that it was made in: the full one waits for the next */
    int64_t refreshed_us, filled_us;
    uint64_t pool_sequence;
    bool assembled; /* a template was made, of this weight and with so many transactions */
    uint32_t last_weight, last_tx_count;
    uint64_t extranonce;
    int64_t next_interval_us; /* regtest */
    uint64_t blocks_found;
};

struct mempool_files {            /* mempool.dat (mempool_file.c) */
    struct list loads, saves;     /* the first of each is under way */
    bool begun, loaded;           /* our own: it has been looked for; it has been read as far as it goes */
    bool last_save;               /* at the stop: has begun */
    struct mempool_unread unread; /* of our own, when the stop came before all of it was read */
    bool go_on;                   /* more could be read at once, but others have their turn before it */
    int64_t tell_at_us;           /* what no peer has fetched yet is announced again */
};

struct node {
    struct node_config config;
    const struct chain_params *params;
    struct rng rng;
    struct chain *chain;
    struct mempool *mempool;
    struct p2p *p2p;
    struct moment now;
    uint64_t events;     /* handled so far */
    int64_t mock_time_s; /* 0: the real one */
    int64_t started_us, started_unix_s;
    struct action *actions;
    size_t action_first, action_count, action_capacity;
    int64_t timer_us; /* that the host was asked for; INT64_MAX: none */
    struct mining mining;
    struct generate generate;
    struct import *import;
    struct mempool_files mempool_files;
    struct rpc_state *rpc;
    uint64_t bytes_received, bytes_sent; /* by all peers, also those that have left */
    uint64_t hashes_total;
    double hashes_per_s;
    uint32_t hash_threads;
    char kernel[32];
    struct hash_worker_counts *hash_workers; /* owned; hash_worker_count of them, 0 before the first report */
    size_t hash_worker_count;
    size_t process_memory_bytes;
    size_t jobs_out;
    bool started, stopping, exited, failed, durable_at_tip;
    int64_t progress_said_us, peers_saved_us;
    int64_t stop_since_us;
    uint32_t tip_said_height;
};

/* node.c */
struct action *node_push(struct node *node, enum action_kind kind);
void node_submit(void *context, struct job *job); /* node as context */
void node_print(struct node *node, const char *line);
void node_stop(struct node *node, bool failed);
bool node_loaded(const struct node *node); /* nothing is left to import */

/* miner.c */
void miner_update(struct node *node); /* after every event: is the right work out? */
/* This block will be the tip in a moment: the workers may begin on top of it, on an empty block. */
void miner_ahead(struct node *node, const struct block_entry *entry);
void miner_hit(struct node *node, uint64_t work_id, uint32_t version, uint32_t nonce);
void miner_switched(struct node *node, uint64_t work_id, int64_t mono_us);
void miner_used_up(struct node *node, uint64_t work_id); /* another extranonce is due */
void miner_stop(struct node *node);
void miner_assembled(struct node *node, const struct block_template *t); /* getmininginfo tells of it */
void miner_free(struct node *node);
int64_t miner_next_us(const struct node *node); /* when it wants to be looked at again */
/* Begins generatetoaddress; ERROR_BUSY while another is under way. rpc_generated is called at the end. */
bool generate_begin(struct node *node, struct span script, uint32_t blocks, uint64_t tries, void *call,
                    struct error *error);
/* Right after generate_begin: the block is to hold these transactions. Takes over list and references. */
void generate_choose(struct node *node, struct tx **txs, size_t count);
void generate_block_result(struct node *node, const struct hash256 *hash, bool connected,
                           const struct error *error);

/* import.c */
void import_begin(struct node *node);
void import_go_on(struct node *node); /* after every event: what it waited for may be there */
void import_block_result(struct node *node, const struct hash256 *hash, const struct error *error);
void import_free(struct node *node);
bool import_failed(const struct node *node); /* something was refused */

/* mempool_file.c */
void mempool_files_begin(struct node *node);
void mempool_files_free(struct node *node);
void mempool_files_go_on(struct node *node); /* after every event */
void mempool_files_tick(struct node *node);
int64_t mempool_files_next_us(const struct node *node);
void mempool_files_tx_result(struct node *node, const struct tx *tx, const struct error *error);
void mempool_files_stop(struct node *node);     /* nothing is read any more */
bool mempool_files_finished(struct node *node); /* at the end: the mempool is on disk, as far as it will be */
struct mempool_import {                         /* what counts of the file */
    bool times, priorities, unbroadcast;
};
/* Answer call with what became of it; path is copied. */
void mempool_file_import(struct node *node, struct rpc_call *call, const char *path,
                         struct mempool_import import);
void mempool_file_save(struct node *node, struct rpc_call *call);

/* saved.c */
void saved_restore(struct node *node);
void saved_tick(struct node *node);
void saved_bans(struct node *node); /* the list has changed */
void saved_finish(struct node *node);

/* rpc.c */
void rpc_begin(struct node *node);
void rpc_free(struct node *node);
void rpc_handle(struct node *node, uint64_t rpc, const char *text, size_t len);
void rpc_go_on(struct node *node); /* after every event: long answers; batches whose last call has ended */
void rpc_gone(struct node *node, uint64_t rpc);
void rpc_stopping(struct node *node); /* answers whoever still waits */
void rpc_block_result(struct node *node, const struct hash256 *hash, uint64_t source, bool connected,
                      const struct error *error);
void rpc_tx_result(struct node *node, struct tx *tx, uint64_t source, const struct error *error);
void rpc_tx_tested(struct node *node, uint64_t source, struct amount fee, const struct error *error);
void rpc_package_result(struct node *node, uint64_t source, const struct package_member *members,
                        size_t count);
/* What goes for a transaction is told before what became of that one, which ends the list. */
void rpc_tx_replaced(struct node *node, const struct tx *tx);
void rpc_replaced_told(struct node *node);
void rpc_settled(struct node *node); /* the tip is on disk */
/* The tip has moved, time has passed, somebody has left: whoever waits for a block (rpc_wait.c) may be
 * answered; all: everybody is. The next moment when time alone does it. */
void rpc_waits_end(struct node *node, bool all);
int64_t rpc_waits_next_us(const struct node *node);
void rpc_generated(struct node *node, void *call, const struct buf *hashes,
                   const char *why_fewer /* NULL: all found */);

#endif
