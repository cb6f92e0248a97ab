/* A regtest node over a real store, asked through node_handle, without sockets; what suites of the RPC table
 * stand on. */
#ifndef QUARRY_TESTS_UNIT_NODE_RIG_H
#define QUARRY_TESTS_UNIT_NODE_RIG_H

#include <jansson.h>

#include "core/node/node.h"
#include "io/io.h"

extern struct chain_params params;
extern struct node *node;
extern struct key key; /* the secret 1; script and address are its P2WPKH */
extern struct buf script;
extern char address[ADDRESS_TEXT];
extern struct moment now;
extern int64_t due_us; /* when it wants its timer */
extern json_t *reply;  /* to the last `say` or `ask`, which have the number 1; NULL: none yet */

void rig_begin(void); /* suite fixtures */
void rig_end(void);
void rig_restart(void);                /* stopped, and started again over the same store */
void rig_restart_without_saving(void); /* the same, but what the stop had to save is lost */
/* Started once more and stopped before anything of mempool.dat had been read, and then rig_restart. */
void rig_restart_hastily(void);
const char *rig_mempool_file(void); /* its path */
void happen(struct event event);    /* a millisecond later than what was before */
void say(const char *text);         /* a whole request, as it comes by the socket */

/* The result of a method; borrowed until the next call. */
json_t *ask(const char *method, const char *arguments);
json_t *ask_about(const char *method, const char *text, const char *rest); /* method(["text" rest]) */
int code_of(const char *method, const char *arguments);                    /* of its error; 0: none */
int last_code(void);
const char *words(void); /* of the last error */

void mine(unsigned blocks); /* to address */
json_int_t number(const json_t *object, const char *name);
/* The first output of the coinbase at a height. */
void coinbase_of(unsigned height, struct outpoint *out);
/* Moves a coin of ours to ourselves, less the fee; the hex is good until the next call. */
const char *payment(struct outpoint from, int64_t sat, int64_t fee_sat, struct hash256 *txid);

#endif
