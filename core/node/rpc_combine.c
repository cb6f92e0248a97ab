/* combinerawtransaction: copies of one transaction that several have signed, as one. */
#include "core/node/rpc_private.h"

#define COPIES_MAX 100u

/* A copy of the transaction; NULL after the call was failed. */
static struct tx *copy_at(struct rpc_call *call, size_t index)
{
    const json_t *item = json_array_get(arg_any(call, 0), index);
    struct tx *tx = json_is_string(item) ? tx_from_hex(json_string_value(item)) : NULL;
    if (!tx) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR,
                 "TX decode failed for tx %zu. Make sure the tx has at least one input.", index);
    }
    return tx;
}

static size_t bytes_of(const struct tx_input *in)
{
    size_t bytes = in->script.len;
    for (uint32_t i = 0; i < in->witness_count; i++) {
        bytes += in->witness[i].len;
    }
    return bytes;
}

/* A copy that is enough for an input as it is, or all that the copies have for it together. */
static void gather(struct psbt *psbt, struct tx *const *copies, size_t count, uint32_t index,
                   const struct coin *spent)
{
    for (size_t k = 0; k < count; k++) {
        if (script_verify_input(copies[k], index, spent, NULL, SCRIPT_STANDARD_FLAGS, NULL)) {
            psbt_put_final(psbt, index, &copies[k]->inputs[index]);
            return;
        }
        psbt_take_signatures(psbt, index, copies[k]);
    }
}

static void show_combined(struct rpc_call *call, struct psbt *psbt, struct tx *const *copies, size_t count)
{
    psbt_finalize(psbt);
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        const struct tx_input *most = &copies[0]->inputs[i];
        for (size_t k = 1; k < count; k++) {
            most = bytes_of(&copies[k]->inputs[i]) > bytes_of(most) ? &copies[k]->inputs[i] : most;
        }
        if (!psbt_is_final(&psbt->inputs[i])) { /* not enough yet: whoever signed most */
            psbt_put_final(psbt, i, most);
        }
    }
    struct tx *tx = psbt_extract(psbt);
    if (tx) {
        put_hex(&call->out, NULL, tx->raw);
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Together they are too large");
    }
    tx_unref(tx);
}

static bool find_coins(struct rpc_call *call, struct psbt *psbt, const struct coins_view *view,
                       struct coin *spent)
{
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        const struct outpoint *prevout = &psbt->tx->inputs[i].prevout;
        const struct mempool_entry *parent = mempool_find(call->node->mempool, &prevout->txid);
        const struct coin *coin = view ? coins_view_get(view, i) : NULL;
        struct buf row = {0};
        bool in_pool = parent && prevout->index < parent->tx->output_count;
        if (in_pool) {
            const struct tx_output *output = &parent->tx->outputs[prevout->index];
            spent[i] = (struct coin){.value = output->value, .script = output->script};
        } else if (coin) {
            spent[i] = *coin;
        } else {
            rpc_fail(call, RPC_VERIFY_ERROR, "Input not found or already spent");
            return false;
        }
        buf_i64(&row, spent[i].value.sat);
        buf_var_span(&row, spent[i].script);
        (void)!psbt_put_type(psbt, &psbt->inputs[i], PSBT_IN_WITNESS_UTXO, buf_span(&row));
        buf_free(&row);
    }
    return true;
}

static void coins_are_known(void *context, struct coins_view *view)
{
    struct rpc_call *call = context;
    struct tx *first = tx_ref(call->tx), *copies[COPIES_MAX] = {first}; /* the call may end before we do */
    size_t count = 1, all = json_array_size(arg_any(call, 0));
    struct psbt *psbt = psbt_new(first);
    struct coin *spent = mem_alloc(first->input_count * sizeof *spent);
    CHECK(psbt); /* it was parsed, so it has inputs */
    bool ok = true;
    for (; ok && count < all; count += ok) {
        copies[count] = copy_at(call, count);
        ok = copies[count] != NULL;
        if (ok && copies[count]->input_count != first->input_count) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "They are not copies of one transaction");
            tx_unref(copies[count]);
            ok = false;
        }
    }
    if (ok && find_coins(call, psbt, view, spent)) {
        for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
            gather(psbt, copies, count, i, spent);
        }
        show_combined(call, psbt, copies, count);
    }
    for (size_t k = 1; k < count; k++) {
        tx_unref(copies[k]);
    }
    coins_view_free(view);
    psbt_free(psbt);
    mem_free(spent);
    tx_unref(first);
}

RPC_HANDLER(combinerawtransaction)
{
    size_t count = json_array_size(arg_any(call, 0));
    if (!count || count > COPIES_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, count ? "Too many transactions" : "Missing transactions");
        return;
    }
    struct tx *first = copy_at(call, 0);
    if (!first) {
        return;
    }
    call->tx = first;
    uint32_t inputs = first->input_count;
    struct outpoint *outpoints = mem_alloc(inputs * sizeof *outpoints);
    for (uint32_t i = 0; i < inputs; i++) {
        outpoints[i] = first->inputs[i].prevout;
    }
    chain_fetch_coins(call->node->chain, outpoints, inputs, coins_are_known, call);
    mem_free(outpoints);
}
