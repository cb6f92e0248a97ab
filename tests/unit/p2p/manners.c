/* How connections begin, stay and end: what newer and older nodes may say, pings, filters, ourselves. */
#include "rig.h"

#define SECOND INT64_C(1000000)

TestSuite(manners, .init = begin, .fini = end);

Test(manners, nothing_counts_before_its_time_and_nobody_is_punished_for_it)
{
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_nothing_but(PEER, "verack");
    say_nothing_but(PEER, "fromlater");
    cr_assert_eq(rig.out[PEER].len, 0);
    say_version(PEER, 5, 0);
    cr_assert_eq(heard(PEER, "version", NULL), 1);
    say_version(PEER, 6, 0);
    cr_assert_eq(heard(PEER, "version", NULL), 1, "a second version changes nothing");
    say_nothing_but(PEER, "getaddr");
    cr_assert_eq(heard(PEER, "addr", NULL), 0);
    say_nothing_but(PEER, "verack");
    cr_assert_eq(heard(PEER, "getheaders", NULL), 1);
    say_nothing_but(PEER, "verack");
    cr_assert_eq(heard(PEER, "getheaders", NULL), 1);
    cr_assert_not(rig.closed[PEER]);
}

Test(manners, a_ping_before_verack_is_not_answered)
{
    struct buf b = {0};
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_version(PEER, 1, 0);
    buf_u64(&b, 7);
    say(PEER, "ping", &b);
    cr_assert_eq(heard(PEER, "pong", NULL), 0);
    cr_assert_not(rig.closed[PEER]);
}

Test(manners, what_is_to_be_agreed_before_verack_is_not_said_after_it)
{
    static const char *const late[] = {"wtxidrelay", "sendaddrv2"};
    for (size_t i = 0; i < ARRAY_COUNT(late); i++) {
        peer_id peer = (peer_id)(PEER + i);
        connect_peer(peer);
        say_nothing_but(peer, late[i]);
        cr_assert(rig.closed[peer], "%s", late[i]);
    }
}

Test(manners, what_is_agreed_is_kept_to)
{
    grow(3);
    connect_peer(PEER); /* has said wtxidrelay, and not sendaddrv2 */
    struct tx *tx = spend(1, 400000);
    struct span inv;
    mempool_submit(rig.pool, tx, 0, rig.now);
    pump();
    cr_assert_eq(heard(PEER, "inv", &inv), 1);
    cr_assert_eq(load_le32(inv.data + 1), INV_WTX);
    tx_unref(tx);
    cr_assert(p2p_add_address(rig.p2p, "7.7.7.7", 8333, false, rig.now));
    say_nothing_but(PEER, "getaddr");
    cr_assert_eq(heard(PEER, "addr", NULL), 1);
    cr_assert_eq(heard(PEER, "addrv2", NULL), 0);
}

Test(manners, who_asks_for_filters_or_the_mempool_would_wait_for_ever_and_goes)
{
    static const char *const asked[] = {"filterload",   "filteradd",    "filterclear", "getcfilters",
                                        "getcfheaders", "getcfcheckpt", "mempool"};
    struct span version;
    for (size_t i = 0; i < ARRAY_COUNT(asked); i++) {
        peer_id peer = (peer_id)(PEER + i);
        p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
        say_version(peer, peer, 0);
        cr_assert_eq(heard(peer, "version", &version), 1);
        cr_assert_eq(load_le64(version.data + 4) & (4 | 64), 0, "neither bloom nor compact filters");
        say_nothing_but(peer, "verack");
        cr_assert_not(rig.closed[peer]);
        struct buf b = {0};
        buf_extend(&b, 1 + 4 + 32); /* what asks for filters by height has that in it */
        say(peer, asked[i], &b);
        cr_assert(rig.closed[peer], "%s", asked[i]);
    }
}

/* Every message cut short somewhere, and junk in place of each: Bitcoin Core reads no further, and goes on.
 */
