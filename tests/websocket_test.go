package tests

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A webServer is a daemon with ws and wss, in front of a bystander.
type webServer struct {
	*target
	at map[string]string // by scheme
}

func newWebServer(t *testing.T, more ...string) *webServer {
	at := map[string]string{"ws": addr("127.0.0.1", freePort(t)), "wss": addr("127.0.0.1", freePort(t))}
	return &webServer{newTarget(t, append(more, "--rules", "none", "--listen", "ws:"+at["ws"], "--listen", "wss:"+at["wss"])...), at}
}

// raw is a connection that nothing was asked over yet.
func (s *webServer) raw(t *testing.T, scheme string) net.Conn {
	t.Helper()
	d := net.Dialer{}
	var c net.Conn
	var err error
	if scheme == "wss" {
		c, err = (&tls.Dialer{NetDialer: &d, Config: &tls.Config{InsecureSkipVerify: true}}).Dial("tcp", s.at[scheme])
	} else {
		c, err = d.Dial("tcp", s.at[scheme])
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// open is a WebSocket, made by somebody else's client.
func (s *webServer) open(t *testing.T, scheme string) net.Conn {
	t.Helper()
	c, err := s.dial(scheme)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *webServer) dial(scheme string) (net.Conn, error) {
	d := ws.Dialer{Protocols: []string{"sip"}, Timeout: 10 * time.Second, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	c, early, _, err := d.Dial(context.Background(), scheme+"://"+s.at[scheme]+"/")
	if err != nil {
		return nil, err
	}
	if early != nil {
		ws.PutReader(early)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c, nil
}

// send writes a frame as a client does.
func send(t *testing.T, c net.Conn, op ws.OpCode, fin bool, payload string) {
	t.Helper()
	if err := ws.WriteFrame(c, ws.MaskFrameInPlace(ws.NewFrame(op, fin, []byte(payload)))); err != nil {
		t.Fatal(err)
	}
}

// closed reads until the far end says goodbye, and gives the code.
func closed(t *testing.T, c net.Conn) ws.StatusCode {
	t.Helper()
	for in := bufio.NewReader(c); ; {
		f, err := ws.ReadFrame(in)
		if err != nil {
			t.Errorf("no goodbye: %v", err)
			return 0
		}
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return code
		}
	}
}

// asks is a request that the next hop does not see: its Max-Forwards is 0.
const asks = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/WS page.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n" +
	"To: <sip:bob@example.com>\r\nCall-ID: ws\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 0\r\n\r\n"

// works tells whether a page is served.
func (s *webServer) works(t *testing.T, scheme string) {
	t.Helper()
	c := s.open(t, scheme)
	send(t, c, ws.OpText, true, asks)
	msg, err := wsutil.ReadServerText(c)
	if err != nil || !strings.HasPrefix(string(msg), "SIP/2.0 483") {
		t.Errorf("%s: %q, %v", scheme, msg, err)
	}
}

// TestWebSocketUnderAttack: who holds, floods or breaks a WebSocket loses it, hears
// why, and is in nobody's way.
func TestWebSocketUnderAttack(t *testing.T) {
	s := newWebServer(t)
	invite := strings.Replace(plainInvite, "SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/WS page.invalid", 1)
	t.Run("attacks", func(t *testing.T) {
		for _, scheme := range []string{"ws", "wss"} {
			attack := func(name string, do func(t *testing.T)) {
				t.Run(scheme+" "+name, func(t *testing.T) { t.Parallel(); do(t) })
			}
			attack("a fragment that is held", func(t *testing.T) {
				c := s.open(t, scheme)
				send(t, c, ws.OpText, true, asks)
				send(t, c, ws.OpText, false, strings.Repeat("x", 60000))
				if code := closed(t, c); code != ws.StatusPolicyViolation {
					t.Errorf("code %d", code)
				}
			})
			attack("fragments and pings without end", func(t *testing.T) {
				c := s.open(t, scheme)
				send(t, c, ws.OpText, true, asks)
				send(t, c, ws.OpText, false, "OPTIONS")
				stop := make(chan struct{})
				var feeder sync.WaitGroup
				feeder.Go(func() {
					for tick := time.NewTicker(200 * time.Millisecond); ; {
						select {
						case <-stop:
							return
						case <-tick.C:
							_ = ws.WriteFrame(c, ws.MaskFrame(ws.NewFrame(ws.OpContinuation, false, nil)))
							_ = ws.WriteFrame(c, ws.MaskFrame(ws.NewPingFrame(nil)))
						}
					}
				})
				if code := closed(t, c); code != ws.StatusPolicyViolation {
					t.Errorf("code %d", code)
				}
				close(stop)
				feeder.Wait()
			})
			attack("a slow handshake", func(t *testing.T) {
				c := s.raw(t, scheme)
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
				_, err := io.ReadAll(c)
				if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
					t.Error("it is waited for")
				}
			})
			attack("garbage", func(t *testing.T) {
				for _, text := range []string{"\x16\x03\x01\x02\x00", "\x00", "OPTIONS sip:a SIP/2.0\r\n\r\n", strings.Repeat("A", 20000)} {
					c := s.raw(t, scheme)
					_, _ = io.WriteString(c, text)
					answer, err := io.ReadAll(c)
					if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || strings.Contains(string(answer), "101") {
						t.Errorf("%.20q: %q, %v", text, answer, err)
					}
				}
				c := s.open(t, scheme)
				_, _ = io.WriteString(c, "\xff\xff\xff\xff")
				if code := closed(t, c); code != ws.StatusProtocolError {
					t.Errorf("code %d", code)
				}
			})
			attack("too long", func(t *testing.T) {
				c := s.open(t, scheme)
				send(t, c, ws.OpText, true, strings.Repeat("x", 70000))
				if code := closed(t, c); code != ws.StatusMessageTooBig {
					t.Errorf("code %d", code)
				}
			})
			attack("a flood of pings that nobody reads the answers of", func(t *testing.T) {
				c := s.open(t, scheme)
				ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(make([]byte, 125))))
				for range 50000 {
					if _, err := c.Write(ping); err != nil {
						break // as it may
					}
				}
			})
			attack("an invitation", func(t *testing.T) {
				c := s.open(t, scheme)
				send(t, c, ws.OpText, true, strings.NewReplacer("c1", "c-"+scheme, "z9hG4bK1", "z9hG4bK"+scheme).Replace(invite))
				eventually(t, "it reaches the next hop", func() bool {
					s.b.mu.Lock()
					defer s.b.mu.Unlock()
					return len(s.b.got[c.LocalAddr().String()]) > 0
				})
			})
		}
	})
	s.works(t, "ws")
	s.works(t, "wss")
}

