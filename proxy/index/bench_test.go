package index

import (
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestParseDoesNotAllocate(t *testing.T) {
	var m Message
	raw := []byte(invite)
	folded := []byte("INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP h\r\n ;branch=z9hG4bKa\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\ni: x\r\nCSeq: 1\r\n INVITE\r\n\r\n")
	for name, raw := range map[string][]byte{"plain": raw, "repaired": folded} {
		if n := testing.AllocsPerRun(100, func() {
			if p := m.Parse(raw, false, Limits{}); p != "" {
				t.Fatal(p)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	raw := []byte(invite)
	b.Run("index", func(b *testing.B) {
		var m Message
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			if p := m.Parse(raw, false, Limits{}); p != "" {
				b.Fatal(p)
			}
		}
	})
	b.Run("sipgo", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sip.ParseMessage(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
