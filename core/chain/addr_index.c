/*
 * The address index (CF_ADDR): for every output script its unspent coins and its history. Rows are made when
 * a block is connected or taken off, and go into the same atomic batch as the coins. Keys begin with SHA-256
 * of the script:
 *
 *   hash 0x01 txid index(BE)             -> value, height and coinbase       an unspent coin
 *   hash 0x02 ~height(BE) ~position(BE)  -> struct address_event             a transaction that touched it,
 * newest first
 *
 * Not here: the mempool (core/node joins it), addresses as text (core/wallet).
 */
#include "core/chain/chain_private.h"

#include "hashing/kernels/kernels.h"

#define PREFIX_BYTES      33u
#define SCRIPT_KEPT_BYTES 100u /* longer ones are no address's */

struct touch { /* what one transaction did to one script */
    int64_t received_sat, spent_sat;
    uint32_t first_output;
};

/* SHA-256 of every script of one transaction: of its outputs, then of the coins that it spends. */
static const struct hash256 *hash_scripts(struct buf *out, const struct tx *tx, const struct coin *spent)
{
    buf_clear(out);
    for (uint32_t i = 0; i < tx->output_count; i++) {
        sha256(buf_extend(out, 32), tx->outputs[i].script.data, tx->outputs[i].script.len);
    }
    for (uint32_t i = 0; spent && i < tx->input_count; i++) {
        sha256(buf_extend(out, 32), spent[i].script.data, spent[i].script.len);
    }
    return (const struct hash256 *)(const void *)out->data;
}

static void store_be32(uint8_t *out, uint32_t v)
{
    store_le32(out, __builtin_bswap32(v));
}

static void put_coin_row(struct chain *chain, const struct hash256 *script, const struct outpoint *outpoint,
                         const struct coin *coin, bool add)
{
    uint8_t key[PREFIX_BYTES + 36], value[12];
    memcpy(key, script->b, 32);
    key[32] = ADDRESS_COINS;
    memcpy(key + PREFIX_BYTES, outpoint->txid.b, 32);
    store_be32(key + PREFIX_BYTES + 32, outpoint->index);
    store_le64(value, (uint64_t)coin->value.sat);
    store_le32(value + 8, coin->height << 1 | coin->coinbase);
    if (add) {
        kv_put(&chain->tx_rows, CF_ADDR, span_of(key, sizeof key), span_of(value, sizeof value));
    } else {
        kv_delete(&chain->tx_rows, CF_ADDR, span_of(key, sizeof key));
    }
}

static struct touch *touched(struct map *touches, const struct hash256 *script)
{
    bool is_new;
    struct touch *touch = map_put(touches, script, &is_new);
    if (is_new) {
        touch->first_output = UINT32_MAX;
    }
    return touch;
}

static struct span kept_script(struct span script)
{
    return script.len <= SCRIPT_KEPT_BYTES ? script : span_of(NULL, 0);
}

