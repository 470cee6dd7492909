# What the scripts need from the distribution. Sourced by ./check and ./demo.
# shellcheck shell=bash

# need PACKAGE TEST...: remembers PACKAGE when TEST fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# What makes apt bear a mirror that is slow or fails for a moment.
patient=(-o Acquire::Retries=5 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60)

# Runs a command that downloads, and runs it again where it fails.
twice() {
    "$@" && return
    echo "once more: $*" >&2
    sleep 5
    "$@"
}

# Installs what is missing when root on a Debian-like system, else says what to install, and stops.
install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        twice apt-get "${patient[@]}" update -qq
        twice apt-get "${patient[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "These packages are missing. On Debian, Kali and Ubuntu:" >&2
        echo "  sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
}

# The library of this Python, which a distribution's own Python runs without.
need_library_of_python() {
    local version
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    need "libpython$version" compgen -G "/usr/lib/*/libpython$version.so.1.0"
}

# Stops unless Rust is new enough.
require_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
    if [ -z "$found" ] || [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust $wanted or newer is needed, found ${found:-none}; see https://rustup.rs" >&2
        exit 1
    fi
}

# Stops unless Node.js is new enough: the one of Debian 12 is.
require_node() {
    local found
    found=$(node --version 2>/dev/null) || true
    if [ "$(printf 'v18\n%s\n' "$found" | sort -V | head -n 1)" != v18 ]; then
        echo "Node.js 18 or newer is needed, found ${found:-none}; see https://nodejs.org" >&2
        exit 1
    fi
}

# Stops unless this user can be root over its own children, to read the memory of programs that
# hide it.
require_namespaces() {
    [ "$(id -u)" = 0 ] || unshare --user --map-root-user true 2>/dev/null || {
        echo "This system gives users no namespaces of their own: run it as root." >&2
        exit 1
    }
}

missing=()
need g++ command -v g++
need make command -v make
need pkg-config command -v pkg-config
need libssl-dev test -e /usr/include/openssl/ssl.h
