/*
 * The mode links: five nodes in a row, each in a network namespace of its own, over links of 20 ms and 5 ms
 * more or less. The links are TUN devices whose packets a thread here holds back for as long and passes on in
 * their order, which is what netem would do; it is not in every kernel.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/net.h"
#include "core/p2p/p2p.h"

#define NODES        5u
#define LINKS        (NODES - 1)
#define DELAY_NS     INT64_C(20000000)
#define JITTER_NS    INT64_C(5000000)
#define PACKET_BYTES 2048
#define QUEUE        8192u /* packets under way in one direction; more are lost, as in any queue */
#define BLOCK_BYTES  1000000u
#define WARM_ROUNDS  3
#define WAIT_NS      INT64_C(30000000000)

struct direction {
    int from, to;
    struct packet {
        int64_t due_ns;
        size_t len;
        uint8_t bytes[PACKET_BYTES];
    } * packets; /* ring of QUEUE */
    size_t first, count;
    int64_t last_due_ns;
};

struct rig {
    char folder[128];
    struct chain_params params;
    struct net_chain chain;
    struct net_node nodes[NODES];
    struct net_peer feeder;
    struct direction directions[2 * LINKS];
    struct rng rng;
    pthread_t relay;
    atomic_bool stopping;
    bool relaying;
};

/* ---- In the child: its namespace, and its ends of the links ---------------------------------------------
 */

struct place {
    unsigned number;
    int channel; /* the descriptors of its TUN devices go this way: left, right */
};

static bool set_address(int fd, struct ifreq *request, unsigned long what, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    inet_pton(AF_INET, text, &address.sin_addr);
    memcpy(&request->ifr_addr, &address, sizeof address);
    return ioctl(fd, what, request) == 0;
}

static int make_tun(const char *name, unsigned link, bool left)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    char ours[32], theirs[32];
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    snprintf(ours, sizeof ours, "10.9.%u.%d", link, left ? 1 : 2);
    snprintf(theirs, sizeof theirs, "10.9.%u.%d", link, left ? 2 : 1);
    bool ok = tun >= 0 && ioctl(tun, TUNSETIFF, &request) == 0 &&
              set_address(fd, &request, SIOCSIFADDR, ours) &&
              set_address(fd, &request, SIOCSIFDSTADDR, theirs);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ok = ok && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return ok ? tun : -1;
}

static bool send_descriptor(int channel, int fd)
{
    char byte = 0;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec one = {&byte, 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    return sendmsg(channel, &message, 0) == 1;
}

static int take_descriptor(int channel)
{
    char byte;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec one = {&byte, 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    int fd = -1;
    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message)) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    }
    return fd;
}

