// Package sanity says what a message says, and what is wrong with it beyond what
// the index already refuses.
package sanity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/guard"
)

func init() { guard.Register(Kind) }

// Kind makes the guard.
var Kind = guard.Kind{
	Name:   "sanity",
	Doc:    "what a message says and the first thing that is wrong with it",
	Config: func() any { return &Config{} },
	New:    func(h guard.Host, c any) (*guard.Guard, error) { return New(h, *c.(*Config)) },
}

// Config says what is ours and what is too much. The zero value works.
type Config struct {
	Domains  []string `yaml:"domains"`  // that we serve, "*.example.com" for all below; none: every host is ours
	Contacts int      `yaml:"contacts"` // most Contact values in one message; default 10
	Vias     int      `yaml:"vias"`     // most Via values; default 32
	Accepts  int      `yaml:"accepts"`  // most Accept values; default 32
	Media    int      `yaml:"media"`    // most m= lines in a session description; default 16
	Depth    int      `yaml:"depth"`    // most multiparts inside each other; default 4
}

var (
	errNoDialogs = errors.New("no calls are kept")
	errNoReply   = errors.New("there is no reply")
	errNoCall    = errors.New("no call has ended")
)

// A checker has the completed configuration.
type checker struct {
	Config
	addresses []netip.Addr // domains that are addresses
}

// A most is one cap of a Config with its default.
type most struct {
	name string
	at   *int
	def  int
}

func (c *Config) caps() []most {
	return []most{{"contacts", &c.Contacts, 10}, {"vias", &c.Vias, 32}, {"accepts", &c.Accepts, 32}, {"media", &c.Media, 16}, {"depth", &c.Depth, 4}}
}

// Fill writes out the defaults of what is not set.
func (c *Config) Fill() {
	for _, m := range c.caps() {
		if *m.at == 0 {
			*m.at = m.def
		}
	}
}

// New makes the guard. Host.Dialogs may be nil: dialog.known is then an error.
func New(h guard.Host, c Config) (*guard.Guard, error) {
	k := &checker{Config: c}
	for _, most := range k.caps() {
		if *most.at < 0 {
			return nil, fmt.Errorf("sanity: %s is %d (want 0 for the default %d, or more)", most.name, *most.at, most.def)
		}
	}
	k.Fill()
	k.Domains = nil
	for _, d := range c.Domains {
		if a, err := netip.ParseAddr(strings.Trim(d, "[]")); err == nil {
			k.addresses = append(k.addresses, a.Unmap())
			continue
		}
		if d == "" || strings.ContainsAny(d, " /:@") {
			return nil, fmt.Errorf("sanity: domain %q is not a host name or an address", d)
		}
		k.Domains = append(k.Domains, strings.TrimSuffix(strings.ToLower(d), "."))
	}
	facts := k.messageFacts()
	facts = append(facts, dialogFact(h.Dialogs))
	facts = append(facts, replyFacts()...)
	return &guard.Guard{Name: "sanity", Facts: append(facts, callFacts()...)}, nil
}

// ours tells whether host is one of our domains, or an address of ours.
func (k *checker) ours(host string, dst netip.Addr) bool {
	if len(k.Domains)+len(k.addresses) == 0 {
		return true
	}
	if a, ok := address(host); ok {
		if a == dst.Unmap() {
			return true
		}
		return slices.Contains(k.addresses, a)
	}
	host = strings.TrimSuffix(host, ".")
	for _, d := range k.Domains {
		if strings.EqualFold(host, d) {
			return true
		}
		if below, wild := strings.CutPrefix(d, "*"); wild && len(host) > len(below) && strings.EqualFold(host[len(host)-len(below):], below) {
			return true
		}
	}
	return false
}

// address reads a host that is one. Names are not tried: the error would be made
// for every message.
func address(host string) (netip.Addr, bool) {
	if host == "" || host[0] != '[' && (host[len(host)-1] < '0' || host[len(host)-1] > '9') {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return a.Unmap(), err == nil
}

// know makes a fact that only reads the message and cannot fail.
func know(name string, t guard.Type, doc string, get func(*guard.Message) guard.Value) guard.Fact {
	return guard.Fact{
		Name: name, Type: t, Stage: guard.StageMessage, Cost: guard.Free, Doc: doc,
		Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) { return get(f.Message()), nil },
	}
}

func dialogFact(d guard.Dialogs) guard.Fact {
	return guard.Fact{
		Name: "dialog.known", Type: guard.Bool, Stage: guard.StageMessage, Cost: guard.Memory,
		Doc: "Whether the message belongs to a call that is up: Call-ID, both tags, and a source that is one of its two sides.",
		Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
			if d == nil {
				return guard.Value{}, errNoDialogs
			}
			m := f.Message()
			return guard.Truth(m.Index != nil && d.Has(m)), nil
		},
	}
}

func replyFacts() []guard.Fact {
	know := func(name string, t guard.Type, doc string, get func(*guard.Reply) guard.Value) guard.Fact {
		return guard.Fact{
			Name: name, Type: t, Stage: guard.StageReply, Cost: guard.Free, Doc: doc,
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				if r := f.Message().Reply; r != nil {
					return get(r), nil
				}
				return guard.Value{}, errNoReply
			},
		}
	}
	return []guard.Fact{
		know("reply.status", guard.Int, "The status of the final response.",
			func(r *guard.Reply) guard.Value { return guard.Integer(int64(r.Status)) }),
		know("reply.credentials", guard.Bool, "Whether the request that is answered carried credentials.",
			func(r *guard.Reply) guard.Value { return guard.Truth(r.Credentials) }),
		know("reply.stale", guard.Bool, "Whether the response is a 401 or 407 that only asks for a fresh nonce.",
			func(r *guard.Reply) guard.Value { return guard.Truth(r.Stale) }),
		know("reply.took", guard.Duration, "The time from forwarding the request to its final response.",
			func(r *guard.Reply) guard.Value { return guard.Span(r.Took) }),
		know("reply.target", guard.String, "The user part of the Request-URI of the request that is answered.",
			func(r *guard.Reply) guard.Value { return guard.Text(r.Target) }),
	}
}

func callFacts() []guard.Fact {
	know := func(name string, t guard.Type, doc string, get func(*guard.Call) guard.Value) guard.Fact {
		return guard.Fact{
			Name: name, Type: t, Stage: guard.StageEnd, Cost: guard.Free, Doc: doc,
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				if c := f.Message().Call; c != nil {
					return get(c), nil
				}
				return guard.Value{}, errNoCall
			},
		}
	}
	return []guard.Fact{
		know("call.duration", guard.Duration, "The time from answer to end, zero if the call was not answered.",
			func(c *guard.Call) guard.Value { return guard.Span(c.Duration()) }),
		know("call.answered", guard.Bool, "Whether the call was answered.",
			func(c *guard.Call) guard.Value { return guard.Truth(!c.Answered.IsZero()) }),
		know("call.status", guard.Int, "The final response to the INVITE.",
			func(c *guard.Call) guard.Value { return guard.Integer(int64(c.Status)) }),
		know("call.ended_by", guard.String, "Who ended the call: caller, callee, ringfence or timeout.",
			func(c *guard.Call) guard.Value { return guard.Text(c.EndedBy) }),
	}
}
