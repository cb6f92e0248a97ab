/* What struct chain reads when it starts, where nothing was ever kept. Not a store: what is written goes
 * nowhere here. */
#ifndef QUARRY_TESTS_NO_STORE_H
#define QUARRY_TESTS_NO_STORE_H

#include "core/chain/chain.h"

static bool no_row(void *context, enum column_family cf, struct span key, struct buf *value)
{
    (void)context, (void)cf, (void)key, (void)value;
    return false;
}

static void no_rows(void *context, enum column_family cf, struct span prefix,
                    bool (*row)(void *row_context, struct span key, struct span value), void *row_context)
{
    (void)context, (void)cf, (void)prefix, (void)row, (void)row_context;
}

static uint64_t no_file(void *context, enum file_kind file, uint32_t number)
{
    (void)context, (void)file, (void)number;
    return 0;
}

static bool no_bytes(void *context, enum file_kind file, uint32_t number, uint64_t offset, uint8_t *out,
                     size_t len)
{
    (void)context, (void)file, (void)number, (void)offset, (void)out, (void)len;
    return false;
}

#endif
