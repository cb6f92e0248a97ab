/* Coins by script, by reading the whole UTXO set as it stands on disk: slow, and without any index. */
#include "core/chain/chain_private.h"

#include "hashing/kernels/kernels.h"

#define ROWS_BYTES_MAX (64u << 20)

struct coin_scan {
    struct scan_wait wait;
    struct map scripts; /* SHA-256 of a script -> its index, uint32_t */
    struct coin_scan_result result;
    struct buf rows;
    unsigned percent; /* these two are looked at by both threads */
    bool aborted;
    void (*done)(void *context, const struct coin_scan_result *result);
    void *context;
};

/* On the scanning thread; rows come sorted by txid, so the first byte tells how far it has come. */
static void scan_row(void *context, struct span key, struct span value)
{
    struct coin_scan *scan = context;
    struct coin_scan_result *result = &scan->result;
    struct coin coin;
    uint8_t hash[32];
    if (__atomic_load_n(&scan->aborted, __ATOMIC_RELAXED) || result->failed || result->too_many) {
        return;
    }
    if (key.len != COIN_KEY_BYTES || !coin_decode(&coin, value)) {
        result->failed = true;
        return;
    }
    result->txouts++;
    __atomic_store_n(&scan->percent, key.data[0] * 100u / 256u, __ATOMIC_RELAXED);
    sha256(hash, coin.script.data, coin.script.len);
    const uint32_t *index = map_get(&scan->scripts, hash);
    if (!index) {
        return;
    }
    buf_bytes(&scan->rows, key.data, key.len);
    buf_u32(&scan->rows, *index);
    buf_u32(&scan->rows, coin.height << 1 | coin.coinbase);
    buf_i64(&scan->rows, coin.value.sat);
    result->too_many = scan->rows.len > ROWS_BYTES_MAX;
}

static void scan_free(struct coin_scan *scan)
{
    map_free(&scan->scripts);
    buf_free(&scan->rows);
    mem_free(scan);
}

static void scan_ended(void *context, struct job *job)
{
    struct coin_scan *scan = context;
    scan->wait.chain->jobs_out--;
    scan->result.failed |= job->failed;
    scan->result.aborted = __atomic_load_n(&scan->aborted, __ATOMIC_RELAXED);
    scan->result.rows = buf_span(&scan->rows);
    job_free(job);
    scan->done(scan->context, &scan->result);
    scan_free(scan);
}

static void scan_start(struct scan_wait *wait)
{
    struct coin_scan *scan = CONTAINER_OF(wait, struct coin_scan, wait);
    scan->result.tip = &wait->chain->durable->e;
    struct job *job = job_new(JOB_SCAN, scan_ended, scan);
    job->scan.cf = CF_COINS;
    job->scan.row = scan_row;
    job->scan.scan = scan;
    chain_submit(wait->chain, job);
}

static void scan_drop(struct scan_wait *wait)
{
    scan_free(CONTAINER_OF(wait, struct coin_scan, wait));
}

struct coin_scan *chain_scan_scripts(struct chain *chain, const struct span *scripts, size_t count,
                                     void (*done)(void *context, const struct coin_scan_result *result),
                                     void *context)
{
    struct coin_scan *scan = mem_alloc(sizeof *scan);
    *scan = (struct coin_scan){.done = done, .context = context};
    map_init(&scan->scripts, 32, sizeof(uint32_t), chain->config.rng);
    for (size_t i = 0; i < count; i++) {
        uint8_t hash[32];
        sha256(hash, scripts[i].data, scripts[i].len);
        *(uint32_t *)map_put(&scan->scripts, hash, NULL) = (uint32_t)i;
    }
    scan->wait = (struct scan_wait){.chain = chain, .start = scan_start, .drop = scan_drop};
    scan_when_committed(&scan->wait);
    return scan;
}

unsigned coin_scan_percent(const struct coin_scan *scan)
{
    return __atomic_load_n(&scan->percent, __ATOMIC_RELAXED);
}

void coin_scan_abort(struct coin_scan *scan)
{
    __atomic_store_n(&scan->aborted, true, __ATOMIC_RELAXED);
}

bool coin_scan_next(struct cursor *rows, struct outpoint *outpoint, struct coin *coin, size_t *script)
{
    if (!cursor_left(rows)) {
        return false;
    }
    cursor_bytes(rows, outpoint->txid.b, 32);
    outpoint->index = __builtin_bswap32(cursor_u32(rows));
    *script = cursor_u32(rows);
    uint32_t packed = cursor_u32(rows);
    *coin = (struct coin){.height = packed >> 1, .coinbase = packed & 1, .value = {cursor_i64(rows)}};
    return true;
}
