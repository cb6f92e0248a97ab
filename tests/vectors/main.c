/* test-vectors: runs every file of the vectors' folder (QUARRY_VECTORS, default beside the project), counts
 * each case, and ends with "N passed, N failed, N skipped". Exit 0 only when nothing failed. */
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/wallet/wallet.h"
#include "tests/vectors/vectors.h"

#define THREADS_MAX    8
#define FAILURES_SHOWN 20
#define FILE_BYTES_MAX (256u << 20)

static atomic_size_t passed, failed;
static size_t skipped;
static const char *current_file = "";

void case_result(bool ok, const char *format, ...)
{
    if (ok) {
        atomic_fetch_add(&passed, 1);
        return;
    }
    if (atomic_fetch_add(&failed, 1) < FAILURES_SHOWN) {
        char text[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        printf("FAIL  %s: %s\n", current_file, text);
    }
}

struct loop {
    atomic_size_t next;
    size_t count;
    void (*check)(const void *context, size_t i);
    const void *context;
};

static void *loop_thread(void *argument)
{
    struct loop *loop = argument;
    for (size_t i; (i = atomic_fetch_add(&loop->next, 1)) < loop->count;) {
        loop->check(loop->context, i);
    }
    return NULL;
}

void for_each(size_t count, void (*check)(const void *context, size_t i), const void *context)
{
    struct loop loop = {.count = count, .check = check, .context = context};
    pthread_t threads[THREADS_MAX];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int started = 0, wanted = (int)MIN(MAX(cpus, 1), THREADS_MAX) - 1;
    while (started < wanted && pthread_create(&threads[started], NULL, loop_thread, &loop) == 0) {
        started++;
    }
    loop_thread(&loop);
    while (started) {
        pthread_join(threads[--started], NULL);
    }
}

const char *vectors_folder(void)
{
    const char *folder = getenv("QUARRY_VECTORS");
    return folder && *folder ? folder : QUARRY_VECTORS_DEFAULT;
}

uint8_t *vectors_read(const char *name, size_t *len)
{
    struct buf path = {0}, data = {0};
    buf_printf(&path, "%s/%s%c", vectors_folder(), name, 0);
    FILE *file = fopen((const char *)path.data, "rb");
    buf_free(&path);
    if (!file) {
        return NULL;
    }
    uint8_t chunk[65536];
    for (size_t got; (got = fread(chunk, 1, sizeof chunk, file)) > 0 && data.len < FILE_BYTES_MAX;) {
        buf_bytes(&data, chunk, got);
    }
    fclose(file);
    *len = data.len;
    buf_u8(&data, 0); /* so that text ends */
    return data.data;
}

json_t *vectors_json(const char *name)
{
    size_t len;
    uint8_t *text = vectors_read(name, &len);
    if (!text) {
        return NULL;
    }
    json_error_t error;
    json_t *document = json_loadb((const char *)text, len, JSON_ALLOW_NUL, &error);
    case_result(document != NULL, "not JSON: line %d: %s", error.line, error.text);
    atomic_fetch_sub(&passed, document != NULL); /* being JSON is no case */
    mem_free(text);
    return document;
}

static void report(size_t passed_before, size_t failed_before)
{
    printf("%s  %s: %zu passed, %zu failed\n", failed == failed_before ? "ok" : "FAIL", current_file,
           passed - passed_before, failed - failed_before);
    fflush(stdout);
}

static void skip(const char *name)
{
    skipped++;
    printf("skip  %s: not in %s\n", name, vectors_folder());
}

static void run_json(const char *name, void (*run)(const json_t *document))
{
    size_t passed_before = passed, failed_before = failed;
    current_file = name;
    json_t *document = vectors_json(name);
    if (!document && failed == failed_before) {
        skip(name);
        return;
    }
    if (document) {
        run(document);
        case_result(passed + failed > passed_before + failed_before, "holds no case");
        atomic_fetch_sub(&passed, passed > passed_before); /* nor is holding some */
    }
    json_decref(document);
    report(passed_before, failed_before);
}

static void run_csv(const char *name)
{
    size_t len, passed_before = passed, failed_before = failed;
    uint8_t *text = vectors_read(name, &len);
    current_file = name;
    if (!text) {
        skip(name);
        return;
    }
    bip340(text, len);
    mem_free(text);
    report(passed_before, failed_before);
}

static void run_block(const char *name)
{
    char spent_name[300];
    size_t len, spent_len = 0, passed_before = passed, failed_before = failed;
    snprintf(spent_name, sizeof spent_name, "%.*s.spent", (int)(strlen(name) - 4), name);
    current_file = name;
    uint8_t *raw = vectors_read(name, &len), *spent = vectors_read(spent_name, &spent_len);
    if (raw) {
        real_block(name, raw, len, spent, spent_len);
    }
    mem_free(spent);
    report(passed_before, failed_before);
}

static void run_dat(const char *name)
{
    size_t len, passed_before = passed, failed_before = failed;
    uint8_t *data = vectors_read(name, &len);
    current_file = name;
    if (data) {
        block_file(name, data, len);
    }
    mem_free(data);
    report(passed_before, failed_before);
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* The files whose names are free: block*.raw and *.dat. */
static void run_folder(void)
{
    struct dirent **entries;
    int count = scandir(vectors_folder(), &entries, NULL, alphasort);
    bool blocks = false;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strncmp(name, "block", 5) == 0 && ends_with(name, ".raw")) {
            run_block(name);
            blocks = true;
        } else if (ends_with(name, ".dat")) {
            run_dat(name);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    if (!blocks) {
        skip("block*.raw");
    }
}

int main(void)
{
    static const uint8_t seed[32] = {1};
    wallet_init(seed); /* keys are read and written here, never made */
    printf("vectors in %s\n", vectors_folder());
    run_json("script_tests.json", script_tests);
    run_json("tx_valid.json", tx_valid);
    run_json("tx_invalid.json", tx_invalid);
    run_json("sighash.json", sighash_tests);
    run_json("taproot_tests.json", taproot_tests);
    run_json("bip341_wallet_vectors.json", bip341_wallet);
    run_csv("bip340_vectors.csv");
    run_json("base58_encode_decode.json", base58_tests);
    run_json("key_io_valid.json", key_io_valid);
    run_json("key_io_invalid.json", key_io_invalid);
    run_json("blockfilters.json", blockfilters);
    run_folder();
    printf("%zu passed, %zu failed, %zu skipped\n", (size_t)passed, (size_t)failed, skipped);
    return failed ? 1 : 0;
}
