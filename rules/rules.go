// Package rules reads rule files, checks them whole before anything of them is
// in force, and decides by them. It is the guard.Policy.
//
// It knows YAML and CEL and what a rule may say; it knows no network and no
// database. A file that loads cannot fail later for a reason that a checker
// could have found: names, types, stages, cost, lists and dates are all looked
// at by Load, and every problem is reported, not the first.
package rules

import (
	"time"

	"ringfence/guard"
)

// A Rule is one rule as it was loaded.
type Rule struct {
	ID         string
	Title      string
	Where      string // file:line
	Stage      guard.Stage
	Mode       Mode
	Action     guard.Action
	Until      time.Time // zero: for ever
	Owner      string
	Tags       []string
	References []string

	when    *condition
	with    guard.Verdict // what the action says
	match   bool          // on_error: match
	ban     *ban
	alert   *alert
	methods methodSet
	hits    *hits
}

// A Mode is whether a rule acts.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota
	Shadow
	Off
)

var modeTexts = []string{"enforce", "shadow", "off"}

// String is the mode as files write it.
func (m Mode) String() string { return modeTexts[m] }

// ban is what a rule's ban says.
type ban struct {
	by       string // src.ip or src.flow
	span     time.Duration
	escalate float64
	most     time.Duration
	unproven bool // ban also a source that may be forged
}

// alert is what a rule's alert says.
type alert struct {
	severity string
	every    time.Duration
	group    []*variable
}

// An exception keeps rules from acting for a while.
type exception struct {
	id    string
	rules []string // names with * at the end
	when  *condition
	until time.Time
}

// A rate is a counter; its value is the fact rate.NAME.
type rate struct {
	name     string
	stage    guard.Stage
	count    *condition // nil: every message
	distinct *variable  // nil: how many
	per      []*variable
	spec     guard.MeterSpec
	used     bool
	methods  methodSet
}
