package tests

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An unbound is Debian's DNS server with records of the test. They hold for a
// second.
type unbound struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
	done    chan struct{}
	log     *lockedBuffer
	make    func() *exec.Cmd
}

// startUnbound runs it on host (of a lab, "" for ours) at an address of loopback.
func startUnbound(t *testing.T, l *lab, address string, records ...string) *unbound {
	t.Helper()
	needs(t, "unbound")
	u := &unbound{t: t, dir: t.TempDir(), address: address}
	host, port, _ := net.SplitHostPort(address)
	config := filepath.Join(u.dir, "unbound.conf")
	text := fmt.Sprintf(`server:
	interface: %s
	port: %s
	access-control: 127.0.0.0/8 allow
	num-threads: 1
	do-daemonize: no
	username: ""
	chroot: ""
	directory: %q
	pidfile: ""
	use-syslog: no
	module-config: "iterator"
	local-zone: "test." static
	include: records.conf
remote-control:
	control-enable: no
`, host, port, u.dir)
	if err := writeFile(config, text); err != nil {
		t.Fatal(err)
	}
	u.write(records)
	u.make = func() *exec.Cmd {
		if l == nil {
			return exec.Command("unbound", "-c", config)
		}
		return l.in(l.guard, "unbound", "-c", config)
	}
	u.start()
	t.Cleanup(u.stop)
	return u
}

func (u *unbound) write(records []string) {
	u.t.Helper()
	text := "local-data: 'test. 1 IN SOA ns.test. hostmaster.test. 1 60 60 60 1'\n"
	for _, r := range records {
		text += "local-data: '" + r + "'\n"
	}
	if err := writeFile(filepath.Join(u.dir, "records.conf"), text); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unbound) start() {
	u.t.Helper()
	u.cmd, u.done, u.log = u.make(), make(chan struct{}), new(lockedBuffer)
	u.cmd.Stdout, u.cmd.Stderr = u.log, u.log
	if err := u.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() { u.cmd.Wait(); close(u.done) }()
	u.ready()
}

// ready waits until it says that it serves.
func (u *unbound) ready() {
	u.t.Helper()
	eventually(u.t, "unbound serves", func() bool {
		select {
		case <-u.done:
			u.t.Fatalf("unbound ended:\n%s", u.log.String())
		default:
		}
		return strings.Contains(u.log.String(), "start of service")
	})
}

// change gives it other records.
func (u *unbound) change(records ...string) {
	u.t.Helper()
	u.stop()
	u.write(records)
	u.start()
}

func (u *unbound) stop() {
	_ = u.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-u.done:
	case <-time.After(10 * time.Second):
		_ = u.cmd.Process.Kill()
		<-u.done
	}
}

// A server is a small SIP server that answers every call and counts them.
type server struct {
	t    *testing.T
	at   string
	conn net.PacketConn
	done chan struct{}

	mu    sync.Mutex
	calls int // guarded by mu
	ended int // guarded by mu
}

func startServer(t *testing.T, at string) *server {
	t.Helper()
	s := &server{t: t, at: at}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	var err error
	if s.conn, err = net.ListenPacket("udp", s.at); err != nil {
		s.t.Fatal(err)
	}
	s.at = s.conn.LocalAddr().String()
	s.done = make(chan struct{})
	go s.serve()
}

func (s *server) stop() {
	s.conn.Close()
	<-s.done
}

func (s *server) serve() {
	defer close(s.done)
	b := make([]byte, 65536)
	for {
		n, from, err := s.conn.ReadFrom(b)
		if err != nil {
			return
		}
		request := string(b[:n])
		s.mu.Lock()
		switch method, _, _ := strings.Cut(request, " "); method {
		case "INVITE":
			s.calls++
		case "BYE":
			s.ended++
		case "ACK":
			s.mu.Unlock()
			continue
		}
		s.mu.Unlock()
		_, _ = s.conn.WriteTo([]byte(s.answer(request)), from) // it is asked again
	}
}

func (s *server) answer(request string) string {
	out := "SIP/2.0 200 OK\r\n"
	for line := range strings.SplitSeq(request, "\r\n") {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "To":
			if !strings.Contains(line, ";tag=") {
				line += ";tag=s"
			}
			out += line + "\r\n"
		case "Via", "From", "Call-ID", "CSeq", "Record-Route":
			out += line + "\r\n"
		}
	}
	return out + "Contact: <sip:" + s.at + ">\r\nContent-Length: 0\r\n\r\n"
}

// got is how many calls came and how many ended.
func (s *server) got() (calls, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.ended
}

