/*
 * The signature cache: which signatures are known to verify. An entry is the SHA-256 of a secret salt, the
 * kind, the message, the key and the signature. A table of fixed size, four places per set; a full set loses
 * a place of its own choosing. Check workers share it without a lock: an entry's four words are written one
 * by one, and a reader that meets two writers sees a mixture, which equals no digest that anybody asks for.
 */
#include <stdatomic.h>

#include "core/consensus/consensus.h"
#include "hashing/kernels/kernels.h"

#define PLACES 4u
#define WORDS  4u

struct place {
    atomic_uint_fast64_t words[WORDS]; /* zeros: empty */
};

struct signature_cache {
    uint64_t salt[4];
    size_t set_count; /* a power of two */
    struct place places[];
};

struct signature_cache *signature_cache_new(size_t bytes, struct rng *rng)
{
    size_t sets = 1;
    while (sets * 2 * PLACES * sizeof(struct place) <= bytes) {
        sets *= 2;
    }
    struct signature_cache *cache = mem_alloc(sizeof *cache + sets * PLACES * sizeof(struct place));
    cache->set_count = sets;
    for (size_t i = 0; i < ARRAY_COUNT(cache->salt); i++) {
        cache->salt[i] = rng_next(rng);
    }
    return cache;
}

void signature_cache_free(struct signature_cache *cache)
{
    mem_free(cache);
}

void signature_digest(struct hash256 *out, const struct signature_cache *cache, uint8_t kind,
                      const struct hash256 *message, struct span key, struct span signature)
{
    struct sha256_ctx ctx;
    const uint8_t head[2] = {kind, (uint8_t)key.len}; /* the key's length, so that nothing can shift */
    sha256_init(&ctx);
    sha256_update(&ctx, (const uint8_t *)cache->salt, sizeof cache->salt);
    sha256_update(&ctx, head, sizeof head);
    sha256_update(&ctx, message->b, sizeof message->b);
    sha256_update(&ctx, key.data, key.len);
    sha256_update(&ctx, signature.data, signature.len);
    sha256_final(&ctx, out->b);
}

static struct place *set_of(const struct signature_cache *cache, const struct hash256 *digest)
{
    size_t set = load_le64(digest->b) & (cache->set_count - 1);
    return (struct place *)(uintptr_t)&cache->places[set * PLACES];
}

static uint64_t word(const struct place *place, size_t i)
{
    return atomic_load_explicit(&place->words[i], memory_order_relaxed);
}

static bool same(const struct place *place, const struct hash256 *digest)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (word(place, i) != load_le64(digest->b + 8 * i)) {
            return false;
        }
    }
    return true;
}

bool signature_cache_has(const struct signature_cache *cache, const struct hash256 *digest)
{
    const struct place *set = set_of(cache, digest);
    for (size_t i = 0; i < PLACES; i++) {
        if (same(&set[i], digest)) {
            return true;
        }
    }
    return false;
}

void signature_cache_add(struct signature_cache *cache, const struct hash256 *digest)
{
    struct place *set = set_of(cache, digest), *place = &set[digest->b[31] % PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        if (same(&set[i], digest)) {
            return;
        }
        if (!word(&set[i], 0)) {
            place = &set[i];
            break;
        }
    }
    for (size_t i = 0; i < WORDS; i++) {
        atomic_store_explicit(&place->words[i], load_le64(digest->b + 8 * i), memory_order_relaxed);
    }
}
