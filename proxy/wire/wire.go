// Package wire moves whole SIP messages between sockets and a handler.
//
// It knows sockets: batches of datagrams, framing and limits of TCP and TLS
// connections. It knows nothing of what the messages say, apart from the
// Content-Length that frames them on a stream (RFC 3261 section 18.3).
package wire

import (
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Flow is the way a message came and the way back: a UDP address pair on one
// of our sockets, or one connection (RFC 5626 section 2). It is comparable.
type Flow struct {
	Listener  uint16 // position in the listeners given to New
	Transport guard.Transport
	Remote    netip.AddrPort // unmapped; of a UDP peer or of the connection's far end
	Local     netip.AddrPort
	Conn      uint64 // number of the connection, never used twice; 0 on UDP
}

// A Handler takes what arrives. Its methods are called from reader goroutines:
// worker says which, 0 <= worker < Wire.Workers(). Messages of one flow come in
// order.
type Handler interface {
	// Receive takes one message. raw is valid until it returns.
	Receive(worker int, f Flow, raw []byte, at time.Time)
	// Flushed is called when a batch has been handled, before its answers go out.
	Flushed(worker int)
	// Closed tells that a connection is gone.
	Closed(f Flow)
}

// A Screen is asked before anything is parsed or allocated.
type Screen interface {
	// Datagram tells whether a datagram may come in.
	Datagram(src, dst netip.AddrPort, payload []byte, at time.Time) bool
	// Connection tells whether a connection may be accepted.
	Connection(src, dst netip.AddrPort, at time.Time) bool
}
