/* script_tests, tx_valid, tx_invalid and sighash: Bitcoin Core's tables, with its own rules of reading them.
 */
#include <math.h>
#include <secp256k1.h>
#include <secp256k1_extrakeys.h>

#include "core/consensus/script.h"
#include "hashing/kernels/kernels.h"
#include "tests/vectors/vectors.h"

static const char *error_name(enum script_error error)
{
    static const char *const names[] = {
#define X(name, text) [SCRIPT_ERROR_##name] = #name,
        SCRIPT_ERRORS(X)
#undef X
    };
    return error == SCRIPT_ERROR_SIG_NULLFAIL ? "NULLFAIL"
           : error == SCRIPT_ERROR_UNKNOWN    ? "UNKNOWN_ERROR"
                                              : names[error];
}

/* ---- script_tests ------------------------------------------------------------------------------------ */

/* Rows with placeholders: "#SCRIPT# words" is a tapscript, "#CONTROLBLOCK#" and "#TAPROOTOUTPUT#" what
 * belongs to it as the only leaf under BIP341's key that nobody has. */
struct tap_row {
    struct span script;
    uint8_t control[33], output[32];
};

static bool make_tap_row(struct tap_row *tap)
{
    const secp256k1_context *context = secp256k1_context_static;
    struct hash256 leaf, tweak;
    secp256k1_xonly_pubkey internal, output;
    secp256k1_pubkey tweaked;
    int odd;
    tap->control[0] = 0xc0;
    taproot_leaf_hash(&leaf, 0xc0, tap->script);
    bool ok = hex_decode(tap->control + 1, 32,
                         "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0") &&
              secp256k1_xonly_pubkey_parse(context, &internal, tap->control + 1);
    taproot_tweak_hash(&tweak, tap->control + 1, &leaf);
    ok = ok && secp256k1_xonly_pubkey_tweak_add(context, &tweaked, &internal, tweak.b) &&
         secp256k1_xonly_pubkey_from_pubkey(context, &output, &odd, &tweaked) &&
         secp256k1_xonly_pubkey_serialize(context, tap->output, &output);
    tap->control[0] |= ok ? (uint8_t)odd : 0;
    return ok;
}

static enum script_error run_row(struct span script_sig, struct span script_pubkey,
                                 const struct span *witness, uint32_t witness_count, int64_t amount,
                                 uint32_t flags)
{
    static const uint8_t two_zeros[2] = {OP_0, OP_0};
    struct tx_input credit_in = {
        .prevout.index = UINT32_MAX, .script = span_of(two_zeros, 2), .sequence = SEQUENCE_FINAL};
    struct tx_output credit_out = {{amount}, script_pubkey};
    struct tx credit = {
        .version = 1, .input_count = 1, .inputs = &credit_in, .output_count = 1, .outputs = &credit_out};
    struct buf raw = {0};
    tx_write(&raw, &credit, false);
    struct tx_input in = {
        .script = script_sig, .sequence = SEQUENCE_FINAL, .witness = witness, .witness_count = witness_count};
    sha256d(in.prevout.txid.b, raw.data, raw.len);
    buf_free(&raw);
    struct tx_output out = {{amount}, {NULL, 0}};
    struct tx spend = {.version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    struct coin coin = {.value = {amount}, .script = script_pubkey};
    return script_verify(&spend, 0, &coin, NULL, flags);
}

static bool read_tapscript(struct arena *arena, struct tap_row *tap, const char *text)
{
    struct buf script = {0};
    bool ok = script_from_text(&script, text);
    uint8_t *copy = arena_alloc(arena, script.len);
    if (script.len) {
        memcpy(copy, script.data, script.len);
    }
    tap->script = span_of(copy, script.len);
    buf_free(&script);
    return ok && make_tap_row(tap);
}

/* The witness of a row: hex items, the last element the amount in bitcoins. */
static bool read_witness(struct arena *arena, const json_t *row, struct tap_row *tap, struct span **items,
                         uint32_t *count, int64_t *amount)
{
    static const char script_mark[] = "#SCRIPT#";
    size_t size = json_array_size(row);
    *items = arena_alloc(arena, size * sizeof **items);
    *count = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        const char *text = json_string_value(json_array_get(row, i));
        if (!text) {
            return false;
        }
        struct span *item = &(*items)[(*count)++];
        if (strncmp(text, script_mark, sizeof script_mark - 1) == 0) {
            if (!read_tapscript(arena, tap, text + sizeof script_mark - 1)) {
                return false;
            }
            *item = tap->script;
        } else if (strcmp(text, "#CONTROLBLOCK#") == 0) {
            *item = span_of(tap->control, sizeof tap->control);
        } else {
            *item = hex_span(arena, text);
        }
    }
    *amount = size ? (int64_t)llround(json_number_value(json_array_get(row, size - 1)) * 1e8) : 0;
    return true;
}

