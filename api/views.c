/* Chain, transactions and mining as the contract shows them: questions to the node, its answers in new words.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_private.h"

#define LIMIT_MAX  100
#define BLOCKS_MAX INT64_C(1000)

/* ---- Arguments ----------------------------------------------------------------------------------------- */

enum found query_find(struct span query, const char *name, int64_t *out, int64_t least, int64_t most)
{
    enum found found = FOUND_NOT;
    char copy[256];
    snprintf(copy, sizeof copy, "%.*s", (int)MIN(query.len, sizeof copy - 1), (const char *)query.data);
    char *rest = copy;
    for (char *pair; found != FOUND_WRONG && (pair = strsep(&rest, "&"));) {
        size_t len = strcspn(pair, "=");
        if (!pair[len] || len != strlen(name) || memcmp(pair, name, len) != 0) {
            continue;
        }
        const char *value = pair + len + 1;
        char *end;
        long long number = strtoll(value, &end, 10);
        bool digits = *value >= '0' && *value <= '9' && !*end && strlen(value) <= 10;
        found = digits && number >= least && number <= most ? FOUND : FOUND_WRONG;
        *out = found == FOUND ? number : *out;
    }
    return found;
}

/* A whole number of the query; false: answered 400. */
static bool query_number(struct exchange *x, const char *name, int64_t *out, int64_t least, int64_t most)
{
    const h2o_req_t *req = x->req;
    struct span query = span_of(NULL, 0);
    if (req->query_at != SIZE_MAX) {
        query = span_of(req->path.base + req->query_at + 1, req->path.len - req->query_at - 1);
    }
    if (query_find(query, name, out, least, most) != FOUND_WRONG) {
        return true;
    }
    reply_error(x, 400, "bad_query", "%s must be a whole number from %lld to %lld.", name, (long long)least,
                (long long)most);
    return false;
}

static bool hash_ok(struct exchange *x, const char *what)
{
    struct hash256 hash;
    if (strlen(x->param) == 64 && hash256_parse(&hash, x->param)) {
        for (char *c = x->param; *c; c++) {
            *c = *c >= 'A' && *c <= 'F' ? (char)(*c + 32) : *c;
        }
        return true;
    }
    reply_error(x, 400, "bad_hash", "A %s is 64 hexadecimal digits.", what);
    return false;
}

bool address_ok(struct exchange *x, const char *address)
{
    struct buf script = {0};
    struct error error = {0};
    bool ok = address_to_script(&script, address, &x->api->params, &error);
    buf_free(&script);
    if (!ok) {
        reply_error(x, 400, "bad_address", "That is no address of this chain: %s", error.text);
    }
    return ok;
}

/* ---- Small pieces -------------------------------------------------------------------------------------- */

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static int64_t sat_of(const json_t *object, const char *name)
{
    double coins = json_number_value(json_object_get(object, name));
    return (int64_t)(coins * 1e8 + (coins < 0 ? -0.5 : 0.5));
}

static json_t *time_of(int64_t unix_s)
{
    char text[40];
    put_timestamp(text, unix_s * 1000000);
    return json_string(text);
}

static json_t *shared(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return value ? json_incref(value) : json_null();
}

static json_t *paginated(const struct exchange *x, json_t *items, int64_t total, int64_t first_page)
{
    int64_t pages = (total + x->limit - 1) / x->limit;
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:b, s:b}", "items", items, "page", x->page, "limit",
                     x->limit, "total", total, "total_pages", pages, "has_next",
                     x->page - first_page + 1 < pages, "has_prev", x->page > first_page);
}

static json_t *hash_list(json_t *replies)
{
    json_t *calls = json_array();
    for (size_t i = 0; i < json_array_size(replies); i++) {
        json_t *hash = reply_result(replies, i);
        if (json_is_string(hash)) {
            add_call(calls, "getblock", json_pack("[O, i]", hash, 1));
        }
    }
    return calls;
}

