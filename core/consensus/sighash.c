/* What a signature signs: legacy, and BIP143 for witness version 0. Works on the fields, never on a copy of
 * the transaction; the parts that all inputs share are hashed once (sighash_prepare). */
#include "core/consensus/consensus.h"

#include "hashing/kernels/kernels.h"

#define SIGHASH_NONE         2u
#define SIGHASH_SINGLE       3u
#define SIGHASH_ANYONECANPAY 0x80u
#define OP_CODESEPARATOR     0xab

/* A hash that takes fields as they are serialised. */
static void put(struct sha256_ctx *ctx, const void *data, size_t len)
{
    sha256_update(ctx, data, len);
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

void sighash_prepare(struct sighash_cache *cache, const struct tx *tx)
{
    hash_prevouts(&cache->prevouts, tx);
    hash_sequences(&cache->sequences, tx);
    hash_outputs(&cache->outputs, tx->outputs, tx->output_count);
    sha256(cache->prevouts.b, cache->prevouts.b, 32);
    sha256(cache->sequences.b, cache->sequences.b, 32);
    sha256(cache->outputs.b, cache->outputs.b, 32);
    cache->ready = true;
}

void sighash_v0(struct hash256 *out, const struct tx *tx, uint32_t index, struct span script_code,
                struct amount value, uint32_t hash_type, const struct sighash_cache *cache)
{
    static const struct hash256 zero;
    struct sighash_cache local = {0};
    if (!cache || !cache->ready) {
        sighash_prepare(&local, tx);
        cache = &local;
    }
    uint32_t base = hash_type & 0x1f;
    bool anyone = hash_type & SIGHASH_ANYONECANPAY, all = base != SIGHASH_NONE && base != SIGHASH_SINGLE;
    struct hash256 one_output;
    const struct hash256 *outputs = all ? &cache->outputs : &zero;
    if (base == SIGHASH_SINGLE && index < tx->output_count) {
        hash_outputs(&one_output, &tx->outputs[index], 1);
        sha256(one_output.b, one_output.b, 32);
        outputs = &one_output;
    }
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    put_u32(&ctx, (uint32_t)tx->version);
    put(&ctx, anyone ? zero.b : cache->prevouts.b, 32);
    put(&ctx, anyone || !all ? zero.b : cache->sequences.b, 32);
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
