/*
 * Fuzz target: what two peers say to a node, without sockets. The input is a list of steps: bytes as they
 * come; a framed message, whose payload may have the hash of one of the chain's last blocks in its middle; a
 * right block on the tip, whole, as a header or compact; the passing of time. Whatever they say, the node
 * goes on and holds no more memory for peers than it has announced.
 */
#include "hashing/kernels/kernels.h"
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define STEPS_MAX 200

enum step { STEP_BYTES, STEP_MESSAGE, STEP_ABOUT_A_BLOCK, STEP_BLOCK, STEP_TIME, STEP_COUNT };

static const char *const commands[] = {
    "version",    "verack",      "wtxidrelay", "sendaddrv2", "sendcmpct", "sendheaders", "ping",
    "pong",       "feefilter",   "headers",    "block",      "getaddr",   "addr",        "addrv2",
    "cmpctblock", "getblocktxn", "blocktxn",   "tx",         "inv",       "getdata",     "notfound",
    "getheaders", "getblocks",   "mempool",    "filterload",
};

static void say_bytes(struct host *host, size_t peer, struct span bytes)
{
    if (host->peers[peer]) {
        host_event(host,
                   (struct event){
                       .kind = EVENT_BYTES, .peer = host->peers[peer], .data = bytes.data, .len = bytes.len});
    }
}

static void say(struct host *host, size_t peer, const char *command, struct span payload)
{
    struct buf framed = {0};
    uint8_t sum[32];
    sha256d(sum, payload.data, payload.len);
    buf_bytes(&framed, fuzz_params.magic, 4);
    memcpy(buf_extend(&framed, 12), command, strlen(command));
    buf_u32(&framed, (uint32_t)payload.len);
    buf_bytes(&framed, sum, 4);
    buf_bytes(&framed, payload.data, payload.len);
    say_bytes(host, peer, buf_span(&framed));
    buf_free(&framed);
}

static void greet(struct host *host, size_t peer)
{
    struct buf version = {0};
    buf_u32(&version, P2P_VERSION);
    buf_u64(&version, P2P_SERVICES);
    buf_i64(&version, moment_unix_s(host->now));
    buf_extend(&version, 26 + 26);
    buf_u64(&version, 1 + peer); /* nonce */
    buf_var_span(&version, span_of("/fuzz/", 6));
    buf_i32(&version, 0);
    buf_u8(&version, 1);
    say(host, peer, "version", buf_span(&version));
    say(host, peer, "wtxidrelay", span_of(NULL, 0));
    say(host, peer, "verack", span_of(NULL, 0));
    buf_free(&version);
}

/* A peer that was shown the door comes back. */
static void be_connected(struct host *host, size_t peer, bool politely)
{
    if (!host->peers[peer]) {
        host->peers[peer] = ++host->last_peer;
        host_event(host, (struct event){.kind = EVENT_ACCEPTED,
                                        .peer = host->peers[peer],
                                        .text = peer ? "10.0.0.2:2" : "10.0.0.1:1"});
        if (politely) {
            greet(host, peer);
        }
    }
}

static void say_block(struct host *host, size_t peer, uint8_t form, struct span tx)
{
    const struct block_entry *tip = chain_tip(node_chain(host->node));
    struct buf block = {0}, payload = {0};
    uint32_t time = MAX(tip->header.time + 1, (uint32_t)moment_unix_s(host->now));
    put_block(&block, &tip->hash, tip->height + 1, time, tx);
    if (form % 3 == 0) {
        say(host, peer, "block", buf_span(&block));
    } else if (form % 3 == 1) {
        buf_compact_size(&payload, 1);
        buf_bytes(&payload, block.data, HEADER_BYTES);
        buf_u8(&payload, 0);
        say(host, peer, "headers", buf_span(&payload));
    } else { /* compact: the coinbase is sent along, the transaction is one that the node does not know */
        struct block *parsed = block_parse(mem_dup(block.data, block.len), block.len, NULL);
        CHECK(parsed);
        buf_bytes(&payload, block.data, HEADER_BYTES);
        buf_u64(&payload, form);
        buf_compact_size(&payload, parsed->tx_count - 1);
        buf_extend(&payload, 6 * (parsed->tx_count - 1));
        buf_compact_size(&payload, 1);
        buf_compact_size(&payload, 0);
        buf_bytes(&payload, parsed->txs[0].raw.data, parsed->txs[0].raw.len);
        say(host, peer, "cmpctblock", buf_span(&payload));
        block_unref(parsed);
    }
    buf_free(&block);
    buf_free(&payload);
}

static void one_step(struct host *host, struct cursor *c)
{
    uint8_t head = cursor_u8(c), detail = cursor_u8(c);
    size_t peer = head >> 7, len = cursor_u8(c);
    be_connected(host, peer, !(head & 0x40));
    struct span bytes = cursor_span(c, MIN(len, cursor_left(c)));
    const char *command = commands[detail % ARRAY_COUNT(commands)];
    switch ((enum step)((head & 0x3f) % STEP_COUNT)) {
    case STEP_BYTES: say_bytes(host, peer, bytes); break;
    case STEP_MESSAGE: say(host, peer, command, bytes); break;
    case STEP_ABOUT_A_BLOCK: {
        struct buf payload = {0};
        const struct block_entry *tip = chain_tip(node_chain(host->node));
        const struct block_entry *about = block_ancestor(tip, tip->height - MIN(tip->height, detail / 32u));
        size_t wanted = cursor_u8(c), before = MIN(bytes.len, wanted);
        buf_bytes(&payload, bytes.data, before);
        buf_bytes(&payload, about->hash.b, 32);
        if (before < bytes.len) {
            buf_bytes(&payload, bytes.data + before, bytes.len - before);
        }
        say(host, peer, command, buf_span(&payload));
        buf_free(&payload);
        break;
    }
    case STEP_BLOCK: say_block(host, peer, detail, bytes); break;
    case STEP_TIME:
    case STEP_COUNT:
        host->now.mono_us += (int64_t)detail * 1000000;
        host->now.unix_us += (int64_t)detail * 1000000;
        host_event(host, (struct event){.kind = EVENT_TIMER});
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct host host = {0};
    struct cursor c = cursor_of(data, len);
    host_open(&host, NULL);
    for (int i = 0; i < STEPS_MAX && cursor_left(&c); i++) {
        one_step(&host, &c);
        CHECK(!host.exited);
        CHECK(p2p_memory_bytes(node_p2p(host.node)) <= p2p_memory_bytes_max(node_p2p(host.node)));
    }
    host_close(&host);
    return 0;
}
