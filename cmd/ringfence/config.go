package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"ringfence/rules"
)

// config is ringfence.yaml. Every field has a usable zero value, so that a new
// binary starts with an old file. Secrets are references, never values.
type config struct {
	Version   int            `yaml:"version"`
	Listen    []listenConfig `yaml:"listen"`
	NextHops  []hopConfig    `yaml:"next_hops"`
	Location  locationConfig `yaml:"location"`
	Domains   []string       `yaml:"domains"`
	Register  string         `yaml:"register"`  // auto, path, contact
	Challenge string         `yaml:"challenge"` // never, under-flood, always
	Egress    string         `yaml:"egress"`    // none, dns
	DNS       dnsConfig      `yaml:"dns"`
	Emergency string         `yaml:"emergency"` // pool for emergency calls; "" is the first pool
	Source    string         `yaml:"source_header"`
	Rules     rulesConfig    `yaml:"rules"`
	Screen    screenConfig   `yaml:"screen"`
	Store     storeConfig    `yaml:"store"`
	Guards    guardsConfig   `yaml:"guards"`
	Geo       []string       `yaml:"geo"`
	Record    recordConfig   `yaml:"record"`
	Metrics   string         `yaml:"metrics"` // address of the metrics page; "" is 127.0.0.1:9464, "off" is none
	Control   string         `yaml:"control"` // unix socket; "" is STATE/control.sock, or one in a runtime directory if STATE cannot be written
	Limits    limitsConfig   `yaml:"limits"`
}

type listenConfig struct {
	Name        string         `yaml:"name"`
	Transport   string         `yaml:"transport"` // udp, tcp, tls, ws, wss
	Address     netip.AddrPort `yaml:"address"`
	Advertise   string         `yaml:"advertise"` // host or host:port that others see
	Interface   string         `yaml:"interface"` // for the kernel filter
	Mode        string         `yaml:"mode"`      // stateful, or stateless: it only filters, RFC 3261 section 16.11
	Certificate string         `yaml:"certificate"`
	Key         string         `yaml:"key"`
	Origins     []string       `yaml:"origins"` // whose pages may open a WebSocket; none: pages of the same host
	Path        string         `yaml:"path"`    // that a WebSocket is opened at; none: any
}

type hopConfig struct {
	Name      string        `yaml:"name"`
	Pool      string        `yaml:"pool"`
	Address   string        `yaml:"address"`   // host:port, or a domain
	Transport string        `yaml:"transport"` // udp, tcp, tls, or dns: what NAPTR and SRV records say, the default of a domain
	Weight    int           `yaml:"weight"`
	Priority  int           `yaml:"priority"`
	Probe     time.Duration `yaml:"probe"`   // 0 is 10s, negative is never
	Numbers   []string      `yaml:"numbers"` // prefixes that go to its pool, for trunks
	Match     string        `yaml:"match"`   // port (default) or address: what makes a source this next hop
}

// dnsConfig says whom to ask for names of next hops, and with egress: dns for
// those of other domains. Names in messages from outside are never looked up.
type dnsConfig struct {
	Servers    []string      `yaml:"servers"`     // address or address:port; none: those of resolv_conf
	ResolvConf string        `yaml:"resolv_conf"` // read again when it changes
	Timeout    time.Duration `yaml:"timeout"`     // for one server to answer
	Attempts   int           `yaml:"attempts"`    // rounds over all servers
	MinTTL     time.Duration `yaml:"min_ttl"`
	MaxTTL     time.Duration `yaml:"max_ttl"`
	Negative   time.Duration `yaml:"negative_ttl"` // how long at most "there is none" holds
	Retry      time.Duration `yaml:"retry"`        // how long silent servers are left alone with a question
	Stale      time.Duration `yaml:"stale"`        // how long old answers do while the servers are silent
	Drain      time.Duration `yaml:"drain"`        // how long calls on a next hop that DNS names no more go on as its own
	Addresses  int           `yaml:"addresses"`    // servers of one domain
	Cache      int           `yaml:"cache"`        // answers that are remembered
	Domains    int           `yaml:"domains"`      // domains of requests from inside that are remembered
	Questions  int           `yaml:"questions"`    // under way at once
}

type locationConfig struct {
	Enabled    *bool         `yaml:"enabled"` // default: when there is no next hop
	Bindings   int           `yaml:"bindings"`
	MinExpires time.Duration `yaml:"min_expires"`
	MaxExpires time.Duration `yaml:"max_expires"`
}

type rulesConfig struct {
	Default *bool    `yaml:"default"` // the built-in pack; default true
	Files   []string `yaml:"files"`
}

type screenConfig struct {
	Mode       string         `yaml:"mode"` // off, auto, native, generic
	Interfaces []string       `yaml:"interfaces"`
	Pin        string         `yaml:"pin"` // directory in a bpf file system; "" is /sys/fs/bpf/ringfence
	Bans       int            `yaml:"bans"`
	Allow      []netip.Prefix `yaml:"allow"`
	Deny       []netip.Prefix `yaml:"deny"`
	Rate       int            `yaml:"rate"`  // packets a second for one source
	Burst      int            `yaml:"burst"` // packets
	NewSources int            `yaml:"new_sources"`
	FailClosed bool           `yaml:"fail_closed"`
}

type storeConfig struct {
	Dir    string `yaml:"dir"`
	Quota  size   `yaml:"quota"`
	Memory size   `yaml:"memory"` // while the disk cannot be written
}

type recordConfig struct {
	Log      string          `yaml:"log"`  // file for the JSON lines; "" is standard output, "off" is none
	Keep     time.Duration   `yaml:"keep"` // of history
	Passes   bool            `yaml:"passes"`
	Mask     bool            `yaml:"mask_numbers"`
	Webhooks []webhookConfig `yaml:"webhooks"`
	HEP      hepConfig       `yaml:"hep"`
}

