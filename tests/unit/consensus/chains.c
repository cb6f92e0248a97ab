/* What the chains differ in: heights at which rules begin, flags by block, and signet's signatures (BIP325).
 */
#include <criterion/criterion.h>

#include "core/consensus/script.h"
#include "core/wallet/wallet.h"
#include "hashing/kernels/kernels.h"

#define SIGHASH_ALL 1

static struct chain_params params_of(const char *name)
{
    struct chain_params params;
    enum chain_kind kind;
    cr_assert(chain_kind_parse(&kind, name));
    cr_assert(chain_params_init(&params, kind, NULL, NULL));
    return params;
}

/* As Bitcoin Core 28 has them: BIP34, BIP66, BIP65, CSV (BIP68, BIP112, BIP113), segwit (BIP141, 143, 147).
 */
Test(chains, buried_heights)
{
    static const struct {
        const char *chain;
        uint32_t bip34, bip66, bip65, csv, segwit;
    } rows[] = {
        {"main", 227931, 363725, 388381, 419328, 481824},
        {"testnet4", 1, 1, 1, 1, 1},
        {"signet", 1, 1, 1, 1, 1},
        {"regtest", 1, 1, 1, 1, 0},
        {"cluster", 1, 1, 1, 1, 0},
    };
    cr_assert_eq(ARRAY_COUNT(rows), CHAIN_MAIN + 1, "a row for every chain");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct chain_params p = params_of(rows[i].chain);
        cr_expect_eq(p.bip34_height, rows[i].bip34, "%s", rows[i].chain);
        cr_expect_eq(p.bip66_height, rows[i].bip66, "%s", rows[i].chain);
        cr_expect_eq(p.bip65_height, rows[i].bip65, "%s", rows[i].chain);
        cr_expect_eq(p.csv_height, rows[i].csv, "%s", rows[i].chain);
        cr_expect_eq(p.segwit_height, rows[i].segwit, "%s", rows[i].chain);
        chain_params_free(&p);
    }
}

Test(chains, flags_of_every_height_and_block)
{
    enum { ALWAYS = SCRIPT_P2SH | SCRIPT_WITNESS | SCRIPT_TAPROOT };
    static const char any[] = "00000000000000000000000000000000000000000000000000000000000000ff";
    static const char bip16[] = "00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22";
    static const char taproot[] = "0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad";
    static const struct {
        const char *chain;
        uint32_t height;
        const char *hash;
        uint32_t flags;
    } rows[] = {
        {"main", 0, any, ALWAYS},
        {"main", 170060, any, ALWAYS},
        {"main", 170060, bip16, 0},
        {"main", 363724, any, ALWAYS},
        {"main", 363725, any, ALWAYS | SCRIPT_DERSIG},
        {"main", 388380, any, ALWAYS | SCRIPT_DERSIG},
        {"main", 388381, any, ALWAYS | SCRIPT_DERSIG | SCRIPT_CLTV},
        {"main", 419327, any, ALWAYS | SCRIPT_DERSIG | SCRIPT_CLTV},
        {"main", 419328, any, ALWAYS | SCRIPT_DERSIG | SCRIPT_CLTV | SCRIPT_CSV},
        {"main", 481823, any, ALWAYS | SCRIPT_DERSIG | SCRIPT_CLTV | SCRIPT_CSV},
        {"main", 481824, any, SCRIPT_MANDATORY_FLAGS},
        {"main", 692261, any, SCRIPT_MANDATORY_FLAGS},
        {"main", 692261, taproot, SCRIPT_MANDATORY_FLAGS & ~(uint32_t)SCRIPT_TAPROOT},
        {"main", 709632, any, SCRIPT_MANDATORY_FLAGS},
        {"testnet4", 1, taproot, SCRIPT_MANDATORY_FLAGS}, /* the exceptions are main's alone */
        {"signet", 1, bip16, SCRIPT_MANDATORY_FLAGS},
        {"regtest", 1, any, SCRIPT_MANDATORY_FLAGS},
        {"cluster", 1, any, SCRIPT_MANDATORY_FLAGS},
        {"signet", 0, any, ALWAYS},
        {"regtest", 0, any, ALWAYS | SCRIPT_NULLDUMMY},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct chain_params p = params_of(rows[i].chain);
        struct hash256 hash;
        cr_assert(hash256_parse(&hash, rows[i].hash));
        cr_expect_eq(block_script_flags(rows[i].height, &hash, &p), rows[i].flags, "%s %u", rows[i].chain,
                     rows[i].height);
        chain_params_free(&p);
    }
}

