package tests

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// word reads a number of two bytes.
func word(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// A captured packet is what a capture server makes of HEPv3.
type captured struct {
	kind          byte
	call, payload string
	from, to      uint16 // ports
}

// dissect takes a packet apart.
func dissect(t *testing.T, b []byte) (c captured) {
	t.Helper()
	if len(b) < 6 || string(b[:4]) != "HEP3" || int(word(b[4:])) != len(b) {
		t.Fatalf("no HEP packet: %q", b)
	}
	for b = b[6:]; len(b) >= 6; {
		n := int(word(b[4:]))
		if n < 6 || n > len(b) {
			t.Fatalf("a chunk of %d bytes, %d are left", n, len(b))
		}
		v := b[6:n]
		switch word(b[2:]) {
		case 7:
			c.from = word(v)
		case 8:
			c.to = word(v)
		case 11:
			c.kind = v[0]
		case 15:
			c.payload = string(v)
		case 17:
			c.call = string(v)
		}
		b = b[n:]
	}
	return c
}

// A captureServer is a capture server that remembers everything.
type captureServer struct {
	address string
	mu      sync.Mutex
	all     []captured // guarded by mu
}

func (s *captureServer) add(c captured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, c)
}

// of is what was captured of a call, first lines and verdicts, and the call's
// ports.
func (s *captureServer) of(call string) (lines []string, verdicts []map[string]any, ports []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		switch {
		case call == "" || c.call != call:
		case c.kind == 100:
			v := map[string]any{}
			if err := json.Unmarshal([]byte(c.payload), &v); err == nil {
				verdicts = append(verdicts, v)
			}
		default:
			first, _, _ := strings.Cut(c.payload, "\r\n")
			lines = append(lines, first)
			ports = append(ports, itoa(int(c.from))+">"+itoa(int(c.to))+" "+strings.Fields(first)[0]+strings.Fields(first)[1][:3])
		}
	}
	return lines, verdicts, ports
}

// callTo is the Call-ID of the call to somebody, "" before it was captured.
func (s *captureServer) callTo(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		if strings.HasPrefix(c.payload, "INVITE sip:"+user+"@") {
			return c.call
		}
	}
	return ""
}

// capture runs a capture server until the test ends.
func capture(t *testing.T, network string) *captureServer {
	t.Helper()
	s := new(captureServer)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	if network == "udp" {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		s.address = conn.LocalAddr().String()
		wg.Go(func() {
			for b := make([]byte, 1<<16); ; {
				n, _, err := conn.ReadFrom(b)
				if err != nil {
					return
				}
				s.add(dissect(t, b[:n]))
			}
		})
		return s
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s.address = l.Addr().String()
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			b := make([]byte, 6)
			if _, err := io.ReadFull(conn, b); err != nil {
				return // the daemon ended
			}
			b = append(b, make([]byte, int(word(b[4:]))-6)...)
			if _, err := io.ReadFull(conn, b[6:]); err != nil {
				return
			}
			s.add(dissect(t, b))
		}
	})
	return s
}

// A watcher is a running `ringfence watch`.
type watcher struct {
	cmd  *exec.Cmd
	out  *lockedBuffer
	said *lockedBuffer
}

// watch starts one and waits until it sees what passes.
func (d *daemon) watch(args ...string) *watcher {
	d.t.Helper()
	w := &watcher{exec.Command(binary, append([]string{"--state", d.state, "watch"}, args...)...), new(lockedBuffer), new(lockedBuffer)}
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.said
	if err := w.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	eventually(d.t, "it watches", func() bool { return strings.Contains(w.said.String(), "watching") })
	return w
}

// end waits for its end and gives what it has shown.
func (w *watcher) end(t *testing.T) string {
	t.Helper()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("watch: %v\n%s%s", err, w.out, w.said)
	}
	return w.out.String()
}

const mirrorRules = `version: 1
rules:
  - id: no-carol
    title: Nobody calls carol
    stage: call
    when: sip.new_call && sip.to_user == "carol"
    do: reject
    with: {status: 603, reason: Not today}
`

