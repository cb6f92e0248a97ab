/*~ The composition. The loop (io/host.c) and the simulator (tests/sim) call node_handle with each event and
 * then carry out what node_next_action gives. Read on in core/p2p/message.c for what a peer's bytes become,
 * in core/chain/connect.c for what a block does, in core/node/miner.c for what is hashed. */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/node_private.h"

#include "hashing/kernels/kernels.h"

#define STOP_PATIENCE_US INT64_C(1500000)

/* ---- Actions ------------------------------------------------------------------------------------------ */

struct action *node_push(struct node *node, enum action_kind kind)
{
    if (node->action_count == node->action_capacity) {
        size_t capacity = MAX(node->action_capacity * 2, 64u);
        struct action *bigger = mem_alloc(capacity * sizeof *bigger);
        for (size_t i = 0; i < node->action_count; i++) {
            bigger[i] = node->actions[(node->action_first + i) % node->action_capacity];
        }
        mem_free(node->actions);
        node->actions = bigger;
        node->action_first = 0;
        node->action_capacity = capacity;
    }
    struct action *action =
        &node->actions[(node->action_first + node->action_count++) % node->action_capacity];
    *action = (struct action){.kind = kind};
    return action;
}

bool node_next_action(struct node *node, struct action *out)
{
    if (!node->action_count) {
        return false;
    }
    *out = node->actions[node->action_first];
    node->action_first = (node->action_first + 1) % node->action_capacity;
    node->action_count--;
    return true;
}

void action_free(struct action *action)
{
    shared_unref(action->message);
    action->message = NULL;
    buf_free(&action->bytes);
    mem_free(action->text);
    action->text = NULL;
}

void node_submit(void *context, struct job *job)
{
    struct node *node = context;
    node->jobs_out++;
    node_push(node, ACTION_JOB)->job = job;
}

void node_print(struct node *node, const char *line)
{
    node_push(node, ACTION_PRINT)->text = mem_strdup(line);
}

/* ---- What peers, chain and mempool tell --------------------------------------------------------------- */

static void on_send(void *context, peer_id peer, struct shared *message)
{
    struct action *action = node_push(context, ACTION_SEND);
    ((struct node *)context)->bytes_sent += message->bytes.len;
    action->peer = peer;
    action->message = message;
}

static void on_close(void *context, peer_id peer)
{
    node_push(context, ACTION_CLOSE)->peer = peer;
}

static void on_pause(void *context, peer_id peer, int64_t until_mono_us)
{
    struct action *action = node_push(context, ACTION_PAUSE);
    action->peer = peer;
    action->at_mono_us = until_mono_us;
}

static void on_dial(void *context, peer_id peer, const char *host, uint16_t port)
{
    struct action *action = node_push(context, ACTION_DIAL);
    action->peer = peer;
    action->text = mem_strdup(host);
    action->port = port;
}

static void on_print(void *context, const char *line)
{
    node_print(context, line);
}

static void on_connected(void *context, const struct block_entry *entry, const struct block *block)
{
    struct node *node = context;
    p2p_block_connected(node->p2p, entry);
    mempool_block_connected(node->mempool, entry, block);
}

static bool on_checked(void *context, const struct block_entry *entry, const struct block *block)
{
    return p2p_block_checked(((struct node *)context)->p2p, entry, block);
}

static void on_ahead(void *context, const struct block_entry *entry)
{
    struct node *node = context;
    p2p_block_verified(node->p2p, entry);
    miner_ahead(node, entry);
}

static void on_disconnected(void *context, const struct block_entry *entry, const struct block *block)
{
    struct node *node = context;
    char text[HASH256_TEXT];
    log_info(LOG_CHAIN, "block %u %s is no longer on the best chain", entry->height,
             hash256_text(text, &entry->hash));
    mempool_block_disconnected(node->mempool, entry, block);
}

