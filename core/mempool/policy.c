/* What is relayed on public networks only: Bitcoin Core's standardness. Private networks (cluster, regtest)
 * skip it. */
#include "core/mempool/mempool_private.h"

#define STANDARD_WEIGHT_MAX  400000u
#define SCRIPT_SIG_BYTES_MAX 1650u
#define NULL_DATA_BYTES_MAX  83u
#define DUST_FEE_PER_KVB_SAT 3000

static bool refuse(struct error *error, const char *word)
{
    return error_set(error, ERROR_POLICY, word, "not standard: %s", word);
}

static bool is_push_only(struct span script)
{
    for (size_t at = 0; at < script.len; at += script_op_len(script, at)) {
        if (script.data[at] > 0x60) {
            return false;
        }
    }
    return true;
}

static bool is_dust(const struct tx_output *out, enum output_kind kind)
{
    bool witness = kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR ||
                   kind == OUTPUT_WITNESS_UNKNOWN;
    int64_t size =
        8 + (int64_t)compact_size_len(out->script.len) + (int64_t)out->script.len + (witness ? 67 : 148);
    return kind != OUTPUT_NULL_DATA && out->value.sat < size * DUST_FEE_PER_KVB_SAT / 1000;
}

bool policy_standard(const struct tx *tx, struct error *error)
{
    if (tx->version < 1 || tx->version > 2) {
        return refuse(error, "version");
    }
    if (tx_weight(tx) > STANDARD_WEIGHT_MAX) {
        return refuse(error, "tx-size");
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].script.len > SCRIPT_SIG_BYTES_MAX) {
            return refuse(error, "scriptsig-size");
        }
        if (!is_push_only(tx->inputs[i].script)) {
            return refuse(error, "scriptsig-not-pushonly");
        }
    }
    unsigned null_data = 0;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        const struct tx_output *out = &tx->outputs[i];
        enum output_kind kind = script_classify(out->script, NULL);
        if (kind == OUTPUT_OTHER || (kind == OUTPUT_NULL_DATA && out->script.len > NULL_DATA_BYTES_MAX)) {
            return refuse(error, "scriptpubkey");
        }
        null_data += kind == OUTPUT_NULL_DATA;
        if (is_dust(out, kind)) {
            return refuse(error, "dust");
        }
    }
    return null_data > 1 ? refuse(error, "multi-op-return") : true;
}
