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
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
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
    struct tx *parent = spend(1, 500000), *child = child_of(parent, 100000); /* a fee of 0 */
    say_tx(PEER, parent);
    cr_assert_not(is_in(parent));
    say_tx(PEER + 1, child);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 0, "the parent is here");
    cr_assert(is_in(parent));
    cr_assert(is_in(child));
    cr_assert_eq(heard(PEER, "inv", NULL), 1, "the child that it has not sent");
    tx_unref(parent);
    tx_unref(child);
}

Test(family, the_child_first)
{
    struct span asked;
    struct tx *parent = spend(1, 500000), *child = child_of(parent, 100000);
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
    struct tx *parent = spend(1, 500000), *poor = child_of(parent, 10), *rich = child_of(parent, 100000);
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
