package tests

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// tortureRow is a line of docs/torture.md: message, section, what the RFC says,
// what comes of it over UDP and over TCP, and why.
var tortureRow = regexp.MustCompile("(?m)^\\| `([\\w-]+)` \\| (\\d[\\d.]*|-) \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| ([^|]*) \\|$")

// TestTorturePage sends every message of RFC 4475 and RFC 5118 to the daemon,
// over UDP and over TCP, and holds docs/torture.md to what comes of it.
func TestTorturePage(t *testing.T) {
	page, err := os.ReadFile("../docs/torture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][2]string{}
	for _, r := range tortureRow.FindAllStringSubmatch(string(page), -1) {
		if _, twice := rows[r[1]]; twice {
			t.Errorf("the page has %s twice", r[1])
		}
		rows[r[1]] = [2]string{r[4], r[5]}
		differs := strings.Contains(r[6], "*differs*")
		if differs && len(r[6]) < 30 {
			t.Errorf("%s differs without a reason", r[1])
		}
	}
	if n := strings.Count(string(page), "\n| `"); n != len(rows) {
		t.Errorf("the page has %d rows, of which %d can be read", n, len(rows))
	}
	files, err := filepath.Glob(filepath.Join(corpus(t, "torture"), "*", "*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(rows) {
		t.Errorf("%d messages are in the corpus, %d on the page", len(files), len(rows))
	}
	b := newBystander(t)
	port := freePort(t)
	start(t, "", t.TempDir(), "--listen", "udp:"+addr("127.0.0.1", port), "--listen", "tcp:"+addr("127.0.0.1", port),
		"--next-hop", "udp:"+b.socket.LocalAddr().String(), "--rules", "none", "--filter", "off", "--metrics", "off")
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte("\r\n")) { // stored with the line ends of a text file
			raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
		}
		for n, network := range []string{"udp", "tcp"} {
			// A source of its own, since some messages share branch and Call-ID.
			if have, want := b.outcome(t, network, fmt.Sprintf("127.0.%d.%d", 7+n, i+1), port, raw), rows[name][n]; have != want {
				t.Errorf("%s over %s: %s, the page says %q", name, network, have, want)
			}
		}
	}
}

// A bystander is a PBX that writes down what it gets and answers nothing but
// OPTIONS to "sentinel".
type bystander struct {
	socket net.PacketConn
	mu     sync.Mutex
	got    map[string][]string // guarded by mu; by the source that ringfence names
}

var sourceLine = regexp.MustCompile(`(?m)^X-Ringfence-Source: ([\d.:]+);`)

func newBystander(t *testing.T) *bystander {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bystander{socket: c, got: map[string][]string{}}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			msg := string(buf[:n])
			if strings.HasPrefix(msg, "OPTIONS sip:sentinel@") {
				_, _ = c.WriteTo([]byte(plainAnswer(msg)), from)
				continue
			}
			source := ""
			if s := sourceLine.FindStringSubmatch(msg); s != nil {
				source = s[1]
			}
			b.mu.Lock()
			b.got[source] = append(b.got[source], msg)
			b.mu.Unlock()
		}
	}()
	return b
}

// plainAnswer is a 200 to a request.
func plainAnswer(request string) string {
	var a strings.Builder
	a.WriteString("SIP/2.0 200 OK\r\n")
	for line := range strings.SplitSeq(request, "\r\n") {
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "Via", "From", "Call-ID", "CSeq":
			a.WriteString(line + "\r\n")
		case "To":
			a.WriteString(line + ";tag=s\r\n")
		}
	}
	return a.String() + "Content-Length: 0\r\n\r\n"
}

// outcome sends a message and behind it, on the same way, a request that is
// answered for certain: messages of one flow keep their order, so what has not
// come of the message by then will not come. It is "passes" for each message
// that the PBX got, the status of each answer, "closes" for a connection that
// ends, or "silence".
func (b *bystander) outcome(t *testing.T, network, source string, port int, raw []byte) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	c, err := d.Dial(network, addr("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local := c.LocalAddr().String()
	sentinel := fmt.Sprintf("OPTIONS sip:sentinel@example.com SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK-%s\r\nMax-Forwards: 70\r\n"+
		"From: <sip:s@example.com>;tag=1\r\nTo: <sip:sentinel@example.com>\r\nCall-ID: sentinel-%s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
		strings.ToUpper(network), local, local, local)
	_, _ = c.Write(raw)
	_, _ = c.Write([]byte(sentinel)) // a connection may be closed already
	if s, ok := c.(*net.TCPConn); ok {
		_ = s.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var words []string
	for in := bufio.NewReaderSize(c, 65536); ; {
		answer, err := head(in)
		var e net.Error
		if err != nil && (network == "udp" || errors.As(err, &e) && e.Timeout()) {
			t.Fatalf("%s over %s: no answer to the request behind it: %v", source, network, err)
		}
		if err != nil {
			words = append(words, "closes")
			if network == "tcp" && source != "" { // what passed before has left; let it arrive
				b.outcome(t, network, "", port, nil)
			}
			break
		}
		if strings.Contains(answer, "\r\nCall-ID: sentinel-"+local) {
			break
		}
		if status := strings.Fields(answer)[1]; status != "100" { // which comes when 200 ms are over
			words = append(words, status)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var passed []string
	for i, msg := range b.got[local] {
		if i > 0 && msg == b.got[local][i-1] {
			continue // sent again
		}
		passed = append(passed, "passes")
		if _, body, _ := strings.Cut(msg, "\r\n\r\n"); !strings.Contains(string(raw)+sentinel, body) {
			t.Errorf("the body is another one now:\n%s", msg)
		}
	}
	return cmp.Or(strings.Join(append(passed, words...), ", "), "silence")
}

// head reads a message that has no body.
func head(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for !strings.HasSuffix(text.String(), "\r\n\r\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		text.WriteString(line)
	}
	return text.String(), nil
}
