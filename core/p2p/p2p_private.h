/* Private to core/p2p: peers, requests, and the seams between framing, synchronisation, serving and relay. */
#ifndef QUARRY_CORE_P2P_PRIVATE_H
#define QUARRY_CORE_P2P_PRIVATE_H

#include "core/p2p/p2p.h"

#define MESSAGE_HEADER_BYTES    24u
#define SERVICES                P2P_SERVICES
#define SERVICE_NETWORK         1u
#define SERVICE_WITNESS         8u
#define SERVICE_NETWORK_LIMITED 1024u /* BIP159 */
#define LIMITED_BLOCKS          288u  /* that such a peer has, at least */
#define INV_MAX                 50000u
#define HEADERS_MAX             2000u
#define LOCATOR_MAX             101u
#define VERSION_WTXID           70016                /* BIP339 */
#define COUNT_MAX               UINT64_C(0x02000000) /* that any list may claim */
#define US_PER_S                INT64_C(1000000)
#define EXTRA_TXS               100u
#define EXTRA_TX_BYTES_MAX      (100u << 10) /* in memory; larger ones are not kept */
#define ORPHANS_BYTES_MAX       (8u << 20)   /* in memory, all together */
/* Partly assembled compact blocks, all together: one of the most transactions that a block can have fits. */
#define PARTIAL_TOTAL_MAX (80u << 20)
#define SERVED_BYTES_MAX                                                                                     \
    (16u << 20) /* blocks ready to be sent; one that is larger than all is kept alone                        \
                 */

#define KNOWN_BYTES          8u     /* of a hash, to know it again */
#define TX_ANNOUNCEMENTS_MAX 60000u /* that wait to be asked for, of all peers */
#define NODES_MAX            128u   /* to stay connected to, to try, to stand in */
#define P2P_ALLOWED_MAX      64u
#define PERMITS_MAX          64u

enum inv_type { INV_TX = 1, INV_BLOCK = 2, INV_COMPACT = 4, INV_WTX = 5, INV_WITNESS_FLAG = 0x40000000 };

/* endpoint.c */
#define IP_TEXT       48u
#define ENDPOINT_TEXT 64u
#define SUBNET_TEXT   64u
struct endpoint {
    uint8_t ip[16]; /* IPv4 mapped into IPv6 */
    uint16_t port;
};
struct subnet { /* of ip the first bits count, the others are zero */
    uint8_t ip[16];
    uint32_t bits;
};

/* BIP155's numbers. Beyond the two of the internet are overlays: we tell where their nodes are, and do not
 * dial them. */
enum network { NETWORK_IPV4 = 1, NETWORK_IPV6 = 2, NETWORK_TOR = 4, NETWORK_I2P = 5, NETWORK_CJDNS = 6 };
size_t network_bytes(uint8_t network); /* of an address; 0: we do not know this one */

/* Where somebody listens, or is said to (book.c). */
#define PLACE_TEXT 72u
struct place {
    struct endpoint at;
    uint8_t overlay;    /* its number; 0: none, `at` is an IP address */
    uint8_t more[16];   /* of an address in an overlay, what does not fit into at.ip */
    uint8_t source[16]; /* who has told us */
    uint64_t services;
    int64_t seen_unix_s, answered_unix_s; /* by somebody, as told; by us (0: never) */
    int64_t next_try_us;                  /* INT64_MAX: it is this very node */
    uint16_t failures;                    /* tries in vain since it answered */
    bool anchor;                          /* connected to at the last clean stop */
};

#define BOOK_FRESH_BUCKETS 128u
#define BOOK_TRIED_BUCKETS 32u
#define BOOK_SLOTS         16u
#define TOLD_MAX           (BOOK_PLACES * 23 / 100)
#define BOOK_PLACES        ((BOOK_FRESH_BUCKETS + BOOK_TRIED_BUCKETS) * BOOK_SLOTS)
struct book {
    union {
        struct place all[BOOK_PLACES];
        struct {
            struct place fresh[BOOK_FRESH_BUCKETS * BOOK_SLOTS], tried[BOOK_TRIED_BUCKETS * BOOK_SLOTS];
        };
    };
    uint64_t taken[BOOK_PLACES / 64]; /* a bit for each of all */
    size_t count;
    uint64_t key[2];
};

