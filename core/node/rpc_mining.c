/* RPC methods about mining, blocks that come in, and what a place in a block costs. */
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define DEFAULT_TRIES     INT64_C(1000000)
#define TARGET_BLOCKS_MAX 1008
#define BLOCK_VSIZE       (BLOCK_WEIGHT_MAX / WITNESS_SCALE)

RPC_HANDLER(getnetworkhashps)
{
    const struct chain *chain = call->node->chain;
    int64_t blocks = 120, height = -1;
    if (!arg_number(call, 0, &blocks, INT32_MIN, INT32_MAX) ||
        !arg_number(call, 1, &height, INT32_MIN, INT32_MAX)) {
        return;
    }
    if (blocks < -1 || blocks == 0) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid nblocks. Must be a positive number or -1.");
        return;
    }
    const struct block_entry *entry = height == -1 ? chain_tip(chain)
                                      : height < 0 ? NULL
                                                   : chain_at(chain, (uint32_t)height);
    if (!entry) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Block does not exist at specified height");
        return;
    }
    put_real(&call->out, NULL,
             network_hashes_per_s(entry, blocks < 0 ? entry->height % 2016 + 1 : (uint32_t)blocks));
    rpc_ok(call);
}

void put_hash_workers(struct buf *out, const struct node *node)
{
    put_open(out, "workers", '[');
    for (size_t i = 0; i < node->hash_worker_count; i++) {
        const struct hash_worker_counts *worker = &node->hash_workers[i];
        put_open(out, NULL, '{');
        put_text(out, "rolling", worker->rolling);
        put_text(out, "plain", worker->plain);
        put_int(out, "hashes", (int64_t)worker->hashes);
        put_int(out, "hashesrolling", (int64_t)worker->hashes_rolling);
        put_int(out, "hits", (int64_t)worker->hits);
        put_int(out, "hitslost", (int64_t)worker->hits_lost);
        put_int(out, "switches", (int64_t)worker->switches);
        put_real(out, "cpuseconds", worker->cpu_s);
        put_close(out, '{');
    }
    put_close(out, '[');
}

RPC_HANDLER(getmininginfo)
{
    struct node *node = call->node;
    const struct block_entry *tip = chain_tip(node->chain);
    struct buf *out = &call->out;
    struct mempool_info info;
    uint32_t next_bits =
        chain_next_bits(node->chain, tip, MAX(moment_unix_s(node->now), chain_min_time(node->chain, tip)));
    mempool_info(node->mempool, &info);
    put_open(out, NULL, '{');
    put_int(out, "blocks", tip->height);
    if (node->mining.assembled) {
        put_int(out, "currentblockweight", node->mining.last_weight);
        put_int(out, "currentblocktx", node->mining.last_tx_count);
    }
    put_bits(out, tip->header.bits);
    put_real(out, "difficulty", pow_difficulty(tip->header.bits));
    put_real(out, "networkhashps", network_hashes_per_s(tip, 120));
    put_int(out, "pooledtx", (int64_t)info.count);
    put_text(out, "chain", node->params->rpc_name);
    put_yes(out, "mining", node->mining.template != NULL);
    put_real(out, "hashespersec", node->hashes_per_s);
    put_int(out, "threads", node->hash_threads);
    put_text(out, "kernel", node->kernel);
    put_int(out, "hashes", (int64_t)node->hashes_total);
    put_hash_workers(out, node);
    put_int(out, "blocksfound", (int64_t)node->mining.blocks_found);
    put_open(out, "next", '{');
    put_int(out, "height", (int64_t)tip->height + 1);
    put_bits(out, next_bits);
    put_real(out, "difficulty", pow_difficulty(next_bits));
    put_close(out, '{');
    if (node->params->signet_challenge.len) {
        put_hex(out, "signet_challenge", buf_span(&node->params->signet_challenge));
    }
    put_open(out, "warnings", '[');
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

static void generate(struct rpc_call *call, struct span script)
{
    struct error error = {0};
    int64_t blocks = 0, tries = DEFAULT_TRIES;
    if (call->node->params->kind != CHAIN_REGTEST) {
        tries = INT64_MAX; /* the deadline bounds it */
    }
    if (!arg_number(call, 0, &blocks, 0, 100000) || !arg_number(call, 2, &tries, 0, INT64_MAX)) {
        return;
    }
    if (!generate_begin(call->node, script, (uint32_t)blocks, (uint64_t)tries, call, &error)) {
        rpc_fail(call, RPC_MISC_ERROR, "%s", error.text);
    }
}

RPC_HANDLER(generatetoaddress)
{
    struct buf script = {0};
    if (arg_script(call, 1, &script)) {
        generate(call, buf_span(&script));
    }
    buf_free(&script);
}

struct one_script {
    struct buf *out;
    size_t given;
};

/* Of combo's four the third, P2WPKH, as Core does; of an uncompressed key's two the second, P2PKH. */
static void take_script(void *context, struct span script, const char *descriptor)
{
    struct one_script *one = context;
    (void)descriptor;
    if (one->given++ < 3) {
        buf_clear(one->out);
        buf_bytes(one->out, script.data, script.len);
    }
}

/* False with ERROR_PARSE, or ERROR_USAGE where it stands for many. */
static bool read_descriptor(struct buf *script, const char *text, const struct chain_params *params,
                            struct error *error)
{
    struct one_script one = {.out = script};
    struct descriptor *descriptor = descriptor_parse(text, false, params, error);
    bool ok = descriptor &&
              (!descriptor_is_ranged(descriptor) ||
               error_set(error, ERROR_USAGE, NULL,
                         "Ranged descriptor not accepted. Maybe pass through deriveaddresses first?"));
    ok = ok && descriptor_expand(descriptor, 0, take_script, &one, error);
    descriptor_free(descriptor);
    return ok;
}

RPC_HANDLER(generatetodescriptor)
{
    const char *text = "";
    struct buf script = {0};
    struct error error = {0};
    if (!arg_text(call, 1, &text)) {
        return;
    }
    if (read_descriptor(&script, text, call->node->params, &error)) {
        generate(call, buf_span(&script));
    } else {
        rpc_fail(call, error.kind == ERROR_USAGE ? RPC_INVALID_PARAMETER : RPC_INVALID_ADDRESS_OR_KEY, "%s",
                 error.text);
    }
    buf_free(&script);
}

/* An id of the mempool or a whole transaction; NULL after the call was failed. */
static struct tx *chosen_tx(struct rpc_call *call, const json_t *item)
{
    struct hash256 txid;
    const char *text = json_is_string(item) ? json_string_value(item) : "";
    if (strlen(text) == 64 && hash256_parse(&txid, text)) {
        const struct mempool_entry *entry = mempool_find(call->node->mempool, &txid);
        if (!entry) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Transaction %s not in mempool.", text);
        }
        return entry ? tx_ref(entry->tx) : NULL;
    }
    struct tx *tx = tx_from_hex(text);
    if (!tx) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR,
                 "Transaction decode failed for %.64s. Make sure the tx has at least one input.", text);
    }
    return tx;
}

