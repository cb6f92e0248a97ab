/* JSON-RPC over text: requests and batches in, replies out; arguments; and the one table of methods. Names,
 * parameters, results and error codes are Bitcoin Core's wherever it has the method. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/node/rpc_private.h"

#define BATCH_MAX       20000u
#define BATCH_SLICE     100u        /* calls of a batch that one event begins */
#define BATCH_BYTES_MAX (64u << 20) /* of answers; the calls behind them are refused */

const struct rpc_method rpc_methods[] = {
    {"Blockchain", "getbestblockhash", "", rpc_getbestblockhash, "The hash of the best block."},
    {"Blockchain", "getblock", "blockhash:text verbosity|verbose:any?", rpc_getblock,
     "A block: 0 as hex, 1 as an object (default), 2 with its transactions."},
    {"Blockchain", "getblockchaininfo", "", rpc_getblockchaininfo, "The state of the chain."},
    {"Blockchain", "getblockcount", "", rpc_getblockcount, "The height of the best chain; genesis is 0."},
    {"Blockchain", "getblockfilter", "blockhash:text filtertype:text?", rpc_getblockfilter,
     "Refused: this node keeps no index of block filters."},
    {"Blockchain", "getblockhash", "height:number", rpc_getblockhash,
     "The hash of the block at a height of the best chain."},
    {"Blockchain", "getblockheader", "blockhash:text verbose:bool?", rpc_getblockheader,
     "A block header, as an object (default) or as hex."},
    {"Blockchain", "getblockstats", "hash_or_height:any stats:any?", rpc_getblockstats,
     "Statistics of a block, all or those named: satoshis, and satoshis per virtual byte."},
    {"Blockchain", "getchainstates", "", rpc_getchainstates, "The chain states: one, which is validated."},
    {"Blockchain", "getchaintips", "", rpc_getchaintips, "All known tips, the active one first."},
    {"Blockchain", "getchaintxstats", "nblocks:number? blockhash:text?", rpc_getchaintxstats,
     "The number and rate of transactions in the last nblocks blocks (default: a month) up to a block."},
    {"Blockchain", "getdeploymentinfo", "blockhash:text?", rpc_getdeploymentinfo,
     "The soft forks and since when they hold, at a block (default: the best)."},
    {"Blockchain", "getdifficulty", "", rpc_getdifficulty,
     "The difficulty of the best block, as a multiple of Bitcoin's easiest."},
    {"Blockchain", "getmempoolancestors", "txid:text verbose:bool?", rpc_getmempoolancestors,
     "The unconfirmed transactions that one of the mempool builds on."},
    {"Blockchain", "getmempooldescendants", "txid:text verbose:bool?", rpc_getmempooldescendants,
     "The transactions of the mempool that build on one of it."},
    {"Blockchain", "getmempoolentry", "txid:text", rpc_getmempoolentry, "One transaction of the mempool."},
    {"Blockchain", "getmempoolinfo", "", rpc_getmempoolinfo, "The state of the mempool."},
    {"Blockchain", "getrawmempool", "verbose:bool? mempool_sequence:bool?", rpc_getrawmempool,
     "The ids of all transactions in the mempool."},
    {"Blockchain", "gettxout", "txid:text n:number include_mempool:bool?", rpc_gettxout,
     "An unspent output, or null."},
    {"Blockchain", "gettxoutproof", "txids:any blockhash:text?", rpc_gettxoutproof,
     "A proof, as hex, that a block holds these transactions; without the block the transaction index finds "
     "it."},
    {"Blockchain", "gettxoutsetinfo", "hash_type:text? hash_or_height:any? use_index:bool?",
     rpc_gettxoutsetinfo, "Statistics of the UTXO set; hash_serialized_3 (default) or none."},
    {"Blockchain", "gettxspendingprevout", "outputs:array", rpc_gettxspendingprevout,
     "Which transactions of the mempool spend these outputs, [{\"txid\",\"vout\"}, …]."},
    {"Blockchain", "importmempool", "filepath:text options:any?", rpc_importmempool,
     "Takes in the transactions of a mempool.dat; {\"use_current_time\", \"apply_fee_delta_priority\", "
     "\"apply_unbroadcast_set\"} say what else of it counts."},
    {"Blockchain", "invalidateblock", "blockhash:text", rpc_invalidateblock,
     "Treats a block and all that build on it as invalid."},
    {"Blockchain", "preciousblock", "blockhash:text", rpc_preciousblock,
     "Treats a block as if it had come before the others with as much work."},
    {"Blockchain", "pruneblockchain", "height:number", rpc_pruneblockchain,
     "Refused: this node keeps all blocks."},
    {"Blockchain", "reconsiderblock", "blockhash:text", rpc_reconsiderblock, "Takes invalidateblock back."},
    {"Blockchain", "savemempool", "", rpc_savemempool, "Writes the mempool to mempool.dat."},
    {"Blockchain", "scanblocks",
     "action:text scanobjects:any? start_height:number? stop_height:number? filtertype:text? options:any?",
     rpc_scanblocks, "Refused: this node keeps no index of block filters."},
    {"Blockchain", "scantxoutset", "action:text scanobjects:any?", rpc_scantxoutset,
     "Reads all unspent coins for those of descriptors (start), tells how far that is (status), or ends it "
     "(abort)."},
    {"Blockchain", "verifychain", "checklevel:number? nblocks:number?", rpc_verifychain,
     "Whether the last nblocks blocks (6; 0: all) hold: 0 readable, 1 valid, 2 undo data, 3 coins (default), "
     "4 scripts."},
    {"Blockchain", "verifytxoutproof", "proof:text", rpc_verifytxoutproof,
     "The ids that a proof proves; none where it does not hold."},
    {"Blockchain", "waitforblock", "blockhash:text timeout:number?", rpc_waitforblock,
     "Waits (milliseconds, 0: for ever) until a block is the best one; the tip then."},
    {"Blockchain", "waitforblockheight", "height:number timeout:number?", rpc_waitforblockheight,
     "Waits (milliseconds, 0: for ever) until the best chain is at least so high; the tip then."},
    {"Blockchain", "waitfornewblock", "timeout:number?", rpc_waitfornewblock,
     "Waits (milliseconds, 0: for ever) for another best block; the tip then."},
    {"Control", "getmemoryinfo", "mode:text?", rpc_getmemoryinfo, "The memory that the node holds."},
    {"Control", "getrpcinfo", "", rpc_getrpcinfo, "The requests that are under way."},
    {"Blockchain", "getaddresshistory", "address:text skip:number? count:number?", rpc_getaddresshistory,
     "What confirmed transactions did to an address, newest first."},
    {"Blockchain", "getaddressutxos", "address:text", rpc_getaddressutxos,
     "The unspent coins of an address, with those of the mempool."},
    {"Blockchain", "listchaintransactions", "skip:number? count:number?", rpc_listchaintransactions,
     "Confirmed transactions, newest first."},
    {"Control", "getstatus", "", rpc_getstatus, "What `quarry status` shows."},
    {"Control", "help", "command:text?", rpc_help, "All methods, or one of them."},
    {"Control", "logging", "include:any? exclude:any?", rpc_logging,
     "Which categories log in detail; lists of names switch them on or off."},
    {"Control", "stop", "wait:number?", rpc_stop, "Stops the node."},
    {"Control", "uptime", "", rpc_uptime, "Seconds since the node was started."},
    {"Hidden", "addconnection", "address:text connection_type:text v2transport:bool", rpc_addconnection,
     "Dials an address as one of the kinds of peers that are chosen by themselves (regtest only)."},
    {"Hidden", "echo",
     "arg0:any? arg1:any? arg2:any? arg3:any? arg4:any? arg5:any? arg6:any? arg7:any? arg8:any? arg9:any?",
     rpc_echo, "The arguments as they came, for tests of clients."},
    {"Hidden", "echojson",
     "arg0:any? arg1:any? arg2:any? arg3:any? arg4:any? arg5:any? arg6:any? arg7:any? arg8:any? arg9:any?",
     rpc_echo, "The arguments as they came, for tests of clients."},
    {"Hidden", "syncwithvalidationinterfacequeue", "", rpc_syncwithvalidationinterfacequeue,
     "Nothing to wait for: what has been answered has happened."},
    {"Hidden", "getblockheaders", "blockhash:text count:number verbose:bool?", rpc_getblockheaders,
     "Headers of the best chain from a block on, at most 2000: as objects (default) or as hex, for REST."},
    {"Hidden", "getrawaddrman", "", rpc_getrawaddrman,
     "All addresses of the address book, by the place where they lie (bucket/slot)."},
    {"Hidden", "getutxos", "outpoints:array checkmempool:bool?", rpc_getutxos,
     "Which of these outputs are unspent, and what they hold, for REST."},
    {"Hidden", "mockscheduler", "delta_time:number", rpc_mockscheduler,
     "What is done now and then is due so many seconds earlier (regtest only)."},
    {"Hidden", "setmocktime", "timestamp:number", rpc_setmocktime,
     "Sets the clock (regtest only); 0 goes back to the real one."},
    {"Mining", "generateblock", "output:text transactions:any submit:bool?", rpc_generateblock,
     "Mines one block to an address or descriptor with these transactions, ids of the mempool or hex."},
    {"Mining", "generatetoaddress", "nblocks:number address:text maxtries:number?", rpc_generatetoaddress,
     "Mines blocks to an address: at once on regtest, at the chain's real difficulty (30 s at most) "
     "elsewhere."},
    {"Mining", "generatetodescriptor", "num_blocks:number descriptor:text maxtries:number?",
     rpc_generatetodescriptor, "Mines blocks to a descriptor."},
    {"Mining", "getblocktemplate", "template_request:any?", rpc_getblocktemplate,
     "What to mine (BIP22, BIP145): {\"rules\":[\"segwit\"]}; with the longpollid of a template, the next "
     "one; {\"mode\":\"proposal\",\"data\":HEX}: null where a block would be valid but for its work, or why "
     "not (BIP23)."},
    {"Mining", "getmininginfo", "", rpc_getmininginfo, "The state of mining."},
    {"Mining", "getnetworkhashps", "nblocks:number? height:number?", rpc_getnetworkhashps,
     "Hashes per second of the network, estimated."},
    {"Mining", "getprioritisedtransactions", "", rpc_getprioritisedtransactions,
     "What prioritisetransaction was told, by transaction."},
    {"Mining", "prioritisetransaction", "txid:text dummy:any? fee_delta:number", rpc_prioritisetransaction,
     "Counts a transaction's fee for so many satoshis more or less, until a block holds it."},
    {"Mining", "submitblock", "hexdata:text dummy:text?", rpc_submitblock,
     "Takes in a block: null when it is accepted, else the reason (BIP22)."},
    {"Mining", "submitheader", "hexdata:text", rpc_submitheader, "Takes in a header: null, or an error."},
    {"Network", "addnode", "node:text command:text v2transport:bool?", rpc_addnode,
     "Adds (add), forgets (remove) or tries (onetry) a peer."},
    {"Network", "addpeeraddress", "address:text port:number tried:bool?", rpc_addpeeraddress,
     "Puts an address into the address book; for tests."},
    {"Network", "clearbanned", "", rpc_clearbanned, "Forgets every ban."},
    {"Network", "disconnectnode", "address:text? nodeid:number?", rpc_disconnectnode,
     "Disconnects a peer by address or id."},
    {"Network", "getaddrmaninfo", "", rpc_getaddrmaninfo,
     "How many addresses the address book holds, by network."},
    {"Network", "getaddednodeinfo", "node:text?", rpc_getaddednodeinfo,
     "The peers that we keep connected to, as given by --connect or addnode."},
    {"Network", "getconnectioncount", "", rpc_getconnectioncount, "The number of peers."},
    {"Network", "getlatency", "", rpc_getlatency,
     "How long blocks take through this node, hop by hop: histograms, and the latest blocks one by one."},
    {"Network", "getnettotals", "", rpc_getnettotals, "Bytes received and sent since the start."},
    {"Network", "getnetworkinfo", "", rpc_getnetworkinfo, "The state of the network."},
    {"Network", "getnodeaddresses", "count:number? network:text?", rpc_getnodeaddresses,
     "Addresses of the address book, at random; count 0: all."},
    {"Network", "getpeerinfo", "", rpc_getpeerinfo, "All peers."},
    {"Network", "listbanned", "", rpc_listbanned, "The addresses and subnets that are banned."},
    {"Network", "ping", "", rpc_ping, "Pings every peer; getpeerinfo shows the times."},
    {"Network", "setban", "subnet:text command:text bantime:number? absolute:bool?", rpc_setban,
     "Bans (add) or pardons (remove) an address or subnet, for bantime seconds (86400)."},
    {"Network", "setnetworkactive", "state:bool", rpc_setnetworkactive,
     "Ends (false) or allows (true) all connections with peers."},
    {"Rawtransactions", "analyzepsbt", "psbt:text", rpc_analyzepsbt,
     "What a PSBT lacks, input by input, and whose turn it is."},
    {"Rawtransactions", "combinepsbt", "txs:array", rpc_combinepsbt,
     "Several PSBTs of one transaction as one."},
    {"Rawtransactions", "combinerawtransaction", "txs:array", rpc_combinerawtransaction,
     "Copies of one transaction, each with some of the signatures, as one."},
    {"Rawtransactions", "converttopsbt", "hexstring:text permitsigdata:bool? iswitness:bool?",
     rpc_converttopsbt, "A transaction as a PSBT; signatures are left out."},
    {"Rawtransactions", "createpsbt", "inputs:any outputs:any locktime:number? replaceable:bool?",
     rpc_createpsbt, "An unsigned PSBT from inputs and outputs."},
    {"Rawtransactions", "createrawtransaction", "inputs:any outputs:any locktime:number? replaceable:bool?",
     rpc_createrawtransaction, "An unsigned transaction from inputs and outputs, as hex."},
    {"Rawtransactions", "decodepsbt", "psbt:text", rpc_decodepsbt, "A PSBT as an object."},
    {"Rawtransactions", "decoderawtransaction", "hexstring:text iswitness:bool?", rpc_decoderawtransaction,
     "A transaction as an object."},
    {"Rawtransactions", "decodescript", "hexstring:text", rpc_decodescript, "A script as an object."},
    {"Rawtransactions", "finalizepsbt", "psbt:text extract:bool?", rpc_finalizepsbt,
     "Makes final what is signed; all of it: the transaction as hex, else the PSBT."},
    {"Rawtransactions", "getrawtransaction", "txid:text verbosity|verbose:any? blockhash:text?",
     rpc_getrawtransaction, "A transaction of mempool or chain."},
    {"Rawtransactions", "joinpsbts", "txs:array", rpc_joinpsbts,
     "Several PSBTs as one that has the inputs and outputs of all."},
    {"Rawtransactions", "sendrawtransaction", "hexstring:text maxfeerate:any? maxburnamount:any?",
     rpc_sendrawtransaction, "Takes a transaction into the mempool and relays it."},
    {"Rawtransactions", "signrawtransactionwithkey",
     "hexstring:text privkeys:any prevtxs:any? sighashtype:text?", rpc_signrawtransactionwithkey,
     "Signs what these keys (WIF) own or share: single keys and multisignatures, in P2SH and P2WSH too."},
    {"Rawtransactions", "submitpackage", "package:array maxfeerate:any? maxburnamount:any?",
     rpc_submitpackage,
     "Takes a child and its parents into the mempool; what pays too little alone is judged with its child."},
    {"Rawtransactions", "testmempoolaccept", "rawtxs:array maxfeerate:any?", rpc_testmempoolaccept,
     "Whether the mempool, which stays as it is, would take these transactions; each may spend those before "
     "it."},
    {"Rawtransactions", "utxoupdatepsbt", "psbt:text", rpc_utxoupdatepsbt,
     "Adds the witness outputs that its inputs spend, from the UTXO set and the mempool."},
    {"Util", "createmultisig", "nrequired:number keys:array address_type:text?", rpc_createmultisig,
     "The address of an m-of-n multisignature: legacy (default), p2sh-segwit or bech32."},
    {"Util", "deriveaddresses", "descriptor:text range:any?", rpc_deriveaddresses,
     "The addresses of a descriptor with its checksum, of a ranged one those of a range."},
    {"Util", "estimatesmartfee", "conf_target:number estimate_mode:text?", rpc_estimatesmartfee,
     "The fee rate per kvB with which a transaction is mined within so many blocks, from what waits in the "
     "mempool."},
    {"Util", "getdescriptorinfo", "descriptor:text", rpc_getdescriptorinfo,
     "A descriptor without secrets and with its checksum, and what it is."},
    {"Util", "getindexinfo", "index_name:text?", rpc_getindexinfo, "The state of the indexes."},
    {"Util", "signmessagewithprivkey", "privkey:text message:text", rpc_signmessagewithprivkey,
     "Signs a message with a private key (WIF)."},
    {"Util", "validateaddress", "address:text", rpc_validateaddress,
     "Whether an address is one of this chain, and what it pays to."},
    {"Util", "verifymessage", "address:text signature:text message:text", rpc_verifymessage,
     "Whether the key of a P2PKH address has signed a message."},
    {"Zmq", "getzmqnotifications", "", rpc_getzmqnotifications, "The ZeroMQ publishers: none."},
    {0},
};

