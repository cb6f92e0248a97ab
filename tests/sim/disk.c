/*
 * A disk that forgets: per node the block and undo files with their page cache, and a key-value store with a
 * write-ahead log. An operation takes effect at one random moment and is answered at a later one. What was
 * not synced survives a power loss whole, torn, or not at all. When it is full, a file gets as much as finds
 * room, and a batch nothing. Not here: the node's own view of files (core).
 */
#include <stdio.h>

#include "tests/sim/sim.h"

#define SECTOR 512u

struct disk_write { /* in the page cache only */
    struct list link;
    enum file_kind file;
    uint32_t number;
    uint64_t offset;
    struct buf data;
    struct job *job;    /* while it is not answered */
    uint64_t completed; /* disk->counter at its answer; 0: none yet */
};

struct disk_batch {
    struct list link;
    struct buf bytes;
};

struct disk_op {
    struct list link;
    struct job *job;
    bool effected;
    uint64_t mark; /* disk->counter at submission */
    struct kv_store *snapshot;
};

/* ---- The key-value store ----------------------------------------------------------------------------- */

static int compare_keys(struct span a, struct span b)
{
    int order = memcmp(a.data, b.data, MIN(a.len, b.len));
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Index of the first row whose key is not below. */
static size_t kv_lower(const struct kv_store *store, enum column_family cf, struct span key)
{
    size_t low = 0, high = store->cf[cf].count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_keys(buf_span(&store->cf[cf].rows[middle].key), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct kv_row *kv_find(const struct kv_store *store, enum column_family cf, struct span key)
{
    size_t at = kv_lower(store, cf, key);
    bool there = at < store->cf[cf].count && span_equal(buf_span(&store->cf[cf].rows[at].key), key);
    return there ? &store->cf[cf].rows[at] : NULL;
}

static void kv_set(struct kv_store *store, enum column_family cf, struct span key, struct span value)
{
    struct kv_row *row = kv_find(store, cf, key);
    if (!row) {
        size_t at = kv_lower(store, cf, key), count = store->cf[cf].count;
        if (count == store->cf[cf].capacity) {
            store->cf[cf].capacity = MAX(count * 2, 64u);
            store->cf[cf].rows =
                mem_realloc(store->cf[cf].rows, store->cf[cf].capacity * sizeof(struct kv_row));
        }
        row = &store->cf[cf].rows[at];
        memmove(row + 1, row, (count - at) * sizeof *row);
        *row = (struct kv_row){0};
        buf_bytes(&row->key, key.data, key.len);
        store->cf[cf].count++;
    }
    buf_clear(&row->value);
    buf_bytes(&row->value, value.data, value.len);
}

static void kv_unset(struct kv_store *store, enum column_family cf, struct span key)
{
    struct kv_row *row = kv_find(store, cf, key);
    if (row) {
        buf_free(&row->key);
        buf_free(&row->value);
        size_t at = (size_t)(row - store->cf[cf].rows);
        store->cf[cf].count--;
        memmove(row, row + 1, (store->cf[cf].count - at) * sizeof *row);
    }
}

static void kv_apply(struct kv_store *store, struct span batch)
{
    struct cursor c = cursor_of(batch.data, batch.len);
    enum column_family cf;
    enum kv_operation op;
    struct span key, value;
    while (kv_next(&c, &cf, &op, &key, &value)) {
        if (op == KV_PUT) {
            kv_set(store, cf, key, value);
        } else {
            kv_unset(store, cf, key);
        }
    }
}

static void kv_clear(struct kv_store *store)
{
    for (unsigned cf = 0; cf < CF_COUNT; cf++) {
        for (size_t i = 0; i < store->cf[cf].count; i++) {
            buf_free(&store->cf[cf].rows[i].key);
            buf_free(&store->cf[cf].rows[i].value);
        }
        mem_free(store->cf[cf].rows);
    }
    *store = (struct kv_store){0};
}

static void kv_copy(struct kv_store *out, const struct kv_store *store)
{
    for (unsigned cf = 0; cf < CF_COUNT; cf++) {
        for (size_t i = 0; i < store->cf[cf].count; i++) {
            kv_set(out, (enum column_family)cf, buf_span(&store->cf[cf].rows[i].key),
                   buf_span(&store->cf[cf].rows[i].value));
        }
    }
}

/* ---- Files ------------------------------------------------------------------------------------------- */

static void put_at(struct buf *file, uint64_t offset, struct span bytes)
{
    if (!bytes.len) {
        return; /* torn to nothing */
    }
    if (file->len < offset + bytes.len) {
        buf_extend(file, offset + bytes.len - file->len);
    }
    memcpy(file->data + offset, bytes.data, bytes.len);
}

static void write_free(struct disk_write *write)
{
    list_remove(&write->link);
    buf_free(&write->data);
    mem_free(write);
}

static void effect_write(struct disk *disk, struct job *job, size_t len)
{
    CHECK(job->io.number < SIM_FILES_MAX);
    struct disk_write *write = mem_alloc(sizeof *write);
    write->file = job->io.file;
    write->number = job->io.number;
    write->offset = job->io.offset;
    write->job = job;
    buf_bytes(&write->data, job->io.data, len);
    list_append(&disk->unsynced, &write->link);
    put_at(&disk->files[write->file][write->number].now, write->offset, buf_span(&write->data));
}

/* What was answered before the commit was asked for is on the disk now; the rest may be later. */
static void sync_files(struct disk *disk, uint64_t mark)
{
    LIST_EACH_SAFE(at, following, &disk->unsynced)
    {
        struct disk_write *write = CONTAINER_OF(at, struct disk_write, link);
        if (write->completed && write->completed <= mark) {
            put_at(&disk->files[write->file][write->number].durable, write->offset, buf_span(&write->data));
            write_free(write);
        }
    }
}

static void make_log_durable(struct disk *disk, uint64_t batches)
{
    LIST_EACH_SAFE(at, following, &disk->log)
    {
        struct disk_batch *batch = CONTAINER_OF(at, struct disk_batch, link);
        if (batches-- == 0) {
            return;
        }
        kv_apply(&disk->durable, buf_span(&batch->bytes));
        list_remove(at);
        buf_free(&batch->bytes);
        mem_free(batch);
    }
}

/* ---- Effects ----------------------------------------------------------------------------------------- */

static void effect_commit(struct disk *disk, struct disk_op *op)
{
    struct disk_batch *batch = mem_alloc(sizeof *batch);
    struct span bytes = buf_span(&op->job->commit.batch.bytes);
    if (!plant_is("unsynced")) {
        sync_files(disk, op->mark);
    }
    kv_apply(&disk->now, bytes);
    buf_bytes(&batch->bytes, bytes.data, bytes.len);
    list_append(&disk->log, &batch->link);
    if (op->job->commit.sync) {
        make_log_durable(disk, UINT64_MAX);
    }
}

static void effect_read(struct disk *disk, struct job *job)
{
    const struct buf *file =
        job->io.number < SIM_FILES_MAX ? &disk->files[job->io.file][job->io.number].now : NULL;
    if (!file || job->io.offset + job->io.len > file->len) {
        job->failed = true;
        error_set(&job->error, ERROR_IO, NULL, "a read behind the end of the file");
        return;
    }
    job->io.data = mem_dup(file->data + job->io.offset, job->io.len);
}

static void effect_read_coins(struct disk *disk, struct job *job)
{
    for (size_t i = 0; i < job->coins.count; i++) {
        uint8_t key[36];
        memcpy(key, job->coins.outpoints[i].txid.b, 32);
        store_le32(key + 32, __builtin_bswap32(job->coins.outpoints[i].index));
        const struct kv_row *row = kv_find(&disk->now, CF_COINS, span_of(key, sizeof key));
        if (row) {
            job->coins.values[i] = span_of(mem_dup(row->value.data, row->value.len), row->value.len);
        }
    }
}

static void effect_read_key(struct disk *disk, struct job *job)
{
    const struct kv_row *row = kv_find(&disk->now, job->key.cf, buf_span(&job->key.key));
    job->key.found = row != NULL;
    if (row) {
        buf_bytes(&job->key.value, row->value.data, row->value.len);
    }
}

static void effect_check(struct job *job)
{
    job->check.failed_index = SIZE_MAX;
    for (size_t i = 0; i < job->check.count; i++) {
        if (!job->check.check(job->check.batch, i)) {
            job->check.failed_index = i;
            return;
        }
    }
}

static void effect_scan(struct disk_op *op)
{
    struct job *job = op->job;
    for (size_t i = 0; i < op->snapshot->cf[job->scan.cf].count; i++) {
        const struct kv_row *row = &op->snapshot->cf[job->scan.cf].rows[i];
        if (row->key.len >= job->scan.prefix.len &&
            span_equal(span_of(row->key.data, job->scan.prefix.len), job->scan.prefix)) {
            job->scan.row(job->scan.scan, buf_span(&row->key), buf_span(&row->value));
        }
    }
}

static void effect_save(struct sim_node *node, const struct job *job)
{
    struct buf *file = &node->mempool_new;
    file->len = MIN(file->len, job->save.offset);
    buf_bytes(file, job->save.bytes.data, job->save.bytes.len);
    if (job->save.last) {
        struct buf old = node->mempool_file;
        node->mempool_file = *file;
        *file = old;
    }
}

static const struct buf *import_file(struct world *world, const struct sim_node *node, const char *path)
{
    unsigned number = 0;
    char rest;
    if (strcmp(path, SIM_MEMPOOL_FILE) == 0) {
        return node->mempool_file.len ? &node->mempool_file : NULL;
    }
    bool known = sscanf(path, "load%1u%c", &number, &rest) == 1 && number < SIM_LOADS_MAX;
    return known ? &world->loads[number] : NULL; /* xor.dat: there is none */
}

static void effect_import_read(struct world *world, const struct sim_node *node, struct job *job)
{
    const struct buf *file = import_file(world, node, job->import.path);
    if (!file) {
        job->failed = true;
        error_set(&job->error, ERROR_MISSING, NULL, "no such file");
        return;
    }
    uint64_t at = MIN(job->import.offset, file->len);
    job->import.got = MIN(job->import.len, file->len - at);
    job->import.data = mem_dup(file->data + at, job->import.got);
}

/* Disk full. */
static void effect_refusal(struct world *world, struct disk *disk, struct disk_op *op)
{
    if (op->job->kind == JOB_WRITE) {
        effect_write(disk, op->job, (size_t)pick(world, op->job->io.len));
    } else if (chance(world, 50)) {
        sync_files(disk, op->mark);
    }
    disk->has_refused = op->job->failed = true;
    error_set(&op->job->error, ERROR_IO, NULL, "no space left on the simulated disk");
}

static void op_effect(struct world *world, struct task *task)
{
    struct disk_op *op = task->object;
    struct disk *disk = &task->node->disk;
    op->effected = true;
    if (disk->full_from_us && world->now_us >= disk->full_from_us &&
        (op->job->kind == JOB_WRITE || op->job->kind == JOB_COMMIT)) {
        effect_refusal(world, disk, op);
        return;
    }
    switch (op->job->kind) {
    case JOB_READ_COINS: effect_read_coins(disk, op->job); break;
    case JOB_READ_KEY: effect_read_key(disk, op->job); break;
    case JOB_CHECK_SCRIPTS: effect_check(op->job); break;
    case JOB_READ: effect_read(disk, op->job); break;
    case JOB_WRITE: effect_write(disk, op->job, op->job->io.len); break;
    case JOB_COMMIT: effect_commit(disk, op); break;
    case JOB_SCAN: effect_scan(op); break;
    case JOB_IMPORT_READ: effect_import_read(world, task->node, op->job); break;
    case JOB_SAVE: effect_save(task->node, op->job); break;
    }
}

static void op_free(struct disk_op *op)
{
    list_remove(&op->link);
    if (op->snapshot) {
        kv_clear(op->snapshot);
        mem_free(op->snapshot);
    }
    mem_free(op);
}

static void op_answer(struct world *world, struct task *task)
{
    struct disk_op *op = task->object;
    struct disk *disk = &task->node->disk;
    struct job *job = op->job;
    (void)world;
    if (job->kind == JOB_WRITE) {
        LIST_EACH(at, &disk->unsynced)
        {
            struct disk_write *write = CONTAINER_OF(at, struct disk_write, link);
            if (write->job == job) {
                write->job = NULL;
                write->completed = ++disk->counter;
            }
        }
    }
    op_free(op);
    node_event(task->node, &(struct event){.kind = EVENT_JOB, .job = job});
}

static void power_fails(struct world *world, struct task *task)
{
    (void)world;
    node_crash(task->node, true);
}

/* A disconnected block's undo data is read in a reorganisation, and nowhere else. */
static enum doom doom_of(const struct job *job)
{
    switch (job->kind) {
    case JOB_WRITE: return job->io.file == FILE_UNDO ? DOOM_UNDO : DOOM_BLOCK;
    case JOB_COMMIT: return DOOM_FLUSH;
    case JOB_READ: return job->io.file == FILE_UNDO ? DOOM_REORGANISATION : DOOM_NONE;
    default: return DOOM_NONE;
    }
}

static void meet_doom(struct world *world, struct sim_node *node, const struct job *job)
{
    if (node->doom == DOOM_NONE || node->doom != doom_of(job)) {
        return;
    }
    if (node->doom_after) {
        node->doom_after--;
    } else {
        node->doom = DOOM_NONE;
        world_later(world, (int64_t)pick_exponential(world, 2 * node->disk.mean_us), node, power_fails);
    }
}

void disk_submit(struct world *world, struct sim_node *node, struct job *job)
{
    struct disk *disk = &node->disk;
    meet_doom(world, node, job);
    struct disk_op *op = mem_alloc(sizeof *op);
    op->job = job;
    op->mark = ++disk->counter;
    list_append(&disk->ops, &op->link);
    if (job->kind == JOB_SCAN) {
        op->snapshot = mem_alloc(sizeof *op->snapshot);
        kv_copy(op->snapshot, &disk->now);
    }
    bool slow = chance(world, disk->slow_percent);
    double mean = disk->mean_us * (slow ? 100 : 1);
    int64_t effect = (int64_t)pick_exponential(world, mean), answer = (int64_t)pick_exponential(world, mean);
    if (slow) {
        disk->slow_until_us = MAX(disk->slow_until_us, world->now_us + effect + answer + 1);
    }
    world_later(world, effect, node, op_effect)->object = op;
    world_later(world, effect + answer + 1, node, op_answer)->object = op;
}

/* ---- What happens to it ------------------------------------------------------------------------------ */

void disk_process_died(struct world *world, struct sim_node *node)
{
    struct disk *disk = &node->disk;
    LIST_EACH(at, &disk->ops)
    {
        struct disk_op *op = CONTAINER_OF(at, struct disk_op, link);
        if (op->effected || chance(world, 50)) {
            continue;
        }
        if (op->job->kind == JOB_WRITE) { /* as far as it came */
            effect_write(disk, op->job, (size_t)pick(world, op->job->io.len + 1));
        } else if (op->job->kind == JOB_COMMIT && chance(world, 50)) {
            effect_commit(disk, op);
        } else if (op->job->kind == JOB_COMMIT) {
            sync_files(disk, op->mark);
        }
    }
    /* The next process finds it all in the page cache, and syncs whole files. */
    LIST_EACH(at, &disk->unsynced)
    {
        struct disk_write *write = CONTAINER_OF(at, struct disk_write, link);
        write->job = NULL;
        write->completed = write->completed ? write->completed : ++disk->counter;
    }
}

struct job *disk_take_job(struct disk *disk)
{
    if (list_empty(&disk->ops)) {
        return NULL;
    }
    struct disk_op *op = CONTAINER_OF(disk->ops.next, struct disk_op, link);
    struct job *job = op->job;
    op_free(op);
    return job;
}

/* One unsynced write meets its fate. */
static void survive(struct world *world, struct disk *disk, const struct disk_write *write)
{
    struct buf *file = &disk->files[write->file][write->number].durable;
    struct span all = buf_span(&write->data);
    switch (pick(world, 5)) {
    case 0: put_at(file, write->offset, all); break;
    case 1: put_at(file, write->offset, span_of(all.data, (size_t)pick(world, all.len + 1))); break;
    case 2: /* some of the sectors that it touches */
        for (uint64_t at = write->offset, next; at < write->offset + all.len; at = next) {
            next = MIN(at - at % SECTOR + SECTOR, write->offset + all.len);
            if (chance(world, 50)) {
                put_at(file, at, span_of(all.data + (at - write->offset), (size_t)(next - at)));
            }
        }
        break;
    case 3: /* the file has grown, the bytes never came */
        if (file->len < write->offset + all.len) {
            buf_extend(file, write->offset + all.len - file->len);
        }
        break;
    default: break;
    }
}

void disk_power_loss(struct world *world, struct sim_node *node)
{
    struct disk *disk = &node->disk;
    uint64_t batches = 0;
    LIST_EACH_SAFE(at, following, &disk->unsynced)
    {
        struct disk_write *write = CONTAINER_OF(at, struct disk_write, link);
        survive(world, disk, write);
        write_free(write);
    }
    for (unsigned i = 0; i < 2 * SIM_FILES_MAX; i++) {
        struct disk_file *file = &disk->files[i / SIM_FILES_MAX][i % SIM_FILES_MAX];
        buf_clear(&file->now);
        buf_bytes(&file->now, file->durable.data, file->durable.len);
    }
    LIST_EACH(at, &disk->log)
    {
        batches++;
    }
    if (batches) { /* the log is lost from some place on, never in between */
        make_log_durable(disk, pick(world, batches + 1));
        LIST_EACH_SAFE(at, following, &disk->log)
        {
            struct disk_batch *batch = CONTAINER_OF(at, struct disk_batch, link);
            list_remove(at);
            buf_free(&batch->bytes);
            mem_free(batch);
        }
    }
    kv_clear(&disk->now);
    kv_copy(&disk->now, &disk->durable);
}

bool disk_idle(const struct disk *disk)
{
    return list_empty(&disk->ops);
}

void disk_init(struct disk *disk)
{
    list_init(&disk->unsynced);
    list_init(&disk->log);
    list_init(&disk->ops);
    disk->mean_us = 1000;
}

void disk_free(struct disk *disk)
{
    CHECK(list_empty(&disk->ops));
    LIST_EACH_SAFE(at, following, &disk->unsynced)
    {
        write_free(CONTAINER_OF(at, struct disk_write, link));
    }
    make_log_durable(disk, UINT64_MAX);
    for (unsigned i = 0; i < 2 * SIM_FILES_MAX; i++) {
        struct disk_file *file = &disk->files[i / SIM_FILES_MAX][i % SIM_FILES_MAX];
        buf_free(&file->now);
        buf_free(&file->durable);
    }
    kv_clear(&disk->now);
    kv_clear(&disk->durable);
}

/* ---- For chain_open ---------------------------------------------------------------------------------- */

static bool reader_get(void *context, enum column_family cf, struct span key, struct buf *value)
{
    const struct disk *disk = context;
    const struct kv_row *row = kv_find(&disk->now, cf, key);
    if (row) {
        buf_bytes(value, row->value.data, row->value.len);
    }
    return row != NULL;
}

static void reader_each(void *context, enum column_family cf, struct span prefix,
                        bool (*row)(void *row_context, struct span key, struct span value), void *row_context)
{
    const struct disk *disk = context;
    for (size_t i = kv_lower(&disk->now, cf, prefix); i < disk->now.cf[cf].count; i++) {
        const struct kv_row *at = &disk->now.cf[cf].rows[i];
        if (at->key.len < prefix.len || memcmp(at->key.data, prefix.data, prefix.len) != 0 ||
            !row(row_context, buf_span(&at->key), buf_span(&at->value))) {
            return;
        }
    }
}

static uint64_t reader_file_size(void *context, enum file_kind file, uint32_t number)
{
    const struct disk *disk = context;
    return number < SIM_FILES_MAX ? disk->files[file][number].now.len : 0;
}

static bool reader_file_read(void *context, enum file_kind file, uint32_t number, uint64_t offset,
                             uint8_t *out, size_t len)
{
    const struct disk *disk = context;
    if (number >= SIM_FILES_MAX || offset + len > disk->files[file][number].now.len) {
        return false;
    }
    memcpy(out, disk->files[file][number].now.data + offset, len);
    return true;
}

struct store_reader disk_reader(struct disk *disk)
{
    return (struct store_reader){disk, reader_get, reader_each, reader_file_size, reader_file_read};
}
