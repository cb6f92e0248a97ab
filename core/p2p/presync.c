/*
 * Headers with little work: what a peer cannot make us keep.
 *
 * A header costs its sender almost nothing where the difficulty is low, and us an entry of the index for
 * ever. So all peers together may add SIDE_HEADERS_MAX headers that come with no more work than our tip has
 * (about 6 MB; the allowance is the process's, so that reconnecting or coming as many gains nothing). Stale
 * branches and reorganisations of usual depth stay within it.
 *
 * Beyond it, and where --minimumchainwork asks for more, a chain must show first that it ends with enough
 * work, while we keep almost nothing: its headers are read, their proofs of work checked and summed up, and
 * of each full message only the hash of the last header is kept. When the sum exceeds our tip's, all is asked
 * for again from the fork on, and a message is stored when it ends in the hash that was kept of it: hashes
 * bind everything before them, so what is stored is what the work was shown for. A reorganisation of up to
 * CHUNKS_MAX * 2,000 headers is followed in this way at the price of sending its headers twice; a peer that
 * has less is told nothing and loses nothing. Bits are not checked against the retarget rules here: work is
 * counted as claimed and proved, and the rules are applied when the headers are stored.
 */
#include "core/p2p/p2p_private.h"

#define SIDE_HEADERS_MAX 20000u
#define CHUNKS_MAX       2000u /* four million headers; 64 kB of hashes for a peer */

struct presync {
    const struct block_entry *base; /* known; the first message followed it */
    struct hash256 last;            /* the next message has to follow this */
    struct u256 work;               /* up to last */
    struct buf ends;                /* hash of the last header of every message */
    uint32_t last_count;            /* headers in the last of these messages; the others are full */
    size_t stored;                  /* messages; counts once the work has been shown */
    bool shown;
};

size_t presync_bytes(const struct peer *peer)
{
    return peer->presync ? sizeof *peer->presync + peer->presync->ends.capacity : 0;
}

size_t presync_bytes_max(void)
{
    return sizeof(struct presync) + CHUNKS_MAX * 64; /* a buffer grows by two */
}

void presync_forget(struct peer *peer)
{
    if (peer->presync) {
        buf_free(&peer->presync->ends);
        mem_free(peer->presync);
        peer->presync = NULL;
    }
}

/* More than we have, and as much as there must be (--minimumchainwork). */
static bool is_enough(const struct p2p *p2p, struct u256 work)
{
    return u256_compare(work, chain_tip(p2p->chain)->work) > 0 &&
           u256_compare(work, chain_minimum_work(p2p->chain)) >= 0;
}

/* How many headers more may come with no more work than our tip has. */
static uint32_t side_headers_left(const struct p2p *p2p, struct u256 work)
{
    bool may = u256_compare(work, chain_minimum_work(p2p->chain)) >= 0;
    return may ? SIDE_HEADERS_MAX - p2p->side_headers : 0;
}

bool presync_admits(struct p2p *p2p, const struct block_header *header, const struct hash256 *hash)
{
    const struct block_entry *prev = chain_find(p2p->chain, &header->prev_hash);
    if (!prev || chain_find(p2p->chain, hash) ||
        !pow_check(hash, header->bits, chain_parameters(p2p->chain))) { /* the chain says what is wrong */
        return true;
    }
    struct u256 work = u256_add(prev->work, pow_work(header->bits));
    if (is_enough(p2p, work)) {
        return true;
    }
    if (!side_headers_left(p2p, work)) {
        return false;
    }
    p2p->side_headers++;
    return true;
}

/* What a headers message holds, seen without keeping any of it. */
struct survey {
    const struct block_entry *fork; /* the last header that is known; NULL: its first does not connect */
    struct hash256 first_prev, last;
    struct u256 work; /* of what comes after fork */
    uint32_t fresh;
    const char *wrong; /* NULL: each follows the one before and has its proof of work */
};

