/*
 * The one settings table. A row gives the flag, the environment variable, the key in quarry.conf and the line
 * in --help. Order: flag, environment, file, default. The unprefixed environment names of the system that
 * Quarry replaces are honoured as they are.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/io.h"

#define CONF_BYTES_MAX    (1u << 20)
#define NETWORK_BYTES_MAX (64u << 10)

enum setting_type { TYPE_TEXT, TYPE_LIST, TYPE_NUMBER, TYPE_YES };

struct setting {
    const char *group, *name, *value; /* value: how --help shows it */
    enum setting_type type;
    unsigned programs;
    size_t offset;
    const char *standard; /* the default */
    int64_t least, most;  /* numbers */
    const char
        *choices; /* texts: "a|b|c", NULL: any; lists: what parts them in the environment, NULL: ", " */
    const char *environment; /* the original's own name, besides QUARRY_<NAME> */
    const char *help;
};

#define AT(member) offsetof(struct settings, member)
#define ALL        (SETTINGS_NODE | SETTINGS_CLI | SETTINGS_API)
#define NODE       SETTINGS_NODE
#define CLI        SETTINGS_CLI
#define API        SETTINGS_API

static const struct setting table[] = {
    {"Chain", "chain", "NAME", TYPE_TEXT, ALL, AT(chain), "cluster", 0, 0,
     "cluster|regtest|signet|testnet4|main", NULL,
     "which chain: cluster (a network of your own), regtest, signet, testnet4, main"},
    {"Chain", "signet-challenge", "HEX", TYPE_TEXT, ALL, AT(signet_challenge), "", 0, 0, NULL, NULL,
     "signet only: the script that blocks must satisfy (BIP325); default: the public signet's"},
    {"Chain", "network", "NAME|FILE", TYPE_TEXT, ALL, AT(network), "quarry", 0, 0, NULL, NULL,
     "cluster only: the network's name, or a file with its parameters (./NAME)"},
    {"Chain", "datadir", "DIR", TYPE_TEXT, ALL, AT(datadir), "~/.quarry", 0, 0, NULL, "TREE_DIR",
     "where everything is kept"},
    {"Chain", "conf", "FILE", TYPE_TEXT, ALL, AT(conf), "", 0, 0, NULL, NULL,
     "settings file (default: quarry.conf in the data directory)"},
    {"Chain", "dbcache", "MIB", TYPE_NUMBER, NODE, AT(dbcache_mib), "0", 0, 65536, NULL, NULL,
     "coins cache; 0: 450, or an eighth of the memory limit where that is less"},
    {"Chain", "mempool-size", "MIB", TYPE_NUMBER, NODE, AT(mempool_mib), "0", 0, 65536, NULL, NULL,
     "bound of the mempool; 0: 300, or an eighth of the memory limit"},
    {"Chain", "persistmempool", "yes|no", TYPE_YES, NODE, AT(persist_mempool), "yes", 0, 0, NULL, NULL,
     "keep the mempool over a restart, in mempool.dat of the chain's folder"},
    {"Chain", "txindex", "yes|no", TYPE_YES, NODE, AT(tx_index), "yes", 0, 0, NULL, NULL,
     "keep an index of all transactions"},
    {"Chain", "par", "N", TYPE_NUMBER, NODE, AT(check_threads), "0", 0, 1024, NULL, NULL,
     "threads that check scripts; 0: what CPU mask, cpuset and quota allow"},
    {"Chain", "reindex", "yes|no", TYPE_YES, NODE, AT(reindex), "no", 0, 0, NULL, NULL,
     "build block index and coins anew from the block files"},
    {"Chain", "reindex-chainstate", "yes|no", TYPE_YES, NODE, AT(reindex_chainstate), "no", 0, 0, NULL, NULL,
     "build the coins anew from the blocks of the index"},
    {"Chain", "assumevalid", "HASH", TYPE_TEXT, NODE, AT(assume_valid), "0", 0, 0, NULL, NULL,
     "do not run scripts of this block and its ancestors once two weeks of work lie on it; 0: run all"},
    {"Chain", "minimumchainwork", "HEX", TYPE_TEXT, NODE, AT(minimum_work), "0", 0, 0, NULL, NULL,
     "a chain with less work is not downloaded, and assumevalid does not count for it"},
    {"Chain", "loadblock", "FILE", TYPE_LIST, NODE, AT(load_blocks), "", 0, 0, NULL, NULL,
     "read blocks from a blk*.dat file at start (repeatable; xor.dat beside it is honoured)"},
    {"Chain", "exit-when", "WHEN", TYPE_TEXT, NODE, AT(exit_when), "never", 0, 0, NULL, NULL,
     "stop by itself: loaded, synced, or height:N"},
    {"Network", "listen", "HOST:PORT", TYPE_LIST, NODE, AT(listen), "", 0, 0, NULL, "NODE_ADDR",
     "accept peers here (repeatable; port 0: a free one; 'none': nowhere; default 127.0.0.1, the chain's "
     "port)"},
    {"Network", "connect", "HOST:PORT", TYPE_LIST, NODE, AT(connect), "", 0, 0, NULL, "NODE_CONNECT_NODES",
     "stay connected to this peer (repeatable); 'local': I am a seed and may begin the chain"},
    {"Network", "discover", "fallback|yes|no", TYPE_TEXT, NODE, AT(discover), "fallback", 0, 0,
     "fallback|yes|no", NULL, "use learned addresses: only while a --connect peer is down, always, or never"},
    {"Network", "p2p-allow", "NET", TYPE_LIST, NODE, AT(p2p_allow), "", 0, 0, NULL, NULL,
     "accept peers from this IP or IP/BITS only, and from this machine (repeatable; default: from anywhere)"},
    {"Network", "whitelist", "[PERMISSIONS@]NET", TYPE_LIST, NODE, AT(whitelist), "", 0, 0, " ", NULL,
     "what peers at this IP or IP/BITS may do: noban, forcerelay, relay, mempool, download, addr, all; with "
     "in "
     "or out for connections of one direction (repeatable; default: noban,relay,mempool,download for "
     "inbound)"},
    {"Network", "maxinbound", "N", TYPE_NUMBER, NODE, AT(max_inbound), "117", 0, 10000, NULL, NULL,
     "places for peers that connect to us"},
    {"Network", "blocksonly", "yes|no", TYPE_YES, NODE, AT(blocks_only), "no", 0, 0, NULL, NULL,
     "take transactions in blocks only, from peers without the permission relay; our own are sent all the "
     "same"},
    {"Network", "tx-trickle", "MS", TYPE_NUMBER, NODE, AT(trickle_ms), "-1", -1, 60000, NULL, NULL,
     "a transaction waits so long, on average, before a peer is told of it; -1: 0 on cluster and regtest, "
     "else 2000"},
    {"Network", "loop", "auto|io_uring|epoll", TYPE_TEXT, NODE, AT(loop), "auto", 0, 0, "auto|io_uring|epoll",
     NULL, "how to wait for sockets and files"},
    {"Mining", "mine", "yes|no", TYPE_YES, NODE, AT(mine), "no", 0, 0, NULL, "NODE_IS_MINER",
     "mine (regtest: one block every block-interval)"},
    {"Mining", "mining-address", "ADDRESS", TYPE_TEXT, NODE, AT(mining_address), "", 0, 0, NULL,
     "NODE_MINING_ADDRESS", "who is paid (default: a key made and kept in the data directory)"},
    {"Mining", "block-interval", "SECONDS", TYPE_NUMBER, NODE, AT(block_interval_s), "1", 1, 86400, NULL,
     NULL, "regtest: seconds between blocks"},
    {"Mining", "threads", "N", TYPE_TEXT, NODE, AT(threads), "auto", 0, 0, NULL, NULL,
     "hash workers, 0..1024 (default: what CPU mask, cpuset and quota allow)"},
    {"Mining", "cpus", "LIST", TYPE_TEXT, NODE, AT(cpus), "", 0, 0, NULL, NULL,
     "only these CPUs, such as 0,2-3"},
    {"Mining", "hash-share", "PERCENT", TYPE_NUMBER, NODE, AT(hash_share), "100", 1, 100, NULL, NULL,
     "how much of each hash worker's time is spent hashing"},
    {"Mining", "hash-kernel", "NAME", TYPE_TEXT, NODE, AT(hash_kernel), "auto", 0, 0, NULL, NULL,
     "this hash kernel (quarryd --version lists them); default: each worker measures which is fastest"},
    {"Mining", "pin", "yes|no", TYPE_YES, NODE, AT(pin), "no", 0, 0, NULL, NULL,
     "pin workers to CPUs also where there are fewer than CPUs"},
    {"Control", "rpc-socket", "PATH", TYPE_TEXT, ALL, AT(rpc_socket), "", 0, 0, NULL, NULL,
     "Unix socket of the node (default: node.sock in the chain's folder)"},
    {"Control", "log-format", "text|json", TYPE_TEXT, NODE | API, AT(log_format), "text", 0, 0, "text|json",
     NULL, "how log lines are written to standard error"},
    {"Control", "log-level", "LEVEL", TYPE_TEXT, NODE | API, AT(log_level), "info", 0, 0,
     "error|warn|info|debug|trace", NULL, "error, warn, info, debug or trace"},
    {"Control", "wallet-file", "FILE", TYPE_TEXT, CLI, AT(wallet_file), "wallets.dat", 0, 0, NULL,
     "WALLET_FILE", "where createwallet and listaddresses keep keys"},
    {"HTTP", "listen", "HOST:PORT", TYPE_LIST, API, AT(http_listen), "", 0, 0, NULL, NULL,
     "serve HTTP here (repeatable; port 0: a free one; default 127.0.0.1:8080)"},
    {"HTTP", "serve", "LIST", TYPE_TEXT, API, AT(serve), "health,metrics,rest,web,rpc", 0, 0, NULL, NULL,
     "what is served: health, metrics, rest, web; rpc at an address of its own"},
    {"HTTP", "rpcbind", "HOST[:PORT]", TYPE_LIST, API, AT(rpc_bind), "", 0, 0, NULL, NULL,
     "JSON-RPC here (repeatable; default 127.0.0.1 and ::1)"},
    {"HTTP", "rpcport", "PORT", TYPE_NUMBER, API, AT(rpc_port), "-1", -1, 65535, NULL, NULL,
     "port of JSON-RPC; 0: a free one; -1: the chain's, and without it where it is taken"},
    {"HTTP", "rest", "yes|no", TYPE_YES, API, AT(core_rest), "no", 0, 0, NULL, NULL,
     "Bitcoin Core's REST at /rest/ beside JSON-RPC, for whoever may reach it, without a password"},
    {"HTTP", "rpcuser", "NAME", TYPE_TEXT, API, AT(rpc_user), "", 0, 0, NULL, NULL,
     "who may use JSON-RPC, with rpcpassword (default: whoever reads .cookie in the chain's folder)"},
    {"HTTP", "rpcpassword", "TEXT", TYPE_TEXT, API, AT(rpc_password), "", 0, 0, NULL, NULL,
     "the password of rpcuser"},
    {"HTTP", "rpcauth", "USER:SALT$HASH", TYPE_LIST, API, AT(rpc_auth), "", 0, 0, NULL, NULL,
     "the same with a salted hash (HMAC-SHA-256) instead of the password (repeatable)"},
    {"HTTP", "rpccookiefile", "FILE", TYPE_TEXT, API, AT(rpc_cookie_file), "", 0, 0, NULL, NULL,
     "where the cookie is (default: .cookie in the chain's folder)"},
    {"HTTP", "rpcallowip", "ADDRESS[/BITS]", TYPE_LIST, API, AT(rpc_allow), "", 0, 0, NULL, NULL,
     "who may reach JSON-RPC besides this machine (repeatable)"},
    {"HTTP", "profile", "NAME", TYPE_TEXT, API, AT(profile), "development", 0, 0, "development|production",
     NULL, "production refuses well-known keys, has no faucet and a smaller rate"},
    {"HTTP", "http-connections", "N", TYPE_NUMBER, API, AT(http_connections), "1024", 1, 100000, NULL, NULL,
     "connections at a time; more are closed at once"},
    {"HTTP", "allowed-host", "NAME", TYPE_LIST, API, AT(allowed_hosts), "", 0, 0, NULL, NULL,
     "answer only to these names in the Host header (repeatable; addresses and localhost always pass; "
     "default: any name for reads)"},
    {"HTTP", "admin-key", "KEY", TYPE_TEXT, API, AT(admin_key), "", 0, 0, NULL, "BITCOIN_API_ADMIN_KEY",
     "X-API-Key of the role admin (default: a random one, kept in the data directory)"},
    {"HTTP", "admin-key-file", "FILE", TYPE_TEXT, API, AT(admin_key_file), "", 0, 0, NULL, NULL,
     "a file with that key"},
    {"HTTP", "wallet-key", "KEY", TYPE_TEXT, API, AT(wallet_key), "", 0, 0, NULL, "BITCOIN_API_WALLET_KEY",
     "X-API-Key of the role wallet (default: a random one, kept in the data directory)"},
    {"HTTP", "wallet-key-file", "FILE", TYPE_TEXT, API, AT(wallet_key_file), "", 0, 0, NULL, NULL,
     "a file with that key"},
    {"HTTP", "wallet-dir", "DIR", TYPE_TEXT, API, AT(wallet_dir), "", 0, 0, NULL, NULL,
     "wallets, one file each, shared by all web servers (default: WALLET_FILE's folder, else wallets in the "
     "data directory)"},
    {"HTTP", "purse", "PATH", TYPE_TEXT, API, AT(purse), "", 0, 0, NULL, NULL,
     "development: a key file, or a folder of them, that the faucet pays from"},
    {"HTTP", "redis", "ADDRESS", TYPE_TEXT, API, AT(redis), "", 0, 0, NULL, NULL,
     "HOST:PORT, unix:PATH or redis://[[USER]:PASSWORD@]HOST:PORT of the Redis that shares rate limits "
     "between "
     "web servers"},
    {"HTTP", "redis-password", "TEXT", TYPE_TEXT, API, AT(redis_password), "", 0, 0, NULL, "REDIS_PASSWORD",
     "its password, better by the environment than where others see it"},
    {"HTTP", "rate-limit", "PER_SECOND", TYPE_NUMBER, API, AT(rate_per_s), "0", 0, 1000000, NULL, NULL,
     "requests per second and client; 0: development 20, production 4"},
    {"HTTP", "rate-limit-burst", "N", TYPE_NUMBER, API, AT(rate_burst), "0", 0, 1000000, NULL, NULL,
     "requests that a rested client may make at once; 0: development 1200, production 240"},
    {"HTTP", "rate-limit-fail", "open|closed", TYPE_TEXT, API, AT(rate_limit_fail), "open", 0, 0,
     "open|closed", NULL, "without Redis: limit by this process's memory (open), or refuse (closed)"},
    {"HTTP", "trusted-proxy", "ADDRESS", TYPE_LIST, API, AT(trusted_proxies), "", 0, 0, NULL, NULL,
     "an address whose X-Forwarded-For counts (repeatable)"},
};
#define ROWS ARRAY_COUNT(table)

