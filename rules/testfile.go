package rules

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"ringfence/guard"
)

// TestOptions are what rule tests need of the build.
type TestOptions struct {
	// Guards makes fresh guards. Facts that need the world, such as where an
	// address is, are given by hand in the tests.
	Guards func(guard.Meters, func() time.Time) ([]*guard.Guard, error)
	Meters func() guard.Meters
	// Rules are used by test files that name none of their own.
	Rules []string
}

// A Report is what came of test files.
type Report struct {
	Problems []Problem   `json:"problems,omitempty"`
	Tests    []TestEntry `json:"tests"`
	Messages int         `json:"messages"`
	Unproved []string    `json:"unproved,omitempty"` // enforced rules that no test matched
}

// A TestEntry is one test.
type TestEntry struct {
	File   string   `json:"file"`
	Line   int      `json:"line"`
	Name   string   `json:"name"`
	Failed []string `json:"failed,omitempty"`
}

// OK tells whether everything passed.
func (r *Report) OK() bool {
	return !Failed(r.Problems) && !slices.ContainsFunc(r.Tests, func(t TestEntry) bool { return len(t.Failed) > 0 })
}

// Print writes the report as people read it.
func (r *Report) Print(w io.Writer, source func(string) []byte) {
	Print(w, r.Problems, source)
	failed := 0
	byFile := map[string]int{}
	for _, t := range r.Tests {
		if len(t.Failed) == 0 {
			byFile[t.File]++
			continue
		}
		failed++
		fmt.Fprintf(w, "FAIL  %s:%d  %q\n", t.File, t.Line, t.Name)
		for _, f := range t.Failed {
			fmt.Fprintf(w, "        %s\n", f)
		}
	}
	for _, f := range sortedKeys(byFile) {
		fmt.Fprintf(w, "ok    %s  %s passed\n", f, counted(byFile[f], "test"))
	}
	fmt.Fprintf(w, "%d of %s failed, %s.", failed, counted(len(r.Tests), "test"), counted(r.Messages, "message"))
	if len(r.Unproved) > 0 {
		fmt.Fprintf(w, " Enforced rules never matched by a test: %s.", strings.Join(r.Unproved, ", "))
	}
	fmt.Fprintln(w)
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Test runs test files: on a clock of their own, with fresh counters for each
// test.
func Test(ctx context.Context, fsys fs.FS, names []string, o TestOptions) *Report {
	rep := &Report{}
	matched := map[string]bool{}
	var enforced []string
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			rep.Problems = append(rep.Problems, Problem{File: name, Code: "no-file", Text: err.Error()})
			continue
		}
		r := &reader{file: name, problems: &rep.Problems}
		root := r.parseLoose(text)
		if root == nil {
			continue
		}
		f := r.fields(root, "a test file", "version", "rules", "clock", "lists", "tests", "about")
		files := o.Rules
		for i, n := range r.texts(f["rules"], "rules") {
			if i == 0 {
				files = nil
			}
			files = append(files, path.Join(path.Dir(name), n))
		}
		lists := map[string][]string{}
		r.entries(f["lists"], "lists", func(name string, _, value *yaml.Node) { lists[name] = r.texts(value, "items") })
		clock := r.instant(f["clock"])
		if len(r.items(f["tests"], "tests")) == 0 {
			r.bad(at(f["tests"], root), "missing", "a test file needs tests")
		}
		for _, n := range r.items(f["tests"], "tests") {
			t := &ruleTest{r: r, o: o, fsys: fsys, files: files, lists: lists, clock: clock, matched: matched, rep: rep}
			t.run(ctx, n)
			for _, id := range t.enforced {
				if !slices.Contains(enforced, id) {
					enforced = append(enforced, id)
				}
			}
		}
	}
	for _, id := range enforced {
		if !matched[id] {
			rep.Unproved = append(rep.Unproved, id)
		}
	}
	return rep
}

// parseLoose is parse with anchors allowed: tests repeat themselves.
func (r *reader) parseLoose(text []byte) *yaml.Node {
	root := r.document(text)
	if root != nil {
		resolve(root, 0)
	}
	return root
}

// resolve puts in place of aliases what they stand for.
func resolve(n *yaml.Node, depth int) {
	for i, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			n.Content[i] = c.Alias
		} else if depth < 32 {
			resolve(c, depth+1)
		}
	}
}

var testClock = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

func (r *reader) instant(n *yaml.Node) time.Time {
	if n == nil {
		return testClock
	}
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		r.bad(n, "bad-date", "%q is no instant such as 2026-11-23T09:00:00+02:00", n.Value)
		return testClock
	}
	return t
}

