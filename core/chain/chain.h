/*
 * core/chain: which block follows which, and what money exists after it.
 *
 * The block index (every header that passed its checks), the best chain by work, the UTXO set with its cache,
 * connecting and disconnecting with undo data, reorganisation of any depth, and the layout of what is kept on
 * disk. It never waits: what needs storage or signature checks leaves as a `struct job` through the host, and
 * comes back by job_finish. One block is in flight at a time; meanwhile the old tip answers every question.
 *
 *     chain_accept_block -> header checks -> block checks -> WRITE (block bytes)
 *     activate:  [READ block] -> READ_COINS -> CHECK_SCRIPTS
 *                -> applied in memory: events.connected, events.tip
 *                -> WRITE (undo) -> COMMIT one atomic batch over all column families -> events.durable
 *
 * Not here: peers, mempool, mining, threads, files. Thread: the loop thread only, except what says otherwise.
 */
#ifndef QUARRY_CORE_CHAIN_H
#define QUARRY_CORE_CHAIN_H

#include "core/base/base.h"
#include "core/consensus/consensus.h"

/* ---- Storage as the core sees it: jobs --------------------------------------------------------------- */

enum column_family { CF_COINS, CF_INDEX, CF_ADDR, CF_TX, CF_META, CF_COUNT };
extern const char *const column_family_names[CF_COUNT];

enum file_kind { FILE_BLOCKS, FILE_UNDO }; /* blocks/blk00000.dat, blocks/rev00000.dat */

/* The row of an outpoint in CF_COINS; the index is big-endian, so rows sort by it. */
#define COIN_KEY_BYTES 36
void coin_key(uint8_t out[COIN_KEY_BYTES], const struct outpoint *outpoint);

/* An atomic list of changes: per entry [u8 cf][u8 op][u8 length of the key][key] and for puts [compact-size
 * value][value]. Keys have at most 255 bytes. */
#define KV_KEY_AT 3 /* in an entry */
enum kv_operation { KV_PUT = 1, KV_DELETE = 2 };
struct kv_batch {
    struct buf bytes;
    size_t count;
};
void kv_put(struct kv_batch *batch, enum column_family cf, struct span key, struct span value);
void kv_delete(struct kv_batch *batch, enum column_family cf, struct span key);
/* Walks a batch made by the two above; false at the end. value is empty for deletes. */
bool kv_next(struct cursor *c, enum column_family *cf, enum kv_operation *op, struct span *key,
             struct span *value);

enum job_kind {
    JOB_READ_COINS,    /* point look-ups in CF_COINS */
    JOB_READ_KEY,      /* one point look-up in any column family */
    JOB_CHECK_SCRIPTS, /* pure function over items, in parallel where there are workers */
    JOB_READ,          /* bytes of a block or undo file */
    JOB_WRITE,         /* bytes to a block or undo file, not yet synced; creates the file */
    JOB_COMMIT, /* sync every file written so far, THEN apply the batch atomically; durable when done if sync
                   is set */
    JOB_SCAN,   /* rows of a column family as it is at submit, on a thread of its own */
    JOB_IMPORT_READ, /* bytes of a file that a person named (--loadblock), or of mempool.dat */
    JOB_SAVE,        /* bytes of a file that is written anew beside the old one, which it then replaces */
};

/* One request to the host and its answer. Allocated by the asker; the host owns it between submit and finish
 * and must answer every one, in any order, with job_finish on the loop thread (never from inside submit).
 * A failed job carries the reason in error. */
