/*
 * The mode choices: single operations of the ring against their plain variants, on loopback TCP, one side at
 * a time while the other is a plain thread. The CPU time is that of the whole process, so that a polling
 * kernel thread counts too. What docs/network.md says of each choice was measured here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bench/net.h"

#define PIECE_BYTES  (1u << 20) /* a block */
#define PIECES       128u
#define BUFFER_BYTES 16384u
#define BUFFER_COUNT 64u
#define GROUP        1
#define ROUNDS       5
#define SQPOLL_IDLE  2000 /* ms */

struct ring {
    struct io_uring io;
    struct io_uring_buf_ring *buffers;
    uint8_t *bytes;
};

static uint8_t piece[PIECE_BYTES];

/* ---- The other side: a plain thread ---------------------------------------------------------------------
 */

static void *feed(void *context)
{
    int fd = *(int *)context;
    for (size_t sent = 0; sent < (size_t)PIECES * PIECE_BYTES;) {
        ssize_t n = send(fd, piece, PIECE_BYTES - sent % PIECE_BYTES, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        sent += (size_t)n;
    }
    return NULL;
}

static void *take(void *context)
{
    static uint8_t into[4 * BUFFER_BYTES];
    int fd = *(int *)context;
    for (size_t got = 0; got < (size_t)PIECES * PIECE_BYTES;) {
        ssize_t n = recv(fd, into, sizeof into, 0);
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
    }
    return NULL;
}

/* ---- Sending ---------------------------------------------------------------------------------------------
 */

static bool send_plainly(struct ring *ring, int fd)
{
    (void)ring;
    feed(&fd);
    return true;
}

/* One piece by one operation after another; a partial one goes on where it ended. */
static bool send_by_ring(struct ring *ring, int fd, bool zero_copy)
{
    for (size_t sent = 0; sent < (size_t)PIECES * PIECE_BYTES;) {
        struct iovec part = {piece, PIECE_BYTES - sent % PIECE_BYTES};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
        struct io_uring_cqe *cqe;
        if (zero_copy) {
            io_uring_prep_send_zc(sqe, fd, part.iov_base, part.iov_len, MSG_NOSIGNAL, 0);
        } else {
            io_uring_prep_sendmsg(sqe, fd, &message, MSG_NOSIGNAL);
        }
        for (bool more = true; more;) { /* zero-copy: the result, then that the bytes are free again */
            if (io_uring_submit_and_wait(&ring->io, 1) < 0 || io_uring_peek_cqe(&ring->io, &cqe) != 0) {
                return false;
            }
            more = cqe->flags & IORING_CQE_F_MORE;
            int result = cqe->res;
            bool counts = !(cqe->flags & IORING_CQE_F_NOTIF);
            io_uring_cqe_seen(&ring->io, cqe);
            if (counts && result <= 0) {
                return false;
            }
            sent += counts ? (size_t)result : 0;
        }
    }
    return true;
}

static bool send_copied(struct ring *ring, int fd)
{
    return send_by_ring(ring, fd, false);
}

static bool send_zero_copy(struct ring *ring, int fd)
{
    return send_by_ring(ring, fd, true);
}

/* ---- Receiving -------------------------------------------------------------------------------------------
 */

static bool receive_plainly(struct ring *ring, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    bool ok = epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    for (size_t got = 0; ok && got < (size_t)PIECES * PIECE_BYTES;) {
        ok = epoll_wait(epoll, &event, 1, -1) == 1;
        ssize_t n = recv(fd, ring->bytes, BUFFER_BYTES, MSG_DONTWAIT);
        ok &= n > 0 || (n < 0 && errno == EAGAIN);
        got += n > 0 ? (size_t)n : 0;
    }
    close(epoll);
    return ok;
}

static void give_back(struct ring *ring, unsigned buffer)
{
    io_uring_buf_ring_add(ring->buffers, ring->bytes + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)buffer, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}

static bool receive_by_ring(struct ring *ring, int fd, bool multishot)
{
    bool armed = false;
    for (size_t got = 0; got < (size_t)PIECES * PIECE_BYTES;) {
        struct io_uring_cqe *cqe;
        if (!armed) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
            if (multishot) {
                io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
            } else {
                io_uring_prep_recv(sqe, fd, NULL, BUFFER_BYTES, 0);
            }
            sqe->flags |= IOSQE_BUFFER_SELECT;
            sqe->buf_group = GROUP;
            armed = true;
        }
        if (io_uring_submit_and_wait(&ring->io, 1) < 0) {
            return false;
        }
        while (io_uring_peek_cqe(&ring->io, &cqe) == 0) {
            int result = cqe->res;
            armed = cqe->flags & IORING_CQE_F_MORE;
            if (cqe->flags & IORING_CQE_F_BUFFER) {
                give_back(ring, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
            }
            io_uring_cqe_seen(&ring->io, cqe);
            if (result <= 0 && result != -ENOBUFS) {
                return false;
            }
            got += result > 0 ? (size_t)result : 0;
        }
    }
    return true;
}

static bool receive_singly(struct ring *ring, int fd)
{
    return receive_by_ring(ring, fd, false);
}

static bool receive_multishot(struct ring *ring, int fd)
{
    return receive_by_ring(ring, fd, true);
}

/* ---- One run ---------------------------------------------------------------------------------------------
 */

static const struct variant {
    const char *side, *name;
    bool (*run)(struct ring *ring, int fd);
    void *(*other)(void *context);
    unsigned flags; /* of the ring */
} variants[] = {
    {"send", "send(2)", send_plainly, take, 0},
    {"send", "ring, sendmsg", send_copied, take, 0},
    {"send", "ring, zero-copy", send_zero_copy, take, 0},
    {"send", "ring, sendmsg, kernel polls", send_copied, take, IORING_SETUP_SQPOLL},
    {"receive", "epoll, recv(2)", receive_plainly, feed, 0},
    {"receive", "ring, one by one", receive_singly, feed, 0},
    {"receive", "ring, multishot", receive_multishot, feed, 0},
};

static bool ring_open(struct ring *ring, unsigned flags, struct error *error)
{
    struct io_uring_params params = {.sq_thread_idle = SQPOLL_IDLE};
    struct io_uring_buf_reg registration = {.ring_entries = BUFFER_COUNT, .bgid = GROUP};
    params.flags =
        flags ? flags : IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
    *ring = (struct ring){.bytes = mem_alloc((size_t)BUFFER_COUNT * BUFFER_BYTES)};
    ring->buffers = aligned_alloc(4096, 4096); /* 64 entries of 16 bytes, on a page of their own */
    CHECK(ring->buffers);
    registration.ring_addr = (uintptr_t)ring->buffers;
    int result = io_uring_queue_init_params(64, &ring->io, &params);
    if (result == 0) {
        io_uring_buf_ring_init(ring->buffers);
        result = io_uring_register_buf_ring(&ring->io, &registration, 0);
        for (unsigned i = 0; result == 0 && i < BUFFER_COUNT; i++) {
            give_back(ring, i);
        }
    }
    return result == 0 || error_set(error, ERROR_IO, NULL, "no ring: %s", strerror(-result));
}

static void ring_close(struct ring *ring)
{
    io_uring_queue_exit(&ring->io);
    free(ring->buffers);
    mem_free(ring->bytes);
}

static bool connect_pair(int pair[2], struct error *error)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[1] = -1;
    bool ok = bind(listener, (const struct sockaddr *)&at, len) == 0 && listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&at, &len) == 0 &&
              connect(pair[0], (const struct sockaddr *)&at, len) == 0 &&
              (pair[1] = accept(listener, NULL, NULL)) >= 0;
    close(listener);
    return ok || error_set(error, ERROR_IO, NULL, "no connection on loopback: %s", strerror(errno));
}

