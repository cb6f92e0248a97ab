/*
 * Fuzz target: a file for --loadblock, and the node that loads it. The input is a mask flag with its key,
 * then pieces: bytes as they come, zeros, a record around bytes, or a right block on one that came before.
 * The import ends, and the tip is no higher than there were right blocks.
 */
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define BLOCKS_MAX 64u

struct built {
    struct hash256 hash;
    uint32_t height;
};

static void put_record(struct buf *file, struct span bytes)
{
    buf_bytes(file, fuzz_params.magic, 4);
    buf_u32(file, (uint32_t)bytes.len);
    buf_bytes(file, bytes.data, bytes.len);
}

static size_t put_pieces(struct buf *file, struct cursor *c)
{
    struct built built[BLOCKS_MAX] = {{fuzz_params.genesis_hash, 0}};
    size_t count = 1;
    while (cursor_left(c)) {
        uint8_t what = cursor_u8(c), number = cursor_u8(c);
        if (what % 4 == 0) {
            struct span bytes = cursor_span(c, MIN(number, cursor_left(c)));
            buf_bytes(file, bytes.data, bytes.len);
        } else if (what % 4 == 1) {
            buf_extend(file, number);
        } else if (what % 4 == 2) {
            put_record(file, cursor_span(c, MIN(number, cursor_left(c))));
        } else if (count < BLOCKS_MAX) {
            const struct built *parent = &built[count - 1 - number % count];
            struct buf block = {0};
            size_t tx_len = MIN(what >> 2, cursor_left(c));
            put_block(&block, &parent->hash, parent->height + 1,
                      fuzz_params.genesis.time + (uint32_t)count * 60, cursor_span(c, tx_len));
            struct block_header header;
            struct cursor head = cursor_of(block.data, HEADER_BYTES);
            header_read(&header, &head);
            built[count].height = parent->height + 1;
            header_hash(&built[count].hash, &header);
            count++;
            put_record(file, buf_span(&block));
            buf_free(&block);
        }
    }
    return count - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const paths[] = {"blocks/blk00000.dat"};
    struct host host = {0};
    struct buf file = {0};
    struct cursor c = cursor_of(data, len);
    uint8_t key[8];
    bool masked = cursor_u8(&c) & 1;
    host_params();
    if (masked) {
        cursor_bytes(&c, key, sizeof key);
        host.import_key = span_of(key, sizeof key);
    }
    size_t blocks = c.failed ? 0 : put_pieces(&file, &c);
    for (size_t i = 0; masked && !c.failed && i < file.len; i++) {
        file.data[i] ^= key[i & 7];
    }
    host.import_file = buf_span(&file);
    host_open(&host, paths);
    for (int i = 0; i < 4 && !host.exited; i++) {
        host.now.mono_us += 1000000;
        host_event(&host, (struct event){.kind = EVENT_TIMER});
    }
    CHECK(host.exited);
    CHECK(chain_tip(node_chain(host.node))->height <= blocks);
    host_close(&host);
    buf_free(&file);
    return 0;
}
