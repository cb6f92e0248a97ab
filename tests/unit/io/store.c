/* The store: lock, identity, batches, files, snapshots. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <rocksdb/c.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

static char folder[64];
static struct chain_params params;
static struct error error;

static void begin(void)
{
    strcpy(folder, "/tmp/quarry-store.XXXXXX");
    cr_assert(mkdtemp(folder));
    cr_assert(chain_params_init(&params, CHAIN_REGTEST, NULL, &error));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void end(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    chain_params_free(&params);
}

TestSuite(store, .init = begin, .fini = end);

static void not_told(void *context, struct job *job)
{
    (void)context, (void)job;
}

static void put_in(struct store *store, enum column_family cf, const char *key, const char *value, bool sync)
{
    struct job *job = job_new(JOB_COMMIT, not_told, NULL);
    if (value) {
        kv_put(&job->commit.batch, cf, span_of(key, strlen(key)), span_of(value, strlen(value)));
    } else {
        kv_delete(&job->commit.batch, cf, span_of(key, strlen(key)));
    }
    job->commit.sync = sync;
    store_run(store, job, NULL);
    cr_assert_not(job->failed, "%s", job->error.text);
    job_free(job);
}

static void put(struct store *store, const char *key, const char *value, bool sync)
{
    put_in(store, CF_META, key, value, sync);
}

static bool same_in(struct store *store, enum column_family cf, const char *key, const char *value)
{
    struct store_reader reads;
    struct buf got = {0};
    store_reads(store, &reads);
    bool found = reads.get(reads.context, cf, span_of(key, strlen(key)), &got);
    bool ok = value ? found && span_equal(buf_span(&got), span_of(value, strlen(value))) : !found;
    buf_free(&got);
    return ok;
}

static bool same(struct store *store, const char *key, const char *value)
{
    return same_in(store, CF_META, key, value);
}

Test(store, keeps_what_is_committed)
{
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    put(store, "a", "1", false);
    put(store, "b", "2", true);
    put(store, "a", NULL, true);
    cr_assert(same(store, "a", NULL) && same(store, "b", "2"));
    store_close(store);
    store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    cr_assert(same(store, "a", NULL) && same(store, "b", "2"));
    store_close(store);
}

/* Of the thread that compacts; -1: there is none yet. */
static int compaction_policy(void)
{
    int policy = -1;
    DIR *tasks = opendir("/proc/self/task");
    cr_assert(tasks);
    for (const struct dirent *task; (task = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof name, file) && strcmp(name, "rocksdb:low\n") == 0) {
            policy = sched_getscheduler((pid_t)strtol(task->d_name, NULL, 10));
        }
        if (file) {
            fclose(file);
        }
    }
    closedir(tasks);
    return policy;
}

/* Every opening leaves a table; five with the same rows are compacted by the next. */
Test(store, compactions_keep_the_rows_and_give_way)
{
    enum { OPENINGS = 6, COMMITS_MAX = 200000 };
    struct store *store = NULL;
    char value[2] = "0";
    for (int i = 0; i < OPENINGS; i++) {
        store_close(store);
        store = store_open(folder, &params, &error);
        cr_assert(store, "%s", error.text);
        value[0] = (char)('0' + i);
        put(store, "a", value, true);
        put(store, "z", value, true);
        put(store, value, "own", true);
    }
    for (int i = 0; compaction_policy() < 0 && i < COMMITS_MAX; i++) {
        put(store, "b", "1", false);
    }
    cr_assert_eq(compaction_policy(), SCHED_OTHER);
    put(store, "b", "2", false);
    cr_assert_eq(compaction_policy(), SCHED_OTHER, "as long as nobody hashes");
    store_compactions_yield(store);
    put(store, "b", "3", false);
    cr_assert_eq(compaction_policy(), SCHED_IDLE);
    for (int i = 0; i < OPENINGS; i++) {
        value[0] = (char)('0' + i);
        cr_assert(same(store, value, "own"));
    }
    cr_assert(same(store, "a", value) && same(store, "z", value) && same(store, "b", "3"));
    store_close(store);
}

