/*
 * core/wallet, first version: addresses, descriptors and single keys (P2WPKH), as text and bytes; signing of
 * what one key owns. Randomness for keys is handed in (32 bytes from the operating system). Files are io's.
 * Any thread; no state but a libsecp256k1 context of its own, randomised by wallet_init.
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
void key_script(struct buf *script, const struct key *key); /* P2WPKH */
void key_address(char out[ADDRESS_TEXT], const struct key *key, const struct chain_params *params);

/* A message signed by the key of a P2PKH address, as base64. */
#define MESSAGE_SIGNATURE_TEXT 89
void message_sign(char out[MESSAGE_SIGNATURE_TEXT], const struct key *key, bool compressed, const char *text);
enum message_verdict { MESSAGE_SIGNED, MESSAGE_NOT_SIGNED, MESSAGE_NOT_BASE64 };
enum message_verdict message_verify(const uint8_t key_hash[20], const char *signature, const char *text);

/* The wallet file's text: one key per line with creation time and label; the format's version in the first
 * line. */
struct key_file_entry {
    struct key key;
    int64_t created_unix_s;
    char label[64];
};
void key_file_append(struct buf *text, const struct key_file_entry *entry, const struct chain_params *params);
size_t key_file_parse(struct key_file_entry *out, size_t max, struct span text,
                      const struct chain_params *params, struct error *error);

/* Signs every input that spends an output of key (P2WPKH, P2PKH, P2PK) in a new transaction: inputs and
 * outputs are given, the result is a stand-alone transaction. NULL and *error when an input is not the key's.
 */
struct tx *wallet_sign(const struct key *key, const struct outpoint *inputs, const struct coin *spent,
                       size_t input_count, const struct tx_output *outputs, size_t output_count,
                       uint32_t locktime, struct error *error) MUST_USE;

/* A copy of tx in which every input that spends an output of one of the keys (the kinds above, and P2WPKH in
 * P2SH) is signed with SIGHASH_ALL; the others stay as they are. spent: one coin for each input, with an
 * empty script where it is not known. One reference for the caller. */
struct tx *wallet_sign_inputs(const struct tx *tx, const struct key *keys, size_t key_count,
                              const struct coin *spent) MUST_USE;

#endif
