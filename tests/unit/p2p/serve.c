/* What is told to whoever asks, and which blocks are taken though nobody has asked for them. */
#include "rig.h"

#define SECOND INT64_C(1000000)

TestSuite(serve, .init = begin, .fini = end);

/* The block at the tip gives way to another one of its height, with so many more on top. */
static struct hash256 make_stale(uint32_t more)
{
    struct error error = {0};
    struct hash256 stale = chain_tip(rig.chain)->hash;
    cr_assert(chain_invalidate(rig.chain, &stale, &error), "%s", error.text);
    pump();
    const struct block_entry *tip = chain_tip(rig.chain);
    struct block *other = block_on(&tip->hash, tip->height + 1, 7, (struct span){0}, 0);
    accept_block(other);
    block_unref(other);
    grow(more);
    cr_assert(chain_reconsider(rig.chain, &stale, &error), "%s", error.text);
    pump();
    return stale;
}

static void ask_for_header(const struct hash256 *hash)
{
    struct buf b = {0};
    buf_u32(&b, 70016);
    buf_compact_size(&b, 0);
    buf_bytes(&b, hash->b, 32);
    say(PEER, "getheaders", &b);
}

Test(serve, a_young_block_beside_the_chain_is_shown_and_an_old_one_is_not)
{
    grow(3);
    struct hash256 stale = make_stale(1);
    connect_peer(PEER);
    struct span headers;
    ask_for_header(&stale);
    cr_assert_eq(heard(PEER, "headers", &headers), 1);
    cr_assert_eq(headers.len, 1 + 81);
    say_item(PEER, "getdata", INV_BLOCK | WITNESS_FLAG, &stale);
    cr_assert_eq(heard(PEER, "block", NULL), 1);
    forget_heard(PEER);
    params.spacing_s = 10 * 86400; /* three blocks are a month */
    grow(3);
    forget_heard(PEER);
    ask_for_header(&stale);
    cr_assert_eq(heard(PEER, "headers", NULL), 0);
    say_item(PEER, "getdata", INV_BLOCK | WITNESS_FLAG, &stale);
    say_item(PEER, "getdata", INV_BLOCK, &stale);
    cr_assert_eq(heard(PEER, "block", NULL), 0);
    cr_assert_eq(heard(PEER, "notfound", NULL), 2);
    ask_for_header(&chain_at(rig.chain, 1)->hash);
    cr_assert_eq(heard(PEER, "headers", NULL), 1, "of the chain itself every block");
}

Test(serve, who_asks_for_blocks_in_turn_is_led_to_the_tip)
{
    struct buf b = {0};
    struct span inv;
    grow(510);
    connect_peer(PEER);
    buf_u32(&b, 70016);
    buf_compact_size(&b, 1);
    buf_bytes(&b, chain_at(rig.chain, 0)->hash.b, 32);
    buf_extend(&b, 32);
    say(PEER, "getblocks", &b);
    cr_assert_eq(heard(PEER, "inv", &inv), 1);
    cr_assert_eq(inv.len, 3 + 500 * 36);
    forget_heard(PEER);
    say_item(PEER, "getdata", INV_BLOCK | WITNESS_FLAG, &chain_at(rig.chain, 499)->hash);
    cr_assert_eq(heard(PEER, "block", NULL), 1);
    cr_assert_eq(heard(PEER, "inv", NULL), 0);
    say_item(PEER, "getdata", INV_BLOCK, &chain_at(rig.chain, 500)->hash);
    cr_assert_eq(heard(PEER, "inv", &inv), 1, "after the last of them");
    cr_assert_eq(memcmp(inv.data + 5, chain_tip(rig.chain)->hash.b, 32), 0);
    say_item(PEER, "getdata", INV_BLOCK, &chain_at(rig.chain, 500)->hash);
    cr_assert_eq(heard(PEER, "inv", NULL), 1, "once");
}

