/* What is standard, by table: sizes, versions, output forms, dust; what is spent and its witness. */
#include <criterion/criterion.h>

#include "tests/unit/mempool/rig.h"

TestSuite(policy, .init = rig_begin, .fini = rig_end);

static struct span hex_span(struct buf *out, const char *hex)
{
    buf_clear(out);
    cr_assert(hex_decode_buf(out, hex, 20000));
    return buf_span(out);
}

struct form { /* one input, one output */
    int32_t version;
    struct span script_sig, script;
    int64_t sat;
    unsigned outputs;
};

static const char *verdict(const struct form *form)
{
    static struct error error;
    struct tx_input in = {.script = form->script_sig};
    struct tx_output out[2] = {{{form->sat}, form->script}, {{form->sat}, form->script}};
    struct tx tx = {.version = form->version,
                    .input_count = 1,
                    .output_count = form->outputs,
                    .inputs = &in,
                    .outputs = out,
                    .stripped_bytes = 100};
    error = (struct error){0};
    tx.raw.len = 100;
    return policy_standard(&tx, &error) ? "" : error.word;
}

static const char *output_verdict(struct span script, int64_t sat)
{
    const struct form form = {.version = 2, .script = script, .sat = sat, .outputs = 1};
    return verdict(&form);
}

#define K33 "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

Test(policy, outputs)
{
    static const struct {
        const char *script;
        int64_t dust; /* the least that is not */
        const char *word;
    } rows[] = {
        {"76a914000000000000000000000000000000000000000088ac", 546, ""},
        {"a914000000000000000000000000000000000000000087", 540, ""},
        {"00140000000000000000000000000000000000000000", 294, ""},
        {"00200000000000000000000000000000000000000000000000000000000000000000", 330, ""},
        {"51200000000000000000000000000000000000000000000000000000000000000000", 330, ""},
        {"51024e73", 240, ""}, /* pay to anchor */
        {"60020000", 240, ""}, /* a witness version of the future */
        {"21" K33 "ac", 576, ""},
        {"5121" K33 "51ae", 582, ""},
        {"5221" K33 "21" K33 "21" K33 "53ae", 786, ""},
        {"5121" K33 "21" K33 "21" K33 "21" K33 "54ae", 0, "scriptpubkey"}, /* more than three keys */
        {"2105" K33 "ac", 0, "scriptpubkey"},
        {"21ff79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798ac", 0, "scriptpubkey"},
        {"51", 0, "scriptpubkey"},
        {"", 0, "scriptpubkey"},
        {"0015000000000000000000000000000000000000000000", 0,
         "scriptpubkey"}, /* version 0 of another length */
        {"6a", 0, ""},
        {"6a0400000000", 0, ""},
        {"6a05000000", 0, "scriptpubkey"}, /* a push that is cut off */
    };
    struct buf script = {0};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct span s = hex_span(&script, rows[i].script);
        cr_expect_str_eq(output_verdict(s, rows[i].dust), rows[i].word, "%s", rows[i].script);
        if (rows[i].dust) {
            cr_expect_str_eq(output_verdict(s, rows[i].dust - 1), "dust", "%s", rows[i].script);
        }
    }
    buf_clear(&script);
    buf_u8(&script, 0x6a);
    script_push(&script, (uint8_t[80]){0}, 80);
    cr_expect_str_eq(output_verdict(buf_span(&script), 0), "");
    const struct form two = {.version = 2, .script = buf_span(&script), .outputs = 2};
    cr_expect_str_eq(verdict(&two), "multi-op-return");
    buf_clear(&script);
    buf_u8(&script, 0x6a);
    script_push(&script, (uint8_t[81]){0}, 81);
    cr_expect_str_eq(output_verdict(buf_span(&script), 0), "scriptpubkey");
    buf_free(&script);
}

Test(policy, versions_and_script_sigs)
{
    static const uint8_t zeros[1651] = {0}, add[] = {0x51, 0x51, 0x93}, cut[] = {5, 1};
    struct form form = {.version = 2, .script = buf_span(&rig.payout), .sat = 1000, .outputs = 1};
    for (int32_t version = -1; version <= 4; version++) {
        form.version = version;
        cr_expect_str_eq(verdict(&form), version >= 1 && version <= 3 ? "" : "version", "%d", version);
    }
    form.version = 1;
    form.script_sig = span_of(zeros, 1650);
    cr_expect_str_eq(verdict(&form), "");
    form.script_sig = span_of(zeros, 1651);
    cr_expect_str_eq(verdict(&form), "scriptsig-size");
    form.script_sig = span_of(add, sizeof add);
    cr_expect_str_eq(verdict(&form), "scriptsig-not-pushonly");
    form.script_sig = span_of(cut, sizeof cut);
    cr_expect_str_eq(verdict(&form), "scriptsig-not-pushonly");
}

Test(policy, weight)
{
    struct error error = {0};
    struct tx_input in = {0};
    struct tx_output out = {{1000}, buf_span(&rig.payout)};
    struct tx tx = {.version = 2,
                    .input_count = 1,
                    .output_count = 1,
                    .inputs = &in,
                    .outputs = &out,
                    .stripped_bytes = 100000};
    tx.raw.len = 100000;
    cr_expect(policy_standard(&tx, &error));
    tx.raw.len = 100001; /* one byte of witness */
    cr_expect_not(policy_standard(&tx, &error));
    cr_expect_str_eq(error.word, "tx-size");
}

