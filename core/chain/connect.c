/*
 * From headers and bytes to money: one block at a time is connected to, or taken off, the UTXO set.
 *
 *   chain_activate   picks the best candidate and the next step towards it
 *     connect:       [read the block] -> coins -> rules -> scripts -> apply -> undo bytes written
 *     disconnect:    [read block and undo] -> apply backwards
 *
 * What it changes goes to the disk in batches (commit.c).
 *
 * The settled tip moves when the applied block has more work than it: during a reorganisation everybody is
 * told the old tip until the new branch is ahead.
 */
#include "core/chain/chain_private.h"

#define CACHE_AHEAD 8u       /* transactions */
#define BIP34_LIMIT 1983702u /* from here on, coinbases older than BIP34 have named heights (main) */

#define ASSUME_BURIED_S                                                                                      \
    (14u * 24 * 3600) /* work on top of a block before its scripts may be assumed valid                      \
                       */

static void step_connect(struct chain *chain);
static void step_disconnect(struct chain *chain);
static void step_propose(struct chain *chain);
static void end_proposal(struct chain *chain, const struct error *error);
static void proposal_free(struct proposal *proposal);

static void tell_tip(struct chain *chain)
{
    struct entry *old = chain->tip;
    chain->tip = chain->applied;
    chain->moved = false;
    chain->events.tip(chain->events.context, &old->e, &chain->tip->e);
}

/* Nothing better is left to connect. */
static void settle(struct chain *chain)
{
    index_prune_candidates(chain);
    chain->loading = false;
    if (chain->moved || chain->tip != chain->applied) {
        tell_tip(chain);
    }
    results_settle(chain);
    chain_commit_when_ready(chain);
}

static void next_step(struct chain *chain)
{
    if (!chain->started || chain->dead || chain->step != STEP_IDLE) {
        return;
    }
    if (chain->stopping) {
        verify_drop(chain);
        chain_commit_when_ready(chain);
        return;
    }
    if (chain->verify && chain->applied == chain->tip) {
        verify_begin(chain);
        return;
    }
    struct entry *best = index_best_candidate(chain);
    if (!best || best == chain->applied) {
        settle(chain);
        step_propose(chain);
        return;
    }
    if (chain->commit && chain_changes(chain) >= chain->flush_bytes) {
        return; /* the disk is slower than we are: on with the end of the batch */
    }
    const struct block_entry *fork = block_fork(&chain->applied->e, &best->e);
    if (fork != &chain->applied->e) {
        step_disconnect(chain);
        return;
    }
    chain->now.entry = entry_of(block_ancestor(&best->e, fork->height + 1));
    step_connect(chain);
}

/* Steps that need no waiting end inside their own call and ask for the next one: a loop here, not a
 * recursion. */
void chain_activate(struct chain *chain)
{
    chain->activate_again = true;
    if (chain->activating) {
        return;
    }
    chain->activating = true;
    chain->held_back = false;
    while (chain->activate_again) {
        chain->activate_again = false;
        next_step(chain);
    }
    chain->activating = false;
}

void connecting_free(struct connecting *now)
{
    for (size_t n = 0; n < now->taken_count; n++) { /* of a block that was refused */
        if (now->coins[n]) {
            now->coins[n]->flags &= (uint8_t)~COIN_TAKEN;
        }
    }
    block_unref(now->block);
    map_free(&now->own);
    map_free(&now->own_spent);
    arena_free(&now->arena);
    *now = (struct connecting){0};
}

static void end_step(struct chain *chain)
{
    if (chain->now.proposal) { /* the chain is dead: nobody is told */
        proposal_free(chain->now.proposal);
    }
    connecting_free(&chain->now);
    chain->step = STEP_IDLE;
}

/* ---- Connecting -------------------------------------------------------------------------------------- */

static void refuse_block(struct chain *chain, const struct error *error)
{
    struct entry *entry = chain->now.entry;
    char text[HASH256_TEXT];
    if (chain->now.proposal) {
        end_proposal(chain, error);
        return;
    }
    hash256_text(text, &entry->e.hash);
    log_warn(LOG_CHAIN, "block %s at height %u is not valid: %s (%s)", text, entry->e.height, error->word,
             error->text);
    index_mark_bad(chain, entry, BLOCK_FAILED);
    result_tell(chain, entry, false, error);
    end_step(chain);
    chain_activate(chain);
}

