/* Verifying one input: scriptSig, scriptPubKey, P2SH (BIP16), witness programs (BIP141). A witness program of
 * version 1 with 32 bytes (taproot) is not judged yet: neither valid nor invalid. */
#include "core/consensus/script.h"

#include "hashing/kernels/kernels.h"

static const char *const error_texts[] = {
#define X(name, text) [SCRIPT_ERROR_##name] = text,
    SCRIPT_ERRORS(X)
#undef X
};

/* BIP141: version 0..16 and a program of 2 to 40 bytes. */
static bool witness_program(struct span script, uint8_t *version, struct span *program)
{
    if (script.len < 4 || script.len > 42 ||
        (script.data[0] != OP_0 && (script.data[0] < OP_1 || script.data[0] > OP_16)) ||
        script.data[1] + 2u != script.len) {
        return false;
    }
    *version = script.data[0] == OP_0 ? 0 : (uint8_t)(script.data[0] - (OP_1 - 1));
    *program = span_of(script.data + 2, script.len - 2);
    return true;
}

static enum script_error finish_witness_script(struct script_run *run, struct span script)
{
    for (size_t i = 0; i < run->stack.count; i++) {
        if (run->stack.items[i].len > SCRIPT_PUSH_BYTES_MAX) {
            return SCRIPT_ERROR_PUSH_SIZE;
        }
    }
    enum script_error error = script_execute(run, script, SCRIPT_WITNESS_V0);
    if (error != SCRIPT_ERROR_OK) {
        return error;
    }
    if (run->stack.count != 1) {
        return SCRIPT_ERROR_CLEANSTACK; /* a consensus rule inside witness programs */
    }
    return script_true(run->stack.items[0]) ? SCRIPT_ERROR_OK : SCRIPT_ERROR_EVAL_FALSE;
}

static enum script_error verify_v0(struct script_run *run, const struct tx_input *in, struct span program)
{
    uint32_t count = in->witness_count;
    struct span script;
    if (program.len == 32) {
        uint8_t hash[32];
        if (count == 0) {
            return SCRIPT_ERROR_WITNESS_PROGRAM_WITNESS_EMPTY;
        }
        script = in->witness[--count];
        sha256(hash, script.data, script.len);
        if (memcmp(hash, program.data, 32) != 0) {
            return SCRIPT_ERROR_WITNESS_PROGRAM_MISMATCH;
        }
    } else if (program.len == 20) {
        if (count != 2) {
            return SCRIPT_ERROR_WITNESS_PROGRAM_MISMATCH;
        }
        uint8_t *p2pkh = arena_alloc(&run->arena, 25);
        memcpy(p2pkh, (const uint8_t[]){OP_DUP, OP_HASH160, 20}, 3);
        memcpy(p2pkh + 3, program.data, 20);
        memcpy(p2pkh + 23, (const uint8_t[]){OP_EQUALVERIFY, OP_CHECKSIG}, 2);
        script = span_of(p2pkh, 25);
    } else {
        return SCRIPT_ERROR_WITNESS_PROGRAM_WRONG_LENGTH;
    }
    if (count > SCRIPT_STACK_MAX) {
        return SCRIPT_ERROR_STACK_SIZE;
    }
    memcpy(run->stack.items, in->witness, count * sizeof *in->witness);
    run->stack.count = count;
    return finish_witness_script(run, script);
}

static enum script_error verify_witness(struct script_run *run, uint8_t version, struct span program,
                                        bool inside_p2sh)
{
    if (version == 0) {
        return verify_v0(run, &run->tx->inputs[run->index], program);
    }
    if (version == 1 && program.len == 32 && !inside_p2sh && run->flags & SCRIPT_TAPROOT) {
        return SCRIPT_ERROR_UNJUDGED;
    }
    return run->flags & SCRIPT_DISCOURAGE_UPGRADABLE_WITNESS
               ? SCRIPT_ERROR_DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM
               : SCRIPT_ERROR_OK;
}

static bool is_only_push_of(struct span script, struct span item)
{
    struct buf expected = {0};
    script_push(&expected, item.data, item.len);
    bool same = span_equal(script, buf_span(&expected));
    buf_free(&expected);
    return same;
}

