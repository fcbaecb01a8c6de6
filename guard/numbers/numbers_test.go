package numbers

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

var at = time.Unix(1_800_000_000, 0)

func call(t testing.TB, method, target string) *guard.Message {
	t.Helper()
	raw := method + " " + target + " SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\n" +
		"To: <sip:c@d>\r\nCall-ID: a\r\nCSeq: 1 " + method + "\r\nContact: <sip:a@b>\r\nContent-Length: 0\r\n\r\n"
	m, err := guard.Parse([]byte(raw), at, netip.MustParseAddrPort("203.0.113.9:5060"), netip.MustParseAddrPort("192.0.2.1:5060"), guard.UDP)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return m
}

func mustPlan(t testing.TB, c Config) *plan {
	t.Helper()
	p, err := newPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	anywhere = Config{}
	latvia   = Config{Country: "LV", CountryCode: "371", OutsideLines: []string{"9"}}
	britain  = Config{Country: "GB", CountryCode: "44", National: "0", OutsideLines: []string{"9"}, Emergency: map[string][]string{"*": {"112"}, "GB": {"999"}}}
	america  = Config{Country: "US", CountryCode: "1", National: "1", OutsideLines: []string{"9"}}
)

// The ways in which a number is written so that a rule about its prefix does not
// see it.
func TestE164(t *testing.T) {
	for _, c := range []struct {
		plan         Config
		target, want string
	}{
		{anywhere, "sip:+37167000000@x", "+37167000000"},
		{anywhere, "sip:0037167000000@x", "+37167000000"},
		{anywhere, "sip:01137167000000@x", "+37167000000"},
		{anywhere, "sip:37167000000@x", "+37167000000"},
		{anywhere, "sip:%2B371%36%37000000@x", "+37167000000"},
		{anywhere, "sip:+371-67.00(00)00@x", "+37167000000"},
		{anywhere, "tel:+371-6700-0000", "+37167000000"},
		{anywhere, "tel:67000000;phone-context=+371", "+37167000000"},
		{anywhere, "tel:7042;phone-context=example.com", ""},
		{anywhere, "sip:67000000;phone-context=+371@x", "+37167000000"},
		{anywhere, "sip:+37167000000;npdi@x;user=phone", "+37167000000"},
		{anywhere, "sip:*67+37167000000@x", "+37167000000"},
		{anywhere, "sip:*670037167000000@x", "+37167000000"},
		{anywhere, "sip:0+37167000000@x", "+37167000000"},
		{anywhere, "sip:+0037167000000@x", "+37167000000"},
		{anywhere, "sip:00000037167000000@x", "+37167000000"},
		{anywhere, "sip:00,37167000000@x", "+37167000000"},
		{anywhere, "sip:100@x", ""},
		{anywhere, "sip:alice@x", ""},
		{anywhere, "sip:+1234567890123456@x", "+123456789012345"}, // sixteen digits
		{anywhere, "sip:00881123456789#@x", "+881123456789"},
		{anywhere, "sip:00881123456789%23@x", "+881123456789"},
		{anywhere, "sip:00881123456789*@x", "+881123456789"},
		{anywhere, "sip:*00881123456789@x", "+881123456789"},
		{anywhere, "sip:**00881123456789@x", "+881123456789"},
		{anywhere, "sip:*99*00881123456789@x", "+881123456789"},
		{anywhere, "sip:*9900881123456789@x", "+881123456789"},
		{anywhere, "sip:*99+881123456789@x", "+881123456789"},
		{anywhere, "sip:#21#00881123456789@x", "+881123456789"},
		{anywhere, "sip:+88112345678901234@x", "+881123456789012"},
		{anywhere, "sip:" + strings.Repeat("-", 200) + "00881123456789@x", "+881123456789"},
		{anywhere, "sip:" + strings.Repeat("0", 200) + "881123456789@x", "+881123456789"},
		{anywhere, "sip:*98@x", ""},
		{anywhere, "sip:*21*@x", ""},
		{anywhere, "sip:*981234@x", ""},
		{anywhere, "sip:" + strings.Repeat("1", 65) + "@x", "+111111111111111"},
		{anywhere, "sip:x", ""},
		{anywhere, "sip:112@x", ""},
		{anywhere, "urn:service:sos", ""},
		{latvia, "sip:67000000@x", "+37167000000"},
		{latvia, "sip:967000000@x", "+37167000000"},
		{latvia, "sip:900442079460000@x", "+442079460000"},
		{latvia, "sip:9,00442079460000@x", "+442079460000"},
		{latvia, "sip:9+442079460000@x", "+442079460000"},
		{latvia, "sip:100@x", ""},
		{latvia, "sip:9100@x", ""},
		{britain, "sip:02079460000@x", "+442079460000"},
		{britain, "sip:902079460000@x", "+442079460000"},
		{britain, "sip:01162345678@x", "+441162345678"}, // Leicester, and not 011
		{britain, "sip:0037167000000@x", "+37167000000"},
		{america, "sip:12015550123@x", "+12015550123"},
		{america, "sip:2015550123@x", "+12015550123"},
		{america, "sip:912015550123@x", "+12015550123"},
		{america, "sip:9011442079460000@x", "+442079460000"},
		{america, "sip:0119725550000@x", "+9725550000"},
	} {
		if got := mustPlan(t, c.plan).number(call(t, "INVITE", c.target), nil); got != c.want {
			t.Errorf("%s from %q: %q, want %q", c.target, c.plan.Country, got, c.want)
		}
	}
}

