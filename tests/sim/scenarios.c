/*
 * What the cluster goes through, and what must hold afterwards: one tip, one UTXO set that a fresh node
 * computes too, mempools without rubbish, nothing lost that was promised, and a clean stop.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "tests/sim/sim.h"

#define DEPTH_MAX   3u  /* of transactions that spend each other: stays within the mempool's limits */
#define AGREE_S     240 /* virtual seconds within which everybody must agree once lines and nodes are whole */
#define AGREED_S    5   /* for so long, then it counts */
#define TIE_S       30  /* two tips with equal work are left alone for so long, then one block decides */
#define OUTPUTS_MAX 3u

/* ---- Money --------------------------------------------------------------------------------------------- */

struct money { /* an output that was seen or made */
    struct outpoint outpoint;
    int64_t sat;
    uint32_t owner, depth;
    struct hash256 block; /* of a coinbase */
    uint32_t height;
    bool coinbase, used;
    size_t parent; /* of another output: index of the payment that made it */
};

struct payment {
    struct hash256 txid;
    uint32_t node; /* that it was given to */
    bool accepted;
    bool shaken; /* its node was on a chain without its money for a while, and could not keep it */
    size_t inputs[2];
    uint32_t input_count;
};

struct wallet {
    struct money *money;
    size_t money_count, money_capacity;
    struct payment *payments;
    size_t payment_count, payment_capacity;
    struct map blocks; /* whose coinbases are known */
};

static struct wallet *wallet_of(struct world *world)
{
    if (!world->wallet) {
        world->wallet = mem_alloc(sizeof *world->wallet);
        map_init(&world->wallet->blocks, sizeof(struct hash256), 0, &world->rng);
    }
    return world->wallet;
}

void scenarios_free(struct world *world)
{
    if (world->wallet) {
        mem_free(world->wallet->money);
        mem_free(world->wallet->payments);
        map_free(&world->wallet->blocks);
        mem_free(world->wallet);
    }
}

static struct money *add_money(struct wallet *wallet)
{
    if (wallet->money_count == wallet->money_capacity) {
        wallet->money_capacity = MAX(wallet->money_capacity * 2, 256u);
        wallet->money = mem_realloc(wallet->money, wallet->money_capacity * sizeof *wallet->money);
    }
    wallet->money[wallet->money_count] = (struct money){0};
    return &wallet->money[wallet->money_count++];
}

/* From the node's files; NULL when the bytes are not there yet. */
static struct block *read_block(struct sim_node *n, const struct block_entry *e)
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

struct block *scenarios_tip_block(struct sim_node *n)
{
    return read_block(n, chain_tip(node_chain(n->node)));
}

static void learn_coinbases(struct sim_node *n)
{
    struct world *world = n->world;
    struct wallet *wallet = wallet_of(world);
    for (const struct block_entry *e = chain_tip(node_chain(n->node));
         e->prev && !map_get(&wallet->blocks, &e->hash); e = e->prev) {
        struct block *block = read_block(n, e);
        if (!block) {
            continue;
        }
        map_put(&wallet->blocks, &e->hash, NULL);
        const struct tx_output *out = &block->txs[0].outputs[0];
        for (uint32_t i = 0; i < world->node_count; i++) {
            if (span_equal(out->script, buf_span(&world->nodes[i].payout_script))) {
                struct money *money = add_money(wallet);
                money->outpoint.txid = block->txs[0].txid;
                money->sat = out->value.sat;
                money->owner = i;
                money->block = e->hash;
                money->height = e->height;
                money->coinbase = true;
            }
        }
        block_unref(block);
    }
}

static bool is_spendable(struct sim_node *n, const struct money *money)
{
    struct chain *chain = node_chain(n->node);
    const struct wallet *wallet = n->world->wallet;
    if (money->used || money->depth >= DEPTH_MAX || money->sat < 100000) {
        return false;
    }
    if (!money->coinbase) {
        return wallet->payments[money->parent].accepted;
    }
    const struct block_entry *e = chain_find(chain, &money->block);
    return e && chain_contains(chain, e) &&
           money->height + n->world->params.maturity <= chain_tip(chain)->height + 1;
}

