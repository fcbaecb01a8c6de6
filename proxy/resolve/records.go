package resolve

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The kinds of records that are asked for.
const (
	typeA     = dns.TypeA
	typeAAAA  = dns.TypeAAAA
	typeSRV   = dns.TypeSRV
	typeNAPTR = dns.TypeNAPTR
)

// A question is what a server is asked. The name has no final dot.
type question struct {
	name string
	kind uint16
}

func (q question) String() string { return dns.TypeToString[q.kind] + " of " + q.name }

// records are what an answer says, in the order in which they are to be used.
// Several looks may read the same.
type records struct {
	naptr     []naptr
	srv       []srv
	addresses []netip.Addr
	none      bool // an SRV record says that the service is not to be had
	absent    bool // there is no record of any kind
	until     time.Time
	stale     bool
}

// A naptr is a NAPTR record that leads to SRV records (RFC 3263 section 4.1).
type naptr struct {
	order, preference    uint16
	service, replacement string
}

// A srv is an SRV record, RFC 2782.
type srv struct {
	priority, weight, port uint16
	target                 string
}

func (r *records) empty() bool { return len(r.naptr)+len(r.srv)+len(r.addresses) == 0 && !r.none }

// read takes the records for a question out of the answer section. Nothing else
// of a message is believed. Aliases are followed, of which there may be left;
// less than 0 when there were too many. alias is where the last one leads if the
// message says no more of it; ttl is the least of all that was used, in seconds.
func (r *records) read(m *dns.Msg, q question, left *int) (alias string, ttl uint32) {
	name, ttl := q.name, ^uint32(0)
	for {
		next := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || canonical(h.Name) != name {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok {
				next, ttl = canonical(c.Target), min(ttl, seconds(h.Ttl))
			} else if h.Rrtype == q.kind {
				r.add(rr)
				ttl = min(ttl, seconds(h.Ttl))
			}
		}
		if !r.empty() {
			r.sort()
			return "", ttl
		}
		if next == "" {
			return alias, ttl
		}
		if *left--; *left < 0 {
			return "", ttl
		}
		name, alias = next, next
	}
}

func (r *records) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		if a, ok := netip.AddrFromSlice(rr.A); ok {
			r.addresses = append(r.addresses, a.Unmap())
		}
	case *dns.AAAA:
		if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
			r.addresses = append(r.addresses, a.Unmap())
		}
	case *dns.SRV:
		target := canonical(rr.Target)
		r.none = r.none || target == ""
		if hostname(target) && rr.Port != 0 {
			r.srv = append(r.srv, srv{rr.Priority, rr.Weight, rr.Port, target})
		}
	case *dns.NAPTR:
		replacement := canonical(rr.Replacement)
		if strings.EqualFold(rr.Flags, "s") && rr.Regexp == "" && hostname(replacement) {
			r.naptr = append(r.naptr, naptr{rr.Order, rr.Preference, rr.Service, replacement})
		}
	}
}

// sort puts the records into the order of RFC 3403 section 4.1 and RFC 2782; the
// same records in another order of the message give the same.
func (r *records) sort() {
	slices.SortFunc(r.naptr, func(a, b naptr) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.preference, b.preference), strings.Compare(a.service, b.service), strings.Compare(a.replacement, b.replacement))
	})
	slices.SortFunc(r.srv, func(a, b srv) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight), strings.Compare(a.target, b.target), cmp.Compare(a.port, b.port))
	})
	slices.SortFunc(r.addresses, netip.Addr.Compare)
	r.addresses = slices.Compact(r.addresses)
}

// negative is how long the message says that there is no record, in seconds (RFC
// 2308 section 5). False: it does not say.
func negative(m *dns.Msg) (uint32, bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl)), true
		}
	}
	return 0, false
}

// seconds is a time to live; one with the top bit set is 0 (RFC 2181 section 8).
func seconds(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return ttl
}

// canonical is a name in lower case without its final dot.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Nowhere tells the names that stand for none (RFC 6761 section 6.4): phones in
// browsers write one where others write their address (RFC 7118 section 5.1).
func Nowhere(name string) bool {
	name = canonical(name)
	return name == "invalid" || strings.HasSuffix(name, ".invalid")
}

// hostname tells whether a canonical name can be asked for: labels of letters,
// digits, hyphens and underscores, which service names have.
func hostname(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
