/*
 * Private to quarry-api: the server's state, one request on its way, and the seams between the files.
 *
 *   server.c   sockets, h2o, limits, start and stop      gate.c    who may: host, origin, key, rate
 *   routes.c   the table of routes and the OpenAPI page   reply.c   the envelope, errors, cached answers
 *   node.c     the node over its Unix socket              limit.c   buckets in memory; redis.c: shared ones
 *   views.c    chain, transactions, mining as JSON        wallet.c  wallet files; spend.c: choosing, signing
 *   work.c     files, signatures and names, beside the loop   conns.c   connections and their bounds
 *   rpc.c      JSON-RPC over HTTP, an address of its own  core_rest.c  Bitcoin Core's REST, beside it
 *
 * One thread, h2o's event loop; nothing on it blocks.
 */
#ifndef QUARRY_API_PRIVATE_H
#define QUARRY_API_PRIVATE_H

#include <h2o.h>
#include <jansson.h>

#include "io/io.h"

enum role { ROLE_NONE, ROLE_WALLET, ROLE_ADMIN };
enum serve { SERVE_HEALTH = 1, SERVE_METRICS = 2, SERVE_REST = 4, SERVE_WEB = 8, SERVE_RPC = 16 };
#define HEAD_BYTES_MAX 32768u /* of a request's line and headers */

struct exchange;

struct route {
    const char *method; /* GET routes answer HEAD too */
    const char *path;   /* below a prefix; one {name} segment at most */
    unsigned areas;     /* enum area */
    enum role role;     /* under /api/v1; the other areas ask for their own */
    unsigned serve;
    unsigned flags;
    void (*handle)(struct exchange *x);
    const char *tag, *summary, *body; /* body: JSON schema properties of a request body, or NULL */
};
enum area { AREA_V1 = 1, AREA_ADMIN = 2, AREA_WALLET = 4, AREA_ROOT = 8, AREA_API = 16 };
enum route_flags { ROUTE_CACHED = 1, ROUTE_EXEMPT = 2, ROUTE_FAUCET = 4 };

/* What the request's pool holds for us: it tells when the client has left or has got its answer. */
struct guard {
    struct exchange *x; /* NULL: answered */
    struct conn *conn;
};

/* One request. It lives until it is answered; when the client leaves first, req becomes NULL. */
struct exchange {
    struct api *api;
    struct front *front;
    h2o_req_t *req;
    struct guard *guard; /* NULL with req */
    const struct route *route;
    enum role role;
    char param[128]; /* what stood for {name} */
    char client[64]; /* address that limits count */
    json_t *body;
    void (*then)(struct exchange *x, json_t *replies);       /* what the node's answer goes to … */
    void (*then_text)(struct exchange *x, struct span text); /* … or this, as it is */
    struct list link; /* waiting for a connection to the node, or to be told 401 */
    struct buf ask;
    int64_t asked_us, patience_us;
    json_t *state; /* the handler's own, between steps */
    int64_t number, page, limit;
    bool is_core_rest; /* whose errors are plain text */
    struct limit_wait *limit_wait;
    int64_t rate_remaining;
    char etag[24];    /* empty: the answer is not to be kept */
    struct task task; /* work.c: what runs beside the loop … */
    void (*work)(struct exchange *x);
    void (*worked)(struct exchange *x); /* … and what follows on it */
    struct error error;                 /* of that work */
    struct tx *tx;                      /* that it made; one reference or NULL */
};

struct counters {
    uint64_t requests, answered[6]; /* by first digit of the status */
    uint64_t limited, redis_fallbacks, redis_losses, node_calls, node_losses, connections, refused, cut;
};

struct node_status { /* getstatus, as of at_us; valid: the node answered lately */
    bool valid, synced;
    int64_t height, peers, mempool, uptime_s, transactions;
    char tip[65];
    double hashes_per_s, difficulty;
    json_t *workers; /* owned: what each hash worker of the node has counted */
    json_t *latency; /* owned: histograms of how long blocks take through the node */
    int64_t at_us;
};

/* A face to the world: listeners that share bounds and a handler. */
struct front {
    struct api *api;
    h2o_globalconf_t conf;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    void (*handle)(struct exchange *x);
    bool is_rpc;
};