static enum script_error verify_p2sh(struct script_run *run, struct span script_sig,
                                     const struct script_stack *after_sig, bool *had_witness)
{
    if (!script_is_push_only(script_sig)) {
        return SCRIPT_ERROR_SIG_PUSHONLY;
    }
    run->stack = *after_sig; /* cannot be empty: the hash matched something */
    struct span redeem = run->stack.items[--run->stack.count], program;
    enum script_error error = script_execute(run, redeem, SCRIPT_BASE);
    if (error != SCRIPT_ERROR_OK) {
        return error;
    }
    if (run->stack.count == 0 || !script_true(run->stack.items[run->stack.count - 1])) {
        return SCRIPT_ERROR_EVAL_FALSE;
    }
    uint8_t version;
    if (run->flags & SCRIPT_WITNESS && witness_program(redeem, &version, &program)) {
        *had_witness = true;
        if (!is_only_push_of(script_sig, redeem)) {
            return SCRIPT_ERROR_WITNESS_MALLEATED_P2SH;
        }
        error = verify_witness(run, version, program, true);
        run->stack.count = 1; /* the witness script's own result was already judged */
    }
    return error;
}

static enum script_error verify(struct script_run *run, struct script_stack *after_sig,
                                struct span script_sig, struct span script_pubkey)
{
    enum script_error error;
    bool had_witness = false;
    uint8_t version;
    struct span program;
    if (run->flags & SCRIPT_SIGPUSHONLY && !script_is_push_only(script_sig)) {
        return SCRIPT_ERROR_SIG_PUSHONLY;
    }
    if ((error = script_execute(run, script_sig, SCRIPT_BASE)) != SCRIPT_ERROR_OK) {
        return error;
    }
    *after_sig = run->stack;
    if ((error = script_execute(run, script_pubkey, SCRIPT_BASE)) != SCRIPT_ERROR_OK) {
        return error;
    }
    if (run->stack.count == 0 || !script_true(run->stack.items[run->stack.count - 1])) {
        return SCRIPT_ERROR_EVAL_FALSE;
    }
    if (run->flags & SCRIPT_WITNESS && witness_program(script_pubkey, &version, &program)) {
        had_witness = true;
        if (script_sig.len) {
            return SCRIPT_ERROR_WITNESS_MALLEATED;
        }
        if ((error = verify_witness(run, version, program, false)) != SCRIPT_ERROR_OK) {
            return error;
        }
        run->stack.count = 1;
    }
    if (run->flags & SCRIPT_P2SH && script_classify(script_pubkey, NULL) == OUTPUT_P2SH &&
        (error = verify_p2sh(run, script_sig, after_sig, &had_witness)) != SCRIPT_ERROR_OK) {
        return error;
    }
    if (run->flags & SCRIPT_CLEANSTACK && run->stack.count != 1) {
        return SCRIPT_ERROR_CLEANSTACK;
    }
    if (run->flags & SCRIPT_WITNESS && !had_witness && run->tx->inputs[run->index].witness_count) {
        return SCRIPT_ERROR_WITNESS_UNEXPECTED;
    }
    return SCRIPT_ERROR_OK;
}

bool script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                         const struct sighash_cache *cache, uint32_t flags, struct error *error)
{
    struct {
        struct script_run run;
        struct script_stack after_sig;
    } *memory = mem_alloc(sizeof *memory); /* the stacks are too large for a thread's own */
    struct script_run *run = &memory->run;
    run->tx = tx;
    run->index = index;
    run->value = spent[index].value;
    run->cache = cache;
    run->flags = flags;
    enum script_error result = verify(run, &memory->after_sig, tx->inputs[index].script, spent[index].script);
    arena_free(&run->arena);
    mem_free(memory);
    if (result == SCRIPT_ERROR_OK) {
        return true;
    }
    if (result == SCRIPT_ERROR_UNJUDGED) {
        return error_set(error, ERROR_UNJUDGED, "script-unjudged", "input %u is %s", index,
                         error_texts[result]);
    }
    char word[160], txid[HASH256_TEXT];
    struct buf text = {0};
    buf_printf(&text, "mandatory-script-verify-flag-failed (%s)%c", error_texts[result], 0);
    memcpy(word, text.data, MIN(text.len, sizeof word));
    word[sizeof word - 1] = 0;
    buf_free(&text);
    return error_set(error, ERROR_INVALID, word, "input %u of %s: %s", index, hash256_text(txid, &tx->txid),
                     error_texts[result]);
}
