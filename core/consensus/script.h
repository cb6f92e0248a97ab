/* Private to core/consensus: the opcodes, the script errors, and the seams between interpreter, signatures
 * and verification. */
#ifndef QUARRY_CORE_CONSENSUS_SCRIPT_H
#define QUARRY_CORE_CONSENSUS_SCRIPT_H

#include "core/consensus/consensus.h"

enum opcode {
    OP_0 = 0x00,
    OP_PUSHDATA1 = 0x4c,
    OP_PUSHDATA2,
    OP_PUSHDATA4,
    OP_1NEGATE = 0x4f,
    OP_RESERVED = 0x50,
    OP_1 = 0x51,
    OP_16 = 0x60,
    OP_NOP = 0x61,
    OP_VER,
    OP_IF,
    OP_NOTIF,
    OP_VERIF,
    OP_VERNOTIF,
    OP_ELSE,
    OP_ENDIF,
    OP_VERIFY,
    OP_RETURN,
    OP_TOALTSTACK = 0x6b,
    OP_FROMALTSTACK,
    OP_2DROP,
    OP_2DUP,
    OP_3DUP,
    OP_2OVER,
    OP_2ROT,
    OP_2SWAP,
    OP_IFDUP,
    OP_DEPTH,
    OP_DROP,
    OP_DUP,
    OP_NIP,
    OP_OVER,
    OP_PICK,
    OP_ROLL,
    OP_ROT,
    OP_SWAP,
    OP_TUCK,
    OP_CAT = 0x7e,
    OP_SUBSTR,
    OP_LEFT,
    OP_RIGHT,
    OP_SIZE,
    OP_INVERT,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_EQUAL,
    OP_EQUALVERIFY,
    OP_RESERVED1 = 0x89,
    OP_RESERVED2,
    OP_1ADD = 0x8b,
    OP_1SUB,
    OP_2MUL,
    OP_2DIV,
    OP_NEGATE,
    OP_ABS,
    OP_NOT,
    OP_0NOTEQUAL,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_LSHIFT,
    OP_RSHIFT,
    OP_BOOLAND,
    OP_BOOLOR,
    OP_NUMEQUAL,
    OP_NUMEQUALVERIFY,
    OP_NUMNOTEQUAL,
    OP_LESSTHAN,
    OP_GREATERTHAN,
    OP_LESSTHANOREQUAL,
    OP_GREATERTHANOREQUAL,
    OP_MIN,
    OP_MAX,
    OP_WITHIN,
    OP_RIPEMD160 = 0xa6,
    OP_SHA1,
    OP_SHA256,
    OP_HASH160,
    OP_HASH256,
    OP_CODESEPARATOR,
    OP_CHECKSIG,
    OP_CHECKSIGVERIFY,
    OP_CHECKMULTISIG,
    OP_CHECKMULTISIGVERIFY,
    OP_NOP1 = 0xb0,
    OP_CHECKLOCKTIMEVERIFY,
    OP_CHECKSEQUENCEVERIFY,
    OP_NOP4,
    OP_NOP5,
    OP_NOP6,
    OP_NOP7,
    OP_NOP8,
    OP_NOP9,
    OP_NOP10,
    OP_CHECKSIGADD = 0xba, /* tapscript only (BIP342) */
};

