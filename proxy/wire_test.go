package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// A sent message is one that the proxy gave to the wire.
type sent struct {
	flow wire.Flow
	msg  string
}

// memoryWire is a Wire without sockets.
type memoryWire struct {
	listeners []Listener
	mu        sync.Mutex
	out       []sent            // guarded by mu
	kept      []uint64          // connections that earned their place; guarded by mu
	conns     map[string]uint64 // guarded by mu
	refuse    map[netip.AddrPort]bool
	quiet     bool // throw away what is sent
}

func (w *memoryWire) Send(_ int, f wire.Flow, msg []byte) error {
	if w.quiet {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse[f.Remote] {
		return fmt.Errorf("%s: connection refused", f.Remote)
	}
	w.out = append(w.out, sent{f, string(msg)})
	return nil
}

func (w *memoryWire) Keep(connection uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, connection)
}

func (w *memoryWire) Connect(listener uint16, remote netip.AddrPort, _ string) (wire.Flow, error) {
	l := w.listeners[listener]
	if l.Transport.Web() {
		return wire.Flow{}, errors.New("nobody is reached over WebSocket but who has come")
	}
	f := wire.Flow{Listener: listener, Transport: l.Transport, Remote: remote, Local: l.Address}
	if l.Transport.Stream() {
		f.Conn = w.conn(remote)
	}
	return f, nil
}

func (w *memoryWire) conn(remote netip.AddrPort) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns[remote.String()] == 0 {
		w.conns[remote.String()] = uint64(len(w.conns) + 1)
	}
	return w.conns[remote.String()]
}

func (w *memoryWire) Addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range w.listeners {
		out = append(out, l.Address)
	}
	return out
}

func (w *memoryWire) Workers() int { return 1 }

func (w *memoryWire) Run(ctx context.Context, _ wire.Handler) error {
	<-ctx.Done()
	return nil
}

// take gives what was sent since the last take.
func (w *memoryWire) take() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out = nil
	return out
}

// fakeEngine decides by a function; nil lets everything pass.
type fakeEngine struct {
	verdict func(*guard.Message) guard.Verdict
	judged  []string
	replies []guard.Reply
	targets []string
	ends    chan guard.Call
}

func (e *fakeEngine) Judge(_ context.Context, m *guard.Message, d *guard.Decision) {
	d.Reset()
	d.Message = m
	if e.verdict != nil {
		d.Verdict = e.verdict(m)
	}
	e.judged = append(e.judged, m.Index.Method.String())
}

func (e *fakeEngine) Reply(_ context.Context, m *guard.Message, _ *guard.Decision) {
	e.replies = append(e.replies, *m.Reply)
	e.targets = append(e.targets, strings.Clone(m.Reply.Target))
}

func (e *fakeEngine) End(_ context.Context, m *guard.Message, _ *guard.Decision) {
	select {
	case e.ends <- *m.Call:
	default:
	}
}

// fakeChallenger has one nonce for everybody.
type fakeChallenger struct{}

func (fakeChallenger) Status(m *guard.Message) int {
	switch m.Index.Method {
	case index.Ack, index.Cancel:
		return 0
	case index.Register:
		return 401
	}
	return 407
}

func (fakeChallenger) AppendChallenge(dst []byte, m *guard.Message, v *guard.Verdict) []byte {
	name := "Proxy-Authenticate"
	if m.Index.Method == index.Register {
		name = "WWW-Authenticate"
	}
	return fmt.Appendf(dst, "%s: Digest realm=\"%s\", nonce=\"ours\"\r\n", name, v.Realm)
}

func (fakeChallenger) Proves(m *guard.Message) bool {
	return bytes.Contains(m.Index.Raw(), []byte(`nonce="ours"`))
}

func (fakeChallenger) Ours(m *guard.Message, value index.Span) bool {
	return strings.Contains(m.Index.Text(value), `nonce="ours"`)
}

// A lab is a proxy between hosts that exist only as addresses.
type lab struct {
	t      *testing.T
	p      *Proxy
	wire   *memoryWire
	engine *fakeEngine
	hosts  map[string]host
	last   map[string]string // what each host received last, and sent
	names  *names
}

type host struct {
	addr      netip.AddrPort
	transport guard.Transport
}

