/* Verifying one input: scriptSig, scriptPubKey, P2SH (BIP16), witness programs (BIP141), taproot (BIP341) and
 * the frame of tapscript (BIP342). What the operations of a script do is script_vm.c's. */
#include "core/consensus/script.h"

#include <stdio.h>

#include "hashing/kernels/kernels.h"

#define ANNEX_TAG         0x50
#define LEAF_VERSION_MASK 0xfe
#define LEAF_TAPSCRIPT    0xc0
#define CONTROL_BYTES_MIN 33u
#define CONTROL_NODES_MAX 128u
#define BUDGET_OFFSET     50

const char *script_error_text(enum script_error error)
{
    static const char *const texts[] = {
#define X(name, text) [SCRIPT_ERROR_##name] = text,
        SCRIPT_ERRORS(X)
#undef X
    };
    return texts[error];
}

static enum script_error top_is_true(const struct script_stack *stack)
{
    return stack->count && script_true(stack->items[stack->count - 1]) ? SCRIPT_ERROR_OK
                                                                       : SCRIPT_ERROR_EVAL_FALSE;
}

/* The witness's first `count` items become the stack. Version 0 bounds the stack only after each operation,
 * so that more items than the limit may stand there before the first one. */
static void load_stack(struct script_run *run, const struct span *items, size_t count)
{
    if (count > SCRIPT_STACK_MAX) {
        run->stack.items =
            arena_alloc(&run->arena, (count + SCRIPT_STACK_ROOM - SCRIPT_STACK_MAX) * sizeof *items);
    }
    if (count) {
        memcpy(run->stack.items, items, count * sizeof *items);
    }
    run->stack.count = count;
}

static enum script_error run_witness_script(struct script_run *run, struct span script,
                                            enum script_version version)
{
    for (size_t i = 0; i < run->stack.count; i++) {
        if (run->stack.items[i].len > SCRIPT_PUSH_BYTES_MAX) {
            return SCRIPT_ERROR_PUSH_SIZE;
        }
    }
    enum script_error error = script_execute(run, script, version);
    if (error != SCRIPT_ERROR_OK) {
        return error;
    }
    /* Consensus rules inside witness programs, not only policy. */
    return run->stack.count != 1 ? SCRIPT_ERROR_CLEANSTACK : top_is_true(&run->stack);
}

static enum script_error verify_v0(struct script_run *run, const struct tx_input *in, struct span program)
{
    uint32_t count = in->witness_count;
    if (program.len == 32) {
        uint8_t hash[32];
        if (count == 0) {
            return SCRIPT_ERROR_WITNESS_PROGRAM_WITNESS_EMPTY;
        }
        struct span script = in->witness[--count];
        sha256(hash, script.data, script.len);
        if (memcmp(hash, program.data, 32) != 0) {
            return SCRIPT_ERROR_WITNESS_PROGRAM_MISMATCH;
        }
        load_stack(run, in->witness, count);
        return run_witness_script(run, script, SCRIPT_WITNESS_V0);
    }
    if (program.len != 20) {
        return SCRIPT_ERROR_WITNESS_PROGRAM_WRONG_LENGTH;
    }
    if (count != 2) {
        return SCRIPT_ERROR_WITNESS_PROGRAM_MISMATCH;
    }
    uint8_t p2pkh[25] = {OP_DUP, OP_HASH160, 20, [23] = OP_EQUALVERIFY, [24] = OP_CHECKSIG};
    memcpy(p2pkh + 3, program.data, 20);
    load_stack(run, in->witness, count);
    return run_witness_script(run, span_of(p2pkh, sizeof p2pkh), SCRIPT_WITNESS_V0);
}

static enum script_error run_tapscript(struct script_run *run, const struct tx_input *in, size_t count,
                                       struct span script)
{
    bool success = false;
    enum script_error error = tapscript_scan(script, &success);
    if (success) {
        return run->flags & SCRIPT_DISCOURAGE_OP_SUCCESS ? SCRIPT_ERROR_DISCOURAGE_OP_SUCCESS
                                                         : SCRIPT_ERROR_OK;
    }
    if (error != SCRIPT_ERROR_OK) {
        return error;
    }
    if (count > SCRIPT_STACK_MAX) {
        return SCRIPT_ERROR_STACK_SIZE;
    }
    /* The budget: 50 and the size of the whole witness, annex and control block included. */
    size_t bytes = compact_size_len(in->witness_count);
    for (uint32_t i = 0; i < in->witness_count; i++) {
        bytes += compact_size_len(in->witness[i].len) + in->witness[i].len;
    }
    run->tap.weight_left = BUDGET_OFFSET + (int64_t)bytes;
    run->tap.separator = UINT32_MAX;
    load_stack(run, in->witness, count);
    return run_witness_script(run, script, SCRIPT_TAPSCRIPT);
}

