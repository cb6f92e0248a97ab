/* Compact blocks as somebody sends them who wants to break us (BIP152). */
#include "rig.h"

#define INV_COMPACT 4u
#define NONCE       5u

TestSuite(compact, .init = begin, .fini = end);

/* A block with a coinbase and so many spends, each of a coinbase that is mature. */
static struct block *block_of_spends(uint32_t count)
{
    struct buf txs = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct tx *tx = spend(i + 1, 400000);
        tx_write(&txs, tx, true);
        tx_unref(tx);
    }
    struct block *block = block_on_tip(buf_span(&txs), count);
    buf_free(&txs);
    return block;
}

/* Its header and nonce; what follows is the test's. */
static struct buf head_of(const struct block *block)
{
    struct buf b = {0};
    header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
    buf_u64(&b, NONCE);
    return b;
}

static void put_short(struct buf *b, const struct block *block, uint32_t index)
{
    struct buf head = head_of(block);
    uint8_t digest[32], id[8];
    sha256(digest, head.data, head.len);
    const uint64_t key[2] = {load_le64(digest), load_le64(digest + 8)};
    store_le64(id, siphash_2_4(key, block->txs[index].wtxid.b, 32));
    buf_bytes(b, id, 6);
    buf_free(&head);
}

static void put_prefilled(struct buf *b, uint64_t step, const struct tx *tx)
{
    buf_compact_size(b, step);
    tx_write(b, tx, true);
}

/* The whole message: those transactions are prefilled whose bit is set. */
static struct buf compact_of(const struct block *block, uint32_t prefilled)
{
    struct buf b = head_of(block);
    uint32_t count = (uint32_t)__builtin_popcount(prefilled), next = 0;
    buf_compact_size(&b, block->tx_count - count);
    for (uint32_t i = 0; i < block->tx_count; i++) {
        if (!(prefilled >> i & 1)) {
            put_short(&b, block, i);
        }
    }
    buf_compact_size(&b, count);
    for (uint32_t i = 0; i < block->tx_count; i++) {
        if (prefilled >> i & 1) {
            put_prefilled(&b, i - next, &block->txs[i]);
            next = i + 1;
        }
    }
    return b;
}

static void say_compact(peer_id peer, const struct block *block, uint32_t prefilled)
{
    struct buf b = compact_of(block, prefilled);
    say(peer, "cmpctblock", &b);
}

static bool is_tip(const struct block *block)
{
    return hash256_equal(&chain_tip(rig.chain)->hash, &block->hash);
}

static void say_blocktxn(peer_id peer, const struct hash256 *hash, const struct block *of, uint32_t first,
                         uint32_t last, uint64_t count)
{
    struct buf b = {0};
    buf_bytes(&b, hash->b, 32);
    buf_compact_size(&b, count);
    for (uint32_t i = first; i <= last && i < of->tx_count; i++) {
        tx_write(&b, &of->txs[i], true);
    }
    say(peer, "blocktxn", &b);
}

/* ---- Handing on -------------------------------------------------------------------------------------- */

Test(compact, a_block_is_handed_on_before_it_is_checked)
{
    grow(3);
    connect_peer(PEER);
    connect_fast_peer(PEER + 1);
    const struct block_entry *tip = chain_tip(rig.chain);
    struct block *wrong = block_on(&tip->hash, tip->height + 7, 1, (struct span){0}, 0);
    say_compact(PEER, wrong, 1);
    cr_assert_eq(heard(PEER + 1, "cmpctblock", NULL), 1, "BIP152: header and proof of work are right");
    cr_assert_eq(chain_tip(rig.chain), tip, "the coinbase names another height");
    cr_assert_not(rig.closed[PEER], "who hands on need not have checked");
    block_unref(wrong);
}

