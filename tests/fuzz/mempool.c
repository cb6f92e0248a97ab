/*
 * Fuzz target: a mempool.dat, in pieces of any size. The first byte is the size of a piece and says whether
 * what follows is the file as it is, or what stands behind a right header. The reader ends, wherever it is
 * cut what it gives out is the same, and what it has given out, written again, reads the same.
 */
#include "core/mempool/mempool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t key[DUMP_KEY_BYTES] = {9, 8, 7, 6, 5, 4, 3, 2};

/* All that was given out, each behind its kind; true: the file was read to its end. */
static bool read_in(struct span file, size_t piece, struct buf *given)
{
    struct dump_reader reader = {0};
    struct dump_item item;
    struct error error = {0};
    size_t at = 0;
    for (;;) {
        enum dump_kind kind = dump_next(&reader, &item, &error);
        if (kind == DUMP_MORE) {
            size_t step = MIN(piece, file.len - at);
            CHECK(!reader.last);
            dump_feed(&reader, span_of(file.data + at, step), at + step == file.len);
            at += step;
            continue;
        }
        if (kind == DUMP_END || kind == DUMP_DAMAGED) {
            CHECK((kind == DUMP_DAMAGED) == (*error.text != 0));
            dump_reader_free(&reader);
            return kind == DUMP_END;
        }
        buf_u8(given, (uint8_t)kind);
        buf_bytes(given, item.txid.b, sizeof item.txid.b);
        buf_i64(given, item.delta_sat);
        if (kind == DUMP_TX) {
            buf_var_span(given, item.tx->raw);
            buf_i64(given, item.added_unix_s);
            tx_unref(item.tx);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct cursor c = cursor_of(data, len);
    struct buf file = {0}, whole = {0}, pieces = {0};
    uint8_t how = cursor_u8(&c);
    if (how & 1) {
        buf_u64(&file, how & 2 ? 2 : 1);
        if (how & 2) {
            buf_var_span(&file, span_of(key, sizeof key));
        }
    }
    buf_reserve(&file, 1);
    size_t from = file.len;
    buf_bytes(&file, c.at, cursor_left(&c));
    for (size_t i = from; (how & 3) == 3 && i < file.len; i++) {
        file.data[i] ^= key[i % DUMP_KEY_BYTES];
    }
    bool ended = read_in(buf_span(&file), SIZE_MAX, &whole);
    CHECK(read_in(buf_span(&file), (how >> 2) + 1u, &pieces) == ended);
    CHECK(span_equal(buf_span(&whole), buf_span(&pieces)));
    buf_free(&file);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
