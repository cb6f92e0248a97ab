/*
 * Peers that lie. A liar has an address and a clock but no core: it speaks the protocol just well enough to
 * be listened to, knows the chain as anybody can, and pays for its lies with real proof of work. It announces
 * blocks that break rules, hands out damaged copies of good ones, poisons compact blocks, withholds what it
 * has announced, tells everybody something else, floods, drips, and says nonsense. Not here: more hash power
 * than the honest nodes have together, which would be no lie.
 */
#include <stdio.h>

#include "hashing/kernels/kernels.h"
#include "tests/sim/sim.h"

#define LINES_MAX     8u
#define LIES_KEPT     64u
#define FLOOD_HEADERS 500u
#define WITNESS_BLOCK (2u | 0x40000000u)

struct line { /* one connection of a liar */
    bool used, open, greeted;
    peer_id peer;
    uint32_t victim; /* index of the node at the other end; UINT32_MAX: it dialled us */
    struct buf in;
    struct buf drip;     /* left of a message that is sent a byte at a time */
    uint64_t reply_kind; /* how it answers when it is asked for a block's transactions */
};

struct lie { /* a block that it may be asked for */
    struct hash256 hash;
    struct buf raw;
    bool withheld;
};

struct liar {
    struct line lines[LINES_MAX];
    struct lie lies[LIES_KEPT];
    size_t lie_count;
    uint64_t counter;
    peer_id next_dial;
};

/* ---- Messages ---------------------------------------------------------------------------------------- */

static void say(struct sim_node *n, struct line *line, const char *command, struct buf *payload)
{
    struct buf out = {0};
    uint8_t sum[32];
    buf_bytes(&out, n->world->params.magic, 4);
    memcpy(buf_extend(&out, 12), command, strlen(command));
    buf_u32(&out, (uint32_t)payload->len);
    sha256d(sum, payload->data, payload->len);
    buf_bytes(&out, sum, 4);
    buf_bytes(&out, payload->data, payload->len);
    buf_free(payload);
    network_send(n, line->peer, buf_span(&out));
    buf_free(&out);
}

static void greet(struct sim_node *n, struct line *line)
{
    struct buf b = {0}, none = {0};
    static const char agent[] = "/Liar/";
    buf_i32(&b, 70016);
    buf_u64(&b, 9);
    buf_i64(&b, pick_between(n->world, 0, INT64_C(4000000000))); /* whatever time it pleases */
    buf_extend(&b, 50);
    buf_u16_be(&b, SIM_PORT);
    buf_u64(&b, ++n->liar->counter);
    buf_var_span(&b, span_of(agent, sizeof agent - 1));
    buf_i32(&b, (int32_t)pick(n->world, 1000));
    buf_u8(&b, 1);
    say(n, line, "version", &b);
    if (chance(n->world, 50)) {
        say(n, line, "wtxidrelay", &none);
    }
    say(n, line, "verack", &none);
    if (chance(n->world, 50)) {
        say(n, line, "sendheaders", &none);
    }
    if (chance(n->world, 50)) { /* BIP152, high bandwidth */
        buf_u8(&b, 1);
        buf_u64(&b, 2);
        say(n, line, "sendcmpct", &b);
    }
    line->greeted = true;
}

static void say_inv(struct sim_node *n, struct line *line, const char *command, uint32_t type,
                    const struct hash256 *hash, size_t count)
{
    struct buf b = {0};
    buf_compact_size(&b, count);
    for (size_t i = 0; i < count; i++) {
        struct hash256 each = *hash;
        store_le32(each.b, load_le32(each.b) ^ (uint32_t)i);
        buf_u32(&b, type);
        buf_bytes(&b, each.b, 32);
    }
    say(n, line, command, &b);
}

static void say_header(struct sim_node *n, struct line *line, const struct block_header *header)
{
    struct buf b = {0};
    buf_compact_size(&b, 1);
    header_encode(buf_extend(&b, HEADER_BYTES), header);
    buf_u8(&b, 0);
    say(n, line, "headers", &b);
}

static void say_block(struct sim_node *n, struct line *line, struct span raw)
{
    struct buf b = {0};
    buf_bytes(&b, raw.data, raw.len);
    say(n, line, "block", &b);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

/* The chain of somebody who is up, as any peer could have fetched it; NULL: nobody is. */
static struct sim_node *informant(struct world *world)
{
    uint64_t first = pick(world, world->node_count);
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct sim_node *n = &world->nodes[(first + i) % world->node_count];
        if (n->node) {
            return n;
        }
    }
    return NULL;
}

