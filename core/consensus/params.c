/* The chains: their parameters as data, their genesis blocks built and checked by hash. */
#include "core/consensus/script.h"

#include <stdio.h>

#include "hashing/kernels/kernels.h"

struct genesis {
    const char *message;
    const char *key_hex; /* pays to this public key, or nobody when NULL */
    uint32_t time, bits, nonce;
    int32_t version;
    const char *hash;
};

static const char satoshi_key[] =
    "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5"
    "c384df7ba0b8d578a4c702b6bf11d5f";
static const char times_headline[] = "The Times 03/Jan/2009 Chancellor on brink of second bailout for banks";

static const struct genesis main_genesis = {
    times_headline,
    satoshi_key,
    1231006505,
    0x1d00ffff,
    2083236893,
    1,
    "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"};
static const struct genesis regtest_genesis = {
    times_headline,
    satoshi_key,
    1296688602,
    0x207fffff,
    2,
    1,
    "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"};
static const struct genesis testnet4_genesis = {
    "03/May/2024 000000000000000000001ebd58c244970b3aa9d783bb001011fbe8ea8e98e00e",
    "000000000000000000000000000000000000000000000000000000000000000000",
    1714777860,
    0x1d00ffff,
    393743547,
    1,
    "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043"};

/* The one transaction of a genesis block: its script begins as Bitcoin's did, with nBits 0x1d00ffff and the
 * number 4. */
static void genesis_coinbase(struct buf *out, const struct genesis *g)
{
    struct buf script_in = {0}, script_out = {0};
    static const uint8_t begin[] = {0x04, 0xff, 0xff, 0x00, 0x1d, 0x01, 0x04};
    buf_bytes(&script_in, begin, sizeof begin);
    script_push(&script_in, g->message, strlen(g->message));
    if (g->key_hex) {
        struct buf key = {0};
        CHECK(hex_decode_buf(&key, g->key_hex, 65));
        script_push(&script_out, key.data, key.len);
        buf_u8(&script_out, OP_CHECKSIG);
        buf_free(&key);
    } else {
        buf_u8(&script_out, OP_RETURN);
    }
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script_in), .sequence = SEQUENCE_FINAL};
    struct tx_output output = {.value.sat = 50 * COIN_SAT, .script = buf_span(&script_out)};
    struct tx tx = {.version = 1, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    tx_write(out, &tx, false);
    buf_free(&script_in);
    buf_free(&script_out);
}

static bool build_genesis(struct chain_params *p, const struct genesis *g, struct error *error)
{
    struct buf coinbase = {0}, raw = {0};
    genesis_coinbase(&coinbase, g);
    p->genesis =
        (struct block_header){.version = g->version, .time = g->time, .bits = g->bits, .nonce = g->nonce};
    sha256d(p->genesis.merkle_root.b, coinbase.data, coinbase.len);
    header_encode(buf_extend(&raw, HEADER_BYTES), &p->genesis);
    buf_compact_size(&raw, 1);
    buf_bytes(&raw, coinbase.data, coinbase.len);
    buf_free(&coinbase);
    p->genesis_raw = raw.data;
    p->genesis_raw_len = raw.len;
    header_hash(&p->genesis_hash, &p->genesis);
    char text[HASH256_TEXT];
    if (g->hash && strcmp(hash256_text(text, &p->genesis_hash), g->hash) != 0) {
        return error_set(error, ERROR_INTERNAL, NULL, "genesis of %s hashes to %s, not to %s", p->name, text,
                         g->hash);
    }
    return true;
}

static const struct genesis signet_genesis = {
    times_headline,
    satoshi_key,
    1598918400,
    0x1e0377ae,
    52613770,
    1,
    "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"};

static void set_heights(struct chain_params *p, uint32_t bip34, uint32_t bip65, uint32_t bip66, uint32_t csv,
                        uint32_t segwit)
{
    p->bip34_height = bip34;
    p->bip65_height = bip65;
    p->bip66_height = bip66;
    p->csv_height = csv;
    p->segwit_height = segwit;
}

static void set_addresses(struct chain_params *p, const char *hrp, uint8_t p2pkh, uint8_t p2sh, uint8_t wif)
{
    p->bech32_hrp = hrp;
    p->p2pkh_prefix = p2pkh;
    p->p2sh_prefix = p2sh;
    p->wif_prefix = wif;
}

static bool init_main(struct chain_params *p, struct error *error)
{
    static const uint8_t magic[4] = {0xf9, 0xbe, 0xb4, 0xd9};
    memcpy(p->magic, magic, 4);
    p->p2p_port = 8333;
    p->rpc_port = 8332;
    p->retarget = RETARGET_2016;
    p->pow_limit = u256_shr(u256_not(u256_of(0)), 32);
    set_heights(p, 227931, 388381, 363725, 419328, 481824);
    CHECK(hash256_parse(&p->bip34_hash, "000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8"));
    set_addresses(p, "bc", 0, 5, 128);
    return build_genesis(p, &main_genesis, error);
}

static bool init_testnet4(struct chain_params *p, struct error *error)
{
    static const uint8_t magic[4] = {0x1c, 0x16, 0x3f, 0x28};
    memcpy(p->magic, magic, 4);
    p->p2p_port = 48333;
    p->rpc_port = 48332;
    p->retarget = RETARGET_TESTNET4;
    p->min_difficulty_blocks = true;
    p->pow_limit = u256_shr(u256_not(u256_of(0)), 32);
    set_heights(p, 1, 1, 1, 1, 1);
    set_addresses(p, "tb", 111, 196, 239);
    return build_genesis(p, &testnet4_genesis, error);
}

