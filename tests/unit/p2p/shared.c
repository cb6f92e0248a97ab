/* What goes to several peers is in memory once: a block, a compact block, an inv, headers. */
#include "rig.h"

#define INV_COMPACT 4u

enum { CROWD = 5 };

static void begin_crowd(void)
{
    begin();
    grow(5);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        connect_peer(peer);
    }
}

TestSuite(shared, .init = begin_crowd, .fini = end);

/* The last message of all these peers is one, and it is this command. */
static const struct shared *one_for_all(const char *command, peer_id first, peer_id last)
{
    const struct shared *message = rig.last[first];
    for (peer_id peer = first; peer <= last; peer++) {
        cr_assert_eq(heard(peer, command, NULL), 1, "peer %u", (unsigned)peer);
        cr_assert_eq(rig.last[peer], message, "peer %u has a copy", (unsigned)peer);
    }
    cr_assert_str_eq((const char *)message->bytes.data + 4, command);
    return message;
}

/* The peer has the tip, and so may be told of what follows by its header. */
static void say_tip(peer_id peer)
{
    struct buf b = {0};
    buf_compact_size(&b, 1);
    header_encode(buf_extend(&b, HEADER_BYTES),
                  &chain_recent_block(rig.chain, &chain_tip(rig.chain)->hash)->header);
    buf_u8(&b, 0);
    say(peer, "headers", &b);
}

Test(shared, a_block_that_many_ask_for)
{
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        say_item(peer, "getdata", INV_BLOCK | WITNESS_FLAG, &chain_at(rig.chain, 3)->hash);
    }
    const struct shared *message = one_for_all("block", PEER, PEER + CROWD - 1);
    cr_assert_eq(message->references, CROWD + 1, "those to whom it goes, and who keeps it for the next");
    begin_again(); /* nobody keeps it any more */
    cr_assert_eq(message->references, CROWD);
    struct hash256 hash;
    sha256d(hash.b, message->bytes.data + 24, HEADER_BYTES);
    cr_assert(hash256_equal(&hash, &chain_at(rig.chain, 3)->hash), "it waits unchanged");
}

Test(shared, every_peer_pays_for_what_it_is_sent)
{
    size_t before = p2p_memory_bytes(rig.p2p);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        say_item(peer, "getdata", INV_BLOCK | WITNESS_FLAG, &chain_at(rig.chain, 3)->hash);
    }
    size_t len = one_for_all("block", PEER, PEER + CROWD - 1)->bytes.len;
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        cr_assert_geq(info_of(peer).bytes_sent, len);
    }
    cr_assert_geq(p2p_memory_bytes(rig.p2p), before + (CROWD + 1) * len, "the queues are bounds, not sums");
}

Test(shared, a_compact_block_unasked_and_asked_for)
{
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        say_tip(peer);
        if (peer < PEER + CROWD - 1) { /* the last one asks for it */
            struct buf b = {0};
            buf_u8(&b, 1);
            buf_u64(&b, 2);
            say(peer, "sendcmpct", &b);
        }
        forget_heard(peer);
    }
    grow(1);
    say_item(PEER + CROWD - 1, "getdata", INV_COMPACT, &chain_tip(rig.chain)->hash);
    const struct shared *first = one_for_all("cmpctblock", PEER, PEER + CROWD - 1);
    cr_assert_eq(first->references, CROWD + 1);
    forget_heard(PEER);
    say_item(PEER, "getdata", INV_COMPACT, &chain_at(rig.chain, 4)->hash);
    one_for_all("cmpctblock", PEER, PEER);
    cr_assert_neq(rig.last[PEER], first, "another block is another message");
}

Test(shared, a_new_tip_as_header_and_as_inv)
{
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        if (peer >= PEER + 2) { /* the others are told by inv */
            say_tip(peer);
            say_nothing_but(peer, "sendheaders");
        }
        forget_heard(peer);
    }
    grow(1);
    one_for_all("inv", PEER, PEER + 1);
    one_for_all("headers", PEER + 2, PEER + CROWD - 1);
}

Test(shared, a_new_transaction)
{
    struct tx *tx = spend(1, 400000);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        forget_heard(peer);
    }
    mempool_submit(rig.pool, tx, UINT64_C(1) << 32, rig.now);
    pump();
    one_for_all("inv", PEER, PEER + CROWD - 1);
    tx_unref(tx);
}
