#!/usr/bin/env python3
"""Verifies an archive of the audit log with no part of Hearthkey: RFC 6962 hashes by hashlib, the signature by openssl.

usage: verify-archive.py FILE VKEY

FILE is what `hearthkey log archive` wrote, VKEY what `hearthkey log key` prints."""
import base64
import hashlib
import json
import subprocess
import sys
import tempfile


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(file, first, left):
    """The root over everything, and how many records that is. `stack` holds whole subtrees, from the left."""
    sizes = [1 << bit for bit in reversed(range(first.bit_length())) if first >> bit & 1]
    if len(sizes) != len(left):
        sys.exit("the head has too few or too many hashes")
    stack = list(zip(sizes, left))
    size = first
    for line in file:
        record = line.rstrip(b"\n")
        if json.loads(record)["seq"] != size:
            sys.exit(f"record {size} is missing")
        stack.append((1, hashlib.sha256(b"\x00" + record).digest()))
        size += 1
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (count, right), (_, other) = stack.pop(), stack.pop()
            stack.append((2 * count, node(other, right)))
    root = stack.pop()[1]
    while stack:
        root = node(stack.pop()[1], root)
    return size, root


def is_signed(text, signature, vkey):
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    if hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != key_id or key[0] != 1:
        sys.exit("this is not a verifier key")
    who, signature = signature.removeprefix("\u2014 ").split(" ")
    signature = base64.b64decode(signature)
    if who != name or signature[:4].hex() != key_id:
        return False
    with tempfile.TemporaryDirectory() as place:
        # An Ed25519 public key in DER (RFC 8410).
        for file, content in [("key", bytes.fromhex("302a300506032b6570032100") + key[1:]),
                              ("text", text.encode()), ("signature", signature[4:])]:
            with open(f"{place}/{file}", "wb") as out:
                out.write(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", f"{place}/key",
                   "-rawin", "-in", f"{place}/text", "-sigfile", f"{place}/signature"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        head = json.loads(file.readline())
        size, root = tree(file, head["first"], [base64.b64decode(text) for text in head["left"]])
    text, signatures = head["checkpoint"].split("\n\n", 1)
    text += "\n"
    origin, signed_size, signed_root = text.splitlines()[:3]
    vkey = sys.argv[2].strip()
    if origin != vkey.split("+")[0]:
        sys.exit("the checkpoint is of another log")
    if not any(is_signed(text, line, vkey) for line in signatures.splitlines()):
        sys.exit("the checkpoint is not signed by this key")
    if (int(signed_size), base64.b64decode(signed_root)) != (size, root) or size != head["before"]:
        sys.exit("the records are not those that were signed")
    print(f"records {head['first']} to {size - 1}, root {signed_root}")


main()
