#!/bin/sh
# Known advisories against Cargo.lock, where cargo-audit and its database are on this machine:
# nothing is fetched. Licenses and banned versions are checked by the tests (tests/tree.rs).
set -eu
database="${CARGO_HOME:-$HOME/.cargo}/advisory-db"
if ! command -v cargo-audit >/dev/null 2>&1; then
    echo "skipped: advisories (cargo-audit is not installed: cargo install cargo-audit)"
elif [ ! -d "$database" ]; then
    echo "skipped: advisories (no advisory database in $database: run cargo audit once online)"
else
    cargo audit --no-fetch --stale --db "$database"
fi
