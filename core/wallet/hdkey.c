/* Extended keys (BIP32): text, and keys derived from keys. */
#include "core/wallet/wallet_private.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define HD_BYTES 78u

static const uint32_t versions[2][2] = {{0x043587cf, 0x04358394},
                                        {0x0488b21e, 0x0488ade4}}; /* public, secret */

static const uint32_t *versions_of(const struct chain_params *params)
{
    return versions[params->kind == CHAIN_MAIN];
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void public_of_secret(uint8_t out[33], const uint8_t secret[32])
{
    struct key key;
    CHECK(key_from_secret(&key, secret));
    memcpy(out, key.public_key, 33);
    key_wipe(&key);
}

static bool read_key(struct hd_key *out, const uint8_t data[33])
{
    secp256k1_pubkey parsed;
    if (!out->has_secret) {
        memcpy(out->public_key, data, 33);
        return secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, data, 33);
    }
    memcpy(out->secret, data + 1, 32);
    if (data[0] != 0 || !secp256k1_ec_seckey_verify(secp256k1_context_static, out->secret)) {
        return false;
    }
    public_of_secret(out->public_key, out->secret);
    return true;
}

bool hd_parse(struct hd_key *out, const char *text, const struct chain_params *params)
{
    struct buf raw = {0};
    bool ok = base58check_decode(&raw, text, HD_BYTES) && raw.len == HD_BYTES;
    *out = (struct hd_key){0};
    if (ok) {
        const uint32_t *known = versions_of(params);
        uint32_t version = load_be32(raw.data);
        static const uint8_t zeros[8];
        out->has_secret = version == known[1];
        out->depth = raw.data[4];
        memcpy(out->parent, raw.data + 5, 4);
        out->number = load_be32(raw.data + 9);
        memcpy(out->chain_code, raw.data + 13, 32);
        ok = (version == known[0] || out->has_secret) && read_key(out, raw.data + 45) &&
             (out->depth || memcmp(raw.data + 5, zeros, 8) == 0);
    }
    if (raw.data) {
        mem_wipe(raw.data, raw.len);
    }
    buf_free(&raw);
    return ok;
}

void hd_write_public(struct buf *out_text, const struct hd_key *key, const struct chain_params *params)
{
    struct buf raw = {0};
    buf_u32_be(&raw, versions_of(params)[0]);
    buf_u8(&raw, key->depth);
    buf_bytes(&raw, key->parent, 4);
    buf_u32_be(&raw, key->number);
    buf_bytes(&raw, key->chain_code, 32);
    buf_bytes(&raw, key->public_key, 33);
    base58check_encode(out_text, raw.data, raw.len);
    buf_free(&raw);
}

void hd_fingerprint(uint8_t out[4], const struct hd_key *key)
{
    uint8_t hash[20];
    hash160(hash, key->public_key, 33);
    memcpy(out, hash, 4);
}

/* Adds the left half of the digest to secret and public key. */
static bool add_tweak(struct hd_key *child, const uint8_t tweak[32])
{
    secp256k1_pubkey key;
    size_t len = 33;
    if (child->has_secret) {
        bool ok = secp256k1_ec_seckey_tweak_add(secp256k1_context_static, child->secret, tweak);
        if (ok) {
            public_of_secret(child->public_key, child->secret);
        }
        return ok;
    }
    return secp256k1_ec_pubkey_parse(secp256k1_context_static, &key, child->public_key, 33) &&
           secp256k1_ec_pubkey_tweak_add(secp256k1_context_static, &key, tweak) &&
           secp256k1_ec_pubkey_serialize(secp256k1_context_static, child->public_key, &len, &key,
                                         SECP256K1_EC_COMPRESSED);
}

bool hd_derive(struct hd_key *out, const struct hd_key *parent, uint32_t number)
{
    uint8_t data[37] = {0}, digest[64];
    unsigned len = sizeof digest;
    if ((number & HD_HARDENED && !parent->has_secret) || parent->depth == UINT8_MAX) {
        return false;
    }
    if (number & HD_HARDENED) {
        memcpy(data + 1, parent->secret, 32);
    } else {
        memcpy(data, parent->public_key, 33);
    }
    for (unsigned i = 0; i < 4; i++) {
        data[33 + i] = (uint8_t)(number >> (24 - 8 * i));
    }
    CHECK(HMAC(EVP_sha512(), parent->chain_code, 32, data, sizeof data, digest, &len));
    struct hd_key child = *parent;
    hd_fingerprint(child.parent, parent);
    child.depth++;
    child.number = number;
    memcpy(child.chain_code, digest + 32, 32);
    bool ok = add_tweak(&child, digest);
    mem_wipe(data, sizeof data);
    mem_wipe(digest, sizeof digest);
    if (ok) {
        *out = child;
    }
    mem_wipe(&child, sizeof child);
    return ok;
}
