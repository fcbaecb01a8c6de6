package rules

import (
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"ringfence/guard"
)

// An Env is what rules may ask on this build: the facts of its guards.
type Env struct {
	facts []guard.Fact
	ids   map[string]int
	help  int // number of emergencyFact, -1 if no guard has it
}

// NewEnv makes the environment of the facts, in the order in which the engine
// numbers them: that of the guards.
func NewEnv(guards []*guard.Guard) *Env {
	e := &Env{ids: map[string]int{}, help: -1}
	for _, g := range guards {
		for _, f := range g.Facts {
			e.ids[f.Name] = len(e.facts)
			if f.Name == emergencyFact {
				e.help = len(e.facts)
			}
			e.facts = append(e.facts, f)
		}
	}
	return e
}

// Facts are what rules may ask.
func (e *Env) Facts() []guard.Fact { return e.facts }

// A variable is a name that a condition can use.
type variable struct {
	name  string
	typ   *cel.Type
	stage guard.Stage
	fact  int        // number of the fact, -1 if it is none
	rate  *rate      // or the rate
	term  *condition // or the term
	slot  int        // of a term, in a call's memory
	list  ref.Val    // or the list
}

// The types that CEL does not have.
var (
	ipType       = cel.ObjectType("ip")
	ipListType   = cel.ObjectType("list of addresses", traits.ContainerType)
	textListType = cel.ObjectType("list of texts", traits.ContainerType)
)

var celTypes = map[guard.Type]*cel.Type{
	guard.String: cel.StringType, guard.Int: cel.IntType, guard.Bool: cel.BoolType, guard.IP: ipType, guard.Time: cel.TimestampType,
	guard.Duration: cel.DurationType, guard.Strings: cel.ListType(cel.StringType), guard.Float: cel.DoubleType,
}

// scope is the variables of one rule set while it is compiled.
type scope struct {
	env   *Env
	vars  map[string]*variable
	cel   *cel.Env
	terms int
}

func newScope(e *Env) *scope {
	s := &scope{env: e, vars: map[string]*variable{}}
	for i, f := range e.facts {
		s.vars[f.Name] = &variable{name: f.Name, typ: celTypes[f.Type], stage: f.Stage, fact: i}
	}
	return s
}

// add makes a name known; false if it is taken.
func (s *scope) add(v *variable) bool {
	if s.vars[v.name] != nil {
		return false
	}
	s.vars[v.name], s.cel = v, nil
	return true
}

func (s *scope) names() []string { return slices.Sorted(maps.Keys(s.vars)) }

// compiler is the CEL environment of all names so far.
func (s *scope) compiler() (*cel.Env, error) {
	if s.cel != nil {
		return s.cel, nil
	}
	options := []cel.EnvOption{
		cel.ClearMacros(), cel.Macros(cel.HasMacro, cel.AllMacro, cel.ExistsMacro),
		ext.Strings(ext.StringsVersion(2)),
		cel.Function("ip",
			cel.Overload("string_to_ip", []*cel.Type{cel.StringType}, ipType, cel.UnaryBinding(toIP))),
		cel.Function("in_net",
			cel.MemberOverload("ip_in_net", []*cel.Type{ipType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inNet))),
		cel.Function("@in",
			cel.Overload("in_ip_list", []*cel.Type{ipType, ipListType}, cel.BoolType),
			cel.Overload("in_text_list", []*cel.Type{cel.StringType, textListType}, cel.BoolType)),
	}
	for _, name := range s.names() {
		options = append(options, cel.Variable(name, s.vars[name].typ))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("conditions: %w", err)
	}
	s.cel = env
	return env, nil
}
