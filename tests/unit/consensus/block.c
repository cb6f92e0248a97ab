/* Blocks whose bytes can be read, and what is wrong with them. */
#include <criterion/criterion.h>

#include "core/consensus/script.h"
#include "hashing/kernels/kernels.h"

/* A header without proof of work, a merkle root that fits, and these transactions one after another. */
static struct block *block_of(struct span txs, uint32_t count)
{
    struct buf raw = {0};
    buf_extend(&raw, HEADER_BYTES);
    buf_compact_size(&raw, count);
    buf_bytes(&raw, txs.data, txs.len);
    struct block *block = block_parse(raw.data, raw.len, NULL);
    if (block) {
        merkle_root_of_txids(&block->header.merkle_root, block->txs, block->tx_count, false);
    }
    return block;
}

static enum error_kind kind; /* of the last word */

static const char *word_of(struct block *block)
{
    static struct error error;
    struct chain_params params;
    error = (struct error){0};
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, NULL));
    block->header.bits = params.pow_limit_bits;
    do {
        block->header.nonce++;
        header_hash(&block->hash, &block->header);
    } while (!pow_check(&block->hash, block->header.bits, &params));
    bool ok = block_check(block, &params, &error);
    chain_params_free(&params);
    kind = error.kind;
    return ok ? "" : error.word;
}

static void put_coinbase(struct buf *out)
{
    static const uint8_t script[2] = {OP_1, OP_0}, anyone = OP_1;
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = span_of(script, 2), .sequence = SEQUENCE_FINAL};
    struct tx_output output = {.script = span_of(&anyone, 1)};
    const struct tx tx = {
        .version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    tx_write(out, &tx, false);
}

/* Ten bytes are a transaction that can be read: no inputs, no outputs. */
Test(block, an_empty_transaction_is_read_and_refused)
{
    static const uint8_t empty[10] = {2};
    struct buf txs = {0};
    put_coinbase(&txs);
    buf_bytes(&txs, empty, sizeof empty);
    struct block *block = block_of(buf_span(&txs), 2);
    cr_assert(block);
    cr_expect_str_eq(word_of(block), "bad-txns-vin-empty");
    block_unref(block);
    block = block_of(span_of(empty, sizeof empty), 1);
    cr_assert(block);
    cr_expect_str_eq(word_of(block), "bad-cb-missing");
    block_unref(block);
    buf_free(&txs);
}

Test(block, more_transactions_than_its_bytes_can_hold_are_no_block)
{
    struct buf raw = {0};
    struct error error = {0};
    buf_extend(&raw, HEADER_BYTES);
    buf_compact_size(&raw, 400000);
    buf_extend(&raw, 3900000);
    cr_assert_null(block_parse(raw.data, raw.len, &error));
    cr_expect_str_eq(error.word, "block-decode-failed");
}

/* Whoever has a block can make others read the inside of its merkle tree as another's block with the same
 * header: that must not be held against the header. */
Test(block, transactions_of_64_bytes_without_a_coinbase_are_no_verdict)
{
    static const uint8_t script[4] = {OP_1, OP_1, OP_1, OP_1};
    struct tx_input in = {.prevout.index = 5, .script = span_of(script, 4), .sequence = SEQUENCE_FINAL};
    struct buf inside = {0}, other = {0};
    for (unsigned more = 0; more < 2; more++) {
        struct tx_output output = {.script = span_of(script, more)};
        const struct tx tx = {
            .version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
        tx_write(more ? &other : &inside, &tx, false);
    }
    cr_assert_eq(inside.len, 64);
    struct block *block = block_of(buf_span(&inside), 1);
    cr_expect_str_eq(word_of(block), "bad-cb-missing");
    cr_expect_eq(kind, ERROR_MUTATED);
    block_unref(block);
    block = block_of(buf_span(&other), 1);
    cr_expect_str_eq(word_of(block), "bad-cb-missing");
    cr_expect_eq(kind, ERROR_INVALID);
    block_unref(block);
    buf_bytes(&other, inside.data, inside.len);
    block = block_of(buf_span(&other), 2);
    cr_expect_str_eq(word_of(block), "bad-cb-missing");
    cr_expect_eq(kind, ERROR_MUTATED);
    block_unref(block);
    buf_free(&inside);
    buf_free(&other);
}