/* ---- Replies ------------------------------------------------------------------------------------------ */

static void batch_done(struct node *node, struct rpc_batch *batch)
{
    size_t answers = 0;
    if (!batch->gone) {
        struct action *action = node_push(node, ACTION_RPC_REPLY);
        action->rpc = batch->rpc;
        if (batch->is_array) {
            put_open(&action->bytes, NULL, '[');
        }
        for (size_t i = 0; i < batch->count; i++) {
            if (batch->replies[i].len) { /* else a notification */
                put_raw(&action->bytes, NULL, buf_span(&batch->replies[i]));
                answers++;
            }
        }
        if (batch->is_array) {
            put_close(&action->bytes, '[');
        }
        if (batch->count && !answers) {
            buf_clear(&action->bytes); /* to notifications there is no answer */
        }
    }
    for (size_t i = 0; i < batch->count; i++) {
        buf_free(&batch->replies[i]);
    }
    json_decref(batch->requests);
    list_remove(&batch->link);
    mem_free(batch->replies);
    mem_free(batch);
}

static void reply_id(struct buf *out, const json_t *id)
{
    char *text = id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    put_raw(out, "id", text ? span_of(text, strlen(text)) : span_of("null", 4));
    free(text);
}

static void put_reply(const struct rpc_call *call, struct buf *out, int code, const char *message)
{
    put_open(out, NULL, '{');
    if (call->version_2) {
        put_text(out, "jsonrpc", "2.0");
    }
    if (!message) {
        put_raw(out, "result", call->out.len ? buf_span(&call->out) : span_of("null", 4));
        if (!call->version_2) {
            put_null(out, "error");
        }
    } else {
        if (!call->version_2) {
            put_null(out, "result");
        }
        put_open(out, "error", '{');
        put_int(out, "code", code);
        put_text(out, "message", message);
        put_close(out, '{');
    }
    reply_id(out, call->id);
    put_close(out, '{');
}

