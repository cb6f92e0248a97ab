/* Who gets a place when there are none left (eviction.c). */
#include "rig.h"

#define MANY 32u

static void begin_with_many(void)
{
    begin();
    rig.config.inbound_max = MANY;
    begin_again();
}

TestSuite(places, .init = begin_with_many, .fini = end);

/* One second later than the one before; how far away it is shows in its ping. */
static void come(peer_id peer, const char *address, int64_t ping_us)
{
    rig.now.mono_us += 1000000;
    p2p_accepted(rig.p2p, peer, address, rig.now);
    say_version(peer, peer, 0);
    say_nothing_but(peer, "verack");
    rig.now.mono_us += ping_us;
    answer_ping(peer);
    cr_assert_not(rig.closed[peer]);
}

static peer_id who_left(peer_id last)
{
    peer_id who = 0;
    for (peer_id peer = PEER; peer <= last; peer++) {
        if (rig.closed[peer]) {
            cr_assert_eq(who, 0, "%u and %u", who, peer);
            who = peer;
        }
    }
    return who;
}

Test(places, the_youngest_of_the_largest_netgroup_leaves)
{
    char address[32];
    for (peer_id peer = PEER; peer < PEER + MANY; peer++) {
        /* Half from one netgroup, all of them later than the others. */
        snprintf(address, sizeof address, peer <= MANY / 2 ? "%u.1.1.1:1" : "66.6.%u.1:1", peer);
        come(peer, address, 50000);
    }
    rig.now.mono_us += 3000000;
    p2p_accepted(rig.p2p, PEER + MANY, "99.1.1.1:1", rig.now);
    cr_assert_not(rig.closed[PEER + MANY]);
    peer_id left = who_left(PEER + MANY);
    cr_assert_gt(left, MANY / 2, "one of the crowd");
}

Test(places, a_crowd_gains_nothing_by_coming_again)
{
    char address[32];
    for (peer_id peer = PEER; peer < PEER + MANY; peer++) {
        snprintf(address, sizeof address, peer <= MANY / 4 ? "%u.1.1.1:1" : "66.6.%u.1:1", peer);
        come(peer, address, 50000);
    }
    rig.now.mono_us += 3000000;
    for (peer_id peer = PEER + MANY; peer < PEER + MANY + 5; peer++) {
        p2p_accepted(rig.p2p, peer, "66.6.99.1:1", rig.now);
        cr_assert(rig.closed[peer]);
        p2p_closed(rig.p2p, peer, "closed by us", rig.now);
        rig.closed[peer] = false;
    }
    cr_assert_eq(who_left(PEER + MANY), 0);
}

Test(places, near_useful_and_permitted_peers_stay)
{
    char address[32];
    struct error error = {0};
    grow(3);
    cr_assert(p2p_whitelist(rig.p2p, "noban@66.6.32.1", &error));
    for (peer_id peer = PEER; peer < PEER + MANY; peer++) {
        snprintf(address, sizeof address, "66.6.%u.1:1", peer); /* all from one netgroup */
        come(peer, address, peer == 31 ? 100 : 90000 - 1000 * (peer % 7));
    }
    struct tx *tx = spend(1, 400000);
    struct buf raw = {0};
    tx_write(&raw, tx, true);
    say(30, "tx", &raw);
    tx_unref(tx);
    struct block *block = block_on_tip((struct span){0}, 0);
    buf_bytes(&raw, block->raw.data, block->raw.len);
    say(29, "block", &raw);
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &block->hash));
    block_unref(block);
    /* 32 may not be asked, 31 is near, 30 has brought a transaction, 29 a block: the youngest of the rest
     * goes, one by one, but never one of the older half. */
    rig.now.mono_us += 3000000;
    for (peer_id peer = PEER + MANY; peer < PEER + MANY + 6; peer++) {
        snprintf(address, sizeof address, "%u.9.9.9:1", peer);
        p2p_accepted(rig.p2p, peer, address, rig.now);
        cr_assert_not(rig.closed[peer]);
    }
    size_t left = 0;
    for (peer_id peer = PEER; peer < PEER + MANY; peer++) {
        left += rig.closed[peer];
        cr_assert(!rig.closed[peer] || peer > 8, "%u is one of the oldest", peer);
    }
    cr_assert_eq(left, 6);
    for (peer_id peer = 29; peer <= 32; peer++) {
        cr_assert_not(rig.closed[peer], "%u", peer);
    }
}

Test(places, strangers_that_hold_all_of_them_keep_nobody_from_elsewhere_out)
{
    char address[32];
    for (peer_id peer = PEER; peer < PEER + MANY; peer++) { /* within the time that a handshake may take */
        snprintf(address, sizeof address, "66.6.%u.1:1", peer);
        rig.now.mono_us += 1000;
        p2p_accepted(rig.p2p, peer, address, rig.now);
    }
    rig.now.mono_us += 1000;
    p2p_accepted(rig.p2p, PEER + MANY, "66.6.200.1:1", rig.now);
    cr_assert(rig.closed[PEER + MANY], "one more of the crowd");
    p2p_accepted(rig.p2p, PEER + MANY + 1, "99.1.1.1:1", rig.now);
    cr_assert_not(rig.closed[PEER + MANY + 1]);
    rig.closed[PEER + MANY] = false;
    cr_assert_eq(who_left(PEER + MANY + 1), PEER, "the oldest of them");
}
