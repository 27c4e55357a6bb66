#!/usr/bin/env bash
# Measures against the peers, in turns within one run, and writes bench/RESULTS.md.
# ROUNDS, DURATION and SQL_MB make it shorter or longer.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh
go build -o bin/ ./cmd/sluice ./bench/...
out=$(mktemp)
trap 'rm -f "$out"' EXIT
before=$(cut -d' ' -f1-3 /proc/loadavg)
bin/proxybench -rounds "${ROUNDS:-6}" -duration "${DURATION:-4s}" -only sluice,fasthttp | tee -a "$out"
bin/nodebench -rounds "${ROUNDS:-6}" -duration "${DURATION:-5s}" -sql-mb "${SQL_MB:-200}" | tee -a "$out"
python3 scripts/results.py "$out" "$before" >bench/RESULTS.md
echo "written to bench/RESULTS.md"
