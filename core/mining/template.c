/* Block templates: coinbase, merkle branch, header; and the whole block once a nonce is found. */
#include "core/mining/mining.h"

#include "hashing/kernels/kernels.h"

#define COINBASE_WEIGHT_RESERVE                                                                              \
    4000u /* header, counts, coinbase: at least, since others put in their own                               \
           */
#define COINBASE_SIGOPS_RESERVE 400u
#define TXS_MAX                 60000u
#define BLOCK_VERSION           0x20000000

static const char coinbase_note[] = "/Quarry/";

/* The coinbase without its witness (for the txid) or with it (for the block). */
static void coinbase_write(struct buf *out, const struct block_template *t, bool with_witness)
{
    struct buf script = {0}, commitment = {0};
    script_push_height(&script, t->height);
    uint8_t extranonce[8];
    store_le64(extranonce, t->extranonce);
    script_push(&script, extranonce, sizeof extranonce);
    script_push(&script, coinbase_note, sizeof coinbase_note - 1);
    static const uint8_t begin[6] = {0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed};
    buf_bytes(&commitment, begin, sizeof begin);
    buf_bytes(&commitment, t->commitment.b, 32);

    static const uint8_t reserved[32];
    const struct span witness = span_of(reserved, sizeof reserved);
    struct tx_input in = {.prevout.index = UINT32_MAX,
                          .script = buf_span(&script),
                          .sequence = SEQUENCE_FINAL,
                          .witness_count = 1,
                          .witness = &witness};
    struct tx_output outputs[2] = {
        {.value.sat = t->subsidy.sat + t->fees.sat, .script = t->payout_script},
        {.script = buf_span(&commitment)},
    };
    struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 2, .outputs = outputs};
    tx_write(out, &tx, with_witness);
    buf_free(&script);
    buf_free(&commitment);
}

/* The siblings of the first leaf on the way to the root: all that a new coinbase needs. */
static void build_branch(struct block_template *t)
{
    size_t count = t->tx_count + 1, depth = 0;
    uint8_t *nodes = mem_alloc((count + 1) * 32);
    t->merkle_branch = mem_alloc(32 * sizeof *t->merkle_branch);
    for (uint32_t i = 0; i < t->tx_count; i++) {
        memcpy(nodes + 32 * (i + 1), t->txs[i]->txid.b, 32);
    }
    for (; count > 1; count = (count + 1) / 2) {
        memcpy(t->merkle_branch[depth++].b, nodes + 32, 32);
        if (count % 2) {
            memcpy(nodes + 32 * count, nodes + 32 * (count - 1), 32);
        }
        sha256d_64(nodes, nodes, (count + 1) / 2);
    }
    t->merkle_branch_count = depth;
    mem_free(nodes);
}

static void witness_root(struct block_template *t)
{
    uint8_t *leaves = mem_alloc((t->tx_count + 1) * 32), pair[64] = {0};
    for (uint32_t i = 0; i < t->tx_count; i++) {
        memcpy(leaves + 32 * (i + 1), t->txs[i]->wtxid.b, 32);
    }
    merkle_root(pair, leaves, t->tx_count + 1, NULL);
    mem_free(leaves);
    sha256d(t->commitment.b, pair, sizeof pair);
}

void template_set_extranonce(struct block_template *t, uint64_t extranonce)
{
    struct buf coinbase = {0};
    uint8_t pair[64];
    t->extranonce = extranonce;
    coinbase_write(&coinbase, t, false);
    sha256d(pair, coinbase.data, coinbase.len);
    buf_free(&coinbase);
    for (size_t i = 0; i < t->merkle_branch_count; i++) {
        memcpy(pair + 32, t->merkle_branch[i].b, 32);
        sha256d_64(pair, pair, 1);
    }
    memcpy(t->header.merkle_root.b, pair, 32);
}

void template_set_time(struct block_template *t, const struct chain *chain, struct moment now)
{
    t->header.time = (uint32_t)MAX(moment_unix_s(now), t->min_time);
    t->header.bits = chain_next_bits(chain, t->parent, t->header.time);
    CHECK(pow_target(&t->target, t->header.bits));
}

/* What header, counts and coinbase weigh, at most. */
static uint32_t own_weight(const struct block_template *t)
{
    struct buf bare = {0}, whole = {0};
    coinbase_write(&bare, t, false);
    coinbase_write(&whole, t, true);
    size_t frame = HEADER_BYTES + compact_size_len(TXS_MAX + 1);
    size_t weight = frame * WITNESS_SCALE + bare.len * (WITNESS_SCALE - 1) + whole.len;
    buf_free(&bare);
    buf_free(&whole);
    return (uint32_t)MIN(MAX(weight, COINBASE_WEIGHT_RESERVE), BLOCK_WEIGHT_MAX);
}

