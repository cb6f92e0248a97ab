/*
 * core/p2p by its public header: messages go in, what comes out is read. Chain and mempool are real, on a
 * store that remembers nothing (the caches hold all that these short chains need); blocks of regtest whose
 * outputs anybody may spend, coins mature after two blocks.
 */
#include <criterion/criterion.h>

#include "core/p2p/p2p.h"
#include "hashing/kernels/kernels.h"

#define MATURITY     2u
#define PEERS        12u
#define PLACES       7u /* for inbound peers */
#define PEER         1u /* that most tests speak through */
#define INV_WTX      5u
#define INV_BLOCK    2u
#define WITNESS_FLAG 0x40000000u

static struct chain_params params;

/* ---- A node without a host -------------------------------------------------------------------------------
 */

static struct rig {
    struct chain *chain;
    struct mempool *pool;
    struct p2p *p2p;
    struct list jobs;
    struct rng rng;
    struct moment now;
    struct buf out[PEERS];
    bool closed[PEERS];
} rig;

static void submit(void *context, struct job *job)
{
    (void)context;
    list_append(&rig.jobs, &job->link);
}

static void on_header(void *context, const struct block_entry *entry)
{
    (void)context;
    (void)entry;
}

static void on_connected(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    mempool_block_connected(rig.pool, entry, block);
}

static void on_disconnected(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    mempool_block_disconnected(rig.pool, entry, block);
}

static void on_tip(void *context, const struct block_entry *old_tip, const struct block_entry *tip)
{
    (void)context;
    mempool_settled(rig.pool, rig.now);
    p2p_tip_changed(rig.p2p, old_tip, tip, rig.now);
}

static void on_durable(void *context, const struct block_entry *tip)
{
    (void)context;
    (void)tip;
}

static void on_block_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                            const struct error *error)
{
    (void)context;
    (void)connected;
    p2p_block_result(rig.p2p, hash, (peer_id)source, error, rig.now);
}

static void on_fatal(void *context, const struct error *error)
{
    (void)context;
    cr_assert_fail("%s", error->text);
}

static void on_tx_result(void *context, struct tx *tx, uint64_t source, const struct error *error)
{
    (void)context;
    p2p_tx_result(rig.p2p, tx, (peer_id)source, error, rig.now);
}

static void on_tx_tested(void *context, struct tx *tx, uint64_t source, struct amount fee,
                         const struct error *error)
{
    (void)context;
    (void)tx;
    (void)source;
    (void)fee;
    (void)error;
}

static void on_tx_added(void *context, const struct mempool_entry *entry)
{
    (void)context;
    p2p_tx_added(rig.p2p, entry);
}

static void on_tx_removed(void *context, const struct tx *tx, const char *reason)
{
    (void)context;
    (void)tx;
    (void)reason;
}

static void on_send(void *context, peer_id peer, struct buf *bytes)
{
    (void)context;
    buf_bytes(&rig.out[peer], bytes->data, bytes->len);
    buf_free(bytes);
}

static void on_close(void *context, peer_id peer)
{
    (void)context;
    rig.closed[peer] = true;
}

static void on_dial(void *context, peer_id peer, const char *host, uint16_t port)
{
    (void)context;
    (void)peer;
    (void)host;
    (void)port;
}

