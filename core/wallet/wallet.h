/*
 * core/wallet: keys, and what is made of them. Addresses, output descriptors, single keys and extended ones
 * (BIP32), signed messages, partially signed transactions, signing with keys that are handed in.
 *
 * Not here: which coins somebody owns, and files (api, io). Randomness for keys is handed in too, 32 bytes
 * from the operating system. Any thread; no state but a libsecp256k1 context of its own, randomised by
 * wallet_init.
 */
#ifndef QUARRY_CORE_WALLET_H
#define QUARRY_CORE_WALLET_H

#include "core/consensus/consensus.h"

#define ADDRESS_TEXT 128
/* Output script of an address of this chain: base58check (P2PKH, P2SH), bech32 (BIP173), bech32m (BIP350).
 * ERROR_PARSE with a precise sentence ("Invalid or unsupported Segwit (Bech32) or Base58 encoding." and so
 * on). */
bool address_to_script(struct buf *script, const char *address, const struct chain_params *params,
                       struct error *error) MUST_USE;
/* What is wrong with a text that address_to_script refused, in Core's words; where it can be told, at which
 * characters. */
struct address_fault {
    char text[160];
    uint16_t at[512];
    size_t count;
};
void address_explain(struct address_fault *out, const char *text, const struct chain_params *params);
/* The address that an output script pays to; false when there is none. */
bool address_from_script(char out[ADDRESS_TEXT], struct span script,
                         const struct chain_params *params) MUST_USE;

/* Appends the script that pays by hash to another: P2SH, P2WSH. */
void script_wrap_p2sh(struct buf *out, struct span redeem);
void script_wrap_witness(struct buf *out, struct span witness_script);
/* A public key of 33 or 65 bytes, on the curve, in hex. */
bool key_from_hex(uint8_t out[65], const char *hex) MUST_USE;

/* Base58 without a checksum: at most 512 digits, max_bytes bytes, appended. */
bool base58_decode(struct buf *out, const char *text, size_t max_bytes) MUST_USE;
void base58_encode(struct buf *out_text, const void *data, size_t len);
/* With four bytes of checksum behind the bytes. What it holds meanwhile is wiped: it may be a key. */
bool base58check_decode(struct buf *out, const char *text, size_t max_bytes) MUST_USE;
void base58check_encode(struct buf *out_text, const void *data, size_t len);

/* BIP380: the checksum of a descriptor's text; false: a character that no descriptor has. */
bool descriptor_checksum(char out[9], const char *text, size_t len) MUST_USE;
/* A descriptor: addr, raw, pk, pkh, wpkh, combo, multi, sortedmulti, sh, wsh, tr (with trees of pk, multi_a,
 * sortedmulti_a) and rawtr; keys in hex, WIF, or extended with paths. With or without its checksum. NULL and
 * ERROR_PARSE in Core's words. params must outlive it. */
struct descriptor;
struct descriptor *descriptor_parse(const char *text, bool checksum_required,
                                    const struct chain_params *params, struct error *error) MUST_USE;
void descriptor_free(struct descriptor *descriptor); /* NULL is fine */
bool descriptor_is_ranged(const struct descriptor *descriptor);
bool descriptor_is_solvable(const struct descriptor *descriptor); /* its keys are known, not only a script */
bool descriptor_has_secret(const struct descriptor *descriptor);
void descriptor_write(struct buf *out,
                      const struct descriptor *descriptor); /* without secrets, with its checksum */
/* Every script at an index (which counts only where it is ranged), each with the descriptor of that script
 * alone, as whoever knows keys and origins would say it. ERROR_MISSING: it takes private keys. */
typedef void descriptor_script(void *context, struct span script, const char *descriptor);
bool descriptor_expand(struct descriptor *descriptor, uint32_t index, descriptor_script *each, void *context,
                       struct error *error) MUST_USE;
/* Appends the descriptor, checksum included, that an output script has for whoever knows nothing but the
 * script: pk, multi, rawtr, else addr, else raw. address: its address, NULL where it has none. */
