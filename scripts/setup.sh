#!/bin/sh
# Names what this project needs and this machine lacks, and installs it: Debian 12, Raspberry Pi OS.
# Usage: scripts/setup.sh build|ui|desktop|test|bench. As root or by sudo; YES=1 or CI asks nothing.
set -eu

missing=""
need() { # command, Debian package
    command -v "$1" >/dev/null 2>&1 && return
    case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}
need_library() { # name for pkg-config, Debian package
    pkg-config --exists "$1" 2>/dev/null || missing="$missing $2"
}

need cc build-essential
need make make
need perl perl
case "${1:-build}" in
test | bench)
    need openssl openssl
    need mosquitto_pub mosquitto-clients
    need mosquitto mosquitto
    need strace strace
    need faketime faketime
    ;;
esac
case "${1:-build}" in
test)
    need chromium chromium
    need certutil libnss3-tools
    need Xvfb xvfb
    need WebKitWebDriver webkit2gtk-driver
    need python3 python3
    # Tools and products of other makers are installed from PyPI into directories of their own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    ;;
esac
case "${1:-build}" in
desktop | test)
    need pkg-config pkg-config
    need dbus-run-session dbus-daemon
    need_library webkit2gtk-4.1 libwebkit2gtk-4.1-dev
    ;;
esac

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install Rust 1.90 or newer (https://rustup.rs), then run this again." >&2
    exit 1
fi

case "${1:-build}" in
ui | desktop | test)
    # Debian 12's own Node is too old for the tools that build the interface.
    version=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
    if [ "${version:-0}" -lt 20 ] || ! command -v npm >/dev/null 2>&1; then
        echo "Node is missing or too old: install Node 20.19 or newer with npm (https://nodejs.org), then run this again." >&2
        echo "The gateway runs without its interface: cargo build builds it so." >&2
        exit 1
    fi
    ;;
esac

[ -n "$missing" ] || exit 0
echo "Missing Debian packages:$missing" >&2
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is not Debian: install what they hold by your own means, then run this again." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo"; fi
if [ -z "${YES:-}${CI:-}" ]; then
    printf 'Install them now with %sapt-get? [y/N] ' "${as_root:+$as_root }" >&2
    read -r answer
    case "$answer" in y | Y | yes) ;; *) exit 1 ;; esac
fi
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of packages
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