type webhookConfig struct {
	URL    string `yaml:"url"`
	Secret string `yaml:"secret"` // file:PATH
}

type limitsConfig struct {
	Transactions int  `yaml:"transactions"`
	Unproven     int  `yaml:"unproven_transactions"`
	Memory       size `yaml:"transaction_memory"` // bytes of the messages of transactions
	PerSource    int  `yaml:"transactions_per_source"`
	Calls        int  `yaml:"calls"`
	Questions    int  `yaml:"call_questions_per_second"`
	Connections  int  `yaml:"connections"`
	PerAddress   int  `yaml:"connections_per_source"`
	Datagram     int  `yaml:"datagram"`
	Message      int  `yaml:"message"`
	Unknown      int  `yaml:"unknown_per_second"`
	Meters       int  `yaml:"meter_keys"`
	Workers      int  `yaml:"sockets"`
	Watchers     int  `yaml:"watchers"`     // who may watch at once
	WatchBuffer  size `yaml:"watch_buffer"` // bytes of messages that wait for one of them
}

// size is a number of bytes written as people do: 500MiB, 20GiB.
type size int64

func (s *size) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseSize(n.Value)
	if err != nil {
		return err
	}
	*s = size(v)
	return nil
}

//nolint:unparam // the interface wants an error
func (s size) MarshalYAML() (any, error) { return s.String(), nil }

func (s size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			var n int64
			if _, err := fmt.Sscanf(number, "%d", &n); err != nil || n < 0 || strconv.FormatInt(n, 10) != number || n > (1<<62)/u.bytes {
				break
			}
			return n * u.bytes, nil
		}
	}
	return 0, fmt.Errorf("%q is no size: write a whole number with B, KiB, MiB, GiB or TiB", text)
}

// problem is one thing wrong with a file, with its place.
type problem struct {
	File      string `json:"file"`
	Line, Col int
	Text      string `json:"text"`
}

func (p problem) String() string {
	if p.Line == 0 {
		return p.File + ": error: " + p.Text
	}
	return fmt.Sprintf("%s:%d:%d: error: %s", p.File, p.Line, p.Col, p.Text)
}

// problems is every thing wrong with a configuration.
type problems []problem

func (p problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// readConfig reads and checks a configuration file; the error is a problems
// with all that is wrong. Relative paths in the file are relative to it.
func readConfig(path string) (*config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := parseConfig(path, text)
	if err != nil {
		return nil, err
	}
	base := filepath.Dir(path)
	at := func(p *string) {
		if *p != "" && *p != "off" && *p != "-" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	for i := range c.Listen {
		at(&c.Listen[i].Certificate)
		at(&c.Listen[i].Key)
	}
	for i := range c.Geo {
		at(&c.Geo[i])
	}
	for i := range c.Rules.Files {
		at(&c.Rules.Files[i])
	}
	at(&c.DNS.ResolvConf)
	at(&c.Store.Dir)
	at(&c.Record.Log)
	at(&c.Record.HEP.CA)
	at(&c.Control)
	return c, nil
}

func parseConfig(path string, text []byte) (*config, error) {
	c := new(config)
	var bad problems
	err := yaml.Load(text, c, yaml.WithKnownFields(), yaml.WithUniqueKeys())
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			bad = append(bad, problem{path, e.Mark.Line, e.Mark.Column, plainYAML(e.Message)})
		}
	case errors.As(err, &one):
		bad = append(bad, problem{path, one.Mark.Line, one.Mark.Column, plainYAML(one.Message)})
	case err != nil:
		bad = append(bad, problem{File: path, Text: plainYAML(err.Error())})
	}
	where := places(text)
	for _, p := range c.check() {
		at := where(p.path)
		bad = append(bad, problem{path, at.line, at.col, p.text})
	}
	if len(bad) > 0 {
		slices.SortStableFunc(bad, func(a, b problem) int { return cmp.Or(a.Line-b.Line, a.Col-b.Col) })
		return nil, bad
	}
	return c, nil
}

// plainYAML turns the decoder's words into ours, and adds what was meant.
func plainYAML(text string) string {
	if _, rest, ok := strings.Cut(text, "field "); ok {
		if name, _, ok := strings.Cut(rest, " not found in type "); ok {
			return unknownField(name)
		}
	}
	text = strings.ReplaceAll(text, "!!str", "text")
	text = strings.ReplaceAll(text, "!!int", "a number")
	text = strings.ReplaceAll(text, "!!seq", "a list")
	text = strings.ReplaceAll(text, "!!map", "a mapping")
	return strings.TrimPrefix(text, "construct: ")
}

func unknownField(name string) string {
	text := fmt.Sprintf("unknown field %q", name)
	if near := rules.Nearest(name, fieldNames(reflect.TypeFor[config](), nil)); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return text
}

func fieldNames(t reflect.Type, names []string) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[config]().PkgPath() {
		return names
	}
	for f := range t.Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); tag != "" {
			names = append(names, tag)
		}
		names = fieldNames(f.Type, names)
	}
	return names
}

type place struct{ line, col int }

// places finds where a path such as "listen.1.address" stands in the text; the
// nearest parent when the field was left out.
func places(text []byte) func(path string) place {
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		return func(string) place { return place{} }
	}
	return func(path string) place {
		n := &doc
		if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
			n = n.Content[0]
		}
		at := place{n.Line, n.Column}
		for step := range strings.SplitSeq(path, ".") {
			next := child(n, step)
			if next == nil {
				break
			}
			n, at = next, place{next.Line, next.Column}
		}
		return at
	}
}

func child(n *yaml.Node, step string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if strconv.Itoa(i) == step {
				return c
			}
		}
	}
	return nil
}
