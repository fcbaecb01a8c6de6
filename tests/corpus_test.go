package tests

import (
	wire "encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCorpus sends every message of the third-party corpus through the daemon,
// over UDP and over TCP. A PBX that only listens must never see a byte that is
// malformed, and the daemon must live and answer afterwards.
func TestCorpus(t *testing.T) {
	root := corpus(t, ".")
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	seen := make(chan string, 65536)
	go func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := sink.ReadFrom(buf)
			if err != nil {
				close(seen)
				return
			}
			select {
			case seen <- string(buf[:n]):
			default:
			}
		}
	}()
	port := freePort(t)
	address := addr("127.0.0.1", port)
	d := start(t, "", t.TempDir(), "--listen", "udp:"+address, "--listen", "tcp:"+address, "--next-hop", "udp:"+sink.LocalAddr().String(),
		"--rules", "none", "--filter", "off", "--metrics", "off")

	var payloads [][]byte
	for _, part := range []string{"torture", "fuzz", "pcap-sip", "attack/sipvicious"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, ".tsv") || strings.HasSuffix(path, ".dict") || strings.HasSuffix(path, ".txt") {
				return err
			}
			text, err := os.ReadFile(path)
			if len(text) > 0 && len(text) < 60000 {
				payloads = append(payloads, text)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(payloads) < 1000 {
		t.Fatalf("only %d payloads in the corpus", len(payloads))
	}
	out, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for i, p := range payloads {
		_, _ = out.Write(p) // an ICMP error of an earlier one may show here
		if i%100 == 99 {
			time.Sleep(20 * time.Millisecond) // a socket buffer is finite
		}
	}
	var senders sync.WaitGroup
	for first := range 8 {
		senders.Go(func() {
			for i := first; i < len(payloads); i += 8 {
				if err := sendStream(address, payloads[i]); err != nil {
					t.Errorf("the daemon accepts no connection any more: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	var status struct{ Messages map[string]uint64 }
	d.table(&status, "status")
	t.Logf("%d payloads over UDP and TCP: %v", len(payloads), status.Messages)
	if status.Messages["malformed"] == 0 || status.Messages["passed"] == 0 {
		t.Errorf("nothing was refused or nothing passed: %v", status.Messages)
	}
	sink.Close()
	forwarded := 0
	for m := range seen {
		forwarded++
		head, _, _ := strings.Cut(m, "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("the PBX saw a line that two readers read differently: %q", line)
			}
		}
	}
	t.Logf("%d messages reached the PBX", forwarded)
	if forwarded == 0 {
		t.Error("no message of the corpus reached the PBX")
	}
}

// sendStream sends one payload over a connection of its own, ends it, and takes
// what comes back within a moment.
func sendStream(address string, payload []byte) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_, _ = c.Write(payload) // the daemon may close in the middle
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	_, _ = io.Copy(io.Discard, c)
	return nil
}

// TestGarbage is for what no corpus has: every length of nothing in particular.
func TestGarbage(t *testing.T) {
	port := freePort(t)
	address := addr("127.0.0.1", port)
	d := start(t, "", t.TempDir(), "--listen", "udp:"+address, "--listen", "tcp:"+address, "--filter", "off", "--metrics", "off")
	out, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	seed := uint64(1)
	for n := range 1500 {
		b := make([]byte, n)
		for i := 0; i+8 <= n; i += 8 {
			seed = seed*6364136223846793005 + 1442695040888963407
			wire.LittleEndian.PutUint64(b[i:], seed)
		}
		if n > 40 && n%2 == 0 {
			copy(b, fmt.Sprintf("INVITE sip:%d@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK%d\r\n", n, n))
		}
		_, _ = out.Write(b)
	}
	d.ask("status")
}