struct job {
    enum job_kind kind;
    struct list link; /* for whichever queue the host keeps it in */
    void (*done)(void *context,
                 struct job *job); /* frees the job with job_free when it is finished with it */
    void *context;
    bool failed;
    struct error error;
    union {
        struct {
            struct outpoint *outpoints; /* owned by the job */
            struct span *values; /* answer, `count` long, allocated by the asker: data from mem_alloc or NULL
                                    = absent */
            size_t count;
        } coins;
        struct {
            enum column_family cf;
            struct buf key;
            struct buf value; /* answer */
            bool found;
        } key;
        struct {
            bool (*check)(void *batch, size_t index); /* thread-safe; false = stop, this one failed */
            void *batch;
            size_t count;
            size_t failed_index; /* answer: lowest index known to fail, SIZE_MAX when all passed */
        } check;
        struct {
            enum file_kind file;
            uint32_t number;
            uint64_t offset;
            size_t len;
            uint8_t *data; /* READ: answer, from mem_alloc, owned by the job; a short read is a failure.
                              WRITE: owned by the job */
        } io;
        struct {
            struct kv_batch batch;
            bool sync;
        } commit;
        struct {
            enum column_family cf;
            struct span prefix; /* only rows whose key begins so; borrowed for the life of the job */
            void (*row)(void *scan, struct span key,
                        struct span value); /* called on the scanning thread, in key order */
            void *scan;                     /* nobody else touches it until the job is done */
        } scan;
        struct {
            const char *path; /* borrowed for the life of the job */
            uint64_t offset;
            size_t len;    /* wanted; at most 16 MiB */
            uint8_t *data; /* answer, owned by the job */
            size_t got;    /* fewer only at the end of the file; one that is not there: ERROR_MISSING */
        } import;
        struct {
            const char *path; /* borrowed for the life of the job */
            uint64_t offset;  /* pieces come one after the other; 0 begins anew */
            struct buf bytes; /* owned by the job */
            bool last;        /* synced with these, and in its place when the job is done */
        } save;
    };
};
struct job *job_new(enum job_kind kind, void (*done)(void *context, struct job *job), void *context);
void job_free(struct job *job); /* with everything the job owns */
/* The host's answer has arrived (loop thread). Calls done. */
void job_finish(struct job *job);

/* Synchronous reads, for chain_open only (before the loop runs). */
struct store_reader {
    void *context;
    bool (*get)(void *context, enum column_family cf, struct span key, struct buf *value); /* false: absent */
    /* Every row whose key begins with prefix, in key order; row returns false to stop. */
    void (*each)(void *context, enum column_family cf, struct span prefix,
                 bool (*row)(void *row_context, struct span key, struct span value), void *row_context);
    uint64_t (*file_size)(void *context, enum file_kind file, uint32_t number); /* 0 when absent */
    bool (*file_read)(void *context, enum file_kind file, uint32_t number, uint64_t offset, uint8_t *out,
                      size_t len);
};

/* ---- The block index --------------------------------------------------------------------------------- */

enum block_status {
    BLOCK_HAVE_DATA = 1u << 0, /* bytes are in a block file */
    BLOCK_HAVE_UNDO = 1u << 1,
    BLOCK_VALID = 1u << 2,  /* was connected once: scripts and all */
    BLOCK_FAILED = 1u << 3, /* breaks a rule */
    BLOCK_FAILED_PARENT = 1u << 4,
    BLOCK_INVALIDATED = 1u << 6, /* by invalidateblock: counts as failed, undone by reconsiderblock */
};
#define BLOCK_BAD (BLOCK_FAILED | BLOCK_FAILED_PARENT | BLOCK_INVALIDATED)

struct block_entry { /* one header; lives as long as the chain; read-only outside core/chain; 176 bytes */
    struct hash256 hash;
    struct {
        struct hash256 merkle_root;
        int32_t version;
        uint32_t time, bits, nonce;
    } header;                 /* without the hash before it, which is prev's */
    struct block_entry *prev; /* NULL for genesis */
    struct block_entry *skip; /* an ancestor further down, for O(log n) ancestor look-up */
    struct u256 work;         /* of the whole chain up to here */
    uint64_t chain_tx;        /* transactions up to here; 0 until every ancestor's block was seen */
    uint64_t undo_offset;
    uint32_t height;
    uint32_t tx_count;              /* 0 until its block was seen */
    uint32_t sequence;              /* order of arrival of the block: first seen wins at equal work */
    uint32_t data_offset, data_len; /* position of the block, its record's head excluded */
    uint32_t undo_len;
    uint16_t file; /* of both */
    uint8_t status;
    bool dirty : 1;         /* core/chain's own: to be stored with the next batch */
    bool stored : 1;        /* the store has it, or a batch under way does */
    bool candidate : 1;     /* may become the tip */
    bool awaits_result : 1; /* somebody is to be told its fate through events.block_result */
};

