/* Threads beside the loop: each runs its tasks first come first served; what is finished comes back through
 * one list and one eventfd that the loop watches. */
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/io.h"

struct tasks {
    pthread_mutex_t lock;
    struct list finished;
    int wake_fd;
};

struct task_thread {
    struct tasks *tasks;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct list queue;
    bool stopping;
    char name[16];
};

static void tell_finished(void *context)
{
    tasks_tell(context);
}

void tasks_tell(struct tasks *tasks)
{
    uint64_t count;
    ssize_t got = read(tasks->wake_fd, &count, sizeof count);
    (void)got; /* nothing there is fine: the list is what counts */
    for (;;) {
        pthread_mutex_lock(&tasks->lock);
        struct list *first = list_empty(&tasks->finished) ? NULL : tasks->finished.next;
        if (first) {
            list_remove(first);
        }
        pthread_mutex_unlock(&tasks->lock);
        if (!first) {
            return;
        }
        struct task *task = CONTAINER_OF(first, struct task, link);
        task->done(task);
    }
}

struct tasks *tasks_new(struct loop *loop)
{
    struct tasks *tasks = mem_alloc(sizeof *tasks);
    pthread_mutex_init(&tasks->lock, NULL);
    list_init(&tasks->finished);
    tasks->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(tasks->wake_fd >= 0);
    if (loop) {
        loop_watch(loop, tasks->wake_fd, tell_finished, tasks);
    }
    return tasks;
}

int tasks_fd(const struct tasks *tasks)
{
    return tasks->wake_fd;
}

void tasks_free(struct tasks *tasks)
{
    if (!tasks) {
        return;
    }
    tasks_tell(tasks);
    close(tasks->wake_fd);
    pthread_mutex_destroy(&tasks->lock);
    mem_free(tasks);
}

static void finish(struct tasks *tasks, struct task *task)
{
    uint64_t one = 1;
    pthread_mutex_lock(&tasks->lock);
    list_append(&tasks->finished, &task->link);
    pthread_mutex_unlock(&tasks->lock);
    ssize_t put = write(tasks->wake_fd, &one, sizeof one);
    CHECK(put == sizeof one || errno == EAGAIN);
}

static void *thread_main(void *context)
{
    struct task_thread *thread = context;
    pthread_setname_np(pthread_self(), thread->name);
    for (;;) {
        pthread_mutex_lock(&thread->lock);
        while (list_empty(&thread->queue) && !thread->stopping) {
            pthread_cond_wait(&thread->some, &thread->lock);
        }
        struct list *first = list_empty(&thread->queue) ? NULL : thread->queue.next;
        if (first) {
            list_remove(first);
        }
        pthread_mutex_unlock(&thread->lock);
        if (!first) {
            return NULL;
        }
        struct task *task = CONTAINER_OF(first, struct task, link);
        task->run(task);
        finish(thread->tasks, task);
    }
}

struct task_thread *task_thread_start(struct tasks *tasks, const char *name)
{
    struct task_thread *thread = mem_alloc(sizeof *thread);
    thread->tasks = tasks;
    snprintf(thread->name, sizeof thread->name, "%s", name);
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->some, NULL);
    list_init(&thread->queue);
    CHECK(pthread_create(&thread->thread, NULL, thread_main, thread) == 0);
    return thread;
}

static void ask_to_stop(struct task_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    thread->stopping = true;
    pthread_cond_signal(&thread->some);
    pthread_mutex_unlock(&thread->lock);
}

static void thread_free(struct task_thread *thread)
{
    pthread_cond_destroy(&thread->some);
    pthread_mutex_destroy(&thread->lock);
    mem_free(thread);
}

void task_thread_stop(struct task_thread *thread)
{
    if (thread) {
        ask_to_stop(thread);
        pthread_join(thread->thread, NULL);
        thread_free(thread);
    }
}

bool task_thread_stop_within(struct task_thread *thread, int64_t patience_us)
{
    if (!thread) {
        return true;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + patience_us * 1000;
    until = (struct timespec){until.tv_sec + ns / 1000000000, ns % 1000000000};
    ask_to_stop(thread);
    if (pthread_clockjoin_np(thread->thread, NULL, CLOCK_MONOTONIC, &until) != 0) {
        pthread_detach(thread->thread);
        return false;
    }
    thread_free(thread);
    return true;
}

void task_submit(struct task_thread *thread, struct task *task)
{
    pthread_mutex_lock(&thread->lock);
    list_append(&thread->queue, &task->link);
    pthread_cond_signal(&thread->some);
    pthread_mutex_unlock(&thread->lock);
}
