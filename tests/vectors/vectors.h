/* The vector tests' own tools: counting, folders, files, parallel loops, script text and flags. One program,
 * test-vectors; every file here has some of the vector files as its job. */
#ifndef QUARRY_TESTS_VECTORS_H
#define QUARRY_TESTS_VECTORS_H

#include <jansson.h>

#include "core/consensus/consensus.h"

/* Counts one case of the current file; a failure prints what the format says. Any thread. */
void case_result(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Runs check(context, i) for every i below count, on as many threads as there are CPUs (at most 8). */
void for_each(size_t count, void (*check)(const void *context, size_t i), const void *context);

const char *vectors_folder(void);
/* Whole file of the folder, NULL when it is not there. Free with mem_free. */
uint8_t *vectors_read(const char *name, size_t *len);
/* A JSON file of the folder; NULL when absent. A file that is not JSON is a failed case. Release it. */
json_t *vectors_json(const char *name);

/* Text of a JSON member; "" where there is none. */
const char *text_at(const json_t *value, const char *key);
/* Bytes of hex text, owned by arena; a failed case when it is not hex. */
struct span hex_span(struct arena *arena, const char *hex);

/* The notation of Bitcoin Core's tests: words, numbers, 0x raw bytes, 'text', comma-separated flag names. */
bool script_from_text(struct buf *out, const char *text) MUST_USE;
bool flags_from_text(uint32_t *out, const char *text) MUST_USE;
#define FLAGS_ALL ((1u << 21) - 1)
/* Flags that need others: with what they need; and without what lacks its need. */
uint32_t flags_filled(uint32_t flags);
uint32_t flags_trimmed(uint32_t flags);

/* One function per file of vectors; each says nothing of files that are absent (main counts a skip). */
void script_tests(const json_t *rows);
void tx_valid(const json_t *rows);
void tx_invalid(const json_t *rows);
void sighash_tests(const json_t *rows);
void taproot_tests(const json_t *rows);
void bip341_wallet(const json_t *document);
void bip340(const uint8_t *csv, size_t len);
void base58_tests(const json_t *rows);
void key_io_valid(const json_t *rows);
void key_io_invalid(const json_t *rows);
void blockfilters(const json_t *rows);
/* name: "block….raw"; spent NULL where there is no .spent beside it. Takes ownership of raw. */
void real_block(const char *name, uint8_t *raw, size_t raw_len, const uint8_t *spent, size_t spent_len);
/* A .dat file: every script of every block against the outputs of the blocks before. */
void block_file(const char *name, const uint8_t *data, size_t len);

#endif
