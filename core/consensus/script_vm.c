/* The script interpreter: one script, one stack; base scripts, witness version 0, tapscript (BIP342). What
 * surrounds a script (P2SH, witness programs, taproot's tree) is script_verify.c's. */
#include "core/consensus/script.h"

#include <openssl/evp.h>

#include "hashing/kernels/kernels.h"

#define OPS_MAX        201
#define NUMBER_BYTES   4u
#define LOCKTIME_BYTES 5u
#define SIGOP_WEIGHT   50 /* BIP342's budget: per signature that is checked */
#define MADE_BYTES_MAX (4u << 20)

#define TRY(expression)                                                                                      \
    do {                                                                                                     \
        enum script_error try_error = (expression);                                                          \
        if (try_error != SCRIPT_ERROR_OK) {                                                                  \
            return try_error;                                                                                \
        }                                                                                                    \
    } while (0)
#define NEED(stack, n)                                                                                       \
    do {                                                                                                     \
        if ((stack)->count < (size_t)(n)) {                                                                  \
            return SCRIPT_ERROR_INVALID_STACK_OPERATION;                                                     \
        }                                                                                                    \
    } while (0)

struct vm {
    struct script_run *run;
    struct script_stack *stack;
    struct span script;
    size_t at, code_start; /* next operation; after the last OP_CODESEPARATOR */
    uint32_t position;     /* of the operation, counted in operations */
    enum script_version version;
    int ops;
    /* Nested conditions: how deep, and at which depth the first false one stands (or SIZE_MAX). */
    size_t depth, first_false;
};

/* ---- Items and numbers ------------------------------------------------------------------------------- */

static struct span *top(struct vm *vm, size_t below) /* top(vm, 1) is the topmost */
{
    return &vm->stack->items[vm->stack->count - below];
}

static void push(struct vm *vm, struct span item)
{
    vm->stack->items[vm->stack->count++] = item; /* room for the few that one operation adds is kept */
}

static void drop(struct vm *vm, size_t count)
{
    vm->stack->count -= count;
}

uint8_t *script_memory(struct script_run *run, size_t len)
{
    size_t rounded = (len + 15u) & ~(size_t)15u;
    if (rounded > sizeof run->small - run->small_used) {
        return arena_alloc(&run->arena, len);
    }
    uint8_t *at = run->small + run->small_used;
    run->small_used += rounded;
    return at;
}

static void move_items(struct arena *to, struct script_stack *stack)
{
    for (size_t i = 0; i < stack->count; i++) {
        uint8_t *copy = arena_alloc(to, stack->items[i].len);
        if (stack->items[i].len) {
            memcpy(copy, stack->items[i].data, stack->items[i].len);
        }
        stack->items[i].data = copy;
    }
}

/* Base scripts and version 0 have 201 operations; a tapscript may have millions, and each may make an item.
 * The few that still stand on the stacks (1,000 of 520 bytes at most) move, the rest is forgotten. */
static void forget_dead_items(struct script_run *run)
{
    struct arena kept = {0};
    move_items(&kept, &run->stack);
    move_items(&kept, &run->alt);
    arena_free(&run->arena);
    run->arena = kept;
}

static void push_copy(struct vm *vm, const void *data, size_t len)
{
    uint8_t *copy = script_memory(vm->run, len);
    memcpy(copy, data, len);
    push(vm, span_of(copy, len));
    if (vm->version == SCRIPT_TAPSCRIPT && vm->run->arena.used_bytes > MADE_BYTES_MAX) {
        forget_dead_items(vm->run);
    }
}

bool script_true(struct span item)
{
    for (size_t i = 0; i < item.len; i++) {
        if (item.data[i]) {
            return !(i + 1 == item.len && item.data[i] == 0x80); /* negative zero is false */
        }
    }
    return false;
}

static void push_bool(struct vm *vm, bool v)
{
    static const uint8_t one = 1;
    push(vm, span_of(&one, v ? 1 : 0));
}

