/* Whom we dial beyond the peers that were drawn, and who of them stays. */
#include "rig.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define FULL   "outbound-full-relay"
#define BLOCKS "block-relay-only"

TestSuite(outbound, .init = begin, .fini = end);

static void begin_with_discover(enum p2p_discover discover)
{
    rig.config.discover = discover;
    begin_again();
}

/* So many addresses, each in another netgroup. */
static void learn_addresses(int count)
{
    for (int i = 1; i <= count; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "7.%d.1.1", i);
        p2p_add_address(rig.p2p, ip, 8333, false, rig.now);
    }
}

static void open_dialled(void)
{
    char address[110];
    snprintf(address, sizeof address, "%s:%u", rig.dialled_host, rig.dialled_port);
    p2p_opened(rig.p2p, rig.dialled, address, rig.now);
}

/* Time passes by so many steps, and whoever is dialled answers and stays, but feelers. */
static void answer_all(int steps, int64_t step_us)
{
    for (int i = 0; i < steps; i++) {
        size_t before = rig.dials;
        pass(step_us);
        for (peer_id id = P2P_OUTBOUND; id < P2P_OUTBOUND + 60; id++) {
            if (info_of(id).id) {
                answer_ping(id);
                forget_heard(id);
            }
        }
        if (rig.dials > before) {
            open_dialled();
            bool feeler = strcmp(info_of(rig.dialled).connection_type, "feeler") == 0;
            if (feeler) {
                p2p_closed(rig.p2p, rig.dialled, "it has left", rig.now);
            } else {
                shake_hands(rig.dialled, 0);
            }
        }
    }
}

static size_t count_of(const char *type)
{
    struct p2p_peer_info all[PEERS];
    size_t count = p2p_peers(rig.p2p, all, PEERS), found = 0;
    for (size_t i = 0; i < count; i++) {
        found += strcmp(all[i].connection_type, type) == 0;
    }
    return found;
}

Test(outbound, found_peers_are_each_in_another_netgroup)
{
    begin_with_discover(P2P_DISCOVER_YES);
    for (int i = 1; i <= 40; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "7.7.%d.1", i);
        p2p_add_address(rig.p2p, ip, 8333, false, rig.now);
    }
    cr_assert(p2p_add_address(rig.p2p, "5.5.5.5", 8333, false, rig.now));
    for (int i = 0; i < 6; i++) {
        size_t before = rig.dials;
        pass(1000000);
        if (rig.dials > before) {
            open_dialled();
        }
    }
    cr_assert_eq(rig.dials, 2, "one of 7.7.0.0/16 and one of 5.5.0.0/16");
}

Test(outbound, eight_peers_are_kept_then_two_for_blocks_and_one_more_while_no_block_comes)
{
    begin_with_discover(P2P_DISCOVER_YES);
    learn_addresses(40);
    answer_all(8, SECOND);
    cr_assert_eq(count_of(FULL), 8);
    cr_assert_eq(count_of(BLOCKS), 0);
    answer_all(20, SECOND);
    cr_assert_eq(count_of(FULL), 8);
    cr_assert_eq(count_of(BLOCKS), 2);
    answer_all(28 * 3, 20 * SECOND);
    cr_assert_eq(count_of(FULL), 8);
    size_t most = 0;
    for (int i = 0; i < 4 * 3; i++) {
        answer_all(1, 20 * SECOND);
        most = MAX(most, count_of(FULL));
    }
    cr_assert_eq(most, 9, "a ninth");
    cr_assert_leq(count_of(FULL), 9);
    cr_assert_eq(count_of(BLOCKS), 2);
}