static json_t *block_view(json_t *block)
{
    json_t *previous = json_object_get(block, "previousblockhash");
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:o, s:I}", "hash", shared(block, "hash"),
                     "previous_hash", previous ? json_incref(previous) : json_string("None"), "timestamp",
                     time_of(number_of(block, "time")), "height", number_of(block, "height"), "nonce",
                     number_of(block, "nonce"), "difficulty", shared(block, "difficulty"),
                     "transaction_count", number_of(block, "nTx"), "merkle_root", shared(block, "merkleroot"),
                     "size_bytes", number_of(block, "size"));
}

static json_t *block_views(json_t *replies)
{
    json_t *items = json_array();
    for (size_t i = 0; i < json_array_size(replies); i++) {
        json_t *block = reply_result(replies, i);
        if (block) {
            json_array_append_new(items, block_view(block));
        }
    }
    return items;
}

/* ---- Health -------------------------------------------------------------------------------------------- */

static double memory_mb(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    long total = 0, resident = 0;
    if (file) {
        if (fscanf(file, "%ld %ld", &total, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return (double)resident * 4096 / 1e6;
}

HANDLER(show_health)
{
    struct api *api = x->api;
    const struct node_status *s = &api->status;
    reply_data(
        x, json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:s, s:b, s:s, s:s}", "status",
                     s->valid ? "healthy" : "degraded", "version", "0.1.0", "uptime_seconds",
                     (json_int_t)((loop_now().mono_us - api->started_us) / 1000000), "blockchain_height",
                     (json_int_t)s->height, "connected_peers", (json_int_t)s->peers, "memory_usage_mb",
                     memory_mb(), "tip", s->tip, "synced", s->valid && s->synced, "rate_limit",
                     !api->redis                    ? "memory"
                     : shared_limits_up(api->redis) ? "redis"
                                                    : "memory (redis lost)",
                     "warning",
                     api->well_known_keys ? "Well-known API keys are in use: set keys of your own." : ""));
}

HANDLER(show_live)
{
    reply_data(x, json_string("alive"));
}

HANDLER(show_ready)
{
    const struct node_status *s = &x->api->status;
    if (!s->valid) {
        reply_error(x, 503, "not_ready", "The node is unreachable or loading its chain.");
    } else if (!s->synced) {
        reply_error(x, 503, "not_synced", "A peer has more work: catching up at height %lld.",
                    (long long)s->height);
    } else {
        reply_data(x, json_string("ready"));
    }
}

/* ---- Chain --------------------------------------------------------------------------------------------- */

static void blockchain_is_here(struct exchange *x, json_t *replies)
{
    json_t *info = reply_result(replies, 0), *status = reply_result(replies, 1);
    if (!info || !status) {
        reply_node_error(x, replies, info ? 1 : 0);
        return;
    }
    int64_t height = number_of(info, "blocks");
    reply_data(x, json_pack("{s:I, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "height", height, "difficulty",
                            shared(info, "difficulty"), "total_blocks", height, "total_transactions",
                            number_of(status, "transactions"), "mempool_size", number_of(status, "mempool"),
                            "last_block_hash", shared(info, "bestblockhash"), "last_block_timestamp",
                            time_of(number_of(info, "time")), "chain", shared(status, "chain"), "network",
                            shared(status, "network")));
}

HANDLER(show_blockchain)
{
    json_t *calls = json_array();
    add_call(calls, "getblockchaininfo", NULL);
    add_call(calls, "getstatus", NULL);
    node_ask(x, calls, blockchain_is_here);
}

static void page_is_here(struct exchange *x, json_t *replies)
{
    reply_data(x, paginated(x, block_views(replies), x->number, 0));
}

static void blocks_are_here(struct exchange *x, json_t *replies)
{
    reply_data(x, block_views(replies));
}

static void hashes_are_here(struct exchange *x, json_t *replies)
{
    json_t *calls = hash_list(replies);
    bool paged = x->page >= 0;
    if (json_array_size(calls)) {
        node_ask(x, calls, paged ? page_is_here : blocks_are_here);
    } else {
        json_decref(calls);
        reply_data(x, paged ? paginated(x, json_array(), x->number, 0) : json_array());
    }
}

/* Page p, newest first: the blocks from the tip down; the genesis block is the last of the last page. */
static void count_is_here(struct exchange *x, json_t *replies)
{
    json_t *count = reply_result(replies, 0), *calls = json_array();
    if (!count) {
        json_decref(calls);
        reply_node_error(x, replies, 0);
        return;
    }
    int64_t tip = json_integer_value(count), skipped = x->page > 0 ? x->page * x->limit : 0;
    x->number = tip + 1;
    for (int64_t height = tip - skipped; height >= 0 && height > tip - skipped - x->limit; height--) {
        add_call(calls, "getblockhash", json_pack("[I]", (json_int_t)height));
    }
    if (json_array_size(calls)) {
        node_ask(x, calls, hashes_are_here);
    } else {
        json_decref(calls);
        reply_data(x, paginated(x, json_array(), x->number, 0));
    }
}

static void ask_count(struct exchange *x)
{
    json_t *calls = json_array();
    add_call(calls, "getblockcount", NULL);
    node_ask(x, calls, count_is_here);
}

HANDLER(show_blocks)
{
    x->page = 0;
    x->limit = 10;
    if (query_number(x, "page", &x->page, 0, UINT32_MAX) &&
        query_number(x, "limit", &x->limit, 1, LIMIT_MAX)) {
        ask_count(x);
    }
}

HANDLER(show_latest_blocks)
{
    x->page = -1;
    x->limit = 10;
    if (query_number(x, "limit", &x->limit, 1, LIMIT_MAX)) {
        ask_count(x);
    }
}

static void block_is_here(struct exchange *x, json_t *replies)
{
    json_t *block = reply_result(replies, 0);
    if (block) {
        reply_data(x, block_view(block));
        return;
    }
    int code = (int)number_of(json_object_get(json_array_get(replies, 0), "error"), "code");
    if (code == RPC_INVALID_ADDRESS_OR_KEY) {
        reply_error(x, 404, "not_found", "No block has this hash.");
    } else {
        reply_node_error(x, replies, 0);
    }
}

HANDLER(show_block)
{
    if (hash_ok(x, "block hash")) {
        json_t *calls = json_array();
        add_call(calls, "getblock", json_pack("[s, i]", x->param, 1));
        node_ask(x, calls, block_is_here);
    }
}

/* ---- Transactions -------------------------------------------------------------------------------------- */

static json_t *mempool_view(const char *txid, json_t *entry)
{
    const json_t *fees = json_object_get(entry, "fees");
    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:I}", "txid", txid, "is_coinbase", 0,
                     "input_count", number_of(entry, "inputcount"), "output_count",
                     number_of(entry, "outputcount"), "total_input_value",
                     sat_of(entry, "outputvalue") + sat_of(fees, "base"), "total_output_value",
                     sat_of(entry, "outputvalue"), "fee", sat_of(fees, "base"), "timestamp",
                     time_of(number_of(entry, "time")), "size_bytes", number_of(entry, "size"));
}

