/* getblockstats: sums, extremes and medians over the transactions of one block, from the block and its undo
 * record. Amounts are satoshis, fee rates satoshis per virtual byte, names and rounding Bitcoin Core's. */
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define COIN_OVERHEAD 41 /* bytes that a coin counts beside its output: outpoint, height, coinbase */
#define PERCENTILES   5u

struct rate { /* of one transaction */
    int64_t per_vbyte_sat, weight;
};

struct block_stats {
    int64_t inputs, outputs, coins, size_change, size_change_real, total_out, total_size, total_weight,
        total_fee;
    int64_t witness_txs, witness_size, witness_weight;
    int64_t most_fee, least_fee, most_rate, least_rate, most_size, least_size;
    int64_t *fees, *sizes;
    struct rate *rates;
    size_t count; /* transactions without the coinbase */
};

static int64_t output_bytes(int64_t script_len)
{
    return 8 + (int64_t)compact_size_len((uint64_t)script_len) + script_len + COIN_OVERHEAD;
}

static void count_outputs(struct block_stats *s, const struct tx *tx, bool genesis)
{
    s->outputs += tx->output_count;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        int64_t bytes = output_bytes((int64_t)tx->outputs[i].script.len);
        s->size_change += bytes;
        if (!genesis && !script_unspendable(tx->outputs[i].script)) {
            s->coins++;
            s->size_change_real += bytes;
        }
    }
}

/* A transaction that is no coinbase, and the coins that it spent. */
static void count_spending(struct block_stats *s, const struct tx *tx, const struct coin *spent)
{
    int64_t paid = 0, fee = 0, size = (int64_t)tx->raw.len, weight = tx_weight(tx);
    bool first = s->count == 0;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        paid += tx->outputs[i].value.sat;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        int64_t bytes = output_bytes((int64_t)spent[i].script.len);
        fee += spent[i].value.sat;
        s->size_change -= bytes;
        s->size_change_real -= bytes;
    }
    fee -= paid;
    int64_t rate = weight ? fee * 4 / weight : 0;
    s->inputs += tx->input_count;
    s->total_out += paid;
    s->total_size += size;
    s->total_weight += weight;
    s->total_fee += fee;
    if (tx->has_witness) {
        s->witness_txs++;
        s->witness_size += size;
        s->witness_weight += weight;
    }
    s->most_fee = first ? fee : MAX(s->most_fee, fee);
    s->least_fee = first ? fee : MIN(s->least_fee, fee);
    s->most_rate = first ? rate : MAX(s->most_rate, rate);
    s->least_rate = first ? rate : MIN(s->least_rate, rate);
    s->most_size = first ? size : MAX(s->most_size, size);
    s->least_size = first ? size : MIN(s->least_size, size);
    s->fees[s->count] = fee;
    s->sizes[s->count] = size;
    s->rates[s->count++] = (struct rate){rate, weight};
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_rate(const void *a, const void *b)
{
    const struct rate *x = a, *y = b;
    int order = by_number(&x->per_vbyte_sat, &y->per_vbyte_sat);
    return order ? order : by_number(&x->weight, &y->weight);
}

static int64_t median(int64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, by_number);
    return !count ? 0 : count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The rates below which 10, 25, 50, 75 and 90 percent of the weight lie. */
static void percentiles(int64_t out[PERCENTILES], struct block_stats *s)
{
    const double marks[PERCENTILES] = {(double)s->total_weight / 10, (double)s->total_weight / 4,
                                       (double)s->total_weight / 2, (double)s->total_weight * 3 / 4,
                                       (double)s->total_weight * 9 / 10};
    size_t next = 0;
    int64_t below = 0;
    qsort(s->rates, s->count, sizeof *s->rates, by_rate);
    for (size_t i = 0; i < s->count; i++) {
        below += s->rates[i].weight;
        while (next < PERCENTILES && (double)below >= marks[next]) {
            out[next++] = s->rates[i].per_vbyte_sat;
        }
    }
    for (; next < PERCENTILES; next++) {
        out[next] = s->count ? s->rates[s->count - 1].per_vbyte_sat : 0;
    }
}

static bool is_chosen(const json_t *names, const char *name)
{
    const json_t *item;
    size_t i;
    if (!json_array_size(names)) {
        return true;
    }
    json_array_foreach(names, i, item)
    {
        if (strcmp(json_string_value(item), name) == 0) {
            return true;
        }
    }
    return false;
}

/* In the order of their names; those that were chosen. */
static const char *const stat_names[] = {"avgfee",
                                         "avgfeerate",
                                         "avgtxsize",
                                         "blockhash",
                                         "feerate_percentiles",
                                         "height",
                                         "ins",
                                         "maxfee",
                                         "maxfeerate",
                                         "maxtxsize",
                                         "medianfee",
                                         "mediantime",
                                         "mediantxsize",
                                         "minfee",
                                         "minfeerate",
                                         "mintxsize",
                                         "outs",
                                         "subsidy",
                                         "swtotal_size",
                                         "swtotal_weight",
                                         "swtxs",
                                         "time",
                                         "total_out",
                                         "total_size",
                                         "total_weight",
                                         "totalfee",
                                         "txs",
                                         "utxo_increase",
                                         "utxo_size_inc",
                                         "utxo_increase_actual",
                                         "utxo_size_inc_actual"};

