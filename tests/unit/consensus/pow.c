/* Targets, work and the retarget rules as pure functions; the genesis block of every chain. */
#include <criterion/criterion.h>

#include "core/consensus/consensus.h"

static struct chain_params params_of(enum chain_kind kind)
{
    struct chain_params params;
    struct error error = {0};
    cr_assert(chain_params_init(&params, kind, NULL, &error), "%s", error.text);
    return params;
}

Test(pow, genesis_hashes)
{
    static const struct {
        enum chain_kind kind;
        const char *hash;
        uint8_t magic[4];
    } chains[] = {
        {CHAIN_MAIN,
         "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
         {0xf9, 0xbe, 0xb4, 0xd9}},
        {CHAIN_TESTNET4,
         "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
         {0x1c, 0x16, 0x3f, 0x28}},
        {CHAIN_SIGNET,
         "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
         {0x0a, 0x03, 0xcf, 0x40}},
        {CHAIN_REGTEST,
         "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
         {0xfa, 0xbf, 0xb5, 0xda}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(chains); i++) {
        struct chain_params params = params_of(chains[i].kind);
        char text[HASH256_TEXT];
        struct error error = {0};
        cr_assert_str_eq(hash256_text(text, &params.genesis_hash), chains[i].hash);
        cr_assert_arr_eq(params.magic, chains[i].magic, 4);
        struct block *block =
            block_parse(mem_dup(params.genesis_raw, params.genesis_raw_len), params.genesis_raw_len, &error);
        cr_assert(block, "%s", error.text);
        cr_assert(block_check(block, &params, &error), "%s", error.word);
        block_unref(block);
        chain_params_free(&params);
    }
}

Test(pow, a_cluster_is_its_parameters)
{
    struct network_spec spec;
    struct chain_params one, same, other;
    struct error error = {0};
    network_spec_default(&spec, "quarry");
    cr_assert(chain_params_init(&one, CHAIN_CLUSTER, NULL, &error));
    cr_assert(chain_params_init(&same, CHAIN_CLUSTER, &spec, &error));
    spec.maturity++;
    cr_assert(chain_params_init(&other, CHAIN_CLUSTER, &spec, &error));
    cr_assert(hash256_equal(&one.genesis_hash, &same.genesis_hash));
    cr_assert(!hash256_equal(&one.genesis_hash, &other.genesis_hash));
    cr_assert_arr_neq(one.magic, other.magic, 4);
    chain_params_free(&one);
    chain_params_free(&same);
    chain_params_free(&other);
}

/* The edge cases of Bitcoin's arith_uint256 SetCompact: false is zero, negative or overflow. */
Test(pow, compact_bits)
{
    static const struct {
        uint32_t bits;
        bool valid;
        uint32_t again; /* what the target is written as */
    } cases[] = {
        {0, false, 0},
        {0x00123456, false, 0},
        {0x01003456, false, 0},
        {0x02000056, false, 0},
        {0x03000000, false, 0},
        {0x04000000, false, 0},
        {0x00923456, false, 0},
        {0x01803456, false, 0},
        {0x02800056, false, 0},
        {0x03800000, false, 0},
        {0x01123456, true, 0x01120000},
        {0x02123456, true, 0x02123400},
        {0x03123456, true, 0x03123456},
        {0x04123456, true, 0x04123456},
        {0x04923456, false, 0}, /* negative */
        {0x01fedcba, false, 0}, /* negative */
        {0x05009234, true, 0x05009234},
        {0x20123456, true, 0x20123456},
        {0x207fffff, true, 0x207fffff},
        {0x21000001, true, 0x1f010000},
        {0x2100ffff, true, 0x2100ffff},
        {0x21010000, false, 0},
        {0x220000ff, true, 0x2100ff00},
        {0x22000100, false, 0},
        {0x23000001, false, 0},
        {0xff123456, false, 0}, /* overflow */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct u256 target;
        cr_expect_eq(pow_target(&target, cases[i].bits), cases[i].valid, "%08x", cases[i].bits);
        if (cases[i].valid) {
            cr_expect_eq(pow_bits(target), cases[i].again, "%08x: %08x", cases[i].bits, pow_bits(target));
        }
    }
    cr_expect_eq(pow_bits(u256_of(0x80)), 0x02008000u); /* the mantissa is signed */
    cr_expect_eq(pow_bits(u256_of(0)), 0u);
    cr_expect(u256_compare(pow_work(0x1d00ffff), u256_of(0x100010001)) == 0);
    cr_expect(u256_compare(pow_work(0x207fffff), u256_of(2)) == 0);
    cr_expect(u256_is_zero(pow_work(0)));
    cr_expect_eq(pow_difficulty(0x1d00ffff), 1.0);
}

/* Heights 30240, 32256, 68544 and 46368 of main, the vectors of every implementation. */
Test(pow, retarget_main)
{
    static const struct {
        int64_t first, last;
        uint32_t bits, expected;
    } cases[] = {
        {1261130161, 1262152739, 0x1d00ffff, 0x1d00d86a},
        {1231006505, 1233061996, 0x1d00ffff, 0x1d00ffff}, /* the limit holds */
        {1279008237, 1279297671, 0x1c05a3f4, 0x1c0168fd}, /* at most four times harder */
        {1263163443, 1269211443, 0x1c387f6f, 0x1d00e1fd}, /* at most four times easier */
    };
    struct chain_params params = params_of(CHAIN_MAIN);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cr_expect_eq(pow_retarget_2016(&params, cases[i].bits, cases[i].first, cases[i].last),
                     cases[i].expected, "case %zu", i);
    }
    chain_params_free(&params);
}

