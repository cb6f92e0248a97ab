/* RPC methods about peers and the node as a whole. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define PEERS_SHOWN_MAX 4096u
#define RPC_VERSION     280000 /* clients ask for it to know which RPC this is: Bitcoin Core's of version 28 */

static const char *const networks[P2P_NETWORKS] = {"ipv4", "ipv6", "onion", "i2p", "cjdns"};
#define NETWORKS_SPOKEN 2u /* the first of them */

/* ---- Network ------------------------------------------------------------------------------------------ */

RPC_HANDLER(getconnectioncount)
{
    put_int(&call->out, NULL, (int64_t)p2p_peer_count(call->node->p2p, NULL));
    rpc_ok(call);
}

static void put_services(struct buf *out, const char *key, const char *names_key, uint64_t services)
{
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, services);
    put_text(out, key, hex);
    put_open(out, names_key, '[');
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {
        {1, "NETWORK"},  {4, "BLOOM"}, {8, "WITNESS"}, {64, "COMPACT_FILTERS"}, {1024, "NETWORK_LIMITED"},
        {2048, "P2P_V2"}};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (services & names[i].bit) {
            put_text(out, NULL, names[i].name);
        }
    }
    put_close(out, '[');
}

static void put_network(struct buf *out, const char *name, bool reachable)
{
    put_open(out, NULL, '{');
    put_text(out, "name", name);
    put_yes(out, "limited", !reachable);
    put_yes(out, "reachable", reachable);
    put_text(out, "proxy", "");
    put_yes(out, "proxy_randomize_credentials", false);
    put_close(out, '{');
}

