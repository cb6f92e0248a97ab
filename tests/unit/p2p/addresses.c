/* The address book, bans and permissions, by core/p2p's public header. */
#include "rig.h"

TestSuite(addresses, .init = begin, .fini = end);

Test(addresses, addresses_are_learned_and_told_and_malformed_messages_passed_over)
{
    static const struct {
        const char *command;
        uint8_t bytes[32];
        size_t len;
    } bad[] = {
        {"addr", {1, 0, 0, 0}, 4},                                        /* half of one */
        {"addrv2", {0}, 0},                                               /* no number */
        {"addrv2", {1, 0, 0, 0, 0, 0, 1, 5, 1, 2, 3, 4, 5, 1, 1}, 15},    /* IPv4 of five bytes */
        {"addrv2", {1, 0, 0, 0, 0, 0, 9, 0xfd, 0x01, 0x02, 0, 0, 0}, 13}, /* 513 bytes, and not there */
        {"addrv2", {1, 0, 0, 0, 0, 0, 4, 4, 1, 2, 3, 4, 1, 1}, 14},       /* an onion of four bytes */
        {"addrv2", {2, 0, 0, 0, 0, 0, 1, 4, 10, 1, 2, 4, 1, 1, 0, 0}, 16} /* one, and half of another */
    };
    const peer_id peer = PEER;
    struct buf b = {0};
    struct span told;
    connect_peer(peer);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        buf_bytes(&b, bad[i].bytes, bad[i].len);
        say(peer, bad[i].command, &b);
        cr_assert_not(rig.closed[peer], "case %zu", i);
    }
    static const uint8_t good[] = {2, 0, 0, 0, 0, 1, 1, 4, 10, 1, 2, 3, 0x20, 0x8d, /* 10.1.2.3:8333 */
                                   0, 0, 0, 0, 0, 9, 3, 7, 7,  7, 0, 0};            /* a network unheard of */
    buf_bytes(&b, good, sizeof good);
    say(peer, "addrv2", &b);
    cr_assert_not(rig.closed[peer]);
    say_nothing_but(peer, "getaddr");
    cr_assert_eq(heard(peer, "addr", &told), 1);
    cr_assert_eq(told.len, 31);
    cr_assert_eq(memcmp(told.data + 1 + 4 + 8 + 12, good + 8, 6), 0);
    buf_compact_size(&b, 1001);
    for (int i = 0; i < 1001; i++) {
        buf_bytes(&b, good + 1, 13);
    }
    say(peer, "addrv2", &b);
    cr_assert(rig.closed[peer]);
}

/* ---- Bans -------------------------------------------------------------------------------------------- */

static enum error_kind ban(const char *subnet)
{
    struct error error = {0};
    return p2p_ban(rig.p2p, subnet, moment_unix_s(rig.now) + 60, rig.now, &error) ? ERROR_NONE : error.kind;
}

Test(addresses, who_is_banned_is_let_go_and_not_let_in_until_the_time_is_over)
{
    struct p2p_ban_info bans[4];
    struct error error = {0};
    connect_peer(PEER);
    cr_assert_eq(ban("127.0.0.300"), ERROR_PARSE);
    cr_assert_eq(ban("127.0.0.0/33"), ERROR_PARSE);
    cr_assert_eq(ban("127.0.0.0/255.0.255.0"), ERROR_PARSE);
    cr_assert_eq(ban("::1/129"), ERROR_PARSE);
    cr_assert_eq(ban("10.0.0.1"), ERROR_NONE);
    cr_assert_not(rig.closed[PEER]);
    cr_assert_eq(ban("127.0.0.7/255.255.255.0"), ERROR_NONE);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(ban("127.0.0.9"), ERROR_DUPLICATE, "the subnet covers it");
    cr_assert_eq(p2p_bans(rig.p2p, bans, 4, rig.now), 2);
    cr_assert_str_eq(bans[0].subnet, "10.0.0.1/32");
    cr_assert_str_eq(bans[1].subnet, "127.0.0.0/24");
    p2p_accepted(rig.p2p, PEER + 1, "127.0.0.200:4", rig.now);
    cr_assert(rig.closed[PEER + 1]);
    p2p_accepted(rig.p2p, PEER + 2, "127.0.1.1:4", rig.now);
    cr_assert_not(rig.closed[PEER + 2]);
    cr_assert_not(p2p_unban(rig.p2p, "127.0.0.0/25", &error));
    cr_assert(p2p_unban(rig.p2p, "10.0.0.1", &error));
    rig.now.unix_us += INT64_C(61) * 1000000;
    p2p_accepted(rig.p2p, PEER + 3, "127.0.0.200:5", rig.now);
    cr_assert_not(rig.closed[PEER + 3]);
    cr_assert_eq(p2p_bans(rig.p2p, bans, 4, rig.now), 0);
}

