package index

import "bytes"

// found are the parameters that the index keeps.
type found struct {
	tag, branch, received, rport, rportKey Span
}

// params reads the parameters of a header value from the semicolon at an
// offset to a comma outside quotes or to end; it returns where it stopped.
func (m *Message) params(f *found, at, end int) (all Span, next int, p Problem) {
	b := m.raw
	from, to, count := at+1, at+1, 0
	for at < end && b[at] == ';' {
		at = skip(b, at+1, end)
		name := at
		var h uint32
		for _, c := range b[at:end] {
			if !is(c, tokenByte) {
				break
			}
			h = h*31 + uint32(lower(c))
			at++
		}
		if at == name {
			return Span{}, 0, BadParameter
		}
		key := span(name, at)
		to = at
		at = skip(b, at, end)
		var value Span
		if at < end && b[at] == '=' {
			at = skip(b, at+1, end)
			start := at
			if at < end && b[at] == '"' {
				next, ok := quoted(b, at, end)
				if !ok {
					return Span{}, 0, BadQuote
				}
				at = next
			} else {
				for _, c := range b[at:end] {
					if !is(c, valueByte) {
						break
					}
					at++
				}
			}
			if at == start {
				return Span{}, 0, BadParameter
			}
			value = span(start, at)
			to = at
			at = skip(b, at, end)
		}
		if p := m.once(&count, h, key, value); p != "" {
			return Span{}, 0, p
		}
		f.keep(b, key, value)
	}
	if at < end && b[at] != ',' {
		return Span{}, 0, BadParameter
	}
	return span(from, to), at, ""
}

func (f *found) keep(b []byte, key, value Span) {
	name := b[key.From:key.To]
	switch len(name) {
	case len("tag"):
		if equalFold(name, "tag") {
			f.tag = value
		}
	case len("rport"):
		if equalFold(name, "rport") {
			f.rport, f.rportKey = value, key
		}
	case len("branch"):
		if equalFold(name, "branch") {
			f.branch = value
		}
	case len("received"):
		if equalFold(name, "received") {
			f.received = value
		}
	}
}

// once refuses a parameter that the list has had, unless it is an exact repeat
// of one that the index does not keep: handsets repeat their feature tags, and
// no two readers differ in those. A list holds at most len(m.seen) parameters,
// so the work is bounded.
func (m *Message) once(count *int, h uint32, key, value Span) Problem {
	if *count == len(m.seen) {
		return TooManySeparators
	}
	for _, s := range m.seen[:*count] {
		if s.hash != h || !m.Is(key, m.Text(s.key)) {
			continue
		}
		if kept(m.Bytes(key)) || string(m.Bytes(value)) != string(m.Bytes(s.value)) {
			return DupParameter
		}
	}
	m.seen[*count] = seen{h, key, value}
	*count++
	return ""
}

func kept(name []byte) bool {
	return equalFold(name, "tag") || equalFold(name, "rport") ||
		equalFold(name, "branch") || equalFold(name, "received")
}

// seen is a parameter that a list has had.
type seen struct {
	hash       uint32
	key, value Span
}

// address reads one name-addr or addr-spec with its parameters (RFC 3261
// section 20.10), and returns where it stopped: at a comma or at end.
func (m *Message) address(a *Address, at, end int) (int, Problem) {
	b := m.raw
	*a = Address{}
	start := at
	if at < end && b[at] == '"' {
		next, ok := quoted(b, at, end)
		if !ok {
			return 0, BadQuote
		}
		a.Display = span(at, next)
		at = skip(b, next, end)
		if at == end || b[at] != '<' {
			return 0, BadAddress
		}
	}
	stop := at
	for stop < end && b[stop] != '<' && b[stop] != ';' && b[stop] != ',' && b[stop] != '"' {
		stop++
	}
	if stop < end && b[stop] == '"' {
		return 0, BadQuote
	}
	var next int
	if stop < end && b[stop] == '<' {
		if to := trim(b, at, stop); to > at {
			for _, c := range b[at:to] {
				if !is(c, displayByte) {
					return 0, BadDisplay
				}
			}
			a.Display = span(at, to)
		}
		closing := bytes.IndexByte(b[stop:end], '>')
		if closing < 0 {
			return 0, BadAngle
		}
		closing += stop
		a.Angled = true
		if p := m.uri(&a.URI, stop+1, closing); p != "" {
			return 0, p
		}
		next = closing + 1
	} else {
		to := trim(b, at, stop)
		if bytes.IndexByte(b[at:to], '?') >= 0 {
			return 0, BareURI
		}
		if p := m.uri(&a.URI, at, to); p != "" {
			return 0, p
		}
		next = to
	}
	a.Text = span(start, next)
	next = skip(b, next, end)
	if next == end || b[next] == ',' {
		return next, ""
	}
	if b[next] != ';' {
		return 0, BadAddress
	}
	var f found
	all, next, p := m.params(&f, next, end)
	if p != "" {
		return 0, p
	}
	a.Params, a.Tag = all, f.tag
	a.Text.To = all.To
	return next, ""
}

// single reads the address of a header that has one.
func (m *Message) single(a *Address, at, end int) Problem {
	next, p := m.address(a, at, end)
	if p == "" && next < end {
		return Comma
	}
	return p
}

// list checks every address of a comma list.
func (m *Message) list(at, end int) Problem {
	var a Address
	for {
		next, p := m.address(&a, at, end)
		if p != "" || next == end {
			return p
		}
		at = skip(m.raw, next+1, end)
	}
}

func (m *Message) contact(at, end int) Problem {
	if end-at == 1 && m.raw[at] == '*' {
		m.contacts++
		m.star = true
		if m.contacts == 1 {
			m.Contact.Text = span(at, end)
		}
		return ""
	}
	for {
		var a Address
		next, p := m.address(&a, at, end)
		if p != "" {
			return p
		}
		if m.contacts++; m.contacts == 1 {
			m.Contact = a
		}
		if next == end {
			return ""
		}
		at = skip(m.raw, next+1, end)
	}
}
