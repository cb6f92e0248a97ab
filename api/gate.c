/* Who may: the Host header, other sites' pages, keys and roles, and the rate. A request passes all, or is
 * answered here. */
#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#include "api/api_private.h"

static h2o_iovec_t header_of(const h2o_req_t *req, const char *name)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);
    return at < 0 ? h2o_iovec_init(NULL, 0) : req->headers.entries[at].value;
}

static bool in_list(const struct text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static bool host_ok(const struct exchange *x)
{
    const struct text_list *allowed = &x->api->settings->allowed_hosts;
    char name[256];
    uint8_t binary[16];
    const char *host = x->req->authority.base;
    size_t len = x->req->authority.len;
    if (!allowed->count) {
        return true;
    }
    bool bracket = len && host[0] == '[';
    size_t name_len = 0;
    while (name_len < len && (bracket ? host[name_len] != ']' : host[name_len] != ':')) {
        name_len++;
    }
    snprintf(name, sizeof name, "%.*s", (int)(bracket && name_len ? name_len - 1 : name_len),
             host + (bracket ? 1 : 0));
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, binary) == 1 ||
           inet_pton(AF_INET6, name, binary) == 1 || in_list(allowed, name);
}

/* A write that a browser sends for another site's page. */
static bool foreign_write(const struct exchange *x)
{
    h2o_iovec_t origin = header_of(x->req, "origin");
    bool post = h2o_memis(x->req->method.base, x->req->method.len, H2O_STRLIT("POST"));
    if (!post || !origin.base) {
        return false;
    }
    const char *slashes = memmem(origin.base, origin.len, "://", 3);
    if (!slashes) {
        return true;
    }
    size_t skipped = (size_t)(slashes + 3 - origin.base);
    return !h2o_memis(origin.base + skipped, origin.len - skipped, x->req->authority.base,
                      x->req->authority.len);
}

/* An IPv4 client is one also where a socket of IPv6 has taken it. */
static void find_peer(struct exchange *x)
{
    struct sockaddr_storage address;
    const struct in6_addr *v6 = &((struct sockaddr_in6 *)&address)->sin6_addr;
    socklen_t len = x->req->conn->callbacks->get_peername(x->req->conn, (void *)&address);
    if (len && address.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, x->client, sizeof x->client);
    } else if (len && address.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6)) {
        inet_ntop(AF_INET, v6->s6_addr + 12, x->client, sizeof x->client);
    } else if (len && address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, v6, x->client, sizeof x->client);
    }
}

/* The address that limits count: the peer's, or what a trusted proxy says it is. */
static void find_client(struct exchange *x)
{
    find_peer(x);
    h2o_iovec_t forwarded = header_of(x->req, "x-forwarded-for");
    if (!forwarded.base) {
        return;
    }
    /* From the right: the last address that is no trusted proxy. */
    while (forwarded.len && in_list(&x->api->settings->trusted_proxies, x->client)) {
        size_t start = forwarded.len;
        while (start && forwarded.base[start - 1] != ',') {
            start--;
        }
        size_t from = start, end = forwarded.len;
        while (from < end && forwarded.base[from] == ' ') {
            from++;
        }
        char text[64];
        uint8_t binary[16];
        snprintf(text, sizeof text, "%.*s", (int)MIN(end - from, 63u), forwarded.base + from);
        if (inet_pton(AF_INET, text, binary) != 1 && inet_pton(AF_INET6, text, binary) != 1) {
            return;
        }
        snprintf(x->client, sizeof x->client, "%s", text);
        forwarded.len = start ? start - 1 : 0;
    }
}

static bool role_ok(struct exchange *x, enum area area)
{
    enum role wanted = area == AREA_ADMIN ? ROLE_ADMIN : area == AREA_WALLET ? ROLE_WALLET : x->route->role;
    h2o_iovec_t key = header_of(x->req, "x-api-key");
    x->role = key.base ? key_role(x->api, key.base, key.len) : ROLE_NONE;
    if (x->role >= wanted) {
        return true;
    }
    if (x->role == ROLE_NONE) {
        reply_error(x, 401, "unauthorized", "This needs a valid X-API-Key of the role %s.",
                    wanted == ROLE_ADMIN ? "admin" : "wallet or admin");
    } else {
        reply_error(x, 403, "forbidden", "This needs the admin key.");
    }
    return false;
}

/* Health probes under /api/admin are probes all the same. */
static void check_role(struct exchange *x, enum area area)
{
    bool exempt_area = x->route->flags & ROUTE_EXEMPT && area != AREA_ADMIN;
    if (exempt_area || role_ok(x, area)) {
        route_run(x);
    }
}

void limit_verdict(struct exchange *x, struct verdict verdict)
{
    if (!x->req) { /* the client has left while Redis was asked */
        exchange_free(x);
        return;
    }
    x->rate_remaining = verdict.remaining;
    if (verdict.allowed) {
        check_role(x, (enum area)x->number);
        return;
    }
    char text[32];
    x->api->counters.limited++;
    snprintf(text, sizeof text, "%lld", (long long)verdict.retry_after_s);
    add_header(x->req, "retry-after", text);
    reply_error(x, 429, "rate_limited", "Too many requests: try again in %lld s.",
                (long long)verdict.retry_after_s);
}

void gate(struct exchange *x, enum area area)
{
    x->number = area;
    if (!host_ok(x)) {
        reply_error(x, 403, "host", "This server does not answer to that name.");
    } else if (foreign_write(x)) {
        reply_error(x, 403, "origin", "Other sites may read, not write.");
    } else if (x->route->flags & ROUTE_EXEMPT) {
        check_role(x, area);
    } else {
        find_client(x);
        if (x->api->redis) {
            shared_limits_take(x->api->redis, x);
        } else {
            limit_verdict(x, limits_take(x->api->limits, x->client, loop_now().mono_us));
        }
    }
}
