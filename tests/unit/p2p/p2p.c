/* core/p2p by its public header: framing, headers, what is served, compact blocks, orphans. */
#include "rig.h"

TestSuite(p2p, .init = begin, .fini = end);

Test(p2p, a_block_that_a_peer_does_not_have_is_not_asked_for_again_and_again)
{
    struct branch *a = branch_new(1, 1), *b = branch_new(2, 1);
    struct span payload;
    struct buf item = {0};
    connect_peer(PEER);
    say_headers(PEER, a, 1, 1);
    cr_assert_eq(heard(PEER, "getdata", &payload), 1);
    buf_bytes(&item, payload.data, payload.len);
    say(PEER, "notfound", &item);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    rig.now.mono_us += 1500000;
    p2p_tick(rig.p2p, rig.now);
    cr_assert_eq(heard(PEER, "getheaders", NULL), 1, "what does it have?");
    say_headers(PEER, b, 1, 1); /* with no more work */
    cr_assert_eq(heard(PEER, "getdata", &payload), 2);
    cr_assert_arr_eq(payload.data + 5, b->hashes[1].b, 32);
    mem_free(a);
    mem_free(b);
}

Test(p2p, headers_that_a_peer_has_nothing_to_add_to_do_not_hide_its_chain)
{
    struct branch *branch = branch_new(1, 3);
    struct span payload;
    struct buf none = {0};
    connect_peer(PEER);
    connect_peer(PEER + 1);
    say_headers(PEER, branch, 1, 3); /* and keeps its blocks */
    forget_heard(PEER + 1);
    buf_u8(&none, 0);
    say(PEER + 1, "headers", &none);
    cr_assert_eq(heard(PEER + 1, "getheaders", &payload), 1);
    cr_assert_arr_eq(payload.data + 5, params.genesis_hash.b, 32);
    buf_u8(&none, 0);
    say(PEER + 1, "headers", &none);
    cr_assert_eq(heard(PEER + 1, "getheaders", NULL), 1, "it has nothing at all");
    mem_free(branch);
}

/* ---- Framing ----------------------------------------------------------------------------------------- */

static void expect_closed_by_frame(const char *command, uint32_t length, bool spoil_magic)
{
    static peer_id next = PEER;
    struct buf b = {0};
    peer_id peer = next++;
    connect_peer(peer);
    frame(&b, command, (struct span){0});
    store_le32(b.data + 16, length);
    b.data[0] ^= spoil_magic;
    say_bytes(peer, b.data, b.len);
    buf_free(&b);
    cr_assert(rig.closed[peer], "'%s' of %u bytes", command, length);
}

Test(p2p, frames_beyond_the_limits_end_the_connection)
{
    expect_closed_by_frame("ping", P2P_MESSAGE_BYTES_MAX + 1, false);
    expect_closed_by_frame("unheardof", P2P_MESSAGE_BYTES_MAX + 1, false);
    expect_closed_by_frame("verack", 0, true);
}

Test(p2p, a_spoiled_message_is_passed_over_and_the_next_is_read)
{
    static const char *const commands[] = {"ping", "\x01name", "ping\0x", "p\xc3\xadng"};
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        peer_id peer = (peer_id)(PEER + i);
        struct buf nonce = {0}, b = {0};
        struct span pong;
        connect_peer(peer);
        buf_u64(&nonce, 76);
        frame(&b, commands[i], buf_span(&nonce));
        b.data[8] |= i == 2; /* zero, and more after it */
        b.data[20] ^= i == 0;
        store_le64(nonce.data, 77);
        frame(&b, "ping", buf_span(&nonce));
        say_bytes(peer, b.data, b.len);
        cr_assert_not(rig.closed[peer]);
        cr_assert_eq(heard(peer, "pong", &pong), 1);
        cr_assert_eq(load_le64(pong.data), 77);
        buf_free(&nonce);
        buf_free(&b);
    }
}

