/*
 * For the fuzz targets that drive a whole node: a regtest node whose host keeps everything in memory and does
 * every job at once; and blocks that are right but for what the input says. Included by one target at a time.
 */
#ifndef QUARRY_TESTS_FUZZ_HOST_H
#define QUARRY_TESTS_FUZZ_HOST_H

#include "core/node/node.h"
#include "hashing/kernels/kernels.h"
#include "tests/no_store.h"

#define PEERS 2u

struct host {
    struct node *node;
    struct moment now;
    struct buf files[2];     /* by enum file_kind */
    struct span import_file; /* --loadblock */
    struct span import_key;  /* xor.dat beside it */
    peer_id peers[PEERS];    /* 0: not connected */
    peer_id last_peer;
    int64_t timer_us; /* what the node asked for last */
    bool exited;
    int exit_code;
    void (*replied)(uint64_t rpc, struct span json); /* NULL: answers are dropped */
};

static struct chain_params fuzz_params; /* of regtest; coins of a coinbase mature after two blocks */

static const uint8_t fuzz_anyone[] = {0x51}; /* OP_1: an output that anyone may spend */

static void host_params(void)
{
    if (!fuzz_params.genesis_raw) {
        CHECK(chain_params_init(&fuzz_params, CHAIN_REGTEST, NULL, NULL));
        fuzz_params.maturity = 2;
    }
}

static void tell(struct host *host, struct event event)
{
    host->now.mono_us += 1000;
    host->now.unix_us += 1000;
    event.now = host->now;
    node_handle(host->node, &event);
}

/* ---- Disk -------------------------------------------------------------------------------------------- */

static void write_file(struct host *host, const struct job *job)
{
    struct buf *file = &host->files[job->io.file];
    size_t end = (size_t)job->io.offset + job->io.len;
    CHECK(job->io.number == 0);
    if (end > file->len) {
        buf_extend(file, end - file->len);
    }
    memcpy(file->data + job->io.offset, job->io.data, job->io.len);
}

static void read_file(const struct host *host, struct job *job)
{
    const struct buf *file = &host->files[job->io.file];
    CHECK(job->io.number == 0 && job->io.offset + job->io.len <= file->len); /* only what was written */
    job->io.data = mem_dup(file->data + job->io.offset, job->io.len);
}

static void read_import(const struct host *host, struct job *job)
{
    const char *name = strrchr(job->import.path, '/');
    struct span file = name && strcmp(name, "/xor.dat") == 0 ? host->import_key : host->import_file;
    size_t at = (size_t)MIN(job->import.offset, file.len);
    job->import.got = MIN(file.len - at, job->import.len);
    job->import.data = mem_alloc(job->import.len); /* all of it, as io/store.c does */
    if (job->import.got) {
        memcpy(job->import.data, file.data + at, job->import.got);
    }
}

static void host_job(struct host *host, struct job *job)
{
    switch (job->kind) {
    case JOB_READ: read_file(host, job); break;
    case JOB_WRITE: write_file(host, job); break;
    case JOB_IMPORT_READ: read_import(host, job); break;
    case JOB_CHECK_SCRIPTS:
        job->check.failed_index = SIZE_MAX;
        for (size_t i = job->check.count; i-- > 0;) {
            job->check.failed_index = job->check.check(job->check.batch, i) ? job->check.failed_index : i;
        }
        break;
    case JOB_READ_COINS: /* the cache holds every coin there is */
    case JOB_READ_KEY:
    case JOB_COMMIT:
    case JOB_SAVE:
    case JOB_SCAN: break;
    }
    tell(host, (struct event){.kind = EVENT_JOB, .job = job});
}

/* ---- The loop ---------------------------------------------------------------------------------------- */

static void host_drain(struct host *host)
{
    struct action action;
    while (node_next_action(host->node, &action)) {
        if (action.kind == ACTION_JOB) {
            host_job(host, action.job);
        } else if (action.kind == ACTION_SEND) {
            tell(host, (struct event){.kind = EVENT_DRAINED, .peer = action.peer});
        } else if (action.kind == ACTION_CLOSE) {
            for (size_t i = 0; i < PEERS; i++) {
                host->peers[i] = host->peers[i] == action.peer ? 0 : host->peers[i];
            }
            tell(host, (struct event){.kind = EVENT_CLOSED, .peer = action.peer, .text = "closed"});
        } else if (action.kind == ACTION_RPC_REPLY && host->replied) {
            host->replied(action.rpc, buf_span(&action.bytes));
        } else if (action.kind == ACTION_TIMER) {
            host->timer_us = action.at_mono_us;
        } else if (action.kind == ACTION_EXIT) {
            host->exited = true;
            host->exit_code = action.exit_code;
        }
        action_free(&action);
    }
}

/* With the timers that are due at once: a block that was announced is connected by one. */
static void host_event(struct host *host, struct event event)
{
    tell(host, event);
    host_drain(host);
    for (int i = 0; i < 8 && host->timer_us <= host->now.mono_us; i++) {
        host->timer_us = INT64_MAX;
        tell(host, (struct event){.kind = EVENT_TIMER});
        host_drain(host);
    }
}