/* Why we dial somebody: somebody said so, or we found an address. */
enum slot_kind {
    SLOT_DRAWN,
    SLOT_FOUND,
    SLOT_BLOCKS_ONLY, /* no transactions and no addresses pass through it */
    SLOT_FEELER,      /* only to see whether it answers */
};

/* One name to stay connected to, or to try. */
struct node_slot {
    struct list link;
    char text[96], host[88];
    uint16_t port;
    peer_id peer; /* 0: none now */
    int64_t next_try_us, backoff_us, last_said_us;
    uint32_t attempts;
    int64_t down_since_us;
    bool once; /* all but those to stay connected to */
    enum slot_kind kind;
};

struct peer {
    struct list link;
    peer_id id;
    bool inbound, closing, open; /* open: the transport is there */
    struct node_slot *node;
    char address[80];
    struct endpoint endpoint; /* of address */
    bool has_endpoint;
    uint64_t netgroup;
    uint32_t permissions; /* P2P_PERMIT_… */
    struct buf in;
    bool recognised;                /* the first bytes were Bitcoin's */
    bool have_version, have_verack; /* from the other side */
    bool wants_headers, wants_wtxid, wants_txs, wants_addrv2;
    uint64_t services;
    int32_t version, start_height;
    uint16_t listen_port; /* that it says it has; 0: none */
    bool asked_addresses, relays_addrs;
    uint8_t sees_us_at[16];   /* the IP address in its version message */
    struct buf addrs_to_tell; /* gathered while one message is looked at */
    size_t addrs_to_tell_count;
    double addr_tokens; /* addresses that it may still tell us */
    int64_t addr_tokens_us;
    uint64_t addrs_processed, addrs_limited;
    char user_agent[264];
    int64_t fee_filter_sat, time_offset_s;
    int64_t opened_us, connected_unix_s, last_send_unix_s, last_receive_unix_s;
    int64_t ping_sent_us, ping_us, min_ping_us; /* -1: none, unknown */
    int64_t pinged_us, last_receive_us, fee_told_us, fee_told_sat;
    uint64_t ping_nonce;
    uint64_t headers_given; /* in answers to it */
    uint32_t blocks_shown;  /* height up to which it has had them from us */
    uint64_t version_nonce; /* of our version message: comes back when we have dialled ourselves */
    uint64_t bytes_sent, bytes_received, sent_by_type[P2P_MESSAGE_TYPES], received_by_type[P2P_MESSAGE_TYPES];
    double units; /* its account (flood.c) */
    int64_t units_us;
    bool overdrawn;
    bool solicited;                    /* the message being handled was asked for */
    int64_t good_tx_us, good_block_us; /* when it last was first with one that we took; 0: never */
    size_t queued_bytes;               /* sent by us, not yet taken by the network */
    int64_t last_drain_us;
    int64_t message_us; /* the first byte of the message that is coming in, or was dealt with last */
    struct p2p_latency latency;
    /* synchronisation */
    const struct block_entry *best_known; /* with most work that it has shown */
    const struct block_entry *best_sent;  /* that we have announced to it */
    const struct block_entry
        *asked_up_to;         /* on the way to best_known: everything below is here or asked for */
    uint64_t asked_epoch;     /* that it is of */
    int64_t headers_asked_us; /* 0: no answer awaited */
    int64_t ask_headers_us;   /* when it is to be asked; 0: not */
    bool headers_answered;
    bool headers_due, leads;          /* it is still to be asked; it was, before the others (sync.c) */
    const struct block_entry *led_to; /* it was asked for what follows this last header of a full message */
    bool asked_from_tip;              /* not from the best header on, which it had nothing to add to */
    struct hash256 announced;         /* a block of its that we do not know and have not been led to yet */
    uint32_t announced_asks;          /* how often we have asked what leads to it; 0: nothing is announced */
    struct presync *presync; /* a chain of its whose work is not shown yet, or is being stored; NULL: none */
    uint32_t in_flight;
    int64_t last_block_us, resting_until_us;
    uint32_t rests;                    /* since it delivered what it was asked for */
    const struct block_entry *lag_tip; /* ours when it was first seen to lag behind (outbound.c) */
    int64_t lag_until_us;              /* 0: it does not */
    bool lag_asked, faithful;
    /* compact blocks */
    bool speaks_compact, wants_compact; /* it has offered version 2; it wants them unasked */
    bool fast;                          /* we have asked it to send them unasked */
    int64_t fast_since_us;
    struct partial *partial; /* a compact block of its whose transactions are on their way */
    /* relay and serving */
    size_t tx_announcements; /* of its that wait in tx_requests */
    struct map known;        /* hashes that it has or has been told of */
    struct buf untold;       /* wtxids that it is told of at tell_at_us, with a trickle */
    int64_t tell_at_us;
    struct buf wanted; /* getdata items not served yet: type, hash */
    size_t wanted_at;
    const struct block_entry *asks_on_after; /* the last block of a full answer to getblocks; NULL: none */
    bool reading;                            /* a block is being read for it */
    bool serving;                            /* and serve_wanted goes on from there if it is here at once */
    bool reading_txs;                        /* likewise, for getblocktxn */
};

