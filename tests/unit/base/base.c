/* cursor, buf, arena, map and hex: what they promise, and the table against a slow reference. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/base.h"

Test(cursor, failure_is_sticky_and_reads_zero)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct cursor c = cursor_of(bytes, sizeof bytes);
    cr_expect_eq(cursor_u32(&c), 0x04030201u);
    cr_expect_eq(cursor_u16(&c), 0);
    cr_expect(c.failed);
    cr_expect_eq(cursor_u8(&c), 0); /* although one byte is left */
    cr_expect(!cursor_done(&c));
    c = cursor_of(NULL, 0);
    cr_expect(cursor_done(&c));
}

Test(cursor, compact_sizes)
{
    static const struct {
        uint64_t value;
        size_t len;
    } cases[] = {{0, 1},     {252, 1},        {253, 3},         {65535, 3},
                 {65536, 5}, {0xffffffff, 5}, {0x100000000, 9}, {UINT64_MAX, 9}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf b = {0};
        buf_compact_size(&b, cases[i].value);
        cr_expect_eq(b.len, cases[i].len);
        cr_expect_eq(compact_size_len(cases[i].value), cases[i].len);
        struct cursor c = cursor_of(b.data, b.len);
        cr_expect_eq(cursor_compact_size(&c, UINT64_MAX), cases[i].value);
        cr_expect(cursor_done(&c));
        if (cases[i].value) {
            c = cursor_of(b.data, b.len);
            cr_expect_eq(cursor_compact_size(&c, cases[i].value - 1), 0);
            cr_expect(c.failed);
        }
        buf_free(&b);
    }
    static const uint8_t padded[][9] = {
        {0xfd, 0xfc, 0}, {0xfe, 0xff, 0xff, 0, 0}, {0xff, 0xff, 0xff, 0xff, 0xff}};
    for (size_t i = 0; i < ARRAY_COUNT(padded); i++) {
        struct cursor c = cursor_of(padded[i], 9);
        cursor_compact_size(&c, UINT64_MAX);
        cr_expect(c.failed); /* not canonical */
    }
}

Test(cursor, counts_are_bounded_by_what_follows)
{
    static const uint8_t bytes[] = {3, 0, 0, 0, 0, 0, 0};
    struct cursor c = cursor_of(bytes, sizeof bytes);
    cr_expect_eq(cursor_count(&c, 2), 3);
    c = cursor_of(bytes, sizeof bytes);
    cr_expect_eq(cursor_count(&c, 3), 0);
    cr_expect(c.failed);
}

Test(buf, grows_and_reads_back)
{
    struct buf b = {0};
    buf_u8(&b, 1);
    buf_u16(&b, 0x0203);
    buf_u16_be(&b, 0x0203);
    buf_u32(&b, 0x04050607);
    buf_i64(&b, -2);
    buf_printf(&b, "%d", 42);
    buf_var_span(&b, span_of("xyz", 3));
    struct cursor c = cursor_of(b.data, b.len);
    cr_expect_eq(cursor_u8(&c), 1);
    cr_expect_eq(cursor_u16(&c), 0x0203);
    cr_expect_eq(cursor_u16_be(&c), 0x0203);
    cr_expect_eq(cursor_u32(&c), 0x04050607u);
    cr_expect_eq(cursor_i64(&c), -2);
    cr_expect(span_equal(cursor_span(&c, 2), span_of("42", 2)));
    cr_expect(span_equal(cursor_var_span(&c), span_of("xyz", 3)));
    cr_expect(cursor_done(&c));
    for (size_t i = 0; i < 100000; i++) {
        buf_u8(&b, (uint8_t)i);
    }
    cr_expect_eq(b.data[b.len - 1], (uint8_t)99999);
    buf_free(&b);
}

Test(shared, goes_with_the_last_reference)
{
    struct buf b = {0};
    buf_printf(&b, "%s", "abc");
    const uint8_t *data = b.data;
    struct shared *first = shared_of(&b);
    cr_expect(!b.data && !b.len && !b.capacity, "the buf is left empty");
    cr_expect_eq(first->bytes.data, data, "nothing is copied");
    struct shared *second = shared_ref(first);
    cr_expect_eq(second, first);
    cr_expect_eq(first->references, 2);
    shared_unref(first);
    cr_expect(span_equal(second->bytes, span_of("abc", 3)));
    cr_expect_eq(second->references, 1);
    shared_unref(second); /* freed: the address sanitizer looks */
    shared_unref(NULL);
    struct shared *nothing = shared_of(&b);
    cr_expect_eq(nothing->bytes.len, 0);
    shared_unref(nothing);
}

Test(arena, is_zeroed_aligned_and_counts)
{
    struct arena arena = {0};
    struct rng rng;
    rng_seed_u64(&rng, 3);
    for (int i = 0; i < 3000; i++) {
        size_t size = i % 500 == 0 ? 3u << 20 : rng_below(&rng, 300);
        uint8_t *p = arena_alloc(&arena, size);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < MIN(size, 300u); k++) {
            cr_assert_eq(p[k], 0);
        }
        memset(p, 0xff, size);
    }
    cr_expect_geq(arena.used_bytes, 6 * (3u << 20));
    arena_free(&arena);
    cr_expect_eq(arena.used_bytes, 0);
}

/* Every operation of the table against an array of flags. */
Test(map, against_a_slow_reference)
{
    enum { KEYS = 700 };
    struct rng rng;
    struct map m;
    uint32_t there[KEYS] = {0};
    size_t count = 0;
    rng_seed_u64(&rng, 11);
    map_init(&m, sizeof(uint32_t), sizeof(uint32_t), &rng);
    for (int step = 0; step < 200000; step++) {
        uint32_t key = (uint32_t)rng_below(&rng, KEYS), value = (uint32_t)step + 1;
        if (rng_below(&rng, 2)) {
            bool is_new;
            uint32_t *slot = map_put(&m, &key, &is_new);
            cr_assert_eq(is_new, there[key] == 0);
            cr_assert_eq(*slot, there[key]);
            count += is_new;
            *slot = there[key] = value;
        } else {
            cr_assert_eq(map_remove(&m, &key), there[key] != 0);
            count -= there[key] != 0;
            there[key] = 0;
        }
        cr_assert_eq(m.count, count);
        const uint32_t *found = map_get(&m, &key);
        cr_assert_eq(found ? *found : 0, there[key]);
    }
    size_t position = 0, seen = 0;
    const void *key;
    void *value;
    while (map_next(&m, &position, &key, &value)) {
        cr_assert_eq(*(uint32_t *)value, there[*(const uint32_t *)key]);
        seen++;
    }
    cr_expect_eq(seen, count);
    map_free(&m);
}

Test(hex, both_ways)
{
    uint8_t bytes[3];
    char text[7];
    cr_expect(hex_decode(bytes, 3, "00aBfF"));
    hex_encode(text, bytes, 3);
    cr_expect_str_eq(text, "00abff");
    cr_expect(!hex_decode(bytes, 3, "00abf"));
    cr_expect(!hex_decode(bytes, 3, "00abff0"));
    cr_expect(!hex_decode(bytes, 3, "00abfg"));
    struct buf b = {0};
    cr_expect(!hex_decode_buf(&b, "0011", 1));
    cr_expect(hex_decode_buf(&b, "0011", 2));
    cr_expect_eq(b.len, 2);
    buf_free(&b);
}
