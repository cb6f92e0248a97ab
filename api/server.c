/* The server: fronts and their listeners, the way of a request from h2o to its handler, the tick, start and
 * stop. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api.h"
#include "api/api_private.h"

#define TICK_MS       10u
#define BODY_MAX      (2u << 20)
#define REQUEST_MS    600000u /* conns.c is stricter, and says why */
#define LISTENERS_MAX 16u
#define REST_LINES    8u
#define REST_WAITING  1024u
#define RPC_LINES     64u
#define RPC_WAITING   64u /* Core's -rpcworkqueue */
#define IN_FLIGHT_MAX 4096u
#define DRAIN_US      INT64_C(1000000)

struct handler {
    h2o_handler_t super;
    struct front *front;
};

struct server {
    struct api api;
    h2o_socket_t *listeners[LISTENERS_MAX];
    size_t listener_count;
    h2o_socket_t *signals;
    int64_t stop_at_us;
    bool stopping, heard_node;
};

static void on_gone(void *context)
{
    struct guard *guard = context;
    if (guard->x) {
        guard->x->req = NULL;
        guard->x->guard = NULL;
    }
    conn_is_done(guard->conn);
}

static void preflight(struct exchange *x)
{
    static const struct {
        const char *name, *value;
    } headers[] = {{"access-control-allow-origin", "*"},
                   {"access-control-allow-methods", "GET, HEAD, OPTIONS"},
                   {"access-control-allow-headers", "X-API-Key, Content-Type"},
                   {"access-control-max-age", "86400"}};
    for (size_t i = 0; i < ARRAY_COUNT(headers); i++) {
        add_header(x->req, headers[i].name, headers[i].value);
    }
    reply_text(x, 204, "text/plain", "", 0);
}

static bool body_ok(struct exchange *x)
{
    h2o_req_t *req = x->req;
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_CONTENT_TYPE, -1);
    json_error_t problem;
    if (req->entity.len > BODY_MAX) {
        reply_error(x, 413, "too_large", "A request body has at most %u bytes.", BODY_MAX);
    } else if (at < 0 || req->headers.entries[at].value.len < 16 ||
               strncasecmp(req->headers.entries[at].value.base, "application/json", 16) != 0) {
        reply_error(x, 415, "content_type", "Content-Type must be application/json.");
    } else if (!(x->body = json_loadb(req->entity.base ? req->entity.base : "", req->entity.len,
                                      JSON_REJECT_DUPLICATES, &problem))) {
        reply_error(x, 400, "bad_json", "The body is not JSON: line %d, column %d.", problem.line,
                    problem.column);
    } else if (!json_is_object(x->body)) {
        reply_error(x, 422, "bad_body", "The body must be a JSON object.");
    } else {
        return true;
    }
    return false;
}

void route_run(struct exchange *x)
{
    bool post = strcmp(x->route->method, "POST") == 0;
    if (!x->req) {
        exchange_free(x);
    } else if (!reply_from_cache(x) && (!post || body_ok(x))) {
        x->route->handle(x);
    }
}

static void find_route(struct exchange *x)
{
    struct api *api = x->api;
    h2o_req_t *req = x->req;
    size_t path_len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;
    enum area area;
    char allow[64];
    x->route =
        route_find(req->method.base, req->method.len, req->path.base, path_len, &area, x->param, allow);
    bool hidden =
        x->route && (!(x->route->serve & api->serve) ||
                     (x->route->flags & ROUTE_FAUCET && (api->production || !*api->settings->purse)));
    if (h2o_memis(req->method.base, req->method.len, H2O_STRLIT("OPTIONS"))) {
        preflight(x);
    } else if (!x->route && *allow) {
        add_header(req, "allow", allow);
        reply_error(x, 405, "method", "This path answers to %s.", allow);
    } else if (!x->route || hidden) {
        x->route = NULL;
        reply_error(x, 404, "not_found", "There is nothing at this path.");
    } else {
        gate(x, area);
    }
}

static size_t head_bytes(const h2o_req_t *req)
{
    size_t sum = req->method.len + req->path.len;
    for (size_t i = 0; i < req->headers.size; i++) {
        sum += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4;
    }
    return sum;
}

/* Whether the head says once at most how long the body is. h2o heeds one of several and shows none; a proxy
 * that heeds another one could be made to pass a second request inside the first. The head is still where it
 * was received. */
