/*
 * Bugs that are planted on purpose, one per run, to see whether the simulator finds them (tools/soak
 * planted). The linker leads calls between files of the core through the functions here (--wrap,
 * tests/CMakeLists.txt), in quarry-sim only: the core itself knows nothing of it. Without --plant every call
 * goes straight through.
 */
#include "core/chain/chain_private.h"
#include "core/p2p/p2p_private.h"
#include "tests/sim/sim.h"

const char *const plants[] = {
    "undo",       /* a disconnected block does not give back the coins it had spent */
    "tombstone",  /* a spent coin is not deleted from the store */
    "unsynced",   /* the batch is committed before the files that it speaks of are synced (disk.c) */
    "mutated",    /* a damaged copy of a block condemns the block itself */
    "returned",   /* transactions of a disconnected block do not come back to the mempool */
    "signatures", /* every script is good */
    "clocks",     /* a header from a clock that is ahead is malice */
    "compact",    /* what an unrequested compact block was put together from is not looked at */
    "rivals",     /* nobody in the mempool spends what a block or another transaction spends */
    NULL,
};
static const char *planted;
static const struct block *trusted; /* while it is being taken */

bool plant_choose(const char *name)
{
    for (size_t i = 0; plants[i]; i++) {
        if (strcmp(plants[i], name) == 0) {
            planted = plants[i];
        }
    }
    return planted != NULL;
}

bool plant_is(const char *name)
{
    return planted && strcmp(planted, name) == 0;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): these are the linker's names. */

void __real_coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
                      bool fresh);
void __wrap_coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
                      bool fresh);
void __wrap_coins_add(struct coins_cache *cache, const struct outpoint *outpoint, const struct coin *coin,
                      bool fresh)
{
    if (fresh || !plant_is("undo")) { /* on cluster networks only undo adds what is not fresh */
        __real_coins_add(cache, outpoint, coin, fresh);
    }
}

void __real_kv_delete(struct kv_batch *batch, enum column_family cf, struct span key);
void __wrap_kv_delete(struct kv_batch *batch, enum column_family cf, struct span key);
void __wrap_kv_delete(struct kv_batch *batch, enum column_family cf, struct span key)
{
    if (cf != CF_COINS || !plant_is("tombstone")) {
        __real_kv_delete(batch, cf, key);
    }
}

bool __real_block_check(const struct block *block, const struct chain_params *params, struct error *error);
bool __wrap_block_check(const struct block *block, const struct chain_params *params, struct error *error);
bool __wrap_block_check(const struct block *block, const struct chain_params *params, struct error *error)
{
    if (block == trusted) {
        return true;
    }
    bool ok = __real_block_check(block, params, error);
    if (!ok && error->kind == ERROR_MUTATED && plant_is("mutated")) {
        error->kind = ERROR_INVALID;
    }
    return ok;
}

void __real_mempool_block_disconnected(struct mempool *pool, const struct block_entry *entry,
                                       const struct block *block);
void __wrap_mempool_block_disconnected(struct mempool *pool, const struct block_entry *entry,
                                       const struct block *block);
void __wrap_mempool_block_disconnected(struct mempool *pool, const struct block_entry *entry,
                                       const struct block *block)
{
    struct block empty = *block;
    empty.tx_count = 1;
    __real_mempool_block_disconnected(pool, entry, plant_is("returned") ? &empty : block);
}

bool __real_script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                                const struct sighash_cache *cache, uint32_t flags, struct error *error);
bool __wrap_script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                                const struct sighash_cache *cache, uint32_t flags, struct error *error);
bool __wrap_script_verify_input(const struct tx *tx, uint32_t index, const struct coin *spent,
                                const struct sighash_cache *cache, uint32_t flags, struct error *error)
{
    return plant_is("signatures") || __real_script_verify_input(tx, index, spent, cache, flags, error);
}

bool __real_chain_accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                                const struct block_entry **entry, bool *is_new, struct error *error);
bool __wrap_chain_accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                                const struct block_entry **entry, bool *is_new, struct error *error);
bool __wrap_chain_accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                                const struct block_entry **entry, bool *is_new, struct error *error)
{
    if (plant_is("clocks") && (int64_t)header->time > moment_unix_s(now) + 10) {
        return error_set(error, ERROR_INVALID, "time-too-new", "planted");
    }
    return __real_chain_accept_header(chain, header, now, entry, is_new, error);
}

const struct mempool_entry *__real_mempool_spender(const struct mempool *pool,
                                                   const struct outpoint *outpoint);
const struct mempool_entry *__wrap_mempool_spender(const struct mempool *pool,
                                                   const struct outpoint *outpoint);
const struct mempool_entry *__wrap_mempool_spender(const struct mempool *pool,
                                                   const struct outpoint *outpoint)
{
    return plant_is("rivals") ? NULL : __real_mempool_spender(pool, outpoint);
}

bool __real_sync_take_block(struct p2p *p2p, peer_id id, struct block *block, bool asked, bool compact);
bool __wrap_sync_take_block(struct p2p *p2p, peer_id id, struct block *block, bool asked, bool compact);
bool __wrap_sync_take_block(struct p2p *p2p, peer_id id, struct block *block, bool asked, bool compact)
{
    trusted = compact && !asked && plant_is("compact") ? block : NULL;
    bool ok = __real_sync_take_block(p2p, id, block, asked, compact);
    trusted = NULL;
    return ok;
}

/* NOLINTEND(bugprone-reserved-identifier) */
