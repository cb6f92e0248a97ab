/* RPC methods about the node as a program: help, stop, logging, what it holds and what it is doing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define MOCK_TIME_MAX INT64_C(9223372036) /* so many nanoseconds have 63 bits */

/* "name (optional)" … as a person types them. */
static void usage_of(struct buf *out, const struct rpc_method *m)
{
    buf_printf(out, "%s", m->name);
    for (const char *at = m->params; *at; at += *at == ' ') {
        size_t len = strcspn(at, " "), name = strcspn(at, "|:");
        bool optional = at[len - 1] == '?', text = strncmp(at + strcspn(at, ":"), ":text", 5) == 0;
        buf_printf(out, optional ? " ( %s%.*s%s )" : " %s%.*s%s", text ? "\"" : "", (int)name, at,
                   text ? "\"" : "");
        at += len;
    }
}

RPC_HANDLER(help)
{
    const char *name = NULL, *category = "";
    if (!arg_text(call, 0, &name)) {
        return;
    }
    struct buf text = {0};
    for (const struct rpc_method *m = rpc_methods; m->name; m++) {
        if (name ? strcmp(m->name, name) != 0 : strcmp(m->category, "Hidden") == 0) {
            continue;
        }
        if (!name && strcmp(category, m->category) != 0) {
            buf_printf(&text, "%s== %s ==\n", *category ? "\n" : "", m->category);
        }
        category = m->category;
        usage_of(&text, m);
        if (name) {
            buf_printf(&text, "\n\n%s", m->help);
        }
        buf_u8(&text, '\n');
    }
    if (text.len) {
        text.len--; /* the last line feed */
    } else {
        buf_printf(&text, "help: unknown command: %.100s", name);
    }
    put_span_text(&call->out, NULL, buf_span(&text));
    buf_free(&text);
    rpc_ok(call);
}

RPC_HANDLER(stop)
{
    struct node *node = call->node;
    put_text(&call->out, NULL, "Quarry stopping");
    rpc_ok(call);
    node_stop(node, false);
}

RPC_HANDLER(uptime)
{
    put_int(&call->out, NULL, (call->node->now.mono_us - call->node->started_us) / 1000000);
    rpc_ok(call);
}

RPC_HANDLER(setmocktime)
{
    int64_t time = 0;
    if (call->node->params->kind != CHAIN_REGTEST) {
        rpc_fail(call, RPC_MISC_ERROR, "setmocktime is for regression testing (-regtest mode) only");
        return;
    }
    if (!arg_number(call, 0, &time, INT64_MIN, INT64_MAX)) {
        return;
    }
    if (time < 0 || time > MOCK_TIME_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "Mocktime must be in the range [0, %" PRId64 "], not %" PRId64 ".", MOCK_TIME_MAX, time);
        return;
    }
    call->node->mock_time_s = MIN(time, (int64_t)UINT32_MAX); /* later no block has a time */
    rpc_ok(call);
}

RPC_HANDLER(mockscheduler)
{
    int64_t delta_s = 0;
    if (call->node->params->kind != CHAIN_REGTEST) {
        rpc_fail(call, RPC_MISC_ERROR, "mockscheduler is for regression testing (-regtest mode) only");
        return;
    }
    if (!arg_number(call, 0, &delta_s, INT64_MIN, INT64_MAX)) {
        return;
    }
    if (delta_s <= 0 || delta_s > 3600) {
        rpc_fail(call, RPC_MISC_ERROR, "delta_time must be between 1 and 3600 seconds (1 hr)");
        return;
    }
    call->node->mempool_files.tell_at_us -= delta_s * 1000000;
    call->node->peers_saved_us -= delta_s * 1000000;
    rpc_ok(call);
}

/* Sets what a list of category names ("all", "1", "none", "0" too) says; false after the call was failed. */
static bool change_logging(struct rpc_call *call, size_t index, enum log_level level)
{
    const json_t *list = arg_any(call, index), *item;
    size_t i;
    if (list && !json_is_array(list)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not an array as expected");
        return false;
    }
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        bool found = name && (strcmp(name, "none") == 0 || strcmp(name, "0") == 0);
        bool all = name && (strcmp(name, "all") == 0 || strcmp(name, "1") == 0);
        for (unsigned c = 0; name && c < LOG_CATEGORY_COUNT; c++) {
            if (all || strcmp(name, log_category_name((enum log_category)c)) == 0) {
                log_set_level((enum log_category)c, level);
                found = true;
            }
        }
        if (!found) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "unknown logging category %.50s", name ? name : "");
            return false;
        }
    }
    return true;
}

RPC_HANDLER(logging)
{
    if (!change_logging(call, 0, LOG_DEBUG) || !change_logging(call, 1, LOG_INFO)) {
        return;
    }
    put_open(&call->out, NULL, '{');
    for (unsigned c = 0; c < LOG_CATEGORY_COUNT; c++) {
        put_yes(&call->out, log_category_name((enum log_category)c),
                log_enabled(LOG_DEBUG, (enum log_category)c));
    }
    put_close(&call->out, '{');
    rpc_ok(call);
}

/* No memory is locked here; what the process holds stands beside Core's members. */
RPC_HANDLER(getmemoryinfo)
{
    static const char *const locked[] = {"used", "free", "total", "locked", "chunks_used", "chunks_free"};
    const char *mode = "stats";
    struct buf *out = &call->out;
    if (!arg_text(call, 0, &mode)) {
        return;
    }
    if (strcmp(mode, "stats") != 0) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s %.50s",
                 strcmp(mode, "mallocinfo") == 0 ? "mallocinfo mode not available:" : "unknown mode", mode);
        return;
    }
    put_open(out, NULL, '{');
    put_open(out, "locked", '{');
    for (size_t i = 0; i < ARRAY_COUNT(locked); i++) {
        put_int(out, locked[i], 0);
    }
    put_close(out, '{');
    put_int(out, "process", (int64_t)call->node->process_memory_bytes);
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(getrpcinfo)
{
    struct buf *out = &call->out;
    put_open(out, NULL, '{');
    put_open(out, "active_commands", '[');
    LIST_EACH(at, &call->node->rpc->calls)
    {
        const struct rpc_call *other = CONTAINER_OF(at, struct rpc_call, link);
        if (other->method) {
            put_open(out, NULL, '{');
            put_text(out, "method", other->method->name);
            put_int(out, "duration", call->node->now.mono_us - other->began_us);
            put_close(out, '{');
        }
    }
    put_close(out, '[');
    put_text(out, "logpath", ""); /* the log goes to standard error */
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(getzmqnotifications)
{
    put_open(&call->out, NULL, '[');
    put_close(&call->out, '[');
    rpc_ok(call);
}

RPC_HANDLER(getindexinfo)
{
    const char *name = NULL;
    struct buf *out = &call->out;
    if (!arg_text(call, 0, &name)) {
        return;
    }
    put_open(out, NULL, '{');
    if (call->node->config.tx_index && (!name || strcmp(name, "txindex") == 0)) {
        put_open(out, "txindex", '{');
        put_yes(out, "synced", true); /* written with every block */
        put_int(out, "best_block_height", chain_tip(call->node->chain)->height);
        put_close(out, '{');
    }
    put_close(out, '{');
    rpc_ok(call);
}

RPC_HANDLER(echo)
{
    char *text = json_dumps(call->params, JSON_COMPACT);
    put_raw(&call->out, NULL, span_of(text, strlen(text)));
    free(text);
    rpc_ok(call);
}

RPC_HANDLER(syncwithvalidationinterfacequeue)
{
    rpc_ok(call);
}
