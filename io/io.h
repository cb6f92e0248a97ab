/*
 * io: the outside world. Sockets, files, the store, threads, clock, signals and settings; and main() of
 * quarryd (io/quarryd/main.c). It feeds core/node with events and carries out its actions; no rule of Bitcoin
 * is here.
 *
 * For programs: settings, logs, the RPC client, host_run. For tests and benchmarks: the loop and the store.
 */
#ifndef QUARRY_IO_H
#define QUARRY_IO_H

#include <stdio.h>

#include "core/node/node.h"
#include "hashing/pool/pool.h"

enum exit_status { STATUS_OK = 0, STATUS_RUNTIME = 1, STATUS_USAGE = 2, STATUS_FOREIGN = 3 };

/* ---- Settings: one table (settings.c) ---------------------------------------------------------------- */

struct text_list {
    char **items;
    size_t count;
};

struct settings { /* every text is owned; free with settings_free */
    char *chain, *network, *signet_challenge, *datadir, *conf, *rpc_socket, *wallet_file;
    bool datadir_given, wallet_file_given; /* not the defaults */
    struct text_list listen, connect;      /* connect without 'local' */
    bool seed;                             /* 'local' was among the peers */
    int64_t max_inbound;
    bool blocks_only;
    int64_t trickle_ms; /* -1: by the chain */
    char *discover;     /* fallback, yes, no */
    struct text_list whitelist, p2p_allow;
    bool mine;
    char *mining_address; /* empty: a key of our own */
    int64_t block_interval_s;
    char *threads;     /* "auto" or a number */
    char *cpus;        /* empty: the mask */
    char *hash_kernel; /* "auto" or a name */
    int64_t hash_share;
    bool pin;
    int64_t dbcache_mib, mempool_mib; /* 0: from the memory limit */
    bool tx_index, persist_mempool;
    bool reindex, reindex_chainstate;
    char *assume_valid, *minimum_work; /* hex; "0": none */
    int64_t check_threads;             /* 0: as many as the limits allow */
    struct text_list load_blocks;
    char *exit_when;
    char *loop; /* auto, io_uring, epoll */
    char *log_format, *log_level;
    struct text_list http_listen, trusted_proxies, allowed_hosts; /* quarry-api, as all of the following */
    char *serve, *profile;
    char *admin_key, *admin_key_file, *wallet_key, *wallet_key_file;
    char *wallet_dir, *purse, *redis, *redis_password, *rate_limit_fail;
    int64_t rate_per_s, rate_burst; /* 0: the profile's */
    int64_t http_connections;
    struct text_list rpc_bind, rpc_auth, rpc_allow;
    int64_t rpc_port; /* -1: the chain's */
    bool core_rest;
    char *rpc_user, *rpc_password, *rpc_cookie_file;
    bool want_help, want_version;
    struct text_list notes; /* to be logged once the log is up: ignored or unknown names */
};

enum settings_program { SETTINGS_NODE = 1, SETTINGS_CLI = 2, SETTINGS_API = 4 };
/* Flag, environment, quarry.conf, default, in this order. For the command line tool reading stops at the
 * first word that is no flag: *next is its index; for the others such a word is an error. False and
 * ERROR_USAGE (the setting's name, what was given, what is allowed). */
bool settings_read(struct settings *out, enum settings_program program, int argc, char **argv, int *next,
                   struct error *error) MUST_USE;
void settings_free(struct settings *settings);
void settings_help(FILE *out, enum settings_program program); /* grouped */
/* The chain that the settings name; release with chain_params_free. */
bool settings_chain(const struct settings *settings, struct chain_params *out, struct error *error) MUST_USE;
/* <datadir>/<chain> and the RPC socket's path; 0-terminated, to be freed with mem_free. */
char *settings_chain_folder(const struct settings *settings);
char *settings_socket_path(const struct settings *settings);
/* Version, commit, hash kernels, libraries: what --version prints. */
void version_print(FILE *out, const char *program);

