/* Messages that are signed by the key of an address: the form that wallets have shown since Bitcoin's first
 * years. Not here: BIP322. */
#include "core/wallet/wallet_private.h"

#include <secp256k1_recovery.h>

#include "hashing/kernels/kernels.h"

#define COMPACT_BYTES       65u
#define BASE64_CHARS        88u
#define SIGNATURE_BYTES_MAX 1000u

static void message_hash(struct hash256 *out, const char *text)
{
    static const char magic[] = "Bitcoin Signed Message:\n";
    struct buf bytes = {0};
    buf_var_span(&bytes, span_of(magic, sizeof magic - 1));
    buf_var_span(&bytes, span_of(text, strlen(text)));
    sha256d(out->b, bytes.data, bytes.len);
    buf_free(&bytes);
}

void message_sign(char out[MESSAGE_SIGNATURE_TEXT], const struct key *key, bool compressed, const char *text)
{
    _Static_assert(MESSAGE_SIGNATURE_TEXT == BASE64_CHARS + 1, "65 bytes as base64");
    secp256k1_ecdsa_recoverable_signature signature;
    struct hash256 hash;
    uint8_t compact[COMPACT_BYTES];
    int recovery;
    message_hash(&hash, text);
    CHECK(secp256k1_ecdsa_sign_recoverable(wallet_signing(), &signature, hash.b, key->secret, NULL, NULL));
    CHECK(secp256k1_ecdsa_recoverable_signature_serialize_compact(secp256k1_context_static, compact + 1,
                                                                  &recovery, &signature));
    compact[0] = (uint8_t)(27 + recovery + (compressed ? 4 : 0));
    struct buf text64 = {0};
    base64_encode(&text64, span_of(compact, sizeof compact));
    memcpy(out, text64.data, BASE64_CHARS);
    out[BASE64_CHARS] = 0;
    buf_free(&text64);
}

enum message_verdict message_verify(const uint8_t key_hash[20], const char *signature, const char *text)
{
    uint8_t compact[COMPACT_BYTES], public_key[65], hash[20];
    struct buf decoded = {0};
    size_t len = sizeof public_key;
    secp256k1_ecdsa_recoverable_signature parsed;
    secp256k1_pubkey key;
    struct hash256 digest;
    if (!base64_decode(&decoded, signature, SIGNATURE_BYTES_MAX)) {
        buf_free(&decoded);
        return MESSAGE_NOT_BASE64;
    }
    bool whole = decoded.len == COMPACT_BYTES;
    if (whole) {
        memcpy(compact, decoded.data, sizeof compact);
    }
    buf_free(&decoded);
    if (!whole) {
        return MESSAGE_NOT_SIGNED;
    }
    unsigned header = compact[0];
    if (header < 27 || header > 34) {
        return MESSAGE_NOT_SIGNED;
    }
    message_hash(&digest, text);
    if (!secp256k1_ecdsa_recoverable_signature_parse_compact(secp256k1_context_static, &parsed, compact + 1,
                                                             (int)(header - 27) & 3) ||
        !secp256k1_ecdsa_recover(secp256k1_context_static, &key, &parsed, digest.b)) {
        return MESSAGE_NOT_SIGNED;
    }
    CHECK(secp256k1_ec_pubkey_serialize(secp256k1_context_static, public_key, &len, &key,
                                        header >= 31 ? SECP256K1_EC_COMPRESSED : SECP256K1_EC_UNCOMPRESSED));
    hash160(hash, public_key, len);
    return memcmp(hash, key_hash, 20) == 0 ? MESSAGE_SIGNED : MESSAGE_NOT_SIGNED;
}