static void generate_one(struct rpc_call *call, struct span script)
{
    const json_t *list = arg_any(call, 1), *item;
    struct tx **txs = mem_alloc((json_array_size(list) + 1) * sizeof(struct tx *));
    struct error error = {0};
    size_t count = 0, i;
    json_array_foreach(list, i, item)
    {
        struct tx *tx = chosen_tx(call, item);
        if (!tx) {
            break;
        }
        txs[count++] = tx;
    }
    bool usable = count == json_array_size(list); /* else the call was failed */
    if (usable && generate_begin(call->node, script, 1, INT64_MAX, call, &error)) {
        call->flag = true; /* the answer is one block */
        generate_choose(call->node, txs, count);
        return;
    }
    while (count) {
        tx_unref(txs[--count]);
    }
    mem_free(txs);
    if (usable) {
        rpc_fail(call, RPC_MISC_ERROR, "%s", error.text);
    }
}

RPC_HANDLER(generateblock)
{
    const char *text = "";
    struct buf script = {0};
    struct error error = {0};
    bool submit = true;
    if (!arg_text(call, 0, &text) || !arg_bool(call, 2, &submit)) {
        return;
    }
    if (!json_is_array(arg_any(call, 1))) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type array");
    } else if (!submit) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "submit must be true: a block is always taken in");
    } else if (read_descriptor(&script, text, call->node->params, &error) ||
               address_to_script(&script, text, call->node->params, NULL)) {
        generate_one(call, buf_span(&script));
    } else if (error.kind == ERROR_USAGE) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s", error.text);
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Error: Invalid address or descriptor");
    }
    buf_free(&script);
}

static void show_generated(struct rpc_call *call, const struct buf *hashes, const char *why_not)
{
    struct hash256 hash;
    if (!hashes->len) {
        rpc_fail(call, RPC_VERIFY_ERROR, "TestBlockValidity failed: %s", why_not ? why_not : "no block");
        return;
    }
    memcpy(hash.b, hashes->data, 32);
    put_open(&call->out, NULL, '{');
    put_hash(&call->out, "hash", &hash);
    put_close(&call->out, '{');
    if (call->node->stopping) {
        rpc_ok(call);
    } else {
        rpc_ok_when_on_disk(call);
    }
}

