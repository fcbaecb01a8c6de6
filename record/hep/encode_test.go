package hep

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringfence/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Unix(1_800_000_000, 123_456_789).UTC()
	phone = netip.MustParseAddrPort("192.0.2.10:40000")
	here  = netip.MustParseAddrPort("198.51.100.1:5060")
)

// unhex takes the blanks out of bytes written by hand.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Packet
		want string
	}{
		{"IPv4 over UDP", Packet{At: start, Src: phone, Dst: here, Type: SIP, Agent: 7, Key: []byte("key"), Correlation: "c1", Payload: []byte("SIP")}, `
			48455033 0077
			0000 0001 0007 02
			0000 0002 0007 11
			0000 0003 000a c000020a
			0000 0004 000a c6336401
			0000 0007 0008 9c40
			0000 0008 0008 13c4
			0000 0009 000a 6b49d200
			0000 000a 000a 0001e240
			0000 000b 0007 01
			0000 000c 000a 00000007
			0000 000e 0009 6b6579
			0000 0011 0008 6331
			0000 000f 0009 534950`},
		{"IPv6 over TLS", Packet{At: time.Unix(1, 0), Src: netip.MustParseAddrPort("[2001:db8::1]:5061"), Dst: netip.MustParseAddrPort("[::]:5062"), Transport: guard.TLS, Type: Log, Agent: 1, Payload: []byte("{}")}, `
			48455033 007d
			0000 0001 0007 0a
			0000 0002 0007 06
			0000 0005 0016 20010db8000000000000000000000001
			0000 0006 0016 00000000000000000000000000000000
			0000 0007 0008 13c5
			0000 0008 0008 13c6
			0000 0009 000a 00000001
			0000 000a 000a 00000000
			0000 000b 0007 64
			0000 000c 000a 00000001
			0000 000f 0008 7b7d`},
	} {
		got, err := c.p.Append(nil)
		if want := unhex(t, c.want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\ngot  %x\nwant %x", c.name, err, got, want)
		}
	}
}

// A seen packet is what a capture server reads; written from the specification
// and apart from the encoder.
type seen struct {
	family, protocol, kind byte
	src, dst               netip.AddrPort
	at                     time.Time
	agent                  uint32
	key, payload, call     string
}

func read(t testing.TB, b []byte) (s seen, rest []byte) {
	t.Helper()
	if len(b) < 6 || string(b[:4]) != "HEP3" {
		t.Fatalf("no HEP packet: %q", b)
	}
	n := int(b[4])<<8 | int(b[5])
	if n < 6 || n > len(b) {
		t.Fatalf("the length is %d of %d bytes", n, len(b))
	}
	b, rest = b[6:n], b[n:]
	var addrs [2]netip.Addr
	var ports [2]uint16
	var sec, usec uint32
	for len(b) > 0 {
		vendor, chunk, size := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), int(binary.BigEndian.Uint16(b[4:]))
		if vendor != 0 || size < 6 || size > len(b) {
			t.Fatalf("chunk %d of vendor %d has length %d, %d bytes are left", chunk, vendor, size, len(b))
		}
		v := b[6:size]
		b = b[size:]
		switch chunk {
		case 1:
			s.family = v[0]
		case 2:
			s.protocol = v[0]
		case 3, 4, 5, 6:
			a, ok := netip.AddrFromSlice(v)
			if !ok || a.Is4() != (chunk < 5) {
				t.Fatalf("chunk %d holds %x", chunk, v)
			}
			addrs[(chunk-3)%2] = a
		case 7, 8:
			ports[chunk-7] = binary.BigEndian.Uint16(v)
		case 9:
			sec = binary.BigEndian.Uint32(v)
		case 10:
			usec = binary.BigEndian.Uint32(v)
		case 11:
			s.kind = v[0]
		case 12:
			s.agent = binary.BigEndian.Uint32(v)
		case 14:
			s.key = string(v)
		case 15:
			s.payload = string(v)
		case 17:
			s.call = string(v)
		default:
			t.Fatalf("chunk %d is not known", chunk)
		}
	}
	s.src, s.dst = netip.AddrPortFrom(addrs[0], ports[0]), netip.AddrPortFrom(addrs[1], ports[1])
	s.at = time.Unix(int64(sec), int64(usec)*1000).UTC()
	return s, rest
}

func TestReadsBack(t *testing.T) {
	six := netip.MustParseAddrPort("[2001:db8::1]:5060")
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.10]:40000")
	wild4, wild6 := netip.MustParseAddrPort("0.0.0.0:5060"), netip.MustParseAddrPort("[::]:5060")
	for _, c := range []struct{ src, dst, wantSrc, wantDst netip.AddrPort }{
		{phone, here, phone, here},
		{mapped, here, phone, here},
		{six, wild6, six, wild6},
		{phone, wild6, phone, wild4},
		{wild4, six, wild6, six},
		{phone, six, mapped, six},
		{phone, netip.AddrPort{}, phone, netip.MustParseAddrPort("0.0.0.0:0")},
	} {
		p := Packet{At: start, Src: c.src, Dst: c.dst, Type: SIP, Agent: 9, Correlation: "x", Payload: []byte("hello")}
		b, err := p.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		s, rest := read(t, b[len("before"):])
		if s.src != c.wantSrc || s.dst != c.wantDst || len(rest) > 0 || s.payload != "hello" || s.call != "x" || s.agent != 9 || !s.at.Equal(start.Truncate(time.Microsecond)) {
			t.Errorf("%s to %s: %+v", c.src, c.dst, s)
		}
		if is4 := s.src.Addr().Is4(); is4 != (s.family == 2) || is4 != s.dst.Addr().Is4() {
			t.Errorf("%s to %s: family %d", c.src, c.dst, s.family)
		}
	}
}

func TestTooLong(t *testing.T) {
	p := Packet{At: start, Src: phone, Dst: here, Payload: make([]byte, 65535-99)}
	b, err := p.Append([]byte("x"))
	if err != nil || len(b) != 1+65535 {
		t.Errorf("the longest: %d bytes, %v", len(b), err)
	}
	p.Payload = append(p.Payload, 0)
	if b, err := p.Append([]byte("x")); !errors.Is(err, errTooLong) || string(b) != "x" {
		t.Errorf("one more: %d bytes, %v", len(b), err)
	}
}

func TestEncoderAllocatesNothing(t *testing.T) {
	p := Packet{At: start, Src: phone, Dst: here, Type: SIP, Key: []byte("k"), Payload: make([]byte, 500)}
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b, _ = p.Append(b[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
