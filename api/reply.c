/* Every answer's form: the envelope {"success","data","error","timestamp"}, errors with a code, and the
 * answers that are kept for a tenth of a second, so that many readers cost the node one question. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/api_private.h"

#define CACHE_US      INT64_C(100000)
#define CACHE_ENTRIES 512u
#define CACHE_TEXT    (1u << 20)

struct cached {
    int64_t until_us;
    char etag[24];
    struct buf text;
};

void put_timestamp(char out[40], int64_t unix_us)
{
    time_t seconds = (time_t)(unix_us / 1000000);
    struct tm tm;
    char text[24];
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 40, "%s.%03dZ", text, (int)(unix_us / 1000 % 1000));
}

void exchange_free(struct exchange *x)
{
    if (x->guard) {
        x->guard->x = NULL;
    }
    list_remove(&x->link);
    x->api->in_flight--;
    json_decref(x->body);
    json_decref(x->state);
    tx_unref(x->tx);
    buf_free(&x->ask);
    mem_free(x);
}

const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {204, "No Content"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {413, "Payload Too Large"},
                   {415, "Unsupported Media Type"},
                   {422, "Unprocessable Entity"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {503, "Service Unavailable"}};
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Internal Server Error";
}

void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, value, SIZE_MAX);
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, copy.base, copy.len);
}

void put_error(struct buf *out, const char *code, const char *sentence)
{
    char now[40];
    put_timestamp(now, loop_now().unix_us);
    json_t *body = json_pack("{s:b, s:n, s:s, s:s, s:s}", "success", 0, "data", "error", sentence,
                             "timestamp", now, "code", code);
    if (!body) { /* not UTF-8: it repeats what a client sent */
        body = json_pack("{s:b, s:n, s:s, s:s, s:s}", "success", 0, "data", "error",
                         "The request is not understood.", "timestamp", now, "code", code);
    }
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    buf_bytes(out, text, strlen(text));
    free(text);
}

void reply_plain(struct exchange *x, int status, const char *type, const void *text, size_t len)
{
    h2o_req_t *req = x->req;
    struct buf busy = {0};
    if (req && !conn_answers(x->guard->conn, len)) {
        put_error(&busy, "busy", "Answers that are not yet read hold too much memory.");
        status = 503;
        type = "application/json";
        text = busy.data;
        len = busy.len;
    }
    if (req) {
        x->api->counters.answered[MIN(status / 100, 5)]++;
        req->res.status = status;
        req->res.reason = reason_of(status);
        req->res.content_length = len;
        if (*type) {
            add_header(req, "content-type", type);
        }
        h2o_send_inline(req, text, len);
    }
    buf_free(&busy);
    exchange_free(x);
}

static void add_limit_headers(struct exchange *x)
{
    const struct limits *limits = x->api->limits;
    char number[32];
    snprintf(number, sizeof number, "%.0f", limits_burst(limits));
    add_header(x->req, "ratelimit-limit", number);
    snprintf(number, sizeof number, "%lld", (long long)x->rate_remaining);
    add_header(x->req, "ratelimit-remaining", number);
    snprintf(number, sizeof number, "%.0f",
             (limits_burst(limits) - (double)x->rate_remaining) / limits_rate(limits) + 0.5);
    add_header(x->req, "ratelimit-reset", number);
}

void set_etag(struct exchange *x, const void *data, size_t len)
{
    static const uint64_t key[2] = {0x5175617272790001, 0x6170692d65746167}; /* the same on every server */
    snprintf(x->etag, sizeof x->etag, "W/\"%016llx\"", (unsigned long long)siphash_2_4(key, data, len));
}

/* Whether the client says that it has this very content. */
static bool client_has_it(const struct exchange *x)
{
    ssize_t at = h2o_find_header_by_str(&x->req->headers, H2O_STRLIT("if-none-match"), -1);
    return *x->etag && at >= 0 &&
           (h2o_memis(x->req->headers.entries[at].value.base, x->req->headers.entries[at].value.len,
                      H2O_STRLIT("*")) ||
            memmem(x->req->headers.entries[at].value.base, x->req->headers.entries[at].value.len, x->etag,
                   strlen(x->etag)));
}

