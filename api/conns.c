/*
 * The connections of HTTP: how many, how long each may take to ask and to read, and how much memory all of
 * them hold. h2o has one time-out for a whole request and none for writing; here every connection is looked
 * at twenty times a second, and one that breaks a bound is told why (408, 431, 503) and cut.
 *
 * When all places are taken, the connection that has been silent longest gives way to a new one, so idle or
 * dripping clients keep nobody out.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "api/api_private.h"

#define LOOK_US            INT64_C(50000)
#define HEAD_US            INT64_C(10000000) /* for a request's head … */
#define BODY_BYTES_PER_S   INT64_C(65536)    /* … and at least so fast what follows */
#define IDLE_US            INT64_C(60000000)
#define STALLED_US         INT64_C(10000000) /* a reader that takes nothing */
#define ANSWER_US          INT64_C(60000000) /* one that takes little: for the whole answer, and a second more … */
#define ANSWER_BYTES_PER_S INT64_C(1048576) /* … for each of these */
#define WATCH_US           INT64_C(1000000) /* what is younger is not looked at closely */
#define YIELD_US           INT64_C(1000000) /* silent at least so long before it gives way */
#define REQUESTS_BYTES_MAX (128u << 20)     /* received and not yet understood, all connections together */
#define ANSWERS_BYTES_MAX  (256u << 20)
#define OVER_MAX           256u /* beyond the places: told 503 when they ask */

enum { STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 }; /* of TCP_INFO */

struct conn {
    struct list link; /* least lately active first */
    struct conns *conns;
    struct front *front;
    h2o_socket_t *socket;
    bool cut, over;
    bool answering;      /* a request is being worked on or its answer written */
    struct exchange *x;  /* that is being worked on */
    int64_t active_us;   /* accepted, or the last answer was done */
    int64_t asking_us;   /* the first byte of the request that is coming; 0: none yet */
    int64_t answered_us; /* its answer was handed to the kernel's queue; 0: not yet */
    size_t answer_bytes;
    int64_t progress_us;
    uint64_t acked;
};

struct conns {
    struct api *api;
    struct list all;
    size_t count, answer_bytes;
    int64_t look_at_us;
};

struct conns *conns_new(struct api *api)
{
    struct conns *conns = mem_alloc(sizeof *conns);
    conns->api = api;
    list_init(&conns->all);
    return conns;
}

void conns_free(struct conns *conns)
{
    if (conns) {
        LIST_EACH_SAFE(at, following, &conns->all)
        {
            struct conn *conn = CONTAINER_OF(at, struct conn, link);
            conn->socket->on_close.cb = NULL; /* the socket goes with the process */
            mem_free(conn);
        }
        mem_free(conns);
    }
}

static void touch(struct conn *conn)
{
    conn->active_us = loop_now().mono_us;
    conn->asking_us = conn->answered_us = 0;
    list_remove(&conn->link);
    list_append(&conn->conns->all, &conn->link);
}

static void on_close(void *data)
{
    struct conn *conn = data;
    struct conns *conns = conn->conns;
    list_remove(&conn->link);
    conns->api->counters.connections = --conns->count;
    mem_free(conn);
}

/* h2o sees the end of its socket and closes it. Only a connection that is being written to is in the middle
 * of something that another answer would spoil. */
