/*
 * Fuzz target: messages of a peer as bytes, of any size and spoiled in any way. The input is a list of them:
 * the command (or none: bare bytes), how the frame is wrong, the payload. The same bytes go to two nodes, to
 * one as they are and to the other in pieces: both must have understood, answered and kept the same.
 */
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MESSAGES_MAX 40
#define PIECES_MAX   60u /* a millisecond each */
#define SECOND       INT64_C(1000000)
/* Between two messages: no number of them comes within PIECES_MAX milliseconds of whole seconds such as
 * requests wait for, so that a message in pieces comes on the same side of their end. */
#define STEP_US INT64_C(1370000)

enum spoiled { RIGHT, WRONG_SUM, WRONG_LENGTH, WRONG_MAGIC, CUT_SHORT, SPOILED_COUNT };

static void put_message(struct buf *out, size_t type, enum spoiled how, struct span payload)
{
    uint8_t sum[32];
    size_t at = out->len;
    const char *command = p2p_message_name(type);
    sha256d(sum, payload.data, payload.len);
    buf_bytes(out, fuzz_params.magic, 4);
    memcpy(buf_extend(out, 12), command, strlen(command));
    buf_u32(out, (uint32_t)payload.len + (how == WRONG_LENGTH));
    buf_bytes(out, sum, 4);
    buf_bytes(out, payload.data, payload.len);
    out->data[at + 20] ^= how == WRONG_SUM;
    out->data[at] ^= how == WRONG_MAGIC;
    out->len -= how == CUT_SHORT ? payload.len / 2 : 0;
}

static void hear(struct host *host, size_t number, struct span bytes, size_t piece)
{
    struct cursor c = cursor_of(bytes.data, bytes.len);
    host->now.mono_us = SECOND + (int64_t)number * STEP_US;
    host->now.unix_us = (INT64_C(1700000000) + (int64_t)number) * SECOND;
    host_event(host, (struct event){.kind = EVENT_TIMER});
    while (cursor_left(&c)) {
        say_bytes(host, 0, cursor_span(&c, MIN(piece, cursor_left(&c))));
    }
    CHECK(!host->exited);
    CHECK(p2p_memory_bytes(node_p2p(host->node)) <= p2p_memory_bytes_max(node_p2p(host->node)));
}

static void must_agree(struct host *a, struct host *b)
{
    static struct p2p_peer_info infos[2];
    size_t count = p2p_peers(node_p2p(a->node), &infos[0], 1);
    CHECK(count == p2p_peers(node_p2p(b->node), &infos[1], 1));
    CHECK(a->peers[0] == b->peers[0]);
    for (size_t type = 0; count && type < P2P_MESSAGE_TYPES; type++) {
        CHECK(infos[0].received_by_type[type] == infos[1].received_by_type[type]);
        CHECK(infos[0].sent_by_type[type] == infos[1].sent_by_type[type]);
    }
    CHECK(!count || (infos[0].bytes_received == infos[1].bytes_received &&
                     infos[0].addrs_processed == infos[1].addrs_processed &&
                     infos[0].synced_headers == infos[1].synced_headers));
    const struct chain *chain_a = node_chain(a->node), *chain_b = node_chain(b->node);
    CHECK(hash256_equal(&chain_tip(chain_a)->hash, &chain_tip(chain_b)->hash));
    CHECK(hash256_equal(&chain_best_header(chain_a)->hash, &chain_best_header(chain_b)->hash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct host whole = {0}, cut = {0};
    struct cursor c = cursor_of(data, len);
    bool politely = cursor_u8(&c) & 1;
    host_open(&whole, NULL);
    host_open(&cut, NULL);
    be_connected(&whole, 0, politely);
    be_connected(&cut, 0, politely);
    for (size_t i = 0; i < MESSAGES_MAX && cursor_left(&c) && whole.peers[0]; i++) {
        size_t type = cursor_u8(&c);
        enum spoiled how = (enum spoiled)(cursor_u8(&c) % SPOILED_COUNT);
        size_t piece = cursor_u8(&c), size = cursor_u16(&c);
        struct span payload = cursor_span(&c, MIN(size, cursor_left(&c)));
        struct buf bytes = {0};
        if (type < P2P_MESSAGE_TYPES - 1) {
            put_message(&bytes, type, how, payload);
        } else {
            buf_bytes(&bytes, payload.data, payload.len);
        }
        hear(&whole, 1 + i, buf_span(&bytes), MAX(bytes.len, (size_t)1));
        hear(&cut, 1 + i, buf_span(&bytes), MAX(MAX(piece, bytes.len / PIECES_MAX), (size_t)1));
        buf_free(&bytes);
        must_agree(&whole, &cut);
    }
    host_close(&whole);
    host_close(&cut);
    return 0;
}
