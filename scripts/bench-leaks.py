#!/usr/bin/env python3
"""Precision and recall of `credential scan` over the corpus of crates/discovery/tests/corpus.toml, beside gitleaks and
kingfisher. Prints one JSON value a line, as every row of `make bench`.

Usage: scripts/bench-leaks.py HEARTHKEY [DIRECTORY-OF-GITLEAKS-AND-KINGFISHER]

The corpus is written by the story that holds our own numbers, from a fixed seed, into a temporary directory. A file
counts as found if the scanner finds anything in it. Nothing is sent anywhere: kingfisher's validation is switched off.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

STORY = "what_the_manual_says_of_a_corpus_of_public_shapes_is_true"


def corpus(directory):
    """Writes the corpus; returns the paths of the files with leaks, and of those without."""
    test = ["cargo", "test", "--locked", "--quiet", "-p", "hearthkey-discovery", "--test", "stories", STORY]
    environment = {**os.environ, "LEAK_CORPUS": str(directory)}
    subprocess.run(test, env=environment, check=True, stdout=sys.stderr)
    files = {side: set((directory / side).rglob("*")) for side in ("leaks", "clean")}
    return [{path for path in files[side] if path.is_file()} for side in ("leaks", "clean")]


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=600).stdout


def hearthkey(program, directory):
    answer = run([program, "credential", "scan", str(directory), "--offline", "--tree-only", "--json"])
    return {directory / leak["place"]["path"] for leak in json.loads(answer)["scan"]["leaks"]}


def gitleaks(program, directory):
    with tempfile.TemporaryDirectory() as out:
        report = pathlib.Path(out) / "report.json"
        run([program, "dir", str(directory), "--report-format", "json", "--report-path", str(report),
             "--no-banner", "--redact", "--exit-code", "0"])
        return {pathlib.Path(one["File"]) for one in json.loads(report.read_text())}


def kingfisher(program, directory):
    command = [program, "scan", str(directory), "--no-validate", "--no-update-check", "--git-history", "none",
               "--redact", "--format", "jsonl"]
    found = set()
    for line in run(command).splitlines():
        if line.startswith("{"):
            path = json.loads(line).get("finding", {}).get("path")
            if path:
                found.add(pathlib.Path(path))
    return found


def version(program, *arguments):
    return run([program, *arguments]).strip().splitlines()[-1].split()[-1]


def main():
    ours = sys.argv[1]
    others = sys.argv[2] if len(sys.argv) > 2 else None
    tools = [("hearthkey", ours, hearthkey, ["--version"])]
    for name, look, ask in [("gitleaks", gitleaks, ["version"]), ("kingfisher", kingfisher, ["--version"])]:
        program = shutil.which(name, path=others) if others else None
        if program:
            tools.append((name, program, look, ask))
        else:
            print(f"skipped: {name} is not installed", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory).resolve()
        leaks, clean = corpus(directory)
        for name, program, look, ask in tools:
            found = {path.resolve() for path in look(program, directory)}
            right, wrong = len(found & leaks), len(found & clean)
            print(json.dumps({
                "bench": "leaks", "scanner": name, "version": version(program, *ask),
                "leaks": len(leaks), "found": right, "clean": len(clean), "wrong": wrong,
                "recall": round(right / len(leaks), 3),
                "precision": round(right / max(1, right + wrong), 3),
            }))


if __name__ == "__main__":
    main()
