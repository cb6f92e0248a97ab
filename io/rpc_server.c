/* JSON-RPC over the node's Unix socket: one JSON text per line in, one per line out, one request at a time
 * per connection; who does not read its answers gets no more of them. The methods are core/node's. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/host_private.h"

#define CLIENTS_MAX      256u
#define UNREAD_BYTES_MAX (4u << 20) /* of answers: with more, the next request waits */

struct rpc_client {
    struct list link;
    struct host *host;
    struct stream *stream;
    struct buf in;
    size_t begun;  /* of in: up to here it has been handed on */
    size_t looked; /* of in: no newline from there up to here */
    size_t unread; /* bytes of answers that wait for it */
    uint64_t call; /* that is being answered; 0: none */
};

struct rpc_server {
    char *path;
    struct list clients;
    size_t client_count;
    struct map calls; /* id -> struct rpc_client * */
    uint64_t last_call;
    struct loop_timer waiting;
    bool stopping;
};

/* The bytes up to the first newline, without it; false: none has come yet. Caller frees line. */
static bool take_line(struct rpc_client *client, struct buf *line)
{
    struct buf *in = &client->in;
    const uint8_t *newline =
        in->len > client->looked ? memchr(in->data + client->looked, '\n', in->len - client->looked) : NULL;
    if (!newline) {
        client->looked = in->len;
        return false;
    }
    const uint8_t *begin = in->data + client->begun;
    buf_bytes(line, begin, (size_t)(newline - begin));
    client->begun = (size_t)(newline + 1 - in->data);
    if (client->begun == in->len) {
        buf_free(in);
        client->begun = 0;
    } else if (client->begun > in->len / 2) { /* not for each of many short ones */
        in->len -= client->begun;
        memmove(in->data, in->data + client->begun, in->len);
        client->begun = 0;
    }
    client->looked = client->begun;
    return true;
}

/* Hands the first whole line to the node when nothing is being answered. */
static void hand_on(struct rpc_client *client)
{
    struct host *host = client->host;
    struct buf line = {0};
    if (client->call || client->unread > UNREAD_BYTES_MAX || host->rpc->stopping ||
        !take_line(client, &line)) {
        return;
    }
    client->call = ++host->rpc->last_call;
    *(struct rpc_client **)map_put(&host->rpc->calls, &client->call, NULL) = client;
    struct event event = {.kind = EVENT_RPC};
    event.rpc = client->call;
    event.rpc_text = (const char *)line.data;
    event.rpc_len = line.len;
    host_emit(host, &event);
    buf_free(&line);
}

static void on_received(void *context, const uint8_t *data, size_t len)
{
    struct rpc_client *client = context;
    buf_bytes(&client->in, data, len);
    hand_on(client);
    if (client->in.len - client->begun > RPC_REQUEST_BYTES_MAX) {
        log_warn(LOG_RPC, "a request of more than %u bytes: closing the connection", RPC_REQUEST_BYTES_MAX);
        stream_close(client->stream, "request too large");
    }
}

static void on_drained(void *context, size_t queued_bytes)
{
    struct rpc_client *client = context;
    client->unread = queued_bytes;
    hand_on(client);
}

static void on_closed(void *context, const char *why)
{
    struct rpc_client *client = context;
    struct host *host = client->host;
    (void)why;
    if (client->call) {
        struct event event = {.kind = EVENT_RPC_GONE};
        event.rpc = client->call;
        map_remove(&host->rpc->calls, &client->call);
        host_emit(host, &event);
    }
    host->rpc->client_count--;
    list_remove(&client->link);
    buf_free(&client->in);
    mem_free(client);
}

static const struct stream_events rpc_events = {NULL, on_received, on_drained, on_closed};

static void on_accepted(void *context, int fd)
{
    struct host *host = context;
    struct rpc_server *server = host->rpc;
    if (server->stopping || server->client_count >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    struct rpc_client *client = mem_alloc(sizeof *client);
    client->host = host;
    list_append(&server->clients, &client->link);
    server->client_count++;
    client->stream = stream_new(host->loop, fd, &rpc_events, client);
}

void rpc_server_reply(struct host *host, uint64_t call, struct buf *bytes)
{
    struct rpc_client **found = map_get(&host->rpc->calls, &call);
    if (!found) {
        return; /* it has hung up */
    }
    struct rpc_client *client = *found;
    map_remove(&host->rpc->calls, &call);
    client->call = 0;
    buf_u8(bytes, '\n');
    client->unread += bytes->len;
    stream_send(client->stream, shared_of(bytes));
    if (client->in.len) {
        loop_timer_set(host->loop, &host->rpc->waiting, 0);
    }
}

/* Requests that waited behind one that is answered by now: one per client, then others have their turn. */
static void serve_waiting(void *context)
{
    struct host *host = context;
    LIST_EACH(at, &host->rpc->clients)
    {
        hand_on(CONTAINER_OF(at, struct rpc_client, link));
    }
}

bool rpc_server_start(struct host *host, struct error *error)
{
    struct rpc_server *server = mem_alloc(sizeof *server);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rng rng;
    uint8_t seed[32];
    random_bytes(seed, sizeof seed);
    rng_seed(&rng, seed);
    host->rpc = server;
    list_init(&server->clients);
    server->waiting.fire = serve_waiting;
    server->waiting.context = host;
    map_init(&server->calls, sizeof(uint64_t), sizeof(struct rpc_client *), &rng);
    char *path = settings_socket_path(host->settings);
    if (strlen(path) >= sizeof address.sun_path) {
        error_set(error, ERROR_USAGE, NULL,
                  "the socket path %.100s… has more than %zu bytes: choose a shorter one by --rpc-socket",
                  path, sizeof address.sun_path - 1);
        mem_free(path);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    server->path = path;
    unlink(path); /* ours: the data directory is locked */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t before = umask(0177);
    bool ok = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    umask(before);
    if (!ok || listen(fd, 64) != 0) {
        error_set(error, ERROR_IO, NULL, "cannot listen on %.150s: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    loop_listen(host->loop, fd, on_accepted, host);
    return true;
}

void rpc_server_stop(struct host *host)
{
    struct rpc_server *server = host->rpc;
    server->stopping = true;
    unlink(server->path);
    LIST_EACH(at, &server->clients)
    {
        stream_close(CONTAINER_OF(at, struct rpc_client, link)->stream, "the node stops");
    }
}

void rpc_server_free(struct host *host)
{
    if (host->rpc) {
        map_free(&host->rpc->calls);
        mem_free(host->rpc->path);
        mem_free(host->rpc);
        host->rpc = NULL;
    }
}
