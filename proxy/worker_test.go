package proxy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var streamedPBX = map[string]string{"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060/tcp"}

// A next hop that closes an idle connection is well, also after it has answered
// on it. One that cannot be connected to is not, and one that hangs up on
// requests is not either: once for each connection.
func TestClosedConnections(t *testing.T) {
	for _, c := range []struct {
		name     string
		made     bool
		waiting  int // requests without an answer
		rings    int // those that have heard a 100
		answered bool
		failures uint64
	}{
		{"idle", true, 0, 0, false, 0},
		{"idle, and has answered", true, 0, 0, true, 0},
		{"requests wait", true, 3, 0, false, 1},
		{"they have heard a 100", true, 0, 3, false, 0},
		{"never made", false, 0, 0, false, 1},
		{"never made, and requests wait", false, 3, 0, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, streamedPBX, nil)
				if c.answered {
					l.send("alice", l.request("alice", "OPTIONS", "100@example.com", ""))
					l.starts("pbx: OPTIONS")
					l.answer("pbx", 200, "")
					l.starts("alice: SIP/2.0 200")
				}
				for i := range c.waiting + c.rings {
					l.send("alice", strings.ReplaceAll(l.request("alice", "INVITE", "100@example.com", ""), "alice-INVITE", fmt.Sprint("call-", i)))
					l.starts("pbx: INVITE")
					if i < c.rings {
						l.answer("pbx", 100, "")
					}
				}
				l.p.Closed(l.flow("pbx"), c.made)
				after(200 * time.Millisecond)
				if s := l.p.Hops()[0]; !s.Up || s.Failures != c.failures {
					t.Errorf("after the connection closed: up %v, %d failures, want %d", s.Up, s.Failures, c.failures)
				}
			})
		})
	}
}