RPC_HANDLER(getnetworkinfo)
{
    struct node *node = call->node;
    struct buf *out = &call->out;
    size_t outbound, count = p2p_peer_count(node->p2p, &outbound);
    put_open(out, NULL, '{');
    put_int(out, "version", RPC_VERSION);
    put_text(out, "subversion", node->config.user_agent);
    put_int(out, "protocolversion", P2P_VERSION);
    put_services(out, "localservices", "localservicesnames", P2P_SERVICES);
    put_yes(out, "localrelay", !node->config.blocks_only);
    put_int(out, "timeoffset", 0);
    put_yes(out, "networkactive", p2p_is_active(node->p2p));
    put_int(out, "connections", (int64_t)count);
    put_int(out, "connections_in", (int64_t)(count - outbound));
    put_int(out, "connections_out", (int64_t)outbound);
    put_open(out, "networks", '[');
    for (size_t i = 0; i < ARRAY_COUNT(networks); i++) {
        put_network(out, networks[i], i < NETWORKS_SPOKEN);
    }
    put_close(out, '[');
    struct p2p_compact_stats compact;
    p2p_compact_stats(node->p2p, &compact);
    put_open(out, "compactblocks", '{');
    put_int(out, "received", (int64_t)compact.received);
    put_int(out, "complete", (int64_t)compact.at_once);
    put_int(out, "transactions_asked", (int64_t)compact.asked);
    put_int(out, "fell_back", (int64_t)compact.fell_back);
    put_int(out, "sent", (int64_t)compact.sent);
    put_close(out, '{');
    put_amount(out, "relayfee", 1000);
    put_amount(out, "incrementalfee", 1000);
    put_open(out, "localaddresses", '[');
    put_close(out, '[');
    put_open(out, "warnings", '[');
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

void put_latency(struct buf *out, const char *key, const struct p2p_latency *latency)
{
    put_open(out, key, '{');
    for (size_t hop = 0; hop < P2P_HOPS; hop++) {
        const struct p2p_histogram *h = &latency->hops[hop];
        put_open(out, p2p_hop_names[hop], '{');
        put_int(out, "count", (int64_t)h->count);
        put_int(out, "sum_us", h->sum_us);
        put_int(out, "p50_us", p2p_latency_quantile(h, 0.5));
        put_int(out, "p99_us", p2p_latency_quantile(h, 0.99));
        put_int(out, "max_us", h->max_us);
        put_open(out, "buckets", '[');
        for (size_t i = 0; i < P2P_LATENCY_BUCKETS; i++) {
            put_int(out, NULL, h->buckets[i]);
        }
        put_close(out, '[');
        put_close(out, '{');
    }
    put_close(out, '{');
}

static void put_block_times(struct buf *out, const struct p2p_block_times *times)
{
    put_open(out, NULL, '{');
    put_hash(out, "hash", &times->hash);
    put_int(out, "height", times->height);
    put_text(out, "from", *times->address ? times->address : "here");
    put_yes(out, "compact", times->compact);
    put_int(out, "transactions", times->tx_count);
    put_int(out, "bytes", times->bytes);
    put_int(out, "first_byte_mono_us", times->first_us);
    for (size_t hop = 0; hop < P2P_HOPS; hop++) {
        int64_t from = hop == HOP_RECEIVED ? times->first_us : times->at_us[HOP_RECEIVED];
        if (times->at_us[hop]) {
            char key[32];
            snprintf(key, sizeof key, "%s_us", p2p_hop_names[hop]);
            put_int(out, key, times->at_us[hop] - from);
        }
    }
    put_close(out, '{');
}

RPC_HANDLER(getlatency)
{
    struct buf *out = &call->out;
    struct p2p_latency latency;
    struct p2p_block_times *times = mem_alloc(P2P_BLOCK_TIMES * sizeof *times);
    size_t count = p2p_block_times(call->node->p2p, times, P2P_BLOCK_TIMES);
    p2p_latency(call->node->p2p, &latency);
    put_open(out, NULL, '{');
    put_open(out, "bounds_us", '[');
    for (size_t i = 0; i < P2P_LATENCY_BUCKETS - 1; i++) {
        put_int(out, NULL, p2p_latency_bounds_us[i]);
    }
    put_close(out, '[');
    put_latency(out, "all", &latency);
    put_open(out, "blocks", '[');
    for (size_t i = 0; i < count; i++) {
        put_block_times(out, &times[i]);
    }
    put_close(out, '[');
    put_close(out, '{');
    mem_free(times);
    rpc_ok(call);
}

static void put_bytes_by_type(struct buf *out, const char *key, const uint64_t bytes[P2P_MESSAGE_TYPES])
{
    put_open(out, key, '{');
    for (size_t i = 0; i < P2P_MESSAGE_TYPES; i++) {
        if (bytes[i]) {
            put_int(out, p2p_message_name(i), (int64_t)bytes[i]);
        }
    }
    put_close(out, '{');
}

static void put_permissions(struct buf *out, uint32_t permissions)
{
    put_open(out, "permissions", '[');
    for (uint32_t flag = 1; flag & P2P_PERMIT_ALL; flag <<= 1) {
        if (permissions & flag) {
            put_text(out, NULL, p2p_permission_name(flag));
        }
    }
    put_close(out, '[');
}

/* How far it has shown its chain, and what we have of it. */
static void put_progress(struct buf *out, const struct p2p_peer_info *p)
{
    put_int(out, "startingheight", p->start_height);
    put_int(out, "presynced_headers", -1);
    put_int(out, "synced_headers", p->synced_headers);
    put_int(out, "synced_blocks", p->synced_blocks);
    put_open(out, "inflight", '[');
    for (uint32_t i = 0; i < p->blocks_in_flight; i++) {
        put_int(out, NULL, p->in_flight[i]);
    }
    put_close(out, '[');
}

static void put_times(struct buf *out, const struct p2p_peer_info *p)
{
    put_int(out, "lastsend", p->last_send_unix_s);
    put_int(out, "lastrecv", p->last_receive_unix_s);
    put_int(out, "last_transaction", p->last_tx_unix_s);
    put_int(out, "last_block", p->last_block_unix_s);
    put_int(out, "bytessent", (int64_t)p->bytes_sent);
    put_int(out, "bytesrecv", (int64_t)p->bytes_received);
    put_int(out, "conntime", p->connected_unix_s);
    put_int(out, "timeoffset", p->time_offset_s);
    if (p->ping_us >= 0) {
        put_real(out, "pingtime", (double)p->ping_us / 1e6);
        put_real(out, "minping", (double)p->min_ping_us / 1e6);
    }
    if (p->ping_wait_us > 0) {
        put_real(out, "pingwait", (double)p->ping_wait_us / 1e6);
    }
}

static void put_peer(struct buf *out, const struct p2p_peer_info *p)
{
    put_open(out, NULL, '{');
    put_int(out, "id", p->id);
    put_text(out, "addr", p->address);
    if (*p->node) {
        put_text(out, "node", p->node);
    }
    put_text(out, "network", p->network);
    put_services(out, "services", "servicesnames", p->services);
    put_yes(out, "relaytxes", p->wants_txs);
    put_times(out, p);
    put_int(out, "version", p->version);
    put_text(out, "subver", p->user_agent);
    put_yes(out, "inbound", p->inbound);
    put_yes(out, "bip152_hb_to", p->compact_to);
    put_yes(out, "bip152_hb_from", p->compact_from);
    put_progress(out, p);
    put_yes(out, "addr_relay_enabled", p->wants_addrs);
    put_int(out, "addr_processed", (int64_t)p->addrs_processed);
    put_int(out, "addr_rate_limited", (int64_t)p->addrs_limited);
    put_permissions(out, p->permissions);
    put_amount(out, "minfeefilter", p->fee_filter_sat);
    put_bytes_by_type(out, "bytessent_per_msg", p->sent_by_type);
    put_bytes_by_type(out, "bytesrecv_per_msg", p->received_by_type);
    put_text(out, "connection_type", p->connection_type);
    put_text(out, "transport_protocol_type", "v1");
    put_text(out, "session_id", "");
    put_latency(out, "block_latency", &p->latency);
    put_close(out, '{');
}

RPC_HANDLER(getpeerinfo)
{
    struct p2p_peer_info *peers = mem_alloc(PEERS_SHOWN_MAX * sizeof *peers);
    size_t count = p2p_peers(call->node->p2p, peers, PEERS_SHOWN_MAX);
    put_open(&call->out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        put_peer(&call->out, &peers[i]);
    }
    put_close(&call->out, '[');
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

RPC_HANDLER(getaddednodeinfo)
{
    struct p2p_node_info nodes[128];
    const char *name = NULL;
    struct buf *out = &call->out;
    bool found = false;
    if (!arg_text(call, 0, &name)) {
        return;
    }
    size_t count = p2p_nodes(call->node->p2p, nodes, ARRAY_COUNT(nodes));
    put_open(out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        if (name && strcmp(name, nodes[i].node) != 0) {
            continue;
        }
        found = true;
        put_open(out, NULL, '{');
        put_text(out, "addednode", nodes[i].node);
        put_yes(out, "connected", *nodes[i].address);
        put_open(out, "addresses", '[');
        if (*nodes[i].address) {
            put_open(out, NULL, '{');
            put_text(out, "address", nodes[i].address);
            put_text(out, "connected", "outbound");
            put_close(out, '{');
        }
        put_close(out, '[');
        put_close(out, '{');
    }
    put_close(out, '[');
    if (name && !found) {
        rpc_fail(call, RPC_CLIENT_NODE_NOT_ADDED, "Error: Node has not been added.");
    } else {
        rpc_ok(call);
    }
}

RPC_HANDLER(getnettotals)
{
    const struct node *node = call->node;
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_int(out, "totalbytesrecv", (int64_t)node->bytes_received);
    put_int(out, "totalbytessent", (int64_t)node->bytes_sent);
    put_int(out, "timemillis", node->now.unix_us / 1000);
    put_open(out, "uploadtarget", '{');
    put_int(out, "timeframe", 86400);
    put_int(out, "target", 0);
    put_yes(out, "target_reached", false);
    put_yes(out, "serve_historical_blocks", true);
    put_int(out, "bytes_left_in_cycle", 0);
    put_int(out, "time_left_in_cycle", 0);
    put_close(out, '{');
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(setnetworkactive)
{
    bool active = true;
    if (arg_bool(call, 0, &active)) {
        p2p_set_active(call->node->p2p, active, call->node->now);
        put_yes(&call->out, NULL, active);
        rpc_ok(call);
    }
}

static bool is_network(const char *name)
{
    bool known = false;
    for (size_t i = 0; i < ARRAY_COUNT(networks); i++) {
        known |= strcmp(networks[i], name) == 0;
    }
    return known;
}

RPC_HANDLER(getnodeaddresses)
{
    int64_t wanted = 1;
    const char *network = NULL;
    struct buf *out = &call->out;
    if (!arg_number(call, 0, &wanted, INT32_MIN, INT32_MAX) || !arg_text(call, 1, &network)) {
        return;
    }
    if (wanted < 0 || (network && !is_network(network))) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 wanted < 0 ? "Address count out of range" : "Network not recognized: %s",
                 network ? network : "");
        return;
    }
    struct p2p_address_info *found = mem_alloc(P2P_ADDRESSES_MAX * sizeof *found);
    size_t count = p2p_addresses(call->node->p2p, found, P2P_ADDRESSES_MAX);
    int64_t left = wanted ? wanted : INT64_MAX; /* 0: all */
    put_open(out, NULL, '[');
    for (size_t i = 0; i < count && left; i++) {
        const char *name = networks[found[i].network];
        if (!network || strcmp(name, network) == 0) {
            put_open(out, NULL, '{');
            put_int(out, "time", found[i].seen_unix_s);
            put_int(out, "services", (int64_t)found[i].services);
            put_text(out, "address", found[i].address);
            put_int(out, "port", found[i].port);
            put_text(out, "network", name);
            put_close(out, '{');
            left--;
        }
    }
    put_close(out, '[');
    mem_free(found);
    rpc_ok(call);
}

static void put_places(struct buf *out, const struct p2p *p2p, const char *table, bool tried)
{
    struct p2p_place_info place;
    put_open(out, table, '{');
    for (size_t at = 0; p2p_next_place(p2p, &at, &place);) {
        if (place.tried == tried) {
            char key[32];
            snprintf(key, sizeof key, "%" PRIu32 "/%" PRIu32, place.bucket, place.slot);
            put_open(out, key, '{');
            put_text(out, "address", place.address.address);
            put_int(out, "port", place.address.port);
            put_text(out, "network", networks[place.address.network]);
            put_int(out, "services", (int64_t)place.address.services);
            put_int(out, "time", place.address.seen_unix_s);
            put_text(out, "source", place.source);
            put_text(out, "source_network", networks[place.source_ipv6]);
            put_close(out, '{');
        }
    }
    put_close(out, '{');
}

RPC_HANDLER(getrawaddrman)
{
    put_open(&call->out, NULL, '{');
    put_places(&call->out, call->node->p2p, "new", false);
    put_places(&call->out, call->node->p2p, "tried", true);
    put_close(&call->out, '{');
    rpc_ok(call);
}

RPC_HANDLER(addconnection)
{
    struct node *node = call->node;
    const char *address = "", *type = "";
    struct error error = {0};
    bool v2 = false;
    if (node->params->kind != CHAIN_REGTEST) {
        rpc_fail(call, RPC_MISC_ERROR, "addconnection is for regression testing (-regtest mode) only.");
        return;
    }
    if (!arg_text(call, 0, &address) || !arg_text(call, 1, &type) || !arg_bool(call, 2, &v2)) {
        return;
    }
    if (v2) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "Error: Adding v2transport connections requires -v2transport init flag to be set.");
    } else if (!p2p_try_as(node->p2p, address, type, node->now, &error)) {
        bool full = error.kind == ERROR_LIMIT;
        rpc_fail(call, full ? RPC_CLIENT_NODE_CAPACITY_REACHED : RPC_INVALID_PARAMETER, "%s",
                 full ? "Error: Already at capacity for specified connection type." : error.text);
    } else {
        put_open(&call->out, NULL, '{');
        put_text(&call->out, "address", address);
        put_text(&call->out, "connection_type", type);
        put_close(&call->out, '{');
        rpc_ok(call);
    }
}

