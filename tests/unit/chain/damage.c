/* Files that are damaged: whoever reads them in a reorganisation stops with a word, and blames no block. */
#include <criterion/criterion.h>

#include "tests/unit/chain/rig.h"

enum { OURS = 20, FORK = 12, THEIRS = 22, CACHE = 1 }; /* next to nothing is left in memory */

static struct rng rng;
static struct rig rig;
static struct node root, *ours[OURS + 1], *theirs[THEIRS + 1]; /* by height */

static void begin(void)
{
    rig_begin();
    rng_seed_u64(&rng, 3);
    root = (struct node){.fed = true};
    ours[0] = theirs[0] = &root;
    rig_open(&rig, 3, CACHE);
    for (uint32_t h = 1; h <= OURS; h++) {
        ours[h] = node_grow(ours[h - 1], &rng);
        rig_feed(&rig, ours[h]);
    }
    for (uint32_t h = 1; h <= THEIRS; h++) {
        theirs[h] = h <= FORK ? ours[h] : node_grow(theirs[h - 1], &rng);
    }
    rig_reopen(&rig, CACHE);
    rig.may_fail = true;
}

static void end(void)
{
    rig_close(&rig);
    nodes_free(ours + 1, OURS);
    nodes_free(theirs + FORK + 1, THEIRS - FORK);
    rig_end();
}

TestSuite(damage, .init = begin, .fini = end);

static const struct block_entry *at(uint32_t height)
{
    return chain_find(rig.chain, &ours[height]->block->hash);
}

/* Over to the other branch, as far as that goes. */
static void feed_theirs(void)
{
    for (uint32_t h = FORK + 1; h <= THEIRS && !*rig.fatal; h++) {
        rig_feed(&rig, theirs[h]);
    }
}

static void stopped_with(const char *word, const char *flag)
{
    cr_assert(strstr(rig.fatal, word) && strstr(rig.fatal, flag), "%s", rig.fatal);
    for (uint32_t h = 1; h <= OURS; h++) {
        cr_assert_not(at(h)->status & BLOCK_BAD, "height %u", h);
    }
}

/* Emptied and built anew; then the other branch is followed as if nothing had been. */
static void heals(bool index_too)
{
    rig_reset(&rig, index_too, CACHE);
    rig.may_fail = false;
    if (index_too) { /* what was damaged comes again, as from peers */
        for (uint32_t h = 1; h <= OURS; h++) {
            const struct block_entry *e = at(h);
            if (!e || !(e->status & BLOCK_HAVE_DATA)) {
                rig_feed(&rig, ours[h]);
            }
        }
    }
    for (uint32_t h = FORK + 1; h <= THEIRS; h++) {
        const struct block_entry *e = chain_find(rig.chain, &theirs[h]->block->hash);
        if (!e || !(e->status & BLOCK_HAVE_DATA)) {
            rig_feed(&rig, theirs[h]);
        }
    }
    struct utxo_stats here = rig_stats(&rig), there;
    struct rig fresh;
    rig_open(&fresh, 4, 1u << 20);
    for (uint32_t h = 1; h <= THEIRS; h++) {
        rig_feed(&fresh, theirs[h]);
    }
    there = rig_stats(&fresh);
    cr_assert(hash256_equal(&here.tip->hash, &theirs[THEIRS]->block->hash), "height %u", here.tip->height);
    cr_assert(hash256_equal(&here.hash, &there.hash));
    rig_close(&fresh);
}

Test(damage, nothing_is_damaged)
{
    feed_theirs();
    cr_assert_str_empty(rig.fatal);
    heals(false);
}

Test(damage, an_undo_record)
{
    rig_flip(&rig, "rev00000.dat", at(16)->undo_offset + at(16)->undo_len - 1);
    feed_theirs();
    stopped_with("undo data of block 16", "--reindex-chainstate");
    heals(false);
}

/* Of a block that stays: what connects it again mends the record. */
Test(damage, an_undo_record_below_the_tip)
{
    rig_flip(&rig, "rev00000.dat", at(16)->undo_offset + at(16)->undo_len - 1);
    uint64_t end = at(OURS)->undo_offset + at(OURS)->undo_len;
    rig_reset(&rig, false, CACHE);
    cr_assert_eq(at(OURS)->undo_offset + at(OURS)->undo_len, end, "in its old place");
    rig.may_fail = false;
    feed_theirs();
    heals(false);
}

/* An amount of the coinbase: a block that can be read, with the same header. */
static void damage_block(void)
{
    const struct tx_output *first = &ours[16]->block->txs[0].outputs[0];
    const uint8_t *end = first->script.data; /* one byte of length stands before it, the amount before that */
    rig_flip(&rig, "blk00000.dat", at(16)->data_offset + (uint64_t)(end - 9 - ours[16]->block->raw.data));
}

Test(damage, a_block_that_is_left)
{
    damage_block();
    feed_theirs();
    stopped_with("block 16", "--reindex");
    heals(true);
}

Test(damage, a_block_that_is_connected_again)
{
    damage_block();
    rig_reset(&rig, false, CACHE);
    stopped_with("block 16", "--reindex");
    heals(true);
}
