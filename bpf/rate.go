package bpf

import (
	"sync/atomic"
	"time"
)

// A Rate lets Burst packets come at once, and one more Every so often. The zero
// value is the default of its place in Limits; Every below zero is no limit.
type Rate struct {
	Burst int
	Every time.Duration
}

// PerSecond is the rate of n packets a second, burst of them at once.
func PerSecond(n, burst int) Rate {
	return Rate{Burst: burst, Every: time.Second / time.Duration(max(n, 1))}
}

// Limits are the rates of the screen. IPv6 sources count by /64.
type Limits struct {
	Source     Rate // datagrams of one source; 100 a second, 200 at once
	Trusted    Rate // datagrams of one trusted flow; 500 a second, 1,000 at once
	Syn        Rate // new TCP connections of one source; 20 a second, 40 at once
	Trickle    Rate // what passes of a limited source; 1 a second
	Lane       Rate // emergency calls of one source whatever is held against it; 1 a second
	Lanes      Rate // emergency calls by the lane in all, per CPU; 100 a second, 100 at once
	NewSources Rate // sources that get a rate of their own, per CPU; 20,000 a second, 2,000 at once
}

func (l Limits) filled() Limits {
	def := func(r *Rate, v Rate) {
		if *r == (Rate{}) {
			*r = v
		}
	}
	def(&l.Source, PerSecond(100, 200))
	def(&l.Trusted, PerSecond(500, 1000))
	def(&l.Syn, PerSecond(20, 40))
	def(&l.Trickle, PerSecond(1, 1))
	def(&l.Lane, PerSecond(1, 1))
	def(&l.Lanes, PerSecond(100, 100))
	def(&l.NewSources, PerSecond(20000, 2000))
	return l
}

// gcra returns the rate as the generic cell rate algorithm wants it.
func (r Rate) gcra() screenRate {
	if r.Every <= 0 {
		return screenRate{}
	}
	return screenRate{Every: uint64(r.Every), Ahead: uint64(max(r.Burst, 1)-1) * uint64(r.Every)}
}

// options returns the configuration as both screens read it.
func (c Config) options() screenOptions {
	o := screenOptions{
		Layout:  layout,
		Stale:   uint64(c.Stale),
		Source:  c.Limits.Source.gcra(),
		Trusted: c.Limits.Trusted.gcra(),
		Syn:     c.Limits.Syn.gcra(),
		Trickle: c.Limits.Trickle.gcra(),
		Lane:    c.Limits.Lane.gcra(),
		Lanes:   c.Limits.Lanes.gcra(),
		Arrival: c.Limits.NewSources.gcra(),
	}
	for bit, on := range map[uint64]bool{passKeepalives: c.PassKeepalives, dropFragments: c.DropFragments, failClosed: c.FailClosed} {
		if on {
			o.Flags |= bit
		}
	}
	return o
}

// Of screen.h.
const (
	layout         = 1
	passKeepalives = 1
	dropFragments  = 2
	failClosed     = 4
	banLimit       = 1
	banOperator    = 2
	guardUDP       = 1
	guardTCP       = 2
)

// conform is the generic cell rate algorithm (ITU-T I.371) on one word, as in
// screen.c: next is the time up to which packets are paid for.
func conform(next *atomic.Uint64, now uint64, r screenRate) bool {
	for {
		old := next.Load()
		paid, ok := advance(old, now, r)
		if !ok {
			return false
		}
		if next.CompareAndSwap(old, paid) {
			return true
		}
	}
}

// advance returns the time up to which one more packet would be paid for, and
// whether the rate lets it come. A time further ahead than the rate can make is
// left from older settings.
func advance(next, now uint64, r screenRate) (uint64, bool) {
	if next <= now || next-now > r.Ahead+r.Every {
		next = now
	}
	if next-now > r.Ahead {
		return next, false
	}
	return next + r.Every, true
}
