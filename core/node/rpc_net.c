/* RPC methods about peers, mining and the node as a whole. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define PEERS_SHOWN_MAX 4096u
#define DEFAULT_TRIES   INT64_C(1000000)

/* ---- Network
 * -------------------------------------------------------------------------------------------------- */

RPC_HANDLER(getconnectioncount)
{
    json_int(&call->out, NULL, (int64_t)p2p_peer_count(call->node->p2p, NULL));
    rpc_ok(call);
}

static void json_services(struct buf *out, const char *key, const char *names_key, uint64_t services)
{
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, services);
    json_text(out, key, hex);
    json_open(out, names_key, '[');
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {
        {1, "NETWORK"},  {4, "BLOOM"}, {8, "WITNESS"}, {64, "COMPACT_FILTERS"}, {1024, "NETWORK_LIMITED"},
        {2048, "P2P_V2"}};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (services & names[i].bit) {
            json_text(out, NULL, names[i].name);
        }
    }
    json_close(out, '[');
}

RPC_HANDLER(getnetworkinfo)
{
    struct node *node = call->node;
    struct buf *out = &call->out;
    size_t outbound, count = p2p_peer_count(node->p2p, &outbound);
    json_open(out, NULL, '{');
    json_int(out, "version", 100);
    json_text(out, "subversion", node->config.user_agent);
    json_int(out, "protocolversion", P2P_VERSION);
    json_services(out, "localservices", "localservicesnames", 9);
    json_yes(out, "localrelay", true);
    json_int(out, "timeoffset", 0);
    json_yes(out, "networkactive", true);
    json_int(out, "connections", (int64_t)count);
    json_int(out, "connections_in", (int64_t)(count - outbound));
    json_int(out, "connections_out", (int64_t)outbound);
    json_open(out, "networks", '[');
    json_close(out, '[');
    json_amount(out, "relayfee", 1000);
    json_amount(out, "incrementalfee", 1000);
    json_open(out, "localaddresses", '[');
    json_close(out, '[');
    json_open(out, "warnings", '[');
    if (*node->warning) {
        json_text(out, NULL, node->warning);
    }
    json_close(out, '[');
    json_close(out, '{');
    rpc_ok(call);
}

static void json_peer(struct buf *out, const struct p2p_peer_info *p)
{
    json_open(out, NULL, '{');
    json_int(out, "id", p->id);
    json_text(out, "addr", p->address);
    if (*p->node) {
        json_text(out, "node", p->node);
    }
    json_text(out, "network", "ipv4");
    json_services(out, "services", "servicesnames", p->services);
    json_yes(out, "relaytxes", p->handshake_done);
    json_int(out, "lastsend", p->last_send_unix_s);
    json_int(out, "lastrecv", p->last_receive_unix_s);
    json_int(out, "bytessent", (int64_t)p->bytes_sent);
    json_int(out, "bytesrecv", (int64_t)p->bytes_received);
    json_int(out, "conntime", p->connected_unix_s);
    json_int(out, "timeoffset", 0);
    if (p->ping_us >= 0) {
        json_real(out, "pingtime", (double)p->ping_us / 1e6);
        json_real(out, "minping", (double)p->min_ping_us / 1e6);
    }
    json_int(out, "version", p->version);
    json_text(out, "subver", p->user_agent);
    json_yes(out, "inbound", p->inbound);
    json_yes(out, "bip152_hb_to", false);
    json_yes(out, "bip152_hb_from", false);
    json_int(out, "startingheight", p->start_height);
    json_int(out, "synced_headers", p->synced_headers);
    json_int(out, "synced_blocks", p->synced_blocks);
    json_int(out, "blocks_in_flight", p->blocks_in_flight);
    json_amount(out, "minfeefilter", p->fee_filter_sat);
    json_text(out, "connection_type", p->inbound ? "inbound" : "manual");
    json_text(out, "transport_protocol_type", "v1");
    json_text(out, "session_id", "");
    json_close(out, '{');
}

RPC_HANDLER(getpeerinfo)
{
    struct p2p_peer_info *peers = mem_alloc(PEERS_SHOWN_MAX * sizeof *peers);
    size_t count = p2p_peers(call->node->p2p, peers, PEERS_SHOWN_MAX);
    json_open(&call->out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        json_peer(&call->out, &peers[i]);
    }
    json_close(&call->out, '[');
    mem_free(peers);
    rpc_ok(call);
}