static void call_end(struct rpc_call *call, int code, const char *message)
{
    struct node *node = call->node;
    struct rpc_batch *batch = call->batch;
    bool notification = call->version_2 && !call->id; /* wants no answer, not even an error */
    if (!notification) {
        put_reply(call, &batch->replies[call->batch_index], code, message);
        batch->reply_bytes += batch->replies[call->batch_index].len;
    }
    list_remove(&call->link);
    json_decref(call->params);
    json_decref(call->id);
    buf_free(&call->out);
    buf_free(&call->list);
    tx_unref(call->tx);
    block_unref(call->block);
    rpc_submission_free(call->submission);
    mem_free(call);
    batch->ended++;
    if (batch->running) {
        return;
    }
    if (batch->ended == batch->count || batch->gone) {
        batch_done(node, batch);
    } else { /* whoever has ended this call may be walking the list of calls: none begins in here */
        list_append(&node->rpc->ready, &batch->link);
    }
}

void rpc_ok(struct rpc_call *call)
{
    call_end(call, 0, NULL);
}

void rpc_fail(struct rpc_call *call, int code, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    call_end(call, code, message);
}

void rpc_ok_when_on_disk(struct rpc_call *call)
{
    if (call->node->durable_at_tip) {
        rpc_ok(call);
    } else {
        call->waits_for_disk = true;
        chain_flush(call->node->chain);
    }
}