Test(p2p, what_stands_behind_a_short_message_is_a_newer_nodes)
{
    struct buf b = {0};
    connect_peer(PEER);
    buf_u64(&b, 5);
    buf_u64(&b, 6);
    say(PEER, "ping", &b);
    cr_assert_eq(heard(PEER, "pong", NULL), 1);
    buf_i64(&b, 3000);
    buf_u8(&b, 1);
    say(PEER, "feefilter", &b);
    cr_assert_eq(info_of(PEER).fee_filter_sat, 3000);
    buf_u8(&b, 1);
    say(PEER, "sendheaders", &b);
    cr_assert(info_of(PEER).wants_headers);
    cr_assert_not(rig.closed[PEER]);
}

Test(p2p, lengths_at_the_limits_are_waited_for)
{
    static const struct {
        const char *command;
        uint32_t length;
    } cases[] = {{"ping", 1024}, {"headers", 9 + 81 * 2000}, {"inv", 9 + 36 * 50000}, {"x", 4000000}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        peer_id peer = (peer_id)(PEER + i);
        struct buf b = {0};
        connect_peer(peer);
        size_t before = p2p_memory_bytes(rig.p2p);
        frame(&b, cases[i].command, (struct span){0});
        store_le32(b.data + 16, cases[i].length);
        say_bytes(peer, b.data, b.len);
        buf_free(&b);
        cr_assert_not(rig.closed[peer]);
        cr_assert_lt(p2p_memory_bytes(rig.p2p) - before, 65536, "what is claimed takes no memory");
    }
}

Test(p2p, a_message_may_come_byte_by_byte_and_unknown_ones_are_ignored)
{
    struct buf nonce = {0}, b = {0};
    struct span pong;
    connect_peer(PEER);
    buf_u64(&nonce, 77);
    frame(&b, "fromlater", buf_span(&nonce));
    frame(&b, "ping", buf_span(&nonce));
    for (size_t i = 0; i < b.len; i++) {
        cr_assert_eq(heard(PEER, "pong", NULL), 0);
        say_bytes(PEER, b.data + i, 1);
    }
    cr_assert_eq(heard(PEER, "pong", &pong), 1);
    cr_assert_eq(load_le64(pong.data), 77);
    cr_assert_not(rig.closed[PEER]);
    buf_free(&b);
    buf_free(&nonce);
}

static uint16_t port_in(struct span version)
{
    struct cursor from = cursor_of(version.data + 20 + 26 + 24, 2);
    return cursor_u16_be(&from);
}

Test(p2p, of_several_places_to_listen_at_the_first_is_told_to_whom_we_dial)
{
    struct error error = {0};
    struct span version;
    p2p_listening(rig.p2p, 2001);
    p2p_listening(rig.p2p, 2002);
    cr_assert(p2p_add_node(rig.p2p, "127.0.0.1:18444", rig.now, &error));
    pass(1000000);
    p2p_opened(rig.p2p, rig.dialled, "127.0.0.1:18444", rig.now);
    cr_assert_eq(heard(rig.dialled, "version", &version), 1);
    cr_assert_eq(port_in(version), 2001);
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_version(PEER, 1, 0);
    cr_assert_eq(heard(PEER, "version", &version), 1);
    cr_assert_eq(port_in(version), 0, "who has dialled us knows it");
}

Test(p2p, a_version_2_dial_is_let_go_and_version_1_is_welcome_after_it)
{
    uint8_t key[64];
    memset(key, 0xa5, sizeof key);
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_bytes(PEER, key, sizeof key);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(rig.out[PEER].len, 0);
    p2p_closed(rig.p2p, PEER, "closed by us", rig.now);
    connect_peer(PEER + 1); /* from the same address */
}

Test(p2p, who_is_silent_gives_way_when_all_places_are_taken)
{
    connect_peer(PEER);
    for (peer_id peer = PEER + 1; peer < PEER + PLACES; peer++) {
        p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
    }
    rig.now.mono_us += 1000000;
    p2p_accepted(rig.p2p, PEER + PLACES, "127.0.0.1:1", rig.now);
    cr_assert(rig.closed[PEER + PLACES], "nobody has been silent for long");
    p2p_closed(rig.p2p, PEER + PLACES, "closed by us", rig.now);
    rig.now.mono_us += 1500000;
    connect_peer(PEER + PLACES + 1);
    cr_assert(rig.closed[PEER + 1]);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_not(rig.closed[PEER + 2]);
}

