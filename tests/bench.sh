#!/usr/bin/env bash
# Benchmarks, and CPU per call side by side with Kamailio. All on loopback.
#   RUNS=5 SECS=10 tests/bench.sh
set -euo pipefail
cd "$(dirname "$0")/.."
go test -run '^$' -bench . -benchmem ./proxy/... ./guard/... ./rules/... ./intel/... ./bpf/... | grep -E '^(Benchmark|ok|pkg:)'
here=$PWD
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
run="$here/ringfence run --listen udp:{proxy} --next-hop udp:{uas} --filter off --metrics off --state $state/s"
echo
echo "== plain"
python3 tests/load/measure.py --runs "${RUNS:-5}" --secs "${SECS:-10}" --proxy-cmd "$run --rules none"
echo
echo "== guarded"
python3 tests/load/measure.py --guarded --runs "${RUNS:-5}" --secs "${SECS:-10}" --proxy-cmd "$run --config $here/tests/load/guarded-config.yaml --account alice:secret --realm ringfence --geo ${RINGFENCE_CORPUS:-$here/../shared/corpus}/maxmind/test-data/GeoIP2-Country-Test.mmdb --rules $here/tests/load/guarded.yaml"
