/*
 * What must hold when lines and nodes are whole again: one tip, one UTXO set that a fresh node computes too,
 * mempools without rubbish, nothing lost that was promised, no lie believed, nobody honest banned, and a
 * clean stop.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

#define AGREE_S  600 /* virtual seconds within which everybody must agree, however slow the disks are */
#define AGREED_S 5   /* for so long, then it counts */
#define TIE_S    30  /* two tips with equal work are left alone for so long, then one block decides */

/* ---- Looking inside ---------------------------------------------------------------------------------- */

struct block *sim_read_block(struct sim_node *n, const struct block_entry *e)
{
    const struct buf *file = &n->disk.files[FILE_BLOCKS][e->file].now;
    if (!e->height || !(e->status & BLOCK_HAVE_DATA) || e->data_offset + e->data_len > file->len) {
        return NULL;
    }
    uint8_t *raw = mem_dup(file->data + e->data_offset, e->data_len);
    struct block *block = block_parse(raw, e->data_len, NULL);
    if (block && !hash256_equal(&block->hash, &e->hash)) {
        block_unref(block);
        return NULL;
    }
    return block;
}

void sim_confirmed(struct sim_node *n, struct map *txids)
{
    map_init(txids, sizeof(struct hash256), 0, &n->world->rng);
    for (const struct block_entry *e = sim_tip(n); e->prev; e = e->prev) {
        struct block *block = sim_read_block(n, e);
        if (!block) {
            world_fail(n->world, "node %u cannot show block %u of its best chain", n->index, e->height);
            return;
        }
        for (uint32_t t = 0; t < block->tx_count; t++) {
            map_put(txids, &block->txs[t].txid, NULL);
        }
        block_unref(block);
    }
}

/* ---- Agreement --------------------------------------------------------------------------------------- */

/* Those that are up. tie: they stand at different tips with equal work. */
static bool all_agree(struct world *world, bool *tie)
{
    const struct block_entry *first = NULL;
    bool same = true, equal = true;
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].node) {
            const struct block_entry *tip = sim_tip(&world->nodes[i]);
            first = first ? first : tip;
            same &= hash256_equal(&tip->hash, &first->hash);
            equal &= u256_compare(tip->work, first->work) == 0;
        }
    }
    *tie = equal && !same;
    return same;
}

static bool all_idle(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct sim_node *n = &world->nodes[i];
        if (n->node &&
            (!disk_idle(&n->disk) || !mempool_idle(node_mempool(n->node)) || !list_empty(&n->calls))) {
            return false;
        }
    }
    return true;
}

static bool fail_disagree(struct world *world)
{
    struct buf text = {0};
    for (uint32_t i = 0; i < world->node_count; i++) {
        char hash[HASH256_TEXT];
        if (!world->nodes[i].node) {
            buf_printf(&text, " n%u down", i);
            continue;
        }
        const struct block_entry *tip = sim_tip(&world->nodes[i]);
        buf_printf(&text, " n%u %u %.16s%s", i, tip->height, hash256_text(hash, &tip->hash),
                   node_synced(world->nodes[i].node) ? "" : " (not synced)");
    }
    buf_u8(&text, 0);
    world_fail(world, "the nodes do not agree:%s", (const char *)text.data);
    buf_free(&text);
    return false;
}

static struct sim_node *some_miner(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].node && world->nodes[i].config.mine) {
            return &world->nodes[i];
        }
    }
    return NULL;
}

static void decide_tie(struct world *world)
{
    struct sim_node *miner = some_miner(world);
    uint64_t found = world->blocks_found;
    if (miner) {
        node_set_rate(miner, 100);
        for (unsigned i = 0; i < 1000 && world->blocks_found == found; i++) {
            world_run(world, US / 10);
        }
        node_set_rate(miner, 0);
    }
}

bool check_living_agree(struct world *world)
{
    int64_t since = world->now_us, tie_since = 0, agreed_since = world->now_us;
    bool tie;
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_set_rate(&world->nodes[i], 0);
    }
    while (world->now_us - agreed_since < AGREED_S * US) { /* what is still on the way may part them again */
        agreed_since = all_agree(world, &tie) && all_idle(world) ? agreed_since : world->now_us;
        if (*world->failure || world->now_us - since > AGREE_S * US) {
            return *world->failure ? false : fail_disagree(world);
        }
        tie_since = tie ? (tie_since ? tie_since : world->now_us) : 0;
        if (tie_since && world->now_us - tie_since > TIE_S * US) {
            decide_tie(world);
            tie_since = 0;
        }
        world_run(world, US / 2);
    }
    return !*world->failure;
}

bool check_agree(struct world *world)
{
    network_heal(world);
    world_truce(world);
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (!world->nodes[i].node && !node_up(&world->nodes[i])) {
            return false;
        }
    }
    return check_living_agree(world);
}