Test(compact, what_the_header_does_not_commit_to_is_not_handed_on)
{
    grow(3);
    connect_peer(PEER);
    connect_fast_peer(PEER + 1);
    const struct block_entry *tip = chain_tip(rig.chain);
    struct block *block = block_on_tip((struct span){0}, 0),
                 *other = block_on(&tip->hash, tip->height + 1, 1, (struct span){0}, 0);
    struct buf b = head_of(block);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, 1);
    put_prefilled(&b, 0, &other->txs[0]);
    say(PEER, "cmpctblock", &b);
    cr_assert_eq(heard(PEER + 1, "cmpctblock", NULL), 0);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "the whole block is asked for");
    cr_assert_not(rig.closed[PEER]);
    say_block(PEER, block);
    cr_assert(is_tip(block));
    block_unref(block);
    block_unref(other);
}

Test(compact, two_blocks_in_one_piece_are_taken_one_after_the_other)
{
    grow(3);
    connect_peer(PEER);
    connect_fast_peer(PEER + 1);
    struct block *first = block_on_tip((struct span){0}, 0),
                 *second = block_on(&first->hash, chain_tip(rig.chain)->height + 2, 0, (struct span){0}, 0);
    struct buf a = compact_of(first, 1), b = compact_of(second, 1), both = {0};
    frame(&both, "cmpctblock", buf_span(&a));
    frame(&both, "cmpctblock", buf_span(&b));
    say_bytes(PEER, both.data, both.len);
    cr_assert(is_tip(second));
    cr_assert_geq(heard(PEER + 1, "cmpctblock", NULL), 1);
    buf_free(&a);
    buf_free(&b);
    buf_free(&both);
    block_unref(first);
    block_unref(second);
}

/* ---- What is sent along ------------------------------------------------------------------------------ */

Test(compact, any_transactions_may_be_sent_along)
{
    enum { SPENDS = 5 };
    grow(SPENDS + 2);
    connect_peer(PEER);
    struct block *block = block_of_spends(SPENDS);
    say_compact(PEER, block, 0x3f); /* all of them, and the block is here at once */
    cr_assert(is_tip(block));
    block_unref(block);
    block = block_on_tip((struct span){0}, 0);
    say_compact(PEER, block, 0); /* not even the coinbase */
    struct span asked;
    cr_assert_eq(heard(PEER, "getblocktxn", &asked), 1);
    cr_assert_eq(asked.len, 34);
    cr_assert_eq(asked.data[33], 0);
    say_blocktxn(PEER, &block->hash, block, 0, 0, 1);
    cr_assert(is_tip(block));
    block_unref(block);
}

Test(compact, what_is_missing_is_asked_for_by_differences_and_put_in_its_place)
{
    enum { SPENDS = 8 };
    struct span asked;
    grow(SPENDS + 2);
    connect_peer(PEER);
    struct block *block = block_of_spends(SPENDS);
    say_compact(PEER, block, 1u << 0 | 1u << 3 | 1u << 8); /* 1, 2, 4, 5, 6, 7 are missing */
    cr_assert_eq(heard(PEER, "getblocktxn", &asked), 1);
    static const uint8_t differences[] = {6, 1, 0, 1, 0, 0, 0};
    cr_assert_eq(asked.len, 32 + sizeof differences);
    cr_assert_arr_eq(asked.data + 32, differences, sizeof differences);
    struct buf b = {0};
    buf_bytes(&b, block->hash.b, 32);
    buf_compact_size(&b, 6);
    static const uint32_t missing[] = {1, 2, 4, 5, 6, 7};
    for (size_t i = 0; i < ARRAY_COUNT(missing); i++) {
        tx_write(&b, &block->txs[missing[i]], true);
    }
    say(PEER, "blocktxn", &b);
    cr_assert(is_tip(block));
    block_unref(block);
}

/* ---- Nonsense ---------------------------------------------------------------------------------------- */

