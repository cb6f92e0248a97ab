/* What a signature signs: legacy, BIP143 for witness version 0, BIP341 for taproot; and BIP341's tagged
 * hashes. Works on the fields, never on a copy of the transaction; the parts that all inputs share are hashed
 * once (sighash_prepare). */
#include "core/consensus/script.h"

#include "hashing/kernels/kernels.h"

#define SIGHASH_NONE         2u
#define SIGHASH_SINGLE       3u
#define SIGHASH_ANYONECANPAY 0x80u

/* A hash that takes fields as they are serialised. */
static void put(struct sha256_ctx *ctx, const void *data, size_t len)
{
    if (len) { /* an empty span may have no address */
        sha256_update(ctx, data, len);
    }
}

static void put_u32(struct sha256_ctx *ctx, uint32_t v)
{
    put(ctx, &v, 4);
}

static void put_compact_size(struct sha256_ctx *ctx, uint64_t v)
{
    uint8_t bytes[9];
    size_t len = compact_size_len(v);
    bytes[0] = len == 1 ? (uint8_t)v : len == 3 ? 0xfd : len == 5 ? 0xfe : 0xff;
    memcpy(bytes + 1, &v, len - 1);
    put(ctx, bytes, len);
}

static void put_output(struct sha256_ctx *ctx, const struct tx_output *out)
{
    put(ctx, &out->value.sat, 8);
    put_compact_size(ctx, out->script.len);
    put(ctx, out->script.data, out->script.len);
}

static void finish_double(struct sha256_ctx *ctx, struct hash256 *out)
{
    uint8_t first[32];
    sha256_final(ctx, first);
    sha256(out->b, first, 32);
}

static void hash_prevouts(struct hash256 *out, const struct tx *tx)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        put(&ctx, &tx->inputs[i].prevout, sizeof tx->inputs[i].prevout);
    }
    sha256_final(&ctx, out->b);
}

static void hash_sequences(struct hash256 *out, const struct tx *tx)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        put_u32(&ctx, tx->inputs[i].sequence);
    }
    sha256_final(&ctx, out->b);
}

static void hash_outputs(struct hash256 *out, const struct tx_output *outputs, uint32_t count)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    for (uint32_t i = 0; i < count; i++) {
        put_output(&ctx, &outputs[i]);
    }
    sha256_final(&ctx, out->b);
}

static bool spends_taproot(const struct tx *tx, const struct coin *spent)
{
    for (uint32_t i = 0; i < tx->input_count; i++) {
        if (script_classify(spent[i].script, NULL) == OUTPUT_P2TR) {
            return true;
        }
    }
    return false;
}

static void hash_spent(struct sighash_cache *cache, const struct tx *tx, const struct coin *spent)
{
    struct sha256_ctx amounts, scripts;
    sha256_init(&amounts);
    sha256_init(&scripts);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        put(&amounts, &spent[i].value.sat, 8);
        put_compact_size(&scripts, spent[i].script.len);
        put(&scripts, spent[i].script.data, spent[i].script.len);
    }
    sha256_final(&amounts, cache->amounts.b);
    sha256_final(&scripts, cache->scripts.b);
    cache->taproot = true;
}

void sighash_prepare(struct sighash_cache *cache, const struct tx *tx, const struct coin *spent)
{
    hash_prevouts(&cache->prevouts, tx);
    hash_sequences(&cache->sequences, tx);
    hash_outputs(&cache->outputs, tx->outputs, tx->output_count);
    sha256(cache->prevouts_double.b, cache->prevouts.b, 32);
    sha256(cache->sequences_double.b, cache->sequences.b, 32);
    sha256(cache->outputs_double.b, cache->outputs.b, 32);
    if (spent && spends_taproot(tx, spent)) {
        hash_spent(cache, tx, spent);
    }
    cache->ready = true;
}

