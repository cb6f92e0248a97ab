/*
 * mempool.dat, byte for byte as Bitcoin Core 28 has it:
 *
 *     version 2   u64, then a key of 8 bytes behind its length; all that follows is masked with it, byte i of
 *                 the file with byte i mod 8 of the key. Version 1 has neither key nor mask
 *     u64         count of transactions; each: the transaction, i64 time of its admission, i64 fee delta
 *     CompactSize count of other fee deltas; each: txid, i64
 *     CompactSize count of unbroadcast ones; each: txid
 *
 * Here is the form alone, in pieces of any size; files, admission and counts are core/node/mempool_file.c's.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/mempool/mempool_private.h"

#define VERSION_PLAIN   1u
#define VERSION_MASKED  2u
#define TX_BYTES_MAX    ((size_t)BLOCK_WEIGHT_MAX) /* no transaction of a block is larger */
#define PRIORITY_BYTES  40u
#define TXID_BYTES      32u
#define COUNT_BYTES_MAX 9u
#define TX_COUNT_MAX    UINT64_C(100000000)

static void mask(uint8_t *data, size_t len, uint64_t offset, const uint8_t key[DUMP_KEY_BYTES])
{
    for (size_t i = 0; i < len; i++) {
        data[i] ^= key[(offset + i) % DUMP_KEY_BYTES];
    }
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

struct dumped {
    struct tx *tx;
    int64_t added_unix_s, delta_sat;
};

struct mempool_dump {
    uint8_t key[DUMP_KEY_BYTES];
    uint64_t offset;    /* of what is written next */
    struct dumped *txs; /* parents before children */
    size_t count, at;
    struct buf rest; /* what stands behind the transactions, as it will be but for the mask */
};

static void put_rest(struct mempool_dump *dump, const struct mempool *pool, const struct buf *unbroadcast)
{
    const struct hash256 *txid;
    const struct mempool_entry *entry;
    struct buf items = {0};
    int64_t delta_sat;
    for (size_t at = 0; mempool_next_priority(pool, &at, &txid, &delta_sat);) {
        if (!pool_find(pool, txid)) {
            buf_bytes(&items, txid->b, TXID_BYTES);
            buf_i64(&items, delta_sat);
        }
    }
    buf_compact_size(&dump->rest, items.len / PRIORITY_BYTES);
    buf_bytes(&dump->rest, items.data, items.len);
    buf_clear(&items);
    buf_bytes(&items, unbroadcast->data, unbroadcast->len);
    for (size_t at = 0; pool->unbroadcast && mempool_next(pool, &at, &entry);) {
        if (entry->unbroadcast) {
            buf_bytes(&items, entry->tx->txid.b, TXID_BYTES);
        }
    }
    buf_compact_size(&dump->rest, items.len / TXID_BYTES);
    buf_bytes(&dump->rest, items.data, items.len);
    buf_free(&items);
}

/* Who has more unconfirmed ancestors comes later: all with as many are put where theirs begin. */
static void put_txs(struct mempool_dump *dump, const struct mempool *pool)
{
    uint32_t most = 0;
    for (size_t i = 0; i < pool->cheapest_count; i++) {
        most = MAX(most, pool->cheapest[i]->ancestor_count);
    }
    size_t *places = mem_alloc((most + 2u) * sizeof *places);
    for (size_t i = 0; i < pool->cheapest_count; i++) {
        places[pool->cheapest[i]->ancestor_count + 1]++;
    }
    for (uint32_t k = 0; k <= most; k++) {
        places[k + 1] += places[k];
    }
    for (size_t i = 0; i < pool->cheapest_count; i++) {
        const struct mempool_entry *entry = pool->cheapest[i];
        dump->txs[places[entry->ancestor_count]++] =
            (struct dumped){tx_ref(entry->tx), entry->added_unix_s, entry->modified_fee_sat - entry->fee.sat};
    }
    dump->count = pool->cheapest_count;
    mem_free(places);
}

struct mempool_dump *mempool_dump_new(const struct mempool *pool, const struct mempool_unread *unread,
                                      const uint8_t key[DUMP_KEY_BYTES])
{
    struct mempool_dump *dump = mem_alloc(sizeof *dump);
    memcpy(dump->key, key, DUMP_KEY_BYTES);
    dump->txs = mem_alloc((pool->cheapest_count + unread->count) * sizeof *dump->txs);
    put_txs(dump, pool);
    for (size_t i = 0; i < unread->count; i++) {
        const struct unread_tx *one = &unread->txs[i];
        dump->txs[dump->count++] = (struct dumped){tx_ref(one->tx), one->added_unix_s, one->delta_sat};
    }
    put_rest(dump, pool, &unread->unbroadcast);
    return dump;
}

void mempool_dump_free(struct mempool_dump *dump)
{
    if (dump) {
        for (size_t i = dump->at; i < dump->count; i++) {
            tx_unref(dump->txs[i].tx);
        }
        mem_free(dump->txs);
        buf_free(&dump->rest);
        mem_free(dump);
    }
}

size_t mempool_dump_count(const struct mempool_dump *dump)
{
    return dump->count;
}

bool mempool_dump_next(struct mempool_dump *dump, size_t bytes, struct buf *out)
{
    size_t start = out->len, masked_from = start;
    if (dump->offset == 0) {
        buf_u64(out, VERSION_MASKED);
        buf_var_span(out, span_of(dump->key, DUMP_KEY_BYTES));
        masked_from = out->len;
        buf_u64(out, dump->count);
    }
    while (dump->at < dump->count && out->len - start < bytes) {
        struct dumped *next = &dump->txs[dump->at++];
        buf_bytes(out, next->tx->raw.data, next->tx->raw.len);
        buf_i64(out, next->added_unix_s);
        buf_i64(out, next->delta_sat);
        tx_unref(next->tx);
    }
    bool whole = dump->at == dump->count;
    if (whole) {
        buf_bytes(out, dump->rest.data, dump->rest.len);
    }
    mask(out->data + masked_from, out->len - masked_from, dump->offset + (masked_from - start), dump->key);
    dump->offset += out->len - start;
    return !whole;
}

void mempool_unread_add(struct mempool_unread *unread, struct tx *tx, int64_t added_unix_s, int64_t delta_sat)
{
    if (unread->count == unread->capacity) {
        unread->capacity = MAX(unread->capacity * 2, 64u);
        unread->txs = mem_realloc(unread->txs, unread->capacity * sizeof *unread->txs);
    }
    unread->txs[unread->count++] = (struct unread_tx){tx_ref(tx), added_unix_s, delta_sat};
    unread->bytes += tx->raw.len;
}

void mempool_unread_free(struct mempool_unread *unread)
{
    while (unread->count) {
        tx_unref(unread->txs[--unread->count].tx);
    }
    mem_free(unread->txs);
    buf_free(&unread->unbroadcast);
    *unread = (struct mempool_unread){0};
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

void dump_reader_free(struct dump_reader *r)
{
    buf_free(&r->bytes);
}

bool dump_reader_behind_txs(const struct dump_reader *r)
{
    return r->stage > DUMP_IN_TXS || (r->stage == DUMP_IN_TXS && r->counted && !r->left);
}

void dump_feed(struct dump_reader *r, struct span bytes, bool last)
{
    if (r->at) {
        r->bytes.len -= r->at;
        memmove(r->bytes.data, r->bytes.data + r->at, r->bytes.len);
        r->at = 0;
    }
    size_t from = r->bytes.len;
    buf_bytes(&r->bytes, bytes.data, bytes.len);
    if (bytes.len) {
        mask(r->bytes.data + from, bytes.len, r->offset, r->key); /* before the header is read: zeros */
    }
    r->offset += bytes.len;
    r->last = last;
}

static const char *place(const struct dump_reader *r)
{
    static const char *const places[] = {"its header", "transaction", "fee delta", "unbroadcast transaction"};
    return r->stage != DUMP_IN_HEADER && !r->counted ? "a count" : places[r->stage];
}

static enum dump_kind damaged(const struct dump_reader *r, struct error *error, const char *what)
{
    char number[64] = "";
    if (r->counted) {
        snprintf(number, sizeof number, " %" PRIu64 " of %" PRIu64, r->count - r->left + 1, r->count);
    }
    error_set(error, ERROR_PARSE, NULL, "%s %s%s, at byte %" PRIu64, what, place(r), number,
              r->offset - (r->bytes.len - r->at));
    return DUMP_DAMAGED;
}

/* Something could not be read whole. */
static enum dump_kind short_of(const struct dump_reader *r, size_t bytes_max, struct error *error)
{
    if (r->bytes.len - r->at >= bytes_max) {
        return damaged(r, error, "it cannot be read in");
    }
    return r->last ? damaged(r, error, "it ends inside, or is damaged in") : DUMP_MORE;
}

static struct cursor rest_of(const struct dump_reader *r)
{
    return cursor_of(r->bytes.data + r->at, r->bytes.len - r->at);
}

static void read_until(struct dump_reader *r, const struct cursor *c)
{
    r->at = (size_t)(c->at - r->bytes.data);
}

/* DUMP_END: it is there. */
static enum dump_kind read_header(struct dump_reader *r, struct error *error)
{
    struct cursor c = rest_of(r);
    uint64_t version = cursor_u64(&c);
    if (!c.failed && version != VERSION_PLAIN && version != VERSION_MASKED) {
        error_set(error, ERROR_PARSE, NULL, "its version is %" PRIu64 ": known are 1 and 2", version);
        return DUMP_DAMAGED;
    }
    if (version == VERSION_MASKED) {
        uint8_t len = cursor_u8(&c);
        if (!c.failed && len != DUMP_KEY_BYTES) {
            return damaged(r, error, "the key has not 8 bytes in");
        }
        cursor_bytes(&c, r->key, DUMP_KEY_BYTES);
    }
    if (c.failed) {
        memset(r->key, 0, DUMP_KEY_BYTES);
        return short_of(r, SIZE_MAX, error);
    }
    read_until(r, &c);
    mask(r->bytes.data + r->at, r->bytes.len - r->at, r->offset - (r->bytes.len - r->at), r->key);
    r->stage = DUMP_IN_TXS;
    return DUMP_END;
}

static enum dump_kind read_count(struct dump_reader *r, struct error *error)
{
    struct cursor c = rest_of(r);
    uint64_t count = r->stage == DUMP_IN_TXS ? cursor_u64(&c) : cursor_compact_size(&c, UINT32_MAX);
    if (c.failed) {
        return short_of(r, COUNT_BYTES_MAX, error);
    }
    if (count > TX_COUNT_MAX) {
        return damaged(r, error, "too many are announced in");
    }
    read_until(r, &c);
    r->counted = true;
    r->count = r->left = count;
    return DUMP_END;
}

static enum dump_kind read_tx(struct dump_reader *r, struct dump_item *item, struct error *error)
{
    struct cursor c = rest_of(r);
    struct arena arena = {0};
    struct tx tx;
    bool ok = tx_read(&tx, &c, &arena); /* where it ends; what is given out stands on bytes of its own */
    arena_free(&arena);
    item->added_unix_s = cursor_i64(&c);
    item->delta_sat = cursor_i64(&c);
    if (!ok || c.failed) {
        return short_of(r, TX_BYTES_MAX, error);
    }
    item->tx = tx_parse(tx.raw, NULL);
    if (!item->tx) {
        return damaged(r, error, "it cannot be read in");
    }
    item->txid = item->tx->txid;
    read_until(r, &c);
    return DUMP_TX;
}

static enum dump_kind read_txid(struct dump_reader *r, struct dump_item *item, struct error *error)
{
    struct cursor c = rest_of(r);
    bool priority = r->stage == DUMP_IN_PRIORITIES;
    cursor_bytes(&c, item->txid.b, TXID_BYTES);
    item->delta_sat = priority ? cursor_i64(&c) : 0;
    if (c.failed) {
        return short_of(r, SIZE_MAX, error);
    }
    read_until(r, &c);
    return priority ? DUMP_PRIORITY : DUMP_UNBROADCAST;
}

enum dump_kind dump_next(struct dump_reader *r, struct dump_item *item, struct error *error)
{
    enum dump_kind kind = DUMP_END;
    *item = (struct dump_item){0};
    buf_reserve(&r->bytes, 1); /* there is something to point at before the first piece */
    while (r->stage != DUMP_AT_END && kind == DUMP_END) {
        if (r->stage == DUMP_IN_HEADER) {
            kind = read_header(r, error);
        } else if (!r->counted) {
            kind = read_count(r, error);
        } else if (!r->left) {
            r->stage++;
            r->counted = false;
        } else {
            kind = r->stage == DUMP_IN_TXS ? read_tx(r, item, error) : read_txid(r, item, error);
        }
    }
    r->left -= kind == DUMP_TX || kind == DUMP_PRIORITY || kind == DUMP_UNBROADCAST;
    return kind;
}
