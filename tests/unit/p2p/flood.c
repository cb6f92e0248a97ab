/* Whoever shouts is made to wait, whoever answers is not (flood.c). */
#include "rig.h"

#define SECOND INT64_C(1000000)

TestSuite(flood, .init = begin, .fini = end);

static void shout(peer_id peer)
{
    static uint32_t number;
    struct buf b = {0};
    buf_compact_size(&b, 50000);
    for (uint32_t i = 0; i < 50000; i++) {
        buf_u32(&b, INV_WTX);
        memcpy(buf_extend(&b, 32), &number, sizeof number);
        number++;
    }
    say(peer, "inv", &b);
    forget_heard(peer);
}

static bool is_paused(peer_id peer)
{
    return rig.paused_until_us[slot_of(peer)] > rig.now.mono_us;
}

/* All of what is there for everybody. */
static void spend_all(peer_id first)
{
    for (peer_id peer = first; peer < first + 6; peer++) {
        connect_peer(peer);
        shout(peer);
        shout(peer);
        shout(peer);
    }
}

Test(flood, who_shouts_alone_is_heard)
{
    connect_peer(PEER);
    shout(PEER);
    shout(PEER);
    cr_assert_not(is_paused(PEER), "there is time for it");
}

Test(flood, who_shouts_waits_and_is_heard_again)
{
    connect_peer(PEER);
    spend_all(PEER + 1);
    cr_assert(is_paused(PEER + 6));
    cr_assert_leq(rig.paused_until_us[PEER + 6], rig.now.mono_us + 5 * SECOND);
    cr_assert_not(rig.closed[PEER + 6], "it is no crime");
    struct buf b = {0};
    buf_u64(&b, 1);
    say(PEER, "ping", &b);
    cr_assert_not(is_paused(PEER), "who does not shout");
    pass(20 * SECOND);
    buf_u64(&b, 1);
    say(PEER + 6, "ping", &b);
    cr_assert_not(is_paused(PEER + 6));
}

Test(flood, to_have_the_mempool_looked_through_costs_more_than_its_bytes)
{
    enum { TXS = 200, BYTES_COST = 12, FIRST = 250000 };
    struct buf b = {0};
    struct mempool_info info;
    grow(TXS + 5);
    for (uint32_t height = 1; height <= TXS; height++) {
        struct tx *tx = spend(height, 400000);
        mempool_submit(rig.pool, tx, 0, rig.now);
        tx_unref(tx);
        pump();
    }
    mempool_info(rig.pool, &info);
    cr_assert_eq(info.count, TXS, "%zu", info.count);
    connect_peer(PEER);
    spend_all(PEER + 1);
    struct block *block = block_on_tip((struct span){0}, 0);
    header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
    buf_u64(&b, 1);
    buf_compact_size(&b, 1);
    buf_extend(&b, 6); /* one that nobody has */
    buf_compact_size(&b, 1);
    buf_compact_size(&b, 0);
    tx_write(&b, &block->txs[0], true);
    size_t count = 0, bytes = 24 + b.len;
    for (; !is_paused(PEER) && count < 1000; count++) {
        struct buf copy = {0};
        buf_bytes(&copy, b.data, b.len);
        say(PEER, "cmpctblock", &copy);
    }
    cr_assert_lt(count * bytes * BYTES_COST, FIRST * 3 / 4);
    buf_free(&b);
    block_unref(block);
}

Test(flood, headers_that_were_asked_for_cost_nothing_while_they_lead_on)
{
    connect_peer(PEER);
    for (uint32_t i = 0; i < 40; i++) { /* many times what it could save up */
        struct branch *branch = branch_new(i, 2000);
        say_headers(PEER, branch, 1, 2000); /* a full message: it is asked for what follows */
        cr_assert_geq(heard(PEER, "getheaders", NULL), 1);
        forget_heard(PEER);
        mem_free(branch);
    }
    cr_assert_not(is_paused(PEER));
    struct branch *branch = branch_new(39, 2000);
    for (uint32_t i = 0; i < 120; i++) {
        say_headers(PEER, branch, 1, 2000); /* again and again the same */
        forget_heard(PEER);
    }
    cr_assert(is_paused(PEER));
    mem_free(branch);
}

static void ask_for_all_headers(peer_id peer)
{
    struct buf b = {0};
    buf_u32(&b, 70016);
    buf_compact_size(&b, 1);
    buf_bytes(&b, chain_at(rig.chain, 0)->hash.b, 32);
    buf_bytes(&b, (uint8_t[32]){0}, 32);
    say(peer, "getheaders", &b);
    forget_heard(peer);
}

Test(flood, everybody_may_have_all_headers_twice)
{
    grow(3);
    connect_peer(PEER);
    spend_all(PEER + 1);
    ask_for_all_headers(PEER);
    ask_for_all_headers(PEER);
    ask_for_all_headers(PEER);
    ask_for_all_headers(PEER);
    cr_assert_not(is_paused(PEER), "two more are within what it may spend");
    ask_for_all_headers(PEER);
    cr_assert(is_paused(PEER));
}

Test(flood, coming_again_is_no_way_to_more)
{
    spend_all(PEER);
    for (peer_id peer = PEER; peer < PEER + 6; peer++) {
        p2p_closed(rig.p2p, peer, "gone", rig.now);
    }
    for (peer_id peer = PEER + 10; peer < PEER + 30; peer++) {
        connect_peer(peer);
        shout(peer);
        cr_assert(is_paused(peer));
        p2p_closed(rig.p2p, peer, "gone", rig.now);
    }
}

Test(flood, permitted_and_drawn_peers_have_no_account)
{
    struct error error = {0};
    cr_assert(p2p_whitelist(rig.p2p, "relay@10.0.0.1", &error));
    connect_from(PEER, "10.0.0.1:1", 0);
    cr_assert(p2p_add_node(rig.p2p, "10.0.0.2:18444", rig.now, &error));
    pass(SECOND);
    peer_id drawn = rig.dialled;
    p2p_opened(rig.p2p, drawn, "10.0.0.2:18444", rig.now);
    shake_hands(drawn, 0);
    spend_all(PEER + 1);
    for (int i = 0; i < 5; i++) {
        shout(PEER);
        shout(drawn);
    }
    cr_assert_not(is_paused(PEER));
    cr_assert_not(is_paused(drawn));
}
