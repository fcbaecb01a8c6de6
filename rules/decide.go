package rules

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// EmergencyRule is the built-in rule that comes before every other: emergency
// calls always pass. No file can shadow, except or outrun it.
const EmergencyRule = "builtin:emergency"

const emergencyFact = "dst.emergency"

// How long and how narrow a limit on an unproven source is: whoever can forge
// an address could otherwise keep its owner away.
const unprovenLimit = 60 * time.Second

// Decide counts what this stage counts and tries the rules of this stage.
// Every matching rule's effects happen; the first with an action decides.
func (s *Set) Decide(ctx context.Context, stage guard.Stage, f *guard.Facts, d *guard.Decision) guard.Verdict {
	if s.isEmergency(ctx, stage, f) {
		return s.allowEmergency(f, d)
	}
	at := &s.stages[stage]
	if len(at.rules) == 0 && len(at.rates) == 0 {
		return guard.Verdict{}
	}
	m := s.pool.Get().(*memory)
	m.start(ctx, f)
	method := index.Invite // a call that ended has no message; it was an INVITE
	if x := f.Message().Index; x != nil {
		method = x.Method
	}
	for _, i := range at.rates {
		if r := s.rates[i]; r.methods.has(method) {
			m.count(i, r)
		}
	}
	verdict := guard.Verdict{}
	for _, r := range at.rules {
		if !r.methods.has(method) || !r.Until.IsZero() && m.at.After(r.Until) {
			continue
		}
		if s.try(m, r, d) && verdict.Action == guard.Pass {
			verdict = r.with
		}
	}
	m.facts, m.ctx = nil, nil
	s.pool.Put(m)
	return verdict
}

func (s *Set) isEmergency(ctx context.Context, stage guard.Stage, f *guard.Facts) bool {
	if stage >= guard.StageReply || s.env.help < 0 {
		return false
	}
	v, err := f.AskID(ctx, s.env.help)
	return err == nil && v.True()
}

func (s *Set) allowEmergency(f *guard.Facts, d *guard.Decision) guard.Verdict {
	s.emergency.matched.Add(1)
	s.emergency.enforced.Add(1)
	s.emergency.last.Store(f.Message().At.UnixNano())
	d.Matches = append(d.Matches, guard.Match{
		Rule: EmergencyRule, Title: "Emergency calls always pass", Where: "built in", Action: guard.Allow,
		Facts: []guard.Answer{{Fact: emergencyFact, Value: "true"}},
	})
	return guard.Verdict{Action: guard.Allow, Emergency: true, Rule: EmergencyRule}
}

// count adds the message to a rate, if it counts. When that cannot be known,
// neither can the rate, and every rule that asks for it reads its on_error.
func (m *memory) count(i int, r *rate) {
	if m.set.counters == nil {
		return
	}
	st := &m.rates[i]
	if r.count != nil {
		out := m.eval(r.count)
		if types.IsUnknownOrError(out) {
			st.err = out
		}
		if out != types.True {
			return
		}
	}
	key, err := m.key(r)
	if err != nil {
		st.err = types.WrapErr(err)
		return
	}
	if r.distinct == nil {
		st.n, st.known = m.set.counters.Add(i, key, 1, m.at), true
		return
	}
	x, err := m.facts.AskID(m.ctx, r.distinct.fact)
	if err != nil {
		st.err = types.WrapErr(err)
		return
	}
	st.n, st.known = m.set.counters.AddDistinct(i, key, m.item(x), m.at), true
}

// try tries one rule and carries out its effects; it tells whether the rule's
// action stands.
func (s *Set) try(m *memory, r *Rule, d *guard.Decision) bool {
	out := m.eval(r.when)
	match := guard.Match{Rule: r.ID, Title: r.Title, Where: r.Where, Action: r.Action}
	switch out := out.(type) {
	case types.Bool:
		if !out {
			return false
		}
	default:
		r.hits.errors.Add(1)
		if !r.match {
			return false
		}
		match.Mode, match.By = guard.Failed, fmt.Sprint(out)
	}
	now := m.at
	r.hits.matched.Add(1)
	r.hits.last.Store(now.UnixNano())
	match.Facts = m.answers(r.when)
	if x := s.excepted(m, r); x != nil {
		r.hits.excepted.Add(1)
		match.Mode, match.By = guard.Excepted, x.id
		d.Matches = append(d.Matches, match)
		return false
	}
	if r.Mode == Shadow {
		r.hits.shadow.Add(1)
		match.Mode = guard.Shadow
		d.Matches = append(d.Matches, match)
		return false
	}
	r.hits.enforced.Add(1)
	d.Matches = append(d.Matches, match)
	s.effects(m, r, d)
	return r.Action != guard.Pass
}

