/* The first process of a container, or the parent of a node on a bare machine: starts the programs, reaps
 * whatever dies, passes signals on. When one program ends, the others are stopped and the whole ends. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/quarry/quarry.h"

#define CHILDREN_MAX 4
#define PATIENCE_S   8 /* from SIGTERM to SIGKILL */

struct supervisor {
    const struct child *children;
    pid_t pids[CHILDREN_MAX]; /* 0: ended */
    size_t count, alive;
    bool stopping;
    int64_t kill_at_s;
    int status;
};

static int64_t now_s(void)
{
    return loop_now().mono_us / 1000000;
}

static void run_child(const struct child *child, const sigset_t *unblocked, pid_t parent)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    char *slash = strrchr(path, '/');
    size_t folder_len = slash ? (size_t)(slash + 1 - path) : 0;
    sigprocmask(SIG_SETMASK, unblocked, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a supervisor that was killed leaves nothing behind */
    if (getppid() == parent && folder_len + strlen(child->name) < sizeof path) {
        memcpy(path + folder_len, child->name, strlen(child->name) + 1);
        execv(path, child->argv);
        fprintf(stderr, "quarry: cannot run %s: %s\n", path, strerror(errno));
    }
    _exit(127);
}

static void pass_on(struct supervisor *s, int number)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->pids[i]) {
            kill(s->pids[i], number);
        }
    }
}

static void kill_the_stubborn(struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->pids[i]) {
            log_error(LOG_NODE, "%s did not stop within %d s: killing it", s->children[i].name, PATIENCE_S);
            kill(s->pids[i], SIGKILL);
        }
    }
    s->kill_at_s = INT64_MAX;
}

static void stop_all(struct supervisor *s)
{
    if (!s->stopping) {
        s->stopping = true;
        s->kill_at_s = now_s() + PATIENCE_S;
        pass_on(s, SIGTERM);
    }
}

static int status_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void child_ended(struct supervisor *s, size_t i, int status)
{
    s->pids[i] = 0;
    s->alive--;
    if (!s->stopping) {
        log_error(LOG_NODE, "%s ended by itself with status %d: stopping", s->children[i].name, status);
    }
    if (!s->status && (status || !s->stopping)) {
        s->status = status ? status : STATUS_RUNTIME;
    }
    stop_all(s);
}

static void reap(struct supervisor *s)
{
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) { /* also strangers that init inherits */
        for (size_t i = 0; i < s->count; i++) {
            if (s->pids[i] == pid) {
                child_ended(s, i, status_of(wait_status));
            }
        }
    }
}

static void start_all(struct supervisor *s, const sigset_t *unblocked)
{
    pid_t self = getpid();
    for (size_t i = 0; i < s->count && !s->stopping; i++) {
        s->pids[i] = fork();
        if (s->pids[i] == 0) {
            run_child(&s->children[i], unblocked, self);
        }
        if (s->pids[i] < 0) {
            log_error(LOG_NODE, "cannot start %s: %s", s->children[i].name, strerror(errno));
            s->pids[i] = 0;
            s->status = STATUS_RUNTIME;
            stop_all(s);
        } else {
            s->alive++;
        }
    }
}

int supervise(const struct child *children, size_t count)
{
    struct supervisor s = {.children = children, .count = count};
    sigset_t waited, before;
    CHECK(count <= CHILDREN_MAX);
    sigemptyset(&waited);
    sigaddset(&waited, SIGTERM);
    sigaddset(&waited, SIGINT);
    sigaddset(&waited, SIGHUP);
    sigaddset(&waited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &waited, &before);
    start_all(&s, &before);
    while (s.alive) {
        struct timespec second = {.tv_sec = 1};
        int number = sigtimedwait(&waited, NULL, &second);
        if (number == SIGTERM || number == SIGINT) {
            stop_all(&s);
        } else if (number == SIGHUP) {
            pass_on(&s, SIGHUP);
        }
        reap(&s);
        if (s.stopping && s.alive && now_s() >= s.kill_at_s) {
            kill_the_stubborn(&s);
        }
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return s.status;
}
