/* RPC methods about partially signed transactions (BIP174) that need no wallet. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

#define PSBTS_MAX     1000u
#define WITNESS_ITEMS 1000u
#define HARDENED      UINT32_C(0x80000000)
#define LEAF_HEAD     33u /* leaf version with parity, and the internal key */

static struct psbt *psbt_from_text(struct rpc_call *call, const char *text)
{
    struct error error = {0};
    struct psbt *psbt = psbt_parse(text, &error);
    if (!psbt) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "TX decode failed %s", error.text);
    }
    return psbt;
}

/* The first argument; NULL after the call was failed. */
static struct psbt *arg_psbt(struct rpc_call *call)
{
    const char *text = "";
    return arg_text(call, 0, &text) ? psbt_from_text(call, text) : NULL;
}

static void show_psbt(struct rpc_call *call, const struct psbt *psbt)
{
    struct buf text = {0};
    psbt_write(&text, psbt);
    put_span_text(&call->out, NULL, buf_span(&text));
    buf_free(&text);
    rpc_ok(call);
}

/* ---- decodepsbt ---------------------------------------------------------------------------------------- */

static void put_hex_key(struct buf *out, struct span key, struct span value)
{
    char *text = mem_alloc(2 * key.len + 1);
    hex_encode(text, key.data, key.len);
    put_hex(out, text, value);
    mem_free(text);
}

static void put_path(struct buf *out, struct span path)
{
    struct buf text = {0};
    buf_printf(&text, "m");
    for (size_t at = 0; at + 4 <= path.len; at += 4) {
        uint32_t step = load_le32(path.data + at);
        buf_printf(&text, "/%" PRIu32 "%s", step & ~HARDENED, step & HARDENED ? "h" : "");
    }
    put_span_text(out, "path", buf_span(&text));
    buf_free(&text);
}

static void put_script_parts(struct buf *out, const char *key, struct span script, bool with_type)
{
    struct buf text = {0};
    script_asm(&text, script, !with_type);
    put_open(out, key, '{');
    put_span_text(out, "asm", buf_span(&text));
    put_hex(out, "hex", script);
    if (with_type) {
        put_text(out, "type", output_kind_name(script_classify(script, NULL)));
    }
    put_close(out, '{');
    buf_free(&text);
}

static void put_script_row(struct buf *out, const char *key, const struct psbt_map *map, uint8_t type)
{
    const struct span *script = psbt_get(map, type);
    if (script) {
        put_script_parts(out, key, *script, true);
    }
}

static void put_hex_row(struct buf *out, const char *key, const struct psbt_map *map, uint8_t type)
{
    const struct span *bytes = psbt_get(map, type);
    if (bytes) {
        put_hex(out, key, *bytes);
    }
}

/* The next row of a type from *at on, with what its key is about; false: none. */
static bool next_row(const struct psbt_map *map, uint8_t type, size_t *at, struct span *about,
                     struct span *value)
{
    for (; *at < map->count; ++*at) {
        const struct psbt_row *row = &map->rows[*at];
        if (row->key.data[0] == type) {
            *about = span_of(row->key.data + 1, row->key.len - 1);
            *value = row->value;
            ++*at;
            return true;
        }
    }
    return false;
}

static bool has_rows(const struct psbt_map *map, uint8_t type)
{
    struct span about, value;
    size_t at = 0;
    return next_row(map, type, &at, &about, &value);
}

static void put_derivations(struct buf *out, const struct psbt_map *map, uint8_t type)
{
    struct span about, value;
    if (!has_rows(map, type)) {
        return;
    }
    put_open(out, "bip32_derivs", '[');
    for (size_t at = 0; next_row(map, type, &at, &about, &value);) {
        put_open(out, NULL, '{');
        put_hex(out, "pubkey", about);
        put_hex(out, "master_fingerprint", span_of(value.data, 4));
        put_path(out, span_of(value.data + 4, value.len - 4));
        put_close(out, '{');
    }
    put_close(out, '[');
}

