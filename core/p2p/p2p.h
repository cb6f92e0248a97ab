/*
 * core/p2p: Bitcoin's peer protocol (version 70016, BIPs 31, 35, 111, 130, 133, 144, 152, 155, 159, 339) as a
 * state machine.
 *
 * Bytes of a peer go in, bytes for peers come out through events; blocks and transactions go to core/chain
 * and core/mempool. Handshake, keep-alive, headers-first synchronisation from several peers, relay,
 * misbehaviour, the list of peers to stay connected to. Not here: sockets, name resolution, clocks. Thread:
 * the loop thread.
 */
#ifndef QUARRY_CORE_P2P_H
#define QUARRY_CORE_P2P_H

#include "core/mempool/mempool.h"

#define P2P_VERSION           70016
#define P2P_SERVICES          (1u | 8u | 1024u) /* NODE_NETWORK, NODE_WITNESS, NODE_NETWORK_LIMITED */
#define P2P_MESSAGE_BYTES_MAX 4000000u          /* payload, of whatever command */
/* Per peer: beyond the first no more blocks are served until it has read; beyond the second it is cut off. */
#define P2P_SEND_QUEUE_SOFT (1u << 20)
#define P2P_SEND_QUEUE_HARD (8u << 20)
/* Over all peers: what waits to be sent; and what has come in and waits to be dealt with. Beyond either, the
 * peer that holds most of it is cut off. These two are the greater part of the printed network budget. */
#define P2P_SEND_TOTAL_MAX    (96u << 20)
#define P2P_RECEIVE_TOTAL_MAX (96u << 20)

/* Kinds of messages that are counted apart, the last one being all others together. */
#define P2P_MESSAGE_TYPES 31u

/* Chosen by the host for inbound (1 and up), by p2p for outbound (P2P_OUTBOUND and up); never reused in one
 * run. */
typedef uint32_t peer_id;
#define P2P_OUTBOUND 0x40000000u /* what clients read ids into has 31 bits */

struct p2p_events {
    void *context;
    /* Whole messages; takes over a reference. The same one may go to many peers. */
    void (*send)(void *context, peer_id peer, struct shared *message);
    /* After what was sent has drained, or at once when it does not drain in 1 s; p2p_closed follows. */
    void (*close)(void *context, peer_id peer);
    /* Read nothing more from it until then: what it has sent may wait. */
    void (*pause)(void *context, peer_id peer, int64_t until_mono_us);
    /* Resolve afresh and connect; answered by p2p_opened or p2p_dial_failed. */
    void (*dial)(void *context, peer_id peer, const char *host, uint16_t port);
    /* The lines promised on standard output: waiting for, connected to. */
    void (*print)(void *context, const char *line);
};

/* What learned addresses are used for: nothing; in place of peers that are down; to have several peers. */
enum p2p_discover { P2P_DISCOVER_NO, P2P_DISCOVER_FALLBACK, P2P_DISCOVER_YES };

struct p2p_config {
    const char *user_agent;   /* "/Quarry:0.1.0/" */
    const char *program_line; /* what GET / answers first: "Quarry 0.1.0" */
    uint32_t inbound_max;     /* default 117 */
    enum p2p_discover discover;
    struct rng *rng;
    bool blocks_only; /* no transactions are taken from peers without the permission relay */
    int64_t
        trickle_us; /* a transaction waits so long on average before a peer is told of it; 0: not at all */
    int64_t (*clock_us)(void); /* monotonic, for the latency instruments only; NULL: the time of the event */
};

/* What known peers may do: Bitcoin Core's permissions (its bloom filters do not exist here). */
enum p2p_permission {
    P2P_PERMIT_NOBAN = 1, /* is not disconnected for misbehaviour, never leaves for others, no ban counts */
    P2P_PERMIT_FORCERELAY = 2, /* its transactions are announced again although they are known */
    P2P_PERMIT_RELAY = 4,      /* its transactions are asked for at once, however many it announces */
    P2P_PERMIT_MEMPOOL = 8,    /* gets an answer to "mempool" (BIP35) */
    P2P_PERMIT_DOWNLOAD = 16,  /* may always ask for blocks: so may everybody, as there is no upload limit */
    P2P_PERMIT_ADDR = 32,      /* may tell and ask any number of addresses */
    P2P_PERMIT_ALL = 63,
};
const char *p2p_permission_name(uint32_t flag);

