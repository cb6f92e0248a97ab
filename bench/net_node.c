/*
 * Real nodes for `quarry-bench net`, each in a child process: the very host that quarryd runs. One thing
 * differs where it is asked for: the hash workers get a target that nothing reaches (pool_work is wrapped by
 * the linker), so that they hash as on any chain and yet find no blocks between those of the benchmark.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/net.h"
#include "io/io.h"

#define FLAGS_MAX 96
#define START_S   30

static bool fruitless; /* in the child that is to find nothing */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names. */
void __real_pool_work(struct pool *pool, const struct pool_work *work);
void __wrap_pool_work(struct pool *pool, const struct pool_work *work);
void __wrap_pool_work(struct pool *pool, const struct pool_work *work)
{
    struct pool_work hopeless;
    if (fruitless && work) {
        hopeless = *work;
        memset(hopeless.target, 0, sizeof hopeless.target);
        work = &hopeless;
    }
    __real_pool_work(pool, work);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static const char network_text[] = "name = bench\nspacing = 1\nwindow = 30\nfirst-target-bits = 255\n"
                                   "maturity = 1\nfuture-limit = 60\n";

bool net_begin(char folder[128], struct chain_params *params, struct error *error)
{
    const char *base = getenv("TMPDIR");
    struct network_spec spec;
    char path[160];
    snprintf(folder, 128, "%.90s/quarry-net-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        return error_set(error, ERROR_IO, NULL, "no scratch folder %s: %s", folder, strerror(errno));
    }
    snprintf(path, sizeof path, "%s/network", folder);
    const struct span text = span_of(network_text, sizeof network_text - 1);
    return file_write_private(path, text, error) && network_spec_parse(&spec, text, error) &&
           chain_params_init(params, CHAIN_CLUSTER, &spec, error);
}

static void remove_tree(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

void net_end(const char *folder, struct chain_params *params)
{
    remove_tree(folder);
    chain_params_free(params);
}

void net_pause(int ms)
{
    poll(NULL, 0, ms);
}

bool net_namespace(struct error *error)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = unshare(CLONE_NEWNET) == 0 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok || error_set(error, ERROR_IO, NULL, "no network namespace of our own (root is needed): %s",
                           strerror(errno));
}

/* ---- Counting system calls ------------------------------------------------------------------------------
 */

static int open_counter(pid_t pid)
{
    static const char *const paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
                                        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id"};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct buf text = {0};
        if (file_read_all(paths[i], 64, &text, NULL)) {
            buf_u8(&text, 0);
            struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT,
                                           .size = sizeof attr,
                                           .config = strtoull((const char *)text.data, NULL, 10),
                                           .inherit = 1};
            buf_free(&text);
            return (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
        }
        buf_free(&text);
    }
    return -1;
}

/* ---- Starting -------------------------------------------------------------------------------------------
 */

static void be_node(struct net_node *node, const char *folder, const char *const *flags, int output)
{
    struct settings settings;
    struct error error = {0};
    char network[192], datadir[192];
    char *argv[FLAGS_MAX];
    int argc = 0, next;
    snprintf(network, sizeof network, "--network=%s/network", folder);
    snprintf(datadir, sizeof datadir, "--datadir=%s", node->folder);
    const char *const first[] = {"quarryd", "--chain=cluster", network, datadir};
    for (size_t i = 0; i < ARRAY_COUNT(first); i++) {
        argv[argc++] = mem_strdup(first[i]);
    }
    for (size_t i = 0; flags[i] && argc < FLAGS_MAX - 1; i++) {
        fruitless = fruitless || strcmp(flags[i], "--mine=yes") == 0;
        argv[argc++] = mem_strdup(flags[i]);
    }
    argv[argc] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output, STDOUT_FILENO);
    logs_begin("quarryd", false, LOG_ERROR);
    if (!settings_read(&settings, SETTINGS_NODE, argc, argv, &next, &error)) {
        fprintf(stderr, "quarry-bench net: %s\n", error.text);
        _exit(STATUS_USAGE);
    }
    _exit(host_run(&settings));
}

/* Reads its lines until it says where it listens. */
static bool read_port(struct net_node *node)
{
    char text[8192];
    size_t len = 0;
    int64_t until = wall_ns() + START_S * INT64_C(1000000000);
    while (wall_ns() < until && len < sizeof text - 1) {
        struct pollfd in = {.fd = node->output, .events = POLLIN};
        ssize_t got = poll(&in, 1, 1000) > 0 ? read(node->output, text + len, sizeof text - 1 - len) : 0;
        if (got < 0 || (got == 0 && in.revents)) {
            return false;
        }
        len += (size_t)got;
        text[len] = 0;
        const char *at = strstr(text, "listening on "), *end = at ? strchr(at, '\n') : NULL;
        if (end) {
            while (*end != ':') {
                end--;
            }
            node->port = (uint16_t)strtoul(end + 1, NULL, 10);
            fcntl(node->output, F_SETFL, O_NONBLOCK); /* nobody reads the rest: a full pipe must not matter */
            return true;
        }
    }
    return false;
}