enum source { FROM_NOWHERE, FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };
struct reading { /* texts as given, before they are understood */
    struct settings *out;
    enum settings_program program;
    struct text_list given[ROWS];
    enum source source[ROWS];
};

static void list_push(struct text_list *list, const char *text, size_t len)
{
    list->items = mem_realloc(list->items, (list->count + 1) * sizeof *list->items);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    list->items[list->count++] = copy;
}

static void list_drop(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i]);
    }
    mem_free(list->items);
    *list = (struct text_list){0};
}

static void note(struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct reading *r, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    list_push(&r->out->notes, text, strlen(text));
}

static size_t row_of(enum settings_program program, const char *name, size_t len)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].programs & program && strlen(table[i].name) == len &&
            memcmp(table[i].name, name, len) == 0) {
            return i;
        }
    }
    return ROWS;
}

/* A stronger source replaces what a weaker one gave; the same source adds to a list. */
static void give(struct reading *r, size_t row, enum source source, const char *text, size_t len)
{
    if (source < r->source[row]) {
        return;
    }
    if (source > r->source[row] || table[row].type != TYPE_LIST) {
        list_drop(&r->given[row]);
    }
    r->source[row] = source;
    if (table[row].type == TYPE_LIST && source == FROM_ENVIRONMENT) {
        for (size_t at = 0; at <= len;) { /* one variable, several values */
            size_t piece = strcspn(text + at, table[row].choices ? table[row].choices : ", ");
            if (piece) {
                list_push(&r->given[row], text + at, piece);
            }
            at += piece + 1;
        }
    } else {
        list_push(&r->given[row], text, len);
    }
}

