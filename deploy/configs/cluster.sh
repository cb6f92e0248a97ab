# What the scaling scripts share: arguments, the override file, ports, the engine. Sourced, never run.
# shellcheck shell=bash
# An instance is a service of its own (miner_2, webserver_3) in docker-compose.override.yml, so that each has its own
# host ports. What was scaled last persists there; 1 1 removes the file.
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
override=$folder/docker-compose.override.yml
miner_port=${QUARRY_MINER_PORT:-2001}
web_port=${QUARRY_WEB_PORT:-8080}
web_p2p_port=${QUARRY_WEB_P2P_PORT:-2101}
bind=${QUARRY_BIND:-127.0.0.1}
most=64 # instances of a kind

die() { # die STATUS SENTENCE
    echo "Error: $2" >&2
    exit "$1"
}

# Takes the flags out of "$@", in any position: dry_run, pin, cpus_per_miner; the rest is in words.
read_arguments() {
    dry_run=no pin=no cpus_per_miner='' words=()
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry_run=yes ;;
        --pin) pin=yes ;;
        --cpus-per-miner=*) cpus_per_miner=${1#*=} ;;
        --cpus-per-miner)
            [ $# -gt 1 ] || die 2 "--cpus-per-miner wants a number, such as 0.5"
            cpus_per_miner=$2
            shift
            ;;
        -h | --help)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        -*) die 2 "unknown flag $1 (see --help)" ;;
        *) words+=("$1") ;;
        esac
        shift
    done
    if [ -n "$cpus_per_miner" ] && ! [[ $cpus_per_miner =~ ^([0-9]{1,3}(\.[0-9]{1,2})?)$ && ! $cpus_per_miner =~ ^0+(\.0+)?$ ]]; then
        die 2 "--cpus-per-miner is '$cpus_per_miner': a number of CPUs such as 0.5 is wanted"
    fi
    local name value
    for name in miner_port web_port web_p2p_port; do
        value=${!name}
        [[ $value =~ ^[1-9][0-9]{0,4}$ && $value -le $((65535 - most)) ]] ||
            die 2 "the base port '$value' is no port number below $((65536 - most))"
    done
}

check_count() { # check_count WHAT NUMBER
    [[ $2 =~ ^[1-9][0-9]{0,3}$ && $2 -le $most ]] || die 2 "the number of $1 is '$2': 1 to $most is allowed"
}

# How many instances of a kind the files ask for now.
configured() { # configured miner|webserver
    local more=0
    [ -f "$override" ] && more=$(grep -cE "^  $1_[0-9]+:" "$override")
    echo $((1 + more))
}

miner_service() { # miner_service NUMBER
    cat <<END
  miner_$1:
    image: quarry:latest
    restart: unless-stopped
    ports:
      - "$bind:$((miner_port + $1 - 1)):$((2000 + $1))"
    volumes:
      - miner-data:/app/data
      - miner-wallets:/app/wallets
    environment:
      - INSTANCE_NUMBER=$1
      - NODE_IS_MINER=yes
      - NODE_IS_WEB_SERVER=no
      - NODE_CONNECT_NODES=miner_$(($1 - 1)):$((2000 + $1 - 1))
      - WALLET_ADDRESS_POOL=\${WALLET_ADDRESS_POOL:-}
      - QUARRY_CHAIN=\${QUARRY_CHAIN:-cluster}
      - QUARRY_NETWORK=\${QUARRY_NETWORK:-quarry}
    cpus: "\${QUARRY_CPUS_PER_MINER:-1.0}"
    cpu_shares: 128
    sysctls:
      - net.ipv4.tcp_slow_start_after_idle=0
    stop_grace_period: 10s
    depends_on:
      miner_$(($1 - 1)):
        condition: service_healthy
    healthcheck:
      test: ["CMD", "nc", "-z", "127.0.0.1", "$((2000 + $1))"]
      interval: 2s
      timeout: 2s
      retries: 15
END
}