static void put_address_count(struct buf *out, const char *network, const struct p2p_address_count *count)
{
    put_open(out, network, '{');
    put_int(out, "new", (int64_t)count->fresh);
    put_int(out, "tried", (int64_t)count->tried);
    put_int(out, "total", (int64_t)(count->fresh + count->tried));
    put_close(out, '{');
}

RPC_HANDLER(getaddrmaninfo)
{
    struct p2p_address_count counts[ARRAY_COUNT(networks)] = {{0}}, all = {0};
    p2p_count_addresses(call->node->p2p, counts);
    put_open(&call->out, NULL, '{');
    for (size_t i = 0; i < ARRAY_COUNT(networks); i++) {
        put_address_count(&call->out, networks[i], &counts[i]);
        all.fresh += counts[i].fresh;
        all.tried += counts[i].tried;
    }
    put_address_count(&call->out, "all_networks", &all);
    put_close(&call->out, '{');
    rpc_ok(call);
}

RPC_HANDLER(addpeeraddress)
{
    const char *ip = "";
    int64_t port = 0;
    bool tried = false;
    if (!arg_text(call, 0, &ip) || !arg_number(call, 1, &port, 0, UINT16_MAX) || !arg_bool(call, 2, &tried)) {
        return;
    }
    bool added = p2p_add_address(call->node->p2p, ip, (uint16_t)port, tried, call->node->now);
    put_open(&call->out, NULL, '{');
    put_yes(&call->out, "success", added);
    put_close(&call->out, '{');
    rpc_ok(call);
}

