/* Token buckets in Redis, shared by all web servers: one script call per request, pipelined on the event
 * loop. hiredis 0.14 has no time-outs, so every question has a deadline here, after which the memory bucket
 * answers; while one is overdue nobody else is made to wait. The memory bucket knows what Redis last said, so
 * that a client who meets it gets no second burst. A Redis that stays silent is dialled anew; its name is
 * resolved on a thread of its own. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_private.h"

#include <hiredis/async.h>

#define PATIENCE_US INT64_C(40000)  /* one question */
#define SILENCE_US  INT64_C(500000) /* the connection */
#define RETRY_US    INT64_C(250000)
#define PENDING_MAX 4096u
#define PORT        6379

/* Redis's own clock counts, so servers need not agree on the time. A client that Redis does not know (it was
 * restarted, or the client has rested) has what memory knows of it. Answer: allowed, tokens left, ms to wait.
 */
static const char script[] =
    "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2] "
    "local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]) "
    "local b = redis.call('HMGET', KEYS[1], 't', 'a') "
    "local tokens, at = tonumber(b[1]) or tonumber(ARGV[3]), tonumber(b[2]) or now "
    "tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000000) "
    "local ok = 0 if tokens >= 1 then tokens = tokens - 1 ok = 1 end "
    "redis.call('HSET', KEYS[1], 't', string.format('%.6f', tokens), 'a', string.format('%.0f', now)) "
    "redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000) "
    "return {ok, math.floor(tokens), math.ceil((1 - tokens) / rate * 1000)}";

struct limit_wait { /* one question that is out */
    struct list link;
    struct shared_limits *shared;
    struct exchange *x; /* NULL: answered by memory meanwhile */
    int64_t asked_us;
};

struct shared_limits {
    struct api *api;
    struct redis_address address;
    char rate[32], burst[32], sha[41];
    redisAsyncContext *redis; /* NULL: to be tried again */
    h2o_socket_t *socket;
    bool up;     /* the script is loaded */
    bool silent; /* a question is overdue: nobody else waits until something is heard */
    bool said_lost;
    int64_t retry_at_us, load_deadline_us;
    struct list waits; /* oldest first */
    size_t pending;
    struct task resolve;
    bool resolving;
    char numeric[64]; /* what the name stands for; empty: unknown */
};

/* ---- hiredis on h2o's loop ----------------------------------------------------------------------------- */

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

static struct shared_limits *limits_of(void *context)
{
    return ((redisAsyncContext *)context)->data;
}

static void add_read(void *context)
{
    h2o_socket_read_start(limits_of(context)->socket, on_readable);
}

static void del_read(void *context)
{
    h2o_socket_read_stop(limits_of(context)->socket);
}

static void add_write(void *context)
{
    h2o_socket_t *socket = limits_of(context)->socket;
    if (!h2o_socket_is_writing(socket)) {
        h2o_socket_notify_write(socket, on_writable);
    }
}

static void del_write(void *context)
{
    (void)context; /* one shot */
}

static void cleanup(void *context)
{
    redisAsyncContext *redis = context;
    struct shared_limits *shared = redis->data;
    if (shared->socket) {
        redis->c.fd = -1; /* the socket closes it */
        h2o_socket_close(shared->socket);
        shared->socket = NULL;
    }
}

/* ---- Up and down --------------------------------------------------------------------------------------- */

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
        shared->api->counters.redis_losses++;
        log_warn(LOG_RPC, "Redis at %s: %s; %s until it is back", shared->address.shown, why,
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
        shared->silent = false;
        shared->said_lost = false;
        log_info(LOG_RPC, "rate limits are shared through Redis at %s", shared->address.shown);
    } else if (reply && reply->type == REDIS_REPLY_ERROR) {
        say_lost(shared, reply->str);
    }
}

static void on_greeted(redisAsyncContext *redis, void *answer, void *context)
{
    const redisReply *reply = answer;
    (void)context;
    if (reply && reply->type == REDIS_REPLY_ERROR) {
        say_lost(redis->data, reply->str);
    }
}

static void greet(struct shared_limits *shared)
{
    const struct redis_address *address = &shared->address;
    if (*address->user) {
        redisAsyncCommand(shared->redis, on_greeted, NULL, "AUTH %s %s", address->user, address->password);
    } else if (*address->password) {
        redisAsyncCommand(shared->redis, on_greeted, NULL, "AUTH %s", address->password);
    }
}

