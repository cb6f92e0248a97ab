/* What is relayed on public networks only: Bitcoin Core's standardness. Private networks (cluster, regtest)
 * skip it. */
#include "core/mempool/mempool_private.h"

#define STANDARD_VERSION_MAX 3 /* with rules of its own: truc.c */
#define STANDARD_WEIGHT_MAX  400000u
#define SCRIPT_SIG_BYTES_MAX 1650u
#define NULL_DATA_BYTES_MAX  83u
#define DUST_FEE_PER_KVB_SAT 3000
#define SIGOP_BYTES          20u
#define P2SH_SIGOPS_MAX      15u
#define BARE_KEYS_MAX        3u
#define V0_SCRIPT_BYTES_MAX  3600u
#define V0_ITEMS_MAX         100u
#define WITNESS_ITEM_MAX     80u
#define ANNEX_TAG            0x50
#define LEAF_TAPSCRIPT       0xc0

static bool refuse(struct error *error, const char *word)
{
    return error_set(error, ERROR_POLICY, word, "not standard: %s", word);
}

static bool is_dust(const struct tx_output *out, enum output_kind kind)
{
    bool witness = kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR ||
                   kind == OUTPUT_WITNESS_UNKNOWN || kind == OUTPUT_ANCHOR;
    int64_t size =
        8 + (int64_t)compact_size_len(out->script.len) + (int64_t)out->script.len + (witness ? 67 : 148);
    return kind != OUTPUT_NULL_DATA && out->value.sat < size * DUST_FEE_PER_KVB_SAT / 1000;
}

/* n of a bare m-of-n. */
static unsigned bare_keys(struct span script)
{
    return script.data[script.len - 2] - 0x50u;
}

uint32_t policy_vsize(const struct tx *tx, uint32_t sigop_cost)
{
    return (MAX(tx_weight(tx), sigop_cost * SIGOP_BYTES) + WITNESS_SCALE - 1) / WITNESS_SCALE;
}

bool policy_standard(const struct tx *tx, struct error *error)
{
    if (tx->version < 1 || tx->version > STANDARD_VERSION_MAX) {
        return refuse(error, "version");
    }
    if (tx_weight(tx) > STANDARD_WEIGHT_MAX) {
        return refuse(error, "tx-size");
    }
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (tx->inputs[i].script.len > SCRIPT_SIG_BYTES_MAX) {
            return refuse(error, "scriptsig-size");
        }
        struct span last;
        if (!script_redeem(&last, tx->inputs[i].script)) {
            return refuse(error, "scriptsig-not-pushonly");
        }
    }
    unsigned null_data = 0;
    for (uint32_t i = 0; i < tx->output_count; i++) {
        const struct tx_output *out = &tx->outputs[i];
        enum output_kind kind = script_classify(out->script, NULL);
        bool many_keys = kind == OUTPUT_MULTISIG && bare_keys(out->script) > BARE_KEYS_MAX;
        if (kind == OUTPUT_OTHER || many_keys ||
            (kind == OUTPUT_NULL_DATA && out->script.len > NULL_DATA_BYTES_MAX)) {
            return refuse(error, "scriptpubkey");
        }
        null_data += kind == OUTPUT_NULL_DATA;
        if (is_dust(out, kind)) {
            return refuse(error, "dust");
        }
    }
    return null_data > 1 ? refuse(error, "multi-op-return") : true;
}

/* ---- What is spent, and how ---------------------------------------------------------------------------- */

bool policy_standard_inputs(const struct tx *tx, const struct coin *spent, struct error *error)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        enum output_kind kind = script_classify(spent[i].script, NULL);
        struct span redeem;
        bool standard = kind != OUTPUT_OTHER && kind != OUTPUT_WITNESS_UNKNOWN;
        if (kind == OUTPUT_P2SH) {
            standard = script_redeem(&redeem, tx->inputs[i].script) && tx->inputs[i].script.len &&
                       script_sigops(redeem, true) <= P2SH_SIGOPS_MAX;
        }
        if (!standard) {
            return refuse(error, "bad-txns-nonstandard-inputs");
        }
    }
    return true;
}

static bool are_small(const struct span *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].len > WITNESS_ITEM_MAX) {
            return false;
        }
    }
    return true;
}

static bool is_standard_v0(const struct tx_input *in)
{
    uint32_t count = in->witness_count - 1; /* without the script */
    return in->witness[count].len <= V0_SCRIPT_BYTES_MAX && count <= V0_ITEMS_MAX &&
           are_small(in->witness, count);
}

static bool is_standard_taproot(const struct tx_input *in)
{
    uint32_t count = in->witness_count;
    struct span last = in->witness[count - 1];
    if (count == 1) {
        return true; /* key path */
    }
    if (last.len == 0 || last.data[0] == ANNEX_TAG) {
        return false; /* no control block; or an annex, which has no meaning yet */
    }
    return (last.data[0] & 0xfe) != LEAF_TAPSCRIPT || are_small(in->witness, count - 2);
}

bool policy_standard_witness(const struct tx *tx, const struct coin *spent, struct error *error)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct tx_input *in = &tx->inputs[i];
        struct span script = spent[i].script;
        enum output_kind kind = script_classify(script, NULL);
        bool inside_p2sh = kind == OUTPUT_P2SH;
        if (in->witness_count == 0) {
            continue;
        }
        if (inside_p2sh && script_redeem(&script, in->script)) {
            kind = script_classify(script, NULL);
        }
        bool ok = kind == OUTPUT_P2WPKH || kind == OUTPUT_WITNESS_UNKNOWN ||
                  (kind == OUTPUT_P2WSH && is_standard_v0(in)) ||
                  (kind == OUTPUT_P2TR && (inside_p2sh || is_standard_taproot(in)));
        if (!ok) {
            return refuse(error, "bad-witness-nonstandard");
        }
    }
    return true;
}