static void cut(struct conn *conn, int status, const char *sentence)
{
    int fd = h2o_socket_get_fd(conn->socket);
    if (conn->cut) {
        return;
    }
    conn->cut = true;
    conn->conns->api->counters.cut++;
    if (status) {
        struct buf body = {0}, text = {0};
        put_error(&body, "cut", sentence);
        buf_printf(&text,
                   "HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\n"
                   "content-length: %zu\r\n\r\n",
                   status, reason_of(status), body.len);
        buf_bytes(&text, body.data, body.len);
        send(fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        buf_free(&body);
        buf_free(&text);
    }
    for (int i = 0; i < 16 && recv(fd, NULL, 1u << 20, MSG_DONTWAIT | MSG_TRUNC) > 0; i++) {
        /* unread bytes would turn the close into a reset that overtakes the answer */
    }
    shutdown(fd, SHUT_RDWR);
}

/* The place of the one that has been silent longest. */
static bool make_room(struct conns *conns, int64_t now_us)
{
    LIST_EACH(at, &conns->all)
    {
        struct conn *conn = CONTAINER_OF(at, struct conn, link);
        if (!conn->answering && !conn->cut) {
            if (now_us - conn->active_us < YIELD_US) {
                return false;
            }
            cut(conn, conn->asking_us ? 408 : 0,
                "All places are taken, and this request takes too long to come.");
            return true;
        }
    }
    return false;
}

void conns_accept(struct conns *conns, struct front *front, h2o_socket_t *socket)
{
    size_t places = (size_t)conns->api->settings->http_connections;
    bool over = conns->count >= places && !make_room(conns, loop_now().mono_us);
    if (conns->count >= places + OVER_MAX) {
        conns->api->counters.refused++;
        h2o_socket_close(socket);
        return;
    }
    struct conn *conn = mem_alloc(sizeof *conn);
    *conn = (struct conn){.conns = conns, .front = front, .socket = socket, .over = over};
    list_init(&conn->link);
    touch(conn);
    conns->api->counters.connections = ++conns->count;
    socket->on_close.cb = on_close;
    socket->on_close.data = conn;
    h2o_accept(&front->accept, socket);
}

struct conn *conn_of(const h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

bool conn_asks(struct conn *conn, struct exchange *x)
{
    conn->answering = true;
    conn->x = x;
    conn->active_us = loop_now().mono_us;
    if (conn->over) {
        conn->conns->api->counters.refused++;
    }
    return !conn->over && !conn->cut;
}

bool conn_answers(struct conn *conn, size_t len)
{
    if (len > HEAD_BYTES_MAX && len + conn->conns->answer_bytes > ANSWERS_BYTES_MAX) {
        return false;
    }
    conn->x = NULL;
    conn->answer_bytes = len;
    conn->conns->answer_bytes += len;
    conn->answered_us = conn->progress_us = loop_now().mono_us;
    conn->acked = 0;
    return true;
}

void conn_is_done(struct conn *conn)
{
    conn->conns->answer_bytes -= conn->answer_bytes;
    conn->answer_bytes = 0;
    conn->answering = false;
    conn->x = NULL;
    touch(conn);
}

static void watch_reader(struct conn *conn, int64_t now_us)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (now_us - MAX(conn->active_us, conn->answered_us) < WATCH_US ||
        getsockopt(h2o_socket_get_fd(conn->socket), IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return;
    }
    if (!conn->answered_us) { /* the handler is at work; JSON-RPC may wait for ever, but not for nobody */
        if (conn->front->is_rpc && conn->x &&
            (info.tcpi_state == STATE_CLOSE_WAIT || info.tcpi_state == STATE_CLOSE)) {
            struct exchange *x = conn->x;
            node_forget(x);
            rpc_unavailable(x, "The client has left.");
        }
        return;
    }
    if (info.tcpi_bytes_acked != conn->acked) {
        conn->acked = info.tcpi_bytes_acked;
        conn->progress_us = now_us;
    }
    int64_t patience_us = ANSWER_US + (int64_t)conn->answer_bytes * 1000000 / ANSWER_BYTES_PER_S;
    if (now_us - conn->progress_us > STALLED_US || now_us - conn->answered_us > patience_us) {
        cut(conn, 0, "");
    }
}

static void watch_asker(struct conn *conn, int64_t now_us)
{
    const struct st_h2o_buffer_t *in = conn->socket->input;
    if (!in->size) {
        if (now_us - conn->active_us > IDLE_US) {
            cut(conn, 0, "");
        }
        return;
    }
    conn->asking_us = conn->asking_us ? conn->asking_us : now_us;
    bool has_head = memmem(in->bytes, MIN(in->size, HEAD_BYTES_MAX), "\r\n\r\n", 4);
    int64_t patience_us = HEAD_US + (has_head ? (int64_t)in->size * 1000000 / BODY_BYTES_PER_S : 0);
    if (!has_head && in->size > HEAD_BYTES_MAX) {
        cut(conn, 431, "The head of a request has at most 32768 bytes.");
    } else if (now_us - conn->asking_us > patience_us) {
        cut(conn, 408, "The request takes too long to come.");
    }
}

void conns_tick(struct conns *conns, int64_t now_us)
{
    size_t received = 0;
    struct conn *largest = NULL;
    if (now_us < conns->look_at_us) {
        return;
    }
    conns->look_at_us = now_us + LOOK_US;
    LIST_EACH_SAFE(at, following, &conns->all)
    {
        struct conn *conn = CONTAINER_OF(at, struct conn, link);
        size_t size = conn->socket->input->size;
        received += size;
        largest = !largest || size > largest->socket->input->size ? conn : largest;
        if (conn->answering) {
            watch_reader(conn, now_us);
        } else {
            watch_asker(conn, now_us);
        }
    }
    if (received > REQUESTS_BYTES_MAX && !largest->answering) {
        cut(largest, 503, "Too much is being sent to this server.");
    }
}
