package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ringfence/console"
	"ringfence/intel/store"
)

// A state is the state directory as it was before the start.
type state struct {
	dir  string
	made string // the first directory on the way to it that was not there; "" if all were
}

func findState(dir string) state {
	s := state{dir: dir}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); err == nil || !errors.Is(err, os.ErrNotExist) {
			return s
		}
		s.made = at
	}
}

// undo removes what a start has made that failed.
func (s state) undo() error {
	if s.made == "" {
		return nil
	}
	return os.RemoveAll(s.made)
}

func (g *guardian) openStore() error {
	c := g.cfg.Store
	err := os.MkdirAll(c.Dir, 0o700)
	if err != nil && !store.Refused(err) { // else the store goes on in memory
		return fmt.Errorf("state directory: %w; give another with --state", err)
	}
	g.store, err = store.Open(filepath.Join(c.Dir, "store"), store.Options{Quota: int64(c.Quota), Memory: int64(c.Memory), Now: g.now, Log: g.log})
	return err
}

// unkept says that what the disk refuses to keep is in memory, and passes other
// errors on. Where the store is in memory too its own line has said it.
func (g *guardian) unkept(what string, err error) error {
	if !store.Refused(err) {
		return err
	}
	if g.store.Outage() == nil {
		g.log.Error(what+" cannot be kept on disk and is in memory", "error", err)
	}
	return nil
}

func (g *guardian) keyring(load func(dir, name string) (keyring, error), name string) (keyring, error) {
	k, err := load(g.cfg.Store.Dir, name)
	return k, g.unkept("key "+name, err)
}

// openConsole opens the control socket: in the state directory, or where the disk
// refuses that in a runtime directory.
func (g *guardian) openConsole() (err error) {
	sockets := []string{g.cfg.Control}
	if g.cfg.Control == "" {
		sockets = controlSockets(g.cfg.Store.Dir)
		for _, s := range sockets {
			if console.Answers(s) {
				return fmt.Errorf("control socket %s: %w", s, console.ErrRunning)
			}
		}
	}
	var errs []error
	for i, s := range sockets {
		if i > 0 {
			if err := ownDirectory(filepath.Dir(s)); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		g.console, err = console.New(console.Options{Socket: s, Daemon: g, Log: g.log})
		if err == nil {
			g.control = s
			return nil
		}
		if errs = append(errs, err); i == 0 && !store.Refused(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// storeText says where the store is.
func (g *guardian) storeText() string {
	size := g.store.Size() >> 20
	if out := g.store.Outage(); out != nil {
		return fmt.Sprintf("IN MEMORY since %s, %d MiB: %v; %s", out.Since.Format("2006-01-02 15:04"), size, out.Why, out.Do)
	}
	return fmt.Sprintf("on disk, %d MiB of %d MiB", size, int64(g.cfg.Store.Quota)>>20)
}

// examineState looks at the state directory.
func (g *guardian) examineState(say func(what string, ok bool, do, form string, args ...any)) {
	if aside := g.store.SetAside(); aside != "" {
		say("state", false, "see what the disk says (dmesg, smartctl); accounts are made again with `ringfence account add`", "the store was damaged: bans, accounts, calls and history began anew; what was is in %s", aside)
	}
	if out := g.store.Outage(); out != nil {
		read := fmt.Sprintf("%d entries were read from it", out.Read)
		if out.Left != nil {
			read += fmt.Sprintf(", and not all of it (%v)", out.Left)
		}
		say("state", false, out.Do+"; it is written again by itself, and what is decided until then is lost if ringfence ends before", "%s cannot be written, so everything is kept in memory: %v; %s", g.cfg.Store.Dir, out.Why, read)
	}
	if err := g.store.Unread(); err != nil {
		say("state", false, "restart ringfence", "some of what %s holds was not read at the start: %v", g.cfg.Store.Dir, err)
	}
	used, quota := g.store.Size(), int64(g.cfg.Store.Quota)
	say("store", used < quota, "raise store.quota or lower record.keep", "%s", g.storeText())
	say("control socket", true, "", "%s", g.control)
}

// inMemory is a warning for what was asked while the store is in memory; "" else.
func (g *guardian) inMemory() string {
	if out := g.store.Outage(); out != nil {
		return fmt.Sprintf("in force, but only in memory: %v; %s", out.Why, out.Do)
	}
	return ""
}
