package index

import "math"

// value reads the value of a header that the index takes apart.
func (m *Message) value(n Name, at, end int) Problem {
	switch n {
	case ViaName:
		return m.vias(at, end)
	case FromName:
		return m.single(&m.From, at, end)
	case ToName:
		return m.single(&m.To, at, end)
	case CallIDName:
		return m.callID(at, end)
	case CSeqName:
		return m.cseq(at, end)
	case ContactName:
		return m.contact(at, end)
	case RouteName, RecordRouteName, PathName, ServiceRouteName, PAssertedIdentityName,
		PPreferredIdentityName, RemotePartyIDName, DiversionName, HistoryInfoName:
		return m.list(at, end)
	case ReferToName, ReferredByName:
		var a Address
		return m.single(&a, at, end)
	case MaxForwardsName:
		return m.number(&m.MaxForwards, at, end, math.MaxUint8, BadMaxForward)
	case ContentLengthName:
		return m.number(&m.ContentLength, at, end, math.MaxInt32, BadLength)
	case ExpiresName:
		return m.number(&m.Expires, at, end, math.MaxUint32, BadExpires)
	case ContentTypeName, EventName, SubscriptionStateName, SessionExpiresName, ReplacesName, JoinName:
		return m.noComma(at, end)
	case AuthorizationName, ProxyAuthorizationName, WWWAuthenticateName, ProxyAuthenticateName:
		if d, ok := m.credentials(at, end); !ok && m.Is(d.Scheme, "Digest") {
			return BadDigest
		}
	}
	return ""
}

// number reads a value of digits only, up to a greatest.
func (m *Message) number(to *int, at, end, most int, bad Problem) Problem {
	n, ok := decimal(m.raw[at:end], most)
	if !ok {
		return bad
	}
	*to = n
	return ""
}

// decimal reads digits, and nothing but digits, up to a greatest value. Leading
// zeros are legal.
func decimal(b []byte, most int) (int, bool) {
	if len(b) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		if n = n*10 + int(c-'0'); n > most {
			return 0, false
		}
	}
	return n, true
}

func (m *Message) callID(at, end int) Problem {
	for _, c := range m.raw[at:end] {
		if !is(c, callIDByte) {
			return BadCallID
		}
	}
	if at == end {
		return BadCallID
	}
	m.CallID = span(at, end)
	return ""
}

func (m *Message) cseq(at, end int) Problem {
	b := m.raw
	i := at
	for i < end && digit(b[i]) {
		i++
	}
	n, ok := decimal(b[at:i], math.MaxInt32)
	if !ok {
		return BadCSeq
	}
	from := skip(b, i, end)
	if from == i || from == end {
		return BadCSeq
	}
	for _, c := range b[from:end] {
		if !is(c, tokenByte) {
			return BadCSeq
		}
	}
	m.CSeq, m.CSeqMethod = uint32(n), span(from, end)
	return ""
}

// noComma refuses a comma outside quotes, where a reader of lists would see a
// second value.
func (m *Message) noComma(at, end int) Problem {
	b := m.raw
	for at < end {
		switch b[at] {
		case '"':
			next, ok := quoted(b, at, end)
			if !ok {
				return BadQuote
			}
			at = next
			continue
		case ',':
			return Comma
		}
		at++
	}
	return ""
}

// quoted finds the end of the quoted string that begins at an offset.
func quoted(b []byte, at, end int) (int, bool) {
	for i := at + 1; i < end; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return 0, false
}