/* Leaf hashes, then a key path. */
static void put_taproot_derivations(struct buf *out, const struct psbt_map *map, uint8_t type)
{
    struct span about, value;
    if (!has_rows(map, type)) {
        return;
    }
    put_open(out, "taproot_bip32_derivs", '[');
    for (size_t at = 0; next_row(map, type, &at, &about, &value);) {
        struct cursor c = cursor_of(value.data, value.len);
        size_t leaves = cursor_count(&c, 32);
        struct span hashes = cursor_span(&c, leaves * 32), fingerprint = cursor_span(&c, 4);
        if (c.failed) {
            continue;
        }
        put_open(out, NULL, '{');
        put_hex(out, "pubkey", about);
        put_hex(out, "master_fingerprint", fingerprint);
        put_path(out, span_of(c.at, cursor_left(&c)));
        put_open(out, "leaf_hashes", '[');
        for (size_t i = 0; i < leaves; i++) {
            put_hex(out, NULL, span_of(hashes.data + 32 * i, 32));
        }
        put_close(out, '[');
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_signatures(struct buf *out, const struct psbt_map *map)
{
    struct span about, value;
    if (!has_rows(map, PSBT_IN_PARTIAL_SIG)) {
        return;
    }
    put_open(out, "partial_signatures", '{');
    for (size_t at = 0; next_row(map, PSBT_IN_PARTIAL_SIG, &at, &about, &value);) {
        put_hex_key(out, about, value);
    }
    put_close(out, '{');
}

static void put_sighash(struct buf *out, const struct psbt_map *map)
{
    static const char *const names[] = {"DEFAULT", "ALL", "NONE", "SINGLE"};
    const struct span *value = psbt_get(map, PSBT_IN_SIGHASH);
    char text[32] = "";
    if (value) {
        uint32_t type = load_le32(value->data);
        if ((type & ~0x80u) < ARRAY_COUNT(names) && type != 0x80) {
            snprintf(text, sizeof text, "%s%s", names[type & 3], type & 0x80 ? "|ANYONECANPAY" : "");
        }
        put_text(out, "sighash", text);
    }
}

static void put_final(struct buf *out, const struct psbt_map *map)
{
    const struct span *script = psbt_get(map, PSBT_IN_FINAL_SCRIPT),
                      *witness = psbt_get(map, PSBT_IN_FINAL_WITNESS);
    struct span items[WITNESS_ITEMS];
    size_t count = 0;
    if (script) {
        put_script_parts(out, "final_scriptSig", *script, false);
    }
    if (witness && psbt_read_witness(*witness, items, WITNESS_ITEMS, &count)) {
        put_open(out, "final_scriptwitness", '[');
        for (size_t i = 0; i < count; i++) {
            put_hex(out, NULL, items[i]);
        }
        put_close(out, '[');
    }
}

static void put_preimages(struct buf *out, const struct psbt_map *map)
{
    static const char *const names[] = {"ripemd160_preimages", "sha256_preimages", "hash160_preimages",
                                        "hash256_preimages"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        struct span about, value;
        if (!has_rows(map, (uint8_t)(PSBT_IN_RIPEMD160 + i))) {
            continue;
        }
        put_open(out, names[i], '{');
        for (size_t at = 0; next_row(map, (uint8_t)(PSBT_IN_RIPEMD160 + i), &at, &about, &value);) {
            put_hex_key(out, about, value);
        }
        put_close(out, '{');
    }
}

static void put_taproot_signatures(struct buf *out, const struct psbt_map *map)
{
    struct span about, value;
    if (!has_rows(map, PSBT_IN_TAP_SCRIPT_SIG)) {
        return;
    }
    put_open(out, "taproot_script_path_sigs", '[');
    for (size_t at = 0; next_row(map, PSBT_IN_TAP_SCRIPT_SIG, &at, &about, &value);) {
        put_open(out, NULL, '{');
        put_hex(out, "pubkey", span_of(about.data, 32));
        put_hex(out, "leaf_hash", span_of(about.data + 32, 32));
        put_hex(out, "sig", value);
        put_close(out, '{');
    }
    put_close(out, '[');
}

static void put_taproot_scripts(struct buf *out, const struct psbt_map *map)
{
    struct span about, value;
    if (!has_rows(map, PSBT_IN_TAP_LEAF_SCRIPT)) {
        return;
    }
    put_open(out, "taproot_scripts", '[');
    for (size_t at = 0; next_row(map, PSBT_IN_TAP_LEAF_SCRIPT, &at, &about, &value);) {
        put_open(out, NULL, '{');
        put_hex(out, "script", span_of(value.data, value.len - 1));
        put_int(out, "leaf_ver", value.data[value.len - 1]);
        put_open(out, "control_blocks", '[');
        put_hex(out, NULL, about);
        put_close(out, '[');
        put_close(out, '{');
    }
    put_close(out, '[');
}

/* Rows of types that nobody here knows; always: also where there are none. */
static void put_unknown(struct buf *out, const struct psbt_map *map, const char *known, size_t count,
                        bool always)
{
    struct buf rows = {0};
    put_open(&rows, NULL, '{');
    for (size_t i = 0; i < map->count; i++) {
        if (!memchr(known, map->rows[i].key.data[0], count)) {
            put_hex_key(&rows, map->rows[i].key, map->rows[i].value);
        }
    }
    put_close(&rows, '{');
    if (always || rows.len > 2) {
        put_raw(out, "unknown", buf_span(&rows));
    }
    buf_free(&rows);
}

/* Rows that belong to one program: its name, a number of its own, and what follows. */
static void put_proprietary(struct buf *out, const struct psbt_map *map, bool always)
{
    struct span about, value;
    if (!always && !has_rows(map, PSBT_PROPRIETARY)) {
        return;
    }
    put_open(out, "proprietary", '[');
    for (size_t at = 0; next_row(map, PSBT_PROPRIETARY, &at, &about, &value);) {
        struct cursor c = cursor_of(about.data, about.len);
        struct span identifier = cursor_var_span(&c);
        uint64_t subtype = cursor_compact_size(&c, UINT64_MAX);
        if (!c.failed) {
            put_open(out, NULL, '{');
            put_hex(out, "identifier", identifier);
            put_int(out, "subtype", (int64_t)subtype);
            put_hex(out, "key", span_of(c.at, cursor_left(&c)));
            put_hex(out, "value", value);
            put_close(out, '{');
        }
    }
    put_close(out, '[');
}

static void put_utxos(struct rpc_call *call, const struct psbt_map *map)
{
    struct buf *out = &call->out;
    const struct span *whole = psbt_get(map, PSBT_IN_NON_WITNESS_UTXO),
                      *output = psbt_get(map, PSBT_IN_WITNESS_UTXO);
    if (output) {
        struct cursor c = cursor_of(output->data, output->len);
        int64_t sat = cursor_i64(&c);
        put_open(out, "witness_utxo", '{');
        put_amount(out, "amount", sat);
        put_script(out, "scriptPubKey", call->node, cursor_var_span(&c));
        put_close(out, '{');
    }
    struct tx *tx = whole ? tx_parse(*whole, NULL) : NULL;
    if (tx) {
        put_open(out, "non_witness_utxo", '{');
        put_tx(out, call->node, tx);
        put_close(out, '{');
        tx_unref(tx);
    }
}

static void put_input(struct rpc_call *call, const struct psbt_map *map)
{
    static const char known[] =
        "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0a\x0b\x0c\x0d\x13\x14\x15\x16\x17\x18\xfc";
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_utxos(call, map);
    put_signatures(out, map);
    put_sighash(out, map);
    put_script_row(out, "redeem_script", map, PSBT_IN_REDEEM_SCRIPT);
    put_script_row(out, "witness_script", map, PSBT_IN_WITNESS_SCRIPT);
    put_derivations(out, map, PSBT_IN_BIP32);
    put_final(out, map);
    put_preimages(out, map);
    put_hex_row(out, "taproot_key_path_sig", map, PSBT_IN_TAP_KEY_SIG);
    put_taproot_signatures(out, map);
    put_taproot_scripts(out, map);
    put_taproot_derivations(out, map, PSBT_IN_TAP_BIP32);
    put_hex_row(out, "taproot_internal_key", map, PSBT_IN_TAP_INTERNAL_KEY);
    put_hex_row(out, "taproot_merkle_root", map, PSBT_IN_TAP_MERKLE_ROOT);
    put_proprietary(out, map, false);
    put_unknown(out, map, known, sizeof known - 1, false);
    put_close(out, '{');
}

static void put_output(struct rpc_call *call, const struct psbt_map *map)
{
    static const char known[] = "\x00\x01\x02\x05\x07\xfc";
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_script_row(out, "redeem_script", map, PSBT_OUT_REDEEM_SCRIPT);
    put_script_row(out, "witness_script", map, PSBT_OUT_WITNESS_SCRIPT);
    put_derivations(out, map, PSBT_OUT_BIP32);
    put_hex_row(out, "taproot_internal_key", map, PSBT_OUT_TAP_INTERNAL_KEY);
    put_taproot_derivations(out, map, PSBT_OUT_TAP_BIP32);
    put_proprietary(out, map, false);
    put_unknown(out, map, known, sizeof known - 1, false);
    put_close(out, '{');
}

/* What the inputs bring more than the outputs take; false: not every coin is known, or sums are absurd. */
static bool fee_of(struct psbt *psbt, int64_t *fee_sat)
{
    *fee_sat = 0;
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        struct coin coin;
        if (!psbt_coin(psbt, i, &coin) || !amount_in_range(coin.value)) {
            return false;
        }
        *fee_sat += coin.value.sat;
    }
    for (uint32_t i = 0; i < psbt->tx->output_count; i++) {
        if (!amount_in_range(psbt->tx->outputs[i].value)) {
            return false;
        }
        *fee_sat -= psbt->tx->outputs[i].value.sat;
    }
    return true;
}

static void put_global(struct buf *out, const struct psbt_map *map)
{
    static const char known[] = "\x00\x01\xfb\xfc";
    struct span about, value;
    put_open(out, "global_xpubs", '[');
    for (size_t at = 0; next_row(map, PSBT_GLOBAL_XPUB, &at, &about, &value);) {
        struct buf text = {0};
        base58check_encode(&text, about.data, about.len);
        put_open(out, NULL, '{');
        put_span_text(out, "xpub", buf_span(&text));
        put_hex(out, "master_fingerprint", span_of(value.data, 4));
        put_path(out, span_of(value.data + 4, value.len - 4));
        put_close(out, '{');
        buf_free(&text);
    }
    put_close(out, '[');
    put_int(out, "psbt_version", 0);
    put_proprietary(out, map, true);
    put_unknown(out, map, known, sizeof known - 1, true);
}

RPC_HANDLER(decodepsbt)
{
    struct psbt *psbt = arg_psbt(call);
    struct buf *out = &call->out;
    int64_t fee_sat;
    if (!psbt) {
        return;
    }
    put_open(out, NULL, '{');
    put_open(out, "tx", '{');
    put_tx(out, call->node, psbt->tx);
    put_close(out, '{');
    put_global(out, &psbt->global);
    put_open(out, "inputs", '[');
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        put_input(call, &psbt->inputs[i]);
    }
    put_close(out, '[');
    put_open(out, "outputs", '[');
    for (uint32_t i = 0; i < psbt->tx->output_count; i++) {
        put_output(call, &psbt->outputs[i]);
    }
    put_close(out, '[');
    if (fee_of(psbt, &fee_sat)) {
        put_amount(out, "fee", fee_sat);
    }
    put_close(out, '{');
    psbt_free(psbt);
    rpc_ok(call);
}

