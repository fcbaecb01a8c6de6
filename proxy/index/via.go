package index

// vias reads every value of a Via line.
func (m *Message) vias(at, end int) Problem {
	for {
		var v Via
		next, p := m.via(&v, at, end)
		if p != "" {
			return p
		}
		if m.Vias++; m.Vias == 1 {
			m.Via = v
		}
		if next == end {
			return ""
		}
		at = skip(m.raw, next+1, end)
	}
}

// via reads one Via value (RFC 3261 section 20.42) and returns where it
// stopped: at a comma or at end.
func (m *Message) via(v *Via, at, end int) (int, Problem) {
	b := m.raw
	start := at
	var parts [3]Span
	for i := range parts {
		from := at
		for at < end && is(b[at], tokenByte) {
			at++
		}
		if at == from {
			return 0, BadVia
		}
		parts[i] = span(from, at)
		if i == 2 {
			break
		}
		if at = skip(b, at, end); at == end || b[at] != '/' {
			return 0, BadVia
		}
		at = skip(b, at+1, end)
	}
	if !equalFold(m.Bytes(parts[0]), "SIP") || string(m.Bytes(parts[1])) != "2.0" {
		return 0, BadVia
	}
	host := skip(b, at, end)
	if host == at {
		return 0, BadVia
	}
	*v = Via{Transport: parts[2]}
	next, p := m.hostport(&v.Host, &v.Port, host, end, true)
	if p != "" {
		return 0, p
	}
	v.Text = span(start, next)
	next = skip(b, next, end)
	if next == end || b[next] == ',' {
		return next, ""
	}
	if b[next] != ';' {
		return 0, BadVia
	}
	var f found
	all, next, p := m.params(&f, next, end)
	if p != "" {
		return 0, p
	}
	v.Params = all
	v.Text.To = all.To
	v.Branch, v.Received = f.branch, f.received
	v.RPort, v.RPortKey, v.HasRPort = f.rport, f.rportKey, !f.rportKey.Empty()
	return next, ""
}
