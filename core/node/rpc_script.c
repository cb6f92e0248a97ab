/* RPC methods about scripts and addresses: how they are shown, decodescript, validateaddress. */
#include <stdio.h>

#include "core/node/rpc_private.h"

/* The members of a script's object, without braces. */
static void put_script_members(struct buf *out, const struct node *node, struct span script, bool with_hex)
{
    struct buf text = {0};
    char address[ADDRESS_TEXT];
    bool has_address = address_from_script(address, script, node->params);
    script_asm(&text, script, false);
    put_span_text(out, "asm", buf_span(&text));
    buf_clear(&text);
    descriptor_infer(&text, script, has_address ? address : NULL);
    put_span_text(out, "desc", buf_span(&text));
    if (with_hex) {
        put_hex(out, "hex", script);
    }
    if (has_address) {
        put_text(out, "address", address);
    }
    put_text(out, "type", output_kind_name(script_classify(script, NULL)));
    buf_free(&text);
}

void put_script(struct buf *out, const char *key, const struct node *node, struct span script)
{
    put_open(out, key, '{');
    put_script_members(out, node, script, true);
    put_close(out, '{');
}

/* ---- decodescript ------------------------------------------------------------------------------------- */

static void put_p2sh(struct buf *out, const char *key, const struct node *node, struct span redeem)
{
    struct buf script = {0};
    char address[ADDRESS_TEXT];
    script_wrap_p2sh(&script, redeem);
    CHECK(address_from_script(address, buf_span(&script), node->params));
    put_text(out, key, address);
    buf_free(&script);
}

/* Whether an output by hash of it could be spent at all, as far as its form says. */
static bool may_be_wrapped(struct span script, enum output_kind kind)
{
    return kind != OUTPUT_NULL_DATA && kind != OUTPUT_P2SH && kind != OUTPUT_WITNESS_UNKNOWN &&
           kind != OUTPUT_P2TR && kind != OUTPUT_ANCHOR && script_may_run(script);
}

static bool may_be_witness(struct span script, enum output_kind kind, struct span payload)
{
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX];
    if (kind == OUTPUT_P2PK) {
        return payload.len == 33;
    }
    if (kind == OUTPUT_MULTISIG && script_multisig(script, &needed, keys, &count)) {
        for (unsigned i = 0; i < count; i++) {
            if (keys[i].len != 33) {
                return false;
            }
        }
    }
    return kind == OUTPUT_OTHER || kind == OUTPUT_P2PKH || kind == OUTPUT_MULTISIG;
}

/* The witness program with this script in it: of its key where there is just one, else of the script. */
static void put_witness_form(struct buf *out, const struct node *node, struct span script,
                             enum output_kind kind, struct span payload)
{
    struct buf program = {0}, desc = {0}, text = {0};
    uint8_t hash[20];
    char address[ADDRESS_TEXT];
    bool of_key = kind == OUTPUT_P2PK || kind == OUTPUT_P2PKH;
    if (kind == OUTPUT_P2PK) {
        hash160(hash, payload.data, payload.len);
        payload = span_of(hash, sizeof hash);
    }
    if (of_key) {
        buf_u8(&program, 0);
        script_push(&program, payload.data, payload.len);
    } else {
        script_wrap_witness(&program, script);
    }
    struct span form = buf_span(&program);
    CHECK(address_from_script(address, form, node->params));
    if (of_key || !descriptor_infer_witness(&desc, script)) {
        descriptor_infer(&desc, form, address);
    }
    script_asm(&text, form, false);
    put_open(out, "segwit", '{');
    put_span_text(out, "asm", buf_span(&text));
    put_span_text(out, "desc", buf_span(&desc));
    put_hex(out, "hex", form);
    put_text(out, "address", address);
    put_text(out, "type", output_kind_name(script_classify(form, NULL)));
    put_p2sh(out, "p2sh-segwit", node, form);
    put_close(out, '{');
    buf_free(&text);
    buf_free(&desc);
    buf_free(&program);
}

RPC_HANDLER(decodescript)
{
    const char *hex = "";
    struct buf raw = {0}, *out = &call->out;
    struct span payload;
    if (!arg_text(call, 0, &hex)) {
        return;
    }
    if (!hex_decode_buf(&raw, hex, BLOCK_SERIALIZED_MAX)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "argument must be hexadecimal string (not '%.100s')", hex);
        buf_free(&raw);
        return;
    }
    struct span script = buf_span(&raw);
    enum output_kind kind = script_classify(script, &payload);
    put_open(out, NULL, '{');
    put_script_members(out, call->node, script, false);
    if (may_be_wrapped(script, kind)) {
        put_p2sh(out, "p2sh", call->node, script);
        if (may_be_witness(script, kind, payload)) {
            put_witness_form(out, call->node, script, kind, payload);
        }
    }
    put_close(out, '{');
    buf_free(&raw);
    rpc_ok(call);
}

/* ---- Addresses ---------------------------------------------------------------------------------------- */

static void put_fault(struct buf *out, const char *address, const struct chain_params *params)
{
    struct address_fault fault;
    address_explain(&fault, address, params);
    put_open(out, "error_locations", '[');
    for (size_t i = 0; i < fault.count; i++) {
        put_int(out, NULL, fault.at[i]);
    }
    put_close(out, '[');
    put_text(out, "error", fault.text);
}

RPC_HANDLER(validateaddress)
{
    const char *address = "";
    struct buf script = {0}, *out = &call->out;
    if (!arg_text(call, 0, &address)) {
        return;
    }
    bool valid = address_to_script(&script, address, call->node->params, NULL);
    put_open(out, NULL, '{');
    put_yes(out, "isvalid", valid);
    if (valid) {
        struct span payload;
        enum output_kind kind = script_classify(buf_span(&script), &payload);
        bool witness = kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR ||
                       kind == OUTPUT_WITNESS_UNKNOWN || kind == OUTPUT_ANCHOR;
        char canonical[ADDRESS_TEXT];
        CHECK(address_from_script(canonical, buf_span(&script), call->node->params));
        put_text(out, "address", canonical);
        put_hex(out, "scriptPubKey", buf_span(&script));
        if (kind != OUTPUT_WITNESS_UNKNOWN) {
            put_yes(out, "isscript", kind != OUTPUT_P2PKH && kind != OUTPUT_P2WPKH);
        }
        put_yes(out, "iswitness", witness);
        if (witness && kind != OUTPUT_ANCHOR) {
            put_int(out, "witness_version", script.data[0] ? script.data[0] - 0x50 : 0);
            put_hex(out, "witness_program", payload);
        }
    } else {
        put_fault(out, address, call->node->params);
    }
    put_close(out, '{');
    buf_free(&script);
    rpc_ok(call);
}
