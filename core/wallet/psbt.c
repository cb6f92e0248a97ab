/* Partially signed transactions (BIP174, BIP371), version 0: maps of rows, kept as they came and in Bitcoin
 * Core's order. Here: reading, writing, joining two of one transaction, and making inputs final. Not here:
 * signing. */
#include "core/wallet/wallet_private.h"

#define PSBT_BYTES_MAX (12u << 20)
#define ROWS_MAX       1000u /* of one map */
#define ITEMS_MAX      1000u /* of one witness */

static const uint8_t magic[5] = {'p', 's', 'b', 't', 0xff};

/* ---- Maps -------------------------------------------------------------------------------------------- */

/* Final scripts stand behind what they were made of. */
static int rank_of(struct span key, bool input)
{
    uint8_t type = key.data[0];
    bool final = input && (type == PSBT_IN_FINAL_SCRIPT || type == PSBT_IN_FINAL_WITNESS);
    return final ? 0xf0 + type : type;
}

/* Core keeps signatures by the hash of their key. */
static int compare_keys(struct span a, struct span b, bool input)
{
    uint8_t hashes[2][20];
    int order = rank_of(a, input) - rank_of(b, input);
    if (order == 0 && input && a.data[0] == PSBT_IN_PARTIAL_SIG) {
        hash160(hashes[0], a.data + 1, a.len - 1);
        hash160(hashes[1], b.data + 1, b.len - 1);
        order = memcmp(hashes[0], hashes[1], 20);
    }
    if (order == 0) {
        order = memcmp(a.data, b.data, MIN(a.len, b.len));
    }
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool is_input(const struct psbt *psbt, const struct psbt_map *map)
{
    return psbt->inputs && map >= psbt->inputs && map < psbt->inputs + psbt->tx->input_count;
}

static struct span keep(struct psbt *psbt, struct span bytes)
{
    uint8_t *copy = arena_alloc(&psbt->arena, bytes.len);
    if (bytes.len) {
        memcpy(copy, bytes.data, bytes.len);
    }
    return span_of(copy, bytes.len);
}

/* The first row that does not stand before a key. */
static size_t place_of(const struct psbt_map *map, struct span key, bool input)
{
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(map->rows[middle].key, key, input) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void make_room(struct psbt *psbt, struct psbt_map *map)
{
    if (map->count == map->capacity) {
        size_t capacity = MAX(2 * map->capacity, 8u);
        struct psbt_row *rows = arena_alloc(&psbt->arena, capacity * sizeof *rows);
        if (map->count) {
            memcpy(rows, map->rows, map->count * sizeof *rows);
        }
        map->rows = rows;
        map->capacity = capacity;
    }
}

bool psbt_put(struct psbt *psbt, struct psbt_map *map, struct span key, struct span value)
{
    bool input = is_input(psbt, map);
    size_t at = place_of(map, key, input);
    if (at < map->count && compare_keys(map->rows[at].key, key, input) == 0) {
        return false;
    }
    make_room(psbt, map);
    memmove(map->rows + at + 1, map->rows + at, (map->count - at) * sizeof *map->rows);
    map->rows[at] = (struct psbt_row){keep(psbt, key), keep(psbt, value)};
    map->count++;
    return true;
}

bool psbt_put_type(struct psbt *psbt, struct psbt_map *map, uint8_t type, struct span value)
{
    return psbt_put(psbt, map, span_of(&type, 1), value);
}

const struct span *psbt_get(const struct psbt_map *map, uint8_t type)
{
    for (size_t i = 0; i < map->count; i++) {
        if (map->rows[i].key.len == 1 && map->rows[i].key.data[0] == type) {
            return &map->rows[i].value;
        }
    }
    return NULL;
}

/* All rows of the types, whatever follows the type. */
static void drop_types(struct psbt_map *map, const uint8_t *types, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < map->count; i++) {
        if (!memchr(types, map->rows[i].key.data[0], count)) {
            map->rows[kept++] = map->rows[i];
        }
    }
    map->count = kept;
}

/* ---- What rows must be ------------------------------------------------------------------------------- */

static bool wrong(struct error *error, const char *text)
{
    return error_set(error, ERROR_PARSE, NULL, "%s", text);
}

static bool is_key(struct span bytes)
{
    secp256k1_pubkey parsed;
    return (bytes.len == 33 || bytes.len == 65) &&
           secp256k1_ec_pubkey_parse(secp256k1_context_static, &parsed, bytes.data, bytes.len);
}

static bool is_derivation(struct span value)
{
    return value.len >= 4 && value.len % 4 == 0;
}

bool psbt_read_witness(struct span value, struct span *items, size_t max, size_t *count)
{
    struct cursor c = cursor_of(value.data, value.len);
    size_t announced = cursor_count(&c, 1);
    for (*count = 0; *count < announced && *count < max && !c.failed;) {
        items[(*count)++] = cursor_var_span(&c);
    }
    return cursor_done(&c) && *count == announced;
}

static bool is_output(struct span value)
{
    struct cursor c = cursor_of(value.data, value.len);
    cursor_i64(&c);
    cursor_var_span(&c);
    return cursor_done(&c);
}

static bool spends_of(const struct psbt *psbt, size_t index, struct span raw, struct error *error)
{
    const struct outpoint *prevout = &psbt->tx->inputs[index].prevout;
    struct tx *tx = tx_parse(raw, NULL);
    if (!tx) {
        return wrong(error, "Non-witness UTXO is no transaction");
    }
    bool same = hash256_equal(&tx->txid, &prevout->txid), there = prevout->index < tx->output_count;
    tx_unref(tx);
    return (same || wrong(error, "Non-witness UTXO does not match outpoint hash")) &&
           (there || wrong(error, "Input specifies output index that does not exist"));
}

static bool check_input_row(const struct psbt *psbt, size_t index, struct span key, struct span value,
                            struct error *error)
{
    struct span data = span_of(key.data + 1, key.len - 1), items[ITEMS_MAX];
    size_t count;
    bool alone = data.len == 0;
    switch (key.data[0]) {
    case PSBT_IN_NON_WITNESS_UTXO:
        return alone ? spends_of(psbt, index, value, error)
                     : wrong(error, "Non-witness utxo key is more than one byte type");
    case PSBT_IN_WITNESS_UTXO:
        return (alone && is_output(value)) || wrong(error, "Witness utxo is not valid");
    case PSBT_IN_PARTIAL_SIG:
        return (is_key(data) && value.len >= 9 && value.len <= 73) ||
               wrong(error, "Partial signature or its pubkey is not valid");
    case PSBT_IN_SIGHASH: return (alone && value.len == 4) || wrong(error, "Sighash type is not valid");
    case PSBT_IN_REDEEM_SCRIPT:
    case PSBT_IN_WITNESS_SCRIPT:
    case PSBT_IN_FINAL_SCRIPT: return alone || wrong(error, "A script's key is more than one byte type");
    case PSBT_IN_BIP32:
        return (is_key(data) && is_derivation(value)) || wrong(error, "Key path or its pubkey is not valid");
    case PSBT_IN_FINAL_WITNESS:
        return (alone && psbt_read_witness(value, items, ARRAY_COUNT(items), &count)) ||
               wrong(error, "Final scriptWitness is not valid");
    case PSBT_IN_TAP_KEY_SIG:
        return (alone && (value.len == 64 || value.len == 65)) ||
               wrong(error, "Taproot key path signature is not valid");
    case PSBT_IN_TAP_SCRIPT_SIG:
        return (data.len == 64 && (value.len == 64 || value.len == 65)) ||
               wrong(error, "Taproot script path signature is not valid");
    case PSBT_IN_TAP_LEAF_SCRIPT:
        return (data.len >= 33 && (data.len - 33) % 32 == 0 && value.len >= 1) ||
               wrong(error, "Taproot leaf script is not valid");
    case PSBT_IN_TAP_BIP32: return data.len == 32 || wrong(error, "Taproot key path is not valid");
    case PSBT_IN_TAP_INTERNAL_KEY:
    case PSBT_IN_TAP_MERKLE_ROOT:
        return (alone && value.len == 32) || wrong(error, "Taproot internal key or merkle root is not valid");
    default: return true;
    }
}

static bool check_output_row(struct span key, struct span value, struct error *error)
{
    struct span data = span_of(key.data + 1, key.len - 1);
    switch (key.data[0]) {
    case PSBT_OUT_REDEEM_SCRIPT:
    case PSBT_OUT_WITNESS_SCRIPT:
        return data.len == 0 || wrong(error, "A script's key is more than one byte type");
    case PSBT_OUT_BIP32:
        return (is_key(data) && is_derivation(value)) || wrong(error, "Key path or its pubkey is not valid");
    case PSBT_OUT_TAP_INTERNAL_KEY:
        return (data.len == 0 && value.len == 32) || wrong(error, "Taproot internal key is not valid");
    default: return true;
    }
}

static bool check_global_row(struct span key, struct span value, struct error *error)
{
    switch (key.data[0]) {
    case PSBT_GLOBAL_TX:
        return key.len == 1 || wrong(error, "Global unsigned tx key is more than one byte type");
    case PSBT_GLOBAL_XPUB:
        return (key.len == 79 && is_derivation(value)) || wrong(error, "Global xpub is not valid");
    default: return true;
    }
}

/* ---- Reading ----------------------------------------------------------------------------------------- */

struct reader {
    struct psbt *psbt;
    struct cursor c;
    struct error *error;
};

static bool check_row(const struct reader *r, const struct psbt_map *map, struct span key, struct span value)
{
    const struct psbt *psbt = r->psbt;
    if (is_input(psbt, map)) {
        return check_input_row(psbt, (size_t)(map - psbt->inputs), key, value, r->error);
    }
    return map == &psbt->global ? check_global_row(key, value, r->error)
                                : check_output_row(key, value, r->error);
}

static bool read_map(struct reader *r, struct psbt_map *map)
{
    for (;;) {
        struct span key = cursor_var_span(&r->c);
        if (r->c.failed) {
            return wrong(r->error, "Unexpected end of the PSBT");
        }
        if (!key.len) {
            return true;
        }
        struct span value = cursor_var_span(&r->c);
        if (r->c.failed) {
            return wrong(r->error, "Unexpected end of the PSBT");
        }
        if (map->count == ROWS_MAX) {
            return wrong(r->error, "A map has more rows than are taken");
        }
        if (!check_row(r, map, key, value)) {
            return false;
        }
        if (!psbt_put(r->psbt, map, key, value)) {
            return wrong(r->error, "Duplicate Key, of a row that was given before");
        }
    }
}

/* The first map, which holds the transaction. */
static bool read_global(struct reader *r)
{
    struct psbt *psbt = r->psbt;
    bool ok = read_map(r, &psbt->global);
    const struct span *raw = psbt_get(&psbt->global, PSBT_GLOBAL_TX),
                      *version = psbt_get(&psbt->global, PSBT_GLOBAL_VERSION);
    if (!ok) {
        return false;
    }
    if (!raw) {
        return wrong(r->error, "No unsigned transaction was provided");
    }
    if (version && (version->len != 4 || load_le32(version->data) != 0)) {
        return wrong(r->error, "Unsupported version number");
    }
    psbt->tx = tx_parse(*raw, NULL);
    if (!psbt->tx) {
        return wrong(r->error, "The unsigned transaction is no transaction");
    }
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        if (psbt->tx->inputs[i].script.len || psbt->tx->inputs[i].witness_count) {
            return wrong(r->error, "Unsigned tx does not have empty scriptSigs and scriptWitnesses.");
        }
    }
    return true;
}

