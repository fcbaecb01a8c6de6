package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/parser"
	"go.yaml.in/yaml/v4"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// costliest is the estimated cost above which a condition is refused.
const costliest = 10_000

// A condition is one compiled CEL expression.
type condition struct {
	text    string
	program cel.Program
	stage   guard.Stage // the first at which everything it asks is known
	reads   []*variable // in order of their names, without lists
	methods methodSet
	parts   []string // what must all be true, as CEL writes it
}

// conjuncts are the parts that && joins.
func conjuncts(e celast.Expr, info *celast.SourceInfo) []string {
	if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == "_&&_" {
		var out []string
		for _, a := range e.AsCall().Args() {
			out = append(out, conjuncts(a, info)...)
		}
		return out
	}
	text, err := parser.Unparse(e, info)
	if err != nil || text == "true" {
		return nil
	}
	return []string{text}
}

// methodSet is the methods for which a condition can be true; zero: any.
type methodSet uint32

func (m methodSet) has(x index.Method) bool { return m == 0 || m&(1<<x) != 0 }

// condition compiles the scalar n. It returns nil and says why when something
// is wrong.
func (ld *loader) condition(r *reader, n *yaml.Node, what string) *condition {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		r.bad(n, "shape", "%s must be a condition", what)
		return nil
	}
	env, err := ld.scope.compiler()
	if err != nil {
		r.bad(n, "internal", "%v", err)
		return nil
	}
	tree, issues := env.Compile(n.Value)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			ld.issue(r, n, e.Location.Line(), e.Location.Column(), "condition", e.Message)
		}
		return nil
	}
	if tree.OutputType() != cel.BoolType {
		r.bad(n, "not-bool", "%s is a %s and not true or false", what, tree.OutputType())
		return nil
	}
	if !ld.constants(r, n, tree.NativeRep()) {
		return nil
	}
	if cost, err := env.EstimateCost(tree, sizes{}); err == nil && cost.Max > costliest {
		r.bad(n, "too-costly", "%s may cost %d, the limit is %d: no loops over long lists within loops", what, cost.Max, costliest)
		return nil
	}
	program, err := env.Program(tree, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		r.bad(n, "not-compiled", "%s: %v", what, err)
		return nil
	}
	c := &condition{text: n.Value, program: program}
	for _, ref := range tree.NativeRep().ReferenceMap() {
		v := ld.scope.vars[ref.Name]
		if v == nil || slices.Contains(c.reads, v) {
			continue
		}
		c.stage = max(c.stage, v.stage)
		if v.rate != nil {
			v.rate.used = true
		}
		if v.list == nil {
			c.reads = append(c.reads, v)
		}
	}
	slices.SortFunc(c.reads, func(a, b *variable) int { return strings.Compare(a.name, b.name) })
	c.methods = methodsOf(tree.NativeRep().Expr(), ld.scope)
	c.parts = conjuncts(tree.NativeRep().Expr(), tree.NativeRep().SourceInfo())
	return c
}

// constants looks at the addresses and prefixes that stand in a condition: a
// wrong one would fail on every message.
func (ld *loader) constants(r *reader, n *yaml.Node, tree *celast.AST) bool {
	ok := true
	celast.PostOrderVisit(tree.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		c := e.AsCall()
		args := c.Args()
		if len(args) != 1 || args[0].Kind() != celast.LiteralKind {
			return
		}
		text, is := args[0].AsLiteral().Value().(string)
		if !is {
			return
		}
		var err error
		switch c.FunctionName() {
		case "ip":
			if _, err = netip.ParseAddr(text); err != nil {
				err = fmt.Errorf("%q is no address", text)
			}
		case "in_net":
			if strings.Contains(text, "/") {
				_, err = parsePrefix(text)
			} else {
				err = fmt.Errorf("%q is no prefix such as 203.0.113.0/24", text)
			}
		}
		if err != nil {
			at := tree.SourceInfo().GetStartLocation(args[0].ID())
			ld.issue(r, n, at.Line(), at.Column(), "bad-constant", err.Error())
			ok = false
		}
	}))
	return ok
}

// sizes tells the cost estimate how long things are at most.
type sizes struct{}

// EstimateSize is CEL's cost.CostEstimator.
func (sizes) EstimateSize(cost.AstNode) *cost.SizeEstimate {
	return &cost.SizeEstimate{Min: 0, Max: 256}
}

// EstimateCallCost is CEL's cost.CostEstimator.
func (sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function == "@in" {
		return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 4}}
	}
	return nil
}

