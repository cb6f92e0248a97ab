/* RPC methods about output descriptors, and addresses made of keys. */
#include "core/node/rpc_private.h"

#define REDEEM_BYTES_MAX 520u

/* ---- Ranges -------------------------------------------------------------------------------------------- */

static bool refuse_range(struct rpc_call *call, const char *why)
{
    rpc_fail(call, RPC_INVALID_PARAMETER, "%s", why);
    return false;
}

bool range_from_json(struct rpc_call *call, const json_t *value, uint32_t *first, uint32_t *last)
{
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    bool pair = json_array_size(value) == 2 && json_is_integer(begin) && json_is_integer(end);
    if (!pair && !json_is_integer(value)) {
        return refuse_range(call, "Range must be specified as end or as [begin,end]");
    }
    int64_t low = pair ? json_integer_value(begin) : 0, high = json_integer_value(pair ? end : value);
    if (pair && low > high) {
        return refuse_range(call, "Range specified as [begin,end] must not have begin after end");
    }
    if (low < 0) {
        return refuse_range(call, "Range should be greater or equal than 0");
    }
    if (high < 0 || high > INT32_MAX) {
        return refuse_range(call, "End of range is too high");
    }
    if (high >= low + RPC_DERIVED_MAX) {
        return refuse_range(call, "Range is too large");
    }
    *first = (uint32_t)low;
    *last = (uint32_t)high;
    return true;
}

bool expand_range(struct rpc_call *call, struct descriptor *descriptor, uint32_t first, uint32_t last,
                  descriptor_script *each, void *context)
{
    struct error error = {0};
    for (uint32_t index = first; index <= last; index++) {
        if (!descriptor_expand(descriptor, index, each, context, &error)) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "%s", error.text);
            return false;
        }
    }
    return true;
}

/* The descriptor in the first argument; NULL after the call was failed. */
static struct descriptor *arg_descriptor(struct rpc_call *call, bool checksum_required)
{
    const char *text = "";
    struct error error = {0};
    if (!arg_text(call, 0, &text)) {
        return NULL;
    }
    struct descriptor *descriptor = descriptor_parse(text, checksum_required, call->node->params, &error);
    if (!descriptor) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "%s", error.text);
    }
    return descriptor;
}

/* ---- getdescriptorinfo, deriveaddresses --------------------------------------------------------------- */

RPC_HANDLER(getdescriptorinfo)
{
    const char *text = "";
    char checksum[9] = "";
    struct buf canonical = {0}, *out = &call->out;
    struct descriptor *descriptor = arg_descriptor(call, false);
    if (!descriptor || !arg_text(call, 0, &text)) {
        return;
    }
    CHECK(descriptor_checksum(checksum, text, strcspn(text, "#")));
    descriptor_write(&canonical, descriptor);
    put_open(out, NULL, '{');
    put_span_text(out, "descriptor", buf_span(&canonical));
    put_text(out, "checksum", checksum); /* of what was given, secrets and all */
    put_yes(out, "isrange", descriptor_is_ranged(descriptor));
    put_yes(out, "issolvable", descriptor_is_solvable(descriptor));
    put_yes(out, "hasprivatekeys", descriptor_has_secret(descriptor));
    put_close(out, '{');
    descriptor_free(descriptor);
    buf_free(&canonical);
    rpc_ok(call);
}

struct addresses {
    struct rpc_call *call;
    bool missing;
};

/* P2PK, which combo has too, is passed over where there are others. */
static void put_address_of(void *context, struct span script, const char *descriptor)
{
    struct addresses *addresses = context;
    char address[ADDRESS_TEXT];
    if (address_from_script(address, script, addresses->call->node->params)) {
        put_text(&addresses->call->out, NULL, address);
    } else {
        addresses->missing |= strncmp(descriptor, "pk(", 3) != 0;
    }
}

static void derive_addresses(struct rpc_call *call, struct descriptor *descriptor)
{
    const json_t *range = arg_any(call, 1);
    struct addresses addresses = {.call = call};
    uint32_t first = 0, last = 0;
    if (range && !range_from_json(call, range, &first, &last)) {
        return;
    }
    if (!range == descriptor_is_ranged(descriptor)) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 range ? "Range should not be specified for an un-ranged descriptor"
                       : "Range must be specified for a ranged descriptor");
        return;
    }
    put_open(&call->out, NULL, '[');
    if (!expand_range(call, descriptor, first, last, put_address_of, &addresses)) {
        return;
    }
    if (addresses.missing || call->out.len == 1) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Descriptor does not have a corresponding address");
        return;
    }
    put_close(&call->out, '[');
    rpc_ok(call);
}

