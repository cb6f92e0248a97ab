/* quarry-bench net: the network as a whole, by real nodes in child processes. */
#include "bench/net.h"

static const char *mode = "hop";
static struct options options = {.rounds = 500, .txs = 2000, .blocks = 50000, .peers = 0};
static const struct bench_option command_options[] = {
    {.name = "mode",
     .value = "MODE",
     .help = "hop, switch, links, sync, loops, files, choices",
     .text = &mode},
    {.name = "rounds",
     .value = "N",
     .help = "hop, switch, links: blocks of each kind",
     .number = &options.rounds,
     .least = 1,
     .most = 100000},
    {.name = "txs",
     .value = "N",
     .help = "transactions in a block of 1 MB",
     .number = &options.txs,
     .least = 1,
     .most = 3000},
    {.name = "blocks",
     .value = "N",
     .help = "sync, loops: length of the chain",
     .number = &options.blocks,
     .least = 100,
     .most = 1000000},
    {0},
};

static const struct {
    const char *name;
    bool (*run)(struct report *report, const struct options *options, struct error *error);
} modes[] = {{"hop", net_hop},     {"switch", net_switch}, {"links", net_links},    {"sync", net_sync},
             {"loops", net_loops}, {"files", net_files},   {"choices", net_choices}};

static bool run(struct report *report, struct error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            return modes[i].run(report, &options, error);
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "--mode is '%.60s': see --help", mode);
}

const struct bench_command bench_net = {
    "net", "blocks through nodes: hops, tip switch, initial download, the loops",
    "hop: on loopback, from the last byte of a block in to the first byte out to the next peer.\n"
    "switch: from the last byte in to every worker hashing on it, all threads hashing; where the time goes.\n"
    "links: five nodes in a row over links of 20 ms, each in a network namespace of its own (root).\n"
    "sync: a chain of small blocks downloaded from one node and from three (root).\n"
    "loops: the same, io_uring against epoll, from 1, 3 and 64 peers (root).\n"
    "files: block appends, io_uring against pwrite and fdatasync.\n"
    "choices: zero-copy sends, a polling kernel thread, multishot receives, each against the plain variant.\n"
    "Nodes are real ones in child processes. System calls are counted by the kernel where it lets us.",
    command_options, run};
