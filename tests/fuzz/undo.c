/* Fuzz target: the undo record of a block, as it is and with the checksum that its body should have. What is
 * read is written back to the same bytes. */
#include "core/chain/chain_private.h"
#include "hashing/kernels/kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct hash256 block_hash = {{1, 2, 3}};

static void try(struct span record)
{
    struct cursor c = cursor_of(record.data, record.len);
    size_t count = cursor_count(&c, 3);
    struct coin *coins = mem_alloc((count + 1) * sizeof *coins);
    if (undo_decode(coins, count, record, &block_hash)) {
        struct buf again = {0};
        undo_encode(&again, coins, count, &block_hash);
        CHECK(span_equal(buf_span(&again), record));
        buf_free(&again);
    }
    CHECK(!undo_decode(coins, count + 1, record, &block_hash));
    mem_free(coins);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf record = {0};
    struct sha256_ctx ctx;
    try(span_of(data, len));
    sha256_init(&ctx);
    sha256_update(&ctx, block_hash.b, 32);
    sha256_update(&ctx, data, len);
    buf_bytes(&record, data, len);
    sha256_final(&ctx, buf_extend(&record, 32));
    try(buf_span(&record));
    buf_free(&record);
    return 0;
}
