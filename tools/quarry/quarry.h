/*
 * quarry, the command line: what its files share. main.c chooses the command, rpc.c asks a node, status.c,
 * latency.c and chain.c show what it answers, wallet.c keeps keys, faucet.c asks for coins, startnode.c and
 * supervise.c run a node. Private to this folder. One thread; every command returns the exit status of the
 * program.
 */
#ifndef QUARRY_TOOLS_QUARRY_H
#define QUARRY_TOOLS_QUARRY_H

#include <jansson.h>

#include "io/io.h"

struct invocation {
    const struct settings *settings;
    int argc; /* what follows the command's own name */
    char **argv;
};

/* ---- rpc.c: one method of a node --------------------------------------------------------------------- */

/* Sends argv as the method's parameters and prints the answer as bitcoin-cli does. */
int rpc_command(const struct invocation *run, const char *method);
/* result of a method whose parameters are the JSON array `params` (taken over; NULL: none), to be released
 * with json_decref. NULL: *error says why. */
json_t *rpc_ask(struct client *client, const char *method, json_t *params, struct error *error) MUST_USE;

/* ---- The commands of our own ------------------------------------------------------------------------- */

int status_command(const struct invocation *run);
int latency_command(const struct invocation *run);
int printchain_command(const struct invocation *run);
int createwallet_command(const struct invocation *run);
int listaddresses_command(const struct invocation *run);
int faucet_command(const struct invocation *run);
int startnode_command(const struct invocation *run);

/* Prints `quarry: TEXT` on standard error and returns status. */
int complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- wallet.c ---------------------------------------------------------------------------------------- */

/* The first address of a wallet file, made when there is none. */
bool wallet_first_address(char out[ADDRESS_TEXT], const char *path, const struct chain_params *params,
                          struct error *error) MUST_USE;

/* ---- instance.c -------------------------------------------------------------------------------------- */

/* Which one of several equal containers this is, from 1. False: INSTANCE_NUMBER is no such number. */
bool instance_number(unsigned *out, struct error *error) MUST_USE;

/* ---- supervise.c: the first process of a container --------------------------------------------------- */

struct child { /* a program beside this one: name, and its NULL-terminated argument list, borrowed */
    const char *name;
    char *const *argv;
};
/* Starts all children from this program's own folder, reaps whatever dies, passes SIGTERM and SIGINT on, and
 * ends when all have ended: 0 when asked to stop and all ended well; otherwise the first bad status, or
 * STATUS_RUNTIME. */
int supervise(const struct child *children, size_t count);

#endif
