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
    static const uint8_t seed[32] = {1};
    wallet_init(seed);
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, NULL));
}

static void end(void)
{
    chain_params_free(&params);
}

TestSuite(descriptor, .init = begin, .fini = end);

struct found {
    unsigned count;
    char hex[4][300], descriptor[4][400];
};

static void keep(void *context, struct span script, const char *descriptor)
{
    struct found *found = context;
    cr_assert(found->count < 4 && script.len < 150);
    hex_encode(found->hex[found->count], script.data, script.len);
    snprintf(found->descriptor[found->count++], 400, "%s", descriptor);
}

static struct found expand_at(const char *text, uint32_t index)
{
    struct found found = {0};
    struct error error = {0};
    struct descriptor *descriptor = descriptor_parse(text, false, &params, &error);
    cr_assert(descriptor, "%s: %s", text, error.text);
    cr_assert(descriptor_expand(descriptor, index, keep, &found, &error), "%s: %s", text, error.text);
    descriptor_free(descriptor);
    return found;
}

static struct found expand(const char *text)
{
    return expand_at(text, 0);
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

#define XKEY   "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
#define ORIGIN "[751e76e8]"
#define KEY_2  "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"

static bool is_without_checksum(const char *descriptor, const char *text)
{
    size_t len = strlen(text);
    return strlen(descriptor) == len + 9 && strncmp(descriptor, text, len) == 0;
}

Test(descriptor, functions)
{
    static const struct {
        const char *text, *hex, *as; /* as: NULL: as it stands */
    } cases[] = {
        {"addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)", "0014751e76e8199196d454941c45d1b3a323f1433bd6",
         NULL},
        {"pk(" KEY ")", "21" KEY "ac", "pk(" ORIGIN KEY ")"},
        {"pkh(" KEY ")", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", "pkh(" ORIGIN KEY ")"},
        {"wpkh(" KEY ")", "0014751e76e8199196d454941c45d1b3a323f1433bd6", "wpkh(" ORIGIN KEY ")"},
        {"sh(wpkh(" KEY "))", "a914bcfeb728b584253d5f3f70bcb780e9ef218a68f487", "sh(wpkh(" ORIGIN KEY "))"},
        {"pkh(" LONG_KEY ")", "76a91491b24bf9f5288532960ac687abb035127b1d28a588ac",
         "pkh([91b24bf9]" LONG_KEY ")"},
        {"pkh([d34db33f/44'/0h/7]" KEY ")", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac",
         "pkh([d34db33f/44h/0h/7]" KEY ")"},
        {"raw()", "", NULL},
        {"raw(5120" XKEY ")", "5120" XKEY, "rawtr(" XKEY ")"},
        {"rawtr(" KEY ")", "5120" XKEY, "rawtr(" ORIGIN XKEY ")"},
        {"multi(1," KEY_2 "," KEY ")", "5121" KEY_2 "21" KEY "52ae",
         "multi(1,[06afd46b]" KEY_2 "," ORIGIN KEY ")"},
        {"sortedmulti(1," KEY_2 "," KEY ")", "5121" KEY "21" KEY_2 "52ae",
         "multi(1," ORIGIN KEY ",[06afd46b]" KEY_2 ")"},
        /* BIP386 */
        {"tr(a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd)",
         "512077aab6e066f8a7419c5ab714c12c67d25007ed55a43cadcacb4d7a970a093f11", ""},
        {"tr(a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd,pk("
         "669b8afcec803a0d323e9a17f3ea8e68e8abe5a278020a929adbec52421adbd0))",
         "512017cf18db381d836d8923b1bdb246cfcd818da1a9f0e6e7907f187f0b2f937754", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct found found = expand(cases[i].text);
        const char *as = cases[i].as ? cases[i].as : cases[i].text;
        cr_expect_eq(found.count, 1);
        cr_expect_str_eq(found.hex[0], cases[i].hex, "%s", cases[i].text);
        cr_expect(!*as || is_without_checksum(found.descriptor[0], as), "%s: %s", as, found.descriptor[0]);
    }
    struct found combo = expand("combo(" KEY ")");
    cr_assert_eq(combo.count, 4);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_str_eq(combo.hex[i], cases[i + 1].hex);
        cr_assert(is_without_checksum(combo.descriptor[i], cases[i + 1].as), "%s", combo.descriptor[i]);
    }
    cr_assert_eq(expand("combo(" LONG_KEY ")").count, 2, "no witness programs of a long key");
    struct found raw = expand("raw(0014751e76e8199196d454941c45d1b3a323f1433bd6)");
    cr_assert(is_without_checksum(raw.descriptor[0], cases[0].text), "as its address");
    struct found nested = expand("sh(wsh(pkh(" KEY ")))"),
                 tree = expand("tr(" KEY ",{multi_a(1," KEY "),{pk(" KEY_2 "),pk(" KEY ")}})");
    cr_assert(nested.count == 1 && strlen(nested.hex[0]) == 46 && strlen(tree.hex[0]) == 68);
}

#define TPRV                                                                                                 \
    "tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEm" \
    "N"                                                                                                      \
    "UWwx8UbK"
#define TPUB                                                                                                 \
    "tpubD6NzVbkrYhZ4WaWSyoBvQwbpLkojyoTZPRsgXELWz3Popb3qkjcJyJUGLnL4qHHoQvao8ESaAstxYSnhyswJ76uZPStJRJCTKv" \
    "os"                                                                                                     \
    "UCJZL5B"

static const char *address_at(const char *text, uint32_t index)
{
    static char out[ADDRESS_TEXT];
    struct found found = expand_at(text, index);
    uint8_t bytes[80];
    size_t len = strlen(found.hex[0]) / 2;
    cr_assert(hex_decode(bytes, len, found.hex[0]) && address_from_script(out, span_of(bytes, len), &params));
    return out;
}

/* Addresses and texts that Bitcoin Core's own tests have for these keys. */
Test(descriptor, derived_keys)
{
    static const char *const addresses[] = {"bcrt1qjqmxmkpmxt80xz4y3746zgt0q3u3ferr34acd5",
                                            "bcrt1qhku5rq7jz8ulufe2y6fkcpnlvpsta7rq4442dy",
                                            "bcrt1qpgptk2gvshyl0s9lqshsmx932l9ccsv265tvaq"};
    for (uint32_t i = 0; i < 3; i++) {
        cr_expect_str_eq(address_at("wpkh(" TPUB "/1/1/*)", i), addresses[i]);
        cr_expect_str_eq(address_at("wpkh(" TPRV "/1/1/*)", i), addresses[i]);
    }
    cr_expect_str_eq(address_at("wpkh(" TPRV "/1/1/0)#t6wfjs64", 0), addresses[0]);
    cr_expect_str_eq(
        expand_at("pkh(" TPRV "/0'/0'/*)", 0).descriptor[0],
        "pkh([0c5f9a1e/0h/0h/0]026dbd8b2315f296d36e6b6920b1579ca75569464875c7ebe869b536a7d9503c8c)"
        "#rthll0rg");
    cr_expect_str_eq(
        expand_at("pkh(" TPRV "/0h/0h/*)", 1).descriptor[0],
        "pkh([0c5f9a1e/0h/0h/1]033e6f25d76c00bedb3a8993c7d5739ee806397f0529b1b31dda31ef890f19a60c)"
        "#mcjajulr");
    struct error error = {0};
    struct found found = {0};
    struct descriptor *hardened = descriptor_parse("wpkh(" TPUB "/0'/*)", false, &params, &error);
    cr_assert(hardened && descriptor_is_ranged(hardened) && !descriptor_has_secret(hardened));
    cr_assert_not(descriptor_expand(hardened, 0, keep, &found, &error));
    cr_assert_str_eq(error.text, "Cannot derive script without private keys");
    descriptor_free(hardened);
}

Test(descriptor, what_is_shown_of_it)
{
    static const struct {
        const char *text, *shown;
        bool ranged, solvable, secret;
    } cases[] = {
        {"wpkh(" TPRV "/1/1/*)", "wpkh(" TPUB "/1/1/*)", true, true, true},
        {"wpkh(" TPRV "/0'/*h)", "wpkh(" TPUB "/0h/*h)", true, true, true},
        {"pkh(cMahea7zqjxrtgAbB7LSGbcQUr1uX1ojuat9jZodMN87JcbXMTcA)", "pkh(" KEY ")", false, true, true},
        {"sh(sortedmulti(1,[d34db33f/1']" KEY "," KEY_2 "))",
         "sh(sortedmulti(1,[d34db33f/1']" KEY "," KEY_2 "))", false, true, false},
        {"tr(" KEY ",{pk(" KEY_2 "),pk(" XKEY ")})",
         "tr(" XKEY ",{pk(c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5),pk(" XKEY ")})",
         false, true, false},
        {"raw(51)", "raw(51)", false, false, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf text = {0};
        struct descriptor *d = descriptor_parse(cases[i].text, false, &params, NULL);
        cr_assert(d, "%s", cases[i].text);
        descriptor_write(&text, d);
        buf_u8(&text, 0);
        cr_expect(is_without_checksum((const char *)text.data, cases[i].shown), "%s",
                  (const char *)text.data);
        cr_expect(descriptor_is_ranged(d) == cases[i].ranged &&
                      descriptor_is_solvable(d) == cases[i].solvable &&
                      descriptor_has_secret(d) == cases[i].secret,
                  "%s", cases[i].text);
        struct descriptor *again = descriptor_parse((const char *)text.data, true, &params, NULL);
        cr_expect(again, "what is shown can be read: %s", (const char *)text.data);
        descriptor_free(again);
        descriptor_free(d);
        buf_free(&text);
    }
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
                                        "tr(" LONG_KEY ")",
                                        "tr(" KEY ",)",
                                        "tr(" KEY ",{pk(" KEY ")})",
                                        "tr(" KEY ",{pk(" KEY "),pk(" KEY ")",
                                        "tr(" KEY ",pkh(" KEY "))",
                                        "wpkh(" XKEY ")",
                                        "wsh(wpkh(" KEY "))",
                                        "wsh(wsh(pk(" KEY ")))",
                                        "sh(sh(pk(" KEY ")))",
                                        "sh(combo(" KEY "))",
                                        "wsh(multi(1," LONG_KEY "))",
                                        "multi(0," KEY ")",
                                        "multi(2," KEY ")",
                                        "multi(1)",
                                        "multi(x," KEY ")",
                                        "multi(1," KEY "," KEY "," KEY "," KEY ")",
                                        "multi_a(1," KEY ")",
                                        "wpkh(xpub/0/*)",
                                        "wpkh(" TPUB "/*/0)",
                                        "wpkh(" TPUB "/x)",
                                        "wpkh(" TPUB "/2147483648)",
                                        "wpkh(" TPUB "/)",
                                        "wpkh(" TPUB "/0/**)",
                                        "wpkh(" KEY "/0)",
                                        "wpkh([d34db33]" KEY ")",
                                        "wpkh([d34db33g]" KEY ")",
                                        "wpkh([d34db33f" KEY ")",
                                        "wpkh(d34db33f]" KEY ")",
                                        "wpkh([d34db33f][d34db33f]" KEY ")",
                                        "wpkh([d34db33f/*]" KEY ")",
                                        "raw(deadbeef)#",
                                        "raw(deadbeef)#89f8spxn",
                                        "raw(deadbeef)#89f8spxmm",
                                        "raw(deedbeef)#89f8spxm",
                                        "raw(deadbeef)##9f8spxm",
                                        "raw(deadbeef)\xff#89f8spxm"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct error error = {0};
        cr_assert_null(descriptor_parse(wrong[i], false, &params, &error), "%s", wrong[i]);
        cr_assert(error.kind == ERROR_PARSE && *error.text, "%s", wrong[i]);
    }
}