void rpc_settled(struct node *node)
{
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->waits_for_disk) {
            rpc_ok(call);
        }
    }
}

void rpc_stopping(struct node *node)
{
    rpc_waits_end(node, true);
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->waits_for_disk || call->source || call->go_on) {
            rpc_fail(call, RPC_MISC_ERROR, "the node is stopping");
        } /* others have a read under way, which ends them */
    }
}

void rpc_gone(struct node *node, uint64_t rpc)
{
    LIST_EACH(at, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->batch->rpc == rpc) {
            call->batch->gone = true;
        }
    }
    LIST_EACH(at, &node->rpc->ready)
    {
        struct rpc_batch *batch = CONTAINER_OF(at, struct rpc_batch, link);
        batch->gone |= batch->rpc == rpc;
    }
    rpc_waits_end(node, false);
}

void rpc_begin(struct node *node)
{
    node->rpc = mem_alloc(sizeof *node->rpc);
    list_init(&node->rpc->calls);
    list_init(&node->rpc->ready);
    node->rpc->next_source = SOURCE_RPC;
}

void rpc_free(struct node *node)
{
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        call->batch->gone = true;
        rpc_fail(call, RPC_MISC_ERROR, "the node is gone");
    }
    LIST_EACH_SAFE(at, following, &node->rpc->ready)
    {
        struct rpc_batch *batch = CONTAINER_OF(at, struct rpc_batch, link);
        batch->gone = true;
        batch_done(node, batch);
    }
    rpc_scan_free(node->rpc);
    buf_free(&node->rpc->replaced);
    mem_free(node->rpc);
}

