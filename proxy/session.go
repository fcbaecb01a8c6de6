package proxy

import (
	"bytes"

	"ringfence/proxy/index"
)

// leastSession is the shortest session interval that is let through, in seconds:
// the least that RFC 4028 section 5 allows. Shorter ones refresh a call as often
// as somebody likes to keep others busy.
const leastSession = 90

// tooShort tells whether a request wants its session refreshed more often than
// that, and can be told so (RFC 4028 section 8.1). Who knows nothing of session
// timers only carries somebody else's wish.
func tooShort(m *index.Message) bool {
	if m.Method != index.Invite && m.Method != index.Update || m.Count(index.SessionExpiresName) == 0 || !m.Has(index.SupportedName, "timer") {
		return false
	}
	v := m.Value(index.SessionExpiresName)
	if i := bytes.IndexByte(m.Bytes(v), ';'); i >= 0 {
		v.To = v.From + uint16(i)
	}
	for v.To > v.From && m.Raw()[v.To-1] == ' ' {
		v.To--
	}
	n, ok := m.Number(v)
	return ok && n < leastSession
}
