/* quarry-bench http: paced requests from several client addresses to several servers, as people and attackers
 * send them: so many a second whatever the answers are. What came back, how fast, in slices of time. One
 * thread, HTTP/1.1 with keep-alive; an answer has come when the kernel has it, however late we read it. Not
 * here: what the server should have answered. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

#define PARTIES_MAX  16u
#define ANSWER_BYTES 65536u
#define SILENCE_NS   INT64_C(5000000000) /* after the end, for answers that are still to come */

enum outcome { ADMITTED, LIMITED, REFUSED, OTHER, LOST, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {"admitted", "limited", "refused", "other", "lost"};

struct tally {
    uint64_t sent, outcomes[OUTCOMES];
    int64_t worst_ns;
};

struct connection {
    int fd; /* -1: to be opened again */
    size_t client, server;
    bool busy;
    int64_t sent_ns;
    size_t slice; /* that it was sent in */
    char in[ANSWER_BYTES];
    size_t len;
};

struct load {
    struct sockaddr_in clients[PARTIES_MAX], servers[PARTIES_MAX];
    char names[PARTIES_MAX][32];
    size_t client_count, server_count, connection_count, slice_count;
    struct connection *connections;
    struct tally *tallies; /* [client][slice] */
    struct samples latency_ms[PARTIES_MAX];
    uint64_t due_missed; /* requests that found every connection busy */
    char request[512];
    int epoll;
    int64_t began_ns, slice_ns;
    int64_t stalled_ns; /* the longest that this program itself was away */
};

static const char *clients_text = "127.0.0.1", *servers_text = "127.0.0.1:8080",
                  *path_text = "/api/v1/blockchain";
static int64_t rate = 1000, seconds = 10, connections = 32, slice_ms = 1000;

/* The kernel's clock for packets. */
static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool parse_parties(struct sockaddr_in *out, size_t *count, const char *text, bool with_port,
                          struct error *error)
{
    for (const char *at = text; *at;) {
        char host[64];
        size_t len = strcspn(at, ","), host_len = with_port ? strcspn(at, ":") : len;
        struct sockaddr_in *address = &out[*count];
        snprintf(host, sizeof host, "%.*s", (int)MIN(host_len, sizeof host - 1), at);
        *address = (struct sockaddr_in){.sin_family = AF_INET};
        if (with_port && host_len < len) {
            address->sin_port = htons((uint16_t)strtoul(at + host_len + 1, NULL, 10));
        }
        if (*count == PARTIES_MAX || inet_pton(AF_INET, host, &address->sin_addr) != 1 ||
            (with_port && !address->sin_port)) {
            return error_set(error, ERROR_USAGE, NULL, "'%.80s': at most %u IPv4 addresses%s are wanted",
                             text, PARTIES_MAX, with_port ? " with ports" : "");
        }
        ++*count;
        at += len + (at[len] == ',');
    }
    return *count || error_set(error, ERROR_USAGE, NULL, "no address is given");
}

static void open_connection(struct load *load, struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->busy = false;
    c->len = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->fd < 0 ||
        bind(c->fd, (const struct sockaddr *)&load->clients[c->client], sizeof(struct sockaddr_in)) != 0 ||
        connect(c->fd, (const struct sockaddr *)&load->servers[c->server], sizeof(struct sockaddr_in)) != 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        if (c->fd >= 0) {
            close(c->fd);
        }
        c->fd = -1;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

static void settle(struct load *load, struct connection *c, enum outcome outcome, int64_t now_ns)
{
    struct tally *tally = &load->tallies[c->client * load->slice_count + c->slice];
    int64_t took_ns = now_ns - c->sent_ns;
    c->busy = false;
    c->len = 0;
    tally->outcomes[outcome]++;
    tally->worst_ns = MAX(tally->worst_ns, took_ns);
    samples_add(&load->latency_ms[c->client], (double)took_ns / 1e6);
}

static void lose(struct load *load, struct connection *c)
{
    if (c->busy) {
        settle(load, c, LOST, clock_ns());
    }
    close(c->fd);
    c->fd = -1;
}

/* Bytes that the whole answer has; 0: not known yet. */
static size_t answer_length(const struct connection *c)
{
    const char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    static const char name[] = "content-length:";
    for (const char *at = c->in; end && at && at < end; at = memchr(at, '\n', (size_t)(end - at))) {
        at += *at == '\n';
        if ((size_t)(end - at) > sizeof name && strncasecmp(at, name, sizeof name - 1) == 0) {
            return (size_t)(end + 4 - c->in) + strtoul(at + sizeof name - 1, NULL, 10);
        }
    }
    return end ? (size_t)(end + 4 - c->in) : 0;
}

/* As recv; *came_ns: when the kernel had the last of these bytes, however late we are to read them. */
static ssize_t receive(struct connection *c, int64_t *came_ns)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec piece = {c->in + c->len, sizeof c->in - c->len};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(c->fd, &message, 0);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *came_ns = clock_ns();
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_TIMESTAMPNS) {
        struct timespec at;
        memcpy(&at, CMSG_DATA(header), sizeof at);
        *came_ns = (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
    }
    return got;
}

static void read_answer(struct load *load, struct connection *c)
{
    int64_t came_ns;
    ssize_t got = receive(c, &came_ns);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            lose(load, c);
        }
        return;
    }
    c->len += (size_t)got;
    size_t wanted = answer_length(c);
    if (wanted > sizeof c->in || (!wanted && c->len == sizeof c->in)) {
        lose(load, c);
    } else if (wanted && c->len >= wanted) {
        int status = c->len > 12 ? (int)strtol(c->in + 9, NULL, 10) : 0;
        settle(load, c,
               status == 200   ? ADMITTED
               : status == 429 ? LIMITED
               : status == 503 ? REFUSED
                               : OTHER,
               came_ns);
    }
}

