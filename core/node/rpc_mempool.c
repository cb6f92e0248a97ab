/* RPC methods about the mempool: what is in it, and ways into it. */
#include <stdio.h>

#include "core/node/rpc_private.h"

#define FEE_RATE_MAX_SAT (COIN_SAT / 10) /* per kvB, where the call does not say: as Core */
#define SEQUENCE_SIGNALS 0xfffffffdu     /* BIP125: this and below */
#define LISTED_AT_ONCE   100u            /* whole entries; between these others have their turn */

/* ---- Ways in ------------------------------------------------------------------------------------------ */

bool arg_fee_rate(struct rpc_call *call, size_t index, int64_t *per_kvb_sat)
{
    const json_t *value = arg_any(call, index);
    *per_kvb_sat = FEE_RATE_MAX_SAT;
    if (value && !amount_from_json(value, per_kvb_sat)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Invalid amount");
        return false;
    }
    if (*per_kvb_sat >= COIN_SAT) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Fee rates larger than or equal to 1BTC/kvB are not accepted");
        return false;
    }
    return true;
}

int64_t rpc_burned_at_most(const struct tx *tx)
{
    int64_t most = -1;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        if (script_unspendable(tx->outputs[i].script)) {
            most = MAX(most, tx->outputs[i].value.sat);
        }
    }
    return most;
}

/* First judged, for its fee; then, when that is not too high, taken in. */
RPC_HANDLER(sendrawtransaction)
{
    struct node *node = call->node;
    const json_t *burn = arg_any(call, 2);
    int64_t burn_sat = 0;
    if (burn && !amount_from_json(burn, &burn_sat)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Invalid amount");
        return;
    }
    struct tx *tx = arg_tx(call, "TX decode failed. Make sure the tx has at least one input.");
    if (!tx) {
        return;
    }
    call->tx = tx;
    if (rpc_burned_at_most(tx) > burn_sat) {
        rpc_fail(call, RPC_VERIFY_ERROR,
                 "Unspendable output exceeds maximum configured by user (maxburnamount)");
        return;
    }
    if (!arg_fee_rate(call, 1, &call->fee_rate_sat)) {
        return;
    }
    call->source = ++node->rpc->next_source;
    if (call->fee_rate_sat) {
        mempool_test(node->mempool, tx, call->source, node->now);
    } else {
        mempool_submit(node->mempool, tx, call->source, node->now);
    }
}

void rpc_reject_text(char out[RPC_REJECT_TEXT], const struct error *error)
{
    bool detail = error->kind == ERROR_POLICY && *error->text;
    snprintf(out, RPC_REJECT_TEXT, "%s%s%s",
             error->kind == ERROR_MISSING ? "bad-txns-inputs-missingorspent" : error->word,
             detail ? ", " : "", detail ? error->text : "");
}

static struct rpc_call *call_of_source(struct node *node, uint64_t source)
{
    LIST_EACH(at, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->source == source) {
            return call;
        }
    }
    return NULL;
}

