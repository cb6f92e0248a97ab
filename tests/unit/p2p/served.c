/* Blocks that are not in memory any more: many ask, one read answers (served.c). */
#include <pthread.h>

#include "rig.h"

enum { BLOCKS = 6, CROWD = 10 };

static void begin_crowd(void)
{
    begin_forgetful();
    grow(BLOCKS);
    rig.config.inbound_max = 2 * CROWD;
    begin_again();
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        connect_peer(peer);
    }
    rig.reads = 0;
    rig.reads_wait = true;
}

TestSuite(served, .init = begin_crowd, .fini = end);

static void let_read(void)
{
    rig.reads_wait = false;
    pump();
    rig.reads_wait = true;
}

/* One getdata for several blocks, with their witnesses. */
static void ask(peer_id peer, const uint32_t *heights, size_t count)
{
    struct buf b = {0};
    buf_compact_size(&b, count);
    for (size_t i = 0; i < count; i++) {
        buf_u32(&b, INV_BLOCK | WITNESS_FLAG);
        buf_bytes(&b, chain_at(rig.chain, heights[i])->hash.b, 32);
    }
    say(peer, "getdata", &b);
}

static void ask_one(peer_id peer, uint32_t height)
{
    ask(peer, &height, 1);
}

/* It was sent so many blocks since it was last forgotten, and the last of them whole. */
static void got(peer_id peer, size_t count, uint32_t height)
{
    struct span raw = {0};
    cr_assert_eq(heard(peer, "block", &raw), count, "peer %lu", (unsigned long)peer);
    if (count) {
        const struct block_entry *entry = chain_at(rig.chain, height);
        cr_assert(
            span_equal(raw, span_of(rig.files[FILE_BLOCKS].data + entry->data_offset, entry->data_len)));
    }
}

Test(served, ten_peers_one_read)
{
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        ask_one(peer, 2);
        got(peer, 0, 0);
    }
    let_read();
    cr_assert_eq(rig.reads, 1);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        got(peer, 1, 2);
    }
    ask_one(PEER, 2); /* once more, and it is still here */
    got(PEER, 2, 2);
    let_read();
    cr_assert_eq(rig.reads, 1);
}

Test(served, two_blocks_in_either_order_are_two_reads)
{
    static const uint32_t orders[2][4] = {{2, 3, 2, 3}, {3, 2, 3, 2}};
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        ask(peer, orders[peer % 2], 4);
    }
    let_read();
    cr_assert_eq(rig.reads, 2);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        got(peer, 4, orders[peer % 2][3]);
    }
}

Test(served, who_leaves_takes_nothing_along)
{
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        ask_one(peer, 2);
    }
    p2p_closed(rig.p2p, PEER, "gone", rig.now); /* for whom it is read */
    connect_peer(PEER + CROWD);                 /* and is back */
    ask_one(PEER + CROWD, 2);
    let_read();
    cr_assert_eq(rig.reads, 1);
    got(PEER, 0, 0);
    got(PEER + 1, 1, 2);
    got(PEER + 2, 1, 2);
    got(PEER + CROWD, 1, 2);
}

Test(served, when_all_have_left_it_is_kept_for_the_next)
{
    size_t before = p2p_memory_bytes(rig.p2p);
    ask_one(PEER, 2);
    p2p_closed(rig.p2p, PEER, "gone", rig.now);
    let_read();
    cr_assert_gt(p2p_memory_bytes(rig.p2p), before - 20000);
    ask_one(PEER + 1, 2);
    got(PEER + 1, 1, 2);
    cr_assert_eq(rig.reads, 1);
}

Test(served, a_read_that_fails_is_told_to_everybody_and_forgotten)
{
    static const uint32_t blocks[] = {2, BLOCKS};
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        ask(peer, blocks, 2);
    }
    rig.reads_fail = 1;
    let_read();
    cr_assert_eq(rig.reads, 2);
    for (peer_id peer = PEER; peer < PEER + CROWD; peer++) {
        cr_assert_eq(heard(peer, "notfound", NULL), 1);
        got(peer, 1, BLOCKS); /* what it asked for behind it */
        cr_assert_not(rig.closed[peer]);
    }
    ask_one(PEER, 2);
    let_read();
    cr_assert_eq(rig.reads, 3, "the next who asks is a new try");
    got(PEER, 2, 2);
}

Test(served, damaged_bytes_are_handed_to_nobody)
{
    rig.files[FILE_BLOCKS].data[chain_at(rig.chain, 2)->data_offset + 40] ^= 1;
    ask_one(PEER, 2);
    ask_one(PEER + 1, 2);
    let_read();
    for (peer_id peer = PEER; peer < PEER + 2; peer++) {
        got(peer, 0, 0);
        cr_assert_eq(heard(peer, "notfound", NULL), 1);
    }
}

/* Who always asks for the next before it has the last, as a download does, holds no more for it. */
static void ask_without_a_pause(uint32_t type, const char *answer)
{
    say_item(PEER, "getdata", type, &chain_at(rig.chain, 1)->hash);
    size_t before = p2p_memory_bytes(rig.p2p), most = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        say_item(PEER, "getdata", type, &chain_at(rig.chain, 1 + (i + 1) % BLOCKS)->hash);
        rig.reads_let = 1;
        pump();
        cr_assert_eq(heard(PEER, answer, NULL), 1);
        forget_heard(PEER);
        most = MAX(most, p2p_memory_bytes(rig.p2p));
    }
    cr_assert_lt(most, before + 20000);
    let_read();
    cr_assert_eq(heard(PEER, answer, NULL), 1);
}

Test(served, a_download_without_a_pause_takes_no_memory)
{
    ask_without_a_pause(INV_BLOCK, "block");
    rig.reads_fail = SIZE_MAX; /* what is read is kept, and would be here at once */
    ask_without_a_pause(INV_BLOCK | WITNESS_FLAG, "notfound");
}

/* ---- From memory ------------------------------------------------------------------------------------- */

#define INV_COMPACT 4u

static void *ask_for_all(void *context)
{
    uint32_t type = *(const uint32_t *)context;
    struct buf b = {0};
    buf_compact_size(&b, 50000);
    for (size_t i = 0; i < 50000; i++) {
        buf_u32(&b, type);
        buf_bytes(&b, chain_tip(rig.chain)->hash.b, 32);
    }
    say(PEER, "getdata", &b);
    return NULL;
}

/* Thousands of answers that are here at once are given one after the other, not each inside the last: a small
 * stack is enough for them. */
Test(served_from_memory, the_longest_getdata, .init = begin, .fini = end)
{
    static uint32_t types[] = {INV_BLOCK, INV_BLOCK | WITNESS_FLAG, INV_COMPACT};
    grow(BLOCKS);
    connect_peer(PEER);
    for (size_t t = 0; t < ARRAY_COUNT(types); t++) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 256u << 10);
        cr_assert_eq(pthread_create(&thread, &attributes, ask_for_all, &types[t]), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
        size_t sent = 0;
        for (size_t before = SIZE_MAX; sent != before;) {
            before = sent;
            sent += heard(PEER, types[t] == INV_COMPACT ? "cmpctblock" : "block", NULL);
            forget_heard(PEER); /* it has read them, and gets more */
        }
        cr_assert_eq(sent, 50000);
    }
}
