package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringfence/guard"
	"ringfence/guard/numbers"
	"ringfence/proxy"
	"ringfence/proxy/dialog"
	"ringfence/proxy/index"
	"ringfence/proxy/location"
	"ringfence/proxy/route"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// listenTransports are those that a listener may have.
var listenTransports = []string{"udp", "tcp", "tls", "ws", "wss"}

var transports = map[string]guard.Transport{"udp": guard.UDP, "tcp": guard.TCP, "tls": guard.TLS, "ws": guard.WS, "wss": guard.WSS}

var challenges = map[string]proxy.Challenge{"never": proxy.Never, "under-flood": proxy.UnderFlood, "always": proxy.Always}

var registers = map[string]proxy.Register{"auto": proxy.RegisterAuto, "path": proxy.RegisterPath, "contact": proxy.RegisterContact}

// openProxy makes the proxy of the configuration; it binds the sockets.
func (g *guardian) openProxy(emergencies *numbers.Emergencies, sockets []*os.File) error {
	c := g.cfg
	branch, err := g.keyring(nextKeyring, "branch")
	if err != nil {
		return err
	}
	token, err := g.keyring(loadKeyring, "flow-token")
	if err != nil {
		return err
	}
	listeners, err := g.listeners()
	if err != nil {
		return err
	}
	hops, byAddress, err := c.hops()
	if err != nil {
		return err
	}
	everybody := trust.Rate{PerSecond: float64(c.Limits.Unknown), Burst: c.Limits.Unknown}
	g.proxy, err = proxy.New(proxy.Config{
		Listeners: listeners, Hops: hops, Pool: "default", Domains: c.Domains, Location: *c.Location.Enabled,
		Register: registers[c.Register], Egress: c.Egress == "dns", EmergencyPool: c.Emergency, SourceHeader: c.Source,
		Limits: index.Limits{Size: c.Limits.Datagram},
	}, proxy.Options{
		Engine: g.engine, Challenger: g.auth, Accounts: g.auth.Local(), Screen: g.screen.soft, Inherited: sockets, Store: g.store,
		Keys:      proxy.Keys{Branch: branch.Current, PreviousBranch: branch.Previous, Token: token.Current, PreviousToken: token.Previous},
		Malformed: g.malformed, Grace: g.screen.grace, Banned: g.screen.soft.Banned, Emergency: emergencies.Is, Tap: g.tap,
		Transactions: c.Limits.Transactions, Unproven: c.Limits.Unproven, Memory: int64(c.Limits.Memory), PerSource: c.Limits.PerSource, Questions: c.Limits.Questions,
		Limits: wire.Limits{Datagram: c.Limits.Datagram, Message: c.Limits.Message, Connections: c.Limits.Connections, PerSource: c.Limits.PerAddress},
		// How much one flow may send is for rules to say; here stand only the
		// bounds that keep unproven sources out of everybody else's way.
		Trust:  trust.Options{Pipe: everybody, UnknownRate: everybody, ChallengedRate: everybody, TrustedRate: everybody},
		DNS:    c.DNS.options(),
		Route:  route.Options{AddressOnly: byAddress, Stale: c.DNS.Stale, Drain: c.DNS.Drain, Domains: c.DNS.Domains, Changed: g.peers.changed},
		Places: location.Options{PerAccount: c.Location.Bindings, MinExpires: c.Location.MinExpires, MaxExpires: c.Location.MaxExpires, Realm: g.realmOf},
		Calls:  dialog.Options{Max: c.Limits.Calls},
		Log:    g.log, Metrics: g.metrics, Now: g.now,
	})
	if err != nil {
		return err
	}
	dialogs := g.proxy.Dialogs()
	g.policy.dialogs.at.Store(&dialogs)
	return nil
}

// realmOf names the realm whose accounts a domain has.
func (g *guardian) realmOf(string) (string, bool) { return g.cfg.Guards.Auth.Realm, true }

