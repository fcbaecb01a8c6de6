package proxy

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/resolve"
	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// A book is a route.Resolver that takes a while to say what it knows, or says
// nothing at all. What it says holds for a minute.
type book struct {
	takes time.Duration // less than 0: for ever

	mu    sync.Mutex
	pages map[string][]resolve.Server // guarded by mu
	asked []resolve.Target            // guarded by mu
}

// knows gives a host its servers, "tcp 192.0.2.1:5060", each of a tier of its
// own.
func (b *book) knows(host string, servers ...string) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pages == nil {
		b.pages = map[string][]resolve.Server{}
	}
	b.pages[host] = nil
	for tier, text := range servers {
		transport, address, _ := strings.Cut(text, " ")
		s := resolve.Server{Address: netip.MustParseAddrPort(address), Tier: tier, Share: 1}
		if transport == "tcp" {
			s.Transport = guard.TCP
		}
		b.pages[host] = append(b.pages[host], s)
	}
	return b
}

func (b *book) Locate(ctx context.Context, t resolve.Target) (resolve.Answer, error) {
	if a, err := netip.ParseAddr(t.Host); err == nil {
		return resolve.Answer{Servers: []resolve.Server{{Address: netip.AddrPortFrom(a, t.Port), Transport: t.Transport, Share: 1}}}, nil
	}
	b.mu.Lock()
	b.asked = append(b.asked, t)
	servers := b.pages[t.Host]
	b.mu.Unlock()
	if b.takes < 0 {
		<-ctx.Done()
		return resolve.Answer{}, resolve.ErrSilent
	}
	time.Sleep(b.takes)
	if servers == nil {
		return resolve.Answer{}, resolve.ErrNotFound
	}
	return resolve.Answer{Servers: servers, Until: time.Now().Add(time.Minute)}, nil
}

func (b *book) questions() []resolve.Target {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.asked
	b.asked = nil
	return out
}

func egress(b *book) func(*Config, *Options) {
	return func(c *Config, o *Options) { c.Egress, o.Route.Resolver = true, b }
}

// after lets time go by.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEgressByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := (&book{takes: time.Second}).knows("far.example", "udp 127.0.0.1:5080", "udp 198.51.100.1:5060", "udp 169.254.1.1:5060", "udp 192.0.2.99:5080")
		l := newLab(t, office, egress(b))
		l.invite("pbx", "bob@FAR.example", "")
		l.starts()
		l.invite("pbx", "bob@FAR.example", "") // again meanwhile
		l.starts("pbx: SIP/2.0 100")
		after(1100 * time.Millisecond)
		l.starts("far: INVITE sip:bob@FAR.example") // not to ourselves, this machine or this link
		l.answer("far", 200, "")
		l.starts("pbx: SIP/2.0 200")
		l.send("pbx", l.request("pbx", "OPTIONS", "bob@far.example", "")) // known by now
		l.starts("far: OPTIONS")
		l.answer("far", 200, "")
		l.starts("pbx: SIP/2.0 200")
		if asked := b.questions(); len(asked) != 1 {
			t.Errorf("the name was looked up %d times", len(asked))
		}
		l.send("pbx", l.request("pbx", "MESSAGE", "bob@nowhere.example", ""))
		l.starts()
		after(1100 * time.Millisecond)
		l.starts("pbx: SIP/2.0 502")
	})
}

func TestEgressCanceledWhileLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, egress((&book{takes: time.Second}).knows("far.example", "udp 192.0.2.99:5080")))
		l.invite("pbx", "bob@far.example", "")
		l.got()
		l.hop("pbx", "CANCEL")
		l.starts("pbx: SIP/2.0 200")
		after(1100 * time.Millisecond)
		l.starts("pbx: SIP/2.0 100", "pbx: SIP/2.0 487")
	})
}

