package auth

import (
	"ringfence/guard"
	"ringfence/proxy/index"
)

// challengeable tells whether m is a request that may be challenged: ACK and
// CANCEL never are (RFC 3261 section 22.1).
func challengeable(m *guard.Message) bool {
	return m.Index != nil && m.Index.Request && m.Index.Method != index.Ack && m.Index.Method != index.Cancel
}

// Status is the status of a challenge to m: 401 to REGISTER, which we answer as
// the registrar does (RFC 3261 section 22.2), 407 to others (section 22.3), 0 to
// what is never challenged.
func (a *Auth) Status(m *guard.Message) int {
	switch {
	case !challengeable(m):
		return 0
	case m.Index.Method == index.Register:
		return 401
	default:
		return 407
	}
}

// AppendChallenge appends complete header lines with CRLF, one for each
// algorithm, most preferred first (RFC 8760 section 2.3). v.Realm and
// v.Algorithms come before the configured ones; v may be nil. stale=true says
// that the credentials came with a nonce that cannot be used, so that a phone
// tries again without asking its user (RFC 7616 section 3.3). It appends nothing
// for ACK and CANCEL.
func (a *Auth) AppendChallenge(dst []byte, m *guard.Message, v *guard.Verdict) []byte {
	status := a.Status(m)
	if status == 0 {
		return dst
	}
	realm, algorithms, stale := a.o.Realm, a.o.Algorithms, false
	if v != nil {
		stale = v.Stale
		if v.Realm != "" {
			realm = v.Realm
		}
		if len(v.Algorithms) != 0 {
			algorithms = v.Algorithms
		}
	}
	stale = stale || a.spent(m)
	key, slot := &a.keys[0], slotOf(m.At)
	for _, written := range algorithms {
		algorithm, known := canonical(written)
		if !known {
			continue // rules name algorithms too; one that we cannot check is not offered
		}
		if status == 401 {
			dst = append(dst, "WWW-Authenticate: Digest realm=\""...)
		} else {
			dst = append(dst, "Proxy-Authenticate: Digest realm=\""...)
		}
		from := len(dst)
		dst = appendQuoted(dst, realm)
		to := len(dst)
		dst = append(dst, "\", nonce=\""...)
		at := len(dst)
		dst = appendPlain(dst, key, m.Src, slot)
		dst = appendHex(dst, a.counter.Add(1)&0xffff, 4)
		callID := ""
		if a.o.BindCallID {
			callID = m.Index.Text(m.Index.CallID)
		}
		dst = appendHex(dst, tailHash(key, text(dst[at:]), algorithm, text(dst[from:to]), callID), 12)
		dst = append(append(dst, "\", algorithm="...), algorithm...)
		dst = append(dst, ", qop=\"auth\""...)
		if a.o.Opaque != "" {
			dst = append(appendQuoted(append(dst, ", opaque=\""...), a.o.Opaque), '"')
		}
		if stale {
			dst = append(dst, ", stale=true"...)
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// spent tells whether m brings credentials for us with a nonce that is not
// ours, too old, or used with this count before.
func (a *Auth) spent(m *guard.Message) bool {
	c, f, key, found := a.find(m)
	if !found {
		return false
	}
	algorithm, known := canonical(c.algorithm)
	if f < fresh || !known || !a.offered(c.nonce, key, algorithm, c.realm, m.Index.Text(m.Index.CallID)) {
		return true
	}
	count, ok := nonceCount(&c)
	return ok && a.replays.used(a.replayKey(&c), count)
}

// appendQuoted writes the inside of a quoted string (RFC 3261 section 25.1);
// control bytes are left out.
func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
