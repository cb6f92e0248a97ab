/* RPC methods about blocks, the chain and the UTXO set. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

#define HEADERS_MAX            2000
#define TAPROOT_MAIN_HEIGHT    709632u
#define TAPROOT_MAIN_START_S   INT64_C(1619222400)
#define TAPROOT_MAIN_TIMEOUT_S INT64_C(1628640000)

static const struct block_entry *tip_of(const struct rpc_call *call)
{
    return chain_tip(call->node->chain);
}

void put_u256(struct buf *out, const char *key, struct u256 number)
{
    struct hash256 bytes;
    u256_to_le(bytes.b, number);
    put_hash(out, key, &bytes);
}

void put_bits(struct buf *out, uint32_t bits)
{
    struct u256 target;
    char text[9];
    snprintf(text, sizeof text, "%08x", bits);
    put_text(out, "bits", text);
    if (pow_target(&target, bits)) {
        put_u256(out, "target", target);
    }
}

RPC_HANDLER(getblockcount)
{
    put_int(&call->out, NULL, tip_of(call)->height);
    rpc_ok(call);
}

RPC_HANDLER(getbestblockhash)
{
    put_hash(&call->out, NULL, &tip_of(call)->hash);
    rpc_ok(call);
}

RPC_HANDLER(getdifficulty)
{
    put_real(&call->out, NULL, pow_difficulty(tip_of(call)->header.bits));
    rpc_ok(call);
}

/* By height, since what the headers above the tip hold is not known. */
static double progress_of(const struct node *node)
{
    uint32_t height = chain_tip(node->chain)->height, best = chain_best_header(node->chain)->height;
    return node_synced(node) ? 1.0 : (double)(height + 1) / (double)(MAX(best, height) + 1);
}

RPC_HANDLER(getblockchaininfo)
{
    const struct node *node = call->node;
    const struct block_entry *tip = tip_of(call), *best = chain_best_header(node->chain);
    struct buf *out = &call->out;
    const struct buf *challenge = &node->params->signet_challenge;
    put_open(out, NULL, '{');
    put_text(out, "chain", node->params->rpc_name);
    put_int(out, "blocks", tip->height);
    put_int(out, "headers", best->height);
    put_hash(out, "bestblockhash", &tip->hash);
    put_bits(out, tip->header.bits);
    put_real(out, "difficulty", pow_difficulty(tip->header.bits));
    put_int(out, "time", tip->header.time);
    put_int(out, "mediantime", block_median_time(tip));
    put_real(out, "verificationprogress", progress_of(node));
    put_yes(out, "initialblockdownload", !node_synced(node));
    put_u256(out, "chainwork", tip->work);
    put_int(out, "size_on_disk",
            (int64_t)tip->data_offset + tip->data_len + (int64_t)tip->file * (128 << 20));
    put_yes(out, "pruned", false);
    if (challenge->len) {
        put_hex(out, "signet_challenge", buf_span(challenge));
    }
    put_open(out, "warnings", '[');
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(getchainstates)
{
    const struct node *node = call->node;
    const struct block_entry *tip = tip_of(call);
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_int(out, "headers", chain_best_header(node->chain)->height);
    put_open(out, "chainstates", '[');
    put_open(out, NULL, '{');
    put_int(out, "blocks", tip->height);
    put_hash(out, "bestblockhash", &tip->hash);
    put_bits(out, tip->header.bits);
    put_real(out, "difficulty", pow_difficulty(tip->header.bits));
    put_real(out, "verificationprogress", progress_of(node));
    put_int(out, "coins_db_cache_bytes", 0); /* the cache below keeps rows, the store none of its own */
    put_int(out, "coins_tip_cache_bytes", (int64_t)node->config.coins_cache_bytes);
    put_yes(out, "validated", true);
    put_close(out, '{');
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(getblockhash)
{
    int64_t height = -1;
    if (!arg_number(call, 0, &height, INT32_MIN, INT64_C(0xffffffff))) {
        return;
    }
    const struct block_entry *entry = height < 0 ? NULL : chain_at(call->node->chain, (uint32_t)height);
    if (!entry) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Block height out of range");
        return;
    }
    put_hash(&call->out, NULL, &entry->hash);
    rpc_ok(call);
}

/* The entry an argument names; NULL after the call was failed. */
static const struct block_entry *arg_block(struct rpc_call *call, size_t index)
{
    struct hash256 hash;
    if (!arg_hash(call, index, "blockhash", &hash)) {
        return NULL;
    }
    const struct block_entry *entry = chain_find(call->node->chain, &hash);
    if (!entry) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block not found");
    }
    return entry;
}

