/* Partially signed transactions: BIP174's own cases, and a way from createpsbt to the mempool. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

TestSuite(rpc_psbt, .init = rig_begin, .fini = rig_end);

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* ---- Signing, which the node itself leaves to wallets ------------------------------------------------ */

/* The PSBT with this key's signature for one input, of a P2WPKH or bare script code. */
static char *signed_by(const char *text, uint32_t index, const struct key *by, struct span code, bool witness)
{
    struct error error = {0};
    struct buf out = {0}, row = {0};
    struct coin coin;
    struct hash256 hash;
    struct psbt *psbt = psbt_parse(text, &error);
    cr_assert(psbt, "%s", error.text);
    cr_assert(psbt_coin(psbt, index, &coin));
    if (witness) {
        sighash_v0(&hash, psbt->tx, index, code, coin.value, 1, NULL);
    } else {
        sighash_legacy(&hash, psbt->tx, index, code, 1);
    }
    uint8_t key_row[34] = {PSBT_IN_PARTIAL_SIG};
    memcpy(key_row + 1, by->public_key, 33);
    key_sign(&row, by, &hash, 1);
    cr_assert(psbt_put(psbt, &psbt->inputs[index], span_of(key_row, sizeof key_row), buf_span(&row)));
    psbt_write(&out, psbt);
    buf_u8(&out, 0);
    psbt_free(psbt);
    buf_free(&row);
    return (char *)out.data;
}

static char *with_row(const char *text, uint32_t index, uint8_t type, struct span value)
{
    struct buf out = {0};
    struct psbt *psbt = psbt_parse(text, NULL);
    cr_assert(psbt && psbt_put_type(psbt, &psbt->inputs[index], type, value));
    psbt_write(&out, psbt);
    buf_u8(&out, 0);
    psbt_free(psbt);
    return (char *)out.data;
}

Test(rpc_psbt, from_nothing_to_the_mempool)
{
    struct outpoint coin;
    char txid[HASH256_TEXT], arguments[400];
    uint8_t code[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac};
    mine(101);
    coinbase_of(1, &coin);
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%s\",\"vout\":0}],[{\"%s\":49.999}]]",
             hash256_text(txid, &coin.txid), address);
    char *psbt = mem_strdup(json_string_value(ask("createpsbt", arguments)));
    json_t *seen = ask_about("analyzepsbt", psbt, "");
    cr_assert_str_eq(text_of(seen, "next"), "updater");
    char *updated = mem_strdup(json_string_value(ask_about("utxoupdatepsbt", psbt, "")));
    seen = ask_about("analyzepsbt", updated, "");
    cr_assert_str_eq(text_of(seen, "next"), "signer");
    cr_assert_float_eq(json_real_value(json_object_get(seen, "fee")), 0.001, 1e-12);
    memcpy(code + 3, script.data + 2, 20);
    char *complete = signed_by(updated, 0, &key, span_of(code, sizeof code), true);
    seen = ask_about("decodepsbt", complete, "");
    json_t *input = json_array_get(json_object_get(seen, "inputs"), 0);
    cr_assert_eq(json_object_size(json_object_get(input, "partial_signatures")), 1);
    cr_assert_float_eq(json_real_value(json_object_get(json_object_get(input, "witness_utxo"), "amount")), 50,
                       1e-9);
    cr_assert_str_eq(text_of(ask_about("analyzepsbt", complete, ""), "next"), "finalizer");
    json_t *final = ask_about("finalizepsbt", complete, ",false");
    cr_assert(json_is_true(json_object_get(final, "complete")));
    char *final_text = mem_strdup(text_of(final, "psbt"));
    seen = ask_about("decodepsbt", final_text, "");
    input = json_array_get(json_object_get(seen, "inputs"), 0);
    cr_assert_eq(json_array_size(json_object_get(input, "final_scriptwitness")), 2);
    cr_assert_null(json_object_get(input, "partial_signatures"), "what made it final is gone");
    cr_assert_str_eq(text_of(ask_about("analyzepsbt", final_text, ""), "next"), "extractor");
    char *hex = mem_strdup(text_of(ask_about("finalizepsbt", final_text, ""), "hex"));
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), 0, "%s", words());
    ask_about("converttopsbt", hex, "");
    cr_assert_eq(last_code(), RPC_DESERIALIZATION_ERROR);
    cr_assert_str_eq(json_string_value(ask_about("converttopsbt", hex, ",true")), psbt);
    mem_free(psbt);
    mem_free(updated);
    mem_free(complete);
    mem_free(final_text);
    mem_free(hex);
}