static void make_maps(struct psbt *psbt)
{
    psbt->inputs = arena_alloc(&psbt->arena, psbt->tx->input_count * sizeof *psbt->inputs);
    psbt->outputs = arena_alloc(&psbt->arena, psbt->tx->output_count * sizeof *psbt->outputs);
}

static bool read_all(struct reader *r)
{
    struct psbt *psbt = r->psbt;
    uint8_t start[5];
    cursor_bytes(&r->c, start, sizeof start);
    if (r->c.failed || memcmp(start, magic, sizeof magic) != 0) {
        return wrong(r->error, "Invalid PSBT magic bytes");
    }
    if (!read_global(r)) {
        return false;
    }
    make_maps(psbt);
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        if (!read_map(r, &psbt->inputs[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < psbt->tx->output_count; i++) {
        if (!read_map(r, &psbt->outputs[i])) {
            return false;
        }
    }
    return cursor_done(&r->c) || wrong(r->error, "extra data after PSBT");
}

struct psbt *psbt_parse(const char *base64, struct error *error)
{
    struct buf raw = {0};
    if (!base64_decode(&raw, base64, PSBT_BYTES_MAX)) {
        buf_free(&raw);
        wrong(error, "invalid base64");
        return NULL;
    }
    struct psbt *psbt = mem_alloc(sizeof *psbt);
    struct reader r = {psbt, cursor_of(raw.data, raw.len), error};
    bool ok = read_all(&r);
    buf_free(&raw);
    if (!ok) {
        psbt_free(psbt);
        return NULL;
    }
    return psbt;
}

struct psbt *psbt_new(const struct tx *tx)
{
    struct psbt *psbt = mem_alloc(sizeof *psbt);
    struct buf raw = {0};
    struct tx bare = *tx;
    bare.inputs = mem_dup(tx->inputs, tx->input_count * sizeof *tx->inputs);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        bare.inputs[i].script = span_of(NULL, 0);
        bare.inputs[i].witness_count = 0;
    }
    tx_write(&raw, &bare, false);
    psbt->tx = tx_parse(buf_span(&raw), NULL);
    mem_free(bare.inputs);
    if (psbt->tx) {
        make_maps(psbt);
        CHECK(psbt_put_type(psbt, &psbt->global, PSBT_GLOBAL_TX, buf_span(&raw)));
    } else { /* without inputs nobody could read it again */
        psbt_free(psbt);
        psbt = NULL;
    }
    buf_free(&raw);
    return psbt;
}

void psbt_free(struct psbt *psbt)
{
    if (psbt) {
        tx_unref(psbt->tx);
        arena_free(&psbt->arena);
        mem_free(psbt);
    }
}

/* ---- Writing ----------------------------------------------------------------------------------------- */

static void write_map(struct buf *out, const struct psbt_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        buf_var_span(out, map->rows[i].key);
        buf_var_span(out, map->rows[i].value);
    }
    buf_u8(out, 0);
}

