/*
 * tests/sim: the whole cluster in one process, from one seed.
 *
 * N nodes of the real core (core/node: events in, actions out) on virtual time (world.c), a simulated network
 * (network.c) and a simulated disk per node (disk.c); scenarios.c drives them and says what must hold. The
 * same seed gives the same run to the byte: the digest of everything that happened shows it. Not here: real
 * sockets, files, threads and clocks (io/), and anything that softens what the core does.
 */
#ifndef QUARRY_TESTS_SIM_H
#define QUARRY_TESTS_SIM_H

#include "core/node/node.h"

#define US               INT64_C(1000000)
#define SIM_NODES_MAX    10
#define SIM_LIARS_MAX    2
#define SIM_PLACES_MAX   (SIM_NODES_MAX + SIM_LIARS_MAX)
#define SIM_FILES_MAX    4
#define SIM_LOADS_MAX    2 /* files for --loadblock: "load0", "load1" */
#define SIM_MEMPOOL_FILE "mempool.dat"
#define SIM_CONNECTS     4
#define SIM_PORT         2001u
#define SIM_DEPTH        3u /* of payments that spend each other: stays within the mempool's limits */
#define SIM_START_UNIX   INT64_C(1767230000) /* a while after the genesis block of cluster networks */
#define SIM_SLEEP_S      (3 * 86400)

struct world;
struct sim_node;

/* ---- Time (world.c) ---------------------------------------------------------------------------------- */

/* Something that happens later. It owns nothing; a task of a node is dropped when that life of it is over. */
struct task {
    int64_t at_us;
    uint64_t sequence; /* order among tasks of the same moment */
    void (*run)(struct world *world, struct task *task);
    struct sim_node *node; /* NULL: nobody's */
    uint32_t life;
    uint64_t number;
    void *object;
    int side;
};
struct task *world_later(struct world *world, int64_t in_us, struct sim_node *node,
                         void (*run)(struct world *world, struct task *task));
void world_run(struct world *world, int64_t for_us); /* until then, or until something failed */

/* Randomness of the world, apart from the nodes' own. */
uint64_t pick(struct world *world, uint64_t below);
bool chance(struct world *world, unsigned percent);
int64_t pick_between(struct world *world, int64_t least, int64_t most);
double pick_exponential(struct world *world, double mean);

