#!/usr/bin/env python3
"""CPU per call of a SIP proxy under sipp load, side by side with Kamailio.

  measure.py [--runs 5] [--rate 2500] [--secs 10] [--guarded] --proxy-cmd 'CMD' [--proxy-cmd 'CMD' ...]

CMD starts the proxy under test in the foreground; {proxy} {uas} {uas_host} {uas_port} in it are replaced by addresses. It must
relay calls to the user agent server at {uas} with Record-Route, and with --guarded challenge INVITE (user alice, password secret,
any realm) and apply its source limit, scanner, geo and dialog checks without refusing this load. Kamailio is measured first in
each round, with its fast allocator (-x fm -X fm: the packaged default is a debugging one that costs three times as much, so
naming it the reference would be unfair). All traffic is on loopback. CPU is the sum of the on-CPU time of every thread of the process and its children
(/proc/PID/task/*/schedstat), so it does not depend on clock ticks; the user part
(/proc/PID/stat, tick-sampled) is printed beside it, since most of the rest is the kernel's cost of a datagram and wake-ups, which no proxy on
sockets escapes; calls that fail are counted and reported, never hidden: a run in which
either side fails more than 0.1 percent says nothing. The ratio is the median of the pairs, with the smallest and the largest.
Guarded runs offer MD5 alone, since sipp 3.6 answers nothing else.
"""
import argparse, csv, os, shlex, subprocess, sys, tempfile, time, statistics

HERE = os.path.dirname(os.path.abspath(__file__))

def children(pid):
    out = [pid]
    try:
        for t in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{t}/children") as f:
                for c in f.read().split():
                    out += children(int(c))
    except OSError:
        pass
    return out

def cpu_ms(pid):
    total = 0
    for p in children(pid):
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/schedstat") as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total / 1e6