/* ---- Flags ------------------------------------------------------------------------------------------- */

static bool read_flag(struct reading *r, const char *word, struct error *error)
{
    const char *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    size_t row = row_of(r->program, name, len);
    if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0 || strcmp(name, "?") == 0) {
        r->out->want_help = true;
    } else if (strcmp(name, "version") == 0) {
        r->out->want_version = true;
    } else if (row == ROWS) {
        enum chain_kind kind;
        if (value || !chain_kind_parse(&kind, name)) {
            return error_set(error, ERROR_USAGE, NULL, "unknown flag --%.*s (--help shows all)", (int)len,
                             name);
        }
        give(r, row_of(r->program, "chain", 5), FROM_FLAG, name, len);
    } else if (!value && table[row].type != TYPE_YES) {
        return error_set(error, ERROR_USAGE, NULL, "--%s wants a value: --%s=%s", name, name,
                         table[row].value);
    } else {
        give(r, row, FROM_FLAG, value ? value : "yes", value ? strlen(value) : 3);
    }
    return true;
}

/* ---- Environment ------------------------------------------------------------------------------------- */

/* NODE_MINING_ADDRESS, unless WALLET_ADDRESS_POOL names one for this instance. */
static bool read_address_pool(struct reading *r, struct error *error)
{
    const char *pool = getenv("WALLET_ADDRESS_POOL"), *number = getenv("INSTANCE_NUMBER");
    size_t row = row_of(r->program, "mining-address", 14);
    if (row == ROWS || !pool || !*pool) {
        return true;
    }
    char *end = NULL;
    unsigned long instance = number && *number ? strtoul(number, &end, 10) : 1;
    if ((end && *end) || instance < 1 || instance > 100000) {
        return error_set(error, ERROR_USAGE, NULL, "INSTANCE_NUMBER is '%s': a number from 1 is wanted",
                         number);
    }
    const char *at = pool;
    for (unsigned long i = 1; i < instance && at; i++) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    at = at ? at + strspn(at, " ") : NULL;
    if (!at || !*at || *at == ',') {
        return error_set(error, ERROR_USAGE, NULL,
                         "WALLET_ADDRESS_POOL has not enough addresses for instance %lu", instance);
    }
    give(r, row, FROM_ENVIRONMENT, at, strcspn(at, ", "));
    return true;
}