static bool read_script_pubkey(struct buf *out, const char *text, const struct tap_row *tap)
{
    const char *mark = strstr(text, "#TAPROOTOUTPUT#");
    if (!mark) {
        return script_from_text(out, text);
    }
    char *before = mem_dup(text, (size_t)(mark - text) + 1);
    before[mark - text] = 0;
    bool ok = script_from_text(out, before);
    buf_bytes(out, tap->output, sizeof tap->output);
    mem_free(before);
    return ok;
}

static void script_row(const void *context, size_t i)
{
    const json_t *row = json_array_get(context, i);
    size_t at = json_is_array(json_array_get(row, 0)) ? 1 : 0;
    if (json_array_size(row) < at + 4) {
        if (json_array_size(row) != 1) {
            case_result(false, "row %zu has %zu elements", i, json_array_size(row));
        }
        return; /* a comment */
    }
    struct arena arena = {0};
    struct buf sig = {0}, pubkey = {0};
    struct span *witness = NULL;
    uint32_t witness_count = 0, flags;
    int64_t amount = 0;
    struct tap_row tap = {0};
    const char *sig_text = json_string_value(json_array_get(row, at)),
               *pubkey_text = json_string_value(json_array_get(row, at + 1)),
               *flag_text = json_string_value(json_array_get(row, at + 2)),
               *expected = json_string_value(json_array_get(row, at + 3));
    bool readable =
        sig_text && pubkey_text && flag_text && expected && script_from_text(&sig, sig_text) &&
        flags_from_text(&flags, flag_text) &&
        (at == 0 || read_witness(&arena, json_array_get(row, 0), &tap, &witness, &witness_count, &amount)) &&
        read_script_pubkey(&pubkey, pubkey_text, &tap);
    if (!readable) {
        case_result(false, "row %zu cannot be read", i);
    } else {
        flags = flags_filled(flags);
        enum script_error got =
            run_row(buf_span(&sig), buf_span(&pubkey), witness, witness_count, amount, flags);
        case_result(strcmp(error_name(got), expected) == 0, "row %zu: %s, expected %s: %.80s | %.80s", i,
                    error_name(got), expected, sig_text, pubkey_text);
    }
    buf_free(&sig);
    buf_free(&pubkey);
    arena_free(&arena);
}

void script_tests(const json_t *rows)
{
    for_each(json_array_size(rows), script_row, rows);
}

/* ---- tx_valid and tx_invalid ------------------------------------------------------------------------- */

