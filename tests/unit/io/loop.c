/* The loop, each test on io_uring (skipped, saying so, where the kernel refuses it) and on epoll. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/io.h"

static struct loop *loop;
static struct error error;

static void open_loop(const char *kind)
{
    loop = loop_new(kind, &error);
    if (!loop && strcmp(kind, "io_uring") == 0) {
        cr_skip_test("io_uring cannot be used here: %s", error.text);
    }
    cr_assert(loop, "%s", error.text);
}

#define ON_BOTH(name)                                                                                        \
    static void name(void);                                                                                  \
    Test(loop_uring, name, .timeout = 60)                                                                    \
    {                                                                                                        \
        open_loop("io_uring");                                                                               \
        name();                                                                                              \
        loop_free(loop);                                                                                     \
    }                                                                                                        \
    Test(loop_epoll, name, .timeout = 60)                                                                    \
    {                                                                                                        \
        open_loop("epoll");                                                                                  \
        name();                                                                                              \
        loop_free(loop);                                                                                     \
    }                                                                                                        \
    static void name(void)

/* ---- A stream that counts what happens to it */

struct side {
    struct stream *stream;
    struct buf in;
    size_t wanted; /* stops the loop when so much has come */
    bool echo, opened, closed, stop_when_closed, close_after;
    size_t drained;
    char why[160];
};

static void on_opened(void *context)
{
    struct side *side = context;
    side->opened = true;
}

static void on_received(void *context, const uint8_t *data, size_t len)
{
    struct side *side = context;
    if (side->echo) {
        struct buf back = {0};
        buf_bytes(&back, data, len);
        stream_send(side->stream, shared_of(&back));
    }
    buf_bytes(&side->in, data, len);
    if (side->wanted && side->in.len >= side->wanted) {
        if (side->close_after) {
            stream_close(side->stream, "enough");
        } else {
            loop_stop(loop);
        }
    }
}

static void on_drained(void *context, size_t queued)
{
    (void)queued;
    ((struct side *)context)->drained++;
}

static void on_closed(void *context, const char *why)
{
    struct side *side = context;
    cr_assert_not(side->closed, "closed is told once");
    side->closed = true;
    side->stream = NULL;
    snprintf(side->why, sizeof side->why, "%s", why);
    if (side->stop_when_closed) {
        loop_stop(loop);
    }
}

static struct side a, b; /* not on a stack: loop_free still tells them */
static const struct stream_events events = {on_opened, on_received, on_drained, on_closed};

static void make_pair(void)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    a.stream = stream_new(loop, pair[0], &events, &a);
    b.stream = stream_new(loop, pair[1], &events, &b);
}

static void send_pattern(struct side *side, size_t len, unsigned seed)
{
    struct buf bytes = {0};
    struct rng rng;
    rng_seed_u64(&rng, seed);
    uint8_t *at = buf_extend(&bytes, len);
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)rng_next(&rng);
    }
    stream_send(side->stream, shared_of(&bytes));
}

ON_BOTH(megabytes_there_and_back)
{
    a = (struct side){.wanted = 5 << 20};
    b = (struct side){.echo = true};
    make_pair();
    for (unsigned i = 0; i < 50; i++) {
        send_pattern(&a, (5 << 20) / 50 + (i < (5 << 20) % 50), i);
    }
    cr_assert_eq(loop_queued_bytes(loop), 5 << 20);
    loop_run(loop);
    cr_assert_eq(a.in.len, 5 << 20);
    cr_assert_eq(b.in.len, 5 << 20);
    cr_assert_eq(memcmp(a.in.data, b.in.data, a.in.len), 0, "bytes keep their order");
    cr_assert_gt(a.drained, 0);
    buf_free(&a.in);
    buf_free(&b.in);
}

