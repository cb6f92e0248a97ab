/* What a person may choose about a cluster network: defaults, the text form, and its bounds. */
#include "core/consensus/consensus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_FIRST_BITS 0x1e008000u /* 2^231 */

void network_spec_default(struct network_spec *out, const char *name)
{
    *out = (struct network_spec){
        .spacing_s = 10,
        .window = 30,
        .first_bits = DEFAULT_FIRST_BITS,
        .maturity = 10,
        .halving_blocks = 210000,
        .future_limit_s = 60,
    };
    snprintf(out->name, sizeof out->name, "%s", name);
}

bool network_name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

bool network_spec_check(const struct network_spec *spec, struct error *error)
{
    struct u256 target, least = u256_shl(u256_of(1), 200), most = u256_shl(u256_of(1), 255);
    if (!network_name_valid(spec->name)) {
        return error_set(error, ERROR_USAGE, NULL,
                         "network name '%s': 1 to 32 of a-z, 0-9 and '-' are allowed", spec->name);
    }
    if (!pow_target(&target, spec->first_bits) || u256_compare(target, least) < 0 ||
        u256_compare(target, most) > 0) {
        return error_set(error, ERROR_USAGE, NULL,
                         "network %s: first target 0x%08x is outside 2^200 .. 2^255", spec->name,
                         spec->first_bits);
    }
    const struct {
        const char *name;
        uint32_t value, least, most;
    } bounds[] = {
        {"spacing", spec->spacing_s, 1, 3600},           {"window", spec->window, 2, 2016},
        {"maturity", spec->maturity, 1, 10000},          {"halving", spec->halving_blocks, 1, 100000000},
        {"future-limit", spec->future_limit_s, 1, 7200},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        if (bounds[i].value < bounds[i].least || bounds[i].value > bounds[i].most) {
            return error_set(error, ERROR_USAGE, NULL,
                             "network %s: %s is %" PRIu32 ", allowed are %" PRIu32 " to %" PRIu32, spec->name,
                             bounds[i].name, bounds[i].value, bounds[i].least, bounds[i].most);
        }
    }
    return true;
}

/* One `key = value` whose parts are terminated strings. */
static bool set_value(struct network_spec *spec, const char *key, const char *value, struct error *error)
{
    if (strcmp(key, "name") == 0) {
        if (!network_name_valid(value)) {
            return error_set(error, ERROR_USAGE, NULL, "name '%s': 1 to 32 of a-z, 0-9 and '-' are allowed",
                             value);
        }
        snprintf(spec->name, sizeof spec->name, "%s", value);
        return true;
    }
    bool hex = strcmp(key, "first-nbits") == 0;
    char *end;
    unsigned long long number = strtoull(value, &end, hex ? 16 : 10);
    if (*value < '0' || *value > 'f' || *end || number > UINT32_MAX) {
        return error_set(error, ERROR_USAGE, NULL, "%s is '%s', not a %snumber below 2^32", key, value,
                         hex ? "hexadecimal " : "");
    }
    if (strcmp(key, "first-target-bits") == 0) {
        if (number < 200 || number > 255) {
            return error_set(error, ERROR_USAGE, NULL, "first-target-bits is %llu, allowed are 200 to 255",
                             number);
        }
        spec->first_bits = pow_bits(u256_shl(u256_of(1), (unsigned)number));
        return true;
    }
    const struct {
        const char *name;
        uint32_t *field;
    } fields[] = {
        {"spacing", &spec->spacing_s},      {"window", &spec->window},
        {"first-nbits", &spec->first_bits}, {"maturity", &spec->maturity},
        {"halving", &spec->halving_blocks}, {"future-limit", &spec->future_limit_s},
    };
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (strcmp(key, fields[i].name) == 0) {
            *fields[i].field = (uint32_t)number;
            return true;
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "unknown key '%s'", key);
}

static char *trimmed(char *text)
{
    text += strspn(text, " \t\r");
    for (size_t len = strlen(text); len && strchr(" \t\r", text[len - 1]); len--) {
        text[len - 1] = 0;
    }
    return text;
}

bool network_spec_parse(struct network_spec *out, struct span text, struct error *error)
{
    if (text.len > 65536) {
        return error_set(error, ERROR_USAGE, NULL, "a network file of %zu bytes is too large", text.len);
    }
    network_spec_default(out, "unnamed");
    char *copy = mem_alloc(text.len + 1);
    memcpy(copy, text.data, text.len);
    bool ok = strlen(copy) == text.len || error_set(error, ERROR_USAGE, NULL, "the network file is not text");
    unsigned number = 0;
    for (char *line = copy, *next; ok && line; line = next) {
        number++;
        next = strchr(line, '\n');
        if (next) {
            *next++ = 0;
        }
        line[strcspn(line, "#")] = 0;
        char *key = trimmed(line), *equals = strchr(key, '=');
        if (!*key) {
            continue;
        }
        struct error inner = {0};
        if (!equals) {
            ok = error_set(error, ERROR_USAGE, NULL, "line %u: expected key = value", number);
            continue;
        }
        *equals = 0;
        if (!set_value(out, trimmed(key), trimmed(equals + 1), &inner)) {
            ok = error_set(error, ERROR_USAGE, NULL, "line %u: %.200s", number, inner.text);
        }
    }
    mem_free(copy);
    return ok && network_spec_check(out, error);
}
