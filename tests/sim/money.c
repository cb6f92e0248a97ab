/*
 * Who has paid whom: the coins that were seen, payments of them by everybody to everybody, some of a coin
 * that somebody else spends too, and what must have become of each payment in the end. Not here: mempool and
 * UTXO rules, which are the core's.
 */
#include <stdio.h>

#include "tests/sim/sim.h"

#define OUTPUTS_MAX    3u
#define SPENDERS_MAX   2u
#define RIVALS_PERCENT 25u

struct money { /* an output that was seen or made */
    struct outpoint outpoint;
    int64_t sat;
    uint32_t owner, depth; /* depth: how many payments lead here from a coinbase */
    struct hash256 block;  /* of a coinbase */
    uint32_t height;
    bool coinbase;
    size_t parent;                 /* of another output: index of the payment that made it */
    size_t spenders[SPENDERS_MAX]; /* payments of it that were not refused; two are rivals */
    uint32_t spender_count;
};

struct payment {
    struct hash256 txid;
    uint32_t node, life; /* that it was given to */
    bool accepted;
    bool unheard; /* its node died before it answered: it may have handed it on */
    bool shaken;  /* its node was on a chain without its money for a while, and could not keep it */
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

void money_free(struct world *world)
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

static void learn_coinbases(struct sim_node *n)
{
    struct world *world = n->world;
    struct wallet *wallet = wallet_of(world);
    for (const struct block_entry *e = chain_tip(node_chain(n->node));
         e->prev && !map_get(&wallet->blocks, &e->hash); e = e->prev) {
        struct block *block = sim_read_block(n, e);
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
    if (money->depth >= n->world->depth_max || money->sat < 100000 || money->spender_count == SPENDERS_MAX) {
        return false;
    }
    if (money->spender_count &&
        (wallet->payments[money->spenders[0]].node == n->index || !chance(n->world, RIVALS_PERCENT))) {
        return false;
    }
    if (!money->coinbase) {
        return wallet->payments[money->parent].accepted;
    }
    const struct block_entry *e = chain_find(chain, &money->block);
    return e && chain_contains(chain, e) &&
           money->height + n->world->params.maturity <= chain_tip(chain)->height + 1;
}

bool money_some_coin(struct world *world, const struct chain *chain, const struct block_entry *parent,
                     bool mature, struct outpoint *coin)
{
    const struct wallet *wallet = wallet_of(world);
    for (size_t i = 0; i < wallet->money_count; i++) {
        const struct money *money = &wallet->money[i];
        const struct block_entry *e =
            money->coinbase && !money->spender_count ? chain_find(chain, &money->block) : NULL;
        if (e && block_ancestor(parent, e->height) == e &&
            mature == (e->height + world->params.maturity <= parent->height + 1)) {
            *coin = money->outpoint;
            return true;
        }
    }
    return false;
}

static void give_back(struct money *money, size_t payment)
{
    if (money->spender_count == 2 && money->spenders[0] == payment) {
        money->spenders[0] = money->spenders[1];
    }
    money->spender_count--;
}

static void payment_answered(struct world *world, struct sim_call *call, const char *reply)
{
    struct payment *payment = &world->wallet->payments[call->number];
    payment->accepted = reply && strstr(reply, "\"error\":null");
    payment->unheard = !reply;
    for (uint32_t i = 0; reply && !payment->accepted && i < payment->input_count; i++) {
        give_back(&world->wallet->money[payment->inputs[i]], call->number);
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
void money_pay(struct sim_node *n)
{
    struct world *world = n->world;
    struct wallet *wallet = wallet_of(world);
    learn_coinbases(n);
    struct payment payment = {.node = n->index, .life = n->life};
    uint32_t wanted = 1 + chance(world, 30);
    for (unsigned tries = 0; tries < 20 && wallet->money_count && payment.input_count < wanted; tries++) {
        size_t at = (size_t)pick(world, wallet->money_count);
        struct money *money = &wallet->money[at];
        bool same = !payment.input_count || wallet->money[payment.inputs[0]].owner == money->owner;
        bool twice = payment.input_count && payment.inputs[0] == at;
        if (same && !twice && is_spendable(n, money)) {
            money->spenders[money->spender_count++] = wallet->payment_count;
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

void money_reorganised(struct sim_node *n)
{
    struct wallet *wallet = wallet_of(n->world);
    for (size_t i = 0; i < wallet->payment_count; i++) {
        struct payment *payment = &wallet->payments[i];
        payment->shaken |= payment->node == n->index && is_lost(n->world, node_chain(n->node), payment);
    }
}

/* ---- What has become of it --------------------------------------------------------------------------- */

struct outcome {
    struct world *world;
    struct map confirmed; /* on the chain that all agree on */
    const struct chain *chain;
};

static bool is_mined(const struct outcome *outcome, const struct payment *payment)
{
    return map_get(&outcome->confirmed, &payment->txid) != NULL;
}

static bool is_waiting(const struct outcome *outcome, const struct payment *payment)
{
    struct sim_node *n = &outcome->world->nodes[payment->node];
    return mempool_find(node_mempool(n->node), &payment->txid) != NULL;
}

/* Somebody has taken another payment of the same money, or of money that led to it. */
static bool has_rival(const struct wallet *wallet, const struct payment *payment)
{
    for (uint32_t i = 0; i < payment->input_count; i++) {
        const struct money *money = &wallet->money[payment->inputs[i]];
        if (!money->coinbase && has_rival(wallet, &wallet->payments[money->parent])) {
            return true;
        }
        for (uint32_t s = 0; s < money->spender_count; s++) {
            const struct payment *spender = &wallet->payments[money->spenders[s]];
            if (spender != payment && (spender->accepted || spender->unheard)) {
                return true;
            }
        }
    }
    return false;
}

/* Mempools end with the process: who took it has to have lived on. */
static bool is_owed(const struct outcome *outcome, const struct payment *payment)
{
    const struct world *world = outcome->world;
    return payment->accepted && !payment->shaken && payment->life == world->nodes[payment->node].life &&
           world->depth_max <= SIM_DEPTH && !is_lost(outcome->world, outcome->chain, payment);
}

static void check_payment(const struct outcome *outcome, const struct payment *payment)
{
    struct world *world = outcome->world;
    char text[HASH256_TEXT];
    bool mined = is_mined(outcome, payment), waits = is_waiting(outcome, payment);
    if (is_owed(outcome, payment) && !has_rival(world->wallet, payment) && !mined && !waits) {
        world_fail(world, "payment %s, taken by node %u, is nowhere", hash256_text(text, &payment->txid),
                   payment->node);
    } else if ((mined || waits) && is_lost(world, outcome->chain, payment)) {
        world_fail(world, "payment %s spends money that is gone", hash256_text(text, &payment->txid));
    }
}

/* Of two payments of the same money one is to be found, and not both. */
static void check_rivals(const struct outcome *outcome, const struct money *money)
{
    const struct payment *payments = outcome->world->wallet->payments;
    const struct payment *a = &payments[money->spenders[0]], *b = &payments[money->spenders[1]];
    char text[HASH256_TEXT];
    bool there =
        is_mined(outcome, a) || is_waiting(outcome, a) || is_mined(outcome, b) || is_waiting(outcome, b);
    bool only_coin = a->input_count == 1 && b->input_count == 1 && money->coinbase;
    if (is_mined(outcome, a) && is_mined(outcome, b)) {
        world_fail(outcome->world, "%s is spent twice", hash256_text(text, &money->outpoint.txid));
    } else if (only_coin && is_owed(outcome, a) && is_owed(outcome, b) && !there) {
        world_fail(outcome->world, "of two payments of %s neither is anywhere",
                   hash256_text(text, &money->outpoint.txid));
    }
}

bool money_is_somewhere(struct world *world)
{
    struct outcome outcome = {.world = world, .chain = node_chain(world->nodes[0].node)};
    struct wallet *wallet = wallet_of(world);
    sim_confirmed(&world->nodes[0], &outcome.confirmed);
    for (size_t i = 0; i < wallet->payment_count && !*world->failure; i++) {
        check_payment(&outcome, &wallet->payments[i]);
    }
    for (size_t i = 0; i < wallet->money_count && !*world->failure; i++) {
        if (wallet->money[i].spender_count == 2) {
            check_rivals(&outcome, &wallet->money[i]);
        }
    }
    map_free(&outcome.confirmed);
    return !*world->failure;
}
