#!/bin/sh
# Every measurement of docs/BENCHMARKS.md, one JSON value a line. Loopback only; about three minutes.
set -eu
cargo build --locked --release --quiet
target="${CARGO_TARGET_DIR:-target}"
bench() { "$target/release/hearthkey" bench "$@" --json; }

bench issue --concurrency 1 --count 5000
bench issue --concurrency 16 --count 20000
bench issue --concurrency 16 --count 20000 --stored 1000
bench issue --concurrency 16 --count 20000 --stored "${STORED:-1000000}"
bench start --count 10000
bench connect --concurrency 32 --count 500
bench connect --concurrency 32 --count 1000
bench publish --concurrency 50 --count 800
bench revoke --concurrency 1000 --count 300
bench revoke --concurrency 1000 --count 300 --load 50
if command -v mosquitto >/dev/null 2>&1; then
    bench connect --concurrency 32 --count 500 --peer mosquitto
    bench publish --concurrency 50 --count 800 --peer mosquitto
else
    echo "skipped: mosquitto is not installed" >&2
fi
echo "skipped: OpenBao is not measured yet" >&2
