/* See rig.h. */
#include <criterion/criterion.h>

#include "tests/no_store.h"
#include "tests/unit/mempool/rig.h"

struct rig rig;

/* ---- What the chain and the pool tell ---------------------------------------------------------------- */

static void submit_job(void *context, struct job *job)
{
    (void)context;
    list_append(&rig.jobs, &job->link);
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
    (void)context, (void)old_tip, (void)tip;
    mempool_settled(rig.pool, rig.now);
}

static void on_durable(void *context, const struct block_entry *tip)
{
    (void)context, (void)tip;
}

static void on_block_result(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                            const struct error *error)
{
    (void)context, (void)hash, (void)source, (void)connected;
    rig.refused = error ? *error : (struct error){0};
}

static void on_fatal(void *context, const struct error *error)
{
    (void)context;
    cr_assert_fail("%s", error->text);
}

static void on_result(void *context, struct tx *tx, uint64_t source, const struct error *error)
{
    (void)context, (void)tx, (void)source;
    rig.result = error ? *error : (struct error){0};
}

static void on_tested(void *context, struct tx *tx, uint64_t source, struct amount fee,
                      const struct error *error)
{
    (void)fee;
    on_result(context, tx, source, error);
}

static void on_package(void *context, uint64_t source, const struct package_member *members, size_t count)
{
    (void)context, (void)source;
    rig.result = (struct error){0};
    rig.judged = 0;
    for (size_t i = 0; i < count; i++) {
        rig.judged += members[i].judged;
        rig.result = members[i].error.kind ? members[i].error : rig.result;
        rig.refused_at = members[i].error.kind ? i : rig.refused_at;
    }
}

static void on_added(void *context, const struct mempool_entry *entry)
{
    (void)context, (void)entry;
}

static void on_removed(void *context, const struct tx *tx, const char *reason)
{
    (void)context, (void)tx;
    strncpy(rig.reason, reason, sizeof rig.reason - 1);
    rig.removed++;
}

void rig_pump(void)
{
    while (!list_empty(&rig.jobs)) {
        struct job *job = CONTAINER_OF(rig.jobs.next, struct job, link);
        list_remove(&job->link);
        if (job->kind == JOB_CHECK_SCRIPTS) {
            for (size_t i = job->check.count; i-- > 0;) {
                bool passes = job->check.check(job->check.batch, i);
                job->check.failed_index = passes ? job->check.failed_index : i;
            }
        }
        job_finish(job);
    }
}

/* ---- Opening and closing ----------------------------------------------------------------------------- */

void rig_begin(void)
{
    rig = (struct rig){.now = {1000000, INT64_C(1700000000) * 1000000}};
    list_init(&rig.jobs);
    rng_seed_u64(&rig.rng, 1);
    cr_assert(chain_params_init(&rig.params, CHAIN_REGTEST, NULL, NULL));
    rig.params.maturity = MATURITY;
    static const uint8_t anyone = 0x51;
    buf_u8(&rig.payout, 0xa9);
    buf_u8(&rig.payout, 20);
    hash160(buf_extend(&rig.payout, 20), &anyone, 1);
    buf_u8(&rig.payout, 0x87);
    rig.config = (struct mempool_config){.bytes_max = 50u << 20,
                                         .min_fee_per_kvb_sat = 1000,
                                         .expiry_s = 14 * 24 * 3600,
                                         .ancestors_max = 25,
                                         .descendants_max = 25,
                                         .pending_max = 1000,
                                         .rng = &rig.rng};
}

void rig_open(void)
{
    struct error error = {0};
    const struct store_reader reader = {NULL, no_row, no_rows, no_file, no_bytes};
    const struct chain_config config = {.params = &rig.params,
                                        .coins_cache_bytes = 1u << 24,
                                        .recent_blocks_bytes = 1u << 24,
                                        .script_cache_bytes = 1u << 16,
                                        .rng = &rig.rng};
    const struct chain_events events = {.submit = submit_job,
                                        .connected = on_connected,
                                        .disconnected = on_disconnected,
                                        .tip = on_tip,
                                        .durable = on_durable,
                                        .block_result = on_block_result,
                                        .fatal = on_fatal};
    const struct mempool_events pool_events = {.result = on_result,
                                               .tested = on_tested,
                                               .package = on_package,
                                               .added = on_added,
                                               .removed = on_removed};
    rig.chain = chain_open(&config, &events, &reader, &error);
    cr_assert(rig.chain, "%s", error.text);
    rig.pool = mempool_new(&rig.config, rig.chain, submit_job, NULL, &pool_events);
    chain_start(rig.chain, rig.now);
    rig_pump();
    for (uint32_t i = 0; i < BLOCKS; i++) {
        block_unref(rig_mine(false));
    }
}

