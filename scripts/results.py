#!/usr/bin/env python3
"""Turns the JSON lines of the benchmarks into a part of bench/RESULTS.md: results.py LINES LOAD PART,
where LOAD is the load average before them, and PART is peers or edge."""
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
load, part = sys.argv[2:]


def first(command):
    try:
        return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip().splitlines()[0]
    except IndexError:
        return "unknown"


def verdict(text, met):
    return f"{text}: " + ("met" if met else "**missed**")


def conditions():
    print(f"- when: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, load average before the run {load}")
    cpu = first("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2")
    print(f"- machine: {os.cpu_count()} × {cpu}, Linux {platform.release().split('-')[0]}, {first('go version').removeprefix('go version ')}")


def number(value):
    return f"{value:.{0 if value >= 1000 or value == int(value) else 2}f}"


# The benchmarks of the cluster, whose figures are there once per run.
of_the_edge = {
    "beats": "Heartbeats to one node",
    "fleet": "A hundred thousand agents on three nodes",
    "manifest": "A new manifest, from all its agents at once",
    "rollout": "A flow published to ten thousand agents on three nodes",
    "writes": "What unchanged heartbeats write to the database",
    "routes": "A route, from one node to the others",
    "lease": "A lease, from a node that is killed",
}


def edge():
    print("# Cluster and edge\n")
    print("Written by `make bench`, or `ONLY=edge make bench`. Nodes, their PostgreSQL and the simulated agents shared one machine's processors. A figure is the")
    print("median of the runs; a bar is met if every run met it.\n")
    conditions()
    for bench, title in of_the_edge.items():
        rows = {}
        for r in lines:
            if r.get("bench") == bench:
                rows.setdefault(r["figure"], []).append(r)
        if not rows:
            continue
        print(f"\n## {title}\n\n| figure | value | runs | bar |\n|---|---|---|---|")
        for figure, runs in rows.items():
            values = [r["value"] for r in runs]
            bar = verdict(runs[0]["bar"], all(r["met"] for r in runs)) if "bar" in runs[0] else ""
            print(f"| {figure} | {number(statistics.median(values))} {runs[0]['unit']} | {', '.join(map(number, values))} | {bar} |")


if part == "edge":
    edge()
    sys.exit()
print("# Results\n")
print("Written by `make bench`. Each figure and its peer were measured in turns within one run, on one machine that also made the load; trust the")
print("ratios and the CPU per request more than the rates.\n")
conditions()
print(f"- peers: {first('nginx -v 2>&1 || /usr/sbin/nginx -v 2>&1')}, Caddy {first('caddy version')}, {first('fio --version')}, DuckDB by the same library, wrk, h2load\n")

# The gate's scenarios: how a line is known, its title, the bar for Sluice, and whether it is met.
results = [r for r in lines if r.get("kind") == "result"]
scenarios = [
    (lambda r: r["proto"] == "h1" and not r["tls"] and not r["plugins"] and not r["rate"],
     "Proxy: keep-alive, 64 connections, 1 KiB", lambda r, peers: verdict("≤ 1.25 × nginx", r["ratio"] <= 1.25)
     + "; " + verdict("Caddy ≥ 4 ×", peers["caddy"] >= 4 * r["cpu_us_per_request"])),
    (lambda r: r["tls"], "Proxy: the same with TLS to the client", lambda r, peers: verdict("≤ 0.95 × nginx with TLS", r["ratio"] <= 0.95)),
    (lambda r: r["plugins"], "Proxy: 1,000 routes, key-auth, rate-limiting, prometheus and a JSON access log, against bare nginx",
     lambda r, peers: verdict("≤ 1.9 × nginx", r["ratio"] <= 1.9)),
    (lambda r: r["rate"], "Latency at a fixed rate, about 40 % of full", lambda r, peers: verdict("p99 ≤ 1.5 × nginx", r["p99_ms"] <= 1.5 * peers["p99 nginx"])),
    (lambda r: r["proto"] == "h2", "HTTP/2 over TLS to the client, HTTP/1.1 to the upstream, 64 streams",
     lambda r, peers: verdict("≥ 2 × Caddy per CPU", peers["caddy"] >= 2 * r["cpu_us_per_request"])),
    (lambda r: r["proto"] == "grpc", "gRPC: unary calls of 256 bytes, 64 streams",
     lambda r, peers: verdict("≥ 2 × Caddy per CPU", peers["caddy"] >= 2 * r["cpu_us_per_request"])),
]
for known, title, bar in scenarios:
    rows = [r for r in results if known(r)]
    if not rows:
        continue
    base = rows[0]["base"]
    peers = {r["proxy"]: r["cpu_us_per_request"] for r in rows} | {"p99 " + r["proxy"]: r["p99_ms"] for r in rows}
    print(f"## {title}\n")
    print(f"| proxy | CPU µs/request | × {base}, median of rounds | requests/s | p99 ms | bar |\n|---|---|---|---|---|---|")
    for r in rows:
        met = bar(r, peers) if r["proxy"] == "sluice" else ""
        print(f"| {r['proxy']} | {r['cpu_us_per_request']:.1f} | {r['ratio']:.2f} | {r['requests_per_second']:.0f} | {r['p99_ms']:.1f} | {met} |")
    print()
for r in lines:
    if r.get("kind") == "websockets":
        print("## WebSockets\n\n| figure | value | bar |\n|---|---|---|")
        print(f"| memory with {r['open']} open | {r['rss_mb']:.0f} MB | {verdict('< 300 for 10,000', r['rss_mb'] < 300 * r['open'] / 10000)} |")
        print(f"| memory before | {r['idle_rss_mb']:.0f} MB | |")
        print(f"| CPU to open one and echo a frame | {r['cpu_us_per_connection']:.0f} µs | |")

titles = {
    "collector": "Collector: events durable before the answer",
    "records": "PutRecords: 500 × 1 KiB a call, durable",
    "puts": "S3: puts of 4 KiB to 1 MiB, 16 clients",
    "sql": "SQL: count, sum, group by over gzip CSV in the bucket",
    "start": "Start and memory",
    "routes": "Ten thousand routes, consumers and keys",
}
notes = {
    "puts": "Each figure is the median of the rounds. Clients, servers and busy loops shared the processors. What a put waits for under contention, and\n"
    "which designs were tried, is in [decision 4](../docs/decisions/0004-segments.md).",
}
for bench, title in titles.items():
    rows = [r for r in lines if r.get("bench") == bench]
    if not rows:
        continue
    print(f"\n## {title}\n")
    if bench in notes:
        print(notes[bench] + "\n")
    print("| figure | value | bar |\n|---|---|---|")
    for r in rows:
        bar = ""
        if "bar" in r:
            bar = f"{r['bar']}: " + ("met" if r["met"] else "**missed**")
        print(f"| {r['figure']} | {r['value']:.{0 if r['value'] >= 1000 else 2}f} {r['unit']} | {bar} |")
