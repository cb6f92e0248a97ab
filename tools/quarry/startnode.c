/* startnode: a node as the command line or, in a container, the environment describes it: roles, ports,
 * folders, peers and the address that mining pays; then supervise.c runs quarryd and, on a web server,
 * quarry-api. */
#include <stdlib.h>
#include <unistd.h>

#include "tools/quarry/quarry.h"

#define WORDS_MAX 64

struct words { /* an argument list, NULL-terminated; the texts are owned */
    char *items[WORDS_MAX];
    size_t count;
};

struct plan {
    bool miner, web_server;
    const char *const *peers;
    size_t peer_count;
    const char *mining_address; /* NULL: the node's own key */
    const char *datadir;
    struct words listen, http; /* empty: the node's default; the web server's default */
};

static void add_word(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_word(struct words *w, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(w->count + 1 < WORDS_MAX);
    w->items[w->count++] = mem_strdup(text);
}

static void free_words(struct words *w)
{
    for (size_t i = 0; i < w->count; i++) {
        mem_free(w->items[i]);
    }
}

static int run_plan(const struct plan *plan, const struct settings *settings)
{
    struct words node = {0}, api = {0};
    add_word(&node, "quarryd");
    add_word(&api, "quarry-api");
    for (int i = 0; i < 2; i++) {
        struct words *w = i ? &api : &node;
        add_word(w, "--chain=%s", settings->chain);
        add_word(w, "--network=%s", settings->network);
        add_word(w, "--datadir=%s", plan->datadir);
        if (*settings->rpc_socket) {
            add_word(w, "--rpc-socket=%s", settings->rpc_socket);
        }
    }
    add_word(&node, "--mine=%s", plan->miner ? "yes" : "no");
    if (plan->mining_address) {
        add_word(&node, "--mining-address=%s", plan->mining_address);
    }
    for (size_t i = 0; i < plan->peer_count; i++) {
        add_word(&node, "--connect=%s", plan->peers[i]);
    }
    for (size_t i = 0; i < plan->listen.count; i++) {
        add_word(&node, "--listen=%s", plan->listen.items[i]);
    }
    for (size_t i = 0; i < plan->http.count; i++) {
        add_word(&api, "--listen=%s", plan->http.items[i]);
    }
    struct child children[] = {{.name = "quarryd", .argv = node.items},
                               {.name = "quarry-api", .argv = api.items}};
    logs_begin("quarry", false, LOG_INFO);
    int status = supervise(children, plan->web_server ? 2 : 1);
    free_words(&node);
    free_words(&api);
    return status;
}

/* ---- From the command line --------------------------------------------------------------------------- */

static bool yes_or_no(bool *out, const char *text)
{
    *out = strcmp(text, "yes") == 0;
    return *out || strcmp(text, "no") == 0;
}

static int start_as_told(const struct invocation *run)
{
    struct plan plan = {.datadir = run->settings->datadir};
    int dashes = 2;
    while (dashes < run->argc && strcmp(run->argv[dashes], "--") != 0) {
        dashes++;
    }
    if (dashes < 3 || dashes + 2 != run->argc || !yes_or_no(&plan.miner, run->argv[0]) ||
        !yes_or_no(&plan.web_server, run->argv[1])) {
        return complain(STATUS_USAGE,
                        "startnode <miner: yes|no> <web server: yes|no> <node>... -- <address>; a node is "
                        "'local' or HOST:PORT");
    }
    if (dashes - 2 > WORDS_MAX / 2) {
        return complain(STATUS_USAGE, "startnode: at most %d nodes to connect to", WORDS_MAX / 2);
    }
    plan.peers = (const char *const *)run->argv + 2;
    plan.peer_count = (size_t)(dashes - 2);
    plan.mining_address = run->argv[dashes + 1];
    return run_plan(&plan, run->settings);
}

/* ---- From the environment ---------------------------------------------------------------------------- */

static const char *environment(const char *name, const char *standard)
{
    const char *value = getenv(name);
    return value && *value ? value : standard;
}

static bool environment_yes(bool *out, const char *name, const char *standard)
{
    const char *value = environment(name, standard);
    return yes_or_no(out, value) || complain(0, "%s is '%s': yes or no is wanted", name, value);
}

/* NODE_ADDR (TREE_DIR, WALLET_FILE likewise) as the system that Quarry replaces meant them: one address. The
 * node listens there and on the same port plus instance minus one, so that every mapping reaches something.
 */
static bool plan_ports(struct plan *plan, unsigned instance)
{
    const char *address = environment("NODE_ADDR", "0.0.0.0:2001");
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!end || *end || port < 1 || port + instance > 65535) {
        complain(0, "NODE_ADDR is '%s': HOST:PORT is wanted", address);
        return false;
    }
    int host_len = (int)(colon - address);
    if (!getenv("QUARRY_LISTEN")) {
        add_word(&plan->listen, "%.*s:%lu", host_len, address, port);
        if (instance > 1) {
            add_word(&plan->listen, "%.*s:%lu", host_len, address, port + instance - 1);
        }
    }
    add_word(&plan->http, "%.*s:8080", host_len, address);
    if (instance > 1) {
        add_word(&plan->http, "%.*s:%u", host_len, address, 8079 + instance);
    }
    return true;
}