/* Or passed over, where it cannot be read. */
static void expect_refused(struct buf *message, bool can_be_read, const char *why)
{
    static peer_id next = PEER;
    peer_id peer = next++;
    connect_peer(peer);
    say(peer, "cmpctblock", message);
    cr_assert_eq(rig.closed[peer], can_be_read, "%s", why);
    p2p_closed(rig.p2p, peer, "closed by us", rig.now);
    cr_assert_eq(chain_tip(rig.chain)->height, 10);
}

Test(compact, indices_that_run_over_end_the_connection)
{
    grow(10);
    struct block *block = block_of_spends(4);
    static const struct {
        uint64_t steps[3];
        size_t count;
        const char *why;
    } cases[] = {
        {{5}, 1, "behind the end"},
        {{0, 4}, 2, "behind the end by steps"},
        {{UINT16_MAX}, 1, "the largest step"},
        {{UINT16_MAX + 1}, 1, "a step too large"},
        {{0, UINT64_MAX}, 2, "a step that would wrap round"},
        {{1, UINT32_MAX}, 2, "a step that would wrap round 32 bits"},
        {{UINT16_MAX, UINT16_MAX, 3}, 3, "steps that would wrap round 16 bits"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf b = head_of(block);
        buf_compact_size(&b, 5 - cases[i].count);
        for (uint32_t k = 0; k < 5 - cases[i].count; k++) {
            put_short(&b, block, k);
        }
        buf_compact_size(&b, cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++) {
            put_prefilled(&b, cases[i].steps[k], &block->txs[0]);
        }
        expect_refused(&b, i < 3 || i == 6, cases[i].why);
    }
    block_unref(block);
}

Test(compact, counts_that_lie_end_the_connection)
{
    grow(10);
    struct block *block = block_of_spends(2);
    struct buf b = head_of(block);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, 0);
    expect_refused(&b, true, "a block of nothing");

    b = head_of(block);
    buf_compact_size(&b, UINT64_MAX);
    expect_refused(&b, false, "more short ids than there are bytes");

    b = head_of(block);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, UINT32_MAX);
    expect_refused(&b, false, "more transactions than there are bytes");

    b = head_of(block);
    buf_compact_size(&b, 20000); /* of which a block cannot hold so many */
    buf_extend(&b, 20000 * 6);
    buf_compact_size(&b, 0);
    expect_refused(&b, true, "more transactions than a block can have");

    b = head_of(block);
    buf_compact_size(&b, 2);
    put_short(&b, block, 1);
    b.len -= 1;
    expect_refused(&b, false, "an end in the middle of a short id");

    b = head_of(block);
    buf_compact_size(&b, 2);
    put_short(&b, block, 1);
    put_short(&b, block, 2);
    buf_compact_size(&b, 1);
    put_prefilled(&b, 0, &block->txs[0]);
    b.len -= 1;
    expect_refused(&b, false, "an end in the middle of a transaction");

    b = head_of(block);
    b.len -= 1;
    expect_refused(&b, false, "an end in the middle of the nonce");
    block_unref(block);
}

/* Whoever sends such a block at least needs a header with work. */
Test(compact, a_header_without_work_ends_the_connection)
{
    struct hash256 hash;
    grow(10);
    struct block *block = block_of_spends(1);
    struct block_header bad = block->header;
    do {
        bad.nonce++;
        header_hash(&hash, &bad);
    } while (pow_check(&hash, bad.bits, &params));
    struct buf b = head_of(block);
    header_encode(b.data, &bad);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, 1);
    put_prefilled(&b, 0, &block->txs[0]);
    expect_refused(&b, true, "no work");
    block_unref(block);
}

/* ---- Short identifiers ------------------------------------------------------------------------------- */

