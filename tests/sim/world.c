/*
 * The world: virtual clock, the queue of what happens later, and the nodes with what a host does for them:
 * timers, hashing, RPC. A block is found after an exponential time at the node's hash rate; its nonce is then
 * searched for real, which the easy targets of these networks keep cheap. Whatever an honest node complains
 * about in its log fails the run, unless network or clock explain it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "hashing/kernels/kernels.h"
#include "tests/sim/sim.h"

#define EVENTS_MAX UINT64_C(20000000)
#define STOP_US    (2 * US)

/* ---- Randomness and failure -------------------------------------------------------------------------- */

uint64_t pick(struct world *world, uint64_t below)
{
    return rng_below(&world->rng, below);
}

bool chance(struct world *world, unsigned percent)
{
    return pick(world, 100) < percent;
}

int64_t pick_between(struct world *world, int64_t least, int64_t most)
{
    return least + (int64_t)pick(world, (uint64_t)(most - least) + 1);
}

double pick_exponential(struct world *world, double mean)
{
    return -log1p(-rng_double(&world->rng)) * mean;
}

bool world_fail(struct world *world, const char *format, ...)
{
    if (!*world->failure) {
        va_list arguments;
        va_start(arguments, format);
        int len = snprintf(world->failure, sizeof world->failure, "at %.3f s: ", (double)world->now_us / 1e6);
        vsnprintf(world->failure + len, sizeof world->failure - (size_t)len, format, arguments);
        va_end(arguments);
        world_say(world, "FAILED %s", world->failure);
    }
    return false;
}

