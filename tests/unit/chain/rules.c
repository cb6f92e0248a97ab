/*
 * Rules that look back along the chain: BIP30 with its end by BIP34, and BIP94. core/chain without a store:
 * what it writes is taken and forgotten, its cache holds every coin.
 */
#include <criterion/criterion.h>

#include "core/chain/chain_private.h"
#include "tests/no_store.h"

static struct chain_params params;
static struct chain *chain;
static struct rng rng;
static struct list jobs;
static struct error refused; /* of the last block that was */
static bool may_fail;        /* the store */

static const struct moment now = {.unix_us = INT64_C(4000000000) * 1000000};

/* ---- A chain of its own ------------------------------------------------------------------------------ */

static void submit(void *context, struct job *job)
{
    (void)context;
    list_append(&jobs, &job->link);
}

static void on_block(void *context, const struct block_entry *entry, const struct block *block)
{
    (void)context, (void)entry, (void)block;
}

static void on_tip(void *context, const struct block_entry *old_tip, const struct block_entry *tip)
{
    (void)context, (void)old_tip, (void)tip;
}

static void on_durable(void *context, const struct block_entry *tip)
{
    (void)context, (void)tip;
}

static void on_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                      const struct error *error)
{
    (void)context, (void)hash, (void)source, (void)connected;
    refused = error ? *error : (struct error){0};
}

static void on_fatal(void *context, const struct error *error)
{
    (void)context;
    cr_assert(may_fail, "%s", error->text);
}

static void pump(void)
{
    while (!list_empty(&jobs)) {
        struct job *job = CONTAINER_OF(jobs.next, struct job, link);
        list_remove(&job->link);
        cr_assert(job->kind == JOB_WRITE || job->kind == JOB_COMMIT || job->kind == JOB_READ_COINS);
        job_finish(job); /* nothing is found that the cache does not know */
    }
}

/* After the parameters have been set as the test wants them. */
static void begin_chain(void)
{
    struct error error = {0};
    const struct store_reader reader = {NULL, no_row, no_rows, no_file, no_bytes};
    const struct chain_config config = {
        .params = &params, .coins_cache_bytes = 1u << 24, .recent_blocks_bytes = 1u << 24, .rng = &rng};
    const struct chain_events events = {.submit = submit,
                                        .connected = on_block,
                                        .disconnected = on_block,
                                        .tip = on_tip,
                                        .durable = on_durable,
                                        .block_result = on_result,
                                        .fatal = on_fatal};
    chain = chain_open(&config, &events, &reader, &error);
    cr_assert(chain, "%s", error.text);
    chain_start(chain, now);
    pump();
}

static void begin(void)
{
    list_init(&jobs);
    rng_seed_u64(&rng, 1);
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, NULL));
}

static void end(void)
{
    if (chain) {
        chain_stop(chain);
        pump();
        chain_free(chain);
    }
    chain_params_free(&params);
}

TestSuite(rules, .init = begin, .fini = end);

static struct hash256 mine(struct block_header *header)
{
    struct hash256 hash;
    for (header_hash(&hash, header); !pow_check(&hash, header->bits, &params);) {
        header->nonce++;
        header_hash(&hash, header);
    }
    return hash;
}

/* ---- BIP30 ------------------------------------------------------------------------------------------- */

/* A block on a parent whose coinbase begins with a height, which need not be its own, and ends with a script
 * of so many bytes. */
static struct block *large_block_on(const struct hash256 *parent, uint32_t time, uint32_t coinbase_height,
                                    size_t script_bytes)
{
    struct buf script = {0}, raw = {0}, coinbase = {0}, anybody = {0};
    script_push_height(&script, coinbase_height);
    script_push(&script, "rules", 5);
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script), .sequence = SEQUENCE_FINAL};
    memset(buf_extend(&anybody, script_bytes), 0x51, script_bytes);
    struct tx_output out = {{1000}, buf_span(&anybody)};
    struct tx tx = {.version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    tx_write(&coinbase, &tx, false);
    struct tx *parsed = tx_parse(buf_span(&coinbase), NULL);
    cr_assert(parsed);
    struct block_header header = {
        .version = 0x20000000, .prev_hash = *parent, .time = time, .bits = params.genesis.bits};
    header.merkle_root = parsed->txid;
    mine(&header);
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, 1);
    buf_bytes(&raw, coinbase.data, coinbase.len);
    struct block *block = block_parse(raw.data, raw.len, NULL);
    cr_assert(block);
    tx_unref(parsed);
    buf_free(&script);
    buf_free(&coinbase);
    buf_free(&anybody);
    return block;
}