static void read_rust_log(struct reading *r)
{
    const char *filter = getenv("RUST_LOG");
    size_t row = row_of(r->program, "log-level", 9);
    enum log_level level;
    if (row == ROWS || !filter || !*filter) {
        return;
    }
    char first[32];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(filter, ","), filter);
    if (log_level_parse(&level, first)) {
        give(r, row, FROM_ENVIRONMENT, first, strlen(first));
    } else {
        note(r, "RUST_LOG=%.80s is not understood; use QUARRY_LOG_LEVEL", filter);
    }
}

static void environment_name(char out[64], const char *name)
{
    snprintf(out, 64, "QUARRY_%s", name);
    for (char *c = out; *c; c++) {
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
}

static bool read_environment(struct reading *r, struct error *error)
{
    static const char *const ignored[] = {"CENTRAL_NODE", "BLOCKS_TREE"};
    for (size_t i = 0; i < ROWS; i++) {
        char name[64];
        if (!(table[i].programs & r->program)) {
            continue;
        }
        if (table[i].environment) {
            const char *value = getenv(table[i].environment);
            if (value && *value && strcmp(value, "your-wallet-address-here") != 0) {
                give(r, i, FROM_ENVIRONMENT, value, strlen(value));
            }
        }
        environment_name(name, table[i].name);
        const char *value = getenv(name);
        if (value && *value) {
            if (r->source[i] == FROM_ENVIRONMENT) {
                list_drop(&r->given[i]); /* our own name wins over the original's */
            }
            give(r, i, FROM_ENVIRONMENT, value, strlen(value));
        }
    }
    read_rust_log(r);
    for (size_t i = 0; r->program == SETTINGS_NODE && i < ARRAY_COUNT(ignored); i++) {
        if (getenv(ignored[i])) {
            note(r, "%s is set and ignored: Quarry does not need it", ignored[i]);
        }
    }
    for (char **at = environ; r->program == SETTINGS_NODE && *at; at++) {
        if (strncmp(*at, "QUARRY_", 7) != 0) {
            continue;
        }
        bool known =
            strncmp(*at, "QUARRY_VECTORS=", 15) == 0 || strncmp(*at, "QUARRY_BUILD=", 13) == 0; /* tools/ */
        for (size_t i = 0; i < ROWS && !known; i++) {
            char name[64];
            environment_name(name, table[i].name);
            known = strncmp(*at, name, strlen(name)) == 0 && (*at)[strlen(name)] == '=';
        }
        if (!known) {
            note(r, "%.*s in the environment is no setting of Quarry", (int)strcspn(*at, "="), *at);
        }
    }
    return read_address_pool(r, error);
}

/* ---- quarry.conf: key = value, [chain] sections ------------------------------------------------------ */

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t len = strlen(text);
    while (len && strchr(" \t\r", text[len - 1])) {
        text[--len] = 0;
    }
    return text;
}