static bool length_is_clear(const h2o_req_t *req)
{
    const struct st_h2o_buffer_t *in = req->conn->callbacks->get_socket(req->conn)->input;
    const char *at = in->bytes, *end = in->bytes + in->size, *newline;
    unsigned count = 0;
    for (bool begun = false; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        size_t len = (size_t)(newline - at);
        if (begun && (len == 0 || (len == 1 && *at == '\r'))) {
            break;
        }
        begun |= len > 1;
        count += (len > 15 && strncasecmp(at, "content-length:", 15) == 0) ||
                 (len > 18 && strncasecmp(at, "transfer-encoding:", 18) == 0);
    }
    return count <= 1;
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct front *front = ((struct handler *)self)->front;
    struct api *api = front->api;
    struct exchange *x = mem_alloc(sizeof *x);
    x->api = api;
    x->front = front;
    x->req = req;
    x->rate_remaining = -1;
    list_init(&x->link);
    x->guard = h2o_mem_alloc_shared(&req->pool, sizeof *x->guard, on_gone);
    *x->guard = (struct guard){.x = x, .conn = conn_of(req)};
    api->counters.requests++;
    bool has_place = conn_asks(x->guard->conn, x);
    if (++api->in_flight > IN_FLIGHT_MAX || !has_place) {
        req->http1_is_persistent = 0;
        reply_error(x, 503, "busy", "Too many connections or requests are under way.");
    } else if (!length_is_clear(req)) {
        req->http1_is_persistent = 0;
        reply_error(x, 400, "body_length", "The head says more than once how long the body is.");
    } else if (head_bytes(req) > HEAD_BYTES_MAX) {
        reply_error(x, 431, "head_too_large", "The head of a request has at most %u bytes.", HEAD_BYTES_MAX);
    } else {
        front->handle(x);
    }
    return 0;
}

/* ---- Connections --------------------------------------------------------------------------------------- */

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct front *front = listener->data;
    h2o_socket_t *socket;
    for (int i = 0; !err && i < 64 && (socket = h2o_evloop_socket_accept(listener)); i++) {
        conns_accept(front->api->conns, front, socket);
    }
}

/* text: HOST:PORT; said: what standard output calls it. */
static bool listen_on(struct server *server, struct front *front, const char *text, const char *said,
                      struct error *error)
{
    char host[256], port[16];
    const char *colon = strrchr(text, ':');
    size_t host_len = (size_t)(colon - text);
    bool bracket = *text == '[' && host_len > 2;
    snprintf(host, sizeof host, "%.*s", (int)(bracket ? host_len - 2 : host_len), text + (bracket ? 1 : 0));
    snprintf(port, sizeof port, "%s", colon + 1);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int problem = getaddrinfo(*host ? host : NULL, port, &hints, &found), on = 1;
    if (problem) {
        return error_set(error, ERROR_USAGE, NULL, "listen %s: %s", text, gai_strerror(problem));
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 512) == 0;
    freeaddrinfo(found);
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot listen on %s: %s", text, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0) { /* port 0 has become a real one */
        getnameinfo((struct sockaddr *)&bound, len, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    }
    printf("Starting %s on %s%s%s:%s\n", said, bracket ? "[" : "", host, bracket ? "]" : "", port);
    fflush(stdout);
    h2o_socket_t *listener = h2o_evloop_socket_create(server->api.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->data = front;
    server->listeners[server->listener_count++] = listener;
    h2o_socket_read_start(listener, on_accept);
    return true;
}

/* ---- Time and signals ---------------------------------------------------------------------------------- */

static void on_tick(h2o_timeout_entry_t *entry)
{
    struct api *api = CONTAINER_OF(entry, struct api, tick);
    struct server *server = CONTAINER_OF(api, struct server, api);
    int64_t now_us = loop_now().mono_us;
    node_link_tick(api->node, now_us);
    node_link_tick(api->rpc_node, now_us);
    conns_tick(api->conns, now_us);
    if (api->rpc) {
        rpc_face_tick(api->rpc, now_us);
    }
    if (api->redis) {
        shared_limits_tick(api->redis, now_us);
    }
    if (!server->heard_node && node_link_up(api->node)) {
        server->heard_node = true;
        log_info(LOG_RPC, "connected to the node");
    }
    h2o_timeout_link(api->loop, &api->tick_timeout, &api->tick);
}

static void on_signal(h2o_socket_t *socket, const char *err)
{
    struct server *server = socket->data;
    if (err || server->stopping) {
        return;
    }
    h2o_buffer_consume(&socket->input, socket->input->size);
    log_info(LOG_RPC, "stopping");
    server->stopping = true;
    server->stop_at_us = loop_now().mono_us + DRAIN_US;
    for (size_t i = 0; i < server->listener_count; i++) {
        h2o_socket_close(server->listeners[i]);
    }
    server->listener_count = 0;
    h2o_context_request_shutdown(&server->api.web.context);
    h2o_context_request_shutdown(&server->api.rpc_front.context);
}

static void watch_signals(struct server *server)
{
    sigset_t set;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(fd >= 0);
    server->signals = h2o_evloop_socket_create(server->api.loop, fd, 0);
    server->signals->data = server;
    h2o_socket_read_start(server->signals, on_signal);
}

/* ---- Start --------------------------------------------------------------------------------------------- */

static bool parse_serve(struct api *api, struct error *error)
{
    static const char *const names[] = {"health", "metrics", "rest", "web", "rpc"};
    for (const char *at = api->settings->serve; *at;) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < ARRAY_COUNT(names) && (strlen(names[i]) != len || memcmp(names[i], at, len) != 0)) {
            i++;
        }
        if (i == ARRAY_COUNT(names)) {
            return error_set(error, ERROR_USAGE, NULL,
                             "serve is '%.80s': allowed are health, metrics, rest, web, rpc",
                             api->settings->serve);
        }
        api->serve |= 1u << i;
        at += len + (at[len] == ',');
    }
    return true;
}

