/*
 * bench connect: how fast blocks become money. Two ways to run them:
 *
 *   the node     the real thing in a child process: --loadblock into an empty data directory, then
 *                --reindex-chainstate over it, with all scripts and with assumevalid; its peak memory too
 *   the rig      core/chain on the real store and pool, jobs done one after another: for what a node cannot
 * be asked to do, a cache that knows every transaction, and for the counts
 *
 * And what memory the largest block takes, beside the budget that the node prints.
 */
#include "bench/connect.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <secp256k1.h>
#include <secp256k1_schnorrsig.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "core/chain/chain.h"
#include "hashing/pool/pool.h"
#include "io/io.h"

#define WINDOW_NS       INT64_C(20000000)
#define MIB             ((size_t)1 << 20)
#define LARGE_BLOCK_TXS 4560u /* of two inputs and two outputs: not quite four million weight units */

static const char *make_path = "", *file_path = "", *vectors_path = "../shared/vectors",
                  *scratch_path = "/tmp";
static int64_t inputs_wanted = 200000, block_txs = 1500, fork_every = 0, dbcache_mib = 450;

static const struct bench_option options[] = {
    BENCH_TEXT("make", "FILE", "write the chain to this file and stop", make_path),
    BENCH_TEXT("file", "FILE", "measure with this file (default: one is made)", file_path),
    BENCH_NUMBER("inputs", "N", "signed inputs of a made chain", inputs_wanted, 1000, 10000000),
    BENCH_NUMBER("block-txs", "N", "transactions in a block of a made chain", block_txs, 1, LARGE_BLOCK_TXS),
    BENCH_NUMBER("fork-every", "N",
                 "with --make: a stale branch of up to six blocks before every N-th signed block", fork_every,
                 0, 1000000),
    BENCH_NUMBER("dbcache", "MIB", "coins cache", dbcache_mib, 1, 65536),
    BENCH_TEXT("scratch", "DIR", "where data directories are made", scratch_path),
    BENCH_TEXT("vectors", "DIR", "where block413567.raw is", vectors_path),
    {0},
};

/* ---- The file ---------------------------------------------------------------------------------------- */

struct blocks {
    struct block **all;
    size_t count, signed_count; /* signed_count: up to the last one with more than a coinbase */
    uint64_t inputs, ecdsa, schnorr;
};

static void blocks_free(struct blocks *blocks)
{
    for (size_t i = 0; i < blocks->count; i++) {
        block_unref(blocks->all[i]);
    }
    mem_free(blocks->all);
}

/* Verifications by what a witness looks like: the kinds of a made chain. A multisig of the first two keys of
 * three tries the last one in vain. */
static void count_signatures(struct blocks *blocks, const struct block *block)
{
    for (uint32_t t = 1; t < block->tx_count; t++) {
        for (uint32_t i = 0; i < block->txs[t].input_count; i++) {
            const struct tx_input *in = &block->txs[t].inputs[i];
            blocks->inputs++;
            blocks->schnorr += in->witness_count == 1;
            blocks->ecdsa += in->witness_count == 2 ? 1 : in->witness_count == 4 ? 3 : 0;
        }
    }
}

static bool blocks_read(struct blocks *blocks, const char *path, const struct chain_params *params,
                        struct error *error)
{
    struct buf bytes = {0};
    bool ok = file_read_all(path, SIZE_MAX / 8, &bytes, error);
    struct cursor c = cursor_of(bytes.data, bytes.len);
    struct span raw;
    int result = 0;
    while (ok && (result = blockfile_next(&c, &raw, params->magic, error)) == 1) {
        struct block *block = block_parse(mem_dup(raw.data, raw.len), raw.len, error);
        ok = block != NULL;
        if (ok) {
            blocks->all = mem_realloc(blocks->all, (blocks->count + 1) * sizeof(struct block *));
            blocks->all[blocks->count++] = block;
            blocks->signed_count = block->tx_count > 1 ? blocks->count : blocks->signed_count;
            count_signatures(blocks, block);
        }
    }
    if (ok && result < -1) {
        ok = error_set(error, ERROR_PARSE, NULL, "the file ends inside a record");
    }
    buf_free(&bytes);
    return ok && result >= 0;
}

/* ---- libsecp256k1 alone ------------------------------------------------------------------------------ */

