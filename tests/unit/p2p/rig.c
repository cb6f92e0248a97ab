/* See rig.h. */
#include "rig.h"

struct chain_params params;
struct rig rig;

static void submit(void *context, struct job *job)
{
    (void)context;
    list_append(&rig.jobs, &job->link);
}

static void on_ahead(void *context, const struct block_entry *entry)
{
    (void)context;
    p2p_block_verified(rig.p2p, entry);
}

static bool on_checked(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    return p2p_block_checked(rig.p2p, entry, block);
}

static void on_connected(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    p2p_block_connected(rig.p2p, entry);
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

static void on_refused_late(void *context, const struct hash256 *hash, uint64_t source,
                            const struct error *error)
{
    on_block_result(context, hash, source, false, error);
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
    p2p_tx_added(rig.p2p, entry, true);
}

static void on_tx_removed(void *context, const struct tx *tx, const char *reason)
{
    (void)context;
    (void)tx;
    (void)reason;
}

size_t slot_of(peer_id peer)
{
    size_t slot =
        peer < P2P_OUTBOUND ? peer : FIRST_DIALLED + (peer - P2P_OUTBOUND) % (PEERS - FIRST_DIALLED);
    cr_assert_lt(slot, PEERS);
    return slot;
}

static void on_send(void *context, peer_id peer, struct shared *message)
{
    (void)context;
    buf_bytes(&rig.out[slot_of(peer)], message->bytes.data, message->bytes.len);
    shared_unref(rig.last[slot_of(peer)]);
    rig.last[slot_of(peer)] = message;
}

static void on_close(void *context, peer_id peer)
{
    (void)context;
    rig.closed[slot_of(peer)] = true;
}

static void on_pause(void *context, peer_id peer, int64_t until_mono_us)
{
    (void)context;
    rig.paused_until_us[slot_of(peer)] = until_mono_us;
}

static void on_dial(void *context, peer_id peer, const char *host, uint16_t port)
{
    (void)context;
    rig.dials++;
    rig.dialled = peer;
    snprintf(rig.dialled_host, sizeof rig.dialled_host, "%s", host);
    rig.dialled_port = port;
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

/* Of the files the rig keeps what a chain with few blocks writes: the first of each kind. */
static void run_file(struct job *job)
{
    struct buf *file = &rig.files[job->io.file];
    size_t end = (size_t)job->io.offset + job->io.len;
    cr_assert_eq(job->io.number, 0);
    if (job->kind == JOB_WRITE) {
        if (file->len < end) {
            buf_extend(file, end - file->len);
        }
        memcpy(file->data + job->io.offset, job->io.data, job->io.len);
        return;
    }
    rig.reads++;
    job->failed = rig.reads_fail || end > file->len;
    rig.reads_fail -= rig.reads_fail > 0;
    if (!job->failed) {
        job->io.data = mem_dup(file->data + job->io.offset, job->io.len);
    }
}

/* The next job that may be done now; NULL: none. */
static struct job *next_job(void)
{
    LIST_EACH(at, &rig.jobs)
    {
        struct job *job = CONTAINER_OF(at, struct job, link);
        if (job->kind != JOB_READ || !rig.reads_wait || rig.reads_let) {
            rig.reads_let -= job->kind == JOB_READ && rig.reads_let;
            list_remove(at);
            return job;
        }
    }
    return NULL;
}

void pump(void)
{
    p2p_go_on(rig.p2p, rig.now); /* what was to be sent about a block has left */
    chain_go_on(rig.chain, rig.now);
    for (struct job *job; (job = next_job());) {
        if (job->kind == JOB_READ || job->kind == JOB_WRITE) {
            run_file(job);
        }
        for (size_t i = 0; job->kind == JOB_CHECK_SCRIPTS && i < job->check.count; i++) {
            cr_assert(job->check.check(job->check.batch, i));
        }
        if (job->kind == JOB_CHECK_SCRIPTS) {
            job->check.failed_index = SIZE_MAX;
        }
        job_finish(job);
        chain_go_on(rig.chain, rig.now);
    }
}

void begin_again(void)
{
    const struct p2p_events events = {NULL, on_send, on_close, on_pause, on_dial, on_print};
    p2p_free(rig.p2p);
    rig.p2p = p2p_new(&rig.config, rig.chain, rig.pool, &events);
}

void pass(int64_t us)
{
    rig.now.mono_us += us;
    rig.now.unix_us += us;
    p2p_tick(rig.p2p, rig.now);
    pump();
}

static void begin_with(size_t recent_bytes)
{
    struct error error = {0};
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, &error), "%s", error.text);
    params.maturity = MATURITY;
    /* Less than a day after genesis: there is no old chain whose headers would be asked of one peer alone. */
    int64_t start_s = (int64_t)params.genesis.time + 20 * 3600;
    rig = (struct rig){.now = {.mono_us = 1000000, .unix_us = start_s * 1000000}};
    list_init(&rig.jobs);
    rng_seed_u64(&rig.rng, 7);
    const struct chain_config config = {.params = &params,
                                        .coins_cache_bytes = 64u << 20,
                                        .recent_blocks_bytes = recent_bytes,
                                        .rng = &rig.rng};
    const struct chain_events events = {.submit = submit,
                                        .connected = on_connected,
                                        .disconnected = on_disconnected,
                                        .tip = on_tip,
                                        .durable = on_durable,
                                        .block_result = on_block_result,
                                        .fatal = on_fatal,
                                        .checked = on_checked,
                                        .ahead = on_ahead,
                                        .refused_late = on_refused_late};
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
    rig.config = (struct p2p_config){.user_agent = "/Test:1/",
                                     .program_line = "Test 1",
                                     .inbound_max = PLACES,
                                     .discover = P2P_DISCOVER_FALLBACK,
                                     .rng = &rig.rng};
    begin_again();
    chain_start(rig.chain, rig.now);
    pump();
}