// A ruleTest is one test while it runs.
type ruleTest struct {
	r        *reader
	o        TestOptions
	fsys     fs.FS
	files    []string
	lists    map[string][]string
	clock    time.Time
	matched  map[string]bool
	rep      *Report
	enforced []string
	seen     []outcome
}

// An outcome is what was decided about one message of a test.
type outcome struct {
	verdict          guard.Verdict
	bans             []guard.Ban
	excepted, shadow []string
	why              string
}

func (t *ruleTest) run(ctx context.Context, n *yaml.Node) {
	r := t.r
	before := len(t.rep.Problems)
	f := r.fields(n, "a test", "name", "clock", "send", "expect", "about")
	entry := TestEntry{File: r.file, Line: n.Line, Name: r.text(f["name"], "name")}
	for _, must := range []string{"name", "send", "expect"} { // a test that cannot fail proves nothing
		if v := f[must]; v == nil || v.Kind == yaml.SequenceNode && len(v.Content) == 0 {
			r.bad(at(v, n), "missing", "a test needs %s", must)
		}
	}
	clock := t.clock
	if f["clock"] != nil {
		clock = r.instant(f["clock"])
	}
	now := clock
	meters := t.o.Meters()
	guards, err := t.o.Guards(meters, func() time.Time { return now })
	if err != nil {
		r.bad(n, "guards", "%v", err)
		return
	}
	set, problems := Load(t.fsys, t.files, NewEnv(guards), LoadOptions{Now: clock, Lists: t.lists})
	if set == nil {
		for _, p := range problems {
			if !slices.Contains(t.rep.Problems, p) {
				t.rep.Problems = append(t.rep.Problems, p)
			}
		}
		return
	}
	set.Count(meters)
	for _, rule := range set.Rules() {
		if rule.Mode == Enforce {
			t.enforced = append(t.enforced, rule.ID)
		}
	}
	engine, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: set, Now: func() time.Time { return now }})
	if err != nil {
		r.bad(n, "engine", "%v", err)
		return
	}
	for _, s := range r.items(f["send"], "send") {
		if !t.send(ctx, engine, s, &now) {
			break
		}
	}
	for _, e := range r.items(f["expect"], "expect") {
		entry.Failed = append(entry.Failed, t.expect(e)...)
	}
	if len(t.rep.Problems) > before {
		entry.Failed = append(entry.Failed, "the test itself has problems, see above")
	}
	t.rep.Tests = append(t.rep.Tests, entry)
}

// send judges the messages of one entry of send.
func (t *ruleTest) send(ctx context.Context, engine *guard.Engine, n *yaml.Node, now *time.Time) bool {
	r := t.r
	f := r.fields(n, "send", "repeat", "every", "after", "from", "message", "raw", "file", "facts", "stage")
	repeat := 1
	if f["repeat"] != nil {
		v, err := strconv.Atoi(f["repeat"].Value)
		if err != nil || v < 1 || v > 1_000_000 {
			r.bad(f["repeat"], "bad-number", "repeat is a number from 1 to 1000000")
			return false
		}
		repeat = v
	}
	every := r.span(f["every"], "every", time.Millisecond, 30*day)
	*now = now.Add(r.span(f["after"], "after", time.Millisecond, 30*day))
	first, last := guard.StageMessage, guard.StageCall
	if i, ok := r.choice(f["stage"], "stage", stageNames...); ok && guard.Stage(i) >= guard.StageReply {
		first, last = guard.Stage(i), guard.Stage(i)
	}
	src, transport := netip.MustParseAddrPort("203.0.113.9:5060"), guard.UDP
	if f["from"] != nil {
		var ok bool
		if src, transport, ok = r.from(f["from"]); !ok {
			return false
		}
	}
	for i := range repeat {
		if i > 0 {
			*now = now.Add(every)
		}
		raw, ok := t.raw(f, i, src, transport)
		if !ok {
			return false
		}
		m, err := guard.Parse(raw, *now, src, netip.MustParseAddrPort("198.51.100.1:5060"), transport)
		if err != nil {
			r.bad(n, "bad-message", "message %d: %v", i+1, err)
			return false
		}
		given, ok := t.facts(engine, f["facts"], m)
		if !ok {
			return false
		}
		if last == guard.StageReply && m.Reply == nil {
			m.Reply = &guard.Reply{}
		}
		var d guard.Decision
		if err := engine.JudgeKnowing(ctx, m, &d, given, first, last); err != nil {
			r.bad(n, "facts", "%v", err)
			return false
		}
		t.rep.Messages++
		t.note(&d)
	}
	return true
}

