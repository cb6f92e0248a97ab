/* Output descriptors (BIP380 to BIP386): scripts of keys that are given or derived, as text and back. Not
 * here: miniscript, and keys themselves (key_expression.c). */
#include "core/wallet/wallet_private.h"

#include <secp256k1_extrakeys.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECKSUM_CHARS 8u

/* BIP380: a code over 32 symbols; each character counts by its place in a group of 32, and every three group
 * numbers make one symbol more. */
static uint64_t polymod(uint64_t c, unsigned value)
{
    static const uint64_t generators[] = {0xf5dee51989, 0xa9fdca3312, 0x1bab10e32d, 0x3706b1677a,
                                          0x644d626ffd};
    unsigned top = (unsigned)(c >> 35);
    c = (c & 0x7ffffffff) << 5 ^ value;
    for (unsigned i = 0; i < 5; i++) {
        c ^= top >> i & 1 ? generators[i] : 0;
    }
    return c;
}

bool descriptor_checksum(char out[9], const char *text, size_t len)
{
    static const char places[] = "0123456789()[],'/*abcdefgh@:$%{}"
                                 "IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~"
                                 "ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ",
                      symbols[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    uint64_t c = 1;
    unsigned groups = 0, count = 0;
    for (size_t i = 0; i < len; i++) {
        const char *place = text[i] ? strchr(places, text[i]) : NULL;
        if (!place) {
            return false;
        }
        unsigned at = (unsigned)(place - places);
        c = polymod(c, at & 31);
        groups = groups * 3 + (at >> 5);
        if (++count == 3) {
            c = polymod(c, groups);
            groups = count = 0;
        }
    }
    c = count ? polymod(c, groups) : c;
    for (unsigned i = 0; i < CHECKSUM_CHARS; i++) {
        c = polymod(c, 0);
    }
    c ^= 1;
    for (unsigned i = 0; i < CHECKSUM_CHARS; i++) {
        out[i] = symbols[c >> (5 * (7 - i)) & 31];
    }
    out[CHECKSUM_CHARS] = 0;
    return true;
}

/* ---- What a descriptor is ---------------------------------------------------------------------------- */

#define DEPTH_MAX        128u /* of a tree of scripts (BIP341) */
#define TREE_KEYS_MAX    999u /* of multi_a */
#define BARE_KEYS_MAX    3u
#define REDEEM_BYTES_MAX 520u
#define LEAF_TAPSCRIPT   0xc0

enum function {
    ADDR,
    RAW,
    PK,
    PKH,
    WPKH,
    COMBO,
    MULTI,
    SORTEDMULTI,
    SH,
    WSH,
    TR,
    RAWTR,
    MULTI_A,
    SORTEDMULTI_A
};
enum place { AT_TOP = 1, IN_SH = 2, IN_WSH = 4, IN_TR = 8 };

static const struct {
    const char *name;
    unsigned places;
    const char *misplaced; /* in Core's words */
} functions[] = {
    [ADDR] = {"addr", AT_TOP, "Can only have addr() at top level"},
    [RAW] = {"raw", AT_TOP, "Can only have raw() at top level"},
    [PK] = {"pk", AT_TOP | IN_SH | IN_WSH | IN_TR, ""},
    [PKH] = {"pkh", AT_TOP | IN_SH | IN_WSH, "Can only have pkh at top level, in sh(), or in wsh()"},
    [WPKH] = {"wpkh", AT_TOP | IN_SH, "Can only have wpkh() at top level or inside sh()"},
    [COMBO] = {"combo", AT_TOP, "Can only have combo() at top level"},
    [MULTI] = {"multi", AT_TOP | IN_SH | IN_WSH,
               "Can only have multi/sortedmulti at top level, in sh(), or in wsh()"},
    [SORTEDMULTI] = {"sortedmulti", AT_TOP | IN_SH | IN_WSH,
                     "Can only have multi/sortedmulti at top level, in sh(), or in wsh()"},
    [SH] = {"sh", AT_TOP, "Can only have sh() at top level"},
    [WSH] = {"wsh", AT_TOP | IN_SH, "Can only have wsh() at top level or inside sh()"},
    [TR] = {"tr", AT_TOP, "Can only have tr at top level"},
    [RAWTR] = {"rawtr", AT_TOP, "Can only have rawtr at top level"},
    [MULTI_A] = {"multi_a", IN_TR, "Can only have multi_a/sortedmulti_a inside tr()"},
    [SORTEDMULTI_A] = {"sortedmulti_a", IN_TR, "Can only have multi_a/sortedmulti_a inside tr()"},
};

struct expression {
    enum function function;
    struct key_expression *keys;
    const struct derived_key **order; /* of multisignatures: as they stand in the script */
    unsigned key_count, needed;
    struct expression *inner; /* of sh, wsh */
    struct script_tree *tree; /* of tr; NULL: none */
    struct span script;       /* of addr, raw */
    const char *address;      /* of addr */
};

struct script_tree { /* a leaf, or two branches */
    struct expression *leaf;
    struct script_tree *left, *right;
};

struct descriptor {
    const struct chain_params *params;
    struct arena arena;
    struct expression *top;
    bool ranged, secret, solvable;
};

/* ---- Reading ----------------------------------------------------------------------------------------- */

struct reader {
    struct descriptor *descriptor;
    const char *at, *end;
    struct error *error;
};

static bool wrong(const struct reader *r, const char *text)
{
    return error_set(r->error, ERROR_PARSE, NULL, "%s", text);
}

static bool take(struct reader *r, char c)
{
    bool here = r->at < r->end && *r->at == c;
    r->at += here;
    return here;
}

/* Up to the next comma, bracket or brace. */
static struct span word(struct reader *r)
{
    const char *begin = r->at;
    while (r->at < r->end && !strchr(",(){}", *r->at)) {
        r->at++;
    }
    return span_of(begin, (size_t)(r->at - begin));
}

static bool read_key(struct reader *r, struct key_expression *key, enum function function, enum place place)
{
    struct descriptor *d = r->descriptor;
    bool segwit = function == WPKH || place == IN_WSH;
    enum key_form form = place == IN_TR || function == TR || function == RAWTR ? KEY_X_ONLY
                         : segwit                                              ? KEY_SHORT_ONLY
                                                                               : KEY_ANY;
    struct error error = {0};
    if (!key_expression_parse(key, &d->arena, word(r), form, d->params, &error)) {
        return error_set(r->error, ERROR_PARSE, NULL, "%s(): %s", functions[function].name, error.text);
    }
    d->ranged |= key->ranged;
    d->secret |= key->has_secret;
    return true;
}

static bool read_one_key(struct reader *r, struct expression *e, enum place place)
{
    e->keys = arena_alloc(&r->descriptor->arena, sizeof *e->keys);
    e->key_count = 1;
    return read_key(r, e->keys, e->function, place);
}

static bool fits_redeem(const struct reader *r, const struct expression *e)
{
    size_t len = 3;
    for (unsigned i = 0; i < e->key_count; i++) {
        len += 1 + e->keys[i].now.len;
    }
    return len <= REDEEM_BYTES_MAX ||
           error_set(r->error, ERROR_PARSE, NULL,
                     "P2SH script is too large, %zu bytes is larger than %u bytes", len, REDEEM_BYTES_MAX);
}

static bool check_multisig(const struct reader *r, const struct expression *e, enum place place)
{
    unsigned most = place == IN_TR ? TREE_KEYS_MAX : MULTISIG_KEYS_MAX;
    if (e->key_count == 0 || e->key_count > most) {
        return error_set(r->error, ERROR_PARSE, NULL,
                         "Cannot have %u keys in multisig; must have between 1 and %u keys, inclusive",
                         e->key_count, most);
    }
    if (e->needed < 1) {
        return error_set(r->error, ERROR_PARSE, NULL, "Multisig threshold cannot be %u, must be at least 1",
                         e->needed);
    }
    if (e->needed > e->key_count) {
        return error_set(
            r->error, ERROR_PARSE, NULL,
            "Multisig threshold cannot be larger than the number of keys; threshold is %u but only %u "
            "keys specified",
            e->needed, e->key_count);
    }
    if (place == IN_SH && !fits_redeem(r, e)) {
        return false;
    }
    return place != AT_TOP || e->key_count <= BARE_KEYS_MAX ||
           error_set(r->error, ERROR_PARSE, NULL,
                     "Cannot have %u pubkeys in bare multisig; only at most %u pubkeys", e->key_count,
                     BARE_KEYS_MAX);
}

static bool read_multisig(struct reader *r, struct expression *e, enum place place)
{
    struct arena *arena = &r->descriptor->arena;
    struct span text = word(r);
    char digits[8], *end;
    snprintf(digits, sizeof digits, "%.*s", (int)MIN(text.len, sizeof digits - 1), (const char *)text.data);
    e->needed = (unsigned)strtoul(digits, &end, 10);
    if (!text.len || text.len >= sizeof digits || *end || *digits < '0' || *digits > '9') {
        return error_set(r->error, ERROR_PARSE, NULL, "Multi threshold '%.*s' is not valid",
                         (int)MIN(text.len, 40u), (const char *)text.data);
    }
    size_t commas = 0;
    for (const char *p = r->at; p < r->end && *p != ')'; p++) {
        commas += *p == ',';
    }
    if (commas > TREE_KEYS_MAX) {
        return wrong(r, "Cannot have so many keys in multisig");
    }
    e->keys = arena_alloc(arena, commas * sizeof *e->keys);
    e->order = arena_alloc(arena, commas * sizeof *e->order);
    while (take(r, ',')) {
        if (!read_key(r, &e->keys[e->key_count++], e->function, place)) {
            return false;
        }
    }
    return check_multisig(r, e, place);
}

static struct expression *read_expression(struct reader *r, enum place place);

static struct script_tree *read_tree(struct reader *r, unsigned depth)
{
    struct script_tree *tree = arena_alloc(&r->descriptor->arena, sizeof *tree);
    if (depth > DEPTH_MAX) {
        wrong(r, "tr() supports at most 128 nesting levels");
        return NULL;
    }
    if (!take(r, '{')) {
        return (tree->leaf = read_expression(r, IN_TR)) ? tree : NULL;
    }
    if (!(tree->left = read_tree(r, depth + 1))) {
        return NULL;
    }
    if (!take(r, ',')) {
        wrong(r, "Expected ',' between the branches of a tree");
        return NULL;
    }
    if (!(tree->right = read_tree(r, depth + 1))) {
        return NULL;
    }
    if (!take(r, '}')) {
        wrong(r, "Expected '}' after the branches of a tree");
        return NULL;
    }
    return tree;
}

static bool read_taproot(struct reader *r, struct expression *e)
{
    return read_one_key(r, e, AT_TOP) && (!take(r, ',') || (e->tree = read_tree(r, 0)));
}

static bool read_address(struct reader *r, struct expression *e)
{
    struct descriptor *d = r->descriptor;
    struct span text = word(r);
    struct buf script = {0};
    char *address = arena_alloc(&d->arena, text.len + 1);
    memcpy(address, text.data, text.len);
    bool ok = address_to_script(&script, address, d->params, NULL);
    if (ok) {
        uint8_t *copy = arena_alloc(&d->arena, script.len);
        memcpy(copy, script.data, script.len);
        e->script = span_of(copy, script.len);
        e->address = address;
    }
    d->solvable = false;
    buf_free(&script);
    return ok || wrong(r, "Address is not valid");
}

static bool read_raw(struct reader *r, struct expression *e)
{
    struct descriptor *d = r->descriptor;
    struct span text = word(r);
    char *hex = arena_alloc(&d->arena, text.len + 1);
    uint8_t *bytes = arena_alloc(&d->arena, text.len / 2);
    memcpy(hex, text.data, text.len);
    d->solvable = false;
    e->script = span_of(bytes, text.len / 2);
    return (text.len % 2 == 0 && hex_decode(bytes, text.len / 2, hex)) || wrong(r, "Raw script is not hex");
}

static bool read_inside(struct reader *r, struct expression *e, enum place place)
{
    switch (e->function) {
    case ADDR: return read_address(r, e);
    case RAW: return read_raw(r, e);
    case PK:
    case PKH:
    case WPKH:
    case COMBO:
    case RAWTR: return read_one_key(r, e, place);
    case MULTI:
    case SORTEDMULTI:
    case MULTI_A:
    case SORTEDMULTI_A: return read_multisig(r, e, place);
    case SH: return (e->inner = read_expression(r, IN_SH)) != NULL;
    case WSH: return (e->inner = read_expression(r, IN_WSH)) != NULL;
    case TR: return read_taproot(r, e);
    }
    return false;
}

static struct expression *read_expression(struct reader *r, enum place place)
{
    struct expression *e = arena_alloc(&r->descriptor->arena, sizeof *e);
    struct span name = word(r);
    unsigned f = 0;
    while (f < ARRAY_COUNT(functions) &&
           (strlen(functions[f].name) != name.len || memcmp(functions[f].name, name.data, name.len) != 0)) {
        f++;
    }
    if (f == ARRAY_COUNT(functions) || !take(r, '(')) {
        error_set(r->error, ERROR_PARSE, NULL, "'%.*s' is not a valid descriptor function",
                  (int)MIN(name.len, 100u), (const char *)name.data);
        return NULL;
    }
    if (!(functions[f].places & place)) {
        wrong(r, functions[f].misplaced);
        return NULL;
    }
    e->function = (enum function)f;
    if (!read_inside(r, e, place)) {
        return NULL;
    }
    if (!take(r, ')')) {
        error_set(r->error, ERROR_PARSE, NULL, "Expected ')' at the end of %s()", functions[f].name);
        return NULL;
    }
    return e;
}

/* Its text up to the checksum, which is looked at; 0: wrong, or missing. */
static size_t checked_len(const char *text, bool checksum_required, struct error *error)
{
    size_t len = strcspn(text, "#");
    const char *given = text[len] ? text + len + 1 : NULL;
    char checksum[9];
    if (given && strchr(given, '#')) {
        error_set(error, ERROR_PARSE, NULL, "Multiple '#' symbols");
    } else if (!given && checksum_required) {
        error_set(error, ERROR_PARSE, NULL, "Missing checksum");
    } else if (given && strlen(given) != CHECKSUM_CHARS) {
        error_set(error, ERROR_PARSE, NULL, "Expected 8 character checksum, not %zu characters",
                  strlen(given));
    } else if (!descriptor_checksum(checksum, text, len)) {
        error_set(error, ERROR_PARSE, NULL, "Invalid characters in payload");
    } else if (given && strcmp(given, checksum) != 0) {
        error_set(error, ERROR_PARSE, NULL, "Provided checksum '%.8s' does not match computed checksum '%s'",
                  given, checksum);
    } else if (!len) {
        error_set(error, ERROR_PARSE, NULL, "'' is not a valid descriptor function");
    } else {
        return len;
    }
    return 0;
}

struct descriptor *descriptor_parse(const char *text, bool checksum_required,
                                    const struct chain_params *params, struct error *error)
{
    size_t len = checked_len(text, checksum_required, error);
    if (!len) {
        return NULL;
    }
    struct descriptor *d = mem_alloc(sizeof *d);
    d->params = params;
    d->solvable = true;
    struct reader r = {d, text, text + len, error};
    d->top = read_expression(&r, AT_TOP);
    if (d->top && r.at < r.end) {
        error_set(error, ERROR_PARSE, NULL, "'%.*s' is not a valid descriptor function", (int)MIN(len, 100u),
                  text);
        d->top = NULL;
    }
    if (!d->top) {
        descriptor_free(d);
        return NULL;
    }
    return d;
}

void descriptor_free(struct descriptor *d)
{
    if (d) {
        arena_wipe(&d->arena); /* private keys */
        mem_free(d);
    }
}

bool descriptor_is_ranged(const struct descriptor *d)
{
    return d->ranged;
}

bool descriptor_is_solvable(const struct descriptor *d)
{
    return d->solvable;
}

bool descriptor_has_secret(const struct descriptor *d)
{
    return d->secret;
}

/* ---- Text -------------------------------------------------------------------------------------------- */

static void write_checksum(struct buf *out, size_t begin)
{
    char checksum[9] = "";
    CHECK(descriptor_checksum(checksum, (const char *)out->data + begin, out->len - begin));
    buf_printf(out, "#%s", checksum);
}

static void write_hex(struct buf *out, struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        buf_printf(out, "%02x", bytes.data[i]);
    }
}