/* ---- Making them --------------------------------------------------------------------------------------- */

RPC_HANDLER(createpsbt)
{
    struct buf raw = {0};
    if (!raw_tx_from_args(call, &raw)) {
        buf_free(&raw);
        return;
    }
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    struct psbt *psbt = tx ? psbt_new(tx) : NULL;
    if (psbt) {
        show_psbt(call, psbt);
    } else {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, a PSBT has at least one input");
    }
    psbt_free(psbt);
    tx_unref(tx);
    buf_free(&raw);
}

static bool has_signatures(const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].script.len || tx->inputs[i].witness_count) {
            return true;
        }
    }
    return false;
}

RPC_HANDLER(converttopsbt)
{
    bool permit = false;
    if (!arg_bool(call, 1, &permit)) {
        return;
    }
    struct tx *tx = arg_tx(call, "TX decode failed");
    if (!tx) {
        return;
    }
    if (!permit && has_signatures(tx)) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Inputs must not have scriptSigs and scriptWitnesses");
    } else {
        struct psbt *psbt = psbt_new(tx);
        CHECK(psbt); /* it was parsed, so it has inputs */
        show_psbt(call, psbt);
        psbt_free(psbt);
    }
    tx_unref(tx);
}

/* All of the first argument; NULL after the call was failed. */
static struct psbt **arg_psbts(struct rpc_call *call, size_t least, const char *too_few, size_t *count)
{
    const json_t *list = arg_any(call, 0), *item;
    size_t i;
    if (json_array_size(list) < least || json_array_size(list) > PSBTS_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s", too_few);
        return NULL;
    }
    struct psbt **psbts = mem_alloc(json_array_size(list) * sizeof(struct psbt *));
    *count = 0;
    json_array_foreach(list, i, item)
    {
        struct psbt *psbt = psbt_from_text(call, json_is_string(item) ? json_string_value(item) : "-");
        if (!psbt) {
            while (*count) {
                psbt_free(psbts[--*count]);
            }
            mem_free(psbts);
            return NULL;
        }
        psbts[(*count)++] = psbt;
    }
    return psbts;
}