static void put_header(struct buf *out, const struct chain *chain, const struct block_entry *e)
{
    bool active = chain_contains(chain, e);
    char version[9];
    snprintf(version, sizeof version, "%08x", (unsigned)e->header.version);
    put_hash(out, "hash", &e->hash);
    put_int(out, "confirmations", active ? (int64_t)chain_tip(chain)->height - e->height + 1 : -1);
    put_int(out, "height", e->height);
    put_int(out, "version", e->header.version);
    put_text(out, "versionHex", version);
    put_hash(out, "merkleroot", &e->header.merkle_root);
    put_int(out, "time", e->header.time);
    put_int(out, "mediantime", block_median_time(e));
    put_int(out, "nonce", e->header.nonce);
    put_bits(out, e->header.bits);
    put_real(out, "difficulty", pow_difficulty(e->header.bits));
    put_u256(out, "chainwork", e->work);
    put_int(out, "nTx", e->tx_count);
    if (e->prev) {
        put_hash(out, "previousblockhash", &e->prev->hash);
    }
    const struct block_entry *next = active ? chain_at(chain, e->height + 1) : NULL;
    if (next) {
        put_hash(out, "nextblockhash", &next->hash);
    }
}

RPC_HANDLER(getblockheader)
{
    bool verbose = true;
    if (!arg_bool(call, 1, &verbose)) {
        return;
    }
    const struct block_entry *entry = arg_block(call, 0);
    if (!entry) {
        return;
    }
    if (verbose) {
        put_open(&call->out, NULL, '{');
        put_header(&call->out, call->node->chain, entry);
        put_close(&call->out, '{');
    } else {
        uint8_t raw[HEADER_BYTES];
        block_entry_encode(raw, entry);
        put_hex(&call->out, NULL, span_of(raw, sizeof raw));
    }
    rpc_ok(call);
}

RPC_HANDLER(getblockheaders)
{
    const struct chain *chain = call->node->chain;
    struct buf *out = &call->out, raw = {0};
    int64_t count = 0;
    bool verbose = true;
    if (!arg_number(call, 1, &count, 1, HEADERS_MAX) || !arg_bool(call, 2, &verbose)) {
        return;
    }
    const struct block_entry *entry = arg_block(call, 0);
    if (!entry) {
        return;
    }
    put_open(out, NULL, '[');
    for (; entry && chain_contains(chain, entry) && count;
         count--, entry = chain_at(chain, entry->height + 1)) {
        if (verbose) {
            put_open(out, NULL, '{');
            put_header(out, chain, entry);
            put_close(out, '{');
        } else {
            block_entry_encode(buf_extend(&raw, HEADER_BYTES), entry);
        }
    }
    put_close(out, '[');
    if (!verbose) {
        buf_clear(out);
        put_hex(out, NULL, buf_span(&raw));
    }
    buf_free(&raw);
    rpc_ok(call);
}

