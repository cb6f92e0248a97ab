/*
 * Private to `quarry-bench net`: what its modes are made of. net_chain.c makes blocks and transactions,
 * net_node.c runs real nodes in child processes, net_peer.c is the other end of a connection: a peer that
 * does as it is told. net.c chooses the mode; net_hop.c, net_links.c, net_sync.c, net_files.c and
 * net_choices.c are the modes.
 */
#ifndef QUARRY_BENCH_NET_H
#define QUARRY_BENCH_NET_H

#include <jansson.h>
#include <sys/types.h>

#include "bench/bench.h"
#include "core/chain/chain.h"

struct options {
    int64_t rounds, txs, blocks, peers;
};

/* ---- Blocks and transactions (net_chain.c) --------------------------------------------------------------
 */

/* A chain on a network of its own, where any hash will nearly do. Transactions pay to anybody (P2WSH of
 * OP_TRUE), have two inputs and two outputs each, and as many bytes as are wanted. */
struct net_chain {
    const struct chain_params *params; /* borrowed */
    struct hash256 tip;
    uint32_t height, time, tx_count;
    struct outpoint *coins; /* two for each transaction of the next generation */
    int64_t coin_sat;
    struct tx *ids; /* coinbase, then the generation: ids only */
    struct buf txs; /* their bytes one after another, without the coinbase */
    size_t *ends;   /* where each of them ends in txs */
};
bool net_chain_init(struct net_chain *chain, const struct chain_params *params, uint32_t first_time,
                    uint32_t tx_count);
void net_chain_free(struct net_chain *chain);
/* The coins for the first generation: some blocks, each given to sink as its bytes. */
bool net_chain_fund(struct net_chain *chain, bool (*sink)(void *context, struct span block), void *context);
/* The next generation of transactions, to be seen in chain->txs. */
void net_chain_txs(struct net_chain *chain, size_t bytes_each);
/* A block on the tip with the generation that was made last, or empty; appended to out. */
void net_chain_block(struct net_chain *chain, bool with_txs, struct buf *out);
/* The compact form of the block that was made last, its coinbase along with it. */
void net_chain_compact(const struct net_chain *chain, struct span block, bool with_txs, struct buf *out);

/* ---- Nodes (net_node.c) ---------------------------------------------------------------------------------
 */

struct net_usage {
    double user_s, system_s;
    double system_calls; /* -1: not counted here */
};

struct net_node {
    pid_t pid;
    char folder[160];
    uint16_t port;
    int output, counter;
    struct client *rpc;
    const struct chain_params *params; /* borrowed */
};

/* A scratch folder with the network's file in it, and its parameters; removed by net_end. */
bool net_begin(char folder[128], struct chain_params *params, struct error *error);
void net_end(const char *folder, struct chain_params *params);
void net_pause(int ms);
/* A network namespace of our own for this process and its children, with its loopback up. Needs root. */
bool net_namespace(struct error *error);
/* Starts a node in a child process, its flags ended by NULL; waits until it answers RPC. before, when not
 * NULL, is called in the child first. The folder is kept when it is there already. */
bool net_node_start(struct net_node *node, const char *folder, unsigned number, const char *const *flags,
                    bool (*before)(void *context), void *context, struct error *error);
/* result of one call, to be released; NULL: it failed. params is JSON text or NULL. */
json_t *net_node_ask(struct net_node *node, const char *method, const char *params);
int64_t net_node_height(struct net_node *node);
bool net_node_wait_height(struct net_node *node, int64_t height, double seconds);
struct net_usage net_node_usage(const struct net_node *node); /* so far; CPU times to 10 ms */
/* Ends it and says what it used (may be NULL). */
bool net_node_stop(struct net_node *node, struct net_usage *usage);

/* ---- Peers (net_peer.c) ---------------------------------------------------------------------------------
 */

struct net_peer {
    int fd;
    const struct chain_params *params;
    struct buf in;
    size_t taken;     /* of in: messages that were given out */
    int64_t first_ns; /* when the first byte of the last message given out came */
    int64_t chunk_ns; /* when the last bytes came */
};
struct net_message {
    char command[13];
    struct span payload; /* valid until the next call */
};
/* Connects to a node and shakes hands; asks for compact blocks unasked. */
bool net_peer_open(struct net_peer *peer, const struct net_node *node, struct error *error);
void net_peer_close(struct net_peer *peer);
void net_peer_frame(const struct net_peer *peer, const char *command, struct span payload, struct buf *out);
bool net_peer_write(struct net_peer *peer, struct span bytes);
bool net_peer_send(struct net_peer *peer, const char *command, struct span payload);
/* The next message; false after so many milliseconds without one, or when the connection is gone. Pings are
 * answered on the way. */
bool net_peer_next(struct net_peer *peer, struct net_message *out, int wait_ms);
void net_peer_drain(struct net_peer *peer); /* whatever is there */
/* Sends the generation's transactions and waits until the node holds them all. */
bool net_peer_give_txs(struct net_peer *peer, struct net_node *node, const struct net_chain *chain);

/* ---- Modes ----------------------------------------------------------------------------------------------
 */

bool net_hop(struct report *report, const struct options *options, struct error *error);
bool net_switch(struct report *report, const struct options *options, struct error *error);
bool net_links(struct report *report, const struct options *options, struct error *error);
bool net_sync(struct report *report, const struct options *options, struct error *error);
bool net_loops(struct report *report, const struct options *options, struct error *error);
bool net_choices(struct report *report, const struct options *options, struct error *error);
bool net_files(struct report *report, const struct options *options, struct error *error);

#endif
