#!/bin/sh
# Installs a real Home Assistant for the tests, once, below the cargo target directory, and prints where it is.
# Nothing is fetched when it is already there. Says why when it cannot be installed (exit 3).
# Usage: scripts/home-assistant.sh [directory]. PYTHON names another Python 3.11.
set -eu

version=2024.3.3
directory="${1:-${CARGO_TARGET_DIR:-target}/home-assistant}"
marker="$directory/installed-$version-1"

if [ -e "$marker" ]; then
    echo "$directory"
    exit 0
fi
python="${PYTHON:-python3.11}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    echo "Home Assistant $version needs Python 3.11, and \"$python\" is none: install it or set PYTHON." >&2
    exit 3
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Python 3.11 is here without its venv module: install python3.11-venv." >&2
    exit 3
fi

mkdir -p "$directory"
# Two test runs at once must not install into one place.
exec 9>"$directory/lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
[ -e "$marker" ] && echo "$directory" && exit 0

log="$directory/install.log"
# josepy 2 and paho-mqtt 2 are newer than this release of Home Assistant expects. The rest is what
# http, frontend, onboarding and their dependencies ask for in their manifests, so that it runs with --skip-pip.
if ! "$python" -m venv --clear "$directory/venv" >"$log" 2>&1 ||
    ! "$directory/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary \
        "homeassistant==$version" "josepy<2" "paho-mqtt==1.6.1" \
        "aiohttp_cors==0.7.0" "aiohttp-fast-url-dispatcher==0.3.0" "aiohttp-zlib-ng==0.3.1" \
        "Pillow==10.2.0" "janus==1.0.0" "psutil-home-assistant==0.0.1" "SQLAlchemy==2.0.27" \
        "fnv-hash-fast==0.5.0" "securetar==2024.2.1" "home-assistant-frontend==20240307.0" >>"$log" 2>&1; then
    echo "Home Assistant $version could not be installed; the last lines of $log:" >&2
    tail -n 3 "$log" >&2
    exit 3
fi
: >"$marker"
echo "$directory"