static void push_number(struct vm *vm, int64_t v)
{
    uint8_t bytes[9];
    size_t len = 0;
    uint64_t magnitude = v < 0 ? (uint64_t)-v : (uint64_t)v;
    for (; magnitude; magnitude >>= 8) {
        bytes[len++] = (uint8_t)magnitude;
    }
    if (len && bytes[len - 1] & 0x80) {
        bytes[len++] = (uint8_t)(v < 0 ? 0x80 : 0);
    } else if (len && v < 0) {
        bytes[len - 1] |= 0x80;
    }
    push_copy(vm, bytes, len);
}

static enum script_error number(int64_t *out, struct span item, uint32_t flags, size_t bytes_max)
{
    *out = 0;
    if (item.len > bytes_max) {
        return SCRIPT_ERROR_UNKNOWN;
    }
    if (flags & SCRIPT_MINIMALDATA && item.len > 0 && (item.data[item.len - 1] & 0x7f) == 0 &&
        (item.len == 1 || !(item.data[item.len - 2] & 0x80))) {
        return SCRIPT_ERROR_UNKNOWN;
    }
    uint64_t magnitude = 0;
    for (size_t i = 0; i < item.len; i++) {
        magnitude |= (uint64_t)item.data[i] << (8 * i);
    }
    if (item.len && item.data[item.len - 1] & 0x80) {
        magnitude &= ~(UINT64_C(0x80) << (8 * (item.len - 1)));
        *out = -(int64_t)magnitude;
    } else {
        *out = (int64_t)magnitude;
    }
    return SCRIPT_ERROR_OK;
}

static enum script_error top_number(struct vm *vm, int64_t *out, size_t below)
{
    return number(out, *top(vm, below), vm->run->flags, NUMBER_BYTES);
}

/* ---- Reading operations ------------------------------------------------------------------------------ */

bool script_next_op(struct span script, size_t *at, uint8_t *op, struct span *data)
{
    struct cursor c = cursor_of(script.data + *at, script.len - *at);
    *op = cursor_u8(&c);
    size_t len = 0;
    if (*op < OP_PUSHDATA1) {
        len = *op;
    } else if (*op == OP_PUSHDATA1) {
        len = cursor_u8(&c);
    } else if (*op == OP_PUSHDATA2) {
        len = cursor_u16(&c);
    } else if (*op == OP_PUSHDATA4) {
        len = cursor_u32(&c);
    }
    *data = cursor_span(&c, len);
    if (c.failed) {
        *at = script.len;
        return false;
    }
    *at = (size_t)(c.at - script.data);
    return true;
}

bool script_is_push_only(struct span script)
{
    for (size_t at = 0; at < script.len;) {
        uint8_t op;
        struct span data;
        if (!script_next_op(script, &at, &op, &data) || op > OP_16) {
            return false;
        }
    }
    return true;
}

static bool is_minimal_push(uint8_t op, struct span data)
{
    if (data.len == 0) {
        return op == OP_0;
    }
    if (data.len == 1 && data.data[0] >= 1 && data.data[0] <= 16) {
        return false; /* OP_1 .. OP_16 */
    }
    if (data.len == 1 && data.data[0] == 0x81) {
        return false; /* OP_1NEGATE */
    }
    return data.len <= 75      ? op == data.len
           : data.len <= 255   ? op == OP_PUSHDATA1
           : data.len <= 65535 ? op == OP_PUSHDATA2
                               : true;
}

static bool is_disabled(uint8_t op)
{
    return (op >= OP_CAT && op <= OP_RIGHT) || (op >= OP_INVERT && op <= OP_XOR) || op == OP_2MUL ||
           op == OP_2DIV || (op >= OP_MUL && op <= OP_RSHIFT);
}

/* ---- Groups of operations ---------------------------------------------------------------------------- */

static enum script_error run_if(struct vm *vm, uint8_t op, bool executing)
{
    bool value = false;
    if (executing) {
        if (vm->stack->count < 1) {
            return SCRIPT_ERROR_UNBALANCED_CONDITIONAL;
        }
        struct span item = *top(vm, 1);
        bool minimal = item.len == 0 || (item.len == 1 && item.data[0] == 1);
        if (vm->version == SCRIPT_TAPSCRIPT && !minimal) {
            return SCRIPT_ERROR_TAPSCRIPT_MINIMALIF; /* consensus there */
        }
        if (vm->version == SCRIPT_WITNESS_V0 && vm->run->flags & SCRIPT_MINIMALIF && !minimal) {
            return SCRIPT_ERROR_MINIMALIF;
        }
        value = script_true(item) == (op == OP_IF);
        drop(vm, 1);
    }
    if (!value && vm->first_false == SIZE_MAX) {
        vm->first_false = vm->depth;
    }
    vm->depth++;
    return SCRIPT_ERROR_OK;
}