char *check_utxo_set(struct sim_node *n)
{
    static const char *const fields[] = {"height", "bestblock", "txouts", "total_amount",
                                         "hash_serialized_3"};
    char *reply = node_ask(n, "gettxoutsetinfo", "[]");
    json_t *root = reply ? json_loads(reply, 0, NULL) : NULL;
    struct buf text = {0};
    for (size_t f = 0; root && f < ARRAY_COUNT(fields); f++) {
        json_t *value = json_object_get(json_object_get(root, "result"), fields[f]);
        char *shown = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        buf_printf(&text, "%s%s %s", f ? ", " : "", fields[f], shown ? shown : "missing");
        free(shown);
    }
    json_decref(root);
    mem_free(reply);
    buf_u8(&text, 0);
    return (char *)text.data;
}

bool check_utxo_set_is(struct sim_node *n, const char *wanted, const char *whose)
{
    char *own = check_utxo_set(n);
    bool ok = *wanted && strcmp(own, wanted) == 0;
    if (!ok) {
        world_fail(n->world, "node %u has the UTXO set %s; that of %s is %s", n->index, own, whose, wanted);
    }
    mem_free(own);
    return ok;
}

static bool ask_for_money(struct world *world)
{
    char *first = check_utxo_set(&world->nodes[0]);
    bool tie, same = true;
    for (uint32_t i = 1; same && i < world->node_count; i++) {
        char *own = check_utxo_set(&world->nodes[i]);
        same = strcmp(own, first) == 0;
        if (!same && all_agree(world, &tie)) {
            check_utxo_set_is(&world->nodes[i], first, "node 0");
        }
        mem_free(own);
    }
    mem_free(first);
    return same && !*world->failure;
}

/* A block that somebody has kept back may come while they are asked: then they have to agree once more. */
static bool same_money(struct world *world)
{
    return ask_for_money(world) ||
           (!*world->failure && check_living_agree(world) &&
            (ask_for_money(world) || world_fail(world, "the nodes have not the same UTXO set")));
}

/* What liars said is on nobody's best chain. */
static bool no_lie_believed(struct world *world)
{
    char text[HASH256_TEXT];
    for (uint32_t i = 0; i < world->node_count; i++) {
        for (const struct block_entry *e = sim_tip(&world->nodes[i]); e; e = e->prev) {
            if (map_get(&world->lies, &e->hash)) {
                return world_fail(world, "node %u has believed a lie: block %u %s", i, e->height,
                                  hash256_text(text, &e->hash));
            }
        }
    }
    return true;
}

/* Connections may be given up, but no honest node keeps another one away. */
static bool nobody_banned(struct world *world)
{
    struct p2p_ban_info bans[16];
    const struct moment now = {world->now_us, world->start_unix_s * US + world->now_us};
    for (uint32_t i = 0; i < world->node_count; i++) {
        size_t count = p2p_bans(node_p2p(world->nodes[i].node), bans, ARRAY_COUNT(bans), now);
        for (size_t b = 0; b < count; b++) {
            unsigned place = 0;
            if (sscanf(bans[b].subnet, "10.%2u.0.1/32", &place) != 1 || place <= SIM_NODES_MAX) {
                return world_fail(world, "node %u bans %s", i, bans[b].subnet);
            }
        }
    }
    return true;
}

/* Some transactions of the best chain, asked for by id where there is an index. */
static bool index_knows(struct sim_node *n)
{
    struct world *world = n->world;
    char hash[HASH256_TEXT], txid[HASH256_TEXT], params[HASH256_TEXT + 16];
    for (unsigned left = n->config.tx_index ? 3 : 0; left; left--) {
        uint32_t height = 1 + (uint32_t)pick(world, sim_tip(n)->height);
        const struct block_entry *e = chain_at(node_chain(n->node), height);
        struct block *block = sim_read_block(n, e);
        if (!block) {
            return world_fail(world, "node %u cannot show block %u of its best chain", n->index, height);
        }
        hash256_text(txid, &block->txs[pick(world, block->tx_count)].txid);
        block_unref(block);
        snprintf(params, sizeof params, "[\"%s\",true]", txid);
        char *reply = node_ask(n, "getrawtransaction", params);
        bool there = reply && strstr(reply, hash256_text(hash, &e->hash));
        mem_free(reply);
        if (!there) {
            return world_fail(world, "node %u does not find %s, which is in block %u", n->index, txid,
                              height);
        }
    }
    return true;
}

static bool indexes_know(struct world *world)
{
    bool ok = true;
    for (uint32_t i = 0; i < world->node_count && ok; i++) {
        ok = sim_tip(&world->nodes[i])->height == 0 || index_knows(&world->nodes[i]);
    }
    return ok;
}

