/* Opening and closing a chain, taking in headers and blocks, and the small questions. */
#include <inttypes.h>

#include "core/chain/chain_private.h"

#include <stdlib.h>

#define WAITING_WRITES_MAX 2048u
#define WAITING_BYTES_MIN  (8u << 20) /* however few recent blocks are kept */
/* A batch of changes is this share of the coins cache, within bounds: on its way to the disk it stands in
 * memory several times. */
#define FLUSH_SHARE     16u
#define FLUSH_BYTES_MIN (64u << 10)
#define FLUSH_BYTES_MAX (32u << 20)

/* ---- Opening ----------------------------------------------------------------------------------------- */

struct loaded { /* a header that is read back, before its place is known */
    struct entry *entry;
    struct hash256 prev_hash;
};

struct loading {
    struct chain *chain;
    struct buf rows; /* struct loaded */
    bool damaged;
};

static bool load_row(void *context, struct span key, struct span value)
{
    struct loading *loading = context;
    struct loaded row;
    struct hash256 hash;
    if (key.len != 33) {
        loading->damaged = true;
        return false;
    }
    memcpy(hash.b, key.data + 1, 32);
    loading->damaged = index_find(loading->chain, &hash) != NULL;
    if (!loading->damaged) {
        row.entry = index_new(loading->chain, &hash);
        loading->damaged = !entry_decode(&row.entry->e, &row.prev_hash, value);
        buf_bytes(&loading->rows, &row, sizeof row);
    }
    return !loading->damaged;
}

static int by_height(const void *a, const void *b)
{
    const struct loaded *x = a, *y = b;
    uint32_t left = x->entry->e.height, right = y->entry->e.height;
    return left < right ? -1 : left > right;
}

/* Where the files end, as far as this entry tells. */
static void learn_ends(struct chain *chain, const struct block_entry *e)
{
    if (e->status & BLOCK_HAVE_DATA && e->file >= chain->block_file) {
        uint64_t end = (uint64_t)e->data_offset + e->data_len;
        chain->block_file_end = e->file > chain->block_file ? end : MAX(chain->block_file_end, end);
        chain->block_file = e->file;
    }
    if (e->status & BLOCK_HAVE_UNDO) {
        uint64_t *end = undo_end(chain, e->file);
        *end = MAX(*end, e->undo_offset + e->undo_len);
    }
}

static bool load_index(struct chain *chain, const struct store_reader *reader, struct error *error)
{
    struct loading loading = {.chain = chain};
    reader->each(reader->context, CF_INDEX, span_of("b", 1), load_row, &loading);
    struct loaded *rows = (struct loaded *)(void *)loading.rows.data;
    size_t count = loading.rows.len / sizeof *rows;
    if (count) {
        qsort(rows, count, sizeof *rows, by_height);
    }
    for (size_t i = 0; i < count && !loading.damaged; i++) {
        struct entry *entry = rows[i].entry, *prev = index_find(chain, &rows[i].prev_hash);
        struct block_entry *e = &entry->e;
        if (!prev || prev->e.height + 1 != e->height) {
            loading.damaged = true;
            break;
        }
        index_attach(chain, entry, prev);
        e->stored = true;
        chain->next_sequence = MAX(chain->next_sequence, e->sequence + 1);
        if (e->status & BLOCK_HAVE_DATA && prev->e.chain_tx) {
            e->chain_tx = prev->e.chain_tx + e->tx_count;
        }
        learn_ends(chain, e);
    }
    buf_free(&loading.rows);
    if (loading.damaged) {
        return error_set(error, ERROR_IO, NULL, "the block index is damaged: start once with --reindex");
    }
    return true;
}

static bool load_best(struct chain *chain, const struct store_reader *reader, struct error *error)
{
    struct buf value = {0};
    bool stored = reader->get(reader->context, CF_META, span_of("best", 4), &value), ok = true;
    if (stored) {
        struct hash256 hash = {{0}};
        memcpy(hash.b, value.data, MIN(value.len, 32u));
        struct entry *best = value.len == 32 ? index_find(chain, &hash) : NULL;
        if (best && best->e.chain_tx) {
            chain->applied = best;
        } else {
            ok = error_set(error, ERROR_IO, NULL,
                           "the best block that the store names is not in its index: start once with "
                           "--reindex");
        }
    }
    buf_clear(&value);
    chain->addr_complete = chain->config.tx_index &&
                           (!stored || reader->get(reader->context, CF_META, span_of("addr", 4), &value));
    buf_free(&value);
    chain->tip = chain->durable = chain->applied;
    return ok;
}