/* Inputs are missing: perhaps since a block has it already, which its own outputs tell. */
static void outputs_are_here(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    bool in_chain = false;
    for (uint32_t i = 0; view && i < call->tx->output_count; i++) {
        in_chain |= coins_view_get(view, i) != NULL;
    }
    coins_view_free(view);
    if (in_chain) {
        rpc_fail(call, RPC_VERIFY_ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set");
    } else {
        rpc_fail(call, RPC_VERIFY_ERROR, "bad-txns-inputs-missingorspent");
    }
}

static void look_for_outputs(struct rpc_call *call)
{
    const struct tx *tx = call->tx;
    struct outpoint *outputs = mem_alloc(tx->output_count * sizeof *outputs);
    uint32_t count = tx->output_count;
    call->source = 0; /* nobody answers any more */
    for (uint32_t i = 0; i < count; i++) {
        outputs[i] = (struct outpoint){tx->txid, i};
    }
    chain_fetch_coins(call->node->chain, outputs, count, outputs_are_here, call);
    mem_free(outputs);
}

static void sent(struct rpc_call *call, const struct error *error)
{
    const struct tx *tx = call->tx;
    char text[RPC_REJECT_TEXT];
    const struct mempool_entry *entry = mempool_find(call->node->mempool, &tx->txid);
    if (!error || (error->kind == ERROR_DUPLICATE && entry)) {
        if (error) { /* sent once more: whoever has not heard of it is told */
            p2p_tx_announce(call->node->p2p, entry);
        } else {
            mempool_set_unbroadcast(call->node->mempool, &tx->txid, true);
        }
        put_hash(&call->out, NULL, &tx->txid);
        rpc_ok(call);
    } else if (error->kind == ERROR_MISSING) {
        look_for_outputs(call);
    } else {
        rpc_reject_text(text, error);
        rpc_fail(call, RPC_VERIFY_REJECTED, "%s", text);
    }
}

void rpc_tx_result(struct node *node, struct tx *tx, uint64_t source, const struct error *error)
{
    (void)tx;
    struct rpc_call *call = call_of_source(node, source);
    if (call && call->submission) {
        rpc_submission_result(call, error);
    } else if (call) {
        sent(call, error);
    }
}

void rpc_tx_tested(struct node *node, uint64_t source, struct amount fee, const struct error *error)
{
    struct rpc_call *call = call_of_source(node, source);
    if (!call) {
        return;
    }
    if (call->submission) {
        rpc_submission_tested(call, fee, error);
    } else if (error) {
        sent(call, error);
    } else if (mempool_fee_too_high(fee, tx_vsize(call->tx), call->fee_rate_sat)) {
        rpc_fail(call, RPC_VERIFY_ERROR,
                 "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)");
    } else {
        mempool_submit(node->mempool, call->tx, source, node->now);
    }
}

void rpc_package_result(struct node *node, uint64_t source, const struct package_member *members,
                        size_t count)
{
    struct rpc_call *call = call_of_source(node, source);
    if (call) {
        rpc_submission_judged(call, members, count);
    }
}

/* ---- What is in it ------------------------------------------------------------------------------------ */

RPC_HANDLER(getmempoolinfo)
{
    struct mempool_info info;
    struct buf *out = &call->out;
    mempool_info(call->node->mempool, &info);
    put_open(out, NULL, '{');
    put_yes(out, "loaded", call->node->mempool_files.loaded);
    put_int(out, "size", (int64_t)info.count);
    put_int(out, "bytes", (int64_t)info.vsize_total);
    put_int(out, "usage", (int64_t)info.bytes_used);
    put_amount(out, "total_fee", info.fee_total_sat);
    put_int(out, "maxmempool", (int64_t)info.bytes_max);
    put_amount(out, "mempoolminfee", info.min_fee_per_kvb_sat);
    put_amount(out, "minrelaytxfee", 1000);
    put_amount(out, "incrementalrelayfee", 1000);
    put_int(out, "unbroadcastcount", (int64_t)info.unbroadcast);
    put_yes(out, "fullrbf", true); /* replace.c asks nobody whether they signalled */
    put_close(out, '{');
    rpc_ok(call);
}

/* Whether an earlier input spends the same transaction. */
static bool spent_before(const struct tx *tx, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++) {
        if (hash256_equal(&tx->inputs[i].prevout.txid, &tx->inputs[index].prevout.txid)) {
            return true;
        }
    }
    return false;
}

static void put_children(struct buf *out, const struct mempool *pool, const struct mempool_entry *e)
{
    put_open(out, "spentby", '[');
    for (uint32_t i = 0; i < e->tx->output_count; i++) {
        const struct mempool_entry *child = mempool_spender(pool, &(struct outpoint){e->tx->txid, i});
        bool shown = !child;
        for (uint32_t k = 0; k < i && !shown; k++) {
            shown = child == mempool_spender(pool, &(struct outpoint){e->tx->txid, k});
        }
        if (!shown) {
            put_hash(out, NULL, &child->tx->txid);
        }
    }
    put_close(out, '[');
}