void rpc_generated(struct node *node, void *context, const struct buf *hashes, const char *why_fewer)
{
    struct rpc_call *call = context;
    if (call->flag) {
        show_generated(call, hashes, why_fewer);
        return;
    }
    if (why_fewer) {
        log_info(LOG_RPC, "generatetoaddress ends with %zu blocks: %s", hashes->len / 32, why_fewer);
    }
    put_open(&call->out, NULL, '[');
    for (size_t at = 0; at < hashes->len; at += 32) {
        struct hash256 hash;
        memcpy(hash.b, hashes->data + at, 32);
        put_hash(&call->out, NULL, &hash);
    }
    put_close(&call->out, '[');
    if (!hashes->len || node->stopping) {
        rpc_ok(call);
    } else {
        rpc_ok_when_on_disk(call);
    }
}

void rpc_put_known(struct rpc_call *call, const struct block_entry *known)
{
    put_text(&call->out, NULL,
             known->status & BLOCK_BAD     ? "duplicate-invalid"
             : known->status & BLOCK_VALID ? "duplicate"
                                           : "duplicate-inconclusive");
}

RPC_HANDLER(submitblock)
{
    struct node *node = call->node;
    const char *hex = "";
    struct buf raw = {0};
    struct error error = {0};
    if (!arg_text(call, 0, &hex)) {
        return;
    }
    bool decoded = hex_decode_buf(&raw, hex, BLOCK_SERIALIZED_MAX);
    struct block *block = decoded ? block_parse(raw.data, raw.len, &error) : NULL;
    if (!decoded) {
        buf_free(&raw);
    }
    if (!block) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Block decode failed");
        return;
    }
    const struct block_entry *known = chain_find(node->chain, &block->hash);
    call->hash = block->hash;
    call->source = ++node->rpc->next_source;
    if (known && known->status & BLOCK_HAVE_DATA) {
        rpc_put_known(call, known);
        rpc_ok(call);
    } else if (!chain_accept_block(node->chain, block, node->now, true, call->source, &error)) {
        put_text(&call->out, NULL, error.word);
        rpc_ok(call);
    }
    block_unref(block);
}

void rpc_block_result(struct node *node, const struct hash256 *hash, uint64_t source, bool connected,
                      const struct error *error)
{
    (void)hash;
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->source != source) {
            continue;
        }
        if (error) {
            put_text(&call->out, NULL, error->word);
            rpc_ok(call);
        } else if (connected) {
            rpc_ok_when_on_disk(call);
        } else {
            put_text(&call->out, NULL, "inconclusive");
            rpc_ok(call);
        }
        return;
    }
}

/* ---- Fees ---------------------------------------------------------------------------------------------- */

struct rate {
    int64_t per_kvb_sat;
    uint32_t vsize;
};

static int dearest_first(const void *a, const void *b)
{
    const struct rate *x = a, *y = b;
    return x->per_kvb_sat > y->per_kvb_sat ? -1 : x->per_kvb_sat < y->per_kvb_sat;
}

/* What pays as much as the transaction that just does not fit into so many blocks, were they mined now; where
 * all fit, the least that is relayed. */
static int64_t rate_at_depth(const struct mempool *pool, uint64_t vsize)
{
    struct mempool_info info;
    const struct mempool_entry *entry;
    size_t count = 0;
    mempool_info(pool, &info);
    struct rate *rates = mem_alloc((info.count + 1) * sizeof *rates);
    for (size_t at = 0; mempool_next(pool, &at, &entry);) {
        rates[count++] = (struct rate){
            entry->ancestor_fee_sat * 1000 / (int64_t)MAX(entry->ancestor_vsize, 1u), entry->vsize};
    }
    if (count) {
        qsort(rates, count, sizeof *rates, dearest_first);
    }
    int64_t result = info.min_fee_per_kvb_sat;
    for (size_t i = 0; i < count; i++) {
        if (vsize < rates[i].vsize) {
            result = MAX(result, rates[i].per_kvb_sat + 1);
            break;
        }
        vsize -= rates[i].vsize;
    }
    mem_free(rates);
    return result;
}

RPC_HANDLER(estimatesmartfee)
{
    int64_t target = 0;
    const char *mode = "economical";
    const json_t *given = arg_any(call, 0);
    if (json_is_integer(given) &&
        (json_integer_value(given) < 1 || json_integer_value(given) > TARGET_BLOCKS_MAX)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid conf_target, must be between 1 and %d",
                 TARGET_BLOCKS_MAX);
        return;
    }
    if (!arg_number(call, 0, &target, 1, TARGET_BLOCKS_MAX) || !arg_text(call, 1, &mode)) {
        return;
    }
    if (strcmp(mode, "unset") != 0 && strcmp(mode, "economical") != 0 && strcmp(mode, "conservative") != 0) {
        rpc_fail(
            call, RPC_INVALID_PARAMETER,
            "Invalid estimate_mode parameter, must be one of: \"unset\", \"economical\", \"conservative\"");
        return;
    }
    put_open(&call->out, NULL, '{');
    put_amount(&call->out, "feerate", rate_at_depth(call->node->mempool, (uint64_t)target * BLOCK_VSIZE));
    put_int(&call->out, "blocks", target);
    put_close(&call->out, '{');
    rpc_ok(call);
}
