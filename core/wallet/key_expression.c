/* The keys of descriptors (BIP380): an origin in brackets, then a public key in hex, a private one (WIF), or
 * an extended one with a path and perhaps a star. */
#include "core/wallet/wallet_private.h"

#include <secp256k1_extrakeys.h>
#include <stdio.h>
#include <stdlib.h>

#define STEPS_MAX    255u
#define KEY_TEXT_MAX 4096u

/* ---- Paths ------------------------------------------------------------------------------------------- */

/* One step: a number below 2^31, and ' or h where it is hardened. */
static bool parse_step(uint32_t *out, bool *apostrophe, const char *text, size_t len, struct error *error)
{
    char digits[16], *end;
    bool hardened = len && (text[len - 1] == '\'' || text[len - 1] == 'h');
    if (hardened) {
        *apostrophe = text[len - 1] == '\'';
    }
    snprintf(digits, sizeof digits, "%.*s", (int)MIN(len - hardened, sizeof digits - 1), text);
    unsigned long value = strtoul(digits, &end, 10);
    if (!len || *end || *digits < '0' || *digits > '9' || len - hardened > 10 || value > UINT32_MAX) {
        return error_set(error, ERROR_PARSE, NULL, "Key path value '%.*s' is not a valid uint32",
                         (int)MIN(len - hardened, 40u), text);
    }
    *out = (uint32_t)value | (hardened ? HD_HARDENED : 0);
    return value < HD_HARDENED ||
           error_set(error, ERROR_PARSE, NULL, "Key path value %lu is out of range", value);
}

/* "/1/2h/…", which may be empty; with a star at its end where `star` says so. */
static bool parse_path(struct key_path *out, struct arena *arena, const char *text, bool *star,
                       bool *star_hardened, struct error *error)
{
    uint32_t *steps = arena_alloc(arena, STEPS_MAX * sizeof *steps);
    *out = (struct key_path){.steps = steps};
    while (*text) {
        size_t len = strcspn(++text, "/");
        bool is_star = star && text[0] == '*' && !text[len] && len <= 2;
        if (is_star && (len == 1 || text[1] == '\'' || text[1] == 'h')) {
            *star = true;
            *star_hardened = len == 2;
            out->apostrophe = len == 2 ? text[1] == '\'' : out->apostrophe;
            return true;
        }
        if (out->count == STEPS_MAX) {
            return error_set(error, ERROR_PARSE, NULL, "Key path of more than %u steps", STEPS_MAX);
        }
        if (!parse_step(&steps[out->count++], &out->apostrophe, text, len, error)) {
            return false;
        }
        text += len;
    }
    return true;
}

static void write_path(struct buf *out, const struct key_path *path, bool apostrophe)
{
    for (size_t i = 0; i < path->count; i++) {
        buf_printf(out, "/%u", path->steps[i] & ~HD_HARDENED);
        if (path->steps[i] & HD_HARDENED) {
            buf_u8(out, apostrophe ? '\'' : 'h');
        }
    }
}

/* ---- Parsing ----------------------------------------------------------------------------------------- */

/* The part in brackets; *rest is what follows it. */
static bool parse_origin(struct key_expression *key, struct arena *arena, char *text, char **rest,
                         struct error *error)
{
    char *end = strchr(text, ']');
    *rest = text;
    if (!end) {
        return *text != '[' || error_set(error, ERROR_PARSE, NULL, "Key origin without its ']'");
    }
    if (*text != '[') {
        return error_set(error, ERROR_PARSE, NULL,
                         "Key origin start '[ character expected but not found, got '%c' instead", *text);
    }
    if (strchr(end + 1, ']')) {
        return error_set(error, ERROR_PARSE, NULL, "Multiple ']' characters found for a single pubkey");
    }
    *end = 0;
    *rest = end + 1;
    size_t len = strcspn(text + 1, "/");
    char fingerprint[9];
    snprintf(fingerprint, sizeof fingerprint, "%s", text + 1);
    if (len != 8) {
        return error_set(error, ERROR_PARSE, NULL,
                         "Fingerprint is not 4 bytes (%zu characters instead of 8 characters)", len);
    }
    if (!hex_decode(key->origin_fingerprint, 4, fingerprint)) {
        return error_set(error, ERROR_PARSE, NULL, "Fingerprint '%s' is not hex", fingerprint);
    }
    key->has_origin = true;
    return parse_path(&key->origin, arena, text + 9, NULL, NULL, error);
}

