/*~ The host of a node: one thread, the loop, that feeds core/node with what happens outside (sockets, timers,
 * disks, hashes, signals) and carries out what it answers. Threads beside it do what would block: q-io/0
 * reads, q-io/1 commits, q-job scans, q-dns names; the pool hashes and checks. Start here after main(), then
 * go on in core/node/node.c. */
#include "io/host_private.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"
#include "quarry_version.h"

#define MIB                 ((size_t)1 << 20)
#define RECENT_BLOCKS_BYTES (64 * MIB)
#define DBCACHE_MIB         450
#define SCRIPT_CACHE_BYTES  (16 * MIB)
#define MEMPOOL_MIB         300
#define STATS_US            INT64_C(1000000)
#define GOODBYE_US          INT64_C(300000) /* for answers that are still on their way at the end */
#define NAMES_PATIENCE_US   INT64_C(200000)
#define KEYS_MAX            16u
#define PUBLIC_TRICKLE_MS   2000       /* --help says so too */
#define KEEP_BYTES          (16 << 20) /* of freed memory */
#define SWITCH_PATIENCE_NS  INT64_C(300000)
#define SAVED_BYTES_MAX     (4 * MIB)
#define DESCRIPTORS_KEPT    512u
#define PEERS_BESIDE        512u /* outbound, and those that are on their way out */

struct host_job { /* a job on a thread or on the ring */
    struct task task;
    struct host *host;
    struct job *job;
    void *snapshot;
    struct open_file *file; /* NULL: fd is this job's alone */
    int fd;
};

static void carry_out(struct host *host, struct action *action);

/* Also called from inside node_handle, when something is urgent: nothing here calls back into the node. */
static void carry_out_all(struct host *host)
{
    struct action action;
    while (node_next_action(host->node, &action)) {
        carry_out(host, &action);
        action_free(&action);
    }
}

/* When the last hash worker had begun with the work that is watched; then with what is out since. Nobody
 * waits for it: told when the actions at hand are done. A work that is watched stays so when a newer one is
 * out: who has begun with that has left the tip before, too. */
static void see_switch(struct host *host)
{
    int64_t mono_ns;
    while (host->watched_work && host->switched_count < ARRAY_COUNT(host->switched) &&
           pool_begun(host->pool, host->watched_work, &mono_ns)) {
        host->switched[host->switched_count++] = (struct switched){host->watched_work, mono_ns / 1000};
        host->watched_work = host->last_work > host->watched_work ? host->last_work : 0;
    }
}

/* From inside node_handle, with new work for the hash workers: the one whose CPU this thread has begins
 * before the node goes on with what takes it some milliseconds. */
static void switch_now(void *context)
{
    struct host *host = context;
    carry_out_all(host);
    pool_await(host->pool, SWITCH_PATIENCE_NS);
    see_switch(host);
}

static void emit(struct host *host, struct event *event)
{
    event->now = loop_now();
    node_handle(host->node, event);
    carry_out_all(host);
}

void host_emit(struct host *host, struct event *event)
{
    if (host->ended) {
        return;
    }
    emit(host, event);
    while (host->switched_count) {
        struct event switched = {.kind = EVENT_SWITCHED};
        switched.switched.work_id = host->switched[0].work_id;
        switched.switched.mono_us = host->switched[0].us;
        memmove(host->switched, host->switched + 1, --host->switched_count * sizeof *host->switched);
        emit(host, &switched);
    }
}

/* ---- Jobs
 * --------------------------------------------------------------------------------------------------- */

static void job_is_done(struct host *host, struct job *job)
{
    list_remove(&job->link);
    if (host->ended) { /* too late for the node: whoever asked lets go of it */
        job->failed = true;
        error_set(&job->error, ERROR_BUSY, NULL, "the node has stopped");
        job_finish(job);
        return;
    }
    struct event event = {.kind = EVENT_JOB};
    event.job = job;
    host_emit(host, &event);
}

