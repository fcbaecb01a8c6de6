package rules

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestProblems has every kind of mistake once. A ‸ stands where the problem
// must point at; a file without one must be blamed as a whole.
func TestProblems(t *testing.T) {
	const head = "version: 1\n"
	one := func(when string) string {
		return head + "lists:\n  nets: {type: ip, items: [10.0.0.0/8]}\n  words: {type: text, items: [LV]}\n" +
			"rules:\n  - id: a\n    title: A rule\n    when: " + when + "\n    do: drop\n"
	}
	with := func(fields string) string {
		return head + "rules:\n  - {id: a, title: A rule, when: sip.new_call, " + fields + "}\n"
	}
	except := func(fields string) string {
		return one("sip.new_call") + "exceptions:\n  - {" + fields + "}\n"
	}
	tests := []struct{ name, code, text, file string }{
		// the shape of the file
		{"empty", "empty", "begins with version: 1", "‸"},
		{"binary", "yaml", "control characters", "‸\x00\xff"},
		{"syntax", "yaml", "did not find expected", head + "rules:\n  - id: a\n   ‸title: [\n"},
		{"two documents", "yaml", "multiple", "‸" + one("sip.new_call") + "---\nversion: 1\n"},
		{"a text", "shape", "must be a mapping", "‸hello"},
		{"no version", "version", "needs version: 1", "‸name: x\n"},
		{"newer version", "version", "version 2 is not one", "version: ‸2\n"},
		{"anchor", "anchor", "anchors and aliases", head + "name: ‸&x y\n"},
		{"alias", "anchor", "anchors and aliases", head + "rules: [&x {id: a, title: t, when: sip.new_call, do: drop}, ‸*x]\n"},
		{"unknown field", "unknown-field", `did you mean "rules"`, head + "‸rulez: []\n"},
		{"unknown field of a rule", "unknown-field", `did you mean "title"`, head + "rules:\n  - {id: a, title: t, ‸titel: x, when: sip.new_call, do: drop}\n"},
		{"field twice", "twice", `"do" stands here twice`, with("do: drop, ‸do: reject")},
		{"rules no list", "shape", "rules must be a list", head + "rules: ‸x\n"},
		{"later", "not-yet", `this version does not have "schedules"`, head + "‸schedules: {}\n"},
		{"later in a rule", "not-yet", `this version does not have "rollout"`, with("do: drop, ‸rollout: 25%")},
		{"later in a rate", "not-yet", `"gauge"`, head + "rates:\n  r: {‸gauge: calls, per: [src.ip], window: 1m}\n"},
		{"later in a list", "not-yet", `"refresh"`, head + "lists:\n  l: {type: text, items: [LV], ‸refresh: 1h}\n"},

		// words and numbers
		{"unquoted number", "unquoted-number", `write "+53"`, head + "lists:\n  l: {type: e164, items: [‸+53]}\n"},
		{"unquoted word", "unquoted-word", `write "NO"`, head + "lists:\n  l: {type: text, items: [LV, ‸NO]}\n"},
		{"unquoted mode", "unquoted-word", `write "on"`, with("do: drop, mode: ‸on")},
		{"unknown action", "unknown-word", `did you mean "reject"`, with("do: ‸rejct")},
		{"unknown mode", "unknown-word", `did you mean "shadow"`, with("do: drop, mode: ‸shadw")},
		{"unknown stage", "unknown-word", "it is one of message", with("do: drop, stage: ‸screen")},
		{"bad duration", "bad-duration", "is no duration", with("do: drop, ban: {for: ‸5 minutes}")},
		{"ban too long", "bad-duration", "it may be 1s to 400d", with("do: drop, ban: {for: ‸9999d}")},
		{"bad status", "bad-status", "from 400 to 699", with("do: reject, with: {status: ‸200}")},
		{"bad reason", "bad-reason", "one line", with(`do: reject, with: {reason: ‸"a\r\nb: c"}`)},
		{"bad algorithm", "unknown-word", `did you mean "MD5"`, with("do: challenge, with: {algorithms: [‸MD4]}")},
		{"with without reject", "with", "do: reject or do: challenge", with("do: drop, with: ‸{status: 403}")},
		{"status of a challenge", "unknown-field", "with has no field", with("do: challenge, with: {‸status: 403}")},
		{"bad escalate", "bad-number", "a factor", with("ban: {for: 1h, escalate: ‸nan}")},
		{"at_most below for", "bad-duration", "at_most is shorter", with("ban: {for: 1h, at_most: ‸1m}")},
		{"ban by a name", "unknown-word", "src.ip, src.flow", with("ban: {by: ‸auth.user, for: 1h}")},
		{"ban without for", "missing", "needs for", with("ban: ‸{by: src.ip}")},
		{"bad severity", "unknown-word", `did you mean "high"`, with("alert: {severity: ‸hihg}")},
		{"group by nothing", "unknown-fact", `did you mean "src.country"`, with("alert: {group_by: [‸src.contry]}")},
		{"group by too early", "too-early", "auth.user is known only from stage identity", with("alert: {group_by: ‸[auth.user]}")},
		{"bad until", "bad-date", "is no date", with("do: drop, until: ‸tomorrow")},

		// rules
		{"bad id", "bad-id", "small letters", head + "rules:\n  - {id: ‸A b, title: t, when: sip.new_call, do: drop}\n"},
		{"no id", "bad-id", "needs an id", head + "rules:\n  - ‸{title: t, when: sip.new_call, do: drop}\n"},
		{"rule twice", "twice", "rule a is already there", with("do: drop") + "  - {id: ‸a, title: t, when: sip.size > 1, do: drop}\n"},
		{"no title", "missing", "needs a title", head + "rules:\n  - ‸{id: a, when: sip.new_call, do: drop}\n"},
		{"no condition", "missing", "needs a condition", head + "rules:\n  - ‸{id: a, title: t, do: drop}\n"},
		{"no effect", "no-effect", "does nothing", head + "rules:\n  - ‸{id: a, title: t, when: sip.new_call}\n"},
		{"too early", "too-early", "dst.country is known only from stage call", head + "rules:\n  - {id: a, title: t, stage: ‸message, when: 'dst.country == \"LV\"', do: drop}\n"},
		{"too late", "too-late", "on its way", head + "rules:\n  - {id: a, title: t, when: reply.status == 404, do: ‸drop}\n"},

		// conditions
		{"unknown fact", "unknown-fact", `nothing is called src.contry (did you mean "src.country"?)`, one(`‸src.contry == "CU"`)},
		{"unknown fact later", "unknown-fact", `did you mean "src.country"`, one(`sip.new_call && ‸src.contry == "CU"`)},
		{"unknown fact after other letters", "unknown-fact", `did you mean "src.country"`, one(`sip.user_agent == "žž" && ‸src.contry == "CU"`)},
		{"unknown fact in quotes", "unknown-fact", `did you mean`, one(`"sip.user_agent == \"x\" && ‸src.contry == \"CU\""`)},
		{"unknown fact in single quotes", "unknown-fact", `did you mean`, one(`'sip.user_agent == "it''s" && ‸src.contry == "CU"'`)},
		{"unknown fact in a block", "unknown-fact", `did you mean`, one("|\n      sip.new_call &&\n        ‸src.contry == \"CU\"")},
		{"unknown fact in a folded block", "unknown-fact", `did you mean`, one(">-\n      sip.new_call &&\n      ‸src.contry == \"CU\"")},
		{"unknown fact over two lines", "unknown-fact", `did you mean`, one("sip.new_call &&\n      ‸src.contry == \"CU\"")},
		{"unknown list", "unknown-fact", "no list is called netz", one("src.ip in ‸lists.netz")},
		{"unknown term", "unknown-fact", "no term is called outside", one("‸is.outside")},
		{"unknown rate", "unknown-fact", "no rate is called r", one("‸rate.r > 5")},
		{"syntax of CEL", "condition", "Syntax error", one("sip.new_call &&‸")},
		{"no truth value", "not-bool", "not true or false", one("‸sip.size")},
		{"wrong types", "wrong-type", "== does not go with '(int, string)'", one(`sip.size ‸== "x"`)},
		{"address and text", "wrong-type", `write ip(`, one(`src.ip ‸== "10.0.0.1"`)},
		{"text in a list of addresses", "wrong-type", "(string, list of addresses)", one("sip.user_agent ‸in lists.nets")},
		{"address in a list of texts", "wrong-type", "(ip, list of texts)", one("src.ip ‸in lists.words")},
		{"bad address", "bad-constant", `"nonsense" is no address`, one(`src.ip == ip(‸"nonsense")`)},
		{"bad prefix", "bad-constant", "neither an address nor a prefix", one(`src.ip.in_net(‸"10.0.0.0/99")`)},
		{"no prefix", "bad-constant", "is no prefix such as", one(`src.ip.in_net(‸"10.0.0.1")`)},
		{"bad pattern", "not-compiled", "missing closing", one(`‸sip.user_agent.matches("(")`)},
		{"bad duration in CEL", "not-compiled", "Duration", one(`‸acct.age > duration("5x")`)},
		{"too costly", "too-costly", "the limit is 10000", one("‸'" + strings.Repeat(`["a","b","c"].exists(x, `, 9) + "sip.new_call" + strings.Repeat(")", 9) + "'")},
		{"no scalar", "shape", "must be a condition", one("‸[x]")},

		// lists
		{"no type", "missing", "needs a type", head + "lists:\n  l: ‸{items: [x]}\n"},
		{"unknown type", "unknown-word", "ip, e164, text, substring", head + "lists:\n  l: {type: ‸ips, items: [x]}\n"},
		{"no items", "missing", "needs items or a file", head + "lists:\n  l: ‸{type: text}\n"},
		{"no address", "bad-item", "neither an address nor a prefix", head + "lists:\n  l: {type: ip, items: [10.0.0.1, ‸10.0.0]}\n"},
		{"bits too many", "bad-item", "did you mean 10.0.0.0/8", head + "lists:\n  l: {type: ip, items: [‸10.0.0.1/8]}\n"},
		{"no number", "bad-item", "write + and digits", head + "lists:\n  l: {type: e164, items: [‸\"0037\"]}\n"},
		{"empty part", "bad-item", "empty text", head + "lists:\n  l: {type: substring, items: [‸\"\"]}\n"},
		{"file outside", "outside", "outside the folder", head + "lists:\n  l: {type: ip, file: ‸../etc/passwd}\n"},
		{"absolute file", "outside", "outside the folder", head + "lists:\n  l: {type: ip, file: ‸/etc/passwd}\n"},
		{"missing file", "no-file", "l: open none.txt", head + "lists:\n  l: {type: ip, file: ‸none.txt}\n"},
		{"bad name", "bad-name", "small letters", head + "lists:\n  ‸L: {type: ip, items: [10.0.0.1]}\n"},

		// rates
		{"rate without window", "missing", "needs a window and per", head + "rates:\n  r: ‸{count: sip.new_call, per: [src.ip]}\n"},
		{"rate per nothing", "missing", "counts per nothing", head + "rates:\n  r: {per: ‸[], window: 1m}\n"},
		{"rate per unknown", "unknown-fact", `did you mean "src.ip"`, head + "rates:\n  r: {per: [‸src.ipp], window: 1m}\n"},
		{"rate of unknown items", "unknown-fact", `did you mean "sip.to_user"`, head + "rates:\n  r: {distinct: ‸sip.to_usr, per: [src.ip], window: 1m}\n"},
		{"rate too short", "bad-duration", "1s to 30d", head + "rates:\n  r: {per: [src.ip], window: ‸10ms}\n"},
		{"rate too early", "too-early", "write stage: identity", head + "rates:\n  r: ‸{count: 'auth.result == \"bad\"', per: [src.ip], window: 1m}\n"},
		{"durable what", "not-bool", "true or false", head + "rates:\n  r: {per: [src.ip], window: 1m, durable: ‸maybe}\n"},
		{"term twice", "twice", "field", head + "terms: {x: sip.new_call}\n‸terms: {}\n"},

		// exceptions
		{"no owner", "missing", "an exception needs owner", strings.Replace(except("id: e, rules: [a], when: sip.new_call, until: 2026-12-01, because: x"), "{id: e", "‸{id: e", 1)},
		{"no end", "missing", "needs until", strings.Replace(except("id: e, rules: [a], when: sip.new_call, because: x, owner: me"), "{id: e", "‸{id: e", 1)},
		{"too far", "too-far", "400 days", except("id: e, rules: [a], when: sip.new_call, until: ‸2029-01-01, because: x, owner: me")},
		{"no rule", "unknown-rule", "names no rule", except("id: e, rules: ‸[b*], when: sip.new_call, until: 2026-12-31, because: x, owner: me")},
		{"no rules", "unknown-rule", "names no rule", except("id: e, rules: ‸[], when: sip.new_call, until: 2026-12-31, because: x, owner: me")},
		{"asks too much", "too-early", "known only from stage call", one("sip.new_call") + "exceptions:\n  - {id: e, rules: [a], when: ‸dst.e164 == \"\", until: 2026-12-31, because: x, owner: me}\n"},
		{"exception twice", "twice", "exception e is already there", except("id: e, rules: [a], when: sip.new_call, until: 2026-12-31, because: x, owner: me") + "  - {id: ‸e, rules: [a], when: sip.new_call, until: 2026-12-31, because: x, owner: me}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, problems := loadMarked(t, tt.file, tt.code, tt.text, Error)
			if set != nil {
				t.Errorf("it loads; problems: %v", problems)
			}
		})
	}
}

