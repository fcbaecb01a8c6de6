package rules

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/dchest/siphash"

	"ringfence/guard"
)

// memory is what one judgement at one stage needs: the answers in CEL's form.
// It is pooled. Making a text or a large number into a CEL value costs an
// allocation, so what was made is kept for the next message: phones say the
// same things again and again, and a passing message then costs none. What is
// kept is bounded by the number of facts.
type memory struct {
	set   *Set
	ctx   context.Context //nolint:containedctx // lives for one Decide only, as CEL's interface takes none
	facts *guard.Facts
	at    time.Time
	vars  map[string]*answer
	terms []termState
	rates []rateState
	text  []byte // what is hashed
}

type answer struct {
	v     *variable
	ip    *ipVal
	boxes [4]ref.Val // texts of late, for the next message
	turn  uint8
	err   error   // why it could not be had of late
	fail  ref.Val // what CEL is told then
}

type termState struct {
	known bool
	val   ref.Val
}

type rateState struct {
	known bool
	n     int64
	err   ref.Val // why it cannot be known
}

var _ interpreter.Activation = (*memory)(nil)

func newMemory(s *Set) *memory {
	m := &memory{set: s, vars: map[string]*answer{}, terms: make([]termState, s.terms), rates: make([]rateState, len(s.rates))}
	learn := func(c *condition) {
		if c == nil {
			return
		}
		for _, v := range c.reads {
			if m.vars[v.name] == nil {
				m.vars[v.name] = &answer{v: v, ip: new(ipVal)}
			}
		}
	}
	for _, r := range s.rules {
		learn(r.when)
		if r.alert != nil {
			for _, v := range r.alert.group {
				m.vars[v.name] = &answer{v: v, ip: new(ipVal)}
			}
		}
	}
	for _, x := range s.exceptions {
		learn(x.when)
	}
	for _, r := range s.rates {
		learn(r.count)
	}
	for _, l := range s.lists {
		m.vars[l.name] = &answer{v: l}
	}
	for changed := true; changed; { // terms use terms
		before := len(m.vars)
		for _, a := range m.vars {
			if a.v.term != nil {
				learn(a.v.term)
			}
		}
		changed = len(m.vars) != before
	}
	return m
}

func (m *memory) start(ctx context.Context, f *guard.Facts) {
	m.ctx, m.facts, m.at = ctx, f, f.Message().At
	clear(m.terms)
	clear(m.rates)
}

// Parent is interpreter.Activation's: there is none.
func (*memory) Parent() interpreter.Activation { return nil }

// ResolveName is interpreter.Activation's. A fact that cannot be had is a CEL
// error, which && and || may still decide without.
func (m *memory) ResolveName(name string) (any, bool) {
	a := m.vars[name]
	if a == nil {
		return nil, false
	}
	switch v := a.v; {
	case v.list != nil:
		return v.list, true
	case v.rate != nil:
		n, err := m.rate(v)
		if err != nil {
			return err, true
		}
		return integer(n), true
	case v.term != nil:
		t := &m.terms[v.slot]
		if !t.known {
			t.known, t.val = true, m.eval(v.term)
		}
		return t.val, true
	}
	got, err := m.facts.AskID(m.ctx, a.v.fact)
	if err != nil {
		return a.failed(err), true
	}
	return a.box(got), true
}

// eval runs a condition; an error is a value.
func (m *memory) eval(c *condition) ref.Val {
	out, _, err := c.program.Eval(m)
	if err != nil {
		return types.WrapErr(err)
	}
	return out
}

// rate is the value of a rate: what was counted with this message, or what
// stands without it. It cannot be known when the message could not be counted.
func (m *memory) rate(v *variable) (int64, ref.Val) {
	s := &m.rates[v.slot]
	if s.known || s.err != nil || m.set.counters == nil {
		return s.n, s.err
	}
	key, err := m.key(v.rate)
	if err != nil {
		s.err = types.WrapErr(err)
		return 0, s.err
	}
	s.known = true
	s.n = m.set.counters.Value(v.slot, key, m.at)
	return s.n, nil
}

// small numbers are boxed once for all.
var small = func() (b [1024]ref.Val) {
	for i := range b {
		b[i] = types.Int(i)
	}
	return b
}()

func integer(n int64) ref.Val {
	if 0 <= n && n < int64(len(small)) {
		return small[n]
	}
	return types.Int(n)
}

// failed makes an error a CEL value. Facts say the same error for as long as they
// live, also when it is about another message.
func (a *answer) failed(err error) ref.Val {
	if a.err != err { //nolint:errorlint // the same one, not the same kind
		a.err, a.fail = err, types.WrapErr(err)
	}
	return a.fail
}

// box makes a fact's value a CEL value.
func (a *answer) box(v guard.Value) ref.Val {
	switch v.Type {
	case guard.String:
		s := v.Str()
		if s == "" {
			return empty
		}
		for _, b := range a.boxes {
			if b != nil && string(b.(types.String)) == s {
				return b
			}
		}
		b := ref.Val(types.String(strings.Clone(s))) // s may alias the message
		a.boxes[a.turn&3] = b
		a.turn++
		return b
	case guard.Int:
		return integer(v.Int())
	case guard.Bool:
		return types.Bool(v.True())
	case guard.IP:
		a.ip.addr = v.IP()
		return a.ip
	case guard.Time:
		return types.Timestamp{Time: v.Time()}
	case guard.Duration:
		return types.Duration{Duration: v.Duration()}
	case guard.Float:
		return types.Double(v.Float())
	}
	return types.NewStringList(types.DefaultTypeAdapter, v.Strings())
}

var empty ref.Val = types.String("")

// key hashes what a rate counts by (SipHash, keyed: sources, names and numbers
// are chosen by strangers). The hash is the same after a restart, so that durable
// meters go on.
func (m *memory) key(r *rate) (uint64, error) {
	m.text = m.text[:0]
	for _, v := range r.per {
		x, err := m.facts.AskID(m.ctx, v.fact)
		if err != nil {
			return 0, err
		}
		m.text = appendValue(m.text, x)
	}
	return siphash.Hash(m.set.key[0], m.set.key[1], m.text), nil
}

// item hashes what a rate tells apart.
func (m *memory) item(v guard.Value) uint64 {
	m.text = appendValue(m.text[:0], v)
	return siphash.Hash(m.set.key[0], m.set.key[1], m.text)
}

// appendValue writes a value so that no two lists of values look alike.
func appendValue(b []byte, v guard.Value) []byte {
	switch v.Type {
	case guard.String:
		s := v.Str()
		return append(binary.AppendUvarint(b, uint64(len(s))), s...)
	case guard.IP:
		a := v.IP()
		ip := a.As16()
		n := 16
		if a.Is6() && !a.Is4In6() {
			n = 8 // a /64 is one site
		}
		return append(append(b, byte(n)), ip[:n]...)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(v.Int()))
}
