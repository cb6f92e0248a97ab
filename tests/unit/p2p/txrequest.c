/* Whom a transaction is asked of, when, and how many are remembered (txrequest.c). */
#include "rig.h"

#define SECOND INT64_C(1000000)

static void begin_near_tip(void)
{
    begin();
    grow(6);
}

TestSuite(txrequest, .init = begin_near_tip, .fini = end);

static struct hash256 hash_of(uint32_t number)
{
    struct hash256 hash = {{0x77}};
    memcpy(hash.b + 1, &number, sizeof number);
    return hash;
}

static void announce(peer_id peer, uint32_t first, uint32_t count)
{
    struct buf b = {0};
    buf_compact_size(&b, count);
    for (uint32_t i = 0; i < count; i++) {
        struct hash256 hash = hash_of(first + i);
        buf_u32(&b, INV_WTX);
        buf_bytes(&b, hash.b, 32);
    }
    say(peer, "inv", &b);
}

static size_t asked(peer_id peer)
{
    return heard(peer, "getdata", NULL);
}

static peer_id dial(const char *host, const char *address)
{
    struct error error = {0};
    cr_assert(p2p_add_node(rig.p2p, host, rig.now, &error));
    pass(600000);
    peer_id id = rig.dialled;
    p2p_opened(rig.p2p, id, address, rig.now);
    shake_hands(id, 0);
    return id;
}

Test(txrequest, the_first_is_asked_at_once_and_nobody_beside_it)
{
    connect_peer(PEER);
    connect_peer(PEER + 1);
    announce(PEER, 0, 1);
    announce(PEER + 1, 0, 1);
    announce(PEER, 0, 1);
    cr_assert_eq(asked(PEER), 1);
    cr_assert_eq(asked(PEER + 1), 0);
}

Test(txrequest, who_does_not_answer_is_passed_over_and_outbound_peers_come_first)
{
    peer_id out = dial("10.1.1.1:18444", "10.1.1.1:18444");
    for (peer_id peer = PEER; peer < PEER + 4; peer++) {
        connect_peer(peer);
        announce(peer, 0, 1);
    }
    announce(out, 0, 1);
    cr_assert_eq(asked(PEER), 1);
    pass(SECOND);
    cr_assert_eq(asked(out), 0);
    pass(2 * SECOND);
    cr_assert_eq(asked(out), 1, "inbound: two seconds");
    pass(3 * SECOND);
    cr_assert_eq(asked(PEER + 1), 0);
    pass(3 * SECOND);
    cr_assert_eq(asked(PEER + 1), 1, "outbound: five seconds");
    pass(3 * SECOND);
    cr_assert_eq(asked(PEER + 2), 1);
    pass(3 * SECOND);
    cr_assert_eq(asked(PEER + 3), 1);
    pass(30 * SECOND);
    announce(PEER, 0, 1);
    cr_assert_eq(asked(PEER), 1, "the last one is still waited for");
    pass(31 * SECOND);
    announce(PEER, 0, 1);
    cr_assert_eq(asked(PEER), 2, "all is forgotten after a minute");
}

Test(txrequest, notfound_and_leaving_pass_the_question_on)
{
    struct buf b = {0};
    struct hash256 hash = hash_of(0);
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        connect_peer(peer);
        announce(peer, 0, 1);
    }
    buf_compact_size(&b, 1);
    buf_u32(&b, INV_WTX);
    buf_bytes(&b, hash.b, 32);
    say(PEER + 1, "notfound", &b);
    cr_assert_eq(asked(PEER + 1), 0, "it was not asked");
    buf_compact_size(&b, 1);
    buf_u32(&b, INV_WTX);
    buf_bytes(&b, hash.b, 32);
    say(PEER, "notfound", &b);
    cr_assert_eq(asked(PEER + 1), 1);
    p2p_closed(rig.p2p, PEER + 1, "gone", rig.now);
    pass(600000);
    cr_assert_eq(asked(PEER + 2), 1);
}

Test(txrequest, many_are_asked_for_in_one_message)
{
    struct span items;
    connect_peer(PEER);
    announce(PEER, 0, 1500);
    cr_assert_eq(heard(PEER, "getdata", &items), 2);
    cr_assert_eq(items.len, 3 + 500 * 36);
}

Test(txrequest, a_transaction_that_has_come_is_asked_of_nobody)
{
    struct tx *tx = spend(1, 400000);
    struct buf b = {0};
    for (peer_id peer = PEER; peer < PEER + 2; peer++) {
        connect_peer(peer);
        buf_compact_size(&b, 1);
        buf_u32(&b, INV_WTX);
        buf_bytes(&b, tx->wtxid.b, 32);
        say(peer, "inv", &b);
    }
    tx_write(&b, tx, true);
    say(PEER, "tx", &b);
    cr_assert(mempool_find(rig.pool, &tx->txid));
    pass(10 * SECOND);
    cr_assert_eq(asked(PEER + 1), 0);
    tx_unref(tx);
}

Test(txrequest, what_was_mined_lately_is_asked_of_nobody_and_is_no_orphan)
{
    struct error error = {0};
    struct buf b = {0};
    struct tx *tx = spend(5, 400000);
    struct block *block = block_on_tip(tx->raw, 1);
    connect_peer(PEER);
    accept_block(block);
    block_unref(block);
    say_item(PEER, "inv", INV_WTX, &tx->wtxid);
    say_item(PEER, "inv", INV_TX, &tx->txid);
    buf_bytes(&b, tx->raw.data, tx->raw.len);
    say(PEER, "tx", &b);
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    cr_assert(chain_invalidate(rig.chain, &chain_at(rig.chain, 5)->hash, &error)); /* with what it spends */
    pump();
    cr_assert_eq(mempool_count(rig.pool), 0);
    say_item(PEER, "inv", INV_WTX, &tx->wtxid);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "it may come again in another branch");
    tx_unref(tx);
}

