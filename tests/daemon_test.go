package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the daemon under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ringfence-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	binary = filepath.Join(dir, "ringfence")
	build := exec.Command("go", "build", "-o", binary, "../cmd/ringfence")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(2)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// corpus is a folder of third-party test data; the test is skipped without it.
func corpus(t *testing.T, part string) string {
	t.Helper()
	root := os.Getenv("RINGFENCE_CORPUS")
	if root == "" {
		root = "../../shared/corpus" // beside the repository
	}
	path, err := filepath.Abs(filepath.Join(root, part))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no corpus: %v (set RINGFENCE_CORPUS)", err)
	}
	return path
}

// needs skips the test when a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: run tests/setup.sh as root", p)
		}
	}
}

// A daemon is a running ringfence.
type daemon struct {
	t     *testing.T
	cmd   *exec.Cmd
	state string
	in    string // network namespace, "" for ours
	args  []string
	files []*os.File // open sockets, passed as systemd does
	log   *lockedBuffer
	done  chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs the daemon in a namespace ("" for ours) and waits until it
// answers on its control socket. It is stopped when the test ends.
func start(t *testing.T, namespace, state string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, state: state, in: namespace, args: args}
	d.launch()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", tail(d.log.String(), 8000))
		}
	})
	return d
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

func (d *daemon) launch() {
	d.t.Helper()
	words := append([]string{binary, "run", "--state", d.state}, d.args...)
	if len(d.files) > 0 {
		words = append([]string{"sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=" + itoa(len(d.files)) + ` exec "$0" "$@"`}, words...)
	}
	if d.in != "" {
		words = append([]string{"ip", "netns", "exec", d.in}, words...)
	}
	d.cmd = exec.Command(words[0], words[1:]...)
	d.cmd.ExtraFiles = d.files
	d.log = new(lockedBuffer)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.done = make(chan struct{})
	go func() { d.cmd.Wait(); close(d.done) }()
	for range 300 {
		if _, err := d.try("status"); err == nil {
			return
		}
		select {
		case <-d.done:
			d.t.Fatalf("the daemon ended at start:\n%s", d.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	d.t.Fatalf("the daemon does not answer:\n%s", d.log.String())
}

// stop ends the daemon as an operator would.
func (d *daemon) stop() { d.signal(syscall.SIGTERM) }

// kill ends it as the kernel would.
func (d *daemon) kill() { d.signal(syscall.SIGKILL) }

func (d *daemon) signal(s syscall.Signal) {
	select {
	case <-d.done:
		return
	default:
	}
	_ = d.cmd.Process.Signal(s)
	select {
	case <-d.done:
	case <-time.After(15 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
		d.t.Errorf("the daemon did not end within 15 s of %v:\n%s", s, tail(d.log.String(), 4000))
	}
}

// try runs a ringfence command against the daemon.
func (d *daemon) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"--state", d.state}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ask is try, and fails the test when the command fails.
func (d *daemon) ask(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("ringfence %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// table asks for JSON and decodes it.
func (d *daemon) table(into any, args ...string) {
	d.t.Helper()
	out := d.ask(append([]string{"--format", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		d.t.Fatalf("ringfence %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// eventually waits for something that happens soon, and fails the test when it
// does not happen at all.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 400 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("never came true: %s", what)
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func itoa(n int) string { return strconv.Itoa(n) }
