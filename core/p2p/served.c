/*
 * Blocks as whole messages, ready to be sent: a block that ten peers ask for is read and summed once, and is
 * in memory once. The latest that were served are kept, up to a bound; one that gives way stays for as long
 * as it waits to be sent. From the block file they come as bytes: nobody takes a block apart in order to send
 * it.
 */
#include "core/p2p/p2p_private.h"

struct served {
    struct p2p *p2p;
    struct hash256 hash;
    struct list lru;
    struct shared *message; /* NULL while it is read */
    struct buf waiting;     /* peer_id of those who wait for that */
    bool failed;            /* it could not be read: told to whoever waited, then forgotten */
};

static struct served *find(const struct p2p *p2p, const struct hash256 *hash)
{
    struct served **found = map_get(&p2p->served, hash);
    return found ? *found : NULL;
}

static void drop(struct p2p *p2p, struct served *served)
{
    p2p->served_bytes -= served->message ? served->message->bytes.len : 0;
    list_remove(&served->lru);
    map_remove(&p2p->served, &served->hash);
    shared_unref(served->message);
    buf_free(&served->waiting);
    mem_free(served);
}

static struct served *add(struct p2p *p2p, const struct hash256 *hash)
{
    struct served *served = mem_alloc(sizeof *served);
    served->p2p = p2p;
    served->hash = *hash;
    list_init(&served->lru);
    *(struct served **)map_put(&p2p->served, hash, NULL) = served;
    return served;
}

/* Its bytes are here: the newest of all, and the oldest give way to it. */
static void keep(struct p2p *p2p, struct served *served, struct span block)
{
    served->message = message_frame(p2p, "block", block);
    p2p->served_bytes += served->message->bytes.len;
    list_append(&p2p->served_lru, &served->lru);
    while (p2p->served_bytes > SERVED_BYTES_MAX && p2p->served_lru.next != &served->lru) {
        drop(p2p, CONTAINER_OF(p2p->served_lru.next, struct served, lru));
    }
}

static void is_read(void *context, struct span block)
{
    struct served *served = context;
    struct p2p *p2p = served->p2p;
    struct hash256 hash = served->hash;
    struct buf waiting = served->waiting;
    served->waiting = (struct buf){0};
    served->failed = !block.len;
    if (block.len) {
        keep(p2p, served, block);
    }
    for (size_t at = 0; at < waiting.len; at += sizeof(peer_id)) {
        peer_id id;
        memcpy(&id, waiting.data + at, sizeof id);
        struct peer *peer = peer_find(p2p, id);
        if (peer) {
            peer->reading = false;
            serve_wanted(p2p, peer); /* asks for it again, and finds it */
        }
    }
    buf_free(&waiting);
    served = find(p2p, &hash);
    if (served && served->failed) {
        drop(p2p, served);
    }
}

enum served_answer served_send(struct p2p *p2p, struct peer *peer, const struct block_entry *entry)
{
    struct served *served = find(p2p, &entry->hash);
    const struct block *recent = served ? NULL : chain_recent_block(p2p->chain, &entry->hash);
    if (served && served->failed) {
        return SERVED_NOT;
    }
    if (recent) {
        served = add(p2p, &entry->hash);
        keep(p2p, served, recent->raw);
    }
    if (served && served->message) {
        list_remove(&served->lru);
        list_append(&p2p->served_lru, &served->lru);
        message_put(p2p, peer, "block", shared_ref(served->message));
        return SERVED_SENT;
    }
    bool asked = served != NULL;
    served = asked ? served : add(p2p, &entry->hash);
    buf_bytes(&served->waiting, &peer->id, sizeof peer->id);
    if (!asked) {
        chain_read_raw(p2p->chain, entry, is_read, served);
    }
    return SERVED_LATER;
}

void served_free(struct p2p *p2p)
{
    void *value;
    for (size_t at = 0; map_next(&p2p->served, &at, NULL, &value);) {
        struct served *served = *(struct served **)value;
        shared_unref(served->message);
        buf_free(&served->waiting);
        mem_free(served);
    }
    map_free(&p2p->served);
}
