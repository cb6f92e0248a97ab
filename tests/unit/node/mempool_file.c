/* The mempool over a restart: mempool.dat, savemempool, importmempool. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

TestSuite(mempool_file, .init = rig_begin, .fini = rig_end);

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

/* Sends a payment of a coinbase; its id. */
static const char *send(unsigned height, struct hash256 *txid)
{
    static char text[HASH256_TEXT];
    struct outpoint coin;
    coinbase_of(height, &coin);
    cr_assert(ask_about("sendrawtransaction", payment(coin, 5000000000, 1000, txid), ""), "%s", words());
    return hash256_text(text, txid);
}

static json_int_t info(const char *name)
{
    return number(ask("getmempoolinfo", "[]"), name);
}

Test(mempool_file, is_there_again_after_a_restart)
{
    struct hash256 parent, child;
    char text[HASH256_TEXT];
    mine(103);
    cr_assert(json_is_true(json_object_get(ask("getmempoolinfo", "[]"), "loaded")));
    send(1, &parent);
    struct outpoint output = {parent, 0};
    cr_assert(ask_about("sendrawtransaction", payment(output, 4999999000, 2000, &child), ""));
    ask_about("prioritisetransaction", hash256_text(text, &child), ",0,500");
    ask_about("prioritisetransaction", "00000000000000000000000000000000000000000000000000000000000000aa",
              ",0,-7");
    json_t *before = json_deep_copy(ask("getrawmempool", "[true]"));
    cr_assert_eq(info("unbroadcastcount"), 2);
    now.unix_us += 3600 * INT64_C(1000000);
    rig_restart();
    cr_assert(json_equal(before, ask("getrawmempool", "[true]")), "%s", json_dumps(reply, 0));
    cr_assert_eq(info("unbroadcastcount"), 2);
    json_t *deltas = ask("getprioritisedtransactions", "[]");
    cr_assert_eq(json_object_size(deltas), 2);
    cr_assert_eq(number(json_object_get(deltas, hash256_text(text, &child)), "fee_delta"), 500);
    json_decref(before);
}

/* A stop that comes while the file is being read loses nothing of it. */
Test(mempool_file, is_there_after_a_stop_in_the_middle)
{
    struct hash256 parent, child;
    char text[HASH256_TEXT];
    mine(103);
    send(1, &parent);
    struct outpoint output = {parent, 0};
    cr_assert(ask_about("sendrawtransaction", payment(output, 4999999000, 2000, &child), ""));
    ask_about("prioritisetransaction", hash256_text(text, &child), ",0,500");
    json_t *before = json_deep_copy(ask("getrawmempool", "[true]"));
    now.unix_us += 3600 * INT64_C(1000000);
    rig_restart_hastily();
    json_t *after = ask("getrawmempool", "[true]");
    cr_assert(json_equal(before, after), "%s\n%s", json_dumps(before, 0), json_dumps(after, 0));
    cr_assert_eq(info("unbroadcastcount"), 2);
    cr_assert_eq(json_object_size(ask("getprioritisedtransactions", "[]")), 1);
    json_decref(before);
}

Test(mempool_file, what_is_mined_or_too_old_is_dropped)
{
    struct hash256 first, second;
    char path[100];
    mine(103);
    send(1, &first);
    cr_assert_str_eq(json_string_value(json_object_get(ask("savemempool", "[]"), "filename")),
                     rig_mempool_file());
    snprintf(path, sizeof path, "%s.old", rig_mempool_file());
    cr_assert(rename(rig_mempool_file(), path) == 0);
    mine(1);
    send(2, &second);
    rig_restart();
    cr_assert_eq(info("size"), 1);
    cr_assert(rename(path, rig_mempool_file()) == 0); /* its transaction is in a block: refused */
    rig_restart_without_saving();
    cr_assert_eq(info("size"), 0);
    send(2, &second);
    now.unix_us += 15 * 86400 * INT64_C(1000000);
    rig_restart();
    cr_assert_eq(info("size"), 0);
}

Test(mempool_file, nothing_that_lies_there_stops_the_node)
{
    struct hash256 txid;
    struct stat facts;
    mine(103);
    send(1, &txid);
    ask("savemempool", "[]");
    cr_assert(stat(rig_mempool_file(), &facts) == 0);
    cr_assert_eq(facts.st_mode & 0777, 0600);
    cr_assert(truncate(rig_mempool_file(), facts.st_size - 1) == 0); /* what stands before is taken */
    rig_restart_without_saving();
    cr_assert_eq(info("size"), 1);
    write_file(rig_mempool_file(), "nonsense", 8);
    rig_restart_without_saving();
    cr_assert_eq(info("size"), 0);
    cr_assert(json_is_true(json_object_get(ask("getmempoolinfo", "[]"), "loaded")));
    unlink(rig_mempool_file());
    cr_assert(mkfifo(rig_mempool_file(), 0600) == 0); /* nobody writes into it */
    rig_restart_without_saving();
    cr_assert(json_is_true(json_object_get(ask("getmempoolinfo", "[]"), "loaded")));
}

Test(mempool_file, is_imported_with_what_was_asked_for)
{
    struct hash256 txid;
    char path[100], text[HASH256_TEXT], rest[200];
    mine(103);
    ask_about("prioritisetransaction", send(1, &txid), ",0,500");
    ask("savemempool", "[]");
    snprintf(path, sizeof path, "%s.copy", rig_mempool_file());
    cr_assert(rename(rig_mempool_file(), path) == 0);
    rig_restart_without_saving();
    cr_assert_eq(info("size"), 0);
    cr_assert_not_null(ask_about("importmempool", path, ""), "%s", words());
    json_t *entry = ask_about("getmempoolentry", hash256_text(text, &txid), "");
    cr_assert(json_is_false(json_object_get(entry, "unbroadcast")));
    cr_assert_eq(json_object_size(ask("getprioritisedtransactions", "[]")), 0);
    snprintf(rest, sizeof rest, ",{\"apply_fee_delta_priority\":true,\"apply_unbroadcast_set\":true}");
    cr_assert_not_null(ask_about("importmempool", path, rest), "%s", words());
    cr_assert_eq(info("unbroadcastcount"), 1);
    cr_assert_eq(json_object_size(ask("getprioritisedtransactions", "[]")), 1);
    ask_about("importmempool", "/nowhere/mempool.dat", "");
    cr_assert_eq(last_code(), -1);
    cr_assert_str_eq(words(), "Unable to import mempool file, see debug log for details.");
    ask_about("importmempool", path, ",{\"use_current_time\":1}");
    cr_assert_eq(last_code(), -3);
}
