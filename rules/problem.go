package rules

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Severity is how bad a problem is.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
)

// String is the word that is printed.
func (s Severity) String() string { return [...]string{"error", "warning"}[s] }

// A Problem is one thing wrong with a file. Its Code is stable.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Col      int      `json:"col"`
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	Text     string   `json:"text"`
	Fix      string   `json:"fix,omitempty"` // did you mean
}

// String is file:line:col: severity: text [code].
func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
	text := fmt.Sprintf("%s: %s: %s", at, p.Severity, p.Text)
	if p.Fix != "" {
		text += " (" + p.Fix + ")"
	}
	return text + " [" + p.Code + "]"
}

// Failed tells whether a problem is among them that keeps a set from loading.
func Failed(all []Problem) bool {
	return slices.ContainsFunc(all, func(p Problem) bool { return p.Severity == Error })
}

// Print writes problems as people read them: each with its line of the file
// and a mark under the place.
func Print(w io.Writer, all []Problem, source func(file string) []byte) {
	for _, p := range all {
		fmt.Fprintln(w, p)
		if p.Line == 0 || source == nil {
			continue
		}
		lines := bytes.Split(source(p.File), []byte("\n"))
		if p.Line > len(lines) {
			continue
		}
		line := strings.ReplaceAll(strings.TrimRight(string(lines[p.Line-1]), "\r"), "\t", " ")
		number := fmt.Sprintf("%5d | ", p.Line)
		fmt.Fprintf(w, "%s%s\n", number, line)
		if p.Col > 0 && p.Col <= len(line)+1 {
			fmt.Fprintf(w, "%s| %s^\n", strings.Repeat(" ", len(number)-2), strings.Repeat(" ", p.Col-1))
		}
	}
}

// Nearest is the name at most a third of its letters away from what was
// written, or "". The configuration asks it as well.
func Nearest(written string, names []string) string {
	best, far := "", len(written)/3+1
	for _, n := range names {
		if d := distance(written, n); d <= far {
			best, far = n, d-1
		}
	}
	return best
}

// meant is the words for a near name, "" if none is near.
func meant(written string, names []string) string {
	if n := Nearest(written, names); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return ""
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
