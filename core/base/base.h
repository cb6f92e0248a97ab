/*
 * core/base: the few tools that every room uses, and nothing that knows Bitcoin.
 *
 * Bytes (cursor to read, buf to write, shared to hand around), hash256 and u256, memory (arena), one hash
 * table, one list, one random source, one error type, one logger. No sockets, files, threads or clock: time
 * and randomness are handed in by whoever runs the core (io/ in the real program, tests/sim in the
 * simulator).
 *
 * Argument order everywhere: object, outputs, inputs; a length stands right after its array.
 * Threads: nothing here is shared between threads except where a function says so.
 */
#ifndef QUARRY_CORE_BASE_H
#define QUARRY_CORE_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* CHECK is for invariants of our own and is always on; never for an I/O result or anything from outside. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define ARRAY_COUNT(a)                      (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                           ((a) < (b) ? (a) : (b))
#define MAX(a, b)                           ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define MUST_USE                            __attribute__((warn_unused_result))

/* ---- Errors: the one error type ---------------------------------------------------------------------- */

enum error_kind {
    ERROR_NONE = 0,
    ERROR_INVALID,   /* breaks a consensus rule: word is Bitcoin Core's reject reason */
    ERROR_MUTATED,   /* this copy of the block is bad, its hash may still be good (merkle, witness) */
    ERROR_POLICY,    /* valid perhaps, but we do not want it (mempool) */
    ERROR_MISSING,   /* something it refers to is not known (yet): parent block, spent output */
    ERROR_DUPLICATE, /* already have it */
    ERROR_FUTURE,    /* too early: may be valid later (time-too-new) */
    ERROR_PARSE,     /* malformed bytes or text */
    ERROR_LIMIT,     /* a bound was exceeded */
    ERROR_USAGE,     /* a setting or argument: the text names it, what was given and what is allowed */
    ERROR_LOCKED,    /* data directory in use, foreign, or of a newer format */
    ERROR_IO,        /* the operating system or the store said no */
    ERROR_BUSY,      /* try again later */
    ERROR_INTERNAL,
};

struct error {
    enum error_kind kind;
    char word[128]; /* stable machine word, e.g. "bad-txnmrklroot", "high-hash"; may be empty */
    char text[256]; /* one sentence for people; may be empty */
};

/* Fills *error (which may be NULL) and returns false, so that a failing function ends with
 * `return error_set(...)`. word may be NULL. Later calls overwrite: the caller nearest the user knows best.
 */
bool error_set(struct error *error, enum error_kind kind, const char *word, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void error_clear(struct error *error);

/* ---- Memory ------------------------------------------------------------------------------------------ */

/* Never return NULL: running out of memory for bounded, already admitted work aborts with a message. */
void *mem_alloc(size_t size); /* zeroed */
void *mem_realloc(void *pointer, size_t size);
void *mem_dup(const void *data, size_t size);
char *mem_strdup(const char *text);
void mem_free(void *pointer); /* NULL is fine */
/* Overwrites memory so that the compiler cannot drop it: for keys and other secrets. */
void mem_wipe(void *data, size_t size);

/* A bump allocator: everything of one block or one request, freed at once. */
struct arena {
    struct arena_chunk *head;
    size_t used_bytes; /* of all chunks, for accounting */
};
void *arena_alloc(struct arena *arena, size_t size); /* 16-byte aligned, zeroed; zero size gives non-NULL */
void arena_free(struct arena *arena);                /* frees all; the arena is empty and usable again */
void arena_wipe(struct arena *arena);                /* the same, of secrets */

/* ---- Bytes ------------------------------------------------------------------------------------------- */

struct span { /* borrowed bytes */
    const uint8_t *data;
    size_t len;
};

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){.data = data, .len = len};
}
static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Reads little-endian fields from borrowed bytes. Failure is sticky: after it every read gives zero, so a
 * whole structure is read first and `failed` is looked at once. Nothing is allocated. */
