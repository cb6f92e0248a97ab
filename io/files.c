/* Small files that people and wallets own, folders, and the operating system's randomness. Not the chain's
 * files: those are store.c's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"

#define KEY_FILE_BYTES_MAX (4u << 20)
#define KEYS_MAX           10000u

void random_bytes(void *out, size_t len)
{
    uint8_t *at = out;
    while (len) {
        ssize_t got = getrandom(at, len, 0);
        CHECK(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

bool file_read_all(const char *path, size_t bytes_max, struct buf *out, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, errno == ENOENT ? ERROR_MISSING : ERROR_IO, NULL, "%.200s: %s", path,
                         strerror(errno));
    }
    bool ok = true;
    for (;;) {
        buf_reserve(out, 65536);
        ssize_t got = read(fd, out->data + out->len, 65536);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            ok = error_set(error, ERROR_IO, NULL, "%.200s: %s", path, strerror(errno));
            break;
        }
        out->len += (size_t)got;
        if (out->len > bytes_max) {
            ok = error_set(error, ERROR_LIMIT, NULL, "%.200s is larger than %zu bytes", path, bytes_max);
            break;
        }
        if (got == 0) {
            break;
        }
    }
    close(fd);
    return ok;
}

static bool write_all(int fd, struct span bytes)
{
    while (bytes.len) {
        ssize_t put = write(fd, bytes.data, bytes.len);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        bytes.data += put;
        bytes.len -= (size_t)put;
    }
    return true;
}

static void sync_folder_of(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Writes, syncs and closes; fd -1: it could not be opened. */
static bool write_whole(int fd, struct span bytes)
{
    bool ok = fd >= 0 && write_all(fd, bytes) && fsync(fd) == 0;
    if (fd >= 0) {
        ok = close(fd) == 0 && ok;
    }
    return ok;
}

bool file_write_private(const char *path, struct span bytes, struct error *error)
{
    struct buf beside = {0};
    buf_printf(&beside, "%s.new%c", path, 0);
    const char *name = (const char *)beside.data;
    bool ok = write_whole(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), bytes) &&
              rename(name, path) == 0;
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot write %.200s: %s", path, strerror(errno));
        unlink(name);
    } else {
        sync_folder_of(path);
    }
    buf_free(&beside);
    return ok;
}

bool file_write_piece(const char *path, uint64_t offset, struct span bytes, bool last, struct error *error)
{
    struct buf beside = {0};
    buf_printf(&beside, "%s.new%c", path, 0);
    const char *name = (const char *)beside.data;
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | (offset ? 0 : O_TRUNC), 0600);
    bool ok = fd >= 0 && lseek(fd, (off_t)offset, SEEK_SET) >= 0 && write_all(fd, bytes) &&
              (!last || fsync(fd) == 0);
    if (fd >= 0) {
        ok = close(fd) == 0 && ok;
    }
    ok = ok && (!last || rename(name, path) == 0);
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot write %.200s: %s", path, strerror(errno));
        unlink(name);
    } else if (last) {
        sync_folder_of(path);
    }
    buf_free(&beside);
    return ok;
}

bool file_make_private(const char *path, struct span bytes, bool *made, struct error *error)
{
    struct buf beside = {0};
    buf_printf(&beside, "%s.XXXXXX%c", path, 0);
    char *name = (char *)beside.data;
    bool ok = write_whole(mkostemp(name, O_CLOEXEC), bytes); /* nobody else's: mode 0600 */
    *made = ok && link(name, path) == 0;
    ok = ok && (*made || errno == EEXIST);
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot write %.200s: %s", path, strerror(errno));
    }
    unlink(name);
    sync_folder_of(path);
    buf_free(&beside);
    return ok;
}

bool folder_make(const char *path, struct error *error)
{
    char *copy = mem_strdup(path);
    bool ok = true;
    for (char *at = copy + 1; ok && *copy; at++) {
        if (*at == '/' || !*at) {
            char kept = *at;
            *at = 0;
            ok = mkdir(copy, 0700) == 0 || errno == EEXIST;
            *at = kept;
            if (!kept) {
                break;
            }
        }
    }
    struct stat info;
    if (ok && stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        ok = false;
        errno = ENOTDIR;
    }
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot make the folder %.200s: %s", path, strerror(errno));
    }
    mem_free(copy);
    return ok;
}

static bool new_key(struct key_file_entry *entry, const char *label)
{
    *entry = (struct key_file_entry){.created_unix_s = time(NULL)};
    snprintf(entry->label, sizeof entry->label, "%s", label);
    uint8_t secret[32];
    bool ok = false;
    while (!ok) {
        random_bytes(secret, sizeof secret);
        ok = key_from_secret(&entry->key, secret);
    }
    mem_wipe(secret, sizeof secret);
    return ok;
}

bool key_file_add(const char *path, const char *label, const struct chain_params *params,
                  struct key_file_entry *entry, struct error *error)
{
    struct buf text = {0}, lock_name = {0};
    struct error problem = {0};
    buf_printf(&lock_name, "%s.lock%c", path, 0);
    int lock = open((const char *)lock_name.data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool ok = lock >= 0 && flock(lock, LOCK_EX) == 0;
    if (!ok) {
        error_set(error, ERROR_IO, NULL, "cannot lock %.200s: %s", (const char *)lock_name.data,
                  strerror(errno));
    }
    if (ok && !file_read_all(path, KEY_FILE_BYTES_MAX, &text, &problem) && problem.kind != ERROR_MISSING) {
        ok = false;
        *error = problem;
    }
    if (ok && text.len) { /* never add to what we cannot read */
        struct key_file_entry *known = mem_alloc(KEYS_MAX * sizeof *known);
        error_clear(&problem);
        key_file_parse(known, KEYS_MAX, buf_span(&text), params, &problem);
        mem_wipe(known, KEYS_MAX * sizeof *known);
        mem_free(known);
        if (problem.kind) {
            ok = error_set(error, problem.kind, NULL, "%.100s: %.120s", path, problem.text);
        }
    }
    if (ok && new_key(entry, label)) {
        key_file_append(&text, entry, params);
        ok = file_write_private(path, buf_span(&text), error);
    }
    if (text.data) {
        mem_wipe(text.data, text.capacity);
    }
    buf_free(&text);
    buf_free(&lock_name);
    if (lock >= 0) {
        close(lock);
    }
    return ok;
}