// TestWhatEgressLocates is what is made of a URI (RFC 3263 section 4).
func TestWhatEgressLocates(t *testing.T) {
	for uri, want := range map[string]resolve.Target{
		"sip:bob@far.example":                           {Host: "far.example"},
		"sip:bob@far.example:5070":                      {Host: "far.example", Port: 5070},
		"sip:bob@far.example;transport=udp":             {Host: "far.example", Named: true},
		"sip:bob@far.example;transport=TCP":             {Host: "far.example", Named: true, Transport: guard.TCP},
		"sip:bob@far.example;transport=tls":             {Host: "far.example", Named: true, Transport: guard.TLS},
		"sip:bob@far.example;transport=ws":              {Host: "far.example", Named: true, Transport: guard.WS},
		"sip:bob@far.example;maddr=Gw.far.example":      {Host: "gw.far.example"},
		"sips:bob@far.example":                          {Host: "far.example", Secure: true},
		"sips:bob@far.example;transport=tcp":            {Host: "far.example", Named: true, Transport: guard.TLS, Secure: true},
		"sips:bob@far.example;transport=ws":             {Host: "far.example", Named: true, Transport: guard.WSS, Secure: true},
		"sip:bob@far.example;transport=sctp":            {},
		"sips:bob@far.example;transport=udp":            {},
		"sip:bob@[2001:db8::99];transport=tcp":          {},
		"sip:bob@far.example;maddr=192.0.2.99;ttl=1":    {},
		"tel:+4930;phone-context=example.com":           {},
		"sip:bob@192.0.2.99:5080;transport=udp;user=ip": {},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := new(book)
			l := newLab(t, office, egress(b))
			l.send("pbx", strings.Replace(l.request("pbx", "OPTIONS", "x", ""), "sip:x SIP", uri+" SIP", 1))
			asked := b.questions()
			if want == (resolve.Target{}) {
				if len(asked) != 0 {
					t.Errorf("%s: asked for %+v", uri, asked)
				}
				return
			}
			if len(asked) != 1 || asked[0] != want {
				t.Errorf("%s: asked for %+v, want %+v", uri, asked, want)
			}
		})
	}
}

var twoServers = map[string]string{"pbx": "203.0.113.5:5060", "one": "192.0.2.1:5060", "two": "192.0.2.2:5060"}

// TestEgressFailover is RFC 3263 section 4.3: what fails goes to the next server
// of the domain.
func TestEgressFailover(t *testing.T) {
	for _, c := range []struct {
		what, method, transport string
		fails                   func(*lab)
		want                    []string
	}{
		{"503", "INVITE", "udp", func(l *lab) { l.answer("one", 503, "") }, []string{"one: ACK", "two: INVITE"}},
		{"503 to another request", "MESSAGE", "udp", func(l *lab) { l.answer("one", 503, "") }, []string{"two: MESSAGE"}},
		{"silence", "INVITE", "udp", func(*lab) { after(6100 * time.Millisecond) }, []string{"pbx: SIP/2.0 100", "one: INVITE", "one: INVITE", "one: INVITE", "two: INVITE"}},
		{"silence to another request", "MESSAGE", "udp", func(*lab) { after(6100 * time.Millisecond) }, []string{"one: MESSAGE", "one: MESSAGE", "one: MESSAGE", "two: MESSAGE"}},
		{"a connection that cannot be made", "INVITE", "tcp", func(l *lab) { l.closes("one") }, []string{"pbx: SIP/2.0 100", "two: INVITE"}},
		{"the same with another request", "MESSAGE", "tcp", func(l *lab) { l.closes("one") }, []string{"two: MESSAGE"}},
		{"a refusal", "INVITE", "udp", func(l *lab) { l.answer("one", 486, "") }, []string{"one: ACK", "pbx: SIP/2.0 486"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hosts := map[string]string{}
				for name, at := range twoServers {
					hosts[name] = at
					if name != "pbx" {
						hosts[name] += "/" + c.transport
					}
				}
				b := new(book).knows("far.example", c.transport+" 192.0.2.1:5060", c.transport+" 192.0.2.2:5060")
				l := newLab(t, hosts, egress(b))
				if c.method == "INVITE" {
					l.invite("pbx", "bob@far.example", "")
				} else {
					l.send("pbx", l.request("pbx", c.method, "bob@far.example", ""))
				}
				first := l.got()
				if last := first[len(first)-1]; l.nameOf(last.flow.Remote) != "one" {
					t.Fatalf("it went to %s first", last.flow.Remote)
				}
				c.fails(l)
				l.starts(c.want...)
				if c.want[len(c.want)-1] == "pbx: SIP/2.0 486" {
					return
				}
				l.answer("two", 200, "")
				l.starts("pbx: SIP/2.0 200")
			})
		})
	}
}

