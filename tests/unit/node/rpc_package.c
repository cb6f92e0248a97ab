/* submitpackage, and testmempoolaccept of several transactions. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

TestSuite(rpc_package, .init = rig_begin, .fini = rig_end);

/* method([[hex, …] rest]) */
static json_t *ask_together(const char *method, size_t count, char texts[][1000], const char *rest)
{
    struct buf arguments = {0};
    buf_printf(&arguments, "[[");
    for (size_t i = 0; i < count; i++) {
        buf_printf(&arguments, "%s\"%s\"", i ? "," : "", texts[i]);
    }
    buf_printf(&arguments, "]%s]%c", rest, 0);
    json_t *result = ask(method, (const char *)arguments.data);
    buf_free(&arguments);
    return result;
}

/* A parent and its child with these fees, spending the coinbase at a height. */
static void make_family(unsigned height, int64_t parent_fee, int64_t child_fee, char texts[][1000],
                        struct hash256 ids[2])
{
    struct outpoint coin;
    coinbase_of(height, &coin);
    strcpy(texts[0], payment(coin, 50 * COIN_SAT, parent_fee, &ids[0]));
    strcpy(texts[1], payment((struct outpoint){ids[0], 0}, 50 * COIN_SAT - parent_fee, child_fee, &ids[1]));
}

/* What became of the transaction of this id. */
static json_t *result_of(const json_t *answer, const struct hash256 *txid)
{
    char text[HASH256_TEXT];
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(answer, "tx-results"), key, value)
    {
        if (strcmp(json_string_value(json_object_get(value, "txid")), hash256_text(text, txid)) == 0) {
            return value;
        }
    }
    cr_assert_fail("no result");
    return NULL;
}

static const char *error_of(const json_t *answer, const struct hash256 *txid)
{
    const char *text = json_string_value(json_object_get(result_of(answer, txid), "error"));
    return text ? text : "";
}

Test(rpc_package, a_child_pays_for_its_parent)
{
    char texts[3][1000];
    struct hash256 ids[2];
    mine(102);
    make_family(1, 0, 100, texts, ids);
    json_t *answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "package_msg")), "transaction failed");
    cr_assert(strstr(error_of(answer, &ids[0]), "min relay fee not met"));
    cr_assert_str_eq(error_of(answer, &ids[1]), "bad-txns-inputs-missingorspent");
    make_family(1, 500, 500, texts, ids); /* in the way of a parent that cannot pay for its replacement */
    cr_assert_str_eq(
        json_string_value(json_object_get(ask_together("submitpackage", 2, texts, ""), "package_msg")),
        "success");
    make_family(1, 400, 4000, texts, ids);
    answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "package_msg")), "success", "%s", words());
    const json_t *fees = json_object_get(result_of(answer, &ids[0]), "fees");
    cr_assert_eq(json_array_size(json_object_get(fees, "effective-includes")), 2);
    cr_assert(json_real_value(json_object_get(fees, "base")) == 0.000004 &&
              json_real_value(json_object_get(fees, "effective-feerate")) > 0);
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 2);
    answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "package_msg")), "success", "they are known");
    cr_assert_null(json_object_get(json_object_get(result_of(answer, &ids[0]), "fees"), "effective-feerate"));
}

Test(rpc_package, each_alone_where_that_suffices)
{
    char texts[3][1000], old[HASH256_TEXT];
    struct hash256 ids[2], before;
    struct outpoint coin;
    mine(101);
    coinbase_of(1, &coin);
    ask_about("sendrawtransaction", payment(coin, 50 * COIN_SAT, 500, &before), "");
    make_family(1, 1500, 1000, texts, ids);
    json_t *answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "package_msg")), "success", "%s", words());
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(answer, "replaced-transactions"), 0)),
                     hash256_text(old, &before));
    cr_assert_eq(json_array_size(json_object_get(json_object_get(result_of(answer, &ids[1]), "fees"),
                                                 "effective-includes")),
                 1);
}

