# shellcheck shell=bash
# What every adapter's `setup` and `run` begin with:  . "$(dirname "$0")/../lib/adapter.sh"
#
# setup                 installs into $folder (.deps/peers/NAME); exit code 77 and one line that says
#                       why where it cannot be
# run [--redis-port P] [--jobs N] [--variant default|best] [--round R]
#                       measures once and prints one JSON line
set -euo pipefail

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$here")
root=$(cd "$lib/../../../.." && pwd)
folder=${STILLHOUSE_DEPS:-$root/.deps}/peers/$name
export PYTHONDONTWRITEBYTECODE=1

# ---- setup ---------------------------------------------------------------------------------------

skip() { # REASON
    echo "peers: $name skipped: $1"
    exit 77
}

attempt() { # WHAT COMMAND... : the command's last words are the reason
    local what=$1 said
    shift
    if ! said=$("$@" 2>&1 </dev/null); then
        skip "$what could not be installed ($(grep -v '^ *$' <<<"$said" | tail -1))"
    fi
}

need() { # COMMAND... : that the machine has or has not
    local command
    for command in "$@"; do
        if ! command -v "$command" >/dev/null; then skip "no \"$command\" on this machine"; fi
    done
}

# Does nothing where this very list was installed before: the stamp is written last.
is_installed() { [ "$(cat "$folder/installed" 2>/dev/null)" = "$*" ]; }

python_packages() { # REQUIREMENT...
    if is_installed "$@"; then return; fi
    need /usr/bin/python3
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    attempt "a virtual environment" /usr/bin/python3 -m venv "$folder"
    attempt "$*" "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$*" >"$folder/installed"
}

node_packages() { # NAME@VERSION...
    if is_installed "$@"; then return; fi
    need node npm
    rm -rf "$folder"
    mkdir -p "$folder"
    attempt "$*" npm install --prefix "$folder" --no-audit --no-fund --save-exact "$@"
    echo "$*" >"$folder/installed"
}

# A Debian release pins the versions. RUNLEVEL=1: no service is started.
debian_packages() { # PACKAGE...
    local missing=() package
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    need apt-get
    if [ "$(id -u)" -ne 0 ]; then skip "needs Debian's ${missing[*]}, and apt-get needs root"; fi
    attempt "apt-get's lists" apt-get update -q
    attempt "${missing[*]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "${missing[@]}"
}

# The peer's program in C, as $folder/bench.
compile() { # SOURCE FLAG...
    need cc
    mkdir -p "$folder"
    attempt "$1" cc -std=gnu17 -O2 -Wall -Wextra -o "$folder/bench" "$here/$1" "${@:2}"
}

debian_version() { # PACKAGE
    dpkg-query -W -f '${Version}' "$1"
}

# ---- run -----------------------------------------------------------------------------------------

# Sets $variant, $round and $jobs (where none are asked for: what takes the variant 2 to 5 s), and what
# the peer's own program reads: BENCH_REDIS_PORT BENCH_JOBS BENCH_VARIANT.
read_options() { # JOBS_DEFAULT JOBS_BEST "$@"
    local -A usual=([default]=$1 [best]=$2)
    jobs="" variant=default round=1
    shift 2
    export BENCH_REDIS_PORT=6379
    while [ $# -gt 1 ]; do
        case $1 in
            --redis-port) BENCH_REDIS_PORT=$2 ;;
            --jobs) jobs=$2 ;;
            --variant) variant=$2 ;;
            --round) round=$2 ;;
            *) break ;;
        esac
        shift 2
    done
    if [ $# -gt 0 ] || [[ ! $variant =~ ^(default|best)$ ]]; then
        echo "usage: $name/run [--redis-port P] [--jobs N] [--variant default|best] [--round R]" >&2
        exit 2
    fi
    jobs=${jobs:-${usual[$variant]}}
    export BENCH_JOBS=$jobs BENCH_VARIANT=$variant
}

# For a peer that brings its own server.
free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# measure VERSION SETTINGS --fill COMMAND --work COMMAND [--workers N] [--server COMMAND]
measure() {
    local version=$1 settings=$2
    shift 2
    cd "$here"
    exec /usr/bin/python3 "$lib/measure.py" --name "$name" --version "$version" \
        --settings "$settings" --variant "$variant" --round "$round" --jobs "$jobs" "$@"
}
