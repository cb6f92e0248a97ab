/* Wallets over HTTP: making and showing them, balances, and payments: which coins, how much fee, what comes
 * back. The node says which coins there are; keys never leave this process. Files and signatures are work.c's
 * thread's: a handler checks its input, some piece of work follows, and its sequel answers. */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_private.h"

#define FEE_PER_VBYTE_SAT 2
#define INPUTS_MAX        600u
#define DUST_SAT          294
#define TRIES             3
#define FAUCET_SAT        INT64_C(100000000)
#define PURSE_KEYS_MAX    256u

/* ---- Wallets ------------------------------------------------------------------------------------------- */

static const char *text_of(const struct exchange *x, const char *name)
{
    return json_string_value(json_object_get(x->body, name));
}

/* Takes x->state, the result of a piece of work, away. */
static json_t *take_state(struct exchange *x)
{
    json_t *state = x->state;
    x->state = NULL;
    return state;
}

/* name, or label, as the body gives it; NULL: neither. */
static json_t *label_of(const json_t *body)
{
    json_t *name = json_object_get(body, "name");
    name = name && !json_is_null(name) ? name : json_object_get(body, "label");
    return json_is_null(name) ? NULL : name;
}

/* It stands on a line of the wallet's file. */
static bool label_ok(const char *label, size_t len)
{
    bool ok = len && len <= KEY_LABEL_MAX;
    for (size_t i = 0; i < len; i++) {
        ok &= (unsigned char)label[i] >= ' ' && label[i] != 0x7f;
    }
    return ok;
}

static void make_wallet(struct exchange *x)
{
    const char *label = json_string_value(label_of(x->body));
    x->state = wallet_create(x->api, label ? label : "", &x->error);
}

static void wallet_is_made(struct exchange *x)
{
    if (x->state) {
        reply_data(x, take_state(x));
    } else {
        log_error(LOG_WALLET, "%s", x->error.text);
        reply_error(x, 503, "wallet_folder", "The wallet could not be written.");
    }
}

HANDLER(create_wallet)
{
    const json_t *name = label_of(x->body);
    const char *label = name ? json_string_value(name) : "";
    if (!label) {
        reply_error(x, 422, "bad_body", "name (or label) must be a text.");
    } else if (name && !label_ok(label, json_string_length(name))) {
        reply_error(x, 400, "bad_request", "name (or label) has 1 to %u bytes, no control characters.",
                    KEY_LABEL_MAX);
    } else {
        work_run(x, make_wallet, wallet_is_made);
    }
}

static void read_list(struct exchange *x)
{
    x->state = wallet_list(x->api);
}

static void list_is_read(struct exchange *x)
{
    reply_data(x, take_state(x));
}

HANDLER(list_wallets)
{
    work_run(x, read_list, list_is_read);
}

static void read_wallet(struct exchange *x)
{
    x->state = wallet_show(x->api, x->param);
}

static void wallet_is_read(struct exchange *x)
{
    if (x->state) {
        reply_data(x, take_state(x));
    } else {
        reply_error(x, 404, "not_found", "No wallet of this server has this address.");
    }
}

HANDLER(show_wallet)
{
    if (address_ok(x, x->param)) {
        work_run(x, read_wallet, wallet_is_read);
    }
}

/* ---- Coins --------------------------------------------------------------------------------------------- */

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void ask_coins(struct exchange *x, const char *address,
                      void (*then)(struct exchange *x, json_t *replies))
{
    json_t *calls = json_array();
    add_call(calls, "getaddressutxos", json_pack("[s]", address));
    node_ask(x, calls, then);
}

static void balance_is_here(struct exchange *x, json_t *replies)
{
    json_t *result = reply_result(replies, 0), *coin;
    size_t at;
    int64_t confirmed = 0, unconfirmed = 0, immature = 0, count = 0;
    if (!result) {
        reply_node_error(x, replies, 0);
        return;
    }
    json_array_foreach(json_object_get(result, "utxos"), at, coin)
    {
        bool in_block = number_of(coin, "confirmations") > 0,
             spent = json_is_true(json_object_get(coin, "spent"));
        int64_t value = number_of(coin, "satoshis");
        confirmed += in_block ? value : 0;
        unconfirmed += (in_block ? 0 : value) - (in_block && spent ? value : 0);
        immature += json_is_true(json_object_get(coin, "immature")) ? value : 0;
        count += !spent;
    }
    char now[40];
    put_timestamp(now, loop_now().unix_us);
    reply_data(x,
               json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I}", "address", x->param, "balance",
                         (json_int_t)confirmed, "unconfirmed_balance", (json_int_t)unconfirmed, "utxo_count",
                         (json_int_t)count, "last_updated", now, "confirmed", (json_int_t)confirmed,
                         "unconfirmed", (json_int_t)unconfirmed, "immature", (json_int_t)immature));
}

HANDLER(show_balance)
{
    if (address_ok(x, x->param)) {
        ask_coins(x, x->param, balance_is_here);
    }
}

/* ---- Paying -------------------------------------------------------------------------------------------- */

