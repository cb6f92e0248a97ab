/* Fuzz target: a transaction. What is read is written back to the same bytes. */
#include "core/consensus/consensus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tx *tx = tx_parse(span_of(data, len), NULL);
    if (tx) {
        struct buf again = {0};
        tx_write(&again, tx, true);
        CHECK(span_equal(buf_span(&again), span_of(data, len)));
        struct error error = {0};
        CHECK(tx_check(tx, &error) || error.word[0]);
        CHECK(tx_weight(tx) >= tx->stripped_bytes);
        buf_free(&again);
        tx_unref(tx);
    }
    return 0;
}
