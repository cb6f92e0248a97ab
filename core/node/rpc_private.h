/* Private to the RPC files of core/node: a call, its arguments, the JSON writer, and the table of methods. */
#ifndef QUARRY_CORE_NODE_RPC_PRIVATE_H
#define QUARRY_CORE_NODE_RPC_PRIVATE_H

#include <jansson.h>

#include "core/node/node_private.h"

/* One method call. A handler ends it, now or later, with exactly one of rpc_ok and rpc_fail. */
struct rpc_call {
    struct list link; /* in rpc_state.calls */
    struct node *node;
    struct rpc_batch *batch;
    size_t batch_index;
    uint64_t source; /* for blocks and transactions it brings in */
    const struct rpc_method *method;
    json_t *params; /* an array, named ones put in order */
    json_t *id;
    bool version_2;      /* JSON-RPC 2.0: errors and results apart */
    struct buf out;      /* the result, as JSON */
    struct hash256 hash; /* what it waits for */
    bool waits_for_disk;
    enum rpc_wait {
        WAIT_NOTHING,
        WAIT_OTHER_TIP,
        WAIT_THIS_TIP,
        WAIT_HEIGHT,
        WAIT_TEMPLATE
    } waits_for; /* rpc_wait.c */
    int64_t wait_until_us, began_us;
    void (*go_on)(struct rpc_call *call); /* after every event: more of its answer; NULL: nothing */
    struct buf list;                      /* of what that is about; */
    size_t list_at;                       /* so far */
    uint32_t number;
    uint64_t sequence;             /* of the mempool, that a long poll knows */
    int64_t fee_rate_sat;          /* per kvB, at most; 0: no limit */
    struct tx *tx;                 /* to be sent; one reference or NULL */
    struct block *block;           /* to be shown; one reference or NULL */
    struct submission *submission; /* transactions to be judged (rpc_package.c); owned, or NULL */
    bool flag;
};

struct rpc_batch { /* the requests of one line */
    uint64_t rpc;
    json_t *requests; /* an array, or the one request */
    bool is_array, gone, running;
    size_t count, begun, ended; /* one at a time, in order */
    size_t reply_bytes;
    struct buf *replies;
    struct list link; /* in rpc_state.ready: the next one may begin */
};

struct rpc_method {
    const char *category, *name;
    /* "name:type …" or "name|alias:type …", a '?' behind optional ones; types: text, number, bool, array, any
     */
    const char *params;
    void (*handle)(struct rpc_call *call);
    const char *help;
};
extern const struct rpc_method rpc_methods[];

struct rpc_state {
    struct list calls; /* under way */
    struct list ready; /* batches that go on after this event */
    uint64_t next_source;
    struct buf replaced; /* ids that one admission has replaced so far (rpc_package.c) */
    struct scan *scan;   /* scantxoutset that is under way, or NULL (rpc_scan.c) */
};
void rpc_scan_free(struct rpc_state *rpc);

