/* Private to io: the host of a node. host.c is the composition (events in, actions out), start.c what the
 * settings make of it, jobs.c what must not hold up the loop, peers.c its TCP side, rpc_server.c its Unix
 * socket. */
#ifndef QUARRY_IO_HOST_PRIVATE_H
#define QUARRY_IO_HOST_PRIVATE_H

#include "io/io.h"

struct rpc_server;

struct host {
    const struct settings *settings;
    struct chain_params params;
    char *folder;
    struct buf payout_script, peers_file, bans_file, mempool_file; /* the last one's path */
    char payout_address[ADDRESS_TEXT];
    struct loop *loop;
    struct tasks *tasks;
    struct task_thread *reads, *commits, *slow, *names; /* q-io/0, q-io/1, q-job, q-dns */
    struct store *store;
    struct pool *pool;
    struct node *node;
    struct list jobs; /* that the node waits for */
    size_t files_out; /* of them, on the ring */
    struct open_file {
        enum file_kind kind;
        uint32_t number;
        bool write;
        int fd; /* -1: no file */
        size_t users;
        uint64_t last_use;
    } files[8]; /* block and undo files that are open on the ring */
    uint64_t file_uses;
    struct map peers; /* peer_id -> struct connection * */
    peer_id last_inbound;
    size_t connections_max; /* with peers, those included that are on their way out */
    int backlog;            /* of a socket that listens for peers */
    struct rpc_server *rpc;
    struct loop_timer node_timer, stats_timer, exit_timer;
    int64_t exit_deadline_us;
    uint64_t hashes_before;
    uint64_t watched_work; /* whose beginning on all workers is not known yet; 0: none */
    uint64_t last_work;    /* the latest that is out */
    struct switched {
        uint64_t work_id;
        int64_t us;
    } switched[4]; /* works whose beginning is known and not told */
    size_t switched_count;
    int64_t stats_before_us;
    double hashes_per_s;
    int signal_fd, exit_code;
    bool exiting, ended, signalled; /* ended: the node hears nothing any more */
};

/* host.c: tells the node and carries out what it answers. event->now is filled in. */
void host_emit(struct host *host, struct event *event);

/* start.c: ERROR_USAGE names the setting that is wrong. `urgent` is called from inside node_handle. */
bool start_payout(struct host *host, struct error *error) MUST_USE;
bool start_pool(struct host *host, const struct cpu_limits *limits, struct error *error) MUST_USE;
bool start_node(struct host *host, const struct cpu_limits *limits, void (*urgent)(void *host),
                struct error *error) MUST_USE;

/* jobs.c */
void jobs_init(struct host *host);
void job_start(struct host *host, struct job *job);
void job_is_done(struct host *host, struct job *job); /* on the loop's thread: the node hears of it */
void jobs_end(struct host *host); /* those that are left fail; no thread works on one any more */
void saved_write(struct host *host, struct action *action); /* takes the action's bytes */
/* Empty when it is absent or cannot be read, which is logged. */
void saved_read(struct host *host, const char *name, struct buf *out);

/* peers.c */
bool peers_listen(struct host *host, struct error *error) MUST_USE;
void peers_dial(struct host *host, peer_id id, const char *name, uint16_t port);
void peers_send(struct host *host, peer_id id, struct shared *message);
void peers_close(struct host *host, peer_id id);
void peers_pause(struct host *host, peer_id id, int64_t until_us);
void peers_free(struct host *host); /* what is left, when the loop is gone */

/* rpc_server.c */
bool rpc_server_start(struct host *host, struct error *error) MUST_USE;
void rpc_server_reply(struct host *host, uint64_t call, struct buf *bytes);
void rpc_server_stop(struct host *host); /* no new requests; answers already given still go out */
void rpc_server_free(struct host *host);

#endif