/* call->block as JSON; spent: the coins that it spent where they were asked for and are known. */
static void show_block(void *context, const struct coin *spent)
{
    struct rpc_call *call = context;
    const struct block *block = call->block;
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_header(out, call->node->chain, chain_find(call->node->chain, &block->hash));
    put_int(out, "strippedsize", block->stripped_bytes);
    put_int(out, "size", (int64_t)block->raw.len);
    put_int(out, "weight", block->weight);
    put_open(out, "tx", '[');
    for (uint32_t t = 0; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        if (call->number == 1) {
            put_hash(out, NULL, &tx->txid);
            continue;
        }
        put_open(out, NULL, '{');
        put_tx_spent(out, call->node, tx, t ? spent : NULL, call->number == 3);
        put_hex(out, "hex", tx->raw);
        put_close(out, '{');
        spent += spent && t ? tx->input_count : 0;
    }
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

static void block_is_read(void *context, struct block *block)
{
    struct rpc_call *call = context;
    call->block = block;
    if (!block) {
        rpc_fail(call, RPC_MISC_ERROR, "Block not found on disk");
    } else if (call->number == 0) {
        put_hex(&call->out, NULL, block->raw);
        rpc_ok(call);
    } else if (call->number == 1) {
        show_block(call, NULL);
    } else {
        struct chain *chain = call->node->chain;
        chain_read_spent(chain, chain_find(chain, &block->hash), block, show_block, call);
    }
}

RPC_HANDLER(getblock)
{
    uint32_t verbosity = 1;
    if (!arg_verbosity(call, 1, &verbosity)) {
        return;
    }
    const struct block_entry *entry = arg_block(call, 0);
    if (!entry) {
        return;
    }
    if (!(entry->status & BLOCK_HAVE_DATA)) {
        rpc_fail(call, RPC_MISC_ERROR, "Block not available (not fully downloaded)");
        return;
    }
    call->number = MIN(verbosity, 3u);
    chain_read_block(call->node->chain, entry, block_is_read, call);
}

RPC_HANDLER(getchaintips)
{
    const struct block_entry *tips[1024];
    const struct chain *chain = call->node->chain;
    struct buf *out = &call->out;
    size_t count = chain_tips(chain, tips, ARRAY_COUNT(tips));
    put_open(out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        const struct block_entry *e = tips[i];
        const char *status = e == chain_tip(chain)     ? "active"
                             : e->status & BLOCK_BAD   ? "invalid"
                             : !e->chain_tx            ? "headers-only"
                             : e->status & BLOCK_VALID ? "valid-fork"
                                                       : "valid-headers";
        put_open(out, NULL, '{');
        put_int(out, "height", e->height);
        put_hash(out, "hash", &e->hash);
        put_int(out, "branchlen", e->height - block_fork(e, chain_tip(chain))->height);
        put_text(out, "status", status);
        put_close(out, '{');
    }
    put_close(out, '[');
    rpc_ok(call);
}

RPC_HANDLER(getchaintxstats)
{
    const struct chain *chain = call->node->chain;
    const struct block_entry *last = tip_of(call);
    struct buf *out = &call->out;
    int64_t blocks = 30 * 24 * 3600 / (int64_t)MAX(call->node->params->spacing_s, 1u);
    if (arg_any(call, 1) && !(last = arg_block(call, 1))) {
        return;
    }
    if (!chain_contains(chain, last)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Block is not in main chain");
        return;
    }
    int64_t most = last->height ? (int64_t)last->height - 1 : 0;
    blocks = MIN(blocks, most);
    if (arg_any(call, 0)) {
        if (!arg_number(call, 0, &blocks, INT32_MIN, INT32_MAX)) {
            return;
        }
        if (blocks < 0 || (blocks > 0 && blocks > most)) {
            rpc_fail(call, RPC_INVALID_PARAMETER,
                     "Invalid block count: should be between 0 and the block's height - 1");
            return;
        }
    }
    const struct block_entry *first = block_ancestor(last, last->height - (uint32_t)blocks);
    int64_t interval_s = block_median_time(last) - block_median_time(first);
    put_open(out, NULL, '{');
    put_int(out, "time", last->header.time);
    put_int(out, "txcount", (int64_t)last->chain_tx);
    put_hash(out, "window_final_block_hash", &last->hash);
    put_int(out, "window_final_block_height", last->height);
    put_int(out, "window_block_count", blocks);
    if (blocks > 0) {
        int64_t txs = (int64_t)(last->chain_tx - first->chain_tx);
        put_int(out, "window_interval", interval_s);
        put_int(out, "window_tx_count", txs);
        if (interval_s > 0) {
            put_real(out, "txrate", (double)txs / (double)interval_s);
        }
    }
    put_close(out, '{');
    rpc_ok(call);
}

/* Active: for the block after this one. */
static void put_buried(struct buf *out, const char *name, uint32_t from, const struct block_entry *at)
{
    put_open(out, name, '{');
    put_text(out, "type", "buried");
    put_yes(out, "active", at->height + 1 >= from);
    put_int(out, "height", from);
    put_close(out, '{');
}

/* BIP9's last deployment. Here it holds from genesis on everywhere; main signalled for it, and what is told
 * is what that came to. */
static void put_taproot(struct buf *out, const struct chain_params *params, const struct block_entry *at)
{
    bool signalled = params->kind == CHAIN_MAIN;
    uint32_t from = signalled ? TAPROOT_MAIN_HEIGHT : 0;
    bool active = at->height >= from, active_next = at->height + 1 >= from;
    put_open(out, "taproot", '{');
    put_text(out, "type", "bip9");
    if (active_next) {
        put_int(out, "height", from);
    }
    put_yes(out, "active", active_next);
    put_open(out, "bip9", '{');
    put_int(out, "start_time", signalled ? TAPROOT_MAIN_START_S : -1);
    put_int(out, "timeout", signalled ? TAPROOT_MAIN_TIMEOUT_S : INT64_MAX);
    put_int(out, "min_activation_height", from);
    put_text(out, "status", active ? "active" : "defined");
    put_int(out, "since", active ? from : 0);
    put_text(out, "status_next", active_next ? "active" : "defined");
    put_close(out, '{');
    put_close(out, '{');
}

RPC_HANDLER(getdeploymentinfo)
{
    const struct chain_params *params = call->node->params;
    const struct block_entry *at = tip_of(call);
    struct buf *out = &call->out;
    if (arg_any(call, 0) && !(at = arg_block(call, 0))) {
        return;
    }
    put_open(out, NULL, '{');
    put_hash(out, "hash", &at->hash);
    put_int(out, "height", at->height);
    put_open(out, "deployments", '{');
    put_buried(out, "bip34", params->bip34_height, at);
    put_buried(out, "bip66", params->bip66_height, at);
    put_buried(out, "bip65", params->bip65_height, at);
    put_buried(out, "csv", params->csv_height, at);
    put_buried(out, "segwit", params->segwit_height, at);
    put_taproot(out, params, at);
    put_close(out, '{');
    put_close(out, '{');
    rpc_ok(call);
}

static void chain_is_verified(void *context, bool holds)
{
    struct rpc_call *call = context;
    buf_printf(&call->out, "%s", holds ? "true" : "false");
    rpc_ok(call);
}

RPC_HANDLER(verifychain)
{
    int64_t level = 3, blocks = 6;
    if (!arg_number(call, 0, &level, INT32_MIN, INT32_MAX) ||
        !arg_number(call, 1, &blocks, INT32_MIN, INT32_MAX)) {
        return;
    }
    level = MIN(MAX(level, 0), 4); /* as Core takes them */
    if (!chain_verify(call->node->chain, (unsigned)level, (uint32_t)MAX(blocks, 0), chain_is_verified,
                      call)) {
        rpc_fail(call, RPC_MISC_ERROR, "another verification is under way");
    }
}

/* ---- What this node does not keep --------------------------------------------------------------------- */

static void no_filter_index(struct rpc_call *call, size_t type_index)
{
    const char *type = "basic";
    if (!arg_text(call, type_index, &type)) {
        return;
    }
    if (strcmp(type, "basic") != 0) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Unknown filtertype");
    } else {
        rpc_fail(call, RPC_MISC_ERROR, "Index is not enabled for filtertype %s", type);
    }
}

