/* RPC methods about transactions. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

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

static void show_tx(struct rpc_call *call, const struct tx *tx, const struct block_entry *entry,
                    const struct coin *spent)
{
    struct buf *out = &call->out;
    if (!call->number) {
        put_hex(out, NULL, tx->raw);
        rpc_ok(call);
        return;
    }
    bool in_chain = entry && chain_contains(call->node->chain, entry);
    put_open(out, NULL, '{');
    if (arg_any(call, 2)) {
        put_yes(out, "in_active_chain", in_chain);
    }
    put_tx_spent(out, call->node, tx, spent, true);
    put_hex(out, "hex", tx->raw);
    if (entry) {
        put_hash(out, "blockhash", &entry->hash);
    }
    if (in_chain) {
        put_int(out, "confirmations", (int64_t)chain_tip(call->node->chain)->height - entry->height + 1);
        put_int(out, "time", entry->header.time);
        put_int(out, "blocktime", entry->header.time);
    } else if (entry) {
        put_int(out, "confirmations", 0);
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
                 "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain "
                 "queries. Use gettransaction for wallet transactions.");
    }
    tx_unref(tx);
}

RPC_HANDLER(getrawtransaction)
{
    struct node *node = call->node;
    struct hash256 block_hash;
    uint32_t verbosity = 0;
    if (!arg_hash(call, 0, "parameter 1", &call->hash)) {
        return;
    }
    if (hash256_equal(&call->hash, &node->params->genesis.merkle_root)) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY,
                 "The genesis block coinbase is not considered an ordinary transaction and cannot be "
                 "retrieved");
        return;
    }
    if (!arg_verbosity(call, 1, &verbosity)) {
        return;
    }
    call->number = MIN(verbosity, 2u);
    if (arg_any(call, 2)) {
        if (!arg_hash(call, 2, "parameter 3", &block_hash)) {
            return;
        }
        const struct block_entry *entry = chain_find(node->chain, &block_hash);
        if (!entry) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block hash not found");
            return;
        }
        if (!(entry->status & BLOCK_HAVE_DATA)) {
            rpc_fail(call, RPC_MISC_ERROR, "Block not available");
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
