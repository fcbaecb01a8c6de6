package proxy

import (
	"testing"
	"testing/synctest"
)

// TestSessionIntervals asks for sessions of all lengths (attack A38).
func TestSessionIntervals(t *testing.T) {
	for _, c := range []struct{ name, lines, want string }{
		{"none", "Supported: timer\n", "pbx: INVITE"},
		{"usual", "Supported: replaces, timer\nSession-Expires: 1800;refresher=uac\n", "pbx: INVITE"},
		{"the least", "Supported: timer\nSession-Expires: 90\n", "pbx: INVITE"},
		{"one second", "Supported: timer\nSession-Expires: 1\n", "alice: SIP/2.0 422"},
		{"with a parameter", "Supported: timer\nSession-Expires: 89 ;refresher=uas\n", "alice: SIP/2.0 422"},
		{"compact", "k: timer\nx: 5\n", "alice: SIP/2.0 422"},
		{"who cannot be told", "Session-Expires: 1\n", "pbx: INVITE"},
		{"longer than anything", "Supported: timer\nSession-Expires: 4294967295\n", "pbx: INVITE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, onePBX, nil)
				l.invite("alice", "100@example.com", c.lines)
				l.starts(c.want)
				if c.want == "alice: SIP/2.0 422" && header(l.last["alice"], "Min-SE") != "90" {
					t.Errorf("the answer names no least interval:\n%s", l.last["alice"])
				}
			})
		})
	}
}
