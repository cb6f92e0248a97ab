/* Scripts as forms: standard kinds, counting signature operations, assembly text, pushing data. Runs nothing.
 */
#include "core/consensus/script.h"

#include <inttypes.h>
#include <stdio.h>

size_t script_op_len(struct span script, size_t at)
{
    uint8_t op;
    struct span data;
    size_t next = at;
    script_next_op(script, &next, &op, &data);
    return next - at;
}

bool script_unspendable(struct span script)
{
    return (script.len > 0 && script.data[0] == OP_RETURN) || script.len > SCRIPT_BYTES_MAX;
}

bool script_witness_program(struct span script, uint8_t *version, struct span *program)
{
    if (script.len < 4 || script.len > 42 ||
        (script.data[0] != OP_0 && (script.data[0] < OP_1 || script.data[0] > OP_16)) ||
        script.data[1] + 2u != script.len) {
        return false;
    }
    *version = script.data[0] == OP_0 ? 0 : (uint8_t)(script.data[0] - (OP_1 - 1));
    *program = span_of(script.data + 2, script.len - 2);
    return true;
}

bool script_is_anchor(uint8_t version, struct span program)
{
    return version == 1 && program.len == 2 && program.data[0] == 0x4e && program.data[1] == 0x73;
}

uint32_t script_sigops(struct span script, bool accurate)
{
    uint32_t count = 0;
    uint8_t last = 0xff;
    for (size_t at = 0; at < script.len;) {
        uint8_t op;
        struct span data;
        if (!script_next_op(script, &at, &op, &data)) {
            break;
        }
        if (op == OP_CHECKSIG || op == OP_CHECKSIGVERIFY) {
            count++;
        } else if (op == OP_CHECKMULTISIG || op == OP_CHECKMULTISIGVERIFY) {
            count += accurate && last >= OP_1 && last <= OP_16 ? last - (OP_1 - 1u) : 20u;
        }
        last = op;
    }
    return count;
}

bool script_redeem(struct span *out, struct span script_sig)
{
    *out = span_of(NULL, 0);
    for (size_t at = 0; at < script_sig.len;) {
        uint8_t op;
        if (!script_next_op(script_sig, &at, &op, out) || op > OP_16) {
            return false;
        }
    }
    return true;
}

/* A key of 33 or 65 bytes that begins as one of its length does. */
static bool is_key_push(struct span script, size_t at, size_t *len)
{
    if (at + 1 >= script.len) {
        return false;
    }
    uint8_t form = script.data[at + 1];
    *len = script.data[at];
    bool fits =
        (*len == 33 && (form == 2 || form == 3)) || (*len == 65 && (form == 4 || form == 6 || form == 7));
    return fits && at + 1 + *len <= script.len;
}

/* A number from least to MULTISIG_KEYS_MAX, pushed in the shortest way; 0: it is none. */
static unsigned small_number(uint8_t op, struct span data, unsigned least)
{
    unsigned value = 0;
    if (op >= OP_1 && op <= OP_16) {
        value = op - (OP_1 - 1u);
    } else if (op == 1 && data.data[0] > 16) {
        value = data.data[0];
    }
    return value >= least && value <= MULTISIG_KEYS_MAX ? value : 0;
}

bool script_multisig(struct span script, unsigned *needed, struct span keys[MULTISIG_KEYS_MAX],
                     unsigned *count)
{
    size_t at = 0, len;
    uint8_t op;
    struct span data;
    if (!script.len || script.data[script.len - 1] != OP_CHECKMULTISIG ||
        !script_next_op(script, &at, &op, &data) || !(*needed = small_number(op, data, 1))) {
        return false;
    }
    for (*count = 0; is_key_push(script, at, &len) && *count < MULTISIG_KEYS_MAX; at += 1 + len) {
        keys[(*count)++] = span_of(script.data + at + 1, len);
    }
    return *count && script_next_op(script, &at, &op, &data) && small_number(op, data, *needed) == *count &&
           at + 1 == script.len;
}

