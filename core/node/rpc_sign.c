/* signrawtransactionwithkey: signs what given keys own in a transaction, on coins of chain, mempool or
 * caller. */
#include <stdio.h>

#include "core/node/rpc_private.h"

#define KEYS_MAX 1000u

struct signing {
    struct tx *tx;      /* as given, then signed */
    struct psbt *psbt;  /* of it */
    uint8_t type;       /* of signatures */
    struct coin *spent; /* one for each input; no script: unknown */
    struct buf *scripts;
    struct key *keys;
    size_t key_count;
};

static void signing_free(struct signing *s)
{
    for (uint32_t i = 0; s->tx && i < s->tx->input_count; i++) {
        buf_free(&s->scripts[i]);
    }
    mem_wipe(s->keys, s->key_count * sizeof *s->keys);
    mem_free(s->keys);
    mem_free(s->scripts);
    mem_free(s->spent);
    psbt_free(s->psbt);
    tx_unref(s->tx);
}

/* False after the call was failed. */
static bool read_keys(struct rpc_call *call, struct signing *s)
{
    const json_t *list = arg_any(call, 1), *item;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > KEYS_MAX) {
        rpc_fail(call, RPC_TYPE_ERROR, "privkeys must be an array of at most %u keys", KEYS_MAX);
        return false;
    }
    s->keys = mem_alloc((json_array_size(list) + 1) * sizeof *s->keys);
    json_array_foreach(list, i, item)
    {
        bool compressed;
        const char *wif = json_is_string(item) ? json_string_value(item) : "";
        if (!key_from_wif(&s->keys[s->key_count++], &compressed, wif, call->node->params)) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Invalid private key");
            return false;
        }
    }
    return true;
}

static void know_coin(struct signing *s, uint32_t index, struct amount value, struct span script)
{
    buf_clear(&s->scripts[index]);
    buf_bytes(&s->scripts[index], script.data, script.len);
    s->spent[index] = (struct coin){.value = value, .script = buf_span(&s->scripts[index])};
}

/* A script that an input is paid by the hash of. False after the call was failed. */
static bool read_inner(struct rpc_call *call, struct signing *s, uint32_t index, const json_t *item,
                       const char *name, uint8_t type)
{
    const json_t *value = json_object_get(item, name);
    struct buf script = {0};
    if (!value || json_is_null(value)) {
        return true;
    }
    bool ok = json_is_string(value) && hex_decode_buf(&script, json_string_value(value), SCRIPT_BYTES_MAX);
    if (ok) {
        (void)!psbt_put_type(s->psbt, &s->psbt->inputs[index], type, buf_span(&script));
    } else {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s must be hexadecimal string", name);
    }
    buf_free(&script);
    return ok;
}

/* witnessScript may stand for redeemScript in P2SH: then the program that holds it is the redeem script. */
static void add_program(struct signing *s, uint32_t index)
{
    struct psbt_map *map = &s->psbt->inputs[index];
    const struct span *inner = psbt_get(map, PSBT_IN_WITNESS_SCRIPT),
                      *redeem = psbt_get(map, PSBT_IN_REDEEM_SCRIPT);
    enum output_kind kind = script_classify(s->spent[index].script, NULL);
    struct buf program = {0};
    if (kind == OUTPUT_P2SH && inner && !redeem) {
        script_wrap_witness(&program, *inner);
        (void)!psbt_put_type(s->psbt, map, PSBT_IN_REDEEM_SCRIPT, buf_span(&program));
    } else if (kind == OUTPUT_P2WSH && redeem && !inner) { /* as callers of old name it */
        (void)!psbt_put_type(s->psbt, map, PSBT_IN_WITNESS_SCRIPT, *redeem);
    }
    buf_free(&program);
}

/* One of prevtxs: {"txid", "vout", "scriptPubKey", "amount", "redeemScript", "witnessScript"}. False after
 * the call was failed. */
static bool read_previous(struct rpc_call *call, struct signing *s, const json_t *item)
{
    struct outpoint outpoint;
    struct buf script = {0};
    const json_t *vout = json_object_get(item, "vout"), *amount = json_object_get(item, "amount");
    const char *txid = json_string_value(json_object_get(item, "txid")),
               *hex = json_string_value(json_object_get(item, "scriptPubKey"));
    int64_t sat = -1;
    if (!txid || strlen(txid) != 64 || !hash256_parse(&outpoint.txid, txid) || !json_is_integer(vout) ||
        json_integer_value(vout) < 0 || json_integer_value(vout) > UINT32_MAX) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR,
                 "expected object with {\"txid\",\"vout\",\"scriptPubKey\"}");
        return false;
    }
    if (amount && !amount_from_json(amount, &sat)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Invalid amount");
        return false;
    }
    if (!hex || !hex_decode_buf(&script, hex, SCRIPT_BYTES_MAX)) {
        buf_free(&script);
        rpc_fail(call, RPC_INVALID_PARAMETER, "scriptPubKey must be hexadecimal string");
        return false;
    }
    bool ok = true;
    outpoint.index = (uint32_t)json_integer_value(vout);
    for (uint32_t i = 0; ok && i < s->tx->input_count; i++) {
        const struct outpoint *spends = &s->tx->inputs[i].prevout;
        if (spends->index != outpoint.index || !hash256_equal(&spends->txid, &outpoint.txid)) {
            continue;
        }
        ok = !s->spent[i].script.len || span_equal(s->spent[i].script, buf_span(&script));
        know_coin(s, i, (struct amount){sat >= 0 ? sat : s->spent[i].value.sat}, buf_span(&script));
        if (ok && (!read_inner(call, s, i, item, "redeemScript", PSBT_IN_REDEEM_SCRIPT) ||
                   !read_inner(call, s, i, item, "witnessScript", PSBT_IN_WITNESS_SCRIPT))) {
            buf_free(&script);
            return false;
        }
        add_program(s, i);
    }
    buf_free(&script);
    if (!ok) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Previous output scriptPubKey mismatch");
    }
    return ok;
}

