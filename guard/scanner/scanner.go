// Package scanner recognises scanning tools by the shape of what they send and
// not by the name they give themselves: a User-Agent is changed with one option,
// the order of headers and the alphabet of tags are not.
package scanner

import (
	"context"

	"ringfence/guard"
)

func init() { guard.Register(Kind) }

// Kind makes the guard.
var Kind = guard.Kind{
	Name:   "scanner",
	Doc:    "which scanning tool a request has the shape of",
	Config: func() any { return &Config{} },
	New:    func(_ guard.Host, c any) (*guard.Guard, error) { return New(*c.(*Config)), nil },
}

// Config has no settings yet; what to do with a tool is for rules to say.
type Config struct{}

// New makes the guard.
func New(Config) *guard.Guard {
	return &guard.Guard{Name: "scanner", Facts: []guard.Fact{{
		Name: "scan.tool", Type: guard.String, Stage: guard.StageMessage, Cost: guard.Free,
		Doc: "The scanning tool that the request has the shape of, whatever it calls itself: sipvicious, sipcli, pplsip, nmap, smap or sipsak; empty if none.",
		Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
			return guard.Text(Tool(f.Message())), nil
		},
	}}}
}

// Tool names the tool that made a request, or "".
func Tool(m *guard.Message) string {
	x := m.Index
	if x == nil || !x.Request {
		return ""
	}
	s := shapeOf(x)
	switch {
	case s.sipvicious():
		return "sipvicious"
	case s.sipcli():
		return "sipcli"
	case s.pplsip():
		return "pplsip"
	case s.nmap():
		return "nmap"
	case s.smap():
		return "smap"
	case s.sipsak():
		return "sipsak"
	}
	return ""
}