webserver_service() { # webserver_service NUMBER
    cat <<END
  webserver_$1:
    image: quarry:latest
    restart: unless-stopped
    ports:
      - "$bind:$((web_port + $1 - 1)):8080"
      - "$bind:$((web_p2p_port + $1 - 1)):2001"
    volumes:
      - webserver-data:/app/data
      - webserver-wallets:/app/wallets
      - miner-wallets:/app/purse:ro
    environment:
      - INSTANCE_NUMBER=$1
      - NODE_IS_MINER=no
      - NODE_IS_WEB_SERVER=yes
      - NODE_CONNECT_NODES=\${WEBSERVER_CONNECT_NODES:-miner_1:2001}
      - BITCOIN_API_ADMIN_KEY=\${BITCOIN_API_ADMIN_KEY:-admin-secret}
      - BITCOIN_API_WALLET_KEY=\${BITCOIN_API_WALLET_KEY:-wallet-secret}
      - QUARRY_WALLET_DIR=/app/wallets/shared
      - QUARRY_PURSE=/app/purse/wallets1/wallets.dat
      - QUARRY_REDIS=redis:6379
      - QUARRY_CHAIN=\${QUARRY_CHAIN:-cluster}
      - QUARRY_NETWORK=\${QUARRY_NETWORK:-quarry}
    sysctls:
      - net.ipv4.tcp_slow_start_after_idle=0
    stop_grace_period: 10s
    depends_on:
      redis:
        condition: service_healthy
      miner_1:
        condition: service_healthy
    healthcheck:
      test: ["CMD", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/api/health/ready"]
      interval: 2s
      timeout: 2s
      retries: 20
END
}

override_text() { # override_text MINERS WEBSERVERS
    local i
    echo "# Written by generate-compose-ports.sh $1 $2; do not edit. ./docker-compose.scale.sh 1 1 removes it."
    echo "services:"
    for ((i = 2; i <= $1; i++)); do miner_service "$i"; done
    for ((i = 2; i <= $2; i++)); do webserver_service "$i"; done
}

# The same text leaves the file untouched; 1 1 needs none.
write_override() { # write_override MINERS WEBSERVERS
    if [ "$1" -eq 1 ] && [ "$2" -eq 1 ]; then
        rm -f "$override"
        return
    fi
    if ! { override_text "$1" "$2" >"$override.new" && mv "$override.new" "$override"; }; then
        die 1 "cannot write $override"
    fi
}

host_ports() { # host_ports MINERS WEBSERVERS: one "port service" a line
    local i
    for ((i = 1; i <= $1; i++)); do echo "$((miner_port + i - 1)) miner_$i"; done
    for ((i = 1; i <= $2; i++)); do
        echo "$((web_port + i - 1)) webserver_$i"
        echo "$((web_p2p_port + i - 1)) webserver_$i"
    done
}

check_overlap() { # check_overlap MINERS WEBSERVERS
    local twice
    twice=$(host_ports "$1" "$2" | cut -d' ' -f1 | sort | uniq -d | head -1)
    [ -z "$twice" ] || die 2 "port $twice would be published twice: choose other base ports (QUARRY_MINER_PORT, QUARRY_WEB_PORT, QUARRY_WEB_P2P_PORT)"
}

print_ports() { # print_ports MINERS WEBSERVERS
    local i
    echo "Port mappings (ALL instances accessible externally):"
    echo "  Miners:"
    for ((i = 1; i <= $1; i++)); do
        echo "    Instance $i: P2P port $((miner_port + i - 1)) → localhost:$((miner_port + i - 1))"
    done
    echo "  Webservers:"
    for ((i = 1; i <= $2; i++)); do
        echo "    Instance $i: Web port $((web_port + i - 1)) → localhost:$((web_port + i - 1)), P2P port $((web_p2p_port + i - 1)) → localhost:$((web_p2p_port + i - 1))"
    done
}

# `docker compose` where it is there, else docker-compose. Never the forwarding script beside this one.
find_compose() {
    local docker
    docker=$(PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF -e "$folder" -e . | paste -sd:) command -v docker)
    if [ -n "$docker" ] && "$docker" compose version >/dev/null 2>&1; then
        compose=("$docker" compose)
    elif command -v docker-compose >/dev/null 2>&1; then
        compose=(docker-compose)
    else
        die 1 "neither 'docker compose' nor 'docker-compose' is installed"
    fi
    engine=${docker:-docker}
    "$engine" info >/dev/null 2>&1 || die 1 "the Docker engine does not answer (is it running, and may you use it?)"
    cd "$folder" || exit 1
}

running() { # running miner|webserver: instances whose containers run
    "${compose[@]}" ps --services --filter status=running 2>/dev/null | grep -cE "^$1_[0-9]+$"
}

# A port of the plan that something else than the service it is meant for holds.
check_busy_ports() { # check_busy_ports MINERS WEBSERVERS
    local port service holder busy=no own
    own=$("${compose[@]}" ps -q 2>/dev/null |
        xargs -r "$engine" inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostPort}} {{end}}{{end}}' 2>/dev/null)
    while read -r port service; do
        [[ " ${own//$'\n'/ } " == *" $port "* ]] && continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
        holder=$("$engine" ps --filter "publish=$port" --format 'container {{.Names}}' 2>/dev/null | head -1)
        [ -n "$holder" ] || holder=$(ss -Hltnp "sport = :$port" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' | head -1)
        echo "Error: port $port, meant for $service, is held by ${holder:-another program}" >&2
        busy=yes
    done < <(host_ports "$1" "$2")
    [ "$busy" = no ] || die 1 "nothing was changed; free the ports, or choose other base ports (QUARRY_MINER_PORT, QUARRY_WEB_PORT, QUARRY_WEB_P2P_PORT)"
}

