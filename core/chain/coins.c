/*
 * The coins cache: every coin that was touched lately, and tombstones of those that were spent.
 *
 * A coin is DIRTY from its change until it is put into a batch, IN_FLIGHT until that batch is on disk, and
 * only then clean: clean coins may be forgotten. A tombstone lives until the store knows of the spending,
 * since a read that overtakes the batch would find the coin alive; the epoch counts forgettings, so that a
 * reader whose answer is older than one asks again. FRESH: the store has never seen it, so spending it leaves
 * nothing behind.
 */
#include "core/chain/chain_private.h"

void coins_init(struct coins_cache *cache, size_t bytes_max, struct rng *rng)
{
    *cache = (struct coins_cache){.bytes_max = bytes_max};
    map_init(&cache->map, sizeof(struct outpoint), sizeof(struct cached_coin), rng);
}

static void release_script(struct coins_cache *cache, struct cached_coin *coin)
{
    cache->script_bytes -= coin->script ? coin->script_len + 16u : 0; /* with the allocator's own share */
    mem_free(coin->script);
    coin->script = NULL;
    coin->script_len = 0;
}

void coins_free(struct coins_cache *cache)
{
    void *value;
    for (size_t at = 0; map_next(&cache->map, &at, NULL, &value);) {
        release_script(cache, value);
    }
    map_free(&cache->map);
    buf_free(&cache->dirty);
    buf_free(&cache->in_flight);
}

size_t coins_bytes(const struct coins_cache *cache)
{
    return map_bytes(&cache->map) + cache->script_bytes + cache->dirty.capacity + cache->in_flight.capacity;
}

struct cached_coin *coins_find(struct coins_cache *cache, const struct outpoint *outpoint)
{
    return map_get(&cache->map, outpoint);
}

struct coin coin_view(const struct cached_coin *cached)
{
    return (struct coin){cached->value, span_of(cached->script, cached->script_len), cached->height,
                         cached->coinbase};
}

static void set_coin(struct coins_cache *cache, struct cached_coin *cached, const struct coin *coin)
{
    uint8_t *script =
        mem_dup(coin->script.data, coin->script.len); /* before the release: it may be the same bytes */
    release_script(cache, cached);
    cached->value = coin->value;
    cached->height = coin->height;
    cached->coinbase = coin->coinbase;
    cached->script = script;
    cached->script_len = (uint32_t)coin->script.len;
    cached->flags |= COIN_UNSPENT;
    cache->script_bytes += coin->script.len + 16u;
}

static void mark_dirty(struct coins_cache *cache, struct cached_coin *cached, const struct outpoint *outpoint)
{
    if (!(cached->flags & COIN_DIRTY)) {
        cached->flags |= COIN_DIRTY;
        buf_bytes(&cache->dirty, outpoint, sizeof *outpoint);
    }
    cache->dirty_bytes += 64 + cached->script_len;
}

void coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
               bool fresh)
{
    bool is_new;
    struct cached_coin *cached = map_put(&cache->map, outpoint, &is_new);
    set_coin(cache, cached, coin);
    if (is_new && fresh) {
        cached->flags |= COIN_FRESH;
    }
    mark_dirty(cache, cached, outpoint);
}

void coins_spend(struct coins_cache *cache, const struct outpoint *outpoint)
{
    struct cached_coin *cached = map_put(&cache->map, outpoint, NULL);
    release_script(cache, cached);
    if (cached->flags & COIN_FRESH && !(cached->flags & COIN_IN_FLIGHT)) {
        map_remove(&cache->map,
                   outpoint); /* its place in the dirty list finds nothing, or whatever came after */
        return;
    }
    cached->flags &= (uint8_t) ~(COIN_UNSPENT | COIN_FRESH);
    mark_dirty(cache, cached, outpoint);
}

bool coins_learn(struct coins_cache *cache, const struct outpoint *outpoint, struct span stored)
{
    struct coin coin;
    if (!coin_decode(&coin, stored)) {
        return false;
    }
    bool is_new;
    struct cached_coin *cached = map_put(&cache->map, outpoint, &is_new);
    if (is_new) {
        set_coin(cache, cached, &coin);
    }
    return true;
}

void coins_flush(struct coins_cache *cache, struct kv_batch *batch)
{
    struct cursor c = cursor_of(cache->dirty.data, cache->dirty.len);
    struct buf value = {0};
    while (cursor_left(&c)) {
        struct outpoint outpoint;
        cursor_bytes(&c, &outpoint, sizeof outpoint);
        struct cached_coin *cached = coins_find(cache, &outpoint);
        if (!cached || !(cached->flags & COIN_DIRTY)) {
            continue; /* was fresh and is gone, or stood in the list twice */
        }
        uint8_t key[COIN_KEY_BYTES];
        coin_key(key, &outpoint);
        if (cached->flags & COIN_UNSPENT) {
            struct coin coin = coin_view(cached);
            buf_clear(&value);
            coin_encode(&value, &coin);
            kv_put(batch, CF_COINS, span_of(key, sizeof key), buf_span(&value));
        } else {
            kv_delete(batch, CF_COINS, span_of(key, sizeof key));
        }
        cached->flags = (uint8_t)((cached->flags & ~(COIN_DIRTY | COIN_FRESH)) | COIN_IN_FLIGHT);
        buf_bytes(&cache->in_flight, &outpoint, sizeof outpoint);
    }
    buf_free(&value);
    buf_clear(&cache->dirty);
    cache->dirty_bytes = 0;
}

/* Forgets clean coins, in no particular order, down to three quarters of the bound. */
static void forget_some(struct coins_cache *cache)
{
    size_t count = cache->map.count, keep = count / 4 * 3;
    struct buf victims = {0};
    const void *key;
    void *value;
    for (size_t at = 0; count > keep && map_next(&cache->map, &at, &key, &value);) {
        struct cached_coin *cached = value;
        if (!(cached->flags & (COIN_DIRTY | COIN_IN_FLIGHT))) {
            buf_bytes(&victims, key, sizeof(struct outpoint));
            release_script(cache, cached);
            count--;
        }
    }
    for (size_t at = 0; at < victims.len; at += sizeof(struct outpoint)) {
        map_remove(&cache->map, victims.data + at);
    }
    buf_free(&victims);
}

void coins_committed(struct coins_cache *cache)
{
    struct cursor c = cursor_of(cache->in_flight.data, cache->in_flight.len);
    while (cursor_left(&c)) {
        struct outpoint outpoint;
        cursor_bytes(&c, &outpoint, sizeof outpoint);
        struct cached_coin *cached = coins_find(cache, &outpoint);
        CHECK(cached);
        cached->flags &= (uint8_t)~COIN_IN_FLIGHT;
        if (!(cached->flags & (COIN_UNSPENT | COIN_DIRTY))) {
            map_remove(&cache->map, &outpoint);
        }
    }
    buf_clear(&cache->in_flight);
    cache->epoch++;
    if (cache->map.count * cache->map.slot_bytes * 4 / 3 + cache->script_bytes > cache->bytes_max) {
        forget_some(cache);
    }
}