void sighash_v0(struct hash256 *out, const struct tx *tx, uint32_t index, struct span script_code,
                struct amount value, uint32_t hash_type, const struct sighash_cache *cache)
{
    static const struct hash256 zero;
    struct sighash_cache local = {0};
    if (!cache || !cache->ready) {
        sighash_prepare(&local, tx, NULL);
        cache = &local;
    }
    uint32_t base = hash_type & 0x1f;
    bool anyone = hash_type & SIGHASH_ANYONECANPAY, all = base != SIGHASH_NONE && base != SIGHASH_SINGLE;
    struct hash256 one_output;
    const struct hash256 *outputs = all ? &cache->outputs_double : &zero;
    if (base == SIGHASH_SINGLE && index < tx->output_count) {
        hash_outputs(&one_output, &tx->outputs[index], 1);
        sha256(one_output.b, one_output.b, 32);
        outputs = &one_output;
    }
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    put_u32(&ctx, (uint32_t)tx->version);
    put(&ctx, anyone ? zero.b : cache->prevouts_double.b, 32);
    put(&ctx, anyone || !all ? zero.b : cache->sequences_double.b, 32);
    put(&ctx, &tx->inputs[index].prevout, sizeof tx->inputs[index].prevout);
    put_compact_size(&ctx, script_code.len);
    put(&ctx, script_code.data, script_code.len);
    put(&ctx, &value.sat, 8);
    put_u32(&ctx, tx->inputs[index].sequence);
    put(&ctx, outputs->b, 32);
    put_u32(&ctx, tx->locktime);
    put_u32(&ctx, hash_type);
    finish_double(&ctx, out);
}

/* The script code without its OP_CODESEPARATORs, which the original rule leaves out. */
static void put_script_code(struct sha256_ctx *ctx, struct span script)
{
    size_t kept = script.len, at = 0;
    for (int pass = 0; pass < 2; pass++) { /* first count, since the length stands in front */
        if (pass == 1) {
            put_compact_size(ctx, kept);
        }
        for (at = 0; at < script.len;) {
            size_t next = at + script_op_len(script, at);
            bool separator = script.data[at] == OP_CODESEPARATOR;
            if (pass == 0) {
                kept -= separator;
            } else if (!separator) {
                put(ctx, script.data + at, next - at);
            }
            at = next;
        }
    }
}

void sighash_legacy(struct hash256 *out, const struct tx *tx, uint32_t index, struct span script_code,
                    uint32_t hash_type)
{
    uint32_t base = hash_type & 0x1f;
    bool anyone = hash_type & SIGHASH_ANYONECANPAY;
    if (base == SIGHASH_SINGLE && index >= tx->output_count) {
        *out = (struct hash256){{1}}; /* a bug of the first client that is now a rule */
        return;
    }
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    put_u32(&ctx, (uint32_t)tx->version);
    put_compact_size(&ctx, anyone ? 1 : tx->input_count);
    for (uint32_t i = anyone ? index : 0; i < (anyone ? index + 1 : tx->input_count); i++) {
        put(&ctx, &tx->inputs[i].prevout, sizeof tx->inputs[i].prevout);
        if (i == index) {
            put_script_code(&ctx, script_code);
        } else {
            put_compact_size(&ctx, 0);
        }
        bool zeroed = i != index && (base == SIGHASH_NONE || base == SIGHASH_SINGLE);
        put_u32(&ctx, zeroed ? 0 : tx->inputs[i].sequence);
    }
    uint32_t outputs = base == SIGHASH_NONE ? 0 : base == SIGHASH_SINGLE ? index + 1 : tx->output_count;
    put_compact_size(&ctx, outputs);
    for (uint32_t i = 0; i < outputs; i++) {
        static const struct tx_output blank = {.value.sat = -1};
        put_output(&ctx, base == SIGHASH_SINGLE && i != index ? &blank : &tx->outputs[i]);
    }
    put_u32(&ctx, tx->locktime);
    put_u32(&ctx, hash_type);
    finish_double(&ctx, out);
}

/* ---- BIP341 ------------------------------------------------------------------------------------------ */

enum tag { TAG_SIGHASH, TAG_LEAF, TAG_BRANCH, TAG_TWEAK };

/* A tagged hash begins with SHA-256 of its tag, twice: one block, whose midstates these are ("TapSighash",
 * "TapLeaf", "TapBranch", "TapTweak"; tests/unit/consensus derives them again). */
