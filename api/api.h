/*
 * quarry-api: the one HTTP server, its own process beside a node. It speaks HTTP/1.1 by libh2o, asks the node
 * over its Unix socket, keeps wallets as files, and limits clients by Redis or its own memory. No rule of
 * Bitcoin is here.
 */
#ifndef QUARRY_API_H
#define QUARRY_API_H

#include "io/io.h"

/* Serves until SIGTERM or SIGINT; returns the exit status. */
int api_run(const struct settings *settings);

#endif