static void say_tip(struct node *node, const struct block_entry *tip)
{
    char text[HASH256_TEXT];
    bool busy = !node_synced(node);
    if (busy && node->now.mono_us - node->progress_said_us < 1000000) {
        return; /* while catching up: once a second */
    }
    node->progress_said_us = node->now.mono_us;
    log_info(LOG_CHAIN, "new tip: height %u %s, %u transactions, %.0f s behind the clock%s", tip->height,
             hash256_text(text, &tip->hash), tip->tx_count,
             (double)(moment_unix_s(node->now) - tip->header.time), busy ? ", catching up" : "");
}

static void on_tip(void *context, const struct block_entry *old_tip, const struct block_entry *tip)
{
    struct node *node = context;
    node->durable_at_tip = false;
    if (old_tip != tip) {
        say_tip(node, tip);
    }
    mempool_settled(node->mempool, node->now);
    miner_update(node); /* workers first: every microsecond on the old tip is lost */
    p2p_tip_changed(node->p2p, old_tip, tip, node->now);
    rpc_waits_end(node, false);
}

static void on_durable(void *context, const struct block_entry *tip)
{
    struct node *node = context;
    if (tip == chain_tip(node->chain)) {
        node->durable_at_tip = true;
        rpc_settled(node);
    }
}

static void on_block_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                            const struct error *error)
{
    struct node *node = context;
    char text[HASH256_TEXT];
    if (source < SOURCE_MINER) {
        p2p_block_result(node->p2p, hash, (peer_id)source, error, node->now);
    } else if (source == SOURCE_MINER) {
        if (error) {
            log_error(LOG_MINING, "our own block %s was refused: %s (%s)", hash256_text(text, hash),
                      error->word, error->text);
        }
    } else if (source == SOURCE_GENERATE) {
        generate_block_result(node, hash, connected, error);
    } else if (source == SOURCE_IMPORT) {
        import_block_result(node, hash, error);
    } else {
        rpc_block_result(node, hash, source, connected, error);
    }
}

static void on_refused_late(void *context, const struct hash256 *hash, uint64_t source,
                            const struct error *error)
{
    struct node *node = context;
    if (source < SOURCE_MINER) {
        p2p_block_result(node->p2p, hash, (peer_id)source, error, node->now);
    }
}

static void on_fatal(void *context, const struct error *error)
{
    struct node *node = context;
    log_error(LOG_STORE, "the store failed, stopping: %s", error->text);
    node_stop(node, true);
}

static void on_tx_result(void *context, struct tx *tx, uint64_t source, const struct error *error)
{
    struct node *node = context;
    if (source < SOURCE_MINER) {
        p2p_tx_result(node->p2p, tx, (peer_id)source, error, node->now);
    } else if (source == SOURCE_IMPORT) {
        mempool_files_tx_result(node, tx, error);
    } else {
        rpc_tx_result(node, tx, source, error);
    }
    rpc_replaced_told(node);
}

static void on_tx_tested(void *context, struct tx *tx, uint64_t source, struct amount fee,
                         const struct error *error)
{
    (void)tx;
    rpc_tx_tested(context, source, fee, error);
}

static void on_package(void *context, uint64_t source, const struct package_member *members, size_t count)
{
    rpc_package_result(context, source, members, count);
    rpc_replaced_told(context);
}

static void on_tx_added(void *context, const struct mempool_entry *entry)
{
    struct node *node = context;
    p2p_tx_added(node->p2p, entry, !entry->restored);
}

static void on_tx_removed(void *context, const struct tx *tx, const char *reason)
{
    char text[HASH256_TEXT];
    if (strcmp(reason, "replaced") == 0) {
        rpc_tx_replaced(context, tx);
    }
    log_debug(LOG_MEMPOOL, "transaction %s left the mempool: %s", hash256_text(text, &tx->txid), reason);
}

/* ---- Opening and closing ------------------------------------------------------------------------------ */