struct api {
    const struct settings *settings;
    struct chain_params params;
    unsigned serve;
    bool production, well_known_keys;
    char admin_key[256], wallet_key[256];
    char *wallet_dir;
    struct front web, rpc_front;
    struct conns *conns;
    h2o_loop_t *loop;
    h2o_timeout_t tick_timeout;
    h2o_timeout_entry_t tick;
    int64_t started_us;
    struct node_link *node, *rpc_node; /* the latter: for JSON-RPC, where some calls wait for ever */
    struct rpc_face *rpc;              /* NULL: not served */
    struct work *work;
    struct limits *limits;
    struct shared_limits *redis; /* NULL: none configured */
    struct map cache;            /* 128-bit key of a path -> struct cached */
    struct rng rng;
    struct counters counters;
    struct node_status status;
    size_t in_flight; /* exchanges */
};

/* conns.c */
struct conns *conns_new(struct api *api);
void conns_free(struct conns *conns);
void conns_accept(struct conns *conns, struct front *front, h2o_socket_t *socket); /* takes it over */
void conns_tick(struct conns *conns, int64_t now_us);
struct conn *conn_of(const h2o_req_t *req);
bool conn_asks(struct conn *conn, struct exchange *x); /* false: there is no place for it, to be told 503 */
bool conn_answers(struct conn *conn, size_t len);      /* false: all answers together hold too much */
void conn_is_done(struct conn *conn);                  /* the answer is written, or the client has left */

