/* Private to core/p2p: peers, requests, and the seams between framing, synchronisation, serving and relay. */
#ifndef QUARRY_CORE_P2P_PRIVATE_H
#define QUARRY_CORE_P2P_PRIVATE_H

#include "core/p2p/p2p.h"

#define MESSAGE_HEADER_BYTES 24u
#define SERVICES             P2P_SERVICES
#define INV_MAX              50000u
#define HEADERS_MAX          2000u
#define LOCATOR_MAX          101u
#define US_PER_S             INT64_C(1000000)
#define EXTRA_TXS            100u
#define EXTRA_TX_BYTES_MAX   (100u << 10) /* in memory; larger ones are not kept */
#define ORPHANS_BYTES_MAX    (8u << 20)   /* in memory, all together */
/* Partly assembled compact blocks, all together: one of the most transactions that a block can have fits. */
#define PARTIAL_TOTAL_MAX (80u << 20)
#define LEARNED_MAX       1000u

enum inv_type { INV_TX = 1, INV_BLOCK = 2, INV_COMPACT = 4, INV_WTX = 5, INV_WITNESS_FLAG = 0x40000000 };

/* One name to stay connected to. */
struct node_slot {
    struct list link;
    char text[96], host[88];
    uint16_t port;
    peer_id peer; /* 0: none now */
    int64_t next_try_us, backoff_us, last_said_us;
    uint32_t attempts;
    int64_t down_since_us;
    bool once;       /* addnode onetry */
    bool substitute; /* a learned address, in place of one that is down */
};

struct peer {
    struct list link;
    peer_id id;
    bool inbound, closing, open; /* open: the transport is there */
    struct node_slot *node;
    char address[80];
    struct buf in;
    bool recognised;                /* the first bytes were Bitcoin's */
    bool have_version, have_verack; /* from the other side */
    bool wants_headers, wants_wtxid, wants_txs, wants_addrv2;
    uint64_t services;
    int32_t version, start_height;
    uint16_t listen_port; /* that it says it has; 0: none */
    bool asked_addresses;
    char user_agent[264];
    int64_t fee_filter_sat;
    int64_t opened_us, connected_unix_s, last_send_unix_s, last_receive_unix_s;
    int64_t ping_sent_us, ping_us, min_ping_us; /* -1: none, unknown */
    uint64_t ping_nonce;
    uint64_t bytes_sent, bytes_received;
    size_t queued_bytes; /* sent by us, not yet taken by the network */
    int64_t last_drain_us;
    int64_t message_us; /* the first byte of the message that is coming in, or was dealt with last */
    struct p2p_latency latency;
    /* synchronisation */
    const struct block_entry *best_known; /* with most work that it has shown */
    const struct block_entry *best_sent;  /* that we have announced to it */
    const struct block_entry *have_up_to; /* on the way to best_known: everything below is here */
    int64_t headers_asked_us;             /* 0: no answer awaited */
    int64_t ask_headers_us;               /* when it is to be asked; 0: not */
    bool headers_answered;
    bool asked_from_tip;      /* not from the best header on, which it had nothing to add to */
    struct hash256 announced; /* a block of its that we do not know and have not been led to yet */
    uint32_t announced_asks;  /* how often we have asked what leads to it; 0: nothing is announced */
    struct presync *presync;  /* a chain of its whose work is not shown yet, or is being stored; NULL: none */
    uint32_t in_flight;
    int64_t last_block_us, resting_until_us;
    /* compact blocks */
    bool speaks_compact, wants_compact; /* it has offered version 2; it wants them unasked */
    bool fast;                          /* we have asked it to send them unasked */
    int64_t fast_since_us;
    struct partial *partial; /* a compact block of its whose transactions are on their way */
    /* relay and serving */
    struct map known;  /* hashes that it has or has been told of */
    struct buf wanted; /* getdata items not served yet: type, hash */
    size_t wanted_at;
    bool reading;     /* a block is being read for it */
    bool reading_txs; /* likewise, for getblocktxn */
};

/* Where somebody listens. */
struct learned {
    uint8_t ip[4];
    uint16_t port;
    int64_t next_try_us;
};

