package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
	"unicode/utf8"
)

// A Line writes one entry as a log line.
type Line func(e *Entry, mask bool) error

// JSONLines writes ECS documents, one a line, in which what an attacker wrote is
// escaped.
func JSONLines(w io.Writer, version string) Line {
	var mu sync.Mutex
	return func(e *Entry, mask bool) error {
		text, err := json.Marshal(document(e, version, mask))
		if err != nil {
			return fmt.Errorf("log line: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		_, err = w.Write(append(Visible(text), '\n'))
		return err
	}
}

// Visible escapes what JSON lets through and a terminal acts on: DEL, the C1
// controls (U+009B begins an ANSI sequence) and the marks that turn the
// direction of writing.
func Visible(text []byte) []byte {
	if !bytes.ContainsFunc(text, hidden) {
		return text
	}
	var out []byte
	for _, c := range string(text) {
		if hidden(c) {
			out = fmt.Appendf(out, "\\u%04x", c)
		} else {
			out = utf8.AppendRune(out, c)
		}
	}
	return out
}

func hidden(c rune) bool {
	return c >= 0x7f && c <= 0x9f || c >= 0x200e && c <= 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069
}

// document is an entry under the names of the Elastic Common Schema and of
// Packetbeat's SIP fields.
func document(e *Entry, version string, mask bool) map[string]any {
	hide := func(s string) string {
		if mask {
			return Masked(s)
		}
		return s
	}
	outcome := "success"
	if e.Verdict == "reject" || e.Verdict == "drop" {
		outcome = "failure"
	}
	d := map[string]any{
		"@timestamp":            e.At.UTC().Format(time.RFC3339Nano),
		"event.kind":            "event",
		"event.category":        []string{"network", "intrusion_detection"},
		"event.type":            []string{map[string]string{"failure": "denied", "success": "allowed"}[outcome]},
		"event.action":          e.Verdict,
		"event.outcome":         outcome,
		"event.module":          "ringfence",
		"event.duration":        e.Took,
		"rule.id":               e.Rule,
		"rule.version":          e.Policy,
		"ringfence.stage":       e.Stage,
		"source.ip":             host(e.Source),
		"network.transport":     e.Transport,
		"network.protocol":      "sip",
		"observer.name":         "ringfence",
		"observer.version":      version,
		"sip.method":            e.Method,
		"sip.call_id":           e.CallID,
		"sip.from.uri.original": hide(e.From),
		"sip.to.uri.original":   hide(e.To),
	}
	put := func(k, v string) {
		if v != "" {
			d[k] = v
		}
	}
	if ap, err := netip.ParseAddrPort(e.Source); err == nil {
		d["source.port"] = ap.Port()
	}
	put("source.geo.country_iso_code", e.country)
	put("user.name", hide(e.Account))
	put("sip.user_agent.original", e.Agent)
	put("ringfence.ban", e.Ban)
	for _, m := range e.Matches {
		if m.Rule == e.Rule {
			put("rule.name", m.Title)
			put("event.reason", m.Where)
		}
	}
	if e.Code != 0 {
		d["sip.code"] = e.Code
	}
	if e.Stands > 1 {
		d["ringfence.stands_for"] = e.Stands
	}
	return d
}

// Masked hides the middle digits of every number of five digits and more.
func Masked(s string) string {
	b := []byte(s)
	for i := 0; i < len(b); {
		j := i
		for j < len(b) && '0' <= b[j] && b[j] <= '9' {
			j++
		}
		if n := j - i; n >= 5 {
			for k := i + 2; k < j-2; k++ {
				b[k] = '*'
			}
		}
		i = max(j, i+1)
	}
	return string(b)
}
