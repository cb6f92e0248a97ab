/* The descriptor (BIP380) that a script has for somebody who knows nothing but the script. Not here: reading
 * descriptors (descriptor.c). */
#include "core/wallet/wallet.h"

#include <secp256k1_extrakeys.h>

static void put_hex(struct buf *out, struct span bytes)
{
    hex_encode((char *)buf_extend(out, 2 * bytes.len + 1), bytes.data, bytes.len);
    out->len--; /* the final zero */
}

/* A descriptor names keys of the two ordinary forms, and under a witness of the short one. */
static bool is_plain_key(struct span key, bool short_only)
{
    return key.data[0] == 2 || key.data[0] == 3 || (key.data[0] == 4 && !short_only);
}

static bool put_multisig(struct buf *out, struct span script, bool short_only)
{
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX];
    bool ok = script_multisig(script, &needed, keys, &count);
    for (unsigned i = 0; ok && i < count; i++) {
        ok = is_plain_key(keys[i], short_only);
    }
    if (!ok) {
        return false;
    }
    buf_printf(out, "multi(%u", needed);
    for (unsigned i = 0; i < count; i++) {
        buf_u8(out, ',');
        put_hex(out, keys[i]);
    }
    buf_u8(out, ')');
    return true;
}

/* What is written about the keys that stand in the script itself. */
static bool put_keys(struct buf *out, struct span script, bool witness)
{
    struct span payload;
    if (script_classify(script, &payload) != OUTPUT_P2PK) {
        return put_multisig(out, script, witness);
    }
    if (!is_plain_key(payload, witness)) {
        return false;
    }
    buf_printf(out, "pk(");
    put_hex(out, payload);
    buf_u8(out, ')');
    return true;
}

static bool put_taproot(struct buf *out, struct span script)
{
    struct span program;
    secp256k1_xonly_pubkey key;
    if (script_classify(script, &program) != OUTPUT_P2TR ||
        !secp256k1_xonly_pubkey_parse(secp256k1_context_static, &key, program.data)) {
        return false;
    }
    buf_printf(out, "rawtr(");
    put_hex(out, program);
    buf_u8(out, ')');
    return true;
}

static void put_checksum(struct buf *out, size_t begin)
{
    char checksum[9] = "";
    CHECK(descriptor_checksum(checksum, (const char *)out->data + begin, out->len - begin));
    buf_printf(out, "#%s", checksum);
}

void descriptor_infer(struct buf *out, struct span script, const char *address)
{
    size_t begin = out->len;
    if (put_keys(out, script, false) || put_taproot(out, script)) {
        put_checksum(out, begin);
        return;
    }
    if (address) {
        buf_printf(out, "addr(%s)", address);
    } else {
        buf_printf(out, "raw(");
        put_hex(out, script);
        buf_u8(out, ')');
    }
    put_checksum(out, begin);
}

bool descriptor_infer_witness(struct buf *out, struct span witness_script)
{
    struct buf inner = {0};
    size_t begin = out->len;
    bool ok = put_keys(&inner, witness_script, true);
    if (ok) {
        buf_printf(out, "wsh(%.*s)", (int)inner.len, (const char *)inner.data);
        put_checksum(out, begin);
    }
    buf_free(&inner);
    return ok;
}
