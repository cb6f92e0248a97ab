/*
 * Many messages of different lengths side by side. Each lane of a kernel works on a message of its own, block
 * by block, then on the hash of that hash, then on the next message: nobody waits for the longest. When too
 * few messages are left to fill the lanes, each is ended by itself.
 *
 * Blocks are read where they are; only those that two parts meet in, and the padded ends, are put together.
 */
#include "hashing/kernels/private.h"

struct lane {
    struct sha256_message message;
    unsigned part;   /* the one that is being read */
    size_t at;       /* bytes of it that have been read */
    uint64_t len;    /* of the whole message */
    bool ended;      /* 0x80 is written */
    bool last;       /* the block that is out is the hash's last */
    bool second;     /* the second hash */
    uint8_t own[64]; /* a block that is put together */
};

static void begin(struct lane *lane)
{
    lane->part = 0;
    lane->at = 0;
    lane->len = 0;
    lane->ended = lane->last = lane->second = false;
    for (unsigned i = 0; i < SHA256_PARTS; i++) {
        lane->len += lane->message.parts[i].len;
    }
}

/* The next block of the message, padded where it ends. */
static const uint8_t *next_block(struct lane *lane)
{
    size_t used = 0;
    while (lane->part < SHA256_PARTS && used < 64) {
        const uint8_t *from = lane->message.parts[lane->part].data;
        size_t left = lane->message.parts[lane->part].len - lane->at;
        if (left >= 64 && used == 0) {
            lane->at += 64;
            return from + lane->at - 64;
        }
        size_t taken = left < 64 - used ? left : 64 - used;
        if (taken) {
            memcpy(lane->own + used, from + lane->at, taken);
        }
        used += taken;
        lane->at += taken;
        if (lane->at == lane->message.parts[lane->part].len) {
            lane->part++;
            lane->at = 0;
        }
    }
    if (used == 64) {
        return lane->own;
    }
    memset(lane->own + used, 0, 64 - used);
    if (!lane->ended) {
        lane->ended = true;
        lane->own[used++] = 0x80;
    }
    if (used <= 56) {
        uint64_t bits = __builtin_bswap64(lane->len * 8);
        memcpy(lane->own + 56, &bits, 8);
        lane->last = true;
    }
    return lane->own;
}

/* The hash of the first hash is one block. */
static const uint8_t *second_block(struct lane *lane, const uint32_t *state, size_t stride)
{
    memset(lane->own + 32, 0, 32);
    for (size_t i = 0; i < 8; i++) {
        store_be32(lane->own + 4 * i, state[i * stride]);
    }
    lane->own[32] = 0x80;
    lane->own[62] = 1; /* 256 bits */
    lane->second = true;
    return lane->own;
}

static void set_iv(uint32_t *state, size_t stride)
{
    for (size_t i = 0; i < 8; i++) {
        state[i * stride] = sha256_iv[i];
    }
}

static void write_hash(const struct lane *lane, const uint32_t *state, size_t stride)
{
    for (size_t i = 0; i < 8; i++) {
        store_be32(lane->message.hash + 4 * i, state[i * stride]);
    }
}

/* One message to its end, from where it is; block: what is next. */
static void finish_alone(struct lane *lane, uint32_t state[8], const uint8_t *block)
{
    for (;;) {
        sha256_compress(state, block, 1);
        if (lane->second) {
            break;
        }
        if (lane->last) {
            block = second_block(lane, state, 1);
            set_iv(state, 1);
        } else {
            block = next_block(lane);
        }
    }
    write_hash(lane, state, 1);
}

static void one_by_one(bool (*next)(void *context, struct sha256_message *out), void *context)
{
    struct lane lane;
    while (next(context, &lane.message)) {
        uint32_t state[8];
        begin(&lane);
        memcpy(state, sha256_iv, 32);
        finish_alone(&lane, state, next_block(&lane));
    }
}

struct lanes {
    bool (*next)(void *context, struct sha256_message *out);
    void *context;
    size_t count, busy; /* those below busy have a message */
    struct lane lane[SHA256_LANES_MAX];
    const uint8_t *blocks[SHA256_LANES_MAX];
    uint32_t state[8 * SHA256_LANES_MAX];
};

/* Gives the lane a message; false when there is none left. */
static bool take(struct lanes *l, size_t i)
{
    if (!l->next || !l->next(l->context, &l->lane[i].message)) {
        l->next = NULL;
        return false;
    }
    begin(&l->lane[i]);
    set_iv(l->state + i, l->count);
    l->blocks[i] = next_block(&l->lane[i]);
    return true;
}

/* What follows when the lane's block has been compressed; false: the lane has nothing left to do. */
static bool go_on(struct lanes *l, size_t i)
{
    struct lane *lane = &l->lane[i];
    if (lane->second) {
        write_hash(lane, l->state + i, l->count);
        return take(l, i);
    }
    if (lane->last) {
        l->blocks[i] = second_block(lane, l->state + i, l->count);
        set_iv(l->state + i, l->count);
    } else {
        l->blocks[i] = next_block(lane);
    }
    return true;
}

/* Lane `from` becomes lane `to`; a block that it has put together moves with it. */
static void move(struct lanes *l, size_t to, size_t from)
{
    bool own = l->blocks[from] == l->lane[from].own;
    l->lane[to] = l->lane[from];
    l->blocks[to] = own ? l->lane[to].own : l->blocks[from];
    for (size_t i = 0; i < 8; i++) {
        l->state[i * l->count + to] = l->state[i * l->count + from];
    }
}

void sha256d_many_with(const struct sha256_kernel *kernel,
                       bool (*next)(void *context, struct sha256_message *out), void *context)
{
    static const uint8_t nothing[64];
    struct lanes l;
    if (!kernel || !kernel->compress_lanes) {
        one_by_one(next, context);
        return;
    }
    l.next = next;
    l.context = context;
    l.count = kernel->lanes;
    l.busy = 0;
    memset(l.state, 0, sizeof l.state);
    while (l.busy < l.count && take(&l, l.busy)) {
        l.busy++;
    }
    for (size_t i = l.busy; i < l.count; i++) {
        l.blocks[i] = nothing;
    }
    /* With a quarter of its lanes busy a kernel is no faster than one message after another. */
    while (l.busy > l.count / 4) {
        kernel->compress_lanes(l.state, l.blocks);
        for (size_t i = l.busy; i-- > 0;) {
            if (!go_on(&l, i)) {
                l.busy--;
                if (i < l.busy) {
                    move(&l, i, l.busy);
                }
                l.blocks[l.busy] = nothing;
            }
        }
    }
    for (size_t i = 0; i < l.busy; i++) {
        uint32_t state[8];
        for (size_t k = 0; k < 8; k++) {
            state[k] = l.state[k * l.count + i];
        }
        finish_alone(&l.lane[i], state, l.blocks[i]);
    }
}

void sha256d_many(bool (*next)(void *context, struct sha256_message *out), void *context)
{
    sha256d_many_with(sha256_many, next, context);
}
