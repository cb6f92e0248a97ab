/* Long chains of headers, and branches that are told by peers and lie in files only. */
#include "rig.h"

static struct block *block_of_nothing(const struct block *parent, uint32_t height)
{
    static const struct hash256 nowhere = {{1}};
    struct buf txs = {0};
    put_tx(&txs, &nowhere, 0, 1, 1000, 0);
    struct block *block = block_on(&parent->hash, height, 0, buf_span(&txs), 1);
    buf_free(&txs);
    return block;
}

/* ---- Headers ----------------------------------------------------------------------------------------- */

TestSuite(headers, .init = begin, .fini = end);

static void asks_on_from(peer_id peer, const struct hash256 *hash)
{
    struct span asked;
    cr_assert_eq(heard(peer, "getheaders", &asked), 1);
    cr_assert_arr_eq(asked.data + 5, hash->b, 32);
    forget_heard(peer);
}

Test(headers, full_messages_are_asked_on_after_and_a_short_one_is_the_end)
{
    struct branch *branch = branch_new(1, 4300);
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 2000);
    cr_assert_eq(heard(PEER, "getdata", NULL), 1, "blocks do not wait for all headers");
    asks_on_from(PEER, &branch->hashes[2000]);
    say_headers(PEER, branch, 2001, 4000);
    asks_on_from(PEER, &branch->hashes[4000]);
    say_headers(PEER, branch, 4001, 4300);
    cr_assert_eq(heard(PEER, "getheaders", NULL), 0);
    cr_assert_eq(chain_best_header(rig.chain)->height, 4300);
    say_headers(PEER, branch, 2001, 4000); /* once more, overlapping what is known */
    say_headers(PEER, branch, 3000, 4300);
    cr_assert_eq(chain_best_header(rig.chain)->height, 4300);
    cr_assert_not(rig.closed[PEER]);
    mem_free(branch);
}

Test(headers, one_more_than_a_message_may_hold_ends_the_connection)
{
    struct branch *branch = branch_new(1, 2001);
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 2001);
    cr_assert(rig.closed[PEER]);
    cr_assert_eq(chain_best_header(rig.chain)->height, 0);
    mem_free(branch);
}

Test(headers, a_count_without_headers_behind_it_is_passed_over_unless_it_is_too_large)
{
    static const uint64_t counts[] = {1, 2000, 2001, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        peer_id peer = (peer_id)(PEER + i);
        struct buf b = {0};
        connect_peer(peer);
        buf_compact_size(&b, counts[i]);
        say(peer, "headers", &b);
        cr_assert_eq(rig.closed[peer], counts[i] == 2001, "count %zu", i);
    }
}

/* A chain that breaks a rule in the middle of its third message: what came before is kept, and nothing more.
 */
Test(headers, a_continuation_that_breaks_a_rule_ends_the_connection)
{
    struct branch *branch = branch_new(1, 4300);
    connect_peer(PEER);
    say_headers(PEER, branch, 1, 2000);
    say_headers(PEER, branch, 2001, 4000);
    branch->headers[4100].bits = 0x207ffffe;
    mine(&branch->headers[4100]);
    say_headers(PEER, branch, 4001, 4100);
    cr_assert(rig.closed[PEER]);
    cr_assert_leq(chain_best_header(rig.chain)->height, 4099);
    cr_assert_geq(chain_best_header(rig.chain)->height, 4000);
    mem_free(branch);
}

/* ---- Branches in files ------------------------------------------------------------------------------- */

enum { FORK = 8, OURS = 20, THEIRS = 25, LAST = 30 };

static struct block *ours[LAST + 1], *theirs[LAST + 1]; /* by height */
static struct tx *payment;                              /* in a block of ours behind the fork */

static struct block *next_block(struct block *const *branch, uint32_t height, uint32_t salt, struct tx *tx)
{
    struct buf txs = {0};
    if (tx) {
        tx_write(&txs, tx, true);
    }
    struct block *block = block_on(&branch[height - 1]->hash, height, salt, buf_span(&txs), tx ? 1 : 0);
    buf_free(&txs);
    return block;
}