bool scenarios_some_coin(struct world *world, const struct chain *chain, const struct block_entry *parent,
                         struct outpoint *coin)
{
    const struct wallet *wallet = wallet_of(world);
    for (size_t i = 0; i < wallet->money_count; i++) {
        const struct money *money = &wallet->money[i];
        const struct block_entry *e =
            money->coinbase && !money->used ? chain_find(chain, &money->block) : NULL;
        if (e && block_ancestor(parent, e->height) == e &&
            e->height + world->params.maturity <= parent->height + 1) {
            *coin = money->outpoint;
            return true;
        }
    }
    return false;
}

static void payment_answered(struct world *world, struct sim_call *call, const char *reply)
{
    struct payment *payment = &world->wallet->payments[call->number];
    payment->accepted = reply && strstr(reply, "\"error\":null");
    for (uint32_t i = 0; reply && !payment->accepted && i < payment->input_count; i++) {
        world->wallet->money[payment->inputs[i]].used = false;
    }
}

static struct tx *sign_payment(struct sim_node *n, const struct payment *payment)
{
    struct world *world = n->world;
    struct wallet *wallet = world->wallet;
    struct outpoint outpoints[2];
    struct coin coins[2];
    struct tx_output outputs[OUTPUTS_MAX];
    uint32_t count = 1 + (uint32_t)pick(world, OUTPUTS_MAX), depth = 0;
    const struct sim_node *owner = &world->nodes[wallet->money[payment->inputs[0]].owner];
    int64_t left = -pick_between(world, 500, 5000);
    for (uint32_t i = 0; i < payment->input_count; i++) {
        const struct money *money = &wallet->money[payment->inputs[i]];
        outpoints[i] = money->outpoint;
        coins[i] = (struct coin){{money->sat}, buf_span(&owner->payout_script), money->height, false};
        left += money->sat;
        depth = MAX(depth, money->depth);
    }
    size_t first = wallet->money_count;
    for (uint32_t i = 0; i < count; i++) {
        struct money *money = add_money(wallet);
        money->owner = (uint32_t)pick(world, world->node_count);
        money->sat = left / (int64_t)count;
        money->depth = depth + 1;
        money->outpoint.index = i;
        money->parent = wallet->payment_count - 1;
        outputs[i] = (struct tx_output){{money->sat}, buf_span(&world->nodes[money->owner].payout_script)};
    }
    struct error error = {0};
    struct tx *tx =
        wallet_sign(&owner->key, outpoints, coins, payment->input_count, outputs, count, 0, &error);
    CHECK(tx);
    for (size_t i = first; i < wallet->money_count; i++) {
        wallet->money[i].outpoint.txid = tx->txid;
    }
    return tx;
}

/* A payment from somebody to somebody, given to this node; nothing when it knows no money to spend. */
static void pay(struct sim_node *n)
{
    struct world *world = n->world;
    struct wallet *wallet = wallet_of(world);
    learn_coinbases(n);
    struct payment payment = {.node = n->index};
    uint32_t wanted = 1 + chance(world, 30);
    for (unsigned tries = 0; tries < 20 && wallet->money_count && payment.input_count < wanted; tries++) {
        size_t at = (size_t)pick(world, wallet->money_count);
        struct money *money = &wallet->money[at];
        bool same = !payment.input_count || wallet->money[payment.inputs[0]].owner == money->owner;
        if (same && is_spendable(n, money)) {
            money->used = true;
            payment.inputs[payment.input_count++] = at;
        }
    }
    if (!payment.input_count) {
        return;
    }
    if (wallet->payment_count == wallet->payment_capacity) {
        wallet->payment_capacity = MAX(wallet->payment_capacity * 2, 64u);
        wallet->payments = mem_realloc(wallet->payments, wallet->payment_capacity * sizeof *wallet->payments);
    }
    wallet->payments[wallet->payment_count++] = payment;
    struct tx *tx = sign_payment(n, &payment);
    wallet->payments[wallet->payment_count - 1].txid = tx->txid;
    struct buf params = {0};
    char *hex = mem_alloc(2 * tx->raw.len + 1);
    hex_encode(hex, tx->raw.data, tx->raw.len);
    buf_printf(&params, "[\"%s\"]%c", hex, 0);
    node_call(n, "sendrawtransaction", (const char *)params.data, payment_answered, NULL,
              wallet->payment_count - 1);
    buf_free(&params);
    mem_free(hex);
    tx_unref(tx);
}

