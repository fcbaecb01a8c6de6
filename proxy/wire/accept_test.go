package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
)

// certificate is one for 127.0.0.1 and pbx.example.com, and who trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"pbx.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// secured gives a TLS listener its certificate; the function makes connections
// of clients, with TLS if the listener has it.
func secured(t testing.TB, l Listener) (Listener, func(testing.TB, netip.AddrPort) net.Conn) {
	t.Helper()
	if !l.Transport.Secure() {
		return l, func(t testing.TB, to netip.AddrPort) net.Conn { return dial(t, "tcp", to) }
	}
	cert, pool := certificate(t)
	l.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	l.DialTLS = &tls.Config{RootCAs: pool}
	return l, func(t testing.TB, to netip.AddrPort) net.Conn {
		t.Helper()
		c := tls.Client(dial(t, "tcp", to), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func TestA69ConnectionsAreCapped(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		screen Screen
		why    Reason
	}{
		{"per source", Limits{PerSource: 2}, nil, TooMany},
		{"in all", Limits{Connections: 2}, nil, TooMany},
		{"by the screen", Limits{}, noScreen{}, Screened},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, refused := newTap(), make(chan Reason, 1)
			w, _ := run(t, Options{
				Listeners: []Listener{listen(guard.TCP)}, Limits: c.limits, Screen: c.screen,
				Refused: func(_ Flow, r Reason) { refused <- r },
			}, h)
			var first net.Conn
			if c.screen == nil {
				first = dial(t, "tcp", w.Addresses()[0])
				dial(t, "tcp", w.Addresses()[0])
			}
			if third, err := net.Dial("tcp", w.Addresses()[0].String()); err == nil { // the reset may be faster
				_ = third.SetDeadline(time.Now().Add(patient))
				ended(t, third)
				_ = third.Close()
			}
			if r := next(t, refused); r != c.why || w.Counters().Dropped[c.why] != 1 {
				t.Errorf("refused for %s, want %s; counted %d times", r, c.why, w.Counters().Dropped[c.why])
			}
			if first == nil {
				return
			}
			_ = first.Close()
			next(t, h.closed)
			again := dial(t, "tcp", w.Addresses()[0])
			write(t, again, message("OPTIONS", ""))
			h.next(t)
		})
	}
}

func TestSourcesOfOneIPv6NetworkCountTogether(t *testing.T) {
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1")
	if site(a) != site(b) || site(a) == site(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("an IPv6 site is not a /64")
	}
	if site(netip.MustParseAddr("192.0.2.1")) == site(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two IPv4 addresses are one site")
	}
	if z := netip.MustParseAddr("fe80::1%3"); site(z) != site(z.WithZone("")) {
		t.Error("a zone makes another site")
	}
}

func TestA69HandshakeThatIsNeverFinished(t *testing.T) {
	l, _ := secured(t, listen(guard.TLS))
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{l}, Limits: Limits{Handshake: 20 * time.Millisecond}}, h)
	c := dial(t, "tcp", w.Addresses()[0])
	write(t, c, "\x16\x03\x01") // the beginning of a ClientHello
	ended(t, c)
	next(t, h.closed)
	if got := w.Counters().Dropped[BadHandshake]; got != 1 {
		t.Errorf("%d are counted, want 1", got)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	l, client := secured(t, listen(guard.TLS))
	l.TLS.MinVersion = tls.VersionTLS10 // is raised
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{l}}, h)
	old := tls.Client(dial(t, "tcp", w.Addresses()[0]), &tls.Config{
		RootCAs: l.DialTLS.RootCAs, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err := old.Handshake(); err == nil {
		t.Error("TLS 1.1 was agreed")
	}
	next(t, h.closed)
	if got := w.Counters().Dropped[BadHandshake]; got != 1 {
		t.Errorf("%d are counted, want 1", got)
	}
	write(t, client(t, w.Addresses()[0]), message("OPTIONS", "")) // a newer one still is
	h.next(t)
}

// TestRunEndsWithConnectionsOpen of every kind, while every limit is an hour.
func TestRunEndsWithConnectionsOpen(t *testing.T) {
	secure, client := secured(t, listen(guard.TLS))
	h := newTap()
	w, stop := run(t, Options{Listeners: []Listener{listen(guard.TCP), secure}, Limits: Limits{
		Handshake: time.Hour, FirstMessage: time.Hour, Partial: time.Hour, Idle: time.Hour, Write: time.Hour, Connect: time.Hour, Linger: time.Hour,
	}}, h)
	plain, tlsAt := w.Addresses()[0], w.Addresses()[1]
	dial(t, "tcp", plain)                               // says nothing
	dial(t, "tcp", tlsAt)                               // no handshake
	write(t, dial(t, "tcp", plain), "INVITE sip:a@b")   // in the middle of a message
	write(t, client(t, tlsAt), message("OPTIONS", "x")) // a good one
	half := dial(t, "tcp", plain)                       // one that lingers
	write(t, half, message("OPTIONS", ""))
	if err := half.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // a far end that never agrees on TLS
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := w.Connect(1, addrPort(silent.Addr()), "pbx.example.com"); err != nil {
		t.Fatal(err)
	}
	h.next(t)
	h.next(t)
	eventually(t, "all are there", func() bool { return w.Counters().Open == 6 })
	stop()
	for range 6 {
		next(t, h.closed)
	}
	if n := w.Counters(); n.Open != 0 || len(w.sources) != 0 || len(w.outbound) != 0 || w.accepted != 0 || w.lingering.Load() != 0 {
		t.Errorf("left over: %+v", n)
	}
	if _, err := w.Connect(0, plain, ""); err == nil {
		t.Error("a connection is made after the end")
	}
}
