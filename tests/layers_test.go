// Package tests holds what is true of the whole house: who may import whom, and
// the tests that run the real daemon with real peers.
package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// layers is the architecture: what a folder may import of ours. A pattern
// matches one folder below it with *. A new folder needs a line here, and the
// line is what a reviewer looks at.
var layers = []struct {
	folder string
	may    []string
}{
	{"bpf", nil},
	{"proxy/index", nil},
	{"guard", []string{"proxy/index"}},
	{"guard/*", []string{"guard", "proxy/index"}},
	{"rules", []string{"guard", "proxy/index"}},
	{"intel/*", []string{"guard"}},
	{"record", []string{"guard", "proxy/index"}},
	{"record/tap", []string{"guard", "proxy/index"}},
	{"record/hep", []string{"guard", "record/tap"}},
	{"record/watch", []string{"guard", "proxy/index", "record/tap"}},
	{"proxy", []string{"guard", "proxy/*"}},
	{"proxy/route", []string{"guard", "proxy/index", "proxy/resolve"}},
	{"proxy/*", []string{"guard", "proxy/index"}},
	{"console", []string{"guard", "rules", "intel/*", "record"}},
	{"cmd/*", []string{"*", "*/*"}},
	{"tests", []string{"*", "*/*"}},
	{"tests/*", []string{"*", "*/*"}},
}

// owners are the only folders that may import a library, so that it can be
// replaced by changing one folder.
var owners = []struct {
	library string
	folders []string
}{
	{"github.com/emiago/sipgo", []string{"guard", "proxy", "proxy/*", "cmd/*", "tests", "tests/*"}},
	{"github.com/dgraph-io/badger", []string{"intel/store"}},
	{"cel.dev/cel-go", []string{"rules"}},
	{"github.com/cilium/ebpf", []string{"bpf"}},
	{"github.com/oschwald", []string{"intel/geo"}},
	{"github.com/nyaruka/phonenumbers", []string{"intel/numbers"}},
	{"github.com/miekg/dns", []string{"proxy/resolve"}},
	{"github.com/spf13/cobra", []string{"cmd/*"}},
}

const module = "ringfence"

type listed struct {
	ImportPath                         string
	Doc                                string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
	Name                               string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func folder(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, name)
		return ok
	})
}

// forbidden tells which imports of ours and of owned libraries a folder has
// that it may not have.
func forbidden(from string, imports []string) []string {
	var bad []string
	line := slices.IndexFunc(layers, func(l struct {
		folder string
		may    []string
	},
	) bool {
		return matches([]string{l.folder}, from)
	})
	if line < 0 {
		return []string{from + " has no line in the table of layers"}
	}
	for _, i := range imports {
		if to, ours := strings.CutPrefix(i, module+"/"); ours {
			if !matches(layers[line].may, to) {
				bad = append(bad, from+" imports "+to+", which its layer may not")
			}
			continue
		}
		for _, o := range owners {
			if (i == o.library || strings.HasPrefix(i, o.library+"/")) && !matches(o.folders, from) {
				bad = append(bad, from+" imports "+i+", which belongs to "+strings.Join(o.folders, ", "))
			}
		}
	}
	return bad
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		for _, bad := range forbidden(folder(p.ImportPath), p.Imports) {
			t.Error(bad)
		}
	}
}

func TestLayersSeesViolations(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"guard", module + "/proxy"},
		{"guard/auth", module + "/guard/numbers"},
		{"guard/auth", module + "/intel/store"},
		{"intel/bans", module + "/intel/store"},
		{"proxy/route", module + "/proxy/wire"},
		{"record/tap", module + "/proxy"},
		{"rules", "github.com/dgraph-io/badger/v4"},
		{"somewhere", module + "/guard"},
	} {
		if len(forbidden(c.from, []string{c.to})) == 0 {
			t.Errorf("%s importing %s passes", c.from, c.to)
		}
	}
	if bad := forbidden("guard/auth", []string{module + "/guard", "fmt"}); len(bad) != 0 {
		t.Errorf("a lawful import is refused: %v", bad)
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name
		if p.Name == "main" {
			want = "Command ringfence"
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment begins %q, want %q", p.ImportPath, p.Doc, want)
		}
	}
}
