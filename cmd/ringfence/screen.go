package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ringfence/bpf"
	"ringfence/intel/bans"
)

// screen is what stands before the sockets: the kernel filter when it can be
// had, and its twin at the sockets in any case, for connections and loopback.
type screen struct {
	kernel *bpf.Screen // nil: no kernel filter
	soft   *bpf.Soft
	text   string // one line that says what there is and why
	pinned bool
	now    func() time.Time
}

func openScreen(c *config, emergency []string, now func() time.Time) (*screen, error) {
	s := &screen{now: now, text: "kernel filter off"}
	var err error
	if c.Screen.Mode != "off" {
		err = s.attach(c)
	}
	if err != nil {
		if c.Screen.Mode != "auto" {
			return nil, errors.Join(err, s.close())
		}
		s.text = "kernel filter off: " + err.Error()
	}
	// The twin judges rates only where they are wanted and XDP does not.
	s.soft = bpf.NewSoft(screenConfigOf(c, s.kernel != nil || c.Screen.Mode == "off" || onlyLoopback(c)))
	for _, to := range s.both() {
		if err := s.fill(to, c, emergency); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func screenConfigOf(c *config, bansOnly bool) bpf.Config {
	o := bpf.Config{MaxBans: c.Screen.Bans, FailClosed: c.Screen.FailClosed, PassKeepalives: true, BansOnly: bansOnly}
	o.Limits.Source = bpf.PerSecond(c.Screen.Rate, c.Screen.Burst)
	o.Limits.NewSources = bpf.PerSecond(c.Screen.NewSources, max(1, c.Screen.NewSources/10))
	return o
}

func onlyLoopback(c *config) bool {
	for _, l := range c.Listen {
		if !l.Address.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// attach loads the program and puts it on the interfaces.
func (s *screen) attach(c *config) error {
	names := c.Screen.Interfaces
	if len(names) == 0 {
		for _, l := range c.Listen {
			if l.Interface != "" {
				names = append(names, l.Interface)
			}
		}
	}
	if len(names) == 0 {
		var addrs []netip.AddrPort
		for _, l := range c.Listen {
			addrs = append(addrs, l.Address)
		}
		var err error
		if names, err = bpf.Interfaces(addrs); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return errors.New("the listen addresses are on loopback only (name lo with --interface to filter it)")
	}
	if _, err := bpf.Probe(); err != nil {
		return err
	}
	o := screenConfigOf(c, false)
	if c.Screen.Pin != "none" {
		o.PinDir = c.Screen.Pin
		if err := os.MkdirAll(filepath.Dir(o.PinDir), 0o700); err != nil {
			o.PinDir = ""
		}
	}
	kernel, err := bpf.Load(o)
	if err != nil {
		return err
	}
	s.kernel = kernel
	var on []string
	for _, name := range names {
		mode, err := kernel.Attach(name, bpf.Mode(c.Screen.Mode))
		if err != nil {
			s.kernel = nil
			return errors.Join(err, kernel.Detach(), kernel.Close())
		}
		on = append(on, fmt.Sprintf("%s on %s", mode, name))
	}
	s.text = "kernel filter " + strings.Join(on, ", ")
	if dir, why := kernel.Pinned(); why != "" {
		s.text += "; it ends with the daemon: " + why
	} else {
		s.text += "; pinned in " + dir
		s.pinned = true
	}
	return nil
}

// A screener is either half of the screen.
type screener interface {
	bans.Screen
	AllowOnly([]netip.Prefix) error
	Deny(netip.Prefix, time.Time) error
	Emergency([]string) error
	Ports([]bpf.Port) error
	Grace(netip.AddrPort, time.Time) error
	Beat(time.Time) error
	Sweep(time.Time) (int, error)
	Counters() (bpf.Counters, error)
}

func (s *screen) both() []screener {
	if s.kernel == nil {
		return []screener{s.soft}
	}
	return []screener{s.kernel, s.soft}
}

func (s *screen) all() []bans.Screen {
	var out []bans.Screen
	for _, x := range s.both() {
		out = append(out, x)
	}
	return out
}

// fill tells one half what the configuration says.
func (s *screen) fill(to screener, c *config, emergency []string) error {
	ports := map[uint16]bpf.Port{}
	for _, l := range c.Listen {
		p := ports[l.Address.Port()]
		p.Number = l.Address.Port()
		p.UDP, p.TCP = p.UDP || l.Transport == "udp", p.TCP || l.Transport != "udp"
		ports[p.Number] = p
	}
	var list []bpf.Port
	for _, p := range ports {
		list = append(list, p)
	}
	if len(emergency) > bpf.MaxNumbers {
		return fmt.Errorf("guards.numbers.emergency: %d numbers, with their prefixes, are more than the filter holds (%d)", len(emergency), bpf.MaxNumbers)
	}
	errs := []error{to.Beat(s.now()), to.Emergency(emergency), to.AllowOnly(allowed(c, c.literalHops()))}
	for _, p := range c.Screen.Deny {
		errs = append(errs, to.Deny(p, time.Time{}))
	}
	return errors.Join(append(errs, to.Ports(list))...)
}

// grace lets a flow in that is in an emergency call.
func (s *screen) grace(src netip.AddrPort, until time.Time) {
	for _, x := range s.both() {
		_ = x.Grace(src, until) // a full map leaves the emergency lane, which needs no entry
	}
}

// run beats and sweeps until ctx ends.
func (s *screen) run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			for _, x := range s.both() {
				if err := x.Beat(s.now()); err != nil {
					return fmt.Errorf("kernel filter: %w", err)
				}
				if _, err := x.Sweep(s.now()); err != nil {
					return fmt.Errorf("kernel filter: %w", err)
				}
			}
		}
	}
}

// close lets go of the filter; a pinned one stays in force.
func (s *screen) close() error {
	if s.kernel == nil {
		return nil
	}
	if s.pinned {
		return s.kernel.Close()
	}
	return errors.Join(s.kernel.Detach(), s.kernel.Close())
}
