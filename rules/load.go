package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"ringfence/guard"
)

// LoadOptions are what Load needs besides the files.
type LoadOptions struct {
	Key   [16]byte            // of the hashes that rates count by: who does not know it cannot make two keys alike
	Now   time.Time           // what dates are held against
	Lists map[string][]string // items put into lists besides their own: tests
	Size  int64               // largest file in bytes; default 32 MiB
	Rules int                 // most rules; default 10,000
}

type loader struct {
	fsys     fs.FS
	scope    *scope
	o        LoadOptions
	problems []Problem
	texts    map[string][]byte
	set      *Set
	later    []func() // rates to compile once all names are known
}

// Load reads rule files and checks them. With an error among the problems the
// set is nil. No file at all is a set of the built-in rule only.
func Load(fsys fs.FS, names []string, env *Env, o LoadOptions) (*Set, []Problem) {
	if o.Size <= 0 {
		o.Size = 32 << 20
	}
	if o.Rules <= 0 {
		o.Rules = 10_000
	}
	ld := &loader{fsys: fsys, scope: newScope(env), o: o, texts: map[string][]byte{}, set: &Set{env: env, emergency: new(hits), key: [2]uint64{binary.LittleEndian.Uint64(o.Key[:8]), binary.LittleEndian.Uint64(o.Key[8:])}}}
	var files []*fileTree
	for _, name := range names {
		name = path.Clean(name)
		text, err := ld.read(name)
		if err != nil {
			ld.problems = append(ld.problems, Problem{File: name, Code: "no-file", Text: err.Error()})
			continue
		}
		r := &reader{file: name, problems: &ld.problems}
		if root := r.parse(text); root != nil {
			files = append(files, ld.top(r, root))
		}
	}
	// Everything is named before anything is compiled, so that files may use
	// each other's lists, rates and terms.
	for _, f := range files {
		ld.lists(f.r, f.fields["lists"], o.Lists)
	}
	ld.declareRates(files)
	ld.terms(files)
	ld.compileRates()
	for _, f := range files {
		for _, n := range f.r.items(f.fields["rules"], "rules") {
			ld.rule(f.r, n, f.owner)
		}
	}
	for _, f := range files {
		for _, n := range f.r.items(f.fields["exceptions"], "exceptions") {
			ld.exception(f.r, n)
		}
	}
	ld.finish()
	slices.SortStableFunc(ld.problems, func(a, b Problem) int {
		if a.File != b.File {
			return slices.Index(names, a.File) - slices.Index(names, b.File)
		}
		return a.Line - b.Line
	})
	if Failed(ld.problems) {
		return nil, ld.problems
	}
	return ld.set, ld.problems
}

func (ld *loader) read(name string) ([]byte, error) {
	if text, ok := ld.texts[name]; ok {
		return text, nil
	}
	info, err := fs.Stat(ld.fsys, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > ld.o.Size {
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d", name, info.Size(), ld.o.Size)
	}
	text, err := fs.ReadFile(ld.fsys, name)
	if err != nil {
		return nil, err
	}
	ld.texts[name] = text
	return text, nil
}

// A fileTree is one file before it is compiled.
type fileTree struct {
	r      *reader
	fields map[string]*yaml.Node
	owner  string
}

func (ld *loader) top(r *reader, root *yaml.Node) *fileTree {
	f := r.fields(root, "a rule file", "version", "name", "owner", "about", "lists", "rates", "terms", "rules", "exceptions")
	if v := f["version"]; v == nil {
		r.bad(root, "version", "the file needs version: 1")
	} else if n, err := strconv.Atoi(v.Value); err != nil || n != 1 {
		r.bad(v, "version", "version %s is not one that this ringfence reads (1)", v.Value)
	}
	r.text(f["name"], "name")
	return &fileTree{r: r, fields: f, owner: r.text(f["owner"], "owner")}
}

func (ld *loader) terms(files []*fileTree) {
	for _, f := range files {
		f.r.entries(f.fields["terms"], "terms", func(name string, key, value *yaml.Node) {
			c := ld.condition(f.r, value, "term "+name)
			if c == nil {
				c = &condition{} // so that its uses are no problems of their own
			}
			v := &variable{name: "is." + name, typ: boolType, stage: c.stage, fact: -1, term: c, slot: ld.scope.terms}
			ld.scope.terms++
			if !ld.scope.add(v) {
				f.r.bad(key, "twice", "term %s is already there", name)
			}
		})
	}
	ld.set.terms = ld.scope.terms
}

func (ld *loader) finish() {
	s := ld.set
	hash := fnv.New64a()
	for _, name := range sortedKeys(ld.texts) {
		fmt.Fprintf(hash, "%s\x00%d\x00", name, len(ld.texts[name]))
		hash.Write(ld.texts[name])
	}
	s.version = fmt.Sprintf("%016x", hash.Sum64())[:12]
	if len(ld.texts) == 0 {
		s.version = "none"
	}
	var specs []guard.MeterSpec
	for _, rt := range s.rates {
		specs = append(specs, rt.spec)
	}
	s.specs = specs
	s.pool = sync.Pool{New: func() any { return newMemory(s) }}
	for i := range s.stages {
		for _, rule := range s.rules {
			if int(rule.Stage) == i && rule.Mode != Off {
				s.stages[i].rules = append(s.stages[i].rules, rule)
			}
		}
		for n, rt := range s.rates {
			if int(rt.stage) == i && rt.used {
				s.stages[i].rates = append(s.stages[i].rates, n)
			}
		}
	}
	ld.unreachable()
}

// unreachable warns of rules behind one that decides everything that they
// match: whatever that one asks, they ask too.
func (ld *loader) unreachable() {
	for i := range ld.set.stages {
		var deciding []*Rule
		for _, rule := range ld.set.stages[i].rules {
			if rule.Action == guard.Pass {
				continue
			}
			for _, before := range deciding {
				if !before.when.covers(rule.when) {
					continue
				}
				what := "every message"
				if len(before.when.parts) > 0 {
					what = "everything it matches"
				}
				file, line, _ := strings.Cut(rule.Where, ":")
				n, _ := strconv.Atoi(line)
				ld.problems = append(ld.problems, Problem{
					File: file, Line: n, Col: 5, Severity: Warning, Code: "unreachable",
					Text: fmt.Sprintf("rule %s can never decide: rule %s above it decides %s", rule.ID, before.ID, what),
				})
				break
			}
			excepted := slices.ContainsFunc(ld.set.exceptions, func(x *exception) bool { return x.names(rule.ID) })
			if rule.Mode == Enforce && rule.Until.IsZero() && !excepted {
				deciding = append(deciding, rule)
			}
		}
	}
}

// covers tells whether c is true wherever other is.
func (c *condition) covers(other *condition) bool {
	for _, p := range c.parts {
		if !slices.Contains(other.parts, p) {
			return false
		}
	}
	return true
}

// Source is the text of a file that Load would read, for Print.
func Source(fsys fs.FS) func(string) []byte {
	return func(name string) []byte {
		text, err := fs.ReadFile(fsys, path.Clean(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return text
	}
}