/* ---- Signet ------------------------------------------------------------------------------------------ */

static struct key test_key(void)
{
    static const uint8_t secret[32] = {[31] = 9}, seed[32] = {1};
    struct key key;
    wallet_init(seed);
    cr_assert(key_from_secret(&key, secret));
    return key;
}

static const uint8_t signet_tag[4] = {0xec, 0xc7, 0xda, 0xa2};

/* Block 1 on genesis with two transactions, whose commitment output ends with the given push. */
static void put_block(struct buf *out, const struct chain_params *params, struct span push, uint32_t time)
{
    static const uint8_t begin[] = {OP_RETURN, 0x24, 0xaa, 0x21, 0xa9, 0xed}, height[] = {OP_1, OP_0};
    static const uint8_t anyone = OP_1, reserved[32] = {0};
    struct buf commitment = {0}, body = {0};
    struct span nonce = span_of(reserved, 32);
    struct tx_input in = {.prevout.index = UINT32_MAX,
                          .script = span_of(height, sizeof height),
                          .sequence = SEQUENCE_FINAL,
                          .witness = &nonce,
                          .witness_count = 1};
    struct tx_output outputs[2] = {{{50 * COIN_SAT}, span_of(&anyone, 1)}};
    struct tx coinbase = {.version = 2,
                          .input_count = 1,
                          .inputs = &in,
                          .output_count = 2,
                          .outputs = outputs,
                          .has_witness = true};
    struct tx_input spend_in = {.prevout = {{{7}}, 0}, .sequence = SEQUENCE_FINAL};
    struct tx spend = {
        .version = 2, .input_count = 1, .inputs = &spend_in, .output_count = 1, .outputs = outputs};
    struct buf spend_raw = {0}, plain = {0};
    tx_write(&spend_raw, &spend, false);
    uint8_t leaves[64] = {0}, pair[64] = {0};
    sha256d(leaves + 32, spend_raw.data, spend_raw.len);
    sha256d(pair, leaves, 64);
    buf_bytes(&commitment, begin, sizeof begin);
    sha256d(buf_extend(&commitment, 32), pair, 64);
    script_push(&commitment, push.data, push.len);
    outputs[1].script = buf_span(&commitment);
    tx_write(&body, &coinbase, true);
    tx_write(&plain, &coinbase, false);
    sha256d(leaves, plain.data, plain.len);
    struct block_header header = {
        .version = 0x20000000, .prev_hash = params->genesis_hash, .time = time, .bits = 0x207fffff};
    sha256d(header.merkle_root.b, leaves, 64);
    struct hash256 hash;
    for (header_hash(&hash, &header); !pow_check(&hash, header.bits, params);) {
        header.nonce++;
        header_hash(&hash, &header);
    }
    header_encode(buf_extend(out, HEADER_BYTES), &header);
    buf_u8(out, 2);
    buf_bytes(out, body.data, body.len);
    buf_bytes(out, spend_raw.data, spend_raw.len);
    buf_free(&commitment);
    buf_free(&body);
    buf_free(&plain);
    buf_free(&spend_raw);
}

/* BIP325's two transactions, here once more: the solution of a challenge that belongs to one key. */
static void put_solution(struct buf *push, const struct block_header *header, struct span challenge,
                         const struct key *key)
{
    static const uint8_t op_return = OP_RETURN;
    struct buf data = {0}, script = {0}, raw = {0};
    buf_i32(&data, header->version);
    buf_bytes(&data, header->prev_hash.b, 32);
    buf_bytes(&data, header->merkle_root.b, 32);
    buf_u32(&data, header->time);
    buf_u8(&script, OP_0);
    script_push(&script, data.data, data.len);
    struct tx_input in = {.prevout.index = UINT32_MAX, .script = buf_span(&script)};
    struct tx_output out = {.script = challenge};
    struct tx to_spend = {.input_count = 1, .inputs = &in, .output_count = 1, .outputs = &out};
    tx_write(&raw, &to_spend, false);
    struct tx_input spending = {.prevout.index = 0};
    sha256d(spending.prevout.txid.b, raw.data, raw.len);
    struct tx_output nothing = {.script = span_of(&op_return, 1)};
    struct tx to_sign = {.input_count = 1, .inputs = &spending, .output_count = 1, .outputs = &nothing};
    const struct coin coin = {.script = challenge};
    struct psbt *psbt = psbt_new(&to_sign);
    struct tx *done = psbt_sign_all(psbt, &to_sign, &coin, key, 1, SIGHASH_ALL);
    cr_assert(done);
    buf_bytes(push, signet_tag, sizeof signet_tag);
    buf_var_span(push, done->inputs[0].script);
    buf_compact_size(push, done->inputs[0].witness_count);
    for (uint32_t i = 0; i < done->inputs[0].witness_count; i++) {
        buf_var_span(push, done->inputs[0].witness[i]);
    }
    tx_unref(done);
    psbt_free(psbt);
    buf_free(&data);
    buf_free(&script);
    buf_free(&raw);
}

