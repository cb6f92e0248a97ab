/* The settings table: where a value comes from, what is refused and how it is said. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

static char folder[] = "/tmp/quarry-settings.XXXXXX";

static void begin(void)
{
    static const char *const names[] = {"NODE_ADDR",           "TREE_DIR",
                                        "NODE_CONNECT_NODES",  "NODE_IS_MINER",
                                        "NODE_MINING_ADDRESS", "WALLET_ADDRESS_POOL",
                                        "INSTANCE_NUMBER",     "RUST_LOG",
                                        "QUARRY_DATADIR",      "QUARRY_CHAIN"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        unsetenv(names[i]);
    }
    strcpy(folder, "/tmp/quarry-settings.XXXXXX");
    cr_assert(mkdtemp(folder));
    setenv("QUARRY_DATADIR", folder, 1);
}

static void end(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/quarry.conf", folder);
    unlink(path);
    rmdir(folder);
}

TestSuite(settings, .init = begin, .fini = end);

static struct settings s;
static struct error error;

#define READ(...)                                                                                            \
    ({                                                                                                       \
        const char *words[] = {"quarryd", ##__VA_ARGS__};                                                    \
        int next;                                                                                            \
        error_clear(&error);                                                                                 \
        settings_read(&s, SETTINGS_NODE, (int)ARRAY_COUNT(words), (char **)words, &next, &error);            \
    })

static void write_conf(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/quarry.conf", folder);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fputs(text, file);
    fclose(file);
}

Test(settings, defaults)
{
    cr_assert(READ());
    cr_assert_str_eq(s.chain, "cluster");
    cr_assert_str_eq(s.network, "quarry");
    cr_assert_not(s.mine);
    cr_assert(s.tx_index);
    cr_assert_eq(s.max_inbound, 117);
    cr_assert_eq(s.listen.count, 0);
    settings_free(&s);
}

Test(settings, flag_over_environment_over_file_over_default)
{
    write_conf("maxinbound = 1\nhash-share = 11\nblock-interval = 21\n[regtest]\nblock-interval = "
               "22\n[main]\nmaxinbound = 9\n");
    setenv("QUARRY_MAXINBOUND", "2", 1);
    setenv("QUARRY_HASH_SHARE", "12", 1);
    cr_assert(READ("--maxinbound=3", "-regtest"), "%s", error.text);
    cr_assert_eq(s.max_inbound, 3);
    cr_assert_eq(s.hash_share, 12);
    cr_assert_eq(s.block_interval_s, 22);
    cr_assert_str_eq(s.chain, "regtest");
    settings_free(&s);
    unsetenv("QUARRY_MAXINBOUND");
    unsetenv("QUARRY_HASH_SHARE");
}

Test(settings, file_may_name_the_chain)
{
    write_conf(
        "# comment\n; comment\nchain = regtest\n[regtest]\nmine = yes\nconnect = a:1\nconnect = b:2\n");
    cr_assert(READ(), "%s", error.text);
    cr_assert_str_eq(s.chain, "regtest");
    cr_assert(s.mine);
    cr_assert_eq(s.connect.count, 2);
    cr_assert_str_eq(s.connect.items[1], "b:2");
    settings_free(&s);
}

Test(settings, original_names)
{
    setenv("NODE_ADDR", "0.0.0.0:2001", 1);
    setenv("NODE_CONNECT_NODES", "local, 10.0.0.1:2001", 1);
    setenv("NODE_IS_MINER", "yes", 1);
    setenv("NODE_MINING_ADDRESS", "your-wallet-address-here", 1);
    setenv("CENTRAL_NODE", "x", 1);
    unsetenv("QUARRY_DATADIR");
    setenv("TREE_DIR", folder, 1);
    cr_assert(READ(), "%s", error.text);
    cr_assert_str_eq(s.listen.items[0], "0.0.0.0:2001");
    cr_assert(s.seed);
    cr_assert_eq(s.connect.count, 1);
    cr_assert_str_eq(s.connect.items[0], "10.0.0.1:2001");
    cr_assert(s.mine);
    cr_assert_str_eq(s.mining_address, "");
    cr_assert_str_eq(s.datadir, folder);
    cr_assert_geq(s.notes.count, 1);
    settings_free(&s);
}

Test(settings, address_pool_by_instance)
{
    setenv("NODE_MINING_ADDRESS", "single", 1);
    setenv("WALLET_ADDRESS_POOL", "one,two, three", 1);
    setenv("INSTANCE_NUMBER", "3", 1);
    cr_assert(READ());
    cr_assert_str_eq(s.mining_address, "three");
    settings_free(&s);
    setenv("INSTANCE_NUMBER", "4", 1);
    cr_assert_not(READ());
    cr_assert(strstr(error.text, "WALLET_ADDRESS_POOL") && strstr(error.text, "4"), "%s", error.text);
    settings_free(&s);
    setenv("INSTANCE_NUMBER", "first", 1);
    cr_assert_not(READ());
    cr_assert(strstr(error.text, "INSTANCE_NUMBER"));
    settings_free(&s);
}

struct wrong {
    char flag[48], name[24];
};

Test(settings, wrong_values_name_the_setting)
{
    static const struct wrong cases[] = {
        {"--chain=moon", "chain"},
        {"--chain=", "chain"},
        {"--chain=main|regtest", "chain"},
        {"--dbcache=-4", "dbcache"},
        {"--dbcache=4x", "dbcache"},
        {"--dbcache= 4", "dbcache"},
        {"--dbcache=99999999999999999999", "dbcache"},
        {"--listen=host:port", "listen"},
        {"--listen=h:70000", "listen"},
        {"--connect=:5", "connect"},
        {"--connect=", "connect"},
        {"--mine=perhaps", "mine"},
        {"--mine=yes|true", "mine"},
        {"--discover=fallback|yes", "discover"},
        {"--exit-when=height:", "exit-when"},
        {"--exit-when=height:-1", "exit-when"},
        {"--threads=2000", "threads"},
        {"--cpus=0;1", "cpus"},
        {"--hash-share=0", "hash-share"},
        {"--dbcache", "dbcache"},
        {"--nothing=1", "nothing"},
        {"word", "word"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char flag[48];
        strcpy(flag, cases[i].flag);
        cr_assert_not(READ(flag), "%s was taken", flag);
        cr_assert_eq(error.kind, ERROR_USAGE, "%s", flag);
        cr_assert(strstr(error.text, cases[i].name), "%s: %s", flag, error.text);
        settings_free(&s);
    }
}

Test(settings, wrong_file_names_the_line)
{
    write_conf("mine = yes\nnonsense = 1\n");
    cr_assert_not(READ());
    cr_assert(strstr(error.text, "line 2") && strstr(error.text, "nonsense"), "%s", error.text);
    settings_free(&s);
    write_conf("[regtest\n");
    cr_assert_not(READ());
    cr_assert(strstr(error.text, "line 1"), "%s", error.text);
    settings_free(&s);
    cr_assert_not(READ("--conf=/nonexistent/quarry.conf"));
    cr_assert(strstr(error.text, "/nonexistent"), "%s", error.text);
    settings_free(&s);
}

Test(settings, chain_and_paths)
{
    struct chain_params params;
    char flag[160];
    snprintf(flag, sizeof flag, "--datadir=%s", folder);
    cr_assert(READ(flag, "--network=my-net"));
    cr_assert(settings_chain(&s, &params, &error), "%s", error.text);
    cr_assert_str_eq(params.network.name, "my-net");
    chain_params_free(&params);
    char *path = settings_socket_path(&s);
    cr_assert(strstr(path, "/cluster/node.sock"));
    mem_free(path);
    settings_free(&s);
    cr_assert(READ("--network=No Such Network"));
    cr_assert_not(settings_chain(&s, &params, &error));
    cr_assert_eq(error.kind, ERROR_USAGE);
    settings_free(&s);
}

Test(settings, tool_stops_at_its_method)
{
    const char *words[] = {"quarry", "--chain=main", "getblockhash", "-1", "--x"};
    int next;
    cr_assert(settings_read(&s, SETTINGS_CLI, 5, (char **)words, &next, &error), "%s", error.text);
    cr_assert_eq(next, 2);
    cr_assert_str_eq(s.chain, "main");
    settings_free(&s);
}
