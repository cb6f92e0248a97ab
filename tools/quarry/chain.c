/* printchain: every block of the best chain from the tip down to genesis, in the words that scripts of the
 * system that Quarry replaces look for. */
#include <inttypes.h>
#include <math.h>

#include "tools/quarry/quarry.h"

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void print_tx(const json_t *tx)
{
    size_t i;
    json_t *part;
    printf("- Transaction txid_hex: %s\n", text_at(tx, "txid"));
    json_array_foreach(json_object_get(tx, "vin"), i, part)
    {
        if (json_object_get(part, "coinbase")) {
            puts("-- Input txid = coinbase, vout = -, from = -");
        } else {
            const json_t *spent = json_object_get(json_object_get(part, "prevout"), "scriptPubKey");
            printf("-- Input txid = %s, vout = %lld, from = %s\n", text_at(part, "txid"),
                   (long long)json_integer_value(json_object_get(part, "vout")), text_at(spent, "address"));
        }
    }
    json_array_foreach(json_object_get(tx, "vout"), i, part)
    {
        const json_t *script = json_object_get(part, "scriptPubKey");
        double coins = json_number_value(json_object_get(part, "value"));
        printf("-- Output value = %lld, to = %s\n", llround(coins * 100000000.0),
               json_object_get(script, "address") ? text_at(script, "address") : text_at(script, "hex"));
    }
}

static void print_block(const json_t *block)
{
    size_t i;
    json_t *tx;
    const char *previous = text_at(block, "previousblockhash");
    printf("Pre block hash: %s\nCur block hash: %s\n", *previous ? previous : "None", text_at(block, "hash"));
    printf("Cur block Timestamp: %lld\n",
           (long long)json_integer_value(json_object_get(block, "time")) * 1000);
    json_array_foreach(json_object_get(block, "tx"), i, tx)
    {
        print_tx(tx);
    }
    putchar('\n');
}

int printchain_command(const struct invocation *run)
{
    struct error error = {0};
    char *path = settings_socket_path(run->settings);
    struct client *client = client_open(path, &error);
    json_t *best = client ? rpc_ask(client, "getbestblockhash", NULL, &error) : NULL;
    char hash[HASH256_TEXT] = "";
    snprintf(hash, sizeof hash, "%s", best ? json_string_value(best) : "");
    while (*hash) { /* by the parent's hash, so that a reorganisation meanwhile does not mix two chains */
        json_t *block = rpc_ask(client, "getblock", json_pack("[s, i]", hash, 3), &error);
        if (block) {
            print_block(block);
        }
        snprintf(hash, sizeof hash, "%s", block ? text_at(block, "previousblockhash") : "");
        json_decref(block);
    }
    json_decref(best);
    client_close(client);
    mem_free(path);
    return error.kind ? complain(STATUS_RUNTIME, "%s", error.text) : STATUS_OK;
}
