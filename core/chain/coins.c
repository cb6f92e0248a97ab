/*
 * The coins cache: every coin that was touched lately, and tombstones of those that were spent.
 *
 * A coin is DIRTY from its change until it is put into a batch, IN_FLIGHT until that batch is on disk, and
 * only then clean: clean coins may be forgotten. A tombstone lives until the store knows of the spending,
 * since a read that overtakes the batch would find the coin alive; the epoch counts forgettings, so that a
 * reader whose answer is older than one asks again. FRESH: the store has never seen it, so spending it leaves
 * nothing behind. TAKEN: the block that is being connected spends it; it stays where it is until then.
 *
 * Coins lie in chunks and never move; what grows is an open-addressing table of eight bytes a place, the
 * coin's number beside a tag of its outpoint's salted hash, so that few look-ups touch a coin in vain.
 */
#include "core/chain/chain_private.h"

#define CHUNK_COINS  256u
#define PLACES_FIRST 64u
#define AHEAD        16u /* look-ups whose memory is fetched at the same time */

_Static_assert(sizeof(struct cached_coin) == 88, "what a coin costs is said in docs/performance.md");

struct coins_chunk {
    struct cached_coin coins[CHUNK_COINS];
};

void coins_init(struct coins_cache *cache, size_t bytes_max, struct rng *rng)
{
    *cache = (struct coins_cache){.bytes_max = bytes_max, .place_count = PLACES_FIRST};
    cache->places = mem_alloc(PLACES_FIRST * sizeof *cache->places);
    cache->sip_key[0] = rng_next(rng);
    cache->sip_key[1] = rng_next(rng);
}

/* ---- One coin ---------------------------------------------------------------------------------------- */

static bool script_is_outside(const struct cached_coin *cached)
{
    return cached->script_len > sizeof cached->script;
}

static uint8_t *script_outside(const struct cached_coin *cached)
{
    uint8_t *script;
    memcpy(&script, cached->script, sizeof script);
    return script;
}

static size_t outside_bytes(const struct cached_coin *cached)
{
    return script_is_outside(cached) ? cached->script_len + 16u : 0; /* with the allocator's own share */
}

struct coin coin_view(const struct cached_coin *cached)
{
    const uint8_t *script = script_is_outside(cached) ? script_outside(cached) : cached->script;
    return (struct coin){cached->value, span_of(script, cached->script_len), cached->height,
                         cached->flags & COIN_COINBASE};
}

static void release_script(struct coins_cache *cache, struct cached_coin *cached)
{
    if (script_is_outside(cached)) {
        cache->script_bytes -= outside_bytes(cached);
        mem_free(script_outside(cached));
    }
    cached->script_len = 0;
}

static void set_coin(struct coins_cache *cache, struct cached_coin *cached, const struct coin *coin)
{
    CHECK(coin->script.len <= SCRIPT_BYTES_MAX); /* a longer one is unspendable */
    release_script(cache, cached);
    cached->value = coin->value;
    cached->height = coin->height;
    cached->flags =
        (uint8_t)((cached->flags & ~COIN_COINBASE) | COIN_UNSPENT | (coin->coinbase ? COIN_COINBASE : 0));
    cached->script_len = (uint16_t)coin->script.len;
    if (script_is_outside(cached)) {
        uint8_t *script = mem_dup(coin->script.data, coin->script.len);
        memcpy(cached->script, &script, sizeof script);
        cache->script_bytes += outside_bytes(cached);
    } else if (coin->script.len) {
        memcpy(cached->script, coin->script.data, coin->script.len);
    }
}

/* ---- The table --------------------------------------------------------------------------------------- */

static uint32_t tag_of(const struct coins_cache *cache, const struct outpoint *outpoint)
{
    return (uint32_t)siphash_2_4(cache->sip_key, outpoint, sizeof *outpoint);
}

static uint64_t place_of(uint32_t tag, uint32_t number) /* never 0, which is an empty place */
{
    return (uint64_t)tag << 32 | (number + 1);
}

static struct cached_coin *coin_at(const struct coins_cache *cache, uint64_t place)
{
    uint32_t number = (uint32_t)place - 1;
    return &cache->chunks[number / CHUNK_COINS]->coins[number % CHUNK_COINS];
}

static size_t next_place(const struct coins_cache *cache, size_t at)
{
    return (at + 1) & (cache->place_count - 1);
}

static size_t home_of(const struct coins_cache *cache, uint64_t place)
{
    return (size_t)(place >> 32) & (cache->place_count - 1);
}

static bool same_outpoint(const struct outpoint *a, const struct outpoint *b)
{
    return a->index == b->index && hash256_equal(&a->txid, &b->txid);
}

/* Where the outpoint's place is, or the empty one where it would go. */
static size_t probe(const struct coins_cache *cache, const struct outpoint *outpoint, uint32_t tag)
{
    size_t at = home_of(cache, place_of(tag, 0));
    for (uint64_t place; (place = cache->places[at]); at = next_place(cache, at)) {
        if (place >> 32 == tag && same_outpoint(&coin_at(cache, place)->outpoint, outpoint)) {
            break;
        }
    }
    return at;
}