// closes lets the connections of a host close, and the timers turn.
func (l *lab) closes(name string) {
	l.t.Helper()
	l.p.Closed(l.flow(name), true)
	after(200 * time.Millisecond)
}

func TestEgressWhenTheWireRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(book).knows("far.example", "udp 192.0.2.1:5060", "udp 192.0.2.2:5060")
		l := newLab(t, twoServers, egress(b))
		l.wire.refuse[netip.MustParseAddrPort("192.0.2.1:5060")] = true
		l.invite("pbx", "bob@far.example", "")
		l.starts("two: INVITE")
		l.wire.refuse[netip.MustParseAddrPort("192.0.2.2:5060")] = true
		l.send("pbx", l.request("pbx", "MESSAGE", "bob@far.example", ""))
		l.starts("pbx: SIP/2.0 503")
	})
}

// An answered connection that closes takes nothing back, and one that rings goes
// on: the far end may use another.
func TestAConnectionThatClosesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(book).knows("far.example", "tcp 192.0.2.1:5060", "tcp 192.0.2.2:5060")
		l := newLab(t, map[string]string{"pbx": "203.0.113.5:5060", "one": "192.0.2.1:5060/tcp", "two": "192.0.2.2:5060/tcp"}, egress(b))
		l.invite("pbx", "bob@far.example", "")
		l.got()
		l.answer("one", 180, "")
		l.starts("pbx: SIP/2.0 180")
		l.closes("one")
		l.starts()
		l.answer("one", 200, "")
		l.starts("pbx: SIP/2.0 200")
	})
}

// TestA74NothingFromOutsideIsResolved: whoever is not one of our servers cannot
// make us ask DNS, or wait for it, by whatever it writes into a message.
func TestA74NothingFromOutsideIsResolved(t *testing.T) {
	evil := "Contact: <sip:x@contact.evil.example>\nRoute: <sip:route.evil.example;lr>\nRecord-Route: <sip:rr.evil.example;lr>\nPath: <sip:path.evil.example;lr>\n"
	for _, location := range []bool{false, true} {
		for _, register := range []Register{RegisterPath, RegisterContact} {
			synctest.Test(t, func(t *testing.T) {
				black := &book{takes: -1}
				l := newLab(t, office, func(c *Config, o *Options) {
					egress(black)(c, o)
					c.Location, c.Register = location, register
				})
				began := time.Now()
				for _, method := range []string{"OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INVITE", "REGISTER", "ACK"} {
					msg := l.request("mallory", method, "100@uri.evil.example;maddr=maddr.evil.example;transport=tcp", evil)
					msg = strings.Replace(msg, "Contact: <sip:mallory@192.0.2.66:5060>\n", "", 1)
					msg = strings.Replace(msg, "Via: SIP/2.0/UDP 192.0.2.66:5060;", "Via: SIP/2.0/UDP via.evil.example:5099;rport;", 1)
					msg = strings.Replace(msg, "Max-Forwards", "Via: SIP/2.0/UDP below.evil.example;branch=z9hG4bKb;received=192.0.2.77\nMax-Forwards", 1)
					msg = strings.Replace(msg, "From: <sip:mallory@example.com>", "From: <sip:x@from.evil.example>", 1)
					l.send("mallory", msg)
					sent := l.got()
					if len(sent) == 0 && method != "ACK" {
						t.Errorf("%s: nothing happened", method)
					}
					for _, s := range sent {
						if name := l.nameOf(s.flow.Remote); name != "pbx" && name != "mallory" {
							t.Errorf("%s: it went to %s", method, name)
						}
						if l.nameOf(s.flow.Remote) != "pbx" || strings.HasPrefix(s.msg, "ACK") {
							continue
						}
						l.answer("pbx", 200, "Contact: <sip:x@answer.evil.example>\n")
						for _, back := range l.got() {
							if name := l.nameOf(back.flow.Remote); name != "mallory" {
								t.Errorf("the answer to %s went to %s", method, name)
							}
						}
					}
				}
				if took := time.Since(began); took != 0 { // on the clock of the test
					t.Errorf("something waited %v", took)
				}
				after(time.Minute)
				if asked := black.questions(); len(asked) != 0 {
					t.Errorf("DNS was asked for %v", asked)
				}
			})
		}
	}
}