static void on_print(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static bool get_nothing(void *context, enum column_family cf, struct span key, struct buf *value)
{
    (void)context;
    (void)cf;
    (void)key;
    (void)value;
    return false;
}

static void each_nothing(void *context, enum column_family cf, struct span prefix,
                         bool (*row)(void *row_context, struct span key, struct span value),
                         void *row_context)
{
    (void)context;
    (void)cf;
    (void)prefix;
    (void)row;
    (void)row_context;
}

static uint64_t no_file(void *context, enum file_kind file, uint32_t number)
{
    (void)context;
    (void)file;
    (void)number;
    return 0;
}

static bool read_nothing(void *context, enum file_kind file, uint32_t number, uint64_t offset, uint8_t *out,
                         size_t len)
{
    (void)context;
    (void)file;
    (void)number;
    (void)offset;
    (void)out;
    (void)len;
    return false;
}

static void pump(void)
{
    while (!list_empty(&rig.jobs)) {
        struct job *job = CONTAINER_OF(rig.jobs.next, struct job, link);
        list_remove(&job->link);
        job->failed = job->kind == JOB_READ;
        for (size_t i = 0; job->kind == JOB_CHECK_SCRIPTS && i < job->check.count; i++) {
            cr_assert(job->check.check(job->check.batch, i));
        }
        if (job->kind == JOB_CHECK_SCRIPTS) {
            job->check.failed_index = SIZE_MAX;
        }
        job_finish(job);
    }
}

static void begin(void)
{
    struct error error = {0};
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, &error), "%s", error.text);
    params.maturity = MATURITY;
    rig = (struct rig){.now = {.mono_us = 1000000, .unix_us = INT64_C(4000000000) * 1000000}};
    list_init(&rig.jobs);
    rng_seed_u64(&rig.rng, 7);
    const struct chain_config config = {
        .params = &params, .coins_cache_bytes = 64u << 20, .recent_blocks_bytes = 64u << 20, .rng = &rig.rng};
    const struct chain_events events = {.submit = submit,
                                        .header = on_header,
                                        .connected = on_connected,
                                        .disconnected = on_disconnected,
                                        .tip = on_tip,
                                        .durable = on_durable,
                                        .block_result = on_block_result,
                                        .fatal = on_fatal};
    const struct store_reader reader = {NULL, get_nothing, each_nothing, no_file, read_nothing};
    rig.chain = chain_open(&config, &events, &reader, &error);
    cr_assert(rig.chain, "%s", error.text);
    const struct mempool_config pool_config = {.bytes_max = 16u << 20,
                                               .min_fee_per_kvb_sat = 1000,
                                               .expiry_s = 86400,
                                               .ancestors_max = 25,
                                               .descendants_max = 25,
                                               .pending_max = 64,
                                               .rng = &rig.rng};
    const struct mempool_events pool_events = {
        .result = on_tx_result, .tested = on_tx_tested, .added = on_tx_added, .removed = on_tx_removed};
    rig.pool = mempool_new(&pool_config, rig.chain, submit, NULL, &pool_events);
    const struct p2p_config p2p_config = {.user_agent = "/Test:1/",
                                          .program_line = "Test 1",
                                          .inbound_max = PLACES,
                                          .discover = P2P_DISCOVER_FALLBACK,
                                          .rng = &rig.rng};
    const struct p2p_events p2p_events = {NULL, on_send, on_close, on_dial, on_print};
    rig.p2p = p2p_new(&p2p_config, rig.chain, rig.pool, &p2p_events);
    chain_start(rig.chain, rig.now);
    pump();
}

static void end(void)
{
    chain_stop(rig.chain);
    pump();
    p2p_free(rig.p2p);
    mempool_free(rig.pool);
    chain_free(rig.chain);
    for (size_t i = 0; i < PEERS; i++) {
        buf_free(&rig.out[i]);
    }
    chain_params_free(&params);
}

TestSuite(p2p, .init = begin, .fini = end);

/* ---- Speaking and listening ------------------------------------------------------------------------------
 */

static void frame(struct buf *out, const char *command, struct span payload)
{
    uint8_t sum[32];
    sha256d(sum, payload.data, payload.len);
    buf_bytes(out, params.magic, 4);
    memcpy(buf_extend(out, 12), command, strlen(command));
    buf_u32(out, (uint32_t)payload.len);
    buf_bytes(out, sum, 4);
    buf_bytes(out, payload.data, payload.len);
}

static void say_bytes(peer_id peer, const void *data, size_t len)
{
    p2p_bytes(rig.p2p, peer, data, len, rig.now);
    pump();
}

/* Frees the payload. */
static void say(peer_id peer, const char *command, struct buf *payload)
{
    struct buf b = {0};
    frame(&b, command, buf_span(payload));
    buf_free(payload);
    say_bytes(peer, b.data, b.len);
    buf_free(&b);
}

static void say_nothing_but(peer_id peer, const char *command)
{
    struct buf none = {0};
    say(peer, command, &none);
}

static void forget_heard(peer_id peer)
{
    buf_clear(&rig.out[peer]);
    p2p_drained(rig.p2p, peer, 0, rig.now);
}

/* How many messages of this command it was sent since forget_heard; *last (may be NULL): the payload of the
 * last one. */
static size_t heard(peer_id peer, const char *command, struct span *last)
{
    struct cursor c = cursor_of(rig.out[peer].data, rig.out[peer].len);
    size_t count = 0;
    while (cursor_left(&c)) {
        char name[13] = {0};
        cursor_u32(&c);
        cursor_bytes(&c, name, 12);
        uint32_t len = cursor_u32(&c);
        cursor_u32(&c);
        struct span payload = cursor_span(&c, len);
        cr_assert_not(c.failed);
        if (strcmp(name, command) == 0) {
            count++;
            if (last) {
                *last = payload;
            }
        }
    }
    return count;
}

static void connect_peer(peer_id peer)
{
    struct buf b = {0};
    p2p_accepted(rig.p2p, peer, "127.0.0.1:1", rig.now);
    buf_i32(&b, 70016);
    buf_u64(&b, 9);
    buf_i64(&b, 0);
    buf_extend(&b, 52);
    buf_u64(&b, peer);
    buf_compact_size(&b, 0);
    buf_i32(&b, 0);
    buf_u8(&b, 1);
    say(peer, "version", &b);
    cr_assert_eq(heard(peer, "version", NULL), 1);
    say_nothing_but(peer, "wtxidrelay");
    say_nothing_but(peer, "verack");
    cr_assert_eq(heard(peer, "getheaders", NULL), 1);
    buf_u8(&b, 0);
    buf_u64(&b, 2);
    say(peer, "sendcmpct", &b);
    forget_heard(peer);
    cr_assert_not(rig.closed[peer]);
}

