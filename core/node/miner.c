/*
 * When to hash, and on what. After every event miner_update compares the work that is out with what it should
 * be: the settled tip, the time, the mempool. As soon as a new tip is known to be valid an empty template
 * goes out, the full one when the tip has settled. Also here: generatetoaddress, which borrows the miner, and
 * regtest, where blocks are found on the spot, one per interval.
 */
#include <inttypes.h>

#include "core/node/node_private.h"

#include "hashing/kernels/kernels.h"

#define REFRESH_US           INT64_C(5000000) /* nTime moves on */
#define FILL_US              INT64_C(1000000) /* at most so often for new transactions */
#define QUICK_ABOVE          100u /* mempool entries from which an empty template goes out first */
#define GENERATE_DEADLINE_US INT64_C(30000000)
#define SPOT_TRIES           UINT64_C(1000000) /* regtest finds in two on average */

static bool is_regtest(const struct node *node)
{
    return node->params->kind == CHAIN_REGTEST;
}

/* May this node mine of its own accord now? On an empty chain only a seed may; far behind its peers nobody
 * should. Blocks that are announced and never delivered are no reason to stop (p2p_near_tip): whoever
 * announces them would stop us for good. */
static bool should_mine(const struct node *node)
{
    return node->config.mine && !node->stopping && node->started && node_loaded(node) &&
           p2p_near_tip(node->p2p) && !chain_busy(node->chain) &&
           (node->config.seed_node || chain_tip(node->chain)->height > 0);
}

static void send_order(struct node *node)
{
    struct mining *m = &node->mining;
    struct action *action = node_push(node, ACTION_WORK);
    m->order_id++;
    m->idle_told = false;
    if (m->ordered[0].on != m->template->parent) {
        m->ordered[1] = m->ordered[0];
        m->ordered[0] = (struct ordered){m->template->parent, m->order_id};
    }
    action->work = (struct work_order){
        .id = m->order_id, .version_mask = VERSION_ROLLING_MASK, .target = m->template->target};
    header_encode(action->work.header, &m->template->header);
}

void miner_assembled(struct node *node, const struct block_template *t)
{
    node->mining.assembled = true;
    node->mining.last_weight = t->weight;
    node->mining.last_tx_count = t->tx_count;
}

/* The template is another one now. */
static void take_template(struct node *node, struct block_template *template, bool with_transactions)
{
    struct mining *m = &node->mining;
    struct mempool_info info;
    template_free(m->template);
    m->template = template;
    miner_assembled(node, template);
    template_set_extranonce(template, ++m->extranonce);
    mempool_info(node->mempool, &info);
    m->pool_sequence = info.sequence;
    m->refreshed_us = m->filled_us = node->now.mono_us;
    m->full_due = !with_transactions;
    m->quick_event = node->events;
}

static void make_template(struct node *node, bool with_transactions)
{
    const struct generate *g = &node->generate;
    struct span script = g->active ? buf_span(&g->script) : node->config.payout_script;
    take_template(node,
                  g->active && g->chosen
                      ? template_of(node->chain, script, g->txs, g->tx_count, node->now)
                      : template_new(node->chain, node->mempool, script, with_transactions, node->now),
                  with_transactions);
}

void miner_ahead(struct node *node, const struct block_entry *entry)
{
    bool hashing = node->config.mine && !is_regtest(node) && !node->generate.active && !node->stopping &&
                   node->mining.template && p2p_near_tip(node->p2p);
    if (hashing) {
        take_template(node, template_ahead(node->chain, entry, node->config.payout_script, node->now), false);
        send_order(node);
        if (node->config.urgent) {
            node->config.urgent(node->config.host);
        }
    }
}

static void pause_hashing(struct node *node)
{
    struct mining *m = &node->mining;
    template_free(m->template);
    m->template = NULL;
    if (!m->idle_told) {
        m->idle_told = true;
        m->order_id++;
        node_push(node, ACTION_WORK)->work = (struct work_order){.id = m->order_id, .idle = true};
    }
}

/* The same tip: newer time, or a fuller block. */
static void refresh(struct node *node)
{
    struct mining *m = &node->mining;
    struct mempool_info info;
    mempool_info(node->mempool, &info);
    bool fuller = (m->full_due && m->quick_event != node->events) ||
                  (info.sequence != m->pool_sequence && node->now.mono_us - m->filled_us >= FILL_US);
    if (fuller) {
        make_template(node, true);
        send_order(node);
    } else if (node->now.mono_us - m->refreshed_us >= REFRESH_US) {
        template_set_extranonce(m->template, ++m->extranonce);
        template_set_time(m->template, node->chain, node->now);
        m->refreshed_us = node->now.mono_us;
        send_order(node);
    }
}

