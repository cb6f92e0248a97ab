/*
 * JSON-RPC over HTTP as Bitcoin Core speaks it: POST / and /wallet/NAME, basic authorization by cookie,
 * rpcuser or rpcauth, and Core's statuses. The requests themselves, batches too, are the node's business: a
 * body goes to it as one line, and its line comes back.
 *
 * Statuses of a single call: 200; for a version 1 call that failed 400 (invalid request), 404 (unknown
 * method) or 500; version 2 calls and batches are 200 whatever they say, and 204 when only notifications
 * came.
 */
#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api_private.h"

#define COOKIE_USER     "__cookie__"
#define WRONG_PAUSE_US  INT64_C(250000)  /* before a wrong password is told so, as Core does */
#define WRONG_SAID_US   INT64_C(1000000) /* the log hears of them so often */
#define CREDENTIALS_MAX 1024u

struct rpc_face {
    struct api *api;
    char *cookie_path;
    char cookie[96]; /* user:password; empty: rpcpassword is set instead */
    bool cookie_written;
    struct subnet *allowed;
    size_t allowed_count;
    struct list wrong;    /* exchanges to be told 401, the first soonest */
    unsigned wrong_count; /* not yet said in the log */
    int64_t wrong_said_us;
};

/* ---- Who may ------------------------------------------------------------------------------------------- */

bool client_subnet_parse(struct subnet *out, const char *text)
{
    char address[64];
    const char *slash = strchr(text, '/');
    char *end = NULL;
    snprintf(address, sizeof address, "%.*s", (int)MIN(slash ? (size_t)(slash - text) : strlen(text), 63u),
             text);
    *out = (struct subnet){.bits = 128};
    bool v4 = inet_pton(AF_INET, address, out->address + 12) == 1;
    if (v4) {
        out->address[10] = out->address[11] = 0xff;
    } else if (inet_pton(AF_INET6, address, out->address) != 1) {
        return false;
    }
    if (slash) {
        unsigned long bits = strtoul(slash + 1, &end, 10);
        if (!slash[1] || *end || bits > (v4 ? 32 : 128)) {
            return false;
        }
        out->bits = (unsigned)bits + (v4 ? 96 : 0);
    }
    return true;
}

bool subnet_holds(const struct subnet *subnet, const uint8_t address[16])
{
    for (unsigned bit = 0; bit < subnet->bits; bit++) {
        if ((subnet->address[bit / 8] ^ address[bit / 8]) & (0x80u >> bit % 8)) {
            return false;
        }
    }
    return true;
}

static bool peer_allowed(const struct rpc_face *face, const struct exchange *x)
{
    struct sockaddr_storage peer;
    struct subnet own = {0};
    socklen_t len = x->req->conn->callbacks->get_peername(x->req->conn, (void *)&peer);
    if (len && peer.ss_family == AF_INET) {
        own.address[10] = own.address[11] = 0xff;
        memcpy(own.address + 12, &((struct sockaddr_in *)&peer)->sin_addr, 4);
    } else if (len && peer.ss_family == AF_INET6) {
        memcpy(own.address, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
    }
    for (size_t i = 0; i < face->allowed_count; i++) {
        if (subnet_holds(&face->allowed[i], own.address)) {
            return true;
        }
    }
    return false;
}

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}

bool rpc_auth_matches(const char *entry, const char *given, size_t len)
{
    const char *colon = strchr(entry, ':'), *dollar = colon ? strchr(colon, '$') : NULL;
    const char *given_colon = memchr(given, ':', len);
    uint8_t digest[32];
    unsigned digest_len = 0;
    char hex[2 * sizeof digest + 1];
    if (!dollar || !given_colon ||
        !same_text(entry, (size_t)(colon - entry), given, (size_t)(given_colon - given))) {
        return false;
    }
    size_t password_len = len - (size_t)(given_colon + 1 - given);
    HMAC(EVP_sha256(), colon + 1, (int)(dollar - colon - 1), (const unsigned char *)given_colon + 1,
         password_len, digest, &digest_len);
    hex_encode(hex, digest, sizeof digest);
    return same_text(dollar + 1, strlen(dollar + 1), hex, strlen(hex));
}

static bool credentials_ok(const struct rpc_face *face, const char *given, size_t len)
{
    const struct settings *s = face->api->settings;
    struct buf own = {0};
    buf_printf(&own, "%s:%s", s->rpc_user, s->rpc_password);
    bool ok = *s->rpc_password && same_text((const char *)own.data, own.len, given, len);
    ok |= *face->cookie && same_text(face->cookie, strlen(face->cookie), given, len);
    mem_wipe(own.data, own.len);
    buf_free(&own);
    for (size_t i = 0; i < s->rpc_auth.count; i++) {
        ok |= rpc_auth_matches(s->rpc_auth.items[i], given, len);
    }
    return ok;
}

