/* status: what one or several nodes are doing, once or until Ctrl-C: a table that is redrawn on a terminal,
 * plain lines otherwise. */
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tools/quarry/quarry.h"

#define NODES_MAX     16
#define PLAIN_EVERY_S 10 /* plain lines: at least so often, and whenever height or peers change */

struct watched {
    char *socket_path;
    const char *name; /* the last part of its data directory */
    struct client *client;
    json_t *now;
    struct error error;
    unsigned missed; /* looks in a row without an answer */
    json_int_t shown_height, shown_peers;
    int64_t shown_at_s;
};

static volatile sig_atomic_t stopped;

static void stop_watching(int number)
{
    (void)number;
    stopped = 1;
}

static void look(struct watched *w)
{
    json_decref(w->now);
    w->now = NULL;
    error_clear(&w->error);
    if (!w->client) {
        w->client = client_open(w->socket_path, &w->error);
    }
    w->now = w->client ? rpc_ask(w->client, "getstatus", NULL, &w->error) : NULL;
    w->missed = w->now ? 0 : w->missed + 1;
    if (!w->now) {
        client_close(w->client);
        w->client = NULL;
    }
}

static json_int_t number_of(const json_t *status, const char *key)
{
    return json_integer_value(json_object_get(status, key));
}

static const char *text_of(const json_t *status, const char *key)
{
    const char *text = json_string_value(json_object_get(status, key));
    return text ? text : "";
}

static double real_of(const json_t *status, const char *key)
{
    return json_number_value(json_object_get(status, key));
}

static const char *hash_rate(char out[32], double per_s)
{
    static const char *const units[] = {"H/s", "kH/s", "MH/s", "GH/s", "TH/s"};
    size_t unit = 0;
    while (per_s >= 1000 && unit + 1 < ARRAY_COUNT(units)) {
        per_s /= 1000;
        unit++;
    }
    snprintf(out, 32, per_s > 0 ? "%.1f %s" : "-", per_s, units[unit]);
    return out;
}

static const char *state_of(const json_t *s)
{
    if (json_is_true(json_object_get(s, "mining"))) {
        return "mining";
    }
    return json_is_true(json_object_get(s, "synced")) ? "synced" : "catching up";
}

/* The number of lines that were printed. */
static int print_table(const struct watched *nodes, size_t count)
{
    int lines = 1 + (int)count;
    printf("%-10s %8s  %-18s %6s %12s %6s %11s %8s  %s\n", "node", "height", "tip", "age", "hash rate",
           "peers", "blocks/min", "mempool", "state");
    for (size_t i = 0; i < count; i++) {
        const json_t *s = nodes[i].now;
        char rate[32];
        if (!s) {
            printf("%-10s %s\n", nodes[i].name, nodes[i].error.text);
            continue;
        }
        const char *tip = text_of(s, "tip");
        size_t len = strlen(tip);
        printf("%-10s %8lld  …%-17s %5llds %12s %6lld %11.1f %8lld  %s\n", nodes[i].name,
               (long long)number_of(s, "height"), len > 16 ? tip + len - 16 : tip,
               (long long)number_of(s, "tip_age_s"), hash_rate(rate, real_of(s, "hashes_per_s")),
               (long long)number_of(s, "peers"), real_of(s, "blocks_per_minute"),
               (long long)number_of(s, "mempool"), state_of(s));
    }
    return lines;
}

static void print_lines(struct watched *nodes, size_t count)
{
    int64_t now_s = loop_now().mono_us / 1000000;
    char clock[16], rate[32];
    time_t wall = time(NULL);
    struct tm parts;
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&wall, &parts));
    for (size_t i = 0; i < count; i++) {
        struct watched *w = &nodes[i];
        json_int_t height = w->now ? number_of(w->now, "height") : -2;
        json_int_t peers = w->now ? number_of(w->now, "peers") : -2;
        bool starting = w->missed && w->missed < 3; /* a node that was started just now */
        if (starting ||
            (height == w->shown_height && peers == w->shown_peers && now_s < w->shown_at_s + PLAIN_EVERY_S)) {
            continue;
        }
        w->shown_height = height;
        w->shown_peers = peers;
        w->shown_at_s = now_s;
        if (!w->now) {
            printf("%s  %-8s %s\n", clock, w->name, w->error.text);
            continue;
        }
        const char *tip = text_of(w->now, "tip");
        printf("%s  %-8s height %-5lld tip …%s  %10s  peers %lld  %4.1f blocks/min  mempool %lld  %s\n",
               clock, w->name, (long long)height, strlen(tip) > 12 ? tip + strlen(tip) - 12 : tip,
               hash_rate(rate, real_of(w->now, "hashes_per_s")), (long long)peers,
               real_of(w->now, "blocks_per_minute"), (long long)number_of(w->now, "mempool"),
               state_of(w->now));
    }
}