struct signatures {
    secp256k1_context *context;
    uint8_t message[32], key[33], xonly[32], der[72], schnorr[64];
    size_t der_len;
};

static void verify_ecdsa(void *context, uint64_t times)
{
    const struct signatures *s = context;
    secp256k1_ecdsa_signature signature;
    secp256k1_pubkey key;
    while (times--) {
        CHECK(secp256k1_ec_pubkey_parse(s->context, &key, s->key, sizeof s->key) &&
              secp256k1_ecdsa_signature_parse_der(s->context, &signature, s->der, s->der_len) &&
              secp256k1_ecdsa_verify(s->context, &signature, s->message, &key));
    }
}

static void verify_schnorr(void *context, uint64_t times)
{
    const struct signatures *s = context;
    secp256k1_xonly_pubkey key;
    while (times--) {
        CHECK(secp256k1_xonly_pubkey_parse(s->context, &key, s->xonly) &&
              secp256k1_schnorrsig_verify(s->context, s->schnorr, s->message, 32, &key));
    }
}

/* Microseconds of one verification with its key and signature as bytes, medians. */
static void measure_verify(struct report *report, double *ecdsa_us, double *schnorr_us)
{
    struct signatures s = {.context = secp256k1_context_create(SECP256K1_CONTEXT_NONE)};
    uint8_t secret[32] = {[31] = 7};
    size_t key_len = sizeof s.key;
    secp256k1_keypair pair;
    secp256k1_pubkey key;
    secp256k1_ecdsa_signature signature;
    memset(s.message, 0x5a, sizeof s.message);
    s.der_len = sizeof s.der;
    CHECK(s.context && secp256k1_ec_pubkey_create(s.context, &key, secret) &&
          secp256k1_ec_pubkey_serialize(s.context, s.key, &key_len, &key, SECP256K1_EC_COMPRESSED) &&
          secp256k1_ecdsa_sign(s.context, &signature, s.message, secret, NULL, NULL) &&
          secp256k1_ecdsa_signature_serialize_der(s.context, s.der, &s.der_len, &signature) &&
          secp256k1_keypair_create(s.context, &pair, secret) &&
          secp256k1_schnorrsig_sign32(s.context, s.schnorr, s.message, &pair, NULL));
    memcpy(s.xonly, s.key + 1, sizeof s.xonly);
    struct contender contenders[2] = {{.name = "ECDSA verify", .run = verify_ecdsa, .context = &s},
                                      {.name = "Schnorr verify", .run = verify_schnorr, .context = &s}};
    measure(contenders, 2, WINDOW_NS, 15);
    *ecdsa_us = samples_quantile(&contenders[0].ns, 0.5) / 1000;
    *schnorr_us = samples_quantile(&contenders[1].ns, 0.5) / 1000;
    report_value(report, "libsecp256k1 ECDSA verify", "us", *ecdsa_us);
    report_value(report, "libsecp256k1 Schnorr verify", "us", *schnorr_us);
    for (size_t i = 0; i < 2; i++) {
        samples_free(&contenders[i].ns);
        samples_free(&contenders[i].cycles);
    }
    secp256k1_context_destroy(s.context);
}

/* ---- A data directory that goes away ----------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool scratch_folder(char out[256], struct error *error)
{
    snprintf(out, 256, "%.200s/quarry-bench-XXXXXX", scratch_path);
    return mkdtemp(out) || error_set(error, ERROR_IO, NULL, "cannot make a folder in %.200s", scratch_path);
}

/* ---- The node ---------------------------------------------------------------------------------------- */

struct run_result {
    double seconds, cpu_seconds;     /* on the wall; user and kernel, all threads */
    size_t peak_bytes, budget_bytes; /* resident; as the node says at its start */
};

/* What it says goes into the pipe. */
static _Noreturn void child(char **arguments, int count, int log)
{
    struct settings settings;
    struct error error = {0};
    int next, null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    logs_begin("quarry-bench", false, LOG_INFO);
    if (!settings_read(&settings, SETTINGS_NODE, count, arguments, &next, &error)) {
        fprintf(stderr, "%s\n", error.text);
        _exit(STATUS_USAGE);
    }
    _exit(host_run(&settings));
}

