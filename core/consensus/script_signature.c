/* Signatures in scripts: the rules about their encoding (BIP62, BIP66, BIP146), ECDSA, and
 * BIP340 with BIP341's commitments; all of it by libsecp256k1. */
#include "core/consensus/script.h"

#include <openssl/evp.h>
#include <secp256k1.h>
#include <secp256k1_extrakeys.h>
#include <secp256k1_schnorrsig.h>

#include "hashing/kernels/kernels.h"

void hash160(uint8_t out[20], const void *data, size_t len)
{
    uint8_t first[32];
    sha256(first, data, len);
    CHECK(EVP_Digest(first, sizeof first, out, NULL, EVP_ripemd160(), NULL) == 1);
}

/* BIP66, strictly: 30 len 02 rlen R 02 slen S hashtype. */
static bool is_strict_der(struct span s)
{
    const uint8_t *p = s.data;
    if (s.len < 9 || s.len > 73 || p[0] != 0x30 || p[1] != s.len - 3) {
        return false;
    }
    size_t r_len = p[3];
    if (5 + r_len >= s.len) {
        return false;
    }
    size_t s_len = p[5 + r_len];
    if (r_len + s_len + 7 != s.len || p[2] != 0x02 || r_len == 0 || p[4] & 0x80 || p[r_len + 4] != 0x02 ||
        s_len == 0 || p[r_len + 6] & 0x80) {
        return false;
    }
    bool r_padded = r_len > 1 && p[4] == 0 && !(p[5] & 0x80);
    bool s_padded = s_len > 1 && p[r_len + 6] == 0 && !(p[r_len + 7] & 0x80);
    return !r_padded && !s_padded;
}

/* A DER length as early software wrote it: long forms and leading zeros allowed. */
static bool lax_len(const uint8_t **at, const uint8_t *end, size_t *out)
{
    if (*at == end) {
        return false;
    }
    uint8_t first = *(*at)++;
    if (!(first & 0x80)) {
        *out = first;
        return true;
    }
    size_t bytes = first & 0x7f;
    if (bytes > (size_t)(end - *at)) {
        return false;
    }
    for (; bytes && **at == 0; bytes--) {
        ++*at;
    }
    if (bytes > 4) {
        return false;
    }
    for (*out = 0; bytes; bytes--) {
        *out = *out << 8 | *(*at)++;
    }
    return true;
}

/* One integer into 32 bytes; *overflow when it is larger than that. */
static bool lax_integer(const uint8_t **at, const uint8_t *end, uint8_t out[32], bool *overflow)
{
    size_t len;
    if (*at == end || *(*at)++ != 0x02 || !lax_len(at, end, &len) || len > (size_t)(end - *at)) {
        return false;
    }
    const uint8_t *p = *at;
    *at += len;
    for (; len && *p == 0; len--) {
        p++;
    }
    if (len > 32) {
        *overflow = true;
    } else {
        memcpy(out + 32 - len, p, len);
    }
    return true;
}

/* Blocks from before BIP66 hold signatures that only a forgiving parser reads. */
static bool parse_lax(secp256k1_ecdsa_signature *out, struct span s)
{
    const secp256k1_context *context = secp256k1_context_static;
    uint8_t compact[64] = {0};
    bool overflow = false;
    const uint8_t *at = s.data, *end = s.data + s.len;
    size_t len;
    if (at == end || *at++ != 0x30 || at == end) {
        return false;
    }
    uint8_t form = *at; /* the length of the whole is read over, whatever it says */
    if (form & 0x80) {
        len = form & 0x7f;
        at++;
        if (len > (size_t)(end - at)) {
            return false;
        }
        at += len;
    } else {
        at++;
    }
    if (!lax_integer(&at, end, compact, &overflow) || !lax_integer(&at, end, compact + 32, &overflow)) {
        return false;
    }
    if (overflow || !secp256k1_ecdsa_signature_parse_compact(context, out, compact)) {
        memset(compact, 0, sizeof compact); /* parsed, but can never verify */
        return secp256k1_ecdsa_signature_parse_compact(context, out, compact);
    }
    return true;
}

enum script_error signature_check_encoding(struct span signature, uint32_t flags)
{
    if (signature.len == 0) {
        return SCRIPT_ERROR_OK; /* the compact way to fail a check on purpose */
    }
    if (flags & (SCRIPT_DERSIG | SCRIPT_LOW_S | SCRIPT_STRICTENC) && !is_strict_der(signature)) {
        return SCRIPT_ERROR_SIG_DER;
    }
    if (flags & SCRIPT_LOW_S) {
        secp256k1_ecdsa_signature parsed;
        if (!parse_lax(&parsed, span_of(signature.data, signature.len - 1))) {
            return SCRIPT_ERROR_SIG_HIGH_S;
        }
        if (secp256k1_ecdsa_signature_normalize(secp256k1_context_static, NULL, &parsed)) {
            return SCRIPT_ERROR_SIG_HIGH_S;
        }
    }
    uint8_t type = signature.data[signature.len - 1] & 0x7f;
    if (flags & SCRIPT_STRICTENC && (type < 1 || type > 3)) {
        return SCRIPT_ERROR_SIG_HASHTYPE;
    }
    return SCRIPT_ERROR_OK;
}

