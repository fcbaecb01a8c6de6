package dialog

import (
	"slices"

	"ringfence/proxy/index"
)

// recordRoutes appends the route set that a message's Record-Route values give
// for requests towards its sender (RFC 3261 section 12.1): those of a request
// in their order, those of a response that stand above our own, reversed.
func recordRoutes(x *index.Message, b []byte, own Own) []byte {
	if own == nil {
		return b
	}
	var few [8]index.Span
	set := few[:0]
	ours := false
	values := x.Addresses(index.RecordRouteName)
	for a, _, ok := values.Next(); ok; a, _, ok = values.Next() {
		if own(x, a.URI.Host, a.URI.Port) {
			ours = true
			if !x.Request {
				break
			}
			continue
		}
		set = append(set, a.Text)
	}
	if !x.Request {
		if !ours {
			return b // which of them lead to the callee is not known
		}
		slices.Reverse(set)
	}
	for i, v := range set {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, x.Bytes(v)...)
	}
	return b
}