func (g *guardian) listeners() ([]proxy.Listener, error) {
	var out []proxy.Listener
	for _, l := range g.cfg.Listen {
		p := proxy.Listener{Advertise: l.Advertise, Challenge: challenges[g.cfg.Challenge], Stateless: l.Mode == "stateless"}
		p.Name, p.Transport, p.Address, p.Sockets = l.Name, transports[l.Transport], l.Address, g.cfg.Limits.Workers
		p.Origins, p.WebPath = l.Origins, l.Path
		if p.Transport.Secure() {
			hosts := append([]string{l.Address.Addr().String(), "localhost"}, g.cfg.Domains...)
			if l.Advertise != "" {
				host, _, err := net.SplitHostPort(l.Advertise)
				if err != nil {
					host = l.Advertise
				}
				hosts = append(hosts, host)
			}
			cert, err := newCertificate(l.Certificate, l.Key, g.cfg.Store.Dir, hosts, g.now)
			if err := g.unkept("the self-made certificate", err); err != nil {
				return nil, err
			}
			g.certs = append(g.certs, cert)
			p.TLS = cert.config()
		}
		out = append(out, p)
	}
	return out, nil
}

// malformed notes a message that no rule could judge.
func (g *guardian) malformed(src netip.AddrPort, t guard.Transport, p index.Problem, proven bool) {
	g.tally.malformed.Add(1)
	g.tally.problem(string(p))
	d := guard.Decision{
		Message: &guard.Message{At: g.now(), Src: src, Transport: t, Proven: proven},
		Verdict: guard.Verdict{Action: guard.Drop, Rule: "builtin:malformed", Reason: string(p)},
		Matches: []guard.Match{{
			Rule: "builtin:malformed", Title: "Two readers could read the message differently", Where: "built in", Action: guard.Drop,
			Facts: []guard.Answer{{Fact: "sip.problem", Value: string(p)}},
		}},
	}
	g.recorder.Decided(&d)
	g.tap.Decided(&d)
}

// openMetrics binds the port of the metrics page.
func (g *guardian) openMetrics() (err error) {
	if g.cfg.Metrics == "off" {
		return nil
	}
	if g.scraped, err = net.Listen("tcp", g.cfg.Metrics); err != nil {
		return fmt.Errorf("metrics: %w; give another address with --metrics, or off", err)
	}
	return nil
}

// serveMetrics serves /metrics until ctx ends.
func (g *guardian) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 14}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- s.Close()
	}()
	if err := s.Serve(g.scraped); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return <-stopped
}

// register adds the metrics of what is counted elsewhere.
func (g *guardian) register() {
	gauge := func(name, help string, f func() float64) {
		g.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("ringfence_bans", "Bans in force.", func() float64 { n, _, _ := g.bans.Counts(); return float64(n) })
	gauge("ringfence_limits", "Sources that are limited.", func() float64 { _, n, _ := g.bans.Counts(); return float64(n) })
	gauge("ringfence_store_bytes", "Bytes of the store.", func() float64 { return float64(g.store.Size()) })
	gauge("ringfence_store_in_memory", "1 while the store cannot be written to disk and is in memory.", func() float64 {
		if g.store.Outage() != nil {
			return 1
		}
		return 0
	})
	g.metrics.MustRegister(&screenCollector{g.screen}, &socketCollector{g.proxy}, g.tally.problems)
}

// screenCollector gives the counters of the screen by reason.
type screenCollector struct{ screen *screen }

var screenDesc = prometheus.NewDesc("ringfence_screen_packets_total", "Packets by where and why they were decided.", []string{"where", "reason"}, nil)

// Describe is prometheus.Collector's.
func (s *screenCollector) Describe(out chan<- *prometheus.Desc) { out <- screenDesc }

// Collect is prometheus.Collector's.
func (s *screenCollector) Collect(out chan<- prometheus.Metric) {
	for i, x := range s.screen.both() {
		where := "sockets"
		if i == 0 && s.screen.kernel != nil {
			where = "kernel"
		}
		counters, err := x.Counters()
		if err != nil {
			continue
		}
		for reason, n := range counters.All() {
			out <- prometheus.MustNewConstMetric(screenDesc, prometheus.CounterValue, float64(n.Packets), where, reason.String())
		}
	}
}
