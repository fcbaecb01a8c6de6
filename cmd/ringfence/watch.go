package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ringfence/console"
	"ringfence/record"
)

// errEnough ends a watch that has shown as much as was asked for.
var errEnough = errors.New("enough")

func newWatch(g *globals) *cobra.Command {
	var q console.WatchQuery
	var source string
	var asJSON bool
	var most int
	c := &cobra.Command{
		Use: "watch", Short: "Show calls as they pass, as ladders, with the verdicts", Args: nothing,
		Long: "Shows messages as they pass: who sent what to whom, and what was refused by which rule.\n" +
			"A call is shown as a whole once it matches; a filter by rule holds its first messages\nuntil the rule matches. It ends with Ctrl-C.",
		Example: "  ringfence watch --from alice\n  ringfence watch --source 203.0.113.0/24 --rule premium-number\n  ringfence watch --json --count 100 > calls.jsonl",
		RunE: func(c *cobra.Command, _ []string) error {
			if most < 0 {
				return fmt.Errorf("--count %d: want the number of messages to show, 0 for no end", most)
			}
			if source != "" {
				var err error
				if q.Source, err = parsePrefix(source); err != nil {
					return fmt.Errorf("--source: %w", err)
				}
			}
			out := c.OutOrStdout()
			show := newLadder(out, colorful(out)).show
			if asJSON || g.format == "json" {
				show = func(p console.Passed) error { return jsonLine(out, p) }
			}
			shown := 0
			err := g.client().Watch(c.Context(), q, func() { fmt.Fprintln(c.ErrOrStderr(), "watching; Ctrl-C ends it") }, func(p console.Passed) error {
				if err := show(p); err != nil {
					return err
				}
				if p.Kind == "received" || p.Kind == "sent" {
					shown++
				}
				if most > 0 && shown == most {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&q.From, "from", "", "caller: user, or user@host")
	f.StringVar(&q.To, "to", "", "callee: user, or user@host")
	f.StringVar(&source, "source", "", "address or prefix that a message of the call comes from or goes to")
	f.StringVar(&q.Rule, "rule", "", "rule that decided or matched")
	f.StringVar(&q.CallID, "call-id", "", "Call-ID")
	f.BoolVar(&asJSON, "json", false, "one JSON object a line, the same as --format json")
	f.IntVar(&most, "count", 0, "end after so many messages")
	return c
}

// colorful tells whether w is a terminal whose user does not mind colors
// (no-color.org).
func colorful(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func jsonLine(w io.Writer, p console.Passed) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	_, err = w.Write(append(record.Visible(text), '\n'))
	return err
}