/* The spent outputs in the order of the inputs; false where the row lacks one. */
static bool read_spent(struct arena *arena, const json_t *prevouts, const struct tx *tx, struct coin *spent)
{
    for (uint32_t k = 0; k < tx->input_count; k++) {
        bool found = false;
        for (size_t i = 0; i < json_array_size(prevouts); i++) {
            const json_t *p = json_array_get(prevouts, i);
            struct outpoint outpoint = {.index = (uint32_t)json_integer_value(json_array_get(p, 1))};
            const char *hash = json_string_value(json_array_get(p, 0)),
                       *script = json_string_value(json_array_get(p, 2));
            if (!hash || !script || !hash256_parse(&outpoint.txid, hash)) {
                return false;
            }
            if (memcmp(&outpoint, &tx->inputs[k].prevout, sizeof outpoint) != 0) {
                continue;
            }
            struct buf bytes = {0};
            if (!script_from_text(&bytes, script)) {
                buf_free(&bytes);
                return false;
            }
            uint8_t *copy = arena_alloc(arena, bytes.len);
            if (bytes.len) {
                memcpy(copy, bytes.data, bytes.len);
            }
            spent[k] = (struct coin){.value = {json_integer_value(json_array_get(p, 3))},
                                     .script = span_of(copy, bytes.len)};
            buf_free(&bytes);
            found = true;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool scripts_pass(const struct tx *tx, const struct coin *spent, uint32_t flags)
{
    struct sighash_cache cache = {0};
    sighash_prepare(&cache, tx, spent);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (script_verify(tx, i, spent, &cache, flags) != SCRIPT_ERROR_OK) {
            return false;
        }
    }
    return true;
}

/* The row names the flags that are NOT set; the set is maximal. */
static bool valid_row(const struct tx *tx, const struct coin *spent, uint32_t excluded)
{
    uint32_t flags = FLAGS_ALL & ~excluded;
    bool ok = tx_check(tx, NULL) && flags_filled(flags) == flags && scripts_pass(tx, spent, flags);
    for (uint32_t bit = 1; ok && bit < FLAGS_ALL; bit <<= 1) {
        ok = scripts_pass(tx, spent, flags_trimmed(flags & ~bit)); /* fewer rules cannot hurt */
        if (ok && excluded & bit) {
            ok = !scripts_pass(tx, spent, flags_filled(flags | bit));
        }
    }
    return ok;
}

/* The row names the flags that are set; the set is minimal. */
static bool invalid_row(const struct tx *tx, const struct coin *spent, uint32_t flags)
{
    bool ok = tx_check(tx, NULL) && flags_filled(flags) == flags && !scripts_pass(tx, spent, flags);
    for (uint32_t bit = 1; ok && bit < FLAGS_ALL; bit <<= 1) {
        ok = !scripts_pass(tx, spent, flags_filled(flags | bit)); /* more rules cannot help */
        if (ok && flags & bit) {
            ok = scripts_pass(tx, spent, flags_trimmed(flags & ~bit));
        }
    }
    return ok;
}

static void tx_row(const json_t *row, size_t i, bool valid)
{
    if (!json_is_array(json_array_get(row, 0))) {
        return; /* a comment */
    }
    const char *hex = json_string_value(json_array_get(row, 1)),
               *flag_text = json_string_value(json_array_get(row, 2));
    bool bad_tx = !valid && flag_text && strcmp(flag_text, "BADTX") == 0;
    struct arena arena = {0};
    struct error error = {0};
    struct tx *tx = tx_parse(hex_span(&arena, hex), &error);
    uint32_t flags = 0;
    struct coin *spent = tx ? arena_alloc(&arena, tx->input_count * sizeof *spent) : NULL;
    if (!tx || !flag_text || (!bad_tx && !flags_from_text(&flags, flag_text))) {
        case_result(false, "row %zu cannot be read: %s", i, error.text);
    } else if (bad_tx) {
        case_result(!tx_check(tx, NULL), "row %zu passes tx_check", i);
    } else if (!read_spent(&arena, json_array_get(row, 0), tx, spent)) {
        case_result(false, "row %zu lacks a spent output", i);
    } else {
        case_result(valid ? valid_row(tx, spent, flags) : invalid_row(tx, spent, flags), "row %zu (%s)", i,
                    flag_text);
    }
    tx_unref(tx);
    arena_free(&arena);
}

static void tx_valid_row(const void *context, size_t i)
{
    tx_row(json_array_get(context, i), i, true);
}

static void tx_invalid_row(const void *context, size_t i)
{
    tx_row(json_array_get(context, i), i, false);
}

void tx_valid(const json_t *rows)
{
    for_each(json_array_size(rows), tx_valid_row, rows);
}

void tx_invalid(const json_t *rows)
{
    for_each(json_array_size(rows), tx_invalid_row, rows);
}

/* ---- sighash ----------------------------------------------------------------------------------------- */

static void sighash_row(const void *context, size_t i)
{
    const json_t *row = json_array_get(context, i);
    if (json_array_size(row) == 1) {
        return;
    }
    struct arena arena = {0};
    struct tx *tx = tx_parse(hex_span(&arena, json_string_value(json_array_get(row, 0))), NULL);
    struct span script = hex_span(&arena, json_string_value(json_array_get(row, 1)));
    const char *expected_text = json_string_value(json_array_get(row, 4));
    uint32_t index = (uint32_t)json_integer_value(json_array_get(row, 2));
    struct hash256 expected, got;
    if (!tx || index >= tx->input_count || !expected_text || !hash256_parse(&expected, expected_text)) {
        case_result(false, "row %zu cannot be read", i);
    } else {
        sighash_legacy(&got, tx, index, script, (uint32_t)json_integer_value(json_array_get(row, 3)));
        case_result(hash256_equal(&got, &expected), "row %zu", i);
    }
    tx_unref(tx);
    arena_free(&arena);
}

void sighash_tests(const json_t *rows)
{
    for_each(json_array_size(rows), sighash_row, rows);
}
