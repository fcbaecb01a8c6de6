package dialog

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// restarted is a table that has read back the calls "1" to "4": 1 as any, 2 with
// a session timer, 3 heard of since, 4 ended since.
func restarted(t *testing.T) (*Table, func()) {
	t.Helper()
	store := newMemory()
	first, stop := running(t, Options{Store: store, Now: time.Now})
	for _, id := range []string{"1", "2", "3", "4"} {
		first.Begin(invite(t, id, phone), legOf(phone), legOf(pbx))
		var more []string
		if id == "2" {
			more = []string{"Session-Expires: 1800"}
		}
		first.Answer(response(t, id, 200, "b", more...), legOf(pbx), time.Now())
	}
	for range first.Doubtful() {
		t.Error("a call of this run is in doubt")
	}
	stop()
	second, stop := running(t, Options{Store: store, Now: time.Now})
	second.Note(request(t, "3", "INFO", "b", "a", 1, pbx))
	if _, ok := second.Hangup(request(t, "4", "BYE", "a", "b", 2, phone)); !ok {
		t.Error("call 4 does not end")
	}
	return second, stop
}

func doubtful(tb *Table) (ids []string) {
	for c := range tb.Doubtful() {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestDoubtfulCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb, stop := restarted(t)
		defer stop()
		if got := doubtful(tb); !slices.Equal(got, []string{"1"}) {
			t.Errorf("in doubt are %v", got)
		}
		for _, id := range []string{"2", "3", "4", "nobody"} { // an answer that comes late
			if c, ended := tb.Asked(id, "a", 481, time.Now()); ended {
				t.Errorf("ended: %+v", c)
			}
		}
		if n := tb.Counts().Up; n != 3 {
			t.Errorf("%d calls are up, want 3", n)
		}
	})
}

// TestAsked says what each answer means to a call in doubt.
func TestAsked(t *testing.T) {
	for _, c := range []struct {
		name     string
		statuses []int
		ended    bool
		doubtful bool
	}{
		{"no dialog", []int{481}, true, false},
		{"it is there", []int{200}, false, false},
		{"it is there, and the CSeq is old", []int{500}, false, false},
		{"no such method", []int{405}, false, false},
		{"silence", []int{408}, false, true},
		{"silence twice", []int{408, 408}, false, true},
		{"silence three times", []int{408, 408, 408}, true, false},
		{"silence and an answer", []int{408, 408, 200}, false, false},
		{"an answer and silence", []int{200, 408, 408, 408}, false, false},
		{"busy", []int{503, 503, 503, 503}, false, true},
		{"busy between", []int{408, 503, 408, 503}, false, true},
		{"there, then not", []int{500, 481}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tb, stop := restarted(t)
				defer stop()
				var over []guard.Call
				for _, s := range c.statuses {
					if call, ended := tb.Asked("1", "a", s, time.Now()); ended {
						over = append(over, call)
					}
				}
				if (len(over) == 1) != c.ended || c.ended && (over[0].ID != "1" || over[0].EndedBy != "timeout" || over[0].Status != 200) {
					t.Errorf("ended: %+v", over)
				}
				if got := slices.Contains(doubtful(tb), "1"); got != c.doubtful {
					t.Errorf("in doubt: %v", got)
				}
			})
		})
	}
}

// A refresh is a sign of life as well.
func TestARefreshIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb, stop := restarted(t)
		defer stop()
		tb.Refresh(response(t, "1", 200, "b"), time.Now())
		if got := doubtful(tb); len(got) != 0 {
			t.Errorf("in doubt are %v", got)
		}
	})
}