Test(serve, everything_that_is_missing_is_told_in_one_message)
{
    struct buf b = {0};
    struct span missing;
    grow(1);
    connect_peer(PEER);
    buf_compact_size(&b, 3);
    for (uint8_t i = 0; i < 3; i++) {
        buf_u32(&b, i ? INV_BLOCK | WITNESS_FLAG : INV_WTX);
        memset(buf_extend(&b, 32), i, 32);
    }
    memcpy(b.data + 1 + 36 + 4, chain_tip(rig.chain)->hash.b, 32);
    say(PEER, "getdata", &b);
    cr_assert_eq(heard(PEER, "block", NULL), 1);
    cr_assert_eq(heard(PEER, "notfound", &missing), 1);
    cr_assert_eq(missing.len, 1 + 2 * 36);
}

Test(serve, a_block_that_nobody_asked_for_is_taken_with_enough_work_and_near_the_tip)
{
    grow(2);
    connect_peer(PEER);
    const struct hash256 base = chain_at(rig.chain, 1)->hash;
    struct block *equal = block_on(&base, 2, 7, (struct span){0}, 0);
    struct block *low = block_on(&chain_at(rig.chain, 0)->hash, 1, 7, (struct span){0}, 0);
    say_block(PEER, low);
    say_block(PEER, equal);
    cr_assert_not(chain_find(rig.chain, &low->hash)->status & BLOCK_HAVE_DATA, "less work than the tip");
    cr_assert(chain_find(rig.chain, &equal->hash)->status & BLOCK_HAVE_DATA, "as much");
    cr_assert_eq(chain_tip(rig.chain)->height, 2);
    cr_assert_not(rig.closed[PEER]);
    block_unref(low);
    block_unref(equal);
    struct hash256 prev = chain_tip(rig.chain)->hash;
    struct block *first = block_on(&prev, 3, 0, (struct span){0}, 0), *last = NULL;
    for (uint32_t height = 3; height <= 2 + BLOCKS_AHEAD_MAX + 1; height++) {
        block_unref(last);
        last = block_on(&prev, height, 0, (struct span){0}, 0);
        struct error error = {0};
        cr_assert(chain_accept_header(rig.chain, &last->header, rig.now, NULL, NULL, &error), "%s",
                  error.text);
        if (height > 3) { /* the first is held back */
            say_block(PEER, last);
        }
        bool taken = chain_find(rig.chain, &last->hash)->status & BLOCK_HAVE_DATA;
        cr_assert_eq(taken, height > 3 && height <= 2 + BLOCKS_AHEAD_MAX, "height %u", height);
        prev = last->hash;
    }
    say_block(PEER, first);
    cr_assert_eq(chain_tip(rig.chain)->height, 2 + BLOCKS_AHEAD_MAX);
    block_unref(first);
    block_unref(last);
}

Test(serve, a_transaction_that_was_just_mined_is_served)
{
    grow(3);
    struct tx *tx = spend(1, 400000);
    struct block *block = block_on_tip(tx->raw, 1);
    accept_block(block);
    connect_peer(PEER);
    say_item(PEER, "getdata", INV_WTX, &tx->wtxid);
    say_item(PEER, "getdata", INV_TX, &tx->txid);
    cr_assert_eq(heard(PEER, "tx", NULL), 2);
    say_item(PEER, "getdata", INV_TX, &block->txs[0].txid);
    cr_assert_eq(heard(PEER, "notfound", NULL), 1, "a coinbase is in every compact block");
    grow(1);
    say_item(PEER, "getdata", INV_WTX, &tx->wtxid);
    cr_assert_eq(heard(PEER, "notfound", NULL), 2);
    block_unref(block);
    tx_unref(tx);
}