static void free_psbts(struct psbt **psbts, size_t count)
{
    while (count) {
        psbt_free(psbts[--count]);
    }
    mem_free(psbts);
}

RPC_HANDLER(combinepsbt)
{
    size_t count;
    struct psbt **psbts = arg_psbts(call, 1, "Parameter 'txs' cannot be empty", &count);
    if (!psbts) {
        return;
    }
    bool ok = true;
    for (size_t i = 1; i < count && ok; i++) {
        ok = psbt_combine(psbts[0], psbts[i]);
    }
    if (ok) {
        show_psbt(call, psbts[0]);
    } else {
        rpc_fail(call, RPC_INVALID_PARAMETER, "PSBTs not compatible (different transactions)");
    }
    free_psbts(psbts, count);
}

/* ---- joinpsbts ----------------------------------------------------------------------------------------- */

struct joined { /* which input or output of which PSBT */
    struct psbt *psbt;
    uint32_t index;
};

/* In an order that tells nobody whose they were. */
static struct joined *shuffled(struct rpc_call *call, struct psbt *const *psbts, size_t count, bool outputs,
                               uint32_t *total)
{
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        *total += outputs ? psbts[i]->tx->output_count : psbts[i]->tx->input_count;
    }
    struct joined *list = mem_alloc((*total + 1) * sizeof *list);
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t own = outputs ? psbts[i]->tx->output_count : psbts[i]->tx->input_count;
        for (uint32_t k = 0; k < own; k++) {
            uint32_t other = (uint32_t)rng_below(&call->node->rng, at + 1);
            list[at] = list[other];
            list[other] = (struct joined){psbts[i], k};
            at++;
        }
    }
    return list;
}