/* ---- Logs (logs.c) ----------------------------------------------------------------------------------- */

/* Standard error from now on: ISO-8601 UTC with milliseconds, program, level, category. level: one of
 * log_level_name's, for all categories. Any thread may log. */
void logs_begin(const char *program, bool json, enum log_level level);

/* ---- Files of people (files.c) ----------------------------------------------------------------------- */

bool file_read_all(const char *path, size_t bytes_max, struct buf *out, struct error *error) MUST_USE;
/* Written beside, synced, renamed: the old content or the new one, never a part; mode 0600. */
bool file_write_private(const char *path, struct span bytes, struct error *error) MUST_USE;
/* The same for a file that must not be there yet: of several that write at once one wins whole, and *made
 * says who (false: somebody else's is there). */
bool file_make_private(const char *path, struct span bytes, bool *made, struct error *error) MUST_USE;
/* As file_write_private, in pieces, one after the other, the first at offset 0: the last puts all in place.
 */
bool file_write_piece(const char *path, uint64_t offset, struct span bytes, bool last,
                      struct error *error) MUST_USE;
bool folder_make(const char *path, struct error *error) MUST_USE; /* with its parents, mode 0700 */
void random_bytes(void *out, size_t len);                         /* from the operating system */
/* Adds a new key to a key file (made when absent); its address is in *entry's key. */
bool key_file_add(const char *path, const char *label, const struct chain_params *params,
                  struct key_file_entry *entry, struct error *error) MUST_USE;

/* ---- The RPC client (client.c) ----------------------------------------------------------------------- */

struct client; /* one connection to a node's Unix socket; blocking; one thread at a time */
struct client *client_open(const char *socket_path, struct error *error) MUST_USE;
void client_close(struct client *client);
/* One request, a JSON text without newline; the answer likewise, to be freed by the caller. */
bool client_call(struct client *client, struct span request, struct buf *reply, struct error *error) MUST_USE;

/* ---- The loop (loop.c, loop_uring.c, loop_epoll.c) --------------------------------------------------- */

/* One thread, completions only: a callback is called from loop_run and from nowhere else. */
struct loop;
struct loop *loop_new(const char *kind /* auto, io_uring, epoll */, struct error *error) MUST_USE;
void loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop */
void loop_stop(struct loop *loop);
const char *loop_name(const struct loop *loop);
struct moment loop_now(void); /* the clock, monotonic and wall */

struct loop_timer { /* zero-initialise, set fire and context */
    struct list link;
    bool set;
    int64_t at_us;
    void (*fire)(void *context);
    void *context;
};
/* Fires once, then or soon after. One that is set while timers fire waits for the loop's next round. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_mono_us);
void loop_timer_clear(struct loop_timer *timer);

/* ready is called whenever fd is readable; it must read it empty. */
void loop_watch(struct loop *loop, int fd, void (*ready)(void *context), void *context);

/* Takes over fd, which is bound and listening. accepted takes over its fd. */
void loop_listen(struct loop *loop, int fd, void (*accepted)(void *context, int fd), void *context);

struct stream; /* a connected socket; gone after its closed callback */
struct stream_events {
    void (*opened)(void *context); /* of stream_dial: connected */
    void (*received)(void *context, const uint8_t *data, size_t len);
    void (*drained)(void *context, size_t queued_bytes); /* something was sent */
    void (*closed)(void *context, const char *why);      /* once, always, last */
};
/* Take over fd. events is borrowed for the life of the stream. */
struct stream *stream_new(struct loop *loop, int fd, const struct stream_events *events, void *context);
struct stream *stream_dial(struct loop *loop, int fd, const void *address, size_t address_len,
                           const struct stream_events *events, void *context);