Test(compact, one_identifier_twice_asks_for_the_whole_block)
{
    struct p2p_compact_stats stats;
    struct span asked;
    grow(10);
    connect_peer(PEER);
    struct block *block = block_of_spends(4);
    struct buf b = head_of(block);
    buf_compact_size(&b, 4);
    put_short(&b, block, 1);
    put_short(&b, block, 2);
    put_short(&b, block, 3);
    put_short(&b, block, 1); /* far from the first */
    buf_compact_size(&b, 1);
    put_prefilled(&b, 0, &block->txs[0]);
    say(PEER, "cmpctblock", &b);
    cr_assert_not(rig.closed[PEER], "it happens by chance");
    cr_assert_eq(heard(PEER, "getblocktxn", NULL), 0);
    cr_assert_eq(heard(PEER, "getdata", &asked), 1);
    cr_assert_eq(load_le32(asked.data + 1), INV_BLOCK | WITNESS_FLAG);
    p2p_compact_stats(rig.p2p, &stats);
    cr_assert_eq(stats.fell_back, 1);
    say_block(PEER, block);
    cr_assert(is_tip(block));
    block_unref(block);
}

/* A transaction that is sent along may have the identifier of one that is not. */
Test(compact, a_transaction_may_be_sent_along_and_be_wanted)
{
    grow(10);
    connect_peer(PEER);
    struct block *block = block_of_spends(2);
    struct buf b = head_of(block);
    buf_compact_size(&b, 1);
    put_short(&b, block, 1);
    buf_compact_size(&b, 2);
    put_prefilled(&b, 0, &block->txs[0]);
    put_prefilled(&b, 1, &block->txs[1]); /* in the place of the other one */
    say(PEER, "cmpctblock", &b);
    cr_assert_eq(heard(PEER, "getblocktxn", NULL), 1);
    say_blocktxn(PEER, &block->hash, block, 1, 1, 1);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "what came of it is not the block");
    say_block(PEER, block);
    cr_assert(is_tip(block));
    block_unref(block);
}

/* ---- Answers ----------------------------------------------------------------------------------------- */

Test(compact, answers_with_other_counts_end_the_connection_and_others_are_asked)
{
    static const struct {
        uint32_t last;
        uint64_t count;
    } cases[] = {{0, 0}, {1, 1}, {3, 3}, {1, 2}, {2, UINT32_MAX}, {2, 3}};
    grow(10);
    struct block *block = block_of_spends(3);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        peer_id peer = (peer_id)(PEER + i);
        connect_peer(peer);
        say_compact(peer, block, 1u << 0 | 1u << 3); /* two are missing */
        cr_assert_eq(heard(peer, "getblocktxn", NULL), 1, "case %zu", i);
        say_blocktxn(peer, &block->hash, block, 1, cases[i].last, cases[i].count);
        cr_assert_eq(rig.closed[peer], i < 3, "case %zu", i); /* the others cannot be read */
        p2p_closed(rig.p2p, peer, "closed by us", rig.now);
        cr_assert_eq(chain_tip(rig.chain)->height, 10);
    }
    connect_peer(PEER + 20);
    say_compact(PEER + 20, block, 1u << 0 | 1u << 3);
    say_blocktxn(PEER + 20, &block->hash, block, 1, 2, 2);
    cr_assert(is_tip(block));
    block_unref(block);
}

Test(compact, answers_that_nobody_waits_for_are_passed_over)
{
    grow(10);
    connect_peer(PEER);
    connect_peer(PEER + 1);
    struct block *block = block_of_spends(2);
    const struct hash256 nobody = {{7}};
    say_blocktxn(PEER, &nobody, block, 1, 2, 2);
    say_blocktxn(PEER, &chain_tip(rig.chain)->hash, block, 1, 2, 2);
    say_compact(PEER, block, 1);
    say_blocktxn(PEER + 1, &block->hash, block, 1, 2, 2); /* who was not asked */
    say_blocktxn(PEER, &nobody, block, 1, 2, 2);
    cr_assert_eq(chain_tip(rig.chain)->height, 10);
    say_blocktxn(PEER, &block->hash, block, 1, 2, 2);
    cr_assert(is_tip(block));
    say_blocktxn(PEER, &block->hash, block, 1, 2, 2); /* once more */
    say_compact(PEER, block, 1);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_not(rig.closed[PEER + 1]);
    block_unref(block);
}