static bool read_all_previous(struct rpc_call *call, struct signing *s)
{
    const json_t *list = arg_any(call, 2), *item;
    size_t i;
    if (list && !json_is_array(list)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type array");
        return false;
    }
    json_array_foreach(list, i, item)
    {
        if (!read_previous(call, s, item)) {
            return false;
        }
    }
    return true;
}

/* ---- The answer --------------------------------------------------------------------------------------- */

static void put_unsigned(struct buf *out, const struct tx_input *in, const char *why)
{
    put_open(out, NULL, '{');
    put_hash(out, "txid", &in->prevout.txid);
    put_int(out, "vout", in->prevout.index);
    put_open(out, "witness", '[');
    for (uint32_t k = 0; k < in->witness_count; k++) {
        put_hex(out, NULL, in->witness[k]);
    }
    put_close(out, '[');
    put_hex(out, "scriptSig", in->script);
    put_int(out, "sequence", in->sequence);
    put_text(out, "error", why);
    put_close(out, '{');
}

/* The script interpreter's own words: what the reject reason has in brackets. */
static void reason_of(char out[128], const struct error *error)
{
    const char *begin = strchr(error->word, '(');
    snprintf(out, 128, "%s", begin ? begin + 1 : error->word);
    size_t len = strlen(out);
    if (begin && len && out[len - 1] == ')') {
        out[len - 1] = 0;
    }
    if (strcmp(out, "Operation not valid with the current stack size") == 0) {
        snprintf(out, 128, "Unable to sign input, invalid stack size (possibly missing key)");
    }
}

static void show_signed(struct rpc_call *call, const struct signing *s)
{
    struct buf errors = {0}, *out = &call->out;
    const struct tx *tx = s->tx;
    put_open(&errors, NULL, '[');
    for (uint32_t i = 0; i < tx->input_count; i++) {
        struct error error = {0};
        char reason[128];
        if (!s->spent[i].script.len) {
            put_unsigned(&errors, &tx->inputs[i], "Input not found or already spent");
        } else if (!script_verify_input(tx, i, s->spent, NULL, SCRIPT_STANDARD_FLAGS, &error)) {
            reason_of(reason, &error);
            put_unsigned(&errors, &tx->inputs[i], reason);
        }
    }
    put_close(&errors, '[');
    put_open(out, NULL, '{');
    put_hex(out, "hex", tx->raw);
    put_yes(out, "complete", errors.len == 2);
    if (errors.len > 2) {
        put_raw(out, "errors", buf_span(&errors));
    }
    put_close(out, '{');
    buf_free(&errors);
    rpc_ok(call);
}

static void coins_are_known(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    struct signing s = {.tx = tx_ref(call->tx), .psbt = psbt_new(call->tx), .type = (uint8_t)call->number};
    const struct mempool *pool = call->node->mempool;
    s.spent = mem_alloc(s.tx->input_count * sizeof *s.spent);
    s.scripts = mem_alloc(s.tx->input_count * sizeof *s.scripts);
    for (uint32_t i = 0; i < s.tx->input_count; i++) {
        const struct outpoint *prevout = &s.tx->inputs[i].prevout;
        const struct mempool_entry *parent = mempool_find(pool, &prevout->txid);
        const struct coin *coin = view ? coins_view_get(view, i) : NULL;
        if (parent && prevout->index < parent->tx->output_count) {
            const struct tx_output *output = &parent->tx->outputs[prevout->index];
            know_coin(&s, i, output->value, output->script);
        } else if (coin) {
            know_coin(&s, i, coin->value, coin->script);
        }
    }
    coins_view_free(view);
    if (read_keys(call, &s) && read_all_previous(call, &s)) {
        struct tx *with = psbt_sign_all(s.psbt, s.tx, s.spent, s.keys, s.key_count, s.type);
        if (with) {
            tx_unref(s.tx);
            s.tx = with;
        }
        show_signed(call, &s);
    }
    signing_free(&s);
}

static bool arg_sighash(struct rpc_call *call, size_t index, uint32_t *type)
{
    static const struct {
        const char *name;
        uint8_t type;
    } types[] = {{"DEFAULT", 1},
                 {"ALL", 1},
                 {"ALL|ANYONECANPAY", 0x81},
                 {"NONE", 2},
                 {"NONE|ANYONECANPAY", 0x82},
                 {"SINGLE", 3},
                 {"SINGLE|ANYONECANPAY", 0x83}};
    const char *name = "DEFAULT";
    if (!arg_text(call, index, &name)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *type = types[i].type;
            return true;
        }
    }
    rpc_fail(call, RPC_INVALID_PARAMETER, "'%.50s' is not a valid sighash parameter.", name);
    return false;
}

RPC_HANDLER(signrawtransactionwithkey)
{
    if (!arg_sighash(call, 3, &call->number)) {
        return;
    }
    struct tx *tx = arg_tx(call, "TX decode failed. Make sure the tx has at least one input.");
    if (!tx) {
        return;
    }
    call->tx = tx;
    struct outpoint *outpoints = mem_alloc(tx->input_count * sizeof *outpoints);
    uint32_t count = tx->input_count;
    for (uint32_t i = 0; i < count; i++) {
        outpoints[i] = tx->inputs[i].prevout;
    }
    chain_fetch_coins(call->node->chain, outpoints, count, coins_are_known, call);
    mem_free(outpoints);
}