/* ---- Headers ----------------------------------------------------------------------------------------- */

Test(p2p, headers_that_do_not_connect_are_asked_about_once)
{
    struct branch *branch = branch_new(1, 3);
    connect_peer(PEER);
    say_headers(PEER, branch, 3, 3);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_eq(heard(PEER, "getheaders", NULL), 1);
    cr_assert_eq(chain_best_header(rig.chain)->height, 0);
    say_headers(PEER, branch, 1, 3);
    cr_assert_eq(chain_best_header(rig.chain)->height, 3);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    mem_free(branch);
}

Test(p2p, headers_with_a_gap_end_the_connection)
{
    struct branch *branch = branch_new(1, 4);
    branch->headers[2] = branch->headers[4];
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 3);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(chain_best_header(rig.chain)->height, 0, "none is kept");
    mem_free(branch);
}

Test(p2p, headers_without_work_end_the_connection_and_none_before_them_is_kept)
{
    struct branch *branch = branch_new(1, 4);
    struct hash256 hash;
    do {
        branch->headers[4].nonce++;
        header_hash(&hash, &branch->headers[4]);
    } while (pow_check(&hash, branch->headers[4].bits, &params));
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 4);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(chain_best_header(rig.chain)->height, 0);
    mem_free(branch);
}

Test(p2p, headers_with_little_work_fill_no_memory_and_a_chain_with_more_is_followed)
{
    enum { OURS = 2100, HONEST = 4300 };
    grow(OURS);
    connect_peer(PEER);
    for (uint32_t salt = 1; salt <= 12; salt++) {
        struct branch *branch = branch_new(salt, 2000);
        say_headers(PEER, branch, 1, 2000);
        cr_assert_eq(chain_find(rig.chain, &branch->hashes[2000]) != NULL, salt <= 10, "branch %u", salt);
        mem_free(branch);
    }
    p2p_closed(rig.p2p, PEER, "gone", rig.now);
    struct branch *honest = branch_new(99, HONEST);
    const peer_id peer = PEER + 1; /* coming again has gained nothing */
    connect_peer(peer);
    say_headers(peer, honest, 1, 2000);
    cr_assert_null(chain_find(rig.chain, &honest->hashes[1]));
    struct span asked;
    cr_assert_eq(heard(peer, "getheaders", &asked), 1);
    cr_assert_eq(memcmp(asked.data + 5, honest->hashes[2000].b, 32), 0);
    say_headers(peer, honest, 2001, 4000);
    cr_assert_null(chain_find(rig.chain, &honest->hashes[1]));
    struct branch *lie = branch_new(98, 2000); /* another chain than the work was shown for */
    say_headers(peer, lie, 1, 2000);
    cr_assert_null(chain_find(rig.chain, &lie->hashes[1]));
    say_headers(peer, honest, 1, 2000);
    say_headers(peer, honest, 2001, 4000);
    say_headers(peer, honest, 1, 2000);
    cr_assert(chain_find(rig.chain, &honest->hashes[2000]));
    say_headers(peer, honest, 2001, 4000);
    say_headers(peer, honest, 4001, HONEST);
    cr_assert(hash256_equal(&chain_best_header(rig.chain)->hash, &honest->hashes[HONEST]));
    cr_assert_not(rig.closed[peer]);
    cr_assert_geq(heard(peer, "getdata", NULL), 1);
    mem_free(lie);
    mem_free(honest);
}

Test(p2p, a_question_that_is_not_answered_ends_whatever_else_is_said)
{
    grow(2100);
    connect_peer(PEER);
    for (uint32_t salt = 1; salt <= 10; salt++) { /* what may be kept of chains with little work is used up */
        struct branch *branch = branch_new(salt, 2000);
        say_headers(PEER, branch, 1, 2000);
        mem_free(branch);
    }
    p2p_closed(rig.p2p, PEER, "gone", rig.now);
    struct branch *branch = branch_new(99, 2003);
    connect_peer(PEER + 1);
    say_headers(PEER + 1, branch, 1, 2000);
    cr_assert_eq(heard(PEER + 1, "getheaders", NULL), 1, "is there more?");
    say_headers(PEER + 1, branch, 2003, 2003); /* does not connect, and is no answer */
    pass(20000000);
    cr_assert_not(p2p_synced(rig.p2p));
    pass(20000000);
    cr_assert(p2p_synced(rig.p2p));
    mem_free(branch);
}

