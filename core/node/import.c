/*
 * --loadblock: files of block records, as Bitcoin Core writes them (its xor.dat beside them is honoured), in
 * the order given. Blocks whose parent has not come yet are remembered by their place in the file and read
 * again when it has. What is refused is said with its height, or with its file offset where no height is
 * known; the node stays at the last good block.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/node/node_private.h"

#define PIECE_BYTES   (8u << 20) /* twice the largest block */
#define IN_FLIGHT_MAX 32u
#define ORPHANS_MAX   1000000u

struct orphan { /* a block whose parent is not known yet */
    uint64_t offset;
    uint32_t len, file;
    struct hash256 parent;
    bool done;
};

struct place { /* where a block that is in flight stands */
    uint64_t offset;
    size_t file;
};

struct import {
    struct node *node;
    size_t file;     /* index in config.load_blocks */
    uint64_t offset; /* of the piece's first byte */
    uint8_t *piece;
    size_t piece_len, at;
    bool piece_is_last;
    uint8_t key[8]; /* xor.dat; zeros: none */
    bool key_known;
    char *key_path;
    size_t in_flight;
    size_t turn; /* blocks taken in this event: the rest of the node waits meanwhile */
    struct orphan *orphans;
    size_t orphan_count, orphan_capacity;
    bool reading, finished, failed, retry;
    size_t retry_at;
    uint64_t accepted;
    struct map places; /* hash of a block in flight -> struct place */
};

static const char *path_of(const struct import *import)
{
    return import->node->config.load_blocks[import->file];
}

