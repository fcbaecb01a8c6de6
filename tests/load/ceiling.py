#!/usr/bin/env python3
"""The highest rate of calls that a proxy on one core sustains, side by side with Kamailio.

  ceiling.py [--secs 30] [--guarded] [--from 1000] [--step 500] [--to 8000] --proxy-cmd 'CMD' ...

The options are those of measure.py. The rate is raised step by step as long as fewer than 0.1 percent of the calls fail and no
message is sent twice; the last rate that held is printed, with the memory that the proxy had then. Beyond what sipp itself can
make on its core the figure says only "at least".
"""
import sys, tempfile
import measure

def main():
    ap = measure.arguments(__doc__)
    ap.add_argument("--from", dest="first", type=int, default=1000)
    ap.add_argument("--step", type=int, default=500)
    ap.add_argument("--to", type=int, default=8000)
    ap.set_defaults(secs=30)
    a = ap.parse_args()
    work = tempfile.mkdtemp(prefix="ringfence-ceiling-")
    held = {}
    for name, start in measure.proxies(a, work):
        for a.rate in range(a.first, a.to + 1, a.step):
            r = measure.load(name, a.proxy, a.uas, start, a, work)
            calls = r["ok"] + r["fail"]
            fine = calls and r["fail"] < calls / 1000 and r["retrans"] == 0
            print(f"{name:10s} {a.rate} calls/s: {'holds' if fine else 'fails'}  ok={r['ok']} failed={r['fail']} retransmitted={r['retrans']} {r['ms_per_call']:.3f} ms CPU/call pss={r['pss']:.0f} MiB", flush=True)
            if not fine:
                break
            held[name] = r | {"rate": a.rate}
    base = held.get("kamailio", {}).get("rate")
    for name, r in held.items():
        more = f"  {r['rate'] / base:.2f} of Kamailio's" if base else ""
        print(f"{name:10s} {r['rate']} calls/s for {a.secs} s, {r['pss']:.0f} MiB{more}")

if __name__ == "__main__":
    sys.exit(main())
