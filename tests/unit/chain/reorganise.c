/*
 * Reorganisations: whatever the order in which the blocks of a tree come, the UTXO set at the tip is that of
 * a fresh chain that saw only the best branch. core/chain on a real store in a scratch folder, every job done
 * at once; blocks of regtest whose outputs anybody may spend, coins mature after two blocks.
 */
#include <criterion/criterion.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/chain/chain.h"
#include "io/io.h"

#define MATURITY 2u

static struct chain_params params;

/* ---- A chain on a store
 * ---------------------------------------------------------------------------------------- */

struct rig {
    char folder[64];
    struct store *store;
    struct chain *chain;
    struct list jobs;
    struct rng rng;
    uint32_t durable; /* height that was told last */
};

static void submit(void *context, struct job *job)
{
    list_append(&((struct rig *)context)->jobs, &job->link);
}

static void on_block(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context;
    (void)entry;
    (void)block;
}

static void on_tip(void *context, const struct block_entry *old_tip, const struct block_entry *tip)
{
    (void)context;
    (void)old_tip;
    (void)tip;
}

static void on_durable(void *context, const struct block_entry *tip)
{
    ((struct rig *)context)->durable = tip->height;
}

static void on_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                      const struct error *error)
{
    (void)context;
    (void)hash;
    (void)source;
    (void)connected;
    cr_assert_null(error, "refused: %s %s", error ? error->word : "", error ? error->text : "");
}

static void on_fatal(void *context, const struct error *error)
{
    (void)context;
    cr_assert_fail("%s", error->text);
}

static void pump(struct rig *rig)
{
    while (!list_empty(&rig->jobs)) {
        struct job *job = CONTAINER_OF(rig->jobs.next, struct job, link);
        list_remove(&job->link);
        if (job->kind == JOB_CHECK_SCRIPTS) {
            for (size_t i = 0; i < job->check.count; i++) {
                cr_assert(job->check.check(job->check.batch, i));
            }
        } else {
            store_run(rig->store, job, job->kind == JOB_SCAN ? store_snapshot(rig->store) : NULL);
        }
        job_finish(job);
    }
}

