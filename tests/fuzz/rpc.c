/*
 * Fuzz target: JSON-RPC. Every line of the input is one request of its own; an empty line lets a second pass.
 * Each request is answered once, with JSON, at the latest when the node ends.
 */
#include <jansson.h>

#include "core/wallet/wallet.h"
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define REQUESTS_MAX 64u
#define BLOCKS       4u

static uint32_t answers[REQUESTS_MAX];

static void replied(uint64_t rpc, struct span json)
{
    CHECK(rpc < REQUESTS_MAX && answers[rpc] == 0);
    answers[rpc]++;
    json_t *value = json_loadb((const char *)json.data, json.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    CHECK(value || json.len == 0);
    json_decref(value);
}

static void grow(struct host *host)
{
    be_connected(host, 0, true);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const struct block_entry *tip = chain_tip(node_chain(host->node));
        struct buf block = {0};
        put_block(&block, &tip->hash, tip->height + 1, tip->header.time + 600, span_of(NULL, 0));
        say(host, 0, "block", buf_span(&block));
        buf_free(&block);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t seed[32] = {1};
    struct host host = {.replied = replied};
    uint64_t asked = 0;
    memset(answers, 0, sizeof answers);
    wallet_init(seed);
    host_open(&host, NULL);
    grow(&host);
    for (size_t at = 0; at < len && asked < REQUESTS_MAX && !host.exited;) {
        const uint8_t *end = memchr(data + at, '\n', len - at);
        size_t line = end ? (size_t)(end - data) - at : len - at;
        if (line) {
            char *text = mem_dup(data + at, line); /* not a byte more, for the sanitizer */
            host_event(&host,
                       (struct event){.kind = EVENT_RPC, .rpc = asked++, .rpc_text = text, .rpc_len = line});
            mem_free(text);
        } else {
            host.now.mono_us += 1000000;
            host.now.unix_us += 1000000;
            host_event(&host, (struct event){.kind = EVENT_TIMER});
        }
        at += line + 1;
    }
    host_event(&host, (struct event){.kind = EVENT_STOP});
    for (uint64_t i = 0; i < asked; i++) {
        CHECK(answers[i] == 1);
    }
    host_close(&host);
    return 0;
}