struct choice { /* of coins for one payment */
    struct outpoint outpoints[INPUTS_MAX];
    struct coin coins[INPUTS_MAX];
    size_t count;
    int64_t total_sat;
};

static int larger_first(const void *a, const void *b)
{
    json_t *const *first = a, *const *second = b;
    int64_t x = number_of(*first, "satoshis"), y = number_of(*second, "satoshis");
    return (x < y) - (x > y);
}

/* Signature of 72 bytes and key: 68 virtual bytes for an input; outputs as they are. */
static int64_t fee_for(size_t inputs, size_t script_bytes)
{
    return FEE_PER_VBYTE_SAT * (11 + 68 * (int64_t)inputs + 9 + (int64_t)script_bytes + 31);
}

/* Largest first, those in blocks before those that wait, until amount and fee are covered. */
static bool choose(struct choice *out, const json_t *utxos, struct span script, int64_t amount,
                   size_t script_bytes)
{
    size_t count = json_array_size(utxos);
    json_t **sorted = mem_alloc((count + 1) * sizeof *sorted);
    *out = (struct choice){0};
    for (size_t i = 0; i < count; i++) {
        sorted[i] = json_array_get(utxos, i);
    }
    qsort(sorted, count, sizeof *sorted, larger_first);
    for (int waiting = 0; waiting < 2; waiting++) {
        for (size_t i = 0; i < count && out->count < INPUTS_MAX; i++) {
            struct hash256 txid;
            const char *text = json_string_value(json_object_get(sorted[i], "txid"));
            if (out->count && out->total_sat >= amount + fee_for(out->count, script_bytes)) {
                break;
            }
            if ((number_of(sorted[i], "confirmations") == 0) != waiting ||
                json_is_true(json_object_get(sorted[i], "spent")) ||
                json_is_true(json_object_get(sorted[i], "immature")) || !text ||
                !hash256_parse(&txid, text)) {
                continue;
            }
            int64_t value = number_of(sorted[i], "satoshis");
            out->outpoints[out->count] = (struct outpoint){txid, (uint32_t)number_of(sorted[i], "vout")};
            out->coins[out->count++] = (struct coin){.value = {value}, .script = script};
            out->total_sat += value;
        }
    }
    mem_free(sorted);
    return out->count && out->total_sat >= amount + fee_for(out->count, script_bytes);
}

static struct tx *make_payment(struct api *api, const struct key *key, const json_t *utxos, const char *to,
                               int64_t amount, struct error *error)
{
    struct buf own = {0}, there = {0};
    struct choice *choice = mem_alloc(sizeof *choice);
    struct tx *tx = NULL;
    key_script(&own, key);
    if (!address_to_script(&there, to, &api->params, error)) {
        /* *error says it */
    } else if (!choose(choice, utxos, buf_span(&own), amount, there.len)) {
        error_set(error, ERROR_MISSING, "insufficient_funds",
                  "The spendable coins do not cover %lld satoshis and the fee.", (long long)amount);
    } else {
        int64_t change = choice->total_sat - amount - fee_for(choice->count, there.len);
        const struct tx_output outputs[2] = {{.value = {amount}, .script = buf_span(&there)},
                                             {.value = {change}, .script = buf_span(&own)}};
        tx = wallet_sign(key, choice->outpoints, choice->coins, choice->count, outputs,
                         change >= DUST_SAT ? 2 : 1, 0, error);
    }
    mem_free(choice);
    buf_free(&own);
    buf_free(&there);
    return tx;
}

static void ask_again(struct exchange *x);