/* On the next free connection of a client; servers take turns, since connections do. */
static bool send_request(struct load *load, size_t client, size_t *next)
{
    int64_t now_ns = clock_ns();
    size_t each = load->connection_count / load->client_count;
    for (size_t tried = 0; tried < each; tried++) {
        struct connection *c = &load->connections[client * each + (*next)++ % each];
        if (c->fd < 0) {
            open_connection(load, c);
        }
        if (c->fd < 0 || c->busy) {
            continue;
        }
        ssize_t put = send(c->fd, load->request, strlen(load->request), MSG_NOSIGNAL);
        c->busy = true;
        c->sent_ns = now_ns;
        c->slice = MIN((size_t)((now_ns - load->began_ns) / load->slice_ns), load->slice_count - 1);
        load->tallies[client * load->slice_count + c->slice].sent++;
        if (put != (ssize_t)strlen(load->request)) {
            lose(load, c);
        }
        return true;
    }
    return false;
}

static bool any_busy(const struct load *load)
{
    bool busy = false;
    for (size_t i = 0; i < load->connection_count && !busy; i++) {
        busy = load->connections[i].busy;
    }
    return busy;
}

static void take_answers(struct load *load, int patience_ms)
{
    struct epoll_event events[256];
    int count = epoll_wait(load->epoll, events, 256, patience_ms);
    for (int i = 0; i < count; i++) {
        read_answer(load, events[i].data.ptr);
    }
}

static void drive(struct load *load)
{
    uint64_t asked[PARTIES_MAX] = {0};
    size_t next[PARTIES_MAX] = {0};
    load->began_ns = clock_ns();
    int64_t turned_ns = load->began_ns;
    int64_t end_ns = load->began_ns + seconds * INT64_C(1000000000), now_ns;
    while ((now_ns = clock_ns()) < end_ns) {
        load->stalled_ns = MAX(load->stalled_ns, now_ns - turned_ns);
        turned_ns = now_ns;
        uint64_t due = (uint64_t)((double)(now_ns - load->began_ns) / 1e9 * (double)rate);
        for (size_t client = 0; client < load->client_count; client++) {
            while (asked[client] < due && send_request(load, client, &next[client])) {
                asked[client]++;
            }
            if (due > asked[client] + (uint64_t)rate / 10) { /* a tenth of a second behind: let it go */
                load->due_missed += due - asked[client];
                asked[client] = due;
            }
        }
        take_answers(load, 1);
    }
    while (any_busy(load) && clock_ns() < end_ns + SILENCE_NS) {
        take_answers(load, 10);
    }
    for (size_t i = 0; i < load->connection_count; i++) {
        if (load->connections[i].busy) {
            settle(load, &load->connections[i], LOST, clock_ns());
        }
    }
}

