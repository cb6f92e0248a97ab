/* Fuzz target: an address or a key as text. What is understood is written again as an address of that script.
 */
#include "tests/fuzz/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = text_of(data, len);
    struct buf script = {0}, again = {0};
    char address[ADDRESS_TEXT];
    struct key key;
    bool compressed;
    if (address_to_script(&script, text, &params, NULL)) {
        CHECK(address_from_script(address, buf_span(&script), &params));
        CHECK(address_to_script(&again, address, &params, NULL));
        CHECK(span_equal(buf_span(&script), buf_span(&again)));
    } else if (key_from_wif(&key, &compressed, text, &params)) {
        key_wipe(&key);
    }
    buf_free(&script);
    buf_free(&again);
    mem_free(text);
    return 0;
}
