/* The RPC table: requests, and the methods' results and errors. */
#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

TestSuite(rpc, .init = rig_begin, .fini = rig_end);

Test(rpc, a_node_with_nothing_to_do_sleeps)
{
    unsigned timers = 0;
    for (int64_t end_us = now.mono_us + 20000000; now.mono_us < end_us; timers++) {
        now.mono_us = due_us > now.mono_us ? due_us : now.mono_us;
        happen((struct event){.kind = EVENT_TIMER});
    }
    cr_assert_leq(timers, 60, "%u timers in 20 s", timers);
}

Test(rpc, requests_and_batches)
{
    cr_assert_eq(json_integer_value(ask("getblockcount", "[]")), 0);
    cr_assert(json_is_null(json_object_get(reply, "error")));
    cr_assert_eq(code_of("nosuchmethod", "[]"), RPC_METHOD_NOT_FOUND);
    say("{");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(reply, "error"), "code")),
                 RPC_PARSE_ERROR);
    say("{\"id\":7,\"params\":[]}");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(reply, "error"), "code")),
                 RPC_INVALID_REQUEST);
    cr_assert_str_eq(words(), "Missing method");
    say("[{\"id\":1,\"method\":\"getblockcount\"},{\"id\":\"b\",\"method\":\"nothing\"},5]");
    cr_assert_eq(json_array_size(reply), 3);
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(reply, 1), "id")), "b");
    say("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"getblockcount\"}");
    cr_assert_null(json_object_get(reply, "error"));
    cr_assert_str_eq(json_string_value(json_object_get(reply, "jsonrpc")), "2.0");
}