/* Peers may be separated by commas or spaces. They stay in `text`, which is cut up. */
static size_t split_peers(const char *peers[WORDS_MAX / 2], char *text)
{
    size_t count = 0;
    for (char *rest = text, *word; (word = strsep(&rest, ", "));) {
        if (*word && count < WORDS_MAX / 2) {
            peers[count++] = word;
        }
    }
    return count;
}

/* A miner's own address: the pool's or the given one, which quarryd reads from the environment itself; else
 * the first key of its wallet file. */
static bool plan_address(char out[ADDRESS_TEXT], const struct settings *settings, unsigned instance,
                         struct error *error)
{
    struct chain_params params;
    struct buf path = {0};
    if (!settings_chain(settings, &params, error)) {
        return false;
    }
    if (settings->wallet_file_given) {
        buf_printf(&path, "%s%c", settings->wallet_file, 0);
    } else {
        buf_printf(&path, "wallets/wallets%u/wallets.dat%c", instance, 0);
    }
    bool ok = wallet_first_address(out, (const char *)path.data, &params, error);
    buf_free(&path);
    chain_params_free(&params);
    return ok;
}

static bool address_is_given(void)
{
    const char *address = environment("NODE_MINING_ADDRESS", "");
    return *environment("WALLET_ADDRESS_POOL", "") || *environment("QUARRY_MINING_ADDRESS", "") ||
           (*address && strcmp(address, "your-wallet-address-here") != 0);
}

static int start_as_environment_says(const struct settings *settings)
{
    struct plan plan = {0};
    struct error error = {0};
    unsigned instance;
    char datadir[64], number[16], address[ADDRESS_TEXT];
    const char *peers[WORDS_MAX / 2];
    if (!environment_yes(&plan.miner, "NODE_IS_MINER", "no") ||
        !environment_yes(&plan.web_server, "NODE_IS_WEB_SERVER", "yes")) {
        return STATUS_USAGE;
    }
    if (!instance_number(&instance, &error)) {
        return complain(STATUS_USAGE, "%s", error.text);
    }
    if (!plan_ports(&plan, instance)) {
        return STATUS_USAGE;
    }
    snprintf(datadir, sizeof datadir, "data/data%u", instance);
    snprintf(number, sizeof number, "%u", instance);
    setenv("INSTANCE_NUMBER", number, 1); /* WALLET_ADDRESS_POOL is indexed by it */
    plan.datadir = settings->datadir_given ? settings->datadir : datadir;
    if (plan.miner && !address_is_given()) {
        if (!plan_address(address, settings, instance, &error)) {
            return complain(STATUS_RUNTIME, "%s", error.text);
        }
        plan.mining_address = address;
    }
    char *text = mem_strdup(environment("NODE_CONNECT_NODES", "local"));
    plan.peers = peers;
    plan.peer_count = split_peers(peers, text);
    printf("instance %u: miner %s, web server %s, data in %s, connecting to %s, %s\n", instance,
           plan.miner ? "yes" : "no", plan.web_server ? "yes" : "no", plan.datadir,
           environment("NODE_CONNECT_NODES", "local"),
           plan.mining_address ? plan.mining_address : "address as configured");
    fflush(stdout);
    int status = run_plan(&plan, settings);
    mem_free(text);
    free_words(&plan.listen);
    free_words(&plan.http);
    return status;
}

int startnode_command(const struct invocation *run)
{
    return run->argc ? start_as_told(run) : start_as_environment_says(run->settings);
}