Test(store, second_opener_is_refused)
{
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store);
    cr_assert_null(store_open(folder, &params, &error));
    cr_assert_eq(error.kind, ERROR_LOCKED);
    cr_assert(strstr(error.text, folder), "%s", error.text);
    store_close(store);
    store = store_open(folder, &params, &error);
    cr_assert(store, "the lock must go with its holder: %s", error.text);
    store_close(store);
}

Test(store, foreign_network_is_refused)
{
    struct chain_params other;
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store);
    store_close(store);
    cr_assert(chain_params_init(&other, CHAIN_MAIN, NULL, &error));
    cr_assert_null(store_open(folder, &other, &error));
    cr_assert_eq(error.kind, ERROR_LOCKED);
    cr_assert(strstr(error.text, "another network"), "%s", error.text);
    chain_params_free(&other);
}

/* All signets have one genesis block: the challenge tells them apart. */
Test(store, foreign_signet_is_refused)
{
    static const uint8_t anyone = 0x51;
    struct chain_params public, own;
    cr_assert(chain_params_init(&public, CHAIN_SIGNET, NULL, &error));
    cr_assert(chain_params_init(&own, CHAIN_SIGNET, NULL, &error));
    chain_params_set_challenge(&own, span_of(&anyone, 1));
    struct store *store = store_open(folder, &public, &error);
    cr_assert(store, "%s", error.text);
    store_close(store);
    cr_assert_null(store_open(folder, &own, &error));
    cr_assert_eq(error.kind, ERROR_LOCKED);
    cr_assert(strstr(error.text, "another network"), "%s", error.text);
    store = store_open(folder, &public, &error);
    cr_assert(store, "%s", error.text);
    store_close(store);
    chain_params_free(&public);
    chain_params_free(&own);
}

Test(store, newer_format_is_refused)
{
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store);
    put(store, "format", "\x09\x00\x01\x01", true);
    store_close(store);
    cr_assert_null(store_open(folder, &params, &error));
    cr_assert_eq(error.kind, ERROR_LOCKED);
    cr_assert(strstr(error.text, "newer"), "%s", error.text);
}

Test(store, folder_that_cannot_be)
{
    cr_assert_null(store_open("/proc/quarry/nowhere", &params, &error));
    cr_assert_eq(error.kind, ERROR_IO);
    cr_assert(strstr(error.text, "/proc/quarry"), "%s", error.text);
}

static bool count_rows(void *context, struct span key, struct span value)
{
    size_t *count = context;
    cr_assert_eq(key.data[0], 'p');
    cr_assert_eq(value.len, 1);
    return ++*count < 2;
}

/* ---- Resets that were interrupted -------------------------------------------------------------------- */

/* By RocksDB itself: the store has no way to stop in between. */
static void drop_family(enum column_family cf)
{
    char path[96], *problem = NULL;
    size_t count;
    snprintf(path, sizeof path, "%s/chainstate", folder);
    rocksdb_options_t *options = rocksdb_options_create();
    char **names = rocksdb_list_column_families(options, path, &count, &problem);
    cr_assert_null(problem);
    rocksdb_column_family_handle_t *handles[CF_COUNT + 1];
    const rocksdb_options_t *all_options[CF_COUNT + 1];
    cr_assert_eq(count, CF_COUNT + 1);
    for (size_t i = 0; i < count; i++) {
        all_options[i] = options;
    }
    rocksdb_t *db = rocksdb_open_column_families(options, path, (int)count, (const char *const *)names,
                                                 all_options, handles, &problem);
    cr_assert_null(problem);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], column_family_names[cf]) == 0) {
            rocksdb_drop_column_family(db, handles[i], &problem);
            cr_assert_null(problem);
        }
        rocksdb_column_family_handle_destroy(handles[i]);
    }
    rocksdb_close(db);
    rocksdb_list_column_families_destroy(names, count);
    rocksdb_options_destroy(options);
}

