package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// A lab is three hosts in network namespaces of its own: the outside (phones,
// trunks, attackers), the guard and the PBX.
//
//	outside 10.77.1.2/24 ---- 10.77.1.1 guard 10.77.2.1 ---- 10.77.2.2/24 pbx
type lab struct {
	t                   *testing.T
	outside, guard, pbx string
}

var labs atomic.Int32

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	needs(t, "ip")
	id := fmt.Sprintf("rf%d-%d", os.Getpid()%100000, labs.Add(1))
	l := &lab{t: t, outside: id + "o", guard: id + "g", pbx: id + "p"}
	if out, err := exec.Command("ip", "netns", "add", l.outside).CombinedOutput(); err != nil {
		t.Skipf("cannot make network namespaces here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		for _, n := range []string{l.outside, l.guard, l.pbx} {
			_ = exec.Command("ip", "netns", "del", n).Run()
		}
	})
	l.ip("netns add " + l.guard)
	l.ip("netns add " + l.pbx)
	for _, n := range []string{l.outside, l.guard, l.pbx} {
		l.ip("-n " + n + " link set lo up")
	}
	l.wire(l.outside, "10.77.1.2/24", l.guard, "10.77.1.1/24", "out")
	l.wire(l.pbx, "10.77.2.2/24", l.guard, "10.77.2.1/24", "in")
	l.ip("-n " + l.outside + " route add default via 10.77.1.1")
	l.ip("-n " + l.pbx + " route add default via 10.77.2.1")
	return l
}

// wire connects two namespaces; the guard's end is called name.
func (l *lab) wire(a, addrA, b, addrB, name string) {
	l.t.Helper()
	l.ip(fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", a, name, b))
	l.ip(fmt.Sprintf("-n %s addr add %s dev eth0", a, addrA))
	l.ip(fmt.Sprintf("-n %s addr add %s dev %s", b, addrB, name))
	l.ip(fmt.Sprintf("-n %s link set eth0 up", a))
	l.ip(fmt.Sprintf("-n %s link set %s up", b, name))
}

// address gives the outside host one more address.
func (l *lab) address(a string) string {
	l.t.Helper()
	l.ip(fmt.Sprintf("-n %s addr add %s/24 dev eth0", l.outside, a))
	return a
}

func (l *lab) ip(line string) {
	l.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// in makes a command that runs on a host of the lab.
func (l *lab) in(host, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", host, program}, args...)...)
}

// freePort finds a port of loopback that nobody uses, neither over UDP nor over
// TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 50 {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:revive // held until one is free over both, so that the next is another
		port := c.LocalAddr().(*net.UDPAddr).Port
		if l, err := net.Listen("tcp", addr("127.0.0.1", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port of loopback is free")
	return 0
}