Test(txrequest, a_copy_without_its_witness_says_nothing_of_the_transaction)
{
    struct error error = {.kind = ERROR_INVALID};
    struct tx *tx = spend(1, 400000), *other = spend(2, 400000); /* neither has a witness */
    connect_peer(PEER);
    snprintf(error.word, sizeof error.word,
             "mandatory-script-verify-flag-failed (Witness program was passed an empty witness)");
    p2p_tx_result(rig.p2p, tx, PEER, &error, rig.now);
    say_item(PEER, "inv", INV_WTX, &tx->wtxid);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "somebody may have the whole");
    snprintf(error.word, sizeof error.word,
             "mandatory-script-verify-flag-failed (OP_RETURN was encountered)");
    p2p_tx_result(rig.p2p, other, 0, &error, rig.now);
    say_item(PEER, "inv", INV_WTX, &other->wtxid);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    tx_unref(tx);
    tx_unref(other);
}

/* Only what no block may hold ends the connection, and only what may be in none at any time. */
Test(txrequest, who_sends_a_transaction_that_no_block_may_hold_goes)
{
    struct buf b = {0};
    grow(5);
    struct tx *greedy = spend(1, 600000), *early = spend(chain_tip(rig.chain)->height, 400000),
              *poor = spend(2, 500000);
    struct tx *const txs[] = {early, poor, greedy};
    for (size_t i = 0; i < ARRAY_COUNT(txs); i++) {
        peer_id peer = (peer_id)(PEER + i);
        connect_peer(peer);
        buf_bytes(&b, txs[i]->raw.data, txs[i]->raw.len);
        say(peer, "tx", &b);
        pump();
        cr_assert_eq(rig.closed[peer], txs[i] == greedy, "case %zu", i);
        tx_unref(txs[i]);
    }
    cr_assert_eq(mempool_count(rig.pool), 0);
}

Test(txrequest, what_is_announced_otherwise_than_was_agreed_is_passed_over)
{
    struct tx *tx = spend(1, 400000), *other = spend(2, 400000);
    connect_peer(PEER); /* has said wtxidrelay */
    p2p_accepted(rig.p2p, PEER + 1, "127.0.0.1:1", rig.now);
    say_version(PEER + 1, 5, 0);
    say_nothing_but(PEER + 1, "verack");
    say_item(PEER, "inv", INV_TX, &tx->txid);
    say_item(PEER, "inv", INV_BLOCK | WITNESS_FLAG, &tx->txid);
    say_item(PEER + 1, "inv", INV_WTX, &tx->wtxid);
    cr_assert_eq(heard(PEER, "getdata", NULL) + heard(PEER + 1, "getdata", NULL), 0);
    say_item(PEER, "inv", INV_WTX, &tx->wtxid);
    say_item(PEER + 1, "inv", INV_TX, &other->txid);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1);
    tx_unref(tx);
    tx_unref(other);
}

Test(txrequest, the_greedy_leave_room_for_others)
{
    size_t before = p2p_memory_bytes(rig.p2p);
    for (peer_id peer = PEER; peer < PEER + PLACES - 1; peer++) {
        connect_peer(peer);
        announce(peer, peer * 100000, 50000);
        struct span items;
        cr_assert_eq(heard(peer, "getdata", &items), 5, "5,000 of a peer");
        forget_heard(peer);
    }
    connect_peer(PEER + PLACES - 1);
    announce(PEER + PLACES - 1, 1, 1000);
    cr_assert_eq(asked(PEER + PLACES - 1), 1);
    cr_assert_lt(p2p_memory_bytes(rig.p2p) - before, 24u << 20);
    cr_assert_leq(p2p_memory_bytes(rig.p2p), p2p_memory_bytes_max(rig.p2p));
    for (peer_id peer = PEER; peer < PEER + PLACES; peer++) {
        p2p_closed(rig.p2p, peer, "gone", rig.now);
    }
    pass(SECOND);
    connect_peer(PEER + PLACES);
    announce(PEER + PLACES, 1, 1);
    cr_assert_eq(asked(PEER + PLACES), 1, "what only they had announced is forgotten with them");
}

Test(txrequest, what_is_announced_again_by_whom_it_is_permitted_goes_on)
{
    struct error error = {0};
    struct tx *tx = spend(1, 400000);
    struct buf b = {0};
    cr_assert(p2p_whitelist(rig.p2p, "forcerelay@10.0.0.1", &error));
    connect_peer(PEER);
    connect_from(PEER + 1, "10.0.0.1:1", 0);
    tx_write(&b, tx, true);
    say(PEER, "tx", &b);
    cr_assert_eq(heard(PEER + 1, "inv", NULL), 1);
    tx_write(&b, tx, true);
    say(PEER, "tx", &b);
    cr_assert_eq(heard(PEER + 1, "inv", NULL), 1);
    tx_write(&b, tx, true);
    say(PEER + 1, "tx", &b);
    cr_assert_eq(heard(PEER, "inv", NULL), 1, "told although it brought it");
    tx_unref(tx);
}