void rpc_ok(struct rpc_call *call); /* call->out is the result; empty means null */
void rpc_fail(struct rpc_call *call, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void rpc_ok_when_on_disk(struct rpc_call *call);

/* Arguments. Each returns false after it has failed the call; absent ones leave the default untouched. */
bool arg_text(struct rpc_call *call, size_t index, const char **out);
bool arg_number(struct rpc_call *call, size_t index, int64_t *out, int64_t least, int64_t most);
bool arg_bool(struct rpc_call *call, size_t index, bool *out);
bool arg_hash(struct rpc_call *call, size_t index, const char *name, struct hash256 *out);
bool arg_script(struct rpc_call *call, size_t index, struct buf *script); /* an address */
bool arg_verbosity(struct rpc_call *call, size_t index, uint32_t *out);   /* a number, or true for 1 */
json_t *arg_any(struct rpc_call *call, size_t index);                     /* NULL: absent or null */

/* The writer: ordered JSON text. A key is NULL inside arrays. */
void put_open(struct buf *out, const char *key, char bracket); /* '{' or '[' */
void put_close(struct buf *out, char bracket);
void put_text(struct buf *out, const char *key, const char *value);
void put_span_text(struct buf *out, const char *key, struct span value);
void put_int(struct buf *out, const char *key, int64_t value);
void put_real(struct buf *out, const char *key, double value);
void put_yes(struct buf *out, const char *key, bool value);
void put_null(struct buf *out, const char *key);
void put_amount(struct buf *out, const char *key, int64_t sat);
void put_hash(struct buf *out, const char *key, const struct hash256 *hash);
void put_hex(struct buf *out, const char *key, struct span bytes);
void put_raw(struct buf *out, const char *key, struct span json);

/* rpc_chain.c: "bits" and "target" */
void put_bits(struct buf *out, uint32_t bits);
void put_u256(struct buf *out, const char *key, struct u256 number); /* as hashes are shown */

/* rpc_tx.c */
/* "workers": what each hash worker has counted, as of the last report (a second ago at most). */
void put_hash_workers(struct buf *out, const struct node *node);
void put_tx(struct buf *out, const struct node *node, const struct tx *tx); /* the members, without braces */
/* The same with what the transaction spent, one coin per input (NULL: not known): its fee and, if they are
 * asked for, the outputs that it spent. */
void put_tx_spent(struct buf *out, const struct node *node, const struct tx *tx, const struct coin *spent,
                  bool prevouts);
struct tx *tx_from_hex(const char *hex); /* one reference; NULL: not a transaction */
/* The first argument as a transaction; NULL after the call was failed with these words. */
struct tx *arg_tx(struct rpc_call *call, const char *failure);

/* rpc_script.c */
void put_script(struct buf *out, const char *key, const struct node *node, struct span script);

#define RPC_DERIVED_MAX 20000 /* indexes that one call derives, on the loop thread */
/* rpc_descriptor.c. Each returns false after it has failed the call. */
/* A number (from 0 on), or [first, last]. */
bool range_from_json(struct rpc_call *call, const json_t *value, uint32_t *first, uint32_t *last);
bool expand_range(struct rpc_call *call, struct descriptor *descriptor, uint32_t first, uint32_t last,
                  descriptor_script *each, void *context);

/* rpc_mempool.c */
/* {"txid", "vout"}; false after the call was failed. */
bool outpoint_from_json(struct rpc_call *call, const json_t *item, struct outpoint *out);
/* The fee rate per kvB above which a person has surely slipped; 0: no such limit. */
bool arg_fee_rate(struct rpc_call *call, size_t index, int64_t *per_kvb_sat);
int64_t rpc_burned_at_most(
    const struct tx *tx); /* the largest amount that one of its outputs burns; -1: none */
#define RPC_REJECT_TEXT 400
void rpc_reject_text(char out[RPC_REJECT_TEXT], const struct error *error); /* the reason, as Core words it */
/* rpc_package.c: what the mempool answers to a call that has a submission */
void rpc_submission_tested(struct rpc_call *call, struct amount fee, const struct error *error);
void rpc_submission_result(struct rpc_call *call, const struct error *error);
void rpc_submission_judged(struct rpc_call *call, const struct package_member *members, size_t count);
void rpc_submission_free(struct submission *submission); /* NULL is fine */

/* rpc_mining.c: BIP22's word for a block that is known already */
void rpc_put_known(struct rpc_call *call, const struct block_entry *known);

/* rpc_wait.c: a long poll waits at most after_us for a change of the mempool, for ever for a new tip. */
void rpc_wait_for_template(struct rpc_call *call, int64_t after_us);
/* rpc_template.c: whether a long poll is to be answered now; and the answer. */
bool rpc_template_is_due(struct rpc_call *call);
void rpc_show_template(struct rpc_call *call);

/* rpc_net.c. Per hop: how many, sum, maximum, quantiles to the buckets' bounds, and the buckets themselves.
 */
void put_latency(struct buf *out, const char *key, const struct p2p_latency *latency);

/* rpc_raw.c: an amount in bitcoins, a number or a string with at most 8 decimals. */
bool amount_from_json(const json_t *value, int64_t *sat);
/* The arguments inputs, outputs, locktime, replaceable as an unsigned transaction; false after the call was
 * failed. */
bool raw_tx_from_args(struct rpc_call *call, struct buf *raw);

#define RPC_HANDLER(name) void rpc_##name(struct rpc_call *call)
RPC_HANDLER(getblockchaininfo);
RPC_HANDLER(getblockcount);
RPC_HANDLER(getchainstates);
RPC_HANDLER(getbestblockhash);
RPC_HANDLER(getblockhash);
RPC_HANDLER(getblock);
RPC_HANDLER(getblockheader);
RPC_HANDLER(getblockheaders);
RPC_HANDLER(getutxos);
RPC_HANDLER(getblockstats);
RPC_HANDLER(getchaintips);
RPC_HANDLER(getdifficulty);
RPC_HANDLER(gettxout);
RPC_HANDLER(gettxoutsetinfo);
RPC_HANDLER(scantxoutset);
RPC_HANDLER(verifychain);
RPC_HANDLER(getblockfilter);
RPC_HANDLER(scanblocks);
RPC_HANDLER(pruneblockchain);
RPC_HANDLER(invalidateblock);
RPC_HANDLER(reconsiderblock);
RPC_HANDLER(preciousblock);
RPC_HANDLER(getmempoolinfo);
RPC_HANDLER(getrawmempool);
RPC_HANDLER(getmempoolentry);
RPC_HANDLER(getmempoolancestors);
RPC_HANDLER(getmempooldescendants);
RPC_HANDLER(gettxspendingprevout);
RPC_HANDLER(testmempoolaccept);
RPC_HANDLER(submitpackage);
RPC_HANDLER(savemempool);
RPC_HANDLER(importmempool);
RPC_HANDLER(prioritisetransaction);
RPC_HANDLER(getprioritisedtransactions);
RPC_HANDLER(getrawtransaction);
RPC_HANDLER(sendrawtransaction);
RPC_HANDLER(decoderawtransaction);
RPC_HANDLER(decodescript);
RPC_HANDLER(signrawtransactionwithkey);
RPC_HANDLER(signmessagewithprivkey);
RPC_HANDLER(verifymessage);
RPC_HANDLER(gettxoutproof);
RPC_HANDLER(verifytxoutproof);
RPC_HANDLER(getmininginfo);
RPC_HANDLER(getnetworkhashps);
RPC_HANDLER(generatetoaddress);
RPC_HANDLER(submitblock);
RPC_HANDLER(getblocktemplate);
RPC_HANDLER(submitheader);
RPC_HANDLER(getpeerinfo);
RPC_HANDLER(getlatency);
RPC_HANDLER(getconnectioncount);
RPC_HANDLER(getnetworkinfo);
RPC_HANDLER(addnode);
RPC_HANDLER(addpeeraddress);
RPC_HANDLER(getnodeaddresses);
RPC_HANDLER(getaddrmaninfo);
RPC_HANDLER(getrawaddrman);
RPC_HANDLER(addconnection);
RPC_HANDLER(setnetworkactive);
RPC_HANDLER(disconnectnode);
RPC_HANDLER(setban);
RPC_HANDLER(listbanned);
RPC_HANDLER(clearbanned);
RPC_HANDLER(validateaddress);
RPC_HANDLER(createmultisig);
RPC_HANDLER(deriveaddresses);
RPC_HANDLER(getdescriptorinfo);
RPC_HANDLER(setmocktime);
RPC_HANDLER(mockscheduler);
RPC_HANDLER(uptime);
RPC_HANDLER(help);
RPC_HANDLER(echo);
RPC_HANDLER(syncwithvalidationinterfacequeue);
RPC_HANDLER(stop);
RPC_HANDLER(getstatus);
RPC_HANDLER(getchaintxstats);
RPC_HANDLER(getdeploymentinfo);
RPC_HANDLER(waitforblock);
RPC_HANDLER(waitforblockheight);
RPC_HANDLER(waitfornewblock);
RPC_HANDLER(getmemoryinfo);
RPC_HANDLER(getrpcinfo);
RPC_HANDLER(logging);
RPC_HANDLER(generatetodescriptor);
RPC_HANDLER(generateblock);
RPC_HANDLER(getaddednodeinfo);
RPC_HANDLER(getnettotals);
RPC_HANDLER(ping);
RPC_HANDLER(createrawtransaction);
RPC_HANDLER(combinerawtransaction);
RPC_HANDLER(analyzepsbt);
RPC_HANDLER(combinepsbt);
RPC_HANDLER(converttopsbt);
RPC_HANDLER(createpsbt);
RPC_HANDLER(decodepsbt);
RPC_HANDLER(finalizepsbt);
RPC_HANDLER(joinpsbts);
RPC_HANDLER(utxoupdatepsbt);
RPC_HANDLER(estimatesmartfee);
RPC_HANDLER(getindexinfo);
RPC_HANDLER(getzmqnotifications);
RPC_HANDLER(getaddressutxos);
RPC_HANDLER(getaddresshistory);
RPC_HANDLER(listchaintransactions);

#endif