static void begin_branches(void)
{
    begin_forgetful();
    struct block *first = block_on_tip((struct span){0}, 0);
    struct buf raw = {0};
    put_tx(&raw, &first->txs[0].txid, 0, 2, 400000, 0);
    payment = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    ours[1] = theirs[1] = first;
    for (uint32_t h = 2; h <= LAST; h++) {
        ours[h] = next_block(ours, h, 0, h == FORK + 3 ? payment : NULL);
        theirs[h] = h <= FORK ? ours[h] : next_block(theirs, h, 9, NULL);
    }
    for (uint32_t h = 1; h <= OURS; h++) {
        accept_block(ours[h]);
    }
    connect_peer(PEER);
    rig.reads = 0;
}

static void end_branches(void)
{
    for (uint32_t h = 1; h <= LAST; h++) {
        block_unref(ours[h]);
        if (h > FORK) {
            block_unref(theirs[h]);
        }
    }
    tx_unref(payment);
    end();
}

TestSuite(branches, .init = begin_branches, .fini = end_branches);

static bool is_tip(const struct block *block)
{
    return hash256_equal(&chain_tip(rig.chain)->hash, &block->hash);
}

static void say_theirs(peer_id peer)
{
    say_headers_of(peer, theirs + FORK + 1, THEIRS - FORK);
    cr_assert_eq(heard(peer, "getdata", NULL), 1);
    for (uint32_t h = THEIRS; h > FORK; h--) { /* the last comes first */
        cr_assert(is_tip(ours[OURS]));
        say_block(peer, theirs[h]);
    }
}

Test(branches, over_to_a_branch_and_back_from_files)
{
    say_theirs(PEER);
    cr_assert(is_tip(theirs[THEIRS]));
    cr_assert_gt(rig.reads, OURS - FORK, "blocks and what they spent were read back");
    cr_assert(mempool_find(rig.pool, &payment->txid), "it is waiting again");
    say_headers_of(PEER, ours + OURS + 1, LAST - OURS);
    for (uint32_t h = OURS + 1; h <= LAST; h++) {
        say_block(PEER, ours[h]);
    }
    cr_assert(is_tip(ours[LAST]));
    cr_assert_not(mempool_find(rig.pool, &payment->txid), "it is confirmed again");
    cr_assert_not(rig.closed[PEER]);
    for (uint32_t h = 1; h <= LAST; h++) {
        cr_assert(hash256_equal(&chain_at(rig.chain, h)->hash, &ours[h]->hash));
    }
}

/* Others ask and tell while the disk is slow in the middle of it. */
Test(branches, others_are_answered_while_the_disk_is_slow)
{
    connect_peer(PEER + 1);
    rig.reads_wait = true;
    say_theirs(PEER);
    cr_assert(is_tip(ours[OURS]), "nobody is told before it is done");
    say_item(PEER + 1, "getdata", INV_BLOCK | WITNESS_FLAG, &ours[OURS]->hash);
    say_item(PEER + 1, "getdata", INV_BLOCK, &ours[2]->hash);
    say_headers_of(PEER + 1, ours + OURS + 1, LAST - OURS); /* more work than theirs */
    say_headers_of(PEER + 1, theirs + FORK + 1, THEIRS - FORK);
    struct buf b = {0};
    buf_u64(&b, 3);
    say(PEER + 1, "ping", &b);
    cr_assert_eq(heard(PEER + 1, "pong", NULL), 1);
    cr_assert_geq(heard(PEER + 1, "getdata", NULL), 1, "it is asked for what it has");
    p2p_closed(rig.p2p, PEER, "gone", rig.now); /* who has brought all that */
    rig.reads_wait = false;
    pump();
    cr_assert(is_tip(theirs[THEIRS]));
    cr_assert_eq(heard(PEER + 1, "block", NULL), 2);
    cr_assert_not(rig.closed[PEER + 1]);
    for (uint32_t h = OURS + 1; h <= LAST; h++) {
        say_block(PEER + 1, ours[h]);
    }
    cr_assert(is_tip(ours[LAST]));
    connect_peer(PEER + 2);
    say_item(PEER + 2, "getdata", INV_BLOCK | WITNESS_FLAG, &theirs[THEIRS]->hash);
    cr_assert_eq(heard(PEER + 2, "block", NULL), 1, "young, and beside the chain");
}

/* The branch ends in a block that is not valid: it is followed up to there, and only who sent that one goes.
 */