def user_ms(pid):
    ticks = 0
    for p in children(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                ticks += int(f.read().rsplit(")", 1)[1].split()[11])
        except OSError:
            pass
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")

def rss_mb(pid):
    total = 0
    for p in children(pid):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                for line in f:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024

def load(name, proxy, uas, start, a, work):
    uas_host, uas_port = uas.split(":")
    load_on = ["taskset", "-c", a.load_cpu] if a.load_cpu else []
    server = subprocess.Popen(load_on + ["sipp", "-sf", f"{HERE}/uas.xml", "-i", uas_host, "-p", uas_port, "-nostdin", "-buff_size", "4194304"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    under = start()
    time.sleep(a.settle)
    stat = os.path.join(work, f"{name}.csv")
    if os.path.exists(stat):
        os.remove(stat)
    scenario = "uac_auth.xml" if a.guarded else "uac.xml"
    calls = a.rate * a.secs
    before, user = cpu_ms(under.pid), user_ms(under.pid)
    try:
        subprocess.run(load_on + ["sipp", "-sf", f"{HERE}/{scenario}", "-i", a.uac_host, "-p", str(a.uac_port), proxy, "-r", str(a.rate), "-m", str(calls),
                        "-l", "20000", "-nostdin", "-trace_stat", "-fd", "60", "-stf", stat, "-timeout", str(a.secs + 15),
                        "-recv_timeout", "8000", "-buff_size", "4194304"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, timeout=a.secs + 40)
        used, user = cpu_ms(under.pid) - before, user_ms(under.pid) - user
        memory = rss_mb(under.pid)
    finally:
        for p in (under, server):
            p.terminate()
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
    with open(stat) as f:
        row = list(csv.DictReader(f, delimiter=";"))[-1]
    ok, fail = int(row["SuccessfulCall(C)"]), int(row["FailedCall(C)"])
    return dict(name=name, ms_per_call=used / max(1, ok), user=user / max(1, ok), ok=ok, fail=fail, retrans=int(row["Retransmissions(C)"]),
                answer=row.get("ResponseTime1(C)", ""), pss=memory)

def arguments(about):
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--rate", type=int, help="calls per second (2500, guarded 1200)")
    ap.add_argument("--secs", type=int, default=10)
    ap.add_argument("--settle", type=float, default=2.0)
    ap.add_argument("--guarded", action="store_true")
    ap.add_argument("--proxy-cpu", default="0", help="CPUs of the proxy; empty for no pinning")
    ap.add_argument("--load-cpu", default="1", help="CPUs of sipp; empty for no pinning")
    ap.add_argument("--proxy", default="127.0.8.1:5060")
    ap.add_argument("--uas", default="127.0.8.3:5080")
    ap.add_argument("--uac-host", default="127.0.8.2")
    ap.add_argument("--uac-port", type=int, default=5070)
    ap.add_argument("--mmdb", default=os.path.join(os.environ.get("RINGFENCE_CORPUS", os.path.join(HERE, "../../../shared/corpus")), "maxmind/test-data/GeoIP2-Country-Test.mmdb"))
    ap.add_argument("--proxy-cmd", action="append", default=[])
    return ap

def proxies(a, work):
    """Kamailio and the proxies of the command line: a name each, and what starts it."""
    cfg = os.path.join(work, "kamailio.cfg")
    text = open(f"{HERE}/kamailio.cfg.in").read()
    for key, val in (("PROXY_ADDR", a.proxy), ("UAS_ADDR", a.uas), ("UAS_HOST", a.uas.split(":")[0]), ("UAS_PORT", a.uas.split(":")[1]),
                     ("COUNTRY_MMDB", os.path.abspath(a.mmdb)), ("PIKE_DENSITY", "1000000")):
        text = text.replace(key, val)
    open(cfg, "w").write(text)
    defs = ["-A", "AUTH", "-A", "GUARD"] if a.guarded else []
    pin = ["taskset", "-c", a.proxy_cpu] if a.proxy_cpu else []
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    out = [("kamailio", lambda: subprocess.Popen(pin + ["kamailio", "-f", cfg, "-b", "4194304", "-P", os.path.join(work, "kam.pid"), "-Y", work, "-x", "fm", "-X", "fm", "-m", "512", "-M", "16", "-DD", "-E", *defs], **quiet))]
    for i, c in enumerate(a.proxy_cmd):
        words = pin + shlex.split(c.format(proxy=a.proxy, uas=a.uas, uas_host=a.uas.split(":")[0], uas_port=a.uas.split(":")[1]))
        out.append((f"proxy{i + 1}", lambda words=words: subprocess.Popen(words, **quiet)))
    return out

def main():
    a = arguments(__doc__).parse_args()
    a.rate = a.rate or (1200 if a.guarded else 2500)
    work = tempfile.mkdtemp(prefix="ringfence-bench-")
    peers = proxies(a, work)
    seen = {}
    for _ in range(a.runs):
        for name, start in peers:
            r = load(name, a.proxy, a.uas, start, a, work)
            seen.setdefault(name, []).append(r)
            print(f"{name:10s} {r['ms_per_call']:.3f} ms CPU/call  user={r['user']:.3f}  ok={r['ok']} failed={r['fail']} retransmitted={r['retrans']} answer={r['answer']} pss={r['pss']:.0f} MiB", flush=True)
    base = statistics.median(r["ms_per_call"] for r in seen["kamailio"])
    userbase = statistics.median(r["user"] for r in seen["kamailio"])
    pairs = {n: sorted(r["ms_per_call"] / k["ms_per_call"] for r, k in zip(rows, seen["kamailio"])) for n, rows in seen.items()}
    print(f"\n{'median':10s} {'ms/call':>8s} {'ratio':>6s}   {'[range]':11s}   {'user ms':>7s} {'ratio':>6s}   ({'guarded' if a.guarded else 'plain'}, {a.rate} calls/s, {a.runs} runs)")
    for name, rows in seen.items():
        m = statistics.median(r["ms_per_call"] for r in rows)
        p = pairs[name]
        u = statistics.median(r["user"] for r in rows)
        print(f"{name:10s} {m:8.3f} {statistics.median(p):6.2f}   [{p[0]:.2f} {p[-1]:.2f}]   {u:7.3f} {u / max(userbase, 1e-9):6.2f}   failed {sum(r['fail'] for r in rows)} of {sum(r['ok'] + r['fail'] for r in rows)}")

if __name__ == "__main__":
    sys.exit(main())