void descriptor_infer(struct buf *out, struct span script, const char *address);
/* The same of the witness script of a P2WSH output: wsh(pk()) or wsh(multi()). False: it is neither. */
bool descriptor_infer_witness(struct buf *out, struct span witness_script) MUST_USE;

void wallet_init(const uint8_t seed32[32]); /* call once before signing */

struct key {
    uint8_t secret[32];
    uint8_t public_key[33];
};
bool key_from_secret(struct key *out, const uint8_t secret[32]) MUST_USE; /* false: not a valid secret */
void key_wipe(struct key *key);
bool key_from_wif(struct key *out, bool *compressed, const char *wif,
                  const struct chain_params *params) MUST_USE;
void key_to_wif(char out[64], const struct key *key, const struct chain_params *params);
/* Appends an ECDSA signature (RFC 6979, low S) in DER, and its sighash type. */
void key_sign(struct buf *out, const struct key *key, const struct hash256 *hash, uint8_t type);
void key_script(struct buf *script, const struct key *key); /* P2WPKH */
void key_address(char out[ADDRESS_TEXT], const struct key *key, const struct chain_params *params);

/* A message signed by the key of a P2PKH address, as base64. */
#define MESSAGE_SIGNATURE_TEXT 89
void message_sign(char out[MESSAGE_SIGNATURE_TEXT], const struct key *key, bool compressed, const char *text);
enum message_verdict { MESSAGE_SIGNED, MESSAGE_NOT_SIGNED, MESSAGE_NOT_BASE64 };
enum message_verdict message_verify(const uint8_t key_hash[20], const char *signature, const char *text);

/* Strict: padded, nothing else in it; at most max_bytes, appended. */
bool base64_decode(struct buf *out, const char *text, size_t max_bytes) MUST_USE;
void base64_encode(struct buf *out_text, struct span bytes);

/* A partially signed transaction (BIP174, BIP371), version 0. Rows are borrowed from it. */
enum psbt_types {
    PSBT_GLOBAL_TX = 0x00,
    PSBT_GLOBAL_XPUB = 0x01,
    PSBT_GLOBAL_VERSION = 0xfb,
    PSBT_IN_NON_WITNESS_UTXO = 0x00,
    PSBT_IN_WITNESS_UTXO = 0x01,
    PSBT_IN_PARTIAL_SIG = 0x02,
    PSBT_IN_SIGHASH = 0x03,
    PSBT_IN_REDEEM_SCRIPT = 0x04,
    PSBT_IN_WITNESS_SCRIPT = 0x05,
    PSBT_IN_BIP32 = 0x06,
    PSBT_IN_FINAL_SCRIPT = 0x07,
    PSBT_IN_FINAL_WITNESS = 0x08,
    PSBT_IN_RIPEMD160 = 0x0a,
    PSBT_IN_HASH256 = 0x0d,
    PSBT_IN_TAP_KEY_SIG = 0x13,
    PSBT_IN_TAP_SCRIPT_SIG = 0x14,
    PSBT_IN_TAP_LEAF_SCRIPT = 0x15,
    PSBT_IN_TAP_BIP32 = 0x16,
    PSBT_IN_TAP_INTERNAL_KEY = 0x17,
    PSBT_IN_TAP_MERKLE_ROOT = 0x18,
    PSBT_OUT_REDEEM_SCRIPT = 0x00,
    PSBT_OUT_WITNESS_SCRIPT = 0x01,
    PSBT_OUT_BIP32 = 0x02,
    PSBT_OUT_TAP_INTERNAL_KEY = 0x05,
    PSBT_OUT_TAP_BIP32 = 0x07,
    PSBT_PROPRIETARY = 0xfc,
};
struct psbt_row {
    struct span key, value; /* key: its type, then what it is about */
};
struct psbt_map {
    struct psbt_row *rows; /* in the order in which they are written */
    size_t count, capacity;
};
struct psbt {
    struct tx *tx; /* unsigned; one reference */
    struct psbt_map global, *inputs, *outputs;
    struct arena arena;
};
struct psbt *psbt_parse(const char *base64, struct error *error) MUST_USE; /* NULL and ERROR_PARSE */
/* Of a transaction, whose signatures are left out. NULL: it has no inputs. */
struct psbt *psbt_new(const struct tx *tx) MUST_USE;
void psbt_free(struct psbt *psbt); /* NULL is fine */
void psbt_write(struct buf *out_base64, const struct psbt *psbt);
/* Copies a row; false: its key is there already. */
bool psbt_put(struct psbt *psbt, struct psbt_map *map, struct span key, struct span value) MUST_USE;
bool psbt_put_type(struct psbt *psbt, struct psbt_map *map, uint8_t type, struct span value) MUST_USE;
const struct span *psbt_get(const struct psbt_map *map,
                            uint8_t type); /* of a key that is a type alone; or NULL */
