/*
 * The modes hop and switch: one node, one peer that brings blocks, one that hears of them. hop: from the last
 * byte in to the first byte out. switch: from the last byte in to every worker hashing on it, all threads
 * hashing, with the node's own instruments saying where the time goes.
 */
#include <time.h>
#include <unistd.h>

#include "bench/net.h"
#include "core/p2p/p2p.h"

#define BLOCK_BYTES 1000000u
#define WAIT_MS     10000
#define TRUST       "--whitelist=noban@127.0.0.0/8" /* the feeder says much at once */
#define SETTLE_MS   100
#define ASK_EVERY   64 /* blocks; the node remembers twice as many */

static const struct kind {
    const char *name;
    bool txs, compact;
} kinds[] = {{"empty", false, true}, {"1 MB compact", true, true}, {"1 MB whole", true, false}};

struct rig {
    char folder[128];
    struct chain_params params;
    struct net_chain chain;
    struct net_node node;
    struct net_peer feeder, hearer;
};

static bool take_block(void *context, struct span block)
{
    struct rig *rig = context;
    return net_peer_send(&rig->feeder, "block", block);
}

static bool rig_start(struct rig *rig, const struct options *options, const char *const *flags,
                      struct error *error)
{
    *rig = (struct rig){0};
    bool ok =
        net_begin(rig->folder, &rig->params, error) &&
        net_chain_init(&rig->chain, &rig->params, (uint32_t)time(NULL) - 20000, (uint32_t)options->txs) &&
        net_node_start(&rig->node, rig->folder, 0, flags, NULL, NULL, error);
    rig->node.params = &rig->params;
    return ok && net_peer_open(&rig->feeder, &rig->node, error) &&
           ((net_chain_fund(&rig->chain, take_block, rig) &&
             net_node_wait_height(&rig->node, rig->chain.height, 10)) ||
            error_set(error, ERROR_IO, NULL, "the node does not take the first blocks")) &&
           net_peer_open(&rig->hearer, &rig->node, error);
}

static void rig_stop(struct rig *rig)
{
    net_peer_close(&rig->feeder);
    net_peer_close(&rig->hearer);
    net_node_stop(&rig->node, NULL);
    net_chain_free(&rig->chain);
    net_end(rig->folder, &rig->params);
}

/* Makes the next block of a kind, its transactions known to the node, and hands it over. sent_ns: before the
 * last byte is given to the kernel. */
static bool feed(struct rig *rig, const struct kind *kind, int64_t *sent_ns, struct error *error)
{
    struct buf block = {0}, compact = {0}, frame = {0};
    if (kind->txs) {
        net_chain_txs(&rig->chain, BLOCK_BYTES / rig->chain.tx_count);
        if (!net_peer_give_txs(&rig->feeder, &rig->node, &rig->chain)) {
            return error_set(error, ERROR_IO, NULL, "the node does not take the transactions");
        }
    }
    net_chain_block(&rig->chain, kind->txs, &block);
    if (kind->compact) {
        net_chain_compact(&rig->chain, buf_span(&block), kind->txs, &compact);
        net_peer_frame(&rig->feeder, "cmpctblock", buf_span(&compact), &frame);
    } else {
        net_peer_frame(&rig->feeder, "block", buf_span(&block), &frame);
    }
    net_peer_drain(&rig->feeder);
    net_pause(2); /* what the transactions have set off has ended */
    net_peer_drain(&rig->hearer);
    bool ok = net_peer_write(&rig->feeder, span_of(frame.data, frame.len - 1));
    *sent_ns = wall_ns();
    ok = ok && net_peer_write(&rig->feeder, span_of(frame.data + frame.len - 1, 1));
    buf_free(&block);
    buf_free(&compact);
    buf_free(&frame);
    return ok || error_set(error, ERROR_IO, NULL, "the node does not take a block");
}

/* Until the hearer is told of the tip. */
static bool hear(struct rig *rig, int64_t *first_ns)
{
    struct net_message message;
    while (net_peer_next(&rig->hearer, &message, WAIT_MS)) {
        struct block_header header;
        struct hash256 hash;
        struct cursor c = cursor_of(message.payload.data, message.payload.len);
        if (strcmp(message.command, "cmpctblock") == 0) {
            header_read(&header, &c);
            header_hash(&hash, &header);
            if (hash256_equal(&hash, &rig->chain.tip)) {
                *first_ns = rig->hearer.first_ns;
                return true;
            }
        }
    }
    return false;
}

/* ---- hop ------------------------------------------------------------------------------------------------
 */

bool net_hop(struct report *report, const struct options *options, struct error *error)
{
    static const char *const flags[] = {"--listen=127.0.0.1:0", TRUST, "--mine=no", "--threads=0", NULL};
    struct rig rig;
    bool ok = rig_start(&rig, options, flags, error);
    report_note(report, "%lld transactions in a block of 1 MB, all known; median of %lld blocks of each kind",
                (long long)options->txs, (long long)options->rounds);
    for (size_t k = 0; ok && k < ARRAY_COUNT(kinds); k++) {
        struct samples hop = {0};
        char name[64];
        for (int64_t i = 0; ok && i < options->rounds; i++) {
            int64_t sent_ns = 0, first_ns = 0;
            ok = feed(&rig, &kinds[k], &sent_ns, error) &&
                 ((hear(&rig, &first_ns) && net_node_wait_height(&rig.node, rig.chain.height, 10)) ||
                  error_set(error, ERROR_IO, NULL, "the node does not announce a block"));
            if (ok) {
                samples_add(&hop, (double)(first_ns - sent_ns) / 1000);
            }
        }
        snprintf(name, sizeof name, "hop, %s", kinds[k].name);
        report_samples(report, name, "us", &hop);
        samples_free(&hop);
    }
    rig_stop(&rig);
    return ok;
}