/* Whether a payment depends on a coinbase that this chain does not have, or could not spend yet. */
static bool is_lost(struct world *world, const struct chain *chain, const struct payment *payment)
{
    const struct wallet *wallet = world->wallet;
    for (uint32_t i = 0; i < payment->input_count; i++) {
        const struct money *money = &wallet->money[payment->inputs[i]];
        if (money->coinbase) {
            const struct block_entry *e = chain_find(chain, &money->block);
            if (!e || !chain_contains(chain, e) ||
                money->height + world->params.maturity > chain_tip(chain)->height + 1) {
                return true;
            }
        } else if (is_lost(world, chain, &wallet->payments[money->parent])) {
            return true;
        }
    }
    return false;
}

void scenarios_reorganised(struct sim_node *n)
{
    struct wallet *wallet = wallet_of(n->world);
    for (size_t i = 0; i < wallet->payment_count; i++) {
        struct payment *payment = &wallet->payments[i];
        payment->shaken |= payment->node == n->index && is_lost(n->world, node_chain(n->node), payment);
    }
}

/* ---- Promises ------------------------------------------------------------------------------------------ */

static void generate_answered(struct world *world, struct sim_call *call, const char *reply)
{
    (void)world;
    json_t *root = reply ? json_loads(reply, 0, NULL) : NULL, *hash;
    size_t i;
    json_array_foreach(json_object_get(root, "result"), i, hash)
    {
        struct hash256 parsed;
        CHECK(hash256_parse(&parsed, json_string_value(hash)));
        buf_bytes(&call->node->promised, parsed.b, 32);
    }
    json_decref(root);
}

/* generatetoaddress: its answer promises that the blocks are on disk. */
static void generate(struct sim_node *n)
{
    struct buf params = {0};
    buf_printf(&params, "[1,\"%s\"]%c", n->payout_address, 0);
    node_call(n, "generatetoaddress", (const char *)params.data, generate_answered, NULL, 0);
    buf_free(&params);
}

/* ---- Agreement ----------------------------------------------------------------------------------------- */

static const struct block_entry *tip_of(const struct sim_node *n)
{
    return chain_tip(node_chain(n->node));
}

static bool all_agree(struct world *world, bool *tie)
{
    const struct block_entry *first = tip_of(&world->nodes[0]);
    bool same = true;
    *tie = true;
    for (uint32_t i = 1; i < world->node_count; i++) {
        const struct block_entry *tip = tip_of(&world->nodes[i]);
        same &= hash256_equal(&tip->hash, &first->hash);
        *tie &= u256_compare(tip->work, first->work) == 0;
    }
    return same;
}

static bool all_idle(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct sim_node *n = &world->nodes[i];
        if (!list_empty(&n->disk.ops) || !mempool_idle(node_mempool(n->node)) || !list_empty(&n->calls)) {
            return false;
        }
    }
    return true;
}

static bool fail_disagree(struct world *world)
{
    struct buf text = {0};
    for (uint32_t i = 0; i < world->node_count; i++) {
        const struct block_entry *tip = tip_of(&world->nodes[i]);
        char hash[HASH256_TEXT];
        buf_printf(&text, " n%u %u %.16s%s", i, tip->height, hash256_text(hash, &tip->hash),
                   node_synced(world->nodes[i].node) ? "" : " (not synced)");
    }
    buf_u8(&text, 0);
    world_fail(world, "the nodes do not agree:%s", (const char *)text.data);
    buf_free(&text);
    return false;
}