/* The two blocks of the main chain that repeated a coinbase before there was a rule. */
static bool repeats_coinbase(const struct block_entry *e)
{
    static const struct named_block blocks[] = {
        {91842, "00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec"},
        {91880, "00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721"}};
    return block_is_one_of(e, blocks, ARRAY_COUNT(blocks));
}

bool bip30_applies(const struct chain_params *params, const struct block_entry *e)
{
    if (params->bip34_height <= 1) {
        return false;
    }
    const struct block_entry *taken_up =
        e->height > params->bip34_height ? block_ancestor(e, params->bip34_height) : NULL;
    bool ruled_out = taken_up && hash256_equal(&taken_up->hash, &params->bip34_hash);
    return (!ruled_out && !repeats_coinbase(e)) || e->height >= BIP34_LIMIT;
}

/* Every input but the coinbase's, and the coin that it spends as far as the cache knows it. */
static void find_coins(struct chain *chain)
{
    struct connecting *now = &chain->now;
    if (!now->wanted) {
        now->input_count = block_spent_count(now->block);
        now->wanted = arena_alloc(&now->arena, now->input_count * sizeof *now->wanted);
        now->coins = arena_alloc(&now->arena, now->input_count * sizeof(struct cached_coin *));
        size_t n = 0;
        for (uint32_t t = 1; t < now->block->tx_count; t++) {
            for (uint32_t i = 0; i < now->block->txs[t].input_count; i++) {
                now->wanted[n++] = now->block->txs[t].inputs[i].prevout;
            }
        }
    }
    coins_find_all(&chain->coins, now->coins, now->wanted, now->input_count);
}

static bool is_coin(const struct cached_coin *cached)
{
    return cached && cached->flags & COIN_UNSPENT;
}

static bool knows_all_coins(const struct connecting *now)
{
    for (size_t i = 0; i < now->input_count; i++) {
        if (!is_coin(now->coins[i])) {
            return false;
        }
    }
    return true;
}

/* Every outpoint the block looks at but does not make itself, and under BIP30 what it makes; all of them, as
 * the cache may forget what it knows while the store is asked for the others. */
static struct outpoint *outpoints_of(struct chain *chain, size_t *count)
{
    struct connecting *now = &chain->now;
    const struct block *block = now->block;
    const uint32_t bip30_txs = bip30_applies(chain->params, &now->entry->e) ? block->tx_count : 0;
    struct buf all = {0};
    map_init(&now->own, sizeof(struct hash256), sizeof(uint32_t), chain->config.rng);
    map_init(&now->own_spent, sizeof(struct outpoint), 0, chain->config.rng);
    for (uint32_t t = 0; t < block->tx_count; t++) {
        *(uint32_t *)map_put(&now->own, &block->txs[t].txid, NULL) = t;
    }
    for (size_t i = 0; i < now->input_count; i++) {
        if (!map_get(&now->own, &now->wanted[i].txid)) {
            buf_bytes(&all, &now->wanted[i], sizeof now->wanted[i]);
        }
    }
    for (uint32_t t = 0; t < bip30_txs; t++) {
        for (uint32_t i = 0; i < block->txs[t].output_count; i++) {
            const struct outpoint outpoint = {block->txs[t].txid, i};
            buf_bytes(&all, &outpoint, sizeof outpoint);
        }
    }
    *count = all.len / sizeof(struct outpoint);
    return (struct outpoint *)(void *)all.data;
}

static int64_t median_before(void *context, uint32_t height)
{
    const struct block_entry *parent = context;
    return block_median_time(block_ancestor(parent, height ? height - 1 : 0));
}

/* The coin of input n of all, which transaction t spends: from the set, or from an earlier transaction of the
 * block; each at most once. */