Test(serve, a_block_beside_ours_with_as_much_work_is_fetched)
{
    struct buf b = {0};
    struct span asked;
    grow(3);
    connect_peer(PEER);
    struct block *lower = block_on(&chain_at(rig.chain, 1)->hash, 2, 7, (struct span){0}, 0);
    struct block *equal = block_on(&lower->hash, 3, 7, (struct span){0}, 0);
    struct block *list[] = {lower, equal};
    for (size_t i = 0; i < ARRAY_COUNT(list); i++) {
        buf_compact_size(&b, 1);
        header_encode(buf_extend(&b, HEADER_BYTES), &list[i]->header);
        buf_u8(&b, 0);
        say(PEER, "headers", &b);
        cr_assert_eq(heard(PEER, "getdata", &asked), i, "the next may be on top of it");
    }
    cr_assert_eq(asked.len, 1 + 2 * 36);
    say_block(PEER, lower);
    say_block(PEER, equal);
    cr_assert(chain_find(rig.chain, &equal->hash)->status & BLOCK_HAVE_DATA);
    cr_assert_neq(chain_tip(rig.chain), chain_find(rig.chain, &equal->hash), "the first seen stays");
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    block_unref(lower);
    block_unref(equal);
}

Test(serve, a_large_block_on_a_slow_line_is_waited_for)
{
    grow(1);
    connect_peer(PEER);
    connect_peer(PEER + 1);
    struct block *block = block_on(&chain_tip(rig.chain)->hash, 2, 3, (struct span){0}, 0);
    for (peer_id peer = PEER; peer <= PEER + 1; peer++) {
        struct buf b = {0};
        buf_compact_size(&b, 1);
        header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
        buf_u8(&b, 0);
        say(peer, "headers", &b);
    }
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    struct buf message = {0}, large = {0};
    buf_extend(&large, 1 << 20);
    frame(&message, "block", buf_span(&large));
    size_t at = 0;
    for (int i = 0; i < 8; i++, at += 40000) {
        say_bytes(PEER, message.data + at, 40000);
        pass(SECOND);
    }
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 0, "it is on its way");
    for (int i = 0; i < 4; i++, at += 10000) {
        say_bytes(PEER, message.data + at, 10000);
        pass(SECOND);
    }
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1, "it hardly moves any more");
    buf_free(&message);
    buf_free(&large);
    block_unref(block);
}

Test(serve, who_keeps_blocks_back_gets_no_more_time_for_the_next)
{
    enum { COUNT = 6, BAD = PEER, GOOD, THIRD };
    struct block *blocks[COUNT];
    grow(1);
    struct hash256 prev = chain_tip(rig.chain)->hash;
    for (uint32_t i = 0; i < COUNT; i++) {
        blocks[i] = block_on(&prev, 2 + i, 3, (struct span){0}, 0);
        prev = blocks[i]->hash;
    }
    for (peer_id peer = BAD; peer <= THIRD; peer++) {
        connect_peer(peer);
        say_headers_of(peer, blocks, COUNT);
    }
    cr_assert_eq(heard(BAD, "getdata", NULL), 1);
    pass(6 * SECOND);
    cr_assert_eq(heard(GOOD, "getdata", NULL), 1, "it has had its time");
    for (size_t i = 0; i < 4; i++) {
        say_block(GOOD, blocks[i]);
        pass(3 * SECOND);
    }
    p2p_closed(rig.p2p, GOOD, "gone", rig.now);
    cr_assert_eq(heard(BAD, "getdata", NULL), 2, "it has rested");
    pass(6 * SECOND);
    cr_assert_eq(heard(THIRD, "getdata", NULL), 1, "and has had its time again");
    for (size_t i = 0; i < COUNT; i++) {
        block_unref(blocks[i]);
    }
}

Test(serve, whoever_is_alone_is_not_asked_twice)
{
    struct branch *branch = branch_new(1, 20);
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 20);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    pass(20 * SECOND);
    pass(20 * SECOND);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "it would send all of them twice");
    connect_peer(PEER + 1);
    say_headers(PEER + 1, branch, 1, 20);
    pass(SECOND);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1, "somebody else can be asked");
    mem_free(branch);
}

