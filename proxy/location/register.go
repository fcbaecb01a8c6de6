package location

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// Register carries out a REGISTER of an authenticated account ("user@realm")
// that came over the flow that token names, and returns what to answer (RFC
// 3261 section 10.3). Either the whole request takes effect or nothing of it.
func (s *Service) Register(_ context.Context, m *guard.Message, account, token string) Answer {
	x := m.Index
	if !x.Request || x.Method != index.Register {
		return refuse(405, "Method Not Allowed")
	}
	aor, status, reason := s.owner(x, account)
	if status != 0 {
		return refuse(status, reason)
	}
	if a, bad := required(x); bad {
		return a
	}
	path, a := s.path(m)
	if a.Status != 0 {
		return a
	}
	wishes, star, status, reason := s.wishes(m, token)
	if status != 0 {
		return refuse(status, reason)
	}
	for i := range wishes {
		if e := wishes[i].expires; e > 0 && e < s.o.MinExpires {
			a := refuse(423, "Interval Too Brief")
			a.Lines = append(a.Lines, "Min-Expires: "+strconv.Itoa(int(s.o.MinExpires/time.Second))+"\r\n"...)
			return a
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	// Bindings are copied, so nothing is changed until all of it may be.
	list := slices.DeleteFunc(slices.Clone(s.aors[aor]), func(b Binding) bool { return !b.Expires.After(now) })
	had := len(s.aors[aor])
	if star {
		for i := range list {
			if !list[i].newer(x) {
				return refuse(500, "Request Out Of Order")
			}
		}
		list = nil
	}
	outbound := false
	for i := range wishes {
		w := &wishes[i]
		outbound = outbound || w.regID > 0
		at := slices.IndexFunc(list, func(b Binding) bool { return w.same(&b) })
		if at >= 0 {
			if !list[at].newer(x) {
				return refuse(500, "Request Out Of Order")
			}
			list = slices.Delete(list, at, at+1)
		}
		if w.expires == 0 {
			continue
		}
		list = append(list, s.bind(m, w, aor, token, path, now))
	}
	if len(list) > s.o.PerAccount {
		if !s.o.Replace {
			s.refused++
			return refuse(403, "Too Many Bindings")
		}
		slices.SortStableFunc(list, func(a, b Binding) int { return b.Registered.Compare(a.Registered) })
		list = list[:s.o.PerAccount]
	}
	if s.count-had+len(list) > s.o.Max && len(list) > had {
		s.refused++
		a := refuse(503, "Service Unavailable")
		a.Lines = append(a.Lines, "Retry-After: "+strconv.Itoa(int(s.o.MinExpires/time.Second))+"\r\n"...)
		return a
	}
	if star || len(wishes) > 0 {
		s.set(aor, list)
	}
	return ok(list, now, path, outbound && x.Has(index.SupportedName, "outbound"))
}

// owner is the address of record that the To of a REGISTER names, if it belongs
// to the account; nobody registers for another.
func (s *Service) owner(x *index.Message, account string) (aor string, status int, reason string) {
	to := &x.To.URI
	if !x.Is(to.Scheme, "sip") && !x.Is(to.Scheme, "sips") {
		return "", 404, "Not Found"
	}
	at := strings.LastIndexByte(account, '@')
	user := string(x.AppendUnescaped(nil, to.User))
	if at <= 0 || user != account[:at] {
		return "", 403, "Third-Party Registration"
	}
	b, ok := s.key(nil, user, x.Text(to.Host))
	if !ok {
		return "", 404, "Not Found"
	}
	// The key has a realm if realms matter; then it must be the account's own.
	if len(b) > len(user) && string(b) != account {
		return "", 403, "Third-Party Registration"
	}
	return string(b), 0, ""
}

// required refuses extensions that are asked for and not known (RFC 3261 section
// 8.2.2.3).
func required(x *index.Message) (Answer, bool) {
	var unknown []string
	tags := x.List(index.RequireName)
	for t, ok := tags.Next(); ok; t, ok = tags.Next() {
		if !x.Is(t, "path") && !x.Is(t, "outbound") {
			unknown = append(unknown, x.Text(t))
		}
	}
	if unknown == nil {
		return Answer{}, false
	}
	a := refuse(420, "Bad Extension")
	a.Lines = append(a.Lines, "Unsupported: "+strings.Join(unknown, ", ")+"\r\n"...)
	return a, true
}

// path is the Path of a REGISTER (RFC 3327 section 5.3). It says where requests
// are sent, so it is believed only of hops that are configured.
func (s *Service) path(m *guard.Message) (string, Answer) {
	x := m.Index
	var values []string
	n := 0
	for _, h := range x.Headers() {
		if h.Name == index.PathName {
			values = append(values, x.Text(h.Value))
			n += h.Value.Len() + 2
		}
	}
	switch {
	case values == nil:
		return "", Answer{}
	case !m.Inside && m.Peer == "":
		return "", refuse(403, "Path Not Allowed")
	case n > s.o.Longest:
		return "", refuse(400, "Path Too Long")
	case !x.Has(index.SupportedName, "path") && !x.Has(index.RequireName, "path"):
		a := refuse(421, "Extension Required")
		a.Lines = append(a.Lines, "Require: path\r\n"...)
		return "", a
	}
	return strings.Join(values, ", "), Answer{}
}

// newer tells whether a request may change a binding: those of one Call-ID take
// effect in the order of their CSeq (RFC 3261 section 10.3 step 7).
func (b *Binding) newer(x *index.Message) bool {
	return b.CallID != x.Text(x.CallID) || x.CSeq > b.CSeq
}

func (s *Service) bind(m *guard.Message, w *wish, aor, token, path string, now time.Time) Binding {
	x := m.Index
	agent := x.Text(x.Value(index.UserAgentName))
	return Binding{
		AoR: aor, Contact: w.uri, Token: token, Q: w.q, Expires: now.Add(w.expires), Registered: now,
		CallID: strings.Clone(x.Text(x.CallID)), CSeq: x.CSeq, Path: path, Instance: w.instance, RegID: w.regID,
		Agent: strings.Clone(agent[:min(len(agent), 64)]), Source: m.Src, Transport: m.Transport,
	}
}
