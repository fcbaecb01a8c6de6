package hep

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
	"ringfence/record/tap"
)

const register = "REGISTER sip:b SIP/2.0\r\nCall-ID: one\r\nAuthorization: Digest response=\"0123\"\r\n\r\n"

// running starts a mirror; it is stopped and joined by the function.
func running(t *testing.T, o Options) (*tap.Tap, *Mirror, func()) {
	t.Helper()
	x := tap.New(tap.Options{})
	o.Tap, o.Now, o.Wait, o.Last, o.Agent = x, time.Now, time.Nanosecond, cmp.Or(o.Last, time.Millisecond), 5
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return x, m, func() {
		cancel()
		wg.Wait()
		if x.Wanted() {
			t.Error("the mirror still looks on")
		}
	}
}

// pass lets a request, its refusal by a rule and the answer pass.
func pass(x *tap.Tap) {
	x.Received(phone, here, guard.UDP, []byte(register), start)
	x.Decided(&guard.Decision{
		Message: &guard.Message{At: start, Src: phone, Dst: here}, Stage: guard.StageIdentity,
		Verdict: guard.Verdict{Action: guard.Reject, Status: 403, Reason: "No", Rule: "guess"},
		Matches: []guard.Match{{Rule: "guess", Title: "Guesses", Where: "rules.yaml:12", Action: guard.Reject}},
	})
	x.Sent(phone, here, guard.UDP, []byte("SIP/2.0 403 No\r\nCall-ID: one\r\n\r\n"), start)
}

// check looks at what pass must have become.
func check(t *testing.T, got []seen) {
	t.Helper()
	if len(got) != 3 {
		t.Fatalf("%d packets", len(got))
	}
	for _, s := range got {
		if s.call != "one" || s.agent != 5 || s.key != "secret" {
			t.Errorf("got %+v", s)
		}
	}
	if s := got[0]; s.kind != 1 || s.src != phone || s.dst != here || s.payload != strings.Replace(register, "0123", "****", 1) {
		t.Errorf("got %+v", s)
	}
	if s := got[2]; s.kind != 1 || s.src != here || s.dst != phone || !strings.HasPrefix(s.payload, "SIP/2.0 403") {
		t.Errorf("got %+v", s)
	}
	var v verdict
	if err := json.Unmarshal([]byte(got[1].payload), &v); err != nil || got[1].kind != 100 {
		t.Fatalf("%v in %+v", err, got[1])
	}
	if v.Verdict != "reject" || v.Status != 403 || v.Rule != "guess" || v.Where != "rules.yaml:12" || v.CallID != "one" || v.Stage != "identity" || len(v.Matches) != 1 {
		t.Errorf("got %+v", v)
	}
}

func TestUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	reg := prometheus.NewRegistry()
	x, m, stop := running(t, Options{Network: "udp", Address: server.LocalAddr().String(), Key: []byte("secret"), Metrics: reg})
	pass(x)
	var got []seen
	b := make([]byte, 1<<16)
	for range 3 {
		n, _, err := server.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		s, rest := read(t, b[:n])
		if len(rest) > 0 {
			t.Error("two packets in a datagram")
		}
		got = append(got, s)
	}
	stop()
	check(t, got)
	if c := m.Counts(); c != (Counts{Messages: 2, Verdicts: 1}) {
		t.Errorf("got %+v", c)
	}
	if n, err := reg.Gather(); err != nil || len(n) != 2 {
		t.Errorf("%d metrics, %v", len(n), err)
	}
}

// next reads one packet of a stream.
func next(r io.Reader) ([]byte, error) {
	b := make([]byte, 6)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := int(b[4])<<8 | int(b[5])
	b = append(b, make([]byte, n-6)...)
	_, err := io.ReadFull(r, b[6:])
	return b, err
}

// A capture is a server that takes streams.
type capture struct {
	net.Listener
	got   chan arrived
	conns chan net.Conn
}

type arrived struct {
	conn int // number of the connection
	seen seen
}

