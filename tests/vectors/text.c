/* The notation of Bitcoin Core's script tests: words to scripts, names to flags; and hex. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/consensus/script.h"
#include "tests/vectors/vectors.h"

const char *text_at(const json_t *value, const char *key)
{
    const char *text = json_string_value(json_object_get(value, key));
    return text ? text : "";
}

struct span hex_span(struct arena *arena, const char *hex)
{
    struct buf bytes = {0};
    if (!hex || !hex_decode_buf(&bytes, hex, 16u << 20)) {
        case_result(false, "not hex: %.60s", hex ? hex : "(nothing)");
    }
    uint8_t *copy = arena_alloc(arena, bytes.len);
    if (bytes.len) {
        memcpy(copy, bytes.data, bytes.len);
    }
    struct span result = span_of(copy, bytes.len);
    buf_free(&bytes);
    return result;
}

static void push_integer(struct buf *out, int64_t v)
{
    if (v == -1 || (v >= 0 && v <= 16)) {
        buf_u8(out, (uint8_t)(v == 0 ? OP_0 : OP_1 - 1 + v));
        return;
    }
    uint8_t bytes[9];
    size_t len = 0;
    for (uint64_t m = v < 0 ? -(uint64_t)v : (uint64_t)v; m; m >>= 8) {
        bytes[len++] = (uint8_t)m;
    }
    if (bytes[len - 1] & 0x80) {
        bytes[len++] = 0;
    }
    bytes[len - 1] = (uint8_t)(bytes[len - 1] | (v < 0 ? 0x80 : 0));
    script_push(out, bytes, len);
}

/* By the names of the assembly text, with or without OP_. */
static bool opcode_from_name(uint8_t *out, const char *word)
{
    for (unsigned op = OP_RESERVED; op <= 0xff; op++) {
        uint8_t byte = (uint8_t)op;
        struct buf name = {0};
        bool same = false;
        if (op == OP_RESERVED || op >= OP_NOP) {
            script_asm(&name, span_of(&byte, 1), false);
            buf_u8(&name, 0);
            const char *text = (const char *)name.data;
            same = strcmp(text, word) == 0 || (strncmp(text, "OP_", 3) == 0 && strcmp(text + 3, word) == 0);
        }
        buf_free(&name);
        if (same) {
            *out = byte;
            return true;
        }
    }
    return false;
}

static bool append_word(struct buf *out, const char *word)
{
    size_t len = strlen(word), digits = strspn(word + (word[0] == '-'), "0123456789");
    uint8_t op;
    if (strcmp(word, "CHECKTEMPLATEVERIFY") == 0) { /* what Bitcoin Inquisition's tables call it */
        word = "NOP4";
    }
    if (digits && digits + (word[0] == '-') == len) {
        errno = 0;
        push_integer(out, strtoll(word, NULL, 10));
        return errno == 0;
    }
    if (word[0] == '0' && word[1] == 'x') {
        return hex_decode_buf(out, word + 2, 1u << 20);
    }
    if (len >= 2 && word[0] == '\'' && word[len - 1] == '\'') {
        script_push(out, word + 1, len - 2);
        return true;
    }
    if (!opcode_from_name(&op, word)) {
        return false;
    }
    buf_u8(out, op);
    return true;
}

bool script_from_text(struct buf *out, const char *text)
{
    bool ok = true;
    char *copy = mem_strdup(text), *rest = copy;
    for (char *word; ok && (word = strsep(&rest, " \t\r\n")) != NULL;) {
        ok = !*word || append_word(out, word);
    }
    mem_free(copy);
    return ok;
}

bool flags_from_text(uint32_t *out, const char *text)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } names[] = {
        {"NONE", 0},
        {"P2SH", SCRIPT_P2SH},
        {"STRICTENC", SCRIPT_STRICTENC},
        {"DERSIG", SCRIPT_DERSIG},
        {"LOW_S", SCRIPT_LOW_S},
        {"NULLDUMMY", SCRIPT_NULLDUMMY},
        {"SIGPUSHONLY", SCRIPT_SIGPUSHONLY},
        {"MINIMALDATA", SCRIPT_MINIMALDATA},
        {"DISCOURAGE_UPGRADABLE_NOPS", SCRIPT_DISCOURAGE_UPGRADABLE_NOPS},
        {"CLEANSTACK", SCRIPT_CLEANSTACK},
        {"CHECKLOCKTIMEVERIFY", SCRIPT_CLTV},
        {"CHECKSEQUENCEVERIFY", SCRIPT_CSV},
        {"WITNESS", SCRIPT_WITNESS},
        {"DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM", SCRIPT_DISCOURAGE_UPGRADABLE_WITNESS},
        {"MINIMALIF", SCRIPT_MINIMALIF},
        {"NULLFAIL", SCRIPT_NULLFAIL},
        {"WITNESS_PUBKEYTYPE", SCRIPT_WITNESS_PUBKEYTYPE},
        {"CONST_SCRIPTCODE", SCRIPT_CONST_SCRIPTCODE},
        {"TAPROOT", SCRIPT_TAPROOT},
        {"DISCOURAGE_UPGRADABLE_TAPROOT_VERSION", SCRIPT_DISCOURAGE_UPGRADABLE_TAPROOT},
        {"DISCOURAGE_OP_SUCCESS", SCRIPT_DISCOURAGE_OP_SUCCESS},
        {"DISCOURAGE_UPGRADABLE_PUBKEYTYPE", SCRIPT_DISCOURAGE_UPGRADABLE_PUBKEY},
    };
    bool ok = true;
    char *copy = mem_strdup(text), *rest = copy;
    *out = 0;
    for (char *word; (word = strsep(&rest, ", ")) != NULL;) {
        bool known = !*word;
        for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
            if (strcmp(word, names[i].name) == 0) {
                *out |= names[i].flag;
                known = true;
            }
        }
        ok = ok && known;
    }
    mem_free(copy);
    return ok;
}

uint32_t flags_filled(uint32_t flags)
{
    flags |= flags & SCRIPT_CLEANSTACK ? SCRIPT_WITNESS : 0;
    return flags | (flags & SCRIPT_WITNESS ? SCRIPT_P2SH : 0);
}

uint32_t flags_trimmed(uint32_t flags)
{
    flags &= flags & SCRIPT_P2SH ? ~0u : ~(uint32_t)SCRIPT_WITNESS;
    return flags & (flags & SCRIPT_WITNESS ? ~0u : ~(uint32_t)SCRIPT_CLEANSTACK);
}
