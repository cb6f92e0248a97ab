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
#include <sys/signalfd.h>
#include <unistd.h>

#include "hashing/kernels/kernels.h"

#define STATS_US           INT64_C(1000000)
#define GOODBYE_US         INT64_C(300000)   /* for answers that are still on their way at the end */
#define DISK_PATIENCE_US   INT64_C(10000000) /* longer for the disk */
#define NAMES_PATIENCE_US  INT64_C(200000)
#define KEEP_BYTES         (16 << 20) /* of freed memory */
#define SWITCH_PATIENCE_NS INT64_C(1000000)

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

/* ---- The pool ---------------------------------------------------------------------------------------- */

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

/* ---- Timers, signals, the end ------------------------------------------------------------------------ */

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
    int64_t patience_us = host->files_out ? DISK_PATIENCE_US : 0;
    if (!quiet && now < host->exit_deadline_us + patience_us) {
        loop_timer_set(host->loop, &host->exit_timer, now + 2000);
    } else if (host->files_out) {
        log_warn(LOG_NODE, "the disk does not answer: leaving at once");
        _exit(STATUS_RUNTIME); /* the kernel still has the buffers of what is under way */
    } else {
        loop_stop(host->loop);
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

/* ---- Actions ----------------------------------------------------------------------------------------- */

static void carry_out(struct host *host, struct action *action)
{
    switch (action->kind) {
    case ACTION_SEND: peers_send(host, action->peer, shared_ref(action->message)); break;
    case ACTION_CLOSE: peers_close(host, action->peer); break;
    case ACTION_PAUSE: peers_pause(host, action->peer, action->at_mono_us); break;
    case ACTION_DIAL: peers_dial(host, action->peer, action->text, action->port); break;
    case ACTION_JOB: job_start(host, action->job); break;
    case ACTION_WORK: give_work(host, &action->work); break;
    case ACTION_RPC_REPLY: rpc_server_reply(host, action->rpc, &action->bytes); break;
    case ACTION_TIMER: loop_timer_set(host->loop, &host->node_timer, action->at_mono_us); break;
    case ACTION_PRINT:
        puts(action->text);
        fflush(stdout);
        break;
    case ACTION_SAVE: saved_write(host, action); break;
    case ACTION_EXIT: begin_exit(host, action->exit_code); break;
    }
}

/* ---- Starting ---------------------------------------------------------------------------------------- */

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
    jobs_init(host);
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
    if (!host->store || !start_payout(host, error) || !start_threads(host, error) ||
        !start_pool(host, &limits, error) || !start_node(host, &limits, switch_now, error) ||
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
    jobs_end(host);
    loop_free(host->loop);
    rpc_server_free(host);
    peers_free(host);
    if (host->node) {
        node_free(host->node);
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
