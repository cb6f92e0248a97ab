/*
 * verifychain: whether what is on disk still makes sense, from the tip downwards. Meanwhile no block is
 * connected; every question is answered.
 *
 *   level 0: every block can be read, and is the one that the index names
 *   level 1: it passes the checks that need no coins
 *   level 2: its undo record can be read
 *   level 3: taken off, in memory alone, it leaves what it found: its outputs are there as it made them, what
 *            it spent is not
 *   level 4: it passes all rules and scripts again
 *
 * Not here: repairing anything. --reindex-chainstate and --reindex do.
 */
#include "core/chain/chain_private.h"

struct changed_coin { /* where taking blocks off has left another state than the coins cache shows */
    struct coin coin;
    bool unspent;
};

struct verify {
    struct chain *chain;
    unsigned level;
    uint32_t lowest;
    struct entry *at; /* the block that is looked at */
    struct buf undo;  /* its undo record */
    struct map changed;
    struct arena scripts; /* of changed coins */
    bool running, working, again, ended, holds;
    void (*done)(void *context, bool holds);
    void *context;
};

static void look_at_next(struct verify *v);

/* ---- From one block to the next ---------------------------------------------------------------------- */

static void end(struct verify *v)
{
    struct chain *chain = v->chain;
    if (v->running) {
        connecting_free(&chain->now);
        chain->step = STEP_IDLE;
    }
    chain->verify = NULL;
    v->done(v->context, v->holds);
    map_free(&v->changed);
    arena_free(&v->scripts);
    buf_free(&v->undo);
    mem_free(v);
    chain_activate(chain);
}

/* A loop, not a recursion: a block whose bytes are in memory needs no waiting. */
static void go_on(struct verify *v)
{
    v->again = true;
    if (v->working) {
        return;
    }
    v->working = true;
    while (v->again && !v->ended) {
        v->again = false;
        look_at_next(v);
    }
    v->working = false;
    if (v->ended) {
        end(v);
    }
}

static void finish(struct verify *v, bool holds)
{
    v->ended = true;
    v->holds = holds;
    go_on(v);
}

static void fail(struct verify *v, const char *what)
{
    char text[HASH256_TEXT];
    log_error(LOG_CHAIN, "verifychain: block %s at height %u: %s", hash256_text(text, &v->at->e.hash),
              v->at->e.height, what);
    finish(v, false);
}

static void next_block(struct verify *v)
{
    connecting_free(&v->chain->now);
    v->at = entry_of(v->at->e.prev);
    go_on(v);
}

/* ---- Level 4: all rules again ------------------------------------------------------------------------ */

static void scripts_checked(void *context, struct job *job)
{
    struct verify *v = context;
    size_t failed = job->check.failed_index;
    v->chain->jobs_out--;
    bool ran = !job->failed;
    job_free(job);
    if (!ran || v->chain->stopping) {
        finish(v, false);
    } else if (failed != SIZE_MAX) {
        fail(v, "a script does not pass");
    } else {
        next_block(v);
    }
}

static void check_rules_again(struct verify *v, struct coin *spent)
{
    struct chain *chain = v->chain;
    struct error error = {0};
    chain->now.again = true;
    chain->now.input_count = block_spent_count(chain->now.block);
    chain->now.spent = spent;
    if (!connect_rules(chain, &error)) {
        fail(v, error.word);
    } else if (!connect_scripts(chain, scripts_checked, v)) {
        next_block(v);
    }
}

/* ---- Level 3: taking it off -------------------------------------------------------------------------- */

/* The coin of an outpoint before the blocks above were connected; false: there is none. */
static bool coin_before(struct verify *v, const struct outpoint *outpoint, struct coin *out)
{
    const struct changed_coin *changed = map_get(&v->changed, outpoint);
    const struct cached_coin *cached = changed ? NULL : coins_find(&v->chain->coins, outpoint);
    if (changed) {
        *out = changed->coin;
        return changed->unspent;
    }
    if (!cached || !(cached->flags & COIN_UNSPENT)) {
        return false;
    }
    *out = coin_view(cached);
    return true;
}

/* Of the two coinbases that were repeated, the first ones are gone. */
static bool was_overwritten(const struct block_entry *e)
{
    static const struct named_block blocks[] = {
        {91722, "00000000000271a2dc26e7667f8419f2e15416dc6955e5a6c6cdf3f2574dd08e"},
        {91812, "00000000000af0aed4792b1acee3d966af36cf5def14935db8de83d6f9306f2f"}};
    return block_is_one_of(e, blocks, ARRAY_COUNT(blocks));
}