/* Reads the node's log to its end, and in it "memory budget: ...; total N MB". */
static size_t read_budget(int log)
{
    struct buf text = {0};
    char piece[4096];
    for (ssize_t got; (got = read(log, piece, sizeof piece)) > 0;) {
        buf_bytes(&text, piece, (size_t)got);
    }
    buf_u8(&text, 0);
    const char *budget = strstr((const char *)text.data, "memory budget: "),
               *total = budget ? strstr(budget, "total ") : NULL;
    size_t bytes = total ? strtoul(total + strlen("total "), NULL, 10) * 1000000 : 0;
    buf_free(&text);
    return bytes;
}

/* One run of the node from start to exit, opening and the last flush included. extra: NULL-ended. */
static bool run_node(struct run_result *result, const char *datadir, int64_t threads,
                     const char *const *extra, struct error *error)
{
    char folder[300], par[32], cache[32];
    char *arguments[16] = {(char[]){"quarryd"},
                           folder,
                           par,
                           cache,
                           (char[]){"--chain=regtest"},
                           (char[]){"--listen=none"},
                           (char[]){"--mine=no"},
                           (char[]){"--exit-when=loaded"}};
    int count = 8, status, log[2];
    struct rusage usage;
    snprintf(folder, sizeof folder, "--datadir=%.255s", datadir);
    snprintf(par, sizeof par, "--par=%lld", (long long)threads);
    snprintf(cache, sizeof cache, "--dbcache=%lld", (long long)dbcache_mib);
    for (; *extra && count < 15; extra++) {
        arguments[count++] = (char *)(uintptr_t)*extra;
    }
    CHECK(pipe(log) == 0);
    int64_t before = wall_ns();
    pid_t pid = fork();
    if (pid == 0) {
        close(log[0]);
        child(arguments, count, log[1]);
    }
    close(log[1]);
    result->budget_bytes = read_budget(log[0]);
    close(log[0]);
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        error_set(error, ERROR_INTERNAL, NULL, "the node did not take the chain");
        return false;
    }
    result->seconds = (double)(wall_ns() - before) / 1e9;
    result->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                          (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    result->peak_bytes = (size_t)usage.ru_maxrss * 1024;
    return true;
}

static void report_run(struct report *report, const struct blocks *blocks, const char *how, int64_t threads,
                       const struct run_result *result, double signatures_s)
{
    const struct report_cell cells[] = {
        {"run", how, 0, 0},
        {"threads", NULL, (double)threads, 0},
        {"seconds", NULL, result->seconds, 3},
        {"blocks_per_s", NULL, (double)blocks->count / result->seconds, 0},
        {"inputs_per_s", NULL, (double)blocks->inputs / result->seconds, 0},
        {"cpu_s", NULL, result->cpu_seconds, 3},
        {"cpu_less_signatures_s", NULL, result->cpu_seconds - signatures_s, 3},
        {"peak_mb", NULL, (double)result->peak_bytes / 1e6, 0},
        {"budget_mb", NULL, (double)result->budget_bytes / 1e6, 0},
    };
    report_row(report, "node", cells, ARRAY_COUNT(cells));
}