/* Who is not wanted: an address as IPv6 (IPv4 mapped), of which the first bits count. */
struct ban {
    uint8_t ip[16];
    uint32_t bits;
    int64_t created_unix_s, until_unix_s;
};

/* A transaction whose inputs are not all known. */
struct orphan {
    struct tx *tx;
    peer_id peer;
    int64_t since_us;
};

struct block_request {
    peer_id peer;
    int64_t since_us;
};

struct tx_request {
    peer_id peer;
    int64_t since_us;
    bool by_wtxid;
    uint8_t other_count;
    peer_id others[4]; /* who else has announced it */
};

struct p2p {
    struct p2p_config config;
    struct chain *chain;
    struct mempool *pool;
    struct p2p_events events;
    struct list peers, nodes;
    struct map by_id;            /* peer_id -> struct peer * */
    struct map block_requests;   /* hash -> struct block_request */
    struct map tx_requests;      /* wtxid or txid -> struct tx_request */
    struct map rejected;         /* transactions not to ask for again on this tip */
    struct map compacted;        /* blocks put together from compact ones, until their fate is known */
    struct map orphans;          /* wtxid -> struct orphan */
    struct tx *extra[EXTRA_TXS]; /* ring: seen lately and not in the mempool, for compact blocks */
    size_t extra_next;
    size_t orphan_bytes, extra_bytes, partial_bytes; /* of the transactions held, as tx_memory counts */
    struct learned learned[LEARNED_MAX];
    size_t learned_count;
    struct ban bans[P2P_BANS_MAX];
    size_t ban_count;
    uint16_t listen_port;
    uint32_t side_headers; /* added without more work than our tip's, in this run */
    struct p2p_compact_stats compact;
    struct p2p_block_times times[P2P_BLOCK_TIMES]; /* a ring */
    size_t times_count;                            /* since the start */
    struct p2p_latency latency;
    peer_id next_outbound;
    uint64_t nonce; /* to recognise ourselves */
    size_t send_total, receive_total, inbound_count;
    struct moment now;
    int64_t progress_us; /* the last block that was asked for has come, or the first header beyond our tip */
    bool announcement_due; /* the tip was kept to ourselves while we were catching up */
    bool requesting, request_again;
};

/* What a transaction of its own takes. Who else holds a reference is not asked: it may let go. */
static inline size_t tx_memory(const struct tx *tx)
{
    return sizeof *tx + tx->arena.used_bytes;
}

