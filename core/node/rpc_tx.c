/* RPC methods about transactions, scripts and addresses. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

void put_script(struct buf *out, const char *key, const struct node *node, struct span script)
{
    struct buf text = {0};
    char address[ADDRESS_TEXT];
    script_asm(&text, script, false);
    put_open(out, key, '{');
    put_span_text(out, "asm", buf_span(&text));
    put_hex(out, "hex", script);
    if (address_from_script(address, script, node->params)) {
        put_text(out, "address", address);
    }
    put_text(out, "type", output_kind_name(script_classify(script, NULL)));
    put_close(out, '{');
    buf_free(&text);
}

static void put_prevout(struct buf *out, const struct node *node, const struct coin *coin)
{
    put_open(out, "prevout", '{');
    put_yes(out, "generated", coin->coinbase);
    put_int(out, "height", coin->height);
    put_amount(out, "value", coin->value.sat);
    put_script(out, "scriptPubKey", node, coin->script);
    put_close(out, '{');
}

static void put_input(struct buf *out, const struct node *node, const struct tx *tx, uint32_t i,
                      const struct coin *spent)
{
    const struct tx_input *in = &tx->inputs[i];
    put_open(out, NULL, '{');
    if (tx_is_coinbase(tx)) {
        put_hex(out, "coinbase", in->script);
    } else {
        struct buf text = {0};
        script_asm(&text, in->script, true);
        put_hash(out, "txid", &in->prevout.txid);
        put_int(out, "vout", in->prevout.index);
        put_open(out, "scriptSig", '{');
        put_span_text(out, "asm", buf_span(&text));
        put_hex(out, "hex", in->script);
        put_close(out, '{');
        buf_free(&text);
    }
    if (in->witness_count) {
        put_open(out, "txinwitness", '[');
        for (uint32_t k = 0; k < in->witness_count; k++) {
            put_hex(out, NULL, in->witness[k]);
        }
        put_close(out, '[');
    }
    if (spent) {
        put_prevout(out, node, spent);
    }
    put_int(out, "sequence", in->sequence);
    put_close(out, '{');
}

void put_tx(struct buf *out, const struct node *node, const struct tx *tx)
{
    put_tx_spent(out, node, tx, NULL, false);
}

void put_tx_spent(struct buf *out, const struct node *node, const struct tx *tx, const struct coin *spent,
                  bool prevouts)
{
    int64_t fee_sat = 0;
    put_hash(out, "txid", &tx->txid);
    put_hash(out, "hash", &tx->wtxid);
    put_int(out, "version", (uint32_t)tx->version);
    put_int(out, "size", (int64_t)tx->raw.len);
    put_int(out, "vsize", tx_vsize(tx));
    put_int(out, "weight", tx_weight(tx));
    put_int(out, "locktime", tx->locktime);
    put_open(out, "vin", '[');
    for (uint32_t i = 0; i < tx->input_count; i++) {
        fee_sat += spent ? spent[i].value.sat : 0;
        put_input(out, node, tx, i, prevouts && spent ? &spent[i] : NULL);
    }
    put_close(out, '[');
    put_open(out, "vout", '[');
    for (uint32_t i = 0; i < tx->output_count; i++) {
        fee_sat -= tx->outputs[i].value.sat;
        put_open(out, NULL, '{');
        put_amount(out, "value", tx->outputs[i].value.sat);
        put_int(out, "n", i);
        put_script(out, "scriptPubKey", node, tx->outputs[i].script);
        put_close(out, '{');
    }
    put_close(out, '[');
    if (spent) {
        put_amount(out, "fee", fee_sat);
    }
}

struct tx *tx_from_hex(const char *hex)
{
    struct buf raw = {0};
    struct tx *tx = hex_decode_buf(&raw, hex, BLOCK_SERIALIZED_MAX) ? tx_parse(buf_span(&raw), NULL) : NULL;
    buf_free(&raw);
    return tx;
}

struct tx *arg_tx(struct rpc_call *call, const char *failure)
{
    const char *hex = "";
    if (!arg_text(call, 0, &hex)) {
        return NULL;
    }
    struct tx *tx = tx_from_hex(hex);
    if (!tx) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "%s", failure);
    }
    return tx;
}

RPC_HANDLER(decoderawtransaction)
{
    struct tx *tx = arg_tx(call, "TX decode failed");
    if (tx) {
        put_open(&call->out, NULL, '{');
        put_tx(&call->out, call->node, tx);
        put_close(&call->out, '{');
        tx_unref(tx);
        rpc_ok(call);
    }
}

RPC_HANDLER(decodescript)
{
    const char *hex = "";
    struct buf raw = {0};
    if (!arg_text(call, 0, &hex)) {
        return;
    }
    if (hex_decode_buf(&raw, hex, SCRIPT_BYTES_MAX)) {
        put_script(&call->out, NULL, call->node, buf_span(&raw));
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "argument must be hexadecimal string of at most %u bytes (not '%.100s')", SCRIPT_BYTES_MAX,
                 hex);
    }
    buf_free(&raw);
}

static void show_tx(struct rpc_call *call, const struct tx *tx, const struct block_entry *entry,
                    const struct coin *spent)
{
    struct buf *out = &call->out;
    if (!call->number) {
        put_hex(out, NULL, tx->raw);
        rpc_ok(call);
        return;
    }
    put_open(out, NULL, '{');
    put_tx_spent(out, call->node, tx, spent, true);
    put_hex(out, "hex", tx->raw);
    if (entry) {
        put_hash(out, "blockhash", &entry->hash);
        put_int(out, "confirmations", (int64_t)chain_tip(call->node->chain)->height - entry->height + 1);
        put_int(out, "time", entry->header.time);
        put_int(out, "blocktime", entry->header.time);
    }
    put_close(out, '{');
    rpc_ok(call);
}

/* What the transaction call->hash of call->block spent is here, or not to be had. */
static void tx_spent_is_read(void *context, const struct coin *spent)
{
    struct rpc_call *call = context;
    const struct block *block = call->block;
    for (uint32_t t = 0; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        if (hash256_equal(&tx->txid, &call->hash)) {
            show_tx(call, tx, chain_find(call->node->chain, &block->hash), t ? spent : NULL);
            return;
        }
        spent += spent && t ? tx->input_count : 0;
    }
}

