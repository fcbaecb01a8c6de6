package index

// A Digest is the value of one Authorization, Proxy-Authorization,
// WWW-Authenticate or Proxy-Authenticate header (RFC 7616 sections 3.3 and
// 3.4, RFC 8760). The spans stand inside the quotes; escapes are not undone.
type Digest struct {
	Scheme    Span // as written; compare with Message.Is
	Username  Span
	Realm     Span
	Nonce     Span
	URI       Span
	Response  Span
	Algorithm Span
	CNonce    Span
	Opaque    Span
	QOP       Span
	NC        Span
	UserHash  Span
	Stale     Span
	Domain    Span
}

// digestFields are the positions of the fields, by name.
const digestFields = 13

// field is the field of a name in any case and its number, nil if the index
// does not keep it.
func (d *Digest) field(name []byte) (*Span, int) {
	switch {
	case equalFold(name, "username"):
		return &d.Username, 0
	case equalFold(name, "realm"):
		return &d.Realm, 1
	case equalFold(name, "nonce"):
		return &d.Nonce, 2
	case equalFold(name, "uri"):
		return &d.URI, 3
	case equalFold(name, "response"):
		return &d.Response, 4
	case equalFold(name, "algorithm"):
		return &d.Algorithm, 5
	case equalFold(name, "cnonce"):
		return &d.CNonce, 6
	case equalFold(name, "opaque"):
		return &d.Opaque, 7
	case equalFold(name, "qop"):
		return &d.QOP, 8
	case equalFold(name, "nc"):
		return &d.NC, 9
	case equalFold(name, "userhash"):
		return &d.UserHash, 10
	case equalFold(name, "stale"):
		return &d.Stale, 11
	case equalFold(name, "domain"):
		return &d.Domain, 12
	}
	return nil, 0
}

// Credentials reads digest credentials or a digest challenge. It reports false
// if the scheme is not Digest, or a field of the struct stands there twice, has
// no value, or has a quote that does not end; Scheme is set even then. Parse
// has refused such a message with bad-credentials if the scheme is Digest.
func (m *Message) Credentials(value Span) (Digest, bool) {
	return m.credentials(int(value.From), int(value.To))
}

func (m *Message) credentials(at, end int) (Digest, bool) {
	b := m.raw
	var d Digest
	from := at
	for at < end && is(b[at], tokenByte) {
		at++
	}
	d.Scheme = span(from, at)
	if !m.Is(d.Scheme, "Digest") || at == end || !blank(b[at]) {
		return d, false
	}
	var had [digestFields]bool
	for {
		at = skip(b, at, end)
		name := at
		for at < end && is(b[at], tokenByte) {
			at++
		}
		to := at
		at = skip(b, at, end)
		if to == name || at == end || b[at] != '=' {
			return d, false
		}
		at = skip(b, at+1, end)
		var value Span
		if at < end && b[at] == '"' {
			next, ok := quoted(b, at, end)
			if !ok {
				return d, false
			}
			value = span(at+1, next-1)
			at = next
		} else {
			from := at
			for at < end && is(b[at], valueByte) {
				at++
			}
			if at == from {
				return d, false
			}
			value = span(from, at)
		}
		if field, n := d.field(b[name:to]); field != nil {
			if had[n] {
				return d, false
			}
			had[n] = true
			*field = value
		}
		if at = skip(b, at, end); at == end {
			return d, true
		}
		if b[at] != ',' {
			return d, false
		}
		at++
	}
}