RPC_HANDLER(getblockfilter)
{
    struct hash256 hash;
    if (arg_hash(call, 0, "blockhash", &hash)) {
        no_filter_index(call, 1);
    }
}

RPC_HANDLER(scanblocks)
{
    const char *action = "";
    if (!arg_text(call, 0, &action)) {
        return;
    }
    if (strcmp(action, "start") == 0) {
        no_filter_index(call, 4);
    } else if (strcmp(action, "status") == 0) {
        rpc_ok(call);
    } else if (strcmp(action, "abort") == 0) {
        put_yes(&call->out, NULL, false);
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid action '%.64s'", action);
    }
}

RPC_HANDLER(pruneblockchain)
{
    rpc_fail(call, RPC_MISC_ERROR, "Cannot prune blocks because node is not in prune mode.");
}

/* ---- Validity ------------------------------------------------------------------------------------------ */

static void change_validity(struct rpc_call *call,
                            bool (*change)(struct chain *chain, const struct hash256 *hash,
                                           struct error *error))
{
    struct hash256 hash;
    struct error error = {0};
    if (!arg_hash(call, 0, "blockhash", &hash)) {
        return;
    }
    call->node->durable_at_tip = false; /* the mark itself has to reach the disk */
    if (!change(call->node->chain, &hash, &error)) {
        rpc_fail(call, error.kind == ERROR_MISSING ? RPC_INVALID_ADDRESS_OR_KEY : RPC_MISC_ERROR, "%s",
                 error.text);
        return;
    }
    rpc_ok_when_on_disk(call);
}