enum script_error public_key_check_encoding(struct span key, uint32_t flags, enum script_version version)
{
    bool compressed = key.len == 33 && (key.data[0] == 2 || key.data[0] == 3);
    bool uncompressed = key.len == 65 && key.data[0] == 4;
    if (flags & SCRIPT_STRICTENC && !compressed && !uncompressed) {
        return SCRIPT_ERROR_PUBKEYTYPE;
    }
    if (flags & SCRIPT_WITNESS_PUBKEYTYPE && version == SCRIPT_WITNESS_V0 && !compressed) {
        return SCRIPT_ERROR_WITNESS_PUBKEYTYPE;
    }
    return SCRIPT_ERROR_OK;
}

/* The hash, from the run's memory when the last signature signed the same. */
static const struct hash256 *ecdsa_hash(struct script_run *run, struct span code, uint32_t type,
                                        enum script_version version)
{
    if (run->last.code.data == code.data && run->last.code.len == code.len && run->last.type == type &&
        run->last.version == version && code.data) {
        return &run->last.hash;
    }
    if (version == SCRIPT_WITNESS_V0) {
        sighash_v0(&run->last.hash, run->tx, run->index, code, run->spent[run->index].value, type,
                   run->cache);
    } else {
        sighash_legacy(&run->last.hash, run->tx, run->index, code, type);
    }
    run->last.code = code;
    run->last.type = type;
    run->last.version = version;
    return &run->last.hash;
}

/* Whether the cache knows this signature; *digest is filled when there is a cache. */
static bool is_known(const struct script_run *run, struct hash256 *digest, uint8_t kind,
                     const struct hash256 *hash, struct span key, struct span signature)
{
    const struct signature_cache *signatures = run->cache ? run->cache->signatures : NULL;
    if (!signatures) {
        return false;
    }
    signature_digest(digest, signatures, kind, hash, key, signature);
    return signature_cache_has(signatures, digest);
}

static void remember(const struct script_run *run, const struct hash256 *digest)
{
    if (run->cache && run->cache->signatures && run->cache->remember) {
        signature_cache_add(run->cache->signatures, digest);
    }
}

bool signature_verify(struct script_run *run, struct span signature, struct span key, struct span script_code,
                      enum script_version version)
{
    const secp256k1_context *context = secp256k1_context_static;
    secp256k1_pubkey public_key;
    secp256k1_ecdsa_signature parsed;
    if (signature.len == 0 || key.len == 0 ||
        !secp256k1_ec_pubkey_parse(context, &public_key, key.data, key.len)) {
        return false;
    }
    uint32_t type = signature.data[signature.len - 1];
    if (!parse_lax(&parsed, span_of(signature.data, signature.len - 1))) {
        return false;
    }
    const struct hash256 *hash = ecdsa_hash(run, script_code, type, version);
    struct hash256 digest;
    if (is_known(run, &digest, 'E', hash, key, signature)) {
        return true;
    }
    secp256k1_ecdsa_signature_normalize(context, &parsed, &parsed); /* high S was always valid in blocks */
    bool ok = secp256k1_ecdsa_verify(context, &parsed, hash->b, &public_key);
    if (ok) {
        remember(run, &digest);
    }
    return ok;
}

enum script_error schnorr_verify(const struct script_run *run, struct span signature, struct span key,
                                 enum script_version version)
{
    const secp256k1_context *context = secp256k1_context_static;
    uint8_t type = 0;
    if (signature.len != 64 && signature.len != 65) {
        return SCRIPT_ERROR_SCHNORR_SIG_SIZE;
    }
    if (signature.len == 65 && (type = signature.data[64]) == 0) {
        return SCRIPT_ERROR_SCHNORR_SIG_HASHTYPE; /* the default type has no byte */
    }
    struct hash256 hash;
    if (!sighash_taproot(&hash, run->tx, run->index, run->spent, type, &run->tap, version == SCRIPT_TAPSCRIPT,
                         run->cache)) {
        return SCRIPT_ERROR_SCHNORR_SIG_HASHTYPE;
    }
    struct hash256 digest;
    if (is_known(run, &digest, 'S', &hash, key, signature)) {
        return SCRIPT_ERROR_OK;
    }
    secp256k1_xonly_pubkey public_key;
    if (!secp256k1_xonly_pubkey_parse(context, &public_key, key.data) ||
        !secp256k1_schnorrsig_verify(context, signature.data, hash.b, 32, &public_key)) {
        return SCRIPT_ERROR_SCHNORR_SIG;
    }
    remember(run, &digest);
    return SCRIPT_ERROR_OK;
}

bool taproot_commits(struct span control, struct span output_key, const struct hash256 *leaf)
{
    const secp256k1_context *context = secp256k1_context_static;
    struct hash256 root = *leaf, tweak, node;
    for (size_t at = 33; at < control.len; at += 32) {
        memcpy(node.b, control.data + at, 32);
        taproot_branch_hash(&root, &root, &node);
    }
    secp256k1_xonly_pubkey internal;
    taproot_tweak_hash(&tweak, control.data + 1, &root);
    return secp256k1_xonly_pubkey_parse(context, &internal, control.data + 1) &&
           secp256k1_xonly_pubkey_tweak_add_check(context, output_key.data, control.data[0] & 1, &internal,
                                                  tweak.b);
}