/* Two of three, in P2WSH in P2SH: nothing of one signature, all of two, whoever comes first. */
Test(rpc_psbt, signers_who_do_not_know_each_other)
{
    struct key keys[3];
    struct buf redeem = {0}, program = {0}, pays = {0}, output = {0};
    char arguments[400];
    script_push_height(&redeem, 2);
    for (uint8_t i = 0; i < 3; i++) {
        const uint8_t secret[32] = {[31] = (uint8_t)(i + 5)};
        cr_assert(key_from_secret(&keys[i], secret));
        script_push(&redeem, keys[i].public_key, 33);
    }
    script_push_height(&redeem, 3);
    buf_u8(&redeem, 0xae);
    script_wrap_witness(&program, buf_span(&redeem));
    script_wrap_p2sh(&pays, buf_span(&program));
    buf_i64(&output, 5 * COIN_SAT);
    buf_var_span(&output, buf_span(&pays));
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%064d\",\"vout\":0}],[{\"%s\":4.999}]]", 7, address);
    char *bare = mem_strdup(json_string_value(ask("createpsbt", arguments)));
    char *one = with_row(bare, 0, PSBT_IN_WITNESS_UTXO, buf_span(&output));
    char *two = with_row(one, 0, PSBT_IN_REDEEM_SCRIPT, buf_span(&program));
    char *base = with_row(two, 0, PSBT_IN_WITNESS_SCRIPT, buf_span(&redeem));
    char *first = signed_by(base, 0, &keys[2], buf_span(&redeem), true),
         *second = signed_by(base, 0, &keys[0], buf_span(&redeem), true);
    cr_assert(json_is_false(json_object_get(ask_about("finalizepsbt", first, ""), "complete")));
    cr_assert(json_object_get(json_object_get(reply, "result"), "psbt"));
    struct buf both = {0};
    buf_printf(&both, "[[\"%s\",\"%s\",\"%s\"]]%c", first, second, first, 0);
    char *combined = mem_strdup(json_string_value(ask("combinepsbt", (const char *)both.data)));
    json_t *final = ask_about("finalizepsbt", combined, "");
    cr_assert(json_is_true(json_object_get(final, "complete")), "%s", words());
    cr_assert(strlen(text_of(final, "hex")) > 500);
    /* A signature of something else is worth nothing. */
    char *lie = signed_by(first, 0, &keys[1], buf_span(&program), true);
    cr_assert(json_is_false(json_object_get(ask_about("finalizepsbt", lie, ""), "complete")));
    buf_clear(&both);
    buf_printf(&both, "[\"%s\"]%c", text_of(json_object_get(reply, "result"), "psbt"), 0);
    json_t *input = json_array_get(json_object_get(ask("decodepsbt", (const char *)both.data), "inputs"), 0);
    cr_assert_eq(json_object_size(json_object_get(input, "partial_signatures")), 2,
                 "and is kept for who knows better");
    cr_assert_null(json_object_get(input, "final_scriptwitness"));
    char *const all[] = {bare, one, two, base, first, second, combined, lie};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        mem_free(all[i]);
    }
    buf_free(&both);
    buf_free(&redeem);
    buf_free(&program);
    buf_free(&pays);
    buf_free(&output);
}

