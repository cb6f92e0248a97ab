/* The node as seen from the event loop: a few connections to its Unix socket, one question at a time on each,
 * the rest waiting in a bounded queue. Lost connections are made anew; whoever waited is told 503. There are
 * two such links: REST's questions have a deadline, JSON-RPC's calls may wait as long as they like. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/api_private.h"

#define ANSWER_MAX      (64u << 20)
#define ANSWERS_MAX     (256u << 20)
#define RETRY_US        INT64_C(200000)
#define STATUS_EVERY_US INT64_C(250000)

struct line { /* one connection */
    struct node_link *link;
    h2o_socket_t *socket;
    struct exchange *asking; /* NULL: free, or the asker has been told 503 */
    bool busy, for_status;
    int64_t deadline_us, retry_at_us, status_at_us;
    struct buf out;
};

struct node_link {
    struct api *api;
    struct sockaddr_un address;
    struct line *lines;
    size_t line_count, waiting_count, waiting_max;
    struct list waiting; /* struct exchange */
    bool asks_status;    /* line 0 does, and nothing else */
    bool was_up;
};

static void hand_out(struct node_link *link);

/* The question is not answered: JSON-RPC has words of its own for that. */
static void refuse(struct exchange *x, const char *code, const char *sentence)
{
    if (x->then_text) {
        rpc_unavailable(x, sentence);
    } else {
        reply_error(x, 503, code, "%s", sentence);
    }
}

static void line_close(struct line *line)
{
    if (line->socket) {
        h2o_socket_close(line->socket);
    }
    line->socket = NULL;
    line->busy = line->for_status = false;
}

static void line_lost(struct line *line, const char *why)
{
    struct exchange *asking = line->asking;
    struct api *api = line->link->api;
    line->asking = NULL;
    line->retry_at_us = loop_now().mono_us + RETRY_US;
    if (line->for_status) {
        api->status.valid = false;
    }
    line_close(line);
    api->counters.node_losses++;
    if (line->link->was_up && line->link->asks_status) {
        api->status.valid = false;
        log_warn(LOG_RPC, "lost the node: %s; trying again", why);
    }
    line->link->was_up = false;
    if (asking) {
        refuse(asking, "node_unavailable", "The node is not reachable.");
    }
}

static void answered(struct line *line, struct span text)
{
    struct exchange *asking = line->asking;
    json_t *replies = NULL;
    line->busy = false;
    line->asking = NULL;
    line->link->was_up = true;
    if (asking && asking->then_text) {
        asking->then_text(asking, text);
        hand_out(line->link);
        return;
    }
    replies = json_loadb((const char *)text.data, text.len, 0, NULL);
    if (line->for_status) {
        line->for_status = false;
        status_learn(line->link->api, reply_result(replies, 0));
    } else if (asking && json_is_array(replies)) {
        asking->then(asking, replies);
    } else if (asking) {
        reply_error(asking, 503, "node_unavailable", "The node gave an answer that is not understood.");
    }
    json_decref(replies);
    hand_out(line->link);
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    struct line *line = socket->data;
    if (err) {
        line_lost(line, err);
        return;
    }
    struct st_h2o_buffer_t *in = socket->input;
    size_t fresh = socket->bytes_read;
    const char *newline = memchr(in->bytes + in->size - fresh, '\n', fresh);
    if (in->size > ANSWER_MAX) {
        line_lost(line, "an answer that is too large");
    } else if (newline && !line->busy) {
        line_lost(line, "an answer to nothing");
    } else if (newline) {
        size_t len = (size_t)(newline - in->bytes);
        uint8_t *text = mem_dup(in->bytes, len);
        h2o_buffer_consume(&socket->input, len + 1);
        answered(line, span_of(text, len));
        mem_free(text);
    }
}

static void on_written(h2o_socket_t *socket, const char *err)
{
    struct line *line = socket->data;
    if (err) {
        line_lost(line, err);
    }
}

static void line_send(struct line *line, struct buf *bytes, int64_t patience_us)
{
    buf_free(&line->out);
    line->out = *bytes;
    *bytes = (struct buf){0};
    buf_u8(&line->out, '\n');
    line->busy = true;
    line->deadline_us = loop_now().mono_us + patience_us;
    h2o_iovec_t piece = h2o_iovec_init(line->out.data, line->out.len);
    h2o_socket_write(line->socket, &piece, 1, on_written);
}