/* Nobody mines, all lines are whole, every node is up: now they must come to one tip. */
static bool agree(struct world *world)
{
    int64_t since = world->now_us, tie_since = 0, agreed_since = world->now_us;
    bool tie;
    network_heal(world);
    world_truce(world);
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_set_rate(&world->nodes[i], 0);
        if (!world->nodes[i].node && !node_up(&world->nodes[i])) {
            return false;
        }
    }
    while (world->now_us - agreed_since < AGREED_S * US) { /* what is still on the way may part them again */
        agreed_since = all_agree(world, &tie) && all_idle(world) ? agreed_since : world->now_us;
        if (*world->failure || world->now_us - since > AGREE_S * US) {
            return *world->failure ? false : fail_disagree(world);
        }
        tie_since = tie && !all_agree(world, &tie) ? (tie_since ? tie_since : world->now_us) : 0;
        if (tie_since && world->now_us - tie_since > TIE_S * US) {
            uint64_t found = world->blocks_found;
            node_set_rate(&world->nodes[0], 100);
            for (unsigned i = 0; i < 1000 && world->blocks_found == found; i++) {
                world_run(world, US / 10);
            }
            node_set_rate(&world->nodes[0], 0);
            tie_since = 0;
        }
        world_run(world, US / 2);
    }
    return !*world->failure;
}

static bool same_field(struct world *world, const struct sim_node *n, json_t *a, json_t *b, const char *field)
{
    json_t *x = json_object_get(json_object_get(a, "result"), field);
    json_t *y = json_object_get(json_object_get(b, "result"), field);
    return (x && y && json_equal(x, y)) ||
           world_fail(world, "nodes 0 and %u differ in %s of gettxoutsetinfo", n->index, field);
}

static json_t *utxo_set(struct sim_node *n)
{
    char *reply = node_ask(n, "gettxoutsetinfo", "[]");
    json_t *root = reply ? json_loads(reply, 0, NULL) : NULL;
    mem_free(reply);
    return root;
}

static bool same_money(struct world *world)
{
    static const char *const fields[] = {"height", "bestblock", "txouts", "total_amount",
                                         "hash_serialized_3"};
    json_t *first = utxo_set(&world->nodes[0]);
    bool ok = first != NULL;
    for (uint32_t i = 1; ok && i < world->node_count; i++) {
        json_t *other = utxo_set(&world->nodes[i]);
        ok = other != NULL;
        for (size_t f = 0; ok && f < ARRAY_COUNT(fields); f++) {
            ok = same_field(world, &world->nodes[i], first, other, fields[f]);
        }
        json_decref(other);
    }
    json_decref(first);
    return ok;
}

/* What liars said is on nobody's best chain. */
static bool no_lie_believed(struct world *world)
{
    char text[HASH256_TEXT];
    for (uint32_t i = 0; i < world->node_count; i++) {
        for (const struct block_entry *e = tip_of(&world->nodes[i]); e; e = e->prev) {
            if (map_get(&world->lies, &e->hash)) {
                return world_fail(world, "node %u has believed a lie: block %u %s", i, e->height,
                                  hash256_text(text, &e->hash));
            }
        }
    }
    return true;
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
            if (!e || !(e->status & BLOCK_HAVE_DATA) || u256_compare(e->work, tip_of(n)->work) > 0) {
                return world_fail(world, "node %u does not follow a block that it had promised", i);
            }
        }
    }
    return true;
}

/* ---- Mempools ------------------------------------------------------------------------------------------ */

static void confirmed_txs(struct sim_node *n, struct map *txids)
{
    map_init(txids, sizeof(struct hash256), 0, &n->world->rng);
    for (const struct block_entry *e = tip_of(n); e->prev; e = e->prev) {
        struct block *block = read_block(n, e);
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
                   coin->height + n->world->params.maturity > tip_of(n)->height + 1) {
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
    confirmed_txs(&world->nodes[0], &confirmed);
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

/* ---- The end of every scenario ------------------------------------------------------------------------- */

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
        if (!hash256_equal(&tip_of(n)->hash, &n->last_tip)) {
            return world_fail(world, "node %u opens at another tip than it stopped at", i);
        }
    }
    return !*world->failure;
}

/* Everybody agrees, with a newcomer that has the chain from nobody but the others. */
static void finish(struct world *world)
{
    if (!agree(world) || !no_lie_believed(world) || !same_money(world) || !promises_kept(world)) {
        return;
    }
    struct sim_node *fresh = world_add_node(world, false, (const uint32_t[]){0, 1}, 2);
    if (!node_up(fresh) || !agree(world) || !same_money(world) || !mempools_sane(world)) {
        return;
    }
    if (stops_cleanly(world) && agree(world)) {
        same_money(world);
    }
}