static struct survey survey(struct p2p *p2p, struct cursor c, size_t count)
{
    struct survey s = {0};
    for (size_t i = 0; i < count; i++) {
        struct block_header header;
        header_read(&header, &c);
        cursor_compact_size(&c, COUNT_MAX);
        if (i == 0) {
            s.first_prev = s.last = header.prev_hash;
            s.fork = chain_find(p2p->chain, &s.last);
        }
        if (!hash256_equal(&header.prev_hash, &s.last)) {
            s.wrong = "headers that do not follow each other";
            return s;
        }
        header_hash(&s.last, &header);
        const struct block_entry *known = s.fresh ? NULL : chain_find(p2p->chain, &s.last);
        if (known) {
            s.fork = known;
        } else {
            if (!pow_check(&s.last, header.bits, chain_parameters(p2p->chain))) {
                s.wrong = "an invalid header: high-hash (proof of work failed)";
                return s;
            }
            s.work = u256_add(s.work, pow_work(header.bits));
            s.fresh++;
        }
    }
    return s;
}

/* Notes one more message of a chain whose work is not shown yet, and asks for what comes next. */
static void go_on(struct p2p *p2p, struct peer *peer, const struct survey *s, size_t count)
{
    struct presync *presync = peer->presync;
    presync->last = s->last;
    presync->work = u256_add(presync->work, s->work);
    presync->last_count = (uint32_t)count;
    buf_bytes(&presync->ends, s->last.b, 32);
    if (is_enough(p2p, presync->work)) {
        presync->shown = true;
        presync->last = presync->base->hash;
        sync_ask_headers(p2p, peer, presync->base);
    } else if (count < HEADERS_MAX) { /* that was all */
        presync_forget(peer);
    } else if (presync->ends.len >= CHUNKS_MAX * 32u) {
        peer_misbehaves(p2p, peer, "too many headers with little work");
    } else {
        sync_ask_headers_after(p2p, peer, &presync->last, presync->base);
    }
}

/* Whether this message, whose headers follow each other, is the one that was seen. */
static bool is_as_shown(struct presync *presync, struct cursor c, size_t count)
{
    const uint8_t *end = presync->ends.data + presync->stored * 32;
    bool at_last = ++presync->stored * 32 == presync->ends.len;
    size_t wanted = at_last ? presync->last_count : HEADERS_MAX;
    struct block_header header = {0};
    for (size_t i = 0; i < wanted && i < count; i++) {
        header_read(&header, &c);
        cursor_compact_size(&c, COUNT_MAX);
    }
    header_hash(&presync->last, &header);
    return count >= wanted && memcmp(presync->last.b, end, 32) == 0;
}

bool presync_takes(struct p2p *p2p, struct peer *peer, struct cursor c, size_t count)
{
    struct survey s = survey(p2p, c, count);
    if (s.wrong) { /* before any of them is kept */
        peer_misbehaves(p2p, peer, "%s", s.wrong);
        return true;
    }
    struct presync *presync = peer->presync;
    bool follows = presync && hash256_equal(&s.first_prev, &presync->last);
    if (follows && presync->shown) {
        bool same = is_as_shown(presync, c, count);
        if (!same || presync->stored * 32 == presync->ends.len) {
            presync_forget(peer);
        }
        if (!same) {
            sync_ask_headers(p2p, peer, NULL); /* it follows another chain by now: from the beginning */
        }
        return !same;
    }
    if (!count || (!follows && !s.fork) || (s.fork && s.fork->status & BLOCK_BAD)) {
        return false; /* handle_headers knows what to do */
    }
    if (!s.fork) {
        go_on(p2p, peer, &s, count);
        return true;
    }
    struct u256 work = u256_add(s.fork->work, s.work);
    if (!s.fresh || is_enough(p2p, work)) {
        return false;
    }
    if (s.fresh <= side_headers_left(p2p, work)) {
        p2p->side_headers += s.fresh;
        return false;
    }
    if (!chain_find(p2p->chain, &s.first_prev)) {
        return false; /* its first header is known and the one before is not: genesis */
    }
    presync_forget(peer);
    peer->presync = mem_alloc(sizeof *peer->presync);
    peer->presync->base = chain_find(p2p->chain, &s.first_prev);
    peer->presync->work = s.fork->work;
    go_on(p2p, peer, &s, count);
    return true;
}
