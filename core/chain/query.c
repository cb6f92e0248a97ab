/* Answers that may need the store: coins, blocks, transactions, statistics of the UTXO set. */
#include "core/chain/chain_private.h"

#include "hashing/kernels/kernels.h"

/* ---- Coins ------------------------------------------------------------------------------------------- */

struct fetch {
    struct chain *chain;
    struct outpoint *wanted; /* all that were asked for, in order */
    size_t count;
    uint64_t epoch; /* when the read left */
    void (*done)(void *context, bool ok);
    void *context;
};

static void fetch_again(struct fetch *fetch);

static void fetch_end(struct fetch *fetch, bool ok)
{
    void (*done)(void *, bool) = fetch->done;
    void *context = fetch->context;
    mem_free(fetch->wanted);
    mem_free(fetch);
    done(context, ok);
}

static void fetch_answered(void *context, struct job *job)
{
    struct fetch *fetch = context;
    struct chain *chain = fetch->chain;
    bool ok = chain_finished(chain, job), stale = fetch->epoch != chain->coins.epoch;
    struct error error = {0};
    for (size_t i = 0; ok && !stale && i < job->coins.count; i++) {
        struct span value = job->coins.values[i];
        if (value.data && !coins_learn(&chain->coins, &job->coins.outpoints[i], value)) {
            error_set(&error, ERROR_IO, NULL,
                      "a stored coin is damaged: start once with --reindex-chainstate");
            chain_die(chain, &error);
            ok = false;
        }
    }
    job_free(job);
    if (ok && stale) {
        fetch_again(fetch); /* a batch landed meanwhile: what was read may be from before it */
    } else {
        fetch_end(fetch, ok);
    }
}

static void fetch_again(struct fetch *fetch)
{
    struct chain *chain = fetch->chain;
    struct outpoint *missing = mem_alloc(fetch->count * sizeof *missing);
    struct cached_coin **known = mem_alloc(fetch->count * sizeof(struct cached_coin *));
    size_t count = 0;
    coins_find_all(&chain->coins, known, fetch->wanted, fetch->count);
    for (size_t i = 0; i < fetch->count; i++) {
        if (!known[i]) {
            missing[count++] = fetch->wanted[i];
        }
    }
    mem_free(known);
    chain->coins.hit_count += fetch->count - count;
    chain->coins.read_count += count;
    if (!count) {
        mem_free(missing);
        fetch_end(fetch, true);
        return;
    }
    fetch->epoch = chain->coins.epoch;
    struct job *job = job_new(JOB_READ_COINS, fetch_answered, fetch);
    job->coins.outpoints = missing;
    job->coins.count = count;
    job->coins.values = mem_alloc(count * sizeof *job->coins.values);
    chain_submit(chain, job);
}

void fetch_coins(struct chain *chain, const struct outpoint *outpoints, size_t count,
                 void (*done)(void *context, bool ok), void *context)
{
    struct fetch *fetch = mem_alloc(sizeof *fetch);
    *fetch = (struct fetch){.chain = chain, .count = count, .done = done, .context = context};
    fetch->wanted = mem_dup(outpoints, count * sizeof *outpoints);
    fetch_again(fetch);
}

struct coins_view {
    struct chain *chain;
    size_t count;
    struct outpoint *outpoints;
    struct coin *coins;
    bool *present;
    struct arena arena;
    void (*done)(void *context, struct coins_view *view);
    void *context;
};

void coins_view_free(struct coins_view *view)
{
    if (view) {
        arena_free(&view->arena);
        mem_free(view);
    }
}

static void view_ready(void *context, bool ok)
{
    struct coins_view *view = context;
    if (!ok) {
        view->done(view->context, NULL);
        coins_view_free(view);
        return;
    }
    for (size_t i = 0; i < view->count; i++) {
        const struct cached_coin *cached = coins_find(&view->chain->coins, &view->outpoints[i]);
        if (cached && cached->flags & COIN_UNSPENT) {
            view->present[i] = true;
            view->coins[i] = coin_view(cached);
            struct span *script = &view->coins[i].script;
            uint8_t *copy = arena_alloc(&view->arena, script->len);
            memcpy(copy, script->data, script->len);
            script->data = copy;
        }
    }
    view->done(view->context, view);
}