enum output_kind script_classify(struct span script, struct span *payload)
{
    const uint8_t *p = script.data;
    size_t len = script.len, key_len;
    uint8_t version;
    struct span none, *out = payload ? payload : &none;
    *out = span_of(NULL, 0);
    if (len == 25 && p[0] == OP_DUP && p[1] == OP_HASH160 && p[2] == 20 && p[23] == OP_EQUALVERIFY &&
        p[24] == OP_CHECKSIG) {
        *out = span_of(p + 3, 20);
        return OUTPUT_P2PKH;
    }
    if (len == 23 && p[0] == OP_HASH160 && p[1] == 20 && p[22] == OP_EQUAL) {
        *out = span_of(p + 2, 20);
        return OUTPUT_P2SH;
    }
    if (script_witness_program(script, &version, out)) {
        if (version == 0) {
            return out->len == 20 ? OUTPUT_P2WPKH : out->len == 32 ? OUTPUT_P2WSH : OUTPUT_OTHER;
        }
        if (script_is_anchor(version, *out)) {
            return OUTPUT_ANCHOR;
        }
        return version == 1 && out->len == 32 ? OUTPUT_P2TR : OUTPUT_WITNESS_UNKNOWN;
    }
    if (is_key_push(script, 0, &key_len) && len == key_len + 2 && p[len - 1] == OP_CHECKSIG) {
        *out = span_of(p + 1, key_len);
        return OUTPUT_P2PK;
    }
    if (len >= 1 && p[0] == OP_RETURN && script_is_push_only(span_of(p + 1, len - 1))) {
        return OUTPUT_NULL_DATA;
    }
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX];
    return script_multisig(script, &needed, keys, &count) ? OUTPUT_MULTISIG : OUTPUT_OTHER;
}

const char *output_kind_name(enum output_kind kind)
{
    static const char *const kind_names[] = {
        [OUTPUT_OTHER] = "nonstandard",
        [OUTPUT_P2PK] = "pubkey",
        [OUTPUT_P2PKH] = "pubkeyhash",
        [OUTPUT_P2SH] = "scripthash",
        [OUTPUT_P2WPKH] = "witness_v0_keyhash",
        [OUTPUT_P2WSH] = "witness_v0_scripthash",
        [OUTPUT_P2TR] = "witness_v1_taproot",
        [OUTPUT_MULTISIG] = "multisig",
        [OUTPUT_NULL_DATA] = "nulldata",
        [OUTPUT_WITNESS_UNKNOWN] = "witness_unknown",
        [OUTPUT_ANCHOR] = "anchor",
    };
    return kind_names[kind];
}

bool script_may_run(struct span script)
{
    bool success;
    for (size_t at = 0; at < script.len;) {
        uint8_t op;
        struct span data;
        if (!script_next_op(script, &at, &op, &data) || op > OP_NOP10 || data.len > SCRIPT_PUSH_BYTES_MAX) {
            return false;
        }
    }
    return !script_unspendable(script) && tapscript_scan(script, &success) == SCRIPT_ERROR_OK && !success;
}