static void rig_open(struct rig *rig, uint64_t seed, size_t cache_bytes)
{
    struct error error = {0};
    struct store_reader reader;
    rig->durable = 0;
    snprintf(rig->folder, sizeof rig->folder, "/tmp/quarry-unit-XXXXXX");
    cr_assert(mkdtemp(rig->folder));
    list_init(&rig->jobs);
    rng_seed_u64(&rig->rng, seed);
    rig->store = store_open(rig->folder, &params, &error);
    cr_assert(rig->store, "%s", error.text);
    const struct chain_config config = {.params = &params,
                                        .coins_cache_bytes = cache_bytes,
                                        .recent_blocks_bytes = cache_bytes,
                                        .tx_index = true,
                                        .rng = &rig->rng};
    const struct chain_events events = {.context = rig,
                                        .submit = submit,
                                        .connected = on_block,
                                        .disconnected = on_block,
                                        .tip = on_tip,
                                        .durable = on_durable,
                                        .block_result = on_result,
                                        .fatal = on_fatal};
    store_reads(rig->store, &reader);
    rig->chain = chain_open(&config, &events, &reader, &error);
    cr_assert(rig->chain, "%s", error.text);
    chain_start(rig->chain, (struct moment){0});
    pump(rig);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static void rig_close(struct rig *rig)
{
    chain_stop(rig->chain);
    pump(rig);
    chain_free(rig->chain);
    store_close(rig->store);
    nftw(rig->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void take_stats(void *context, const struct utxo_stats *stats)
{
    cr_assert_not(stats->failed);
    *(struct utxo_stats *)context = *stats;
}

static struct utxo_stats stats_of(struct rig *rig)
{
    struct utxo_stats stats = {0};
    chain_utxo_stats(rig->chain, UTXO_HASH_MUHASH, take_stats, &stats);
    pump(rig);
    cr_assert(stats.tip);
    return stats;
}

/* ---- A tree of blocks
 * ------------------------------------------------------------------------------------------ */

struct free_coin {
    struct outpoint outpoint;
    int64_t sat;
    uint32_t spendable; /* from this height on */
};

struct node { /* a block with the coins that exist behind it */
    struct node *parent;
    struct block *block; /* NULL: genesis */
    uint32_t height;
    struct free_coin *coins;
    size_t coin_count;
    bool fed;
};

static void put_tx(struct buf *out, const struct free_coin *coin, uint32_t height, uint64_t salt, int64_t sat,
                   uint32_t outputs)
{
    static const uint8_t anybody[] = {0x51};
    struct buf script = {0};
    struct tx_input in = {.prevout.index = UINT32_MAX, .sequence = SEQUENCE_FINAL};
    struct tx_output outs[3];
    if (coin) {
        in.prevout = coin->outpoint;
    } else { /* a coinbase of its own in every block of the tree */
        script_push_height(&script, height);
        script_push(&script, &salt, sizeof salt);
        in.script = buf_span(&script);
    }
    for (uint32_t i = 0; i < outputs; i++) {
        outs[i] = (struct tx_output){{sat / outputs}, span_of(anybody, sizeof anybody)};
    }
    struct tx tx = {.version = 2, .input_count = 1, .output_count = outputs, .inputs = &in, .outputs = outs};
    tx_write(out, &tx, false);
    buf_free(&script);
}

static struct hash256 txid_of(const struct buf *raw)
{
    struct tx *tx = tx_parse(buf_span(raw), NULL);
    cr_assert(tx);
    struct hash256 txid = tx->txid;
    tx_unref(tx);
    return txid;
}

/* Appends a transaction to the block's bytes; its outputs become coins. */
static void add_tx(struct node *node, struct buf *body, const struct free_coin *coin, uint64_t salt,
                   int64_t sat, uint32_t outputs)
{
    struct buf raw = {0};
    put_tx(&raw, coin, node->height, salt, sat, outputs);
    struct hash256 txid = txid_of(&raw);
    for (uint32_t i = 0; i < outputs; i++) {
        node->coins[node->coin_count++] =
            (struct free_coin){{txid, i}, sat / outputs, coin ? node->height : node->height + MATURITY};
    }
    buf_bytes(body, raw.data, raw.len);
    buf_free(&raw);
}

static struct block *seal(struct node *node, const struct buf *body, uint32_t tx_count)
{
    struct buf raw = {0};
    const struct block *before = node->parent->block;
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = before ? before->hash : params.genesis_hash,
                                  .time = params.genesis.time + node->height,
                                  .bits = params.genesis.bits};
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, tx_count);
    buf_bytes(&raw, body->data, body->len);
    struct block *draft = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    cr_assert(draft);
    cr_assert_not(merkle_root_of_txids(&header.merkle_root, draft->txs, draft->tx_count, false));
    block_unref(draft);
    struct hash256 hash;
    for (header_hash(&hash, &header); !pow_check(&hash, header.bits, &params);) {
        header.nonce++;
        header_hash(&hash, &header);
    }
    header_encode(raw.data, &header);
    return block_parse(raw.data, raw.len, NULL);
}

static struct node *grow(struct node *parent, struct rng *rng)
{
    struct node *node = mem_alloc(sizeof *node);
    struct buf body = {0};
    uint32_t spends = (uint32_t)rng_below(rng, 4), tx_count = 1;
    node->parent = parent;
    node->height = parent->height + 1;
    node->coins = mem_alloc((parent->coin_count + 3 * (spends + 1)) * sizeof *node->coins);
    if (parent->coin_count) {
        memcpy(node->coins, parent->coins, parent->coin_count * sizeof *node->coins);
    }
    node->coin_count = parent->coin_count;
    add_tx(node, &body, NULL, rng_next(rng), block_subsidy(node->height, &params).sat,
           1 + (uint32_t)rng_below(rng, 3));
    for (uint32_t i = 0; i < spends; i++) {
        size_t at = (size_t)rng_below(rng, node->coin_count); /* often one that this block has made */
        struct free_coin coin = node->coins[at];
        if (coin.spendable <= node->height && coin.sat > 3) {
            node->coins[at] = node->coins[--node->coin_count];
            add_tx(node, &body, &coin, 0, coin.sat - 1, 1 + (uint32_t)rng_below(rng, 3));
            tx_count++;
        }
    }
    node->block = seal(node, &body, tx_count);
    cr_assert(node->block);
    buf_free(&body);
    return node;
}

static void forget(struct node **nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        block_unref(nodes[i]->block);
        mem_free(nodes[i]->coins);
        mem_free(nodes[i]);
    }
}

static void feed(struct rig *rig, struct node *node)
{
    struct error error = {0};
    struct moment now = {.unix_us = INT64_C(4000000000) * 1000000};
    cr_assert(chain_accept_block(rig->chain, node->block, now, true, 0, &error), "%s %s", error.word,
              error.text);
    node->fed = true;
    pump(rig);
}

