package rules

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"ringfence/guard"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var errNoDatabase = errors.New("no database")

// fakeFacts are facts whose values a test sets by name in given; a fact in
// broken cannot be had. asked counts who was asked.
type fakeFacts struct {
	given  map[string]guard.Value
	broken map[string]bool
	asked  map[string]int
}

var fakeKinds = []struct {
	name  string
	typ   guard.Type
	stage guard.Stage
}{
	{"sip.method", guard.String, guard.StageMessage},
	{"sip.new_call", guard.Bool, guard.StageMessage},
	{"sip.user_agent", guard.String, guard.StageMessage},
	{"sip.to_user", guard.String, guard.StageMessage},
	{"sip.size", guard.Int, guard.StageMessage},
	{"src.ip", guard.IP, guard.StageMessage},
	{"src.flow", guard.String, guard.StageMessage},
	{"src.country", guard.String, guard.StageMessage},
	{"src.inside", guard.Bool, guard.StageMessage},
	{"msg.time", guard.Time, guard.StageMessage},
	{"dst.emergency", guard.Bool, guard.StageMessage},
	{"auth.result", guard.String, guard.StageIdentity},
	{"auth.user", guard.String, guard.StageIdentity},
	{"dst.e164", guard.String, guard.StageCall},
	{"dst.country", guard.String, guard.StageCall},
	{"acct.age", guard.Duration, guard.StageCall},
	{"reply.status", guard.Int, guard.StageReply},
	{"call.duration", guard.Duration, guard.StageEnd},
}

func (f *fakeFacts) guards() []*guard.Guard {
	g := &guard.Guard{Name: "fake"}
	f.asked = map[string]int{}
	for _, k := range fakeKinds {
		g.Facts = append(g.Facts, guard.Fact{
			Name: k.name, Type: k.typ, Stage: k.stage, Doc: "A fact of the test.",
			Get: func(_ context.Context, facts *guard.Facts) (guard.Value, error) {
				f.asked[k.name]++
				if f.broken[k.name] {
					return guard.Value{}, errNoDatabase
				}
				if v, ok := f.given[k.name]; ok {
					return v, nil
				}
				if k.name == "src.ip" {
					return guard.Address(facts.Message().Src.Addr()), nil
				}
				return guard.Value{Type: k.typ}, nil
			},
		})
	}
	return []*guard.Guard{g}
}

// countingMeters count exactly and for ever: windows are intel's to test.
type countingMeters struct {
	specs []guard.MeterSpec
	count map[meterKey]int64
	items map[meterKey]map[uint64]bool
}

type meterKey struct{ spec, key uint64 }

func (c *countingMeters) at(i int, key uint64) meterKey { return meterKey{c.specs[i].Hash, key} }

func (c *countingMeters) Add(i int, key uint64, n int64, _ time.Time) int64 {
	c.count[c.at(i, key)] += n
	return c.count[c.at(i, key)]
}

func (c *countingMeters) AddDistinct(i int, key, item uint64, _ time.Time) int64 {
	at := c.at(i, key)
	if c.items[at] == nil {
		c.items[at] = map[uint64]bool{}
	}
	c.items[at][item] = true
	return int64(len(c.items[at]))
}

func (c *countingMeters) Value(i int, key uint64, _ time.Time) int64 {
	at := c.at(i, key)
	return c.count[at] + int64(len(c.items[at]))
}

func (c *countingMeters) Respec(specs []guard.MeterSpec) guard.Counters {
	if c.count == nil {
		c.count, c.items = map[meterKey]int64{}, map[meterKey]map[uint64]bool{}
	}
	c.specs = slices.Clone(specs)
	return c
}

// loadFiles loads name, text pairs; names that end in .yaml are rule files.
func loadFiles(facts *fakeFacts, m guard.Meters, pairs ...string) (*Set, []Problem, *guard.Engine) {
	fsys, names := fstest.MapFS{}, []string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		if i == 0 || slices.Contains([]string{"b.yaml", "c.yaml"}, pairs[i]) {
			names = append(names, pairs[i])
		}
	}
	if len(pairs) == 0 {
		names = nil
	}
	guards := facts.guards()
	set, problems := Load(fsys, names, NewEnv(guards), LoadOptions{Now: noon})
	if set == nil {
		return nil, problems, nil
	}
	if m != nil {
		set.Count(m)
	}
	e, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: set, Now: func() time.Time { return noon }})
	if err != nil {
		panic(err)
	}
	return set, problems, e
}

// A bench judges messages by the rules of a test.
type bench struct {
	t      *testing.T
	facts  *fakeFacts
	meters *countingMeters
	set    *Set
	engine *guard.Engine
	source string
	proven bool
}

func newBench(t *testing.T, text string) *bench {
	t.Helper()
	b := &bench{t: t, facts: &fakeFacts{given: map[string]guard.Value{}, broken: map[string]bool{}}, meters: new(countingMeters), source: "203.0.113.9:5060", proven: true}
	files := []string{"a.yaml", text}
	if text == "" {
		files = nil
	}
	var problems []Problem
	b.set, problems, b.engine = loadFiles(b.facts, b.meters, files...)
	if b.set == nil {
		t.Fatalf("the rules do not load: %v", problems)
	}
	return b
}

const rawInvite = "INVITE sip:100@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n" +
	"From: <sip:1001@acme.example>;tag=1\r\nTo: <sip:100@acme.example>\r\nCall-ID: q@203.0.113.9\r\nCSeq: 1 INVITE\r\n" +
	"Contact: <sip:1001@203.0.113.9>\r\nContent-Length: 0\r\n\r\n"

func (b *bench) message() *guard.Message {
	b.t.Helper()
	m, err := guard.Parse([]byte(rawInvite), noon, netip.MustParseAddrPort(b.source), netip.MustParseAddrPort("198.51.100.1:5060"), guard.UDP)
	if err != nil {
		b.t.Fatal(err)
	}
	m.Proven = b.proven
	return m
}

func (b *bench) judge() *guard.Decision {
	b.t.Helper()
	d := new(guard.Decision)
	b.engine.Judge(context.Background(), b.message(), d)
	return d
}

// matched writes out what matched: a, b [shadow].
func matched(d *guard.Decision) string {
	text := ""
	for _, m := range d.Matches {
		if text += " " + m.Rule; m.Mode != guard.Enforced {
			text += fmt.Sprintf("[%s]", m.Mode)
		}
	}
	return text
}
