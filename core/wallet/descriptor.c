/* Output descriptors (BIP380 to BIP385) of scripts and single public keys: addr, raw, pk, pkh, wpkh, sh(wpkh)
 * and combo. Not here: keys derived from extended ones, multisignatures, trees. */
#include "core/wallet/wallet.h"

#include <secp256k1.h>

#define CHECKSUM_CHARS 8u

/* BIP380: a code over 32 symbols; each character counts by its place in a group of 32, and every three group
 * numbers make one symbol more. */
static uint64_t polymod(uint64_t c, unsigned value)
{
    static const uint64_t generators[] = {0xf5dee51989, 0xa9fdca3312, 0x1bab10e32d, 0x3706b1677a,
                                          0x644d626ffd};
    unsigned top = (unsigned)(c >> 35);
    c = (c & 0x7ffffffff) << 5 ^ value;
    for (unsigned i = 0; i < 5; i++) {
        c ^= top >> i & 1 ? generators[i] : 0;
    }
    return c;
}

bool descriptor_checksum(char out[9], const char *text, size_t len)
{
    static const char places[] = "0123456789()[],'/*abcdefgh@:$%{}"
                                 "IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~"
                                 "ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ",
                      symbols[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    uint64_t c = 1;
    unsigned groups = 0, count = 0;
    for (size_t i = 0; i < len; i++) {
        const char *place = text[i] ? strchr(places, text[i]) : NULL;
        if (!place) {
            return false;
        }
        unsigned at = (unsigned)(place - places);
        c = polymod(c, at & 31);
        groups = groups * 3 + (at >> 5);
        if (++count == 3) {
            c = polymod(c, groups);
            groups = count = 0;
        }
    }
    c = count ? polymod(c, groups) : c;
    for (unsigned i = 0; i < CHECKSUM_CHARS; i++) {
        c = polymod(c, 0);
    }
    c ^= 1;
    for (unsigned i = 0; i < CHECKSUM_CHARS; i++) {
        out[i] = symbols[c >> (5 * (7 - i)) & 31];
    }
    out[CHECKSUM_CHARS] = 0;
    return true;
}

/* ---- Scripts ------------------------------------------------------------------------------------------- */

struct expansion {
    const struct chain_params *params;
    void (*each)(void *context, struct span script, const char *descriptor);
    void *context;
    struct error *error;
};

/* The script of a function, and how a descriptor of it alone reads: function, what stands in it, brackets. */
static void give(const struct expansion *e, const struct buf *script, const char *function, const char *inner)
{
    struct buf text = {0};
    char checksum[9] = "";
    buf_printf(&text, "%s(%s%s", function, inner, strchr(function, '(') ? "))" : ")");
    CHECK(descriptor_checksum(checksum, (const char *)text.data, text.len));
    buf_printf(&text, "#%s%c", checksum, 0);
    e->each(e->context, buf_span(script), (const char *)text.data);
    buf_free(&text);
}

static bool give_address(const struct expansion *e, const char *address)
{
    struct buf script = {0};
    bool ok = address_to_script(&script, address, e->params, NULL);
    if (ok) {
        give(e, &script, "addr", address);
    }
    buf_free(&script);
    return ok || error_set(e->error, ERROR_PARSE, NULL, "Address is not valid");
}

static bool give_raw(const struct expansion *e, const char *hex)
{
    struct buf script = {0};
    char address[ADDRESS_TEXT];
    bool ok = hex_decode_buf(&script, hex, SCRIPT_BYTES_MAX);
    if (ok && address_from_script(address, buf_span(&script), e->params)) {
        give(e, &script, "addr", address);
    } else if (ok) {
        give(e, &script, "raw", hex);
    }
    buf_free(&script);
    return ok || error_set(e->error, ERROR_PARSE, NULL, "Raw script is not hex");
}

enum key_use { USE_PK = 1, USE_PKH = 2, USE_WPKH = 4, USE_SH_WPKH = 8 };

static void give_key(const struct expansion *e, const char *hex, struct span key, unsigned uses)
{
    uint8_t hash[20], script_hash[20];
    struct buf pk = {0}, pkh = {0}, wpkh = {0}, sh = {0};
    hash160(hash, key.data, key.len);
    buf_u8(&pk, (uint8_t)key.len);
    buf_bytes(&pk, key.data, key.len);
    buf_u8(&pk, 0xac); /* OP_CHECKSIG */
    buf_bytes(&pkh, "\x76\xa9\x14", 3);
    buf_bytes(&pkh, hash, sizeof hash);
    buf_bytes(&pkh, "\x88\xac", 2);
    buf_bytes(&wpkh, "\x00\x14", 2);
    buf_bytes(&wpkh, hash, sizeof hash);
    hash160(script_hash, wpkh.data, wpkh.len);
    buf_bytes(&sh, "\xa9\x14", 2);
    buf_bytes(&sh, script_hash, sizeof script_hash);
    buf_u8(&sh, 0x87); /* OP_EQUAL */
    const struct {
        enum key_use use;
        const struct buf *script;
        const char *function;
    } forms[] = {{USE_PK, &pk, "pk"},
                 {USE_PKH, &pkh, "pkh"},
                 {USE_WPKH, &wpkh, "wpkh"},
                 {USE_SH_WPKH, &sh, "sh(wpkh"}};
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        if (uses & forms[i].use) {
            give(e, forms[i].script, forms[i].function, hex);
        }
    }
    buf_free(&pk);
    buf_free(&pkh);
    buf_free(&wpkh);
    buf_free(&sh);
}