/* The first failure counts; the run ends there. Returns false. */
bool world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_digest(struct world *world, const void *data, size_t len);
/* A line of the history, behind the time. */
void world_say(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Disk (disk.c) ----------------------------------------------------------------------------------- */

struct kv_row {
    struct buf key, value;
};
struct kv_store { /* rows sorted by key */
    struct {
        struct kv_row *rows;
        size_t count, capacity;
    } cf[CF_COUNT];
};

struct disk_file {
    struct buf now;     /* what a reader sees */
    struct buf durable; /* what is there after a power loss, whatever happens */
};

struct disk {
    struct disk_file files[2][SIM_FILES_MAX];
    struct list unsynced; /* struct disk_write, in order */
    struct kv_store now, durable;
    struct list log;       /* struct disk_batch: in `now`, not in `durable` */
    struct list ops;       /* struct disk_op: jobs that are out */
    uint64_t counter;      /* orders completions of writes and submissions of commits */
    double mean_us;        /* of one operation */
    unsigned slow_percent; /* operations that take a hundred times as long */
    int64_t slow_until_us; /* until then one of those is out */
    int64_t full_from_us;  /* no write and no batch finds room; 0: they do */
    bool has_refused;      /* one of this life: its node may stop by itself */
};
void disk_init(struct disk *disk);
void disk_free(struct disk *disk);
void disk_submit(struct world *world, struct sim_node *node, struct job *job);
/* The node's process is gone: jobs that are out may have done their work, or a part of it. The jobs
 * themselves are given out one by one by disk_take_job, to be failed. */
void disk_process_died(struct world *world, struct sim_node *node);
struct job *disk_take_job(struct disk *disk); /* NULL: none is out */
/* Any subset of what was not synced is gone, or torn. */
void disk_power_loss(struct world *world, struct sim_node *node);
bool disk_idle(const struct disk *disk);
struct store_reader disk_reader(struct disk *disk);

/* ---- Nodes (world.c) --------------------------------------------------------------------------------- */

struct sim_call { /* an RPC call under way */
    struct list link;
    uint64_t id;
    struct sim_node *node;
    char *text; /* until it has arrived */
    /* reply: the whole JSON text; NULL when the node died before. */
    void (*done)(struct world *world, struct sim_call *call, const char *reply);
    void *context;
    uint64_t number;
};

/* What a node is about to do when its power fails: the moments that matter most. */
enum doom { DOOM_NONE, DOOM_BLOCK, DOOM_UNDO, DOOM_FLUSH, DOOM_REORGANISATION, DOOM_COUNT };

struct sim_node {
    struct world *world;
    uint32_t index, life;
    struct node *node; /* NULL: down */
    struct liar *liar; /* not NULL: no node at all, but a peer that lies (liar.c) */
    struct node_config config;
    char *connect[SIM_CONNECTS];
    struct disk disk;
    struct key key;
    struct buf payout_script, peers_file;
    struct buf mempool_file, mempool_new; /* mempool.dat; what is being written beside it */
    char payout_address[ADDRESS_TEXT];
    int64_t skew_us; /* of its wall clock */
    double hash_rate;
    struct work_order work;
    uint64_t work_number, timer_number;
    peer_id next_inbound;
    uint64_t next_rpc;
    struct list calls;
    enum doom doom;      /* its power fails soon after it has begun this */
    unsigned doom_after; /* so many of those are let pass */
    bool stop_asked;
    int64_t stop_asked_us;
    bool stopped_cleanly;
    struct hash256 last_tip; /* at its last clean stop */
    struct buf promised;     /* hashes of blocks that it has said are on its disk */
};

struct world {
    uint64_t seed;
    struct rng rng;
    int64_t now_us, start_unix_s; /* since the start; when that was */
    struct task *heap;
    size_t task_count, task_capacity;
    uint64_t next_sequence;
    struct chain_params params;
    struct sim_node nodes[SIM_PLACES_MAX]; /* the honest ones; liars stand behind SIM_NODES_MAX */
    uint32_t node_count, liar_count;
    struct sim_node *current; /* whose code runs: for the log */
    bool burying;             /* a crash is under way: what the core says now is heard by nobody */
    enum tells { TELLS_NOTHING, TELLS_HASH, TELLS_ALL } tells;
    uint64_t digest;  /* of every event and every byte that arrived */
    uint64_t history; /* of every line of the log, where one is kept */
    uint64_t events, blocks_found;
    char failure[512];
    /* network.c */
    struct list connections;
    bool cut[SIM_PLACES_MAX][SIM_PLACES_MAX];            /* from, to */
    int64_t distance_us[SIM_PLACES_MAX][SIM_PLACES_MAX]; /* the lower index first; on top of the latency */
    int64_t latency_least_us, latency_most_us;
    size_t chunk_max, window;
    unsigned loss_percent;      /* of pieces that are lost and sent again later; those behind them wait */
    unsigned overtaken_percent; /* of pieces that take a longer way */
    uint64_t bytes_per_second;  /* of each direction of a connection; 0: no limit */
    struct buf loads[SIM_LOADS_MAX]; /* that every node can read */
    /* liar.c */
    bool truce;
    struct map lies; /* hashes of blocks that nobody may ever have on a best chain */
    /* money.c */
    struct wallet *wallet;
    uint32_t depth_max; /* of payments that spend each other */
};

/* tells: whether the history is written down, and whether it is shown or only hashed. It changes nothing of
 * what happens. */
struct world *world_new(uint64_t seed, const char *scenario, enum tells tells);
void world_free(struct world *world);
/* A node that is down; start it with node_up. connects: indices of nodes that it dials. */
struct sim_node *world_add_node(struct world *world, bool mines, const uint32_t *connects, size_t count);
bool node_up(struct sim_node *n);                /* false: it could not be opened, and the world failed */
void node_crash(struct sim_node *n, bool power); /* the process dies at once; with the power, or without */
void node_ask_stop(struct sim_node *n);          /* SIGTERM */
/* The disk has room again; a node that has met the lack of it stops first. */
void node_make_room(struct sim_node *n);
/* Runs the world until it has stopped: within 2 s, not counting what a stuck disk takes. */
bool node_await_stop(struct sim_node *n);
void node_set_rate(struct sim_node *n, double rate);      /* hashes per second */
void node_event(struct sim_node *n, struct event *event); /* with everything that follows at once */
void node_drain(struct sim_node *n);                      /* carries out what the core wants */
void node_call(struct sim_node *n, const char *method, const char *params,
               void (*done)(struct world *world, struct sim_call *call, const char *reply), void *context,
               uint64_t number);
/* Calls and runs the world until the answer is there (at most a minute). The whole reply, to be freed with
 * mem_free; NULL: none came, and the world failed. */
char *node_ask(struct sim_node *n, const char *method, const char *params);

/* ---- Liars (liar.c) ---------------------------------------------------------------------------------- */

static inline bool sim_alive(const struct sim_node *n)
{
    return n->node || n->liar;
}
struct sim_node *world_add_liar(struct world *world);
void world_truce(struct world *world); /* they hang up and keep quiet */
void world_lie(struct world *world, const struct hash256 *hash);
void liar_event(struct sim_node *n, const struct event *event);
void liars_hear_of_block(struct sim_node *finder); /* sooner than most */
void liar_free(struct sim_node *n);

/* ---- Network (network.c) ----------------------------------------------------------------------------- */

void network_dial(struct sim_node *n, peer_id peer, const char *host);
void network_send(struct sim_node *n, peer_id peer, struct span bytes);
void network_close(struct sim_node *n, peer_id peer);
void network_pause(struct sim_node *n, peer_id peer, int64_t until_us); /* nothing is read from it */
void network_node_down(struct sim_node *n);
void network_drop_one(struct world *world);    /* some connection breaks */
void network_silence_one(struct world *world); /* some connection is dead, and its ends are not told */
void network_cut(struct world *world, uint32_t a, uint32_t b, bool cut);
void network_cut_one_way(struct world *world, uint32_t from, uint32_t to);
void network_heal(struct world *world);
void network_free(struct world *world);

/* ---- Planted bugs (plant.c) -------------------------------------------------------------------------- */

extern const char *const plants[]; /* ends with NULL */
bool plant_choose(const char *name);
bool plant_is(const char *name); /* the chosen one */

/* ---- Money (money.c) --------------------------------------------------------------------------------- */

/* A payment from somebody to somebody, given to this node; nothing when it knows no money to spend. */
void money_pay(struct sim_node *n);
/* An unspent coinbase of somebody's that a block on this parent could spend, or could not yet. */
bool money_some_coin(struct world *world, const struct chain *chain, const struct block_entry *parent,
                     bool mature, struct outpoint *coin);
void money_reorganised(struct sim_node *n); /* blocks have left its best chain */
/* When all agree: every payment that was taken is on the chain or in the mempool of the node that took it,
 * unless its money is gone or was gone meanwhile, or another payment of it was taken too; and no money is
 * spent twice. */
bool money_is_somewhere(struct world *world);
void money_free(struct world *world);

/* ---- What must hold (check.c) ------------------------------------------------------------------------ */

/* A block as the node's files have it, one reference for the caller; NULL: the bytes are not there yet. */
struct block *sim_read_block(struct sim_node *n, const struct block_entry *e);
static inline const struct block_entry *sim_tip(const struct sim_node *n)
{
    return chain_tip(node_chain(n->node));
}
/* Begins the map: the ids of all transactions on its best chain. */
void sim_confirmed(struct sim_node *n, struct map *txids);
/* Nobody mines any more, and those that are up must come to one tip. */
bool check_living_agree(struct world *world);
/* The same with everybody up, all lines whole and the liars quiet. */
bool check_agree(struct world *world);
/* What gettxoutsetinfo says, to be freed with mem_free; and whether it says the same as another has. */
char *check_utxo_set(struct sim_node *n);
bool check_utxo_set_is(struct sim_node *n, const char *wanted, const char *whose);
void check_end(struct world *world); /* the end of every scenario: all of it */

/* ---- Scenarios (scenarios.c) ------------------------------------------------------------------------- */

struct scenario {
    const char *name;
    void (*run)(struct world *world);
};
extern const struct scenario scenarios[]; /* ends with a NULL name */
bool sim_until_height(struct sim_node *n, uint32_t height);
void run_reorganise(struct world *world); /* branches.c */
void run_load(struct world *world);

#endif
