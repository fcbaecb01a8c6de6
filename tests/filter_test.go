package tests

import (
	"os/exec"
	"strings"
	"testing"
)

// TestFilterOutlivesTheDaemon ends the daemon as the kernel would: the pinned
// filter goes on keeping a banned source away, the next daemon takes it over,
// and detach takes it off when no daemon runs.
func TestFilterOutlivesTheDaemon(t *testing.T) {
	l := newLab(t)
	attacker, phone := l.address("10.77.1.66"), l.address("10.77.1.67")
	pins := t.TempDir()
	if out, err := exec.Command("mount", "-t", "bpf", "bpf", pins).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a file system for pins here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", pins).Run() })
	pin := pins + "/ringfence"
	d := start(t, l.guard, t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \"10.77.1.1:5060\"}]\n"+
		"location: {enabled: true}\n"+
		"screen: {mode: native, interfaces: [out], pin: "+pin+"}\nmetrics: \"off\"\n"), "--rules", "none")
	if out := d.ask("filter", "status"); !strings.Contains(out, "native on out; pinned in "+pin) {
		t.Fatalf("filter status:\n%s", out)
	}
	d.ask("bans", "add", attacker, "--for", "1h")
	if got := probe(t, l, phone); got == "" {
		t.Fatal("a phone gets no answer")
	}
	d.kill()

	// Somebody else at the guarded port: who is not banned reaches it.
	echo := l.in(l.guard, "python3", "-c", "import socket\n"+
		"s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('10.77.1.1',5060)); s.settimeout(20)\n"+
		"while True:\n d,a=s.recvfrom(4096); s.sendto(b'echo '+d,a)\n")
	if err := echo.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a phone passes the filter while no daemon runs", func() bool { return strings.HasPrefix(probe(t, l, phone), "echo") })
	if got := probe(t, l, attacker); got != "" {
		t.Errorf("the banned source passes while no daemon runs: %q", got)
	}
	_ = echo.Process.Kill()
	_ = echo.Wait()

	d.launch()
	if out := d.ask("filter", "status"); !strings.Contains(out, "native on out; pinned in "+pin) {
		t.Errorf("filter status after the restart:\n%s", out)
	}
	if got := probe(t, l, attacker); got != "" {
		t.Errorf("the banned source gets %q after the restart", got)
	}
	d.ask("lift", attacker)
	if got := probe(t, l, attacker); got == "" {
		t.Error("the lift does not reach the filter that was taken over")
	}
	d.stop()

	attached := func() bool {
		out, err := exec.Command("ip", "-n", l.guard, "link", "show", "out").CombinedOutput()
		if err != nil {
			t.Fatalf("ip link: %v: %s", err, out)
		}
		return strings.Contains(string(out), "xdp")
	}
	if !attached() {
		t.Error("the filter is gone with the daemon")
	}
	if out, err := l.in(l.guard, binary, "filter", "detach", "--pin", pin).CombinedOutput(); err != nil || !strings.Contains(string(out), "the filter is off") {
		t.Errorf("filter detach: %v: %s", err, out)
	}
	if attached() {
		t.Error("the filter is still attached after detach")
	}
}
