package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/intel/meter"
	plan "ringfence/intel/numbers"
	"ringfence/rules"
)

// A policy is the rule set in force and how it came to be.
type policy struct {
	env     *rules.Env
	meters  guard.Meters
	key     [16]byte // of what rates count by
	source  ruleSource
	set     *rules.Set
	dialogs *lateDialogs
}

// A ruleSource is where rule files are.
type ruleSource struct {
	fsys  fs.FS
	names []string
	what  string // for people
}

// sourceOf finds the rule files of a configuration: the built-in pack, files
// beside it, or none.
func sourceOf(c rulesConfig) (ruleSource, error) {
	if len(c.Files) == 0 {
		if c.Default != nil && !*c.Default {
			return ruleSource{fsys: rules.Default(), what: "none"}, nil
		}
		return ruleSource{fsys: rules.Default(), names: []string{rules.DefaultFile}, what: "default"}, nil
	}
	s, err := ruleFiles(c.Files)
	if err == nil && c.Default != nil && *c.Default {
		s.fsys = withDefault{s.fsys}
		s.names = append(s.names, defaultName)
		s.what += " and the default pack"
	}
	return s, err
}

// defaultName is the default pack among files of the operator.
const defaultName = "built-in/default.yaml"

// withDefault is a file system that also holds the default pack.
type withDefault struct{ fs.FS }

// Open opens a file of the operator, or the default pack.
func (w withDefault) Open(name string) (fs.File, error) {
	if name == defaultName {
		return rules.Default().Open(rules.DefaultFile)
	}
	return w.FS.Open(name)
}

// ruleFiles resolves patterns and folders to files under one root. Tests are
// left out.
func ruleFiles(patterns []string) (ruleSource, error) {
	return filesOf(patterns, func(name string) bool { return isYAML(name) && !isTest(name) })
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func isTest(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

func filesOf(patterns []string, want func(string) bool) (ruleSource, error) {
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return ruleSource{}, fmt.Errorf("rules: %q: %w", p, err)
		}
		if len(found) == 0 {
			return ruleSource{}, fmt.Errorf("rules: no file is called %s", p)
		}
		for _, f := range found {
			info, err := os.Stat(f)
			if err != nil {
				return ruleSource{}, fmt.Errorf("rules: %w", err)
			}
			if !info.IsDir() {
				paths = append(paths, f)
				continue
			}
			entries, err := os.ReadDir(f)
			if err != nil {
				return ruleSource{}, fmt.Errorf("rules: %w", err)
			}
			for _, e := range entries {
				if !e.IsDir() && want(e.Name()) {
					paths = append(paths, filepath.Join(f, e.Name()))
				}
			}
		}
	}
	for i, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return ruleSource{}, fmt.Errorf("rules: %w", err)
		}
		paths[i] = abs
	}
	root := "/"
	if len(paths) > 0 {
		root = filepath.Dir(paths[0])
		for _, p := range paths {
			for root != "/" && !strings.HasPrefix(p, root+"/") {
				root = filepath.Dir(root)
			}
		}
	}
	s := ruleSource{fsys: os.DirFS(root), what: strings.Join(patterns, " ")}
	for _, p := range paths {
		name := strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		if !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	return s, nil
}

// ruleProblems is an error that shows every problem with its place.
type ruleProblems struct {
	all    []rules.Problem
	source ruleSource
}

func (p *ruleProblems) Error() string {
	var b strings.Builder
	rules.Print(&b, p.all, rules.Source(p.source.fsys))
	return strings.TrimSuffix(b.String(), "\n")
}

// newPolicy loads the rules of the configuration.
func newPolicy(c rulesConfig, guards []*guard.Guard, meters guard.Meters, key keyring) (*policy, error) {
	source, err := sourceOf(c)
	if err != nil {
		return nil, err
	}
	p := &policy{env: rules.NewEnv(guards), meters: meters, source: source, key: [16]byte(key.Current[:16])}
	set, problems := p.load(source, time.Now())
	if set == nil {
		return nil, &ruleProblems{problems, source}
	}
	p.set = set
	set.Count(meters)
	return p, nil
}

func (p *policy) load(s ruleSource, now time.Time) (*rules.Set, []rules.Problem) {
	return rules.Load(s.fsys, s.names, p.env, rules.LoadOptions{Key: p.key, Now: now})
}

// version is what history shows.
func (p *policy) version() string {
	return fmt.Sprintf("%s (%s, %d rules)", p.set.Version(), p.source.what, len(p.set.Rules()))
}

// testOptions runs rule tests with the guards of this build, and a numbering
// plan; where an address is must be given by hand.
func testOptions(c guardsConfig) rules.TestOptions {
	if c.Auth.Realm == "" {
		c.Auth.Realm = "test"
	}
	return rules.TestOptions{
		Meters: func() guard.Meters { return meter.New(meter.Options{Keys: 4096, Distinct: 1024}) },
		Guards: func(m guard.Meters, now func() time.Time) ([]*guard.Guard, error) {
			var keys keyring
			keys.Current[0] = 1
			guards, _, err := makeGuards(c, guard.Host{Now: now, Meters: m, Numbers: plan.New(plan.Options{}), Dialogs: new(lateDialogs)}, keys, time.Time{})
			return guards, err
		},
	}
}

var errUnchanged = errors.New("the running set is unchanged")

// runTests runs the tests beside rule files, if there are any.
func runTests(ctx context.Context, s ruleSource, c guardsConfig) *rules.Report {
	var tests []string
	for _, n := range s.names {
		t := strings.TrimSuffix(strings.TrimSuffix(n, ".yaml"), ".yml") + ".test.yaml"
		if _, err := fs.Stat(s.fsys, t); err == nil {
			tests = append(tests, t)
		}
	}
	o := testOptions(c)
	o.Rules = s.names
	return rules.Test(ctx, s.fsys, tests, o)
}