static int64_t clock_s(const struct world *world)
{
    return world->start_unix_s + world->now_us / US;
}

static bool solve(struct world *world, struct block_header *header)
{
    struct hash256 hash;
    for (uint32_t tries = 0; tries < 1u << 20; tries++) {
        header->nonce = (uint32_t)pick(world, UINT32_MAX);
        header_hash(&hash, header);
        if (pow_check(&hash, header->bits, &world->params)) {
            return true;
        }
    }
    return false; /* too dear */
}

enum fault {
    FAULT_NONE,
    FAULT_PAYS_TOO_MUCH,
    FAULT_NO_SUCH_COIN,
    FAULT_NOT_SIGNED,
    FAULT_IMMATURE,
    FAULT_HEIGHT,
    FAULT_COMMITMENT,
    FAULT_ROOT,
    FAULT_COUNT
};

static void write_coinbase(struct buf *out, struct sim_node *n, uint32_t height, enum fault fault)
{
    uint8_t commitment[38] = {0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}; /* BIP141, to nothing that is here */
    struct buf script = {0};
    script_push_height(&script, height + (fault == FAULT_HEIGHT));
    store_le64(buf_extend(&script, 8), ++n->liar->counter);
    struct tx_input in = {
        .prevout.index = UINT32_MAX, .script = buf_span(&script), .sequence = SEQUENCE_FINAL};
    int64_t sat = block_subsidy(height, &n->world->params).sat + (fault == FAULT_PAYS_TOO_MUCH);
    struct tx_output outputs[] = {{{sat}, buf_span(&n->payout_script)},
                                  {{0}, span_of(commitment, sizeof commitment)}};
    struct tx tx = {.version = 1,
                    .input_count = 1,
                    .inputs = &in,
                    .output_count = 1 + (fault == FAULT_COMMITMENT),
                    .outputs = outputs};
    tx_write(out, &tx, false);
    buf_free(&script);
}

/* Takes the money of a block's coinbase without a signature; of no coin at all where coin is NULL. */
static void write_theft(struct buf *out, struct sim_node *n, const struct outpoint *coin)
{
    struct tx_input in = {.sequence = SEQUENCE_FINAL};
    struct tx_output output = {{1000}, buf_span(&n->payout_script)};
    struct tx tx = {.version = 2, .input_count = 1, .inputs = &in, .output_count = 1, .outputs = &output};
    if (coin) {
        in.prevout = *coin;
    } else {
        store_le64(in.prevout.txid.b, ++n->liar->counter);
    }
    tx_write(out, &tx, false);
}

/* A block of its own on this parent, with work; NULL when it could not be made. */
static struct lie *make_block(struct sim_node *n, const struct chain *chain, const struct block_entry *parent,
                              enum fault fault)
{
    struct world *world = n->world;
    struct liar *liar = n->liar;
    struct outpoint coin;
    struct buf txs = {0}, raw = {0};
    uint8_t leaves[3 * 32];
    size_t count = 1;
    bool spends = fault == FAULT_NOT_SIGNED || fault == FAULT_IMMATURE,
         theft = spends || fault == FAULT_NO_SUCH_COIN;
    if (spends && !money_some_coin(world, chain, parent, fault == FAULT_NOT_SIGNED, &coin)) {
        return NULL;
    }
    write_coinbase(&txs, n, parent->height + 1, fault);
    sha256d(leaves, txs.data, txs.len);
    if (theft) {
        size_t at = txs.len;
        write_theft(&txs, n, spends ? &coin : NULL);
        sha256d(leaves + 32, txs.data + at, txs.len - at);
        count = 2;
    }
    int64_t time_s = MAX(clock_s(world), chain_min_time(chain, parent));
    struct block_header header = {.version = 0x20000000, .prev_hash = parent->hash, .time = (uint32_t)time_s};
    header.bits = chain_next_bits(chain, parent, time_s);
    merkle_root(header.merkle_root.b, leaves, count, NULL);
    header.merkle_root.b[0] ^= fault == FAULT_ROOT;
    if (!solve(world, &header)) {
        buf_free(&txs);
        return NULL;
    }
    header_encode(buf_extend(&raw, HEADER_BYTES), &header);
    buf_compact_size(&raw, count);
    buf_bytes(&raw, txs.data, txs.len);
    buf_free(&txs);
    struct lie *lie = &liar->lies[liar->lie_count++ % LIES_KEPT];
    buf_free(&lie->raw);
    *lie = (struct lie){.raw = raw};
    header_hash(&lie->hash, &header);
    if (fault != FAULT_NONE) {
        world_lie(world, &lie->hash);
    }
    return lie;
}