static int by_time(const void *a, const void *b)
{
    json_t *const *first = a, *const *second = b;
    int order = strcmp(json_string_value(json_object_get(*second, "timestamp")),
                       json_string_value(json_object_get(*first, "timestamp")));
    return order ? order
                 : strcmp(json_string_value(json_object_get(*first, "txid")),
                          json_string_value(json_object_get(*second, "txid")));
}

static void mempool_is_here(struct exchange *x, json_t *replies)
{
    json_t *pool = reply_result(replies, 0), *entry, *items = json_array();
    const char *txid;
    if (!pool) {
        json_decref(items);
        reply_node_error(x, replies, 0);
        return;
    }
    size_t count = json_object_size(pool), at = 0;
    json_t **sorted = mem_alloc((count + 1) * sizeof *sorted);
    json_object_foreach(pool, txid, entry)
    {
        sorted[at++] = mempool_view(txid, entry);
    }
    qsort(sorted, count, sizeof *sorted, by_time);
    for (at = 0; at < count; at++) {
        json_array_append_new(items, sorted[at]);
    }
    mem_free(sorted);
    reply_data(x, items);
}

HANDLER(show_mempool)
{
    json_t *calls = json_array();
    add_call(calls, "getrawmempool", json_pack("[b]", 1));
    node_ask(x, calls, mempool_is_here);
}

