package tests

import (
	wire "encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSpoofedSources sends INVITEs of one million forged sources to a guard
// that authenticates: what it keeps alive must not grow with them.
func TestSpoofedSources(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("forging a source needs root")
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	if err != nil {
		t.Skipf("no raw socket: %v", err)
	}
	defer syscall.Close(fd)
	port, page := freePort(t), freePort(t)
	d := start(t, "", t.TempDir(), "--listen", fmt.Sprintf("udp:127.0.0.1:%d", port), "--account", "alice:secret", "--filter", "off",
		"--metrics", fmt.Sprintf("127.0.0.1:%d", page), "--config", writeConfig(t, "version: 1\nrecord: {log: \"off\"}\n"))
	send := func(from, to int) {
		packet := make([]byte, 0, 1024)
		for i := from; i < to; i++ {
			packet = forge(packet[:0], uint32(127<<24|1<<20+i), uint16(port), i)
			_ = syscall.Sendto(fd, packet, 0, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) // a full buffer loses some
			if i%500 == 0 {
				time.Sleep(12 * time.Millisecond) // about what one core judges
			}
		}
	}
	const all = 1_000_000
	send(0, all/5)
	before := live(t, page)
	send(all/5, all)
	after := live(t, page)
	var status struct{ Messages map[string]uint64 }
	d.table(&status, "status")
	judged := status.Messages["challenged"] + status.Messages["dropped"] + status.Messages["refused"]
	t.Logf("%d of %d were judged; live heap %d KiB, then %d KiB", judged, all, before>>10, after>>10)
	if judged < all/4 {
		t.Errorf("only %d messages came through: the test says too little", judged)
	}
	// Up to three tables of the store in memory, of 10 MiB each, come and go with the
	// speed of the disk. Anything kept of each source would be more than this.
	if after > before+40<<20 {
		t.Errorf("the live heap grew from %d to %d KiB", before>>10, after>>10)
	}
}

// forge makes an IPv4 packet with an INVITE.
func forge(b []byte, src uint32, port uint16, i int) []byte {
	msg := fmt.Sprintf("INVITE sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK%d;rport\r\nFrom: <sip:%d@x>;tag=%d\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: %d@x\r\nCSeq: 1 INVITE\r\nContact: <sip:x@h>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", i, i, i, i)
	b = append(b, 0x45, 0)
	b = wire.BigEndian.AppendUint16(b, uint16(28+len(msg)))
	b = append(b, 0, 0, 0, 0, 64, syscall.IPPROTO_UDP, 0, 0) // the kernel fills in the checksum
	b = wire.BigEndian.AppendUint32(b, src)
	b = append(b, 127, 0, 0, 1)
	b = wire.BigEndian.AppendUint16(b, 5060)
	b = wire.BigEndian.AppendUint16(b, port)
	b = wire.BigEndian.AppendUint16(b, uint16(8+len(msg)))
	b = append(b, 0, 0) // no UDP checksum
	return append(b, msg...)
}

// live is the heap that the last collection of the daemon left, after it had
// time for one.
func live(t *testing.T, page int) int {
	t.Helper()
	time.Sleep(3 * time.Second)
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", page))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "go_gc_heap_live_bytes "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatal("the metrics page does not say how much of the heap lives")
	return 0
}