static void run_on_thread(struct task *task)
{
    struct host_job *work = CONTAINER_OF(task, struct host_job, task);
    store_run(work->host->store, work->job, work->snapshot);
}

static void thread_is_done(struct task *task)
{
    struct host_job *work = CONTAINER_OF(task, struct host_job, task);
    job_is_done(work->host, work->job);
    mem_free(work);
}

static void to_thread(struct host *host, struct task_thread *thread, struct job *job)
{
    struct host_job *work = mem_alloc(sizeof *work);
    work->host = host;
    work->job = job;
    work->task.run = run_on_thread;
    work->task.done = thread_is_done;
    if (job->kind == JOB_SCAN) {
        work->snapshot = store_snapshot(host->store); /* of this moment, however long the queue is */
    }
    task_submit(thread, &work->task);
}

/* The file of a job, open already as a rule: one block after the other goes to the same two. */
static bool file_open(struct host *host, struct host_job *work)
{
    const struct job *job = work->job;
    bool write = job->kind == JOB_WRITE;
    struct open_file *unused = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        struct open_file *file = &host->files[i];
        if (file->fd >= 0 && file->kind == job->io.file && file->number == job->io.number &&
            file->write == write) {
            file->users++;
            file->last_use = ++host->file_uses;
            work->file = file;
            work->fd = file->fd;
            return true;
        }
        if (!file->users && (!unused || file->last_use < unused->last_use)) {
            unused = file;
        }
    }
    work->fd = store_file(host->store, job->io.file, job->io.number, write, NULL);
    if (work->fd >= 0 && unused) {
        if (unused->fd >= 0) {
            close(unused->fd);
        }
        *unused = (struct open_file){job->io.file, job->io.number, write, work->fd, 1, ++host->file_uses};
        work->file = unused;
    }
    return work->fd >= 0;
}

static void file_close(struct host_job *work)
{
    if (work->file) {
        work->file->users--;
    } else {
        close(work->fd);
    }
}

static void file_is_done(void *context, int problem)
{
    struct host_job *work = context;
    struct host *host = work->host;
    struct job *job = work->job;
    host->files_out--;
    file_close(work);
    if (problem) {
        job->failed = true;
        error_set(&job->error, ERROR_IO, NULL, "%s a block file: %s",
                  job->kind == JOB_WRITE ? "writing" : "reading", strerror(problem));
    } else if (job->kind == JOB_WRITE) {
        store_written(host->store, job->io.file, job->io.number);
    }
    mem_free(work);
    job_is_done(host, job);
}

/* Block and undo bytes go through the ring where there is one, else over the reading thread. */
static void to_file(struct host *host, struct job *job)
{
    bool write = job->kind == JOB_WRITE;
    struct host_job *work = mem_alloc(sizeof *work);
    *work = (struct host_job){.host = host, .job = job};
    if (file_open(host, work)) {
        if (!write) {
            job->io.data = mem_alloc(job->io.len);
        }
        if (loop_file(host->loop, write, work->fd, job->io.data, job->io.len, job->io.offset, file_is_done,
                      work)) {
            host->files_out++;
            return;
        }
        if (!write) {
            mem_free(job->io.data);
            job->io.data = NULL;
        }
        file_close(work);
    }
    mem_free(work);
    to_thread(host, host->reads, job);
}

static void start_job(struct host *host, struct job *job)
{
    list_append(&host->jobs, &job->link);
    switch (job->kind) {
    case JOB_CHECK_SCRIPTS:
        pool_check(host->pool, job->check.check, job->check.batch, job->check.count, job);
        break;
    case JOB_READ:
    case JOB_WRITE: to_file(host, job); break;
    case JOB_COMMIT: to_thread(host, host->commits, job); break;
    case JOB_SAVE:
    case JOB_SCAN: to_thread(host, host->slow, job); break;
    case JOB_READ_COINS:
    case JOB_READ_KEY:
    case JOB_IMPORT_READ: to_thread(host, host->reads, job); break;
    }
}

