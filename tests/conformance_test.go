package tests

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var namedTest = regexp.MustCompile("`(Test\\w+)`")

// TestConformancePage holds docs/rfc3261.md to what there is: every test that it
// names exists, and every row names one or says that it is missing.
func TestConformancePage(t *testing.T) {
	text, err := os.ReadFile("../docs/rfc3261.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := exec.Command("grep", "-rhoE", "^func Test[A-Za-z0-9_]+", "--include=*_test.go", "..").Output()
	if err != nil {
		t.Fatalf("looking for tests: %v", err)
	}
	there := map[string]bool{}
	for line := range strings.SplitSeq(string(source), "\n") {
		there[strings.TrimPrefix(line, "func ")] = true
	}
	rows := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		if !strings.HasPrefix(line, "| 16") && !strings.HasPrefix(line, "| RFC") {
			continue
		}
		rows++
		names := namedTest.FindAllStringSubmatch(line, -1)
		if len(names) == 0 && !strings.Contains(line, "not yet") {
			t.Errorf("nothing holds us to this row: %s", line)
		}
		for _, n := range names {
			if !there[n[1]] {
				t.Errorf("there is no %s", n[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d rows were found", rows)
	}
}
