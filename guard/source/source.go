// Package source says where a message comes from: its address, the transport,
// what the flow has proved, and where on earth the address is.
package source

import (
	"cmp"
	"context"
	"errors"
	"net/netip"

	"ringfence/guard"
)

func init() { guard.Register(Kind) }

// Kind makes the guard.
var Kind = guard.Kind{
	Name:   "source",
	Doc:    "where a message comes from and what its source has proved",
	Config: func() any { return &Config{} },
	New:    func(h guard.Host, c any) (*guard.Guard, error) { return New(h, *c.(*Config)) },
}

// Config says what counts as one source.
type Config struct {
	NetIPv4 int `yaml:"net_ipv4"` // prefix length of src.net for IPv4; 0 means 32
	NetIPv6 int `yaml:"net_ipv6"` // prefix length of src.net for IPv6; 0 means 64 (RFC 6177: one site, one customer)
}

// ErrNoGeo tells that no GeoIP database is loaded. Rules see it through on_error.
var ErrNoGeo = errors.New("no GeoIP database is loaded")

// Fill writes out the defaults of what is not set.
func (c *Config) Fill() {
	c.NetIPv4, c.NetIPv6 = cmp.Or(c.NetIPv4, 32), cmp.Or(c.NetIPv6, 64)
}

// New makes the guard. Host.Geo may be nil: src.country and src.asn are then
// errors, so that each rule says by on_error what that means to it.
func New(h guard.Host, c Config) (*guard.Guard, error) {
	c.Fill()
	if c.NetIPv4 < 8 || c.NetIPv4 > 32 {
		return nil, errors.New("source: net_ipv4 must be from 8 to 32")
	}
	if c.NetIPv6 < 16 || c.NetIPv6 > 128 {
		return nil, errors.New("source: net_ipv6 must be from 16 to 128")
	}
	return &guard.Guard{Name: "source", Facts: facts(h.Geo, c)}, nil
}

func facts(geo guard.Geo, c Config) []guard.Fact {
	// know makes a fact that only reads the message and cannot fail.
	know := func(name string, t guard.Type, doc string, get func(*guard.Message) guard.Value) guard.Fact {
		return guard.Fact{
			Name: name, Type: t, Stage: guard.StageMessage, Cost: guard.Free, Doc: doc,
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) { return get(f.Message()), nil },
		}
	}
	compose := func(name, doc string, add func([]byte, *guard.Message) []byte) guard.Fact {
		return guard.Fact{
			Name: name, Type: guard.String, Stage: guard.StageMessage, Cost: guard.Memory, Doc: doc,
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) { return f.Compose(add), nil },
		}
	}
	return []guard.Fact{
		know("src.ip", guard.IP, "The address that the message came from.",
			func(m *guard.Message) guard.Value { return guard.Address(m.Src.Addr().Unmap()) }),
		know("src.port", guard.Int, "The port that the message came from.",
			func(m *guard.Message) guard.Value { return guard.Integer(int64(m.Src.Port())) }),
		know("src.transport", guard.String, "What the message came over: udp, tcp, tls, ws or wss.",
			func(m *guard.Message) guard.Value { return guard.Text(m.Transport.String()) }),
		know("src.proven", guard.Bool, "Whether the source can receive what is sent to it: a handshake, or a nonce that came back.",
			func(m *guard.Message) guard.Value { return guard.Truth(m.Proven) }),
		know("src.trust", guard.String, "What the flow has proved: unknown, challenged, trusted or limited.",
			func(m *guard.Message) guard.Value { return guard.Text(m.Trust.String()) }),
		know("src.inside", guard.Bool, "Whether the message came from a next hop.",
			func(m *guard.Message) guard.Value { return guard.Truth(m.Inside) }),
		know("src.peer", guard.String, "The name of the configured next hop or trunk that the message came from, or empty.",
			func(m *guard.Message) guard.Value { return guard.Text(m.Peer) }),
		compose("src.flow", "The flow as text, ip:port/transport (RFC 5626 section 2).", appendFlow),
		compose("src.net", "The network that counts as one source: the address itself for IPv4 and its /64 for IPv6, as a prefix.",
			func(b []byte, m *guard.Message) []byte { return appendNetwork(b, m.Src.Addr(), c) }),
		{
			Name: "src.country", Type: guard.String, Stage: guard.StageMessage, Cost: guard.Disk,
			Doc: "The country of the address, ISO 3166-1 alpha-2, empty if the database does not know it; an error without a database.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				if geo == nil {
					return guard.Value{}, ErrNoGeo
				}
				country, err := geo.Country(f.Message().Src.Addr().Unmap())
				if err != nil && !errors.Is(err, guard.ErrNotFound) {
					return guard.Value{}, err
				}
				return guard.Text(country), nil
			},
		},
		{
			Name: "src.asn", Type: guard.Int, Stage: guard.StageMessage, Cost: guard.Disk,
			Doc: "The number of the autonomous system of the address, 0 if the database does not know it; an error without a database.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				if geo == nil {
					return guard.Value{}, ErrNoGeo
				}
				asn, err := geo.ASN(f.Message().Src.Addr().Unmap())
				if err != nil && !errors.Is(err, guard.ErrNotFound) {
					return guard.Value{}, err
				}
				return guard.Integer(int64(asn)), nil
			},
		},
	}
}

func appendFlow(b []byte, m *guard.Message) []byte {
	b = netip.AddrPortFrom(m.Src.Addr().Unmap(), m.Src.Port()).AppendTo(b)
	return append(append(b, '/'), m.Transport.String()...)
}

func appendNetwork(b []byte, a netip.Addr, c Config) []byte {
	a = a.Unmap().WithZone("")
	bits := c.NetIPv6
	if a.Is4() {
		bits = c.NetIPv4
	}
	p, err := a.Prefix(bits)
	if err != nil { // the zero address, of a message made by hand
		return b
	}
	return p.AppendTo(b)
}