/* Twenty bytes for each signature operation, where that is more. */
Test(policy, virtual_size)
{
    struct tx tx = {.stripped_bytes = 100};
    tx.raw.len = 103;
    cr_expect_eq(policy_vsize(&tx, 0), 101); /* weight 403, rounded up */
    cr_expect_eq(policy_vsize(&tx, 20), 101);
    cr_expect_eq(policy_vsize(&tx, 80), 400);
    cr_expect_eq(policy_vsize(&tx, 81), 405);
}

static bool standard_spend(const char *spent_hex, const char *sig_hex, const struct span *witness,
                           uint32_t count, const char *word)
{
    struct error error = {0};
    struct buf spent = {0}, sig = {0};
    const struct coin coin = {.script = hex_span(&spent, spent_hex)};
    struct tx_input in = {.script = hex_span(&sig, sig_hex), .witness = witness, .witness_count = count};
    const struct tx tx = {.version = 2, .input_count = 1, .inputs = &in};
    bool ok = policy_standard_inputs(&tx, &coin, &error) && policy_standard_witness(&tx, &coin, &error);
    cr_expect(ok || strcmp(error.word, word) == 0, "%s instead of %s", error.word, word);
    buf_free(&spent);
    buf_free(&sig);
    return ok;
}

#define P2SH_ANY "a914000000000000000000000000000000000000000087"
#define P2WSH    "00200000000000000000000000000000000000000000000000000000000000000000"
#define P2TR     "51200000000000000000000000000000000000000000000000000000000000000000"

Test(policy, what_is_spent)
{
    static const char word[] = "bad-txns-nonstandard-inputs";
    cr_expect(standard_spend("76a914000000000000000000000000000000000000000088ac", "", NULL, 0, word));
    cr_expect_not(standard_spend("51", "", NULL, 0, word));
    cr_expect_not(standard_spend("60020000", "", NULL, 0, word));
    cr_expect(standard_spend("51024e73", "", NULL, 0, word));
    cr_expect(standard_spend(P2SH_ANY, "0151", NULL, 0, word));
    cr_expect_not(standard_spend(P2SH_ANY, "", NULL, 0, word));
    cr_expect(standard_spend(P2SH_ANY, "0facacacacacacacacacacacacacacac", NULL, 0, word), "15 operations");
    cr_expect_not(standard_spend(P2SH_ANY, "10acacacacacacacacacacacacacacacac", NULL, 0, word), "16");
    cr_expect_not(standard_spend(P2SH_ANY, "01ae", NULL, 0, word), "20 of a bare CHECKMULTISIG");
    cr_expect(standard_spend(P2SH_ANY, "025fae", NULL, 0, word), "15 keys as the script says");
}

Test(policy, witnesses)
{
    static const char word[] = "bad-witness-nonstandard";
    static const uint8_t bytes[3601] = {0}, annex[1] = {0x50}, leaf[33] = {0xc0}, later[33] = {0xc2};
    struct span items[102];
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        items[i] = span_of(bytes, 80);
    }
    cr_expect_not(standard_spend("76a914000000000000000000000000000000000000000088ac", "", items, 1, word));
    cr_expect_not(standard_spend("51024e73", "", items, 1, word));
    cr_expect(standard_spend("00140000000000000000000000000000000000000000", "", items, 2, word));
    cr_expect(standard_spend(P2WSH, "", items, 101, word));
    cr_expect_not(standard_spend(P2WSH, "", items, 102, word), "more than 100 items");
    items[1] = span_of(bytes, 3600);
    cr_expect(standard_spend(P2WSH, "", items, 2, word));
    items[1] = span_of(bytes, 3601);
    cr_expect_not(standard_spend(P2WSH, "", items, 2, word));
    items[1] = span_of(bytes, 10);
    items[0] = span_of(bytes, 81);
    cr_expect_not(standard_spend(P2WSH, "", items, 2, word));
    cr_expect_not(standard_spend(P2SH_ANY, "22" P2WSH, items, 2, word));
    cr_expect_not(standard_spend(P2SH_ANY, "0151", items, 1, word), "no program inside");
    cr_expect(standard_spend(P2TR, "", items, 1, word), "the key path");
    struct span path[3] = {items[0], span_of(bytes, 3601), span_of(leaf, sizeof leaf)};
    cr_expect_not(standard_spend(P2TR, "", path, 3, word), "81 bytes for a tapscript");
    path[2] = span_of(later, sizeof later);
    cr_expect(standard_spend(P2TR, "", path, 3, word), "a leaf version of the future");
    path[0] = span_of(bytes, 80);
    path[2] = span_of(leaf, sizeof leaf);
    cr_expect(standard_spend(P2TR, "", path, 3, word));
    path[2] = span_of(annex, 1);
    cr_expect_not(standard_spend(P2TR, "", path, 3, word), "an annex");
    path[2] = span_of(bytes, 0);
    cr_expect_not(standard_spend(P2TR, "", path, 3, word), "no control block");
}
