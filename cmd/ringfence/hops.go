package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"ringfence/proxy/route"
)

// hops are the next hops of the configuration; byAddress tells that at least
// one is known by its address alone.
func (c *config) hops() (hops []route.Config, byAddress bool, err error) {
	for _, h := range c.NextHops {
		host, port, err := splitHop(h.Address)
		if err != nil {
			return nil, false, fmt.Errorf("next hop %s: %w", h.Name, err)
		}
		r := route.Config{
			Name: h.Name, Pool: h.Pool, Host: host, Port: port, Transport: transports[h.Transport], Any: h.Transport == "dns",
			Priority: h.Priority, Weight: h.Weight, Probe: max(h.Probe, 0), Prefixes: h.Numbers,
		}
		byAddress = byAddress || h.Match == "address"
		hops = append(hops, r)
	}
	return hops, byAddress, nil
}

// splitHop reads host, host:port, [v6]:port or a bare IPv6 address.
func splitHop(text string) (host string, port uint16, err error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.String(), 0, nil
	}
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		return text, 0, nil //nolint:nilerr // a name without a port: SRV records say it
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is no port", digits)
	}
	return host, uint16(n), nil
}

// isHost tells whether a host is an address or can be a name.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	name := strings.TrimSuffix(host, ".")
	if strings.Trim(name, "0123456789.") == "" {
		return false // no domain is of digits alone: "999.1.1.1" is an address that does not exist
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(name) <= 253
}

// domain tells whether a next hop is a domain, whose servers DNS names.
func (h hopConfig) domain() bool {
	host, port, err := splitHop(h.Address)
	if err != nil || port != 0 {
		return false
	}
	_, err = netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil
}

// hopFlag reads a next hop of the command line: a transport and an address, or a
// SIP URI without a user. Without a transport a domain has the one that DNS says.
func hopFlag(text string) (transport, address string, err error) {
	for scheme, transport := range map[string]string{"sip:": "", "sips:": "tls"} {
		rest, ok := strings.CutPrefix(text, scheme)
		if !ok {
			continue
		}
		host, params, _ := strings.Cut(rest, ";")
		if strings.Contains(host, "@") {
			return "", "", fmt.Errorf("a next hop has no user: write %s%s", scheme, host[strings.LastIndexByte(host, '@')+1:])
		}
		for param := range strings.SplitSeq(params, ";") {
			name, value, _ := strings.Cut(strings.ToLower(param), "=")
			switch {
			case param == "", name == "lr":
			case name != "transport":
				return "", "", fmt.Errorf("%q is no parameter of a next hop", name)
			case scheme == "sips:" && (value == "tcp" || value == "tls"): // TLS either way, RFC 5630 section 3.1.3
			case scheme == "sips:":
				return "", "", fmt.Errorf("sips goes over TLS, not %q", value)
			case value != "udp" && value != "tcp" && value != "tls":
				return "", "", fmt.Errorf("%q is not one of udp, tcp, tls", value)
			default:
				transport = value
			}
		}
		return transport, host, nil
	}
	transport, address = splitTransport(text)
	if address == text {
		transport = ""
	}
	return transport, address, err
}
