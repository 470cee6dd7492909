# What the scripts need from the distribution. Sourced by ./check and ./demo.
# shellcheck shell=bash

# need PACKAGE TEST...: remembers PACKAGE when TEST fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# Installs what is missing when root on a Debian-like system, else says what to install, and stops.
install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "These packages are missing. On Debian, Kali and Ubuntu:" >&2
        echo "  sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
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

missing=()
need g++ command -v g++
need make command -v make
need pkg-config command -v pkg-config
need libssl-dev test -e /usr/include/openssl/ssl.h
