/* Fuzz target: a block, with all checks that need no coins (proof of work and signet's challenge apart). */
#include "core/consensus/consensus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct chain_params params;
    static const uint8_t anyone = 0x51;
    if (!params.genesis_raw) {
        CHECK(chain_params_init(&params, CHAIN_REGTEST, NULL, NULL));
    }
    struct error error = {0};
    struct block *block = block_parse(mem_dup(data, len), len, &error);
    if (!block) {
        CHECK(error.word[0]);
        return 0;
    }
    bool ok = block_check(block, &params, &error);
    CHECK(ok || error.word[0]);
    if (block->tx_count && block->txs[0].input_count) {
        ok = block_check_context(block, 1, 0, &params, &error) && signet_check(block, span_of(&anyone, 1));
        CHECK(ok || block->tx_count);
    }
    block_unref(block);
    return 0;
}
