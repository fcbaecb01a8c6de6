package resolve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A dnsServer is a DNS server on a port of loopback, over UDP and TCP. What it
// says stands in the lines of a zone file; tests change it while it runs.
type dnsServer struct {
	t       testing.TB
	address netip.AddrPort

	mu     sync.Mutex
	zone   []dns.RR                                    // guarded by mu
	asked  []string                                    // guarded by mu; "NAPTR example.com", in order
	answer func(w dns.ResponseWriter, m *dns.Msg) bool // guarded by mu; false: as usual
	follow bool                                        // guarded by mu; aliases
}

const soa = "example. 300 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 20"

func serveDNS(t testing.TB, zone ...string) *dnsServer {
	t.Helper()
	s := &dnsServer{t: t, follow: true}
	s.set(zone...)
	var packets net.PacketConn
	var streams net.Listener
	for range 50 { // until the port is free over both
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if streams, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			break
		}
		packets.Close()
	}
	s.address = netip.MustParseAddrPort(packets.LocalAddr().String())
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the shutdowns
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		wg.Go(func() { _ = server.ActivateAndServe() })
		<-ready
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

func (s *dnsServer) set(zone ...string) {
	s.t.Helper()
	var all []dns.RR
	for _, line := range zone {
		rr, err := dns.NewRR(line)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		all = append(all, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = all
}

// does changes how the server answers; nil: as usual.
func (s *dnsServer) does(answer func(dns.ResponseWriter, *dns.Msg) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func silent(dns.ResponseWriter, *dns.Msg) bool { return true }

// saying answers everything with a status.
func saying(rcode int) func(dns.ResponseWriter, *dns.Msg) bool {
	return func(w dns.ResponseWriter, q *dns.Msg) bool {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode))
		return true
	}
}

// questions are what was asked since.
func (s *dnsServer) questions() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.asked, ", ")
	s.asked = nil
	return out
}

func (s *dnsServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	s.asked = append(s.asked, dns.TypeToString[q.Question[0].Qtype]+" "+canonical(q.Question[0].Name))
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, q) {
		return
	}
	m := s.reply(q)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

func (s *dnsServer) reply(q *dns.Msg) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	name, exists := q.Question[0].Name, false
	for range 20 {
		next := ""
		for _, rr := range s.zone {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if c, ok := rr.(*dns.CNAME); ok {
				next = c.Target
				m.Answer = append(m.Answer, rr)
			} else if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if next == "" || !s.follow {
			break
		}
		name = next
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 || s.follow && m.Answer[len(m.Answer)-1].Header().Rrtype != q.Question[0].Qtype {
		rr, _ := dns.NewRR(soa)
		m.Ns = append(m.Ns, rr)
	}
	return m
}

// A clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// resolver asks a server; silence costs it a tenth of a second.
func resolver(t testing.TB, o Options, servers ...*dnsServer) (*Resolver, *clock) {
	t.Helper()
	c := newClock()
	o.Now = c.now
	for _, s := range servers {
		o.Servers = append(o.Servers, s.address)
	}
	if o.Hosts == "" {
		o.Hosts = filepath.Join(t.TempDir(), "none")
	}
	if o.Timeout == 0 {
		o.Timeout = 100 * time.Millisecond
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// located is what Locate says, in one line: "udp 192.0.2.1:5060 0 100%".
func located(t testing.TB, r *Resolver, target Target) string {
	t.Helper()
	a, err := r.Locate(t.Context(), target)
	for _, known := range []error{ErrNotFound, ErrUnusable, ErrSilent} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	total := map[int]float64{}
	for _, s := range a.Servers {
		total[s.Tier] += s.Share
	}
	var out []string
	for _, s := range a.Servers {
		out = append(out, fmt.Sprintf("%s %s %d %.0f%%", s.Transport, s.Address, s.Tier, 100*s.Share/total[s.Tier]))
	}
	text := a.By + ": " + strings.Join(out, ", ")
	if a.Stale {
		text = "stale " + text
	}
	return text
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n  got  %s\n  want %s", what, got, want)
	}
}

func write(t *testing.T, path, text string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// refuseName is silent about one name.
func refuseName(name string) func(dns.ResponseWriter, *dns.Msg) bool {
	return func(w dns.ResponseWriter, q *dns.Msg) bool {
		return q.Question[0].Name == name && saying(dns.RcodeServerFailure)(w, q)
	}
}

func sprint(x any) string { return fmt.Sprint(x) }

// sorted is a list in one line, for questions that are asked at the same time.
func sorted(list string) string {
	all := strings.Split(list, ", ")
	slices.Sort(all)
	return strings.Join(all, ", ")
}
