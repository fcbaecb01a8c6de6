package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
)

func newHistory(g *globals) *cobra.Command {
	var q console.Query
	var since, until string
	c := &cobra.Command{
		Use: "history", Short: "What was decided, newest first", Args: nothing,
		Example: "  ringfence history --since 1h --source 203.0.113.9\n  ringfence history --rule premium-number --format json",
		RunE: func(c *cobra.Command, _ []string) error {
			now := time.Now()
			var err error
			if q.Since, err = ago(now, since); err != nil {
				return err
			}
			if q.Until, err = ago(now, until); err != nil {
				return err
			}
			if err := sensible(q); err != nil {
				return err
			}
			var entries []console.Entry
			if err := g.client().Do(c.Context(), http.MethodPost, "/v1/history", q, &entries); err != nil {
				return err
			}
			return g.show(c.OutOrStdout(), entries, entryHead, entryRows(entries))
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "24h", "how far back, such as 15m, 24h or 7d, or a time like 2026-11-23T09:00:00Z")
	f.StringVar(&until, "until", "", "up to when, in the same forms")
	f.StringVar(&q.Source, "source", "", "address")
	f.StringVar(&q.Account, "account", "", "account or address of record, user@realm")
	f.StringVar(&q.CallID, "call-id", "", "Call-ID")
	f.StringVar(&q.Rule, "rule", "", "rule that decided or matched")
	f.StringVar(&q.Mode, "mode", "", "enforced, shadow or excepted")
	f.IntVar(&q.Limit, "limit", 100, "how many")
	return c
}

// modes are what --mode may be.
var modes = []string{"enforced", "shadow", "excepted"}

// sensible tells what no entry could ever match.
func sensible(q console.Query) error {
	switch {
	case q.Mode != "" && !slices.Contains(modes, q.Mode):
		return fmt.Errorf("--mode %s: want %s", q.Mode, strings.Join(modes, ", "))
	case q.Limit < 1:
		return fmt.Errorf("--limit %d: want at least 1", q.Limit)
	case !q.Until.IsZero() && q.Until.Before(q.Since):
		return fmt.Errorf("--since is later than --until: nothing lies between %s and %s", q.Since.Format(time.RFC3339), q.Until.Format(time.RFC3339))
	}
	return nil
}

const entryHead = "TIME\tSOURCE\tMETHOD\tFROM\tTO\tVERDICT\tRULE\tCALL-ID"

func entryRows(entries []console.Entry) [][]string {
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		verdict := e.Verdict
		if e.Ban != "" {
			verdict += " + " + e.Ban
		}
		rule := e.Rule
		if rule == "" {
			var others []string
			for _, m := range e.Matches {
				others = append(others, m.Rule+" ["+m.Mode+"]")
			}
			rule = strings.Join(others, " ")
		}
		rows = append(rows, []string{e.At.Local().Format("01-02 15:04:05.000"), e.Source, e.Method, e.From, e.To, verdict, rule, e.CallID})
	}
	return rows
}

// ago reads a duration before now or an instant; "" is the zero time.
func ago(now time.Time, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := parseSpan(text)
	if err != nil {
		return time.Time{}, err
	}
	return now.Add(-d), nil
}
