/* The epoll twin of loop_uring.c, for kernels and containers that refuse io_uring. Readiness is turned into
 * the same completions; files are left to a thread (loop_file says no). */
#include "io/loop_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 64
#define READ_BYTES     65536u
#define ACCEPTS_MAX    64

enum tag { TAG_WATCH = 1, TAG_LISTENER = 2, TAG_STREAM = 3 };

struct epoll_ring {
    int fd;
    uint8_t bytes[READ_BYTES];
};

static struct epoll_ring *ring_of(const struct loop *loop)
{
    return loop->ring;
}

static bool epoll_open(struct loop *loop, struct error *error)
{
    struct epoll_ring *ring = mem_alloc(sizeof *ring);
    ring->fd = epoll_create1(EPOLL_CLOEXEC);
    if (ring->fd < 0) {
        mem_free(ring);
        return error_set(error, ERROR_IO, NULL, "epoll: %s", strerror(errno));
    }
    loop->ring = ring;
    return true;
}

static void epoll_close(struct loop *loop)
{
    close(ring_of(loop)->fd);
    mem_free(loop->ring);
}

static void control(struct loop *loop, int operation, int fd, uint32_t events, void *object, enum tag tag)
{
    struct epoll_event event = {.events = events, .data.u64 = (uintptr_t)object | tag};
    CHECK(epoll_ctl(ring_of(loop)->fd, operation, fd, &event) == 0);
}

static void epoll_watch(struct loop *loop, struct watch *watch)
{
    control(loop, EPOLL_CTL_ADD, watch->fd, EPOLLIN, watch, TAG_WATCH);
}

static void be_nonblocking(int fd)
{
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

static void epoll_listen(struct loop *loop, struct listener *listener)
{
    be_nonblocking(listener->fd);
    control(loop, EPOLL_CTL_ADD, listener->fd, EPOLLIN, listener, TAG_LISTENER);
}

static void arm(struct stream *stream)
{
    uint32_t wanted = 0;
    if (stream->receiving) {
        wanted |= EPOLLIN;
    }
    if (stream->sending || stream->connecting) {
        wanted |= EPOLLOUT;
    }
    if (stream->armed_events != wanted) {
        control(stream->loop, stream->armed_events ? (wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL) : EPOLL_CTL_ADD,
                stream->fd, wanted, stream, TAG_STREAM);
        stream->armed_events = wanted;
    }
}

static void epoll_connect(struct stream *stream)
{
    be_nonblocking(stream->fd);
    if (connect(stream->fd, (const struct sockaddr *)&stream->address, stream->address_len) != 0 &&
        errno != EINPROGRESS && errno != EINTR) {
        stream->dial_problem = errno; /* told by the loop: an unconnected socket is "writable" at once */
    }
    arm(stream);
}

static void epoll_receive(struct stream *stream)
{
    stream->receiving = true;
    arm(stream);
}

static void epoll_pause(struct stream *stream)
{
    stream->receiving = false;
    arm(stream);
}

/* Called from loop_run's own level only, so the result may be told at once. */
static void epoll_send(struct stream *stream)
{
    ssize_t sent = sendmsg(stream->fd, &stream->message, MSG_NOSIGNAL | MSG_DONTWAIT);
    stream->sending = sent < 0 && (errno == EAGAIN || errno == EINTR);
    if (!stream->sending) {
        ssize_t result = sent < 0 ? -errno : sent;
        arm(stream);
        stream_was_sent(stream, result);
    } else {
        arm(stream);
    }
}

static void epoll_submit(struct loop *loop)
{
    (void)loop; /* sent already */
}

static void epoll_abort(struct stream *stream)
{
    stream->receiving = stream->sending = stream->connecting = false;
    arm(stream);
}

static void epoll_forget(struct stream *stream)
{
    (void)stream; /* closing the descriptor takes it out */
}

static void do_accept(struct loop *loop, struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            listener->accepted(listener->context, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            int problem = errno;
            control(loop, EPOLL_CTL_DEL, listener->fd, 0, listener, TAG_LISTENER);
            listener_failed(listener, problem);
            return;
        }
    }
}

static void do_stream(struct epoll_ring *ring, struct stream *stream, uint32_t events)
{
    if (stream->shut) {
        return;
    }
    if (stream->connecting) {
        int problem = stream->dial_problem;
        socklen_t len = sizeof problem;
        if (!problem) {
            getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
        }
        stream_was_connected(stream, problem);
        if (!stream->shut) {
            arm(stream);
        }
        return;
    }
    if (stream->sending && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        epoll_send(stream);
    }
    if (stream->receiving && !stream->shut && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t got = recv(stream->fd, ring->bytes, sizeof ring->bytes, MSG_DONTWAIT);
        if (got > 0) {
            stream_was_received(stream, ring->bytes, (size_t)got);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            int problem = got ? errno : 0;
            stream->receiving = false;
            arm(stream);
            stream_was_ended(stream, problem);
        }
    }
}

static void epoll_wait_some(struct loop *loop, int64_t timeout_us)
{
    struct epoll_ring *ring = ring_of(loop);
    struct epoll_event events[EVENTS_AT_ONCE];
    int64_t ms = timeout_us == INT64_MAX ? -1 : (timeout_us + 999) / 1000;
    int count = epoll_wait(ring->fd, events, EVENTS_AT_ONCE, (int)MIN(ms, 1000000));
    for (int i = 0; i < count; i++) {
        uintptr_t object = events[i].data.u64 & ~(uintptr_t)7;
        switch ((enum tag)(events[i].data.u64 & 7)) {
        case TAG_WATCH: {
            struct watch *watch = (struct watch *)object;
            watch->ready(watch->context);
            break;
        }
        case TAG_LISTENER: do_accept(loop, (struct listener *)object); break;
        case TAG_STREAM: do_stream(ring, (struct stream *)object, events[i].events); break;
        }
    }
}

const struct backend backend_epoll = {
    "epoll",     epoll_open, epoll_close,  epoll_watch, epoll_listen, epoll_connect, epoll_receive,
    epoll_pause, epoll_send, epoll_submit, epoll_abort, epoll_forget, NULL,          epoll_wait_some,
};
