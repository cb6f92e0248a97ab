/* Scripts and addresses as JSON: descriptors, kinds, decodescript, validateaddress. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

#define KEY "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
#define LONG_KEY                                                                                             \
    "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8"     \
    "fd17b448a68554199c47d08ffb10d4b8"
#define MIXED_KEY                                                                                            \
    "0679be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8"     \
    "fd17b448a68554199c47d08ffb10d4b8"
#define XKEY "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

TestSuite(rpc_script, .init = rig_begin, .fini = rig_end);

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* Whether a descriptor is this text and its own checksum. */
static bool describes(const char *desc, const char *text)
{
    char sum[9];
    size_t len = strlen(text);
    return descriptor_checksum(sum, text, len) && strncmp(desc, text, len) == 0 && desc[len] == '#' &&
           strcmp(desc + len + 1, sum) == 0;
}

Test(rpc_script, descriptors_and_kinds)
{
    static const struct {
        const char *hex, *type, *desc, *address;
    } cases[] = {
        {"21" KEY "ac", "pubkey", "pk(" KEY ")", ""},
        {"41" LONG_KEY "ac", "pubkey", "pk(" LONG_KEY ")", ""},
        {"41" MIXED_KEY "ac", "pubkey", "raw(41" MIXED_KEY "ac)", ""},
        {"76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", "pubkeyhash",
         "addr(mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r)", "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r"},
        {"0014751e76e8199196d454941c45d1b3a323f1433bd6", "witness_v0_keyhash",
         "addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)",
         "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"},
        {"5120" XKEY, "witness_v1_taproot", "rawtr(" XKEY ")",
         "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"},
        {"5120ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "witness_v1_taproot", NULL,
         NULL}, /* not on the curve: only its address */
        {"51024e73", "anchor", "addr(bcrt1pfeesnyr2tx)", "bcrt1pfeesnyr2tx"},
        {"52020000", "witness_unknown", NULL, NULL},
        {"5121" KEY "51ae", "multisig", "multi(1," KEY ")", ""},
        {"5221" KEY "41" LONG_KEY "52ae", "multisig", "multi(2," KEY "," LONG_KEY ")", ""},
        {"5141" MIXED_KEY "51ae", "multisig", "raw(5141" MIXED_KEY "51ae)", ""},
        {"5221" KEY "51ae", "nonstandard", "raw(5221" KEY "51ae)", ""}, /* two of one */
        {"5150ae", "nonstandard", "raw(5150ae)", ""},
        {"6a0401020304", "nulldata", "raw(6a0401020304)", ""},
        {"51", "nonstandard", "raw(51)", ""},
        {"", "nonstandard", "raw()", ""},
        {"4c", "nonstandard", "raw(4c)", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_t *got = ask_about("decodescript", cases[i].hex, "");
        const char *address_text = text_of(got, "address");
        char by_address[200];
        snprintf(by_address, sizeof by_address, "addr(%s)", address_text);
        cr_assert_str_eq(text_of(got, "type"), cases[i].type, "%s", cases[i].hex);
        cr_assert(describes(text_of(got, "desc"), cases[i].desc ? cases[i].desc : by_address), "%s: %s",
                  cases[i].hex, text_of(got, "desc"));
        cr_assert(!cases[i].address || strcmp(address_text, cases[i].address) == 0, "%s: %s", cases[i].hex,
                  address_text);
        cr_assert_null(json_object_get(got, "hex"), "decodescript was given it");
    }
    char twenty[2 * 1400] = "51";
    for (int i = 0; i < 20; i++) {
        strcat(twenty, "21" KEY);
    }
    strcat(twenty, "0114ae");
    cr_assert_str_eq(text_of(ask_about("decodescript", twenty, ""), "type"), "multisig");
}

Test(rpc_script, how_a_script_may_be_wrapped)
{
    json_t *got = ask_about("decodescript", "21" KEY "ac", ""), *segwit = json_object_get(got, "segwit");
    cr_assert_eq(strlen(text_of(got, "p2sh")), 35);
    cr_assert_str_eq(text_of(segwit, "hex"), "0014751e76e8199196d454941c45d1b3a323f1433bd6");
    cr_assert_str_eq(text_of(segwit, "address"), "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    cr_assert_eq(strlen(text_of(segwit, "p2sh-segwit")), 35);
    segwit = json_object_get(
        ask_about("decodescript", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", ""), "segwit");
    cr_assert_str_eq(text_of(segwit, "address"), "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    segwit = json_object_get(ask_about("decodescript", "5121" KEY "51ae", ""), "segwit");
    cr_assert_str_eq(text_of(segwit, "type"), "witness_v0_scripthash");
    cr_assert(describes(text_of(segwit, "desc"), "wsh(multi(1," KEY "))"), "%s", text_of(segwit, "desc"));
    static const char *const never[] = {
        "6a00", "4c",          "ff",       "ba",
        "50",   ("5120" XKEY), "51024e73", "a914751e76e8199196d454941c45d1b3a323f1433bd687"};
    for (size_t i = 0; i < ARRAY_COUNT(never); i++) {
        got = ask_about("decodescript", never[i], "");
        cr_assert(json_is_object(got) && !json_object_get(got, "p2sh"), "%s", never[i]);
        cr_assert_null(json_object_get(got, "segwit"), "%s", never[i]);
    }
    static const char *const not_by_witness[] = {"41" LONG_KEY "ac", "5141" LONG_KEY "51ae",
                                                 "0014751e76e8199196d454941c45d1b3a323f1433bd6"};
    for (size_t i = 0; i < ARRAY_COUNT(not_by_witness); i++) {
        got = ask_about("decodescript", not_by_witness[i], "");
        cr_assert(json_object_get(got, "p2sh") && !json_object_get(got, "segwit"), "%s", not_by_witness[i]);
    }
    cr_assert_eq(code_of("decodescript", "[\"0\"]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "argument must be hexadecimal string (not '0')");
}

Test(rpc_script, what_an_address_is)
{
    json_t *got = ask_about("validateaddress", "bcrt1pfeesnyr2tx", "");
    cr_assert(json_is_true(json_object_get(got, "isscript")) &&
              json_is_true(json_object_get(got, "iswitness")));
    cr_assert_null(json_object_get(got, "witness_version"));
    got = ask_about("validateaddress", address, "");
    cr_assert(json_is_false(json_object_get(got, "isscript")));
    cr_assert_eq(number(got, "witness_version"), 0);
    got = ask_about("validateaddress", "x", "");
    cr_assert(json_is_false(json_object_get(got, "isvalid")) && json_object_get(got, "error"));
}

#define TPUB                                                                                                 \
    "tpubD6NzVbkrYhZ4WaWSyoBvQwbpLkojyoTZPRsgXELWz3Popb3qkjcJyJUGLnL4qHHoQvao8ESaAstxYSnhyswJ76uZPStJRJCTKv" \
    "os"                                                                                                     \
    "UCJZL5B"

Test(rpc_script, descriptors_as_such)
{
    char with_sum[300], arguments[400];
    json_t *info = ask_about("getdescriptorinfo", "wpkh(" TPUB "/1/1/*)", "");
    cr_assert(json_is_true(json_object_get(info, "isrange")) &&
              json_is_true(json_object_get(info, "issolvable")));
    cr_assert(json_is_false(json_object_get(info, "hasprivatekeys")));
    cr_assert(describes(text_of(info, "descriptor"), "wpkh(" TPUB "/1/1/*)"));
    cr_assert_eq(strlen(text_of(info, "checksum")), 8);
    snprintf(with_sum, sizeof with_sum, "%s", text_of(info, "descriptor"));
    json_t *addresses = ask_about("deriveaddresses", with_sum, ",[1,2]");
    cr_assert_eq(json_array_size(addresses), 2);
    cr_assert_str_eq(json_string_value(json_array_get(addresses, 0)),
                     "bcrt1qhku5rq7jz8ulufe2y6fkcpnlvpsta7rq4442dy");
    cr_assert_eq(json_array_size(ask_about("deriveaddresses", with_sum, ",2")), 3);
    static const char *const wrong[] = {"",       ",-1",        ",[2,1]",         ",[1]",
                                        ",\"x\"", ",[0,20000]", ",[0,4294967296]"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        ask_about("deriveaddresses", with_sum, wrong[i]);
        cr_assert_eq(last_code(), RPC_INVALID_PARAMETER, "%s", wrong[i]);
    }
    ask_about("deriveaddresses", "wpkh(" TPUB "/1/1/*)", ",1");
    cr_assert_eq(last_code(), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_str_eq(words(), "Missing checksum");
    snprintf(with_sum, sizeof with_sum, "%s",
             text_of(ask_about("getdescriptorinfo", "pk(" KEY ")", ""), "descriptor"));
    ask_about("deriveaddresses", with_sum, "");
    cr_assert_eq(last_code(), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_str_eq(words(), "Descriptor does not have a corresponding address");
    snprintf(with_sum, sizeof with_sum, "%s",
             text_of(ask_about("getdescriptorinfo", "combo(" KEY ")", ""), "descriptor"));
    cr_assert_eq(json_array_size(ask_about("deriveaddresses", with_sum, "")), 3);
    cr_assert_eq(code_of("getdescriptorinfo", "[\"nonsense(1)\"]"), RPC_INVALID_ADDRESS_OR_KEY);
    snprintf(arguments, sizeof arguments, "[1,\"wpkh(" TPUB "/*)\"]");
    cr_assert_eq(code_of("generatetodescriptor", arguments), RPC_INVALID_PARAMETER);
}

Test(rpc_script, coins_of_derived_keys)
{
    cr_assert_eq(json_array_size(ask("generatetodescriptor", "[2,\"wpkh(" TPUB "/1/7)\"]")), 2);
    json_t *found = ask("scantxoutset", "[\"start\",[\"wpkh(" TPUB "/1/*)\"]]");
    cr_assert_eq(json_array_size(json_object_get(found, "unspents")), 2, "%s", words());
    const char *desc = text_of(json_array_get(json_object_get(found, "unspents"), 0), "desc");
    cr_assert(strncmp(desc, "wpkh([0c5f9a1e/1/7]0", 20) == 0, "%s", desc);
    found = ask("scantxoutset", "[\"start\",[{\"desc\":\"wpkh(" TPUB "/1/*)\",\"range\":6}]]");
    cr_assert_eq(json_array_size(json_object_get(found, "unspents")), 0);
    cr_assert_eq(code_of("scantxoutset", "[\"start\",[{\"desc\":\"wpkh(" TPUB "/1/*)\",\"range\":null}]]"),
                 0);
    struct buf many = {0}; /* keys enough to keep everybody waiting for minutes */
    buf_printf(&many, "[\"start\",[");
    for (int i = 0; i < 3000; i++) {
        buf_printf(&many, "%s\"wpkh(" TPUB "/%d/*)\"", i ? "," : "", i);
    }
    buf_printf(&many, "]]%c", 0);
    cr_assert_eq(code_of("scantxoutset", (const char *)many.data), RPC_INVALID_PARAMETER);
    buf_free(&many);
    cr_assert_eq(code_of("scantxoutset", "[\"start\",[{\"desc\":\"wpkh(" TPUB "/1/*)\",\"range\":-1}]]"),
                 RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("scantxoutset", "[\"start\",[\"wpkh(" TPUB "/1h/*)\"]]"),
                 RPC_INVALID_ADDRESS_OR_KEY);
}

Test(rpc_script, multisignatures)
{
    json_t *made = ask("createmultisig", "[1,[\"" KEY "\"]]");
    cr_assert_str_eq(text_of(made, "redeemScript"), "5121" KEY "51ae");
    cr_assert(describes(text_of(made, "descriptor"), "sh(multi(1," KEY "))"), "%s",
              text_of(made, "descriptor"));
    made = ask("createmultisig", "[1,[\"" KEY "\"],\"bech32\"]");
    cr_assert(describes(text_of(made, "descriptor"), "wsh(multi(1," KEY "))"));
    char of_script[ADDRESS_TEXT], of_descriptor[ADDRESS_TEXT], desc[300];
    snprintf(of_script, sizeof of_script, "%s", text_of(made, "address"));
    snprintf(desc, sizeof desc, "%s", text_of(made, "descriptor"));
    snprintf(of_descriptor, sizeof of_descriptor, "%s",
             json_string_value(json_array_get(ask_about("deriveaddresses", desc, ""), 0)));
    cr_assert_str_eq(of_script, of_descriptor);
    made = ask("createmultisig", "[1,[\"" KEY "\"],\"p2sh-segwit\"]");
    cr_assert(describes(text_of(made, "descriptor"), "sh(wsh(multi(1," KEY ")))"));
    made = ask("createmultisig", "[1,[\"" LONG_KEY "\"],\"bech32\"]");
    cr_assert_eq(json_array_size(json_object_get(made, "warnings")), 1);
    cr_assert_eq(code_of("createmultisig", "[0,[\"" KEY "\"]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("createmultisig", "[2,[\"" KEY "\"]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("createmultisig", "[1,[\"00\"]]"), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("createmultisig", "[1,[\"" KEY "\"],\"bech32m\"]"), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("createmultisig", "[1,[\"" KEY "\"],\"x\"]"), RPC_INVALID_ADDRESS_OR_KEY);
}

/* What Bitcoin Core's own tests say of these. */
Test(rpc_script, what_is_wrong_with_an_address)
{
    static const struct {
        const char *text, *error;
        int at[2]; /* 0: nowhere */
    } cases[] = {
        {"bcrt1q049edschfnwystcqnsvyfpj23mpsg3jcedq9xv", "Invalid Bech32 checksum", {9}},
        {"BCRT1QPLMTZKC2XHARPPZDLNPAQL78RSHJ68U32RAH7R", "Invalid Bech32 checksum", {38}},
        {"bcrt1qax9suht3qv95sw33xavx8crpxduefdrsvgsklu", "Invalid Bech32 checksum", {22, 43}},
        {"bcrtq049ldschfnwystcqnsvyfpj23mpsg3jcedq9xv", "Missing separator", {0}},
        {"bcrt1q04oldschfnwystcqnsvyfpj23mpsg3jcedq9xv", "Invalid Base 32 character", {8}},
        {"bcrt1q049edschfnwystcqnsvyfpj23mpsg3jcedq9xV", "Invalid character or mixed case", {43}},
        {"bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqdmchcc",
         "Version 1+ witness address must use Bech32m checksum",
         {0}},
        {"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7k35mrzd",
         "Version 0 witness address must use Bech32 checksum",
         {0}},
        {"bcrt130xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqynjegk",
         "Invalid Bech32 address witness version",
         {0}},
        {"bcrt1s0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav25430mtr",
         "Invalid Bech32 address program size (41 bytes)",
         {0}},
        {"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kqqq5k3my",
         "Invalid Bech32 v0 address program size (21 bytes), per BIP141",
         {0}},
        {"bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7k7grplx",
         "Invalid or unsupported Segwit (Bech32) or Base58 encoding.",
         {0}},
        {"bcrt11", "Invalid separator position", {5}},
        {"17VZNX1SN5NtKa8UQFxwQbFeFc3iqRYhem", "Invalid or unsupported Base58-encoded address.", {0}},
        {"mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJJfn",
         "Invalid checksum or length of Base58 address (P2PKH or P2SH)",
         {0}},
        {"asfah14i8fajz0123f", "Invalid or unsupported Segwit (Bech32) or Base58 encoding.", {0}},
        {"", "Invalid checksum or length of Base58 address (P2PKH or P2SH)", {0}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_t *got = ask_about("validateaddress", cases[i].text, ""),
               *at = json_object_get(got, "error_locations");
        size_t count = cases[i].at[1] ? 2 : cases[i].at[0] ? 1 : 0;
        cr_expect(json_is_false(json_object_get(got, "isvalid")), "%s", cases[i].text);
        cr_expect_str_eq(text_of(got, "error"), cases[i].error, "%s", cases[i].text);
        cr_expect_eq(json_array_size(at), count, "%s", cases[i].text);
        for (size_t k = 0; k < count; k++) {
            cr_expect_eq(json_integer_value(json_array_get(at, k)), cases[i].at[k], "%s", cases[i].text);
        }
    }
}