static void payment_is_sent(struct exchange *x, json_t *replies)
{
    json_t *txid = reply_result(replies, 0);
    const json_t *error = json_object_get(json_array_get(replies, 0), "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    bool taken = message && (strstr(message, "conflict") || strstr(message, "missingorspent"));
    if (!txid && taken && ++x->page < TRIES) { /* another payment took a coin meanwhile */
        ask_again(x);
        return;
    }
    if (!txid) {
        reply_node_error(x, replies, 0);
        return;
    }
    char now[40];
    put_timestamp(now, loop_now().unix_us);
    cache_drop(x->api);
    reply_data(x, json_pack("{s:O, s:s}", "txid", txid, "timestamp", now));
}

/* Signed on the work thread: x->tx, or x->error. */
static void payment_is_signed(struct exchange *x)
{
    json_decref(take_state(x));
    if (!x->tx) {
        reply_error(x, x->error.kind == ERROR_MISSING ? 400 : 422,
                    *x->error.word ? x->error.word : "bad_request", "%s", x->error.text);
        return;
    }
    char *hex = mem_alloc(2 * x->tx->raw.len + 1);
    hex_encode(hex, x->tx->raw.data, x->tx->raw.len);
    tx_unref(x->tx);
    x->tx = NULL;
    json_t *calls = json_array();
    add_call(calls, "sendrawtransaction", json_pack("[s]", hex));
    mem_free(hex);
    node_ask(x, calls, payment_is_sent);
}

static void sign_payment(struct exchange *x)
{
    const json_t *utxos = json_object_get(reply_result(x->state, 0), "utxos");
    struct key key;
    if (wallet_key_of(x->api, text_of(x, "from_address"), &key)) {
        x->tx = make_payment(x->api, &key, utxos, text_of(x, "to_address"), x->number, &x->error);
    } else {
        error_set(&x->error, ERROR_MISSING, "unknown_wallet", "The wallet is gone.");
    }
    key_wipe(&key);
}

static void coins_are_here(struct exchange *x, json_t *replies)
{
    if (reply_result(replies, 0)) {
        x->state = json_incref(replies);
        work_run(x, sign_payment, payment_is_signed);
    } else {
        reply_node_error(x, replies, 0);
    }
}

static void look_for_wallet(struct exchange *x)
{
    struct key key;
    if (!wallet_key_of(x->api, text_of(x, "from_address"), &key)) {
        error_set(&x->error, ERROR_MISSING, "unknown_wallet", "No wallet of this server has this address.");
    }
    key_wipe(&key);
}

static void wallet_is_looked_for(struct exchange *x)
{
    if (x->error.kind) {
        reply_error(x, 400, x->error.word, "%s", x->error.text);
    } else {
        ask_coins(x, text_of(x, "from_address"), coins_are_here);
    }
}

HANDLER(send_payment)
{
    json_t *amount = json_object_get(x->body, "amount");
    const char *from = text_of(x, "from_address"), *to = text_of(x, "to_address");
    if (!from || !to || !json_is_integer(amount)) {
        reply_error(x, 422, "bad_body",
                    "from_address and to_address (texts) and amount (satoshis, a whole number) are wanted.");
        return;
    }
    x->number = json_integer_value(amount);
    x->page = 0;
    if (x->number < 1 || x->number > INT64_C(2100000000000000)) {
        reply_error(x, 400, "bad_amount", "amount must be from 1 to 2100000000000000 satoshis.");
    } else if (address_ok(x, from) && address_ok(x, to)) {
        work_run(x, look_for_wallet, wallet_is_looked_for);
    }
}

/* ---- The faucet ---------------------------------------------------------------------------------------- */

/* The first key of the purse whose coins suffice pays. */
static void sign_from_purse(struct exchange *x)
{
    struct key *keys = mem_alloc(PURSE_KEYS_MAX * sizeof *keys);
    size_t count = purse_keys(x->api, keys, PURSE_KEYS_MAX);
    if (!count || json_array_size(x->state) != count) {
        error_set(&x->error, ERROR_MISSING, "insufficient_funds", "The purse has changed: try again.");
        count = 0;
    }
    for (size_t i = 0; i < count && !x->tx; i++) {
        x->tx = make_payment(x->api, &keys[i], json_object_get(reply_result(x->state, i), "utxos"),
                             text_of(x, "address"), x->number, &x->error);
    }
    mem_wipe(keys, PURSE_KEYS_MAX * sizeof *keys);
    mem_free(keys);
}

static void purse_coins_are_here(struct exchange *x, json_t *replies)
{
    if (reply_result(replies, 0)) {
        x->state = json_incref(replies);
        work_run(x, sign_from_purse, payment_is_signed);
    } else {
        reply_node_error(x, replies, 0);
    }
}

/* One question per key. */
static void read_purse(struct exchange *x)
{
    struct key *keys = mem_alloc(PURSE_KEYS_MAX * sizeof *keys);
    size_t count = purse_keys(x->api, keys, PURSE_KEYS_MAX);
    x->state = json_array();
    for (size_t i = 0; i < count; i++) {
        char address[ADDRESS_TEXT];
        key_address(address, &keys[i], &x->api->params);
        add_call(x->state, "getaddressutxos", json_pack("[s]", address));
    }
    mem_wipe(keys, PURSE_KEYS_MAX * sizeof *keys);
    mem_free(keys);
}

static void purse_is_read(struct exchange *x)
{
    if (json_array_size(x->state)) {
        node_ask(x, take_state(x), purse_coins_are_here);
    } else {
        reply_error(x, 503, "empty_purse", "The purse has no keys yet: a miner makes them when it starts.");
    }
}

static void ask_again(struct exchange *x)
{
    if (x->route->flags & ROUTE_FAUCET) {
        work_run(x, read_purse, purse_is_read);
    } else {
        ask_coins(x, text_of(x, "from_address"), coins_are_here);
    }
}

HANDLER(pay_from_faucet)
{
    json_t *amount = json_object_get(x->body, "amount");
    const char *to = text_of(x, "address");
    if (!to || (amount && !json_is_null(amount) && !json_is_integer(amount))) {
        reply_error(x, 422, "bad_body", "address (a text) is wanted; amount is a whole number of satoshis.");
        return;
    }
    x->number = json_is_integer(amount) ? json_integer_value(amount) : FAUCET_SAT;
    x->page = 0;
    if (x->number < 1 || x->number > 100 * FAUCET_SAT) {
        reply_error(x, 400, "bad_amount", "amount must be from 1 to %lld satoshis.",
                    (long long)(100 * FAUCET_SAT));
    } else if (address_ok(x, to)) {
        work_run(x, read_purse, purse_is_read);
    }
}
