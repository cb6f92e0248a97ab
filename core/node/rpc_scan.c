/* scantxoutset: the coins of descriptors, found by reading the whole UTXO set. One scan at a time. */
#include "core/node/rpc_private.h"

#define SCRIPTS_MAX   100000u
#define RANGE_DEFAULT 1000u /* last index where none is given */

struct scan { /* that is under way */
    struct coin_scan *coins;
    struct span *scripts; /* owned, as the texts are */
    char **descriptors;
    size_t count;
    uint32_t derived; /* indexes of ranges, of all objects */
    bool full;        /* SCRIPTS_MAX was reached */
};

static void scan_free(struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        mem_free((void *)(uintptr_t)scan->scripts[i].data);
        mem_free(scan->descriptors[i]);
    }
    mem_free(scan->scripts);
    mem_free(scan->descriptors);
    mem_free(scan);
}

static void add_script(void *context, struct span script, const char *descriptor)
{
    struct scan *scan = context;
    scan->full = scan->count >= SCRIPTS_MAX;
    if (scan->full) {
        return;
    }
    if ((scan->count & (scan->count - 1)) == 0) { /* room for twice as many */
        size_t room = scan->count ? 2 * scan->count : 1;
        scan->scripts = mem_realloc(scan->scripts, room * sizeof *scan->scripts);
        scan->descriptors = mem_realloc(scan->descriptors, room * sizeof *scan->descriptors);
    }
    scan->scripts[scan->count] = span_of(mem_dup(script.data, script.len), script.len);
    scan->descriptors[scan->count++] = mem_strdup(descriptor);
}

static void put_found(struct rpc_call *call, const struct scan *scan, const struct coin_scan_result *result)
{
    struct buf *out = &call->out;
    struct cursor rows = cursor_of(result->rows.data, result->rows.len);
    struct outpoint outpoint;
    struct coin coin;
    size_t script;
    int64_t total_sat = 0;
    put_open(out, NULL, '{');
    put_yes(out, "success", true);
    put_int(out, "txouts", (int64_t)result->txouts);
    put_int(out, "height", result->tip->height);
    put_hash(out, "bestblock", &result->tip->hash);
    put_open(out, "unspents", '[');
    while (coin_scan_next(&rows, &outpoint, &coin, &script)) {
        const struct block_entry *block =
            block_ancestor((struct block_entry *)(uintptr_t)result->tip, coin.height);
        total_sat += coin.value.sat;
        put_open(out, NULL, '{');
        put_hash(out, "txid", &outpoint.txid);
        put_int(out, "vout", outpoint.index);
        put_hex(out, "scriptPubKey", scan->scripts[script]);
        put_text(out, "desc", scan->descriptors[script]);
        put_amount(out, "amount", coin.value.sat);
        put_yes(out, "coinbase", coin.coinbase);
        put_int(out, "height", coin.height);
        put_hash(out, "blockhash", &block->hash);
        put_int(out, "confirmations", (int64_t)result->tip->height - coin.height + 1);
        put_close(out, '{');
    }
    put_close(out, '[');
    put_amount(out, "total_amount", total_sat);
    put_close(out, '{');
}

static void coins_are_found(void *context, const struct coin_scan_result *result)
{
    struct rpc_call *call = context;
    struct scan *scan = call->node->rpc->scan;
    call->node->rpc->scan = NULL;
    if (result->aborted) {
        put_open(&call->out, NULL, '{');
        put_yes(&call->out, "success", false);
        put_close(&call->out, '{');
        rpc_ok(call);
    } else if (result->too_many) {
        rpc_fail(call, RPC_MISC_ERROR, "More coins than one answer can show: name fewer descriptors");
    } else if (result->failed) {
        rpc_fail(call, RPC_DATABASE_ERROR, "Unable to read UTXO set");
    } else {
        put_found(call, scan, result);
        rpc_ok(call);
    }
    scan_free(scan);
}

void rpc_scan_free(struct rpc_state *rpc)
{
    if (rpc->scan) {
        scan_free(rpc->scan);
    }
}

/* The scripts of one of the scan objects, a descriptor or {"desc", "range"}. False after the call was failed.
 */
static bool add_object(struct rpc_call *call, struct scan *scan, const json_t *item)
{
    const json_t *text = json_is_object(item) ? json_object_get(item, "desc") : item,
                 *range = json_object_get(item, "range");
    struct error error = {0};
    uint32_t first = 0, last = RANGE_DEFAULT;
    if (!json_is_string(text)) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 json_is_object(item) ? "Descriptor needs to be provided in scan object"
                                      : "Scan object needs to be either a string or an object");
        return false;
    }
    if (range && !json_is_null(range) && !range_from_json(call, range, &first, &last)) {
        return false;
    }
    struct descriptor *descriptor =
        descriptor_parse(json_string_value(text), false, call->node->params, &error);
    if (!descriptor) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "%s", error.text);
        return false;
    }
    if (descriptor_is_ranged(descriptor)) {
        scan->derived += last - first + 1;
    } else {
        first = last = 0;
    }
    bool ok =
        scan->derived <= RPC_DERIVED_MAX && expand_range(call, descriptor, first, last, add_script, scan);
    if (scan->derived > RPC_DERIVED_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "The ranges hold more than %u indexes together",
                 RPC_DERIVED_MAX);
    }
    descriptor_free(descriptor);
    return ok;
}

/* All scripts of the second argument; NULL after the call was failed. */
static struct scan *arg_scan(struct rpc_call *call)
{
    const json_t *objects = arg_any(call, 1), *item;
    struct scan *scan = mem_alloc(sizeof *scan);
    size_t i;
    bool ok = json_is_array(objects);
    if (!objects) {
        rpc_fail(call, RPC_MISC_ERROR, "scanobjects argument is required for the start action");
    } else if (!ok) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type array");
    }
    json_array_foreach(objects, i, item)
    {
        if (!ok || scan->full) {
            break;
        }
        ok = add_object(call, scan, item);
    }
    if (ok && scan->full) {
        ok = false;
        rpc_fail(call, RPC_INVALID_PARAMETER, "Scan objects have more than %u scripts", SCRIPTS_MAX);
    }
    if (!ok) {
        scan_free(scan);
    }
    return ok ? scan : NULL;
}

RPC_HANDLER(scantxoutset)
{
    struct rpc_state *rpc = call->node->rpc;
    const char *action = "";
    if (!arg_text(call, 0, &action)) {
        return;
    }
    if (strcmp(action, "status") == 0) {
        if (rpc->scan) {
            put_open(&call->out, NULL, '{');
            put_int(&call->out, "progress", coin_scan_percent(rpc->scan->coins));
            put_close(&call->out, '{');
        }
        rpc_ok(call);
    } else if (strcmp(action, "abort") == 0) {
        if (rpc->scan) {
            coin_scan_abort(rpc->scan->coins);
        }
        put_yes(&call->out, NULL, rpc->scan != NULL);
        rpc_ok(call);
    } else if (strcmp(action, "start") != 0) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid action '%.64s'", action);
    } else if (rpc->scan) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Scan already in progress, use action \"abort\" or \"status\"");
    } else if ((rpc->scan = arg_scan(call))) {
        rpc->scan->coins = chain_scan_scripts(call->node->chain, rpc->scan->scripts, rpc->scan->count,
                                              coins_are_found, call);
    }
}
