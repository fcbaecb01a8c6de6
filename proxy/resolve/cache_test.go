package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestTimeToLive(t *testing.T) {
	for _, c := range []struct {
		what string
		zone []string
		want time.Duration
	}{
		{"as the server says", []string{"pbx.example. 60 IN A 192.0.2.1"}, time.Minute},
		{"not shorter than the floor", []string{"pbx.example. 0 IN A 192.0.2.1"}, 5 * time.Second},
		{"not longer than the ceiling", []string{"pbx.example. 604800 IN A 192.0.2.1"}, time.Hour},
		{"one with the top bit set is none", []string{"pbx.example. 2147483648 IN A 192.0.2.1"}, 5 * time.Second},
		{"the least of all", []string{"pbx.example. 60 IN A 192.0.2.1", "pbx.example. 40 IN A 192.0.2.2"}, 40 * time.Second},
		{"that of an alias too", []string{"pbx.example. 30 IN CNAME real.example.", "real.example. 60 IN A 192.0.2.1"}, 30 * time.Second},
		{"that there is none, as the zone says", nil, 20 * time.Second},
	} {
		s := serveDNS(t, c.zone...)
		r, clock := resolver(t, Options{Usable: ipv4}, s)
		first := located(t, r, udp("pbx.example"))
		s.questions()
		clock.wait(c.want - time.Second)
		expect(t, c.what, located(t, r, udp("pbx.example")), first)
		expect(t, c.what+": before its time", s.questions(), "")
		clock.wait(time.Second)
		located(t, r, udp("pbx.example"))
		expect(t, c.what+": after it", s.questions(), "A pbx.example")
	}
}

func TestTheWholeAnswerEndsWithItsFirstPart(t *testing.T) {
	s := serveDNS(t,
		`pbx.example. 300 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.pbx.example.`,
		"_sip._udp.pbx.example. 90 IN SRV 1 1 5060 one.example.", "one.example. 200 IN A 192.0.2.1")
	r, c := resolver(t, Options{Usable: ipv4}, s)
	a, err := r.Locate(t.Context(), Target{Host: "pbx.example"})
	if err != nil || !a.Until.Equal(c.now().Add(90*time.Second)) {
		t.Errorf("until %v, %v", a.Until.Sub(c.now()), err)
	}
}

func TestNegativeWithoutSOA(t *testing.T) {
	s := serveDNS(t)
	s.does(saying(dns.RcodeNameError))
	r, c := resolver(t, Options{Usable: ipv4}, s)
	expect(t, "located", located(t, r, udp("pbx.example")), ErrNotFound.Error())
	s.questions()
	c.wait(5 * time.Second)
	located(t, r, udp("pbx.example"))
	expect(t, "asked again", s.questions(), "A pbx.example")
}

func TestStaleAnswers(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1")
	r, c := resolver(t, Options{Usable: ipv4, Attempts: 1, Stale: time.Hour}, s)
	fresh := "A, AAAA: udp 192.0.2.1:5060 0 100%"
	expect(t, "fresh", located(t, r, udp("pbx.example")), fresh)
	c.wait(time.Minute)
	s.does(saying(dns.RcodeServerFailure))
	s.questions()
	expect(t, "the server is broken", located(t, r, udp("pbx.example")), "stale "+fresh)
	expect(t, "asked", s.questions(), "A pbx.example")
	c.wait(9 * time.Second)
	expect(t, "soon after", located(t, r, udp("pbx.example")), "stale "+fresh)
	expect(t, "left alone", s.questions(), "")
	c.wait(time.Second)
	expect(t, "later", located(t, r, udp("pbx.example")), "stale "+fresh)
	expect(t, "asked again", s.questions(), "A pbx.example")
	s.does(silent)
	c.wait(10 * time.Second)
	expect(t, "silent", located(t, r, udp("pbx.example")), "stale "+fresh)
	c.wait(time.Hour)
	expect(t, "too old", located(t, r, udp("pbx.example")), ErrSilent.Error())
	s.does(nil)
	expect(t, "left alone for a while", located(t, r, udp("pbx.example")), ErrSilent.Error())
	c.wait(10 * time.Second)
	expect(t, "well again", located(t, r, udp("pbx.example")), fresh)
	c.wait(time.Minute)
	s.set()
	expect(t, "a server that says no is believed", located(t, r, udp("pbx.example")), ErrNotFound.Error())
}

func TestTheCacheIsBounded(t *testing.T) {
	s := serveDNS(t)
	r, _ := resolver(t, Options{Usable: ipv4, Entries: 20}, s)
	for i := range 100 {
		located(t, r, udp(fmt.Sprintf("n%d.example", i)))
	}
	if n := r.Counts().Entries; n != 20 {
		t.Errorf("%d entries", n)
	}
}

// hold makes the server wait for a word of the test.
func hold(s *dnsServer) (asked chan struct{}, answer func()) {
	asked, gate := make(chan struct{}, 100), make(chan struct{})
	s.does(func(dns.ResponseWriter, *dns.Msg) bool {
		asked <- struct{}{}
		<-gate
		return false
	})
	return asked, sync.OnceFunc(func() { close(gate) })
}

func TestOneAsksForAll(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1")
	r, _ := resolver(t, Options{Usable: ipv4, Timeout: time.Minute}, s)
	asked, answer := hold(s)
	defer answer()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { expect(t, "located", located(t, r, udp("pbx.example")), "A, AAAA: udp 192.0.2.1:5060 0 100%") })
	}
	<-asked
	answer()
	wg.Wait()
	expect(t, "asked", s.questions(), "A pbx.example")
}

// Who gives up does not take those along who wait for the same answer.
func TestTheOneWhoAsksGivesUp(t *testing.T) {
	s := serveDNS(t, "pbx.example. 60 IN A 192.0.2.1")
	r, _ := resolver(t, Options{Usable: ipv4, Timeout: time.Minute}, s)
	asked, answer := hold(s)
	defer answer()
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := r.Locate(ctx, udp("pbx.example"))
		gaveUp <- err
	}()
	<-asked
	got := make(chan string)
	go func() { got <- located(t, r, udp("pbx.example")) }()
	cancel()
	if err := <-gaveUp; !errors.Is(err, ErrSilent) {
		t.Errorf("who gave up got %v", err)
	}
	<-asked
	answer()
	expect(t, "who waited", <-got, "A, AAAA: udp 192.0.2.1:5060 0 100%")
}

func TestQuestionsUnderWayAreBounded(t *testing.T) {
	s := serveDNS(t)
	r, _ := resolver(t, Options{Usable: ipv4, Timeout: time.Minute, Flights: 2}, s)
	asked, answer := hold(s)
	defer answer()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { located(t, r, udp(fmt.Sprintf("n%d.example", i))) })
	}
	<-asked
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Locate(ctx, udp("late.example")); !errors.Is(err, ErrSilent) {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(s.questions(), "A n"); n != 2 {
		t.Errorf("%d questions at once", n)
	}
	answer()
	wg.Wait()
}