/* ---- Parameters --------------------------------------------------------------------------------------- */

struct param {
    char name[32], alias[32]; /* the latter may be empty */
    char type[8];
    bool optional;
};

/* The index-th word of a parameter list. False behind the last. */
static bool param_spec(const char *params, size_t index, struct param *out)
{
    const char *at = params;
    for (size_t i = 0; *at; i++) {
        size_t len = strcspn(at, " "), colon = strcspn(at, ":"), bar = strcspn(at, "|:");
        if (i == index) {
            out->optional = at[len - 1] == '?';
            snprintf(out->name, sizeof out->name, "%.*s", (int)bar, at);
            snprintf(out->alias, sizeof out->alias, "%.*s", (int)(bar < colon ? colon - bar - 1 : 0),
                     at + bar + 1);
            snprintf(out->type, sizeof out->type, "%.*s", (int)(len - colon - 1 - (out->optional ? 1u : 0u)),
                     at + colon + 1);
            return true;
        }
        at += len;
        at += *at == ' ';
    }
    return false;
}

static const struct rpc_method *method_find(const char *name)
{
    for (const struct rpc_method *m = rpc_methods; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}

bool rpc_argument_is_text(const char *method, size_t index)
{
    const struct rpc_method *m = method_find(method);
    struct param param;
    return m && param_spec(m->params, index, &param) && strcmp(param.type, "text") == 0;
}

json_t *arg_any(struct rpc_call *call, size_t index)
{
    json_t *value = json_array_get(call->params, index);
    return json_is_null(value) ? NULL : value;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "object";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "string";
    case JSON_INTEGER:
    case JSON_REAL: return "number";
    case JSON_TRUE:
    case JSON_FALSE: return "bool";
    case JSON_NULL: break;
    }
    return "null";
}

