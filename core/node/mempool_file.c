/*
 * The mempool over a restart, as Bitcoin Core keeps it: mempool.dat is read once the chain is ready, and
 * written at a stop and by savemempool; importmempool reads another file. Both go in pieces, between other
 * events. A file that cannot be read to its end costs one warning; what stood before that place is taken.
 * Here too: what a person has sent and no peer has fetched yet is announced again now and then. The form of
 * the file is core/mempool/dump.c's.
 */
#include <inttypes.h>

#include "core/node/rpc_private.h"

#define PIECE_BYTES    ((size_t)1 << 20)
#define IN_FLIGHT_MAX  64u
#define TURN_MAX       256u /* records that one event reads */
#define TELL_AGAIN_S   600u /* at least; and half of that more at most, at random */
#define MICROSECONDS_S INT64_C(1000000)

struct load {
    struct list link;
    struct node *node;
    char *path;
    struct rpc_call *call; /* importmempool, or NULL */
    bool own;              /* our mempool.dat */
    struct mempool_import import;
    struct dump_reader reader;
    uint64_t offset;
    struct unread_tx flying[IN_FLIGHT_MAX]; /* in flight, in order */
    size_t in_flight;
    bool reading, ended;
    struct error error; /* why it ended early */
    uint64_t taken, known, refused, expired, unbroadcast;
};

struct save {
    struct list link;
    struct node *node;
    struct rpc_call *call;     /* savemempool, or NULL */
    struct mempool_dump *dump; /* NULL: not begun */
    uint64_t offset;
    size_t count;
    int64_t began_us;
};

/* ---- Reading ------------------------------------------------------------------------------------------- */

static void piece_read(void *context, struct job *job)
{
    struct load *load = context;
    load->reading = false;
    if (job->failed) {
        load->ended = true;
        load->error = job->error;
    } else {
        dump_feed(&load->reader, span_of(job->import.data, job->import.got),
                  job->import.got < job->import.len);
        load->offset += job->import.got;
    }
    job_free(job);
}

static void read_piece(struct load *load)
{
    struct job *job = job_new(JOB_IMPORT_READ, piece_read, load);
    job->import.path = load->path;
    job->import.offset = load->offset;
    job->import.len = PIECE_BYTES;
    load->reading = true;
    node_submit(load->node, job);
}

static void take_tx(struct load *load, const struct dump_item *item)
{
    struct node *node = load->node;
    int64_t added_unix_s = load->import.times ? item->added_unix_s : moment_unix_s(node->now);
    if (item->delta_sat && load->import.priorities &&
        !mempool_prioritise(node->mempool, &item->txid, item->delta_sat)) {
        log_debug(LOG_MEMPOOL, "a fee delta of %s is left out", load->path);
    }
    if (mempool_is_expired(node->mempool, added_unix_s, node->now)) {
        load->expired++;
    } else {
        load->flying[load->in_flight++] = (struct unread_tx){item->tx, added_unix_s, item->delta_sat};
        mempool_restore(node->mempool, item->tx, added_unix_s, SOURCE_IMPORT, node->now);
    }
    tx_unref(item->tx);
}

void mempool_files_tx_result(struct node *node, const struct tx *tx, const struct error *error)
{
    struct load *load = CONTAINER_OF(node->mempool_files.loads.next, struct load, link);
    size_t at = 0;
    while (load->flying[at].tx != tx) {
        at++;
        CHECK(at < load->in_flight);
    }
    const struct unread_tx flown = load->flying[at];
    memmove(&load->flying[at], &load->flying[at + 1], (--load->in_flight - at) * sizeof flown);
    if (error && error->kind == ERROR_BUSY && load->own) { /* the node is stopping */
        mempool_unread_add(&node->mempool_files.unread, flown.tx, flown.added_unix_s, 0);
    } else if (!error) {
        load->taken++;
    } else if (mempool_find(node->mempool, &tx->txid)) {
        load->known++;
    } else {
        load->refused++;
    }
}

/* The stop has come: what nobody judges any more is kept for the next start. */
static void keep(struct load *load, const struct dump_item *item, enum dump_kind kind)
{
    struct node *node = load->node;
    struct mempool_unread *unread = &node->mempool_files.unread;
    if (kind == DUMP_TX && unread->bytes < node->config.mempool_bytes) {
        mempool_unread_add(unread, item->tx, item->added_unix_s, item->delta_sat);
    } else if (kind == DUMP_UNBROADCAST && unread->unbroadcast.len < unread->count * sizeof item->txid) {
        buf_bytes(&unread->unbroadcast, item->txid.b, sizeof item->txid);
    }
    tx_unref(item->tx);
}

