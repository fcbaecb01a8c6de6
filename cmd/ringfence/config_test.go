package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/rules"
)

func TestConfigSaysEveryProblem(t *testing.T) {
	text := `version: 1
lisen: []
listen:
  - {transport: upd, address: 127.0.0.1:5060}
  - {transport: udp, address: 127.0.0.1:5062, mode: stateles}
  - {transport: udp, address: 127.0.0.1:5064, mode: stateless}
egress: dns
next_hops:
  - {address: 10.0.0.1:5060, weight: -1}
register: pth
store: {quota: 20GB}
emergency: nobody
guards: {auth: {algorithms: [MD6]}, sanity: {depth: -2}}
record: {hep: {to: "upd:10.0.0.9", key: secret, ca: x.pem, quue: 1MiB, id: -1}}
`
	_, err := parseConfig("ringfence.yaml", []byte(text))
	var bad problems
	if !errors.As(err, &bad) {
		t.Fatalf("got %v", err)
	}
	got := bad.Error()
	for _, want := range []string{
		`ringfence.yaml:2:1: error: unknown field "lisen" (did you mean "listen"?)`,
		`ringfence.yaml:4:17: error: "upd" is not one of udp, tcp, tls, ws, wss (did you mean "udp"?)`,
		`ringfence.yaml:5:53: error: "stateles" is not one of stateful, stateless (did you mean "stateless"?)`,
		`ringfence.yaml:6:53: error: a stateless listener cannot wait for DNS`,
		`ringfence.yaml:9:38: error: a weight cannot be negative`,
		`ringfence.yaml:10:11: error: "pth" is not one of auto, path, contact (did you mean "path"?)`,
		`"20GB" is no size`,
		`ringfence.yaml:13:16: error: algorithm "MD6" is not known`,
		`ringfence.yaml:13:45: error: depth is -2`,
		`ringfence.yaml:12:12: error: no next hop is in a pool called "nobody"`,
		`ringfence.yaml:14:20: error: "upd:10.0.0.9" is no capture server such as udp:10.0.0.9:9060 or tls:capture.example (did you mean "udp"?)`,
		`ringfence.yaml:14:41: error: a key is a reference: write file:PATH`,
		`ringfence.yaml:14:53: error: udp is not checked against certificates`,
		`unknown field "quue" (did you mean "queue"?)`,
		`ringfence.yaml:14:76: error: a capture agent ID is a number`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

func TestConfigDefaultsAreLawful(t *testing.T) {
	c := new(config)
	c.fill(t.TempDir())
	for _, f := range c.check() {
		t.Errorf("%s: %s", f.path, f.text)
	}
	// What is shown as effective has no number left that means something else.
	for path, n := range map[string]int{
		"location.bindings": c.Location.Bindings, "guards.account.call_limit": c.Guards.Account.CallLimit,
		"guards.auth.replay_slots": c.Guards.Auth.ReplaySlots, "guards.sanity.contacts": c.Guards.Sanity.Contacts,
		"guards.source.net_ipv6": c.Guards.Source.NetIPv6, "guards.numbers.extension_digits": c.Guards.Numbers.Extension,
	} {
		if n == 0 {
			t.Errorf("%s is 0", path)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, text := range []string{"1B", "3KiB", "500MiB", "20GiB", "2TiB"} {
		n, err := parseSize(text)
		if err != nil || size(n).String() != text {
			t.Errorf("%s: %d, %v, %s", text, n, err, size(n))
		}
	}
	for _, text := range []string{"", "-1GiB", "1.5GiB", "20GB", "9999999999TiB", "GiB"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}

func TestKeyringSurvivesAndIsPrivate(t *testing.T) {
	dir := t.TempDir()
	first, err := loadKeyring(dir, "nonce")
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadKeyring(dir, "nonce")
	if err != nil || again != first {
		t.Errorf("the key changed: %v", err)
	}
	path := filepath.Join(dir, "keys", "nonce")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKeyring(dir, "nonce"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read is taken: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := loadKeyring(dir, "nonce")
	if err != nil || made == first {
		t.Errorf("a damaged key is not made anew: %v", err)
	}
	if old, err := os.ReadFile(path + ".damaged"); err != nil || string(old) != "short" {
		t.Errorf("what it was is gone: %v", err)
	}
}

func TestSelfMadeCertificateIsKept(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := func() time.Time { return now }
	first, err := newCertificate("", "", dir, []string{"127.0.0.1", "localhost"}, clock)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newCertificate("", "", dir, []string{"127.0.0.1"}, clock)
	if err != nil || string(second.loaded.Load().Certificate[0]) != string(first.loaded.Load().Certificate[0]) {
		t.Errorf("the certificate changed: %v", err)
	}
	now = now.AddDate(1, 11, 15)
	third, err := newCertificate("", "", dir, []string{"127.0.0.1"}, clock)
	if err != nil || string(third.loaded.Load().Certificate[0]) == string(first.loaded.Load().Certificate[0]) {
		t.Errorf("a certificate that runs out was not renewed: %v", err)
	}
}

// Whatever became of the files of a self-made certificate: a good one is served.
func TestSelfMadeCertificateIsMadeAnew(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1.8e9, 0)
	clock := func() time.Time { return now }
	crt, key := filepath.Join(dir, "tls", "self.crt"), filepath.Join(dir, "tls", "self.key")
	serves := func(c *certificate, err error) *x509.Certificate {
		t.Helper()
		if err != nil || c.loaded.Load() == nil {
			t.Fatal(err)
		}
		leaf := c.loaded.Load().Leaf
		if now.After(leaf.NotAfter) {
			t.Errorf("it ran out at %v", leaf.NotAfter)
		}
		if _, err := tls.LoadX509KeyPair(crt, key); err != nil {
			t.Error(err)
		}
		return leaf
	}
	first := serves(newCertificate("", "", dir, []string{"localhost"}, clock))
	for name, spoil := range map[string]func() error{
		"no certificate":      func() error { return os.Remove(crt) },
		"no key":              func() error { return os.Remove(key) },
		"garbage certificate": func() error { return os.WriteFile(crt, []byte("none"), 0o600) },
		"garbage key":         func() error { return os.WriteFile(key, []byte("none"), 0o600) },
		"empty key":           func() error { return os.Truncate(key, 0) },
		"cut certificate":     func() error { return os.Truncate(crt, 100) },
		"ran out":             func() error { now = now.AddDate(3, 0, 0); return nil },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		next := serves(newCertificate("", "", dir, []string{"localhost"}, clock))
		if next.SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Errorf("%s: it is the one of before", name)
		}
		first = next
	}
	c, err := newCertificate("", "", dir, []string{"localhost"}, clock)
	serves(c, err)
	now = now.AddDate(3, 0, 0)
	serves(c, c.Reload()) // of a daemon that runs for years
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\r\n\u202ec"); got != "a.[2Jb...c" {
		t.Errorf("got %q", got)
	}
}

func TestShadowedPackLoads(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shadow.yaml")
	g := &globals{format: "text"}
	source, err := sourceArgs(nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := source.fsys.Open(source.names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	text := make([]byte, info.Size())
	if _, err := f.Read(text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(inShadow(string(text), true)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := g.rulesCheck(&out, []string{path}); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	set, problems := mustEnvLoad(t, path)
	for _, r := range set.Rules() {
		if r.Mode.String() != "shadow" {
			t.Errorf("rule %s is not in shadow (%v)", r.ID, problems)
		}
	}
}

func mustEnvLoad(t *testing.T, path string) (*rules.Set, []rules.Problem) {
	t.Helper()
	env, err := buildEnv()
	if err != nil {
		t.Fatal(err)
	}
	source, err := ruleFiles([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	set, problems := rules.Load(source.fsys, source.names, env, rules.LoadOptions{Now: time.Now()})
	if set == nil {
		t.Fatal(problems)
	}
	return set, problems
}