/* X(name, Core's sentence) */
#define SCRIPT_ERRORS(X)                                                                                     \
    X(OK, "No error")                                                                                        \
    X(UNKNOWN, "unknown error")                                                                              \
    X(EVAL_FALSE, "Script evaluated without error but finished with a false/empty top stack element")        \
    X(OP_RETURN, "OP_RETURN was encountered")                                                                \
    X(SCRIPT_SIZE, "Script is too big")                                                                      \
    X(PUSH_SIZE, "Push value size limit exceeded")                                                           \
    X(OP_COUNT, "Operation limit exceeded")                                                                  \
    X(STACK_SIZE, "Stack size limit exceeded")                                                               \
    X(SIG_COUNT, "Signature count negative or greater than pubkey count")                                    \
    X(PUBKEY_COUNT, "Pubkey count negative or limit exceeded")                                               \
    X(VERIFY, "Script failed an OP_VERIFY operation")                                                        \
    X(EQUALVERIFY, "Script failed an OP_EQUALVERIFY operation")                                              \
    X(CHECKMULTISIGVERIFY, "Script failed an OP_CHECKMULTISIGVERIFY operation")                              \
    X(CHECKSIGVERIFY, "Script failed an OP_CHECKSIGVERIFY operation")                                        \
    X(NUMEQUALVERIFY, "Script failed an OP_NUMEQUALVERIFY operation")                                        \
    X(BAD_OPCODE, "Opcode missing or not understood")                                                        \
    X(DISABLED_OPCODE, "Attempted to use a disabled opcode")                                                 \
    X(INVALID_STACK_OPERATION, "Operation not valid with the current stack size")                            \
    X(INVALID_ALTSTACK_OPERATION, "Operation not valid with the current altstack size")                      \
    X(UNBALANCED_CONDITIONAL, "Invalid OP_IF construction")                                                  \
    X(NEGATIVE_LOCKTIME, "Negative locktime")                                                                \
    X(UNSATISFIED_LOCKTIME, "Locktime requirement not satisfied")                                            \
    X(SIG_HASHTYPE, "Signature hash type missing or not understood")                                         \
    X(SIG_DER, "Non-canonical DER signature")                                                                \
    X(MINIMALDATA, "Data push larger than necessary")                                                        \
    X(SIG_PUSHONLY, "Only push operators allowed in signatures")                                             \
    X(SIG_HIGH_S, "Non-canonical signature: S value is unnecessarily high")                                  \
    X(SIG_NULLDUMMY, "Dummy CHECKMULTISIG argument must be zero")                                            \
    X(PUBKEYTYPE, "Public key is neither compressed or uncompressed")                                        \
    X(CLEANSTACK, "Stack size must be exactly one after execution")                                          \
    X(MINIMALIF, "OP_IF/NOTIF argument must be minimal")                                                     \
    X(SIG_NULLFAIL, "Signature must be zero for failed CHECK(MULTI)SIG operation")                           \
    X(DISCOURAGE_UPGRADABLE_NOPS, "NOPx reserved for soft-fork upgrades")                                    \
    X(DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM, "Witness version reserved for soft-fork upgrades")              \
    X(WITNESS_PROGRAM_WRONG_LENGTH, "Witness program has incorrect length")                                  \
    X(WITNESS_PROGRAM_WITNESS_EMPTY, "Witness program was passed an empty witness")                          \
    X(WITNESS_PROGRAM_MISMATCH, "Witness program hash mismatch")                                             \
    X(WITNESS_MALLEATED, "Witness requires empty scriptSig")                                                 \
    X(WITNESS_MALLEATED_P2SH, "Witness requires only-redeemscript scriptSig")                                \
    X(WITNESS_UNEXPECTED, "Witness provided for non-witness script")                                         \
    X(WITNESS_PUBKEYTYPE, "Using non-compressed keys in segwit")                                             \
    X(OP_CODESEPARATOR, "Using OP_CODESEPARATOR in non-witness script")                                      \
    X(SIG_FINDANDDELETE, "Signature is found in scriptCode")                                                 \
    X(DISCOURAGE_UPGRADABLE_TAPROOT_VERSION, "Taproot version reserved for soft-fork upgrades")              \
    X(DISCOURAGE_OP_SUCCESS, "OP_SUCCESSx reserved for soft-fork upgrades")                                  \
    X(DISCOURAGE_UPGRADABLE_PUBKEYTYPE, "Public key version reserved for soft-fork upgrades")                \
    X(SCHNORR_SIG_SIZE, "Invalid Schnorr signature size")                                                    \
    X(SCHNORR_SIG_HASHTYPE, "Invalid Schnorr signature hash type")                                           \
    X(SCHNORR_SIG, "Invalid Schnorr signature")                                                              \
    X(TAPROOT_WRONG_CONTROL_SIZE, "Invalid Taproot control block size")                                      \
    X(TAPSCRIPT_VALIDATION_WEIGHT, "Too much signature validation relative to witness weight")               \
    X(TAPSCRIPT_CHECKMULTISIG, "OP_CHECKMULTISIG(VERIFY) is not available in tapscript")                     \
    X(TAPSCRIPT_MINIMALIF, "OP_IF/NOTIF argument must be minimal in tapscript")
