/* createwallet and listaddresses: keys of the wallet file. They need no running node. */
#include "tools/quarry/quarry.h"

#define WALLET_BYTES_MAX (16u << 20)
#define WALLET_KEYS_MAX  100000u

static void begin_signing(void)
{
    uint8_t seed[32];
    random_bytes(seed, sizeof seed);
    wallet_init(seed);
}

/* The folder of a path, made when absent. */
static bool make_folder_of(const char *path, struct error *error)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) {
        return true;
    }
    char *folder = mem_strdup(path);
    folder[slash - path] = 0;
    bool ok = folder_make(folder, error);
    mem_free(folder);
    return ok;
}

static bool add_key(char out[ADDRESS_TEXT], const char *path, const struct chain_params *params,
                    struct error *error)
{
    struct key_file_entry entry;
    if (!make_folder_of(path, error) || !key_file_add(path, "", params, &entry, error)) {
        return false;
    }
    key_address(out, &entry.key, params);
    key_wipe(&entry.key);
    return true;
}

/* Shows every address when `first` is NULL, else keeps the first one there. False with error->kind NONE: the
 * file is absent or empty. */
static bool read_addresses(char first[ADDRESS_TEXT], const char *path, const struct chain_params *params,
                           struct error *error)
{
    struct buf text = {0};
    size_t count = 0;
    if (file_read_all(path, WALLET_BYTES_MAX, &text, error)) {
        struct key_file_entry *entries = mem_alloc(WALLET_KEYS_MAX * sizeof *entries);
        count = key_file_parse(entries, WALLET_KEYS_MAX, buf_span(&text), params, error);
        for (size_t i = 0; i < (first ? MIN(count, 1u) : count); i++) {
            char address[ADDRESS_TEXT];
            key_address(first ? first : address, &entries[i].key, params);
            if (!first) {
                puts(address);
            }
        }
        mem_wipe(entries, WALLET_KEYS_MAX * sizeof *entries);
        mem_free(entries);
    } else if (error->kind == ERROR_MISSING) {
        error_clear(error);
    }
    if (text.data) {
        mem_wipe(text.data, text.capacity);
    }
    buf_free(&text);
    return count > 0;
}

bool wallet_first_address(char out[ADDRESS_TEXT], const char *path, const struct chain_params *params,
                          struct error *error)
{
    begin_signing();
    return read_addresses(out, path, params, error) || (!error->kind && add_key(out, path, params, error));
}

int createwallet_command(const struct invocation *run)
{
    struct chain_params params;
    struct error error = {0};
    char address[ADDRESS_TEXT];
    if (!settings_chain(run->settings, &params, &error)) {
        return complain(STATUS_USAGE, "%s", error.text);
    }
    begin_signing();
    bool ok = add_key(address, run->settings->wallet_file, &params, &error);
    chain_params_free(&params);
    if (!ok) {
        return complain(STATUS_RUNTIME, "%s", error.text);
    }
    printf("Your new address: %s\n", address);
    return STATUS_OK;
}

int listaddresses_command(const struct invocation *run)
{
    struct chain_params params;
    struct error error = {0};
    if (!settings_chain(run->settings, &params, &error)) {
        return complain(STATUS_USAGE, "%s", error.text);
    }
    begin_signing();
    bool some = read_addresses(NULL, run->settings->wallet_file, &params, &error);
    chain_params_free(&params);
    if (error.kind) {
        return complain(STATUS_RUNTIME, "%s", error.text);
    }
    if (!some) {
        fprintf(stderr, "quarry: %s holds no keys (quarry createwallet makes one)\n",
                run->settings->wallet_file);
    }
    return STATUS_OK;
}