/* ---- switch ---------------------------------------------------------------------------------------------
 */

struct sent { /* by height */
    int64_t us;
    bool counted;
};

struct stages {
    struct samples first, hops[P2P_HOPS];
};

/* What the node noted of the blocks that were sent, and has not been taken yet. */
static void collect(struct rig *rig, struct sent *sent, struct stages *stages)
{
    json_t *latency = net_node_ask(&rig->node, "getlatency", NULL),
           *blocks = json_object_get(latency, "blocks");
    size_t i;
    json_t *block;
    json_array_foreach(blocks, i, block)
    {
        struct sent *s = &sent[json_integer_value(json_object_get(block, "height"))];
        json_t *switched = json_object_get(block, "switched_us");
        if (!s->us || s->counted || !switched) {
            continue;
        }
        s->counted = true;
        int64_t first = json_integer_value(json_object_get(block, "first_byte_mono_us"));
        int64_t received = first + json_integer_value(json_object_get(block, "received_us"));
        samples_add(&stages->first, (double)(first - s->us) / 1000);
        for (size_t hop = 0; hop < P2P_HOPS; hop++) {
            char key[32];
            snprintf(key, sizeof key, "%s_us", p2p_hop_names[hop]);
            int64_t at =
                hop == HOP_RECEIVED ? received : received + json_integer_value(json_object_get(block, key));
            samples_add(&stages->hops[hop], (double)(at - s->us) / 1000);
        }
    }
    json_decref(latency);
}

static void report_stage(struct report *report, const char *kind, const char *stage, const struct samples *ms)
{
    report_row(
        report, "stages",
        (struct report_cell[]){{.name = "block", .text = kind},
                               {.name = "until", .text = stage},
                               {.name = "blocks", .number = (double)ms->count},
                               {.name = "median_ms", .number = samples_quantile(ms, 0.5), .decimals = 3},
                               {.name = "p99_ms", .number = samples_quantile(ms, 0.99), .decimals = 3},
                               {.name = "max_ms", .number = samples_quantile(ms, 1), .decimals = 3}},
        6);
}

/* The node has the machine to itself for a while: who makes the next block would take the CPU that a worker
 * is to switch on. */
static bool settle(void)
{
    net_pause(SETTLE_MS);
    return true;
}

/* Until every worker has hashed: at first each measures which kernel is fastest. */
static bool all_hash(struct rig *rig, struct error *error)
{
    for (int64_t waited_ms = 0; waited_ms < WAIT_MS; waited_ms += SETTLE_MS) {
        json_t *info = net_node_ask(&rig->node, "getmininginfo", NULL),
               *workers = json_object_get(info, "workers"), *worker;
        size_t i, hash = 0, count = json_array_size(workers);
        json_array_foreach(workers, i, worker)
        {
            hash += json_integer_value(json_object_get(worker, "hashes")) > 0;
        }
        json_decref(info);
        if (count && hash == count) {
            return true;
        }
        net_pause(SETTLE_MS);
    }
    return error_set(error, ERROR_IO, NULL, "the workers do not hash");
}

static bool switch_kind(struct report *report, struct rig *rig, const struct kind *kind, int64_t rounds,
                        struct error *error)
{
    struct stages stages = {0};
    struct sent *sent = mem_alloc((rig->chain.height + (size_t)rounds + 2) * sizeof *sent);
    bool ok = true;
    for (int64_t i = 0; ok && i < rounds; i++) {
        int64_t sent_ns = 0, first_ns = 0;
        ok = feed(rig, kind, &sent_ns, error) &&
             ((hear(rig, &first_ns) && settle() && net_node_wait_height(&rig->node, rig->chain.height, 10)) ||
              error_set(error, ERROR_IO, NULL, "the node does not follow"));
        sent[rig->chain.height].us = sent_ns / 1000;
        if (ok && i % ASK_EVERY == ASK_EVERY - 1) {
            collect(rig, sent, &stages);
        }
    }
    net_pause(1100); /* the last switch is noted within a second */
    collect(rig, sent, &stages);
    report_stage(report, kind->name, "first byte", &stages.first);
    for (size_t hop = 0; hop < P2P_HOPS; hop++) {
        report_stage(report, kind->name, p2p_hop_names[hop], &stages.hops[hop]);
        samples_free(&stages.hops[hop]);
    }
    samples_free(&stages.first);
    mem_free(sent);
    return ok;
}

bool net_switch(struct report *report, const struct options *options, struct error *error)
{
    static const char *const flags[] = {"--listen=127.0.0.1:0", TRUST, "--mine=yes", "--connect=local", NULL};
    struct rig rig;
    bool ok = rig_start(&rig, options, flags, error) && all_hash(&rig, error);
    report_note(report,
                "all threads hash; moments are counted from when the last byte is given to the kernel");
    for (size_t k = 0; ok && k < ARRAY_COUNT(kinds) - 1; k++) {
        ok = switch_kind(report, &rig, &kinds[k], options->rounds, error);
    }
    rig_stop(&rig);
    return ok;
}
