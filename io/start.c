/*
 * What the settings and the machine's limits come to: whom mining pays, the pool, the node. Each says
 * precisely which setting it cannot use. The order of starting and ending is host.c's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "hashing/kernels/kernels.h"
#include "io/host_private.h"
#include "quarry_version.h"

#define MIB                 ((size_t)1 << 20)
#define RECENT_BLOCKS_BYTES (64 * MIB)
#define DBCACHE_MIB         450
#define SCRIPT_CACHE_BYTES  (16 * MIB)
#define MEMPOOL_MIB         300
#define KEYS_MAX            16u
#define PUBLIC_TRICKLE_MS   2000 /* --help says so too */
#define DESCRIPTORS_KEPT    512u
#define PEERS_BESIDE        512u /* outbound, and those that are on their way out */
#define ACCEPTED_AT_ONCE                                                                                     \
    4096u /* a crowd must not fill the backlog; but all in it get descriptors before we can refuse */

/* The key that mining pays when nobody named an address: made once, kept in the chain's folder. */
static bool own_key(struct host *host, char address[ADDRESS_TEXT], struct error *error)
{
    struct buf path = {0}, text = {0};
    struct error problem = {0};
    struct key_file_entry *entries = mem_alloc(KEYS_MAX * sizeof *entries);
    buf_printf(&path, "%s/mining.key%c", host->folder, 0);
    const char *name = (const char *)path.data;
    bool ok = true;
    if (file_read_all(name, MIB, &text, &problem)) {
        ok = key_file_parse(entries, KEYS_MAX, buf_span(&text), &host->params, error) > 0;
        mem_wipe(text.data, text.capacity);
    } else {
        ok = problem.kind == ERROR_MISSING ? key_file_add(name, "mining", &host->params, &entries[0], error)
                                           : error_set(error, problem.kind, NULL, "%s", problem.text);
    }
    if (ok) {
        key_address(address, &entries[0].key, &host->params);
        log_info(LOG_MINING, "mining pays %s, whose key is in %s", address, name);
    }
    mem_wipe(entries, KEYS_MAX * sizeof *entries);
    mem_free(entries);
    buf_free(&path);
    buf_free(&text);
    return ok;
}

bool start_payout(struct host *host, struct error *error)
{
    const struct settings *s = host->settings;
    struct error problem = {0};
    if (*s->mining_address) {
        snprintf(host->payout_address, sizeof host->payout_address, "%s", s->mining_address);
    } else if (s->mine && !own_key(host, host->payout_address, error)) {
        return false;
    }
    if (*host->payout_address &&
        !address_to_script(&host->payout_script, host->payout_address, &host->params, &problem)) {
        return error_set(error, ERROR_USAGE, NULL, "mining-address is '%.100s': %.140s", s->mining_address,
                         problem.text);
    }
    return true;
}

bool start_pool(struct host *host, const struct cpu_limits *limits, struct error *error)
{
    const struct settings *s = host->settings;
    struct pool_config config = {.hash_threads = -1,
                                 .check_threads = s->check_threads ? (int)s->check_threads : -1,
                                 .hash_share = (unsigned)s->hash_share,
                                 .pin = s->pin,
                                 .cpus = *s->cpus ? s->cpus : NULL,
                                 .limits = *limits};
    if (strcmp(s->threads, "auto") != 0) {
        config.hash_threads = (int)strtol(s->threads, NULL, 10);
    }
    if (strcmp(s->hash_kernel, "auto") != 0) {
        if (!sha256_kernel_force(s->hash_kernel)) {
            return error_set(error, ERROR_USAGE, NULL,
                             "hash-kernel is '%.60s': auto, or a kernel that this CPU has (see --version)",
                             s->hash_kernel);
        }
        config.kernel = sha256_kernel_in_use();
    }
    if (!s->mine && strcmp(s->threads, "auto") == 0 && host->params.kind == CHAIN_REGTEST) {
        config.hash_threads = 0; /* blocks are found on the spot there */
    }
    host->pool = pool_start(&config, error);
    if (!host->pool) {
        return false;
    }
    char quota[32] = "no quota";
    if (limits->quota_cpus > 0) {
        snprintf(quota, sizeof quota, "quota %.3g", limits->quota_cpus);
    }
    log_info(LOG_POOL, "%u hash workers, %u check workers; %u of %u CPUs, %s", pool_hash_threads(host->pool),
             pool_check_threads(host->pool), limits->affinity_cpus, limits->machine_cpus, quota);
    if (*sha256_kernels_failed()) {
        log_error(LOG_POOL, "these hash kernels failed their self-test and are not used: %s",
                  sha256_kernels_failed());
    }
    return true;
}

static size_t share_of_memory(int64_t given_mib, size_t standard_mib, const struct cpu_limits *limits)
{
    if (given_mib > 0) {
        return (size_t)given_mib * MIB;
    }
    size_t bytes = standard_mib * MIB;
    return limits->memory_bytes ? MIN(bytes, MAX((size_t)limits->memory_bytes / 8, 8 * MIB)) : bytes;
}

