/* The node of rig.h: a store in a temporary folder, every job done at once. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "rig.h"

static char folder[64], mempool_file[80];
static struct store *store;
static bool saves_fail, exited, stop_at_import;
struct chain_params params;
struct node *node;
struct key key;
struct buf script;
char address[ADDRESS_TEXT];
struct moment now;
int64_t due_us;
json_t *reply;

static void drain(void);

void happen(struct event event)
{
    now.mono_us += 1000;
    now.unix_us += 1000;
    event.now = now;
    node_handle(node, &event);
    drain();
}

static void do_job(struct job *job)
{
    if (job->kind == JOB_IMPORT_READ && stop_at_import) {
        stop_at_import = false;
        happen((struct event){.kind = EVENT_STOP});
    }
    if (job->kind == JOB_CHECK_SCRIPTS) {
        job->check.failed_index = SIZE_MAX;
        for (size_t i = job->check.count; i-- > 0;) {
            job->check.failed_index = job->check.check(job->check.batch, i) ? job->check.failed_index : i;
        }
    } else if (job->kind == JOB_SAVE && saves_fail) {
        job->failed = true;
    } else {
        store_run(store, job, job->kind == JOB_SCAN ? store_snapshot(store) : NULL);
    }
    happen((struct event){.kind = EVENT_JOB, .job = job});
}

static void drain(void)
{
    struct action action;
    while (node_next_action(node, &action)) {
        if (action.kind == ACTION_JOB) {
            do_job(action.job);
        } else if (action.kind == ACTION_TIMER) {
            due_us = action.at_mono_us;
        } else if (action.kind == ACTION_EXIT) {
            exited = true;
        } else if (action.kind == ACTION_RPC_REPLY && action.rpc == 1) {
            json_decref(reply);
            reply = json_loadb((const char *)action.bytes.data, action.bytes.len, JSON_DECODE_ANY, NULL);
            cr_assert(reply, "not JSON: %.*s", (int)action.bytes.len, (const char *)action.bytes.data);
        }
        action_free(&action);
    }
}

static void open_node(void)
{
    struct error error = {0};
    struct store_reader reads;
    store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    store_reads(store, &reads);
    const struct node_config config = {.params = &params,
                                       .user_agent = "/Quarry:test/",
                                       .version_text = "test",
                                       .datadir_text = folder,
                                       .coins_cache_bytes = 1u << 20,
                                       .recent_blocks_bytes = 1u << 20,
                                       .mempool_bytes = 5u << 20,
                                       .inbound_max = 8,
                                       .tx_index = true,
                                       .block_interval_s = 1, /* of a node that does not mine */
                                       .payout_script = buf_span(&script),
                                       .payout_address = address,
                                       .mempool_file = mempool_file,
                                       .persist_mempool = true};
    exited = false;
    node = node_new(&config, &reads, &error);
    cr_assert(node, "%s", error.text);
    happen((struct event){.kind = EVENT_START});
}

static void close_node(void)
{
    happen((struct event){.kind = EVENT_STOP});
    for (int i = 0; i < 100 && !exited; i++) {
        happen((struct event){.kind = EVENT_TIMER});
    }
    cr_assert(exited);
    node_free(node);
    store_close(store);
}

void rig_begin(void)
{
    const uint8_t secret[32] = {1}, entropy[32] = {7};
    struct error error = {0};
    strcpy(folder, "/tmp/quarry-node.XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(mempool_file, sizeof mempool_file, "%s/mempool.dat", folder);
    wallet_init(entropy);
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, &error));
    cr_assert(key_from_secret(&key, secret));
    key_script(&script, &key);
    key_address(address, &key, &params);
    now = (struct moment){1000000, INT64_C(1700000000) * 1000000};
    open_node();
}

void rig_restart(void)
{
    close_node();
    open_node();
}

void rig_restart_without_saving(void)
{
    saves_fail = true;
    rig_restart();
    saves_fail = false;
}

void rig_restart_hastily(void)
{
    close_node();
    stop_at_import = true;
    open_node();
    cr_assert_not(stop_at_import);
    rig_restart();
}

const char *rig_mempool_file(void)
{
    return mempool_file;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

void rig_end(void)
{
    json_decref(reply);
    close_node();
    buf_free(&script);
    chain_params_free(&params);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void say(const char *text)
{
    json_decref(reply);
    reply = NULL;
    happen((struct event){.kind = EVENT_RPC, .rpc = 1, .rpc_text = text, .rpc_len = strlen(text)});
}

json_t *ask(const char *method, const char *arguments)
{
    struct buf text = {0};
    buf_printf(&text, "{\"id\":1,\"method\":\"%s\",\"params\":%s}%c", method, arguments, 0);
    say((const char *)text.data);
    buf_free(&text);
    return json_object_get(reply, "result");
}

int code_of(const char *method, const char *arguments)
{
    ask(method, arguments);
    return (int)json_integer_value(json_object_get(json_object_get(reply, "error"), "code"));
}

const char *words(void)
{
    const char *text = json_string_value(json_object_get(json_object_get(reply, "error"), "message"));
    return text ? text : "";
}

void mine(unsigned blocks)
{
    struct buf arguments = {0};
    buf_printf(&arguments, "[%u,\"%s\"]%c", blocks, address, 0);
    cr_assert_eq(json_array_size(ask("generatetoaddress", (const char *)arguments.data)), blocks);
    buf_free(&arguments);
}

json_int_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    cr_assert(json_is_integer(value), "%s is not a whole number", name);
    return json_integer_value(value);
}

void coinbase_of(unsigned height, struct outpoint *out)
{
    char arguments[100];
    snprintf(arguments, sizeof arguments, "[%u]", height);
    snprintf(arguments, sizeof arguments, "[\"%s\"]", json_string_value(ask("getblockhash", arguments)));
    json_t *txs = json_object_get(ask("getblock", arguments), "tx");
    cr_assert(hash256_parse(&out->txid, json_string_value(json_array_get(txs, 0))));
    out->index = 0;
}

const char *payment(struct outpoint from, int64_t sat, int64_t fee_sat, struct hash256 *txid)
{
    static char hex[1000];
    struct error error = {0};
    const struct coin coin = {.value = {sat}, .script = buf_span(&script)};
    const struct tx_output output = {.value = {sat - fee_sat}, .script = buf_span(&script)};
    struct tx *tx = wallet_sign(&key, &from, &coin, 1, &output, 1, 0, &error);
    cr_assert(tx && tx->raw.len * 2 < sizeof hex, "%s", error.text);
    hex_encode(hex, tx->raw.data, tx->raw.len);
    hex[tx->raw.len * 2] = 0;
    *txid = tx->txid;
    tx_unref(tx);
    return hex;
}

json_t *ask_about(const char *method, const char *text, const char *rest)
{
    struct buf arguments = {0};
    buf_printf(&arguments, "[\"%s\"%s]%c", text, rest, 0);
    json_t *result = ask(method, (const char *)arguments.data);
    buf_free(&arguments);
    return result;
}

int last_code(void)
{
    return (int)json_integer_value(json_object_get(json_object_get(reply, "error"), "code"));
}
