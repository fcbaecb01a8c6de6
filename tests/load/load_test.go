// Package load drives the proxy core with sipp over real sockets on loopback.
package load

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/proxy"
	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// pass is an engine that lets everything through: what is loaded here is the
// proxy.
type pass struct{}

func (pass) Judge(_ context.Context, m *guard.Message, d *guard.Decision) {
	d.Reset()
	d.Message = m
}
func (pass) Reply(context.Context, *guard.Message, *guard.Decision) {}
func (pass) End(context.Context, *guard.Message, *guard.Decision)   {}

// start runs a proxy in front of the PBX at an address until the test ends.
func start(t *testing.T, transport guard.Transport, pbx netip.AddrPort) (*proxy.Proxy, netip.AddrPort) {
	t.Helper()
	local := netip.MustParseAddrPort("127.0.0.1:0")
	c := proxy.Config{Hops: []route.Config{{Name: "pbx", Host: pbx.Addr().String(), Port: pbx.Port()}}}
	for _, tr := range []guard.Transport{guard.UDP, guard.TCP} {
		c.Listeners = append(c.Listeners, proxy.Listener{Listener: wire.Listener{Name: tr.String(), Transport: tr, Address: local}})
	}
	o := proxy.Options{Engine: pass{}, Now: time.Now, PerSource: 1 << 16}
	o.Trust.UnknownRate.PerSecond, o.Trust.UnknownRate.Burst = 1e6, 1e6
	o.Trust.Pipe, o.Trust.ChallengedRate = o.Trust.UnknownRate, o.Trust.UnknownRate
	p, err := proxy.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, p.Addresses()[transport]
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// sipp runs a scenario; it is killed when the test ends.
func sipp(t *testing.T, out *bytes.Buffer, scenario string, at netip.AddrPort, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{
		"-sf", scenario, "-i", at.Addr().String(), "-p", strconv.FormatUint(uint64(at.Port()), 10), "-nostdin", "-buff_size", "4194304",
	}, args...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "sipp", args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	return cmd
}

// TestCalls makes a few hundred calls a second; every one of them must succeed.
func TestCalls(t *testing.T) {
	if _, err := exec.LookPath("sipp"); err != nil {
		t.Skip("sipp is not installed: run tests/setup.sh as root")
	}
	for _, c := range []struct {
		name, caller, callee string
		transport            guard.Transport
		args                 []string
	}{
		{"udp", "call.xml", "answer.xml", guard.UDP, []string{"-r", "400", "-m", "2000"}},
		{"cancel", "cancel.xml", "ring.xml", guard.UDP, []string{"-r", "100", "-m", "500"}},
		{"tcp", "call.xml", "answer.xml", guard.TCP, []string{"-r", "200", "-m", "600", "-t", "t1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pbx, phone := freePort(t), freePort(t)
			_, at := start(t, c.transport, pbx)
			var said, heard bytes.Buffer
			sipp(t, &heard, c.callee, pbx)
			for range 100 { // until it listens
				if l, err := net.ListenPacket("udp", pbx.String()); err != nil {
					break
				} else if l.Close() == nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
			args := append([]string{at.String(), "-l", "20000", "-timeout", "60", "-timeout_error"}, c.args...)
			if err := sipp(t, &said, c.caller, phone, args...).Wait(); err != nil {
				text := said.String()
				if i := strings.LastIndex(text, "Scenario Screen"); i > 0 {
					text = text[i:]
				}
				t.Errorf("calls failed: %v\n%s", err, text)
			}
		})
	}
}