/* Adds a block whose bytes are in a file already (roll-forward) or are about to be. */
static void take_position(struct chain *chain, struct entry *entry, const struct block *block, uint32_t file,
                          uint64_t offset)
{
    entry->e.tx_count = block->tx_count;
    CHECK(file <= UINT16_MAX && offset <= UINT32_MAX && chain->next_sequence < UINT32_MAX);
    entry->e.file = (uint16_t)file;
    entry->e.data_offset = (uint32_t)offset;
    entry->e.data_len = (uint32_t)block->raw.len;
    entry->e.status |= BLOCK_HAVE_DATA;
    entry->e.sequence = chain->next_sequence++;
    index_dirty(chain, entry);
    index_link(chain, entry);
}

static bool check_and_mark(struct chain *chain, struct entry *entry, const struct block *block,
                           struct error *error)
{
    if (block_check(block, chain->params, error) &&
        block_check_context(block, entry->e.height, block_median_time(entry->e.prev), chain->params, error)) {
        return true;
    }
    if (error->kind == ERROR_INVALID) {
        index_mark_bad(chain, entry, BLOCK_FAILED);
    }
    return false;
}

/* A block in the files whose parent has not been seen: peers send blocks out of order. */
struct early_block {
    struct hash256 prev;
    uint64_t offset;
    uint32_t file, len;
};

struct rolling {
    struct chain *chain;
    const struct store_reader *reader;
    struct buf early; /* struct early_block */
    uint32_t found;
};

static struct block *roll_read(const struct store_reader *reader, uint32_t file, uint64_t offset,
                               uint32_t len)
{
    uint8_t *raw = mem_alloc(len);
    if (!reader->file_read(reader->context, FILE_BLOCKS, file, offset, raw, len)) {
        mem_free(raw);
        return NULL;
    }
    return block_parse(raw, len, NULL);
}

static void roll_block(struct rolling *rolling, struct block *block, uint32_t file, uint64_t offset)
{
    struct chain *chain = rolling->chain;
    struct error error = {0};
    struct entry *entry = index_find(chain, &block->hash),
                 *prev = index_find(chain, &block->header.prev_hash);
    if (!entry && !prev) {
        struct early_block early = {block->header.prev_hash, offset, file, (uint32_t)block->raw.len};
        buf_bytes(&rolling->early, &early, sizeof early);
        return;
    }
    if (!entry) {
        if (!index_check_header(chain, &block->header, &block->hash, prev, INT64_MAX, &error)) {
            return;
        }
        entry = index_add(chain, &block->header, &block->hash, prev);
    }
    if (entry->e.status & (BLOCK_HAVE_DATA | BLOCK_BAD) || !entry->e.prev ||
        !check_and_mark(chain, entry, block, &error)) {
        return;
    }
    take_position(chain, entry, block, file, offset);
    rolling->found++;
}

/* Goes over the early ones until no more parents turn up. */
static void roll_early(struct rolling *rolling)
{
    for (bool progress = true; progress;) {
        progress = false;
        for (size_t at = 0; at < rolling->early.len; at += sizeof(struct early_block)) {
            struct early_block early;
            memcpy(&early, rolling->early.data + at, sizeof early);
            if (!early.len || !index_find(rolling->chain, &early.prev)) {
                continue;
            }
            struct block *block = roll_read(rolling->reader, early.file, early.offset, early.len);
            if (block) {
                roll_block(rolling, block, early.file, early.offset);
            }
            block_unref(block);
            early.len = 0;
            memcpy(rolling->early.data + at, &early, sizeof early);
            progress = true;
        }
    }
    buf_free(&rolling->early);
}

/* Reads on behind the last block that the index knows: bytes that were written before a crash, but not their
 * batch. */
