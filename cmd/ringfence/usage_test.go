package main

import (
	"bytes"
	"strings"
	"testing"
)

// command runs a command line and returns what it printed and its error.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestWrongWordsAreErrors(t *testing.T) {
	for line, want := range map[string]string{
		"bans remove 203.0.113.9": "did you mean `ringfence lift`?",
		"bans lst":                "did you mean `ringfence bans list`?",
		"config check":            "did you mean `ringfence check`?",
		"rules foo":               "ringfence rules has no command \"foo\"; it has apply, check, default, hits, test",
		"rules tst":               "did you mean `ringfence rules test`?",
		"account foo":             "ringfence account has no command",
		"filter detsch":           "did you mean `ringfence filter detach`?",
		"calls ende":              "did you mean `ringfence calls end`?",
		"histroy":                 "did you mean `ringfence history`?",
		"run --lisen udp:[::]:1":  "ringfence run has no flag --lisen (did you mean --listen?)",
		"status --fromat json":    "did you mean --format?",
		"status -x":               "ringfence status has no flag -x",
		"history --limit ten":     "--limit ten: want a whole number",
		"status now":              "ringfence status takes no argument: what is \"now\"?",
		"explain":                 "ringfence explain needs an address, an address of record or a Call-ID",
		"lift a b":                "what is \"b\"?",
		"help runn":               "did you mean `ringfence run`?",
	} {
		out, err := command(t, strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v\n%s", line, want, err, out)
		}
		if got := execute(t.Context(), strings.Fields(line)); got != exitUnable {
			t.Errorf("%s: exit code %d", line, got)
		}
	}
}

func TestVersionIsAFlagToo(t *testing.T) {
	flag, err := command(t, "--version")
	word, wordErr := command(t, "version")
	if err != nil || wordErr != nil || flag != word || !strings.HasPrefix(flag, "ringfence ") {
		t.Errorf("%q and %q: %v, %v", flag, word, err, wordErr)
	}
}

func TestAGroupAloneShowsItsHelp(t *testing.T) {
	out, err := command(t, "bans")
	if err != nil || !strings.Contains(out, "ringfence bans [command]") {
		t.Errorf("%v\n%s", err, out)
	}
}