/* False after the call was failed. */
static bool all_differ(struct rpc_call *call, const struct joined *inputs, uint32_t count)
{
    struct map seen;
    bool is_new = true;
    map_init(&seen, sizeof(struct outpoint), 0, &call->node->rng);
    for (uint32_t i = 0; i < count && is_new; i++) {
        const struct outpoint *prevout = &inputs[i].psbt->tx->inputs[inputs[i].index].prevout;
        map_put(&seen, prevout, &is_new);
        if (!is_new) {
            char text[HASH256_TEXT];
            rpc_fail(call, RPC_INVALID_PARAMETER, "Input %s:%u exists in multiple PSBTs",
                     hash256_text(text, &prevout->txid), prevout->index);
        }
    }
    map_free(&seen);
    return is_new;
}

static struct psbt *join(const struct joined *inputs, uint32_t input_count, const struct joined *outputs,
                         uint32_t output_count, struct psbt *const *psbts, size_t count)
{
    struct tx tx = {
        .version = 1, .locktime = UINT32_MAX, .input_count = input_count, .output_count = output_count};
    struct buf raw = {0};
    for (size_t i = 0; i < count; i++) { /* the latest version, the earliest time */
        tx.version = MAX(tx.version, psbts[i]->tx->version);
        tx.locktime = MIN(tx.locktime, psbts[i]->tx->locktime);
    }
    tx.inputs = mem_alloc(input_count * sizeof *tx.inputs);
    tx.outputs = mem_alloc((output_count + 1) * sizeof *tx.outputs);
    for (uint32_t i = 0; i < input_count; i++) {
        tx.inputs[i] = inputs[i].psbt->tx->inputs[inputs[i].index];
    }
    for (uint32_t i = 0; i < output_count; i++) {
        tx.outputs[i] = outputs[i].psbt->tx->outputs[outputs[i].index];
    }
    tx_write(&raw, &tx, false);
    struct tx *parsed = tx_parse(buf_span(&raw), NULL);
    struct psbt *psbt = parsed ? psbt_new(parsed) : NULL;
    for (uint32_t i = 0; psbt && i < input_count; i++) {
        psbt_copy_input(psbt, i, inputs[i].psbt, inputs[i].index);
    }
    for (uint32_t i = 0; psbt && i < output_count; i++) {
        psbt_copy_output(psbt, i, outputs[i].psbt, outputs[i].index);
    }
    tx_unref(parsed);
    buf_free(&raw);
    mem_free(tx.inputs);
    mem_free(tx.outputs);
    return psbt;
}