static bool wrong_type(struct rpc_call *call, const json_t *value, const char *expected)
{
    rpc_fail(call, RPC_TYPE_ERROR, "JSON value of type %s is not of expected type %s", type_name(value),
             expected);
    return false;
}

bool arg_text(struct rpc_call *call, size_t index, const char **out)
{
    const json_t *value = arg_any(call, index);
    if (!value) {
        return true;
    }
    if (!json_is_string(value)) {
        return wrong_type(call, value, "string");
    }
    *out = json_string_value(value);
    return true;
}

bool arg_number(struct rpc_call *call, size_t index, int64_t *out, int64_t least, int64_t most)
{
    const json_t *value = arg_any(call, index);
    if (!value) {
        return true;
    }
    if (!json_is_integer(value)) {
        return wrong_type(call, value, "number");
    }
    *out = json_integer_value(value);
    if (*out < least || *out > most) {
        rpc_fail(call, RPC_INVALID_PARAMETER,
                 "argument %zu is %" PRId64 ", allowed are %" PRId64 " to %" PRId64, index + 1, *out, least,
                 most);
        return false;
    }
    return true;
}

bool arg_bool(struct rpc_call *call, size_t index, bool *out)
{
    const json_t *value = arg_any(call, index);
    if (value && !json_is_boolean(value)) {
        return wrong_type(call, value, "bool");
    }
    if (value) {
        *out = json_is_true(value);
    }
    return true;
}

bool arg_verbosity(struct rpc_call *call, size_t index, uint32_t *out)
{
    const json_t *value = arg_any(call, index);
    int64_t number = *out;
    if (json_is_boolean(value)) {
        number = json_is_true(value);
    } else if (!arg_number(call, index, &number, INT32_MIN, INT32_MAX)) {
        return false;
    }
    *out = (uint32_t)MAX(number, INT64_C(0));
    return true;
}

bool arg_hash(struct rpc_call *call, size_t index, const char *name, struct hash256 *out)
{
    const char *text = NULL;
    if (!arg_text(call, index, &text)) {
        return false;
    }
    if (!text || strlen(text) != 64) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s must be of length 64 (not %zu, for '%.100s')", name,
                 text ? strlen(text) : 0, text ? text : "");
        return false;
    }
    if (!hash256_parse(out, text)) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "%s must be hexadecimal string (not '%.100s')", name, text);
        return false;
    }
    return true;
}

bool arg_script(struct rpc_call *call, size_t index, struct buf *script)
{
    const char *address = "";
    if (!arg_text(call, index, &address)) {
        return false;
    }
    if (!address_to_script(script, address, call->node->params, NULL)) {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Error: Invalid address");
        return false;
    }
    return true;
}

/* ---- Requests ----------------------------------------------------------------------------------------- */

static json_t *named_value(const json_t *given, const struct param *param)
{
    json_t *value = json_object_get(given, param->name);
    return value || !*param->alias ? value : json_object_get(given, param->alias);
}