static struct cached_coin *coin_or_null(const struct coins_cache *cache, size_t at)
{
    return cache->places[at] ? coin_at(cache, cache->places[at]) : NULL;
}

struct cached_coin *coins_find(const struct coins_cache *cache, const struct outpoint *outpoint)
{
    return coin_or_null(cache, probe(cache, outpoint, tag_of(cache, outpoint)));
}

void coins_find_all(const struct coins_cache *cache, struct cached_coin **out,
                    const struct outpoint *outpoints, size_t count)
{
    uint32_t tags[AHEAD];
    for (size_t from = 0; from < count; from += AHEAD) {
        size_t n = MIN(count - from, AHEAD);
        for (size_t i = 0; i < n; i++) {
            tags[i] = tag_of(cache, &outpoints[from + i]);
            __builtin_prefetch(&cache->places[home_of(cache, place_of(tags[i], 0))]);
        }
        for (size_t i = 0; i < n; i++) {
            uint64_t place = cache->places[home_of(cache, place_of(tags[i], 0))];
            if (place) {
                const struct cached_coin *likely = coin_at(cache, place);
                __builtin_prefetch(likely);
                __builtin_prefetch((const uint8_t *)(likely + 1) - 1);
            }
        }
        for (size_t i = 0; i < n; i++) {
            out[from + i] = coin_or_null(cache, probe(cache, &outpoints[from + i], tags[i]));
        }
    }
}

static void grow(struct coins_cache *cache)
{
    uint64_t *old = cache->places;
    size_t old_count = cache->place_count;
    cache->place_count *= 2;
    cache->places = mem_alloc(cache->place_count * sizeof *cache->places);
    for (size_t i = 0; i < old_count; i++) {
        size_t at = home_of(cache, old[i]);
        while (old[i] && cache->places[at]) {
            at = next_place(cache, at);
        }
        cache->places[at] = old[i] ? old[i] : cache->places[at];
    }
    mem_free(old);
}

/* A coin that is nobody's: its number. */
static uint32_t new_number(struct coins_cache *cache)
{
    if (cache->free_count) {
        return cache->free_numbers[--cache->free_count];
    }
    if (cache->made == cache->chunk_count * CHUNK_COINS) {
        cache->chunks = mem_realloc(cache->chunks, (cache->chunk_count + 1) * sizeof(struct coins_chunk *));
        cache->chunks[cache->chunk_count++] = mem_alloc(sizeof(struct coins_chunk));
        cache->free_numbers =
            mem_realloc(cache->free_numbers, cache->chunk_count * CHUNK_COINS * sizeof *cache->free_numbers);
    }
    CHECK(cache->made < UINT32_MAX);
    return cache->made++;
}

static struct cached_coin *find_or_make(struct coins_cache *cache, const struct outpoint *outpoint,
                                        bool *is_new)
{
    if ((cache->count + 1) * 4 > cache->place_count * 3) {
        grow(cache);
    }
    uint32_t tag = tag_of(cache, outpoint);
    size_t at = probe(cache, outpoint, tag);
    *is_new = !cache->places[at];
    if (*is_new) {
        cache->places[at] = place_of(tag, new_number(cache));
        cache->count++;
        *coin_at(cache, cache->places[at]) = (struct cached_coin){.outpoint = *outpoint};
    }
    return coin_at(cache, cache->places[at]);
}

static void forget(struct coins_cache *cache, struct cached_coin *cached)
{
    size_t at = probe(cache, &cached->outpoint, tag_of(cache, &cached->outpoint));
    release_script(cache, cached);
    cached->flags = 0;
    cache->free_numbers[cache->free_count++] = (uint32_t)cache->places[at] - 1;
    cache->count--;
    /* Shift back whatever would no longer be found past the hole. */
    size_t mask = cache->place_count - 1;
    for (size_t i = next_place(cache, at); cache->places[i]; i = next_place(cache, i)) {
        if (((i - home_of(cache, cache->places[i])) & mask) >= ((i - at) & mask)) {
            cache->places[at] = cache->places[i];
            at = i;
        }
    }
    cache->places[at] = 0;
}

void coins_free(struct coins_cache *cache)
{
    for (size_t i = 0; i < cache->made; i++) {
        release_script(cache, coin_at(cache, place_of(0, (uint32_t)i)));
    }
    for (size_t i = 0; i < cache->chunk_count; i++) {
        mem_free(cache->chunks[i]);
    }
    mem_free(cache->chunks);
    mem_free(cache->free_numbers);
    mem_free(cache->places);
    buf_free(&cache->dirty);
    buf_free(&cache->in_flight);
}

/* ---- Changes ----------------------------------------------------------------------------------------- */

static void remember(struct buf *list, struct cached_coin *cached)
{
    buf_bytes(list, &cached, sizeof(struct cached_coin *));
}

static size_t cost_of(const struct cached_coin *cached)
{
    return sizeof *cached + outside_bytes(cached);
}

/* Around every change of a coin: what it weighed as a dirty one, and what it weighs now. */
static void before_change(struct coins_cache *cache, const struct cached_coin *cached)
{
    cache->dirty_bytes -= cached->flags & COIN_DIRTY ? cost_of(cached) : 0;
}