RPC_HANDLER(addnode)
{
    struct node *node = call->node;
    const char *name = "", *command = "";
    struct error error = {0};
    bool ok = false;
    if (!arg_text(call, 0, &name) || !arg_text(call, 1, &command)) {
        return;
    }
    if (strcmp(command, "add") == 0) {
        ok = p2p_add_node(node->p2p, name, node->now, &error);
    } else if (strcmp(command, "onetry") == 0) {
        ok = p2p_try_once(node->p2p, name, node->now, &error);
    } else if (strcmp(command, "remove") == 0) {
        ok = p2p_remove_node(node->p2p, name) ||
             error_set(&error, ERROR_MISSING, NULL,
                       "Error: Node could not be removed. It has not been added previously.");
    } else {
        rpc_fail(call, RPC_MISC_ERROR, "addnode \"node\" \"add|remove|onetry\"");
        return;
    }
    if (ok) {
        rpc_ok(call);
    } else if (error.kind == ERROR_DUPLICATE) {
        rpc_fail(call, RPC_CLIENT_NODE_ALREADY_ADDED, "Error: Node already added");
    } else {
        rpc_fail(call, error.kind == ERROR_MISSING ? RPC_CLIENT_NODE_NOT_ADDED : RPC_INVALID_PARAMETER, "%s",
                 error.text);
    }
}

RPC_HANDLER(disconnectnode)
{
    const char *address = "";
    int64_t id = 0;
    if (!arg_text(call, 0, &address) || !arg_number(call, 1, &id, 0, UINT32_MAX)) {
        return;
    }
    if ((*address != 0) == (arg_any(call, 1) != NULL)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "Only one of address and nodeid should be provided.");
    } else if (p2p_disconnect(call->node->p2p, address, (peer_id)id)) {
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes");
    }
}

/* ---- Mining
 * ------------------------------------------------------------------------------------------------------ */

RPC_HANDLER(getnetworkhashps)
{
    const struct chain *chain = call->node->chain;
    int64_t blocks = 120, height = -1;
    if (!arg_number(call, 0, &blocks, -1, INT32_MAX) || !arg_number(call, 1, &height, -1, INT32_MAX)) {
        return;
    }
    const struct block_entry *entry = height < 0 ? chain_tip(chain) : chain_at(chain, (uint32_t)height);
    if (!entry) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Block does not exist at specified height");
        return;
    }
    json_real(&call->out, NULL,
              network_hashes_per_s(entry, blocks <= 0 ? entry->height % 2016 + 1 : (uint32_t)blocks));
    rpc_ok(call);
}