/* The process was killed behind the mark; where `dropped` is a family, after that one was dropped too. */
static void interrupted(const char *mark, enum column_family dropped)
{
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    for (enum column_family cf = 0; cf < CF_COUNT; cf++) {
        put_in(store, cf, "best", "row", true);
    }
    put(store, "resetting", mark, true);
    store_close(store);
    if (dropped < CF_COUNT) {
        drop_family(dropped);
    }
    store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    for (enum column_family cf = 0; cf < CF_COUNT; cf++) {
        bool stays = cf == CF_INDEX && *mark == 'c' && dropped != CF_INDEX;
        cr_expect(same_in(store, cf, "best", stays ? "row" : NULL), "mark %s, %s", mark,
                  column_family_names[cf]);
    }
    cr_expect(same(store, "resetting", NULL));
    put(store, "best", "new", true);
    store_close(store);
    store = store_open(folder, &params, &error);
    cr_assert(store, "%s", error.text);
    cr_expect(same(store, "best", "new"), "and it is not reset once more");
    put(store, "best", NULL, true);
    store_close(store);
}

Test(store, a_reset_that_was_interrupted_is_ended_by_the_next_opening)
{
    static const char *const marks[] = {"c", "i"};
    for (size_t i = 0; i < ARRAY_COUNT(marks); i++) {
        interrupted(marks[i], CF_COUNT);
        for (enum column_family cf = 0; cf < CF_COUNT; cf++) {
            if (cf != CF_META && (cf != CF_INDEX || *marks[i] == 'i')) {
                interrupted(marks[i], cf);
            }
        }
    }
}

Test(store, rows_by_prefix)
{
    struct store *store = store_open(folder, &params, &error);
    struct store_reader reads;
    size_t count = 0;
    cr_assert(store);
    put(store, "o", "x", false);
    put(store, "p1", "x", false);
    put(store, "p2", "x", false);
    put(store, "p3", "x", false);
    store_reads(store, &reads);
    reads.each(reads.context, CF_META, span_of("p", 1), count_rows, &count);
    cr_assert_eq(count, 2, "the row function's false must end the walk");
    store_close(store);
}

static struct job *file_job(enum job_kind kind, uint64_t offset, const char *bytes, size_t len)
{
    struct job *job = job_new(kind, not_told, NULL);
    job->io.file = FILE_BLOCKS;
    job->io.number = 7;
    job->io.offset = offset;
    job->io.len = len;
    job->io.data = bytes ? mem_dup(bytes, len) : NULL;
    return job;
}

Test(store, block_files)
{
    struct store *store = store_open(folder, &params, &error);
    struct store_reader reads;
    uint8_t two[2];
    cr_assert(store);
    struct job *job = file_job(JOB_WRITE, 4, "quarry", 6);
    store_run(store, job, NULL);
    cr_assert_not(job->failed, "%s", job->error.text);
    job_free(job);
    put(store, "a", "1", true); /* syncs the file and its folder */
    job = file_job(JOB_READ, 6, NULL, 3);
    store_run(store, job, NULL);
    cr_assert_not(job->failed);
    cr_assert_arr_eq(job->io.data, "arr", 3);
    job_free(job);
    job = file_job(JOB_READ, 6, NULL, 300);
    store_run(store, job, NULL);
    cr_assert(job->failed, "a short read is a failure");
    job_free(job);
    store_reads(store, &reads);
    cr_assert_eq(reads.file_size(reads.context, FILE_BLOCKS, 7), 10);
    cr_assert_eq(reads.file_size(reads.context, FILE_BLOCKS, 8), 0);
    cr_assert(reads.file_read(reads.context, FILE_BLOCKS, 7, 4, two, 2));
    cr_assert_arr_eq(two, "qu", 2);
    cr_assert_not(reads.file_read(reads.context, FILE_UNDO, 7, 0, two, 2));
    store_close(store);
}

static void scanned(void *scan, struct span key, struct span value)
{
    (void)value;
    if (key.data[0] == 's') {
        ++*(size_t *)scan;
    }
}

