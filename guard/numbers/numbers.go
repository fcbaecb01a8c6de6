// Package numbers says where a call goes: the dial plan makes a number of E.164
// of what was dialled, and the numbering plan says where and what that is.
package numbers

import (
	"context"
	"errors"
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
)

func init() { guard.Register(Kind) }

// Kind makes the guard.
var Kind = guard.Kind{
	Name:   "numbers",
	Doc:    "where a call goes: the number in E.164, its country and kind, and whether it is an emergency",
	Config: func() any { return &Config{} },
	New:    func(h guard.Host, c any) (*guard.Guard, error) { return New(h, *c.(*Config)) },
}

var errNoNumbers = errors.New("no numbering plan is loaded")

// New makes the guard. Host.Numbers may be nil: dst.country and dst.kind are
// then errors for calls to a number.
func New(h guard.Host, c Config) (*guard.Guard, error) {
	p, err := newPlan(c)
	if err != nil {
		return nil, err
	}
	// plan asks the numbering plan about the number; nothing is known of what is no
	// number.
	plan := func(ctx context.Context, f *guard.Facts) (n guard.Number, err error) {
		v, err := f.Ask(ctx, "dst.e164")
		if err != nil || v.Str() == "" {
			return n, err
		}
		if h.Numbers == nil {
			return n, errNoNumbers
		}
		n, _ = h.Numbers.Lookup(v.Str())
		return n, nil
	}
	kind := func(ctx context.Context, f *guard.Facts, number string) (guard.Value, error) {
		v, err := f.Ask(ctx, number)
		switch {
		case err != nil || v.Str() == "":
			return guard.Text(""), err
		case h.Numbers == nil:
			return guard.Value{}, errNoNumbers
		}
		n, found := h.Numbers.Lookup(v.Str())
		if !found {
			n.Kind = "unknown"
		}
		return guard.Text(n.Kind), nil
	}
	return &guard.Guard{Name: "numbers", Facts: []guard.Fact{
		{
			Name: "dst.emergency", Type: guard.Bool, Stage: guard.StageMessage, Cost: guard.Free,
			Doc: "Whether a call goes to an emergency number, exactly and after the dial plan, or to urn:service:sos (RFC 5031).",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				return guard.Truth(p.emergencyCall(f.Message())), nil
			},
		},
		{
			Name: "dst.e164", Type: guard.String, Stage: guard.StageCall, Cost: guard.Memory,
			Doc: "The number that is called in the form of E.164, \"+37167000000\", or empty for extensions, names and short numbers; of several numbers that a PBX may read the costliest.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				return guard.Text(p.number(f.Message(), h.Numbers)), nil
			},
		},
		{
			Name: "dst.country", Type: guard.String, Stage: guard.StageCall, Cost: guard.Memory, Needs: []string{"dst.e164"},
			Doc: "The country of the number that is called, ISO 3166-1 alpha-2, empty for international services and what is no number.",
			Get: func(ctx context.Context, f *guard.Facts) (guard.Value, error) {
				n, err := plan(ctx, f)
				return guard.Text(n.Country), err
			},
		},
		{
			Name: "dst.kind", Type: guard.String, Stage: guard.StageCall, Cost: guard.Memory, Needs: []string{"dst.e164"},
			Doc: "The kind of the number that is called: fixed, mobile, premium, shared, toll-free, satellite, voip, international, short, unknown; empty for what is no number.",
			Get: func(ctx context.Context, f *guard.Facts) (guard.Value, error) { return kind(ctx, f, "dst.e164") },
		},
		{
			Name: "dst.doubtful", Type: guard.Bool, Stage: guard.StageCall, Cost: guard.Free,
			Doc: "Whether what is called may be another number for a PBX that reads it in a lenient way, such as \"100w0088...\" or \"0088...x1\"; dst.e164 is then the costliest number that it may be.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				var r readings
				p.readCall(&r, f.Message())
				return guard.Truth(r.doubtful()), nil
			},
		},
		{
			Name: "refer.e164", Type: guard.String, Stage: guard.StageCall, Cost: guard.Memory,
			Doc: "The number that a REFER wants a call to go to, read as dst.e164 is, or empty.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				return guard.Text(p.transfer(f.Message(), h.Numbers)), nil
			},
		},
		{
			Name: "refer.kind", Type: guard.String, Stage: guard.StageCall, Cost: guard.Memory, Needs: []string{"refer.e164"},
			Doc: "The kind of the number that a REFER wants a call to go to, as of dst.kind.",
			Get: func(ctx context.Context, f *guard.Facts) (guard.Value, error) { return kind(ctx, f, "refer.e164") },
		},
		{
			Name: "refer.doubtful", Type: guard.Bool, Stage: guard.StageCall, Cost: guard.Free,
			Doc: "Whether what a REFER wants to be called may be another number, as of dst.doubtful.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				var r readings
				p.readTransfer(&r, f.Message())
				return guard.Truth(r.doubtful()), nil
			},
		},
	}}, nil
}