static struct block *block_on(const struct hash256 *parent, uint32_t time, uint32_t coinbase_height)
{
    return large_block_on(parent, time, coinbase_height, 1);
}

enum { OLD = 4, LENGTH = 6 }; /* block 2's coinbase names height 6; BIP34 holds from height 4 on */
static const uint32_t coinbase_heights[LENGTH] = {1, 6, 3, 4, 5, 6};

static void make_blocks(struct block *blocks[LENGTH])
{
    for (uint32_t i = 0; i < LENGTH; i++) {
        blocks[i] = block_on(i ? &blocks[i - 1]->hash : &params.genesis_hash,
                             params.genesis.time + (i + 1) * 600, coinbase_heights[i]);
    }
}

static void take_blocks(struct block *blocks[LENGTH])
{
    for (uint32_t i = 0; i < LENGTH; i++) {
        struct error error = {0};
        cr_assert(chain_accept_block(chain, blocks[i], now, true, 0, &error), "%s", error.text);
        pump();
        cr_assert(i == LENGTH - 1 || !refused.kind, "height %u: %s", i + 1, refused.word);
        block_unref(blocks[i]);
    }
}

Test(rules, bip30_holds_where_bip34_was_taken_up_elsewhere)
{
    struct block *blocks[LENGTH];
    params.bip34_height = OLD; /* its hash is another block's */
    begin_chain();
    make_blocks(blocks);
    take_blocks(blocks);
    cr_assert_str_eq(refused.word, "bad-txns-BIP30");
    cr_assert_eq(chain_tip(chain)->height, LENGTH - 1);
}

Test(rules, bip30_ends_with_the_known_bip34_block)
{
    struct block *blocks[LENGTH];
    params.bip34_height = OLD;
    make_blocks(blocks);
    params.bip34_hash = blocks[OLD - 1]->hash;
    begin_chain();
    take_blocks(blocks);
    cr_assert_eq(refused.kind, ERROR_NONE, "%s", refused.word);
    cr_assert_eq(chain_tip(chain)->height, LENGTH);
}

Test(rules, bip30_holds_before_bip34)
{
    struct error error = {0};
    params.bip34_height = 100;
    begin_chain();
    struct block *first = block_on(&params.genesis_hash, params.genesis.time + 600, 1);
    struct block *second = block_on(&first->hash, params.genesis.time + 1200, 1);
    cr_assert(chain_accept_block(chain, first, now, true, 0, &error), "%s", error.text);
    pump();
    cr_assert(chain_accept_block(chain, second, now, true, 0, &error), "%s", error.text);
    pump();
    cr_assert_str_eq(refused.word, "bad-txns-BIP30");
    block_unref(first);
    block_unref(second);
}

/* Of the main chain, whose blocks nobody can make here: entries by hand. */
static bool applies(uint32_t height, const char *hash, const char *hash_at_bip34)
{
    struct chain_params main_params;
    struct block_entry taken_up = {0}, entry = {.height = height};
    cr_assert(chain_params_init(&main_params, CHAIN_MAIN, NULL, NULL));
    cr_assert(hash256_parse(&entry.hash, hash));
    if (height > main_params.bip34_height) {
        taken_up.height = main_params.bip34_height;
        cr_assert(hash256_parse(&taken_up.hash, hash_at_bip34));
        entry.prev = &taken_up;
    }
    bool result = bip30_applies(&main_params, &entry);
    chain_params_free(&main_params);
    return result;
}

Test(rules, bip30_on_the_main_chain)
{
    static const char known[] = "000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8";
    static const char other[] = "00000000000000000000000000000000000000000000000000000000000000ff";
    static const char first[] = "00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec";
    static const char second[] = "00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721";
    cr_expect(!applies(91842, first, NULL));
    cr_expect(!applies(91880, second, NULL));
    cr_expect(applies(91842, other, NULL), "the height alone is no excuse");
    cr_expect(applies(91842, second, NULL));
    cr_expect(applies(91843, first, NULL));
    cr_expect(applies(1, other, NULL));
    cr_expect(applies(227931, known, NULL));
    cr_expect(!applies(227932, other, known));
    cr_expect(applies(227932, other, other), "a branch that took BIP34 up at another block");
    cr_expect(!applies(1983701, other, known));
    cr_expect(applies(1983702, other, known));
}

/* ---- BIP94 ------------------------------------------------------------------------------------------- */

static const struct block_entry *add_header(uint32_t time, uint32_t bits, struct error *error)
{
    const struct block_entry *best = chain_best_header(chain), *entry = NULL;
    struct block_header header = {.version = 0x20000000, .prev_hash = best->hash, .time = time, .bits = bits};
    mine(&header);
    return chain_accept_header(chain, &header, now, &entry, NULL, error) ? entry : NULL;
}

