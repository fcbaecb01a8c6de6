#!/usr/bin/env bash
# The proxy side by side with Kamailio: CPU per call, latency, the highest rate,
# and a profile of where the time goes. All on loopback, one core for the proxy
# and one for the load. About half an hour; less with
#   RUNS=2 SECS=5 CEILING=10 tests/bench-proxy.sh
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
corpus=${RINGFENCE_CORPUS:-$here/../shared/corpus}
run="$here/ringfence run --listen udp:{proxy} --next-hop udp:{uas} --filter off --metrics off --state $state/s"
plain="$run --rules none"
guarded="$run --config $here/tests/load/guarded-config.yaml --account alice:secret --realm ringfence --geo $corpus/maxmind/test-data/GeoIP2-Country-Test.mmdb --rules $here/tests/load/guarded.yaml"
cpu=(python3 tests/load/measure.py --runs "${RUNS:-5}" --secs "${SECS:-10}")
latency=(python3 tests/load/latency.py --runs "${RUNS:-3}")
ceiling=(python3 tests/load/ceiling.py --secs "${CEILING:-30}")
echo "== CPU per call, plain"
"${cpu[@]}" --proxy-cmd "$plain"
echo "== CPU per call, guarded"
"${cpu[@]}" --guarded --proxy-cmd "$guarded"
echo "== latency, plain"
"${latency[@]}" --proxy-cmd "$plain"
echo "== latency, guarded"
"${latency[@]}" --guarded --proxy-cmd "$guarded"
echo "== highest rate, plain"
"${ceiling[@]}" --from 2000 --proxy-cmd "$plain"
echo "== highest rate, guarded"
"${ceiling[@]}" --guarded --from 1000 --proxy-cmd "$guarded"
echo "== where the time goes, plain"
python3 tests/load/measure.py --runs 1 --secs "${SECS:-10}" --proxy-cmd "$plain --cpu-profile $state/profile" >/dev/null
go tool pprof -top -cum -nodecount=40 ./ringfence "$state/profile" 2>/dev/null | tail -n +5
