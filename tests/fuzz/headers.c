/*
 * Fuzz target: headers of branches with little work (core/p2p/presync.c). The input makes chunks of headers,
 * each on a block or on the end of another chunk, and says them in any order, again, or spoiled. The tip
 * counts as the work of thousands of headers, and the allowance for side branches is as good as used up: the
 * node keeps no more of them than it may, unless their work was shown.
 */
#include "core/chain/chain_private.h"
#include "core/p2p/p2p_private.h"
#include "tests/fuzz/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define STEPS_MAX   16
#define CHUNKS_MAX  12u
#define BLOCKS      3u
#define ALLOWANCE   20000u /* of presync.c */
#define HEADER_WORK 2u     /* on regtest */

struct chunk {
    struct buf message;
    struct block_header last;
};

static void next_header(struct block_header *header, const struct block_header *parent, uint32_t salt)
{
    struct hash256 hash;
    *header = (struct block_header){
        .version = 0x20000000, .time = parent->time + 1, .bits = fuzz_params.genesis.bits};
    header_hash(&header->prev_hash, parent);
    store_le32(header->merkle_root.b, salt);
    for (header_hash(&hash, header); !pow_check(&hash, header->bits, &fuzz_params);) {
        header->nonce++;
        header_hash(&hash, header);
    }
}

static void make_chunk(struct chunk *chunk, const struct block_header *parent, uint32_t count, uint32_t salt)
{
    *chunk = (struct chunk){.last = *parent};
    buf_compact_size(&chunk->message, count);
    for (uint32_t i = 0; i < count; i++) {
        struct block_header next;
        next_header(&next, &chunk->last, salt);
        header_encode(buf_extend(&chunk->message, HEADER_BYTES), &next);
        buf_u8(&chunk->message, 0);
        chunk->last = next;
    }
}

static void spoil(struct buf *message, uint8_t how, uint16_t where)
{
    if (how % 8 == 1 && message->len) {
        message->data[where % message->len] ^= how;
    } else if (how % 8 == 2) {
        message->len -= MIN(message->len, where % 300u);
    }
}

/* More work than the tip's was shown, or is being stored. */
static bool is_shown(struct host *host)
{
    struct chain *chain = node_chain(host->node);
    bool shown = u256_compare(chain_best_header(chain)->work, chain_tip(chain)->work) > 0;
    for (size_t k = 0; k < PEERS; k++) {
        const struct peer *peer = host->peers[k] ? peer_find(node_p2p(host->node), host->peers[k]) : NULL;
        shown |= peer && peer->presync;
    }
    return shown;
}

/* Whether it was allowed to store what it likes; time that passes afterwards may end that. */
static bool one_step(struct host *host, struct chunk *chunks, uint32_t *made, struct cursor *c)
{
    uint8_t what = cursor_u8(c), which = cursor_u8(c), how = cursor_u8(c);
    uint16_t number = cursor_u16(c);
    size_t peer = what & 1;
    struct buf message = {0};
    struct chunk *chunk = *made ? &chunks[which % *made] : NULL;
    be_connected(host, peer, true);
    if (*made < CHUNKS_MAX && (what & 2 || !chunk)) {
        const struct block_entry *tip = chain_tip(node_chain(host->node));
        struct block_header parent;
        if (what & 4 && chunk) {
            parent = chunk->last;
        } else {
            uint8_t raw[HEADER_BYTES];
            block_entry_encode(raw, block_ancestor(tip, which % (tip->height + 1)));
            struct cursor header = cursor_of(raw, sizeof raw);
            header_read(&parent, &header);
        }
        chunk = &chunks[(*made)++];
        make_chunk(chunk, &parent, what & 8 ? 2000u : number % 2001u, which & 3);
    }
    buf_bytes(&message, chunk->message.data, chunk->message.len);
    spoil(&message, how, number);
    say(host, peer, "headers", buf_span(&message));
    buf_free(&message);
    bool shown = is_shown(host);
    if (how & 0x80) {
        host->now.mono_us += 1000000 * (int64_t)which;
        host_event(host, (struct event){.kind = EVENT_TIMER});
    }
    return shown || is_shown(host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct host host = {0};
    struct cursor c = cursor_of(data, len);
    struct chunk chunks[CHUNKS_MAX];
    uint32_t made = 0;
    host_open(&host, NULL);
    be_connected(&host, 0, true);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const struct block_entry *tip = chain_tip(node_chain(host.node));
        struct buf block = {0};
        put_block(&block, &tip->hash, tip->height + 1, tip->header.time + 1, span_of(NULL, 0));
        say(&host, 0, "block", buf_span(&block));
        buf_free(&block);
    }
    struct chain *chain = node_chain(host.node);
    struct p2p *p2p = node_p2p(host.node);
    uint32_t ahead = cursor_u16(&c) % 6000u, left = cursor_u8(&c);
    entry_of(chain_tip(chain))->e.work = u256_of((1 + BLOCKS + ahead) * HEADER_WORK);
    p2p->side_headers = ALLOWANCE - left;
    for (int i = 0; i < STEPS_MAX && cursor_left(&c); i++) {
        size_t before = chain->entry_count;
        bool shown = one_step(&host, chunks, &made, &c);
        CHECK(shown || chain->entry_count - before <= left);
        CHECK(!host.exited);
        CHECK(p2p_memory_bytes(p2p) <= p2p_memory_bytes_max(p2p));
    }
    while (made) {
        buf_free(&chunks[--made].message);
    }
    host_close(&host);
    return 0;
}
