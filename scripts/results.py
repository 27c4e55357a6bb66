#!/usr/bin/env python3
"""Turns the JSON lines of the benchmarks into bench/RESULTS.md."""
import datetime
import json
import os
import platform
import subprocess
import sys

lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
load = sys.argv[2]


def first(command):
    try:
        return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip().splitlines()[0]
    except IndexError:
        return "unknown"


print("# Results\n")
print("Written by `make bench`. Each figure and its peer were measured in turns within one run, on one machine that also made the load; trust the")
print("ratios and the CPU per request more than the rates.\n")
print(f"- when: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, load average before the run {load}")
cpu = first("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2")
print(f"- machine: {os.cpu_count()} × {cpu}, Linux {platform.release().split('-')[0]}, {first('go version').removeprefix('go version ')}")
print(f"- peers: {first('nginx -v 2>&1 || /usr/sbin/nginx -v 2>&1')}, {first('fio --version')}, DuckDB by the same library, wrk\n")

print("## Proxy: keep-alive, 64 connections, 1 KiB\n")
print("| proxy | CPU µs/request | × nginx, median of rounds | bar | requests/s |\n|---|---|---|---|---|")
for r in lines:
    if r.get("kind") == "result":
        bar = ""
        if r["proxy"] == "sluice":
            bar = "≤ 1.3: " + ("met" if r["ratio_to_nginx"] <= 1.3 else "**missed**")
        print(f"| {r['proxy']} | {r['cpu_us_per_request']:.1f} | {r['ratio_to_nginx']:.2f} | {bar} | {r['requests_per_second']:.0f} |")

titles = {
    "collector": "Collector: events durable before the answer",
    "records": "PutRecords: 500 × 1 KiB a call, durable",
    "sql": "SQL: count, sum, group by over gzip CSV in the bucket",
    "start": "Start and memory",
    "routes": "Ten thousand routes, consumers and keys",
}
for bench, title in titles.items():
    rows = [r for r in lines if r.get("bench") == bench]
    if not rows:
        continue
    print(f"\n## {title}\n")
    print("| figure | value | bar |\n|---|---|---|")
    for r in rows:
        bar = ""
        if "bar" in r:
            bar = f"{r['bar']}: " + ("met" if r["met"] else "**missed**")
        print(f"| {r['figure']} | {r['value']:.{0 if r['value'] >= 1000 else 2}f} {r['unit']} | {bar} |")
