package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"ringfence/console"
	"ringfence/guard"
	"ringfence/guard/auth"
	"ringfence/guard/numbers"
	"ringfence/intel/accounts"
	"ringfence/intel/bans"
	"ringfence/intel/geo"
	"ringfence/intel/meter"
	plan "ringfence/intel/numbers"
	"ringfence/intel/store"
	"ringfence/proxy"
	"ringfence/record"
	"ringfence/record/hep"
	"ringfence/record/tap"
)

// guardianOptions are what tests and the demo want otherwise.
type guardianOptions struct {
	Sinks []guard.Sink // hear of every decision as well
	Out   io.Writer    // for log lines; default standard output
	// Sockets are open already and go to the listeners of their addresses.
	Sockets []*os.File
	Log     *slog.Logger
}

// A guardian is the whole daemon, wired.
type guardian struct {
	cfg     *config
	now     func() time.Time
	started time.Time
	log     *slog.Logger

	store    *store.Badger
	accounts *accounts.Book
	geo      *geo.DB // nil without a database
	meters   *meter.Meters
	bans     *bans.Book
	recorder *record.Recorder
	tap      *tap.Tap
	mirror   *hep.Mirror // nil: nothing is mirrored
	screen   *screen
	peers    *peers
	auth     *auth.Auth
	policy   *policy
	applying sync.Mutex // guards what policy holds
	engine   *guard.Engine
	proxy    *proxy.Proxy
	console  *console.Console
	control  string // the socket of console
	metrics  *prometheus.Registry
	scraped  net.Listener // nil: metrics are off
	tally    *tally
	certs    []*certificate
	logFile  *os.File
}

// newGuardian opens and checks everything, and starts nothing. What it opened
// it closes again when something is wrong.
func newGuardian(ctx context.Context, c *config, trials []trial, o guardianOptions) (g *guardian, err error) {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g = &guardian{cfg: c, now: time.Now, started: time.Now(), log: o.Log, metrics: prometheus.NewRegistry(), tally: newTally()}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	g.metrics.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := g.openStore(); err != nil {
		return g, err
	}
	if g.accounts, err = accounts.Open(ctx, g.store, accounts.Options{Now: g.now}); err != nil {
		return g, err
	}
	for _, t := range trials {
		if err := g.trial(ctx, t); err != nil {
			return g, err
		}
	}
	if len(c.Geo) > 0 {
		g.geo = geo.Open(geo.Options{Paths: c.Geo, Log: g.log})
	}
	g.meters = meter.New(meter.Options{Keys: c.Limits.Meters, Store: g.store, Now: g.now, Log: g.log})
	if err := g.openRecorder(o); err != nil {
		return g, err
	}
	if err := g.openTap(); err != nil {
		return g, err
	}
	emergencies, err := numbers.NewEmergencies(c.Guards.Numbers)
	if err != nil {
		return g, err
	}
	if g.screen, err = openScreen(c, emergencies.Numbers(), g.now); err != nil {
		return g, err
	}
	g.peers = newPeers(c, g.screen, g.log)
	g.bans, err = bans.Open(ctx, g.store, bans.Options{
		Max: c.Screen.Bans, Protected: g.protected, Alert: g.recorder.Alert, Now: g.now, Log: g.log,
	}, g.screen.all()...)
	if err != nil {
		return g, err
	}
	if err := g.openEngine(o); err != nil {
		return g, err
	}
	if err := g.openProxy(emergencies, o.Sockets); err != nil {
		return g, err
	}
	if err := g.openMetrics(); err != nil {
		return g, err
	}
	if err := g.openConsole(); err != nil {
		return g, err
	}
	g.register()
	return g, nil
}

// trial adds an account of the command line, or gives it its password again.
func (g *guardian) trial(ctx context.Context, t trial) error {
	realm := g.cfg.Guards.Auth.Realm
	ha1 := auth.HA1(t.user, realm, t.password)
	err := g.accounts.Add(ctx, guard.Account{User: t.user, Realm: realm, HA1: ha1})
	if errors.Is(err, accounts.ErrExists) {
		err = g.accounts.Passwd(ctx, realm, t.user, ha1)
	}
	return err
}

func (g *guardian) openRecorder(o guardianOptions) error {
	c := g.cfg.Record
	var lines record.Line
	switch c.Log {
	case "off":
	case "-":
		lines = record.JSONLines(o.Out, version())
	default:
		f, err := os.OpenFile(c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		switch {
		case err == nil:
			g.logFile = f
			lines = record.JSONLines(f, version())
		case store.Refused(err):
			g.log.Error("record.log cannot be written: its lines go to standard output", "error", err)
			lines = record.JSONLines(o.Out, version())
		default:
			return fmt.Errorf("record: log: %w", err)
		}
	}
	var channels []record.Channel
	for _, w := range c.Webhooks {
		hook := &record.Webhook{URL: w.URL}
		if path, ok := strings.CutPrefix(w.Secret, "file:"); ok {
			secret, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("record: webhook secret: %w", err)
			}
			hook.Secret = []byte(strings.TrimSpace(string(secret)))
		}
		channels = append(channels, hook)
	}
	g.recorder = record.New(record.Options{
		Store: g.store, Keep: c.Keep, Passes: c.Passes, Mask: c.Mask, Lines: lines, Alerts: channels, Metrics: g.metrics,
		Version: version(), Now: g.now, Log: g.log,
	})
	return nil
}