func (s *Set) excepted(m *memory, r *Rule) *exception {
	for _, x := range s.exceptions {
		if x.names(r.ID) && m.at.Before(x.until) && m.eval(x.when) == types.True {
			return x
		}
	}
	return nil
}

func (s *Set) effects(m *memory, r *Rule, d *guard.Decision) {
	msg := m.facts.Message()
	if b := r.ban; b != nil {
		d.Bans = append(d.Bans, b.of(msg, r, m.at))
	}
	if a := r.alert; a != nil {
		var group []string
		for _, v := range a.group {
			text := unknown
			if x, err := m.facts.AskID(m.ctx, v.fact); err == nil {
				text = Written(x)
			}
			group = append(group, text)
		}
		text := r.Title
		for _, x := range m.answers(r.when) {
			text += "; " + x.Fact + " " + x.Value
		}
		d.Alerts = append(d.Alerts, guard.Alert{
			Rule: r.ID, Title: r.Title, Severity: a.severity, Group: strings.Join(group, " "), Every: a.every, At: m.at,
			Text: text + "; source " + msg.Src.String(),
		})
	}
}

// of makes the ban of a rule for a message: as narrow as it was asked for, and
// a short limit when the source may be forged.
func (b *ban) of(msg *guard.Message, r *Rule, now time.Time) guard.Ban {
	addr := msg.Src.Addr().Unmap()
	bits := addr.BitLen()
	if addr.Is6() && b.by == "src.ip" {
		bits = 64
	}
	out := guard.Ban{
		Prefix: netip.PrefixFrom(addr, bits).Masked(), At: now, Until: now.Add(b.span), Rule: r.ID, Reason: r.Title,
		For: b.span, Escalate: b.escalate, AtMost: b.most,
	}
	if b.by == "src.flow" {
		out.Port = msg.Src.Port()
	}
	if !msg.Proven && !b.unproven {
		span := min(b.span, unprovenLimit)
		out.Limit, out.Until, out.For, out.Escalate = true, now.Add(span), span, 1
	}
	return out
}

// answers writes out what a condition read, terms by what they read. What it
// did not need to ask is left out: nothing is computed only to be shown.
func (m *memory) answers(c *condition) []guard.Answer {
	var out []guard.Answer
	var add func(c *condition, depth int)
	add = func(c *condition, depth int) {
		for _, v := range c.reads {
			text, asked := m.written(v)
			if !asked {
				continue
			}
			out = append(out, guard.Answer{Fact: v.name, Value: text})
			if v.term != nil && depth < 4 {
				add(v.term, depth+1)
			}
		}
	}
	add(c, 0)
	return out
}

// written is a value for people, if it was asked for.
func (m *memory) written(v *variable) (text string, asked bool) {
	switch {
	case v.rate != nil:
		s := m.rates[v.slot]
		if s.err != nil {
			return unknown, true
		}
		return strconv.FormatInt(s.n, 10), s.known
	case v.term != nil:
		t := m.terms[v.slot]
		if b, ok := t.val.(types.Bool); ok {
			return strconv.FormatBool(bool(b)), true
		}
		return unknown, t.known
	}
	for f, x := range m.facts.Known {
		if f.Name == v.name {
			return Written(x), true
		}
	}
	return "", false
}

const unknown = "unknown"

// Written is a value for people.
func Written(v guard.Value) string {
	switch v.Type {
	case guard.String:
		return strconv.Quote(v.Str())
	case guard.Int:
		return strconv.FormatInt(v.Int(), 10)
	case guard.Bool:
		return strconv.FormatBool(v.True())
	case guard.IP:
		return v.IP().String()
	case guard.Time:
		return v.Time().Format(time.RFC3339)
	case guard.Duration:
		return v.Duration().String()
	case guard.Float:
		return strconv.FormatFloat(v.Float(), 'g', 6, 64)
	}
	return fmt.Sprintf("%q", v.Strings())
}