RPC_HANDLER(joinpsbts)
{
    size_t count;
    uint32_t input_count, output_count;
    struct psbt **psbts = arg_psbts(call, 2, "At least two PSBTs are required to join PSBTs.", &count);
    if (!psbts) {
        return;
    }
    struct joined *inputs = shuffled(call, psbts, count, false, &input_count),
                  *outputs = shuffled(call, psbts, count, true, &output_count);
    if (all_differ(call, inputs, input_count)) {
        struct psbt *psbt = join(inputs, input_count, outputs, output_count, psbts, count);
        if (psbt) {
            show_psbt(call, psbt);
        } else {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Together they are no transaction");
        }
        psbt_free(psbt);
    }
    mem_free(inputs);
    mem_free(outputs);
    free_psbts(psbts, count);
}

/* ---- finalizepsbt, analyzepsbt ------------------------------------------------------------------------- */

RPC_HANDLER(finalizepsbt)
{
    bool extract = true;
    struct buf *out = &call->out, text = {0};
    struct psbt *psbt = arg_bool(call, 1, &extract) ? arg_psbt(call) : NULL;
    if (!psbt) {
        return;
    }
    bool complete = psbt_finalize(psbt);
    struct tx *tx = complete && extract ? psbt_extract(psbt) : NULL;
    put_open(out, NULL, '{');
    if (tx) {
        put_hex(out, "hex", tx->raw);
    } else {
        psbt_write(&text, psbt);
        put_span_text(out, "psbt", buf_span(&text));
    }
    put_yes(out, "complete", complete);
    put_close(out, '{');
    tx_unref(tx);
    psbt_free(psbt);
    buf_free(&text);
    rpc_ok(call);
}

/* Whose turn it is, in the order of their turns. */
static const char *const roles[] = {"updater", "signer", "finalizer", "extractor"};