void psbt_write(struct buf *out_base64, const struct psbt *psbt)
{
    struct buf raw = {0};
    buf_bytes(&raw, magic, sizeof magic);
    write_map(&raw, &psbt->global);
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        write_map(&raw, &psbt->inputs[i]);
    }
    for (uint32_t i = 0; i < psbt->tx->output_count; i++) {
        write_map(&raw, &psbt->outputs[i]);
    }
    base64_encode(out_base64, buf_span(&raw));
    buf_free(&raw);
}

/* ---- Joining ----------------------------------------------------------------------------------------- */

static void merge_map(struct psbt *into, struct psbt_map *map, const struct psbt_map *from)
{
    for (size_t i = 0; i < from->count; i++) {
        (void)!psbt_put(into, map, from->rows[i].key, from->rows[i].value); /* what is there already stays */
    }
}

bool psbt_combine(struct psbt *into, const struct psbt *from)
{
    if (!hash256_equal(&into->tx->txid, &from->tx->txid)) {
        return false;
    }
    merge_map(into, &into->global, &from->global);
    for (uint32_t i = 0; i < into->tx->input_count; i++) {
        merge_map(into, &into->inputs[i], &from->inputs[i]);
    }
    for (uint32_t i = 0; i < into->tx->output_count; i++) {
        merge_map(into, &into->outputs[i], &from->outputs[i]);
    }
    return true;
}