static struct block_header header_of(const struct lie *lie)
{
    struct cursor c = cursor_of(lie->raw.data, lie->raw.len);
    struct block_header header;
    header_read(&header, &c);
    return header;
}

/* ---- Lies -------------------------------------------------------------------------------------------- */

static struct line *some_line(struct sim_node *n)
{
    uint64_t first = pick(n->world, LINES_MAX);
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        struct line *line = &n->liar->lines[(first + i) % LINES_MAX];
        if (line->used && line->open && line->greeted && !line->drip.len) {
            return line;
        }
    }
    return NULL;
}

static void lie_block(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct chain *chain = node_chain(from->node);
    const struct block_entry *parent = chain_tip(chain);
    enum fault fault = 1 + (enum fault)pick(n->world, FAULT_COUNT - 1);
    struct lie *lie = make_block(n, chain, parent, fault);
    if (!lie) {
        return;
    }
    struct block_header header = header_of(lie);
    if (chance(n->world, 50)) {
        say_header(n, line, &header);
    } else {
        say_block(n, line, buf_span(&lie->raw));
    }
}

/* The right header over other bytes: this copy is bad, the block is not. */
static void lie_copy(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct world *world = n->world;
    struct block *block = sim_read_block(from, sim_tip(from));
    if (!block) {
        return;
    }
    struct buf raw = {0};
    header_encode(buf_extend(&raw, HEADER_BYTES), &block->header);
    uint64_t kind = pick(world, 3);
    bool twice = kind == 0 && block->tx_count > 1; /* CVE-2012-2459 where the count is odd */
    buf_compact_size(&raw, block->tx_count + twice);
    for (uint32_t t = 0; t < block->tx_count; t++) {
        buf_bytes(&raw, block->txs[t].raw.data, block->txs[t].raw.len);
    }
    if (twice) {
        const struct tx *last = &block->txs[block->tx_count - 1];
        buf_bytes(&raw, last->raw.data, last->raw.len);
    } else if (kind == 1) {
        raw.data[raw.len - 5] ^= 1; /* the last witness: not covered by the header itself */
    } else {
        raw.data[raw.len - 1] ^= 1; /* the last lock time */
    }
    say_block(n, line, buf_span(&raw));
    buf_free(&raw);
    block_unref(block);
}

/* Good blocks: announced and kept back, or another one for everybody. */
static void lie_withhold(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct chain *chain = node_chain(from->node);
    struct lie *lie = make_block(n, chain, chain_tip(chain), FAULT_NONE);
    if (lie) {
        struct block_header header = header_of(lie);
        lie->withheld = chance(n->world, 70);
        say_header(n, line, &header);
    }
}

static void lie_conflict(struct sim_node *n, struct sim_node *from)
{
    struct chain *chain = node_chain(from->node);
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        struct line *line = &n->liar->lines[i];
        struct lie *lie =
            line->greeted && line->open ? make_block(n, chain, chain_tip(chain), FAULT_NONE) : NULL;
        if (lie) {
            struct block_header header = header_of(lie);
            lie->withheld = chance(n->world, 50);
            say_header(n, line, &header);
        }
    }
}

static void lie_flood(struct sim_node *n, struct line *line)
{
    struct world *world = n->world;
    struct buf b = {0};
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = world->params.genesis_hash,
                                  .bits = world->params.pow_limit_bits,
                                  .time = world->params.genesis.time};
    buf_compact_size(&b, FLOOD_HEADERS);
    store_le64(header.merkle_root.b, ++n->liar->counter);
    for (unsigned i = 0; i < FLOOD_HEADERS; i++) {
        header.time += 2 * world->params.spacing_s; /* slow enough to stay at the easiest target */
        if (!solve(world, &header)) {
            break;
        }
        header_encode(buf_extend(&b, HEADER_BYTES), &header);
        buf_u8(&b, 0);
        header_hash(&header.prev_hash, &header);
    }
    say(n, line, "headers", &b);
}