void block_entry_encode(uint8_t out[HEADER_BYTES], const struct block_entry *entry); /* its header */
struct block_entry *block_ancestor(const struct block_entry *entry, uint32_t height);
int64_t block_median_time(const struct block_entry *entry); /* of the last 11 up to and including entry */
const struct block_entry *block_fork(const struct block_entry *a, const struct block_entry *b);

/* ---- The chain --------------------------------------------------------------------------------------- */

struct chain;

struct chain_events { /* what the chain tells and asks; all called on the loop thread */
    void *context;
    void (*submit)(void *context, struct job *job);
    /* Applied to / taken off the UTXO set in memory, one by one, in order. The block is borrowed. */
    void (*connected)(void *context, const struct block_entry *entry, const struct block *block);
    void (*disconnected)(void *context, const struct block_entry *entry, const struct block *block);
    /* The best chain has settled on a new tip (once per activation, after the calls above). */
    void (*tip)(void *context, const struct block_entry *old_tip, const struct block_entry *new_tip);
    /* Everything up to and including this tip is on disk, whatever happens to the machine. */
    void (*durable)(void *context, const struct block_entry *tip);
    /* The fate of a block given to chain_accept_block with this source, told exactly once per accepted call:
     * error NULL: it was connected (or stored and is not on the best chain: connected = false). */
    void (*block_result)(void *context, const struct hash256 *hash, uint64_t source, bool connected,
                         const struct error *error);
    /* The store failed (disk full, I/O error): stop cleanly, believe nothing half-written. */
    void (*fatal)(void *context, const struct error *error);
    /* A new block has passed every check that needs no coins, and is about to be connected. True: not from
     * inside this call, but by chain_go_on, when what was sent about it has left. NULL: nobody asks. */
    bool (*checked)(void *context, const struct block_entry *entry, const struct block *block);
    /* This block is valid, and it will be the tip when the bookkeeping is done: work on top of it may begin.
     * NULL: nobody asks. */
    void (*ahead)(void *context, const struct block_entry *entry);
    /* A block of this source whose fate was told as stored (connected = false) breaks a rule: its ancestors
     * have come, or its branch has grown, and it was connected at last. NULL: nobody asks. */
    void (*refused_late)(void *context, const struct hash256 *hash, uint64_t source,
                         const struct error *error);
};

struct chain_config {
    const struct chain_params *params; /* borrowed for the life of the chain */
    size_t coins_cache_bytes;          /* --dbcache, memory bound of the coins cache */
    size_t recent_blocks_bytes;        /* recently seen blocks kept in memory for relay and connecting */
    bool tx_index;
    struct rng *rng;           /* borrowed */
    size_t script_cache_bytes; /* of the script cache, and of the signature cache; any size */
    /* assumevalid: scripts of this block and its ancestors are not run when the best header builds on it, has
     * at least minimum_work and buries the block under two weeks of work. Zero hash: run all. */
    struct hash256 assume_valid;
    struct u256 minimum_work; /* no chain with less is downloaded, no block of it taken unasked */
};

/* Opens what the reader shows: index, best chain, coins; continues the roll-forward of blocks whose bytes are
 * in the files but not in the index once the loop runs (chain_loading is true meanwhile). An empty store
 * begins at genesis. NULL and ERROR_LOCKED/ERROR_IO when the data are foreign, newer, or damaged, saying what
 * to do. */
struct chain *chain_open(const struct chain_config *config, const struct chain_events *events,
                         const struct store_reader *reader, struct error *error) MUST_USE;