func (t *ruleTest) note(d *guard.Decision) {
	o := outcome{verdict: d.Verdict, bans: slices.Clone(d.Bans)}
	for _, m := range d.Matches {
		switch m.Mode {
		case guard.Enforced, guard.Failed:
			t.matched[m.Rule] = true
		case guard.Excepted:
			o.excepted = append(o.excepted, m.Rule)
		case guard.Shadow:
			o.shadow = append(o.shadow, m.Rule)
		}
		o.why += fmt.Sprintf(" %s [%s]", m.Rule, m.Mode)
		for _, a := range m.Facts {
			o.why += " " + a.Fact + "=" + a.Value
		}
	}
	t.seen = append(t.seen, o)
}

// from reads 203.0.113.9:5060/tcp.
func (r *reader) from(n *yaml.Node) (netip.AddrPort, guard.Transport, bool) {
	text, over, _ := strings.Cut(n.Value, "/")
	transport := map[string]guard.Transport{"": guard.UDP, "udp": guard.UDP, "tcp": guard.TCP, "tls": guard.TLS, "ws": guard.WS, "wss": guard.WSS}
	tr, ok := transport[over]
	ap, err := netip.ParseAddrPort(text)
	if err != nil || !ok {
		r.bad(n, "bad-source", "%q is no source such as 203.0.113.9:5060/tcp", n.Value)
		return ap, tr, false
	}
	return ap, tr, true
}

// raw makes the bytes of the i-th message: as they are given, or of fields.
func (t *ruleTest) raw(f map[string]*yaml.Node, i int, src netip.AddrPort, tr guard.Transport) ([]byte, bool) {
	r := t.r
	switch {
	case f["raw"] != nil:
		return crlf(f["raw"].Value), true
	case f["file"] != nil:
		name := path.Join(path.Dir(r.file), f["file"].Value)
		text, err := fs.ReadFile(t.fsys, name)
		if err != nil {
			r.bad(f["file"], "no-file", "%v", err)
			return nil, false
		}
		return text, true
	case f["message"] == nil:
		r.bad(nil, "missing", "send needs message, raw or file")
		return nil, false
	}
	m := r.fields(f["message"], "message", "method", "uri", "from", "to", "user_agent", "contact", "call_id", "body", "content_type", "headers", "status")
	value := func(name, or string) string {
		if m[name] == nil {
			return or
		}
		return strings.ReplaceAll(m[name].Value, "{n}", strconv.Itoa(i))
	}
	method := value("method", "OPTIONS")
	uri := value("uri", "sip:100@acme.example")
	to := value("to", uri)
	var b strings.Builder
	if m["status"] != nil {
		fmt.Fprintf(&b, "SIP/2.0 %s Test\r\n", m["status"].Value)
	} else {
		fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", method, uri)
	}
	fmt.Fprintf(&b, "Via: SIP/2.0/%s %s;branch=z9hG4bKtest%d;rport\r\n", strings.ToUpper(tr.String()), src, i)
	fmt.Fprintf(&b, "From: <%s>;tag=t%d\r\nTo: <%s>\r\n", value("from", "sip:someone@acme.example"), i, to)
	fmt.Fprintf(&b, "Call-ID: %s\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\n", value("call_id", fmt.Sprintf("test-%d", i)), method)
	if c := value("contact", ""); c != "" || method == "INVITE" || method == "SUBSCRIBE" || method == "REFER" {
		if c == "" {
			c = "sip:someone@" + src.String()
		}
		fmt.Fprintf(&b, "Contact: <%s>\r\n", c)
	}
	if ua := value("user_agent", ""); ua != "" {
		fmt.Fprintf(&b, "User-Agent: %s\r\n", ua)
	}
	if m["headers"] != nil {
		for _, h := range r.texts(m["headers"], "headers") {
			b.WriteString(h + "\r\n")
		}
	}
	body := value("body", "")
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", value("content_type", "text/plain"))
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return []byte(b.String()), true
}

func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n"))
}

// facts are the facts given by hand; a few of them are said to the message
// itself, since guards and bans look there.
func (t *ruleTest) facts(engine *guard.Engine, n *yaml.Node, m *guard.Message) (map[string]guard.Value, bool) {
	given := map[string]guard.Value{}
	if n == nil {
		return given, true
	}
	if n.Kind != yaml.MappingNode {
		t.r.bad(n, "shape", "facts must be a mapping")
		return nil, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		id, ok := engine.FactID(k.Value)
		if !ok {
			t.r.bad(k, "unknown-fact", "no fact is called %s", k.Value)
			return nil, false
		}
		value, err := parseFact(engine.Facts()[id].Type, v)
		if err != nil {
			t.r.bad(v, "bad-fact", "%s: %v", k.Value, err)
			return nil, false
		}
		given[k.Value] = value
		switch k.Value {
		case "src.proven":
			m.Proven = value.True()
		case "src.inside":
			m.Inside = value.True()
		}
	}
	return given, true
}

