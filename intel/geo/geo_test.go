package geo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringfence/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func corpus(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(cmp.Or(os.Getenv("RINGFENCE_CORPUS"), "../../../shared/corpus"), "maxmind/test-data", name)
	if _, err := os.Stat(p); err != nil {
		t.Skip("no corpus, see RINGFENCE_CORPUS:", err)
	}
	return p
}

func TestLookUp(t *testing.T) {
	d := Open(Options{Paths: []string{corpus(t, "GeoIP2-Country-Test.mmdb"), corpus(t, "GeoLite2-ASN-Test.mmdb")}})
	for addr, want := range map[string]string{"81.2.69.160": "GB", "::ffff:81.2.69.160": "GB", "2001:218::1": "JP", "127.0.0.1": ""} {
		got, err := d.Country(netip.MustParseAddr(addr))
		if got != want || (want == "") != errors.Is(err, guard.ErrNotFound) {
			t.Errorf("%s is in %q (%v), want %q", addr, got, err, want)
		}
	}
	if got, err := d.ASN(netip.MustParseAddr("1.128.0.1")); got != 1221 || err != nil {
		t.Errorf("AS %d, %v", got, err)
	}
	if _, err := d.Country(netip.Addr{}); !errors.Is(err, guard.ErrNotFound) {
		t.Errorf("no address: %v", err)
	}
	a := netip.MustParseAddr("81.2.69.160")
	if n := testing.AllocsPerRun(1000, func() {
		if c, _ := d.Country(a); c != "GB" {
			t.Fatal(c)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A database that is missing or broken at the start is an error for who asks, said
// once, and read when it is there.
func TestBrokenAtStart(t *testing.T) {
	good := corpus(t, "GeoIP2-Country-Test.mmdb")
	broken := filepath.Join(t.TempDir(), "broken.mmdb")
	if err := os.WriteFile(broken, []byte("<html>please log in</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("81.2.69.160")
	for path, want := range map[string]string{broken: "download it again", broken + "x": "put a MaxMind .mmdb file there"} {
		if err := Check(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		var log bytes.Buffer
		d := Open(Options{Paths: []string{path}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %d lines: %s", path, n, log.String())
		}
		if _, err := d.Country(a); !errors.Is(err, ErrNoCountries) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := d.ASN(a); !errors.Is(err, ErrNoNetworks) {
			t.Errorf("%s: %v", path, err)
		}
		if err := d.Reload(); err != nil {
			t.Errorf("%s: said again: %v", path, err)
		}
		if len(d.Problems()) != 1 {
			t.Errorf("%s: %v", path, d.Problems())
		}
		text, err := os.ReadFile(good)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err = errors.Join(err, d.Reload()); err != nil {
			t.Fatal(err)
		}
		if c, err := d.Country(a); c != "GB" || err != nil || len(d.Problems()) != 0 || Check(path) != nil {
			t.Errorf("%s: %q, %v, %v", path, c, err, d.Problems())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := d.Reload(); err == nil || len(d.Problems()) != 1 {
			t.Errorf("%s is gone: %v", path, err)
		}
		if err := d.Reload(); err != nil {
			t.Errorf("%s: said again: %v", path, err)
		}
		if c, _ := d.Country(a); c != "GB" {
			t.Errorf("%s: what was loaded does not stay", path)
		}
	}
}

func TestSwap(t *testing.T) {
	whole, err := os.ReadFile(corpus(t, "GeoIP2-Country-Test.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	asn, err := os.ReadFile(corpus(t, "GeoLite2-ASN-Test.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db.mmdb")
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(whole)
	d := Open(Options{Paths: []string{path}})
	a, b := netip.MustParseAddr("81.2.69.160"), netip.MustParseAddr("1.128.0.1")
	country := func() string { c, _ := d.Country(a); return c }
	if country() != "GB" {
		t.Fatal(country())
	}
	write(whole[:len(whole)/2])
	if err := d.Reload(); err == nil || country() != "GB" {
		t.Fatalf("a broken file took the place of the good one: %v, %q", err, country())
	}
	write(asn)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if n, err := d.ASN(b); n != 1221 || err != nil || country() != "" {
		t.Fatalf("after the swap: AS %d, %v, country %q", n, err, country())
	}
}

func TestRunEnds(t *testing.T) {
	d := Open(Options{Look: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
