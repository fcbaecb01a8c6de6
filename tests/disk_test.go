package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk takes the disk away from under the daemon: calls and
// registrations go on, bans hold, one line says what is wrong, and once there is
// room everything that must survive is written.
func TestFullDisk(t *testing.T) {
	needs(t, "sipp")
	if os.Geteuid() != 0 {
		t.Skip("a small disk of its own needs root")
	}
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
	state, ballast := filepath.Join(disk, "state"), filepath.Join(disk, "ballast")
	fill := func() {
		t.Helper()
		var st syscall.Statfs_t
		if err := syscall.Statfs(disk, &st); err != nil {
			t.Fatal(err)
		}
		left := int64(st.Bavail)*st.Bsize - 4<<20
		f, err := os.Create(ballast)
		if err == nil {
			err = syscall.Fallocate(int(f.Fd()), 0, 0, left)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	port, bob, alice := freePort(t), addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t))
	server := addr("127.0.0.1", port)
	d := start(t, "", state, "--config", writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \""+server+"\"}]\n"+
		"location: {enabled: true}\n"+
		"guards: {auth: {realm: ringfence, algorithms: [MD5]}}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n"),
		"--account", "alice:secret-a", "--account", "bob:secret-b")
	fill()
	must(t, "bob registers", sipp{scenario: "register", local: bob, remote: server, user: "bob", password: "secret-b"}.run(t, nil))
	answered := sipp{scenario: "answer", local: bob, user: "bob"}.background(t, nil)
	must(t, "alice calls bob", sipp{scenario: "call", local: alice, remote: server, user: "alice", password: "secret-a", to: "bob", talk: 2 * time.Second}.run(t, nil))
	must(t, "bob answers", answered())
	if out, err := d.try("bans", "add", "192.0.2.66", "--for", "1h"); err != nil {
		t.Errorf("a ban cannot be made while the disk is full: %v\n%s", err, out)
	}
	var bans []struct{ Prefix string }
	if d.table(&bans, "bans", "list"); len(bans) != 1 {
		t.Errorf("bans while the disk is full: %v", bans)
	}
	eventually(t, "the log says that the disk is full", func() bool { return strings.Contains(d.log.String(), "no room on the disk") })
	if n := strings.Count(d.log.String(), "no room on the disk"); n > 20 {
		t.Errorf("it says so %d times", n)
	}
	out, _ := d.try("doctor") // its exit code is for people
	if !strings.Contains(out, "disk") {
		t.Errorf("doctor does not speak of the disk:\n%s", out)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	d.ask("bans", "add", "192.0.2.67", "--for", "1h")
	eventually(t, "both bans are written", func() bool {
		d.kill()
		d.launch()
		d.table(&bans, "bans", "list")
		return len(bans) == 2
	})
	d.stop()

	// The same at the start: what is on disk holds, and what is decided now is on it
	// once there is room.
	fill()
	d.launch()
	if d.table(&bans, "bans", "list"); len(bans) != 2 {
		t.Errorf("bans after a start on a full disk: %v", bans)
	}
	inMemory(t, d, "the disk is full", "make room")
	must(t, "bob registers", sipp{scenario: "register", local: bob, remote: server, user: "bob", password: "secret-b"}.run(t, nil))
	d.ask("bans", "add", "192.0.2.68", "--for", "1h")
	d.ask("account", "add", "carol", "--password", "file:"+secretFile(t))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	backOnDisk(t, d, 3)
	var bindings []struct {
		User     string
		Bindings []string
	}
	d.table(&bindings, "account", "list")
	for _, a := range bindings {
		if a.User == "bob" && len(a.Bindings) != 1 {
			t.Errorf("bob registered while the store was in memory: %v", bindings)
		}
	}
	if len(bindings) != 3 {
		t.Errorf("accounts: %v", bindings)
	}
}

// inMemory checks that the daemon says wherever one looks that it cannot write.
func inMemory(t *testing.T, d *daemon, why, do string) {
	t.Helper()
	if n := strings.Count(d.log.String(), "the store cannot be written"); n != 1 {
		t.Errorf("the log says so %d times:\n%s", n, d.log.String())
	}
	for _, command := range []string{"status", "doctor"} {
		out, _ := d.try(command) // the exit code of doctor is for people
		if !strings.Contains(out, "IN MEMORY") || !strings.Contains(out, why) || !strings.Contains(out, do) {
			t.Errorf("%s does not say why (%s) and what to do (%s):\n%s", command, why, do, out)
		}
	}
}

// backOnDisk waits until the store is written again, kills the daemon, and checks
// that the bans are all there after that.
func backOnDisk(t *testing.T, d *daemon, want int) {
	t.Helper()
	eventually(t, "the store is on disk again", func() bool { return strings.Contains(d.ask("status"), "on disk") })
	d.kill()
	d.launch()
	var bans []struct{ Prefix string }
	if d.table(&bans, "bans", "list"); len(bans) != want {
		t.Errorf("bans on disk: %v, want %d", bans, want)
	}
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := writeFile(path, "secret-c"); err != nil {
		t.Fatal(err)
	}
	return path
}
