package index

// Is tells whether a span holds a text, without regard to the case of ASCII
// letters.
func (m *Message) Is(s Span, text string) bool { return equalFold(m.Bytes(s), text) }

// Number reads a span of decimal digits, up to 2**31-1.
func (m *Message) Number(s Span) (int, bool) { return decimal(m.Bytes(s), 1<<31-1) }

// Param finds a parameter by its name in any case: in Address.Params,
// Via.Params or URI.Params, which begin without a semicolon. The value of a
// quoted parameter stands inside the quotes, escapes not undone. ok is true for
// a parameter without value too, and the value is empty then.
func (m *Message) Param(params Span, name string) (value Span, ok bool) {
	b, at, end := m.raw, int(params.From), int(params.To)
	for at < end {
		at = skip(b, at, end)
		from := at
		for at < end && b[at] != '=' && b[at] != ';' {
			at++
		}
		hit := equalFold(b[from:trim(b, from, at)], name)
		if at < end && b[at] == '=' {
			at = skip(b, at+1, end)
			value = span(at, at)
			if at < end && b[at] == '"' {
				next, ok := quoted(b, at, end)
				if !ok {
					return Span{}, false
				}
				value = span(at+1, next-1)
				at = next
			}
			from := at
			for at < end && b[at] != ';' {
				at++
			}
			if value.Empty() && b[max(from-1, 0)] != '"' {
				value = span(from, trim(b, from, at))
			}
		} else {
			value = Span{}
		}
		if hit {
			return value, true
		}
		at++
	}
	return Span{}, false
}

// AppendUnescaped appends the bytes of a span with their %XX undone once (RFC
// 3986 section 2.1).
func (m *Message) AppendUnescaped(dst []byte, s Span) []byte {
	return appendUnescaped(dst, m.Bytes(s))
}

func appendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c, n := unescaped(b[i:])
		dst = append(dst, c)
		i += n - 1
	}
	return dst
}

// unescaped is the first byte of b, which is not empty, with an escape undone,
// and how many bytes it took.
func unescaped(b []byte) (byte, int) {
	if b[0] == '%' && len(b) > 2 {
		hi, ok := unhex(b[1])
		lo, ok2 := unhex(b[2])
		if ok && ok2 {
			return hi<<4 | lo, 3
		}
	}
	return b[0], 1
}
