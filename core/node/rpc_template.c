/* RPC methods for miners outside: getblocktemplate (BIP22, BIP23's long polling and proposals, BIP145) and
 * submitheader. Not here: the miner's own templates (miner.c), submitblock (rpc_mining.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define POOL_AFTER_US INT64_C(60000000) /* a change of the mempool alone ends a long poll only then … */
#define POOL_EVERY_US INT64_C(10000000) /* … and is looked for so often */

/* ---- The template ------------------------------------------------------------------------------------- */

/* Which transactions before it, counted from 1, a transaction spends; each once. */
static void put_depends(struct buf *out, const struct tx *tx, const struct map *places)
{
    put_open(out, "depends", '[');
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const uint32_t *place = map_get(places, &tx->inputs[i].prevout.txid);
        bool shown = !place;
        for (uint32_t k = 0; k < i && !shown; k++) {
            shown = hash256_equal(&tx->inputs[k].prevout.txid, &tx->inputs[i].prevout.txid);
        }
        if (!shown) {
            put_int(out, NULL, *place);
        }
    }
    put_close(out, '[');
}

static void put_transactions(struct buf *out, struct node *node, const struct block_template *t)
{
    struct map places;
    map_init(&places, sizeof(struct hash256), sizeof(uint32_t), &node->rng);
    put_open(out, "transactions", '[');
    for (uint32_t i = 0; i < t->tx_count; i++) {
        const struct tx *tx = t->txs[i];
        put_open(out, NULL, '{');
        put_hex(out, "data", tx->raw);
        put_hash(out, "txid", &tx->txid);
        put_hash(out, "hash", &tx->wtxid);
        put_depends(out, tx, &places);
        put_int(out, "fee", t->costs[i].fee_sat);
        put_int(out, "sigops", t->costs[i].sigop_cost);
        put_int(out, "weight", tx_weight(tx));
        put_close(out, '{');
        *(uint32_t *)map_put(&places, &tx->txid, NULL) = i + 1;
    }
    put_close(out, '[');
    map_free(&places);
}

static void put_words(struct buf *out, const char *key, const char *const *words)
{
    put_open(out, key, '[');
    for (; *words; words++) {
        put_text(out, NULL, *words);
    }
    put_close(out, '[');
}

static void put_longpollid(struct buf *out, const struct node *node, const struct hash256 *tip)
{
    char hash[HASH256_TEXT], text[HASH256_TEXT + 24];
    struct mempool_info info;
    mempool_info(node->mempool, &info);
    snprintf(text, sizeof text, "%s%" PRIu64, hash256_text(hash, tip), info.sequence);
    put_text(out, "longpollid", text);
}

static void put_limits(struct buf *out, const struct node *node, const struct block_template *t)
{
    static const char *const mutable[] = {"time", "transactions", "prevblock", NULL};
    struct hash256 target;
    char bits[9];
    u256_to_le(target.b, t->target);
    snprintf(bits, sizeof bits, "%08x", t->header.bits);
    put_longpollid(out, node, &t->parent->hash);
    put_hash(out, "target", &target);
    put_int(out, "mintime", t->min_time);
    put_words(out, "mutable", mutable);
    put_text(out, "noncerange", "00000000ffffffff");
    put_int(out, "sigoplimit", BLOCK_SIGOPS_COST_MAX);
    put_int(out, "sizelimit", BLOCK_SERIALIZED_MAX);
    put_int(out, "weightlimit", BLOCK_WEIGHT_MAX);
    put_int(out, "curtime", t->header.time);
    put_text(out, "bits", bits);
    put_int(out, "height", t->height);
}

void rpc_show_template(struct rpc_call *call)
{
    static const char *const capabilities[] = {"proposal", NULL},
                             *const rules[] = {"csv", "!segwit", "taproot", NULL},
                             *const signet_rules[] = {"csv", "!segwit", "!signet", "taproot", NULL};
    static const uint8_t commitment[6] = {0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed};
    struct node *node = call->node;
    struct buf *out = &call->out, script = {0};
    const struct buf *challenge = &node->params->signet_challenge;
    struct block_template *t = template_new(node->chain, node->mempool, span_of(NULL, 0), true, node->now);
    miner_assembled(node, t);
    buf_bytes(&script, commitment, sizeof commitment);
    buf_bytes(&script, t->commitment.b, 32);
    put_open(out, NULL, '{');
    put_words(out, "capabilities", capabilities);
    put_int(out, "version", t->header.version);
    put_words(out, "rules", challenge->len ? signet_rules : rules);
    put_open(out, "vbavailable", '{');
    put_close(out, '{');
    put_int(out, "vbrequired", 0);
    put_hash(out, "previousblockhash", &t->parent->hash);
    put_transactions(out, node, t);
    put_open(out, "coinbaseaux", '{');
    put_close(out, '{');
    put_int(out, "coinbasevalue", t->subsidy.sat + t->fees.sat);
    put_limits(out, node, t);
    if (challenge->len) {
        put_hex(out, "signet_challenge", buf_span(challenge));
    }
    put_hex(out, "default_witness_commitment", buf_span(&script));
    put_close(out, '{');
    buf_free(&script);
    template_free(t);
    rpc_ok(call);
}

/* ---- The request -------------------------------------------------------------------------------------- */