/* A header that no clock allows. */
static void lie_time(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct world *world = n->world;
    struct chain *chain = node_chain(from->node);
    const struct block_entry *parent = chain_tip(chain);
    int64_t time_s = chance(world, 50) ? clock_s(world) + pick_between(world, 3600, 1000000)
                                       : chain_min_time(chain, parent) - pick_between(world, 1, 100000);
    struct block_header header = {.version = 0x20000000, .prev_hash = parent->hash, .time = (uint32_t)time_s};
    header.bits = chain_next_bits(chain, parent, time_s);
    if (solve(world, &header)) {
        say_header(n, line, &header);
    }
}

/* Compact blocks (BIP152) of its own that nobody asked for: invented short ids, wrong answers. */
static void lie_compact(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct world *world = n->world;
    struct chain *chain = node_chain(from->node);
    struct lie *lie = make_block(n, chain, chain_tip(chain), chance(world, 50) ? FAULT_NONE : FAULT_ROOT);
    if (!lie) {
        return;
    }
    struct buf b = {0}, coinbase = {0};
    if (chance(world, 30)) { /* missing transactions that were never asked for */
        buf_bytes(&b, lie->hash.b, 32);
        buf_compact_size(&b, 0);
        say(n, line, "blocktxn", &b);
    }
    uint64_t ids = pick(world, 4);
    buf_bytes(&b, lie->raw.data, HEADER_BYTES);
    buf_u64(&b, pick(world, UINT64_MAX));
    buf_compact_size(&b, ids);
    for (uint64_t i = 0; i < ids * 6; i++) {
        buf_u8(&b, (uint8_t)pick(world, 256));
    }
    buf_compact_size(&b, 1);
    buf_compact_size(&b, chance(world, 10) ? 60000 : 0);
    write_coinbase(&coinbase, n, chain_tip(chain)->height + 1, FAULT_PAYS_TOO_MUCH);
    buf_bytes(&b, coinbase.data, coinbase.len);
    buf_free(&coinbase);
    lie->withheld = true;
    world_lie(world, &lie->hash);
    say(n, line, "cmpctblock", &b);
}

/* The same bytes after a header, as a compact block has them: nonce, short ids, prefilled transactions. */
enum poison {
    POISON_NONE, /* right, but it will not hand out what is missing, or something else */
    POISON_WRONG_IDS,
    POISON_SWAPPED,
    POISON_COLLIDING,
    POISON_COINBASE,
    POISON_INDEX_OVERFLOW,
    POISON_INDEX_BEYOND,
    POISON_COUNT
};

static void put_short_ids(struct buf *b, struct world *world, const struct block *block, enum poison poison)
{
    uint8_t digest[32], id[8];
    sha256(digest, b->data, b->len);
    const uint64_t key[2] = {load_le64(digest), load_le64(digest + 8)};
    buf_compact_size(b, block->tx_count - 1);
    for (uint32_t i = 1; i < block->tx_count; i++) {
        uint32_t at = poison == POISON_SWAPPED ? block->tx_count - i : poison == POISON_COLLIDING ? 1 : i;
        store_le64(id, poison == POISON_WRONG_IDS ? pick(world, UINT64_MAX)
                                                  : siphash_2_4(key, block->txs[at].wtxid.b, 32));
        buf_bytes(b, id, 6);
    }
}

static void put_prefilled(struct buf *b, struct sim_node *n, const struct block *block, uint32_t height,
                          enum poison poison)
{
    bool twice = poison == POISON_INDEX_OVERFLOW || poison == POISON_INDEX_BEYOND;
    buf_compact_size(b, twice ? 2 : 1);
    buf_compact_size(b, 0);
    if (poison == POISON_COINBASE) {
        write_coinbase(b, n, height, FAULT_NONE);
    } else {
        tx_write(b, &block->txs[0], true);
    }
    if (twice) {
        buf_compact_size(b, poison == POISON_INDEX_OVERFLOW ? UINT16_MAX : block->tx_count);
        tx_write(b, &block->txs[0], true);
    }
}