static bool is_param(const struct rpc_method *method, const char *key)
{
    struct param param;
    for (size_t i = 0; param_spec(method->params, i, &param); i++) {
        if (strcmp(param.name, key) == 0 || (*param.alias && strcmp(param.alias, key) == 0)) {
            return true;
        }
    }
    return false;
}

/* Named parameters, behind the positional ones that stand in "args". False: the call was failed. */
static bool order_named(struct rpc_call *call, const json_t *given)
{
    const json_t *positional = json_object_get(given, "args");
    struct param param;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value)
    {
        if (!is_param(call->method, key) && !(strcmp(key, "args") == 0 && json_is_array(value))) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Unknown named parameter %.100s", key);
            return false;
        }
    }
    size_t count = json_array_size(positional), i = 0;
    for (; param_spec(call->method->params, i, &param); i++) {
        json_t *named = named_value(given, &param);
        if (named && i < count) {
            rpc_fail(call, RPC_INVALID_PARAMETER,
                     "Parameter %s specified twice both as positional and named argument", param.name);
            return false;
        }
        json_array_append(call->params, named       ? named
                                        : i < count ? json_array_get(positional, i)
                                                    : json_null());
    }
    for (; i < count; i++) {
        json_array_append(call->params, json_array_get(positional, i));
    }
    return true;
}

/* Core tells all that do not fit at once. False: the call was failed. */
static bool types_fit(struct rpc_call *call)
{
    static const struct {
        const char *type, *shown;
    } types[] = {{"text", "string"}, {"number", "number"}, {"bool", "bool"}, {"array", "array"}};
    struct buf wrong = {0};
    struct param param;
    for (size_t i = 0; param_spec(call->method->params, i, &param); i++) {
        const json_t *value = arg_any(call, i);
        for (size_t k = 0; value && k < ARRAY_COUNT(types); k++) {
            if (strcmp(param.type, types[k].type) == 0 && strcmp(type_name(value), types[k].shown) != 0) {
                buf_printf(
                    &wrong,
                    "%s    \"Position %zu (%s)\": \"JSON value of type %s is not of expected type %s\"",
                    wrong.len ? ",\n" : "", i + 1, param.name, type_name(value), types[k].shown);
            }
        }
    }
    bool ok = !wrong.len;
    if (!ok) {
        rpc_fail(call, RPC_TYPE_ERROR, "Wrong type passed:\n{\n%.*s\n}", (int)wrong.len,
                 (const char *)wrong.data);
    }
    buf_free(&wrong);
    return ok;
}

/* Puts named parameters in order, and looks at number, presence and types. False: the call was failed. */
static bool order_params(struct rpc_call *call, const json_t *given)
{
    struct param param;
    call->params = json_array();
    if (json_is_array(given)) {
        for (size_t i = 0; i < json_array_size(given); i++) {
            json_array_append(call->params, json_array_get(given, i));
        }
    } else if (json_is_object(given)) {
        if (!order_named(call, given)) {
            return false;
        }
    } else if (given && !json_is_null(given)) {
        rpc_fail(call, RPC_INVALID_REQUEST, "Params must be an array or object");
        return false;
    }
    size_t index = 0;
    for (; param_spec(call->method->params, index, &param); index++) {
        if (!param.optional && !arg_any(call, index)) {
            rpc_fail(call, RPC_MISC_ERROR, "%s: the argument %s is missing\n\nusage: %s %s\n%s",
                     call->method->name, param.name, call->method->name, call->method->params,
                     call->method->help);
            return false;
        }
    }
    if (json_array_size(call->params) > index) {
        rpc_fail(call, RPC_MISC_ERROR, "%s: too many arguments\n\nusage: %s %s\n%s", call->method->name,
                 call->method->name, call->method->params, call->method->help);
        return false;
    }
    return types_fit(call);
}

