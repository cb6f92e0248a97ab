/*~ quarry-api: settings, logs, then the server runs until it is told to stop. Read on in api/server.c. */
#include "api/api.h"

static void print_help(void)
{
    puts("quarry-api: the HTTP server beside a quarryd.\n\n"
         "  quarry-api --datadir=DIR [FLAGS]\n\n"
         "  quarry-api --datadir=a --listen=127.0.0.1:8080\n\n"
         "Exit status: 0 stopped, 1 failed, 2 wrong setting.");
    settings_help(stdout, SETTINGS_API);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct error error = {0};
    enum log_level level = LOG_INFO;
    int next, status = STATUS_OK;
    if (!settings_read(&settings, SETTINGS_API, argc, argv, &next, &error)) {
        fprintf(stderr, "quarry-api: %s\n", error.text);
        status = STATUS_USAGE;
    } else if (settings.want_help) {
        print_help();
    } else if (settings.want_version) {
        version_print(stdout, "quarry-api");
    } else {
        CHECK(log_level_parse(&level, settings.log_level));
        logs_begin("quarry-api", strcmp(settings.log_format, "json") == 0, level);
        status = api_run(&settings);
    }
    settings_free(&settings);
    return status;
}
