/* How a connection begins and is kept alive: version, verack, ping; and the one-line answer to a browser. */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

#define VERSION_LEAST 31800
#define VERSION_PONG  60001 /* BIP31: older nodes do not answer pings */

/* Per kvB: more than anybody pays. The largest that Bitcoin Core says, which is all that tells us from it. */
#define FEE_FILTER_ALL_SAT INT64_C(9170997)

static void put_address(struct buf *out, uint64_t services, const struct endpoint *endpoint)
{
    buf_u64(out, services);
    buf_bytes(out, endpoint->ip, 16);
    buf_u16_be(out, endpoint->port);
}

/* Where we see the other side is how it learns its address, if that is one for everybody. Of ours it sees
 * more than we do; the port at which we listen is told to whom we have dialled, as who has dialled us knows
 * it. */
static void put_addresses(const struct p2p *p2p, const struct peer *peer, struct buf *out)
{
    struct endpoint there = {.port = 0}, here = {.port = peer->inbound ? 0 : p2p->listen_port};
    if (peer->has_endpoint && !ip_is_local(peer->endpoint.ip)) {
        there = peer->endpoint;
    }
    put_address(out, peer->services, &there);
    put_address(out, SERVICES, &here);
}

static void send_version(struct p2p *p2p, struct peer *peer)
{
    struct buf b = {0};
    buf_i32(&b, P2P_VERSION);
    buf_u64(&b, SERVICES);
    buf_i64(&b, moment_unix_s(p2p->now));
    put_addresses(p2p, peer, &b);
    peer->version_nonce = rng_next(p2p->config.rng);
    buf_u64(&b, peer->version_nonce);
    if (!peer->inbound) {
        *(peer_id *)map_put(&p2p->dialled, &peer->version_nonce, NULL) = peer->id;
    }
    buf_var_span(&b, span_of(p2p->config.user_agent, strlen(p2p->config.user_agent)));
    buf_i32(&b, (int32_t)chain_tip(p2p->chain)->height);
    buf_u8(&b, !relay_refuses_txs(p2p, peer)); /* BIP37: whether to announce transactions to us */
    message_send(p2p, peer, "version", &b);
}

void handshake_begin(struct p2p *p2p, struct peer *peer)
{
    if (!peer->inbound) {
        send_version(p2p, peer);
    }
}

/* Whom we have dialled and sent this nonce to, and who has not answered; NULL: nobody. */
static struct peer *dialled_with(const struct p2p *p2p, uint64_t nonce)
{
    const peer_id *id = map_get(&p2p->dialled, &nonce);
    return id ? peer_find(p2p, *id) : NULL;
}

void handshake_forget(struct p2p *p2p, const struct peer *peer)
{
    if (!peer->inbound) {
        map_remove(&p2p->dialled, &peer->version_nonce);
    }
}

/* Whom we have found ourselves shall have blocks with their witnesses, all of them while we catch up. */
static bool is_useful(const struct p2p *p2p, const struct peer *peer)
{
    uint64_t blocks = SERVICE_NETWORK | (p2p_near_tip(p2p) ? SERVICE_NETWORK_LIMITED : 0);
    return peer->services & blocks && peer->services & SERVICE_WITNESS;
}

/* What a version message says of itself; the end of it is missing from old nodes. */
struct version_news {
    int64_t its_time; /* shown, and no more: we do not adjust ours */
    uint64_t nonce;
};