static double process_cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static bool one_run(const struct variant *variant, struct samples *wall_us, struct samples *cpu_us,
                    struct error *error)
{
    struct ring ring;
    pthread_t other;
    int pair[2];
    if (!connect_pair(pair, error) || !ring_open(&ring, variant->flags, error)) {
        return false;
    }
    double cpu = process_cpu_us();
    int64_t began = wall_ns();
    CHECK(pthread_create(&other, NULL, variant->other, &pair[1]) == 0);
    bool ok = variant->run(&ring, pair[0]) ||
              error_set(error, ERROR_IO, NULL, "%s: %s failed", variant->side, variant->name);
    shutdown(pair[0], SHUT_RDWR);
    pthread_join(other, NULL);
    samples_add(wall_us, (double)(wall_ns() - began) / 1000 / PIECES);
    samples_add(cpu_us, (process_cpu_us() - cpu) / PIECES);
    ring_close(&ring);
    close(pair[0]);
    close(pair[1]);
    return ok;
}

bool net_choices(struct report *report, const struct options *options, struct error *error)
{
    struct samples wall_us[ARRAY_COUNT(variants)] = {{0}}, cpu_us[ARRAY_COUNT(variants)] = {{0}};
    bool ok = true;
    (void)options;
    report_note(report, "per MiB on loopback, both sides together; the other side is a plain thread");
    for (size_t round = 0; ok && round < ROUNDS; round++) {
        for (size_t i = 0; ok && i < ARRAY_COUNT(variants); i++) {
            ok = one_run(&variants[i], &wall_us[i], &cpu_us[i], error);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(variants); i++) {
        report_row(report, "choices",
                   (struct report_cell[]){
                       {.name = "side", .text = variants[i].side},
                       {.name = "variant", .text = variants[i].name},
                       {.name = "wall_us", .number = samples_quantile(&wall_us[i], 0.5), .decimals = 0},
                       {.name = "wall_min_us", .number = samples_quantile(&wall_us[i], 0), .decimals = 0},
                       {.name = "cpu_us", .number = samples_quantile(&cpu_us[i], 0.5), .decimals = 0},
                       {.name = "cpu_min_us", .number = samples_quantile(&cpu_us[i], 0), .decimals = 0}},
                   6);
        samples_free(&wall_us[i]);
        samples_free(&cpu_us[i]);
    }
    return ok;
}
