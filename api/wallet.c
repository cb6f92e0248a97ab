/* Wallets as files of the shared folder: one key each, mode 0600, named by its address. A file is written
 * whole and renamed, and read anew for every use, so that several web servers serve the same wallets. Also
 * the faucet's purse: key files of a miner. All of this may block: it runs on work.c's thread. */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "api/api_private.h"

#define WALLETS_MAX      100000u
#define WALLET_BYTES_MAX (64u << 10)
#define SUFFIX           ".wallet"

static void wallet_path(struct buf *out, const struct api *api, const char *address)
{
    buf_printf(out, "%s/%s%s%c", api->wallet_dir, address, SUFFIX, 0);
}

static size_t read_keys(const struct api *api, const char *path, struct key_file_entry *out, size_t max)
{
    struct buf text = {0};
    struct error error = {0};
    size_t count = 0;
    if (file_read_all(path, WALLET_BYTES_MAX, &text, &error)) {
        count = key_file_parse(out, max, buf_span(&text), &api->params, &error);
    }
    if (error.kind && error.kind != ERROR_MISSING) {
        log_warn(LOG_WALLET, "%s: %s", path, error.text);
    }
    if (text.data) {
        mem_wipe(text.data, text.capacity);
    }
    buf_free(&text);
    return count;
}

static bool read_wallet(const struct api *api, const char *address, struct key_file_entry *entry)
{
    struct buf path = {0};
    char own[ADDRESS_TEXT] = "";
    if (strspn(address, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(address)) {
        return false; /* never a path: wallets have bech32 addresses */
    }
    wallet_path(&path, api, address);
    bool found = read_keys(api, (const char *)path.data, entry, 1) == 1;
    if (found) {
        key_address(own, &entry->key, &api->params);
    }
    buf_free(&path);
    return found && strcmp(own, address) == 0;
}

static json_t *shown_wallet(const struct api *api, const struct key_file_entry *entry)
{
    char address[ADDRESS_TEXT], hex[67], created[40];
    key_address(address, &entry->key, &api->params);
    hex_encode(hex, entry->key.public_key, sizeof entry->key.public_key);
    put_timestamp(created, entry->created_unix_s * 1000000);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "address", address, "public_key", hex, "created_at",
                     created, "name", entry->label, "label", entry->label);
}

json_t *wallet_create(const struct api *api, const char *label, struct error *error)
{
    struct key_file_entry entry = {.created_unix_s = moment_unix_s(loop_now())};
    uint8_t secret[32];
    char address[ADDRESS_TEXT];
    struct buf path = {0}, text = {0};
    do {
        random_bytes(secret, sizeof secret);
    } while (!key_from_secret(&entry.key, secret));
    mem_wipe(secret, sizeof secret);
    snprintf(entry.label, sizeof entry.label, "%s", label);
    key_address(address, &entry.key, &api->params);
    wallet_path(&path, api, address);
    key_file_append(&text, &entry, &api->params);
    bool ok = folder_make(api->wallet_dir, error) &&
              file_write_private((const char *)path.data, buf_span(&text), error);
    json_t *shown = ok ? shown_wallet(api, &entry) : NULL;
    key_wipe(&entry.key);
    mem_wipe(text.data, text.capacity);
    buf_free(&text);
    buf_free(&path);
    return shown;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), tail = strlen(suffix);
    return len > tail && strcmp(name + len - tail, suffix) == 0;
}

static int by_text(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

json_t *wallet_list(const struct api *api)
{
    json_t *list = json_array();
    struct dirent **names = NULL;
    int count = scandir(api->wallet_dir, &names, NULL, by_text);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        if (has_suffix(name, SUFFIX) && json_array_size(list) < WALLETS_MAX) {
            json_array_append_new(list, json_stringn(name, strlen(name) - strlen(SUFFIX)));
        }
        free(names[i]);
    }
    free(names);
    return list;
}

json_t *wallet_show(const struct api *api, const char *address)
{
    struct key_file_entry entry;
    json_t *shown = read_wallet(api, address, &entry) ? shown_wallet(api, &entry) : NULL;
    key_wipe(&entry.key);
    return shown;
}

bool wallet_key_of(const struct api *api, const char *address, struct key *out)
{
    struct key_file_entry entry;
    bool found = read_wallet(api, address, &entry);
    *out = entry.key;
    key_wipe(&entry.key);
    return found;
}

size_t purse_keys(const struct api *api, struct key *out, size_t max)
{
    const char *purse = api->settings->purse;
    struct stat info;
    struct dirent **names = NULL;
    struct key_file_entry *entries = mem_alloc(max * sizeof *entries);
    size_t found = 0;
    if (stat(purse, &info) == 0 && S_ISDIR(info.st_mode)) {
        int count = scandir(purse, &names, NULL, by_text);
        for (int i = 0; i < count; i++) {
            bool keys = has_suffix(names[i]->d_name, ".dat") || has_suffix(names[i]->d_name, ".key") ||
                        has_suffix(names[i]->d_name, SUFFIX);
            struct buf path = {0};
            buf_printf(&path, "%s/%s%c", purse, names[i]->d_name, 0);
            if (keys && found < max) {
                found += read_keys(api, (const char *)path.data, entries + found, max - found);
            }
            buf_free(&path);
            free(names[i]);
        }
        free(names);
    } else {
        found = read_keys(api, purse, entries, max);
    }
    for (size_t i = 0; i < found; i++) {
        out[i] = entries[i].key;
    }
    mem_wipe(entries, max * sizeof *entries);
    mem_free(entries);
    return found;
}