// protected says why a prefix must not be banned.
func (g *guardian) protected(p netip.Prefix) string {
	for _, a := range g.cfg.Screen.Allow {
		if a.Overlaps(p) {
			return "it is in screen.allow"
		}
	}
	if name := g.peers.within(p); name != "" {
		return "it is next hop " + name
	}
	return ""
}

// lateDialogs are the proxy's calls for guards that are made before it.
type lateDialogs struct{ at atomic.Pointer[guard.Dialogs] }

func (l *lateDialogs) Up(account string) int {
	if d := l.at.Load(); d != nil {
		return (*d).Up(account)
	}
	return 0
}

func (l *lateDialogs) Has(m *guard.Message) bool {
	if d := l.at.Load(); d != nil {
		return (*d).Has(m)
	}
	return false
}

func (g *guardian) openEngine(o guardianOptions) error {
	keys, err := g.keyring(loadKeyring, "nonce")
	if err != nil {
		return err
	}
	host := guard.Host{
		Log: g.log, Now: g.now, Metrics: g.metrics, Store: g.store, Meters: g.meters, Numbers: plan.New(plan.Options{}),
		Accounts: g.accounts, Dialogs: new(lateDialogs),
	}
	if g.geo != nil {
		host.Geo = g.geo
	}
	guards, a, err := makeGuards(g.cfg.Guards, host, keys, g.started)
	if err != nil {
		return err
	}
	g.auth = a
	rates, err := g.keyring(loadKeyring, "rates")
	if err != nil {
		return err
	}
	if g.policy, err = newPolicy(g.cfg.Rules, guards, g.meters, rates); err != nil {
		return err
	}
	g.engine, err = guard.NewEngine(guard.EngineOptions{
		Guards: guards, Policy: g.policy.set, Now: g.now, Log: g.log,
		Sinks: append([]guard.Sink{g.bans, g.recorder, g.tally, g.tap}, o.Sinks...),
	})
	if err != nil {
		return err
	}
	g.policy.dialogs = host.Dialogs.(*lateDialogs)
	return nil
}

// Run serves until ctx ends, joins everything, and closes it.
func (g *guardian) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	// What is written to is stopped after those who write to it.
	after, stop := context.WithCancel(context.WithoutCancel(ctx))
	var last sync.WaitGroup
	runs := []func(context.Context) error{g.store.Run, g.bans.Run, g.recorder.Run, g.meters.Run}
	if g.mirror != nil {
		runs = append(runs, g.mirror.Run)
	}
	lastErr := make([]error, len(runs))
	for i, run := range runs {
		last.Go(func() { lastErr[i] = run(after) })
	}
	group.Go(func() error { return g.proxy.Run(ctx) })
	group.Go(func() error { return g.engine.Run(ctx) })
	group.Go(func() error { return g.console.Run(ctx) })
	group.Go(func() error { return g.screen.run(ctx) })
	if g.geo != nil {
		group.Go(func() error { return g.geo.Run(ctx) })
	}
	if g.scraped != nil {
		group.Go(func() error { return g.serveMetrics(ctx) })
	}
	err := group.Wait()
	stop()
	last.Wait()
	return errors.Join(err, errors.Join(lastErr...), g.close())
}

// close closes what is open, the store last.
func (g *guardian) close() error {
	var errs []error
	if g.screen != nil {
		errs = append(errs, g.screen.close())
	}
	if g.mirror != nil {
		g.mirror.Close()
	}
	if g.scraped != nil {
		_ = g.scraped.Close() // closed already if it was served
	}
	if g.console != nil {
		g.console.Close()
	}
	if g.logFile != nil {
		errs = append(errs, g.logFile.Close())
	}
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	return errors.Join(errs...)
}

// filterText says in a few words where the kernel filter is.
func (g *guardian) filterText() string { return g.screen.text }

// screenDrops is how many packets the kernel filter dropped, for people.
func (g *guardian) screenDrops() string {
	if g.screen.kernel == nil {
		return "no kernel filter"
	}
	counters, err := g.screen.kernel.Counters()
	if err != nil {
		return err.Error()
	}
	return strconv.FormatUint(counters.Dropped().Packets, 10)
}
