package resolve

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ringfence/guard"
)

// udp looks for addresses alone: one question.
func udp(host string) Target { return Target{Host: host, Port: 5060} }

var ipv4 = only(false, guard.UDP)

func many(n int) []string {
	var zone []string
	for i := range n {
		zone = append(zone, fmt.Sprintf("many.example. 60 IN A 10.0.%d.%d", i/250, i%250))
	}
	return zone
}

func TestALongAnswerComesOverTCP(t *testing.T) {
	s := serveDNS(t, many(100)...)
	r, _ := resolver(t, Options{Usable: ipv4, Addresses: 100}, s)
	if got := strings.Count(located(t, r, udp("many.example")), "udp 10.0."); got != 100 {
		t.Errorf("%d of 100 addresses", got)
	}
	if c := r.Counts(); c.TCP != 1 || c.Asked != 2 {
		t.Errorf("counts %+v", c)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := serveDNS(t, many(600)...)
	for what, o := range map[string]Options{"records": {Records: 500, Bytes: 65535}, "bytes": {Records: 1000, Bytes: 4096}} {
		o.Usable, o.Attempts = ipv4, 1
		r, _ := resolver(t, o, s)
		expect(t, what, located(t, r, udp("many.example")), ErrSilent.Error())
	}
}

func TestAnotherServerIsAsked(t *testing.T) {
	zone := "pbx.example. 60 IN A 192.0.2.1"
	for what, answer := range map[string]func(dns.ResponseWriter, *dns.Msg) bool{
		"silent": silent, "broken": saying(dns.RcodeServerFailure), "unwilling": saying(dns.RcodeRefused),
	} {
		first, second := serveDNS(t, zone), serveDNS(t, zone, "other.example. 60 IN A 192.0.2.2")
		first.does(answer)
		r, _ := resolver(t, Options{Usable: ipv4}, first, second)
		expect(t, what, located(t, r, udp("pbx.example")), "A, AAAA: udp 192.0.2.1:5060 0 100%")
		first.questions()
		expect(t, what+": who answered is asked first from then on", located(t, r, udp("other.example")), "A, AAAA: udp 192.0.2.2:5060 0 100%")
		if asked := first.questions(); asked != "" {
			t.Errorf("%s: it was asked %s", what, asked)
		}
	}
}

func TestEveryServerIsAskedTwice(t *testing.T) {
	first, second := serveDNS(t), serveDNS(t)
	first.does(saying(dns.RcodeServerFailure))
	second.does(saying(dns.RcodeRefused))
	r, _ := resolver(t, Options{Usable: ipv4}, first, second)
	expect(t, "located", located(t, r, udp("pbx.example")), ErrSilent.Error())
	expect(t, "the first", first.questions(), "A pbx.example, A pbx.example")
	expect(t, "the second", second.questions(), "A pbx.example, A pbx.example")
	if c := r.Counts(); c.Asked != 4 || c.Failed != 4 {
		t.Errorf("counts %+v", c)
	}
}

func TestOldServers(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1")
	s.does(func(w dns.ResponseWriter, q *dns.Msg) bool {
		return q.IsEdns0() != nil && saying(dns.RcodeFormatError)(w, q)
	})
	r, _ := resolver(t, Options{Usable: ipv4}, s)
	expect(t, "one without extensions", located(t, r, udp("pbx.example")), "A, AAAA: udp 192.0.2.1:5060 0 100%")
	s.does(func(w dns.ResponseWriter, q *dns.Msg) bool {
		return q.Question[0].Qtype == dns.TypeNAPTR && saying(dns.RcodeNotImplemented)(w, q)
	})
	expect(t, "one without NAPTR", located(t, r, Target{Host: "pbx.example"}), "A, AAAA: udp 192.0.2.1:5060 0 100%")
}

// Whoever guesses the port still has to know the identifier and the question,
// and may not keep the real answer away.
func TestForgedAnswers(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1")
	s.does(func(w dns.ResponseWriter, q *dns.Msg) bool {
		forge := func(name string, change func(*dns.Msg)) {
			m := new(dns.Msg).SetReply(q)
			rr, _ := dns.NewRR(name + " 60 IN A 203.0.113.66")
			m.Answer = []dns.RR{rr}
			change(m)
			_ = w.WriteMsg(m)
		}
		forge("pbx.example.", func(m *dns.Msg) { m.Id++ })
		forge("pbx.example.", func(m *dns.Msg) { m.Response = false })
		forge("pbx.example.", func(m *dns.Msg) { m.Question[0].Name = "other.example." })
		forge("pbx.example.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })
		forge("pbx.example.", func(m *dns.Msg) { m.Question = nil })
		_, _ = w.Write([]byte("\x00"))
		_, _ = w.Write([]byte(strings.Repeat("\xff", 40)))
		return false
	})
	r, _ := resolver(t, Options{Usable: ipv4}, s)
	expect(t, "located", located(t, r, udp("pbx.example")), "A, AAAA: udp 192.0.2.1:5060 0 100%")
}

// Only what belongs to the question counts, whatever else a server sends along.
func TestOtherRecordsAreNotBelieved(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1", "other.example. 60 IN A 192.0.2.2")
	s.does(func(w dns.ResponseWriter, q *dns.Msg) bool {
		m := s.reply(q)
		for i, line := range []string{"other.example. 60 IN A 203.0.113.66", "pbx.example. 60 CH A 203.0.113.66", "x.example. 60 IN CNAME pbx.example."} {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if m.Answer = append(m.Answer, rr); i == 0 {
				m.Ns, m.Extra = append(m.Ns, rr), append(m.Extra, rr)
			}
		}
		_ = w.WriteMsg(m)
		return true
	})
	r, _ := resolver(t, Options{Usable: ipv4}, s)
	expect(t, "pbx", located(t, r, udp("pbx.example")), "A, AAAA: udp 192.0.2.1:5060 0 100%")
	s.does(nil)
	expect(t, "other", located(t, r, udp("other.example")), "A, AAAA: udp 192.0.2.2:5060 0 100%")
}

func TestAliases(t *testing.T) {
	zone := []string{"n0.example. 60 IN A 192.0.2.1", "loop1.example. 60 IN CNAME loop2.example.", "loop2.example. 60 IN CNAME loop1.example.", "lost.example. 60 IN CNAME nowhere.example.", "odd.example. 60 IN CNAME a\\032b.example."}
	for i := range 10 {
		zone = append(zone, fmt.Sprintf("n%d.example. 60 IN CNAME n%d.example.", i+1, i))
	}
	s := serveDNS(t, zone...)
	for _, follow := range []bool{true, false} {
		s.mu.Lock()
		s.follow = follow
		s.mu.Unlock()
		for name, want := range map[string]string{
			"n0": "A, AAAA: udp 192.0.2.1:5060 0 100%", "n1": "A, AAAA: udp 192.0.2.1:5060 0 100%", "n8": "A, AAAA: udp 192.0.2.1:5060 0 100%",
			"n9": ErrSilent.Error(), "loop1": ErrSilent.Error(), "lost": ErrNotFound.Error(), "odd": ErrNotFound.Error(),
		} {
			r, _ := resolver(t, Options{Usable: ipv4, Attempts: 1}, s)
			s.questions()
			what := fmt.Sprintf("%s, followed by the server: %v", name, follow)
			got := located(t, r, udp(name+".example"))
			if got == ErrUnusable.Error() { // it may have addresses of the other family
				got = ErrNotFound.Error()
			}
			expect(t, what, got, want)
			if n := strings.Count(s.questions(), ","); n > 8 {
				t.Errorf("%s: %d questions", what, n+1)
			}
		}
	}
}

// A server that can only be reached over TCP after all, or not at all.
func TestAServerThatIsNotThere(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dnsServer{t: t}
	s.address = c.LocalAddr().(*net.UDPAddr).AddrPort()
	c.Close()
	r, _ := resolver(t, Options{Usable: ipv4}, s)
	expect(t, "located", located(t, r, udp("pbx.example")), ErrSilent.Error())
}