static bool has_rule(const json_t *request, const char *name)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(request, "rules"), i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Without a connection, or while it catches up, a node of the main chain has nothing to give. */
static bool is_ready(struct rpc_call *call)
{
    const struct node *node = call->node;
    if (node->params->kind == CHAIN_MAIN && !p2p_peer_count(node->p2p, NULL)) {
        rpc_fail(call, RPC_CLIENT_NOT_CONNECTED, "The node is not connected!");
    } else if (node->params->kind == CHAIN_MAIN && !node_synced(node)) {
        rpc_fail(call, RPC_CLIENT_IN_INITIAL_DOWNLOAD,
                 "The node is in initial sync and waiting for blocks...");
    } else {
        return true;
    }
    return false;
}

static bool rules_are_met(struct rpc_call *call, const json_t *request)
{
    if (call->node->params->signet_challenge.len && !has_rule(request, "signet")) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "getblocktemplate must be called with the signet rule set (call with "
                 "{\"rules\": [\"segwit\", \"signet\"]})");
        return false;
    }
    if (!has_rule(request, "segwit")) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "getblocktemplate must be called with the segwit rule set (call with "
                 "{\"rules\": [\"segwit\"]})");
        return false;
    }
    return true;
}

/* What the template had that the caller holds: the tip's hash and the mempool's number. */
static bool read_longpollid(struct rpc_call *call, const char *text)
{
    char hash[HASH256_TEXT];
    snprintf(hash, sizeof hash, "%s", text);
    if (strlen(text) < HASH256_TEXT || !hash256_parse(&call->hash, hash)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "longpollid is not one of ours (not '%.100s')", text);
        return false;
    }
    call->sequence = strtoull(text + HASH256_TEXT - 1, NULL, 10);
    return true;
}

/* ---- A proposal (BIP23) -------------------------------------------------------------------------------- */

static void proposal_is_judged(void *context, const struct error *error)
{
    struct rpc_call *call = context;
    if (error) {
        put_text(&call->out, NULL, *error->word ? error->word : "rejected");
    }
    rpc_ok(call);
}

static void judge_proposal(struct rpc_call *call, const json_t *data)
{
    struct node *node = call->node;
    struct buf raw = {0};
    if (!json_is_string(data)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Missing data String key for proposal");
        return;
    }
    if (hex_decode_buf(&raw, json_string_value(data), BLOCK_SERIALIZED_MAX)) {
        call->block = block_parse(raw.data, raw.len, NULL); /* takes the bytes over */
    } else {
        buf_free(&raw);
    }
    if (!call->block) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Block decode failed");
        return;
    }
    const struct block_entry *known = chain_find(node->chain, &call->block->hash);
    if (known) {
        rpc_put_known(call, known);
        rpc_ok(call);
    } else {
        chain_test_block(node->chain, call->block, node->now, proposal_is_judged, call);
    }
}

RPC_HANDLER(getblocktemplate)
{
    const json_t *request = arg_any(call, 0);
    if (request && !json_is_object(request)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type object");
        return;
    }
    const json_t *mode = json_object_get(request, "mode"), *poll = json_object_get(request, "longpollid");
    bool mode_known = !mode || json_is_null(mode) ||
                      (json_is_string(mode) && strcmp(json_string_value(mode), "template") == 0);
    if (json_is_string(mode) && strcmp(json_string_value(mode), "proposal") == 0) {
        judge_proposal(call, json_object_get(request, "data"));
        return;
    }
    if (!mode_known) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid mode");
        return;
    }
    if (!is_ready(call) || !rules_are_met(call, request)) {
        return;
    }
    if (!json_is_string(poll)) {
        rpc_show_template(call);
    } else if (read_longpollid(call, json_string_value(poll))) {
        rpc_wait_for_template(call, POOL_AFTER_US);
    }
}

bool rpc_template_is_due(struct rpc_call *call)
{
    struct mempool_info info;
    if (!hash256_equal(&chain_tip(call->node->chain)->hash, &call->hash)) {
        return true;
    }
    if (call->wait_until_us > call->node->now.mono_us) {
        return false;
    }
    call->wait_until_us = call->node->now.mono_us + POOL_EVERY_US;
    mempool_info(call->node->mempool, &info);
    return info.sequence != call->sequence;
}

/* ---- submitheader ------------------------------------------------------------------------------------- */

RPC_HANDLER(submitheader)
{
    struct node *node = call->node;
    const char *hex = "";
    struct buf raw = {0};
    struct block_header header;
    struct error error = {0};
    if (!arg_text(call, 0, &hex)) {
        return;
    }
    bool decoded = hex_decode_buf(&raw, hex, HEADER_BYTES) && raw.len == HEADER_BYTES;
    if (decoded) {
        struct cursor c = cursor_of(raw.data, raw.len);
        header_read(&header, &c);
    }
    buf_free(&raw);
    if (!decoded) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Block header decode failed");
    } else if (!chain_find(node->chain, &header.prev_hash)) {
        char text[HASH256_TEXT];
        rpc_fail(call, RPC_VERIFY_ERROR, "Must submit previous header (%s) first",
                 hash256_text(text, &header.prev_hash));
    } else if (!chain_accept_header(node->chain, &header, node->now, NULL, NULL, &error)) {
        rpc_fail(call, RPC_VERIFY_ERROR, "%s", error.word);
    } else {
        rpc_ok(call);
    }
}
