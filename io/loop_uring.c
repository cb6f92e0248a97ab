/*
 * The loop on io_uring: submissions in batches, multishot accept and receive into a ring of provided buffers,
 * files beside sockets. Everything that is used is tried when the ring is opened; on any gap open fails and
 * says which, and loop.c goes on with epoll.
 */
#include "io/loop_private.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#define ENTRIES       1024u
#define COMPLETIONS   256u
#define BUFFER_BYTES  16384u
#define BUFFER_COUNT  256u /* a power of two; 4 MiB in all */
#define BUFFER_GROUP  1
#define PROBE_SECONDS 2

/* What a completion belongs to, in the low bits of its user data (objects are 16-byte aligned). */
enum tag { TAG_NONE, TAG_WATCH, TAG_ACCEPT, TAG_CONNECT, TAG_RECEIVE, TAG_SEND, TAG_HANGUP, TAG_FILE };

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *bytes;
};

static struct uring *uring_of(const struct loop *loop)
{
    return loop->ring;
}

static struct io_uring_sqe *next_entry(struct loop *loop, void *object, enum tag tag)
{
    struct io_uring *ring = &uring_of(loop)->ring;
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(ring))) {
        io_uring_submit(ring);
    }
    memset(sqe, 0, sizeof *sqe);
    io_uring_sqe_set_data64(sqe, (uintptr_t)object | tag);
    return sqe;
}

static void set_tag(struct io_uring_sqe *sqe, void *object, enum tag tag)
{
    io_uring_sqe_set_data64(sqe, (uintptr_t)object | tag); /* the prep functions clear it */
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static bool open_ring(struct uring *u, struct error *error)
{
    static const struct {
        unsigned flags;
    } tries[] = {{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP},
                 {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CLAMP},
                 {IORING_SETUP_CLAMP}};
    int result = -EINVAL;
    for (size_t i = 0; i < ARRAY_COUNT(tries) && result == -EINVAL; i++) {
        struct io_uring_params params = {.flags = tries[i].flags};
        result = io_uring_queue_init_params(ENTRIES, &u->ring, &params);
        if (result == 0 && !(params.features & IORING_FEAT_NODROP)) {
            io_uring_queue_exit(&u->ring);
            return error_set(error, ERROR_IO, NULL, "the kernel may drop completions");
        }
    }
    return result == 0 || error_set(error, ERROR_IO, NULL, "io_uring_setup: %s", strerror(-result));
}

static bool probe_operations(struct uring *u, struct error *error)
{
    static const struct {
        int code;
        const char *name;
    } needed[] = {{IORING_OP_ACCEPT, "accept"},   {IORING_OP_CONNECT, "connect"},    {IORING_OP_RECV, "recv"},
                  {IORING_OP_SENDMSG, "sendmsg"}, {IORING_OP_POLL_ADD, "poll"},      {IORING_OP_READ, "read"},
                  {IORING_OP_WRITE, "write"},     {IORING_OP_ASYNC_CANCEL, "cancel"}};
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    if (!probe) {
        return error_set(error, ERROR_IO, NULL, "the kernel does not list its operations");
    }
    const char *missing = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(needed); i++) {
        if (!io_uring_opcode_supported(probe, needed[i].code)) {
            missing = needed[i].name;
        }
    }
    io_uring_free_probe(probe);
    return !missing || error_set(error, ERROR_IO, NULL, "the kernel has no operation '%s'", missing);
}

static void give_back(struct uring *u, unsigned buffer)
{
    io_uring_buf_ring_add(u->buffers, u->bytes + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)buffer, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(u->buffers, 1);
}

