package scanner

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

func parse(raw string) (*guard.Message, error) {
	return guard.Parse([]byte(raw), time.Unix(1_800_000_000, 0), netip.MustParseAddrPort("203.0.113.9:5060"), netip.MustParseAddrPort("192.0.2.1:5060"), guard.UDP)
}

// corpus gives the files of a folder of the corpus, and skips without it.
func corpus(t *testing.T, pattern string) []string {
	t.Helper()
	dir := os.Getenv("RINGFENCE_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no corpus: set RINGFENCE_CORPUS")
	}
	return files
}

// What sipvicious sends is recognised under its own name, under another and
// under none.
func TestSIPVicious(t *testing.T) {
	judged := 0
	for _, name := range corpus(t, "attack/sipvicious/*.sip") {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		const own = "User-Agent: friendly-scanner\r\n"
		for _, agent := range []string{own, "User-Agent: Yealink SIP-T46U 108.86\r\n", ""} {
			m, err := parse(strings.Replace(string(raw), own, agent, 1))
			if err != nil {
				continue // the index has refused it
			}
			judged++
			if got := Tool(m); got != "sipvicious" {
				t.Errorf("%s with %q: %q", filepath.Base(name), agent, got)
			}
		}
	}
	if judged < 900 {
		t.Errorf("only %d messages were judged", judged)
	}
}

func TestRealTrafficIsNoScanner(t *testing.T) {
	judged := 0
	for _, name := range corpus(t, "pcap-sip/*/*.sip") {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parse(string(raw))
		if err != nil || !m.Index.Request {
			continue
		}
		judged++
		if got := Tool(m); got != "" {
			t.Errorf("%s/%s: %q", filepath.Base(filepath.Dir(name)), filepath.Base(name), got)
		}
	}
	if judged == 0 {
		t.Error("no request was judged")
	}
}

const (
	sipcli = "INVITE sip:900442030000000@192.0.2.1 SIP/2.0\r\nTo: 900442030000000<sip:900442030000000@192.0.2.1>\r\n" +
		"From: 1<sip:1@192.0.2.1>;tag=2fd7b751\r\nVia: SIP/2.0/UDP 203.0.113.9:5071;branch=z9hG4bK-897b2a55c16140a97dab4273ac879fb0;rport\r\n" +
		"Call-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:1@203.0.113.9:5071>\r\nMax-Forwards: 70\r\nAllow: INVITE, ACK, CANCEL, BYE\r\n" +
		"User-Agent: Phone\r\nContent-Length: 0\r\n\r\n"
	pplsip = "INVITE sip:14500972000000000@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 0.0.0.0:65145;branch=z9hG4bK951917159\r\nMax-Forwards: 70\r\n" +
		"From: <sip:145001@192.0.2.1>;tag=414451770\r\nTo: <sip:14500972000000000@192.0.2.1>\r\nCall-ID: 1492163839-465544234-336545636\r\n" +
		"CSeq: 1 INVITE\r\nContact: <sip:145001@203.0.113.9:65145>\r\nUser-Agent: Phone\r\nContent-Length: 0\r\n\r\n"
	nmap = "OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/UDP nm;branch=foo;rport\r\nFrom: <sip:nm@nm>;tag=root\r\nTo: <sip:nm2@nm2>\r\nCall-ID: 50000\r\n" +
		"CSeq: 42 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\nContact: <sip:nm@nm>\r\nAccept: application/sdp\r\n\r\n"
	smap = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:12345;branch=z9hG4bK.1;rport\r\nFrom: <sip:smap@203.0.113.9:12345>;tag=1\r\n" +
		"To: <sip:100@192.0.2.1>\r\nCall-ID: 1@203.0.113.9\r\nCSeq: 23915 OPTIONS\r\nContact: <sip:smap@203.0.113.9>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
	sipsak = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:33000;branch=z9hG4bK.21a04e9f;rport;alias\r\nFrom: <sip:sipsak@203.0.113.9:33000>;tag=1\r\n" +
		"To: <sip:100@192.0.2.1>\r\nCall-ID: 1@203.0.113.9\r\nCSeq: 1 OPTIONS\r\nContact: <sip:sipsak@203.0.113.9:33000>\r\nContent-Length: 0\r\nMax-Forwards: 70\r\n\r\n"
)

func TestTools(t *testing.T) {
	change := strings.NewReplacer
	for _, c := range []struct{ name, raw, want string }{
		{"sipcli", sipcli, "sipcli"},
		{"sipcli with a quoted display name", change("To: 900442030000000<", "To: \"900442030000000\" <").Replace(sipcli), ""},
		{"sipcli with another branch", change("z9hG4bK-897b2a55c16140a97dab4273ac879fb0", "z9hG4bK-1").Replace(sipcli), ""},
		{"pplsip", pplsip, "pplsip"},
		{"pplsip with an address", change("UDP 0.0.0.0", "UDP 203.0.113.9").Replace(pplsip), ""},
		{"pplsip with another Call-ID", change("1492163839-465544234-336545636", "1492163839-465544234").Replace(pplsip), ""},
		{"nmap", nmap, "nmap"},
		{"smap", smap, "smap"},
		{"a call from smap", change("OPTIONS", "INVITE").Replace(smap), ""},
		{"sipsak", sipsak, "sipsak"},
		{"an answer", "SIP/2.0 200 OK" + nmap[strings.Index(nmap, "\r\n"):], ""},
	} {
		m, err := parse(c.raw)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := Tool(m); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := Tool(&guard.Message{}); got != "" {
		t.Errorf("a call that ended: %q", got)
	}
}

func TestAllocations(t *testing.T) {
	m, err := parse(pplsip)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { Tool(m) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzTool(f *testing.F) {
	for _, raw := range []string{sipcli, pplsip, nmap, smap, sipsak} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		if got := Tool(m); got == "smap" && m.Index.Method != index.Options {
			t.Fatalf("smap sends OPTIONS only")
		}
	})
}
