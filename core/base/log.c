/* The logger's front: levels per category, one sink that the host provides. Formatting of lines is the
 * sink's. */
#include "core/base/base.h"

#include <stdatomic.h>
#include <stdio.h>

static log_sink *sink;
static void *sink_context;
static atomic_int levels[LOG_CATEGORY_COUNT] = {
    [LOG_NODE] = LOG_INFO,    [LOG_CHAIN] = LOG_INFO,  [LOG_NET] = LOG_INFO,
    [LOG_MEMPOOL] = LOG_INFO, [LOG_MINING] = LOG_INFO, [LOG_RPC] = LOG_INFO,
    [LOG_STORE] = LOG_INFO,   [LOG_POOL] = LOG_INFO,   [LOG_WALLET] = LOG_INFO,
};
static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};
static const char *const category_names[LOG_CATEGORY_COUNT] = {
    [LOG_NODE] = "node",       [LOG_CHAIN] = "chain",   [LOG_NET] = "net",
    [LOG_MEMPOOL] = "mempool", [LOG_MINING] = "mining", [LOG_RPC] = "rpc",
    [LOG_STORE] = "store",     [LOG_POOL] = "pool",     [LOG_WALLET] = "wallet",
};

void log_set_sink(log_sink *new_sink, void *context)
{
    sink = new_sink;
    sink_context = context;
}

void log_set_level(enum log_category category, enum log_level level)
{
    for (unsigned i = 0; i < LOG_CATEGORY_COUNT; i++) {
        if (category == LOG_CATEGORY_COUNT || category == i) {
            atomic_store_explicit(&levels[i], (int)level, memory_order_relaxed);
        }
    }
}

bool log_enabled(enum log_level level, enum log_category category)
{
    return sink && (int)level <= atomic_load_explicit(&levels[category], memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_parse(enum log_level *out, const char *text)
{
    for (unsigned i = 0; i < ARRAY_COUNT(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_category_name(enum log_category category)
{
    return category_names[category];
}

void log_write(enum log_level level, enum log_category category, const char *format, ...)
{
    if (!log_enabled(level, category)) {
        return;
    }
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sink(sink_context, level, category, text);
}