static void mempool_tx_is_here(struct exchange *x, json_t *replies)
{
    json_t *entry = reply_result(replies, 0);
    if (entry) {
        reply_data(x, mempool_view(x->param, entry));
    } else if (number_of(json_object_get(json_array_get(replies, 0), "error"), "code") ==
               RPC_INVALID_ADDRESS_OR_KEY) {
        reply_error(x, 404, "not_found", "No transaction of the mempool has this id.");
    } else {
        reply_node_error(x, replies, 0);
    }
}

HANDLER(show_mempool_tx)
{
    if (hash_ok(x, "transaction id")) {
        json_t *calls = json_array();
        add_call(calls, "getmempoolentry", json_pack("[s]", x->param));
        node_ask(x, calls, mempool_tx_is_here);
    }
}

static void transactions_are_here(struct exchange *x, json_t *replies)
{
    json_t *result = reply_result(replies, 0);
    if (result) {
        reply_data(x, paginated(x, shared(result, "items"), number_of(result, "total"), 1));
    } else {
        reply_node_error(x, replies, 0);
    }
}

static bool ask_page(struct exchange *x)
{
    x->page = 1;
    x->limit = 10;
    return query_number(x, "page", &x->page, 1, UINT32_MAX) &&
           query_number(x, "limit", &x->limit, 1, LIMIT_MAX);
}

HANDLER(show_transactions)
{
    if (ask_page(x)) {
        json_t *calls = json_array();
        add_call(calls, "listchaintransactions",
                 json_pack("[I, I]", ((json_int_t)x->page - 1) * (json_int_t)x->limit, (json_int_t)x->limit));
        node_ask(x, calls, transactions_are_here);
    }
}

HANDLER(show_address_transactions)
{
    if (address_ok(x, x->param) && ask_page(x)) {
        json_t *calls = json_array();
        add_call(calls, "getaddresshistory",
                 json_pack("[s, I, I]", x->param, ((json_int_t)x->page - 1) * (json_int_t)x->limit,
                           (json_int_t)x->limit));
        node_ask(x, calls, transactions_are_here);
    }
}

/* ---- Mining -------------------------------------------------------------------------------------------- */

static void tip_block_is_here(struct exchange *x, json_t *replies)
{
    json_t *block = reply_result(replies, 0), *info = x->state;
    if (!block) {
        reply_node_error(x, replies, 0);
        return;
    }
    const char *warning = json_string_value(json_array_get(json_object_get(info, "warnings"), 0));
    reply_data(x, json_pack("{s:I, s:I, s:I, s:o, s:o, s:I, s:o, s:s, s:b, s:o, s:I}", "blocks",
                            number_of(info, "blocks"), "currentblocksize", number_of(block, "size"),
                            "currentblocktx", number_of(block, "nTx"), "difficulty",
                            shared(info, "difficulty"), "networkhashps", shared(info, "networkhashps"),
                            "pooledtx", number_of(info, "pooledtx"), "chain", shared(info, "chain"),
                            "warnings", warning ? warning : "", "mining",
                            json_is_true(json_object_get(info, "mining")), "hashespersec",
                            shared(info, "hashespersec"), "threads", number_of(info, "threads")));
}

static void mining_is_here(struct exchange *x, json_t *replies)
{
    json_t *info = reply_result(replies, 0), *hash = reply_result(replies, 1);
    if (!info || !hash) {
        reply_node_error(x, replies, info ? 1 : 0);
        return;
    }
    x->state = json_incref(info);
    json_t *calls = json_array();
    add_call(calls, "getblock", json_pack("[O, i]", hash, 1));
    node_ask(x, calls, tip_block_is_here);
}

HANDLER(show_mining)
{
    json_t *calls = json_array();
    add_call(calls, "getmininginfo", NULL);
    add_call(calls, "getbestblockhash", NULL);
    node_ask(x, calls, mining_is_here);
}

