/* The sharing out of headers: complete, and without overlap between workers. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/base.h"
#include "hashing/pool/space.h"

#define WORKERS 7

Test(space, every_version_and_nonce_once)
{
    static const uint32_t masks[] = {0, 0x2000, 0x6000, 0x1c000000, 0x0000e000, 0x1000a000};
    for (size_t m = 0; m < ARRAY_COUNT(masks); m++) {
        struct space space = space_of(UINT32_C(0x20000004), masks[m]);
        size_t versions = (size_t)1 << __builtin_popcount(masks[m]);
        struct map {
            uint32_t version;
            uint8_t parts[SPACE_NONCE_PARTS];
        } *seen = mem_alloc(versions * sizeof *seen);
        size_t known = 0;
        for (uint64_t w = 0; w < WORKERS; w++) {
            for (uint64_t chunk = w; chunk < space.chunks; chunk += WORKERS) {
                uint32_t group[SPACE_VERSIONS_MAX];
                space_versions(&space, chunk, group);
                for (uint32_t v = 0; v < space.group_versions; v++) {
                    size_t at = 0;
                    while (at < known && seen[at].version != group[v]) {
                        at++;
                    }
                    cr_assert_lt(at, versions, "mask %x: more versions than it has", masks[m]);
                    known = MAX(known, at + 1);
                    seen[at].version = group[v];
                    cr_assert_eq((group[v] ^ UINT32_C(0x20000004)) & ~masks[m], 0);
                    cr_assert_eq(space_first_nonce(chunk) % SPACE_NONCES, 0);
                    cr_assert_eq(seen[at].parts[space_first_nonce(chunk) / SPACE_NONCES]++, 0);
                }
            }
        }
        cr_expect_eq(known, versions);
        for (size_t at = 0; at < known; at++) {
            for (size_t part = 0; part < SPACE_NONCE_PARTS; part++) {
                cr_assert_eq(seen[at].parts[part], 1);
            }
        }
        mem_free(seen);
    }
}

/* BIP320's mask alone: 2^48 headers, months of a fast core, before the extranonce has to move. */
Test(space, bip320_is_large)
{
    struct space space = space_of(UINT32_C(0x20000000), UINT32_C(0x1fffe000));
    cr_expect_eq(space.chunks * SPACE_NONCES * space.group_versions, UINT64_C(1) << 48);
}
