package tests

import (
	"strings"
	"testing"
	"time"
)

const (
	guardOut = "10.77.1.1:5060"
	pbxAddr  = "10.77.2.2:5060"
	phones   = "10.77.1.2"
	trunk    = "10.77.1.9"
)

// inline is the whole thing: outside, guard with XDP on its outer veth, PBX.
func inline(t *testing.T, more ...string) (*lab, *pbx, *daemon) {
	t.Helper()
	return inlineMode(t, "stateful", more...)
}

// inlineMode is inline with listeners of a mode.
func inlineMode(t *testing.T, mode string, more ...string) (*lab, *pbx, *daemon) {
	t.Helper()
	l := newLab(t)
	l.address(trunk)
	p := startPBX(t, l, pbxAddr, "10.77.2.1:5060", trunk)
	d := start(t, l.guard, t.TempDir(), append([]string{
		"--config", writeConfig(t, "version: 1\n"+
			"listen:\n"+
			"  - {transport: udp, address: 10.77.1.1:5060, mode: "+mode+"}\n"+
			"  - {transport: tcp, address: 10.77.1.1:5060, mode: "+mode+"}\n"+
			"  - {transport: udp, address: 10.77.2.1:5060, mode: "+mode+"}\n"+
			"next_hops:\n"+
			"  - {name: pbx, address: 10.77.2.2:5060, probe: 1s}\n"+
			"  - {name: carrier, pool: carrier, address: 10.77.1.9:5090, match: address, numbers: [\"112\", \"+\"], probe: -1s}\n"+
			"register: path\n"+
			"guards: {auth: {algorithms: [MD5, SHA-256]}}\n"+ // what sipp and svcrack can answer
			"screen: {mode: native, interfaces: [out], pin: none}\n"+
			"metrics: \"off\"\n"),
	}, more...)...)
	eventually(t, "the PBX answers the guard's probes", func() bool {
		said, _ := d.try("doctor") // its exit code is for people
		return strings.Contains(said, "up, 10.77.2.2:5060 over udp") && !strings.Contains(said, "10.77.2.2:5060 over udp, 0s")
	})
	return l, p, d
}

func register(t *testing.T, l *lab, user, password, local string) {
	t.Helper()
	must(t, user+" registers", sipp{host: l.outside, scenario: "register", local: local, remote: guardOut, user: user, password: password}.run(t, l))
}

func TestInlineCalls(t *testing.T) {
	l, _, d := inline(t)
	if out := d.ask("status"); !strings.Contains(out, "native on out") {
		t.Errorf("the filter is not native on the outer interface:\n%s", out)
	}
	inlineCalls(t, l)
}

// TestStateless is the same with listeners that only filter, and nothing is kept.
func TestStateless(t *testing.T) {
	l, _, d := inlineMode(t, "stateless")
	inlineCalls(t, l)
	var up []struct{ State string }
	if d.table(&up, "calls"); len(up) != 0 {
		t.Errorf("calls: %v", up)
	}
	alice, bob := addr(phones, 5071), addr(phones, 5072)
	const calls = 20
	answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob", calls: calls}.background(t, l)
	called := sipp{host: l.outside, scenario: "call", local: alice, remote: guardOut, user: "alice", password: "secret-a", to: "bob", calls: calls, rate: 20, talk: 4 * time.Second}.background(t, l)
	time.Sleep(2 * time.Second)
	d.kill()
	d.launch()
	must(t, "the callers hang up after the restart", called())
	must(t, "the callees saw it", answered())
}

// inlineCalls are calls between everybody.
func inlineCalls(t *testing.T, l *lab) {
	t.Helper()
	alice, bob := addr(phones, 5071), addr(phones, 5072)
	register(t, l, "alice", "secret-a", alice)
	register(t, l, "bob", "secret-b", bob)

	t.Run("phone to phone", func(t *testing.T) {
		answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob"}.background(t, l)
		must(t, "alice calls bob", sipp{host: l.outside, scenario: "call", local: alice, remote: guardOut, user: "alice", password: "secret-a", to: "bob", talk: 200 * time.Millisecond}.run(t, l))
		must(t, "bob answers", answered())
	})
	t.Run("trunk to phone", func(t *testing.T) {
		answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob"}.background(t, l)
		must(t, "the carrier calls bob", sipp{host: l.outside, scenario: "trunk", local: addr(trunk, 5090), remote: guardOut, user: "+37167000000", to: "bob", talk: 200 * time.Millisecond}.run(t, l))
		must(t, "bob answers", answered())
	})
	t.Run("cancel", func(t *testing.T) {
		rang := sipp{host: l.outside, scenario: "ring", local: bob, user: "bob"}.background(t, l)
		must(t, "alice gives up", sipp{host: l.outside, scenario: "cancel", local: alice, remote: guardOut, user: "alice", password: "secret-a", to: "bob"}.run(t, l))
		must(t, "bob rang", rang())
	})
	t.Run("over TCP", func(t *testing.T) {
		answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob"}.background(t, l)
		must(t, "alice calls bob", sipp{host: l.outside, scenario: "call", local: addr(phones, 5073), remote: guardOut, user: "alice", password: "secret-a", to: "bob", tcp: true}.run(t, l))
		must(t, "bob answers", answered())
	})
}

