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

static void signed_hash(struct hash256 *out, const struct signing *s, uint8_t type)
{
    if (s->witness) {
        sighash_v0(out, s->tx, s->index, s->code, s->value, type, NULL);
    } else {
        sighash_legacy(out, s->tx, s->index, s->code, type);
    }
}

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
    signed_hash(&hash, s, signature.data[signature.len - 1]);
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

/* What signatures of an input cover, as its rows tell: the script that asks for them, and its code. False:
 * its coin, or a script by whose hash that is paid, is not known. */
static bool signing_of(struct signing *out, struct span *script, struct psbt *psbt, uint32_t index)
{
    const struct psbt_map *map = &psbt->inputs[index];
    const struct span *redeem = psbt_get(map, PSBT_IN_REDEEM_SCRIPT),
                      *inner = psbt_get(map, PSBT_IN_WITNESS_SCRIPT);
    struct coin coin;
    struct span payload;
    if (!psbt_coin(psbt, index, &coin)) {
        return false;
    }
    bool nested = script_classify(coin.script, NULL) == OUTPUT_P2SH;
    *script = nested && redeem ? *redeem : coin.script;
    enum output_kind kind = script_classify(*script, &payload);
    *out =
        (struct signing){psbt->tx, index, *script, coin.value, kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH};
    if (kind == OUTPUT_P2WSH && inner) {
        out->code = *script = *inner;
    } else if (kind == OUTPUT_P2WPKH) { /* BIP143: P2PKH of the same hash */
        static const uint8_t form[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac};
        uint8_t *code = arena_alloc(&psbt->arena, sizeof form);
        memcpy(code, form, sizeof form);
        memcpy(code + 3, payload.data, 20);
        out->code = span_of(code, sizeof form);
    }
    return (!nested || redeem) && (kind != OUTPUT_P2WSH || inner);
}

void psbt_take_signatures(struct psbt *psbt, uint32_t index, const struct tx *from)
{
    const struct tx_input *in = &from->inputs[index];
    struct psbt_map *map = &psbt->inputs[index];
    struct items items, witness;
    struct signing signing;
    struct coin coin;
    struct span script;
    if (!psbt_coin(psbt, index, &coin)) {
        return;
    }
    read_pushes(&items, in->script);
    read_witness(&witness, in);
    script = coin.script;
    if (script_classify(script, NULL) == OUTPUT_P2SH && items.count) {
        script = items.at[--items.count];
        (void)!psbt_put_type(psbt, map, PSBT_IN_REDEEM_SCRIPT, script);
    }
    if (script_classify(script, NULL) == OUTPUT_P2WSH && witness.count) {
        (void)!psbt_put_type(psbt, map, PSBT_IN_WITNESS_SCRIPT, witness.at[--witness.count]);
    }
    if (signing_of(&signing, &script, psbt, index)) {
        keep_signatures(psbt, &signing, script, signing.witness ? &witness : &items);
    }
}

/* ---- Signing ----------------------------------------------------------------------------------------- */

static bool asks_for(struct span script, const struct key *key)
{
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX], payload, own = span_of(key->public_key, sizeof key->public_key);
    uint8_t hash[20];
    enum output_kind kind = script_classify(script, &payload);
    bool found = kind == OUTPUT_P2PK && span_equal(payload, own);
    if (kind == OUTPUT_P2PKH || kind == OUTPUT_P2WPKH) {
        hash160(hash, own.data, own.len);
        found = memcmp(hash, payload.data, sizeof hash) == 0;
    } else if (kind == OUTPUT_MULTISIG && script_multisig(script, &needed, keys, &count)) {
        for (unsigned i = 0; i < count; i++) {
            found |= span_equal(keys[i], own);
        }
    }
    return found;
}

/* P2WPKH in P2SH needs no redeem script from anybody: the key makes it. */
static void add_own_redeem(struct psbt *psbt, uint32_t index, const struct key *key)
{
    struct buf redeem = {0}, pays = {0};
    struct coin coin;
    key_script(&redeem, key);
    script_wrap_p2sh(&pays, buf_span(&redeem));
    if (psbt_coin(psbt, index, &coin) && span_equal(coin.script, buf_span(&pays))) {
        (void)!psbt_put_type(psbt, &psbt->inputs[index], PSBT_IN_REDEEM_SCRIPT, buf_span(&redeem));
    }
    buf_free(&redeem);
    buf_free(&pays);
}

void psbt_sign(struct psbt *psbt, uint32_t index, const struct key *key, uint8_t type)
{
    uint8_t row[34] = {PSBT_IN_PARTIAL_SIG};
    struct signing s;
    struct span script;
    struct hash256 hash;
    struct buf signature = {0};
    add_own_redeem(psbt, index, key);
    if (!signing_of(&s, &script, psbt, index) || !asks_for(script, key)) {
        return;
    }
    signed_hash(&hash, &s, type);
    key_sign(&signature, key, &hash, type);
    memcpy(row + 1, key->public_key, sizeof key->public_key);
    (void)!psbt_put(psbt, &psbt->inputs[index], span_of(row, sizeof row), buf_span(&signature));
    buf_free(&signature);
}

struct tx *psbt_sign_all(struct psbt *psbt, const struct tx *given, const struct coin *spent,
                         const struct key *keys, size_t key_count, uint8_t type)
{
    for (uint32_t i = 0; i < given->input_count; i++) {
        struct buf row = {0};
        if (!spent[i].script.len || script_verify_input(given, i, spent, NULL, SCRIPT_STANDARD_FLAGS, NULL)) {
            psbt_put_final(psbt, i, &given->inputs[i]);
            continue;
        }
        buf_i64(&row, spent[i].value.sat);
        buf_var_span(&row, spent[i].script);
        (void)!psbt_put_type(psbt, &psbt->inputs[i], PSBT_IN_WITNESS_UTXO, buf_span(&row));
        buf_free(&row);
        psbt_take_signatures(psbt, i, given);
        for (size_t k = 0; k < key_count; k++) {
            psbt_sign(psbt, i, &keys[k], type);
        }
    }
    psbt_finalize(psbt);
    for (uint32_t i = 0; i < given->input_count; i++) {
        if (!psbt_is_final(&psbt->inputs[i]) && !psbt_finalize_partly(psbt, i)) {
            psbt_put_final(psbt, i, &given->inputs[i]);
        }
    }
    return psbt_extract(psbt);
}