/* One that was first with a good block, so that we want compact blocks of it. */
static void connect_fast(peer_id peer)
{
    struct block *block = block_on_tip((struct span){0}, 0);
    connect_peer(peer);
    say_block(peer, block);
    cr_assert(info_of(peer).compact_to);
    forget_heard(peer);
    block_unref(block);
}

Test(compact, who_announces_first_and_sends_no_more_holds_nothing_up)
{
    grow(10);
    for (peer_id peer = PEER; peer <= PEER + 2; peer++) {
        connect_fast(peer);
    }
    connect_peer(PEER + 3);
    struct block *block = block_of_spends(2);
    for (peer_id peer = PEER; peer <= PEER + 3; peer++) {
        say_compact(peer, block, 1);
    }
    cr_assert_eq(heard(PEER, "getblocktxn", NULL), 1);
    cr_assert_eq(heard(PEER + 1, "getblocktxn", NULL), 1, "beside it");
    cr_assert_eq(heard(PEER + 2, "getblocktxn", NULL), 0,
                 "the third place is for a peer that we have dialled");
    cr_assert_eq(heard(PEER + 3, "getblocktxn", NULL), 0, "we have not asked it to send blocks unasked");
    say_blocktxn(PEER + 1, &block->hash, block, 1, 2, 2);
    cr_assert(is_tip(block));
    cr_assert_eq(info_of(PEER).blocks_in_flight, 1);
    say_blocktxn(PEER, &block->hash, block, 1, 2, 2);
    cr_assert_eq(info_of(PEER).blocks_in_flight, 0, "late, and no crime");
    pass(6000000);
    for (peer_id peer = PEER; peer <= PEER + 3; peer++) {
        cr_assert_not(rig.closed[peer]);
    }
    block_unref(block);
}

/* Of one peer one block at a time is put together: the next takes its place, and no memory is left behind. */
Test(compact, a_second_block_takes_the_place_of_the_first)
{
    grow(10);
    connect_peer(PEER);
    struct block *first = block_of_spends(3);
    const struct block_entry *tip = chain_tip(rig.chain);
    struct buf txs = {0};
    struct tx *tx = spend(5, 400000);
    tx_write(&txs, tx, true);
    struct block *second = block_on(&tip->hash, tip->height + 1, 7, buf_span(&txs), 1);
    size_t before = p2p_memory_bytes(rig.p2p);
    for (int i = 0; i < 200; i++) {
        say_compact(PEER, i % 2 ? second : first, 1);
        forget_heard(PEER);
    }
    cr_assert_lt(p2p_memory_bytes(rig.p2p), before + 20000);
    say_blocktxn(PEER, &second->hash, second, 1, 1, 1);
    cr_assert(is_tip(second));
    buf_free(&txs);
    tx_unref(tx);
    block_unref(first);
    block_unref(second);
}

Test(compact, of_a_block_that_gave_way_the_whole_is_asked_for)
{
    grow(10);
    connect_peer(PEER);
    struct block *parent = block_of_spends(3);
    struct buf txs = {0};
    struct span asked;
    struct tx *tx = spend(5, 400000);
    tx_write(&txs, tx, true);
    struct block *child = block_on(&parent->hash, chain_tip(rig.chain)->height + 2, 0, buf_span(&txs), 1);
    say_compact(PEER, parent, 1);
    say_compact(PEER, child, 1);
    cr_assert_eq(heard(PEER, "getblocktxn", NULL), 2);
    cr_assert_eq(heard(PEER, "getdata", &asked), 1);
    cr_assert_eq(memcmp(asked.data + 5, parent->hash.b, 32), 0);
    say_blocktxn(PEER, &parent->hash, parent, 1, 3, 3); /* too late */
    say_blocktxn(PEER, &child->hash, child, 1, 1, 1);
    say_block(PEER, parent);
    cr_assert(is_tip(child));
    buf_free(&txs);
    tx_unref(tx);
    block_unref(parent);
    block_unref(child);
}