void begin(void)
{
    begin_with(64u << 20);
}

void begin_forgetful(void)
{
    begin_with(1);
}

void end(void)
{
    rig.reads_wait = false;
    chain_stop(rig.chain);
    pump();
    p2p_free(rig.p2p);
    mempool_free(rig.pool);
    chain_free(rig.chain);
    for (size_t i = 0; i < PEERS; i++) {
        buf_free(&rig.out[i]);
        shared_unref(rig.last[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(rig.files); i++) {
        buf_free(&rig.files[i]);
    }
    chain_params_free(&params);
}

/* ---- Speaking and listening -------------------------------------------------------------------------- */

void frame(struct buf *out, const char *command, struct span payload)
{
    uint8_t sum[32];
    sha256d(sum, payload.data, payload.len);
    buf_bytes(out, params.magic, 4);
    memcpy(buf_extend(out, 12), command, strlen(command));
    buf_u32(out, (uint32_t)payload.len);
    buf_bytes(out, sum, 4);
    buf_bytes(out, payload.data, payload.len);
}

void say_bytes(peer_id peer, const void *data, size_t len)
{
    p2p_bytes(rig.p2p, peer, data, len, rig.now);
    pump();
}

void say(peer_id peer, const char *command, struct buf *payload)
{
    struct buf b = {0};
    frame(&b, command, buf_span(payload));
    buf_free(payload);
    say_bytes(peer, b.data, b.len);
    buf_free(&b);
}

void say_nothing_but(peer_id peer, const char *command)
{
    struct buf none = {0};
    say(peer, command, &none);
}

void forget_heard(peer_id peer)
{
    buf_clear(&rig.out[slot_of(peer)]);
    p2p_drained(rig.p2p, peer, 0, rig.now);
}

size_t heard(peer_id peer, const char *command, struct span *last)
{
    struct cursor c = cursor_of(rig.out[slot_of(peer)].data, rig.out[slot_of(peer)].len);
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

void say_version(peer_id peer, uint64_t nonce, uint16_t listen_port)
{
    struct buf b = {0};
    buf_i32(&b, 70016);
    buf_u64(&b, 9);
    buf_i64(&b, 0);
    buf_extend(&b, 26 + 24);
    buf_u16_be(&b, listen_port);
    buf_u64(&b, nonce);
    buf_compact_size(&b, 0);
    buf_i32(&b, 0);
    buf_u8(&b, 1);
    say(peer, "version", &b);
}

void answer_ping(peer_id peer)
{
    struct span ping = {0};
    struct buf b = {0};
    if (heard(peer, "ping", &ping)) {
        buf_bytes(&b, ping.data, ping.len);
        say(peer, "pong", &b);
    }
}

void shake_hands(peer_id peer, uint16_t listen_port)
{
    struct buf b = {0};
    say_version(peer, peer, listen_port);
    cr_assert_eq(heard(peer, "version", NULL), 1);
    say_nothing_but(peer, "wtxidrelay");
    say_nothing_but(peer, "verack");
    cr_assert_eq(heard(peer, "getheaders", NULL), 1);
    buf_u8(&b, 0);
    buf_u64(&b, 2);
    say(peer, "sendcmpct", &b);
    answer_ping(peer);
    forget_heard(peer);
    cr_assert_not(rig.closed[slot_of(peer)]);
}

void connect_from(peer_id peer, const char *address, uint16_t listen_port)
{
    p2p_accepted(rig.p2p, peer, address, rig.now);
    shake_hands(peer, listen_port);
}

void connect_peer(peer_id peer)
{
    connect_from(peer, "127.0.0.1:1", 0);
}

struct p2p_peer_info info_of(peer_id peer)
{
    struct p2p_peer_info all[PEERS];
    size_t count = p2p_peers(rig.p2p, all, PEERS);
    for (size_t i = 0; i < count; i++) {
        if (all[i].id == peer) {
            return all[i];
        }
    }
    return (struct p2p_peer_info){.id = 0};
}

/* ---- Headers, blocks and transactions ---------------------------------------------------------------- */

struct block_header header_on(const struct hash256 *prev, uint32_t height, uint32_t salt)
{
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = *prev,
                                  .time = params.genesis.time + height,
                                  .bits = params.genesis.bits};
    memcpy(header.merkle_root.b, &salt, sizeof salt);
    return header;
}

struct hash256 mine(struct block_header *header)
{
    struct hash256 hash;
    for (header_hash(&hash, header); !pow_check(&hash, header->bits, &params);) {
        header->nonce++;
        header_hash(&hash, header);
    }
    return hash;
}

void put_tx(struct buf *out, const struct hash256 *spent, uint32_t height, uint32_t outputs, int64_t sat,
            size_t padding)
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

struct block *block_on(const struct hash256 *prev, uint32_t height, uint32_t salt, struct span txs,
                       uint32_t count)
{
    struct buf raw = {0};
    struct block_header header = header_on(prev, height, 0);
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, count + 1);
    put_tx(&raw, NULL, height, 1, MIN(block_subsidy(height, &params).sat, 1000000), salt);
    buf_bytes(&raw, txs.data, txs.len);
    struct block *draft = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    cr_assert(draft);
    merkle_root_of_txids(&header.merkle_root, draft->txs, draft->tx_count, false);
    block_unref(draft);
    mine(&header);
    header_encode(raw.data, &header);
    return block_parse(raw.data, raw.len, NULL);
}

struct block *block_on_tip(struct span txs, uint32_t count)
{
    const struct block_entry *tip = chain_tip(rig.chain);
    return block_on(&tip->hash, tip->height + 1, 0, txs, count);
}

void say_block(peer_id peer, const struct block *block)
{
    struct buf b = {0};
    buf_bytes(&b, block->raw.data, block->raw.len);
    say(peer, "block", &b);
}

void say_item(peer_id peer, const char *command, uint32_t type, const struct hash256 *hash)
{
    struct buf b = {0};
    buf_compact_size(&b, 1);
    buf_u32(&b, type);
    buf_bytes(&b, hash->b, 32);
    say(peer, command, &b);
}

void accept_block(struct block *block)
{
    struct error error = {0};
    cr_assert(chain_accept_block(rig.chain, block, rig.now, true, 0, &error), "%s", error.text);
    pump();
    cr_assert(hash256_equal(&chain_tip(rig.chain)->hash, &block->hash));
}

void grow(uint32_t count)
{
    while (count--) {
        struct block *block = block_on_tip((struct span){0}, 0);
        accept_block(block);
        block_unref(block);
    }
}

struct tx *spend(uint32_t height, int64_t sat)
{
    const struct block *block = chain_recent_block(rig.chain, &chain_at(rig.chain, height)->hash);
    struct buf raw = {0};
    put_tx(&raw, &block->txs[0].txid, 0, 2, sat, 0);
    struct tx *tx = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    return tx;
}

struct branch *branch_new(uint32_t salt, uint32_t length)
{
    struct branch *branch = mem_alloc(sizeof *branch);
    branch->hashes[0] = params.genesis_hash;
    for (uint32_t h = 1; h <= length; h++) {
        branch->headers[h] = header_on(&branch->hashes[h - 1], h, salt);
        branch->hashes[h] = mine(&branch->headers[h]);
    }
    return branch;
}

void connect_fast_peer(peer_id peer)
{
    struct buf compact = {0}, headers = {0};
    connect_peer(peer);
    buf_u8(&compact, 1);
    buf_u64(&compact, 2);
    say(peer, "sendcmpct", &compact);
    buf_u32(&headers, 70015);
    buf_compact_size(&headers, 1);
    buf_bytes(&headers, params.genesis_hash.b, 32);
    buf_extend(&headers, 32);
    say(peer, "getheaders", &headers);
    forget_heard(peer);
}

void say_headers(peer_id peer, const struct branch *branch, uint32_t first, uint32_t last)
{
    struct buf b = {0};
    buf_compact_size(&b, last - first + 1);
    for (uint32_t h = first; h <= last; h++) {
        header_encode(buf_extend(&b, HEADER_BYTES), &branch->headers[h]);
        buf_u8(&b, 0);
    }
    say(peer, "headers", &b);
}

void say_headers_of(peer_id peer, struct block *const *blocks, size_t count)
{
    struct buf b = {0};
    buf_compact_size(&b, count);
    for (size_t i = 0; i < count; i++) {
        header_encode(buf_extend(&b, HEADER_BYTES), &blocks[i]->header);
        buf_u8(&b, 0);
    }
    say(peer, "headers", &b);
}