static bool read_key(const struct expansion *e, const char *hex, unsigned uses, bool combo)
{
    uint8_t key[65];
    size_t len = strlen(hex) / 2;
    secp256k1_pubkey parsed;
    if (strlen(hex) % 2 || (len != 33 && len != 65) || !hex_decode(key, len, hex) ||
        !secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, key, len) || key[0] > 4) {
        return error_set(e->error, ERROR_PARSE, NULL, "key '%.70s' is not valid", hex);
    }
    if (len == 65 && combo) {
        uses &= (unsigned)(USE_PK | USE_PKH);
    } else if (len == 65 && uses & (unsigned)(USE_WPKH | USE_SH_WPKH)) {
        return error_set(e->error, ERROR_PARSE, NULL, "Uncompressed keys are not allowed");
    }
    give_key(e, hex, span_of(key, len), uses);
    return true;
}

/* Takes "function(" and ")…" off both ends of text; false: it is another function. */
static bool unwrap(char *text, const char *function, char **inner)
{
    size_t len = strlen(function), all = strlen(text), tail = strchr(function, '(') ? 2 : 1;
    if (strncmp(text, function, len) != 0 || text[len] != '(' || all < len + 1 + tail ||
        strspn(text + all - tail, ")") != tail) {
        return false;
    }
    text[all - tail] = 0;
    *inner = text + len + 1;
    return true;
}

static bool expand(const struct expansion *e, char *text)
{
    static const struct {
        const char *function;
        unsigned uses;
    } of_keys[] = {{"pk", USE_PK},
                   {"pkh", USE_PKH},
                   {"wpkh", USE_WPKH},
                   {"sh(wpkh", USE_SH_WPKH},
                   {"combo", USE_PK | USE_PKH | USE_WPKH | USE_SH_WPKH}};
    char *inner;
    if (unwrap(text, "addr", &inner)) {
        return give_address(e, inner);
    }
    if (unwrap(text, "raw", &inner)) {
        return give_raw(e, inner);
    }
    for (size_t i = 0; i < ARRAY_COUNT(of_keys); i++) {
        if (unwrap(text, of_keys[i].function, &inner)) {
            return read_key(e, inner, of_keys[i].uses, strcmp(of_keys[i].function, "combo") == 0);
        }
    }
    return error_set(e->error, ERROR_PARSE, NULL, "'%.100s' is not a valid descriptor function", text);
}

bool descriptor_expand(const char *text, const struct chain_params *params,
                       void (*each)(void *context, struct span script, const char *descriptor), void *context,
                       struct error *error)
{
    const struct expansion e = {params, each, context, error};
    size_t len = strcspn(text, "#");
    char checksum[9];
    if (text[len] && (!descriptor_checksum(checksum, text, len) || strcmp(text + len + 1, checksum) != 0)) {
        return error_set(error, ERROR_PARSE, NULL, "Provided checksum '%.20s' does not match the descriptor",
                         text + len + 1);
    }
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    bool ok = expand(&e, copy);
    mem_free(copy);
    return ok;
}
