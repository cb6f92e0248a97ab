/*
 * The loop: one thread that waits for sockets, descriptors, files and timers and calls back. It runs on
 * io_uring where the kernel allows it, on epoll otherwise (loop_uring.c, loop_epoll.c), behind this one
 * interface. Here are the parts that both share: send queues, the order of closing, timers.
 */
#include "io/loop_private.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

struct moment loop_now(void)
{
    struct timespec mono, wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct moment){mono.tv_sec * INT64_C(1000000) + mono.tv_nsec / 1000,
                           wall.tv_sec * INT64_C(1000000) + wall.tv_nsec / 1000};
}

struct loop *loop_new(const char *kind, struct error *error)
{
    struct loop *loop = mem_alloc(sizeof *loop);
    struct error problem = {0};
    list_init(&loop->watches);
    list_init(&loop->listeners);
    list_init(&loop->timers);
    list_init(&loop->streams);
    list_init(&loop->unsent);
    list_init(&loop->ending);
    list_init(&loop->paused);
    loop->resume_us = INT64_MAX;
    bool forced = strcmp(kind, "io_uring") == 0;
    if (strcmp(kind, "epoll") != 0) {
        loop->backend = &backend_uring;
        if (loop->backend->open(loop, &problem)) {
            return loop;
        }
        if (!forced) {
            log_warn(LOG_NODE, "io_uring cannot be used here: %s", problem.text);
        }
    }
    loop->backend = &backend_epoll;
    if (forced || !loop->backend->open(loop, &problem)) {
        error_set(error, ERROR_IO, NULL, "no loop: %s", problem.text);
        mem_free(loop);
        return NULL;
    }
    return loop;
}

const char *loop_name(const struct loop *loop)
{
    return loop->backend->name;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

size_t loop_queued_bytes(const struct loop *loop)
{
    return loop->queued_bytes;
}

/* ---- Timers ------------------------------------------------------------------------------------------ */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_mono_us)
{
    if (!timer->set) {
        list_append(&loop->timers, &timer->link);
    }
    timer->set = true;
    timer->at_us = MAX(at_mono_us, loop->fired_us + 1); /* one that fires sets itself for the next round */
}

void loop_timer_clear(struct loop_timer *timer)
{
    if (timer->set) {
        timer->set = false;
        list_remove(&timer->link);
    }
}

static int64_t next_deadline(const struct loop *loop)
{
    int64_t next = loop->resume_us;
    LIST_EACH(at, &loop->timers)
    {
        next = MIN(next, CONTAINER_OF(at, struct loop_timer, link)->at_us);
    }
    LIST_EACH(at, &loop->ending)
    {
        next = MIN(next, CONTAINER_OF(at, struct stream, ending)->deadline_us);
    }
    return next;
}

static void fire_timers(struct loop *loop)
{
    int64_t now = loop->fired_us = loop_now().mono_us;
    for (bool again = true; again;) { /* from the front each time: firing may set and clear others */
        again = false;
        LIST_EACH(at, &loop->timers)
        {
            struct loop_timer *timer = CONTAINER_OF(at, struct loop_timer, link);
            if (timer->at_us <= now) {
                loop_timer_clear(timer);
                timer->fire(timer->context);
                again = true;
                break;
            }
        }
    }
}

/* ---- Watches and listeners --------------------------------------------------------------------------- */

void loop_watch(struct loop *loop, int fd, void (*ready)(void *context), void *context)
{
    struct watch *watch = mem_alloc(sizeof *watch);
    watch->fd = fd;
    watch->ready = ready;
    watch->context = context;
    list_append(&loop->watches, &watch->link);
    loop->backend->watch(loop, watch);
}

static void accept_again(void *context)
{
    struct listener *listener = context;
    listener->loop->backend->listen(listener->loop, listener);
}

