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
	chromium chromium
	npm npm
LIST
[ -e /usr/include/bpf/bpf_helpers.h ] || need+=(libbpf-dev)
ls /usr/lib/*/kamailio/modules/geoip2.so >/dev/null 2>&1 || need+=(kamailio-geoip2-modules)
if [ ${#need[@]} -gt 0 ] && [ "$(id -u)" != 0 ]; then
	echo "not root: these Debian packages are missing and the tests that need them will be skipped: ${need[*]}" >&2
elif [ ${#need[@]} -gt 0 ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${need[@]}"
fi

# The page with two phones, for TestBrowser.
cd "$(dirname "$0")/browser"
if command -v npm >/dev/null 2>&1 && [ phone.js -nt phone.bundle.js ]; then
	{ npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts &&
		node_modules/.bin/esbuild phone.js --bundle --minify --log-level=warning --outfile=phone.bundle.js; } ||
		echo "npm cannot make the page with phones: TestBrowser will be skipped" >&2
fi