static void blocks_are_generated(struct exchange *x, json_t *replies)
{
    json_t *hashes = reply_result(replies, 0);
    if (!hashes) {
        reply_node_error(x, replies, 0);
        return;
    }
    const char *address = json_string_value(json_object_get(x->body, "address"));
    char message[256];
    snprintf(message, sizeof message, "Successfully generated %zu blocks to address %.128s",
             json_array_size(hashes), address);
    cache_drop(x->api);
    reply_data(x, json_pack("{s:O, s:s}", "block_hashes", hashes, "message", message));
}

HANDLER(generate_blocks)
{
    json_t *blocks = json_object_get(x->body, "nblocks"), *address = json_object_get(x->body, "address"),
           *tries = json_object_get(x->body, "maxtries");
    bool has_tries = tries && !json_is_null(tries);
    if (!json_is_integer(blocks) || !json_is_string(address) || (has_tries && !json_is_integer(tries))) {
        reply_error(x, 422, "bad_body",
                    "nblocks (a number) and address (a text) are wanted; maxtries is a number.");
    } else if (json_integer_value(blocks) < 1 || json_integer_value(blocks) > BLOCKS_MAX) {
        reply_error(x, 400, "bad_request", "nblocks must be from 1 to 1000.");
    } else if (has_tries && (json_integer_value(tries) < 1 || json_integer_value(tries) > 1000000)) {
        reply_error(x, 400, "bad_request", "maxtries must be from 1 to 1000000.");
    } else if (address_ok(x, json_string_value(address))) {
        json_t *calls = json_array(), *params = json_pack("[O, O]", blocks, address);
        if (has_tries) {
            json_array_append(params, tries);
        }
        add_call(calls, "generatetoaddress", params);
        x->patience_us = INT64_C(60000000);
        node_ask(x, calls, blocks_are_generated);
    }
}

/* ---- Metrics ------------------------------------------------------------------------------------------- */

