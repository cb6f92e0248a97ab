/* Private to io: what loop.c shares with its two backends. A backend starts operations and reports how they
 * ended; queues, timers and the order of closing are loop.c's. */
#ifndef QUARRY_IO_LOOP_PRIVATE_H
#define QUARRY_IO_LOOP_PRIVATE_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "io/io.h"

#define SEND_PIECES  16u
#define LINGER_BYTES (256u << 10) /* that are read and dropped while a stream is closed */
#define LINGER_US    INT64_C(1000000)
#define RETRY_ACCEPT INT64_C(100000) /* us, when descriptors have run out */

struct watch {
    struct list link;
    int fd;
    void (*ready)(void *context);
    void *context;
};

struct listener {
    struct list link;
    struct loop *loop;
    int fd;
    struct loop_timer retry;
    void (*accepted)(void *context, int fd);
    void *context;
};

struct stream {
    struct list link;   /* loop->streams */
    struct list unsent; /* loop->unsent while there is something to start sending */
    struct list ending; /* loop->ending from stream_close on */
    struct list paused; /* loop->paused while nothing is received */
    int64_t resume_us;
    size_t dropped_bytes; /* that came after stream_close */
    struct loop *loop;
    int fd;
    const struct stream_events *events;
    void *context;
    bool connecting, closing, shut; /* shut: both directions are ended, waiting for operations to come back */
    bool sending, receiving, write_ended, read_ended;
    bool hangup_watched, hung_up; /* of the backend on io_uring */
    unsigned operations;          /* that the backend has under way */
    struct shared **queue;        /* ring of what is to be sent, references */
    size_t queue_first, queue_count, queue_capacity, first_offset, queued_bytes;
    int64_t deadline_us;
    char why[128];
    struct iovec pieces[SEND_PIECES];
    struct msghdr message;
    struct sockaddr_storage address; /* of a dial */
    unsigned address_len, armed_events;
    int dial_problem;
};

struct file_operation {
    bool write;
    int fd;
    uint8_t *data;
    size_t len;
    uint64_t offset;
    void (*done)(void *context, int result);
    void *context;
};

struct loop {
    const struct backend *backend;
    void *ring; /* the backend's own */
    struct list watches, listeners, timers, streams, unsent, ending, paused;
    int64_t resume_us; /* when the first of paused is due */
    int64_t fired_us;  /* timers up to then have fired */
    size_t queued_bytes;
    bool stopped;
};

struct backend {
    const char *name;
    bool (*open)(struct loop *loop, struct error *error);
    void (*close)(struct loop *loop);
    void (*watch)(struct loop *loop, struct watch *watch);
    void (*listen)(struct loop *loop, struct listener *listener);
    void (*connect)(struct stream *stream);
    void (*receive)(struct stream *stream); /* from now on, until it ends */
    void (*pause)(struct stream *stream);   /* until receive is called again */
    void (*send)(struct stream *stream);    /* stream->message; sets sending */
    void (*submit)(struct loop *loop);      /* what was started goes to the kernel now */
    void (*abort)(struct stream *stream);   /* makes every operation of the stream come back soon */
    void (*forget)(struct stream *stream);  /* before its descriptor is closed */
    bool (*file)(struct loop *loop, struct file_operation *operation);
    void (*wait)(struct loop *loop, int64_t timeout_us); /* dispatches what has ended */
};
extern const struct backend backend_uring, backend_epoll;

/* From the backends. */
void stream_was_connected(struct stream *stream, int problem); /* 0 or errno */
void stream_was_received(struct stream *stream, const uint8_t *data, size_t len);
void stream_was_ended(struct stream *stream, int problem); /* nothing more will come */
void stream_was_sent(struct stream *stream, ssize_t result /* bytes, or -errno */);
void listener_failed(struct listener *listener, int problem); /* disarmed: try again later */

#endif