Test(branches, a_branch_is_followed_up_to_its_bad_end)
{
    struct buf txs = {0};
    struct block *parent = theirs[THEIRS - 1];
    struct hash256 nobody = {{5}};
    put_tx(&txs, &nobody, 0, 1, 1000, 0);
    struct block *bad = block_on(&parent->hash, THEIRS, 3, buf_span(&txs), 1);
    buf_free(&txs);
    connect_peer(PEER + 1);
    struct block *list[THEIRS - FORK];
    memcpy(list, theirs + FORK + 1, sizeof list);
    list[THEIRS - FORK - 1] = bad;
    say_headers_of(PEER, list, OURS - FORK - 1); /* less work than ours: of no interest yet */
    cr_assert_eq(heard(PEER, "getdata", NULL), 0);
    say_headers_of(PEER + 1, list, THEIRS - FORK);
    cr_assert_eq(heard(PEER + 1, "getdata", NULL), 1);
    for (uint32_t h = FORK + 1; h < THEIRS; h++) {
        say_block(PEER + 1, theirs[h]);
    }
    say_block(PEER + 1, bad);
    cr_assert(is_tip(theirs[THEIRS - 1]), "all but the last are good, and more than ours");
    cr_assert(rig.closed[PEER + 1]);
    cr_assert_not(rig.closed[PEER]);
    say_headers_of(PEER, ours + OURS + 1, LAST - OURS);
    for (uint32_t h = OURS + 1; h <= LAST; h++) {
        say_block(PEER, ours[h]);
    }
    cr_assert(is_tip(ours[LAST]));
    block_unref(bad);
}

/* ---- Blame ------------------------------------------------------------------------------------------- */

/* What is wrong with a block shows when it is connected, which is long after it came if its parent is late.
 */
enum { OTHER = PEER + 1 };
static struct block *parent, *bad; /* PEER has told their headers */

static void begin_blame(void)
{
    begin();
    grow(3);
    connect_peer(PEER);
    connect_peer(OTHER);
    parent = block_on_tip((struct span){0}, 0);
    bad = block_of_nothing(parent, 5);
    struct block *const both[] = {parent, bad};
    say_headers_of(PEER, both, 2);
}

static void end_blame(void)
{
    block_unref(parent);
    block_unref(bad);
    end();
}

TestSuite(blame, .init = begin_blame, .fini = end_blame);

/* It is here, and whether it is good nobody knows yet; then its parent comes from somebody else. */
static void parent_comes_late(void)
{
    cr_assert(chain_find(rig.chain, &bad->hash)->status & BLOCK_HAVE_DATA);
    cr_assert_not(rig.closed[PEER]);
    say_block(OTHER, parent);
    cr_assert(chain_find(rig.chain, &bad->hash)->status & BLOCK_FAILED);
    cr_assert_not(rig.closed[OTHER]);
}

/* What is wrong with a block shows when it is connected, which is long after it came if its parent is late.
 */
Test(blame, who_gave_a_bad_block_before_its_parent_came_is_to_blame)
{
    say_block(PEER, bad);
    parent_comes_late();
    cr_assert(rig.closed[PEER]);
}

/* BIP152: who hands a compact block on need not have looked at more than its header. */
Test(blame, nobody_is_to_blame_for_a_bad_compact_block_whose_parent_came_late)
{
    struct buf b = {0};
    header_encode(buf_extend(&b, HEADER_BYTES), &bad->header);
    buf_u64(&b, 1);
    buf_compact_size(&b, 0);
    buf_compact_size(&b, bad->tx_count);
    for (uint32_t i = 0; i < bad->tx_count; i++) {
        buf_compact_size(&b, 0);
        tx_write(&b, &bad->txs[i], true);
    }
    say(PEER, "cmpctblock", &b);
    say_block(OTHER, bad); /* again, whole: whose it is has been noted */
    parent_comes_late();
    cr_assert_not(rig.closed[PEER]);
}

/* A person takes a block back: no peer has done anything. */
Test(blame, nobody_is_to_blame_for_what_a_person_invalidates)
{
    struct error error;
    say_block(PEER, bad);
    cr_assert(chain_invalidate(rig.chain, &parent->hash, &error));
    pump();
    cr_assert(chain_find(rig.chain, &bad->hash)->status & BLOCK_BAD);
    cr_assert_not(rig.closed[PEER]);
}