static bool signals(const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].sequence <= SEQUENCE_SIGNALS) {
            return true;
        }
    }
    return false;
}

/* BIP125: it says so itself, or one of its unconfirmed ancestors does. */
static bool replaceable(const struct mempool *pool, const struct mempool_entry *e)
{
    bool found = signals(e->tx);
    if (!found && e->ancestor_count > 1) {
        size_t count;
        const struct mempool_entry **ancestors = mempool_relatives(pool, e, true, &count);
        for (size_t i = 0; i < count; i++) {
            found |= signals(ancestors[i]->tx);
        }
        mem_free(ancestors);
    }
    return found;
}

static void put_mempool_entry(struct buf *out, const char *key, const struct node *node,
                              const struct mempool_entry *e)
{
    put_open(out, key, '{');
    put_int(out, "vsize", e->vsize);
    put_int(out, "weight", e->weight);
    put_int(out, "size", (int64_t)e->tx->raw.len);
    put_int(out, "inputcount", e->tx->input_count);
    put_int(out, "outputcount", e->tx->output_count);
    int64_t paid = 0;
    for (uint32_t i = 0; i < e->tx->output_count; i++) {
        paid += e->tx->outputs[i].value.sat;
    }
    put_amount(out, "outputvalue", paid);
    put_int(out, "time", e->added_unix_s);
    put_int(out, "height", e->added_height);
    put_int(out, "descendantcount", e->descendant_count);
    put_int(out, "descendantsize", (int64_t)e->descendant_vsize);
    put_int(out, "ancestorcount", e->ancestor_count);
    put_int(out, "ancestorsize", (int64_t)e->ancestor_vsize);
    put_hash(out, "wtxid", &e->tx->wtxid);
    put_open(out, "fees", '{');
    put_amount(out, "base", e->fee.sat);
    put_amount(out, "modified", e->modified_fee_sat);
    put_amount(out, "ancestor", e->ancestor_fee_sat);
    put_amount(out, "descendant", e->descendant_fee_sat);
    put_close(out, '{');
    put_open(out, "depends", '[');
    for (uint32_t i = 0; i < e->tx->input_count; i++) {
        const struct hash256 *parent = &e->tx->inputs[i].prevout.txid;
        if (mempool_find(node->mempool, parent) && !spent_before(e->tx, i)) {
            put_hash(out, NULL, parent);
        }
    }
    put_close(out, '[');
    put_children(out, node->mempool, e);
    put_yes(out, "bip125-replaceable", replaceable(node->mempool, e));
    put_yes(out, "unbroadcast", e->unbroadcast);
    put_close(out, '{');
}

/* The entry that the first argument names; NULL after the call was failed. */
static const struct mempool_entry *arg_entry(struct rpc_call *call)
{
    struct hash256 txid;
    if (!arg_hash(call, 0, "txid", &txid)) {
        return NULL;
    }
    const struct mempool_entry *entry = mempool_find(call->node->mempool, &txid);
    if (!entry) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Transaction not in mempool");
    }
    return entry;
}

RPC_HANDLER(getmempoolentry)
{
    const struct mempool_entry *entry = arg_entry(call);
    if (entry) {
        put_mempool_entry(&call->out, NULL, call->node, entry);
        rpc_ok(call);
    }
}

/* In a list as its id, or in an object with all that is known of it. */
static void put_listed(struct rpc_call *call, const struct mempool_entry *entry, bool verbose)
{
    char text[HASH256_TEXT];
    if (verbose) {
        put_mempool_entry(&call->out, hash256_text(text, &entry->tx->txid), call->node, entry);
    } else {
        put_hash(&call->out, NULL, &entry->tx->txid);
    }
}