static void show(struct report *report, struct load *load)
{
    for (size_t client = 0; client < load->client_count; client++) {
        struct tally sum = {0};
        for (size_t i = 0; i < load->slice_count; i++) {
            const struct tally *t = &load->tallies[client * load->slice_count + i];
            sum.sent += t->sent;
            sum.worst_ns = MAX(sum.worst_ns, t->worst_ns);
            struct report_cell cells[4 + OUTCOMES] = {
                {.name = "client", .text = load->names[client]},
                {.name = "ms", .number = (double)((int64_t)i * slice_ms)},
                {.name = "sent", .number = (double)t->sent}};
            for (size_t k = 0; k < OUTCOMES; k++) {
                sum.outcomes[k] += t->outcomes[k];
                cells[3 + k] =
                    (struct report_cell){.name = outcome_names[k], .number = (double)t->outcomes[k]};
            }
            cells[3 + OUTCOMES] =
                (struct report_cell){.name = "worst_ms", .number = (double)t->worst_ns / 1e6, .decimals = 1};
            report_row(report, "slices", cells, ARRAY_COUNT(cells));
        }
        report_note(
            report, "%s: sent %.1f/s, admitted %.1f/s, limited %.1f/s, refused %llu, other %llu, lost %llu",
            load->names[client], (double)sum.sent / (double)seconds,
            (double)sum.outcomes[ADMITTED] / (double)seconds, (double)sum.outcomes[LIMITED] / (double)seconds,
            (unsigned long long)sum.outcomes[REFUSED], (unsigned long long)sum.outcomes[OTHER],
            (unsigned long long)sum.outcomes[LOST]);
        report_samples(report, load->names[client], "ms", &load->latency_ms[client]);
    }
    report_value(report, "this program was away for at most", "ms", (double)load->stalled_ns / 1e6);
    report_value(report, "not sent: every connection was busy", "requests", (double)load->due_missed);
}

static bool run(struct report *report, struct error *error)
{
    struct load *load = mem_alloc(sizeof *load);
    bool ok = parse_parties(load->clients, &load->client_count, clients_text, false, error) &&
              parse_parties(load->servers, &load->server_count, servers_text, true, error);
    if (ok) {
        load->epoll = epoll_create1(EPOLL_CLOEXEC);
        load->slice_ns = slice_ms * 1000000;
        load->slice_count = (size_t)((seconds * 1000 + slice_ms - 1) / slice_ms);
        load->connection_count = (size_t)connections * load->client_count * load->server_count;
        load->tallies = mem_alloc(load->client_count * load->slice_count * sizeof *load->tallies);
        load->connections = mem_alloc(load->connection_count * sizeof *load->connections);
        snprintf(load->request, sizeof load->request, "GET %.300s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 path_text);
        for (size_t i = 0; i < load->client_count; i++) {
            inet_ntop(AF_INET, &load->clients[i].sin_addr, load->names[i], sizeof load->names[i]);
        }
        for (size_t i = 0; i < load->connection_count; i++) {
            struct connection *c = &load->connections[i];
            c->client = i / ((size_t)connections * load->server_count);
            c->server = i % load->server_count;
            open_connection(load, c);
            ok =
                ok && (c->fd >= 0 || error_set(error, ERROR_IO, NULL, "cannot connect: %s", strerror(errno)));
        }
    }
    if (ok) {
        drive(load);
        show(report, load);
    }
    for (size_t i = 0; load->connections && i < load->connection_count; i++) {
        if (load->connections[i].fd > 0) {
            close(load->connections[i].fd);
        }
    }
    for (size_t i = 0; i < PARTIES_MAX; i++) {
        samples_free(&load->latency_ms[i]);
    }
    if (load->epoll > 0) {
        close(load->epoll);
    }
    mem_free(load->tallies);
    mem_free(load->connections);
    mem_free(load);
    return ok;
}

static const struct bench_option options[] = {
    BENCH_TEXT("clients", "LIST", "addresses that requests come from", clients_text),
    BENCH_TEXT("servers", "LIST", "HOST:PORT, in turn", servers_text),
    BENCH_TEXT("path", "PATH", "what is asked for", path_text),
    BENCH_NUMBER("rate", "N", "requests a second of each client", rate, 1, 1000000),
    BENCH_NUMBER("seconds", "N", "how long", seconds, 1, 3600),
    BENCH_NUMBER("connections", "N", "of each client to each server", connections, 1, 256),
    BENCH_NUMBER("slice", "MS", "length of a row of the table", slice_ms, 10, 60000),
    {0},
};

const struct bench_command bench_http = {
    .name = "http",
    .summary = "paced requests from several addresses to several servers",
    .about =
        "So many requests a second from each client address, whatever the answers are; what came back\n"
        "(200 admitted, 429 limited, 503 refused, other, lost) and how long each took, by slices of time.",
    .options = options,
    .run = run};