/* ---- Scenarios ----------------------------------------------------------------------------------------- */

/* A ring, and some lines across it. */
static void build(struct world *world, uint32_t count, uint32_t miners)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t connects[2] = {(i + 1) % count, (uint32_t)pick(world, count)};
        bool across = connects[1] != i && connects[1] != connects[0] && chance(world, 50);
        struct sim_node *n = world_add_node(world, i < miners, connects, across ? 2 : 1);
        n->hash_rate = i < miners ? (double)pick_between(world, 1, 6) : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        node_up(&world->nodes[i]);
    }
}

static bool run_until_height(struct world *world, struct sim_node *n, uint32_t height)
{
    for (unsigned i = 0; i < 20000 && tip_of(n)->height < height && !*world->failure; i++) {
        world_run(world, US / 4);
    }
    return *world->failure ? false
           : tip_of(n)->height >= height
               ? true
               : world_fail(world, "node %u never reached height %u", n->index, height);
}

static void pay_now_and_then(struct world *world, unsigned percent)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].node && chance(world, percent)) {
            pay(&world->nodes[i]);
        }
    }
}

/* Every payment is on the chain or in the mempool of the node that took it, unless its money is gone or was
 * gone meanwhile. */
static void payments_are_somewhere(struct world *world)
{
    struct map confirmed;
    struct wallet *wallet = wallet_of(world);
    char text[HASH256_TEXT];
    confirmed_txs(&world->nodes[0], &confirmed);
    for (size_t i = 0; i < wallet->payment_count && !*world->failure; i++) {
        const struct payment *payment = &wallet->payments[i];
        struct mempool *pool = node_mempool(world->nodes[payment->node].node);
        bool waits = mempool_find(pool, &payment->txid), mined = map_get(&confirmed, &payment->txid);
        bool lost = is_lost(world, node_chain(world->nodes[0].node), payment);
        if (payment->accepted && !payment->shaken && !lost && !waits && !mined) {
            world_fail(world, "payment %s, taken by node %u, is nowhere", hash256_text(text, &payment->txid),
                       payment->node);
        } else if (lost && (waits || mined)) {
            world_fail(world, "payment %s spends money that is gone", hash256_text(text, &payment->txid));
        }
    }
    map_free(&confirmed);
}

static void cut_halves(struct world *world, uint32_t first_of_second)
{
    for (uint32_t a = 0; a < first_of_second; a++) {
        for (uint32_t b = first_of_second; b < world->node_count; b++) {
            network_cut(world, a, b, true);
        }
    }
}

static void run_partition(struct world *world)
{
    uint32_t count = 4 + (uint32_t)pick(world, 2), half = count / 2;
    build(world, count, count);
    if (!run_until_height(world, &world->nodes[0], 8)) {
        return;
    }
    for (unsigned i = 0; i < 10 && !*world->failure; i++) {
        pay_now_and_then(world, 30);
        world_run(world, US);
    }
    cut_halves(world, half);
    uint32_t fork = 0; /* at most: one half may know more than its first node */
    for (uint32_t i = 0; i < count; i++) {
        fork = MAX(fork, tip_of(&world->nodes[i])->height);
    }
    struct sim_node *a = &world->nodes[0], *b = &world->nodes[half];
    while (!*world->failure && MIN(tip_of(a)->height, tip_of(b)->height) < fork + 30) {
        pay_now_and_then(world, 10);
        world_run(world, 2 * US);
    }
    if (*world->failure) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        node_set_rate(&world->nodes[i], 0);
    }
    world_run(world, 30 * US); /* each half comes to rest */
    struct hash256 old_a = tip_of(a)->hash, old_b = tip_of(b)->hash;
    if (!agree(world)) {
        return;
    }
    const struct block_entry *end_a = chain_find(node_chain(a->node), &old_a);
    const struct block_entry *end_b = chain_find(node_chain(b->node), &old_b);
    int order = u256_compare(end_a->work, end_b->work);
    const struct chain *loser = node_chain(order > 0 ? b->node : a->node);
    if (order && chain_contains(loser, order > 0 ? end_b : end_a)) {
        world_fail(world, "the heavier side did not win");
    }
    payments_are_somewhere(world);
    finish(world);
}