static char *find_wallet_dir(const struct settings *s)
{
    struct buf out = {0};
    const char *file = getenv("WALLET_FILE"), *slash = file ? strrchr(file, '/') : NULL;
    if (*s->wallet_dir) {
        buf_printf(&out, "%s%c", s->wallet_dir, 0);
    } else if (slash && slash > file) {
        buf_printf(&out, "%.*s%c", (int)(slash - file), file, 0);
    } else {
        buf_printf(&out, "%s/%s/wallets%c", s->datadir, s->chain, 0);
    }
    return (char *)out.data;
}

static void front_open(struct front *front, struct api *api, size_t body_max,
                       void (*handle)(struct exchange *x))
{
    h2o_compress_args_t compress = {.min_size = 1000, .gzip = {.quality = 1}, .brotli = {.quality = -1}};
    h2o_config_init(&front->conf);
    front->api = api;
    front->handle = handle;
    front->is_rpc = handle == rpc_request;
    front->conf.server_name = h2o_iovec_init(H2O_STRLIT("quarry"));
    front->conf.max_request_entity_size = body_max;
    front->conf.http1.req_timeout = REQUEST_MS;
    front->conf.http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host =
        h2o_config_register_host(&front->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof *handler);
    h2o_compress_register(path, &compress);
    handler->super.on_req = on_request;
    handler->front = front;
    h2o_context_init(&front->context, api->loop, &front->conf);
    front->accept = (h2o_accept_ctx_t){.ctx = &front->context, .hosts = front->conf.hosts};
}

static void open_http(struct api *api)
{
    api->loop = h2o_evloop_create();
    front_open(&api->web, api, 2 * BODY_MAX, find_route);
    front_open(&api->rpc_front, api, RPC_REQUEST_BYTES_MAX, rpc_request);
    h2o_timeout_init(api->loop, &api->tick_timeout, TICK_MS);
    api->tick.cb = on_tick;
    h2o_timeout_link(api->loop, &api->tick_timeout, &api->tick);
}

static bool listen_web(struct server *server, struct error *error)
{
    const struct text_list *given = &server->api.settings->http_listen;
    bool ok = true;
    for (size_t i = 0; ok && i < MIN(given->count, LISTENERS_MAX / 2); i++) {
        ok = listen_on(server, &server->api.web, given->items[i], "web server", error);
    }
    return given->count ? ok : listen_on(server, &server->api.web, "127.0.0.1:8080", "web server", error);
}

static void add_port(char out[300], const char *host, unsigned port)
{
    bool has_port = strrchr(host, ':') && (*host != '[' || strstr(host, "]:"));
    if (has_port) {
        snprintf(out, 300, "%s", host);
    } else {
        snprintf(out, 300, "%s:%u", host, port);
    }
}

/* Without rpcbind: at both loopback addresses, of which the second need not be there; without rpcport either,
 * a port that is taken costs only a warning, since another node of this machine has it. */