Test(p2p, who_answers_with_what_does_not_connect_is_not_asked_for_ever)
{
    struct branch *branch = branch_new(1, 3);
    connect_peer(PEER);
    for (int i = 0; i < 6; i++) {
        cr_assert_not(p2p_synced(rig.p2p));
        say_headers(PEER, branch, 3, 3);
    }
    cr_assert_eq(heard(PEER, "getheaders", NULL), 5);
    cr_assert(p2p_synced(rig.p2p));
    pass(20000000);
    cr_assert_eq(heard(PEER, "getheaders", NULL), 5);
    mem_free(branch);
}

Test(p2p, who_gives_the_same_headers_again_is_not_asked_for_ever)
{
    enum { COUNT = 2000 };
    grow(COUNT);
    connect_peer(PEER);
    for (int i = 0; i < 3; i++) {
        struct buf b = {0};
        buf_compact_size(&b, COUNT);
        for (uint32_t height = 1; height <= COUNT; height++) {
            block_entry_encode(buf_extend(&b, HEADER_BYTES), chain_at(rig.chain, height));
            buf_u8(&b, 0);
        }
        say(PEER, "headers", &b);
        cr_assert_eq(p2p_synced(rig.p2p), i > 0);
    }
    cr_assert_eq(heard(PEER, "getheaders", NULL), 2, "the third was no answer any more");
}

/* ---- What we serve ----------------------------------------------------------------------------------- */

static void say_locator(const char *command, uint32_t height, uint32_t stop)
{
    struct buf b = {0};
    buf_u32(&b, 70016);
    buf_compact_size(&b, 1);
    buf_bytes(&b, chain_at(rig.chain, height)->hash.b, 32);
    if (stop) {
        buf_bytes(&b, chain_at(rig.chain, stop)->hash.b, 32);
    } else {
        buf_extend(&b, 32);
    }
    say(PEER, command, &b);
}

Test(p2p, getheaders_and_getblocks_answer_from_the_fork_to_the_stop)
{
    struct span found;
    grow(520);
    connect_peer(PEER);
    say_locator("getheaders", 10, 15);
    cr_assert_eq(heard(PEER, "headers", &found), 1);
    cr_assert_eq(found.len, 1 + 5 * 81);
    cr_assert_eq(memcmp(found.data + 1 + 4, chain_at(rig.chain, 10)->hash.b, 32), 0);
    say_locator("getheaders", 520, 0);
    cr_assert_eq(heard(PEER, "headers", &found), 2);
    cr_assert_eq(found.len, 1, "an empty answer at the tip");
    say_locator("getblocks", 10, 15);
    cr_assert_eq(heard(PEER, "inv", &found), 1);
    cr_assert_eq(found.len, 1 + 4 * 36, "the stop itself is left out");
    say_locator("getblocks", 0, 0);
    cr_assert_eq(heard(PEER, "inv", &found), 2);
    cr_assert_eq(found.len, 3 + 500 * 36);
}

Test(p2p, a_locator_that_is_too_long_ends_the_connection)
{
    struct buf b = {0};
    connect_peer(PEER);
    buf_u32(&b, 70016);
    buf_compact_size(&b, 102);
    buf_extend(&b, 102 * 32 + 32);
    say(PEER, "getheaders", &b);
    cr_assert(rig.closed[PEER]);
}

/* ---- Compact blocks ---------------------------------------------------------------------------------- */

/* The coinbase is sent along; `same` gives every other transaction the short identifier of the first. */
static void say_compact(const struct block *block, bool same)
{
    struct buf b = {0};
    uint8_t digest[32], id[8];
    header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
    buf_u64(&b, 5);
    sha256(digest, b.data, b.len);
    const uint64_t key[2] = {load_le64(digest), load_le64(digest + 8)};
    buf_compact_size(&b, block->tx_count - 1);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        store_le64(id, siphash_2_4(key, block->txs[same ? 1 : i].wtxid.b, 32));
        buf_bytes(&b, id, 6);
    }
    buf_compact_size(&b, 1);
    buf_compact_size(&b, 0);
    tx_write(&b, &block->txs[0], true);
    say(PEER, "cmpctblock", &b);
}