// TestWebSocketsOfOneAddress: an address has so many connections and no more, and has
// its places back when they are gone.
func TestWebSocketsOfOneAddress(t *testing.T) {
	s := newWebServer(t, "--config", writeConfig(t, "version: 1\nlimits: {connections_per_source: 20}\n"))
	var open []net.Conn
	for range 40 {
		if c, err := s.dial("ws"); err == nil {
			open = append(open, c)
		}
	}
	if len(open) != 20 {
		t.Errorf("%d of 40 are open, want 20", len(open))
	}
	for _, c := range open {
		_ = c.Close()
	}
	eventually(t, "there is room again", func() bool {
		c, err := s.dial("ws")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestWebSocketsHearThatTheDaemonStops: a page knows then that it may come back.
func TestWebSocketsHearThatTheDaemonStops(t *testing.T) {
	s := newWebServer(t)
	pages := []net.Conn{s.open(t, "ws"), s.open(t, "wss"), s.open(t, "ws")}
	for _, c := range pages {
		send(t, c, ws.OpText, true, asks)
		if _, err := wsutil.ReadServerText(c); err != nil {
			t.Fatal(err)
		}
	}
	s.d.stop()
	for i, c := range pages {
		if code := closed(t, c); code != ws.StatusGoingAway {
			t.Errorf("page %d: code %d", i, code)
		}
	}
}
