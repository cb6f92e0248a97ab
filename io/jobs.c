/*
 * The node's jobs, on whatever does them without holding up the loop: block and undo bytes on the ring or the
 * reading thread, the store's on threads beside it, scripts on the pool; and the small files beside the chain
 * (peers.dat, banlist.json), which are written whole. How a row or a file is read and written is store.c's
 * and files.c's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/host_private.h"

#define SAVED_BYTES_MAX ((size_t)4 << 20)

struct host_job { /* a job on a thread or on the ring */
    struct task task;
    struct host *host;
    struct job *job;
    void *snapshot;
    struct open_file *file; /* NULL: fd is this job's alone */
    int fd;
};

void job_is_done(struct host *host, struct job *job)
{
    list_remove(&job->link);
    if (host->ended) { /* too late for the node: whoever asked lets go of it */
        job->failed = true;
        error_set(&job->error, ERROR_BUSY, NULL, "the node has stopped");
        job_finish(job);
        return;
    }
    struct event event = {.kind = EVENT_JOB};
    event.job = job;
    host_emit(host, &event);
}

static void run_on_thread(struct task *task)
{
    struct host_job *work = CONTAINER_OF(task, struct host_job, task);
    store_run(work->host->store, work->job, work->snapshot);
}

static void thread_is_done(struct task *task)
{
    struct host_job *work = CONTAINER_OF(task, struct host_job, task);
    job_is_done(work->host, work->job);
    mem_free(work);
}

static void to_thread(struct host *host, struct task_thread *thread, struct job *job)
{
    struct host_job *work = mem_alloc(sizeof *work);
    work->host = host;
    work->job = job;
    work->task.run = run_on_thread;
    work->task.done = thread_is_done;
    if (job->kind == JOB_SCAN) {
        work->snapshot = store_snapshot(host->store); /* of this moment, however long the queue is */
    }
    task_submit(thread, &work->task);
}

/* The file of a job, open already as a rule: one block after the other goes to the same two. */
static bool file_open(struct host *host, struct host_job *work)
{
    const struct job *job = work->job;
    bool write = job->kind == JOB_WRITE;
    struct open_file *unused = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        struct open_file *file = &host->files[i];
        if (file->fd >= 0 && file->kind == job->io.file && file->number == job->io.number &&
            file->write == write) {
            file->users++;
            file->last_use = ++host->file_uses;
            work->file = file;
            work->fd = file->fd;
            return true;
        }
        if (!file->users && (!unused || file->last_use < unused->last_use)) {
            unused = file;
        }
    }
    work->fd = store_file(host->store, job->io.file, job->io.number, write, NULL);
    if (work->fd >= 0 && unused) {
        if (unused->fd >= 0) {
            close(unused->fd);
        }
        *unused = (struct open_file){job->io.file, job->io.number, write, work->fd, 1, ++host->file_uses};
        work->file = unused;
    }
    return work->fd >= 0;
}

static void file_close(struct host_job *work)
{
    if (work->file) {
        work->file->users--;
    } else {
        close(work->fd);
    }
}

static void file_is_done(void *context, int problem)
{
    struct host_job *work = context;
    struct host *host = work->host;
    struct job *job = work->job;
    host->files_out--;
    file_close(work);
    if (problem) {
        job->failed = true;
        error_set(&job->error, ERROR_IO, NULL, "%s a block file: %s",
                  job->kind == JOB_WRITE ? "writing" : "reading", strerror(problem));
    } else if (job->kind == JOB_WRITE) {
        store_written(host->store, job->io.file, job->io.number);
    }
    mem_free(work);
    job_is_done(host, job);
}

/* Block and undo bytes go through the ring where there is one, else over the reading thread. */
static void to_file(struct host *host, struct job *job)
{
    bool write = job->kind == JOB_WRITE;
    struct host_job *work = mem_alloc(sizeof *work);
    *work = (struct host_job){.host = host, .job = job};
    if (file_open(host, work)) {
        if (!write) {
            job->io.data = mem_alloc(job->io.len);
        }
        if (loop_file(host->loop, write, work->fd, job->io.data, job->io.len, job->io.offset, file_is_done,
                      work)) {
            host->files_out++;
            return;
        }
        if (!write) {
            mem_free(job->io.data);
            job->io.data = NULL;
        }
        file_close(work);
    }
    mem_free(work);
    to_thread(host, host->reads, job);
}

void job_start(struct host *host, struct job *job)
{
    list_append(&host->jobs, &job->link);
    switch (job->kind) {
    case JOB_CHECK_SCRIPTS:
        pool_check(host->pool, job->check.check, job->check.batch, job->check.count, job);
        break;
    case JOB_READ:
    case JOB_WRITE: to_file(host, job); break;
    case JOB_COMMIT: to_thread(host, host->commits, job); break;
    case JOB_SAVE:
    case JOB_SCAN: to_thread(host, host->slow, job); break;
    case JOB_READ_COINS:
    case JOB_READ_KEY:
    case JOB_IMPORT_READ: to_thread(host, host->reads, job); break;
    }
}

void jobs_init(struct host *host)
{
    list_init(&host->jobs);
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        host->files[i].fd = -1;
    }
}

void jobs_end(struct host *host)
{
    while (!list_empty(&host->jobs)) {
        job_is_done(host, CONTAINER_OF(host->jobs.next, struct job, link));
    }
    for (size_t i = 0; i < ARRAY_COUNT(host->files); i++) {
        if (host->files[i].fd >= 0) {
            close(host->files[i].fd);
        }
    }
}

/* ---- Small files ------------------------------------------------------------------------------------- */

struct saving {
    struct task task;
    struct buf path, bytes;
    bool failed;
    struct error error;
};

static void save_on_thread(struct task *task)
{
    struct saving *saving = CONTAINER_OF(task, struct saving, task);
    saving->failed =
        !file_write_private((const char *)saving->path.data, buf_span(&saving->bytes), &saving->error);
}

static void save_is_done(struct task *task)
{
    struct saving *saving = CONTAINER_OF(task, struct saving, task);
    if (saving->failed) {
        log_warn(LOG_NODE, "%s", saving->error.text);
    }
    buf_free(&saving->path);
    buf_free(&saving->bytes);
    mem_free(saving);
}

void saved_write(struct host *host, struct action *action)
{
    struct saving *saving = mem_alloc(sizeof *saving);
    saving->task.run = save_on_thread;
    saving->task.done = save_is_done;
    buf_printf(&saving->path, "%s/%s%c", host->folder, action->text, 0);
    saving->bytes = action->bytes;
    action->bytes = (struct buf){0};
    task_submit(host->slow, &saving->task); /* one thread: the last that was asked for is what stays */
}

void saved_read(struct host *host, const char *name, struct buf *out)
{
    struct buf path = {0};
    struct error error = {0};
    buf_printf(&path, "%s/%s%c", host->folder, name, 0);
    if (!file_read_all((const char *)path.data, SAVED_BYTES_MAX, out, &error) &&
        error.kind != ERROR_MISSING) {
        log_warn(LOG_NODE, "%s", error.text);
        buf_clear(out);
    }
    buf_free(&path);
}