/* A line of the section of this chain, or of none. section is what stood in brackets last. */
static bool read_line(struct reading *r, const char *path, unsigned number, char *line, char section[32],
                      const char *chain, struct error *error)
{
    line = trim(line);
    if (!*line || *line == '#' || *line == ';') {
        return true;
    }
    if (*line == '[') {
        size_t len = strcspn(line + 1, "]");
        snprintf(section, 32, "%.*s", (int)len, line + 1);
        return line[1 + len] == ']' ||
               error_set(error, ERROR_USAGE, NULL, "%.150s line %u: '[' without ']'", path, number);
    }
    char *equals = strchr(line, '=');
    if (!equals) {
        return error_set(error, ERROR_USAGE, NULL, "%.150s line %u: 'key = value' is wanted", path, number);
    }
    *equals = 0;
    char *key = trim(line), *value = trim(equals + 1);
    size_t row = row_of(r->program, key, strlen(key));
    row = row == ROWS ? row_of((enum settings_program)ALL, key, strlen(key)) : row;
    if (row == ROWS) {
        return error_set(error, ERROR_USAGE, NULL, "%.150s line %u: unknown setting '%.60s'", path, number,
                         key);
    }
    bool first_pass = !chain; /* only what decides where the rest is */
    if (first_pass ? !*section && strcmp(key, "chain") == 0 : !*section || strcmp(section, chain) == 0) {
        if (table[row].programs & r->program) {
            give(r, row, FROM_FILE, value, strlen(value));
        }
    }
    return true;
}

