#!/usr/bin/env bash
# What must pass before a change lands: formatting, vet, staticcheck, house rules.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=$(gofmt -l cmd internal bench acceptance 2>/dev/null || true)
if [ -n "$bad" ]; then
	echo "not formatted (gofmt -w):" && echo "$bad"
	exit 1
fi
go vet ./...
go mod verify >/dev/null
go tool -modfile=tools/go.mod staticcheck ./...
go test ./internal/lint
CGO_ENABLED=0 go build -o /dev/null ./cmd/sluice # the warehouse is left out, all else must build
echo "clean"