/* The public signet; --signet-challenge makes another one. */
static bool init_signet(struct chain_params *p, struct error *error)
{
    static const char challenge[] =
        "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430210359ef5021964fe22d6f8e05b2"
        "463c9540ce96883fe3b278760f048f5189f2e6c452ae";
    struct buf script = {0};
    CHECK(hex_decode_buf(&script, challenge, SCRIPT_BYTES_MAX));
    chain_params_set_challenge(p, buf_span(&script));
    buf_free(&script);
    p->p2p_port = 38333;
    p->rpc_port = 38332;
    p->retarget = RETARGET_2016;
    CHECK(pow_target(&p->pow_limit, signet_genesis.bits));
    set_heights(p, 1, 1, 1, 1, 1);
    set_addresses(p, "tb", 111, 196, 239);
    return build_genesis(p, &signet_genesis, error);
}

static bool init_regtest(struct chain_params *p, struct error *error)
{
    static const uint8_t magic[4] = {0xfa, 0xbf, 0xb5, 0xda};
    memcpy(p->magic, magic, 4);
    p->p2p_port = 18444;
    p->rpc_port = 18443;
    p->retarget = RETARGET_NONE;
    p->halving_blocks = 150;
    p->pow_limit = u256_shr(u256_not(u256_of(0)), 1);
    set_heights(p, 1, 1, 1, 1, 0);
    set_addresses(p, "bcrt", 111, 196, 239);
    return build_genesis(p, &regtest_genesis, error);
}

/*
 * Everything a person chose becomes bytes; their hash stands in the genesis block and gives the magic, so
 * that two networks that differ in anything never speak to each other. The genesis block itself needs no
 * proof of work: it is a parameter, not something that anyone found.
 */
static bool init_cluster(struct chain_params *p, const struct network_spec *spec, struct error *error)
{
    if (!network_spec_check(spec, error)) {
        return false;
    }
    p->network = *spec;
    struct buf canonical = {0};
    buf_printf(
        &canonical,
        "quarry network 1\nname=%s\nspacing=%u\nwindow=%u\nfirst=%08x\nmaturity=%u\nhalving=%u\nfuture=%u\n",
        spec->name, spec->spacing_s, spec->window, spec->first_bits, spec->maturity, spec->halving_blocks,
        spec->future_limit_s);
    uint8_t hash[32];
    sha256d(hash, canonical.data, canonical.len);
    buf_free(&canonical);
    memcpy(p->magic, hash, 4);
    p->magic[0] |= 0x80; /* never the beginning of ASCII text */
    p->p2p_port = 2001;
    p->rpc_port = 18443;
    p->retarget = RETARGET_CLUSTER;
    p->spacing_s = spec->spacing_s;
    p->maturity = spec->maturity;
    p->halving_blocks = spec->halving_blocks;
    p->future_limit_s = spec->future_limit_s;
    p->time_not_before_parent = true;
    CHECK(pow_target(&p->pow_limit, spec->first_bits));
    set_heights(p, 1, 1, 1, 1, 0);
    set_addresses(p, "bcrt", 111, 196, 239);
    char hex[HASH256_TEXT], message[128];
    hex_encode(hex, hash, 32);
    snprintf(message, sizeof message, "Quarry %s %.40s", spec->name, hex);
    const struct genesis genesis = {message, NULL, 1767225600, spec->first_bits, 0, 0x20000000, NULL};
    return build_genesis(p, &genesis, error);
}

static const char *const names[] = {[CHAIN_CLUSTER] = "cluster",
                                    [CHAIN_REGTEST] = "regtest",
                                    [CHAIN_SIGNET] = "signet",
                                    [CHAIN_TESTNET4] = "testnet4",
                                    [CHAIN_MAIN] = "main"};

bool chain_kind_parse(enum chain_kind *out, const char *text)
{
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum chain_kind)i;
            return true;
        }
    }
    return false;
}

bool chain_params_init(struct chain_params *p, enum chain_kind kind, const struct network_spec *spec,
                       struct error *error)
{
    *p = (struct chain_params){
        .kind = kind,
        .spacing_s = 600,
        .timespan_s = 14 * 24 * 3600,
        .maturity = 100,
        .halving_blocks = 210000,
        .first_subsidy.sat = 50 * COIN_SAT,
        .future_limit_s = 7200,
    };
    snprintf(p->name, sizeof p->name, "%s", names[kind]);
    snprintf(p->rpc_name, sizeof p->rpc_name, "%s", names[kind]);
    struct network_spec standard;
    bool ok = false;
    switch (kind) {
    case CHAIN_MAIN: ok = init_main(p, error); break;
    case CHAIN_TESTNET4: ok = init_testnet4(p, error); break;
    case CHAIN_REGTEST: ok = init_regtest(p, error); break;
    case CHAIN_SIGNET: ok = init_signet(p, error); break;
    case CHAIN_CLUSTER:
        network_spec_default(&standard, "quarry");
        ok = init_cluster(p, spec ? spec : &standard, error);
        break;
    }
    p->pow_limit_bits = pow_bits(p->pow_limit);
    if (!ok) {
        chain_params_free(p);
    }
    return ok;
}

void chain_params_set_challenge(struct chain_params *p, struct span challenge)
{
    struct buf serialised = {0};
    uint8_t hash[32];
    CHECK(p->kind == CHAIN_SIGNET);
    buf_var_span(&serialised, challenge);
    sha256d(hash, serialised.data, serialised.len);
    memcpy(p->magic, hash, sizeof p->magic);
    buf_free(&serialised);
    buf_clear(&p->signet_challenge);
    buf_bytes(&p->signet_challenge, challenge.data, challenge.len);
}

void chain_params_free(struct chain_params *p)
{
    mem_free(p->genesis_raw);
    p->genesis_raw = NULL;
    buf_free(&p->signet_challenge);
}
