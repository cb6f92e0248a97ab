/* The TCP side of the host: listening, dialling with fresh name resolution, bytes to and from peers. What the
 * bytes mean is core/p2p's. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/host_private.h"

#define DIAL_US       INT64_C(5000000) /* per address */
#define ADDRESSES_MAX 8u

struct address {
    struct sockaddr_storage bytes;
    socklen_t len;
};

struct connection {
    struct host *host;
    peer_id id;
    struct stream *stream; /* NULL while its name is resolved */
    bool opened, unwanted; /* unwanted: closed before it was open */
    bool spoken;           /* something was sent or has come */
    struct address addresses[ADDRESSES_MAX];
    size_t address_count, address_at;
    struct loop_timer patience;
    char why[160];
};

struct resolution {
    struct task task;
    struct connection *connection;
    char name[128], port[8];
    struct address addresses[ADDRESSES_MAX];
    size_t count;
    char why[160];
};

/* ---- Addresses --------------------------------------------------------------------------------------- */

static void address_text(char out[80], const struct sockaddr_storage *address, socklen_t len)
{
    char host[64] = "?", port[8] = "?";
    getnameinfo((const struct sockaddr *)address, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, 80, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* Fills at most max addresses; 0 and why when there is none. */
static size_t resolve(struct address *out, size_t max, const char *name, const char *port, int flags,
                      char why[160])
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int result = getaddrinfo(name, port, &hints, &found);
    size_t count = 0;
    for (const struct addrinfo *at = found; at && count < max; at = at->ai_next) {
        memcpy(&out[count].bytes, at->ai_addr, at->ai_addrlen);
        out[count++].len = at->ai_addrlen;
    }
    if (found) {
        freeaddrinfo(found);
    }
    if (!count) {
        snprintf(why, 160, "cannot resolve %.80s: %.60s", name, result ? gai_strerror(result) : "no address");
    }
    return count;
}

static void be_prompt(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- Connections ------------------------------------------------------------------------------------- */

static struct connection *connection_of(struct host *host, peer_id id)
{
    struct connection **found = map_get(&host->peers, &id);
    return found ? *found : NULL;
}

static struct connection *connection_new(struct host *host, peer_id id)
{
    struct connection *c = mem_alloc(sizeof *c);
    c->host = host;
    c->id = id;
    *(struct connection **)map_put(&host->peers, &id, NULL) = c;
    return c;
}

/* The node is told, then all is forgotten. */
static void connection_end(struct connection *c, const char *why)
{
    struct host *host = c->host;
    struct event event = {.kind = c->opened || c->unwanted ? EVENT_CLOSED : EVENT_DIAL_FAILED};
    event.peer = c->id;
    event.text = why;
    loop_timer_clear(&c->patience);
    map_remove(&host->peers, &c->id);
    host_emit(host, &event);
    mem_free(c);
}

static void tell(struct connection *c, enum event_kind kind)
{
    struct event event = {.kind = kind};
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    char text[80] = "?";
    if (getpeername(stream_fd(c->stream), (struct sockaddr *)&address, &len) == 0) {
        address_text(text, &address, len);
    }
    event.peer = c->id;
    event.text = text;
    host_emit(c->host, &event);
}

static void dial_next(struct connection *c);

static void on_opened(void *context)
{
    struct connection *c = context;
    loop_timer_clear(&c->patience);
    c->opened = true;
    be_prompt(stream_fd(c->stream));
    tell(c, EVENT_OPENED);
}

static void on_received(void *context, const uint8_t *data, size_t len)
{
    struct connection *c = context;
    struct event event = {.kind = EVENT_BYTES};
    c->spoken = true;
    event.peer = c->id;
    event.data = data;
    event.len = len;
    host_emit(c->host, &event);
}

static void on_drained(void *context, size_t queued_bytes)
{
    struct connection *c = context;
    struct event event = {.kind = EVENT_DRAINED};
    event.peer = c->id;
    event.queued_bytes = queued_bytes;
    host_emit(c->host, &event);
}

static void on_closed(void *context, const char *why)
{
    struct connection *c = context;
    c->stream = NULL;
    if (c->opened || c->unwanted) {
        connection_end(c, why);
    } else {
        snprintf(c->why, sizeof c->why, "%s", why);
        dial_next(c);
    }
}

static const struct stream_events peer_events = {on_opened, on_received, on_drained, on_closed};

static void on_accepted(void *context, int fd)
{
    struct host *host = context;
    if (host->peers.count >= host->connections_max) {
        close(fd); /* descriptors are left for the store, whoever comes */
        return;
    }
    be_prompt(fd);
    struct connection *c = connection_new(host, ++host->last_inbound);
    c->opened = true;
    c->stream = stream_new(host->loop, fd, &peer_events, c);
    tell(c, EVENT_ACCEPTED);
}

/* ---- Dialling ---------------------------------------------------------------------------------------- */

static void patience_ended(void *context)
{
    struct connection *c = context;
    stream_close(c->stream, "no answer");
}

static void dial_next(struct connection *c)
{
    struct host *host = c->host;
    while (!host->ended && c->address_at < c->address_count) {
        const struct address *address = &c->addresses[c->address_at++];
        int fd = socket(address->bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            c->stream = stream_dial(host->loop, fd, &address->bytes, address->len, &peer_events, c);
            c->patience.fire = patience_ended;
            c->patience.context = c;
            loop_timer_set(host->loop, &c->patience, loop_now().mono_us + DIAL_US);
            return;
        }
        snprintf(c->why, sizeof c->why, "%s", strerror(errno));
    }
    connection_end(c, *c->why ? c->why : "no address");
}

static void resolved(struct connection *c, const struct address *addresses, size_t count, const char *why)
{
    memcpy(c->addresses, addresses, count * sizeof *addresses);
    c->address_count = count;
    snprintf(c->why, sizeof c->why, "%s", why);
    if (c->unwanted) {
        connection_end(c, "closed before it was open");
    } else {
        dial_next(c);
    }
}

static void resolution_run(struct task *task)
{
    struct resolution *r = CONTAINER_OF(task, struct resolution, task);
    r->count = resolve(r->addresses, ADDRESSES_MAX, r->name, r->port, AI_ADDRCONFIG, r->why);
}

static void resolution_done(struct task *task)
{
    struct resolution *r = CONTAINER_OF(task, struct resolution, task);
    resolved(r->connection, r->addresses, r->count, r->why);
    mem_free(r);
}

void peers_dial(struct host *host, peer_id id, const char *name, uint16_t port)
{
    struct connection *c = connection_new(host, id);
    struct resolution *r = mem_alloc(sizeof *r);
    r->connection = c;
    r->task.run = resolution_run;
    r->task.done = resolution_done;
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->port, sizeof r->port, "%u", port);
    task_submit(host->names, &r->task); /* also plain addresses: one way, and the answer is never immediate */
}

/* ---- Sending and closing ----------------------------------------------------------------------------- */

void peers_send(struct host *host, peer_id id, struct shared *message)
{
    struct connection *c = connection_of(host, id);
    if (c && c->stream) {
        c->spoken = true;
        stream_send(c->stream, message);
    } else {
        shared_unref(message);
    }
}

void peers_close(struct host *host, peer_id id)
{
    struct connection *c = connection_of(host, id);
    if (c && c->stream) {
        c->unwanted = true;
        if (c->spoken) {
            stream_close(c->stream, "closed by us");
        } else { /* nothing is on its way to it: it need not be waited for */
            stream_abort(c->stream, "closed by us");
        }
    } else if (c) {
        c->unwanted = true;
    }
}

void peers_pause(struct host *host, peer_id id, int64_t until_us)
{
    struct connection *c = connection_of(host, id);
    if (c && c->stream) {
        stream_pause(c->stream, until_us);
    }
}

void peers_free(struct host *host)
{
    void *value;
    for (size_t at = 0; map_next(&host->peers, &at, NULL, &value);) {
        mem_free(*(struct connection **)value);
    }
    map_free(&host->peers);
}

/* ---- Listening --------------------------------------------------------------------------------------- */

/* HOST:PORT, [HOST]:PORT, or HOST alone. */
static void split(const char *text, char host[256], char port[8], uint16_t standard_port)
{
    const char *colon = strrchr(text, ':');
    if (*text == '[') {
        snprintf(host, 256, "%.*s", (int)strcspn(text + 1, "]"), text + 1);
        colon = strstr(text, "]:") ? strstr(text, "]:") + 1 : NULL;
    } else if (colon && strchr(text, ':') == colon) {
        snprintf(host, 256, "%.*s", (int)(colon - text), text);
    } else {
        snprintf(host, 256, "%s", text);
        colon = NULL;
    }
    snprintf(port, 8, "%s", colon ? colon + 1 : "");
    if (!*port) {
        snprintf(port, 8, "%u", standard_port);
    }
}

static bool listen_at(struct host *host, const char *text, struct error *error)
{
    struct address address = {0};
    char name[256], port[8], why[160], shown[80];
    int one = 1;
    split(text, name, port, host->params.p2p_port);
    if (!resolve(&address, 1, name, port, AI_PASSIVE, why)) {
        return error_set(error, ERROR_USAGE, NULL, "listen: %s", why);
    }
    int fd = socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool v6 = address.bytes.ss_family == AF_INET6; /* IPv4 has a listener of its own */
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
              (!v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0) &&
              bind(fd, (const struct sockaddr *)&address.bytes, address.len) == 0 &&
              listen(fd, host->backlog) == 0;
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot listen on %.100s: %s", text, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    socklen_t len = sizeof address.bytes;
    getsockname(fd, (struct sockaddr *)&address.bytes, &len);
    address_text(shown, &address.bytes, len);
    loop_listen(host->loop, fd, on_accepted, host);
    p2p_listening(node_p2p(host->node), (uint16_t)strtoul(strrchr(shown, ':') + 1, NULL, 10));
    printf("Server listening on %s\n", shown);
    fflush(stdout);
    log_info(LOG_NET, "listening on %s", shown);
    return true;
}

bool peers_listen(struct host *host, struct error *error)
{
    const struct text_list *list = &host->settings->listen;
    char standard[32];
    snprintf(standard, sizeof standard, "127.0.0.1:%u", host->params.p2p_port);
    for (size_t i = 0; i < MAX(list->count, 1u); i++) {
        const char *text = list->count ? list->items[i] : standard;
        if (strcmp(text, "none") != 0 && !listen_at(host, text, error)) {
            return false;
        }
    }
    return true;
}
