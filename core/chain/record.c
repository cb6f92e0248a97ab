/* How coins, undo data and index entries look as bytes, and the record of a block file. */
#include "core/chain/chain_private.h"

#include <inttypes.h>

#include "hashing/kernels/kernels.h"

void coin_key(uint8_t out[COIN_KEY_BYTES], const struct outpoint *outpoint)
{
    memcpy(out, outpoint->txid.b, 32);
    store_le32(out + 32, __builtin_bswap32(outpoint->index));
}

static void put_coin(struct buf *out, const struct coin *coin, bool with_len)
{
    buf_compact_size(out, (uint64_t)coin->height << 1 | coin->coinbase);
    buf_compact_size(out, (uint64_t)coin->value.sat);
    if (with_len) {
        buf_compact_size(out, coin->script.len);
    }
    buf_bytes(out, coin->script.data, coin->script.len);
}

static bool get_coin(struct coin *out, struct cursor *c, bool with_len)
{
    uint64_t code = cursor_compact_size(c, (UINT64_C(1) << 33) - 1); /* a height of 32 bits */
    out->height = (uint32_t)(code >> 1);
    out->coinbase = code & 1;
    out->value.sat = (int64_t)cursor_compact_size(c, MAX_MONEY);
    out->script = with_len ? cursor_var_span(c) : cursor_span(c, cursor_left(c));
    return !c->failed;
}

void coin_encode(struct buf *out, const struct coin *coin)
{
    put_coin(out, coin, false);
}

bool coin_decode(struct coin *out, struct span bytes)
{
    struct cursor c = cursor_of(bytes.data, bytes.len);
    return get_coin(out, &c, false);
}

static void undo_checksum(uint8_t out[32], struct span body, const struct hash256 *block_hash)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, block_hash->b, 32);
    sha256_update(&ctx, body.data, body.len);
    sha256_final(&ctx, out);
}

bool block_is_one_of(const struct block_entry *e, const struct named_block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct hash256 hash;
        if (e->height == blocks[i].height && hash256_parse(&hash, blocks[i].hash) &&
            hash256_equal(&e->hash, &hash)) {
            return true;
        }
    }
    return false;
}

size_t block_spent_count(const struct block *block)
{
    size_t count = 0;
    for (uint32_t t = 1; t < block->tx_count; t++) {
        count += block->txs[t].input_count;
    }
    return count;
}

void undo_encode(struct buf *out, const struct coin *spent, size_t count, const struct hash256 *block_hash)
{
    size_t start = out->len;
    buf_compact_size(out, count);
    for (size_t i = 0; i < count; i++) {
        put_coin(out, &spent[i], true);
    }
    uint8_t sum[32];
    undo_checksum(sum, span_of(out->data + start, out->len - start), block_hash);
    buf_bytes(out, sum, 32);
}

bool undo_decode(struct coin *out, size_t count, struct span bytes, const struct hash256 *block_hash)
{
    uint8_t sum[32];
    if (bytes.len < 33) {
        return false;
    }
    struct span body = span_of(bytes.data, bytes.len - 32);
    undo_checksum(sum, body, block_hash);
    struct cursor c = cursor_of(body.data, body.len);
    if (memcmp(sum, bytes.data + body.len, 32) != 0 || cursor_count(&c, 3) != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!get_coin(&out[i], &c, true)) {
            return false;
        }
    }
    return cursor_done(&c);
}

/* What is kept of the status: a block that this run could not judge may be judged by the next. */
#define STATUS_STORED                                                                                        \
    (BLOCK_HAVE_DATA | BLOCK_HAVE_UNDO | BLOCK_VALID | BLOCK_FAILED | BLOCK_FAILED_PARENT | BLOCK_INVALIDATED)

void entry_encode(struct buf *out, const struct block_entry *e)
{
    buf_u32(out, e->height);
    block_entry_encode(buf_extend(out, HEADER_BYTES), e);
    buf_u32(out, e->status & STATUS_STORED);
    buf_u32(out, e->tx_count);
    buf_u32(out, e->file);
    buf_u64(out, e->data_offset);
    buf_u32(out, e->data_len);
    buf_u64(out, e->undo_offset);
    buf_u32(out, e->undo_len);
    buf_u64(out, e->sequence);
}

bool entry_decode(struct block_entry *out, struct hash256 *prev_hash, struct span value)
{
    struct cursor c = cursor_of(value.data, value.len);
    struct block_header header;
    out->height = cursor_u32(&c);
    header_read(&header, &c);
    uint32_t status = cursor_u32(&c);
    out->tx_count = cursor_u32(&c);
    uint32_t file = cursor_u32(&c);
    uint64_t data_offset = cursor_u64(&c);
    out->data_len = cursor_u32(&c);
    out->undo_offset = cursor_u64(&c);
    out->undo_len = cursor_u32(&c);
    uint64_t sequence = cursor_u64(&c);
    if (!cursor_done(&c) || status > STATUS_STORED || file > UINT16_MAX || data_offset > UINT32_MAX ||
        sequence > UINT32_MAX) {
        return false;
    }
    entry_set_header(out, &header);
    out->status = (uint8_t)status;
    out->file = (uint16_t)file;
    out->data_offset = (uint32_t)data_offset;
    out->sequence = (uint32_t)sequence;
    *prev_hash = header.prev_hash;
    return true;
}

static bool only_zeros(const struct cursor *c)
{
    for (const uint8_t *p = c->at; p < c->end; p++) {
        if (*p) {
            return false;
        }
    }
    return true;
}

int blockfile_next(struct cursor *c, struct span *block_bytes, const uint8_t magic[4], struct error *error)
{
    if (cursor_left(c) == 0 || (cursor_left(c) >= 4 && load_le32(c->at) == 0 && only_zeros(c))) {
        return 0;
    }
    if (cursor_left(c) < 8) {
        return -2;
    }
    if (memcmp(c->at, magic, 4) != 0) {
        error_set(error, ERROR_PARSE, "bad-magic",
                  "no block record here: magic %02x%02x%02x%02x instead of %02x%02x%02x%02x", c->at[0],
                  c->at[1], c->at[2], c->at[3], magic[0], magic[1], magic[2], magic[3]);
        return -1;
    }
    uint32_t len = load_le32(c->at + 4);
    if (len < HEADER_BYTES + 1 || len > BLOCK_SERIALIZED_MAX) {
        error_set(error, ERROR_LIMIT, "bad-length",
                  "a block length of %" PRIu32 " bytes, allowed are 81 to %u", len, BLOCK_SERIALIZED_MAX);
        return -1;
    }
    if (cursor_left(c) - 8 < len) {
        return -2;
    }
    cursor_u64(c);
    *block_bytes = cursor_span(c, len);
    return 1;
}

void blockfile_record(struct buf *out, const uint8_t magic[4], struct span block_bytes)
{
    buf_bytes(out, magic, 4);
    buf_u32(out, (uint32_t)block_bytes.len);
    buf_bytes(out, block_bytes.data, block_bytes.len);
}