Test(rpc, arguments)
{
    cr_assert_eq(code_of("getblockhash", "[]"), RPC_MISC_ERROR);
    cr_assert_eq(code_of("getblockhash", "[\"0\"]"), RPC_TYPE_ERROR);
    cr_assert_eq(code_of("getblockhash", "[1]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Block height out of range");
    cr_assert_eq(code_of("getblockhash", "[0,1]"), RPC_MISC_ERROR);
    cr_assert(json_is_string(ask("getblockhash", "{\"height\":0}")));
    cr_assert_eq(code_of("getblockhash", "{\"hoehe\":0}"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Unknown named parameter hoehe");
    cr_assert(json_is_string(ask("getblockhash", "{\"args\":[0]}")));
    cr_assert_eq(code_of("getblockhash", "{\"args\":[0],\"height\":0}"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Parameter height specified twice both as positional and named argument");
    cr_assert_eq(code_of("getblock", "[\"00\"]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "blockhash must be of length 64 (not 2, for '00')");
}

Test(rpc, every_method_explains_itself)
{
    const char *all = json_string_value(ask("help", "[]"));
    cr_assert(all && strstr(all, "== Blockchain ==\n"));
    cr_assert(
        strstr(json_string_value(ask("help", "[\"getblock\"]")), "getblock \"blockhash\" ( verbosity )\n\n"));
    cr_assert_str_eq(json_string_value(ask("help", "[\"x\"]")), "help: unknown command: x");
}

Test(rpc, blocks_and_money)
{
    char hash[HASH256_TEXT], arguments[300];
    mine(101);
    strcpy(hash, json_string_value(ask("getblockhash", "[1]")));
    snprintf(arguments, sizeof arguments, "[\"%s\",2]", hash);
    json_t *block = ask("getblock", arguments);
    cr_assert_eq(number(block, "confirmations"), 101);
    cr_assert_eq(json_array_size(json_object_get(block, "tx")), 1);
    snprintf(arguments, sizeof arguments, "[\"%s\",false]", hash);
    cr_assert_eq(strlen(json_string_value(ask("getblockheader", arguments))), 160);
    json_t *stats = ask("getchaintxstats", "[50]");
    cr_assert_eq(number(stats, "txcount"), 102);
    cr_assert_eq(number(stats, "window_tx_count"), 50);
    cr_assert_eq(code_of("getchaintxstats", "[101]"), RPC_INVALID_PARAMETER);
    json_t *deployments = json_object_get(ask("getdeploymentinfo", "[]"), "deployments");
    cr_assert(json_is_true(json_object_get(json_object_get(deployments, "segwit"), "active")));
    json_t *fee = ask("estimatesmartfee", "[6]");
    cr_assert_eq(number(fee, "blocks"), 6);
    cr_assert_eq(code_of("estimatesmartfee", "[0]"), RPC_INVALID_PARAMETER);
    cr_assert(json_is_true(json_object_get(json_object_get(ask("getindexinfo", "[]"), "txindex"), "synced")));
}

Test(rpc, raw_transactions)
{
    char arguments[600], hex[400];
    snprintf(arguments, sizeof arguments,
             "[[{\"txid\":\"%064d\",\"vout\":3}],[{\"%s\":0.1},{\"data\":\"00ff\"}]]", 1, address);
    strcpy(hex, json_string_value(ask("createrawtransaction", arguments)));
    snprintf(arguments, sizeof arguments, "[\"%s\"]", hex);
    json_t *tx = ask("decoderawtransaction", arguments);
    json_t *in = json_array_get(json_object_get(tx, "vin"), 0), *out = json_object_get(tx, "vout");
    cr_assert_eq(number(in, "vout"), 3);
    cr_assert_eq(number(in, "sequence"), 0xfffffffd);
    cr_assert_float_eq(json_real_value(json_object_get(json_array_get(out, 0), "value")), 0.1, 1e-12);
    cr_assert_str_eq(
        json_string_value(json_object_get(json_object_get(json_array_get(out, 1), "scriptPubKey"), "type")),
        "nulldata");
    snprintf(arguments, sizeof arguments, "[[],[{\"%s\":\"0.123456789\"}]]", address);
    cr_assert_eq(code_of("createrawtransaction", arguments), RPC_TYPE_ERROR);
    snprintf(arguments, sizeof arguments, "[[],[{\"%s\":1},{\"%s\":2}]]", address, address);
    cr_assert_eq(code_of("createrawtransaction", arguments), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("createrawtransaction", "[[],[{\"nobody\":1}]]"), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("sendrawtransaction", "[\"zz\"]"), RPC_DESERIALIZATION_ERROR);
}

Test(rpc, waiting_for_blocks)
{
    ask("waitforblockheight", "[2]");
    cr_assert_null(reply, "answered before the block is there");
    const char *more = "{\"id\":2,\"method\":\"generatetodescriptor\",\"params\":[2,\"raw(51)\"]}";
    happen((struct event){.kind = EVENT_RPC, .rpc = 2, .rpc_text = more, .rpc_len = strlen(more)});
    cr_assert_eq(number(json_object_get(reply, "result"), "height"), 2);
    cr_assert_eq(number(ask("waitforblockheight", "[2]"), "height"), 2);
}

Test(rpc, waiting_has_an_end)
{
    ask("waitfornewblock", "[50]");
    cr_assert_null(reply);
    now.mono_us += 60000;
    happen((struct event){.kind = EVENT_TIMER});
    cr_assert_eq(number(json_object_get(reply, "result"), "height"), 0);
    cr_assert_eq(code_of("waitfornewblock", "[-1]"), RPC_MISC_ERROR);
    cr_assert_str_eq(words(), "Negative timeout");
}

Test(rpc, the_node_itself)
{
    cr_assert(json_is_object(json_object_get(ask("getmemoryinfo", "[]"), "locked")));
    cr_assert_eq(code_of("getmemoryinfo", "[\"x\"]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(json_array_size(json_object_get(ask("getrpcinfo", "[]"), "active_commands")), 1);
    cr_assert_eq(json_array_size(ask("getzmqnotifications", "[]")), 0);
    cr_assert(json_is_boolean(json_object_get(ask("logging", "[]"), "net")));
    cr_assert_eq(code_of("logging", "[[\"nonsense\"]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(number(ask("getnettotals", "[]"), "totalbytesrecv"), 0);
    cr_assert_eq(json_array_size(ask("getaddednodeinfo", "[]")), 0);
    cr_assert_eq(code_of("getaddednodeinfo", "[\"n1\"]"), RPC_CLIENT_NODE_NOT_ADDED);
    cr_assert(json_is_null(ask("ping", "[]")));
}

Test(rpc, ways_into_the_mempool)
{
    struct outpoint coin;
    struct hash256 txid;
    struct buf list = {0};
    mine(101);
    coinbase_of(1, &coin);
    const char *hex = payment(coin, 50 * COIN_SAT, 1000, &txid);
    buf_printf(&list, "[[\"%s\"]]%c", hex, 0);
    json_t *tested = json_array_get(ask("testmempoolaccept", (const char *)list.data), 0);
    cr_assert(json_is_true(json_object_get(tested, "allowed")));
    cr_assert_float_eq(json_real_value(json_object_get(json_object_get(tested, "fees"), "base")), 0.00001,
                       1e-12);
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 0, "a test took it in");
    cr_assert(ask_about("sendrawtransaction", hex, "") && !last_code());
    tested = json_array_get(ask("testmempoolaccept", (const char *)list.data), 0);
    cr_assert_str_eq(json_string_value(json_object_get(tested, "reject-reason")), "txn-already-in-mempool");
    buf_free(&list);
    coinbase_of(3, &coin);
    hex = payment(coin, 50 * COIN_SAT, COIN_SAT, &txid);
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), RPC_VERIFY_REJECTED, "a coinbase that is not mature");
    mine(1);
    coinbase_of(2, &coin);
    hex = payment(coin, 50 * COIN_SAT, COIN_SAT, &txid);
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), RPC_VERIFY_ERROR);
    cr_assert_str_eq(words(), "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)");
    ask_about("sendrawtransaction", hex, ",0");
    cr_assert_eq(last_code(), 0);
    cr_assert_eq(code_of("testmempoolaccept", "[[]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("testmempoolaccept", "[[\"00\"]]"), RPC_DESERIALIZATION_ERROR);
    cr_assert_eq(code_of("testmempoolaccept", "[[\"00\"],1]"), RPC_INVALID_PARAMETER);
}

/* What a transaction spent and paid is read from the block's undo record. */
Test(rpc, what_a_block_spent)
{
    struct outpoint coin;
    struct hash256 ids[2];
    char text[HASH256_TEXT], options[80];
    mine(101);
    coinbase_of(1, &coin);
    for (int i = 0; i < 2; i++) {
        const char *hex = payment(coin, 50 * COIN_SAT - 1000 * i, 1000, &ids[i]);
        cr_assert(ask_about("sendrawtransaction", hex, "") && !last_code());
        coin = (struct outpoint){ids[i], 0};
    }
    mine(1);
    snprintf(options, sizeof options, "%s", json_string_value(ask("getbestblockhash", "[]")));
    json_t *tx = json_array_get(json_object_get(ask_about("getblock", options, ",2"), "tx"), 2);
    cr_assert_float_eq(json_real_value(json_object_get(tx, "fee")), 0.00001, 1e-12);
    cr_assert_null(json_object_get(json_array_get(json_object_get(tx, "vin"), 0), "prevout"));
    json_t *txs = json_object_get(ask_about("getblock", options, ",3"), "tx");
    cr_assert_null(json_object_get(json_array_get(txs, 0), "fee"), "a coinbase pays none");
    json_t *first = json_array_get(json_object_get(json_array_get(txs, 1), "vin"), 0);
    cr_assert(json_is_true(json_object_get(json_object_get(first, "prevout"), "generated")));
    cr_assert_eq(number(json_object_get(first, "prevout"), "height"), 1);
    json_t *second = json_array_get(json_object_get(json_array_get(txs, 2), "vin"), 0);
    cr_assert(json_is_false(json_object_get(json_object_get(second, "prevout"), "generated")));
    cr_assert_eq(number(json_object_get(second, "prevout"), "height"), 102);
    tx = ask_about("getrawtransaction", hash256_text(text, &ids[1]), ",2");
    cr_assert_float_eq(json_real_value(json_object_get(tx, "fee")), 0.00001, 1e-12);
    json_t *spent = json_object_get(json_array_get(json_object_get(tx, "vin"), 0), "prevout");
    cr_assert_float_eq(json_real_value(json_object_get(spent, "value")), 49.99999, 1e-9);
    cr_assert_null(json_object_get(ask_about("getrawtransaction", text, ",1"), "fee"));
}

Test(rpc, families_in_the_mempool)
{
    struct outpoint coin;
    struct hash256 ids[3];
    char texts[3][HASH256_TEXT];
    mine(101);
    coinbase_of(1, &coin);
    for (int i = 0; i < 3; i++) {
        const char *hex = payment(coin, 50 * COIN_SAT - 1000 * i, 1000, &ids[i]);
        cr_assert(ask_about("sendrawtransaction", hex, "") && !last_code());
        hash256_text(texts[i], &ids[i]);
        coin = (struct outpoint){ids[i], 0};
    }
    cr_assert_eq(json_array_size(ask_about("getmempoolancestors", texts[2], "")), 2);
    cr_assert_eq(json_array_size(ask_about("getmempooldescendants", texts[0], "")), 2);
    json_t *child = json_object_get(ask_about("getmempooldescendants", texts[1], ",true"), texts[2]);
    cr_assert_eq(number(child, "ancestorcount"), 3);
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(child, "depends"), 0)), texts[1]);
    ask_about("getmempoolancestors", "00", "");
    cr_assert_eq(last_code(), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("getrawmempool", "[true,true]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(json_array_size(json_object_get(ask("getrawmempool", "[false,true]"), "txids")), 3);
}

Test(rpc, a_template_for_miners)
{
    struct outpoint coin;
    struct hash256 ids[2];
    char poll[120];
    mine(101);
    coinbase_of(1, &coin);
    ask_about("sendrawtransaction", payment(coin, 50 * COIN_SAT, 1000, &ids[0]), "");
    ask_about("sendrawtransaction",
              payment((struct outpoint){ids[0], 0}, 50 * COIN_SAT - 1000, 5000, &ids[1]), "");
    json_t *t = ask("getblocktemplate", "[{\"rules\":[\"segwit\"]}]"),
           *txs = json_object_get(t, "transactions");
    cr_assert_eq(number(t, "height"), 102);
    cr_assert_eq(number(t, "coinbasevalue"), 50 * COIN_SAT + 6000);
    cr_assert_eq(json_array_size(txs), 2);
    cr_assert_eq(number(json_array_get(txs, 0), "fee"), 1000);
    cr_assert_eq(number(json_array_get(txs, 0), "sigops"), 1);
    cr_assert_eq(json_integer_value(json_array_get(json_object_get(json_array_get(txs, 1), "depends"), 0)),
                 1);
    cr_assert_eq(strlen(json_string_value(json_object_get(t, "default_witness_commitment"))), 76);
    cr_assert(strncmp(json_string_value(json_object_get(t, "target")), "7fffff00", 8) == 0);
    snprintf(poll, sizeof poll, "%s", json_string_value(json_object_get(t, "longpollid")));
    cr_assert_eq(code_of("getblocktemplate", "[]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("getblocktemplate", "[{\"mode\":\"x\"}]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("getblocktemplate", "[{\"rules\":[\"segwit\"],\"longpollid\":\"00\"}]"),
                 RPC_INVALID_PARAMETER);

    char request[300];
    snprintf(request, sizeof request, "[{\"rules\":[\"segwit\"],\"longpollid\":\"%s\"}]", poll);
    ask("getblocktemplate", request);
    cr_assert_null(reply, "nothing has changed");
    now.mono_us += 61000000;
    happen((struct event){.kind = EVENT_TIMER});
    cr_assert_null(reply, "the mempool has not changed either");
    const char *more = "{\"id\":2,\"method\":\"generatetodescriptor\",\"params\":[1,\"raw(51)\"]}";
    happen((struct event){.kind = EVENT_RPC, .rpc = 2, .rpc_text = more, .rpc_len = strlen(more)});
    cr_assert_eq(number(json_object_get(reply, "result"), "height"), 103);
}

Test(rpc, headers_from_outside)
{
    char hash[HASH256_TEXT], hex[161], spoiled[161];
    mine(1);
    strcpy(hash, json_string_value(ask("getbestblockhash", "[]")));
    strcpy(hex, json_string_value(ask_about("getblockheader", hash, ",false")));
    ask_about("submitheader", hex, "");
    cr_assert_eq(last_code(), 0);
    ask_about("submitheader", "00", "");
    cr_assert_eq(last_code(), RPC_DESERIALIZATION_ERROR);
    strcpy(spoiled, hex);
    spoiled[8] ^= 1; /* '0' to '1': another parent */
    ask_about("submitheader", spoiled, "");
    cr_assert_eq(last_code(), RPC_VERIFY_ERROR);
    cr_assert(strstr(words(), "Must submit previous header"));
}

Test(rpc, proofs_that_a_block_holds_transactions)
{
    struct outpoint coin;
    struct hash256 ids[5];
    char tip[HASH256_TEXT], proof[2000], texts[5][HASH256_TEXT], arguments[400];
    mine(101);
    coinbase_of(1, &coin);
    for (int i = 0; i < 5; i++) {
        ask_about("sendrawtransaction", payment(coin, 50 * COIN_SAT - 1000 * i, 1000, &ids[i]), "");
        cr_assert_eq(last_code(), 0);
        hash256_text(texts[i], &ids[i]);
        coin = (struct outpoint){ids[i], 0};
    }
    mine(1);
    strcpy(tip, json_string_value(ask("getbestblockhash", "[]")));
    for (unsigned mask = 1; mask < 32; mask++) {
        size_t wanted = 0;
        struct buf list = {0};
        buf_printf(&list, "[[");
        for (unsigned i = 0; i < 5; i++) {
            if (mask >> i & 1) {
                buf_printf(&list, "%s\"%s\"", wanted++ ? "," : "", texts[i]);
            }
        }
        buf_printf(&list, "],\"%s\"]%c", tip, 0);
        const char *made = json_string_value(ask("gettxoutproof", (const char *)list.data));
        cr_assert(made, "%s", words());
        strcpy(proof, made);
        cr_assert_eq(json_array_size(ask_about("verifytxoutproof", proof, "")), wanted);
        proof[180] = proof[180] == '0' ? '1' : '0'; /* in the first hash */
        cr_assert_eq(json_array_size(ask_about("verifytxoutproof", proof, "")), 0);
        buf_free(&list);
    }
    snprintf(arguments, sizeof arguments, "[[\"%s\"]]", texts[3]);
    cr_assert(json_is_string(ask("gettxoutproof", arguments)), "the index finds the block");
    snprintf(arguments, sizeof arguments, "[[\"%s\",\"%s\"]]", texts[3], texts[3]);
    cr_assert_eq(code_of("gettxoutproof", arguments), RPC_INVALID_PARAMETER);
    snprintf(arguments, sizeof arguments, "[[\"%064d\"],\"%s\"]", 1, tip);
    cr_assert_eq(code_of("gettxoutproof", arguments), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("gettxoutproof", "[[]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("verifytxoutproof", "[\"00\"]"), RPC_DESERIALIZATION_ERROR);
}

Test(rpc, signing_with_keys)
{
    struct outpoint coin;
    char wif[64], txid[HASH256_TEXT], hex[1000], arguments[1500];
    mine(101);
    coinbase_of(1, &coin);
    key_to_wif(wif, &key, &params);
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%s\",\"vout\":0}],{\"%s\":49.999}]",
             hash256_text(txid, &coin.txid), address);
    strcpy(hex, json_string_value(ask("createrawtransaction", arguments)));
    snprintf(arguments, sizeof arguments, "[\"%s\",[]]", hex);
    json_t *done = ask("signrawtransactionwithkey", arguments);
    cr_assert(json_is_false(json_object_get(done, "complete")));
    cr_assert_eq(json_array_size(json_object_get(done, "errors")), 1);
    snprintf(arguments, sizeof arguments, "[\"%s\",[\"%s\"]]", hex, wif);
    done = ask("signrawtransactionwithkey", arguments);
    cr_assert(json_is_true(json_object_get(done, "complete")));
    strcpy(hex, json_string_value(json_object_get(done, "hex")));
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), 0);
    snprintf(arguments, sizeof arguments, "[\"%s\",[\"x\"]]", hex);
    cr_assert_eq(code_of("signrawtransactionwithkey", arguments), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("signrawtransactionwithkey", "[\"00\",[]]"), RPC_DESERIALIZATION_ERROR);
}

/* An output that only the caller knows, of each kind that a key owns. */
Test(rpc, signing_what_the_caller_knows)
{
    char wif[64], hex[300], arguments[1500];
    uint8_t hash[20];
    struct buf scripts[3] = {{0}};
    hash160(hash, key.public_key, 33);
    buf_bytes(&scripts[0], "\x76\xa9\x14", 3); /* P2PKH */
    buf_bytes(&scripts[0], hash, 20);
    buf_bytes(&scripts[0], "\x88\xac", 2);
    script_push(&scripts[1], key.public_key, 33); /* P2PK */
    buf_u8(&scripts[1], 0xac);
    hash160(hash, script.data, script.len); /* P2WPKH in P2SH */
    buf_bytes(&scripts[2], "\xa9\x14", 2);
    buf_bytes(&scripts[2], hash, 20);
    buf_u8(&scripts[2], 0x87);
    key_to_wif(wif, &key, &params);
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%064d\",\"vout\":7}],{\"%s\":1}]", 5, address);
    strcpy(hex, json_string_value(ask("createrawtransaction", arguments)));
    for (int i = 0; i < 3; i++) {
        char text[100] = "";
        hex_encode(text, scripts[i].data, scripts[i].len);
        text[scripts[i].len * 2] = 0;
        snprintf(arguments, sizeof arguments,
                 "[\"%s\",[\"%s\"],[{\"txid\":\"%064d\",\"vout\":7,\"scriptPubKey\":\"%s\",\"amount\":2}]]",
                 hex, wif, 5, text);
        json_t *done = ask("signrawtransactionwithkey", arguments);
        cr_assert(json_is_true(json_object_get(done, "complete")), "kind %d: %s", i, words());
        buf_free(&scripts[i]);
    }
}

Test(rpc, a_block_of_chosen_transactions)
{
    struct outpoint coin;
    struct hash256 ids[2];
    char text[HASH256_TEXT], arguments[1300], hex[1000];
    mine(102);
    coinbase_of(1, &coin);
    ask_about("sendrawtransaction", payment(coin, 50 * COIN_SAT, 1000, &ids[0]), "");
    coinbase_of(2, &coin);
    strcpy(hex, payment(coin, 50 * COIN_SAT, 1000, &ids[1]));
    snprintf(arguments, sizeof arguments, "[\"%s\",[\"%s\"]]", address, hex);
    ask("generateblock", arguments);
    cr_assert_eq(last_code(), 0, "%s", words());
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 1, "what was not chosen stays");
    ask("generateblock", arguments);
    cr_assert_eq(last_code(), RPC_VERIFY_ERROR, "the same again");
    cr_assert_eq(json_integer_value(ask("getblockcount", "[]")), 103);
    snprintf(arguments, sizeof arguments, "[\"raw(51)\",[\"%s\"]]", hash256_text(text, &ids[0]));
    json_t *made = ask("generateblock", arguments);
    cr_assert_eq(strlen(json_string_value(json_object_get(made, "hash"))), 64);
    cr_assert_eq(number(ask("getmempoolinfo", "[]"), "size"), 0);
    cr_assert_eq(code_of("generateblock", arguments), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("generateblock", "[\"raw(51)\",[\"00\"]]"), RPC_DESERIALIZATION_ERROR);
    cr_assert_eq(code_of("generateblock", "[\"raw(51)\",[]]"), 0);
    mine(1);
}

Test(rpc, the_state_of_the_chain)
{
    char hash[HASH256_TEXT];
    mine(3);
    json_t *info = ask("getblockchaininfo", "[]");
    cr_assert_str_eq(json_string_value(json_object_get(info, "bits")), "207fffff");
    cr_assert_eq(strlen(json_string_value(json_object_get(info, "target"))), 64);
    json_t *state = json_array_get(json_object_get(ask("getchainstates", "[]"), "chainstates"), 0);
    cr_assert_eq(number(state, "blocks"), 3);
    cr_assert(json_is_true(json_object_get(state, "validated")));
    cr_assert_eq(number(json_object_get(ask("getmininginfo", "[]"), "next"), "height"), 4);
    json_t *taproot =
        json_object_get(json_object_get(ask("getdeploymentinfo", "[]"), "deployments"), "taproot");
    cr_assert_eq(number(taproot, "height"), 0);
    cr_assert(json_is_true(json_object_get(taproot, "active")));
    cr_assert_eq(number(json_object_get(taproot, "bip9"), "start_time"), -1);
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(taproot, "bip9"), "status_next")),
                     "active");
    snprintf(hash, sizeof hash, "%s", json_string_value(ask("getbestblockhash", "[]")));
    cr_assert_eq(json_array_size(json_object_get(ask_about("getblock", hash, ",9"), "tx")), 1,
                 "a higher verbosity is the highest");
    cr_assert(json_is_string(ask_about("getblock", hash, ",-1")));
}

Test(rpc, transactions_and_the_chain_they_are_in)
{
    struct outpoint coin;
    char hash[HASH256_TEXT], txid[HASH256_TEXT], rest[80];
    mine(2);
    coinbase_of(2, &coin);
    hash256_text(txid, &coin.txid);
    snprintf(hash, sizeof hash, "%s", json_string_value(ask("getbestblockhash", "[]")));
    snprintf(rest, sizeof rest, ",1,\"%s\"", hash);
    json_t *tx = ask_about("getrawtransaction", txid, rest);
    cr_assert(json_is_true(json_object_get(tx, "in_active_chain")));
    cr_assert_eq(number(tx, "confirmations"), 1);
    cr_assert_null(json_object_get(ask_about("getrawtransaction", txid, ",1"), "in_active_chain"));
    ask_about("invalidateblock", hash, "");
    tx = ask_about("getrawtransaction", txid, rest);
    cr_assert(json_is_false(json_object_get(tx, "in_active_chain")));
    cr_assert_eq(number(tx, "confirmations"), 0);
    cr_assert_null(json_object_get(tx, "blocktime"));
    coinbase_of(0, &coin);
    ask_about("getrawtransaction", hash256_text(txid, &coin.txid), "");
    cr_assert_eq(last_code(), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert(strstr(words(), "genesis block coinbase"));
}

/* Each call of a batch sees what those before it did, also one that waits for a disk or a block. */
Test(rpc, a_batch_goes_in_order)
{
    char text[600];
    snprintf(text, sizeof text,
             "[{\"id\":1,\"method\":\"generatetoaddress\",\"params\":[2,\"%s\"]},{\"id\":2,\"method\":"
             "\"getblockcount\"},{\"id\":3,\"method\":\"waitforblockheight\",\"params\":[3,1000]},{\"id\":4,"
             "\"method\":\"getblockcount\"}]",
             address);
    say(text);
    cr_assert_null(reply, "the third call waits");
    const char *more = "{\"id\":2,\"method\":\"generatetodescriptor\",\"params\":[1,\"raw(51)\"]}";
    happen((struct event){.kind = EVENT_RPC, .rpc = 2, .rpc_text = more, .rpc_len = strlen(more)});
    happen((struct event){.kind = EVENT_TIMER});
    cr_assert_eq(json_array_size(reply), 4);
    cr_assert_eq(json_integer_value(json_object_get(json_array_get(reply, 1), "result")), 2);
    cr_assert_eq(json_integer_value(json_object_get(json_array_get(reply, 3), "result")), 3);
}

Test(rpc, a_long_batch_lets_others_through)
{
    struct buf text = {0};
    buf_printf(&text, "[");
    for (int i = 0; i < 250; i++) {
        buf_printf(&text, "%s{\"id\":%d,\"method\":\"getblockhash\",\"params\":[0]}", i ? "," : "", i);
    }
    buf_printf(&text, "]%c", 0);
    say((const char *)text.data);
    cr_assert_null(reply);
    cr_assert_eq(json_integer_value(ask("getblockcount", "[]")), 0, "%s", words());
    for (int i = 0; i < 3; i++) {
        happen((struct event){.kind = EVENT_TIMER});
    }
    cr_assert_eq(json_array_size(reply), 250);
    say((const char *)text.data);
    happen((struct event){.kind = EVENT_RPC_GONE, .rpc = 1});
    json_decref(reply);
    reply = NULL;
    happen((struct event){.kind = EVENT_TIMER});
    cr_assert_null(reply, "nobody waits for it any more");
    say((const char *)text.data); /* and one that the end of the node finds half done */
    buf_free(&text);
}

Test(rpc, types_and_other_names)
{
    char hash[HASH256_TEXT], arguments[200];
    cr_assert_eq(code_of("waitforblock", "[1,\"x\"]"), RPC_TYPE_ERROR);
    cr_assert_str_eq(words(),
                     "Wrong type passed:\n{\n    \"Position 1 (blockhash)\": \"JSON value of type number is "
                     "not of expected type string\",\n    \"Position 2 (timeout)\": \"JSON value of type "
                     "string is not of expected type number\"\n}");
    snprintf(hash, sizeof hash, "%s", json_string_value(ask("getbestblockhash", "[]")));
    snprintf(arguments, sizeof arguments, "{\"blockhash\":\"%s\",\"verbose\":false}", hash);
    cr_assert(json_is_string(ask("getblock", arguments)));
    snprintf(arguments, sizeof arguments, "{\"blockhash\":\"%s\",\"verbosity\":2}", hash);
    cr_assert(json_is_object(ask("getblock", arguments)));
}

Test(rpc, messages)
{
    char wif[64], signature[100], arguments[400], key_address[ADDRESS_TEXT];
    uint8_t own[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac};
    hash160(own + 3, key.public_key, 33);
    cr_assert(address_from_script(key_address, span_of(own, sizeof own), &params));
    key_to_wif(wif, &key, &params);
    snprintf(signature, sizeof signature, "%s",
             json_string_value(ask_about("signmessagewithprivkey", wif, ",\"hello\"")));
    cr_assert_eq(strlen(signature), 88);
    snprintf(arguments, sizeof arguments, "[\"%s\",\"%s\",\"hello\"]", key_address, signature);
    cr_assert(json_is_true(ask("verifymessage", arguments)));
    snprintf(arguments, sizeof arguments, "[\"%s\",\"%s\",\"hallo\"]", key_address, signature);
    cr_assert(json_is_false(ask("verifymessage", arguments)));
    signature[5] ^= 1;
    snprintf(arguments, sizeof arguments, "[\"%s\",\"%s\",\"hello\"]", key_address, signature);
    cr_assert(json_is_false(ask("verifymessage", arguments)));
    snprintf(arguments, sizeof arguments, "[\"%s\",\"%s\",\"hello\"]", address, signature);
    cr_assert_eq(code_of("verifymessage", arguments), RPC_TYPE_ERROR, "a witness program has no key");
    snprintf(arguments, sizeof arguments, "[\"%s\",\"x\",\"hello\"]", key_address);
    cr_assert_eq(code_of("verifymessage", arguments), RPC_TYPE_ERROR);
    cr_assert_str_eq(words(), "Malformed base64 encoding");
    cr_assert_eq(code_of("verifymessage", "[\"x\",\"x\",\"x\"]"), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("signmessagewithprivkey", "[\"x\",\"x\"]"), RPC_INVALID_ADDRESS_OR_KEY);
}

Test(rpc, who_spends_an_output)
{
    struct outpoint coin;
    struct hash256 txid;
    char text[HASH256_TEXT], arguments[400];
    mine(101);
    coinbase_of(1, &coin);
    hash256_text(text, &coin.txid);
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%s\",\"vout\":0},{\"txid\":\"%s\",\"vout\":1}]]",
             text, text);
    cr_assert(ask_about("sendrawtransaction", payment(coin, 50 * COIN_SAT, 1000, &txid), "") && !last_code());
    json_t *got = ask("gettxspendingprevout", arguments);
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(got, 0), "spendingtxid")),
                     hash256_text(text, &txid));
    cr_assert_eq(number(json_array_get(got, 1), "vout"), 1);
    cr_assert_null(json_object_get(json_array_get(got, 1), "spendingtxid"));
    cr_assert_eq(code_of("gettxspendingprevout", "[[]]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("gettxspendingprevout", "[[{\"txid\":\"00\",\"vout\":0}]]"), RPC_INVALID_PARAMETER);
    snprintf(arguments, sizeof arguments, "[[{\"txid\":\"%s\",\"vout\":-1}]]", text);
    cr_assert_eq(code_of("gettxspendingprevout", arguments), RPC_INVALID_PARAMETER);
}

Test(rpc, what_is_not_kept_or_only_for_tests)
{
    char hash[HASH256_TEXT];
    snprintf(hash, sizeof hash, "%s", json_string_value(ask("getbestblockhash", "[]")));
    ask_about("getblockfilter", hash, "");
    cr_assert_eq(last_code(), RPC_MISC_ERROR);
    cr_assert_str_eq(words(), "Index is not enabled for filtertype basic");
    ask_about("getblockfilter", hash, ",\"fancy\"");
    cr_assert_eq(last_code(), RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_eq(code_of("scanblocks", "[\"start\",[\"raw(51)\"]]"), RPC_MISC_ERROR);
    cr_assert_eq(code_of("pruneblockchain", "[1]"), RPC_MISC_ERROR);
    cr_assert_eq(json_array_size(ask("echo", "[1,\"two\",null]")), 3);
    json_t *counts = ask("getaddrmaninfo", "[]");
    cr_assert_eq(number(json_object_get(counts, "all_networks"), "total"), 0);
    ask("addpeeraddress", "[\"8.8.8.8\",8333]");
    counts = ask("getaddrmaninfo", "[]");
    cr_assert_eq(number(json_object_get(counts, "ipv4"), "new"), 1);
    cr_assert_eq(number(json_object_get(counts, "ipv6"), "total"), 0);
}

/* Who sends again what a block has taken, or what waits already, is told so as Core tells it. */
Test(rpc, sent_again)
{
    struct outpoint coin;
    struct hash256 txid;
    char hex[1000];
    mine(101);
    coinbase_of(1, &coin);
    strcpy(hex, payment(coin, 50 * COIN_SAT, 1000, &txid));
    ask_about("sendrawtransaction", hex, "");
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), 0, "it waits already: %s", words());
    mine(1);
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), RPC_VERIFY_ALREADY_IN_UTXO_SET);
    cr_assert_str_eq(words(), "Transaction outputs already in utxo set");
    strcpy(hex, payment((struct outpoint){txid, 5}, 50 * COIN_SAT, 1000, &txid));
    ask_about("sendrawtransaction", hex, "");
    cr_assert_eq(last_code(), RPC_VERIFY_ERROR);
    cr_assert_str_eq(words(), "bad-txns-inputs-missingorspent");
}

static const char *tip_now(void)
{
    return json_string_value(ask("getbestblockhash", "[]"));
}

Test(rpc, preciousblock_decides_between_equals)
{
    char first[HASH256_TEXT], second[HASH256_TEXT],
        third[HASH256_TEXT], *const blocks[] = {first, second, third};
    mine(2);
    for (int i = 0; i < 3; i++) { /* three blocks at height 3 */
        mine(1);
        strcpy(blocks[i], tip_now());
        ask_about("invalidateblock", blocks[i], "");
        now.unix_us += 5000000;
    }
    for (int i = 0; i < 3; i++) {
        ask_about("reconsiderblock", blocks[2 - i], "");
    }
    cr_assert_str_eq(tip_now(), first, "first seen");
    static const int order[] = {2, 1, 2, 0, 0, 1};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        ask_about("preciousblock", blocks[order[i]], "");
        cr_assert_eq(last_code(), 0, "%s", words());
        cr_assert_str_eq(tip_now(), blocks[order[i]]);
    }
    ask_about("preciousblock", json_string_value(ask("getblockhash", "[1]")), "");
    cr_assert_eq(last_code(), 0, "less work: nothing to do");
    cr_assert_str_eq(tip_now(), second);
    cr_assert_eq(
        code_of("preciousblock", "[\"00000000000000000000000000000000000000000000000000000000000000ff\"]"),
        RPC_INVALID_ADDRESS_OR_KEY);
    cr_assert_str_eq(words(), "Block not found");
    ask_about("invalidateblock", second, ""); /* who was preferred before goes first */
    cr_assert_str_eq(tip_now(), first);
    mine(1);
    ask_about("preciousblock", third, "");
    cr_assert_eq(number(ask("getblockchaininfo", "[]"), "blocks"), 4);
}

