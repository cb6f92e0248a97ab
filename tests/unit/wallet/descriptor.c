/* Descriptors: BIP380's checksum, and the scripts of each function against those of addresses. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/wallet/wallet.h"

#define KEY "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
#define LONG_KEY                                                                                             \
    "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8"     \
    "fd17b448a68554199c47d08ffb10d4b8"

static struct chain_params params;

static void begin(void)
{
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, NULL));
}

static void end(void)
{
    chain_params_free(&params);
}

TestSuite(descriptor, .init = begin, .fini = end);

struct found {
    unsigned count;
    char hex[4][160], descriptor[4][200];
};

static void keep(void *context, struct span script, const char *descriptor)
{
    struct found *found = context;
    cr_assert(found->count < 4 && script.len < 80);
    hex_encode(found->hex[found->count], script.data, script.len);
    snprintf(found->descriptor[found->count++], 200, "%s", descriptor);
}

static struct found expand(const char *text)
{
    struct found found = {0};
    struct error error = {0};
    cr_assert(descriptor_expand(text, &params, keep, &found, &error), "%s: %s", text, error.text);
    return found;
}

Test(descriptor, checksum)
{
    char out[9];
    cr_assert(descriptor_checksum(out, "raw(deadbeef)", 13));
    cr_assert_str_eq(out, "89f8spxm");
    cr_assert_not(descriptor_checksum(out, "raw(\xc3\xbc)", 7), "a character that no descriptor has");
    struct found found = expand("raw(deadbeef)#89f8spxm");
    cr_assert_str_eq(found.hex[0], "deadbeef");
    cr_assert_str_eq(found.descriptor[0], "raw(deadbeef)#89f8spxm");
}

Test(descriptor, functions)
{
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)",
         "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
        {"pk(" KEY ")", "21" KEY "ac"},
        {"pkh(" KEY ")", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac"},
        {"wpkh(" KEY ")", "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
        {"sh(wpkh(" KEY "))", "a914bcfeb728b584253d5f3f70bcb780e9ef218a68f487"},
        {"pkh(" LONG_KEY ")", "76a91491b24bf9f5288532960ac687abb035127b1d28a588ac"},
        {"raw()", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct found found = expand(cases[i].text);
        cr_assert_eq(found.count, 1);
        cr_assert_str_eq(found.hex[0], cases[i].hex, "%s", cases[i].text);
        cr_assert_eq(strlen(found.descriptor[0]), strlen(cases[i].text) + 9);
        cr_assert_eq(strncmp(found.descriptor[0], cases[i].text, strlen(cases[i].text)), 0, "%s",
                     found.descriptor[0]);
    }
    struct found combo = expand("combo(" KEY ")");
    cr_assert_eq(combo.count, 4);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_str_eq(combo.hex[i], cases[i + 1].hex);
    }
    cr_assert_eq(expand("combo(" LONG_KEY ")").count, 2, "no witness programs of a long key");
    struct found raw = expand("raw(0014751e76e8199196d454941c45d1b3a323f1433bd6)");
    cr_assert_eq(strncmp(raw.descriptor[0], cases[0].text, strlen(cases[0].text)), 0, "as its address");
}

Test(descriptor, refused)
{
    static const char *const wrong[] = {"",
                                        "(",
                                        ")",
                                        "addr",
                                        "addr(",
                                        "addr()",
                                        "addr(x)",
                                        "addr(1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa)", /* another chain's */
                                        "raw(x)",
                                        "raw(0)",
                                        "pk()",
                                        "pk(" KEY,
                                        "pk(" KEY "))",
                                        "pk (" KEY ")",
                                        "wpkh(" LONG_KEY ")",
                                        "sh(wpkh(" LONG_KEY "))",
                                        "sh(wpkh(" KEY ")",
                                        "sh(" KEY ")",
                                        "wpkh(02"
                                        "00000000000000000000000000000000000000000000000000000000000000)",
                                        "wpkh(05"
                                        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798)",
                                        "tr(" KEY ")",
                                        "wpkh(xpub/0/*)",
                                        "raw(deadbeef)#",
                                        "raw(deadbeef)#89f8spxn",
                                        "raw(deadbeef)#89f8spxmm",
                                        "raw(deedbeef)#89f8spxm",
                                        "raw(deadbeef)##9f8spxm",
                                        "raw(deadbeef)\xff#89f8spxm"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct found found = {0};
        struct error error = {0};
        cr_assert_not(descriptor_expand(wrong[i], &params, keep, &found, &error), "%s", wrong[i]);
        cr_assert(error.kind == ERROR_PARSE && *error.text, "%s", wrong[i]);
        cr_assert_eq(found.count, 0);
    }
}
