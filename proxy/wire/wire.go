// Package wire moves whole SIP messages between sockets and a handler.
//
// It knows sockets: batches of datagrams, framing and limits of TCP and TLS
// connections. It knows nothing of what the messages say, apart from the
// Content-Length that frames them on a stream (RFC 3261 section 18.3).
package wire

import (
	"fmt"
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
	Local     netip.AddrPort // unmapped; of a connection that we opened, the listener's own
	Conn      uint64         // number of the connection, never used twice; 0 on UDP
}

// String is the flow for people, as in "udp 198.51.100.7:40000 to 192.0.2.1:5060".
func (f Flow) String() string {
	if f.Conn == 0 {
		return fmt.Sprintf("%s %s to %s", f.Transport, f.Remote, f.Local)
	}
	return fmt.Sprintf("%s %s to %s, connection %d", f.Transport, f.Remote, f.Local, f.Conn)
}

// A Handler takes what arrives. Its methods are called from reader goroutines:
// worker says which, 0 <= worker < Wire.Workers(), and no two calls with the
// same worker overlap. Messages of one flow come in order and with one worker.
type Handler interface {
	// Receive takes one message. raw is valid until it returns. Keep-alives do not
	// come this far.
	Receive(worker int, f Flow, raw []byte, at time.Time)
	// Flushed is called when a batch has been handled, before its answers go out.
	Flushed(worker int)
	// Closed tells that a connection is gone; made is false if it could not be made.
	// It is called once, after the last Receive of that flow, and belongs to no
	// worker.
	Closed(f Flow, made bool)
}

// A Screen is asked before anything is parsed or allocated.
type Screen interface {
	// Datagram tells whether a datagram may come in.
	Datagram(src, dst netip.AddrPort, payload []byte, at time.Time) bool
	// Connection tells whether a connection may be accepted.
	Connection(src, dst netip.AddrPort, at time.Time) bool
}
