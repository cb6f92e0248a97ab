/* RPC methods that make transactions from JSON. Not here: signing. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

#define ENDS_MAX         100000u /* inputs, outputs: more do not fit into a block */
#define SEQUENCE_REPLACE 0xfffffffdu
#define DATA_MAX         SCRIPT_BYTES_MAX

/* An amount as JSON has it, a number or a string with at most 8 decimals, read from its text: exactly. */
bool amount_from_json(const json_t *value, int64_t *sat)
{
    char text[64];
    if (json_is_string(value) && json_string_length(value) < sizeof text) {
        snprintf(text, sizeof text, "%s", json_string_value(value));
    } else if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(text, sizeof text, "%.8f", json_real_value(value)); /* exact up to 21 million */
    } else {
        return false;
    }
    int64_t whole = 0, part = 0, unit = COIN_SAT;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && whole <= MAX_MONEY / COIN_SAT; at++) {
        whole = whole * 10 + (*at - '0');
    }
    if (at > text && *at == '.' && at[1]) {
        for (at++; *at >= '0' && *at <= '9' && unit > 1; at++) {
            unit /= 10;
            part += (*at - '0') * unit;
        }
    }
    *sat = whole * COIN_SAT + part;
    bool exact = !json_is_real(value) || (double)*sat / (double)COIN_SAT == json_real_value(value);
    return at > text && !*at && *sat <= MAX_MONEY && exact;
}

static bool read_input(struct rpc_call *call, const json_t *item, struct tx_input *in, uint32_t sequence)
{
    const char *txid = json_string_value(json_object_get(item, "txid"));
    const json_t *vout = json_object_get(item, "vout"), *given = json_object_get(item, "sequence");
    if (!txid || strlen(txid) != 64 || !hash256_parse(&in->prevout.txid, txid)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "txid must be of length 64 (not %zu, for '%.100s')",
                 txid ? strlen(txid) : 0, txid ? txid : "");
        return false;
    }
    if (!json_is_integer(vout)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, missing vout key");
        return false;
    }
    if (json_integer_value(vout) < 0 || json_integer_value(vout) > UINT32_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, vout cannot be negative");
        return false;
    }
    if (given && (!json_is_integer(given) || json_integer_value(given) < 0 ||
                  json_integer_value(given) > SEQUENCE_FINAL)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, sequence number is out of range");
        return false;
    }
    in->prevout.index = (uint32_t)json_integer_value(vout);
    in->sequence = given ? (uint32_t)json_integer_value(given) : sequence;
    return true;
}

/* {"address": amount} or {"data": hex}; script is allocated. */
static bool read_output(struct rpc_call *call, const char *key, const json_t *value, struct buf *script,
                        int64_t *sat)
{
    if (strcmp(key, "data") == 0) {
        struct buf data = {0};
        const char *hex = json_string_value(value);
        bool ok = hex && hex_decode_buf(&data, hex, DATA_MAX);
        if (ok) {
            buf_u8(script, 0x6a); /* OP_RETURN */
            script_push(script, data.data, data.len);
            *sat = 0;
        } else {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Data must be hexadecimal string (not '%.100s')",
                     hex ? hex : "");
        }
        buf_free(&data);
        return ok;
    }
    if (!address_to_script(script, key, call->node->params, NULL)) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Invalid Bitcoin address: %.100s", key);
        return false;
    }
    if (!amount_from_json(value, sat)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Invalid amount");
        return false;
    }
    return true;
}

static bool add_outputs(struct rpc_call *call, json_t *object, struct tx *tx, struct tx_output *outputs,
                        struct buf *scripts, json_t *seen)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (json_object_get(seen, key)) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, duplicated %s: %.100s",
                     strcmp(key, "data") == 0 ? "key" : "address", key);
            return false;
        }
        json_object_set_new(seen, key, json_true());
        uint32_t i = tx->output_count;
        if (!read_output(call, key, value, &scripts[i], &outputs[i].value.sat)) {
            return false;
        }
        outputs[i].script = buf_span(&scripts[i]);
        tx->output_count++;
    }
    return true;
}

static size_t outputs_in(const json_t *given)
{
    size_t count = 0, i;
    json_t *item;
    if (json_is_object(given)) {
        return json_object_size(given);
    }
    json_array_foreach(given, i, item)
    {
        count += json_object_size(item);
    }
    return count;
}

static bool read_ends(struct rpc_call *call, struct tx *tx, struct buf *scripts, bool replaceable)
{
    const json_t *inputs = arg_any(call, 0), *item;
    json_t *outputs = arg_any(call, 1), *each, *seen = json_object();
    uint32_t sequence = replaceable ? SEQUENCE_REPLACE : tx->locktime ? SEQUENCE_FINAL - 1 : SEQUENCE_FINAL;
    bool ok = true;
    size_t i;
    json_array_foreach(inputs, i, item)
    {
        ok = ok && read_input(call, item, &tx->inputs[tx->input_count++], sequence);
    }
    if (ok && json_is_object(outputs)) {
        ok = add_outputs(call, outputs, tx, tx->outputs, scripts, seen);
    }
    if (json_is_array(outputs)) {
        json_array_foreach(outputs, i, each)
        {
            if (ok && json_object_size(each) != 1) {
                rpc_fail(call, RPC_INVALID_PARAMETER,
                         "Invalid parameter, key-value pair must contain exactly one key");
                ok = false;
            }
            ok = ok && add_outputs(call, each, tx, tx->outputs, scripts, seen);
        }
    }
    json_decref(seen);
    return ok;
}

bool raw_tx_from_args(struct rpc_call *call, struct buf *raw)
{
    const json_t *inputs = arg_any(call, 0), *outputs = arg_any(call, 1);
    int64_t locktime = 0;
    bool replaceable = true;
    if (!json_is_array(inputs) || !(json_is_object(outputs) || json_is_array(outputs))) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "Invalid parameter, inputs and outputs must be arrays (outputs may be an object)");
        return false;
    }
    size_t input_count = json_array_size(inputs), output_count = outputs_in(outputs);
    if (input_count > ENDS_MAX || output_count > ENDS_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, more than %u inputs or outputs", ENDS_MAX);
        return false;
    }
    const json_t *given = arg_any(call, 2);
    if (json_is_integer(given) && (json_integer_value(given) < 0 || json_integer_value(given) > UINT32_MAX)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, locktime out of range");
        return false;
    }
    if (!arg_number(call, 2, &locktime, 0, UINT32_MAX) || !arg_bool(call, 3, &replaceable)) {
        return false;
    }
    struct tx tx = {.version = 2, .locktime = (uint32_t)locktime};
    struct buf *scripts = mem_alloc((output_count + 1) * sizeof *scripts);
    tx.inputs = mem_alloc((input_count + 1) * sizeof *tx.inputs);
    tx.outputs = mem_alloc((output_count + 1) * sizeof *tx.outputs);
    bool ok = read_ends(call, &tx, scripts, replaceable);
    if (ok) {
        tx_write(raw, &tx, false);
    }
    for (size_t i = 0; i < output_count; i++) {
        buf_free(&scripts[i]);
    }
    mem_free(scripts);
    mem_free(tx.inputs);
    mem_free(tx.outputs);
    return ok;
}

RPC_HANDLER(createrawtransaction)
{
    struct buf raw = {0};
    if (raw_tx_from_args(call, &raw)) {
        put_hex(&call->out, NULL, buf_span(&raw));
        rpc_ok(call);
    }
    buf_free(&raw);
}
