/* taproot_tests (subset and superset rules of the flags), BIP341's wallet vectors, BIP340's signatures. */
#include <secp256k1.h>
#include <secp256k1_extrakeys.h>
#include <secp256k1_schnorrsig.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/consensus/script.h"
#include "core/wallet/wallet.h"
#include "hashing/kernels/kernels.h"
#include "tests/vectors/vectors.h"

/* ---- taproot_tests ----------------------------------------------------------------------------------- */

/* amount, compact size, script */
static bool read_prevout(struct coin *out, struct span bytes)
{
    struct cursor c = cursor_of(bytes.data, bytes.len);
    out->value.sat = cursor_i64(&c);
    out->script = cursor_var_span(&c);
    return cursor_done(&c);
}

static void load_input(struct arena *arena, struct tx_input *in, const json_t *spend)
{
    const json_t *items = json_object_get(spend, "witness");
    size_t count = json_array_size(items);
    struct span *witness = arena_alloc(arena, count * sizeof *witness);
    for (size_t i = 0; i < count; i++) {
        witness[i] = hex_span(arena, json_string_value(json_array_get(items, i)));
    }
    in->script = hex_span(arena, text_at(spend, "scriptSig"));
    in->witness = witness;
    in->witness_count = (uint32_t)count;
}

/* The i-th set of consensus flags in which WITNESS implies P2SH and TAPROOT implies WITNESS: 4 x 16 sets. */
#define FLAG_SETS 64u
static uint32_t flag_set(uint32_t i)
{
    static const uint32_t nested[] = {0, SCRIPT_P2SH, SCRIPT_P2SH | SCRIPT_WITNESS,
                                      SCRIPT_P2SH | SCRIPT_WITNESS | SCRIPT_TAPROOT};
    static const uint32_t single[] = {SCRIPT_DERSIG, SCRIPT_CLTV, SCRIPT_CSV, SCRIPT_NULLDUMMY};
    uint32_t flags = nested[i & 3];
    for (uint32_t k = 0; k < ARRAY_COUNT(single); k++) {
        flags |= i >> (2 + k) & 1 ? single[k] : 0;
    }
    return flags;
}

static bool success_holds(const struct tx *tx, uint32_t index, const struct coin *spent,
                          const struct sighash_cache *cache, uint32_t flags, bool final)
{
    bool ok = script_verify(tx, index, spent, cache, flags) == SCRIPT_ERROR_OK;
    for (uint32_t i = 0; ok && i < FLAG_SETS; i++) {
        uint32_t set = flag_set(i);
        if (set != flags && (final || (set & flags) == set)) {
            ok = script_verify(tx, index, spent, cache, set) == SCRIPT_ERROR_OK;
        }
    }
    return ok;
}

static bool failure_holds(const struct tx *tx, uint32_t index, const struct coin *spent,
                          const struct sighash_cache *cache, uint32_t flags)
{
    uint32_t standard = SCRIPT_STANDARD_FLAGS | flags;
    bool ok = script_verify(tx, index, spent, cache, flags) != SCRIPT_ERROR_OK &&
              script_verify(tx, index, spent, cache, flags_filled(standard)) != SCRIPT_ERROR_OK;
    for (uint32_t i = 0; ok && i < FLAG_SETS; i++) {
        uint32_t set = flag_set(i);
        if (set != flags && (set & flags) == flags) {
            ok = script_verify(tx, index, spent, cache, set) != SCRIPT_ERROR_OK;
        }
    }
    return ok;
}

/*
 * The table's maker, Bitcoin Inquisition, gives OP_CAT a meaning; to Bitcoin it is OP_SUCCESS126, and a leaf
 * that holds it is valid (BIP342). Where a failure case rests on such a leaf, BIP342's answer is the one that
 * is checked: valid, and refused for that very code by DISCOURAGE_OP_SUCCESS.
 */
static bool leaf_has_cat(const struct tx_input *in)
{
    uint8_t op = 0;
    struct span data, script = in->witness_count >= 2 ? in->witness[in->witness_count - 2] : span_of(NULL, 0);
    for (size_t at = 0; at < script.len && op != OP_CAT;) {
        if (!script_next_op(script, &at, &op, &data)) {
            return false;
        }
    }
    return op == OP_CAT;
}