Test(rpc_psbt, joined_and_combined)
{
    char arguments[400];
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%064d\",\"vout\":%d}],[{\"data\":\"0%d\"}],%d]",
                 7, i, i, 100 + i);
        texts[i] = mem_strdup(json_string_value(ask("createpsbt", arguments)));
    }
    struct buf list = {0};
    buf_printf(&list, "[[\"%s\",\"%s\"]]%c", texts[0], texts[1], 0);
    cr_assert_eq(code_of("combinepsbt", (const char *)list.data), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "PSBTs not compatible (different transactions)");
    char *joined = mem_strdup(json_string_value(ask("joinpsbts", (const char *)list.data)));
    json_t *tx = json_object_get(ask_about("decodepsbt", joined, ""), "tx");
    cr_assert(json_array_size(json_object_get(tx, "vin")) == 2 &&
              json_array_size(json_object_get(tx, "vout")) == 2);
    cr_assert_eq(number(tx, "locktime"), 100);
    buf_clear(&list);
    buf_printf(&list, "[[\"%s\",\"%s\"]]%c", texts[0], texts[0], 0);
    cr_assert_eq(code_of("joinpsbts", (const char *)list.data), RPC_INVALID_PARAMETER);
    cr_assert(strstr(words(), "exists in multiple PSBTs"));
    buf_clear(&list);
    buf_printf(&list, "[[\"%s\"]]%c", texts[0], 0);
    cr_assert_eq(code_of("joinpsbts", (const char *)list.data), RPC_INVALID_PARAMETER);
    mem_free(texts[0]);
    mem_free(texts[1]);
    mem_free(joined);
    buf_free(&list);
}

/* BIP174's first valid case. */
#define FROM_BIP174                                                                                          \
    "cHNidP8BAHUCAAAAASaBcTce3/KF6Tet7qSze3gADAVmy7OtZGQXE8pCFxv2AAAAAAD+////AtPf9QUAAAAAGXapFNDFmQPF"       \
    "usKGh2DpD9UhpGZap2UgiKwA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+65PJwDlIvHh7MuEwAAAQD9pQEBAAAAAAECiaPHHqtN"       \
    "IOA3G7ukzGmPopXJRjr6Ljl/hTPMti+VZ+UBAAAAFxYAFL4Y0VKpsBIDna89p95PUzSe7LmF/////4b4qkOnHf8USIk6Uwpy"       \
    "N+9rRgi7st0tAXHmOuxqSJC0AQAAABcWABT+Pp7xp0XpdNkCxDVZQ6vLNL1TU/////8CAMLrCwAAAAAZdqkUhc/xCX/Z4Ai7"       \
    "NK9wnGIZeziXikiIrHL++E4sAAAAF6kUM5cluiHv1irHU6m80GfWx6ajnQWHAkcwRAIgJxK+IuAnDzlPVoMR3HyppolwuAJf"       \
    "3TskAinwf4pfOiQCIAGLONfc0xTnNMkna9b7QPZzMlvEuqFEyADS8vAtsnZcASED0uFWdJQbrUqZY3LLh+GFbTZSYG2YVi/j"       \
    "nF6efkE/IQUCSDBFAiEA0SuFLYXc2WHS9fSrZgZU327tzHlMDDPOXMMJ/7X85Y0CIGczio4OFyXBl/saiK9Z9R5E5CVbIBZ8"       \
    "hoQDHAXR8lkqASECI7cr7vCWXRC+B3jv7NYfysb3mk6haTkzgHNEZPhPKLMAAAAAAAAA"

Test(rpc_psbt, of_bip174)
{
    json_t *seen = ask_about("decodepsbt", FROM_BIP174, "");
    cr_assert_float_eq(json_real_value(json_object_get(seen, "fee")), 0.00000301, 1e-12);
    cr_assert(json_object_get(json_array_get(json_object_get(seen, "inputs"), 0), "non_witness_utxo"));
    cr_assert_str_eq(json_string_value(ask("combinepsbt", "[[\"" FROM_BIP174 "\"]]")), FROM_BIP174,
                     "written as it was read");
    cr_assert_str_eq(text_of(ask_about("analyzepsbt", FROM_BIP174, ""), "next"), "signer");
}