static void load(struct shared_limits *shared)
{
    shared->up = false;
    shared->load_deadline_us = loop_now().mono_us + SILENCE_US;
    redisAsyncCommand(shared->redis, on_loaded, NULL, "SCRIPT LOAD %s", script);
}

static void attach(struct shared_limits *shared, redisAsyncContext *redis)
{
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
    redis->ev.data = redis;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
    redisAsyncSetConnectCallback(redis, on_connect);
    greet(shared);
    load(shared);
}

static void resolve_run(struct task *task)
{
    struct shared_limits *shared = CONTAINER_OF(task, struct shared_limits, resolve);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    shared->numeric[0] = 0;
    if (getaddrinfo(shared->address.host, NULL, &hints, &found) == 0) {
        getnameinfo(found->ai_addr, found->ai_addrlen, shared->numeric, sizeof shared->numeric, NULL, 0,
                    NI_NUMERICHOST);
        freeaddrinfo(found);
    }
}

static void resolve_done(struct task *task)
{
    struct shared_limits *shared = CONTAINER_OF(task, struct shared_limits, resolve);
    shared->resolving = false;
    work_resolved(shared->api->work);
    if (*shared->numeric) {
        attach(shared, redisAsyncConnect(shared->numeric, shared->address.port));
    } else {
        say_lost(shared, "the name is unknown");
    }
}

static void dial(struct shared_limits *shared)
{
    shared->retry_at_us = loop_now().mono_us + RETRY_US;
    if (!*shared->address.host) {
        attach(shared, redisAsyncConnectUnix(shared->address.shown + strlen("unix:")));
    } else {
        shared->resolving = true;
        work_resolve(shared->api->work, &shared->resolve);
    }
}

/* ---- Asking -------------------------------------------------------------------------------------------- */

static void on_verdict(redisAsyncContext *redis, void *answer, void *context)
{
    struct limit_wait *wait = context;
    struct shared_limits *shared = wait->shared;
    struct exchange *x = wait->x;
    const redisReply *reply = answer;
    list_remove(&wait->link);
    shared->pending--;
    mem_free(wait);
    if (shared->redis == redis && reply) {
        shared->silent = false;
    }
    if (!x) {
        return;
    }
    x->limit_wait = NULL;
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3) {
        limits_learn(shared->api->limits, x->client, reply->element[1]->integer, loop_now().mono_us);
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

void shared_limits_take(struct shared_limits *shared, struct exchange *x)
{
    if (!shared->up || shared->silent || !shared->redis || shared->pending >= PENDING_MAX) {
        use_memory(x);
        return;
    }
    char known[32];
    snprintf(known, sizeof known, "%.3f", limits_tokens(shared->api->limits, x->client, loop_now().mono_us));
    struct limit_wait *wait = mem_alloc(sizeof *wait);
    *wait = (struct limit_wait){.shared = shared, .x = x, .asked_us = loop_now().mono_us};
    list_append(&shared->waits, &wait->link);
    shared->pending++;
    x->limit_wait = wait;
    if (redisAsyncCommand(shared->redis, on_verdict, wait, "EVALSHA %s 1 quarry:limit:%s %s %s %s",
                          shared->sha, x->client, shared->rate, shared->burst, known) != REDIS_OK) {
        list_remove(&wait->link);
        shared->pending--;
        mem_free(wait);
        use_memory(x);
    }
}

/* Whoever has waited long enough is answered by memory. */
static void end_long_waits(struct shared_limits *shared, int64_t now_us)
{
    LIST_EACH_SAFE(at, following, &shared->waits)
    {
        struct limit_wait *wait = CONTAINER_OF(at, struct limit_wait, link);
        struct exchange *x = wait->x;
        if (now_us - wait->asked_us <= PATIENCE_US) {
            break;
        }
        shared->silent = true;
        wait->x = NULL;
        if (x) {
            use_memory(x);
        }
    }
}

void shared_limits_tick(struct shared_limits *shared, int64_t now_us)
{
    struct limit_wait *oldest = CONTAINER_OF(shared->waits.next, struct limit_wait, link);
    end_long_waits(shared, now_us);
    if (!shared->redis) {
        if (now_us >= shared->retry_at_us && !shared->resolving) {
            dial(shared);
        }
    } else if (!list_empty(&shared->waits) && now_us - oldest->asked_us > SILENCE_US) {
        let_go(shared, "no answer in time");
    } else if (!shared->up && now_us > shared->load_deadline_us) {
        let_go(shared, "no answer to the first question");
    }
}

bool shared_limits_up(const struct shared_limits *shared)
{
    return shared->up && !shared->silent;
}

/* ---- The address --------------------------------------------------------------------------------------- */

/* Text of a URL with its %XX; false: too long, or not such a text. */
static bool unescape(char *out, size_t size, const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i], digits[3] = {0};
        if (c == '%') {
            snprintf(digits, sizeof digits, "%.*s", (int)MIN(len - i - 1, 2u), text + i + 1);
            if (!hex_decode(&c, 1, digits) || !c) {
                return false;
            }
            i += 2;
        }
        if (count + 1 >= size) {
            return false;
        }
        out[count++] = c;
    }
    out[count] = 0;
    return true;
}