/* p2p.c */
struct peer *peer_find(const struct p2p *p2p, peer_id id);
static inline bool peer_ready(const struct peer *peer)
{
    return peer->have_version && peer->have_verack && !peer->closing;
}
/* A closing peer is deaf and mute; p2p_closed frees it. why goes to the log at this level. */
void peer_close(struct p2p *p2p, struct peer *peer, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void peer_knows(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
bool peer_is_known(const struct peer *peer, const struct hash256 *hash);

/* message.c */
void message_send(struct p2p *p2p, struct peer *peer, const char *command,
                  struct buf *payload); /* payload may be NULL; freed */
void message_receive(struct p2p *p2p, struct peer *peer);

/* handshake.c */
void handshake_begin(struct p2p *p2p, struct peer *peer);
void handle_version(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_verack(struct p2p *p2p, struct peer *peer);
void handle_ping(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_pong(struct p2p *p2p, struct peer *peer, struct cursor *c);
void ping_send(struct p2p *p2p, struct peer *peer);
bool http_answer(struct p2p *p2p,
                 struct peer *peer); /* true: it was HTTP and has been dealt with, or waits for more */

/* sync.c */
void sync_ask_headers(struct p2p *p2p, struct peer *peer, const struct block_entry *from);
/* The same, after a header that is not in the index: what follows it, or else from. */
void sync_ask_headers_after(struct p2p *p2p, struct peer *peer, const struct hash256 *unkept,
                            const struct block_entry *from);
void handle_headers(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_block(struct p2p *p2p, struct peer *peer, struct span payload);
void handle_block_inv(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
void sync_learn(struct peer *peer, const struct block_entry *entry); /* it has shown this header */
void sync_request_blocks(struct p2p *p2p);
void sync_forget_peer(struct p2p *p2p, struct peer *peer);
void sync_not_found(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
void sync_tick(struct p2p *p2p);

bool end_request(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
void ask_whole_block(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
/* Gives a block to the chain. asked: we wanted it. False when the copy was spoiled (and says nothing). */
bool sync_take_block(struct p2p *p2p, peer_id id, struct block *block, bool asked, bool compact);

/* presync.c */
/* True: the message is dealt with, kept out of the index for the time being, or its headers are wrong (they
 * do not follow each other, have transactions or no proof of work): then the peer goes, and none of them is
 * kept. */
bool presync_takes(struct p2p *p2p, struct peer *peer, struct cursor c, size_t count);
/* Whether a header that comes with a block nobody asked for may enter the index. */
bool presync_admits(struct p2p *p2p, const struct block_header *header, const struct hash256 *hash);
void presync_forget(struct peer *peer);
size_t presync_bytes(const struct peer *peer);
size_t presync_bytes_max(void);

/* compact.c */
void compact_offer(struct p2p *p2p, struct peer *peer, bool unasked);
void handle_sendcmpct(struct peer *peer, struct cursor *c);
void handle_cmpctblock(struct p2p *p2p, struct peer *peer, struct span payload);
void handle_getblocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_blocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c);
void compact_send(struct p2p *p2p, struct peer *peer, const struct block *block);
/* To every peer that wants compact blocks unasked, knows the parent and not the block. False: there is none.
 */
bool compact_announce(struct p2p *p2p, const struct block_entry *entry, const struct block *block);
void compact_prefer(struct p2p *p2p, struct peer *peer); /* it was first with a good block */
void compact_remember(struct p2p *p2p, struct tx *tx);
void compact_forget_peer(struct p2p *p2p, struct peer *peer);
void compact_free(struct p2p *p2p);

/* latency.c: a block passes by */
void latency_first_byte(struct p2p *p2p, const struct peer *peer, const struct hash256 *hash);
void latency_received(struct p2p *p2p, const struct peer *peer, const struct block *block, bool compact);
void latency_checked(struct p2p *p2p, const struct block_entry *entry, const struct block *block);
void latency_passed(struct p2p *p2p, const struct hash256 *hash, enum p2p_hop hop);

/* orphans.c */
void orphan_add(struct p2p *p2p, struct peer *peer, struct tx *tx);
void orphans_of(struct p2p *p2p, const struct tx *parent); /* its parent is here: try again */
bool orphan_find(const struct p2p *p2p, const struct hash256 *wtxid);
void orphans_forget_peer(struct p2p *p2p, peer_id peer);
void orphans_tick(struct p2p *p2p);
void orphans_free(struct p2p *p2p);

/* bans.c */
bool ban_covers(const struct p2p *p2p, const char *address); /* "IP:PORT" */

/* addresses.c */
void addresses_greet(struct p2p *p2p, struct peer *peer);
void handle_getaddr(struct p2p *p2p, struct peer *peer);
void handle_addr(struct p2p *p2p, struct peer *peer, struct cursor *c, bool v2);
void addresses_ourselves(struct p2p *p2p, const struct peer *peer); /* what we dialled is this very node */
void addresses_tick(struct p2p *p2p);
bool p2p_substitute(struct p2p *p2p, const char *host_port, struct error *error); /* p2p.c */

/* serve.c */
void handle_getheaders(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_getblocks(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_getdata(struct p2p *p2p, struct peer *peer, struct cursor *c);
void serve_wanted(struct p2p *p2p, struct peer *peer);
void serve_waiting(struct p2p *p2p); /* a block was judged: whoever waits for one */

/* relay.c */
void handle_inv(struct p2p *p2p, struct peer *peer, struct cursor *c);
void relay_want(struct p2p *p2p, struct peer *peer, const struct hash256 *txid); /* the parent of an orphan */
bool peer_has_block(const struct peer *peer, const struct block_entry *entry);
void handle_tx(struct p2p *p2p, struct peer *peer, struct span payload);
void handle_notfound(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_mempool(struct p2p *p2p, struct peer *peer);
void relay_forget_peer(struct p2p *p2p, struct peer *peer);
void relay_tick(struct p2p *p2p);
void relay_announce_tip(struct p2p *p2p);

#endif