ON_BOTH(closing_sends_what_is_queued)
{
    a = (struct side){0};
    b = (struct side){.stop_when_closed = true};
    make_pair();
    send_pattern(&a, 3 << 20, 1);
    stream_close(a.stream, "done");
    send_pattern(&a, 100, 2); /* after the close: dropped */
    loop_run(loop);
    cr_assert_eq(b.in.len, 3 << 20);
    cr_assert_str_eq(b.why, "closed by the other side");
    buf_free(&b.in);
}

ON_BOTH(close_from_inside_a_callback)
{
    a = (struct side){.stop_when_closed = true};
    b = (struct side){.wanted = 10, .close_after = true};
    make_pair();
    send_pattern(&a, 1000, 1);
    loop_run(loop);
    cr_assert(a.closed);
    cr_assert_geq(b.in.len, 10);
    buf_free(&b.in);
}

ON_BOTH(a_peer_that_never_reads_is_let_go)
{
    a = (struct side){.stop_when_closed = true};
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    a.stream = stream_new(loop, pair[0], &events, &a);
    send_pattern(&a, 8 << 20, 1);
    stream_close(a.stream, "too slow");
    loop_run(loop); /* ends: after the second that closing waits */
    cr_assert(a.closed);
    cr_assert_str_eq(a.why, "too slow");
    cr_assert_eq(loop_queued_bytes(loop), 0);
    close(pair[1]);
}

/* ---- One message to many */

static size_t streams_open;

static void on_one_closed(void *context, const char *why)
{
    on_closed(context, why);
    if (!--streams_open) {
        loop_stop(loop);
    }
}

static const struct stream_events events_of_many = {NULL, on_received, on_drained, on_one_closed};

ON_BOTH(a_message_to_many_is_held_by_each_until_it_is_sent)
{
    enum { PAIRS = 5, LEN = 1 << 20, TIMES = 2 };
    static struct side from[PAIRS], to[PAIRS];
    struct buf bytes = {0};
    int pairs[PAIRS][2];
    memset(buf_extend(&bytes, LEN), 7, LEN);
    struct shared *message = shared_of(&bytes);
    streams_open = 2 * PAIRS - 1;
    for (size_t i = 0; i < PAIRS; i++) {
        from[i] = to[i] = (struct side){0};
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
        from[i].stream = stream_new(loop, pairs[i][0], &events_of_many, &from[i]);
        if (i) { /* at the other end of the first nobody reads */
            to[i].stream = stream_new(loop, pairs[i][1], &events_of_many, &to[i]);
        }
        for (size_t time = 0; time < TIMES; time++) {
            stream_send(from[i].stream, shared_ref(message));
        }
        stream_close(from[i].stream, "done");
        stream_send(from[i].stream, shared_ref(message)); /* after the close: let go of at once */
    }
    cr_assert_eq(loop_queued_bytes(loop), PAIRS * TIMES * LEN, "it counts for each that it waits for");
    cr_assert_eq(message->references, 1 + PAIRS * TIMES);
    loop_run(loop);
    cr_assert_eq(loop_queued_bytes(loop), 0);
    cr_assert_eq(message->references, 1);
    for (size_t i = 1; i < PAIRS; i++) {
        cr_assert_eq(to[i].in.len, TIMES * LEN);
        cr_assert_eq(memcmp(to[i].in.data + LEN, message->bytes.data, LEN), 0);
        buf_free(&to[i].in);
    }
    shared_unref(message);
    close(pairs[0][1]);
}

/* ---- TCP */

static struct side accepted;

static void on_accepted(void *context, int fd)
{
    struct side *side = context;
    side->stream = stream_new(loop, fd, &events, side);
}

static struct sockaddr_in listen_somewhere(int *fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(*fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(*fd, 8), 0);
    getsockname(*fd, (struct sockaddr *)&address, &len);
    return address;
}

