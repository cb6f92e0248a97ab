/* What is wrong with the text of an address, in Core's words, and where: up to two wrong characters of a
 * bech32 text are found by its checksum. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/wallet/wallet_private.h"

#define BECH32_TEXT_MAX 90u
#define CHECKSUM_CHARS  6u
#define PROGRAM_MAX     40u

static void say(struct address_fault *out, const char *text)
{
    snprintf(out->text, sizeof out->text, "%s", text);
}

static void mark(struct address_fault *out, size_t at)
{
    if (out->count < ARRAY_COUNT(out->at)) {
        out->at[out->count++] = (uint16_t)at;
    }
}

/* ---- Base58 ------------------------------------------------------------------------------------------ */

static void explain_base58(struct address_fault *out, const char *text, const struct chain_params *params)
{
    struct buf bytes = {0};
    if (base58check_decode(&bytes, text, 21)) {
        bool known =
            bytes.len && (bytes.data[0] == params->p2pkh_prefix || bytes.data[0] == params->p2sh_prefix);
        say(out, known ? "Invalid length for Base58 address (P2PKH or P2SH)"
                       : "Invalid or unsupported Base58-encoded address.");
    } else if (base58_decode(&bytes, text, 100)) {
        say(out, "Invalid checksum or length of Base58 address (P2PKH or P2SH)");
    } else {
        say(out, "Invalid or unsupported Segwit (Bech32) or Base58 encoding.");
    }
    buf_free(&bytes);
}

/* ---- Bech32 ------------------------------------------------------------------------------------------ */

struct bech32 {
    size_t len, separator;
    uint8_t values[BECH32_TEXT_MAX]; /* behind the separator */
    size_t count;
    uint32_t residue; /* what the checksum leaves over: one of the two constants, where it is right */
};

static bool characters_fit(struct address_fault *out, const char *text)
{
    bool lower = false, upper = false;
    for (size_t i = 0; text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_lower = islower(c), is_upper = isupper(c);
        if ((is_lower && upper) || (is_upper && lower) || c < 33 || c > 126) {
            mark(out, i);
        }
        lower |= is_lower && !upper;
        upper |= is_upper && !lower;
    }
    if (out->count) {
        say(out, "Invalid character or mixed case");
    }
    return !out->count;
}

static bool read_values(struct address_fault *out, struct bech32 *b, const char *text)
{
    char prefix[BECH32_TEXT_MAX + 1];
    for (size_t i = 0; i < b->separator; i++) {
        prefix[i] = (char)tolower((unsigned char)text[i]);
    }
    prefix[b->separator] = 0;
    b->residue = bech32_prefix(prefix);
    for (size_t i = b->separator + 1; i < b->len; i++) {
        int value = bech32_value(text[i]);
        if (value < 0) {
            mark(out, i);
            say(out, "Invalid Base 32 character");
            return false;
        }
        b->values[b->count++] = (uint8_t)value;
        b->residue = bech32_step(b->residue, (uint8_t)value);
    }
    return true;
}

/* False: it is no bech32 text, whatever its checksum. */
static bool read_bech32(struct address_fault *out, struct bech32 *b, const char *text)
{
    const char *separator = strrchr(text, '1');
    *b = (struct bech32){.len = strlen(text)};
    if (b->len > BECH32_TEXT_MAX) {
        for (size_t i = BECH32_TEXT_MAX; i < b->len; i++) {
            mark(out, i);
        }
        say(out, "Bech32 string too long");
        return false;
    }
    if (!characters_fit(out, text)) {
        return false;
    }
    if (!separator) {
        say(out, "Missing separator");
        return false;
    }
    b->separator = (size_t)(separator - text);
    if (b->separator == 0 || b->separator + CHECKSUM_CHARS >= b->len) {
        mark(out, b->separator);
        say(out, "Invalid separator position");
        return false;
    }
    return read_values(out, b, text);
}

/* What one changed character alone leaves over, for the checksum is linear; each such residue is another. */
struct changed {
    uint32_t residue;
    uint32_t at;
};
#define DIFFERENCES 31u

static int by_residue(const void *a, const void *b)
{
    const struct changed *x = a, *y = b;
    return (x->residue > y->residue) - (x->residue < y->residue);
}