struct p2p;
struct p2p *p2p_new(const struct p2p_config *config, struct chain *chain, struct mempool *pool,
                    const struct p2p_events *events);
void p2p_free(struct p2p *p2p);

/* A peer to stay connected to for ever ("host:port", names allowed; port defaults to the chain's). The log
 * and standard output say "waiting for HOST:PORT (attempt N)" with back-off 0.2 s .. 10 s and "connected to
 * HOST:PORT". */
bool p2p_add_node(struct p2p *p2p, const char *host_port, struct moment now, struct error *error) MUST_USE;
struct p2p_node_info {
    char node[96];    /* as it was given */
    char address[80]; /* of the connection; empty: none now */
};
size_t p2p_nodes(const struct p2p *p2p, struct p2p_node_info *out,
                 size_t max); /* those to stay connected to */
void p2p_ping_all(struct p2p *p2p, struct moment now);
bool p2p_remove_node(struct p2p *p2p, const char *host_port);
bool p2p_try_once(struct p2p *p2p, const char *host_port, struct moment now,
                  struct error *error) MUST_USE; /* addnode onetry */
/* For tests (addconnection): the same as one of those that we choose ourselves, "outbound-full-relay",
 * "block-relay-only" or "feeler"; ERROR_USAGE: none of these. */
bool p2p_try_as(struct p2p *p2p, const char *host_port, const char *connection_type, struct moment now,
                struct error *error) MUST_USE;

/* "[PERMISSIONS@]IP[/BITS]", as Bitcoin Core's -whitelist; ERROR_USAGE. For connections from now on. */
bool p2p_whitelist(struct p2p *p2p, const char *text, struct error *error) MUST_USE;
/* Once called, peers may connect from these subnets and from this machine only. ERROR_USAGE. */
bool p2p_allow(struct p2p *p2p, const char *subnet, struct error *error) MUST_USE;
/* Off: all connections end, none is accepted or begun (setnetworkactive). */
void p2p_set_active(struct p2p *p2p, bool active, struct moment now);
bool p2p_is_active(const struct p2p *p2p);

/* We accept peers at this port. Whom we dial is told one: the first that is given here. */
void p2p_listening(struct p2p *p2p, uint16_t port);

/* From the host. address is "ip:port" text of the other side. */
void p2p_accepted(struct p2p *p2p, peer_id peer, const char *address, struct moment now);
void p2p_opened(struct p2p *p2p, peer_id peer, const char *address,
                struct moment now); /* an outbound dial succeeded */
void p2p_dial_failed(struct p2p *p2p, peer_id peer, const char *why, struct moment now);
void p2p_bytes(struct p2p *p2p, peer_id peer, const uint8_t *data, size_t len, struct moment now);
/* The send queue of this peer, in bytes, after something drained. */
void p2p_drained(struct p2p *p2p, peer_id peer, size_t queued_bytes, struct moment now);
void p2p_closed(struct p2p *p2p, peer_id peer, const char *why, struct moment now);
/* Time-outs, pings, retries, block requests that stalled. Call at or after the returned moment (mono_us). */
int64_t p2p_tick(struct p2p *p2p, struct moment now);

/* A compact block has been announced and goes on when that has left: the node is to call p2p_go_on before it
 * handles another event, and soon. */
bool p2p_waits(const struct p2p *p2p);
void p2p_go_on(struct p2p *p2p, struct moment now);

/* To be called from the events of chain and mempool. */
/* BIP152: header, proof of work and form are right, the rest follows. True: peers were told, and what is to
 * be sent should leave before the block is connected. */
bool p2p_block_checked(struct p2p *p2p, const struct block_entry *entry, const struct block *block);
void p2p_block_verified(struct p2p *p2p,
                        const struct block_entry *entry); /* scripts passed: it will be the tip */
void p2p_block_connected(struct p2p *p2p, const struct block_entry *entry);
void p2p_tip_changed(struct p2p *p2p, const struct block_entry *old_tip, const struct block_entry *tip,
                     struct moment now); /* announces */
/* Once for every block that came from a peer; a second time with an error if it was stored only, and breaks a
 * rule when it is connected. */
void p2p_block_result(struct p2p *p2p, const struct hash256 *hash, peer_id source, const struct error *error,
                      struct moment now);