void psbt_copy_input(struct psbt *into, uint32_t index, const struct psbt *from, uint32_t from_index)
{
    merge_map(into, &into->inputs[index], &from->inputs[from_index]);
}

void psbt_copy_output(struct psbt *into, uint32_t index, const struct psbt *from, uint32_t from_index)
{
    merge_map(into, &into->outputs[index], &from->outputs[from_index]);
}

bool psbt_coin(struct psbt *psbt, uint32_t index, struct coin *out)
{
    const struct psbt_map *map = &psbt->inputs[index];
    const struct span *output = psbt_get(map, PSBT_IN_WITNESS_UTXO),
                      *whole = psbt_get(map, PSBT_IN_NON_WITNESS_UTXO);
    *out = (struct coin){0};
    if (whole) {
        struct tx *tx = tx_parse(*whole, NULL);
        CHECK(tx); /* was looked at when it came in */
        const struct tx_output *spent = &tx->outputs[psbt->tx->inputs[index].prevout.index];
        out->value = spent->value;
        out->script = keep(psbt, spent->script);
        tx_unref(tx);
    } else if (output) {
        struct cursor c = cursor_of(output->data, output->len);
        out->value.sat = cursor_i64(&c);
        out->script = cursor_var_span(&c);
    }
    return whole || output;
}

