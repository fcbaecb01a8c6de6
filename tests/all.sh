#!/usr/bin/env bash
# Passes every test; closes with go test's own summary.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
	echo "gofmt would change: $unformatted" >&2
	exit 1
fi
go vet ./...
go test -race -timeout 20m $(go list ./... | grep -v '^ringfence/tests')
# These build the daemon themselves, which the cache of go test cannot see.
go test -count=1 -timeout 30m ./tests/...
