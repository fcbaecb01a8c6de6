// Package bans is the book of who is kept away until when, and why.
//
// It takes bans from decisions and from people, puts them into the screens at
// once and on disk right after, and lets them end. It decides none of them.
package bans

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/guard"
)

// A Screen carries bans out. *bpf.Screen and *bpf.Soft are screens.
type Screen interface {
	Ban(p netip.Prefix, port uint16, until time.Time, limit bool) error
	Lift(p netip.Prefix, port uint16) error
}

// A Ban is one ban in the book, with what is needed to explain it.
type Ban struct {
	Prefix netip.Prefix      `json:"prefix"`
	Port   uint16            `json:"port,omitempty"` // 0: all of the prefix
	Limit  bool              `json:"limit,omitempty"`
	At     time.Time         `json:"at"`
	Until  time.Time         `json:"until"`
	Rule   string            `json:"rule"`
	Reason string            `json:"reason,omitempty"`
	Repeat int               `json:"repeat,omitempty"` // how often before, of its kind
	Bans   int               `json:"bans,omitempty"`   // bans of this source that are over
	Limits int               `json:"limits,omitempty"` // limits of it that are over
	Facts  map[string]string `json:"facts,omitempty"`  // what the rule read
	Lifted time.Time         `json:"lifted,omitzero"`  // kept for its count; why is Reason
}

// Live tells whether the ban is in force.
func (b Ban) Live(now time.Time) bool { return b.Lifted.IsZero() && now.Before(b.Until) }

// Options says how much is remembered.
type Options struct {
	Max      int           // bans and limits, live and remembered; default 262,144
	Queue    int           // limits that wait for the disk; default 8192
	Remember time.Duration // how long a ban's count outlives it; default 24 h
	Sweep    time.Duration // between looks for what is over; default 10 s
	// Protected says why a prefix is never banned, "" if it may be.
	Protected func(netip.Prefix) string
	// Alert is told when a protected prefix would have been banned.
	Alert func(guard.Alert)
	Now   func() time.Time
	Log   *slog.Logger
}

type key struct {
	prefix netip.Prefix
	port   uint16
}

// A Book holds the bans. It is safe for concurrent use.
type Book struct {
	store   guard.Store
	screens []Screen
	o       Options

	disk sync.Mutex   // one write at a time, so that the last one is the newest; before mu
	mu   sync.Mutex   // guards what follows and the order of what the screens are told
	all  map[key]*Ban // what it points at is never changed
	lost uint64
	dirty
}

