/* latency: how long blocks take through a node, hop by hop: all together, peer by peer, and the latest ones.
 */
#include "tools/quarry/quarry.h"

#define BLOCKS_SHOWN 10

static const char *const hops[] = {"received", "checked", "announced", "verified", "switched", "connected"};

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *milliseconds(char out[24], const json_t *us)
{
    if (!json_is_integer(us)) {
        return "-";
    }
    snprintf(out, 24, "%.2f", (double)json_integer_value(us) / 1000);
    return out;
}

/* One line: median and 99 % of each hop, to the bounds of the histogram's buckets. */
static void print_histograms(const char *name, const json_t *latency)
{
    const json_t *received = json_object_get(latency, "received");
    printf("%-22.22s %6lld", name, (long long)number_of(received, "count"));
    for (size_t i = 0; i < ARRAY_COUNT(hops); i++) {
        const json_t *hop = json_object_get(latency, hops[i]);
        char text[64] = "-";
        if (number_of(hop, "count")) {
            snprintf(text, sizeof text, "%.4g / %.4g", (double)number_of(hop, "p50_us") / 1000,
                     (double)number_of(hop, "p99_us") / 1000);
        }
        printf(" %15s", text);
    }
    putchar('\n');
}

static void print_heading(const char *name, const char *second)
{
    printf("%-22s %6s", name, second);
    for (size_t i = 0; i < ARRAY_COUNT(hops); i++) {
        printf(" %15s", hops[i]);
    }
    putchar('\n');
}

static void print_blocks(const json_t *blocks)
{
    size_t count = json_array_size(blocks), first = count > BLOCKS_SHOWN ? count - BLOCKS_SHOWN : 0;
    print_heading("\nlatest blocks, from", "height");
    for (size_t i = count; i-- > first;) {
        const json_t *block = json_array_get(blocks, i);
        printf("%-21.21s %6lld", json_string_value(json_object_get(block, "from")),
               (long long)number_of(block, "height"));
        for (size_t hop = 0; hop < ARRAY_COUNT(hops); hop++) {
            char key[32], text[24];
            snprintf(key, sizeof key, "%s_us", hops[hop]);
            printf(" %15s", milliseconds(text, json_object_get(block, key)));
        }
        printf("  %lld bytes%s\n", (long long)number_of(block, "bytes"),
               json_is_true(json_object_get(block, "compact")) ? ", compact" : "");
    }
}

int latency_command(const struct invocation *run)
{
    struct error error = {0};
    if (run->argc) {
        return complain(STATUS_USAGE, "latency takes no arguments; given was '%s'", run->argv[0]);
    }
    char *path = settings_socket_path(run->settings);
    struct client *client = client_open(path, &error);
    json_t *latency = client ? rpc_ask(client, "getlatency", NULL, &error) : NULL;
    json_t *peers = latency ? rpc_ask(client, "getpeerinfo", NULL, &error) : NULL;
    if (peers) {
        size_t i;
        json_t *peer;
        puts(
            "Milliseconds, median / 99 %, to the bounds of the histogram. received: first byte to last; the\n"
            "others: from the last byte on. switched: every hash worker is at work on top of the block.\n");
        print_heading("blocks brought by", "count");
        print_histograms("all", json_object_get(latency, "all"));
        json_array_foreach(peers, i, peer)
        {
            print_histograms(json_string_value(json_object_get(peer, "addr")),
                             json_object_get(peer, "block_latency"));
        }
        print_blocks(json_object_get(latency, "blocks"));
    }
    int status = peers ? STATUS_OK : complain(STATUS_RUNTIME, "%s", error.text);
    json_decref(peers);
    json_decref(latency);
    client_close(client);
    mem_free(path);
    return status;
}