/* ---- What is told and learned ------------------------------------------------------------------------ */

static void put_v4(struct buf *out, uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    const uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d};
    buf_u32(out, (uint32_t)moment_unix_s(rig.now));
    buf_u64(out, 9);
    buf_bytes(out, ip, 16);
    buf_u16_be(out, port);
}

static size_t known(const char *ip)
{
    static struct p2p_address_info all[P2P_ADDRESSES_MAX];
    size_t count = p2p_addresses(rig.p2p, all, P2P_ADDRESSES_MAX), found = 0;
    for (size_t i = 0; i < count; i++) {
        found += !ip || strcmp(all[i].address, ip) == 0;
    }
    return found;
}

Test(addresses, who_floods_with_addresses_is_not_listened_to)
{
    connect_from(PEER, "8.8.8.8:1", 0);
    for (uint8_t i = 1; i <= 50; i++) {
        struct buf b = {0};
        buf_compact_size(&b, 1);
        put_v4(&b, 9, i, 1, 1, 8333);
        say(PEER, "addr", &b);
    }
    cr_assert_eq(known(NULL), 1, "one at once");
    cr_assert_eq(info_of(PEER).addrs_limited, 49);
    pass(51000000); /* five more */
    struct buf b = {0};
    buf_compact_size(&b, 50);
    for (uint8_t i = 1; i <= 50; i++) {
        put_v4(&b, 11, i, 1, 1, 8333);
    }
    say(PEER, "addr", &b);
    cr_assert_eq(info_of(PEER).addrs_processed, 6);
    cr_assert_not(rig.closed[PEER], "it is no crime");
}