/* BIP94: the base is the period's first block, so that a last block at the minimum does not reset it. */
Test(pow, retarget_testnet4)
{
    struct chain_params params = params_of(CHAIN_TESTNET4);
    int64_t start = 1714777860, on_time = start + params.timespan_s;
    cr_expect_eq(params.retarget, RETARGET_TESTNET4);
    cr_expect(params.min_difficulty_blocks);
    cr_expect_eq(pow_retarget_2016(&params, 0x1c05a3f4, start, on_time), 0x1c05a3f4u);
    cr_expect_eq(pow_retarget_2016(&params, 0x1d00ffff, start, start), 0x1c3fffc0u);
    cr_expect_eq(pow_retarget_2016(&params, 0x1d00ffff, on_time, start),
                 0x1c3fffc0u); /* time ran backwards */
    cr_expect_eq(pow_retarget_2016(&params, 0x1d00ffff, start, start + 100 * params.timespan_s), 0x1d00ffffu);
    chain_params_free(&params);
}

Test(pow, retarget_cluster)
{
    struct chain_params params = params_of(CHAIN_CLUSTER);
    static const struct {
        int64_t spacing;
        uint64_t times, of; /* of the parent's target */
    } cases[] = {
        {10, 1, 1}, {0, 290, 300}, {-5, 290, 300}, {1, 291, 300}, {20, 310, 300}, {310, 2, 1}, {100000, 2, 1},
    };
    uint32_t bits = 0x1d008000;
    struct u256 parent;
    cr_assert(pow_target(&parent, bits));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct u256 expected = u256_mul_div(parent, cases[i].times, cases[i].of);
        cr_expect_eq(pow_retarget_cluster(&params, bits, cases[i].spacing), pow_bits(expected), "case %zu",
                     i);
    }
    /* Never easier than the first target; from there the next is exact too. */
    cr_expect_eq(pow_retarget_cluster(&params, params.pow_limit_bits, 1000), params.pow_limit_bits);
    cr_expect_eq(pow_retarget_cluster(&params, 0x1e008000, 0), 0x1d7bbbbbu);
    cr_expect_eq(pow_retarget_cluster(&params, 0x01010000, 0), 0x01010000u); /* a target is never zero */
    chain_params_free(&params);
}

Test(pow, subsidies_end)
{
    struct chain_params params = params_of(CHAIN_MAIN);
    cr_expect_eq(block_subsidy(0, &params).sat, 50 * COIN_SAT);
    cr_expect_eq(block_subsidy(209999, &params).sat, 50 * COIN_SAT);
    cr_expect_eq(block_subsidy(210000, &params).sat, 25 * COIN_SAT);
    cr_expect_eq(block_subsidy(UINT32_MAX, &params).sat, 0);
    int64_t sum = 0;
    for (uint32_t era = 0; era < 64; era++) {
        sum += block_subsidy(era * 210000, &params).sat * 210000;
    }
    cr_expect_eq(sum, INT64_C(2099999997690000));
    chain_params_free(&params);
}

Test(amounts, are_checked)
{
    struct amount out = {7};
    cr_expect(amount_add(&out, (struct amount){MAX_MONEY - 1}, (struct amount){1}));
    cr_expect_eq(out.sat, MAX_MONEY);
    cr_expect(!amount_add(&out, (struct amount){MAX_MONEY}, (struct amount){1}));
    cr_expect(!amount_add(&out, (struct amount){-1}, (struct amount){1}));
    cr_expect(!amount_add(&out, (struct amount){INT64_MAX}, (struct amount){INT64_MAX}));
    cr_expect(!amount_sub(&out, (struct amount){1}, (struct amount){2}));
    cr_expect_eq(out.sat, MAX_MONEY);
}