static bool open_rooms(struct node *node, const struct store_reader *reader, struct error *error)
{
    const struct node_config *config = &node->config;
    const struct chain_config chain_config = {.params = config->params,
                                              .coins_cache_bytes = config->coins_cache_bytes,
                                              .recent_blocks_bytes = config->recent_blocks_bytes,
                                              .tx_index = config->tx_index,
                                              .rng = &node->rng,
                                              .script_cache_bytes = config->script_cache_bytes,
                                              .assume_valid = config->assume_valid,
                                              .minimum_work = config->minimum_work};
    const struct chain_events chain_events = {node,       node_submit, on_connected,    on_disconnected,
                                              on_tip,     on_durable,  on_block_result, on_fatal,
                                              on_checked, on_ahead,    on_refused_late};
    node->chain = chain_open(&chain_config, &chain_events, reader, error);
    if (!node->chain) {
        return false;
    }
    const struct mempool_config pool_config = {
        .bytes_max = config->mempool_bytes,
        .min_fee_per_kvb_sat = 1000,
        .expiry_s = 14 * 24 * 3600,
        .ancestors_max = 25,
        .descendants_max = 25,
        .pending_max = 5000,
        .require_standard = config->params->kind != CHAIN_CLUSTER && config->params->kind != CHAIN_REGTEST,
        .rng = &node->rng,
    };
    const struct mempool_events pool_events = {node,       on_tx_result, on_tx_tested,
                                               on_package, on_tx_added,  on_tx_removed};
    node->mempool = mempool_new(&pool_config, node->chain, node_submit, node, &pool_events);
    const struct p2p_config p2p_config = {.user_agent = config->user_agent,
                                          .program_line = config->version_text,
                                          .inbound_max = config->inbound_max,
                                          .discover = config->discover,
                                          .rng = &node->rng,
                                          .blocks_only = config->blocks_only,
                                          .trickle_us = config->trickle_us,
                                          .clock_us = config->clock_us};
    const struct p2p_events p2p_events = {node, on_send, on_close, on_pause, on_dial, on_print};
    node->p2p = p2p_new(&p2p_config, node->chain, node->mempool, &p2p_events);
    for (size_t i = 0; i < config->whitelist_count; i++) {
        if (!p2p_whitelist(node->p2p, config->whitelist[i], error)) {
            return false;
        }
    }
    for (size_t i = 0; i < config->p2p_allow_count; i++) {
        if (!p2p_allow(node->p2p, config->p2p_allow[i], error)) {
            return false;
        }
    }
    return true;
}

struct node *node_new(const struct node_config *config, const struct store_reader *reader,
                      struct error *error)
{
    struct node *node = mem_alloc(sizeof *node);
    node->config = *config;
    node->params = config->params;
    node->timer_us = INT64_MAX;
    rng_seed(&node->rng, config->seed);
    node->mining.extranonce = rng_next(&node->rng);
    rpc_begin(node);
    mempool_files_begin(node);
    if (!open_rooms(node, reader, error)) {
        node_free(node);
        return NULL;
    }
    return node;
}

void node_free(struct node *node)
{
    struct action action;
    while (node_next_action(node, &action)) {
        if (action.job) {
            job_free(action.job);
        }
        action_free(&action);
    }
    miner_free(node);
    import_free(node);
    p2p_free(node->p2p);
    mempool_free(node->mempool);
    chain_free(node->chain);
    mempool_files_free(node);
    rpc_free(node);
    mem_free(node->hash_workers);
    mem_free(node->actions);
    mem_free(node);
}

