package numbers

import (
	"testing"

	"ringfence/guard"
)

func TestLookup(t *testing.T) {
	p := New(Options{})
	for _, c := range []struct {
		e164, country, kind string
		ok                  bool
	}{
		{"+19005551234", "US", "premium", true},
		{"+19005551234567", "US", "premium", true}, // overdialled
		{"+371901234567890", "LV", "premium", true},
		{"+18005551234", "US", "toll-free", true},
		{"+12125551234", "US", "fixed", true},
		{"+14165551234", "CA", "fixed", true},
		{"+449098790000", "GB", "premium", true},
		{"+442079460000", "GB", "fixed", true},
		{"+447400123456", "GB", "mobile", true},
		{"+37190123456", "LV", "premium", true},
		{"+37121234567", "LV", "mobile", true},
		{"+4930123456", "DE", "fixed", true},
		{"+4915123456789", "DE", "mobile", true},
		{"+498001234567", "DE", "toll-free", true},
		{"+491801234567", "DE", "shared", true},
		{"+8816312345678", "", "satellite", true},
		{"+870773111632", "", "satellite", true},
		{"+882161234567", "", "international", true},
		{"+883510012345", "", "international", true},
		{"+979123456789", "", "premium", true},
		{"+80012345678", "", "toll-free", true},
		{"+44", "GB", "unknown", true},
		{"+371", "LV", "unknown", true},
		{"+999123456", "", "", false},
		{"+210123456", "", "", false},
		{"+4", "", "", false},
		{"442079460000", "", "", false},
		{"+44207x460000", "", "", false},
		{"+1234567890123456", "", "", false},
		{"", "", "", false},
	} {
		for range 2 { // the second time from the cache
			n, ok := p.Lookup(c.e164)
			if n.Country != c.country || n.Kind != c.kind || ok != c.ok {
				t.Errorf("%s is %+v, %v; want %q, %q, %v", c.e164, n, ok, c.country, c.kind, c.ok)
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	p := New(Options{})
	if n := testing.AllocsPerRun(1000, func() { p.Lookup("+442079460000") }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("+442079460000")
	f.Add("+8816")
	p := New(Options{Cache: 8})
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := p.Lookup(s)
		if ok == (n == guard.Number{}) {
			t.Fatalf("%q: %+v, %v", s, n, ok)
		}
	})
}