/* Starts the pipeline (roll-forward, pending activation): call once, when the loop is ready. */
void chain_start(struct chain *chain, struct moment now);
/* Begins the last flush; events.durable with the tip follows, chain_idle says when nothing is under way.
 * After it chain_accept_* answer ERROR_BUSY. */
void chain_stop(struct chain *chain);
bool chain_idle(const struct chain *chain); /* no job of the chain is out */
void chain_free(struct chain *chain); /* only when idle, or in tests that simulate a crash (jobs are then
                                         leaked to the host, which frees them) */
bool chain_loading(const struct chain *chain); /* still rolling forward */
/* Whether many more blocks are about to come (an import): until told otherwise changes gather into large
 * batches, as they do while the best header is far ahead of the tip. */
void chain_expect_more(struct chain *chain, bool more);
/* Somebody waits for events.durable: it comes when the chain rests, also during a download; from inside this
 * call when all is on disk already. */
void chain_flush(struct chain *chain);

const struct chain_params *chain_parameters(const struct chain *chain);
struct u256 chain_minimum_work(const struct chain *chain);
/* The settled tip: what RPC, peers and miners are told. Never NULL. */
const struct block_entry *chain_tip(const struct chain *chain);
/* The header with most work that is not known to be bad (its block may not be here yet). */
const struct block_entry *chain_best_header(const struct chain *chain);
/* No more than a block or two of that header's chain are missing: we are not catching up. */
bool chain_near_tip(const struct chain *chain);
const struct block_entry *chain_find(const struct chain *chain,
                                     const struct hash256 *hash); /* NULL: unknown */
const struct block_entry *chain_at(const struct chain *chain,
                                   uint32_t height); /* on the settled best chain; NULL above it */
bool chain_contains(const struct chain *chain,
                    const struct block_entry *entry); /* on the settled best chain */
/* Block locator (BIP-less, as Core makes it): appends hashes from entry back, steps doubling after 10. */
void chain_locator(const struct chain *chain, const struct block_entry *entry, struct buf *out_hashes,
                   size_t *count);
/* Highest block of the settled best chain among these hashes (32 bytes each); genesis when none. */
const struct block_entry *chain_find_fork(const struct chain *chain, const uint8_t *hashes, size_t count);
/* The settled tip, then every other end of a branch (getchaintips). Returns how many were written, at most
 * max, which is at least 1. */
size_t chain_tips(const struct chain *chain, const struct block_entry **out, size_t max);

/* nBits and earliest nTime of a block on top of parent, if its nTime were time. */
uint32_t chain_next_bits(const struct chain *chain, const struct block_entry *parent, int64_t time_s);
int64_t chain_min_time(const struct chain *chain, const struct block_entry *parent);

/* Adds a header after all header checks. On success *entry (may be NULL) is set, also for known ones (then it
 * returns true and *is_new, may be NULL, is false). Errors: ERROR_MISSING "prev-blk-not-found", ERROR_INVALID
 * ("high-hash", "bad-diffbits", "time-too-old", "bad-version(0x...)", "bad-prevblk", "time-timewarp-attack"),
 * ERROR_FUTURE "time-too-new". */
bool chain_accept_header(struct chain *chain, const struct block_header *header, struct moment now,
                         const struct block_entry **entry, bool *is_new, struct error *error) MUST_USE;
/* Takes its own reference. Checks that need no other data happen at once: false and *error (and no event).
 * True: events.block_result with `source` comes later. ERROR_DUPLICATE "duplicate" / "duplicate-invalid",
 * ERROR_MISSING "prev-blk-not-found". force: we asked for it, or a person submitted it; else it is stored
 * only with at least the work of the tip and the minimum, and at most BLOCKS_AHEAD_MAX above the tip.
 * Bounded: ERROR_BUSY when too many blocks wait to be written. */
#define BLOCKS_AHEAD_MAX 288u
bool chain_accept_block(struct chain *chain, struct block *block, struct moment now, bool force,
                        uint64_t source, struct error *error) MUST_USE;
