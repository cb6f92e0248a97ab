/* RPC methods about messages that the key of an address signs. */
#include "core/node/rpc_private.h"

RPC_HANDLER(signmessagewithprivkey)
{
    const char *wif = "", *message = "";
    char signature[MESSAGE_SIGNATURE_TEXT];
    struct key key;
    bool compressed;
    if (!arg_text(call, 0, &wif) || !arg_text(call, 1, &message)) {
        return;
    }
    if (key_from_wif(&key, &compressed, wif, call->node->params)) {
        message_sign(signature, &key, compressed, message);
        put_text(&call->out, NULL, signature);
        rpc_ok(call);
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Invalid private key");
    }
    key_wipe(&key);
}

static void judge(struct rpc_call *call, struct span script)
{
    const char *signature = "", *message = "";
    struct span hash;
    if (!arg_text(call, 1, &signature) || !arg_text(call, 2, &message)) {
        return;
    }
    if (script_classify(script, &hash) != OUTPUT_P2PKH) {
        rpc_fail(call, RPC_TYPE_ERROR, "Address does not refer to key");
        return;
    }
    enum message_verdict verdict = message_verify(hash.data, signature, message);
    if (verdict == MESSAGE_NOT_BASE64) {
        rpc_fail(call, RPC_TYPE_ERROR, "Malformed base64 encoding");
    } else {
        put_yes(&call->out, NULL, verdict == MESSAGE_SIGNED);
        rpc_ok(call);
    }
}

RPC_HANDLER(verifymessage)
{
    const char *address = "";
    struct buf script = {0};
    if (!arg_text(call, 0, &address)) {
        return;
    }
    if (address_to_script(&script, address, call->node->params, NULL)) {
        judge(call, buf_span(&script));
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Invalid address");
    }
    buf_free(&script);
}