/* The set of rig against that of a chain that sees only what leads to its tip. */
static void same_as_fresh(struct rig *rig, struct node **nodes, size_t count, uint64_t seed)
{
    struct rig fresh;
    struct node **path = mem_alloc((count + 1) * sizeof(struct node *));
    size_t length = 0;
    struct utxo_stats here = stats_of(rig);
    for (size_t i = 0; i < count; i++) {
        for (struct node *at = nodes[i]; hash256_equal(&nodes[i]->block->hash, &here.tip->hash) && at->block;
             at = at->parent) {
            path[length++] = at;
        }
    }
    cr_assert_eq(length, here.tip->height);
    rig_open(&fresh, seed + 1, 1u << 20);
    size_t coins = length ? path[0]->coin_count : 0;
    while (length) {
        feed(&fresh, path[--length]);
    }
    struct utxo_stats there = stats_of(&fresh);
    cr_assert(hash256_equal(&here.tip->hash, &there.tip->hash));
    cr_assert(hash256_equal(&here.hash, &there.hash), "seed %" PRIu64 ": another UTXO set", seed);
    cr_assert_eq(here.txouts, coins, "seed %" PRIu64 ": %" PRIu64 " coins, not %zu", seed, here.txouts,
                 coins);
    rig_close(&fresh);
    mem_free(path);
}

/* ---- The tests
 * --------------------------------------------------------------------------------------------------- */

static void begin(void)
{
    struct error error = {0};
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, &error), "%s", error.text);
    params.maturity = MATURITY;
}

static void end(void)
{
    chain_params_free(&params);
}

TestSuite(reorganise, .init = begin, .fini = end);

static void random_tree(uint64_t seed)
{
    enum { BLOCKS = 80 };
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[BLOCKS];
    rng_seed_u64(&rng, seed);
    rig_open(&rig, seed, seed % 2 ? 1u << 20 : 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t back = rng_below(&rng, 3) ? 1 : 1 + (size_t)rng_below(&rng, 12);
        nodes[i] = grow(i < back ? &root : nodes[i - back], &rng);
    }
    for (size_t left = BLOCKS; left;) {
        struct node *node = nodes[rng_below(&rng, BLOCKS)];
        if (!node->fed && node->parent->fed) {
            feed(&rig, node);
            left--;
        }
    }
    same_as_fresh(&rig, nodes, BLOCKS, seed);
    rig_close(&rig);
    forget(nodes, BLOCKS);
}

Test(reorganise, random_trees_equal_a_fresh_chain)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
        random_tree(seed);
    }
}

/* Two branches from the tenth block, each spending its own coins and the common ones: over to the second when
 * it is longer, and back when the first is. */
Test(reorganise, five_hundred_blocks_there_and_back)
{
    enum { COMMON = 10, DEPTH = 500, ALL = COMMON + 2 * DEPTH + 3 };
    const uint64_t seed = 42;
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[ALL];
    rng_seed_u64(&rng, seed);
    rig_open(&rig, seed, 64u << 10);
    size_t n = 0;
    for (struct node *at = &root; n < COMMON + DEPTH; at = nodes[n++]) {
        nodes[n] = grow(at, &rng);
    }
    for (struct node *at = nodes[COMMON - 1]; n < COMMON + 2 * DEPTH + 1; at = nodes[n++]) {
        nodes[n] = grow(at, &rng);
    }
    nodes[n] = grow(nodes[COMMON + DEPTH - 1], &rng);
    nodes[n + 1] = grow(nodes[n], &rng);
    n += 2;
    for (size_t i = 0; i < ALL; i++) {
        feed(&rig, nodes[i]);
        uint32_t height = chain_tip(rig.chain)->height;
        if (i == COMMON + DEPTH - 1 || i == COMMON + 2 * DEPTH || i == ALL - 1) {
            cr_assert_eq(height, nodes[i]->height);
            same_as_fresh(&rig, nodes, i + 1, seed);
        }
    }
    struct chain_metrics metrics;
    chain_metrics(rig.chain, &metrics);
    cr_assert_eq(metrics.blocks_disconnected, 2 * DEPTH + 1);
    rig_close(&rig);
    forget(nodes, ALL);
}

/* While more is expected, catching up makes no batch; whoever waits for one gets it, and the end makes one.
 */
Test(reorganise, batches_gather_while_more_is_expected)
{
    enum { BLOCKS = 12 };
    struct rng rng;
    struct rig rig;
    struct node root = {.fed = true}, *nodes[BLOCKS];
    rng_seed_u64(&rng, 7);
    rig_open(&rig, 7, 1u << 20);
    chain_expect_more(rig.chain, true);
    for (size_t i = 0; i < BLOCKS; i++) {
        nodes[i] = grow(i ? nodes[i - 1] : &root, &rng);
        feed(&rig, nodes[i]);
        cr_assert_eq(chain_tip(rig.chain)->height, i + 1);
        cr_assert_eq(rig.durable, i < 6 ? 0 : 6);
        if (i == 5) {
            chain_flush(rig.chain);
            pump(&rig);
            cr_assert_eq(rig.durable, 6);
        }
    }
    chain_expect_more(rig.chain, false);
    pump(&rig);
    cr_assert_eq(rig.durable, BLOCKS);
    rig.durable = 0;
    chain_flush(rig.chain); /* nothing is left to write: told at once */
    cr_assert_eq(rig.durable, BLOCKS);
    rig_close(&rig);
    forget(nodes, BLOCKS);
}
