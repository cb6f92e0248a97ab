/* Token buckets in Redis, shared by all web servers: one script call per request, pipelined on the event
 * loop. hiredis 0.14 has no time-outs, so every question has a deadline here; a silent or lost Redis is left
 * at once for the memory bucket and tried again until it answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_private.h"

#include <hiredis/async.h>

#define PATIENCE_US INT64_C(50000)
#define RETRY_US    INT64_C(250000)
#define PENDING_MAX 4096u

/* Redis's own clock counts, so servers need not agree on the time. Answer: allowed, tokens left, ms to wait.
 */
static const char script[] =
    "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2] "
    "local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]) "
    "local b = redis.call('HMGET', KEYS[1], 't', 'a') "
    "local tokens, at = tonumber(b[1]) or burst, tonumber(b[2]) or now "
    "tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000000) "
    "local ok = 0 if tokens >= 1 then tokens = tokens - 1 ok = 1 end "
    "redis.call('HSET', KEYS[1], 't', string.format('%.6f', tokens), 'a', string.format('%.0f', now)) "
    "redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000) "
    "return {ok, math.floor(tokens), math.ceil((1 - tokens) / rate * 1000)}";

struct limit_wait { /* one question that is out */
    struct list link;
    struct shared_limits *shared;
    struct exchange *x; /* NULL: answered by memory meanwhile */
    int64_t deadline_us;
};

struct shared_limits {
    struct api *api;
    char *address, rate[32], burst[32], sha[41];
    redisAsyncContext *redis; /* NULL: to be tried again */
    h2o_socket_t *socket;
    bool up; /* the script is loaded and answers come */
    bool said_lost;
    int64_t retry_at_us, load_deadline_us;
    struct list waits; /* oldest first */
    size_t pending;
};

/* ---- hiredis on h2o's loop
 * --------------------------------------------------------------------------------- */

static void on_readable(h2o_socket_t *socket, const char *err)
{
    (void)err;
    redisAsyncHandleRead(((struct shared_limits *)socket->data)->redis);
}

static void on_writable(h2o_socket_t *socket, const char *err)
{
    (void)err;
    redisAsyncHandleWrite(((struct shared_limits *)socket->data)->redis);
}

static void add_read(void *context)
{
    struct shared_limits *shared = context;
    h2o_socket_read_start(shared->socket, on_readable);
}

static void del_read(void *context)
{
    struct shared_limits *shared = context;
    h2o_socket_read_stop(shared->socket);
}

static void add_write(void *context)
{
    struct shared_limits *shared = context;
    if (!h2o_socket_is_writing(shared->socket)) {
        h2o_socket_notify_write(shared->socket, on_writable);
    }
}

static void del_write(void *context)
{
    (void)context; /* one shot */
}

static void cleanup(void *context)
{
    struct shared_limits *shared = context;
    if (shared->socket) {
        shared->redis->c.fd = -1; /* the socket closes it */
        h2o_socket_close(shared->socket);
        shared->socket = NULL;
    }
}

/* ---- Up and down
 * -------------------------------------------------------------------------------------------- */

static void use_memory(struct exchange *x)
{
    struct api *api = x->api;
    x->limit_wait = NULL;
    api->counters.redis_fallbacks++;
    struct verdict verdict = strcmp(api->settings->rate_limit_fail, "closed") == 0
                                 ? (struct verdict){.retry_after_s = 1}
                                 : limits_take(api->limits, x->client, loop_now().mono_us);
    limit_verdict(x, verdict);
}

static void say_lost(struct shared_limits *shared, const char *why)
{
    bool closed = strcmp(shared->api->settings->rate_limit_fail, "closed") == 0;
    shared->up = false;
    shared->retry_at_us = loop_now().mono_us + RETRY_US;
    if (!shared->said_lost) {
        shared->said_lost = true;
        log_warn(LOG_RPC, "Redis at %s: %s; %s until it is back", shared->address, why,
                 closed ? "refusing requests" : "limiting by memory");
    }
}

static void let_go(struct shared_limits *shared, const char *why)
{
    say_lost(shared, why);
    LIST_EACH_SAFE(at, following, &shared->waits)
    {
        struct limit_wait *wait = CONTAINER_OF(at, struct limit_wait, link);
        struct exchange *x = wait->x;
        list_remove(at);
        wait->x = NULL; /* its callback comes when hiredis lets go of it */
        if (x) {
            use_memory(x);
        }
    }
    redisAsyncContext *redis = shared->redis;
    if (redis) {
        redisAsyncFree(redis);
        shared->redis = NULL;
    }
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    struct shared_limits *shared = redis->data;
    (void)status;
    if (shared->redis == redis) {
        shared->redis = NULL; /* hiredis frees it */
        let_go(shared, "connection lost");
    }
}

static void on_connect(const redisAsyncContext *redis, int status)
{
    struct shared_limits *shared = redis->data;
    if (status != REDIS_OK) {
        shared->redis = NULL; /* hiredis frees it */
        say_lost(shared, redis->errstr);
    }
}