RPC_HANDLER(ping)
{
    p2p_ping_all(call->node->p2p, call->node->now);
    rpc_ok(call);
}

RPC_HANDLER(disconnectnode)
{
    const char *address = "";
    int64_t id = 0;
    if (!arg_text(call, 0, &address) || !arg_number(call, 1, &id, INT64_MIN, INT64_MAX)) {
        return;
    }
    if ((*address != 0) == (arg_any(call, 1) != NULL)) {
        rpc_fail(call, RPC_INVALID_PARAMS, "Only one of address and nodeid should be provided.");
    } else if (id >= 0 && id <= UINT32_MAX && p2p_disconnect(call->node->p2p, address, (peer_id)id)) {
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes");
    }
}

#define BAN_S 86400

static void ban_answer(struct rpc_call *call, bool ok, const struct error *error)
{
    if (ok) {
        saved_bans(call->node);
        rpc_ok(call);
    } else {
        rpc_fail(call,
                 error->kind == ERROR_DUPLICATE ? RPC_CLIENT_NODE_ALREADY_ADDED
                 : error->kind == ERROR_LIMIT   ? RPC_MISC_ERROR
                                                : RPC_CLIENT_INVALID_IP_OR_SUBNET,
                 "%s", error->text);
    }
}

RPC_HANDLER(setban)
{
    const char *subnet = "", *command = "";
    int64_t seconds = 0, now_s = moment_unix_s(call->node->now);
    bool absolute = false;
    struct error error = {0};
    if (!arg_text(call, 0, &subnet) || !arg_text(call, 1, &command) ||
        !arg_number(call, 2, &seconds, INT64_MIN, UINT32_MAX * INT64_C(1000)) ||
        !arg_bool(call, 3, &absolute)) {
        return;
    }
    if (strcmp(command, "remove") == 0) {
        ban_answer(call, p2p_unban(call->node->p2p, subnet, &error), &error);
    } else if (strcmp(command, "add") != 0) {
        rpc_fail(call, RPC_MISC_ERROR, "setban \"subnet\" \"command\" ( bantime absolute )");
    } else if (absolute && seconds < now_s) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Error: Absolute timestamp is in the past");
    } else {
        int64_t until_s = absolute ? seconds : now_s + (seconds > 0 ? seconds : BAN_S);
        ban_answer(call, p2p_ban(call->node->p2p, subnet, until_s, call->node->now, &error), &error);
    }
}