// issue puts a CEL message at its place in the file. CEL marks a dotted name at
// one of its dots; people look for it at its start.
func (ld *loader) issue(r *reader, n *yaml.Node, line, col int, code, message string) {
	lines := strings.Split(n.Value, "\n")
	if kind, rest, ok := strings.Cut(message, " applied to "); ok && strings.HasPrefix(kind, "found no matching overload") {
		code = "wrong-type"
		message = fmt.Sprintf("%s does not go with %s", strings.Trim(operator(kind), "_@"), rest)
	}
	p := Problem{File: r.file, Line: n.Line, Col: n.Column, Code: code, Text: message}
	if line < 1 || line > len(lines) {
		*r.problems = append(*r.problems, p)
		return
	}
	at := []rune(lines[line-1])
	col = min(max(col, 0), len(at))
	if strings.HasPrefix(message, "undeclared reference to '") {
		for col > 0 && inName(at[col-1]) {
			col--
		}
		name := chain(string(at[col:]))
		p.Code, p.Text = "unknown-fact", "nothing is called "+name
		p.Fix = meant(name, ld.scope.names())
		if kind, rest, ok := strings.Cut(name, "."); ok && (kind == "lists" || kind == "rate" || kind == "is") {
			p.Text = fmt.Sprintf("no %s is called %s", map[string]string{"lists": "list", "rate": "rate", "is": "term"}[kind], rest)
		}
	}
	if strings.Contains(message, "(ip, string)") {
		p.Fix = `write ip("203.0.113.9"), or src.ip.in_net("203.0.113.0/24")`
	}
	before := strings.Join(lines[:line-1], "\n") + string(at[:col])
	p.Line, p.Col = ld.place(r.file, n, dense(before))
	*r.problems = append(*r.problems, p)
}

// operator is the name in CEL's words for a call that it knows no meaning of.
func operator(message string) string {
	_, name, _ := strings.Cut(message, "'")
	return strings.TrimSuffix(name, "'")
}

func inName(c rune) bool {
	return c == '.' || c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// dense is how many letters of a text are not blank.
func dense(s string) (n int) {
	for _, c := range s {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}

// place is where in the file a scalar's letter stands that has skip letters
// before it, not counting blanks: whatever the style of the scalar, YAML folds
// and indents only with blanks. In quotes an escape is one letter.
func (ld *loader) place(file string, n *yaml.Node, skip int) (line, col int) {
	if all := dense(n.Value); skip >= all && all > 0 { // behind the last
		line, col = ld.place(file, n, all-1)
		return line, col + 1
	}
	lines := strings.Split(string(ld.texts[file]), "\n")
	line, col = n.Line, n.Column-1 // of runes, from 0
	quote := rune(0)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		line, col = line+1, 0
	case n.Style&yaml.SingleQuotedStyle != 0:
		quote, col = '\'', col+1
	case n.Style&yaml.DoubleQuotedStyle != 0:
		quote, col = '"', col+1
	}
	for ; line <= len(lines); line, col = line+1, 0 {
		at := []rune(lines[line-1])
		for ; col < len(at); col++ {
			if unicode.IsSpace(at[col]) {
				continue
			}
			if skip == 0 {
				return line, col + 1
			}
			skip--
			if quote == '\'' && at[col] == quote || quote == '"' && at[col] == '\\' {
				col++
			}
		}
	}
	return n.Line, n.Column
}

// chain is the dotted name at the start of a text.
func chain(s string) string {
	end := 0
	for end < len(s) && (s[end] == '.' || s[end] == '_' || s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z' || s[end] >= '0' && s[end] <= '9') {
		end++
	}
	return strings.TrimRight(s[:end], ".")
}

// methodsOf reads the methods off the conjuncts of a condition: sip.method ==
// "X", sip.method in ["X", "Y"] and sip.new_call. Anything else may be true
// for any method.
func methodsOf(e celast.Expr, s *scope) methodSet {
	name := func(e celast.Expr) string {
		if e.Kind() == celast.IdentKind {
			return e.AsIdent()
		}
		if e.Kind() == celast.SelectKind && e.AsSelect().Operand().Kind() == celast.IdentKind {
			return e.AsSelect().Operand().AsIdent() + "." + e.AsSelect().FieldName()
		}
		return ""
	}
	one := func(e celast.Expr) methodSet {
		if e.Kind() == celast.LiteralKind {
			if text, ok := e.AsLiteral().Value().(string); ok {
				for m := index.Invite; m <= index.Update; m++ {
					if m.String() == text {
						return 1 << m
					}
				}
			}
		}
		return 1 << index.MethodOther
	}
	switch e.Kind() {
	case celast.IdentKind, celast.SelectKind:
		switch n := name(e); {
		case n == "sip.new_call":
			return 1 << index.Invite
		case strings.HasPrefix(n, "is.") && s.vars[n] != nil:
			return s.vars[n].term.methods
		}
	case celast.CallKind:
		c := e.AsCall()
		args := c.Args()
		switch c.FunctionName() {
		case "_&&_":
			a, b := methodsOf(args[0], s), methodsOf(args[1], s)
			switch {
			case a == 0:
				return b
			case b == 0:
				return a
			case a&b == 0:
				return 1 << 31 // never
			}
			return a & b
		case "_||_":
			a, b := methodsOf(args[0], s), methodsOf(args[1], s)
			if a == 0 || b == 0 {
				return 0
			}
			return a | b
		case "_==_":
			if name(args[0]) == "sip.method" {
				return one(args[1])
			}
		case "@in":
			if name(args[0]) == "sip.method" && args[1].Kind() == celast.ListKind {
				var m methodSet
				for _, x := range args[1].AsList().Elements() {
					m |= one(x)
				}
				return m
			}
		}
	}
	return 0
}
