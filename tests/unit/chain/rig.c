/* See rig.h. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/chain/rig.h"

struct chain_params rig_params;

void rig_begin(void)
{
    struct error error = {0};
    cr_assert(chain_params_init(&rig_params, CHAIN_REGTEST, NULL, &error), "%s", error.text);
    rig_params.maturity = MATURITY;
}

void rig_end(void)
{
    chain_params_free(&rig_params);
}

/* ---- A chain on a store ------------------------------------------------------------------------------ */

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
    struct rig *rig = context;
    cr_assert(rig->may_fail, "%s", error->text);
    snprintf(rig->fatal, sizeof rig->fatal, "%s", error->text);
}

void rig_pump(struct rig *rig)
{
    while (!list_empty(&rig->jobs)) {
        struct job *job = CONTAINER_OF(rig->jobs.next, struct job, link);
        list_remove(&job->link);
        if (job->kind == JOB_CHECK_SCRIPTS) {
            for (size_t i = job->check.count; i-- > 0 && !rig->scripts_all_pass;) {
                bool passes = job->check.check(job->check.batch, i);
                job->check.failed_index = passes ? job->check.failed_index : i;
            }
        } else {
            store_run(rig->store, job, job->kind == JOB_SCAN ? store_snapshot(rig->store) : NULL);
        }
        job_finish(job);
    }
}

static void open_store(struct rig *rig)
{
    struct error error = {0};
    rig->store = store_open(rig->folder, &rig_params, &error);
    cr_assert(rig->store, "%s", error.text);
}