/* HOST[:PORT] */
static bool read_place(struct redis_address *out, const char *place)
{
    const char *colon = strrchr(place, ':');
    bool bracket = *place == '[';
    const char *end = bracket ? strchr(place, ']') : colon ? colon : place + strlen(place);
    size_t skipped = bracket ? 1 : 0, len = end ? (size_t)(end - place) - skipped : 0;
    if (!len || len >= sizeof out->host) {
        return false;
    }
    snprintf(out->host, sizeof out->host, "%.*s", (int)len, place + skipped);
    end += bracket;
    out->port = PORT;
    if (*end == ':') {
        char *rest;
        long port = strtol(end + 1, &rest, 10);
        out->port = (int)port;
        return end[1] && !*rest && port > 0 && port <= UINT16_MAX;
    }
    return !*end;
}

static bool read_secrets(struct redis_address *out, const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon ? (size_t)(colon - text) : len;
    return colon && unescape(out->user, sizeof out->user, text, user_len) &&
           unescape(out->password, sizeof out->password, colon + 1, len - user_len - 1);
}

bool redis_address_parse(struct redis_address *out, const char *text, struct error *error)
{
    static const char scheme[] = "redis://";
    bool is_url = strncmp(text, scheme, sizeof scheme - 1) == 0, ok = true;
    *out = (struct redis_address){0};
    text += is_url ? sizeof scheme - 1 : 0;
    const char *at = is_url ? strrchr(text, '@') : NULL, *place = at ? at + 1 : text;
    if (at) {
        ok = read_secrets(out, text, (size_t)(at - text));
    }
    if (is_url || strncmp(place, "unix:", 5) != 0) {
        ok = ok && read_place(out, place);
    }
    if (!ok) {
        return error_set(error, ERROR_USAGE, NULL,
                         "redis: HOST[:PORT], unix:PATH or redis://[[USER]:PASSWORD@]HOST[:PORT] is wanted");
    }
    out->shown = mem_strdup(place);
    return true;
}

struct shared_limits *shared_limits_new(struct api *api, struct error *error)
{
    struct shared_limits *shared = mem_alloc(sizeof *shared);
    const char *password = api->settings->redis_password;
    if (!redis_address_parse(&shared->address, api->settings->redis, error)) {
        mem_free(shared);
        return NULL;
    }
    if (*password) {
        snprintf(shared->address.password, sizeof shared->address.password, "%s", password);
    }
    shared->api = api;
    shared->resolve = (struct task){.run = resolve_run, .done = resolve_done};
    snprintf(shared->rate, sizeof shared->rate, "%.3f", limits_rate(api->limits));
    snprintf(shared->burst, sizeof shared->burst, "%.3f", limits_burst(api->limits));
    list_init(&shared->waits);
    return shared;
}

void shared_limits_free(struct shared_limits *shared)
{
    if (!shared) {
        return;
    }
    shared->said_lost = true;
    let_go(shared, "stopping");
    if (!shared->resolving) { /* else the resolver still has it: it goes with the process */
        mem_free(shared->address.shown);
        mem_wipe(&shared->address, sizeof shared->address);
        mem_free(shared);
    }
}
