package route

import (
	"context"
	"net/netip"
)

// Routes are the next hops in their pools. They are safe for concurrent use.
type Routes struct{}

type health struct{}

// New checks the configuration and resolves its names; one that cannot be
// resolved is said in the log and tried again by Run. It starts nothing.
func New(ctx context.Context, o Options) (*Routes, error) { return &Routes{}, nil }

// Pick chooses the hop of a pool for a call, the same one for every request of
// the call while it lives, and adds it to tried. It never picks a hop that was
// tried before; false means that none is left.
func (r *Routes) Pick(pool string, callID []byte, tried *Tried) (*Hop, bool) { return nil, false }

// Report tells what came of sending a request to a hop.
func (r *Routes) Report(h *Hop, res Result) {}

// ByAddress is the hop that sends from an address: what tells inside from
// outside.
func (r *Routes) ByAddress(a netip.AddrPort) (*Hop, bool) { return nil, false }

// ByNumber is the pool of the longest configured prefix of a number.
func (r *Routes) ByNumber(number string) (pool string, ok bool) { return "", false }

// Snapshot is the health of every hop, in the order of the configuration.
func (r *Routes) Snapshot() []Status { return nil }

// Run probes hops and looks names up again until ctx ends, and joins what it
// started.
func (r *Routes) Run(ctx context.Context) error { return nil }