static enum script_error run_condition(struct vm *vm, uint8_t op, bool executing)
{
    if (op == OP_IF || op == OP_NOTIF) {
        return run_if(vm, op, executing);
    }
    if (vm->depth == 0) {
        return SCRIPT_ERROR_UNBALANCED_CONDITIONAL;
    }
    if (op == OP_ELSE) {
        if (vm->first_false == SIZE_MAX) {
            vm->first_false = vm->depth - 1;
        } else if (vm->first_false == vm->depth - 1) {
            vm->first_false = SIZE_MAX;
        }
        return SCRIPT_ERROR_OK;
    }
    vm->depth--; /* OP_ENDIF */
    if (vm->first_false == vm->depth) {
        vm->first_false = SIZE_MAX;
    }
    return SCRIPT_ERROR_OK;
}

/* Moves the item `below` the top out of its place and to the top. */
static void roll(struct vm *vm, size_t below)
{
    struct span item = *top(vm, below);
    memmove(top(vm, below), top(vm, below) + 1, (below - 1) * sizeof item);
    *top(vm, 1) = item;
}

static enum script_error run_pick(struct vm *vm, uint8_t op)
{
    int64_t n;
    NEED(vm->stack, 2);
    TRY(top_number(vm, &n, 1));
    drop(vm, 1);
    if (n < 0 || n >= (int64_t)vm->stack->count) {
        return SCRIPT_ERROR_INVALID_STACK_OPERATION;
    }
    if (op == OP_PICK) {
        push(vm, *top(vm, (size_t)n + 1));
    } else {
        roll(vm, (size_t)n + 1);
    }
    return SCRIPT_ERROR_OK;
}

static enum script_error run_stack(struct vm *vm, uint8_t op)
{
    struct script_stack *s = vm->stack, *alt = &vm->run->alt;
    static const uint8_t needed[] = {
        [0 /* OP_TOALTSTACK */] = 1,    [OP_2DROP - OP_TOALTSTACK] = 2, [OP_2DUP - OP_TOALTSTACK] = 2,
        [OP_3DUP - OP_TOALTSTACK] = 3,  [OP_2OVER - OP_TOALTSTACK] = 4, [OP_2ROT - OP_TOALTSTACK] = 6,
        [OP_2SWAP - OP_TOALTSTACK] = 4, [OP_IFDUP - OP_TOALTSTACK] = 1, [OP_DROP - OP_TOALTSTACK] = 1,
        [OP_DUP - OP_TOALTSTACK] = 1,   [OP_NIP - OP_TOALTSTACK] = 2,   [OP_OVER - OP_TOALTSTACK] = 2,
        [OP_ROT - OP_TOALTSTACK] = 3,   [OP_SWAP - OP_TOALTSTACK] = 2,  [OP_TUCK - OP_TOALTSTACK] = 2,
    };
    NEED(s, needed[op - OP_TOALTSTACK]);
    switch (op) {
    case OP_TOALTSTACK:
        alt->items[alt->count++] = *top(vm, 1);
        drop(vm, 1);
        break;
    case OP_FROMALTSTACK:
        if (alt->count < 1) {
            return SCRIPT_ERROR_INVALID_ALTSTACK_OPERATION;
        }
        push(vm, alt->items[--alt->count]);
        break;
    case OP_2DROP: drop(vm, 2); break;
    case OP_2DUP:
        push(vm, *top(vm, 2));
        push(vm, *top(vm, 2));
        break;
    case OP_3DUP:
        for (int i = 0; i < 3; i++) {
            push(vm, *top(vm, 3));
        }
        break;
    case OP_2OVER:
        push(vm, *top(vm, 4));
        push(vm, *top(vm, 4));
        break;
    case OP_2ROT:
        roll(vm, 6);
        roll(vm, 6);
        break;
    case OP_2SWAP:
        roll(vm, 4);
        roll(vm, 4);
        break;
    case OP_IFDUP:
        if (script_true(*top(vm, 1))) {
            push(vm, *top(vm, 1));
        }
        break;
    case OP_DEPTH: push_number(vm, (int64_t)s->count); break;
    case OP_DROP: drop(vm, 1); break;
    case OP_DUP: push(vm, *top(vm, 1)); break;
    case OP_NIP:
        *top(vm, 2) = *top(vm, 1);
        drop(vm, 1);
        break;
    case OP_OVER: push(vm, *top(vm, 2)); break;
    case OP_ROT: roll(vm, 3); break;
    case OP_SWAP: roll(vm, 2); break;
    case OP_TUCK: {
        struct span item = *top(vm, 1);
        push(vm, item);
        *top(vm, 2) = *top(vm, 3);
        *top(vm, 3) = item;
        break;
    }
    default: return SCRIPT_ERROR_BAD_OPCODE;
    }
    return SCRIPT_ERROR_OK;
}

