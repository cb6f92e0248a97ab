/* faucet: asks a web server of a development network for coins (POST /api/v1/faucet) and prints the answer.
 * One plain HTTP request; not a general HTTP client. */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tools/quarry/quarry.h"

#define REPLY_BYTES_MAX 65536u
#define PATIENCE_S      30

/* A connected socket to HOST:PORT, or -1 and *error. */
static int dial(const char *address, struct error *error)
{
    const char *colon = strrchr(address, ':');
    char host[256];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - address) : (int)strlen(address), address);
    int status = getaddrinfo(host, colon ? colon + 1 : "8080", &hints, &found), fd = -1;
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        const struct timeval patience = {.tv_sec = PATIENCE_S};
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        }
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0) {
        error_set(error, ERROR_IO, NULL, "cannot reach a web server at %.150s: %s", address,
                  status ? gai_strerror(status) : strerror(errno));
    }
    if (found) {
        freeaddrinfo(found);
    }
    return fd;
}

static bool exchange(int fd, const struct buf *request, struct buf *reply, struct error *error)
{
    for (size_t sent = 0; sent < request->len;) {
        ssize_t put = send(fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);
        if (put < 0) {
            return error_set(error, ERROR_IO, NULL, "the web server has closed the connection: %s",
                             strerror(errno));
        }
        sent += (size_t)put;
    }
    for (ssize_t got = 1; got > 0 && reply->len < REPLY_BYTES_MAX;) {
        buf_reserve(reply, 4096);
        got = recv(fd, reply->data + reply->len, 4096, 0);
        if (got < 0) {
            return error_set(error, ERROR_IO, NULL, "no answer from the web server: %s", strerror(errno));
        }
        reply->len += (size_t)got;
    }
    buf_u8(reply, 0);
    return true;
}

/* The JSON object of an answer: behind the empty line; in one piece, since we asked by HTTP/1.0. */
static json_t *body_of(const char *reply)
{
    const char *body = reply ? strstr(reply, "\r\n\r\n") : NULL;
    json_t *object = body ? json_loads(body + 4, 0, NULL) : NULL;
    if (!json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static int print_answer(const char *reply)
{
    json_t *answer = body_of(reply);
    int status = STATUS_RUNTIME;
    if (!answer) {
        complain(0, "the web server's answer is not understood: %.60s", reply);
    } else if (json_is_true(json_object_get(answer, "success"))) {
        char *text = json_dumps(json_object_get(answer, "data"), JSON_INDENT(2) | JSON_ENCODE_ANY);
        puts(text ? text : "");
        free(text);
        status = STATUS_OK;
    } else {
        const char *why = json_string_value(json_object_get(answer, "error"));
        complain(0, "%s", why ? why : "the web server refuses, without a reason");
    }
    json_decref(answer);
    return status;
}

int faucet_command(const struct invocation *run)
{
    struct buf request = {0}, reply = {0};
    struct error error = {0};
    if (run->argc < 1 || run->argc > 2) {
        return complain(STATUS_USAGE, "faucet ADDRESS [HOST:PORT of a web server; default 127.0.0.1:8080]");
    }
    const char *server = run->argc == 2 ? run->argv[1] : "127.0.0.1:8080";
    const char *key = getenv("BITCOIN_API_WALLET_KEY");
    json_t *wish = json_pack("{s:s}", "address", run->argv[0]);
    char *body = wish ? json_dumps(wish, JSON_COMPACT) : NULL;
    int status = STATUS_RUNTIME, fd = body ? dial(server, &error) : -1;
    if (fd >= 0) {
        buf_printf(
            &request,
            "POST /api/v1/faucet HTTP/1.0\r\nHost: %s\r\nX-API-Key: %s\r\nContent-Type: application/json\r\n"
            "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
            server, key ? key : "wallet-secret", strlen(body), body);
    }
    if (fd >= 0 && exchange(fd, &request, &reply, &error)) {
        status = print_answer((const char *)reply.data);
    } else {
        complain(0, "%s", body ? error.text : "the address is not valid UTF-8");
    }
    if (fd >= 0) {
        close(fd);
    }
    free(body);
    json_decref(wish);
    buf_free(&request);
    buf_free(&reply);
    return status;
}