/* Some of its invalid cases, and rows that are not what their type says. */
Test(rpc_psbt, what_can_be_read)
{
    static const char *const wrong[] = {
        "",
        "x",
        "cHNidP8=",
        "cHNidP8A",
        /* a transaction on the wire, not a PSBT */
        "AgAAAAEmgXE3Ht/yhek3re6ks3t4AAwFZsuzrWRkFxPKQhcb9gAAAABqRzBEAiBwsiRRI+a/"
        "R01gxbUMBD1MaRpdJDXwmjSnZiqdwlF5CgIgATKcqdr"
        "Kvfvs3dyaMKctlTI3fNUmOi+7QLTj3DZuqCABIQJ/cHJTUVAx4IXqHeA9oRlzmyxsa2j7xkZ24RGL0PhKCwAAAAA=",
        /* cut off within its first input */
        "cHNidP8BAHUCAAAAASaBcTce3/KF6Tet7qSze3gADAVmy7OtZGQXE8pCFxv2AAAAAAD+////"
        "AtPf9QUAAAAAGXapFNDFmQPFusKGh2DpD9UhpGZap2"
        "UgiKwA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+"
        "65PJwDlIvHh7MuEwAAAQD9pQEBAAAAAAECiaPHHqtNIOA3G7ukzGmPopXJRjr6Ljl/hTPMti+VZ+UBAAAA",
    };
    char arguments[400];
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        ask_about("decodepsbt", wrong[i], "");
        cr_expect_eq(last_code(), RPC_DESERIALIZATION_ERROR, "%zu", i);
        cr_expect(strstr(words(), "TX decode failed"), "%s", words());
    }
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%064d\",\"vout\":0}],[{\"%s\":1}]]", 7, address);
    const char *text = json_string_value(ask("createpsbt", arguments));
    struct psbt *psbt = psbt_parse(text, NULL);
    cr_assert(psbt);
    uint8_t bad_key[34] = {PSBT_IN_PARTIAL_SIG, 5};
    const struct {
        struct span key, value;
    } rows[] = {
        {span_of(bad_key, 34), span_of(bad_key, 10)},                         /* no such key */
        {span_of((uint8_t[]){PSBT_IN_WITNESS_UTXO}, 1), span_of(bad_key, 3)}, /* no output */
        {span_of((uint8_t[]){PSBT_IN_SIGHASH}, 1), span_of(bad_key, 3)},      /* too short */
        {span_of((uint8_t[]){PSBT_IN_NON_WITNESS_UTXO}, 1), psbt->tx->raw},   /* of another transaction */
        {span_of((uint8_t[]){PSBT_IN_FINAL_WITNESS}, 1), span_of("\5\1", 2)}, /* more items than bytes */
        {span_of((uint8_t[]){PSBT_IN_TAP_KEY_SIG}, 1), span_of(bad_key, 34)},
        {span_of(bad_key, 2), span_of(bad_key, 10)},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buf out = {0};
        struct error error = {0};
        struct psbt *copy = psbt_new(psbt->tx);
        cr_assert(psbt_put(copy, &copy->inputs[0], rows[i].key, rows[i].value));
        psbt_write(&out, copy);
        buf_u8(&out, 0);
        cr_expect_null(psbt_parse((const char *)out.data, &error), "row %zu", i);
        cr_expect(*error.text);
        psbt_free(copy);
        buf_free(&out);
    }
    psbt_free(psbt);
}