/* Half of what may wait to be written waits: time to ask for no more blocks. */
bool chain_disk_lags(const struct chain *chain);
/* Judges a block on the settled tip by every rule but its proof of work (and signet's signature), and keeps
 * nothing of it (BIP23's proposals). Takes its own reference. done comes once, perhaps from inside this call;
 * error NULL: valid; word "inconclusive-not-best-prevblk": its parent is not the tip. Never while the node
 * stops. */
void chain_test_block(struct chain *chain, struct block *block, struct moment now,
                      void (*done)(void *context, const struct error *error), void *context);
/* invalidateblock / reconsiderblock: mark, then activate what is now best. */
bool chain_invalidate(struct chain *chain, const struct hash256 *hash, struct error *error) MUST_USE;
bool chain_reconsider(struct chain *chain, const struct hash256 *hash, struct error *error) MUST_USE;
/* preciousblock: from now until a restart it counts as the first to have come of those with its work; then as
 * above. */
bool chain_prefer(struct chain *chain, const struct hash256 *hash, struct error *error) MUST_USE;
/* Signatures that are known to verify: filled by admission, asked by blocks. Lives as long as the chain. */
struct signature_cache *chain_signatures(struct chain *chain);
/* All scripts of tx have passed under flags, on coins of the current chain or of the mempool (admission): a
 * block that holds it need not run them again. */
void chain_scripts_passed(struct chain *chain, const struct tx *tx, uint32_t flags);
/* True while blocks are being connected or disconnected, or wait for chain_go_on. */
bool chain_busy(const struct chain *chain);
/* A block that events.checked held back waits to be connected; chain_go_on does so. */
bool chain_waits(const struct chain *chain);
void chain_go_on(struct chain *chain, struct moment now);

/* ---- Coins and blocks for the others ----------------------------------------------------------------- */

struct coins_view; /* the answer to chain_fetch_coins: coins borrowed until coins_view_free */
/* Looks up coins in cache and store as of the moment of the answer. `done` is called once, later or at once
 * from inside this call when all are cached; view NULL when the store failed. Takes a copy of the outpoints.
 */
void chain_fetch_coins(struct chain *chain, const struct outpoint *outpoints, size_t count,
                       void (*done)(void *context, struct coins_view *view), void *context);
/* NULL: not an unspent output of the current chain. */
const struct coin *coins_view_get(const struct coins_view *view, size_t index);
void coins_view_free(struct coins_view *view);

/* The block of an entry that has BLOCK_HAVE_DATA: from memory at once, else by a read. block NULL: failed.
 * The callee takes over one reference. */
void chain_read_block(struct chain *chain, const struct block_entry *entry,
                      void (*done)(void *context, struct block *block), void *context);
/* The coins that a connected block spent, in the order of its inputs (the coinbase has none): from memory at
 * once, else by a read of its undo record. `block` is the entry's and need not outlive the call. spent NULL:
 * no record is kept (the block was never connected), or it is damaged; else borrowed until `done` returns. */
void chain_read_spent(struct chain *chain, const struct block_entry *entry, const struct block *block,
                      void (*done)(void *context, const struct coin *spent), void *context);
/* The bytes of a block that is in a file, borrowed during the call; empty: failed. Always later. */
void chain_read_raw(struct chain *chain, const struct block_entry *entry,
                    void (*done)(void *context, struct span block), void *context);
struct block *chain_recent_block(struct chain *chain,
                                 const struct hash256 *hash); /* borrowed, NULL when not in memory */

/* A confirmed transaction by id through the tx index. entry NULL: unknown. tx: one reference for the callee.
 */
void chain_read_tx(struct chain *chain, const struct hash256 *txid,
                   void (*done)(void *context, struct tx *tx, const struct block_entry *entry),
                   void *context);

