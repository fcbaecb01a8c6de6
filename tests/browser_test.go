package tests

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBrowser lets two phones in a real browser register over secure WebSocket
// and call each other with audio; the page is tests/browser/phone.js.
func TestBrowser(t *testing.T) {
	needs(t, "chromium")
	const bundle = "browser/phone.bundle.js"
	if _, err := os.Stat(bundle); err != nil {
		t.Skip("the page is not there: tests/setup.sh makes it with npm")
	}
	sip, web := freePort(t), freePort(t)
	d := start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen:\n"+
		"  - {transport: udp, address: "+addr("127.0.0.1", sip)+"}\n"+
		"  - {transport: wss, address: "+addr("127.0.0.1", web)+", path: /sip}\n"+
		"guards: {auth: {algorithms: [MD5]}}\n"+ // what browsers' phones can answer
		"screen: {mode: \"off\"}\n"+
		"metrics: \"off\"\n"),
		"--account", "alice:secret-alice", "--account", "bob:secret-bob")

	told := make(chan string, 64)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><title>phones</title><script src="phone.js"></script>`)
	})
	mux.HandleFunc("GET /phone.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, bundle) })
	mux.HandleFunc("POST /told", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		told <- string(text)
	})
	page := httptest.NewServer(mux)
	defer page.Close()
	query := url.Values{"server": {"wss://" + addr("127.0.0.1", web) + "/sip"}, "domain": {addr("127.0.0.1", sip)}}

	browse(t, page.URL+"/?"+query.Encode())
	for _, want := range []string{"registered", "confirmed", "heard", "held", "ended", "refused 480", "done"} {
		select {
		case got := <-told:
			if got != want {
				t.Fatalf("the page says %q, want %q", got, want)
			}
			t.Log(got)
		case <-time.After(30 * time.Second):
			out, _ := d.try("history")
			t.Fatalf("the page never says %q\n%s", want, out)
		}
		if want == "registered" {
			if out := d.ask("account", "list"); !strings.Contains(out, ".invalid") {
				t.Errorf("no binding of a browser:\n%s", out)
			}
		}
	}
}

// browse opens a page in a browser without a window until the test ends.
func browse(t *testing.T, page string) {
	t.Helper()
	said := new(lockedBuffer)
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--ignore-certificate-errors", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
		"--disable-features=WebRtcHideLocalIpsWithMdns", "--user-data-dir="+filepath.Join(t.TempDir(), "profile"), page)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the browser said:\n%s", tail(said.String(), 4000))
		}
	})
}