Test(manners, what_cannot_be_read_is_passed_over)
{
    static const struct {
        const char *command;
        size_t least; /* that can be read, of zeros */
        uint8_t count;
    } cases[] = {
        {"addr", 31, 1},        {"addrv2", 10, 1},       {"block", 81, 0},        {"blocktxn", 33, 0},
        {"cmpctblock", 90, 0},  {"feefilter", 8, 0},     {"getblocks", 37, 0},    {"getblocktxn", 33, 0},
        {"getcfilters", 37, 0}, {"getcfheaders", 37, 0}, {"getcfcheckpt", 33, 0}, {"getdata", 37, 1},
        {"getheaders", 37, 0},  {"headers", 82, 1},      {"inv", 37, 1},          {"notfound", 37, 1},
        {"ping", 8, 0},         {"sendcmpct", 9, 0},     {"tx", 10, 0},
    };
    uint64_t pings = 0;
    grow(3);
    connect_peer(PEER);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        for (size_t len = 0; len < cases[i].least; len++) {
            struct buf b = {0};
            buf_extend(&b, len);
            if (len) {
                b.data[0] = cases[i].count;
            }
            say(PEER, cases[i].command, &b);
            cr_assert_not(rig.closed[PEER], "%s of %zu bytes", cases[i].command, len);
        }
        struct buf junk = {0}, nonce = {0};
        memset(buf_extend(&junk, 500), 0xff, 500);
        if (strncmp(cases[i].command, "getcf", 5) != 0) {
            say(PEER, cases[i].command, &junk);
        }
        buf_free(&junk);
        pings += strcmp(cases[i].command, "ping") == 0;
        buf_u64(&nonce, i);
        say(PEER, "ping", &nonce);
        cr_assert_eq(heard(PEER, "pong", NULL), i + 1 + pings, "after %s", cases[i].command);
    }
    cr_assert_eq(chain_tip(rig.chain)->height, 3);
}

/* It may be said again; who never says one that can be read is let go in time. */
Test(manners, a_version_that_cannot_be_read_is_passed_over)
{
    struct buf b = {0};
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    buf_extend(&b, 30);
    say(PEER, "version", &b);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_eq(rig.out[PEER].len, 0);
    say_version(PEER, 5, 0);
    cr_assert_eq(heard(PEER, "version", NULL), 1);
}

Test(manners, lists_that_are_too_long_end_the_connection)
{
    static const struct {
        const char *command;
        uint32_t count;
        size_t bytes; /* of an item */
    } cases[] = {{"addr", 1001, 30},     {"addrv2", 1001, 9},   {"inv", 50001, 36},
                 {"getdata", 50001, 36}, {"headers", 2001, 81}, {"getheaders", 102, 32},
                 {"getblocks", 102, 32}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        peer_id peer = (peer_id)(PEER + i);
        bool locator = strncmp(cases[i].command, "get", 3) == 0 && cases[i].bytes == 32;
        for (uint32_t less = 2; less--;) { /* the longest that may be comes first */
            struct buf b = {0};
            rig.config.discover = P2P_DISCOVER_YES;
            begin_again();
            connect_peer(peer);
            buf_extend(&b, locator ? 4 : 0);
            buf_compact_size(&b, cases[i].count - less);
            buf_extend(&b, cases[i].bytes * (cases[i].count - less) + (locator ? 32 : 0));
            if (!less || strcmp(cases[i].command, "headers") != 0) { /* of zeros none is right */
                say(peer, cases[i].command, &b);
                cr_assert_eq(rig.closed[peer], !less, "%s, %u less", cases[i].command, less);
            }
            buf_free(&b);
        }
    }
}

Test(manners, what_a_newer_node_may_say_is_not_answered)
{
    static const char *const said[] = {"sendtxrcncl", "sendpackages", "sendtemplate"};
    connect_peer(PEER);
    for (size_t i = 0; i < ARRAY_COUNT(said); i++) {
        say_nothing_but(PEER, said[i]);
    }
    cr_assert_eq(rig.out[PEER].len, 0);
    cr_assert_not(rig.closed[PEER]);
}