/* A public key in hex; *is_hex: it looked like one. */
static bool parse_hex(struct key_expression *key, const char *text, enum key_form form, bool *is_hex,
                      struct error *error)
{
    uint8_t bytes[65];
    size_t len = strlen(text) / 2;
    secp256k1_pubkey parsed;
    secp256k1_xonly_pubkey x_only;
    *is_hex = strlen(text) % 2 == 0 && (len == 32 || len == 33 || len == 65) && hex_decode(bytes, len, text);
    if (!*is_hex) {
        return false;
    }
    if (len == 65 && (bytes[0] == 6 || bytes[0] == 7)) {
        return error_set(error, ERROR_PARSE, NULL, "Hybrid public keys are not allowed");
    }
    if (len == 65 && form != KEY_ANY) {
        return error_set(error, ERROR_PARSE, NULL, "Uncompressed keys are not allowed");
    }
    bool valid = len == 32 ? form == KEY_X_ONLY &&
                                 secp256k1_xonly_pubkey_parse(secp256k1_context_static, &x_only, bytes)
                           : secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, bytes, len);
    if (!valid) {
        return error_set(error, ERROR_PARSE, NULL, "Pubkey '%s' is invalid", text);
    }
    bool drop_sign = form == KEY_X_ONLY && len == 33;
    key->now.len = drop_sign ? 32 : len;
    memcpy(key->now.bytes, bytes + drop_sign, key->now.len);
    return true;
}

static bool parse_wif(struct key_expression *key, const char *text, enum key_form form,
                      const struct chain_params *params, bool *is_wif, struct error *error)
{
    struct key secret;
    bool compressed;
    secp256k1_pubkey parsed;
    *is_wif = key_from_wif(&secret, &compressed, text, params);
    if (!*is_wif) {
        return false;
    }
    key->has_secret = true;
    key->now.len = sizeof key->now.bytes;
    CHECK(secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, secret.public_key, 33));
    CHECK(secp256k1_ec_pubkey_serialize(secp256k1_context_static, key->now.bytes, &key->now.len, &parsed,
                                        compressed ? SECP256K1_EC_COMPRESSED : SECP256K1_EC_UNCOMPRESSED));
    key_wipe(&secret);
    if (form == KEY_X_ONLY && compressed) {
        memmove(key->now.bytes, key->now.bytes + 1, key->now.len = 32);
    }
    return compressed || form == KEY_ANY ||
           error_set(error, ERROR_PARSE, NULL, "Uncompressed keys are not allowed");
}

static bool parse_extended(struct key_expression *key, struct arena *arena, char *text,
                           const struct chain_params *params, struct error *error)
{
    size_t len = strcspn(text, "/");
    char kept = text[len];
    text[len] = 0;
    bool ok = hd_parse(&key->root, text, params) ||
              error_set(error, ERROR_PARSE, NULL, "key '%.120s' is not valid", text);
    text[len] = kept;
    ok = ok && parse_path(&key->path, arena, text + len, &key->ranged, &key->ranged_hardened, error);
    if (!ok) {
        return false;
    }
    key->is_extended = true;
    key->has_secret = key->root.has_secret;
    key->base = key->root;
    key->base_known = true;
    for (size_t i = 0; i < key->path.count && key->base_known; i++) {
        key->base_known = hd_derive(&key->base, &key->base, key->path.steps[i]);
    }
    return true;
}

