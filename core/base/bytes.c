/* The cursor that reads outside bytes, the buf that writes ours, bytes that are shared, and hex. */
#include "core/base/base.h"

#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the loads and stores here assume little-endian");

struct cursor cursor_of(const void *data, size_t len)
{
    static const uint8_t nothing[1];
    const uint8_t *at = data ? data : nothing;
    return (struct cursor){.at = at, .end = at + (data ? len : 0)};
}

/* The next len bytes, or NULL with the failure noted. */
static const uint8_t *take(struct cursor *c, size_t len)
{
    if (c->failed || cursor_left(c) < len) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *at = c->at;
    c->at += len;
    return at;
}

uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = take(c, 1);
    return p ? *p : 0;
}

uint16_t cursor_u16(struct cursor *c)
{
    const uint8_t *p = take(c, 2);
    return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint16_t cursor_u16_be(struct cursor *c)
{
    const uint8_t *p = take(c, 2);
    return p ? (uint16_t)(p[1] | p[0] << 8) : 0;
}

uint32_t cursor_u32(struct cursor *c)
{
    const uint8_t *p = take(c, 4);
    return p ? load_le32(p) : 0;
}

uint64_t cursor_u64(struct cursor *c)
{
    const uint8_t *p = take(c, 8);
    return p ? load_le64(p) : 0;
}

int32_t cursor_i32(struct cursor *c)
{
    return (int32_t)cursor_u32(c);
}

int64_t cursor_i64(struct cursor *c)
{
    return (int64_t)cursor_u64(c);
}

uint64_t cursor_compact_size(struct cursor *c, uint64_t max)
{
    uint8_t first = cursor_u8(c);
    uint64_t v = first, least = 0;
    if (first == 0xfd) {
        v = cursor_u16(c);
        least = 0xfd;
    } else if (first == 0xfe) {
        v = cursor_u32(c);
        least = 0x10000;
    } else if (first == 0xff) {
        v = cursor_u64(c);
        least = UINT64_C(0x100000000);
    }
    if (v < least || v > max) {
        c->failed = true;
    }
    return c->failed ? 0 : v;
}

size_t cursor_count(struct cursor *c, size_t min_item_bytes)
{
    uint64_t count = cursor_compact_size(c, UINT32_MAX);
    if (count > cursor_left(c) / MAX(min_item_bytes, 1u)) {
        c->failed = true;
        return 0;
    }
    return (size_t)count;
}

struct span cursor_span(struct cursor *c, size_t len)
{
    const uint8_t *p = take(c, len);
    return span_of(p, p ? len : 0);
}

struct span cursor_var_span(struct cursor *c)
{
    return cursor_span(c, cursor_count(c, 1));
}

void cursor_bytes(struct cursor *c, void *out, size_t len)
{
    const uint8_t *p = take(c, len);
    if (p) {
        memcpy(out, p, len);
    } else {
        memset(out, 0, len);
    }
}

bool cursor_done(const struct cursor *c)
{
    return !c->failed && c->at == c->end;
}

void buf_free(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

void buf_reserve(struct buf *b, size_t extra)
{
    CHECK(extra <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
    if (b->capacity - b->len < extra) {
        b->capacity = MAX(b->capacity + b->capacity / 2, MAX(b->len + extra, 32u));
        b->data = mem_realloc(b->data, b->capacity);
    }
}

uint8_t *buf_extend(struct buf *b, size_t len)
{
    if (!b->data && !len) {
        return NULL; /* nothing of nothing has no address */
    }
    buf_reserve(b, len);
    CHECK(b->data);
    uint8_t *at = b->data + b->len;
    memset(at, 0, len);
    b->len += len;
    return at;
}

void buf_bytes(struct buf *b, const void *data, size_t len)
{
    buf_reserve(b, len);
    if (len) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_bytes(b, &v, 1);
}

void buf_u16(struct buf *b, uint16_t v)
{
    buf_bytes(b, &v, 2);
}

void buf_u16_be(struct buf *b, uint16_t v)
{
    buf_u16(b, __builtin_bswap16(v));
}

void buf_u32(struct buf *b, uint32_t v)
{
    buf_bytes(b, &v, 4);
}

void buf_u32_be(struct buf *b, uint32_t v)
{
    buf_u32(b, __builtin_bswap32(v));
}

void buf_u64(struct buf *b, uint64_t v)
{
    buf_bytes(b, &v, 8);
}

void buf_i32(struct buf *b, int32_t v)
{
    buf_bytes(b, &v, 4);
}

void buf_i64(struct buf *b, int64_t v)
{
    buf_bytes(b, &v, 8);
}

void buf_compact_size(struct buf *b, uint64_t v)
{
    if (v < 0xfd) {
        buf_u8(b, (uint8_t)v);
    } else if (v <= 0xffff) {
        buf_u8(b, 0xfd);
        buf_u16(b, (uint16_t)v);
    } else if (v <= 0xffffffff) {
        buf_u8(b, 0xfe);
        buf_u32(b, (uint32_t)v);
    } else {
        buf_u8(b, 0xff);
        buf_u64(b, v);
    }
}

void buf_var_span(struct buf *b, struct span s)
{
    buf_compact_size(b, s.len);
    buf_bytes(b, s.data, s.len);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(len >= 0);
    buf_reserve(b, (size_t)len + 1);
    vsnprintf((char *)b->data + b->len, (size_t)len + 1, format, again);
    va_end(again);
    b->len += (size_t)len;
}

size_t compact_size_len(uint64_t v)
{
    return v < 0xfd ? 1 : v <= 0xffff ? 3 : v <= 0xffffffff ? 5 : 9;
}

struct shared *shared_of(struct buf *bytes)
{
    struct shared *shared = mem_alloc(sizeof *shared);
    *shared = (struct shared){buf_span(bytes), 1};
    *bytes = (struct buf){0};
    return shared;
}

struct shared *shared_ref(struct shared *shared)
{
    CHECK(++shared->references);
    return shared;
}

void shared_unref(struct shared *shared)
{
    if (shared && !--shared->references) {
        mem_free((void *)shared->bytes.data); /* ours alone now */
        mem_free(shared);
    }
}

void hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool hex_decode(void *out, size_t len, const char *text)
{
    uint8_t *p = out;
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        p[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * len] == 0;
}

bool hex_decode_buf(struct buf *out, const char *text, size_t max_bytes)
{
    size_t digits = strlen(text);
    if (digits % 2 || digits / 2 > max_bytes) {
        return false;
    }
    size_t before = out->len;
    if (!hex_decode(buf_extend(out, digits / 2), digits / 2, text)) {
        out->len = before;
        return false;
    }
    return true;
}
