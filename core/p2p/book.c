/*
 * The address book: where nodes are said to listen, and where they did. Pure data; what is told, asked and
 * dialled is the business of addresses.c and outbound.c.
 *
 * Who tells us of many addresses must not fill the book. Addresses that were only heard of lie in fresh, in a
 * bucket that depends on who told us: all machines of one netgroup together reach FRESH_REACH buckets. Those
 * that have answered us lie in tried, in a bucket that depends on their own netgroup, of which one reaches
 * TRIED_REACH. A full bucket gives up an address only when it is not worth keeping. The buckets hang on a
 * secret key, so nobody can aim at one.
 *
 * Addresses in overlays (Tor, I2P, CJDNS) lie among the fresh ones, for those who can reach them.
 */
#include "core/p2p/p2p_private.h"

#include "hashing/kernels/kernels.h"

#define FRESH_REACH   8u
#define TRIED_REACH   4u
#define DAY_S         INT64_C(86400)
#define TOO_OLD_S     (30 * DAY_S)
#define GIVE_UP       3u /* failed tries after which an address that never answered may go */
#define GIVE_UP_TRIED 10u
#define FILE_MARK     "QPEERS\0\2"
#define FILE_HEAD     (8u + 4u + 16u + 4u)
#define FILE_PLACE    (16u + 2u + 1u + 16u + 16u + 8u + 8u + 8u + 2u + 1u)

void book_init(struct book *book, struct rng *rng)
{
    book->key[0] = rng_next(rng);
    book->key[1] = rng_next(rng);
}

/* On a network of one's own nobody has to be kept from filling the book, and every node is its own group. */
static uint64_t group_in(const struct book *book, const struct endpoint *endpoint)
{
    uint8_t bytes[18];
    size_t len = ip_is_local(endpoint->ip) ? 18 : ip_is_v4(endpoint->ip) ? 14 : 4;
    memcpy(bytes, endpoint->ip, 16);
    memcpy(bytes + 16, &endpoint->port, 2);
    return siphash_2_4(book->key, bytes, len);
}

/* As Bitcoin Core groups what is in overlays: by the first four bits that may differ. */
static uint64_t group_of(const struct book *book, const struct place *place)
{
    const uint8_t bytes[2] = {place->overlay,
                              place->at.ip[place->overlay == NETWORK_CJDNS ? 1 : 0] & (uint8_t)0xf0};
    return place->overlay ? siphash_2_4(book->key, bytes, sizeof bytes) : group_in(book, &place->at);
}

static uint64_t mix(const struct book *book, uint64_t a, uint64_t b)
{
    const uint64_t both[2] = {a, b};
    return siphash_2_4(book->key, both, sizeof both);
}

static struct place *fresh_bucket(struct book *book, const struct place *place)
{
    struct endpoint teller = {.port = 0};
    memcpy(teller.ip, place->source, 16);
    uint64_t from = group_in(book, &teller), group = group_of(book, place);
    uint64_t reach =
        ip_is_local(place->source) ? mix(book, from, group) : mix(book, from, group) % FRESH_REACH;
    return &book->fresh[mix(book, from, reach) % BOOK_FRESH_BUCKETS * BOOK_SLOTS];
}

static struct place *tried_bucket(struct book *book, const struct place *place)
{
    uint64_t group = group_of(book, place), reach = mix(book, group, place->at.port) % TRIED_REACH;
    return &book->tried[mix(book, group, reach) % BOOK_TRIED_BUCKETS * BOOK_SLOTS];
}

static bool is_worthless(const struct place *place, int64_t now_s)
{
    return place->failures >= (place->answered_unix_s ? GIVE_UP_TRIED : GIVE_UP) ||
           now_s - MAX(place->seen_unix_s, place->answered_unix_s) > TOO_OLD_S;
}

size_t book_next(const struct book *book, size_t from, size_t end)
{
    while (from < end) {
        uint64_t word = book->taken[from / 64] >> from % 64;
        if (word) {
            return MIN(from + (size_t)__builtin_ctzll(word), end);
        }
        from = (from / 64 + 1) * 64;
    }
    return end;
}

static bool is_taken(const struct book *book, const struct place *slot)
{
    size_t index = (size_t)(slot - book->all);
    return book->taken[index / 64] >> index % 64 & 1;
}

static struct place *find(struct book *book, const struct place *place)
{
    BOOK_EACH(i, book)
    {
        struct place *known = &book->all[i];
        if (endpoint_equal(&known->at, &place->at) && known->overlay == place->overlay &&
            memcmp(known->more, place->more, sizeof known->more) == 0) {
            return known;
        }
    }
    return NULL;
}

struct place *book_find(struct book *book, const struct endpoint *at)
{
    const struct place place = {.at = *at};
    return find(book, &place);
}

static struct place *free_slot(const struct book *book, struct place *bucket, int64_t now_s)
{
    struct place *worthless = NULL;
    for (size_t i = 0; i < BOOK_SLOTS; i++) {
        if (!is_taken(book, &bucket[i])) {
            return &bucket[i];
        }
        if (is_worthless(&bucket[i], now_s)) {
            worthless = &bucket[i];
        }
    }
    return worthless;
}

static bool put(struct book *book, struct place *slot, const struct place *place)
{
    if (!slot) {
        return false;
    }
    size_t index = (size_t)(slot - book->all);
    book->count += !is_taken(book, slot);
    book->taken[index / 64] |= UINT64_C(1) << index % 64;
    *slot = *place;
    return true;
}

static void empty(struct book *book, struct place *slot)
{
    size_t index = (size_t)(slot - book->all);
    book->count--;
    book->taken[index / 64] &= ~(UINT64_C(1) << index % 64);
    *slot = (struct place){0};
}