Test(addresses, who_may_tell_any_number_is_permitted_to)
{
    struct error error = {0};
    struct buf b = {0};
    cr_assert(p2p_whitelist(rig.p2p, "addr@8.8.0.0/16", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    buf_compact_size(&b, 50);
    for (uint8_t i = 1; i <= 50; i++) {
        put_v4(&b, 9, i, 1, 1, 8333);
    }
    say(PEER, "addr", &b);
    cr_assert_eq(info_of(PEER).addrs_processed, 50);
    cr_assert_geq(known(NULL), 40, "some want the same place in the book");
}

Test(addresses, version_6_addresses_are_learned_told_and_dialled)
{
    static const uint8_t ip[16] = {0x2a, 1, 2, 3, [15] = 9};
    struct buf b = {0};
    struct span told;
    rig.config.discover = P2P_DISCOVER_YES;
    begin_again();
    connect_from(PEER, "[2a05::1]:4000", 0);
    cr_assert_str_eq(info_of(PEER).network, "ipv6");
    buf_compact_size(&b, 1);
    buf_u32(&b, (uint32_t)moment_unix_s(rig.now));
    buf_compact_size(&b, 9);
    buf_u8(&b, 2);
    buf_var_span(&b, span_of(ip, 16));
    buf_u16_be(&b, 18444);
    say(PEER, "addrv2", &b);
    cr_assert_eq(known("2a01:203::9"), 1);
    say_nothing_but(PEER, "getaddr");
    say_nothing_but(PEER, "getaddr");
    cr_assert_eq(heard(PEER, "addr", &told), 1, "getaddr is answered once");
    cr_assert_eq(memcmp(told.data + 1 + 12, ip, 16), 0);
    pass(1000000);
    pass(1000000);
    cr_assert_eq(rig.dials, 1);
    cr_assert_str_eq(rig.dialled_host, "2a01:203::9");
    cr_assert_eq(rig.dialled_port, 18444);
}

Test(addresses, nobody_is_asked_to_come_to_where_no_host_can_be)
{
    struct buf b = {0};
    struct error error = {0};
    cr_assert(p2p_whitelist(rig.p2p, "addr@0.0.0.0/0", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    buf_compact_size(&b, 5);
    put_v4(&b, 0, 1, 2, 3, 8333);
    put_v4(&b, 224, 1, 2, 3, 8333);
    put_v4(&b, 127, 0, 0, 1, 8333);
    put_v4(&b, 9, 9, 9, 9, 0);
    put_v4(&b, 9, 9, 9, 9, 8333);
    say(PEER, "addr", &b);
    cr_assert_eq(known(NULL), 1);
}

Test(addresses, one_teller_cannot_fill_the_book)
{
    struct error error = {0};
    cr_assert(p2p_whitelist(rig.p2p, "addr@0.0.0.0/0", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    for (uint32_t i = 0; i < 20; i++) {
        struct buf b = {0};
        buf_compact_size(&b, 1000);
        for (uint32_t k = 0; k < 1000; k++) {
            put_v4(&b, 12, (uint8_t)i, (uint8_t)(k / 250), (uint8_t)(k % 250), 8333);
        }
        say(PEER, "addr", &b);
        forget_heard(PEER);
    }
    cr_assert_leq(known(NULL), 8 * 16, "its netgroup reaches eight buckets of sixteen");
    cr_assert_gt(known(NULL), 16);
    connect_from(PEER + 1, "9.9.9.9:1", 0);
    struct buf b = {0};
    size_t before = known(NULL);
    buf_compact_size(&b, 10);
    for (uint8_t i = 0; i < 10; i++) {
        put_v4(&b, (uint8_t)(20 + i), 1, 1, 1, 8333);
    }
    say(PEER + 1, "addr", &b);
    cr_assert_gt(known(NULL), before, "there is room for what others tell");
}

/* An inbound peer that speaks of addresses, in addrv2. */
static void connect_listener(peer_id peer, const char *address)
{
    p2p_accepted(rig.p2p, peer, address, rig.now);
    say_version(peer, peer, 0);
    say_nothing_but(peer, "sendaddrv2");
    say_nothing_but(peer, "verack");
    say_nothing_but(peer, "getaddr");
    forget_heard(peer);
}

Test(addresses, news_goes_on_in_one_message_to_two_who_speak_of_addresses)
{
    struct error error = {0};
    struct buf b = {0};
    struct span told;
    size_t messages = 0;
    cr_assert(p2p_whitelist(rig.p2p, "addr@8.8.8.8", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    connect_from(PEER + 1, "8.8.8.9:1", 0); /* has never spoken of any */
    for (peer_id peer = PEER + 2; peer <= PEER + 5; peer++) {
        connect_listener(peer, "8.8.8.9:2");
    }
    buf_compact_size(&b, 10);
    for (uint8_t i = 1; i <= 10; i++) {
        put_v4(&b, 9, i, 1, 1, 8333);
    }
    say(PEER, "addr", &b);
    cr_assert_eq(heard(PEER, "addr", NULL), 0);
    cr_assert_eq(heard(PEER + 1, "addr", NULL), 0);
    size_t addresses = 0;
    for (peer_id peer = PEER + 2; peer <= PEER + 5; peer++) {
        size_t count = heard(peer, "addrv2", &told);
        cr_assert_leq(count, 1);
        messages += count;
        addresses += count ? told.data[0] : 0;
    }
    cr_assert_eq(addresses, 20, "each goes to two");
    cr_assert_geq(messages, 2);
    buf_compact_size(&b, 11);
    for (uint8_t i = 1; i <= 11; i++) {
        put_v4(&b, 11, i, 1, 1, 8333);
    }
    forget_heard(PEER + 2);
    say(PEER, "addr", &b);
    cr_assert_eq(heard(PEER + 2, "addrv2", NULL), 0, "more than ten are no news");
}

/* ---- Overlays: Tor, I2P, CJDNS ----------------------------------------------------------------------- */

static const struct overlay {
    uint8_t network, bytes, address[32];
    uint16_t port;
    const char *text;
} overlays[] = {
    {4,
     32,
     {0x79, 0xbc, 0xc6, 0x25, 0x18, 0x4b, 0x05, 0x19, 0x49, 0x75, 0xc2, 0x8b, 0x66, 0xb6, 0x6b, 0x04,
      0x69, 0xf7, 0xf6, 0x55, 0x6f, 0xb1, 0xac, 0x31, 0x89, 0xa7, 0x9b, 0x40, 0xdd, 0xa3, 0x2f, 0x1f},
     8333,
     "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"},
    {5,
     32,
     {0xa2, 0x89, 0x4d, 0xab, 0xae, 0xc0, 0x8c, 0x00, 0x51, 0xa4, 0x81, 0xa6, 0xda, 0xc8, 0x8b, 0x64,
      0xf9, 0x82, 0x32, 0xae, 0x42, 0xd4, 0xb6, 0xfd, 0x2f, 0xa8, 0x19, 0x52, 0xdf, 0xe3, 0x6a, 0x87},
     0,
     "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p"},
    {6, 16, {0xfc, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7}, 8333, "fc00:1:2:3:4:5:6:7"},
};

static void put_overlay(struct buf *b, uint8_t network, const uint8_t *address, size_t len, uint16_t port)
{
    buf_u32(b, (uint32_t)moment_unix_s(rig.now));
    buf_compact_size(b, 1u << 25 | 1033);
    buf_u8(b, network);
    buf_compact_size(b, len);
    buf_bytes(b, address, len);
    buf_u16_be(b, port);
}

static void say_overlays(peer_id peer)
{
    static const uint8_t nothing[512];
    struct buf b = {0};
    buf_compact_size(&b, ARRAY_COUNT(overlays) + 4);
    put_overlay(&b, 200, nothing, 512, 8333); /* a network that nobody knows yet, and its largest address */
    put_overlay(&b, 3, nothing, 10, 8333);    /* Tor's version 2 */
    put_overlay(&b, 6, nothing, 16, 8333);    /* CJDNS's begin with fc */
    put_overlay(&b, 4, nothing, 32, 0);       /* no port */
    for (size_t i = 0; i < ARRAY_COUNT(overlays); i++) {
        const struct overlay *o = &overlays[i];
        put_overlay(&b, o->network, o->address, o->bytes, o->port);
    }
    say(peer, "addrv2", &b);
}

Test(addresses, addresses_in_overlays_are_kept_and_told_to_those_who_understand_them)
{
    struct error error = {0};
    struct buf file = {0}, expected = {0};
    struct span told;
    cr_assert(p2p_whitelist(rig.p2p, "addr@8.8.8.8", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    connect_listener(PEER + 1, "8.8.8.9:1");
    connect_from(PEER + 2, "8.8.8.9:2", 0);
    say_nothing_but(PEER + 2, "getaddr"); /* speaks the old addr, which they do not fit into */
    buf_compact_size(&expected, ARRAY_COUNT(overlays));
    for (size_t i = 0; i < ARRAY_COUNT(overlays); i++) {
        const struct overlay *o = &overlays[i];
        put_overlay(&expected, o->network, o->address, o->bytes, o->port);
    }
    for (int turn = 0; turn < 2; turn++) {
        say_overlays(PEER);
        cr_assert_not(rig.closed[PEER]);
        cr_assert_eq(heard(PEER + 1, "addrv2", &told), 1, "once");
        cr_assert_eq(told.len, expected.len);
        cr_assert_eq(memcmp(told.data, expected.data, told.len), 0);
        cr_assert_eq(heard(PEER + 2, "addr", NULL), 0);
    }
    p2p_save_addresses(rig.p2p, false, &file);
    rig.config.discover = P2P_DISCOVER_YES;
    begin_again();
    cr_assert(p2p_load_addresses(rig.p2p, buf_span(&file), rig.now));
    for (size_t i = 0; i < ARRAY_COUNT(overlays); i++) {
        cr_assert_eq(known(overlays[i].text), 1, "%s", overlays[i].text);
    }
    cr_assert_eq(known(NULL), ARRAY_COUNT(overlays));
    size_t dials = rig.dials;
    for (int i = 0; i < 300; i++) {
        pass(INT64_C(1000000));
    }
    cr_assert_eq(rig.dials, dials, "never dialled");
    p2p_accepted(rig.p2p, PEER + 3, "8.8.8.10:1", rig.now);
    say_version(PEER + 3, 3, 0);
    say_nothing_but(PEER + 3, "sendaddrv2");
    say_nothing_but(PEER + 3, "verack");
    connect_from(PEER + 4, "8.8.8.10:2", 0);
    for (peer_id peer = PEER + 3; peer <= PEER + 4; peer++) {
        say_nothing_but(peer, "getaddr");
    }
    cr_assert_eq(heard(PEER + 3, "addrv2", &told), 1);
    cr_assert_geq(told.data[0], ARRAY_COUNT(overlays));
    cr_assert_eq(heard(PEER + 4, "addr", NULL), 0);
    buf_free(&file);
    buf_free(&expected);
}

Test(addresses, an_overlay_address_of_another_length_spoils_the_message)
{
    static const uint8_t nothing[513];
    struct error error = {0};
    struct buf b = {0};
    cr_assert(p2p_whitelist(rig.p2p, "addr@8.8.8.8", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    for (size_t i = 0; i <= ARRAY_COUNT(overlays); i++) {
        const struct overlay *o = &overlays[0];
        buf_compact_size(&b, 2);
        put_overlay(&b, o->network, o->address, o->bytes, o->port);
        if (i < ARRAY_COUNT(overlays)) {
            put_overlay(&b, overlays[i].network, overlays[i].address, overlays[i].bytes - 1u, 8333);
        } else {
            put_overlay(&b, 200, nothing, sizeof nothing, 8333);
        }
        say(PEER, "addrv2", &b);
        cr_assert_eq(known(NULL), 0, "case %zu", i);
        cr_assert_not(rig.closed[PEER]);
    }
}

Test(addresses, of_a_large_book_everybody_is_told_the_same_for_a_day)
{
    struct span first, second, later;
    for (int i = 0; i < 4000; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "%d.%d.1.1", 20 + i / 200, i % 200);
        p2p_add_address(rig.p2p, ip, 8333, false, rig.now);
    }
    size_t all = known(NULL);
    cr_assert_gt(all, 1000);
    for (peer_id peer = PEER; peer <= PEER + 1; peer++) {
        connect_from(peer, "8.8.8.8:1", 0);
        say_nothing_but(peer, "getaddr");
    }
    cr_assert_eq(heard(PEER, "addr", &first), 1);
    cr_assert_eq(heard(PEER + 1, "addr", &second), 1);
    cr_assert_eq(first.len, 3 + all * 23 / 100 * 30);
    cr_assert_eq(first.len, second.len);
    cr_assert_eq(memcmp(first.data, second.data, first.len), 0);
    uint8_t *told = mem_dup(first.data, first.len); /* more is about to be heard */
    pass(INT64_C(31) * 3600 * 1000000);
    connect_from(PEER + 2, "8.8.8.8:1", 0);
    say_nothing_but(PEER + 2, "getaddr");
    cr_assert_eq(heard(PEER + 2, "addr", &later), 1);
    cr_assert_neq(memcmp(told, later.data, first.len), 0);
    mem_free(told);
}

Test(addresses, a_network_of_ones_own_is_nobody_elses_business)
{
    struct error error = {0};
    struct buf b = {0};
    struct span told;
    cr_assert(p2p_whitelist(rig.p2p, "addr@0.0.0.0/0", &error));
    connect_from(PEER, "8.8.8.8:1", 0);
    buf_compact_size(&b, 2);
    put_v4(&b, 192, 168, 1, 1, 22);
    put_v4(&b, 9, 9, 9, 9, 8333);
    say(PEER, "addr", &b);
    cr_assert_eq(known(NULL), 1, "nobody out there makes us dial our own machines");
    connect_from(PEER + 1, "10.0.0.1:1", 0);
    buf_compact_size(&b, 1);
    put_v4(&b, 10, 0, 0, 2, 8333);
    say(PEER + 1, "addr", &b);
    cr_assert_eq(known("10.0.0.2"), 1);
    say_nothing_but(PEER, "getaddr");
    cr_assert_eq(heard(PEER, "addr", &told), 1);
    cr_assert_eq(told.data[0], 1);
    say_nothing_but(PEER + 1, "getaddr");
    cr_assert_eq(heard(PEER + 1, "addr", &told), 1);
    cr_assert_eq(told.data[0], 2);
}

Test(addresses, whom_we_dial_is_told_where_we_listen_as_it_sees_us)
{
    static const uint8_t us[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 5, 6, 7, 8};
    struct error error = {0};
    struct span told;
    p2p_listening(rig.p2p, 18444);
    for (int turn = 0; turn < 2; turn++) {
        struct buf b = {0};
        char node[32];
        snprintf(node, sizeof node, "8.8.8.%d:8333", turn + 1);
        cr_assert(p2p_add_node(rig.p2p, node, rig.now, &error));
        pass(1000000);
        p2p_opened(rig.p2p, rig.dialled, node, rig.now);
        buf_i32(&b, 70016);
        buf_u64(&b, 9);
        buf_extend(&b, 8 + 8);
        buf_bytes(&b, us, 12);
        buf_u8(&b, turn ? 192 : us[12]);
        buf_u8(&b, turn ? 168 : us[13]);
        buf_bytes(&b, us + 14, 2);
        buf_extend(&b, 2 + 26 + 8 + 1 + 4 + 1);
        say(rig.dialled, "version", &b);
        say_nothing_but(rig.dialled, "verack");
        cr_assert_eq(heard(rig.dialled, "addr", &told), turn ? 0 : 1, "192.168.7.8 is for nobody");
    }
    cr_assert_eq(heard(P2P_OUTBOUND, "addr", &told), 1 + 1, "and of the second peer");
    struct p2p_peer_info info = info_of(P2P_OUTBOUND);
    cr_assert(info.wants_addrs);
}

/* ---- Across a restart -------------------------------------------------------------------------------- */

Test(addresses, the_book_survives_a_restart_and_a_damaged_one_is_refused)
{
    struct buf file = {0};
    for (int i = 1; i <= 100; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, i % 2 ? "7.%d.1.1" : "2a01:%x::1", i);
        cr_assert(p2p_add_address(rig.p2p, ip, 8333, i % 3 == 0, rig.now));
    }
    p2p_save_addresses(rig.p2p, false, &file);
    begin_again();
    cr_assert_eq(known(NULL), 0);
    for (size_t at = 0; at < file.len; at += 7) {
        file.data[at] ^= 1;
        cr_assert_not(p2p_load_addresses(rig.p2p, buf_span(&file), rig.now));
        file.data[at] ^= 1;
        cr_assert_not(p2p_load_addresses(rig.p2p, span_of(file.data, at), rig.now));
    }
    cr_assert_eq(known(NULL), 0);
    cr_assert(p2p_load_addresses(rig.p2p, buf_span(&file), rig.now));
    cr_assert_eq(known(NULL), 100);
    cr_assert_eq(known("7.51.1.1"), 1);
    cr_assert_eq(known("2a01:64::1"), 1);
    buf_free(&file);
}

Test(addresses, bans_survive_a_restart)
{
    struct p2p_ban_info bans[4];
    cr_assert_eq(ban("10.0.0.0/8"), ERROR_NONE);
    cr_assert_eq(ban("2001:db8::/32"), ERROR_NONE);
    cr_assert_eq(p2p_bans(rig.p2p, bans, 4, rig.now), 2);
    begin_again();
    cr_assert(p2p_restore_ban(rig.p2p, &bans[0]));
    cr_assert(p2p_restore_ban(rig.p2p, &bans[1]));
    cr_assert_not(p2p_restore_ban(rig.p2p, &bans[1]), "it is there");
    p2p_accepted(rig.p2p, PEER, "[2001:db8:1::7]:9", rig.now);
    cr_assert(rig.closed[PEER]);
    p2p_accepted(rig.p2p, PEER + 1, "10.9.9.9:9", rig.now);
    cr_assert(rig.closed[PEER + 1]);
}

/* ---- Permissions ------------------------------------------------------------------------------------- */

Test(addresses, permissions_are_understood_and_wrong_ones_refused)
{
    static const char *const wrong[] = {"noban", "noban@", "fly@10.0.0.1", "noban@10.0.0.1/33", "@x"};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        cr_assert_not(p2p_whitelist(rig.p2p, wrong[i], &error), "%s", wrong[i]);
    }
    cr_assert(p2p_whitelist(rig.p2p, "noban,addr@10.0.0.0/8", &error));
    cr_assert(p2p_whitelist(rig.p2p, "forcerelay@10.1.0.0/16", &error));
    cr_assert(p2p_whitelist(rig.p2p, "fd00::/8", &error));
    cr_assert(p2p_whitelist(rig.p2p, "out,all@10.2.0.1", &error));
    connect_from(PEER, "10.1.1.1:1", 0);
    cr_assert_eq(info_of(PEER).permissions, P2P_PERMIT_NOBAN | P2P_PERMIT_DOWNLOAD | P2P_PERMIT_ADDR |
                                                P2P_PERMIT_FORCERELAY | P2P_PERMIT_RELAY);
    connect_from(PEER + 1, "[fd00::7]:1", 0);
    cr_assert_eq(info_of(PEER + 1).permissions,
                 P2P_PERMIT_NOBAN | P2P_PERMIT_RELAY | P2P_PERMIT_MEMPOOL | P2P_PERMIT_DOWNLOAD);
    connect_from(PEER + 2, "10.2.0.1:1", 0);
    cr_assert_eq(info_of(PEER + 2).permissions, P2P_PERMIT_NOBAN | P2P_PERMIT_DOWNLOAD | P2P_PERMIT_ADDR);
    connect_from(PEER + 3, "11.0.0.1:1", 0);
    cr_assert_eq(info_of(PEER + 3).permissions, 0);
}

Test(addresses, who_may_not_be_banned_stays_whatever_it_says)
{
    struct error error = {0};
    cr_assert(p2p_whitelist(rig.p2p, "noban@10.0.0.1", &error));
    cr_assert_eq(ban("10.0.0.0/8"), ERROR_NONE);
    connect_from(PEER, "10.0.0.1:1", 0);
    struct branch *branch = branch_new(1, 4);
    branch->headers[2] = branch->headers[4];
    cr_assert_not(p2p_synced(rig.p2p));
    say_headers(PEER, branch, 1, 3);
    cr_assert_not(rig.closed[PEER]);
    cr_assert(p2p_synced(rig.p2p), "it has answered");
    mem_free(branch);
}

Test(addresses, with_p2p_allow_nobody_else_gets_in)
{
    struct error error = {0};
    cr_assert_not(p2p_allow(rig.p2p, "home", &error));
    cr_assert(p2p_allow(rig.p2p, "10.0.0.0/8", &error));
    cr_assert(p2p_allow(rig.p2p, "fd00::/8", &error));
    connect_from(PEER, "10.3.0.1:1", 0);
    connect_from(PEER + 1, "[fd00::1]:1", 0);
    connect_from(PEER + 2, "127.0.0.1:1", 0);
    p2p_accepted(rig.p2p, PEER + 3, "11.0.0.1:1", rig.now);
    cr_assert(rig.closed[PEER + 3]);
    p2p_accepted(rig.p2p, PEER + 4, "[2001::1]:1", rig.now);
    cr_assert(rig.closed[PEER + 4]);
}
