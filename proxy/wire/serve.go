package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// What Send, Connect and Dial may answer; compare with errors.Is.
var (
	ErrClosed  = errors.New("the connection is gone")
	ErrFull    = errors.New("no room")
	ErrTooLong = errors.New("the message is too long for a datagram")
	ErrStopped = errors.New("the wire is not running")
)

// maxDatagram is what fits a UDP datagram over IPv4, RFC 768 and RFC 791.
const maxDatagram = 65507

// A Wire is the sockets of all listeners.
type Wire struct {
	listeners []*listener
	workers   []*worker
	firstSlot int // the workers from here on are those of connections
	loose     worker
	screen    Screen
	limits    Limits
	refused   func(Flow, Reason)
	log       *slog.Logger
	now       func() time.Time
	count     counters
	handler   Handler // set by Run before anything starts
	lastConn  atomic.Uint64
	lingering atomic.Int64
	watchers  watchers

	mu       sync.RWMutex // guards what follows
	running  bool
	conns    map[uint64]*conn
	accepted int                  // how many of them count against Limits.Connections
	sources  map[netip.Prefix]int // and against Limits.PerSource
	outbound map[farEnd]*conn
	tasks    sync.WaitGroup // connections; grows only under mu while running
}

// A listener is a Listener with its sockets.
type listener struct {
	Listener
	number  uint16
	local   netip.AddrPort // with the real port
	packets []*packetSocket
	stream  net.Listener
	server  *tls.Config // nil without TLS
	client  *tls.Config // nil without TLS
}

// A worker is a slot that the handler keeps scratch memory for. A UDP socket has
// one for itself; connections share some, one at a time.
type worker struct {
	mu   sync.Mutex // held by a connection, or a sender outside of any worker
	ring *ring
}

// New binds all sockets and starts nothing. On an error none is left bound; the
// error is one line that names the address and says what can be done.
func New(o Options) (*Wire, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &Wire{
		screen: o.Screen, limits: o.Limits, refused: o.Refused, log: o.Log, now: o.Now,
		conns: map[uint64]*conn{}, sources: map[netip.Prefix]int{}, outbound: map[farEnd]*conn{},
	}
	in, err := inherit(o.Inherited)
	if err != nil {
		return nil, err
	}
	for i := range o.Listeners {
		l := newListener(o.Listeners[i], uint16(i))
		w.listeners = append(w.listeners, l)
		if err := l.bind(o.Listeners, in, o.Limits); err != nil {
			in.close()
			w.closeSockets()
			return nil, err
		}
	}
	if err := in.left(); err != nil {
		in.close()
		w.closeSockets()
		return nil, err
	}
	for _, l := range w.listeners {
		for _, s := range l.packets {
			s.worker = len(w.workers)
			w.workers = append(w.workers, &worker{ring: newRing(w)})
		}
	}
	w.firstSlot = len(w.workers)
	w.watchers.most = mostWatchers(len(w.workers), runtime.GOMAXPROCS(0))
	for range o.StreamWorkers {
		w.workers = append(w.workers, &worker{ring: newRing(w)})
	}
	w.loose.ring = newRing(w)
	return w, nil
}

func newListener(o Listener, number uint16) *listener {
	l := &listener{Listener: o, number: number}
	if !o.Transport.Secure() {
		return l
	}
	l.server, l.client = o.TLS.Clone(), &tls.Config{MinVersion: tls.VersionTLS12}
	l.server.MinVersion = max(l.server.MinVersion, tls.VersionTLS12)
	if o.DialTLS != nil {
		l.client = o.DialTLS.Clone()
		l.client.MinVersion = max(l.client.MinVersion, tls.VersionTLS12)
	}
	return l
}

// Workers is how many worker numbers the handler will see.
func (w *Wire) Workers() int { return len(w.workers) }

// Addresses are the addresses of the listeners in their order, with the ports
// that were found for port 0.
func (w *Wire) Addresses() []netip.AddrPort {
	out := make([]netip.AddrPort, len(w.listeners))
	for i, l := range w.listeners {
		out[i] = l.local
	}
	return out
}

// Counters tells what happened so far.
func (w *Wire) Counters() Counters {
	c := w.count.snapshot()
	w.mu.RLock()
	c.Open = len(w.conns)
	w.mu.RUnlock()
	for _, l := range w.listeners {
		for _, s := range l.packets {
			c.Overflow += s.overflow.read(s)
		}
	}
	return c
}

// Close closes the sockets of a Wire that is not going to run. Run does it by itself.
func (w *Wire) Close() { w.closeSockets() }

// Run reads from all sockets until ctx ends, then closes them and returns when
// the last call to h has returned. It runs once. Trouble with one datagram or
// one connection is counted and never ends it.
func (w *Wire) Run(ctx context.Context, h Handler) error {
	if h == nil {
		return errors.New("a wire needs a handler")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.start(h)
	var readers sync.WaitGroup
	for _, l := range w.listeners {
		for _, s := range l.packets {
			readers.Go(func() { w.readPackets(ctx, l, s) })
		}
		if l.stream != nil {
			readers.Go(func() { w.acceptAll(ctx, l) })
		}
	}
	<-ctx.Done()
	w.stopReading() // the answers to what was read still go out
	readers.Wait()
	w.stop()
	w.closeSockets()
	return nil
}

func (w *Wire) start(h Handler) {
	w.mu.Lock()
	w.handler, w.running = h, true
	w.mu.Unlock()
}

// stop closes all connections and joins them. None is being made for longer
// than that takes.
func (w *Wire) stop() {
	w.mu.Lock()
	w.running = false
	for _, c := range w.conns {
		c.stopped()
	}
	w.mu.Unlock()
	w.tasks.Wait()
}

// Send sends a message the way of f. Inside of a call of the handler, worker is
// that call's: datagrams are then copied, go out together after Flushed, and
// what becomes of them is counted. Any other caller gives -1: the datagram
// goes out at once and the error is the kernel's. Messages for a connection
// are copied to its queue; ErrFull and ErrClosed tell why not. It does not
// wait for the far end.
func (w *Wire) Send(worker int, f Flow, msg []byte) error {
	if f.Transport.Stream() {
		return w.sendStream(f, msg)
	}
	if int(f.Listener) >= len(w.listeners) || w.listeners[f.Listener].packets == nil {
		return fmt.Errorf("send to %s: there is no such socket", f)
	}
	if len(msg) > maxDatagram {
		w.count.drop(SendTooLong)
		return ErrTooLong
	}
	l := w.listeners[f.Listener]
	if worker >= 0 {
		w.workers[worker].ring.add(l.socketOf(worker), f, msg)
		return nil
	}
	w.loose.mu.Lock()
	defer w.loose.mu.Unlock()
	w.loose.ring.add(l.packets[0], f, msg)
	if err := w.loose.ring.flush(); err != nil {
		return fmt.Errorf("send to %s: %w", f, err)
	}
	return nil
}

// socketOf is the socket that a worker sends from: its own if it is one of this
// listener, so that senders do not wait for each other.
func (l *listener) socketOf(worker int) *packetSocket {
	for _, s := range l.packets {
		if s.worker == worker {
			return s
		}
	}
	return l.packets[worker%len(l.packets)]
}

func (w *Wire) sendStream(f Flow, msg []byte) error {
	w.mu.RLock()
	c := w.conns[f.Conn]
	w.mu.RUnlock()
	if c == nil {
		return ErrClosed
	}
	if err := c.queue(msg); err != nil {
		return err
	}
	w.count.sent[f.Transport].Add(1)
	return nil
}
