/* Headers and blocks as bytes. */
#include "core/consensus/consensus.h"

#include "hashing/kernels/kernels.h"

#define FETCH_AHEAD  4u
#define TX_BYTES_MIN 10u /* no inputs, no outputs: readable, though never valid */
#define TXS_MAX      (BLOCK_WEIGHT_MAX / (WITNESS_SCALE * TX_BYTES_MIN))

void header_read(struct block_header *header, struct cursor *c)
{
    header->version = cursor_i32(c);
    cursor_bytes(c, header->prev_hash.b, 32);
    cursor_bytes(c, header->merkle_root.b, 32);
    header->time = cursor_u32(c);
    header->bits = cursor_u32(c);
    header->nonce = cursor_u32(c);
}

void header_encode(uint8_t out[HEADER_BYTES], const struct block_header *header)
{
    store_le32(out, (uint32_t)header->version);
    memcpy(out + 4, header->prev_hash.b, 32);
    memcpy(out + 36, header->merkle_root.b, 32);
    store_le32(out + 68, header->time);
    store_le32(out + 72, header->bits);
    store_le32(out + 76, header->nonce);
}

void header_hash(struct hash256 *out, const struct block_header *header)
{
    uint8_t bytes[HEADER_BYTES];
    header_encode(bytes, header);
    sha256d(out->b, bytes, sizeof bytes);
}

/* The transactions from the bytes; those whose identifiers are known are not hashed again. */
static bool read_txs(struct block *block, struct cursor *c, const struct tx *known)
{
    size_t stripped = HEADER_BYTES + compact_size_len(block->tx_count);
    block->txs = arena_alloc(&block->arena, block->tx_count * sizeof *block->txs);
    for (uint32_t i = 0; i < block->tx_count && !c->failed; i++) {
        struct tx *tx = &block->txs[i];
        if (tx_read(tx, c, &block->arena)) {
            stripped += tx->stripped_bytes;
            if (known) {
                tx->txid = known[i].txid;
                tx->wtxid = known[i].wtxid;
            }
        }
    }
    block->stripped_bytes = (uint32_t)stripped;
    block->weight = (uint32_t)(stripped * (WITNESS_SCALE - 1) + block->raw.len);
    return cursor_done(c);
}

struct block *block_parse(uint8_t *raw, size_t len, struct error *error)
{
    struct block *block = mem_alloc(sizeof *block);
    block->raw = span_of(raw, len);
    block->references = 1;
    struct cursor c = cursor_of(raw, len);
    if (len > BLOCK_SERIALIZED_MAX) {
        error_set(error, ERROR_LIMIT, "bad-blk-length", "a block of %zu bytes is larger than %u", len,
                  BLOCK_SERIALIZED_MAX);
        block_unref(block);
        return NULL;
    }
    header_read(&block->header, &c);
    block->tx_count = (uint32_t)cursor_count(&c, TX_BYTES_MIN);
    c.failed |= block->tx_count > TXS_MAX;
    block->tx_count = c.failed ? 0 : block->tx_count;
    if (!read_txs(block, &c, NULL)) {
        error_set(error, ERROR_PARSE, "block-decode-failed", "not the serialisation of a block (%zu bytes)",
                  len);
        block_unref(block);
        return NULL;
    }
    txs_hash(block->txs, block->tx_count);
    header_hash(&block->hash, &block->header);
    return block;
}

struct block *block_of_txs(const struct block_header *header, struct tx *const *txs, size_t count)
{
    struct block *block = mem_alloc(sizeof *block);
    size_t len = HEADER_BYTES + compact_size_len(count);
    block->header = *header;
    header_hash(&block->hash, header);
    block->references = 1;
    block->tx_count = (uint32_t)count;
    block->txs = arena_alloc(&block->arena, count * sizeof *block->txs);
    for (size_t i = 0; i < count; i++) {
        block->txs[i] = *txs[i];
        block->txs[i].arena = (struct arena){0};
        len += txs[i]->raw.len;
    }
    block->raw.len = len;
    return block;
}

bool block_own_txs(struct block *block)
{
    struct buf raw = {0};
    const struct tx *borrowed = block->txs;
    if (block->raw.len > BLOCK_SERIALIZED_MAX) {
        return false;
    }
    buf_reserve(&raw, block->raw.len);
    header_encode(buf_extend(&raw, HEADER_BYTES), &block->header);
    buf_compact_size(&raw, block->tx_count);
    struct cursor c = cursor_of(raw.data + raw.len, block->raw.len - raw.len);
    for (size_t i = 0; i < block->tx_count; i++) {
        if (i + FETCH_AHEAD < block->tx_count) { /* they lie anywhere in memory */
            __builtin_prefetch(borrowed[i + FETCH_AHEAD].raw.data);
            __builtin_prefetch(borrowed[i + FETCH_AHEAD].raw.data + 64);
        }
        buf_bytes(&raw, borrowed[i].raw.data, borrowed[i].raw.len);
    }
    block->raw.data = raw.data;
    return read_txs(block, &c, borrowed);
}

struct block *block_ref(struct block *block)
{
    CHECK(block->references > 0);
    block->references++;
    return block;
}

void block_unref(struct block *block)
{
    if (block && --block->references == 0) {
        arena_free(&block->arena);
        mem_free((void *)(uintptr_t)block->raw.data);
        mem_free(block);
    }
}