Test(manners, mempool_is_answered_to_whom_it_is_permitted)
{
    struct error error = {0};
    struct span inv;
    grow(3);
    cr_assert(p2p_whitelist(rig.p2p, "mempool@127.0.0.1", &error));
    struct tx *tx = spend(1, 400000);
    mempool_submit(rig.pool, tx, 0, rig.now);
    pump();
    connect_peer(PEER);
    say_nothing_but(PEER, "mempool");
    cr_assert_eq(heard(PEER, "inv", &inv), 1);
    cr_assert_eq(inv.len, 37);
    cr_assert_eq(memcmp(inv.data + 5, tx->wtxid.b, 32), 0);
    tx_unref(tx);
}

Test(manners, fee_filters_are_told_and_kept_to)
{
    struct buf b = {0};
    struct span told;
    grow(4);
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_version(PEER, 1, 0);
    say_nothing_but(PEER, "verack");
    cr_assert_eq(heard(PEER, "feefilter", &told), 1);
    cr_assert_eq(load_le64(told.data), 1000);
    forget_heard(PEER);
    struct tx *low = spend(1, 499900), *high = spend(2, 400000); /* of a million: fees of 200 and 200,000 */
    buf_i64(&b, 50000);
    say(PEER, "feefilter", &b);
    cr_assert_eq(info_of(PEER).fee_filter_sat, 50000);
    mempool_submit(rig.pool, low, 0, rig.now);
    mempool_submit(rig.pool, high, 0, rig.now);
    pump();
    cr_assert_eq(mempool_count(rig.pool), 2);
    cr_assert_eq(heard(PEER, "inv", NULL), 1);
    buf_i64(&b, -5);
    say(PEER, "feefilter", &b);
    cr_assert_eq(info_of(PEER).fee_filter_sat, 50000, "nonsense is ignored");
    pass(40 * SECOND);
    cr_assert_eq(heard(PEER, "feefilter", NULL), 0, "ours has not changed");
    tx_unref(low);
    tx_unref(high);
}

Test(manners, whose_transactions_are_always_relayed_is_told_of_no_fee)
{
    struct error error = {0};
    cr_assert(p2p_whitelist(rig.p2p, "forcerelay@127.0.0.1", &error));
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_version(PEER, 1, 0);
    say_nothing_but(PEER, "verack");
    cr_assert_eq(heard(PEER, "feefilter", NULL), 0);
}

Test(manners, with_blocksonly_transactions_are_sent_and_not_taken)
{
    struct error error = {0};
    struct span version;
    struct buf b = {0};
    rig.config.blocks_only = true;
    begin_again();
    cr_assert(p2p_whitelist(rig.p2p, "relay@10.0.0.1", &error));
    grow(4);
    for (peer_id peer = PEER; peer <= PEER + 2; peer++) {
        p2p_accepted(rig.p2p, peer, peer == PEER + 2 ? "10.0.0.1:1" : "127.0.0.1:1", rig.now);
        say_version(peer, peer, 0);
        cr_assert_eq(heard(peer, "version", &version), 1);
        cr_assert_eq(version.data[version.len - 1], peer == PEER + 2,
                     "whether to announce transactions to us");
        say_nothing_but(peer, "verack");
        cr_assert_eq(heard(peer, "feefilter", NULL), peer == PEER + 2);
        forget_heard(peer);
    }
    struct tx *tx = spend(1, 400000), *other = spend(2, 400000);
    mempool_submit(rig.pool, tx, 0, rig.now);
    pump();
    cr_assert_eq(heard(PEER, "inv", NULL), 1, "ours");
    say_item(PEER, "inv", INV_TX, &other->txid);
    cr_assert(rig.closed[PEER]);
    buf_bytes(&b, other->raw.data, other->raw.len);
    say(PEER + 1, "tx", &b);
    cr_assert(rig.closed[PEER + 1]);
    say_item(PEER + 2, "inv", INV_TX, &other->txid);
    cr_assert_eq(heard(PEER + 2, "getdata", NULL), 1, "from whom it is permitted to");
    buf_bytes(&b, other->raw.data, other->raw.len);
    say(PEER + 2, "tx", &b);
    cr_assert_eq(mempool_count(rig.pool), 2);
    tx_unref(tx);
    tx_unref(other);
}