// newLab makes a lab and runs its proxy until the test ends. setup may change
// what the proxy is made of.
func newLab(t *testing.T, hosts map[string]string, setup func(*Config, *Options)) *lab {
	t.Helper()
	l := &lab{
		t: t, engine: &fakeEngine{ends: make(chan guard.Call, 64)}, hosts: map[string]host{},
		last: map[string]string{}, names: &names{},
	}
	c := Config{SourceHeader: "-"}
	for i, transport := range []guard.Transport{guard.UDP, guard.TCP} {
		at := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), 5060)
		c.Listeners = append(c.Listeners, Listener{Listener: wire.Listener{
			Name: fmt.Sprint(transport, i), Transport: transport, Address: at,
		}})
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		at, transport, _ := strings.Cut(hosts[name], "/")
		h := host{addr: netip.MustParseAddrPort(at)}
		switch transport {
		case "tcp":
			h.transport = guard.TCP
		case "ws":
			h.transport = guard.WS
			c.Listeners = append(c.Listeners[:2:2], Listener{Listener: wire.Listener{
				Name: "ws2", Transport: guard.WS, Address: netip.MustParseAddrPort("198.51.100.1:80"),
			}})
		}
		l.hosts[name] = h
		pool := ""
		switch {
		case strings.HasPrefix(name, "pbx"):
			pool = "default"
		case strings.HasPrefix(name, "trunk"):
			pool = "trunk"
		default:
			continue
		}
		hop := route.Config{
			Name: name, Pool: pool, Host: h.addr.Addr().String(), Port: h.addr.Port(), Transport: h.transport,
			Priority: len(c.Hops),
		}
		if pool == "trunk" {
			hop.Prefixes = []string{"+49", "00"}
		}
		c.Hops = append(c.Hops, hop)
	}
	o := Options{Engine: l.engine, Now: time.Now, Source: func(netip.Addr) netip.Addr { return netip.Addr{} }, Keys: Keys{Token: [32]byte{1}}}
	o.Trust.UnknownRate.PerSecond, o.Trust.UnknownRate.Burst = 1e6, 1e6
	o.Trust.Pipe = o.Trust.UnknownRate
	o.Amplification = 4
	if setup != nil {
		setup(&c, &o)
	}
	l.wire = &memoryWire{listeners: c.Listeners, conns: map[string]uint64{}, refuse: map[netip.AddrPort]bool{}}
	o.Wire = l.wire
	p, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	l.p = p
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// flow is how a host reaches the proxy.
func (l *lab) flow(name string) wire.Flow {
	h, ok := l.hosts[name]
	if !ok {
		l.t.Fatalf("there is no host %q", name)
	}
	f := wire.Flow{Remote: h.addr, Transport: h.transport, Local: l.wire.listeners[0].Address}
	switch h.transport {
	case guard.TCP:
		f.Listener, f.Conn = 1, l.wire.conn(h.addr)
	case guard.WS:
		f.Listener, f.Conn = 2, l.wire.conn(h.addr)
	}
	return f
}

// send lets a host send a message, written with plain line ends.
func (l *lab) send(name, msg string) {
	l.t.Helper()
	msg = l.names.real(wired(msg))
	l.last[name+" sent"] = msg
	l.p.Receive(0, l.flow(name), []byte(msg), time.Now())
	synctest.Wait()
}

// wired gives a message the line ends of the wire.
func wired(msg string) string {
	msg = strings.ReplaceAll(strings.TrimRight(msg, "\n"), "\n", "\r\n")
	if head, body, ok := strings.Cut(msg, "\r\n\r\n"); ok {
		return head + "\r\n\r\n" + body + "\r\n"
	}
	return msg + "\r\n\r\n"
}

// got is everything that was sent since, as "host" and message; it is remembered
// for answer.
func (l *lab) got() []sent {
	out := l.wire.take()
	for _, s := range out {
		l.last[l.nameOf(s.flow.Remote)] = s.msg
	}
	return out
}

func (l *lab) nameOf(a netip.AddrPort) string {
	for n, h := range l.hosts {
		if h.addr == a {
			return n
		}
	}
	return a.String()
}

// only is the one message that was sent since, and where it went.
func (l *lab) only() (string, string) {
	l.t.Helper()
	all := l.got()
	if len(all) != 1 {
		l.t.Fatalf("%d messages were sent, want one:\n%v", len(all), all)
	}
	return l.nameOf(all[0].flow.Remote), all[0].msg
}

