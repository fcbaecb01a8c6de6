// Package numbers is the E.164 numbering plan: where a number is and what kind
// it is of, from libphonenumber's metadata and the ITU's list of international
// services.
package numbers

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/nyaruka/phonenumbers"

	"ringfence/guard"
)

// services are the international codes that no country owns (ITU-T E.164
// Annex to the Operational Bulletin: assigned country codes).
var services = []struct{ prefix, kind string }{
	{"800", "toll-free"},
	{"808", "shared"},
	{"870", "satellite"},
	{"878", "voip"},
	{"881", "satellite"},
	{"882", "international"},
	{"883", "international"},
	{"888", "international"},
	{"979", "premium"},
	{"991", "international"},
}

var kinds = map[phonenumbers.PhoneNumberType]string{
	phonenumbers.FIXED_LINE: "fixed", phonenumbers.MOBILE: "mobile", phonenumbers.FIXED_LINE_OR_MOBILE: "fixed",
	phonenumbers.TOLL_FREE: "toll-free", phonenumbers.PREMIUM_RATE: "premium", phonenumbers.SHARED_COST: "shared",
	phonenumbers.VOIP: "voip", phonenumbers.PERSONAL_NUMBER: "premium", phonenumbers.PAGER: "mobile",
	phonenumbers.UAN: "shared", phonenumbers.VOICEMAIL: "fixed",
}

// Options says how much is remembered.
type Options struct {
	Cache int // numbers, rounded up to a power of two; default 16,384
}

// A Plan answers for numbers. It is safe for concurrent use.
type Plan struct {
	seed  maphash.Seed
	cache []atomic.Pointer[known]
}

type known struct {
	e164   string
	number guard.Number
	ok     bool
}

// New makes a plan.
func New(o Options) *Plan {
	n := 1
	for n < o.Cache || o.Cache <= 0 && n < 16384 {
		n *= 2
	}
	return &Plan{seed: maphash.MakeSeed(), cache: make([]atomic.Pointer[known], n)}
}

// Lookup says what is known of a number in E.164 with its plus sign; false if
// its country code is not assigned.
func (p *Plan) Lookup(e164 string) (guard.Number, bool) {
	digits, plus := strings.CutPrefix(e164, "+")
	if !plus || len(digits) < 2 || len(digits) > 15 {
		return guard.Number{}, false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return guard.Number{}, false
		}
	}
	slot := &p.cache[maphash.String(p.seed, digits)&uint64(len(p.cache)-1)]
	if k := slot.Load(); k != nil && k.e164 == e164 {
		return k.number, k.ok
	}
	k := &known{e164: strings.Clone(e164)}
	k.number, k.ok = lookup(digits)
	slot.Store(k)
	return k.number, k.ok
}

// shortest is how short a number is made that has too many digits.
const shortest = 7

func lookup(digits string) (guard.Number, bool) {
	for _, s := range services {
		if strings.HasPrefix(digits, s.prefix) {
			return guard.Number{Kind: s.kind, Prefix: s.prefix}, true
		}
	}
	n, err := phonenumbers.Parse("+"+digits, "")
	if err != nil {
		return byCode(digits)
	}
	out := guard.Number{Country: phonenumbers.GetRegionCodeForNumber(n), Kind: "unknown"}
	code := int(n.GetCountryCode())
	if out.Country == "" || out.Country == "001" {
		out.Country = region(code)
	}
	out.Prefix = phonenumbers.GetNationalSignificantNumber(n)
	out.Prefix = strings.TrimSuffix(digits, out.Prefix)
	kind, ok := kinds[phonenumbers.GetNumberType(n)]
	if !ok && len(digits) > shortest && phonenumbers.IsPossibleNumberWithReason(n) == phonenumbers.TOO_LONG {
		return lookup(digits[:len(digits)-1]) // switches drop what is dialled too much
	}
	if ok {
		out.Kind = kind
	}
	return out, true
}

// byCode knows only the country: the number is too short to say more.
func byCode(digits string) (guard.Number, bool) {
	for n := min(3, len(digits)); n > 0; n-- {
		code := 0
		for _, c := range digits[:n] {
			code = code*10 + int(c-'0')
		}
		if r := region(code); r != "" {
			return guard.Number{Country: r, Kind: "unknown", Prefix: digits[:n]}, true
		}
	}
	return guard.Number{}, false
}

func region(code int) string {
	r := phonenumbers.GetRegionCodeForCountryCode(code)
	if r == "ZZ" || r == "001" {
		return ""
	}
	return r
}
