/* Single keys: made from entropy that is handed in, as WIF and as lines of the wallet file; and signing with
 * them. */
#include "core/wallet/wallet_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGHASH_ALL     1u
#define FILE_FIRST_LINE "quarry wallet 1"
#define FILE_BYTES_MAX  (16u << 20)

static secp256k1_context *signing;

void wallet_init(const uint8_t seed32[32])
{
    if (!signing) {
        signing = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
    }
    CHECK(signing && secp256k1_context_randomize(signing, seed32));
}

const secp256k1_context *wallet_signing(void)
{
    CHECK(signing);
    return signing;
}

bool key_from_secret(struct key *out, const uint8_t secret[32])
{
    secp256k1_pubkey public_key;
    size_t len = sizeof out->public_key;
    CHECK(signing); /* wallet_init comes first */
    if (!secp256k1_ec_pubkey_create(signing, &public_key, secret)) {
        return false;
    }
    memcpy(out->secret, secret, 32);
    return secp256k1_ec_pubkey_serialize(signing, out->public_key, &len, &public_key,
                                         SECP256K1_EC_COMPRESSED);
}

bool key_from_hex(uint8_t out[65], const char *hex)
{
    secp256k1_pubkey parsed;
    size_t len = strlen(hex) / 2;
    return strlen(hex) % 2 == 0 && (len == 33 || len == 65) && hex_decode(out, len, hex) && out[0] <= 4 &&
           secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, out, len);
}

void key_wipe(struct key *key)
{
    mem_wipe(key, sizeof *key);
}

bool key_from_wif(struct key *out, bool *compressed, const char *wif, const struct chain_params *params)
{
    struct buf raw = {0};
    bool ok = base58check_decode(&raw, wif, 34) && (raw.len == 33 || (raw.len == 34 && raw.data[33] == 1)) &&
              raw.data[0] == params->wif_prefix;
    ok = ok && key_from_secret(out, raw.data + 1);
    *compressed = ok && raw.len == 34;
    mem_wipe(raw.data, raw.len);
    buf_free(&raw);
    return ok;
}

void key_to_wif(char out[64], const struct key *key, const struct chain_params *params)
{
    uint8_t raw[34] = {params->wif_prefix};
    struct buf text = {0};
    memcpy(raw + 1, key->secret, 32);
    raw[33] = 1;
    base58check_encode(&text, raw, sizeof raw);
    memcpy(out, text.data, text.len);
    out[text.len] = 0;
    mem_wipe(raw, sizeof raw);
    mem_wipe(text.data, text.len);
    buf_free(&text);
}

void key_script(struct buf *script, const struct key *key)
{
    uint8_t hash[20];
    hash160(hash, key->public_key, sizeof key->public_key);
    buf_u8(script, 0);
    script_push(script, hash, sizeof hash);
}

void key_address(char out[ADDRESS_TEXT], const struct key *key, const struct chain_params *params)
{
    struct buf script = {0};
    key_script(&script, key);
    CHECK(address_from_script(out, buf_span(&script), params));
    buf_free(&script);
}

/* ---- The file ---------------------------------------------------------------------------------------- */

void key_file_append(struct buf *text, const struct key_file_entry *entry, const struct chain_params *params)
{
    char wif[64];
    if (!text->len) {
        buf_printf(text, FILE_FIRST_LINE "\n");
    }
    key_to_wif(wif, &entry->key, params);
    buf_printf(text, "%s %" PRId64 " %s\n", wif, entry->created_unix_s, entry->label);
    mem_wipe(wif, sizeof wif);
}

static bool parse_line(struct key_file_entry *out, char *line, const struct chain_params *params)
{
    bool compressed;
    char *time = strchr(line, ' '), *label = NULL;
    if (time) {
        *time++ = 0;
        out->created_unix_s = strtoll(time, &label, 10);
    }
    snprintf(out->label, sizeof out->label, "%s", label && *label == ' ' ? label + 1 : "");
    return key_from_wif(&out->key, &compressed, line, params) && compressed;
}

size_t key_file_parse(struct key_file_entry *out, size_t max, struct span text,
                      const struct chain_params *params, struct error *error)
{
    size_t count = 0;
    unsigned number = 0;
    if (text.len > FILE_BYTES_MAX) {
        error_set(error, ERROR_LIMIT, NULL, "a wallet file of %zu bytes is too large", text.len);
        return 0;
    }
    char *copy = mem_alloc(text.len + 1);
    memcpy(copy, text.data, text.len);
    bool ok = true;
    for (char *line = copy, *next; ok && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = 0;
        }
        if (++number == 1) {
            ok = strcmp(line, FILE_FIRST_LINE) == 0 ||
                 error_set(error, ERROR_PARSE, NULL,
                           "not a wallet file, or of a newer version: line 1 is not '" FILE_FIRST_LINE "'");
        } else if (*line) {
            ok = count < max ||
                 error_set(error, ERROR_LIMIT, NULL, "more than %zu keys in the wallet file", max);
            if (ok && !parse_line(&out[count++], line, params)) {
                ok = error_set(error, ERROR_PARSE, NULL,
                               "line %u of the wallet file holds no key of this chain", number);
            }
        }
    }
    mem_wipe(copy, text.len);
    mem_free(copy);
    return ok ? count : 0;
}