/* As it was given, or (now) of the keys that were derived last, which nobody can tell to have been sorted. */
static void write_text(struct buf *out, const struct descriptor *d, const struct expression *e, bool now);

static void write_tree(struct buf *out, const struct descriptor *d, const struct script_tree *tree, bool now)
{
    if (tree->leaf) {
        write_text(out, d, tree->leaf, now);
        return;
    }
    buf_u8(out, '{');
    write_tree(out, d, tree->left, now);
    buf_u8(out, ',');
    write_tree(out, d, tree->right, now);
    buf_u8(out, '}');
}

static void write_keys(struct buf *out, const struct descriptor *d, const struct expression *e, bool now)
{
    for (unsigned i = 0; i < e->key_count; i++) {
        const struct key_expression *key =
            now && e->order ? CONTAINER_OF(e->order[i], struct key_expression, now) : &e->keys[i];
        if (i || e->order) {
            buf_u8(out, ',');
        }
        if (now) {
            key_expression_write_now(out, key);
        } else {
            key_expression_write(out, key, d->params);
        }
    }
}

static void write_text(struct buf *out, const struct descriptor *d, const struct expression *e, bool now)
{
    enum function shown = !now                           ? e->function
                          : e->function == SORTEDMULTI   ? MULTI
                          : e->function == SORTEDMULTI_A ? MULTI_A
                                                         : e->function;
    buf_printf(out, "%s(", functions[shown].name);
    if (e->order) {
        buf_printf(out, "%u", e->needed);
    }
    write_keys(out, d, e, now);
    if (e->inner) {
        write_text(out, d, e->inner, now);
    }
    if (e->tree) {
        buf_u8(out, ',');
        write_tree(out, d, e->tree, now);
    }
    if (e->address) {
        buf_printf(out, "%s", e->address);
    } else if (e->function == RAW) {
        write_hex(out, e->script);
    }
    buf_u8(out, ')');
}

