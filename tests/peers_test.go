package tests

import (
	"cmp"
	"net"
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

// A pbx is Kamailio as a small PBX, made from tests/peers/kamailio.cfg.
type pbx struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
	make func() *exec.Cmd
}

// startPBX runs Kamailio on host (of a lab, "" for ours) at address. Calls to
// +NUMBER go to next, the trunk's address is trunk.
func startPBX(t *testing.T, l *lab, address, next, trunk string) *pbx {
	t.Helper()
	needs(t, "kamailio")
	dir := t.TempDir()
	text, err := os.ReadFile("peers/kamailio.cfg")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "kamailio.cfg")
	replaced := strings.NewReplacer("LISTEN", address, "TRUNK", trunk, "NAME", "pbx", "NEXT", next).Replace(string(text))
	if err := os.WriteFile(config, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", config, "-m", "64", "-M", "8", "-DD", "-E", "-Y", dir, "-P", filepath.Join(dir, "pid")}
	p := &pbx{t: t, make: func() *exec.Cmd {
		if l == nil {
			return exec.Command("kamailio", args...)
		}
		return l.in(l.pbx, "kamailio", args...)
	}}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *pbx) start() {
	p.t.Helper()
	log := new(lockedBuffer)
	p.cmd, p.done = p.make(), make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second // its children hold the pipe too
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	for range 100 {
		if strings.Contains(log.String(), "Aliases") {
			time.Sleep(300 * time.Millisecond) // its children open their sockets after that
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.t.Fatalf("kamailio does not start:\n%s", log.String())
}

func (p *pbx) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // and the children that did not go with it
	<-p.done
}

// A sipp is one run of a scenario of tests/peers.
type sipp struct {
	host     string // of the lab, "" for ours
	scenario string
	file     string // instead of scenario, one from elsewhere
	local    string // address:port
	remote   string // "" for a server scenario
	user     string
	password string
	to       string
	calls    int
	rate     int
	talk     time.Duration
	tcp      bool
	more     []string
}

// result is how many calls succeeded, and what sipp had to say.
type result struct {
	ok, failed int
	said       string
}

func (s sipp) command(t *testing.T, l *lab) *exec.Cmd {
	t.Helper()
	needs(t, "sipp")
	scenario, err := filepath.Abs(cmp.Or(s.file, "peers/"+s.scenario+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.local)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-sf", scenario, "-i", host, "-p", port, "-nostdin", "-m", strconv.Itoa(max(1, s.calls)), "-timeout", "60", "-timeout_error", "-trace_err", "-key", "to", s.to}
	if s.remote != "" {
		args = append(args, s.remote, "-r", strconv.Itoa(max(1, s.rate)), "-recv_timeout", "12000", "-d", strconv.Itoa(int(s.talk.Milliseconds())))
	}
	if s.user != "" {
		args = append(args, "-s", s.user, "-au", s.user, "-ap", s.password)
	}
	if s.tcp {
		args = append(args, "-t", "t1")
	}
	args = append(args, s.more...)
	var cmd *exec.Cmd
	if l == nil {
		cmd = exec.Command("sipp", args...)
	} else {
		cmd = l.in(s.host, "sipp", args...)
	}
	cmd.Dir = t.TempDir()
	return cmd
}

// run runs the scenario to its end.
func (s sipp) run(t *testing.T, l *lab) result {
	t.Helper()
	cmd := s.command(t, l)
	out, err := cmd.CombinedOutput()
	return outcome(cmd, string(out), err, max(1, s.calls))
}

// background starts the scenario; the function waits for its end.
func (s sipp) background(t *testing.T, l *lab) func() result {
	t.Helper()
	cmd := s.command(t, l)
	out := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var once sync.Once
	var r result
	wait := func() result {
		once.Do(func() { r = outcome(cmd, out.String(), <-done, max(1, s.calls)) })
		return r
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		wait()
	})
	time.Sleep(300 * time.Millisecond) // sipp opens its socket
	return wait
}

func outcome(cmd *exec.Cmd, said string, err error, calls int) result {
	errs, _ := filepath.Glob(filepath.Join(cmd.Dir, "*_errors.log"))
	for _, e := range errs {
		text, _ := os.ReadFile(e)
		said += "\n" + tail(string(text), 3000)
	}
	r := result{said: said}
	if err == nil {
		r.ok = calls
		return r
	}
	r.failed = 1
	for line := range strings.SplitSeq(said, "\n") {
		fields := strings.Split(line, "|")
		if len(fields) < 3 {
			continue
		}
		n, convErr := strconv.Atoi(strings.TrimSpace(fields[2]))
		if convErr != nil {
			continue
		}
		switch strings.TrimSpace(fields[0]) {
		case "Successful call":
			r.ok = n
		case "Failed call":
			r.failed = n
		}
	}
	return r
}

// must fails the test when a scenario did not go through.
func must(t *testing.T, what string, r result) {
	t.Helper()
	if r.failed > 0 {
		t.Fatalf("%s: %d of %d calls failed\n%s", what, r.failed, r.ok+r.failed, tail(r.said, 4000))
	}
}

func addr(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
