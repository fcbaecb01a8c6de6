#!/usr/bin/env python3
"""What a proxy adds to the way of a message, side by side with Kamailio.

  latency.py [--runs 3] [--rate 1500] [--secs 5] [--guarded] --proxy-cmd 'CMD' ...

The options are those of measure.py. Each message is captured on loopback on its way into the proxy and out of it; what lies
between the two kernel timestamps is what the proxy adds, its waiting in the socket included. Messages that are answered and
not forwarded (100, challenges, refusals) are left out.
"""
import collections, os, re, statistics, struct, subprocess, sys, tempfile, time
import measure

CALL = re.compile(rb"\r\nCall-ID: *([^\r]+)")
CSEQ = re.compile(rb"\r\nCSeq: *([^\r]+)")

def packets(path):
    """The IPv4 packets of a pcap file with nanoseconds, as (seconds, bytes)."""
    with open(path, "rb") as f:
        head = f.read(24)
        unit = 1e9 if struct.unpack("<I", head[:4])[0] == 0xa1b23c4d else 1e6
        link = {1: 14, 113: 16}[struct.unpack("<I", head[20:24])[0]]
        while len(h := f.read(16)) == 16:
            secs, part, n, _ = struct.unpack("<IIII", h)
            yield secs + part / unit, f.read(n)[link:]

def added(path, proxy):
    """Seconds that the proxy at an address added to each message that it forwarded."""
    at, came, out = bytes(map(int, proxy.split(":")[0].split("."))), {}, []
    for when, ip in packets(path):
        if ip[9] != 17:
            continue
        sip = ip[(ip[0] & 15) * 4 + 8:]
        call, cseq = CALL.search(sip), CSEQ.search(sip)
        if not call or not cseq:
            continue
        words = sip.split(b"\r\n", 1)[0].split(b" ")
        key = (words[1] if words[0].startswith(b"SIP/") else words[0], call[1], cseq[1])
        if ip[16:20] == at:
            came.setdefault(key, when)
        elif ip[12:16] == at and key in came:
            out.append(when - came.pop(key))
    return sorted(out)

def main():
    ap = measure.arguments(__doc__)
    ap.set_defaults(runs=3, secs=5)
    a = ap.parse_args()
    a.rate = a.rate or (800 if a.guarded else 1500)
    work = tempfile.mkdtemp(prefix="ringfence-latency-")
    seen = collections.defaultdict(list)
    for _ in range(a.runs):
        for name, start in measure.proxies(a, work):
            path = os.path.join(work, name + ".pcap")
            capture = subprocess.Popen(["tcpdump", "-i", "lo", "-n", "-s", "700", "-B", "65536", "--time-stamp-precision=nano", "-w", path, "host", a.proxy.split(":")[0]],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                r = measure.load(name, a.proxy, a.uas, start, a, work)
                time.sleep(0.5)
            finally:
                capture.terminate()
                capture.wait(10)
            us = [1e6 * s for s in added(path, a.proxy)]
            os.remove(path)
            p50, p99 = us[len(us) // 2], us[len(us) * 99 // 100]
            seen[name].append((p50, p99))
            print(f"{name:10s} p50 {p50:6.0f} us  p99 {p99:6.0f} us  of {len(us)} messages  ok={r['ok']} failed={r['fail']}", flush=True)
    base = seen["kamailio"]
    print(f"\n{'median':10s} {'p50 us':>7s} {'ratio':>6s} {'p99 us':>7s} {'ratio':>6s}   ({'guarded' if a.guarded else 'plain'}, {a.rate} calls/s, {a.runs} runs)")
    for name, rows in seen.items():
        line = f"{name:10s}"
        for i in (0, 1):
            line += f" {statistics.median(r[i] for r in rows):7.0f} {statistics.median(r[i] / b[i] for r, b in zip(rows, base)):6.2f}"
        print(line)

if __name__ == "__main__":
    sys.exit(main())