static void tx_block_is_read(void *context, struct block *block)
{
    struct rpc_call *call = context;
    const struct tx *found = NULL;
    for (uint32_t t = 0; block && t < block->tx_count; t++) {
        found = hash256_equal(&block->txs[t].txid, &call->hash) ? &block->txs[t] : found;
    }
    call->block = block;
    if (!found) {
        rpc_fail(
            call, RPC_INVALID_ADDRESS_OR_KEY,
            "No such transaction found in the provided block. Use gettransaction for wallet transactions.");
        return;
    }
    const struct block_entry *entry = chain_find(call->node->chain, &block->hash);
    if (call->number < 2) {
        show_tx(call, found, entry, NULL);
    } else {
        chain_read_spent(call->node->chain, entry, block, tx_spent_is_read, call);
    }
}

static void tx_is_read(void *context, struct tx *tx, const struct block_entry *entry)
{
    struct rpc_call *call = context;
    if (tx && call->number == 2) {
        chain_read_block(call->node->chain, entry, tx_block_is_read, call);
    } else if (tx) {
        show_tx(call, tx, entry, NULL);
    } else if (call->node->config.tx_index) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY,
                 "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.");
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY,
                 "No such mempool transaction. Use --txindex=yes or provide a block hash to enable "
                 "blockchain queries.");
    }
    tx_unref(tx);
}

RPC_HANDLER(getrawtransaction)
{
    struct node *node = call->node;
    struct hash256 block_hash;
    const json_t *verbosity = arg_any(call, 1);
    int64_t number = 0;
    if (json_is_boolean(verbosity)) {
        number = json_is_true(verbosity);
    } else if (!arg_number(call, 1, &number, 0, 2)) {
        return;
    }
    call->number = (uint32_t)number;
    if (!arg_hash(call, 0, "parameter 1", &call->hash)) {
        return;
    }
    if (arg_any(call, 2)) {
        if (!arg_hash(call, 2, "parameter 3", &block_hash)) {
            return;
        }
        const struct block_entry *entry = chain_find(node->chain, &block_hash);
        if (!entry || !(entry->status & BLOCK_HAVE_DATA)) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block hash not found");
            return;
        }
        chain_read_block(node->chain, entry, tx_block_is_read, call);
        return;
    }
    const struct mempool_entry *entry = mempool_find(node->mempool, &call->hash);
    if (entry) {
        show_tx(call, entry->tx, NULL, NULL);
    } else {
        chain_read_tx(node->chain, &call->hash, tx_is_read, call);
    }
}

/* ---- Addresses ---------------------------------------------------------------------------------------- */

RPC_HANDLER(validateaddress)
{
    const char *address = "";
    struct buf script = {0}, *out = &call->out;
    struct error error = {0};
    if (!arg_text(call, 0, &address)) {
        return;
    }
    bool valid = address_to_script(&script, address, call->node->params, &error);
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
        put_yes(out, "isscript", kind == OUTPUT_P2SH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR);
        put_yes(out, "iswitness", witness);
        if (witness) {
            put_int(out, "witness_version", script.data[0] ? script.data[0] - 0x50 : 0);
            put_hex(out, "witness_program", payload);
        }
    } else {
        put_open(out, "error_locations", '[');
        put_close(out, '[');
        put_text(out, "error", error.text);
    }
    put_close(out, '{');
    buf_free(&script);
    rpc_ok(call);
}