void descriptor_write(struct buf *out, const struct descriptor *d)
{
    size_t begin = out->len;
    write_text(out, d, d->top, false);
    write_checksum(out, begin);
}

/* ---- Scripts ----------------------------------------------------------------------------------------- */

enum {
    OP_EQUAL = 0x87,
    OP_NUMEQUAL = 0x9c,
    OP_CHECKSIG = 0xac,
    OP_CHECKMULTISIG = 0xae,
    OP_CHECKSIGADD = 0xba
};

static int by_bytes(const void *a, const void *b)
{
    const struct derived_key *x = *(const struct derived_key *const *)a,
                             *y = *(const struct derived_key *const *)b;
    return memcmp(x->bytes, y->bytes, sizeof x->bytes);
}

static bool derive(struct descriptor *d, struct expression *e, uint32_t index);

static bool derive_tree(struct descriptor *d, struct script_tree *tree, uint32_t index)
{
    return tree->leaf ? derive(d, tree->leaf, index)
                      : derive_tree(d, tree->left, index) && derive_tree(d, tree->right, index);
}

static bool derive(struct descriptor *d, struct expression *e, uint32_t index)
{
    for (unsigned i = 0; i < e->key_count; i++) {
        if (!key_expression_derive(&e->keys[i], &d->arena, index)) {
            return false;
        }
        if (e->order) {
            e->order[i] = &e->keys[i].now;
        }
    }
    if (e->order && (e->function == SORTEDMULTI || e->function == SORTEDMULTI_A)) {
        qsort(e->order, e->key_count, sizeof(struct derived_key *), by_bytes);
    }
    return (!e->inner || derive(d, e->inner, index)) && (!e->tree || derive_tree(d, e->tree, index));
}

