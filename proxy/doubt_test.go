package proxy

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// A drawer is a guard.Store that two labs share, one after the other.
type drawer struct {
	mu    sync.Mutex
	items map[string][]byte // guarded by mu
}

func (d *drawer) Get(_ context.Context, key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.items[string(key)]; ok {
		return v, nil
	}
	return nil, guard.ErrNotFound
}

func (d *drawer) Put(_ context.Context, key, val []byte, _ time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.items == nil {
		d.items = map[string][]byte{}
	}
	d.items[string(key)] = bytes.Clone(val)
	return nil
}

func (d *drawer) Delete(_ context.Context, key []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.items, string(key))
	return nil
}

func (d *drawer) Batch(ctx context.Context, put []guard.Item, gone [][]byte) error {
	for _, i := range put {
		_ = d.Put(ctx, i.Key, i.Value, 0)
	}
	for _, k := range gone {
		_ = d.Delete(ctx, k)
	}
	return nil
}

func (d *drawer) Update(_ context.Context, key []byte, f func([]byte) ([]byte, time.Duration, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	val, _, err := f(d.items[string(key)])
	if val != nil {
		d.items[string(key)] = val
	}
	return err
}

func (d *drawer) Scan(_ context.Context, prefix []byte, _ bool) iter.Seq2[guard.Item, error] {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := maps.Clone(d.items)
	return func(yield func(guard.Item, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(found)) {
			if strings.HasPrefix(k, string(prefix)) && !yield(guard.Item{Key: []byte(k), Value: found[k]}, nil) {
				return
			}
		}
	}
}

// restartedLab is a lab after a restart with calls of alice up, "call-0" and so
// on, that the PBX answered.
func restartedLab(t *testing.T, hosts map[string]string, calls int, setup func(*Options)) *lab {
	t.Helper()
	store := new(drawer)
	with := func(_ *Config, o *Options) {
		o.Store = store
		if setup != nil {
			setup(o)
		}
	}
	old := newLab(t, hosts, with)
	for i := range calls {
		name := fmt.Sprint("call-", i)
		old.send("alice", strings.NewReplacer("call-alice", name, "z9hG4bK-alice", "z9hG4bK-"+name).Replace(old.request("alice", "INVITE", "100@example.com", "")))
		old.got()
		old.answer("pbx", 200, "")
		old.got()
	}
	after(5 * time.Second) // it is stored
	l := newLab(t, hosts, with)
	return l
}

// ends are the calls that ended since.
func (l *lab) ends() (ids []string) {
	synctest.Wait()
	for {
		select {
		case c := <-l.engine.ends:
			ids = append(ids, c.ID+" "+c.EndedBy)
		default:
			return ids
		}
	}
}

// What the PBX says to the question after a call of the run before, and what
// becomes of the call.
func TestCallsOfTheRunBefore(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer []int // one for each question; 0: none
		ends   []string
	}{
		{"it is over", []int{481}, []string{"call-0 timeout"}},
		{"it is up", []int{200}, nil},
		{"it is up, and the CSeq was overtaken", []int{500}, nil},
		{"the PBX is busy, and then it is over", []int{503, 481}, []string{"call-0 timeout"}},
		{"nobody answers", []int{0, 0, 0}, []string{"call-0 timeout"}},
		{"nobody answers at first", []int{0, 0, 200}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := restartedLab(t, office, 1, nil)
				after(50 * time.Second)
				l.starts() // there is time to show that it is up
				for i, status := range c.answer {
					question := ""
					for wait := 0; question == "" && wait < 120; wait++ {
						after(time.Second)
						for _, s := range l.got() { // a question that is not answered comes again
							question = s.msg
						}
					}
					if !strings.HasPrefix(question, "OPTIONS sip:203.0.113.5:5060 ") || header(question, "CSeq") != "1 OPTIONS" || header(question, "Call-ID") != "call-0" ||
						!strings.HasSuffix(header(question, "From"), ";tag=alice") || !strings.HasSuffix(header(question, "To"), ";tag=pbx") {
						t.Fatalf("question %d is\n%s", i+1, question)
					}
					if status == 0 {
						after(40 * time.Second)
						l.got()
						continue
					}
					l.answer("pbx", status, "")
				}
				if got := l.ends(); !slices.Equal(got, c.ends) {
					t.Errorf("ended: %v, want %v", got, c.ends)
				}
				for range 10 {
					after(time.Minute)
					l.starts() // nothing is asked twice that is known
				}
				if got := l.p.Dialogs().Up(""); got != 0 {
					t.Errorf("%d calls of nobody", got)
				}
			})
		})
	}
}

// A call that somebody was heard of since needs no question, and goes on as
// before.
func TestCallsThatShowThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := restartedLab(t, office, 2, nil)
		bye := func(n, cseq int) string {
			return strings.NewReplacer("call-alice", fmt.Sprint("call-", n), "z9hG4bK-alice-BYE", fmt.Sprint("z9hG4bK-bye-", n), "CSeq: 1", fmt.Sprint("CSeq: ", cseq),
				"To: <sip:100@example.com>", "To: <sip:100@example.com>;tag=pbx").Replace(l.request("alice", "BYE", "100@example.com", ""))
		}
		l.send("alice", bye(0, 2))
		l.starts("pbx: BYE")
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		after(time.Minute)
		l.starts("pbx: OPTIONS") // of the other
		l.answer("pbx", 200, "")
		l.send("alice", bye(1, 2)) // in order: the question has used up no CSeq
		l.starts("pbx: BYE")
		l.answer("pbx", 200, "")
		if got := l.ends(); !slices.Equal(got, []string{"call-0 caller", "call-1 caller"}) {
			t.Errorf("ended: %v", got)
		}
	})
}

// However many calls there were, the PBX hears so many questions a second and no
// more; and none while it is known to be down.
func TestQuestionsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, pace = 100, 5
		l := restartedLab(t, office, calls, func(o *Options) { o.Questions = pace })
		after(55 * time.Second)
		asked := map[string]bool{}
		last := time.Now()
		for range 40 {
			after(time.Second)
			seen := 0
			for _, s := range l.got() {
				if id := header(s.msg, "Call-ID"); strings.HasPrefix(s.msg, "OPTIONS") && !asked[id] {
					asked[id] = true
					seen++
					l.last["pbx"] = s.msg
					l.answer("pbx", 481, "")
				}
			}
			if most := pace*int(time.Since(last)/time.Second) + 1; seen > most {
				t.Errorf("%d questions in %v", seen, time.Since(last))
			}
			last = time.Now()
		}
		if len(asked) != calls {
			t.Errorf("%d calls were asked after, want %d", len(asked), calls)
		}
		if n := len(l.ends()); n != min(calls, cap(l.engine.ends)) {
			t.Errorf("%d calls ended", n)
		}
	})
}
