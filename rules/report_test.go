package rules

import (
	"strings"
	"testing"
)

func TestReportCountsOne(t *testing.T) {
	var out strings.Builder
	(&Report{Tests: []TestEntry{{File: "a.test.yaml", Name: "x"}}, Messages: 1}).Print(&out, nil)
	if got, want := out.String(), "ok    a.test.yaml  1 test passed\n0 of 1 test failed, 1 message.\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
