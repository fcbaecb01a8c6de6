package index

import (
	"bytes"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// naive applies edits byte by byte: a byte is gone if any edit takes it out, a
// text stands before the byte at which its edit begins.
func naive(raw []byte, edits []edit) []byte {
	sort.SliceStable(edits, func(i, j int) bool { return edits[i].from < edits[j].from })
	var out []byte
	for at := 0; at <= len(raw); at++ {
		gone := at == len(raw)
		for _, e := range edits {
			if int(e.from) == at {
				out = append(out, e.text...)
			}
			gone = gone || at >= int(e.from) && at < int(e.to)
		}
		if !gone {
			out = append(out, raw[at])
		}
	}
	return out
}

func TestSpliceIsNaive(t *testing.T) {
	var s Splice
	rapid.Check(t, func(t *rapid.T) {
		s.Reset()
		raw := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "raw")
		var edits []edit
		for range rapid.IntRange(0, 3*fewEdits).Draw(t, "edits") {
			from := rapid.IntRange(0, len(raw)).Draw(t, "from")
			to := rapid.IntRange(from, min(len(raw), from+9)).Draw(t, "to")
			text := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "text")
			switch {
			case from == to:
				s.Insert(uint16(from), text)
			case len(text) == 0:
				s.Delete(span(from, to))
			default:
				s.Replace(span(from, to), text)
			}
			edits = append(edits, edit{uint16(from), uint16(to), text})
		}
		if got, want := s.AppendTo(nil, raw), naive(raw, edits); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestSpliceDoesNotAllocate(t *testing.T) {
	var s Splice
	raw, text := []byte(invite), []byte("Via: SIP/2.0/UDP h\r\n")
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		s.Reset()
		for i := range fewEdits {
			s.Insert(uint16(i*7), text)
		}
		out = s.AppendTo(out[:0], raw)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