static void put_analysis(struct buf *out, bool has_coin, bool was_final, unsigned role)
{
    put_open(out, NULL, '{');
    put_yes(out, "has_utxo", has_coin);
    put_yes(out, "is_final", was_final);
    put_text(out, "next", roles[role]);
    put_close(out, '{');
}

RPC_HANDLER(analyzepsbt)
{
    struct psbt *psbt = arg_psbt(call);
    struct buf *out = &call->out;
    struct coin coin;
    unsigned least = 3;
    int64_t fee_sat;
    if (!psbt) {
        return;
    }
    bool *was_final = mem_alloc(psbt->tx->input_count * sizeof *was_final);
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        was_final[i] = psbt_is_final(&psbt->inputs[i]);
    }
    psbt_finalize(psbt);
    put_open(out, NULL, '{');
    put_open(out, "inputs", '[');
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        bool has_coin = psbt_coin(psbt, i, &coin);
        unsigned role = was_final[i] ? 3 : !has_coin ? 0 : psbt_is_final(&psbt->inputs[i]) ? 2 : 1;
        least = MIN(least, role);
        put_analysis(out, has_coin, was_final[i], role);
    }
    put_close(out, '[');
    mem_free(was_final);
    struct tx *tx = psbt_extract(psbt); /* what could be made final is so by now */
    bool has_fee = fee_of(psbt, &fee_sat);
    if (tx) {
        put_int(out, "estimated_vsize", tx_vsize(tx));
    }
    if (tx && has_fee) {
        put_amount(out, "estimated_feerate", fee_sat * 1000 / (int64_t)tx_vsize(tx));
    }
    if (has_fee) {
        put_amount(out, "fee", fee_sat);
    }
    put_text(out, "next", roles[least]);
    put_close(out, '{');
    tx_unref(tx);
    psbt_free(psbt);
    rpc_ok(call);
}

/* ---- utxoupdatepsbt ------------------------------------------------------------------------------------ */

static bool is_witness(struct span script)
{
    enum output_kind kind = script_classify(script, NULL);
    return kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR ||
           kind == OUTPUT_WITNESS_UNKNOWN || kind == OUTPUT_ANCHOR;
}

static void add_coin(struct psbt *psbt, uint32_t index, int64_t sat, struct span script)
{
    struct buf output = {0};
    if (is_witness(script)) { /* of others the whole transaction would be needed */
        buf_i64(&output, sat);
        buf_var_span(&output, script);
        (void)!psbt_put_type(psbt, &psbt->inputs[index], PSBT_IN_WITNESS_UTXO, buf_span(&output));
    }
    buf_free(&output);
}

static void coins_are_known(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    struct psbt *psbt = arg_psbt(call);
    CHECK(psbt); /* was read before */
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        const struct outpoint *prevout = &psbt->tx->inputs[i].prevout;
        const struct mempool_entry *parent = mempool_find(call->node->mempool, &prevout->txid);
        const struct coin *coin = view ? coins_view_get(view, i) : NULL;
        if (psbt_get(&psbt->inputs[i], PSBT_IN_NON_WITNESS_UTXO)) {
            continue;
        }
        if (parent && prevout->index < parent->tx->output_count) {
            const struct tx_output *output = &parent->tx->outputs[prevout->index];
            add_coin(psbt, i, output->value.sat, output->script);
        } else if (coin) {
            add_coin(psbt, i, coin->value.sat, coin->script);
        }
    }
    coins_view_free(view);
    show_psbt(call, psbt);
    psbt_free(psbt);
}

RPC_HANDLER(utxoupdatepsbt)
{
    struct psbt *psbt = arg_psbt(call);
    if (!psbt) {
        return;
    }
    uint32_t count = psbt->tx->input_count;
    struct outpoint *outpoints = mem_alloc(count * sizeof *outpoints);
    for (uint32_t i = 0; i < count; i++) {
        outpoints[i] = psbt->tx->inputs[i].prevout;
    }
    psbt_free(psbt);
    chain_fetch_coins(call->node->chain, outpoints, count, coins_are_known, call);
    mem_free(outpoints);
}
