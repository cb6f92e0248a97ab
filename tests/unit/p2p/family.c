/* One parent whose fee is too low, one child that pays for both (orphans.c). */
#include "rig.h"

static void begin_with_coins(void)
{
    begin();
    grow(8);
    connect_peer(PEER);
    connect_peer(PEER + 1);
}

TestSuite(family, .init = begin_with_coins, .fini = end);

static struct tx *child_of(const struct tx *parent, int64_t fee_sat)
{
    struct buf raw = {0};
    put_tx(&raw, &parent->txid, 0, 2, (500000 - fee_sat) / 2, 0);
    store_le32(raw.data, TRUC_VERSION);
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    return tx;
}

/* Of version 3, which may come without a fee where a child pays; takes over the reference. */
static struct tx *restricted(struct tx *tx)
{
    struct buf raw = {0};
    buf_bytes(&raw, tx->raw.data, tx->raw.len);
    tx_unref(tx);
    store_le32(raw.data, TRUC_VERSION);
    tx = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    return tx;
}

static void say_tx(peer_id peer, const struct tx *tx)
{
    struct buf b = {0};
    buf_bytes(&b, tx->raw.data, tx->raw.len);
    say(peer, "tx", &b);
}

static bool is_in(const struct tx *tx)
{
    return mempool_find(rig.pool, &tx->txid) != NULL;
}

Test(family, the_parent_first)
{
    struct tx *parent = restricted(spend(1, 500000)), *child = child_of(parent, 100000); /* a fee of 0 */
    say_tx(PEER, parent);
    cr_assert_not(is_in(parent));
    say_tx(PEER + 1, child);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1, "the parent, though it is here");
    cr_assert(is_in(parent));
    cr_assert(is_in(child));
    cr_assert_eq(heard(PEER, "inv", NULL), 1, "the child that it has not sent");
    tx_unref(parent);
    tx_unref(child);
}

Test(family, the_child_first)
{
    struct span asked;
    struct tx *parent = restricted(spend(1, 500000)), *child = child_of(parent, 100000);
    say_tx(PEER, child);
    cr_assert_eq(heard(PEER, "getdata", &asked), 1);
    cr_assert_eq(memcmp(asked.data + 5, parent->txid.b, 32), 0);
    say_tx(PEER, parent);
    cr_assert(is_in(parent));
    cr_assert(is_in(child));
    tx_unref(parent);
    tx_unref(child);
}

Test(family, together_they_have_to_pay_enough)
{
    struct tx *parent = restricted(spend(1, 500000)), *poor = child_of(parent, 10),
              *rich = child_of(parent, 100000);
    say_tx(PEER, poor);
    say_tx(PEER, parent);
    cr_assert_not(is_in(parent));
    cr_assert_not(is_in(poor));
    say_tx(PEER, rich);
    cr_assert(is_in(rich), "another child may");
    cr_assert_not(is_in(poor));
    cr_assert_not(rig.closed[PEER]);
    tx_unref(parent);
    tx_unref(poor);
    tx_unref(rich);
}

Test(family, together_they_replace_what_is_in_the_way)
{
    struct tx *old = spend(1, 490000), *parent = spend(1, 499000), *child = NULL;
    struct buf raw = {0};
    put_tx(&raw, &parent->txid, 0, 2, 200000, 0);
    child = tx_parse(buf_span(&raw), NULL);
    say_tx(PEER, old);
    cr_assert(is_in(old));
    say_tx(PEER, parent);
    cr_assert(is_in(old), "the parent alone pays less");
    say_tx(PEER, child);
    cr_assert(is_in(parent));
    cr_assert(is_in(child));
    cr_assert_not(is_in(old));
    buf_free(&raw);
    tx_unref(old);
    tx_unref(parent);
    tx_unref(child);
}

/* What is kept of refused ones is little: it is asked for once more, and judged with its child only. */
Test(family, a_parent_that_was_forgotten_is_asked_for_again)
{
    struct error error = {.kind = ERROR_POLICY, .word = "bad-txns-too-many-sigops"};
    struct span asked;
    struct tx *parent = restricted(spend(1, 500000)), *child = child_of(parent, 100000),
              *other = spend(2, 400000);
    say_tx(PEER, parent);
    for (int i = 0; i < 100; i++) {
        p2p_tx_result(rig.p2p, other, 0, &error, rig.now);
    }
    say_tx(PEER, parent);
    cr_assert_not(is_in(parent));
    say_tx(PEER + 1, child);
    cr_assert_not(is_in(child));
    cr_assert_eq(heard(PEER + 1, "getdata", &asked), 1);
    cr_assert_eq(memcmp(asked.data + 5, parent->txid.b, 32), 0);
    say_tx(PEER, parent);
    cr_assert_not(is_in(parent), "the child is another's");
    say_tx(PEER + 1, parent);
    cr_assert(is_in(parent));
    cr_assert(is_in(child));
    tx_unref(parent);
    tx_unref(child);
    tx_unref(other);
}

static struct tx *child_of_both(const struct tx *first, const struct tx *second)
{
    struct buf raw = {0};
    buf_u32(&raw, 2);
    buf_compact_size(&raw, 2);
    for (int i = 0; i < 2; i++) {
        buf_bytes(&raw, i ? second->txid.b : first->txid.b, 32);
        buf_u32(&raw, 0);
        buf_u8(&raw, 0);
        buf_u32(&raw, UINT32_MAX);
    }
    buf_compact_size(&raw, 1);
    buf_u64(&raw, 800000);
    buf_u8(&raw, 1);
    buf_u8(&raw, 0x51);
    buf_u32(&raw, 0);
    struct tx *child = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    cr_assert_not_null(child);
    return child;
}

Test(family, all_parents_are_asked_for_in_one_message)
{
    struct span asked;
    struct tx *first = spend(1, 450000), *second = spend(2, 450000), *child = child_of_both(first, second);
    say_tx(PEER, child);
    cr_assert_eq(heard(PEER, "getdata", &asked), 1);
    cr_assert_eq(asked.data[0], 2);
    say_tx(PEER, first);
    say_tx(PEER, second);
    cr_assert(is_in(child));
    tx_unref(first);
    tx_unref(second);
    tx_unref(child);
}

Test(family, one_child_does_not_pay_for_two_parents)
{
    struct tx *first = spend(1, 500000), *second = spend(2, 500000);
    say_tx(PEER, first);
    say_tx(PEER, second);
    struct tx *child = child_of_both(first, second);
    say_tx(PEER, child);
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    cr_assert_eq(mempool_count(rig.pool), 0);
    cr_assert_not(rig.closed[PEER]);
    tx_unref(first);
    tx_unref(second);
    tx_unref(child);
}

Test(family, who_was_refused_for_something_else_is_not_paid_for)
{
    struct error error = {.kind = ERROR_POLICY, .word = "bad-txns-too-many-sigops"};
    struct tx *parent = spend(1, 400000), *child = child_of(parent, 100000);
    p2p_tx_result(rig.p2p, parent, PEER, &error, rig.now);
    say_tx(PEER, child);
    cr_assert_not(is_in(parent));
    cr_assert_eq(heard(PEER, "getdata", NULL), 0, "nor asked for");
    tx_unref(parent);
    tx_unref(child);
}
