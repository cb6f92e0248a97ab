/* submitpackage and testmempoolaccept: several transactions, judged one by one or together. */
#include <stdio.h>

#include "core/node/rpc_private.h"

struct outcome { /* of one transaction */
    enum { UNJUDGED, HAD, TAKEN, REFUSED } what;
    struct error error;
    struct amount fee;
    uint32_t vsize;
    bool together; /* its fee was looked at with those of others */
};

struct submission {
    struct tx **txs; /* one reference each */
    struct outcome *outcomes;
    size_t count, at;
    size_t *later; /* which are to be judged together, in order */
    size_t later_count;
    bool hopeless;       /* one was refused for something that no other could pay for */
    struct buf replaced; /* ids of what went for them */
};

void rpc_submission_free(struct submission *s)
{
    for (size_t i = 0; s && i < s->count; i++) {
        tx_unref(s->txs[i]);
    }
    if (s) {
        mem_free(s->txs);
        mem_free(s->outcomes);
        mem_free(s->later);
        buf_free(&s->replaced);
    }
    mem_free(s);
}

/* All transactions of the first argument, and the rate in the second; false after the call was failed. */
static bool arg_txs(struct rpc_call *call)
{
    const json_t *list = arg_any(call, 0), *item;
    size_t i, count = json_array_size(list);
    if (!count || count > PACKAGE_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Array must contain between 1 and %u transactions.",
                 PACKAGE_MAX);
        return false;
    }
    if (!arg_fee_rate(call, 1, &call->fee_rate_sat)) {
        return false;
    }
    struct submission *s = call->submission = mem_alloc(sizeof *s);
    s->txs = mem_alloc(count * sizeof(struct tx *));
    s->outcomes = mem_alloc(count * sizeof *s->outcomes);
    s->later = mem_alloc(count * sizeof *s->later);
    json_array_foreach(list, i, item)
    {
        struct tx *tx = json_is_string(item) ? tx_from_hex(json_string_value(item)) : NULL;
        if (!tx) {
            rpc_fail(call, RPC_DESERIALIZATION_ERROR,
                     "TX decode failed: %.64s Make sure the tx has at least one input.",
                     json_is_string(item) ? json_string_value(item) : "");
            return false;
        }
        s->txs[s->count++] = tx;
    }
    return true;
}

/* What is refused alone for its fee only may pass with a child that pays for it (below the relay floor only
 * what BIP431 covers). */
static bool pays_too_little(const struct tx *tx, const struct error *error)
{
    return (strcmp(error->word, "min relay fee not met") == 0 && tx->version == TRUC_VERSION) ||
           strcmp(error->word, "mempool min fee not met") == 0 ||
           strcmp(error->word, "insufficient fee") == 0;
}

/* Said of all together, not of the one it was found with. */
static bool is_of_package(const struct error *error)
{
    return strcmp(error->word, "package RBF failed") == 0 ||
           strcmp(error->word, "package-mempool-limits") == 0;
}

static void put_fees(struct buf *out, const struct submission *s, const struct outcome *o)
{
    int64_t fee_sat = o->fee.sat, vsize = o->vsize;
    if (o->together) {
        fee_sat = vsize = 0;
        for (size_t i = 0; i < s->count; i++) {
            fee_sat += s->outcomes[i].together ? s->outcomes[i].fee.sat : 0;
            vsize += s->outcomes[i].together ? s->outcomes[i].vsize : 0;
        }
    }
    put_open(out, "fees", '{');
    put_amount(out, "base", o->fee.sat);
    if (o->what != HAD) {
        put_amount(out, "effective-feerate", fee_sat * 1000 / MAX(vsize, INT64_C(1)));
        put_open(out, "effective-includes", '[');
        for (size_t i = 0; i < s->count; i++) {
            if (&s->outcomes[i] == o || (o->together && s->outcomes[i].together)) {
                put_hash(out, NULL, &s->txs[i]->wtxid);
            }
        }
        put_close(out, '[');
    }
    put_close(out, '{');
}

/* ---- testmempoolaccept -------------------------------------------------------------------------------- */

static void put_verdict(struct rpc_call *call, size_t index, const char *package_error)
{
    const struct submission *s = call->submission;
    const struct outcome *o = &s->outcomes[index];
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_hash(out, "txid", &s->txs[index]->txid);
    put_hash(out, "wtxid", &s->txs[index]->wtxid);
    if (package_error) {
        put_text(out, "package-error", package_error);
    }
    if (o->what == TAKEN) {
        put_yes(out, "allowed", true);
        put_int(out, "vsize", o->vsize);
        put_fees(out, s, o);
    } else if (o->what == REFUSED) {
        put_yes(out, "allowed", false);
        put_text(out, "reject-reason", o->error.kind == ERROR_MISSING ? "missing-inputs" : o->error.word);
    }
    put_close(out, '{');
}