static bool take_coin(struct chain *chain, struct coin *out, size_t n, uint32_t t)
{
    struct connecting *now = &chain->now;
    struct cached_coin *cached = now->coins[n];
    if (is_coin(cached)) {
        if (cached->flags & COIN_TAKEN) {
            return false;
        }
        cached->flags |= COIN_TAKEN;
        now->taken_count = n + 1;
        *out = coin_view(cached);
        return true;
    }
    now->coins[n] = NULL; /* a tombstone may go before the block is applied */
    const struct outpoint *outpoint = &now->wanted[n];
    const uint32_t *made_by = map_get(&now->own, &outpoint->txid);
    bool is_new;
    if (!made_by || *made_by >= t) {
        return false;
    }
    map_put(&now->own_spent, outpoint, &is_new);
    const struct tx *tx = &now->block->txs[*made_by];
    if (!is_new || outpoint->index >= tx->output_count ||
        script_unspendable(tx->outputs[outpoint->index].script)) {
        return false;
    }
    *out = (struct coin){tx->outputs[outpoint->index].value, tx->outputs[outpoint->index].script,
                         now->entry->e.height, *made_by == 0};
    return true;
}

static bool check_tx(struct chain *chain, uint32_t t, struct coin *spent, uint64_t *sigop_cost,
                     struct error *error)
{
    struct connecting *now = &chain->now;
    const struct block_entry *e = &now->entry->e;
    const struct tx *tx = &now->block->txs[t];
    struct amount fee;
    if (t > 0) {
        if (!tx_check_inputs(tx, spent, e->height, chain->params, &fee, error)) {
            return false;
        }
        if (!amount_add(&now->fees, now->fees, fee)) {
            return error_set(error, ERROR_INVALID, "bad-txns-accumulated-fee-outofrange",
                             "fees above 21 million in all");
        }
        if (e->height >= chain->params->csv_height &&
            !tx_sequence_locks(tx, spent, e->height, now->median_time, median_before, e->prev)) {
            return error_set(error, ERROR_INVALID, "bad-txns-nonfinal",
                             "contains a non-BIP68-final transaction");
        }
    }
    *sigop_cost += tx_sigop_cost(tx, spent, now->flags);
    if (*sigop_cost > BLOCK_SIGOPS_COST_MAX) {
        return error_set(error, ERROR_INVALID, "bad-blk-sigops", "too many sigops");
    }
    return true;
}

static bool check_bip30(struct chain *chain, struct error *error)
{
    const struct block *block = chain->now.block;
    uint32_t count = bip30_applies(chain->params, &chain->now.entry->e) ? block->tx_count : 0;
    for (uint32_t t = 0; t < count; t++) {
        for (uint32_t i = 0; i < block->txs[t].output_count; i++) {
            const struct outpoint outpoint = {block->txs[t].txid, i};
            const struct cached_coin *cached = coins_find(&chain->coins, &outpoint);
            if (cached && cached->flags & COIN_UNSPENT) {
                return error_set(error, ERROR_INVALID, "bad-txns-BIP30", "tried to overwrite transaction");
            }
        }
    }
    return true;
}

/* What transaction t spends into now->spent, and its inputs into now->items when their scripts must run. */
static bool take_coins(struct chain *chain, uint32_t t, struct error *error)
{
    struct connecting *now = &chain->now;
    const struct tx *tx = &now->block->txs[t];
    struct coin *coins = now->spent + now->spent_count;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (!now->again && !take_coin(chain, &coins[i], now->spent_count + i, t)) {
            return error_set(error, ERROR_INVALID, "bad-txns-inputs-missingorspent",
                             "inputs missing or spent");
        }
    }
    now->spent_count += tx->input_count;
    return true;
}

static void list_scripts(struct chain *chain, uint32_t t, const struct coin *coins)
{
    struct connecting *now = &chain->now;
    const struct tx *tx = &now->block->txs[t];
    if (now->assumed || (!now->again && script_cache_has(&chain->scripts, &tx->wtxid, now->flags))) {
        return;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        now->items[now->item_count++] = (struct check_item){t, i, coins};
    }
    if (tx->has_witness) {
        sighash_prepare(&now->caches[t], tx, coins);
    }
    now->caches[t].signatures = now->again ? NULL : chain->signatures;
}

static bool check_reward(struct chain *chain, struct error *error)
{
    const struct connecting *now = &chain->now;
    const struct tx *coinbase = &now->block->txs[0];
    int64_t paid = 0, limit = block_subsidy(now->entry->e.height, chain->params).sat + now->fees.sat;
    for (uint32_t i = 0; i < coinbase->output_count; i++) {
        paid += coinbase->outputs[i].value.sat; /* in range: tx_check has seen the sum */
    }
    return paid <= limit ||
           error_set(error, ERROR_INVALID, "bad-cb-amount",
                     "coinbase pays too much (actual=%lld vs limit=%lld)", (long long)paid, (long long)limit);
}

