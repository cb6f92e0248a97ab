/*
 * A core/p2p without a host, for its tests: messages go in, what comes out is kept. Chain and mempool are
 * real, on files in memory and a store that remembers nothing (the caches hold all that these short chains
 * need); blocks of regtest whose outputs anybody may spend, coins mature after two blocks.
 */
#ifndef QUARRY_TESTS_UNIT_P2P_RIG_H
#define QUARRY_TESTS_UNIT_P2P_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "core/p2p/p2p.h"
#include "hashing/kernels/kernels.h"

#define MATURITY      2u
#define PEERS         128u /* that may be heard: inbound ones by their number, outbound ones behind them */
#define FIRST_DIALLED 48u
#define PLACES        7u /* for inbound peers */
#define PEER          1u /* that most tests speak through */
#define INV_TX        1u
#define INV_WTX       5u
#define INV_BLOCK     2u
#define WITNESS_FLAG  0x40000000u

extern struct chain_params params;

extern struct rig {
    struct chain *chain;
    struct mempool *pool;
    struct p2p *p2p;
    struct list jobs;
    struct rng rng;
    struct moment now;
    struct buf out[PEERS];
    struct shared *last[PEERS]; /* the last message of each, as it was handed over */
    bool closed[PEERS];
    int64_t paused_until_us[PEERS];
    struct p2p_config config; /* for the next begin_again */
    struct buf files[2];      /* blocks and undo records, as they were written */
    size_t reads;             /* of files */
    size_t reads_fail;        /* so many of the next ones */
    bool reads_wait;
    size_t reads_let; /* so many of those that wait */
    size_t dials;
    peer_id dialled; /* the last one */
    char dialled_host[96];
    uint16_t dialled_port;
} rig;

void begin(void);
void begin_forgetful(void); /* all but the latest block is in its file only */
void begin_again(void);     /* a new p2p on the same chain, with rig.config */
void end(void);
void pump(void);
void pass(int64_t us); /* time, with the ticks that are due */

/* ---- Speaking and listening */

size_t slot_of(peer_id peer); /* in rig.out and rig.closed */
void frame(struct buf *out, const char *command, struct span payload);
void say_bytes(peer_id peer, const void *data, size_t len);
void say(peer_id peer, const char *command, struct buf *payload); /* frees the payload */
void say_nothing_but(peer_id peer, const char *command);
void forget_heard(peer_id peer);
/* How many messages of this command it was sent since forget_heard; *last (may be NULL): the payload of the
 * last one. */
size_t heard(peer_id peer, const char *command, struct span *last);
void say_version(peer_id peer, uint64_t nonce, uint16_t listen_port);
void shake_hands(peer_id peer, uint16_t listen_port); /* it is connected already */
void answer_ping(peer_id peer);                       /* the last one, if there was one */
void connect_peer(peer_id peer);                      /* inbound, from 127.0.0.1 */
void connect_fast_peer(peer_id peer);                 /* it has our chain, and wants compact blocks unasked */
void connect_from(peer_id peer, const char *address, uint16_t listen_port);
struct p2p_peer_info info_of(peer_id peer);

/* ---- Headers, blocks and transactions */

struct block_header header_on(const struct hash256 *prev, uint32_t height, uint32_t salt);
struct hash256 mine(struct block_header *header);
void put_tx(struct buf *out, const struct hash256 *spent, uint32_t height, uint32_t outputs, int64_t sat,
            size_t padding);
/* A coinbase with so many bytes more (below 90) that blocks differ, then these transactions. */
struct block *block_on(const struct hash256 *prev, uint32_t height, uint32_t salt, struct span txs,
                       uint32_t count);
struct block *block_on_tip(struct span txs, uint32_t count); /* a coinbase, then these transactions */
void accept_block(struct block *block);
void say_block(peer_id peer, const struct block *block);
void say_item(peer_id peer, const char *command, uint32_t type, const struct hash256 *hash); /* one */
void grow(uint32_t count);
struct tx *spend(uint32_t height, int64_t sat); /* of the coinbase of the block at this height */

/* A chain of headers on genesis; hashes[0] is its hash. */
struct branch {
    struct block_header headers[4301];
    struct hash256 hashes[4301];
};
struct branch *branch_new(uint32_t salt, uint32_t length);
void say_headers_of(peer_id peer, struct block *const *blocks, size_t count);
void say_headers(peer_id peer, const struct branch *branch, uint32_t first, uint32_t last);

#endif