static void on_loaded(redisAsyncContext *redis, void *answer, void *context)
{
    struct shared_limits *shared = redis->data;
    const redisReply *reply = answer;
    (void)context;
    if (reply && reply->type == REDIS_REPLY_STRING && reply->len == 40) {
        memcpy(shared->sha, reply->str, 41);
        shared->up = true;
        shared->said_lost = false;
        log_info(LOG_RPC, "rate limits are shared through Redis at %s", shared->address);
    } else if (reply && reply->type == REDIS_REPLY_ERROR) {
        say_lost(shared, reply->str);
    }
}

static void load(struct shared_limits *shared)
{
    shared->up = false;
    shared->load_deadline_us = loop_now().mono_us + 10 * PATIENCE_US;
    redisAsyncCommand(shared->redis, on_loaded, NULL, "SCRIPT LOAD %s", script);
}

static void dial(struct shared_limits *shared)
{
    char host[256];
    const char *address = shared->address, *colon = strrchr(address, ':');
    shared->retry_at_us = loop_now().mono_us + RETRY_US;
    redisAsyncContext *redis;
    if (strncmp(address, "unix:", 5) == 0) {
        redis = redisAsyncConnectUnix(address + 5);
    } else {
        snprintf(host, sizeof host, "%.*s", (int)(colon ? colon - address : (long)strlen(address)), address);
        redis = redisAsyncConnect(host, colon ? (int)strtol(colon + 1, NULL, 10) : 6379);
    }
    if (!redis || redis->err) {
        say_lost(shared, redis ? redis->errstr : "no memory");
        if (redis) {
            redisAsyncFree(redis);
        }
        return;
    }
    shared->redis = redis;
    shared->socket = h2o_evloop_socket_create(shared->api->loop, redis->c.fd, H2O_SOCKET_FLAG_DONT_READ);
    shared->socket->data = shared;
    redis->data = shared;
    redis->ev.data = shared;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
    redisAsyncSetConnectCallback(redis, on_connect);
    load(shared);
}

/* ---- Asking
 * --------------------------------------------------------------------------------------------------- */

static void on_verdict(redisAsyncContext *redis, void *answer, void *context)
{
    struct limit_wait *wait = context;
    struct shared_limits *shared = wait->shared;
    struct exchange *x = wait->x;
    const redisReply *reply = answer;
    list_remove(&wait->link);
    shared->pending--;
    mem_free(wait);
    if (!x) {
        return;
    }
    x->limit_wait = NULL;
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3) {
        limit_verdict(x, (struct verdict){.allowed = reply->element[0]->integer == 1,
                                          .remaining = reply->element[1]->integer,
                                          .retry_after_s = (reply->element[2]->integer + 999) / 1000});
        return;
    }
    if (reply && shared->redis == redis && shared->up) {
        load(shared); /* NOSCRIPT: Redis was restarted or flushed */
    }
    use_memory(x);
}

bool shared_limits_take(struct shared_limits *shared, struct exchange *x)
{
    if (!shared->up || !shared->redis || shared->pending >= PENDING_MAX) {
        use_memory(x);
        return true;
    }
    struct limit_wait *wait = mem_alloc(sizeof *wait);
    *wait = (struct limit_wait){.shared = shared, .x = x, .deadline_us = loop_now().mono_us + PATIENCE_US};
    list_append(&shared->waits, &wait->link);
    shared->pending++;
    x->limit_wait = wait;
    if (redisAsyncCommand(shared->redis, on_verdict, wait, "EVALSHA %s 1 quarry:limit:%s %s %s", shared->sha,
                          x->client, shared->rate, shared->burst) != REDIS_OK) {
        list_remove(&wait->link);
        shared->pending--;
        mem_free(wait);
        use_memory(x);
    }
    return true;
}

void shared_limits_tick(struct shared_limits *shared, int64_t now_us)
{
    struct limit_wait *oldest = CONTAINER_OF(shared->waits.next, struct limit_wait, link);
    if (!shared->redis) {
        if (now_us >= shared->retry_at_us) {
            dial(shared);
        }
    } else if (!list_empty(&shared->waits) && now_us > oldest->deadline_us) {
        let_go(shared, "no answer in time");
    } else if (!shared->up && now_us > shared->load_deadline_us) {
        let_go(shared, "no answer to the first question");
    }
}

bool shared_limits_up(const struct shared_limits *shared)
{
    return shared->up;
}

struct shared_limits *shared_limits_new(struct api *api, const char *address)
{
    struct shared_limits *shared = mem_alloc(sizeof *shared);
    shared->api = api;
    shared->address = mem_strdup(address);
    snprintf(shared->rate, sizeof shared->rate, "%.3f", limits_rate(api->limits));
    snprintf(shared->burst, sizeof shared->burst, "%.3f", limits_burst(api->limits));
    list_init(&shared->waits);
    return shared;
}

void shared_limits_free(struct shared_limits *shared)
{
    if (shared) {
        let_go(shared, "stopping");
        mem_free(shared->address);
        mem_free(shared);
    }
}
