package hep

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A link is the way to the capture server. It belongs to one goroutine.
type link struct {
	o      *Options
	conn   net.Conn // nil: there is none
	stop   func() bool
	reader sync.WaitGroup
	wait   time.Duration // before the next attempt
	broken bool
	said   time.Time // when last that the server cannot be reached
}

// write sends b, over streams as often as it takes until ctx ends. A datagram
// is sent once: an error tells that nobody takes them there, and the next one
// tries again.
func (l *link) write(ctx context.Context, b []byte) bool {
	for ctx.Err() == nil {
		err := l.connect(ctx)
		if err == nil {
			_ = l.conn.SetWriteDeadline(l.o.Now().Add(l.o.Timeout)) // a closed one says so at Write
			_, err = l.conn.Write(b)
		}
		if err == nil {
			l.works()
			return true
		}
		l.fails(ctx, err)
		if l.conn != nil && l.o.Network == "udp" {
			return false
		}
		l.hangUp()
		select {
		case <-ctx.Done():
		case <-time.After(l.wait):
			l.wait = min(2*l.wait, l.o.Longest)
		}
	}
	return false
}

// connect makes a connection if there is none. A stream is read so that its end
// is noticed before something is written to it in vain.
func (l *link) connect(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	l.conn = conn
	l.stop = context.AfterFunc(ctx, func() { conn.Close() }) // a write that waits ends with ctx
	if l.o.Network != "udp" {
		l.reader.Go(func() {
			_, _ = io.Copy(io.Discard, conn) // whatever ended it, it is over
			conn.Close()
		})
	}
	return nil
}

// dial connects, with TLS where that is asked for.
func (l *link) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	if l.o.Network == "tls" {
		d := tls.Dialer{Config: l.o.TLS}
		return d.DialContext(ctx, "tcp", l.o.Address)
	}
	var d net.Dialer
	return d.DialContext(ctx, l.o.Network, l.o.Address)
}

func (l *link) works() {
	if l.wait = l.o.Wait; l.broken {
		l.broken = false
		l.o.Log.Info("the capture server takes packets again", "address", l.o.Network+":"+l.o.Address)
	}
}

// quiet is how long a trouble is not said again.
const quiet = time.Minute

func (l *link) fails(ctx context.Context, err error) {
	now := l.o.Now()
	if ctx.Err() != nil || !l.said.IsZero() && now.Sub(l.said) < quiet {
		return
	}
	l.said, l.broken = now, true
	l.o.Log.Warn("the capture server takes no packets; it is tried again", "error", fmt.Errorf("hep: %s:%s: %w", l.o.Network, l.o.Address, err))
}

// hangUp closes the connection and joins its reader.
func (l *link) hangUp() {
	if l.conn != nil {
		l.stop()
		l.conn.Close()
	}
	l.conn = nil
	l.reader.Wait()
}