/* A good block, just found, before its finder has told everybody: as a compact block that is not right. */
static void lie_poison(struct sim_node *n, struct line *line, struct sim_node *from)
{
    struct world *world = n->world;
    const struct block_entry *tip = sim_tip(from);
    struct block *block = sim_read_block(from, tip);
    struct buf b = {0};
    if (!block) {
        return;
    }
    enum poison poison = (enum poison)pick(world, POISON_COUNT);
    line->reply_kind = pick(world, 4);
    header_encode(buf_extend(&b, HEADER_BYTES), &block->header);
    buf_u64(&b, pick(world, UINT64_MAX));
    put_short_ids(&b, world, block, poison);
    put_prefilled(&b, n, block, tip->height, poison);
    say(n, line, "cmpctblock", &b);
    if (chance(world, 20)) { /* and missing transactions at once, unasked */
        buf_bytes(&b, block->hash.b, 32);
        buf_compact_size(&b, 1);
        write_theft(&b, n, NULL);
        say(n, line, "blocktxn", &b);
    }
    block_unref(block);
}

static void answer_getblocktxn(struct sim_node *n, struct line *line, struct cursor *c)
{
    struct hash256 hash;
    struct buf b = {0};
    cursor_bytes(c, hash.b, 32);
    uint64_t count = cursor_compact_size(c, UINT16_MAX);
    if (c->failed || line->reply_kind == 0) {
        return; /* it never answers */
    }
    count -= line->reply_kind == 1 && count;
    buf_bytes(&b, hash.b, 32);
    buf_compact_size(&b, count);
    for (uint64_t i = 0; i < count; i++) {
        write_theft(&b, n, NULL);
    }
    b.len -= line->reply_kind == 2; /* a byte is missing */
    say(n, line, "blocktxn", &b);
}

/* Addresses of nobody, by the thousand, with some of somebody's between them; at times more than are allowed.
 */
static void lie_addresses(struct sim_node *n, struct line *line)
{
    struct world *world = n->world;
    struct buf b = {0};
    bool v2 = chance(world, 50);
    size_t count = chance(world, 10) ? 1001 : 1 + (size_t)pick(world, 1000);
    buf_compact_size(&b, count);
    for (size_t i = 0; i < count; i++) {
        bool onion = v2 && chance(world, 10);
        buf_u32(&b, (uint32_t)(clock_s(world) + pick_between(world, -1000000, 1000000)));
        if (v2) {
            buf_compact_size(&b, 9);
            buf_u8(&b, onion ? 4 : 1);
            buf_compact_size(&b, onion ? 32 : 4);
            buf_extend(&b, onion ? 28 : 0);
        } else {
            buf_u64(&b, 9);
            buf_extend(&b, 10);
            buf_u16(&b, 0xffff);
        }
        buf_u32(&b, (uint32_t)pick(world, UINT32_MAX));
        if (chance(world, 1)) {
            store_le32(b.data + b.len - 4, 0x0100000a | (uint32_t)pick(world, SIM_PLACES_MAX + 1) << 8);
        }
        buf_u16_be(&b, chance(world, 80) ? SIM_PORT : (uint16_t)pick(world, 65536));
    }
    say(n, line, v2 ? "addrv2" : "addr", &b);
}

static void lie_noise(struct sim_node *n, struct line *line)
{
    struct world *world = n->world;
    struct hash256 hash;
    struct buf b = {0};
    for (unsigned i = 0; i < 32; i++) {
        hash.b[i] = (uint8_t)pick(world, 256);
    }
    switch (pick(world, 10)) {
    case 0: say_inv(n, line, "inv", 1, &hash, 1 + (size_t)pick(world, 300)); break;
    case 1: say_inv(n, line, "inv", 2, &hash, 1 + (size_t)pick(world, 20)); break;
    case 2: say_inv(n, line, "getdata", WITNESS_BLOCK, &hash, 1 + (size_t)pick(world, 100)); break;
    case 3: say_inv(n, line, "notfound", 2, &hash, 1 + (size_t)pick(world, 50)); break;
    case 4: /* an oversized length */
        buf_bytes(&b, world->params.magic, 4);
        memcpy(buf_extend(&b, 12), "block", 5);
        buf_u32(&b, 0xfffffff0u);
        buf_u32(&b, 0);
        network_send(n, line->peer, buf_span(&b));
        break;
    case 5: /* half a message, a byte at a time */
        buf_bytes(&line->drip, world->params.magic, 4);
        memcpy(buf_extend(&line->drip, 12), "tx", 2);
        buf_u32(&line->drip, 1000);
        buf_extend(&line->drip, (size_t)pick(world, 900));
        break;
    case 6: /* of a block that nobody has, or indices that run over */
        buf_bytes(&b, hash.b, 32);
        buf_compact_size(&b, 2);
        buf_compact_size(&b, UINT16_MAX);
        buf_compact_size(&b, pick(world, UINT16_MAX + 1));
        say(n, line, "getblocktxn", &b);
        break;
    case 7: /* more than it is listened to (core/p2p/flood.c) */
        for (uint64_t left = pick(world, 400); left; left--) {
            say(n, line, "mempool", &b);
        }
        break;
    default:
        for (uint64_t left = 1 + pick(world, 60); left; left--) { /* all of them orphans */
            write_theft(&b, n, NULL);
            say(n, line, "tx", &b);
        }
        break;
    }
    buf_free(&b);
}

