/*~ quarryd: the node. Settings, logs, then the host runs until it is told to stop. Read on in io/host.c. */
#include "io/io.h"

static void print_help(void)
{
    puts("quarryd: a Bitcoin node and miner.\n\n"
         "  quarryd [FLAGS]\n\n"
         "A private network on this machine: one seed that mines, one node that follows it.\n"
         "  quarryd --datadir=a --listen=127.0.0.1:2001 --connect=local --mine=yes\n"
         "  quarryd --datadir=b --listen=127.0.0.1:2002 --connect=127.0.0.1:2001\n\n"
         "Exit status: 0 stopped, 1 failed, 2 wrong setting, 3 data directory in use or foreign.");
    settings_help(stdout, SETTINGS_NODE);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct error error = {0};
    enum log_level level = LOG_INFO;
    int next, status;
    if (!settings_read(&settings, SETTINGS_NODE, argc, argv, &next, &error)) {
        fprintf(stderr, "quarryd: %s\n", error.text);
        status = STATUS_USAGE;
    } else if (settings.want_help) {
        print_help();
        status = STATUS_OK;
    } else if (settings.want_version) {
        version_print(stdout, "quarryd");
        status = STATUS_OK;
    } else {
        CHECK(log_level_parse(&level, settings.log_level));
        logs_begin("quarryd", strcmp(settings.log_format, "json") == 0, level);
        for (size_t i = 0; i < settings.notes.count; i++) {
            log_warn(LOG_NODE, "%s", settings.notes.items[i]);
        }
        status = host_run(&settings);
    }
    settings_free(&settings);
    return status;
}