static void open_chain(struct rig *rig, size_t cache_bytes)
{
    struct error error = {0};
    struct store_reader reader;
    const struct chain_config config = {.params = &rig_params,
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
    rig_pump(rig);
}

void rig_open(struct rig *rig, uint64_t seed, size_t cache_bytes)
{
    *rig = (struct rig){0};
    snprintf(rig->folder, sizeof rig->folder, "/tmp/quarry-unit-XXXXXX");
    cr_assert(mkdtemp(rig->folder));
    list_init(&rig->jobs);
    rng_seed_u64(&rig->rng, seed);
    open_store(rig);
    open_chain(rig, cache_bytes);
}

static void close_chain(struct rig *rig)
{
    chain_stop(rig->chain);
    rig_pump(rig);
    chain_free(rig->chain);
    store_close(rig->store);
}

void rig_reopen(struct rig *rig, size_t cache_bytes)
{
    close_chain(rig);
    open_store(rig);
    open_chain(rig, cache_bytes);
}

void rig_reset(struct rig *rig, bool index_too, size_t cache_bytes)
{
    struct error error = {0};
    close_chain(rig);
    *rig->fatal = 0;
    open_store(rig);
    cr_assert(store_reset(rig->store, index_too, &error), "%s", error.text);
    open_chain(rig, cache_bytes);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

void rig_close(struct rig *rig)
{
    close_chain(rig);
    nftw(rig->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void take_stats(void *context, const struct utxo_stats *stats)
{
    cr_assert_not(stats->failed);
    *(struct utxo_stats *)context = *stats;
}

struct utxo_stats rig_stats(struct rig *rig)
{
    struct utxo_stats stats = {0};
    chain_utxo_stats(rig->chain, UTXO_HASH_MUHASH, take_stats, &stats);
    rig_pump(rig);
    cr_assert(stats.tip);
    return stats;
}

/* ---- A tree of blocks -------------------------------------------------------------------------------- */

static void put_tx(struct buf *out, const struct free_coin *coin, struct span script_sig, uint32_t height,
                   uint64_t salt, int64_t sat, uint32_t outputs)
{
    static const uint8_t anybody[] = {0x51};
    struct buf script = {0};
    struct tx_input in = {.prevout.index = UINT32_MAX, .sequence = SEQUENCE_FINAL};
    struct tx_output outs[3];
    if (coin) {
        in.prevout = coin->outpoint;
        in.script = script_sig;
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
static void add_tx(struct node *node, struct buf *body, const struct free_coin *coin, struct span script_sig,
                   uint64_t salt, int64_t sat, uint32_t outputs)
{
    struct buf raw = {0};
    put_tx(&raw, coin, script_sig, node->height, salt, sat, outputs);
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
                                  .prev_hash = before ? before->hash : rig_params.genesis_hash,
                                  .time = rig_params.genesis.time + node->height,
                                  .bits = rig_params.genesis.bits};
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, tx_count);
    buf_bytes(&raw, body->data, body->len);
    struct block *draft = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    cr_assert(draft);
    cr_assert_not(merkle_root_of_txids(&header.merkle_root, draft->txs, draft->tx_count, false));
    block_unref(draft);
    struct hash256 hash;
    for (header_hash(&hash, &header); !pow_check(&hash, header.bits, &rig_params);) {
        header.nonce++;
        header_hash(&hash, &header);
    }
    header_encode(raw.data, &header);
    return block_parse(raw.data, raw.len, NULL);
}

static struct node *begin_node(struct node *parent, struct buf *body, struct rng *rng, uint32_t spends)
{
    struct node *node = mem_alloc(sizeof *node);
    node->parent = parent;
    node->height = parent->height + 1;
    node->coins = mem_alloc((parent->coin_count + 3 * (spends + 1)) * sizeof *node->coins);
    if (parent->coin_count) {
        memcpy(node->coins, parent->coins, parent->coin_count * sizeof *node->coins);
    }
    node->coin_count = parent->coin_count;
    add_tx(node, body, NULL, span_of(NULL, 0), rng_next(rng), block_subsidy(node->height, &rig_params).sat,
           1 + (uint32_t)rng_below(rng, 3));
    return node;
}

static struct node *end_node(struct node *node, struct buf *body, uint32_t tx_count)
{
    node->block = seal(node, body, tx_count);
    cr_assert(node->block);
    buf_free(body);
    return node;
}

struct node *node_grow(struct node *parent, struct rng *rng)
{
    struct buf body = {0};
    uint32_t spends = (uint32_t)rng_below(rng, 4), tx_count = 1;
    struct node *node = begin_node(parent, &body, rng, spends);
    for (uint32_t i = 0; i < spends; i++) {
        size_t at = (size_t)rng_below(rng, node->coin_count); /* often one that this block has made */
        struct free_coin coin = node->coins[at];
        if (coin.spendable <= node->height && coin.sat > 3) {
            node->coins[at] = node->coins[--node->coin_count];
            add_tx(node, &body, &coin, span_of(NULL, 0), 0, coin.sat - 1, 1 + (uint32_t)rng_below(rng, 3));
            tx_count++;
        }
    }
    return end_node(node, &body, tx_count);
}

struct node *node_spend(struct node *parent, struct rng *rng, struct span script_sig)
{
    struct buf body = {0};
    struct node *node = begin_node(parent, &body, rng, 1);
    struct free_coin coin = node->coins[0];
    cr_assert_leq(coin.spendable, node->height);
    node->coins[0] = node->coins[--node->coin_count];
    add_tx(node, &body, &coin, script_sig, 0, coin.sat - 1, 1);
    return end_node(node, &body, 2);
}

void nodes_free(struct node **nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        block_unref(nodes[i]->block);
        mem_free(nodes[i]->coins);
        mem_free(nodes[i]);
    }
}

void rig_feed(struct rig *rig, struct node *node)
{
    struct error error = {0};
    struct moment now = {.unix_us = INT64_C(4000000000) * 1000000};
    cr_assert(chain_accept_block(rig->chain, node->block, now, true, 0, &error), "%s %s", error.word,
              error.text);
    node->fed = true;
    rig_pump(rig);
}

void rig_flip(const struct rig *rig, const char *name, uint64_t offset)
{
    char path[128];
    uint8_t byte;
    snprintf(path, sizeof path, "%s/blocks/%s", rig->folder, name);
    int fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}