Test(outbound, where_only_blocks_pass_nothing_else_does)
{
    struct span version, inv;
    struct buf b = {0};
    begin_with_discover(P2P_DISCOVER_YES);
    grow(3);
    learn_addresses(20);
    answer_all(8, SECOND);
    while (count_of(BLOCKS) == 0) {
        size_t before = rig.dials;
        pass(SECOND);
        if (rig.dials > before) {
            open_dialled();
        }
    }
    peer_id quiet = rig.dialled;
    forget_heard(P2P_OUTBOUND);
    cr_assert_eq(heard(quiet, "version", &version), 1);
    cr_assert_eq(version.data[version.len - 1], 0, "it shall tell us of no transactions");
    say_version(quiet, 5, 0);
    say_nothing_but(quiet, "verack");
    cr_assert_eq(heard(quiet, "getaddr", NULL), 0);
    cr_assert_eq(heard(quiet, "feefilter", NULL), 0);
    cr_assert_eq(heard(quiet, "getheaders", NULL), 1);
    cr_assert_eq(heard(P2P_OUTBOUND, "addr", NULL), 0, "nobody hears of it");
    forget_heard(quiet);
    struct tx *tx = spend(1, 400000);
    mempool_submit(rig.pool, tx, 0, rig.now);
    pump();
    cr_assert_eq(heard(P2P_OUTBOUND, "inv", NULL), 1);
    cr_assert_eq(heard(quiet, "inv", NULL), 0);
    tx_unref(tx);
    grow(1);
    cr_assert_eq(heard(quiet, "inv", &inv), 1, "a block is announced");
    cr_assert_eq(load_le32(inv.data + 1), INV_BLOCK);
    tx = spend(2, 400000);
    buf_bytes(&b, tx->raw.data, tx->raw.len);
    say(quiet, "tx", &b);
    cr_assert(rig.closed[slot_of(quiet)], "it was told not to");
    tx_unref(tx);
}

Test(outbound, unproven_addresses_are_called_now_and_then)
{
    struct p2p_address_count counts[P2P_NETWORKS];
    begin_with_discover(P2P_DISCOVER_YES);
    learn_addresses(20);
    answer_all(8, SECOND); /* the eighth is dialled and answers */
    p2p_count_addresses(rig.p2p, counts);
    cr_assert_eq(counts[0].tried, 8);
    size_t feelers = 0;
    for (int i = 0; i < 8 * 60; i++) {
        size_t before = rig.dials;
        pass(SECOND);
        for (peer_id id = P2P_OUTBOUND; id < P2P_OUTBOUND + 60; id++) {
            if (info_of(id).id) {
                answer_ping(id);
            }
        }
        if (rig.dials == before) {
            continue;
        }
        peer_id dialled = rig.dialled;
        open_dialled();
        if (strcmp(info_of(dialled).connection_type, "feeler") == 0) {
            feelers++;
            say_version(dialled, 5, 0);
            cr_assert(rig.closed[slot_of(dialled)], "it has answered");
            cr_assert_eq(heard(dialled, "getheaders", NULL), 0);
            p2p_closed(rig.p2p, dialled, "closed", rig.now);
        } else {
            shake_hands(dialled, 0);
        }
    }
    cr_assert(feelers >= 2 && feelers <= 10, "%zu in eight minutes, one in two on average", feelers);
    p2p_count_addresses(rig.p2p, counts);
    cr_assert_eq(counts[0].tried, 10 + feelers);
}

Test(outbound, who_lags_behind_for_long_is_let_go_and_who_kept_up_stays)
{
    struct buf b = {0};
    begin_with_discover(P2P_DISCOVER_YES);
    grow(2);
    learn_addresses(2);
    answer_all(3, SECOND);
    cr_assert_eq(count_of(FULL), 2);
    const peer_id keeps_up = P2P_OUTBOUND, lags = P2P_OUTBOUND + 1;
    buf_compact_size(&b, 1);
    block_entry_encode(buf_extend(&b, HEADER_BYTES), chain_tip(rig.chain));
    buf_u8(&b, 0);
    say(keeps_up, "headers", &b);
    buf_compact_size(&b, 1);
    block_entry_encode(buf_extend(&b, HEADER_BYTES), chain_at(rig.chain, 1));
    buf_u8(&b, 0);
    say(lags, "headers", &b);
    pass(SECOND);
    grow(1); /* neither shows it */
    answer_all(19, MINUTE);
    cr_assert_eq(count_of(FULL), 2);
    pass(MINUTE);
    pass(MINUTE);
    cr_assert_eq(heard(lags, "getheaders", NULL), 1);
    answer_ping(lags);
    answer_ping(keeps_up);
    pass(MINUTE);
    cr_assert_not(rig.closed[slot_of(lags)]);
    pass(MINUTE + SECOND);
    cr_assert(rig.closed[slot_of(lags)]);
    answer_all(10, MINUTE);
    cr_assert_not(rig.closed[slot_of(keeps_up)]);
}