static void roll_forward(struct chain *chain, const struct store_reader *reader)
{
    struct rolling rolling = {.chain = chain, .reader = reader};
    uint32_t file = chain->block_file;
    uint64_t at = chain->block_file_end;
    for (;;) {
        uint64_t size = reader->file_size(reader->context, FILE_BLOCKS, file);
        uint8_t head[8];
        if (size < at + 8) {
            if (reader->file_size(reader->context, FILE_BLOCKS, file + 1) == 0) {
                break;
            }
            file++;
            at = 0;
            continue;
        }
        if (!reader->file_read(reader->context, FILE_BLOCKS, file, at, head, 8) ||
            memcmp(head, chain->params->magic, 4) != 0) {
            break;
        }
        uint32_t len = load_le32(head + 4);
        if (len < HEADER_BYTES || len > BLOCK_SERIALIZED_MAX || size - at - 8 < len) {
            break; /* torn: to be overwritten */
        }
        struct block *block = roll_read(reader, file, at + 8, len);
        if (!block) {
            break;
        }
        roll_block(&rolling, block, file, at + 8);
        block_unref(block);
        at += 8 + len;
        chain->block_file = file;
        chain->block_file_end = at;
    }
    uint64_t size = reader->file_size(reader->context, FILE_BLOCKS, file);
    if (size > at) {
        log_info(LOG_CHAIN,
                 "block file %u: %" PRIu64 " bytes from %" PRIu64
                 " on hold no whole block: to be written over",
                 file, size - at, at);
    }
    roll_early(&rolling);
    if (rolling.found) {
        log_info(LOG_CHAIN, "rolling forward: %u blocks of the block files were not in the index",
                 rolling.found);
    }
}

static void add_genesis(struct chain *chain)
{
    struct entry *genesis = index_add(chain, &chain->params->genesis, &chain->params->genesis_hash, NULL);
    genesis->e.status = BLOCK_HAVE_DATA | BLOCK_VALID;
    genesis->e.stored = true; /* never: every store begins with it */
    genesis->e.tx_count = 1;
    genesis->e.chain_tx = 1;
    chain->genesis = chain->applied = chain->tip = chain->durable = genesis;
    chain->next_sequence = 1;
}

struct chain *chain_open(const struct chain_config *config, const struct chain_events *events,
                         const struct store_reader *reader, struct error *error)
{
    struct chain *chain = mem_alloc(sizeof *chain);
    chain->config = *config;
    chain->params = config->params;
    chain->events = *events;
    chain->loading = true;
    chain->flush_bytes = MIN(MAX(config->coins_cache_bytes / FLUSH_SHARE, FLUSH_BYTES_MIN), FLUSH_BYTES_MAX);
    index_init(chain);
    map_init(&chain->recent, sizeof(struct hash256), sizeof(struct recent *), config->rng);
    list_init(&chain->recent_lru);
    list_init(&chain->writes);
    list_init(&chain->results);
    list_init(&chain->scans);
    list_init(&chain->proposals);
    coins_init(&chain->coins, config->coins_cache_bytes, config->rng);
    script_cache_init(&chain->scripts, config->script_cache_bytes, config->rng);
    chain->signatures = signature_cache_new(config->script_cache_bytes, config->rng);
    add_genesis(chain);
    if (!load_index(chain, reader, error) || !load_best(chain, reader, error)) {
        chain_free(chain);
        return NULL;
    }
    struct entry *entry;
    for (size_t at = 0; (entry = index_next(chain, &at));) {
        index_add_candidate(chain, entry);
    }
    roll_forward(chain, reader);
    return chain;
}

void chain_start(struct chain *chain, struct moment now)
{
    chain->now_us = chain->batch_us = now.mono_us;
    chain->started = true;
    chain_activate(chain);
}

void chain_stop(struct chain *chain)
{
    chain->stopping = true;
    chain_activate(chain);
}

bool chain_idle(const struct chain *chain)
{
    return chain->jobs_out == 0 && chain->step == STEP_IDLE &&
           (chain->dead || !chain->started || (!chain->commit && !(chain->stopping && chain_dirty(chain))));
}

void chain_free(struct chain *chain)
{
    if (!chain) {
        return;
    }
    if (chain->commit && !chain->commit_out) {
        job_free(chain->commit);
    }
    proposals_free(chain); /* of now, one perhaps */
    connecting_free(&chain->now);
    recent_free_all(chain);
    query_free_all(chain);
    verify_free(chain);
    LIST_EACH_SAFE(at, following, &chain->writes)
    {
        mem_free(CONTAINER_OF(at, struct pending_write, link));
    }
    results_free(chain);
    index_free(chain);
    coins_free(&chain->coins);
    script_cache_free(&chain->scripts);
    signature_cache_free(chain->signatures);
    mem_free(chain->candidates);
    mem_free(chain->undo_file_end);
    buf_free(&chain->tx_rows.bytes);
    buf_free(&chain->dirty_entries);
    mem_free(chain);
}