RPC_HANDLER(invalidateblock)
{
    change_validity(call, chain_invalidate);
}

RPC_HANDLER(reconsiderblock)
{
    change_validity(call, chain_reconsider);
}

/* When a reorganisation follows, it is waited for. */
RPC_HANDLER(preciousblock)
{
    struct node *node = call->node;
    struct hash256 hash;
    struct error error = {0};
    if (!arg_hash(call, 0, "blockhash", &hash)) {
        return;
    }
    if (!chain_prefer(node->chain, &hash, &error)) {
        rpc_fail(call, error.kind == ERROR_MISSING ? RPC_INVALID_ADDRESS_OR_KEY : RPC_MISC_ERROR, "%s",
                 error.text);
        return;
    }
    node->durable_at_tip &= !chain_busy(node->chain);
    rpc_ok_when_on_disk(call);
}

/* ---- Coins -------------------------------------------------------------------------------------------- */

static void put_coin(struct rpc_call *call, const struct coin *coin, int64_t confirmations)
{
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_hash(out, "bestblock", &tip_of(call)->hash);
    put_int(out, "confirmations", confirmations);
    put_amount(out, "value", coin->value.sat);
    put_script(out, "scriptPubKey", call->node, coin->script);
    put_yes(out, "coinbase", coin->coinbase);
    put_close(out, '{');
}

static void coin_is_here(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    const struct coin *coin = view ? coins_view_get(view, 0) : NULL;
    if (coin) {
        put_coin(call, coin, (int64_t)tip_of(call)->height - coin->height + 1);
    }
    coins_view_free(view);
    rpc_ok(call);
}

RPC_HANDLER(gettxout)
{
    struct outpoint outpoint;
    int64_t n = 0;
    bool with_mempool = true;
    if (!arg_hash(call, 0, "txid", &outpoint.txid) || !arg_number(call, 1, &n, 0, UINT32_MAX) ||
        !arg_bool(call, 2, &with_mempool)) {
        return;
    }
    outpoint.index = (uint32_t)n;
    const struct mempool_entry *entry =
        with_mempool ? mempool_find(call->node->mempool, &outpoint.txid) : NULL;
    if (with_mempool && mempool_spender(call->node->mempool, &outpoint)) {
        rpc_ok(call);
    } else if (entry && outpoint.index < entry->tx->output_count) {
        const struct tx_output *output = &entry->tx->outputs[outpoint.index];
        put_coin(call, &(struct coin){.value = output->value, .script = output->script}, 0);
        rpc_ok(call);
    } else {
        chain_fetch_coins(call->node->chain, &outpoint, 1, coin_is_here, call);
    }
}

/* ---- Several at once, as REST shows them --------------------------------------------------------------- */

#define OUTPOINTS_MAX 1000u

/* The outpoints of the first argument, or NULL after the call was failed. */
static struct outpoint *arg_outpoints(struct rpc_call *call, size_t *count)
{
    const json_t *list = arg_any(call, 0), *item;
    size_t i;
    *count = json_array_size(list);
    if (!*count || *count > OUTPOINTS_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Between 1 and %u outpoints are wanted", OUTPOINTS_MAX);
        return NULL;
    }
    struct outpoint *out = mem_alloc(*count * sizeof *out);
    json_array_foreach(list, i, item)
    {
        if (!outpoint_from_json(call, item, &out[i])) {
            mem_free(out);
            return NULL;
        }
    }
    return out;
}