static void show_verdicts(struct rpc_call *call, const char *package_error)
{
    put_open(&call->out, NULL, '[');
    for (size_t i = 0; i < call->submission->count; i++) {
        put_verdict(call, i, package_error);
    }
    put_close(&call->out, '[');
    rpc_ok(call);
}

RPC_HANDLER(testmempoolaccept)
{
    struct node *node = call->node;
    struct error error = {0};
    if (!arg_txs(call)) {
        return;
    }
    struct submission *s = call->submission;
    call->flag = true; /* a test, and no more */
    if (!package_check(s->txs, s->count, &error)) {
        show_verdicts(call, error.word);
        return;
    }
    call->source = ++node->rpc->next_source;
    if (s->count == 1) {
        mempool_test(node->mempool, s->txs[0], call->source, node->now);
    } else {
        mempool_submit_package(node->mempool, s->txs, s->count, PACKAGE_TEST, call->fee_rate_sat,
                               call->source, node->now);
    }
}

/* ---- submitpackage ------------------------------------------------------------------------------------ */

static void put_outcome(struct rpc_call *call, size_t index)
{
    const struct submission *s = call->submission;
    const struct outcome *o = &s->outcomes[index];
    struct buf *out = &call->out;
    char text[RPC_REJECT_TEXT], key[HASH256_TEXT];
    put_open(out, hash256_text(key, &s->txs[index]->wtxid), '{');
    put_hash(out, "txid", &s->txs[index]->txid);
    const struct mempool_entry *entry = mempool_find(call->node->mempool, &s->txs[index]->txid);
    if (o->what == HAD && entry && !hash256_equal(&entry->tx->wtxid, &s->txs[index]->wtxid)) {
        put_hash(out, "other-wtxid", &entry->tx->wtxid);
    } else if (o->what == HAD || o->what == TAKEN) {
        put_int(out, "vsize", o->vsize);
        put_fees(out, s, o);
    } else {
        rpc_reject_text(text, &o->error);
        put_text(out, "error", o->what == REFUSED ? text : "unevaluated");
    }
    put_close(out, '{');
}

static void show_outcomes(struct rpc_call *call, const char *message)
{
    const struct submission *s = call->submission;
    struct buf *out = &call->out;
    for (size_t i = 0; i < s->count; i++) {
        message = !message && s->outcomes[i].what == REFUSED ? "transaction failed" : message;
    }
    put_open(out, NULL, '{');
    put_text(out, "package_msg", message ? message : "success");
    put_open(out, "tx-results", '{');
    for (size_t i = 0; i < s->count; i++) {
        put_outcome(call, i);
    }
    put_close(out, '{');
    put_open(out, "replaced-transactions", '[');
    for (size_t at = 0; at < s->replaced.len; at += 32) {
        struct hash256 txid;
        memcpy(txid.b, s->replaced.data + at, 32);
        put_hash(out, NULL, &txid);
    }
    put_close(out, '[');
    put_close(out, '{');
    rpc_ok(call);
}

static void judge_together(struct rpc_call *call)
{
    struct submission *s = call->submission;
    struct node *node = call->node;
    struct tx *txs[PACKAGE_MAX];
    for (size_t i = 0; i < s->later_count; i++) {
        txs[i] = s->txs[s->later[i]];
    }
    mempool_submit_package(node->mempool, txs, s->later_count, PACKAGE_SUBMIT, call->fee_rate_sat,
                           call->source, node->now);
}

/* Each alone at first; at last those that need each other, if the child is among them. */
static void submit_next(struct rpc_call *call)
{
    struct submission *s = call->submission;
    struct node *node = call->node;
    for (; s->at < s->count; s->at++) {
        const struct mempool_entry *entry = mempool_find(node->mempool, &s->txs[s->at]->txid);
        if (!entry) {
            mempool_test(node->mempool, s->txs[s->at], call->source, node->now);
            return;
        }
        s->outcomes[s->at] = (struct outcome){.what = HAD, .fee = entry->fee, .vsize = entry->vsize};
    }
    bool child_waits = !s->hopeless && s->later_count > 1 && s->later[s->later_count - 1] == s->count - 1;
    for (size_t i = 0; i < s->later_count; i++) {
        s->outcomes[s->later[i]].what = child_waits ? UNJUDGED : REFUSED;
    }
    if (child_waits) {
        judge_together(call);
    } else {
        show_outcomes(call, NULL);
    }
}