// Open reads the bans back and puts the live ones into the screens.
func Open(ctx context.Context, s guard.Store, o Options, screens ...Screen) (*Book, error) {
	if o.Max <= 0 {
		o.Max = 262144
	}
	if o.Queue <= 0 {
		o.Queue = 8192
	}
	if o.Remember <= 0 {
		o.Remember = 24 * time.Hour
	}
	if o.Sweep <= 0 {
		o.Sweep = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Book{store: s, screens: screens, o: o, all: map[key]*Ban{}, dirty: newDirty()}
	now := o.Now()
	full := false // of bans in force alone
	for item, err := range s.Scan(ctx, []byte("b/"), false) {
		if err != nil {
			return nil, fmt.Errorf("bans: %w", err)
		}
		x := new(Ban)
		if err := json.Unmarshal(item.Value, x); err != nil {
			return nil, fmt.Errorf("bans: %q is damaged: %w", item.Key, err)
		}
		if len(b.all) >= o.Max && (full || !x.Live(now) || !b.room(x, now)) {
			full = full || x.Live(now) && !x.Limit
			b.lost++
			continue
		}
		b.all[key{x.Prefix, x.Port}] = x
		if x.Live(now) {
			if err := b.screen(x); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

func (b *Book) screen(x *Ban) error {
	var errs []error
	for _, s := range b.screens {
		if err := s.Ban(x.Prefix, x.Port, x.Until, x.Limit); err != nil {
			errs = append(errs, fmt.Errorf("ban %s: %w", x.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

// Decided carries out the bans of a decision. It is a guard.Sink: memory and
// screens at once, the disk by Run.
func (b *Book) Decided(d *guard.Decision) {
	for i := range d.Bans {
		x := &d.Bans[i]
		ban := Ban{
			Prefix: x.Prefix, Port: x.Port, Limit: x.Limit, At: x.At, Until: x.Until, Rule: x.Rule, Reason: strings.Clone(x.Reason),
			Facts: facts(d, x.Rule),
		}
		if err := b.put(&ban, x.For, x.Escalate, x.AtMost); err != nil {
			b.o.Log.Warn("ban", "error", err)
		}
	}
}

// longest is how much of what a message said is kept with a ban.
const longest = 256

func facts(d *guard.Decision, rule string) map[string]string {
	for _, m := range d.Matches {
		if m.Rule == rule {
			out := map[string]string{}
			for _, a := range m.Facts {
				out[a.Fact] = strings.Clone(a.Value[:min(len(a.Value), longest)]) // the decision is used again
			}
			return out
		}
	}
	return nil
}

// Ban bans by hand: it is on disk when it returns.
func (b *Book) Ban(ctx context.Context, x Ban) error {
	p, err := canonical(x.Prefix)
	if err != nil {
		return err
	}
	x.Prefix = p
	if why := b.protected(p); why != "" {
		return fmt.Errorf("%s cannot be banned: %s", p, why)
	}
	if err := b.put(&x, x.Until.Sub(x.At), 1, 0); err != nil {
		return err
	}
	return b.writeSoon(ctx, key{p, x.Port})
}

// ErrUnwritten tells that a ban or lift is in force and that the disk refused it:
// until it takes it, which is tried again and again, a restart forgets it.
var ErrUnwritten = errors.New("in force, but not on disk yet")

// writeSoon writes an entry, now or when the disk takes it.
func (b *Book) writeSoon(ctx context.Context, k key) error {
	if err := b.write(ctx, k); err != nil {
		b.again(k)
		return fmt.Errorf("%w: %w", ErrUnwritten, err)
	}
	return nil
}

// canonical is the prefix without host bits, an IPv4 one as IPv4.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if !p.IsValid() {
		return p, fmt.Errorf("%s is no prefix that can be banned", p)
	}
	return p.Masked(), nil
}

func (b *Book) protected(p netip.Prefix) string {
	if b.o.Protected == nil {
		return ""
	}
	return b.o.Protected(p)
}

// put notes a ban. Repeats lengthen it; a ban stands over a limit, of two alike
// the one that ends later stands, and a lift over what was asked for before it.
func (b *Book) put(x *Ban, span time.Duration, escalate float64, most time.Duration) error {
	p, err := canonical(x.Prefix)
	if err != nil {
		return err
	}
	x.Prefix = p
	if why := b.protected(p); why != "" {
		if b.o.Alert != nil {
			b.o.Alert(guard.Alert{
				Rule: x.Rule, Title: "A protected address would have been banned", Severity: "high", Group: p.String(),
				Every: 15 * time.Minute, At: x.At, Text: fmt.Sprintf("rule %s asked to ban %s: %s", x.Rule, p, why),
			})
		}
		return nil
	}
	k := key{p, x.Port}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.all[k]
	if old != nil {
		x.count(old)
	}
	if escalate > 1 && x.Repeat > 0 {
		x.Until = x.At.Add(longer(span, escalate, x.Repeat, most))
	}
	if old != nil && old.stands(x) {
		return nil
	}
	if old == nil && len(b.all) >= b.o.Max && !b.room(x, x.At) {
		b.lost++
		return fmt.Errorf("the book of bans is full (%d): %s is not in it", b.o.Max, p)
	}
	b.all[k] = x
	b.later(k, x.Limit)
	return b.screen(x)
}

// count takes over from the ban before it how many there were of each kind.
func (b *Ban) count(old *Ban) {
	b.Bans, b.Limits = old.Bans, old.Limits
	if !old.Live(b.At) && !b.At.Before(old.Lifted) {
		if old.Limit {
			b.Limits++
		} else {
			b.Bans++
		}
	}
	if b.Repeat = b.Bans; b.Limit {
		b.Repeat = b.Limits
	}
}

// stands tells whether a ban outlasts another of the same source. Less than a
// second of difference is none: a flood would write at every message.
func (b *Ban) stands(x *Ban) bool {
	switch {
	case !b.Lifted.IsZero():
		return x.At.Before(b.Lifted)
	case !b.Live(x.At):
		return false
	case b.Limit != x.Limit:
		return x.Limit
	}
	return x.Until.Sub(b.Until) < time.Second
}

// longer is the span times the factor for each repeat, at most the cap and in
// any case 400 days.
func longer(span time.Duration, factor float64, repeat int, most time.Duration) time.Duration {
	ceiling := float64(400 * 24 * time.Hour)
	if most > 0 {
		ceiling = min(ceiling, float64(most))
	}
	return time.Duration(min(float64(span)*math.Pow(factor, float64(repeat)), ceiling))
}

// room makes room for a ban: something that is over, else the limit that ends
// first, of a few that are looked at. A limit takes no ban's place, nor that of
// a limit that ends later. Only for a ban is the whole book looked through.
func (b *Book) room(x *Ban, now time.Time) bool {
	var out *Ban
	looked := 0
	for _, old := range b.all {
		if looked++; looked > 64 && (x.Limit || out != nil) {
			break
		}
		if !old.Live(now) {
			out = old
			break
		}
		if old.Limit && (!x.Limit || old.Until.Before(x.Until)) && (out == nil || old.Until.Before(out.Until)) {
			out = old
		}
	}
	if out == nil {
		return false
	}
	k := key{out.Prefix, out.Port}
	delete(b.all, k)
	b.later(k, true) // one that stays on disk ends by itself
	if err := b.unscreen(out); err != nil {
		b.o.Log.Warn("ban", "error", err)
	}
	return true
}

func (b *Book) unscreen(x *Ban) error {
	var errs []error
	for _, s := range b.screens {
		if err := s.Lift(x.Prefix, x.Port); err != nil {
			errs = append(errs, fmt.Errorf("lift %s: %w", x.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

// Lift ends every live ban within p and returns them. If p is one address, that
// is every ban that keeps it away, wider ones too.
func (b *Book) Lift(ctx context.Context, p netip.Prefix, why string) ([]Ban, error) {
	p, err := canonical(p)
	if err != nil {
		return nil, err
	}
	now := b.o.Now()
	var lifted []Ban
	var errs []error
	b.mu.Lock()
	for k, x := range b.all {
		if !x.Live(now) || !p.Overlaps(k.prefix) || p.Bits() > k.prefix.Bits() && !p.IsSingleIP() {
			continue
		}
		was := *x
		lifted = append(lifted, was)
		was.Lifted = now
		if why != "" {
			was.Reason = "lifted: " + why
		}
		b.all[k] = &was
		errs = append(errs, b.unscreen(x))
	}
	b.mu.Unlock()
	for _, x := range lifted {
		errs = append(errs, b.writeSoon(ctx, key{x.Prefix, x.Port}))
	}
	sort(lifted)
	return lifted, errors.Join(errs...)
}

func sort(list []Ban) {
	slices.SortFunc(list, func(x, y Ban) int {
		if c := x.Prefix.Addr().Compare(y.Prefix.Addr()); c != 0 {
			return c
		}
		return cmp.Or(x.Prefix.Bits()-y.Prefix.Bits(), int(x.Port)-int(y.Port))
	})
}

// All are the live bans and limits by address.
func (b *Book) All() iter.Seq[Ban] {
	now := b.o.Now()
	b.mu.Lock()
	var list []Ban
	for x := range maps.Values(b.all) {
		if x.Live(now) {
			list = append(list, *x)
		}
	}
	b.mu.Unlock()
	sort(list)
	return slices.Values(list)
}

// Find are the live bans that keep an address away.
func (b *Book) Find(a netip.Addr) []Ban {
	a = a.Unmap()
	now := b.o.Now()
	var found []Ban
	b.mu.Lock()
	for k, x := range b.all {
		if k.prefix.Contains(a) && x.Live(now) {
			found = append(found, *x)
		}
	}
	b.mu.Unlock()
	sort(found)
	return found
}

// Counts are the live bans, the live limits, and the changes that found no
// room.
func (b *Book) Counts() (bans, limits int, lost uint64) {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.all {
		switch {
		case !x.Live(now):
		case x.Limit:
			limits++
		default:
			bans++
		}
	}
	return bans, limits, b.lost
}