static const char *const op_names[256] = {
    [OP_1NEGATE] = "-1",
    [OP_RESERVED] = "OP_RESERVED",
    [OP_NOP] = "OP_NOP",
    [OP_VER] = "OP_VER",
    [OP_IF] = "OP_IF",
    [OP_NOTIF] = "OP_NOTIF",
    [OP_VERIF] = "OP_VERIF",
    [OP_VERNOTIF] = "OP_VERNOTIF",
    [OP_ELSE] = "OP_ELSE",
    [OP_ENDIF] = "OP_ENDIF",
    [OP_VERIFY] = "OP_VERIFY",
    [OP_RETURN] = "OP_RETURN",
    [OP_TOALTSTACK] = "OP_TOALTSTACK",
    [OP_FROMALTSTACK] = "OP_FROMALTSTACK",
    [OP_2DROP] = "OP_2DROP",
    [OP_2DUP] = "OP_2DUP",
    [OP_3DUP] = "OP_3DUP",
    [OP_2OVER] = "OP_2OVER",
    [OP_2ROT] = "OP_2ROT",
    [OP_2SWAP] = "OP_2SWAP",
    [OP_IFDUP] = "OP_IFDUP",
    [OP_DEPTH] = "OP_DEPTH",
    [OP_DROP] = "OP_DROP",
    [OP_DUP] = "OP_DUP",
    [OP_NIP] = "OP_NIP",
    [OP_OVER] = "OP_OVER",
    [OP_PICK] = "OP_PICK",
    [OP_ROLL] = "OP_ROLL",
    [OP_ROT] = "OP_ROT",
    [OP_SWAP] = "OP_SWAP",
    [OP_TUCK] = "OP_TUCK",
    [OP_CAT] = "OP_CAT",
    [OP_SUBSTR] = "OP_SUBSTR",
    [OP_LEFT] = "OP_LEFT",
    [OP_RIGHT] = "OP_RIGHT",
    [OP_SIZE] = "OP_SIZE",
    [OP_INVERT] = "OP_INVERT",
    [OP_AND] = "OP_AND",
    [OP_OR] = "OP_OR",
    [OP_XOR] = "OP_XOR",
    [OP_EQUAL] = "OP_EQUAL",
    [OP_EQUALVERIFY] = "OP_EQUALVERIFY",
    [OP_RESERVED1] = "OP_RESERVED1",
    [OP_RESERVED2] = "OP_RESERVED2",
    [OP_1ADD] = "OP_1ADD",
    [OP_1SUB] = "OP_1SUB",
    [OP_2MUL] = "OP_2MUL",
    [OP_2DIV] = "OP_2DIV",
    [OP_NEGATE] = "OP_NEGATE",
    [OP_ABS] = "OP_ABS",
    [OP_NOT] = "OP_NOT",
    [OP_0NOTEQUAL] = "OP_0NOTEQUAL",
    [OP_ADD] = "OP_ADD",
    [OP_SUB] = "OP_SUB",
    [OP_MUL] = "OP_MUL",
    [OP_DIV] = "OP_DIV",
    [OP_MOD] = "OP_MOD",
    [OP_LSHIFT] = "OP_LSHIFT",
    [OP_RSHIFT] = "OP_RSHIFT",
    [OP_BOOLAND] = "OP_BOOLAND",
    [OP_BOOLOR] = "OP_BOOLOR",
    [OP_NUMEQUAL] = "OP_NUMEQUAL",
    [OP_NUMEQUALVERIFY] = "OP_NUMEQUALVERIFY",
    [OP_NUMNOTEQUAL] = "OP_NUMNOTEQUAL",
    [OP_LESSTHAN] = "OP_LESSTHAN",
    [OP_GREATERTHAN] = "OP_GREATERTHAN",
    [OP_LESSTHANOREQUAL] = "OP_LESSTHANOREQUAL",
    [OP_GREATERTHANOREQUAL] = "OP_GREATERTHANOREQUAL",
    [OP_MIN] = "OP_MIN",
    [OP_MAX] = "OP_MAX",
    [OP_WITHIN] = "OP_WITHIN",
    [OP_RIPEMD160] = "OP_RIPEMD160",
    [OP_SHA1] = "OP_SHA1",
    [OP_SHA256] = "OP_SHA256",
    [OP_HASH160] = "OP_HASH160",
    [OP_HASH256] = "OP_HASH256",
    [OP_CODESEPARATOR] = "OP_CODESEPARATOR",
    [OP_CHECKSIG] = "OP_CHECKSIG",
    [OP_CHECKSIGVERIFY] = "OP_CHECKSIGVERIFY",
    [OP_CHECKMULTISIG] = "OP_CHECKMULTISIG",
    [OP_CHECKMULTISIGVERIFY] = "OP_CHECKMULTISIGVERIFY",
    [OP_NOP1] = "OP_NOP1",
    [OP_CHECKLOCKTIMEVERIFY] = "OP_CHECKLOCKTIMEVERIFY",
    [OP_CHECKSEQUENCEVERIFY] = "OP_CHECKSEQUENCEVERIFY",
    [OP_NOP4] = "OP_NOP4",
    [OP_NOP5] = "OP_NOP5",
    [OP_NOP6] = "OP_NOP6",
    [OP_NOP7] = "OP_NOP7",
    [OP_NOP8] = "OP_NOP8",
    [OP_NOP9] = "OP_NOP9",
    [OP_NOP10] = "OP_NOP10",
    [OP_CHECKSIGADD] = "OP_CHECKSIGADD",
};