/* ---- Headers, blocks and transactions --------------------------------------------------------------------
 */

static struct block_header header_on(const struct hash256 *prev, uint32_t height, uint32_t salt)
{
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = *prev,
                                  .time = params.genesis.time + height,
                                  .bits = params.genesis.bits};
    memcpy(header.merkle_root.b, &salt, sizeof salt);
    return header;
}

static struct hash256 mine(struct block_header *header)
{
    struct hash256 hash;
    for (header_hash(&hash, header); !pow_check(&hash, header->bits, &params);) {
        header->nonce++;
        header_hash(&hash, header);
    }
    return hash;
}

static void put_tx(struct buf *out, const struct hash256 *spent, uint32_t height, uint32_t outputs,
                   int64_t sat, size_t padding)
{
    static const uint8_t anybody[] = {0x51};
    struct buf script = {0};
    struct tx_input in = {.prevout.index = UINT32_MAX, .sequence = SEQUENCE_FINAL};
    struct tx_output outs[2];
    if (spent) {
        in.prevout = (struct outpoint){*spent, 0};
    } else {
        script_push_height(&script, height);
        buf_u8(&script, 0x51);
    }
    buf_extend(&script, padding);
    in.script = buf_span(&script);
    for (uint32_t i = 0; i < outputs; i++) {
        outs[i] = (struct tx_output){{sat}, span_of(anybody, sizeof anybody)};
    }
    struct tx tx = {.version = 2, .input_count = 1, .output_count = outputs, .inputs = &in, .outputs = outs};
    tx_write(out, &tx, false);
    buf_free(&script);
}

/* A block on the tip: a coinbase, then these transactions. */
static struct block *block_on_tip(struct span txs, uint32_t count)
{
    const struct block_entry *tip = chain_tip(rig.chain);
    struct buf raw = {0};
    struct block_header header = header_on(&tip->hash, tip->height + 1, 0);
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, count + 1);
    put_tx(&raw, NULL, tip->height + 1, 1, MIN(block_subsidy(tip->height + 1, &params).sat, 1000000), 0);
    buf_bytes(&raw, txs.data, txs.len);
    struct block *draft = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    cr_assert(draft);
    merkle_root_of_txids(&header.merkle_root, draft->txs, draft->tx_count, false);
    block_unref(draft);
    mine(&header);
    header_encode(raw.data, &header);
    return block_parse(raw.data, raw.len, NULL);
}

static void accept_block(struct block *block)
{
    struct error error = {0};
    cr_assert(chain_accept_block(rig.chain, block, rig.now, true, 0, &error), "%s", error.text);
    pump();
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &block->hash));
}

static void grow(uint32_t count)
{
    while (count--) {
        struct block *block = block_on_tip((struct span){0}, 0);
        accept_block(block);
        block_unref(block);
    }
}

/* A transaction that spends the coinbase of the block at this height. */
static struct tx *spend(uint32_t height, int64_t sat)
{
    const struct block *block = chain_recent_block(rig.chain, &chain_at(rig.chain, height)->hash);
    struct buf raw = {0};
    put_tx(&raw, &block->txs[0].txid, 0, 2, sat, 0);
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    return tx;
}

/* A chain of headers on genesis; hashes[0] is its hash. */
struct branch {
    struct block_header headers[4301];
    struct hash256 hashes[4301];
};

static struct branch *branch_new(uint32_t salt, uint32_t length)
{
    struct branch *branch = mem_alloc(sizeof *branch);
    branch->hashes[0] = params.genesis_hash;
    for (uint32_t h = 1; h <= length; h++) {
        branch->headers[h] = header_on(&branch->hashes[h - 1], h, salt);
        branch->hashes[h] = mine(&branch->headers[h]);
    }
    return branch;
}

static void say_headers(peer_id peer, const struct branch *branch, uint32_t first, uint32_t last)
{
    struct buf b = {0};
    buf_compact_size(&b, last - first + 1);
    for (uint32_t h = first; h <= last; h++) {
        header_encode(buf_extend(&b, HEADER_BYTES), &branch->headers[h]);
        buf_u8(&b, 0);
    }
    say(peer, "headers", &b);
}

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

/* ---- Framing ---------------------------------------------------------------------------------------------
 */

