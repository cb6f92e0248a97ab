/*
 * The script cache: which transactions have passed all their scripts, so that a block need not run them
 * again. An entry is the wtxid, masked by a secret that goes with the flags: nobody outside can aim at a set,
 * nor make one pair of wtxid and flags look like another. The wtxid commits to the spent outputs through
 * their txids. A table of fixed size, four places per set; a full set forgets what came first, so that what
 * the next block is made of is there however full the table is. Loop thread only.
 */
#include "core/chain/chain_private.h"

#define PLACES 4u

void script_cache_init(struct script_cache *cache, size_t bytes, struct rng *rng)
{
    unsigned bits = 1;
    for (size_t i = 0; i < ARRAY_COUNT(cache->salt); i++) {
        cache->salt[i] = rng_next(rng);
    }
    cache->spread = rng_next(rng) | 1;
    while (PLACES * sizeof *cache->keys << (bits + 1) <= bytes) {
        bits++;
    }
    cache->shift = 64 - bits;
    cache->keys = mem_alloc(PLACES * sizeof *cache->keys << bits);
}

void script_cache_free(struct script_cache *cache)
{
    mem_free(cache->keys);
    cache->keys = NULL;
}

static struct hash256 *set_of(const struct script_cache *cache, struct hash256 *key,
                              const struct hash256 *wtxid, uint32_t flags)
{
    for (size_t i = 0; i < ARRAY_COUNT(cache->salt); i++) {
        store_le64(key->b + 8 * i, load_le64(wtxid->b + 8 * i) ^ cache->salt[i] * (2 * (uint64_t)flags + 1));
    }
    return cache->keys + (load_le64(key->b) * cache->spread >> cache->shift) * PLACES;
}

void script_cache_expect(const struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags)
{
    struct hash256 key;
    const struct hash256 *set = set_of(cache, &key, wtxid, flags);
    __builtin_prefetch(set);
    __builtin_prefetch(set + PLACES / 2);
}

bool script_cache_has(const struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags)
{
    struct hash256 key;
    const struct hash256 *set = set_of(cache, &key, wtxid, flags);
    for (size_t i = 0; i < PLACES; i++) {
        if (hash256_equal(&set[i], &key)) {
            return true;
        }
    }
    return false;
}

void script_cache_add(struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags)
{
    struct hash256 key;
    struct hash256 *set = set_of(cache, &key, wtxid, flags);
    for (size_t i = 0; i < PLACES; i++) {
        if (hash256_equal(&set[i], &key)) {
            return;
        }
    }
    memmove(set + 1, set, (PLACES - 1) * sizeof *set);
    *set = key;
}

void chain_scripts_passed(struct chain *chain, const struct tx *tx, uint32_t flags)
{
    uint32_t needed = block_script_flags(chain->tip->e.height + 1, &chain->tip->e.hash, chain->params);
    if ((needed & ~flags) == 0) { /* flags only ever forbid more: what passed under more passes under fewer */
        script_cache_add(&chain->scripts, &tx->wtxid, needed);
    }
}

struct signature_cache *chain_signatures(struct chain *chain)
{
    return chain->signatures;
}
