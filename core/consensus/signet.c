/* BIP325: a signet block carries, in its witness commitment, a solution to the chain's challenge; it is
 * checked as a spend of a transaction that nobody ever sends. */
#include "core/consensus/script.h"

#include "hashing/kernels/kernels.h"

#define SIGNET_FLAGS (SCRIPT_P2SH | SCRIPT_WITNESS | SCRIPT_DERSIG | SCRIPT_NULLDUMMY)

static const uint8_t signet_header[4] = {0xec, 0xc7, 0xda, 0xa2};

/* The commitment output's script without the solution, as the signature sees it; *solution borrows what was
 * taken out (empty: there is none, which a trivial challenge allows). */
static void take_solution(struct buf *without, struct span *solution, struct span script)
{
    bool found = false;
    *solution = span_of(NULL, 0);
    uint8_t op;
    struct span data;
    for (size_t at = 0; at < script.len && script_next_op(script, &at, &op, &data);) {
        if (!found && data.len > sizeof signet_header &&
            memcmp(data.data, signet_header, sizeof signet_header) == 0) {
            *solution = span_of(data.data + sizeof signet_header, data.len - sizeof signet_header);
            data.len = sizeof signet_header;
            found = true;
        }
        if (data.len) {
            script_push(without, data.data, data.len);
        } else {
            buf_u8(without, op);
        }
    }
    if (!found) {
        buf_clear(without);
        buf_bytes(without, script.data, script.len);
    }
}

static bool read_solution(struct tx_input *in, struct span solution, struct arena *arena)
{
    struct cursor c = cursor_of(solution.data, solution.len);
    if (!solution.len) {
        return true;
    }
    in->script = cursor_var_span(&c);
    in->witness_count = (uint32_t)cursor_count(&c, 1);
    struct span *items = arena_alloc(arena, in->witness_count * sizeof *items);
    for (uint32_t i = 0; i < in->witness_count; i++) {
        items[i] = cursor_var_span(&c);
    }
    in->witness = items;
    return cursor_done(&c);
}

/* The merkle root over the block whose coinbase has no solution in it. */
static void root_without_solution(struct hash256 *out, const struct block *block, uint32_t output,
                                  struct span script)
{
    struct tx coinbase = block->txs[0];
    struct buf raw = {0};
    coinbase.outputs = mem_dup(coinbase.outputs, coinbase.output_count * sizeof *coinbase.outputs);
    coinbase.outputs[output].script = script;
    tx_write(&raw, &coinbase, false);
    uint8_t *leaves = mem_alloc((size_t)block->tx_count * 32);
    sha256d(leaves, raw.data, raw.len);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        memcpy(leaves + 32 * (size_t)i, block->txs[i].txid.b, 32);
    }
    merkle_root(out->b, leaves, block->tx_count, NULL);
    mem_free(leaves);
    mem_free(coinbase.outputs);
    buf_free(&raw);
}

static void to_spend_txid(struct hash256 *out, const struct block *block, const struct hash256 *root,
                          struct span challenge)
{
    struct buf signed_part = {0}, script = {0}, raw = {0};
    buf_i32(&signed_part, block->header.version);
    buf_bytes(&signed_part, block->header.prev_hash.b, 32);
    buf_bytes(&signed_part, root->b, 32);
    buf_u32(&signed_part, block->header.time);
    buf_u8(&script, 0); /* OP_0 */
    script_push(&script, signed_part.data, signed_part.len);
    struct tx_input in = {.prevout.index = UINT32_MAX, .script = buf_span(&script)};
    struct tx_output output = {.script = challenge};
    const struct tx tx = {.input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    tx_write(&raw, &tx, false);
    sha256d(out->b, raw.data, raw.len);
    buf_free(&signed_part);
    buf_free(&script);
    buf_free(&raw);
}

bool signet_check(const struct block *block, struct span challenge)
{
    uint32_t at;
    if (!witness_commitment_output(block, &at)) {
        return false;
    }
    struct arena arena = {0};
    struct buf without = {0};
    struct span solution;
    struct hash256 root;
    static const uint8_t op_return = OP_RETURN;
    struct tx_input in = {.prevout.index = 0};
    struct tx_output output = {.script = span_of(&op_return, 1)};
    const struct tx spend = {.input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    const struct coin coin = {.script = challenge};
    take_solution(&without, &solution, block->txs[0].outputs[at].script);
    bool ok = read_solution(&in, solution, &arena);
    if (ok) {
        root_without_solution(&root, block, at, buf_span(&without));
        to_spend_txid(&in.prevout.txid, block, &root, challenge);
        ok = script_verify_input(&spend, 0, &coin, NULL, SIGNET_FLAGS, NULL);
    }
    buf_free(&without);
    arena_free(&arena);
    return ok;
}