func parseFact(t guard.Type, n *yaml.Node) (guard.Value, error) {
	switch t {
	case guard.String:
		return guard.Text(n.Value), nil
	case guard.Int:
		v, err := strconv.ParseInt(n.Value, 10, 64)
		return guard.Integer(v), err
	case guard.Bool:
		v, err := strconv.ParseBool(n.Value)
		return guard.Truth(v), err
	case guard.IP:
		v, err := netip.ParseAddr(n.Value)
		return guard.Address(v), err
	case guard.Time:
		v, err := time.Parse(time.RFC3339, n.Value)
		return guard.Instant(v), err
	case guard.Duration:
		v, err := parseSpan(n.Value)
		return guard.Span(v), err
	case guard.Float:
		v, err := strconv.ParseFloat(n.Value, 64)
		return guard.Real(v), err
	}
	var list []string
	for _, c := range n.Content {
		list = append(list, c.Value)
	}
	return guard.List(list), nil
}

// expect holds one expectation against what was decided.
func (t *ruleTest) expect(n *yaml.Node) []string {
	r := t.r
	f := r.fields(n, "expect", "at", "action", "status", "rule", "ban", "excepted", "shadow")
	if len(f) == 0 || len(f) == 1 && f["at"] != nil {
		r.bad(n, "missing", "expect names nothing that is expected: action, status, rule, ban, excepted or shadow")
	}
	r.choice(f["action"], "action", append([]string{guard.Pass.String()}, actionNames...)...)
	from, to := 1, len(t.seen)
	if to == 0 {
		return []string{fmt.Sprintf("line %d: nothing was sent that anything could be expected of", n.Line)}
	}
	if at := f["at"]; at != nil && at.Value != "all" {
		v, err := strconv.Atoi(at.Value)
		if err != nil || v < 1 || v > len(t.seen) {
			return []string{fmt.Sprintf("line %d: there is no message %s, only %d were sent", n.Line, at.Value, len(t.seen))}
		}
		from, to = v, v
	}
	var failed []string
	for i := from; i <= to; i++ {
		o := t.seen[i-1]
		got := describe(o)
		miss := func(what, want string) {
			failed = append(failed, fmt.Sprintf("message %d: want %s %s, got %s;%s", i, what, want, got, o.why))
		}
		if f["action"] != nil && o.verdict.Action.String() != f["action"].Value {
			miss("action", f["action"].Value)
		}
		if f["status"] != nil && strconv.Itoa(o.verdict.Status) != f["status"].Value {
			miss("status", f["status"].Value)
		}
		if f["rule"] != nil && o.verdict.Rule != f["rule"].Value && !slices.ContainsFunc(o.bans, func(b guard.Ban) bool { return b.Rule == f["rule"].Value }) {
			miss("rule", f["rule"].Value)
		}
		if f["ban"] != nil {
			if text := t.ban(f["ban"], o); text != "" {
				miss("ban", text)
			}
		}
		if f["excepted"] != nil && !slices.Equal(o.excepted, r.texts(f["excepted"], "excepted")) {
			miss("excepted", fmt.Sprint(r.texts(f["excepted"], "excepted")))
		}
		if f["shadow"] != nil && !slices.Equal(o.shadow, r.texts(f["shadow"], "shadow")) {
			miss("shadow", fmt.Sprint(r.texts(f["shadow"], "shadow")))
		}
		if len(failed) > 3 {
			return append(failed, "...")
		}
	}
	return failed
}

// ban holds a ban; "" if it is as wanted. none wants none, limit and ban any
// of that kind, {for: 5m} one of that length.
func (t *ruleTest) ban(n *yaml.Node, o outcome) string {
	if n.Kind == yaml.ScalarNode {
		has := len(o.bans) > 0
		switch n.Value {
		case "none":
			if !has {
				return ""
			}
		case "limit", "ban":
			if has && o.bans[0].Limit == (n.Value == "limit") {
				return ""
			}
		}
		return n.Value
	}
	f := t.r.fields(n, "ban", "by", "for")
	want := t.r.span(f["for"], "for", time.Second, 400*day)
	if len(o.bans) == 0 || o.bans[0].Limit || f["for"] != nil && o.bans[0].For != want {
		return want.String()
	}
	if f["by"] != nil && (f["by"].Value == "src.flow") != (o.bans[0].Port != 0) {
		return "by " + f["by"].Value
	}
	return ""
}

func describe(o outcome) string {
	text := o.verdict.Action.String()
	if o.verdict.Status != 0 {
		text += " " + strconv.Itoa(o.verdict.Status)
	}
	if o.verdict.Rule != "" {
		text += " by " + o.verdict.Rule
	}
	for _, b := range o.bans {
		word := "ban"
		if b.Limit {
			word = "limit"
		}
		text += fmt.Sprintf(", %s for %s by %s", word, b.For, b.Rule)
	}
	return text
}