void rig_end(void)
{
    if (rig.chain) {
        chain_stop(rig.chain);
        rig_pump();
        mempool_free(rig.pool);
        chain_free(rig.chain);
    }
    buf_free(&rig.payout);
    chain_params_free(&rig.params);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

static struct block *solve(struct block_header *header, struct span body)
{
    struct buf raw = {0};
    struct hash256 hash;
    for (header_hash(&hash, header); !pow_check(&hash, header->bits, &rig.params);) {
        header->nonce++;
        header_hash(&hash, header);
    }
    header_encode(buf_extend(&raw, HEADER_BYTES), header);
    buf_bytes(&raw, body.data, body.len);
    struct block *block = block_parse(raw.data, raw.len, NULL);
    cr_assert(block);
    return block;
}

bool rig_take_block(struct block *block)
{
    struct error error = {0};
    rig.now.unix_us += INT64_C(600) * 1000000;
    bool taken = chain_accept_block(rig.chain, block, rig.now, true, 0, &error);
    rig_pump();
    if (!taken) {
        rig.refused = error;
    }
    block_unref(block);
    return taken && !rig.refused.kind;
}

struct block *rig_mine(bool with_transactions)
{
    struct buf raw = {0};
    struct block_template *t =
        template_new(rig.chain, rig.pool, buf_span(&rig.payout), with_transactions, rig.now);
    template_block(t, t->header.version, t->header.time, 0, &raw);
    struct block *block = solve(&t->header, span_of(raw.data + HEADER_BYTES, raw.len - HEADER_BYTES));
    template_free(t);
    buf_free(&raw);
    cr_assert(rig_take_block(block_ref(block)), "%s %s", rig.refused.word, rig.refused.text);
    return block;
}

struct block *rig_block_on(const struct block_entry *parent, struct tx *const *txs, uint32_t count)
{
    struct buf script = {0}, body = {0};
    uint64_t salt = rng_next(&rig.rng);
    script_push_height(&script, parent->height + 1);
    script_push(&script, &salt, sizeof salt);
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script), .sequence = SEQUENCE_FINAL};
    struct tx_output out = {block_subsidy(parent->height + 1, &rig.params), buf_span(&rig.payout)};
    const struct tx coinbase = {
        .version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = parent->hash,
                                  .time = parent->header.time + 1,
                                  .bits = parent->header.bits};
    buf_extend(&body, HEADER_BYTES);
    buf_compact_size(&body, count + 1);
    tx_write(&body, &coinbase, false);
    for (uint32_t i = 0; i < count; i++) {
        tx_write(&body, txs[i], true);
    }
    struct block *draft = block_parse(mem_dup(body.data, body.len), body.len, NULL);
    cr_assert(draft);
    merkle_root_of_txids(&header.merkle_root, draft->txs, draft->tx_count, false);
    block_unref(draft);
    struct block *block = solve(&header, span_of(body.data + HEADER_BYTES, body.len - HEADER_BYTES));
    buf_free(&script);
    buf_free(&body);
    return block;
}

/* ---- Transactions ------------------------------------------------------------------------------------ */

struct recipe recipe_of(int64_t fee_sat)
{
    return (struct recipe){.fee_sat = fee_sat, .out_count = 1, .version = 2};
}

static void spend(struct recipe *recipe, const struct hash256 *txid, uint32_t output, int64_t sat)
{
    cr_assert_lt(recipe->in_count, ARRAY_COUNT(recipe->in));
    recipe->in[recipe->in_count] = (struct outpoint){*txid, output};
    recipe->in_sat[recipe->in_count] = sat;
    recipe->sequence[recipe->in_count++] = SEQUENCE_FINAL - 1;
}

void recipe_spend_block(struct recipe *recipe, uint32_t height)
{
    const struct block *block = chain_recent_block(rig.chain, &chain_at(rig.chain, height)->hash);
    cr_assert(block);
    spend(recipe, &block->txs[0].txid, 0, block->txs[0].outputs[0].value.sat);
}

void recipe_spend(struct recipe *recipe, const struct tx *tx, uint32_t output)
{
    spend(recipe, &tx->txid, output, tx->outputs[output].value.sat);
}

struct tx *make_tx(const struct recipe *r)
{
    static const uint8_t solution[2] = {1, 0x51};
    struct buf note = {0}, raw = {0};
    struct tx_input *inputs = mem_alloc(r->in_count * sizeof *inputs);
    struct tx_output *outputs = mem_alloc((r->out_count + 1) * sizeof *outputs);
    int64_t total = -r->fee_sat;
    for (uint32_t i = 0; i < r->in_count; i++) {
        inputs[i] = (struct tx_input){
            .prevout = r->in[i], .script = span_of(solution, 2), .sequence = r->sequence[i]};
        total += r->in_sat[i];
    }
    for (uint32_t i = 0; i < r->out_count; i++) {
        int64_t share = total / r->out_count + (i ? 0 : total % r->out_count);
        outputs[i] = (struct tx_output){{share}, buf_span(&rig.payout)};
    }
    if (r->pad_bytes) {
        buf_u8(&note, 0x6a);
        buf_extend(&note, r->pad_bytes);
        outputs[r->out_count] = (struct tx_output){{0}, buf_span(&note)};
    }
    const struct tx tx = {.version = r->version,
                          .locktime = r->locktime,
                          .input_count = r->in_count,
                          .output_count = r->out_count + (r->pad_bytes ? 1 : 0),
                          .inputs = inputs,
                          .outputs = outputs};
    tx_write(&raw, &tx, false);
    struct tx *parsed = tx_parse(buf_span(&raw), NULL);
    cr_assert(parsed);
    mem_free(inputs);
    mem_free(outputs);
    buf_free(&note);
    buf_free(&raw);
    return parsed;
}

struct tx *spend_block(uint32_t height, int64_t fee_sat)
{
    struct recipe recipe = recipe_of(fee_sat);
    recipe_spend_block(&recipe, height);
    return make_tx(&recipe);
}

struct tx *spend_tx(const struct tx *parent, uint32_t output, int64_t fee_sat)
{
    struct recipe recipe = recipe_of(fee_sat);
    recipe_spend(&recipe, parent, output);
    return make_tx(&recipe);
}

const char *submit(struct tx *tx)
{
    rig.result = (struct error){.kind = ERROR_INTERNAL, .word = "no answer"};
    mempool_submit(rig.pool, tx, 0, rig.now);
    rig_pump();
    return rig.result.kind ? rig.result.word : "";
}

bool in_pool(const struct tx *tx)
{
    return mempool_find(rig.pool, &tx->txid) != NULL;
}
