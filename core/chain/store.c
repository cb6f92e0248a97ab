/* The chain's side of storage: jobs that are out, writes of block and undo bytes, blocks kept in memory. */
#include "core/chain/chain_private.h"

void chain_submit(struct chain *chain, struct job *job)
{
    chain->jobs_out++;
    chain->events.submit(chain->events.context, job);
}

void chain_die(struct chain *chain, const struct error *error)
{
    if (!chain->dead) {
        chain->dead = true;
        chain->events.fatal(chain->events.context, error);
    }
}

bool chain_finished(struct chain *chain, struct job *job)
{
    CHECK(chain->jobs_out > 0);
    chain->jobs_out--;
    if (job->failed) {
        chain_die(chain, &job->error);
    }
    return !chain->dead;
}

/* ---- Blocks in memory -------------------------------------------------------------------------------- */

struct recent *recent_find(struct chain *chain, const struct hash256 *hash)
{
    struct recent **found = map_get(&chain->recent, hash);
    if (!found) {
        return NULL;
    }
    list_remove(&(*found)->lru);
    list_append(&chain->recent_lru, &(*found)->lru);
    return *found;
}

static size_t block_memory(const struct block *block)
{
    return sizeof *block + block->raw.len + block->arena.used_bytes;
}

static void recent_drop(struct chain *chain, struct recent *recent)
{
    list_remove(&recent->lru);
    map_remove(&chain->recent, &recent->block->hash);
    chain->recent_bytes -= block_memory(recent->block) + recent->undo.len;
    block_unref(recent->block);
    buf_free(&recent->undo);
    mem_free(recent);
}

static void recent_trim(struct chain *chain)
{
    LIST_EACH_SAFE(at, following, &chain->recent_lru)
    {
        struct recent *recent = CONTAINER_OF(at, struct recent, lru);
        if (chain->recent_bytes <= chain->config.recent_blocks_bytes) {
            return;
        }
        if (!recent->pins) {
            recent_drop(chain, recent);
        }
    }
}

void recent_put(struct chain *chain, struct block *block)
{
    if (map_get(&chain->recent, &block->hash)) {
        return;
    }
    struct recent *recent = mem_alloc(sizeof *recent);
    recent->block = block_ref(block);
    list_append(&chain->recent_lru, &recent->lru);
    *(struct recent **)map_put(&chain->recent, &block->hash, NULL) = recent;
    chain->recent_bytes += block_memory(block);
    recent->pins++; /* the newest stays, however small the bound: its write is about to begin */
    recent_trim(chain);
    recent->pins--;
}

void recent_free_all(struct chain *chain)
{
    LIST_EACH_SAFE(at, following, &chain->recent_lru)
    {
        recent_drop(chain, CONTAINER_OF(at, struct recent, lru));
    }
    map_free(&chain->recent);
}

struct block *chain_recent_block(struct chain *chain, const struct hash256 *hash)
{
    struct recent *recent = recent_find(chain, hash);
    return recent ? recent->block : NULL;
}

/* ---- Writes ------------------------------------------------------------------------------------------ */

static void write_done(void *context, struct job *job)
{
    struct pending_write *write = context;
    struct chain *chain = write->chain;
    struct recent **recent = map_get(&chain->recent, &write->hash);
    if (recent) {
        (*recent)->pins--;
    }
    list_remove(&write->link);
    chain->write_count--;
    chain->write_bytes -= job->io.len;
    mem_free(write);
    if (chain_finished(chain, job)) {
        recent_trim(chain);
        chain_commit_when_ready(chain);
    }
    job_free(job);
}

void chain_read(struct chain *chain, enum file_kind file, uint32_t number, uint64_t offset, uint32_t len,
                void (*done)(void *context, struct job *job), void *context)
{
    struct job *job = job_new(JOB_READ, done, context);
    job->io.file = file;
    job->io.number = number;
    job->io.offset = offset;
    job->io.len = len;
    chain_submit(chain, job);
}

void chain_write(struct chain *chain, enum file_kind file, uint32_t number, uint64_t offset,
                 struct buf *bytes, const struct hash256 *hash)
{
    struct pending_write *write = mem_alloc(sizeof *write);
    write->chain = chain;
    write->hash = *hash;
    write->number = chain->next_write++;
    list_append(&chain->writes, &write->link);
    chain->write_count++;
    chain->write_bytes += bytes->len;
    struct recent **recent = map_get(&chain->recent, hash);
    if (recent) {
        (*recent)->pins++;
    }
    struct job *job = job_new(JOB_WRITE, write_done, write);
    job->io.file = file;
    job->io.number = number;
    job->io.offset = offset;
    job->io.data = bytes->data;
    job->io.len = bytes->len;
    *bytes = (struct buf){0};
    chain_submit(chain, job);
}

uint64_t *undo_end(struct chain *chain, uint32_t file)
{
    if (file >= chain->undo_files) {
        chain->undo_file_end = mem_realloc(chain->undo_file_end, (file + 1) * sizeof(uint64_t));
        for (; chain->undo_files <= file; chain->undo_files++) {
            chain->undo_file_end[chain->undo_files] = 0;
        }
    }
    return &chain->undo_file_end[file];
}

/* ---- Results ----------------------------------------------------------------------------------------- */

struct result { /* somebody who is to be told a block's fate */
    struct list link;
    struct entry *entry;
    uint64_t source;
    bool told; /* that it is stored; kept until it is connected, for whom to blame then */
};

void result_expect(struct chain *chain, struct entry *entry, uint64_t source)
{
    struct result *result = mem_alloc(sizeof *result);
    result->entry = entry;
    result->source = source;
    entry->e.awaits_result = true;
    list_append(&chain->results, &result->link);
}

static void result_end(struct chain *chain, struct result *result, bool connected, const struct error *error)
{
    const struct chain_events *events = &chain->events;
    const struct result was = *result;
    was.entry->e.awaits_result = false;
    list_remove(&result->link);
    mem_free(result);
    if (!was.told) {
        events->block_result(events->context, &was.entry->e.hash, was.source, connected, error);
    } else if (error && events->refused_late) {
        events->refused_late(events->context, &was.entry->e.hash, was.source, error);
    }
}

void result_tell(struct chain *chain, struct entry *entry, bool connected, const struct error *error)
{
    if (!entry->e.awaits_result) {
        return;
    }
    LIST_EACH_SAFE(at, following, &chain->results) /* blocks are connected about as they came */
    {
        struct result *result = CONTAINER_OF(at, struct result, link);
        if (result->entry == entry) {
            result_end(chain, result, connected, error);
            return;
        }
    }
}

/* Of those that were told, nobody is held to account for what builds on a bad block: it was not known then.
 */
void results_settle(struct chain *chain)
{
    LIST_EACH_SAFE(at, following, &chain->results)
    {
        struct result *result = CONTAINER_OF(at, struct result, link);
        const struct block_entry *e = &result->entry->e;
        struct error error = {0};
        bool bad = e->status & BLOCK_BAD, connected = !bad && chain_contains(chain, e);
        if (bad && !result->told) {
            error_set(&error, ERROR_INVALID, "bad-prevblk", "a block that it builds on is not valid");
        }
        if (bad || connected) {
            result_end(chain, result, connected, error.kind ? &error : NULL);
        } else if (!result->told) {
            result->told = true;
            chain->events.block_result(chain->events.context, &e->hash, result->source, false, NULL);
        }
    }
}

void results_free(struct chain *chain)
{
    LIST_EACH_SAFE(at, following, &chain->results)
    {
        mem_free(CONTAINER_OF(at, struct result, link));
    }
}