/* testnet4's rules on regtest's proof of work. The first block of the second period is harder; its last one
 * is by the 20-minute rule at the least difficulty, and the third period starts from the first's, not from
 * it. */
Test(rules, bip94)
{
    enum { PERIOD = 2016 };
    struct error error = {0};
    params.retarget = RETARGET_TESTNET4;
    params.min_difficulty_blocks = true;
    begin_chain();
    uint32_t time = params.genesis.time, easy = params.pow_limit_bits;
    for (uint32_t height = 1; height < PERIOD; height++) {
        time += 400;
        cr_assert(add_header(time, easy, &error), "height %u: %s", height, error.word);
    }
    uint32_t hard = pow_retarget_2016(&params, easy, params.genesis.time, time);
    cr_assert_neq(hard, easy);
    cr_assert_eq(chain_next_bits(chain, chain_best_header(chain), time), hard);
    cr_assert_null(add_header(time - 601, hard, &error));
    cr_assert_str_eq(error.word, "time-timewarp-attack");
    cr_assert_eq(chain_min_time(chain, chain_best_header(chain)), (int64_t)time - 600);
    time -= 600;
    uint32_t first_time = time;
    cr_assert(add_header(time, hard, &error), "%s", error.word);
    for (uint32_t height = PERIOD + 1; height < 2 * PERIOD - 1; height++) {
        time += 600;
        cr_assert(add_header(time, hard, &error), "height %u: %s", height, error.word);
    }
    time += 1201;
    cr_assert_null(add_header(time, hard, &error));
    cr_assert_str_eq(error.word, "bad-diffbits");
    cr_assert(add_header(time, easy, &error), "%s", error.word);
    uint32_t next = pow_retarget_2016(&params, hard, first_time, time);
    cr_assert_neq(next, pow_retarget_2016(&params, easy, first_time, time));
    cr_assert_eq(chain_next_bits(chain, chain_best_header(chain), time + 600), next);
    cr_assert(add_header(time + 600, next, &error), "%s", error.word);
}

/* ---- A disk that does not follow --------------------------------------------------------------------- */

Test(rules, blocks_that_wait_to_be_written_are_bounded)
{
    enum { LARGE = 900000, MOST = 60 };
    struct error error = {0};
    struct hash256 parent = params.genesis_hash;
    uint32_t taken = 0;
    begin_chain();
    for (bool ok = true; ok && taken < MOST; taken += ok) {
        struct block *block =
            large_block_on(&parent, params.genesis.time + 600 * (taken + 1), taken + 1, LARGE);
        ok = chain_accept_block(chain, block, now, true, 0, &error);
        parent = block->hash;
        block_unref(block);
    }
    cr_assert_eq(error.kind, ERROR_BUSY, "%s", error.text);
    cr_assert_geq(taken * LARGE, 1u << 24, "as many as recent ones are kept");
    cr_assert(chain_disk_lags(chain));
    pump();
    cr_assert_not(chain_disk_lags(chain));
    cr_assert_eq(chain_tip(chain)->height, taken);
}

static void on_judged(void *context, const struct error *error)
{
    (void)error;
    ++*(unsigned *)context;
}

/* Nobody is told, and nothing is lost (which the address sanitizer sees). */
Test(rules, a_proposal_whose_coins_cannot_be_read)
{
    static const uint8_t anybody = 0x51;
    unsigned told = 0;
    struct buf raw = {0}, txs = {0};
    begin_chain();
    struct block *block = block_on(&params.genesis_hash, params.genesis.time + 600, 1);
    struct tx_input in = {.prevout = {{{1}}, 0}, .sequence = SEQUENCE_FINAL};
    struct tx_output out = {{1000}, span_of(&anybody, 1)};
    struct tx tx = {.version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    tx_write(&txs, &tx, false);
    buf_bytes(&raw, block->raw.data, block->raw.len);
    raw.data[HEADER_BYTES] = 2;
    buf_bytes(&raw, txs.data, txs.len);
    block_unref(block);
    struct block *draft = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
    cr_assert(draft);
    merkle_root_of_txids((struct hash256 *)(void *)(raw.data + 36), draft->txs, 2, false);
    block_unref(draft);
    block = block_parse(raw.data, raw.len, NULL);
    chain_test_block(chain, block, now, on_judged, &told);
    block_unref(block);
    cr_assert_not(list_empty(&jobs));
    struct job *job = CONTAINER_OF(jobs.next, struct job, link);
    cr_assert_eq(job->kind, JOB_READ_COINS);
    may_fail = job->failed = true;
    pump();
    cr_assert_eq(told, 0);
    buf_free(&txs);
}
