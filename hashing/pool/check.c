/* The check workers: ordinary threads, asleep until there is a batch, many on one batch at a time. */
#include <stdlib.h>

#include "hashing/pool/pool_private.h"

struct batch {
    struct list link; /* in batches while indexes are left to hand out, in done when all is over */
    bool (*check)(void *batch, size_t index);
    void *context, *cookie;
    size_t count;
    atomic_size_t next, failed_index;
    unsigned users; /* workers inside; under the lock */
};

/* Takes indexes until none is left that matters. Indexes are handed out in order and everything below a
 * failure is still checked, so that the lowest failure is the one reported. */
static void run_batch(struct batch *batch)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&batch->next, 1, memory_order_relaxed);
        if (index >= batch->count ||
            index > atomic_load_explicit(&batch->failed_index, memory_order_relaxed)) {
            return;
        }
        if (!batch->check(batch->context, index)) {
            size_t lowest = atomic_load(&batch->failed_index);
            while (index < lowest && !atomic_compare_exchange_weak(&batch->failed_index, &lowest, index)) {
            }
            return;
        }
    }
}

void *check_main(void *context)
{
    struct pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    while (!atomic_load(&pool->stopping)) {
        if (list_empty(&pool->batches)) {
            pthread_cond_wait(&pool->batch_cond, &pool->lock);
            continue;
        }
        struct batch *batch = CONTAINER_OF(pool->batches.next, struct batch, link);
        batch->users++;
        pthread_mutex_unlock(&pool->lock);
        run_batch(batch);
        pthread_mutex_lock(&pool->lock);
        list_remove(&batch->link); /* nothing is left to hand out; the last one in ends it */
        if (--batch->users == 0) {
            list_append(&pool->done, &batch->link);
            pool_signal(pool);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void pool_check(struct pool *pool, bool (*check)(void *batch, size_t index), void *context, size_t count,
                void *cookie)
{
    struct batch *batch = mem_alloc(sizeof *batch);
    batch->check = check;
    batch->context = context;
    batch->cookie = cookie;
    batch->count = count;
    atomic_init(&batch->next, 0);
    atomic_init(&batch->failed_index, SIZE_MAX);
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->batches, &batch->link);
    if (count > 1) {
        pthread_cond_broadcast(&pool->batch_cond);
    } else {
        pthread_cond_signal(&pool->batch_cond);
    }
    pthread_mutex_unlock(&pool->lock);
}

bool check_next_result(struct pool *pool, struct pool_result *out)
{
    struct batch *batch = NULL;
    pthread_mutex_lock(&pool->lock);
    if (!list_empty(&pool->done)) {
        batch = CONTAINER_OF(pool->done.next, struct batch, link);
        list_remove(&batch->link);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!batch) {
        return false;
    }
    *out = (struct pool_result){
        .kind = POOL_CHECKED, .cookie = batch->cookie, .failed_index = atomic_load(&batch->failed_index)};
    mem_free(batch);
    return true;
}

void check_free(struct pool *pool)
{
    struct list *lists[] = {&pool->batches, &pool->done};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        LIST_EACH_SAFE(at, following, lists[i])
        {
            mem_free(CONTAINER_OF(at, struct batch, link));
        }
    }
}