Test(outbound, whom_we_have_found_has_blocks_with_witnesses)
{
    static const uint64_t services[] = {0, 1, 8, 1024, 9, 8 | 1024};
    begin_with_discover(P2P_DISCOVER_YES);
    learn_addresses(20);
    for (size_t i = 0; i < ARRAY_COUNT(services); i++) {
        struct buf b = {0};
        size_t before = rig.dials;
        pass(SECOND);
        cr_assert_eq(rig.dials, before + 1);
        open_dialled();
        buf_i32(&b, 70016);
        buf_u64(&b, services[i]);
        buf_extend(&b, 8 + 26 + 26 + 8 + 1 + 4 + 1);
        say(rig.dialled, "version", &b);
        cr_assert_eq(rig.closed[slot_of(rig.dialled)], i < 4, "services %lu", (unsigned long)services[i]);
    }
}

Test(outbound, who_lies_is_not_dialled_again_for_a_day)
{
    struct buf b = {0};
    begin_with_discover(P2P_DISCOVER_YES);
    learn_addresses(1);
    answer_all(3, SECOND);
    cr_assert_eq(rig.dials, 1);
    buf_compact_size(&b, 1);
    memset(buf_extend(&b, HEADER_BYTES), 0xff, HEADER_BYTES);
    buf_u8(&b, 0);
    say(rig.dialled, "headers", &b);
    cr_assert(rig.closed[slot_of(rig.dialled)]);
    p2p_closed(rig.p2p, rig.dialled, "closed", rig.now);
    for (int i = 0; i < 23; i++) {
        pass(60 * MINUTE);
    }
    cr_assert_eq(rig.dials, 1);
    pass(61 * MINUTE);
    pass(SECOND);
    cr_assert_eq(rig.dials, 2);
}

Test(outbound, who_stands_in_for_a_peer_that_is_down_does_so_in_turn)
{
    struct error error = {0};
    peer_id stand_ins[2] = {0};
    size_t count = 0;
    begin_with_discover(P2P_DISCOVER_FALLBACK);
    learn_addresses(20);
    cr_assert(p2p_add_node(rig.p2p, "9.9.9.9:8333", rig.now, &error));
    pass(1000000); /* it is dialled, and does not answer */
    for (int i = 0; i < 100 && count < 2; i++) {
        size_t before = rig.dials;
        pass(1000000);
        if (rig.dials > before) {
            open_dialled();
            shake_hands(rig.dialled, 0);
            stand_ins[count++] = rig.dialled;
        } else if (count) {
            answer_ping(stand_ins[0]);
        }
    }
    cr_assert_eq(count, 2);
    pass(1000000);
    cr_assert(rig.closed[slot_of(stand_ins[0])]);
    cr_assert_not(rig.closed[slot_of(stand_ins[1])]);
}

Test(outbound, who_was_connected_at_the_end_is_dialled_first)
{
    struct buf file = {0};
    begin_with_discover(P2P_DISCOVER_YES);
    cr_assert(p2p_add_address(rig.p2p, "7.1.1.1", 8333, false, rig.now));
    pass(1000000);
    pass(1000000);
    p2p_opened(rig.p2p, rig.dialled, "7.1.1.1:8333", rig.now);
    shake_hands(rig.dialled, 0);
    for (int i = 2; i <= 60; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "7.%d.1.1", i);
        p2p_add_address(rig.p2p, ip, 8333, true, rig.now);
    }
    p2p_save_addresses(rig.p2p, true, &file);
    begin_again();
    cr_assert(p2p_load_addresses(rig.p2p, buf_span(&file), rig.now));
    pass(1000000);
    cr_assert_str_eq(rig.dialled_host, "7.1.1.1");
    buf_free(&file);
}