static void put_hash(struct buf *out, const char *before, const struct derived_key *key, const char *after)
{
    uint8_t hash[20];
    hash160(hash, key->bytes, key->len);
    buf_bytes(out, before, strlen(before));
    buf_u8(out, sizeof hash);
    buf_bytes(out, hash, sizeof hash);
    buf_bytes(out, after, strlen(after));
}

static void put_multisig(struct buf *out, const struct expression *e)
{
    script_push_height(out, e->needed);
    for (unsigned i = 0; i < e->key_count; i++) {
        script_push(out, e->order[i]->bytes, e->order[i]->len);
    }
    script_push_height(out, e->key_count);
    buf_u8(out, OP_CHECKMULTISIG);
}

static void put_multisig_of_leaf(struct buf *out, const struct expression *e)
{
    for (unsigned i = 0; i < e->key_count; i++) {
        script_push(out, e->order[i]->bytes, e->order[i]->len);
        buf_u8(out, i ? OP_CHECKSIGADD : OP_CHECKSIG);
    }
    script_push_height(out, e->needed);
    buf_u8(out, OP_NUMEQUAL);
}

static bool put_script(struct buf *out, const struct expression *e);

static bool put_nested(struct buf *out, const struct expression *e)
{
    struct buf inner = {0};
    bool ok = put_script(&inner, e->inner);
    if (e->function == SH) {
        script_wrap_p2sh(out, buf_span(&inner));
    } else {
        script_wrap_witness(out, buf_span(&inner));
    }
    buf_free(&inner);
    return ok;
}

