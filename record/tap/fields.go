package tap

import (
	"bytes"
	"iter"
)

// Fields goes over everything in raw that a reader could take for a header
// field (RFC 3261 section 7.3.1), in the body too: what a broken message hides
// behind an empty line or a lone CR is found as well. Values come with their
// folded lines. Both are parts of raw.
func Fields(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for at := 0; at < len(raw); {
			end, next := line(raw, at)
			for next < len(raw) && (raw[next] == ' ' || raw[next] == '\t') {
				end, next = line(raw, next)
			}
			field := raw[at:end:end]
			at = next
			name, value, ok := bytes.Cut(field, []byte(":"))
			if !ok {
				continue
			}
			if !yield(bytes.TrimSpace(name), bytes.TrimSpace(value)) {
				return
			}
		}
	}
}

// line is where the line at an offset ends, and where the next one begins. CRLF,
// LF and CR all end one.
func line(raw []byte, at int) (end, next int) {
	n := bytes.IndexAny(raw[at:], "\r\n")
	if n < 0 {
		return len(raw), len(raw)
	}
	end = at + n
	if raw[end] == '\r' && end+1 < len(raw) && raw[end+1] == '\n' {
		return end, end + 2
	}
	return end, end + 1
}

// CallID is the first Call-ID of a message that need not be lawful (RFC 3261
// section 20.8), cut to what is kept of one; empty if there is none.
func CallID(raw []byte) []byte {
	for name, value := range Fields(raw) {
		if len(name) == 1 && name[0]|0x20 == 'i' || bytes.EqualFold(name, []byte("Call-ID")) {
			return value[:min(len(value), longest)]
		}
	}
	return nil
}