/* ---- Signing ----------------------------------------------------------------------------------------- */

void key_sign(struct buf *out, const struct key *key, const struct hash256 *hash, uint8_t type)
{
    secp256k1_ecdsa_signature signature;
    uint8_t der[80];
    size_t len = sizeof der;
    CHECK(secp256k1_ecdsa_sign(signing, &signature, hash->b, key->secret, NULL, NULL)); /* RFC 6979, low S */
    CHECK(secp256k1_ecdsa_signature_serialize_der(signing, der, &len, &signature));
    buf_bytes(out, der, len);
    buf_u8(out, type);
}

struct signed_input { /* what an input gets */
    struct buf script;
    struct buf signature;
    struct span witness[2];
};

static bool sign_input(struct signed_input *out, struct tx *tx, uint32_t index, const struct key *key,
                       const struct coin *coin)
{
    uint8_t key_hash[20];
    struct span payload;
    struct hash256 hash;
    enum output_kind kind = script_classify(coin->script, &payload);
    hash160(key_hash, key->public_key, sizeof key->public_key);
    bool by_hash = (kind == OUTPUT_P2WPKH || kind == OUTPUT_P2PKH) && memcmp(payload.data, key_hash, 20) == 0;
    bool by_key =
        kind == OUTPUT_P2PK && span_equal(payload, span_of(key->public_key, sizeof key->public_key));
    if (!by_hash && !by_key) {
        return false;
    }
    if (kind == OUTPUT_P2WPKH) { /* BIP143: the script code is P2PKH of the same hash */
        uint8_t code[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac};
        memcpy(code + 3, key_hash, 20);
        sighash_v0(&hash, tx, index, span_of(code, sizeof code), coin->value, SIGHASH_ALL, NULL);
        key_sign(&out->signature, key, &hash, SIGHASH_ALL);
        out->witness[0] = buf_span(&out->signature);
        out->witness[1] = span_of(key->public_key, sizeof key->public_key);
        tx->inputs[index].witness = out->witness;
        tx->inputs[index].witness_count = 2;
        return true;
    }
    sighash_legacy(&hash, tx, index, coin->script, SIGHASH_ALL);
    key_sign(&out->signature, key, &hash, SIGHASH_ALL);
    script_push(&out->script, out->signature.data, out->signature.len);
    if (kind == OUTPUT_P2PKH) {
        script_push(&out->script, key->public_key, sizeof key->public_key);
    }
    return true;
}

struct tx *wallet_sign(const struct key *key, const struct outpoint *inputs, const struct coin *spent,
                       size_t input_count, const struct tx_output *outputs, size_t output_count,
                       uint32_t locktime, struct error *error)
{
    struct tx tx = {.version = 2,
                    .locktime = locktime,
                    .input_count = (uint32_t)input_count,
                    .output_count = (uint32_t)output_count};
    tx.inputs = mem_alloc(input_count * sizeof *tx.inputs);
    tx.outputs = mem_dup(outputs, output_count * sizeof *outputs);
    struct signed_input *parts = mem_alloc(input_count * sizeof *parts);
    bool ok = true;
    for (size_t i = 0; i < input_count; i++) {
        tx.inputs[i] = (struct tx_input){.prevout = inputs[i],
                                         .sequence = locktime ? SEQUENCE_FINAL - 1 : SEQUENCE_FINAL};
    }
    for (uint32_t i = 0; ok && i < input_count; i++) {
        ok = sign_input(&parts[i], &tx, i, key, &spent[i]) ||
             error_set(error, ERROR_USAGE, NULL, "input %u is not owned by this key", i);
    }
    for (size_t i = 0; i < input_count; i++) { /* legacy scripts go in last: signatures do not cover them */
        tx.inputs[i].script = buf_span(&parts[i].script);
    }
    struct buf raw = {0};
    tx_write(&raw, &tx, true);
    struct tx *result = ok ? tx_parse(buf_span(&raw), error) : NULL;
    buf_free(&raw);
    for (size_t i = 0; i < input_count; i++) {
        buf_free(&parts[i].script);
        buf_free(&parts[i].signature);
    }
    mem_free(parts);
    mem_free(tx.inputs);
    mem_free(tx.outputs);
    return result;
}
