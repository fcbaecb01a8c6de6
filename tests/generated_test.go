package tests

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ringfence/proxy/index"
)

var update = flag.Bool("update", false, "write the generated pages again")

// TestGeneratedPages holds docs/facts.md and docs/problems.md against the code.
func TestGeneratedPages(t *testing.T) {
	out, err := exec.Command(binary, "facts", "--format", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var facts []struct{ Name, Type, Stage, Doc string }
	if err := json.Unmarshal(out, &facts); err != nil {
		t.Fatal(err)
	}
	var f, p strings.Builder
	f.WriteString("# What a rule can ask\n\nMade from the code (`go test ./tests -run TestGeneratedPages -update`).\n\n| fact | type | from stage | meaning |\n|---|---|---|---|\n")
	for _, x := range facts {
		fmt.Fprintf(&f, "| `%s` | %s | %s | %s |\n", x.Name, x.Type, x.Stage, strings.ReplaceAll(x.Doc, "|", "\\|"))
	}
	p.WriteString("# Why a message cannot be read in one way only\n\nSuch a message is never forwarded. The names stand in history and in `ringfence_parse_errors_total`, and are never changed.\nMade from the code (`go test ./tests -run TestGeneratedPages -update`).\n\n| problem | meaning |\n|---|---|\n")
	for _, x := range index.Problems() {
		fmt.Fprintf(&p, "| `%s` | %s |\n", x.Problem, strings.ReplaceAll(x.Text, "|", "\\|"))
	}
	for name, want := range map[string]string{"../docs/facts.md": f.String(), "../docs/problems.md": p.String()} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the code says (%v): run with -update", name, err)
		}
	}
}
