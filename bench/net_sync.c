/*
 * The modes sync and loops: a node downloads a chain of small blocks from others. sync: from one node and
 * from three. loops: io_uring against epoll, from 1, 3 and 64 peers. CPU time and system calls are those of
 * whole processes, counted by the kernel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/net.h"
#include "core/chain/chain.h"

#define PEERS_MAX 64
#define SERVERS   3
#define WAIT_S    600.0

struct servers {
    char folder[128];
    struct chain_params params;
    struct net_node nodes[SERVERS];
    size_t count;
    int64_t blocks;
};

struct block_file {
    FILE *file;
    const struct chain_params *params;
};

static bool write_record(void *context, struct span block)
{
    struct block_file *out = context;
    struct buf record = {0};
    blockfile_record(&record, out->params->magic, block);
    bool ok = fwrite(record.data, 1, record.len, out->file) == record.len;
    buf_free(&record);
    return ok;
}

/* So many blocks, every tenth with a transaction or two. */
static bool write_chain(const char *path, const struct chain_params *params, int64_t blocks)
{
    struct net_chain chain;
    struct block_file out = {fopen(path, "wb"), params};
    struct buf block = {0};
    bool ok = out.file && net_chain_init(&chain, params, (uint32_t)(time(NULL) - blocks - 1000), 2) &&
              net_chain_fund(&chain, write_record, &out);
    while (ok && chain.height < blocks) {
        bool txs = chain.height % 10 == 0;
        if (txs) {
            net_chain_txs(&chain, 300);
        }
        buf_clear(&block);
        net_chain_block(&chain, txs, &block);
        ok = write_record(&out, buf_span(&block));
    }
    ok = out.file && fclose(out.file) == 0 && ok;
    net_chain_free(&chain);
    buf_free(&block);
    return ok;
}

/* Nodes that have the chain, from its file. They listen everywhere, in a network namespace of our own. */
static bool servers_start(struct servers *s, int64_t blocks, const char *loop, struct error *error)
{
    char path[192], load[224];
    *s = (struct servers){.blocks = blocks};
    bool ok = net_namespace(error) && net_begin(s->folder, &s->params, error);
    snprintf(path, sizeof path, "%s/chain.dat", s->folder);
    snprintf(load, sizeof load, "--loadblock=%s", path);
    ok = ok &&
         (write_chain(path, &s->params, blocks) || error_set(error, ERROR_IO, NULL, "cannot write %s", path));
    const char *const flags[] = {"--listen=0.0.0.0:0", "--mine=no", "--threads=0", load, loop, NULL};
    for (unsigned i = 0; ok && i < SERVERS; i++) {
        s->nodes[i].params = &s->params;
        ok = net_node_start(&s->nodes[i], s->folder, i, flags, NULL, NULL, error) &&
             (net_node_wait_height(&s->nodes[i], blocks, WAIT_S) ||
              error_set(error, ERROR_IO, NULL, "a server does not load the chain"));
        s->count += ok;
    }
    return ok;
}

static void servers_stop(struct servers *s)
{
    for (size_t i = 0; i < s->count; i++) {
        net_node_stop(&s->nodes[i], NULL);
    }
    net_end(s->folder, &s->params);
}

struct outcome {
    double seconds;
    struct net_usage client, servers;
};

static struct net_usage usage_sum(struct servers *s)
{
    struct net_usage sum = {0};
    for (size_t i = 0; i < s->count; i++) {
        struct net_usage one = net_node_usage(&s->nodes[i]);
        sum.user_s += one.user_s;
        sum.system_s += one.system_s;
        sum.system_calls += one.system_calls;
    }
    return sum;
}