// TestNextHopByDomain puts a domain behind the guard, whose servers DNS names:
// the best gets the calls, the next when it is dead, and the best again when it
// is back. When DNS names others, they get the calls and none that is up is lost;
// when DNS is silent, everything goes on, also after a restart.
func TestNextHopByDomain(t *testing.T) {
	needs(t, "sipp")
	if c, err := net.ListenPacket("udp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	} else {
		c.Close()
	}
	port := itoa(freePort(t))
	one, two, six := startServer(t, "127.0.0.1:"+port), startServer(t, "127.0.0.2:"+port), startServer(t, "[::1]:"+port)
	service := []string{
		`pbx.test. 1 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.pbx.test.`,
		`pbx.test. 1 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.pbx.test.`,
		"_sip._udp.pbx.test. 1 IN SRV 20 5 " + port + " two.test.",
		"_sip._udp.pbx.test. 1 IN SRV 30 5 " + port + " six.test.",
		"_sip._tcp.pbx.test. 1 IN SRV 1 5 " + port + " one.test.",
		"one.test. 1 IN A 127.0.0.1", "two.test. 1 IN A 127.0.0.2", "six.test. 1 IN AAAA ::1",
	}
	best := "_sip._udp.pbx.test. 1 IN SRV 10 5 " + port + " one.test."
	dns := startUnbound(t, nil, addr("127.0.0.1", freePort(t)), append(service, best)...)
	guard := addr("127.0.0.1", freePort(t))
	d := start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen:\n"+
		"  - {transport: udp, address: \""+guard+"\"}\n"+
		"  - {transport: udp, address: \"[::1]:"+itoa(freePort(t))+"\"}\n"+
		"next_hops: [{name: pbx, address: pbx.test, probe: 1s}]\n"+
		"dns: {servers: [\""+dns.address+"\"], timeout: 500ms, min_ttl: 1s, retry: 1s, attempts: 1}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--rules", "none")
	said := func() string { out, _ := d.try("doctor"); return out } // its exit code is for people
	up := func(s *server) string { return "up, " + s.at + " over udp" }
	for _, want := range []string{"3 servers by NAPTR", up(one), up(two), up(six), "[" + dns.address + "] of dns.servers"} {
		if out := said(); !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	if out := d.ask("--format", "json", "doctor"); strings.Contains(out, "over tcp") {
		t.Errorf("a transport without a listener is used:\n%s", out)
	}
	caller := func(talk time.Duration) sipp {
		return sipp{scenario: "trunk", local: addr("127.0.0.1", freePort(t)), remote: guard, user: "caller", to: "bob", talk: talk, more: []string{"-recv_timeout", "25000"}}
	}
	// call places a call, which must come to one server alone.
	call := func(what string, to *server) {
		t.Helper()
		before := map[*server]int{}
		for _, s := range []*server{one, two, six} {
			before[s], _ = s.got()
		}
		must(t, what, caller(50*time.Millisecond).run(t, nil))
		for _, s := range []*server{one, two, six} {
			n, _ := s.got()
			if came := n > before[s]; came != (s == to) {
				t.Errorf("%s: it came to %s: %v", what, s.at, came)
			}
		}
	}
	call("the best is there", one)
	one.stop()
	call("the best is dead", two)
	two.stop()
	call("the second is dead too", six)
	two.start()
	one.start()
	eventually(t, "the best two are up again", func() bool { out := said(); return strings.Contains(out, up(one)) && strings.Contains(out, up(two)) })
	call("the best is back", one)

	_, ended := one.got()
	talking := caller(8*time.Second).background(t, nil)
	eventually(t, "a call is up", func() bool { out, _ := d.try("calls"); return strings.Contains(out, "answered") })
	dns.change(service...)
	eventually(t, "the guard has heard that DNS does not name the best any more", func() bool { return !strings.Contains(said(), one.at) })
	call("DNS names another", two)
	if _, n := one.got(); n != ended {
		t.Error("the call was over before DNS changed: nothing was tested")
	}
	must(t, "the call that was up", talking())
	if _, n := one.got(); n != ended+1 {
		t.Error("the BYE of the call that was up did not reach its server")
	}

	dns.stop()
	eventually(t, "doctor says that DNS is silent", func() bool { return strings.Contains(said(), "2 servers still in use") })
	call("DNS is silent", two)
	d.stop()
	d.launch()
	call("the guard starts while DNS is silent", two)
	dns.change(append(service, best)...)
	eventually(t, "DNS names the best again", func() bool {
		return strings.Contains(said(), "3 servers by NAPTR") && strings.Contains(said(), up(one))
	})
	call("everything is well", one)
}