struct ban {
    struct subnet subnet;
    int64_t created_unix_s, until_unix_s;
};

/* What is permitted to whom, by --whitelist. */
struct permit {
    struct subnet subnet;
    uint32_t permissions;
    bool inbound, outbound;
};

/* A transaction whose inputs are not all known. */
struct orphan {
    struct tx *tx;
    peer_id peer;
    int64_t since_us;
    struct hash256 tried_with; /* wtxid of the parent that it was submitted with; zero: none yet */
};

/* Why a transaction was refused. For its fee alone: a child may pay for both (orphans.c). */
enum refusal { REFUSED_NOT, REFUSED_FOR_FEE, REFUSED };

struct block_request {
    peer_id peer;
    int64_t since_us;
};

/* txrequest.c */
struct tx_request {
    peer_id asked;
    bool by_wtxid;
    uint32_t count, capacity;
    int64_t asked_us;
    peer_id *others; /* who else has announced it, in this order; owned */
};

struct p2p {
    struct p2p_config config;
    struct chain *chain;
    struct mempool *pool;
    struct p2p_events events;
    struct list peers, nodes;
    struct map by_id;                          /* peer_id -> struct peer * */
    struct map block_requests;                 /* hash -> struct block_request */
    struct map tx_requests;                    /* wtxid or txid -> struct tx_request */
    size_t tx_announcements, tx_request_bytes; /* in them */
    struct map rejected;                       /* wtxid -> enum refusal: not to be asked for on this tip */
    struct announced *announced; /* a compact block that goes on when its announcement has left; NULL */
    struct map confirmed, confirmed_before;    /* KNOWN_BYTES of both ids of what was mined lately */
    const struct block_entry *confirmed_up_to; /* NULL: none yet */
    struct map dialled; /* nonce of our version message -> peer_id: whom we dialled and have not heard yet */
    struct map compacted;          /* blocks put together from compact ones, until their fate is known */
    struct map orphans;            /* wtxid -> struct orphan */
    bool extra_low_fee[EXTRA_TXS]; /* refused for its fee alone: a child may pay for both (orphans.c) */
    struct tx *extra[EXTRA_TXS];   /* ring: seen lately and not in the mempool, for compact blocks */
    size_t extra_next;
    size_t orphan_bytes, extra_bytes, partial_bytes; /* of the transactions held, as tx_memory counts */
    struct book book;
    struct place told[TOLD_MAX]; /* of a large book, to whoever asks, until told_until_us */
    size_t told_count;
    int64_t told_until_us;
    struct ban bans[P2P_BANS_MAX];
    size_t ban_count;
    struct permit permits[PERMITS_MAX];
    size_t permit_count;
    struct subnet allowed[P2P_ALLOWED_MAX]; /* none: everybody may connect */
    size_t allowed_count;
    uint64_t group_key[2];
    uint64_t crowd_group; /* the netgroup that fills our places (eviction.c) */
    int64_t crowd_until_us;
    bool active; /* setnetworkactive */
    size_t known_max;
    double units; /* what all peers may spend of our time (flood.c) */
    int64_t units_us;
    size_t overdrawn; /* peers */
    int64_t ticked_us, told_us;
    int closings_to_tell; /* in the log, before it falls silent */
    int64_t next_tell_us; /* the first moment at which a peer is to be told of transactions */
    uint32_t closings_untold;
    uint16_t listen_port;
    uint32_t side_headers; /* added without more work than our tip's, in this run */
    struct p2p_compact_stats compact;
    struct p2p_block_times times[P2P_BLOCK_TIMES]; /* a ring */
    struct map served;                             /* hash -> struct served *: blocks as whole messages */
    struct list served_lru;                        /* those that are here, least recently used first */
    size_t served_bytes;
    struct shared *compact_message; /* of the block that was announced or asked for last; NULL: none yet */
    struct hash256 compact_message_of;
    size_t times_count; /* since the start */
    struct p2p_latency latency;
    peer_id next_outbound;
    size_t send_total, receive_total, inbound_count;
    struct moment now;
    bool led;                /* somebody is asked for headers before all others */
    int64_t more_leaders_us; /* when more are asked */
    int64_t progress_us; /* the last block that was asked for has come, or the first header beyond our tip */
    int64_t tip_since_us;
    int64_t feel_at_us;                    /* when the next unproven address is to be called */
    bool announcement_due;                 /* the tip was kept to ourselves while we were catching up */
    const struct block_entry *asked_up_to; /* as each peer has it, on the way to the best header */
    uint64_t asked_epoch;
    uint64_t block_bytes; /* of a block on average, lately */
};