bool key_expression_parse(struct key_expression *out, struct arena *arena, struct span text,
                          enum key_form form, const struct chain_params *params, struct error *error)
{
    bool known;
    char *copy = arena_alloc(arena, text.len + 1), *key_text;
    *out = (struct key_expression){0};
    if (text.len > KEY_TEXT_MAX) {
        return error_set(error, ERROR_PARSE, NULL, "key of more than %u characters", KEY_TEXT_MAX);
    }
    memcpy(copy, text.data, text.len);
    if (!parse_origin(out, arena, copy, &key_text, error)) {
        return false;
    }
    if (!*key_text) {
        return error_set(error, ERROR_PARSE, NULL, "No key provided");
    }
    bool ok = parse_hex(out, key_text, form, &known, error);
    if (!known) {
        ok = parse_wif(out, key_text, form, params, &known, error);
    }
    if (!known) {
        ok = parse_extended(out, arena, key_text, params, error);
        out->now.len = form == KEY_X_ONLY ? 32 : 33;
    }
    mem_wipe(copy, text.len);
    return ok;
}

/* ---- Keys -------------------------------------------------------------------------------------------- */

static void set_fingerprint(struct key_expression *key)
{
    uint8_t hash[20], short_key[33] = {2};
    if (key->has_origin) {
        memcpy(key->now.fingerprint, key->origin_fingerprint, 4);
    } else if (key->is_extended) {
        hd_fingerprint(key->now.fingerprint, &key->root);
    } else if (key->now.len == 32) {
        memcpy(short_key + 1, key->now.bytes, 32);
        hash160(hash, short_key, sizeof short_key);
        memcpy(key->now.fingerprint, hash, 4);
    } else {
        hash160(hash, key->now.bytes, key->now.len);
        memcpy(key->now.fingerprint, hash, 4);
    }
}

static void set_path(struct key_expression *key, struct arena *arena)
{
    size_t count = key->origin.count + key->path.count;
    uint32_t *steps = arena_alloc(arena, (count + 1) * sizeof *steps);
    for (size_t i = 0; i < count; i++) {
        steps[i] = i < key->origin.count ? key->origin.steps[i] : key->path.steps[i - key->origin.count];
    }
    key->now.path = (struct key_path){.steps = steps, .count = count};
}

bool key_expression_derive(struct key_expression *key, struct arena *arena, uint32_t index)
{
    struct hd_key child;
    if (!key->now.path.steps) {
        set_fingerprint(key);
        set_path(key, arena);
    }
    if (!key->is_extended) {
        return true;
    }
    if (!key->base_known) {
        return false;
    }
    child = key->base;
    key->now.has_last = key->ranged;
    key->now.last = index | (key->ranged_hardened ? HD_HARDENED : 0);
    if (key->ranged && !hd_derive(&child, &key->base, key->now.last)) {
        return false;
    }
    memcpy(key->now.bytes, child.public_key + (key->now.len == 32), key->now.len);
    mem_wipe(&child, sizeof child);
    return true;
}

/* ---- Text -------------------------------------------------------------------------------------------- */

static void write_hex(struct buf *out, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf_printf(out, "%02x", bytes[i]);
    }
}

void key_expression_write(struct buf *out, const struct key_expression *key,
                          const struct chain_params *params)
{
    if (key->has_origin) {
        buf_u8(out, '[');
        write_hex(out, key->origin_fingerprint, 4);
        write_path(out, &key->origin, key->origin.apostrophe);
        buf_u8(out, ']');
    }
    if (!key->is_extended) {
        write_hex(out, key->now.bytes, key->now.len);
        return;
    }
    hd_write_public(out, &key->root, params);
    write_path(out, &key->path, key->path.apostrophe);
    if (key->ranged) {
        buf_printf(out, "/*%s", !key->ranged_hardened ? "" : key->path.apostrophe ? "'" : "h");
    }
}

void key_expression_write_now(struct buf *out, const struct key_expression *key)
{
    buf_u8(out, '[');
    write_hex(out, key->now.fingerprint, 4);
    write_path(out, &key->now.path, false);
    if (key->now.has_last) {
        write_path(out, &(struct key_path){.steps = &key->now.last, .count = 1}, false);
    }
    buf_u8(out, ']');
    write_hex(out, key->now.bytes, key->now.len);
}