// serve takes connections one after the other, until the listener is closed.
func (c *capture) serve(t *testing.T) {
	for n := 0; ; n++ {
		conn, err := c.Accept()
		if err != nil {
			return
		}
		c.conns <- conn
		for {
			b, err := next(conn)
			if err != nil {
				break
			}
			s, _ := read(t, b)
			c.got <- arrived{n, s}
		}
		conn.Close()
	}
}

// three are the next packets of the call that pass lets pass.
func (c *capture) three() (got []seen) {
	for len(got) < 3 {
		if x := <-c.got; x.seen.call == "one" {
			got = append(got, x.seen)
		}
	}
	return got
}

func TestStreamsAreMadeAgain(t *testing.T) {
	config, pool := identity(t)
	for _, c := range []struct {
		network string
		wrap    func(net.Listener) net.Listener
	}{
		{"tcp", func(l net.Listener) net.Listener { return l }},
		{"tls", func(l net.Listener) net.Listener { return tls.NewListener(l, config) }},
	} {
		t.Run(c.network, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &capture{c.wrap(l), make(chan arrived, 1000), make(chan net.Conn, 1000)}
			var wg sync.WaitGroup
			wg.Go(func() { server.serve(t) })
			defer wg.Wait()
			defer server.Close()
			x, _, stop := running(t, Options{Network: c.network, Address: l.Addr().String(), Key: []byte("secret"), TLS: &tls.Config{RootCAs: pool, ServerName: "capture"}})
			defer stop()
			for conn := range 3 {
				pass(x)
				check(t, server.three())
				(<-server.conns).Close()
				for again := false; !again; { // what is written before the mirror notices goes nowhere
					x.Received(phone, here, guard.UDP, []byte("noise"), start)
					select {
					case s := <-server.got:
						again = s.conn > conn
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
}

// identity is a certificate of the name "capture".
func identity(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"capture"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// TestWaitsForAServer lets messages wait while nobody takes them, as many as
// there is room for.
func TestWaitsForAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	x, m, stop := running(t, Options{Network: "tcp", Address: address, Queue: 1})
	defer stop()
	const all = 5000
	for i := range all {
		x.Received(phone, here, guard.UDP, fmt.Appendf(nil, "OPTIONS x\r\nCall-ID: %d\r\n\r\n", i), start)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Skip(err) // somebody else took the port
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := next(conn)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := read(t, b); s.call != "0" {
		t.Errorf("the first is %q", s.call)
	}
	for r := bufio.NewReader(conn); ; { // the last comes when all have been seen or counted
		c := m.Counts()
		if c.Full == 0 {
			x.Received(phone, here, guard.UDP, []byte("OPTIONS x\r\n\r\n"), start)
		} else if c.Messages > 0 {
			break
		}
		if _, err := next(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCredentialsOnRequest(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	x, m, stop := running(t, Options{Network: "udp", Address: server.LocalAddr().String(), Credentials: true})
	defer stop()
	x.Received(phone, here, guard.UDP, make([]byte, maxDatagram), start)
	x.Received(phone, here, guard.UDP, []byte(register), start)
	b := make([]byte, 1<<16)
	n, _, err := server.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := read(t, b[:n]); s.payload != register {
		t.Errorf("got %q", s.payload)
	}
	if c := m.Counts(); c.TooLong != 1 {
		t.Errorf("got %+v", c)
	}
}

// TestWhatIsLeftGoesOut ends the mirror right after something has passed.
func TestWhatIsLeftGoesOut(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	x, m, stop := running(t, Options{Network: "udp", Address: server.LocalAddr().String(), Last: time.Minute})
	pass(x)
	stop()
	if c := m.Counts(); c != (Counts{Messages: 2, Verdicts: 1}) {
		t.Errorf("got %+v", c)
	}
}

func TestNewWantsAServer(t *testing.T) {
	if _, err := New(Options{Now: time.Now, Tap: tap.New(tap.Options{})}); err == nil {
		t.Error("a mirror without a server is made")
	}
}