/* All rules but the scripts; fills now->spent and now->items. */
static bool check_rules(struct chain *chain, struct error *error)
{
    struct connecting *now = &chain->now;
    const struct block *block = now->block;
    uint64_t sigop_cost = 0;
    bool ok = (now->again || check_bip30(chain, error)) && check_tx(chain, 0, NULL, &sigop_cost, error);
    for (uint32_t t = 1; ok && t < block->tx_count; t++) {
        struct coin *coins = now->spent + now->spent_count;
        if (!now->assumed && t + CACHE_AHEAD < block->tx_count) {
            script_cache_expect(&chain->scripts, &block->txs[t + CACHE_AHEAD].wtxid, now->flags);
        }
        ok = take_coins(chain, t, error) && check_tx(chain, t, coins, &sigop_cost, error);
        if (ok) {
            list_scripts(chain, t, coins);
        }
    }
    if (!ok) {
        return false;
    }
    chain->metrics.scripts_run += now->item_count;
    *(now->assumed ? &chain->metrics.scripts_assumed : &chain->metrics.scripts_known) +=
        now->spent_count - now->item_count;
    return check_reward(chain, error);
}

/* On a check worker. Scripts of a legal block may take minutes: they are given up when the node stops. */
static bool check_script(void *batch, size_t index)
{
    const struct connecting *now = batch;
    const struct check_item *item = &now->items[index];
    const struct chain *chain = CONTAINER_OF(now, struct chain, now);
    return !atomic_load_explicit(&chain->stopping, memory_order_relaxed) &&
           script_verify_input(&now->block->txs[item->tx], item->input, item->coins, &now->caches[item->tx],
                               now->flags, NULL);
}

static void apply(struct chain *chain)
{
    struct connecting *now = &chain->now;
    const struct block *block = now->block;
    const uint32_t height = now->entry->e.height;
    const bool fresh = !bip30_applies(chain->params, &now->entry->e) && !repeats_coinbase(&now->entry->e);
    size_t n = 0;
    for (uint32_t t = 0; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        for (uint32_t i = 0; t && i < tx->input_count; i++, n++) {
            if (now->coins[n]) {
                coins_spend_found(&chain->coins, now->coins[n]);
            } else {
                coins_spend(&chain->coins, &now->wanted[n]);
            }
        }
        for (uint32_t i = 0; i < tx->output_count; i++) {
            if (!script_unspendable(tx->outputs[i].script)) {
                const struct outpoint outpoint = {tx->txid, i};
                const struct coin coin = {tx->outputs[i].value, tx->outputs[i].script, height, t == 0};
                coins_add(&chain->coins, &outpoint, &coin, fresh);
            }
        }
    }
    now->taken_count = 0;
}

static void write_undo(struct chain *chain)
{
    struct connecting *now = &chain->now;
    struct block_entry *e = &now->entry->e;
    struct buf undo = {0};
    undo_encode(&undo, now->spent, now->spent_count, &e->hash);
    recent_put(chain, now->block); /* until the bytes are written, a disconnect must find them in memory */
    struct recent *recent = recent_find(chain, &e->hash);
    chain->recent_bytes += undo.len - recent->undo.len;
    buf_clear(&recent->undo);
    buf_bytes(&recent->undo, undo.data, undo.len);
    /* Connected before, on the same parent: the same bytes into the same place, which mends them if damaged.
     */
    if (!(e->status & BLOCK_HAVE_UNDO) || e->undo_len != undo.len) {
        uint64_t *end = undo_end(chain, e->file);
        e->undo_offset = *end;
        *end += undo.len;
        e->undo_len = (uint32_t)undo.len;
        e->status |= BLOCK_HAVE_UNDO;
    }
    chain_write(chain, FILE_UNDO, e->file, e->undo_offset, &undo, &e->hash);
}

