/* The work that nodes of one operator hash: the same address, the same parent, the same moment, and never the
 * same header twice, for as long as they are asked for more. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/node/node.h"
#include "io/io.h"

#define NODES  4
#define ORDERS 2000

struct operator_node {
    char folder[64];
    struct store *store;
    struct node *node;
    struct moment now;
    struct work_order work; /* the last one */
};

static struct chain_params params;
static struct buf script;
static char address[ADDRESS_TEXT];

static void happen(struct operator_node *n, struct event event)
{
    struct action action;
    n->now.mono_us += 1000;
    event.now = n->now;
    node_handle(n->node, &event);
    while (node_next_action(n->node, &action)) {
        if (action.kind == ACTION_WORK) {
            n->work = action.work;
        } else if (action.kind == ACTION_JOB) {
            struct job *job = action.job;
            cr_assert_neq(job->kind, JOB_CHECK_SCRIPTS);
            store_run(n->store, job, job->kind == JOB_SCAN ? store_snapshot(n->store) : NULL);
            happen(n, (struct event){.kind = EVENT_JOB, .job = job});
        }
        action_free(&action);
    }
}

static void start(struct operator_node *n, struct rng *rng)
{
    struct error error = {0};
    struct store_reader reads;
    strcpy(n->folder, "/tmp/quarry-miner.XXXXXX");
    cr_assert(mkdtemp(n->folder));
    n->store = store_open(n->folder, &params, &error);
    cr_assert(n->store, "%s", error.text);
    store_reads(n->store, &reads);
    struct node_config config = {.params = &params,
                                 .user_agent = "/Quarry:test/",
                                 .version_text = "test",
                                 .datadir_text = n->folder,
                                 .coins_cache_bytes = 1u << 20,
                                 .recent_blocks_bytes = 1u << 20,
                                 .mempool_bytes = 5u << 20,
                                 .inbound_max = 8,
                                 .mine = true,
                                 .seed_node = true,
                                 .payout_script = buf_span(&script),
                                 .payout_address = address};
    for (size_t i = 0; i < sizeof config.seed; i += 8) { /* as if from the system's entropy */
        store_le64(config.seed + i, rng_next(rng));
    }
    n->now = (struct moment){1000000, INT64_C(1800000000) * 1000000}; /* the same for all; it stands still */
    n->node = node_new(&config, &reads, &error);
    cr_assert(n->node, "%s", error.text);
    happen(n, (struct event){.kind = EVENT_START});
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void stop(struct operator_node *n)
{
    happen(n, (struct event){.kind = EVENT_STOP});
    node_free(n->node);
    store_close(n->store);
    nftw(n->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Whenever a worker has tried its whole part of an order another one goes out at once, with a merkle root
 * that none of the operator's nodes has had: whatever version and nonce are put into them, two such headers
 * differ. */
Test(miner, nodes_of_one_operator_never_get_the_same_header)
{
    static struct operator_node nodes[NODES];
    const uint8_t secret[32] = {1}, entropy[32] = {7};
    struct error error = {0};
    struct key key;
    struct rng rng;
    struct map roots;
    wallet_init(entropy);
    cr_assert(chain_params_init(&params, CHAIN_CLUSTER, NULL, &error), "%s", error.text);
    cr_assert(key_from_secret(&key, secret));
    key_script(&script, &key);
    key_address(address, &key, &params);
    rng_seed_u64(&rng, 1);
    map_init(&roots, 32, 0, &rng);
    for (size_t i = 0; i < NODES; i++) {
        start(&nodes[i], &rng);
        cr_assert_not(nodes[i].work.idle);
        for (unsigned order = 0; order < ORDERS; order++) {
            bool is_new;
            uint64_t id = nodes[i].work.id;
            cr_assert_arr_eq(nodes[i].work.header + 4, params.genesis_hash.b, 32); /* one parent */
            cr_assert_eq(nodes[i].work.version_mask, 0x1fffe000);
            map_put(&roots, nodes[i].work.header + 36, &is_new);
            cr_assert(is_new, "node %zu was given order %u before", i, order);
            happen(&nodes[i], (struct event){.kind = EVENT_USED_UP, .hit = {.work_id = id}});
            cr_assert_eq(nodes[i].work.id, id + 1, "no other order when this one was used up");
        }
    }
    cr_expect_eq(roots.count, (size_t)NODES * ORDERS);
    map_free(&roots);
    for (size_t i = 0; i < NODES; i++) {
        stop(&nodes[i]);
    }
    buf_free(&script);
    chain_params_free(&params);
}
