/* mempool.dat: its bytes, both versions, in pieces of every size; and what is damaged. */
#include <criterion/criterion.h>

#include "core/mempool/mempool.h"

static const uint8_t key[DUMP_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 0xf8};
static const char raw_hex[] = /* without witness: one input, one output */
    "02000000010000000000000000000000000000000000000000000000000000000000000001000000000"
    "0ffffffff01e803000000000000015100000000";

static struct tx *a_tx(void)
{
    struct buf raw = {0};
    cr_assert(hex_decode_buf(&raw, raw_hex, 1000));
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    cr_assert(tx);
    buf_free(&raw);
    return tx;
}

/* Two copies of a transaction (the form does not mind), one fee delta, two unbroadcast ids; as Core writes
 * it. */
static struct buf a_file(bool masked)
{
    struct buf out = {0};
    struct tx *tx = a_tx();
    buf_u64(&out, masked ? 2 : 1);
    if (masked) {
        buf_u8(&out, DUMP_KEY_BYTES);
        buf_bytes(&out, key, sizeof key);
    }
    size_t from = out.len;
    buf_u64(&out, 2);
    for (int i = 0; i < 2; i++) {
        buf_bytes(&out, tx->raw.data, tx->raw.len);
        buf_i64(&out, 1700000000 + i);
        buf_i64(&out, -5 * i);
    }
    buf_compact_size(&out, 1);
    memset(buf_extend(&out, 32), 7, 32);
    buf_i64(&out, 1234);
    buf_compact_size(&out, 2);
    memset(buf_extend(&out, 32), 8, 32);
    memset(buf_extend(&out, 32), 9, 32);
    for (size_t i = from; masked && i < out.len; i++) {
        out.data[i] ^= key[i % DUMP_KEY_BYTES];
    }
    tx_unref(tx);
    return out;
}

/* Reads it in pieces; what came, one letter each, ends with what ended it. */
static const char *read_in(struct span file, size_t piece, struct error *error)
{
    static char letters[64];
    struct dump_reader reader = {0};
    struct dump_item item;
    enum dump_kind kind;
    size_t at = 0, count = 0;
    memset(letters, 0, sizeof letters);
    do {
        kind = dump_next(&reader, &item, error);
        if (kind == DUMP_MORE) {
            size_t len = MIN(piece, file.len - at);
            cr_assert(at < file.len, "more is asked for than there is");
            dump_feed(&reader, span_of(file.data + at, len), at + len == file.len);
            at += len;
            continue;
        }
        cr_assert_lt(count, sizeof letters - 1);
        letters[count++] = "tpuE.D"[kind];
        if (kind == DUMP_TX) {
            cr_assert_eq(item.added_unix_s, 1700000000 + (int64_t)count - 1);
            cr_assert_eq(item.delta_sat, -5 * ((int64_t)count - 1));
            cr_assert(hash256_equal(&item.tx->txid, &item.txid));
            tx_unref(item.tx);
        } else if (kind == DUMP_PRIORITY) {
            cr_assert_eq(item.txid.b[31], 7);
            cr_assert_eq(item.delta_sat, 1234);
        } else if (kind == DUMP_UNBROADCAST) {
            cr_assert_eq(item.txid.b[0], count == 4 ? 8 : 9);
        }
    } while (kind != DUMP_END && kind != DUMP_DAMAGED);
    dump_reader_free(&reader);
    return letters;
}

Test(dump, both_versions_in_pieces_of_every_size)
{
    for (int masked = 0; masked < 2; masked++) {
        struct buf file = a_file(masked);
        struct error error = {0};
        for (size_t piece = 1; piece <= file.len; piece++) {
            cr_assert_str_eq(read_in(buf_span(&file), piece, &error), "ttpuuE", "pieces of %zu", piece);
        }
        buf_free(&file);
    }
}

Test(dump, a_truncated_file_says_where)
{
    struct buf file = a_file(true);
    for (size_t len = 1; len < file.len; len++) {
        struct error error = {0};
        const char *came = read_in(span_of(file.data, len), 64, &error);
        cr_assert_eq(came[strlen(came) - 1], 'D', "%zu bytes: %s", len, came);
        cr_assert(*error.text);
    }
    struct error error = {0};
    cr_assert_str_eq(read_in(span_of(file.data, 150), 64, &error), "tD");
    cr_assert_str_eq(error.text, "it ends inside, or is damaged in transaction 2 of 2, at byte 102");
    buf_free(&file);
}

Test(dump, hostile_counts_and_versions)
{
    struct buf file = {0};
    struct error error = {0};
    buf_u64(&file, 3);
    cr_assert_str_eq(read_in(buf_span(&file), 64, &error), "D");
    cr_assert_str_eq(error.text, "its version is 3: known are 1 and 2");
    buf_clear(&file);
    buf_u64(&file, 2);
    buf_u8(&file, 9);
    buf_extend(&file, 100);
    cr_assert_str_eq(read_in(buf_span(&file), 64, &error), "D");
    buf_clear(&file);
    buf_u64(&file, 1);
    buf_u64(&file, UINT64_MAX);
    cr_assert_str_eq(read_in(buf_span(&file), 64, &error), "D");
    buf_clear(&file); /* no transaction is so large: it is given up before the end of the file */
    buf_u64(&file, 1);
    buf_u64(&file, 1);
    buf_u32(&file, 2);
    buf_compact_size(&file, 100000);
    buf_extend(&file, 4200000);
    file.data[21] = 0xfd;
    for (size_t i = 25; i < file.len; i++) {
        file.data[i] = 0xff;
    }
    cr_assert_str_eq(read_in(buf_span(&file), 1u << 20, &error), "D");
    cr_assert(strstr(error.text, "transaction 1 of 1, at byte 16"), "%s", error.text);
    buf_free(&file);
}

Test(dump, an_empty_pool)
{
    struct buf file = {0};
    struct error error = {0};
    buf_u64(&file, 1);
    buf_u64(&file, 0);
    buf_u8(&file, 0);
    buf_u8(&file, 0);
    buf_u8(&file, 99); /* what follows is nobody's, as with Core */
    cr_assert_str_eq(read_in(buf_span(&file), 5, &error), "E");
    buf_free(&file);
}
