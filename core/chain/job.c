/* Jobs and batches: what leaves the core for storage, as data. */
#include "core/chain/chain.h"

const char *const column_family_names[CF_COUNT] = {"coins", "index", "addr", "tx", "meta"};

static void kv_change(struct kv_batch *batch, enum column_family cf, enum kv_operation op, struct span key)
{
    CHECK(key.len <= UINT8_MAX);
    const uint8_t head[KV_KEY_AT] = {(uint8_t)cf, (uint8_t)op, (uint8_t)key.len};
    buf_bytes(&batch->bytes, head, sizeof head);
    buf_bytes(&batch->bytes, key.data, key.len);
    batch->count++;
}

void kv_put(struct kv_batch *batch, enum column_family cf, struct span key, struct span value)
{
    kv_change(batch, cf, KV_PUT, key);
    buf_var_span(&batch->bytes, value);
}

void kv_delete(struct kv_batch *batch, enum column_family cf, struct span key)
{
    kv_change(batch, cf, KV_DELETE, key);
}

bool kv_next(struct cursor *c, enum column_family *cf, enum kv_operation *op, struct span *key,
             struct span *value)
{
    if (!cursor_left(c)) {
        return false;
    }
    *cf = (enum column_family)cursor_u8(c);
    *op = (enum kv_operation)cursor_u8(c);
    *key = cursor_span(c, cursor_u8(c));
    *value = *op == KV_PUT ? cursor_var_span(c) : span_of(NULL, 0);
    CHECK(!c->failed); /* we wrote it ourselves */
    return true;
}

struct job *job_new(enum job_kind kind, void (*done)(void *context, struct job *job), void *context)
{
    struct job *job = mem_alloc(sizeof *job);
    job->kind = kind;
    job->done = done;
    job->context = context;
    list_init(&job->link);
    return job;
}

void job_free(struct job *job)
{
    switch (job->kind) {
    case JOB_READ_COINS:
        for (size_t i = 0; i < job->coins.count; i++) {
            mem_free((void *)(uintptr_t)job->coins.values[i].data);
        }
        mem_free(job->coins.outpoints);
        mem_free(job->coins.values);
        break;
    case JOB_READ_KEY:
        buf_free(&job->key.key);
        buf_free(&job->key.value);
        break;
    case JOB_READ:
    case JOB_WRITE: mem_free(job->io.data); break;
    case JOB_COMMIT: buf_free(&job->commit.batch.bytes); break;
    case JOB_IMPORT_READ: mem_free(job->import.data); break;
    case JOB_SAVE: buf_free(&job->save.bytes); break;
    case JOB_CHECK_SCRIPTS:
    case JOB_SCAN: break;
    }
    mem_free(job);
}

void job_finish(struct job *job)
{
    job->done(job->context, job);
}