void stream_send(struct stream *stream, struct shared *bytes); /* takes over a reference */
/* After what was sent has drained, at most 1 s; what still comes in is dropped. Harmless when repeated. */
void stream_close(struct stream *stream, const char *why);
/* At once: what was not sent yet is lost. */
void stream_abort(struct stream *stream, const char *why);
/* Nothing is received until then; a stream that is closed meanwhile ends at once. */
void stream_pause(struct stream *stream, int64_t until_mono_us);
int stream_fd(const struct stream *stream);
size_t loop_queued_bytes(const struct loop *loop); /* of all streams */

/* Reads or writes all of len bytes at offset, on the ring. False: this loop has no files (epoll), nothing was
 * started. result is 0 or a positive errno; a read that meets the end of the file is EIO. */
bool loop_file(struct loop *loop, bool write, int fd, uint8_t *data, size_t len, uint64_t offset,
               void (*done)(void *context, int result), void *context) MUST_USE;

/* ---- Threads beside the loop (tasks.c) --------------------------------------------------------------- */

struct task { /* embedded in what is to be done */
    struct list link;
    void (*run)(struct task *task);  /* on the thread */
    void (*done)(struct task *task); /* on the loop thread, later */
};
struct tasks;       /* the finished tasks of all threads, and the loop's wake-up */
struct task_thread; /* one thread, first come first served */
/* loop NULL: another loop watches tasks_fd and calls tasks_tell whenever it is readable. */
struct tasks *tasks_new(struct loop *loop);
int tasks_fd(const struct tasks *tasks);
void tasks_tell(struct tasks *tasks); /* calls done of all that are finished */
void tasks_free(struct tasks *tasks); /* after its threads; finished tasks that nobody took are told */
struct task_thread *task_thread_start(struct tasks *tasks, const char *name);
void task_thread_stop(struct task_thread *thread); /* finishes what is queued */
/* False: it is still busy, and is left behind to end with the process; `tasks`, and what it works on, must
 * stay. */
bool task_thread_stop_within(struct task_thread *thread, int64_t patience_us) MUST_USE;
void task_submit(struct task_thread *thread, struct task *task);

/* ---- The store (store.c): RocksDB and the block files of one data directory -------------------------- */

struct store;
#define STORE_DAMAGED "damaged" /* an error's word: what RocksDB has kept is not what it wrote */
/* folder is <datadir>/<chain>: made when absent, locked, its format and network checked (ERROR_LOCKED). */
struct store *store_open(const char *folder, const struct chain_params *params, struct error *error) MUST_USE;
/* Empties the coins and what is derived from them (--reindex-chainstate), or the block index as well
 * (--reindex); block and undo files stay. Before chain_open; survives being interrupted. */
bool store_reset(struct store *store, bool index_too, struct error *error) MUST_USE;
/* Deletes the database of a folder that cannot be opened; block and undo files stay. Not while it is open
 * anywhere: RocksDB's own lock sees to that. */
bool store_discard(const char *folder, struct error *error) MUST_USE;
void store_close(struct store *store);
void store_reads(struct store *store, struct store_reader *out);
/* An open block or undo file (made when absent for writing), or -1 and *error; the caller closes it. */
int store_file(struct store *store, enum file_kind kind, uint32_t number, bool write, struct error *error);
/* From now on compactions run at idle priority, like the hash workers, which would otherwise lose a whole CPU
 * to one for as long as it takes: as soon as a commit finds their thread. Any thread. */
void store_compactions_yield(struct store *store);
/* Its bytes were written: the next commit syncs it first. Any thread. */
void store_written(struct store *store, enum file_kind kind, uint32_t number);
/* What the store has now, for a JOB_SCAN; any thread. store_run of that job frees it. */
void *store_snapshot(struct store *store);
/* Carries out one job (not JOB_CHECK_SCRIPTS), blocking, on any thread; sets its answer, does not finish it.
 */
void store_run(struct store *store, struct job *job, void *snapshot);

/* ---- quarryd ----------------------------------------------------------------------------------------- */

/* Runs the node until it is told to stop; returns the exit status. */
int host_run(const struct settings *settings);

#endif