static void say_budget(struct node *node)
{
    const struct node_config *config = &node->config;
    size_t p2p = p2p_memory_bytes_max(node->p2p), own = 64u << 20; /* programs, libraries, index, stacks */
    size_t store = 96u << 20; /* RocksDB's block cache and write buffers */
    size_t pool = config->mempool_bytes + MEMPOOL_PENDING_BYTES_MAX;
    size_t caches = 2 * config->script_cache_bytes; /* of scripts and of signatures that passed */
    size_t total =
        config->coins_cache_bytes + config->recent_blocks_bytes + pool + p2p + caches + own + store;
    log_info(LOG_NODE,
             "memory budget: coins cache %zu MB, recent blocks %zu MB, mempool %zu MB, network %zu MB, "
             "script caches %zu MB, store %zu MB, own %zu MB; total %zu MB",
             config->coins_cache_bytes / 1000000, config->recent_blocks_bytes / 1000000, pool / 1000000,
             p2p / 1000000, caches / 1000000, store / 1000000, own / 1000000, total / 1000000);
}

static void start(struct node *node)
{
    node->started = true;
    node->started_us = node->now.mono_us;
    node->started_unix_s = moment_unix_s(node->now);
    say_budget(node);
    saved_restore(node);
    const struct block_entry *tip = chain_tip(node->chain);
    char text[HASH256_TEXT];
    log_info(LOG_CHAIN, "chain %s opened at height %u %s", node->params->name, tip->height,
             hash256_text(text, &tip->hash));
    for (size_t i = 0; i < node->config.connect_count; i++) {
        struct error error = {0};
        if (!p2p_add_node(node->p2p, node->config.connect[i], node->now, &error)) {
            log_error(LOG_NET, "not connecting to %s: %s", node->config.connect[i], error.text);
        }
    }
    chain_start(node->chain, node->now);
    import_begin(node);
}

void node_stop(struct node *node, bool failed)
{
    node->failed |= failed;
    if (node->stopping) {
        return;
    }
    node->stopping = true;
    node->stop_since_us = node->now.mono_us;
    log_info(LOG_NODE, "stopping");
    miner_stop(node);
    mempool_files_stop(node);
    rpc_stopping(node);
    chain_stop(node->chain);
}

/* ---- Events ------------------------------------------------------------------------------------------- */

static void check_exit(struct node *node)
{
    if (!node->stopping && node->started) {
        bool loaded = node_loaded(node) && !chain_busy(node->chain) && !chain_loading(node->chain);
        const struct block_entry *tip = chain_tip(node->chain);
        switch (node->config.exit_when) {
        case EXIT_NEVER: break;
        case EXIT_LOADED:
            if (loaded) {
                node_stop(node, import_failed(node));
            }
            break;
        case EXIT_SYNCED:
            if (loaded && p2p_peer_count(node->p2p, NULL) > 0 && node_synced(node)) {
                node_stop(node, false);
            }
            break;
        case EXIT_HEIGHT:
            if (tip->height >= node->config.exit_height) {
                node_stop(node, false);
            }
            break;
        }
    }
    bool done = node->stopping && chain_idle(node->chain) &&
                (node->jobs_out == 0 || node->now.mono_us - node->stop_since_us > STOP_PATIENCE_US);
    if (done && !node->exited && mempool_files_finished(node)) {
        node->exited = true;
        const struct block_entry *tip = chain_tip(node->chain);
        log_info(LOG_NODE, "stopped at height %u", tip->height);
        saved_finish(node);
        node_push(node, ACTION_EXIT)->exit_code = node->failed ? 1 : 0;
    }
}

static void set_timer(struct node *node, int64_t at_us)
{
    at_us = MIN(at_us, miner_next_us(node));
    at_us = MIN(at_us, rpc_waits_next_us(node));
    at_us = MIN(at_us, mempool_files_next_us(node));
    if (chain_waits(node->chain) || p2p_waits(node->p2p)) {
        at_us = node->now.mono_us; /* right after what was announced has left */
    }
    if (node->stopping) {
        at_us = MIN(at_us, node->now.mono_us + 100000);
    }
    if (at_us != node->timer_us) {
        node->timer_us = at_us;
        node_push(node, ACTION_TIMER)->at_mono_us = at_us;
    }
}