enum script_error {
#define X(name, text) SCRIPT_ERROR_##name,
    SCRIPT_ERRORS(X)
#undef X
};

#define SCRIPT_STACK_MAX 1000u
#define SCRIPT_STACK_ROOM                                                                                    \
    (SCRIPT_STACK_MAX + 8u) /* one operation adds at most three, and is judged after it */
#define SCRIPT_SMALL_BYTES 512u

/* Items borrow from scripts, witnesses, or the memory of the run. */
struct script_stack {
    struct span *items;
    size_t count;
};

enum script_version { SCRIPT_BASE, SCRIPT_WITNESS_V0, SCRIPT_TAPROOT_KEY, SCRIPT_TAPSCRIPT };

/*
 * One verification: what is being checked, and memory for what operations make. It lives on its thread's
 * stack and is not cleared as a whole (about 33 kB): what common scripts make fits into `small`, so that they
 * allocate nothing.
 */
struct script_run {
    const struct tx *tx;
    uint32_t index;
    const struct coin *spent; /* of all inputs */
    const struct sighash_cache *cache;
    uint32_t flags;
    struct tapscript_context tap;
    struct { /* the last ECDSA signature hash: multisig asks for one hash many times */
        struct span code;
        uint32_t type;
        enum script_version version;
        struct hash256 hash;
    } last;
    struct script_stack stack, alt;
    struct arena arena;
    size_t small_used;
    _Alignas(16) uint8_t small[SCRIPT_SMALL_BYTES];
    struct span stack_items[SCRIPT_STACK_ROOM], alt_items[SCRIPT_STACK_ROOM];
};

/* The whole of BIP16, BIP141 and BIP341 for one input. */
enum script_error script_verify(const struct tx *tx, uint32_t index, const struct coin *spent,
                                const struct sighash_cache *cache, uint32_t flags);
const char *script_error_text(enum script_error error); /* Core's sentence */

/* Runs one script on run->stack. */
enum script_error script_execute(struct script_run *run, struct span script, enum script_version version);
/* BIP342: whether the script is valid whatever it does, or not a script at all (BAD_OPCODE). *success is set
 * at the first OP_SUCCESSx. */
enum script_error tapscript_scan(struct span script, bool *success);
/* Memory that lives as long as the run; not zeroed. */
uint8_t *script_memory(struct script_run *run, size_t len);

/* One operation at *at: its code and push data; false at a truncated push. */
bool script_next_op(struct span script, size_t *at, uint8_t *op, struct span *data);
bool script_is_push_only(struct span script);
bool script_true(struct span item); /* anything but zero, in any length and sign */
/* BIP141: a version (0 to 16) and a program of 2 to 40 bytes. */
bool script_witness_program(struct span script, uint8_t *version, struct span *program);
bool script_is_anchor(uint8_t version, struct span program); /* pay to anchor */

/* Signatures. script_code: from the last OP_CODESEPARATOR on. */
enum script_error signature_check_encoding(struct span signature, uint32_t flags);
enum script_error public_key_check_encoding(struct span key, uint32_t flags, enum script_version version);
bool signature_verify(struct script_run *run, struct span signature, struct span key, struct span script_code,
                      enum script_version version);
/* BIP340 under BIP341's or BIP342's message; key has 32 bytes. */
enum script_error schnorr_verify(const struct script_run *run, struct span signature, struct span key,
                                 enum script_version version);
/* BIP341: does the control block (of checked size) lead from the leaf to the output key? */
bool taproot_commits(struct span control, struct span output_key, const struct hash256 *leaf);

#endif