static bool reach(struct net_node *node, struct error *error)
{
    char path[224];
    int64_t until = wall_ns() + START_S * INT64_C(1000000000);
    snprintf(path, sizeof path, "%s/cluster/node.sock", node->folder);
    while (!(node->rpc = client_open(path, error)) && wall_ns() < until) {
        error_clear(error);
        net_pause(2);
    }
    return node->rpc != NULL;
}

bool net_node_start(struct net_node *node, const char *folder, unsigned number, const char *const *flags,
                    bool (*before)(void *context), void *context, struct error *error)
{
    int output[2], go[2];
    char start = 0;
    snprintf(node->folder, sizeof node->folder, "%s/node%u", folder, number);
    node->counter = -1;
    if (pipe2(output, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0) {
        return error_set(error, ERROR_IO, NULL, "no pipe: %s", strerror(errno));
    }
    fcntl(output[1], F_SETPIPE_SZ, 1 << 20);
    node->pid = fork();
    if (node->pid == 0) {
        close(go[1]);
        if (read(go[0], &start, 1) != 1 || (before && !before(context))) {
            _exit(STATUS_RUNTIME);
        }
        be_node(node, folder, flags, output[1]);
    }
    close(output[1]);
    close(go[0]);
    node->output = output[0];
    node->counter = open_counter(node->pid);
    bool ok = write(go[1], &start, 1) == 1 && read_port(node) && reach(node, error);
    close(go[1]);
    return ok || error_set(error, ERROR_IO, NULL, "the node in %s does not start", node->folder);
}

/* ---- Asking ---------------------------------------------------------------------------------------------
 */

json_t *net_node_ask(struct net_node *node, const char *method, const char *params)
{
    struct buf request = {0}, reply = {0};
    struct error error = {0};
    buf_printf(&request, "{\"id\":1,\"method\":\"%s\",\"params\":%s}", method, params ? params : "[]");
    json_t *all = NULL, *result = NULL;
    if (client_call(node->rpc, buf_span(&request), &reply, &error)) {
        all = json_loadb((const char *)reply.data, reply.len, 0, NULL);
        result = json_incref(json_object_get(all, "result"));
    }
    json_decref(all);
    buf_free(&request);
    buf_free(&reply);
    return result;
}

int64_t net_node_height(struct net_node *node)
{
    json_t *result = net_node_ask(node, "getblockcount", NULL);
    int64_t height = json_is_integer(result) ? (int64_t)json_integer_value(result) : -1;
    json_decref(result);
    return height;
}

bool net_node_wait_height(struct net_node *node, int64_t height, double seconds)
{
    char params[64];
    snprintf(params, sizeof params, "[%lld, %.0f]", (long long)height, seconds * 1000);
    json_t *result = net_node_ask(node, "waitforblockheight", params);
    bool there = json_integer_value(json_object_get(result, "height")) >= height;
    json_decref(result);
    return there;
}

struct net_usage net_node_usage(const struct net_node *node)
{
    struct net_usage usage = {.system_calls = -1};
    struct buf text = {0};
    char path[64];
    uint64_t calls;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)node->pid);
    if (file_read_all(path, 4096, &text, NULL)) {
        buf_u8(&text, 0);
        char *at = strrchr((char *)text.data, ')'), *end; /* the name may hold spaces: count behind it */
        for (int field = 2; at && field < 14; field++) {
            at = strchr(at + 1, ' ');
        }
        if (at) {
            double ticks = (double)sysconf(_SC_CLK_TCK);
            usage.user_s = (double)strtoull(at, &end, 10) / ticks;
            usage.system_s = (double)strtoull(end, &end, 10) / ticks;
        }
    }
    buf_free(&text);
    if (node->counter >= 0 && read(node->counter, &calls, sizeof calls) == (ssize_t)sizeof calls) {
        usage.system_calls = (double)calls;
    }
    return usage;
}

bool net_node_stop(struct net_node *node, struct net_usage *usage)
{
    int status = 0;
    struct rusage used = {0};
    uint64_t calls = 0;
    if (node->pid <= 0) {
        return false;
    }
    kill(node->pid, SIGTERM);
    while (wait4(node->pid, &status, 0, &used) < 0 && errno == EINTR) {
    }
    bool counted = node->counter >= 0 && read(node->counter, &calls, sizeof calls) == (ssize_t)sizeof calls;
    if (usage) {
        *usage =
            (struct net_usage){.user_s = (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6,
                               .system_s = (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6,
                               .system_calls = counted ? (double)calls : -1};
    }
    client_close(node->rpc);
    close(node->output);
    if (node->counter >= 0) {
        close(node->counter);
    }
    node->pid = 0;
    node->rpc = NULL;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
