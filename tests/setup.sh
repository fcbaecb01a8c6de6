#!/usr/bin/env bash
# Installs from Debian what the tests need and the machine does not have.
set -euo pipefail
need=()
while read -r program package; do
	command -v "$program" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null 2>&1 || need+=("$package")
done <<-LIST
	sipp sip-tester
	baresip baresip-core
	kamailio kamailio
	clang-14 clang-14
	llvm-strip-14 llvm-14
	ip iproute2
	tcpdump tcpdump
	svmap sipvicious
	python3 python3
	openssl openssl
	taskset util-linux
	pgrep procps
	unbound unbound
LIST
[ -e /usr/include/bpf/bpf_helpers.h ] || need+=(libbpf-dev)
ls /usr/lib/*/kamailio/modules/geoip2.so >/dev/null 2>&1 || need+=(kamailio-geoip2-modules)
if [ ${#need[@]} -eq 0 ]; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
	echo "not root: these Debian packages are missing and the tests that need them will be skipped: ${need[*]}" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${need[@]}"