static struct version_news read_version(struct peer *peer, struct cursor *c)
{
    struct version_news news = {0};
    peer->version = cursor_i32(c);
    peer->services = cursor_u64(c);
    news.its_time = cursor_i64(c);
    cursor_u64(c);
    cursor_bytes(c, peer->sees_us_at, sizeof peer->sees_us_at);
    cursor_u16_be(c);
    peer->start_height = 0;
    if (cursor_left(c)) {
        cursor_span(c, 24);
        peer->listen_port = cursor_u16_be(c);
        news.nonce = cursor_u64(c);
    }
    if (cursor_left(c)) {
        struct span agent = cursor_var_span(c);
        if (agent.len > 256) {
            c->failed = true;
        }
        for (size_t i = 0; i < agent.len && i < 256; i++) {
            peer->user_agent[i] = (char)(agent.data[i] >= ' ' && agent.data[i] <= '~' ? agent.data[i] : '?');
        }
    }
    if (cursor_left(c)) {
        peer->start_height = cursor_i32(c);
    }
    /* BIP37: absent means yes. Block-relay-only peers say no. */
    bool says_yes = c->failed || !cursor_left(c) || cursor_u8(c) != 0;
    peer->wants_txs = says_yes && !peer_is(peer, SLOT_BLOCKS_ONLY);
    return news;
}

void handle_version(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    if (peer->have_version) {
        return; /* a second one is ignored */
    }
    struct version_news news = read_version(peer, c);
    if (c->failed) {
        return; /* it may say it again */
    }
    if (peer->version < VERSION_LEAST) {
        peer_close(p2p, peer, LOG_INFO, "its protocol version %d is too old", peer->version);
        return;
    }
    const struct peer *ourselves = peer->inbound ? dialled_with(p2p, news.nonce) : NULL;
    if (ourselves) {
        outbound_ourselves(p2p, ourselves);
        peer_close(p2p, peer, LOG_INFO, "it is ourselves");
        return;
    }
    if ((peer_is(peer, SLOT_FOUND) || peer_is(peer, SLOT_BLOCKS_ONLY)) && !is_useful(p2p, peer)) {
        peer_close(p2p, peer, LOG_INFO, "it does not have what we look for (services %llx)",
                   (unsigned long long)peer->services);
        return;
    }
    peer->have_version = true;
    handshake_forget(p2p, peer);
    peer->time_offset_s =
        news.its_time > 0 && news.its_time < UINT32_MAX ? news.its_time - moment_unix_s(p2p->now) : 0;
    if (peer->inbound) {
        send_version(p2p, peer);
    }
    if (peer->version >= VERSION_WTXID) {
        message_send(p2p, peer, "wtxidrelay", NULL); /* BIP339 and BIP155: before verack */
        message_send(p2p, peer, "sendaddrv2", NULL);
    }
    message_send(p2p, peer, "verack", NULL);
    if (peer_is(peer, SLOT_FEELER)) {
        book_answered(&p2p->book, &peer->endpoint, moment_unix_s(p2p->now));
        peer_close(p2p, peer, LOG_DEBUG, "it has answered, and no more was wanted");
    }
}

void handle_verack(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)c;
    if (peer->have_verack) {
        return;
    }
    peer->have_verack = true;
    log_write(peer->inbound ? LOG_DEBUG : LOG_INFO, LOG_NET,
              "connected to %s%s%s (%s, version %d, height %d)",
              peer->node ? peer->node->text : peer->address, peer->node ? " at " : "",
              peer->node ? peer->address : "", peer->user_agent, peer->version, peer->start_height);
    if (peer->node) {
        char line[512];
        snprintf(line, sizeof line, "connected to %s (%s)", peer->node->text, peer->user_agent);
        p2p->events.print(p2p->events.context, line);
        peer->node->backoff_us = 0;
        peer->node->attempts = 0;
    }
    if (peer->version >= 70012) {
        message_send(p2p, peer, "sendheaders", NULL); /* BIP130 */
    }
    if (peer->version >= 70014) {
        compact_offer(p2p, peer, false); /* BIP152 */
    }
    fee_filter_send(p2p, peer);
    addresses_greet(p2p, peer);
    ping_send(p2p, peer);
    sync_greet(p2p, peer);
}

/* BIP133: what pays less is not worth announcing to us. While we catch up nothing is. Whose transactions are
 * relayed whatever they pay is told of no limit. */
