/*
 * The store: one data directory's RocksDB (a column family per kind of data) and its block and undo files,
 * behind a lock, with a format version and the network's identity. It knows no rule and no format of rows:
 * those are core/chain's. Calls block; the host makes them on threads beside the loop (store_reads apart,
 * which serve the opening).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

#define FORMAT_VERSION      1u
#define BLOCK_CACHE_BYTES   (32u << 20)
#define WRITE_BUFFERS_BYTES (32u << 20)
#define COMPACTION_SLICE_NS UINT64_C(100000000)
#define INFO_LOG_NOTHING    6 /* RocksDB's NUM_INFO_LOG_LEVELS: above all of them */

struct written { /* a file with bytes that no commit has synced */
    enum file_kind kind;
    uint32_t number;
};

struct store {
    char *folder;
    int lock_fd;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *reading;
    rocksdb_writeoptions_t *writing, *writing_synced;
    rocksdb_column_family_handle_t *family[CF_COUNT], *unused_default;
    pthread_mutex_t lock;          /* of what follows */
    struct buf unsynced;           /* struct written */
    bool new_file;                 /* the folder itself must be synced */
    atomic_bool compactions_yield; /* they shall */
    bool compactions_found;        /* the commits' thread */
};

/* ---- Errors ------------------------------------------------------------------------------------------ */

static bool db_error(struct error *error, const char *what, char *text)
{
    static const char corruption[] = "Corruption"; /* how RocksDB begins to say so */
    bool damaged = strncmp(text, corruption, sizeof corruption - 1) == 0;
    error_set(error, ERROR_IO, damaged ? STORE_DAMAGED : NULL, "%s: %.180s%s", what, text,
              damaged ? ": start once with --reindex" : "");
    rocksdb_free(text);
    return false;
}

static bool file_error(struct error *error, const char *what, const char *path)
{
    return error_set(error, ERROR_IO, NULL, "cannot %s %.160s: %s", what, path, strerror(errno));
}

/* ---- Files ------------------------------------------------------------------------------------------- */

static char *file_path(const struct store *store, enum file_kind kind, uint32_t number)
{
    struct buf out = {0};
    buf_printf(&out, "%s/blocks/%s%05u.dat%c", store->folder, kind == FILE_BLOCKS ? "blk" : "rev", number, 0);
    return (char *)out.data;
}

int store_file(struct store *store, enum file_kind kind, uint32_t number, bool write, struct error *error)
{
    char *path = file_path(store, kind, number);
    int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && write) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        pthread_mutex_lock(&store->lock);
        store->new_file = true;
        pthread_mutex_unlock(&store->lock);
    }
    if (fd < 0) {
        file_error(error, "open", path);
    }
    mem_free(path);
    return fd;
}

void store_written(struct store *store, enum file_kind kind, uint32_t number)
{
    struct written file = {kind, number};
    bool known = false;
    pthread_mutex_lock(&store->lock);
    for (size_t at = 0; at < store->unsynced.len && !known; at += sizeof file) {
        known = memcmp(store->unsynced.data + at, &file, sizeof file) == 0;
    }
    if (!known) {
        buf_bytes(&store->unsynced, &file, sizeof file);
    }
    pthread_mutex_unlock(&store->lock);
}