static void show_relatives(struct rpc_call *call, bool up)
{
    bool verbose = false;
    size_t count;
    if (!arg_bool(call, 1, &verbose)) {
        return;
    }
    const struct mempool_entry *entry = arg_entry(call);
    if (!entry) {
        return;
    }
    const struct mempool_entry **relatives = mempool_relatives(call->node->mempool, entry, up, &count);
    put_open(&call->out, NULL, verbose ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        put_listed(call, relatives[i], verbose);
    }
    put_close(&call->out, verbose ? '{' : '[');
    mem_free(relatives);
    rpc_ok(call);
}

RPC_HANDLER(getmempoolancestors)
{
    show_relatives(call, true);
}

RPC_HANDLER(getmempooldescendants)
{
    show_relatives(call, false);
}

/* More of all entries, as they were when the call came; who has left meanwhile is left out. */
static void list_more(struct rpc_call *call)
{
    struct hash256 txid;
    size_t until = MIN(call->list.len, call->list_at + LISTED_AT_ONCE * sizeof txid);
    for (; call->list_at < until; call->list_at += sizeof txid) {
        memcpy(txid.b, call->list.data + call->list_at, sizeof txid);
        const struct mempool_entry *entry = mempool_find(call->node->mempool, &txid);
        if (entry) {
            put_listed(call, entry, true);
        }
    }
    if (call->list_at < call->list.len) {
        call->go_on = list_more;
    } else {
        put_close(&call->out, '{');
        rpc_ok(call);
    }
}

static void list_entries(struct rpc_call *call)
{
    const struct mempool_entry *entry;
    for (size_t at = 0; mempool_next(call->node->mempool, &at, &entry);) {
        buf_bytes(&call->list, entry->tx->txid.b, sizeof entry->tx->txid);
    }
    put_open(&call->out, NULL, '{');
    list_more(call);
}

RPC_HANDLER(getrawmempool)
{
    bool verbose = false, sequence = false;
    struct mempool_info info;
    struct buf *out = &call->out;
    const struct mempool_entry *entry;
    if (!arg_bool(call, 0, &verbose) || !arg_bool(call, 1, &sequence)) {
        return;
    }
    if (verbose && sequence) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Verbose results cannot contain mempool sequence values.");
        return;
    }
    if (verbose) {
        list_entries(call);
        return;
    }
    if (sequence) {
        put_open(out, NULL, '{');
    }
    put_open(out, sequence ? "txids" : NULL, '[');
    for (size_t at = 0; mempool_next(call->node->mempool, &at, &entry);) {
        put_hash(out, NULL, &entry->tx->txid);
    }
    put_close(out, '[');
    if (sequence) {
        mempool_info(call->node->mempool, &info);
        put_int(out, "mempool_sequence", (int64_t)info.sequence);
        put_close(out, '{');
    }
    rpc_ok(call);
}

bool outpoint_from_json(struct rpc_call *call, const json_t *item, struct outpoint *out)
{
    const json_t *vout = json_object_get(item, "vout");
    const char *txid = json_string_value(json_object_get(item, "txid"));
    if (!txid || strlen(txid) != 64 || !hash256_parse(&out->txid, txid)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "txid must be of length 64 (not %zu, for '%.100s')",
                 txid ? strlen(txid) : 0, txid ? txid : "");
        return false;
    }
    if (!json_is_integer(vout)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Missing vout");
        return false;
    }
    if (json_integer_value(vout) < 0 || json_integer_value(vout) > UINT32_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, vout cannot be negative");
        return false;
    }
    out->index = (uint32_t)json_integer_value(vout);
    return true;
}