Test(rpc_package, refused)
{
    char texts[3][1000], swap[1000];
    struct hash256 ids[2];
    mine(102);
    make_family(1, 1000, 1000, texts, ids);
    strcpy(swap, texts[0]);
    strcpy(texts[0], texts[1]);
    strcpy(texts[1], swap);
    ask_together("submitpackage", 2, texts, "");
    cr_assert_eq(last_code(), RPC_VERIFY_ERROR);
    cr_assert(strstr(words(), "package topology disallowed"));
    json_t *tested = ask_together("testmempoolaccept", 2, texts, "");
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(tested, 0), "package-error")),
                     "package-not-sorted");
    cr_assert_null(json_object_get(json_array_get(tested, 0), "allowed"));
    cr_assert_eq(code_of("submitpackage", "[[]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("submitpackage", "[[\"00\"]]"), RPC_DESERIALIZATION_ERROR);
    cr_assert_eq(code_of("submitpackage", "[[5]]"), RPC_DESERIALIZATION_ERROR);
    make_family(1, 1000, COIN_SAT, texts, ids);
    json_t *answer = ask_together("submitpackage", 2, texts, "");
    cr_assert(strstr(error_of(answer, &ids[1]), "max feerate exceeded"), "%s", error_of(answer, &ids[1]));
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 1);
    make_family(102, 0, 1000, texts, ids);
    answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(error_of(answer, &ids[0]), "bad-txns-premature-spend-of-coinbase");
    cr_assert_str_eq(error_of(answer, &ids[1]), "bad-txns-inputs-missingorspent");
}

static const char *message_of(const json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "package_msg"));
    return text ? text : words();
}

Test(rpc_package, a_package_replaces)
{
    char texts[3][1000], old[2][HASH256_TEXT];
    struct hash256 ids[2], before[2];
    mine(103);
    make_family(1, 1000, 1000, texts, before);
    cr_assert_str_eq(message_of(ask_together("submitpackage", 2, texts, "")), "success");
    make_family(1, 500, 1400, texts, ids);
    json_t *answer = ask_together("submitpackage", 2, texts, "");
    cr_assert(
        strstr(message_of(answer), "package RBF failed: insufficient anti-DoS fees, rejecting replacement"),
        "%s", message_of(answer));
    cr_assert(strstr(error_of(answer, &ids[0]), "insufficient fee"), "%s", error_of(answer, &ids[0]));
    cr_assert_str_eq(error_of(answer, &ids[1]), "bad-txns-inputs-missingorspent");
    cr_assert_eq(json_array_size(json_object_get(answer, "replaced-transactions")), 0);
    make_family(1, 500, 5000, texts, ids);
    answer = ask_together("submitpackage", 2, texts, "");
    cr_assert_str_eq(message_of(answer), "success");
    json_t *gone = json_object_get(answer, "replaced-transactions");
    cr_assert_eq(json_array_size(gone), 2);
    for (size_t i = 0; i < 2; i++) {
        const char *text = json_string_value(json_array_get(gone, i));
        cr_assert(strcmp(text, hash256_text(old[0], &before[0])) == 0 ||
                  strcmp(text, hash256_text(old[1], &before[1])) == 0);
    }
    cr_assert_eq(json_array_size(json_object_get(json_object_get(result_of(answer, &ids[0]), "fees"),
                                                 "effective-includes")),
                 2);
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 2);
}

Test(rpc_package, tests_of_several)
{
    char texts[3][1000];
    struct hash256 ids[2];
    mine(102);
    make_family(1, 1000, 1000, texts, ids);
    json_t *tested = ask_together("testmempoolaccept", 2, texts, "");
    cr_assert_eq(json_array_size(tested), 2);
    cr_assert(json_is_true(json_object_get(json_array_get(tested, 1), "allowed")), "it may spend the first");
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 0);
    make_family(1, 1000, 10, texts, ids);
    tested = ask_together("testmempoolaccept", 2, texts, "");
    cr_assert_null(json_object_get(json_array_get(tested, 0), "allowed"), "not said when another fails");
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(tested, 1), "reject-reason")),
                     "min relay fee not met");
}