static enum script_error run_unary(struct vm *vm, uint8_t op)
{
    int64_t a;
    NEED(vm->stack, 1);
    TRY(top_number(vm, &a, 1));
    drop(vm, 1);
    switch (op) {
    case OP_1ADD: push_number(vm, a + 1); break;
    case OP_1SUB: push_number(vm, a - 1); break;
    case OP_NEGATE: push_number(vm, -a); break;
    case OP_ABS: push_number(vm, a < 0 ? -a : a); break;
    case OP_NOT: push_number(vm, a == 0); break;
    default: push_number(vm, a != 0); break; /* OP_0NOTEQUAL */
    }
    return SCRIPT_ERROR_OK;
}

static enum script_error run_binary(struct vm *vm, uint8_t op)
{
    int64_t a, b, r = 0;
    NEED(vm->stack, 2);
    TRY(top_number(vm, &a, 2));
    TRY(top_number(vm, &b, 1));
    switch (op) {
    case OP_ADD: r = a + b; break;
    case OP_SUB: r = a - b; break;
    case OP_BOOLAND: r = a != 0 && b != 0; break;
    case OP_BOOLOR: r = a != 0 || b != 0; break;
    case OP_NUMEQUAL:
    case OP_NUMEQUALVERIFY: r = a == b; break;
    case OP_NUMNOTEQUAL: r = a != b; break;
    case OP_LESSTHAN: r = a < b; break;
    case OP_GREATERTHAN: r = a > b; break;
    case OP_LESSTHANOREQUAL: r = a <= b; break;
    case OP_GREATERTHANOREQUAL: r = a >= b; break;
    case OP_MIN: r = MIN(a, b); break;
    default: r = MAX(a, b); break; /* OP_MAX */
    }
    drop(vm, 2);
    if (op == OP_NUMEQUALVERIFY) {
        return r ? SCRIPT_ERROR_OK : SCRIPT_ERROR_NUMEQUALVERIFY;
    }
    push_number(vm, r);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_within(struct vm *vm)
{
    int64_t x, least, most;
    NEED(vm->stack, 3);
    TRY(top_number(vm, &x, 3));
    TRY(top_number(vm, &least, 2));
    TRY(top_number(vm, &most, 1));
    drop(vm, 3);
    push_bool(vm, least <= x && x < most);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_hash(struct vm *vm, uint8_t op)
{
    uint8_t out[32];
    size_t len = 20;
    NEED(vm->stack, 1);
    struct span item = *top(vm, 1);
    switch (op) {
    case OP_RIPEMD160: CHECK(EVP_Digest(item.data, item.len, out, NULL, EVP_ripemd160(), NULL) == 1); break;
    case OP_SHA1: CHECK(EVP_Digest(item.data, item.len, out, NULL, EVP_sha1(), NULL) == 1); break;
    case OP_HASH160: hash160(out, item.data, item.len); break;
    case OP_SHA256:
        sha256(out, item.data, item.len);
        len = 32;
        break;
    default: /* OP_HASH256 */
        sha256d(out, item.data, item.len);
        len = 32;
        break;
    }
    drop(vm, 1);
    push_copy(vm, out, len);
    return SCRIPT_ERROR_OK;
}

/* What BIP65 and BIP112 compare with: it stays on the stack. */
static enum script_error locktime_operand(int64_t *out, struct vm *vm)
{
    NEED(vm->stack, 1);
    TRY(number(out, *top(vm, 1), vm->run->flags, LOCKTIME_BYTES));
    return *out < 0 ? SCRIPT_ERROR_NEGATIVE_LOCKTIME : SCRIPT_ERROR_OK;
}

/* BIP65. */
static enum script_error check_locktime(struct vm *vm)
{
    const struct tx *tx = vm->run->tx;
    int64_t wanted;
    TRY(locktime_operand(&wanted, vm));
    bool same_kind = (wanted < LOCKTIME_THRESHOLD) == (tx->locktime < LOCKTIME_THRESHOLD);
    if (!same_kind || wanted > (int64_t)tx->locktime ||
        tx->inputs[vm->run->index].sequence == SEQUENCE_FINAL) {
        return SCRIPT_ERROR_UNSATISFIED_LOCKTIME;
    }
    return SCRIPT_ERROR_OK;
}

/* BIP112. */
static enum script_error check_sequence(struct vm *vm)
{
    const struct tx *tx = vm->run->tx;
    int64_t wanted;
    TRY(locktime_operand(&wanted, vm));
    if (wanted & SEQUENCE_LOCK_DISABLED) {
        return SCRIPT_ERROR_OK;
    }
    uint32_t sequence = tx->inputs[vm->run->index].sequence, mask = SEQUENCE_LOCK_TIME | SEQUENCE_LOCK_MASK;
    uint32_t have = sequence & mask, want = (uint32_t)wanted & mask;
    bool same_kind = (have < SEQUENCE_LOCK_TIME) == (want < SEQUENCE_LOCK_TIME);
    if ((uint32_t)tx->version < 2 || sequence & SEQUENCE_LOCK_DISABLED || !same_kind || want > have) {
        return SCRIPT_ERROR_UNSATISFIED_LOCKTIME;
    }
    return SCRIPT_ERROR_OK;
}

/* The push of a signature, as the first client would have written it (520 bytes at most). */
static size_t push_of(uint8_t out[SCRIPT_PUSH_BYTES_MAX + 3], struct span item)
{
    size_t at = 0;
    if (item.len > 255) {
        out[at++] = OP_PUSHDATA2;
        out[at++] = (uint8_t)item.len;
        out[at++] = (uint8_t)(item.len >> 8);
    } else {
        if (item.len >= OP_PUSHDATA1) {
            out[at++] = OP_PUSHDATA1;
        }
        out[at++] = (uint8_t)item.len;
    }
    if (item.len) {
        memcpy(out + at, item.data, item.len);
    }
    return at + item.len;
}

/* The script code without the pushes of a signature (base scripts only): a rule of the first client. *found
 * counts; nothing is copied while it is zero. */
static struct span without_push(struct vm *vm, struct span code, struct span signature, size_t *found)
{
    uint8_t pattern[SCRIPT_PUSH_BYTES_MAX + 3], *out = NULL;
    size_t pattern_len = push_of(pattern, signature), len = 0, at = 0;
    while (at < code.len) {
        while (code.len - at >= pattern_len && memcmp(code.data + at, pattern, pattern_len) == 0) {
            if (!out) {
                out = script_memory(vm->run, code.len);
                memcpy(out, code.data, at);
                len = at;
            }
            at += pattern_len;
            ++*found;
        }
        if (at < code.len) {
            size_t step = script_op_len(code, at);
            if (out) {
                memcpy(out + len, code.data + at, step);
            }
            len += step;
            at += step;
        }
    }
    return out ? span_of(out, len) : code;
}

static enum script_error strip_signature(struct vm *vm, struct span *code, struct span signature)
{
    size_t found = 0;
    if (vm->version == SCRIPT_BASE) {
        *code = without_push(vm, *code, signature, &found);
    }
    return found && vm->run->flags & SCRIPT_CONST_SCRIPTCODE ? SCRIPT_ERROR_SIG_FINDANDDELETE
                                                             : SCRIPT_ERROR_OK;
}

static struct span current_code(const struct vm *vm)
{
    return span_of(vm->script.data + vm->code_start, vm->script.len - vm->code_start);
}

/* BIP342: an empty signature is the one that may fail; any other counts against the budget and must be good.
 */
static enum script_error checksig_tapscript(struct vm *vm, struct span signature, struct span key, bool *ok)
{
    struct script_run *run = vm->run;
    *ok = signature.len > 0;
    if (*ok) {
        run->tap.weight_left -= SIGOP_WEIGHT;
        if (run->tap.weight_left < 0) {
            return SCRIPT_ERROR_TAPSCRIPT_VALIDATION_WEIGHT;
        }
    }
    if (key.len == 0) {
        return SCRIPT_ERROR_PUBKEYTYPE;
    }
    if (key.len != 32) {
        return run->flags & SCRIPT_DISCOURAGE_UPGRADABLE_PUBKEY
                   ? SCRIPT_ERROR_DISCOURAGE_UPGRADABLE_PUBKEYTYPE
                   : SCRIPT_ERROR_OK;
    }
    return *ok ? schnorr_verify(run, signature, key, SCRIPT_TAPSCRIPT) : SCRIPT_ERROR_OK;
}

static enum script_error checksig_ecdsa(struct vm *vm, struct span signature, struct span key, bool *ok)
{
    struct span code = current_code(vm);
    TRY(strip_signature(vm, &code, signature));
    TRY(signature_check_encoding(signature, vm->run->flags));
    TRY(public_key_check_encoding(key, vm->run->flags, vm->version));
    *ok = signature_verify(vm->run, signature, key, code, vm->version);
    return !*ok && vm->run->flags & SCRIPT_NULLFAIL && signature.len ? SCRIPT_ERROR_SIG_NULLFAIL
                                                                     : SCRIPT_ERROR_OK;
}

static enum script_error run_checksig(struct vm *vm, uint8_t op)
{
    bool ok;
    NEED(vm->stack, 2);
    struct span signature = *top(vm, 2), key = *top(vm, 1);
    TRY(vm->version == SCRIPT_TAPSCRIPT ? checksig_tapscript(vm, signature, key, &ok)
                                        : checksig_ecdsa(vm, signature, key, &ok));
    drop(vm, 2);
    if (op == OP_CHECKSIGVERIFY) {
        return ok ? SCRIPT_ERROR_OK : SCRIPT_ERROR_CHECKSIGVERIFY;
    }
    push_bool(vm, ok);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_checksigadd(struct vm *vm)
{
    bool ok;
    int64_t n;
    if (vm->version != SCRIPT_TAPSCRIPT) {
        return SCRIPT_ERROR_BAD_OPCODE;
    }
    NEED(vm->stack, 3);
    TRY(top_number(vm, &n, 2));
    TRY(checksig_tapscript(vm, *top(vm, 3), *top(vm, 1), &ok));
    drop(vm, 3);
    push_number(vm, n + ok);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_checkmultisig(struct vm *vm, uint8_t op)
{
    int64_t key_count, sig_count;
    if (vm->version == SCRIPT_TAPSCRIPT) {
        return SCRIPT_ERROR_TAPSCRIPT_CHECKMULTISIG;
    }
    NEED(vm->stack, 1);
    TRY(top_number(vm, &key_count, 1));
    if (key_count < 0 || key_count > MULTISIG_KEYS_MAX) {
        return SCRIPT_ERROR_PUBKEY_COUNT;
    }
    vm->ops += (int)key_count;
    if (vm->ops > OPS_MAX) {
        return SCRIPT_ERROR_OP_COUNT;
    }
    NEED(vm->stack, key_count + 2);
    TRY(top_number(vm, &sig_count, (size_t)key_count + 2));
    if (sig_count < 0 || sig_count > key_count) {
        return SCRIPT_ERROR_SIG_COUNT;
    }
    size_t used = (size_t)(key_count + sig_count + 3); /* with the dummy */
    NEED(vm->stack, used);
    /* Signatures and keys, both from the last one down. */
    struct span *keys = top(vm, 2), *signatures = top(vm, (size_t)key_count + 3), code = current_code(vm);
    for (int64_t i = 0; i < sig_count; i++) {
        TRY(strip_signature(vm, &code, signatures[-i]));
    }
    bool ok = true;
    for (int64_t s = 0, k = 0; ok && s < sig_count; k++) {
        TRY(signature_check_encoding(signatures[-s], vm->run->flags));
        TRY(public_key_check_encoding(keys[-k], vm->run->flags, vm->version));
        s += signature_verify(vm->run, signatures[-s], keys[-k], code, vm->version);
        ok = sig_count - s <= key_count - k - 1; /* enough keys left? */
    }
    for (int64_t i = 0; !ok && i < sig_count; i++) {
        if (vm->run->flags & SCRIPT_NULLFAIL && signatures[-i].len) {
            return SCRIPT_ERROR_SIG_NULLFAIL;
        }
    }
    if (vm->run->flags & SCRIPT_NULLDUMMY && top(vm, used)->len) {
        return SCRIPT_ERROR_SIG_NULLDUMMY;
    }
    drop(vm, used);
    if (op == OP_CHECKMULTISIGVERIFY) {
        return ok ? SCRIPT_ERROR_OK : SCRIPT_ERROR_CHECKMULTISIGVERIFY;
    }
    push_bool(vm, ok);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_nop(struct vm *vm, uint8_t op)
{
    if (op == OP_CHECKLOCKTIMEVERIFY && vm->run->flags & SCRIPT_CLTV) {
        return check_locktime(vm);
    }
    if (op == OP_CHECKSEQUENCEVERIFY && vm->run->flags & SCRIPT_CSV) {
        return check_sequence(vm);
    }
    bool upgradable = op != OP_CHECKLOCKTIMEVERIFY && op != OP_CHECKSEQUENCEVERIFY;
    return upgradable && vm->run->flags & SCRIPT_DISCOURAGE_UPGRADABLE_NOPS
               ? SCRIPT_ERROR_DISCOURAGE_UPGRADABLE_NOPS
               : SCRIPT_ERROR_OK;
}

static enum script_error run_equal(struct vm *vm, uint8_t op)
{
    NEED(vm->stack, 2);
    bool equal = span_equal(*top(vm, 1), *top(vm, 2));
    drop(vm, 2);
    if (op == OP_EQUALVERIFY) {
        return equal ? SCRIPT_ERROR_OK : SCRIPT_ERROR_EQUALVERIFY;
    }
    push_bool(vm, equal);
    return SCRIPT_ERROR_OK;
}

static enum script_error run_operation(struct vm *vm, uint8_t op)
{
    if (op == OP_1NEGATE || (op >= OP_1 && op <= OP_16)) {
        push_number(vm, (int64_t)op - (OP_1 - 1));
        return SCRIPT_ERROR_OK;
    }
    if (op >= OP_TOALTSTACK && op <= OP_TUCK) {
        return op == OP_PICK || op == OP_ROLL ? run_pick(vm, op) : run_stack(vm, op);
    }
    if (op >= OP_1ADD && op <= OP_0NOTEQUAL) {
        return run_unary(vm, op);
    }
    if (op >= OP_ADD && op <= OP_MAX) {
        return run_binary(vm, op);
    }
    if (op >= OP_RIPEMD160 && op <= OP_HASH256) {
        return run_hash(vm, op);
    }
    if (op == OP_NOP1 || (op >= OP_CHECKLOCKTIMEVERIFY && op <= OP_NOP10)) {
        return run_nop(vm, op);
    }
    switch (op) {
    case OP_NOP: return SCRIPT_ERROR_OK;
    case OP_VERIFY: {
        NEED(vm->stack, 1);
        bool ok = script_true(*top(vm, 1));
        drop(vm, ok ? 1 : 0);
        return ok ? SCRIPT_ERROR_OK : SCRIPT_ERROR_VERIFY;
    }
    case OP_RETURN: return SCRIPT_ERROR_OP_RETURN;
    case OP_SIZE:
        NEED(vm->stack, 1);
        push_number(vm, (int64_t)top(vm, 1)->len);
        return SCRIPT_ERROR_OK;
    case OP_EQUAL:
    case OP_EQUALVERIFY: return run_equal(vm, op);
    case OP_WITHIN: return run_within(vm);
    case OP_CODESEPARATOR:
        vm->code_start = vm->at;
        vm->run->tap.separator = vm->position;
        return SCRIPT_ERROR_OK;
    case OP_CHECKSIG:
    case OP_CHECKSIGVERIFY: return run_checksig(vm, op);
    case OP_CHECKMULTISIG:
    case OP_CHECKMULTISIGVERIFY: return run_checkmultisig(vm, op);
    case OP_CHECKSIGADD: return run_checksigadd(vm);
    default: return SCRIPT_ERROR_BAD_OPCODE;
    }
}

static enum script_error step(struct vm *vm)
{
    uint8_t op;
    struct span data;
    bool executing = vm->first_false == SIZE_MAX;
    if (!script_next_op(vm->script, &vm->at, &op, &data)) {
        return SCRIPT_ERROR_BAD_OPCODE;
    }
    if (data.len > SCRIPT_PUSH_BYTES_MAX) {
        return SCRIPT_ERROR_PUSH_SIZE;
    }
    if (vm->version != SCRIPT_TAPSCRIPT && op > OP_16 && ++vm->ops > OPS_MAX) {
        return SCRIPT_ERROR_OP_COUNT;
    }
    if (is_disabled(op)) {
        return SCRIPT_ERROR_DISABLED_OPCODE; /* even where it is not executed */
    }
    if (op == OP_CODESEPARATOR && vm->version == SCRIPT_BASE && vm->run->flags & SCRIPT_CONST_SCRIPTCODE) {
        return SCRIPT_ERROR_OP_CODESEPARATOR;
    }
    if (op <= OP_PUSHDATA4) {
        if (executing) {
            if (vm->run->flags & SCRIPT_MINIMALDATA && !is_minimal_push(op, data)) {
                return SCRIPT_ERROR_MINIMALDATA;
            }
            push(vm, data);
        }
    } else if (op == OP_IF || op == OP_NOTIF || op == OP_ELSE || op == OP_ENDIF) {
        TRY(run_condition(vm, op, executing));
    } else if (op == OP_VERIF || op == OP_VERNOTIF) {
        return SCRIPT_ERROR_BAD_OPCODE;
    } else if (executing) {
        TRY(run_operation(vm, op));
    }
    return vm->stack->count + vm->run->alt.count > SCRIPT_STACK_MAX ? SCRIPT_ERROR_STACK_SIZE
                                                                    : SCRIPT_ERROR_OK;
}

enum script_error script_execute(struct script_run *run, struct span script, enum script_version version)
{
    struct vm vm = {
        .run = run, .stack = &run->stack, .script = script, .version = version, .first_false = SIZE_MAX};
    if (version != SCRIPT_TAPSCRIPT && script.len > SCRIPT_BYTES_MAX) {
        return SCRIPT_ERROR_SCRIPT_SIZE;
    }
    run->alt.count = 0;
    for (; vm.at < script.len; vm.position++) {
        TRY(step(&vm));
    }
    return vm.depth ? SCRIPT_ERROR_UNBALANCED_CONDITIONAL : SCRIPT_ERROR_OK;
}

/* BIP342: the codes that a later soft fork may give a meaning. */
static bool is_op_success(uint8_t op)
{
    return op == 80 || op == 98 || (op >= 126 && op <= 129) || (op >= 131 && op <= 134) ||
           (op >= 137 && op <= 138) || (op >= 141 && op <= 142) || (op >= 149 && op <= 153) ||
           (op >= 187 && op <= 254);
}

enum script_error tapscript_scan(struct span script, bool *success)
{
    *success = false;
    for (size_t at = 0; at < script.len;) {
        uint8_t op;
        struct span data;
        if (!script_next_op(script, &at, &op, &data)) {
            return SCRIPT_ERROR_BAD_OPCODE;
        }
        if (is_op_success(op)) {
            *success = true;
            return SCRIPT_ERROR_OK;
        }
    }
    return SCRIPT_ERROR_OK;
}
