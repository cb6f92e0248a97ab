/* What must hold for a header and a block, without knowing which coins exist. */
#include "core/consensus/script.h"

#include "hashing/kernels/kernels.h"

#define COMMITMENT_LEN 38u

static bool refuse(struct error *error, enum error_kind kind, const char *word, const char *text)
{
    return error_set(error, kind, word, "%s", text);
}

bool header_check(const struct block_header *header, const struct hash256 *hash,
                  const struct chain_params *params, struct error *error)
{
    if (!pow_check(hash, header->bits, params)) {
        return refuse(error, ERROR_INVALID, "high-hash", "proof of work failed");
    }
    return true;
}

bool merkle_root_of_txids(struct hash256 *out, const struct tx *txs, size_t count, bool witness)
{
    bool mutated;
    uint8_t *leaves = mem_alloc(count * 32);
    for (size_t i = 0; i < count; i++) {
        /* BIP141: the coinbase counts as zero in the witness tree. */
        if (!witness) {
            memcpy(leaves + 32 * i, txs[i].txid.b, 32);
        } else if (i > 0) {
            memcpy(leaves + 32 * i, txs[i].wtxid.b, 32);
        }
    }
    merkle_root(out->b, leaves, count, &mutated);
    mem_free(leaves);
    return mutated;
}

static bool check_merkle(const struct block *block, struct error *error)
{
    struct hash256 root = {{0}};
    bool mutated = block->tx_count && merkle_root_of_txids(&root, block->txs, block->tx_count, false);
    if (!hash256_equal(&root, &block->header.merkle_root)) {
        return refuse(error, ERROR_MUTATED, "bad-txnmrklroot", "hashMerkleRoot mismatch");
    }
    if (mutated) {
        return refuse(error, ERROR_MUTATED, "bad-txns-duplicate", "duplicate transaction");
    }
    return true;
}

/* Two hashes of the merkle tree may read as a transaction of 64 bytes: what seems to be a block of those is
 * another's header with the inside of its tree (CVE-2017-12842). */
static enum error_kind without_coinbase(const struct block *block)
{
    for (uint32_t i = 0; i < block->tx_count; i++) {
        if (block->txs[i].stripped_bytes == 64) {
            return ERROR_MUTATED;
        }
    }
    return ERROR_INVALID;
}

/* What its header commits to, which is looked at before. */
static bool check_contents(const struct block *block, struct error *error)
{
    if (block->tx_count == 0 || (uint64_t)block->tx_count * WITNESS_SCALE > BLOCK_WEIGHT_MAX ||
        (uint64_t)block->stripped_bytes * WITNESS_SCALE > BLOCK_WEIGHT_MAX) {
        return refuse(error, ERROR_INVALID, "bad-blk-length", "size limits failed");
    }
    if (!tx_is_coinbase(&block->txs[0])) {
        return refuse(error, without_coinbase(block), "bad-cb-missing", "first tx is not coinbase");
    }
    uint64_t sigops = 0;
    for (uint32_t i = 0; i < block->tx_count; i++) {
        const struct tx *tx = &block->txs[i];
        if (i > 0 && tx_is_coinbase(tx)) {
            return refuse(error, ERROR_INVALID, "bad-cb-multiple", "more than one coinbase");
        }
        if (!tx_check(tx, error)) {
            return false;
        }
        for (uint32_t k = 0; k < tx->input_count; k++) {
            sigops += script_sigops(tx->inputs[k].script, false);
        }
        for (uint32_t k = 0; k < tx->output_count; k++) {
            sigops += script_sigops(tx->outputs[k].script, false);
        }
    }
    if (sigops * WITNESS_SCALE > BLOCK_SIGOPS_COST_MAX) {
        return refuse(error, ERROR_INVALID, "bad-blk-sigops", "out-of-bounds SigOpCount");
    }
    return true;
}

bool block_check_contents(const struct block *block, struct error *error)
{
    return (block->committed || check_merkle(block, error)) && check_contents(block, error);
}

bool block_check(const struct block *block, const struct chain_params *params, struct error *error)
{
    bool signed_chain = params->signet_challenge.len && !hash256_equal(&block->hash, &params->genesis_hash);
    if (!header_check(&block->header, &block->hash, params, error) ||
        !(block->committed || check_merkle(block, error))) {
        return false;
    }
    if (signed_chain && !signet_check(block, buf_span(&params->signet_challenge))) {
        return refuse(error, ERROR_INVALID, "bad-signet-blksig", "signet block signature validation failure");
    }
    return check_contents(block, error);
}

