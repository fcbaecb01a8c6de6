# The words of the house. `make run` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
GO ?= go
FUZZTIME ?= 30s
GOLANGCI ?= v2.15.0

.PHONY: run build test race lint gen fuzz bench bench-proxy demo release

run: build ## build and start a guard on loopback, with two demo accounts
	./ringfence run

build: ## build the binary
	CGO_ENABLED=0 $(GO) build -o ringfence ./cmd/ringfence

test: ## install what the tests need from Debian, then pass every test
	tests/setup.sh
	tests/all.sh

race: ## every package twice, shuffled, with the race detector
	$(GO) test -race -count=2 -shuffle=on ./...

lint: ## the linters of .golangci.yml
	@command -v golangci-lint >/dev/null || { echo 'golangci-lint is missing: go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)' >&2; exit 1; }
	golangci-lint run ./...

gen: ## make the generated files again
	$(GO) generate ./...

fuzz: ## every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) tests/fuzz.sh

bench: build ## benchmarks, and CPU per call side by side with Kamailio
	tests/bench.sh

bench-proxy: build ## the proxy and Kamailio in turn: CPU per call, latency, highest rate
	tests/bench-proxy.sh

demo: build ## two phones, a scanner, a guesser, a thief and a flood
	./ringfence demo

release: ## static binaries for Linux
	mkdir -p dist
	for arch in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w' -o dist/ringfence-linux-$$arch ./cmd/ringfence; done