// starts checks what was sent since: "host: beginning of the first line", in
// order.
func (l *lab) starts(want ...string) {
	l.t.Helper()
	var have []string
	all := l.got()
	for _, s := range all {
		line, _, _ := strings.Cut(s.msg, "\r\n")
		have = append(have, l.nameOf(s.flow.Remote)+": "+line)
	}
	ok := len(have) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.HasPrefix(have[i], want[i])
	}
	if !ok {
		l.t.Fatalf("sent:\n  %s\nwant:\n  %s", strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
}

// answer is a response of a host to the last request it received: status, with
// a To tag, and more header lines.
func (l *lab) answer(name string, status int, lines string) {
	l.t.Helper()
	l.answerTo(name, l.last[name], status, lines)
}

func (l *lab) answerTo(name, request string, status int, lines string) {
	l.t.Helper()
	if request == "" {
		l.t.Fatalf("%s has received nothing", name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\n", status, reasonOf(status))
	for line := range strings.SplitSeq(request, "\r\n") {
		key, _, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "via", "from", "call-id", "cseq", "record-route":
			fmt.Fprintln(&b, line)
		case "path":
			if status == 200 {
				fmt.Fprintln(&b, line)
			}
		case "to":
			if status > 100 && !strings.Contains(line, ";tag=") {
				line += ";tag=" + name
			}
			fmt.Fprintln(&b, line)
		}
	}
	if status/100 == 2 && strings.HasPrefix(request, "INVITE") && !strings.Contains(lines, "Contact:") {
		fmt.Fprintf(&b, "Contact: <sip:%s>\n", l.hosts[name].addr)
	}
	b.WriteString(lines)
	if lines != "" && !strings.HasSuffix(lines, "\n") {
		b.WriteByte('\n')
	}
	b.WriteString("Content-Length: 0\n")
	l.send(name, b.String())
}

// hop is the ACK or CANCEL that a host sends for its last INVITE.
func (l *lab) hop(name, method string) {
	l.t.Helper()
	to := header(l.last[name], "To")
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimRight(l.last[name+" invite"], "\r\n"), "\r\n") {
		key, _, _ := strings.Cut(line, ":")
		switch {
		case i == 0:
			fmt.Fprintln(&b, strings.Replace(line, "INVITE", method, 1))
		case key == "To" && method == "ACK":
			fmt.Fprintln(&b, "To:", to)
		case key == "CSeq":
			fmt.Fprintln(&b, strings.Replace(line, "INVITE", method, 1))
		case key == "Via", key == "From", key == "To", key == "Call-ID", key == "Max-Forwards", key == "Route":
			fmt.Fprintln(&b, line)
		}
	}
	b.WriteString("Content-Length: 0\n")
	l.send(name, b.String())
}

// within is a request of a host within the dialog that the last message it
// received, or a 2xx to its INVITE, belongs to.
func (l *lab) within(name, method string, cseq int, lines string) {
	l.t.Helper()
	l.send(name, l.compose(name, method, cseq, lines))
}

func (l *lab) compose(name, method string, cseq int, lines string) string {
	known := l.last[name+" dialog"]
	if known == "" {
		l.t.Fatalf("%s has no dialog", name)
	}
	target := strings.Trim(header(known, "Contact"), "<>")
	from, to := header(known, "From"), header(known, "To")
	routes := headers(known, "Record-Route")
	if strings.HasPrefix(known, "SIP/2.0") {
		slices.Reverse(routes)
	} else {
		from, to = to, from
		if !strings.Contains(from, ";tag=") {
			from += ";tag=" + name
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\n", method, target)
	transport := "UDP"
	if l.hosts[name].transport == guard.TCP {
		transport = "TCP"
	}
	fmt.Fprintf(&b, "Via: SIP/2.0/%s %s;branch=z9hG4bK-%s-%s-%d\n", transport, l.hosts[name].addr, name, method, cseq)
	for _, r := range routes {
		fmt.Fprintln(&b, "Route:", r)
	}
	fmt.Fprintf(&b, "Max-Forwards: 70\nFrom: %s\nTo: %s\nCall-ID: %s\nCSeq: %d %s\n%sContent-Length: 0\n",
		from, to, header(known, "Call-ID"), cseq, method, lines)
	return b.String()
}

func headers(msg, name string) []string {
	var out []string
	for line := range strings.SplitSeq(msg, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}

func header(msg, name string) string {
	if all := headers(msg, name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// invite lets a host call a number.
func (l *lab) invite(name, to string, lines string) {
	l.t.Helper()
	msg := l.request(name, "INVITE", to, lines)
	l.last[name+" invite"] = wired(msg)
	l.send(name, msg)
}

func (l *lab) request(name, method, to, lines string) string {
	h := l.hosts[name]
	transport := "UDP"
	if h.transport == guard.TCP {
		transport = "TCP"
	}
	return fmt.Sprintf(`%s sip:%s SIP/2.0
Via: SIP/2.0/%s %s;branch=z9hG4bK-%s-%s
Max-Forwards: 70
From: <sip:%s@example.com>;tag=%s
To: <sip:%s>
Call-ID: call-%s
CSeq: 1 %s
Contact: <sip:%s@%s>
%sContent-Length: 0
`, method, to, transport, h.addr, name, method, name, name, to, name, method, name, h.addr, lines)
}

// keep remembers the last message a host received as its dialog.
func (l *lab) keep(name string) { l.last[name+" dialog"] = l.last[name] }

// names gives what a proxy makes at random a name by the order in which it is
// seen, and the other way round.
type names struct{ seen []string }

var random = regexp.MustCompile(`z9hG4bKrf[0-9a-f]{32}|;tag=rf[0-9a-f]{13}|sip:[A-Za-z0-9_-]{24,}@|;rf=[A-Za-z0-9_-]{24,}`)

func (n *names) plain(msg string) string {
	return random.ReplaceAllStringFunc(msg, func(s string) string {
		i := slices.Index(n.seen, s)
		if i < 0 {
			i = len(n.seen)
			n.seen = append(n.seen, s)
		}
		return "{" + strconv.Itoa(i+1) + "}"
	})
}

var named = regexp.MustCompile(`\{\d+\}`)

func (n *names) real(msg string) string {
	return named.ReplaceAllStringFunc(msg, func(s string) string {
		i, _ := strconv.Atoi(strings.Trim(s, "{}"))
		if i < 1 || i > len(n.seen) {
			return s
		}
		return n.seen[i-1]
	})
}