/* "Basic " and base64 of user:password. */
static bool authorized(const struct rpc_face *face, h2o_iovec_t header)
{
    unsigned char text[CREDENTIALS_MAX];
    if (header.len < 6 || strncasecmp(header.base, "Basic ", 6) != 0 || (header.len - 6) % 4 != 0 ||
        (header.len - 6) / 4 * 3 > sizeof text) {
        return false;
    }
    int len = EVP_DecodeBlock(text, (const unsigned char *)header.base + 6, (int)header.len - 6);
    for (size_t at = header.len; len > 0 && at > 6 && header.base[at - 1] == '='; at--) {
        len--;
    }
    bool ok = len > 0 && credentials_ok(face, (const char *)text, (size_t)len);
    mem_wipe(text, sizeof text);
    return ok;
}

/* ---- A request ----------------------------------------------------------------------------------------- */

static void reply_empty(struct exchange *x, int status)
{
    reply_plain(x, status, "text/html; charset=ISO-8859-1", "", 0);
}

static void reply_unauthorized(struct exchange *x)
{
    if (x->req) {
        add_header(x->req, "www-authenticate", "Basic realm=\"jsonrpc\"");
    }
    reply_empty(x, 401);
}

int rpc_status(struct span reply)
{
    static const char failed[] = "{\"result\":null,\"error\":{\"code\":";
    if (reply.len < sizeof failed || memcmp(reply.data, failed, sizeof failed - 1) != 0) {
        return reply.len ? 200 : 204;
    }
    switch (strtol((const char *)reply.data + sizeof failed - 1, NULL, 10)) {
    case RPC_INVALID_REQUEST: return 400;
    case RPC_METHOD_NOT_FOUND: return 404;
    default: return 500;
    }
}

static void reply_is_here(struct exchange *x, struct span text)
{
    struct buf out = {0};
    int status = rpc_status(text);
    buf_bytes(&out, text.data, text.len);
    if (status != 204) {
        buf_u8(&out, '\n');
    }
    reply_plain(x, status, status == 204 ? "" : "application/json", out.data, out.len);
    buf_free(&out);
}

void rpc_unavailable(struct exchange *x, const char *message)
{
    struct buf out = {0};
    if (x->is_core_rest) {
        core_rest_unavailable(x, message);
        return;
    }
    if (strncmp(message, "Work queue", 10) == 0) {
        reply_plain(x, 503, "text/plain", message, strlen(message));
        return;
    }
    /* As a node that is starting answers: clients that wait for that go on waiting. */
    buf_printf(&out, "{\"result\":null,\"error\":{\"code\":%d,\"message\":\"%s\"},\"id\":null}\n",
               RPC_IN_WARMUP, message);
    reply_plain(x, 500, "application/json", out.data, out.len);
    buf_free(&out);
}

/* Newlines end a request on the node's socket. Between tokens a tab means the same; inside a text both are
 * errors. */
static void forward(struct exchange *x)
{
    struct buf line = {0};
    buf_bytes(&line, x->req->entity.base, x->req->entity.len);
    for (size_t i = 0; i < line.len; i++) {
        line.data[i] = line.data[i] == '\n' ? '\t' : line.data[i];
    }
    node_forward(x, buf_span(&line), reply_is_here);
    buf_free(&line);
}

void rpc_request(struct exchange *x)
{
    struct rpc_face *face = x->api->rpc;
    h2o_req_t *req = x->req;
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    static const char only_post[] = "JSONRPC server handles only POST requests";
    bool known_path = h2o_memis(req->path.base, req->path.len, H2O_STRLIT("/")) ||
                      (req->path.len >= 8 && memcmp(req->path.base, "/wallet/", 8) == 0);
    bool is_rest = x->api->settings->core_rest && req->path.len > sizeof CORE_REST_PREFIX - 1 &&
                   memcmp(req->path.base, CORE_REST_PREFIX, sizeof CORE_REST_PREFIX - 1) == 0;
    if (!peer_allowed(face, x)) {
        reply_empty(x, 403);
    } else if (is_rest && h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET"))) {
        core_rest_request(x);
    } else if (!known_path) {
        reply_empty(x, 404);
    } else if (!h2o_memis(req->method.base, req->method.len, H2O_STRLIT("POST"))) {
        reply_plain(x, 405, "text/plain", only_post, sizeof only_post - 1);
    } else if (at < 0) {
        reply_unauthorized(x);
    } else if (!authorized(face, req->headers.entries[at].value)) {
        x->asked_us = loop_now().mono_us;
        list_append(&face->wrong, &x->link);
    } else {
        forward(x);
    }
}

