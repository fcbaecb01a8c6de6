package resolve

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzAnswer reads what a server may send: nothing that it can say breaks the
// bounds, and every name that comes out can be asked for.
func FuzzAnswer(f *testing.F) {
	s := &dnsServer{t: f, follow: true}
	s.set(append(full, "loop.example. 1 IN CNAME loop.example.")...)
	for _, seed := range []question{{"full.example", typeNAPTR}, {"_sip._udp.full.example", typeSRV}, {"alias.example", typeA}, {"loop.example", typeA}, {"nowhere.example", typeAAAA}} {
		b, err := s.reply(new(dns.Msg).SetQuestion(dns.Fqdn(seed.name), seed.kind)).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	r, err := New(Options{Now: time.Now, Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) == 0 {
			return
		}
		question := &dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id}, Question: m.Question}
		if answers(m, question, 50) != nil {
			return
		}
		q, left := questionOf(m), 8
		var found records
		alias, _ := found.read(m, q, &left)
		if left < -1 || len(found.naptr)+len(found.srv)+len(found.addresses) > 50 {
			t.Fatalf("%d aliases left, %+v", left, found)
		}
		if alias != "" && !found.empty() {
			t.Fatalf("both an alias and records: %s %+v", alias, found)
		}
		for _, n := range found.naptr {
			if !hostname(n.replacement) {
				t.Fatalf("replacement %q", n.replacement)
			}
		}
		for _, s := range found.srv {
			if !hostname(s.target) || s.port == 0 {
				t.Fatalf("target %q, port %d", s.target, s.port)
			}
		}
		before := time.Now()
		found, _ = r.date(found, m, 1<<31)
		if lasts := found.until.Sub(before); lasts < r.o.MinTTL || lasts > r.o.MaxTTL+time.Minute {
			t.Fatalf("it holds for %v", lasts)
		}
	})
}

func questionOf(m *dns.Msg) question {
	return question{canonical(m.Question[0].Name), m.Question[0].Qtype}
}
