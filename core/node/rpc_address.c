/* RPC methods about addresses and pages of the chain: what the REST interface needs beyond Bitcoin Core's
 * own. */
#include "core/node/rpc_private.h"

#define COINS_SHOWN_MAX 100000u
#define COUNT_MAX       100

/* ---- Coins of an address ------------------------------------------------------------------------------ */

static void put_coin_of_address(struct rpc_call *call, const struct outpoint *outpoint, int64_t value_sat,
                                int64_t confirmations, bool coinbase)
{
    struct node *node = call->node;
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_hash(out, "txid", &outpoint->txid);
    put_int(out, "vout", outpoint->index);
    put_int(out, "satoshis", value_sat);
    put_int(out, "confirmations", confirmations);
    put_yes(out, "coinbase", coinbase);
    put_yes(out, "immature", coinbase && confirmations < node->params->maturity);
    put_yes(out, "spent", mempool_spender(node->mempool, outpoint) != NULL);
    put_close(out, '{');
}

static void put_waiting_coins(struct rpc_call *call, struct span script)
{
    const struct mempool_entry *entry;
    for (size_t at = 0; mempool_next(call->node->mempool, &at, &entry);) {
        for (uint32_t i = 0; i < entry->tx->output_count; i++) {
            if (span_equal(entry->tx->outputs[i].script, script)) {
                put_coin_of_address(call, &(struct outpoint){entry->tx->txid, i},
                                    entry->tx->outputs[i].value.sat, 0, false);
            }
        }
    }
}

/* What the rows of an address come to is written by one of two. */
typedef void put_rows(struct rpc_call *call, const struct address_result *result, struct cursor *rows,
                      struct span script);

static void answer(struct rpc_call *call, const struct address_result *result, put_rows *put)
{
    struct cursor rows = cursor_of(result->rows.data, result->rows.len);
    struct buf script = {0};
    if (result->failed) {
        rpc_fail(call, RPC_DATABASE_ERROR,
                 "No address index: it is kept with --txindex=yes from an empty data directory on");
    } else if (arg_script(call, 0, &script)) {
        put_open(&call->out, NULL, '{');
        put(call, result, &rows, buf_span(&script));
        put_close(&call->out, '{');
        rpc_ok(call);
    }
    buf_free(&script);
}

static void ask_index(struct rpc_call *call, enum address_rows kind, int64_t skip, int64_t count,
                      void (*done)(void *context, const struct address_result *result))
{
    struct buf script = {0};
    if (arg_script(call, 0, &script)) {
        chain_scan_address(call->node->chain, buf_span(&script), kind, (uint64_t)skip, (uint64_t)count, done,
                           call);
    }
    buf_free(&script);
}

static void put_coins(struct rpc_call *call, const struct address_result *result, struct cursor *rows,
                      struct span script)
{
    struct buf *out = &call->out;
    struct outpoint outpoint;
    struct coin coin;
    put_int(out, "height", result->tip->height);
    put_hash(out, "bestblock", &result->tip->hash);
    put_yes(out, "complete", result->total <= COINS_SHOWN_MAX);
    put_open(out, "utxos", '[');
    while (address_coin_next(rows, &outpoint, &coin)) {
        put_coin_of_address(call, &outpoint, coin.value.sat, (int64_t)result->tip->height - coin.height + 1,
                            coin.coinbase);
    }
    put_waiting_coins(call, script);
    put_close(out, '[');
}

static void coins_are_found(void *context, const struct address_result *result)
{
    answer(context, result, put_coins);
}

RPC_HANDLER(getaddressutxos)
{
    ask_index(call, ADDRESS_COINS, 0, COINS_SHOWN_MAX, coins_are_found);
}

/* ---- History of an address ---------------------------------------------------------------------------- */

static void put_address(struct buf *out, const char *key, const struct node *node, struct span script)
{
    char address[ADDRESS_TEXT];
    if (script.len && address_from_script(address, script, node->params)) {
        put_text(out, key, address);
    } else {
        put_null(out, key);
    }
}

static void put_event(struct rpc_call *call, const struct address_event *event, struct span own)
{
    struct buf *out = &call->out;
    const struct block_entry *block = chain_at(call->node->chain, event->height);
    int64_t net = event->received_sat - event->spent_sat;
    put_open(out, NULL, '{');
    put_open(out, "tx_id", '[');
    for (size_t i = 0; i < 32; i++) {
        put_int(out, NULL, event->txid.b[31 - i]);
    }
    put_close(out, '[');
    put_hash(out, "txid", &event->txid);
    put_address(out, "from_wlt_addr", call->node, event->from);
    put_address(out, "to_wlt_addr", call->node, net >= 0 ? own : event->to.len ? event->to : own);
    put_int(out, "value", net >= 0 ? net : -net);
    put_text(out, "transaction_type", net >= 0 ? "Credit" : "Debit");
    put_text(out, "status", "Confirmed");
    put_int(out, "vout", event->first_output == UINT32_MAX ? 0 : event->first_output);
    put_yes(out, "is_coinbase", event->coinbase);
    put_int(out, "input_count", event->coinbase ? 0 : event->input_count);
    put_int(out, "output_count", event->output_count);
    put_int(out, "total_output_value", event->total_output_sat);
    put_int(out, "fee", event->fee_sat);
    put_int(out, "timestamp", block ? (int64_t)block->header.time * 1000 : 0);
    put_int(out, "size_bytes", event->size_bytes);
    put_int(out, "height", event->height);
    put_close(out, '{');
}