static void dial_somebody(struct sim_node *n)
{
    struct liar *liar = n->liar;
    for (uint32_t i = 0; i < LINES_MAX / 2; i++) {
        struct line *line = &liar->lines[i];
        if (!line->used) {
            char host[16];
            *line = (struct line){.used = true, .peer = P2P_OUTBOUND + ++liar->next_dial};
            line->victim = (uint32_t)pick(n->world, n->world->node_count);
            snprintf(host, sizeof host, "n%u", line->victim);
            network_dial(n, line->peer, host);
            return;
        }
    }
}

static void think(struct world *world, struct task *task)
{
    struct sim_node *n = task->node, *from = informant(world);
    if (world->truce) {
        return;
    }
    if (chance(world, 30)) {
        dial_somebody(n);
    }
    struct line *line = some_line(n);
    if (line && from) {
        switch (pick(world, 10)) {
        case 0: lie_copy(n, line, from); break;
        case 1: lie_withhold(n, line, from); break;
        case 2: lie_conflict(n, from); break;
        case 3: lie_flood(n, line); break;
        case 4: lie_time(n, line, from); break;
        case 5: lie_compact(n, line, from); break;
        case 6: lie_noise(n, line); break;
        case 7: lie_addresses(n, line); break;
        default: lie_block(n, line, from); break;
        }
    }
    world_later(world, (int64_t)pick_exponential(world, 0.4e6), n, think);
}

static void poison(struct world *world, struct task *task)
{
    struct line *line = some_line(task->node);
    struct sim_node *finder = &world->nodes[task->number];
    if (line && finder->node && !world->truce) {
        lie_poison(task->node, line, finder);
    }
}

void liars_hear_of_block(struct sim_node *finder)
{
    struct world *world = finder->world;
    for (uint32_t i = 0; i < world->liar_count; i++) {
        if (chance(world, 40)) {
            world_later(world, pick_between(world, 500, 20000), &world->nodes[SIM_NODES_MAX + i], poison)
                ->number = finder->index;
        }
    }
}

static void drip(struct world *world, struct task *task)
{
    struct sim_node *n = task->node;
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        struct line *line = &n->liar->lines[i];
        if (line->used && line->drip.len) {
            uint8_t one = line->drip.data[0];
            memmove(line->drip.data, line->drip.data + 1, --line->drip.len);
            network_send(n, line->peer, span_of(&one, 1));
        }
    }
    world_later(world, US / 4, n, drip);
}

/* ---- Answers ----------------------------------------------------------------------------------------- */

static void answer_getdata(struct sim_node *n, struct line *line, struct cursor *c)
{
    for (size_t left = cursor_count(c, 36); left && !c->failed; left--) {
        uint32_t type = cursor_u32(c);
        struct hash256 hash;
        cursor_bytes(c, hash.b, 32);
        for (size_t i = 0; i < LIES_KEPT; i++) {
            const struct lie *lie = &n->liar->lies[i];
            if (lie->raw.len && hash256_equal(&lie->hash, &hash) && !lie->withheld) {
                say_block(n, line, buf_span(&lie->raw));
                type = 0;
            }
        }
        if (type && chance(n->world, 30)) {
            say_inv(n, line, "notfound", type, &hash, 1);
        }
    }
}