// A silent DNS server keeps nobody waiting but those who asked for a name that
// nobody knows, and they are few.
func TestSilentDNSHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		black := &book{takes: -1}
		l := newLab(t, office, egress(black))
		for i := range 2 * lookupQueue {
			msg := strings.ReplaceAll(l.request("pbx", "OPTIONS", "bob@far.example", ""), "pbx-OPTIONS", "pbx-"+string(rune('A'+i%26))+strings.Repeat("x", i/26))
			l.p.Receive(0, l.flow("pbx"), []byte(wired(msg)), time.Now())
		}
		synctest.Wait()
		refused := 0
		for _, s := range l.got() {
			if strings.HasPrefix(s.msg, "SIP/2.0 503") {
				refused++
			}
		}
		if want := lookupQueue - lookupWorkers; refused < want {
			t.Errorf("%d requests were refused, want at least %d", refused, want)
		}
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		l.send("pbx", l.request("pbx", "MESSAGE", "x@192.0.2.99:5080", ""))
		l.starts("far: MESSAGE")
	})
}

var movingHosts = map[string]string{"alice": "192.0.2.10:5060", "old": "203.0.113.5:5060", "new": "203.0.113.6:5060"}

// TestANextHopMoves: DNS names another server, and neither new calls nor those
// that are up are lost.
func TestANextHopMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(book).knows("pbx.example", "udp 203.0.113.5:5060")
		l := newLab(t, movingHosts, func(c *Config, o *Options) {
			c.Hops = []route.Config{{Name: "pbx", Host: "pbx.example", Any: true}}
			o.Route.Resolver = b
		})
		inside := map[string]bool{}
		l.engine.verdict = func(m *guard.Message) guard.Verdict {
			inside[m.Src.String()] = m.Inside
			if !m.Inside && m.Src.Addr() != l.hosts["alice"].addr.Addr() {
				return guard.Verdict{Action: guard.Drop}
			}
			return guard.Verdict{}
		}
		l.invite("alice", "100@example.com", "")
		l.starts("old: INVITE")
		l.keep("old")
		l.answer("old", 180, "")
		l.starts("alice: SIP/2.0 180")
		b.knows("pbx.example", "udp 203.0.113.6:5060")
		after(61 * time.Second)
		l.got()
		l.answerTo("old", l.last["old dialog"], 200, "") // it rang while DNS changed
		l.starts("alice: SIP/2.0 200")
		l.keep("alice")
		l.within("alice", "ACK", 1, "")
		l.starts("old: ACK")
		l.within("alice", "INVITE", 2, "Contact: <sip:alice@192.0.2.10>\n")
		l.starts("old: INVITE")
		l.answer("old", 200, "")
		l.starts("alice: SIP/2.0 200")
		l.within("old", "INFO", 1, "")
		l.starts("alice: INFO")
		if !inside["203.0.113.5:5060"] {
			t.Error("a request of the old server in its call is from outside")
		}
		l.invite("old", "alice@192.0.2.10", "")
		l.starts()
		if inside["203.0.113.5:5060"] {
			t.Error("a new request of the old server is from inside")
		}
		l.invite("alice", "101@example.com", "")
		l.got()
		l.send("alice", strings.ReplaceAll(l.request("alice", "OPTIONS", "102@example.com", ""), "call-alice", "another"))
		l.starts("new: OPTIONS")
		l.answer("new", 200, "")
		l.got()
		l.within("old", "BYE", 2, "")
		l.starts("alice: BYE")
	})
}

