/*
 * The hash table: linear probing, at most 3/4 full, removal by shifting back (no tombstones).
 *
 * A slot is [u32 tag][key][value], the value at an 8-byte boundary. The tag is the low half of the key's
 * SipHash with its top bit set; 0 means empty. The home slot comes from the tag, so that growing never hashes
 * a key again.
 */
#include "core/base/base.h"

static size_t value_at(const struct map *m)
{
    return (4u + m->key_bytes + 7u) & ~(size_t)7u;
}

void map_init(struct map *m, size_t key_bytes, size_t value_bytes, struct rng *rng)
{
    CHECK(key_bytes > 0 && key_bytes <= 256 && value_bytes <= 65536);
    *m = (struct map){.key_bytes = (uint32_t)key_bytes, .value_bytes = (uint32_t)value_bytes};
    m->slot_bytes = (uint32_t)((value_at(m) + value_bytes + 7u) & ~(size_t)7u);
    m->sip_key[0] = rng_next(rng);
    m->sip_key[1] = rng_next(rng);
}

void map_clear(struct map *m)
{
    mem_free(m->slots);
    m->slots = NULL;
    m->capacity = m->count = 0;
}

void map_free(struct map *m)
{
    map_clear(m);
}

static uint8_t *slot(const struct map *m, size_t i)
{
    return m->slots + i * m->slot_bytes;
}

static uint32_t tag_of(const struct map *m, const void *key)
{
    return (uint32_t)siphash_2_4(m->sip_key, key, m->key_bytes) | 0x80000000u;
}

static size_t home_of(const struct map *m, uint32_t tag)
{
    return (size_t)(tag * UINT64_C(0x9e3779b97f4a7c15) >> 16) & (m->capacity - 1);
}

/* The slot of the key, or the empty slot where it would go. */
static uint8_t *probe(const struct map *m, const void *key, uint32_t tag)
{
    for (size_t i = home_of(m, tag);; i = (i + 1) & (m->capacity - 1)) {
        uint8_t *s = slot(m, i);
        uint32_t there = load_le32(s);
        if (!there || (there == tag && memcmp(s + 4, key, m->key_bytes) == 0)) {
            return s;
        }
    }
}

void *map_get(const struct map *m, const void *key)
{
    if (!m->count) {
        return NULL;
    }
    uint8_t *s = probe(m, key, tag_of(m, key));
    return load_le32(s) ? s + value_at(m) : NULL;
}

static void grow(struct map *m)
{
    struct map bigger = *m;
    bigger.capacity = m->capacity ? m->capacity * 2 : 16;
    CHECK(bigger.capacity <= UINT32_MAX / 2);
    bigger.slots = mem_alloc(bigger.capacity * m->slot_bytes);
    for (size_t i = 0; i < m->capacity; i++) {
        const uint8_t *s = slot(m, i);
        uint32_t tag = load_le32(s);
        if (tag) {
            memcpy(probe(&bigger, s + 4, tag), s, m->slot_bytes);
        }
    }
    mem_free(m->slots);
    *m = bigger;
}

void *map_put(struct map *m, const void *key, bool *inserted)
{
    if ((m->count + 1) * 4 > m->capacity * 3) {
        grow(m);
    }
    uint32_t tag = tag_of(m, key);
    uint8_t *s = probe(m, key, tag);
    bool is_new = !load_le32(s);
    if (is_new) {
        store_le32(s, tag);
        memcpy(s + 4, key, m->key_bytes);
        memset(s + value_at(m), 0, m->value_bytes);
        m->count++;
    }
    if (inserted) {
        *inserted = is_new;
    }
    return s + value_at(m);
}

bool map_remove(struct map *m, const void *key)
{
    if (!m->count) {
        return false;
    }
    uint8_t *hole = probe(m, key, tag_of(m, key));
    if (!load_le32(hole)) {
        return false;
    }
    /* Shift back whatever would no longer be found past the hole. */
    size_t mask = m->capacity - 1, at = (size_t)(hole - m->slots) / m->slot_bytes;
    for (size_t i = (at + 1) & mask;; i = (i + 1) & mask) {
        uint8_t *s = slot(m, i);
        uint32_t tag = load_le32(s);
        if (!tag) {
            break;
        }
        size_t home = home_of(m, tag);
        if (((i - home) & mask) >= ((i - at) & mask)) {
            memcpy(slot(m, at), s, m->slot_bytes);
            at = i;
        }
    }
    store_le32(slot(m, at), 0);
    m->count--;
    return true;
}

bool map_next(const struct map *m, size_t *position, const void **key, void **value)
{
    for (; *position < m->capacity; ++*position) {
        uint8_t *s = slot(m, *position);
        if (load_le32(s)) {
            if (key) {
                *key = s + 4;
            }
            if (value) {
                *value = s + value_at(m);
            }
            ++*position;
            return true;
        }
    }
    return false;
}

size_t map_bytes(const struct map *m)
{
    return m->capacity * m->slot_bytes;
}
