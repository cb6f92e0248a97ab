/*
 * The script cache: which transactions have passed all their scripts, so that a block need not run them
 * again. An entry is the SHA-256 of a secret salt, the wtxid and the flags: nobody outside can aim at a slot.
 * The wtxid commits to the spent outputs through their txids. A table of fixed size, four places per set; a
 * full set loses a place of its own choosing. Loop thread only.
 */
#include "core/chain/chain_private.h"

#include "hashing/kernels/kernels.h"

#define PLACES 4u

void script_cache_init(struct script_cache *cache, size_t bytes, struct rng *rng)
{
    for (size_t i = 0; i < ARRAY_COUNT(cache->salt); i++) {
        cache->salt[i] = rng_next(rng);
    }
    cache->set_count = 1;
    while (cache->set_count * 2 * PLACES * sizeof *cache->digests <= bytes) {
        cache->set_count *= 2;
    }
    cache->digests = mem_alloc(cache->set_count * PLACES * sizeof *cache->digests);
}

void script_cache_free(struct script_cache *cache)
{
    mem_free(cache->digests);
    cache->digests = NULL;
}

static struct hash256 *set_of(const struct script_cache *cache, struct hash256 *digest,
                              const struct hash256 *wtxid, uint32_t flags)
{
    struct sha256_ctx ctx;
    uint8_t flag_bytes[4];
    store_le32(flag_bytes, flags);
    sha256_init(&ctx);
    sha256_update(&ctx, (const uint8_t *)cache->salt, sizeof cache->salt);
    sha256_update(&ctx, wtxid->b, sizeof wtxid->b);
    sha256_update(&ctx, flag_bytes, sizeof flag_bytes);
    sha256_final(&ctx, digest->b);
    return cache->digests + (load_le64(digest->b) & (cache->set_count - 1)) * PLACES;
}

bool script_cache_has(const struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags)
{
    struct hash256 digest;
    const struct hash256 *set = set_of(cache, &digest, wtxid, flags);
    for (size_t i = 0; i < PLACES; i++) {
        if (hash256_equal(&set[i], &digest)) {
            return true;
        }
    }
    return false;
}

void script_cache_add(struct script_cache *cache, const struct hash256 *wtxid, uint32_t flags)
{
    struct hash256 digest;
    struct hash256 *set = set_of(cache, &digest, wtxid, flags), *place = &set[digest.b[31] % PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        if (hash256_equal(&set[i], &digest)) {
            return;
        }
        if (hash256_is_zero(&set[i])) {
            place = &set[i];
            break;
        }
    }
    *place = digest;
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
