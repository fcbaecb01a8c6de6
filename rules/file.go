package rules

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A reader walks the YAML of one file and notes every problem with its place.
type reader struct {
	file     string
	problems *[]Problem
}

func (r *reader) say(n *yaml.Node, s Severity, code, form string, args ...any) {
	p := Problem{File: r.file, Severity: s, Code: code, Text: fmt.Sprintf(form, args...)}
	if n != nil {
		p.Line, p.Col = n.Line, n.Column
	}
	p.Line, p.Col = max(p.Line, 1), max(p.Col, 1) // what concerns the whole file stands at its beginning
	*r.problems = append(*r.problems, p)
}

func (r *reader) bad(n *yaml.Node, code, form string, args ...any) {
	r.say(n, Error, code, form, args...)
}

// parse reads the text as one YAML document, nil if it is none.
func (r *reader) parse(text []byte) *yaml.Node {
	root := r.document(text)
	if root != nil {
		r.anchors(root, 0)
	}
	return root
}

// document is parse with anchors allowed.
func (r *reader) document(text []byte) *yaml.Node {
	var doc yaml.Node
	err := yaml.Load(text, &doc)
	var one *yaml.LoadError
	var many *yaml.LoadErrors
	switch {
	case len(bytes.TrimSpace(text)) == 0 || err == nil && len(doc.Content) == 0:
		r.bad(nil, "empty", "the file is empty; it begins with version: 1")
	case errors.As(err, &many) && len(many.Errors) > 0:
		one = many.Errors[0]
		fallthrough
	case errors.As(err, &one):
		r.bad(&yaml.Node{Line: one.Mark.Line, Column: one.Mark.Column}, "yaml", "%s", one.Message)
	case err != nil:
		r.bad(nil, "yaml", "%v", err)
	default:
		return doc.Content[0]
	}
	return nil
}

// anchors refuses anchors and aliases: a rule must say itself what it says.
func (r *reader) anchors(n *yaml.Node, depth int) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		r.bad(n, "anchor", "anchors and aliases are not allowed in rule files")
		return
	}
	if depth > 32 {
		r.bad(n, "too-deep", "nested too deep")
		return
	}
	for _, c := range n.Content {
		r.anchors(c, depth+1)
	}
}

// fields gives the fields of a mapping by name and says what is unknown or
// twice there.
func (r *reader) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.bad(n, "shape", "%s must be a mapping of fields", what)
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch later, soon := notYet[k.Value]; {
		case slices.Contains(known, k.Value):
			if out[k.Value] != nil {
				r.bad(k, "twice", "field %q stands here twice", k.Value)
			}
			out[k.Value] = v
		case soon && strings.HasPrefix(what, later.in):
			r.bad(k, "not-yet", "this version does not have %q: %s", k.Value, later.say)
		default:
			*r.problems = append(*r.problems, Problem{
				File: r.file, Line: k.Line, Col: k.Column, Code: "unknown-field",
				Text: fmt.Sprintf("%s has no field %q", what, k.Value), Fix: meant(k.Value, known),
			})
		}
	}
	return out
}

// notYet are words of the language that this version does not carry out.
var notYet = map[string]struct{ in, say string }{
	"schedules":   {"a rule file", "use on_error and two rule files, and apply them when the time comes"},
	"feeds":       {"a rule file", "use a list with file:"},
	"score":       {"rule", "use several rules"},
	"rollout":     {"rule", "use mode: shadow"},
	"sum":         {"rate", "count and distinct are there"},
	"gauge":       {"rate", "acct.calls holds the calls of an account"},
	"shared":      {"rate", "a node counts for itself"},
	"refresh":     {"list", "a file is read again at every apply"},
	"url":         {"list", "use file:"},
	"stale_after": {"list", "a file is read again at every apply"},
	"at_least":    {"list", "a file is read again at every apply"},
}

// entries gives the entries of a mapping whose keys are names.
func (r *reader) entries(n *yaml.Node, what string, each func(name string, key, value *yaml.Node)) {
	if n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.bad(n, "shape", "%s must be a mapping of names", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !isName(k.Value, '_') {
			r.bad(k, "bad-name", "%q is no name: use small letters, digits and _", k.Value)
			continue
		}
		if seen[k.Value] {
			r.bad(k, "twice", "%q stands here twice", k.Value)
			continue
		}
		seen[k.Value] = true
		each(k.Value, k, v)
	}
}

func isName(s string, joint byte) bool {
	for i := range len(s) {
		c := s[i]
		if c == joint && i > 0 || 'a' <= c && c <= 'z' || i > 0 && '0' <= c && c <= '9' {
			continue
		}
		return false
	}
	return s != ""
}

// items gives the items of a list.
func (r *reader) items(n *yaml.Node, what string) []*yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n, "shape", "%s must be a list", what)
		return nil
	}
	return n.Content
}

// text gives a scalar as text. Numbers with a plus sign and words that YAML
// readers take for truth values must be quoted.
func (r *reader) text(n *yaml.Node, what string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		r.bad(n, "shape", "%s must be one value", what)
		return ""
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		switch {
		case strings.HasPrefix(n.Value, "+"):
			r.bad(n, "unquoted-number", "%s: %s without quotes is a number to YAML; write %q", what, n.Value, n.Value)
		case slices.Contains([]string{"no", "yes", "on", "off", "n", "y"}, strings.ToLower(n.Value)) && n.Value != "off":
			r.bad(n, "unquoted-word", "%s: %s without quotes is a truth value to some readers; write %q", what, n.Value, n.Value)
		}
	}
	return n.Value
}

// texts gives a list of texts.
func (r *reader) texts(n *yaml.Node, what string) []string {
	var out []string
	for _, i := range r.items(n, what) {
		out = append(out, r.text(i, what))
	}
	return out
}

// choice gives a text that is one of a few; ok is false if it is left out or
// wrong.
func (r *reader) choice(n *yaml.Node, what string, of ...string) (i int, ok bool) {
	if n == nil {
		return 0, false
	}
	got := r.text(n, what)
	i = slices.Index(of, got)
	if i < 0 {
		*r.problems = append(*r.problems, Problem{
			File: r.file, Line: n.Line, Col: n.Column, Code: "unknown-word",
			Text: fmt.Sprintf("%s cannot be %q: it is one of %s", what, got, strings.Join(of, ", ")), Fix: meant(got, of),
		})
		return 0, false
	}
	return i, true
}
