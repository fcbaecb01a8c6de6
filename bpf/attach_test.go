package bpf

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// network makes two namespaces, a veth pair between them, and a bpffs of its
// own, and leaves the test's thread in the guarded one. outside is a socket in
// the other, connected to inside.
type network struct {
	dir             string
	inside, outside *net.UDPConn
}

func (n *network) send(t *testing.T, payload string) {
	t.Helper()
	must(t, second(n.outside.Write([]byte(payload))))
}

// arrives sends a message until it is there or the screen counts it as why.
func (n *network) arrives(t *testing.T, s *Screen, payload string, want Reason) {
	t.Helper()
	before, err := s.Counters()
	must(t, err)
	n.send(t, payload)
	for range 200 {
		now, err := s.Counters()
		must(t, err)
		for r := range now {
			if now[r].Packets == before[r].Packets {
				continue
			}
			if Reason(r) != want {
				t.Fatalf("%v, want %v", Reason(r), want)
			}
			if want.Action() == Drop {
				return
			}
			buf := make([]byte, 2000)
			must(t, n.inside.SetReadDeadline(time.Now().Add(5*time.Second)))
			size, err := n.inside.Read(buf)
			must(t, err)
			if string(buf[:size]) != payload {
				t.Fatalf("got %q", buf[:size])
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the screen has not seen the packet")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second(_ int, err error) error { return err }

func newNetwork(t *testing.T) *network {
	t.Helper()
	if _, err := Probe(); err != nil {
		t.Skip(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	n := &network{dir: filepath.Join(t.TempDir(), "fs")}
	must(t, os.Mkdir(n.dir, 0o700))
	must(t, unix.Mount("bpf", n.dir, "bpf", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(n.dir, unix.MNT_DETACH) })

	runtime.LockOSThread() // and never given back: a thread in another namespace ends with its goroutine
	guardedNS, err := netns.New()
	must(t, err)
	outsideNS, err := netns.New()
	must(t, err)
	t.Cleanup(func() { _ = guardedNS.Close(); _ = outsideNS.Close() })

	must(t, netns.Set(guardedNS))
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "in0"}, PeerName: "out0", PeerNamespace: netlink.NsFd(int(outsideNS))}
	must(t, netlink.LinkAdd(pair))
	up(t, "in0", "192.0.2.1/24")
	n.inside, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(from("192.0.2.1:5060")))
	must(t, err)
	must(t, netns.Set(outsideNS))
	up(t, "out0", "192.0.2.2/24")
	n.outside, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(from("192.0.2.2:5070")), net.UDPAddrFromAddrPort(from("192.0.2.1:5060")))
	must(t, err)
	must(t, netns.Set(guardedNS))
	t.Cleanup(func() { _ = n.inside.Close(); _ = n.outside.Close() })
	return n
}

func up(t *testing.T, name, addr string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(addr)
	must(t, err)
	must(t, netlink.AddrAdd(l, a))
	must(t, netlink.LinkSetUp(l))
}

func TestInline(t *testing.T) {
	n := newNetwork(t)
	c := Config{PinDir: filepath.Join(n.dir, "ringfence"), MaxBans: 100}
	register, sos := request("REGISTER", "sip:a"), request("INVITE", "urn:service:sos")
	phone := netip.MustParsePrefix("192.0.2.2/32")

	s, err := Load(c)
	must(t, err)
	must(t, guardedPorts(s))
	mode, err := s.Attach("in0", Auto)
	must(t, err)
	if mode != Native {
		t.Fatalf("attached as %s", mode)
	}
	n.arrives(t, s, register, Passed)
	must(t, s.Ban(phone, 0, time.Now().Add(time.Hour), false))
	n.arrives(t, s, register, Banned)
	n.arrives(t, s, sos, Emergency)
	must(t, s.Lift(phone, 0))
	n.arrives(t, s, register, Passed)
	must(t, s.Ban(phone, 0, time.Now().Add(time.Hour), false))

	// Somebody else cannot take the interface, and is told who has it.
	other, err := Load(Config{})
	must(t, err)
	if _, err := other.Attach("in0", Native); err == nil || !strings.Contains(err.Error(), "(screen)") {
		t.Errorf("attach to a held interface: %v", err)
	}
	if dir, why := other.Pinned(); dir != "" || why == "" {
		t.Errorf("unpinned: %q, %q", dir, why)
	}
	must(t, other.Close())

	// The daemon goes: the ban holds.
	before, err := netlink.LinkByName("in0")
	must(t, err)
	must(t, s.Close())
	n.send(t, register)
	held, err := netlink.LinkByName("in0")
	must(t, err)
	if held.Attrs().Xdp.ProgId == 0 || held.Attrs().Xdp.ProgId != before.Attrs().Xdp.ProgId {
		t.Fatal("the filter went with the process")
	}

	// It comes back, with the same maps and a new program on the same link.
	s, err = Load(c)
	must(t, err)
	counted, err := s.Counters()
	must(t, err)
	if counted[Banned].Packets != 2 {
		t.Errorf("%d banned packets counted, want those before and during the absence", counted[Banned].Packets)
	}
	mode, err = s.Attach("in0", Auto)
	must(t, err)
	after, err := netlink.LinkByName("in0")
	must(t, err)
	if mode != Native || after.Attrs().Xdp.ProgId == before.Attrs().Xdp.ProgId {
		t.Errorf("mode %s, program %d: not swapped", mode, after.Attrs().Xdp.ProgId)
	}
	n.arrives(t, s, register, Banned)
	must(t, s.Close())

	// Another size of a map: bans come along.
	c.MaxBans = 200
	s, err = Load(c)
	must(t, err)
	if _, err = s.Attach("in0", Native); err != nil {
		t.Fatal(err)
	}
	n.arrives(t, s, register, Banned)
	if got := s.objects.Bans.MaxEntries(); got != 200 {
		t.Errorf("the ban map has %d entries", got)
	}

	// Another mode is another attachment.
	if mode, err = s.Attach("in0", Generic); err != nil || mode != Generic {
		t.Fatalf("generic: %s, %v", mode, err)
	}
	n.arrives(t, s, register, Banned)
	must(t, s.Lift(phone, 0))
	n.arrives(t, s, register, Passed)

	must(t, s.Detach())
	bare, err := netlink.LinkByName("in0")
	must(t, err)
	if x := bare.Attrs().Xdp; x != nil && x.Attached {
		t.Error("still attached after Detach")
	}
	if _, err := os.Stat(c.PinDir); !os.IsNotExist(err) {
		t.Errorf("pins left: %v", err)
	}
	must(t, s.Close())

	names, err := Interfaces([]netip.AddrPort{from("192.0.2.1:5060"), from("127.0.0.1:5060")})
	must(t, err)
	if len(names) != 1 || names[0] != "in0" {
		t.Errorf("interfaces %v", names)
	}
	if _, err := Interfaces([]netip.AddrPort{from("192.0.2.77:5060")}); err == nil {
		t.Error("an address of nobody has an interface")
	}
}

// TestProbeNames drops to nobody and wants to be told what is missing.
func TestProbeNames(t *testing.T) {
	if os.Getenv("RINGFENCE_PROBE") != "" {
		_, err := Load(Config{})
		if err == nil {
			os.Exit(0)
		}
		_, _ = os.Stdout.WriteString(err.Error())
		os.Exit(3)
	}
	if os.Geteuid() != 0 {
		t.Skip("dropping privileges needs root")
	}
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	dir, err := os.MkdirTemp("", "probe")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	exe := filepath.Join(dir, "probe")
	must(t, os.WriteFile(exe, self, 0o755))
	cmd := exec.Command(exe, "-test.run=TestProbeNames")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RINGFENCE_PROBE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.Output()
	if !strings.Contains(string(out), "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON") {
		t.Errorf("said %q", out)
	}
}
