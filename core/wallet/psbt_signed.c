/* What an input of a signed, or partly signed, transaction tells a PSBT: its scripts, and signatures that
 * hold. */
#include "core/wallet/wallet_private.h"

#define ITEMS_MAX 100u

struct items { /* what a script pushes, or a witness holds */
    struct span at[ITEMS_MAX];
    size_t count;
};

static void read_pushes(struct items *out, struct span script)
{
    static const size_t heads[] = {2, 3, 5}; /* of OP_PUSHDATA1, 2 and 4 */
    out->count = 0;
    for (size_t at = 0; at < script.len && out->count < ITEMS_MAX;) {
        uint8_t op = script.data[at];
        size_t len = script_op_len(script, at), head = op < 0x4c ? 1 : op <= 0x4e ? heads[op - 0x4c] : len;
        out->at[out->count++] = span_of(script.data + at + MIN(head, len), len - MIN(head, len));
        at += len;
    }
}

static void read_witness(struct items *out, const struct tx_input *in)
{
    out->count = MIN(in->witness_count, ITEMS_MAX);
    if (out->count) {
        memcpy(out->at, in->witness, out->count * sizeof *out->at);
    }
}

struct signing { /* what signatures of an input cover */
    const struct tx *tx;
    uint32_t index;
    struct span code;
    struct amount value;
    bool witness;
};

static bool holds(const struct signing *s, struct span key, struct span signature)
{
    secp256k1_ecdsa_signature parsed;
    secp256k1_pubkey parsed_key;
    struct hash256 hash;
    if (signature.len < 9 || signature.len > 73 ||
        !secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed_key, key.data, key.len) ||
        !secp256k1_ecdsa_signature_parse_der(secp256k1_context_static, &parsed, signature.data,
                                             signature.len - 1)) {
        return false;
    }
    uint8_t type = signature.data[signature.len - 1];
    if (s->witness) {
        sighash_v0(&hash, s->tx, s->index, s->code, s->value, type, NULL);
    } else {
        sighash_legacy(&hash, s->tx, s->index, s->code, type);
    }
    secp256k1_ecdsa_signature_normalize(secp256k1_context_static, &parsed, &parsed);
    return secp256k1_ecdsa_verify(secp256k1_context_static, &parsed, hash.b, &parsed_key);
}

static void keep_signature(struct psbt *psbt, const struct signing *s, struct span key,
                           const struct items *items)
{
    uint8_t row[66] = {PSBT_IN_PARTIAL_SIG};
    for (size_t i = 0; i < items->count; i++) {
        if (holds(s, key, items->at[i])) {
            memcpy(row + 1, key.data, key.len);
            (void)!psbt_put(psbt, &psbt->inputs[s->index], span_of(row, 1 + key.len),
                            items->at[i]); /* known: as good */
            return;
        }
    }
}

static void keep_signatures(struct psbt *psbt, const struct signing *s, struct span script,
                            const struct items *items)
{
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX], payload;
    uint8_t hash[20];
    enum output_kind kind = script_classify(script, &payload);
    if (kind == OUTPUT_P2PK) {
        keep_signature(psbt, s, payload, items);
    } else if (kind == OUTPUT_MULTISIG && script_multisig(script, &needed, keys, &count)) {
        for (unsigned i = 0; i < count; i++) {
            keep_signature(psbt, s, keys[i], items);
        }
    } else if (kind == OUTPUT_P2PKH || kind == OUTPUT_P2WPKH) {
        for (size_t i = 0; i < items->count; i++) {
            struct span key = items->at[i];
            if (key.len == 33 || key.len == 65) {
                hash160(hash, key.data, key.len);
                if (memcmp(hash, payload.data, 20) == 0) {
                    keep_signature(psbt, s, key, items);
                }
            }
        }
    }
}

void psbt_take_signatures(struct psbt *psbt, uint32_t index, const struct tx *from)
{
    const struct tx_input *in = &from->inputs[index];
    struct psbt_map *map = &psbt->inputs[index];
    struct items items, witness;
    struct coin coin;
    struct span payload;
    uint8_t code[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac};
    if (!psbt_coin(psbt, index, &coin)) {
        return;
    }
    struct span script = coin.script;
    read_pushes(&items, in->script);
    read_witness(&witness, in);
    if (script_classify(script, NULL) == OUTPUT_P2SH && items.count) {
        script = items.at[--items.count];
        (void)!psbt_put_type(psbt, map, PSBT_IN_REDEEM_SCRIPT, script);
    }
    enum output_kind kind = script_classify(script, &payload);
    struct signing s = {psbt->tx, index, script, coin.value, kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH};
    if (kind == OUTPUT_P2WSH && witness.count) {
        s.code = script = witness.at[--witness.count];
        (void)!psbt_put_type(psbt, map, PSBT_IN_WITNESS_SCRIPT, script);
    } else if (kind == OUTPUT_P2WPKH) {
        memcpy(code + 3, payload.data, 20);
        s.code = span_of(code, sizeof code);
    }
    keep_signatures(psbt, &s, script, s.witness ? &witness : &items);
}
