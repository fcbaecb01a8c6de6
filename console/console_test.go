package console

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A watched daemon gives its watchers what is in passed; other questions it
// cannot be asked.
type watched struct {
	Daemon
	query  chan WatchQuery
	passed chan Passed
	refuse error
}

func (d *watched) Watch(ctx context.Context, q WatchQuery, show func(Passed) error) error {
	if d.refuse != nil {
		return d.refuse
	}
	d.query <- q
	if err := show(Passed{}); err != nil {
		return err
	}
	for {
		select {
		case p := <-d.passed:
			if err := show(p); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve runs a console; the function ends it and joins it.
func serve(t *testing.T, d Daemon) (*Client, func()) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	c, err := New(Options{Socket: socket, Daemon: d})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return NewClient(filepath.Dir(socket), socket), func() {
		cancel()
		wg.Wait()
	}
}

func TestWatchStreams(t *testing.T) {
	d := &watched{query: make(chan WatchQuery, 1), passed: make(chan Passed, 2)}
	c, end := serve(t, d)
	defer end()
	d.passed <- Passed{Kind: "received", CallID: "one"}
	d.passed <- Passed{Kind: "lost", Lost: 7}
	var got []Passed
	enough := errors.New("enough")
	ready := false
	err := c.Watch(t.Context(), WatchQuery{From: "alice"}, func() { ready = true }, func(p Passed) error {
		if got = append(got, p); len(got) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !ready || len(got) != 2 || got[0].CallID != "one" || got[1].Lost != 7 {
		t.Errorf("%v, %+v", err, got)
	}
	if q := <-d.query; q.From != "alice" {
		t.Errorf("asked %+v", q)
	}
}

func TestWatchEnds(t *testing.T) {
	d := &watched{query: make(chan WatchQuery, 2), passed: make(chan Passed)}
	c, end := serve(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Watch(ctx, WatchQuery{}, cancel, nil); err != nil {
		t.Errorf("the watcher ends: %v", err)
	}
	if err := c.Watch(t.Context(), WatchQuery{}, func() { go end() }, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("the daemon ends: %v", err)
	}
	end()
	if err := c.Watch(t.Context(), WatchQuery{}, nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("there is no daemon: %v", err)
	}
}

// TestWatchNobodyReads ends although the watcher takes nothing.
func TestWatchNobodyReads(t *testing.T) {
	d := &watched{query: make(chan WatchQuery, 1), passed: make(chan Passed)}
	c, end := serve(t, d)
	stream, err := c.ask(t.Context(), "POST", "/v1/watch", WatchQuery{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	big := Passed{First: string(make([]byte, 1<<20))}
	big.Kind = "received"
	d.passed <- big
	end()
}

func TestWatchIsRefused(t *testing.T) {
	c, end := serve(t, &watched{refuse: errors.New("8 watch already")})
	defer end()
	if err := c.Watch(t.Context(), WatchQuery{}, nil, nil); err == nil || err.Error() != "8 watch already" {
		t.Errorf("got %v", err)
	}
}