# Divides the host among the miners, a quarter left for everybody else. By `docker update`, since another value in the
# files would make Compose recreate containers that are to be left alone.
share_cpus() { # share_cpus MINERS
    local host share i id cpu
    host=$("$engine" info --format '{{.NCPU}}')
    share=${cpus_per_miner:-$(awk -v n="$host" -v m="$1" 'BEGIN { s = n * 0.75 / m; printf "%.2f", s < 0.05 ? 0.05 : s }')}
    for ((i = 1; i <= $1; i++)); do
        id=$("${compose[@]}" ps -q "miner_$i" 2>/dev/null)
        [ -n "$id" ] || continue
        "$engine" update --cpus "$share" "$id" >/dev/null || echo "note: miner_$i keeps its CPU limit" >&2
        if [ "$pin" = yes ]; then
            cpu=$(((i - 1) % host))
            "$engine" update --cpuset-cpus "$cpu" "$id" >/dev/null || echo "note: miner_$i cannot be pinned to CPU $cpu" >&2
        fi
    done
    echo "CPU: $host on this host, $share for each miner$([ "$pin" = yes ] && echo ", pinned")"
}

# Every instance healthy and every port of the plan answering, before success is claimed.
verify() { # verify MINERS WEBSERVERS
    local port service id state bad=no left=120 host=$bind
    [ "$host" = 0.0.0.0 ] && host=127.0.0.1
    while read -r port service; do
        while :; do
            id=$("${compose[@]}" ps -q "$service" 2>/dev/null)
            state=$("$engine" inspect --format '{{.State.Health.Status}}' "$id" 2>/dev/null)
            [ "$state" = healthy ] && (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null && break
            left=$((left - 1))
            if [ "$left" -le 0 ]; then
                echo "Error: $service (port $port) is ${state:-not running}; see: docker compose logs $service" >&2
                bad=yes
                break
            fi
            sleep 0.5
        done
    done < <(host_ports "$1" "$2")
    [ "$bad" = no ] || exit 1
    echo "✓ All instances have ports mapped and answer"
}

arrow() { # arrow WHAT FROM TO
    if [ "$3" -gt "$2" ]; then echo "→ Scaling UP $1: $2 → $3"; elif [ "$3" -lt "$2" ]; then echo "→ Scaling DOWN $1: $2 → $3"; else echo "→ $1: $2, unchanged"; fi
}

print_plan() { # print_plan MINERS WEBSERVERS
    local i
    echo "Plan: $1 miners, $2 webservers (a dry run: nothing is changed)"
    for ((i = 2; i <= $1; i++)); do echo "  miner_$i connects to miner_$((i - 1)):$((2000 + i - 1))"; done
    for ((i = 1; i <= $2; i++)); do echo "  webserver_$i connects to miner_1:2001"; done
    print_ports "$1" "$2"
}

# Everything: the files, the containers, the CPUs, the ports.
scale_to() { # scale_to MINERS WEBSERVERS
    check_overlap "$1" "$2"
    if [ "$dry_run" = yes ]; then
        print_plan "$1" "$2"
        return
    fi
    find_compose
    local miners webservers
    miners=$(running miner) webservers=$(running webserver)
    echo "Current blockchain network: $miners miners, $webservers webservers"
    echo "Scaling to: $1 miners, $2 webservers"
    arrow miners "$miners" "$1"
    arrow webservers "$webservers" "$2"
    check_busy_ports "$1" "$2"
    write_override "$1" "$2"
    if [ -f "$override" ]; then echo "✓ Generated $(basename "$override")"; fi
    "${compose[@]}" up -d --remove-orphans || die 1 "Compose could not start everything; what it said stands above"
    share_cpus "$1"
    echo "Scaled services:"
    "${compose[@]}" ps
    print_ports "$1" "$2"
    verify "$1" "$2"
}

# scale-up.sh and scale-down.sh: words are KIND and, as a check, CURRENT.
scale_by() { # scale_by 1|-1
    local kind=${words[0]-webserver} now next other
    [ "$kind" = miner ] || [ "$kind" = webserver ] || die 2 "the service is '$kind': miner or webserver is wanted"
    [ ${#words[@]} -le 2 ] || die 2 "too many arguments (see --help)"
    [ ${#words[@]} -lt 2 ] || check_count "${kind}s" "${words[1]}"
    now=$(configured "$kind")
    if [ ${#words[@]} -eq 2 ] && [ "${words[1]}" -ne "$now" ]; then
        echo "note: there are $now ${kind}s now, not ${words[1]}"
    fi
    next=$((now + $1))
    [ "$next" -ge 1 ] || die 1 "Cannot scale below 1 instance"
    check_count "${kind}s" "$next"
    echo "Scaling $kind $([ "$1" -gt 0 ] && echo up || echo down): $now → $next"
    if [ "$kind" = miner ]; then
        other=$(configured webserver)
        scale_to "$next" "$other"
    else
        other=$(configured miner)
        scale_to "$other" "$next"
    fi
}
