package main

import (
	"context"
	"errors"

	"ringfence/console"
)

// Apply loads rule files, runs the tests beside them, and swaps the set in one
// step. With anything wrong the running set stays.
func (g *guardian) Apply(ctx context.Context, in console.ApplyRequest) (console.Applied, error) {
	source := g.policy.source
	if len(in.Files) > 0 {
		var err error
		if source, err = ruleFiles(in.Files); err != nil {
			return console.Applied{}, errors.Join(err, errUnchanged)
		}
	}
	return g.applySource(ctx, source, in.Reason)
}

func (g *guardian) applySource(ctx context.Context, source ruleSource, reason string) (console.Applied, error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	out := console.Applied{Was: g.policy.set.Version(), Version: g.policy.set.Version(), Rules: len(g.policy.set.Rules())}
	set, problems := g.policy.load(source, g.now())
	if set == nil {
		for _, p := range problems {
			out.Problems = append(out.Problems, p.String())
		}
		return out, nil
	}
	if report := runTests(ctx, source, g.cfg.Guards); !report.OK() {
		for _, p := range report.Problems {
			out.Problems = append(out.Problems, p.String())
		}
		for _, t := range report.Tests {
			for _, f := range t.Failed {
				out.Problems = append(out.Problems, t.File+": test "+t.Name+": "+f)
			}
		}
		return out, nil
	}
	set.Count(g.meters)
	set.Continue(g.policy.set)
	g.engine.Swap(set)
	g.policy.set, g.policy.source = set, source
	out.Version, out.Rules = set.Version(), len(set.Rules())
	g.log.Info("rules applied", "version", out.Version, "was", out.Was, "reason", reason)
	return out, nil
}

// RuleHits are what the rules in force did.
func (g *guardian) RuleHits(context.Context) []console.RuleHits {
	g.applying.Lock()
	defer g.applying.Unlock()
	out := []console.RuleHits{}
	for _, h := range g.policy.set.Hits() {
		out = append(out, console.RuleHits(h))
	}
	return out
}