void fee_filter_send(struct p2p *p2p, struct peer *peer)
{
    struct mempool_info info;
    struct buf b = {0};
    peer->fee_told_us = p2p->now.mono_us;
    mempool_info(p2p->pool, &info);
    int64_t fee_sat = p2p_near_tip(p2p) ? info.min_fee_per_kvb_sat : FEE_FILTER_ALL_SAT;
    bool speaks = peer->version >= 70013 && !(peer->permissions & P2P_PERMIT_FORCERELAY) &&
                  !relay_refuses_txs(p2p, peer);
    if (speaks && fee_sat != peer->fee_told_sat) {
        peer->fee_told_sat = fee_sat;
        buf_i64(&b, fee_sat);
        message_send(p2p, peer, "feefilter", &b);
    }
}

bool fee_filter_is_over(const struct p2p *p2p, const struct peer *peer)
{
    return peer->fee_told_sat == FEE_FILTER_ALL_SAT && p2p_near_tip(p2p);
}

void handle_feefilter(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    (void)p2p;
    int64_t fee = cursor_i64(c);
    if (!c->failed && fee >= 0 && fee <= MAX_MONEY) {
        peer->fee_filter_sat = fee;
    }
}

void ping_send(struct p2p *p2p, struct peer *peer)
{
    struct buf b = {0};
    peer->pinged_us = p2p->now.mono_us;
    if (peer->version < VERSION_PONG) {
        message_send(p2p, peer, "ping", NULL);
        return;
    }
    peer->ping_nonce = rng_next(p2p->config.rng);
    peer->ping_sent_us = p2p->now.mono_us;
    buf_u64(&b, peer->ping_nonce);
    message_send(p2p, peer, "ping", &b);
}

void handle_ping(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    struct buf b = {0};
    uint64_t nonce = cursor_u64(c);
    if (!c->failed) { /* BIP31: older nodes send none and want no answer */
        buf_u64(&b, nonce);
        message_send(p2p, peer, "pong", &b);
    }
}

/* An answer without a nonce, or with none of ours in it (zero), says that it lives and no more. */
void handle_pong(struct p2p *p2p, struct peer *peer, struct cursor *c)
{
    uint64_t nonce = cursor_u64(c);
    bool matches = !c->failed && nonce == peer->ping_nonce;
    if (peer->ping_sent_us < 0 || (!matches && !c->failed && nonce)) {
        return; /* nothing was asked, or this answers something else */
    }
    if (matches) {
        peer->solicited = true;
        peer->ping_us = p2p->now.mono_us - peer->ping_sent_us;
        peer->min_ping_us = peer->min_ping_us < 0 ? peer->ping_us : MIN(peer->ping_us, peer->min_ping_us);
    }
    peer->ping_sent_us = -1;
}

bool http_answer(struct p2p *p2p, struct peer *peer, struct span request)
{
    bool get = memcmp(request.data, "GET ", 4) == 0, head = memcmp(request.data, "HEAD", 4) == 0;
    if (!get && !head) {
        return false;
    }
    if (!memmem(request.data, request.len, "\r\n\r\n", 4) && !memmem(request.data, request.len, "\n\n", 2) &&
        request.len < 8192) {
        return true; /* the rest of the request is on its way */
    }
    struct buf body = {0}, out = {0};
    const struct chain_params *params = chain_parameters(p2p->chain);
    buf_printf(&body,
               "%s: a Bitcoin node on chain %s, height %u (this port speaks the Bitcoin peer protocol)\n",
               p2p->config.program_line, params->name, chain_tip(p2p->chain)->height);
    buf_printf(&out,
               "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
               "%zu\r\nConnection: close\r\n\r\n",
               body.len);
    if (get) {
        buf_bytes(&out, body.data, body.len);
    }
    buf_free(&body);
    peer->queued_bytes += out.len;
    p2p->send_total += out.len;
    p2p->events.send(p2p->events.context, peer->id, shared_of(&out));
    peer_close(p2p, peer, LOG_DEBUG, "a browser was answered");
    return true;
}
