package wire

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"ringfence/guard"
)

// opened are sockets that somebody else has opened, as files.
func opened(t *testing.T) (files []*os.File, udp, tcp netip.AddrPort) {
	t.Helper()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close(); l.Close() })
	uf, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	lf, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	return []*os.File{uf, lf}, addrPort(u.LocalAddr()), addrPort(l.Addr())
}

// What arrives while nobody reads waits for the next process.
func TestInheritedSockets(t *testing.T) {
	files, udp, tcp := opened(t)
	c, err := net.Dial("udp", udp.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const early = "OPTIONS sip:early SIP/2.0"
	if _, err := c.Write([]byte(early)); err != nil {
		t.Fatal(err)
	}
	h := newTap()
	w, _ := run(t, Options{Inherited: files, Listeners: []Listener{
		{Name: "u", Transport: guard.UDP, Address: udp}, {Name: "t", Transport: guard.TCP, Address: tcp}, listen(guard.UDP),
	}}, h)
	if got := h.next(t); got.text != early {
		t.Errorf("got %q", got.text)
	}
	if at := w.Addresses(); at[0] != udp || at[1] != tcp {
		t.Errorf("it listens on %v", at)
	}
	s, err := net.Dial("tcp", tcp.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte("OPTIONS sip:late SIP/2.0\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := h.next(t); !strings.HasPrefix(got.text, "OPTIONS sip:late") {
		t.Errorf("got %q", got.text)
	}
}

func TestInheritedSocketsThatNobodyWants(t *testing.T) {
	files, udp, _ := opened(t)
	_, err := New(Options{Inherited: files, Listeners: []Listener{{Name: "u", Transport: guard.UDP, Address: udp}}})
	if err == nil || !strings.Contains(err.Error(), "listens on tcp") {
		t.Errorf("got %v", err)
	}
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer wr.Close()
	if _, err := New(Options{Inherited: []*os.File{r}, Listeners: []Listener{listen(guard.UDP)}}); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("a pipe: %v", err)
	}
}
