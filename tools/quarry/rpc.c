/* One method of a node: words of a command line to a JSON request, and the answer printed as bitcoin-cli
 * prints it. Numbers are shown as the node wrote them (50.00000000 stays that), hence the answer is laid out
 * as text. */
#include <stdlib.h>

#include "tools/quarry/quarry.h"

/* ---- Layout: JSON text, indented by two -------------------------------------------------------------- */

static size_t string_len(const char *at) /* of the JSON string at `at`, quotes included */
{
    size_t len = 1;
    while (at[len] && at[len] != '"') {
        len += at[len] == '\\' && at[len + 1] ? 2 : 1;
    }
    return len + (at[len] == '"');
}

/* The end of the value at `at`: at its depth, before the comma or bracket that follows. */
static const char *value_end(const char *at)
{
    int depth = 0;
    while (*at) {
        if (*at == '"') {
            at += string_len(at);
            continue;
        }
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (depth < 0 || (depth == 0 && *at == ',')) {
            break;
        }
        at++;
    }
    return at;
}

/* The member `key` of the object at `object`, as text; NULL when absent. */
static const char *member_text(const char *object, const char *key, size_t *len)
{
    size_t key_len = strlen(key);
    const char *at = object + (*object == '{');
    while (*at == '"') {
        size_t name_len = string_len(at);
        const char *value = at + name_len + 1, *end = value_end(value);
        if (name_len == key_len + 2 && memcmp(at + 1, key, key_len) == 0) {
            *len = (size_t)(end - value);
            return value;
        }
        at = end + (*end == ',');
    }
    return NULL;
}

static void break_line(int depth)
{
    printf("\n%*s", 2 * depth, "");
}

static void print_indented(const char *at, const char *end)
{
    int depth = 0;
    while (at < end) {
        size_t len = *at == '"' ? string_len(at) : 1;
        if (*at == '}' || *at == ']') {
            break_line(--depth);
        }
        fwrite(at, 1, len, stdout);
        if (*at == '{' || *at == '[') {
            depth++;
            if (at[1] != '}' && at[1] != ']') {
                break_line(depth);
            }
        } else if (*at == ',') {
            break_line(depth);
        } else if (*at == ':') {
            putchar(' ');
        }
        at += len;
    }
    putchar('\n');
}

/* ---- Requests ---------------------------------------------------------------------------------------- */

static json_t *parse_reply(struct client *client, const char *method, json_t *params, struct buf *text,
                           struct error *error)
{
    json_t *request = json_pack("{s:s, s:i, s:s, s:o?}", "jsonrpc", "1.0", "id", 1, "method", method,
                                "params", params ? params : json_array());
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_t *reply = NULL;
    json_error_t problem;
    if (!line) {
        error_set(error, ERROR_PARSE, NULL, "an argument is not valid UTF-8");
    } else if (client_call(client, span_of(line, strlen(line)), text, error)) {
        buf_u8(text, 0);
        reply = json_loads((const char *)text->data, 0, &problem);
        if (!json_is_object(reply)) {
            json_decref(reply);
            reply = NULL;
            error_set(error, ERROR_PARSE, NULL, "the node's answer is no JSON object: %s", problem.text);
        }
    }
    free(line);
    json_decref(request);
    return reply;
}

json_t *rpc_ask(struct client *client, const char *method, json_t *params, struct error *error)
{
    struct buf text = {0};
    json_t *reply = parse_reply(client, method, params, &text, error), *result = NULL;
    json_t *failure = json_object_get(reply, "error");
    if (json_is_object(failure)) {
        const char *message = json_string_value(json_object_get(failure, "message"));
        error_set(error, ERROR_IO, NULL, "%s: %s", method, message ? message : "error");
    } else if (reply) {
        result = json_incref(json_object_get(reply, "result"));
    }
    json_decref(reply);
    buf_free(&text);
    return result;
}

/* A word of the command line: text where the method wants text, JSON otherwise; what is no JSON goes as text,
 * and the node says what it wants instead. */
static json_t *parameter(const char *method, size_t index, const char *word)
{
    json_t *value = rpc_argument_is_text(method, index) ? NULL : json_loads(word, JSON_DECODE_ANY, NULL);
    return value ? value : json_string(word);
}

static int print_failure(const json_t *failure)
{
    const char *message = json_string_value(json_object_get(failure, "message"));
    json_int_t code = json_integer_value(json_object_get(failure, "code"));
    fflush(stdout);
    fprintf(stderr, "error code: %lld\nerror message:\n%s\n", (long long)code, message ? message : "");
    int status = (int)((code < 0 ? -code : code) & 0xff);
    return status ? status : STATUS_RUNTIME;
}

static void print_result(const json_t *reply, const char *text)
{
    const json_t *result = json_object_get(reply, "result");
    size_t len = 0;
    const char *value = member_text(text, "result", &len);
    if (json_is_string(result)) {
        puts(json_string_value(result));
    } else if (value && !json_is_null(result)) {
        print_indented(value, value + len);
    }
}

int rpc_command(const struct invocation *run, const char *method)
{
    struct error error = {0};
    struct buf text = {0};
    char *path = settings_socket_path(run->settings);
    struct client *client = client_open(path, &error);
    int status = STATUS_RUNTIME;
    if (!client) {
        fprintf(stderr, "error: %s\n", error.text);
    } else {
        json_t *params = json_array();
        for (int i = 0; i < run->argc; i++) {
            json_array_append_new(params, parameter(method, (size_t)i, run->argv[i]));
        }
        json_t *reply = parse_reply(client, method, params, &text, &error);
        if (!reply) {
            fprintf(stderr, "error: %s\n", error.text);
        } else if (json_is_object(json_object_get(reply, "error"))) {
            status = print_failure(json_object_get(reply, "error"));
        } else {
            print_result(reply, (const char *)text.data);
            status = STATUS_OK;
        }
        json_decref(reply);
    }
    client_close(client);
    mem_free(path);
    buf_free(&text);
    return status;
}