// A peer that comes over one transport and is known by another is the same.
func TestAConnectionOfAPeerThatHasTwoTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(book).knows("pbx.example", "udp 203.0.113.5:5060", "tcp 203.0.113.5:5060")
		l := newLab(t, map[string]string{"alice": "192.0.2.10:5060"}, func(c *Config, o *Options) {
			c.Hops = []route.Config{{Name: "pbx", Host: "pbx.example", Any: true}}
			o.Route.Resolver = b
		})
		for range 5 {
			l.p.Closed(wire.Flow{Listener: 1, Transport: guard.TCP, Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Conn: 9}, false)
		}
		for _, h := range l.p.Hops() {
			if !h.Up {
				t.Errorf("%s over %s is down", h.Hop.Address, h.Hop.Transport)
			}
		}
	})
}

// TestA66LoopThroughAnotherDomain: a domain whose server sends everything back to
// us, and a PBX that sends it there again.
func TestA66LoopThroughAnotherDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, egress(new(book).knows("far.example", "udp 192.0.2.99:5080")))
		back := func(from string) {
			t.Helper()
			via := "Via: SIP/2.0/UDP " + l.hosts[from].addr.String() + ";branch=z9hG4bK-" + from + "-back\n"
			msg := strings.ReplaceAll(l.last[from], "\r\n", "\n")
			msg = strings.ReplaceAll(msg, "\nRecord-Route:", "\nX-Record-Route:")
			l.send(from, strings.Replace(msg, "Via:", via+"Via:", 1))
		}
		l.invite("pbx", "bob@far.example", "")
		l.starts("far: INVITE")
		back("far")
		l.starts("pbx: INVITE") // from outside it goes to the pool: a spiral
		back("pbx")
		l.starts("pbx: SIP/2.0 482") // and then it is a loop
	})
}

// What others reach us by is no other domain.
func TestEgressToOurOwnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, func(c *Config, o *Options) {
			egress(new(book).knows("us.example", "udp 203.0.113.77:5070"))(c, o)
			c.Listeners[0].Advertise = "203.0.113.77:5070"
		})
		for _, to := range []string{"bob@us.example", "bob@203.0.113.77:5070", "bob@198.51.100.1:5060"} {
			l.send("pbx", strings.ReplaceAll(l.request("pbx", "OPTIONS", to, ""), "pbx-OPTIONS", "pbx-"+to[4:9]))
			l.starts("pbx: SIP/2.0 502")
		}
	})
}

// TestEgressToAKnownDomainAllocatesNothing is the steady state of a request from
// inside to a domain whose servers are known.
func TestEgressToAKnownDomainAllocatesNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := netip.MustParseAddrPort("198.51.100.1:5060")
	b := new(book).knows("far.example", "udp 192.0.2.99:5080", "udp 192.0.2.98:5080")
	c := Config{
		Listeners: []Listener{{Listener: wire.Listener{Name: "udp", Address: at}}}, Egress: true,
		Hops: []route.Config{{Name: "pbx", Host: "203.0.113.5", Port: 5060}},
	}
	w := &quickWire{memoryWire: memoryWire{listeners: c.Listeners}}
	o := Options{Engine: plainEngine{}, Wire: w, Now: func() time.Time { return now }, Transactions: 1 << 20}
	o.Route.Resolver = b
	p, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	p.routes.Find(t.Context(), resolve.Target{Host: "far.example"}) // holds until long after now
	pbx := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: at}
	far := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.99:5080"), Local: at}
	n := 0
	var request, response []byte
	one := func() {
		n++
		request = option(request[:0], n)
		copy(request[len("OPTIONS sip:100@"):], "far.example") // instead of example.com
		p.Receive(0, pbx, request, now)
		response = respond(response[:0], w.last)
		p.Receive(0, far, response, now)
		if !bytes.HasPrefix(w.last, []byte("SIP/2.0 200")) {
			t.Fatalf("no answer came back:\n%s", w.last)
		}
		now = now.Add(20 * time.Millisecond)
		p.table.Turn()
	}
	for range 20000 {
		one()
	}
	if got := testing.AllocsPerRun(2000, one); got != 0 {
		t.Errorf("%v allocations for a request and its answer", got)
	}
	if len(b.questions()) != 1 {
		t.Error("DNS was asked more than once")
	}
}