static void complain_of(struct import *import, size_t file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void complain_of(struct import *import, size_t file, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    import->failed = true;
    log_error(LOG_CHAIN, "loading %s: %s", import->node->config.load_blocks[file], text);
}
#define complain(import, ...) complain_of(import, (import)->file, __VA_ARGS__)

bool node_loaded(const struct node *node)
{
    return !node->import || node->import->finished;
}

bool import_failed(const struct node *node)
{
    return node->import && node->import->failed;
}

static void drop_piece(struct import *import)
{
    mem_free(import->piece);
    import->piece = NULL;
    import->piece_len = import->at = 0;
}

static void next_file(struct import *import)
{
    drop_piece(import);
    import->file++;
    import->offset = 0;
    import->key_known = false;
    memset(import->key, 0, sizeof import->key);
}

static void unmask(const struct import *import, uint8_t *data, size_t len, uint64_t offset)
{
    static const uint8_t none[8];
    if (memcmp(import->key, none, 8) != 0) {
        for (size_t i = 0; i < len; i++) {
            data[i] ^= import->key[(offset + i) & 7];
        }
    }
}

/* ---- Blocks ------------------------------------------------------------------------------------------- */

static void remember_orphan(struct import *import, const struct block *block, uint64_t offset, uint32_t len)
{
    if (import->orphan_count == ORPHANS_MAX) {
        complain(import, "more than %u blocks without a known parent", ORPHANS_MAX);
        return;
    }
    if (import->orphan_count == import->orphan_capacity) {
        import->orphan_capacity = MAX(import->orphan_capacity * 2, 64u);
        import->orphans = mem_realloc(import->orphans, import->orphan_capacity * sizeof *import->orphans);
    }
    import->orphans[import->orphan_count++] =
        (struct orphan){offset, len, (uint32_t)import->file, block->header.prev_hash, false};
}

static void say_refused(struct import *import, const struct block *block, uint64_t offset,
                        const struct error *error)
{
    const struct block_entry *prev = chain_find(import->node->chain, &block->header.prev_hash);
    if (prev) {
        complain(import, "block at height %u (file offset %" PRIu64 ") refused: %s (%s)", prev->height + 1,
                 offset, error->word, error->text);
    } else {
        complain(import, "block at file offset %" PRIu64 " refused: %s (%s)", offset, error->word,
                 error->text);
    }
}

/* Takes over raw. False when the chain has no room just now: the same record comes again. */
static bool take_block(struct import *import, uint8_t *raw, size_t len, uint64_t offset, bool orphan_again)
{
    struct node *node = import->node;
    struct error error = {0};
    struct block *block = block_parse(raw, len, &error);
    bool again = false;
    if (!block) {
        complain(import, "file offset %" PRIu64 ": %s", offset, error.text);
    } else if (!hash256_equal(&block->hash, &node->params->genesis_hash)) {
        /* The place first: the block's fate may be told from inside the call. */
        bool fresh;
        struct place *place = map_put(&import->places, &block->hash, &fresh);
        if (fresh) {
            *place = (struct place){offset, import->file};
        }
        import->in_flight++;
        import->turn++;
        bool taken = chain_accept_block(node->chain, block, node->now, true, SOURCE_IMPORT, &error);
        if (!taken) {
            import->in_flight--;
            if (fresh) {
                map_remove(&import->places, &block->hash);
            }
        }
        if (taken) {
            CHECK(fresh); /* a second copy of a block in flight is a duplicate */
        } else if (error.kind == ERROR_MISSING && !orphan_again) {
            remember_orphan(import, block, offset, (uint32_t)len);
        } else if (error.kind == ERROR_BUSY) {
            again = !node->stopping;
        } else if (error.kind != ERROR_DUPLICATE) {
            say_refused(import, block, offset, &error);
        }
    }
    block_unref(block);
    return !again;
}

void import_block_result(struct node *node, const struct hash256 *hash, const struct error *error)
{
    struct import *import = node->import;
    const struct block_entry *entry = chain_find(node->chain, hash);
    const struct place *place = map_get(&import->places, hash);
    CHECK(place && entry);
    import->in_flight--;
    import->accepted += !error;
    if (error) {
        complain_of(import, place->file, "block at height %u (file offset %" PRIu64 ") refused: %s (%s)",
                    entry->height, place->offset, error->word, error->text);
    }
    map_remove(&import->places, hash);
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

static void piece_read(void *context, struct job *job)
{
    struct import *import = context;
    import->reading = false;
    if (job->failed) {
        complain(import, "%s", job->error.text);
        next_file(import);
    } else {
        import->piece = job->import.data;
        import->piece_len = job->import.got;
        import->piece_is_last = job->import.got < job->import.len;
        import->at = 0;
        job->import.data = NULL;
        unmask(import, import->piece, import->piece_len, import->offset);
    }
    job_free(job);
}

static void read_piece(struct import *import, uint64_t offset, size_t len)
{
    struct job *job = job_new(JOB_IMPORT_READ, piece_read, import);
    job->import.path = path_of(import);
    job->import.offset = import->offset = offset;
    job->import.len = len;
    import->reading = true;
    node_submit(import->node, job);
}

static void key_read(void *context, struct job *job)
{
    struct import *import = context;
    import->reading = false;
    import->key_known = true;
    if (!job->failed && job->import.got == 8) {
        memcpy(import->key, job->import.data, 8);
    }
    job_free(job);
}

/* Bitcoin Core masks its block files with a key of 8 bytes in xor.dat of the same folder. */
static void read_key(struct import *import)
{
    struct buf path = {0};
    const char *file = path_of(import), *slash = strrchr(file, '/');
    buf_bytes(&path, file, slash ? (size_t)(slash - file) + 1 : 0);
    buf_printf(&path, "xor.dat%c", 0);
    mem_free(import->key_path);
    import->key_path = (char *)path.data;
    struct job *job = job_new(JOB_IMPORT_READ, key_read, import);
    job->import.path = import->key_path;
    job->import.len = 8;
    import->reading = true;
    node_submit(import->node, job);
}

/* One record of the piece. False when the import must wait for something. */
static bool next_record(struct import *import)
{
    struct cursor c = cursor_of(import->piece + import->at, import->piece_len - import->at);
    struct span bytes;
    struct error error = {0};
    uint64_t offset = import->offset + import->at;
    int result = blockfile_next(&c, &bytes, import->node->params->magic, &error);
    if (result == 1) {
        if (!take_block(import, mem_dup(bytes.data, bytes.len), bytes.len, offset, false)) {
            return false;
        }
        import->at = (size_t)(c.at - import->piece);
        return true;
    }
    if (result == -2 && !import->piece_is_last) {
        drop_piece(import);
        read_piece(import, offset, PIECE_BYTES);
        return false;
    }
    if (result == 0 && !import->piece_is_last) {
        /* Only zeros are left here (space that was set aside), or nothing: go on behind them. */
        uint64_t next = import->at ? offset : offset + import->piece_len;
        drop_piece(import);
        read_piece(import, next, PIECE_BYTES);
        return false;
    }
    if (result == -1) {
        complain(import, "file offset %" PRIu64 ": %s", offset, error.text);
    } else if (result == -2) {
        complain(import, "file offset %" PRIu64 ": the file ends inside a record (or its length is wrong)",
                 offset);
    }
    next_file(import);
    return true;
}

/* ---- Blocks that came before their parents ------------------------------------------------------------ */

static void orphan_read(void *context, struct job *job)
{
    struct import *import = context;
    struct orphan *orphan = &import->orphans[import->retry_at];
    import->reading = false;
    if (!job->failed && job->import.got == job->import.len) {
        unmask(import, job->import.data, job->import.len, orphan->offset + 8);
        orphan->done = take_block(import, job->import.data, job->import.len, orphan->offset, true);
        job->import.data = NULL;
    } else {
        orphan->done = true;
        complain(import, "file offset %" PRIu64 " cannot be read again", orphan->offset);
    }
    job_free(job);
}

/* Reads the next orphan whose parent is known by now. False when there is none. */
static bool retry_orphan(struct import *import)
{
    for (size_t i = 0; i < import->orphan_count; i++) {
        struct orphan *orphan = &import->orphans[i];
        const struct block_entry *parent =
            orphan->done ? NULL : chain_find(import->node->chain, &orphan->parent);
        if (!parent || !(parent->status & BLOCK_HAVE_DATA)) {
            continue;
        }
        import->retry_at = i;
        if (import->file != orphan->file) {
            import->file = orphan->file;
            read_key(import);
            return true;
        }
        struct job *job = job_new(JOB_IMPORT_READ, orphan_read, import);
        job->import.path = path_of(import);
        job->import.offset = orphan->offset + 8;
        job->import.len = orphan->len;
        import->reading = true;
        node_submit(import->node, job);
        return true;
    }
    return false;
}

static void finish(struct import *import)
{
    for (size_t i = 0; i < import->orphan_count; i++) {
        if (!import->orphans[i].done) {
            import->file = import->orphans[i].file;
            complain(import, "block at file offset %" PRIu64 " refused: its parent is unknown",
                     import->orphans[i].offset);
        }
    }
    import->finished = true;
    chain_expect_more(import->node->chain, false);
    log_info(LOG_CHAIN, "loading is done: %" PRIu64 " blocks taken, height %u%s", import->accepted,
             chain_tip(import->node->chain)->height, import->failed ? ", some were refused" : "");
}

void import_go_on(struct node *node)
{
    struct import *import = node->import;
    if (!import) {
        return;
    }
    import->turn = 0;
    while (!import->finished && !import->reading && import->in_flight < IN_FLIGHT_MAX &&
           import->turn < IN_FLIGHT_MAX && !node->stopping) {
        if (import->retry) {
            if (!retry_orphan(import)) {
                if (import->in_flight == 0) {
                    finish(import);
                }
                return;
            }
        } else if (import->file >= node->config.load_block_count) {
            import->retry = true;
            import->file = SIZE_MAX; /* no key is loaded for any file now */
        } else if (!import->key_known) {
            read_key(import);
        } else if (!import->piece) {
            read_piece(import, 0, PIECE_BYTES);
        } else if (!next_record(import)) {
            return;
        }
    }
}

void import_begin(struct node *node)
{
    if (!node->config.load_block_count) {
        return;
    }
    node->import = mem_alloc(sizeof *node->import);
    node->import->node = node;
    map_init(&node->import->places, sizeof(struct hash256), sizeof(struct place), &node->rng);
    chain_expect_more(node->chain, true);
}

void import_free(struct node *node)
{
    if (node->import) {
        mem_free(node->import->piece);
        mem_free(node->import->orphans);
        mem_free(node->import->key_path);
        map_free(&node->import->places);
        mem_free(node->import);
    }
}