static void tagged_init(struct sha256_ctx *ctx, enum tag tag)
{
    static const uint32_t midstates[][8] = {
        [TAG_SIGHASH] = {0xf504a425, 0xd7f8783b, 0x1363868a, 0xe3e55658, 0x6eee945d, 0xbc7888dd, 0x02a6e2c3,
                         0x1873fe9f},
        [TAG_LEAF] = {0x9ce0e4e6, 0x7c116c39, 0x38b3caf2, 0xc30f5089, 0xd3f3936c, 0x47636e60, 0x7db33eea,
                      0xddc6f0c9},
        [TAG_BRANCH] = {0x23a865a9, 0xb8a40da7, 0x977c1e04, 0xc49e246f, 0xb5be1376, 0x9d24c9b7, 0xb583b5d4,
                        0xa8d226d2},
        [TAG_TWEAK] = {0xd129a2f3, 0x701c655d, 0x6583b6c3, 0xb9419727, 0x95f4e232, 0x94fd54f4, 0xa2ae8d85,
                       0x47ca590b},
    };
    sha256_init(ctx);
    memcpy(ctx->state, midstates[tag], sizeof ctx->state);
    ctx->len = 64;
}

void taproot_leaf_hash(struct hash256 *out, uint8_t leaf_version, struct span script)
{
    struct sha256_ctx ctx;
    tagged_init(&ctx, TAG_LEAF);
    put(&ctx, &leaf_version, 1);
    put_compact_size(&ctx, script.len);
    put(&ctx, script.data, script.len);
    sha256_final(&ctx, out->b);
}

void taproot_branch_hash(struct hash256 *out, const struct hash256 *a, const struct hash256 *b)
{
    struct sha256_ctx ctx;
    bool in_order = memcmp(a->b, b->b, 32) < 0;
    tagged_init(&ctx, TAG_BRANCH);
    put(&ctx, in_order ? a->b : b->b, 32);
    put(&ctx, in_order ? b->b : a->b, 32);
    sha256_final(&ctx, out->b);
}

void taproot_tweak_hash(struct hash256 *out, const uint8_t internal_key[32],
                        const struct hash256 *merkle_root)
{
    struct sha256_ctx ctx;
    tagged_init(&ctx, TAG_TWEAK);
    put(&ctx, internal_key, 32);
    if (merkle_root) {
        put(&ctx, merkle_root->b, 32);
    }
    sha256_final(&ctx, out->b);
}

static void put_spent(struct sha256_ctx *ctx, const struct coin *coin)
{
    const struct tx_output output = {coin->value, coin->script};
    put_output(ctx, &output);
}

bool sighash_taproot(struct hash256 *out, const struct tx *tx, uint32_t index, const struct coin *spent,
                     uint8_t hash_type, const struct tapscript_context *tap, bool script_path,
                     const struct sighash_cache *cache)
{
    uint8_t base = hash_type ? hash_type & 3 : 1, key_version = 0;
    bool anyone = hash_type & SIGHASH_ANYONECANPAY;
    if (hash_type & 0x7c || base == 0 || (base == SIGHASH_SINGLE && index >= tx->output_count)) {
        return false;
    }
    struct sighash_cache local = {0};
    if (!cache || !cache->ready || !cache->taproot) {
        sighash_prepare(&local, tx, spent);
        cache = &local;
    }
    uint8_t epoch = 0, spend_type = (uint8_t)((script_path ? 2 : 0) + (tap->has_annex ? 1 : 0));
    struct sha256_ctx ctx;
    tagged_init(&ctx, TAG_SIGHASH);
    put(&ctx, &epoch, 1);
    put(&ctx, &hash_type, 1);
    put_u32(&ctx, (uint32_t)tx->version);
    put_u32(&ctx, tx->locktime);
    if (!anyone) {
        put(&ctx, cache->prevouts.b, 32);
        put(&ctx, cache->amounts.b, 32);
        put(&ctx, cache->scripts.b, 32);
        put(&ctx, cache->sequences.b, 32);
    }
    if (base != SIGHASH_NONE && base != SIGHASH_SINGLE) {
        put(&ctx, cache->outputs.b, 32);
    }
    put(&ctx, &spend_type, 1);
    if (anyone) {
        put(&ctx, &tx->inputs[index].prevout, sizeof tx->inputs[index].prevout);
        put_spent(&ctx, &spent[index]);
        put_u32(&ctx, tx->inputs[index].sequence);
    } else {
        put_u32(&ctx, index);
    }
    if (tap->has_annex) {
        put(&ctx, tap->annex.b, 32);
    }
    if (base == SIGHASH_SINGLE) {
        struct hash256 one_output;
        hash_outputs(&one_output, &tx->outputs[index], 1);
        put(&ctx, one_output.b, 32);
    }
    if (script_path) {
        put(&ctx, tap->leaf.b, 32);
        put(&ctx, &key_version, 1);
        put_u32(&ctx, tap->separator);
    }
    sha256_final(&ctx, out->b);
    return true;
}