RPC_HANDLER(submitpackage)
{
    const json_t *burn = arg_any(call, 2);
    struct error error = {0};
    int64_t burn_sat = 0;
    if (!arg_txs(call)) {
        return;
    }
    struct submission *s = call->submission;
    if (burn && !amount_from_json(burn, &burn_sat)) {
        rpc_fail(call, RPC_TYPE_ERROR, "Invalid amount");
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        if (rpc_burned_at_most(s->txs[i]) > burn_sat) {
            rpc_fail(call, RPC_VERIFY_ERROR,
                     "Unspendable output exceeds maximum configured by user (maxburnamount)");
            return;
        }
    }
    if (!package_is_family(s->txs, s->count)) {
        rpc_fail(call, RPC_VERIFY_ERROR,
                 "package topology disallowed. not child-with-parents or parents depend on each other.");
        return;
    }
    if (!package_check(s->txs, s->count, &error)) {
        show_outcomes(call, error.word);
        return;
    }
    call->source = ++call->node->rpc->next_source;
    submit_next(call);
}

/* ---- The mempool's answers ----------------------------------------------------------------------------- */

/* The current one was refused, alone. */
static void refused(struct rpc_call *call, const struct error *error)
{
    struct submission *s = call->submission;
    bool needs_parents = s->later_count && s->at + 1 == s->count && error->kind == ERROR_MISSING;
    bool too_little = pays_too_little(s->txs[s->at], error);
    if (too_little || needs_parents) {
        s->later[s->later_count++] = s->at;
    }
    s->outcomes[s->at++] = (struct outcome){.what = REFUSED, .error = *error};
    s->hopeless |= !too_little && !needs_parents; /* others may pass, each alone */
    submit_next(call);
}

void rpc_submission_tested(struct rpc_call *call, struct amount fee, const struct error *error)
{
    struct submission *s = call->submission;
    struct outcome *o = &s->outcomes[s->at];
    struct error too_high = {0};
    o->fee = fee;
    o->vsize = tx_vsize(s->txs[s->at]);
    if (!error && mempool_fee_too_high(fee, o->vsize, call->fee_rate_sat)) {
        error_set(&too_high, ERROR_POLICY, call->flag ? "max-fee-exceeded" : "max feerate exceeded",
                  "%lld for %u virtual bytes", (long long)fee.sat, o->vsize);
        error = &too_high;
    }
    if (call->flag) {
        o->what = error ? REFUSED : TAKEN;
        o->error = error ? *error : (struct error){0};
        show_verdicts(call, NULL);
    } else if (error) {
        refused(call, error);
    } else {
        mempool_submit(call->node->mempool, s->txs[s->at], call->source, call->node->now);
    }
}

void rpc_submission_result(struct rpc_call *call, const struct error *error)
{
    struct submission *s = call->submission;
    const struct buf *replaced = &call->node->rpc->replaced;
    if (error) {
        refused(call, error);
        return;
    }
    buf_bytes(&s->replaced, replaced->data, replaced->len);
    mempool_set_unbroadcast(call->node->mempool, &s->txs[s->at]->txid, true);
    s->outcomes[s->at++].what = TAKEN;
    submit_next(call);
}

void rpc_submission_judged(struct rpc_call *call, const struct package_member *members, size_t count)
{
    struct submission *s = call->submission;
    const struct buf *replaced = &call->node->rpc->replaced;
    char message[RPC_REJECT_TEXT] = "";
    bool passed = true;
    for (size_t i = 0; i < count; i++) {
        const struct error *error = &members[i].error;
        passed &= error->kind == ERROR_NONE;
        if (!call->flag && is_of_package(error)) {
            snprintf(message, sizeof message, "%s%s %s", error->word,
                     strcmp(error->word, "package RBF failed") == 0 ? ":" : ",", error->text);
        }
    }
    buf_bytes(&s->replaced, replaced->data, replaced->len);
    for (size_t i = 0; i < count; i++) {
        struct outcome *o = &s->outcomes[call->flag ? i : s->later[i]];
        bool refused_now = members[i].error.kind != ERROR_NONE && !*message;
        o->fee = members[i].fee;
        o->vsize = members[i].vsize;
        o->together = passed && !call->flag;
        o->error = refused_now ? members[i].error : o->error; /* else why it was refused alone, if it was */
        o->what = passed ? TAKEN : refused_now || o->error.kind != 0 ? REFUSED : UNJUDGED;
        if (o->together) {
            mempool_set_unbroadcast(call->node->mempool, &members[i].tx->txid, true);
        }
    }
    if (call->flag) {
        show_verdicts(call, NULL);
    } else {
        show_outcomes(call, *message ? message : NULL);
    }
}

void rpc_tx_replaced(struct node *node, const struct tx *tx)
{
    buf_bytes(&node->rpc->replaced, tx->txid.b, 32);
}

void rpc_replaced_told(struct node *node)
{
    buf_clear(&node->rpc->replaced);
}
