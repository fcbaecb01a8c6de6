package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A Screen is the XDP program and its maps, loaded. Its methods are safe for
// concurrent use. With pins the program goes on without the process.
type Screen struct {
	config Config
	dir    string // where pins are; empty: nowhere
	why    string // dir is empty: the reason

	mu      sync.Mutex // of what is read, changed and written, and of links
	objects screenObjects
	links   map[string]link.Link
}

// Load verifies and loads the program. Maps that an earlier process pinned in
// Config.PinDir are taken over with all they hold; those of another layout or
// size are replaced, and bans, prefixes and flows copied. The program that an
// earlier process attached goes on until Attach swaps it. Without privileges or
// on an old kernel the error is that of Probe.
func Load(c Config) (*Screen, error) {
	if _, err := Probe(); err != nil {
		return nil, err
	}
	c = c.filled()
	s := &Screen{config: c, links: map[string]link.Link{}}
	s.dir, s.why = pinnable(c.PinDir)
	spec, err := loadScreen()
	if err != nil {
		return nil, fmt.Errorf("read the screen's object: %w", err)
	}
	for name, size := range map[string]int{
		screenMapBans: c.MaxBans, screenMapDeny: c.MaxDeny, screenMapAllow: c.MaxAllow,
		screenMapFlows: c.MaxFlows, screenMapRates: c.MaxRates, screenMapLanes: c.MaxLanes,
	} {
		spec.Maps[name].MaxEntries = uint32(size)
	}
	replaced, err := s.pinned(spec)
	if err != nil {
		return nil, err
	}
	defer closeAll(replaced)
	opts := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}}
	for name, m := range replaced {
		if m.reuse {
			opts.MapReplacements[name] = m.Map
		}
	}
	if err := spec.LoadAndAssign(&s.objects, opts); err != nil {
		return nil, fmt.Errorf("load the screen: %w", err)
	}
	if err := errors.Join(s.copy(replaced), s.Beat(time.Now()), s.Limits(c.Limits)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.pin(replaced); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Pinned returns the folder of the pins, or why there are none: the filter then
// ends with the process.
func (s *Screen) Pinned() (dir, why string) { return s.dir, s.why }

// Close lets go of the program and its maps. Pinned ones stay in force.
func (s *Screen) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	clear(s.links)
	return errors.Join(append(errs, s.objects.Close())...)
}

// pinnable returns the folder if it can hold pins, else why not.
func pinnable(dir string) (usable, why string) {
	if dir == "" {
		return "", "no folder for pins is set"
	}
	// The folder may be new: its parent decides.
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(dir), &fs); err != nil {
		return "", fmt.Sprintf("%s: %v", filepath.Dir(dir), err)
	}
	if fs.Type != unix.BPF_FS_MAGIC {
		return "", filepath.Dir(dir) + " is not a bpf file system: mount one with: mount -t bpf bpf /sys/fs/bpf"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err.Error()
	}
	return dir, ""
}

// A found map was pinned by an earlier process.
type found struct {
	*ebpf.Map
	reuse bool
}

func closeAll(m map[string]found) {
	for _, f := range m {
		_ = f.Close() // the collection has its own descriptor; nothing is lost
	}
}

func (s *Screen) mapPin(name string) string { return filepath.Join(s.dir, "map-"+name) }

func (s *Screen) linkPin(iface string) string { return filepath.Join(s.dir, "link-"+iface) }

// pinned opens what an earlier process left and tells which of it fits.
func (s *Screen) pinned(spec *ebpf.CollectionSpec) (map[string]found, error) {
	all := map[string]found{}
	if s.dir == "" {
		return all, nil
	}
	for name := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue // constants of the program, which belong to it
		}
		m, err := ebpf.LoadPinnedMap(s.mapPin(name), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("open the pinned map %s: %w", s.mapPin(name), err)
		}
		all[name] = found{Map: m}
	}
	var o screenOptions
	same := false
	if m, ok := all[screenMapSettings]; ok && m.ValueSize() >= 8 {
		raw, err := m.LookupBytes(uint32(0))
		same = err == nil && len(raw) == int(spec.Maps[screenMapSettings].ValueSize) && m.Lookup(uint32(0), &o) == nil && o.Layout == layout
	}
	for name, m := range all {
		m.reuse = same && spec.Maps[name].Compatible(m.Map) == nil
		all[name] = m
	}
	return all, nil
}

// copy fills new maps from those they replace, where keys and values are alike.
func (s *Screen) copy(old map[string]found) error {
	for name, m := range map[string]*ebpf.Map{
		screenMapBans: s.objects.Bans, screenMapDeny: s.objects.Deny, screenMapAllow: s.objects.Allow,
		screenMapFlows: s.objects.Flows, screenMapNumbers: s.objects.Numbers, screenMapPorts: s.objects.Ports,
	} {
		from, ok := old[name]
		if !ok || from.reuse || from.KeySize() != m.KeySize() || from.ValueSize() != m.ValueSize() {
			continue
		}
		var key, value []byte
		for it := from.Iterate(); it.Next(&key, &value); {
			if err := m.Put(key, value); err != nil && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ENOSPC) {
				return fmt.Errorf("copy the pinned map %s: %w", name, err)
			}
		}
	}
	return nil
}

// pin puts the new maps in the place of those they replace.
func (s *Screen) pin(old map[string]found) error {
	if s.dir == "" {
		return nil
	}
	for name, m := range s.maps() {
		if old[name].reuse {
			continue
		}
		if err := os.Remove(s.mapPin(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("unpin the map %s of another version: %w", name, err)
		}
		if err := m.Pin(s.mapPin(name)); err != nil {
			return fmt.Errorf("pin the map %s: %w", name, err)
		}
	}
	return nil
}

func (s *Screen) maps() map[string]*ebpf.Map {
	o := &s.objects
	return map[string]*ebpf.Map{
		screenMapAllow: o.Allow, screenMapBans: o.Bans, screenMapBudgets: o.Budgets, screenMapCounters: o.Counters,
		screenMapDeny: o.Deny, screenMapFlows: o.Flows, screenMapHeartbeat: o.Heartbeat, screenMapLanes: o.Lanes,
		screenMapNumbers: o.Numbers, screenMapPorts: o.Ports, screenMapRates: o.Rates, screenMapSettings: o.Settings,
	}
}

// Detach takes the program off every interface, also where an earlier process
// attached it, and removes the pins.
func (s *Screen) Detach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for iface, l := range s.links {
		// Closing an unpinned link detaches; Detach also ends one that is pinned.
		errs = append(errs, l.Detach(), l.Close())
		delete(s.links, iface)
	}
	if s.dir == "" {
		return errors.Join(errs...)
	}
	pins, err := os.ReadDir(s.dir)
	errs = append(errs, err)
	for _, pin := range pins {
		path := filepath.Join(s.dir, pin.Name())
		if strings.HasPrefix(pin.Name(), "link-") {
			if l, err := link.LoadPinnedLink(path, nil); err == nil {
				errs = append(errs, l.Detach(), l.Close())
			}
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(append(errs, os.Remove(s.dir))...)
}