static void watch(struct watched *nodes, size_t count)
{
    struct sigaction action = {.sa_handler = stop_watching};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bool redraw = isatty(STDOUT_FILENO) == 1;
    int drawn = 0;
    while (!stopped) {
        for (size_t i = 0; i < count; i++) {
            look(&nodes[i]);
        }
        if (redraw) {
            if (drawn) {
                printf("\033[%dF\033[J", drawn); /* up to where the table began, and clear from there */
            }
            drawn = print_table(nodes, count);
        } else {
            print_lines(nodes, count);
        }
        fflush(stdout);
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
}

static void print_once(const struct watched *w)
{
    const json_t *s = w->now;
    char rate[32];
    printf("chain           %s%s%s\n", text_of(s, "chain"), *text_of(s, "network") ? ", network " : "",
           text_of(s, "network"));
    printf("height          %lld%s\n", (long long)number_of(s, "height"),
           json_is_true(json_object_get(s, "synced")) ? "" : " (catching up)");
    printf("tip             %s, %lld s old\n", text_of(s, "tip"), (long long)number_of(s, "tip_age_s"));
    printf("difficulty      %.6g\n", real_of(s, "difficulty"));
    printf("blocks/minute   %.1f\n", real_of(s, "blocks_per_minute"));
    printf("peers           %lld (%lld outbound)\n", (long long)number_of(s, "peers"),
           (long long)number_of(s, "peers_out"));
    printf("mempool         %lld transactions\n", (long long)number_of(s, "mempool"));
    if (json_is_true(json_object_get(s, "mining"))) {
        printf("mining          %s, %lld threads (%s), %lld blocks found\n",
               hash_rate(rate, real_of(s, "hashes_per_s")), (long long)number_of(s, "hash_threads"),
               text_of(s, "kernel"), (long long)number_of(s, "blocks_found"));
        printf("mining address  %s\n", text_of(s, "mining_address"));
    }
    printf("up              %lld s\n", (long long)number_of(s, "uptime_s"));
}

static void add_node(struct watched *w, const struct settings *settings, char *datadir)
{
    struct settings here = *settings; /* borrows: only the data directory differs */
    char none[] = "";
    if (datadir) {
        here.datadir = datadir;
        here.rpc_socket = none;
    }
    const char *slash = strrchr(here.datadir, '/');
    *w = (struct watched){.socket_path = settings_socket_path(&here),
                          .name = slash && slash[1] ? slash + 1 : here.datadir,
                          .shown_height = -1};
}

int status_command(const struct invocation *run)
{
    struct watched nodes[NODES_MAX];
    size_t count = 0;
    bool watching = false;
    for (int i = 0; i < run->argc; i++) {
        if (strcmp(run->argv[i], "--watch") == 0) {
            watching = true;
        } else if (run->argv[i][0] == '-' || count == NODES_MAX) {
            return complain(STATUS_USAGE, "status [--watch] [DATADIR...], at most %d of them; given was '%s'",
                            NODES_MAX, run->argv[i]);
        } else {
            add_node(&nodes[count++], run->settings, run->argv[i]);
        }
    }
    if (!count) {
        add_node(&nodes[count++], run->settings, NULL);
    }
    int status = STATUS_OK;
    if (watching) {
        watch(nodes, count);
    } else {
        for (size_t i = 0; i < count; i++) {
            look(&nodes[i]);
            if (count > 1) {
                printf("%s%s:\n", i ? "\n" : "", nodes[i].name);
            }
            if (nodes[i].now) {
                print_once(&nodes[i]);
            } else {
                status = complain(STATUS_RUNTIME, "%s", nodes[i].error.text);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        json_decref(nodes[i].now);
        client_close(nodes[i].client);
        mem_free(nodes[i].socket_path);
    }
    return status;
}
