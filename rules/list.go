package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"reflect"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/gaissmai/bart"
	"go.yaml.in/yaml/v4"

	"ringfence/guard"
)

// A list is a named list as CEL sees it: what "in" means depends on its kind.
type list struct {
	kind  string
	ips   bart.Lite
	texts map[string]struct{} // of text, and of e164 by prefix
	parts []string            // of substring, in lower case
	long  int                 // the longest e164 prefix
	size  int
}

var listKinds = []string{"ip", "e164", "text", "substring"}

func newList(kind string) *list { return &list{kind: kind, texts: map[string]struct{}{}} }

// celType is what the checker knows of the list: an address is never in a list
// of texts, nor a text in one of addresses.
func (l *list) celType() *types.Type {
	if l.kind == "ip" {
		return ipListType
	}
	return textListType
}

// add takes one item, or says what is wrong with it.
func (l *list) add(item string) error {
	l.size++
	switch l.kind {
	case "ip":
		p, err := parsePrefix(item)
		if err != nil {
			return err
		}
		l.ips.Insert(p)
	case "e164":
		digits, plus := strings.CutPrefix(item, "+")
		if !plus || digits == "" || len(digits) > 15 || strings.Trim(digits, "0123456789") != "" {
			return fmt.Errorf("%q is no prefix of a number: write + and digits", item)
		}
		l.texts[item] = struct{}{}
		l.long = max(l.long, len(item))
	case "substring":
		if item == "" {
			return errors.New("an empty text is part of every text")
		}
		l.parts = append(l.parts, strings.ToLower(item))
	default:
		l.texts[item] = struct{}{}
	}
	return nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits behind its length: did you mean %s?", p, p.Masked())
	}
	return p, nil
}

// Contains is what "in" asks (traits.Container).
func (l *list) Contains(v ref.Val) ref.Val {
	switch x := v.(type) {
	case *ipVal:
		return types.Bool(l.kind == "ip" && l.ips.Contains(x.addr))
	case types.String:
		return types.Bool(l.has(string(x)))
	}
	return types.MaybeNoSuchOverloadErr(v)
}

func (l *list) has(s string) bool {
	switch l.kind {
	case "e164":
		for n := min(len(s), l.long); n > 1; n-- {
			if _, ok := l.texts[s[:n]]; ok {
				return true
			}
		}
		return false
	case "substring":
		for _, p := range l.parts {
			if containsFold(s, p) {
				return true
			}
		}
		return false
	}
	_, ok := l.texts[s]
	return ok
}

// containsFold looks for a part in lower case without making a lower-case copy.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// The rest of ref.Val: a list has no native form.

// ConvertToNative is ref.Val's.
func (l *list) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a list is no %s", t)
}

// ConvertToType is ref.Val's.
func (l *list) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a list is no %s", t.TypeName())
}

// Equal is ref.Val's.
func (l *list) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(l)) }

// Type is ref.Val's.
func (l *list) Type() ref.Type { return l.celType() }

// Value is ref.Val's.
func (l *list) Value() any { return l }

// maxItems bounds a list.
const maxItems = 2_000_000

// lists reads the lists of a file and makes them known as lists.NAME.
func (ld *loader) lists(r *reader, n *yaml.Node, given map[string][]string) {
	r.entries(n, "lists", func(name string, key, value *yaml.Node) {
		f := r.fields(value, "list "+name, "type", "items", "file", "about")
		kind, ok := r.choice(f["type"], "the type of list "+name, listKinds...)
		if !ok {
			if f["type"] == nil {
				r.bad(value, "missing", "list %s needs a type: %s", name, strings.Join(listKinds, ", "))
			}
			return
		}
		l := newList(listKinds[kind])
		for _, item := range r.items(f["items"], "the items of list "+name) {
			text := item.Value
			if listKinds[kind] != "e164" || item.Style != 0 {
				text = r.text(item, "an item of list "+name)
			} else {
				r.text(item, "an item of list "+name)
			}
			if err := l.add(text); err != nil {
				r.bad(item, "bad-item", "list %s: %v", name, err)
			}
		}
		if f["file"] != nil {
			ld.listFile(r, f["file"], name, l)
		}
		if f["items"] == nil && f["file"] == nil {
			r.bad(value, "missing", "list %s needs items or a file", name)
		}
		for _, item := range given[name] {
			if err := l.add(item); err != nil {
				r.bad(key, "bad-item", "list %s: %v", name, err)
			}
		}
		v := &variable{name: "lists." + name, typ: l.celType(), stage: guard.StageMessage, fact: -1, list: l}
		if !ld.scope.add(v) {
			r.bad(key, "twice", "list %s is already in another file", name)
			return
		}
		ld.set.lists = append(ld.set.lists, v)
	})
}

// listFile reads one item a line; # begins a comment. A wrong line is an
// error: a list is never silently shorter.
func (ld *loader) listFile(r *reader, n *yaml.Node, name string, l *list) {
	file := r.text(n, "the file of list "+name)
	at := path.Join(path.Dir(r.file), file)
	if path.IsAbs(file) || strings.HasPrefix(at, "..") {
		r.bad(n, "outside", "list %s: %s is outside the folder of the rule files", name, file)
		return
	}
	text, err := ld.read(at)
	if err != nil {
		r.bad(n, "no-file", "list %s: %v", name, err)
		return
	}
	wrong := &reader{file: at, problems: r.problems}
	line := 0
	for item := range strings.Lines(string(text)) {
		line++
		item, _, _ = strings.Cut(item, "#")
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if l.size >= maxItems {
			wrong.bad(&yaml.Node{Line: line, Column: 1}, "too-many", "list %s: more than %d items", name, maxItems)
			return
		}
		if err := l.add(item); err != nil {
			wrong.bad(&yaml.Node{Line: line, Column: 1}, "bad-item", "list %s: %v", name, err)
		}
	}
}