/* ---- Headers and blocks ------------------------------------------------------------------------------ */

static struct entry *accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                                   bool *is_new, struct error *error)
{
    struct hash256 hash;
    header_hash(&hash, header);
    struct entry *entry = index_find(chain, &hash);
    *is_new = false;
    if (entry) {
        if (entry->e.status & BLOCK_BAD) {
            error_set(error, ERROR_INVALID, "duplicate-invalid", "block is marked invalid");
            return NULL;
        }
        return entry;
    }
    struct entry *prev = index_find(chain, &header->prev_hash);
    if (!prev) {
        error_set(error, ERROR_MISSING, "prev-blk-not-found", "the block before this one is not known");
        return NULL;
    }
    if (prev->e.status & BLOCK_BAD) {
        error_set(error, ERROR_INVALID, "bad-prevblk", "the block before this one is invalid");
        return NULL;
    }
    if (!index_check_header(chain, header, &hash, prev, moment_unix_s(now), error)) {
        return NULL;
    }
    entry = index_add(chain, header, &hash, prev);
    *is_new = true;
    return entry;
}

bool chain_accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                         const struct block_entry **entry, bool *is_new, struct error *error)
{
    bool fresh;
    struct entry *found = accept_header(chain, header, now, &fresh, error);
    if (entry) {
        *entry = found ? &found->e : NULL;
    }
    if (is_new) {
        *is_new = fresh;
    }
    return found != NULL;
}

static void store_block(struct chain *chain, struct entry *entry, struct block *block)
{
    if (chain->block_file_end + 8 + block->raw.len > BLOCK_FILE_BYTES_MAX) {
        chain->block_file++;
        chain->block_file_end = 0;
    }
    struct buf record = {0};
    buf_reserve(&record, 8 + block->raw.len);
    blockfile_record(&record, chain->params->magic, block->raw);
    uint64_t offset = chain->block_file_end;
    chain->block_file_end += record.len;
    recent_put(chain, block);
    chain_write(chain, FILE_BLOCKS, chain->block_file, offset, &record, &block->hash);
    take_position(chain, entry, block, chain->block_file, offset + 8);
}

/* Every block that waits to be written is in memory. */
static size_t waiting_bytes_max(const struct chain *chain)
{
    return MAX(chain->config.recent_blocks_bytes, WAITING_BYTES_MIN);
}

bool chain_disk_lags(const struct chain *chain)
{
    return chain->write_bytes > waiting_bytes_max(chain) / 2;
}

bool chain_accept_block(struct chain *chain, struct block *block, struct moment now, bool force,
                        uint64_t source, struct error *error)
{
    bool is_new;
    chain->now_us = now.mono_us;
    if (chain->stopping || chain->dead) {
        return error_set(error, ERROR_BUSY, "stopping", "the node is stopping");
    }
    if (chain->write_count > WAITING_WRITES_MAX || chain->write_bytes > waiting_bytes_max(chain)) {
        return error_set(error, ERROR_BUSY, "busy", "too many blocks wait to be written");
    }
    struct entry *entry = accept_header(chain, &block->header, now, &is_new, error);
    if (!entry) {
        return false;
    }
    if (entry->e.status & BLOCK_HAVE_DATA) {
        return error_set(error, ERROR_DUPLICATE, "duplicate", "already have block");
    }
    if (!force && (u256_compare(entry->e.work, chain->tip->e.work) < 0 ||
                   u256_compare(entry->e.work, chain->config.minimum_work) < 0 ||
                   entry->e.height > chain->tip->e.height + BLOCKS_AHEAD_MAX)) {
        return error_set(error, ERROR_DUPLICATE, "inconclusive",
                         "not requested, and with too little work or too far ahead");
    }
    if (!check_and_mark(chain, entry, block, error)) {
        return false;
    }
    store_block(chain, entry, block);
    result_expect(chain, entry, source);
    if (chain->events.checked && chain->events.checked(chain->events.context, &entry->e, block)) {
        chain->held_back = true;
    } else {
        chain_activate(chain);
    }
    return true;
}