struct cursor {
    const uint8_t *at, *end;
    bool failed;
};
struct cursor cursor_of(const void *data, size_t len);
static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint16_t cursor_u16_be(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
int32_t cursor_i32(struct cursor *c);
int64_t cursor_i64(struct cursor *c);
/* Bitcoin's CompactSize. Refuses non-canonical encodings and values above max. */
uint64_t cursor_compact_size(struct cursor *c, uint64_t max);
/* A CompactSize count of things that take at least min_item_bytes each: refuses more than could follow. */
size_t cursor_count(struct cursor *c, size_t min_item_bytes);
struct span cursor_span(struct cursor *c, size_t len); /* borrows */
struct span cursor_var_span(struct cursor *c);         /* CompactSize length, then bytes */
void cursor_bytes(struct cursor *c, void *out, size_t len);
bool cursor_done(const struct cursor *c); /* nothing failed and nothing is left */

/* Growing output. Zero-initialise; buf_free at the end (or take data and free it with mem_free). */
struct buf {
    uint8_t *data;
    size_t len, capacity;
};
void buf_free(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory */
void buf_reserve(struct buf *b, size_t extra);
uint8_t *buf_extend(struct buf *b, size_t len); /* len new zeroed bytes; valid until the next call */
void buf_bytes(struct buf *b, const void *data, size_t len);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u16_be(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u32_be(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_i32(struct buf *b, int32_t v);
void buf_i64(struct buf *b, int64_t v);
void buf_compact_size(struct buf *b, uint64_t v);
void buf_var_span(struct buf *b, struct span s);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline struct span buf_span(const struct buf *b)
{
    return span_of(b->data, b->len);
}
size_t compact_size_len(uint64_t v);

/* Bytes that several hold and nobody changes: they are in memory once, and go with the last reference. Who is
 * handed one takes over a reference, if nothing else is said. The count is not atomic: the loop thread only.
 */
struct shared {
    struct span bytes;
    uint32_t references;
};
struct shared *shared_of(struct buf *bytes); /* takes over the bytes (the buf is left empty); one reference */
struct shared *shared_ref(struct shared *shared); /* one more; returns it */
void shared_unref(struct shared *shared);         /* NULL is fine */

static inline uint32_t load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v; /* little-endian hosts only: asserted in bytes.c */
}
static inline uint64_t load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}

/* Hex, lower case out, either case in. hex_decode wants exactly 2*len digits. out needs 2*len+1 chars. */
void hex_encode(char *out, const void *data, size_t len);
bool hex_decode(void *out, size_t len, const char *text) MUST_USE;
/* Any even number of digits, at most max_bytes, appended to out. */
bool hex_decode_buf(struct buf *out, const char *text, size_t max_bytes) MUST_USE;

/* ---- hash256 and u256 -------------------------------------------------------------------------------- */

struct hash256 { /* 32 bytes in wire order (shown reversed, as Bitcoin shows hashes) */
    uint8_t b[32];
};
static inline bool hash256_equal(const struct hash256 *a, const struct hash256 *b)
{
    return memcmp(a->b, b->b, 32) == 0;
}
bool hash256_is_zero(const struct hash256 *h);
#define HASH256_TEXT 65
/* Reversed hex into out[HASH256_TEXT]; returns out. */
const char *hash256_text(char out[HASH256_TEXT], const struct hash256 *h);
bool hash256_parse(struct hash256 *out, const char *reversed_hex) MUST_USE;

struct u256 { /* a number; limb 0 is least significant */
    uint64_t limb[4];
};
struct u256 u256_of(uint64_t v);
struct u256 u256_from_le(const uint8_t bytes[32]);
void u256_to_le(uint8_t out[32], struct u256 a);
int u256_compare(struct u256 a, struct u256 b); /* -1, 0, 1 */
bool u256_is_zero(struct u256 a);
unsigned u256_bits(struct u256 a);                  /* position of the highest set bit plus one; 0 for zero */
struct u256 u256_add(struct u256 a, struct u256 b); /* modulo 2^256 */
struct u256 u256_sub(struct u256 a, struct u256 b); /* modulo 2^256 */
struct u256 u256_not(struct u256 a);
struct u256 u256_shl(struct u256 a, unsigned bits);
struct u256 u256_shr(struct u256 a, unsigned bits);
struct u256 u256_mul_u64(struct u256 a, uint64_t b, uint64_t *overflow); /* overflow may be NULL */
struct u256 u256_div_u64(struct u256 a, uint64_t b);
struct u256 u256_div(struct u256 a, struct u256 b); /* b not zero */
/* a * b / c with a 320-bit intermediate; saturates at 2^256 - 1. */
struct u256 u256_mul_div(struct u256 a, uint64_t b, uint64_t c);
double u256_double(struct u256 a);

/* ---- Randomness (not for wallet keys: those come from OpenSSL) --------------------------------------- */

/* Seeded by the host: with the operating system's entropy, or the simulator's seed. A keyed function of a
 * counter: strangers see some of the numbers (nonces, delays), and must not learn from them which others
 * there were, such as the keys of the hash tables. */
struct rng {
    uint64_t key[2], counter[2];
};
void rng_seed(struct rng *r, const uint8_t seed[32]);
void rng_seed_u64(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* uniform in [0, bound); bound > 0 */
double rng_double(struct rng *r);                  /* uniform in [0, 1) */
uint64_t siphash_2_4(const uint64_t key[2], const void *data, size_t len);

/* ---- The hash table ---------------------------------------------------------------------------------- */

/* Open addressing over fixed-size keys, values stored inline; SipHash with a per-table key, so that nobody
 * outside can choose collisions. Pointers to values are good until the next map_put or map_remove. */
struct map {
    uint8_t *slots;
    size_t capacity, count; /* capacity is a power of two or 0 */
    uint32_t key_bytes, value_bytes, slot_bytes;
    uint64_t sip_key[2];
};
void map_init(struct map *m, size_t key_bytes, size_t value_bytes, struct rng *rng);
void map_free(struct map *m);
void map_clear(struct map *m);
void *map_get(const struct map *m, const void *key);           /* NULL when absent */
void *map_put(struct map *m, const void *key, bool *inserted); /* new values are zeroed; flag may be NULL */
bool map_remove(struct map *m, const void *key);               /* false when absent */
/* Iterates in slot order: start with *position = 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *m, size_t *position, const void **key, void **value);
size_t map_bytes(const struct map *m); /* memory held */

/* ---- The list: intrusive, circular, doubly linked ---------------------------------------------------- */

struct list {
    struct list *next, *prev;
};
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_append(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void list_remove(struct list *item) /* harmless on an item that is alone */
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}
#define LIST_EACH(at, head) for (struct list *at = (head)->next; at != (head); at = at->next)
#define LIST_EACH_SAFE(at, following, head)                                                                  \
    for (struct list *at = (head)->next, *following = at->next; at != (head);                                \
         at = following, following = at->next)

/* ---- Time as the core sees it ------------------------------------------------------------------------ */

struct moment {
    int64_t mono_us; /* monotonic: for time-outs and measurements */
    int64_t unix_us; /* wall clock: for block times; setmocktime replaces it */
};
static inline int64_t moment_unix_s(struct moment m)
{
    return m.unix_us / 1000000;
}

/* ---- The logger -------------------------------------------------------------------------------------- */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
enum log_category {
    LOG_NODE,
    LOG_CHAIN,
    LOG_NET,
    LOG_MEMPOOL,
    LOG_MINING,
    LOG_RPC,
    LOG_STORE,
    LOG_POOL,
    LOG_WALLET,
    LOG_CATEGORY_COUNT
};

/* The sink belongs to the host: it adds time, program and format, and must be callable from any thread.
 * Without one, nothing is written. Level and sink are process-wide; set them before threads start
 * (the level may be changed later: it is read atomically). */
typedef void log_sink(void *context, enum log_level level, enum log_category category, const char *text);
void log_set_sink(log_sink *sink, void *context);
void log_set_level(enum log_category category, enum log_level level); /* LOG_CATEGORY_COUNT: all */
bool log_enabled(enum log_level level, enum log_category category);
const char *log_level_name(enum log_level level);
bool log_level_parse(enum log_level *out, const char *text) MUST_USE;
const char *log_category_name(enum log_category category);
void log_write(enum log_level level, enum log_category category, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(category, ...) log_write(LOG_ERROR, category, __VA_ARGS__)
#define log_warn(category, ...)  log_write(LOG_WARN, category, __VA_ARGS__)
#define log_info(category, ...)  log_write(LOG_INFO, category, __VA_ARGS__)
#define log_debug(category, ...)                                                                             \
    do {                                                                                                     \
        if (log_enabled(LOG_DEBUG, category)) {                                                              \
            log_write(LOG_DEBUG, category, __VA_ARGS__);                                                     \
        }                                                                                                    \
    } while (0)

#endif
