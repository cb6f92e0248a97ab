/*
 * core/node: the composition. Events in, actions out; and the table of RPC methods.
 *
 * A host (io/ with real sockets and disks, or tests/sim with simulated ones) feeds node_handle with what
 * happened and then carries out what node_next_action returns. The node owns chain, mempool, p2p and mining;
 * it decides when to mine, on what, and when to stop. It has no clock, no threads and no files of its own.
 * One thread.
 */
#ifndef QUARRY_CORE_NODE_H
#define QUARRY_CORE_NODE_H

#include "core/chain/chain.h"
#include "core/mempool/mempool.h"
#include "core/mining/mining.h"
#include "core/p2p/p2p.h"
#include "core/wallet/wallet.h"

#define RPC_REQUEST_BYTES_MAX (16u << 20) /* one line of the Unix socket */

struct node_config {
    const struct chain_params *params;                    /* borrowed */
    uint8_t seed[32];                                     /* entropy of this run */
    const char *user_agent, *version_text, *datadir_text; /* borrowed */
    size_t coins_cache_bytes, recent_blocks_bytes, mempool_bytes;
    uint32_t inbound_max;
    bool blocks_only;
    int64_t trickle_us; /* transactions wait so long on average before a peer is told of them */
    enum p2p_discover discover;
    const char *const *whitelist, *const *p2p_allow; /* borrowed until node_new returns */
    size_t whitelist_count, p2p_allow_count;
    struct span peers_file,
        bans_file;            /* peers.dat, banlist.json; empty: none; until EVENT_START is handled */
    const char *mempool_file; /* path of mempool.dat; borrowed; NULL: there is no place for it */
    bool persist_mempool;     /* it is read at the start and written at the stop */
    bool tx_index;
    bool seed_node;             /* 'local' among the peers: may mine on an empty chain */
    const char *const *connect; /* host:port list, without 'local' */
    size_t connect_count;
    bool mine;
    struct span payout_script; /* borrowed; what mining pays */
    const char *payout_address;
    uint32_t block_interval_s;      /* regtest: mine one block every so many seconds; 0 off */
    const char *const *load_blocks; /* --loadblock files, in order */
    size_t load_block_count;
    enum { EXIT_NEVER, EXIT_LOADED, EXIT_SYNCED, EXIT_HEIGHT } exit_when;
    uint32_t exit_height;
    size_t script_cache_bytes;
    struct hash256 assume_valid; /* zero: every script is run */
    struct u256 minimum_work;    /* of a chain before assume_valid counts */
    /* What is queued should be carried out now, from inside node_handle (node_next_action, as ever): every
     * microsecond on the old tip is lost. NULL: it is carried out after node_handle. */
    void (*urgent)(void *host);
    void *host;
    int64_t (*clock_us)(void); /* monotonic, for the latency instruments only; NULL: the time of the event */
};

/* What the hash workers are to do. The host copies it. */
struct work_order {
    uint64_t id; /* given back with a hit; older ones are stale */
    bool idle;   /* nothing to hash: pause */
    uint8_t header[HEADER_BYTES];
    uint32_t version_mask; /* bits that may be rolled; 0: none */
    struct u256 target;
};

enum event_kind {
    EVENT_START,       /* once, when the loop is ready */
    EVENT_ACCEPTED,    /* peer, text = address */
    EVENT_OPENED,      /* peer, text = address */
    EVENT_DIAL_FAILED, /* peer, text = why */
    EVENT_BYTES,       /* peer, bytes */
    EVENT_DRAINED,     /* peer, queued_bytes */
    EVENT_CLOSED,      /* peer, text = why */
    EVENT_JOB,         /* job: finished by the host */
    EVENT_TIMER,       /* the moment asked for by ACTION_TIMER has come */
    EVENT_HIT,         /* hit: a hash below the target */
    EVENT_USED_UP,     /* hit.work_id: a hash worker has tried its whole part of this work */
    EVENT_RPC,         /* rpc = id of the request, bytes = one JSON text */
    EVENT_RPC_GONE,    /* rpc: nobody waits for its answer any more */
    EVENT_STATS,       /* stats: hash counters and host facts, now and then (at most once a second) */
    EVENT_SWITCHED,    /* switched: all hash workers had begun with this work (or later) by that moment */
    EVENT_STOP,        /* SIGTERM, SIGINT */
};