static bool cat_is_success(const struct tx *tx, uint32_t index, const struct coin *spent, uint32_t flags)
{
    return script_verify(tx, index, spent, NULL, flags) == SCRIPT_ERROR_OK &&
           script_verify(tx, index, spent, NULL, flags | SCRIPT_DISCOURAGE_OP_SUCCESS) ==
               SCRIPT_ERROR_DISCOURAGE_OP_SUCCESS;
}

static void taproot_row(const void *context, size_t i)
{
    const json_t *row = json_array_get(context, i);
    if (!json_is_object(row)) {
        return;
    }
    struct arena arena = {0};
    const json_t *prevouts = json_object_get(row, "prevouts"), *success = json_object_get(row, "success"),
                 *failure = json_object_get(row, "failure");
    struct tx *tx = tx_parse(hex_span(&arena, text_at(row, "tx")), NULL);
    uint32_t flags, index = (uint32_t)json_integer_value(json_object_get(row, "index"));
    bool ok = tx && index < tx->input_count && json_array_size(prevouts) == tx->input_count &&
              flags_from_text(&flags, text_at(row, "flags")) && (success || failure);
    struct coin *spent = arena_alloc(&arena, json_array_size(prevouts) * sizeof *spent);
    for (size_t k = 0; ok && k < json_array_size(prevouts); k++) {
        ok = read_prevout(&spent[k], hex_span(&arena, json_string_value(json_array_get(prevouts, k))));
    }
    if (!ok) {
        case_result(false, "row %zu cannot be read", i);
    } else {
        struct sighash_cache cache = {0};
        sighash_prepare(&cache, tx, spent);
        if (success) {
            load_input(&arena, &tx->inputs[index], success);
            case_result(
                success_holds(tx, index, spent, &cache, flags, json_is_true(json_object_get(row, "final"))),
                "row %zu success: %s", i, text_at(row, "comment"));
        }
        if (failure) {
            load_input(&arena, &tx->inputs[index], failure);
            bool cat = flags & SCRIPT_TAPROOT && leaf_has_cat(&tx->inputs[index]) &&
                       cat_is_success(tx, index, spent, flags);
            if (cat) {
                printf("note  row %zu: its failure case is valid by BIP342 (OP_SUCCESS126)\n", i);
            }
            case_result(cat || failure_holds(tx, index, spent, &cache, flags), "row %zu failure: %s", i,
                        text_at(row, "comment"));
        }
    }
    tx_unref(tx);
    arena_free(&arena);
}

void taproot_tests(const json_t *rows)
{
    for_each(json_array_size(rows), taproot_row, rows);
}

/* ---- BIP341's wallet vectors ------------------------------------------------------------------------- */

static bool is_hex_of(const char *hex, const void *data, size_t len)
{
    char text[2 * 64 + 1];
    if (len > 64) {
        return false;
    }
    hex_encode(text, data, len);
    return strcmp(text, hex) == 0;
}

/* Root of a tree that is a leaf object or a pair of trees; leaf hashes are compared in their order. */
static bool tree_root(struct hash256 *out, const json_t *tree, const json_t *leaf_hashes, struct arena *arena,
                      int depth)
{
    if (json_is_object(tree)) {
        size_t id = (size_t)json_integer_value(json_object_get(tree, "id"));
        const char *expected = json_string_value(json_array_get(leaf_hashes, id));
        taproot_leaf_hash(out, (uint8_t)json_integer_value(json_object_get(tree, "leafVersion")),
                          hex_span(arena, text_at(tree, "script")));
        return expected && is_hex_of(expected, out->b, 32);
    }
    struct hash256 left, right;
    if (depth > 128 || json_array_size(tree) != 2 ||
        !tree_root(&left, json_array_get(tree, 0), leaf_hashes, arena, depth + 1) ||
        !tree_root(&right, json_array_get(tree, 1), leaf_hashes, arena, depth + 1)) {
        return false;
    }
    taproot_branch_hash(out, &left, &right);
    return true;
}

/* The n-th leaf of a tree, in the order of their ids. */
static const json_t *find_leaf(const json_t *tree, size_t id)
{
    if (json_is_object(tree)) {
        return (size_t)json_integer_value(json_object_get(tree, "id")) == id ? tree : NULL;
    }
    for (size_t i = 0; i < json_array_size(tree); i++) {
        const json_t *found = find_leaf(json_array_get(tree, i), id);
        if (found) {
            return found;
        }
    }
    return NULL;
}

