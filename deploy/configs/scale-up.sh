#!/usr/bin/env bash
# One instance more of a kind; the other kind is left as it is.
#
#   ./scale-up.sh [miner|webserver [CURRENT]] [--dry-run] [--cpus-per-miner N] [--pin]      (default webserver)
#
# CURRENT may be given, as a check: how many there are is read from the files.
set -u
# shellcheck source=deploy/configs/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
read_arguments "$@"
scale_by 1
