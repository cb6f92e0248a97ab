/*
 * Fuzz target: compact blocks (BIP152). A block of some transactions is told compactly, right or not, as the
 * input says: which transactions the node has, which are sent along, which short identifiers lie; then what
 * the peer answers when it is asked. Whatever it was, the whole block from somebody else is taken after it.
 */
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TXS_MAX  8u
#define MATURITY 2u /* of host.h */

/* P2SH of OP_1: anyone's, and standard. */
static void put_payout(struct buf *out)
{
    buf_u8(out, 0xa9); /* OP_HASH160 */
    buf_u8(out, 20);
    hash160(buf_extend(out, 20), fuzz_anyone, 1);
    buf_u8(out, 0x87); /* OP_EQUAL */
}

static struct tx *spend_of(const struct block *block)
{
    static const uint8_t solution[2] = {1, 0x51};
    const struct tx_output *coin = &block->txs[0].outputs[0];
    struct tx_input in = {
        .prevout = {block->txs[0].txid, 0}, .script = span_of(solution, 2), .sequence = SEQUENCE_FINAL};
    struct tx_output out = {{coin->value.sat - 100000}, coin->script};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    struct buf raw = {0};
    tx_write(&raw, &tx, true);
    struct tx *parsed = tx_parse(buf_span(&raw), NULL);
    CHECK(parsed);
    buf_free(&raw);
    return parsed;
}

static void put_next(struct host *host, struct buf *out, struct span payout, const struct tx *const *txs,
                     uint32_t count)
{
    const struct block_entry *tip = chain_tip(node_chain(host->node));
    uint32_t time = MAX(tip->header.time + 1, (uint32_t)moment_unix_s(host->now));
    put_block_of(out, &tip->hash, tip->height + 1, time, payout, txs, count);
}

/* Blocks whose coinbases are anyone's, and spends of those that are mature. */
static uint32_t make_txs(struct host *host, struct tx *txs[TXS_MAX], uint32_t count)
{
    struct buf payout = {0};
    put_payout(&payout);
    for (uint32_t i = 0; i < count + MATURITY; i++) {
        struct buf raw = {0};
        put_next(host, &raw, buf_span(&payout), NULL, 0);
        say(host, 1, "block", buf_span(&raw));
        struct block *block = block_parse(raw.data, raw.len, NULL);
        CHECK(block && hash256_equal(&chain_tip(node_chain(host->node))->hash, &block->hash));
        if (i < count) {
            txs[i] = spend_of(block);
        }
        block_unref(block);
    }
    buf_free(&payout);
    return count;
}

/* Two bits of `forms` for each transaction: its short identifier, that of the first one, a wrong one, or the
 * whole transaction. */
static void put_compact(struct buf *out, const struct block *block, uint32_t forms, uint64_t nonce)
{
    struct buf prefilled = {0};
    uint8_t digest[32], id[8];
    size_t along = 1, last = 0, shorts = 0;
    header_encode(buf_extend(out, HEADER_BYTES), &block->header);
    buf_u64(out, nonce);
    sha256(digest, out->data, out->len);
    const uint64_t key[2] = {load_le64(digest), load_le64(digest + 8)};
    buf_compact_size(&prefilled, 0);
    tx_write(&prefilled, &block->txs[0], true);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        shorts += (forms >> 2 * i & 3) != 3;
    }
    buf_compact_size(out, shorts);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        uint32_t form = forms >> 2 * i & 3;
        if (form == 3) {
            buf_compact_size(&prefilled, i - last - 1);
            tx_write(&prefilled, &block->txs[i], true);
            last = i;
            along++;
        } else {
            store_le64(id, siphash_2_4(key, block->txs[form == 1 ? 1 : i].wtxid.b, 32));
            id[0] ^= form == 2;
            buf_bytes(out, id, 6);
        }
    }
    buf_compact_size(out, along);
    buf_bytes(out, prefilled.data, prefilled.len);
    buf_free(&prefilled);
}

/* An answer with the transactions of a mask, in order or not. */
static void put_answer(struct buf *out, const struct block *block, uint32_t mask, bool backwards)
{
    buf_bytes(out, block->hash.b, 32);
    buf_compact_size(out, (uint64_t)__builtin_popcount(mask & ((1u << block->tx_count) - 1)));
    for (uint32_t k = 0; k < block->tx_count; k++) {
        uint32_t i = backwards ? block->tx_count - 1 - k : k;
        if (mask >> i & 1) {
            tx_write(out, &block->txs[i], true);
        }
    }
}

/* A few bytes of a message are other ones. */
static void spoil(struct buf *message, struct cursor *c)
{
    for (uint32_t n = cursor_u8(c) % 4; n && message->len; n--) {
        size_t at = cursor_u16(c) % message->len;
        message->data[at] ^= cursor_u8(c);
    }
}

static void tell_compactly(struct host *host, const struct block *block, struct cursor *c)
{
    struct buf compact = {0}, answer = {0};
    uint32_t forms = cursor_u32(c), mask = cursor_u16(c);
    put_compact(&compact, block, forms, cursor_u8(c));
    spoil(&compact, c);
    be_connected(host, 0, true);
    say(host, 0, "cmpctblock", buf_span(&compact));
    put_answer(&answer, block, mask, cursor_u8(c) & 1);
    spoil(&answer, c);
    say(host, 0, "blocktxn", buf_span(&answer));
    buf_free(&compact);
    buf_free(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct host host = {0};
    struct cursor c = cursor_of(data, len);
    struct tx *txs[TXS_MAX] = {0};
    host_open(&host, NULL);
    be_connected(&host, 0, true);
    be_connected(&host, 1, true);
    uint8_t how_many = cursor_u8(&c), known = cursor_u8(&c);
    uint32_t count = make_txs(&host, txs, how_many % (TXS_MAX + 1));
    struct buf offer = {0}, raw = {0};
    buf_u8(&offer, how_many >> 7);
    buf_u64(&offer, 2);
    say(&host, 0, "sendcmpct", buf_span(&offer));
    for (uint32_t i = 0; i < count; i++) {
        if (known >> i & 1) {
            say(&host, 1, "tx", txs[i]->raw);
            CHECK(mempool_find(node_mempool(host.node), &txs[i]->txid));
        }
    }
    uint32_t height = chain_tip(node_chain(host.node))->height + 1;
    put_next(&host, &raw, span_of(fuzz_anyone, 1), (const struct tx *const *)txs, count);
    struct block *block = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    CHECK(block);
    for (int i = 0; i < 4 && cursor_left(&c); i++) {
        tell_compactly(&host, block, &c);
    }
    be_connected(&host, 1, true);
    say(&host, 1, "block", buf_span(&raw));
    /* Or another one of its height, which a changed byte of its header can make. */
    CHECK(chain_tip(node_chain(host.node))->height == height);
    CHECK(p2p_memory_bytes(node_p2p(host.node)) <= p2p_memory_bytes_max(node_p2p(host.node)));
    block_unref(block);
    for (uint32_t i = 0; i < count; i++) {
        tx_unref(txs[i]);
    }
    buf_free(&offer);
    buf_free(&raw);
    host_close(&host);
    return 0;
}