Test(serve, the_only_peer_that_we_have_dialled_stays_among_those_that_send_blocks_unasked)
{
    struct error error = {0};
    cr_assert(p2p_add_node(rig.p2p, "127.0.0.1:18444", rig.now, &error));
    grow(1);
    pass(SECOND);
    p2p_opened(rig.p2p, rig.dialled, "127.0.0.1:18444", rig.now);
    shake_hands(rig.dialled, 0);
    for (peer_id peer = PEER; peer <= PEER + 3; peer++) {
        connect_peer(peer);
    }
    for (peer_id i = 0; i <= 4; i++) {
        peer_id peer = i ? PEER + i - 1 : rig.dialled;
        const struct block_entry *tip = chain_tip(rig.chain);
        struct block *block = block_on(&tip->hash, tip->height + 1, 0, (struct span){0}, 0);
        rig.now.mono_us += 1000;
        say_block(peer, block);
        cr_assert(info_of(peer).compact_to, "peer %u was first", peer);
        block_unref(block);
    }
    cr_assert(info_of(rig.dialled).compact_to);
    cr_assert_not(info_of(PEER).compact_to);
    cr_assert_not(info_of(PEER + 1).compact_to);
}

Test(serve, of_a_peer_that_deletes_old_blocks_only_the_latest_are_asked_for)
{
    struct branch *branch = branch_new(1, 880);
    struct buf b = {0};
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    buf_i32(&b, 70016);
    buf_u64(&b, 8 | 1024); /* NETWORK_LIMITED */
    buf_extend(&b, 8 + 26 + 26 + 8 + 1 + 4 + 1);
    say(PEER, "version", &b);
    say_nothing_but(PEER, "verack");
    say_headers(PEER, branch, 1, 880);
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    connect_peer(PEER + 1);
    say_headers(PEER + 1, branch, 1, 100);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1);
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    connect_peer(PEER + 2);
    say_headers(PEER + 2, branch, 101, 880);
    cr_assert_eq(heard(PEER + 2, "getdata", NULL), 1);
    say_headers(PEER, branch, 880, 880);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "those that it has");
    mem_free(branch);
}

Test(serve, who_has_no_blocks_keeps_nobody_waiting)
{
    struct buf b = {0};
    connect_peer(PEER);
    pass(40 * SECOND); /* what it was asked for it does not have */
    cr_assert(p2p_synced(rig.p2p));
    p2p_accepted(rig.p2p, PEER + 1, "127.0.0.1:1", rig.now);
    buf_i32(&b, 70016);
    buf_extend(&b, 8 + 8 + 26 + 26 + 8 + 1 + 4 + 1);
    say(PEER + 1, "version", &b);
    say_nothing_but(PEER + 1, "verack");
    cr_assert(p2p_synced(rig.p2p));
    connect_peer(PEER + 2);
    cr_assert_not(p2p_synced(rig.p2p));
}

/* ---- Blocks that nobody asked for -------------------------------------------------------------------- */

Test(serve, an_unasked_block_whose_parent_is_unknown_ends_the_connection)
{
    struct hash256 nobody = {{7}};
    grow(3);
    connect_peer(PEER);
    struct block *block = block_on(&nobody, 4, 1, (struct span){0}, 0),
                 *next = block_on_tip((struct span){0}, 0);
    size_t before = p2p_memory_bytes(rig.p2p);
    say_block(PEER, block);
    cr_assert(rig.closed[PEER]);
    cr_assert_null(chain_find(rig.chain, &block->hash));
    cr_assert_leq(p2p_memory_bytes(rig.p2p), before + 1000);
    connect_peer(PEER + 1);
    say_block(PEER + 1, next);
    cr_assert_not(rig.closed[PEER + 1]);
    cr_assert_eq(chain_tip(rig.chain)->height, 4, "the next one is welcome");
    block_unref(block);
    block_unref(next);
}
