package source

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
)

type geo struct{ err error }

func (g geo) Country(a netip.Addr) (string, error) {
	if g.err != nil {
		return "", g.err
	}
	if a == netip.MustParseAddr("203.0.113.9") {
		return "LV", nil
	}
	return "", guard.ErrNotFound
}

func (g geo) ASN(a netip.Addr) (uint32, error) {
	if _, err := g.Country(a); err != nil {
		return 0, err
	}
	return 64500, nil
}

type asker struct {
	values map[string]guard.Value
	errs   map[string]error
	names  []string
}

func (*asker) Version() string { return "test" }

func (p *asker) Decide(ctx context.Context, _ guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	for _, name := range p.names {
		p.values[name], p.errs[name] = f.Ask(ctx, name)
	}
	return guard.Verdict{Action: guard.Allow}
}

func ask(t *testing.T, h guard.Host, c Config, m *guard.Message) *asker {
	t.Helper()
	g, err := New(h, c)
	if err != nil {
		t.Fatal(err)
	}
	p := &asker{values: map[string]guard.Value{}, errs: map[string]error{}}
	for _, f := range g.Facts {
		p.names = append(p.names, f.Name)
	}
	e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{g}, Policy: p, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	e.Judge(t.Context(), m, &guard.Decision{})
	return p
}

func TestFacts(t *testing.T) {
	for _, c := range []struct {
		src, ip, flow, net, country string
		asn                         int64
		config                      Config
	}{
		{"203.0.113.9:5061", "203.0.113.9", "203.0.113.9:5061/tls", "203.0.113.9/32", "LV", 64500, Config{}},
		{"[::ffff:203.0.113.9]:5061", "203.0.113.9", "203.0.113.9:5061/tls", "203.0.113.9/32", "LV", 64500, Config{}},
		{"203.0.113.9:5061", "203.0.113.9", "203.0.113.9:5061/tls", "203.0.113.0/24", "LV", 64500, Config{NetIPv4: 24}},
		{"[2001:db8:1:2:3::4]:5061", "2001:db8:1:2:3::4", "[2001:db8:1:2:3::4]:5061/tls", "2001:db8:1:2::/64", "", 0, Config{}},
		{"[2001:db8:1:2:3::4]:5061", "2001:db8:1:2:3::4", "[2001:db8:1:2:3::4]:5061/tls", "2001:db8:1::/48", "", 0, Config{NetIPv6: 48}},
	} {
		p := ask(t, guard.Host{Geo: geo{}}, c.config, &guard.Message{
			Src: netip.MustParseAddrPort(c.src), Transport: guard.TLS, Proven: true, Trust: guard.Trusted, Inside: true, Peer: "pbx",
		})
		v := p.values
		if v["src.ip"].IP() != netip.MustParseAddr(c.ip) || v["src.port"].Int() != 5061 || v["src.transport"].Str() != "tls" || !v["src.proven"].True() ||
			v["src.trust"].Str() != "trusted" || !v["src.inside"].True() || v["src.peer"].Str() != "pbx" || v["src.flow"].Str() != c.flow ||
			v["src.net"].Str() != c.net || v["src.country"].Str() != c.country || v["src.asn"].Int() != c.asn {
			t.Errorf("%s: %+v", c.src, v)
		}
		for name, err := range p.errs {
			if err != nil {
				t.Errorf("%s: %s: %v", c.src, name, err)
			}
		}
	}
}

// A message made by hand may have no source.
func TestNoSource(t *testing.T) {
	p := ask(t, guard.Host{Geo: geo{}}, Config{}, &guard.Message{})
	if got := p.values["src.net"].Str(); got != "" {
		t.Errorf("src.net is %q", got)
	}
}

func TestGeoFails(t *testing.T) {
	broken := errors.New("broken")
	m := &guard.Message{Src: netip.MustParseAddrPort("203.0.113.9:5060")}
	for _, c := range []struct {
		host guard.Host
		want error
	}{{guard.Host{}, ErrNoGeo}, {guard.Host{Geo: geo{broken}}, broken}} {
		p := ask(t, c.host, Config{}, m)
		for _, name := range []string{"src.country", "src.asn"} {
			if !errors.Is(p.errs[name], c.want) {
				t.Errorf("%s: %v, want %v", name, p.errs[name], c.want)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{NetIPv4: 7}, {NetIPv4: 33}, {NetIPv6: 15}, {NetIPv6: 129}} {
		if _, err := New(guard.Host{}, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
