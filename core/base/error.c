/* The one error type: filling it in, and the end of a program whose own invariant broke. */
#include "core/base/base.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "quarry: internal error at %s:%d: %s\n", file, line, condition);
    abort();
}

bool error_set(struct error *error, enum error_kind kind, const char *word, const char *format, ...)
{
    if (!error) {
        return false;
    }
    error->kind = kind;
    snprintf(error->word, sizeof error->word, "%s", word ? word : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return false;
}

void error_clear(struct error *error)
{
    *error = (struct error){.kind = ERROR_NONE};
}