// TestInlineKill ends the daemon as the kernel would in the middle of calls:
// no established call is lost, and bans hold all the time.
func TestInlineKill(t *testing.T) {
	l, _, d := inline(t)
	alice, bob := addr(phones, 5071), addr(phones, 5072)
	register(t, l, "alice", "secret-a", alice)
	register(t, l, "bob", "secret-b", bob)
	attacker := l.address("10.77.1.66")
	d.ask("bans", "add", attacker, "--for", "1h", "--reason", "held in the test")

	const calls = 40
	answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob", calls: calls}.background(t, l)
	called := sipp{host: l.outside, scenario: "call", local: alice, remote: guardOut, user: "alice", password: "secret-a", to: "bob", calls: calls, rate: 20, talk: 5 * time.Second}.background(t, l)
	eventually(t, "all calls are up", func() bool {
		var up []struct{ State string }
		d.table(&up, "calls")
		n := 0
		for _, c := range up {
			if c.State == "answered" {
				n++
			}
		}
		return n == calls
	})
	d.kill()
	d.launch()
	must(t, "the callers hang up after the restart", called())
	must(t, "the callees saw it", answered())
	var bans []struct{ Prefix string }
	d.table(&bans, "bans", "list")
	if len(bans) != 1 || bans[0].Prefix != attacker+"/32" {
		t.Errorf("bans after the restart: %v", bans)
	}
	if got := probe(t, l, attacker); got != "" {
		t.Errorf("the banned source got an answer: %q", got)
	}
}

// probe sends an OPTIONS from an outside address and returns the first line of
// what came back.
func probe(t *testing.T, l *lab, from string) string {
	t.Helper()
	return options(t, l, from, "10.77.1.1", "probe")
}