// TestHEPAndWatch makes a call and one that a rule refuses, and looks on.
func TestHEPAndWatch(t *testing.T) {
	needs(t, "sipp")
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			server := capture(t, network)
			guardPort, pbxPort, alicePort := freePort(t), freePort(t), freePort(t)
			pbx, alice, here := addr("127.0.0.1", pbxPort), addr("127.0.0.1", alicePort), addr("127.0.0.1", guardPort)
			rules := t.TempDir() + "/mirror.yaml"
			if err := writeFile(rules, mirrorRules); err != nil {
				t.Fatal(err)
			}
			d := start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
				"listen: [{transport: udp, address: \""+here+"\"}]\n"+
				"next_hops: [{name: pbx, address: \""+pbx+"\", probe: -1s}]\n"+
				"rules: {default: false, files: [\""+rules+"\"]}\n"+
				"record: {hep: {to: \""+network+":"+server.address+"\", id: 7}}\n"+
				"screen: {mode: \"off\"}\nmetrics: \"off\"\n"))
			toBob, refused, endless := d.watch("--to", "bob", "--count", "12"), d.watch("--json", "--rule", "no-carol", "--count", "2"), d.watch("--from", "nobody")
			answered := sipp{scenario: "answer", local: pbx, user: "bob"}.background(t, nil)
			must(t, "alice calls bob", sipp{scenario: "trunk", local: alice, remote: here, user: "alice", to: "bob", talk: 100 * time.Millisecond}.run(t, nil))
			must(t, "bob answers", answered())
			if r := (sipp{scenario: "trunk", local: alice, remote: here, user: "alice", to: "carol"}.run(t, nil)); r.ok != 0 {
				t.Error("carol was called")
			}

			var lines, ports []string
			var verdicts []map[string]any
			eventually(t, "all legs of the call are mirrored", func() bool {
				lines, verdicts, ports = server.of(server.callTo("bob"))
				return strings.Count(strings.Join(lines, "\n"), "200 OK") >= 4 && len(verdicts) >= 3
			})
			g, p, a := itoa(guardPort), itoa(pbxPort), itoa(alicePort)
			for _, leg := range []string{
				a + ">" + g + " INVITEsip", g + ">" + p + " INVITEsip", p + ">" + g + " SIP/2.0180", g + ">" + a + " SIP/2.0180", p + ">" + g + " SIP/2.0200", g + ">" + a + " SIP/2.0200",
				a + ">" + g + " ACKsip", g + ">" + p + " ACKsip", a + ">" + g + " BYEsip", g + ">" + p + " BYEsip",
			} {
				if !strings.Contains(strings.Join(ports, "\n"), leg) {
					t.Errorf("%s is not among\n%s", leg, strings.Join(ports, "\n"))
				}
			}
			if v := verdicts[0]; v["verdict"] != "pass" || v["method"] != "INVITE" || v["from"] != "alice@127.0.0.1" {
				t.Errorf("got %v", v)
			}
			eventually(t, "the refusal is mirrored", func() bool {
				lines, verdicts, _ = server.of(server.callTo("carol"))
				return len(lines) >= 2 && len(verdicts) >= 1
			})
			if v, where := verdicts[0], "mirror.yaml:3"; v["verdict"] != "reject" || v["status"] != 603.0 || v["rule"] != "no-carol" || v["where"] != where {
				t.Errorf("got %v, want it from %s", v, where)
			}

			ladder := toBob.end(t)
			order := ".*"
			for _, step := range []string{
				"call .*: alice@127.0.0.1 to bob@127.0.0.1", alice + " +-+ INVITE -+>[|]", "[|]-+ INVITE -+> " + pbx + " pbx", "[|]<-+ 180 Ringing -+ " + pbx + " pbx",
				alice + " +<-+ 180 Ringing -+[|]", "[|]<-+ 200 OK -+ " + pbx, alice + " +<-+ 200 OK -+[|]",
			} {
				order += step + ".*"
			}
			if !regexp.MustCompile("(?s)^"+order+"$").MatchString(ladder) || strings.Contains(ladder, "\x1b") {
				t.Errorf("the ladder is\n%s", ladder)
			}
			var passed []map[string]any
			for line := range strings.Lines(refused.end(t)) {
				x := map[string]any{}
				if err := json.Unmarshal([]byte(line), &x); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				passed = append(passed, x)
			}
			if len(passed) < 3 || passed[0]["method"] != "INVITE" || passed[1]["rule"] != "no-carol" || passed[1]["where"] != "mirror.yaml:3" {
				t.Errorf("got %v", passed)
			}
			if err := endless.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
			if text := endless.end(t); text != "" {
				t.Errorf("nobody called, and it shows\n%s", text)
			}
		})
	}
}