/* A coin of the chain, or of the mempool where call->flag asks for that; false: spent, or never there. */
static bool find_coin(const struct rpc_call *call, const struct outpoint *outpoint,
                      const struct coin *on_chain, struct coin *out)
{
    const struct mempool *pool = call->node->mempool;
    const struct mempool_entry *entry = call->flag ? mempool_find(pool, &outpoint->txid) : NULL;
    if (call->flag && mempool_spender(pool, outpoint)) {
        return false;
    }
    if (entry && outpoint->index < entry->tx->output_count) {
        const struct tx_output *output = &entry->tx->outputs[outpoint->index];
        *out =
            (struct coin){output->value, output->script, INT32_MAX, false}; /* the height that Core shows */
        return true;
    }
    *out = on_chain ? *on_chain : (struct coin){0};
    return on_chain != NULL;
}

static void several_are_here(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    struct buf *out = &call->out, bitmap = {0}, coins = {0};
    struct coin coin;
    size_t count;
    struct outpoint *outpoints = arg_outpoints(call, &count);
    CHECK(outpoints); /* were read before */
    put_open(&coins, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        bool here = find_coin(call, &outpoints[i], view ? coins_view_get(view, i) : NULL, &coin);
        buf_u8(&bitmap, here ? '1' : '0');
        if (here) {
            put_open(&coins, NULL, '{');
            put_int(&coins, "height", coin.height);
            put_amount(&coins, "value", coin.value.sat);
            put_script(&coins, "scriptPubKey", call->node, coin.script);
            put_close(&coins, '{');
        }
    }
    put_close(&coins, '[');
    put_open(out, NULL, '{');
    put_int(out, "chainHeight", tip_of(call)->height);
    put_hash(out, "chaintipHash", &tip_of(call)->hash);
    put_span_text(out, "bitmap", buf_span(&bitmap));
    put_raw(out, "utxos", buf_span(&coins));
    put_close(out, '{');
    coins_view_free(view);
    mem_free(outpoints);
    buf_free(&bitmap);
    buf_free(&coins);
    rpc_ok(call);
}

RPC_HANDLER(getutxos)
{
    size_t count;
    struct outpoint *outpoints = arg_bool(call, 1, &call->flag) ? arg_outpoints(call, &count) : NULL;
    if (outpoints) {
        chain_fetch_coins(call->node->chain, outpoints, count, several_are_here, call);
        mem_free(outpoints);
    }
}

/* ---- The whole set ------------------------------------------------------------------------------------- */

static const char *const utxo_hash_names[] = {
    [UTXO_HASH_NONE] = "none", [UTXO_HASH_SERIALIZED_3] = "hash_serialized_3", [UTXO_HASH_MUHASH] = "muhash"};

static void stats_are_here(void *context, const struct utxo_stats *stats)
{
    struct rpc_call *call = context;
    struct buf *out = &call->out;
    if (stats->failed) {
        rpc_fail(call, RPC_DATABASE_ERROR, "Unable to read UTXO set");
        return;
    }
    put_open(out, NULL, '{');
    put_int(out, "height", stats->tip->height);
    put_hash(out, "bestblock", &stats->tip->hash);
    put_int(out, "txouts", (int64_t)stats->txouts);
    put_int(out, "bogosize", (int64_t)stats->bogo_size);
    if (call->number != UTXO_HASH_NONE) {
        put_hash(out, utxo_hash_names[call->number], &stats->hash);
    }
    put_amount(out, "total_amount", stats->total_sat);
    put_int(out, "transactions", (int64_t)stats->transactions);
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(gettxoutsetinfo)
{
    const char *type = "hash_serialized_3";
    if (!arg_text(call, 0, &type)) {
        return;
    }
    if (arg_any(call, 1)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Querying specific block heights requires coinstatsindex");
        return;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(utxo_hash_names); i++) {
        if (strcmp(type, utxo_hash_names[i]) == 0) {
            call->number = i;
            chain_utxo_stats(call->node->chain, (enum utxo_hash)i, stats_are_here, call);
            return;
        }
    }
    rpc_fail(call, RPC_INVALID_PARAMETER, "'%.50s' is not a valid hash_type", type);
}
