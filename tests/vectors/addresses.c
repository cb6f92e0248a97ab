/* base58, addresses and private keys as text: Bitcoin Core's tables. */
#include <ctype.h>
#include <stdio.h>

#include "core/wallet/wallet.h"
#include "tests/vectors/vectors.h"

void base58_tests(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *hex = json_string_value(json_array_get(row, 0)),
                   *text = json_string_value(json_array_get(row, 1));
        if (json_array_size(row) == 1) {
            continue;
        }
        struct arena arena = {0};
        struct buf encoded = {0}, decoded = {0};
        struct span bytes = hex_span(&arena, hex);
        base58_encode(&encoded, bytes.data, bytes.len);
        bool ok = text && span_equal(buf_span(&encoded), span_of(text, strlen(text))) &&
                  base58_decode(&decoded, text, bytes.len) && span_equal(buf_span(&decoded), bytes);
        case_result(ok, "row %zu: %s", i, text ? text : "");
        buf_free(&encoded);
        buf_free(&decoded);
        arena_free(&arena);
    }
}

static const enum chain_kind kinds[] = {CHAIN_MAIN, CHAIN_TESTNET4, CHAIN_REGTEST};

/* testnet3 and signet write addresses as testnet4 does. */
static enum chain_kind kind_of(const char *name)
{
    return strcmp(name, "main") == 0      ? CHAIN_MAIN
           : strcmp(name, "regtest") == 0 ? CHAIN_REGTEST
                                          : CHAIN_TESTNET4;
}

static bool same_script(const char *address, struct span expected, const struct chain_params *params)
{
    struct buf script = {0};
    bool same = address_to_script(&script, address, params, NULL) && span_equal(buf_span(&script), expected);
    buf_free(&script);
    return same;
}

static void flip_case(char *text)
{
    for (; *text; text++) {
        *text = (char)(isupper((unsigned char)*text) ? tolower((unsigned char)*text)
                                                     : toupper((unsigned char)*text));
    }
}

static bool address_case(const char *text, struct span expected, bool flips,
                         const struct chain_params *params)
{
    char back[ADDRESS_TEXT];
    struct key key;
    bool compressed;
    char *flipped = mem_strdup(text);
    flip_case(flipped);
    struct buf script = {0};
    bool ok = same_script(text, expected, params) && !key_from_wif(&key, &compressed, text, params) &&
              address_from_script(back, expected, params) && strcmp(back, text) == 0 &&
              address_to_script(&script, flipped, params, NULL) == flips &&
              (!flips || same_script(flipped, expected, params));
    buf_free(&script);
    mem_free(flipped);
    return ok;
}

static bool key_case(const char *text, struct span expected, bool compressed,
                     const struct chain_params *params)
{
    struct key key;
    bool is_compressed;
    struct buf script = {0};
    char back[64];
    bool ok = expected.len == 32 && key_from_wif(&key, &is_compressed, text, params) &&
              is_compressed == compressed && memcmp(key.secret, expected.data, 32) == 0 &&
              !address_to_script(&script, text, params, NULL);
    if (ok && compressed) {
        key_to_wif(back, &key, params);
        ok = strcmp(back, text) == 0;
    }
    buf_free(&script);
    return ok;
}

void key_io_valid(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *about = json_array_get(row, 2);
        const char *text = json_string_value(json_array_get(row, 0));
        if (json_array_size(row) < 3) {
            continue;
        }
        struct arena arena = {0};
        struct chain_params params;
        CHECK(chain_params_init(&params, kind_of(text_at(about, "chain")), NULL, NULL));
        struct span expected = hex_span(&arena, json_string_value(json_array_get(row, 1)));
        bool ok = text && (json_is_true(json_object_get(about, "isPrivkey"))
                               ? key_case(text, expected,
                                          json_is_true(json_object_get(about, "isCompressed")), &params)
                               : address_case(text, expected,
                                              json_is_true(json_object_get(about, "tryCaseFlip")), &params));
        case_result(ok, "row %zu: %s", i, text ? text : "");
        chain_params_free(&params);
        arena_free(&arena);
    }
}

void key_io_invalid(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *text = json_string_value(json_array_get(json_array_get(rows, i), 0));
        bool refused = text != NULL;
        for (size_t k = 0; refused && k < ARRAY_COUNT(kinds); k++) {
            struct chain_params params;
            struct buf script = {0};
            struct key key;
            bool compressed;
            CHECK(chain_params_init(&params, kinds[k], NULL, NULL));
            refused = !address_to_script(&script, text, &params, NULL) &&
                      !key_from_wif(&key, &compressed, text, &params);
            buf_free(&script);
            chain_params_free(&params);
        }
        case_result(refused, "row %zu: %s", i, text ? text : "");
    }
}