static void script_pubkey_case(const json_t *row, const struct chain_params *params, size_t i)
{
    struct arena arena = {0};
    const json_t *given = json_object_get(row, "given"), *between = json_object_get(row, "intermediary"),
                 *expected = json_object_get(row, "expected"), *tree = json_object_get(given, "scriptTree");
    bool has_tree = tree && !json_is_null(tree);
    struct span key = hex_span(&arena, text_at(given, "internalPubkey")),
                script = hex_span(&arena, text_at(expected, "scriptPubKey"));
    struct hash256 root, tweak;
    bool ok = key.len == 32 && script.len == 34 &&
              (!has_tree || (tree_root(&root, tree, json_object_get(between, "leafHashes"), &arena, 0) &&
                             is_hex_of(text_at(between, "merkleRoot"), root.b, 32)));
    if (ok) {
        taproot_tweak_hash(&tweak, key.data, has_tree ? &root : NULL);
        ok = is_hex_of(text_at(between, "tweak"), tweak.b, 32);
    }
    char address[ADDRESS_TEXT];
    struct buf decoded = {0};
    ok = ok && address_from_script(address, script, params) &&
         strcmp(address, text_at(expected, "bip350Address")) == 0 &&
         address_to_script(&decoded, address, params, NULL) && span_equal(buf_span(&decoded), script);
    buf_free(&decoded);
    case_result(ok, "scriptPubKey %zu", i);
    const json_t *controls = json_object_get(expected, "scriptPathControlBlocks");
    for (size_t k = 0; k < json_array_size(controls); k++) {
        struct span control = hex_span(&arena, json_string_value(json_array_get(controls, k)));
        const json_t *leaf_row = find_leaf(tree, k);
        struct hash256 leaf;
        taproot_leaf_hash(&leaf, control.len ? control.data[0] & 0xfe : 0,
                          hex_span(&arena, text_at(leaf_row, "script")));
        case_result(control.len >= 33 && script.len == 34 &&
                        taproot_commits(control, span_of(script.data + 2, 32), &leaf),
                    "scriptPubKey %zu, control block %zu", i, k);
    }
    arena_free(&arena);
}

static bool shared_hashes(const struct sighash_cache *cache, const json_t *between)
{
    return is_hex_of(text_at(between, "hashAmounts"), cache->amounts.b, 32) &&
           is_hex_of(text_at(between, "hashOutputs"), cache->outputs.b, 32) &&
           is_hex_of(text_at(between, "hashPrevouts"), cache->prevouts.b, 32) &&
           is_hex_of(text_at(between, "hashScriptPubkeys"), cache->scripts.b, 32) &&
           is_hex_of(text_at(between, "hashSequences"), cache->sequences.b, 32);
}

static void key_path_case(const json_t *row, size_t i)
{
    struct arena arena = {0};
    const json_t *given = json_object_get(row, "given"), *utxos = json_object_get(given, "utxosSpent"),
                 *inputs = json_object_get(row, "inputSpending");
    struct tx *tx = tx_parse(hex_span(&arena, text_at(given, "rawUnsignedTx")), NULL);
    struct tx *signed_tx =
        tx_parse(hex_span(&arena, text_at(json_object_get(row, "auxiliary"), "fullySignedTx")), NULL);
    if (!tx || !signed_tx || json_array_size(utxos) != tx->input_count ||
        signed_tx->input_count != tx->input_count) {
        case_result(false, "keyPathSpending %zu cannot be read", i);
        goto end;
    }
    struct coin *spent = arena_alloc(&arena, tx->input_count * sizeof *spent);
    for (uint32_t k = 0; k < tx->input_count; k++) {
        const json_t *utxo = json_array_get(utxos, k);
        spent[k].value.sat = json_integer_value(json_object_get(utxo, "amountSats"));
        spent[k].script = hex_span(&arena, text_at(utxo, "scriptPubKey"));
    }
    struct sighash_cache cache = {0};
    sighash_prepare(&cache, tx, spent);
    case_result(shared_hashes(&cache, json_object_get(row, "intermediary")), "keyPathSpending %zu: shared",
                i);
    for (size_t k = 0; k < json_array_size(inputs); k++) {
        const json_t *input = json_array_get(inputs, k), *what = json_object_get(input, "given");
        uint32_t index = (uint32_t)json_integer_value(json_object_get(what, "txinIndex"));
        uint8_t type = (uint8_t)json_integer_value(json_object_get(what, "hashType"));
        const struct tapscript_context tap = {0};
        struct hash256 hash;
        case_result(index < tx->input_count &&
                        sighash_taproot(&hash, tx, index, spent, type, &tap, false, &cache) &&
                        is_hex_of(text_at(json_object_get(input, "intermediary"), "sigHash"), hash.b, 32),
                    "keyPathSpending %zu: hash of input %u", i, index);
    }
    for (uint32_t k = 0; k < signed_tx->input_count; k++) {
        case_result(script_verify(signed_tx, k, spent, &cache, SCRIPT_STANDARD_FLAGS) == SCRIPT_ERROR_OK,
                    "keyPathSpending %zu: input %u", i, k);
    }
end:
    tx_unref(tx);
    tx_unref(signed_tx);
    arena_free(&arena);
}