/* A solved header becomes a block and goes the way of every block. It is none when what was chosen for it is
 * larger than a block may be. */
static void submit(struct node *node, uint32_t version, uint32_t nonce, uint64_t source)
{
    struct mining *m = &node->mining;
    struct buf raw = {0};
    struct error error = {0};
    char text[HASH256_TEXT];
    uint32_t height = m->template->height;
    template_block(m->template, (int32_t)version, m->template->header.time, nonce, &raw);
    struct block *block = block_parse(raw.data, raw.len, &error);
    if (source == SOURCE_GENERATE) {
        node->generate.waiting = true;
    }
    m->blocks_found += block != NULL;
    if (block && chain_accept_block(node->chain, block, node->now, true, source, &error)) {
        log_info(LOG_MINING, "mined block %u %s (%u transactions)", height, hash256_text(text, &block->hash),
                 block->tx_count);
    } else {
        log_warn(LOG_MINING, "mined block %u was not accepted: %s (%s)", height, error.word, error.text);
        if (source == SOURCE_GENERATE) {
            generate_block_result(node, NULL, false, &error);
        }
    }
    block_unref(block);
}

void miner_hit(struct node *node, uint64_t work_id, uint32_t version, uint32_t nonce)
{
    struct mining *m = &node->mining;
    bool stale = work_id != m->order_id || !m->template || m->template->parent != chain_tip(node->chain) ||
                 node->generate.waiting;
    if (!stale) {
        submit(node, version, nonce, node->generate.active ? SOURCE_GENERATE : SOURCE_MINER);
    }
}

void miner_used_up(struct node *node, uint64_t work_id)
{
    struct mining *m = &node->mining;
    if (work_id == m->order_id) {
        m->refreshed_us = node->now.mono_us - REFRESH_US; /* miner_update, after this event, refreshes */
    }
}

/* The workers are on a tip as soon as they have begun with the first order on it. It may be told when the
 * next tip has come. */
void miner_switched(struct node *node, uint64_t work_id, int64_t mono_us)
{
    const struct mining *m = &node->mining;
    const struct ordered *tip = &m->ordered[work_id < m->ordered[0].first];
    if (tip->on && work_id >= tip->first) {
        p2p_workers_switched(node->p2p, &tip->on->hash, mono_us);
    }
}

/* Regtest: hash here and now. False when nothing was found in the tries allowed. */
static bool mine_on_the_spot(struct node *node, uint64_t tries, uint64_t source)
{
    struct scan_job job;
    struct scan_hit hits[SCAN_HITS_MIN];
    uint8_t header[HEADER_BYTES], target[32];
    size_t found = 0;
    make_template(node, true);
    struct block_template *t = node->mining.template;
    uint32_t version = (uint32_t)t->header.version;
    header_encode(header, &t->header);
    u256_to_le(target, t->target);
    scan_prepare(&job, header, &version, 1, target);
    for (uint64_t done = 0; done < tries && !found; done += 64) {
        scan_nonces(&job, (uint32_t)done, MIN(tries - done, UINT64_C(64)), hits, SCAN_HITS_MIN, &found);
    }
    if (found) {
        submit(node, hits[0].version, hits[0].nonce, source);
    }
    return found > 0;
}

/* ---- generatetoaddress -------------------------------------------------------------------------------- */

static void generate_free(struct generate *g)
{
    for (size_t i = 0; i < g->tx_count; i++) {
        tx_unref(g->txs[i]);
    }
    mem_free(g->txs);
    buf_free(&g->script);
}

static void generate_end(struct node *node, const char *why_fewer)
{
    struct generate *g = &node->generate;
    struct buf hashes = g->hashes;
    void *call = g->call;
    generate_free(g);
    *g = (struct generate){0};
    template_free(node->mining.template);
    node->mining.template = NULL;
    rpc_generated(node, call, &hashes, why_fewer);
    buf_free(&hashes);
}

