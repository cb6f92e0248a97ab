/*
 * From memory to disk: what blocks have changed becomes one atomic batch, and the batch goes out when the
 * bytes that it refers to are written. When one is made: at rest; while many blocks come, by size and by
 * time.
 */
#include "core/chain/chain_private.h"

#define GATHER_US 5000000 /* while many blocks come: the time after which a rest makes a batch */

size_t chain_changes(const struct chain *chain)
{
    return chain->coins.dirty_bytes + chain->tx_rows.bytes.len;
}

bool chain_dirty(const struct chain *chain)
{
    return chain->coins.dirty.len || chain->dirty_entries.len || chain->durable != chain->applied ||
           chain->loose;
}

static void put_entries(struct chain *chain, struct kv_batch *batch)
{
    struct buf value = {0};
    for (size_t at = 0; at < chain->dirty_entries.len; at += sizeof(struct entry *)) {
        struct entry *entry;
        memcpy(&entry, chain->dirty_entries.data + at, sizeof entry);
        if (entry->e.prev && !entry->e.prev->stored) {
            index_dirty(chain, entry_of(entry->e.prev)); /* no row without its parent's: a header alone too */
        }
        entry->e.stored = true;
        uint8_t key[33] = {'b'};
        memcpy(key + 1, entry->e.hash.b, 32);
        buf_clear(&value);
        entry_encode(&value, &entry->e);
        kv_put(batch, CF_INDEX, span_of(key, sizeof key), buf_span(&value));
        entry->e.dirty = false;
    }
    buf_free(&value);
    buf_clear(&chain->dirty_entries);
}

/* Height to hash, for readers of the store: what changed between the last batch's tip and this one. */
static void put_heights(struct chain *chain, struct kv_batch *batch)
{
    const struct block_entry *fork = block_fork(&chain->durable->e, &chain->applied->e);
    uint8_t key[5] = {'h'};
    for (uint32_t height = chain->durable->e.height; height > chain->applied->e.height; height--) {
        store_le32(key + 1, __builtin_bswap32(height));
        kv_delete(batch, CF_INDEX, span_of(key, sizeof key));
    }
    for (const struct block_entry *e = &chain->applied->e; e != fork; e = e->prev) {
        store_le32(key + 1, __builtin_bswap32(e->height));
        kv_put(batch, CF_INDEX, span_of(key, sizeof key), span_of(e->hash.b, 32));
    }
}

static void committed(void *context, struct job *job)
{
    struct chain *chain = context;
    chain->commit = NULL;
    chain->commit_out = false;
    bool synced = job->commit.sync;
    bool alive = chain_finished(chain, job);
    job_free(job);
    if (!alive) {
        return;
    }
    coins_committed(&chain->coins);
    chain->durable = chain->commit_tip;
    chain->metrics.batches++;
    chain->loose = !synced;
    if (synced) {
        chain->events.durable(chain->events.context, &chain->durable->e);
    }
    query_after_commit(chain);
    chain_commit_when_ready(chain);
    chain_activate(chain);
}

static struct job *build_commit(struct chain *chain, bool sync)
{
    struct job *job = job_new(JOB_COMMIT, committed, chain);
    struct kv_batch *batch = &job->commit.batch;
    coins_flush(&chain->coins, batch);
    put_entries(chain, batch);
    put_heights(chain, batch);
    buf_bytes(&batch->bytes, chain->tx_rows.bytes.data, chain->tx_rows.bytes.len);
    batch->count += chain->tx_rows.count;
    buf_free(&chain->tx_rows.bytes);
    chain->tx_rows.count = 0;
    if (chain->addr_complete) {
        kv_put(batch, CF_META, span_of("addr", 4), span_of("1", 1));
    } else {
        kv_delete(batch, CF_META, span_of("addr", 4));
    }
    kv_put(batch, CF_META, span_of("best", 4), span_of(chain->applied->e.hash.b, 32));
    job->commit.sync = sync;
    chain->metrics.batch_bytes += batch->bytes.len;
    return job;
}

/* Many blocks come one after another: catching up with them now and then is no rest, and a synced batch after
 * every few would cost more than the blocks. What a crash takes meanwhile is rolled forward from the files.
 */
static bool gathers(const struct chain *chain)
{
    bool many = chain->expects_more || chain->best_header->e.height > chain->tip->e.height + CHAIN_SMALL_LAG;
    bool waited_for = chain->flush_wanted || !list_empty(&chain->scans);
    return many && !waited_for && chain->now_us - chain->batch_us < GATHER_US;
}

void chain_commit_when_ready(struct chain *chain)
{
    if (chain->dead || !chain->started) {
        return;
    }
    if (!chain->commit) {
        bool resting = chain->step == STEP_IDLE && (chain->applied == chain->tip) &&
                       (chain->stopping || index_best_candidate(chain) == chain->applied);
        bool full = chain_changes(chain) >= chain->flush_bytes;
        bool due = full || chain->stopping || (resting && !gathers(chain));
        if (!chain_dirty(chain) || !due || (chain->stopping && chain->step != STEP_IDLE)) {
            return;
        }
        chain->commit = build_commit(chain, resting || chain->stopping);
        chain->commit_tip = chain->applied;
        chain->batch_us = chain->now_us;
        chain->flush_wanted &= !resting;
        chain->commit_needs_write = chain->next_write;
    }
    struct pending_write *oldest = CONTAINER_OF(chain->writes.next, struct pending_write, link);
    bool written = list_empty(&chain->writes) || oldest->number >= chain->commit_needs_write;
    if (written && !chain->commit_out) {
        chain->commit_out = true;
        chain_submit(chain, chain->commit);
    }
}
