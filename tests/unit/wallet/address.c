/* Addresses beyond the field's tables: BIP173's and BIP350's own edge cases, and every single-character
 * error. */
#include <criterion/criterion.h>
#include <ctype.h>

#include "core/wallet/wallet.h"

static bool script_of(const char *address, enum chain_kind kind, char hex[201])
{
    struct chain_params params;
    struct buf script = {0};
    struct error error = {0};
    cr_assert(chain_params_init(&params, kind, NULL, NULL));
    bool ok = address_to_script(&script, address, &params, &error);
    cr_assert(ok || error.text[0]);
    if (ok && hex) {
        cr_assert_leq(script.len, 100u);
        hex_encode(hex, script.data, script.len);
    }
    buf_free(&script);
    chain_params_free(&params);
    return ok;
}

Test(address, bip350_examples)
{
    static const struct {
        const char *address, *script;
        enum chain_kind kind;
    } cases[] = {
        {"BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6",
         CHAIN_MAIN},
        {"bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
         "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6", CHAIN_MAIN},
        {"BC1SW50QGDZ25J", "6002751e", CHAIN_MAIN},
        {"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
         "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", CHAIN_MAIN},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char hex[201];
        cr_expect(script_of(cases[i].address, cases[i].kind, hex), "%s", cases[i].address);
        cr_expect_str_eq(hex, cases[i].script);
        cr_expect(!script_of(cases[i].address, CHAIN_REGTEST, NULL)); /* another chain's */
    }
}

Test(address, refused)
{
    static const char *const bad[] = {
        "",
        "bc1",
        "bc1q",
        "1",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",   /* bech32 instead of bech32m */
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",                       /* bech32m instead of bech32 */
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",   /* 'o' is no digit */
        "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",   /* version 17 */
        "bc1pw5dgrnzv",                                                     /* one byte of program */
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",                             /* 16 bytes for version 0 */
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", /* padding of over four bits */
        "bc1qw508D6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",                       /* mixed case */
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect(!script_of(bad[i], CHAIN_MAIN, NULL), "%s", bad[i]);
    }
}

Test(address, one_wrong_character_never_passes)
{
    static const char *const good[] = {"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                                       "1FsSia9rv4NeEwvJ2GvXrX7LyxYspbN2mo",
                                       "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        cr_assert(script_of(good[i], CHAIN_MAIN, NULL));
        char text[100];
        strcpy(text, good[i]);
        for (size_t at = 0; text[at]; at++) {
            char was = text[at];
            for (const char *c = "123456789abcdefghijkmnopqrstuvwxyz"; *c; c++) {
                text[at] = *c;
                cr_assert(*c == was || !script_of(text, CHAIN_MAIN, NULL), "%s", text);
            }
            text[at] = was;
        }
    }
}

Test(base58, round_trips)
{
    struct rng rng;
    rng_seed_u64(&rng, 58);
    for (int i = 0; i < 500; i++) {
        uint8_t data[64] = {0};
        size_t len = rng_below(&rng, sizeof data + 1), zeros = rng_below(&rng, 4);
        for (size_t k = zeros; k < len; k++) {
            data[k] = (uint8_t)rng_next(&rng);
        }
        struct buf text = {0}, back = {0};
        base58check_encode(&text, data, len);
        buf_u8(&text, 0);
        cr_assert(base58check_decode(&back, (const char *)text.data, len));
        cr_assert(span_equal(buf_span(&back), span_of(data, len)));
        cr_assert(len == 0 || !base58check_decode(&back, (const char *)text.data, len - 1)); /* too long */
        buf_free(&text);
        buf_free(&back);
    }
}
