/* core/p2p's latency instruments, and what they are there to show: a block is handed on before it is
 * connected; and how a download is shared among peers. */
#include "rig.h"

static int64_t ticks;

static int64_t ticking(void) /* a clock that moves at every look */
{
    ticks += 10;
    return rig.now.mono_us + ticks;
}

static void begin_ticking(void)
{
    begin();
    rig.config.clock_us = ticking;
    ticks = 0;
    begin_again();
}

TestSuite(latency, .init = begin_ticking, .fini = end);

Test(latency, a_block_is_announced_before_it_is_connected_and_every_hop_is_noted)
{
    struct p2p_block_times times[P2P_BLOCK_TIMES];
    struct p2p_latency all;
    struct buf b = {0};
    grow(3);
    connect_peer(PEER);
    connect_fast_peer(PEER + 1);
    struct block *block = block_on_tip((struct span){0}, 0);
    frame(&b, "block", block->raw);
    int64_t first_us = rig.now.mono_us;
    say_bytes(PEER, b.data, 100);
    rig.now.mono_us += 7000;
    say_bytes(PEER, b.data + 100, b.len - 100);
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &block->hash));
    cr_assert_eq(heard(PEER + 1, "cmpctblock", NULL), 1);
    p2p_workers_switched(rig.p2p, &block->hash, rig.now.mono_us + 100000);

    size_t count = p2p_block_times(rig.p2p, times, P2P_BLOCK_TIMES);
    cr_assert_geq(count, 1);
    const struct p2p_block_times *t = &times[count - 1];
    cr_assert(hash256_equal(&t->hash, &block->hash));
    cr_assert_eq(t->peer, PEER);
    cr_assert_eq(t->bytes, block->raw.len);
    cr_assert_eq(t->first_us, first_us);
    cr_assert_geq(t->at_us[HOP_RECEIVED], first_us + 7000);
    static const enum p2p_hop order[] = {HOP_RECEIVED, HOP_CHECKED,   HOP_ANNOUNCED,
                                         HOP_VERIFIED, HOP_CONNECTED, HOP_SWITCHED};
    for (size_t i = 1; i < ARRAY_COUNT(order); i++) {
        cr_assert_gt(t->at_us[order[i]], t->at_us[order[i - 1]], "%s", p2p_hop_names[order[i]]);
    }
    p2p_latency(rig.p2p, &all);
    const struct p2p_histogram *mine = &info_of(PEER).latency.hops[HOP_RECEIVED];
    cr_assert_eq(mine->count, 1);
    cr_assert_geq(p2p_latency_quantile(mine, 0.5), 7000);
    cr_assert_leq(p2p_latency_quantile(mine, 0.5), 10000, "not above the bucket's bound");
    cr_assert_eq(info_of(PEER + 1).latency.hops[HOP_RECEIVED].count, 0);
    cr_assert_geq(all.hops[HOP_SWITCHED].count, 1);
    buf_free(&b);
    block_unref(block);
}

/* ---- Downloads --------------------------------------------------------------------------------------- */

/* Marks what a peer was asked for; false when something had been asked for before. */
static bool mark_asked(peer_id peer, const struct branch *branch, bool asked[4301], size_t *count)
{
    struct span payload;
    *count = 0;
    if (!heard(peer, "getdata", &payload)) {
        return true;
    }
    struct cursor c = cursor_of(payload.data, payload.len);
    *count = cursor_count(&c, 36);
    for (size_t i = 0; i < *count; i++) {
        struct hash256 hash;
        cursor_u32(&c);
        cursor_bytes(&c, hash.b, 32);
        for (size_t height = 1; height < 4301; height++) {
            if (hash256_equal(&hash, &branch->hashes[height])) {
                if (asked[height]) {
                    return false;
                }
                asked[height] = true;
            }
        }
    }
    return true;
}

Test(latency, a_download_is_shared_among_peers_and_no_block_is_asked_for_twice)
{
    struct branch *branch = branch_new(1, 1500);
    bool asked[4301] = {false};
    size_t counts[3];
    for (peer_id i = 0; i < 3; i++) {
        connect_peer(PEER + i);
        forget_heard(PEER + i);
        say_headers(PEER + i, branch, 1, 1500);
        cr_assert(mark_asked(PEER + i, branch, asked, &counts[i]), "asked for twice");
        cr_assert_gt(counts[i], 16, "small blocks are asked for by the hundred");
    }
    for (size_t height = 1; height <= counts[0] + counts[1] + counts[2]; height++) {
        cr_assert(asked[height], "from the bottom up: %zu", height);
    }
    p2p_closed(rig.p2p, PEER, "it left", rig.now);
    for (peer_id i = 1; i < 3; i++) {
        forget_heard(PEER + i);
    }
    memset(asked, 0, (counts[0] + 1) * sizeof *asked); /* what it owed is to be asked for again */
    connect_peer(PEER + 3);
    forget_heard(PEER + 3);
    say_headers(PEER + 3, branch, 1, 1500);
    cr_assert(mark_asked(PEER + 3, branch, asked, &counts[0]));
    cr_assert(asked[1], "the lowest first");
    mem_free(branch);
}

/* ---- Trickling --------------------------------------------------------------------------------------- */

Test(latency, with_a_trickle_transactions_wait_and_are_told_together)
{
    struct tx *txs[2];
    struct span told;
    rig.config.trickle_us = 2000000;
    begin_again();
    grow(10);
    connect_peer(PEER);
    connect_peer(PEER + 1);
    for (size_t i = 0; i < ARRAY_COUNT(txs); i++) {
        struct buf raw = {0};
        txs[i] = spend((uint32_t)i + 1, 400000);
        tx_write(&raw, txs[i], true);
        say(PEER, "tx", &raw);
        cr_assert(mempool_find(rig.pool, &txs[i]->txid));
    }
    cr_assert_eq(heard(PEER + 1, "inv", NULL), 0, "not at once");
    for (int half_seconds = 0; half_seconds < 9; half_seconds++) {
        pass(500000);
    }
    cr_assert_eq(heard(PEER + 1, "inv", &told), 1);
    cr_assert_eq(told.len, 1 + 2 * 36, "both in one message");
    cr_assert_eq(heard(PEER, "inv", NULL), 0, "it has them");
    for (size_t i = 0; i < ARRAY_COUNT(txs); i++) {
        tx_unref(txs[i]);
    }
}