void p2p_tx_added(struct p2p *p2p, const struct mempool_entry *entry, bool announce);
/* Once more, to those that neither have it nor have been told. */
void p2p_tx_announce(struct p2p *p2p, const struct mempool_entry *entry);
void p2p_tx_result(struct p2p *p2p, struct tx *tx, peer_id source, const struct error *error,
                   struct moment now);
/* chain/mempool `source` values below 2^32 are peers; hosts use higher ones for their own. */

/* No connected peer has offered more work than our tip has, nothing is being fetched. */
bool p2p_synced(const struct p2p *p2p);
/* We are not catching up: at most a block or two of the best headers are missing, or nobody has delivered any
 * of those for 10 s. Whoever shows headers and keeps the blocks must not silence a network. */
bool p2p_near_tip(const struct p2p *p2p);
struct p2p_compact_stats {
    uint64_t received;  /* compact blocks that were new to us */
    uint64_t at_once;   /* of them, put together without asking for anything */
    uint64_t asked;     /* transactions that had to be asked for */
    uint64_t fell_back; /* the whole block was asked for: collision, or a spoiled copy */
    uint64_t sent;
};
void p2p_compact_stats(const struct p2p *p2p, struct p2p_compact_stats *out);

/* ---- Latency instruments (latency.c): every block that comes while we are near the tip --------------- */

/* Where a block passes. RECEIVED counts from its first byte, the others count from RECEIVED. */
enum p2p_hop {
    HOP_RECEIVED,  /* its last byte is here, a compact one is put together */
    HOP_CHECKED,   /* header, proof of work and all rules that need no coins */
    HOP_ANNOUNCED, /* to the first peer */
    HOP_VERIFIED,  /* coins and scripts too: work on top of it goes out */
    HOP_SWITCHED,  /* every hash worker is at work on top of it */
    HOP_CONNECTED, /* coins applied, indexes and undo made: the tip */
    P2P_HOPS
};
extern const char *const p2p_hop_names[P2P_HOPS];

#define P2P_LATENCY_BUCKETS 15
extern const int64_t p2p_latency_bounds_us[P2P_LATENCY_BUCKETS - 1]; /* upper ones; the last has none */
struct p2p_histogram {
    uint64_t count;
    int64_t sum_us, max_us;
    uint32_t buckets[P2P_LATENCY_BUCKETS]; /* each by itself, not cumulative */
};
struct p2p_latency {
    struct p2p_histogram hops[P2P_HOPS];
};
#define P2P_BLOCK_TIMES 128 /* the latest blocks are remembered one by one */
struct p2p_block_times {
    struct hash256 hash;
    uint32_t height, tx_count, bytes;
    peer_id peer;     /* that brought it; 0: nobody, it was mined here or came by RPC */
    char address[80]; /* of the peer */
    bool compact;
    int64_t first_us;        /* monotonic: its first byte */
    int64_t at_us[P2P_HOPS]; /* monotonic; 0: not yet, or never */
};
void p2p_latency(const struct p2p *p2p, struct p2p_latency *out); /* of all peers and of our own blocks */
size_t p2p_block_times(const struct p2p *p2p, struct p2p_block_times *out, size_t max); /* oldest first */
/* The upper bound of the bucket in which this share of the values lies, or their maximum when that is lower.
 */
int64_t p2p_latency_quantile(const struct p2p_histogram *histogram, double q);
/* All hash workers have begun with work on this tip, the last at this moment. */
void p2p_workers_switched(struct p2p *p2p, const struct hash256 *tip, int64_t mono_us);

