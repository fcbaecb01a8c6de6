package proxy

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestMaxBreadth forks one call to bob's two phones (attack A66).
func TestMaxBreadth(t *testing.T) {
	for _, c := range []struct {
		name, line string
		soft, desk string // what leaves
		refused    string
	}{
		{"none", "", "30", "30", ""},
		{"odd", "Max-Breadth: 5\n", "3", "2", ""},
		{"just enough", "Max-Breadth: 2\n", "1", "1", ""},
		{"not enough", "Max-Breadth: 1\n", "", "", "alice: SIP/2.0 440"},
		{"nothing", "Max-Breadth: 0\n", "", "", "alice: SIP/2.0 440"},
		{"no number", "Max-Breadth: many\n", "", "", "alice: SIP/2.0 400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newOffice(t)
				l.invite("alice", "bob@example.com", c.line)
				if c.refused != "" {
					l.starts(c.refused)
					return
				}
				l.starts("soft: INVITE", "desk: INVITE")
				for phone, want := range map[string]string{"soft": c.soft, "desk": c.desk} {
					if got := headers(l.last[phone], "Max-Breadth"); !slices.Equal(got, []string{want}) {
						t.Errorf("%s gets Max-Breadth %v, want %s", phone, got, want)
					}
				}
			})
		})
	}
}

// A request that goes one way keeps what it has.
func TestMaxBreadthPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "Max-Breadth: 7\n")
		l.starts("pbx: INVITE")
		if !strings.Contains(l.last["pbx"], "Max-Breadth: 7\r\n") {
			t.Errorf("the PBX gets\n%s", l.last["pbx"])
		}
	})
}