Test(manners, while_we_catch_up_no_transactions_are_wanted)
{
    struct span told;
    struct branch *branch = branch_new(1, 100);
    connect_peer(PEER);
    pass(SECOND);
    forget_heard(PEER);
    say_headers(PEER, branch, 1, 100);
    cr_assert_not(p2p_near_tip(rig.p2p));
    connect_peer(PEER + 1);
    p2p_accepted(rig.p2p, PEER + 2, "127.0.0.1:1", rig.now);
    say_version(PEER + 2, 3, 0);
    say_nothing_but(PEER + 2, "verack");
    cr_assert_eq(heard(PEER + 2, "feefilter", &told), 1);
    cr_assert_eq(load_le64(told.data), 9170997);
    forget_heard(PEER + 2);
    pass(11 * SECOND); /* nobody has delivered: we go on without */
    cr_assert(p2p_near_tip(rig.p2p));
    cr_assert_eq(heard(PEER + 2, "feefilter", &told), 1);
    cr_assert_eq(load_le64(told.data), 1000);
    mem_free(branch);
}

Test(manners, we_do_not_talk_to_ourselves)
{
    struct error error = {0};
    struct span version;
    cr_assert(p2p_add_node(rig.p2p, "127.0.0.1:18444", rig.now, &error));
    pass(SECOND);
    peer_id dialled = rig.dialled;
    p2p_opened(rig.p2p, dialled, "127.0.0.1:18444", rig.now);
    cr_assert_eq(heard(dialled, "version", &version), 1);
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:5", rig.now);
    say_version(PEER, load_le64(version.data + 4 + 8 + 8 + 26 + 26), 0);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(heard(PEER, "version", NULL), 0);
}

Test(manners, who_connects_is_told_at_which_address_unless_it_is_a_private_one)
{
    static const uint8_t there[18] = {[10] = 0xff, 0xff, 8, 8, 8, 9, 0x12, 0x34}, nowhere[18] = {0};
    struct span version;
    p2p_accepted(rig.p2p, PEER, "8.8.8.9:4660", rig.now);
    p2p_accepted(rig.p2p, PEER + 1, "192.168.1.9:4660", rig.now);
    for (peer_id peer = PEER; peer <= PEER + 1; peer++) {
        say_version(peer, peer, 0);
        cr_assert_eq(heard(peer, "version", &version), 1);
        cr_assert_eq(load_le64(version.data + 20), 9, "its services");
        cr_assert_arr_eq(version.data + 28, peer == PEER ? there : nowhere, 18);
        cr_assert_arr_eq(version.data + 20 + 26 + 8, nowhere, 18);
    }
}

Test(manners, a_nonce_is_told_once)
{
    struct span version;
    uint64_t nonces[2];
    for (peer_id peer = PEER; peer <= PEER + 1; peer++) {
        p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
        say_version(peer, peer, 0);
        cr_assert_eq(heard(peer, "version", &version), 1);
        nonces[peer - PEER] = load_le64(version.data + 4 + 8 + 8 + 26 + 26);
    }
    cr_assert_neq(nonces[0], nonces[1], "it would tell that two addresses are one node's");
    p2p_accepted(rig.p2p, PEER + 2, "127.0.0.1:1", rig.now);
    say_version(PEER + 2, nonces[0], 0);
    cr_assert_not(rig.closed[PEER + 2], "only whom we have dialled can be ourselves");
}

Test(manners, who_does_not_answer_a_ping_and_is_silent_is_let_go)
{
    for (peer_id peer = PEER; peer <= PEER + 1; peer++) {
        p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
        say_version(peer, peer, 0);
        say_nothing_but(peer, "verack");
        cr_assert_eq(heard(peer, "ping", NULL), 1);
    }
    pass(179 * SECOND);
    cr_assert_not(rig.closed[PEER], "it may be busy");
    say_nothing_but(PEER + 1, "fromlater"); /* it lives: its answer may stand behind much else */
    pass(5 * SECOND);
    cr_assert(rig.closed[PEER]);
    cr_assert_not(rig.closed[PEER + 1]);
    for (int i = 0; i < 25; i++) {
        pass(50 * SECOND);
        if (!rig.closed[PEER + 1]) {
            say_nothing_but(PEER + 1, "fromlater");
        }
    }
    cr_assert(rig.closed[PEER + 1], "but not for ever");
}