static struct block *block_with(struct tx *first, struct tx *second)
{
    struct buf txs = {0};
    tx_write(&txs, first, true);
    if (second) {
        tx_write(&txs, second, true);
    }
    struct block *block = block_on_tip(buf_span(&txs), second ? 2 : 1);
    buf_free(&txs);
    return block;
}

static void answer_missing(const struct block *block, const struct tx *tx)
{
    struct buf b = {0};
    buf_bytes(&b, block->hash.b, 32);
    buf_compact_size(&b, 1);
    tx_write(&b, tx, true);
    say(PEER, "blocktxn", &b);
}

Test(p2p, compact_blocks_are_put_together_asked_for_and_fallen_back_from)
{
    struct p2p_compact_stats stats;
    struct span asked;
    grow(10);
    connect_peer(PEER);
    struct tx *a = spend(1, 400000), *b = spend(2, 400000), *c = spend(3, 400000), *d = spend(4, 400000);

    struct buf raw = {0};
    tx_write(&raw, a, true);
    say(PEER, "tx", &raw);
    cr_assert(mempool_find(rig.pool, &a->txid));
    struct block *known = block_with(a, NULL);
    say_compact(known, false);
    p2p_compact_stats(rig.p2p, &stats);
    cr_assert_eq(stats.at_once, 1);
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &known->hash));

    struct block *missing = block_with(b, NULL);
    say_compact(missing, false);
    cr_assert_eq(heard(PEER, "getblocktxn", &asked), 1);
    cr_assert_eq(asked.len, 34);
    cr_assert_eq(asked.data[33], 1, "the second transaction");
    answer_missing(missing, b);
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &missing->hash));

    struct block *collision = block_with(c, d);
    say_compact(collision, true);
    p2p_compact_stats(rig.p2p, &stats);
    cr_assert_eq(stats.fell_back, 1);
    cr_assert_eq(heard(PEER, "getdata", &asked), 1);
    cr_assert_eq(load_le32(asked.data + 1), INV_BLOCK | WITNESS_FLAG);
    buf_bytes(&raw, collision->raw.data, collision->raw.len);
    say(PEER, "block", &raw);
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &collision->hash));

    struct tx *e = spend(5, 400000), *other = spend(5, 300000);
    struct block *spoiled = block_with(e, NULL);
    say_compact(spoiled, false);
    answer_missing(spoiled, other);
    p2p_compact_stats(rig.p2p, &stats);
    cr_assert_eq(stats.fell_back, 2);
    cr_assert_not(rig.closed[PEER], "who has not checked a block is not to blame for it");
    cr_assert_eq(heard(PEER, "getdata", NULL), 2);

    struct tx *all[] = {a, b, c, d, e, other};
    struct block *blocks[] = {known, missing, collision, spoiled};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        tx_unref(all[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        block_unref(blocks[i]);
    }
}

Test(p2p, a_compact_block_with_senseless_indices_ends_the_connection)
{
    struct block *block = block_on_tip((struct span){0}, 0);
    struct buf b = {0};
    connect_peer(PEER);
    header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
    buf_u64(&b, 5);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, 1);
    buf_compact_size(&b, 1); /* there is no second transaction */
    tx_write(&b, &block->txs[0], true);
    say(PEER, "cmpctblock", &b);
    cr_assert(rig.closed[PEER]);
    block_unref(block);
}

/* ---- Orphans ----------------------------------------------------------------------------------------- */

static struct hash256 say_orphan(peer_id peer, uint32_t number, size_t padding)
{
    struct hash256 nobody = {{1}};
    struct buf raw = {0};
    memcpy(nobody.b + 1, &number, sizeof number);
    put_tx(&raw, &nobody, 0, 2, 1000, padding);
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    struct hash256 wtxid = tx->wtxid;
    tx_unref(tx);
    say(peer, "tx", &raw);
    return wtxid;
}

