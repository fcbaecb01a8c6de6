package dialog

import (
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

func TestSessions(t *testing.T) {
	for _, c := range []struct {
		name    string
		header  string
		refresh []string // header line of a 2xx each ten minutes, "-" for one without
		up      time.Duration
	}{
		{"no timer", "", nil, 24 * time.Hour},
		{"never refreshed", "Session-Expires: 1800;refresher=uac", nil, 1800*time.Second + sessionGrace},
		{"compact", "x: 90", nil, 90*time.Second + sessionGrace},
		{"refreshed twice", "Session-Expires: 1800", []string{"Session-Expires: 1800", "Session-Expires: 900"}, 1200*time.Second + 900*time.Second + sessionGrace},
		{"turned off", "Session-Expires: 1800", []string{"-"}, 24 * time.Hour},
		{"longer than any call", "Session-Expires: 4294967295", nil, 24 * time.Hour},
		{"nonsense", "Session-Expires: soon", nil, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := make(chan guard.Call, 4)
				tb, stop := running(t, Options{Now: time.Now, Ended: func(c *guard.Call) { over <- *c }})
				lines := func(h string) []string {
					if h == "" || h == "-" {
						return nil
					}
					return []string{h}
				}
				began := time.Now()
				tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
				tb.Answer(response(t, "1", 200, "b", lines(c.header)...), legOf(pbx), began)
				for _, h := range c.refresh {
					time.Sleep(10 * time.Minute)
					tb.Refresh(response(t, "1", 200, "b", lines(h)...), time.Now())
				}
				time.Sleep(time.Until(began.Add(c.up - 5*time.Second)))
				synctest.Wait()
				if len(over) != 0 {
					t.Errorf("it ended %v after it began", (<-over).End.Sub(began))
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if len(over) != 1 {
					t.Errorf("%d calls ended", len(over))
				} else if c := <-over; c.EndedBy != "timeout" {
					t.Errorf("ended: %+v", c)
				}
				stop()
			})
		})
	}
}

// A call whose end passed while nobody listened is forgotten when its session
// runs out, also after a restart.
func TestSessionsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		first, stop := running(t, Options{Store: store, Now: time.Now})
		first.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
		first.Answer(response(t, "1", 200, "b", "Session-Expires: 600"), legOf(pbx), time.Now())
		stop()
		second, stop := running(t, Options{Store: store, Now: time.Now})
		defer stop()
		if second.Counts().Up != 1 {
			t.Fatal("the call is gone with the restart")
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if second.Counts().Up != 0 {
			t.Error("a call that nobody refreshed is still up")
		}
	})
}