static uint32_t own_sigop_cost(const struct block_template *t)
{
    uint32_t sigops = MIN(script_sigops(t->payout_script, false), BLOCK_SIGOPS_COST_MAX / WITNESS_SCALE);
    return MAX(sigops * WITNESS_SCALE, COINBASE_SIGOPS_RESERVE);
}

static void choose_txs(struct block_template *t, const struct mempool *pool)
{
    size_t max = MIN(mempool_count(pool), (size_t)TXS_MAX);
    const struct mempool_entry **chosen = mem_alloc(max * sizeof(struct mempool_entry *));
    t->weight = own_weight(t);
    size_t count =
        mempool_select(pool, chosen, max, BLOCK_WEIGHT_MAX - t->weight,
                       BLOCK_SIGOPS_COST_MAX - own_sigop_cost(t), t->height, block_median_time(t->parent));
    t->txs = mem_alloc(count * sizeof(struct tx *));
    t->costs = mem_alloc(count * sizeof *t->costs);
    for (size_t i = 0; i < count; i++) {
        t->costs[t->tx_count] = (struct template_cost){chosen[i]->fee.sat, chosen[i]->sigop_cost};
        t->txs[t->tx_count++] = tx_ref(chosen[i]->tx);
        t->fees.sat += chosen[i]->fee.sat;
        t->weight += chosen[i]->weight;
        t->sigop_cost += chosen[i]->sigop_cost;
    }
    mem_free(chosen);
}

static struct block_template *template_begin(struct chain *chain, const struct block_entry *parent,
                                             struct span payout_script)
{
    const struct chain_params *params = chain_parameters(chain);
    struct block_template *t = mem_alloc(sizeof *t);
    t->parent = parent;
    t->height = t->parent->height + 1;
    t->subsidy = block_subsidy(t->height, params);
    t->payout_script = span_of(mem_dup(payout_script.data, payout_script.len), payout_script.len);
    t->weight = COINBASE_WEIGHT_RESERVE;
    t->min_time = chain_min_time(chain, t->parent);
    return t;
}

static void template_end(struct block_template *t, const struct chain *chain, struct moment now)
{
    t->header.version = BLOCK_VERSION;
    t->header.prev_hash = t->parent->hash;
    witness_root(t);
    build_branch(t);
    template_set_extranonce(t, 0);
    template_set_time(t, chain, now);
}

struct block_template *template_ahead(struct chain *chain, const struct block_entry *parent,
                                      struct span payout_script, struct moment now)
{
    struct block_template *t = template_begin(chain, parent, payout_script);
    template_end(t, chain, now);
    return t;
}

struct block_template *template_new(struct chain *chain, const struct mempool *pool,
                                    struct span payout_script, bool with_transactions, struct moment now)
{
    struct block_template *t = template_begin(chain, chain_tip(chain), payout_script);
    if (with_transactions) {
        choose_txs(t, pool);
    }
    template_end(t, chain, now);
    return t;
}

struct block_template *template_of(struct chain *chain, struct span payout_script, struct tx *const *txs,
                                   size_t tx_count, struct moment now)
{
    struct block_template *t = template_begin(chain, chain_tip(chain), payout_script);
    t->txs = mem_alloc(tx_count * sizeof(struct tx *));
    t->costs = mem_alloc(tx_count * sizeof *t->costs);
    for (size_t i = 0; i < tx_count; i++) {
        t->txs[t->tx_count++] = tx_ref(txs[i]);
        t->weight += tx_weight(txs[i]);
    }
    template_end(t, chain, now);
    return t;
}

void template_free(struct block_template *t)
{
    if (!t) {
        return;
    }
    for (uint32_t i = 0; i < t->tx_count; i++) {
        tx_unref(t->txs[i]);
    }
    mem_free(t->txs);
    mem_free(t->costs);
    mem_free(t->merkle_branch);
    mem_free((void *)(uintptr_t)t->payout_script.data);
    mem_free(t);
}

void template_block(const struct block_template *t, int32_t version, uint32_t time, uint32_t nonce,
                    struct buf *out)
{
    struct block_header header = t->header;
    header.version = version;
    header.time = time;
    header.nonce = nonce;
    header_encode(buf_extend(out, HEADER_BYTES), &header);
    buf_compact_size(out, t->tx_count + 1u);
    coinbase_write(out, t, true);
    for (uint32_t i = 0; i < t->tx_count; i++) {
        buf_bytes(out, t->txs[i]->raw.data, t->txs[i]->raw.len);
    }
}

double network_hashes_per_s(const struct block_entry *entry, uint32_t blocks)
{
    if (!entry || !entry->height) {
        return 0;
    }
    const struct block_entry *first = block_ancestor(entry, entry->height - MIN(blocks, entry->height));
    int64_t least = entry->header.time, most = least;
    for (const struct block_entry *e = entry; e != first; e = e->prev) {
        least = MIN(least, (int64_t)e->prev->header.time);
        most = MAX(most, (int64_t)e->prev->header.time);
    }
    return least == most ? 0 : u256_double(u256_sub(entry->work, first->work)) / (double)(most - least);
}