static bool tree_hash(struct hash256 *out, const struct script_tree *tree)
{
    struct hash256 left, right;
    struct buf script = {0};
    if (tree->leaf) {
        bool ok = put_script(&script, tree->leaf);
        taproot_leaf_hash(out, LEAF_TAPSCRIPT, buf_span(&script));
        buf_free(&script);
        return ok;
    }
    if (!tree_hash(&left, tree->left) || !tree_hash(&right, tree->right)) {
        return false;
    }
    taproot_branch_hash(out, &left, &right);
    return true;
}

static bool put_taproot(struct buf *out, const struct expression *e)
{
    const uint8_t *internal = e->keys[0].now.bytes;
    struct hash256 root, tweak;
    secp256k1_xonly_pubkey key;
    secp256k1_pubkey output;
    uint8_t bytes[33];
    size_t len = sizeof bytes;
    if (e->tree && !tree_hash(&root, e->tree)) {
        return false;
    }
    taproot_tweak_hash(&tweak, internal, e->tree ? &root : NULL);
    bool ok = secp256k1_xonly_pubkey_parse(secp256k1_context_static, &key, internal) &&
              secp256k1_xonly_pubkey_tweak_add(secp256k1_context_static, &output, &key, tweak.b) &&
              secp256k1_ec_pubkey_serialize(secp256k1_context_static, bytes, &len, &output,
                                            SECP256K1_EC_COMPRESSED);
    if (ok) {
        buf_u8(out, 0x51);
        script_push(out, bytes + 1, 32);
    }
    return ok;
}

