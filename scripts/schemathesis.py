#!/usr/bin/env python3
"""Schemathesis over the whole contract: no answer is a fault of the gateway (5xx), and each is as openapi.json says.

A home of its own is asked through its Unix socket, as its operator, so that nothing stays behind a login. All of it runs
in a network namespace that holds nothing but a loopback: settings of bridges and webhooks are made of random text here.
Usage: scripts/schemathesis.py HEARTHKEY [more for `schemathesis run`]
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

CONFORMS = "status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"
# Asked last: what comes after it is told that the gateway is sealed (503), and that alone.
LAST = "/api/v1/seal"
ROOT = Path(__file__).resolve().parent.parent


def alone():
    """Begins again where no other machine can be reached."""
    if os.environ.get("HEARTHKEY_ALONE"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    env = dict(os.environ, HEARTHKEY_ALONE="yes")
    command = ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv]
    os.execvpe(command[0], command, env)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


def forward(listener, path):
    """From a port of the loopback to the socket."""
    while True:
        client, _ = listener.accept()
        gateway = socket.socket(socket.AF_UNIX)
        gateway.connect(path)
        for ends in ((client, gateway), (gateway, client)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def main():
    alone()
    hearthkey, *more = sys.argv[1:]
    program = shutil.which("schemathesis") or sys.exit("schemathesis is missing: pip install schemathesis")
    with tempfile.TemporaryDirectory(prefix="hearthkey-contract-") as work:
        home = f"{work}/home"
        cli = [hearthkey, "--data-dir", home]
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*cli, "init", "--home", "Contract", "--slot", "keyfile"], **quiet)
        run = [*cli, "--json", "run", "--mqtt", "127.0.0.1:0", "--host", "localhost"]
        gateway = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=open(f"{work}/errors", "wb"))
        try:
            gateway.stdout.readline()
            claim = "device claim lamp --profile generic --environment home --owner anna --purpose light"
            added = "credential add hue/api-key --env lab --kind api-key --generate --owner anna --purpose light"
            for told in (claim, added):
                subprocess.run([*cli, *told.split()], **quiet)
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            threading.Thread(target=forward, args=(listener, f"{home}/hearthkey.sock"), daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            asked = [program, "run", str(ROOT / "openapi.json"), "--url", url]
            asked += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "40", *more]
            code = 0
            for checks, part in ((f"not_a_server_error,{CONFORMS}", "--exclude-path"), (CONFORMS, "--include-path")):
                run = subprocess.run([*asked, "--checks", checks, part, LAST], cwd=work)
                code = max(code, run.returncode)
            if gateway.poll() is not None:
                sys.exit(f"the gateway ended:\n{Path(work, 'errors').read_text()}")
            sys.exit(code)
        finally:
            gateway.terminate()
            gateway.wait()


main()