/* Our end of a TCP connection whose other end sent a megabyte and then reset it, before anybody has read. */
static int reset_behind_a_megabyte(void)
{
    const int much = 4 << 20;
    const struct linger at_once = {1, 0};
    static uint8_t megabyte[1 << 20];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &much, sizeof much);
    cr_assert_eq(bind(listener, (const struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(connect(other, (const struct sockaddr *)&address, len), 0);
    int ours = accept(listener, NULL, NULL);
    cr_assert_geq(ours, 0);
    cr_assert_eq(send(other, megabyte, sizeof megabyte, 0), (ssize_t)sizeof megabyte);
    setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(other);
    close(listener);
    return ours;
}

ON_BOTH(a_reset_behind_much_data_is_told)
{
    a = (struct side){.stop_when_closed = true};
    a.stream = stream_new(loop, reset_behind_a_megabyte(), &events, &a);
    loop_run(loop);
    cr_assert(a.closed);
    buf_free(&a.in);
}

Test(loop_uring, a_reset_is_told_of_a_stream_that_is_not_read, .timeout = 60)
{
    open_loop("io_uring");
    a = (struct side){.stop_when_closed = true};
    a.stream = stream_new(loop, reset_behind_a_megabyte(), &events, &a);
    stream_pause(a.stream, INT64_MAX);
    loop_run(loop);
    cr_assert(a.closed);
    buf_free(&a.in);
    loop_free(loop);
}

ON_BOTH(dial_and_accept)
{
    int fd;
    struct sockaddr_in address = listen_somewhere(&fd);
    a = (struct side){.wanted = 100000};
    accepted = (struct side){.echo = true};
    loop_listen(loop, fd, on_accepted, &accepted);
    a.stream = stream_dial(loop, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address,
                           &events, &a);
    send_pattern(&a, 100000, 3); /* before it is connected: waits */
    loop_run(loop);
    cr_assert(a.opened);
    cr_assert_eq(memcmp(a.in.data, accepted.in.data, 100000), 0);
    buf_free(&a.in);
    buf_free(&accepted.in);
}

ON_BOTH(refused_dial_is_told)
{
    int fd;
    struct sockaddr_in address = listen_somewhere(&fd);
    a = (struct side){.stop_when_closed = true};
    close(fd); /* nobody listens there now */
    a.stream = stream_dial(loop, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address,
                           &events, &a);
    loop_run(loop);
    cr_assert(a.closed);
    cr_assert_not(a.opened);
    cr_assert_str_eq(a.why, "Connection refused");
}

ON_BOTH(dial_can_be_given_up)
{
    /* A full backlog: the dial neither succeeds nor fails by itself. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 0), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    int fillers[4];
    for (size_t i = 0; i < ARRAY_COUNT(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    a = (struct side){.stop_when_closed = true};
    a.stream = stream_dial(loop, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address,
                           &events, &a);
    stream_close(a.stream, "given up");
    loop_run(loop);
    cr_assert(a.closed);
    cr_assert_str_eq(a.why, "given up");
    for (size_t i = 0; i < ARRAY_COUNT(fillers); i++) {
        close(fillers[i]);
    }
    close(fd);
}

/* ---- Timers, watches, files, tasks */

static struct loop_timer timers[3];
static int fired[3], fired_count;

static void fire(void *context)
{
    fired[fired_count++] = (int)(intptr_t)context;
    if (fired_count == 2) {
        loop_stop(loop);
    }
}

ON_BOTH(timers_fire_in_order)
{
    int64_t now = loop_now().mono_us;
    fired_count = 0;
    for (intptr_t i = 0; i < 3; i++) {
        timers[i] = (struct loop_timer){.fire = fire, .context = (void *)i};
    }
    loop_timer_set(loop, &timers[0], now + 20000);
    loop_timer_set(loop, &timers[1], now + 1000);
    loop_timer_set(loop, &timers[2], now + 5000);
    loop_timer_clear(&timers[2]);
    loop_run(loop);
    cr_assert_eq(fired[0], 1);
    cr_assert_eq(fired[1], 0);
    cr_assert_geq(loop_now().mono_us, now + 20000);
}

static struct loop_timer restless;
static unsigned restless_count;

static void fire_at_once_again(void *context)
{
    (void)context;
    if (++restless_count < 100000) {
        loop_timer_set(loop, &restless, 0);
    } else {
        loop_stop(loop);
    }
}

static void stop_the_loop(void *context)
{
    (void)context;
    loop_stop(loop);
}

ON_BOTH(a_timer_that_is_always_due_holds_nothing_else_up)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    restless_count = 0;
    restless = (struct loop_timer){.fire = fire_at_once_again};
    loop_watch(loop, fd, stop_the_loop, NULL);
    loop_timer_set(loop, &restless, 0);
    loop_run(loop);
    cr_assert_lt(restless_count, 100000, "the descriptor was readable all the time");
    loop_timer_clear(&restless);
    close(fd);
}

static int watched_fd;
static unsigned watched_count;

static void on_watched(void *context)
{
    uint64_t count;
    (void)context;
    cr_assert_eq(read(watched_fd, &count, sizeof count), sizeof count);
    if (++watched_count == 5) {
        loop_stop(loop);
    } else {
        count = 1;
        cr_assert_eq(write(watched_fd, &count, sizeof count), sizeof count);
    }
}

ON_BOTH(watch_sees_every_wake_up)
{
    uint64_t one = 1;
    watched_count = 0;
    watched_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop_watch(loop, watched_fd, on_watched, NULL);
    cr_assert_eq(write(watched_fd, &one, sizeof one), sizeof one);
    loop_run(loop);
    cr_assert_eq(watched_count, 5);
    close(watched_fd);
}

static int file_result = -1;

static void on_file(void *context, int result)
{
    (void)context;
    file_result = result;
    loop_stop(loop);
}

Test(loop_uring, files_on_the_ring, .timeout = 60)
{
    char path[] = "/tmp/quarry-loop.XXXXXX";
    int fd = mkstemp(path);
    uint8_t back[8] = {0};
    unlink(path);
    open_loop("io_uring");
    cr_assert(loop_file(loop, true, fd, (uint8_t[]){"quarry"}, 6, 100, on_file, NULL));
    loop_run(loop);
    cr_assert_eq(file_result, 0);
    cr_assert_eq(pread(fd, back, 6, 100), 6);
    cr_assert_arr_eq(back, "quarry", 6);
    loop_free(loop);
    open_loop("io_uring");
    cr_assert(loop_file(loop, false, fd, back, 8, 100, on_file, NULL));
    loop_run(loop);
    cr_assert_neq(file_result, 0, "a read past the end is an error");
    loop_free(loop);
    close(fd);
}

Test(loop_epoll, has_no_files)
{
    open_loop("epoll");
    cr_assert_not(loop_file(loop, true, 1, NULL, 0, 0, on_file, NULL));
    loop_free(loop);
}

struct sum {
    struct task task;
    unsigned n, result;
};
static unsigned sums_done;

static void run_sum(struct task *task)
{
    struct sum *sum = CONTAINER_OF(task, struct sum, task);
    for (unsigned i = 0; i <= sum->n; i++) {
        sum->result += i;
    }
}

static void sum_done(struct task *task)
{
    struct sum *sum = CONTAINER_OF(task, struct sum, task);
    cr_assert_eq(sum->result, sum->n * (sum->n + 1) / 2);
    cr_assert_eq(sum->n, sums_done, "first come first served");
    if (++sums_done == 100) {
        loop_stop(loop);
    }
}

ON_BOTH(tasks_come_back)
{
    struct sum sums[100] = {0};
    struct tasks *tasks = tasks_new(loop);
    struct task_thread *thread = task_thread_start(tasks, "test");
    sums_done = 0;
    for (unsigned i = 0; i < 100; i++) {
        sums[i] = (struct sum){.task = {.run = run_sum, .done = sum_done}, .n = i};
        task_submit(thread, &sums[i].task);
    }
    loop_run(loop);
    cr_assert_eq(sums_done, 100);
    task_thread_stop(thread);
    tasks_free(tasks);
}
