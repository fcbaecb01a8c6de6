package main

import (
	"context"
	"fmt"

	"ringfence/console"
	"ringfence/record/watch"
)

// Watch gives what passes to one watcher.
func (g *guardian) Watch(ctx context.Context, q console.WatchQuery, show func(console.Passed) error) error {
	sub, err := g.tap.Watch()
	if err != nil {
		return fmt.Errorf("%w; limits.watchers bounds them", err)
	}
	defer sub.Close()
	if err := show(console.Passed{}); err != nil {
		return err
	}
	o := watch.Options{Filter: watch.Filter(q), Peer: g.proxy.PeerAt}
	f := watch.New(o, func(l *watch.Line) error { return show(passedOf(l)) })
	return f.Follow(ctx, sub, func(n uint64) error { return show(console.Passed{At: g.now(), Kind: "lost", Lost: n}) })
}

func passedOf(l *watch.Line) console.Passed {
	p := console.Passed{
		At: l.At, Kind: l.Kind, CallID: l.CallID, From: l.From, To: l.To, Far: l.Far, Transport: l.Via, Peer: l.Peer, Method: l.Method,
		Status: l.Status, Reason: l.Reason, Problem: l.Problem, First: l.First, Again: l.Again, Verdict: l.Verdict, Stage: l.Stage,
		Rule: l.Rule, Where: l.Where, Ban: l.Ban, Account: l.Account,
	}
	for _, m := range l.Matches {
		p.Matches = append(p.Matches, console.Match{Rule: m.Rule, Title: m.Title, Where: m.Where, Mode: m.Mode, Action: m.Action})
	}
	return p
}