RPC_HANDLER(deriveaddresses)
{
    struct descriptor *descriptor = arg_descriptor(call, true);
    if (descriptor) {
        derive_addresses(call, descriptor);
        descriptor_free(descriptor);
    }
}

/* ---- createmultisig ------------------------------------------------------------------------------------ */

/* The redeem script of the first two arguments; false after the call was failed. */
static bool multisig_script(struct rpc_call *call, struct buf *script, bool *all_short)
{
    const json_t *keys = arg_any(call, 1), *item;
    int64_t needed = 0;
    size_t count = json_array_size(keys), i;
    if (!arg_number(call, 0, &needed, INT32_MIN, INT32_MAX)) {
        return false;
    }
    if (needed < 1) {
        return refuse_range(call, "a multisignature address must require at least one key to redeem");
    }
    if ((int64_t)count < needed) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "not enough keys supplied (got %zu keys, but need at least %lld to redeem)", count,
                 (long long)needed);
        return false;
    }
    if (count > MULTISIG_KEYS_MAX) {
        return refuse_range(call,
                            "Number of keys involved in the multisignature address creation > 20\nReduce the "
                            "number");
    }
    *all_short = true;
    script_push_height(script, (uint32_t)needed);
    json_array_foreach(keys, i, item)
    {
        const char *text = json_is_string(item) ? json_string_value(item) : "";
        uint8_t key[65];
        size_t len = strlen(text) / 2;
        if (!key_from_hex(key, text)) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Invalid public key: %.140s", text);
            return false;
        }
        *all_short &= len == 33;
        script_push(script, key, len);
    }
    script_push_height(script, (uint32_t)count);
    buf_u8(script, 0xae); /* OP_CHECKMULTISIG */
    return true;
}

static void show_multisig(struct rpc_call *call, struct span redeem, const char *type, bool warn)
{
    struct buf *out = &call->out, script = {0}, text = {0};
    char address[ADDRESS_TEXT], checksum[9] = "";
    bool witness = strcmp(type, "legacy") != 0;
    if (witness) {
        script_wrap_witness(&script, redeem);
    }
    if (strcmp(type, "bech32") != 0) {
        struct buf inner = script;
        script = (struct buf){0};
        script_wrap_p2sh(&script, witness ? buf_span(&inner) : redeem);
        buf_free(&inner);
    }
    descriptor_infer(&text, redeem, NULL); /* multi(…)#… */
    text.len -= 9;
    struct buf outer = {0};
    buf_printf(&outer, "%s%.*s%s",
               strcmp(type, "bech32") == 0 ? "wsh("
               : witness                   ? "sh(wsh("
                                           : "sh(",
               (int)text.len, (const char *)text.data, witness && strcmp(type, "bech32") != 0 ? "))" : ")");
    CHECK(descriptor_checksum(checksum, (const char *)outer.data, outer.len));
    buf_printf(&outer, "#%s", checksum);
    CHECK(address_from_script(address, buf_span(&script), call->node->params));
    put_open(out, NULL, '{');
    put_text(out, "address", address);
    put_hex(out, "redeemScript", redeem);
    put_span_text(out, "descriptor", buf_span(&outer));
    if (warn) {
        put_open(out, "warnings", '[');
        put_text(
            out, NULL,
            "Unable to make chosen address type, please ensure no uncompressed public keys are present.");
        put_close(out, '[');
    }
    put_close(out, '{');
    buf_free(&outer);
    buf_free(&text);
    buf_free(&script);
    rpc_ok(call);
}

RPC_HANDLER(createmultisig)
{
    const char *type = "legacy";
    struct buf redeem = {0};
    bool all_short;
    if (!arg_text(call, 2, &type)) {
        return;
    }
    bool known =
        strcmp(type, "legacy") == 0 || strcmp(type, "p2sh-segwit") == 0 || strcmp(type, "bech32") == 0;
    if (strcmp(type, "bech32m") == 0) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "createmultisig cannot create bech32m multisig addresses");
    } else if (!known) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Unknown address type '%.50s'", type);
    } else if (multisig_script(call, &redeem, &all_short)) {
        bool legacy = strcmp(type, "legacy") == 0 || !all_short;
        if (legacy && redeem.len > REDEEM_BYTES_MAX) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "redeemScript exceeds size limit: %zu > %u", redeem.len,
                     REDEEM_BYTES_MAX);
        } else {
            show_multisig(call, buf_span(&redeem), legacy ? "legacy" : type,
                          legacy && strcmp(type, "legacy") != 0);
        }
    }
    buf_free(&redeem);
}