bool chain_invalidate(struct chain *chain, const struct hash256 *hash, struct error *error)
{
    struct entry *entry = index_find(chain, hash);
    if (!entry || entry == chain->genesis) {
        return error_set(error, ERROR_MISSING, NULL, "Block not found");
    }
    if (chain->step != STEP_IDLE) {
        return error_set(error, ERROR_BUSY, NULL, "blocks are being connected: try again");
    }
    bool active = chain_contains(chain, &entry->e);
    index_mark_bad(chain, entry, BLOCK_INVALIDATED);
    if (active) {
        /* Its parent and every block with at least that work is a candidate again. */
        chain->tip = entry_of(entry->e.prev);
        struct entry *applied = chain->applied;
        chain->applied = chain->genesis;
        struct entry *other;
        for (size_t at = 0; (other = index_next(chain, &at));) {
            if (u256_compare(other->e.work, entry->e.prev->work) >= 0) {
                index_add_candidate(chain, other);
            }
        }
        chain->applied = applied;
        chain->moved = true;
    }
    chain_activate(chain);
    return true;
}

bool chain_reconsider(struct chain *chain, const struct hash256 *hash, struct error *error)
{
    struct entry *entry = index_find(chain, hash);
    if (!entry) {
        return error_set(error, ERROR_MISSING, NULL, "Block not found");
    }
    if (chain->step != STEP_IDLE) {
        return error_set(error, ERROR_BUSY, NULL, "blocks are being connected: try again");
    }
    index_forget_bad(chain, entry, BLOCK_BAD);
    chain_activate(chain);
    return true;
}

bool chain_prefer(struct chain *chain, const struct hash256 *hash, struct error *error)
{
    struct entry *entry = index_find(chain, hash);
    if (!entry) {
        return error_set(error, ERROR_MISSING, NULL, "Block not found");
    }
    if (chain->step != STEP_IDLE) {
        return error_set(error, ERROR_BUSY, NULL, "blocks are being connected: try again");
    }
    if (entry->e.status & BLOCK_HAVE_DATA) {
        index_prefer(chain, entry);
        chain_activate(chain);
    }
    return true;
}

/* ---- Small questions --------------------------------------------------------------------------------- */

bool chain_loading(const struct chain *chain)
{
    return chain->loading;
}

const struct chain_params *chain_parameters(const struct chain *chain)
{
    return chain->params;
}

struct u256 chain_minimum_work(const struct chain *chain)
{
    return chain->config.minimum_work;
}

const struct block_entry *chain_tip(const struct chain *chain)
{
    return &chain->tip->e;
}

void chain_expect_more(struct chain *chain, bool more)
{
    chain->expects_more = more;
    chain_commit_when_ready(chain);
}

void chain_flush(struct chain *chain)
{
    if (chain->commit || chain_dirty(chain)) {
        chain->flush_wanted = true;
        chain_commit_when_ready(chain);
    } else {
        chain->events.durable(chain->events.context, &chain->durable->e);
    }
}

bool chain_near_tip(const struct chain *chain)
{
    return !chain->loading && chain->best_header->e.height <= chain->tip->e.height + CHAIN_SMALL_LAG;
}

const struct block_entry *chain_best_header(const struct chain *chain)
{
    return &chain->best_header->e;
}

const struct block_entry *chain_at(const struct chain *chain, uint32_t height)
{
    return block_ancestor(&chain->tip->e, height);
}

bool chain_contains(const struct chain *chain, const struct block_entry *entry)
{
    return chain_at(chain, entry->height) == entry;
}

bool chain_busy(const struct chain *chain)
{
    return chain->step != STEP_IDLE || chain->held_back;
}

bool chain_waits(const struct chain *chain)
{
    return chain->held_back;
}

void chain_go_on(struct chain *chain, struct moment now)
{
    if (chain->held_back) {
        chain->now_us = now.mono_us;
        chain_activate(chain);
    }
}

void chain_metrics(const struct chain *chain, struct chain_metrics *out)
{
    *out = chain->metrics;
    out->headers = chain->entry_count;
    out->index_bytes = index_bytes(chain);
    out->coins_cache_bytes = coins_bytes(&chain->coins);
    out->coins_cached = chain->coins.count;
    out->recent_bytes = chain->recent_bytes;
    out->coins_read = chain->coins.read_count;
    out->coins_hit = chain->coins.hit_count;
}