/* The items of a final witness; false: more than max, or no such list. */
bool psbt_read_witness(struct span value, struct span *items, size_t max, size_t *count) MUST_USE;
bool psbt_coin(struct psbt *psbt, uint32_t input,
               struct coin *out); /* that an input spends; false: not known */
/* Adds what another one of the same transaction knows; false: it is of another. */
bool psbt_combine(struct psbt *into, const struct psbt *from) MUST_USE;
void psbt_copy_input(struct psbt *into, uint32_t index, const struct psbt *from, uint32_t from_index);
void psbt_copy_output(struct psbt *into, uint32_t index, const struct psbt *from, uint32_t from_index);
/* Adds the scripts that an input of a copy of the transaction holds, and those of its signatures that hold.
 */
void psbt_take_signatures(struct psbt *psbt, uint32_t index, const struct tx *from);
/* Signs what the keys own or share, with signatures of this type; what was signed before stays. spent: one
 * coin for each input, with an empty script where it is not known. One reference for the caller; NULL: it
 * became too large. */
struct tx *psbt_sign_all(struct psbt *psbt, const struct tx *given, const struct coin *spent,
                         const struct key *keys, size_t key_count, uint8_t type) MUST_USE;
/* Adds the signature of a key that the input asks for. */
void psbt_sign(struct psbt *psbt, uint32_t index, const struct key *key, uint8_t type);
bool psbt_is_final(const struct psbt_map *input);
void psbt_put_final(struct psbt *psbt, uint32_t index,
                    const struct tx_input *in); /* as it is, whether or not it holds */
/* Final scripts of a multisignature that still lacks signatures; false: it has none, or is of another kind.
 */
bool psbt_finalize_partly(struct psbt *psbt, uint32_t index);
/* Makes the final scripts of every input whose signatures suffice and hold: single keys, multisignatures, by
 * hash or not, and taproot's key path. Whether all inputs are final. */
bool psbt_finalize(struct psbt *psbt);
struct tx *psbt_extract(struct psbt *psbt); /* one reference; NULL: not every input is final */

#define KEY_LABEL_MAX 100u /* bytes */
/* The wallet file's text: one key per line with creation time and label; the format's version in the first
 * line. */
struct key_file_entry {
    struct key key;
    int64_t created_unix_s;
    char label[KEY_LABEL_MAX + 1]; /* on one line */
};
void key_file_append(struct buf *text, const struct key_file_entry *entry, const struct chain_params *params);
/* How many there are, at most max, which more than that exceed; 0 and *error when the text is no such file or
 * holds a line that is no key of this chain. */
size_t key_file_parse(struct key_file_entry *out, size_t max, struct span text,
                      const struct chain_params *params, struct error *error);

/* Signs every input that spends an output of key (P2WPKH, P2PKH, P2PK) in a new transaction: inputs and
 * outputs are given, the result is a stand-alone transaction. NULL and *error when an input is not the key's.
 */
struct tx *wallet_sign(const struct key *key, const struct outpoint *inputs, const struct coin *spent,
                       size_t input_count, const struct tx_output *outputs, size_t output_count,
                       uint32_t locktime, struct error *error) MUST_USE;

#endif
