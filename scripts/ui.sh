#!/bin/sh
# The interface: scripts/ui.sh build|api|check|journeys|pictures. Packages are installed where the lock file says other ones.
set -eu
cd "$(dirname "$0")/../ui"

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-fund --no-audit --loglevel=error
    touch node_modules/.package-lock.json
fi

case "$1" in
build) npm run --silent build ;;
api) npm run --silent api ;;
check)
    # The types are those of the contract as it is.
    npx --no-install openapi-typescript ../openapi.json -o node_modules/.schema.d.ts >/dev/null
    cmp -s node_modules/.schema.d.ts src/lib/api/schema.d.ts || {
        echo "ui/src/lib/api/schema.d.ts is not that of openapi.json: run make contract" >&2
        exit 1
    }
    npm run --silent check
    ;;
journeys) node --test --test-concurrency=1 tests/e2e/ ;;
pictures) node --test tests/e2e/screens.test.mjs ;;
*)
    echo "usage: scripts/ui.sh build|api|check|journeys|pictures" >&2
    exit 2
    ;;
esac
