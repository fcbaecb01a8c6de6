package wire

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"time"

	"ringfence/guard"
)

// A Listener is one address that we serve.
type Listener struct {
	Name      string // for people, as in the configuration
	Transport guard.Transport
	// Address may be a wildcard and its port may be 0. [::] takes IPv4 too, unless
	// another listener has that port on an IPv4 address.
	Address netip.AddrPort
	// TLS is for accepted connections, and needed for guard.TLS and guard.WSS. A
	// lower MinVersion than TLS 1.2 is raised. GetCertificate is asked anew for
	// every connection, so certificates can change while it runs.
	TLS *tls.Config
	// DialTLS is for connections that we open; nil means the system's roots and
	// no certificate of ours. ServerName is set for each connection.
	DialTLS *tls.Config
	// Origins are those whose pages may open a WebSocket, as in an Origin header,
	// or "*"; none: pages of the host that was asked for.
	Origins []string
	WebPath string // that a WebSocket is opened at; "": any
	Sockets int    // how many UDP sockets share the address (SO_REUSEPORT); 0: 1
}

// Limits bound what the network can make us hold. Zero fields take the default.
type Limits struct {
	Datagram int // largest UDP message taken, octets; 8192
	Message  int // largest message taken from a connection, octets; 65535
	Header   int // largest part of it before the body, and largest opening handshake of a WebSocket, octets; 16384

	HeaderLines int // of such a handshake; 64

	// Accepted connections and those we open do not take each other's places, so
	// that a crowd at the door does not cut us off from next hops.
	Connections int // accepted; 8192
	PerSource   int // accepted from one IPv4 address or IPv6 /64; 256
	Outbound    int // opened by us; 1024
	Lingering   int // accepted, whose far ends send no more; 1024
	WriteQueue  int // waiting to be written to one connection, octets; 262144

	Handshake    time.Duration // for TLS to be agreed, and again for a WebSocket; 5 s
	FirstMessage time.Duration // for an accepted connection's first message to be whole; 10 s
	Partial      time.Duration // for a message that began to be whole; 5 s
	Linger       time.Duration // for answers, from the last message of a far end that then ends its side, and for a WebSocket to end; 5 s
	Idle         time.Duration // without a message or a keep-alive; 15 min
	Quiet        time.Duration // the same, before a connection of a stranger gives way when there is no room; 10 s
	Ping         time.Duration // without anything from a WebSocket before it is asked whether it is there; 30 s
	Pong         time.Duration // for its answer; 10 s
	Write        time.Duration // for a write to be taken; 5 s
	Connect      time.Duration // for a connection of ours, with TLS; 5 s

	ReceiveBuffer int // of a UDP socket in the kernel, octets; 4 MiB
	Batch         int // datagrams for one system call; 64
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	return Limits{
		Datagram:      cmp.Or(l.Datagram, 8192),
		Message:       cmp.Or(l.Message, 65535),
		Header:        cmp.Or(l.Header, 16384),
		HeaderLines:   cmp.Or(l.HeaderLines, 64),
		Connections:   cmp.Or(l.Connections, 8192),
		PerSource:     cmp.Or(l.PerSource, 256),
		Outbound:      cmp.Or(l.Outbound, 1024),
		Lingering:     cmp.Or(l.Lingering, 1024),
		WriteQueue:    cmp.Or(l.WriteQueue, 256<<10),
		Handshake:     cmp.Or(l.Handshake, 5*time.Second),
		FirstMessage:  cmp.Or(l.FirstMessage, 10*time.Second),
		Partial:       cmp.Or(l.Partial, 5*time.Second),
		Linger:        cmp.Or(l.Linger, 5*time.Second),
		Idle:          cmp.Or(l.Idle, 15*time.Minute),
		Quiet:         cmp.Or(l.Quiet, 10*time.Second),
		Ping:          cmp.Or(l.Ping, 30*time.Second),
		Pong:          cmp.Or(l.Pong, 10*time.Second),
		Write:         cmp.Or(l.Write, 5*time.Second),
		Connect:       cmp.Or(l.Connect, 5*time.Second),
		ReceiveBuffer: cmp.Or(l.ReceiveBuffer, 4<<20),
		Batch:         cmp.Or(l.Batch, 64),
	}
}

// check tells the first limit that makes no sense.
func (l Limits) check() error {
	for _, n := range []struct {
		name       string
		got, least int
	}{
		{"datagram", l.Datagram, 1},
		{"message", l.Message, 1},
		{"header", l.Header, 1},
		{"header lines", l.HeaderLines, 1},
		{"connections", l.Connections, 1},
		{"per source", l.PerSource, 1},
		{"outbound", l.Outbound, 1},
		{"lingering", l.Lingering, 1},
		{"write queue", l.WriteQueue, l.Message},
		{"handshake", int(l.Handshake), 1},
		{"first message", int(l.FirstMessage), 1},
		{"partial", int(l.Partial), 1},
		{"linger", int(l.Linger), 1},
		{"idle", int(l.Idle), 1},
		{"quiet", int(l.Quiet), 1},
		{"ping", int(l.Ping), 1},
		{"pong", int(l.Pong), 1},
		{"write", int(l.Write), 1},
		{"connect", int(l.Connect), 1},
		{"receive buffer", l.ReceiveBuffer, 1},
		{"batch", l.Batch, 1},
	} {
		if n.got < n.least {
			return fmt.Errorf("limit %s is %d, less than %d", n.name, n.got, n.least)
		}
	}
	return nil
}

// Options says what a Wire is made of. Only Listeners are needed.
type Options struct {
	Listeners []Listener
	// Inherited are bound UDP and listening TCP sockets that another process has
	// opened; a listener with such an address uses them. They are closed.
	Inherited []*os.File
	Screen    Screen // nil: everything may come in
	Limits    Limits
	// StreamWorkers is how many connections may have messages handled at the same
	// time; 0: one for each CPU.
	StreamWorkers int
	// Refused hears of a connection that we do not accept, or close for what it
	// sent or did not send. The goroutine of the listener or connection calls it
	// and waits; it may be nil.
	Refused func(Flow, Reason)
	Log     *slog.Logger     // nil: discards
	Now     func() time.Time // nil: time.Now
}

func (o Options) withDefaults() Options {
	o.Limits = o.Limits.withDefaults()
	o.StreamWorkers = cmp.Or(o.StreamWorkers, runtime.GOMAXPROCS(0))
	if o.Refused == nil {
		o.Refused = func(Flow, Reason) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) check() error {
	if len(o.Listeners) == 0 {
		return errors.New("no listener is given")
	}
	if len(o.Listeners) > 1<<16-1 {
		return fmt.Errorf("%d listeners are more than %d", len(o.Listeners), 1<<16-1)
	}
	if o.StreamWorkers < 1 {
		return fmt.Errorf("%d stream workers are less than 1", o.StreamWorkers)
	}
	for _, l := range o.Listeners {
		switch {
		case !l.Address.IsValid():
			return fmt.Errorf("listener %q has no address", l.Name)
		case l.Transport > guard.WSS:
			return fmt.Errorf("listener %q: transport %d is not served", l.Name, l.Transport)
		case l.Transport.Secure() && l.TLS == nil:
			return fmt.Errorf("listener %q: %s needs a certificate", l.Name, l.Transport)
		case l.Sockets < 0 || l.Sockets > 64:
			return fmt.Errorf("listener %q: %d sockets, want 1 to 64", l.Name, l.Sockets)
		}
	}
	return o.Limits.check()
}
