/* Addresses: base58check, bech32 (BIP173) and bech32m (BIP350), to output scripts and back. */
#include "core/wallet/wallet_private.h"

#include <ctype.h>

#include "hashing/kernels/kernels.h"

static const char base58_digits[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
static const char bech32_digits[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

#define BASE58_TEXT_MAX 512u

/* ---- base58check ------------------------------------------------------------------------------------- */

bool base58_decode(struct buf *out, const char *text, size_t max_bytes)
{
    size_t digits = strlen(text), zeros = strspn(text, "1");
    if (digits > BASE58_TEXT_MAX) {
        return false;
    }
    size_t size = digits * 733 / 1000 + 1; /* log(58) / log(256), rounded up */
    uint8_t *bytes = mem_alloc(size);
    bool ok = true;
    for (const char *p = text + zeros; ok && *p; p++) {
        const char *digit = strchr(base58_digits, *p);
        uint32_t carry = digit ? (uint32_t)(digit - base58_digits) : 0;
        ok = digit != NULL;
        for (size_t i = size; i-- > 0;) {
            carry += 58u * bytes[i];
            bytes[i] = (uint8_t)carry;
            carry >>= 8;
        }
    }
    size_t skip = 0;
    while (skip < size && !bytes[skip]) {
        skip++;
    }
    ok = ok && zeros + size - skip <= max_bytes;
    if (ok) {
        buf_extend(out, zeros);
        buf_bytes(out, bytes + skip, size - skip);
    }
    mem_wipe(bytes, size);
    mem_free(bytes);
    return ok;
}

bool base58check_decode(struct buf *out, const char *text, size_t max_bytes)
{
    struct buf raw = {0};
    uint8_t sum[32];
    buf_reserve(&raw, max_bytes + 4); /* so that no copy is left behind */
    bool ok = base58_decode(&raw, text, max_bytes + 4) && raw.len >= 4;
    if (ok) {
        sha256d(sum, raw.data, raw.len - 4);
        ok = memcmp(sum, raw.data + raw.len - 4, 4) == 0;
    }
    if (ok) {
        buf_bytes(out, raw.data, raw.len - 4);
    }
    mem_wipe(raw.data, raw.len);
    buf_free(&raw);
    return ok;
}

void base58_encode(struct buf *out_text, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t size = len * 138 / 100 + 1, zeros = 0; /* log(256) / log(58), rounded up */
    uint8_t *digits = mem_alloc(size);
    while (zeros < len && !bytes[zeros]) {
        zeros++;
    }
    for (size_t i = zeros; i < len; i++) {
        uint32_t carry = bytes[i];
        for (size_t k = size; k-- > 0;) {
            carry += 256u * digits[k];
            digits[k] = (uint8_t)(carry % 58);
            carry /= 58;
        }
    }
    size_t skip = 0;
    while (skip < size && !digits[skip]) {
        skip++;
    }
    for (size_t i = 0; i < zeros; i++) {
        buf_u8(out_text, '1');
    }
    for (size_t i = skip; i < size; i++) {
        buf_u8(out_text, (uint8_t)base58_digits[digits[i]]);
    }
    mem_wipe(digits, size);
    mem_free(digits);
}

void base58check_encode(struct buf *out_text, const void *data, size_t len)
{
    struct buf raw = {0};
    uint8_t sum[32];
    sha256d(sum, data, len);
    buf_bytes(&raw, data, len);
    buf_bytes(&raw, sum, 4);
    base58_encode(out_text, raw.data, raw.len);
    mem_wipe(raw.data, raw.len);
    buf_free(&raw);
}

/* ---- bech32 and bech32m ------------------------------------------------------------------------------ */

uint32_t bech32_step(uint32_t state, uint8_t value)
{
    static const uint32_t generator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    uint32_t high = state >> 25;
    state = (state & 0x1ffffff) << 5 ^ value;
    for (int i = 0; i < 5; i++) {
        state ^= high >> i & 1 ? generator[i] : 0;
    }
    return state;
}

uint32_t bech32_prefix(const char *hrp)
{
    uint32_t state = 1;
    for (const char *p = hrp; *p; p++) {
        state = bech32_step(state, (uint8_t)(*p >> 5));
    }
    state = bech32_step(state, 0);
    for (const char *p = hrp; *p; p++) {
        state = bech32_step(state, (uint8_t)(*p & 31));
    }
    return state;
}

int bech32_value(char c)
{
    const char *digit = strchr(bech32_digits, tolower((unsigned char)c));
    return c && digit ? (int)(digit - bech32_digits) : -1;
}

/* Regroups bits; when unpadding, what is left over must be fewer than `from` zero bits. */
static bool regroup(struct buf *out, const uint8_t *in, size_t len, unsigned from, unsigned to, bool pad)
{
    uint32_t value = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++) {
        value = (value << from | in[i]) & 0xfff;
        for (bits += from; bits >= to;) {
            bits -= to;
            buf_u8(out, (uint8_t)(value >> bits & ((1u << to) - 1)));
        }
    }
    if (pad) {
        if (bits) {
            buf_u8(out, (uint8_t)(value << (to - bits) & ((1u << to) - 1)));
        }
        return true;
    }
    return bits < from && !(value << (to - bits) & ((1u << to) - 1));
}

/* The 5-bit groups of a segwit address of this chain, version included, checksum verified and removed. */
static bool bech32_groups(struct buf *groups, const char *address, const char *hrp)
{
    size_t len = strlen(address), hrp_len = strlen(hrp);
    bool lower = false, upper = false;
    if (len > 90 || len < hrp_len + 8) {
        return false;
    }
    uint32_t state = bech32_prefix(hrp);
    for (size_t i = 0; i < len; i++) {
        lower |= islower((unsigned char)address[i]) != 0;
        upper |= isupper((unsigned char)address[i]) != 0;
        char c = (char)tolower((unsigned char)address[i]);
        if (i < hrp_len ? c != hrp[i] : i == hrp_len ? c != '1' : 0) {
            return false;
        }
        if (i > hrp_len) {
            int value = bech32_value(c);
            if (value < 0) {
                return false;
            }
            buf_u8(groups, (uint8_t)value);
            state = bech32_step(state, (uint8_t)value);
        }
    }
    CHECK(groups->data && groups->len >= 6);
    groups->len -= 6;
    return !(lower && upper) && groups->len > 0 &&
           state == (groups->data[0] == 0 ? BECH32_CONST : BECH32M_CONST);
}

static bool segwit_to_script(struct buf *script, const char *address, const struct chain_params *params)
{
    struct buf groups = {0}, program = {0};
    bool ok = bech32_groups(&groups, address, params->bech32_hrp) && groups.data[0] <= 16 &&
              regroup(&program, groups.data + 1, groups.len - 1, 5, 8, false) && program.len >= 2 &&
              program.len <= 40 && (groups.data[0] != 0 || program.len == 20 || program.len == 32);
    if (ok) {
        buf_u8(script, groups.data[0] ? (uint8_t)(0x50 + groups.data[0]) : 0);
        script_push(script, program.data, program.len);
    }
    buf_free(&groups);
    buf_free(&program);
    return ok;
}

static void segwit_text(char out[ADDRESS_TEXT], uint8_t version, struct span program, const char *hrp)
{
    struct buf groups = {0}, text = {0};
    buf_u8(&groups, version);
    regroup(&groups, program.data, program.len, 8, 5, true);
    uint32_t state = bech32_prefix(hrp);
    for (size_t i = 0; i < groups.len; i++) {
        state = bech32_step(state, groups.data[i]);
    }
    for (int i = 0; i < 6; i++) {
        state = bech32_step(state, 0);
    }
    state ^= version ? BECH32M_CONST : BECH32_CONST;
    for (int i = 0; i < 6; i++) {
        buf_u8(&groups, (uint8_t)(state >> (5 * (5 - i)) & 31));
    }
    buf_printf(&text, "%s1", hrp);
    for (size_t i = 0; i < groups.len; i++) {
        buf_u8(&text, (uint8_t)bech32_digits[groups.data[i]]);
    }
    CHECK(text.len < ADDRESS_TEXT);
    memcpy(out, text.data, text.len);
    out[text.len] = 0;
    buf_free(&groups);
    buf_free(&text);
}

/* ---- Addresses and scripts --------------------------------------------------------------------------- */

static bool base58_to_script(struct buf *script, const char *address, const struct chain_params *params)
{
    struct buf payload = {0};
    static const uint8_t p2pkh[3] = {0x76, 0xa9, 20}, p2pkh_end[2] = {0x88, 0xac}, p2sh[2] = {0xa9, 20},
                         p2sh_end[1] = {0x87};
    bool ok = base58check_decode(&payload, address, 21) && payload.len == 21;
    if (ok && payload.data[0] == params->p2pkh_prefix) {
        buf_bytes(script, p2pkh, sizeof p2pkh);
        buf_bytes(script, payload.data + 1, 20);
        buf_bytes(script, p2pkh_end, sizeof p2pkh_end);
    } else if (ok && payload.data[0] == params->p2sh_prefix) {
        buf_bytes(script, p2sh, sizeof p2sh);
        buf_bytes(script, payload.data + 1, 20);
        buf_bytes(script, p2sh_end, sizeof p2sh_end);
    } else {
        ok = false;
    }
    buf_free(&payload);
    return ok;
}

bool address_to_script(struct buf *script, const char *address, const struct chain_params *params,
                       struct error *error)
{
    if (segwit_to_script(script, address, params) || base58_to_script(script, address, params)) {
        return true;
    }
    return error_set(error, ERROR_PARSE, NULL, "Invalid or unsupported Segwit (Bech32) or Base58 encoding.");
}

bool address_from_script(char out[ADDRESS_TEXT], struct span script, const struct chain_params *params)
{
    struct span payload;
    enum output_kind kind = script_classify(script, &payload);
    if (kind == OUTPUT_P2PKH || kind == OUTPUT_P2SH) {
        uint8_t raw[21] = {kind == OUTPUT_P2PKH ? params->p2pkh_prefix : params->p2sh_prefix};
        struct buf text = {0};
        memcpy(raw + 1, payload.data, 20);
        base58check_encode(&text, raw, sizeof raw);
        CHECK(text.data && text.len < ADDRESS_TEXT);
        memcpy(out, text.data, text.len);
        out[text.len] = 0;
        buf_free(&text);
        return true;
    }
    if (kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR ||
        kind == OUTPUT_WITNESS_UNKNOWN || kind == OUTPUT_ANCHOR) {
        segwit_text(out, script.data[0] ? (uint8_t)(script.data[0] - 0x50) : 0, payload, params->bech32_hrp);
        return true;
    }
    return false;
}

void script_wrap_p2sh(struct buf *out, struct span redeem)
{
    uint8_t hash[20];
    hash160(hash, redeem.data, redeem.len);
    buf_u8(out, 0xa9); /* OP_HASH160 */
    script_push(out, hash, sizeof hash);
    buf_u8(out, 0x87); /* OP_EQUAL */
}

void script_wrap_witness(struct buf *out, struct span witness_script)
{
    uint8_t hash[32];
    sha256(hash, witness_script.data, witness_script.len);
    buf_u8(out, 0);
    script_push(out, hash, sizeof hash);
}