// emergencyCall looks at requests that make a call only. A REGISTER or OPTIONS
// for sip:112@ is no emergency, and must not get what an emergency gets.
func (p *plan) emergencyCall(m *guard.Message) bool {
	x := m.Index
	if x == nil || !x.Request || x.Method != index.Invite && x.Method != index.Ack && x.Method != index.Cancel {
		return false
	}
	return p.isHelp(x, &x.URI)
}

// isHelp tells whether a URI names an emergency service and nothing else.
func (p *plan) isHelp(x *index.Message, u *index.URI) bool {
	user := x.Text(u.User)
	if diverted(x, u) {
		return false
	}
	if strings.EqualFold(x.Text(u.Scheme), "urn") {
		const sos = "service:sos"
		return len(user) >= len(sos) && strings.EqualFold(user[:len(sos)], sos) && (len(user) == len(sos) || user[len(sos)] == '.')
	}
	if escapes(user, ';') {
		return false // "112%3B00881...": there is more than the number
	}
	var room [maxDialed]byte
	return p.isEmergency(p.dialed(&room, user))
}

// escapes tells whether a text has a certain character as an escape.
func escapes(text string, want byte) bool {
	for i := 0; i+2 < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		high, ok := nibble(text[i+1])
		low, ok2 := nibble(text[i+2])
		if ok && ok2 && high<<4|low == want {
			return true
		}
	}
	return false
}

// diverted tells whether a URI names more than its number, such as a routing number
// (RFC 4694), digits to dial afterwards or another host to go to: whoever follows
// that does not call for help.
func diverted(x *index.Message, u *index.URI) bool {
	for _, name := range [...]string{"maddr", "rn", "postd"} {
		if _, ok := x.Param(u.Params, name); ok {
			return true
		}
	}
	_, inUser, _ := strings.Cut(x.Text(u.User), ";")
	params := ""
	if strings.EqualFold(x.Text(u.Scheme), "tel") {
		params = x.Text(u.Params)
	}
	contexts := 0
	for _, rest := range [...]string{inUser, params} {
		for rest != "" {
			var one string
			one, rest, _ = strings.Cut(strings.TrimPrefix(rest, ";"), ";")
			name, value, _ := strings.Cut(one, "=")
			switch {
			case one == "":
			case !strings.EqualFold(name, "phone-context") || contexts > 0 || !place(value):
				return true
			default:
				contexts++
			}
		}
	}
	return !u.Password.Empty()
}

// place tells whether a phone-context names a country, an area or a domain, and no
// more digits than that: before an emergency number they would be a number to dial.
func place(context string) bool {
	global, digits := strings.HasPrefix(context, "+"), 0
	for i := range len(context) {
		switch c := context[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '+' && i == 0, c == '-', c == '.':
		case global || c|0x20 < 'a' || c|0x20 > 'z':
			return false
		}
	}
	return context != "" && (!global || digits <= longestPlace)
}

// longestPlace is how many digits a country code and the beginning of an area have.
const longestPlace = 4

// number is the number that is called: of several readings the worst.
func (p *plan) number(m *guard.Message, numbers guard.Numbers) string {
	var r readings
	p.readCall(&r, m)
	return r.worst(numbers)
}

// transfer is the number that a REFER wants a call to go to.
func (p *plan) transfer(m *guard.Message, numbers guard.Numbers) string {
	var r readings
	p.readTransfer(&r, m)
	return r.worst(numbers)
}

// appendCalled appends the number that is called by the Request-URI, at stage reply
// by that of the request, at stage end by that of the call.
func (p *plan) appendCalled(dst []byte, m *guard.Message) []byte {
	var room [maxDialed]byte
	switch {
	case m.Reply != nil:
		return p.appendE164(dst, p.dialed(&room, m.Reply.Target))
	case m.Index == nil && m.Call != nil:
		return p.appendE164(dst, p.dialed(&room, m.Call.Dialed))
	case m.Index == nil || !m.Index.Request:
		return dst
	}
	return p.appendURI(dst, m.Index, &m.Index.URI)
}

// appendURI appends the number that a URI names for a reader who follows the RFCs.
func (p *plan) appendURI(dst []byte, x *index.Message, u *index.URI) []byte {
	if strings.EqualFold(x.Text(u.Scheme), "urn") {
		return dst
	}
	var room [maxDialed]byte
	user := x.Text(u.User)
	d := p.dialed(&room, user)
	if len(d) > 0 && d[0] != '+' {
		if context := phoneContext(user, x.Text(u.Params)); strings.HasPrefix(context, "+") {
			// A local number within a global context (RFC 3966 section 5.1.5).
			var whole [2 * maxDialed]byte
			var contextRoom [maxDialed]byte
			return p.appendE164(dst, append(append(whole[:0], p.dialed(&contextRoom, context)...), d...))
		}
	}
	return p.appendE164(dst, d)
}

// phoneContext finds the parameter of a tel URI, or of a sip URI that was made of one:
// there it stands in the user part (RFC 3261 section 19.1.6).
func phoneContext(user, params string) string {
	_, inUser, _ := strings.Cut(user, ";")
	for _, rest := range [...]string{inUser, params} {
		for rest != "" {
			var one string
			one, rest, _ = strings.Cut(rest, ";")
			if name, value, _ := strings.Cut(one, "="); strings.EqualFold(name, "phone-context") {
				return value
			}
		}
	}
	return ""
}
