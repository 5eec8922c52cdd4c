#!/bin/sh
# Installs two versions of python-dotenv, and PyYAML, into a directory, for the tests that read with them what was written for them.
# Usage: scripts/python-readers.sh DIRECTORY. Prints the Python that has both.
set -eu
dir=$1
python=$dir/bin/python3
check='import dotenv, os, sys; assert os.path.isdir(sys.prefix + "/before"); import dotenv, yaml; from importlib.metadata import version as v; assert (v("python-dotenv"), v("PyYAML")) == ("1.2.4", "6.0.3")'
if ! "$python" -c "$check" 2>/dev/null; then
    command -v python3 >/dev/null 2>&1 || { echo "python3 is missing: install it" >&2; exit 1; }
    mkdir -p "$(dirname "$dir")"
    new=$(mktemp -d "$dir.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    python3 -m venv "$new" >&2 || { echo "no virtual environment: install python3-venv" >&2; exit 1; }
    "$new/bin/python3" -m pip install --quiet --disable-pip-version-check python-dotenv==1.2.4 PyYAML==6.0.3 >&2 ||
        { echo "python-dotenv and PyYAML could not be installed: is there a way to PyPI?" >&2; exit 1; }
    # The rules of before, which many still have.
    "$new/bin/python3" -m pip install --quiet --disable-pip-version-check --target "$new/before" python-dotenv==1.1.1 >&2 ||
        { echo "an older python-dotenv could not be installed" >&2; exit 1; }
    # Another test may have been first.
    if "$python" -c "$check" 2>/dev/null; then :; else rm -rf "$dir"; mv "$new" "$dir"; fi
fi
echo "$python"
