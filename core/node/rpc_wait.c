/* RPC methods that wait for a block or a template: answered by a new tip, by time, or by the end of the node.
 */
#include "core/node/rpc_private.h"

static void show_tip(struct rpc_call *call)
{
    const struct block_entry *tip = chain_tip(call->node->chain);
    call->waits_for = WAIT_NOTHING;
    put_open(&call->out, NULL, '{');
    put_hash(&call->out, "hash", &tip->hash);
    put_int(&call->out, "height", tip->height);
    put_close(&call->out, '{');
    rpc_ok(call);
}

static bool has_come(const struct rpc_call *call)
{
    const struct block_entry *tip = chain_tip(call->node->chain);
    switch (call->waits_for) {
    case WAIT_TEMPLATE: /* asks rpc_template_is_due */
    case WAIT_NOTHING: break;
    case WAIT_OTHER_TIP: return !hash256_equal(&tip->hash, &call->hash);
    case WAIT_THIS_TIP: return hash256_equal(&tip->hash, &call->hash);
    case WAIT_HEIGHT: return tip->height >= call->number;
    }
    return false;
}

/* timeout in milliseconds, 0: none. */
static void wait_for(struct rpc_call *call, enum rpc_wait what, size_t timeout_index)
{
    const json_t *given = arg_any(call, timeout_index);
    int64_t timeout_ms = 0;
    if (json_is_integer(given) && json_integer_value(given) < 0) {
        rpc_fail(call, RPC_MISC_ERROR, "Negative timeout");
        return;
    }
    if (!arg_number(call, timeout_index, &timeout_ms, 0, INT64_MAX / 2000)) {
        return;
    }
    call->waits_for = what;
    call->wait_until_us = timeout_ms ? call->node->now.mono_us + timeout_ms * 1000 : INT64_MAX;
    if (has_come(call)) {
        show_tip(call);
    }
}

RPC_HANDLER(waitfornewblock)
{
    call->hash = chain_tip(call->node->chain)->hash;
    wait_for(call, WAIT_OTHER_TIP, 0);
}

RPC_HANDLER(waitforblock)
{
    if (arg_hash(call, 0, "blockhash", &call->hash)) {
        wait_for(call, WAIT_THIS_TIP, 1);
    }
}

RPC_HANDLER(waitforblockheight)
{
    int64_t height = 0;
    if (arg_number(call, 0, &height, INT32_MIN, INT32_MAX)) {
        call->number = (uint32_t)MAX(height, INT64_C(0));
        wait_for(call, WAIT_HEIGHT, 1);
    }
}

static void template_may_come(struct rpc_call *call)
{
    if (rpc_template_is_due(call)) {
        call->waits_for = WAIT_NOTHING;
        rpc_show_template(call);
    }
}

void rpc_wait_for_template(struct rpc_call *call, int64_t after_us)
{
    call->waits_for = WAIT_TEMPLATE;
    call->wait_until_us = call->node->now.mono_us + after_us;
    template_may_come(call);
}

void rpc_waits_end(struct node *node, bool all)
{
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        bool ends = all || call->batch->gone;
        if (call->waits_for == WAIT_TEMPLATE && ends) {
            rpc_fail(call, RPC_CLIENT_NOT_CONNECTED, "Shutting down");
        } else if (call->waits_for == WAIT_TEMPLATE) {
            template_may_come(call);
        } else if (call->waits_for != WAIT_NOTHING &&
                   (ends || has_come(call) || call->wait_until_us <= node->now.mono_us)) {
            show_tip(call);
        }
    }
}

int64_t rpc_waits_next_us(const struct node *node)
{
    int64_t next_us = list_empty(&node->rpc->ready) ? INT64_MAX : node->now.mono_us;
    LIST_EACH(at, &node->rpc->calls)
    {
        const struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        next_us = call->go_on                       ? node->now.mono_us
                  : call->waits_for == WAIT_NOTHING ? next_us
                                                    : MIN(next_us, call->wait_until_us);
    }
    return next_us;
}
