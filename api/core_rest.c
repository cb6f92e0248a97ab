/*
 * Bitcoin Core's REST: GET /rest/… beside JSON-RPC, for everybody who may reach that address, and only with
 * --rest. Each path is one call to the node; its answer goes out as JSON as it came, or as hex or bytes. The
 * server's own REST is routes.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_private.h"

enum format { FORMAT_NONE, FORMAT_JSON, FORMAT_HEX, FORMAT_BIN };
#define JSON_ONLY     (1u << FORMAT_JSON)
#define ALL_FORMATS   (1u << FORMAT_JSON | 1u << FORMAT_HEX | 1u << FORMAT_BIN)
#define OUTPOINTS_MAX 15u

struct rest_path {
    const char *prefix; /* what follows it is `rest` */
    unsigned formats;
    /* Appends the call's method and parameters; false: the request was answered. */
    bool (*ask)(struct exchange *x, struct buf *call, const char *rest, enum format format);
};

static void refuse(struct exchange *x, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(struct exchange *x, int status, const char *format, ...)
{
    char text[600];
    struct buf line = {0};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buf_printf(&line, "%s\r\n", text);
    reply_plain(x, status, "text/plain", line.data, line.len);
    buf_free(&line);
}

void core_rest_unavailable(struct exchange *x, const char *message)
{
    refuse(x, 503, "Service temporarily unavailable: %s", message);
}

/* ---- What the paths ask -------------------------------------------------------------------------------- */

static bool is_hash(struct exchange *x, const char *text)
{
    struct hash256 hash;
    if (strlen(text) != 64 || !hash256_parse(&hash, text)) {
        refuse(x, 400, "Invalid hash: %.100s", text);
        return false;
    }
    return true;
}

static bool ask_tx(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    buf_printf(call, "\"getrawtransaction\",\"params\":[\"%.64s\",%d]", rest, format == FORMAT_JSON);
    return is_hash(x, rest);
}

static bool ask_block(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    buf_printf(call, "\"getblock\",\"params\":[\"%.64s\",%d]", rest, format == FORMAT_JSON ? 3 : 0);
    return is_hash(x, rest);
}

static bool ask_block_only(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    buf_printf(call, "\"getblock\",\"params\":[\"%.64s\",%d]", rest, format == FORMAT_JSON ? 1 : 0);
    return is_hash(x, rest);
}

/* "a=b&c" behind the path. */
static struct span query_of(const struct exchange *x)
{
    const h2o_req_t *req = x->req;
    size_t at = req->query_at == SIZE_MAX ? req->path.len : req->query_at + 1;
    return span_of(req->path.base + at, req->path.len - at);
}

/* HASH?count=N, or COUNT/HASH as it was before. */
static bool ask_headers(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    const char *slash = strchr(rest, '/'), *hash = slash ? slash + 1 : rest;
    char *end = NULL;
    int64_t count = 5;
    if (slash) {
        count = strtol(rest, &end, 10);
    }
    if ((slash && end != slash) ||
        (!slash && query_find(query_of(x), "count", &count, 1, 2000) == FOUND_WRONG) || count < 1 ||
        count > 2000) {
        refuse(x, 400, "Header count is invalid or out of acceptable range (1-2000)");
        return false;
    }
    buf_printf(call, "\"getblockheaders\",\"params\":[\"%.64s\",%d,%s]", hash, (int)count,
               format == FORMAT_JSON ? "true" : "false");
    return is_hash(x, hash);
}

static bool ask_hash_at(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    char *end;
    long height = strtol(rest, &end, 10);
    (void)format;
    if (!*rest || *end || height < 0 || height > INT32_MAX) {
        refuse(x, 400, "Invalid height: %.100s", rest);
        return false;
    }
    buf_printf(call, "\"getblockhash\",\"params\":[%ld]", height);
    return true;
}

static bool ask_chain(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    (void)x, (void)rest, (void)format;
    buf_printf(call, "\"getblockchaininfo\",\"params\":[]");
    return true;
}

static bool ask_deployments(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    (void)format;
    buf_printf(call,
               *rest ? "\"getdeploymentinfo\",\"params\":[\"%.64s\"]"
                     : "\"getdeploymentinfo\",\"params\":[%s]",
               *rest ? rest + 1 : "");
    return !*rest || is_hash(x, rest + 1);
}

static bool ask_mempool(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    (void)x, (void)rest, (void)format;
    buf_printf(call, "\"getmempoolinfo\",\"params\":[]");
    return true;
}

static bool has_word(struct span query, const char *word)
{
    return query.len && memmem(query.data, query.len, word, strlen(word));
}

static bool ask_mempool_contents(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    struct span query = query_of(x);
    bool verbose = !has_word(query, "verbose=false"), sequence = has_word(query, "mempool_sequence=true");
    (void)rest, (void)format;
    if (verbose && sequence) {
        refuse(x, 400,
               "Verbose results cannot contain mempool sequence values. (hint: set \"verbose=false\")");
        return false;
    }
    buf_printf(call, "\"getrawmempool\",\"params\":[%s,%s]", verbose ? "true" : "false",
               sequence ? "true" : "false");
    return true;
}

/* [/checkmempool]/TXID-N/TXID-N/… */
static bool ask_coins(struct exchange *x, struct buf *call, const char *rest, enum format format)
{
    static const char check[] = "/checkmempool";
    bool mempool = strncmp(rest, check, sizeof check - 1) == 0;
    unsigned count = 0;
    (void)format;
    buf_printf(call, "\"getutxos\",\"params\":[[");
    for (const char *at = rest + (mempool ? sizeof check - 1 : 0); *at == '/'; count++) {
        struct hash256 txid;
        char text[65], *end;
        snprintf(text, sizeof text, "%s", ++at);
        unsigned long n = strlen(at) > 65 && at[64] == '-' ? strtoul(at + 65, &end, 10) : ULONG_MAX;
        if (n > UINT32_MAX || end == at + 65 || (*end && *end != '/') || !hash256_parse(&txid, text)) {
            refuse(x, 400, "Parse error");
            return false;
        }
        if (count == OUTPOINTS_MAX) {
            refuse(x, 400, "Error: max outpoints exceeded (max: %u, tried: more)", OUTPOINTS_MAX);
            return false;
        }
        buf_printf(call, "%s{\"txid\":\"%s\",\"vout\":%lu}", count ? "," : "", text, n);
        at = end;
    }
    if (!count) {
        refuse(x, 400, "Error: empty request");
        return false;
    }
    buf_printf(call, "],%s]", mempool ? "true" : "false");
    return true;
}

static const struct rest_path paths[] = {
    {"tx/", ALL_FORMATS, ask_tx},
    {"block/notxdetails/", ALL_FORMATS, ask_block_only},
    {"block/", ALL_FORMATS, ask_block},
    {"headers/", ALL_FORMATS, ask_headers},
    {"blockhashbyheight/", ALL_FORMATS, ask_hash_at},
    {"chaininfo", JSON_ONLY, ask_chain},
    {"deploymentinfo", JSON_ONLY, ask_deployments},
    {"mempool/info", JSON_ONLY, ask_mempool},
    {"mempool/contents", JSON_ONLY, ask_mempool_contents},
    {"getutxos", JSON_ONLY, ask_coins},
};

/* ---- The answer ---------------------------------------------------------------------------------------- */

/* The node's own text of an error. */
static void pass_error(struct exchange *x, struct span text)
{
    json_t *reply = json_loadb((const char *)text.data, text.len, 0, NULL),
           *error = json_object_get(reply, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    int code = (int)json_integer_value(json_object_get(error, "code"));
    int status = code == RPC_INVALID_ADDRESS_OR_KEY || code == RPC_INVALID_PARAMETER ? 404
                 : code == RPC_IN_WARMUP                                             ? 503
                                                                                     : 500;
    refuse(x, status, "%s", message ? message : "no answer");
    json_decref(reply);
}

static void send_hex(struct exchange *x, struct span quoted, bool is_block_hash)
{
    struct buf out = {0};
    char *hex = mem_alloc(quoted.len);
    memcpy(hex, quoted.data + 1, quoted.len - 2);
    bool bytes = x->number == FORMAT_BIN && hex_decode_buf(&out, hex, quoted.len / 2);
    if (bytes && is_block_hash) { /* shown backwards */
        for (size_t i = 0; i < out.len / 2; i++) {
            uint8_t other = out.data[out.len - 1 - i];
            out.data[out.len - 1 - i] = out.data[i];
            out.data[i] = other;
        }
    }
    if (!bytes) {
        buf_printf(&out, "%s\n", hex);
    }
    reply_plain(x, 200, bytes ? "application/octet-stream" : "text/plain", out.data, out.len);
    buf_free(&out);
    mem_free(hex);
}

static void answer_is_here(struct exchange *x, struct span text)
{
    static const char begin[] = "{\"result\":", end[] = ",\"error\":null,\"id\":null}";
    size_t around = sizeof begin - 1 + sizeof end - 1;
    if (text.len <= around || memcmp(text.data + text.len - (sizeof end - 1), end, sizeof end - 1) != 0) {
        pass_error(x, text);
        return;
    }
    struct span result = span_of(text.data + sizeof begin - 1, text.len - around);
    bool is_block_hash = x->page; /* of blockhashbyheight */
    struct buf out = {0};
    if (x->number != FORMAT_JSON) {
        send_hex(x, result, is_block_hash);
        return;
    }
    buf_printf(&out, is_block_hash ? "{\"blockhash\":" : "");
    buf_bytes(&out, result.data, result.len);
    buf_printf(&out, is_block_hash ? "}\n" : "\n");
    reply_plain(x, 200, "application/json", out.data, out.len);
    buf_free(&out);
}

/* Cuts the format off the end of a path. */
static enum format cut_format(char *path)
{
    static const char *const endings[] = {
        [FORMAT_JSON] = ".json", [FORMAT_HEX] = ".hex", [FORMAT_BIN] = ".bin"};
    char *dot = strrchr(path, '.');
    for (unsigned i = FORMAT_JSON; dot && i < ARRAY_COUNT(endings); i++) {
        if (strcmp(dot, endings[i]) == 0) {
            *dot = 0;
            return (enum format)i;
        }
    }
    return FORMAT_NONE;
}

void core_rest_request(struct exchange *x)
{
    const h2o_req_t *req = x->req;
    char text[HEAD_BYTES_MAX];
    size_t len = MIN(req->query_at, req->path.len), skip = strlen(CORE_REST_PREFIX);
    snprintf(text, sizeof text, "%.*s", (int)(len - skip), req->path.base + skip);
    enum format format = cut_format(text);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        size_t prefix = strlen(paths[i].prefix);
        struct buf call = {0};
        if (strncmp(text, paths[i].prefix, prefix) != 0) {
            continue;
        }
        if (!(paths[i].formats & 1u << format) || format == FORMAT_NONE) {
            refuse(x, 404, "output format not found (available: %s)",
                   paths[i].formats == JSON_ONLY ? "json" : ".bin, .hex, .json");
            return;
        }
        buf_printf(&call, "{\"method\":");
        if (paths[i].ask(x, &call, text + prefix, format)) {
            buf_u8(&call, '}');
            x->number = format;
            x->page = paths[i].ask == ask_hash_at;
            x->is_core_rest = true;
            node_forward(x, buf_span(&call), answer_is_here);
        }
        buf_free(&call);
        return;
    }
    reply_plain(x, 404, "text/plain", "", 0);
}