RPC_HANDLER(listbanned)
{
    struct p2p_ban_info *bans = mem_alloc(P2P_BANS_MAX * sizeof *bans);
    size_t count = p2p_bans(call->node->p2p, bans, P2P_BANS_MAX, call->node->now);
    int64_t now_s = moment_unix_s(call->node->now);
    struct buf *out = &call->out;
    put_open(out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        put_open(out, NULL, '{');
        put_text(out, "address", bans[i].subnet);
        put_int(out, "ban_created", bans[i].created_unix_s);
        put_int(out, "banned_until", bans[i].until_unix_s);
        put_int(out, "ban_duration", bans[i].until_unix_s - bans[i].created_unix_s);
        put_int(out, "time_remaining", bans[i].until_unix_s - now_s);
        put_close(out, '{');
    }
    put_close(out, '[');
    mem_free(bans);
    rpc_ok(call);
}

RPC_HANDLER(clearbanned)
{
    p2p_unban_all(call->node->p2p);
    saved_bans(call->node);
    rpc_ok(call);
}

/* ---- The node ----------------------------------------------------------------------------------------- */

RPC_HANDLER(getstatus)
{
    struct node *node = call->node;
    const struct block_entry *tip = chain_tip(node->chain), *since = tip;
    struct buf *out = &call->out;
    size_t outbound, peers = p2p_peer_count(node->p2p, &outbound);
    int64_t now_s = moment_unix_s(node->now), window_s = 600;
    while (since->height > 1 && (int64_t)since->header.time > now_s - window_s) { /* genesis has no say */
        since = since->prev;
    }
    int64_t span_s = MIN(window_s, MAX(now_s - (int64_t)since->header.time, INT64_C(1)));
    put_open(out, NULL, '{');
    put_text(out, "chain", node->params->name);
    put_text(out, "network", node->params->kind == CHAIN_CLUSTER ? node->params->network.name : "");
    put_int(out, "height", tip->height);
    put_hash(out, "tip", &tip->hash);
    put_int(out, "tip_age_s", MAX(now_s - (int64_t)tip->header.time, INT64_C(0)));
    put_real(out, "difficulty", pow_difficulty(tip->header.bits));
    put_yes(out, "synced", node_synced(node));
    put_yes(out, "mining", node->mining.template != NULL && !node->generate.active);
    put_real(out, "hashes_per_s", node->hashes_per_s);
    put_int(out, "hash_threads", node->hash_threads);
    put_text(out, "kernel", node->kernel);
    put_hash_workers(out, node);
    struct p2p_latency latency;
    p2p_latency(node->p2p, &latency);
    put_latency(out, "block_latency", &latency);
    put_real(out, "blocks_per_minute", (double)(tip->height - since->height) * 60.0 / (double)span_s);
    put_int(out, "blocks_found", (int64_t)node->mining.blocks_found);
    put_int(out, "peers", (int64_t)peers);
    put_int(out, "peers_out", (int64_t)outbound);
    put_int(out, "mempool", (int64_t)mempool_count(node->mempool));
    put_int(out, "transactions", (int64_t)tip->chain_tx);
    put_int(out, "uptime_s", (node->now.mono_us - node->started_us) / 1000000);
    put_text(out, "mining_address", node->config.payout_address ? node->config.payout_address : "");
    put_close(out, '{');
    rpc_ok(call);
}