static void hash_annex(struct hash256 *out, struct span annex)
{
    struct sha256_ctx ctx;
    struct buf length = {0};
    buf_compact_size(&length, annex.len);
    sha256_init(&ctx);
    sha256_update(&ctx, length.data, length.len);
    sha256_update(&ctx, annex.data, annex.len);
    sha256_final(&ctx, out->b);
    buf_free(&length);
}

static enum script_error verify_taproot(struct script_run *run, const struct tx_input *in,
                                        struct span program)
{
    size_t count = in->witness_count;
    if (!(run->flags & SCRIPT_TAPROOT)) {
        return SCRIPT_ERROR_OK;
    }
    if (count == 0) {
        return SCRIPT_ERROR_WITNESS_PROGRAM_WITNESS_EMPTY;
    }
    if (count >= 2 && in->witness[count - 1].len && in->witness[count - 1].data[0] == ANNEX_TAG) {
        run->tap.has_annex = true;
        hash_annex(&run->tap.annex, in->witness[--count]);
    }
    if (count == 1) {
        return schnorr_verify(run, in->witness[0], program, SCRIPT_TAPROOT_KEY);
    }
    struct span control = in->witness[--count], script = in->witness[--count];
    if (control.len < CONTROL_BYTES_MIN || control.len > CONTROL_BYTES_MIN + 32 * CONTROL_NODES_MAX ||
        (control.len - CONTROL_BYTES_MIN) % 32) {
        return SCRIPT_ERROR_TAPROOT_WRONG_CONTROL_SIZE;
    }
    uint8_t leaf_version = control.data[0] & LEAF_VERSION_MASK;
    taproot_leaf_hash(&run->tap.leaf, leaf_version, script);
    if (!taproot_commits(control, program, &run->tap.leaf)) {
        return SCRIPT_ERROR_WITNESS_PROGRAM_MISMATCH;
    }
    if (leaf_version == LEAF_TAPSCRIPT) {
        return run_tapscript(run, in, count, script);
    }
    return run->flags & SCRIPT_DISCOURAGE_UPGRADABLE_TAPROOT
               ? SCRIPT_ERROR_DISCOURAGE_UPGRADABLE_TAPROOT_VERSION
               : SCRIPT_ERROR_OK;
}

static enum script_error verify_witness(struct script_run *run, uint8_t version, struct span program,
                                        bool inside_p2sh)
{
    const struct tx_input *in = &run->tx->inputs[run->index];
    if (version == 0) {
        return verify_v0(run, in, program);
    }
    if (version == 1 && program.len == 32 && !inside_p2sh) {
        return verify_taproot(run, in, program);
    }
    if (!inside_p2sh && script_is_anchor(version, program)) {
        return SCRIPT_ERROR_OK;
    }
    return run->flags & SCRIPT_DISCOURAGE_UPGRADABLE_WITNESS
               ? SCRIPT_ERROR_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM
               : SCRIPT_ERROR_OK;
}

/* run->stack: as scriptSig alone left it, which is never empty, since the hash of its top has matched. */
static enum script_error verify_p2sh(struct script_run *run, struct span script_sig, bool *had_witness)
{
    struct span redeem = run->stack.items[--run->stack.count], program;
    enum script_error error = script_execute(run, redeem, SCRIPT_BASE);
    if (error != SCRIPT_ERROR_OK || (error = top_is_true(&run->stack)) != SCRIPT_ERROR_OK) {
        return error;
    }
    uint8_t version;
    if (run->flags & SCRIPT_WITNESS && script_witness_program(redeem, &version, &program)) {
        *had_witness = true;
        bool only_push = script_sig.len == redeem.len + 1 && script_sig.data[0] == redeem.len &&
                         memcmp(script_sig.data + 1, redeem.data, redeem.len) == 0;
        if (!only_push) {
            return SCRIPT_ERROR_WITNESS_MALLEATED_P2SH;
        }
        error = verify_witness(run, version, program, true);
        run->stack.count = 1; /* the witness script's own result was already judged */
    }
    return error;
}

