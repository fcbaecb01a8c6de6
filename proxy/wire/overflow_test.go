package wire

import (
	"runtime"
	"testing"

	"ringfence/guard"
)

// What the kernel drops while nobody reads is counted, once.
func TestOverflowIsCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	h := newTap()
	held := make(chan struct{})
	h.answer = func(int, Flow, []byte) { <-held } // the reader is busy
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}, Limits: Limits{ReceiveBuffer: 4096}}, h)
	defer close(held)
	if n := w.Counters().Overflow; n != 0 {
		t.Errorf("%d before anything came", n)
	}
	c := dial(t, "udp", w.Addresses()[0])
	for range 200 {
		write(t, c, message("OPTIONS", "0123456789"))
	}
	var first uint64
	eventually(t, "some are dropped", func() bool { first = w.Counters().Overflow; return first > 0 })
	if again := w.Counters().Overflow; again != first || first > 200 {
		t.Errorf("%d, then %d", first, again)
	}
}

func TestOverflowGoesOnAfter32Bits(t *testing.T) {
	o := overflow{last: 1<<32 - 5, total: 7}
	o.add(3)
	if o.total != 15 || o.last != 3 {
		t.Errorf("%d, %d", o.total, o.last)
	}
}