struct utxo_stats {
    const struct block_entry *tip;
    uint64_t txouts, transactions, bogo_size;
    int64_t total_sat;
    struct hash256 hash; /* by the kind that was asked for; zeros for none */
    bool failed;
};
enum utxo_hash {
    UTXO_HASH_NONE,
    UTXO_HASH_SERIALIZED_3, /* Core's: double SHA-256 over the sorted set */
    UTXO_HASH_MUHASH,       /* Core's: MuHash3072 */
};
/* Flushes, then scans the stored set. stats is borrowed during the call. */
void chain_utxo_stats(struct chain *chain, enum utxo_hash kind,
                      void (*done)(void *context, const struct utxo_stats *stats), void *context);

/* Every unspent coin that pays one of some scripts, found by reading them all: no index is needed. */
struct coin_scan;
struct coin_scan_result {
    const struct block_entry *tip; /* that the coins belong to */
    bool failed, aborted;
    bool too_many; /* coins: more than may be shown */
    uint64_t txouts;
    struct span rows; /* for coin_scan_next */
};
/* Copies the scripts, flushes, then reads. The result is borrowed during the call of done, which comes once
 * and never from inside this call. What is returned may be asked and aborted until then. */
struct coin_scan *chain_scan_scripts(struct chain *chain, const struct span *scripts, size_t count,
                                     void (*done)(void *context, const struct coin_scan_result *result),
                                     void *context);
unsigned coin_scan_percent(const struct coin_scan *scan);
void coin_scan_abort(struct coin_scan *scan);
/* The next coin found; script: the index of its script. False at the end. */
bool coin_scan_next(struct cursor *rows, struct outpoint *outpoint, struct coin *coin, size_t *script);

/* Core's verifychain, from the tip down over so many blocks (0: all), at level 0 to 4 (see verify.c). Blocks
 * wait meanwhile. done comes once, false also when the chain stops first; the log says what is wrong. False:
 * another one is under way, or the chain is stopping. */
bool chain_verify(struct chain *chain, unsigned level, uint32_t blocks,
                  void (*done)(void *context, bool holds), void *context) MUST_USE;

/* ---- The address index (with the tx index; complete only when it was on from genesis) */

enum address_rows { ADDRESS_COINS = 1, ADDRESS_HISTORY = 2 };
struct address_result {
    const struct block_entry *tip; /* that the rows belong to */
    bool failed;                   /* or no index is kept */
    uint64_t total;                /* rows there are; `rows` holds those from skip on, at most limit */
    struct span rows;
};
struct address_event { /* what one transaction did to one script; spans are borrowed */
    uint32_t height, first_output /* to it; UINT32_MAX: none */, input_count, output_count, size_bytes;
    struct hash256 txid;
    int64_t received_sat, spent_sat, total_output_sat, fee_sat;
    bool coinbase;
    struct span from, to; /* scripts of the first input and of the first output to others; may be empty */
};
/* Flushes, then reads. The result is borrowed during the call of done, which comes once, perhaps at once. */
void chain_scan_address(struct chain *chain, struct span script, enum address_rows kind, uint64_t skip,
                        uint64_t limit, void (*done)(void *context, const struct address_result *result),
                        void *context);
bool address_coin_next(struct cursor *rows, struct outpoint *outpoint, struct coin *coin); /* no script */
bool address_event_next(struct cursor *rows, struct address_event *out);

struct chain_metrics {
    size_t headers, index_bytes, coins_cache_bytes, coins_cached, recent_bytes;
    uint64_t scripts_run, scripts_known, scripts_assumed; /* inputs of connected blocks */
    uint64_t coins_read, coins_hit, batches, batch_bytes, blocks_connected, blocks_disconnected;
};
void chain_metrics(const struct chain *chain, struct chain_metrics *out);

/* ---- Block files as bytes (--loadblock, roll-forward, benchmarks) ------------------------------------ */

/* Reads one record [magic][u32 length][block] at the cursor. 1: *block_bytes is set; 0: clean end (nothing
 * left or only zeros); -1: damaged here, *error says what; -2: the record goes on beyond the bytes given. */
int blockfile_next(struct cursor *c, struct span *block_bytes, const uint8_t magic[4], struct error *error);
void blockfile_record(struct buf *out, const uint8_t magic[4], struct span block_bytes);

#endif