static const char *text_of(const struct reading *r, const char *name)
{
    size_t row = row_of(r->program, name, strlen(name));
    return r->given[row].count ? r->given[row].items[r->given[row].count - 1] : table[row].standard;
}

static char *expand_home(const char *path)
{
    struct buf out = {0};
    const char *home = getenv("HOME");
    bool tilde = path[0] == '~' && (path[1] == '/' || !path[1]);
    buf_printf(&out, "%s%s%c", tilde ? (home ? home : "/root") : "", tilde ? path + 1 : path, 0);
    return (char *)out.data;
}

static bool read_file(struct reading *r, struct error *error)
{
    const char *named = text_of(r, "conf");
    struct buf path = {0}, text = {0};
    char *datadir = expand_home(text_of(r, "datadir"));
    if (*named) {
        buf_printf(&path, "%s%c", named, 0);
    } else {
        buf_printf(&path, "%s/quarry.conf%c", datadir, 0);
    }
    mem_free(datadir);
    struct error problem = {0};
    bool ok = file_read_all((const char *)path.data, CONF_BYTES_MAX, &text, &problem);
    if (!ok) {
        if (problem.kind == ERROR_MISSING && !*named) {
            ok = true; /* there need not be one */
        } else {
            error_set(error, ERROR_USAGE, NULL, "conf: %s", problem.text);
        }
    } else {
        for (int pass = 0; ok && pass < 2; pass++) {
            char section[32] = "", chain[32];
            unsigned number = 0;
            snprintf(chain, sizeof chain, "%s", text_of(r, "chain"));
            char *copy = mem_alloc(text.len + 1), *rest = copy;
            memcpy(copy, text.data, text.len);
            for (char *line; ok && (line = strsep(&rest, "\n"));) {
                ok = read_line(r, (const char *)path.data, ++number, line, section, pass ? chain : NULL,
                               error);
            }
            mem_free(copy);
        }
    }
    buf_free(&path);
    buf_free(&text);
    return ok;
}

/* ---- Understanding ----------------------------------------------------------------------------------- */

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strchr(text, '|') ? 0 : strlen(text); /* one of them, not several */
    for (const char *at = choices; len && (at = strstr(at, text)); at++) {
        if ((at == choices || at[-1] == '|') && (at[len] == '|' || !at[len])) {
            return true;
        }
    }
    return false;
}

static bool parse_number(int64_t *out, const char *text, int64_t least, int64_t most)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return *text && !*end && !errno && value >= least && value <= most && !isspace((unsigned char)*text);
}

