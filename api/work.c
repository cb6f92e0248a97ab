/* What may block and therefore never happens on the event loop: wallet files and signatures on one thread,
 * names on another. A request's piece of work is queued, and goes on where its result is. */
#include "api/api_private.h"

#define QUEUED_MAX 256u

struct work {
    struct tasks *tasks;
    struct task_thread *files, *names;
    h2o_socket_t *finished;
    size_t queued, resolving;
};

static void on_finished(h2o_socket_t *socket, const char *err)
{
    (void)err;
    tasks_tell(((struct work *)socket->data)->tasks);
}

struct work *work_new(h2o_loop_t *loop)
{
    struct work *work = mem_alloc(sizeof *work);
    work->tasks = tasks_new(NULL);
    work->files = task_thread_start(work->tasks, "q-api-files");
    work->names = task_thread_start(work->tasks, "q-api-dns");
    work->finished = h2o_evloop_socket_create(loop, tasks_fd(work->tasks), H2O_SOCKET_FLAG_DONT_READ);
    work->finished->data = work;
    h2o_socket_read_start(work->finished, on_finished);
    return work;
}

void work_free(struct work *work)
{
    if (!work) {
        return;
    }
    task_thread_stop(work->files);
    tasks_tell(work->tasks);
    if (work->resolving) {
        return; /* a resolver may take half a minute: the process does not wait for it */
    }
    task_thread_stop(work->names);
    h2o_socket_read_stop(work->finished);
    tasks_free(work->tasks);
    mem_free(work);
}

static void run(struct task *task)
{
    struct exchange *x = CONTAINER_OF(task, struct exchange, task);
    x->work(x);
}

static void done(struct task *task)
{
    struct exchange *x = CONTAINER_OF(task, struct exchange, task);
    x->api->work->queued--;
    x->worked(x);
}

void work_run(struct exchange *x, void (*work)(struct exchange *x), void (*worked)(struct exchange *x))
{
    struct work *all = x->api->work;
    if (all->queued >= QUEUED_MAX) {
        reply_error(x, 503, "busy", "Too many requests wait for the wallets.");
        return;
    }
    all->queued++;
    x->work = work;
    x->worked = worked;
    x->task = (struct task){.run = run, .done = done};
    task_submit(all->files, &x->task);
}

void work_resolve(struct work *work, struct task *task)
{
    work->resolving++;
    task_submit(work->names, task);
}

void work_resolved(struct work *work)
{
    work->resolving--;
}
