/*
 * For the fuzz targets that read a text of the main chain: the input as a string. Included by one target at a
 * time.
 */
#ifndef QUARRY_TESTS_FUZZ_TEXT_H
#define QUARRY_TESTS_FUZZ_TEXT_H

#include "core/wallet/wallet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct chain_params params; /* of main, from the first text on */

/* To be freed with mem_free. */
static char *text_of(const uint8_t *data, size_t len)
{
    if (!params.genesis_raw) {
        CHECK(chain_params_init(&params, CHAIN_MAIN, NULL, NULL));
        wallet_init((const uint8_t[32]){1});
    }
    char *text = mem_alloc(len + 1);
    if (len) {
        memcpy(text, data, len);
    }
    return text;
}

#endif
