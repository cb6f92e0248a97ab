/*
 * For the fuzz targets that drive a whole node: a regtest node whose host keeps everything in memory and does
 * every job at once; and blocks that are right but for what the input says. Included by one target at a time.
 */
#ifndef QUARRY_TESTS_FUZZ_HOST_H
#define QUARRY_TESTS_FUZZ_HOST_H

#include "core/node/node.h"

#define PEERS 2u

struct host {
    struct node *node;
    struct moment now;
    struct buf files[2];     /* by enum file_kind */
    struct span import_file; /* --loadblock */
    struct span import_key;  /* xor.dat beside it */
    peer_id peers[PEERS];    /* 0: not connected */
    peer_id last_peer;
    bool exited;
    int exit_code;
};

static struct chain_params fuzz_params; /* of regtest; coins of a coinbase mature after two blocks */

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

/* ---- Disk ---------------------------------------------------------------------------------------------- */

static bool no_row(void *context, enum column_family cf, struct span key, struct buf *value)
{
    (void)context, (void)cf, (void)key, (void)value;
    return false;
}

static void no_rows(void *context, enum column_family cf, struct span prefix,
                    bool (*row)(void *row_context, struct span key, struct span value), void *row_context)
{
    (void)context, (void)cf, (void)prefix, (void)row, (void)row_context;
}

static uint64_t no_file(void *context, enum file_kind file, uint32_t number)
{
    (void)context, (void)file, (void)number;
    return 0;
}

static bool no_bytes(void *context, enum file_kind file, uint32_t number, uint64_t offset, uint8_t *out,
                     size_t len)
{
    (void)context, (void)file, (void)number, (void)offset, (void)out, (void)len;
    return false;
}

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
    case JOB_SCAN: break;
    }
    tell(host, (struct event){.kind = EVENT_JOB, .job = job});
}

/* ---- The loop ------------------------------------------------------------------------------------------ */

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
        } else if (action.kind == ACTION_EXIT) {
            host->exited = true;
            host->exit_code = action.exit_code;
        }
        action_free(&action);
    }
}

static void host_event(struct host *host, struct event event)
{
    tell(host, event);
    host_drain(host);
}

static void host_open(struct host *host, const char *const *load_blocks)
{
    static const uint8_t anyone = 0x51;
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
                                       .payout_script = span_of(&anyone, 1),
                                       .payout_address = "",
                                       .load_blocks = load_blocks,
                                       .load_block_count = load_blocks ? 1 : 0,
                                       .exit_when = load_blocks ? EXIT_LOADED : EXIT_NEVER};
    host->now = (struct moment){1000000, INT64_C(1700000000) * 1000000};
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

/* ---- Blocks -------------------------------------------------------------------------------------------- */

/* Appends a block on a parent: a coinbase whose outputs anyone may spend, then a transaction as it comes, or
 * none. Right when the transaction is. */
static void put_block(struct buf *out, const struct hash256 *parent, uint32_t height, uint32_t time,
                      struct span tx_bytes)
{
    static const uint8_t anyone = 0x51;
    struct buf script = {0}, body = {0};
    script_push_height(&script, height);
    script_push(&script, &height, sizeof height);
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script), .sequence = SEQUENCE_FINAL};
    struct tx_output output = {block_subsidy(height, &fuzz_params), span_of(&anyone, 1)};
    struct tx coinbase = {
        .version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    struct tx *spend = tx_bytes.len ? tx_parse(tx_bytes, NULL) : NULL;
    struct block_header header = {
        .version = 0x20000000, .prev_hash = *parent, .time = time, .bits = fuzz_params.genesis.bits};
    tx_write(&body, &coinbase, false);
    struct tx *first = tx_parse(buf_span(&body), NULL);
    CHECK(first);
    struct tx txs[2] = {*first};
    if (spend) {
        txs[1] = *spend;
        buf_bytes(&body, spend->raw.data, spend->raw.len);
    }
    merkle_root_of_txids(&header.merkle_root, txs, spend ? 2 : 1, false);
    struct hash256 hash;
    for (header_hash(&hash, &header); !pow_check(&hash, header.bits, &fuzz_params);) {
        header.nonce++;
        header_hash(&hash, &header);
    }
    header_encode(buf_extend(out, HEADER_BYTES), &header);
    buf_compact_size(out, spend ? 2 : 1);
    buf_bytes(out, body.data, body.len);
    tx_unref(first);
    tx_unref(spend);
    buf_free(&script);
    buf_free(&body);
}

#endif