void loop_listen(struct loop *loop, int fd, void (*accepted)(void *context, int fd), void *context)
{
    struct listener *listener = mem_alloc(sizeof *listener);
    listener->loop = loop;
    listener->fd = fd;
    listener->accepted = accepted;
    listener->context = context;
    listener->retry.fire = accept_again;
    listener->retry.context = listener;
    list_append(&loop->listeners, &listener->link);
    loop->backend->listen(loop, listener);
}

void listener_failed(struct listener *listener, int problem)
{
    if (problem == EMFILE || problem == ENFILE || problem == ENOMEM || problem == ENOBUFS) {
        log_warn(LOG_NET, "cannot accept a connection just now: %s", strerror(problem));
    }
    loop_timer_set(listener->loop, &listener->retry, loop_now().mono_us + RETRY_ACCEPT);
}

/* ---- Streams ----------------------------------------------------------------------------------------- */

static struct stream *stream_make(struct loop *loop, int fd, const struct stream_events *events,
                                  void *context)
{
    struct stream *stream = mem_alloc(sizeof *stream);
    stream->loop = loop;
    stream->fd = fd;
    stream->events = events;
    stream->context = context;
    list_init(&stream->unsent);
    list_init(&stream->ending);
    list_init(&stream->paused);
    list_append(&loop->streams, &stream->link);
    return stream;
}

struct stream *stream_new(struct loop *loop, int fd, const struct stream_events *events, void *context)
{
    struct stream *stream = stream_make(loop, fd, events, context);
    loop->backend->receive(stream);
    return stream;
}

struct stream *stream_dial(struct loop *loop, int fd, const void *address, size_t address_len,
                           const struct stream_events *events, void *context)
{
    struct stream *stream = stream_make(loop, fd, events, context);
    CHECK(address_len <= sizeof stream->address);
    memcpy(&stream->address, address, address_len);
    stream->address_len = (unsigned)address_len;
    stream->connecting = true;
    loop->backend->connect(stream);
    return stream;
}

int stream_fd(const struct stream *stream)
{
    return stream->fd;
}

void stream_send(struct stream *stream, struct shared *bytes)
{
    if (stream->closing || !bytes->bytes.len) {
        shared_unref(bytes);
        return;
    }
    if (stream->queue_count == stream->queue_capacity) {
        size_t capacity = MAX(stream->queue_capacity * 2, 8u);
        struct shared **bigger = mem_alloc(capacity * sizeof *bigger);
        for (size_t i = 0; i < stream->queue_count; i++) {
            bigger[i] = stream->queue[(stream->queue_first + i) % stream->queue_capacity];
        }
        mem_free(stream->queue);
        stream->queue = bigger;
        stream->queue_first = 0;
        stream->queue_capacity = capacity;
    }
    stream->queue[(stream->queue_first + stream->queue_count++) % stream->queue_capacity] = bytes;
    stream->queued_bytes += bytes->bytes.len;
    stream->loop->queued_bytes += bytes->bytes.len;
    if (!stream->sending && !stream->connecting && list_empty(&stream->unsent)) {
        list_append(&stream->loop->unsent, &stream->unsent);
    }
}

static void drop_sent(struct stream *stream, size_t bytes)
{
    stream->queued_bytes -= bytes;
    stream->loop->queued_bytes -= bytes;
    while (bytes) {
        struct shared *first = stream->queue[stream->queue_first];
        size_t left = first->bytes.len - stream->first_offset;
        if (bytes < left) {
            stream->first_offset += bytes;
            return;
        }
        bytes -= left;
        shared_unref(first);
        stream->first_offset = 0;
        stream->queue_first = (stream->queue_first + 1) % stream->queue_capacity;
        stream->queue_count--;
    }
}

static void send_some(struct stream *stream)
{
    size_t count = MIN(stream->queue_count, SEND_PIECES);
    for (size_t i = 0; i < count; i++) {
        struct span piece = stream->queue[(stream->queue_first + i) % stream->queue_capacity]->bytes;
        size_t skip = i ? 0 : stream->first_offset;
        stream->pieces[i] = (struct iovec){(void *)(piece.data + skip), piece.len - skip}; /* only read */
    }
    stream->message = (struct msghdr){.msg_iov = stream->pieces, .msg_iovlen = count};
    stream->loop->backend->send(stream);
}