/* What was promised is known to everybody who promised it, and the best chain is at least as good. */
static bool promises_kept(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct sim_node *n = &world->nodes[i];
        for (size_t at = 0; at < n->promised.len; at += 32) {
            struct hash256 hash;
            memcpy(hash.b, n->promised.data + at, 32);
            const struct block_entry *e = chain_find(node_chain(n->node), &hash);
            if (!e || !(e->status & BLOCK_HAVE_DATA) || u256_compare(e->work, sim_tip(n)->work) > 0) {
                return world_fail(world, "node %u does not follow a block that it had promised", i);
            }
        }
    }
    return true;
}

/* ---- Mempools ---------------------------------------------------------------------------------------- */

struct input_check { /* freed by its answer, which comes in any case: a crash answers too */
    struct sim_node *n;
    struct tx *tx;
};

static void inputs_are_here(void *context, struct coins_view *view)
{
    struct input_check *check = context;
    struct sim_node *n = check->n;
    for (uint32_t i = 0; view && i < check->tx->input_count; i++) {
        const struct coin *coin = coins_view_get(view, i);
        const struct hash256 *parent = &check->tx->inputs[i].prevout.txid;
        char text[HASH256_TEXT];
        if (!coin && !mempool_find(node_mempool(n->node), parent)) {
            world_fail(n->world, "node %u keeps %s in its mempool, which spends nothing that is there",
                       n->index, hash256_text(text, &check->tx->txid));
        } else if (coin && coin->coinbase &&
                   coin->height + n->world->params.maturity > sim_tip(n)->height + 1) {
            world_fail(n->world, "node %u keeps %s in its mempool, which spends an immature coinbase",
                       n->index, hash256_text(text, &check->tx->txid));
        }
    }
    coins_view_free(view);
    tx_unref(check->tx);
    mem_free(check);
}

static void check_inputs(struct sim_node *n, struct tx *tx)
{
    struct input_check *check = mem_alloc(sizeof *check);
    struct outpoint *outpoints = mem_alloc(tx->input_count * sizeof *outpoints);
    *check = (struct input_check){n, tx_ref(tx)};
    for (uint32_t i = 0; i < tx->input_count; i++) {
        outpoints[i] = tx->inputs[i].prevout;
    }
    chain_fetch_coins(node_chain(n->node), outpoints, tx->input_count, inputs_are_here, check);
    node_drain(n);
    mem_free(outpoints);
}

static bool mempools_sane(struct world *world)
{
    struct map confirmed;
    sim_confirmed(&world->nodes[0], &confirmed);
    for (uint32_t i = 0; i < world->node_count && !*world->failure; i++) {
        struct sim_node *n = &world->nodes[i];
        const struct mempool_entry *entry;
        for (size_t at = 0; mempool_next(node_mempool(n->node), &at, &entry) && !*world->failure;) {
            if (map_get(&confirmed, &entry->tx->txid)) {
                world_fail(world, "node %u keeps a confirmed transaction in its mempool", i);
            } else {
                check_inputs(n, entry->tx);
            }
        }
    }
    map_free(&confirmed);
    while (!all_idle(world) && !*world->failure) { /* until the answers are there */
        world_run(world, US / 10);
    }
    return !*world->failure;
}

/* ---- The end of every scenario ----------------------------------------------------------------------- */

static bool stops_cleanly(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_ask_stop(&world->nodes[i]);
    }
    for (uint32_t i = 0; i < world->node_count && node_await_stop(&world->nodes[i]); i++) {
    }
    for (uint32_t i = 0; i < world->node_count && !*world->failure; i++) {
        struct sim_node *n = &world->nodes[i];
        node_crash(n, true); /* the power goes right after: it must not matter */
        n->stopped_cleanly = true;
        if (!node_up(n)) {
            return false;
        }
        if (!hash256_equal(&sim_tip(n)->hash, &n->last_tip)) {
            return world_fail(world, "node %u opens at another tip than it stopped at", i);
        }
    }
    return !*world->failure;
}

/* Everybody agrees, with a newcomer that has the chain from nobody but the others. */
void check_end(struct world *world)
{
    if (!check_agree(world) || !no_lie_believed(world) || !nobody_banned(world) || !same_money(world) ||
        !promises_kept(world) || !money_is_somewhere(world)) {
        return;
    }
    struct sim_node *fresh = world_add_node(world, false, (const uint32_t[]){0, 1}, 2);
    if (!node_up(fresh) || !check_agree(world) || !same_money(world) || !mempools_sane(world)) {
        return;
    }
    if (stops_cleanly(world) && check_agree(world) && same_money(world)) {
        indexes_know(world);
    }
}
