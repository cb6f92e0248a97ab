/*
 * Fuzz target: what two peers say to a node, without sockets. The input is a list of steps: bytes as they
 * come; a framed message, whose payload may have the hash of one of the chain's last blocks in its middle; a
 * right block on the tip, whole, as a header or compact; the passing of time. Whatever they say, the node
 * goes on and holds no more memory for peers than it has announced.
 */
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