/* What a transaction of its own takes. Who else holds a reference is not asked: it may let go. */
static inline size_t tx_memory(const struct tx *tx)
{
    return sizeof *tx + tx->arena.used_bytes;
}

/* p2p.c */
static inline bool peer_has_blocks(
    const struct peer *peer) /* old ones or, with NETWORK_LIMITED, the latest 288 */
{
    return peer->services & (SERVICE_NETWORK | SERVICE_NETWORK_LIMITED);
}
static inline bool peer_is(const struct peer *peer, enum slot_kind kind)
{
    return peer->node && peer->node->kind == kind;
}
static inline bool peer_was_found(const struct peer *peer)
{
    return peer->node && peer->node->kind != SLOT_DRAWN;
}
struct peer *peer_new(struct p2p *p2p, peer_id id, bool inbound, const char *address);
struct peer *peer_find(const struct p2p *p2p, peer_id id);
static inline bool peer_ready(const struct peer *peer)
{
    return peer->have_version && peer->have_verack && !peer->closing;
}
/* A closing peer is deaf and mute; p2p_closed frees it. why goes to the log at this level. */
void peer_close(struct p2p *p2p, struct peer *peer, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, at level WARN, for proofs of malice; a peer with the permission noban stays. */
void peer_misbehaves(struct p2p *p2p, struct peer *peer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Something is odd, and nothing follows from it: said in the log, as far as it has room. */
void peer_remark(struct p2p *p2p, const struct peer *peer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void peer_knows(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
bool peer_is_known(const struct peer *peer, const struct hash256 *hash);

/* message.c */
void message_send(struct p2p *p2p, struct peer *peer, const char *command,
                  struct buf *payload); /* payload may be NULL; freed */
/* A whole message, header and all: one reference, for however many peers. And the sending of it, which takes
 * over a reference. */
struct shared *message_frame(const struct p2p *p2p, const char *command, struct span payload);
void message_put(struct p2p *p2p, struct peer *peer, const char *command, struct shared *message);
void message_receive(struct p2p *p2p, struct peer *peer, struct span bytes);

/* handshake.c */
void handshake_begin(struct p2p *p2p, struct peer *peer);
void handshake_forget(struct p2p *p2p, const struct peer *peer); /* its nonce */
void handle_version(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_verack(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_feefilter(struct p2p *p2p, struct peer *peer, struct cursor *c);
void fee_filter_send(struct p2p *p2p, struct peer *peer); /* when it is another than it was told */
bool fee_filter_is_over(const struct p2p *p2p, const struct peer *peer); /* that kept everything away */
void handle_ping(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_pong(struct p2p *p2p, struct peer *peer, struct cursor *c);
void ping_send(struct p2p *p2p, struct peer *peer);
/* True: it was HTTP and has been dealt with, or waits for more. */
bool http_answer(struct p2p *p2p, struct peer *peer, struct span request);

/* sync.c */
void sync_ask_headers(struct p2p *p2p, struct peer *peer, const struct block_entry *from);
/* The same, after a header that is not in the index: what follows it, or else from. */
void sync_ask_headers_after(struct p2p *p2p, struct peer *peer, const struct hash256 *unkept,
                            const struct block_entry *from);
void handle_headers(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_block(struct p2p *p2p, struct peer *peer, struct cursor *c);
void sync_greet(struct p2p *p2p, struct peer *peer); /* it has shaken hands: which headers does it have? */
void handle_block_inv(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
void sync_learn(struct peer *peer, const struct block_entry *entry); /* it has shown this header */
void sync_request_blocks(struct p2p *p2p);
void sync_ask_anew(struct p2p *p2p); /* requests were let go of: what was asked for is looked over again */
void sync_forget_peer(struct p2p *p2p, struct peer *peer);
void sync_not_found(struct p2p *p2p, struct peer *peer, const struct hash256 *hash);
/* It gives a block that it was asked for: quickly, then it has rested enough; slowly, then it is left to it.
 */
void sync_delivers(struct p2p *p2p, struct peer *peer);
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

/* compact.c: those that come */
struct tx *tx_from(struct cursor *c); /* one transaction of a message; NULL: it cannot be read */
void compact_offer(struct p2p *p2p, struct peer *peer, bool unasked);
void handle_sendcmpct(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_cmpctblock(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_blocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c);
void compact_prefer(struct p2p *p2p, struct peer *peer); /* it was first with a good block */
void compact_remember(struct p2p *p2p, struct tx *tx, bool low_fee);
void compact_forget_peer(struct p2p *p2p, struct peer *peer);
void compact_free(struct p2p *p2p);

/* compact_out.c: those that we send */
#define SHORT_BYTES 6u /* BIP152: of a short identifier */
/* The SipHash key: the first 16 bytes of the single SHA-256 of header and nonce. */
void compact_key(uint64_t key[2], const uint8_t header_and_nonce[HEADER_BYTES + 8]);
void compact_short_id(uint8_t out[8], const uint64_t key[2],
                      const struct hash256 *wtxid); /* SHORT_BYTES count */
void handle_getblocktxn(struct p2p *p2p, struct peer *peer, struct cursor *c);
void compact_send(struct p2p *p2p, struct peer *peer, const struct block *block);
/* To every peer that wants compact blocks unasked, knows the parent and not the block. False: there is none.
 */
bool compact_announce(struct p2p *p2p, const struct block_entry *entry, const struct block *block);

/* latency.c: a block passes by */
void latency_first_byte(struct p2p *p2p, const struct peer *peer, const struct hash256 *hash);
void latency_received(struct p2p *p2p, const struct peer *peer, const struct block *block, bool compact);
void latency_checked(struct p2p *p2p, const struct block_entry *entry, const struct block *block);
void latency_passed(struct p2p *p2p, const struct hash256 *hash, enum p2p_hop hop);

/* orphans.c */
/* A transaction of source was refused for its fee: together with a child of the same peer it may do. */
void orphans_pay_for(struct p2p *p2p, struct tx *parent, peer_id source);
void orphan_add(struct p2p *p2p, struct peer *peer, struct tx *tx);
void orphans_of(struct p2p *p2p, const struct tx *parent); /* its parent is here: try again */
/* The same for all of a block; what it holds itself is no orphan any more. */
void orphans_of_block(struct p2p *p2p, const struct block *block);
bool orphan_find(const struct p2p *p2p, const struct hash256 *wtxid);
void orphans_forget_peer(struct p2p *p2p, peer_id peer);
void orphans_tick(struct p2p *p2p);
void orphans_free(struct p2p *p2p);

/* endpoint.c */
bool ip_parse(uint8_t ip[16], const char *text);
void ip_text(char out[IP_TEXT], const uint8_t ip[16]);
void ip_from_v4(uint8_t ip[16], const uint8_t v4[4]);
bool ip_is_v4(const uint8_t ip[16]);
bool ip_is_loopback(const uint8_t ip[16]);
bool ip_is_local(const uint8_t ip[16]); /* loopback, link-local and private networks */
bool ip_is_host(const uint8_t ip[16]);  /* neither multicast nor unspecified nor an onion */
bool endpoint_parse(struct endpoint *out, const char *text); /* "IP:PORT" or "[IP]:PORT" */
void endpoint_text(char out[ENDPOINT_TEXT], const struct endpoint *endpoint);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
bool subnet_parse(struct subnet *out, const char *text); /* ADDRESS, ADDRESS/BITS or, IPv4, ADDRESS/NETMASK */
void subnet_text(char out[SUBNET_TEXT], const struct subnet *subnet);
bool subnet_covers(const struct subnet *subnet, const uint8_t ip[16]);
uint64_t netgroup_of(const struct p2p *p2p, const uint8_t ip[16]);

uint8_t place_network(const struct place *place);
void place_text(char out[PLACE_TEXT], const struct place *place); /* without the port */
bool place_can_be(const struct place *place); /* somebody may be there; nobody is at 224.0.0.1 */

/* bans.c */
bool ban_covers(const struct p2p *p2p, const uint8_t ip[16]);

/* permissions.c */
void permissions_give(const struct p2p *p2p, struct peer *peer);
bool permissions_allow(const struct p2p *p2p, const struct peer *peer); /* --p2p-allow */

/* eviction.c */
/* Whom to close for a newcomer; NULL: nobody. */
struct peer *eviction_choose(struct p2p *p2p, const struct peer *newcomer);

/* flood.c */
void flood_open_account(struct p2p *p2p, struct peer *peer);
void flood_close_account(struct p2p *p2p, struct peer *peer);
void flood_charge(struct p2p *p2p, struct peer *peer, double units); /* negative: pays back */
void flood_settle(struct p2p *p2p, struct peer *peer);

/* book.c */
void book_init(struct book *book, struct rng *rng);
/* The first slot from here on, and before `end`, that is taken; end: none is. */
size_t book_next(const struct book *book, size_t from, size_t end);
#define BOOK_EACH(index, book)                                                                               \
    for (size_t index = book_next(book, 0, BOOK_PLACES); index < BOOK_PLACES;                                \
         index = book_next(book, index + 1, BOOK_PLACES))
struct place *book_find(struct book *book, const struct endpoint *at); /* NULL: not there */
/* False: it was known (then only its times and services are taken), or there is no room for it. */
bool book_learn(struct book *book, const struct place *place, int64_t now_s);
void book_answered(struct book *book, const struct endpoint *at, int64_t now_s); /* a handshake of ours */
/* One at random among those that fit; NULL: none does. */
struct place *book_pick(struct book *book, struct rng *rng,
                        bool (*fits)(void *context, const struct place *place), void *context);
/* peers.dat: mark, the network's magic, key, places, checksum. */
void book_write(const struct book *book, const uint8_t magic[4], struct buf *out);
bool book_read(struct book *book, const uint8_t magic[4], struct span file, int64_t now_s);

/* addresses.c */
void addresses_meet(struct p2p *p2p, struct peer *peer);
void addresses_greet(struct p2p *p2p, struct peer *peer);
void handle_getaddr(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_addr(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_addrv2(struct p2p *p2p, struct peer *peer, struct cursor *c);
size_t addresses_sample(struct p2p *p2p, const struct place **out, size_t max);
bool peer_listens_at(const struct peer *peer, struct endpoint *out); /* false: it is not known where */

/* outbound.c */
void outbound_failed(struct p2p *p2p, const char *text);           /* a learned address did not answer */
void outbound_ourselves(struct p2p *p2p, const struct peer *peer); /* what we dialled is this very node */
void outbound_shun(struct p2p *p2p, const struct peer *peer);      /* it lies: not again today */
void outbound_tick(struct p2p *p2p);

/* nodes.c */
/* A learned address, to be tried once. */
bool node_found(struct p2p *p2p, const char *host_port, enum slot_kind kind, struct error *error);
/* Its connection is gone or never came: it is tried again later, each time a little later. */
void node_lost(struct p2p *p2p, struct node_slot *slot, const char *why);
int64_t nodes_tick(struct p2p *p2p, int64_t next_us); /* next_us, or earlier */
void nodes_free(struct p2p *p2p);

/* served.c */
enum served_answer { SERVED_SENT, SERVED_LATER /* serve_wanted is called when it can be */, SERVED_NOT };
enum served_answer served_send(struct p2p *p2p, struct peer *peer, const struct block_entry *entry);
void served_free(struct p2p *p2p);

/* serve.c */
void handle_getheaders(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_getblocks(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_getdata(struct p2p *p2p, struct peer *peer, struct cursor *c);
void serve_wanted(struct p2p *p2p, struct peer *peer);
void serve_waiting(struct p2p *p2p); /* a block was judged: whoever waits for one */

/* txrequest.c */
/* It has announced a transaction that we want: to be asked for now (appended to items), or later. */
void txrequest_announced(struct p2p *p2p, struct peer *peer, const struct hash256 *hash, bool by_wtxid,
                         struct buf *items);
void txrequest_send(struct p2p *p2p, struct peer *peer, struct buf *items); /* frees items */
/* It is here. True: peer was asked for it. */
bool txrequest_end(struct p2p *p2p, const struct hash256 *hash, peer_id peer);
void txrequest_not_found(struct p2p *p2p, const struct peer *peer, const struct hash256 *hash);
void txrequest_tick(struct p2p *p2p); /* also when somebody has left */
void txrequest_free(struct p2p *p2p);

/* relay.c */
enum refusal relay_refusal(const struct p2p *p2p, const struct hash256 *wtxid);
bool relay_refuses_txs(const struct p2p *p2p, const struct peer *peer); /* it was told to send us none */
void handle_inv(struct p2p *p2p, struct peer *peer, struct cursor *c);
/* The parent of an orphan: appended to items, for txrequest_send, unless it is not to be asked for. */
void relay_want(struct p2p *p2p, struct peer *peer, const struct hash256 *txid, struct buf *items);
bool peer_has_block(const struct peer *peer, const struct block_entry *entry);
void handle_tx(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_notfound(struct p2p *p2p, struct peer *peer, struct cursor *c);
void handle_mempool(struct p2p *p2p, struct peer *peer, struct cursor *c);
int64_t relay_tick(struct p2p *p2p); /* when it wants to be called next */
void relay_announce_tip(struct p2p *p2p);

#endif
