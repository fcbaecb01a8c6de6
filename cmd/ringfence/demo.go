package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ringfence/guard"
)

func newDemo(*globals) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Two phones talk while a scanner, a guesser, a thief and a flood try their luck", Args: nothing,
		Long: "Starts the daemon on a free loopback port with a state directory of its own, and drives it\nwith real sockets: nothing is faked. Takes under a minute.",
		RunE: func(c *cobra.Command, _ []string) error { return demo(c.Context(), c.OutOrStdout()) },
	}
}

// Where the actors of the demo sit. All of 127.0.0.0/8 is loopback.
const (
	demoServer  = "127.0.0.1"
	demoPhones  = "127.0.0.11"
	demoScanner = "127.0.66.1"
	demoGuesser = "127.0.66.2"
	demoThief   = "127.0.66.3"
	demoFlooder = "127.0.66.4"
	demoStorm   = "127.0.66.5"
)

var demoNames = map[string]string{
	demoPhones: "phones", demoScanner: "scanner", demoGuesser: "guesser", demoThief: "thief", demoFlooder: "flood", demoStorm: "storm",
}

func demo(ctx context.Context, w io.Writer) error {
	dir, err := os.MkdirTemp("", "ringfence-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	port, err := freeUDP(demoServer)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	server := netip.AddrPortFrom(netip.MustParseAddr(demoServer), port)
	c := new(config)
	c.Listen = []listenConfig{{Transport: "udp", Address: server}, {Transport: "tcp", Address: server}}
	c.Metrics, c.Record.Log = "off", "off"
	c.Screen.Mode = "off"
	if os.Geteuid() == 0 {
		c.Screen = screenConfig{Mode: "generic", Interfaces: []string{"lo"}, Pin: "none"}
	}
	c.Store.Dir = dir
	c.fill(dir)
	stage := newDemoStage(w)
	accounts := []trial{{"alice", "wonderland"}, {"bob", "builder"}, {"carol", "password1"}}
	d, err := newGuardian(ctx, c, accounts, guardianOptions{Sinks: []guard.Sink{stage}, Out: io.Discard})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running) }()
	fmt.Fprintf(w, "The guard listens on %s (%s). Phones are alice and bob.\n\n", server, d.filterText())
	err = errors.Join(stage.play(ctx, server), stage.table(d))
	stop()
	return errors.Join(err, <-ended)
}

func freeUDP(host string) (uint16, error) {
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// A demoStage prints verdicts as they fall and counts them by actor.
type demoStage struct {
	w     io.Writer
	start time.Time

	mu     sync.Mutex // guards what follows
	actors map[string]*demoCount
	last   map[string]int
}

type demoCount struct{ sent, passed, challenged, refused, dropped, limited, banned int }

func newDemoStage(w io.Writer) *demoStage {
	return &demoStage{w: w, start: time.Now(), actors: map[string]*demoCount{}, last: map[string]int{}}
}

func (s *demoStage) count(actor string) *demoCount {
	if s.actors[actor] == nil {
		s.actors[actor] = new(demoCount)
	}
	return s.actors[actor]
}

func (s *demoStage) sent(actor string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(actor).sent += n
}

// demoAlike is how many lines of one kind are printed for one actor before
// only their number is.
const demoAlike = 4

// Decided prints one line for a verdict. It is a guard.Sink.
func (s *demoStage) Decided(d *guard.Decision) {
	m := d.Message
	if m.Call != nil || m.Index == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	actor := demoNames[m.Src.Addr().String()]
	if actor == "" {
		actor = "others"
	}
	c := s.count(actor)
	for _, b := range d.Bans {
		if b.Limit {
			c.limited++
		} else {
			c.banned++
		}
	}
	if m.Reply == nil {
		switch d.Verdict.Action {
		case guard.Pass, guard.Allow:
			c.passed++
		case guard.Challenge:
			c.challenged++
		case guard.Reject:
			c.refused++
		case guard.Drop:
			c.dropped++
		}
	} else if len(d.Bans) == 0 {
		return
	}
	rule := d.Verdict.Rule
	if rule == "" {
		rule = "no rule"
	}
	extra := ""
	for _, b := range d.Bans {
		word := "banned"
		if b.Limit {
			word = "limited"
		}
		extra += fmt.Sprintf("  %s until %s by %s", word, b.Until.Local().Format("15:04:05"), b.Rule)
	}
	key := actor + d.Verdict.Action.String() + rule + m.Index.Method.String()
	if s.last[key]++; s.last[key] > demoAlike && extra == "" {
		return
	}
	to := m.Index.Text(m.Index.To.URI.User)
	fmt.Fprintf(s.w, "%6.2fs  %-8s %-8s to %-14s %-9s %s%s\n", time.Since(s.start).Seconds(), actor, m.Index.Method, printable(to), d.Verdict.Action, rule, extra)
}

func (s *demoStage) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "%6.2fs  -- %s\n", time.Since(s.start).Seconds(), text)
}