static void host_open(struct host *host, const char *const *load_blocks)
{
    host_params();
    const struct store_reader reader = {NULL, no_row, no_rows, no_file, no_bytes};
    const struct node_config config = {.params = &fuzz_params,
                                       .user_agent = "/Quarry:fuzz/",
                                       .version_text = "fuzz",
                                       .datadir_text = "",
                                       .coins_cache_bytes = 16u << 20,
                                       .recent_blocks_bytes = 1u << 10,
                                       .mempool_bytes = 5u << 20,
                                       .script_cache_bytes = 1u << 16,
                                       .inbound_max = 8,
                                       .payout_script = span_of(fuzz_anyone, 1),
                                       .payout_address = "",
                                       .load_blocks = load_blocks,
                                       .load_block_count = load_blocks ? 1 : 0,
                                       .exit_when = load_blocks ? EXIT_LOADED : EXIT_NEVER};
    host->now = (struct moment){1000000, INT64_C(1700000000) * 1000000};
    host->timer_us = INT64_MAX;
    host->node = node_new(&config, &reader, NULL);
    CHECK(host->node);
    host_event(host, (struct event){.kind = EVENT_START});
}

static void host_close(struct host *host)
{
    host_event(host, (struct event){.kind = EVENT_STOP});
    node_free(host->node);
    buf_free(&host->files[0]);
    buf_free(&host->files[1]);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

/* Appends a block on a parent: a coinbase that pays to a script, then the transactions. Right when they are.
 */
static void put_block_of(struct buf *out, const struct hash256 *parent, uint32_t height, uint32_t time,
                         struct span payout, const struct tx *const *spends, uint32_t count)
{
    struct buf script = {0}, body = {0};
    script_push_height(&script, height);
    script_push(&script, &height, sizeof height);
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script), .sequence = SEQUENCE_FINAL};
    struct tx_output output = {block_subsidy(height, &fuzz_params), payout};
    struct tx coinbase = {
        .version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    struct block_header header = {
        .version = 0x20000000, .prev_hash = *parent, .time = time, .bits = fuzz_params.genesis.bits};
    tx_write(&body, &coinbase, false);
    struct tx *first = tx_parse(buf_span(&body), NULL);
    CHECK(first);
    struct tx *txs = mem_alloc((count + 1) * sizeof *txs);
    txs[0] = *first;
    for (uint32_t i = 0; i < count; i++) {
        txs[1 + i] = *spends[i];
        buf_bytes(&body, spends[i]->raw.data, spends[i]->raw.len);
    }
    merkle_root_of_txids(&header.merkle_root, txs, count + 1, false);
    struct hash256 hash;
    for (header_hash(&hash, &header); !pow_check(&hash, header.bits, &fuzz_params);) {
        header.nonce++;
        header_hash(&hash, &header);
    }
    header_encode(buf_extend(out, HEADER_BYTES), &header);
    buf_compact_size(out, count + 1);
    buf_bytes(out, body.data, body.len);
    tx_unref(first);
    mem_free(txs);
    buf_free(&script);
    buf_free(&body);
}

/* The same with one transaction as it comes, or none when the bytes are not one. */
static inline void put_block(struct buf *out, const struct hash256 *parent, uint32_t height, uint32_t time,
                             struct span tx_bytes)
{
    struct tx *spend = tx_bytes.len ? tx_parse(tx_bytes, NULL) : NULL;
    const struct tx *const list[1] = {spend};
    put_block_of(out, parent, height, time, span_of(fuzz_anyone, 1), list, spend ? 1 : 0);
    tx_unref(spend);
}

/* ---- Peers ------------------------------------------------------------------------------------------- */

static inline void say_bytes(struct host *host, size_t peer, struct span bytes)
{
    if (host->peers[peer] && bytes.len) { /* a host hands on what has come, never nothing */
        host_event(host,
                   (struct event){
                       .kind = EVENT_BYTES, .peer = host->peers[peer], .data = bytes.data, .len = bytes.len});
    }
}

static inline void say(struct host *host, size_t peer, const char *command, struct span payload)
{
    struct buf framed = {0};
    uint8_t sum[32];
    sha256d(sum, payload.data, payload.len);
    buf_bytes(&framed, fuzz_params.magic, 4);
    memcpy(buf_extend(&framed, 12), command, strlen(command));
    buf_u32(&framed, (uint32_t)payload.len);
    buf_bytes(&framed, sum, 4);
    buf_bytes(&framed, payload.data, payload.len);
    say_bytes(host, peer, buf_span(&framed));
    buf_free(&framed);
}

static inline void greet(struct host *host, size_t peer)
{
    struct buf version = {0};
    buf_u32(&version, P2P_VERSION);
    buf_u64(&version, P2P_SERVICES);
    buf_i64(&version, moment_unix_s(host->now));
    buf_extend(&version, 26 + 26);
    buf_u64(&version, 1 + peer); /* nonce */
    buf_var_span(&version, span_of("/fuzz/", 6));
    buf_i32(&version, 0);
    buf_u8(&version, 1);
    say(host, peer, "version", buf_span(&version));
    say(host, peer, "wtxidrelay", span_of(NULL, 0));
    say(host, peer, "verack", span_of(NULL, 0));
    buf_free(&version);
}

/* A peer that was shown the door comes back. */
static inline void be_connected(struct host *host, size_t peer, bool politely)
{
    if (!host->peers[peer]) {
        host->peers[peer] = ++host->last_peer;
        host_event(host, (struct event){.kind = EVENT_ACCEPTED,
                                        .peer = host->peers[peer],
                                        .text = peer ? "10.0.0.2:2" : "10.0.0.1:1"});
        if (politely) {
            greet(host, peer);
        }
    }
}

#endif
