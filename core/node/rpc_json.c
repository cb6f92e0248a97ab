/* The JSON writer: text in the order it is written, amounts with exactly eight decimals. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/node/rpc_private.h"

/* The length of the UTF-8 sequence that begins here; 0: none does. */
static size_t sequence_len(const uint8_t *at, size_t left)
{
    uint8_t first = at[0], second = left > 1 ? at[1] : 0;
    size_t len = first < 0x80   ? 1
                 : first < 0xc2 ? 0
                 : first < 0xe0 ? 2
                 : first < 0xf0 ? 3
                 : first < 0xf5 ? 4
                                : 0;
    bool ok = len <= left;
    for (size_t i = 1; ok && i < len; i++) {
        ok = (at[i] & 0xc0) == 0x80;
    }
    bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90),
         surrogate = first == 0xed && second > 0x9f, beyond = first == 0xf4 && second > 0x8f;
    return ok && !overlong && !surrogate && !beyond ? len : 0;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* What is not UTF-8 (an error may repeat a text that it has cut) is shown as U+FFFD. */
static void quoted(struct buf *out, struct span text)
{
    buf_u8(out, '"');
    for (size_t i = 0, len; i < text.len; i += len) {
        uint8_t c = text.data[i];
        for (len = 0; i + len < text.len && is_plain(text.data[i + len]); len++) {
        }
        len = len ? len : sequence_len(text.data + i, text.len - i);
        if (c == '"' || c == '\\') {
            buf_u8(out, '\\');
            buf_u8(out, c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\u%04x", c);
        } else if (len) {
            buf_bytes(out, text.data + i, len);
        } else {
            buf_bytes(out, "\xef\xbf\xbd", 3);
            len = 1;
        }
    }
    buf_u8(out, '"');
}

/* A comma unless this is the first thing here, then the key. */
static void begin(struct buf *out, const char *key)
{
    uint8_t last = out->len ? out->data[out->len - 1] : 0;
    if (last && last != '{' && last != '[' && last != ':') {
        buf_u8(out, ',');
    }
    if (key) {
        quoted(out, span_of(key, strlen(key)));
        buf_u8(out, ':');
    }
}

void put_open(struct buf *out, const char *key, char bracket)
{
    begin(out, key);
    buf_u8(out, (uint8_t)bracket);
}

void put_close(struct buf *out, char bracket)
{
    buf_u8(out, bracket == '{' ? '}' : ']');
}

void put_span_text(struct buf *out, const char *key, struct span value)
{
    begin(out, key);
    quoted(out, value);
}

void put_text(struct buf *out, const char *key, const char *value)
{
    put_span_text(out, key, span_of(value, strlen(value)));
}

void put_int(struct buf *out, const char *key, int64_t value)
{
    begin(out, key);
    buf_printf(out, "%" PRId64, value);
}

void put_real(struct buf *out, const char *key, double value)
{
    begin(out, key);
    if (!isfinite(value)) {
        value = 0;
    }
    char text[40];
    snprintf(text, sizeof text, "%.16g", value);
    buf_printf(out, "%s", text);
}

void put_yes(struct buf *out, const char *key, bool value)
{
    begin(out, key);
    buf_printf(out, value ? "true" : "false");
}

void put_null(struct buf *out, const char *key)
{
    begin(out, key);
    buf_printf(out, "null");
}

void put_amount(struct buf *out, const char *key, int64_t sat)
{
    uint64_t magnitude = sat < 0 ? (uint64_t)-sat : (uint64_t)sat;
    begin(out, key);
    buf_printf(out, "%s%" PRIu64 ".%08" PRIu64, sat < 0 ? "-" : "", magnitude / (uint64_t)COIN_SAT,
               magnitude % (uint64_t)COIN_SAT);
}

void put_hash(struct buf *out, const char *key, const struct hash256 *hash)
{
    char text[HASH256_TEXT];
    put_text(out, key, hash256_text(text, hash));
}

void put_hex(struct buf *out, const char *key, struct span bytes)
{
    begin(out, key);
    buf_u8(out, '"');
    buf_reserve(out, bytes.len * 2 + 1);
    hex_encode((char *)out->data + out->len, bytes.data, bytes.len);
    out->len += bytes.len * 2;
    buf_u8(out, '"');
}

void put_raw(struct buf *out, const char *key, struct span json)
{
    begin(out, key);
    buf_bytes(out, json.data, json.len);
}