static void all_lights_out(struct world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        node_crash(&world->nodes[i], true);
    }
    world_run(world, pick_between(world, 1000, 5 * US));
    for (uint32_t i = 0; i < world->node_count && !*world->failure; i++) {
        node_up(&world->nodes[i]);
    }
}

static void run_power(struct world *world)
{
    unsigned losses = 3 + (unsigned)pick(world, 3);
    build(world, 4, 3);
    for (unsigned loss = 0; loss < losses && !*world->failure; loss++) {
        int64_t until = world->now_us + pick_between(world, 1, 60 * US);
        while (world->now_us < until && !*world->failure) {
            pay_now_and_then(world, 20);
            if (chance(world, 20)) {
                generate(&world->nodes[pick(world, 3)]);
            }
            int64_t step = pick_between(world, 1, 2 * US);
            world_run(world, MIN(step, until - world->now_us));
        }
        all_lights_out(world);
    }
    world_run(world, 5 * US);
    finish(world);
}

static void stop_or_crash(struct world *world, struct sim_node *n)
{
    switch (pick(world, 3)) {
    case 0: node_crash(n, true); break;
    case 1: node_crash(n, false); break;
    default:
        node_ask_stop(n);
        node_await_stop(n);
        break;
    }
}

static void disturb(struct world *world)
{
    struct sim_node *n = &world->nodes[pick(world, world->node_count)];
    uint32_t other = (uint32_t)pick(world, world->node_count);
    switch (pick(world, 10)) {
    case 0: network_drop_one(world); break;
    case 1: network_cut(world, n->index, other, n->index != other); break;
    case 6: network_cut_one_way(world, n->index, other); break;
    case 7: network_silence_one(world); break;
    case 2: network_heal(world); break;
    case 3:
        if (n->node) {
            stop_or_crash(world, n);
        }
        break;
    case 4:
        if (n->node && n->config.mine) {
            generate(n);
        }
        break;
    case 5:
        if (n->node && n->config.mine) {
            node_set_rate(n, (double)pick_between(world, 1, 12));
        }
        break;
    default:
        if (!n->node) {
            node_up(n);
        }
        break;
    }
}

static void run_chaos(struct world *world)
{
    build(world, 5, 3);
    for (unsigned i = 0; i < 60 && !*world->failure; i++) {
        pay_now_and_then(world, 15);
        disturb(world);
        world_run(world, (int64_t)pick_exponential(world, 2e6));
    }
    finish(world);
}

/* Two liars among five nodes, of which some dial them; the clocks of the honest ones differ too. */
static void run_liars(struct world *world)
{
    uint32_t count = 3 + (uint32_t)pick(world, 3);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t connects[3] = {(i + 1) % count, SIM_NODES_MAX, SIM_NODES_MAX + 1};
        struct sim_node *n = world_add_node(world, i < 3, connects, 1 + (size_t)pick(world, 3));
        n->hash_rate = i < 3 ? (double)pick_between(world, 2, 6) : 0;
        n->skew_us = pick_between(world, -20 * US, 20 * US);
    }
    for (uint32_t i = 0; i < count; i++) {
        node_up(&world->nodes[i]);
    }
    world_add_liar(world);
    world_add_liar(world);
    uint32_t height = tip_of(&world->nodes[0])->height;
    for (unsigned i = 0; i < 60 && !*world->failure; i++) {
        pay_now_and_then(world, 15);
        if (chance(world, 5)) {
            network_drop_one(world);
        }
        world_run(world, US);
    }
    if (!*world->failure && tip_of(&world->nodes[0])->height < height + 3) {
        world_fail(world, "liars have stopped the chain at height %u", tip_of(&world->nodes[0])->height);
    }
    finish(world);
}

const struct scenario scenarios[] = {
    {"partition", run_partition}, {"power", run_power}, {"chaos", run_chaos},
    {"liars", run_liars},         {NULL, NULL},
};
