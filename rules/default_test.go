package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/guard/account"
	"ringfence/guard/auth"
	"ringfence/guard/numbers"
	"ringfence/guard/sanity"
	"ringfence/guard/scanner"
	"ringfence/guard/source"
	"ringfence/intel/meter"
	plan "ringfence/intel/numbers"
	"ringfence/rules"
)

// realGuards are the guards of the daemon, with nothing known of the world.
func realGuards(m guard.Meters, now func() time.Time) ([]*guard.Guard, error) {
	h := guard.Host{Now: now, Meters: m, Numbers: plan.New(plan.Options{})}
	var keys auth.Keys
	keys.Current[0] = 1
	a, err := auth.New(auth.Options{Config: auth.Config{Realm: "test"}, Keys: keys})
	if err != nil {
		return nil, err
	}
	guards := []*guard.Guard{a.Guard(), scanner.New(scanner.Config{})}
	for _, made := range []func() (*guard.Guard, error){
		func() (*guard.Guard, error) { return sanity.New(h, sanity.Config{}) },
		func() (*guard.Guard, error) { return source.New(h, source.Config{}) },
		func() (*guard.Guard, error) { return account.New(h, account.Config{}) },
		func() (*guard.Guard, error) { return numbers.New(h, numbers.Config{}) },
	} {
		g, err := made()
		if err != nil {
			return nil, fmt.Errorf("guards: %w", err)
		}
		guards = append(guards, g)
	}
	return guards, nil
}

// The tests of the default pack pass, and match every rule it enforces.
func TestDefaultPack(t *testing.T) {
	rep := rules.Test(t.Context(), rules.Default(), []string{"default.test.yaml"}, rules.TestOptions{
		Guards: realGuards,
		Meters: func() guard.Meters { return meter.New(meter.Options{Keys: 4096, Distinct: 1024}) },
		Rules:  []string{rules.DefaultFile},
	})
	var text strings.Builder
	rep.Print(&text, rules.Source(rules.Default()))
	if !rep.OK() || len(rep.Tests) == 0 {
		t.Errorf("the tests of the default pack:\n%s", text.String())
	}
	if len(rep.Unproved) > 0 {
		t.Errorf("enforced rules that no test matched: %v", rep.Unproved)
	}
}