static bool listen_rpc(struct server *server, struct error *error)
{
    const struct settings *s = server->api.settings;
    struct front *front = &server->api.rpc_front;
    unsigned port = s->rpc_port < 0 ? server->api.params.rpc_port : (unsigned)s->rpc_port;
    char text[300];
    bool ok = true;
    for (size_t i = 0; ok && i < MIN(s->rpc_bind.count, LISTENERS_MAX / 2); i++) {
        add_port(text, s->rpc_bind.items[i], port);
        ok = listen_on(server, front, text, "JSON-RPC server", error);
    }
    if (!s->rpc_bind.count) {
        struct error absent;
        add_port(text, "127.0.0.1", port);
        ok = listen_on(server, front, text, "JSON-RPC server", error);
        if (!ok && s->rpc_port < 0) {
            log_warn(LOG_RPC, "%s: JSON-RPC is not served; --rpcport chooses another port", error->text);
            return true;
        }
        add_port(text, "[::1]", port);
        (void)(ok && listen_on(server, front, text, "JSON-RPC server", &absent));
    }
    if (ok) {
        rpc_face_opened(&server->api);
    }
    return ok;
}

static bool begin(struct server *server, const struct settings *settings, struct error *error)
{
    struct api *api = &server->api;
    uint8_t seed[32];
    api->settings = settings;
    api->production = strcmp(settings->profile, "production") == 0;
    api->started_us = loop_now().mono_us;
    random_bytes(seed, sizeof seed);
    rng_seed(&api->rng, seed);
    random_bytes(seed, sizeof seed);
    wallet_init(seed);
    cache_begin(api);
    if (!settings_chain(settings, &api->params, error) || !parse_serve(api, error) ||
        !keys_load(api, error)) {
        return false;
    }
    if (getenv("RL_SETTINGS_PATH")) {
        log_warn(LOG_RPC, "RL_SETTINGS_PATH is not read: set QUARRY_REDIS, QUARRY_RATE_LIMIT and "
                          "QUARRY_RATE_LIMIT_BURST instead");
    }
    api->wallet_dir = find_wallet_dir(settings);
    api->limits = limits_new(&api->rng,
                             settings->rate_per_s ? (double)settings->rate_per_s
                             : api->production    ? 4
                                                  : 20,
                             settings->rate_burst ? (double)settings->rate_burst
                             : api->production    ? 240
                                                  : 1200);
    open_http(api);
    watch_signals(server);
    api->work = work_new(api->loop);
    api->node = node_link_new(api, REST_LINES, REST_WAITING, true);
    api->rpc_node = node_link_new(api, RPC_LINES, RPC_WAITING, false);
    api->conns = conns_new(api);
    api->redis = *settings->redis ? shared_limits_new(api, error) : NULL;
    return (!*settings->redis || api->redis) &&
           (!(api->serve & ~(unsigned)SERVE_RPC) || listen_web(server, error)) &&
           (!(api->serve & SERVE_RPC) || (rpc_face_new(api, error) && listen_rpc(server, error)));
}

/* What is ours. h2o's own structures and connections that idle go with the process. */
static void end(struct api *api)
{
    shared_limits_free(api->redis); /* who waits for it goes on to the others */
    work_free(api->work);
    node_link_free(api->node);
    node_link_free(api->rpc_node);
    rpc_face_free(api->rpc);
    conns_free(api->conns);
    limits_free(api->limits);
    cache_drop(api);
    json_decref(api->status.workers);
    json_decref(api->status.latency);
    map_free(&api->cache);
    mem_free(api->wallet_dir);
    chain_params_free(&api->params);
    mem_wipe(api->admin_key, sizeof api->admin_key);
    mem_wipe(api->wallet_key, sizeof api->wallet_key);
}

int api_run(const struct settings *settings)
{
    static struct server one; /* h2o holds pointers into it for as long as the process is there */
    struct server *server = &one;
    struct api *api = &server->api;
    struct error error = {0};
    prctl(PR_SET_NAME, "q-api/0");
    if (!begin(server, settings, &error)) {
        log_error(LOG_RPC, "%s", error.text);
        end(api);
        return error.kind == ERROR_USAGE ? STATUS_USAGE : STATUS_RUNTIME;
    }
    log_info(LOG_RPC, "serving %s; rate limit %.0f/s, burst %.0f per client, kept in %s", settings->serve,
             limits_rate(api->limits), limits_burst(api->limits), api->redis ? "Redis" : "memory");
    while (!server->stopping || (api->in_flight && loop_now().mono_us < server->stop_at_us)) {
        h2o_evloop_run(api->loop, 100);
    }
    log_info(LOG_RPC, "stopped");
    end(api);
    return STATUS_OK;
}