/* Up to 64 hex digits, with or without 0x in front. */
static bool hash_setting(const char *name, const char *given, struct hash256 *out, struct error *error)
{
    char text[HASH256_TEXT];
    const char *digits = strncmp(given, "0x", 2) == 0 ? given + 2 : given;
    size_t len = strlen(digits);
    if (len && len < HASH256_TEXT) {
        memset(text, '0', HASH256_TEXT - 1);
        memcpy(text + HASH256_TEXT - 1 - len, digits, len + 1);
        if (hash256_parse(out, text)) {
            return true;
        }
    }
    return error_set(error, ERROR_USAGE, NULL, "%s is '%.80s': allowed are up to 64 hex digits, or 0", name,
                     given);
}

static int64_t clock_us(void)
{
    return loop_now().mono_us;
}

/* As many places as were asked for, and as descriptors allow: RocksDB, block files and RPC need some, whoever
 * comes, and so do those peers that are on their way out. */
static uint32_t inbound_places(struct host *host)
{
    struct rlimit limit = {0};
    const rlim_t wanted = (rlim_t)host->settings->max_inbound;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    const rlim_t for_peers = limit.rlim_cur - MIN((rlim_t)DESCRIPTORS_KEPT, limit.rlim_cur / 2);
    const rlim_t beside = MIN((rlim_t)PEERS_BESIDE, for_peers / 4);
    const rlim_t at_once = MIN((rlim_t)ACCEPTED_AT_ONCE, for_peers / 4);
    const rlim_t places = MIN(wanted, for_peers - beside - at_once);
    if (places < wanted) {
        log_warn(LOG_NET,
                 "only %ju descriptors are allowed (ulimit -n): %ju places for inbound peers, not %ju",
                 (uintmax_t)limit.rlim_cur, (uintmax_t)places, (uintmax_t)wanted);
    }
    host->connections_max = (size_t)(places + beside);
    host->backlog = (int)at_once;
    return (uint32_t)places;
}

/* On a network of one's own there is nobody to hide from. */
static int64_t trickle_us(const struct host *host)
{
    bool private = host->params.kind == CHAIN_CLUSTER || host->params.kind == CHAIN_REGTEST;
    int64_t ms = host->settings->trickle_ms;
    return (ms >= 0 ? ms : private ? 0 : PUBLIC_TRICKLE_MS) * 1000;
}

bool start_node(struct host *host, const struct cpu_limits *limits, void (*urgent)(void *host),
                struct error *error)
{
    const struct settings *s = host->settings;
    struct hash256 work;
    buf_printf(&host->mempool_file, "%s/mempool.dat%c", host->folder, 0);
    struct node_config config = {
        .params = &host->params,
        .user_agent = "/Quarry:" QUARRY_VERSION "/",
        .version_text = "Quarry " QUARRY_VERSION,
        .datadir_text = s->datadir,
        .coins_cache_bytes = share_of_memory(s->dbcache_mib, DBCACHE_MIB, limits),
        .recent_blocks_bytes = RECENT_BLOCKS_BYTES,
        .mempool_bytes = share_of_memory(s->mempool_mib, MEMPOOL_MIB, limits),
        .inbound_max = inbound_places(host),
        .blocks_only = s->blocks_only,
        .trickle_us = trickle_us(host),
        .discover = strcmp(s->discover, "no") == 0    ? P2P_DISCOVER_NO
                    : strcmp(s->discover, "yes") == 0 ? P2P_DISCOVER_YES
                                                      : P2P_DISCOVER_FALLBACK,
        .whitelist = (const char *const *)s->whitelist.items,
        .whitelist_count = s->whitelist.count,
        .p2p_allow = (const char *const *)s->p2p_allow.items,
        .p2p_allow_count = s->p2p_allow.count,
        .tx_index = s->tx_index,
        .mempool_file = (const char *)host->mempool_file.data,
        .persist_mempool = s->persist_mempool,
        .script_cache_bytes = SCRIPT_CACHE_BYTES,
        .seed_node = s->seed,
        .connect = (const char *const *)s->connect.items,
        .connect_count = s->connect.count,
        .mine = s->mine,
        .payout_script = buf_span(&host->payout_script),
        .payout_address = host->payout_address,
        .block_interval_s = (uint32_t)s->block_interval_s,
        .load_blocks = (const char *const *)s->load_blocks.items,
        .load_block_count = s->load_blocks.count,
        .urgent = urgent,
        .host = host,
        .clock_us = clock_us,
    };
    saved_read(host, "peers.dat", &host->peers_file);
    saved_read(host, "banlist.json", &host->bans_file);
    config.peers_file = buf_span(&host->peers_file);
    config.bans_file = buf_span(&host->bans_file);
    if (!hash_setting("assumevalid", s->assume_valid, &config.assume_valid, error) ||
        !hash_setting("minimumchainwork", s->minimum_work, &work, error)) {
        return false;
    }
    config.minimum_work = u256_from_le(work.b);
    random_bytes(config.seed, sizeof config.seed);
    if (strcmp(s->exit_when, "loaded") == 0) {
        config.exit_when = EXIT_LOADED;
    } else if (strcmp(s->exit_when, "synced") == 0) {
        config.exit_when = EXIT_SYNCED;
    } else if (strncmp(s->exit_when, "height:", 7) == 0) {
        config.exit_when = EXIT_HEIGHT;
        config.exit_height = (uint32_t)strtoul(s->exit_when + 7, NULL, 10);
    }
    struct store_reader reader;
    store_reads(host->store, &reader);
    host->node = node_new(&config, &reader, error);
    return host->node != NULL;
}