static size_t all_changes(struct changed *out, const struct bech32 *b)
{
    size_t count = 0;
    for (uint8_t difference = 1; difference <= DIFFERENCES; difference++) {
        uint32_t residue = difference;
        for (size_t i = b->count; i-- > 0; residue = bech32_step(residue, 0)) {
            out[count++] = (struct changed){residue, (uint32_t)(b->separator + 1 + i)};
        }
    }
    qsort(out, count, sizeof *out, by_residue);
    return count;
}

static const struct changed *find_change(const struct changed *changes, size_t count, uint32_t residue)
{
    return bsearch(&(struct changed){.residue = residue}, changes, count, sizeof *changes, by_residue);
}

/* Where one or two characters differ so that the checksum would be right; none: they are more. */
static size_t locate(const struct bech32 *b, uint32_t wanted, size_t at[2])
{
    struct changed changes[BECH32_TEXT_MAX * DIFFERENCES];
    size_t count = all_changes(changes, b);
    uint32_t wrong = b->residue ^ wanted;
    const struct changed *one = find_change(changes, count, wrong), *other;
    if (one) {
        at[0] = one->at;
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        other = find_change(changes, count, wrong ^ changes[i].residue);
        if (other && other->at != changes[i].at) {
            at[0] = MIN(changes[i].at, other->at);
            at[1] = MAX(changes[i].at, other->at);
            return 2;
        }
    }
    return 0;
}

static void explain_checksum(struct address_fault *out, const struct bech32 *b)
{
    size_t v0[2], v1[2], count_0 = locate(b, BECH32_CONST, v0), count_1 = locate(b, BECH32M_CONST, v1);
    bool is_m = count_1 && (!count_0 || count_1 < count_0);
    for (size_t i = 0; i < (is_m ? count_1 : count_0); i++) {
        mark(out, is_m ? v1[i] : v0[i]);
    }
    say(out, is_m ? "Invalid Bech32m checksum" : count_0 ? "Invalid Bech32 checksum" : "Invalid checksum");
}

/* The checksum is right, so it is the content. */
static void explain_program(struct address_fault *out, const struct bech32 *b)
{
    size_t symbols = b->count - CHECKSUM_CHARS - 1, bytes = symbols * 5 / 8, spare = symbols * 5 % 8;
    uint8_t version = b->values[0], last = b->values[symbols];
    const char *unit = bytes == 1 ? "byte" : "bytes";
    if (version == 0 && b->residue != BECH32_CONST) {
        say(out, "Version 0 witness address must use Bech32 checksum");
    } else if (version != 0 && b->residue != BECH32M_CONST) {
        say(out, "Version 1+ witness address must use Bech32m checksum");
    } else if (spare >= 5 || (symbols && last & ((1u << spare) - 1))) {
        say(out, "Invalid padding in Bech32 data section");
    } else if (version == 0) {
        snprintf(out->text, sizeof out->text, "Invalid Bech32 v0 address program size (%zu %s), per BIP141",
                 bytes, unit);
    } else if (version > 16) {
        say(out, "Invalid Bech32 address witness version");
    } else {
        snprintf(out->text, sizeof out->text, "Invalid Bech32 address program size (%zu %s)", bytes, unit);
    }
}

static bool begins_as(const char *text, const char *prefix)
{
    size_t len = strlen(prefix), i = 0;
    while (i < len && tolower((unsigned char)text[i]) == prefix[i]) {
        i++;
    }
    return i == len;
}

void address_explain(struct address_fault *out, const char *text, const struct chain_params *params)
{
    struct bech32 b;
    *out = (struct address_fault){0};
    if (!begins_as(text, params->bech32_hrp)) {
        explain_base58(out, text, params);
    } else if (read_bech32(out, &b, text)) {
        if (b.residue != BECH32_CONST && b.residue != BECH32M_CONST) {
            explain_checksum(out, &b);
        } else if (b.count == CHECKSUM_CHARS) {
            say(out, "Empty Bech32 data section");
        } else if (b.separator != strlen(params->bech32_hrp)) {
            snprintf(out->text, sizeof out->text,
                     "Invalid or unsupported prefix for Segwit (Bech32) address (expected %s, got %.*s).",
                     params->bech32_hrp, (int)b.separator, text);
        } else {
            explain_program(out, &b);
        }
    }
}
