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