static void put_events(struct chain *chain, const struct map *touches, const struct tx *tx,
                       const struct hash256 *scripts, const struct coin *spent, uint32_t height,
                       uint32_t position, bool add)
{
    const void *hash;
    void *value;
    struct buf row = {0};
    int64_t total = 0, fee = 0;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        total += tx->outputs[i].value.sat;
    }
    for (uint32_t i = 0; spent && i < tx->input_count; i++) {
        fee += spent[i].value.sat;
    }
    fee = spent ? fee - total : 0;
    for (size_t at = 0; map_next(touches, &at, &hash, &value);) {
        const struct touch *touch = value;
        uint8_t key[PREFIX_BYTES + 8];
        memcpy(key, hash, 32);
        key[32] = ADDRESS_HISTORY;
        store_be32(key + PREFIX_BYTES, ~height);
        store_be32(key + PREFIX_BYTES + 4, ~position);
        if (!add) {
            kv_delete(&chain->tx_rows, CF_ADDR, span_of(key, sizeof key));
            continue;
        }
        struct span there = span_of(NULL, 0); /* the first output that pays somebody else */
        for (uint32_t i = 0; i < tx->output_count && !there.len; i++) {
            there = memcmp(&scripts[i], hash, 32) != 0 ? kept_script(tx->outputs[i].script) : there;
        }
        buf_clear(&row);
        buf_bytes(&row, tx->txid.b, 32);
        buf_i64(&row, touch->received_sat);
        buf_i64(&row, touch->spent_sat);
        buf_i64(&row, total);
        buf_i64(&row, fee);
        buf_u32(&row, touch->first_output);
        buf_u32(&row, tx->input_count);
        buf_u32(&row, tx->output_count);
        buf_u32(&row, (uint32_t)tx->raw.len);
        buf_u8(&row, position == 0);
        buf_var_span(&row, spent ? kept_script(spent[0].script) : span_of(NULL, 0));
        buf_var_span(&row, there);
        kv_put(&chain->tx_rows, CF_ADDR, span_of(key, sizeof key), buf_span(&row));
    }
    buf_free(&row);
}

void addr_index_block(struct chain *chain, const struct block_entry *e, const struct block *block,
                      const struct coin *spent, bool add)
{
    struct map touches;
    struct buf hashes = {0};
    if (!chain->addr_complete) {
        return;
    }
    size_t inputs = block_spent_count(block);
    map_init(&touches, 32, sizeof(struct touch), chain->config.rng);
    /* Rows of one batch apply in order: a coin made and spent in this block must end absent, either way. */
    for (uint32_t n = 0; n < block->tx_count; n++) {
        uint32_t t = add ? n : block->tx_count - 1 - n;
        const struct tx *tx = &block->txs[t];
        const struct coin *own = NULL;
        if (t) {
            inputs -= add ? 0 : tx->input_count;
            own = spent + (add ? 0 : inputs);
            spent += add ? tx->input_count : 0;
        }
        const struct hash256 *scripts = hash_scripts(&hashes, tx, own);
        map_clear(&touches);
        for (int pass = 0; pass < 2; pass++) {
            bool outputs = (pass == 1) == add;
            for (uint32_t i = 0; outputs && i < tx->output_count; i++) {
                if (script_unspendable(tx->outputs[i].script)) {
                    continue;
                }
                const struct outpoint outpoint = {tx->txid, i};
                const struct coin coin = {tx->outputs[i].value, tx->outputs[i].script, e->height, t == 0};
                put_coin_row(chain, &scripts[i], &outpoint, &coin, add);
                struct touch *touch = touched(&touches, &scripts[i]);
                touch->received_sat += coin.value.sat;
                touch->first_output = MIN(touch->first_output, i);
            }
            for (uint32_t i = 0; !outputs && own && i < tx->input_count; i++) {
                const struct hash256 *script = &scripts[tx->output_count + i];
                put_coin_row(chain, script, &tx->inputs[i].prevout, &own[i], !add);
                touched(&touches, script)->spent_sat += own[i].value.sat;
            }
        }
        put_events(chain, &touches, tx, scripts, own, e->height, t, add);
    }
    map_free(&touches);
    buf_free(&hashes);
}

/* ---- Reading ----------------------------------------------------------------------------------------- */

struct address_scan {
    struct scan_wait wait;
    uint64_t skip, limit, total;
    enum address_rows kind;
    struct buf prefix, rows;
    const struct block_entry *tip;
    void (*done)(void *context, const struct address_result *result);
    void *context;
};

/* On the scanning thread. */
static void address_row(void *context, struct span key, struct span value)
{
    struct address_scan *scan = context;
    if (scan->total >= scan->skip && scan->total - scan->skip < scan->limit) {
        buf_var_span(&scan->rows, span_of(key.data + PREFIX_BYTES, key.len - PREFIX_BYTES));
        buf_var_span(&scan->rows, value);
    }
    scan->total++;
}

