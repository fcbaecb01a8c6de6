package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ringfence/intel/store"
)

func newRun(g *globals) *cobra.Command {
	f := new(runFlags)
	c := &cobra.Command{
		Use: "run", Short: "Run the daemon", Args: nothing,
		Example: "  ringfence run                       # on loopback, with everything built in and two demo accounts\n" +
			"  ringfence run --listen udp:203.0.113.2:5060 --next-hop udp:10.0.0.10:5060\n" +
			"  ringfence run --config /etc/ringfence/ringfence.yaml",
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), c.OutOrStdout(), g, f) },
	}
	f.register(c.Flags())
	return c
}

func run(ctx context.Context, w io.Writer, g *globals, f *runFlags) error {
	cfg, accounts, err := f.load(g)
	if err != nil {
		return err
	}
	if f.checkOnly {
		return f.checkAll(ctx, w, cfg)
	}
	// A guard shares its host with a PBX: some garbage is cheaper than much
	// collecting, within a bound. GOGC and GOMEMLIMIT stand over it.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	before := findState(cfg.Store.Dir)
	demo := *cfg.Location.Enabled && f.config == "" && len(f.listen) == 0 && len(accounts) == 0
	if demo {
		if accounts, err = demoAccounts(cfg.Store.Dir); err != nil {
			return errors.Join(err, before.undo())
		}
		// The sipp of Debian 12 reads only the first challenge, and only MD5.
		cfg.Guards.Auth.Algorithms = []string{"MD5", "SHA-256"}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	sockets, err := inheritedSockets(os.Getenv, os.Getpid())
	if err != nil {
		return err
	}
	d, err := newGuardian(ctx, cfg, accounts, guardianOptions{Out: w, Log: log, Sockets: sockets})
	if err != nil {
		return errors.Join(err, before.undo())
	}
	d.announce(os.Stderr, demo, accounts)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reloads := make(chan struct{})
	go func() {
		defer close(reloads)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				d.reload(ctx)
			}
		}
	}()
	if f.cpuProfile != "" {
		profile, err := os.Create(f.cpuProfile)
		if err == nil {
			err = pprof.StartCPUProfile(profile)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("CPU profile: %w", err), d.close())
		}
		defer profile.Close()
		defer pprof.StopCPUProfile()
	}
	notify("READY=1")
	err = d.Run(ctx)
	cancel()
	<-reloads
	return err
}

// demoAccounts makes alice and bob with passwords of their own, once.
func demoAccounts(dir string) ([]trial, error) {
	var out []trial
	for _, user := range []string{"alice", "bob"} {
		path := filepath.Join(dir, "demo", user)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			var b [8]byte
			rand.Read(b[:]) // never fails, crypto/rand
			text = []byte(hex.EncodeToString(b[:]))
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
				err = writeWhole(path, text, 0o600)
			}
		}
		if err != nil && (len(text) == 0 || !store.Refused(err)) { // else they hold for this run
			return nil, fmt.Errorf("demo accounts: %w", err)
		}
		out = append(out, trial{user, strings.TrimSpace(string(text))})
	}
	return out, nil
}

// announce says on standard error what listens where and what to type next;
// standard output is for log lines.
func (g *guardian) announce(w io.Writer, demo bool, accounts []trial) {
	fmt.Fprintf(w, "ringfence %s\n", version())
	for i, a := range g.proxy.Addresses() {
		fmt.Fprintf(w, "listening  %s:%s\n", g.cfg.Listen[i].Transport, a)
	}
	servers := map[string]string{}
	for _, n := range g.proxy.Names() {
		servers[n.Hop] = ", " + count(n.Servers, "server")
	}
	for _, h := range g.cfg.NextHops {
		fmt.Fprintf(w, "next hop   %s, %s:%s, pool %s%s\n", h.Name, h.Transport, h.Address, h.Pool, servers[h.Name])
	}
	if *g.cfg.Location.Enabled {
		fmt.Fprintln(w, "next hop   the built-in location service")
	}
	fmt.Fprintf(w, "rules      %s\n", g.policy.version())
	fmt.Fprintf(w, "filter     %s\n", g.screen.text)
	if g.auth.Local() {
		fmt.Fprintf(w, "accounts   %d in realm %s; ringfence authenticates\n", len(g.accounts.List()), g.cfg.Guards.Auth.Realm)
		if g.asksNobody() {
			fmt.Fprintf(w, "           warning: no rule in force asks for credentials, so whoever sends none passes; %s\n", unasked)
		}
	} else {
		fmt.Fprintln(w, "accounts   none here: the next hop authenticates, ringfence learns from its answers")
	}
	if g.cfg.Metrics != "off" {
		fmt.Fprintf(w, "metrics    http://%s/metrics\n", g.cfg.Metrics)
	}
	if g.mirror != nil {
		fmt.Fprintf(w, "mirror     HEPv3 to %s\n", g.cfg.Record.HEP.To)
	}
	fmt.Fprintf(w, "state      %s\n", g.cfg.Store.Dir)
	if !demo {
		return
	}
	at := g.proxy.Addresses()[0]
	fmt.Fprintln(w, "\nTwo accounts for trying it:")
	for _, a := range accounts {
		fmt.Fprintf(w, "  %-6s password %s\n", a.user, a.password)
	}
	fmt.Fprintf(w, `
Type next, each in a shell of its own in this directory (apt-get install sip-tester):

  sipp -sf tests/peers/register.xml -i 127.0.0.1 -p 5072 %[1]s -s bob -au bob -ap %[3]s -m 1 &&
    sipp -sf tests/peers/answer.xml -i 127.0.0.1 -p 5072 -s bob -m 1

  sipp -sf tests/peers/call.xml -i 127.0.0.1 -p 5071 %[1]s -s alice -au alice -ap %[2]s -key to bob -d 1000 -m 1

  ./ringfence status
  ./ringfence history
`, at, accounts[0].password, accounts[1].password)
}

// reload reads rules, certificates and databases again. What is broken stays
// as it was.
func (g *guardian) reload(ctx context.Context) {
	notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonicMicroseconds()))
	applied, err := g.applySource(ctx, g.policy.source, "SIGHUP")
	switch {
	case err != nil:
		g.log.Error("rules were not applied", "error", err)
	case len(applied.Problems) > 0:
		g.log.Error("rules were not applied", "problems", strings.Join(applied.Problems, "\n"))
	}
	for _, c := range g.certs {
		if err := c.Reload(); err != nil {
			g.log.Error("the old certificate stays in use", "error", err)
		}
	}
	if g.geo != nil {
		if err := g.geo.Reload(); err != nil {
			g.log.Error("the old geo database stays in use", "error", err)
		}
	}
	notify("READY=1")
}