/* The tx index: where inside the block file a transaction lies, and at which height its block is. */
static void index_txs(struct chain *chain, const struct block_entry *e, const struct block *block, bool add)
{
    struct buf value = {0};
    for (uint32_t t = 0; chain->config.tx_index && t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        if (add) {
            buf_clear(&value);
            buf_u32(&value, e->height);
            buf_u32(&value, (uint32_t)(tx->raw.data - block->raw.data));
            buf_u32(&value, (uint32_t)tx->raw.len);
            kv_put(&chain->tx_rows, CF_TX, span_of(tx->txid.b, 32), buf_span(&value));
        } else {
            kv_delete(&chain->tx_rows, CF_TX, span_of(tx->txid.b, 32));
        }
    }
    buf_free(&value);
}

static void finish_connect(struct chain *chain)
{
    struct connecting *now = &chain->now;
    if (now->proposal) {
        end_proposal(chain, NULL);
        return;
    }
    struct entry *entry = now->entry;
    struct block *block = block_ref(now->block);
    if (chain->events.ahead && u256_compare(entry->e.work, chain->tip->e.work) > 0) {
        chain->events.ahead(chain->events.context, &entry->e);
    }
    write_undo(chain);
    index_txs(chain, &entry->e, block, true);
    addr_index_block(chain, &entry->e, block, now->spent, true);
    apply(chain); /* last: what is spent lies in the cache */
    entry->e.status |= BLOCK_VALID;
    index_dirty(chain, entry);
    chain->applied = entry;
    chain->moved = true;
    chain->metrics.blocks_connected++;
    end_step(chain);
    chain->events.connected(chain->events.context, &entry->e, block);
    block_unref(block);
    if (u256_compare(entry->e.work, chain->tip->e.work) > 0) {
        tell_tip(chain);
        result_tell(chain, entry, true, NULL);
    }
    chain_commit_when_ready(chain);
    chain_activate(chain);
}

static void give_up(struct chain *chain)
{
    struct error error = {0};
    if (chain->now.proposal) {
        error_set(&error, ERROR_BUSY, "stopping", "the node is stopping");
        end_proposal(chain, &error);
    } else {
        end_step(chain);
        chain_activate(chain);
    }
}

/* On a check worker: once more, for the reason; a script may take seconds. */
static bool say_why(void *batch, size_t index)
{
    struct connecting *now = batch;
    const struct check_item *item = &now->items[now->failed_item];
    (void)index;
    return script_verify_input(&now->block->txs[item->tx], item->input, item->coins, &now->caches[item->tx],
                               now->flags, &now->why);
}

static void why_is_known(void *context, struct job *job)
{
    struct chain *chain = context;
    bool passed = job->check.failed_index == SIZE_MAX, alive = chain_finished(chain, job);
    job_free(job);
    if (!alive) {
        end_step(chain);
        return;
    }
    CHECK(!passed);
    struct error why = chain->now.why;
    refuse_block(chain, &why);
}

static void submit_check(struct chain *chain, bool (*check)(void *batch, size_t index), size_t count,
                         void (*done)(void *context, struct job *job), void *context)
{
    struct job *job = job_new(JOB_CHECK_SCRIPTS, done, context);
    job->check.check = check;
    job->check.batch = &chain->now;
    job->check.count = count;
    job->check.failed_index = SIZE_MAX;
    chain_submit(chain, job);
}

static void scripts_checked(void *context, struct job *job)
{
    struct chain *chain = context;
    size_t failed = job->check.failed_index;
    bool alive = chain_finished(chain, job);
    job_free(job);
    if (!alive) {
        end_step(chain);
    } else if (failed == SIZE_MAX) {
        finish_connect(chain);
    } else if (chain->stopping) { /* perhaps given up: nothing follows for the block */
        give_up(chain);
    } else {
        chain->now.failed_item = failed;
        submit_check(chain, say_why, 1, why_is_known, chain);
    }
}

/* Whether scripts of this block may be taken as valid: assumevalid, as Core decides it. */
static bool is_assumed(const struct chain *chain, const struct block_entry *e)
{
    const struct chain_config *config = &chain->config;
    const struct block_entry *best = &chain->best_header->e;
    const struct entry *assumed =
        hash256_is_zero(&config->assume_valid) ? NULL : index_find(chain, &config->assume_valid);
    if (!assumed || block_ancestor(&assumed->e, e->height) != e || block_ancestor(best, e->height) != e ||
        u256_compare(best->work, config->minimum_work) < 0) {
        return false;
    }
    uint64_t blocks = ASSUME_BURIED_S / chain->params->spacing_s, overflow;
    struct u256 buried = u256_sub(best->work, e->work),
                wanted = u256_mul_u64(pow_work(best->header.bits), blocks, &overflow);
    return !overflow && u256_compare(buried, wanted) > 0;
}