/* ---- The pool
 * ----------------------------------------------------------------------------------------------- */

static void give_work(struct host *host, const struct work_order *order)
{
    struct pool_work work = {.id = order->id, .version_mask = order->version_mask};
    see_switch(host);
    host->last_work = order->idle ? 0 : order->id;
    if (order->idle || !host->watched_work) {
        host->watched_work = host->last_work;
    }
    if (order->idle) {
        pool_work(host->pool, NULL);
        return;
    }
    memcpy(work.header, order->header, sizeof work.header);
    u256_to_le(work.target, order->target);
    pool_work(host->pool, &work);
    store_compactions_yield(host->store);
}

static void pool_has_results(void *context)
{
    struct host *host = context;
    struct pool_result result;
    uint64_t count;
    ssize_t got = read(pool_event_fd(host->pool), &count, sizeof count);
    (void)got;
    while (pool_next_result(host->pool, &result)) {
        struct event event = {.kind = EVENT_HIT};
        if (result.kind == POOL_USED_UP) {
            event.kind = EVENT_USED_UP;
            event.hit.work_id = result.work_id;
            host_emit(host, &event);
        } else if (result.kind == POOL_HIT) {
            event.hit.work_id = result.work_id;
            event.hit.version = result.version;
            event.hit.nonce = result.nonce;
            event.hit.hashes_total = pool_hash_count(host->pool);
            host_emit(host, &event);
        } else {
            struct job *job = result.cookie;
            job->check.failed_index = result.failed_index;
            job_is_done(host, job);
        }
    }
}

