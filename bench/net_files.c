/*
 * The mode files: blocks appended to a file, each durable before it is acknowledged. pwrite and fdatasync one
 * after the other, against the loop's own writes with several blocks under way and the syncs on a thread, as
 * a node does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/net.h"
#include "io/io.h"

#define BLOCKS    192
#define UNDER_WAY 4
#define ROUNDS    3

static const size_t sizes[] = {1 << 20, 4096};
static uint8_t bytes[1 << 20]; /* of every block */

struct append { /* one block of the loop's way */
    struct task task;
    struct file_run *run;
};

struct file_run {
    struct loop *loop;
    struct tasks *tasks;
    struct task_thread *syncs[UNDER_WAY];
    struct append appends[UNDER_WAY];
    int fd;
    size_t size, started, acknowledged;
    bool failed;
};

static void start_append(struct file_run *run, struct append *append);

static void sync_it(struct task *task)
{
    struct append *append = CONTAINER_OF(task, struct append, task);
    append->run->failed |= fdatasync(append->run->fd) != 0;
}

static void is_synced(struct task *task)
{
    struct append *append = CONTAINER_OF(task, struct append, task);
    append->run->acknowledged++;
    start_append(append->run, append);
}

static void is_written(void *context, int problem)
{
    struct append *append = context;
    append->run->failed |= problem != 0;
    task_submit(append->run->syncs[append - append->run->appends], &append->task);
}

static void start_append(struct file_run *run, struct append *append)
{
    if (run->failed || run->acknowledged == BLOCKS) {
        loop_stop(run->loop);
    } else if (run->started < BLOCKS) {
        uint64_t offset = (uint64_t)run->started++ * run->size;
        run->failed |= !loop_file(run->loop, true, run->fd, bytes, run->size, offset, is_written, append);
    }
}

static bool with_loop(int fd, size_t size, struct error *error)
{
    struct file_run run = {.fd = fd, .size = size};
    run.loop = loop_new("io_uring", error);
    if (!run.loop) {
        return false;
    }
    run.tasks = tasks_new(run.loop);
    for (size_t i = 0; i < UNDER_WAY; i++) {
        run.syncs[i] = task_thread_start(run.tasks, "sync");
        run.appends[i] = (struct append){.run = &run};
        run.appends[i].task.run = sync_it;
        run.appends[i].task.done = is_synced;
        start_append(&run, &run.appends[i]);
    }
    loop_run(run.loop);
    for (size_t i = 0; i < UNDER_WAY; i++) {
        task_thread_stop(run.syncs[i]);
    }
    tasks_free(run.tasks);
    loop_free(run.loop);
    return !run.failed || error_set(error, ERROR_IO, NULL, "an append failed");
}

static bool with_pwrite(int fd, size_t size, struct error *error)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        if (pwrite(fd, bytes, size, (off_t)(i * size)) != (ssize_t)size || fdatasync(fd) != 0) {
            return error_set(error, ERROR_IO, NULL, "an append failed: %s", strerror(errno));
        }
    }
    return true;
}

static bool one_run(const char *folder, bool loop, size_t size, struct samples *us, struct error *error)
{
    char path[192];
    snprintf(path, sizeof path, "%s/appends", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set(error, ERROR_IO, NULL, "cannot make %s: %s", path, strerror(errno));
    }
    int64_t began = wall_ns();
    bool ok = loop ? with_loop(fd, size, error) : with_pwrite(fd, size, error);
    samples_add(us, (double)(wall_ns() - began) / 1000 / BLOCKS);
    close(fd);
    return ok;
}

bool net_files(struct report *report, const struct options *options, struct error *error)
{
    char folder[128];
    struct chain_params params;
    bool ok = net_begin(folder, &params, error);
    (void)options;
    report_note(report,
                "time per block, each durable before it is acknowledged; %d of them under way in the ring",
                UNDER_WAY);
    for (size_t s = 0; ok && s < ARRAY_COUNT(sizes); s++) {
        struct samples us[2] = {{0}};
        char name[64];
        for (size_t i = 0; ok && i < 2 * ROUNDS; i++) {
            ok = one_run(folder, i % 2, sizes[s], &us[i % 2], error);
        }
        for (size_t i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "%s, %zu bytes", i ? "io_uring" : "pwrite + fdatasync", sizes[s]);
            report_samples(report, name, "us", &us[i]);
            samples_free(&us[i]);
        }
    }
    net_end(folder, &params);
    return ok;
}