#define P2P_IN_FLIGHT_MAX 16u /* blocks asked for, of one peer */
struct p2p_peer_info {
    peer_id id;
    char address[80], node[80]; /* node: the configured name when it is one of ours to keep, else empty */
    const char *network, *connection_type; /* in Bitcoin Core's words */
    uint32_t permissions;
    bool inbound, handshake_done, wants_headers, wants_wtxid, wants_txs, wants_addrs;
    bool compact_to, compact_from; /* we have asked it, it has asked us for compact blocks unasked */
    uint64_t services;
    int32_t version, start_height, synced_headers, synced_blocks;
    char user_agent[264];
    int64_t connected_unix_s, last_send_unix_s, last_receive_unix_s, last_tx_unix_s, last_block_unix_s;
    int64_t ping_us, min_ping_us, ping_wait_us; /* -1 unknown */
    int64_t time_offset_s;
    uint64_t bytes_sent, bytes_received, sent_by_type[P2P_MESSAGE_TYPES], received_by_type[P2P_MESSAGE_TYPES];
    uint64_t addrs_processed, addrs_limited;
    uint32_t in_flight[P2P_IN_FLIGHT_MAX], blocks_in_flight; /* heights of the blocks asked for */
    int64_t fee_filter_sat;
    struct p2p_latency latency; /* of the blocks that it was first to bring */
};
const char *p2p_message_name(size_t type); /* of sent_by_type; the last is "*other*" */
size_t p2p_peers(const struct p2p *p2p, struct p2p_peer_info *out, size_t max);
bool p2p_disconnect(struct p2p *p2p, const char *address_or_empty,
                    peer_id id); /* disconnectnode; false: no such peer */
/* Nobody from this address or subnet ("IP", "IP/BITS", "IP/NETMASK") stays or gets in until then.
 * ERROR_PARSE, ERROR_DUPLICATE, ERROR_LIMIT; the texts are Bitcoin Core's. */
#define P2P_BANS_MAX 1000u
struct p2p_ban_info {
    char subnet[64]; /* "IP/BITS" */
    int64_t created_unix_s, until_unix_s;
};
bool p2p_ban(struct p2p *p2p, const char *subnet, int64_t until_unix_s, struct moment now,
             struct error *error) MUST_USE;
bool p2p_unban(struct p2p *p2p, const char *subnet,
               struct error *error) MUST_USE; /* ERROR_PARSE, ERROR_MISSING */
void p2p_unban_all(struct p2p *p2p);
/* One that was in force before a restart. False: it cannot be read, is known, or they are too many. */
bool p2p_restore_ban(struct p2p *p2p, const struct p2p_ban_info *ban);
size_t p2p_bans(struct p2p *p2p, struct p2p_ban_info *out, size_t max, struct moment now);

/* The address book: what peers.dat holds. False: these bytes are damaged or another network's. */
bool p2p_load_addresses(struct p2p *p2p, struct span file, struct moment now) MUST_USE;
/* at_the_end: the peers that were found and are connected now are dialled first next time. */
void p2p_save_addresses(struct p2p *p2p, bool at_the_end, struct buf *out);
enum p2p_network { P2P_IPV4, P2P_IPV6, P2P_TOR, P2P_I2P, P2P_CJDNS, P2P_NETWORKS };
struct p2p_address_info {
    char address[72]; /* an IP address, or a name that ends in .onion or .b32.i2p */
    uint16_t port;
    enum p2p_network network;
    uint64_t services;
    int64_t seen_unix_s;
};
#define P2P_ADDRESSES_MAX 2560u
size_t p2p_addresses(struct p2p *p2p, struct p2p_address_info *out, size_t max); /* a random selection */
/* How many it holds, by p2p_network. */
struct p2p_address_count {
    size_t fresh, tried;
};
void p2p_count_addresses(const struct p2p *p2p, struct p2p_address_count out[P2P_NETWORKS]);
/* Its places one by one, with where they lie; start with *position = 0; false at the end. */
struct p2p_place_info {
    struct p2p_address_info address;
    char source[48];
    bool tried, source_ipv6;
    uint32_t bucket, slot;
};
bool p2p_next_place(const struct p2p *p2p, size_t *position, struct p2p_place_info *out);
/* addpeeraddress; false: not an address, known, or no room for it. */
bool p2p_add_address(struct p2p *p2p, const char *ip, uint16_t port, bool tried, struct moment now);

size_t p2p_peer_count(const struct p2p *p2p, size_t *outbound);
/* Learned addresses, receive buffers, send queues, requests, transactions held (orphans, extra ones, compact
 * blocks that are not whole yet), messages kept for the next who asks. What waits for several peers counts in
 * the queue of each: no more is held than this says. Not here: what is gone again when the call that made it
 * returns. */
size_t p2p_memory_bytes(const struct p2p *p2p);
/* Upper bound that p2p_memory_bytes can reach with inbound_max peers: for the printed budget. */
size_t p2p_memory_bytes_max(const struct p2p *p2p);

#endif