// TestWarnings are problems with which a set loads.
func TestWarnings(t *testing.T) {
	const head = "version: 1\nrules:\n  - {id: a, title: t, when: sip.new_call, do: allow}\n"
	tests := []struct{ name, code, text, file string }{
		{"unreachable", "unreachable", "rule b can never decide: rule a above it decides everything it matches", head + "  - ‸{id: b, title: t, when: sip.size > 9 && sip.new_call, do: drop}\n"},
		{"nothing left", "unreachable", "decides every message", "version: 1\nrules:\n  - {id: a, title: t, when: true, do: drop}\n  - ‸{id: b, title: t, when: sip.new_call, do: drop}\n"},
		{"ran out", "expired", "rule c ran out", head + "  - {id: c, title: t, when: sip.size > 9, do: drop, until: ‸2020-01-01}\n"},
		{"exception ran out", "expired", "exception e ran out", head + "exceptions:\n  - {id: e, rules: [a], when: sip.new_call, until: ‸2026-11-01, because: x, owner: me}\n"},
		{"exception runs out", "expiring", "runs out in 9 days (owner jane@acme.example)", head + "exceptions:\n  - {id: e, rules: [a], when: sip.new_call, until: ‸2026-12-03, because: x, owner: jane@acme.example}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if set, problems := loadMarked(t, tt.file, tt.code, tt.text, Warning); set == nil {
				t.Errorf("it does not load: %v", problems)
			}
		})
	}
}

