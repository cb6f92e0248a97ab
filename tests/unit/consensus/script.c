/* What the field's tables do not reach: tagged midstates, bounds of memory, stacks over the limit in version
 * 0, the form of signet solutions. */
#include <criterion/criterion.h>

#include "core/consensus/script.h"
#include "hashing/kernels/kernels.h"

static void tagged(uint8_t out[32], const char *tag, const void *data, size_t len)
{
    struct buf message = {0};
    uint8_t hash[32];
    sha256(hash, tag, strlen(tag));
    buf_bytes(&message, hash, 32);
    buf_bytes(&message, hash, 32);
    buf_bytes(&message, data, len);
    sha256(out, message.data, message.len);
    buf_free(&message);
}

Test(taproot, tagged_hashes_are_what_bip340_says)
{
    uint8_t data[65] = {[0] = 1, [31] = 9, [32] = 0, [63] = 7}, expected[32];
    struct hash256 a, b, got;
    memcpy(a.b, data, 32);
    memcpy(b.b, data + 32, 32);
    tagged(expected, "TapTweak", data, 64);
    taproot_tweak_hash(&got, a.b, &b);
    cr_expect_arr_eq(got.b, expected, 32);
    uint8_t sorted[64];
    memcpy(sorted, b.b, 32); /* 0… is before 1… */
    memcpy(sorted + 32, a.b, 32);
    tagged(expected, "TapBranch", sorted, 64);
    taproot_branch_hash(&got, &a, &b);
    cr_expect_arr_eq(got.b, expected, 32);
    static const uint8_t leaf[] = {0xc0, 2, 0x51, 0x75};
    tagged(expected, "TapLeaf", leaf, sizeof leaf);
    taproot_leaf_hash(&got, 0xc0, span_of(leaf + 2, 2));
    cr_expect_arr_eq(got.b, expected, 32);
}

/* A spend of a version 0 script with a witness of `count` empty items. */
static enum script_error run_v0(struct span script, uint32_t count)
{
    uint8_t program[34] = {0, 32};
    sha256(program + 2, script.data, script.len);
    struct span *witness = mem_alloc((count + 1) * sizeof *witness);
    witness[count] = script;
    struct tx_input in = {.witness = witness, .witness_count = count + 1};
    struct tx_output out = {0};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    const struct coin coin = {.script = span_of(program, sizeof program)};
    enum script_error error = script_verify(&tx, 0, &coin, NULL, SCRIPT_P2SH | SCRIPT_WITNESS);
    mem_free(witness);
    return error;
}

Test(script, version_0_counts_its_stack_after_each_operation)
{
    uint8_t script[600] = {OP_2DROP};
    size_t len = 1;
    /* 1,002 items, two of which go first; the rest two by two, and a one at the end. */
    for (int i = 0; i < 200; i++) {
        script[len++] = OP_2DROP;
    }
    cr_expect_eq(run_v0(span_of(script, len), 1003), SCRIPT_ERROR_STACK_SIZE);
    cr_expect_eq(run_v0(span_of(script, len), 1002), SCRIPT_ERROR_CLEANSTACK);
    cr_expect_eq(run_v0(span_of(script, 0), 100000), SCRIPT_ERROR_CLEANSTACK);
    script[0] = OP_NOP;
    cr_expect_eq(run_v0(span_of(script, len), 1001), SCRIPT_ERROR_STACK_SIZE);
    cr_expect_eq(run_v0(span_of(script, len), 1000), SCRIPT_ERROR_CLEANSTACK);
}

/* Four million bytes of hashing in a tapscript, run directly: what it makes is bounded. */
Test(script, a_long_tapscript_keeps_its_memory_small)
{
    size_t len = 1000000;
    uint8_t *script = mem_alloc(len);
    memset(script, OP_SHA256, len);
    script[0] = OP_1;
    struct script_run *run = mem_alloc(sizeof *run);
    run->stack.items = run->stack_items;
    run->alt.items = run->alt_items;
    cr_expect_eq(script_execute(run, span_of(script, len), SCRIPT_TAPSCRIPT), SCRIPT_ERROR_OK);
    cr_expect_eq(run->stack.count, 1);
    cr_expect_lt(run->arena.used_bytes, 16u << 20);
    uint8_t expected[32] = {1};
    sha256(expected, expected, 1);
    for (size_t i = 2; i < len; i++) {
        sha256(expected, expected, 32);
    }
    cr_expect_arr_eq(run->stack.items[0].data, expected, 32);
    arena_free(&run->arena);
    mem_free(run);
    mem_free(script);
}

/* ---- signet ------------------------------------------------------------------------------------------ */

/* A block of one coinbase whose commitment output ends with the given bytes. */
static struct block *signet_block(const void *tail, size_t tail_len)
{
    static const uint8_t begin[] = {OP_RETURN, 0x24, 0xaa, 0x21, 0xa9, 0xed};
    struct buf commitment = {0}, raw = {0};
    buf_bytes(&commitment, begin, sizeof begin);
    buf_extend(&commitment, 32);
    buf_bytes(&commitment, tail, tail_len);
    static const uint8_t height[2] = {OP_1, OP_0};
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = span_of(height, 2), .sequence = SEQUENCE_FINAL};
    struct tx_output out = {.script = buf_span(&commitment)};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    buf_extend(&raw, HEADER_BYTES);
    buf_compact_size(&raw, 1);
    tx_write(&raw, &tx, false);
    buf_free(&commitment);
    struct error error = {0};
    struct block *block = block_parse(raw.data, raw.len, &error);
    cr_assert(block, "%s", error.text);
    return block;
}

static bool solves(const void *tail, size_t tail_len, const void *challenge, size_t len)
{
    struct block *block = signet_block(tail, tail_len);
    bool ok = signet_check(block, span_of(challenge, len));
    block_unref(block);
    return ok;
}

Test(signet, solutions)
{
    static const uint8_t anyone[] = {OP_1}, nobody[] = {OP_0}, two[] = {OP_1 + 1, OP_EQUAL};
    /* header, then scriptSig of one byte (OP_2), then no witness item */
    static const uint8_t good[] = {7, 0xec, 0xc7, 0xda, 0xa2, 1, OP_1 + 1, 0};
    static const uint8_t wrong[] = {7, 0xec, 0xc7, 0xda, 0xa2, 1, OP_1 + 2, 0};
    static const uint8_t longer[] = {8, 0xec, 0xc7, 0xda, 0xa2, 1, OP_1 + 1, 0, 0};
    static const uint8_t cut[] = {6, 0xec, 0xc7, 0xda, 0xa2, 1, OP_1 + 1};
    cr_expect(solves(NULL, 0, anyone, 1));
    cr_expect(!solves(NULL, 0, nobody, 1));
    cr_expect(!solves(NULL, 0, two, 2));
    cr_expect(solves(good, sizeof good, two, 2));
    cr_expect(!solves(wrong, sizeof wrong, two, 2));
    cr_expect(!solves(longer, sizeof longer, two, 2));
    cr_expect(!solves(cut, sizeof cut, two, 2));
}