static bool take_outputs(struct verify *v, uint32_t t)
{
    const struct tx *tx = &v->chain->now.block->txs[t];
    for (uint32_t i = 0; i < tx->output_count; i++) {
        const struct outpoint outpoint = {tx->txid, i};
        const struct tx_output *out = &tx->outputs[i];
        struct coin coin;
        if (script_unspendable(out->script)) {
            continue;
        }
        bool there = coin_before(v, &outpoint, &coin);
        bool same = there && coin.value.sat == out->value.sat && span_equal(coin.script, out->script) &&
                    coin.height == v->at->e.height && coin.coinbase == (t == 0);
        if (!same && !(t == 0 && was_overwritten(&v->at->e))) {
            return false;
        }
        *(struct changed_coin *)map_put(&v->changed, &outpoint, NULL) = (struct changed_coin){0};
    }
    return true;
}

static bool give_inputs_back(struct verify *v, uint32_t t, const struct coin *spent)
{
    const struct tx *tx = &v->chain->now.block->txs[t];
    for (uint32_t i = tx->input_count; i-- > 0;) {
        struct coin coin;
        if (coin_before(v, &tx->inputs[i].prevout, &coin)) {
            return false;
        }
        struct changed_coin *changed = map_put(&v->changed, &tx->inputs[i].prevout, NULL);
        uint8_t *script = arena_alloc(&v->scripts, spent[i].script.len);
        if (spent[i].script.len) {
            memcpy(script, spent[i].script.data, spent[i].script.len);
        }
        *changed = (struct changed_coin){spent[i], true};
        changed->coin.script.data = script;
    }
    return true;
}

static bool take_off(struct verify *v, const struct coin *spent)
{
    const struct block *block = v->chain->now.block;
    size_t left = block_spent_count(block);
    for (uint32_t t = block->tx_count; t-- > 0;) {
        left -= t ? block->txs[t].input_count : 0;
        if (!take_outputs(v, t) || (t && !give_inputs_back(v, t, spent + left))) {
            return false;
        }
    }
    return true;
}

static struct coin *spent_of(struct verify *v)
{
    struct chain *chain = v->chain;
    size_t count = block_spent_count(chain->now.block);
    struct coin *spent = arena_alloc(&chain->now.arena, count * sizeof *spent);
    return undo_decode(spent, count, buf_span(&v->undo), &v->at->e.hash) ? spent : NULL;
}

static void coins_are_here(void *context, bool fetched)
{
    struct verify *v = context;
    struct coin *spent = fetched ? spent_of(v) : NULL;
    if (!spent) {
        finish(v, false);
    } else if (!take_off(v, spent)) {
        fail(v, "the coins are not what it left");
    } else if (v->level < 4) {
        next_block(v);
    } else {
        check_rules_again(v, spent);
    }
}

static void fetch(struct verify *v)
{
    const struct block *block = v->chain->now.block;
    size_t count = 0, most = 0;
    for (uint32_t t = 0; t < block->tx_count; t++) {
        most += block->txs[t].input_count + block->txs[t].output_count;
    }
    struct outpoint *outpoints = mem_alloc(most * sizeof *outpoints);
    for (uint32_t t = 0; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        for (uint32_t i = 0; t && i < tx->input_count; i++) {
            outpoints[count++] = tx->inputs[i].prevout;
        }
        for (uint32_t i = 0; i < tx->output_count; i++) {
            outpoints[count++] = (struct outpoint){tx->txid, i};
        }
    }
    fetch_coins(v->chain, outpoints, count, coins_are_here, v);
    mem_free(outpoints);
}

/* ---- Levels 0 to 2: what the files hold -------------------------------------------------------------- */

static void undo_is_here(struct verify *v)
{
    struct chain *chain = v->chain;
    size_t held = map_bytes(&v->changed) + v->scripts.used_bytes;
    if (!spent_of(v)) {
        fail(v, "its undo record is damaged");
        return;
    }
    if (v->level >= 3 && held > chain->config.coins_cache_bytes) {
        log_warn(LOG_CHAIN, "verifychain: from height %u down at level 2: more changes than dbcache holds",
                 v->at->e.height);
        v->level = 2;
    }
    if (v->level < 3) {
        next_block(v);
    } else {
        fetch(v);
    }
}

