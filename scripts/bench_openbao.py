#!/usr/bin/env python3
"""OpenBao's pki/sign under the load of `hearthkey-bench issue`: raft storage, stored certificates,
an audit file, sixteen keep-alive connections on loopback. Prints one JSON value.

Usage: bench_openbao.py BAO_BINARY COUNT CONCURRENCY
"""
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(connection, method, path, body=None, token=None):
    headers = {"X-Vault-Token": token} if token else {}
    connection.request(method, "/v1/" + path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{path}: {response.status} {text[:200]!r}")
    return json.loads(text) if text else {}


def connect(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def wait_for(port):
    for _ in range(200):
        try:
            return connect(port)
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("OpenBao does not listen")


def prepare(port, directory):
    connection = wait_for(port)
    made = call(connection, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    call(connection, "PUT", "sys/unseal", {"key": made["keys"][0]})
    token = made["root_token"]
    for _ in range(200):
        try:
            call(connection, "POST", "sys/mounts/pki", {"type": "pki"}, token)
            break
        except RuntimeError:  # not the active node yet
            time.sleep(0.05)
    root = {"common_name": "Bench", "key_type": "ec", "key_bits": 256, "ttl": "8000h"}
    call(connection, "POST", "pki/" + "root/generate/internal", root, token)
    role = {"allow_any_name": True, "key_type": "ec", "key_bits": 256, "ttl": "720h",
            "no_store": False, "server_flag": False, "client_flag": True}
    call(connection, "POST", "pki/roles/device", role, token)
    return token


def cpu_us(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def load(port, token, csr, count, concurrency):
    latencies, failures = [], []

    def work(share):
        connection = connect(port)
        for n in range(share):
            begun = time.perf_counter()
            try:
                body = {"csr": csr, "common_name": f"device-{n}"}
                call(connection, "POST", "pki/sign/device", body, token)
            except Exception as error:  # told at the end
                failures.append(str(error))
                return
            latencies.append((time.perf_counter() - begun) * 1e6)

    threads = [threading.Thread(target=work, args=(count // concurrency,)) for _ in range(concurrency)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return time.perf_counter() - begun, sorted(latencies)


def main():
    binary, count, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="hearthkey-openbao-") as directory:
        port, cluster = free_port(), free_port()
        os.mkdir(f"{directory}/raft")
        with open(f"{directory}/bao.hcl", "w") as config:
            config.write(
                f'storage "raft" {{ path = "{directory}/raft" node_id = "one" }}\n'
                f'listener "tcp" {{ address = "127.0.0.1:{port}" cluster_address = "127.0.0.1:{cluster}" tls_disable = true }}\n'
                f'api_addr = "http://127.0.0.1:{port}"\ncluster_addr = "http://127.0.0.1:{cluster}"\n'
                f'audit "file" "bench" {{ options = {{ file_path = "{directory}/audit.log" }} }}\n')
        server = subprocess.Popen([binary, "server", f"-config={directory}/bao.hcl"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            token = prepare(port, directory)
            subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", f"{directory}/k", "-subj", "/CN=device", "-out", f"{directory}/c"],
                           check=True, stderr=subprocess.DEVNULL)
            with open(f"{directory}/c") as file:
                csr = file.read()
            load(port, token, csr, concurrency * 4, concurrency)
            before = cpu_us(server.pid)
            seconds, us = load(port, token, csr, count, concurrency)
            used = cpu_us(server.pid) - before
        finally:
            server.terminate()
            server.wait()
        audited = os.path.getsize(f"{directory}/audit.log") > 0 if os.path.exists(f"{directory}/audit.log") else False
        done = len(us)
        print(json.dumps({
            "operation": "issue", "peer": "openbao", "concurrency": concurrency, "count": done,
            "seconds": seconds, "rate_per_s": done / seconds, "cpu_us_per_op": used / done,
            "latency_us": {"p50": us[done // 2], "p99": us[done * 99 // 100], "max": us[-1]},
            "details": {"audited": audited},
        }))


main()
