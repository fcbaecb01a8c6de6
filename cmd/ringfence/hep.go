package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"ringfence/record/hep"
	"ringfence/record/tap"
	"ringfence/rules"
)

// hepConfig says where messages and verdicts are mirrored to.
type hepConfig struct {
	To          string `yaml:"to"`          // udp:ADDRESS, tcp:ADDRESS or tls:ADDRESS of a capture server; "" is none
	ID          int    `yaml:"id"`          // capture agent ID
	Key         string `yaml:"key"`         // file:PATH of the authenticate key
	Queue       size   `yaml:"queue"`       // bytes of messages that wait
	Credentials bool   `yaml:"credentials"` // mirror the answers to challenges as they are
	CA          string `yaml:"ca"`          // certificates that a tls server is checked against; "" is those of the system
}

// hepPort is where capture servers listen.
const hepPort = 9060

// server reads where packets go.
func (c *hepConfig) server() (network, host string, port uint16, err error) {
	network, address := splitTransport(c.To)
	host, port, err = splitHop(address)
	if err != nil || !isHost(host) || !slices.Contains([]string{"udp", "tcp", "tls"}, network) {
		err = fmt.Errorf("%q is no capture server such as udp:10.0.0.9:9060 or tls:capture.example", c.To)
		word, _, _ := strings.Cut(c.To, ":")
		if near := rules.Nearest(word, []string{"udp", "tcp", "tls"}); near != "" && near != word {
			err = fmt.Errorf("%w (did you mean %q?)", err, near)
		}
	}
	return network, strings.Trim(host, "[]"), cmp.Or(port, hepPort), err
}

// check says what is wrong with it, by field.
func (c *hepConfig) check(say func(field, form string, args ...any)) {
	if c.To == "" {
		if *c != (hepConfig{ID: c.ID, Queue: c.Queue}) {
			say("to", "a mirror needs a capture server: to: udp:10.0.0.9:9060")
		}
		return
	}
	network, _, _, err := c.server()
	if err != nil {
		say("to", "%v", err)
	}
	if c.ID < 0 || c.ID >= 1<<32 {
		say("id", "a capture agent ID is a number from 1 to 4294967295 (0 is the default)")
	}
	if c.Key != "" && !strings.HasPrefix(c.Key, "file:") {
		say("key", "a key is a reference: write file:PATH")
	}
	if c.CA != "" && network != "tls" {
		say("ca", "%s is not checked against certificates: write to: tls:ADDRESS", network)
	}
}

func (c *hepConfig) fill() {
	c.ID, c.Queue = cmp.Or(c.ID, 1), cmp.Or(c.Queue, 8<<20)
}

// openTap makes the tap, and the mirror if there is to be one.
func (g *guardian) openTap() error {
	g.tap = tap.New(tap.Options{Watchers: g.cfg.Limits.Watchers, Buffer: int(g.cfg.Limits.WatchBuffer)})
	c := &g.cfg.Record.HEP
	if c.To == "" {
		return nil
	}
	network, host, port, err := c.server()
	if err != nil {
		return fmt.Errorf("record: hep: %w", err)
	}
	o := hep.Options{
		Tap: g.tap, Network: network, Address: net.JoinHostPort(host, strconv.Itoa(int(port))), Agent: uint32(c.ID), Queue: int(c.Queue),
		Credentials: c.Credentials, Metrics: g.metrics, Now: g.now, Log: g.log,
	}
	if path, ok := strings.CutPrefix(c.Key, "file:"); ok {
		key, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("record: hep: key: %w", err)
		}
		o.Key = []byte(strings.TrimSpace(string(key)))
	}
	if network == "tls" {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		if o.TLS.RootCAs, err = authorities(c.CA); err != nil {
			return fmt.Errorf("record: hep: ca: %w", err)
		}
	}
	g.mirror, err = hep.New(o)
	return err
}

// authorities are the certificates of a PEM file; nil, the system's, without one.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nil is a pool too: the system's
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}