/* ---- Making final ------------------------------------------------------------------------------------ */

bool psbt_is_final(const struct psbt_map *input)
{
    return psbt_get(input, PSBT_IN_FINAL_SCRIPT) || psbt_get(input, PSBT_IN_FINAL_WITNESS);
}

struct solution { /* what satisfies one script: items, the first pushed first */
    bool partly;  /* signatures that are missing leave their places empty */
    struct span items[MULTISIG_KEYS_MAX + 2];
    size_t count;
};

static const struct psbt_row *signature_of(const struct psbt_map *map, struct span key, bool by_hash)
{
    uint8_t hash[20];
    for (size_t i = 0; i < map->count; i++) {
        const struct psbt_row *row = &map->rows[i];
        struct span own = span_of(row->key.data + 1, row->key.len - 1);
        if (row->key.data[0] != PSBT_IN_PARTIAL_SIG) {
            continue;
        }
        hash160(hash, own.data, own.len);
        if (by_hash ? span_equal(key, span_of(hash, 20)) : span_equal(key, own)) {
            return row;
        }
    }
    return NULL;
}

static bool solve_multisig(struct solution *out, const struct psbt_map *map, struct span script)
{
    unsigned needed, count;
    struct span keys[MULTISIG_KEYS_MAX];
    if (!script_multisig(script, &needed, keys, &count)) {
        return false;
    }
    out->items[out->count++] = span_of(NULL, 0); /* which OP_CHECKMULTISIG takes for nothing */
    for (unsigned i = 0; i < count && out->count <= needed; i++) {
        const struct psbt_row *row = signature_of(map, keys[i], false);
        if (row) {
            out->items[out->count++] = row->value;
        }
    }
    while (out->partly && out->count > 1 && out->count < needed + 1) {
        out->items[out->count++] = span_of(NULL, 0);
    }
    return out->count == needed + 1;
}

