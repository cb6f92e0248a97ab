/*~ quarry: the command line of a node. A command of our own, or else a method of the node's RPC table. */
#include "tools/quarry/quarry.h"

struct command {
    const char *group, *name, *arguments, *help;
    int (*run)(const struct invocation *run);
};

static const struct command commands[] = {
    {"See what happens", "status", "[--watch] [DATADIR...]",
     "height, tip, hash rate, peers; --watch: until Ctrl-C", status_command},
    {"See what happens", "latency", "", "how long blocks take through the node, hop by hop and peer by peer",
     latency_command},
    {"See what happens", "printchain", "", "every block and transaction, from the tip down to genesis",
     printchain_command},
    {"Keys", "createwallet", "", "make a new key in the wallet file and print its address",
     createwallet_command},
    {"Keys", "listaddresses", "", "the addresses of the wallet file", listaddresses_command},
    {"Keys", "faucet", "ADDRESS [HOST:PORT]", "coins from a web server of a development network",
     faucet_command},
    {"Run a node", "startnode", "MINER WEB NODE... -- ADDRESS",
     "run quarryd and, where WEB is yes, quarry-api; NODE: 'local' or HOST:PORT", startnode_command},
    {"Run a node", "startnode", "", "the same as the environment says: NODE_IS_MINER, NODE_CONNECT_NODES, …",
     startnode_command},
};

int complain(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("quarry: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}

static void print_commands(void)
{
    const char *group = "";
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(group, c->group) != 0) {
            group = c->group;
            printf("\n%s:\n", group);
        }
        char words[64];
        snprintf(words, sizeof words, "%s %s", c->name, c->arguments);
        printf("  quarry %-32s  %s\n", words, c->help);
    }
    puts(
        "\nAsk the node (`quarry help` lists its methods while it runs, `quarry help METHOD` explains one):\n"
        "  quarry getblockchaininfo                 what the chain is\n"
        "  quarry generatetoaddress 1 ADDRESS       mine a block now\n"
        "  quarry stop                              stop the node");
}

static void print_help(void)
{
    puts("quarry: the command line of a Quarry node.\n\n"
         "  quarry [FLAGS] COMMAND [ARGUMENTS...]\n"
         "  quarry [FLAGS] METHOD [PARAMETERS...]     any method of the node, printed as bitcoin-cli does");
    print_commands();
    settings_help(stdout, SETTINGS_CLI);
    puts("\nExit status: 0 done, 1 failed, 2 wrong use; of a method that fails, its error code without the "
         "sign,\n"
         "modulo 256, as bitcoin-cli does.");
}

/* `help` alone: our own commands, then those of the node when one answers. */
static int help_command(const struct invocation *run)
{
    if (run->argc) {
        return rpc_command(run, "help");
    }
    struct error error = {0};
    char *path = settings_socket_path(run->settings);
    struct client *client = client_open(path, &error);
    json_t *text = client ? rpc_ask(client, "help", NULL, &error) : NULL;
    print_commands();
    if (text) {
        printf("\nMethods of the node:\n\n%s", json_string_value(text));
    } else {
        printf("\nThe methods of the node: %s\n", error.text);
    }
    json_decref(text);
    client_close(client);
    mem_free(path);
    return STATUS_OK;
}

static int run_command(const struct settings *settings, int argc, char **argv)
{
    struct invocation run = {.settings = settings, .argc = argc - 1, .argv = argv + 1};
    if (argc == 0) {
        return complain(STATUS_USAGE, "which command? (quarry --help shows all)");
    }
    if (strcmp(argv[0], "help") == 0) {
        return help_command(&run);
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(argv[0], commands[i].name) == 0) {
            return commands[i].run(&run);
        }
    }
    return rpc_command(&run, argv[0]);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct error error = {0};
    int next, status = STATUS_OK;
    if (!settings_read(&settings, SETTINGS_CLI, argc, argv, &next, &error)) {
        status = complain(STATUS_USAGE, "%s", error.text);
    } else if (settings.want_help) {
        print_help();
    } else if (settings.want_version) {
        version_print(stdout, "quarry");
    } else {
        status = run_command(&settings, argc - next, argv + next);
    }
    settings_free(&settings);
    if (fflush(stdout) != 0 && status == STATUS_OK) {
        status = complain(STATUS_RUNTIME, "cannot write the answer to standard output");
    }
    return status;
}