static void put_key_script(struct buf *out, enum function function, const struct derived_key *key)
{
    if (function == PKH) {
        put_hash(out, "\x76\xa9", key, "\x88\xac");
    } else if (function == WPKH) {
        buf_u8(out, 0);
        put_hash(out, "", key, "");
    } else if (function == RAWTR) {
        buf_u8(out, 0x51);
        script_push(out, key->bytes, key->len);
    } else {
        script_push(out, key->bytes, key->len);
        buf_u8(out, OP_CHECKSIG);
    }
}

/* Of the keys that were derived last; false: no such key, which nobody will ever see. */
static bool put_script(struct buf *out, const struct expression *e)
{
    switch (e->function) {
    case ADDR:
    case RAW: buf_bytes(out, e->script.data, e->script.len); return true;
    case PK:
    case PKH:
    case WPKH:
    case RAWTR:
        CHECK(e->keys);
        put_key_script(out, e->function, &e->keys->now);
        return true;
    case MULTI:
    case SORTEDMULTI: put_multisig(out, e); return true;
    case MULTI_A:
    case SORTEDMULTI_A: put_multisig_of_leaf(out, e); return true;
    case SH:
    case WSH: return put_nested(out, e);
    case TR: return put_taproot(out, e);
    case COMBO: break; /* is several */
    }
    return false;
}

static bool give(const struct descriptor *d, const struct expression *e, descriptor_script *each,
                 void *context)
{
    struct buf script = {0}, text = {0};
    char address[ADDRESS_TEXT];
    bool ok = put_script(&script, e);
    if (ok && d->solvable) {
        write_text(&text, d, e, true);
        write_checksum(&text, 0);
    } else if (ok) {
        bool has_address = address_from_script(address, buf_span(&script), d->params);
        descriptor_infer(&text, buf_span(&script), has_address ? address : NULL);
    }
    if (ok) {
        buf_u8(&text, 0);
        each(context, buf_span(&script), (const char *)text.data);
    }
    buf_free(&script);
    buf_free(&text);
    return ok;
}

/* The two or four scripts that one key has had over the years. */
static bool give_all_of_key(const struct descriptor *d, const struct expression *combo,
                            descriptor_script *each, void *context)
{
    struct expression pk = *combo, pkh = *combo, wpkh = *combo, sh = {.function = SH, .inner = &wpkh};
    pk.function = PK;
    pkh.function = PKH;
    wpkh.function = WPKH;
    return give(d, &pk, each, context) && give(d, &pkh, each, context) &&
           (combo->keys[0].now.len != 33 || (give(d, &wpkh, each, context) && give(d, &sh, each, context)));
}

bool descriptor_expand(struct descriptor *d, uint32_t index, descriptor_script *each, void *context,
                       struct error *error)
{
    bool ok = derive(d, d->top, index);
    if (ok) {
        ok = d->top->function == COMBO ? give_all_of_key(d, d->top, each, context)
                                       : give(d, d->top, each, context);
    }
    return ok || error_set(error, ERROR_MISSING, NULL, "Cannot derive script without private keys");
}
