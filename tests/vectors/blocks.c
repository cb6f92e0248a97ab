/* Real blocks with the outputs they spend, block files whose blocks follow each other, and the blocks of the
 * filter vectors. */
#include <stdio.h>

#include "core/consensus/script.h"
#include "tests/vectors/vectors.h"

#define REAL_FLAGS                                                                                           \
    (SCRIPT_P2SH | SCRIPT_DERSIG | SCRIPT_CLTV | SCRIPT_CSV | SCRIPT_NULLDUMMY | SCRIPT_WITNESS)

struct item {
    const struct tx *tx;
    uint32_t index;
    size_t first; /* of its transaction's coins */
};

struct checks {
    struct item *items;
    size_t count;
    struct coin *coins;
    uint32_t flags;
};

static void check_one(const void *context, size_t i)
{
    const struct checks *c = context;
    const struct item *item = &c->items[i];
    enum script_error error = script_verify(item->tx, item->index, c->coins + item->first, NULL, c->flags);
    case_result(error == SCRIPT_ERROR_OK, "input %zu: %s", i, script_error_text(error));
}

/* ---- Blocks with their spent outputs ----------------------------------------------------------------- */

static bool is_segwit(const struct tx_input *in, struct span script)
{
    uint8_t version;
    struct span program;
    return in->witness_count > 0 && (script_witness_program(script, &version, &program) ||
                                     script_classify(script, NULL) == OUTPUT_P2SH);
}

/* Another output than the one that was signed: a bit of the hash or key that it names. */
static struct span altered_script(struct arena *arena, struct span script)
{
    enum output_kind kind = script_classify(script, NULL);
    bool plain = kind == OUTPUT_OTHER || kind == OUTPUT_MULTISIG || kind == OUTPUT_NULL_DATA;
    uint8_t *copy = arena_alloc(arena, script.len + 1);
    if (plain) { /* no one byte of it is sure to matter */
        copy[0] = OP_RETURN;
    }
    if (script.len) {
        memcpy(copy + plain, script.data, script.len);
    }
    copy[script.len / 2] ^= !plain;
    return span_of(copy, script.len + plain);
}

struct altered {
    const struct checks *checks;
    bool amounts;
};

/* Alters what one input spends and looks at it and at its neighbour in the same transaction. */
static void check_altered(const void *context, size_t i)
{
    const struct altered *a = context;
    const struct item *item = &a->checks->items[i];
    const struct tx *tx = item->tx;
    struct arena arena = {0};
    struct coin *coins = arena_alloc(&arena, tx->input_count * sizeof *coins);
    memcpy(coins, a->checks->coins + item->first, tx->input_count * sizeof *coins);
    struct coin *mine = &coins[item->index];
    bool segwit = is_segwit(&tx->inputs[item->index], mine->script), must_fail = segwit || !a->amounts;
    if (a->amounts) {
        mine->value.sat ^= 1;
    } else {
        mine->script = altered_script(&arena, mine->script);
    }
    bool fails = script_verify(tx, item->index, coins, NULL, a->checks->flags) != SCRIPT_ERROR_OK;
    uint32_t other = (item->index + 1) % tx->input_count;
    bool other_ok =
        other == item->index || script_verify(tx, other, coins, NULL, a->checks->flags) == SCRIPT_ERROR_OK;
    case_result(fails == must_fail && other_ok, "input %zu with another %s: %s", i,
                a->amounts ? "amount" : "script",
                fails != must_fail ? (fails ? "fails" : "passes") : "another input fails");
    arena_free(&arena);
}

static bool read_checks(struct checks *c, struct arena *arena, const struct block *block, struct cursor spent)
{
    for (uint32_t t = 1; t < block->tx_count; t++) {
        c->count += block->txs[t].input_count;
    }
    c->items = arena_alloc(arena, c->count * sizeof *c->items);
    c->coins = arena_alloc(arena, c->count * sizeof *c->coins);
    size_t n = 0;
    for (uint32_t t = 1; t < block->tx_count; t++) {
        size_t first = n;
        for (uint32_t i = 0; i < block->txs[t].input_count; i++, n++) {
            c->items[n] = (struct item){&block->txs[t], i, first};
            c->coins[n].value.sat = cursor_i64(&spent);
            c->coins[n].script = cursor_var_span(&spent);
        }
    }
    return cursor_done(&spent);
}

