package numbers

import (
	"strings"
	"testing"
)

// BenchmarkReadings is what reading costs: an ordinary number, an extension, and texts
// that an attacker makes long and broken.
func BenchmarkReadings(b *testing.B) {
	p := mustPlan(b, Config{})
	for _, c := range []struct{ name, user string }{
		{"extension", "100"},
		{"number", "0037167000000"},
		{"pauses", strings.Repeat("1900555,", 60)},
		{"letters", strings.Repeat("1a", 250)},
		{"pluses", strings.Repeat("+1900", 100)},
		{"parameters", "1" + strings.Repeat(";x=19005", 50)},
		{"escapes", strings.Repeat("%2531", 100)},
		{"codes", strings.Repeat("*1#", 160)},
	} {
		m := call(b, "INVITE", "sip:"+c.user+"@x")
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var r readings
				p.readCall(&r, m)
			}
		})
	}
}
