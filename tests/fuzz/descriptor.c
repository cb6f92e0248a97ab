/* Fuzz target: the text of a descriptor. What is understood is shown in a text that means the same scripts.
 */
#include "tests/fuzz/text.h"

static void add_script(void *context, struct span script, const char *descriptor)
{
    struct buf *all = context;
    buf_var_span(all, script);
    buf_var_span(all, span_of(descriptor, strlen(descriptor)));
}

/* All scripts at two indexes; false: they take private keys. */
static bool expand(struct buf *all, struct descriptor *descriptor)
{
    return descriptor_expand(descriptor, 0, add_script, all, NULL) &&
           descriptor_expand(descriptor, 7, add_script, all, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = text_of(data, len);
    struct descriptor *descriptor = descriptor_parse(text, false, &params, NULL);
    if (descriptor) {
        struct buf shown = {0}, scripts = {0}, again = {0};
        descriptor_write(&shown, descriptor);
        buf_u8(&shown, 0);
        struct descriptor *second = descriptor_parse((const char *)shown.data, true, &params, NULL);
        CHECK(second && descriptor_is_ranged(second) == descriptor_is_ranged(descriptor));
        CHECK(!descriptor_has_secret(second));
        if (expand(&scripts, descriptor) && expand(&again, second)) {
            CHECK(span_equal(buf_span(&scripts), buf_span(&again)));
        }
        descriptor_free(second);
        buf_free(&shown);
        buf_free(&scripts);
        buf_free(&again);
    }
    descriptor_free(descriptor);
    mem_free(text);
    return 0;
}
