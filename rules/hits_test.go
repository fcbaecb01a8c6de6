package rules

import "testing"

// TestHitsGoOn: a rule that the next set has too counts on, wherever it stands and
// whatever it asks now; a new one begins anew.
func TestHitsGoOn(t *testing.T) {
	before := newBench(t, rulesHead+
		"  - {id: gone, title: t, when: 'sip.size == 0', alert: {severity: low}}\n"+
		"  - {id: stays, title: t, when: 'sip.size == 0', do: drop}\n")
	for range 3 {
		before.judge()
	}
	after := newBench(t, rulesHead+
		"  - {id: stays, title: t, when: 'sip.size < 1', do: reject}\n"+
		"  - {id: new, title: t, when: 'sip.size == 0', do: drop}\n")
	after.set.Continue(before.set)
	before.judge() // it still decides until the next set is in force
	after.judge()
	got := map[string]uint64{}
	for _, h := range after.set.Hits() {
		got[h.Rule] = h.Matched
	}
	if _, ok := got["gone"]; ok || got["stays"] != 5 || got["new"] != 1 {
		t.Errorf("hits after the change: %v", got)
	}
}