static void take(struct load *load, const struct dump_item *item, enum dump_kind kind)
{
    struct mempool *pool = load->node->mempool;
    bool too_late = load->node->stopping && !mempool_find(pool, &item->txid);
    if (too_late && kind != DUMP_PRIORITY) {
        keep(load, item, kind);
    } else if (kind == DUMP_TX) {
        take_tx(load, item);
    } else if (kind == DUMP_PRIORITY && load->import.priorities) {
        if (!mempool_prioritise(pool, &item->txid, item->delta_sat)) {
            log_debug(LOG_MEMPOOL, "a fee delta of %s is left out", load->path);
        }
    } else if (kind == DUMP_UNBROADCAST && load->import.unbroadcast) {
        load->unbroadcast++;
        mempool_set_unbroadcast(pool, &item->txid, true);
    }
}

/* Frees it. */
static void end_load(struct load *load)
{
    struct node *node = load->node;
    bool absent = load->error.kind == ERROR_MISSING;
    if (load->error.kind && !(load->own && absent)) {
        log_warn(LOG_MEMPOOL, "%s: %s; what stands before that was taken", load->path, load->error.text);
    }
    if (load->reader.offset) {
        log_info(LOG_MEMPOOL,
                 "%s: %" PRIu64 " transactions taken, %" PRIu64 " refused, %" PRIu64 " expired, %" PRIu64
                 " there already, %" PRIu64 " not broadcast yet",
                 load->path, load->taken, load->refused, load->expired, load->known, load->unbroadcast);
    }
    if (load->call && load->error.kind) {
        rpc_fail(load->call, RPC_MISC_ERROR, "Unable to import mempool file, see debug log for details.");
    } else if (load->call) {
        put_open(&load->call->out, NULL, '{');
        put_close(&load->call->out, '{');
        rpc_ok(load->call);
    }
    node->mempool_files.loaded |= load->own;
    list_remove(&load->link);
    dump_reader_free(&load->reader);
    mem_free(load->path);
    mem_free(load);
}

static void load_on(struct load *load)
{
    struct mempool_files *files = &load->node->mempool_files;
    struct dump_item item;
    for (unsigned turn = 0; !load->ended && !load->reading && load->in_flight < IN_FLIGHT_MAX; turn++) {
        if (turn == TURN_MAX) {
            files->go_on = true;
            return;
        }
        if (load->in_flight && (dump_reader_behind_txs(&load->reader) || load->node->stopping)) {
            return; /* what follows speaks of those that are in the pool; what is unread keeps its order */
        }
        enum dump_kind kind = dump_next(&load->reader, &item, &load->error);
        if (kind == DUMP_MORE) {
            read_piece(load);
        } else if (kind == DUMP_END || kind == DUMP_DAMAGED) {
            load->ended = true;
        } else {
            take(load, &item, kind);
        }
    }
}

static void add_load(struct node *node, const char *path, struct rpc_call *call, struct mempool_import import)
{
    struct load *load = mem_alloc(sizeof *load);
    *load =
        (struct load){.node = node, .path = mem_strdup(path), .call = call, .own = !call, .import = import};
    list_append(&node->mempool_files.loads, &load->link);
}