/* ---- What others miss -------------------------------------------------------------------------------- */

static void say_getblocktxn(peer_id peer, const struct hash256 *hash, const uint64_t *steps, size_t count)
{
    struct buf b = {0};
    buf_bytes(&b, hash->b, 32);
    buf_compact_size(&b, count);
    for (size_t i = 0; i < count; i++) {
        buf_compact_size(&b, steps[i]);
    }
    say(peer, "getblocktxn", &b);
}

Test(compact, others_are_sent_what_they_ask_for_and_nothing_that_is_not_there)
{
    static const uint64_t wanted[] = {1, 1}, behind[] = {4}, by_steps[] = {3, 0}, wraps[] = {1, UINT64_MAX},
                          wraps_32[] = {UINT16_MAX, UINT16_MAX}, too_large[] = {UINT16_MAX + 1};
    static const struct {
        const uint64_t *steps;
        size_t count;
    } bad[] = {{behind, 1}, {by_steps, 2}, {wraps, 2}, {wraps_32, 2}, {too_large, 1}};
    struct span sent;
    grow(10);
    struct block *block = block_of_spends(3);
    accept_block(block);
    connect_peer(PEER);
    say_getblocktxn(PEER, &block->hash, wanted, 2); /* 1 and 3 */
    cr_assert_eq(heard(PEER, "blocktxn", &sent), 1);
    cr_assert_eq(sent.len, 33 + block->txs[1].raw.len + block->txs[3].raw.len);
    cr_assert_eq(memcmp(sent.data + 33, block->txs[1].raw.data, block->txs[1].raw.len), 0);
    say_getblocktxn(PEER, &block->hash, wanted, 0);
    cr_assert_eq(heard(PEER, "blocktxn", &sent), 2);
    cr_assert_eq(sent.len, 33);
    const struct hash256 nobody = {{7}};
    say_getblocktxn(PEER, &nobody, wanted, 2);
    cr_assert_not(rig.closed[PEER], "it may have been another's block");
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        peer_id peer = (peer_id)(PEER + 1 + i);
        connect_peer(peer);
        say_getblocktxn(peer, &block->hash, bad[i].steps, bad[i].count);
        cr_assert_eq(rig.closed[peer], i < 2, "case %zu", i); /* the others cannot be read */
        cr_assert_eq(heard(peer, "blocktxn", NULL), 0);
        p2p_closed(rig.p2p, peer, "closed by us", rig.now);
    }
    block_unref(block);
}

Test(compact, of_an_old_block_others_get_the_whole)
{
    static const uint64_t wanted[] = {0};
    grow(20);
    connect_peer(PEER);
    say_getblocktxn(PEER, &chain_at(rig.chain, 10)->hash, wanted, 1);
    cr_assert_eq(heard(PEER, "blocktxn", NULL), 1);
    say_getblocktxn(PEER, &chain_at(rig.chain, 9)->hash, wanted, 1);
    cr_assert_eq(heard(PEER, "blocktxn", NULL), 1);
    cr_assert_eq(heard(PEER, "block", NULL), 1);
    say_item(PEER, "getdata", INV_COMPACT, &chain_at(rig.chain, 15)->hash);
    cr_assert_eq(heard(PEER, "cmpctblock", NULL), 1);
    say_item(PEER, "getdata", INV_COMPACT, &chain_at(rig.chain, 14)->hash);
    cr_assert_eq(heard(PEER, "cmpctblock", NULL), 1);
    cr_assert_eq(heard(PEER, "block", NULL), 2);
}