// play runs the acts. Its error is a good call that was not served.
func (s *demoStage) play(ctx context.Context, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	alice, err := newPhone(demoPhones, "alice", "wonderland", server)
	if err != nil {
		return err
	}
	defer alice.Close()
	bob, err := newPhone(demoPhones, "bob", "builder", server)
	if err != nil {
		return err
	}
	defer bob.Close()
	s.say("two phones register and talk")
	for _, p := range []*phone{alice, bob} {
		if err := s.expect(p.Register(ctx)); err != nil {
			return fmt.Errorf("%s could not register: %w", p.user, err)
		}
	}
	if err := s.expect(alice.Call(ctx, "bob", time.Second)); err != nil {
		return fmt.Errorf("alice could not call bob: %w", err)
	}
	s.say("a scanner sweeps for extensions")
	s.scan(server)
	s.say("a guesser tries bob's password")
	s.guess(ctx, server)
	s.say("a thief has carol's password and dials premium numbers")
	if err := s.steal(ctx, server); err != nil {
		return err
	}
	s.say("a flood of calls, and meanwhile alice calls bob again")
	var g errgroup.Group
	g.Go(func() error { s.flood(server); return nil })
	g.Go(func() error { return s.expect(alice.Call(ctx, "bob", time.Second)) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("alice could not call bob during the flood: %w", err)
	}
	return nil
}

// expect turns a status other than 200 into an error and counts what was sent.
func (s *demoStage) expect(status int, err error) error {
	if err == nil && status != 200 {
		err = fmt.Errorf("the answer was %d", status)
	}
	return err
}

// shoot sends n messages from a host, one after the other.
func (s *demoStage) shoot(host string, server netip.AddrPort, n int, pause time.Duration, message func(i int, local string) string) {
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)}, net.UDPAddrFromAddrPort(server))
	if err != nil {
		s.say(fmt.Sprintf("%s could not open a socket: %v", host, err))
		return
	}
	defer c.Close()
	for i := range n {
		if _, err := io.WriteString(c, message(i, c.LocalAddr().String())); err == nil {
			s.sent(demoNames[host], 1)
		}
		time.Sleep(pause)
	}
}

func (s *demoStage) scan(server netip.AddrPort) {
	s.shoot(demoScanner, server, 60, 10*time.Millisecond, func(i int, local string) string {
		return fmt.Sprintf("REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-%d;rport\r\nContent-Length: 0\r\nFrom: \"%d\" <sip:%d@%s>; tag=%x\r\nAccept: application/sdp\r\nUser-Agent: friendly-scanner\r\nTo: \"%d\" <sip:%d@%s>\r\nContact: sip:%d@%s\r\nCSeq: 1 REGISTER\r\nCall-ID: %d\r\nMax-Forwards: 70\r\n\r\n",
			server, local, 1000000+i, 100+i, 100+i, server.Addr(), 0x31303000+i, 100+i, 100+i, server.Addr(), 100+i, local, 77000+i)
	})
}

func (s *demoStage) guess(ctx context.Context, server netip.AddrPort) {
	for i := range 12 {
		p, err := newPhone(demoGuesser, "bob", fmt.Sprintf("guess%02d", i), server)
		if err != nil {
			s.say(err.Error())
			return
		}
		try, cancel := context.WithTimeout(ctx, 600*time.Millisecond)
		s.sent("guesser", 2)
		status, _ := p.Register(try) // no answer is what a banned guesser gets
		cancel()
		p.Close()
		if status == 0 {
			s.say("the guesser gets no answer any more")
			return
		}
	}
}

func (s *demoStage) steal(ctx context.Context, server netip.AddrPort) error {
	thief, err := newPhone(demoThief, "carol", "password1", server)
	if err != nil {
		return err
	}
	defer thief.Close()
	if err := s.expect(thief.Register(ctx)); err != nil {
		return fmt.Errorf("the thief could not register with a good password: %w", err)
	}
	s.sent("thief", 2)
	for _, number := range []string{"+88213000123", "0088216000456", "+97912345678", "+88299000111"} {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		status, err := thief.Call(try, number, 0)
		cancel()
		s.sent("thief", 2)
		if err == nil && status == 200 {
			return fmt.Errorf("the thief's call to %s went through", number)
		}
	}
	return nil
}

func (s *demoStage) flood(server netip.AddrPort) {
	s.shoot(demoFlooder, server, 4000, 250*time.Microsecond, func(i int, local string) string {
		return fmt.Sprintf("INVITE sip:bob@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%08x;rport\r\nFrom: <sip:%d@%s>;tag=%x\r\nTo: <sip:bob@%s>\r\nCall-ID: %x@flood\r\nCSeq: 1 INVITE\r\nContact: <sip:x@%s>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
			server, local, i, i, server.Addr(), i, server.Addr(), i*7919, local)
	})
}

// table prints what became of every actor's messages.
func (s *demoStage) table(d *guardian) error {
	kernel := d.screenDrops()
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.w)
	rows := [][]string{}
	total := 0
	for _, host := range []string{demoPhones, demoScanner, demoGuesser, demoThief, demoFlooder} {
		c := s.actors[demoNames[host]]
		if c == nil {
			continue
		}
		sent := strconv.Itoa(max(c.sent, c.passed+c.challenged+c.refused+c.dropped))
		rows = append(rows, []string{demoNames[host], sent, strconv.Itoa(c.passed), strconv.Itoa(c.challenged), strconv.Itoa(c.refused), strconv.Itoa(c.dropped), "", strconv.Itoa(c.limited), strconv.Itoa(c.banned)})
		total += c.limited + c.banned
	}
	rows = append(rows, []string{"before parsing", "", "", "", "", "", strings.TrimSpace(kernel), "", ""})
	if err := table(s.w, "ACTOR\tSENT\tPASSED\tCHALLENGED\tREFUSED\tDROPPED\tDROPPED IN KERNEL\tLIMITED\tBANNED", rows); err != nil {
		return err
	}
	if total == 0 {
		return errors.New("nobody was banned or limited: that is not what the default pack does")
	}
	return nil
}