static void expect_closed_by_frame(const char *command, uint32_t length, bool spoil_magic, bool spoil_sum)
{
    static peer_id next = PEER;
    struct buf b = {0};
    peer_id peer = next++;
    connect_peer(peer);
    frame(&b, command, (struct span){0});
    store_le32(b.data + 16, length);
    b.data[0] ^= spoil_magic;
    b.data[20] ^= spoil_sum;
    say_bytes(peer, b.data, b.len);
    buf_free(&b);
    cr_assert(rig.closed[peer], "'%s' of %u bytes", command, length);
}

Test(p2p, frames_beyond_the_limits_end_the_connection)
{
    expect_closed_by_frame("ping", 9, false, false);
    expect_closed_by_frame("headers", 9 + 81 * 2000 + 1, false, false);
    expect_closed_by_frame("inv", 9 + 36 * 50000 + 1, false, false);
    expect_closed_by_frame("unheardof", P2P_MESSAGE_BYTES_MAX + 1, false, false);
    expect_closed_by_frame("mempool", 0, true, false);
    expect_closed_by_frame("mempool", 0, false, true);
    expect_closed_by_frame("\x01name", 0, false, false);
}

Test(p2p, lengths_at_the_limits_are_waited_for)
{
    static const struct {
        const char *command;
        uint32_t length;
    } cases[] = {{"ping", 8}, {"headers", 9 + 81 * 2000}, {"inv", 9 + 36 * 50000}, {"x", 4000000}};
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

Test(p2p, of_several_places_to_listen_at_the_first_is_told)
{
    struct span version;
    p2p_listening(rig.p2p, 2001);
    p2p_listening(rig.p2p, 2002);
    p2p_accepted(rig.p2p, PEER, "127.0.0.1:1", rig.now);
    struct buf b = {0};
    buf_i32(&b, 70016);
    buf_extend(&b, 8 + 8 + 26 + 26 + 8 + 1 + 4 + 1);
    say(PEER, "version", &b);
    cr_assert_eq(heard(PEER, "version", &version), 1);
    struct cursor from = cursor_of(version.data + 20 + 26 + 24, 2);
    cr_assert_eq(cursor_u16_be(&from), 2001);
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

/* ---- Headers ---------------------------------------------------------------------------------------------
 */

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

/* ---- What we serve ---------------------------------------------------------------------------------------
 */

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

/* ---- Compact blocks --------------------------------------------------------------------------------------
 */

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

/* ---- Orphans ---------------------------------------------------------------------------------------------
 */

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
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 10, "what was not kept is asked for again");
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

/* ---- Addresses -------------------------------------------------------------------------------------------
 */

Test(p2p, addresses_are_learned_and_told_and_malformed_ones_end_the_connection)
{
    static const struct {
        const char *command;
        uint8_t bytes[32];
        size_t len;
    } bad[] = {
        {"addr", {1, 0, 0, 0}, 4},                                       /* half of one */
        {"addr", {0xfd, 0xe9, 0x03}, 3},                                 /* 1,001 of them */
        {"addrv2", {1, 0, 0, 0, 0, 0, 1, 5, 1, 2, 3, 4, 5, 1, 1}, 15},   /* IPv4 of five bytes */
        {"addrv2", {1, 0, 0, 0, 0, 0, 9, 0xfd, 0x01, 0x02, 0, 0, 0}, 13} /* 513 bytes, and not there */
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct buf b = {0};
        connect_peer((peer_id)(PEER + i));
        buf_bytes(&b, bad[i].bytes, bad[i].len);
        say((peer_id)(PEER + i), bad[i].command, &b);
        cr_assert(rig.closed[PEER + i], "case %zu", i);
    }
    static const uint8_t good[] = {2, 0, 0, 0, 0, 0, 1, 4, 10, 1, 2, 3, 0x20, 0x8d, /* 10.1.2.3:8333 */
                                   0, 0, 0, 0, 0, 9, 3, 7, 7,  7, 0, 0};            /* a network unheard of */
    const peer_id peer = PEER + 5;
    struct buf b = {0};
    struct span told;
    connect_peer(peer);
    buf_bytes(&b, good, sizeof good);
    say(peer, "addrv2", &b);
    cr_assert_not(rig.closed[peer]);
    say_nothing_but(peer, "getaddr");
    cr_assert_eq(heard(peer, "addr", &told), 1);
    cr_assert_eq(told.len, 31);
    cr_assert_eq(memcmp(told.data + 1 + 4 + 8 + 12, good + 8, 6), 0);
}

/* ---- Bans ------------------------------------------------------------------------------------------------
 */

static enum error_kind ban(const char *subnet)
{
    struct error error = {0};
    return p2p_ban(rig.p2p, subnet, moment_unix_s(rig.now) + 60, rig.now, &error) ? ERROR_NONE : error.kind;
}

Test(p2p, who_is_banned_is_let_go_and_not_let_in_until_the_time_is_over)
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
