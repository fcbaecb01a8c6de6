package dialog

import (
	"context"
	"iter"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A Table is the calls that are known. It is safe for concurrent use and is a
// guard.Dialogs.
type Table struct{}

// New makes a table and reads the answered calls back from the store. It starts
// nothing.
func New(ctx context.Context, o Options) (*Table, error) { return &Table{}, nil }

// Begin notes an INVITE without a To tag that is forwarded from one leg to
// another. The same INVITE may come by again, when a next hop sends it back
// through us; it stays one call. False: the table is full.
func (t *Table) Begin(m *guard.Message, from, to Leg) bool { return false }

// Ring notes a provisional response to an INVITE; one with a To tag makes an
// early dialog.
func (t *Table) Ring(x *index.Message, from Leg, at time.Time) {}

// Answer notes a 2xx to an INVITE, the first or another fork's.
func (t *Table) Answer(x *index.Message, from Leg, at time.Time) {}

// Note notes a request within a dialog that is forwarded: its CSeq, and the new
// Contact of an INVITE or UPDATE.
func (t *Table) Note(m *guard.Message) {}

// Fail notes that an INVITE got a final response other than 2xx, and returns
// the call if that ended it. A 401 or 407 is not an end: the call is forgotten
// and false returned.
func (t *Table) Fail(callID, fromTag []byte, status int, by string, at time.Time) (guard.Call, bool) {
	return guard.Call{}, false
}

// Hangup notes a BYE that is forwarded and returns the call if that ended it:
// the BYE of its last answered fork.
func (t *Table) Hangup(m *guard.Message) (guard.Call, bool) { return guard.Call{}, false }

// End ends a call by hand; by is who did, as in guard.Call.EndedBy.
func (t *Table) End(callID, by string, at time.Time) (guard.Call, bool) { return guard.Call{}, false }

// Has tells whether a request belongs to a dialog that is known: Call-ID, both
// tags, a source that is one of the two sides, and a CSeq that does not go
// back.
func (t *Table) Has(m *guard.Message) bool { return false }

// Up is the number of calls of an account that have not ended.
func (t *Table) Up(account string) int { return 0 }

// Find is the call with a Call-ID.
func (t *Table) Find(callID string) (Call, bool) { return Call{}, false }

// All are the calls that have not ended, in no order.
func (t *Table) All() iter.Seq[Call] { return func(func(Call) bool) {} }

// Counts says how full the table is.
func (t *Table) Counts() Counts { return Counts{} }

// Run stores changes and ends calls whose time is up until ctx ends.
func (t *Table) Run(ctx context.Context) error { return nil }