func TestEmergency(t *testing.T) {
	for _, c := range []struct {
		plan           Config
		method, target string
		want           bool
	}{
		{anywhere, "INVITE", "sip:112@x", true},
		{anywhere, "INVITE", "sip:911@x", true},
		{anywhere, "INVITE", "sip:999@x", true},
		{anywhere, "INVITE", "sip:000@x", true},
		{anywhere, "INVITE", "sip:119@x", true},
		{anywhere, "INVITE", "tel:112;phone-context=+371", true},
		{anywhere, "INVITE", "sip:1%312@x", true},
		{anywhere, "INVITE", "sip:1-1-2@x", true},
		{anywhere, "INVITE", "sip:*67911@x", true},
		{anywhere, "INVITE", "urn:service:sos", true},
		{anywhere, "INVITE", "URN:Service:SOS.police", true},
		{anywhere, "INVITE", "urn:service:sosx", false},
		{anywhere, "INVITE", "urn:service:counseling", false},
		{anywhere, "INVITE", "sip:1120@x", false},
		{anywhere, "INVITE", "sip:9112@x", false},
		{anywhere, "INVITE", "sip:0112@x", false},
		{anywhere, "INVITE", "sip:+112@x", false},
		{anywhere, "INVITE", "sip:alice@112", false},
		{anywhere, "INVITE", "sip:112x@x", false},
		{anywhere, "ACK", "sip:112@x", true},
		{anywhere, "CANCEL", "sip:112@x", true},
		{anywhere, "REGISTER", "sip:112@x", false},
		{anywhere, "OPTIONS", "sip:112@x", false},
		{anywhere, "MESSAGE", "sip:112@x", false},
		{latvia, "INVITE", "sip:9112@x", true},
		{latvia, "INVITE", "sip:99112@x", false},
		{britain, "INVITE", "sip:999@x", true},
		{britain, "INVITE", "sip:112@x", true},
		{britain, "INVITE", "sip:911@x", false},
	} {
		if got := mustPlan(t, c.plan).emergencyCall(call(t, c.method, c.target)); got != c.want {
			t.Errorf("%s %s from %q: %t, want %t", c.method, c.target, c.plan.Country, got, c.want)
		}
	}
}

func TestStages(t *testing.T) {
	p := mustPlan(t, anywhere)
	reply := call(t, "INVITE", "sip:+111111111@x")
	reply.Reply = &guard.Reply{Target: "+37167000000"}
	for name, m := range map[string]*guard.Message{
		"reply": reply, "end": {Call: &guard.Call{Dialed: "0037167000000"}},
	} {
		if got := p.number(m, nil); got != "+37167000000" {
			t.Errorf("at %s: %q", name, got)
		}
		if name == "end" && p.emergencyCall(m) {
			t.Error("a call that ended is no emergency")
		}
	}
}

type plans map[string]guard.Number

func (p plans) Lookup(e164 string) (guard.Number, bool) { n, ok := p[e164]; return n, ok }

type asker struct {
	country, kind guard.Value
	err, kindErr  error
}

func (*asker) Version() string { return "test" }

func (p *asker) Decide(ctx context.Context, s guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	if s == guard.StageCall {
		p.country, p.err = f.Ask(ctx, "dst.country")
		p.kind, p.kindErr = f.Ask(ctx, "dst.kind")
	}
	return guard.Verdict{}
}