bool witness_commitment_output(const struct block *block, uint32_t *index)
{
    static const uint8_t begin[6] = {OP_RETURN, 0x24, 0xaa, 0x21, 0xa9, 0xed};
    bool found = false;
    for (uint32_t i = 0; block->tx_count > 0 && i < block->txs[0].output_count; i++) {
        struct span script = block->txs[0].outputs[i].script;
        if (script.len >= COMMITMENT_LEN && memcmp(script.data, begin, sizeof begin) == 0) {
            *index = i; /* the last one counts */
            found = true;
        }
    }
    return found;
}

const uint8_t *witness_commitment(const struct block *block)
{
    uint32_t index;
    return witness_commitment_output(block, &index)
               ? block->txs[0].outputs[index].script.data + COMMITMENT_LEN - 32
               : NULL;
}

static bool check_witness(const struct block *block, bool segwit, struct error *error)
{
    const uint8_t *commitment = segwit ? witness_commitment(block) : NULL;
    if (commitment) {
        const struct tx_input *in = &block->txs[0].inputs[0];
        if (in->witness_count != 1 || in->witness[0].len != 32) {
            return refuse(error, ERROR_MUTATED, "bad-witness-nonce-size",
                          "invalid witness reserved value size");
        }
        uint8_t pair[64], expected[32];
        struct hash256 root;
        merkle_root_of_txids(&root, block->txs, block->tx_count, true);
        memcpy(pair, root.b, 32);
        memcpy(pair + 32, in->witness[0].data, 32);
        sha256d(expected, pair, sizeof pair);
        if (memcmp(expected, commitment, 32) != 0) {
            return refuse(error, ERROR_MUTATED, "bad-witness-merkle-match",
                          "witness merkle commitment mismatch");
        }
        return true;
    }
    for (uint32_t i = 0; i < block->tx_count; i++) {
        if (block->txs[i].has_witness) {
            return refuse(error, ERROR_MUTATED, "unexpected-witness", "unexpected witness data found");
        }
    }
    return true;
}

bool block_commits(struct block *block, uint32_t height, const struct chain_params *params)
{
    struct error error = {0};
    block->committed = block->tx_count && check_merkle(block, &error) && tx_is_coinbase(&block->txs[0]) &&
                       check_witness(block, height >= params->segwit_height, &error);
    return block->committed;
}

bool block_check_context(const struct block *block, uint32_t height, int64_t prev_median_time,
                         const struct chain_params *params, struct error *error)
{
    int64_t cutoff =
        height >= params->csv_height ? prev_median_time : (int64_t)block->header.time; /* BIP113 */
    for (uint32_t i = 0; i < block->tx_count; i++) {
        if (!tx_is_final(&block->txs[i], height, cutoff)) {
            return refuse(error, ERROR_INVALID, "bad-txns-nonfinal", "non-final transaction");
        }
    }
    if (height >= params->bip34_height) {
        struct buf push = {0};
        script_push_height(&push, height);
        struct span script = block->txs[0].inputs[0].script;
        bool ok = script.len >= push.len && memcmp(script.data, push.data, push.len) == 0;
        buf_free(&push);
        if (!ok) {
            return refuse(error, ERROR_INVALID, "bad-cb-height", "block height mismatch in coinbase");
        }
    }
    if (!block->committed && !check_witness(block, height >= params->segwit_height, error)) {
        return false;
    }
    if (block->weight > BLOCK_WEIGHT_MAX) {
        return refuse(error, ERROR_INVALID, "bad-blk-weight", "weight limit failed");
    }
    return true;
}

struct amount block_subsidy(uint32_t height, const struct chain_params *params)
{
    uint32_t halvings = height / params->halving_blocks;
    return (struct amount){halvings >= 63 ? 0 : params->first_subsidy.sat >> halvings};
}

uint32_t block_script_flags(uint32_t height, const struct hash256 *hash, const struct chain_params *params)
{
    /* Two blocks of main were mined before a rule that otherwise holds for the whole history. */
    static const struct {
        const char *hash;
        uint32_t flags;
    } exceptions[] = {
        {"00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22", 0}, /* BIP16 */
        {"0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad",
         SCRIPT_P2SH | SCRIPT_WITNESS}, /* taproot */
    };
    uint32_t flags = SCRIPT_P2SH | SCRIPT_WITNESS | SCRIPT_TAPROOT;
    if (params->kind == CHAIN_MAIN) {
        char text[HASH256_TEXT];
        hash256_text(text, hash);
        for (size_t i = 0; i < ARRAY_COUNT(exceptions); i++) {
            flags = strcmp(text, exceptions[i].hash) == 0 ? exceptions[i].flags : flags;
        }
    }
    flags |= height >= params->bip66_height ? SCRIPT_DERSIG : 0;
    flags |= height >= params->bip65_height ? SCRIPT_CLTV : 0;
    flags |= height >= params->csv_height ? SCRIPT_CSV : 0;
    flags |= height >= params->segwit_height ? SCRIPT_NULLDUMMY : 0; /* BIP147 */
    return flags;
}
