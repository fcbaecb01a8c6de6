package proxy

import (
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

// A Tap is shown every message as it came and as it leaves, the refused ones
// too. Its methods must not block, and copy what they keep. Of what was decided
// it hears as a guard.Sink.
type Tap interface {
	// Wanted tells whether anybody looks; it is asked for every message.
	Wanted() bool
	Received(far, here netip.AddrPort, t guard.Transport, raw []byte, at time.Time)
	Sent(far, here netip.AddrPort, t guard.Transport, raw []byte, at time.Time)
}

// seen shows a message that came.
func (p *Proxy) seen(f wire.Flow, raw []byte, at time.Time) {
	if t := p.o.Tap; t != nil && t.Wanted() {
		t.Received(f.Remote, f.Local, f.Transport, raw, at)
	}
}

// transmit is the one way out for messages. A message is shown before it goes,
// so that nobody sees the answer to it first.
func (p *Proxy) transmit(worker int, f wire.Flow, msg []byte) error {
	if t := p.o.Tap; t != nil && t.Wanted() {
		t.Sent(f.Remote, f.Local, f.Transport, msg, p.now())
	}
	return p.wire.Send(worker, f, msg)
}
