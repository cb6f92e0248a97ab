/* Fuzz target: a coin as the store keeps it. What is read is written back to the same bytes. */
#include "core/chain/chain_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct coin coin;
    struct buf again = {0};
    if (coin_decode(&coin, span_of(data, len))) {
        coin_encode(&again, &coin);
        CHECK(span_equal(buf_span(&again), span_of(data, len)));
    }
    buf_free(&again);
    return 0;
}