static uint64_t fnv_1a(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

void world_digest(struct world *world, const void *data, size_t len)
{
    world->digest = fnv_1a(world->digest, data, len);
}

void world_say(struct world *world, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    if (world->tells == TELLS_NOTHING) {
        return;
    }
    size_t len = (size_t)snprintf(line, sizeof line, "%10.3f ", (double)world->now_us / 1e6);
    va_start(arguments, format);
    vsnprintf(line + len, sizeof line - len, format, arguments);
    va_end(arguments);
    world->history = fnv_1a(world->history, line, strlen(line));
    if (world->tells == TELLS_ALL) {
        puts(line);
    }
}

/* ---- The queue --------------------------------------------------------------------------------------- */

static bool earlier(const struct task *a, const struct task *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

struct task *world_later(struct world *world, int64_t in_us, struct sim_node *node,
                         void (*run)(struct world *world, struct task *task))
{
    if (world->task_count == world->task_capacity) {
        world->task_capacity = MAX(world->task_capacity * 2, 256u);
        world->heap = mem_realloc(world->heap, world->task_capacity * sizeof *world->heap);
    }
    struct task task = {.at_us = world->now_us + MAX(in_us, 0),
                        .sequence = world->next_sequence++,
                        .run = run,
                        .node = node,
                        .life = node ? node->life : 0};
    size_t at = world->task_count++;
    for (; at && earlier(&task, &world->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        world->heap[at] = world->heap[(at - 1) / 2];
    }
    world->heap[at] = task;
    return &world->heap[at]; /* good until the next call: for the fields that are left */
}

static struct task next_task(struct world *world)
{
    struct task first = world->heap[0], last = world->heap[--world->task_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < world->task_count && earlier(&world->heap[child + 1], &world->heap[child])) {
            child++;
        }
        if (child >= world->task_count || !earlier(&world->heap[child], &last)) {
            break;
        }
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
    return first;
}

void world_run(struct world *world, int64_t for_us)
{
    int64_t until = world->now_us + for_us;
    while (!*world->failure && world->task_count && world->heap[0].at_us <= until) {
        struct task task = next_task(world);
        world->now_us = task.at_us;
        if (!task.node || (sim_alive(task.node) && task.node->life == task.life)) {
            task.run(world, &task);
        }
        if (++world->events > EVENTS_MAX) {
            world_fail(world, "more than %" PRIu64 " events: something goes round in circles", EVENTS_MAX);
        }
    }
    world->now_us = until;
}

/* ---- Work -------------------------------------------------------------------------------------------- */

static void block_found(struct world *world, struct task *task)
{
    struct sim_node *n = task->node;
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    uint8_t target[32];
    size_t found = 0;
    if (task->number != n->work_number) {
        return; /* other work came meanwhile */
    }
    uint32_t version = version_with(load_le32(n->work.header), n->work.version_mask,
                                    (uint32_t)pick(world, n->work.version_mask ? 64 : 1));
    uint32_t first = (uint32_t)pick(world, 1u << 31);
    u256_to_le(target, n->work.target);
    scan_prepare(&job, n->work.header, &version, 1, target);
    for (uint32_t done = 0; !found && done < 1u << 24; done += 64) {
        scan_nonces(&job, first + done, 64, hits, SCAN_HITS_MIN, &found);
    }
    if (!found) {
        world_fail(world, "no nonce in 2^24: the difficulty has run away");
        return;
    }
    world->blocks_found++;
    n->work_number++; /* a worker waits for new work after a hit */
    struct event event = {.kind = EVENT_HIT};
    event.hit.work_id = n->work.id;
    event.hit.version = hits[0].version;
    event.hit.nonce = hits[0].nonce;
    node_event(n, &event);
    liars_hear_of_block(n);
}

static void plan_hit(struct sim_node *n)
{
    n->work_number++;
    if (!n->work.idle && n->hash_rate > 0) {
        double hashes = 0x1p256 / (u256_double(n->work.target) + 1);
        double wait = pick_exponential(n->world, hashes / n->hash_rate);
        world_later(n->world, (int64_t)(MIN(wait, 1e6) * 1e6), n, block_found)->number = n->work_number;
    }
}

void node_set_rate(struct sim_node *n, double rate)
{
    n->hash_rate = rate;
    if (n->node) {
        plan_hit(n);
    }
}

/* ---- RPC --------------------------------------------------------------------------------------------- */

static void request_arrives(struct world *world, struct task *task)
{
    struct sim_call *call = task->object;
    (void)world;
    char *text = call->text;
    call->text = NULL;
    struct event event = {.kind = EVENT_RPC, .rpc = call->id, .rpc_text = text, .rpc_len = strlen(text)};
    node_event(task->node, &event);
    mem_free(text);
}

void node_call(struct sim_node *n, const char *method, const char *params,
               void (*done)(struct world *world, struct sim_call *call, const char *reply), void *context,
               uint64_t number)
{
    struct sim_call *call = mem_alloc(sizeof *call);
    struct buf text = {0};
    call->node = n;
    call->id = ++n->next_rpc;
    call->done = done;
    call->context = context;
    call->number = number;
    buf_printf(&text, "{\"id\":%" PRIu64 ",\"method\":\"%s\",\"params\":%s}%c", call->id, method, params, 0);
    call->text = (char *)text.data;
    list_append(&n->calls, &call->link);
    world_later(n->world, pick_between(n->world, 0, 2000), n, request_arrives)->object = call;
}

static void call_end(struct sim_node *n, uint64_t id, const char *reply)
{
    LIST_EACH_SAFE(at, following, &n->calls)
    {
        struct sim_call *call = CONTAINER_OF(at, struct sim_call, link);
        if (!reply || call->id == id) {
            list_remove(at);
            call->done(n->world, call, reply);
            mem_free(call->text);
            mem_free(call);
        }
    }
}

struct asked {
    char *reply;
    bool over;
};

static void asked_done(struct world *world, struct sim_call *call, const char *reply)
{
    struct asked *asked = call->context;
    (void)world;
    asked->reply = reply ? mem_strdup(reply) : NULL;
    asked->over = true;
}

char *node_ask(struct sim_node *n, const char *method, const char *params)
{
    struct asked asked = {0};
    node_call(n, method, params, asked_done, &asked, 0);
    for (unsigned i = 0; i < 6000 && !asked.over && !*n->world->failure; i++) {
        world_run(n->world, US / 100);
    }
    if (!asked.over) { /* nobody may write into our frame later */
        call_end(n, 0, NULL);
        world_fail(n->world, "node %u does not answer %s", n->index, method);
    }
    return asked.reply;
}

/* ---- Actions ----------------------------------------------------------------------------------------- */

static void timer_fires(struct world *world, struct task *task)
{
    (void)world;
    if (task->number == task->node->timer_number) {
        node_event(task->node, &(struct event){.kind = EVENT_TIMER});
    }
}

static void set_timer(struct sim_node *n, int64_t at_mono_us)
{
    n->timer_number++;
    if (at_mono_us != INT64_MAX) {
        world_later(n->world, MAX(at_mono_us - n->world->now_us, 1), n, timer_fires)->number =
            n->timer_number;
    }
}

static void reply_arrived(struct sim_node *n, struct action *action)
{
    buf_u8(&action->bytes, 0);
    call_end(n, action->rpc, (const char *)action->bytes.data);
}

/* A small file beside the chain, there again after a restart; bans are made by people, and there are none. */
static void remember(struct sim_node *n, struct action *action)
{
    if (strcmp(action->text, "peers.dat") == 0) {
        buf_free(&n->peers_file);
        n->peers_file = action->bytes;
        action->bytes = (struct buf){0};
        n->config.peers_file = buf_span(&n->peers_file);
    }
}

static void carry_out(struct sim_node *n, struct action *action, bool *exits, int *exit_code)
{
    switch (action->kind) {
    case ACTION_SEND: network_send(n, action->peer, action->message->bytes); break;
    case ACTION_CLOSE: network_close(n, action->peer); break;
    case ACTION_PAUSE: network_pause(n, action->peer, action->at_mono_us); break;
    case ACTION_DIAL: network_dial(n, action->peer, action->text); break;
    case ACTION_JOB: disk_submit(n->world, n, action->job); break;
    case ACTION_WORK:
        n->work = action->work;
        plan_hit(n);
        break;
    case ACTION_RPC_REPLY: reply_arrived(n, action); break;
    case ACTION_TIMER: set_timer(n, action->at_mono_us); break;
    case ACTION_PRINT: break;
    case ACTION_SAVE: remember(n, action); break;
    case ACTION_EXIT:
        *exits = true;
        *exit_code = action->exit_code;
        break;
    }
    action_free(action);
}

static void bury(struct sim_node *n);

void node_drain(struct sim_node *n)
{
    struct action action;
    bool exits = false;
    int code = 0;
    while (node_next_action(n->node, &action)) {
        carry_out(n, &action, &exits, &code);
    }
    if (exits) {
        n->stopped_cleanly = n->stop_asked && code == 0;
        n->last_tip = chain_tip(node_chain(n->node))->hash;
        if (!n->stopped_cleanly && !(n->disk.has_refused && code == 1)) {
            world_fail(n->world, "node %u has left by itself with code %d", n->index, code);
        }
        bury(n);
    }
}

/* Nobody outside can make a node hold more than it has said at start. */
static void check_memory(struct sim_node *n)
{
    struct mempool_info info;
    const struct p2p *p2p = node_p2p(n->node);
    mempool_info(node_mempool(n->node), &info);
    if (p2p_memory_bytes(p2p) > p2p_memory_bytes_max(p2p) || info.bytes_used > info.bytes_max) {
        world_fail(
            n->world, "node %u holds more than its budget: network %zu of %zu, mempool %zu of %zu bytes",
            n->index, p2p_memory_bytes(p2p), p2p_memory_bytes_max(p2p), info.bytes_used, info.bytes_max);
    }
}

static struct moment moment_of(const struct sim_node *n)
{
    int64_t now = n->world->now_us;
    return (struct moment){now, n->world->start_unix_s * US + now + n->skew_us};
}

void node_event(struct sim_node *n, struct event *event)
{
    struct world *world = n->world;
    struct sim_node *before = world->current;
    if (n->liar) {
        liar_event(n, event);
        return;
    }
    const struct {
        int64_t at;
        uint64_t node, kind, peer;
    } what = {world->now_us, n->index, event->kind, event->kind <= EVENT_CLOSED ? event->peer : 0};
    world_digest(world, &what, sizeof what);
    if (event->kind == EVENT_BYTES) {
        world_digest(world, event->data, event->len);
    }
    world->current = n;
    event->now = moment_of(n);
    struct chain *chain = node_chain(n->node);
    const struct block_entry *tip = chain_tip(chain);
    node_handle(n->node, event);
    if (!chain_contains(chain, tip)) {
        money_reorganised(n);
    }
    check_memory(n);
    node_drain(n);
    world->current = before;
}

/* ---- Birth and death --------------------------------------------------------------------------------- */

/* Fails every job that is out, and those that come out of failing them. */
static void fail_jobs(struct sim_node *n)
{
    struct list jobs;
    struct job *job;
    struct action action;
    list_init(&jobs);
    while ((job = disk_take_job(&n->disk))) {
        list_append(&jobs, &job->link);
    }
    for (;;) {
        while (node_next_action(n->node, &action)) {
            if (action.job) {
                list_append(&jobs, &action.job->link);
            }
            action_free(&action);
        }
        if (list_empty(&jobs)) {
            return;
        }
        job = CONTAINER_OF(jobs.next, struct job, link);
        list_remove(&job->link);
        job->failed = true;
        error_set(&job->error, ERROR_IO, NULL, "simulated crash");
        job_finish(job);
    }
}

/* The process is gone; the disk has what it has. */
static void bury(struct sim_node *n)
{
    struct world *world = n->world;
    world->burying = true;
    n->life++;
    n->work_number++;
    n->timer_number++;
    network_node_down(n);
    disk_process_died(world, n);
    fail_jobs(n);
    node_free(n->node);
    n->node = NULL;
    call_end(n, 0, NULL);
    world->burying = false;
}

void node_crash(struct sim_node *n, bool power)
{
    if (n->node) {
        n->stopped_cleanly = false;
        bury(n);
    }
    if (power) {
        disk_power_loss(n->world, n);
    }
}

void node_ask_stop(struct sim_node *n)
{
    n->stop_asked = true;
    n->stop_asked_us = n->world->now_us;
    node_event(n, &(struct event){.kind = EVENT_STOP});
}

void node_make_room(struct sim_node *n)
{
    struct world *world = n->world;
    int64_t patience_us = MAX(world->now_us, n->disk.slow_until_us) + STOP_US;
    n->disk.full_from_us = 0;
    while (n->node && n->disk.has_refused && !*world->failure) {
        world_run(world, US / 10);
        if (world->now_us > patience_us) {
            world_fail(world, "node %u goes on though its disk was full", n->index);
        }
    }
}

/* Nothing that was written is given up for the sake of the limit: a node waits for a disk that is stuck. */
bool node_await_stop(struct sim_node *n)
{
    struct world *world = n->world;
    while (n->node && !*world->failure &&
           world->now_us < MAX(n->stop_asked_us, n->disk.slow_until_us) + STOP_US) {
        world_run(world, US / 10);
    }
    return n->node ? world_fail(world, "node %u has not stopped within %d s", n->index, (int)(STOP_US / US))
                   : !*world->failure;
}

/* What the index says is in the files is in the files. */
static bool check_block_bytes(struct sim_node *n, const struct block_entry *e)
{
    struct store_reader reader = disk_reader(&n->disk);
    char text[HASH256_TEXT];
    uint8_t *raw = mem_alloc(e->data_len);
    bool read = reader.file_read(&n->disk, FILE_BLOCKS, e->file, e->data_offset, raw, e->data_len);
    struct block *block = read ? block_parse(raw, e->data_len, NULL) : (mem_free(raw), NULL);
    bool ok = block && hash256_equal(&block->hash, &e->hash);
    block_unref(block);
    if (ok && e->status & BLOCK_HAVE_UNDO) {
        struct sha256_ctx ctx;
        uint8_t *undo = mem_alloc(e->undo_len), sum[32] = {0};
        ok = e->undo_len > 32 &&
             reader.file_read(&n->disk, FILE_UNDO, e->file, e->undo_offset, undo, e->undo_len);
        sha256_init(&ctx);
        sha256_update(&ctx, e->hash.b, 32);
        sha256_update(&ctx, undo, ok ? e->undo_len - 32 : 0);
        sha256_final(&ctx, sum);
        ok = ok && memcmp(sum, undo + e->undo_len - 32, 32) == 0;
        mem_free(undo);
    }
    return ok || world_fail(n->world, "node %u opened with a block %u %s that its files do not hold",
                            n->index, e->height, hash256_text(text, &e->hash));
}

/* Everything that was promised is still there, if not yet on the best chain: a stop or a loss in the middle
 * of a reorganisation leaves the chain below it. */
static bool check_opened(struct sim_node *n)
{
    struct chain *chain = node_chain(n->node);
    const struct block_entry *tips[256];
    char text[HASH256_TEXT];
    size_t count = chain_tips(chain, tips, ARRAY_COUNT(tips));
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        for (const struct block_entry *e = tips[i]; ok && e->prev; e = e->prev) {
            ok = !(e->status & BLOCK_HAVE_DATA) || check_block_bytes(n, e);
        }
    }
    if (n->stopped_cleanly) {
        const struct block_entry *e = chain_find(chain, &n->last_tip);
        ok = ok && ((e && e->status & BLOCK_HAVE_DATA) ||
                    world_fail(n->world, "node %u stopped cleanly at %s, which is gone", n->index,
                               hash256_text(text, &n->last_tip)));
    }
    for (size_t at = 0; ok && at < n->promised.len; at += 32) {
        struct hash256 hash;
        memcpy(hash.b, n->promised.data + at, 32);
        const struct block_entry *e = chain_find(chain, &hash);
        if (!e || !(e->status & BLOCK_HAVE_DATA)) {
            ok = world_fail(n->world, "node %u has lost the block %s that it had said is on disk", n->index,
                            hash256_text(text, &hash));
        }
    }
    return ok;
}

bool node_up(struct sim_node *n)
{
    struct store_reader reader = disk_reader(&n->disk);
    struct error error = {0};
    CHECK(!n->node);
    n->disk.full_from_us = 0;
    n->disk.has_refused = false;
    for (size_t i = 0; i < sizeof n->config.seed; i++) {
        n->config.seed[i] = (uint8_t)pick(n->world, 256);
    }
    n->world->current = n;
    n->node = node_new(&n->config, &reader, &error);
    n->world->current = NULL;
    if (!n->node) {
        return world_fail(n->world, "node %u cannot be opened: %s", n->index, error.text);
    }
    n->work = (struct work_order){.idle = true};
    n->stop_asked = false;
    bool ok = check_opened(n);
    n->stopped_cleanly = false;
    p2p_listening(node_p2p(n->node), SIM_PORT);
    node_event(n, &(struct event){.kind = EVENT_START});
    return ok;
}

struct sim_node *world_add_node(struct world *world, bool mines, const uint32_t *connects, size_t count)
{
    CHECK(world->node_count < SIM_NODES_MAX && count <= SIM_CONNECTS);
    struct sim_node *n = &world->nodes[world->node_count];
    uint8_t secret[32] = {1};
    *n = (struct sim_node){.world = world, .index = world->node_count++};
    store_le32(secret + 4, n->index);
    CHECK(key_from_secret(&n->key, secret));
    key_script(&n->payout_script, &n->key);
    key_address(n->payout_address, &n->key, &world->params);
    list_init(&n->calls);
    disk_init(&n->disk);
    n->disk.mean_us = (double)pick_between(world, 100, 5000);
    n->disk.slow_percent = (unsigned)pick(world, 3);
    n->skew_us = pick_between(world, -US, US);
    for (size_t i = 0; i < count; i++) {
        struct buf text = {0};
        buf_printf(&text, "n%u:%u%c", connects[i], SIM_PORT, 0);
        n->connect[i] = (char *)text.data;
    }
    n->config = (struct node_config){
        .params = &world->params,
        .user_agent = "/Quarry:sim/",
        .version_text = "sim",
        .datadir_text = "sim",
        .coins_cache_bytes = chance(world, 50) ? 4096 : 1u << 20,
        .recent_blocks_bytes = chance(world, 50) ? 4096 : 1u << 20,
        .mempool_bytes = 5u << 20,
        .inbound_max = 20,
        .discover = (enum p2p_discover)pick(world, 3),
        .tx_index = chance(world, 50),
        .mempool_file = SIM_MEMPOOL_FILE,
        .persist_mempool = true,
        .seed_node = mines,
        .connect = (const char *const *)n->connect,
        .connect_count = count,
        .mine = mines,
        .payout_script = buf_span(&n->payout_script),
        .payout_address = n->payout_address,
    };
    return n;
}

/* ---- The log ----------------------------------------------------------------------------------------- */

void world_lie(struct world *world, const struct hash256 *hash)
{
    map_put(&world->lies, hash, NULL);
}

/* "block HASH at height N is not valid": it had better be one of the liars'. */
static bool is_lie(const struct world *world, const char *text)
{
    char hex[HASH256_TEXT];
    struct hash256 hash;
    return sscanf(text, "block %64[0-9a-f] at height", hex) == 1 && hash256_parse(&hash, hex) &&
           map_get(&world->lies, &hash);
}

/* What an honest node may complain about: lines that are cut, a full disk, and liars, by address or by hash.
 */
static bool excusable(const struct world *world, const char *text)
{
    unsigned address = 0;
    if (world->current && world->current->disk.has_refused &&
        strncmp(text, "the store failed, stopping", 26) == 0) {
        return true;
    }
    bool by_address = sscanf(text, "disconnecting 10.%2u.0.1:", &address) == 1 ||
                      sscanf(text, "passed over, of 10.%2u.0.1:", &address) == 1;
    if (by_address && address > SIM_NODES_MAX) {
        return true;
    }
    return strstr(text, "no answer to a ping") || is_lie(world, text);
}

static void on_log(void *context, enum log_level level, enum log_category category, const char *text)
{
    struct world *world = context;
    int index = world->current ? (int)world->current->index : -1;
    if (world->burying) {
        return;
    }
    world_say(world, "n%d %-5s %-7s %s", index, log_level_name(level), log_category_name(category), text);
    if (level <= LOG_WARN && !excusable(world, text)) {
        world_fail(world, "node %d complains: %s", index, text);
    }
}

/* ---- The world --------------------------------------------------------------------------------------- */

struct world *world_new(uint64_t seed, const char *scenario, enum tells tells)
{
    struct world *world = mem_alloc(sizeof *world);
    struct network_spec spec;
    struct error error = {0};
    world->seed = seed;
    world->depth_max = SIM_DEPTH;
    world->tells = tells;
    world->digest = world->history = UINT64_C(0xcbf29ce484222325);
    world_digest(world, scenario, strlen(scenario));
    rng_seed_u64(&world->rng, seed * UINT64_C(0x9e3779b97f4a7c15) ^ world->digest);
    /* Days after genesis headers are old until the first block is found (core/p2p/sync.c). */
    world->start_unix_s = SIM_START_UNIX + (chance(world, 30) ? SIM_SLEEP_S : 0);
    list_init(&world->connections);
    map_init(&world->lies, sizeof(struct hash256), 0, &world->rng);
    network_spec_default(&spec, "sim");
    spec.spacing_s = 4;
    spec.first_bits = pow_bits(u256_shl(u256_of(1), 255));
    spec.maturity = 3;
    CHECK(chain_params_init(&world->params, CHAIN_CLUSTER, &spec, &error));
    world->latency_least_us = pick_between(world, 100, 5000);
    world->latency_most_us = world->latency_least_us + pick_between(world, 1000, 150000);
    world->chunk_max = chance(world, 20) ? 200 : 16384;
    world->window = chance(world, 20) ? 1024 : 65536;
    world->loss_percent = chance(world, 30) ? (unsigned)pick(world, 15) : 0;
    world->bytes_per_second = chance(world, 30) ? 5000 + pick(world, 200000) : 0;
    world->overtaken_percent = chance(world, 30) ? (unsigned)pick(world, 20) : 0;
    for (uint64_t left = chance(world, 30) ? 5 : 0; left; left--) {
        world->distance_us[pick(world, SIM_PLACES_MAX)][pick(world, SIM_PLACES_MAX)] =
            pick_between(world, 0, US / 2);
    }
    log_set_sink(on_log, world);
    log_set_level(LOG_CATEGORY_COUNT, tells == TELLS_NOTHING ? LOG_WARN : LOG_DEBUG);
    return world;
}

void world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct sim_node *n = &world->nodes[i];
        node_crash(n, false);
        disk_free(&n->disk);
        key_wipe(&n->key);
        buf_free(&n->payout_script);
        buf_free(&n->peers_file);
        buf_free(&n->mempool_file);
        buf_free(&n->mempool_new);
        buf_free(&n->promised);
        for (size_t k = 0; k < SIM_CONNECTS; k++) {
            mem_free(n->connect[k]);
        }
    }
    for (uint32_t i = 0; i < world->liar_count; i++) {
        liar_free(&world->nodes[SIM_NODES_MAX + i]);
    }
    network_free(world);
    for (size_t i = 0; i < SIM_LOADS_MAX; i++) {
        buf_free(&world->loads[i]);
    }
    map_free(&world->lies);
    money_free(world);
    log_set_sink(NULL, NULL);
    chain_params_free(&world->params);
    mem_free(world->heap);
    mem_free(world);
}
