package dialog

import (
	"slices"

	"ringfence/proxy/index"
)

// recordRoutes appends the route set that a message's Record-Route values give
// for requests towards its sender (RFC 3261 section 12.1): those of a request
// in their order, those of a response that stand above our own, reversed.
func recordRoutes(x *index.Message, b []byte, own func([]byte) bool, response bool) []byte {
	if own == nil {
		return b
	}
	var set [][]byte
	for _, h := range x.Headers() {
		if h.Name != index.RecordRouteName {
			continue
		}
		for rest := x.Bytes(h.Value); len(rest) > 0; {
			var v []byte
			v, rest = value(rest)
			if !own(v) {
				set = append(set, v)
			} else if response {
				slices.Reverse(set)
				return join(b, set)
			}
		}
	}
	if response {
		return b // ours is not there: which of them lead to the callee is not known
	}
	return join(b, set)
}

func join(b []byte, values [][]byte) []byte {
	for i, v := range values {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, v...)
	}
	return b
}

// value cuts the first of a comma-separated list of addresses off; commas
// within quotes and angle brackets belong to the value.
func value(list []byte) (first, rest []byte) {
	quoted, angled := false, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !angled:
			quoted = !quoted
		case quoted:
		case c == '<':
			angled = true
		case c == '>':
			angled = false
		case c == ',' && !angled:
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