static void put_history(struct rpc_call *call, const struct address_result *result, struct cursor *rows,
                        struct span script)
{
    struct address_event event;
    put_int(&call->out, "total", (int64_t)result->total);
    put_open(&call->out, "items", '[');
    while (address_event_next(rows, &event)) {
        put_event(call, &event, script);
    }
    put_close(&call->out, '[');
}

static void history_is_found(void *context, const struct address_result *result)
{
    answer(context, result, put_history);
}

RPC_HANDLER(getaddresshistory)
{
    int64_t skip = 0, count = 10;
    if (arg_number(call, 1, &skip, 0, INT64_MAX / 2) && arg_number(call, 2, &count, 1, COUNT_MAX)) {
        ask_index(call, ADDRESS_HISTORY, skip, count, history_is_found);
    }
}

/* ---- Pages of the chain's transactions ---------------------------------------------------------------- */

struct listing {
    struct rpc_call *call;
    const struct block_entry *at; /* to be read next */
    uint64_t skip, left;          /* transactions of it to be left out, newest first; wanted still */
};

/* Who signed an input, where the input alone says it: a key and a signature in the witness (P2WPKH). */
static void put_signer(struct buf *out, const struct node *node, const struct tx_input *in)
{
    if (in->witness_count == 2 && in->witness[1].len == 33 && !in->script.len) {
        uint8_t script[22] = {0, 20};
        hash160(script + 2, in->witness[1].data, 33);
        put_address(out, "wlt_addr", node, span_of(script, sizeof script));
    } else {
        put_null(out, "wlt_addr");
    }
}

static void put_summary(struct buf *out, const struct node *node, const struct tx *tx)
{
    put_open(out, NULL, '{');
    put_hash(out, "transaction_id", &tx->txid);
    put_open(out, "inputs", '[');
    for (uint32_t i = 0; !tx_is_coinbase(tx) && i < tx->input_count; i++) {
        put_open(out, NULL, '{');
        put_hash(out, "txid_hex", &tx->inputs[i].prevout.txid);
        put_int(out, "output_idx", tx->inputs[i].prevout.index);
        put_signer(out, node, &tx->inputs[i]);
        put_close(out, '{');
    }
    put_close(out, '[');
    put_open(out, "outputs", '[');
    for (uint32_t i = 0; i < tx->output_count; i++) {
        put_open(out, NULL, '{');
        put_address(out, "wlt_addr", node, tx->outputs[i].script);
        put_int(out, "value", tx->outputs[i].value.sat);
        put_close(out, '{');
    }
    put_close(out, '[');
    put_close(out, '{');
}

static void listing_next(struct listing *listing);

static void listed_block_is_here(void *context, struct block *block)
{
    struct listing *listing = context;
    struct rpc_call *call = listing->call;
    if (!block) {
        mem_free(listing);
        rpc_fail(call, RPC_MISC_ERROR, "Block not available");
        return;
    }
    for (uint32_t t = block->tx_count; t-- > 0 && listing->left;) {
        if (listing->skip) {
            listing->skip--;
        } else {
            put_summary(&call->out, call->node, &block->txs[t]);
            listing->left--;
        }
    }
    block_unref(block);
    listing->at = listing->at->prev;
    listing_next(listing);
}

/* At most `count` blocks are read: each has a transaction. */
static void listing_next(struct listing *listing)
{
    struct rpc_call *call = listing->call;
    if (listing->left && listing->at) {
        chain_read_block(call->node->chain, listing->at, listed_block_is_here, listing);
        return;
    }
    mem_free(listing);
    put_close(&call->out, '[');
    put_close(&call->out, '{');
    rpc_ok(call);
}

RPC_HANDLER(listchaintransactions)
{
    const struct block_entry *tip = chain_tip(call->node->chain);
    int64_t skip = 0, count = 10;
    if (!arg_number(call, 0, &skip, 0, INT64_MAX / 2) || !arg_number(call, 1, &count, 1, COUNT_MAX)) {
        return;
    }
    put_open(&call->out, NULL, '{');
    put_int(&call->out, "total", (int64_t)tip->chain_tx);
    put_open(&call->out, "items", '[');
    struct listing *listing = mem_alloc(sizeof *listing);
    *listing = (struct listing){.call = call, .left = (uint64_t)count};
    if ((uint64_t)skip < tip->chain_tx) {
        uint64_t wanted = tip->chain_tx - (uint64_t)skip; /* its number, counted from 1 */
        uint32_t low = 0, high = tip->height;
        while (low < high) { /* the lowest block with that many transactions up to it */
            uint32_t middle = low + (high - low) / 2;
            if (block_ancestor(tip, middle)->chain_tx < wanted) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        listing->at = block_ancestor(tip, low);
        listing->skip = listing->at->chain_tx - wanted;
    }
    listing_next(listing);
}
