.DEFAULT_GOAL := help

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: toolchain ## run the main job end to end on real data, and prove that nothing was lost
	go run ./cmd/sluice demo

deps: toolchain ## install what the tests need (Debian packages, Python clients), or say what is missing
	scripts/deps.sh

test: deps ## run all tests: unit, engines, acceptance with real clients
	scripts/test.sh

check: ## formatting, vet, staticcheck, house rules, generated files
	scripts/check.sh

bench: ## measure against the peers, into bench/RESULTS.md
	scripts/bench.sh

accept: ## the long acceptance run: fifty rounds of kill -9
	cd acceptance && go test -timeout 60m ./... -rounds 50

build: toolchain ## build bin/sluice
	go build -o bin/sluice ./cmd/sluice

toolchain:
	@scripts/toolchain.sh

.PHONY: help toolchain demo deps test check bench accept build
