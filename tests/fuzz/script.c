/* Fuzz target: a spend. Four bytes of flags, the spent script (compact size), then the transaction. More
 * flags may only forbid more. */
#include "core/consensus/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define ALL_FLAGS ((1u << 21) - 1)

static uint32_t filled(uint32_t flags)
{
    flags |= flags & (SCRIPT_CLEANSTACK | SCRIPT_TAPROOT) ? SCRIPT_WITNESS : 0;
    return flags | (flags & SCRIPT_WITNESS ? SCRIPT_P2SH : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct cursor c = cursor_of(data, len);
    uint32_t flags = filled(cursor_u32(&c) & ALL_FLAGS), more = filled((flags | cursor_u32(&c)) & ALL_FLAGS);
    struct span script = cursor_var_span(&c);
    struct tx *tx = c.failed ? NULL : tx_parse(cursor_span(&c, cursor_left(&c)), NULL);
    if (!tx || tx->input_count == 0 || tx->input_count > 16) {
        tx_unref(tx);
        return 0;
    }
    struct coin coins[16] = {0};
    for (uint32_t i = 0; i < tx->input_count; i++) {
        coins[i].script = script;
        coins[i].value.sat = 100000;
    }
    if (script_verify(tx, 0, coins, NULL, more) == SCRIPT_ERROR_OK) {
        CHECK(script_verify(tx, 0, coins, NULL, flags) == SCRIPT_ERROR_OK);
    }
    struct buf text = {0};
    script_asm(&text, script, true);
    buf_free(&text);
    tx_unref(tx);
    return 0;
}