func TestNumberingPlan(t *testing.T) {
	known := plans{"+37190000000": {Country: "LV", Kind: "premium"}}
	for _, c := range []struct {
		numbers               guard.Numbers
		target, country, kind string
		fails                 bool
	}{
		{known, "sip:0037190000000@x", "LV", "premium", false},
		{known, "sip:+999999999@x", "", "unknown", false},
		{known, "sip:100@x", "", "", false},
		{nil, "sip:100@x", "", "", false},
		{nil, "sip:+37190000000@x", "", "", true},
	} {
		g, err := New(guard.Host{Numbers: c.numbers}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		p := &asker{}
		e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{g}, Policy: p, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		e.Judge(t.Context(), call(t, "INVITE", c.target), &guard.Decision{})
		if p.country.Str() != c.country || p.kind.Str() != c.kind || (p.err != nil) != c.fails || (p.kindErr != nil) != c.fails {
			t.Errorf("%s: %q %q %v %v", c.target, p.country.Str(), p.kind.Str(), p.err, p.kindErr)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{CountryCode: "0371"},
		{CountryCode: "LV"},
		{National: "0"},
		{International: []string{"+"}},
		{OutsideLines: []string{""}},
		{ServiceCodes: []string{"abc"}},
		{ServiceCodes: []string{""}},
		{Extension: 16},
		{Emergency: map[string][]string{"*": {"SOS"}}},
	} {
		if _, err := New(guard.Host{}, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestAllocations(t *testing.T) {
	p, m := mustPlan(t, latvia), call(t, "INVITE", "sip:9112@x")
	if n := testing.AllocsPerRun(100, func() { p.emergencyCall(m) }); n != 0 {
		t.Errorf("dst.emergency: %v allocations, want 0", n)
	}
	m = call(t, "INVITE", "sip:900442079460000@x")
	if n := testing.AllocsPerRun(100, func() { p.number(m, nil) }); n > 1 {
		t.Errorf("dst.e164: %v allocations, want at most the string", n)
	}
}

func FuzzDialPlan(f *testing.F) {
	for _, s := range []string{"+37167000000", "0112", "9,00%2B1", "*67*67#31#", "1;phone-context=+1", "%", "%3", "p1w2"} {
		f.Add(s)
	}
	configs := []Config{anywhere, latvia, britain, america}
	f.Fuzz(func(t *testing.T, user string) {
		for _, c := range configs {
			p := mustPlan(t, c)
			var room [maxDialed]byte
			d := p.dialed(&room, user)
			got := string(p.appendE164(nil, d))
			if got != "" && (got[0] != '+' || got[1] == '0' || len(got) > 16 || !allDigits(got[1:])) {
				t.Fatalf("%q becomes %q", user, got)
			}
			if got == "" {
				continue
			}
			// A number in E.164 form stays itself.
			if again := string(p.appendE164(nil, p.dialed(&room, got))); again != got {
				t.Fatalf("%q becomes %q and then %q", user, got, again)
			}
			if p.isEmergency([]byte(got)) {
				t.Fatalf("%q is a number and an emergency", user)
			}
		}
	})
}

// Whoever names a routing number or another host does not call for help, whatever
// number stands before it.
func TestDivertedIsNoEmergency(t *testing.T) {
	p := mustPlan(t, anywhere)
	for target, want := range map[string]bool{
		"sip:112@x": true, "sip:1-1-2@x;user=phone": true, "sip:112;phone-context=+371@x": true, "tel:112;phone-context=+371": true,
		"sip:112;rn=+88112345678@x": false, "tel:112;rn=+88112345678": false, "sip:112;npdi;rn=+881@x": false, "sip:112@x;maddr=198.51.100.9": false,
		"tel:112;ext=5": false, "sip:112%23@x": false,
		"sip:112%3B00881612345678@x": false, "sip:112%3bpostd=00881612345678@x": false, "sip:112;postd=00881612345678@x": false,
		"sip:112@x;postd=00881612345678": false, "sip:112@x;rn=+881612345678": false, "sip:112:00881612345678@x": false,
		"tel:112;phone-context=+88161234567": false, "sip:112;phone-context=a,00881612345678@x": false,
		"tel:112;phone-context=+371;phone-context=+881612345678": false, "sip:112;@x": true,
		"tel:112;phone-context=+1-914": true, "tel:112;phone-context=ims.mnc001.mcc247.3gppnetwork.org": true,
		"sip:112,00881612345678@x": false, "sip:112w00881612345678@x": false, "sip:112+881612345678@x": false,
		"sip:00881612345678+112@x": false, "sip:112x00881612345678@x": false, "sip:112*00881612345678@x": false,
	} {
		if got := p.emergencyCall(call(t, "INVITE", target)); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
}

// Where a transfer goes is read as where a call goes.
func TestTransfer(t *testing.T) {
	p := mustPlan(t, latvia)
	for target, want := range map[string]string{
		"<sip:00881123456789@x>": "+881123456789", "<sip:00%2D881123456789@x>": "+881123456789", "<sip:9,00881123456789@x>": "+881123456789",
		"<sip:(00)881123456789@x>": "+881123456789", "<tel:+1-900-555-1234>": "+19005551234", "<sip:bob@x>": "", "": "",
	} {
		raw := "REFER sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\n" +
			"To: <sip:c@d>\r\nCall-ID: a\r\nCSeq: 1 REFER\r\nContact: <sip:a@b>\r\nRefer-To: " + target + "\r\nContent-Length: 0\r\n\r\n"
		if target == "" {
			raw = strings.Replace(raw, "Refer-To: \r\n", "", 1)
		}
		m, err := guard.Parse([]byte(raw), at, netip.MustParseAddrPort("203.0.113.9:5060"), netip.MustParseAddrPort("192.0.2.1:5060"), guard.UDP)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if got := p.transfer(m, nil); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