static bool understand_row(struct reading *r, size_t row, struct error *error)
{
    const struct setting *s = &table[row];
    void *member = (char *)r->out + s->offset;
    const char *text = r->given[row].count ? r->given[row].items[r->given[row].count - 1] : s->standard;
    switch (s->type) {
    case TYPE_TEXT:
        if (s->choices && !is_choice(s->choices, text)) {
            return error_set(error, ERROR_USAGE, NULL, "%s is '%.80s': allowed is %s", s->name, text,
                             s->choices);
        }
        *(char **)member = mem_strdup(text);
        return true;
    case TYPE_LIST:
        *(struct text_list *)member = r->given[row];
        r->given[row] = (struct text_list){0};
        return true;
    case TYPE_NUMBER:
        if (!parse_number(member, text, s->least, s->most)) {
            return error_set(error, ERROR_USAGE, NULL,
                             "%s is '%.80s': a whole number from %" PRId64 " to %" PRId64 " is wanted",
                             s->name, text, s->least, s->most);
        }
        return true;
    case TYPE_YES:
        *(bool *)member = is_choice("yes|true|1|on", text);
        return *(bool *)member || is_choice("no|false|0|off", text) ||
               error_set(error, ERROR_USAGE, NULL, "%s is '%.80s': yes or no is wanted", s->name, text);
    }
    return false;
}

static bool check_host_port(const char *name, const char *text, struct error *error)
{
    const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : "";
    bool bracketed = *text == '[';
    int64_t number;
    bool bare = !colon || (!bracketed && strchr(text, ':') != colon); /* no port, or IPv6 as it is */
    bool ok = *text && strlen(text) < 250 && !strpbrk(text, " \t/") &&
              (bare || (parse_number(&number, port, 0, 65535) && colon != text));
    return ok || error_set(error, ERROR_USAGE, NULL, "%s is '%.80s': HOST:PORT is wanted, port 0 to 65535",
                           name, text);
}

static bool check_meaning(struct settings *s, struct error *error)
{
    int64_t number;
    for (size_t i = 0; i < s->listen.count; i++) {
        if (strcmp(s->listen.items[i], "none") != 0 &&
            !check_host_port("listen", s->listen.items[i], error)) {
            return false;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->connect.count; i++) {
        char *item = s->connect.items[i];
        if (strcmp(item, "local") == 0) {
            s->seed = true;
            mem_free(item);
        } else {
            s->connect.items[kept++] = item;
        }
    }
    s->connect.count = kept;
    for (size_t i = 0; i < kept; i++) {
        if (!check_host_port("connect", s->connect.items[i], error)) {
            return false;
        }
    }
    const char *when = s->exit_when;
    if (strcmp(when, "never") != 0 && strcmp(when, "loaded") != 0 && strcmp(when, "synced") != 0 &&
        (strncmp(when, "height:", 7) != 0 || !parse_number(&number, when + 7, 0, UINT32_MAX))) {
        return error_set(error, ERROR_USAGE, NULL,
                         "exit-when is '%.80s': allowed is never, loaded, synced or height:N", when);
    }
    if (strcmp(s->threads, "auto") != 0 && !parse_number(&number, s->threads, 0, 1024)) {
        return error_set(error, ERROR_USAGE, NULL, "threads is '%.80s': auto, or 0 to 1024", s->threads);
    }
    if (strspn(s->cpus, "0123456789,-") != strlen(s->cpus)) {
        return error_set(error, ERROR_USAGE, NULL, "cpus is '%.80s': a list such as 0,2-3 is wanted",
                         s->cpus);
    }
    return true;
}

static bool understand(struct reading *r, struct error *error)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].programs & r->program && !understand_row(r, i, error)) {
            return false;
        }
    }
    char *datadir = expand_home(r->out->datadir);
    mem_free(r->out->datadir);
    r->out->datadir = datadir;
    r->out->datadir_given = r->source[row_of(r->program, "datadir", 7)] != FROM_NOWHERE;
    r->out->wallet_file_given = r->source[row_of(SETTINGS_CLI, "wallet-file", 11)] != FROM_NOWHERE;
    for (size_t i = 0; i < r->out->http_listen.count; i++) {
        if (!check_host_port("listen", r->out->http_listen.items[i], error)) {
            return false;
        }
    }
    for (size_t i = 0; i < r->out->rpc_bind.count; i++) {
        if (!check_host_port("rpcbind", r->out->rpc_bind.items[i], error)) {
            return false;
        }
    }
    return r->program != SETTINGS_NODE || check_meaning(r->out, error);
}

