/* Memory that never comes back NULL, the arena, and wiping of secrets. */
#include "core/base/base.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_CHUNK_BYTES 4096u
#define ARENA_CHUNK_MAX   (1u << 20)

static void *not_null(void *pointer, size_t size)
{
    if (!pointer) {
        fprintf(stderr, "quarry: out of memory (%zu bytes)\n", size);
        abort();
    }
    return pointer;
}

void *mem_alloc(size_t size)
{
    return not_null(calloc(1, size ? size : 1), size);
}

void *mem_realloc(void *pointer, size_t size)
{
    return not_null(realloc(pointer, size ? size : 1), size);
}

void *mem_dup(const void *data, size_t size)
{
    void *copy = not_null(malloc(size ? size : 1), size);
    if (size) {
        memcpy(copy, data, size);
    }
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text) + 1);
}

void mem_free(void *pointer)
{
    free(pointer);
}

void mem_wipe(void *data, size_t size)
{
    if (size) {
        explicit_bzero(data, size);
    }
}

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, capacity;
    _Alignas(16) uint8_t bytes[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    CHECK(size <= SIZE_MAX / 2);
    size = (MAX(size, 1u) + 15u) & ~(size_t)15u;
    struct arena_chunk *chunk = arena->head;
    if (!chunk || chunk->capacity - chunk->used < size) {
        /* Chunks double, so that many small objects cost few allocations; a large object gets its own size.
         */
        size_t capacity = chunk ? MIN(chunk->capacity * 2, (size_t)ARENA_CHUNK_MAX) : ARENA_CHUNK_BYTES;
        capacity = MAX(capacity, size);
        chunk = mem_alloc(sizeof *chunk + capacity);
        chunk->capacity = capacity;
        chunk->next = arena->head;
        arena->head = chunk;
        arena->used_bytes += sizeof *chunk + capacity;
    }
    void *result = chunk->bytes + chunk->used;
    chunk->used += size;
    return result;
}

void arena_free(struct arena *arena)
{
    while (arena->head) {
        struct arena_chunk *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
    arena->used_bytes = 0;
}

void arena_wipe(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->head; chunk; chunk = chunk->next) {
        mem_wipe(chunk->bytes, chunk->used);
    }
    arena_free(arena);
}
