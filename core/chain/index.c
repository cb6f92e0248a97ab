/* The block index: headers, who descends from whom, the retarget rules applied, and the candidates for the
 * tip. */
#include "core/chain/chain_private.h"

#include <stdlib.h>

#define PERIOD         2016u
#define MAX_TIMEWARP_S 600 /* BIP94 */
#define PLACES_FIRST   1024u

_Static_assert(sizeof(struct entry) == 192, "what a header costs is said in docs/performance.md");

/* ---- The table --------------------------------------------------------------------------------------- */

void index_init(struct chain *chain)
{
    chain->index_key[0] = rng_next(chain->config.rng);
    chain->index_key[1] = rng_next(chain->config.rng);
    chain->place_count = PLACES_FIRST;
    chain->places = mem_alloc(chain->place_count * sizeof(struct entry *));
}

void index_free(struct chain *chain)
{
    mem_free(chain->places);
    arena_free(&chain->entries);
}

size_t index_bytes(const struct chain *chain)
{
    return chain->entries.used_bytes + chain->place_count * sizeof(struct entry *);
}

/* Where the hash's entry is, or the empty place where it would go. */
static struct entry **probe(const struct chain *chain, const struct hash256 *hash)
{
    size_t mask = chain->place_count - 1, at = siphash_2_4(chain->index_key, hash, sizeof *hash) & mask;
    while (chain->places[at] && !hash256_equal(&chain->places[at]->e.hash, hash)) {
        at = (at + 1) & mask;
    }
    return &chain->places[at];
}

struct entry *index_find(const struct chain *chain, const struct hash256 *hash)
{
    return *probe(chain, hash);
}

struct entry *index_next(const struct chain *chain, size_t *at)
{
    while (*at < chain->place_count) {
        struct entry *entry = chain->places[(*at)++];
        if (entry) {
            return entry;
        }
    }
    return NULL;
}

static void grow(struct chain *chain)
{
    struct entry **old = chain->places;
    size_t old_count = chain->place_count;
    chain->place_count *= 2;
    chain->places = mem_alloc(chain->place_count * sizeof(struct entry *));
    for (size_t i = 0; i < old_count; i++) {
        if (old[i]) {
            *probe(chain, &old[i]->e.hash) = old[i];
        }
    }
    mem_free(old);
}

struct entry *index_new(struct chain *chain, const struct hash256 *hash)
{
    if ((chain->entry_count + 1) * 4 > chain->place_count * 3) {
        grow(chain);
    }
    struct entry *entry = arena_alloc(&chain->entries, sizeof *entry);
    entry->e.hash = *hash;
    *probe(chain, hash) = entry;
    chain->entry_count++;
    return entry;
}

const struct block_entry *chain_find(const struct chain *chain, const struct hash256 *hash)
{
    struct entry *entry = index_find(chain, hash);
    return entry ? &entry->e : NULL;
}

static uint32_t without_lowest_bit(uint32_t n)
{
    return n & (n - 1);
}

/* A skip pointer leads to a height with its lowest bits cleared, so that few steps reach any ancestor. */
static uint32_t skip_height(uint32_t height)
{
    if (height < 2) {
        return 0;
    }
    return height & 1 ? without_lowest_bit(without_lowest_bit(height - 1)) + 1 : without_lowest_bit(height);
}

struct block_entry *block_ancestor(const struct block_entry *entry, uint32_t height)
{
    struct block_entry *at = (struct block_entry *)(uintptr_t)entry;
    if (!at || height > at->height) {
        return NULL;
    }
    while (at->height > height) {
        at = at->skip && at->skip->height >= height ? at->skip : at->prev;
    }
    return at;
}