static void metric(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

/* One figure of each of the node's hash workers. */
static void worker_metric(struct buf *out, const struct node_status *s, const char *name, const char *help,
                          const char *member)
{
    size_t i;
    json_t *worker;
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
    json_array_foreach(s->workers, i, worker)
    {
        buf_printf(out, "%s{worker=\"%zu\"} %.17g\n", name, i,
                   json_number_value(json_object_get(worker, member)));
    }
}

/* Hashes by worker, mode and kernel. */
static void hash_metrics(struct buf *out, const struct node_status *s)
{
    size_t i;
    json_t *worker;
    buf_printf(out, "# HELP quarry_hash_worker_hashes_total Hashes that a worker has counted.\n"
                    "# TYPE quarry_hash_worker_hashes_total counter\n");
    json_array_foreach(s->workers, i, worker)
    {
        json_int_t all = number_of(worker, "hashes"), rolling = number_of(worker, "hashesrolling");
        const struct {
            const char *mode;
            json_int_t count;
        } modes[] = {{"rolling", rolling}, {"plain", all - rolling}};
        for (size_t m = 0; m < ARRAY_COUNT(modes); m++) {
            const char *kernel = json_string_value(json_object_get(worker, modes[m].mode));
            buf_printf(out,
                       "quarry_hash_worker_hashes_total{worker=\"%zu\",mode=\"%s\",kernel=\"%s\"} %lld\n", i,
                       modes[m].mode, kernel ? kernel : "", (long long)modes[m].count);
        }
    }
    worker_metric(out, s, "quarry_hash_worker_hits_total", "Hashes below the target.", "hits");
    worker_metric(out, s, "quarry_hash_worker_switches_total", "Times that a worker turned to other work.",
                  "switches");
    worker_metric(out, s, "quarry_hash_worker_cpu_seconds_total", "CPU time of a worker.", "cpuseconds");
}

/* How long blocks take through the node: one histogram for each hop, all peers together. */
static void latency_metrics(struct buf *out, const struct node_status *s)
{
    buf_printf(out,
               "# HELP quarry_block_latency_seconds From a block's last byte to each hop; received: from its "
               "first byte.\n# TYPE quarry_block_latency_seconds histogram\n");
    for (size_t hop = 0; s->latency && hop < P2P_HOPS; hop++) {
        const char *name = p2p_hop_names[hop];
        const json_t *h = json_object_get(s->latency, name), *buckets = json_object_get(h, "buckets");
        json_int_t count = 0;
        for (size_t i = 0; i < P2P_LATENCY_BUCKETS; i++) {
            char bound[32] = "+Inf";
            count += json_integer_value(json_array_get(buckets, i));
            if (i < P2P_LATENCY_BUCKETS - 1) {
                snprintf(bound, sizeof bound, "%g", (double)p2p_latency_bounds_us[i] / 1e6);
            }
            buf_printf(out, "quarry_block_latency_seconds_bucket{hop=\"%s\",le=\"%s\"} %lld\n", name, bound,
                       (long long)count);
        }
        buf_printf(out,
                   "quarry_block_latency_seconds_sum{hop=\"%s\"} %.17g\n"
                   "quarry_block_latency_seconds_count{hop=\"%s\"} %lld\n",
                   name, (double)number_of(h, "sum_us") / 1e6, name, (long long)count);
    }
}

HANDLER(show_metrics)
{
    struct api *api = x->api;
    const struct node_status *s = &api->status;
    const struct counters *c = &api->counters;
    struct buf out = {0};
    buf_printf(&out,
               "# HELP quarry_build_info Always 1; the version is a label.\n# TYPE quarry_build_info gauge\n"
               "quarry_build_info{version=\"0.1.0\",chain=\"%s\"} 1\n",
               api->params.name);
    metric(&out, "quarry_node_up", "gauge", "Whether the node answers.", s->valid);
    metric(&out, "quarry_node_synced", "gauge", "Whether no peer has more work.", s->valid && s->synced);
    metric(&out, "quarry_height", "gauge", "Height of the best chain.", (double)s->height);
    metric(&out, "quarry_peers", "gauge", "Connected peers.", (double)s->peers);
    metric(&out, "quarry_mempool_transactions", "gauge", "Transactions in the mempool.", (double)s->mempool);
    metric(&out, "quarry_hashes_per_second", "gauge", "Hash rate of this node.", s->hashes_per_s);
    hash_metrics(&out, s);
    latency_metrics(&out, s);
    metric(&out, "quarry_difficulty", "gauge", "Difficulty of the best block.", s->difficulty);
    metric(&out, "quarry_node_uptime_seconds", "gauge", "Time since the node was started.",
           (double)s->uptime_s);
    metric(&out, "quarry_api_uptime_seconds", "gauge", "Time since this server was started.",
           (double)(loop_now().mono_us - api->started_us) / 1e6);
    metric(&out, "quarry_api_resident_memory_bytes", "gauge", "Resident memory of this server.",
           memory_mb() * 1e6);
    metric(&out, "quarry_api_connections", "gauge", "Open HTTP connections.", (double)c->connections);
    metric(&out, "quarry_api_connections_refused_total", "counter", "Connections over the limit.",
           (double)c->refused);
    metric(&out, "quarry_api_connections_cut_total", "counter",
           "Connections that were too slow, too large or silent too long.", (double)c->cut);
    metric(&out, "quarry_api_requests_total", "counter", "Requests.", (double)c->requests);
    buf_printf(&out, "# HELP quarry_api_responses_total Answers by class of status.\n# TYPE "
                     "quarry_api_responses_total counter\n");
    for (int i = 2; i < 6; i++) {
        buf_printf(&out, "quarry_api_responses_total{class=\"%dxx\"} %llu\n", i,
                   (unsigned long long)c->answered[i]);
    }
    metric(&out, "quarry_api_rate_limited_total", "counter", "Requests answered 429.", (double)c->limited);
    metric(&out, "quarry_api_redis_up", "gauge", "Whether limits are shared through Redis.",
           api->redis && shared_limits_up(api->redis));
    metric(&out, "quarry_api_redis_losses_total", "counter", "Times that Redis was lost.",
           (double)c->redis_losses);
    metric(&out, "quarry_api_redis_fallbacks_total", "counter",
           "Requests limited by memory for want of Redis.", (double)c->redis_fallbacks);
    metric(&out, "quarry_api_node_calls_total", "counter", "Questions to the node.", (double)c->node_calls);
    reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    buf_free(&out);
}