/* Ends both directions at once: every operation comes back, then the stream is finished. */
static void stream_shut(struct stream *stream)
{
    if (!stream->shut) {
        stream->shut = true;
        stream->deadline_us = INT64_MAX;
        shutdown(stream->fd, SHUT_RDWR);
        stream->loop->backend->abort(stream);
    }
}

/* The next step of closing: everything sent, then our end, then the other's end, then all is over. */
static void close_on(struct stream *stream)
{
    if (!stream->closing || stream->shut) {
        return;
    }
    if (stream->connecting || stream->read_ended) {
        stream_shut(stream);
    } else if (!stream->queue_count && !stream->write_ended) {
        stream->write_ended = true;
        if (shutdown(stream->fd, SHUT_WR) != 0) {
            stream_shut(stream);
        }
    }
}

void stream_pause(struct stream *stream, int64_t until_mono_us)
{
    struct loop *loop = stream->loop;
    if (stream->closing || stream->connecting || stream->read_ended) {
        return;
    }
    stream->resume_us = until_mono_us;
    loop->resume_us = MIN(loop->resume_us, until_mono_us);
    if (list_empty(&stream->paused)) {
        list_append(&loop->paused, &stream->paused);
        loop->backend->pause(stream);
    }
}

static void resume_streams(struct loop *loop)
{
    if (loop_now().mono_us < loop->resume_us) {
        return;
    }
    int64_t now = loop_now().mono_us;
    loop->resume_us = INT64_MAX;
    LIST_EACH_SAFE(at, following, &loop->paused)
    {
        struct stream *stream = CONTAINER_OF(at, struct stream, paused);
        if (stream->resume_us > now) {
            loop->resume_us = MIN(loop->resume_us, stream->resume_us);
            continue;
        }
        list_remove(&stream->paused);
        if (!stream->receiving) { /* else its last operation has not come back yet */
            loop->backend->receive(stream);
        }
    }
}

void stream_close(struct stream *stream, const char *why)
{
    if (!stream->closing) {
        if (!list_empty(&stream->paused)) {
            list_remove(&stream->paused);
            stream->read_ended = true;
        }
        stream->closing = true;
        snprintf(stream->why, sizeof stream->why, "%s", why);
        stream->deadline_us = loop_now().mono_us + LINGER_US;
        list_append(&stream->loop->ending, &stream->ending);
        close_on(stream);
    }
}

void stream_abort(struct stream *stream, const char *why)
{
    stream_close(stream, why);
    stream_shut(stream);
}

void stream_was_connected(struct stream *stream, int problem)
{
    stream->connecting = false;
    if (stream->closing) {
        stream_shut(stream);
    } else if (problem) {
        stream_abort(stream, strerror(problem));
    } else {
        stream->loop->backend->receive(stream);
        if (stream->queue_count && list_empty(&stream->unsent)) {
            list_append(&stream->loop->unsent, &stream->unsent);
        }
        stream->events->opened(stream->context);
    }
}

void stream_was_received(struct stream *stream, const uint8_t *data, size_t len)
{
    if (!stream->closing) {
        stream->events->received(stream->context, data, len);
        return;
    }
    stream->dropped_bytes += len;
    if (stream->dropped_bytes > LINGER_BYTES) {
        stream_shut(stream); /* it does not listen */
    }
}

void stream_was_ended(struct stream *stream, int problem)
{
    stream->read_ended = true;
    if (stream->closing) {
        close_on(stream);
    } else {
        stream_abort(stream, problem ? strerror(problem) : "closed by the other side");
    }
}