static void after_change(struct coins_cache *cache, struct cached_coin *cached)
{
    if (!(cached->flags & COIN_DIRTY)) {
        cached->flags |= COIN_DIRTY;
        remember(&cache->dirty, cached);
    }
    cache->dirty_bytes += cost_of(cached);
}

void coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
               bool fresh)
{
    bool is_new;
    struct cached_coin *cached = find_or_make(cache, outpoint, &is_new);
    before_change(cache, cached);
    set_coin(cache, cached, coin);
    cached->flags |= is_new && fresh ? COIN_FRESH : 0;
    after_change(cache, cached);
}

void coins_spend_found(struct coins_cache *cache, struct cached_coin *cached)
{
    before_change(cache, cached);
    if (cached->flags & COIN_FRESH) {
        forget(cache, cached); /* its place in the dirty list finds nothing, or whatever comes after */
        return;
    }
    release_script(cache, cached);
    cached->flags &= (uint8_t) ~(COIN_UNSPENT | COIN_TAKEN);
    after_change(cache, cached);
}

void coins_spend(struct coins_cache *cache, const struct outpoint *outpoint)
{
    bool is_new;
    coins_spend_found(cache, find_or_make(cache, outpoint, &is_new));
}

bool coins_learn(struct coins_cache *cache, const struct outpoint *outpoint, struct span stored)
{
    struct coin coin;
    if (!coin_decode(&coin, stored) || coin.script.len > SCRIPT_BYTES_MAX) {
        return false;
    }
    bool is_new;
    struct cached_coin *cached = find_or_make(cache, outpoint, &is_new);
    if (is_new) {
        set_coin(cache, cached, &coin);
    }
    return true;
}

/* ---- Batches and memory ------------------------------------------------------------------------------ */

static struct cached_coin *listed(const struct buf *list, size_t at)
{
    struct cached_coin *cached;
    memcpy(&cached, list->data + at, sizeof(struct cached_coin *));
    return cached;
}

void coins_flush(struct coins_cache *cache, struct kv_batch *batch)
{
    struct buf value = {0};
    for (size_t at = 0; at < cache->dirty.len; at += sizeof(struct cached_coin *)) {
        struct cached_coin *cached = listed(&cache->dirty, at);
        if (!(cached->flags & COIN_DIRTY)) {
            continue; /* was fresh and is gone, or stood in the list twice */
        }
        uint8_t key[COIN_KEY_BYTES];
        coin_key(key, &cached->outpoint);
        if (cached->flags & COIN_UNSPENT) {
            struct coin coin = coin_view(cached);
            buf_clear(&value);
            coin_encode(&value, &coin);
            kv_put(batch, CF_COINS, span_of(key, sizeof key), buf_span(&value));
        } else {
            kv_delete(batch, CF_COINS, span_of(key, sizeof key));
        }
        cached->flags = (uint8_t)((cached->flags & ~(COIN_DIRTY | COIN_FRESH)) | COIN_IN_FLIGHT);
        remember(&cache->in_flight, cached);
    }
    buf_free(&value);
    buf_free(&cache->dirty);
    cache->dirty_bytes = 0;
}

static size_t bytes_in_use(const struct coins_cache *cache)
{
    return cache->count * sizeof(struct cached_coin) + cache->place_count * sizeof *cache->places +
           cache->script_bytes + cache->dirty.capacity + cache->in_flight.capacity;
}

/* Chunks are kept for the coins to come: at the bound they are what it allows. */
size_t coins_bytes(const struct coins_cache *cache)
{
    return cache->chunk_count * (sizeof(struct coins_chunk) + CHUNK_COINS * sizeof *cache->free_numbers) +
           cache->place_count * sizeof *cache->places + cache->script_bytes + cache->dirty.capacity +
           cache->in_flight.capacity;
}

/* Forgets clean coins, a quarter of all at most: on from where it last stopped, so that each has its time. */
static void forget_some(struct coins_cache *cache)
{
    size_t keep = cache->count / 4 * 3;
    for (uint32_t looked = 0; looked < cache->made && cache->count > keep; looked++) {
        struct cached_coin *cached = coin_at(cache, place_of(0, cache->hand));
        cache->hand = (cache->hand + 1) % cache->made;
        if ((cached->flags & (COIN_UNSPENT | COIN_DIRTY | COIN_IN_FLIGHT | COIN_TAKEN)) == COIN_UNSPENT) {
            forget(cache, cached);
        }
    }
}

void coins_committed(struct coins_cache *cache)
{
    for (size_t at = 0; at < cache->in_flight.len; at += sizeof(struct cached_coin *)) {
        struct cached_coin *cached = listed(&cache->in_flight, at);
        cached->flags &= (uint8_t)~COIN_IN_FLIGHT;
        if (!(cached->flags & (COIN_UNSPENT | COIN_DIRTY))) {
            forget(cache, cached);
        }
    }
    buf_free(&cache->in_flight);
    cache->epoch++;
    if (bytes_in_use(cache) > cache->bytes_max) {
        forget_some(cache);
    }
}
