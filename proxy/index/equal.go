package index

// ParseURI reads one URI that stands alone, such as a stored Contact. The spans
// of the URI are ranges of m.Raw, which is text.
func (m *Message) ParseURI(text []byte) Problem {
	m.reset()
	if len(text) > DefaultStream {
		return TooLong
	}
	m.raw = text
	return m.uri(&m.URI, 0, len(text))
}

// EqualURI tells whether two URIs are equivalent by RFC 3261 section 19.1.4.
// URIs of other schemes than sip and sips are equivalent if their bytes are,
// but for the case of the scheme. What is no URI equals nothing.
func EqualURI(a, b []byte) bool {
	var x, y Message
	if x.ParseURI(a) != "" || y.ParseURI(b) != "" {
		return false
	}
	u, v := &x.URI, &y.URI
	if !equalFold(x.Bytes(u.Scheme), y.Text(v.Scheme)) {
		return false
	}
	if u.Host.Empty() || v.Host.Empty() {
		return string(a[u.Scheme.To:]) == string(b[v.Scheme.To:])
	}
	return equalEscaped(x.Bytes(u.User), y.Bytes(v.User), false) &&
		equalEscaped(x.Bytes(u.Password), y.Bytes(v.Password), false) &&
		u.Password.Empty() == v.Password.Empty() &&
		equalFold(x.Bytes(u.Host), y.Text(v.Host)) && u.Port == v.Port &&
		x.within(&y, ';', u.Params, v.Params) && y.within(&x, ';', v.Params, u.Params) &&
		x.within(&y, '&', u.Headers, v.Headers) && y.within(&x, '&', v.Headers, u.Headers)
}

// within tells whether every parameter or header of mine is matched in theirs,
// or may be absent there.
func (m *Message) within(o *Message, sep byte, mine, theirs Span) bool {
	for at := int(mine.From); at < int(mine.To); {
		name, value, next := pair(m.raw, at, int(mine.To), sep)
		at = next
		other, ok := o.lookupPair(theirs, sep, m.Bytes(name))
		switch {
		case ok:
			if !equalEscaped(m.Bytes(value), o.Bytes(other), sep == ';') {
				return false
			}
		case sep == '&', m.Is(name, "user"), m.Is(name, "ttl"), m.Is(name, "method"), m.Is(name, "maddr"):
			return false
		}
	}
	return true
}

// pair reads name=value from at up to a separator; next is where the next
// begins.
func pair(b []byte, at, end int, sep byte) (name, value Span, next int) {
	from, eq := at, -1
	for at < end && b[at] != sep {
		if b[at] == '=' && eq < 0 {
			eq = at
		}
		at++
	}
	if eq < 0 {
		return span(from, at), Span{}, at + 1
	}
	return span(from, eq), span(eq+1, at), at + 1
}

func (m *Message) lookupPair(all Span, sep byte, key []byte) (Span, bool) {
	for at := int(all.From); at < int(all.To); {
		name, value, next := pair(m.raw, at, int(all.To), sep)
		if equalEscaped(m.Bytes(name), key, true) {
			return value, true
		}
		at = next
	}
	return Span{}, false
}

// equalEscaped compares with escapes undone (an escaped character and the
// character are the same), in any case if fold.
func equalEscaped(a, b []byte, fold bool) bool {
	for len(a) > 0 && len(b) > 0 {
		c, n := unescaped(a)
		d, k := unescaped(b)
		if c != d && (!fold || lower(c) != lower(d)) {
			return false
		}
		a, b = a[n:], b[k:]
	}
	return len(a) == len(b)
}