void real_block(const char *name, uint8_t *raw, size_t raw_len, const uint8_t *spent, size_t spent_len)
{
    struct chain_params params;
    struct error error = {0};
    CHECK(chain_params_init(&params, CHAIN_MAIN, NULL, NULL));
    struct block *block = block_parse(raw, raw_len, &error);
    case_result(block != NULL, "%s: %s", name, error.text);
    if (block) {
        case_result(block_check(block, &params, &error), "%s: %s", name, error.word);
    }
    if (block && spent) {
        struct arena arena = {0};
        struct checks checks = {.flags = REAL_FLAGS};
        bool ok = read_checks(&checks, &arena, block, cursor_of(spent, spent_len));
        case_result(ok, "%s: the .spent file does not belong to it", name);
        if (ok) {
            for_each(checks.count, check_one, &checks);
            for_each(checks.count, check_altered, &(struct altered){&checks, false});
            for_each(checks.count, check_altered, &(struct altered){&checks, true});
        }
        arena_free(&arena);
    }
    block_unref(block);
    chain_params_free(&params);
}

/* ---- Block files ------------------------------------------------------------------------------------- */

struct file_walk {
    struct map coins; /* struct outpoint to struct coin; scripts borrow from the blocks */
    struct arena arena;
    struct block **blocks;
    size_t block_count, item_max;
    struct checks checks;
    size_t coin_count;
};

static bool walk_block(struct file_walk *w, const struct block *block)
{
    for (uint32_t t = 0; t < block->tx_count; t++) {
        const struct tx *tx = &block->txs[t];
        size_t first = w->checks.count;
        for (uint32_t i = 0; t && i < tx->input_count; i++) {
            const struct coin *coin = map_get(&w->coins, &tx->inputs[i].prevout);
            if (!coin) {
                return false;
            }
            if (w->checks.count == w->item_max) {
                w->item_max = MAX(w->item_max * 2, 1024u);
                w->checks.items = mem_realloc(w->checks.items, w->item_max * sizeof *w->checks.items);
                w->checks.coins = mem_realloc(w->checks.coins, w->item_max * sizeof *w->checks.coins);
            }
            w->checks.coins[w->checks.count] = *coin;
            w->checks.items[w->checks.count++] = (struct item){tx, i, first};
            map_remove(&w->coins, &tx->inputs[i].prevout);
        }
        for (uint32_t i = 0; i < tx->output_count; i++) {
            const struct outpoint outpoint = {tx->txid, i};
            struct coin *coin = map_put(&w->coins, &outpoint, NULL);
            coin->value = tx->outputs[i].value;
            coin->script = tx->outputs[i].script;
        }
    }
    return true;
}

void block_file(const char *name, const uint8_t *data, size_t len)
{
    struct rng rng;
    struct file_walk w = {.checks.flags = SCRIPT_P2SH};
    struct cursor c = cursor_of(data, len);
    rng_seed_u64(&rng, 1);
    map_init(&w.coins, sizeof(struct outpoint), sizeof(struct coin), &rng);
    bool ok = true;
    while (ok && cursor_left(&c) >= 8) {
        uint32_t magic = cursor_u32(&c);
        struct span raw = cursor_span(&c, cursor_u32(&c));
        struct error error = {0};
        struct block *block = c.failed ? NULL : block_parse(mem_dup(raw.data, raw.len), raw.len, &error);
        ok = block && walk_block(&w, block);
        case_result(ok, "%s: block %zu: %s", name, w.block_count, error.text);
        w.blocks = mem_realloc(w.blocks, (w.block_count + 1) * sizeof *w.blocks);
        w.blocks[w.block_count++] = block;
        if (magic != 0xd9b4bef9) { /* every chain but main has all rules from its beginning */
            w.checks.flags = SCRIPT_MANDATORY_FLAGS;
        }
    }
    for_each(w.checks.count, check_one, &w.checks);
    for (size_t i = 0; i < w.block_count; i++) {
        block_unref(w.blocks[i]);
    }
    mem_free(w.blocks);
    mem_free(w.checks.items);
    mem_free(w.checks.coins);
    map_free(&w.coins);
}

/* ---- The blocks of the filter vectors: parsed, with the hash that stands beside them ----------------- */

void blockfilters(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (json_array_size(row) < 3) {
            continue;
        }
        struct arena arena = {0};
        struct span raw = hex_span(&arena, json_string_value(json_array_get(row, 2)));
        const char *hash = json_string_value(json_array_get(row, 1));
        char text[HASH256_TEXT];
        struct block *block = block_parse(mem_dup(raw.data, raw.len), raw.len, NULL);
        struct hash256 root;
        bool ok = block && hash && strcmp(hash256_text(text, &block->hash), hash) == 0;
        ok = ok && !merkle_root_of_txids(&root, block->txs, block->tx_count, false) &&
             hash256_equal(&root, &block->header.merkle_root);
        case_result(ok, "row %zu", i);
        block_unref(block);
        arena_free(&arena);
    }
}