/* One hash worker since the start, counted, not estimated. */
struct hash_worker_counts {
    const char *rolling, *plain; /* kernels, for several versions at once and for one; "" while it measures */
    uint64_t hashes, hashes_rolling; /* all; of these, several versions at once */
    uint64_t hits, hits_lost, switches;
    double cpu_s;
};

struct event {
    enum event_kind kind;
    struct moment now;
    union {
        struct {
            peer_id peer;
            const char *text;
            const uint8_t *data;
            size_t len;
            size_t queued_bytes;
        };
        struct job *job;
        struct {
            uint64_t work_id;
            uint32_t version, nonce;
            uint64_t hashes_total; /* all workers, since the start, counted until now */
        } hit;
        struct {
            uint64_t rpc;
            const char *rpc_text;
            size_t rpc_len;
        };
        struct {
            uint64_t hashes_total;
            double hashes_per_s;
            uint32_t threads;
            const char *kernel;
            size_t memory_bytes;
            const struct hash_worker_counts *workers; /* worker_count of them, borrowed */
            size_t worker_count;
        } stats;
        struct {
            uint64_t work_id;
            int64_t mono_us;
        } switched;
    };
};

enum action_kind {
    ACTION_SEND,      /* peer, message */
    ACTION_CLOSE,     /* peer: after draining, at most 1 s */
    ACTION_PAUSE,     /* peer, at_mono_us: what it sends may wait until then */
    ACTION_DIAL,      /* peer, text = host, port */
    ACTION_JOB,       /* job */
    ACTION_WORK,      /* work */
    ACTION_RPC_REPLY, /* rpc, bytes = one JSON text without newline */
    ACTION_TIMER,     /* at_mono_us: the next EVENT_TIMER; replaces the one before */
    ACTION_PRINT,     /* text for standard output */
    ACTION_SAVE,      /* bytes to be the whole of the file of this name (text) in the chain's folder */
    ACTION_EXIT,      /* everything is flushed: leave with exit_code */
};

struct action {
    enum action_kind kind;
    peer_id peer;
    uint16_t port;
    uint64_t rpc;
    struct shared *message; /* a reference, the action's */
    struct buf bytes;       /* the host frees or takes it */
    char *text;             /* mem_alloc; the host frees it */
    struct job *job;
    struct work_order work;
    int64_t at_mono_us;
    int exit_code;
};

struct node;
/* Opens the chain through reader. NULL and *error when it cannot. */
struct node *node_new(const struct node_config *config, const struct store_reader *reader,
                      struct error *error) MUST_USE;
void node_free(struct node *node);
void node_handle(struct node *node, const struct event *event);
/* The next thing to do, in order; false when there is nothing. Call until false after every node_handle. */
bool node_next_action(struct node *node, struct action *out);
void action_free(struct action *action); /* frees message, bytes and text */

/* For the host, the simulator and tests: read-only looks inside. */
struct chain *node_chain(struct node *node);
struct mempool *node_mempool(struct node *node);
struct p2p *node_p2p(struct node *node);
bool node_synced(const struct node *node);

/* For command lines: whether argument `index` of a method is a string, to be quoted and not read as JSON.
 * False also for unknown methods. */
bool rpc_argument_is_text(const char *method, size_t index);

/* The RPC error codes are Bitcoin Core's. */
enum rpc_code {
    RPC_INVALID_REQUEST = -32600,
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_PARSE_ERROR = -32700,
    RPC_MISC_ERROR = -1,
    RPC_TYPE_ERROR = -3,
    RPC_INVALID_ADDRESS_OR_KEY = -5,
    RPC_OUT_OF_MEMORY = -7,
    RPC_INVALID_PARAMETER = -8,
    RPC_CLIENT_NOT_CONNECTED = -9,
    RPC_CLIENT_IN_INITIAL_DOWNLOAD = -10,
    RPC_CLIENT_NODE_ALREADY_ADDED = -23,
    RPC_CLIENT_NODE_NOT_ADDED = -24,
    RPC_CLIENT_NODE_NOT_CONNECTED = -29,
    RPC_CLIENT_INVALID_IP_OR_SUBNET = -30,
    RPC_CLIENT_NODE_CAPACITY_REACHED = -34,
    RPC_DATABASE_ERROR = -20,
    RPC_DESERIALIZATION_ERROR = -22,
    RPC_VERIFY_ERROR = -25,
    RPC_VERIFY_REJECTED = -26,
    RPC_VERIFY_ALREADY_IN_UTXO_SET = -27,
    RPC_IN_WARMUP = -28,
};

#endif
