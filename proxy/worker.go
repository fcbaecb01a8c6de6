package proxy

import (
	"unsafe"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// A worker is the scratch memory of one reader, of the timers or of a call from
// elsewhere. No two goroutines use one at the same time, so that handling a
// message allocates nothing.
type worker struct {
	number   int
	in       index.Message // what arrived
	again    index.Message // a message that was kept, read again
	msg      guard.Message
	decision guard.Decision
	reply    guard.Reply
	splice   index.Splice
	branch   *transaction.Branch
	earlier  *transaction.Branch // of the run before; nil if there was none
	out      []byte              // the message that is being written
	text     []byte              // pieces of it
	nonce    []byte              // a nonce and what it is for
	token    [longestToken + macLen]byte
	targets  []target
	later    []func() // what must wait until no transaction is locked
}

func (p *Proxy) newWorker(number int) *worker {
	w := &worker{
		number: number, branch: transaction.NewBranch(p.branchKey),
		out: make([]byte, 0, 8192), text: make([]byte, 0, 8192),
	}
	if k := p.o.Keys.PreviousBranch; k != ([32]byte{}) {
		w.earlier = transaction.NewBranch(k)
	}
	return w
}

// begin makes the memory ready for the next message.
func (w *worker) begin() { w.text, w.targets = w.text[:0], w.targets[:0] }

// finish does what had to wait.
func (w *worker) finish() {
	for len(w.later) > 0 {
		f := w.later[0]
		w.later = w.later[1:]
		f()
	}
}

// piece copies b to where it stays until the next message.
func (w *worker) piece(b []byte) []byte {
	at := len(w.text)
	w.text = append(w.text, b...)
	return w.text[at:len(w.text):len(w.text)]
}

// from cuts the piece that began at an offset of w.text.
func (w *worker) from(at int) []byte { return w.text[at:len(w.text):len(w.text)] }

// elsewhere runs f with a worker that is nobody's.
func (p *Proxy) elsewhere(f func(w *worker)) {
	w := p.loose.Get().(*worker)
	w.begin()
	f(w)
	w.finish()
	p.loose.Put(w)
}

// Flushed does nothing: answers go out with the batch.
func (p *Proxy) Flushed(int) {}

// Closed forgets what hung on a connection. One that a next hop closes when it
// has been idle says nothing against it; one that leaves requests without an
// answer does, see failed.
func (p *Proxy) Closed(f wire.Flow, made bool) {
	if hop, ok := p.routes.ByAddress(f.Remote); ok && !made && hop.Transport == f.Transport {
		p.routes.Report(hop, route.Result{Outcome: route.Refused})
	}
	p.streams.closed(f.Conn, made)
	p.trust.Forget(trustFlow(f))
	if p.places != nil {
		p.places.Gone(string(p.appendFlowToken(nil, f)))
	}
}

// text is b as a string without a copy: for as long as b stays.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