// options sends an OPTIONS with a User-Agent.
func options(t *testing.T, l *lab, from, to, agent string) string {
	t.Helper()
	script := `
import socket,sys
me,to,agent=sys.argv[1:4]
six=":" in to
s=socket.socket(socket.AF_INET6 if six else socket.AF_INET,socket.SOCK_DGRAM); s.bind((me,0)); s.settimeout(1)
p=s.getsockname()[1]
b=lambda a: "["+a+"]" if six else a
s.sendto(("OPTIONS sip:100@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;branch=z9hG4bKprobe%d;rport\r\nFrom: <sip:p@x.example>;tag=1\r\nTo: <sip:100@%s>\r\nCall-ID: %d@p\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: %s\r\nContent-Length: 0\r\n\r\n"%(b(to),b(me),p,p,b(to),p,agent)).encode(),(to,5060))
try: print(s.recv(4096).decode().split("\r\n")[0])
except socket.timeout: pass
`
	out, err := l.in(l.outside, "python3", "-c", script, from, to, agent).CombinedOutput()
	if err != nil {
		t.Fatalf("probe: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestInlineFailover has a first next hop that is away, or takes no calls.
func TestInlineFailover(t *testing.T) {
	needs(t, "sipp")
	for _, c := range []struct{ name, first string }{{"away", ""}, {"answers 503", "unavailable"}} {
		t.Run(c.name, func(t *testing.T) {
			first, second, server := addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t))
			start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
				"listen: [{transport: udp, address: \""+server+"\"}]\n"+
				"next_hops:\n"+
				"  - {name: first, address: \""+first+"\", probe: -1s}\n"+
				"  - {name: second, address: \""+second+"\", priority: 1, probe: -1s}\n"+
				"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--rules", "none")
			refused := func() result { return result{} }
			if c.first != "" {
				refused = sipp{scenario: c.first, local: first}.background(t, nil)
			}
			answered := sipp{scenario: "answer", local: second, user: "bob"}.background(t, nil)
			must(t, "a call with the first next hop gone", sipp{scenario: "trunk", local: addr("127.0.0.1", freePort(t)), remote: server, user: "caller", to: "bob", talk: 100 * time.Millisecond}.run(t, nil))
			must(t, "the first refuses", refused())
			must(t, "the second answers", answered())
		})
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/ringfence.yaml"
	if err := writeFile(path, text); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSipvicious lets Debian's tools loose on the guard in front of a PBX that
// authenticates, and on one that authenticates itself.
func TestSipvicious(t *testing.T) {
	needs(t, "svmap", "svwar", "svcrack")
	for _, mode := range []string{"pass-through", "local accounts"} {
		t.Run(mode, func(t *testing.T) {
			var more []string
			if mode == "local accounts" {
				more = []string{"--account", "alice:secret-a", "--account", "bob:secret-b", "--realm", "pbx"}
			}
			run := func(t *testing.T, l *lab, tool string, args ...string) string {
				cmd := l.in(l.outside, "timeout", append([]string{"25", tool}, args...)...)
				cmd.Dir = t.TempDir()
				out, _ := cmd.CombinedOutput() // they end with an error when nothing answers
				return string(out)
			}
			t.Run("svmap is limited and silenced", func(t *testing.T) {
				l, _, d := inline(t, more...)
				out := run(t, l, "svmap", "10.77.1.1", "-p5060", "-m", "OPTIONS")
				if strings.Contains(out, "10.77.1.1:5060") {
					t.Errorf("it found the guard:\n%s", out)
				}
				if said := d.ask("explain", phones); !strings.Contains(said, "limited") || strings.Contains(said, "banned by") {
					t.Errorf("explain says:\n%s", said)
				}
			})
			t.Run("svwar cannot tell extensions apart", func(t *testing.T) {
				l, _, d := inline(t, more...)
				for _, method := range []string{"INVITE", "REGISTER"} {
					out := run(t, l, "svwar", "-e100-120", "-m", method, "10.77.1.1", "--force")
					if strings.Contains(out, "| 1") {
						t.Errorf("%s: it found extensions:\n%s", method, out)
					}
				}
				if said := d.ask("explain", phones); !strings.Contains(said, "limited") || strings.Contains(said, "banned by") {
					t.Errorf("explain says:\n%s", said)
				}
			})
			t.Run("svcrack is banned", func(t *testing.T) {
				l, _, d := inline(t, more...)
				out := run(t, l, "svcrack", "-u", "alice", "-r1000-1100", "10.77.1.1")
				said := d.ask("explain", phones)
				if !strings.Contains(said, "banned by rule") {
					t.Errorf("explain says:\n%s\nsvcrack said:\n%s", said, out)
				}
				if got := probe(t, l, phones); got != "" {
					t.Errorf("it still gets answers: %q", got)
				}
			})
		})
	}
}

// TestEmergency calls 112 from a banned source and an unregistered phone; and
// alice calls out, to see that the trunk is reached at all.
func TestEmergency(t *testing.T) {
	l, _, d := inline(t)
	banned := l.address("10.77.1.66")
	d.ask("bans", "add", banned, "--for", "1h")
	if got := probe(t, l, banned); got != "" {
		t.Fatalf("the ban does not hold: %q", got)
	}
	for _, c := range []struct{ who, from string }{{"a banned source", banned}, {"an unregistered phone", phones}} {
		t.Run(c.who, func(t *testing.T) {
			answered := sipp{host: l.outside, scenario: "answer", local: addr(trunk, 5090), user: "112"}.background(t, l)
			must(t, c.who+" calls 112", sipp{host: l.outside, scenario: "trunk", local: addr(c.from, 5066), remote: guardOut, user: "anybody", to: "112", talk: 200 * time.Millisecond}.run(t, l))
			must(t, "112 answers", answered())
		})
	}
	if got := probe(t, l, banned); got != "" {
		t.Errorf("the call opened the door for everything: %q", got)
	}
	t.Run("out through the trunk", func(t *testing.T) {
		alice := addr(phones, 5071)
		register(t, l, "alice", "secret-a", alice)
		answered := sipp{host: l.outside, scenario: "answer", local: addr(trunk, 5090), user: "carrier"}.background(t, l)
		must(t, "alice calls out", sipp{host: l.outside, scenario: "call", local: alice, remote: guardOut, user: "alice", password: "secret-a", to: "+37167000000", talk: 200 * time.Millisecond}.run(t, l))
		must(t, "the carrier answers", answered())
	})
}