// TestReachable has no warning: what stands above may let pass.
func TestReachable(t *testing.T) {
	for name, file := range map[string]string{
		"another condition": "  - {id: a, title: t, when: sip.new_call && sip.size > 5, do: allow}\n  - {id: b, title: t, when: sip.new_call, do: drop}\n",
		"shadow":            "  - {id: a, title: t, when: sip.new_call, do: allow, mode: shadow}\n  - {id: b, title: t, when: sip.new_call, do: drop}\n",
		"until":             "  - {id: a, title: t, when: sip.new_call, do: allow, until: 2027-01-01}\n  - {id: b, title: t, when: sip.new_call, do: drop}\n",
		"another stage":     "  - {id: a, title: t, when: sip.new_call, do: drop, stage: call}\n  - {id: b, title: t, when: sip.new_call, do: drop}\n",
		"effects only":      "  - {id: a, title: t, when: sip.new_call, do: drop}\n  - {id: b, title: t, when: sip.new_call, alert: {severity: low}}\n",
	} {
		if _, problems, _ := loadFiles(new(fakeFacts), nil, "a.yaml", "version: 1\nrules:\n"+file); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// loadMarked loads a file and looks for the problem at its mark.
func loadMarked(t *testing.T, marked, code, text string, severity Severity) (*Set, []Problem) {
	t.Helper()
	line, col := 0, 0
	before, after, found := strings.Cut(marked, "‸")
	if found {
		line = strings.Count(before, "\n") + 1
		col = len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	}
	set, problems, _ := loadFiles(new(fakeFacts), nil, "a.yaml", before+after)
	for _, p := range problems {
		if p.File != "a.yaml" {
			t.Errorf("the problem names file %q", p.File)
		}
		if p.Code == code && p.Severity == severity && p.Line == line && p.Col == col && strings.Contains(p.String(), text) {
			return set, problems
		}
	}
	t.Errorf("want %s [%s] with %q at %d:%d, got %v", severity, code, text, line, col, problems)
	return set, problems
}

// TestEveryProblem: one run tells everything.
func TestEveryProblem(t *testing.T) {
	_, problems, _ := loadFiles(new(fakeFacts), nil, "a.yaml", "version: 1\nrulez: 1\nrules:\n  - {id: a, title: t, when: src.contry == \"x\", do: rejct}\n  - {id: b, when: sip.size, do: drop}\n", "b.yaml", "version: 1\nname: [x]\nlists: {l: {type: ip, items: [x]}}\n")
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Code))
	}
	want := "a.yaml:2 unknown-field, a.yaml:4 unknown-word, a.yaml:4 unknown-fact, a.yaml:5 missing, a.yaml:5 not-bool, b.yaml:2 shape, b.yaml:3 bad-item"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// TestListFile: a wrong line of a list is an error in that file.
func TestListFile(t *testing.T) {
	set, problems, _ := loadFiles(new(fakeFacts), nil,
		"a.yaml", "version: 1\nlists:\n  l: {type: ip, file: feeds/l.txt}\n", "feeds/l.txt", "# a list\n10.0.0.0/8 # ours\n\nten\n")
	if set != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "feeds/l.txt:4:1: error: list l: \"ten\" is neither") {
		t.Errorf("got %v", problems)
	}
}

func TestPrint(t *testing.T) {
	const file = "version: 1\nrules:\n  - id: a\n    title: t\n    when: src.contry == \"CU\"\n    do: drop\n"
	_, problems, _ := loadFiles(new(fakeFacts), nil, "a.yaml", file)
	var b bytes.Buffer
	Print(&b, problems, func(string) []byte { return []byte(file) })
	const want = `a.yaml:5:11: error: nothing is called src.contry (did you mean "src.country"?) [unknown-fact]
    5 |     when: src.contry == "CU"
      |           ^
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