bool connect_rules(struct chain *chain, struct error *error)
{
    struct connecting *now = &chain->now;
    now->flags = block_script_flags(now->entry->e.height, &now->entry->e.hash, chain->params);
    now->median_time = block_median_time(now->entry->e.prev);
    now->assumed = !now->again && is_assumed(chain, &now->entry->e);
    if (!now->again) {
        now->spent = arena_alloc(&now->arena, now->input_count * sizeof *now->spent);
    }
    if (!now->assumed) {
        now->items = arena_alloc(&now->arena, now->input_count * sizeof *now->items);
        now->caches = arena_alloc(&now->arena, now->block->tx_count * sizeof *now->caches);
    }
    return check_rules(chain, error);
}

bool connect_scripts(struct chain *chain, void (*done)(void *context, struct job *job), void *context)
{
    if (!chain->now.item_count) {
        return false;
    }
    submit_check(chain, check_script, chain->now.item_count, done, context);
    return true;
}

static void coins_are_here(void *context, bool fetched)
{
    struct chain *chain = context;
    if (!fetched || chain->dead) {
        end_step(chain);
        return;
    }
    struct error error = {0};
    if (chain->now.fetched) {
        find_coins(chain);
    }
    if (!connect_rules(chain, &error)) {
        refuse_block(chain, &error);
        return;
    }
    chain->step = STEP_CHECK;
    if (!connect_scripts(chain, scripts_checked, chain)) {
        finish_connect(chain);
    }
}

static void block_is_here(void *context, struct block *block)
{
    struct chain *chain = context;
    if (!block || chain->dead) {
        struct error error = {0};
        error_set(&error, ERROR_IO, NULL,
                  "cannot read block %u back from its file: start once with --reindex",
                  chain->now.entry->e.height);
        block_unref(block);
        end_step(chain);
        chain_die(chain, &error);
        return;
    }
    chain->now.block = block;
    chain->step = STEP_READ_COINS;
    find_coins(chain);
    if (knows_all_coins(&chain->now) && !bip30_applies(chain->params, &chain->now.entry->e)) {
        chain->coins.hit_count += chain->now.input_count;
        coins_are_here(chain, true);
        return;
    }
    size_t count;
    struct outpoint *outpoints = outpoints_of(chain, &count);
    chain->now.fetched = true;
    fetch_coins(chain, outpoints, count, coins_are_here, chain);
    mem_free(outpoints);
}

static void step_connect(struct chain *chain)
{
    chain->step = STEP_READ_BLOCK;
    chain_read_block(chain, &chain->now.entry->e, block_is_here, chain);
}

/* ---- Proposals: the same steps, and nothing is applied ----------------------------------------------- */

struct proposal {
    struct list link;
    struct entry entry; /* in no index */
    struct block *block;
    int64_t now_s;
    void (*done)(void *context, const struct error *error);
    void *context;
};

static void proposal_free(struct proposal *proposal)
{
    block_unref(proposal->block);
    mem_free(proposal);
}

static void end_proposal(struct chain *chain, const struct error *error)
{
    struct proposal *proposal = chain->now.proposal;
    chain->now.proposal = NULL;
    end_step(chain);
    proposal->done(proposal->context, error);
    proposal_free(proposal);
    chain_activate(chain);
}

/* What needs no coins. */
static bool check_proposal(const struct chain *chain, struct proposal *proposal, struct error *error)
{
    const struct block *block = proposal->block;
    struct block_entry *e = &proposal->entry.e;
    if (!hash256_equal(&block->header.prev_hash, &chain->applied->e.hash)) {
        return error_set(error, ERROR_MISSING, "inconclusive-not-best-prevblk", "its parent is not the tip");
    }
    *e = (struct block_entry){
        .hash = block->hash, .prev = &chain->applied->e, .height = chain->applied->e.height + 1};
    entry_set_header(e, &block->header);
    return index_check_place(chain, &block->header, chain->applied, proposal->now_s, error) &&
           block_check_contents(block, error) &&
           block_check_context(block, e->height, block_median_time(e->prev), chain->params, error);
}

