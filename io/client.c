/* The RPC client of the command line: one blocking connection to a node's Unix socket, one JSON text per
 * line. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/io.h"

#define REPLY_BYTES_MAX (512u << 20)

struct client {
    int fd;
    struct buf in;
};

struct client *client_open(const char *path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        error_set(error, ERROR_USAGE, NULL,
                  "the socket path %.120s… has more than %zu bytes: choose a shorter one by --rpc-socket",
                  path, sizeof address.sun_path - 1);
        return NULL;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        error_set(error, ERROR_IO, NULL, "cannot reach a node at %.150s: %s (is quarryd running there?)",
                  path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    struct client *client = mem_alloc(sizeof *client);
    client->fd = fd;
    return client;
}

void client_close(struct client *client)
{
    if (client) {
        close(client->fd);
        buf_free(&client->in);
        mem_free(client);
    }
}

static bool send_all(int fd, struct span bytes)
{
    while (bytes.len) {
        ssize_t put = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        bytes.data += put;
        bytes.len -= (size_t)put;
    }
    return true;
}

bool client_call(struct client *client, struct span request, struct buf *reply, struct error *error)
{
    if (!send_all(client->fd, request) || !send_all(client->fd, span_of("\n", 1))) {
        return error_set(error, ERROR_IO, NULL, "the node has closed the connection: %s", strerror(errno));
    }
    for (size_t looked = 0;;) {
        uint8_t *newline =
            client->in.len > looked ? memchr(client->in.data + looked, '\n', client->in.len - looked) : NULL;
        if (newline) {
            size_t len = (size_t)(newline - client->in.data);
            buf_bytes(reply, client->in.data, len);
            memmove(client->in.data, newline + 1, client->in.len - len - 1);
            client->in.len -= len + 1;
            return true;
        }
        looked = client->in.len;
        if (looked > REPLY_BYTES_MAX) {
            return error_set(error, ERROR_LIMIT, NULL, "the answer is larger than %u bytes", REPLY_BYTES_MAX);
        }
        buf_reserve(&client->in, 65536);
        ssize_t got = recv(client->fd, client->in.data + looked, 65536, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return error_set(error, ERROR_IO, NULL, "the node has closed the connection%s%s", got ? ": " : "",
                             got ? strerror(errno) : "");
        }
        client->in.len += (size_t)got;
    }
}