/* One download; peers are spread over the servers. */
static bool download(struct servers *s, unsigned number, const char *loop, int64_t peers, struct outcome *out,
                     struct error *error)
{
    static char connects[PEERS_MAX][48];
    const char *flags[PEERS_MAX + 8] = {"--listen=127.0.0.1:0", "--mine=no", "--threads=0", loop};
    size_t count = 4;
    for (int64_t i = 0; i < peers; i++) {
        /* The same server under many addresses of the loopback network: so many peers to the client. */
        snprintf(connects[i], sizeof connects[i], "--connect=127.0.%lld.1:%u", (long long)i,
                 s->nodes[i % SERVERS].port);
        flags[count++] = connects[i];
    }
    struct net_node client = {.params = &s->params};
    struct net_usage before = usage_sum(s);
    int64_t began = wall_ns();
    bool ok = net_node_start(&client, s->folder, number, flags, NULL, NULL, error) &&
              (net_node_wait_height(&client, s->blocks, WAIT_S) ||
               error_set(error, ERROR_IO, NULL, "the download does not end"));
    out->seconds = (double)(wall_ns() - began) / 1e9;
    struct net_usage after = usage_sum(s);
    net_node_stop(&client, &out->client);
    out->servers = (struct net_usage){after.user_s - before.user_s, after.system_s - before.system_s,
                                      after.system_calls - before.system_calls};
    return ok;
}

static void report_download(struct report *report, const char *table, const char *loop, int64_t peers,
                            int64_t blocks, const struct outcome *o)
{
    double n = (double)blocks;
    report_row(
        report, table,
        (struct report_cell[]){
            {.name = "loop", .text = loop},
            {.name = "peers", .number = (double)peers},
            {.name = "blocks_per_s", .number = n / o->seconds},
            {.name = "client_us", .number = (o->client.user_s + o->client.system_s) * 1e6 / n, .decimals = 1},
            {.name = "kernel_us", .number = o->client.system_s * 1e6 / n, .decimals = 1},
            {.name = "calls", .number = o->client.system_calls / n, .decimals = 2},
            {.name = "servers_us",
             .number = (o->servers.user_s + o->servers.system_s) * 1e6 / n,
             .decimals = 1},
            {.name = "server_calls", .number = o->servers.system_calls / n, .decimals = 2},
        },
        8);
}

bool net_sync(struct report *report, const struct options *options, struct error *error)
{
    static const int64_t peers[] = {1, SERVERS};
    struct servers servers;
    struct outcome outcome;
    bool ok = servers_start(&servers, options->blocks, "--loop=auto", error);
    report_note(report, "%lld blocks; CPU time and system calls per block, of the whole processes",
                (long long)options->blocks);
    for (unsigned i = 0; ok && i < ARRAY_COUNT(peers) * 2; i++) {
        ok = download(&servers, SERVERS + i, "--loop=auto", peers[i % 2], &outcome, error);
        if (ok) {
            report_download(report, "sync", "auto", peers[i % 2], options->blocks, &outcome);
        }
    }
    servers_stop(&servers);
    return ok;
}

bool net_loops(struct report *report, const struct options *options, struct error *error)
{
    static const int64_t peers[] = {1, 3, PEERS_MAX};
    static const char *const loops[] = {"io_uring", "epoll"};
    struct servers servers;
    struct outcome outcome;
    unsigned number = SERVERS;
    bool ok = servers_start(&servers, options->blocks, "--loop=epoll", error);
    report_note(report, "%lld blocks; the servers run on epoll, the client on either",
                (long long)options->blocks);
    for (size_t p = 0; ok && p < ARRAY_COUNT(peers); p++) {
        for (size_t i = 0; ok && i < 2 * ARRAY_COUNT(loops); i++) {
            char flag[32];
            const char *loop = loops[i % ARRAY_COUNT(loops)];
            snprintf(flag, sizeof flag, "--loop=%s", loop);
            ok = download(&servers, number++, flag, peers[p], &outcome, error);
            if (ok) {
                report_download(report, "loops", loop, peers[p], options->blocks, &outcome);
            }
        }
    }
    servers_stop(&servers);
    return ok;
}