Test(rpc, arguments_out_of_range_in_cores_words)
{
    cr_assert_eq(code_of("setmocktime", "[-1]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Mocktime must be in the range [0, 9223372036], not -1.");
    cr_assert_eq(code_of("setmocktime", "[9223372036]"), 0);
    mine(1);
    cr_assert_eq(code_of("setmocktime", "[0]"), 0);
    cr_assert_eq(code_of("getnetworkhashps", "[0]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Invalid nblocks. Must be a positive number or -1.");
    cr_assert_eq(code_of("getnetworkhashps", "[1,-2]"), RPC_INVALID_PARAMETER);
    cr_assert_str_eq(words(), "Block does not exist at specified height");
    cr_assert_eq(code_of("getnetworkhashps", "[-1,-1]"), 0);
}

Test(rpc, getmininginfo_tells_of_the_last_template)
{
    cr_assert_null(json_object_get(ask("getmininginfo", "[]"), "currentblocktx"));
    mine(1);
    cr_assert_eq(number(ask("getmininginfo", "[]"), "currentblocktx"), 0);
    cr_assert_gt(number(ask("getmininginfo", "[]"), "currentblockweight"), 0);
}

Test(rpc, the_address_book_and_connections_for_tests)
{
    ask("addpeeraddress", "[\"8.8.8.8\",8333]");
    ask("addpeeraddress", "[\"2a01::7\",18444,true]");
    json_t *book = ask("getrawaddrman", "[]"), *fresh = json_object_get(book, "new");
    cr_assert_eq(json_object_size(fresh), 1);
    cr_assert_eq(json_object_size(json_object_get(book, "tried")), 1);
    json_t *place = json_object_iter_value(json_object_iter(fresh));
    cr_assert_str_eq(json_string_value(json_object_get(place, "address")), "8.8.8.8");
    cr_assert_eq(number(place, "port"), 8333);
    cr_assert_str_eq(json_string_value(json_object_get(place, "source_network")), "ipv4");
    json_t *made = ask("addconnection", "[\"127.0.0.1:19999\",\"block-relay-only\",false]");
    cr_assert_str_eq(json_string_value(json_object_get(made, "connection_type")), "block-relay-only");
    cr_assert_eq(code_of("addconnection", "[\"127.0.0.1:19999\",\"carrier-pigeon\",false]"),
                 RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("addconnection", "[\"127.0.0.1:19999\",\"feeler\",true]"), RPC_INVALID_PARAMETER);
    cr_assert_eq(code_of("mockscheduler", "[0]"), RPC_MISC_ERROR);
    cr_assert_eq(code_of("mockscheduler", "[3600]"), 0);
}

/* A descriptor or a list of transactions may be larger than any block. */
Test(rpc, a_block_that_would_be_too_large)
{
    struct buf arguments = {0};
    struct tx_input in = {.prevout.index = 1, .sequence = SEQUENCE_FINAL};
    struct buf data = {0}, raw = {0};
    memset(buf_extend(&data, 900000), 0x51, 900000);
    struct tx_output out = {{1}, buf_span(&data)};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    tx_write(&raw, &tx, false);
    char *hex = mem_alloc(2 * raw.len + 1);
    hex_encode(hex, raw.data, raw.len);
    buf_printf(&arguments, "[\"raw(51)\",[\"%s\"", hex);
    for (int i = 0; i < 4; i++) {
        buf_printf(&arguments, ",\"%s\"", hex);
    }
    buf_printf(&arguments, "]]%c", 0);
    cr_expect_eq(code_of("generateblock", (const char *)arguments.data), RPC_VERIFY_ERROR);
    cr_expect_str_eq(words(), "TestBlockValidity failed: bad-blk-length");
    cr_expect_eq(number(ask("getmininginfo", "[]"), "blocks"), 0);
    mine(1); /* the miner is free again */
    mem_free(hex);
    buf_free(&arguments);
    buf_free(&data);
    buf_free(&raw);
}

/* What an error repeats may have been cut inside a character. */
Test(rpc, errors_are_utf_8)
{
    struct buf arguments = {0};
    buf_printf(&arguments, "{\"x");
    for (int i = 0; i < 60; i++) {
        buf_printf(&arguments, "\xc3\xa4");
    }
    buf_printf(&arguments, "\":1}%c", 0);
    cr_expect_eq(code_of("getblockhash", (const char *)arguments.data), RPC_INVALID_PARAMETER);
    cr_expect(strstr(words(), "\xc3\xa4\xef\xbf\xbd"), "%s", words());
    buf_free(&arguments);
}

Test(rpc, nothing_new_begins_while_it_stops)
{
    ask("stop", "[]");
    cr_expect_eq(code_of("waitfornewblock", "[]"), RPC_CLIENT_NOT_CONNECTED);
    cr_expect_str_eq(words(), "Shutting down");
    cr_expect_eq(code_of("importmempool", "[\"/nothing\"]"), RPC_CLIENT_NOT_CONNECTED);
    cr_expect_eq(code_of("getblocktemplate", "[{\"rules\":[\"segwit\"]}]"), RPC_CLIENT_NOT_CONNECTED);
    cr_expect_eq(code_of("stop", "[]"), 0);
    cr_expect(json_is_integer(ask("uptime", "[]")));
}

Test(rpc, bans_and_peers_by_number)
{
    cr_expect_eq(code_of("disconnectnode", "[\"\",-1]"), RPC_CLIENT_NODE_NOT_CONNECTED);
    cr_expect_eq(code_of("disconnectnode", "[\"\",4294967296]"), RPC_CLIENT_NODE_NOT_CONNECTED);
    cr_expect_eq(code_of("setban", "[\"10.0.0.1\",\"add\",-5]"), 0);
    cr_expect_eq(number(json_array_get(ask("listbanned", "[]"), 0), "ban_duration"), 86400);
}

/* A large mempool is shown in pieces; others are answered in between. */
Test(rpc, a_long_listing_lets_others_through)
{
    enum { COUNT = 260 };
    char first[HASH256_TEXT];
    struct outpoint from;
    struct hash256 txid;
    mine(COUNT + 101);
    for (unsigned i = 1; i <= COUNT; i++) {
        coinbase_of(i, &from);
        ask_about("sendrawtransaction", payment(from, 50 * COIN_SAT >> (i / 150), 1000, &txid), "");
        cr_assert_eq(last_code(), 0, "%s", words());
        hash256_text(first, &txid);
    }
    say("{\"id\":1,\"method\":\"getrawmempool\",\"params\":[true]}");
    cr_assert_null(reply, "not all in one event");
    cr_assert_leq(due_us, now.mono_us);
    static const char other[] = "{\"id\":2,\"method\":\"getblockcount\"}";
    happen((struct event){.kind = EVENT_RPC, .rpc = 2, .rpc_text = other, .rpc_len = sizeof other - 1});
    const json_t *all = json_object_get(reply, "result");
    cr_assert_eq(json_object_size(all), COUNT);
    cr_expect_eq(number(json_object_get(all, first), "ancestorcount"), 1);

    say("{\"id\":1,\"method\":\"getrawmempool\",\"params\":[true]}");
    happen((struct event){.kind = EVENT_RPC_GONE, .rpc = 1});
    cr_expect_eq(json_array_size(json_object_get(ask("getrpcinfo", "[]"), "active_commands")), 1);

    say("{\"id\":1,\"method\":\"getrawmempool\",\"params\":[true]}");
    happen((struct event){.kind = EVENT_STOP});
    cr_expect_eq(last_code(), RPC_MISC_ERROR);
}

Test(rpc, amounts_are_exact)
{
    static const char *const wrong[] = {
        "0.123456789",
        "1e-9",
        "\"1.\"",
        "\"\"",
        "21000000.00000001",
        "\"0000000000000000000000000000000000000000000000000000000000000009\"",
        "1e300"};
    char arguments[200];
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        snprintf(arguments, sizeof arguments, "[[],{\"%s\":%s}]", address, wrong[i]);
        cr_expect_eq(code_of("createrawtransaction", arguments), RPC_TYPE_ERROR, "%s", wrong[i]);
    }
    static const char *const right[] = {"0.12345678", "1e-8", "\"1.5\"", "20999999.99999999", "0.1", "1"};
    for (size_t i = 0; i < ARRAY_COUNT(right); i++) {
        snprintf(arguments, sizeof arguments, "[[],{\"%s\":%s}]", address, right[i]);
        cr_expect_eq(code_of("createrawtransaction", arguments), 0, "%s", right[i]);
    }
}
