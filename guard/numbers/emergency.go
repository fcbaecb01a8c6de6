package numbers

import (
	"maps"
	"slices"

	"ringfence/guard"
)

// Emergencies tells emergency calls apart without an engine: the proxy keeps a
// lane open for them before anything is judged.
type Emergencies struct{ plan *plan }

// NewEmergencies reads the same configuration as New.
func NewEmergencies(c Config) (*Emergencies, error) {
	p, err := newPlan(c)
	if err != nil {
		return nil, err
	}
	return &Emergencies{p}, nil
}

// Is tells whether a message makes a call to an emergency number, like the
// fact dst.emergency.
func (e *Emergencies) Is(m *guard.Message) bool { return e.plan.emergencyCall(m) }

// Numbers are the emergency numbers as they may be dialled, with the prefixes
// for an outside line, for the screen.
func (e *Emergencies) Numbers() []string {
	all := slices.Sorted(maps.Keys(e.plan.emergency))
	out := slices.Clone(all)
	for _, line := range e.plan.OutsideLines {
		for _, n := range all {
			out = append(out, line+n)
		}
	}
	return out
}