bool book_learn(struct book *book, const struct place *place, int64_t now_s)
{
    struct place *known = find(book, place);
    if (known) {
        known->seen_unix_s = MAX(known->seen_unix_s, place->seen_unix_s);
        known->services |= place->services;
        return false;
    }
    return put(book, free_slot(book, fresh_bucket(book, place), now_s), place);
}

void book_answered(struct book *book, const struct endpoint *at, int64_t now_s)
{
    struct place *place = book_find(book, at);
    if (!place) {
        return;
    }
    place->answered_unix_s = place->seen_unix_s = now_s;
    place->failures = 0;
    if (place >= book->tried) {
        return;
    }
    struct place *bucket = tried_bucket(book, place), *slot = free_slot(book, bucket, now_s),
                 *oldest = bucket;
    for (size_t i = 1; i < BOOK_SLOTS; i++) {
        oldest = bucket[i].answered_unix_s < oldest->answered_unix_s ? &bucket[i] : oldest;
    }
    if (!slot && now_s - oldest->answered_unix_s > DAY_S) {
        slot = oldest; /* longer ago than a day: the newcomer is worth more */
    }
    if (put(book, slot, place)) {
        empty(book, place);
    } /* else it stays among the fresh ones */
}

static struct place *pick_between(struct book *book, size_t begin, size_t end,
                                  bool (*fits)(void *context, const struct place *place), void *context)
{
    for (size_t i = book_next(book, begin, end); i < end; i = book_next(book, i + 1, end)) {
        if (fits(context, &book->all[i])) {
            return &book->all[i];
        }
    }
    return NULL;
}

struct place *book_pick(struct book *book, struct rng *rng,
                        bool (*fits)(void *context, const struct place *place), void *context)
{
    const size_t begins[3] = {0, ARRAY_COUNT(book->fresh), BOOK_PLACES};
    struct place *found = NULL;
    size_t half = (size_t)rng_below(rng, 2);
    for (size_t turn = 0; turn < 2 && !found; turn++, half = 1 - half) {
        size_t begin = begins[half], end = begins[half + 1];
        size_t first = begin + (size_t)rng_below(rng, end - begin); /* from there on, and round */
        found = pick_between(book, first, end, fits, context);
        found = found ? found : pick_between(book, begin, first, fits, context);
    }
    return found;
}

/* ---- On disk ----------------------------------------------------------------------------------------- */

void book_write(const struct book *book, const uint8_t magic[4], struct buf *out)
{
    uint8_t sum[32];
    buf_bytes(out, FILE_MARK, 8);
    buf_bytes(out, magic, 4);
    buf_u64(out, book->key[0]);
    buf_u64(out, book->key[1]);
    buf_u32(out, (uint32_t)book->count);
    BOOK_EACH(i, book)
    {
        const struct place *place = &book->all[i];
        buf_bytes(out, place->at.ip, 16);
        buf_u16_be(out, place->at.port);
        buf_u8(out, place->overlay);
        buf_bytes(out, place->more, 16);
        buf_bytes(out, place->source, 16);
        buf_u64(out, place->services);
        buf_i64(out, place->seen_unix_s);
        buf_i64(out, place->answered_unix_s);
        buf_u16(out, place->failures);
        buf_u8(out, (uint8_t)((place >= book->tried ? 1u : 0u) | (place->anchor ? 2u : 0u)));
    }
    sha256d(sum, out->data, out->len);
    buf_bytes(out, sum, sizeof sum);
}

static int64_t past(int64_t unix_s, int64_t now_s)
{
    return MIN(MAX(unix_s, INT64_C(0)), now_s);
}

static void read_place(struct book *book, struct cursor *c, int64_t now_s)
{
    struct place place = {0};
    cursor_bytes(c, place.at.ip, 16);
    place.at.port = cursor_u16_be(c);
    place.overlay = cursor_u8(c);
    cursor_bytes(c, place.more, 16);
    cursor_bytes(c, place.source, 16);
    place.services = cursor_u64(c);
    place.seen_unix_s = past(cursor_i64(c), now_s);
    place.answered_unix_s = past(cursor_i64(c), now_s);
    place.failures = cursor_u16(c);
    uint8_t flags = cursor_u8(c);
    place.anchor = flags & 2;
    if (place_can_be(&place) && !find(book, &place)) {
        bool tried = flags & 1 && put(book, free_slot(book, tried_bucket(book, &place), now_s), &place);
        if (!tried) {
            put(book, free_slot(book, fresh_bucket(book, &place), now_s), &place);
        }
    }
}

bool book_read(struct book *book, const uint8_t magic[4], struct span file, int64_t now_s)
{
    uint8_t sum[32];
    if (file.len < FILE_HEAD + sizeof sum) {
        return false;
    }
    size_t len = file.len - sizeof sum;
    struct cursor c = cursor_of(file.data, len);
    sha256d(sum, file.data, len);
    bool ours = memcmp(sum, file.data + len, sizeof sum) == 0 &&
                memcmp(cursor_span(&c, 8).data, FILE_MARK, 8) == 0 &&
                memcmp(cursor_span(&c, 4).data, magic, 4) == 0;
    uint64_t key_low = cursor_u64(&c);
    uint64_t key_high = cursor_u64(&c);
    uint32_t count = cursor_u32(&c);
    if (!ours || count > BOOK_PLACES || cursor_left(&c) != (size_t)count * FILE_PLACE) {
        return false;
    }
    *book = (struct book){.key = {key_low, key_high}};
    while (count--) {
        read_place(book, &c, now_s);
    }
    return true;
}