/* scriptPubKey after scriptSig; for P2SH, the stack that scriptSig left is kept in *after_sig meanwhile. */
static enum script_error run_both(struct script_run *run, struct span script_sig, struct span script_pubkey,
                                  bool is_p2sh, struct script_stack *after_sig)
{
    enum script_error error = script_execute(run, script_sig, SCRIPT_BASE);
    if (error != SCRIPT_ERROR_OK) {
        return error;
    }
    if (is_p2sh && run->stack.count) {
        after_sig->items = (void *)script_memory(run, run->stack.count * sizeof *after_sig->items);
        after_sig->count = run->stack.count;
        memcpy(after_sig->items, run->stack.items, run->stack.count * sizeof *after_sig->items);
    }
    error = script_execute(run, script_pubkey, SCRIPT_BASE);
    return error == SCRIPT_ERROR_OK ? top_is_true(&run->stack) : error;
}

static enum script_error verify(struct script_run *run, struct span script_sig, struct span script_pubkey)
{
    enum script_error error;
    bool had_witness = false;
    bool is_p2sh = run->flags & SCRIPT_P2SH && script_classify(script_pubkey, NULL) == OUTPUT_P2SH;
    uint8_t version;
    struct span program;
    struct script_stack after_sig = {0};
    if (run->flags & SCRIPT_SIGPUSHONLY && !script_is_push_only(script_sig)) {
        return SCRIPT_ERROR_SIG_PUSHONLY;
    }
    if ((error = run_both(run, script_sig, script_pubkey, is_p2sh, &after_sig)) != SCRIPT_ERROR_OK) {
        return error;
    }
    if (run->flags & SCRIPT_WITNESS && script_witness_program(script_pubkey, &version, &program)) {
        had_witness = true;
        if (script_sig.len) {
            return SCRIPT_ERROR_WITNESS_MALLEATED;
        }
        if ((error = verify_witness(run, version, program, false)) != SCRIPT_ERROR_OK) {
            return error;
        }
        run->stack.count = 1;
    }
    if (is_p2sh) {
        if (!script_is_push_only(script_sig)) {
            return SCRIPT_ERROR_SIG_PUSHONLY;
        }
        CHECK(after_sig.items); /* what hashes to the program was on top */
        memcpy(run->stack.items, after_sig.items, after_sig.count * sizeof *after_sig.items);
        run->stack.count = after_sig.count;
        if ((error = verify_p2sh(run, script_sig, &had_witness)) != SCRIPT_ERROR_OK) {
            return error;
        }
    }
    if (run->flags & SCRIPT_CLEANSTACK && run->stack.count != 1) {
        return SCRIPT_ERROR_CLEANSTACK;
    }
    if (run->flags & SCRIPT_WITNESS && !had_witness && run->tx->inputs[run->index].witness_count) {
        return SCRIPT_ERROR_WITNESS_UNEXPECTED;
    }
    return SCRIPT_ERROR_OK;
}

enum script_error script_verify(const struct tx *tx, uint32_t index, const struct coin *spent,
                                const struct sighash_cache *cache, uint32_t flags)
{
    struct script_run run; /* the fields below are all that is read before it is written */
    run.tx = tx;
    run.index = index;
    run.spent = spent;
    run.cache = cache;
    run.flags = flags;
    run.tap.has_annex = false;
    run.last.code = span_of(NULL, 0);
    run.stack = (struct script_stack){run.stack_items, 0};
    run.alt = (struct script_stack){run.alt_items, 0};
    run.arena = (struct arena){0};
    run.small_used = 0;
    enum script_error error = verify(&run, tx->inputs[index].script, spent[index].script);
    arena_free(&run.arena);
    return error;
}

bool script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                         const struct sighash_cache *cache, uint32_t flags, struct error *error)
{
    enum script_error result = script_verify(tx, index, spent, cache, flags);
    if (result == SCRIPT_ERROR_OK) {
        return true;
    }
    char word[sizeof error->word], txid[HASH256_TEXT];
    const char *text = script_error_text(result);
    snprintf(word, sizeof word, "mandatory-script-verify-flag-failed (%s)", text);
    return error_set(error, ERROR_INVALID, word, "input %u of %s: %s", index, hash256_text(txid, &tx->txid),
                     text);
}
