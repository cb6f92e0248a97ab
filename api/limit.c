/* Token buckets in this process's memory, one per client. The table is bounded: rested clients are forgotten
 * first, and when all are busy strangers share one bucket. */
#include "api/api_private.h"

#define CLIENTS_MAX 65536u

struct bucket {
    double tokens;
    int64_t at_us;
};

struct limits {
    double per_s, burst;
    struct map clients; /* SipHash of the address -> struct bucket */
    struct bucket strangers;
    struct rng *rng;
};

struct limits *limits_new(struct rng *rng, double per_s, double burst)
{
    struct limits *limits = mem_alloc(sizeof *limits);
    *limits = (struct limits){.per_s = per_s, .burst = burst, .rng = rng};
    limits->strangers.tokens = burst;
    map_init(&limits->clients, 64, sizeof(struct bucket), rng);
    return limits;
}

void limits_free(struct limits *limits)
{
    if (limits) {
        map_free(&limits->clients);
        mem_free(limits);
    }
}

double limits_rate(const struct limits *limits)
{
    return limits->per_s;
}

double limits_burst(const struct limits *limits)
{
    return limits->burst;
}

static double tokens_at(const struct limits *limits, const struct bucket *bucket, int64_t now_us)
{
    return MIN(limits->burst, bucket->tokens + (double)(now_us - bucket->at_us) / 1e6 * limits->per_s);
}

static void refill(const struct limits *limits, struct bucket *bucket, int64_t now_us)
{
    bucket->tokens = tokens_at(limits, bucket, now_us);
    bucket->at_us = now_us;
}

/* A full bucket is as good as none: those go. */
static void forget_rested(struct limits *limits, int64_t now_us)
{
    struct map kept;
    const void *key;
    void *value;
    map_init(&kept, 64, sizeof(struct bucket), limits->rng);
    for (size_t at = 0; map_next(&limits->clients, &at, &key, &value);) {
        refill(limits, value, now_us);
        if (((struct bucket *)value)->tokens < limits->burst) {
            *(struct bucket *)map_put(&kept, key, NULL) = *(struct bucket *)value;
        }
    }
    map_free(&limits->clients);
    limits->clients = kept;
}

static struct bucket *bucket_of(struct limits *limits, const char *client, int64_t now_us)
{
    char key[64] = {0};
    memcpy(key, client, strnlen(client, sizeof key));
    struct bucket *bucket = map_get(&limits->clients, key);
    if (!bucket && limits->clients.count >= CLIENTS_MAX && now_us - limits->strangers.at_us > 1000000) {
        forget_rested(limits, now_us);
    }
    if (!bucket && limits->clients.count >= CLIENTS_MAX) {
        return &limits->strangers;
    }
    if (!bucket) {
        bucket = map_put(&limits->clients, key, NULL);
        *bucket = (struct bucket){limits->burst, now_us};
    }
    return bucket;
}

void limits_learn(struct limits *limits, const char *client, int64_t remaining, int64_t now_us)
{
    struct bucket *bucket = bucket_of(limits, client, now_us);
    if (bucket != &limits->strangers) {
        *bucket = (struct bucket){MIN(limits->burst, (double)remaining), now_us};
    }
}

double limits_tokens(const struct limits *limits, const char *client, int64_t now_us)
{
    char key[64] = {0};
    memcpy(key, client, strnlen(client, sizeof key));
    const struct bucket *bucket = map_get(&limits->clients, key);
    return bucket ? tokens_at(limits, bucket, now_us) : limits->burst;
}

struct verdict limits_take(struct limits *limits, const char *client, int64_t now_us)
{
    struct bucket *bucket = bucket_of(limits, client, now_us);
    refill(limits, bucket, now_us);
    if (bucket->tokens >= 1) {
        bucket->tokens -= 1;
        return (struct verdict){.allowed = true, .remaining = (int64_t)bucket->tokens};
    }
    return (struct verdict){.retry_after_s = (int64_t)((1 - bucket->tokens) / limits->per_s) + 1};
}