static bool write_zero(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, "0", 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool be_placed(void *context)
{
    const struct place *place = context;
    unsigned n = place->number;
    struct error error;
    return net_namespace(&error) && write_zero("/proc/sys/net/ipv4/tcp_slow_start_after_idle") &&
           send_descriptor(place->channel, n > 0 ? make_tun("left", n - 1, false) : -1) &&
           send_descriptor(place->channel, n < LINKS ? make_tun("right", n, true) : -1);
}

/* ---- The links ------------------------------------------------------------------------------------------
 */

static void take_packets(struct rig *rig, struct direction *d)
{
    for (;;) {
        struct packet *packet = &d->packets[(d->first + d->count) % QUEUE];
        ssize_t got = read(d->from, packet->bytes, sizeof packet->bytes);
        if (got <= 0) {
            return;
        }
        if (d->count == QUEUE - 1) {
            continue;
        }
        int64_t delay = DELAY_NS - JITTER_NS + (int64_t)rng_below(&rig->rng, 2 * JITTER_NS + 1);
        packet->len = (size_t)got;
        packet->due_ns = MAX(wall_ns() + delay, d->last_due_ns); /* in order */
        d->last_due_ns = packet->due_ns;
        d->count++;
    }
}

static void pass_packets(struct direction *d, int64_t now)
{
    while (d->count && d->packets[d->first].due_ns <= now) {
        const struct packet *packet = &d->packets[d->first];
        ssize_t put = write(d->to, packet->bytes, packet->len);
        (void)put; /* what cannot be passed on is lost: TCP sees to it */
        d->first = (d->first + 1) % QUEUE;
        d->count--;
    }
}

static void *relay_main(void *context)
{
    struct rig *rig = context;
    while (!atomic_load(&rig->stopping)) {
        struct pollfd in[2 * LINKS];
        int64_t now = wall_ns(), next = now + 50000000;
        for (size_t i = 0; i < ARRAY_COUNT(in); i++) {
            struct direction *d = &rig->directions[i];
            pass_packets(d, now);
            next = d->count ? MIN(next, d->packets[d->first].due_ns) : next;
            in[i] = (struct pollfd){.fd = d->from, .events = POLLIN};
        }
        int64_t wait = MAX(next - wall_ns(), INT64_C(0));
        struct timespec limit = {wait / 1000000000, wait % 1000000000};
        ppoll(in, ARRAY_COUNT(in), &limit, NULL);
        for (size_t i = 0; i < ARRAY_COUNT(in); i++) {
            if (in[i].revents & POLLIN) {
                take_packets(rig, &rig->directions[i]);
            }
        }
    }
    return NULL;
}

/* ---- The nodes ------------------------------------------------------------------------------------------
 */

static bool start_nodes(struct rig *rig, struct error *error)
{
    int left[NODES] = {0}, right[NODES] = {0};
    for (unsigned i = 0; i < NODES; i++) {
        char connect[48] = "--connect=local";
        int channel[2];
        if (i) {
            snprintf(connect, sizeof connect, "--connect=10.9.%u.1:2001", i - 1);
        }
        const char *const flags[] = {"--listen=0.0.0.0:2001",
                                     "--whitelist=noban@127.0.0.0/8",
                                     "--mine=no",
                                     "--threads=0",
                                     connect,
                                     NULL};
        struct place place = {.number = i};
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0) {
            return error_set(error, ERROR_IO, NULL, "no socket pair: %s", strerror(errno));
        }
        place.channel = channel[1];
        rig->nodes[i].params = &rig->params;
        bool ok = net_node_start(&rig->nodes[i], rig->folder, i, flags, be_placed, &place, error);
        if (ok) {
            left[i] = take_descriptor(channel[0]);
            right[i] = take_descriptor(channel[0]);
        }
        close(channel[0]);
        close(channel[1]);
        if (!ok || (i > 0 && left[i] < 0) || (i < LINKS && right[i] < 0)) {
            return error_set(error, ERROR_IO, NULL,
                             "no namespace with TUN devices (root and /dev/net/tun are "
                             "needed)");
        }
    }
    for (unsigned i = 0; i < LINKS; i++) {
        rig->directions[2 * i] = (struct direction){.from = right[i], .to = left[i + 1]};
        rig->directions[2 * i + 1] = (struct direction){.from = left[i + 1], .to = right[i]};
    }
    for (size_t i = 0; i < ARRAY_COUNT(rig->directions); i++) {
        rig->directions[i].packets = mem_alloc(QUEUE * sizeof(struct packet));
    }
    rig->relaying = pthread_create(&rig->relay, NULL, relay_main, rig) == 0;
    return rig->relaying || error_set(error, ERROR_IO, NULL, "no thread");
}

/* A connection to the first node, from inside its namespace. */
static bool open_feeder(struct rig *rig, struct error *error)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)rig->nodes[0].pid);
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = here >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0;
    ok = ok && net_peer_open(&rig->feeder, &rig->nodes[0], error);
    ok = setns(here, CLONE_NEWNET) == 0 && ok;
    close(here);
    close(there);
    return ok || error_set(error, ERROR_IO, NULL, "the first node cannot be reached");
}

static bool take_block(void *context, struct span block)
{
    return net_peer_send(&((struct rig *)context)->feeder, "block", block);
}

static bool all_at(struct rig *rig, uint32_t height)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < NODES; i++) {
        ok = net_node_wait_height(&rig->nodes[i], height, 30);
    }
    return ok;
}

static bool all_know_txs(struct rig *rig)
{
    int64_t until = wall_ns() + WAIT_NS;
    for (unsigned i = 0; i < NODES && wall_ns() < until;) {
        json_t *info = net_node_ask(&rig->nodes[i], "getmempoolinfo", NULL);
        bool all = json_integer_value(json_object_get(info, "size")) == (json_int_t)rig->chain.tx_count;
        json_decref(info);
        i += all;
        if (!all) {
            net_peer_drain(&rig->feeder);
            net_pause(2);
        }
    }
    return wall_ns() < until;
}