static void answer(struct sim_node *n, struct line *line, const char *command, struct cursor *c)
{
    struct buf b = {0};
    if (strcmp(command, "version") == 0 && !line->greeted) {
        greet(n, line);
    } else if (strcmp(command, "ping") == 0 && chance(n->world, 90)) {
        buf_u64(&b, cursor_u64(c));
        say(n, line, "pong", &b);
    } else if (strcmp(command, "getheaders") == 0 && chance(n->world, 50)) {
        buf_u8(&b, 0);
        say(n, line, "headers", &b);
    } else if (strcmp(command, "getdata") == 0) {
        answer_getdata(n, line, c);
    } else if (strcmp(command, "getblocktxn") == 0) {
        answer_getblocktxn(n, line, c);
    }
    buf_free(&b);
}

static void listen_to(struct sim_node *n, struct line *line)
{
    struct buf *in = &line->in;
    size_t at = 0;
    while (in->len - at >= 24 && in->len - at - 24 >= load_le32(in->data + at + 16)) {
        char command[13] = {0};
        uint32_t len = load_le32(in->data + at + 16);
        memcpy(command, in->data + at + 4, 12);
        struct cursor c = cursor_of(in->data + at + 24, len);
        answer(n, line, command, &c);
        at += 24 + len;
    }
    if (at) {
        memmove(in->data, in->data + at, in->len - at);
        in->len -= at;
    }
}

static struct line *line_of(struct liar *liar, peer_id peer)
{
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        if (liar->lines[i].used && liar->lines[i].peer == peer) {
            return &liar->lines[i];
        }
    }
    return NULL;
}

static void hang_up(struct line *line)
{
    buf_free(&line->in);
    buf_free(&line->drip);
    *line = (struct line){0};
}

void liar_event(struct sim_node *n, const struct event *event)
{
    struct line *line = line_of(n->liar, event->peer);
    switch (event->kind) {
    case EVENT_ACCEPTED:
        for (uint32_t i = LINES_MAX / 2; i < LINES_MAX && !line && !n->world->truce; i++) {
            if (!n->liar->lines[i].used) {
                line = &n->liar->lines[i];
                *line = (struct line){.used = true, .open = true, .peer = event->peer, .victim = UINT32_MAX};
            }
        }
        if (!line) {
            network_close(n, event->peer);
        }
        break;
    case EVENT_OPENED:
        if (line) {
            line->open = true;
            greet(n, line);
        }
        break;
    case EVENT_BYTES:
        if (line) {
            buf_bytes(&line->in, event->data, event->len);
            listen_to(n, line);
        }
        break;
    case EVENT_CLOSED:
    case EVENT_DIAL_FAILED:
        if (line) {
            hang_up(line);
        }
        break;
    default: break;
    }
}

struct sim_node *world_add_liar(struct world *world)
{
    CHECK(world->liar_count < SIM_LIARS_MAX);
    struct sim_node *n = &world->nodes[SIM_NODES_MAX + world->liar_count];
    uint8_t secret[32] = {2};
    *n = (struct sim_node){.world = world, .index = SIM_NODES_MAX + world->liar_count++};
    n->liar = mem_alloc(sizeof *n->liar);
    store_le32(secret + 4, n->index);
    CHECK(key_from_secret(&n->key, secret));
    key_script(&n->payout_script, &n->key);
    list_init(&n->calls);
    world_later(world, pick_between(world, 0, 5 * US), n, think);
    world_later(world, US, n, drip);
    return n;
}

/* Everybody is left alone from now on: what is open is closed, nothing new is told. */
void world_truce(struct world *world)
{
    world->truce = true;
    for (uint32_t i = 0; i < world->liar_count; i++) {
        struct sim_node *n = &world->nodes[SIM_NODES_MAX + i];
        for (uint32_t k = 0; k < LINES_MAX; k++) {
            if (n->liar->lines[k].used) {
                network_close(n, n->liar->lines[k].peer);
            }
        }
    }
}

void liar_free(struct sim_node *n)
{
    for (uint32_t i = 0; i < LINES_MAX; i++) {
        hang_up(&n->liar->lines[i]);
    }
    for (size_t i = 0; i < LIES_KEPT; i++) {
        buf_free(&n->liar->lies[i].raw);
    }
    mem_free(n->liar);
    key_wipe(&n->key);
    buf_free(&n->payout_script);
}