RPC_HANDLER(getmininginfo)
{
    struct node *node = call->node;
    const struct block_entry *tip = chain_tip(node->chain);
    struct buf *out = &call->out;
    struct mempool_info info;
    mempool_info(node->mempool, &info);
    json_open(out, NULL, '{');
    json_int(out, "blocks", tip->height);
    if (node->mining.template) {
        json_int(out, "currentblockweight", node->mining.template->weight);
        json_int(out, "currentblocktx", node->mining.template->tx_count);
    }
    json_real(out, "difficulty", pow_difficulty(tip->header.bits));
    json_real(out, "networkhashps", network_hashes_per_s(tip, 120));
    json_int(out, "pooledtx", (int64_t)info.count);
    json_text(out, "chain", node->params->rpc_name);
    json_yes(out, "mining", node->mining.template != NULL);
    json_real(out, "hashespersec", node->hashes_per_s);
    json_int(out, "threads", node->hash_threads);
    json_text(out, "kernel", node->kernel);
    json_int(out, "blocksfound", (int64_t)node->mining.blocks_found);
    json_open(out, "warnings", '[');
    if (*node->warning) {
        json_text(out, NULL, node->warning);
    }
    json_close(out, '[');
    json_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(generatetoaddress)
{
    struct buf script = {0};
    struct error error = {0};
    int64_t blocks = 0, tries = DEFAULT_TRIES;
    bool spot = call->node->params->kind == CHAIN_REGTEST;
    if (!spot) {
        tries = INT64_MAX; /* the deadline bounds it */
    }
    if (!arg_number(call, 0, &blocks, 0, 100000) || !arg_number(call, 2, &tries, 0, INT64_MAX)) {
        return;
    }
    if (!arg_script(call, 1, &script)) {
        buf_free(&script);
        return;
    }
    if (!generate_begin(call->node, buf_span(&script), (uint32_t)blocks, (uint64_t)tries, call, &error)) {
        rpc_fail(call, RPC_MISC_ERROR, "%s", error.text);
    }
    buf_free(&script);
}

void rpc_generated(struct node *node, void *context, const struct buf *hashes, const char *why_fewer)
{
    struct rpc_call *call = context;
    if (why_fewer) {
        log_info(LOG_RPC, "generatetoaddress ends with %zu blocks: %s", hashes->len / 32, why_fewer);
    }
    json_open(&call->out, NULL, '[');
    for (size_t at = 0; at < hashes->len; at += 32) {
        struct hash256 hash;
        memcpy(hash.b, hashes->data + at, 32);
        json_hash(&call->out, NULL, &hash);
    }
    json_close(&call->out, '[');
    if (!hashes->len || node->stopping) {
        rpc_ok(call);
    } else {
        rpc_ok_when_on_disk(call);
    }
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
        json_text(&call->out, NULL,
                  known->status & BLOCK_VALID ? "duplicate"
                  : known->status & BLOCK_BAD ? "duplicate-invalid"
                                              : "duplicate-inconclusive");
        rpc_ok(call);
    } else if (!chain_accept_block(node->chain, block, node->now, true, call->source, &error)) {
        json_text(&call->out, NULL, error.word);
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
            json_text(&call->out, NULL, error->word);
            rpc_ok(call);
        } else if (connected) {
            rpc_ok_when_on_disk(call);
        } else {
            json_text(&call->out, NULL, "inconclusive");
            rpc_ok(call);
        }
        return;
    }
}

/* ---- The node
 * ---------------------------------------------------------------------------------------------------- */

RPC_HANDLER(getstatus)
{
    struct node *node = call->node;
    const struct block_entry *tip = chain_tip(node->chain), *since = tip;
    struct buf *out = &call->out;
    size_t outbound, peers = p2p_peer_count(node->p2p, &outbound);
    int64_t now_s = moment_unix_s(node->now), window_s = 600;
    while (since->prev && (int64_t)since->header.time > now_s - window_s) {
        since = since->prev;
    }
    int64_t span_s = MIN(window_s, MAX((node->now.mono_us - node->started_us) / 1000000, INT64_C(1)));
    span_s = MAX(span_s, MIN(window_s, now_s - (int64_t)since->header.time));
    json_open(out, NULL, '{');
    json_text(out, "chain", node->params->name);
    json_text(out, "network", node->params->kind == CHAIN_CLUSTER ? node->params->network.name : "");
    json_int(out, "height", tip->height);
    json_hash(out, "tip", &tip->hash);
    json_int(out, "tip_age_s", MAX(now_s - (int64_t)tip->header.time, INT64_C(0)));
    json_real(out, "difficulty", pow_difficulty(tip->header.bits));
    json_yes(out, "synced", node_synced(node));
    json_yes(out, "mining", node->mining.template != NULL && !node->generate.active);
    json_real(out, "hashes_per_s", node->hashes_per_s);
    json_int(out, "hash_threads", node->hash_threads);
    json_text(out, "kernel", node->kernel);
    json_real(out, "blocks_per_minute", (double)(tip->height - since->height) * 60.0 / (double)span_s);
    json_int(out, "blocks_found", (int64_t)node->mining.blocks_found);
    json_int(out, "peers", (int64_t)peers);
    json_int(out, "peers_out", (int64_t)outbound);
    json_int(out, "mempool", (int64_t)mempool_count(node->mempool));
    json_int(out, "uptime_s", (node->now.mono_us - node->started_us) / 1000000);
    json_text(out, "mining_address", node->config.payout_address ? node->config.payout_address : "");
    json_text(out, "warning", node->warning);
    json_close(out, '{');
    rpc_ok(call);
}
