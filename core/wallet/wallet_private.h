/* Private to core/wallet: the context that signs, keys that others are derived from, key expressions. */
#ifndef QUARRY_CORE_WALLET_PRIVATE_H
#define QUARRY_CORE_WALLET_PRIVATE_H

#include <secp256k1.h>

#include "core/wallet/wallet.h"

const secp256k1_context *wallet_signing(void); /* after wallet_init */

/* ---- address.c: the checksum of bech32 (BIP173), and of bech32m (BIP350) ----------------------------- */

#define BECH32_CONST  1u
#define BECH32M_CONST 0x2bc830a3u
uint32_t bech32_prefix(const char *prefix); /* lower case */
uint32_t bech32_step(uint32_t state, uint8_t value);
int bech32_value(char c); /* of a character of either case; -1: none */

/* ---- hdkey.c: extended keys (BIP32) ------------------------------------------------------------------ */

#define HD_HARDENED UINT32_C(0x80000000)
struct hd_key {
    uint8_t depth, parent[4], chain_code[32], public_key[33], secret[32];
    uint32_t number;
    bool has_secret;
};
/* xpub, xprv, or tpub, tprv on every chain but main. */
bool hd_parse(struct hd_key *out, const char *text, const struct chain_params *params) MUST_USE;
void hd_write_public(struct buf *out_text, const struct hd_key *key, const struct chain_params *params);
/* False: hardened, and there is no secret (or, once in 2^127, no such key). out may be parent. */
bool hd_derive(struct hd_key *out, const struct hd_key *parent, uint32_t number) MUST_USE;
void hd_fingerprint(uint8_t out[4], const struct hd_key *key);

/* ---- key_expression.c: the keys of descriptors (BIP380) ---------------------------------------------- */

struct key_path {
    const uint32_t *steps;
    size_t count;
    bool apostrophe; /* how hardened steps are written: ' or h */
};

struct derived_key {
    uint8_t bytes[65]; /* 33, 65, or 32 without its sign */
    size_t len;
    uint8_t fingerprint[4];
    struct key_path path; /* from the key of that fingerprint, without a last step that the index is */
    bool has_last;
    uint32_t last;
};

struct key_expression {
    bool has_origin, has_secret, is_extended, ranged, ranged_hardened;
    uint8_t origin_fingerprint[4];
    struct key_path origin, path; /* path: behind an extended key, without the star */
    struct hd_key root, base;     /* base: at the end of path */
    bool base_known;              /* false: hardened steps, and no secret */
    struct derived_key now;       /* as key_expression_derive left it */
};

enum key_form { KEY_ANY, KEY_SHORT_ONLY, KEY_X_ONLY };
/* From its text; memory from arena. ERROR_PARSE in Core's words. */
bool key_expression_parse(struct key_expression *out, struct arena *arena, struct span text,
                          enum key_form form, const struct chain_params *params,
                          struct error *error) MUST_USE;
/* The key at an index, in `now`; false: it takes a secret that is not there. */
bool key_expression_derive(struct key_expression *key, struct arena *arena, uint32_t index) MUST_USE;
/* As it was given, without secrets; or, after key_expression_derive, the one key with its origin. */
void key_expression_write(struct buf *out, const struct key_expression *key,
                          const struct chain_params *params);
void key_expression_write_now(struct buf *out, const struct key_expression *key);

#endif