void mempool_file_import(struct node *node, struct rpc_call *call, const char *path,
                         struct mempool_import import)
{
    add_load(node, path, call, import);
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

static void write_piece(struct save *save);

/* Frees it. */
static void end_save(struct save *save, const struct error *error)
{
    struct node *node = save->node;
    const char *path = node->config.mempool_file;
    if (error) {
        log_warn(LOG_MEMPOOL, "the mempool is not saved: %s", error->text);
    } else {
        log_info(LOG_MEMPOOL, "%s: %zu transactions saved, %" PRIu64 " bytes, %.3f s", path, save->count,
                 save->offset, (double)(node->now.mono_us - save->began_us) / (double)MICROSECONDS_S);
    }
    if (save->call && error) {
        rpc_fail(save->call, RPC_MISC_ERROR, "Unable to dump mempool to disk");
    } else if (save->call) {
        put_open(&save->call->out, NULL, '{');
        put_text(&save->call->out, "filename", path);
        put_close(&save->call->out, '{');
        rpc_ok(save->call);
    }
    list_remove(&save->link);
    mempool_dump_free(save->dump);
    mem_free(save);
}

static void piece_written(void *context, struct job *job)
{
    struct save *save = context;
    if (job->failed) {
        end_save(save, &job->error);
    } else if (job->save.last) {
        end_save(save, NULL);
    } else {
        write_piece(save);
    }
    job_free(job);
}

static void write_piece(struct save *save)
{
    struct job *job = job_new(JOB_SAVE, piece_written, save);
    job->save.path = save->node->config.mempool_file;
    job->save.offset = save->offset;
    job->save.last = !mempool_dump_next(save->dump, PIECE_BYTES, &job->save.bytes);
    save->offset += job->save.bytes.len;
    node_submit(save->node, job);
}

static void begin_save(struct save *save)
{
    struct node *node = save->node;
    uint8_t key[DUMP_KEY_BYTES];
    store_le64(key, rng_next(&node->rng));
    save->dump = mempool_dump_new(node->mempool, &node->mempool_files.unread, key);
    save->count = mempool_dump_count(save->dump);
    save->began_us = node->now.mono_us;
    write_piece(save);
}

void mempool_file_save(struct node *node, struct rpc_call *call)
{
    struct save *save = mem_alloc(sizeof *save);
    *save = (struct save){.node = node, .call = call};
    list_append(&node->mempool_files.saves, &save->link);
}

/* ---- Told again ---------------------------------------------------------------------------------------- */

static void tell_later(struct node *node)
{
    uint64_t wait_s = TELL_AGAIN_S + rng_below(&node->rng, TELL_AGAIN_S / 2 + 1);
    node->mempool_files.tell_at_us = node->now.mono_us + (int64_t)wait_s * MICROSECONDS_S;
}

void mempool_files_tick(struct node *node)
{
    struct mempool_info info;
    const struct mempool_entry *entry;
    if (node->now.mono_us < node->mempool_files.tell_at_us) {
        return;
    }
    tell_later(node);
    mempool_info(node->mempool, &info);
    for (size_t at = 0; info.unbroadcast && mempool_next(node->mempool, &at, &entry);) {
        if (entry->unbroadcast) {
            p2p_tx_announce(node->p2p, entry);
        }
    }
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

void mempool_files_begin(struct node *node)
{
    list_init(&node->mempool_files.loads);
    list_init(&node->mempool_files.saves);
    node->mempool_files.tell_at_us = (int64_t)TELL_AGAIN_S * MICROSECONDS_S;
}

static void begin_own(struct node *node)
{
    struct mempool_files *files = &node->mempool_files;
    bool ready =
        node->started && node_loaded(node) && !chain_loading(node->chain) && !chain_busy(node->chain);
    if (files->begun || !ready) {
        return;
    }
    files->begun = true;
    tell_later(node);
    if (node->config.persist_mempool) {
        add_load(node, node->config.mempool_file, NULL, (struct mempool_import){true, true, true});
    } else {
        files->loaded = true;
    }
}

void mempool_files_go_on(struct node *node)
{
    struct mempool_files *files = &node->mempool_files;
    files->go_on = false;
    if (!node->stopping) {
        begin_own(node);
    }
    if (!list_empty(&files->loads)) {
        struct load *load = CONTAINER_OF(files->loads.next, struct load, link);
        load->ended |= node->stopping && !load->own;
        load_on(load);
        if (load->ended && !load->reading && !load->in_flight) {
            end_load(load);
            files->go_on = !list_empty(&files->loads);
        }
    }
    if (!list_empty(&files->saves)) {
        struct save *save = CONTAINER_OF(files->saves.next, struct save, link);
        if (!save->dump) {
            begin_save(save);
        }
    }
}

int64_t mempool_files_next_us(const struct node *node)
{
    const struct mempool_files *files = &node->mempool_files;
    return files->go_on ? node->now.mono_us : files->begun ? files->tell_at_us : INT64_MAX;
}

/* Who waits for a file that will not be read is told at once. */
void mempool_files_stop(struct node *node)
{
    LIST_EACH(at, &node->mempool_files.loads)
    {
        struct load *load = CONTAINER_OF(at, struct load, link);
        if (load->call) {
            rpc_fail(load->call, RPC_MISC_ERROR, "the node is stopping");
            load->call = NULL;
        }
    }
}

bool mempool_files_finished(struct node *node)
{
    struct mempool_files *files = &node->mempool_files;
    if (!list_empty(&files->loads)) {
        return false; /* what is left of it is being read */
    }
    if (!files->last_save && files->loaded && node->config.persist_mempool) {
        mempool_file_save(node, NULL);
        mempool_files_go_on(node);
    }
    files->last_save = true;
    return list_empty(&files->saves);
}

void mempool_files_free(struct node *node)
{
    struct mempool_files *files = &node->mempool_files;
    LIST_EACH_SAFE(at, following, &files->loads)
    {
        struct load *load = CONTAINER_OF(at, struct load, link);
        dump_reader_free(&load->reader);
        mem_free(load->path);
        mem_free(load);
    }
    LIST_EACH_SAFE(at, following, &files->saves)
    {
        struct save *save = CONTAINER_OF(at, struct save, link);
        mempool_dump_free(save->dump);
        mem_free(save);
    }
    mempool_unread_free(&files->unread);
}