static void line_open(struct line *line)
{
    struct node_link *link = line->link;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&link->address, sizeof link->address) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        line->retry_at_us = loop_now().mono_us + RETRY_US;
        return;
    }
    line->socket = h2o_evloop_socket_create(link->api->loop, fd, 0);
    line->socket->data = line;
    h2o_socket_read_start(line->socket, on_read);
}

static struct line *free_line(struct node_link *link)
{
    struct line *found = NULL;
    for (size_t i = link->asks_status ? 1 : 0; i < link->line_count; i++) {
        struct line *line = &link->lines[i];
        if (!line->socket && loop_now().mono_us >= line->retry_at_us) {
            line_open(line);
        }
        if (line->socket && !line->busy) {
            found = line;
            break;
        }
    }
    return found;
}

static void hand_out(struct node_link *link)
{
    struct line *line;
    while (!list_empty(&link->waiting) && (line = free_line(link))) {
        struct exchange *x = CONTAINER_OF(link->waiting.next, struct exchange, link);
        list_remove(&x->link);
        link->waiting_count--;
        line->asking = x;
        line_send(line, &x->ask, x->patience_us);
    }
}

/* x->ask waits for a line, or is refused at once. */
static void queue(struct node_link *link, struct exchange *x)
{
    bool any = false;
    x->asked_us = loop_now().mono_us;
    link->api->counters.node_calls++;
    if (link->waiting_count >= link->waiting_max) {
        refuse(x, "busy", "Work queue depth exceeded");
        return;
    }
    list_append(&link->waiting, &x->link);
    link->waiting_count++;
    hand_out(link);
    for (size_t i = 0; i < link->line_count; i++) {
        any |= link->lines[i].socket != NULL;
    }
    if (!any) { /* nobody to wait for */
        list_remove(&x->link);
        link->waiting_count--;
        refuse(x, "node_unavailable", "The node is not reachable.");
    }
}

void node_ask(struct exchange *x, json_t *calls, void (*then)(struct exchange *x, json_t *replies))
{
    char *text = json_dumps(calls, JSON_COMPACT);
    json_decref(calls);
    buf_clear(&x->ask);
    buf_bytes(&x->ask, text, strlen(text));
    free(text);
    x->then = then;
    x->patience_us = MAX(x->patience_us, INT64_C(5000000));
    queue(x->api->node, x);
}

void node_forward(struct exchange *x, struct span line, void (*then)(struct exchange *x, struct span text))
{
    buf_bytes(&x->ask, line.data, line.len);
    x->then_text = then;
    x->patience_us = INT64_MAX / 4;
    queue(x->api->rpc_node, x);
}

void node_forget(struct exchange *x)
{
    struct node_link *link = x->then_text ? x->api->rpc_node : x->api->node;
    LIST_EACH_SAFE(at, following, &link->waiting)
    {
        if (at == &x->link) {
            list_remove(at);
            link->waiting_count--;
        }
    }
    for (size_t i = 0; i < link->line_count; i++) {
        if (link->lines[i].asking == x) { /* the node learns it by the end of the connection */
            link->lines[i].asking = NULL;
            line_close(&link->lines[i]);
        }
    }
}

void add_call(json_t *calls, const char *method, json_t *params)
{
    json_array_append_new(calls, json_pack("{s:i, s:s, s:o}", "id", (int)json_array_size(calls), "method",
                                           method, "params", params ? params : json_array()));
}

json_t *reply_result(json_t *replies, size_t index)
{
    json_t *reply = json_array_get(replies, index);
    return json_is_null(json_object_get(reply, "error")) ? json_object_get(reply, "result") : NULL;
}

