#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (30s).
set -euo pipefail
cd "$(dirname "$0")/.."
go list ./... | while read -r package; do
	targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package" </dev/null
	done
done
