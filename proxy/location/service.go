package location

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Service is a registrar's location service. It is safe for concurrent use.
type Service struct {
	o        Options
	complain rate.Sometimes

	mu      sync.RWMutex         // guards what follows
	aors    map[string][]Binding // by address of record; the most wanted first; never changed in place
	flows   map[string][]string  // token to the addresses of record that use it
	count   int                  // bindings
	dirty   map[string]struct{}  // addresses of record whose stored form is out of date
	refused uint64
}

// New makes a service and reads the bindings back from the store. It starts
// nothing.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Now == nil {
		return nil, errors.New("a location service needs a clock")
	}
	o.Max = cmp.Or(o.Max, 100000)
	o.PerAccount = cmp.Or(o.PerAccount, 5)
	o.MinExpires = cmp.Or(o.MinExpires, time.Minute)
	o.MaxExpires = cmp.Or(o.MaxExpires, time.Hour)
	o.DefaultExpires = cmp.Or(o.DefaultExpires, time.Hour)
	o.Longest = cmp.Or(o.Longest, 1024)
	o.Flush = cmp.Or(o.Flush, time.Second)
	o.Sweep = cmp.Or(o.Sweep, 10*time.Second)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.MinExpires > o.MaxExpires {
		return nil, errors.New("the shortest registration is longer than the longest")
	}
	s := &Service{
		o: o, complain: rate.Sometimes{Interval: time.Minute},
		aors: map[string][]Binding{}, flows: map[string][]string{}, dirty: map[string]struct{}{},
	}
	return s, s.load(ctx)
}

// key appends the address of record of a user of a domain, user@realm; false if
// nobody serves the domain.
func (s *Service) key(b []byte, user, domain string) ([]byte, bool) {
	realm, ok := "", true
	if s.o.Realm != nil {
		realm, ok = s.o.Realm(strings.ToLower(domain))
	}
	b = append(b, user...)
	if realm != "" {
		b = append(b, '@')
		b = append(b, realm...)
	}
	return b, ok
}

// Lookup appends to dst the live bindings of user@domain, the most wanted first
// and among equals the newest. user may hold escapes.
func (s *Service) Lookup(dst []Binding, user, domain string) []Binding {
	if strings.Contains(user, "%") {
		// RFC 3261 section 10.3 step 5: the escapes of a user part are undone.
		if plain, err := url.PathUnescape(user); err == nil {
			user = plain
		}
	}
	var buf [128]byte
	aor, ok := s.key(buf[:0], user, domain)
	if !ok {
		return dst
	}
	now := s.o.Now()
	s.mu.RLock()
	list := s.aors[string(aor)]
	s.mu.RUnlock()
	for i := range list {
		if list[i].Expires.After(now) {
			dst = append(dst, list[i])
		}
	}
	return dst
}

// Of are the live bindings of an account.
func (s *Service) Of(user, realm string) (out []Binding) {
	aor := user
	if realm != "" {
		aor += "@" + realm
	}
	now := s.o.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.aors[aor] {
		if b.Expires.After(now) {
			out = append(out, b)
		}
	}
	return out
}

// Gone removes the bindings of a flow that is closed and returns how many.
func (s *Service) Gone(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.count
	for _, aor := range slices.Clone(s.flows[token]) {
		s.set(aor, slices.DeleteFunc(slices.Clone(s.aors[aor]), func(b Binding) bool { return b.Token == token }))
	}
	return before - s.count
}

// Counts says how full the service is.
func (s *Service) Counts() Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Counts{AoRs: len(s.aors), Bindings: s.count, Refused: s.refused}
}

// set gives an address of record its bindings, sorts them and keeps everything
// else in step; s.mu is held. The old list stays as it was for its readers.
func (s *Service) set(aor string, list []Binding) {
	old := s.aors[aor]
	for i := range old {
		s.unlink(old[i].Token, aor)
	}
	s.count += len(list) - len(old)
	s.dirty[aor] = struct{}{}
	if len(list) == 0 {
		delete(s.aors, aor)
		return
	}
	slices.SortStableFunc(list, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(b.Q, a.Q), b.Registered.Compare(a.Registered))
	})
	s.aors[aor] = list
	for i := range list {
		if t := list[i].Token; t != "" && !slices.Contains(s.flows[t], aor) {
			s.flows[t] = append(s.flows[t], aor)
		}
	}
}

func (s *Service) unlink(token, aor string) {
	list := s.flows[token]
	i := slices.Index(list, aor)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(s.flows, token)
	default:
		s.flows[token] = slices.Delete(list, i, i+1)
	}
}

// sweep removes expired bindings.
func (s *Service) sweep(now time.Time) {
	expired := func(b Binding) bool { return !b.Expires.After(now) }
	s.mu.Lock()
	defer s.mu.Unlock()
	for aor, list := range s.aors {
		if slices.ContainsFunc(list, expired) {
			s.set(aor, slices.DeleteFunc(slices.Clone(list), expired))
		}
	}
}