void reply_text(struct exchange *x, int status, const char *type, const void *text, size_t len)
{
    h2o_req_t *req = x->req;
    if (!req) {
        exchange_free(x);
        return;
    }
    bool read = h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")) ||
                h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD"));
    add_header(req, "x-content-type-options", "nosniff");
    if (read) {
        add_header(req, "access-control-allow-origin", "*");
        add_header(req, "access-control-expose-headers",
                   "ETag, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset");
    }
    if (x->rate_remaining >= 0) {
        add_limit_headers(x);
    }
    if (read && status == 200 && *x->etag) {
        add_header(req, "etag", x->etag);
        add_header(req, "cache-control", "no-cache");
    } else {
        add_header(req, "cache-control", "no-store");
    }
    if (read && status == 200 && client_has_it(x)) {
        reply_plain(x, 304, "", "", 0);
    } else {
        reply_plain(x, status, type, text, len);
    }
}

static void cache_key(uint64_t out[2], const struct exchange *x)
{
    static const uint64_t keys[2][2] = {{1, 2}, {3, 4}};
    for (size_t i = 0; i < 2; i++) {
        const uint64_t key[2] = {x->api->cache.sip_key[0] ^ keys[i][0],
                                 x->api->cache.sip_key[1] ^ keys[i][1]};
        out[i] = siphash_2_4(key, x->req->path.base, x->req->path.len);
    }
}

void cache_begin(struct api *api)
{
    map_init(&api->cache, 2 * sizeof(uint64_t), sizeof(struct cached), &api->rng);
}

void cache_drop(struct api *api)
{
    void *value;
    for (size_t at = 0; map_next(&api->cache, &at, NULL, &value);) {
        buf_free(&((struct cached *)value)->text);
    }
    map_clear(&api->cache);
}

static bool is_cached(const struct exchange *x)
{
    return x->req && x->route && x->route->flags & ROUTE_CACHED;
}

bool reply_from_cache(struct exchange *x)
{
    uint64_t key[2];
    if (!is_cached(x)) {
        return false;
    }
    cache_key(key, x);
    const struct cached *found = map_get(&x->api->cache, key);
    if (!found || loop_now().mono_us >= found->until_us) {
        return false;
    }
    memcpy(x->etag, found->etag, sizeof x->etag);
    reply_text(x, 200, "application/json", found->text.data, found->text.len);
    return true;
}

static void cache_keep(const struct exchange *x, const char *text, size_t len)
{
    uint64_t key[2];
    if (!is_cached(x) || len > CACHE_TEXT) {
        return;
    }
    if (x->api->cache.count >= CACHE_ENTRIES) {
        cache_drop(x->api);
    }
    cache_key(key, x);
    struct cached *kept = map_put(&x->api->cache, key, NULL);
    kept->until_us = loop_now().mono_us + CACHE_US;
    memcpy(kept->etag, x->etag, sizeof kept->etag);
    buf_clear(&kept->text);
    buf_bytes(&kept->text, text, len);
}

void reply_data(struct exchange *x, json_t *data)
{
    char now[40];
    struct buf out = {0};
    put_timestamp(now, loop_now().unix_us);
    char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(data);
    if (!text) { /* only when memory is gone */
        reply_error(x, 500, "internal", "The answer could not be written.");
        return;
    }
    set_etag(x, text, strlen(text)); /* not of the timestamp */
    buf_printf(&out, "{\"success\":true,\"data\":%s,\"error\":null,\"timestamp\":\"%s\"}", text, now);
    free(text);
    cache_keep(x, (const char *)out.data, out.len);
    reply_text(x, 200, "application/json", out.data, out.len);
    buf_free(&out);
}

void reply_error(struct exchange *x, int status, const char *code, const char *format, ...)
{
    char sentence[512];
    struct buf out = {0};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    put_error(&out, code, sentence);
    reply_text(x, status, "application/json", out.data, out.len);
    buf_free(&out);
}