static const char *verdict(const struct chain_params *params, struct span raw)
{
    static struct error error;
    error = (struct error){0};
    struct block *block = block_parse(mem_dup(raw.data, raw.len), raw.len, &error);
    cr_assert(block, "%s", error.text);
    bool ok = block_check(block, params, &error) && block_check_context(block, 1, 0, params, &error);
    block_unref(block);
    return ok ? "" : error.word;
}

static void sign_and_alter(struct chain_params *params, struct span challenge, const struct key *key)
{
    enum { TIME = 1700000000 };
    struct buf unsigned_block = {0}, push = {0}, signed_block = {0}, later = {0};
    chain_params_set_challenge(params, challenge);
    put_block(&unsigned_block, params, span_of(signet_tag, 4), TIME);
    cr_expect_str_eq(verdict(params, buf_span(&unsigned_block)), "bad-signet-blksig");
    struct block_header header;
    struct cursor c = cursor_of(unsigned_block.data, HEADER_BYTES);
    header_read(&header, &c);
    put_solution(&push, &header, challenge, key);
    put_block(&signed_block, params, buf_span(&push), TIME);
    cr_expect_str_eq(verdict(params, buf_span(&signed_block)), "");
    put_block(&later, params, buf_span(&push), TIME + 1);
    cr_expect_str_eq(verdict(params, buf_span(&later)), "bad-signet-blksig", "another time");
    signed_block.data[signed_block.len - 1] ^=
        1; /* the same header with another lock time: no verdict on it */
    cr_expect_str_eq(verdict(params, buf_span(&signed_block)), "bad-txnmrklroot");
    for (size_t at = 4; at < push.len; at += 5) {
        struct buf altered = {0};
        push.data[at] ^= 4;
        put_block(&altered, params, buf_span(&push), TIME);
        cr_expect_str_eq(verdict(params, buf_span(&altered)), "bad-signet-blksig", "byte %zu of the solution",
                         at);
        push.data[at] ^= 4;
        buf_free(&altered);
    }
    buf_free(&unsigned_block);
    buf_free(&push);
    buf_free(&signed_block);
    buf_free(&later);
}

Test(signet, a_block_is_signed_for_its_challenge)
{
    struct chain_params params = params_of("signet");
    const struct key key = test_key();
    struct buf p2pk = {0}, p2wpkh = {0};
    params.pow_limit = u256_shr(u256_not(u256_of(0)), 1); /* regtest's: two tries for a block */
    script_push(&p2pk, key.public_key, 33);
    buf_u8(&p2pk, OP_CHECKSIG);
    key_script(&p2wpkh, &key);
    sign_and_alter(&params, buf_span(&p2pk), &key);   /* solved by the scriptSig */
    sign_and_alter(&params, buf_span(&p2wpkh), &key); /* by the witness */
    buf_free(&p2pk);
    buf_free(&p2wpkh);
    chain_params_free(&params);
}

/* The public signet's challenge wants one of two keys, which nobody here has. */
Test(signet, the_public_challenge_refuses_a_strangers_signature)
{
    static const uint8_t magic[4] = {0x0a, 0x03, 0xcf, 0x40};
    struct chain_params params = params_of("signet");
    const struct key key = test_key();
    struct buf push = {0}, block = {0}, stranger = {0};
    cr_expect_arr_eq(params.magic, magic, 4);
    cr_expect_eq(params.signet_challenge.len, 71);
    struct span payload;
    cr_expect_eq(script_classify(buf_span(&params.signet_challenge), &payload), OUTPUT_MULTISIG);
    params.pow_limit = u256_shr(u256_not(u256_of(0)), 1);
    script_push(&stranger, key.public_key, 33);
    buf_u8(&stranger, OP_CHECKSIG);
    struct block_header header = {
        .version = 0x20000000, .prev_hash = params.genesis_hash, .time = 1700000000};
    put_solution(&push, &header, buf_span(&stranger), &key);
    put_block(&block, &params, buf_span(&push), header.time);
    cr_expect_str_eq(verdict(&params, buf_span(&block)), "bad-signet-blksig");
    buf_free(&push);
    buf_free(&block);
    buf_free(&stranger);
    chain_params_free(&params);
}
