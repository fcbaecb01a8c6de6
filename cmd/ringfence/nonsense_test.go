package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ringfence/console"
)

// TestNonsenseInTheConfiguration: what could never work is found before it starts.
func TestNonsenseInTheConfiguration(t *testing.T) {
	const at = "203.0.113.2:5060"
	for want, c := range map[string]config{
		`"999.1.1.1" is no host and port`: {Listen: []listenConfig{{Transport: "udp", Address: netip.MustParseAddrPort(at), Advertise: "999.1.1.1"}}},
		"comes back here":                 {Listen: []listenConfig{{Transport: "udp", Address: netip.MustParseAddrPort(at)}}, NextHops: []hopConfig{{Address: at}}},
		`already called "pbx"`:            {NextHops: []hopConfig{{Name: "pbx", Address: "10.0.0.1:5060"}, {Name: "pbx", Address: "10.0.0.2:5060"}}},
	} {
		found := false
		for _, f := range c.check() {
			found = found || strings.Contains(f.text, want)
		}
		if !found {
			t.Errorf("nothing says %s: %v", want, c.check())
		}
	}
	fine := config{
		Listen:   []listenConfig{{Transport: "udp", Address: netip.MustParseAddrPort(at), Advertise: "pbx.example:5062"}},
		NextHops: []hopConfig{{Name: "a", Address: "10.0.0.1:5060"}, {Name: "b", Address: "10.0.0.2:5060"}, {Address: "10.0.0.3:5060"}, {Address: "10.0.0.4:5060"}},
	}
	for _, f := range fine.check() {
		if strings.Contains(f.path, "advertise") || strings.Contains(f.path, "next_hops") {
			t.Errorf("%s: %s", f.path, f.text)
		}
	}
}

func TestNonsenseAskedOfHistory(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for want, q := range map[string]console.Query{
		"--mode foo":    {Mode: "foo", Limit: 1},
		"--limit -1":    {Limit: -1},
		"later than":    {Limit: 1, Since: now, Until: now.Add(-time.Hour)},
		"":              {Limit: 1, Since: now.Add(-time.Hour), Mode: "shadow"},
		"want at least": {},
	} {
		err := sensible(q)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
}

func TestNonsenseAsAccount(t *testing.T) {
	for _, args := range [][]string{{"a@b@c"}, {"@realm"}, {"a@"}, {"a b"}, {"a", "--call-limit", "-1"}} {
		root := newRoot()
		var out strings.Builder
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetIn(strings.NewReader("secret\n"))
		root.SetArgs(append([]string{"--state", t.TempDir(), "account", "add", "--password", "-"}, args...))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "want 0") && !strings.Contains(err.Error(), "is no account") {
			t.Errorf("account add %v: %v", args, err)
		}
	}
}