static bool measure_node(struct report *report, const struct blocks *blocks, const char *path,
                         double signatures_s, struct error *error)
{
    char folder[256], load[300], assume[32 + HASH256_TEXT], text[HASH256_TEXT];
    bool ok = scratch_folder(folder, error);
    snprintf(load, sizeof load, "--loadblock=%.255s", path);
    snprintf(assume, sizeof assume, "--assumevalid=%s",
             hash256_text(text, &blocks->all[blocks->signed_count - 1]->hash));
    for (int64_t threads = 2; ok && threads >= 1; threads--) {
        struct run_result result = {0};
        remove_tree(folder);
        ok = run_node(&result, folder, threads, (const char *const[]){load, NULL}, error);
        if (ok) {
            report_run(report, blocks, "loadblock", threads, &result, signatures_s);
            ok = run_node(&result, folder, threads, (const char *const[]){"--reindex-chainstate", NULL},
                          error);
        }
        if (ok) {
            report_run(report, blocks, "reindex-chainstate", threads, &result, signatures_s);
            ok = run_node(&result, folder, threads,
                          (const char *const[]){"--reindex-chainstate", assume, NULL}, error);
        }
        if (ok) {
            report_run(report, blocks, "scripts off", threads, &result, 0);
            ok = run_node(&result, folder, threads,
                          (const char *const[]){"--reindex-chainstate", "--txindex=no", assume, NULL}, error);
        }
        if (ok) {
            report_run(report, blocks, "the same without indexes", threads, &result, 0);
        }
    }
    remove_tree(folder);
    return ok;
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

/* The node's peak with the same transactions in blocks of two sizes: what the largest block costs. */
static bool measure_memory(struct report *report, const struct chain_params *params, struct error *error)
{
    char folder[256], path[300], load[320], datadir[300];
    if (!scratch_folder(folder, error)) {
        return false;
    }
    snprintf(path, sizeof path, "%.250s/blk00000.dat", folder);
    snprintf(load, sizeof load, "--loadblock=%s", path);
    snprintf(datadir, sizeof datadir, "%.250s/data", folder);
    bool ok = true;
    for (size_t i = 0; ok && i < 2; i++) {
        const struct connect_shape shape = {.inputs = 2 * LARGE_BLOCK_TXS * 2,
                                            .block_txs = i ? LARGE_BLOCK_TXS : LARGE_BLOCK_TXS / 100};
        struct blocks blocks = {0};
        struct run_result result = {0};
        uint32_t weight = 0;
        ok = connect_make(path, params, &shape, error) && blocks_read(&blocks, path, params, error) &&
             run_node(&result, datadir, 2, (const char *const[]){load, NULL}, error);
        for (size_t n = 0; n < blocks.count; n++) {
            weight = MAX(weight, blocks.all[n]->weight);
        }
        const struct report_cell cells[] = {
            {"run", "loadblock", 0, 0},
            {"largest_block_weight", NULL, weight, 0},
            {"peak_mb", NULL, (double)result.peak_bytes / 1e6, 0},
            {"budget_mb", NULL, (double)result.budget_bytes / 1e6, 0},
        };
        report_row(report, "memory", cells, ARRAY_COUNT(cells));
        blocks_free(&blocks);
        remove_tree(datadir);
    }
    remove_tree(folder);
    return ok;
}

/* ---- The rig ----------------------------------------------------------------------------------------- */

struct rig {
    struct store *store;
    struct pool *pool;
    struct chain *chain;
    struct rng rng;
    struct list jobs;
    size_t checks_out;
    const struct block_entry *durable;
    struct error error; /* of a block that was refused, or of the store */
};

static void rig_submit(void *context, struct job *job)
{
    struct rig *rig = context;
    list_append(&rig->jobs, &job->link);
}

static void rig_ignore_block(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    (void)entry;
    (void)block;
}

static void rig_ignore_tip(void *context, const struct block_entry *old_tip, const struct block_entry *tip)
{
    (void)context;
    (void)old_tip;
    (void)tip;
}

static void rig_durable(void *context, const struct block_entry *tip)
{
    ((struct rig *)context)->durable = tip;
}

static void rig_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                       const struct error *error)
{
    struct rig *rig = context;
    (void)hash;
    (void)source;
    (void)connected;
    if (error) {
        rig->error = *error;
    }
}

static void rig_fatal(void *context, const struct error *error)
{
    ((struct rig *)context)->error = *error;
}

/* Does what was asked for until nothing is. */
static void rig_pump(struct rig *rig)
{
    struct pool_result result;
    while (!list_empty(&rig->jobs) || rig->checks_out) {
        if (!list_empty(&rig->jobs)) {
            struct job *job = CONTAINER_OF(rig->jobs.next, struct job, link);
            list_remove(&job->link);
            if (job->kind == JOB_CHECK_SCRIPTS) {
                rig->checks_out++;
                pool_check(rig->pool, job->check.check, job->check.batch, job->check.count, job);
            } else {
                store_run(rig->store, job, NULL);
                job_finish(job);
            }
            continue;
        }
        struct pollfd ready = {.fd = pool_event_fd(rig->pool), .events = POLLIN};
        uint64_t count;
        poll(&ready, 1, -1);
        ssize_t got = read(ready.fd, &count, sizeof count);
        (void)got;
        while (pool_next_result(rig->pool, &result)) {
            struct job *job = result.cookie;
            job->check.failed_index = result.failed_index;
            rig->checks_out--;
            job_finish(job);
        }
    }
}