static void undo_answered(void *context, struct job *job)
{
    struct verify *v = context;
    v->chain->jobs_out--;
    bool read = !job->failed;
    if (read) {
        buf_clear(&v->undo);
        buf_bytes(&v->undo, job->io.data, job->io.len);
    }
    job_free(job);
    if (read) {
        undo_is_here(v);
    } else {
        fail(v, "its undo record cannot be read");
    }
}

static void read_file(struct verify *v, enum file_kind file, void (*done)(void *, struct job *))
{
    const struct block_entry *e = &v->at->e;
    uint64_t offset = file == FILE_BLOCKS ? e->data_offset : e->undo_offset;
    chain_read(v->chain, file, e->file, offset, file == FILE_BLOCKS ? e->data_len : e->undo_len, done, v);
}

/* In memory because its bytes are on their way to the files; else NULL. */
static const struct recent *being_written(struct verify *v)
{
    const struct recent *recent = recent_find(v->chain, &v->at->e.hash);
    return recent && recent->pins ? recent : NULL;
}

static void block_is_here(struct verify *v, struct block *block)
{
    struct chain *chain = v->chain;
    struct error error = {0};
    chain->now.entry = v->at;
    chain->now.block = block;
    if (v->level >= 1 && !block_check(block, chain->params, &error)) {
        fail(v, error.word);
        return;
    }
    if (v->level < 2) {
        next_block(v);
        return;
    }
    const struct recent *recent = being_written(v);
    if (!(v->at->e.status & BLOCK_HAVE_UNDO)) {
        fail(v, "it has no undo record");
    } else if (recent && recent->undo.len) {
        buf_clear(&v->undo);
        buf_bytes(&v->undo, recent->undo.data, recent->undo.len);
        undo_is_here(v);
    } else {
        read_file(v, FILE_UNDO, undo_answered);
    }
}

static void block_answered(void *context, struct job *job)
{
    struct verify *v = context;
    struct block *block = NULL;
    v->chain->jobs_out--;
    if (!job->failed) {
        block = block_parse(job->io.data, job->io.len, NULL);
        job->io.data = NULL;
    }
    job_free(job);
    if (block && hash256_equal(&block->hash, &v->at->e.hash)) {
        block_is_here(v, block);
    } else {
        block_unref(block);
        fail(v, "it cannot be read");
    }
}

static void look_at_next(struct verify *v)
{
    struct chain *chain = v->chain;
    if (chain->stopping || chain->dead) {
        finish(v, false);
    } else if (v->at->e.height < v->lowest || v->at == chain->genesis) {
        finish(v, true);
    } else if (being_written(v)) {
        block_is_here(v, block_ref(being_written(v)->block));
    } else {
        read_file(v, FILE_BLOCKS, block_answered);
    }
}

/* ---- Beginning --------------------------------------------------------------------------------------- */

void verify_begin(struct chain *chain)
{
    struct verify *v = chain->verify;
    uint32_t height = chain->applied->e.height;
    chain->step = STEP_VERIFY;
    v->running = true;
    v->at = chain->applied;
    v->lowest =
        v->lowest && v->lowest <= height ? height - v->lowest + 1 : 1; /* until now: how many blocks */
    go_on(v);
}

void verify_drop(struct chain *chain)
{
    if (chain->verify && !chain->verify->running) {
        finish(chain->verify, false);
    }
}

bool chain_verify(struct chain *chain, unsigned level, uint32_t blocks,
                  void (*done)(void *context, bool holds), void *context)
{
    if (chain->verify || chain->stopping || chain->dead) {
        return false;
    }
    struct verify *v = mem_alloc(sizeof *v);
    *v = (struct verify){.chain = chain, .level = level, .lowest = blocks, .done = done, .context = context};
    map_init(&v->changed, sizeof(struct outpoint), sizeof(struct changed_coin), chain->config.rng);
    chain->verify = v;
    chain_activate(chain);
    return true;
}

void verify_free(struct chain *chain)
{
    struct verify *v = chain->verify;
    if (v) {
        map_free(&v->changed);
        arena_free(&v->scripts);
        buf_free(&v->undo);
        mem_free(v);
    }
}