static void handle_stats(struct node *node, const struct event *event)
{
    node->hashes_total = event->stats.hashes_total;
    node->hashes_per_s = event->stats.hashes_per_s;
    node->hash_threads = event->stats.threads;
    node->process_memory_bytes = event->stats.memory_bytes;
    mem_free(node->hash_workers);
    node->hash_worker_count = event->stats.worker_count;
    node->hash_workers =
        mem_dup(event->stats.workers, event->stats.worker_count * sizeof *event->stats.workers);
    snprintf(node->kernel, sizeof node->kernel, "%s", event->stats.kernel ? event->stats.kernel : "");
}

/* To whom it goes. */
static void dispatch(struct node *node, const struct event *event)
{
    switch (event->kind) {
    case EVENT_START: start(node); break;
    case EVENT_ACCEPTED: p2p_accepted(node->p2p, event->peer, event->text, node->now); break;
    case EVENT_OPENED: p2p_opened(node->p2p, event->peer, event->text, node->now); break;
    case EVENT_DIAL_FAILED: p2p_dial_failed(node->p2p, event->peer, event->text, node->now); break;
    case EVENT_BYTES:
        node->bytes_received += event->len;
        p2p_bytes(node->p2p, event->peer, event->data, event->len, node->now);
        break;
    case EVENT_DRAINED: p2p_drained(node->p2p, event->peer, event->queued_bytes, node->now); break;
    case EVENT_CLOSED: p2p_closed(node->p2p, event->peer, event->text, node->now); break;
    case EVENT_JOB:
        node->jobs_out--;
        job_finish(event->job);
        break;
    case EVENT_TIMER:
        node->timer_us = INT64_MAX;
        chain_go_on(node->chain, node->now);
        mempool_expire(node->mempool, node->now);
        saved_tick(node);
        mempool_files_tick(node);
        rpc_waits_end(node, false);
        break;
    case EVENT_USED_UP: miner_used_up(node, event->hit.work_id); break;
    case EVENT_HIT:
        node->hashes_total = event->hit.hashes_total;
        miner_hit(node, event->hit.work_id, event->hit.version, event->hit.nonce);
        break;
    case EVENT_RPC: rpc_handle(node, event->rpc, event->rpc_text, event->rpc_len); break;
    case EVENT_RPC_GONE: rpc_gone(node, event->rpc); break;
    case EVENT_STATS: handle_stats(node, event); break;
    case EVENT_SWITCHED: miner_switched(node, event->switched.work_id, event->switched.mono_us); break;
    case EVENT_STOP: node_stop(node, false); break;
    }
}

/* A peer may have to be dialled at once: what else is due by time waits for the timer. */
static bool makes_peers_due(enum event_kind kind)
{
    return kind == EVENT_TIMER || kind == EVENT_START || kind == EVENT_CLOSED || kind == EVENT_DIAL_FAILED ||
           kind == EVENT_RPC;
}

void node_handle(struct node *node, const struct event *event)
{
    node->now = event->now;
    node->events++;
    if (node->mock_time_s) {
        node->now.unix_us = node->mock_time_s * 1000000;
    }
    int64_t next_us = node->timer_us;
    p2p_go_on(node->p2p, node->now);
    dispatch(node, event);
    if (makes_peers_due(event->kind)) {
        next_us = node->stopping ? INT64_MAX : p2p_tick(node->p2p, node->now);
    }
    rpc_go_on(node);
    import_go_on(node);
    mempool_files_go_on(node);
    miner_update(node);
    check_exit(node);
    if (!node->exited) {
        set_timer(node, next_us);
    }
}

/* ---- Looks inside ------------------------------------------------------------------------------------- */

struct chain *node_chain(struct node *node)
{
    return node->chain;
}

struct mempool *node_mempool(struct node *node)
{
    return node->mempool;
}

struct p2p *node_p2p(struct node *node)
{
    return node->p2p;
}

bool node_synced(const struct node *node)
{
    return p2p_synced(node->p2p) && node_loaded(node);
}