static bool rig_open(struct rig *rig, const char *folder, const struct chain_params *params, unsigned threads,
                     struct error *error)
{
    struct store_reader reader;
    struct pool_config pool_config = {.hash_threads = 0, .check_threads = threads, .hash_share = 100};
    const struct chain_config config = {.params = params,
                                        .coins_cache_bytes = (size_t)dbcache_mib * MIB,
                                        .recent_blocks_bytes = 64 * MIB,
                                        .tx_index = true,
                                        .rng = &rig->rng,
                                        .script_cache_bytes = 16 * MIB};
    const struct chain_events events = {.context = rig,
                                        .submit = rig_submit,
                                        .connected = rig_ignore_block,
                                        .disconnected = rig_ignore_block,
                                        .tip = rig_ignore_tip,
                                        .durable = rig_durable,
                                        .block_result = rig_result,
                                        .fatal = rig_fatal};
    cpu_limits_read(&pool_config.limits, NULL, NULL);
    if (!(rig->store = store_open(folder, params, error)) || !(rig->pool = pool_start(&pool_config, error))) {
        return false;
    }
    store_reads(rig->store, &reader);
    return (rig->chain = chain_open(&config, &events, &reader, error)) != NULL;
}

static void rig_warm(struct rig *rig, const struct blocks *blocks)
{
    for (size_t i = 0; i < blocks->count; i++) {
        for (uint32_t t = 1; t < blocks->all[i]->tx_count; t++) {
            chain_scripts_passed(rig->chain, &blocks->all[i]->txs[t], SCRIPT_STANDARD_FLAGS);
        }
    }
}

/* Up to the last batch. */
static bool rig_connect(struct rig *rig, const struct blocks *blocks, double *seconds, struct error *error)
{
    const struct moment now = {.unix_us = INT64_C(4000000000) * 1000000};
    int64_t before = wall_ns();
    bool ok = true;
    chain_start(rig->chain, now);
    chain_expect_more(rig->chain, true);
    for (size_t i = 0; ok && i < blocks->count; i++) {
        ok = chain_accept_block(rig->chain, blocks->all[i], now, true, 0, error);
        rig_pump(rig);
        if (ok && rig->error.kind) {
            *error = rig->error;
            ok = false;
        }
    }
    chain_stop(rig->chain);
    rig_pump(rig);
    *seconds = (double)(wall_ns() - before) / 1e9;
    return ok;
}

static void rig_report(const struct rig *rig, struct report *report, const struct blocks *blocks,
                       unsigned threads, bool warm, double seconds)
{
    struct chain_metrics metrics;
    chain_metrics(rig->chain, &metrics);
    const struct report_cell cells[] = {
        {"script_cache", warm ? "knows all" : "empty", 0, 0},
        {"threads", NULL, threads, 0},
        {"seconds", NULL, seconds, 3},
        {"inputs_per_s", NULL, (double)blocks->inputs / seconds, 0},
        {"reads_per_input", NULL, (double)metrics.coins_read / (double)blocks->inputs, 4},
        {"batch_bytes_per_block", NULL, (double)metrics.batch_bytes / (double)blocks->count, 0},
    };
    report_row(report, "rig", cells, ARRAY_COUNT(cells));
}

static bool rig_run(struct report *report, const struct blocks *blocks, const struct chain_params *params,
                    unsigned threads, bool warm, double *seconds, struct error *error)
{
    char folder[256];
    struct rig rig = {0};
    rng_seed_u64(&rig.rng, report_seed(report));
    list_init(&rig.jobs);
    if (!scratch_folder(folder, error)) {
        return false;
    }
    bool ok = rig_open(&rig, folder, params, threads, error);
    if (ok && warm) {
        rig_warm(&rig, blocks);
    }
    ok = ok && rig_connect(&rig, blocks, seconds, error);
    if (ok) {
        rig_report(&rig, report, blocks, threads, warm, *seconds);
    }
    chain_free(rig.chain);
    pool_stop(rig.pool);
    store_close(rig.store);
    remove_tree(folder);
    return ok;
}

static bool measure_rig(struct report *report, const struct blocks *blocks, const struct chain_params *params,
                        struct error *error)
{
    for (unsigned threads = 2; threads >= 1; threads--) {
        double cold, warm;
        if (!rig_run(report, blocks, params, threads, false, &cold, error) ||
            !rig_run(report, blocks, params, threads, true, &warm, error)) {
            return false;
        }
        report_value(report, threads == 2 ? "warm against cold, 2 threads" : "warm against cold, 1 thread",
                     "times", cold / warm);
    }
    return true;
}

