package transaction

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFlowIsGone(t *testing.T) {
	for _, c := range []struct {
		what             string
		invite, reliable bool
		status           int // heard before
		flow             string
		want             string
	}{
		{"nothing was heard", true, true, 0, "down", "failed 0 lost, ended"},
		{"nor of another request", false, true, 0, "down", "failed 0 lost, ended"},
		{"it rings", true, true, 180, "down", ""},
		{"it was answered", true, true, 200, "down", ""},
		{"another flow", true, true, 0, "up", ""},
		{"a datagram is not bound to one", true, false, 0, "down", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan string, 1)
				b := newBench(t, Options[string, int]{Gone: func() func(string) bool {
					select {
					case f := <-gone:
						return func(x string) bool { return x == f }
					default:
						return nil
					}
				}})
				b.run(t)
				ctx, id := b.begin(t, c.invite, c.reliable)
				if c.status > 0 {
					ctx.Take(0, 0, c.status)
				}
				ctx.Unlock()
				b.heard()
				gone <- c.flow
				time.Sleep(150 * time.Millisecond)
				b.want(t, c.want)
				if again := b.Find(id, time.Now()); (again == nil) != (c.want != "") {
					t.Errorf("the client transaction: %v", again)
				} else if again != nil {
					again.Unlock()
				}
			})
		})
	}
}

// What was answered and let go of is not looked at again, and the other contexts
// of a table are left alone.
func TestManyFlowsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		lost := map[string]bool{}
		b := newBench(t, Options[string, int]{Gone: func() func(string) bool {
			mu.Lock()
			defer mu.Unlock()
			return func(f string) bool { return lost[f] }
		}})
		b.run(t)
		for i := range 200 {
			c, _, err := b.Begin(Key{uint64(i + 1), uint64(i)}, zeroAddr, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			n, _ := c.Add()
			flow := []string{"a", "b"}[i%2]
			if err := c.Forward(0, n, flow, false, true, []byte("request")); err != nil {
				t.Fatal(err)
			}
			c.Unlock()
		}
		b.heard()
		mu.Lock()
		lost["a"] = true
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		failed := 0
		for _, e := range b.events {
			if e == "failed 0 lost" {
				failed++
			}
		}
		if failed != 100 {
			t.Errorf("%d failed, want 100", failed)
		}
	})
}