static void asm_data(struct buf *out, struct span data, bool sighash_names)
{
    static const char *const types[] = {"", "ALL", "NONE", "SINGLE"};
    if (data.len <= 4) { /* small pushes are shown as numbers */
        int64_t v = 0;
        for (size_t i = 0; i < data.len; i++) {
            v |= (int64_t)data.data[i] << (8 * i);
        }
        if (data.len && data.data[data.len - 1] & 0x80) {
            v = -(v & ~((int64_t)0x80 << (8 * (data.len - 1))));
        }
        buf_printf(out, "%" PRId64, v);
        return;
    }
    const char *type = NULL;
    uint8_t last = data.data[data.len - 1];
    if (sighash_names && (last & 0x7f) >= 1 && (last & 0x7f) <= 3 &&
        signature_check_encoding(data, SCRIPT_STRICTENC) == SCRIPT_ERROR_OK) {
        type = types[last & 0x7f];
        data.len--;
    }
    for (size_t i = 0; i < data.len; i++) {
        buf_printf(out, "%02x", data.data[i]);
    }
    if (type) {
        buf_printf(out, "[%s%s]", type, last & 0x80 ? "|ANYONECANPAY" : "");
    }
}

void script_asm(struct buf *out, struct span script, bool sighash_names)
{
    bool names = sighash_names && !script_unspendable(script);
    for (size_t at = 0; at < script.len;) {
        uint8_t op;
        struct span data;
        if (at > 0) {
            buf_u8(out, ' ');
        }
        if (!script_next_op(script, &at, &op, &data)) {
            buf_printf(out, "[error]");
            return;
        }
        if (op <= OP_PUSHDATA4) {
            asm_data(out, data, names);
        } else if (op >= OP_1 && op <= OP_16) {
            buf_printf(out, "%d", op - (OP_1 - 1));
        } else {
            buf_printf(out, "%s", op_names[op] ? op_names[op] : "OP_UNKNOWN");
        }
    }
}

void script_push(struct buf *out, const void *data, size_t len)
{
    if (len < OP_PUSHDATA1) {
        buf_u8(out, (uint8_t)len);
    } else if (len <= 255) {
        buf_u8(out, OP_PUSHDATA1);
        buf_u8(out, (uint8_t)len);
    } else if (len <= 65535) {
        buf_u8(out, OP_PUSHDATA2);
        buf_u16(out, (uint16_t)len);
    } else {
        buf_u8(out, OP_PUSHDATA4);
        buf_u32(out, (uint32_t)len);
    }
    buf_bytes(out, data, len);
}

void script_push_height(struct buf *out, uint32_t height)
{
    if (height <= 16) {
        buf_u8(out, height ? (uint8_t)(OP_1 - 1 + height) : OP_0);
        return;
    }
    uint8_t bytes[5];
    size_t len = 0;
    for (uint32_t v = height; v; v >>= 8) {
        bytes[len++] = (uint8_t)v;
    }
    if (bytes[len - 1] & 0x80) {
        bytes[len++] = 0;
    }
    script_push(out, bytes, len);
}