static void add_times(struct rig *rig, int64_t sent_us, struct samples ms[NODES][2])
{
    for (unsigned i = 0; i < NODES; i++) {
        json_t *latency = net_node_ask(&rig->nodes[i], "getlatency", NULL);
        json_t *blocks = json_object_get(latency, "blocks"), *block;
        size_t at;
        json_array_foreach(blocks, at, block)
        {
            if (json_integer_value(json_object_get(block, "height")) == (json_int_t)rig->chain.height) {
                int64_t received =
                    (int64_t)(json_integer_value(json_object_get(block, "first_byte_mono_us")) +
                              json_integer_value(json_object_get(block, "received_us")));
                int64_t connected =
                    received + (int64_t)json_integer_value(json_object_get(block, "connected_us"));
                samples_add(&ms[i][0], (double)(received - sent_us) / 1000);
                samples_add(&ms[i][1], (double)(connected - sent_us) / 1000);
            }
        }
        json_decref(latency);
    }
}

static bool one_round(struct rig *rig, bool counts, struct samples ms[NODES][2])
{
    struct buf block = {0}, compact = {0}, frame = {0};
    net_chain_txs(&rig->chain, BLOCK_BYTES / rig->chain.tx_count);
    bool ok = net_peer_give_txs(&rig->feeder, &rig->nodes[0], &rig->chain) && all_know_txs(rig);
    net_chain_block(&rig->chain, true, &block);
    net_chain_compact(&rig->chain, buf_span(&block), true, &compact);
    net_peer_frame(&rig->feeder, "cmpctblock", buf_span(&compact), &frame);
    net_pause(200); /* the last transaction's messages are over */
    net_peer_drain(&rig->feeder);
    ok = ok && net_peer_write(&rig->feeder, span_of(frame.data, frame.len - 1));
    int64_t sent_us = wall_ns() / 1000;
    ok = ok && net_peer_write(&rig->feeder, span_of(frame.data + frame.len - 1, 1)) &&
         all_at(rig, rig->chain.height);
    if (ok && counts) {
        add_times(rig, sent_us, ms);
    }
    buf_free(&block);
    buf_free(&compact);
    buf_free(&frame);
    return ok;
}

static void report_links(struct report *report, struct samples ms[NODES][2])
{
    for (unsigned i = 0; i < NODES; i++) {
        report_row(
            report, "nodes",
            (struct report_cell[]){
                {.name = "node", .number = i + 1},
                {.name = "links", .number = i},
                {.name = "received_median_ms", .number = samples_quantile(&ms[i][0], 0.5), .decimals = 2},
                {.name = "received_max_ms", .number = samples_quantile(&ms[i][0], 1), .decimals = 2},
                {.name = "connected_median_ms", .number = samples_quantile(&ms[i][1], 0.5), .decimals = 2},
                {.name = "bound_ms",
                 .number = i ? (double)i * (double)DELAY_NS / 1e6 * 1.5 + 5 : 1,
                 .decimals = 1}},
            6);
        samples_free(&ms[i][0]);
        samples_free(&ms[i][1]);
    }
}

bool net_links(struct report *report, const struct options *options, struct error *error)
{
    struct rig rig = {.feeder.fd = -1};
    struct samples ms[NODES][2] = {{{0}}};
    rng_seed_u64(&rig.rng, report_seed(report));
    bool ok = net_begin(rig.folder, &rig.params, error) &&
              net_chain_init(&rig.chain, &rig.params, (uint32_t)time(NULL) - 20000, (uint32_t)options->txs) &&
              start_nodes(&rig, error) && open_feeder(&rig, error) &&
              ((net_chain_fund(&rig.chain, take_block, &rig) && all_at(&rig, rig.chain.height)) ||
               error_set(error, ERROR_IO, NULL, "the first blocks do not arrive"));
    report_note(
        report,
        "TUN links of 20 ms and 5 ms more or less in user space; times from the last byte into the first "
        "node");
    for (int64_t i = 0; ok && i < options->rounds + WARM_ROUNDS; i++) {
        ok = one_round(&rig, i >= WARM_ROUNDS, ms) ||
             error_set(error, ERROR_IO, NULL, "a block does not arrive everywhere");
    }
    report_links(report, ms);
    atomic_store(&rig.stopping, true);
    if (rig.relaying) {
        pthread_join(rig.relay, NULL);
    }
    net_peer_close(&rig.feeder);
    for (unsigned i = 0; i < NODES; i++) {
        if (rig.nodes[i].pid > 0) {
            net_node_stop(&rig.nodes[i], NULL);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(rig.directions); i++) {
        mem_free(rig.directions[i].packets);
        if (rig.directions[i].from > 0) {
            close(rig.directions[i].from);
        }
    }
    net_chain_free(&rig.chain);
    net_end(rig.folder, &rig.params);
    return ok;
}