static void scan_free(struct address_scan *scan)
{
    buf_free(&scan->prefix);
    buf_free(&scan->rows);
    mem_free(scan);
}

static void scan_end(struct address_scan *scan, bool failed)
{
    const struct address_result result = {scan->tip, failed, scan->total, buf_span(&scan->rows)};
    CHECK(scan->done);
    scan->done(scan->context, &result);
    scan_free(scan);
}

static void address_scanned(void *context, struct job *job)
{
    struct address_scan *scan = context;
    bool failed = job->failed;
    scan->wait.chain->jobs_out--;
    job_free(job);
    scan_end(scan, failed);
}

static void address_scan_start(struct scan_wait *wait)
{
    struct address_scan *scan = CONTAINER_OF(wait, struct address_scan, wait);
    scan->tip = &wait->chain->durable->e;
    struct job *job = job_new(JOB_SCAN, address_scanned, scan);
    job->scan.cf = CF_ADDR;
    job->scan.prefix = buf_span(&scan->prefix);
    job->scan.row = address_row;
    job->scan.scan = scan;
    chain_submit(wait->chain, job);
}

static void address_scan_drop(struct scan_wait *wait)
{
    scan_free(CONTAINER_OF(wait, struct address_scan, wait)); /* whoever asked ends by itself */
}

void chain_scan_address(struct chain *chain, struct span script, enum address_rows kind, uint64_t skip,
                        uint64_t limit, void (*done)(void *context, const struct address_result *result),
                        void *context)
{
    struct address_scan *scan = mem_alloc(sizeof *scan);
    *scan =
        (struct address_scan){.skip = skip, .limit = limit, .kind = kind, .done = done, .context = context};
    sha256(buf_extend(&scan->prefix, 32), script.data, script.len);
    buf_u8(&scan->prefix, (uint8_t)kind);
    scan->tip = &chain->durable->e;
    scan->wait = (struct scan_wait){.chain = chain, .start = address_scan_start, .drop = address_scan_drop};
    if (chain->addr_complete) {
        scan_when_committed(&scan->wait);
    } else {
        scan_end(scan, true);
    }
}

bool address_coin_next(struct cursor *rows, struct outpoint *outpoint, struct coin *coin)
{
    if (!cursor_left(rows)) {
        return false;
    }
    struct span key = cursor_var_span(rows), value = cursor_var_span(rows);
    struct cursor k = cursor_of(key.data, key.len), v = cursor_of(value.data, value.len);
    cursor_bytes(&k, outpoint->txid.b, 32);
    outpoint->index = __builtin_bswap32(cursor_u32(&k));
    *coin = (struct coin){.value = {cursor_i64(&v)}};
    uint32_t packed = cursor_u32(&v);
    coin->height = packed >> 1;
    coin->coinbase = packed & 1;
    return cursor_done(&k) && cursor_done(&v);
}

bool address_event_next(struct cursor *rows, struct address_event *out)
{
    if (!cursor_left(rows)) {
        return false;
    }
    struct span key = cursor_var_span(rows), value = cursor_var_span(rows);
    struct cursor k = cursor_of(key.data, key.len), v = cursor_of(value.data, value.len);
    out->height = ~__builtin_bswap32(cursor_u32(&k));
    cursor_u32(&k);
    cursor_bytes(&v, out->txid.b, 32);
    out->received_sat = cursor_i64(&v);
    out->spent_sat = cursor_i64(&v);
    out->total_output_sat = cursor_i64(&v);
    out->fee_sat = cursor_i64(&v);
    out->first_output = cursor_u32(&v);
    out->input_count = cursor_u32(&v);
    out->output_count = cursor_u32(&v);
    out->size_bytes = cursor_u32(&v);
    out->coinbase = cursor_u8(&v);
    out->from = cursor_var_span(&v);
    out->to = cursor_var_span(&v);
    return cursor_done(&k) && cursor_done(&v);
}