void reply_node_error(struct exchange *x, json_t *replies, size_t index)
{
    const json_t *error = json_object_get(json_array_get(replies, index), "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    int code = (int)json_integer_value(json_object_get(error, "code"));
    message = message ? message : "no answer";
    switch (code) {
    case RPC_IN_WARMUP: reply_error(x, 503, "loading", "The node is loading its chain."); break;
    case RPC_INVALID_ADDRESS_OR_KEY:
    case RPC_INVALID_PARAMETER:
    case RPC_TYPE_ERROR: reply_error(x, 400, "bad_request", "%s", message); break;
    case RPC_VERIFY_ERROR:
    case RPC_VERIFY_REJECTED:
    case RPC_VERIFY_ALREADY_IN_UTXO_SET:
        reply_error(x, 422, "rejected", "The node refuses: %s", message);
        break;
    case RPC_MISC_ERROR: reply_error(x, 409, "busy", "%s", message); break;
    default: reply_error(x, 503, "node_error", "The node answers: %s", message); break;
    }
}

static void ask_status(struct node_link *link, int64_t now_us)
{
    struct line *line = &link->lines[0];
    if (!line->socket && now_us >= line->retry_at_us) {
        line_open(line);
    }
    if (line->socket && !line->busy && now_us >= line->status_at_us) {
        struct buf ask = {0};
        buf_printf(&ask, "[{\"id\":0,\"method\":\"getstatus\",\"params\":[]}]");
        line->for_status = true;
        line->status_at_us = now_us + STATUS_EVERY_US;
        line_send(line, &ask, 5000000);
    }
}

/* Answers that are still coming in hold at most so much together: the largest is given up. */
static void bound_answers(struct node_link *link)
{
    size_t sum = 0;
    struct line *largest = NULL;
    for (size_t i = 0; i < link->line_count; i++) {
        struct line *line = &link->lines[i];
        size_t size = line->socket ? line->socket->input->size : 0;
        sum += size;
        largest = line->socket && (!largest || size > largest->socket->input->size) ? line : largest;
    }
    if (largest && sum > ANSWERS_MAX) {
        line_lost(largest, "answers that hold too much together");
    }
}

void node_link_tick(struct node_link *link, int64_t now_us)
{
    bound_answers(link);
    for (size_t i = 0; i < link->line_count; i++) {
        struct line *line = &link->lines[i];
        if (line->busy && now_us > line->deadline_us) {
            line_lost(line, "no answer in time");
        }
    }
    LIST_EACH_SAFE(at, following, &link->waiting)
    {
        struct exchange *x = CONTAINER_OF(at, struct exchange, link);
        if (now_us > x->asked_us + x->patience_us) {
            list_remove(at);
            link->waiting_count--;
            refuse(x, "busy", "The node is busy.");
        }
    }
    if (link->asks_status) {
        ask_status(link, now_us);
    }
    hand_out(link);
}

bool node_link_up(const struct node_link *link)
{
    return link->was_up && link->lines[0].socket;
}

struct node_link *node_link_new(struct api *api, size_t connections, size_t waiting_max, bool asks_status)
{
    struct node_link *link = mem_alloc(sizeof *link);
    char *path = settings_socket_path(api->settings);
    *link = (struct node_link){.api = api,
                               .lines = mem_alloc(connections * sizeof *link->lines),
                               .line_count = connections,
                               .waiting_max = waiting_max,
                               .asks_status = asks_status};
    link->address.sun_family = AF_UNIX;
    snprintf(link->address.sun_path, sizeof link->address.sun_path, "%s", path);
    list_init(&link->waiting);
    for (size_t i = 0; i < connections; i++) {
        link->lines[i].link = link;
    }
    mem_free(path);
    return link;
}

void node_link_free(struct node_link *link)
{
    if (!link) {
        return;
    }
    LIST_EACH_SAFE(at, following, &link->waiting)
    {
        list_remove(at);
        exchange_free(CONTAINER_OF(at, struct exchange, link));
    }
    for (size_t i = 0; i < link->line_count; i++) {
        struct line *line = &link->lines[i];
        if (line->asking) {
            exchange_free(line->asking);
        }
        if (line->socket) {
            h2o_socket_close(line->socket);
        }
        buf_free(&line->out);
    }
    mem_free(link->lines);
    mem_free(link);
}

void status_learn(struct api *api, const json_t *result)
{
    struct node_status *s = &api->status;
    s->valid = json_is_object(result);
    if (!s->valid) {
        return;
    }
    const char *tip = json_string_value(json_object_get(result, "tip"));
    if (tip && strcmp(tip, s->tip) != 0) {
        snprintf(s->tip, sizeof s->tip, "%s", tip);
        cache_drop(api);
    }
    s->at_us = loop_now().mono_us;
    s->synced = json_is_true(json_object_get(result, "synced"));
    s->height = json_integer_value(json_object_get(result, "height"));
    s->peers = json_integer_value(json_object_get(result, "peers"));
    s->mempool = json_integer_value(json_object_get(result, "mempool"));
    s->uptime_s = json_integer_value(json_object_get(result, "uptime_s"));
    s->transactions = json_integer_value(json_object_get(result, "transactions"));
    s->hashes_per_s = json_number_value(json_object_get(result, "hashes_per_s"));
    s->difficulty = json_number_value(json_object_get(result, "difficulty"));
    json_decref(s->workers);
    s->workers = json_incref(json_object_get(result, "workers"));
    json_decref(s->latency);
    s->latency = json_incref(json_object_get(result, "block_latency"));
}
