/* Who is asked for headers before all others while ours are old (sync.c). */
#include "rig.h"

#define SECOND INT64_C(1000000)
#define DAY    (86400 * SECOND)

static void begin_with_old_headers(void)
{
    begin();
    rig.now.unix_us += 2 * DAY;
}

TestSuite(leaders, .init = begin_with_old_headers, .fini = end);

static void greet(peer_id peer)
{
    say_version(peer, peer, 0);
    say_nothing_but(peer, "verack");
}

static void meet(peer_id peer)
{
    p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
    greet(peer);
}

/* Of these peers, how many have been asked for headers. */
static size_t asked(peer_id first, peer_id last)
{
    size_t count = 0;
    for (peer_id peer = first; peer <= last; peer++) {
        count += heard(peer, "getheaders", NULL) > 0;
    }
    return count;
}

Test(leaders, the_others_are_asked_when_the_first_has_told_all)
{
    struct branch *branch = branch_new(1, 2010);
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        meet(peer);
    }
    cr_assert_eq(heard(PEER, "getheaders", NULL), 1);
    cr_assert_eq(asked(PEER + 1, PEER + 2), 0);
    say_headers(PEER, branch, 1, 2000);
    cr_assert_eq(heard(PEER, "getheaders", NULL), 2, "the message was full");
    cr_assert_eq(asked(PEER + 1, PEER + 2), 0);
    say_headers(PEER, branch, 2001, 2010);
    cr_assert_eq(asked(PEER + 1, PEER + 2), 2);
    meet(PEER + 3);
    cr_assert_eq(asked(PEER + 3, PEER + 3), 1, "nobody is before it");
    mem_free(branch);
}

Test(leaders, twice_as_many_are_asked_every_few_seconds)
{
    for (peer_id peer = PEER; peer < PEER + PLACES; peer++) {
        meet(peer);
    }
    cr_assert_eq(asked(PEER, PEER + 6), 1);
    pass(4 * SECOND);
    cr_assert_eq(asked(PEER, PEER + 6), 1);
    pass(2 * SECOND);
    cr_assert_eq(asked(PEER, PEER + 6), 2);
    pass(6 * SECOND);
    cr_assert_eq(asked(PEER, PEER + 6), 4);
    pass(6 * SECOND);
    cr_assert_eq(asked(PEER, PEER + 6), PLACES);
}

Test(leaders, who_leaves_is_followed_by_one)
{
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        meet(peer);
    }
    p2p_closed(rig.p2p, PEER, "gone", rig.now);
    pass(SECOND);
    cr_assert_eq(asked(PEER + 1, PEER + 2), 1);
}

Test(leaders, who_tells_lies_is_followed_by_one)
{
    for (peer_id peer = PEER; peer < PEER + 3; peer++) {
        meet(peer);
    }
    struct branch *branch = branch_new(1, 2);
    struct branch *other = branch_new(2, 2);
    branch->headers[2] = other->headers[2]; /* does not follow */
    say_headers(PEER, branch, 1, 2);
    cr_assert(rig.closed[slot_of(PEER)]);
    cr_assert_eq(asked(PEER + 1, PEER + 2), 1);
    mem_free(branch);
    mem_free(other);
}

Test(leaders, who_has_dialled_us_keeps_nobody_waiting_whom_we_dial)
{
    struct error error = {0};
    meet(PEER);
    cr_assert_eq(asked(PEER, PEER), 1);
    cr_assert(p2p_add_node(rig.p2p, "10.0.0.1", rig.now, &error), "%s", error.text);
    pass(SECOND);
    p2p_opened(rig.p2p, rig.dialled, "10.0.0.1:18444", rig.now);
    greet(rig.dialled);
    cr_assert_eq(heard(rig.dialled, "getheaders", NULL), 1);
}