static int compare_times(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int64_t block_median_time(const struct block_entry *entry)
{
    uint32_t times[MEDIAN_TIME_SPAN];
    size_t count = 0;
    for (; entry && count < MEDIAN_TIME_SPAN; entry = entry->prev) {
        times[count++] = entry->header.time;
    }
    qsort(times, count, sizeof times[0], compare_times);
    return times[count / 2];
}

const struct block_entry *block_fork(const struct block_entry *a, const struct block_entry *b)
{
    a = block_ancestor(a, MIN(a->height, b->height));
    b = block_ancestor(b, a->height);
    while (a != b) {
        if (a->skip && b->skip && a->skip != b->skip) {
            a = a->skip;
            b = b->skip;
        } else {
            a = a->prev;
            b = b->prev;
        }
    }
    return a;
}

/* ---- The retarget rules, applied --------------------------------------------------------------------- */

static uint32_t next_bits_2016(const struct chain_params *params, const struct block_entry *parent,
                               int64_t time_s)
{
    if ((parent->height + 1) % PERIOD) {
        if (!params->min_difficulty_blocks) {
            return parent->header.bits;
        }
        if (time_s > (int64_t)parent->header.time + 2 * (int64_t)params->spacing_s) {
            return params->pow_limit_bits;
        }
        while (parent->prev && parent->height % PERIOD && parent->header.bits == params->pow_limit_bits) {
            parent = parent->prev; /* the last block that was not mined by the 20-minute rule */
        }
        return parent->header.bits;
    }
    const struct block_entry *first = block_ancestor(parent, parent->height - (PERIOD - 1));
    uint32_t base = params->retarget == RETARGET_TESTNET4 ? first->header.bits : parent->header.bits;
    return pow_retarget_2016(params, base, first->header.time, parent->header.time);
}

uint32_t chain_next_bits(const struct chain *chain, const struct block_entry *parent, int64_t time_s)
{
    const struct chain_params *params = chain->params;
    switch (params->retarget) {
    case RETARGET_NONE: return parent->header.bits;
    case RETARGET_CLUSTER:
        if (!parent->prev) {
            return params->pow_limit_bits; /* genesis has no spacing */
        }
        return pow_retarget_cluster(params, parent->header.bits,
                                    (int64_t)parent->header.time - parent->prev->header.time);
    case RETARGET_2016:
    case RETARGET_TESTNET4: break;
    }
    return next_bits_2016(params, parent, time_s);
}

int64_t chain_min_time(const struct chain *chain, const struct block_entry *parent)
{
    int64_t least = block_median_time(parent) + 1;
    if (chain->params->time_not_before_parent) {
        least = MAX(least, (int64_t)parent->header.time);
    }
    if (chain->params->retarget == RETARGET_TESTNET4 && (parent->height + 1) % PERIOD == 0) {
        least = MAX(least, (int64_t)parent->header.time - MAX_TIMEWARP_S);
    }
    return least;
}

/* ---- Headers ----------------------------------------------------------------------------------------- */

bool index_check_header(const struct chain *chain, const struct block_header *header,
                        const struct hash256 *hash, const struct entry *prev, int64_t now_s,
                        struct error *error)
{
    return header_check(header, hash, chain->params, error) &&
           index_check_place(chain, header, prev, now_s, error);
}

bool index_check_place(const struct chain *chain, const struct block_header *header, const struct entry *prev,
                       int64_t now_s, struct error *error)
{
    const struct chain_params *params = chain->params;
    uint32_t height = prev->e.height + 1;
    int64_t time = header->time;
    if (header->bits != chain_next_bits(chain, &prev->e, time)) {
        return error_set(error, ERROR_INVALID, "bad-diffbits",
                         "incorrect proof of work: nBits %08x, not %08x", header->bits,
                         chain_next_bits(chain, &prev->e, time));
    }
    if (time <= block_median_time(&prev->e) ||
        (params->time_not_before_parent && time < (int64_t)prev->e.header.time)) {
        return error_set(error, ERROR_INVALID, "time-too-old", "block's timestamp is too early");
    }
    if (time < chain_min_time(chain, &prev->e)) {
        return error_set(error, ERROR_INVALID, "time-timewarp-attack",
                         "block's timestamp is too early on diff adjustment block");
    }
    if (now_s != INT64_MAX && time > now_s + params->future_limit_s) {
        return error_set(error, ERROR_FUTURE, "time-too-new", "block timestamp %lld s in the future",
                         (long long)(time - now_s));
    }
    if ((header->version < 2 && height >= params->bip34_height) ||
        (header->version < 3 && height >= params->bip66_height) ||
        (header->version < 4 && height >= params->bip65_height)) {
        char word[32];
        struct buf text = {0};
        buf_printf(&text, "bad-version(0x%08x)%c", (unsigned)header->version, 0);
        memcpy(word, text.data, MIN(text.len, sizeof word));
        word[sizeof word - 1] = 0;
        buf_free(&text);
        return error_set(error, ERROR_INVALID, word, "rejected nVersion=0x%08x block",
                         (unsigned)header->version);
    }
    return true;
}

void index_attach(struct chain *chain, struct entry *entry, struct entry *prev)
{
    struct block_entry *e = &entry->e;
    e->work = pow_work(e->header.bits);
    if (prev) {
        e->prev = &prev->e;
        e->height = prev->e.height + 1;
        e->skip = block_ancestor(&prev->e, skip_height(e->height));
        e->work = u256_add(prev->e.work, e->work);
        e->status |= prev->e.status & BLOCK_BAD ? BLOCK_FAILED_PARENT : 0;
        entry->next_sibling = prev->first_child;
        prev->first_child = entry;
    }
    if (!chain->best_header ||
        (!(e->status & BLOCK_BAD) && u256_compare(e->work, chain->best_header->e.work) > 0)) {
        chain->best_header = entry;
    }
}

struct entry *index_add(struct chain *chain, const struct block_header *header, const struct hash256 *hash,
                        struct entry *prev)
{
    struct entry *entry = index_new(chain, hash);
    entry_set_header(&entry->e, header);
    index_attach(chain, entry, prev);
    return entry;
}

void entry_set_header(struct block_entry *e, const struct block_header *header)
{
    e->header.merkle_root = header->merkle_root;
    e->header.version = header->version;
    e->header.time = header->time;
    e->header.bits = header->bits;
    e->header.nonce = header->nonce;
}

void block_entry_encode(uint8_t out[HEADER_BYTES], const struct block_entry *entry)
{
    struct block_header header = {.version = entry->header.version,
                                  .merkle_root = entry->header.merkle_root,
                                  .time = entry->header.time,
                                  .bits = entry->header.bits,
                                  .nonce = entry->header.nonce};
    if (entry->prev) {
        header.prev_hash = entry->prev->hash;
    }
    header_encode(out, &header);
}

void index_dirty(struct chain *chain, struct entry *entry)
{
    if (!entry->e.dirty && entry != chain->genesis) {
        entry->e.dirty = true;
        buf_bytes(&chain->dirty_entries, &entry, sizeof entry);
    }
}

/* ---- Candidates -------------------------------------------------------------------------------------- */

/* The better tip: more work; at equal work the one whose block was here first. */
static bool better(const struct entry *a, const struct entry *b)
{
    int order = u256_compare(a->e.work, b->e.work);
    return order > 0 || (order == 0 && a->e.sequence < b->e.sequence);
}

/* The candidates are a heap, the best first: an index that is connected anew has one for every block. */
static void sift_down(struct chain *chain, size_t at)
{
    struct entry **heap = chain->candidates, *entry = heap[at];
    for (size_t child; (child = 2 * at + 1) < chain->candidate_count; at = child) {
        if (child + 1 < chain->candidate_count && better(heap[child + 1], heap[child])) {
            child++;
        }
        if (!better(heap[child], entry)) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

void index_add_candidate(struct chain *chain, struct entry *entry)
{
    if (entry->e.candidate || entry->e.status & BLOCK_BAD || !entry->e.chain_tx ||
        better(chain->applied, entry)) {
        return;
    }
    if (chain->candidate_count == chain->candidate_capacity) {
        chain->candidate_capacity = MAX(chain->candidate_capacity * 2, 16u);
        chain->candidates =
            mem_realloc(chain->candidates, chain->candidate_capacity * sizeof(struct entry *));
    }
    struct entry **heap = chain->candidates;
    size_t at = chain->candidate_count++;
    for (; at && better(entry, heap[(at - 1) / 2]); at = (at - 1) / 2) {
        heap[at] = heap[(at - 1) / 2];
    }
    heap[at] = entry;
    entry->e.candidate = true;
}

struct entry *index_best_candidate(const struct chain *chain)
{
    return chain->candidate_count ? chain->candidates[0] : NULL;
}

static void drop_candidates(struct chain *chain, bool worse_too)
{
    size_t kept = 0;
    for (size_t i = 0; i < chain->candidate_count; i++) {
        struct entry *entry = chain->candidates[i];
        entry->e.candidate = !(entry->e.status & BLOCK_BAD) && !(worse_too && better(chain->applied, entry));
        if (entry->e.candidate) {
            chain->candidates[kept++] = entry;
        }
    }
    chain->candidate_count = kept;
    for (size_t i = kept / 2; i-- > 0;) {
        sift_down(chain, i);
    }
}

/* The block of the same work that came last before this one; NULL: none. */
static struct entry *came_before(const struct chain *chain, const struct entry *entry)
{
    struct entry *other, *found = NULL;
    for (size_t at = 0; (other = index_next(chain, &at));) {
        if (other->e.status & BLOCK_HAVE_DATA && other->e.sequence < entry->e.sequence &&
            (!found || other->e.sequence > found->e.sequence) &&
            u256_compare(other->e.work, entry->e.work) == 0) {
            found = other;
        }
    }
    return found;
}

void index_prefer(struct chain *chain, struct entry *entry)
{
    for (struct entry *other; (other = came_before(chain, entry));) {
        uint32_t sequence = entry->e.sequence;
        entry->e.sequence = other->e.sequence;
        other->e.sequence = sequence;
    }
    drop_candidates(chain, false); /* as a heap of the new order */
    index_add_candidate(chain, entry);
}

/* Drops what is worse than the tip. Only at rest: in a reorganisation the old tip must stay. */
void index_prune_candidates(struct chain *chain)
{
    drop_candidates(chain, true);
}

/* Walks entry and all its descendants, parents first, without recursion: the next one, or the next that does
 * not descend from this one. */
static struct entry *next_beside(struct entry *root, struct entry *at)
{
    while (at != root && !at->next_sibling) {
        at = entry_of(at->e.prev);
    }
    return at == root ? NULL : at->next_sibling;
}

static struct entry *next_descendant(struct entry *root, struct entry *at)
{
    return at->first_child ? at->first_child : next_beside(root, at);
}

void index_link(struct chain *chain, struct entry *entry)
{
    for (struct entry *at = entry; at;) {
        struct block_entry *e = &at->e;
        bool linked = e->status & BLOCK_HAVE_DATA && e->prev && e->prev->chain_tx && !e->chain_tx;
        if (linked) {
            e->chain_tx = e->prev->chain_tx + e->tx_count;
            index_add_candidate(chain, at);
        } /* else nothing above it changes: headers by the ten thousand, in a download */
        at = linked ? next_descendant(entry, at) : next_beside(entry, at);
    }
}

static void find_best_header(struct chain *chain)
{
    struct entry *best = chain->genesis, *entry;
    for (size_t at = 0; (entry = index_next(chain, &at));) {
        if (!(entry->e.status & BLOCK_BAD) && u256_compare(entry->e.work, best->e.work) > 0) {
            best = entry;
        }
    }
    chain->best_header = best;
}

void index_mark_bad(struct chain *chain, struct entry *entry, uint32_t status)
{
    for (struct entry *at = entry; at; at = next_descendant(entry, at)) {
        uint8_t before = at->e.status;
        at->e.status = (uint8_t)(before | (at == entry ? status : BLOCK_FAILED_PARENT));
        if (at->e.status != before) {
            index_dirty(chain, at);
        }
    }
    drop_candidates(chain, false);
    find_best_header(chain);
}

void index_forget_bad(struct chain *chain, struct entry *entry, uint32_t bits)
{
    CHECK(entry);
    for (struct entry *at = entry; at; at = next_descendant(entry, at)) {
        at->e.status = (uint8_t)(at->e.status & ~bits);
        index_dirty(chain, at);
        index_add_candidate(chain, at);
    }
    /* Ancestors too: reconsidering a block says that nothing below it is held against it. */
    for (struct entry *at = entry_of(entry->e.prev); at && at->e.status & bits; at = entry_of(at->e.prev)) {
        at->e.status = (uint8_t)(at->e.status & ~bits);
        index_dirty(chain, at);
        index_add_candidate(chain, at);
    }
    find_best_header(chain);
}

/* ---- What others ask --------------------------------------------------------------------------------- */

void chain_locator(const struct chain *chain, const struct block_entry *entry, struct buf *out_hashes,
                   size_t *count)
{
    (void)chain;
    size_t written = 0;
    for (uint32_t step = 1; entry;) {
        buf_bytes(out_hashes, entry->hash.b, 32);
        written++;
        if (entry->height == 0) {
            break;
        }
        step = written > 10 ? step * 2 : 1;
        entry = block_ancestor(entry, entry->height > step ? entry->height - step : 0);
    }
    *count = written;
}

const struct block_entry *chain_find_fork(const struct chain *chain, const uint8_t *hashes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct hash256 hash;
        memcpy(hash.b, hashes + 32 * i, 32);
        const struct block_entry *entry = chain_find(chain, &hash);
        if (entry && chain_contains(chain, entry)) {
            return entry;
        }
    }
    return &chain->genesis->e;
}

size_t chain_tips(const struct chain *chain, const struct block_entry **out, size_t max)
{
    size_t count = 0;
    const struct entry *entry;
    out[count++] = &chain->tip->e;
    for (size_t at = 0; count < max && (entry = index_next(chain, &at));) {
        if (!entry->first_child && entry != chain->tip && !chain_contains(chain, &entry->e)) {
            out[count++] = &entry->e;
        }
    }
    return count;
}
