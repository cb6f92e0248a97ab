/* The signature cache: what it says verifies has verified. Threads that share it: tests/plain/signatures.c.
 */
#include <criterion/criterion.h>

#include "core/wallet/wallet.h"
#include "hashing/kernels/kernels.h"

#define SMALLEST 0u
#define LARGE    (64u << 10)

static struct signature_cache *cache_of(size_t bytes, uint64_t seed)
{
    struct rng rng;
    rng_seed_u64(&rng, seed);
    return signature_cache_new(bytes, &rng);
}

/* A signature by number, as the scripts would give it. */
static struct hash256 digest(const struct signature_cache *cache, uint64_t number)
{
    struct hash256 out, message = {{0}};
    uint8_t key[33] = {2}, signature[71] = {0x30};
    store_le64(message.b, number);
    signature_digest(&out, cache, 'E', &message, span_of(key, sizeof key),
                     span_of(signature, sizeof signature));
    return out;
}

static void add(struct signature_cache *cache, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        struct hash256 d = digest(cache, i);
        signature_cache_add(cache, &d);
        cr_assert(signature_cache_has(cache, &d), "what was added last is there, however full");
    }
}

static bool has(const struct signature_cache *cache, uint64_t number)
{
    struct hash256 d = digest(cache, number);
    return signature_cache_has(cache, &d);
}

static size_t known(const struct signature_cache *cache, uint64_t from, uint64_t to)
{
    size_t count = 0;
    for (uint64_t i = from; i < to; i++) {
        count += has(cache, i);
    }
    return count;
}

Test(signature_cache, knows_nothing_at_first)
{
    struct signature_cache *cache = cache_of(LARGE, 1);
    cr_assert_eq(known(cache, 0, 10000), 0);
    signature_cache_free(cache);
    signature_cache_free(NULL);
}

/* Every part of what was verified counts, and none can take over bytes of its neighbour. */
Test(signature_cache, another_kind_message_key_or_signature_is_another_digest)
{
    struct signature_cache *cache = cache_of(LARGE, 1);
    const struct hash256 message = {{1}}, other = {{1, 1}};
    const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct {
        uint8_t kind;
        const struct hash256 *message;
        struct span key, signature;
    } cases[] = {
        {'E', &message, span_of(bytes, 4), span_of(bytes + 4, 4)},
        {'S', &message, span_of(bytes, 4), span_of(bytes + 4, 4)},
        {'E', &other, span_of(bytes, 4), span_of(bytes + 4, 4)},
        {'E', &message, span_of(bytes, 3), span_of(bytes + 3, 5)},
        {'E', &message, span_of(bytes, 5), span_of(bytes + 5, 3)},
        {'E', &message, span_of(bytes, 0), span_of(bytes, 8)},
        {'E', &message, span_of(bytes, 8), span_of(bytes, 0)},
        {'E', &message, span_of(bytes, 4), span_of(bytes + 4, 3)},
        {'E', &message, span_of(bytes + 4, 4), span_of(bytes, 4)},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct hash256 d;
        signature_digest(&d, cache, cases[i].kind, cases[i].message, cases[i].key, cases[i].signature);
        cr_assert_not(signature_cache_has(cache, &d), "case %zu", i);
        signature_cache_add(cache, &d);
        cr_assert(signature_cache_has(cache, &d));
    }
    signature_cache_free(cache);
}

Test(signature_cache, adding_again_takes_no_place)
{
    struct signature_cache *cache = cache_of(SMALLEST, 1);
    size_t places = 0;
    while (known(cache, 0, places) == places) {
        add(cache, places, places + 1);
        places++;
        cr_assert_lt(places, 1000);
    }
    places--;
    cr_assert_geq(places, 1);
    signature_cache_free(cache);
    cache = cache_of(SMALLEST, 1);
    for (int i = 0; i < 100; i++) {
        add(cache, 0, places);
        cr_assert_eq(known(cache, 0, places), places);
    }
    signature_cache_free(cache);
}

Test(signature_cache, a_full_one_forgets_and_never_invents)
{
    enum { MANY = 20000 };
    struct signature_cache *cache = cache_of(LARGE, 1);
    add(cache, 0, MANY);
    size_t kept = known(cache, 0, MANY);
    cr_assert_geq(kept, LARGE / 64, "places of 32 bytes at the most, and half of the room at least");
    cr_assert_leq(kept, LARGE / 4);
    cr_assert_eq(known(cache, MANY, 3 * MANY), 0);
    signature_cache_free(cache);
}

Test(signature_cache, the_salt_decides_what_is_forgotten)
{
    enum { MANY = 20000 };
    struct signature_cache *a = cache_of(LARGE, 1), *b = cache_of(LARGE, 2);
    struct hash256 in_a = digest(a, 1), in_b = digest(b, 1);
    size_t differ = 0;
    cr_assert_not(hash256_equal(&in_a, &in_b));
    add(a, 0, MANY);
    add(b, 0, MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        differ += has(a, i) != has(b, i);
    }
    cr_assert_gt(differ, known(a, 0, MANY) / 2);
    signature_cache_free(a);
    signature_cache_free(b);
}

/* By a script: a signature that verified is remembered where that is asked for; one that did not never is. */
Test(signature_cache, scripts_remember_what_verified_where_they_are_asked_to)
{
    static const uint8_t secret[32] = {1, 2, 3}, anybody = 0x51;
    struct signature_cache *signatures = cache_of(LARGE, 1);
    struct error error = {0};
    struct key key;
    struct buf script = {0};
    wallet_init(secret);
    cr_assert(key_from_secret(&key, secret));
    key_script(&script, &key);
    const struct outpoint from = {{{9}}, 0};
    const struct coin coin = {.value = {1000}, .script = buf_span(&script)};
    const struct tx_output to = {{900}, span_of(&anybody, 1)};
    struct tx *tx = wallet_sign(&key, &from, &coin, 1, &to, 1, 0, &error);
    cr_assert(tx, "%s", error.text);

    uint8_t code[25] = {0x76, 0xa9, 20, [23] = 0x88, [24] = 0xac}; /* BIP143: P2PKH of the same hash */
    struct hash256 message, digest;
    hash160(code + 3, key.public_key, sizeof key.public_key);
    sighash_v0(&message, tx, 0, span_of(code, sizeof code), coin.value, 1, NULL);
    signature_digest(&digest, signatures, 'E', &message, span_of(key.public_key, sizeof key.public_key),
                     tx->inputs[0].witness[0]);

    struct sighash_cache cache = {.signatures = signatures};
    sighash_prepare(&cache, tx, &coin);
    cr_assert(script_verify_input(tx, 0, &coin, &cache, SCRIPT_STANDARD_FLAGS, &error));
    cr_assert_not(signature_cache_has(signatures, &digest), "it was not asked to remember");
    cache.remember = true;
    const struct coin more = {.value = {1001}, .script = buf_span(&script)}; /* its signature is another's */
    cr_assert_not(script_verify_input(tx, 0, &more, &cache, SCRIPT_STANDARD_FLAGS, &error));
    cr_assert_not(signature_cache_has(signatures, &digest));
    cr_assert(script_verify_input(tx, 0, &coin, &cache, SCRIPT_STANDARD_FLAGS, &error));
    cr_assert(signature_cache_has(signatures, &digest));
    cr_assert_not(script_verify_input(tx, 0, &more, &cache, SCRIPT_STANDARD_FLAGS, &error),
                  "nor is it taken for it now");
    tx_unref(tx);
    key_wipe(&key);
    buf_free(&script);
    signature_cache_free(signatures);
}