/* reply.c */
void reply_data(struct exchange *x, json_t *data); /* 200; takes over data; ends the exchange */
void reply_error(struct exchange *x, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* With the headers that browsers want; and without. */
void reply_text(struct exchange *x, int status, const char *type, const void *text, size_t len);
void reply_plain(struct exchange *x, int status, const char *type, const void *text, size_t len);
void set_etag(struct exchange *x, const void *data, size_t len);      /* of what the answer says */
void add_header(h2o_req_t *req, const char *name, const char *value); /* copies the value */
const char *reason_of(int status);
void put_error(struct buf *out, const char *code, const char *sentence); /* the envelope */
bool reply_from_cache(struct exchange *x);                               /* true: answered and ended */
void cache_begin(struct api *api);
void cache_drop(struct api *api); /* after a write: readers see it */
void put_timestamp(char out[40], int64_t unix_us);
void exchange_free(struct exchange *x);

/* routes.c */
extern const struct route routes[];
/* The route of a request, or NULL with allowed methods in *allow (empty: unknown path). */
const struct route *route_find(const char *method, size_t method_len, const char *path, size_t path_len,
                               enum area *area, char param[128], char allow[64]);
void openapi(struct exchange *x);

/* gate.c: 0 refused and answered, else goes on by route_run, now or after Redis has said yes */
void gate(struct exchange *x, enum area area);
void route_run(struct exchange *x); /* server.c */

/* limit.c */
struct verdict {
    bool allowed;
    int64_t remaining, retry_after_s;
};
struct limits *limits_new(struct rng *rng, double per_s, double burst);
void limits_free(struct limits *limits);
struct verdict limits_take(struct limits *limits, const char *client, int64_t now_us);
/* Redis knows better: what a client has left there. */
void limits_learn(struct limits *limits, const char *client, int64_t remaining, int64_t now_us);
/* What a client has; a full bucket where nothing is known. */
double limits_tokens(const struct limits *limits, const char *client, int64_t now_us);
double limits_rate(const struct limits *limits);
double limits_burst(const struct limits *limits);
void limit_verdict(struct exchange *x, struct verdict verdict); /* gate.c: answers 429 or goes on */

/* redis.c */
struct redis_address {
    char user[128], password[256];
    char host[256]; /* empty: a Unix socket */
    int port;
    char *shown; /* owned: HOST:PORT or unix:PATH as given, without user and password */
};
/* HOST[:PORT], unix:PATH, or redis://[[USER]:PASSWORD@]HOST[:PORT], IPv6 in brackets, %XX for other
 * characters in user and password. ERROR_USAGE: the text is not repeated, it may hold a password. */
bool redis_address_parse(struct redis_address *out, const char *text, struct error *error) MUST_USE;
struct shared_limits *shared_limits_new(struct api *api,
                                        struct error *error); /* NULL: such an address there is not */
void shared_limits_free(struct shared_limits *shared);
void shared_limits_take(struct shared_limits *shared, struct exchange *x); /* limit_verdict follows */
void shared_limits_tick(struct shared_limits *shared, int64_t now_us);
bool shared_limits_up(const struct shared_limits *shared);

/* node.c */
struct node_link *node_link_new(struct api *api, size_t connections, size_t waiting_max, bool asks_status);
void node_link_free(struct node_link *link);
void node_link_tick(struct node_link *link, int64_t now_us);
bool node_link_up(const struct node_link *link);
/* Asks several methods at once; calls: an array of {"method","params"}, taken over. `then` gets the array of
 * replies in order, borrowed; when the node is gone, busy or silent the exchange is answered 503 instead. */
void node_ask(struct exchange *x, json_t *calls, void (*then)(struct exchange *x, json_t *replies));
/* Hands one line on as it is (without newline); `then` gets the node's line. No time limit. */
void node_forward(struct exchange *x, struct span line, void (*then)(struct exchange *x, struct span text));
void node_forget(struct exchange *x); /* the client has left: so does its question. x stays */
/* One method; params by json_pack's format or NULL. Appends to calls. */
void add_call(json_t *calls, const char *method, json_t *params);
json_t *reply_result(json_t *replies, size_t index); /* NULL: that call failed */
/* The error of a call as an answer; ends the exchange. */
void reply_node_error(struct exchange *x, json_t *replies, size_t index);
void status_learn(struct api *api, const json_t *result);

/* rpc.c: JSON-RPC over HTTP */
bool rpc_face_new(struct api *api, struct error *error); /* credentials; sets api->rpc */
void rpc_face_opened(struct api *api);                   /* it listens: the cookie is written */
void rpc_face_free(struct rpc_face *face);
void rpc_face_tick(struct rpc_face *face, int64_t now_us);
void rpc_request(struct exchange *x);
struct subnet {
    uint8_t address[16]; /* IPv4 mapped */
    unsigned bits;
};
bool client_subnet_parse(struct subnet *out, const char *text); /* ADDRESS or ADDRESS/BITS */
bool subnet_holds(const struct subnet *subnet, const uint8_t address[16]);
int rpc_status(struct span reply); /* HTTP's, of the node's answer */
/* Whether user:password is what an rpcauth entry USER:SALT$HASH stands for. */
bool rpc_auth_matches(const char *entry, const char *given, size_t len);
void rpc_unavailable(struct exchange *x, const char *message); /* the node does not answer */

/* core_rest.c: GET of a path that begins so */
#define CORE_REST_PREFIX "/rest/"
void core_rest_request(struct exchange *x);
void core_rest_unavailable(struct exchange *x, const char *message);

/* settings of keys: keys.c */
bool keys_load(struct api *api, struct error *error);
enum role key_role(const struct api *api, const char *key, size_t len);

/* work.c */
struct work *work_new(h2o_loop_t *loop);
void work_free(struct work *work); /* finishes what is queued */
/* `work` beside the loop, then `worked` on it; 503 when too much is queued. Until then x is work's. */
void work_run(struct exchange *x, void (*work)(struct exchange *x), void (*worked)(struct exchange *x));
void work_resolve(struct work *work, struct task *task); /* names; its done calls work_resolved */
void work_resolved(struct work *work);

/* wallet.c: one file per wallet in the shared folder; blocking, any thread */
json_t *wallet_create(const struct api *api, const char *label, struct error *error); /* as shown, or NULL */
json_t *wallet_list(const struct api *api);
json_t *wallet_show(const struct api *api, const char *address); /* NULL: not ours */
bool wallet_key_of(const struct api *api, const char *address, struct key *out);
size_t purse_keys(const struct api *api, struct key *out, size_t max);

/* views.c, spend.c, pages: handlers */
#define HANDLER(name) void name(struct exchange *x)
HANDLER(show_health);
HANDLER(show_live);
HANDLER(show_ready);
HANDLER(show_blockchain);
HANDLER(show_blocks);
HANDLER(show_latest_blocks);
HANDLER(show_block);
HANDLER(show_mempool);
HANDLER(show_mempool_tx);
HANDLER(show_transactions);
HANDLER(show_address_transactions);
HANDLER(show_mining);
HANDLER(generate_blocks);
HANDLER(create_wallet);
HANDLER(list_wallets);
HANDLER(show_wallet);
HANDLER(show_balance);
HANDLER(send_payment);
HANDLER(pay_from_faucet);
HANDLER(show_metrics);
HANDLER(show_page);

/* views.c: a whole number of decimal digits in a query "name=value&…"; *out only changes where it is found.
 */
enum found { FOUND_NOT, FOUND, FOUND_WRONG };
enum found query_find(struct span query, const char *name, int64_t *out, int64_t least, int64_t most);

bool address_ok(struct exchange *x, const char *address); /* false: answered 400 */

#endif