/* A script that asks for signatures itself. */
static bool solve(struct solution *out, const struct psbt_map *map, struct span script)
{
    struct span payload;
    enum output_kind kind = script_classify(script, &payload);
    if (kind == OUTPUT_MULTISIG) {
        return solve_multisig(out, map, script);
    }
    bool by_hash = kind == OUTPUT_P2PKH || kind == OUTPUT_P2WPKH;
    const struct psbt_row *row = by_hash || kind == OUTPUT_P2PK ? signature_of(map, payload, by_hash) : NULL;
    if (row) {
        out->items[out->count++] = row->value;
    }
    if (row && by_hash) {
        out->items[out->count++] = span_of(row->key.data + 1, row->key.len - 1);
    }
    return row != NULL;
}

/* What makes a witness program, or (with the script) a script by its hash, spendable. */
static bool solve_witness(struct buf *witness, const struct psbt_map *map, struct span program, bool partly)
{
    struct solution solution = {.partly = partly};
    const struct span *script = psbt_get(map, PSBT_IN_WITNESS_SCRIPT),
                      *signature = psbt_get(map, PSBT_IN_TAP_KEY_SIG);
    enum output_kind kind = script_classify(program, NULL);
    bool ok = false;
    if (kind == OUTPUT_P2WPKH) {
        ok = solve(&solution, map, program);
    } else if (kind == OUTPUT_P2WSH && script) {
        ok = solve(&solution, map, *script);
        solution.items[solution.count++] = *script;
    } else if (kind == OUTPUT_P2TR && signature) {
        ok = true;
        solution.items[solution.count++] = *signature;
    }
    buf_compact_size(witness, solution.count);
    for (size_t i = 0; i < solution.count; i++) {
        buf_var_span(witness, solution.items[i]);
    }
    return ok;
}

static bool is_witness(struct span script)
{
    enum output_kind kind = script_classify(script, NULL);
    return kind == OUTPUT_P2WPKH || kind == OUTPUT_P2WSH || kind == OUTPUT_P2TR;
}

/* script and witness get what the input needs, either of them perhaps nothing. */
static bool solve_input(struct buf *script, struct buf *witness, const struct psbt_map *map,
                        struct span spent, bool partly)
{
    struct solution solution = {.partly = partly};
    const struct span *redeem = psbt_get(map, PSBT_IN_REDEEM_SCRIPT);
    bool nested = script_classify(spent, NULL) == OUTPUT_P2SH;
    if (nested && !redeem) {
        return false;
    }
    struct span inner = nested ? *redeem : spent;
    bool ok = is_witness(inner) ? solve_witness(witness, map, inner, partly) : solve(&solution, map, inner);
    for (size_t i = 0; i < solution.count; i++) {
        script_push(script, solution.items[i].data, solution.items[i].len);
    }
    if (nested) {
        script_push(script, redeem->data, redeem->len);
    }
    return ok;
}

/* The transaction with the final scripts of all inputs that have them; NULL: it is too large. */
static struct tx *with_scripts(struct psbt *psbt)
{
    struct tx tx = *psbt->tx;
    struct buf raw = {0};
    struct span items[ITEMS_MAX];
    tx.inputs = mem_dup(psbt->tx->inputs, tx.input_count * sizeof *tx.inputs);
    for (uint32_t i = 0; i < tx.input_count; i++) {
        const struct span *script = psbt_get(&psbt->inputs[i], PSBT_IN_FINAL_SCRIPT),
                          *witness = psbt_get(&psbt->inputs[i], PSBT_IN_FINAL_WITNESS);
        size_t count = 0;
        tx.inputs[i].script = script ? *script : span_of(NULL, 0);
        if (witness && psbt_read_witness(*witness, items, ITEMS_MAX, &count)) {
            struct span *own = arena_alloc(&psbt->arena, count * sizeof *own);
            if (count) {
                memcpy(own, items, count * sizeof *own);
            }
            tx.inputs[i].witness = own;
            tx.inputs[i].witness_count = (uint32_t)count;
        }
    }
    tx_write(&raw, &tx, true);
    struct tx *result = tx_parse(buf_span(&raw), NULL);
    buf_free(&raw);
    mem_free(tx.inputs);
    return result;
}