Test(store, scan_sees_its_snapshot)
{
    struct store *store = store_open(folder, &params, &error);
    size_t rows = 0;
    cr_assert(store);
    put(store, "s1", "x", false);
    struct job *job = job_new(JOB_SCAN, not_told, NULL);
    job->scan.cf = CF_META;
    job->scan.row = scanned;
    job->scan.scan = &rows;
    void *snapshot = store_snapshot(store);
    put(store, "s2", "x", false);
    put(store, "s1", NULL, false);
    store_run(store, job, snapshot);
    cr_assert_not(job->failed);
    cr_assert_eq(rows, 1);
    job_free(job);
    store_close(store);
}

Test(store, coins_that_are_absent)
{
    struct store *store = store_open(folder, &params, &error);
    cr_assert(store);
    struct job *job = job_new(JOB_READ_COINS, not_told, NULL);
    job->coins.count = 2;
    job->coins.outpoints = mem_alloc(2 * sizeof *job->coins.outpoints);
    job->coins.values = mem_alloc(2 * sizeof *job->coins.values);
    job->coins.outpoints[1].index = 1;
    uint8_t key[COIN_KEY_BYTES];
    coin_key(key, &job->coins.outpoints[1]);
    struct job *commit = job_new(JOB_COMMIT, not_told, NULL);
    kv_put(&commit->commit.batch, CF_COINS, span_of(key, sizeof key), span_of("coin", 4));
    store_run(store, commit, NULL);
    job_free(commit);
    store_run(store, job, NULL);
    cr_assert_not(job->failed);
    cr_assert_null(job->coins.values[0].data);
    cr_assert(span_equal(job->coins.values[1], span_of("coin", 4)));
    job_free(job);
    store_close(store);
}

Test(files, private_and_whole)
{
    char path[128];
    struct stat info;
    struct buf text = {0};
    strcpy(folder, "/tmp/quarry-store.XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/secret", folder);
    cr_assert(file_write_private(path, span_of("old", 3), &error));
    cr_assert(file_write_private(path, span_of("new!", 4), &error));
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    cr_assert(file_read_all(path, 4, &text, &error));
    cr_assert(span_equal(buf_span(&text), span_of("new!", 4)));
    buf_clear(&text);
    cr_assert_not(file_read_all(path, 3, &text, &error));
    cr_assert_eq(error.kind, ERROR_LIMIT);
    buf_free(&text);
    bool made = true;
    cr_assert(file_make_private(path, span_of("later", 5), &made, &error) && !made);
    cr_assert(unlink(path) == 0 && file_make_private(path, span_of("first", 5), &made, &error) && made);
    cr_assert_not(file_make_private("/proc/nothing/here", span_of("x", 1), &made, &error));
    cr_assert_not(file_write_private("/proc/nothing/here", span_of("x", 1), &error));
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

Test(files, key_files_grow)
{
    char path[128];
    struct key_file_entry entry;
    struct buf text = {0};
    static const uint8_t seed[32] = {1};
    wallet_init(seed);
    strcpy(folder, "/tmp/quarry-store.XXXXXX");
    cr_assert(mkdtemp(folder));
    cr_assert(chain_params_init(&params, CHAIN_CLUSTER, NULL, &error));
    snprintf(path, sizeof path, "%s/wallet", folder);
    cr_assert(key_file_add(path, "first", &params, &entry, &error), "%s", error.text);
    cr_assert(key_file_add(path, "second", &params, &entry, &error), "%s", error.text);
    cr_assert(file_read_all(path, 100000, &text, &error));
    struct key_file_entry read[4];
    cr_assert_eq(key_file_parse(read, 4, buf_span(&text), &params, &error), 2);
    cr_assert_arr_eq(read[1].key.secret, entry.key.secret, 32);
    cr_assert_str_eq(read[0].label, "first");
    buf_free(&text);
    cr_assert(file_write_private(path, span_of("not keys\n", 9), &error));
    cr_assert_not(key_file_add(path, "third", &params, &entry, &error),
                  "a file that cannot be read is not touched");
    chain_params_free(&params);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