static size_t resident_bytes(void)
{
    struct buf text = {0};
    unsigned long size = 0, resident = 0;
    if (file_read_all("/proc/self/statm", 4096, &text, NULL)) {
        buf_u8(&text, 0);
        char *end;
        size = strtoul((const char *)text.data, &end, 10);
        resident = strtoul(end, NULL, 10);
    }
    buf_free(&text);
    return size ? resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Quota and cpuset may change under a running process. */
static void follow_limits(struct host *host)
{
    struct cpu_limits limits;
    cpu_limits_read(&limits, NULL, NULL);
    if (pool_limits(host->pool, &limits)) {
        log_info(LOG_POOL, "the limits have changed: %u hash workers; %u of %u CPUs, quota %.3g (0: none)",
                 pool_hash_threads(host->pool), limits.affinity_cpus, limits.machine_cpus, limits.quota_cpus);
    }
}

/* What the first worker hashes with; the others log it where they differ. */
static const char *kernel_name(const struct host *host)
{
    struct pool_worker_stats first;
    return pool_worker_stats(host->pool, 0, &first) && first.rolling ? first.rolling
                                                                     : sha256_kernel_in_use()->name;
}

/* Caller frees. */
static struct hash_worker_counts *worker_counts(const struct host *host, size_t *count)
{
    struct hash_worker_counts *counts = NULL;
    struct pool_worker_stats stats;
    for (*count = 0; pool_worker_stats(host->pool, (unsigned)*count, &stats); ++*count) {
        counts = mem_realloc(counts, (*count + 1) * sizeof *counts);
        counts[*count] = (struct hash_worker_counts){.rolling = stats.rolling ? stats.rolling : "",
                                                     .plain = stats.plain ? stats.plain : "",
                                                     .hashes = stats.hashes,
                                                     .hashes_rolling = stats.hashes_rolling,
                                                     .hits = stats.hits,
                                                     .hits_lost = stats.hits_lost,
                                                     .switches = stats.switches,
                                                     .cpu_s = (double)stats.cpu_ns / 1e9};
    }
    return counts;
}

static void stats_are_due(void *context)
{
    struct host *host = context;
    follow_limits(host);
    int64_t now = loop_now().mono_us;
    uint64_t hashes = pool_hash_count(host->pool);
    double seconds = (double)(now - host->stats_before_us) / 1e6;
    double rate = seconds > 0 ? (double)(hashes - host->hashes_before) / seconds : 0;
    /* Smoothed over some five seconds, but at once when hashing begins or ends. */
    bool jump = rate == 0 || host->hashes_per_s == 0;
    host->hashes_per_s = jump ? rate : host->hashes_per_s + 0.2 * (rate - host->hashes_per_s);
    host->hashes_before = hashes;
    host->stats_before_us = now;
    size_t worker_count;
    struct hash_worker_counts *workers = worker_counts(host, &worker_count);
    struct event event = {.kind = EVENT_STATS};
    event.stats.hashes_total = hashes;
    event.stats.hashes_per_s = host->hashes_per_s;
    event.stats.threads = pool_hash_threads(host->pool);
    event.stats.kernel = kernel_name(host);
    event.stats.memory_bytes = resident_bytes();
    event.stats.workers = workers;
    event.stats.worker_count = worker_count;
    loop_timer_set(host->loop, &host->stats_timer, now + STATS_US);
    see_switch(host);
    host_emit(host, &event);
    mem_free(workers);
}

/* ---- Small files beside the chain -------------------------------------------------------------------------
 */

struct saving {
    struct task task;
    struct buf path, bytes;
    bool failed;
    struct error error;
};

static void save_on_thread(struct task *task)
{
    struct saving *saving = CONTAINER_OF(task, struct saving, task);
    saving->failed =
        !file_write_private((const char *)saving->path.data, buf_span(&saving->bytes), &saving->error);
}

static void save_is_done(struct task *task)
{
    struct saving *saving = CONTAINER_OF(task, struct saving, task);
    if (saving->failed) {
        log_warn(LOG_NODE, "%s", saving->error.text);
    }
    buf_free(&saving->path);
    buf_free(&saving->bytes);
    mem_free(saving);
}

static void save(struct host *host, struct action *action)
{
    struct saving *saving = mem_alloc(sizeof *saving);
    saving->task.run = save_on_thread;
    saving->task.done = save_is_done;
    buf_printf(&saving->path, "%s/%s%c", host->folder, action->text, 0);
    saving->bytes = action->bytes;
    action->bytes = (struct buf){0};
    task_submit(host->slow, &saving->task); /* one thread: the last that was asked for is what stays */
}

static void read_saved(struct host *host, const char *name, struct buf *out)
{
    struct buf path = {0};
    struct error error = {0};
    buf_printf(&path, "%s/%s%c", host->folder, name, 0);
    if (!file_read_all((const char *)path.data, SAVED_BYTES_MAX, out, &error) &&
        error.kind != ERROR_MISSING) {
        log_warn(LOG_NODE, "%s", error.text);
        buf_clear(out);
    }
    buf_free(&path);
}

/* ---- Timers, signals, the end
 * --------------------------------------------------------------------------------- */

static void node_timer_fired(void *context)
{
    struct event event = {.kind = EVENT_TIMER};
    host_emit(context, &event);
}

static void signal_came(void *context)
{
    struct host *host = context;
    struct signalfd_siginfo info;
    while (read(host->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (host->signalled) {
            log_warn(LOG_NODE, "second signal: leaving at once");
            _exit(STATUS_RUNTIME); /* as safe as kill -9, and that is safe */
        }
        host->signalled = true;
        log_info(LOG_NODE, "%s", info.ssi_signo == SIGINT ? "interrupted" : "asked to stop");
        struct event event = {.kind = EVENT_STOP};
        host_emit(host, &event);
    }
}

static void try_to_leave(void *context)
{
    struct host *host = context;
    int64_t now = loop_now().mono_us;
    bool quiet = !host->files_out && loop_queued_bytes(host->loop) == 0;
    if (quiet || now >= host->exit_deadline_us) {
        loop_stop(host->loop);
    } else {
        loop_timer_set(host->loop, &host->exit_timer, now + 2000);
    }
}

static void begin_exit(struct host *host, int code)
{
    host->exiting = true;
    host->exit_code = code;
    host->exit_deadline_us = loop_now().mono_us + GOODBYE_US;
    rpc_server_stop(host);
    loop_timer_set(host->loop, &host->exit_timer, 0);
}

/* ---- Actions
 * -------------------------------------------------------------------------------------------------- */

static void carry_out(struct host *host, struct action *action)
{
    switch (action->kind) {
    case ACTION_SEND: peers_send(host, action->peer, shared_ref(action->message)); break;
    case ACTION_CLOSE: peers_close(host, action->peer); break;
    case ACTION_PAUSE: peers_pause(host, action->peer, action->at_mono_us); break;
    case ACTION_DIAL: peers_dial(host, action->peer, action->text, action->port); break;
    case ACTION_JOB: start_job(host, action->job); break;
    case ACTION_WORK: give_work(host, &action->work); break;
    case ACTION_RPC_REPLY: rpc_server_reply(host, action->rpc, &action->bytes); break;
    case ACTION_TIMER: loop_timer_set(host->loop, &host->node_timer, action->at_mono_us); break;
    case ACTION_PRINT:
        puts(action->text);
        fflush(stdout);
        break;
    case ACTION_SAVE: save(host, action); break;
    case ACTION_EXIT: begin_exit(host, action->exit_code); break;
    }
}

/* ---- Starting
 * ------------------------------------------------------------------------------------------------- */

/* The key that mining pays when nobody named an address: made once, kept in the chain's folder. */
static bool own_key(struct host *host, char address[ADDRESS_TEXT], struct error *error)
{
    struct buf path = {0}, text = {0};
    struct error problem = {0};
    struct key_file_entry *entries = mem_alloc(KEYS_MAX * sizeof *entries);
    buf_printf(&path, "%s/mining.key%c", host->folder, 0);
    const char *name = (const char *)path.data;
    bool ok = true;
    if (file_read_all(name, MIB, &text, &problem)) {
        ok = key_file_parse(entries, KEYS_MAX, buf_span(&text), &host->params, error) > 0;
        mem_wipe(text.data, text.capacity);
    } else {
        ok = problem.kind == ERROR_MISSING ? key_file_add(name, "mining", &host->params, &entries[0], error)
                                           : error_set(error, problem.kind, NULL, "%s", problem.text);
    }
    if (ok) {
        key_address(address, &entries[0].key, &host->params);
        log_info(LOG_MINING, "mining pays %s, whose key is in %s", address, name);
    }
    mem_wipe(entries, KEYS_MAX * sizeof *entries);
    mem_free(entries);
    buf_free(&path);
    buf_free(&text);
    return ok;
}

static bool choose_payout(struct host *host, struct error *error)
{
    const struct settings *s = host->settings;
    struct error problem = {0};
    if (*s->mining_address) {
        snprintf(host->payout_address, sizeof host->payout_address, "%s", s->mining_address);
    } else if (s->mine && !own_key(host, host->payout_address, error)) {
        return false;
    }
    if (*host->payout_address &&
        !address_to_script(&host->payout_script, host->payout_address, &host->params, &problem)) {
        return error_set(error, ERROR_USAGE, NULL, "mining-address is '%.100s': %.140s", s->mining_address,
                         problem.text);
    }
    return true;
}

static bool start_pool(struct host *host, const struct cpu_limits *limits, struct error *error)
{
    const struct settings *s = host->settings;
    struct pool_config config = {.hash_threads = -1,
                                 .check_threads = s->check_threads ? (int)s->check_threads : -1,
                                 .hash_share = (unsigned)s->hash_share,
                                 .pin = s->pin,
                                 .cpus = *s->cpus ? s->cpus : NULL,
                                 .limits = *limits};
    if (strcmp(s->threads, "auto") != 0) {
        config.hash_threads = (int)strtol(s->threads, NULL, 10);
    }
    if (strcmp(s->hash_kernel, "auto") != 0) {
        if (!sha256_kernel_force(s->hash_kernel)) {
            return error_set(error, ERROR_USAGE, NULL,
                             "hash-kernel is '%.60s': auto, or a kernel that this CPU has (see --version)",
                             s->hash_kernel);
        }
        config.kernel = sha256_kernel_in_use();
    }
    if (!s->mine && strcmp(s->threads, "auto") == 0 && host->params.kind == CHAIN_REGTEST) {
        config.hash_threads = 0; /* blocks are found on the spot there */
    }
    host->pool = pool_start(&config, error);
    if (!host->pool) {
        return false;
    }
    char quota[32] = "no quota";
    if (limits->quota_cpus > 0) {
        snprintf(quota, sizeof quota, "quota %.3g", limits->quota_cpus);
    }
    log_info(LOG_POOL, "%u hash workers, %u check workers; %u of %u CPUs, %s", pool_hash_threads(host->pool),
             pool_check_threads(host->pool), limits->affinity_cpus, limits->machine_cpus, quota);
    if (*sha256_kernels_failed()) {
        log_error(LOG_POOL, "these hash kernels failed their self-test and are not used: %s",
                  sha256_kernels_failed());
    }
    return true;
}

static size_t share_of_memory(int64_t given_mib, size_t standard_mib, const struct cpu_limits *limits)
{
    if (given_mib > 0) {
        return (size_t)given_mib * MIB;
    }
    size_t bytes = standard_mib * MIB;
    return limits->memory_bytes ? MIN(bytes, MAX((size_t)limits->memory_bytes / 8, 8 * MIB)) : bytes;
}

/* Up to 64 hex digits, with or without 0x in front. */
static bool hash_setting(const char *name, const char *given, struct hash256 *out, struct error *error)
{
    char text[HASH256_TEXT];
    const char *digits = strncmp(given, "0x", 2) == 0 ? given + 2 : given;
    size_t len = strlen(digits);
    if (len && len < HASH256_TEXT) {
        memset(text, '0', HASH256_TEXT - 1);
        memcpy(text + HASH256_TEXT - 1 - len, digits, len + 1);
        if (hash256_parse(out, text)) {
            return true;
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "%s is '%.80s': allowed are up to 64 hex digits, or 0", name,
                     given);
}

static int64_t clock_us(void)
{
    return loop_now().mono_us;
}

/* As many places as were asked for, and as descriptors allow: RocksDB, block files, RPC and those peers that
 * are on their way out need some too. */
static uint32_t inbound_places(struct host *host)
{
    struct rlimit limit = {0};
    uint32_t places = (uint32_t)host->settings->max_inbound;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < DESCRIPTORS_KEPT + PEERS_BESIDE + (rlim_t)places) {
        places = limit.rlim_cur > DESCRIPTORS_KEPT + PEERS_BESIDE
                     ? (uint32_t)(limit.rlim_cur - DESCRIPTORS_KEPT - PEERS_BESIDE)
                     : 1;
        log_warn(LOG_NET,
                 "only %ju descriptors are allowed (ulimit -n): %u places for inbound peers, not %" PRId64,
                 (uintmax_t)limit.rlim_cur, places, host->settings->max_inbound);
    }
    host->connections_max = (size_t)places + PEERS_BESIDE;
    return places;
}

/* On a network of one's own there is nobody to hide from. */
static int64_t trickle_us(const struct host *host)
{
    bool private = host->params.kind == CHAIN_CLUSTER || host->params.kind == CHAIN_REGTEST;
    int64_t ms = host->settings->trickle_ms;
    return (ms >= 0 ? ms : private ? 0 : PUBLIC_TRICKLE_MS) * 1000;
}

static bool start_node(struct host *host, const struct cpu_limits *limits, struct error *error)
{
    const struct settings *s = host->settings;
    struct hash256 work;
    buf_printf(&host->mempool_file, "%s/mempool.dat%c", host->folder, 0);
    struct node_config config = {
        .params = &host->params,
        .user_agent = "/Quarry:" QUARRY_VERSION "/",
        .version_text = "Quarry " QUARRY_VERSION,
        .datadir_text = s->datadir,
        .coins_cache_bytes = share_of_memory(s->dbcache_mib, DBCACHE_MIB, limits),
        .recent_blocks_bytes = RECENT_BLOCKS_BYTES,
        .mempool_bytes = share_of_memory(s->mempool_mib, MEMPOOL_MIB, limits),
        .inbound_max = inbound_places(host),
        .blocks_only = s->blocks_only,
        .trickle_us = trickle_us(host),
        .discover = strcmp(s->discover, "no") == 0    ? P2P_DISCOVER_NO
                    : strcmp(s->discover, "yes") == 0 ? P2P_DISCOVER_YES
                                                      : P2P_DISCOVER_FALLBACK,
        .whitelist = (const char *const *)s->whitelist.items,
        .whitelist_count = s->whitelist.count,
        .p2p_allow = (const char *const *)s->p2p_allow.items,
        .p2p_allow_count = s->p2p_allow.count,
        .tx_index = s->tx_index,
        .mempool_file = (const char *)host->mempool_file.data,
        .persist_mempool = s->persist_mempool,
        .script_cache_bytes = SCRIPT_CACHE_BYTES,
        .seed_node = s->seed,
        .connect = (const char *const *)s->connect.items,
        .connect_count = s->connect.count,
        .mine = s->mine,
        .payout_script = buf_span(&host->payout_script),
        .payout_address = host->payout_address,
        .block_interval_s = (uint32_t)s->block_interval_s,
        .load_blocks = (const char *const *)s->load_blocks.items,
        .load_block_count = s->load_blocks.count,
        .urgent = switch_now,
        .host = host,
        .clock_us = clock_us,
    };
    read_saved(host, "peers.dat", &host->peers_file);
    read_saved(host, "banlist.json", &host->bans_file);
    config.peers_file = buf_span(&host->peers_file);
    config.bans_file = buf_span(&host->bans_file);
    if (!hash_setting("assumevalid", s->assume_valid, &config.assume_valid, error) ||
        !hash_setting("minimumchainwork", s->minimum_work, &work, error)) {
        return false;
    }
    config.minimum_work = u256_from_le(work.b);
    random_bytes(config.seed, sizeof config.seed);
    if (strcmp(s->exit_when, "loaded") == 0) {
        config.exit_when = EXIT_LOADED;
    } else if (strcmp(s->exit_when, "synced") == 0) {
        config.exit_when = EXIT_SYNCED;
    } else if (strncmp(s->exit_when, "height:", 7) == 0) {
        config.exit_when = EXIT_HEIGHT;
        config.exit_height = (uint32_t)strtoul(s->exit_when + 7, NULL, 10);
    }
    struct store_reader reader;
    store_reads(host->store, &reader);
    host->node = node_new(&config, &reader, error);
    return host->node != NULL;
}

static bool start_threads(struct host *host, struct error *error)
{
    host->loop = loop_new(host->settings->loop, error);
    if (!host->loop) {
        return false;
    }
    log_info(LOG_NODE, "the loop runs on %s", loop_name(host->loop));
    host->tasks = tasks_new(host->loop);
    host->reads = task_thread_start(host->tasks, "q-io/0");
    host->commits = task_thread_start(host->tasks, "q-io/1");
    host->slow = task_thread_start(host->tasks, "q-job");
    host->names = task_thread_start(host->tasks, "q-dns");
    return true;
}

static void seed_wallet(void)
{
    uint8_t seed[32];
    random_bytes(seed, sizeof seed);
    wallet_init(seed);
    mem_wipe(seed, sizeof seed);
}

static bool start(struct host *host, struct error *error)
{
    struct cpu_limits limits;
    struct rng rng;
    uint8_t seed[32];
    random_bytes(seed, sizeof seed);
    rng_seed(&rng, seed);
    list_init(&host->jobs);
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        host->files[i].fd = -1;
    }
    map_init(&host->peers, sizeof(peer_id), sizeof(struct connection *), &rng);
    host->node_timer = (struct loop_timer){.fire = node_timer_fired, .context = host};
    host->stats_timer = (struct loop_timer){.fire = stats_are_due, .context = host};
    host->exit_timer = (struct loop_timer){.fire = try_to_leave, .context = host};
    seed_wallet();
    cpu_limits_read(&limits, NULL, NULL);
    host->folder = settings_chain_folder(host->settings);
    if (!settings_chain(host->settings, &host->params, error)) {
        return false;
    }
    host->store = store_open(host->folder, &host->params, error);
    if (!host->store && host->settings->reindex && strcmp(error->word, STORE_DAMAGED) == 0) {
        log_warn(LOG_STORE, "the store is damaged: all of it is built anew from the block files");
        error_clear(error);
        if (!store_discard(host->folder, error)) {
            return false;
        }
        host->store = store_open(host->folder, &host->params, error);
    }
    if (host->store && (host->settings->reindex || host->settings->reindex_chainstate) &&
        !store_reset(host->store, host->settings->reindex, error)) {
        return false;
    }
    if (!host->store || !choose_payout(host, error) || !start_threads(host, error) ||
        !start_pool(host, &limits, error) || !start_node(host, &limits, error) ||
        !rpc_server_start(host, error) || !peers_listen(host, error)) {
        return false;
    }
    loop_watch(host->loop, host->signal_fd, signal_came, host);
    loop_watch(host->loop, pool_event_fd(host->pool), pool_has_results, host);
    host->stats_before_us = loop_now().mono_us;
    loop_timer_set(host->loop, &host->stats_timer, host->stats_before_us + STATS_US);
    return true;
}

/* Whatever is still under way comes back as failed, so that nobody's memory is lost. */
static void finish(struct host *host)
{
    host->ended = true;
    pool_stop(host->pool);
    task_thread_stop(host->reads);
    task_thread_stop(host->commits);
    task_thread_stop(host->slow);
    if (task_thread_stop_within(host->names, NAMES_PATIENCE_US)) {
        tasks_free(host->tasks);
    } else { /* a name service that does not answer: it may take many seconds */
        tasks_tell(host->tasks);
    }
    while (!list_empty(&host->jobs)) {
        job_is_done(host, CONTAINER_OF(host->jobs.next, struct job, link));
    }
    loop_free(host->loop);
    rpc_server_free(host);
    peers_free(host);
    if (host->node) {
        node_free(host->node);
    }
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        if (host->files[i].fd >= 0) {
            close(host->files[i].fd);
        }
    }
    store_close(host->store);
    chain_params_free(&host->params);
    buf_free(&host->payout_script);
    buf_free(&host->peers_file);
    buf_free(&host->bans_file);
    buf_free(&host->mempool_file);
    mem_free(host->folder);
}

static int status_of(const struct error *error)
{
    return error->kind == ERROR_USAGE    ? STATUS_USAGE
           : error->kind == ERROR_LOCKED ? STATUS_FOREIGN
                                         : STATUS_RUNTIME;
}

static void *loop_thread(void *context)
{
    struct host *host = context;
    struct error error = {0};
    pthread_setname_np(pthread_self(), "q-loop");
    if (start(host, &error)) {
        struct event event = {.kind = EVENT_START};
        host_emit(host, &event);
        loop_run(host->loop);
    } else {
        log_error(LOG_NODE, "%s", error.text);
        host->exit_code = status_of(&error);
    }
    finish(host);
    return NULL;
}

int host_run(const struct settings *settings)
{
    struct host host = {.settings = settings};
    pthread_t thread;
    sigset_t signals;
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES); /* blocks come and go: their memory stays, and stays mapped */
    mallopt(M_TRIM_THRESHOLD, 2 * KEEP_BYTES);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread: all inherit it, the loop reads them */
    host.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(host.signal_fd >= 0);
    CHECK(pthread_create(&thread, NULL, loop_thread, &host) == 0);
    pthread_join(thread, NULL);
    close(host.signal_fd);
    return host.exit_code;
}