static bool open_buffers(struct uring *u, struct error *error)
{
    size_t ring_bytes = BUFFER_COUNT * sizeof(struct io_uring_buf);
    void *memory = mmap(NULL, ring_bytes + (size_t)BUFFER_COUNT * BUFFER_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return error_set(error, ERROR_IO, NULL, "no memory for receive buffers");
    }
    u->buffers = memory;
    u->bytes = (uint8_t *)memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory, .ring_entries = BUFFER_COUNT, .bgid = BUFFER_GROUP};
    int result = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (result != 0) {
        return error_set(error, ERROR_IO, NULL, "provided buffer rings: %s", strerror(-result));
    }
    io_uring_buf_ring_init(u->buffers);
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        give_back(u, i);
    }
    return true;
}

/* A multishot receive on a socket pair: the flag cannot be asked for, only tried. */
static bool try_multishot(struct loop *loop, struct error *error)
{
    struct uring *u = uring_of(loop);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return error_set(error, ERROR_IO, NULL, "socketpair: %s", strerror(errno));
    }
    struct io_uring_sqe *sqe = next_entry(loop, NULL, TAG_NONE);
    io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    bool ok = write(pair[1], "x", 1) == 1;
    bool more = true;
    for (int round = 0; ok && more && round < 2; round++) {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec limit = {.tv_sec = PROBE_SECONDS};
        io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &limit, NULL);
        if (!cqe && io_uring_peek_cqe(&u->ring, &cqe) != 0) {
            ok = false;
            break;
        }
        ok = round ? cqe->res == 0 : cqe->res == 1 && cqe->flags & IORING_CQE_F_MORE;
        more = cqe->flags & IORING_CQE_F_MORE;
        if (cqe->flags & IORING_CQE_F_BUFFER) {
            give_back(u, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        io_uring_cqe_seen(&u->ring, cqe);
        shutdown(pair[1], SHUT_RDWR);
    }
    close(pair[0]);
    close(pair[1]);
    return ok || error_set(error, ERROR_IO, NULL, "the kernel has no multishot receive");
}

static void uring_close(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    io_uring_queue_exit(&u->ring);
    if (u->buffers) {
        munmap(u->buffers, BUFFER_COUNT * (sizeof(struct io_uring_buf) + (size_t)BUFFER_BYTES));
    }
    mem_free(u);
    loop->ring = NULL;
}

static bool uring_open(struct loop *loop, struct error *error)
{
    struct uring *u = mem_alloc(sizeof *u);
    if (!open_ring(u, error)) {
        mem_free(u);
        return false;
    }
    loop->ring = u;
    if (probe_operations(u, error) && open_buffers(u, error) && try_multishot(loop, error)) {
        return true;
    }
    uring_close(loop);
    return false;
}

/* ---- Starting operations ----------------------------------------------------------------------------- */

static void uring_watch(struct loop *loop, struct watch *watch)
{
    struct io_uring_sqe *sqe = next_entry(loop, watch, TAG_WATCH);
    io_uring_prep_poll_add(sqe, watch->fd, POLLIN);
    set_tag(sqe, watch, TAG_WATCH);
}

static void uring_listen(struct loop *loop, struct listener *listener)
{
    struct io_uring_sqe *sqe = next_entry(loop, listener, TAG_ACCEPT);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    set_tag(sqe, listener, TAG_ACCEPT);
}

static void uring_connect(struct stream *stream)
{
    struct io_uring_sqe *sqe = next_entry(stream->loop, stream, TAG_CONNECT);
    io_uring_prep_connect(sqe, stream->fd, (const struct sockaddr *)&stream->address, stream->address_len);
    set_tag(sqe, stream, TAG_CONNECT);
    stream->operations++;
}

static void call_back(struct stream *stream, enum tag tag)
{
    struct io_uring_sqe *sqe = next_entry(stream->loop, NULL, TAG_NONE);
    io_uring_prep_cancel64(sqe, (uintptr_t)stream | tag, 0);
    set_tag(sqe, NULL, TAG_NONE);
}

/* A poll for nothing but the end of the connection. A multishot receive alone would not do: after half a
 * megabyte at one go it does not tell of a reset (seen with Linux 6.18), and a paused stream has none. */