void bip341_wallet(const json_t *document)
{
    struct chain_params params;
    CHECK(chain_params_init(&params, CHAIN_MAIN, NULL, NULL));
    const json_t *outputs = json_object_get(document, "scriptPubKey"),
                 *spends = json_object_get(document, "keyPathSpending");
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        script_pubkey_case(json_array_get(outputs, i), &params, i);
    }
    for (size_t i = 0; i < json_array_size(spends); i++) {
        key_path_case(json_array_get(spends, i), i);
    }
    chain_params_free(&params);
}

/* ---- BIP340 ------------------------------------------------------------------------------------------ */

enum {
    COLUMN_INDEX,
    COLUMN_SECRET,
    COLUMN_KEY,
    COLUMN_AUX,
    COLUMN_MESSAGE,
    COLUMN_SIGNATURE,
    COLUMN_RESULT,
    COLUMNS
};

static bool signs_the_same(secp256k1_context *context, struct span secret, struct span aux,
                           struct span message, struct span expected)
{
    secp256k1_keypair pair;
    uint8_t signature[64], random[32];
    if (secret.len != 32 || aux.len != 32 || !secp256k1_keypair_create(context, &pair, secret.data)) {
        return false;
    }
    memcpy(random, aux.data, 32);
    secp256k1_schnorrsig_extraparams extra = SECP256K1_SCHNORRSIG_EXTRAPARAMS_INIT;
    extra.ndata = random;
    return secp256k1_schnorrsig_sign_custom(context, signature, message.data, message.len, &pair, &extra) &&
           memcmp(signature, expected.data, 64) == 0;
}

static void bip340_row(secp256k1_context *context, char *line)
{
    char *columns[COLUMNS] = {0};
    struct arena arena = {0};
    for (int i = 0; i < COLUMNS; i++) {
        columns[i] = strsep(&line, ",");
        if (!columns[i]) {
            case_result(false, "a row with too few columns");
            return;
        }
    }
    struct span secret = hex_span(&arena, columns[COLUMN_SECRET]),
                key = hex_span(&arena, columns[COLUMN_KEY]),
                message = hex_span(&arena, columns[COLUMN_MESSAGE]),
                signature = hex_span(&arena, columns[COLUMN_SIGNATURE]);
    secp256k1_xonly_pubkey public_key;
    bool expected = strcmp(columns[COLUMN_RESULT], "TRUE") == 0;
    bool valid = key.len == 32 && signature.len == 64 &&
                 secp256k1_xonly_pubkey_parse(context, &public_key, key.data) &&
                 secp256k1_schnorrsig_verify(context, signature.data, message.data, message.len, &public_key);
    bool ok = valid == expected;
    if (ok && expected && secret.len) {
        ok = signs_the_same(context, secret, hex_span(&arena, columns[COLUMN_AUX]), message, signature);
    }
    case_result(ok, "row %s", columns[COLUMN_INDEX]);
    arena_free(&arena);
}

void bip340(const uint8_t *csv, size_t len)
{
    secp256k1_context *context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
    char *copy = mem_dup(csv, len + 1), *rest = copy;
    for (char *line; (line = strsep(&rest, "\r\n")) != NULL;) {
        if (*line >= '0' && *line <= '9') { /* neither head, comment nor blank */
            bip340_row(context, line);
        }
    }
    mem_free(copy);
    secp256k1_context_destroy(context);
}
