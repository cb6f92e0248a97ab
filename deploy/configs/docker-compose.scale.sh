#!/usr/bin/env bash
# Scales the cluster: MINERS in a chain (each connects to the one before), WEBSERVERS in a star around miner_1.
#
#   ./docker-compose.scale.sh [MINERS [WEBSERVERS]] [--dry-run] [--cpus-per-miner N] [--pin]      (default 1 1)
#
# Running instances that stay are left alone. --dry-run prints the plan with every host port and needs no engine.
# Base ports: QUARRY_MINER_PORT 2001, QUARRY_WEB_PORT 8080, QUARRY_WEB_P2P_PORT 2101; published on QUARRY_BIND 127.0.0.1.
set -u
# shellcheck source=deploy/configs/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
read_arguments "$@"
[ ${#words[@]} -le 2 ] || die 2 "too many arguments: MINERS WEBSERVERS are wanted (see --help)"
check_count miners "${words[0]-1}"
check_count webservers "${words[1]-1}"
scale_to "${words[0]-1}" "${words[1]-1}"
