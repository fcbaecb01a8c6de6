package location

import (
	"net/netip"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A wish is one Contact value of a REGISTER.
type wish struct {
	uri      string
	expires  time.Duration // 0: take the binding away
	q        int
	instance string
	regID    int
}

// longestInstance is how long a +sip.instance may be to be regarded, in bytes.
const longestInstance = 128

// wishes reads the Contact values of a REGISTER; star tells that it is the *.
// The status is 0 or why they are refused.
func (s *Service) wishes(m *guard.Message, token string) (list []wish, star bool, status int, reason string) {
	x := m.Index
	values := x.Addresses(index.ContactName)
	n := 0
	for a, _, ok := values.Next(); ok; a, _, ok = values.Next() {
		n++
		if a.URI.Scheme.Empty() {
			star = true
			continue
		}
		if n > s.o.PerAccount {
			return nil, false, 403, "Too Many Contacts"
		}
		w, status, reason := s.wish(m, &a, token)
		if status != 0 {
			return nil, false, status, reason
		}
		list = append(list, w)
	}
	// RFC 3261 section 10.2.2: the * stands alone, which Parse has seen to, and
	// with Expires: 0.
	if star && x.Expires != 0 {
		return nil, false, 400, "Bad Contact"
	}
	return list, star, 0, ""
}

func (s *Service) wish(m *guard.Message, a *index.Address, token string) (w wish, status int, reason string) {
	x := m.Index
	u := &a.URI
	switch {
	case !x.Is(u.Scheme, "sip") && !x.Is(u.Scheme, "sips"):
		return w, 400, "Contact Is No SIP URI"
	case !u.Headers.Empty():
		// They would come to stand in a Request-URI, where they are forbidden, or
		// become headers of a request that others send (RFC 3261 section 19.1.5).
		return w, 400, "Contact With Headers"
	case !u.Password.Empty():
		return w, 400, "Contact With Password"
	case u.Text.Len() > s.o.Longest:
		return w, 400, "Contact Too Long"
	case token == "" && !from(m, u):
		// Without a flow to send over, only the source itself can be bound.
		return w, 403, "Foreign Contact"
	}
	w = wish{uri: strings.Clone(x.Text(u.Text)), q: 1000, expires: s.expires(x, a)}
	if v, ok := x.Param(a.Params, "q"); ok {
		if w.q, ok = thousandths(x.Text(v)); !ok {
			return w, 400, "Bad q"
		}
	}
	if v, ok := x.Param(a.Params, "+sip.instance"); ok && v.Len() <= longestInstance {
		w.instance = strings.Clone(x.Text(v))
		if v, ok := x.Param(a.Params, "reg-id"); ok {
			w.regID, _ = x.Number(v) // none, or not one: no flow of RFC 5626
		}
	}
	return w, 0, ""
}

// expires is how long a Contact is to be bound: its own parameter, else the
// header, else the default (RFC 3261 section 10.2.1.1). A parameter that is no
// number counts as an hour (section 20.19).
func (s *Service) expires(x *index.Message, a *index.Address) time.Duration {
	seconds := x.Expires
	if v, ok := x.Param(a.Params, "expires"); ok {
		if seconds, ok = x.Number(v); !ok {
			seconds = 3600
		}
	}
	if seconds < 0 {
		return min(s.o.DefaultExpires, s.o.MaxExpires)
	}
	if seconds >= int(s.o.MaxExpires/time.Second) {
		return s.o.MaxExpires
	}
	return time.Duration(seconds) * time.Second
}

// from tells whether a URI names the address that the message came from.
func from(m *guard.Message, u *index.URI) bool {
	host := m.Index.Text(u.Host)
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap() == m.Src.Addr().Unmap()
}

// thousandths reads a qvalue, RFC 3261 section 25.1: 0 or 1 with at most three
// decimals.
func thousandths(s string) (int, bool) {
	whole, decimals, dot := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || dot && strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	n := int(whole[0]-'0') * 1000
	for i, unit := 0, 100; i < len(decimals); i, unit = i+1, unit/10 {
		n += int(decimals[i]-'0') * unit
	}
	return n, n <= 1000
}

// same tells whether a wish is about a binding: one flow of one phone (RFC 5626
// section 6), else the same URI (RFC 3261 section 10.3).
func (w *wish) same(b *Binding) bool {
	if w.regID > 0 && b.RegID > 0 {
		return w.regID == b.RegID && w.instance == b.Instance
	}
	return w.uri == b.Contact || index.EqualURI([]byte(w.uri), []byte(b.Contact))
}