void chain_fetch_coins(struct chain *chain, const struct outpoint *outpoints, size_t count,
                       void (*done)(void *context, struct coins_view *view), void *context)
{
    struct coins_view *view = mem_alloc(sizeof *view);
    *view = (struct coins_view){.chain = chain, .count = count, .done = done, .context = context};
    view->outpoints = arena_alloc(&view->arena, count * sizeof *outpoints);
    memcpy(view->outpoints, outpoints, count * sizeof *outpoints);
    view->coins = arena_alloc(&view->arena, count * sizeof *view->coins);
    view->present = arena_alloc(&view->arena, count * sizeof *view->present);
    fetch_coins(chain, outpoints, count, view_ready, view);
}

const struct coin *coins_view_get(const struct coins_view *view, size_t index)
{
    CHECK(index < view->count);
    return view->present[index] ? &view->coins[index] : NULL;
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

struct block_read {
    struct chain *chain;
    const struct block_entry *entry;
    void (*done)(void *context, struct block *block);
    void *context;
};

/* Bytes that are damaged are no block: what is wrong with them must never be held against the one that has
 * this hash, nor against those that spend from it. */
static struct block *read_back(const struct block_read *read, struct job *job)
{
    struct block *block = block_parse(job->io.data, job->io.len, &job->error);
    job->io.data = NULL;
    if (block && !(hash256_equal(&block->hash, &read->entry->hash) &&
                   block_commits(block, read->entry->height, read->chain->params))) {
        error_set(&job->error, ERROR_IO, NULL, "its bytes are damaged");
        block_unref(block);
        return NULL;
    }
    return block;
}

static void block_answered(void *context, struct job *job)
{
    struct block_read *read = context;
    struct block *block = job->failed ? NULL : read_back(read, job);
    read->chain->jobs_out--;
    if (!block) {
        char text[HASH256_TEXT];
        log_error(LOG_CHAIN, "block %s cannot be read back: %s", hash256_text(text, &read->entry->hash),
                  job->error.text);
    }
    job_free(job);
    read->done(read->context, block);
    mem_free(read);
}

void chain_read_block(struct chain *chain, const struct block_entry *entry,
                      void (*done)(void *context, struct block *block), void *context)
{
    struct recent *recent = recent_find(chain, &entry->hash);
    if (recent) {
        done(context, block_ref(recent->block));
        return;
    }
    if (entry->height == 0) { /* a parameter, not something that was stored */
        uint8_t *raw = mem_dup(chain->params->genesis_raw, chain->params->genesis_raw_len);
        done(context, block_parse(raw, chain->params->genesis_raw_len, NULL));
        return;
    }
    if (!(entry->status & BLOCK_HAVE_DATA)) {
        done(context, NULL);
        return;
    }
    struct block_read *read = mem_alloc(sizeof *read);
    *read = (struct block_read){chain, entry, done, context};
    chain_read(chain, FILE_BLOCKS, entry->file, entry->data_offset, entry->data_len, block_answered, read);
}

/* ---- Spent coins ------------------------------------------------------------------------------------- */

struct spent_read {
    struct chain *chain;
    struct hash256 hash;
    size_t count;
    void (*done)(void *context, const struct coin *spent);
    void *context;
};

static void spent_end(struct spent_read *read, struct span undo)
{
    struct coin *spent = mem_alloc(read->count * sizeof *spent);
    read->done(read->context, undo_decode(spent, read->count, undo, &read->hash) ? spent : NULL);
    mem_free(spent);
    mem_free(read);
}

static void spent_answered(void *context, struct job *job)
{
    struct spent_read *read = context;
    read->chain->jobs_out--;
    spent_end(read, job->failed ? span_of(NULL, 0) : span_of(job->io.data, job->io.len));
    job_free(job);
}

void chain_read_spent(struct chain *chain, const struct block_entry *entry, const struct block *block,
                      void (*done)(void *context, const struct coin *spent), void *context)
{
    size_t count = block_spent_count(block);
    if (!count) {
        done(context, &(struct coin){0});
        return;
    }
    struct spent_read *read = mem_alloc(sizeof *read);
    *read = (struct spent_read){chain, entry->hash, count, done, context};
    const struct recent *recent = recent_find(chain, &entry->hash);
    if (recent && recent->undo.len) {
        spent_end(read, buf_span(&recent->undo));
        return;
    }
    if (!(entry->status & BLOCK_HAVE_UNDO)) {
        spent_end(read, span_of(NULL, 0));
        return;
    }
    chain_read(chain, FILE_UNDO, entry->file, entry->undo_offset, entry->undo_len, spent_answered, read);
}

struct raw_read {
    struct chain *chain;
    struct hash256 hash;
    void (*done)(void *context, struct span block);
    void *context;
};

static void raw_answered(void *context, struct job *job)
{
    struct raw_read *read = context;
    struct span bytes = {0};
    read->chain->jobs_out--;
    if (!job->failed && job->io.len >= HEADER_BYTES) {
        struct hash256 hash;
        sha256d(hash.b, job->io.data, HEADER_BYTES);
        if (hash256_equal(&hash, &read->hash)) {
            bytes = span_of(job->io.data, job->io.len);
        }
    }
    if (!bytes.len) {
        char text[HASH256_TEXT];
        log_error(LOG_CHAIN, "block %s cannot be read back: %s", hash256_text(text, &read->hash),
                  job->error.text);
    }
    read->done(read->context, bytes);
    job_free(job);
    mem_free(read);
}

void chain_read_raw(struct chain *chain, const struct block_entry *entry,
                    void (*done)(void *context, struct span block), void *context)
{
    struct raw_read *read = mem_alloc(sizeof *read);
    *read = (struct raw_read){chain, entry->hash, done, context};
    chain_read(chain, FILE_BLOCKS, entry->file, entry->data_offset, entry->data_len, raw_answered, read);
}

/* ---- Transactions by id ------------------------------------------------------------------------------ */

struct tx_read_request {
    struct chain *chain;
    struct hash256 txid;
    const struct block_entry *entry;
    void (*done)(void *context, struct tx *tx, const struct block_entry *entry);
    void *context;
};

static void tx_end(struct tx_read_request *read, struct tx *tx)
{
    read->done(read->context, tx, tx ? read->entry : NULL);
    mem_free(read);
}

static void tx_bytes_answered(void *context, struct job *job)
{
    struct tx_read_request *read = context;
    read->chain->jobs_out--;
    struct tx *tx = job->failed ? NULL : tx_parse(span_of(job->io.data, job->io.len), NULL);
    if (tx && !hash256_equal(&tx->txid, &read->txid)) {
        tx_unref(tx);
        tx = NULL;
    }
    job_free(job);
    tx_end(read, tx);
}

static void tx_row_answered(void *context, struct job *job)
{
    struct tx_read_request *read = context;
    struct chain *chain = read->chain;
    chain->jobs_out--;
    struct cursor c = cursor_of(job->key.value.data, job->key.value.len);
    uint32_t height = cursor_u32(&c), offset = cursor_u32(&c), len = cursor_u32(&c);
    bool found = !job->failed && job->key.found && cursor_done(&c);
    job_free(job);
    read->entry = found ? chain_at(chain, height) : NULL;
    if (!read->entry || !(read->entry->status & BLOCK_HAVE_DATA) || len > read->entry->data_len) {
        tx_end(read, NULL);
        return;
    }
    chain_read(chain, FILE_BLOCKS, read->entry->file, read->entry->data_offset + offset, len,
               tx_bytes_answered, read);
}

/* A transaction of a block that is still in memory: the index row may not be in the store yet. */
static bool tx_in_recent(struct tx_read_request *read)
{
    LIST_EACH(at, &read->chain->recent_lru)
    {
        const struct recent *recent = CONTAINER_OF(at, struct recent, lru);
        for (uint32_t t = 0; t < recent->block->tx_count; t++) {
            const struct tx *tx = &recent->block->txs[t];
            const struct block_entry *entry;
            if (hash256_equal(&tx->txid, &read->txid) &&
                (entry = chain_find(read->chain, &recent->block->hash)) &&
                chain_contains(read->chain, entry)) {
                read->entry = entry;
                tx_end(read, tx_parse(tx->raw, NULL));
                return true;
            }
        }
    }
    return false;
}

void chain_read_tx(struct chain *chain, const struct hash256 *txid,
                   void (*done)(void *context, struct tx *tx, const struct block_entry *entry), void *context)
{
    struct tx_read_request *read = mem_alloc(sizeof *read);
    *read = (struct tx_read_request){.chain = chain, .txid = *txid, .done = done, .context = context};
    if (tx_in_recent(read)) {
        return;
    }
    if (!chain->config.tx_index) {
        tx_end(read, NULL);
        return;
    }
    struct job *job = job_new(JOB_READ_KEY, tx_row_answered, read);
    job->key.cf = CF_TX;
    buf_bytes(&job->key.key, txid->b, 32);
    chain_submit(chain, job);
}

/* ---- Statistics of the UTXO set ---------------------------------------------------------------------- */

struct utxo_scan {
    struct scan_wait wait;
    enum utxo_hash kind;
    struct utxo_stats stats;
    struct sha256_ctx hash;
    struct muhash muhash;
    struct buf row;
    uint8_t last_txid[32];
    void (*done)(void *context, const struct utxo_stats *stats);
    void *context;
};

/* On the scanning thread: rows come in key order, which is Core's order. */
static void utxo_row(void *context, struct span key, struct span value)
{
    struct utxo_scan *scan = context;
    struct coin coin;
    if (key.len != COIN_KEY_BYTES || !coin_decode(&coin, value)) {
        scan->stats.failed = true;
        return;
    }
    struct utxo_stats *stats = &scan->stats;
    stats->transactions += stats->txouts == 0 || memcmp(scan->last_txid, key.data, 32) != 0;
    stats->txouts++;
    stats->total_sat += coin.value.sat;
    stats->bogo_size += 50 + coin.script.len;
    memcpy(scan->last_txid, key.data, 32);
    if (scan->kind == UTXO_HASH_NONE) {
        return;
    }
    struct buf *row = &scan->row;
    buf_clear(row);
    buf_bytes(row, key.data, 32);
    buf_u32(row, __builtin_bswap32(load_le32(key.data + 32)));
    buf_u32(row, coin.height << 1 | coin.coinbase);
    buf_i64(row, coin.value.sat);
    buf_var_span(row, coin.script);
    if (scan->kind == UTXO_HASH_MUHASH) {
        muhash_insert(&scan->muhash, buf_span(row));
    } else {
        sha256_update(&scan->hash, row->data, row->len);
    }
}

static void utxo_scanned(void *context, struct job *job)
{
    struct utxo_scan *scan = context;
    scan->wait.chain->jobs_out--;
    scan->stats.failed |= job->failed;
    job_free(job);
    if (scan->kind == UTXO_HASH_MUHASH) {
        muhash_final(&scan->stats.hash, &scan->muhash);
    } else if (scan->kind == UTXO_HASH_SERIALIZED_3) {
        uint8_t first[32];
        sha256_final(&scan->hash, first);
        sha256(scan->stats.hash.b, first, 32);
    }
    scan->done(scan->context, &scan->stats);
    buf_free(&scan->row);
    mem_free(scan);
}

static void utxo_scan_start(struct scan_wait *wait)
{
    struct utxo_scan *scan = CONTAINER_OF(wait, struct utxo_scan, wait);
    struct chain *chain = wait->chain;
    scan->stats.tip = &chain->durable->e;
    sha256_init(&scan->hash);
    muhash_init(&scan->muhash);
    struct job *job = job_new(JOB_SCAN, utxo_scanned, scan);
    job->scan.cf = CF_COINS;
    job->scan.row = utxo_row;
    job->scan.scan = scan;
    chain_submit(chain, job);
}

static void utxo_scan_drop(struct scan_wait *wait)
{
    mem_free(CONTAINER_OF(wait, struct utxo_scan, wait));
}

void query_after_commit(struct chain *chain)
{
    /* Between two batches the store stands exactly at chain->durable; that the scan sees it so is its
     * snapshot's job. */
    if (!list_empty(&chain->scans) && !chain->commit && chain->durable == chain->applied) {
        LIST_EACH_SAFE(at, following, &chain->scans)
        {
            struct scan_wait *wait = CONTAINER_OF(at, struct scan_wait, link);
            list_remove(at);
            wait->start(wait);
        }
    }
}

void scan_when_committed(struct scan_wait *wait)
{
    struct chain *chain = wait->chain;
    list_append(&chain->scans, &wait->link);
    if (!chain->commit && !chain_dirty(chain)) {
        query_after_commit(chain);
    } else {
        chain_commit_when_ready(chain);
    }
}

void chain_utxo_stats(struct chain *chain, enum utxo_hash kind,
                      void (*done)(void *context, const struct utxo_stats *stats), void *context)
{
    struct utxo_scan *scan = mem_alloc(sizeof *scan);
    *scan = (struct utxo_scan){.kind = kind, .done = done, .context = context};
    scan->wait = (struct scan_wait){.chain = chain, .start = utxo_scan_start, .drop = utxo_scan_drop};
    scan_when_committed(&scan->wait);
}

void query_free_all(struct chain *chain)
{
    LIST_EACH_SAFE(at, following, &chain->scans)
    {
        struct scan_wait *wait = CONTAINER_OF(at, struct scan_wait, link);
        wait->drop(wait);
    }
}