bool settings_read(struct settings *out, enum settings_program program, int argc, char **argv, int *next,
                   struct error *error)
{
    struct reading r = {.out = out, .program = program};
    *out = (struct settings){0};
    bool ok = true;
    int at = 1;
    for (; ok && at < argc && !(program == SETTINGS_CLI && argv[at][0] != '-'); at++) {
        ok = argv[at][0] == '-' && argv[at][1]
                 ? read_flag(&r, argv[at], error)
                 : error_set(error, ERROR_USAGE, NULL, "'%.80s' is not a flag (--help shows all)", argv[at]);
    }
    *next = at;
    if (ok && !out->want_help && !out->want_version) {
        ok = read_environment(&r, error) && read_file(&r, error) && understand(&r, error);
    }
    for (size_t i = 0; i < ROWS; i++) {
        list_drop(&r.given[i]);
    }
    return ok;
}

void settings_free(struct settings *s)
{
    for (size_t i = 0; i < ROWS; i++) {
        void *member = (char *)s + table[i].offset;
        if (table[i].type == TYPE_TEXT) {
            mem_free(*(char **)member);
        } else if (table[i].type == TYPE_LIST) {
            list_drop(member);
        }
    }
    list_drop(&s->notes);
    *s = (struct settings){0};
}

void settings_help(FILE *out, enum settings_program program)
{
    const char *group = "";
    for (size_t i = 0; i < ROWS; i++) {
        const struct setting *s = &table[i];
        if (!(s->programs & program)) {
            continue;
        }
        if (strcmp(group, s->group) != 0) {
            group = s->group;
            fprintf(out, "\n%s:\n", group);
        }
        char flag[64], name[64];
        snprintf(flag, sizeof flag, "--%s=%s", s->name, s->value);
        environment_name(name, s->name);
        fprintf(out, "  %-30s %s\n", flag, s->help);
        fprintf(out, "  %-30s   [%s%s%s%s%s]\n", "", name, s->environment ? ", " : "",
                s->environment ? s->environment : "", *s->standard ? "; default " : "", s->standard);
    }
    fprintf(out, "\nThe same names, 'name = value', may stand in quarry.conf in the data directory, under\n"
                 "[chain] for one chain only. A flag wins over the environment, that over the file.\n");
}

/* ---- What settings mean together --------------------------------------------------------------------- */

static bool network_of(const struct settings *s, struct network_spec *spec, struct error *error)
{
    if (network_name_valid(s->network)) { /* whatever lies in the folder where we were started */
        network_spec_default(spec, s->network);
        return true;
    }
    struct buf text = {0};
    struct error problem = {0};
    bool ok = file_read_all(s->network, NETWORK_BYTES_MAX, &text, &problem);
    if (!ok) {
        error_set(error, ERROR_USAGE, NULL,
                  "network is '%.80s': a name of 1 to 32 of a-z 0-9 -, or a file, as ./NAME (%.100s)",
                  s->network, problem.text);
    } else if (!network_spec_parse(spec, buf_span(&text), &problem)) {
        ok = error_set(error, ERROR_USAGE, NULL, "network: %.80s: %.140s", s->network, problem.text);
    }
    buf_free(&text);
    return ok;
}

bool settings_chain(const struct settings *s, struct chain_params *out, struct error *error)
{
    enum chain_kind kind;
    struct network_spec spec;
    CHECK(chain_kind_parse(&kind, s->chain));
    if (kind == CHAIN_CLUSTER && !network_of(s, &spec, error)) {
        return false;
    }
    struct buf challenge = {0};
    if (*s->signet_challenge && kind == CHAIN_SIGNET &&
        !hex_decode_buf(&challenge, s->signet_challenge, SCRIPT_BYTES_MAX)) {
        return error_set(error, ERROR_USAGE, NULL,
                         "signet-challenge is '%.80s': hexadecimal of at most %u bytes", s->signet_challenge,
                         SCRIPT_BYTES_MAX);
    }
    bool ok = chain_params_init(out, kind, &spec, error);
    if (ok && challenge.len) {
        chain_params_set_challenge(out, buf_span(&challenge));
    }
    buf_free(&challenge);
    return ok;
}

char *settings_chain_folder(const struct settings *s)
{
    struct buf out = {0};
    buf_printf(&out, "%s/%s%c", s->datadir, s->chain, 0);
    return (char *)out.data;
}

char *settings_socket_path(const struct settings *s)
{
    struct buf out = {0};
    if (*s->rpc_socket) {
        buf_printf(&out, "%s%c", s->rpc_socket, 0);
    } else {
        buf_printf(&out, "%s/%s/node.sock%c", s->datadir, s->chain, 0);
    }
    return (char *)out.data;
}
