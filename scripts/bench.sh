#!/usr/bin/env bash
# Measures against the peers, in turns within one run, and the cluster and the edge, and writes
# bench/RESULTS.md. ONLY=peers and ONLY=edge measure one part and leave the other as it is there.
# ROUNDS, DURATION and SQL_MB make the one shorter or longer; RUNS, FLEET, TARGETS, CHANGES and
# KILLS the other.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh
go build -o bin/ ./cmd/sluice ./bench/...
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
edge='^# Cluster and edge'
sed "/$edge/,\$d" bench/RESULTS.md >"$work/peers.md"
sed -n "/$edge/,\$p" bench/RESULTS.md >"$work/edge.md"

peers() {
	local out=$work/peers before
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
	python3 scripts/results.py "$out" "$before" peers >"$work/peers.md"
}

edge() {
	local out=$work/edge before
	before=$(cut -d' ' -f1-3 /proc/loadavg)
	for _ in $(seq "${RUNS:-3}"); do
		bin/edgebench -rounds 1 -fleet "${FLEET:-100000}" -targets "${TARGETS:-10000}" -changes "${CHANGES:-100}" -kills "${KILLS:-10}" | tee -a "$out"
	done
	python3 scripts/results.py "$out" "$before" edge >"$work/edge.md"
}

case "${ONLY:-all}" in
all)
	peers
	edge
	;;
peers | edge) "$ONLY" ;;
*)
	echo "ONLY is peers or edge" >&2
	exit 1
	;;
esac
{ cat "$work/peers.md" && echo && cat "$work/edge.md"; } | cat -s >bench/RESULTS.md
echo "written to bench/RESULTS.md"
