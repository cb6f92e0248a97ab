/* What must hold for one transaction: on its own, against the coins it spends, and against time. */
#include "core/consensus/consensus.h"

#include <stdlib.h>

static bool refuse(struct error *error, const char *word, const char *text)
{
    return error_set(error, ERROR_INVALID, word, "%s", text);
}

static int compare_outpoints(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct outpoint));
}

static bool inputs_are_distinct(const struct tx *tx)
{
    bool distinct = true;
    struct outpoint *sorted = mem_alloc(tx->input_count * sizeof *sorted);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        sorted[i] = tx->inputs[i].prevout;
    }
    qsort(sorted, tx->input_count, sizeof *sorted, compare_outpoints);
    for (uint32_t i = 1; i < tx->input_count; i++) {
        distinct &= compare_outpoints(&sorted[i - 1], &sorted[i]) != 0;
    }
    mem_free(sorted);
    return distinct;
}

bool tx_check(const struct tx *tx, struct error *error)
{
    if (tx->input_count == 0) {
        return refuse(error, "bad-txns-vin-empty", "a transaction without inputs");
    }
    if (tx->output_count == 0) {
        return refuse(error, "bad-txns-vout-empty", "a transaction without outputs");
    }
    if ((uint64_t)tx->stripped_bytes * WITNESS_SCALE > BLOCK_WEIGHT_MAX) {
        return refuse(error, "bad-txns-oversize", "a transaction larger than a block may be");
    }
    int64_t total = 0;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        int64_t value = tx->outputs[i].value.sat;
        if (value < 0) {
            return refuse(error, "bad-txns-vout-negative", "an output with a negative value");
        }
        if (value > MAX_MONEY) {
            return refuse(error, "bad-txns-vout-toolarge", "an output above 21 million");
        }
        total += value; /* at most 2 * MAX_MONEY */
        if (total > MAX_MONEY) {
            return refuse(error, "bad-txns-txouttotal-toolarge", "outputs above 21 million in all");
        }
    }
    if (tx->input_count > 1 && !inputs_are_distinct(tx)) {
        return refuse(error, "bad-txns-inputs-duplicate", "one output is spent twice"); /* CVE-2018-17144 */
    }
    if (tx_is_coinbase(tx)) {
        size_t len = tx->inputs[0].script.len;
        if (len < 2 || len > 100) {
            return refuse(error, "bad-cb-length", "a coinbase script must have 2 to 100 bytes");
        }
        return true;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].prevout.index == UINT32_MAX && hash256_is_zero(&tx->inputs[i].prevout.txid)) {
            return refuse(error, "bad-txns-prevout-null", "an input that spends nothing");
        }
    }
    return true;
}

bool tx_is_final(const struct tx *tx, uint32_t height, int64_t time_s)
{
    if (tx->locktime == 0 ||
        (int64_t)tx->locktime < (tx->locktime < LOCKTIME_THRESHOLD ? (int64_t)height : time_s)) {
        return true;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].sequence != SEQUENCE_FINAL) {
            return false;
        }
    }
    return true;
}

bool tx_check_inputs(const struct tx *tx, const struct coin *spent, uint32_t spend_height,
                     const struct chain_params *params, struct amount *fee, struct error *error)
{
    struct amount in = {0}, out = {0};
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct coin *coin = &spent[i];
        if (coin->coinbase && (int64_t)spend_height - coin->height < params->maturity) {
            return error_set(error, ERROR_INVALID, "bad-txns-premature-spend-of-coinbase",
                             "tried to spend coinbase at depth %lld", (long long)spend_height - coin->height);
        }
        if (!amount_add(&in, in, coin->value)) {
            return refuse(error, "bad-txns-inputvalues-outofrange", "inputs above 21 million");
        }
    }
    for (uint32_t i = 0; i < tx->output_count; i++) {
        if (!amount_add(&out, out, tx->outputs[i].value)) {
            return refuse(error, "bad-txns-txouttotal-toolarge", "outputs above 21 million in all");
        }
    }
    if (!amount_sub(fee, in, out)) {
        return error_set(error, ERROR_INVALID, "bad-txns-in-belowout",
                         "value in (%lld sat) < value out (%lld sat)", (long long)in.sat, (long long)out.sat);
    }
    return true;
}

#define SEQUENCE_LOCK_SHIFT 9 /* BIP68: units of 512 seconds */

bool tx_sequence_locks(const struct tx *tx, const struct coin *spent, uint32_t height,
                       int64_t prev_median_time, median_time_at *median, void *context)
{
    if ((uint32_t)tx->version < 2) {
        return true;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        uint32_t sequence = tx->inputs[i].sequence, value = sequence & SEQUENCE_LOCK_MASK;
        if (sequence & SEQUENCE_LOCK_DISABLED) {
            continue;
        }
        if (sequence & SEQUENCE_LOCK_TIME) {
            int64_t since = median(context, spent[i].height);
            if (since + ((int64_t)value << SEQUENCE_LOCK_SHIFT) > prev_median_time) {
                return false;
            }
        } else if ((int64_t)spent[i].height + value > (int64_t)height) {
            return false;
        }
    }
    return true;
}

static bool is_p2sh(struct span script)
{
    return script_classify(script, NULL) == OUTPUT_P2SH;
}

static uint32_t witness_sigops(struct span program_script, const struct tx_input *in)
{
    struct span program;
    enum output_kind kind = script_classify(program_script, &program);
    if (kind == OUTPUT_P2WPKH) {
        return 1;
    }
    if (kind == OUTPUT_P2WSH && in->witness_count > 0) {
        return script_sigops(in->witness[in->witness_count - 1], true);
    }
    return 0;
}

uint32_t tx_sigop_cost(const struct tx *tx, const struct coin *spent, uint32_t flags)
{
    uint32_t legacy = 0, witness = 0;
    for (uint32_t i = 0; i < tx->input_count; i++) {
        legacy += script_sigops(tx->inputs[i].script, false);
    }
    for (uint32_t i = 0; i < tx->output_count; i++) {
        legacy += script_sigops(tx->outputs[i].script, false);
    }
    if (tx_is_coinbase(tx)) {
        return legacy * WITNESS_SCALE;
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct tx_input *in = &tx->inputs[i];
        struct span redeem;
        if (flags & SCRIPT_P2SH && is_p2sh(spent[i].script) && script_redeem(&redeem, in->script)) {
            legacy += script_sigops(redeem, true);
            witness += flags & SCRIPT_WITNESS ? witness_sigops(redeem, in) : 0;
        } else if (flags & SCRIPT_WITNESS) {
            witness += witness_sigops(spent[i].script, in);
        }
    }
    return legacy * WITNESS_SCALE + witness;
}