void stream_was_sent(struct stream *stream, ssize_t result)
{
    stream->sending = false;
    if (result < 0) {
        if (result == -EINTR || result == -EAGAIN) {
            list_append(&stream->loop->unsent, &stream->unsent);
        } else {
            stream_abort(stream, strerror((int)-result));
        }
        return;
    }
    drop_sent(stream, (size_t)result);
    if (stream->queue_count && !stream->shut) {
        list_append(&stream->loop->unsent, &stream->unsent);
    }
    close_on(stream);
    if (!stream->closing) {
        stream->events->drained(stream->context, stream->queued_bytes);
    }
}

static void stream_finish(struct stream *stream)
{
    struct loop *loop = stream->loop;
    loop->backend->forget(stream);
    close(stream->fd);
    list_remove(&stream->link);
    list_remove(&stream->unsent);
    list_remove(&stream->ending);
    list_remove(&stream->paused);
    drop_sent(stream, stream->queued_bytes);
    mem_free(stream->queue);
    stream->events->closed(stream->context, stream->why);
    mem_free(stream);
}

static void end_streams(struct loop *loop)
{
    int64_t now = list_empty(&loop->ending) ? 0 : loop_now().mono_us;
    LIST_EACH_SAFE(at, following, &loop->ending)
    {
        struct stream *stream = CONTAINER_OF(at, struct stream, ending);
        if (!stream->shut && stream->deadline_us <= now) {
            stream_shut(stream);
        }
    }
    for (bool again = true; again;) { /* from the front: a closed callback may close others */
        again = false;
        LIST_EACH(at, &loop->ending)
        {
            struct stream *stream = CONTAINER_OF(at, struct stream, ending);
            if (stream->shut && !stream->operations) {
                stream_finish(stream);
                again = true;
                break;
            }
        }
    }
}

/* ---- Files ------------------------------------------------------------------------------------------- */

bool loop_file(struct loop *loop, bool write, int fd, uint8_t *data, size_t len, uint64_t offset,
               void (*done)(void *context, int result), void *context)
{
    if (!loop->backend->file) {
        return false;
    }
    struct file_operation *operation = mem_alloc(sizeof *operation);
    operation->write = write;
    operation->fd = fd;
    operation->data = data;
    operation->len = len;
    operation->offset = offset;
    operation->done = done;
    operation->context = context;
    return loop->backend->file(loop, operation);
}

/* ---- Running ----------------------------------------------------------------------------------------- */

static void start_sends(struct loop *loop)
{
    while (!list_empty(&loop->unsent)) {
        struct stream *stream = CONTAINER_OF(loop->unsent.next, struct stream, unsent);
        list_remove(&stream->unsent);
        if (!stream->shut && !stream->sending && stream->queue_count) {
            send_some(stream);
        }
    }
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        start_sends(loop);
        if (next_deadline(loop) <= loop_now().mono_us) {
            loop->backend->submit(loop); /* what is to be sent does not wait for what the timers begin */
            fire_timers(loop);
            resume_streams(loop);
            start_sends(loop);
        }
        end_streams(loop);
        int64_t next = next_deadline(loop), now = loop_now().mono_us;
        bool more = !list_empty(&loop->unsent) || loop->stopped;
        loop->backend->wait(loop, more || next <= now ? 0 : next == INT64_MAX ? INT64_MAX : next - now);
    }
}

void loop_free(struct loop *loop)
{
    if (!loop) {
        return;
    }
    loop->backend->close(loop); /* nothing comes back any more */
    LIST_EACH_SAFE(at, following, &loop->streams)
    {
        struct stream *stream = CONTAINER_OF(at, struct stream, link);
        stream->operations = 0;
        if (!stream->closing) {
            snprintf(stream->why, sizeof stream->why, "the program ends");
        }
        stream_finish(stream);
    }
    LIST_EACH_SAFE(at, following, &loop->listeners)
    {
        struct listener *listener = CONTAINER_OF(at, struct listener, link);
        close(listener->fd);
        mem_free(listener);
    }
    LIST_EACH_SAFE(at, following, &loop->watches)
    {
        mem_free(CONTAINER_OF(at, struct watch, link));
    }
    mem_free(loop);
}