Test(manners, pings_are_sent_now_and_then_and_measured)
{
    struct span ping;
    struct buf b = {0};
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    say_version(PEER, 1, 0);
    say_nothing_but(PEER, "verack");
    cr_assert_eq(heard(PEER, "ping", &ping), 1);
    rig.now.mono_us += 7000;
    buf_u64(&b, load_le64(ping.data) + 1);
    say(PEER, "pong", &b);
    cr_assert_eq(info_of(PEER).ping_us, -1, "another nonce");
    cr_assert_eq(info_of(PEER).ping_wait_us, 7000);
    buf_bytes(&b, ping.data, ping.len);
    say(PEER, "pong", &b);
    cr_assert_eq(info_of(PEER).ping_us, 7000);
    forget_heard(PEER);
    say(PEER, "pong", &b);
    pass(31 * SECOND);
    cr_assert_eq(heard(PEER, "ping", NULL), 1);
    say(PEER, "pong", &b); /* without a nonce: an answer all the same, and no measurement */
    cr_assert_eq(info_of(PEER).ping_wait_us, -1);
    cr_assert_eq(info_of(PEER).ping_us, 7000);
    pass(31 * SECOND);
    buf_u64(&b, 0);
    say(PEER, "pong", &b);
    cr_assert_eq(info_of(PEER).ping_wait_us, -1);
    cr_assert_eq(info_of(PEER).ping_us, 7000);
}

Test(manners, who_never_shakes_hands_is_let_go)
{
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    pass(19 * SECOND);
    cr_assert_not(rig.closed[PEER]);
    pass(2 * SECOND);
    cr_assert(rig.closed[PEER]);
}

Test(manners, what_we_do_not_have_is_answered_with_notfound)
{
    struct buf b = {0};
    struct span answer;
    connect_peer(PEER);
    buf_compact_size(&b, 2);
    for (uint8_t i = 0; i < 2; i++) {
        buf_u32(&b, i ? INV_WTX : INV_BLOCK | WITNESS_FLAG);
        memset(buf_extend(&b, 32), 7 + i, 32);
    }
    say(PEER, "getdata", &b);
    cr_assert_eq(heard(PEER, "notfound", &answer), 1);
    cr_assert_eq(answer.len, 1 + 2 * 36);
    cr_assert_eq(load_le32(answer.data + 1 + 36), INV_WTX);
    cr_assert_not(rig.closed[PEER]);
}

Test(manners, the_network_can_be_switched_off_and_on)
{
    struct error error = {0};
    connect_peer(PEER);
    p2p_set_active(rig.p2p, false, rig.now);
    cr_assert(rig.closed[PEER]);
    cr_assert(p2p_add_node(rig.p2p, "127.0.0.1:18444", rig.now, &error));
    pass(SECOND);
    cr_assert_eq(rig.dials, 0);
    p2p_accepted(rig.p2p, PEER + 1, "127.0.0.1:1", rig.now);
    cr_assert(rig.closed[PEER + 1]);
    p2p_set_active(rig.p2p, true, rig.now);
    pass(SECOND);
    cr_assert_eq(rig.dials, 1);
    connect_peer(PEER + 2);
}

Test(manners, bytes_are_counted_by_kind)
{
    struct buf b = {0};
    connect_peer(PEER);
    struct p2p_peer_info before = info_of(PEER);
    buf_u64(&b, 1);
    say(PEER, "ping", &b);
    say_nothing_but(PEER, "fromlater");
    struct p2p_peer_info after = info_of(PEER);
    for (size_t i = 0; i < P2P_MESSAGE_TYPES; i++) {
        const char *name = p2p_message_name(i);
        cr_assert_eq(after.received_by_type[i] - before.received_by_type[i], strcmp(name, "ping") == 0 ? 32u
                                                                             : strcmp(name, "*other*") == 0
                                                                                 ? 24u
                                                                                 : 0u);
        cr_assert_eq(after.sent_by_type[i] - before.sent_by_type[i], strcmp(name, "pong") == 0 ? 32u : 0u);
    }
}
