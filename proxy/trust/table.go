package trust

import (
	"context"
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Table is the trust of all flows. It is safe for concurrent use.
type Table struct{}

// New makes a table and reads the trusted flows back from the store. It starts
// nothing.
func New(ctx context.Context, o Options) (*Table, error) { return &Table{}, nil }

// Admit takes one message from the budget of a flow, and tells its state.
func (t *Table) Admit(f Flow, at time.Time) (guard.Trust, Admission) { return 0, 0 }

// State tells what a flow has proved.
func (t *Table) State(f Flow, at time.Time) guard.Trust { return 0 }

// Promote notes that a flow has proved its address (guard.Challenged) or that
// its credentials were accepted (guard.Trusted, which also ends a limit). A
// lower proof never takes a higher one away. False: there was no room.
func (t *Table) Promote(f Flow, to guard.Trust, at time.Time) bool { return false }

// Limit leaves a flow that has proved its address a trickle until a time; zero
// means Options.Limited from now on. False: the flow is unknown, and as such
// limited already.
func (t *Table) Limit(f Flow, until, at time.Time) bool { return false }

// Forget takes a flow out, when its connection closed or an operator says so.
func (t *Table) Forget(f Flow) {}

// Offered notes that a next hop's nonce is being sent to a source.
func (t *Table) Offered(nonce []byte, src netip.AddrPort, at time.Time) {}

// Returned tells whether a nonce was lately sent to this source: then who
// brings it back can receive there.
func (t *Table) Returned(nonce []byte, src netip.AddrPort, at time.Time) bool { return false }

// Counts says how full the table is.
func (t *Table) Counts() Counts { return Counts{} }

// Run stores changes and forgets expired flows until ctx ends.
func (t *Table) Run(ctx context.Context) error { return nil }