bool generate_begin(struct node *node, struct span script, uint32_t blocks, uint64_t tries, void *call,
                    struct error *error)
{
    struct generate *g = &node->generate;
    if (g->active) {
        return error_set(error, ERROR_BUSY, NULL, "another generatetoaddress is under way");
    }
    *g = (struct generate){.active = true,
                           .remaining = blocks,
                           .tries_left = tries,
                           .call = call,
                           .deadline_us = node->now.mono_us + GENERATE_DEADLINE_US};
    buf_bytes(&g->script, script.data, script.len);
    template_free(node->mining.template);
    node->mining.template = NULL; /* what is out pays somebody else */
    return true;
}

void generate_choose(struct node *node, struct tx **txs, size_t count)
{
    struct generate *g = &node->generate;
    g->chosen = true;
    g->txs = txs;
    g->tx_count = count;
}

void generate_block_result(struct node *node, const struct hash256 *hash, bool connected,
                           const struct error *error)
{
    struct generate *g = &node->generate;
    if (!g->active || !g->waiting) {
        return;
    }
    g->waiting = false;
    if (error) {
        generate_end(node, error->word);
    } else {
        if (connected) {
            buf_bytes(&g->hashes, hash->b, 32);
        }
        g->remaining -= g->remaining > 0;
    }
}

static void generate_update(struct node *node)
{
    struct generate *g = &node->generate;
    if (g->waiting || chain_busy(node->chain)) {
        return;
    }
    if (g->remaining == 0) {
        generate_end(node, NULL);
    } else if (node->stopping) {
        generate_end(node, "the node is stopping");
    } else if (is_regtest(node)) {
        uint64_t tries = MIN(g->tries_left, SPOT_TRIES);
        if (!mine_on_the_spot(node, tries, SOURCE_GENERATE)) {
            generate_end(node, "no block in the tries allowed");
        }
    } else if (node->now.mono_us > g->deadline_us) {
        generate_end(node, "the deadline has passed");
    } else if (!node->mining.template || node->mining.template->parent != chain_tip(node->chain)) {
        make_template(node, true);
        send_order(node);
    } else {
        refresh(node);
    }
}

/* ---- The decision ------------------------------------------------------------------------------------- */

static void regtest_update(struct node *node)
{
    struct mining *m = &node->mining;
    int64_t interval_us = (int64_t)MAX(node->config.block_interval_s, 1u) * 1000000;
    if (!node->config.mine && !node->config.block_interval_s) {
        return;
    }
    if (!m->next_interval_us) {
        m->next_interval_us = node->now.mono_us + interval_us;
    } else if (node->now.mono_us >= m->next_interval_us && should_mine(node)) {
        m->next_interval_us = node->now.mono_us + interval_us;
        mine_on_the_spot(node, SPOT_TRIES, SOURCE_MINER);
    }
}

void miner_update(struct node *node)
{
    struct mining *m = &node->mining;
    if (node->generate.active) {
        generate_update(node);
        if (node->generate.active) {
            return;
        }
    }
    if (is_regtest(node)) {
        regtest_update(node);
        return;
    }
    if (!should_mine(node)) {
        /* A block in flight is no reason to stop hashing on the old tip. */
        if (!chain_busy(node->chain) || node->stopping || !m->template) {
            pause_hashing(node);
        }
        return;
    }
    if (!m->template || m->template->parent != chain_tip(node->chain)) {
        make_template(node, mempool_count(node->mempool) <= QUICK_ABOVE);
        send_order(node);
    } else {
        refresh(node);
    }
}

int64_t miner_next_us(const struct node *node)
{
    const struct mining *m = &node->mining;
    if (is_regtest(node)) {
        return m->next_interval_us && should_mine(node) ? MAX(m->next_interval_us, node->now.mono_us + 1000)
                                                        : INT64_MAX; /* until something changes */
    }
    bool working =
        node->generate.active ? !node->generate.waiting && !chain_busy(node->chain) : should_mine(node);
    if (!m->template || !working) {
        return INT64_MAX; /* what changes that is an event of its own */
    }
    return m->full_due ? node->now.mono_us
                       : MIN(m->refreshed_us + REFRESH_US,
                             m->filled_us + FILL_US > node->now.mono_us ? m->filled_us + FILL_US : INT64_MAX);
}

void miner_stop(struct node *node)
{
    if (node->generate.active) {
        generate_end(node, "the node is stopping");
    }
    pause_hashing(node);
}

void miner_free(struct node *node)
{
    template_free(node->mining.template);
    generate_free(&node->generate);
    buf_free(&node->generate.hashes);
}