// TestEgressByDomain lets a server inside call another domain, whose best server
// is dead.
func TestEgressByDomain(t *testing.T) {
	l := newLab(t)
	far := l.address("10.77.1.21")
	dns := startUnbound(t, l, "127.0.0.1:5353",
		`far.test. 1 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.servers.test.`,
		"_sip._udp.servers.test. 1 IN SRV 10 5 5062 one.test.", "_sip._udp.servers.test. 1 IN SRV 20 5 5063 two.test.",
		"one.test. 1 IN A 10.77.1.20", "two.test. 1 IN A "+far)
	d := start(t, l.guard, t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen:\n"+
		"  - {transport: udp, address: 10.77.1.1:5060}\n"+
		"  - {transport: udp, address: 10.77.2.1:5060}\n"+
		"next_hops: [{name: pbx, address: 10.77.2.2:5060, probe: -1s}]\n"+
		"egress: dns\ndns: {servers: [\""+dns.address+"\"]}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--rules", "none")
	answered := sipp{host: l.outside, scenario: "answer", local: addr(far, 5063), user: "bob", calls: 2}.background(t, l)
	out := sipp{host: l.pbx, scenario: "domain", local: pbxAddr, remote: "10.77.2.1:5060", user: "alice", to: "bob@far.test", talk: 100 * time.Millisecond}
	must(t, "a call with the best server dead", out.run(t, l))
	must(t, "another", out.run(t, l))
	must(t, "the second server answers", answered())
	out.to, out.more = "bob@nowhere.test", []string{"-recv_timeout", "5000"}
	if r := out.run(t, l); r.failed != 1 || !strings.Contains(r.said, "502") {
		t.Errorf("a domain without servers: %+v", r)
	}
	if said, _ := d.try("doctor"); !strings.Contains(said, "["+dns.address+"] of dns.servers") {
		t.Errorf("doctor says nothing of DNS:\n%s", said)
	}
}

// TestA74NamesFromOutside stands in front of a DNS server that swallows every
// question: what comes from outside is forwarded at once and nothing is asked,
// whatever names it brings. A request from inside shows that the test would see
// a question.
func TestA74NamesFromOutside(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := 0
	var swallowing sync.WaitGroup
	swallowing.Go(func() {
		for b := make([]byte, 1500); ; {
			if _, _, err := hole.ReadFrom(b); err != nil {
				return
			}
			mu.Lock()
			asked++
			mu.Unlock()
		}
	})
	t.Cleanup(func() { hole.Close(); swallowing.Wait() })
	questions := func() int {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
	pbx := startServer(t, "127.0.0.1:0")
	guard := addr("127.0.0.1", freePort(t))
	start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \""+guard+"\"}]\n"+
		"next_hops: [{name: pbx, address: \""+pbx.at+"\", probe: -1s}]\n"+
		"egress: dns\ndns: {servers: [\""+hole.LocalAddr().String()+"\"]}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--rules", "none")
	outside, err := net.Dial("udp", guard)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	for i, method := range []string{"OPTIONS", "INVITE", "REGISTER", "SUBSCRIBE", "MESSAGE", "NOTIFY", "PUBLISH"} {
		request := fmt.Sprintf("%[1]s sip:100@uri%[2]d.evil.test;maddr=maddr%[2]d.evil.test SIP/2.0\r\n"+
			"Via: SIP/2.0/UDP via%[2]d.evil.test:5099;branch=z9hG4bKa74x%[2]d;rport\r\n"+
			"Via: SIP/2.0/TCP below%[2]d.evil.test;branch=z9hG4bKb\r\n"+
			"Route: <sip:route%[2]d.evil.test;lr>\r\nContact: <sip:x@contact%[2]d.evil.test>\r\n"+
			"From: <sip:x@from%[2]d.evil.test>;tag=1\r\nTo: <sip:100@to%[2]d.evil.test>\r\n"+
			"Call-ID: a74-%[2]d\r\nCSeq: 1 %[1]s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", method, i)
		if said := exchange(t, outside, request); !strings.HasPrefix(said, "SIP/2.0 200") {
			t.Errorf("%s: %q", method, said)
		}
	}
	if n := questions(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
	inside := fmt.Sprintf("OPTIONS sip:bob@inside.test SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKin\r\nFrom: <sip:pbx@test>;tag=1\r\n"+
		"To: <sip:bob@inside.test>\r\nCall-ID: inside\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", pbx.at)
	if _, err := pbx.conn.WriteTo([]byte(inside), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(guard))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a request from inside is looked up", func() bool { return questions() > 0 })
}

// exchange sends a request until something final comes back, as a client over
// UDP does.
func exchange(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b := make([]byte, 65536)
	for ctx.Err() == nil {
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := c.Read(b)
			if err != nil {
				break // and again
			}
			if said := string(b[:n]); !strings.HasPrefix(said, "SIP/2.0 1") {
				return said
			}
		}
	}
	return ""
}