static void put_stats(struct rpc_call *call, struct block_stats *s, const struct block_entry *entry)
{
    const json_t *names = arg_any(call, 1);
    struct buf *out = &call->out;
    int64_t rates[PERCENTILES], count = (int64_t)s->count;
    percentiles(rates, s);
    const int64_t values[ARRAY_COUNT(stat_names)] = {
        count ? s->total_fee / count : 0,
        s->total_weight ? s->total_fee * 4 / s->total_weight : 0,
        count ? s->total_size / count : 0,
        0, /* blockhash */
        0, /* feerate_percentiles */
        entry->height,
        s->inputs,
        s->most_fee,
        s->most_rate,
        s->most_size,
        median(s->fees, s->count),
        block_median_time(entry),
        median(s->sizes, s->count),
        s->least_fee,
        s->least_rate,
        s->least_size,
        s->outputs,
        block_subsidy(entry->height, call->node->params).sat,
        s->witness_size,
        s->witness_weight,
        s->witness_txs,
        entry->header.time,
        s->total_out,
        s->total_size,
        s->total_weight,
        s->total_fee,
        count + 1,
        s->outputs - s->inputs,
        s->size_change,
        s->coins - s->inputs,
        s->size_change_real,
    };
    put_open(out, NULL, '{');
    for (size_t i = 0; i < ARRAY_COUNT(stat_names); i++) {
        if (!is_chosen(names, stat_names[i])) {
            continue;
        }
        if (strcmp(stat_names[i], "blockhash") == 0) {
            put_hash(out, "blockhash", &entry->hash);
        } else if (strcmp(stat_names[i], "feerate_percentiles") == 0) {
            put_open(out, "feerate_percentiles", '[');
            for (size_t k = 0; k < PERCENTILES; k++) {
                put_int(out, NULL, rates[k]);
            }
            put_close(out, '[');
        } else {
            put_int(out, stat_names[i], values[i]);
        }
    }
    put_close(out, '{');
}

static void spent_is_read(void *context, const struct coin *spent)
{
    struct rpc_call *call = context;
    const struct block *block = call->block;
    const struct block_entry *entry = chain_find(call->node->chain, &block->hash);
    struct block_stats s = {0};
    if (!spent) {
        rpc_fail(call, RPC_MISC_ERROR, "Undo data not available");
        return;
    }
    s.fees = mem_alloc(block->tx_count * sizeof *s.fees);
    s.sizes = mem_alloc(block->tx_count * sizeof *s.sizes);
    s.rates = mem_alloc(block->tx_count * sizeof *s.rates);
    for (uint32_t t = 0; t < block->tx_count; t++) {
        count_outputs(&s, &block->txs[t], entry->height == 0);
        if (t) {
            count_spending(&s, &block->txs[t], spent);
            spent += block->txs[t].input_count;
        }
    }
    put_stats(call, &s, entry);
    mem_free(s.fees);
    mem_free(s.sizes);
    mem_free(s.rates);
    rpc_ok(call);
}

static void block_is_read(void *context, struct block *block)
{
    struct rpc_call *call = context;
    call->block = block;
    if (block) {
        struct chain *chain = call->node->chain;
        chain_read_spent(chain, chain_find(chain, &block->hash), block, spent_is_read, call);
    } else {
        rpc_fail(call, RPC_MISC_ERROR, "Block not found on disk");
    }
}

/* The block that the first argument names by hash or height; NULL after the call was failed. */
static const struct block_entry *arg_hash_or_height(struct rpc_call *call)
{
    const struct chain *chain = call->node->chain;
    const json_t *given = arg_any(call, 0);
    struct hash256 hash;
    if (!json_is_integer(given)) {
        const struct block_entry *found = NULL;
        if (arg_hash(call, 0, "hash_or_height", &hash) && !(found = chain_find(chain, &hash))) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block not found");
        }
        return found;
    }
    int64_t height = json_integer_value(given), tip = chain_tip(chain)->height;
    if (height < 0) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Target block height %lld is negative", (long long)height);
        return NULL;
    }
    if (height > tip) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Target block height %lld after current tip %lld",
                 (long long)height, (long long)tip);
        return NULL;
    }
    return chain_at(chain, (uint32_t)height);
}

static bool names_ok(struct rpc_call *call)
{
    const json_t *names = arg_any(call, 1), *item;
    size_t i;
    if (names && !json_is_array(names)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type array");
        return false;
    }
    json_array_foreach(names, i, item)
    {
        const char *name = json_string_value(item);
        bool known = false;
        for (size_t k = 0; name && k < ARRAY_COUNT(stat_names); k++) {
            known |= strcmp(name, stat_names[k]) == 0;
        }
        if (!known) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid selected statistic '%.64s'", name ? name : "");
            return false;
        }
    }
    return true;
}

RPC_HANDLER(getblockstats)
{
    const struct block_entry *entry = names_ok(call) ? arg_hash_or_height(call) : NULL;
    if (!entry) {
        return;
    }
    if (!(entry->status & BLOCK_HAVE_DATA)) {
        rpc_fail(call, RPC_MISC_ERROR, "Block not available (not fully downloaded)");
        return;
    }
    chain_read_block(call->node->chain, entry, block_is_read, call);
}