RPC_HANDLER(gettxspendingprevout)
{
    const json_t *outputs = arg_any(call, 0), *item;
    struct buf *out = &call->out;
    struct outpoint outpoint;
    size_t i;
    if (!json_array_size(outputs)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, outputs are missing");
        return;
    }
    put_open(out, NULL, '[');
    json_array_foreach(outputs, i, item)
    {
        if (!outpoint_from_json(call, item, &outpoint)) {
            return;
        }
        const struct mempool_entry *spender = mempool_spender(call->node->mempool, &outpoint);
        put_open(out, NULL, '{');
        put_hash(out, "txid", &outpoint.txid);
        put_int(out, "vout", outpoint.index);
        if (spender) {
            put_hash(out, "spendingtxid", &spender->tx->txid);
        }
        put_close(out, '{');
    }
    put_close(out, '[');
    rpc_ok(call);
}

/* ---- mempool.dat -------------------------------------------------------------------------------------- */

RPC_HANDLER(savemempool)
{
    struct node *node = call->node;
    if (!node->mempool_files.loaded) {
        rpc_fail(call, RPC_MISC_ERROR, "The mempool was not loaded yet");
    } else if (!node->config.mempool_file) {
        rpc_fail(call, RPC_MISC_ERROR, "Unable to dump mempool to disk");
    } else {
        mempool_file_save(node, call);
    }
}

/* An option that is true or false; false after the call was failed. */
static bool option_yes(struct rpc_call *call, const json_t *options, const char *name, bool *out)
{
    const json_t *value = json_object_get(options, name);
    if (value && !json_is_null(value)) {
        if (!json_is_boolean(value)) {
            rpc_fail(call, RPC_TYPE_ERROR, "JSON value of %s is not of expected type bool", name);
            return false;
        }
        *out = json_is_true(value);
    }
    return true;
}

RPC_HANDLER(importmempool)
{
    struct mempool_import import = {0};
    const json_t *options = arg_any(call, 1);
    const char *path = "";
    bool now = true;
    if (!node_synced(call->node)) {
        rpc_fail(call, RPC_CLIENT_IN_INITIAL_DOWNLOAD,
                 "Can only import the mempool after the block download and sync is done.");
        return;
    }
    if (options && !json_is_object(options)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type object");
        return;
    }
    if (arg_text(call, 0, &path) && option_yes(call, options, "use_current_time", &now) &&
        option_yes(call, options, "apply_fee_delta_priority", &import.priorities) &&
        option_yes(call, options, "apply_unbroadcast_set", &import.unbroadcast)) {
        import.times = !now;
        mempool_file_import(call->node, call, path, import);
    }
}

/* ---- Priorities ---------------------------------------------------------------------------------------- */

RPC_HANDLER(prioritisetransaction)
{
    struct hash256 txid;
    const json_t *dummy = arg_any(call, 1);
    int64_t delta_sat = 0;
    if (!arg_hash(call, 0, "txid", &txid)) {
        return;
    }
    if (dummy && !(json_is_number(dummy) && json_number_value(dummy) == 0)) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "Priority is no longer supported, dummy argument to prioritisetransaction must be 0.");
    } else if (arg_number(call, 2, &delta_sat, -MAX_MONEY, MAX_MONEY)) {
        if (mempool_prioritise(call->node->mempool, &txid, delta_sat)) {
            put_yes(&call->out, NULL, true);
            rpc_ok(call);
        } else {
            rpc_fail(call, RPC_MISC_ERROR, "Too many priorities, or their sum is too large");
        }
    }
}

RPC_HANDLER(getprioritisedtransactions)
{
    const struct mempool *pool = call->node->mempool;
    const struct hash256 *txid;
    struct buf *out = &call->out;
    int64_t delta_sat;
    put_open(out, NULL, '{');
    for (size_t at = 0; mempool_next_priority(pool, &at, &txid, &delta_sat);) {
        const struct mempool_entry *entry = mempool_find(pool, txid);
        char text[HASH256_TEXT];
        put_open(out, hash256_text(text, txid), '{');
        put_int(out, "fee_delta", delta_sat);
        put_yes(out, "in_mempool", entry != NULL);
        if (entry) {
            put_int(out, "modified_fee", entry->modified_fee_sat);
        }
        put_close(out, '{');
    }
    put_close(out, '{');
    rpc_ok(call);
}