/* ---- One block of main ------------------------------------------------------------------------------- */

struct raw_block {
    struct buf bytes;
    const struct chain_params *params;
};

static void parse_and_check(void *context, uint64_t times)
{
    const struct raw_block *raw = context;
    while (times--) {
        struct error error = {0};
        struct block *block = block_parse(mem_dup(raw->bytes.data, raw->bytes.len), raw->bytes.len, &error);
        CHECK(block && block_check(block, raw->params, &error));
        block_unref(block);
    }
}

static bool measure_block(struct report *report, struct error *error)
{
    char path[300];
    struct raw_block raw = {{0}, NULL};
    struct chain_params params;
    snprintf(path, sizeof path, "%.250s/block413567.raw", vectors_path);
    if (!file_read_all(path, BLOCK_SERIALIZED_MAX, &raw.bytes, NULL)) {
        report_note(report, "%s is not there: parsing and checking of a real block is not measured", path);
        return true;
    }
    if (!chain_params_init(&params, CHAIN_MAIN, NULL, error)) {
        return false;
    }
    raw.params = &params;
    struct contender contender = {.name = "parse and check", .run = parse_and_check, .context = &raw};
    measure(&contender, 1, WINDOW_NS, 15);
    for (size_t i = 0; i < contender.ns.count; i++) {
        contender.ns.values[i] /= 1e6;
    }
    report_samples(report, "block413567 parsed and checked", "ms", &contender.ns);
    samples_free(&contender.ns);
    samples_free(&contender.cycles);
    buf_free(&raw.bytes);
    chain_params_free(&params);
    return true;
}

static bool measure_all(struct report *report, const char *path, const struct chain_params *params,
                        struct error *error)
{
    struct blocks blocks = {0};
    double ecdsa_us, schnorr_us;
    bool ok = measure_block(report, error) && measure_memory(report, params, error) &&
              blocks_read(&blocks, path, params, error);
    if (ok && !blocks.signed_count) {
        error_set(error, ERROR_USAGE, NULL, "%.200s has no transactions", path);
        ok = false;
    }
    if (ok) {
        measure_verify(report, &ecdsa_us, &schnorr_us);
        double signatures_s = ((double)blocks.ecdsa * ecdsa_us + (double)blocks.schnorr * schnorr_us) / 1e6;
        report_note(report, "%zu blocks, %llu signed inputs, %llu ECDSA and %llu Schnorr verifications",
                    blocks.count, (unsigned long long)blocks.inputs, (unsigned long long)blocks.ecdsa,
                    (unsigned long long)blocks.schnorr);
        report_value(report, "signatures by libsecp256k1 alone, one thread", "s", signatures_s);
        ok = measure_node(report, &blocks, path, signatures_s, error) &&
             measure_rig(report, &blocks, params, error);
    }
    blocks_free(&blocks);
    return ok;
}

static bool run(struct report *report, struct error *error)
{
    struct chain_params params;
    char made[300], folder[256] = "";
    struct connect_shape shape = {(uint64_t)inputs_wanted, (uint32_t)block_txs, (uint32_t)fork_every};
    if (!chain_params_init(&params, CHAIN_REGTEST, NULL, error)) {
        return false;
    }
    bool ok = true;
    if (*make_path) {
        ok = connect_make(make_path, &params, &shape, error);
    } else if (*file_path) {
        ok = measure_all(report, file_path, &params, error);
    } else {
        ok = scratch_folder(folder, error);
        snprintf(made, sizeof made, "%s/blk00000.dat", folder);
        ok = ok && connect_make(made, &params, &shape, error) && measure_all(report, made, &params, error);
        remove_tree(folder);
    }
    chain_params_free(&params);
    return ok;
}

const struct bench_command bench_connect = {
    .name = "connect",
    .summary = "blocks connected, with and without their scripts",
    .about =
        "Loads a chain of signed inputs (60 % P2WPKH, 30 % P2TR, 10 % P2WSH 2-of-3) into nodes with two and\n"
        "one check threads: by --loadblock, by --reindex-chainstate, and with assumevalid; then into the "
        "chain\n"
        "alone, with the script cache empty and full. --make writes the chain as a blk file for any node of\n"
        "regtest.",
    .options = options,
    .run = run,
};
