/* Base64 as texts of Bitcoin have it: one line, padded. */
#include "core/wallet/wallet.h"

#include <openssl/evp.h>

bool base64_decode(struct buf *out, const char *text, size_t max_bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text), plain = strspn(text, digits), padding = len - plain, before = out->len;
    if (len % 4 || padding > 2 || strspn(text + plain, "=") != padding || len / 4 * 3 > max_bytes + 2) {
        return false;
    }
    if (len && EVP_DecodeBlock(buf_extend(out, len / 4 * 3), (const unsigned char *)text, (int)len) < 0) {
        out->len = before;
        return false;
    }
    out->len -= padding;
    return true;
}

void base64_encode(struct buf *out_text, struct span bytes)
{
    if (bytes.len) {
        size_t len = (bytes.len + 2) / 3 * 4;
        EVP_EncodeBlock(buf_extend(out_text, len + 1), bytes.data, (int)bytes.len);
        out_text->len--; /* the final zero */
    }
}