static void watch_hangup(struct stream *stream)
{
    struct io_uring_sqe *sqe = next_entry(stream->loop, stream, TAG_HANGUP);
    io_uring_prep_poll_add(sqe, stream->fd, 0);
    set_tag(sqe, stream, TAG_HANGUP);
    stream->hangup_watched = true;
    stream->operations++;
}

static void uring_receive(struct stream *stream)
{
    if (!stream->hangup_watched) {
        watch_hangup(stream);
    }
    struct io_uring_sqe *sqe = next_entry(stream->loop, stream, TAG_RECEIVE);
    io_uring_prep_recv_multishot(sqe, stream->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    set_tag(sqe, stream, TAG_RECEIVE);
    stream->receiving = true;
    stream->operations++;
}

static void uring_pause(struct stream *stream)
{
    if (stream->receiving) {
        call_back(stream, TAG_RECEIVE);
    }
}

static void uring_send(struct stream *stream)
{
    struct io_uring_sqe *sqe = next_entry(stream->loop, stream, TAG_SEND);
    io_uring_prep_sendmsg(sqe, stream->fd, &stream->message, MSG_NOSIGNAL);
    set_tag(sqe, stream, TAG_SEND);
    stream->sending = true;
    stream->operations++;
}

static void uring_submit(struct loop *loop)
{
    struct io_uring *ring = &uring_of(loop)->ring;
    if (io_uring_sq_ready(ring)) {
        io_uring_submit(ring);
    }
}

/* The shutdown of the socket has ended a send. The others may wait on one that was dead before. */
static void uring_abort(struct stream *stream)
{
    if (stream->connecting) {
        call_back(stream, TAG_CONNECT);
    }
    if (stream->receiving) {
        call_back(stream, TAG_RECEIVE);
    }
    if (stream->hangup_watched) {
        call_back(stream, TAG_HANGUP);
    }
}

static void uring_forget(struct stream *stream)
{
    (void)stream;
}

static void start_file(struct loop *loop, struct file_operation *operation)
{
    struct io_uring_sqe *sqe = next_entry(loop, operation, TAG_FILE);
    unsigned len = (unsigned)MIN(operation->len, (size_t)1 << 30);
    if (operation->write) {
        io_uring_prep_write(sqe, operation->fd, operation->data, len, operation->offset);
    } else {
        io_uring_prep_read(sqe, operation->fd, operation->data, len, operation->offset);
    }
    set_tag(sqe, operation, TAG_FILE);
}

static bool uring_file(struct loop *loop, struct file_operation *operation)
{
    start_file(loop, operation);
    return true;
}

/* ---- What has ended ---------------------------------------------------------------------------------- */

static void accept_ended(struct loop *loop, struct listener *listener, int result, bool more)
{
    if (result >= 0) {
        listener->accepted(listener->context, result);
    }
    if (!more && (result >= 0 || result == -ECONNABORTED || result == -EINTR)) {
        uring_listen(loop, listener);
    } else if (!more) {
        listener_failed(listener, -result);
    }
}

/* The other side is gone: what it had sent before, then the end. */
static void drain(struct stream *stream)
{
    uint8_t bytes[BUFFER_BYTES];
    ssize_t got;
    while (!stream->shut && (got = recv(stream->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        stream_was_received(stream, bytes, (size_t)got);
    }
    if (!stream->shut) {
        stream_was_ended(stream, ECONNRESET);
    }
}

static void receive_ended(struct loop *loop, struct stream *stream, int result, unsigned flags)
{
    bool more = flags & IORING_CQE_F_MORE;
    if (!more) {
        stream->operations--;
        stream->receiving = false;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        struct uring *u = uring_of(loop);
        unsigned buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        if (result > 0) {
            stream_was_received(stream, u->bytes + (size_t)buffer * BUFFER_BYTES, (size_t)result);
        }
        give_back(u, buffer);
    }
    if (!more) {
        bool goes_on = result > 0 || result == -ENOBUFS || result == -EINTR || result == -EAGAIN ||
                       (result == -ECANCELED && !stream->shut); /* by uring_pause or hung_up */
        if (goes_on && stream->hung_up) {
            drain(stream);
        } else if (goes_on && !stream->shut && list_empty(&stream->paused)) {
            uring_receive(stream);
        } else if (!goes_on) {
            stream_was_ended(stream, result < 0 ? -result : 0);
        }
    }
}

/* Whoever is not read from loses what it had sent: there was too much of it. */
static void hung_up(struct stream *stream, int result)
{
    stream->operations--;
    stream->hangup_watched = false;
    if (stream->shut || result < 0) {
        return;
    }
    stream->hung_up = true;
    if (stream->receiving) {
        call_back(stream, TAG_RECEIVE);
    } else {
        stream_was_ended(stream, ECONNRESET);
    }
}

static void file_ended(struct loop *loop, struct file_operation *operation, int result)
{
    if (result == -EINTR || result == -EAGAIN || (result > 0 && (size_t)result < operation->len)) {
        size_t moved = result > 0 ? (size_t)result : 0;
        operation->data += moved;
        operation->len -= moved;
        operation->offset += moved;
        start_file(loop, operation);
        return;
    }
    int problem = result < 0 ? -result : result == 0 && operation->len ? EIO : 0;
    operation->done(operation->context, problem);
    mem_free(operation);
}

static void dispatch(struct loop *loop, uint64_t user_data, int result, unsigned flags)
{
    void *object = (void *)(uintptr_t)(user_data & ~UINT64_C(15));
    switch ((enum tag)(user_data & 15)) {
    case TAG_NONE: break;
    case TAG_WATCH: {
        struct watch *watch = object;
        watch->ready(watch->context);
        uring_watch(loop, watch);
        break;
    }
    case TAG_ACCEPT: accept_ended(loop, object, result, flags & IORING_CQE_F_MORE); break;
    case TAG_CONNECT: {
        struct stream *stream = object;
        stream->operations--;
        stream_was_connected(stream, -result);
        break;
    }
    case TAG_RECEIVE: receive_ended(loop, object, result, flags); break;
    case TAG_SEND: {
        struct stream *stream = object;
        stream->operations--;
        stream_was_sent(stream, result);
        break;
    }
    case TAG_HANGUP: hung_up(object, result); break;
    case TAG_FILE: file_ended(loop, object, result); break;
    }
}

static void uring_wait(struct loop *loop, int64_t timeout_us)
{
    struct io_uring *ring = &uring_of(loop)->ring;
    struct io_uring_cqe *first = NULL, *ended[COMPLETIONS];
    struct __kernel_timespec limit = {timeout_us / 1000000, (timeout_us % 1000000) * 1000};
    if (timeout_us == 0) {
        io_uring_submit_and_get_events(ring);
    } else if (timeout_us == INT64_MAX) {
        io_uring_submit_and_wait(ring, 1);
    } else {
        io_uring_submit_and_wait_timeout(ring, &first, 1, &limit, NULL);
    }
    struct {
        uint64_t user_data;
        int result;
        unsigned flags;
    } copies[COMPLETIONS];
    unsigned count = io_uring_peek_batch_cqe(ring, ended, COMPLETIONS);
    for (unsigned i = 0; i < count; i++) {
        copies[i].user_data = ended[i]->user_data;
        copies[i].result = ended[i]->res;
        copies[i].flags = ended[i]->flags;
    }
    io_uring_cq_advance(ring, count);
    for (unsigned i = 0; i < count; i++) {
        dispatch(loop, copies[i].user_data, copies[i].result, copies[i].flags);
    }
}

const struct backend backend_uring = {
    "io_uring",  uring_open, uring_close,  uring_watch, uring_listen, uring_connect, uring_receive,
    uring_pause, uring_send, uring_submit, uring_abort, uring_forget, uring_file,    uring_wait,
};
