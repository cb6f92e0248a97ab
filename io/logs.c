/* Where log lines go: standard error, one write per line, text or JSON. Levels live in core/base. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"

static struct {
    char program[32];
    bool json;
} logs;

static void put_clean(struct buf *line, const char *text, bool json)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            buf_u8(line, ' '); /* names that peers choose must not forge lines */
        } else if (json && (*c == '"' || *c == '\\')) {
            buf_u8(line, '\\');
            buf_u8(line, *c);
        } else if (json && *c >= 0x80) {
            buf_printf(line, "\\u%04x", *c);
        } else {
            buf_u8(line, *c);
        }
    }
}

static void put_time(struct buf *line)
{
    struct timespec now;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(line, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

static void sink(void *context, enum log_level level, enum log_category category, const char *text)
{
    (void)context;
    struct buf line = {0};
    if (logs.json) {
        buf_printf(&line, "{\"time\":\"");
        put_time(&line);
        buf_printf(&line, "\",\"program\":\"%s\",\"level\":\"%s\",\"category\":\"%s\",\"message\":\"",
                   logs.program, log_level_name(level), log_category_name(category));
        put_clean(&line, text, true);
        buf_printf(&line, "\"}\n");
    } else {
        put_time(&line);
        buf_printf(&line, " %s %s %s: ", logs.program, log_level_name(level), log_category_name(category));
        put_clean(&line, text, false);
        buf_u8(&line, '\n');
    }
    ssize_t written = write(STDERR_FILENO, line.data, line.len);
    (void)written; /* nobody is left to be told */
    buf_free(&line);
}

void logs_begin(const char *program, bool json, enum log_level level)
{
    snprintf(logs.program, sizeof logs.program, "%s", program);
    logs.json = json;
    log_set_level(LOG_CATEGORY_COUNT, level);
    log_set_sink(sink, NULL);
}