static void begin_call(struct node *node, struct rpc_batch *batch, size_t index, const json_t *request)
{
    struct rpc_call *call = mem_alloc(sizeof *call);
    call->node = node;
    call->batch = batch;
    call->batch_index = index;
    call->began_us = node->now.mono_us;
    list_append(&node->rpc->calls, &call->link);
    if (!json_is_object(request)) {
        rpc_fail(call, RPC_INVALID_REQUEST, "Invalid Request object");
        return;
    }
    if (batch->reply_bytes > BATCH_BYTES_MAX) {
        rpc_fail(call, RPC_OUT_OF_MEMORY, "the answers before this one hold more than %u bytes",
                 BATCH_BYTES_MAX);
        return;
    }
    const json_t *method = json_object_get(request, "method"), *version = json_object_get(request, "jsonrpc");
    call->id = json_incref(json_object_get(request, "id"));
    call->version_2 = json_is_string(version) && strcmp(json_string_value(version), "2.0") == 0;
    bool version_1 = !version || json_is_null(version) ||
                     (json_is_string(version) && strcmp(json_string_value(version), "1.0") == 0);
    if (!version_1 && !call->version_2) {
        rpc_fail(call, RPC_INVALID_REQUEST,
                 json_is_string(version) ? "JSON-RPC version not supported"
                                         : "jsonrpc field must be a string");
        return;
    }
    if (!method || json_is_null(method)) {
        rpc_fail(call, RPC_INVALID_REQUEST, "Missing method");
        return;
    }
    if (!json_is_string(method)) {
        rpc_fail(call, RPC_INVALID_REQUEST, "Method must be a string");
        return;
    }
    call->method = method_find(json_string_value(method));
    if (!call->method) {
        rpc_fail(call, RPC_METHOD_NOT_FOUND, "Method not found");
        return;
    }
    bool always = call->method->handle == rpc_stop || call->method->handle == rpc_help ||
                  call->method->handle == rpc_uptime;
    if (!always && node->stopping) { /* what begins now might wait for what no longer comes */
        rpc_fail(call, RPC_CLIENT_NOT_CONNECTED, "Shutting down");
    } else if (!always && chain_loading(node->chain)) {
        rpc_fail(call, RPC_IN_WARMUP, "Loading block index…");
    } else if (order_params(call, json_object_get(request, "params"))) {
        call->method->handle(call);
    }
}

/* One call after the other, as Core: each may rely on those before it. Many take turns with other events. */
static void batch_go_on(struct node *node, struct rpc_batch *batch)
{
    size_t until = MIN(batch->count, batch->begun + BATCH_SLICE);
    batch->running = true;
    while (batch->ended == batch->begun && batch->begun < until && !batch->gone) {
        size_t index = batch->begun++;
        begin_call(node, batch, index,
                   batch->is_array ? json_array_get(batch->requests, index) : batch->requests);
    }
    batch->running = false;
    if (batch->ended < batch->begun) {
        return; /* one is under way */
    }
    if (batch->ended == batch->count || batch->gone) {
        batch_done(node, batch);
    } else {
        list_append(&node->rpc->ready, &batch->link);
    }
}

/* Long answers are made in pieces. */
static void answers_go_on(struct node *node)
{
    LIST_EACH_SAFE(at, following, &node->rpc->calls)
    {
        struct rpc_call *call = CONTAINER_OF(at, struct rpc_call, link);
        if (call->go_on && call->batch->gone) {
            rpc_fail(call, RPC_MISC_ERROR, "the client is gone");
        } else if (call->go_on) {
            call->go_on(call);
        }
    }
}

void rpc_go_on(struct node *node)
{
    answers_go_on(node);
    struct list now = node->rpc->ready;
    if (list_empty(&node->rpc->ready)) {
        return;
    }
    now.next->prev = now.prev->next = &now;
    list_init(&node->rpc->ready);
    while (!list_empty(&now)) {
        struct rpc_batch *batch = CONTAINER_OF(now.next, struct rpc_batch, link);
        list_remove(&batch->link);
        batch_go_on(node, batch);
    }
}

void rpc_handle(struct node *node, uint64_t rpc, const char *text, size_t len)
{
    json_error_t problem;
    json_t *request =
        len <= RPC_REQUEST_BYTES_MAX ? json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem) : NULL;
    struct rpc_batch *batch = mem_alloc(sizeof *batch);
    bool usable =
        json_is_object(request) || (json_is_array(request) && json_array_size(request) <= BATCH_MAX);
    batch->rpc = rpc;
    batch->requests = request;
    batch->is_array = json_is_array(request) && usable;
    batch->count = batch->is_array ? json_array_size(request) : 1;
    batch->replies = mem_alloc((batch->count + 1) * sizeof *batch->replies);
    list_init(&batch->link);
    if (usable) {
        batch_go_on(node, batch);
        return;
    }
    struct rpc_call *call = mem_alloc(sizeof *call);
    call->node = node;
    call->batch = batch;
    list_append(&node->rpc->calls, &call->link);
    if (json_is_array(request)) {
        rpc_fail(call, RPC_INVALID_REQUEST, "a batch holds at most %u requests", BATCH_MAX);
    } else {
        rpc_fail(call, RPC_PARSE_ERROR, request ? "Top-level object parse error" : "Parse error");
    }
}
