# Shared by the scripts of this folder: where things are, and installing what a fresh Debian 12 lacks.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_root=${QUARRY_BUILD:-$root/build}

build_packages=(cmake ninja-build gcc libc6-dev pkg-config git libssl-dev liburing-dev librocksdb-dev
    libsecp256k1-dev libjansson-dev libh2o-evloop-dev libhiredis-dev)
test_packages=(libcriterion-dev clang libclang-rt-14-dev clang-format clang-tidy python3 shellcheck procps redis-server)
# For tests/e2e/compose: where they are missing, it is skipped.
engine_packages=(docker.io docker-compose debootstrap iptables iproute2)

# need_packages NAME...: installs those that are missing, by apt, quietly; says what it does.
need_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: ${missing[*]}; run as root once, or: sudo apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${missing[@]}"; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        rm -f "$log"
        echo "apt-get could not install: ${missing[*]}" >&2
        return 1
    fi
    rm -f "$log"
}

# build PRESET [TARGET...]: configures and builds into $build_root/PRESET; prints the end of the log on failure.
build() {
    local preset=$1 log
    shift
    log=$(mktemp)
    if ! { cmake --preset "$preset" -S "$root" -B "$build_root/$preset" &&
        cmake --build "$build_root/$preset" -- "$@"; } >"$log" 2>&1; then
        tail -40 "$log" >&2
        rm -f "$log"
        echo "the $preset build failed" >&2
        return 1
    fi
    rm -f "$log"
}
