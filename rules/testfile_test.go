package rules_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"ringfence/guard"
	"ringfence/intel/meter"
	"ringfence/rules"
)

const tested = "version: 1\nrules:\n  - {id: call, title: t, when: sip.new_call, do: reject, ban: {for: 5m}}\n"

func runTestFile(t *testing.T, tests string) *rules.Report {
	t.Helper()
	fsys := fstest.MapFS{"a.yaml": {Data: []byte(tested)}, "a.test.yaml": {Data: []byte("version: 1\n" + tests)}}
	return rules.Test(t.Context(), fsys, []string{"a.test.yaml"}, rules.TestOptions{
		Guards: realGuards,
		Meters: func() guard.Meters { return meter.New(meter.Options{Keys: 64, Distinct: 64}) },
		Rules:  []string{"a.yaml"},
	})
}

// A test that could pass whatever the rules do is no test.
func TestTestsThatCannotFail(t *testing.T) {
	const invite = "send: [{message: {method: INVITE}}], "
	for _, c := range []struct{ name, tests, want string }{
		{"no tests", "", "a.test.yaml:1:1: error: a test file needs tests [missing]"},
		{"an empty list of tests", "tests: []\n", "a.test.yaml:2:8: error: a test file needs tests [missing]"},
		{"nothing expected", "tests:\n  - {name: a, send: [{message: {method: INVITE}}]}\n", "a.test.yaml:3:5: error: a test needs expect [missing]"},
		{"an empty list of expectations", "tests:\n  - {name: a, " + invite + "expect: []}\n", "a test needs expect [missing]"},
		{"an expectation of nothing", "tests:\n  - {name: a, " + invite + "expect: [{at: all}]}\n", "expect names nothing that is expected"},
		{"nothing sent", "tests:\n  - {name: a, send: [], expect: [{at: all, action: pass}]}\n", "a test needs send [missing]"},
		{"no send", "tests:\n  - {name: a, expect: [{at: all, action: pass}]}\n", "a test needs send [missing]"},
		{"a word that is none", "tests:\n  - {name: a, " + invite + "expect: [{action: rejct}]}\n", `did you mean "reject"?`},
		{"a message that is none", "tests:\n  - {name: a, send: [{raw: x}], expect: [{at: all, action: pass}]}\n", "message 1: "},
		{"a fact that is none", "tests:\n  - {name: a, send: [{message: {}, facts: {src.cuontry: LV}}], expect: [{action: pass}]}\n", "no fact is called src.cuontry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := runTestFile(t, c.tests)
			var said strings.Builder
			rep.Print(&said, nil)
			if rep.OK() || !strings.Contains(said.String(), c.want) {
				t.Errorf("OK: %v, it says\n%s\nwant %s", rep.OK(), said.String(), c.want)
			}
		})
	}
}

// What is expected is held against what was decided, each field by itself.
func TestExpectations(t *testing.T) {
	const test = "tests:\n  - name: a\n    send: [{message: {method: OPTIONS}}, {message: {method: INVITE}, facts: {src.proven: true}}]\n    expect: [{at: "
	for expect, ok := range map[string]bool{
		"1, action: pass, rule: '', ban: none":       true,
		"2, action: reject, status: 403, rule: call": true,
		"2, ban: ban":                              true,
		"2, ban: {by: src.ip, for: 5m}":            true,
		"1, action: reject":                        false,
		"1, ban: ban":                              false,
		"2, action: pass":                          false,
		"2, status: 404":                           false,
		"2, rule: other":                           false,
		"2, ban: none":                             false,
		"2, ban: limit":                            false,
		"2, ban: {for: 6m}":                        false,
		"2, ban: {by: src.flow}":                   false,
		"2, shadow: [call]":                        false,
		"2, excepted: [call]":                      false,
		"3, action: pass":                          false,
		"all, action: pass":                        false,
		"all, excepted: [], shadow: []":            true,
		"2, action: reject}, {at: 1, action: pass": true,
		"2, action: reject}, {at: 1, action: drop": false,
	} {
		rep := runTestFile(t, test+expect+"}]\n")
		if rep.OK() != ok || len(rep.Problems) > 0 || rep.Messages != 2 {
			t.Errorf("at: %s: OK is %v, %d messages, problems %v", expect, rep.OK(), rep.Messages, rep.Problems)
		}
	}
}
