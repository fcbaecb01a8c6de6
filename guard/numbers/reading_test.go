package numbers

import (
	"regexp"
	"strings"
	"testing"

	"ringfence/guard"
)

// somePlan knows a few numbers that cost.
type somePlan struct{}

func (somePlan) Lookup(number string) (guard.Number, bool) {
	for prefix, kind := range map[string]string{"+1900": "premium", "+8816": "satellite", "+37190": "premium", "+37180": "toll-free"} {
		if strings.HasPrefix(number, prefix) {
			return guard.Number{Kind: kind}, true
		}
	}
	return guard.Number{Kind: "fixed"}, true
}

// TestOrdinaryDialling: what people and their phones dial has one reading.
func TestOrdinaryDialling(t *testing.T) {
	for _, target := range []string{
		"sip:100@x", "sip:alice@x", "sip:alice.smith@x", "sip:bob2@x", "sip:*97@x", "sip:**5@x", "sip:%239@x", "sip:*8@x", "sip:*8100@x",
		"sip:*72100@x", "sip:*67*@x", "sip:+371%206700-0000@x", "sip:+371-6700-0000@x", "sip:+371.6700.0000@x", "sip:(371)67000000@x",
		"sip:+44%20(0)20%207946%200000@x", "sip:67000000@x", "sip:0037167000000@x", "sip:+37167000000@x;user=phone", "tel:+37167000000",
		"tel:67000000;phone-context=+371", "sip:67000000;phone-context=+371@x;user=phone", "tel:7042;phone-context=example.com", "sip:conf-123@x",
		"sip:3000-1@x", "sip:2f1c0a9e-1b7d-4b5e-9f53-0b1c2d3e4f50@x", "sip:parking+701@x", "sip:alice+home@x", "sip:room12@x", "sip:1001_1@x",
		"sip:112@x", "sip:1-1-2@x", "sip:sos@x", "urn:service:sos", "sip:9112@x", "sip:john99@x", "sip:a1b2c3@x", "sip:agent007@x", "sip:00@x",
		"sip:0@x", "sip:9@x", "sip:anonymous@x", "sip:x", "sip:%2B37167000000@x", "sip:37167000000%23@x", "sip:1234%2Babc@x",
		"sip:+37167000000;npdi@x", "sip:jane%40example.com@x", "sip:ext100@x", "sip:" + strings.Repeat("1a2b", 8) + "@x", "sip:x" + strings.Repeat("a1", 30) + "@x", "sip:v12345678@x", "sip:dev-8f3a2b1c@x",
	} {
		for name, plan := range map[string]Config{"anywhere": anywhere, "Latvia": latvia, "America": america} {
			p := mustPlan(t, plan)
			var r readings
			if p.readCall(&r, call(t, "INVITE", target)); r.doubtful() {
				all := ""
				for i := range r.all[:r.n] {
					all += " " + string(r.all[i].number())
				}
				t.Errorf("%s in %s is doubtful: over %v,%s", target, name, r.over, all)
			}
		}
	}
}

// TestDressedUp: however a number that costs is dressed up, it is taken for one.
func TestDressedUp(t *testing.T) {
	p := mustPlan(t, anywhere)
	for _, target := range []string{
		"sip:9,008816123456789@x", "sip:9,8816@x;postd=008816123456789", "sip:100w008816123456789@x", "sip:100p008816123456789@x", "sip:008816123456789x1@x",
		"sip:008816123456789ext5@x", "sip:0019005551234+37167000000@x", "sip:+19005551234+37167000000@x", "sip:37167000000+19005551234@x",
		"sip:+1-900-MIXEDUP@x", "sip:%2B1%39005551234@x", "sip:++19005551234@x", "sip:+0019005551234@x", "sip:+01119005551234@x", "sip:00+19005551234@x",
		"sip:00000019005551234@x", "sip:+1%20900%20555%201234@x", "sip:%EF%BC%8B%EF%BC%91%EF%BC%99%EF%BC%90%EF%BC%905551234@x",
		"sip:100;postd=0019005551234@x", "sip:0037167000000;rn=+19005551234@x", "sip:0037167000000:0019005551234@x", "tel:+37167000000;postd=p0019005551234",
		"sip:0019005551234%2C%2C1@x", "sip:%2530%2530%2531%2539005551234@x", "sip:100,,,0019005551234@x",
		"sip:*72,0019005551234@x", "sip:0019005551234*1@x", "sip:0019005551234;ext=1@x",
	} {
		if got := kindOf(somePlan{}, p.number(call(t, "INVITE", target), somePlan{})); got != "premium" && got != "satellite" {
			t.Errorf("%s is %q, %s", target, p.number(call(t, "INVITE", target), somePlan{}), got)
		}
	}
}

// What may be two numbers is doubtful even where neither costs.
func TestTwoNumbersAreDoubtful(t *testing.T) {
	p := mustPlan(t, anywhere)
	for _, target := range []string{
		"sip:+37167000000+37128000000@x", "sip:0037167000000w0037128000000@x", "sip:0037167000000x0037128000000@x", "sip:" + strings.Repeat("1", 600) + "@x",
		"sip:" + strings.Repeat("+1900", 40) + "@x", "sip:" + strings.Repeat("1a", 40) + "@x",
	} {
		var r readings
		if p.readCall(&r, call(t, "INVITE", target)); !r.doubtful() {
			t.Errorf("%.40s is not doubtful: %d readings", target, r.n)
		}
	}
}

// FuzzReadings: whatever is dialled, reading it ends well, and a number that costs is
// found between any two pauses.
func FuzzReadings(f *testing.F) {
	for _, s := range []string{"100w0019005551234", "+19005551234+371", "*67*9,00x1", "conf-123", "+1-900-MIXEDUP", "(0)", "％２B1", "9,,,011190055512345p3", ";;=;rn=+1"} {
		f.Add(s)
	}
	p, err := newPlan(Config{})
	if err != nil {
		f.Fatal(err)
	}
	costs := regexp.MustCompile(`^(\+|00|011)1900[2-9][0-9]{6}$`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > longestText { // readURI cuts it
			return
		}
		var r readings
		r.begin(nil)
		r.read(p, []byte(text), false)
		if r.n > maxReadings {
			t.Fatalf("%d readings", r.n)
		}
		kind := kindOf(somePlan{}, r.worst(somePlan{}))
		if r.over || len(text) > 128 || strings.Trim(text, "0123456789+,wp") != "" {
			return
		}
		for _, part := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(",wp", c) }) {
			if costs.MatchString(part) && kind != "premium" && kind != "satellite" {
				t.Errorf("%q is %q, though %s stands in it", text, kind, part)
			}
		}
	})
}
