/* Amounts, and transactions as bytes (BIP144): parsing, writing, txid and wtxid. No rules here but those of
 * form. */
#include "core/consensus/consensus.h"

#include "hashing/kernels/kernels.h"

#define INPUT_BYTES_MIN  41u /* outpoint, empty script, sequence */
#define OUTPUT_BYTES_MIN 9u

bool amount_add(struct amount *out, struct amount a, struct amount b)
{
    if (!amount_in_range(a) || !amount_in_range(b) || a.sat + b.sat > MAX_MONEY) {
        return false;
    }
    out->sat = a.sat + b.sat;
    return true;
}

bool amount_sub(struct amount *out, struct amount a, struct amount b)
{
    if (!amount_in_range(a) || !amount_in_range(b) || b.sat > a.sat) {
        return false;
    }
    out->sat = a.sat - b.sat;
    return true;
}

static void read_inputs(struct tx *tx, struct cursor *c, struct arena *arena)
{
    tx->inputs = arena_alloc(arena, tx->input_count * sizeof *tx->inputs);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        struct tx_input *in = &tx->inputs[i];
        cursor_bytes(c, in->prevout.txid.b, 32);
        in->prevout.index = cursor_u32(c);
        in->script = cursor_var_span(c);
        in->sequence = cursor_u32(c);
    }
}

static void read_outputs(struct tx *tx, struct cursor *c, struct arena *arena)
{
    tx->outputs = arena_alloc(arena, tx->output_count * sizeof *tx->outputs);
    for (uint32_t i = 0; i < tx->output_count; i++) {
        tx->outputs[i].value.sat = cursor_i64(c);
        tx->outputs[i].script = cursor_var_span(c);
    }
}

static void read_witnesses(struct tx *tx, struct cursor *c, struct arena *arena)
{
    bool any = false;
    for (uint32_t i = 0; i < tx->input_count && !c->failed; i++) {
        uint32_t count = (uint32_t)cursor_count(c, 1);
        struct span *items = arena_alloc(arena, count * sizeof *items);
        for (uint32_t k = 0; k < count; k++) {
            items[k] = cursor_var_span(c);
        }
        tx->inputs[i].witness = items;
        tx->inputs[i].witness_count = count;
        any |= count > 0;
    }
    if (!any) {
        c->failed = true; /* BIP144: the flag without any witness is not a serialisation */
    }
}

bool tx_read(struct tx *tx, struct cursor *c, struct arena *arena)
{
    *tx = (struct tx){0};
    const uint8_t *start = c->at;
    tx->version = cursor_i32(c);
    const uint8_t *body = c->at;
    if (cursor_left(c) >= 2 && c->at[0] == 0 && c->at[1] != 0) {
        uint8_t flag = c->at[1];
        cursor_u16(c);
        tx->has_witness = true;
        body = c->at;
        if (flag != 1) {
            c->failed = true;
        }
    }
    tx->input_count = (uint32_t)cursor_count(c, INPUT_BYTES_MIN);
    read_inputs(tx, c, arena);
    tx->output_count = (uint32_t)cursor_count(c, OUTPUT_BYTES_MIN);
    read_outputs(tx, c, arena);
    size_t body_len = (size_t)(c->at - body);
    if (tx->has_witness) {
        read_witnesses(tx, c, arena);
    }
    tx->locktime = cursor_u32(c);
    if (c->failed) {
        return false;
    }
    tx->raw = span_of(start, (size_t)(c->at - start));
    tx->stripped_bytes = (uint32_t)(4 + body_len + 4);
    return true;
}

struct to_hash { /* on the way into sha256d_many */
    struct tx *txs;
    size_t count, at;
    bool whole; /* the txid of `at` is under way, its wtxid is next */
};

static bool next_to_hash(void *context, struct sha256_message *out)
{
    struct to_hash *h = context;
    if (h->at == h->count) {
        return false;
    }
    struct tx *tx = &h->txs[h->at];
    const uint8_t *raw = tx->raw.data;
    if (!tx->has_witness || h->whole) {
        struct hash256 *id = tx->has_witness ? &tx->wtxid : &tx->txid;
        *out = (struct sha256_message){{{raw, tx->raw.len}}, id->b};
        h->at++;
        h->whole = false;
        return true;
    }
    /* BIP144: the txid leaves out marker, flag and witnesses. */
    size_t body_len = tx->stripped_bytes - 8;
    *out = (struct sha256_message){{{raw, 4}, {raw + 6, body_len}, {raw + tx->raw.len - 4, 4}}, tx->txid.b};
    h->whole = true;
    return true;
}

void txs_hash(struct tx *txs, size_t count)
{
    struct to_hash all = {.txs = txs, .count = count};
    sha256d_many(next_to_hash, &all);
    for (size_t i = 0; i < count; i++) {
        if (!txs[i].has_witness) {
            txs[i].wtxid = txs[i].txid;
        }
    }
}

struct tx *tx_parse(struct span raw, struct error *error)
{
    if (raw.len > BLOCK_SERIALIZED_MAX) {
        error_set(error, ERROR_LIMIT, "bad-txns-oversize",
                  "a transaction of %zu bytes is larger than a block may be", raw.len);
        return NULL;
    }
    struct tx *tx = mem_alloc(sizeof *tx);
    struct arena arena = {0};
    uint8_t *copy = arena_alloc(&arena, raw.len);
    if (raw.len) {
        memcpy(copy, raw.data, raw.len);
    }
    struct cursor c = cursor_of(copy, raw.len);
    if (!tx_read(tx, &c, &arena) || !cursor_done(&c)) {
        arena_free(&arena);
        mem_free(tx);
        error_set(error, ERROR_PARSE, "tx-decode-failed",
                  "not the serialisation of a transaction (%zu bytes)", raw.len);
        return NULL;
    }
    txs_hash(tx, 1);
    tx->arena = arena;
    tx->references = 1;
    return tx;
}

struct tx *tx_ref(struct tx *tx)
{
    CHECK(tx->references > 0);
    tx->references++;
    return tx;
}

void tx_unref(struct tx *tx)
{
    if (tx && --tx->references == 0) {
        arena_free(&tx->arena);
        mem_free(tx);
    }
}

void tx_write(struct buf *out, const struct tx *tx, bool with_witness)
{
    bool witness = false;
    for (uint32_t i = 0; with_witness && i < tx->input_count; i++) {
        witness |= tx->inputs[i].witness_count > 0;
    }
    buf_i32(out, tx->version);
    if (witness) {
        buf_u16(out, 0x0100);
    }
    buf_compact_size(out, tx->input_count);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct tx_input *in = &tx->inputs[i];
        buf_bytes(out, &in->prevout, sizeof in->prevout);
        buf_var_span(out, in->script);
        buf_u32(out, in->sequence);
    }
    buf_compact_size(out, tx->output_count);
    for (uint32_t i = 0; i < tx->output_count; i++) {
        buf_i64(out, tx->outputs[i].value.sat);
        buf_var_span(out, tx->outputs[i].script);
    }
    for (uint32_t i = 0; witness && i < tx->input_count; i++) {
        buf_compact_size(out, tx->inputs[i].witness_count);
        for (uint32_t k = 0; k < tx->inputs[i].witness_count; k++) {
            buf_var_span(out, tx->inputs[i].witness[k]);
        }
    }
    buf_u32(out, tx->locktime);
}

bool tx_is_coinbase(const struct tx *tx)
{
    return tx->input_count == 1 && tx->inputs[0].prevout.index == UINT32_MAX &&
           hash256_is_zero(&tx->inputs[0].prevout.txid);
}
