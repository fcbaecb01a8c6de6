package tests

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadOnlyState starts on a disk that nothing can be written to: accounts
// authenticate, bans hold, the command line finds the daemon, and once the disk can
// be written everything is on it.
func TestReadOnlyState(t *testing.T) {
	needs(t, "sipp")
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a disk here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
	remount := func(how string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,"+how, disk).CombinedOutput(); err != nil {
			t.Fatalf("remount: %v: %s", err, out)
		}
	}
	bob, alice, server := addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t))
	config := writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \""+server+"\"}, {transport: tls, address: \""+addr("127.0.0.1", freePort(t))+"\"}]\n"+
		"location: {enabled: true}\n"+
		"guards: {auth: {realm: ringfence, algorithms: [MD5]}}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n")
	d := start(t, "", filepath.Join(disk, "state"), "--config", config, "--account", "alice:secret-a", "--account", "bob:secret-b")
	d.ask("bans", "add", "192.0.2.66", "--for", "1h")
	must(t, "bob registers", sipp{scenario: "register", local: bob, remote: server, user: "bob", password: "secret-b"}.run(t, nil))
	d.stop() // so that all is written
	d.launch()
	d.kill() // it leaves logs that are not cut, and a socket that nobody answers on

	remount("ro")
	d.args = []string{"--config", config} // accounts are those on the disk
	d.launch()
	inMemory(t, d, "read-only file system", "mount it writable")
	var bans []struct{ Prefix string }
	if d.table(&bans, "bans", "list"); len(bans) != 1 {
		t.Errorf("bans on a read-only disk: %v", bans)
	}
	// bob is where he registered before: his phone need not register again.
	answered := sipp{scenario: "answer", local: bob, user: "bob"}.background(t, nil)
	must(t, "alice calls bob", sipp{scenario: "call", local: alice, remote: server, user: "alice", password: "secret-a", to: "bob", talk: time.Second}.run(t, nil))
	must(t, "bob answers", answered())
	if out, err := d.try("bans", "add", "192.0.2.67", "--for", "1h"); err != nil || !strings.Contains(out, "only in memory") {
		t.Errorf("a ban by hand: %v\n%s", err, out)
	}
	second := exec.Command(binary, "run", "--state", d.state, "--listen", "udp:"+addr("127.0.0.1", freePort(t)), "--metrics", "off", "--filter", "off")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another ringfence is running with this state directory") {
		t.Errorf("a second one starts or says (%v):\n%s", err, out)
	}
	remount("rw")
	backOnDisk(t, d, 2)
}

// TestDamagedStateFiles spoils everything beside the store: it starts all the same.
func TestDamagedStateFiles(t *testing.T) {
	d := start(t, "", t.TempDir(), "--listen", "tls:"+addr("127.0.0.1", freePort(t)), "--metrics", "off", "--filter", "off")
	d.stop()
	for _, pattern := range []string{"tls/*", "keys/*"} {
		files, _ := filepath.Glob(filepath.Join(d.state, pattern))
		if len(files) < 2 {
			t.Fatalf("%s: %v", pattern, files)
		}
		for i, f := range files {
			if err := writeFile(f, strings.Repeat("damaged", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.launch()
}

// TestGeoDatabaseAppears starts without the database and with a broken one, and puts
// it in place later.
func TestGeoDatabaseAppears(t *testing.T) {
	good, err := os.ReadFile(corpus(t, "maxmind/test-data/GeoIP2-Country-Test.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	for name, before := range map[string]string{"missing": "", "broken": "<html>please log in</html>"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "country.mmdb")
			if before != "" {
				if err := writeFile(path, before); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"--geo", path, "--listen", "udp:" + addr("127.0.0.1", freePort(t)), "--metrics", "off", "--filter", "off"}
			if out, err := exec.Command(binary, append([]string{"check"}, args...)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "--geo: error: ") || !strings.Contains(string(out), path) {
				t.Errorf("check (%v):\n%s", err, out)
			}
			d := start(t, "", t.TempDir(), args...)
			if n := strings.Count(d.log.String(), "geo database"); n != 1 {
				t.Errorf("the log says so %d times:\n%s", n, d.log.String())
			}
			if out, _ := d.try("doctor"); !strings.Contains(out, path) {
				t.Errorf("doctor does not speak of it:\n%s", out)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the database is read", func() bool {
				var x struct{ Country string }
				d.table(&x, "explain", "81.2.69.160")
				return x.Country == "GB"
			})
		})
	}
}

// TestFailedStartLeavesNothing takes a port before: no state directory is left, one
// that was there stays, and the command line says where it looked.
func TestFailedStartLeavesNothing(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	free := addr("127.0.0.1", freePort(t))
	for name, args := range map[string][]string{
		"SIP":     {"--listen", "udp:" + udp.LocalAddr().String(), "--metrics", "off"},
		"metrics": {"--listen", "udp:" + free, "--metrics", tcp.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			state := filepath.Join(dir, "a", "state")
			run := func(state string) {
				t.Helper()
				out, err := exec.Command(binary, append([]string{"run", "--filter", "off", "--state", state}, args...)...).CombinedOutput()
				if err == nil || !strings.Contains(string(out), "address already in use") {
					t.Errorf("it starts or says (%v):\n%s", err, out)
				}
			}
			run(state)
			if all, _ := os.ReadDir(dir); len(all) != 0 {
				t.Errorf("left behind: %v", all)
			}
			if err := os.MkdirAll(state, 0o700); err != nil {
				t.Fatal(err)
			}
			run(state)
			if _, err := os.Stat(state); err != nil {
				t.Error(err)
			}
			out, err := exec.Command(binary, "--state", state, "status").CombinedOutput()
			if err == nil || !strings.Contains(string(out), state) || !strings.Contains(string(out), "--state") {
				t.Errorf("status (%v):\n%s", err, out)
			}
		})
	}
}