/* Gives an input the scripts that its signatures make, whether or not they hold. */
static bool try_final(struct psbt *psbt, struct psbt_map *map, const struct coin *coin, bool partly)
{
    struct buf script = {0}, witness = {0};
    bool ok = coin->script.len && solve_input(&script, &witness, map, coin->script, partly);
    if (ok && script.len) {
        CHECK(psbt_put_type(psbt, map, PSBT_IN_FINAL_SCRIPT, buf_span(&script)));
    }
    if (ok && witness.len) {
        CHECK(psbt_put_type(psbt, map, PSBT_IN_FINAL_WITNESS, buf_span(&witness)));
    }
    buf_free(&script);
    buf_free(&witness);
    return ok;
}

/* What has become final needs its parts no more; what does not hold is taken back. */
static void settle(struct psbt_map *map, bool holds)
{
    static const uint8_t finals[] = {PSBT_IN_FINAL_SCRIPT, PSBT_IN_FINAL_WITNESS},
                         parts[] = {PSBT_IN_PARTIAL_SIG,      PSBT_IN_SIGHASH,         PSBT_IN_REDEEM_SCRIPT,
                                    PSBT_IN_WITNESS_SCRIPT,   PSBT_IN_BIP32,           PSBT_IN_TAP_KEY_SIG,
                                    PSBT_IN_TAP_SCRIPT_SIG,   PSBT_IN_TAP_LEAF_SCRIPT, PSBT_IN_TAP_BIP32,
                                    PSBT_IN_TAP_INTERNAL_KEY, PSBT_IN_TAP_MERKLE_ROOT};
    drop_types(map, holds ? parts : finals, holds ? sizeof parts : sizeof finals);
}

bool psbt_finalize(struct psbt *psbt)
{
    uint32_t count = psbt->tx->input_count;
    struct coin *spent = mem_alloc(count * sizeof *spent);
    bool *tried = mem_alloc(count * sizeof *tried), all = true;
    struct sighash_cache cache = {0};
    for (uint32_t i = 0; i < count; i++) {
        psbt_coin(psbt, i, &spent[i]);
        tried[i] = !psbt_is_final(&psbt->inputs[i]) && try_final(psbt, &psbt->inputs[i], &spent[i], false);
    }
    struct tx *tx = with_scripts(psbt);
    if (tx) {
        sighash_prepare(&cache, tx, spent);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (tried[i]) {
            settle(&psbt->inputs[i],
                   tx && script_verify_input(tx, i, spent, &cache, SCRIPT_STANDARD_FLAGS, NULL));
        }
        all &= psbt_is_final(&psbt->inputs[i]);
    }
    tx_unref(tx);
    mem_free(tried);
    mem_free(spent);
    return all;
}

bool psbt_finalize_partly(struct psbt *psbt, uint32_t index)
{
    struct coin coin;
    psbt_coin(psbt, index, &coin);
    return try_final(psbt, &psbt->inputs[index], &coin, true);
}

void psbt_put_final(struct psbt *psbt, uint32_t index, const struct tx_input *in)
{
    struct buf witness = {0};
    buf_compact_size(&witness, in->witness_count);
    for (uint32_t i = 0; i < in->witness_count; i++) {
        buf_var_span(&witness, in->witness[i]);
    }
    (void)!psbt_put_type(psbt, &psbt->inputs[index], PSBT_IN_FINAL_SCRIPT, in->script);
    if (in->witness_count) {
        (void)!psbt_put_type(psbt, &psbt->inputs[index], PSBT_IN_FINAL_WITNESS, buf_span(&witness));
    }
    buf_free(&witness);
}

struct tx *psbt_extract(struct psbt *psbt)
{
    for (uint32_t i = 0; i < psbt->tx->input_count; i++) {
        if (!psbt_is_final(&psbt->inputs[i])) {
            return NULL;
        }
    }
    return with_scripts(psbt);
}