Test(p2p, orphans_are_bounded_for_a_peer)
{
    struct buf b = {0};
    connect_peer(PEER);
    connect_peer(PEER + 1);
    buf_compact_size(&b, 60);
    for (uint32_t i = 0; i < 60; i++) {
        struct hash256 wtxid = say_orphan(PEER, i, 0);
        buf_u32(&b, INV_WTX);
        buf_bytes(&b, wtxid.b, 32);
    }
    cr_assert_eq(heard(PEER, "getdata", NULL), 50, "the parents of those that were kept");
    say(PEER + 1, "inv", &b);
    struct span asked;
    cr_assert_eq(heard(PEER + 1, "getdata", &asked), 1);
    cr_assert_eq(asked.data[0], 10, "what was not kept is asked for again");
}

Test(p2p, orphans_are_bounded_in_bytes)
{
    size_t before, after;
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        connect_peer(peer);
    }
    before = p2p_memory_bytes(rig.p2p);
    for (uint32_t i = 0; i < 120; i++) {
        peer_id peer = PEER + i % 3;
        say_orphan(peer, i, 99000);
        forget_heard(peer);
    }
    after = p2p_memory_bytes(rig.p2p);
    cr_assert_gt(after - before, 7u << 20, "they are counted");
    cr_assert_lt(after - before, (8u << 20) + 300000);
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        p2p_closed(rig.p2p, peer, "gone", rig.now);
    }
    cr_assert_lt(p2p_memory_bytes(rig.p2p), before + 100000, "and forgotten with who sent them");
}

static struct tx *spend_of(const struct tx *parent, int64_t sat)
{
    struct buf raw = {0};
    put_tx(&raw, &parent->txid, 0, 2, sat, 0);
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    return tx;
}

static void say_tx(peer_id peer, const struct tx *tx)
{
    struct buf b = {0};
    tx_write(&b, tx, true);
    say(peer, "tx", &b);
}

Test(p2p, orphans_are_looked_at_again_when_their_parent_is_here_or_in_a_block)
{
    grow(10);
    connect_peer(PEER);
    struct tx *a = spend(1, 400000), *b = spend_of(a, 190000), *c = spend_of(b, 90000);
    say_tx(PEER, c);
    say_tx(PEER, b);
    cr_assert_eq(mempool_count(rig.pool), 0);
    say_tx(PEER, a);
    cr_assert_eq(mempool_count(rig.pool), 3, "one after the other");
    struct tx *d = spend(2, 400000), *e = spend_of(d, 190000), *f = spend_of(e, 90000);
    say_tx(PEER, e);
    say_tx(PEER, f);
    cr_assert_eq(mempool_count(rig.pool), 3);
    struct buf txs = {0};
    tx_write(&txs, d, true);
    struct block *block = block_on_tip(buf_span(&txs), 1);
    say_block(PEER, block);
    cr_assert(mempool_find(rig.pool, &e->txid), "its parent came in a block only");
    cr_assert(mempool_find(rig.pool, &f->txid), "and its child with it");
    block_unref(block);
    buf_free(&txs);
    struct tx *all[] = {a, b, c, d, e, f};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        tx_unref(all[i]);
    }
}

Test(p2p, an_orphan_that_a_block_holds_is_none_any_more)
{
    struct buf txs = {0};
    grow(10);
    connect_peer(PEER);
    struct tx *a = spend(1, 400000), *b = spend_of(a, 190000);
    say_tx(PEER, b);
    for (uint32_t i = 1; i < 60; i++) {
        say_orphan(PEER, i, 0); /* more than are kept of one peer */
    }
    forget_heard(PEER);
    say_orphan(PEER, 100, 0);
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    tx_write(&txs, a, true);
    tx_write(&txs, b, true);
    struct block *block = block_on_tip(buf_span(&txs), 2);
    accept_block(block);
    forget_heard(PEER);
    say_orphan(PEER, 101, 0);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "there is room for one more");
    say_orphan(PEER, 102, 0);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1);
    block_unref(block);
    buf_free(&txs);
    tx_unref(a);
    tx_unref(b);
}
