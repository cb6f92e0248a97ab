#!/usr/bin/env bash
# Writes docker-compose.override.yml for MINERS and WEBSERVERS and starts nothing.
#
#   ./generate-compose-ports.sh [MINERS [WEBSERVERS]] [--dry-run]      (default 1 1, which removes the file)
set -u
# shellcheck source=deploy/configs/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
read_arguments "$@"
[ ${#words[@]} -le 2 ] || die 2 "too many arguments: MINERS WEBSERVERS are wanted (see --help)"
miners=${words[0]-1} webservers=${words[1]-1}
check_count miners "$miners"
check_count webservers "$webservers"
check_overlap "$miners" "$webservers"
if [ "$dry_run" = yes ]; then
    print_plan "$miners" "$webservers"
    exit 0
fi
write_override "$miners" "$webservers"
print_ports "$miners" "$webservers"
echo "Now: docker compose up -d --remove-orphans"