static bool sync_path(const char *path, int flags, struct error *error)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool ok = fd >= 0 && (flags & O_DIRECTORY ? fsync(fd) : fdatasync(fd)) == 0;
    if (!ok) {
        file_error(error, "sync", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool sync_files(struct store *store, struct error *error)
{
    pthread_mutex_lock(&store->lock);
    struct buf files = store->unsynced;
    bool new_file = store->new_file, ok = true;
    store->unsynced = (struct buf){0};
    store->new_file = false;
    pthread_mutex_unlock(&store->lock);
    struct cursor c = cursor_of(files.data, files.len);
    while (ok && cursor_left(&c)) {
        struct written file;
        cursor_bytes(&c, &file, sizeof file);
        char *path = file_path(store, file.kind, file.number);
        ok = sync_path(path, O_RDWR, error);
        mem_free(path);
    }
    if (ok && new_file) {
        struct buf folder = {0};
        buf_printf(&folder, "%s/blocks%c", store->folder, 0);
        ok = sync_path((const char *)folder.data, O_RDONLY | O_DIRECTORY, error);
        buf_free(&folder);
    }
    buf_free(&files);
    return ok;
}

/* All of len bytes, or a positive errno. */
static int move_all(int fd, bool write, uint8_t *data, size_t len, uint64_t offset)
{
    while (len) {
        ssize_t moved = write ? pwrite(fd, data, len, (off_t)offset) : pread(fd, data, len, (off_t)offset);
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved <= 0) {
            return moved ? errno : EIO;
        }
        data += moved;
        len -= (size_t)moved;
        offset += (uint64_t)moved;
    }
    return 0;
}

/* ---- Reads for the opening of the chain -------------------------------------------------------------- */

static bool read_value(struct store *store, enum column_family cf, struct span key, struct buf *value,
                       struct error *error)
{
    char *problem = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned_cf(store->db, store->reading, store->family[cf],
                                                           (const char *)key.data, key.len, &problem);
    if (problem) {
        return db_error(error, "reading the store", problem);
    }
    if (!found) {
        return error_set(error, ERROR_MISSING, NULL, "absent");
    }
    size_t len;
    const char *bytes = rocksdb_pinnableslice_value(found, &len);
    buf_bytes(value, bytes, len);
    rocksdb_pinnableslice_destroy(found);
    return true;
}

static bool reads_get(void *context, enum column_family cf, struct span key, struct buf *value)
{
    return read_value(context, cf, key, value, NULL);
}

/* Rows that begin with prefix, in order; problem is the store's text or NULL. */
static char *each_row(struct store *store, const rocksdb_readoptions_t *reading, enum column_family cf,
                      struct span prefix, bool (*row)(void *context, struct span key, struct span value),
                      void *context)
{
    rocksdb_iterator_t *at = rocksdb_create_iterator_cf(store->db, reading, store->family[cf]);
    char *problem = NULL;
    for (rocksdb_iter_seek(at, (const char *)prefix.data, prefix.len); rocksdb_iter_valid(at);
         rocksdb_iter_next(at)) {
        struct span key, value;
        key.data = (const uint8_t *)rocksdb_iter_key(at, &key.len);
        value.data = (const uint8_t *)rocksdb_iter_value(at, &value.len);
        if (key.len < prefix.len || (prefix.len && memcmp(key.data, prefix.data, prefix.len) != 0) ||
            !row(context, key, value)) {
            break;
        }
    }
    rocksdb_iter_get_error(at, &problem);
    rocksdb_iter_destroy(at);
    return problem;
}

static void reads_each(void *context, enum column_family cf, struct span prefix,
                       bool (*row)(void *row_context, struct span key, struct span value), void *row_context)
{
    struct store *store = context;
    char *problem = each_row(store, store->reading, cf, prefix, row, row_context);
    if (problem) {
        log_error(LOG_STORE, "reading the store: %s", problem);
        rocksdb_free(problem);
    }
}

static uint64_t reads_file_size(void *context, enum file_kind file, uint32_t number)
{
    struct store *store = context;
    char *path = file_path(store, file, number);
    struct stat info;
    uint64_t size = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    mem_free(path);
    return size;
}

static bool reads_file(void *context, enum file_kind file, uint32_t number, uint64_t offset, uint8_t *out,
                       size_t len)
{
    int fd = store_file(context, file, number, false, NULL);
    bool ok = fd >= 0 && move_all(fd, false, out, len, offset) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void store_reads(struct store *store, struct store_reader *out)
{
    *out = (struct store_reader){store, reads_get, reads_each, reads_file_size, reads_file};
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static bool take_lock(struct store *store, struct error *error)
{
    struct buf path = {0};
    buf_printf(&path, "%s/LOCK%c", store->folder, 0);
    store->lock_fd = open((const char *)path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool ok = store->lock_fd >= 0;
    if (!ok) {
        file_error(error, "open", (const char *)path.data);
    } else if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        char pid[24] = "";
        ssize_t got = pread(store->lock_fd, pid, sizeof pid - 1, 0);
        pid[got > 0 ? strcspn(pid, "\n") : 0] = 0;
        ok = error_set(error, ERROR_LOCKED, NULL, "%.180s is in use by another quarryd%s%s", store->folder,
                       *pid ? ", process " : "", pid);
    } else {
        char pid[24];
        int len = snprintf(pid, sizeof pid, "%d\n", getpid());
        ok = (ftruncate(store->lock_fd, 0) == 0 &&
              pwrite(store->lock_fd, pid, (size_t)len, 0) == (ssize_t)len) ||
             file_error(error, "write", (const char *)path.data);
    }
    buf_free(&path);
    return ok;
}

static void set_options(struct store *store)
{
    rocksdb_options_t *o = store->options = rocksdb_options_create();
    store->cache = rocksdb_cache_create_lru(BLOCK_CACHE_BYTES);
    store->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(store->table, store->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(store->table, 1);
    rocksdb_block_based_options_set_filter_policy(store->table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(o, store->table);
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_db_write_buffer_size(o, WRITE_BUFFERS_BYTES);
    rocksdb_options_set_max_total_wal_size(o, 2 * WRITE_BUFFERS_BYTES);
    rocksdb_options_set_max_open_files(o, 256);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    /* Nothing: its errors come back to us, and a log of its own that meets a full disk ends the process. */
    rocksdb_options_set_info_log_level(o, INFO_LOG_NOTHING);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_paranoid_checks(o, 1);
    store->reading = rocksdb_readoptions_create();
    store->writing = rocksdb_writeoptions_create();
    store->writing_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->writing_synced, 1);
    /* A batch is sorted: each insertion begins where the last one ended. RocksDB does so only where writers
     * may insert side by side; there is one here, and nobody takes a snapshot beside it. */
    rocksdb_options_set_unordered_write(o, 1);
    rocksdb_writeoptions_set_memtable_insert_hint_per_batch(store->writing, 1);
    rocksdb_writeoptions_set_memtable_insert_hint_per_batch(store->writing_synced, 1);
}

static bool open_db(struct store *store, struct error *error)
{
    const char *names[CF_COUNT + 1] = {"default"};
    const rocksdb_options_t *options[CF_COUNT + 1] = {store->options};
    rocksdb_column_family_handle_t *handles[CF_COUNT + 1] = {NULL};
    for (size_t i = 0; i < CF_COUNT; i++) {
        names[i + 1] = column_family_names[i];
        options[i + 1] = store->options;
    }
    struct buf path = {0};
    char *problem = NULL;
    buf_printf(&path, "%s/chainstate%c", store->folder, 0);
    store->db = rocksdb_open_column_families(store->options, (const char *)path.data, CF_COUNT + 1, names,
                                             options, handles, &problem);
    buf_free(&path);
    if (problem) {
        return db_error(error, "opening the store", problem);
    }
    store->unused_default = handles[0];
    memcpy(store->family, handles + 1, sizeof store->family);
    return true;
}

static bool write_identity(struct store *store, const struct chain_params *params, struct error *error)
{
    uint8_t version[4];
    char *problem = NULL;
    store_le32(version, FORMAT_VERSION);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writebatch_put_cf(batch, store->family[CF_META], "format", 6, (const char *)version, 4);
    rocksdb_writebatch_put_cf(batch, store->family[CF_META], "genesis", 7,
                              (const char *)params->genesis_hash.b, 32);
    if (params->signet_challenge.len) {
        rocksdb_writebatch_put_cf(batch, store->family[CF_META], "challenge", 9,
                                  (const char *)params->signet_challenge.data, params->signet_challenge.len);
    }
    rocksdb_write(store->db, store->writing_synced, batch, &problem);
    rocksdb_writebatch_destroy(batch);
    return !problem || db_error(error, "writing the store", problem);
}

/* Genesis, and on signet the challenge: every signet begins with the same block. */
static bool same_network(struct store *store, const struct chain_params *params)
{
    struct buf genesis = {0}, challenge = {0};
    struct error problem = {0};
    bool same = read_value(store, CF_META, span_of("genesis", 7), &genesis, &problem) &&
                span_equal(buf_span(&genesis), span_of(params->genesis_hash.b, 32)) &&
                (read_value(store, CF_META, span_of("challenge", 9), &challenge, &problem) ||
                 problem.kind == ERROR_MISSING) &&
                span_equal(buf_span(&challenge), buf_span(&params->signet_challenge));
    buf_free(&genesis);
    buf_free(&challenge);
    return same;
}

static bool check_identity(struct store *store, const struct chain_params *params, struct error *error)
{
    struct buf format = {0};
    struct error problem = {0};
    bool ok = true;
    if (!read_value(store, CF_META, span_of("format", 6), &format, &problem)) {
        ok = problem.kind == ERROR_MISSING ? write_identity(store, params, error)
                                           : error_set(error, problem.kind, NULL, "%s", problem.text);
    } else if (format.len != 4 || load_le32(format.data) > FORMAT_VERSION) {
        ok =
            error_set(error, ERROR_LOCKED, NULL,
                      "%.120s was written by a newer Quarry (format %u, this one knows %u): use that version",
                      store->folder, format.len == 4 ? load_le32(format.data) : 0, FORMAT_VERSION);
    } else if (!same_network(store, params)) {
        ok = error_set(error, ERROR_LOCKED, NULL,
                       "%.120s belongs to another network: choose another --datadir, or the network it was "
                       "made for",
                       store->folder);
    }
    buf_free(&format);
    return ok;
}

bool store_discard(const char *folder, struct error *error)
{
    struct buf path = {0};
    char *problem = NULL;
    buf_printf(&path, "%s/chainstate%c", folder, 0);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_destroy_db(options, (const char *)path.data, &problem);
    rocksdb_options_destroy(options);
    buf_free(&path);
    return !problem || db_error(error, "deleting the store", problem);
}

static bool put_meta(struct store *store, rocksdb_writebatch_t *batch, struct error *error)
{
    char *problem = NULL;
    rocksdb_write(store->db, store->writing_synced, batch, &problem);
    rocksdb_writebatch_destroy(batch);
    return !problem || db_error(error, "writing the store", problem);
}

static bool empty_family(struct store *store, enum column_family cf, struct error *error)
{
    char *problem = NULL;
    rocksdb_drop_column_family(store->db, store->family[cf], &problem);
    if (problem) {
        return db_error(error, "emptying the store", problem);
    }
    rocksdb_column_family_handle_destroy(store->family[cf]);
    store->family[cf] =
        rocksdb_create_column_family(store->db, store->options, column_family_names[cf], &problem);
    return !problem || db_error(error, "emptying the store", problem);
}

bool store_reset(struct store *store, bool index_too, struct error *error)
{
    /* The mark and the end of the best block come first: whoever stops in between is reset again by the next
     * opening. */
    const char mark = index_too ? 'i' : 'c';
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writebatch_put_cf(batch, store->family[CF_META], "resetting", 9, &mark, 1);
    rocksdb_writebatch_delete_cf(batch, store->family[CF_META], "best", 4);
    bool ok = put_meta(store, batch, error);
    for (enum column_family cf = 0; ok && cf < CF_COUNT; cf++) {
        if (cf != CF_META && (cf != CF_INDEX || index_too)) {
            ok = empty_family(store, cf, error);
        }
    }
    if (ok) {
        batch = rocksdb_writebatch_create();
        rocksdb_writebatch_delete_cf(batch, store->family[CF_META], "resetting", 9);
        ok = put_meta(store, batch, error);
    }
    return ok;
}

static bool end_reset(struct store *store, struct error *error)
{
    struct buf mark = {0};
    struct error problem = {0};
    bool ok = true;
    if (read_value(store, CF_META, span_of("resetting", 9), &mark, &problem)) {
        ok = store_reset(store, mark.len == 1 && mark.data[0] == 'i', error);
    } else if (problem.kind != ERROR_MISSING) {
        ok = error_set(error, problem.kind, NULL, "%s", problem.text);
    }
    buf_free(&mark);
    return ok;
}

struct store *store_open(const char *folder, const struct chain_params *params, struct error *error)
{
    struct store *store = mem_alloc(sizeof *store);
    struct buf blocks = {0};
    store->folder = mem_strdup(folder);
    store->lock_fd = -1;
    pthread_mutex_init(&store->lock, NULL);
    buf_printf(&blocks, "%s/blocks%c", folder, 0);
    bool ok = folder_make((const char *)blocks.data, error) && take_lock(store, error);
    buf_free(&blocks);
    if (ok) {
        set_options(store);
        ok = open_db(store, error) && check_identity(store, params, error) && end_reset(store, error);
    }
    if (!ok) {
        store_close(store);
        return NULL;
    }
    return store;
}

/* What was committed stands in the log: put into tables, it need not be gone through by the next opening. */
static void flush_tables(struct store *store)
{
    rocksdb_flushoptions_t *flushing = rocksdb_flushoptions_create();
    char *problem = NULL;
    rocksdb_flushoptions_set_wait(flushing, 1);
    for (size_t i = 0; i < CF_COUNT && !problem; i++) {
        rocksdb_flush_cf(store->db, flushing, store->family[i], &problem);
    }
    rocksdb_flushoptions_destroy(flushing);
    if (problem) { /* nothing is lost */
        log_warn(LOG_STORE, "the store's tables are not written: %s", problem);
        rocksdb_free(problem);
    }
}

void store_close(struct store *store)
{
    if (!store) {
        return;
    }
    if (store->db) {
        flush_tables(store);
        for (size_t i = 0; i < CF_COUNT; i++) {
            if (store->family[i]) {
                rocksdb_column_family_handle_destroy(store->family[i]);
            }
        }
        rocksdb_column_family_handle_destroy(store->unused_default);
        rocksdb_close(store->db);
    }
    if (store->options) {
        rocksdb_readoptions_destroy(store->reading);
        rocksdb_writeoptions_destroy(store->writing);
        rocksdb_writeoptions_destroy(store->writing_synced);
        rocksdb_options_destroy(store->options);
        rocksdb_block_based_options_destroy(store->table);
        rocksdb_cache_destroy(store->cache);
    }
    if (store->lock_fd >= 0) {
        close(store->lock_fd);
    }
    pthread_mutex_destroy(&store->lock);
    buf_free(&store->unsynced);
    mem_free(store->folder);
    mem_free(store);
}

/* ---- Jobs -------------------------------------------------------------------------------------------- */

static bool run_read_coins(struct store *store, struct job *job)
{
    for (size_t i = 0; i < job->coins.count; i++) {
        const struct outpoint *outpoint = &job->coins.outpoints[i];
        uint8_t key[COIN_KEY_BYTES];
        struct buf value = {0};
        struct error problem = {0};
        coin_key(key, outpoint);
        if (read_value(store, CF_COINS, span_of(key, sizeof key), &value, &problem)) {
            job->coins.values[i] = buf_span(&value);
        } else if (problem.kind != ERROR_MISSING) {
            job->error = problem;
            return false;
        }
    }
    return true;
}

static bool run_read_key(struct store *store, struct job *job)
{
    struct error problem = {0};
    job->key.found = read_value(store, job->key.cf, buf_span(&job->key.key), &job->key.value, &problem);
    if (!job->key.found && problem.kind != ERROR_MISSING) {
        job->error = problem;
        return false;
    }
    return true;
}

static bool run_file(struct store *store, struct job *job)
{
    bool write = job->kind == JOB_WRITE;
    int fd = store_file(store, job->io.file, job->io.number, write, &job->error);
    if (fd < 0) {
        return false;
    }
    if (!write) {
        job->io.data = mem_alloc(job->io.len);
    }
    int problem = move_all(fd, write, job->io.data, job->io.len, job->io.offset);
    close(fd);
    if (problem) {
        return error_set(&job->error, ERROR_IO, NULL, "%s a block file: %s", write ? "writing" : "reading",
                         strerror(problem));
    }
    if (write) {
        store_written(store, job->io.file, job->io.number);
    }
    return true;
}

struct change {    /* one entry of a batch: sixteen bytes, as they are moved about */
    uint64_t head; /* column family and the key's first bytes: most comparisons need no more */
    uint64_t at;   /* where it begins in the batch */
};

static struct span key_at(const struct kv_batch *batch, uint64_t at)
{
    const uint8_t *entry = batch->bytes.data + at;
    return span_of(entry + KV_KEY_AT, entry[KV_KEY_AT - 1]);
}

/* By place in the store; changes of one key stay in their order. */
static int by_key(const void *left, const void *right, void *context)
{
    const struct change *a = left, *b = right;
    if (a->head != b->head) {
        return a->head < b->head ? -1 : 1;
    }
    struct span x = key_at(context, a->at), y = key_at(context, b->at);
    int order = memcmp(x.data, y.data, MIN(x.len, y.len));
    if (order == 0 && x.len != y.len) {
        return x.len < y.len ? -1 : 1;
    }
    return order ? order : a->at < b->at ? -1 : 1;
}

/* The changes of a batch by key, so that each insertion into RocksDB's skip lists begins where the last one
 * ended. */
static struct change *sorted_changes(struct kv_batch *batch)
{
    struct change *changes = mem_alloc(MAX(batch->count, 1u) * sizeof *changes);
    struct cursor c = cursor_of(batch->bytes.data, batch->bytes.len);
    enum column_family cf;
    enum kv_operation operation;
    struct span key, value;
    size_t n = 0;
    for (uint64_t at = 0; kv_next(&c, &cf, &operation, &key, &value);
         at = (uint64_t)(c.at - batch->bytes.data)) {
        uint8_t first[8] = {(uint8_t)cf};
        memcpy(first + 1, key.data, MIN(key.len, sizeof first - 1));
        CHECK(n < batch->count);
        changes[n++] = (struct change){__builtin_bswap64(load_le64(first)), at};
    }
    CHECK(n == batch->count);
    qsort_r(changes, n, sizeof *changes, by_key, batch);
    return changes;
}

static void put_change(struct store *store, rocksdb_writebatch_t *out, const struct kv_batch *batch,
                       uint64_t at)
{
    struct cursor c = cursor_of(batch->bytes.data + at, batch->bytes.len - at);
    enum column_family cf;
    enum kv_operation operation;
    struct span key, value;
    kv_next(&c, &cf, &operation, &key, &value);
    if (operation == KV_PUT) {
        rocksdb_writebatch_put_cf(out, store->family[cf], (const char *)key.data, key.len,
                                  (const char *)value.data, value.len);
    } else {
        rocksdb_writebatch_delete_cf(out, store->family[cf], (const char *)key.data, key.len);
    }
}

static bool is_compaction_thread(const char *number)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strcmp(name, "rocksdb:low\n") == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is;
}

void store_compactions_yield(struct store *store)
{
    atomic_store_explicit(&store->compactions_yield, true, memory_order_relaxed);
}

/* Their threads come when there is first something to compact. They get idle priority and the longest slice
 * that there is: of two idle threads that with the shorter one, a hash worker's, goes first. */
static void look_for_compactions(struct store *store)
{
    bool wanted = atomic_load_explicit(&store->compactions_yield, memory_order_relaxed);
    DIR *tasks = wanted && !store->compactions_found ? opendir("/proc/self/task") : NULL;
    for (const struct dirent *task; tasks && (task = readdir(tasks));) {
        if (is_compaction_thread(task->d_name)) {
            store->compactions_found = true;
            pid_t thread = (pid_t)strtol(task->d_name, NULL, 10);
            if (!thread_schedule(thread, SCHED_IDLE, 0, COMPACTION_SLICE_NS)) {
                log_debug(LOG_STORE, "compactions keep their priority: %s", strerror(errno));
            }
        }
    }
    if (tasks) {
        closedir(tasks);
    }
}

static bool run_commit(struct store *store, struct job *job)
{
    look_for_compactions(store);
    if (!sync_files(store, &job->error)) {
        return false;
    }
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    struct change *changes = sorted_changes(&job->commit.batch);
    for (size_t i = 0; i < job->commit.batch.count; i++) {
        put_change(store, batch, &job->commit.batch, changes[i].at);
    }
    mem_free(changes);
    char *problem = NULL;
    rocksdb_write(store->db, job->commit.sync ? store->writing_synced : store->writing, batch, &problem);
    rocksdb_writebatch_destroy(batch);
    return !problem || db_error(&job->error, "writing the store", problem);
}

void *store_snapshot(struct store *store)
{
    return (void *)(uintptr_t)rocksdb_create_snapshot(store->db);
}

static bool scan_row(void *context, struct span key, struct span value)
{
    struct job *job = context;
    job->scan.row(job->scan.scan, key, value);
    return true;
}

static bool run_scan(struct store *store, struct job *job, const rocksdb_snapshot_t *snapshot)
{
    rocksdb_readoptions_t *reading = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(reading, snapshot);
    rocksdb_readoptions_set_fill_cache(reading, 0);
    char *problem = each_row(store, reading, job->scan.cf, job->scan.prefix, scan_row, job);
    rocksdb_readoptions_destroy(reading);
    rocksdb_release_snapshot(store->db, snapshot);
    return !problem || db_error(&job->error, "reading the store", problem);
}

static bool run_import(struct job *job)
{
    int fd =
        open(job->import.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe is no file, and waits for none */
    if (fd < 0) {
        file_error(&job->error, "open", job->import.path);
        job->error.kind = errno == ENOENT ? ERROR_MISSING : ERROR_IO;
        return false;
    }
    job->import.data = mem_alloc(job->import.len);
    bool ok = true;
    while (ok && job->import.got < job->import.len) {
        ssize_t got = pread(fd, job->import.data + job->import.got, job->import.len - job->import.got,
                            (off_t)(job->import.offset + job->import.got));
        if (got < 0 && errno != EINTR) {
            ok = file_error(&job->error, "read", job->import.path);
        } else if (got == 0) {
            break;
        } else if (got > 0) {
            job->import.got += (size_t)got;
        }
    }
    close(fd);
    return ok;
}

void store_run(struct store *store, struct job *job, void *snapshot)
{
    bool ok = false;
    switch (job->kind) {
    case JOB_READ_COINS: ok = run_read_coins(store, job); break;
    case JOB_READ_KEY: ok = run_read_key(store, job); break;
    case JOB_READ:
    case JOB_WRITE: ok = run_file(store, job); break;
    case JOB_COMMIT: ok = run_commit(store, job); break;
    case JOB_SCAN: ok = run_scan(store, job, snapshot); break;
    case JOB_IMPORT_READ: ok = run_import(job); break;
    case JOB_SAVE:
        ok = file_write_piece(job->save.path, job->save.offset, buf_span(&job->save.bytes), job->save.last,
                              &job->error);
        break;
    case JOB_CHECK_SCRIPTS: break; /* the pool's */
    }
    job->failed = !ok;
}
