#!/usr/bin/env bash
# Runs every test of the repository. What was skipped is listed with its reason; in CI a skip is a
# failure unless .ci/skips names it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .cache/venv/bin ] && export PATH="$PWD/.cache/venv/bin:$PATH"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() { # run DIRECTORY ARGS…: go test -v, of which only verdicts are shown
	local dir=$1 status=0
	shift
	echo "== $dir: go test ${*:1:4}…"
	set +e # the status that counts is go test's, not that of who reads it
	(cd "$dir" && go test -v "$@" 2>&1) | tee -a "$log" |
		grep -E '^(ok|FAIL|panic:|--- (FAIL|SKIP)|\s+--- (FAIL|SKIP)|\?.*failed|.*_test\.go:[0-9]+: |#|.*\.go:[0-9]+:[0-9]+: )'
	status=${PIPESTATUS[0]}
	set -e
	return "$status"
}

failed=0
# All but the engine of SQL, which the race detector does not see into and makes too slow.
mapfile -t packages < <(go list ./internal/... ./cmd/... | grep -v /internal/service/warehouse)
run . -race -timeout 15m "${packages[@]}" || failed=1
run . -timeout 15m ./internal/service/warehouse/... ./internal/service/gateway || failed=1 # the second for its allocations
[ -d acceptance ] && [ -f acceptance/go.mod ] && { run acceptance -timeout 35m ./... || failed=1; }

unexpected=$(grep -oE -- '--- SKIP: [^ ]+' "$log" | sed 's/--- SKIP: //' | sort -u | grep -vxF -f .ci/skips || true)
if [ -n "$unexpected" ]; then
	echo "skipped, which CI does not allow (see .ci/skips):"
	while read -r name; do # go test prints the reason on the line before the verdict
		grep -B 1 -m 1 -F -- "--- SKIP: $name " "$log" || true
	done <<<"$unexpected"
	[ -z "${CI:-}" ] || failed=1
fi
passed=$(grep -cE -- '^\s*--- PASS' "$log" || true)
bad=$(grep -cE -- '^\s*--- FAIL' "$log" || true)
skipped=$(grep -cE -- '^\s*--- SKIP' "$log" || true)
echo "$passed passed, $bad failed, $skipped skipped"
exit $failed
