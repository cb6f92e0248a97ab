/* Fuzz target: a partially signed transaction. What is understood is written the same from then on, joined
 * with itself it is itself, and its inputs may be made final. */
#include "core/wallet/wallet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void write_text(struct buf *out, const struct psbt *psbt)
{
    psbt_write(out, psbt);
    buf_u8(out, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf text = {0}, first = {0}, second = {0};
    base64_encode(&text, span_of(data, len));
    buf_u8(&text, 0);
    struct psbt *psbt = psbt_parse((const char *)text.data, NULL);
    if (psbt) {
        write_text(&first, psbt);
        struct psbt *again = psbt_parse((const char *)first.data, NULL);
        CHECK(again && psbt_combine(again, psbt));
        write_text(&second, again);
        CHECK(span_equal(buf_span(&first), buf_span(&second)));
        if (psbt_finalize(psbt)) {
            tx_unref(psbt_extract(psbt));
        }
        psbt_free(again);
    }
    psbt_free(psbt);
    buf_free(&text);
    buf_free(&first);
    buf_free(&second);
    return 0;
}