void rpc_face_tick(struct rpc_face *face, int64_t now_us)
{
    LIST_EACH_SAFE(at, following, &face->wrong)
    {
        struct exchange *x = CONTAINER_OF(at, struct exchange, link);
        if (now_us - x->asked_us < WRONG_PAUSE_US) {
            break;
        }
        list_remove(at);
        face->wrong_count++;
        reply_unauthorized(x);
    }
    if (face->wrong_count && now_us - face->wrong_said_us >= WRONG_SAID_US) {
        log_warn(LOG_RPC, "JSON-RPC: incorrect passwords: %u", face->wrong_count);
        face->wrong_count = 0;
        face->wrong_said_us = now_us;
    }
}

/* ---- Start and end ------------------------------------------------------------------------------------- */

static bool read_allowed(struct rpc_face *face, struct error *error)
{
    static const char *const always[] = {"127.0.0.0/8", "::1"};
    const struct text_list *given = &face->api->settings->rpc_allow;
    face->allowed_count = ARRAY_COUNT(always) + given->count;
    face->allowed = mem_alloc(face->allowed_count * sizeof *face->allowed);
    for (size_t i = 0; i < face->allowed_count; i++) {
        const char *text = i < ARRAY_COUNT(always) ? always[i] : given->items[i - ARRAY_COUNT(always)];
        if (!client_subnet_parse(&face->allowed[i], text)) {
            return error_set(error, ERROR_USAGE, NULL, "rpcallowip is '%.80s': an address, or ADDRESS/BITS",
                             text);
        }
    }
    return true;
}

static bool check_auth(const struct settings *s, struct error *error)
{
    for (size_t i = 0; i < s->rpc_auth.count; i++) {
        const char *text = s->rpc_auth.items[i], *colon = strchr(text, ':');
        if (!colon || !strchr(colon, '$')) {
            return error_set(error, ERROR_USAGE, NULL, "rpcauth is '%.80s': USER:SALT$HASH is wanted", text);
        }
    }
    return true;
}

bool rpc_face_new(struct api *api, struct error *error)
{
    const struct settings *s = api->settings;
    struct rpc_face *face = mem_alloc(sizeof *face);
    face->api = api;
    list_init(&face->wrong);
    api->rpc = face;
    return read_allowed(face, error) && check_auth(s, error);
}

void rpc_face_opened(struct api *api)
{
    struct rpc_face *face = api->rpc;
    struct error error = {0};
    uint8_t secret[32];
    char hex[2 * sizeof secret + 1];
    struct buf path = {0};
    char *folder = settings_chain_folder(api->settings);
    if (*api->settings->rpc_password) {
        mem_free(folder);
        return;
    }
    random_bytes(secret, sizeof secret);
    hex_encode(hex, secret, sizeof secret);
    snprintf(face->cookie, sizeof face->cookie, COOKIE_USER ":%s", hex);
    if (*api->settings->rpc_cookie_file) {
        buf_printf(&path, "%s%c", api->settings->rpc_cookie_file, 0);
    } else {
        buf_printf(&path, "%s/.cookie%c", folder, 0);
    }
    face->cookie_path = (char *)path.data;
    face->cookie_written =
        folder_make(folder, &error) &&
        file_write_private(face->cookie_path, span_of(face->cookie, strlen(face->cookie)), &error);
    if (!face->cookie_written) {
        log_warn(LOG_RPC, "%s: JSON-RPC answers only to rpcuser and rpcauth", error.text);
        face->cookie[0] = 0;
    }
    mem_free(folder);
}

void rpc_face_free(struct rpc_face *face)
{
    if (!face) {
        return;
    }
    struct buf text = {0};
    struct error error = {0};
    if (face->cookie_written && file_read_all(face->cookie_path, 4096, &text, &error) &&
        same_text((const char *)text.data, text.len, face->cookie, strlen(face->cookie))) {
        unlink(face->cookie_path); /* still ours */
    }
    LIST_EACH_SAFE(at, following, &face->wrong)
    {
        list_remove(at);
        exchange_free(CONTAINER_OF(at, struct exchange, link));
    }
    buf_free(&text);
    mem_wipe(face->cookie, sizeof face->cookie);
    mem_free(face->cookie_path);
    mem_free(face->allowed);
    mem_free(face);
}