static void step_propose(struct chain *chain)
{
    if (list_empty(&chain->proposals)) {
        return;
    }
    struct proposal *proposal = CONTAINER_OF(chain->proposals.next, struct proposal, link);
    struct error error = {0};
    list_remove(&proposal->link);
    chain->now.proposal = proposal;
    chain->now.entry = &proposal->entry;
    if (check_proposal(chain, proposal, &error)) {
        block_is_here(chain, block_ref(proposal->block));
    } else {
        end_proposal(chain, &error);
    }
}

void chain_test_block(struct chain *chain, struct block *block, struct moment now,
                      void (*done)(void *context, const struct error *error), void *context)
{
    struct proposal *proposal = mem_alloc(sizeof *proposal);
    *proposal = (struct proposal){
        .block = block_ref(block), .now_s = moment_unix_s(now), .done = done, .context = context};
    list_append(&chain->proposals, &proposal->link);
    chain_activate(chain);
}

void proposals_free(struct chain *chain)
{
    if (chain->now.proposal) {
        proposal_free(chain->now.proposal);
    }
    LIST_EACH_SAFE(at, following, &chain->proposals)
    {
        proposal_free(CONTAINER_OF(at, struct proposal, link));
    }
}

/* ---- Disconnecting ----------------------------------------------------------------------------------- */

static void finish_disconnect(struct chain *chain, struct span undo)
{
    struct entry *entry = chain->applied;
    struct block *block = chain->now.block;
    size_t inputs = block_spent_count(block);
    struct coin *spent = arena_alloc(&chain->now.arena, inputs * sizeof *spent);
    if (!undo_decode(spent, inputs, undo, &entry->e.hash)) {
        struct error error = {0};
        error_set(&error, ERROR_IO, NULL,
                  "the undo data of block %u are damaged: start once with --reindex-chainstate",
                  entry->e.height);
        end_step(chain);
        chain_die(chain, &error);
        return;
    }
    addr_index_block(chain, &entry->e, block, spent, false);
    for (uint32_t t = block->tx_count; t-- > 0;) {
        const struct tx *tx = &block->txs[t];
        for (uint32_t i = 0; i < tx->output_count; i++) {
            if (!script_unspendable(tx->outputs[i].script)) {
                coins_spend(&chain->coins, &(struct outpoint){tx->txid, i});
            }
        }
        for (uint32_t i = tx->input_count; t && i-- > 0;) {
            coins_add(&chain->coins, &tx->inputs[i].prevout, &spent[--inputs], false);
        }
    }
    index_txs(chain, &entry->e, block, false);
    chain->now.block = NULL;
    chain->applied = entry_of(entry->e.prev);
    chain->moved = true;
    chain->metrics.blocks_disconnected++;
    end_step(chain);
    chain->events.disconnected(chain->events.context, &entry->e, block);
    block_unref(block);
    chain_activate(chain);
}

static void undo_read(void *context, struct job *job)
{
    struct chain *chain = context;
    if (chain_finished(chain, job)) {
        finish_disconnect(chain, span_of(job->io.data, job->io.len));
    } else {
        end_step(chain);
    }
    job_free(job);
}

static void old_block_is_here(void *context, struct block *block)
{
    struct chain *chain = context;
    struct entry *entry = chain->applied;
    if (!block || chain->dead) {
        block_is_here(context, block); /* the same end */
        return;
    }
    chain->now.block = block;
    struct recent *recent = recent_find(chain, &entry->e.hash);
    if (recent && recent->undo.len) {
        finish_disconnect(chain, buf_span(&recent->undo));
        return;
    }
    chain->step = STEP_READ_UNDO;
    chain_read(chain, FILE_UNDO, entry->e.file, entry->e.undo_offset, entry->e.undo_len, undo_read, chain);
}

static void step_disconnect(struct chain *chain)
{
    chain->step = STEP_READ_BLOCK;
    chain->now.entry = chain->applied;
    chain_read_block(chain, &chain->applied->e, old_block_is_here, chain);
}
