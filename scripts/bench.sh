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
gate() { bin/proxybench -rounds "${ROUNDS:-6}" -duration "${DURATION:-4s}" "$@" | tee -a "$out"; }
gate -only sluice,caddy,fasthttp
gate -tls -only sluice,caddy
gate -plugins key-auth,rate-limiting,prometheus,file-log -routes 1000 -only sluice
gate -rate "${RATE:-14000}" -only sluice # about 40 % of what two cores take
gate -proto h2 -only sluice,caddy
gate -proto grpc -body 256 -only sluice,caddy
bin/proxybench -websockets 9950 | tee -a "$out" # two files each, of the usual 20,000
bin/nodebench -rounds "${ROUNDS:-6}" -duration "${DURATION:-5s}" -sql-mb "${SQL_MB:-200}" | tee -a "$out"
python3 scripts/results.py "$out" "$before" >bench/RESULTS.md
echo "written to bench/RESULTS.md"
