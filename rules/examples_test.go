package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"ringfence/guard"
	"ringfence/intel/meter"
	"ringfence/rules"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestExamples loads every example of the documentation, and runs those that
// are tests: what people copy must work.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../guard/*/README.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no guard has a README", err)
	}
	guards, err := realGuards(meter.New(meter.Options{}), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	env := rules.NewEnv(guards)
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) // before the exceptions of the examples run out
	for _, file := range append(files, "../README.md", "../docs/rules.md") {
		t.Run(strings.TrimPrefix(file, "../"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(file, "../guard") {
				for _, section := range []string{"Name", "Description", "Facts", "Configuration", "Examples"} {
					if !strings.Contains(string(text), "\n## "+section+"\n") {
						t.Errorf("there is no section %s", section)
					}
				}
			}
			blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
			if len(blocks) == 0 {
				t.Fatal("there is no example")
			}
			fsys := fstest.MapFS{"lists/closed.txt": {Data: []byte("1000\n")}}
			for _, b := range blocks {
				switch example := b[1]; {
				case strings.Contains(example, "\ntests:"):
					fsys["voice.test.yaml"] = &fstest.MapFile{Data: []byte(example)}
					rep := rules.Test(t.Context(), fsys, []string{"voice.test.yaml"}, rules.TestOptions{
						Guards: realGuards,
						Meters: func() guard.Meters { return meter.New(meter.Options{Keys: 64, Distinct: 64}) },
					})
					var said strings.Builder
					rep.Print(&said, rules.Source(fsys))
					if !rep.OK() || len(rep.Tests) == 0 {
						t.Errorf("the tests of the example:\n%s\n%s", example, said.String())
					}
				case strings.HasPrefix(example, "- id:"):
					example = "version: 1\nname: example\nrules:\n  " + strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n  ") + "\n"
					load(t, env, fstest.MapFS{"voice.yaml": {Data: []byte(example)}}, now)
				default:
					fsys["voice.yaml"] = &fstest.MapFile{Data: []byte(example)}
					load(t, env, fsys, now)
				}
			}
		})
	}
}

func load(t *testing.T, env *rules.Env, fsys fstest.MapFS, now time.Time) {
	t.Helper()
	_, problems := rules.Load(fsys, []string{"voice.yaml"}, env, rules.LoadOptions{Now: now})
	for _, p := range problems {
		t.Errorf("%v in\n%s", p, fsys["voice.yaml"].Data)
	}
}

// FuzzLoad reads any file: it never panics, every problem has a place in the
// file, and a file that loads once loads again to the same set.
func FuzzLoad(f *testing.F) {
	guards, err := realGuards(meter.New(meter.Options{}), time.Now)
	if err != nil {
		f.Fatal(err)
	}
	env := rules.NewEnv(guards)
	whole, err := os.ReadFile("default/default.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, seed := range []string{
		"", "version: 1\n", "version: 2\nname: x\n", "version: 1\nname: x\nrules: [1]\n", "a: &b [*b]\n", "{", "- - -",
		"version: 1\nname: x\nrules:\n  - {id: a, title: t, stage: message, when: 'sip.method == \"INVITE\"', do: drop}\n",
		"version: 1\nname: x\nrates: {r: {count: is.t, per: [src.ip], window: 1m}}\nterms: {t: rate.r > 1}\n",
		"version: 1\nname: x\nlists: {l: {type: e164, items: [+53]}}\n",
		"version: 1\nname: x\nexceptions:\n  - {id: e, rules: ['*'], when: 'true', until: 2027-01-01, because: b, owner: o}\n",
	} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		once := func() (*rules.Set, []rules.Problem) {
			return rules.Load(fstest.MapFS{"f.yaml": {Data: text}}, []string{"f.yaml"}, env, rules.LoadOptions{Now: now})
		}
		set, problems := once()
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.File != "f.yaml" || p.Line < 1 || p.Line > lines+1 || p.Col < 1 || p.Text == "" || p.Code == "" {
				t.Errorf("a problem without a place: %+v", p)
			}
		}
		again, same := once()
		if (set == nil) != (again == nil) || len(same) != len(problems) {
			t.Fatalf("loaded twice, %d and %d problems", len(problems), len(same))
		}
		if set != nil && set.Version() != again.Version() {
			t.Errorf("loaded twice, versions %s and %s", set.Version(), again.Version())
		}
	})
}
