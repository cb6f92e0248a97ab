/* The two API keys: given, read from a file, or made at random and kept in the data directory. */
#include <openssl/crypto.h>
#include <stdio.h>

#include "api/api_private.h"

static bool same_key(const char *key, const char *given, size_t len)
{
    size_t own = strlen(key);
    return own > 0 && own == len && CRYPTO_memcmp(key, given, len) == 0;
}

enum role key_role(const struct api *api, const char *key, size_t len)
{
    bool admin = same_key(api->admin_key, key, len), wallet = same_key(api->wallet_key, key, len);
    return admin ? ROLE_ADMIN : wallet ? ROLE_WALLET : ROLE_NONE;
}

static bool read_key(char out[256], const char *path, struct error *error)
{
    struct buf text = {0};
    bool ok = file_read_all(path, 4096, &text, error);
    size_t len = text.len;
    while (ok && len &&
           (text.data[len - 1] == '\n' || text.data[len - 1] == '\r' || text.data[len - 1] == ' ')) {
        len--;
    }
    if (ok && (len == 0 || len > 255)) {
        ok = error_set(error, ERROR_USAGE, NULL, "%.200s: a key of 1 to 255 characters is wanted", path);
    }
    if (ok) {
        snprintf(out, 256, "%.*s", (int)len, (const char *)text.data);
    }
    buf_free(&text);
    return ok;
}

static bool make_key(char out[256], const char *path, const char *name, struct error *error)
{
    uint8_t secret[24];
    char hex[2 * sizeof secret + 1];
    bool made;
    struct error problem = {0};
    if (read_key(out, path, &problem)) {
        log_info(LOG_RPC, "the %s key is in %s", name, path);
        return true;
    }
    if (problem.kind != ERROR_MISSING) {
        *error = problem;
        return false;
    }
    random_bytes(secret, sizeof secret);
    hex_encode(hex, secret, sizeof secret);
    if (!file_make_private(path, span_of(hex, strlen(hex)), &made, error)) {
        return false;
    }
    if (made) {
        snprintf(out, 256, "%s", hex);
        log_info(LOG_RPC, "no %s key is set: made a random one, kept in %s", name, path);
    }
    return made || read_key(out, path, error); /* another server was faster */
}

static bool one_key(struct api *api, char out[256], const char *name, const char *given, const char *file,
                    const char *well_known, struct error *error)
{
    struct buf path = {0};
    bool ok = true;
    if (*given && strlen(given) > 255) {
        ok = error_set(error, ERROR_USAGE, NULL, "%s-key: at most 255 characters", name);
    } else if (*given) {
        snprintf(out, 256, "%s", given);
    } else if (*file) {
        ok = read_key(out, file, error);
    } else {
        char *folder = settings_chain_folder(api->settings);
        buf_printf(&path, "%s/api-%s.key%c", folder, name, 0);
        ok = folder_make(folder, error) && make_key(out, (const char *)path.data, name, error);
        mem_free(folder);
    }
    if (ok && strcmp(out, well_known) == 0) {
        if (api->production) {
            ok = error_set(error, ERROR_USAGE, NULL,
                           "%s-key is the well-known '%s': production wants one of your own", name,
                           well_known);
        } else {
            api->well_known_keys = true;
            log_warn(LOG_RPC, "the %s key is the well-known '%s': anybody who reaches this port may use it",
                     name, well_known);
        }
    }
    buf_free(&path);
    return ok;
}

bool keys_load(struct api *api, struct error *error)
{
    const struct settings *s = api->settings;
    return one_key(api, api->admin_key, "admin", s->admin_key, s->admin_key_file, "admin-secret", error) &&
           one_key(api, api->wallet_key, "wallet", s->wallet_key, s->wallet_key_file, "wallet-secret", error);
}