/* Two copies of a payment from a 2-of-2, each with one signature: neither passes alone, both together do. */
Test(rpc_psbt, copies_with_some_signatures)
{
    struct key keys[2];
    struct buf script_of_two = {0}, arguments = {0}, raws[2] = {{0}};
    struct outpoint coin;
    char desc[300], hex[2][1000] = {"", ""};
    for (uint8_t i = 0; i < 2; i++) {
        const uint8_t secret[32] = {[31] = (uint8_t)(i + 9)};
        cr_assert(key_from_secret(&keys[i], secret));
    }
    script_push_height(&script_of_two, 2);
    script_push(&script_of_two, keys[0].public_key, 33);
    script_push(&script_of_two, keys[1].public_key, 33);
    script_push_height(&script_of_two, 2);
    buf_u8(&script_of_two, 0xae);
    char of_script[200];
    hex_encode(of_script, script_of_two.data, script_of_two.len);
    of_script[2 * script_of_two.len] = 0;
    snprintf(desc, sizeof desc, "[1,\"raw(%s)\"]", of_script);
    cr_assert_eq(json_array_size(ask("generatetodescriptor", desc)), 1, "%s", words());
    coinbase_of(1, &coin);
    mine(100);
    for (int i = 0; i < 2; i++) {
        struct hash256 hash;
        struct buf in_script = {0}, signature = {0};
        struct tx_input in = {.prevout = coin, .sequence = SEQUENCE_FINAL};
        struct tx_output out = {{49 * COIN_SAT}, buf_span(&script)};
        struct tx tx = {.version = 2, .input_count = 1, .output_count = 1, .inputs = &in, .outputs = &out};
        sighash_legacy(&hash, &tx, 0, buf_span(&script_of_two), 1);
        key_sign(&signature, &keys[i], &hash, 1);
        buf_u8(&in_script, 0);
        script_push(&in_script, signature.data, signature.len);
        in.script = buf_span(&in_script);
        tx_write(&raws[i], &tx, true);
        hex_encode(hex[i], raws[i].data, raws[i].len);
        buf_free(&in_script);
        buf_free(&signature);
        ask_about("sendrawtransaction", hex[i], ",0");
        cr_assert_neq(last_code(), 0);
    }
    buf_printf(&arguments, "[[\"%s\",\"%s\"]]%c", hex[1], hex[0], 0);
    char *whole = mem_strdup(json_string_value(ask("combinerawtransaction", (const char *)arguments.data)));
    ask_about("sendrawtransaction", whole, ",0");
    cr_assert_eq(last_code(), 0, "%s", words());
    buf_clear(&arguments);
    buf_printf(&arguments, "[[\"%s\"]]%c", hex[0], 0);
    cr_assert_str_eq(json_string_value(ask("combinerawtransaction", (const char *)arguments.data)), hex[0],
                     "one alone stays as it is");
    cr_assert_eq(code_of("combinerawtransaction", "[[]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("combinerawtransaction", "[[\"00\"]]"), RPC_DESERIALIZATION_ERROR);
    mine(1);
    cr_assert_eq(code_of("combinerawtransaction", (const char *)arguments.data), RPC_VERIFY_ERROR);
    cr_assert_str_eq(words(), "Input not found or already spent");
    mem_free(whole);
    buf_free(&arguments);
    buf_free(&script_of_two);
    buf_free(&raws[0]);
    buf_free(&raws[1]);
}

/* Both keys one after the other, each by itself, of a multisignature in each of its wrappings. */
Test(rpc_psbt, multisignatures_are_signed_key_by_key)
{
    struct key keys[2];
    struct buf script_of_two = {0}, pays[3] = {{0}}, program = {0};
    char inner[200], hex[2000], arguments[3000], wif[2][64], outer[100];
    script_push_height(&script_of_two, 2);
    for (uint8_t i = 0; i < 2; i++) {
        const uint8_t secret[32] = {[31] = (uint8_t)(i + 21)};
        cr_assert(key_from_secret(&keys[i], secret));
        key_to_wif(wif[i], &keys[i], &params);
        script_push(&script_of_two, keys[i].public_key, 33);
    }
    script_push_height(&script_of_two, 2);
    buf_u8(&script_of_two, 0xae);
    hex_encode(inner, script_of_two.data, script_of_two.len);
    inner[2 * script_of_two.len] = 0;
    script_wrap_p2sh(&pays[0], buf_span(&script_of_two));
    script_wrap_witness(&pays[1], buf_span(&script_of_two));
    script_wrap_witness(&program, buf_span(&script_of_two));
    script_wrap_p2sh(&pays[2], buf_span(&program));
    static const char *const names[] = {"redeemScript", "witnessScript", "witnessScript"},
                             *const types[] = {"ALL", "SINGLE|ANYONECANPAY", "NONE"};
    for (int kind = 0; kind < 3; kind++) {
        snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%064d\",\"vout\":7}],{\"%s\":1}]", 5, address);
        strcpy(hex, json_string_value(ask("createrawtransaction", arguments)));
        hex_encode(outer, pays[kind].data, pays[kind].len);
        outer[2 * pays[kind].len] = 0;
        for (int i = 0; i < 2; i++) {
            snprintf(arguments, sizeof arguments,
                     "[\"%s\",[\"%s\"],[{\"txid\":\"%064d\",\"vout\":7,\"scriptPubKey\":\"%s\",\"%s\":\"%s\","
                     "\"amount\":2}],\"%s\"]",
                     hex, wif[1 - i], 5, outer, names[kind], inner, types[kind]);
            json_t *done = ask("signrawtransactionwithkey", arguments);
            cr_assert_eq(json_is_true(json_object_get(done, "complete")), i == 1, "kind %d, key %d: %s", kind,
                         i, words());
            strcpy(hex, text_of(done, "hex"));
        }
        buf_free(&pays[kind]);
    }
    cr_assert_eq(code_of("signrawtransactionwithkey", "[\"00\",[],[],\"SOME\"]"), RPC_INVALID_PARAMETER);
    buf_free(&program);
    buf_free(&script_of_two);
}
